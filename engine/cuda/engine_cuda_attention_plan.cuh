/* engine_cuda_attention_plan: the plan of a batch as it lies in memory (host and device alike). Inside attention only.
 *
 *     header | rows, padded_rows | items, wide then narrow | refs | page tables
 * each section 16-aligned. */
#ifndef ENGINE_CUDA_ATTENTION_PLAN_CUH
#define ENGINE_CUDA_ATTENTION_PLAN_CUH

#include <stdint.h>

enum {
    CUDA_NARROW_SLOTS = 64, /* query rows of a tile: of one warpgroup  */
    CUDA_WIDE_SLOTS = 128   /* of two                                  */
};

struct cuda_plan_header { /* 32 bytes; offsets from the start of the plan */
    uint32_t wide;
    uint32_t narrow;
    uint32_t rows;
    uint32_t items;
    uint32_t refs;
    uint32_t pages;
    uint32_t pad[2];
};

/* States of a row: slots first .. first + count - 1, in ascending order of runs. count 0: the row is finished by the
 * item that holds it (or is padding). */
struct cuda_plan_row {
    uint32_t first;
    uint32_t count;
};

/* A tile of tokens, all query heads of one KV head each, against a range of runs. Query row i of the tile is token
 * i / group, head i % group of the group. */
struct cuda_plan_item { /* 32 bytes */
    uint32_t ref_first;
    uint32_t ref_count;
    uint32_t
        pages_first; /* where the page table begins (of absolute page 0)                           */
    uint32_t
        run_begin; /* 0: hands on one merged state, else one a run                               */
    uint32_t
        page_end; /* absolute, exclusive                                                        */
    uint32_t
        page_end_low; /* the same for the tile's first 64 query rows: <= page_end                  */
    uint32_t slot : 24; /* of the item's first state, from the row's first                        */
    uint32_t
        final_item : 8; /* covers all runs of its rows: writes the output                         */
    uint32_t stable;    /* pages before this one are not written by the batch                     */
};

struct cuda_plan_ref { /* a token of a tile; 16 bytes */
    uint32_t row;
    uint32_t position;
    uint32_t slot;   /* = cuda_plan_row.first                       */
    uint32_t stable; /* pages of its sequence before the first written */
};

#endif
