#include "store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- writing ---- */

static pv_status write_environment(store *s, const char *text, char hash[PV_SHA256_TEXT],
                                   pv_error *err)
{
    pv_sha256_of(text, strlen(text), hash);
    return store_do(s, err, "INSERT OR IGNORE INTO environment VALUES(?, ?)", "tt", hash, text);
}

static pv_status write_result(store *s, store_member me, const store_result *r, const char *hash,
                              pv_error *err)
{
    char digest[17];
    const search_stats *n = &r->stats;
    snprintf(digest, sizeof digest, "%016llx", (unsigned long long)n->digest);
    return store_do(
        s, err,
        "UPDATE attempt SET state = 2, status = ?, why = ?, text = ?, level = ?, axioms = ?,"
        " environment = ?, text_hash = ?, header_hash = ?, seed = ?, nodes = ?, edges = ?,"
        " expansions = ?, tactics = ?, duplicates = ?, no_ops = ?, failed = ?, timed_out = ?,"
        " lost = ?, tokens = ?, lean_seconds = ?, wall_seconds = ?, depth = ?, digest = ?,"
        " seconds = ?, judge_seconds = ?, way = ?, samples = ?, kept = ?, finished = ?,"
        " trees_left_out = ?"
        " WHERE run = ? AND problem = ? AND pass = ? AND state = 1 AND owner = ?",
        "tttttttt"
        "iiiiiiiiiii"
        "ddit"
        "ddtiii"
        "i"
        "tiii",
        r->status, r->why, r->text, r->level, r->axioms, hash, r->text_hash, r->header_hash,
        (int64_t)r->seed, (int64_t)n->nodes, (int64_t)n->edges, (int64_t)n->expansions,
        (int64_t)n->tactics, (int64_t)n->duplicates, (int64_t)n->no_ops, (int64_t)n->failed,
        (int64_t)n->timed_out, (int64_t)n->lost, (int64_t)n->tokens, n->lean_seconds,
        n->wall_seconds, (int64_t)n->depth, digest, r->seconds, r->judge_seconds, r->way,
        (int64_t)r->samples, (int64_t)r->kept, store_now_ms() / 1000, (int64_t)r->trees_left_out,
        me.run, (int64_t)r->claim.problem, (int64_t)r->claim.pass, me.id);
}

pv_status store_finish(store *s, store_member me, const store_result *result, bool *kept,
                       pv_error *err)
{
    char hash[PV_SHA256_TEXT];
    bool written = false;
    pv_status status = store_begin(s, err);
    if (status != PV_OK) {
        return status;
    }
    status = write_environment(s, result->environment, hash, err);
    if (status == PV_OK) {
        status = write_result(s, me, result, hash, err);
        written = status == PV_OK && sqlite3_changes(s->db) == 1;
    }
    if (written) {
        status = store_write_trees(s, me.run, result, err);
    }
    status = store_end(s, status, err);
    if (status == PV_OK) {
        *kept = written;
    }
    return status;
}

/* ---- reading ---- */

static const char *text_or_null(sqlite3_stmt *row, int column)
{
    return (const char *)sqlite3_column_text(row, column);
}

static uint64_t count_at(sqlite3_stmt *row, int column)
{
    return (uint64_t)sqlite3_column_int64(row, column);
}

static void read_stats(sqlite3_stmt *row, int at, search_stats *out)
{
    out->nodes = count_at(row, at);
    out->edges = count_at(row, at + 1);
    out->expansions = count_at(row, at + 2);
    out->tactics = count_at(row, at + 3);
    out->duplicates = count_at(row, at + 4);
    out->no_ops = count_at(row, at + 5);
    out->failed = count_at(row, at + 6);
    out->timed_out = count_at(row, at + 7);
    out->lost = count_at(row, at + 8);
    out->tokens = count_at(row, at + 9);
    out->lean_seconds = sqlite3_column_double(row, at + 10);
    out->wall_seconds = sqlite3_column_double(row, at + 11);
    out->depth = (uint32_t)sqlite3_column_int64(row, at + 12);
    out->digest = strtoull(store_text(row, at + 13), NULL, 16);
}

