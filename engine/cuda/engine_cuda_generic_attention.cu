/* Attention over the paged cache for heads of any size. A block takes up to QUERIES queries that share a key head: heads
 * of a row, and rows of a group. Keys come in blocks of 64 positions: scores (a warp makes those of 8 keys), the running
 * softmax of each query, then the values. A run of 512 positions is summed by itself; runs are merged from the left,
 * either here or, when a batch has few rows, from states that other blocks have left. */
#include "engine_cuda_generic_dot.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

namespace
{

enum {
    QUERIES = 16,
    BLOCK_KEYS = 64,
    WARPS = 8,
    THREADS = WARPS * 32,
    SCORE_QUERIES = 4,
    SCORE_KEYS = BLOCK_KEYS / WARPS,
    MIX_QUERIES = 4,
    PART_KEYS = 8,
    SHARED_MAX = 96 * 1024, /* what every GPU from sm_80 on lets a block have */
    STATES_MAX = 256,       /* rows times runs that may wait for the merge */
    MERGE_THREADS = 128
};

struct shape {
    uint32_t queries;   /* of a block, at most */
    uint32_t heads;     /* of a key head that share a block */
    uint32_t groups;    /* blocks that a key head's heads need */
    uint32_t score_row; /* numbers of a query in shared memory */
    uint32_t value_row;
};

uint32_t up(uint32_t n, uint32_t each)
{
    return (n + each - 1) / each * each;
}

size_t shared_bytes(const shape &s)
{
    size_t parts = s.value_row / 4 * (BLOCK_KEYS / PART_KEYS) <= THREADS
                       ? THREADS * MIX_QUERIES * 4
                       : 0; /* else no work is small enough to be spread */
    return ((size_t)s.queries * (s.score_row + s.value_row + BLOCK_KEYS + 5) + parts) *
           sizeof(float);
}

/* queries == 0: heads are too large. */
shape shape_of(uint32_t heads, uint32_t kv_heads, uint32_t score_cols, uint32_t value_cols)
{
    uint32_t sharing = heads / kv_heads;
    shape s = {QUERIES, 0, 0, up(score_cols, 4), up(value_cols, 4)};
    while (s.queries > 0 && shared_bytes(s) > SHARED_MAX) {
        s.queries--;
    }
    if (s.queries > 0) {
        s.heads = sharing < s.queries ? sharing : s.queries;
        s.groups = (sharing + s.heads - 1) / s.heads;
    }
    return s;
}

/* A block's part of shared memory. */
struct work {
    float *parts;  /* THREADS times four columns of four queries, where shared_bytes() says so */
    float *q;      /* [query][score_row] */
    float *sum;    /* [query][value_row]: of the run, before division */
    float *scores; /* [query][64], then their weights */
    float *max;    /* of the run */
    float *total;
    float *keep;    /* what the block's new maximum leaves of the sums so far */
    float *old_max; /* of the runs before */
    float *old_total;
};

__device__ __forceinline__ work lay_out(float *at, const shape &s)
{
    work w;
    bool spreads = s.value_row / 4 * (BLOCK_KEYS / PART_KEYS) <= THREADS;
    w.parts = at;
    w.q = at + (spreads ? THREADS * MIX_QUERIES * 4 : 0);
    w.sum = w.q + s.queries * s.score_row;
    w.scores = w.sum + s.queries * s.value_row;
    w.max = w.scores + s.queries * BLOCK_KEYS;
    w.total = w.max + s.queries;
    w.keep = w.total + s.queries;
    w.old_max = w.keep + s.queries;
    w.old_total = w.old_max + s.queries;
    return w;
}

/* The queries of a block: query i is head `head + i % heads` of row `row + i / heads`. */
struct queries {
    uint32_t row;
    uint32_t rows;
    uint32_t kv_head;
    uint32_t head;
    uint32_t heads;
    uint32_t count;
    uint32_t position; /* of the first row */
    const uint32_t *pages;

