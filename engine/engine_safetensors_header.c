/* The header of one safetensors file: 8 bytes of length (little-endian), that many bytes of JSON, then the data.
 * Format: the safetensors specification (huggingface/safetensors, README, "Format"). */
#include "engine_json.h"
#include "engine_safetensors_internal.h"
#include "pv_hash.h"
#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

/* The reference implementation's own limit on the length of a header. */
enum { PREFIX = 8, HEADER_MAX = 100000000, NAME_MAX_BYTES = 4096 };

typedef struct entry { /* a tensor while its file is being read */
    engine_tensor tensor;
    uint64_t begin;
    uint64_t end;
} entry;

typedef struct header {
    engine_safetensors *st;
    uint32_t shard;
    const char *path;
    const char *data; /* first byte after the JSON */
    uint64_t data_bytes;
    entry *entries; /* owned                     */
    size_t count;
    pv_error *err;
} header;

static const struct {
    const char *text;
    uint32_t bits;
} dtypes[ENGINE_DTYPE_COUNT] = {

#define X(name, text, bits) {text, bits},
    ENGINE_DTYPE_TABLE(X)
#undef X
};

const char *engine_dtype_text(engine_dtype dtype)
{
    return (unsigned)dtype < ENGINE_DTYPE_COUNT ? dtypes[dtype].text : "?";
}

uint32_t engine_dtype_bytes(engine_dtype dtype)
{
    return (unsigned)dtype < ENGINE_DTYPE_COUNT ? dtypes[dtype].bits / 8 : 0;
}

static pv_status read_dtype(header *h, entry *e, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL) {
        return pv_fail(h->err, PV_E_INVALID, "%s: tensor %s: \"dtype\" must be a string", h->path,
                       e->tensor.name);
    }
    for (int i = 0; i < ENGINE_DTYPE_COUNT; i++) {
        if (strcmp(text, dtypes[i].text) == 0) {
            e->tensor.dtype = (engine_dtype)i;
            return PV_OK;
        }
    }
    return pv_fail(h->err, PV_E_UNSUPPORTED, "%s: tensor %s: dtype \"%.32s\" is not known", h->path,
                   e->tensor.name, text);
}

/* Reads the shape and checks that its bytes can be counted in 63 bits. */
static pv_status read_shape(header *h, entry *e, const json_t *value)
{
    engine_tensor *t = &e->tensor;
    size_t rank = json_array_size(value);
    if (!json_is_array(value) || rank > ENGINE_TENSOR_RANK_MAX) {
        return pv_fail(h->err, json_is_array(value) ? PV_E_UNSUPPORTED : PV_E_INVALID,
                       "%s: tensor %s: \"shape\" must be a list of at most %d sizes", h->path,
                       t->name, ENGINE_TENSOR_RANK_MAX);
    }
    t->rank = (uint32_t)rank;
    t->bytes = dtypes[t->dtype].bits / 8;
    for (size_t i = 0; i < rank; i++) {
        const json_t *size = json_array_get(value, i);
        json_int_t n = json_is_integer(size) ? json_integer_value(size) : -1;
        if (n < 0) {
            return pv_fail(h->err, PV_E_INVALID,
                           "%s: tensor %s: size %zu of its shape is not a count", h->path, t->name,
                           i);
        }
        t->shape[i] = (uint64_t)n;
        if (n != 0 && t->bytes > (uint64_t)INT64_MAX / (uint64_t)n) {
            return pv_fail(h->err, PV_E_INVALID, "%s: tensor %s: its shape is absurdly large",
                           h->path, t->name);
        }
        t->bytes *= (uint64_t)n;
    }
    return PV_OK;
}

