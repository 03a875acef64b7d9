#include "policies_report.h"

#include "pv_mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ARMS_MAX = 16, BUDGET_COUNT = 13 };

static const uint64_t budgets[BUDGET_COUNT] = {1,   2,   5,    10,   20,   50,   100,
                                               200, 500, 1000, 2000, 5000, 10000};

typedef struct result {
    bool there, solved;
    double seconds, lean_seconds;
    uint64_t calls, tokens;
} result;

typedef struct subject { /* a statement and what the arms made of it */
    const char *id, *module;
    result by[ARMS_MAX];
} subject;

typedef struct arm_sum {
    const char *name;
    size_t solved;
    double seconds, lean_seconds; /* of the trials compared */
    uint64_t calls, tokens;
    uint64_t selfish, refused;
    double wall, model,
        cpu; /* of all trials: while anything searched, in the engine, of our process */
    uint64_t drawn, rows; /* by the engine */
} arm_sum;

typedef struct comparison {
    arm_sum arms[ARMS_MAX];
    size_t arm_count;
    subject *subjects; /* owned */
    size_t count, capacity, incomplete;
    json_t *index; /* id -> number of the subject */
    json_t *runs;  /* rows of kind "run" */
} comparison;

/* ---- reading ---- */

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

static double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static uint64_t count_of(const json_t *object, const char *key)
{
    return (uint64_t)json_integer_value(json_object_get(object, key));
}

static arm_sum *arm_of(comparison *c, const char *name)
{
    for (size_t i = 0; i < c->arm_count; i++) {
        if (strcmp(c->arms[i].name, name) == 0) {
            return &c->arms[i];
        }
    }
    if (c->arm_count == ARMS_MAX) {
        return NULL;
    }
    c->arms[c->arm_count].name = name;
    return &c->arms[c->arm_count++];
}

static subject *subject_of(comparison *c, const json_t *row)
{
    const char *id = text_of(row, "id");
    const json_t *known = json_object_get(c->index, id);
    if (known != NULL) {
        return &c->subjects[json_integer_value(known)];
    }
    if (pv_grow((void **)&c->subjects, &c->capacity, c->count + 1, sizeof *c->subjects) != 0 ||
        json_object_set_new(c->index, id, json_integer((json_int_t)c->count)) != 0) {
        return NULL;
    }
    c->subjects[c->count] = (subject){.id = id, .module = text_of(row, "module")};
    return &c->subjects[c->count++];
}

static void add_engine(arm_sum *a, const json_t *row)
{
    const json_t *since = json_object_get(row, "since");
    a->wall += number_of(since, "wall");
    a->model += number_of(since, "model");
    a->cpu += number_of(since, "cpu");
    a->drawn += count_of(since, "tokens");
    a->rows += count_of(since, "rows");
}

static pv_status take_trial(comparison *c, const json_t *row, pv_error *err)
{
    arm_sum *a = arm_of(c, text_of(row, "arm"));
    subject *s = a == NULL ? NULL : subject_of(c, row);
    if (s == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory, or more than %d arms", ARMS_MAX);
    }
    result *r = &s->by[a - c->arms];
    add_engine(a, row);
    if (r->there) {
        return PV_OK;
    }
    *r = (result){.there = true,
                  .solved = json_is_true(json_object_get(row, "solved")),
                  .seconds = number_of(row, "seconds"),
                  .lean_seconds = number_of(row, "lean_seconds"),
                  .calls = count_of(row, "calls"),
                  .tokens = count_of(row, "tokens")};
    a->selfish += count_of(row, "selfish");
    a->refused += count_of(row, "refused");
    return PV_OK;
}

bool policies_agree(const json_t *run, const json_t *other)
{
    json_t *arms = json_object_get(run, "arms"), *own;
    const json_t *theirs = json_object_get(other, "arms");
    const char *name;
    json_object_foreach(arms, name, own)
    {
        const json_t *same = json_object_get(theirs, name);
        if (same != NULL && !json_equal(own, same)) {
            return false;
        }
    }
    return json_equal(json_object_get(run, "settings"), json_object_get(other, "settings")) != 0;
}

