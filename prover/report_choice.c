#include "pv_file.h"
#include "pv_mem.h"
#include "report_data.h"

#include <string.h>

/* ---- stores ---- */

void report_stores_close(report_stores *stores)
{
    for (size_t i = 0; i < stores->count; i++) {
        store_runs_free(stores->items[i].runs, stores->items[i].run_count);
        store_close(stores->items[i].store);
    }
    pv_free(stores->items);
    memset(stores, 0, sizeof *stores);
}

static pv_status open_one(report_store *out, const char *path, pv_error *err)
{
    out->path = path;
    if (!pv_file_exists(path)) {
        return pv_fail(err, PV_E_NOTFOUND, "%s: there is no such store", path);
    }
    pv_status status = store_open(&out->store, path, err);
    if (status == PV_OK) {
        status = store_runs(out->store, &out->runs, &out->run_count, err);
    }
    if (status == PV_OK && out->run_count == 0) {
        status = pv_fail(err, PV_E_NOTFOUND, "%s holds no run yet", path);
    }
    return status;
}

pv_status report_stores_open(report_stores *out, const char *const *paths, size_t count,
                             pv_error *err)
{
    report_stores stores = {.items = pv_calloc(count + 1, sizeof *stores.items)};
    pv_status status = stores.items == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
    while (status == PV_OK && stores.count < count) {
        status = open_one(&stores.items[stores.count], paths[stores.count], err);
        stores.count++;
    }
    if (status != PV_OK) {
        report_stores_close(&stores);
        return status;
    }
    *out = stores;
    return PV_OK;
}

/* ---- the run that is meant ---- */

static pv_status find_run(const report_stores *stores, const char *id, report_part *out,
                          pv_error *err)
{
    size_t found = 0, n = strlen(id);
    if (n == 0) {
        *out = (report_part){.from = &stores->items[0], .run = &stores->items[0].runs[0]};
        return PV_OK;
    }
    for (size_t i = 0; i < stores->count; i++) {
        const report_store *from = &stores->items[i];
        for (size_t k = 0; k < from->run_count; k++) {
            if (strncmp(from->runs[k].id, id, n) != 0) {
                continue;
            }
            if (found == 0 || strcmp(from->runs[k].id, out->run->id) != 0) {
                *out = (report_part){.from = from, .run = &from->runs[k]};
                found++;
            }
            if (strcmp(from->runs[k].id, id) == 0) {
                return PV_OK;
            }
        }
    }
    if (found == 1) {
        return PV_OK;
    }
    return found > 1
               ? pv_fail(err, PV_E_INVALID, "more than one run begins with \"%s\"", id)
               : pv_fail(err, PV_E_NOTFOUND, "no run \"%s\" in %s%s; its latest is %s", id,
                         stores->items[0].path, stores->count > 1 ? " or the other stores" : "",
                         stores->items[0].runs[0].id);
}

/* ---- what belongs to it ---- */

/* A part of this store has this shard. */
static bool has_shard(const report_parts *parts, const report_store *from, const char *shard)
{
    for (size_t i = 0; i < parts->count; i++) {
        if (parts->items[i].from == from && strcmp(parts->items[i].run->shard, shard) == 0) {
            return true;
        }
    }
    return false;
}

static bool has_id(const report_parts *parts, const char *id)
{
    for (size_t i = 0; i < parts->count; i++) {
        if (strcmp(parts->items[i].run->id, id) == 0) {
            return true;
        }
    }
    return false;
}

/* Into how many parts the problems are divided: what is behind the slash. */
static const char *parts_of(const store_run *run)
{
    const char *slash = strchr(run->shard, '/');
    return slash == NULL ? run->shard : slash;
}

static bool belongs(const report_parts *parts, const report_store *from, const store_run *run)
{
    const store_run *wanted = parts->items[0].run;
    return strcmp(run->fingerprint, wanted->fingerprint) == 0 &&
           strcmp(parts_of(run), parts_of(wanted)) == 0 && !has_shard(parts, from, run->shard) &&
           !has_id(parts, run->id); /* the copy of a store is no second part */
}

