/* engine_cpu_matmul: products with weight matrices where they lie, for one thread and for the pool.
 *
 * Which arithmetic: f16 and float32 matrices, and everything when the compute has no bf16 kernels, take the float32
 * one. bf16 and FP8 matrices take the bf16 one, with as much of the activations as the job asks for. Activations are
 * multiplied with the block's scale before they are rounded, so that a block costs the inner loop nothing; they are
 * never quantised to e4m3, since bf16 is closer to exact sums.
 * Threads: a compute belongs to one device. */
#ifndef ENGINE_CPU_MATMUL_H
#define ENGINE_CPU_MATMUL_H

#include "engine_cpu_kernels.h"
#include "engine_cpu_pool.h"

typedef struct engine_cpu_compute {
    const engine_cpu_kernels *k;
    const engine_cpu_bf16_kernels *bf16; /* NULL: float32 arithmetic for everything              */
    engine_cpu_pool *pool;
    char *scratch; /* owned; scratch_bytes for each thread                 */
    void *scratch_block;
    size_t scratch_bytes;
    uint32_t cols_max; /* widest matrix */
} engine_cpu_compute;

typedef enum engine_cpu_care {
    ENGINE_CPU_ROUNDED, /* activations as one bf16 number, 8 bits */
    ENGINE_CPU_SPLIT, /* as the sum of two, 16 bits: twice the multiply-adds, no more bytes. For what a
                         * softmax or a router comes after, since they amplify errors */
    ENGINE_CPU_EXACT, /* float32 arithmetic in any case: routers */
} engine_cpu_care;

/* y[t][r] = w[first + r] . x[t],   r < rows, t < tokens. */
typedef struct engine_cpu_job {
    const engine_view *w;
    uint32_t first;
    uint32_t rows;
    const float *const *x; /* tokens pointers to w->cols numbers                       */
    float *const *y;       /* tokens pointers to `rows` numbers                        */
    uint32_t tokens;       /* 0 is allowed                                             */
    engine_cpu_care care;
    uint32_t first_task; /* set by engine_cpu_matmul()                               */
} engine_cpu_job;

/* threads and arithmetic from resolved options; cols_max: the widest matrix that will be used.
 * Fails: PV_E_UNSUPPORTED (instruction set), PV_E_NOMEM, PV_E_SPAWN. */
PV_NODISCARD pv_status engine_cpu_compute_open(engine_cpu_compute *out,
                                               const engine_backend_options *options,
                                               uint32_t cols_max, pv_error *err);
void engine_cpu_compute_close(engine_cpu_compute *c);

/* Bytes of scratch memory for all threads. */
uint64_t engine_cpu_compute_bytes(uint32_t threads, uint32_t cols_max);

/* A thread's own memory for other uses than products: ENGINE_CPU_LOCAL_BYTES, aligned to 64. */
enum { ENGINE_CPU_LOCAL_BYTES = 512 * 1024 };

void *engine_cpu_local(const engine_cpu_compute *c, uint32_t thread);

/* Rows [from, to) of the job, on the calling thread. */
void engine_cpu_product(const engine_cpu_compute *c, const engine_cpu_job *job, uint32_t from,
                        uint32_t to, uint32_t thread);

/* All jobs, on the pool. */
void engine_cpu_matmul(const engine_cpu_compute *c, engine_cpu_job *jobs, uint32_t count);

/* Rows a task should take when `rows` are shared out. */
uint32_t engine_cpu_grain(const engine_cpu_compute *c, uint64_t rows);

#endif