    __device__ __forceinline__ uint32_t row_of(uint32_t i) const { return row + i / heads; }

    __device__ __forceinline__ uint32_t head_of(uint32_t i) const { return head + i % heads; }

    __device__ __forceinline__ uint32_t position_of(uint32_t i) const
    {
        return position + i / heads;
    }
};

__device__ __forceinline__ queries queries_of(const cuda_generic_attention &p, const shape &s)
{
    cuda_generic_rows group = p.groups[blockIdx.x];
    uint32_t sharing = p.heads / p.kv_heads;
    uint32_t first = blockIdx.y % s.groups * s.heads;
    queries q;
    q.row = group.row;
    q.rows = group.rows;
    q.kv_head = blockIdx.y / s.groups;
    q.head = q.kv_head * sharing + first;
    q.heads = min(sharing - first, s.heads);
    q.count = q.rows * q.heads;
    q.position = p.position[group.row];
    q.pages = p.pages + (size_t)p.sequence[group.row] * p.page_stride;
    return q;
}

__device__ void load_queries(const cuda_generic_attention &p, const shape &s, const queries &q,
                             const work &w)
{
    for (uint32_t i = threadIdx.x; i < q.count * s.score_row; i += THREADS) {
        uint32_t query = i / s.score_row;
        uint32_t k = i % s.score_row;
        const float *from =
            p.q + (size_t)q.row_of(query) * p.q_stride + (size_t)q.head_of(query) * p.q_head;
        w.q[i] = k < p.score_cols ? from[k] : 0;
    }
}

/* Scores of queries i .. i + M - 1 with this warp's keys; keys from `n` on repeat the last one, for nothing. */
template <class C, int M>
__device__ __forceinline__ void score(const cuda_generic_attention &p, const shape &s,
                                      const queries &q, const work &w, uint32_t i,
                                      const typename C::raw *keys, uint32_t n)
{
    uint32_t lane = threadIdx.x % 32;
    uint32_t key = threadIdx.x / 32 * SCORE_KEYS;
    uint32_t x_at[M];
    uint32_t w_at[SCORE_KEYS];
    float acc[M * SCORE_KEYS];
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
        x_at[m] = min(i + m, q.count - 1) * s.score_row;
    }
#pragma unroll
    for (uint32_t j = 0; j < SCORE_KEYS; j++) {
        w_at[j] = min(key + j, n - 1) * p.cache.pitch;
    }
#pragma unroll
    for (int j = 0; j < M * SCORE_KEYS; j++) {
        acc[j] = 0;
    }
    cuda_generic_dot<C, M, SCORE_KEYS>(acc, w.q, x_at, keys, w_at, s.score_row, lane,
                                       cuda_generic_no_scale());
    uint32_t at = cuda_generic_fold<M * SCORE_KEYS>(acc, lane);
    uint32_t query = i + at / SCORE_KEYS;
    if (cuda_generic_stores<M * SCORE_KEYS>(lane) && query < q.count) {
        w.scores[query * BLOCK_KEYS + key + at % SCORE_KEYS] = acc[0] * p.scale;
    }
}

__device__ __forceinline__ float warp_max(float v)
{
#pragma unroll
    for (int distance = 16; distance >= 1; distance /= 2) {
        v = fmaxf(v, __shfl_xor_sync(0xffffffffu, v, distance));
    }
    return v;
}

__device__ __forceinline__ float warp_sum(float v)
{
    float one[1] = {v};
    cuda_generic_fold<1>(one, 0);
    return one[0];
}

