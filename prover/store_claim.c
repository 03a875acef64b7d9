#include "store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A place: "MACHINE|PID|START". A machine is a host name, a boot, and a name space of process ids; the start time keeps a process id
 * that was given out again from being taken for the old process. */
enum { PLACE_MAX = 320 };

/* ---- who is there ---- */

static void read_word(const char *path, char *out, size_t max)
{
    FILE *file = fopen(path, "r");
    out[0] = '\0';
    if (file != NULL) {
        if (fgets(out, (int)max, file) != NULL) {
            out[strcspn(out, "\n")] = '\0';
        }
        fclose(file);
    }
}

static void machine_of(char out[PLACE_MAX])
{
    char host[65] = "", boot[64], space[64] = "";
    gethostname(host, sizeof host - 1);
    read_word("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[n < 0 ? 0 : n] = '\0';
    snprintf(out, PLACE_MAX, "%s/%s/%s", host, boot, space);
}

/* When the process began, in ticks since the boot; 0: there is none, or only a corpse that nobody has collected. */
static unsigned long long start_of(long pid)
{
    char path[64], line[1024], state = 'X';
    unsigned long long start = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", pid);
    read_word(path, line, sizeof line);
    const char *name_end = strrchr(line, ')'); /* the name may hold anything */
    if (name_end == NULL ||
        sscanf(name_end + 1,
               " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %llu",
               &state, &start) != 2 ||
        state == 'Z' || state == 'X') {
        return 0;
    }
    return start;
}

static void own_place(char out[PLACE_MAX + 64])
{
    char machine[PLACE_MAX];
    machine_of(machine);
    snprintf(out, PLACE_MAX + 64, "%s|%ld|%llu", machine, (long)getpid(), start_of(getpid()));
}

/* True: the process is no more. False: it is there, or it is not ours to say. */
static bool is_dead_here(const char *place, const char *machine)
{
    size_t n = strlen(machine);
    long pid = 0;
    unsigned long long start = 0;
    return strncmp(place, machine, n) == 0 && place[n] == '|' &&
           sscanf(place + n + 1, "%ld|%llu", &pid, &start) == 2 && start_of(pid) != start;
}

/* ---- members ---- */

pv_status store_join(store *s, const char *run, const char *place, store_member *out, pv_error *err)
{
    char own[PLACE_MAX + 64];
    int64_t now = store_now_ms();
    own_place(own);
    pv_status status =
        store_do(s, err, "INSERT INTO member(run, place, joined, beat) VALUES(?,?,?,?)", "ttii",
                 run, place == NULL ? own : place, now, now);
    if (status == PV_OK) {
        out->id = sqlite3_last_insert_rowid(s->db);
        snprintf(out->run, sizeof out->run, "%s", run);
    }
    return status;
}

/* One that was taken for gone (a machine that slept) is back: it has lost its claims, not its place. */
pv_status store_beat(store *s, store_member me, pv_error *err)
{
    return store_do(s, err, "UPDATE member SET beat = ?, gone = 0 WHERE id = ?", "ii",
                    store_now_ms(), me.id);
}

static pv_status drop_member(store *s, int64_t id, pv_error *err)
{
    pv_status status = store_do(s, err, "UPDATE member SET gone = 1 WHERE id = ?", "i", id);
    return status != PV_OK
               ? status
               : store_do(s, err,
                          "UPDATE attempt SET state = 0, owner = NULL WHERE run ="
                          " (SELECT run FROM member WHERE id = ?1) AND state = 1 AND owner = ?1",
                          "i", id);
}

pv_status store_leave(store *s, store_member me, pv_error *err)
{
    pv_status status = store_begin(s, err);
    return status == PV_OK ? store_end(s, drop_member(s, me.id, err), err) : status;
}

/* Takes the claims of those who are gone. */
static pv_status bury(store *s, store_member me, pv_error *err)
{
    enum { AT_ONCE = 64 };

    int64_t dead[AT_ONCE], late = store_now_ms() - (int64_t)s->lease_ms;
    size_t count = 0;
    char machine[PLACE_MAX];
    sqlite3_stmt *rows = NULL;
    bool got = true;
    machine_of(machine);
    pv_status status = store_ask(s, &rows, err,
                                 "SELECT id, place, beat FROM member WHERE run = ? AND gone = 0"
                                 " AND id <> ?",
                                 "ti", me.run, me.id);
    while (status == PV_OK && got && count < AT_ONCE) {
        status = store_row(s, rows, &got, err);
        if (status == PV_OK && got &&
            (is_dead_here(store_text(rows, 1), machine) || sqlite3_column_int64(rows, 2) < late)) {
            dead[count++] = sqlite3_column_int64(rows, 0);
        }
    }
    sqlite3_finalize(rows);
    for (size_t i = 0; i < count && status == PV_OK; i++) {
        status = drop_member(s, dead[i], err);
    }
    return status;
}

/* ---- claims ---- */

/* An attempt that was given back. */
static pv_status take_open(store *s, store_member me, store_claim *claim, bool *found,
                           pv_error *err)
{
    sqlite3_stmt *row = NULL;
    pv_status status = store_ask(s, &row, err,
                                 "SELECT problem, pass FROM attempt WHERE run = ? AND state = 0"
                                 " ORDER BY pass, problem LIMIT 1",
                                 "t", me.run);
    if (status == PV_OK) {
        status = store_row(s, row, found, err);
    }
    if (status == PV_OK && *found) {
        claim->problem = (size_t)sqlite3_column_int64(row, 0);
        claim->pass = (uint64_t)sqlite3_column_int64(row, 1);
    }
    sqlite3_finalize(row);
    if (status == PV_OK && *found) {
        status = store_do(s, err,
                          "UPDATE attempt SET state = 1, owner = ?, claims = claims + 1"
                          " WHERE run = ? AND problem = ? AND pass = ?",
                          "itii", me.id, me.run, (int64_t)claim->problem, (int64_t)claim->pass);
    }
    return status;
}

/* One that nobody has claimed yet: they go by their number, pass by pass. */
static pv_status take_new(store *s, store_member me, store_claim *claim, bool *found, pv_error *err)
{
    sqlite3_stmt *row = NULL;
    pv_status status =
        store_ask(s, &row, err, "SELECT next, problems, passes FROM run WHERE id = ?", "t", me.run);
    if (status == PV_OK) {
        status = store_row(s, row, found, err);
    }
    if (status == PV_OK && *found) {
        int64_t next = sqlite3_column_int64(row, 0), problems = sqlite3_column_int64(row, 1);
        *found = problems > 0 && next / problems < sqlite3_column_int64(row, 2);
        claim->problem = *found ? (size_t)(next % problems) : 0;
        claim->pass = *found ? (uint64_t)(next / problems) : 0;
    }
    sqlite3_finalize(row);
    if (status == PV_OK && *found) {
        status = store_do(s, err, "UPDATE run SET next = next + 1 WHERE id = ?", "t", me.run);
    }
    if (status == PV_OK && *found) {
        status = store_do(s, err,
                          "INSERT INTO attempt(run, problem, pass, state, owner, claims)"
                          " VALUES(?,?,?,1,?,1)",
                          "tiii", me.run, (int64_t)claim->problem, (int64_t)claim->pass, me.id);
    }
    return status;
}

static pv_status others_at_work(store *s, store_member me, bool *any, pv_error *err)
{
    sqlite3_stmt *row = NULL;
    pv_status status = store_ask(
        s, &row, err, "SELECT 1 FROM attempt WHERE run = ? AND state = 1 LIMIT 1", "t", me.run);
    if (status == PV_OK) {
        status = store_row(s, row, any, err);
    }
    sqlite3_finalize(row);
    return status;
}

pv_status store_claim_next(store *s, store_member me, store_claim *claim, store_next *next,
                           pv_error *err)
{
    store_claim taken = {0};
    bool found = false, waiting = false;
    pv_status status = store_begin(s, err);
    if (status != PV_OK) {
        return status;
    }
    status = bury(s, me, err);
    if (status == PV_OK) {
        status = take_open(s, me, &taken, &found, err);
    }
    if (status == PV_OK && !found) {
        status = take_new(s, me, &taken, &found, err);
    }
    if (status == PV_OK && !found) {
        status = others_at_work(s, me, &waiting, err);
    }
    status = store_end(s, status, err);
    if (status == PV_OK) {
        *next = found ? STORE_CLAIMED : waiting ? STORE_WAIT : STORE_OVER;
        *claim = taken;
    }
    return status;
}

pv_status store_give_back(store *s, store_member me, store_claim claim, pv_error *err)
{
    return store_do(s, err,
                    "UPDATE attempt SET state = 0, owner = NULL WHERE run = ? AND problem = ?"
                    " AND pass = ? AND state = 1 AND owner = ?",
                    "tiii", me.run, (int64_t)claim.problem, (int64_t)claim.pass, me.id);
}
