#include "store_internal.h"

#include "pv_mem.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

/* In the order of copy_run(). */
#define RUN_COLUMNS                                                                                \
    "id, file, settings, shard, lean, problems_hash, fingerprint, passes, seed, problems, created"

/* ---- making ---- */

static pv_status make_id(char id[STORE_ID_MAX], int64_t now, pv_error *err)
{
    uint32_t random = 0;
    time_t seconds = (time_t)now;
    struct tm day;
    if (getrandom(&random, sizeof random, 0) != sizeof random || gmtime_r(&seconds, &day) == NULL) {
        return pv_fail_os(err, PV_E_IO, errno, "no random number for the run's name");
    }
    snprintf(id, STORE_ID_MAX, "%04d%02d%02d-%08x", (day.tm_year + 1900) % 10000,
             (day.tm_mon + 1) % 100, day.tm_mday % 100, random);
    return PV_OK;
}

static pv_status add_problem(store *s, const char *run, size_t place, const problem *p,
                             pv_error *err)
{
    return store_do(s, err, "INSERT INTO problem VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                    "tiittttt"
                    "itt",
                    run, (int64_t)place, (int64_t)p->number, p->name, p->split, p->origin,
                    p->header, p->text, (int64_t)p->target, p->text_hash, p->header_hash);
}

pv_status store_run_create(store *s, store_run *run, const problem_list *problems, pv_error *err)
{
    int64_t now = store_now_ms() / 1000;
    pv_status status = make_id(run->id, now, err);
    if (status == PV_OK) {
        status = store_begin(s, err);
    }
    if (status != PV_OK) {
        return status;
    }
    status = store_do(s, err,
                      "INSERT INTO run(id, file, settings, shard, problems_hash, fingerprint,"
                      " passes, seed, problems, created) VALUES(?,?,?,?,?,?,?,?,?,?)",
                      "ttttttiiii", run->id, run->file, run->settings, run->shard,
                      run->problems_hash, run->fingerprint, (int64_t)run->passes,
                      (int64_t)run->seed, (int64_t)problems->count, now);
    for (size_t i = 0; i < problems->count && status == PV_OK; i++) {
        status = add_problem(s, run->id, i, &problems->items[i], err);
    }
    status = store_end(s, status, err);
    run->created = now;
    run->problem_count = problems->count;
    return status;
}

/* ---- finding ---- */

void store_run_release(store_run *run)
{
    pv_free(run->file);
    pv_free(run->settings);
    pv_free(run->shard);
    pv_free(run->lean);
    memset(run, 0, sizeof *run);
}

static pv_status copy_run(sqlite3_stmt *row, store_run *out, pv_error *err)
{
    store_run run = {.file = pv_strdup(store_text(row, 1)),
                     .settings = pv_strdup(store_text(row, 2)),
                     .shard = pv_strdup(store_text(row, 3)),
                     .lean = pv_strdup(store_text(row, 4)),
                     .passes = (uint64_t)sqlite3_column_int64(row, 7),
                     .seed = (uint64_t)sqlite3_column_int64(row, 8),
                     .problem_count = (uint64_t)sqlite3_column_int64(row, 9),
                     .created = sqlite3_column_int64(row, 10)};
    snprintf(run.id, sizeof run.id, "%s", store_text(row, 0));
    snprintf(run.problems_hash, sizeof run.problems_hash, "%s", store_text(row, 5));
    snprintf(run.fingerprint, sizeof run.fingerprint, "%s", store_text(row, 6));
    if (run.file == NULL || run.settings == NULL || run.shard == NULL || run.lean == NULL) {
        store_run_release(&run);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *out = run;
    return PV_OK;
}

void store_runs_free(store_run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        store_run_release(&runs[i]);
    }
    pv_free(runs);
}

pv_status store_runs(store *s, store_run **out, size_t *count, pv_error *err)
{
    sqlite3_stmt *rows = NULL;
    store_run *runs = NULL;
    size_t n = 0, capacity = 0;
    bool got = true;
    pv_status status = store_ask(s, &rows, err,
                                 "SELECT " RUN_COLUMNS " FROM run"
                                 " ORDER BY created DESC, rowid DESC",
                                 "");
    while (status == PV_OK && got) {
        status = store_row(s, rows, &got, err);
        if (status == PV_OK && got &&
            pv_grow((void **)&runs, &capacity, n + 1, sizeof *runs) != 0) {
            status = pv_fail(err, PV_E_NOMEM, "out of memory");
        }
        if (status == PV_OK && got) {
            status = copy_run(rows, &runs[n], err);
            n += status == PV_OK;
        }
    }
    sqlite3_finalize(rows);
    if (status != PV_OK) {
        store_runs_free(runs, n);
        return status;
    }
    *out = runs;
    *count = n;
    return PV_OK;
}

