/* Rows are written and counted; what a person sees of it. */
#include "generate.h"

#include "progress.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

enum { SYNC_MS = 500 };

void generate_fail(generator *g, const pv_error *err)
{
    if (g->failure.status == PV_OK) {
        g->failure = *err;
    }
    g->stopping = true;
}

/* ---- rows ---- */

json_t *generate_row(const generator *g, const char *kind, const generate_statement *st)
{
    char key[33], root[33];
    pv_buf text = {0};
    (void)g;
    pv_key_format(st->key, key);
    pv_key_format(st->root, root);
    pv_buf_printf(&text, "theorem %s", st->text);
    json_t *row =
        json_pack("{s:s,s:s,s:s,s:{s:s,s:s,s:s,s:s},s:s}", "kind", kind, "key", key, "statement",
                  pv_buf_text(&text), "source", "library", st->block->module, "name", st->name,
                  "mutation", st->mutation, "root", root, "split", generate_split(st->root));
    pv_buf_release(&text);
    return row;
}

void generate_drop(generator *g, generate_statement *st, const char *filter, const char *reason)
{
    if (g->opt->list) {
        return;
    }
    json_t *row = generate_row(g, "dropped", st);
    json_object_set_new(row, "filter", json_string(filter));
    if (reason != NULL) {
        json_object_set_new(row, "reason", json_string(reason));
    }
    generate_write(g, row, st);
}

/* ---- counting ---- */

static const char *text_of(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text == NULL ? "" : text;
}

static void add_to(json_t *table, const char *group, const char *column, json_int_t n)
{
    json_t *row = json_object_get(table, group);
    if (row == NULL) {
        row = json_object();
        json_object_set_new(table, group, row);
    }
    json_int_t old = json_integer_value(json_object_get(row, column));
    json_object_set_new(row, column, json_integer(old + n));
}

static void count_pair(generator *g, const char *state, const char *tactic)
{
    pv_buf both = {0};
    pv_error err = {0};
    pv_buf_printf(&both, "%s%c%s", state, '\1', tactic);
    pv_key key = pv_key_of(pv_buf_text(&both), both.len);
    pv_buf_release(&both);
    if (!key_set_has(&g->pairs, key) && key_set_add(&g->pairs, key, &err) == PV_OK) {
        g->pair_count++;
    }
}

static void count_pairs(generator *g, const json_t *row)
{
    static const char *const lists[] = {"steps", "alternatives", "solved"};
    const json_t *steps = json_object_get(row, "steps");
    for (size_t l = 0; l < sizeof lists / sizeof *lists; l++) {
        const json_t *list = json_object_get(row, lists[l]);
        for (size_t i = 0; i < json_array_size(list); i++) {
            const json_t *item = json_array_get(list, i), *at = item;
            if (strcmp(lists[l], "alternatives") == 0) {
                at = json_array_get(steps,
                                    (size_t)json_integer_value(json_object_get(item, "step")));
            }
            count_pair(g, text_of(at, "state"), text_of(item, "tactic"));
        }
    }
}

static void count_row(generator *g, const json_t *row)
{
    const char *kind = text_of(row, "kind");
    if (strcmp(kind, "block") == 0) {
        add_to(g->by_filter, "duplicate", "dropped",
               json_integer_value(json_object_get(row, "duplicates")));
        return;
    }
    bool cheap = json_is_true(json_object_get(row, "cheap"));
    const char *column = strcmp(kind, "proof") != 0 ? kind : cheap ? "cheap" : "proved";
    const json_t *origin = json_object_get(row, "source");
    uint64_t before = g->pair_count;
    g->rows++;
    g->cheap += cheap;
    g->proved += strcmp(column, "proved") == 0;
    g->open += strcmp(kind, "open") == 0;
    g->dropped += strcmp(kind, "dropped") == 0;
    count_pairs(g, row);
    add_to(g->by_source, text_of(origin, "library"), column, 1);
    add_to(g->by_mutation, text_of(origin, "mutation"), column, 1);
    add_to(g->by_source, text_of(origin, "library"), "pairs", (json_int_t)(g->pair_count - before));
    add_to(g->by_mutation, text_of(origin, "mutation"), "pairs",
           (json_int_t)(g->pair_count - before));
    if (strcmp(kind, "dropped") == 0) {
        add_to(g->by_filter, text_of(row, "filter"), "dropped", 1);
    }
}

