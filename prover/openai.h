/* openai: what is said to a server that speaks OpenAI's protocol (POST /completions and /chat/completions), and what it says.
 *
 * vLLM, SGLang and llama.cpp are read as well: their fields differ in small ways, given in docs/http-policy.md. Replies are outside
 * bytes: everything in them is checked.
 * Threads: pure functions; a reply belongs to one caller. */
#ifndef OPENAI_H
#define OPENAI_H

#include "pv_buf.h"
#include "sse.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef enum openai_api { OPENAI_COMPLETIONS, OPENAI_CHAT } openai_api;

typedef struct openai_ask { /* borrowed */
    openai_api api;
    const char *model;
    const char *prompt; /* the text to continue, or the user's message                         */
    const char *earlier, *turn; /* chat: an answer of before and the user's next message; NULL  */
    const char *answer; /* chat: how the answer begins, which the server shall continue; NULL  */
    uint32_t choices, max_tokens;
    double temperature, top_p, min_p; /* min_p 0: not sent                                     */
    uint64_t top_k;                   /* 0: not sent                                           */
    uint64_t seed;                    /* its lower 31 bits are sent                            */
    const char *stop;                 /* NULL: none                                            */
    bool logprobs, stream;
    const json_t *extra; /* fields put over these (null: the field is not sent); NULL           */
} openai_ask;

/* Appends the body of the request. Fails: PV_E_NOMEM, PV_E_INVALID (a text is not UTF-8). */
PV_NODISCARD pv_status openai_body(const openai_ask *ask, pv_buf *out, pv_error *err);

typedef enum openai_finish {
    OPENAI_UNFINISHED, /* the server did not say: in a stream, there was more to come            */
    OPENAI_STOP,       /* a stop text, or the model's own end                                    */
    OPENAI_LENGTH,     /* max_tokens                                                             */
    OPENAI_OTHER,      /* content filter, abort, tool call                                       */
} openai_finish;

typedef struct openai_choice {
    pv_buf text;
    double logprob;  /* sum over the tokens that have one                                        */
    uint32_t scored; /* how many have one; 0: the server gave none                               */
    bool unscored;   /* and some have none                                                       */
    bool present;
    openai_finish finish;
} openai_choice;

typedef struct openai_reply { /* {0}: nothing yet */
    openai_choice *choices;   /* `asked` places, by index                                         */
    uint32_t asked;
    bool has_usage, done; /* done: the stream's [DONE] came                                   */
    uint64_t tokens;      /* usage.completion_tokens of all choices                           */
    pv_buf text, word;    /* in use while an answer is read                                   */
} openai_reply;

PV_NODISCARD pv_status openai_reply_init(openai_reply *reply, uint32_t asked, pv_error *err);
void openai_reply_clear(openai_reply *reply); /* as after init */
void openai_reply_release(openai_reply *reply);

/* A whole answer. Fails: PV_E_PROTOCOL with what is wrong, PV_E_NOMEM; an object with `error` fails with the server's message. */
PV_NODISCARD pv_status openai_reply_parse(openai_reply *reply, openai_api api, const char *bytes,
                                          size_t n, pv_error *err);

/* One event of a stream adds to the reply; `data` is "[DONE]" or a chunk. Fails as openai_reply_parse(). */
PV_NODISCARD pv_status openai_reply_event(openai_reply *reply, openai_api api, const char *data,
                                          size_t n, pv_error *err);

/* Has everything come? A stream that ended early is PV_E_LOST, an answer without a choice PV_E_PROTOCOL. */
PV_NODISCARD pv_status openai_reply_check(const openai_reply *reply, bool streamed, pv_error *err);

/* The message in an error's body: its JSON's `error.message`, `error`, `message` or `detail`, or its text, in one line of at most 300
 * bytes. Appends to *out. */
void openai_error_text(const char *body, size_t n, pv_buf *out);

/* The ids of a GET /models answer, appended to *out: an array of strings that the caller decrefs. Fails: PV_E_PROTOCOL, PV_E_NOMEM. */
PV_NODISCARD pv_status openai_models(const char *bytes, size_t n, json_t **out, pv_error *err);

#endif
