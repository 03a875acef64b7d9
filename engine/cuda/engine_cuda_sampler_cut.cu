/* The cuts of the sampler: the border of top-k and top-p in a row of logits. */
#include "engine_cuda_sampler_internal.cuh"

#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

using namespace cuda_sampling;

namespace
{

enum { BINS_A_UNIT = 32, NO_BIN = BINS, ALONE = BINS + 1 };

/* A histogram over the distance from the greatest logit shows in which bin the border lies; the members of that bin are
 * listed and sorted. Both passes are shared by several blocks for each draw; the block that ends last goes on. If the
 * members are too many for the list, that block goes on alone: it cuts the bin into 1,024 again, by key, as often as
 * needed. At the end a bin holds one value only, and ids decide.
 * Weights are added as integers, so that their order does not matter and neither does the number of blocks: w times a
 * power of two that belongs to the bin, in two halves of 13 bits (rounded to 2^-26 of the bin's greatest weight, which
 * is less than half a unit in the last place of any weight in a bin of level 0). The last bin of level 0 has no lower
 * end and may hold most of a row: threads keep their shares of it, in units of 2^-72. */

struct cut_memory {
    uint32_t low[BINS]; /* counts, or lower halves of weights */
    uint32_t high[BINS];
    float power[BINS]; /* what weights of the bin are multiplied with */
    unsigned long long list[LIST];
    double part[CUT_THREADS / 32];
    uint32_t part_count[CUT_THREADS / 32];
    unsigned long long rest; /* of the last bin */
    uint32_t listed; /* members of the bins asked for, also when they are too many for the list */
    uint32_t key_min;
    uint32_t key_max;
    uint32_t bin;
    uint32_t at; /* in the draw's list */
    uint32_t turn;
    double before; /* in front of the border's bin */
    double total;
    limit found;
};

struct cutter {
    const float *row;
    const row_part *parts; /* of the row */
    uint32_t vocab;
    uint32_t from; /* ids at hand */
    uint32_t to;
    float max;
    float scale;
    bool limited; /* to what `kept` keeps */
    limit kept;
    bool by_weight;
    double want; /* count, or share of the weight at first and the weight itself then */
    bool keys;   /* level 1 and below: bins are ranges of keys */
    uint32_t key_min;
    uint32_t key_max;
    uint32_t shift;
};

/* Never falls when a logit does; NO_BIN: not in the range at hand. x: the scaled logit. */
__device__ __forceinline__ uint32_t bin_of(const cutter &c, float logit, float x, uint32_t id)
{
    if (id >= c.to || (c.limited && !within(c.kept, logit, id))) {
        return NO_BIN;
    }
    if (c.keys) {
        uint32_t key = key_of(logit);
        return key < c.key_min || key > c.key_max ? (uint32_t)NO_BIN : (c.key_max - key) >> c.shift;
    }
    float distance = __fmul_rn(-x, BINS_A_UNIT);
    return distance < BINS - 1 ? (uint32_t)distance : BINS - 1;
}

__device__ __forceinline__ float weight_at(const cutter &c, float logit)
{
    return weight_of(scaled(logit, c.max, c.scale));
}

/* f(logit, id) for the ids at hand, but for those of warps that `skip` with their first id. */
template <class S, class F> __device__ __forceinline__ void each(const cutter &c, S skip, F f)
{
    for (uint32_t base = c.from; base < c.to; base += CUT_THREADS * 16) {
        float4 v[4];
        bool in[4];
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t first = base + (i * CUT_THREADS + threadIdx.x) / 32 * 128;
            in[i] = first < c.to && !skip(first);
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            if (in[i]) {
                v[i] = load4(c.row, base + (i * CUT_THREADS + threadIdx.x) * 4, c.vocab);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            uint32_t id = base + (i * CUT_THREADS + threadIdx.x) * 4;
            if (in[i]) {
                f(v[i].x, id);
                f(v[i].y, id + 1);
                f(v[i].z, id + 2);
                f(v[i].w, id + 3);
            }
        }
    }
}

/* 2^(26 - e), weights of the bin being below 2^e; at most 2^116, so that it is a number. */
__device__ float power_of(const cutter &c, uint32_t bin)
{
    float top;
    if (c.keys) {
        uint64_t below = (uint64_t)bin << c.shift;
        bool in = below <= c.key_max - c.key_min;
        top = in ? weight_at(c, number_of(c.key_max - (uint32_t)below)) : 0;
    } else {
        top = weight_of(-(float)bin / BINS_A_UNIT);
    }
    int e = top > 0 ? ilogbf(top * 1.001f) + 1 : -90;
    return exp2f((float)(26 - max(e, -90)));
}

/* Fills the bins with the ids at hand; m.rest is what the last bin of level 0 holds. */
__device__ void fill_bins(const cutter &c, cut_memory &m)
{
    uint32_t t = threadIdx.x;
    m.low[t] = 0;
    m.high[t] = 0;
    m.power[t] = power_of(c, t);
    if (t == 0) {
        m.rest = 0;
    }
    __syncthreads();
    unsigned long long rest = 0;
    uint32_t own = c.keys ? (uint32_t)NO_BIN : BINS - 1;
    auto skip = [](uint32_t) { return false; };
    each(c, skip, [&](float logit, uint32_t id) {
        float x = scaled(logit, c.max, c.scale);
        uint32_t bin = bin_of(c, logit, x, id);
        if (bin == NO_BIN) {
            return;
        }
        if (!c.by_weight) {
            if (bin == own) {
                rest += 1;
            } else {
                atomicAdd(&m.low[bin], 1u);
            }
        } else if (bin == own) {
            rest += x > -51.0f ? __float2uint_rn(__fmul_rn(weight_of(x), 0x1p72f)) : 0;
        } else {
            uint32_t q = __float2uint_rn(__fmul_rn(weight_of(x), m.power[bin]));
            atomicAdd(&m.low[bin], q & 8191u);
            atomicAdd(&m.high[bin], q >> 13);
        }
    });
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        rest += __shfl_xor_sync(ALL, rest, distance);
    }
    if (t % 32 == 0 && rest != 0) {
        atomicAdd(&m.rest, rest);
    }
    __syncthreads();
}

