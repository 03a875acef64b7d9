/* problem: a statement to be proved, as a benchmark has it: its text, the header that it stands on, and hashes that name both.
 * Lists of them, and the part of a list that a run works on. Threads: one at a time per list. */
#ifndef PROBLEM_H
#define PROBLEM_H

#include "key_set.h"
#include "pv_error.h"
#include "pv_sha256.h"

#include <stddef.h>
#include <stdint.h>

typedef struct problem {
    char *name;    /* unique in its list                                                       */
    char *split;   /* "valid", "test", ...; "" when nobody says                                */
    char *origin;  /* for messages: FILE.jsonl:LINE, or FILE.lean                              */
    char *header;  /* imports and commands before the text; "" for none                        */
    char *text;    /* Lean text with its holes; may begin with imports of its own              */
    size_t target; /* which declaration of the text that has a hole is meant, from 0           */
    uint64_t
        number; /* place in the file's list after --split and --filter: the same in all shards */
    char text_hash[PV_SHA256_TEXT], header_hash[PV_SHA256_TEXT];
} problem;

typedef struct problem_list {
    problem *items;
    size_t count, capacity;
    key_set names; /* hashes of the names */
} problem_list;

/* Adds a copy of what `from` points to; its hashes are computed, a name that is there already gets #2, #3, ... behind it.
 * Fails: PV_E_NOMEM, the list as it was. */
PV_NODISCARD pv_status problem_list_add(problem_list *list, const problem *from, pv_error *err);
void problem_list_release(problem_list *list);

/* Which problems of a list a run is about. */
typedef struct problem_choice {
    const char *split;    /* only this split (letter case does not matter); "" = all */
    const char *filter;   /* only names that match this GLOB; "" = all               */
    uint64_t part, parts; /* only every parts-th, from the part-th on; parts 0 = all */
} problem_choice;

/* Drops what is not chosen and numbers what --split and --filter leave. `hash` (may be NULL) gets the hash of all statements that these
 * two leave, so that the shards of one benchmark have one hash. Fails: PV_E_INVALID when nothing is left, with what there was. */
PV_NODISCARD pv_status problem_list_choose(problem_list *list, const problem_choice *choice,
                                           char hash[PV_SHA256_TEXT], pv_error *err);

#endif