static pv_status read_offsets(header *h, entry *e, const json_t *value)
{
    const json_t *begin = json_array_get(value, 0);
    const json_t *end = json_array_get(value, 1);
    const char *name = e->tensor.name;
    if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end) ||
        json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin)) {
        return pv_fail(h->err, PV_E_INVALID,
                       "%s: tensor %s: \"data_offsets\" must be [begin, end] with begin <= end",
                       h->path, name);
    }
    e->begin = (uint64_t)json_integer_value(begin);
    e->end = (uint64_t)json_integer_value(end);
    if (e->end > h->data_bytes) {
        return pv_fail(h->err, PV_E_INVALID,
                       "%s: tensor %s ends at byte %llu of the data, which has %llu: the file is "
                       "truncated; fetch it again",
                       h->path, name, (unsigned long long)e->end,
                       (unsigned long long)h->data_bytes);
    }
    if (e->end - e->begin != e->tensor.bytes) {
        return pv_fail(h->err, PV_E_INVALID,
                       "%s: tensor %s has %llu bytes of data, its dtype and shape need %llu",
                       h->path, name, (unsigned long long)(e->end - e->begin),
                       (unsigned long long)e->tensor.bytes);
    }
    e->tensor.data = h->data + e->begin;
    return PV_OK;
}

static pv_status read_entry(header *h, const char *name, const json_t *value)
{
    entry *e = &h->entries[h->count];
    memset(e, 0, sizeof *e);
    if (strlen(name) > NAME_MAX_BYTES || !json_is_object(value)) {
        return pv_fail(h->err, PV_E_INVALID, "%s: \"%.64s\" does not describe a tensor", h->path,
                       name);
    }
    e->tensor.name = pv_strdup(name);
    if (e->tensor.name == NULL) {
        return pv_fail(h->err, PV_E_NOMEM, "%s: out of memory", h->path);
    }
    h->count++;
    e->tensor.shard = h->shard;
    pv_status status = read_dtype(h, e, json_object_get(value, "dtype"));
    if (status == PV_OK) {
        status = read_shape(h, e, json_object_get(value, "shape"));
    }
    if (status == PV_OK) {
        status = read_offsets(h, e, json_object_get(value, "data_offsets"));
    }
    return status;
}

static int by_begin(const void *a, const void *b)
{
    const entry *x = a;
    const entry *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return x->end < y->end ? -1 : x->end > y->end;
}

/* The format wants the tensors to tile the data; a gap or an overlap means that offsets were damaged. */
static pv_status check_tiling(header *h)
{
    uint64_t at = 0;
    qsort(h->entries, h->count, sizeof *h->entries, by_begin);
    for (size_t i = 0; i < h->count; i++) {
        const entry *e = &h->entries[i];
        if (e->begin != at) {
            return pv_fail(h->err, PV_E_INVALID,
                           "%s: tensor %s begins at byte %llu of the data, %s byte %llu", h->path,
                           e->tensor.name, (unsigned long long)e->begin,
                           e->begin < at ? "overlapping the one before it, which ends at"
                                         : "leaving a hole after",
                           (unsigned long long)at);
        }
        at = e->end;
    }
    if (at != h->data_bytes) {
        return pv_fail(h->err, PV_E_INVALID,
                       "%s: %llu bytes follow the last tensor; the file is damaged", h->path,
                       (unsigned long long)(h->data_bytes - at));
    }
    return PV_OK;
}

static size_t slot_of(const engine_safetensors *st, const char *name)
{
    size_t mask = st->slot_count - 1;
    size_t at = pv_hash_bytes(name, strlen(name), 0) & mask;
    while (st->slots[at] != 0 && strcmp(st->tensors[st->slots[at] - 1].name, name) != 0) {
        at = (at + 1) & mask;
    }
    return at;
}

