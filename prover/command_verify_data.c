/* prover verify-data: a sample of proof data is checked again: every step by a Lean that knows nothing of the search, every
 * proof by the judge. */
#include "commands.h"
#include "data_file.h"
#include "data_row.h"
#include "data_text.h"
#include "lean_session.h"
#include "progress.h"
#include "pv_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JUDGED_AT_ONCE = 96 };

typedef struct checker {
    session s;
    const options *opt;
    json_t *proved;     /* those of `rows` that have a proof */
    const json_t *rows; /* the sample: array of rows of kind "proof" */
    size_t steps, alternatives, solved, proofs, faults;
} checker;

static const char *text_of(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text == NULL ? "" : text;
}

static void tell_fault(checker *c, const json_t *row, const char *what, const char *detail)
{
    c->faults++;
    progress_clear();
    fprintf(stderr, "%s: %s: %s: %.400s\n", text_of(row, "key"), text_of(row, "statement"), what,
            detail);
}

/* ---- the sample ---- */

typedef struct sampler {
    json_t *rows; /* [[order, row], ...] */
    uint64_t seed;
} sampler;

static pv_status take_row(void *user, const json_t *row, pv_error *err)
{
    sampler *s = user;
    const char *key = text_of(row, "key");
    bool open = strcmp(text_of(row, "kind"), "open") == 0 &&
                json_array_size(json_object_get(row, "solved")) > 0;
    if (strcmp(text_of(row, "kind"), "proof") != 0 && !open) {
        return PV_OK;
    }
    uint64_t order = pv_hash_bytes(key, strlen(key), s->seed) >> 1;
    json_t *copy = json_deep_copy(row);
    if (json_array_append_new(s->rows, json_pack("[I,o]", (json_int_t)order, copy)) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the rows");
    }
    return PV_OK;
}

static int compare_entries(const void *left, const void *right)
{
    json_int_t a = json_integer_value(json_array_get(*(json_t *const *)left, 0));
    json_int_t b = json_integer_value(json_array_get(*(json_t *const *)right, 0));
    return a < b ? -1 : a > b;
}

/* The `n` rows that come first in the seed's order. NULL when memory is short. */
static json_t *choose(const json_t *all, size_t n)
{
    size_t count = json_array_size(all);
    json_t **entries = pv_calloc(count + 1, sizeof *entries);
    json_t *chosen = entries == NULL ? NULL : json_array();
    for (size_t i = 0; entries != NULL && i < count; i++) {
        entries[i] = json_array_get(all, i);
    }
    if (chosen != NULL) {
        qsort(entries, count, sizeof *entries, compare_entries);
    }
    for (size_t i = 0; chosen != NULL && i < count && i < n; i++) {
        json_array_append(chosen, json_array_get(entries[i], 1));
    }
    pv_free(entries);
    return chosen;
}

/* ---- one tactic ---- */

typedef struct trial_answer {
    bool done;
    lean_try_kind kind;
    json_t *next; /* texts of the parts */
    lean_state **states;
    size_t count;
    char message[256];
    pv_error failure;
} trial_answer;

static void on_tried(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                     const pv_error *failure)
{
    trial_answer *a = user;
    pv_buf text = {0};
    (void)t;
    if (tried == NULL) {
        a->done = true;
        a->failure = failure != NULL ? *failure : a->failure;
        return;
    }
    (void)index;
    a->kind = tried->kind;
    snprintf(a->message, sizeof a->message, "%s", tried->message == NULL ? "" : tried->message);
    a->states = pv_calloc(tried->part_count + 1, sizeof(lean_state *));
    for (size_t i = 0; a->states != NULL && i < tried->part_count; i++) {
        data_row_state(tried->parts[i].goals, tried->parts[i].goal_count, &text);
        json_array_append_new(a->next, json_string(pv_buf_text(&text)));
        a->states[a->count++] = lean_state_ref(tried->parts[i].state);
    }
    pv_buf_release(&text);
}

static void release_answer(trial_answer *a)
{
    for (size_t i = 0; i < a->count; i++) {
        lean_state_unref(a->states[i]);
    }
    pv_free(a->states);
    json_decref(a->next);
}

static pv_status try_tactic(checker *c, lean_state *state, const char *tactic, trial_answer *a,
                            pv_error *err)
{
    lean_ticket ticket = 0;
    memset(a, 0, sizeof *a);
    a->next = json_array();
    pv_status status = lean_try(state, &tactic, 1, &ticket, on_tried, a, err);
    if (status != PV_OK) {
        return status;
    }
    status = session_wait(&c->s, &a->done, err);
    if (status != PV_OK) {
        lean_cancel(c->s.pool, ticket);
        while (!a->done) {
            session_round(&c->s);
        }
    }
    return status;
}