/* Scores become weights; a warp for each query. Keys that the query must not see weigh nothing. */
__device__ void soften(const queries &q, const work &w, uint32_t from)
{
    uint32_t lane = threadIdx.x % 32;
    for (uint32_t i = threadIdx.x / 32; i < q.count; i += WARPS) {
        float *row = w.scores + i * BLOCK_KEYS;
        uint32_t position = q.position_of(i);
        bool sees[2] = {from + lane <= position, from + 32 + lane <= position};
        float max = w.max[i];
        float block =
            warp_max(fmaxf(sees[0] ? row[lane] : -INFINITY, sees[1] ? row[32 + lane] : -INFINITY));
        float next = fmaxf(max, block);
        float a = sees[0] ? expf(row[lane] - next) : 0;
        float b = sees[1] ? expf(row[32 + lane] - next) : 0;
        float sum = warp_sum(a + b);
        float keep = max == next ? 1 : expf(max - next);
        row[lane] = a;
        row[32 + lane] = b;
        __syncwarp();
        if (lane == 0) {
            w.max[i] = next;
            w.total[i] = fmaf(w.total[i], keep, sum);
            w.keep[i] = keep;
        }
    }
}

/* Weights x values of the PART_KEYS keys of a part, as far as there are n: four columns of M queries. */
template <class C, int M>
__device__ __forceinline__ void mix_part(float (&acc)[M][4], const float *(&weights)[M],
                                         const typename C::raw *values, uint32_t pitch,
                                         uint32_t part, uint32_t n)
{
    typename C::pack packs[PART_KEYS];
#pragma unroll
    for (uint32_t i = 0; i < PART_KEYS; i++) {
        uint32_t j = min(part * PART_KEYS + i, n - 1);
        packs[i] = *(const typename C::pack *)(values + (size_t)j * pitch);
    }
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            acc[m][i] = 0;
        }
    }
#pragma unroll
    for (uint32_t i = 0; i < PART_KEYS; i++) {
        uint32_t j = part * PART_KEYS + i;
        float v[4];
        C::unpack(v, packs[i]);
#pragma unroll
        for (int m = 0; m < M; m++) {
            float weight = j < n ? weights[m][j] : 0;
#pragma unroll
            for (int c = 0; c < 4; c++) {
                acc[m][c] = fmaf(weight, v[c], acc[m][c]);
            }
        }
    }
}

__device__ __forceinline__ float4 keep_and_add(float4 sum, float keep, float4 part)
{
    return make_float4(fmaf(sum.x, keep, part.x), fmaf(sum.y, keep, part.y),
                       fmaf(sum.z, keep, part.z), fmaf(sum.w, keep, part.w));
}

/* sum = sum * keep + (the parts' sums, added in ascending order). A unit is four columns of M queries; where there are
 * few, each thread makes one part of one unit, else all parts of some units: the same additions. */
template <class C, int M>
__device__ void mix(const cuda_generic_attention &p, const shape &s, const queries &q,
                    const work &w, const typename C::raw *values, uint32_t n)
{
    uint32_t columns = s.value_row / 4;
    uint32_t units = columns * ((q.count + M - 1) / M);
    uint32_t parts = (n + PART_KEYS - 1) / PART_KEYS;
    bool spread = units * (BLOCK_KEYS / PART_KEYS) <= THREADS;
    uint32_t part = spread ? threadIdx.x / units : 0;
    for (uint32_t u = spread ? threadIdx.x % units : threadIdx.x; u < units && part < parts;
         u += spread ? units : THREADS) {
        uint32_t c = u % columns * 4;
        uint32_t query[M];
        const float *weights[M];
        float total[M][4];
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            query[m] = min(u / columns * M + m, q.count - 1);
            weights[m] = w.scores + query[m] * BLOCK_KEYS;
        }
        mix_part<C, M>(total, weights, values + c, p.cache.pitch, part, n);
        for (uint32_t i = 1; i < parts && !spread; i++) {
            float next[M][4];
            mix_part<C, M>(next, weights, values + c, p.cache.pitch, i, n);
#pragma unroll
            for (int m = 0; m < M; m++) {
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    total[m][j] += next[m][j];
                }
            }
        }
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            float4 t = make_float4(total[m][0], total[m][1], total[m][2], total[m][3]);
            float4 *sum = (float4 *)(w.sum + query[m] * s.value_row + c);
            if (spread) {
                ((float4 *)w.parts)[(part * M + m) * units + u] = t;
            } else if (u / columns * M + m < q.count) {
                *sum = keep_and_add(*sum, w.keep[query[m]], t);
            }
        }
    }
    if (!spread) {
        return;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < columns * q.count; i += THREADS) {
        uint32_t query = i / columns;
        uint32_t u = query / M * columns + i % columns;
        const float4 *from = (const float4 *)w.parts + query % M * units + u;
        float4 t = from[0];
        for (uint32_t k = 1; k < parts; k++) {
            float4 next = from[(size_t)k * M * units];
            t = make_float4(t.x + next.x, t.y + next.y, t.z + next.z, t.w + next.w);
        }
        float4 *sum = (float4 *)w.sum + i;
        *sum = keep_and_add(*sum, w.keep[query], t);
    }
}

