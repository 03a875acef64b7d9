#define _DEFAULT_SOURCE
#include "engine_safetensors.h"

#include "engine_json.h"
#include "engine_safetensors_internal.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { INDEX_MAX = 1 << 28, SHARDS_MAX = 1 << 16 };

static pv_status join(const char *dir, const char *name, char **out, pv_error *err)
{
    pv_buf path = {0};
    pv_buf_printf(&path, "%s/%s", dir, name);
    *out = pv_buf_detach(&path);
    return *out != NULL ? PV_OK : pv_fail(err, PV_E_NOMEM, "%s: out of memory", name);
}

static pv_status map_fd(enginep_shard *shard, int fd, pv_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return pv_fail_os(err, PV_E_IO, errno, "%s: cannot be examined", shard->path);
    }
    if (!S_ISREG(info.st_mode) || info.st_size <= 0) {
        return pv_fail(err, PV_E_INVALID, "%s: not a file with bytes in it", shard->path);
    }
    void *base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (base == MAP_FAILED) {
        return pv_fail_os(err, PV_E_IO, errno, "%s: cannot be mapped", shard->path);
    }
    shard->base = base;
    shard->bytes = (size_t)info.st_size;
    shard->mapped = true;
    return PV_OK;
}

static pv_status map_shard(enginep_shard *shard, pv_error *err)
{
    int fd = open(shard->path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return pv_fail_os(err, errno == ENOENT ? PV_E_NOTFOUND : PV_E_IO, errno, "%s: cannot open",
                          shard->path);
    }
    pv_status status = map_fd(shard, fd, err);
    close(fd); /* the mapping keeps the file */
    return status;
}

static pv_status allocate(engine_safetensors **out, size_t shards, pv_error *err)
{
    engine_safetensors *st = pv_calloc(1, sizeof *st);
    enginep_shard *list = pv_calloc(shards, sizeof *list);
    if (st == NULL || list == NULL) {
        pv_free(st);
        pv_free(list);
        return pv_fail(err, PV_E_NOMEM, "out of memory while opening a checkpoint");
    }
    st->shards = list;
    *out = st;
    return PV_OK;
}

void engine_safetensors_close(engine_safetensors *st)
{
    if (st == NULL) {
        return;
    }
    for (size_t i = 0; i < st->tensor_count; i++) {
        pv_free((void *)st->tensors[i].name);
    }
    for (uint32_t i = 0; i < st->shard_count; i++) {
        if (st->shards[i].mapped) {
            munmap((void *)st->shards[i].base, st->shards[i].bytes);
        }
        pv_free(st->shards[i].path);
    }
    pv_free(st->tensors);
    pv_free(st->slots);
    pv_free(st->shards);
    pv_free(st);
}

pv_status engine_safetensors_parse(engine_safetensors **out, const void *bytes, size_t n,
                                   const char *label, pv_error *err)
{
    engine_safetensors *st = NULL;
    pv_status status = allocate(&st, 1, err);
    if (status != PV_OK) {
        return status;
    }
    enginep_shard shard = {.path = pv_strdup(label), .base = bytes, .bytes = n};
    st->shards[0] = shard;
    st->shard_count = 1;
    status = shard.path == NULL ? pv_fail(err, PV_E_NOMEM, "%s: out of memory", label)
                                : enginep_safetensors_add(st, 0, err);
    if (status != PV_OK) {
        engine_safetensors_close(st);
        return status;
    }
    *out = st;
    return PV_OK;
}

/* Maps DIR/name as the next shard and adds its tensors. */
static pv_status open_shard(engine_safetensors *st, const char *dir, const char *name,
                            pv_error *err)
{
    enginep_shard *shard = &st->shards[st->shard_count];
    pv_status status = join(dir, name, &shard->path, err);
    if (status != PV_OK) {
        return status;
    }
    st->shard_count++;
    status = map_shard(shard, err);
    return status != PV_OK ? status : enginep_safetensors_add(st, st->shard_count - 1, err);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The distinct shard names of an index, sorted; names borrow from `map`. */
static pv_status list_shards(const json_t *map, const char *path, const char ***out, size_t *count,
                             pv_error *err)
{
    const char **names = pv_malloc((json_object_size(map) + 1) * sizeof *names);
    if (names == NULL) {
        return pv_fail(err, PV_E_NOMEM, "%s: out of memory", path);
    }
    size_t n = 0;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)map, key, value)
    {
        const char *name = json_string_value(value);
        /* An index names its siblings only: a path would let it reach any file of the user. */
        if (name == NULL || name[0] == '\0' || name[0] == '.' || strchr(name, '/') != NULL) {
            pv_free(names);
            return pv_fail(err, PV_E_INVALID, "%s: tensor %s: its shard must be a plain file name",
                           path, key);
        }
        names[n++] = name;
    }
    qsort(names, n, sizeof *names, by_text);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || strcmp(names[kept - 1], names[i]) != 0) {
            names[kept++] = names[i];
        }
    }
    *out = names;
    *count = kept;
    return PV_OK;
}