/* The bin where the border lies: m.bin, m.before, m.total. `before`: in front of the first bin. Returns what this
 * thread's bin and those in front of it hold. */
__device__ double find_bin(const cutter &c, cut_memory &m, double before, bool share)
{
    uint32_t t = threadIdx.x;
    double value = (double)m.low[t];
    if (c.by_weight) {
        value = ((double)m.high[t] * 8192.0 + value) / (double)m.power[t];
    }
    if (!c.keys && t == BINS - 1) {
        value = (double)m.rest * (c.by_weight ? 0x1p-72 : 1.0);
    }
    double end = before + block_scan<CUT_THREADS / 32>(value, m.part);
    if (t == BINS - 1) {
        m.total = end;
        m.bin = BINS;
        m.listed = 0; /* the last bin that holds something, here */
    }
    __syncthreads();
    double want = share ? c.want * m.total : c.want;
    if (value > 0) {
        atomicMax(&m.listed, t);
        if (end >= want) {
            atomicMin(&m.bin, t);
        }
    }
    __syncthreads();
    uint32_t bin = m.bin == BINS ? m.listed : m.bin;
    __syncthreads();
    if (t == bin) {
        m.bin = bin;
        m.before = end - value;
    }
    __syncthreads();
    return end;
}

/* Members of bins first .. last, among the ids at hand. */
__device__ void list_bins(const cutter &c, cut_memory &m, uint32_t first, uint32_t last)
{
    if (threadIdx.x == 0) {
        m.listed = 0;
        m.key_min = UINT32_MAX;
        m.key_max = 0;
    }
    __syncthreads();
    auto skip =
        [&](uint32_t id) { /* a chunk whose best is too far away */
                           float best = number_of((uint32_t)(c.parts[id / CHUNK].best >> 32));
                           float distance = __fmul_rn(-scaled(best, c.max, c.scale), BINS_A_UNIT);
                           return !c.keys && last < BINS - 1 && distance >= (float)(last + 1);
        };
    each(c, skip, [&](float logit, uint32_t id) {
        uint32_t bin = bin_of(c, logit, scaled(logit, c.max, c.scale), id);
        if (bin < first || bin > last) {
            return;
        }
        uint32_t key = key_of(logit);
        uint32_t at = atomicAdd(&m.listed, 1u);
        if (at < LIST) {
            m.list[at] = (unsigned long long)key << 32 | (uint32_t)~id;
        }
        if (key < m.key_min) {
            atomicMin(&m.key_min, key);
        }
        if (key > m.key_max) {
            atomicMax(&m.key_max, key);
        }
    });
    __syncthreads();
}

