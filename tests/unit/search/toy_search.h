/* Searches in the toy calculus, for tests of the search as a whole. */
#ifndef TOY_SEARCH_H
#define TOY_SEARCH_H

#include "script.h"

#include <criterion/criterion.h>

#define SUBS(...) ((const int[]){__VA_ARGS__, -1})
#define CLOSES    ((const int[]){-1})

static const uint32_t ROOT[1] = {0};

static inline search_run *start(world *w, search_options options)
{
    search_run *run;
    cr_assert_eq(world_start(w, &run, &options, ROOT, 1, false, NULL), PV_OK);
    return run;
}

static inline search_stats stats_of(const search_run *run)
{
    search_stats stats;
    search_stats_of(run, &stats);
    return stats;
}

static inline void check_text(const search_run *run, const char *expected)
{
    pv_buf text = {0};
    cr_assert_eq(search_proof(run, &text, NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&text), expected);
    pv_buf_release(&text);
}

static inline void end(world *w, search_run *run)
{
    world_close(w, run);
    cr_assert_eq(w->handles, 0);
    cr_assert_eq(pv_mem_live(), 0);
}

/* Goals that only ever lead to other goals. */
static inline void endless(world *w)
{
    for (uint32_t g = 0; g < 40; g++) {
        calculus_rule(&w->c, g, -1, SUBS((int)g + 1));
        calculus_rule(&w->c, g, -2, SUBS((int)g + 2));
    }
    w->c.goal_count = 44;
}

#endif
