#include "search_trace.h"

#include "pv_mem.h"
#include "pv_utf8.h"
#include "search_record.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

struct search_trace {
    FILE *file;
    char *path;
    pv_error error; /* the first one; nothing is written after it */
};

pv_status search_trace_create(search_trace **out, const char *path, pv_error *err)
{
    search_trace *trace = pv_calloc(1, sizeof *trace);
    char *copy = pv_strdup(path);
    if (trace == NULL || copy == NULL) {
        pv_free(trace);
        pv_free(copy);
        return pv_fail(err, PV_E_NOMEM, "%s: out of memory", path);
    }
    trace->path = copy;
    trace->file = fopen(path, "we");
    if (trace->file == NULL) {
        int code = errno;
        pv_free(trace);
        pv_free(copy);
        return pv_fail_os(err, PV_E_IO, code, "%s: cannot create the trace", path);
    }
    *out = trace;
    return PV_OK;
}

static void fail_write(search_trace *trace, int code)
{
    pv_fail_os(&trace->error, PV_E_IO, code, "%s: cannot write the trace", trace->path);
}

pv_status search_trace_close(search_trace *trace, pv_error *err)
{
    if (trace == NULL) {
        return PV_OK;
    }
    if (fclose(trace->file) != 0) {
        fail_write(trace, errno);
    }
    pv_status status = trace->error.status;
    if (status != PV_OK) {
        pv_fail(err, status, "%s", trace->error.msg);
    }
    pv_free(trace->path);
    pv_free(trace);
    return status;
}

/* ---- JSON ---- */

/* Text that is not UTF-8 (no such text takes part in a decision) is written with `?` for each
 * bad byte. */
static json_t *text_value(const char *text)
{
    size_t n = strlen(text);
    if (pv_utf8_valid(text, n) == n) {
        return json_stringn(text, n);
    }
    char *copy = pv_strdup(text);
    if (copy == NULL) {
        return NULL;
    }
    for (size_t at = 0; (at += pv_utf8_valid(copy + at, n - at)) < n;) {
        copy[at] = '?';
    }
    json_t *value = json_stringn(copy, n);
    pv_free(copy);
    return value;
}

static json_t *hex_value(uint64_t x)
{
    char text[17];
    snprintf(text, sizeof text, "%016" PRIx64, x);
    return json_string(text);
}

static json_t *key_value(pv_key key)
{
    char text[33];
    pv_key_format(key, text);
    return json_string(text);
}

/* JSON integers are signed: a budget that large is as good as none. */
static json_t *count_value(uint64_t x)
{
    return json_integer(x > INT64_MAX ? INT64_MAX : (json_int_t)x);
}

/* Takes the value; a NULL value, or one that does not fit in, is remembered. */
static void put(json_t *object, const char *key, json_t *value, bool *ok)
{
    if (json_object_set_new(object, key, value) != 0) {
        *ok = false;
    }
}

static void push(json_t *array, json_t *value, bool *ok)
{
    if (json_array_append_new(array, value) != 0) {
        *ok = false;
    }
}

static void write_line(search_trace *trace, json_t *line, bool ok)
{
    if (!ok) {
        pv_fail(&trace->error, PV_E_NOMEM, "%s: out of memory", trace->path);
    } else if (json_dumpf(line, trace->file, JSON_COMPACT) != 0 ||
               fputc('\n', trace->file) == EOF) {
        fail_write(trace, errno);
    }
    json_decref(line);
}

static bool is_off(const search_trace *trace)
{
    return trace == NULL || trace->error.status != PV_OK;
}

/* ---- lines ---- */

static const char *kind_name(search_outcome_kind kind)
{
    static const char *const names[] = {"closed", "open", "failed", "timed_out", "lost"};
    return names[kind];
}

static json_t *part_value(const search_part *part, bool *ok)
{
    json_t *value = json_object();
    json_t *goals = json_array();
    for (size_t i = 0; i < part->goal_count; i++) {
        push(goals, text_value(part->goals[i]), ok);
    }
    put(value, "key", key_value(part->key), ok);
    put(value, "goals", goals, ok);
    return value;
}

static void put_outcome(json_t *line, const search_outcome *outcome, bool *ok)
{
    put(line, "kind", json_string(kind_name(outcome->kind)), ok);
    if (outcome->kind == SEARCH_OPEN) {
        json_t *parts = json_array();
        for (size_t i = 0; i < outcome->part_count; i++) {
            push(parts, part_value(&outcome->parts[i], ok), ok);
        }
        json_t *order = json_array();
        for (size_t i = 0; i < outcome->goal_count; i++) {
            push(order, json_integer(outcome->order[i]), ok);
        }
        put(line, "parts", parts, ok);
        put(line, "order", order, ok);
    }
    if (outcome->message != NULL) {
        put(line, "message", text_value(outcome->message), ok);
    }
    put(line, "ms", json_real(outcome->lean_ms), ok);
}

