/* Experts: the router's choice, rows grouped by expert, and the weighted sum of what the experts gave. */
#include "engine_cuda_generic_dot.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

namespace
{

const uint32_t all = 0xffffffffu;

enum { SORT_THREADS = 1024, MIX_THREADS = 256 };

__device__ __forceinline__ double warp_sum(double v)
{
#pragma unroll
    for (int distance = 16; distance >= 1; distance /= 2) {
        v += __shfl_xor_sync(all, v, distance);
    }
    return v;
}

__device__ void score_sigmoid(float *score, const float *logits, uint32_t n)
{
    for (uint32_t e = threadIdx.x; e < n; e += 32) {
        score[e] = (float)(1.0 / (1.0 + exp(-(double)logits[e])));
    }
}

__device__ void score_softmax(float *score, const float *logits, uint32_t n)
{
    float max = -INFINITY;
    for (uint32_t e = threadIdx.x; e < n; e += 32) {
        max = fmaxf(max, logits[e]);
    }
#pragma unroll
    for (int distance = 16; distance >= 1; distance /= 2) {
        max = fmaxf(max, __shfl_xor_sync(all, max, distance));
    }
    double sum = 0;
    for (uint32_t e = threadIdx.x; e < n; e += 32) {
        sum += exp((double)logits[e] - max);
    }
    sum = warp_sum(sum);
    for (uint32_t e = threadIdx.x; e < n; e += 32) {
        score[e] = (float)(exp((double)logits[e] - max) / sum);
    }
}

/* The sum of the two greatest choices of a group (noaux_tc), or the greatest (group-limited). */
__device__ float group_score(const engine_moe &moe, const float *choice, uint32_t size)
{
    float first = -INFINITY;
    float second = -INFINITY;
    for (uint32_t i = 0; i < size; i++) {
        float v = choice[i];
        second = v > first ? first : v > second ? v : second;
        first = v > first ? v : first;
    }
    return moe.topk == ENGINE_TOPK_NOAUX && size > 1 ? first + second : first;
}

/* The index of the greatest number that is not NaN, the lowest one on a tie; it becomes NaN. All lanes; n if none. */
__device__ uint32_t take_greatest(float *values, uint32_t n)
{
    float best = -INFINITY;
    uint32_t at = n;
    for (uint32_t i = threadIdx.x; i < n; i += 32) {
        if (!isnan(values[i]) && (at == n || values[i] > best)) {
            best = values[i];
            at = i;
        }
    }
#pragma unroll
    for (int distance = 16; distance >= 1; distance /= 2) {
        float other = __shfl_xor_sync(all, best, distance);
        uint32_t index = __shfl_xor_sync(all, at, distance);
        if (index != n && (at == n || other > best || (other == best && index < at))) {
            best = other;
            at = index;
        }
    }
    __syncwarp();
    if (threadIdx.x == 0 && at < n) {
        values[at] = NAN;
    }
    __syncwarp();
    return at;
}

/* Experts of groups that are not kept get -infinity: 0 would beat a kept expert whose biased score is negative. */
__device__ void mask_groups(const engine_moe &moe, float *choice, float *groups)
{
    uint32_t size = moe.routed / moe.groups;
    for (uint32_t g = threadIdx.x; g < moe.groups; g += 32) {
        groups[g] = group_score(moe, choice + g * size, size);
    }
    __syncwarp();
    for (uint32_t kept = 0; kept < moe.groups_kept; kept++) {
        take_greatest(groups, moe.groups);
    }
    for (uint32_t e = threadIdx.x; e < moe.routed; e += 32) {
        if (!isnan(groups[e / size])) {
            choice[e] = -INFINITY;
        }
    }
    __syncwarp();
}

/* The per_token greatest choices, ids ascending. */
__device__ void choose(const engine_moe &moe, float *choice, uint32_t *ids)
{
    for (uint32_t e = threadIdx.x; e < moe.routed; e += 32) {
        choice[e] = isnan(choice[e]) ? -INFINITY : choice[e]; /* damaged rows: keep ids valid */
    }
    __syncwarp();
    for (uint32_t i = 0; i < moe.per_token; i++) {
        take_greatest(choice, moe.routed);
    }
    uint32_t before =
        0; /* the taken ones are NaN now: their places are the numbers of those in front */
    for (uint32_t base = 0; base < moe.routed; base += 32) {
        uint32_t e = base + threadIdx.x;
        bool taken = e < moe.routed && isnan(choice[e]);
        uint32_t mask = __ballot_sync(all, taken);
        if (taken) {
            ids[before + __popc(mask & ((1u << threadIdx.x) - 1))] = e;
        }
        before += __popc(mask);
    }
    __syncwarp();
}

/* A warp a row. */
__global__ void __launch_bounds__(32) gate(const __grid_constant__ cuda_generic_gate p,
                                           const __grid_constant__ cuda_generic_choices out)
{
    extern __shared__ float memory[];
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    if (row >= *p.active) {
        return;
    }
    const engine_moe &moe = p.moe;
    float *score = memory;
    float *choice = score + moe.routed;
    float *groups = choice + moe.routed;
    uint32_t *ids = (uint32_t *)(groups + moe.groups);
    const float *logits = p.logits + (size_t)row * p.stride;
    if (moe.scoring == ENGINE_SCORING_SIGMOID) {
        score_sigmoid(score, logits, moe.routed);
    } else {
        score_softmax(score, logits, moe.routed);
    }
    for (uint32_t e = threadIdx.x; e < moe.routed; e += 32) {
        choice[e] = p.bias == NULL ? score[e] : score[e] + p.bias[e];
    }
    __syncwarp();
    if (moe.topk != ENGINE_TOPK_GREEDY && moe.groups > 1) {
        mask_groups(moe, choice, groups);
    }
    choose(moe, choice, ids);
    double sum = 0;
    for (uint32_t i = 0; i < moe.per_token; i++) {
        sum += (double)score[ids[i]];
    }
    double factor = moe.norm_topk ? moe.scale / (sum + 1e-20) : moe.scale;
    for (uint32_t i = threadIdx.x; i < moe.per_token; i += 32) {
        size_t at = (size_t)row * moe.per_token + i;
        out.ids[at] = ids[i];
        out.weights[at] = (float)((double)score[ids[i]] * factor);
    }
}

/* Inclusive sums of both numbers over a warp. */
__device__ __forceinline__ uint2 warp_scan(uint2 v)
{
    uint32_t lane = threadIdx.x % 32;
#pragma unroll
    for (uint32_t distance = 1; distance < 32; distance *= 2) {
        uint32_t x = __shfl_up_sync(all, v.x, distance);
        uint32_t y = __shfl_up_sync(all, v.y, distance);
        v.x += lane >= distance ? x : 0;
        v.y += lane >= distance ? y : 0;
    }
    return v;
}

/* One block. Entries of an expert come in any order: each makes its own output. */
__global__ void __launch_bounds__(SORT_THREADS)
    sort(const __grid_constant__ cuda_generic_choices c, const uint32_t *active, uint32_t rows,
         uint32_t per_token, uint32_t routed, uint32_t height)
{
    extern __shared__ uint32_t counts[]; /* [routed]: entries, then where the next one goes */
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t entries = min(*active, rows) * per_token;
    for (uint32_t e = threadIdx.x; e < routed; e += SORT_THREADS) {
        counts[e] = 0;
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < entries; i += SORT_THREADS) {
        atomicAdd(&counts[c.ids[i]], 1u);
    }
    __syncthreads();
    if (threadIdx.x < 32) {
        uint2 before = make_uint2(0, 0); /* entries, tiles */
        for (uint32_t base = 0; base < routed; base += 32) {
            uint32_t e = base + threadIdx.x;
            uint32_t n = e < routed ? counts[e] : 0;
            uint32_t tiles = (n + height - 1) / height;
            uint2 end = warp_scan(make_uint2(n, tiles));
            uint32_t first = before.x + end.x - n;
            for (uint32_t i = 0; i < tiles; i++) {
                cuda_generic_tile t = {e, first + i * height, min(n - i * height, height)};
                c.tiles[before.y + end.y - tiles + i] = t;
            }
            if (e < routed) {
                counts[e] = first;
            }
            before.x += __shfl_sync(all, end.x, 31);
            before.y += __shfl_sync(all, end.y, 31);
        }
        if (threadIdx.x == 0) {
            *c.tile_count = before.y;
        }
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < entries; i += SORT_THREADS) {
        c.order[atomicAdd(&counts[c.ids[i]], 1u)] = i;
    }
}

/* blockIdx: x row, y columns. */
__global__ void __launch_bounds__(MIX_THREADS) mix(const __grid_constant__ cuda_generic_mix p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    uint32_t c = blockIdx.y * MIX_THREADS + threadIdx.x;
    if (row >= *p.active || c >= p.cols) {
        return;
    }
    float sum = 0;
    for (uint32_t i = 0; i < p.per_token; i++) {
        size_t entry = (size_t)row * p.per_token + i;
        if (p.ids[entry] - p.experts.first >= p.experts.count) {
            continue;
        }
        sum = fmaf(p.weights[entry], p.parts[entry * p.stride + c], sum);
    }
    size_t at = (size_t)row * p.stride + c;
    if (p.shared != NULL) {
        sum += p.shared[at];
    }
    p.hidden[at] = p.set ? sum : p.hidden[at] + sum;
}

} // namespace

