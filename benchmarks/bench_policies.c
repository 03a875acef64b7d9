/* bench_policies: policies compared on the statements of a file, in one run and under one rule.
 *
 * Arms: `closers` (the best single tactic: each of search_portfolio_closers() on the opened state), `portfolio`, `model`, and
 * `mixed` (the model, and the portfolio behind it). Every arm gets the same statements, the same wall time for each, the same Lean
 * workers, as many statements at one time. Statements come in blocks: one arm after the other works on a block, in an order that
 * turns from block to block, and between two arms their proofs are judged; so nothing but the arm's own searches runs while
 * its clock runs, and what others do to the machine meets all arms alike. docs/benchmarks.md, "Comparing policies", has the rules.
 *
 * Figure: statements solved. Ceiling: all of them. Baseline in the same run: the other arms. */
#include "commands.h"
#include "data_file.h"
#include "lean_session.h"
#include "model_place.h"
#include "policies_report.h"
#include "policies_trial.h"
#include "policy_choice.h"
#include "progress.h"
#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"
#include "search_portfolio.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef BENCH_ARMS
#define BENCH_ARMS "closers,portfolio,model"
#endif

enum { ARMS_MAX = 8, FIRST_MIB = 1 << 20 };

static const char usage_text[] =
    "usage: PROGRAM FILE.jsonl [options] [options of `prover prove`]\n"
    "       PROGRAM --report RESULTS.jsonl... [--json]\n"
    "\n"
    "  FILE.jsonl      rows with `statement` (and `name`, the library theorem that it is, "
    "`module`, "
    "`key`), or with\n"
    "                  `name` and `formal_statement`\n"
    "  --arms LIST     of closers, portfolio, model, mixed [" BENCH_ARMS "]; an arm may have its "
    "own --draw and --width:\n"
    "                  model:independent:16,model:distinct:8\n"
    "  --out FILE      appends a row for each trial; what is there is not done again (a killed run "
    "goes on)\n"
    "  --seconds S     wall time of the search for each statement [60]\n"
    "  --calls N       tactics given to Lean for each statement (0: no limit) [0]\n"
    "  --workers N     Lean processes for all statements together [2]\n"
    "  --at-once N     statements searched at one time [1]\n"
    "  --block N       statements that one arm works on before the next one has its turn [16]\n"
    "  --shard I/N     only every N-th statement, from the I-th on\n"
    "  --limit N       only the first N of them\n"
    "  --report        prints the tables of result files and runs nothing\n";

typedef struct settings {
    const char *file, *arms, *out;
    double seconds;
    uint64_t calls, workers, at_once, block, shard, shards, limit;
    bool report, help;
    options prove; /* what `prover prove` takes */
} settings;

typedef struct bench {
    settings *set;
    session s;
    lean_env *env;
    char *header;
    statement *statements;
    size_t count, capacity;
    arm arms[ARMS_MAX];
    policy_choice choices[ARMS_MAX];
    options arm_options[ARMS_MAX]; /* what `prove` says, and the arm's own */
    size_t arm_count;
    data_file file;
    json_t *rows; /* old and new */
    json_t *done; /* "arm id" -> true */
    judge_queue judge;
    trial *trials; /* of the phase */
    size_t trial_count;
    const arm *now;
    double wall; /* seconds in which a trial's clock ran, since the last row of the phase */
    double cpu_then;
    engine_stats engine_then;
    size_t solved, tried; /* by the arm in this process */
    pv_error failure;
} bench;

/* ---- options ---- */

typedef struct own_option {
    const char *flag;
    const char **text;
    double *number;
    uint64_t *count;
} own_option;

static bool take_own(const own_option *o, const char *value)
{
    char *end = NULL;
    if (o->text != NULL) {
        *o->text = value;
        return true;
    }
    double number = strtod(value, &end);
    if (end == value || *end != '\0' || number < 0) {
        return false;
    }
    if (o->number != NULL) {
        *o->number = number;
    } else {
        *o->count = (uint64_t)number;
    }
    return true;
}

