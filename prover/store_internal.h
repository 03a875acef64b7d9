/* store_internal: what the files of the store share.
 *
 *   store.c         the file: opening, schema, statements, transactions
 *   store_run.c     runs and their problems
 *   store_claim.c   members and claims
 *   store_result.c  results and counts
 *   store_tree.c    search trees */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "store.h"

#include <sqlite3.h>

struct store {
    sqlite3 *db;
    char *path;
    uint64_t lease_ms;
};

/* Sets err from what the database says. */
pv_status store_fail(store *s, pv_error *err);

/* Prepares and binds: `types` has a letter for each argument: t text (NULL: null), i int64_t, d double. */
PV_NODISCARD pv_status store_ask(store *s, sqlite3_stmt **out, pv_error *err, const char *sql,
                                 const char *types, ...);

/* The next row; *got false at the end. */
PV_NODISCARD pv_status store_row(store *s, sqlite3_stmt *statement, bool *got, pv_error *err);

/* Prepares, binds and runs to the end, without rows. */
PV_NODISCARD pv_status store_do(store *s, pv_error *err, const char *sql, const char *types, ...);

/* The text of a column; "" for null. Borrowed until the next row. */
const char *store_text(sqlite3_stmt *statement, int column);

PV_NODISCARD pv_status store_begin(store *s, pv_error *err);
/* Commits when `status` is PV_OK, else rolls back; returns the first failure. */
PV_NODISCARD pv_status store_end(store *s, pv_status status, pv_error *err);

/* Within the transaction of its result. */
PV_NODISCARD pv_status store_write_trees(store *s, const char *run, const store_result *result,
                                         pv_error *err);

int64_t store_now_ms(void); /* since 1970 */

#endif
