/* report_store: stores with runs and results of the test's own, for what is made out of them. */
#ifndef TEST_REPORT_STORE_H
#define TEST_REPORT_STORE_H

#include "pv_mem.h"
#include "store.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

typedef struct report_result { /* of one attempt */
    size_t problem;            /* in the run's list */
    uint64_t pass;
    const char *status, *text;
    double seconds;
    uint64_t tactics;
    const store_blob *tree; /* NULL: none */
} report_result;

typedef struct report_source { /* a run */
    const char *shard, *settings, *fingerprint, *lean;
    const char *const *
        names; /* NULL-terminated; problem i of the file has the statement "theorem NAME : i = i" */
    size_t step, first; /* the run has every step-th problem from the first on; step 0: all */
    uint64_t passes;
    const char *statement; /* of all problems instead; NULL */
    const report_result *results;
    size_t result_count;
} report_source;

static inline void report_add_problems(problem_list *list, const report_source *from)
{
    for (size_t i = 0; from->names[i] != NULL; i++) {
        char text[256], name[128], split[] = "valid", origin[] = "f", header[] = "open Nat";
        if (from->step > 1 && i % from->step != from->first) {
            continue;
        }
        snprintf(name, sizeof name, "%s", from->names[i]);
        snprintf(text, sizeof text, "theorem t%zu : %zu = %zu := by sorry", i, i, i);
        problem p = {.name = name,
                     .split = split,
                     .origin = origin,
                     .header = header,
                     .text = from->statement != NULL ? (char *)from->statement : text,
                     .number = i};
        cr_assert_eq(problem_list_add(list, &p, NULL), PV_OK);
    }
}

static inline void report_finish(store *s, store_member me, const report_result *r)
{
    bool kept = false;
    store_result result = {.claim = {r->problem, r->pass},
                           .status = r->status,
                           .why = strcmp(r->status, "proved") == 0 ? NULL : "the budget is spent",
                           .text = r->text,
                           .axioms = "[\"propext\"]",
                           .level = "audited",
                           .environment = "{\"policy\":\"portfolio\",\"lean\":\"4.28.0\"}",
                           .text_hash = "t",
                           .header_hash = "h",
                           .stats = {.tactics = r->tactics, .nodes = 5, .tokens = 3 * r->tactics},
                           .seconds = r->seconds,
                           .way = "step",
                           .trees = r->tree,
                           .tree_count = r->tree != NULL};
    cr_assert_eq(store_finish(s, me, &result, &kept, NULL), PV_OK);
    cr_assert(kept);
}

/* Adds the run to the store at `path`; its id is in `id` afterwards. Every attempt before the last result must have one. */
static inline void report_store_add(const char *path, const report_source *from,
                                    char id[STORE_ID_MAX])
{
    store *s = NULL;
    store_member me;
    problem_list list = {0};
    pv_error err = {0};
    cr_assert_eq(store_open(&s, path, &err), PV_OK, "%s", err.msg);
    report_add_problems(&list, from);
    char file[] = "problems.jsonl", shard[16], settings[256];
    snprintf(shard, sizeof shard, "%s", from->shard);
    snprintf(settings, sizeof settings, "%s", from->settings);
    store_run run = {
        .file = file, .shard = shard, .settings = settings, .passes = from->passes, .seed = 7};
    snprintf(run.fingerprint, sizeof run.fingerprint, "%s", from->fingerprint);
    strcpy(run.problems_hash, "0123456789abcdef");
    cr_assert_eq(store_run_create(s, &run, &list, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(store_run_lean(s, run.id, from->lean, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(store_join(s, run.id, NULL, &me, &err), PV_OK);
    for (size_t i = 0; i < from->result_count; i++) {
        store_claim claim;
        store_next next;
        cr_assert_eq(store_claim_next(s, me, &claim, &next, &err), PV_OK);
        cr_assert(claim.problem == from->results[i].problem && claim.pass == from->results[i].pass,
                  "results must be given in the order of claims: pass by pass");
        report_finish(s, me, &from->results[i]);
    }
    cr_assert_eq(store_leave(s, me, &err), PV_OK);
    snprintf(id, STORE_ID_MAX, "%s", run.id);
    problem_list_release(&list);
    store_close(s);
}

#endif
