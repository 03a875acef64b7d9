#include "bench.h"

#include "json_out.h"
#include "pass_at_k.h"
#include "progress.h"
#include "pv_mem.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct table {
    const store_run *run;
    bool json;
    pass_count *counts; /* one for each problem */
    size_t attempts, proved, refused, errors, skipped;
    double seconds, lean_seconds, judge_seconds;
    uint64_t tactics, tokens;
} table;

/* ---- rows ---- */

static json_t *search_json(const store_result *r)
{
    char digest[17];
    json_t *out = json_object();
    const search_stats *n = &r->stats;
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)n->digest);
    json_out_count(out, "states", n->nodes);
    json_out_count(out, "expansions", n->expansions);
    json_out_count(out, "tactics", n->tactics);
    json_out_count(out, "failed", n->failed);
    json_out_count(out, "timed_out", n->timed_out);
    json_out_count(out, "lost", n->lost);
    json_out_count(out, "merged", n->duplicates);
    json_out_count(out, "no_ops", n->no_ops);
    json_out_count(out, "tokens", n->tokens);
    json_out_count(out, "depth", n->depth);
    json_object_set_new(out, "lean_seconds", json_real(n->lean_seconds));
    json_out_text(out, "digest", digest);
    return out;
}

static pv_status print_row(const table *t, const store_result *r, pv_error *err)
{
    json_t *out = json_object();
    json_out_text(out, "kind", "attempt");
    json_out_text(out, "run", t->run->id);
    json_out_text(out, "problem", r->name);
    json_out_text(out, "split", r->split);
    json_out_count(out, "pass", r->claim.pass);
    json_out_text(out, "status", r->status);
    json_out_text(out, "why", r->why);
    json_out_text(out, "level", r->level);
    json_object_set_new(out, "axioms",
                        r->axioms == NULL ? json_array() : json_loads(r->axioms, 0, NULL));
    json_out_text(out, "text", r->text);
    json_out_text(out, "way", r->way);
    if (r->samples > 0) {
        json_out_count(out, "samples", r->samples);
        json_out_count(out, "kept_bytes", r->kept);
    }
    json_out_text(out, "statement", r->statement);
    json_out_text(out, "statement_sha256", r->text_hash);
    json_out_text(out, "header", r->header);
    json_out_text(out, "header_sha256", r->header_hash);
    json_out_count(out, "seed", r->seed);
    json_object_set_new(out, "search", search_json(r));
    json_object_set_new(out, "seconds", json_real(r->seconds));
    json_object_set_new(out, "judge_seconds", json_real(r->judge_seconds));
    json_object_set_new(out, "finished", json_integer((json_int_t)r->finished));
    json_object_set_new(out, "environment", json_loads(r->environment, 0, NULL));
    return json_out_print(out, err);
}

static pv_status print_line(const table *t, const store_result *r)
{
    printf("%-48s ", r->name);
    if (t->run->passes > 1) {
        printf("%4llu  ", (unsigned long long)r->claim.pass + 1);
    }
    printf("%-10s %7.1f s %7llu states %8llu tactics  %.*s\n", r->status, r->seconds,
           (unsigned long long)r->stats.nodes, (unsigned long long)r->stats.tactics,
           r->why == NULL ? 0 : (int)strcspn(r->why, "\n"), r->why == NULL ? "" : r->why);
    return PV_OK;
}

static pv_status on_result(void *user, const store_result *r, pv_error *err)
{
    table *t = user;
    bool proved = strcmp(r->status, "proved") == 0;
    pass_count *count = &t->counts[r->claim.problem];
    count->n++;
    count->c += proved;
    t->attempts++;
    t->proved += proved;
    t->refused += strcmp(r->status, "refused") == 0;
    t->errors += strcmp(r->status, "error") == 0;
    t->skipped += strcmp(r->status, "skipped") == 0;
    t->seconds += r->seconds;
    t->lean_seconds += r->stats.lean_seconds;
    t->judge_seconds += r->judge_seconds;
    t->tactics += r->stats.tactics;
    t->tokens += r->stats.tokens;
    return t->json ? print_row(t, r, err) : print_line(t, r);
}

/* ---- the end of the table ---- */

static size_t count_solved(const table *t)
{
    size_t solved = 0;
    for (size_t i = 0; i < t->run->problem_count; i++) {
        solved += t->counts[i].c > 0;
    }
    return solved;
}

