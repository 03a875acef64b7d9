/* engine_safetensors: the tensors of a checkpoint, by name, read in place.
 *
 * DIR holds model.safetensors, or model.safetensors.index.json and the shards it names. Each shard is mapped once,
 * read-only; nothing is copied. Every byte of a header is checked before a pointer is handed out: the header's length,
 * its JSON, that each tensor's bytes are dtype x shape, that the tensors tile the data without overlap or hole, that
 * names are unique, and that the index and the shards agree. A file that is truncated by somebody else after it has
 * been mapped ends the process with SIGBUS, as with every mapping: checkpoints are replaced, not edited.
 * Threads: immutable after open; lookups from any thread.
 *
 *     engine_safetensors *st = NULL;
 *     if (engine_safetensors_open(&st, "models/prover", &err) == PV_OK) {
 *         const engine_tensor *t = engine_safetensors_find(st, "model.norm.weight");
 *         ...
 *         engine_safetensors_close(st);
 *     } */
#ifndef ENGINE_SAFETENSORS_H
#define ENGINE_SAFETENSORS_H

#include "pv_error.h"

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(enum suffix, name in the file, bits an element) */
#define ENGINE_DTYPE_TABLE(X)                                                                      \
    X(BF16, "BF16", 16)                                                                            \
    X(F16, "F16", 16)                                                                              \
    X(F32, "F32", 32)                                                                              \
    X(F8_E4M3, "F8_E4M3", 8)                                                                       \
    X(F8_E5M2, "F8_E5M2", 8)                                                                       \
    X(F8_E8M0, "F8_E8M0", 8)                                                                       \
    X(F64, "F64", 64)                                                                              \
    X(C64, "C64", 64)                                                                              \
    X(I8, "I8", 8)                                                                                 \
    X(U8, "U8", 8)                                                                                 \
    X(I16, "I16", 16)                                                                              \
    X(U16, "U16", 16)                                                                              \
    X(I32, "I32", 32)                                                                              \
    X(U32, "U32", 32)                                                                              \
    X(I64, "I64", 64)                                                                              \
    X(U64, "U64", 64)                                                                              \
    X(BOOL, "BOOL", 8)

typedef enum engine_dtype {

#define X(name, text, bits) ENGINE_DTYPE_##name,
    ENGINE_DTYPE_TABLE(X)
#undef X
        ENGINE_DTYPE_COUNT
} engine_dtype;

const char *engine_dtype_text(engine_dtype dtype); /* "BF16"; "?" out of range */
uint32_t engine_dtype_bytes(engine_dtype dtype);   /* of one element           */

enum { ENGINE_TENSOR_RANK_MAX = 8 };

typedef struct engine_tensor { /* everything borrowed from its engine_safetensors */
    const char *name;
    engine_dtype dtype;
    uint32_t rank;
    uint64_t shape[ENGINE_TENSOR_RANK_MAX]; /* outermost first; rank 0 is one element            */
    const void *data;                       /* inside the mapping; not always aligned to dtype   */
    uint64_t bytes;
    uint32_t shard; /* index for engine_safetensors_shard_path()                                 */
} engine_tensor;

typedef struct engine_safetensors engine_safetensors;

/* Fails: PV_E_NOTFOUND (no checkpoint there, a shard that the index names is missing), PV_E_IO, PV_E_INVALID
 * (file and tensor named), PV_E_UNSUPPORTED (a dtype or rank nobody knows), PV_E_NOMEM. *out on success only. */
PV_NODISCARD pv_status engine_safetensors_open(engine_safetensors **out, const char *dir,
                                               pv_error *err);

/* One file's bytes from memory (borrowed until close), under the name `label`. */
PV_NODISCARD pv_status engine_safetensors_parse(engine_safetensors **out, const void *bytes,
                                                size_t n, const char *label, pv_error *err);

void engine_safetensors_close(engine_safetensors *st); /* NULL allowed; every tensor dies */

/* NULL when there is no such tensor. O(1). */
const engine_tensor *engine_safetensors_find(const engine_safetensors *st, const char *name);

size_t engine_safetensors_count(const engine_safetensors *st);
const engine_tensor *engine_safetensors_at(const engine_safetensors *st, size_t i); /* i < count */

uint32_t engine_safetensors_shard_count(const engine_safetensors *st);
const char *engine_safetensors_shard_path(const engine_safetensors *st, uint32_t shard);
uint64_t engine_safetensors_shard_bytes(const engine_safetensors *st, uint32_t shard);

typedef enum engine_advice {
    ENGINE_ADVICE_WILLNEED,   /* start reading these bytes now                     */
    ENGINE_ADVICE_SEQUENTIAL, /* read ahead far, drop behind                       */
    ENGINE_ADVICE_RANDOM,     /* no read-ahead: experts                            */
    ENGINE_ADVICE_DONTNEED,   /* the bytes are elsewhere now (a device)            */
} engine_advice;

/* Hints for the mapping, rounded to pages; a no-op for tensors that are not mapped. Fails: PV_E_IO. */
PV_NODISCARD pv_status engine_tensor_advise(const engine_safetensors *st,
                                            const engine_tensor *tensor, engine_advice advice,
                                            pv_error *err);
PV_NODISCARD pv_status engine_safetensors_advise(const engine_safetensors *st, engine_advice advice,
                                                 pv_error *err);

#ifdef __cplusplus
}
#endif
#endif
