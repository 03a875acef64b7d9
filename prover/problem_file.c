#include "problem_file.h"

#include "lean_folder.h"
#include "lean_source.h"
#include "pv_file.h"
#include "pv_mem.h"
#include "source.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

enum { ROWS_MAX = 1 << 30, LEAN_MAX = 8 << 20 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && strcmp(text + n - k, end) == 0;
}

/* ---- rows ---- */

static const char *text_of(const json_t *row, const char *key)
{
    return json_string_value(json_object_get(row, key));
}

static const char *first_of(const json_t *row, const char *const *keys, size_t count)
{
    const char *text = NULL;
    for (size_t i = 0; i < count && text == NULL; i++) {
        text = text_of(row, keys[i]);
    }
    return text;
}

#define FIRST_OF(row, ...)                                                                         \
    first_of(row, (const char *const[]){__VA_ARGS__},                                              \
             sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static void name_row(const json_t *row, size_t line, char *out, size_t max)
{
    const char *name = FIRST_OF(row, "name", "problem_id", "id", "uuid");
    const json_t *id = json_object_get(row, "id");
    if (name != NULL && name[0] != '\0') {
        snprintf(out, max, "%s", name);
    } else if (json_is_integer(id)) {
        snprintf(out, max, "%lld", (long long)json_integer_value(id));
    } else {
        snprintf(out, max, "line %zu", line);
    }
}

/* The row's text with the comment that belongs before it; false: the row has none. */
static bool text_of_row(const json_t *row, const char *header, pv_buf *out)
{
    const char *statement =
        header == NULL ? FIRST_OF(row, "lean4_code", "formal_statement", "statement", "code")
                       : FIRST_OF(row, "formal_statement", "statement", "lean4_code", "code");
    const char *prefix = text_of(row, "informal_prefix");
    if (statement == NULL || statement == text_of(row, "lean4_code")) {
        prefix = NULL; /* it is part of that text */
    }
    if (prefix != NULL && strncmp(prefix, "/-", 2) == 0 && strstr(prefix, "-/") != NULL) {
        pv_buf_puts(out, prefix);
        pv_buf_puts(out, ends_with(prefix, "\n") ? "" : "\n");
    }
    if (statement != NULL && strncmp(statement, "statement ", 10) == 0) {
        pv_buf_puts(out, "theorem "); /* the rows of `prover generate` leave it out */
    }
    pv_buf_puts(out, statement == NULL ? "" : statement);
    return statement != NULL;
}

/* Completes the text and adds it as a problem. */
static pv_status add_text(problem_list *out, problem *p, const pv_buf *text, pv_error *err)
{
    source src;
    pv_status status = source_of_text(&src, p->origin, "", text->data, text->len, true, err);
    if (status != PV_OK) {
        return status;
    }
    p->text = src.text;
    status = problem_list_add(out, p, err);
    source_release(&src);
    return status;
}

static pv_status add_row(problem_list *out, const char *file, const char *header, const json_t *row,
                         size_t line, pv_error *err)
{
    char name[256], origin[512];
    pv_buf text = {0};
    const char *split = text_of(row, "split"), *own = text_of(row, "header");
    snprintf(origin, sizeof origin, "%s:%zu", file, line);
    name_row(row, line, name, sizeof name);
    problem p = {.name = name, .origin = origin};
    p.split = (char *)(split == NULL ? "" : split);
    p.header = (char *)(own != NULL && own[0] != '\0' ? own : header);
    pv_status status = PV_OK;
    if (!json_is_object(row)) {
        status = pv_fail(err, PV_E_INVALID, "%s: not a JSON object", origin);
    } else if (!text_of_row(row, own, &text)) {
        status = pv_fail(err, PV_E_INVALID,
                         "%s: no statement: a row needs `formal_statement`, `lean4_code`, "
                         "`statement` or `code`",
                         origin);
    } else {
        status = pv_buf_ok(&text) ? add_text(out, &p, &text, err)
                                  : pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    pv_buf_release(&text);
    return status;
}

static pv_status add_array(problem_list *out, const char *file, const char *header,
                           const char *bytes, size_t n, pv_error *err)
{
    json_error_t wrong;
    json_t *all = json_loadb(bytes, n, 0, &wrong);
    pv_status status = PV_OK;
    if (all == NULL) {
        return pv_fail(err, PV_E_INVALID, "%s:%d: %s", file, wrong.line, wrong.text);
    }
    for (size_t i = 0; i < json_array_size(all) && status == PV_OK; i++) {
        status = add_row(out, file, header, json_array_get(all, i), i + 1, err);
    }
    json_decref(all);
    return status;
}

static pv_status add_line(problem_list *out, const char *file, const char *header,
                          const char *bytes, size_t n, size_t line, pv_error *err)
{
    json_error_t wrong;
    json_t *row = json_loadb(bytes, n, 0, &wrong);
    if (row == NULL) {
        return pv_fail(err, PV_E_INVALID, "%s:%zu: not JSON: %s", file, line, wrong.text);
    }
    pv_status status = add_row(out, file, header, row, line, err);
    json_decref(row);
    return status;
}

static size_t blanks(const char *bytes, size_t n)
{
    size_t at = 0;
    while (at < n && strchr(" \t\r\n", bytes[at]) != NULL && bytes[at] != '\0') {
        at++;
    }
    return at;
}

pv_status problem_file_rows(problem_list *out, const char *name, const char *header,
                            const char *bytes, size_t n, pv_error *err)
{
    pv_status status = PV_OK;
    size_t first = blanks(bytes, n), line = 0;
    if (first < n && bytes[first] == '[') {
        return add_array(out, name, header, bytes, n, err);
    }
    for (size_t at = 0, next; at < n && status == PV_OK; at = next) {
        const char *end = memchr(bytes + at, '\n', n - at);
        next = end == NULL ? n : (size_t)(end - bytes) + 1;
        line++;
        if (blanks(bytes + at, next - at) < next - at) {
            status = add_line(out, name, header, bytes + at, next - at, line, err);
        }
    }
    return status;
}

/* ---- Lean ---- */

static bool has_hole(const char *text, const lean_command_span *span)
{
    lean_lexer lexer = {text, span->end, span->first};
    for (;;) {
        lean_token t = lean_lexer_next(&lexer);
        if (t.kind == LEAN_TOKEN_END) {
            return false;
        }
        if (t.kind == LEAN_TOKEN_NAME && t.end - t.start == 5 &&
            memcmp(text + t.start, "sorry", 5) == 0) {
            return true;
        }
    }
}

static size_t count_holes(const char *text)
{
    lean_source commands;
    lean_command_span span;
    size_t count = 0;
    lean_source_init(&commands, text);
    while (lean_source_next(&commands, &span)) {
        count += span.is_decl && has_hole(text, &span);
    }
    return count;
}

static pv_status add_declarations(problem_list *out, problem *p, const char *stem, const char *body,
                                  pv_error *err)
{
    lean_source commands;
    lean_command_span span;
    pv_status status = PV_OK;
    size_t count = count_holes(body);
    lean_source_init(&commands, body);
    while (status == PV_OK && lean_source_next(&commands, &span)) {
        if (!span.is_decl || !has_hole(body, &span)) {
            continue;
        }
        pv_buf name = {0};
        pv_buf_puts(&name, stem);
        if (count > 1) {
            pv_buf_printf(&name, ":%.*s", (int)(span.name_end - span.name), body + span.name);
        }
        p->name = name.data;
        status = pv_buf_ok(&name) ? problem_list_add(out, p, err)
                                  : pv_fail(err, PV_E_NOMEM, "out of memory");
        p->target++;
        pv_buf_release(&name);
    }
    return status;
}

pv_status problem_file_lean(problem_list *out, const char *name, const char *stem,
                            const char *split, const char *header, const char *bytes, size_t n,
                            pv_error *err)
{
    source src;
    pv_status status = source_of_text(&src, name, "", bytes, n, false, err);
    if (status != PV_OK) {
        return status;
    }
    problem p = {
        .split = (char *)split, .origin = (char *)name, .header = (char *)header, .text = src.text};
    status = add_declarations(out, &p, stem, src.body, err);
    source_release(&src);
    return status;
}

/* ---- files ---- */

/* miniF2F's folders say the split: .../Valid/x.lean */
static const char *split_of_path(const char *path)
{
    static const char *const names[][2] = {
        {"valid", "valid"}, {"validation", "valid"}, {"test", "test"}, {"train", "train"}};
    for (const char *at = path; *at != '\0';) {
        size_t n = strcspn(at, "/");
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            if (at[n] == '/' && strlen(names[i][0]) == n && strncasecmp(at, names[i][0], n) == 0) {
                return names[i][1];
            }
        }
        at += n + (at[n] == '/');
    }
    return "";
}

static pv_status read_lean(problem_list *out, const char *path, const char *relative,
                           const char *header, pv_error *err)
{
    pv_buf text = {0};
    pv_status status = pv_file_read(path, LEAN_MAX, &text, err);
    if (status == PV_OK && blanks(pv_buf_text(&text), text.len) < text.len) {
        char *stem =
            pv_strndup(relative, strlen(relative) - (ends_with(relative, ".lean") ? 5 : 0));
        status = stem == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                              : problem_file_lean(out, path, stem, split_of_path(relative), header,
                                                  text.data, text.len, err);
        pv_free(stem);
    }
    pv_buf_release(&text);
    return status;
}

typedef struct folder_walk {
    problem_list *out;
    const char *header;
} folder_walk;

static pv_status take_lean(void *user, const char *path, const char *below, pv_error *err)
{
    const folder_walk *w = user;
    return read_lean(w->out, path, below, w->header, err);
}

static pv_status read_rows(problem_list *out, const char *path, const char *header, pv_error *err)
{
    pv_buf text = {0};
    pv_status status = pv_file_read(path, ROWS_MAX, &text, err);
    if (status == PV_OK) {
        status = problem_file_rows(out, path, header, pv_buf_text(&text), text.len, err);
    }
    pv_buf_release(&text);
    return status;
}

pv_status problem_file_read(problem_list *out, const char *path, const char *header, pv_error *err)
{
    struct stat info;
    size_t before = out->count;
    const char *slash = strrchr(path, '/');
    pv_status status;
    if (stat(path, &info) == 0 && S_ISDIR(info.st_mode)) {
        folder_walk w = {out, header};
        status = lean_folder_each(path, take_lean, &w, err);
    } else if (ends_with(path, ".lean")) {
        status = read_lean(out, path, slash == NULL ? path : slash + 1, header, err);
    } else {
        status = read_rows(out, path, header, err);
    }
    if (status == PV_OK && out->count == before) {
        status = pv_fail(err, PV_E_INVALID,
                         "%s: no problem in it: a benchmark is JSON lines with `formal_statement`, "
                         "or .lean files with `sorry`",
                         path);
    }
    return status;
}