/* Has the first n items at `from` come to the second-level cache while something else is done. */
template <class C>
__device__ __forceinline__ void fetch(const typename C::raw *from, uint32_t pitch, uint32_t n)
{
    const uint32_t line = 128 / sizeof(typename C::raw);
    for (uint32_t i = threadIdx.x * line; i < n * pitch; i += THREADS * line) {
        asm volatile("prefetch.global.L2 [%0];" ::"l"(from + i));
    }
}

/* One block of 64 positions, from `from` on. */
template <class C>
__device__ void take_block(const cuda_generic_attention &p, const shape &s, const queries &q,
                           const work &w, uint32_t from, uint32_t end)
{
    const typename C::raw *base = (const typename C::raw *)p.cache.base;
    uint32_t page = q.pages[from / BLOCK_KEYS];
    uint32_t n = min(q.position + q.rows - from, (uint32_t)BLOCK_KEYS);
    const typename C::raw *keys = base + cuda_generic_item(p.cache, page, p.layer, q.kv_head, 0);
    const typename C::raw *values =
        base + cuda_generic_item(p.cache, page, p.layer, p.value_part + q.kv_head, 0);
    if (values != keys) {
        fetch<C>(values, p.cache.pitch, n);
    }
    if (from + BLOCK_KEYS < end) {
        page = q.pages[from / BLOCK_KEYS + 1];
        fetch<C>(base + cuda_generic_item(p.cache, page, p.layer, q.kv_head, 0), p.cache.pitch,
                 min(end - from - BLOCK_KEYS, (uint32_t)BLOCK_KEYS));
    }
    if (threadIdx.x / 32 * SCORE_KEYS < n) {
        if (q.count == 1) {
            score<C, 1>(p, s, q, w, 0, keys, n);
        } else {
            for (uint32_t i = 0; i < q.count; i += SCORE_QUERIES) {
                score<C, SCORE_QUERIES>(p, s, q, w, i, keys, n);
            }
        }
    }
    __syncthreads();
    soften(q, w, from);
    __syncthreads();
    if (q.count == 1) {
        mix<C, 1>(p, s, q, w, values, n);
    } else {
        mix<C, MIX_QUERIES>(p, s, q, w, values, n);
    }
    __syncthreads();
}

/* How a state so far (max a, total ta) and the next run's (b, tb) become one. */
struct merging {
    float max;
    float total;
    float left; /* what the sums are multiplied with */
    float right;
};

__device__ __forceinline__ merging merge(float a, float ta, float b, float tb)
{
    merging r;
    r.max = fmaxf(a, b);
    r.left = expf(a - r.max);
    r.right = expf(b - r.max);
    r.total = fmaf(ta, r.left, tb * r.right);
    return r;
}

__device__ __forceinline__ float merged(const merging &r, float left, float right)
{
    return fmaf(left, r.left, right * r.right);
}

