#include "engine_cuda_sampler_internal.cuh"

#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

using namespace cuda_sampling;

namespace
{

enum { THREADS = 256 };

static_assert(CHUNKS_MAX == 4 * 32, "a lane has four chunks");

/* engine_uniform() of engine_random.c */
__device__ double uniform(uint64_t key, uint32_t position)
{
    uint32_t c[4] = {position, 0, 0, 0};
    uint32_t low = (uint32_t)key;
    uint32_t high = (uint32_t)(key >> 32);
#pragma unroll
    for (int i = 0; i < 10; i++) {
        uint32_t h0 = __umulhi(0xD2511F53u, c[0]);
        uint32_t l0 = 0xD2511F53u * c[0];
        uint32_t h1 = __umulhi(0xCD9E8D57u, c[2]);
        uint32_t l1 = 0xCD9E8D57u * c[2];
        c[0] = h1 ^ c[1] ^ low;
        c[1] = l1;
        c[2] = h0 ^ c[3] ^ high;
        c[3] = l0;
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    uint64_t bits = (uint64_t)(c[0] >> 5) << 26 | c[1] >> 6;
    return (double)bits * 0x1p-53;
}

__device__ __forceinline__ unsigned long long ranked(float logit, uint32_t id)
{
    return (unsigned long long)key_of(logit) << 32 | (uint32_t)~id;
}

/* blockIdx: chunk, row */
__global__ void __launch_bounds__(THREADS) scan_kernel(const __grid_constant__ arguments a)
{
    __shared__ unsigned long long part[THREADS / 32];
    cuda_chain_wait();
    cuda_chain_release();
    const float *row = a.op.logits + (size_t)blockIdx.y * a.op.vocab;
    float4 v[CHUNK / THREADS / 4];
    uint32_t first = blockIdx.x * CHUNK + threadIdx.x * 4;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK / THREADS / 4; i++) {
        v[i] = load4(row, first + i * THREADS * 4, a.op.vocab);
    }
    if (a.op.cuts && blockIdx.x == 0 && blockIdx.y == 0) {
        for (uint32_t i = threadIdx.x; i < a.op.draw_count; i += THREADS) {
            a.s.states[i] = {};
        }
    }
    unsigned long long best = 0;
    bool damaged = false;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK / THREADS / 4; i++) {
        float l[4] = {v[i].x, v[i].y, v[i].z, v[i].w};
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            damaged |= l[j] != l[j];
            best = greater(best, ranked(l[j], first + i * THREADS * 4 + j));
        }
    }
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        best = greater(best, __shfl_xor_sync(ALL, best, distance));
    }
    if (threadIdx.x % 32 == 0) {
        part[threadIdx.x / 32] = best;
    }
    int any = __syncthreads_or(damaged);
    if (threadIdx.x == 0) {
        for (int i = 1; i < THREADS / 32; i++) {
            best = greater(best, part[i]);
        }
        row_part out = {best, any != 0 ? 1u : 0u, 0};
        a.s.rows[(size_t)blockIdx.y * a.chunks + blockIdx.x] = out;
    }
}

/* ---- Weights ---- */

struct filter { /* which weights take part in a draw */
    limit cut;
    float min_p;
};

__device__ __forceinline__ filter filter_of(const arguments &a, uint32_t draw)
{
    filter f = {{0, UINT32_MAX}, a.op.draws[draw].min_p};
    if (a.op.cuts) {
        f.cut = a.s.limits[draw];
    }
    return f;
}

__device__ __forceinline__ float kept_weight(const filter &f, float logit, uint32_t id, float w)
{
    return w > 0 && w >= f.min_p && within(f.cut, logit, id) ? w : 0.0f;
}

/* blockIdx: chunk, draw. The weights at temperature 1 are of the log-probability only: the hardware's exponential, and
 * float32 for eight at a time, are exact enough (1e-7). */
__global__ void __launch_bounds__(THREADS) weigh_kernel(const __grid_constant__ arguments a)
{
    __shared__ double part[2][THREADS / 32];
    cuda_chain_wait();
    cuda_chain_release();
    const engine_draw &d = a.op.draws[blockIdx.y];
    const float *row = a.op.logits + (size_t)d.logit * a.op.vocab;
    float4 v[CHUNK / THREADS / 4];
    uint32_t first = blockIdx.x * CHUNK + threadIdx.x * 4;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK / THREADS / 4; i++) {
        v[i] = load4(row, first + i * THREADS * 4, a.op.vocab);
    }
    row_top top = top_of(a, d.logit);
    filter f = filter_of(a, blockIdx.y);
    uint32_t best = (uint32_t)(a.s.rows[(size_t)d.logit * a.chunks + blockIdx.x].best >> 32);
    bool draws = draws_one(d) && best >= f.cut.key; /* else the chunk has nothing to give */
    float scale = scale_of(d.temperature);
    double kept = 0;
    float all = 0;