static bool item_is(const json_t *states, size_t i, const char *state)
{
    const char *text = json_string_value(json_array_get(states, i));
    return text != NULL && state != NULL && data_text_same_state(text, state);
}

/* The same states, in any order. */
static bool same_states(const json_t *a, const json_t *b)
{
    size_t n = json_array_size(a);
    if (json_array_size(b) != n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char *state = json_string_value(json_array_get(a, i));
        size_t in_a = 0, in_b = 0;
        for (size_t k = 0; k < n; k++) {
            in_a += item_is(a, k, state);
            in_b += item_is(b, k, state);
        }
        if (in_a != in_b) {
            return false;
        }
    }
    return true;
}

static const char *flaw_of(const trial_answer *a, const json_t *expected)
{
    if (a->kind != LEAN_TRY_CLOSED && a->kind != LEAN_TRY_OPEN) {
        return "the tactic fails";
    }
    const json_t *next = json_object_get(expected, "next"); /* the trail has none */
    return next == NULL || same_states(a->next, next) ? NULL : "the tactic leads to other states";
}

/* ---- the steps of a row ---- */

typedef struct place { /* a state to be worked on */
    struct place *next;
    lean_state *state;
    char *text;
} place;

static pv_status push(place **list, lean_state *state, const char *text, pv_error *err)
{
    place *p = pv_calloc(1, sizeof *p);
    char *copy = pv_strdup(text);
    if (p == NULL || copy == NULL) {
        pv_free(p);
        pv_free(copy);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *p = (place){*list, lean_state_ref(state), copy};
    *list = p;
    return PV_OK;
}

static void pop(place **list)
{
    place *p = *list;
    *list = p->next;
    lean_state_unref(p->state);
    pv_free(p->text);
    pv_free(p);
}

/* One (state, tactic) of the row; the states behind it are pushed when `list` is not NULL. */
static pv_status check_pair(checker *c, const json_t *row, lean_state *state, const json_t *pair,
                            place **list, pv_error *err)
{
    trial_answer a;
    pv_status status = try_tactic(c, state, text_of(pair, "tactic"), &a, err);
    const char *flaw = status == PV_OK ? flaw_of(&a, pair) : NULL;
    if (flaw != NULL) {
        pv_buf what = {0};
        pv_buf_printf(&what, "%s: `%s`", flaw, text_of(pair, "tactic"));
        tell_fault(c, row, pv_buf_text(&what), a.message);
        pv_buf_release(&what);
    }
    for (size_t i = 0; list != NULL && flaw == NULL && i < a.count && status == PV_OK; i++) {
        status = push(list, a.states[i], json_string_value(json_array_get(a.next, i)), err);
    }
    release_answer(&a);
    return status;
}

/* Marks the entries of a list that are about this state, and checks them; `count` is raised for each. */
static pv_status check_list(checker *c, const json_t *row, const place *at, const char *name,
                            size_t *count, place **list, pv_error *err)
{
    json_t *items = json_object_get(row, name);
    pv_status status = PV_OK;
    for (size_t i = 0; i < json_array_size(items) && status == PV_OK; i++) {
        json_t *item = json_array_get(items, i);
        if (json_object_get(item, "seen") == NULL &&
            data_text_same_state(text_of(item, "state"), at->text)) {
            json_object_set_new(item, "seen", json_true());
            ++*count;
            status = check_pair(c, row, at->state, item, list, err);
        }
    }
    return status;
}

/* Other tactics for the state of step `step`. */
static pv_status check_alternatives(checker *c, const json_t *row, const place *at, size_t step,
                                    pv_error *err)
{
    const json_t *others = json_object_get(row, "alternatives");
    pv_status status = PV_OK;
    for (size_t k = 0; k < json_array_size(others) && status == PV_OK; k++) {
        const json_t *other = json_array_get(others, k);
        if ((size_t)json_integer_value(json_object_get(other, "step")) == step) {
            c->alternatives++;
            status = check_pair(c, row, at->state, other, NULL, err);
        }
    }
    return status;
}

static pv_status check_place(checker *c, const json_t *row, const place *at, place **list,
                             pv_error *err)
{
    const json_t *steps = json_object_get(row, "steps");
    size_t ignored = 0;
    pv_status status = PV_OK;
    for (size_t i = 0; i < json_array_size(steps) && status == PV_OK; i++) {
        const json_t *step = json_array_get(steps, i);
        if (json_object_get(step, "seen") == NULL &&
            data_text_same_state(text_of(step, "state"), at->text)) {
            status = check_alternatives(c, row, at, i, err);
        }
    }
    if (status == PV_OK) {
        status = check_list(c, row, at, "steps", &c->steps, list, err);
    }
    if (status == PV_OK) {
        status = check_list(c, row, at, "solved", &c->solved, list, err);
    }
    return status == PV_OK ? check_list(c, row, at, "trail", &ignored, list, err) : status;
}

/* What was never reached is a fault. */
static void tell_unseen(checker *c, const json_t *row, const char *name)
{
    const json_t *items = json_object_get(row, name);
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *item = json_array_get(items, i);
        if (json_object_get(item, "seen") == NULL) {
            tell_fault(c, row, "a state is not reached", text_of(item, "state"));
        }
    }
}