/* The run's sums join those of the runs before, which wait in `out`. Queries whose last run was an earlier one keep what
 * they have. */
__device__ void join(const cuda_generic_attention &p, const shape &s, const queries &q,
                     const work &w, uint32_t run)
{
    uint32_t from = run * CUDA_GENERIC_RUN_TOKENS;
    for (uint32_t u = threadIdx.x; u < q.count * p.value_cols; u += THREADS) {
        uint32_t i = u / p.value_cols;
        uint32_t c = u % p.value_cols;
        float *out =
            p.out + (size_t)q.row_of(i) * p.out_stride + (size_t)q.head_of(i) * p.out_head + c;
        float sum = w.sum[i * s.value_row + c];
        if (q.position_of(i) < from) {
            continue;
        }
        *out = run == 0
                   ? sum
                   : merged(merge(w.old_max[i], w.old_total[i], w.max[i], w.total[i]), *out, sum);
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < q.count; i += THREADS) {
        if (q.position_of(i) < from) {
            continue;
        }
        merging r = merge(w.old_max[i], w.old_total[i], w.max[i], w.total[i]);
        w.old_max[i] = run == 0 ? w.max[i] : r.max;
        w.old_total[i] = run == 0 ? w.total[i] : r.total;
    }
    __syncthreads();
}

__device__ void divide(const cuda_generic_attention &p, const queries &q, const work &w)
{
    for (uint32_t u = threadIdx.x; u < q.count * p.value_cols; u += THREADS) {
        uint32_t i = u / p.value_cols;
        float *out = p.out + (size_t)q.row_of(i) * p.out_stride +
                     (size_t)q.head_of(i) * p.out_head + u % p.value_cols;
        *out /= w.old_total[i];
    }
}

/* A state: the sums, then maximum and total; [row][head][run]. */
__device__ void leave_states(const cuda_generic_attention &p, const shape &s, const queries &q,
                             const work &w, uint32_t run, uint32_t runs)
{
    uint32_t width = s.value_row + 4;
    for (uint32_t u = threadIdx.x; u < q.count * (s.value_row + 2); u += THREADS) {
        uint32_t i = u / (s.value_row + 2);
        uint32_t c = u % (s.value_row + 2);
        size_t at = ((size_t)q.row_of(i) * p.heads + q.head_of(i)) * runs + run;
        p.states[at * width + c] = c < s.value_row    ? w.sum[i * s.value_row + c]
                                   : c == s.value_row ? w.max[i]
                                                      : w.total[i];
    }
}

template <class C>
__device__ void take_run(const cuda_generic_attention &p, const shape &s, const queries &q,
                         const work &w, uint32_t run)
{
    for (uint32_t i = threadIdx.x; i < q.count * s.value_row; i += THREADS) {
        w.sum[i] = 0;
    }
    for (uint32_t i = threadIdx.x; i < q.count; i += THREADS) {
        w.max[i] = -INFINITY;
        w.total[i] = 0;
    }
    __syncthreads();
    uint32_t end = min((run + 1) * CUDA_GENERIC_RUN_TOKENS, q.position + q.rows);
    for (uint32_t from = run * CUDA_GENERIC_RUN_TOKENS; from < end; from += BLOCK_KEYS) {
        take_block<C>(p, s, q, w, from, end);
    }
}

/* blockIdx: x group of rows, y key head and part of its heads, z run when runs > 0 (states are left), else 0. */
template <class C>
__global__ void __launch_bounds__(THREADS, 2)
    attention(const __grid_constant__ cuda_generic_attention p, shape s, uint32_t runs)
{
    extern __shared__ float4 memory[];
    cuda_chain_wait();
    cuda_chain_release();
    if (blockIdx.x >= *p.group_count) {
        return;
    }
    queries q = queries_of(p, s);
    work w = lay_out((float *)memory, s);
    uint32_t last = (q.position + q.rows - 1) / CUDA_GENERIC_RUN_TOKENS;
    if (blockIdx.z > last) {
        return;
    }
    load_queries(p, s, q, w);
    if (runs != 0) {
        take_run<C>(p, s, q, w, blockIdx.z);
        leave_states(p, s, q, w, blockIdx.z, runs);
        return;
    }
    for (uint32_t run = 0; run <= last; run++) {
        take_run<C>(p, s, q, w, run);
        join(p, s, q, w, run);
    }
    divide(p, q, w);
}

