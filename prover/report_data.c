#include "report_data.h"

#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

/* ---- release ---- */

static void release_row(report_row *row)
{
    pv_free(row->status);
    pv_free(row->why);
    pv_free(row->text);
    pv_free(row->level);
    pv_free(row->axioms);
    pv_free(row->way);
}

static void release_problem(report_problem *p)
{
    pv_free(p->name);
    pv_free(p->split);
    pv_free(p->header);
    pv_free(p->statement);
    for (size_t i = 0; i < p->row_count; i++) {
        release_row(&p->rows[i]);
    }
    pv_free(p->rows);
}

void report_run_release(report_run *run)
{
    for (size_t i = 0; i < run->problem_count; i++) {
        release_problem(&run->problems[i]);
    }
    pv_free(run->problems);
    json_decref(run->environments);
    json_decref(run->settings);
    report_parts_release(&run->parts);
    memset(run, 0, sizeof *run);
}

/* ---- problems ---- */

static pv_status fail_memory(pv_error *err)
{
    return pv_fail(err, PV_E_NOMEM, "out of memory");
}

static report_problem *find_problem(const report_run *run, uint64_t number)
{
    for (size_t i = 0; i < run->problem_count; i++) {
        if (run->problems[i].number == number) {
            return &run->problems[i];
        }
    }
    return NULL;
}

static pv_status add_problem(report_run *run, const problem *from, pv_error *err)
{
    if (pv_grow((void **)&run->problems, &run->problem_capacity, run->problem_count + 1,
                sizeof *run->problems) != 0) {
        return fail_memory(err);
    }
    report_problem *p = &run->problems[run->problem_count];
    *p = (report_problem){.name = pv_strdup(from->name),
                          .split = pv_strdup(from->split),
                          .header = pv_strdup(from->header),
                          .statement = pv_strdup(from->text),
                          .number = from->number};
    memcpy(p->text_hash, from->text_hash, sizeof p->text_hash);
    memcpy(p->header_hash, from->header_hash, sizeof p->header_hash);
    run->problem_count++;
    return p->name == NULL || p->split == NULL || p->header == NULL || p->statement == NULL
               ? fail_memory(err)
               : PV_OK;
}

/* ---- results ---- */

typedef struct loading {
    report_run *run;
    report_part *part;
    size_t *places; /* of the part's problems in run->problems */
    size_t place_count;
} loading;

static char *copy_or_null(const char *text, bool *ok)
{
    char *copy = text == NULL ? NULL : pv_strdup(text);
    *ok = *ok && (text == NULL || copy != NULL);
    return copy;
}

static pv_status copy_row(report_row *out, const report_part *part, const store_result *r,
                          pv_error *err)
{
    bool ok = true;
    *out = (report_row){.part = part,
                        .claim = r->claim,
                        .pass = r->claim.pass,
                        .status = copy_or_null(r->status, &ok),
                        .why = copy_or_null(r->why, &ok),
                        .text = copy_or_null(r->text, &ok),
                        .level = copy_or_null(r->level, &ok),
                        .axioms = copy_or_null(r->axioms, &ok),
                        .way = copy_or_null(r->way, &ok),
                        .stats = r->stats,
                        .seconds = r->seconds,
                        .judge_seconds = r->judge_seconds,
                        .seed = r->seed,
                        .samples = r->samples,
                        .trees_left_out = r->trees_left_out,
                        .finished = r->finished};
    return ok ? PV_OK : fail_memory(err);
}

static void note_environment(report_run *run, const char *text)
{
    json_t *environment = json_loads(text, 0, NULL), *there;
    size_t i;
    json_array_foreach(run->environments, i, there)
    {
        if (json_equal(there, environment)) {
            json_decref(environment);
            return;
        }
    }
    if (json_is_object(environment)) {
        json_array_append_new(run->environments, environment);
    } else {
        json_decref(environment);
    }
}

static pv_status on_result(void *user, const store_result *r, pv_error *err)
{
    loading *l = user;
    if (r->claim.problem >= l->place_count) {
        return pv_fail(err, PV_E_INVALID, "%s: run %s has a result of a problem that it has not",
                       l->part->from->path, l->part->run->id);
    }
    report_problem *p = &l->run->problems[l->places[r->claim.problem]];
    for (size_t i = 0; i < p->row_count; i++) {
        if (p->rows[i].pass == r->claim.pass) {
            l->part->doubled++;
            l->run->doubled++;
            return PV_OK;
        }
    }
    if (pv_grow((void **)&p->rows, &p->row_capacity, p->row_count + 1, sizeof *p->rows) != 0) {
        return fail_memory(err);
    }
    pv_status status = copy_row(&p->rows[p->row_count++], l->part, r, err);
    note_environment(l->run, r->environment);
    l->part->results++;
    l->run->results++;
    return status;
}

