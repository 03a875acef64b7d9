#include "verify_config.h"

#include "lean_judge.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <jansson.h>
#include <string.h>

static const char *const FIELDS[] = {"challenge_module", "solution_module",  "theorem_names",
                                     "definition_names", "permitted_axioms", "enable_nanoda",
                                     "external_kernels"};

static pv_status check_fields(const json_t *root, pv_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)root, key, value)
    {
        bool known = false;
        for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++) {
            known = known || strcmp(key, FIELDS[i]) == 0;
        }
        if (!known) {
            return pv_fail(err, PV_E_INVALID,
                           "the configuration has a field `%.100s`, which means nothing here; "
                           "there are challenge_module, solution_module, theorem_names, "
                           "definition_names, permitted_axioms, enable_nanoda, external_kernels",
                           key);
        }
    }
    return PV_OK;
}

/* Dots separate folders; nothing in a name leads out of the project's folder. */
static bool is_module(const char *name)
{
    bool after_dot = true;
    for (; *name != '\0'; name++) {
        unsigned char c = (unsigned char)*name;
        if (c < ' ' || c == 0x7f || strchr("/\\ \"'", c) != NULL || (c == '.' && after_dot)) {
            return false;
        }
        after_dot = c == '.';
    }
    return !after_dot;
}

static pv_status take_module(const json_t *root, const char *field, const char *folder, char **out,
                             pv_error *err)
{
    const json_t *value = json_object_get(root, field);
    const char *name = json_string_value(value);
    if (name == NULL || strlen(name) != json_string_length(value) || !is_module(name)) {
        return pv_fail(err, PV_E_INVALID,
                       "the configuration's `%s` must be the name of a module, such as "
                       "\"Challenge\"",
                       field);
    }
    pv_buf path = {0};
    pv_buf_puts(&path, folder);
    pv_buf_putc(&path, '/');
    for (const char *c = name; *c != '\0'; c++) {
        pv_buf_putc(&path, *c == '.' ? '/' : *c);
    }
    pv_buf_puts(&path, ".lean");
    *out = pv_buf_detach(&path);
    return *out == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
}

/* Appends the strings of a list; a field that is missing has none. */
static pv_status take_list(const json_t *root, const char *field, char ***items, size_t *count,
                           pv_error *err)
{
    const json_t *list = json_object_get(root, field);
    size_t n = json_array_size(list);
    if (list != NULL && (!json_is_array(list) || n > VERIFY_CONFIG_ITEMS_MAX)) {
        return pv_fail(err, PV_E_INVALID,
                       "the configuration's `%s` must be a list of at most %d strings", field,
                       VERIFY_CONFIG_ITEMS_MAX);
    }
    char **grown = pv_realloc(*items, (*count + n + 1) * sizeof **items);
    if (grown == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *items = grown;
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const char *text = json_string_value(item);
        if (text == NULL || *text == '\0' || strlen(text) != json_string_length(item)) {
            return pv_fail(err, PV_E_INVALID, "item %zu of the configuration's `%s` is no text",
                           i + 1, field);
        }
        grown[*count] = pv_strdup(text);
        if (grown[*count] == NULL) {
            return pv_fail(err, PV_E_NOMEM, "out of memory");
        }
        ++*count;
    }
    return PV_OK;
}

static pv_status take_axioms(verify_config *out, const json_t *root, pv_error *err)
{
    pv_status status =
        json_object_get(root, "permitted_axioms") == NULL
            ? pv_fail(err, PV_E_INVALID, "the configuration lacks `permitted_axioms`")
            : take_list(root, "permitted_axioms", &out->axioms, &out->axiom_count, err);
    for (size_t i = 0; status == PV_OK && i < out->axiom_count; i++) {
        if (!lean_axiom_allowed(out->axioms[i])) {
            status = pv_fail(err, PV_E_INVALID,
                             "the configuration permits the axiom %.100s: this judge accepts no "
                             "other than propext, Quot.sound and Classical.choice",
                             out->axioms[i]);
        }
    }
    return status;
}

static pv_status take_kernels(verify_config *out, const json_t *root, pv_error *err)
{
    const json_t *nanoda = json_object_get(root, "enable_nanoda");
    if (nanoda != NULL && !json_is_boolean(nanoda)) {
        return pv_fail(err, PV_E_INVALID,
                       "the configuration's `enable_nanoda` must be true or false");
    }
    json_t *list = json_is_true(nanoda) ? json_pack("{s:[s]}", "external_kernels", "nanoda_bin")
                                        : json_object();
    pv_status status = take_list(list, "external_kernels", &out->kernels, &out->kernel_count, err);
    json_decref(list);
    return status == PV_OK
               ? take_list(root, "external_kernels", &out->kernels, &out->kernel_count, err)
               : status;
}

static pv_status take(verify_config *out, const char *folder, const json_t *root, pv_error *err)
{
    pv_status status = check_fields(root, err);
    if (status == PV_OK) {
        status = take_module(root, "challenge_module", folder, &out->challenge, err);
    }
    if (status == PV_OK) {
        status = take_module(root, "solution_module", folder, &out->solution, err);
    }
    if (status == PV_OK) {
        status = take_list(root, "theorem_names", &out->names, &out->name_count, err);
        out->theorem_count = out->name_count;
    }
    if (status == PV_OK) {
        status = take_list(root, "definition_names", &out->names, &out->name_count, err);
    }
    if (status == PV_OK && out->name_count == 0) {
        status = pv_fail(err, PV_E_INVALID,
                         "the configuration names nothing to verify in `theorem_names`");
    }
    if (status == PV_OK) {
        status = take_axioms(out, root, err);
    }
    return status == PV_OK ? take_kernels(out, root, err) : status;
}

pv_status verify_config_parse(verify_config *out, const char *folder, const char *text, size_t n,
                              pv_error *err)
{
    json_error_t where = {0};
    *out = (verify_config){0};
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &where);
    if (!json_is_object(root)) {
        json_decref(root);
        return pv_fail(err, PV_E_INVALID, "the configuration is no JSON object: %s", where.text);
    }
    pv_status status = take(out, folder, root, err);
    json_decref(root);
    if (status != PV_OK) {
        verify_config_release(out);
    }
    return status;
}

/* The folder of a path; "." for a bare name. */
static char *folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        return pv_strdup(".");
    }
    return slash == path ? pv_strdup("/") : pv_strndup(path, (size_t)(slash - path));
}

pv_status verify_config_read(verify_config *out, const char *path, const char *folder,
                             pv_error *err)
{
    pv_buf text = {0};
    char *own = folder[0] == '\0' ? folder_of(path) : pv_strdup(folder);
    pv_status status = own == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                   : pv_file_read(path, VERIFY_CONFIG_MAX, &text, err);
    if (status == PV_OK) {
        status = verify_config_parse(out, own, pv_buf_text(&text), text.len, err);
    }
    pv_buf_release(&text);
    pv_free(own);
    return status;
}

static void free_list(char **items, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pv_free(items[i]);
    }
    pv_free(items);
}

void verify_config_release(verify_config *config)
{
    pv_free(config->challenge);
    pv_free(config->solution);
    free_list(config->names, config->name_count);
    free_list(config->axioms, config->axiom_count);
    free_list(config->kernels, config->kernel_count);
    *config = (verify_config){0};
}
