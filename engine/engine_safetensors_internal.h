/* engine_safetensors_internal: a set of tensors and how one file's header is added to it. */
#ifndef ENGINE_SAFETENSORS_INTERNAL_H
#define ENGINE_SAFETENSORS_INTERNAL_H

#include "engine_safetensors.h"

#include <stdbool.h>

typedef struct enginep_shard {
    char *path;       /* owned                                          */
    const char *base; /* the file's bytes                               */
    size_t bytes;
    bool mapped; /* base came from mmap; otherwise it is borrowed   */
} enginep_shard;

struct engine_safetensors {
    enginep_shard *shards; /* owned; their number never changes after the first tensor */
    uint32_t shard_count;
    engine_tensor *tensors; /* owned, with their names                                  */
    size_t tensor_count;
    size_t tensor_capacity;
    uint32_t *slots;   /* owned; open addressing, index + 1, 0 = free              */
    size_t slot_count; /* a power of two, at least twice tensor_count              */
};

/* Checks the header of shard `shard` and adds its tensors. On failure some may have been added. */
PV_NODISCARD pv_status enginep_safetensors_add(engine_safetensors *st, uint32_t shard,
                                               pv_error *err);

#endif
