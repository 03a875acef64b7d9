/* writer: where whole proofs come from: something that is shown a statement and answers with text (whole_proof.h reads it).
 * Threads: the loop's. */
#ifndef WRITER_H
#define WRITER_H

#include "pv_error.h"

#include <stddef.h>
#include <stdint.h>

/* One answer; `text` (n bytes) is borrowed for the call, NULL when there is none. `failure` is NULL on success. */
typedef void writer_on_text(void *user, const char *text, size_t n, uint32_t tokens,
                            const pv_error *failure);

/* A proof of the writer's that Lean has refused, as a conversation: its answer, and the user's next turn (repair_prompt.h). */
typedef struct writer_repair {
    const char *answer, *turn;
} writer_repair;

typedef struct writer_request {
    const char *name;      /* of the problem                                         */
    const char *statement; /* header and declaration with its `sorry`                */
    const char *
        prefix; /* how every answer has begun already: the statement up to its `sorry` and the beginning
                            * of a proof, whole lines; the answers go on from there. NULL: they begin with nothing  */
    const writer_repair *repair; /* the answers reply to its turn, and begin with nothing; NULL   */
    uint32_t samples;            /* answers wanted, >= 1                                   */
    uint64_t first; /* number of the first of them: later ones of a problem are others */
    uint64_t seed;
    writer_on_text
        *on_text; /* exactly `samples` times unless write() fails; may run before it returns */
    void *user;
} writer_request;

typedef struct writer_ops {
    const char *name; /* "model", "file" */
    pv_status (*write)(void *self, const writer_request *request, uint64_t *ticket, pv_error *err);
    /* The answers that are missing come soon, as failures (PV_E_CANCELLED) or as they are. */
    void (*cancel)(void *self, uint64_t ticket);
} writer_ops;

typedef struct writer { /* {0}: none */
    const writer_ops *ops;
    void *self;
} writer;

#endif
