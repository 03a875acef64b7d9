/* Products with weights as they are stored: y = x W^T in float32, plain, per head, or per chosen expert. A warp makes a
 * tile of M rows and N outputs; which tile, depends on the number of rows, and the bits do not. Warps of a block find each
 * other's rows in the first-level cache: staging them in shared memory was slower (H100). */
#include "engine_cuda_generic_dot.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

namespace
{

enum { WARPS = 8 }; /* of a block */

/* A block's part of the grid: blockIdx.x tiles of rows, y outputs, z heads or jobs. */
struct grid_part {
    const cuda_generic_job *job;
    uint32_t head;
    uint32_t outputs;
};

__device__ __forceinline__ grid_part part_of(const cuda_generic_product &p)
{
    grid_part part;
    part.job = &p.job[p.heads != 0 ? 0 : blockIdx.z];
    part.head = p.heads != 0 ? blockIdx.z : 0;
    part.outputs = p.heads != 0 ? p.outputs : part.job->w.rows;
    return part;
}

/* The rows of a tile. */
struct taken_rows {
    uint32_t count;        /* 0: no such tile */
    uint32_t first;        /* row, or index in `order` */
    const uint32_t *order; /* NULL: plain */
    uint32_t expert;

    /* Row of y. Rows that are not there repeat the last one and are not stored. */
    __device__ __forceinline__ uint32_t row(uint32_t m) const
    {
        uint32_t at = first + min(m, count - 1);
        return order == NULL ? at : order[at];
    }
};

__device__ __forceinline__ taken_rows take(const cuda_generic_product &p,
                                           const cuda_generic_choices &c, uint32_t tile,
                                           uint32_t height)
{
    taken_rows t = {0, tile * height, NULL, 0};
    if (p.choices != NULL) {
        if (tile < *c.tile_count) {
            cuda_generic_tile e = c.tiles[tile];
            uint32_t here = e.expert - p.experts.first;
            t = {here < p.experts.count ? e.count : 0, e.first, c.order, here};
        }
        return t;
    }
    uint32_t rows = p.active == NULL ? p.rows : min(p.rows, *p.active);
    t.count = t.first < rows ? min(rows - t.first, height) : 0;
    return t;
}

/* The matrix of a job, or of its expert. */
__device__ __forceinline__ cuda_generic_matrix weight_of(const cuda_generic_job &job,
                                                         uint32_t expert)
{
    cuda_generic_matrix w = job.w;
    w.data = (const uint8_t *)w.data + expert * job.expert_bytes;
    w.scale += w.scale == NULL ? 0 : expert * job.expert_scales;
    return w;
}

/* Adds up the lanes' sums and stores outputs `output` .. + N - 1 of a tile's rows. */
template <int M, int N>
__device__ __forceinline__ void store(const cuda_generic_product &p, const grid_part &part,
                                      const taken_rows &t, float (&acc)[M * N], uint32_t output)
{
    const int kept = M * N >= 32 ? M * N / 32 : 1;
    uint32_t lane = threadIdx.x % 32;
    uint32_t first = cuda_generic_fold<M * N>(acc, lane);
    if (!cuda_generic_stores<M * N>(lane)) {
        return;
    }
#pragma unroll
    for (int i = 0; i < kept; i++) {
        uint32_t m = (first + (uint32_t)i) / N;
        uint32_t n = output + (first + (uint32_t)i) % N;
        if (m >= t.count || n >= part.outputs) {
            continue;
        }
        const cuda_generic_job &job = *part.job;
        float sum = job.bias == NULL ? acc[i] : acc[i] + job.bias[n];
        float *y = job.y + (size_t)t.row(m) * job.y_stride + part.head * p.y_head + n;
        *y = p.add ? *y + sum : sum;
    }
}

dim3 grid_of(const cuda_generic_product *p, uint32_t tiles, uint32_t tiles_block,
             uint32_t outputs_block)
{
    uint32_t outputs = p->outputs;
    for (uint32_t j = 0; p->heads == 0 && j < p->jobs; j++) {
        outputs = j == 0 || p->job[j].w.rows > outputs ? p->job[j].w.rows : outputs;
    }
    return dim3((tiles + tiles_block - 1) / tiles_block,
                (outputs + outputs_block - 1) / outputs_block, p->heads != 0 ? p->heads : p->jobs);
}

template <int N>
__device__ __forceinline__ cuda_generic_no_scale scale_of(const cuda_generic_matrix &, uint32_t,
                                                          uint32_t, cuda_generic_no_scale *)
{
    return cuda_generic_no_scale();
}

template <int N>
__device__ __forceinline__ cuda_generic_row_scale<N>
scale_of(const cuda_generic_matrix &w, uint32_t row, uint32_t last, cuda_generic_row_scale<N> *)
{
    cuda_generic_row_scale<N> s;
    s.grid = w.scale;
    s.block_cols = w.block_cols;
#pragma unroll
    for (uint32_t n = 0; n < N; n++) {
        s.row[n] = (row + min(n, last)) / w.block_rows * w.scale_cols;
    }
    return s;
}

template <class W, int N> struct scale_type {
    typedef cuda_generic_no_scale type;
};

template <int N> struct scale_type<cuda_generic_e4m3, N> {
    typedef cuda_generic_row_scale<N> type;
};

/* While the kernel in front still runs: the first 4 KiB of each weight row to the second-level cache. */
template <class W, int N>
__device__ __forceinline__ void fetch_early(const cuda_generic_matrix &w, uint32_t row,
                                            uint32_t lane)
{
    uint32_t k = lane * (128 / (uint32_t)sizeof(typename W::raw));
#pragma unroll
    for (uint32_t n = 0; n < N; n++) {
        if (row + n < w.rows && k < w.cols) {
            const typename W::raw *at =
                (const typename W::raw *)w.data + (size_t)(row + n) * w.cols + k;
            asm volatile("prefetch.global.L2 [%0];" ::"l"(at));
        }
    }
}

/* warps_m of a block's warps lie along the rows, the others along the outputs. */
template <class W, int M, int N, bool VECTOR>
__global__ void __launch_bounds__(WARPS * 32, 2)
    product(const __grid_constant__ cuda_generic_product p,
            const __grid_constant__ cuda_generic_choices choices, uint32_t warps_m)
{
    uint32_t warp = threadIdx.x / 32;
    uint32_t lane = threadIdx.x % 32;
    uint32_t warps_n = WARPS / warps_m;
    grid_part part = part_of(p);
    uint32_t output = (blockIdx.y * warps_n + warp % warps_n) * N;
    uint32_t w_row = p.w_first + part.head * p.w_head + output;
    if (M * N <= 32 && p.choices == NULL && output < part.outputs) {
        fetch_early<W, N>(part.job->w, w_row, lane);
    }
    cuda_chain_wait();
    cuda_chain_release();
    taken_rows t = take(p, choices, blockIdx.x * warps_m + warp / warps_n, M);
    if (t.count == 0 || output >= part.outputs) {
        return;
    }
    cuda_generic_matrix w = weight_of(*part.job, t.expert);
    uint32_t last = part.outputs - output - 1; /* outputs past the last one repeat it */
    uint32_t w_at[N];
    uint32_t x_at[M];
#pragma unroll
    for (uint32_t n = 0; n < N; n++) {
        w_at[n] = min(n, last) * w.cols;
    }
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
        x_at[m] = t.row(m) / p.x_divisor * p.x_stride;
    }
    float acc[M * N];
#pragma unroll
    for (int i = 0; i < M * N; i++) {
        acc[i] = 0;
    }
    typename scale_type<W, N>::type *tag = NULL;
    const auto scale = scale_of<N>(w, w_row, last, tag);
    const float *x = p.x + (size_t)part.head * p.x_head;
    const typename W::raw *from = (const typename W::raw *)w.data + (size_t)w_row * w.cols;
    if (VECTOR) {
        cuda_generic_dot<W, M, N>(acc, x, x_at, from, w_at, w.cols, lane, scale);
    } else {
        cuda_generic_dot_odd<W, M, N>(acc, x, x_at, from, w_at, w.cols, lane, scale);
    }
    store<M, N>(p, part, t, acc, output);
}