pv_status report_choose(const report_stores *stores, const char *id, report_parts *out,
                        pv_error *err)
{
    report_part first = {0};
    size_t most = 0;
    for (size_t i = 0; i < stores->count; i++) {
        most += stores->items[i].run_count;
    }
    pv_status status = find_run(stores, id, &first, err);
    if (status != PV_OK) {
        return status;
    }
    report_parts parts = {.items = pv_calloc(most + 1, sizeof *parts.items)};
    if (parts.items == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    parts.items[parts.count++] = first;
    for (size_t i = 0; i < stores->count; i++) {
        const report_store *from = &stores->items[i];
        for (size_t k = 0; k < from->run_count; k++) {
            if (belongs(&parts, from, &from->runs[k])) {
                parts.items[parts.count++] = (report_part){.from = from, .run = &from->runs[k]};
            }
        }
    }
    *out = parts;
    return PV_OK;
}

void report_parts_release(report_parts *parts)
{
    pv_free(parts->items);
    memset(parts, 0, sizeof *parts);
}

/* ---- what is different ---- */

static void put_value(pv_buf *out, const json_t *value)
{
    const char *text = json_string_value(value);
    if (value == NULL) {
        pv_buf_puts(out, "(unknown)");
    } else if (text != NULL) {
        pv_buf_puts(out, text[0] == '\0' ? "\"\"" : text);
    } else {
        char *dumped = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        pv_buf_puts(out, dumped == NULL ? "?" : dumped);
        free(dumped);
    }
}

static void put_difference(pv_buf *out, const char *what, const json_t *a, const json_t *b)
{
    pv_buf_printf(out, "%s%s ", out->len > 0 ? "; " : "", what);
    put_value(out, a);
    pv_buf_puts(out, " and ");
    put_value(out, b);
}

/* "given" (which options were written out) differs with what was written, and says nothing by itself. */
static bool is_silent(const char *key)
{
    return strcmp(key, "--model") == 0 || strcmp(key, "given") == 0;
}

static void put_differences(pv_buf *out, const json_t *a, const json_t *b)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)a, key, value)
    {
        const json_t *other = json_object_get(b, key);
        if (!is_silent(key) && (other == NULL || !json_equal(value, (json_t *)other))) {
            put_difference(out, key, value, other);
        }
    }
    json_object_foreach((json_t *)b, key, value)
    {
        if (!is_silent(key) && json_object_get(a, key) == NULL) {
            put_difference(out, key, NULL, value);
        }
    }
}

static void compare_runs(pv_buf *out, const store_run *a, const store_run *b)
{
    json_t *x = json_loads(a->settings, 0, NULL), *y = json_loads(b->settings, 0, NULL);
    put_differences(out, x, y);
    if (strcmp(a->problems_hash, b->problems_hash) != 0) {
        pv_buf_printf(out, "%sthe statements (%.12s of %s and %.12s of %s)",
                      out->len > 0 ? "; " : "", a->problems_hash, a->file, b->problems_hash,
                      b->file);
    }
    if (strcmp(parts_of(a), parts_of(b)) != 0) {
        pv_buf_printf(out, "%s--shard %s and %s", out->len > 0 ? "; " : "", a->shard, b->shard);
    }
    if (out->len == 0) {
        pv_buf_puts(out, "which options were given");
    }
    json_decref(x);
    json_decref(y);
}

static bool has_store(const report_parts *parts, const report_store *from)
{
    for (size_t i = 0; parts != NULL && i < parts->count; i++) {
        if (parts->items[i].from == from) {
            return true;
        }
    }
    return false;
}

/* A copy of a store has the same run. */
static bool has_copy(const report_parts *parts, const report_store *from)
{
    for (size_t i = 0; parts != NULL && i < from->run_count; i++) {
        if (has_id(parts, from->runs[i].id)) {
            return true;
        }
    }
    return false;
}

pv_status report_choice_check(const report_stores *stores, const report_parts *a,
                              const report_parts *b, pv_error *err)
{
    for (size_t i = 0; i < stores->count; i++) {
        const report_store *from = &stores->items[i];
        if (has_store(a, from) || has_store(b, from) || has_copy(a, from) || has_copy(b, from)) {
            continue;
        }
        pv_buf what = {0};
        compare_runs(&what, a->items[0].run, &from->runs[0]);
        pv_status status =
            pv_fail(err, PV_E_INVALID,
                    "%s has no part of run %s (%s); its latest, %s, is different in: %s. Make a "
                    "page of each, or one of both with --compare %s %s",
                    from->path, a->items[0].run->id, a->items[0].from->path, from->runs[0].id,
                    pv_buf_text(&what), a->items[0].run->id, from->runs[0].id);
        pv_buf_release(&what);
        return status;
    }
    return PV_OK;
}