pv_status generate_read_row(void *user, const json_t *row, pv_error *err)
{
    generator *g = user;
    const char *id = json_string_value(json_object_get(row, "id"));
    pv_key key;
    count_row(g, row);
    if (strcmp(text_of(row, "kind"), "block") == 0 && id != NULL) {
        return key_set_add(&g->blocks_done, pv_key_of(id, strlen(id)), err);
    }
    if (!pv_key_parse(text_of(row, "key"), &key)) {
        return pv_fail(err, PV_E_INVALID,
                       "%s: a row of kind \"%s\" without a key: not a file of "
                       "`prover generate`",
                       g->opt->output, text_of(row, "kind"));
    }
    return key_set_add(&g->done, key, err);
}

void generate_write(generator *g, json_t *row, const generate_statement *st)
{
    pv_error err = {0};
    (void)st;
    pv_status status = row == NULL ? pv_fail(&err, PV_E_NOMEM, "out of memory for a row")
                       : g->failure.status != PV_OK
                           ? PV_OK /* after a failure nothing is written any more */
                           : data_file_append(&g->file, row, &err);
    if (status == PV_OK && row != NULL && g->failure.status == PV_OK) {
        count_row(g, row);
        status = data_file_sync(&g->file, SYNC_MS, &err);
    }
    if (status != PV_OK) {
        generate_fail(g, &err);
    }
    json_decref(row);
}

/* ---- for people ---- */

static double seconds_of(const generator *g)
{
    double seconds = (double)(pv_clock_ms() - g->started_ms) / 1000;
    return seconds > 0.001 ? seconds : 0.001;
}

void generate_progress(generator *g)
{
    char line[256];
    double minutes = seconds_of(g) / 60;
    uint64_t now = g->rows - g->at_start;
    snprintf(line, sizeof line,
             "generate: %llu statements (%.0f/min), %llu proved, %llu cheap, %llu open, %llu "
             "dropped, %llu pairs, %llu for the judge, %zu of %zu blocks left",
             (unsigned long long)g->rows, (double)now / minutes, (unsigned long long)g->proved,
             (unsigned long long)g->cheap, (unsigned long long)g->open,
             (unsigned long long)g->dropped, (unsigned long long)g->pair_count,
             (unsigned long long)g->judge.count, g->block_count - g->next_block, g->block_count);
    progress_line(line);
}

static void print_table(const char *title, const json_t *table)
{
    static const char *const columns[] = {"proved", "cheap", "open", "dropped", "pairs"};
    const char *group;
    json_t *row;
    fprintf(stderr, "%-44s", title);
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        fprintf(stderr, " %8s", columns[i]);
    }
    fputc('\n', stderr);
    json_object_foreach((json_t *)table, group, row)
    {
        fprintf(stderr, "  %-42.42s", group);
        for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
            fprintf(stderr, " %8lld",
                    (long long)json_integer_value(json_object_get(row, columns[i])));
        }
        fputc('\n', stderr);
    }
}

static json_t *report_json(const generator *g)
{
    return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:I,s:O,s:O,s:O}", "statements",
                     (json_int_t)g->rows, "new", (json_int_t)(g->rows - g->at_start), "proved",
                     (json_int_t)g->proved, "cheap", (json_int_t)g->cheap, "open",
                     (json_int_t)g->open, "dropped", (json_int_t)g->dropped, "pairs",
                     (json_int_t)g->pair_count, "seconds", seconds_of(g), "lean_seconds",
                     g->lean_seconds, "tactics", (json_int_t)g->tactics, "by_source", g->by_source,
                     "by_mutation", g->by_mutation, "by_filter", g->by_filter);
}

void generate_report(generator *g)
{
    double minutes = seconds_of(g) / 60;
    progress_clear();
    if (g->opt->json) {
        json_t *report = report_json(g);
        char *text = json_dumps(report, JSON_COMPACT);
        puts(text == NULL ? "{}" : text);
        json_free_t release;
        json_get_alloc_funcs(NULL, &release);
        release(text);
        json_decref(report);
        return;
    }
    print_table("by source", g->by_source);
    print_table("by mutation", g->by_mutation);
    print_table("by filter", g->by_filter);
    fprintf(
        stderr,
        "%s: %llu statements, %llu proved, %llu cheap, %llu open, %llu dropped, %llu distinct "
        "pairs\nthis run: %llu statements in %.1f min (%.0f/min), %llu tactics, %.0f s of "
        "searches in Lean\n",
        g->opt->output, (unsigned long long)g->rows, (unsigned long long)g->proved,
        (unsigned long long)g->cheap, (unsigned long long)g->open, (unsigned long long)g->dropped,
        (unsigned long long)g->pair_count, (unsigned long long)(g->rows - g->at_start), minutes,
        (double)(g->rows - g->at_start) / minutes, (unsigned long long)g->tactics, g->lean_seconds);
}