#pragma unroll
    for (uint32_t i = 0; i < CHUNK / THREADS / 4; i++) {
        float l[4] = {v[i].x, v[i].y, v[i].z, v[i].w};
#pragma unroll
        for (uint32_t j = 0; j < 4; j++) {
            all += __expf(l[j] - top.max);
            if (draws) {
                float w = weight_of(scaled(l[j], top.max, scale));
                kept += (double)kept_weight(f, l[j], first + i * THREADS * 4 + j, w);
            }
        }
    }
    double sums[2] = {draws ? warp_sum(kept) : 0, warp_sum((double)all)};
    if (threadIdx.x % 32 == 0) {
        part[0][threadIdx.x / 32] = sums[0];
        part[1][threadIdx.x / 32] = sums[1];
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        draw_part out = {0, 0};
        for (int i = 0; i < THREADS / 32; i++) {
            out.kept += part[0][i];
            out.all += part[1][i];
        }
        a.s.draws[(size_t)blockIdx.y * a.chunks + blockIdx.x] = out;
    }
}

/* ---- The draw ---- */

struct landing { /* where a draw lands */
    uint32_t chunk;
    double before; /* weights of the chunks in front */
    double target;
};

/* A warp. Lane l has chunks 4 l .. 4 l + 3. */
__device__ landing land(const draw_part *parts, uint32_t chunks, double u)
{
    uint32_t lane = threadIdx.x % 32;
    double w[4];
    double sum = 0;
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        w[i] = 4 * lane + i < chunks ? parts[4 * lane + i].kept : 0;
        sum += w[i];
    }
    double end = warp_scan(sum);
    double target = u * __shfl_sync(ALL, end, 31);
    double before = __shfl_up_sync(ALL, end, 1);
    before = lane == 0 ? 0 : before;
    uint32_t hit = UINT32_MAX; /* this lane's first chunk above the target */
    uint32_t last = 0;         /* its last chunk that holds anything, plus 1 */
    double at[4];
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        at[i] = before;
        before += w[i];
        hit = hit == UINT32_MAX && before > target && w[i] > 0 ? 4 * lane + i : hit;
        last = w[i] > 0 ? 4 * lane + i + 1 : last;
    }
    uint32_t chunk = __reduce_min_sync(ALL, hit);
    last = __reduce_max_sync(ALL, last);
    chunk = chunk == UINT32_MAX ? (last == 0 ? 0 : last - 1) : chunk;
    double mine = chunk % 4 == 0 ? at[0] : chunk % 4 == 1 ? at[1] : chunk % 4 == 2 ? at[2] : at[3];
    landing out = {chunk, __shfl_sync(ALL, mine, chunk / 4), target};
    return out;
}

/* A block: the id in the landing's chunk. Thread t has ids 8 t .. 8 t + 7 of it. */
__device__ uint32_t find_id(const arguments &a, uint32_t draw, const row_top &top, landing at,
                            double *part, uint32_t *found)
{
    const engine_draw &d = a.op.draws[draw];
    const float *row = a.op.logits + (size_t)d.logit * a.op.vocab;
    filter f = filter_of(a, draw);
    float scale = scale_of(d.temperature);
    uint32_t first = at.chunk * CHUNK + threadIdx.x * 8;
    float4 v[2] = {load4(row, first, a.op.vocab), load4(row, first + 4, a.op.vocab)};
    float l[8] = {v[0].x, v[0].y, v[0].z, v[0].w, v[1].x, v[1].y, v[1].z, v[1].w};
    float w[8];
    double sum = 0;
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        w[i] = kept_weight(f, l[i], first + i, weight_of(scaled(l[i], top.max, scale)));
        sum += (double)w[i];
    }
    if (threadIdx.x == 0) {
        found[0] = UINT32_MAX; /* the first id above the target */
        found[1] = 0;          /* the last id that was kept */
    }
    double running = at.before + (block_scan<THREADS / 32>(sum, part) - sum);
    uint32_t hit = UINT32_MAX;
    uint32_t last = 0;
#pragma unroll
    for (uint32_t i = 0; i < 8; i++) {
        running += (double)w[i];
        hit = hit == UINT32_MAX && w[i] > 0 && running > at.target ? first + i : hit;
        last = w[i] > 0 ? first + i : last;
    }
    hit = __reduce_min_sync(ALL, hit);
    last = __reduce_max_sync(ALL, last);
    if (threadIdx.x % 32 == 0) {
        atomicMin(&found[0], hit);
        atomicMax(&found[1], last);
    }
    __syncthreads();
    return found[0] == UINT32_MAX ? found[1] : found[0];
}

