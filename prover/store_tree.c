#include "store_internal.h"

static pv_status write_tree(store *s, const char *run, store_claim claim, size_t place,
                            const store_blob *tree, pv_error *err)
{
    sqlite3_stmt *row = NULL;
    bool got = false;
    pv_status status =
        store_ask(s, &row, err,
                  "INSERT OR REPLACE INTO tree(run, problem, pass, place, blob)"
                  " VALUES(?, ?, ?, ?, ?)",
                  "tiii", run, (int64_t)claim.problem, (int64_t)claim.pass, (int64_t)place);
    if (status == PV_OK &&
        sqlite3_bind_blob64(row, 5, tree->bytes, tree->len, SQLITE_STATIC) != SQLITE_OK) {
        status = store_fail(s, err);
    }
    if (status == PV_OK) {
        status = store_row(s, row, &got, err);
    }
    sqlite3_finalize(row);
    return status;
}

pv_status store_write_trees(store *s, const char *run, const store_result *result, pv_error *err)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < result->tree_count && status == PV_OK; i++) {
        status = write_tree(s, run, result->claim, i, &result->trees[i], err);
    }
    return status;
}

pv_status store_trees(store *s, const char *run, store_claim claim, store_on_tree *on_tree,
                      void *user, pv_error *err)
{
    sqlite3_stmt *rows = NULL;
    bool got = true;
    pv_status status = store_ask(s, &rows, err,
                                 "SELECT blob FROM tree WHERE run = ? AND problem = ? AND pass = ?"
                                 " ORDER BY place",
                                 "tii", run, (int64_t)claim.problem, (int64_t)claim.pass);
    while (status == PV_OK && got) {
        status = store_row(s, rows, &got, err);
        if (status == PV_OK && got) {
            const void *blob = sqlite3_column_blob(rows, 0);
            status =
                on_tree(user, blob == NULL ? "" : blob, (size_t)sqlite3_column_bytes(rows, 0), err);
        }
    }
    sqlite3_finalize(rows);
    return status;
}
