/* engine_random: random numbers that are a function of (seed, request, sample, position), and of nothing else.
 *
 * The generator is Philox4x32-10 (Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3", SC 2011):
 * a keyed bijection of a 128-bit counter, with no state to carry. Two steps: the seed is the key that turns
 * (request, sample) into the sample's own key, and that key turns a position into a number. A device needs the sample's
 * key only (engine_draw.seed in engine_backend.h).
 * Threads: pure functions. */
#ifndef ENGINE_RANDOM_H
#define ENGINE_RANDOM_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct engine_philox {
    uint32_t word[4];
} engine_philox;

/* Ten rounds of Philox-4x32 on a counter under a key (low word first). */
engine_philox engine_philox4x32(engine_philox counter, uint64_t key);

/* The key of a sample: words 0 (low) and 1 (high) of philox({sample, 0, request low, request high}, seed). */
uint64_t engine_sample_key(uint64_t seed, uint64_t request, uint32_t sample);

/* In [0, 1), 53 bits: words 0 and 1 of philox({position, 0, 0, 0}, sample_key), the upper 27 and 26 bits. */
double engine_uniform(uint64_t sample_key, uint32_t position);

/* Two at once, for tokens 2 `pair` and 2 `pair` + 1: words 0, 1 and words 2, 3 of philox({pair, 0, 0, 0}, path_key). */
void engine_uniform_pair(uint64_t path_key, uint32_t pair, double out[2]);

/* The key of a path of tokens that goes on with `token`: words 0 (low) and 1 of philox({token, 1, 0, 0}, key of the path before). */
uint64_t engine_path_key(uint64_t path_key, uint32_t token);

#ifdef __cplusplus
}
#endif
#endif
