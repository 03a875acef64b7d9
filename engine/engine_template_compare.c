/* Is the chat template that comes with a checkpoint the one that engine_template.c implements? */
#include "engine_json.h"
#include "engine_template.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_hash.h"

enum { FILE_BYTES_MAX = 1 << 24 };

/* pv_key_of() of the chat_template texts that render the turns alike; the first is DeepSeek-V3's of December 2024. */
static const pv_key known[] = {
    {0x93126888ffcdfcc7u, 0xbb7e7ddf269b5859u},
};

static engine_chat compare(const char *text, size_t n)
{
    pv_key key = pv_key_of(text, n);
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (pv_key_equal(key, known[i])) {
            return ENGINE_CHAT_DEEPSEEK;
        }
    }
    return ENGINE_CHAT_OTHER;
}

static pv_status parse(const pv_buf *text, const char *path, engine_chat *out, pv_error *err)
{
    json_t *root = NULL;
    pv_status status = enginep_json_parse(pv_buf_text(text), text->len, path, &root, err);
    if (status != PV_OK) {
        return status;
    }
    const json_t *value = json_object_get(root, "chat_template");
    if (json_is_string(value)) {
        *out = compare(json_string_value(value), json_string_length(value));
    } else {
        *out = value == NULL || json_is_null(value) ? ENGINE_CHAT_ABSENT : ENGINE_CHAT_OTHER;
    }
    json_decref(root);
    return PV_OK;
}

pv_status engine_template_compare(const char *dir, engine_chat *out, pv_error *err)
{
    pv_buf path = {0};
    pv_buf text = {0};
    pv_error missing = {0};
    pv_buf_printf(&path, "%s/tokenizer_config.json", dir);
    pv_status status = pv_buf_ok(&path)
                           ? pv_file_read(pv_buf_text(&path), FILE_BYTES_MAX, &text, &missing)
                           : pv_fail(&missing, PV_E_NOMEM, "out of memory for a path");
    if (status == PV_OK) {
        status = parse(&text, pv_buf_text(&path), out, err);
    } else if (status == PV_E_NOTFOUND) {
        *out = ENGINE_CHAT_ABSENT;
        status = PV_OK;
    } else {
        pv_fail(err, status, "%s", missing.msg);
    }
    pv_buf_release(&text);
    pv_buf_release(&path);
    return status;
}
