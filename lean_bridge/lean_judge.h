/* lean_judge: the last word on a proof, given by a Lean process that never ran anything else.
 *
 * A judgement: the lexical gate (lean_gate.h) looks at the proof text; a fresh worker gets the header and one `check`
 * request (docs/protocol.md) and is killed after its answer. One spare process may be kept warm (started, header
 * imported, nothing of any candidate run in it), so that a judgement does not wait for a start.
 * Levels: search_bridge calls them stepped < compiled < audited < replayed.
 * Threads: the loop's thread. */
#ifndef LEAN_JUDGE_H
#define LEAN_JUDGE_H

#include "lean_pool.h"

typedef struct lean_judge lean_judge;

typedef enum lean_level {
    LEAN_LEVEL_NONE,
    LEAN_LEVEL_STEPPED, /* the tactics closed the goals in the search                             */
    LEAN_LEVEL_COMPILED, /* a fresh process compiled the user's bytes and the proof, no error, no sorry */
    LEAN_LEVEL_AUDITED, /* and the type is the statement's, the axioms are the three allowed      */
    LEAN_LEVEL_REPLAYED, /* and an independent kernel run accepted it                              */
} lean_level;

const char *lean_level_name(lean_level level);

typedef struct lean_judgement { /* lives for the callback only */
    lean_level level;           /* NONE when refused                                             */
    const char *
        reason; /* refused: a word; else NULL. Those of `check` (docs/protocol.md), and "gate", "timeout",
                                   "memory", "protocol" (forged or unreadable replies), "crash" (Lean died of it) */
    const char *message; /* refused: for people                                           */
    const char *const *axioms;
    size_t axiom_count;
    const lean_checked_decl
        *decls; /* each claimed declaration with its axioms; none when refused   */
    size_t decl_count;
    size_t
        error_at; /* with fills, refused for an "error": its byte in the candidate; else SIZE_MAX */
    bool sandboxed;
    const char *lean_version;
    double seconds;
} lean_judgement;

/* `failure` is not NULL when no judgement could be given (no Lean, out of memory, cancelled): neither proved nor refused. */
typedef void lean_judge_cb(void *user, const lean_judgement *judgement, const pv_error *failure);

/* Options are those of the pool (workers is ignored). `warm`: keep a spare process ready. */
PV_NODISCARD pv_status lean_judge_open(lean_judge **out, uv_loop_t *loop,
                                       const lean_pool_options *options, bool warm, pv_error *err);
void lean_judge_close(lean_judge *judge, void (*closed)(void *user), void *user);

/* Tells the judge which header is coming, so that the spare can import it. */
void lean_judge_prepare(lean_judge *judge, const char *header);

typedef struct lean_judge_request {
    const char *header;       /* imports and commands that the user's text stands on          */
    const char *original;     /* the user's text with its holes                               */
    const char *candidate;    /* the same with proofs spliced in                              */
    const char *const *names; /* name_count declarations that are claimed                     */
    size_t name_count;
    const char *const *proofs; /* proof_count texts spliced in: what the gate looks at        */
    size_t proof_count;
    uint64_t deadline_ms;  /* of the check; 0 = 60000                                      */
    bool skip_gate;        /* for tests only: shows that Lean's check refuses by itself    */
    const uint64_t *fills; /* as in lean_check_request: holes were filled, others stay     */
    size_t fill_numbers;   /* 0: all of `names` is proved                                  */
    bool fill_data;
} lean_judge_request;

/* Asks. With fills the axioms allowed are the three and those that the declaration rested on before (Lean compares them; an answer that
 * lists others is believed, and decls says which), and `sorryAx` where a hole of it stays. Everything is copied. Exactly one callback, from the loop. Requests are judged one after another. */
PV_NODISCARD pv_status lean_judge_ask(lean_judge *judge, const lean_judge_request *request,
                                      lean_judge_cb *cb, void *user, pv_error *err);

#endif
