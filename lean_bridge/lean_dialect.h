/* lean_dialect: what one worker is asked and what it answers, whatever language it speaks. Internal to lean_bridge.
 *
 * A lean_call is one logical request; a dialect turns it into one or several requests on the wire and turns frames into
 * lean_reply. Implementations: lean_protocol.c (our server, docs/protocol.md) and lean_community.c.
 * No JSON type appears here. Threads: the loop's thread. */
#ifndef LEAN_DIALECT_H
#define LEAN_DIALECT_H

#include "lean_arena.h"
#include "lean_pool.h"
#include "lean_wire.h"

typedef enum lean_op {
    LEAN_OP_HEADER,
    LEAN_OP_COMMAND,
    LEAN_OP_OPEN,
    LEAN_OP_TRY,
    LEAN_OP_FREE,
    LEAN_OP_CHECK,
    LEAN_OP_MEMORY,
    LEAN_OP_MODULES,
    LEAN_OP_STATEMENTS,
    LEAN_OP_MUTATE,
    LEAN_OP_USAGE,
    LEAN_OP_REPLAY,
} lean_op;

enum { LEAN_OP_COUNT = LEAN_OP_REPLAY + 1 };

/* Zero what an operation does not use. All texts are borrowed until lean_dialect_ops.end, or until `abandoned` is set. */
typedef struct lean_call {
    lean_op op;
    uint64_t id; /* 1 ... 2^53 - 1, random: a proof that prints a forged reply cannot guess it */
    uint64_t heartbeats; /* in thousands, as maxHeartbeats; 0 = unlimited */
    uint64_t env;        /* COMMAND, OPEN, CHECK, and the questions about the library */
    uint64_t state;      /* TRY */
    const char *text;    /* HEADER, COMMAND, OPEN, MUTATE, USAGE; the module of STATEMENTS */
    const char *original, *candidate; /* CHECK; REPLAY: the original and the declarations */
    const char *const *names;         /* CHECK, REPLAY */
    size_t name_count;
    bool exporting;        /* CHECK */
    const uint64_t *fills; /* CHECK: what was filled, in threes; none: all of `names` is proved */
    size_t fill_numbers;
    bool fill_data;
    const char *const *tactics; /* TRY */
    size_t tactic_count;
    const uint64_t *states, *envs; /* FREE */
    size_t state_count, env_count;
    const char *name;             /* MUTATE, USAGE */
    const char *const *mutations; /* STATEMENTS, MUTATE */
    size_t mutation_count;
    uint64_t skip, limit; /* STATEMENTS */
    bool no_absurd;       /* STATEMENTS, MUTATE */
    /* progress, kept by the dialect */
    size_t answered; /* TRY: items so far, so the index of the tactic that Lean works on */
    bool abandoned;  /* set by the owner: nobody wants the rest, send nothing more */
    void *memo;      /* of the dialect; freed by `end` */
} lean_call;

typedef enum lean_reply_kind {
    LEAN_REPLY_NONE,  /* the frame answers nothing that was asked, or only a step of it        */
    LEAN_REPLY_ITEM,  /* TRY: one tactic; more follows                                         */
    LEAN_REPLY_DONE,  /* the call is over                                                      */
    LEAN_REPLY_ERROR, /* the call is over, refused: fault and message say why                  */
} lean_reply_kind;

typedef enum lean_fault {
    LEAN_FAULT_INTERNAL,   /* the server's own mistake, or ours (bad_request)  */
    LEAN_FAULT_HANDLE,     /* a state or env that this process does not have   */
    LEAN_FAULT_SOURCE,     /* the text: an import or a header command fails    */
    LEAN_FAULT_UNSUPPORTED /* this dialect cannot do it                        */
} lean_fault;

/* `lean_reply r = {0};` is valid; lean_reply_release() frees everything it points to. */
typedef struct lean_reply {
    lean_reply_kind kind;
    bool stale;          /* NONE: the frame was no reply at all (printed by a tactic, or forged) */
    lean_fault fault;    /* ERROR */
    const char *message; /* ERROR: for people */
    size_t at;           /* ITEM: index of the tactic */
    bool last;           /* ITEM: no DONE follows, the call is over with it */
    uint64_t env;        /* HEADER, COMMAND, OPEN */
    const lean_message *messages; /* all but TRY and FREE */
    size_t message_count;
    lean_opened opened;   /* OPEN */
    lean_tried tried;     /* ITEM */
    lean_checked checked; /* CHECK, REPLAY */
    lean_library library; /* MODULES, STATEMENTS, MUTATE, USAGE */
    /* Every part in the reply, in order: whoever owns states sets parts[i]->state from numbers[i]. */
    lean_part **parts;
    uint64_t *numbers;
    size_t part_count;
    lean_arena arena;
} lean_reply;

void lean_reply_release(lean_reply *reply);

typedef struct lean_greeting {
    bool complete;    /* false: this frame was not the greeting, wait for more */
    char version[64]; /* Lean's */
} lean_greeting;

typedef struct lean_dialect_ops {
    const char *name;
    lean_framing framing;
    bool can_free; /* without it memory only grows, and the pool recycles */
    /* Appends what is said first to a new process (may be nothing). */
    pv_status (*greet)(pv_buf *out, pv_error *err);
    /* Reads a frame of a process that has not greeted yet. Fails: PV_E_PROTOCOL, PV_E_UNSUPPORTED, PV_E_NOMEM. */
    pv_status (*greeted)(const char *frame, size_t n, lean_greeting *out, pv_error *err);
    /* Appends the first request of `call`. Fails: PV_E_NOMEM, PV_E_LIMIT, PV_E_UNSUPPORTED; nothing is to be sent then. */
    pv_status (*begin)(lean_call *call, pv_buf *out, pv_error *err);
    /* Takes a frame: fills *reply (zeroed), and may append the next request to *out. Fails: PV_E_NOMEM, PV_E_PROTOCOL;
     * the process cannot be used any more then. */
    pv_status (*feed)(lean_call *call, const char *frame, size_t n, pv_buf *out, lean_reply *reply,
                      pv_error *err);
    /* Frees what belongs to the call. Always called once after a begin that succeeded. May be NULL. */
    void (*end)(lean_call *call);
} lean_dialect_ops;

const lean_dialect_ops *lean_protocol_ops(void);
const lean_dialect_ops *lean_community_ops(void);

#endif