/* The best first: greatest logit, then lowest id. */
__device__ void sort_list(cut_memory &m, uint32_t n)
{
    uint32_t size = 2;
    while (size < n) {
        size *= 2;
    }
    for (uint32_t i = n + threadIdx.x; i < size; i += CUT_THREADS) {
        m.list[i] = 0;
    }
    __syncthreads();
    for (uint32_t run = 2; run <= size; run *= 2) {
        for (uint32_t step = run / 2; step > 0; step /= 2) {
            uint32_t i = threadIdx.x;
            if (i < size / 2) {
                uint32_t low = 2 * i - (i & (step - 1));
                unsigned long long a = m.list[low];
                unsigned long long b = m.list[low + step];
                if ((a < b) == ((low & run) == 0)) {
                    m.list[low] = b;
                    m.list[low + step] = a;
                }
            }
            __syncthreads();
        }
    }
}

__device__ __forceinline__ limit limit_at(const cut_memory &m, uint32_t index)
{
    unsigned long long item = m.list[index];
    return {(uint32_t)(item >> 32), ~(uint32_t)item};
}

/* The first of n sorted members with which the weight reaches c.want; `share`: of the weight of these n. */
__device__ limit border_by_weight(const cutter &c, cut_memory &m, uint32_t n, double before,
                                  bool share)
{
    uint32_t t = threadIdx.x;
    double w[2];
#pragma unroll
    for (uint32_t i = 0; i < 2; i++) {
        uint32_t at = 2 * t + i;
        w[i] = at < n ? (double)weight_at(c, number_of((uint32_t)(m.list[at] >> 32))) : 0;
    }
    double end = before + block_scan<CUT_THREADS / 32>(w[0] + w[1], m.part);
    if (t == 0) {
        m.bin = n - 1;
    }
    if (t == CUT_THREADS - 1) {
        m.total = end;
    }
    __syncthreads();
    double want = share ? c.want * m.total : c.want;
    if (2 * t < n && end - w[1] >= want) {
        atomicMin(&m.bin, 2 * t);
    } else if (2 * t + 1 < n && end >= want) {
        atomicMin(&m.bin, 2 * t + 1);
    }
    __syncthreads();
    return limit_at(m, m.bin);
}

__device__ limit border_by_count(const cutter &c, cut_memory &m, uint32_t n, double before)
{
    return limit_at(m, min((uint32_t)(c.want - before - 1), n - 1));
}

/* The border among `n` equal logits: the id of the m-th. */
__device__ limit border_in_ties(const cutter &c, cut_memory &m, uint32_t n, double in_front)
{
    double rank = c.want - in_front;
    if (c.by_weight) {
        double w = (double)weight_at(c, number_of(c.key_min));
        rank = w > 0 ? ceil(rank / w) : (double)n;
    }
    uint32_t wanted = rank < 1 ? 1 : rank > (double)n ? n : (uint32_t)rank;
    uint32_t before = 0;
    for (uint32_t base = 0; base < c.vocab && before < wanted; base += CUT_THREADS) {
        uint32_t id = base + threadIdx.x;
        bool in = id < c.vocab && key_of(c.row[id]) == c.key_min && within(c.kept, c.row[id], id);
        uint32_t end = before + block_scan<CUT_THREADS / 32>(in ? 1u : 0u, m.part_count);
        if (in && end == wanted) {
            m.found = {c.key_min, id};
        }
        before += (uint32_t)__syncthreads_count(in);
    }
    return m.found;
}

