/* From the "model" object of a tokenizer.json to the tables of engine_bpe.h. */
#include "engine_bpe.h"
#include "engine_json.h"
#include "pv_hash.h"
#include "pv_mem.h"

#include <string.h>

static pv_status read_options(enginep_bpe *bpe, enginep_reader *r)
{
    const char *type = enginep_read_text(r, "type", "BPE");
    if (strcmp(type, "BPE") != 0) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"type\" is \"%.64s\"; only \"BPE\" is read", type);
    }
    if (enginep_read_real(r, "dropout", 0, 1, 0) > 0) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED,
                            "field \"dropout\" is above 0; that is for training, remove it");
    }
    static const char *const affixes[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (size_t i = 0; i < 2; i++) {
        const char *text = enginep_read_text(r, affixes[i], "");
        if (text[0] != '\0') {
            enginep_reader_fail(r, PV_E_UNSUPPORTED,
                                "field \"%s\" is \"%.64s\"; byte-level models have none",
                                affixes[i], text);
        }
    }
    bpe->ignore_merges = enginep_read_bool(r, "ignore_merges", false);
    return r->status;
}

static pv_status read_vocab(enginep_vocab *vocab, const json_t *entries, pv_error *err)
{
    pv_status status = enginep_vocab_reserve(vocab, json_object_size(entries), err);
    const char *text;
    json_t *value;
    json_object_foreach((json_t *)entries, text, value)
    {
        if (status != PV_OK) {
            return status;
        }
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        if (id < 0 || id >= ENGINEP_VOCAB_MAX) {
            return pv_fail(err, PV_E_INVALID,
                           "tokenizer.json: model: token \"%.64s\" needs an id from 0 to %d", text,
                           ENGINEP_VOCAB_MAX - 1);
        }
        status = enginep_vocab_add_spelled(vocab, (uint32_t)id, text, strlen(text), err);
    }
    return status;
}

static void find_bytes(enginep_bpe *bpe, enginep_vocab *vocab)
{
    for (int i = 0; i < 256; i++) {
        char byte = (char)i;
        uint32_t id = enginep_vocab_find(vocab, &byte, 1);
        bpe->byte_ids[i] = id;
        if (id != ENGINEP_NO_TOKEN) {
            vocab->tokens[id].flags |= ENGINEP_TOKEN_MERGED;
        }
    }
}

typedef struct builder {
    enginep_bpe *bpe;
    enginep_vocab *vocab;
    pv_buf both;
    size_t index;
    pv_error *err;
} builder;

static pv_status bad_merge(const builder *b, const char *why)
{
    return pv_fail(b->err, PV_E_INVALID, "tokenizer.json: model: merge %zu: %s", b->index, why);
}

static pv_status insert(builder *b, uint32_t left, uint32_t right, uint32_t result)
{
    enginep_bpe *bpe = b->bpe;
    size_t mask = bpe->slot_count - 1;
    size_t at = pv_mix64((uint64_t)left << 32 | right) & mask;
    while (bpe->merges[at].result != ENGINEP_NO_TOKEN) {
        if (bpe->merges[at].left == left && bpe->merges[at].right == right) {
            return bad_merge(b, "the same pair has been merged before");
        }
        at = (at + 1) & mask;
    }
    enginep_merge merge = {left, right, (uint32_t)b->index, result};
    bpe->merges[at] = merge;
    b->vocab->tokens[result].flags |= ENGINEP_TOKEN_MERGED;
    return PV_OK;
}