/* "no such run" with the latest few that there are. */
static pv_status fail_to_find(store *s, const char *id, bool several, pv_error *err)
{
    sqlite3_stmt *rows = NULL;
    pv_buf there = {0};
    bool got = true;
    pv_status status = store_ask(
        s, &rows, err, "SELECT id FROM run ORDER BY created DESC, rowid DESC LIMIT 8", "");
    while (status == PV_OK && got) {
        status = store_row(s, rows, &got, err);
        if (got) {
            pv_buf_printf(&there, " %s", store_text(rows, 0));
        }
    }
    sqlite3_finalize(rows);
    if (status == PV_OK) {
        status = there.len == 0
                     ? pv_fail(err, PV_E_NOTFOUND, "%s holds no run yet", s->path)
                     : pv_fail(err, PV_E_NOTFOUND, "%s run \"%s\" in %s; the latest are%s",
                               several ? "more than one" : "no", id, s->path, pv_buf_text(&there));
    }
    pv_buf_release(&there);
    return status;
}

pv_status store_run_find(store *s, const char *id, store_run *out, pv_error *err)
{
    sqlite3_stmt *rows = NULL;
    bool got = false, several = false;
    store_run found = {0};
    pv_status status = store_ask(s, &rows, err,
                                 "SELECT " RUN_COLUMNS " FROM run"
                                 " WHERE substr(id, 1, length(?1)) = ?1"
                                 " ORDER BY id = ?1 DESC, created DESC, rowid DESC LIMIT 2",
                                 "t", id);
    if (status == PV_OK) {
        status = store_row(s, rows, &got, err);
    }
    if (status == PV_OK && got) {
        status = copy_run(rows, &found, err);
    }
    if (status == PV_OK && got && id[0] != '\0' && strcmp(found.id, id) != 0) {
        status = store_row(s, rows, &several, err);
    }
    sqlite3_finalize(rows);
    if (status == PV_OK && (!got || several)) {
        status = fail_to_find(s, id, several, err);
    }
    if (status == PV_OK) {
        *out = found;
    } else {
        store_run_release(&found);
    }
    return status;
}

pv_status store_run_problems(store *s, const char *id, problem_list *out, pv_error *err)
{
    sqlite3_stmt *rows = NULL;
    bool got = true;
    problem_list list = {0};
    pv_status status = store_ask(s, &rows, err,
                                 "SELECT name, split, origin, header, text, target, number"
                                 " FROM problem WHERE run = ? ORDER BY place",
                                 "t", id);
    while (status == PV_OK && got) {
        status = store_row(s, rows, &got, err);
        if (status == PV_OK && got) {
            problem p = {.name = (char *)store_text(rows, 0),
                         .split = (char *)store_text(rows, 1),
                         .origin = (char *)store_text(rows, 2),
                         .header = (char *)store_text(rows, 3),
                         .text = (char *)store_text(rows, 4),
                         .target = (size_t)sqlite3_column_int64(rows, 5),
                         .number = (uint64_t)sqlite3_column_int64(rows, 6)};
            status = problem_list_add(&list, &p, err);
        }
    }
    sqlite3_finalize(rows);
    if (status == PV_OK) {
        *out = list;
    } else {
        problem_list_release(&list);
    }
    return status;
}

static pv_status read_lean(store *s, const char *id, pv_buf *out, pv_error *err)
{
    sqlite3_stmt *row = NULL;
    bool got = false;
    pv_status status = store_ask(s, &row, err, "SELECT lean FROM run WHERE id = ?", "t", id);
    if (status == PV_OK) {
        status = store_row(s, row, &got, err);
    }
    if (got) {
        pv_buf_puts(out, store_text(row, 0));
    }
    sqlite3_finalize(row);
    return status;
}

pv_status store_run_lean(store *s, const char *id, const char *version, pv_error *err)
{
    pv_buf theirs = {0};
    pv_status status =
        store_do(s, err, "UPDATE run SET lean = ? WHERE id = ? AND lean = ''", "tt", version, id);
    if (status == PV_OK) {
        status = read_lean(s, id, &theirs, err);
    }
    if (status == PV_OK && strcmp(pv_buf_text(&theirs), version) != 0) {
        status = pv_fail(err, PV_E_INVALID,
                         "run %s has results of Lean %s, and this is Lean %s: start a new run, or "
                         "choose that Lean",
                         id, pv_buf_text(&theirs), version);
    }
    pv_buf_release(&theirs);
    return status;
}