static pv_status take_run(comparison *c, const json_t *row, pv_error *err)
{
    for (size_t i = 0; i < json_array_size(c->runs); i++) {
        if (!policies_agree(json_array_get(c->runs, i), row)) {
            return pv_fail(
                err, PV_E_INVALID,
                "the rows come from runs under different rules (`settings` and `arms` of "
                "the rows of kind run): they cannot be compared");
        }
    }
    return json_array_append(c->runs, (json_t *)(uintptr_t)row) == 0
               ? PV_OK
               : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static pv_status take_rows(comparison *c, const json_t *rows, pv_error *err)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < json_array_size(rows) && status == PV_OK; i++) {
        const json_t *row = json_array_get(rows, i);
        if (strcmp(text_of(row, "kind"), "run") == 0) {
            status = take_run(c, row, err);
        } else if (strcmp(text_of(row, "kind"), "trial") == 0) {
            status = take_trial(c, row, err);
        }
    }
    return status;
}

/* Leaves the statements that every arm has tried, and sums over them. */
static void keep_complete(comparison *c)
{
    size_t kept = 0;
    for (size_t i = 0; i < c->count; i++) {
        bool complete = true;
        for (size_t a = 0; a < c->arm_count; a++) {
            complete = complete && c->subjects[i].by[a].there;
        }
        if (complete) {
            c->subjects[kept++] = c->subjects[i];
        }
    }
    c->incomplete = c->count - kept;
    c->count = kept;
    for (size_t i = 0; i < kept; i++) {
        for (size_t a = 0; a < c->arm_count; a++) {
            const result *r = &c->subjects[i].by[a];
            c->arms[a].solved += r->solved;
            c->arms[a].seconds += r->seconds;
            c->arms[a].lean_seconds += r->lean_seconds;
            c->arms[a].calls += r->calls;
            c->arms[a].tokens += r->tokens;
        }
    }
}

/* ---- figures ---- */

static size_t solved_within(const comparison *c, size_t arm, uint64_t calls)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++) {
        const result *r = &c->subjects[i].by[arm];
        n += r->solved && r->calls <= calls;
    }
    return n;
}

/* Not solved, and stopped by another limit before so many calls: more time could have solved them. */
static size_t cut_before(const comparison *c, size_t arm, uint64_t calls)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++) {
        const result *r = &c->subjects[i].by[arm];
        n += !r->solved && r->calls < calls;
    }
    return n;
}

static uint64_t spent_within(const comparison *c, size_t arm, uint64_t calls)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < c->count; i++) {
        uint64_t own = c->subjects[i].by[arm].calls;
        sum += own < calls ? own : calls;
    }
    return sum;
}

/* The largest budget a statement with which the arm spends no more than `total` calls on all of them. */
static uint64_t budget_for(const comparison *c, size_t arm, uint64_t total)
{
    uint64_t low = 0, high = UINT64_C(1) << 32; /* low fits */
    if (spent_within(c, arm, high) <= total) {
        return high;
    }
    while (high - low > 1) {
        uint64_t mid = low + (high - low) / 2;
        if (spent_within(c, arm, mid) <= total) {
            low = mid;
        } else {
            high = mid;
        }
    }
    return low;
}

static size_t solved_with_total(const comparison *c, size_t arm, uint64_t total)
{
    return solved_within(c, arm, budget_for(c, arm, total));
}

static uint64_t least_total(const comparison *c, size_t a, size_t b)
{
    uint64_t x = c->arms[a].calls, y = c->arms[b].calls;
    return x < y ? x : y;
}

static size_t in_common(const comparison *c, size_t a, size_t b)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++) {
        n += c->subjects[i].by[a].solved && c->subjects[i].by[b].solved;
    }
    return n;
}

static size_t union_of_all(const comparison *c)
{
    size_t n = 0;
    for (size_t i = 0; i < c->count; i++) {
        bool any = false;
        for (size_t a = 0; a < c->arm_count; a++) {
            any = any || c->subjects[i].by[a].solved;
        }
        n += any;
    }
    return n;
}

/* "Init.Data.List" of "Init.Data.List.Lemmas". */
static size_t family_length(const char *module)
{
    const char *end = module;
    for (int dots = 0; *end != '\0'; end++) {
        dots += *end == '.';
        if (dots == 3) {
            break;
        }
    }
    return (size_t)(end - module);
}

static int compare_family(const void *a, const void *b)
{
    const char *x = ((const subject *)a)->module, *y = ((const subject *)b)->module;
    size_t n = family_length(x), m = family_length(y);
    int order = strncmp(x, y, n < m ? n : m);
    return order != 0 ? order : n < m ? -1 : n > m;
}

