/* From the "added_tokens" list of a tokenizer.json to the tries of engine_added.h. */
#include "engine_added.h"
#include "engine_json.h"
#include "pv_mem.h"

#include <string.h>

enum { ADDED_MAX = 1 << 20 };

/* The word characters of the Rust regex crate (Unicode Technical Standard 18, annex C), alphabetic symbols apart. */
static const char word_pattern[] =
    "[\\p{L}\\p{M}\\p{Nd}\\p{Nl}\\p{Pc}\\x{200c}\\x{200d}\\x{24b6}-\\x{24e9}\\x{1f130}-\\x{1f149}"
    "\\x{1f150}-\\x{1f169}\\x{1f170}-\\x{1f189}]";

static pv_status no_memory(pv_error *err)
{
    return pv_fail(err, PV_E_NOMEM, "out of memory for added tokens");
}

static bool add_node(enginep_trie *trie, unsigned char byte, uint32_t parent)
{
    if (pv_grow((void **)&trie->nodes, &trie->capacity, trie->count + 1, sizeof *trie->nodes) !=
        0) {
        return false;
    }
    enginep_trie_node node = {.byte = byte};
    if (trie->count > 0) {
        node.sibling = trie->nodes[parent].child;
        trie->nodes[parent].child = (uint32_t)trie->count;
    }
    trie->nodes[trie->count++] = node;
    return true;
}

static uint32_t find_child(const enginep_trie *trie, uint32_t node, unsigned char byte)
{
    uint32_t at = trie->nodes[node].child;
    while (at != 0 && trie->nodes[at].byte != byte) {
        at = trie->nodes[at].sibling;
    }
    return at;
}

static bool enter(enginep_trie *trie, const char *text, size_t n, uint32_t token)
{
    if (trie->count == 0 && !add_node(trie, 0, 0)) {
        return false;
    }
    uint32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        unsigned char byte = (unsigned char)text[i];
        uint32_t next = find_child(trie, node, byte);
        if (next == 0) {
            if (!add_node(trie, byte, node)) {
                return false;
            }
            next = (uint32_t)trie->count - 1;
        }
        node = next;
    }
    trie->nodes[node].token = token;
    trie->starts[(unsigned char)text[0]] = true;
    return true;
}

/* One character that spells one byte and is not that byte: a letter of a byte-level alphabet. */
static bool is_letter(const char *content, size_t len)
{
    pv_buf byte = {0};
    bool letter = len == 2 && enginep_vocab_unspell(content, len, &byte) && byte.len == 1;
    pv_buf_release(&byte);
    return letter;
}

static pv_status read_token(enginep_added *a, const json_t *spec, enginep_vocab *vocab,
                            pv_error *err)
{
    enginep_reader r;
    enginep_reader_init(&r, spec, "tokenizer.json: added_tokens", err);
    if (r.status != PV_OK) {
        return r.status;
    }
    enginep_added_token token = {0};
    token.id = enginep_read_u32(&r, "id", 0, ENGINEP_VOCAB_MAX - 1, ENGINEP_REQUIRED);
    const char *content = enginep_read_text(&r, "content", "");
    bool special = enginep_read_bool(&r, "special", false);
    bool normalized = enginep_read_bool(&r, "normalized", !special);
    token.lstrip = enginep_read_bool(&r, "lstrip", false);
    token.rstrip = enginep_read_bool(&r, "rstrip", false);
    token.single_word = enginep_read_bool(&r, "single_word", false);
    size_t len = strlen(content);
    uint32_t flags = ENGINEP_TOKEN_ADDED | (special ? ENGINEP_TOKEN_SPECIAL : 0u);
    pv_status status = r.status;
    if (status == PV_OK && enginep_added_find(a, content, len) >= 0) {
        status = pv_fail(err, PV_E_INVALID, "tokenizer.json: added token \"%.64s\" is there twice",
                         content);
    }
    if (status == PV_OK) {
        status = enginep_vocab_add_content(vocab, token.id, content, len, flags, err);
    }
    if (status != PV_OK) {
        return status;
    }
    token.len = (uint32_t)len;
    a->tokens[a->count++] = token;
    bool entered = enter(&a->tries[normalized], content, len, (uint32_t)a->count);
    if (entered && !special && is_letter(content, len)) {
        vocab->tokens[token.id].flags |= ENGINEP_TOKEN_MERGED;
        entered = enter(&a->tries[2], content, len, (uint32_t)a->count);
    }
    return entered ? PV_OK : no_memory(err);
}

/* A special token that a byte or a merge also gives would let plain text forge it. */
static pv_status check_reach(const enginep_added *a, const enginep_vocab *vocab, pv_error *err)
{
    const uint32_t both = ENGINEP_TOKEN_SPECIAL | ENGINEP_TOKEN_MERGED;
    for (size_t i = 0; i < a->count; i++) {
        uint32_t id = a->tokens[i].id;
        if ((enginep_vocab_flags(vocab, id) & both) == both) {
            return pv_fail(err, PV_E_INVALID,
                           "tokenizer.json: plain text can yield the special token \"%.*s\" "
                           "(id %u) through the merges",
                           (int)a->tokens[i].len, enginep_vocab_bytes(vocab, id), id);
        }
    }
    return PV_OK;
}

static bool needs_words(const enginep_added *a)
{
    for (size_t i = 0; i < a->count; i++) {
        if (a->tokens[i].single_word) {
            return true;
        }
    }
    return false;
}

pv_status enginep_added_build(enginep_added *a, const json_t *list, enginep_vocab *vocab,
                              pv_error *err)
{
    size_t n = json_array_size(list);
    if ((list != NULL && !json_is_array(list)) || n > ADDED_MAX) {
        return pv_fail(err, PV_E_INVALID,
                       "tokenizer.json: field \"added_tokens\" must be a list of at most %d",
                       ADDED_MAX);
    }
    a->tokens = pv_malloc(n * sizeof *a->tokens);
    pv_status status = a->tokens == NULL ? no_memory(err) : PV_OK;
    for (size_t i = 0; i < n && status == PV_OK; i++) {
        status = read_token(a, json_array_get(list, i), vocab, err);
    }
    if (status == PV_OK) {
        status = check_reach(a, vocab, err);
    }
    if (status == PV_OK && needs_words(a)) {
        status = enginep_regex_new(&a->word_start, word_pattern, strlen(word_pattern), false, err);
    }
    return status;
}

void enginep_added_release(enginep_added *a)
{
    pv_free(a->tokens);
    pv_free(a->tries[0].nodes);
    pv_free(a->tries[1].nodes);
    pv_free(a->tries[2].nodes);
    enginep_regex_free(a->word_start);
    memset(a, 0, sizeof *a);
}
