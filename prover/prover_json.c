#include "prover_json.h"

#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <jansson.h>
#include <string.h>

enum { FILE_MAX = 1 << 20 };

static pv_status take_text(const json_t *object, const char *key, const char *fallback,
                           const char *path, char **out, pv_error *err)
{
    const json_t *value = json_object_get(object, key);
    if (value != NULL && !json_is_string(value)) {
        return pv_fail(err, PV_E_INVALID, "%s: \"%s\" must be a string", path, key);
    }
    *out = pv_strdup(value == NULL ? fallback : json_string_value(value));
    return *out == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
}

typedef struct number_row {
    const char *key;
    double *out;
    double smallest, largest;
    bool whole;
} number_row;

static pv_status take_number(const number_row *row, const json_t *object, const char *path,
                             pv_error *err)
{
    const json_t *value = json_object_get(object, row->key);
    double number = json_number_value(value);
    *row->out = value == NULL ? -1 : number;
    bool fits = json_is_number(value) && number >= row->smallest && number <= row->largest &&
                (!row->whole || number == (double)(uint32_t)number);
    return value == NULL || fits
               ? PV_OK
               : pv_fail(err, PV_E_INVALID, "%s: \"%s\" must be a %snumber from %.15g to %.15g",
                         path, row->key, row->whole ? "whole " : "", row->smallest, row->largest);
}

static pv_status take_sampling(prover_json *out, const json_t *object, const char *path,
                               pv_error *err)
{
    const number_row rows[] = {
        {"samples", &out->samples, 1, 10000, true},
        {"max_tokens", &out->max_tokens, 1, 1e7, true},
        {"temperature", &out->temperature, 0, 100, false},
        {"top_k", &out->top_k, 0, 1e9, true},
        {"top_p", &out->top_p, 0, 1, false},
        {"min_p", &out->min_p, 0, 1, false},
    };
    pv_status status = PV_OK;
    for (size_t i = 0; i < sizeof rows / sizeof *rows && status == PV_OK; i++) {
        status = take_number(&rows[i], object, path, err);
    }
    return status;
}

static pv_status take_draw(prover_json *out, const json_t *object, const char *path, pv_error *err)
{
    const json_t *value = json_object_get(object, "draw");
    const char *text = json_is_string(value) ? json_string_value(value) : "";
    if (value != NULL && strcmp(text, "distinct") != 0 && strcmp(text, "independent") != 0) {
        return pv_fail(err, PV_E_INVALID, "%s: \"draw\" must be \"distinct\" or \"independent\"",
                       path);
    }
    out->draw = value == NULL                   ? PROVER_JSON_UNSAID
                : strcmp(text, "distinct") == 0 ? PROVER_JSON_DISTINCT
                                                : PROVER_JSON_INDEPENDENT;
    return PV_OK;
}

static pv_status take_fields(prover_json *out, const json_t *object, const char *path,
                             pv_error *err)
{
    const char *format = json_string_value(json_object_get(object, "format"));
    if (format == NULL || (strcmp(format, "state") != 0 && strcmp(format, "proof") != 0)) {
        return pv_fail(err, PV_E_INVALID, "%s: \"format\" must be \"state\" or \"proof\"", path);
    }
    out->kind = strcmp(format, "state") == 0 ? PROVER_JSON_STATE : PROVER_JSON_PROOF;
    pv_status status = take_text(object, "before", "", path, &out->before, err);
    if (status == PV_OK) {
        status = take_text(object, "after", "", path, &out->after, err);
    }
    if (status == PV_OK) {
        status = take_text(object, "stop", "\n", path, &out->stop, err);
    }
    if (status == PV_OK && out->stop[0] == '\0') {
        status = pv_fail(err, PV_E_INVALID, "%s: \"stop\" must not be empty", path);
    }
    if (status == PV_OK) {
        status = take_draw(out, object, path, err);
    }
    return status == PV_OK ? take_sampling(out, object, path, err) : status;
}

static pv_status read_fields(prover_json *out, const char *path, pv_error *err)
{
    pv_buf text = {0};
    json_error_t wrong;
    pv_status status = pv_file_read(path, FILE_MAX, &text, err);
    json_t *object = NULL;
    if (status == PV_OK) {
        object = json_loadb(pv_buf_text(&text), text.len, 0, &wrong);
        status = object == NULL
                     ? pv_fail(err, PV_E_INVALID, "%s:%d: %s", path, wrong.line, wrong.text)
                     : take_fields(out, object, path, err);
    }
    json_decref(object);
    pv_buf_release(&text);
    return status;
}

static prover_json nothing_said(prover_json_kind kind)
{
    return (prover_json){.kind = kind,
                         .samples = -1,
                         .max_tokens = -1,
                         .temperature = -1,
                         .top_k = -1,
                         .top_p = -1,
                         .min_p = -1};
}

pv_status prover_json_read(prover_json *out, const char *dir, bool has_chat, pv_error *err)
{
    prover_json format = nothing_said(PROVER_JSON_PROOF);
    pv_buf path = {0};
    pv_buf_printf(&path, "%s/prover.json", dir);
    pv_status status;
    if (pv_file_exists(pv_buf_text(&path))) {
        status = read_fields(&format, pv_buf_text(&path), err);
    } else if (has_chat) {
        format.stop = pv_strdup("\n");
        status = format.stop == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
    } else {
        status =
            pv_fail(err, PV_E_INVALID,
                    "%s has no chat template and no prover.json: write one that says how it is "
                    "asked, such as {\"format\": \"state\", \"after\": \":::\"}",
                    dir);
    }
    pv_buf_release(&path);
    if (status != PV_OK) {
        prover_json_release(&format);
        return status;
    }
    *out = format;
    return PV_OK;
}

static pv_status preset(prover_json *out, prover_json_kind kind, const char *after, pv_error *err)
{
    *out = nothing_said(kind);
    out->before = pv_strdup("");
    out->after = pv_strdup(after);
    out->stop = pv_strdup("\n");
    bool ok = out->before != NULL && out->after != NULL && out->stop != NULL;
    return ok ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

pv_status prover_json_named(prover_json *out, const char *name, pv_error *err)
{
    prover_json format = nothing_said(PROVER_JSON_PROOF);
    size_t n = strlen(name);
    pv_status status;
    if (strcmp(name, "prover-v2-noncot") == 0) {
        status = preset(&format, PROVER_JSON_PROOF, "", err);
    } else if (strcmp(name, "state") == 0) {
        status = preset(&format, PROVER_JSON_STATE, ":::", err);
    } else if (n > 5 && strcmp(name + n - 5, ".json") == 0) {
        status = read_fields(&format, name, err);
    } else {
        status =
            pv_fail(err, PV_E_INVALID,
                    "--prompt %s: the prompts are prover-v2-noncot, state, and files that end in "
                    ".json",
                    name);
    }
    if (status != PV_OK) {
        prover_json_release(&format);
        return status;
    }
    *out = format;
    return PV_OK;
}

void prover_json_release(prover_json *format)
{
    pv_free(format->before);
    pv_free(format->after);
    pv_free(format->stop);
    memset(format, 0, sizeof *format);
}