static double share(double part, double whole)
{
    return whole > 0 ? 100 * part / whole : 0;
}

/* ---- for people ---- */

static void print_arms(const comparison *c)
{
    printf("%zu statements that every arm tried (%zu more not yet)\n\n", c->count, c->incomplete);
    printf("%-12s %7s %7s %12s %12s %12s %9s %8s\n", "arm", "solved", "share", "Lean calls",
           "search s", "Lean s", "by itself", "refused");
    for (size_t a = 0; a < c->arm_count; a++) {
        const arm_sum *s = &c->arms[a];
        printf("%-12s %7zu %6.1f%% %12llu %12.0f %12.0f %9llu %8llu\n", s->name, s->solved,
               share((double)s->solved, (double)c->count), (unsigned long long)s->calls, s->seconds,
               s->lean_seconds, (unsigned long long)s->selfish, (unsigned long long)s->refused);
    }
    printf("%-12s %7zu %6.1f%%\n", "any of them", union_of_all(c),
           share((double)union_of_all(c), (double)c->count));
}

static void print_family(const comparison *c, size_t from, size_t to)
{
    printf("%-28.*s %6zu", (int)family_length(c->subjects[from].module), c->subjects[from].module,
           to - from);
    for (size_t a = 0; a < c->arm_count; a++) {
        size_t n = 0;
        for (size_t i = from; i < to; i++) {
            n += c->subjects[i].by[a].solved;
        }
        printf(" %12zu", n);
    }
    printf("\n");
}

static void print_names(const comparison *c, const char *what, int width)
{
    printf("\n%-*s", width, what);
    for (size_t a = 0; a < c->arm_count; a++) {
        printf(" %12s", c->arms[a].name);
    }
    printf("\n");
}

static void print_families(comparison *c)
{
    qsort(c->subjects, c->count, sizeof *c->subjects, compare_family);
    print_names(c, "family                         of", 35);
    for (size_t from = 0, to; from < c->count; from = to) {
        to = from + 1;
        while (to < c->count && compare_family(&c->subjects[from], &c->subjects[to]) == 0) {
            to++;
        }
        print_family(c, from, to);
    }
}

static void print_curve(const comparison *c)
{
    print_names(c, "solved within N calls of Lean each", 35);
    for (size_t b = 0; b < BUDGET_COUNT; b++) {
        printf("%-35llu", (unsigned long long)budgets[b]);
        for (size_t a = 0; a < c->arm_count; a++) {
            size_t cut = cut_before(c, a, budgets[b]);
            char text[48];
            snprintf(text, sizeof text, "%zu%s", solved_within(c, a, budgets[b]),
                     cut > 0 ? "+" : "");
            printf(" %12s", text);
        }
        printf("\n");
    }
    printf("(+: some of the others ended before N calls, by time or because nothing was left)\n");
}

static void print_pairs(const comparison *c)
{
    printf("\n%-26s %6s %8s %8s %7s   %s\n", "A against B", "both", "only A", "only B", "A/B",
           "with the same number of Lean calls in all");
    for (size_t a = 0; a < c->arm_count; a++) {
        for (size_t b = 0; b < a; b++) {
            size_t both = in_common(c, a, b), x = c->arms[a].solved, y = c->arms[b].solved;
            uint64_t total = least_total(c, a, b);
            size_t ex = solved_with_total(c, a, total), ey = solved_with_total(c, b, total);
            char name[64];
            snprintf(name, sizeof name, "%s against %s", c->arms[a].name, c->arms[b].name);
            printf("%-26s %6zu %8zu %8zu %7.2f   %llu: %zu and %zu, %.2f\n", name, both, x - both,
                   y - both, y > 0 ? (double)x / (double)y : 0, (unsigned long long)total, ex, ey,
                   ey > 0 ? (double)ex / (double)ey : 0);
        }
    }
}

