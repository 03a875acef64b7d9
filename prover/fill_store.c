#include "fill_store.h"

#include "attempt.h"
#include "lean_strings.h"
#include "problem.h"
#include "pv_mem.h"
#include "run_describe.h"
#include "store.h"

#include <stdlib.h>
#include <string.h>

struct fill_store {
    store *store;
};

pv_status fill_store_open(fill_store **out, const char *path, pv_error *err)
{
    fill_store *keeper = pv_calloc(1, sizeof *keeper);
    if (keeper == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    pv_status status = store_open(&keeper->store, path, err);
    if (status == PV_OK) {
        *out = keeper;
    } else {
        pv_free(keeper);
    }
    return status;
}

void fill_store_close(fill_store *keeper)
{
    if (keeper != NULL) {
        store_close(keeper->store);
        pv_free(keeper);
    }
}

/* ---- holes as problems ---- */

static pv_status add_problem(problem_list *list, const fill_file *file, const fill_site *site,
                             pv_error *err)
{
    const hole *h = fill_site_hole(site);
    const theorem *t = site->owner;
    char *name = lean_strings_format("%s:%zu:%zu", file->file->shown, h->line, h->column);
    char *text = pv_strndup(file->src.text + t->start, t->end - t->start);
    problem p = {.name = name,
                 .split = (char *)"",
                 .origin = file->file->shown,
                 .header = file->src.header,
                 .text = text};
    pv_status status = name == NULL || text == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                                    : problem_list_add(list, &p, err);
    pv_free(name);
    pv_free(text);
    return status;
}

static pv_status list_problems(problem_list *list, const fill_file *file, char hash[PV_SHA256_TEXT],
                               pv_error *err)
{
    problem_choice all = {.split = "", .filter = ""};
    pv_status status = PV_OK;
    for (size_t i = 0; i < file->count && status == PV_OK; i++) {
        if (file->sites[i].wanted) {
            status = add_problem(list, file, &file->sites[i], err);
        }
    }
    return status == PV_OK && list->count > 0 ? problem_list_choose(list, &all, hash, err) : status;
}

/* ---- results ---- */

static const fill_site *wanted_site(const fill_file *file, size_t number)
{
    for (size_t i = 0; i < file->count; i++) {
        if (file->sites[i].wanted && number-- == 0) {
            return &file->sites[i];
        }
    }
    return NULL;
}

static void add_stats(const fill_site *site, search_stats *sum)
{
    for (size_t i = 0; i < site->goal_count; i++) {
        search_stats one;
        if (site->goals[i].search.run != NULL) {
            search_stats_of(site->goals[i].search.run, &one);
            quest_add_stats(sum, &one);
        }
    }
}

static pv_status add_result(fill_store *keeper, store_member me, const fill_file *file,
                            const problem_list *list, const char *environment, store_claim claim,
                            pv_error *err)
{
    const fill_site *site = wanted_site(file, claim.problem);
    const problem *p = &list->items[claim.problem];
    bool filled = site->state == FILL_FILLED, kept = false;
    store_result result = {
        .claim = claim,
        .text_hash = p->text_hash,
        .header_hash = p->header_hash,
        .status = filled                        ? "proved"
                  : site->state == FILL_REFUSED ? "refused"
                                                : "not proved",
        .why = filled              ? NULL
               : site->why == NULL ? "not tried"
                                   : site->why,
        .text = filled ? site->block : NULL,
        .level = filled ? lean_level_name(file->verdict.level) : NULL,
        .environment = environment,
        .seed = file->f->opt->seed,
        .way = "step",
    };
    add_stats(site, &result.stats);
    result.seconds = result.stats.wall_seconds;
    result.judge_seconds = filled ? file->verdict.seconds : 0;
    return store_finish(keeper->store, me, &result, &kept, err);
}

static pv_status add_results(fill_store *keeper, const char *run, const fill_file *file,
                             const problem_list *list, const char *environment, pv_error *err)
{
    store_member me;
    pv_status status = store_join(keeper->store, run, NULL, &me, err);
    store_next next = STORE_CLAIMED;
    while (status == PV_OK && next == STORE_CLAIMED) {
        store_claim claim;
        status = store_claim_next(keeper->store, me, &claim, &next, err);
        if (status == PV_OK && next == STORE_CLAIMED) {
            status = add_result(keeper, me, file, list, environment, claim, err);
        }
    }
    return status == PV_OK ? store_leave(keeper->store, me, err) : status;
}

pv_status fill_store_add(fill_store *keeper, const fill_file *file, pv_error *err)
{
    const fill *f = file->f;
    problem_list list = {0};
    char *environment = NULL;
    store_run run = {.file = file->file->path,
                     .shard = (char *)"0/1",
                     .lean = (char *)"",
                     .passes = 1,
                     .seed = f->opt->seed};
    pv_status status = list_problems(&list, file, run.problems_hash, err);
    if (status == PV_OK && list.count > 0) {
        status = run_describe(&run, &environment, &f->s, &f->choice, err);
        if (status == PV_OK) {
            status = store_run_create(keeper->store, &run, &list, err);
        }
        const char *version = lean_pool_lean_version(f->s.pool);
        if (status == PV_OK && version != NULL) {
            status = store_run_lean(keeper->store, run.id, version, err);
        }
        if (status == PV_OK) {
            status = add_results(keeper, run.id, file, &list, environment, err);
        }
    }
    pv_free(run.settings);
    pv_free(environment);
    problem_list_release(&list);
    return status;
}