/* A block alone, over the whole row. want: a number of tokens, or a share of the weight of those that c.kept keeps. */
__device__ limit cut_alone(cutter c, cut_memory &m, bool by_weight, double want)
{
    c.from = 0;
    c.to = c.vocab;
    c.by_weight = by_weight;
    c.want = want;
    c.keys = false;
    fill_bins(c, m);
    (void)find_bin(c, m, 0, by_weight);
    c.want = by_weight ? want * m.total : want;
    limit out;
    for (;;) {
        double before = m.before;
        list_bins(c, m, m.bin, m.bin);
        uint32_t n = m.listed;
        if (n <= LIST) {
            sort_list(m, n);
            out = by_weight ? border_by_weight(c, m, n, before, false)
                            : border_by_count(c, m, n, before);
            break;
        }
        c.keys = true;
        c.key_min = m.key_min;
        c.key_max = m.key_max;
        if (c.key_min == c.key_max) {
            out = border_in_ties(c, m, n, before);
            break;
        }
        uint32_t bits = 32 - (uint32_t)__clz((int)(c.key_max - c.key_min));
        c.shift = bits > 10 ? bits - 10 : 0;
        __syncthreads();
        fill_bins(c, m);
        (void)find_bin(c, m, before, false);
    }
    __syncthreads();
    return out;
}

__device__ __forceinline__ bool has_top_k(const engine_draw &d, uint32_t vocab)
{
    return d.top_k > 0 && d.top_k < vocab;
}

__device__ __forceinline__ bool has_top_p(const engine_draw &d)
{
    return d.top_p > 0 && d.top_p < 1;
}

/* This block's part of a draw's row. */
__device__ cutter cutter_of(const arguments &a, const engine_draw &d, const row_top &top)
{
    cutter c = {};
    c.row = a.op.logits + (size_t)d.logit * a.op.vocab;
    c.vocab = a.op.vocab;
    c.parts = a.s.rows + (size_t)d.logit * a.chunks;
    uint32_t span = (a.chunks + gridDim.x - 1) / gridDim.x * CHUNK;
    c.from = min(c.vocab, blockIdx.x * span);
    c.to = min(c.vocab, c.from + span);
    c.max = top.max;
    c.scale = scale_of(d.temperature);
    c.kept = {0, UINT32_MAX};
    c.by_weight = !has_top_k(d, c.vocab);
    c.want = c.by_weight ? (double)d.top_p : (double)d.top_k;
    return c;
}

/* Is this the last block of the draw to come here? It then sees what the others have written. */
__device__ bool comes_last(cut_memory &m, uint32_t *turn)
{
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        m.turn = atomicAdd(turn, 1u);
    }
    __syncthreads();
    if (m.turn != gridDim.x - 1) {
        return false;
    }
    __threadfence();
    return true;
}

/* blockIdx: part of the row, draw. Finds the bins to be listed. */
__global__ void __launch_bounds__(CUT_THREADS) bins_kernel(const __grid_constant__ arguments a)
{
    __shared__ cut_memory m;
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t draw = blockIdx.y;
    uint32_t t = threadIdx.x;
    const engine_draw &d = a.op.draws[draw];
    row_top top = top_of(a, d.logit);
    cut_state &state = a.s.states[draw];
    if (!draws_one(d) || top.damaged || (!has_top_k(d, a.op.vocab) && !has_top_p(d))) {
        if (blockIdx.x == 0 && t == 0) {
            state.border = {NO_BIN, 0, 0, 0};
            a.s.limits[draw] = {0, UINT32_MAX};
        }
        return;
    }
    cutter c = cutter_of(a, d, top);
    fill_bins(c, m);
    uint32_t *bins = a.s.bins + (size_t)draw * gridDim.x * 2 * BINS;
    bins[2 * blockIdx.x * BINS + t] = m.low[t];
    bins[(2 * blockIdx.x + 1) * BINS + t] = m.high[t];
    if (t == 0 && m.rest != 0) {
        atomicAdd(&state.rest, m.rest);
    }
    if (!comes_last(m, &state.turn[0])) {
        return;
    }
    uint32_t low = 0;
    uint32_t high = 0;
#pragma unroll 8
    for (uint32_t i = 0; i < gridDim.x; i++) {
        low += __ldcg(&bins[2 * i * BINS + t]);
        high += __ldcg(&bins[(2 * i + 1) * BINS + t]);
    }
    m.low[t] = low;
    m.high[t] = high;
    if (t == 0) {
        m.rest = atomicAdd(&state.rest, 0ull);
    }
    __syncthreads();
    double end = find_bin(c, m, 0, c.by_weight);
    if (t == m.bin) {
        cut_border border = {t, t, m.before, c.by_weight ? c.want * m.total : c.want};
        if (!c.by_weight && end <= LIST) { /* all that are kept can be listed */
            border.first = 0;
            border.before = 0;
        } else if (!c.by_weight && has_top_p(d)) {
            border.bin = ALONE; /* two cuts, and too many for the list */
        }
        state.border = border;
    }
}

