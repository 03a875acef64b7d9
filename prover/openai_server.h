/* openai_server: a server that speaks OpenAI's protocol, and what it is asked: openai's bodies over an http_client.
 *
 *     status = openai_server_open(&server, loop, &options, &err);
 *     status = openai_server_hello(server, &err);                 runs the loop: does it answer, and has it the model?
 *     status = openai_server_ask(server, &ask, on_reply, user, &question, &err);
 *     ... on_reply(user, &answer) from the loop ...
 *     openai_server_close(server);                                the loop must run once more
 * No message has the key in it, whatever the server repeats. Threads: the loop's. */
#ifndef OPENAI_SERVER_H
#define OPENAI_SERVER_H

#include "http_client.h"
#include "openai.h"

typedef struct openai_server openai_server;
typedef struct openai_question openai_question;

typedef struct openai_server_options { /* copied */
    const char *url;   /* up to /v1; a slash at its end does not matter              */
    const char *model; /* NULL or "": the only one that the server has (by hello)     */
    openai_api api;
    bool stream, logprobs;
    const char
        *extra; /* a JSON object whose fields go over those of every request; NULL = none    */
    http_client_options http;
} openai_server_options;

typedef struct openai_answer { /* borrowed for the call */
    pv_status status; /* PV_OK; PV_E_CANCELLED; or what went wrong after all tries        */
    bool hopeless;    /* the server, key or model is wrong: other questions fail as well  */
    const openai_reply
        *reply;          /* status is PV_OK                                                   */
    const pv_error *err; /* status is not PV_OK                                               */
} openai_answer;

typedef void openai_on_answer(void *user, const openai_answer *answer);

/* Fails: PV_E_INVALID (address, key, extra), PV_E_NOMEM, PV_E_UNSUPPORTED. */
PV_NODISCARD pv_status openai_server_open(openai_server **out, uv_loop_t *loop,
                                          const openai_server_options *options, pv_error *err);

/* Asks for the models (GET /models), and runs the loop until the answer is there. A server without that page (404, 405, 501) passes
 * when a model is named; a model that the list lacks is a warning in the log. Fails: PV_E_IO, PV_E_TIMEOUT, PV_E_LOST (no answer),
 * PV_E_INVALID (refused, or no model named where there is not exactly one), PV_E_PROTOCOL. */
PV_NODISCARD pv_status openai_server_hello(openai_server *server, pv_error *err);

/* `ask` is borrowed for the call; api, model, logprobs, stream and extra in it are the server's own. *out is valid until the answer.
 * Fails, and then never answers: PV_E_NOMEM, PV_E_INVALID. */
PV_NODISCARD pv_status openai_server_ask(openai_server *server, const openai_ask *ask,
                                         openai_on_answer *on_answer, void *user,
                                         openai_question **out, pv_error *err);

/* The answer comes later, with PV_E_CANCELLED. */
void openai_server_cancel(openai_server *server, openai_question *question);

const char *openai_server_model(const openai_server *server); /* "" while unknown; borrowed */
void openai_server_stats(const openai_server *server, http_client_stats *out);

/* No question may be open. NULL allowed. */
void openai_server_close(openai_server *server);

#endif