static pv_status check_settings(settings *set, const char *shard, pv_error *err)
{
    unsigned long long i = 0, n = 1;
    char end;
    if (shard[0] != '\0' && (sscanf(shard, "%llu/%llu%c", &i, &n, &end) != 2 || n == 0 || i >= n)) {
        return pv_fail(err, PV_E_INVALID, "--shard %s: expected I/N with I from 0 to N-1", shard);
    }
    set->shard = i;
    set->shards = n;
    if (set->seconds <= 0 || set->workers == 0 || set->at_once == 0 || set->block == 0) {
        return pv_fail(err, PV_E_INVALID,
                       "--seconds, --workers, --at-once and --block must be above 0");
    }
    return PV_OK;
}

/* Takes our own options out of the words and leaves the others to `prover prove`'s parser. */
static pv_status read_settings(settings *set, int argc, char **argv, pv_error *err)
{
    const char *shard = "";
    const own_option own[] = {
        {"--arms", &set->arms, NULL, NULL},       {"--out", &set->out, NULL, NULL},
        {"--shard", &shard, NULL, NULL},          {"--seconds", NULL, &set->seconds, NULL},
        {"--timeout", NULL, &set->seconds, NULL}, {"--calls", NULL, NULL, &set->calls},
        {"--workers", NULL, NULL, &set->workers}, {"--at-once", NULL, NULL, &set->at_once},
        {"--block", NULL, NULL, &set->block},     {"--limit", NULL, NULL, &set->limit},
    };
    int kept = 1;
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        while (k < sizeof own / sizeof *own && strcmp(own[k].flag, argv[i]) != 0) {
            k++;
        }
        if (strcmp(argv[i], "--report") == 0) {
            set->report = true;
        } else if (k == sizeof own / sizeof *own) {
            argv[kept++] = argv[i];
        } else if (i + 1 == argc || !take_own(&own[k], argv[i + 1])) {
            return pv_fail(err, PV_E_INVALID, "%s needs a value, see --help", argv[i]);
        } else {
            i++;
        }
    }
    pv_status status = options_parse(&set->prove, FOR_PROVE, kept, argv, 1, err);
    if (status == PV_OK) {
        set->prove.workers = set->workers;
        status = check_settings(set, shard, err);
    }
    return status;
}

/* ---- statements ---- */

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text == NULL ? "" : text;
}

static void cut_end(char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL) {
        text[--n] = '\0';
    }
    if (n >= m && strcmp(text + n - m, end) == 0) {
        text[n - m] = '\0';
    }
}

/* "theorem NAME ... := by sorry" as "theorem statement ...". */
static char *anonymous(const char *formal)
{
    pv_buf out = {0};
    const char *rest = formal + strspn(formal, " \t\r\n");
    if (strncmp(rest, "theorem ", 8) != 0) {
        return NULL;
    }
    rest += 8;
    rest += strcspn(rest, " \t\r\n:({[");
    pv_buf_printf(&out, "theorem statement%s", rest);
    char *text = pv_buf_ok(&out) ? pv_buf_detach(&out) : NULL;
    pv_buf_release(&out);
    static const char *const ends[] = {"sorry", "by", ":="};
    for (size_t i = 0; text != NULL && i < sizeof ends / sizeof *ends; i++) {
        cut_end(text, ends[i]);
    }
    return text;
}

