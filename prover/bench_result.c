#include "bench.h"

#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void keep_result(bench_item *item, const store_result *result)
{
    bench *b = item->b;
    bool kept = false;
    pv_error err = {0};
    if (store_finish(b->store, b->me, result, &kept, &err) != PV_OK) {
        bench_fail(b, &err);
    } else if (!kept) {
        pv_log(PV_LOG_WARN,
               "%s: another process has taken this attempt over: the result of this one is dropped",
               item->problem->name);
    } else {
        b->done_here++;
        pv_log(PV_LOG_INFO, "%s: %s in %.1f s", item->problem->name, result->status,
               result->seconds);
    }
}

void bench_result_write(bench_item *item, const char *status, const char *why)
{
    bench *b = item->b;
    const effort *e = &item->effort;
    bool proved = strcmp(status, "proved") == 0;
    char *axioms = proved ? verdict_axioms_json(&item->verdict) : NULL;
    char *text = proved ? fill_declaration(&item->src, item->target, e->proofs, e->as_is) : NULL;
    store_result result = {.claim = item->claim,
                           .status = status,
                           .why = why,
                           .text = text,
                           .level = proved ? lean_level_name(item->verdict.level) : NULL,
                           .axioms = axioms,
                           .environment = b->environment == NULL ? "{}" : b->environment,
                           .text_hash = item->problem->text_hash,
                           .header_hash = item->problem->header_hash,
                           .seed = item->seed,
                           .stats = e->stats,
                           .seconds = (double)(pv_clock_ms() - item->started_ms) / 1000,
                           .judge_seconds = item->verdict.seconds,
                           .way = effort_way_name(e->way),
                           .samples = e->whole.read,
                           .kept = e->whole.kept,
                           .trees = item->trees.items,
                           .tree_count = item->trees.count,
                           .trees_left_out = item->trees.left_out};
    if (proved && (text == NULL || axioms == NULL)) {
        pv_error err = {0};
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        bench_fail(b, &err);
    } else {
        keep_result(item, &result);
    }
    free(axioms);
    pv_free(text);
}