/* Each tensor of the index is in the shard that the index names, and no shard holds others. */
static pv_status check_index(const engine_safetensors *st, const json_t *map, const char *path,
                             pv_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)map, name, value)
    {
        const engine_tensor *t = engine_safetensors_find(st, name);
        const char *where = t == NULL ? NULL : strrchr(st->shards[t->shard].path, '/') + 1;
        if (where == NULL || strcmp(where, json_string_value(value)) != 0) {
            return pv_fail(err, PV_E_INVALID, "%s: tensor %s is missing in shard %s", path, name,
                           json_string_value(value));
        }
    }
    for (size_t i = 0; i < st->tensor_count; i++) {
        const engine_tensor *t = &st->tensors[i];
        if (json_object_get(map, t->name) == NULL) {
            return pv_fail(err, PV_E_INVALID, "%s: tensor %s of shard %s is not in the index", path,
                           t->name, st->shards[t->shard].path);
        }
    }
    return PV_OK;
}

static pv_status open_listed(engine_safetensors **out, const char *dir, const json_t *map,
                             const char *path, pv_error *err)
{
    const char **names = NULL;
    size_t count = 0;
    engine_safetensors *st = NULL;
    pv_status status = list_shards(map, path, &names, &count, err);
    if (status == PV_OK && (count == 0 || count > SHARDS_MAX)) {
        status = pv_fail(err, PV_E_INVALID, "%s: names %zu shards; expected 1 to %d", path, count,
                         SHARDS_MAX);
    }
    if (status == PV_OK) {
        status = allocate(&st, count, err);
    }
    for (size_t i = 0; i < count && status == PV_OK; i++) {
        status = open_shard(st, dir, names[i], err);
    }
    if (status == PV_OK) {
        status = check_index(st, map, path, err);
    }
    pv_free((void *)names);
    if (status != PV_OK) {
        engine_safetensors_close(st);
        return status;
    }
    *out = st;
    return PV_OK;
}

static pv_status open_index(engine_safetensors **out, const char *dir, const char *path,
                            const pv_buf *text, pv_error *err)
{
    json_t *root = NULL;
    pv_status status = enginep_json_parse(pv_buf_text(text), text->len, path, &root, err);
    if (status == PV_OK) {
        const json_t *map = json_object_get(root, "weight_map");
        status = json_is_object(map) ? open_listed(out, dir, map, path, err)
                                     : pv_fail(err, PV_E_INVALID,
                                               "%s: field \"weight_map\" must be an object", path);
    }
    json_decref(root);
    return status;
}

static pv_status open_single(engine_safetensors **out, const char *dir, pv_error *err)
{
    engine_safetensors *st = NULL;
    pv_status status = allocate(&st, 1, err);
    if (status == PV_OK) {
        status = open_shard(st, dir, "model.safetensors", err);
    }
    if (status != PV_OK) {
        engine_safetensors_close(st);
        return status;
    }
    *out = st;
    return PV_OK;
}

pv_status engine_safetensors_open(engine_safetensors **out, const char *dir, pv_error *err)
{
    char *path = NULL;
    pv_buf text = {0};
    pv_error index_error = {0};
    pv_status status = join(dir, "model.safetensors.index.json", &path, err);
    if (status != PV_OK) {
        return status;
    }
    status = pv_file_read(path, INDEX_MAX, &text, &index_error);
    if (status == PV_OK) {
        status = open_index(out, dir, path, &text, err);
    } else if (status == PV_E_NOTFOUND) {
        status = open_single(out, dir, err);
    } else {
        pv_fail(err, status, "%s", index_error.msg);
    }
    pv_buf_release(&text);
    pv_free(path);
    return status;
}

size_t engine_safetensors_count(const engine_safetensors *st)
{
    return st->tensor_count;
}

const engine_tensor *engine_safetensors_at(const engine_safetensors *st, size_t i)
{
    return &st->tensors[i];
}

uint32_t engine_safetensors_shard_count(const engine_safetensors *st)
{
    return st->shard_count;
}

const char *engine_safetensors_shard_path(const engine_safetensors *st, uint32_t shard)
{
    return st->shards[shard].path;
}

uint64_t engine_safetensors_shard_bytes(const engine_safetensors *st, uint32_t shard)
{
    return st->shards[shard].bytes;
}

static pv_status advise_range(const enginep_shard *shard, uint64_t begin, uint64_t end,
                              engine_advice advice, pv_error *err)
{
    static const int codes[] = {MADV_WILLNEED, MADV_SEQUENTIAL, MADV_RANDOM, MADV_DONTNEED};
    if (!shard->mapped || begin == end) {
        return PV_OK;
    }
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    begin -= begin % page;
    char *base = (char *)(uintptr_t)shard->base;
    if (madvise(base + begin, (size_t)(end - begin), codes[advice]) != 0) {
        return pv_fail_os(err, PV_E_IO, errno, "%s: the kernel refused advice", shard->path);
    }
    return PV_OK;
}

pv_status engine_tensor_advise(const engine_safetensors *st, const engine_tensor *tensor,
                               engine_advice advice, pv_error *err)
{
    const enginep_shard *shard = &st->shards[tensor->shard];
    uint64_t begin = (uint64_t)((const char *)tensor->data - shard->base);
    return advise_range(shard, begin, begin + tensor->bytes, advice, err);
}

pv_status engine_safetensors_advise(const engine_safetensors *st, engine_advice advice,
                                    pv_error *err)
{
    pv_status status = PV_OK;
    for (uint32_t i = 0; i < st->shard_count && status == PV_OK; i++) {
        status = advise_range(&st->shards[i], 0, st->shards[i].bytes, advice, err);
    }
    return status;
}