static pv_status take_statement(void *user, const json_t *row, pv_error *err)
{
    bench *b = user;
    const char *given = text_of(row, "statement"), *formal = text_of(row, "formal_statement");
    if (text_of(row, "header")[0] != '\0') {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "a statement with a header of its own: use --header for all of them");
    }
    const char *id = text_of(row, "key")[0] != '\0' ? text_of(row, "key") : text_of(row, "name");
    if (pv_grow((void **)&b->statements, &b->capacity, b->count + 1, sizeof *b->statements) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    statement *st = &b->statements[b->count++];
    const char *module = text_of(row, "module");
    *st = (statement){.id = pv_strdup(id),
                      .name = pv_strdup(text_of(row, "name")),
                      .module = pv_strdup(module[0] == '\0' ? "(a file)" : module),
                      .text = given[0] != '\0' ? pv_strdup(given) : anonymous(formal)};
    if (st->text == NULL || id[0] == '\0') {
        return pv_fail(err, PV_E_INVALID,
                       "row %zu has no `statement`, or no `name` with a `formal_statement` that "
                       "begins with `theorem`",
                       b->count);
    }
    return st->id != NULL && st->name != NULL && st->module != NULL
               ? PV_OK
               : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static void free_statement(statement *st)
{
    pv_free(st->id);
    pv_free(st->name);
    pv_free(st->module);
    pv_free(st->text);
}

static pv_status read_statements(bench *b, pv_error *err)
{
    pv_status status = data_file_read(b->set->file, take_statement, b, err);
    size_t kept = 0;
    for (size_t i = 0; i < b->count; i++) {
        bool ours =
            i % b->set->shards == b->set->shard && (b->set->limit == 0 || kept < b->set->limit);
        if (ours) {
            statement moved = b->statements[i];
            b->statements[i] = b->statements[kept];
            b->statements[kept++] = moved;
        }
    }
    while (b->count > kept) {
        free_statement(&b->statements[--b->count]);
    }
    return status == PV_OK && kept == 0
               ? pv_fail(err, PV_E_INVALID, "%s: no statement in it", b->set->file)
               : status;
}

/* ---- arms ---- */

static bool needs_policy(const char *name)
{
    return strcmp(name, "closers") != 0;
}

static const char *known_arm(const char *name, size_t n)
{
    static const char *const known[] = {"closers", "portfolio", "model", "mixed"};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++) {
        if (strlen(known[k]) == n && memcmp(known[k], name, n) == 0) {
            return known[k];
        }
    }
    return NULL;
}

/* What follows the arm's name: ":distinct", ":independent", ":16". */
static void read_suffix(options *opt, const char *suffix)
{
    while (*suffix == ':') {
        size_t n = strcspn(++suffix, ":");
        char *end = NULL;
        unsigned long width = strtoul(suffix, &end, 10);
        if (end == suffix + n && width > 0) {
            opt->width = width;
            opt->width_given = true;
        } else {
            bool independent = n == 11 && memcmp(suffix, "independent", n) == 0;
            bool distinct = n == 8 && memcmp(suffix, "distinct", n) == 0;
            opt->draw = independent ? "independent" : distinct ? "distinct" : suffix;
            opt->draw_given = true;
        }
        suffix += n;
    }
}

static pv_status open_arm(bench *b, size_t i, pv_error *err)
{
    arm *a = &b->arms[i];
    options *opt = &b->arm_options[i];
    *opt = b->set->prove;
    size_t n = strcspn(a->name, ":");
    opt->policy = known_arm(a->name, n);
    if (opt->policy == NULL) {
        return pv_fail(err, PV_E_INVALID,
                       "--arms %s: the arms are closers, portfolio, model, mixed", a->name);
    }
    if (!needs_policy(opt->policy)) {
        a->width = 64;
        return PV_OK;
    }
    read_suffix(opt, a->name + n);
    pv_status status = policy_choice_check(opt, err);
    if (status == PV_OK) {
        status = policy_choice_open(&b->choices[i], &b->s.loop, opt, b->header, err);
    }
    a->policy = b->choices[i].policy;
    a->width = policy_choice_width(&b->choices[i], opt->width_given, opt->width);
    return status;
}

static pv_status open_arms(bench *b, pv_error *err)
{
    pv_status status = PV_OK;
    for (char *rest = NULL, *name = strtok_r((char *)(uintptr_t)b->set->arms, ",", &rest);
         name != NULL && status == PV_OK; name = strtok_r(NULL, ",", &rest)) {
        if (b->arm_count == ARMS_MAX) {
            return pv_fail(err, PV_E_INVALID, "--arms: %d at most", ARMS_MAX);
        }
        b->arms[b->arm_count].name = name;
        status = open_arm(b, b->arm_count++, err);
    }
    return status;
}

