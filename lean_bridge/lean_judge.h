/* lean_judge: the last word on a proof, given by a Lean process that never ran it.
 *
 * A judgement: the lexical gate (lean_gate.h) looks at the proof text; a fresh worker gets the header and one `check`
 * request (docs/protocol.md) and is killed after its answer. For the level `replayed` that answer is not believed: it holds
 * what the candidate declares, as data, and a second process in which no candidate ever ran (lean_replay.h) compares it with
 * the user's text, gives it to the kernel and gathers the axioms. One spare process may be kept warm (started, header
 * imported, nothing of any candidate run in it), so that a judgement does not wait for a start.
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
    LEAN_LEVEL_REPLAYED, /* and all of that was found by a process that never ran the proof       */
} lean_level;

const char *lean_level_name(lean_level level);

/* False: no level is called that. */
bool lean_level_parse(const char *name, lean_level *out);

typedef struct lean_judgement { /* lives for the callback only */
    lean_level level;           /* NONE when refused                                             */
    const char *
        reason; /* refused: a word; else NULL. Those of `check` (docs/protocol.md), and "gate", "timeout",
                                   "memory", "protocol" (forged or unreadable replies), "crash" (Lean died of it),
                                   "export" (the candidate's process handed on what is no export) */
    const char *message;   /* refused: for people                                           */
    const char *shortfall; /* accepted, below the level asked for: why; else NULL          */
    const char *const *axioms;
    size_t axiom_count;
    const lean_checked_decl
        *decls; /* each claimed declaration with its axioms; none when refused   */
    size_t decl_count;
    size_t
        error_at; /* with fills, refused for an "error": its byte in the candidate; else SIZE_MAX */
    bool sandboxed;
    const char *lean_version;
    size_t export_bytes;   /* what went to the second process; 0: nothing                  */
    double replay_seconds; /* of that process; part of `seconds`                           */
    double seconds;
} lean_judgement;

/* `failure` is not NULL when no judgement could be given (no Lean, out of memory, cancelled): neither proved nor refused. */
typedef void lean_judge_cb(void *user, const lean_judgement *judgement, const pv_error *failure);

/* Whether a proof may rest on this axiom: propext, Quot.sound, Classical.choice. */
bool lean_axiom_allowed(const char *name);

/* Options are those of the pool (workers is ignored). `warm`: keep a spare process ready. Judgements go up to `audited`
 * until lean_judge_demand() is called. */
PV_NODISCARD pv_status lean_judge_open(lean_judge **out, uv_loop_t *loop,
                                       const lean_pool_options *options, bool warm, pv_error *err);
void lean_judge_close(lean_judge *judge, void (*closed)(void *user), void *user);

/* How far judgements go from now on: AUDITED, or REPLAYED, which needs a second process. Where Lean's server cannot do
 * that (leanprover-community/repl) a judgement ends below, with a `shortfall`. */
void lean_judge_demand(lean_judge *judge, lean_level level);

/* Tells the judge which header is coming, so that the spare, and the second process, can import it. */
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
