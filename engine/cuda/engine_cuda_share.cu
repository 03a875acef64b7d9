#include "engine_cuda_share.cuh"

#include "engine_cuda_comm.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

enum { THREADS = 256 };

/* What the second exchange of a sum costs, in bytes that could be received meanwhile: 8 us at 300 GB/s. */
enum { LATENCY_BYTES = 2400000 };

/* ---- Kernels ---- */

/* to[i] = h[i] + the sum over ranks of parts[rank * step + i]; quads of numbers. */
static __global__ void __launch_bounds__(THREADS)
    add_kernel(float4 *to, const float4 *h, const float4 *parts, uint32_t ranks, uint64_t step,
               uint64_t quads)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i >= quads) {
        return;
    }
    float4 sum = parts[i];
    for (uint32_t r = 1; r < ranks; r++) {
        float4 part = parts[r * step + i];
        sum.x = __fadd_rn(sum.x, part.x);
        sum.y = __fadd_rn(sum.y, part.y);
        sum.z = __fadd_rn(sum.z, part.z);
        sum.w = __fadd_rn(sum.w, part.w);
    }
    float4 v = h[i];
    to[i] = make_float4(__fadd_rn(v.x, sum.x), __fadd_rn(v.y, sum.y), __fadd_rn(v.z, sum.z),
                        __fadd_rn(v.w, sum.w));
}

static __global__ void __launch_bounds__(THREADS) clear_kernel(float4 *to, uint64_t quads)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint64_t i = (uint64_t)blockIdx.x * THREADS + threadIdx.x;
    if (i < quads) {
        to[i] = make_float4(0, 0, 0, 0);
    }
}

struct spread {
    float *logits;
    const float *parts;
    uint32_t rows;
    uint32_t vocab;
    uint32_t width;
    uint32_t ranks;
    uint32_t first[ENGINE_RANKS_MAX]; /* word of each rank */
};

/* blockIdx: x words, y row. */
static __global__ void __launch_bounds__(THREADS) spread_kernel(const __grid_constant__ spread p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t word = blockIdx.x * THREADS + threadIdx.x;
    if (word >= p.vocab) {
        return;
    }
    uint32_t rank = 0;
    for (uint32_t r = 1; r < p.ranks; r++) {
        rank = word >= p.first[r] ? r : rank;
    }
    size_t line = (size_t)rank * p.rows + blockIdx.y;
    p.logits[(size_t)blockIdx.y * p.vocab + word] = p.parts[line * p.width + word - p.first[rank]];
}

static cuda_shape shape_of(uint64_t quads)
{
    return {dim3((unsigned)((quads + THREADS - 1) / THREADS)), dim3(THREADS), 0};
}

/* ---- Memory ---- */

/* Are `numbers` better sent in two exchanges? They move 2 (ranks - 1) / ranks of the bytes instead of ranks - 1 times
 * them. */
static bool takes_two(uint64_t numbers, uint32_t ranks)
{
    uint64_t saved = numbers * sizeof(float) * (ranks - 1) * (ranks - 2) / ranks;
    return saved > LATENCY_BYTES && numbers % (4 * ranks) == 0;
}

void cuda_share_lay_out(cuda_share *share, const cuda_model *model, uint32_t stride,
                        cuda_arena *arena)
{
    const engine_shard *shard = model->shard;
    *share = {};
    if (shard == NULL) {
        return;
    }
    size_t most = (size_t)model->rows * stride;
    size_t at_once = (size_t)LATENCY_BYTES / sizeof(float) * shard->ranks;
    share->model = model;
    share->ranks = shard->ranks;
    share->stride = stride;
    share->width = shard->words[0].count;
    share->part = cuda_take<float>(arena, most);
    share->room = shard->ranks == 2 || at_once > shard->ranks * most ? shard->ranks * most
                  : at_once > most                                   ? at_once
                                                                     : most;
    share->gathered = cuda_take<float>(arena, share->room);
    size_t logits = (size_t)model->logit_rows * share->width;
    share->logits_part = cuda_take<float>(arena, logits);
    share->logits_all =
        cuda_take<float>(arena, shard->rank == 0 ? shard->ranks * logits : (size_t)4);
}

/* ---- Sums ---- */