/* ---- parts ---- */

static pv_status place_problems(loading *l, const problem_list *list, pv_error *err)
{
    l->places = pv_calloc(list->count + 1, sizeof *l->places);
    if (l->places == NULL) {
        return fail_memory(err);
    }
    l->place_count = list->count;
    for (size_t i = 0; i < list->count; i++) {
        report_problem *there = find_problem(l->run, list->items[i].number);
        if (there == NULL) {
            pv_status status = add_problem(l->run, &list->items[i], err);
            if (status != PV_OK) {
                return status;
            }
            there = &l->run->problems[l->run->problem_count - 1];
        } else if (strcmp(there->text_hash, list->items[i].text_hash) != 0) {
            return pv_fail(err, PV_E_INVALID, "%s: run %s has another statement of %s",
                           l->part->from->path, l->part->run->id, there->name);
        }
        l->places[i] = (size_t)(there - l->run->problems);
    }
    return PV_OK;
}

static pv_status load_part(report_run *run, report_part *part, pv_error *err)
{
    loading l = {.run = run, .part = part};
    problem_list list = {0};
    pv_status status = store_run_problems(part->from->store, part->run->id, &list, err);
    if (status == PV_OK) {
        status = place_problems(&l, &list, err);
    }
    if (status == PV_OK) {
        status = store_results(part->from->store, part->run->id, on_result, &l, err);
    }
    problem_list_release(&list);
    pv_free(l.places);
    return status;
}

static pv_status check_lean(report_run *run, const report_part *part, pv_error *err)
{
    const char *lean = part->run->lean;
    if (run->lean[0] != '\0' && lean[0] != '\0' && strcmp(run->lean, lean) != 0) {
        return pv_fail(err, PV_E_INVALID,
                       "%s: run %s has results of Lean %s, and run %s those of Lean %s: they are "
                       "no parts of one benchmark",
                       part->from->path, part->run->id, lean, run->parts.items[0].run->id,
                       run->lean);
    }
    run->lean = run->lean[0] == '\0' ? lean : run->lean;
    return PV_OK;
}

static int by_number(const void *a, const void *b)
{
    const report_problem *x = a, *y = b;
    return (x->number > y->number) - (x->number < y->number);
}

static int by_pass(const void *a, const void *b)
{
    const report_row *x = a, *y = b;
    return (x->pass > y->pass) - (x->pass < y->pass);
}

static void sort_all(report_run *run)
{
    if (run->problem_count > 1) {
        qsort(run->problems, run->problem_count, sizeof *run->problems, by_number);
    }
    for (size_t i = 0; i < run->problem_count; i++) {
        report_problem *p = &run->problems[i];
        if (p->row_count > 1) {
            qsort(p->rows, p->row_count, sizeof *p->rows, by_pass);
        }
    }
}

pv_status report_run_load(report_run *out, report_parts *parts, pv_error *err)
{
    report_run run = {.parts = *parts, .lean = "", .environments = json_array()};
    memset(parts, 0, sizeof *parts);
    run.settings = json_loads(run.parts.items[0].run->settings, 0, NULL);
    pv_status status = PV_OK;
    for (size_t i = 0; i < run.parts.count && status == PV_OK; i++) {
        status = check_lean(&run, &run.parts.items[i], err);
        if (status == PV_OK) {
            status = load_part(&run, &run.parts.items[i], err);
        }
    }
    if (status != PV_OK) {
        report_run_release(&run);
        return status;
    }
    sort_all(&run);
    *out = run;
    return PV_OK;
}

/* ---- figures ---- */

uint64_t report_run_passes(const report_run *run)
{
    return run->parts.items[0].run->passes;
}

bool report_row_proved(const report_row *row)
{
    return strcmp(row->status, "proved") == 0;
}

const report_row *report_problem_proof(const report_problem *p)
{
    for (size_t i = 0; p != NULL && i < p->row_count; i++) {
        if (report_row_proved(&p->rows[i])) {
            return &p->rows[i];
        }
    }
    return NULL;
}

size_t report_run_solved(const report_run *run)
{
    size_t solved = 0;
    for (size_t i = 0; i < run->problem_count; i++) {
        solved += report_problem_proof(&run->problems[i]) != NULL;
    }
    return solved;
}

pass_count *report_run_counts(const report_run *run)
{
    pass_count *counts = pv_calloc(run->problem_count + 1, sizeof *counts);
    for (size_t i = 0; counts != NULL && i < run->problem_count; i++) {
        const report_problem *p = &run->problems[i];
        counts[i].n = p->row_count;
        for (size_t k = 0; k < p->row_count; k++) {
            counts[i].c += report_row_proved(&p->rows[k]);
        }
    }
    return counts;
}
