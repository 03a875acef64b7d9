/* engine_pretokenizer: cuts text into the pieces that the BPE may not merge across. Internal to engine/.
 *
 * The stages of a tokenizer.json run one after another, each on the pieces of the one before it, and see nothing
 * outside their piece: Split (with the five behaviours), Digits, and ByteLevel, which must be the last.
 * Threads: immutable after build; the matcher belongs to one thread. */
#ifndef ENGINE_PRETOKENIZER_H
#define ENGINE_PRETOKENIZER_H

#include "engine_regex.h"
#include "pv_buf.h"
#include "pv_error.h"

#include <jansson.h>

enum { ENGINEP_STAGES_MAX = 32 };

typedef enum enginep_behavior {
    ENGINEP_ISOLATED,             /* matches and what is between them           */
    ENGINEP_REMOVED,              /* what is between matches                    */
    ENGINEP_CONTIGUOUS,           /* runs of matches, and what is between       */
    ENGINEP_MERGED_WITH_PREVIOUS, /* a match joins what stands before it        */
    ENGINEP_MERGED_WITH_NEXT,     /* a match joins what follows it              */
} enginep_behavior;

typedef struct enginep_stage {
    enginep_regex *regex; /* owned; NULL: pieces pass (ByteLevel without its regex) */
    enginep_behavior behavior;
    bool invert;       /* what does not match is the match        */
    bool prefix_space; /* ByteLevel: a piece begins with a space  */
} enginep_stage;

typedef struct enginep_pretokenizer { /* embedded; {0} can be released */
    enginep_stage stages[ENGINEP_STAGES_MAX];
    size_t count;
} enginep_pretokenizer;

PV_NODISCARD pv_status enginep_pretokenizer_build(enginep_pretokenizer *p, const json_t *spec,
                                                  pv_error *err);
void enginep_pretokenizer_release(enginep_pretokenizer *p);

/* Called with each piece in order; the bytes are borrowed for the call. */
typedef pv_status enginep_piece_fn(void *user, const char *piece, size_t n, pv_error *err);

typedef struct enginep_pieces { /* where pieces go, and one thread's means to find them */
    enginep_piece_fn *emit;
    void *user;
    enginep_matcher *matcher;
    pv_buf *scratch; /* overwritten */
} enginep_pieces;

/* Cuts text[0..n), valid UTF-8. */
PV_NODISCARD pv_status enginep_pretokenizer_run(const enginep_pretokenizer *p,
                                                const enginep_pieces *to, const char *text,
                                                size_t n, pv_error *err);

#endif