static pv_status walk(checker *c, const json_t *row, const hole *root, pv_error *err)
{
    place *list = NULL;
    pv_buf text = {0};
    data_row_state((const char *const *)root->goals, root->goal_count, &text);
    pv_status status = push(&list, root->state, pv_buf_text(&text), err);
    while (list != NULL && status == PV_OK) {
        place *at = list;
        list = at->next;
        at->next = NULL;
        status = check_place(c, row, at, &list, err);
        pop(&at);
    }
    while (list != NULL) {
        pop(&list);
    }
    if (status == PV_OK) {
        tell_unseen(c, row, "steps");
        tell_unseen(c, row, "solved");
    }
    pv_buf_release(&text);
    return status;
}

static source source_of(char *header, pv_buf *text)
{
    static char name[] = "the row";
    source src = {name, header, text->data, text->data, text->len};
    return src;
}

static pv_status check_steps(checker *c, lean_env *env, char *header, const json_t *row,
                             pv_error *err)
{
    pv_buf text = {0};
    theorem_list list = {0};
    pv_error why = {0};
    data_text_theorem(&text, "statement", text_of(row, "statement"), "sorry");
    source src = source_of(header, &text);
    pv_status status = ask_theorems(&c->s, env, &src, &list, &why);
    if (status == PV_E_INVALID) {
        tell_fault(c, row, "the statement does not open", why.msg);
        status = PV_OK;
    } else if (status != PV_OK) {
        status = pv_fail(err, status, "%s", why.msg);
    } else if (list.count != 1 || list.items[0].hole_count != 1) {
        tell_fault(c, row, "the statement does not open", "no goal");
    } else {
        status = walk(c, row, &list.items[0].holes[0], err);
    }
    theorem_list_release(&list);
    pv_buf_release(&text);
    return status;
}

/* ---- whole proofs ---- */

static pv_status judge_rows(checker *c, char *header, size_t from, size_t n, pv_error *err)
{
    pv_buf original = {0}, candidate = {0};
    char numbers[JUDGED_AT_ONCE][24];
    const char *names[JUDGED_AT_ONCE], *proofs[JUDGED_AT_ONCE];
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(c->proved, from + i);
        snprintf(numbers[i], sizeof numbers[i], "d%zu", i);
        names[i] = numbers[i];
        proofs[i] = text_of(row, "proof");
        data_text_theorem(&original, names[i], text_of(row, "statement"), "sorry");
        data_text_theorem(&candidate, names[i], text_of(row, "statement"), proofs[i]);
    }
    verdict v = {0};
    source src = source_of(header, &original);
    pv_status status =
        pv_buf_ok(&original) && pv_buf_ok(&candidate)
            ? ask_judge(&c->s, &src, pv_buf_text(&candidate), names, n, proofs, n, &v, err)
            : pv_fail(err, PV_E_NOMEM, "out of memory");
    bool accepted = session_accepts(&c->s, v.level);
    if (status == PV_OK && accepted) {
        c->proofs += n;
    } else if (status == PV_OK && n == 1) {
        tell_fault(c, json_array_get(c->proved, from), v.reason, v.message);
    }
    verdict_release(&v);
    pv_buf_release(&original);
    pv_buf_release(&candidate);
    if (status == PV_OK && !accepted && n > 1) { /* the one at fault is found by halves */
        status = judge_rows(c, header, from, n / 2, err);
        return status == PV_OK ? judge_rows(c, header, from + n / 2, n - n / 2, err) : status;
    }
    return status;
}