static bool rehash(engine_safetensors *st, size_t want)
{
    size_t count = 64;
    while (count < 2 * want) {
        count *= 2;
    }
    if (count == st->slot_count) {
        return true;
    }
    uint32_t *slots = pv_calloc(count, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    pv_free(st->slots);
    st->slots = slots;
    st->slot_count = count;
    for (size_t i = 0; i < st->tensor_count; i++) {
        st->slots[slot_of(st, st->tensors[i].name)] = (uint32_t)i + 1;
    }
    return true;
}

/* Moves the entries into the set; names of those that were moved belong to the set from then on. */
static pv_status publish(header *h)
{
    engine_safetensors *st = h->st;
    size_t need = st->tensor_count + h->count;
    if (need >= UINT32_MAX ||
        pv_grow((void **)&st->tensors, &st->tensor_capacity, need, sizeof *st->tensors) != 0 ||
        !rehash(st, need)) {
        return pv_fail(h->err, PV_E_NOMEM, "%s: out of memory", h->path);
    }
    for (size_t i = 0; i < h->count; i++) {
        engine_tensor *t = &h->entries[i].tensor;
        size_t slot = slot_of(st, t->name);
        if (st->slots[slot] != 0) {
            const engine_tensor *other = &st->tensors[st->slots[slot] - 1];
            return pv_fail(h->err, PV_E_INVALID, "tensor %s is in %s and in %s", t->name,
                           st->shards[other->shard].path, h->path);
        }
        st->tensors[st->tensor_count++] = *t;
        st->slots[slot] = (uint32_t)st->tensor_count;
        t->name = NULL;
    }
    return PV_OK;
}

static pv_status read_metadata(const header *h, const json_t *value)
{
    const char *key;
    json_t *item;
    bool valid = json_is_object(value);
    json_object_foreach((json_t *)value, key, item)
    {
        valid = valid && json_is_string(item);
    }
    return valid ? PV_OK
                 : pv_fail(h->err, PV_E_INVALID, "%s: \"__metadata__\" must map text to text",
                           h->path);
}

static pv_status read_json(header *h, const json_t *root)
{
    if (!json_is_object(root)) {
        return pv_fail(h->err, PV_E_INVALID, "%s: the header must be a JSON object", h->path);
    }
    h->entries = pv_malloc(json_object_size(root) * sizeof *h->entries);
    if (h->entries == NULL) {
        return pv_fail(h->err, PV_E_NOMEM, "%s: out of memory", h->path);
    }
    pv_status status = PV_OK;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)root, name, value)
    {
        if (status == PV_OK) {
            status = strcmp(name, "__metadata__") == 0 ? read_metadata(h, value)
                                                       : read_entry(h, name, value);
        }
    }
    if (status == PV_OK) {
        status = check_tiling(h);
    }
    return status == PV_OK ? publish(h) : status;
}

static void release(header *h)
{
    for (size_t i = 0; i < h->count; i++) {
        pv_free((void *)h->entries[i].tensor.name);
    }
    pv_free(h->entries);
}

static uint64_t read_u64_le(const char *bytes)
{
    uint64_t n = 0;
    for (int i = PREFIX - 1; i >= 0; i--) {
        n = n << 8 | (unsigned char)bytes[i];
    }
    return n;
}

static pv_status check_length(const enginep_shard *file, uint64_t *length, pv_error *err)
{
    if (file->bytes < PREFIX) {
        return pv_fail(err, PV_E_INVALID, "%s: %zu bytes is too short for a safetensors file",
                       file->path, file->bytes);
    }
    *length = read_u64_le(file->base);
    if (*length > HEADER_MAX) {
        return pv_fail(err, PV_E_INVALID,
                       "%s: a header of %llu bytes is absurd; this is not a safetensors file",
                       file->path, (unsigned long long)*length);
    }
    if (*length > file->bytes - PREFIX) {
        return pv_fail(err, PV_E_INVALID,
                       "%s: the header has %llu bytes and the file %zu: it is truncated; fetch it "
                       "again",
                       file->path, (unsigned long long)*length, file->bytes);
    }
    return PV_OK;
}

pv_status enginep_safetensors_add(engine_safetensors *st, uint32_t shard, pv_error *err)
{
    const enginep_shard *file = &st->shards[shard];
    uint64_t length = 0;
    pv_status status = check_length(file, &length, err);
    if (status != PV_OK) {
        return status;
    }
    header h = {.st = st, .shard = shard, .path = file->path, .err = err};
    h.data = file->base + PREFIX + length;
    h.data_bytes = file->bytes - PREFIX - length;
    json_t *root = NULL;
    status = enginep_json_parse(file->base + PREFIX, (size_t)length, file->path, &root, err);
    if (status == PV_OK) {
        status = read_json(&h, root);
    }
    json_decref(root);
    release(&h);
    return status;
}

const engine_tensor *engine_safetensors_find(const engine_safetensors *st, const char *name)
{
    if (st->slot_count == 0) {
        return NULL;
    }
    uint32_t found = st->slots[slot_of(st, name)];
    return found == 0 ? NULL : &st->tensors[found - 1];
}