/* A block a draw. */
__global__ void __launch_bounds__(THREADS) draw_kernel(const __grid_constant__ arguments a)
{
    __shared__ double part[THREADS / 32];
    __shared__ uint32_t found[2];
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t draw = blockIdx.x;
    const engine_draw &d = a.op.draws[draw];
    const draw_part *parts = a.s.draws + (size_t)draw * a.chunks;
    row_top top = top_of(a, d.logit);
    uint32_t token = d.token == ENGINE_NO_TOKEN ? top.id : d.token;
    if (draws_one(d) && !top.damaged) {
        landing at = land(parts, a.chunks, uniform(d.key, d.position));
        token = find_id(a, draw, top, at, part, found);
    }
    if (threadIdx.x >= 32) {
        return;
    }
    double all = 0;
    for (uint32_t c = threadIdx.x; c < a.chunks; c += 32) {
        all += parts[c].all;
    }
    all = warp_sum(all);
    if (threadIdx.x == 0) {
        engine_drawn out = {d.token == ENGINE_NO_TOKEN ? 0 : d.token, nanf("")};
        if (!top.damaged) {
            float logit = a.op.logits[(size_t)d.logit * a.op.vocab + token];
            out.token = token;
            out.logprob = (float)((double)logit - (double)top.max - log(all));
        }
        a.op.drawn[draw] = out;
    }
}

uint32_t chunks_of(uint32_t vocab)
{
    return (vocab + CHUNK - 1) / CHUNK;
}

size_t lay_out(uint32_t vocab, uint32_t rows, size_t draws, void *base, space *out)
{
    size_t parts = draws > CUT_BLOCKS ? draws : (size_t)CUT_BLOCKS; /* of all draws */
    size_t sizes[6] = {(size_t)rows * chunks_of(vocab) * sizeof(row_part),
                       draws * chunks_of(vocab) * sizeof(draw_part),
                       draws * sizeof(limit),
                       draws * sizeof(cut_state),
                       parts * 2 * BINS * sizeof(uint32_t),
                       draws * LIST * sizeof(unsigned long long)};
    uint8_t *at[6];
    size_t used = 0;
    for (int i = 0; i < 6; i++) {
        at[i] = base == NULL ? NULL : (uint8_t *)base + used;
        used += (sizes[i] + 255) / 256 * 256;
    }
    if (base != NULL) {
        out->rows = (row_part *)at[0];
        out->draws = (draw_part *)at[1];
        out->limits = (limit *)at[2];
        out->states = (cut_state *)at[3];
        out->bins = (uint32_t *)at[4];
        out->lists = (unsigned long long *)at[5];
    }
    return used;
}

} // namespace

size_t cuda_sampler_bytes(uint32_t vocab, uint32_t rows_max, uint32_t draws_max)
{
    return lay_out(vocab, rows_max, draws_max, NULL, NULL);
}

bool cuda_sampler_cuts(const engine_draw *draws, uint32_t draw_count)
{
    for (uint32_t i = 0; i < draw_count; i++) {
        const engine_draw *d = &draws[i];
        if (d->token == ENGINE_NO_TOKEN && d->temperature != 0 &&
            (d->top_k != 0 || (d->top_p > 0 && d->top_p < 1))) {
            return true;
        }
    }
    return false;
}

cudaError_t cuda_sampler_run(const cuda_sampler *op, cudaStream_t stream)
{
    if (op->vocab == 0 || op->vocab > CUDA_SAMPLER_VOCAB) {
        return cudaErrorInvalidValue;
    }
    arguments a = {};
    a.op = *op;
    a.chunks = chunks_of(op->vocab);
    (void)lay_out(op->vocab, op->rows, op->draw_count, op->scratch, &a.s);
    cuda_shape scan = {dim3(a.chunks, op->rows), dim3(THREADS), 0};
    cudaError_t error = cuda_launch(scan_kernel, scan, stream, a);
    if (error == cudaSuccess && op->cuts) {
        error = cut(a, stream);
    }
    if (error == cudaSuccess) {
        cuda_shape weigh = {dim3(a.chunks, op->draw_count), dim3(THREADS), 0};
        error = cuda_launch(weigh_kernel, weigh, stream, a);
    }
    if (error == cudaSuccess) {
        cuda_shape draw = {dim3(op->draw_count), dim3(THREADS), 0};
        error = cuda_launch(draw_kernel, draw, stream, a);
    }
    return error;
}