/* A result is longer than both its parts, so that merges can never form a cycle. */
static pv_status add_merge(builder *b, const char *left, size_t left_len, const char *right,
                           size_t right_len)
{
    b->both.len = 0;
    if (left_len == 0 || right_len == 0) {
        return bad_merge(b, "a part is empty");
    }
    if (!enginep_vocab_unspell(left, left_len, &b->both)) {
        return bad_merge(b, "the left part is not spelled in byte-level characters");
    }
    size_t cut = b->both.len;
    if (!enginep_vocab_unspell(right, right_len, &b->both)) {
        return bad_merge(b, "the right part is not spelled in byte-level characters");
    }
    if (!pv_buf_ok(&b->both)) {
        return pv_fail(b->err, PV_E_NOMEM, "out of memory for merges");
    }
    uint32_t l = enginep_vocab_find(b->vocab, b->both.data, cut);
    uint32_t r = enginep_vocab_find(b->vocab, b->both.data + cut, b->both.len - cut);
    uint32_t result = enginep_vocab_find(b->vocab, b->both.data, b->both.len);
    if (l == ENGINEP_NO_TOKEN || r == ENGINEP_NO_TOKEN) {
        return bad_merge(b, "a part is not in the vocabulary");
    }
    if (result == ENGINEP_NO_TOKEN) {
        return bad_merge(b, "the result is not in the vocabulary");
    }
    return insert(b, l, r, result);
}

/* "A B" or ["A", "B"]; byte-level characters are never a space. */
static pv_status read_merge(builder *b, const json_t *value)
{
    if (json_is_array(value) && json_array_size(value) == 2) {
        const json_t *left = json_array_get(value, 0);
        const json_t *right = json_array_get(value, 1);
        if (json_is_string(left) && json_is_string(right)) {
            return add_merge(b, json_string_value(left), json_string_length(left),
                             json_string_value(right), json_string_length(right));
        }
    }
    const char *text = json_string_value(value);
    const char *space = text == NULL ? NULL : strchr(text, ' ');
    if (space == NULL || strchr(space + 1, ' ') != NULL) {
        return bad_merge(b, "expected \"A B\" or [\"A\", \"B\"]");
    }
    return add_merge(b, text, (size_t)(space - text), space + 1, strlen(space + 1));
}

static pv_status read_merges(enginep_bpe *bpe, enginep_vocab *vocab, const json_t *list,
                             pv_error *err)
{
    size_t n = json_array_size(list);
    size_t count = 64;
    while (count < 2 * n) {
        count *= 2;
    }
    bpe->merges = n >= UINT32_MAX / 4 ? NULL : pv_malloc(count * sizeof *bpe->merges);
    if (bpe->merges == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for %zu merges", n);
    }
    bpe->slot_count = count;
    memset(bpe->merges, 0xff, count * sizeof *bpe->merges); /* result: ENGINEP_NO_TOKEN */
    builder b = {.bpe = bpe, .vocab = vocab, .err = err};
    pv_status status = PV_OK;
    for (; b.index < n && status == PV_OK; b.index++) {
        status = read_merge(&b, json_array_get(list, b.index));
    }
    pv_buf_release(&b.both);
    return status;
}

/* Byte fallback and the unknown token speak for characters without a token; a full byte alphabet leaves none. */
static pv_status check_fallback(const enginep_bpe *bpe, enginep_reader *r)
{
    bool fallback = enginep_read_bool(r, "byte_fallback", false);
    for (int i = 0; i < 256 && r->status == PV_OK; i++) {
        if (bpe->byte_ids[i] == ENGINEP_NO_TOKEN && fallback) {
            enginep_reader_fail(r, PV_E_UNSUPPORTED,
                                "field \"byte_fallback\" is true and the vocabulary is not "
                                "byte-level (byte 0x%02x has no token)",
                                i);
        }
    }
    return r->status;
}

pv_status enginep_bpe_build(enginep_bpe *bpe, enginep_vocab *vocab, const json_t *model,
                            pv_error *err)
{
    enginep_reader r;
    enginep_reader_init(&r, model, "tokenizer.json: model", err);
    if (r.status != PV_OK) {
        return r.status;
    }
    bpe->vocab = vocab;
    const json_t *entries = enginep_read_object(&r, "vocab");
    const json_t *merges = enginep_read_array(&r, "merges");
    if (entries == NULL || merges == NULL) {
        enginep_reader_fail(&r, PV_E_INVALID, "\"vocab\" and \"merges\" must be given");
    }
    pv_status status = read_options(bpe, &r);
    if (status == PV_OK) {
        status = read_vocab(vocab, entries, err);
    }
    if (status == PV_OK) {
        find_bytes(bpe, vocab);
        status = check_fallback(bpe, &r);
    }
    return status != PV_OK ? status : read_merges(bpe, vocab, merges, err);
}