/* blockIdx: x row, y head. */
__global__ void __launch_bounds__(MERGE_THREADS)
    merge_states(const __grid_constant__ cuda_generic_attention p, uint32_t value_row,
                 uint32_t runs, const uint32_t *active)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    if (row >= *active) {
        return;
    }
    uint32_t width = value_row + 4;
    uint32_t last = p.position[row] / CUDA_GENERIC_RUN_TOKENS;
    const float *state = p.states + ((size_t)row * p.heads + blockIdx.y) * runs * width;
    float *out = p.out + (size_t)row * p.out_stride + (size_t)blockIdx.y * p.out_head;
    for (uint32_t c = threadIdx.x; c < p.value_cols; c += MERGE_THREADS) {
        float sum = state[c];
        float max = state[value_row];
        float total = state[value_row + 1];
        for (uint32_t run = 1; run <= last; run++) {
            const float *next = state + (size_t)run * width;
            merging r = merge(max, total, next[value_row], next[value_row + 1]);
            sum = merged(r, sum, next[c]);
            max = r.max;
            total = r.total;
        }
        out[c] = sum / total;
    }
}

template <class C> cudaError_t run(const cuda_generic_attention *p, cudaStream_t stream)
{
    shape s = shape_of(p->heads, p->kv_heads, p->score_cols, p->value_cols);
    uint32_t runs =
        (p->page_stride * BLOCK_KEYS + CUDA_GENERIC_RUN_TOKENS - 1) / CUDA_GENERIC_RUN_TOKENS;
    bool split = runs > 1 && (size_t)runs * p->rows <= STATES_MAX;
    cuda_shape launch = {dim3(p->rows, p->kv_heads * s.groups, split ? runs : 1), dim3(THREADS),
                         shared_bytes(s)};
    cudaError_t e = cuda_launch(attention<C>, launch, stream, *p, s, split ? runs : 0U);
    if (e != cudaSuccess || !split) {
        return e;
    }
    cuda_shape merging = {dim3(p->rows, p->heads), dim3(MERGE_THREADS), 0};
    return cuda_launch(merge_states, merging, stream, *p, s.value_row, runs, p->active);
}

/* ---- Queries into the latent space ---- */

enum { ABSORB_ROWS = 8, ABSORB_COLS = 4, ABSORB_THREADS = 128 };

template <class W>
__device__ __forceinline__ float scale_at(const cuda_generic_matrix &, uint32_t, uint32_t)
{
    return 1;
}

template <>
__device__ __forceinline__ float scale_at<cuda_generic_e4m3>(const cuda_generic_matrix &w,
                                                             uint32_t row, uint32_t column)
{
    return __ldg(w.scale + (size_t)(row / w.block_rows) * w.scale_cols + column / w.block_cols);
}

/* A thread makes four columns of eight rows; the sum over a head's rows of w is ascending. blockIdx: x rows, y head,
 * z columns. */