/* ---- Launches ---- */

template <class W, int M, int N, bool VECTOR>
cudaError_t launch(const cuda_generic_product *p, uint32_t tiles, cudaStream_t stream)
{
    uint32_t warps_m = p->choices != NULL || N == 1 || tiles == 1 ? 1 : 2;
    cuda_shape shape = {grid_of(p, tiles, warps_m, WARPS / warps_m * N), dim3(WARPS * 32), 0};
    cuda_generic_choices none = {};
    return cuda_launch(product<W, M, N, VECTOR>, shape, stream, *p,
                       p->choices == NULL ? none : *p->choices, warps_m);
}

bool is_even(const cuda_generic_product *p)
{
    bool even = true;
    for (uint32_t j = 0; j < p->jobs; j++) {
        const cuda_generic_matrix &w = p->job[j].w;
        even = even && w.cols % 4 == 0 && (w.type != CUDA_GENERIC_E4M3 || w.block_cols % 4 == 0);
    }
    return even;
}

uint32_t tiles_of(uint32_t rows, uint32_t each)
{
    return (rows + each - 1) / each;
}

template <class W> cudaError_t run_experts(const cuda_generic_product *p, cudaStream_t stream)
{
    uint32_t height = cuda_generic_tile_height(p->entries_max);
    uint32_t tiles = cuda_generic_tiles_max(p->entries_max, p->routed);
    if (!is_even(p)) {
        return height == 1 ? launch<W, 1, 1, false>(p, tiles, stream)
                           : launch<W, 8, 1, false>(p, tiles, stream);
    }
    if (height == 1) {
        return launch<W, 1, 4, true>(p, tiles, stream);
    }
    return launch<W, 8, 8, true>(p, tiles, stream);
}

template <class W> cudaError_t run(const cuda_generic_product *p, cudaStream_t stream)
{
    if (p->choices != NULL) {
        return run_experts<W>(p, stream);
    }
    if (!is_even(p)) {
        return launch<W, 8, 1, false>(p, tiles_of(p->rows, 8), stream);
    }
    if (p->rows == 1) {
        return launch<W, 1, 4, true>(p, 1, stream);
    }
    if (p->rows <= 4) {
        return launch<W, 4, 4, true>(p, 1, stream);
    }
    if (p->rows <= 16) {
        return launch<W, 8, 4, true>(p, tiles_of(p->rows, 8), stream);
    }
    return launch<W, 8, 8, true>(p, tiles_of(p->rows, 8), stream);
}

} // namespace

cudaError_t cuda_generic_product_run(const cuda_generic_product *p, cudaStream_t stream)
{
    switch (p->job[0].w.type) {
    case CUDA_GENERIC_F32:
        return run<cuda_generic_f32>(p, stream);
    case CUDA_GENERIC_BF16:
        return run<cuda_generic_bf16>(p, stream);
    case CUDA_GENERIC_F16:
        return run<cuda_generic_f16>(p, stream);
    case CUDA_GENERIC_E4M3:
        return run<cuda_generic_e4m3>(p, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
