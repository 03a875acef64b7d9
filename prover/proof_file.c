#include "proof_file.h"

#include "data_file.h"
#include "pv_mem.h"

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

struct proof_file {
    const char *path; /* during the opening */
    json_t *proofs;   /* name -> array of rows */
    size_t lines;
};

static const char *text_of(const json_t *row)
{
    static const char *const keys[] = {"code", "output", "completion", "response", "text", "proof"};
    const char *text = NULL;
    for (size_t i = 0; i < sizeof keys / sizeof *keys && text == NULL; i++) {
        text = json_string_value(json_object_get(row, keys[i]));
    }
    return text;
}

static pv_status on_row(void *user, const json_t *row, pv_error *err)
{
    proof_file *file = user;
    const char *name = json_string_value(json_object_get(row, "name")), *text = text_of(row);
    file->lines++;
    if (name == NULL || text == NULL) {
        return pv_fail(err, PV_E_INVALID,
                       "%s:%zu: a proof needs `name`, and `code`, `output`, `completion`, "
                       "`response`, `text` or `proof`",
                       file->path, file->lines);
    }
    json_t *list = json_object_get(file->proofs, name);
    if (list == NULL) {
        list = json_array();
        json_object_set_new(file->proofs, name, list);
    }
    return json_array_append(list, (json_t *)row) == 0 ? PV_OK
                                                       : pv_fail(err, PV_E_NOMEM, "out of memory");
}

pv_status proof_file_open(proof_file **out, const char *path, pv_error *err)
{
    proof_file *file = pv_calloc(1, sizeof *file);
    if (file == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    file->path = path;
    file->proofs = json_object();
    pv_status status = data_file_read(path, on_row, file, err);
    if (status != PV_OK) {
        proof_file_close(file);
        return status;
    }
    *out = file;
    return PV_OK;
}

void proof_file_close(proof_file *file)
{
    if (file != NULL) {
        json_decref(file->proofs);
        pv_free(file);
    }
}

/* Does the row reply to the errors; go on from the request's beginning; or begin, where there is neither? */
static bool fits(const json_t *row, const writer_request *q)
{
    const char *after = json_string_value(json_object_get(row, "after"));
    const char *repairs = json_string_value(json_object_get(row, "repairs"));
    const char *prefix = q->prefix;
    if (repairs != NULL || q->repair != NULL) {
        return repairs != NULL && q->repair != NULL && strstr(q->repair->turn, repairs) != NULL;
    }
    if (after == NULL || prefix == NULL) {
        return after == NULL && prefix == NULL;
    }
    size_t n = strlen(prefix), k = strlen(after);
    while (n > 0 && strchr(" \t\r\n", prefix[n - 1]) != NULL) {
        n--;
    }
    return n >= k && memcmp(prefix + n - k, after, k) == 0;
}

/* The n-th row that fits; NULL. */
static const json_t *find_row(const json_t *list, const writer_request *q, uint64_t n)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *row = json_array_get(list, i);
        if (fits(row, q) && n-- == 0) {
            return row;
        }
    }
    return NULL;
}

static pv_status write_proofs(void *self, const writer_request *q, uint64_t *ticket, pv_error *err)
{
    const proof_file *file = self;
    const json_t *list = json_object_get(file->proofs, q->name);
    (void)err;
    *ticket = 0;
    for (uint32_t i = 0; i < q->samples; i++) {
        const json_t *row = find_row(list, q, q->first + i);
        const char *text = row == NULL ? NULL : text_of(row);
        q->on_text(q->user, text, text == NULL ? 0 : strlen(text), 0, NULL);
    }
    return PV_OK;
}

static void cancel(void *self, uint64_t ticket)
{
    (void)self; /* every answer has been given */
    (void)ticket;
}

writer proof_file_writer(proof_file *file)
{
    static const writer_ops ops = {"file", write_proofs, cancel};
    writer table = {&ops, file};
    return table;
}