static void read_result(sqlite3_stmt *row, store_result *out)
{
    *out = (store_result){
        .claim = {(size_t)sqlite3_column_int64(row, 0), count_at(row, 1)},
        .name = store_text(row, 2),
        .split = store_text(row, 3),
        .header = store_text(row, 4),
        .statement = store_text(row, 5),
        .text_hash = store_text(row, 6),
        .header_hash = store_text(row, 7),
        .status = store_text(row, 8),
        .why = text_or_null(row, 9),
        .text = text_or_null(row, 10),
        .level = text_or_null(row, 11),
        .axioms = text_or_null(row, 12),
        .environment = store_text(row, 13),
        .seed = count_at(row, 14),
        .seconds = sqlite3_column_double(row, 15),
        .judge_seconds = sqlite3_column_double(row, 16),
        .finished = sqlite3_column_int64(row, 17),
    };
    read_stats(row, 18, &out->stats);
    out->way = store_text(row, 32);
    out->samples = count_at(row, 33);
    out->kept = count_at(row, 34);
    out->trees_left_out = count_at(row, 35);
}

pv_status store_results(store *s, const char *run, store_on_result *on_result, void *user,
                        pv_error *err)
{
    sqlite3_stmt *rows = NULL;
    bool got = true;
    pv_status status = store_ask(
        s, &rows, err,
        "SELECT a.problem, a.pass, p.name, p.split, p.header, p.text, a.text_hash, a.header_hash,"
        " a.status, a.why, a.text, a.level, a.axioms, e.text, a.seed, a.seconds, a.judge_seconds,"
        " a.finished, a.nodes, a.edges, a.expansions, a.tactics, a.duplicates, a.no_ops, a.failed,"
        " a.timed_out, a.lost, a.tokens, a.lean_seconds, a.wall_seconds, a.depth, a.digest, a.way,"
        " a.samples, a.kept, a.trees_left_out"
        " FROM attempt a JOIN problem p ON p.run = a.run AND p.place = a.problem"
        " LEFT JOIN environment e ON e.hash = a.environment"
        " WHERE a.run = ? AND a.state = 2 ORDER BY a.problem, a.pass",
        "t", run);
    while (status == PV_OK && got) {
        status = store_row(s, rows, &got, err);
        if (status == PV_OK && got) {
            store_result result;
            read_result(rows, &result);
            status = on_result(user, &result, err);
        }
    }
    sqlite3_finalize(rows);
    return status;
}

pv_status store_count(store *s, const char *run, store_counts *out, pv_error *err)
{
    sqlite3_stmt *row = NULL;
    bool got = false;
    pv_status status = store_ask(
        s, &row, err,
        "SELECT r.problems * r.passes, total(a.state = 2), total(a.state = 1),"
        " total(a.status = 'proved'), count(DISTINCT CASE a.status WHEN 'proved' THEN a.problem "
        "END),"
        " (SELECT count(*) FROM member WHERE run = ?1 AND gone = 0), total(a.lean_seconds),"
        " total(a.tokens), total(a.nodes)"
        " FROM run r LEFT JOIN attempt a ON a.run = r.id WHERE r.id = ?1 GROUP BY r.id",
        "t", run);
    if (status == PV_OK) {
        status = store_row(s, row, &got, err);
    }
    if (status == PV_OK && got) {
        *out = (store_counts){.attempts = count_at(row, 0),
                              .done = count_at(row, 1),
                              .claimed = count_at(row, 2),
                              .proved = count_at(row, 3),
                              .problems_proved = count_at(row, 4),
                              .members = count_at(row, 5),
                              .lean_seconds = sqlite3_column_double(row, 6),
                              .tokens = count_at(row, 7),
                              .nodes = count_at(row, 8)};
    } else if (status == PV_OK) {
        status = pv_fail(err, PV_E_NOTFOUND, "no run %s in %s", run, s->path);
    }
    sqlite3_finalize(row);
    return status;
}
