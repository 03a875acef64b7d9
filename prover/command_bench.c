/* prover bench: every problem of a benchmark, in a run that is kept in a store and goes on after any end. */
#define _DEFAULT_SOURCE
#include "bench.h"
#include "commands.h"
#include "model_id.h"
#include "problem_file.h"
#include "progress.h"
#include "pv_log.h"
#include "pv_mem.h"
#include "run_settings.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- the store ---- */

/* Makes the folders above the file. */
static pv_status make_folders(char *path, pv_error *err)
{
    for (char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        int code = mkdir(path, 0700);
        int cause = errno;
        *at = '/';
        if (code != 0 && cause != EEXIST) {
            return pv_fail_os(err, PV_E_IO, cause, "the folder of %s cannot be made: use --store",
                              path);
        }
    }
    return PV_OK;
}

static pv_status default_store(pv_buf *out, pv_error *err)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data != NULL && data[0] == '/') {
        pv_buf_printf(out, "%s/prover/runs.sqlite", data);
    } else if (home != NULL && home[0] == '/') {
        pv_buf_printf(out, "%s/.local/share/prover/runs.sqlite", home);
    } else {
        return pv_fail(err, PV_E_NOTFOUND, "no home folder to keep runs in: use --store PATH");
    }
    return pv_buf_ok(out) ? make_folders(out->data, err)
                          : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static pv_status open_store(bench *b, pv_error *err)
{
    pv_buf path = {0};
    pv_status status = PV_OK;
    if (b->opt.store[0] == '\0') {
        status = default_store(&path, err);
    } else {
        pv_buf_puts(&path, b->opt.store);
    }
    if (status == PV_OK) {
        status = store_open(&b->store, pv_buf_text(&path), err);
    }
    pv_buf_release(&path);
    return status;
}

/* ---- the run ---- */

static pv_status read_shard(const options *opt, problem_choice *out, pv_error *err)
{
    unsigned long long i = 0, n = 0;
    char end;
    if (sscanf(opt->shard, "%llu/%llu%c", &i, &n, &end) != 2 || n == 0 || i >= n) {
        return pv_fail(err, PV_E_INVALID, "--shard %s: expected I/N with I from 0 to N-1",
                       opt->shard);
    }
    out->part = i;
    out->parts = n;
    return PV_OK;
}

static pv_status read_problems(bench *b, const char *path, pv_error *err)
{
    problem_choice choice = {.split = b->opt.split, .filter = b->opt.filter};
    pv_buf header = {0};
    pv_status status = read_shard(&b->opt, &choice, err);
    if (status == PV_OK) {
        status = source_header_text(b->opt.header, &header, err);
    }
    if (status == PV_OK) {
        status = problem_file_read(&b->problems, path, pv_buf_text(&header), err);
    }
    if (status == PV_OK) {
        status = problem_list_choose(&b->problems, &choice, b->run.problems_hash, err);
    }
    pv_buf_release(&header);
    return status;
}

static bool may_have_model(const options *opt)
{
    return strcmp(opt->policy, "portfolio") != 0 && strcmp(opt->policy, "premises") != 0;
}

/* The policy that a new run has for good, whatever this machine may have for a model another day. */
static pv_status settle_policy(bench *b, pv_error *err)
{
    if (!may_have_model(&b->opt)) {
        return PV_OK;
    }
    pv_status status = model_place_find(&b->place, b->opt.model, err);
    if (status == PV_OK && b->place.dir != NULL) {
        b->opt.model = b->place.dir;
        b->opt.policy = b->opt.policy[0] == '\0' ? "model" : b->opt.policy;
    } else if (status == PV_OK && b->opt.policy[0] == '\0') {
        pv_log(PV_LOG_WARN, "no model: none is shipped at %s; tactics come from the portfolio",
               b->place.shipped);
        b->opt.policy = "portfolio";
    }
    return status;
}

