#include "engine_vocab.h"

#include "pv_hash.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <string.h>

enum { TOKEN_BYTES_MAX = 1 << 16 };

void enginep_vocab_release(enginep_vocab *v)
{
    pv_buf_release(&v->arena);
    pv_free(v->tokens);
    pv_free(v->slots);
    memset(v, 0, sizeof *v);
}

static pv_status no_memory(pv_error *err)
{
    return pv_fail(err, PV_E_NOMEM, "out of memory for the vocabulary");
}

pv_status enginep_vocab_reserve(enginep_vocab *v, size_t tokens, pv_error *err)
{
    size_t count = 64;
    if (tokens > ENGINEP_VOCAB_MAX) {
        return pv_fail(err, PV_E_INVALID, "a vocabulary of %zu tokens is absurd", tokens);
    }
    while (count < 2 * tokens) {
        count *= 2;
    }
    v->slots = pv_calloc(count, sizeof *v->slots);
    v->slot_count = count;
    return v->slots == NULL ? no_memory(err) : PV_OK;
}

/* GPT-2's table: printable Latin-1 stands for itself, the other 68 bytes follow from U+0100 on in their order. */
static int byte_of(uint32_t c)
{
    bool printable =
        (c >= 0x21 && c <= 0x7e) || (c >= 0xa1 && c <= 0xac) || (c >= 0xae && c <= 0xff);
    if (printable) {
        return (int)c;
    }
    if (c < 0x100 || c > 0x143) {
        return -1;
    }
    uint32_t rank = c - 0x100;
    if (rank < 0x21) {
        return (int)rank; /* 00-20 */
    }
    return rank < 0x43 ? (int)(0x7f + rank - 0x21) : 0xad; /* 7f-a0, ad */
}

bool enginep_vocab_unspell(const char *text, size_t n, pv_buf *out)
{
    size_t start = out->len;
    for (size_t at = 0; at < n;) {
        uint32_t c = 0;
        size_t len = pv_utf8_decode(text + at, n - at, &c);
        int byte = len == 0 ? -1 : byte_of(c);
        if (byte < 0) {
            if (out->data != NULL) {
                out->len = start;
            }
            return false;
        }
        pv_buf_putc(out, (char)byte);
        at += len;
    }
    return true;
}

static size_t slot_of(const enginep_vocab *v, const char *bytes, size_t n)
{
    size_t mask = v->slot_count - 1;
    size_t at = pv_hash_bytes(bytes, n, 0) & mask;
    while (v->slots[at] != 0) {
        const enginep_token *t = &v->tokens[v->slots[at] - 1];
        if (t->len == n && memcmp(v->arena.data + t->offset, bytes, n) == 0) {
            break;
        }
        at = (at + 1) & mask;
    }
    return at;
}

uint32_t enginep_vocab_find(const enginep_vocab *v, const char *bytes, size_t n)
{
    if (v->slot_count == 0 || n == 0) {
        return ENGINEP_NO_TOKEN;
    }
    return v->slots[slot_of(v, bytes, n)] - 1; /* a free slot gives 0 - 1 = none */
}

static pv_status check_id(uint32_t id, size_t n, pv_error *err)
{
    if (id >= ENGINEP_VOCAB_MAX) {
        return pv_fail(err, PV_E_INVALID, "token id %u is absurd", id);
    }
    if (n == 0 || n > TOKEN_BYTES_MAX) {
        return pv_fail(err, PV_E_INVALID, "token %u has %zu bytes; expected 1 to %d", id, n,
                       TOKEN_BYTES_MAX);
    }
    return PV_OK;
}

static pv_status extend(enginep_vocab *v, uint32_t id, pv_error *err)
{
    size_t need = (size_t)id + 1;
    if (need <= v->size) {
        return PV_OK;
    }
    if (pv_grow((void **)&v->tokens, &v->capacity, need, sizeof *v->tokens) != 0) {
        return no_memory(err);
    }
    memset(v->tokens + v->size, 0, (need - v->size) * sizeof *v->tokens);
    v->size = need;
    return PV_OK;
}

/* Records the bytes that the caller appended to the arena from `offset` on. */
static pv_status define(enginep_vocab *v, uint32_t id, size_t offset, uint32_t flags, pv_error *err)
{
    if (!pv_buf_ok(&v->arena) || v->arena.len > UINT32_MAX) {
        return no_memory(err);
    }
    pv_status status = extend(v, id, err);
    if (status != PV_OK) {
        return status;
    }
    enginep_token *t = &v->tokens[id];
    t->offset = (uint32_t)offset;
    t->len = (uint32_t)(v->arena.len - offset);
    t->flags = flags | ENGINEP_TOKEN_DEFINED;
    return PV_OK;
}

pv_status enginep_vocab_add_spelled(enginep_vocab *v, uint32_t id, const char *text, size_t n,
                                    pv_error *err)
{
    pv_status status = check_id(id, n, err);
    if (status != PV_OK) {
        return status;
    }
    if (enginep_vocab_flags(v, id) != 0) {
        return pv_fail(err, PV_E_INVALID, "two tokens have the id %u", id);
    }
    size_t offset = v->arena.len;
    bool byte_level = enginep_vocab_unspell(text, n, &v->arena);
    if (!byte_level) {
        pv_buf_append(&v->arena, text, n);
    }
    status = define(v, id, offset, byte_level ? ENGINEP_TOKEN_BYTE_LEVEL : 0, err);
    if (status == PV_OK && byte_level) {
        /* Two spellings never mean the same bytes, so the slot is free. */
        v->slots[slot_of(v, v->arena.data + offset, v->tokens[id].len)] = id + 1;
    }
    return status;
}

/* An added token's content and a vocabulary's entry are the same token when they are spelled alike, whatever bytes the
 * spelling means: that is how the Hugging Face library looks them up. */
static pv_status check_spelling(enginep_vocab *v, uint32_t id, const char *text, size_t n,
                                pv_error *err)
{
    size_t end = v->arena.len;
    bool byte_level = enginep_vocab_unspell(text, n, &v->arena);
    if (!pv_buf_ok(&v->arena)) {
        return no_memory(err);
    }
    uint32_t owner = ENGINEP_NO_TOKEN;
    if (byte_level) {
        owner = enginep_vocab_find(v, v->arena.data + end, v->arena.len - end);
        v->arena.len = end;
    }
    bool taken = enginep_vocab_flags(v, id) != 0;
    const enginep_token *t = taken ? &v->tokens[id] : NULL;
    bool same =
        taken && (owner == id || (t->len == n && memcmp(v->arena.data + t->offset, text, n) == 0));
    if ((owner != ENGINEP_NO_TOKEN && owner != id) || (taken && !same) ||
        (taken && (t->flags & ENGINEP_TOKEN_ADDED) != 0)) {
        return pv_fail(err, PV_E_INVALID, "added token \"%.*s\" has the id %u; %s",
                       (int)(n < 64 ? n : 64), text, id,
                       taken ? "another token has that id" : "the vocabulary gives it another id");
    }
    return PV_OK;
}

pv_status enginep_vocab_add_content(enginep_vocab *v, uint32_t id, const char *text, size_t n,
                                    uint32_t flags, pv_error *err)
{
    pv_status status = check_id(id, n, err);
    if (status == PV_OK) {
        status = check_spelling(v, id, text, n, err);
    }
    if (status != PV_OK) {
        return status;
    }
    if (enginep_vocab_flags(v, id) != 0) {
        v->tokens[id].flags |= flags;
        return PV_OK;
    }
    size_t offset = v->arena.len;
    pv_buf_append(&v->arena, text, n);
    return define(v, id, offset, flags, err);
}
