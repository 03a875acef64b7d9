#include "prove_run.h"

#include "pv_mem.h"
#include "run_describe.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

bool prove_run_has(const theorem_list *list, size_t place)
{
    return list->items[place].hole_count > 0 || list->count == 1;
}

static pv_status fail_memory(pv_error *err)
{
    return pv_fail(err, PV_E_NOMEM, "out of memory");
}

/* The declaration itself is the problem's text; what stands before it in the file is not. */
static pv_status add_theorem(problem_list *problems, const source *src, const theorem *t,
                             pv_error *err)
{
    char split[] = "";
    pv_buf origin = {0};
    char *text = pv_strndup(src->text + t->start, t->end - t->start);
    pv_buf_printf(&origin, "%s:%zu", src->name, t->line);
    problem p = {.name = t->name,
                 .split = split,
                 .origin = (char *)pv_buf_text(&origin),
                 .header = src->header,
                 .text = text,
                 .number = problems->count};
    pv_status status = text == NULL || !pv_buf_ok(&origin) ? fail_memory(err)
                                                           : problem_list_add(problems, &p, err);
    pv_buf_release(&origin);
    pv_free(text);
    return status;
}

static pv_status list_problems(problem_list *out, const source *src, const theorem_list *list,
                               char hash[PV_SHA256_TEXT], pv_error *err)
{
    problem_choice all = {.split = "", .filter = ""};
    pv_status status = PV_OK;
    for (size_t i = 0; i < list->count && status == PV_OK; i++) {
        if (prove_run_has(list, i)) {
            status = add_theorem(out, src, &list->items[i], err);
        }
    }
    return status == PV_OK ? problem_list_choose(out, &all, hash, err) : status;
}

static pv_status make_run(prove_run *out, const session *s, const policy_choice *choice,
                          const char *file, pv_error *err)
{
    out->run.file = pv_strdup(file);
    out->run.shard = pv_strdup("0/1");
    out->run.lean = pv_strdup("");
    out->run.passes = 1;
    out->run.seed = s->opt->seed;
    if (out->run.file == NULL || out->run.shard == NULL || out->run.lean == NULL) {
        return fail_memory(err);
    }
    pv_status status = run_describe(&out->run, &out->environment, s, choice, err);
    return status == PV_OK ? store_run_create(out->store, &out->run, &out->problems, err) : status;
}

static pv_status join(prove_run *out, const session *s, pv_error *err)
{
    const char *lean = lean_pool_lean_version(s->pool);
    pv_status status = store_run_lean(out->store, out->run.id, lean == NULL ? "?" : lean, err);
    return status == PV_OK ? store_join(out->store, out->run.id, NULL, &out->me, err) : status;
}

pv_status prove_run_open(prove_run *out, const session *s, const policy_choice *choice,
                         const source *src, const theorem_list *list, pv_error *err)
{
    if (s->opt->prove_store[0] == '\0') {
        return PV_OK;
    }
    pv_status status = store_open(&out->store, s->opt->prove_store, err);
    if (status == PV_OK) {
        status = list_problems(&out->problems, src, list, out->run.problems_hash, err);
    }
    if (status == PV_OK) {
        status = make_run(out, s, choice, src->name, err);
    }
    if (status == PV_OK) {
        status = join(out, s, err);
    }
    return status;
}

static const char *status_name(attempt_end end)
{
    return end == ATTEMPT_PROVED    ? "proved"
           : end == ATTEMPT_REFUSED ? "refused"
           : end == ATTEMPT_SKIPPED ? "skipped"
                                    : "not proved";
}

static pv_status finish(prove_run *run, store_claim claim, const attempt *a, uint64_t seed,
                        pv_error *err)
{
    const problem *p = &run->problems.items[claim.problem];
    bool proved = a->end == ATTEMPT_PROVED, kept = false;
    char *axioms = proved ? verdict_axioms_json(&a->verdict) : NULL;
    store_result result = {.claim = claim,
                           .status = status_name(a->end),
                           .why = a->why,
                           .text = a->text,
                           .level = proved ? lean_level_name(a->verdict.level) : NULL,
                           .axioms = axioms,
                           .environment = run->environment,
                           .text_hash = p->text_hash,
                           .header_hash = p->header_hash,
                           .seed = seed,
                           .stats = a->stats,
                           .seconds = a->seconds,
                           .judge_seconds = a->verdict.seconds,
                           .way = "step",
                           .trees = a->trees.items,
                           .tree_count = a->trees.count,
                           .trees_left_out = a->trees.left_out};
    pv_status status = store_finish(run->store, run->me, &result, &kept, err);
    free(axioms);
    return status;
}

pv_status prove_run_keep(prove_run *run, const attempt *a, uint64_t seed, pv_error *err)
{
    store_claim claim;
    store_next next;
    if (run->store == NULL || a->end == ATTEMPT_INTERRUPTED) {
        return PV_OK;
    }
    pv_status status = store_claim_next(run->store, run->me, &claim, &next, err);
    return status == PV_OK && next == STORE_CLAIMED ? finish(run, claim, a, seed, err) : status;
}

pv_status prove_run_close(prove_run *run, pv_error *err)
{
    pv_status status = run->me.id != 0 ? store_leave(run->store, run->me, err) : PV_OK;
    store_close(run->store);
    store_run_release(&run->run);
    problem_list_release(&run->problems);
    pv_free(run->environment);
    memset(run, 0, sizeof *run);
    return status;
}