static engine_stats engine_of(const bench *b, const arm *a)
{
    engine_stats stats = {0};
    policy_choice *choice = (policy_choice *)(uintptr_t)&b->choices[a - b->arms];
    if (choice->model != NULL) {
        model_policy_stats(choice->model, &stats);
    }
    return stats;
}

/* ---- rows ---- */

static void fail(bench *b, const pv_error *why)
{
    if (b->failure.status == PV_OK) {
        b->failure = *why;
    }
}

static void write_row(bench *b, json_t *row)
{
    pv_error err = {0};
    if (b->file.path != NULL && data_file_append(&b->file, row, &err) != PV_OK) {
        fail(b, &err);
    }
    json_array_append_new(b->rows, row);
}

static void mark_done(bench *b, const json_t *row)
{
    char key[512];
    snprintf(key, sizeof key, "%s %s", text_of(row, "arm"), text_of(row, "id"));
    json_object_set_new(b->done, key, json_true());
}

static bool is_done(const bench *b, const arm *a, const statement *st)
{
    char key[512];
    snprintf(key, sizeof key, "%s %s", a->name, st->id);
    return json_object_get(b->done, key) != NULL;
}

static pv_status take_old_row(void *user, const json_t *row, pv_error *err)
{
    bench *b = user;
    (void)err;
    if (strcmp(text_of(row, "kind"), "trial") == 0) {
        mark_done(b, row);
    }
    return json_array_append(b->rows, (json_t *)(uintptr_t)row) == 0
               ? PV_OK
               : pv_fail(err, PV_E_NOMEM, "out of memory");
}

/* Tells one checkpoint from another: size and beginning of its files. */
static void mark_model(const char *dir, char out[33])
{
    static const char *const names[] = {"config.json", "prover.json", "tokenizer.json",
                                        "model.safetensors", "model.safetensors.index.json"};
    pv_buf all = {0}, path = {0};
    char *start = pv_calloc(1, FIRST_MIB);
    for (size_t i = 0; start != NULL && i < sizeof names / sizeof *names; i++) {
        pv_buf_clear(&path);
        pv_buf_printf(&path, "%s/%s", dir, names[i]);
        FILE *file = fopen(pv_buf_text(&path), "rb");
        if (file != NULL) {
            size_t n = fread(start, 1, FIRST_MIB, file);
            fseek(file, 0, SEEK_END);
            pv_buf_append(&all, start, n);
            pv_buf_printf(&all, "%s %ld\n", names[i], ftell(file));
            fclose(file);
        }
    }
    pv_key_format(pv_key_of(pv_buf_text(&all), all.len), out);
    pv_free(start);
    pv_buf_release(&path);
    pv_buf_release(&all);
}

/* The rule that all arms share. */
static json_t *settings_of(const bench *b)
{
    const settings *set = b->set;
    const options *opt = &set->prove;
    return json_pack("{s:f,s:I,s:I,s:I,s:I,s:I,s:f,s:I,s:f,s:s}", "seconds", set->seconds, "calls",
                     (json_int_t)set->calls, "workers", (json_int_t)set->workers, "at_once",
                     (json_int_t)set->at_once, "window", (json_int_t)opt->window, "seed",
                     (json_int_t)opt->seed, "alpha", opt->alpha, "heartbeats",
                     (json_int_t)opt->heartbeats, "tactic_timeout", opt->tactic_timeout, "header",
                     b->header);
}

static json_t *arms_of(const bench *b)
{
    const options *opt = &b->set->prove;
    json_t *arms = json_object();
    for (size_t i = 0; i < b->arm_count; i++) {
        json_t *own = json_pack("{s:I}", "width", (json_int_t)b->arms[i].width);
        model_place place = {0};
        if (b->choices[i].model != NULL && model_place_find(&place, opt->model, NULL) == PV_OK) {
            char mark[33];
            engine_sampling how = model_policy_sampling(b->choices[i].model);
            mark_model(place.dir, mark);
            json_object_set_new(own, "model", json_string(mark));
            json_object_set_new(own, "temperature", json_real((double)how.temperature));
            json_object_set_new(own, "top_p", json_real((double)how.top_p));
            json_object_set_new(own, "threads", json_integer((json_int_t)opt->threads));
        }
        model_place_release(&place);
        json_object_set_new(arms, b->arms[i].name, own);
    }
    return arms;
}