/* ---- all rows ---- */

static void show(const checker *c, size_t done)
{
    char line[160];
    snprintf(line, sizeof line, "verify-data: %zu of %zu rows, %zu steps, %zu faults", done,
             json_array_size(c->rows), c->steps, c->faults);
    progress_line(line);
}

static pv_status check_rows(checker *c, lean_env *env, char *header, pv_error *err)
{
    size_t n = json_array_size(c->rows);
    pv_status status = PV_OK;
    for (size_t i = 0; i < n && status == PV_OK; i++) {
        json_t *row = json_array_get(c->rows, i);
        status = check_steps(c, env, header, row, err);
        if (json_object_get(row, "proof") != NULL) {
            json_array_append(c->proved, row);
        }
        show(c, i);
    }
    n = json_array_size(c->proved);
    for (size_t i = 0; i < n && status == PV_OK; i += JUDGED_AT_ONCE) {
        size_t m = n - i < JUDGED_AT_ONCE ? n - i : JUDGED_AT_ONCE;
        status = judge_rows(c, header, i, m, err);
    }
    return status;
}

/* All rows stand on the header of the first. */
static pv_status check_header(const checker *c, const char *header, pv_error *err)
{
    for (size_t i = 0; i < json_array_size(c->rows); i++) {
        if (strcmp(text_of(json_array_get(c->rows, i), "header"), header) != 0) {
            return pv_fail(err, PV_E_INVALID,
                           "the rows stand on different headers: check them "
                           "in files of their own");
        }
    }
    return PV_OK;
}

static pv_status check(checker *c, pv_error *err)
{
    char *header = pv_strdup(text_of(json_array_get(c->rows, 0), "header"));
    lean_env *env = NULL;
    pv_buf none = {0};
    source src = source_of(header, &none);
    progress_note("prover", "starting Lean");
    pv_status status =
        header == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : check_header(c, header, err);
    if (status == PV_OK) {
        status = session_start_pool(&c->s, 1, err);
    }
    if (status == PV_OK) {
        status = session_start_judge(&c->s, true, err);
    }
    if (status == PV_OK) {
        lean_judge_prepare(c->s.judge, header);
        status = ask_header(&c->s, &src, &env, err);
    }
    if (status == PV_OK) {
        status = check_rows(c, env, header, err);
    }
    if (env != NULL) {
        lean_env_unref(env);
    }
    pv_free(header);
    return status;
}

static void report(const checker *c)
{
    progress_clear();
    if (c->opt->json) {
        printf("{\"rows\":%zu,\"steps\":%zu,\"alternatives\":%zu,\"solved\":%zu,\"proofs\":%zu,"
               "\"faults\":%zu}\n",
               json_array_size(c->rows), c->steps, c->alternatives, c->solved, c->proofs,
               c->faults);
    } else {
        printf("%s: %zu rows: %zu steps, %zu alternatives and %zu states aside tried again, %zu "
               "proofs accepted, %zu "
               "faults\n",
               c->opt->arguments[0], json_array_size(c->rows), c->steps, c->alternatives, c->solved,
               c->proofs, c->faults);
    }
}

static exit_code check_sample(const options *opt, const json_t *rows)
{
    checker c = {.opt = opt, .rows = rows, .proved = json_array()};
    pv_error err = {0};
    pv_status status =
        json_array_size(rows) == 0
            ? pv_fail(&err, PV_E_INVALID, "%s: no row of kind \"proof\" in it", opt->arguments[0])
            : session_open(&c.s, opt, &err);
    if (status == PV_OK) {
        status = check(&c, &err);
    }
    session_close(&c.s);
    json_decref(c.proved);
    if (status != PV_OK) {
        return complain(&err);
    }
    report(&c);
    return c.faults == 0 ? EXIT_PROVED : EXIT_NOT_PROVED;
}

exit_code command_verify_data(const options *opt)
{
    pv_error err = {0};
    if (opt->argument_count != 1) {
        pv_fail(&err, PV_E_INVALID, "verify-data takes one argument: FILE.jsonl");
        return complain(&err);
    }
    sampler all = {json_array(), opt->seed};
    json_t *rows = NULL;
    exit_code code;
    if (data_file_read(opt->arguments[0], take_row, &all, &err) != PV_OK) {
        code = complain(&err);
    } else {
        rows = choose(all.rows, opt->sample);
        code = check_sample(opt, rows);
    }
    json_decref(rows);
    json_decref(all.rows);
    return code;
}