template <class W>
__global__ void __launch_bounds__(ABSORB_THREADS)
    absorb(const __grid_constant__ cuda_generic_absorb p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t rows = min(p.rows, *p.active);
    uint32_t first = blockIdx.x * ABSORB_ROWS;
    uint32_t c = (blockIdx.z * ABSORB_THREADS + threadIdx.x) * ABSORB_COLS;
    if (first >= rows || c >= p.w.cols) {
        return;
    }
    const typename W::raw *w =
        (const typename W::raw *)p.w.data + (size_t)blockIdx.y * p.w_head * p.w.cols;
    const float *q = p.q + (size_t)blockIdx.y * p.q_head;
    float *out = p.out + (size_t)blockIdx.y * p.out_head;
    uint32_t q_at[ABSORB_ROWS];
    float acc[ABSORB_ROWS][ABSORB_COLS] = {};
#pragma unroll
    for (uint32_t m = 0; m < ABSORB_ROWS; m++) {
        q_at[m] = min(first + m, rows - 1) * p.q_stride;
    }
#pragma unroll 4
    for (uint32_t i = 0; i < p.nope; i++) {
        float ws[ABSORB_COLS];
#pragma unroll
        for (uint32_t j = 0; j < ABSORB_COLS; j++) {
            uint32_t column = min(c + j, p.w.cols - 1);
            ws[j] = W::one(w + (size_t)i * p.w.cols + column) *
                    scale_at<W>(p.w, blockIdx.y * p.w_head + i, column);
        }
#pragma unroll
        for (int m = 0; m < ABSORB_ROWS; m++) {
            float x = q[q_at[m] + i];
#pragma unroll
            for (int j = 0; j < ABSORB_COLS; j++) {
                acc[m][j] = fmaf(x, ws[j], acc[m][j]);
            }
        }
    }
    for (uint32_t m = 0; m < ABSORB_ROWS && first + m < rows; m++) {
        for (uint32_t j = 0; j < ABSORB_COLS && c + j < p.w.cols; j++) {
            out[(size_t)(first + m) * p.out_stride + c + j] = acc[m][j];
        }
    }
}

template <class W> cudaError_t run_absorb(const cuda_generic_absorb *p, cudaStream_t stream)
{
    uint32_t cols = ABSORB_THREADS * ABSORB_COLS;
    cuda_shape shape = {
        dim3((p->rows + ABSORB_ROWS - 1) / ABSORB_ROWS, p->heads, (p->w.cols + cols - 1) / cols),
        dim3(ABSORB_THREADS), 0};
    return cuda_launch(absorb<W>, shape, stream, *p);
}

} // namespace

uint32_t cuda_generic_attention_rows(uint32_t heads, uint32_t kv_heads, uint32_t score_cols,
                                     uint32_t value_cols)
{
    shape s = shape_of(heads, kv_heads, score_cols, value_cols);
    return s.queries == 0 ? 0 : s.queries / s.heads;
}

size_t cuda_generic_state_numbers(uint32_t heads, uint32_t value_cols)
{
    return (size_t)STATES_MAX * heads * (up(value_cols, 4) + 4);
}

cudaError_t cuda_generic_attention_prepare(void)
{
    cudaError_t e = cudaFuncSetAttribute(attention<cuda_generic_f32>,
                                         cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_MAX);
    return e != cudaSuccess
               ? e
               : cudaFuncSetAttribute(attention<cuda_generic_bf16>,
                                      cudaFuncAttributeMaxDynamicSharedMemorySize, SHARED_MAX);
}

cudaError_t cuda_generic_attention_run(const cuda_generic_attention *p, cudaStream_t stream)
{
    return p->cache.bf16 ? run<cuda_generic_bf16>(p, stream) : run<cuda_generic_f32>(p, stream);
}

cudaError_t cuda_generic_absorb_run(const cuda_generic_absorb *p, cudaStream_t stream)
{
    switch (p->w.type) {
    case CUDA_GENERIC_F32:
        return run_absorb<cuda_generic_f32>(p, stream);
    case CUDA_GENERIC_BF16:
        return run_absorb<cuda_generic_bf16>(p, stream);
    case CUDA_GENERIC_F16:
        return run_absorb<cuda_generic_f16>(p, stream);
    case CUDA_GENERIC_E4M3:
        return run_absorb<cuda_generic_e4m3>(p, stream);
    default:
        return cudaErrorInvalidValue;
    }
}