/* The row of this run, and whether earlier rows of the file were made under the same rule. */
static pv_status begin_file(bench *b, pv_error *err)
{
    const char *lean = lean_pool_lean_version(b->s.pool);
    json_t *mine =
        json_pack("{s:s,s:s,s:s,s:I,s:I,s:o,s:o}", "kind", "run", "prover", PROVER_VERSION, "lean",
                  lean == NULL ? "?" : lean, "statements", (json_int_t)b->count, "started",
                  (json_int_t)time(NULL), "settings", settings_of(b), "arms", arms_of(b));
    for (size_t i = 0; i < json_array_size(b->rows); i++) {
        const json_t *row = json_array_get(b->rows, i);
        if (strcmp(text_of(row, "kind"), "run") == 0 && !policies_agree(row, mine)) {
            json_decref(mine);
            return pv_fail(err, PV_E_INVALID,
                           "%s was made under another rule: use the same options, or another file",
                           b->set->out);
        }
    }
    write_row(b, mine);
    return b->failure.status == PV_OK ? PV_OK
                                      : pv_fail(err, b->failure.status, "%s", b->failure.msg);
}

/* ---- a phase: one arm on one block ---- */

static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void start_counting(bench *b)
{
    b->wall = 0;
    b->cpu_then = cpu_seconds();
    b->engine_then = engine_of(b, b->now);
}

/* What the machine did since the last row of this phase: only sums over rows mean something. */
static json_t *since_last_row(bench *b)
{
    engine_stats now = engine_of(b, b->now);
    json_t *out =
        json_pack("{s:f,s:f,s:f,s:I,s:I}", "wall", b->wall, "cpu", cpu_seconds() - b->cpu_then,
                  "model", (double)(now.busy_ns - b->engine_then.busy_ns) * 1e-9, "tokens",
                  (json_int_t)(now.tokens_sampled - b->engine_then.tokens_sampled), "rows",
                  (json_int_t)(now.rows - b->engine_then.rows));
    start_counting(b);
    return out;
}

static void settle(bench *b, trial *t)
{
    json_t *row = trial_row(t);
    json_object_set_new(row, "since", since_last_row(b));
    b->tried++;
    b->solved += t->solved;
    progress_clear();
    printf("%-10s %-44s %-10s %6.1f s %6llu calls  %s\n", t->arm->name,
           t->st->name[0] == '\0' ? t->st->id : t->st->name, t->solved ? "solved" : "not solved",
           json_real_value(json_object_get(row, "seconds")), (unsigned long long)t->stats.tactics,
           t->solved ? "" : t->why);
    fflush(stdout);
    mark_done(b, row);
    write_row(b, row);
    if (t->fatal.status != PV_OK) {
        fail(b, &t->fatal);
    }
}

static void take_answer(void *user, judge_ask *ask, const judge_answer *answer)
{
    (void)user;
    trial_take_answer((trial *)(void *)ask, answer);
}

static size_t count_of(const bench *b, bool (*is)(const trial *))
{
    size_t n = 0;
    for (size_t i = 0; i < b->trial_count; i++) {
        n += is(&b->trials[i]);
    }
    return n;
}

static bool is_waiting(const trial *t)
{
    return t->stage == TRIAL_WAITING;
}

static bool is_over(const trial *t)
{
    return t->stage == TRIAL_DONE;
}

static bool start_next(bench *b)
{
    for (size_t i = 0; i < b->trial_count; i++) {
        if (is_waiting(&b->trials[i])) {
            trial_start(&b->trials[i]);
            return true;
        }
    }
    return false;
}

