#include "store_internal.h"

#include "pv_mem.h"

#include <stdarg.h>
#include <string.h>
#include <time.h>

enum { BUSY_MS = 60000, APPLICATION = 0x70726f76 /* "prov" */, LEASE_MS = 60000 };

/* Step n brings a store of version n to version n + 1. A released step is never changed. */
static const char *const MIGRATIONS[] = {
    "CREATE TABLE run(id TEXT PRIMARY KEY, file TEXT NOT NULL, settings TEXT NOT NULL,"
    " shard TEXT NOT NULL, lean TEXT NOT NULL DEFAULT '', problems_hash TEXT NOT NULL,"
    " fingerprint TEXT NOT NULL, passes INTEGER NOT NULL, seed INTEGER NOT NULL,"
    " problems INTEGER NOT NULL, created INTEGER NOT NULL, next INTEGER NOT NULL DEFAULT 0);"
    "CREATE TABLE problem(run TEXT NOT NULL REFERENCES run(id), place INTEGER NOT NULL,"
    " number INTEGER NOT NULL, name TEXT NOT NULL, split TEXT NOT NULL, origin TEXT NOT NULL,"
    " header TEXT NOT NULL, text TEXT NOT NULL, target INTEGER NOT NULL, text_hash TEXT NOT NULL,"
    " header_hash TEXT NOT NULL, PRIMARY KEY(run, place)) WITHOUT ROWID;"
    "CREATE TABLE member(id INTEGER PRIMARY KEY AUTOINCREMENT, run TEXT NOT NULL REFERENCES "
    "run(id),"
    " place TEXT NOT NULL, joined INTEGER NOT NULL, beat INTEGER NOT NULL,"
    " gone INTEGER NOT NULL DEFAULT 0);"
    "CREATE INDEX member_here ON member(run) WHERE gone = 0;"
    "CREATE TABLE environment(hash TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;"
    /* state: 0 given back, 1 claimed, 2 done; what nobody has claimed yet has no row */
    "CREATE TABLE attempt(run TEXT NOT NULL REFERENCES run(id), problem INTEGER NOT NULL,"
    " pass INTEGER NOT NULL, state INTEGER NOT NULL, owner INTEGER, claims INTEGER NOT NULL,"
    " status TEXT, why TEXT, text TEXT, level TEXT, axioms TEXT, environment TEXT, text_hash TEXT,"
    " header_hash TEXT, seed INTEGER, nodes INTEGER, edges INTEGER, expansions INTEGER,"
    " tactics INTEGER, duplicates INTEGER, no_ops INTEGER, failed INTEGER, timed_out INTEGER,"
    " lost INTEGER, tokens INTEGER, lean_seconds REAL, wall_seconds REAL, depth INTEGER,"
    " digest TEXT, seconds REAL, judge_seconds REAL, way TEXT, samples INTEGER, kept INTEGER,"
    " finished INTEGER,"
    " PRIMARY KEY(run, problem, pass)) WITHOUT ROWID;"
    "CREATE INDEX attempt_open ON attempt(run, state, pass, problem) WHERE state < 2;",
    /* the searches of an attempt, in their order (tree_blob.h) */
    "CREATE TABLE tree(run TEXT NOT NULL REFERENCES run(id), problem INTEGER NOT NULL,"
    " pass INTEGER NOT NULL, place INTEGER NOT NULL, blob BLOB NOT NULL,"
    " PRIMARY KEY(run, problem, pass, place));"
    "ALTER TABLE attempt ADD COLUMN trees_left_out INTEGER NOT NULL DEFAULT 0;",
};

enum { VERSION = sizeof MIGRATIONS / sizeof *MIGRATIONS };

int64_t store_now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

pv_status store_fail(store *s, pv_error *err)
{
    int code = s->db == NULL ? SQLITE_NOMEM : sqlite3_errcode(s->db) & 0xff;
    switch (code) {
    case SQLITE_NOMEM:
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return pv_fail(err, PV_E_TIMEOUT,
                       "%s: another process has held the store for %d s; is one stopped in the "
                       "middle of a write?",
                       s->path, BUSY_MS / 1000);
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return pv_fail(err, PV_E_INVALID, "%s is no store of runs, or a damaged one (%s)", s->path,
                       sqlite3_errmsg(s->db));
    default:
        return pv_fail(err, PV_E_IO, "%s: %s%s", s->path, sqlite3_errmsg(s->db),
                       code == SQLITE_CANTOPEN ? ": is the folder there, and writable?" : "");
    }
}

/* ---- statements ---- */

static int bind(sqlite3_stmt *statement, int at, char type, va_list *args)
{
    switch (type) {
    case 't':
        return sqlite3_bind_text(statement, at, va_arg(*args, const char *), -1, SQLITE_TRANSIENT);
    case 'd':
        return sqlite3_bind_double(statement, at, va_arg(*args, double));
    default:
        return sqlite3_bind_int64(statement, at, va_arg(*args, int64_t));
    }
}

static pv_status prepare(store *s, sqlite3_stmt **out, const char *sql, const char *types,
                         va_list *args, pv_error *err)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(s->db, sql, -1, &statement, NULL);
    for (int i = 0; code == SQLITE_OK && types[i] != '\0'; i++) {
        code = bind(statement, i + 1, types[i], args);
    }
    if (code != SQLITE_OK) {
        pv_status status = store_fail(s, err);
        sqlite3_finalize(statement);
        return status;
    }
    *out = statement;
    return PV_OK;
}