static pv_status hash_model(bench *b, pv_error *err)
{
    bool wanted = may_have_model(&b->opt) && b->opt.model[0] != '\0';
    return wanted ? model_id(b->opt.model, b->model_hash, err) : PV_OK;
}

static pv_status new_run(bench *b, pv_error *err)
{
    pv_status status = read_problems(b, b->opt.arguments[0], err);
    if (status == PV_OK) {
        status = settle_policy(b, err);
    }
    if (status == PV_OK) {
        status = hash_model(b, err);
    }
    if (status == PV_OK) {
        b->run.file = pv_strdup(b->opt.arguments[0]);
        b->run.shard = pv_strdup(b->opt.shard);
        b->run.lean = pv_strdup("");
        b->run.passes = b->opt.passes;
        b->run.seed = b->opt.seed;
        status = b->run.file == NULL || b->run.shard == NULL || b->run.lean == NULL
                     ? pv_fail(err, PV_E_NOMEM, "out of memory")
                     : run_settings_write(&b->opt, b->model_hash, &b->run, err);
    }
    return status == PV_OK ? store_run_create(b->store, &b->run, &b->problems, err) : status;
}

/* The checkpoint must be the one that the run began with, wherever it lies now. */
static pv_status check_model(bench *b, pv_error *err)
{
    pv_status status = hash_model(b, err);
    if (status == PV_OK && strcmp(b->model_hash, bench_settings_model(b)) != 0) {
        status = pv_fail(err, PV_E_INVALID,
                         "run %s began with other weights than those in %s: start a new run",
                         b->run.id, b->opt.model);
    }
    return status;
}

static pv_status old_run(bench *b, pv_error *err)
{
    const char *id = b->opt.argument_count > 0 ? b->opt.arguments[0] : "";
    pv_status status = store_run_find(b->store, id, &b->run, err);
    if (status == PV_OK) {
        status = bench_settings_read(b, err);
    }
    if (status == PV_OK) {
        status = check_model(b, err);
    }
    return status == PV_OK ? store_run_problems(b->store, b->run.id, &b->problems, err) : status;
}

static pv_status open_run(bench *b, pv_error *err)
{
    pv_status status = open_store(b, err);
    if (status == PV_OK) {
        status = b->opt.resume ? old_run(b, err) : new_run(b, err);
    }
    if (status == PV_OK && !b->opt.resume) {
        status = bench_settings_read(b, err);
    }
    if (status == PV_OK) {
        status = budget_parse(&b->limit, b->opt.budget, err);
    }
    if (status == PV_OK) {
        fprintf(stderr, "bench: run %s: %llu problems, %llu passes%s\n", b->run.id,
                (unsigned long long)b->run.problem_count, (unsigned long long)b->run.passes,
                b->opt.resume ? " (resumed)" : "");
        status = store_count(b->store, b->run.id, &b->counts, err);
    }
    return status;
}

/* ---- Lean ---- */