static bool turn(bench *b)
{
    bool moved = count_of(b, trial_is_active) < b->set->at_once && start_next(b);
    for (size_t i = 0; i < b->trial_count; i++) {
        trial *t = &b->trials[i];
        bool was_over = is_over(t);
        moved = trial_turn(t) || moved;
        if (!was_over && is_over(t)) {
            settle(b, t);
        }
    }
    bool idle = count_of(b, trial_is_active) + count_of(b, is_waiting) == 0;
    moved = judge_queue_turn(&b->judge, idle) || moved;
    if (b->judge.failure.status != PV_OK) {
        fail(b, &b->judge.failure);
    }
    return moved;
}

static void show_progress(const bench *b)
{
    char line[160];
    snprintf(line, sizeof line, "%s: %zu of %zu in this block, %zu of %zu solved in this run",
             b->now->name, count_of(b, is_over), b->trial_count, b->solved, b->tried);
    progress_line(line);
}

static void run_phase(bench *b)
{
    start_counting(b);
    while (b->failure.status == PV_OK && !b->s.interrupted &&
           count_of(b, is_over) < b->trial_count) {
        bool searching = count_of(b, trial_is_searching) > 0;
        uint64_t start = pv_clock_ns();
        if (!turn(b)) {
            session_round(&b->s);
        }
        b->wall += searching ? (double)(pv_clock_ns() - start) * 1e-9 : 0;
        show_progress(b);
    }
}

/* Lets what is in flight come home. */
static void end_trials(bench *b)
{
    for (bool over = false; !over;) {
        over = true;
        for (size_t i = 0; i < b->trial_count; i++) {
            over = trial_end(&b->trials[i]) && over;
        }
        if (!over) {
            session_round(&b->s);
        }
    }
}

static void release_trials(bench *b)
{
    for (size_t i = 0; i < b->trial_count; i++) {
        trial_release(&b->trials[i]);
    }
    pv_free(b->trials);
    b->trials = NULL;
    b->trial_count = 0;
}

static pv_status start_phase(bench *b, const arm *a, size_t from, size_t to, pv_error *err)
{
    b->now = a;
    b->trials = pv_calloc(to - from, sizeof *b->trials);
    if (b->trials == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = from; i < to; i++) {
        if (!is_done(b, a, &b->statements[i])) {
            b->trials[b->trial_count++] = (trial){.s = &b->s,
                                                  .env = b->env,
                                                  .judge = &b->judge,
                                                  .st = &b->statements[i],
                                                  .arm = a,
                                                  .limits = {b->set->seconds, b->set->calls}};
        }
    }
    return PV_OK;
}

/* The arm that is the n-th of a block begins the (n + 1)-th block last. */
static pv_status run_blocks(bench *b, pv_error *err)
{
    pv_status status = PV_OK;
    size_t block = (size_t)b->set->block;
    for (size_t from = 0; from < b->count && status == PV_OK; from += block) {
        size_t to = from + block < b->count ? from + block : b->count;
        for (size_t k = 0; k < b->arm_count && status == PV_OK && !b->s.interrupted; k++) {
            const arm *a = &b->arms[(k + from / block) % b->arm_count];
            status = start_phase(b, a, from, to, err);
            if (status == PV_OK) {
                run_phase(b);
                end_trials(b);
                status = b->failure.status == PV_OK
                             ? PV_OK
                             : pv_fail(err, b->failure.status, "%s", b->failure.msg);
            }
            if (status == PV_OK && !b->s.interrupted) {
                release_trials(b);
            }
        }
    }
    return status;
}

/* ---- the run ---- */

static pv_status open_lean(bench *b, pv_error *err)
{
    char name[] = "--header";
    source src = {.name = name, .header = b->header};
    progress_note("bench", "starting Lean");
    pv_status status = session_start_pool(&b->s, (uint32_t)b->set->workers, err);
    if (status == PV_OK) {
        status = session_start_judge(&b->s, false, err);
    }
    return status == PV_OK ? ask_header(&b->s, &src, &b->env, err) : status;
}