uint32_t cuda_generic_tile_height(uint32_t entries)
{
    return entries <= 32 ? 1 : 8;
}

uint32_t cuda_generic_tiles_max(uint32_t entries, uint32_t routed)
{
    uint32_t height = cuda_generic_tile_height(entries);
    uint32_t most = entries / height + routed; /* every expert may have a tile that is not full */
    return most < entries ? most : entries;
}

cudaError_t cuda_generic_gate_run(const cuda_generic_gate *op, const cuda_generic_choices *choices,
                                  cudaStream_t stream)
{
    const engine_moe *moe = &op->moe;
    size_t shared = (2 * (size_t)moe->routed + moe->groups + moe->per_token) * sizeof(float);
    cuda_shape rows = {dim3(op->rows), dim3(32), shared};
    cudaError_t e = cuda_launch(gate, rows, stream, *op, *choices);
    if (e != cudaSuccess) {
        return e;
    }
    cuda_shape one = {dim3(1), dim3(SORT_THREADS), moe->routed * sizeof(uint32_t)};
    return cuda_launch(sort, one, stream, *choices, op->active, op->rows, moe->per_token,
                       moe->routed, cuda_generic_tile_height(op->rows * moe->per_token));
}

cudaError_t cuda_generic_mix_run(const cuda_generic_mix *op, cudaStream_t stream)
{
    cuda_shape shape = {dim3(op->rows, (op->cols + MIX_THREADS - 1) / MIX_THREADS),
                        dim3(MIX_THREADS), 0};
    return cuda_launch(mix, shape, stream, *op);
}
