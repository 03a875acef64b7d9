/* engine_shard: the part of a model that one of several devices holds. Nothing is copied: views of views.
 *
 * What is split among `ranks` devices, all of which see every token:
 *     by heads         q (q_b), kv_b, k, v and their biases by rows, o by columns
 *     by intermediate  gate and up by rows, down by columns; of dense blocks and of the shared experts
 *     by expert        routed experts, consecutive ones
 *     by word          rows of the head
 * What every device has whole: embedding, norms, q_a, kv_a, the router. The bias of o is rank 0's alone. So the outputs
 * of o, of down and of the experts are parts of a sum over the ranks, and the head's are parts of a row.
 *
 * Heads (and the key heads of llama) must divide by ranks. The rest is cut at multiples of 128, or of FP8's blocks, as
 * evenly as that goes: the lower ranks have one such unit more. No block of FP8 scales is ever cut.
 *
 *     engine_shard shard;
 *     status = engine_shard_make(&shard, &weights, 1, 4, &err);
 *     status = backend->open(&device, &shard.weights, ...);
 *     engine_shard_release(&shard);
 * Threads: immutable after make. */
#ifndef ENGINE_SHARD_H
#define ENGINE_SHARD_H

#include "engine_config.h"
#include "engine_weights.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { ENGINE_RANKS_MAX = 8 }; /* = ENGINE_GPUS_MAX of engine_backend.h */

typedef struct engine_range { /* first .. first + count - 1 */
    uint32_t first;
    uint32_t count;
} engine_range;

typedef struct engine_shard { /* stays where it was made: weights.config points into it */
    /* The model's, with the heads, kv_heads and intermediate_size of this part, and an untied head. moe.routed is the
     * number of all experts, which the router chooses from. */
    engine_config config;

    /* layers: owned, their experts are the model's own array from experts.first on. tensors and plan: the model's. */
    engine_weights weights;
    uint32_t rank;
    uint32_t ranks;
    engine_range experts; /* count 0: there are none */
    engine_range
        words[ENGINE_RANKS_MAX]; /* of every rank: rows of the head, columns of the logits */
} engine_shard;

/* Part `rank` of n things in units: as even as can be, longer parts first, the last unit may be short. */
engine_range engine_shard_range(uint32_t n, uint32_t unit, uint32_t rank, uint32_t ranks);

/* weights and what they point to are borrowed until release(). Fails: PV_E_UNSUPPORTED (this model cannot be split so:
 * figures in the message), PV_E_INVALID (ranks is 0 or over ENGINE_RANKS_MAX), PV_E_NOMEM. *out is written on success
 * only, but for scratch. */
PV_NODISCARD pv_status engine_shard_make(engine_shard *out, const engine_weights *weights,
                                         uint32_t rank, uint32_t ranks, pv_error *err);

/* A zeroed shard is allowed. */
void engine_shard_release(engine_shard *shard);

#ifdef __cplusplus
}
#endif
#endif
