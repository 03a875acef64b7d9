/* A conversation with the community's REPL: what its parts share. Never included outside lean_community*.c. */
#ifndef LEAN_COMMUNITY_INTERNAL_H
#define LEAN_COMMUNITY_INTERNAL_H

#include "lean_community.h"
#include "lean_json.h"
#include "lean_source.h"

typedef struct lean_found_hole {
    lean_hole hole;
    uint64_t number;
    size_t decl; /* index */
} lean_found_hole;

typedef struct lean_scope {
    size_t length; /* of lean_talk.prefix before it */
} lean_scope;

typedef struct lean_talk {
    lean_arena arena; /* of everything that goes into the reply */
    unsigned step;    /* requests answered so far */
    uint64_t env;     /* the newest */
    /* open */
    lean_source source;
    lean_command_span span; /* in work */
    pv_buf prefix;          /* namespaces open, with a dot behind each */
    lean_scope *scopes;
    size_t scope_count, scope_capacity;
    lean_message *messages;
    size_t message_count, message_capacity;
    lean_decl *decls;
    size_t decl_count, decl_capacity;
    lean_found_hole *holes;
    size_t hole_count, hole_capacity;
    /* check */
    const char **axioms;
    size_t axiom_count;
    bool failed; /* out of memory somewhere above */
} lean_talk;

void lean_talk_put_number(pv_buf *out, const char *name, uint64_t number);
/* Appends the request that runs `text` on *env; env NULL: imports are allowed. */
void lean_talk_put_command(pv_buf *out, const char *text, const uint64_t *env);

/* A position in text[from..from+n) as a position in `text`. */
lean_position lean_talk_position(const char *text, size_t from, size_t n, const json_t *json);
/* The first message of severity error; NULL when there is none. */
const char *lean_talk_first_error(const json_t *reply);
/* An object with nothing but a message: the REPL refused the request. Else NULL. */
const char *lean_talk_refusal(const json_t *reply);
void lean_talk_take_messages(lean_talk *t, const json_t *reply, const char *text, size_t from,
                             size_t n);

/* A part of these goals; false when memory is short. */
bool lean_talk_make_part(lean_arena *arena, const json_t *const *texts, size_t n, lean_part *part);
void lean_talk_list_parts(lean_reply *reply, size_t n);
void lean_talk_list_part(lean_reply *reply, lean_part *part, uint64_t number);

/* DONE with the newest env and all messages; the reply takes the arena. */
pv_status lean_talk_finish(lean_talk *t, lean_reply *reply);

pv_status lean_talk_begin_open(lean_call *call, pv_buf *out, pv_error *err);
pv_status lean_talk_feed_open(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                              pv_error *err);
pv_status lean_talk_feed_check(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                               pv_error *err);

#endif
