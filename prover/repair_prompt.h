/* repair_prompt: how a model that wrote a whole proof is shown what Lean says of it: for each error the lines where it stands, with the
 * place marked, and Lean's words; then it is asked for another proof. It is a new turn of the user's after the model's answer.
 *
 * After the corrections of Goedel-Prover-V2 (arXiv 2508.03613): up to 4 lines before the place, one behind it, at most 8 errors, at most 6
 * lines of a place; a message is shown up to 1200 bytes. What the model sees is the text that Lean saw: the user's statement with the
 * model's proof. Threads: pure. */
#ifndef REPAIR_PROMPT_H
#define REPAIR_PROMPT_H

#include "pv_buf.h"

#include <stddef.h>

enum {
    REPAIR_ERRORS_MAX = 8,
    REPAIR_LINES_BEFORE = 4,
    REPAIR_LINES_BEHIND = 1,
    REPAIR_SPAN_LINES = 6,
    REPAIR_MESSAGE_BYTES = 1200,
};

typedef struct repair_error {
    size_t start, end; /* bytes of the text: the place that is marked; end >= start */
    char *message;     /* Lean's; owned by whoever owns the error */
} repair_error;

/* Appends the turn. `text` (n bytes) is the declaration as Lean saw it; `errors` are in its order, those that are shown, `total` how many
 * there are; `round` counts from 1: the proof that was refused is the model's round-th. */
void repair_prompt_write(pv_buf *out, unsigned round, const char *text, size_t n,
                         const repair_error *errors, size_t count, size_t total);

#endif