/* The border, from the draw's list of n members. */
__device__ limit border_in_list(cutter c, cut_memory &m, const engine_draw &d,
                                const cut_border &border, uint32_t n)
{
    sort_list(m, n);
    c.want = border.want;
    if (c.by_weight) {
        return border_by_weight(c, m, n, border.before, false);
    }
    if (has_top_p(d)) {
        c.want = (double)d.top_p;
        return border_by_weight(c, m, min(n, d.top_k), 0, true);
    }
    return border_by_count(c, m, n, border.before);
}

/* Both cuts, without a list. */
__device__ limit cut_row(cutter c, cut_memory &m, const engine_draw &d)
{
    if (has_top_k(d, c.vocab)) {
        c.kept = cut_alone(c, m, false, (double)d.top_k);
        c.limited = true;
    }
    return has_top_p(d) ? cut_alone(c, m, true, (double)d.top_p) : c.kept;
}

/* blockIdx: part of the row, draw. */
__global__ void __launch_bounds__(CUT_THREADS) cut_kernel(const __grid_constant__ arguments a)
{
    __shared__ cut_memory m;
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t draw = blockIdx.y;
    uint32_t t = threadIdx.x;
    const engine_draw &d = a.op.draws[draw];
    cut_state &state = a.s.states[draw];
    cut_border border = state.border;
    if (border.bin == NO_BIN) {
        return;
    }
    cutter c = cutter_of(a, d, top_of(a, d.logit));
    unsigned long long *list = a.s.lists + (size_t)draw * LIST;
    if (border.bin != ALONE) {
        list_bins(c, m, border.first, border.bin);
        uint32_t n = m.listed;
        if (t == 0) {
            m.at = atomicAdd(&state.listed, n);
        }
        __syncthreads();
        for (uint32_t i = t; i < n && i < LIST && m.at + i < LIST; i += CUT_THREADS) {
            list[m.at + i] = m.list[i];
        }
    }
    if (!comes_last(m, &state.turn[1])) {
        return;
    }
    if (t == 0) {
        m.at = atomicAdd(&state.listed, 0u);
    }
    __syncthreads();
    uint32_t n = m.at;
    limit out;
    if (border.bin == ALONE || n > LIST) {
        out = cut_row(c, m, d);
    } else {
        for (uint32_t i = t; i < n; i += CUT_THREADS) {
            m.list[i] = __ldcg(&list[i]);
        }
        __syncthreads();
        out = border_in_list(c, m, d, border, n);
    }
    if (t == 0) {
        a.s.limits[draw] = out;
    }
}

/* Blocks that share a row in the kernels that cut: results do not depend on it. */
uint32_t parts_of(uint32_t draws)
{
    uint32_t parts = CUT_BLOCKS / draws;
    return parts < 1 ? 1 : parts < CUT_PARTS ? parts : (uint32_t)CUT_PARTS;
}

} // namespace

cudaError_t cuda_sampling::cut(const arguments &work, cudaStream_t stream)
{
    uint32_t draws = work.op.draw_count;
    cuda_shape shape = {dim3(parts_of(draws), draws), dim3(CUT_THREADS), 0};
    cudaError_t error = cuda_launch(bins_kernel, shape, stream, work);
    return error != cudaSuccess ? error : cuda_launch(cut_kernel, shape, stream, work);
}