pv_status store_ask(store *s, sqlite3_stmt **out, pv_error *err, const char *sql, const char *types,
                    ...)
{
    va_list args;
    va_start(args, types);
    pv_status status = prepare(s, out, sql, types, &args, err);
    va_end(args);
    return status;
}

pv_status store_row(store *s, sqlite3_stmt *statement, bool *got, pv_error *err)
{
    int code = sqlite3_step(statement);
    *got = code == SQLITE_ROW;
    return code == SQLITE_ROW || code == SQLITE_DONE ? PV_OK : store_fail(s, err);
}

pv_status store_do(store *s, pv_error *err, const char *sql, const char *types, ...)
{
    sqlite3_stmt *statement = NULL;
    bool got = true;
    va_list args;
    va_start(args, types);
    pv_status status = prepare(s, &statement, sql, types, &args, err);
    va_end(args);
    while (status == PV_OK && got) {
        status = store_row(s, statement, &got, err);
    }
    sqlite3_finalize(statement);
    return status;
}

const char *store_text(sqlite3_stmt *statement, int column)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    return text == NULL ? "" : (const char *)text;
}

pv_status store_begin(store *s, pv_error *err)
{
    return store_do(s, err, "BEGIN IMMEDIATE", "");
}

pv_status store_end(store *s, pv_status status, pv_error *err)
{
    if (status == PV_OK) {
        status = store_do(s, err, "COMMIT", "");
    }
    if (status != PV_OK && sqlite3_get_autocommit(s->db) == 0) {
        pv_status ignored = store_do(s, NULL, "ROLLBACK", "");
        (void)ignored; /* the first failure is what counts; closing rolls back, too */
    }
    return status;
}

/* ---- the file ---- */

static pv_status read_number(store *s, const char *sql, int64_t *out, pv_error *err)
{
    sqlite3_stmt *statement = NULL;
    bool got = false;
    pv_status status = store_ask(s, &statement, err, sql, "");
    if (status == PV_OK) {
        status = store_row(s, statement, &got, err);
    }
    *out = got ? sqlite3_column_int64(statement, 0) : 0;
    sqlite3_finalize(statement);
    return status;
}

static pv_status run_script(store *s, const char *sql, pv_error *err)
{
    return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK ? PV_OK : store_fail(s, err);
}

static pv_status check_owner(store *s, int64_t version, pv_error *err)
{
    int64_t application = 0, tables = 0;
    pv_status status = read_number(s, "PRAGMA application_id", &application, err);
    if (status == PV_OK) {
        status = read_number(s, "SELECT count(*) FROM sqlite_master", &tables, err);
    }
    if (status == PV_OK && tables > 0 && application != APPLICATION) {
        return pv_fail(err, PV_E_INVALID, "%s is an SQLite file of another program", s->path);
    }
    if (status == PV_OK && version > VERSION) {
        return pv_fail(err, PV_E_INVALID,
                       "%s was written by a newer prover (its version is %lld, this one knows %d): "
                       "use that one, or another --store",
                       s->path, (long long)version, VERSION);
    }
    return status;
}

static pv_status migrate(store *s, pv_error *err)
{
    int64_t version = 0;
    pv_status status = store_begin(s, err);
    if (status != PV_OK) {
        return status;
    }
    status = read_number(s, "PRAGMA user_version", &version, err);
    if (status == PV_OK) {
        status = check_owner(s, version, err);
    }
    bool old = status == PV_OK && version < VERSION;
    for (int64_t i = version; status == PV_OK && i < VERSION; i++) {
        status = run_script(s, MIGRATIONS[i], err);
    }
    if (status == PV_OK && old) {
        pv_buf sql = {0};
        pv_buf_printf(&sql, "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION,
                      VERSION);
        status = run_script(s, pv_buf_text(&sql), err);
        pv_buf_release(&sql);
    }
    return store_end(s, status, err);
}

/* Two processes that make one file a WAL at the same moment are in each other's way, and SQLite does not wait here by itself. FULL: a
 * result that was written is there after a power cut, too. */
static pv_status set_up(store *s, pv_error *err)
{
    enum { PAUSE_MS = 20 };

    int code = SQLITE_BUSY;
    sqlite3_busy_timeout(s->db, BUSY_MS);
    for (int waited = 0; code == SQLITE_BUSY && waited < BUSY_MS; waited += PAUSE_MS) {
        code = sqlite3_exec(s->db, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
        if (code == SQLITE_BUSY) {
            sqlite3_sleep(PAUSE_MS);
        }
    }
    return code == SQLITE_OK ? run_script(s, "PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON", err)
                             : store_fail(s, err);
}

pv_status store_open(store **out, const char *path, pv_error *err)
{
    store *s = pv_calloc(1, sizeof *s);
    if (s == NULL || (s->path = pv_strdup(path)) == NULL) {
        pv_free(s);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    s->lease_ms = LEASE_MS;
    pv_status status = PV_OK;
    if (sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL) !=
        SQLITE_OK) {
        status = store_fail(s, err);
    }
    if (status == PV_OK) {
        status = set_up(s, err);
    }
    if (status == PV_OK) {
        status = migrate(s, err);
    }
    if (status != PV_OK) {
        store_close(s);
        return status;
    }
    *out = s;
    return PV_OK;
}

void store_close(store *s)
{
    if (s != NULL) {
        sqlite3_close(s->db);
        pv_free(s->path);
        pv_free(s);
    }
}

void store_lease(store *s, uint64_t ms)
{
    s->lease_ms = ms;
}