static json_t *pass_json(const table *t)
{
    json_t *out = json_array();
    for (uint64_t k = 1; k != 0; k = pass_next_k(k, t->run->passes)) {
        pass_estimate e = pass_estimate_of(t->counts, t->run->problem_count, k);
        json_array_append_new(out, json_pack("{s:I,s:f,s:f,s:f,s:I}", "k", (json_int_t)k, "value",
                                             e.value, "low", e.low, "high", e.high, "problems",
                                             (json_int_t)e.problems));
    }
    return out;
}

static pv_status print_summary(const table *t, pv_error *err)
{
    json_t *out = json_object();
    json_out_text(out, "kind", "summary");
    json_out_text(out, "run", t->run->id);
    json_out_text(out, "file", t->run->file);
    json_out_text(out, "shard", t->run->shard);
    json_out_text(out, "lean", t->run->lean);
    json_out_text(out, "problems_sha256", t->run->problems_hash);
    json_out_text(out, "fingerprint", t->run->fingerprint);
    json_out_count(out, "seed", t->run->seed);
    json_object_set_new(out, "settings", json_loads(t->run->settings, 0, NULL));
    json_out_count(out, "problems", t->run->problem_count);
    json_out_count(out, "passes", t->run->passes);
    json_out_count(out, "attempts", t->attempts);
    json_object_set_new(out, "complete",
                        json_boolean(t->attempts == t->run->problem_count * t->run->passes));
    json_out_count(out, "solved", count_solved(t));
    json_out_count(out, "proved", t->proved);
    json_out_count(out, "refused", t->refused);
    json_out_count(out, "errors", t->errors);
    json_out_count(out, "skipped", t->skipped);
    json_object_set_new(out, "pass_at_k", pass_json(t));
    json_object_set_new(out, "interval", json_string("Wilson score, 95 %, over problems"));
    json_object_set_new(out, "seconds", json_real(t->seconds));
    json_object_set_new(out, "lean_seconds", json_real(t->lean_seconds));
    json_object_set_new(out, "judge_seconds", json_real(t->judge_seconds));
    json_out_count(out, "tactics", t->tactics);
    json_out_count(out, "tokens", t->tokens);
    return json_out_print(out, err);
}

static pv_status print_end(const table *t)
{
    uint64_t all = t->run->problem_count * t->run->passes;
    printf("\n%zu of %llu problems solved", count_solved(t),
           (unsigned long long)t->run->problem_count);
    if (t->run->passes > 1) {
        printf(", %zu of %zu attempts", t->proved, t->attempts);
    }
    printf("%s", t->attempts < all ? " so far" : "");
    if (t->errors + t->skipped + t->refused > 0) {
        printf("; refused by the judge %zu, not opened by Lean %zu, skipped %zu", t->refused,
               t->errors, t->skipped);
    }
    printf("\n");
    for (uint64_t k = 1; k != 0; k = pass_next_k(k, t->run->passes)) {
        pass_estimate e = pass_estimate_of(t->counts, t->run->problem_count, k);
        if (e.problems > 0) {
            printf("pass@%-5llu %6.2f %%   %.2f to %.2f %% (Wilson, 95 %%, %zu problems)\n",
                   (unsigned long long)k, 100 * e.value, 100 * e.low, 100 * e.high, e.problems);
        }
    }
    printf("%.1f s in attempts, %.1f s of it in Lean, %.1f s judging; %llu tactics, %llu tokens\n",
           t->seconds, t->lean_seconds, t->judge_seconds, (unsigned long long)t->tactics,
           (unsigned long long)t->tokens);
    printf("run %s: %s, statements %.16s, seed %llu, Lean %s\n", t->run->id, t->run->file,
           t->run->problems_hash, (unsigned long long)t->run->seed,
           t->run->lean[0] == '\0' ? "?" : t->run->lean);
    return PV_OK;
}

pv_status bench_table(store *s, const store_run *run, bool json, pv_error *err)
{
    table t = {.run = run, .json = json};
    t.counts = pv_calloc(run->problem_count + 1, sizeof *t.counts);
    if (t.counts == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    progress_clear();
    pv_status status = store_results(s, run->id, on_result, &t, err);
    if (status == PV_OK) {
        status = json ? print_summary(&t, err) : print_end(&t);
    }
    pv_status flushed = json_out_flush(err);
    status = flushed == PV_OK ? status : flushed;
    pv_free(t.counts);
    return status;
}