static json_t *options_value(const search_options *options, bool *ok)
{
    json_t *value = json_object();
    put(value, "statement", text_value(options->statement), ok);
    put(value, "alpha", json_real(options->alpha), ok);
    put(value, "width", json_integer(options->width), ok);
    put(value, "asks", json_integer(options->asks), ok);
    put(value, "window", json_integer(options->window), ok);
    put(value, "nodes_max", count_value(options->nodes_max), ok);
    put(value, "expansions_max", count_value(options->expansions_max), ok);
    put(value, "tokens_max", count_value(options->tokens_max), ok);
    put(value, "lean_seconds_max", json_real(options->lean_seconds_max), ok);
    put(value, "wall_seconds_max", json_real(options->wall_seconds_max), ok);
    put(value, "depth_max", json_integer(options->depth_max), ok);
    put(value, "seed", hex_value(options->seed), ok);
    return value;
}

void search_record_start(search_trace *trace, const search_options *options,
                         const search_outcome *root)
{
    if (is_off(trace)) {
        return;
    }
    bool ok = true;
    json_t *line = json_object();
    json_t *outcome = json_object();
    put_outcome(outcome, root, &ok);
    put(line, "trace", json_string("prover-search"), &ok);
    put(line, "version", json_integer(1), &ok);
    put(line, "options", options_value(options, &ok), &ok);
    put(line, "root", outcome, &ok);
    write_line(trace, line, ok);
}

void search_record_policy(search_trace *trace, const search_expansion *expansion)
{
    if (is_off(trace)) {
        return;
    }
    bool ok = true;
    json_t *line = json_object();
    json_t *list = json_array();
    for (size_t i = 0; i < expansion->candidate_count; i++) {
        const search_candidate *candidate = &expansion->candidates[i];
        json_t *item = json_array();
        push(item, text_value(candidate->tactic), &ok);
        push(item, json_real(candidate->logprob), &ok);
        push(item, json_integer(candidate->tokens), &ok);
        push(list, item, &ok);
    }
    put(line, "policy", count_value(expansion->ticket), &ok);
    put(line, "node", json_integer(expansion->node), &ok);
    put(line, "candidates", list, &ok);
    write_line(trace, line, ok);
}

void search_record_outcome(search_trace *trace, uint64_t ticket, size_t index,
                           const search_outcome *outcome)
{
    if (is_off(trace)) {
        return;
    }
    bool ok = true;
    json_t *line = json_object();
    put(line, "verifier", count_value(ticket), &ok);
    put(line, "index", count_value(index), &ok);
    put_outcome(line, outcome, &ok);
    write_line(trace, line, ok);
}

void search_record_reject(search_trace *trace)
{
    if (is_off(trace)) {
        return;
    }
    bool ok = true;
    json_t *line = json_object();
    put(line, "reject", json_true(), &ok);
    write_line(trace, line, ok);
}

static json_t *stats_value(const search_stats *stats, bool *ok)
{
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {{"nodes", stats->nodes},
                  {"edges", stats->edges},
                  {"expansions", stats->expansions},
                  {"tactics", stats->tactics},
                  {"duplicates", stats->duplicates},
                  {"no_ops", stats->no_ops},
                  {"failed", stats->failed},
                  {"timed_out", stats->timed_out},
                  {"lost", stats->lost},
                  {"tokens", stats->tokens},
                  {"depth", stats->depth}};

    json_t *value = json_object();
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        put(value, counts[i].name, count_value(counts[i].value), ok);
    }
    put(value, "lean_seconds", json_real(stats->lean_seconds), ok);
    put(value, "wall_seconds", json_real(stats->wall_seconds), ok);
    return value;
}

void search_record_end(search_trace *trace, search_state state, const search_stats *stats)
{
    if (is_off(trace)) {
        return;
    }
    bool ok = true;
    json_t *line = json_object();
    put(line, "end", json_string(search_state_name(state)), &ok);
    put(line, "digest", hex_value(stats->digest), &ok);
    put(line, "stats", stats_value(stats, &ok), &ok);
    write_line(trace, line, ok);
    if (fflush(trace->file) != 0) {
        fail_write(trace, errno);
    }
}