static pv_status open_items(bench *b, uint32_t workers, pv_error *err)
{
    b->parallel = b->opt.parallel > 0 ? (size_t)b->opt.parallel : workers;
    b->judge = (judge_queue){.s = &b->s, .header = "", .on_answer = bench_item_judged, .user = b};
    size_t count = b->parallel + BENCH_JUDGED_MAX;
    b->items = pv_calloc(count, sizeof *b->items);
    if (b->items == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    b->item_count = count;
    for (size_t i = 0; i < count; i++) {
        b->items[i].b = b;
    }
    return PV_OK;
}

static pv_status open_lean(bench *b, pv_error *err)
{
    uint32_t workers = session_workers(&b->opt);
    pv_status status = session_open(&b->s, &b->opt, err);
    if (status == PV_OK) { /* headers are the problems', and come with each statement */
        status = policy_choice_open(&b->choice, &b->s.loop, &b->opt, "", err);
        b->s.policy = b->choice.policy;
    }
    if (status == PV_OK) {
        status = writer_choice_open(&b->writers, &b->choice, &b->opt, err);
    }
    if (status == PV_OK) {
        progress_note("prover", "starting Lean");
        status = session_start_pool(&b->s, workers, err);
    }
    if (status == PV_OK) {
        status = session_start_judge(&b->s, true, err);
    }
    return status == PV_OK ? open_items(b, workers, err) : status;
}

static void close_lean(bench *b)
{
    if (b->kept != NULL) {
        lean_env_unref(b->kept);
        b->kept = NULL;
    }
    policy_choice_close(&b->choice);
    session_close(&b->s);
    judge_queue_release(&b->judge);
    for (size_t i = 0; i < b->item_count; i++) {
        bench_item_release(&b->items[i]);
    }
    pv_free(b->items);
    writer_choice_close(&b->writers);
}

static bool is_complete(const bench *b)
{
    return b->counts.attempts > 0 && b->counts.done == b->counts.attempts;
}

/* Works until the run is over, is interrupted, or fails. */
static pv_status work(bench *b, pv_error *err)
{
    pv_status status = open_lean(b, err);
    if (status == PV_OK) {
        status = bench_run_all(b, err);
    }
    close_lean(b);
    pv_error second = {0};
    if (b->joined && store_leave(b->store, b->me, &second) != PV_OK && status == PV_OK) {
        status = pv_fail(err, second.status, "%s", second.msg);
    }
    return status;
}

static exit_code end_of(bench *b, pv_status status, const pv_error *err)
{
    if (b->s.interrupted || (status == PV_OK && !is_complete(b))) {
        fprintf(
            stderr, "bench: %llu of %llu attempts are done; `prover bench --resume %s` goes on\n",
            (unsigned long long)b->counts.done, (unsigned long long)b->counts.attempts, b->run.id);
        return EXIT_NOT_PROVED;
    }
    return status == PV_OK ? EXIT_PROVED : complain(err);
}

static exit_code run(bench *b)
{
    pv_error err = {0}, table_error = {0};
    pv_status status = open_run(b, &err);
    bool opened = status == PV_OK;
    if (opened && !is_complete(b)) {
        status = work(b, &err);
        if (store_count(b->store, b->run.id, &b->counts, &table_error) != PV_OK &&
            status == PV_OK) {
            status = pv_fail(&err, table_error.status, "%s", table_error.msg);
        }
    }
    if (opened && (status == PV_OK || b->s.interrupted)) {
        store_run now = {0};
        status =
            store_run_find(b->store, b->run.id, &now, &err); /* with the Lean that it has now */
        if (status == PV_OK) {
            status = bench_table(b->store, &now, b->opt.json, &err);
        }
        store_run_release(&now);
    }
    return opened ? end_of(b, status, &err) : complain(&err);
}

static pv_status check_options(const options *opt, pv_error *err)
{
    budget ignored;
    if (!opt->resume && opt->argument_count != 1) {
        return pv_fail(
            err, PV_E_INVALID,
            "bench takes one argument: FILE.jsonl, FILE.lean, or a folder of .lean files "
            "(or --resume [RUN])");
    }
    if (opt->resume && opt->argument_count > 1) {
        return pv_fail(err, PV_E_INVALID,
                       "bench --resume takes at most the run's name: the run knows its problems");
    }
    pv_status status = budget_parse(&ignored, opt->budget, err);
    if (status == PV_OK && !opt->resume) {
        status = writer_choice_check(opt, err);
    }
    return status == PV_OK ? policy_choice_check(opt, err) : status;
}

exit_code command_bench(const options *opt)
{
    pv_error err = {0};
    if (check_options(opt, &err) != PV_OK) {
        return complain(&err);
    }
    bench *b = pv_calloc(1, sizeof *b);
    if (b == NULL) {
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        return complain(&err);
    }
    b->opt = *opt;
    exit_code code = run(b);
    store_close(b->store);
    store_run_release(&b->run);
    problem_list_release(&b->problems);
    model_place_release(&b->place);
    pv_free(b->environment);
    json_decref(b->settings);
    pv_free(b);
    return code;
}