static pv_status open_all(bench *b, pv_error *err)
{
    pv_status status = read_statements(b, err);
    if (status == PV_OK && b->set->out != NULL) {
        status = data_file_open(&b->file, b->set->out, take_old_row, b, err);
    }
    if (status == PV_OK) {
        status = source_header(b->set->prove.header, &b->header, err);
    }
    if (status == PV_OK) {
        status = session_open(&b->s, &b->set->prove, err);
    }
    if (status == PV_OK) {
        status = open_arms(b, err);
    }
    if (status == PV_OK) {
        status = open_lean(b, err);
    }
    b->judge = (judge_queue){.s = &b->s, .header = b->header, .on_answer = take_answer, .user = b};
    return status == PV_OK ? begin_file(b, err) : status;
}

static void close_all(bench *b)
{
    if (b->env != NULL) {
        lean_env_unref(b->env);
    }
    for (size_t i = 0; i < b->arm_count; i++) {
        policy_choice_close(&b->choices[i]);
    }
    session_close(&b->s);
    judge_queue_release(&b->judge);
    release_trials(b);
    for (size_t i = 0; i < b->count; i++) {
        free_statement(&b->statements[i]);
    }
    pv_free(b->statements);
    pv_free(b->header);
}

static int run(settings *set)
{
    bench *b = pv_calloc(1, sizeof *b);
    pv_error err = {0};
    if (b == NULL) {
        return EXIT_ENVIRONMENT;
    }
    b->set = set;
    b->file.fd = -1;
    b->rows = json_array();
    b->done = json_object();
    pv_status status = open_all(b, &err);
    if (status == PV_OK) {
        status = run_blocks(b, &err);
    }
    bool interrupted = b->s.interrupted;
    close_all(b);
    progress_clear();
    pv_status closed = b->file.path == NULL ? PV_OK : data_file_close(&b->file, &err);
    status = status == PV_OK ? closed : status;
    if (interrupted) {
        fprintf(stderr, "interrupted%s\n",
                set->out == NULL ? "" : "; the same command goes on from here");
    } else if (status == PV_OK) {
        status = policies_report(b->rows, set->prove.json, &err);
    }
    json_decref(b->rows);
    json_decref(b->done);
    pv_free(b);
    return status == PV_OK ? (interrupted ? EXIT_NOT_PROVED : EXIT_PROVED) : (int)complain(&err);
}

/* ---- reports ---- */

static pv_status add_row(void *user, const json_t *row, pv_error *err)
{
    return json_array_append(user, (json_t *)(uintptr_t)row) == 0
               ? PV_OK
               : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static int report(const settings *set)
{
    json_t *rows = json_array();
    pv_error err = {0};
    pv_status status = PV_OK;
    for (size_t i = 0; i < set->prove.argument_count && status == PV_OK; i++) {
        status = data_file_read(set->prove.arguments[i], add_row, rows, &err);
    }
    if (status == PV_OK) {
        status = policies_report(rows, set->prove.json, &err);
    }
    json_decref(rows);
    return status == PV_OK ? EXIT_PROVED : (int)complain(&err);
}

static void log_to_stderr(void *user, pv_log_level level, const char *line)
{
    (void)user;
    (void)level;
    progress_clear();
    fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
    char arms[] = BENCH_ARMS;
    settings set = {.arms = arms, .seconds = 60, .workers = 2, .at_once = 1, .block = 16};
    pv_error err = {0};
    if (read_settings(&set, argc, argv, &err) != PV_OK) {
        return complain(&err);
    }
    pv_log_set(log_to_stderr, NULL, (pv_log_level)(PV_LOG_WARN + set.prove.verbose));
    int code = EXIT_USAGE;
    if (set.prove.help || set.prove.argument_count == 0 ||
        (!set.report && set.prove.argument_count > 1)) {
        fputs(usage_text, set.prove.help ? stdout : stderr);
        code = set.prove.help ? EXIT_PROVED : EXIT_USAGE;
    } else if (set.report) {
        code = report(&set);
    } else {
        set.file = set.prove.arguments[0];
        progress_init(false);
        code = run(&set);
    }
    options_release(&set.prove);
    return code;
}
