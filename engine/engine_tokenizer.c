#include "engine_tokenizer.h"

#include "engine_json.h"
#include "engine_tokenizer_internal.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <string.h>

enum { FILE_BYTES_MAX = 1 << 28 };

static const char file_name[] = "tokenizer.json";

pv_status engine_tokens_push(engine_tokens *tokens, uint32_t id, pv_error *err)
{
    if (pv_grow((void **)&tokens->ids, &tokens->capacity, tokens->len + 1, sizeof *tokens->ids) !=
        0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for tokens");
    }
    tokens->ids[tokens->len++] = id;
    return PV_OK;
}

void engine_tokens_release(engine_tokens *tokens)
{
    pv_free(tokens->ids);
    memset(tokens, 0, sizeof *tokens);
}

void engine_tokenizer_free(engine_tokenizer *tokenizer)
{
    if (tokenizer != NULL) {
        enginep_added_release(&tokenizer->added);
        enginep_pretokenizer_release(&tokenizer->pre);
        enginep_bpe_release(&tokenizer->bpe);
        enginep_vocab_release(&tokenizer->vocab);
        pv_free(tokenizer);
    }
}

/* Text reaches the pre-tokenizer as it is; only "no normaliser" in its spellings is accepted. */
static pv_status check_normalizer(const json_t *spec, pv_error *err)
{
    if (spec == NULL || json_is_null(spec)) {
        return PV_OK;
    }
    const char *type = json_string_value(json_object_get(spec, "type"));
    bool sequence = type != NULL && strcmp(type, "Sequence") == 0;
    const json_t *list = json_object_get(spec, "normalizers");
    if (sequence && json_is_array(list) && json_array_size(list) == 0) {
        return PV_OK;
    }
    if (sequence && json_array_size(list) > 0) {
        type = json_string_value(json_object_get(json_array_get(list, 0), "type"));
    }
    return pv_fail(err, PV_E_UNSUPPORTED,
                   "%s: the normaliser \"%.64s\" is not supported; byte-level models use none",
                   file_name, type == NULL ? "?" : type);
}

/* The decoder must be the inverse of the byte-level spelling: nothing else is undone when ids become text. */
static pv_status check_decoder(const json_t *spec, pv_error *err)
{
    const char *type = json_string_value(json_object_get(spec, "type"));
    if (spec == NULL || json_is_null(spec) || (type != NULL && strcmp(type, "ByteLevel") == 0)) {
        return PV_OK;
    }
    return pv_fail(err, PV_E_UNSUPPORTED,
                   "%s: the decoder \"%.64s\" is not supported; expected "
                   "\"ByteLevel\"",
                   file_name, type == NULL ? "?" : type);
}

static pv_status build(engine_tokenizer *t, const json_t *root, pv_error *err)
{
    if (!json_is_object(root)) {
        return pv_fail(err, PV_E_INVALID, "%s: expected a JSON object", file_name);
    }
    pv_status status = check_normalizer(json_object_get(root, "normalizer"), err);
    if (status == PV_OK) {
        status = check_decoder(json_object_get(root, "decoder"), err);
    }
    if (status == PV_OK) {
        status = enginep_pretokenizer_build(&t->pre, json_object_get(root, "pre_tokenizer"), err);
    }
    if (status == PV_OK) {
        status = enginep_bpe_build(&t->bpe, &t->vocab, json_object_get(root, "model"), err);
    }
    if (status == PV_OK) {
        const json_t *list = json_object_get(root, "added_tokens");
        status = enginep_added_build(&t->added, json_is_null(list) ? NULL : list, &t->vocab, err);
    }
    return status;
}

pv_status engine_tokenizer_parse(engine_tokenizer **out, const char *json, size_t n, pv_error *err)
{
    json_t *root = NULL;
    engine_tokenizer *t = pv_calloc(1, sizeof *t);
    pv_status status = t == NULL ? pv_fail(err, PV_E_NOMEM, "%s: out of memory", file_name)
                                 : enginep_json_parse(json, n, file_name, &root, err);
    if (status == PV_OK) {
        status = build(t, root, err);
    }
    json_decref(root);
    if (status != PV_OK) {
        engine_tokenizer_free(t);
        return status;
    }
    *out = t;
    return PV_OK;
}

pv_status engine_tokenizer_open(engine_tokenizer **out, const char *dir, pv_error *err)
{
    pv_buf path = {0};
    pv_buf text = {0};
    pv_buf_printf(&path, "%s/%s", dir, file_name);
    pv_status status = pv_buf_ok(&path)
                           ? pv_file_read(pv_buf_text(&path), FILE_BYTES_MAX, &text, err)
                           : pv_fail(err, PV_E_NOMEM, "%s: out of memory", file_name);
    if (status == PV_OK) {
        status = engine_tokenizer_parse(out, pv_buf_text(&text), text.len, err);
        if (status != PV_OK) {
            pv_error_wrap(err, "while reading the tokenizer of %s", dir);
        }
    }
    pv_buf_release(&text);
    pv_buf_release(&path);
    return status;
}

uint32_t engine_tokenizer_size(const engine_tokenizer *tokenizer)
{
    return (uint32_t)tokenizer->vocab.size;
}

const char *engine_tokenizer_bytes(const engine_tokenizer *tokenizer, uint32_t id, size_t *len)
{
    if (enginep_vocab_flags(&tokenizer->vocab, id) == 0) {
        return NULL;
    }
    *len = tokenizer->vocab.tokens[id].len;
    return enginep_vocab_bytes(&tokenizer->vocab, id);
}

static bool has_flag(const engine_tokenizer *tokenizer, uint32_t id, uint32_t flag)
{
    return (enginep_vocab_flags(&tokenizer->vocab, id) & flag) != 0;
}

bool engine_tokenizer_is_added(const engine_tokenizer *tokenizer, uint32_t id)
{
    return has_flag(tokenizer, id, ENGINEP_TOKEN_ADDED);
}

bool engine_tokenizer_is_special(const engine_tokenizer *tokenizer, uint32_t id)
{
    return has_flag(tokenizer, id, ENGINEP_TOKEN_SPECIAL);
}

bool engine_tokenizer_is_plain(const engine_tokenizer *tokenizer, uint32_t id)
{
    return has_flag(tokenizer, id, ENGINEP_TOKEN_MERGED);
}

bool engine_tokenizer_find_added(const engine_tokenizer *tokenizer, const char *text, uint32_t *id)
{
    long found = enginep_added_find(&tokenizer->added, text, strlen(text));
    if (found < 0) {
        return false;
    }
    *id = tokenizer->added.tokens[found].id;
    return true;
}