static void print_time(const comparison *c)
{
    printf("\n%-12s %10s %10s %7s %10s %10s %12s %12s\n", "arm", "wall s", "model s", "share",
           "our CPU s", "tokens", "tokens/s", "rows/s");
    for (size_t a = 0; a < c->arm_count; a++) {
        const arm_sum *s = &c->arms[a];
        printf("%-12s %10.0f %10.0f %6.1f%% %10.0f %10llu %12.0f %12.0f\n", s->name, s->wall,
               s->model, share(s->model, s->wall), s->cpu, (unsigned long long)s->drawn,
               s->model > 0 ? (double)s->drawn / s->model : 0,
               s->model > 0 ? (double)s->rows / s->model : 0);
    }
    printf("(wall: while anything searched; model: inside the engine's steps; tokens: drawn; rows: "
           "with those of prompts)\n");
}

/* The rule, and what each arm was asked with. */
static void print_rule(const comparison *c)
{
    json_t *arms = json_object();
    for (size_t i = 0; i < json_array_size(c->runs); i++) {
        json_object_update(arms, json_object_get(json_array_get(c->runs, i), "arms"));
    }
    const json_t *settings = json_object_get(json_array_get(c->runs, 0), "settings");
    char *rule = json_dumps(settings, JSON_SORT_KEYS), *asked = json_dumps(arms, JSON_SORT_KEYS);
    printf("rule: %s\narms: %s\n", rule == NULL ? "not in the files" : rule,
           asked == NULL ? "" : asked);
    free(rule);
    free(asked);
    json_decref(arms);
}

static void print_all(comparison *c)
{
    print_rule(c);
    print_arms(c);
    print_pairs(c);
    print_curve(c);
    print_families(c);
    print_time(c);
}

/* ---- for programs ---- */

static json_t *json_arm(const comparison *c, size_t a)
{
    const arm_sum *s = &c->arms[a];
    json_t *within = json_object();
    for (size_t b = 0; b < BUDGET_COUNT; b++) {
        char key[24];
        snprintf(key, sizeof key, "%llu", (unsigned long long)budgets[b]);
        json_object_set_new(within, key, json_integer((json_int_t)solved_within(c, a, budgets[b])));
    }
    return json_pack("{s:s,s:I,s:I,s:f,s:f,s:I,s:I,s:o,s:f,s:f,s:f,s:I,s:I}", "arm", s->name,
                     "solved", (json_int_t)s->solved, "calls", (json_int_t)s->calls, "seconds",
                     s->seconds, "lean_seconds", s->lean_seconds, "selfish", (json_int_t)s->selfish,
                     "refused", (json_int_t)s->refused, "within", within, "wall", s->wall, "model",
                     s->model, "cpu", s->cpu, "tokens", (json_int_t)s->drawn, "rows",
                     (json_int_t)s->rows);
}

static json_t *json_pair(const comparison *c, size_t a, size_t b)
{
    size_t both = in_common(c, a, b);
    uint64_t total = least_total(c, a, b);
    return json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:I}", "a", c->arms[a].name, "b",
                     c->arms[b].name, "both", (json_int_t)both, "only_a",
                     (json_int_t)(c->arms[a].solved - both), "only_b",
                     (json_int_t)(c->arms[b].solved - both), "equal_calls", (json_int_t)total,
                     "a_at_equal_calls", (json_int_t)solved_with_total(c, a, total),
                     "b_at_equal_calls", (json_int_t)solved_with_total(c, b, total));
}

static void print_json(const comparison *c)
{
    json_t *arms = json_array(), *pairs = json_array();
    for (size_t a = 0; a < c->arm_count; a++) {
        json_array_append_new(arms, json_arm(c, a));
        for (size_t b = 0; b < a; b++) {
            json_array_append_new(pairs, json_pair(c, a, b));
        }
    }
    json_t *out = json_pack("{s:I,s:I,s:I,s:o,s:o}", "statements", (json_int_t)c->count,
                            "incomplete", (json_int_t)c->incomplete, "union",
                            (json_int_t)union_of_all(c), "arms", arms, "pairs", pairs);
    json_dumpf(out, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(out);
}

pv_status policies_report(const json_t *rows, bool json, pv_error *err)
{
    comparison c = {.index = json_object(), .runs = json_array()};
    pv_status status = take_rows(&c, rows, err);
    if (status == PV_OK && c.arm_count == 0) {
        status = pv_fail(err, PV_E_INVALID, "no trial is in the rows: there is nothing to compare");
    }
    if (status == PV_OK) {
        keep_complete(&c);
        if (json) {
            print_json(&c);
        } else {
            print_all(&c);
        }
    }
    json_decref(c.index);
    json_decref(c.runs);
    pv_free(c.subjects);
    return status;
}