cudaError_t cuda_share_clear(const cuda_share *share, uint32_t rows, cudaStream_t stream)
{
    uint64_t quads = (uint64_t)rows * share->stride / 4;
    return cuda_launch(clear_kernel, shape_of(quads), stream, (float4 *)share->part, quads);
}

/* `numbers` of all parts to everybody. */
static cudaError_t gather_parts(const cuda_share *s, const float *part, uint64_t numbers,
                                cudaStream_t stream)
{
    return cuda_comm_all_gather(s->model->comm, part, s->gathered, numbers * sizeof(float), stream);
}

static cudaError_t add_gathered(const cuda_share *s, float *h, uint64_t numbers,
                                cudaStream_t stream)
{
    uint64_t quads = numbers / 4;
    return cuda_launch(add_kernel, shape_of(quads), stream, (float4 *)h, (const float4 *)h,
                       (const float4 *)s->gathered, s->ranks, quads, quads);
}

/* A slice of each part to everybody, and the sums of the slices. */
static cudaError_t add_by_slices(const cuda_share *s, float *h, uint64_t numbers,
                                 cudaStream_t stream)
{
    cuda_comm *comm = s->model->comm;
    uint64_t slice = numbers / s->ranks;
    float *mine = h + s->model->shard->rank * slice;
    cudaError_t error =
        cuda_comm_exchange(comm, s->part, s->gathered, slice * sizeof(float), stream);
    if (error == cudaSuccess) {
        error = cuda_launch(add_kernel, shape_of(slice / 4), stream, (float4 *)mine,
                            (const float4 *)mine, (const float4 *)s->gathered, s->ranks, slice / 4,
                            slice / 4);
    }
    return error == cudaSuccess ? cuda_comm_all_gather(comm, mine, h, slice * sizeof(float), stream)
                                : error;
}

static cudaError_t add_by_pieces(const cuda_share *s, float *h, uint64_t numbers, uint64_t most,
                                 cudaStream_t stream)
{
    cudaError_t error = cudaSuccess;
    for (uint64_t at = 0; at < numbers && error == cudaSuccess; at += most) {
        uint64_t n = numbers - at < most ? numbers - at : most;
        error = gather_parts(s, s->part + at, n, stream);
        error = error == cudaSuccess ? add_gathered(s, h + at, n, stream) : error;
    }
    return error;
}

cudaError_t cuda_share_begin(const cuda_share *s, float *h, uint32_t rows, bool *waits,
                             cudaStream_t stream)
{
    uint64_t numbers = (uint64_t)rows * s->stride;
    uint64_t most = s->room / s->ranks / 4 * 4; /* that fit at once */
    *waits = false;
    if (takes_two(numbers, s->ranks)) {
        return add_by_slices(s, h, numbers, stream);
    }
    if (numbers > most) {
        return add_by_pieces(s, h, numbers, most, stream);
    }
    *waits = true;
    return gather_parts(s, s->part, numbers, stream);
}

cudaError_t cuda_share_finish(const cuda_share *s, float *h, uint32_t rows, cudaStream_t stream)
{
    return add_gathered(s, h, (uint64_t)rows * s->stride, stream);
}

cudaError_t cuda_share_add(const cuda_share *s, float *h, uint32_t rows, cudaStream_t stream)
{
    bool waits = false;
    cudaError_t error = cuda_share_begin(s, h, rows, &waits, stream);
    return error == cudaSuccess && waits ? cuda_share_finish(s, h, rows, stream) : error;
}

/* ---- Logits ---- */

cudaError_t cuda_share_logits(const cuda_share *s, float *logits, uint32_t rows,
                              cudaStream_t stream)
{
    const engine_shard *shard = s->model->shard;
    size_t bytes = (size_t)rows * s->width * sizeof(float);
    cudaError_t error =
        cuda_comm_gather(s->model->comm, s->logits_part, s->logits_all, bytes, stream);
    if (error != cudaSuccess || shard->rank != 0) {
        return error;
    }
    spread p = {logits, s->logits_all, rows, s->model->config->vocab_size, s->width, s->ranks, {}};
    for (uint32_t r = 0; r < s->ranks; r++) {
        p.first[r] = shard->words[r].first;
    }
    cuda_shape shape = {dim3((p.vocab + THREADS - 1) / THREADS, rows), dim3(THREADS), 0};
    return cuda_launch(spread_kernel, shape, stream, p);
}
