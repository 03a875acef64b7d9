/* Which experts a row takes, where its copies go, and the copying. */
#include "engine_cuda_router_internal.cuh"

#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

#include <math.h>

namespace
{

constexpr uint32_t ALL = 0xFFFFFFFFu;

enum {
    NARROW_MOST = 224, /* rows up to which the narrow kernel makes the logits */

    TEAM = 256,     /* threads that choose for a row */
    FUSED_ROWS = 4, /* a team each */
    PLACE_THREADS = 1024,
    PLACE_ROWS = 1024, /* rows whose places are found at once */
    PLACE_WORDS = PLACE_ROWS / 32,
    PLACE_PITCH = PLACE_WORDS + 1,

    GATHER_THREADS = 256
};

/* ---- The choice ---- */

/* Ordered as the numbers are; NaN as -infinity, -0 as 0. Never 0. */
__device__ __forceinline__ uint32_t key_of(float x)
{
    x = x == x ? x + 0.0f : -INFINITY;
    uint32_t bits = __float_as_uint(x);
    return (bits & 0x80000000u) != 0 ? ~bits : bits | 0x80000000u;
}

__device__ __forceinline__ float number_of(uint32_t key)
{
    return __uint_as_float((key & 0x80000000u) != 0 ? key & 0x7FFFFFFFu : ~key);
}

struct team_memory { /* of the threads that work on a row */
    float score[CUDA_ROUTER_EXPERTS];
    uint32_t choice[CUDA_ROUTER_EXPERTS]; /* keys */
    uint32_t group[32];                   /* keys */
    uint32_t ids[CUDA_ROUTER_CHOICES];
    uint32_t chosen[TEAM / 32]; /* bits */
    unsigned long long candidate[TEAM];
    double scratch[TEAM / 32];
};

__device__ __forceinline__ double warp_sum(double v)
{
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) {
        v += __shfl_xor_sync(ALL, v, distance);
    }
    return v;
}

__device__ __forceinline__ void team_sync(uint32_t team)
{
    cuda_named_sync(1 + team, TEAM);
}

/* The greatest logit of a row, over the team. */
__device__ double team_max(team_memory &m, uint32_t team, float logit, bool in)
{
    uint32_t thread = threadIdx.x % TEAM;
    uint32_t key = __reduce_max_sync(ALL, in ? key_of(logit) : 0);
    if (thread % 32 == 0) {
        m.group[thread / 32] = key;
    }
    team_sync(team);
    key = m.group[thread % (TEAM / 32)];
    return (double)number_of(__reduce_max_sync(ALL, key));
}

__device__ double team_sum(team_memory &m, uint32_t team, double v)
{
    uint32_t thread = threadIdx.x % TEAM;
    v = warp_sum(v);
    if (thread % 32 == 0) {
        m.scratch[thread / 32] = v;
    }
    team_sync(team);
    return warp_sum(thread % 32 < TEAM / 32 ? m.scratch[thread % 32] : 0);
}

/* 1 / (1 + exp(-l)), or exp(l - max) / sum; in double, as engine_cpu_gate.c. */
__device__ float score_of(const engine_moe &moe, team_memory &m, uint32_t team, float logit,
                          bool in)
{
    bool sigmoid = moe.scoring == ENGINE_SCORING_SIGMOID;
    double max = sigmoid ? 0 : team_max(m, team, logit, in);
    double e = exp(sigmoid ? -(double)logit : (double)logit - max);
    double sum = sigmoid ? 1 + e : team_sum(m, team, in ? e : 0);
    return (float)((sigmoid ? 1 : e) / sum);
}

/* A warp: the key of a group's value, the sum of its two best (noaux_tc) or its best. */
__device__ uint32_t group_key(const team_memory &m, uint32_t first, uint32_t size, bool two)
{
    uint32_t best = 0;
    uint32_t second = 0;
#pragma unroll 1
    for (uint32_t i = threadIdx.x % 32; i < size; i += 32) {
        uint32_t key = m.choice[first + i];
        second = max(second, min(best, key));
        best = max(best, key);
    }
    uint32_t most = __reduce_max_sync(ALL, best);
    if (!two) {
        return most;
    }
    uint32_t holders = __ballot_sync(ALL, best == most);
    bool taken = threadIdx.x % 32 == (uint32_t)__ffs(holders) - 1;
    uint32_t next = __reduce_max_sync(ALL, taken ? second : best);
    return key_of(__fadd_rn(number_of(most), number_of(next)));
}

/* A warp: bit g is set when group g is kept. */
__device__ uint32_t keep_groups(const team_memory &m, uint32_t groups, uint32_t kept_count)
{
    uint32_t lane = threadIdx.x % 32;
    uint32_t key = lane < groups ? m.group[lane] : 0;
    uint32_t better = 0; /* groups that go first */
#pragma unroll 8
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t other = __shfl_sync(ALL, key, g);
        better += other > key || (other == key && g < lane) ? 1 : 0;
    }
    return __ballot_sync(ALL, lane < groups && better < kept_count);
}

/* The team: the k best experts, ties to the lower id; m.ids ascending. key: of this thread's expert; 0: there is none.
 * The k best of each warp are candidates; then each candidate counts those that are better. */
__device__ void choose(team_memory &m, uint32_t team, uint32_t k, uint32_t key)
{
    uint32_t e = threadIdx.x % TEAM;
    uint32_t lane = e % 32;
    uint32_t better = 0;
#pragma unroll 8
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t other = __shfl_sync(ALL, key, i);
        better += other > key || (other == key && i < lane) ? 1 : 0;
    }
    if (better < k) {
        m.candidate[e / 32 * k + better] = (unsigned long long)key << 32 | (uint32_t)~e;
    }
    if (e < TEAM / 32) {
        m.chosen[e] = 0;
    }
    team_sync(team);
    uint32_t candidates = TEAM / 32 * k;
    unsigned long long mine = e < candidates ? m.candidate[e] : 0;
    uint32_t id = ~(uint32_t)mine;
    bool taken = (uint32_t)(mine >> 32) != 0;
    if (taken) {
        better = 0;
#pragma unroll 8
        for (uint32_t i = 0; i < candidates; i++) {
            better += m.candidate[i] > mine ? 1 : 0;
        }
        taken = better < k;
    }
    if (taken) {
        atomicOr(&m.chosen[id / 32], 1u << id % 32);
    }
    team_sync(team);
    if (taken) {
        uint32_t before = (uint32_t)__popc(m.chosen[id / 32] & ((1u << id % 32) - 1));
#pragma unroll
        for (uint32_t i = 0; i < TEAM / 32; i++) {
            before += i < id / 32 ? (uint32_t)__popc(m.chosen[i]) : 0;
        }
        m.ids[before] = id;
    }
    team_sync(team);
}

/* The runs' sums, loaded eight at a time. */
__device__ float logit_of(const cuda_router &p, uint32_t row, uint32_t expert)
{
    uint32_t runs = cuda_router_runs(p.shape.cols);
    size_t stride = (size_t)p.rows * p.shape.moe.routed;
    const float *partial = p.out.partial + (size_t)row * p.shape.moe.routed + expert;
    float logit = 0;
#pragma unroll 1
    for (uint32_t first = 0; first < runs; first += 8) {
        float part[8];
#pragma unroll
        for (uint32_t i = 0; i < 8; i++) {
            part[i] = first + i < runs ? partial[(first + i) * stride] : 0;
        }
        logit = first == 0 ? part[0] : __fadd_rn(logit, part[0]);
#pragma unroll
        for (uint32_t i = 1; i < 8; i++) {
            logit = first + i < runs ? __fadd_rn(logit, part[i]) : logit;
        }
    }
    return logit;
}

/* A team: the choice of one row, from this thread's logit and bias. */
__device__ void choose_row(const cuda_router &p, team_memory &m, uint32_t team, uint32_t row,
                           float logit, float bias)
{
    const engine_moe &moe = p.shape.moe;
    uint32_t e = threadIdx.x % TEAM;
    bool in = e < moe.routed;
    float score = score_of(moe, m, team, logit, in);
    uint32_t key = in ? key_of(p.bias == NULL ? score : __fadd_rn(score, bias)) : 0;
    m.score[e] = score;
    if (moe.topk != ENGINE_TOPK_GREEDY && moe.groups > 1) {
        uint32_t size = moe.routed / moe.groups;
        m.choice[e] = key;
        team_sync(team);
#pragma unroll 1
        for (uint32_t g = e / 32; g < moe.groups; g += TEAM / 32) {
            uint32_t group =
                group_key(m, g * size, size, moe.topk == ENGINE_TOPK_NOAUX && size > 1);
            if (e % 32 == 0) {
                m.group[g] = group;
            }
        }
        team_sync(team);
        uint32_t kept = keep_groups(m, moe.groups, moe.groups_kept);
        key = in && (kept >> (e / size) & 1) == 0 ? key_of(-INFINITY) : key;
    }
    choose(m, team, moe.per_token, key);
    if (e < 32) {
        /* scores of a sigmoid have 24 bits each: their sum is the same in any order */
        uint32_t id = e < moe.per_token ? m.ids[e] : 0;
        double mine = e < moe.per_token ? (double)m.score[id] : 0;
        double sum = warp_sum(mine);
        double factor = moe.norm_topk ? moe.scale / (sum + 1e-20) : moe.scale;
        if (e < moe.per_token) {
            size_t at = (size_t)row * moe.per_token + e;
            p.out.ids[at] = id;
            p.out.weights[at] = (float)(mine * factor);
        }
    }
}

/* ---- Places ---- */

__device__ __forceinline__ uint32_t whole_atoms(uint32_t rows)
{
    return (rows + CUDA_ATOM_ROWS - 1) / CUDA_ATOM_ROWS * CUDA_ATOM_ROWS;
}

struct place_memory {                                  /* dynamic */
    uint32_t count[CUDA_ROUTER_EXPERTS];               /* rows of the expert, of all rows */
    uint32_t begin[CUDA_ROUTER_EXPERTS];               /* where its next row goes */
    uint32_t rows[CUDA_ROUTER_EXPERTS][PLACE_PITCH];   /* bit r: row r of those at hand takes it */
    uint32_t before[CUDA_ROUTER_EXPERTS][PLACE_PITCH]; /* bits in the words in front */
    uint32_t ends[CUDA_ROUTER_EXPERTS / 32];           /* of 32 groups each */
    uint32_t total;                                    /* of the routed groups */
};

/* Entry / per_token, for fewer than 2^27 entries. */
struct row_of {
    uint32_t inverse;

    __device__ explicit row_of(uint32_t per_token)
        : inverse(per_token == 1 ? 0 : UINT32_MAX / per_token + 1)
    {
    }

    __device__ uint32_t operator()(uint32_t entry) const
    {
        return inverse == 0 ? entry : __umulhi(entry, inverse);
    }
};

/* Who takes what, of rows first .. first + n - 1 (n <= PLACE_ROWS): m.rows, m.before; and m.count when these are all. */
__device__ void mark_rows(const cuda_routing &r, place_memory &m, uint32_t first, uint32_t n)
{
    uint32_t words = (n + 31) / 32;
    const uint32_t *ids = r.ids + (size_t)first * r.per_token;
    row_of row_of_entry(r.per_token);
#pragma unroll 1
    for (uint32_t i = threadIdx.x; i < CUDA_ROUTER_EXPERTS * words; i += PLACE_THREADS) {
        m.rows[i % CUDA_ROUTER_EXPERTS][i / CUDA_ROUTER_EXPERTS] = 0;
    }
    __syncthreads();
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < n * r.per_token; i += PLACE_THREADS) {
        uint32_t row = row_of_entry(i);
        atomicOr(&m.rows[ids[i]][row / 32], 1u << row % 32);
    }
    __syncthreads();
    /* four threads an expert, eight words each */
    uint32_t e = threadIdx.x / 4;
    uint32_t word = threadIdx.x % 4 * (PLACE_WORDS / 4);
    uint32_t bits[PLACE_WORDS / 4];
    uint32_t sum = 0;
#pragma unroll
    for (uint32_t i = 0; i < PLACE_WORDS / 4; i++) {
        bits[i] = sum;
        sum += word + i < words ? (uint32_t)__popc(m.rows[e][word + i]) : 0;
    }
    uint32_t end = sum;
#pragma unroll
    for (uint32_t distance = 1; distance < 4; distance *= 2) {
        uint32_t v = __shfl_up_sync(ALL, end, distance);
        end += threadIdx.x % 4 >= distance ? v : 0;
    }
#pragma unroll
    for (uint32_t i = 0; i < PLACE_WORDS / 4; i++) {
        if (word + i < words) {
            m.before[e][word + i] = end - sum + bits[i];
        }
    }
    if (threadIdx.x % 4 == 3) {
        m.count[e] = end;
    }
    __syncthreads();
}

/* m.count of more rows than can be marked at once. */
__device__ void count_rows(const cuda_routing &r, place_memory &m, uint32_t rows)
{
    if (threadIdx.x < CUDA_ROUTER_EXPERTS) {
        m.count[threadIdx.x] = 0;
    }
    __syncthreads();
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < rows * r.per_token; i += PLACE_THREADS) {
        atomicAdd(&m.count[r.ids[i]], 1u);
    }
    __syncthreads();
}

/* Beginnings of the groups, from m.count. `rows`: what the shared expert takes. */
__device__ void begin_groups(const cuda_routing &r, place_memory &m, uint32_t rows)
{
    uint32_t g = threadIdx.x;
    uint32_t routed = r.groups - r.shared;
    uint32_t n = g < routed ? m.count[g] : 0;
    uint32_t whole = whole_atoms(n);
    uint32_t end = whole;
    if (g < CUDA_ROUTER_EXPERTS) {
#pragma unroll
        for (uint32_t distance = 1; distance < 32; distance *= 2) {
            uint32_t v = __shfl_up_sync(ALL, end, distance);
            end += g % 32 >= distance ? v : 0;
        }
        if (g % 32 == 31) {
            m.ends[g / 32] = end;
        }
    }
    __syncthreads();
    if (g < CUDA_ROUTER_EXPERTS) {
#pragma unroll
        for (uint32_t i = 0; i < CUDA_ROUTER_EXPERTS / 32; i++) {
            end += i < g / 32 ? m.ends[i] : 0;
        }
        if (g < routed) {
            r.begin[g] = end - whole;
            r.count[g] = n;
            m.begin[g] = end - whole;
        }
#pragma unroll 1
        for (uint32_t i = n; i < whole; i++) {
            r.source[end - whole + i] = UINT32_MAX;
        }
    }
    if (g == CUDA_ROUTER_EXPERTS - 1) {
        m.total = end;
        uint32_t all = r.shared != 0 ? end + whole_atoms(rows) : end;
        if (r.shared != 0) {
            r.begin[routed] = end;
            r.count[routed] = rows;
#pragma unroll 1
            for (uint32_t i = rows; i < whole_atoms(rows); i++) {
                r.source[end + i] = UINT32_MAX;
            }
        }
        r.begin[r.groups] = all;
    }
    __syncthreads();
}

/* Places of marked rows. */
__device__ void place_rows(const cuda_routing &r, place_memory &m, uint32_t first, uint32_t n)
{
    const uint32_t *ids = r.ids + (size_t)first * r.per_token;
    uint32_t places = r.per_token + r.shared;
    row_of row_of_entry(r.per_token);
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < n * r.per_token; i += PLACE_THREADS) {
        uint32_t row = row_of_entry(i);
        uint32_t e = ids[i];
        uint32_t in_front = m.rows[e][row / 32] & ((1u << row % 32) - 1);
        uint32_t place = m.begin[e] + m.before[e][row / 32] + (uint32_t)__popc(in_front);
        r.place[(size_t)(first + row) * places + i - row * r.per_token] = place;
        r.source[place] = first + row;
    }
#pragma unroll 1
    for (uint32_t i = threadIdx.x; r.shared != 0 && i < n; i += PLACE_THREADS) {
        uint32_t place = m.total + first + i;
        r.place[(size_t)(first + i) * places + r.per_token] = place;
        r.source[place] = first + i;
    }
}

/* A block: places of all rows. ids must be visible to it. */
__device__ void place_all(const cuda_routing &r, place_memory &m, uint32_t rows)
{
    if (rows <= PLACE_ROWS) {
        mark_rows(r, m, 0, rows);
        begin_groups(r, m, rows);
        place_rows(r, m, 0, rows);
        return;
    }
    count_rows(r, m, rows);
    begin_groups(r, m, rows);
#pragma unroll 1
    for (uint32_t first = 0; first < rows; first += PLACE_ROWS) {
        uint32_t n = min((uint32_t)PLACE_ROWS, rows - first);
        mark_rows(r, m, first, n);
        place_rows(r, m, first, n);
        __syncthreads();
        if (threadIdx.x < CUDA_ROUTER_EXPERTS) {
            m.begin[threadIdx.x] += m.count[threadIdx.x];
        }
        __syncthreads();
    }
}

/* Places of at most FUSED_ROWS rows, whose ids are at hand. m.rows[..][0] is zero. */
__device__ void place_few(const cuda_routing &r, place_memory &m, const team_memory *teams,
                          uint32_t rows)
{
    uint32_t places = r.per_token + r.shared;
    uint32_t row = threadIdx.x / 32; /* warps of the first rows: a lane an entry */
    uint32_t lane = threadIdx.x % 32;
    bool in = row < rows && lane < r.per_token;
    uint32_t e = in ? teams[row].ids[lane] : 0;
    if (in) {
        atomicOr(&m.rows[e][0], 1u << row);
    }
    __syncthreads();
    if (threadIdx.x < CUDA_ROUTER_EXPERTS) {
        m.count[threadIdx.x] = (uint32_t)__popc(m.rows[threadIdx.x][0]);
    }
    begin_groups(r, m, rows);
    if (in) {
        uint32_t place = m.begin[e] + (uint32_t)__popc(m.rows[e][0] & ((1u << row) - 1));
        r.place[row * places + lane] = place;
        r.source[place] = row;
    }
    if (r.shared != 0 && row < rows && lane == 0) {
        r.place[row * places + r.per_token] = m.total + row;
        r.source[m.total + row] = row;
    }
}

__device__ __forceinline__ uint32_t real_rows(const cuda_router &p)
{
    return p.active == NULL ? p.rows : min(p.rows, *p.active);
}

/* Bias of expert `expert`: constant, so it may be read in front of cuda_chain_wait(). */
__device__ __forceinline__ float bias_of(const cuda_router &p, uint32_t expert)
{
    return p.bias != NULL && expert < p.shape.moe.routed ? __ldg(p.bias + expert) : 0;
}

/* A block a row. */
__global__ void __launch_bounds__(TEAM) choose_kernel(const __grid_constant__ cuda_router p)
{
    __shared__ team_memory memory;
    float bias = bias_of(p, threadIdx.x);
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t rows = real_rows(p);
    float logit = threadIdx.x < p.shape.moe.routed ? logit_of(p, blockIdx.x, threadIdx.x) : 0;
    if (blockIdx.x < rows) {
        choose_row(p, memory, 0, blockIdx.x, logit, bias);
    }
}

/* One block. FUSED: it also chooses, a team a row. */
template <bool FUSED>
__global__ void __launch_bounds__(PLACE_THREADS) place_kernel(const __grid_constant__ cuda_router p)
{
    extern __shared__ __align__(16) uint8_t shared[];
    place_memory &memory = *(place_memory *)shared;
    uint32_t expert = threadIdx.x % TEAM;
    uint32_t team = threadIdx.x / TEAM;
    float bias = FUSED ? bias_of(p, expert) : 0;
    if (FUSED && threadIdx.x < CUDA_ROUTER_EXPERTS) {
        memory.rows[threadIdx.x][0] = 0;
    }
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t rows = real_rows(p);
    if (FUSED) {
        __shared__ team_memory teams[FUSED_ROWS];
        bool in = team < p.rows && expert < p.shape.moe.routed;
        float logit = in ? logit_of(p, team, expert) : 0;
        if (team < rows) {
            choose_row(p, teams[team], team, team, logit, bias);
        }
        __syncthreads();
        place_few(p.out, memory, teams, rows);
    } else {
        place_all(p.out, memory, rows);
    }
}

/* ---- Gathering ---- */

/* blockIdx: 8 gathered rows, some K blocks. A warp copies 8 rows of a K block: 1 KiB, written in order. */
__global__ void __launch_bounds__(GATHER_THREADS)
    gather_kernel(const __grid_constant__ cuda_gather p)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t first = blockIdx.x * CUDA_ATOM_ROWS;
    uint32_t begin = p.routing.begin[p.routing.first];
    uint32_t end = p.routing.begin[p.routing.first + p.routing.local];
    uint32_t lane = threadIdx.x % 32;
    uint32_t row[2] = {lane / 8, lane / 8 + 4};
    uint32_t from[2] = {p.routing.source[first + row[0]], p.routing.source[first + row[1]]};
    uint32_t scale_from = p.routing.source[first + lane % 8];
    if (first < begin || first >= end) { /* what was read may be left over from another batch */
        return;
    }
    size_t offset[2];
#pragma unroll
    for (int i = 0; i < 2; i++) {
        uint32_t chunk = lane % 8 ^ row[i];
        offset[i] = from[i] == UINT32_MAX ? 0 : cuda_rows_offset(p.x, from[i], 0, chunk);
    }
    size_t from_stride = (size_t)p.x.capacity * CUDA_BLOCK_BYTES;
    size_t to_stride = (size_t)p.out.capacity * CUDA_BLOCK_BYTES;
    uint8_t *to = p.out.data + (size_t)first * CUDA_BLOCK_BYTES + lane * 16;
    uint32_t warp = blockIdx.y * (GATHER_THREADS / 32) + threadIdx.x / 32;
#pragma unroll 4
    for (uint32_t kb = warp; kb < p.x.k_blocks; kb += gridDim.y * (GATHER_THREADS / 32)) {
        uint4 v[2];
        float scale = 0;
#pragma unroll
        for (int i = 0; i < 2; i++) {
            v[i] = *(const uint4 *)(p.x.data + kb * from_stride + offset[i]);
        }
        if (p.x.scale != NULL && scale_from != UINT32_MAX) {
            scale = p.x.scale[(size_t)kb * p.x.capacity + scale_from];
        }
#pragma unroll
        for (int i = 0; i < 2; i++) {
            if (from[i] != UINT32_MAX) {
                *(uint4 *)(to + kb * to_stride + i * 512) = v[i];
            }
        }
        if (p.x.scale != NULL && scale_from != UINT32_MAX && lane < 8) {
            p.out.scale[(size_t)kb * p.out.capacity + first + lane] = scale;
        }
    }
}

uint8_t *take(size_t *used, void *base, size_t bytes)
{
    uint8_t *at = base == NULL ? NULL : (uint8_t *)base + *used;
    *used += (bytes + 255) / 256 * 256;
    return at;
}

size_t lay_out(const cuda_routing_shape *s, void *base, cuda_routing *out)
{
    size_t used = 0;
    size_t rows = s->rows_max;
    cuda_routing r = {};
    r.per_token = s->moe.per_token;
    r.shared = s->shared ? 1 : 0;
    r.groups = s->moe.routed + r.shared;
    r.local = r.groups;
    r.partial = (float *)take(&used, base, cuda_router_runs(s->cols) * rows * s->moe.routed * 4);
    r.ids = (uint32_t *)take(&used, base, rows * r.per_token * 4);
    r.weights = (float *)take(&used, base, rows * r.per_token * 4);
    r.place = (uint32_t *)take(&used, base, rows * (r.per_token + r.shared) * 4);
    r.source = (uint32_t *)take(&used, base, (size_t)cuda_routing_capacity(s, s->rows_max) * 4);
    r.begin = (uint32_t *)take(&used, base, ((size_t)r.groups + 1) * 4);
    r.count = (uint32_t *)take(&used, base, (size_t)r.groups * 4);
    *out = r;
    return used;
}

} // namespace

bool cuda_routing_supported(const cuda_routing_shape *s)
{
    const engine_moe *moe = &s->moe;
    return moe->routed >= 1 && moe->routed <= CUDA_ROUTER_EXPERTS && moe->per_token >= 1 &&
           moe->per_token <= CUDA_ROUTER_CHOICES && moe->per_token <= moe->routed &&
           moe->groups >= 1 && moe->groups <= 32 && s->cols % CUDA_ROUTER_CHUNK == 0;
}

uint32_t cuda_routing_capacity(const cuda_routing_shape *s, uint32_t rows)
{
    uint32_t entries = rows * s->moe.per_token;
    uint32_t groups = entries < s->moe.routed ? entries : s->moe.routed;
    uint32_t atoms = (entries + groups * (CUDA_ATOM_ROWS - 1)) / CUDA_ATOM_ROWS;
    atoms += s->shared ? (rows + CUDA_ATOM_ROWS - 1) / CUDA_ATOM_ROWS : 0;
    return atoms * CUDA_ATOM_ROWS;
}

size_t cuda_routing_bytes(const cuda_routing_shape *shape)
{
    cuda_routing ignored;
    return lay_out(shape, NULL, &ignored);
}

cuda_routing cuda_routing_at(const cuda_routing_shape *shape, void *base)
{
    cuda_routing out;
    (void)lay_out(shape, base, &out);
    return out;
}

cuda_groups cuda_routing_groups(const cuda_routing *routing, uint32_t rows)
{
    cuda_groups groups = {};
    groups.count = routing->local;
    groups.begin = routing->begin + routing->first;
    groups.rows = routing->count + routing->first;
    groups.rows_max = rows;
    groups.settled = true;
    return groups;
}

cudaError_t cuda_router_prepare(void)
{
    int bytes = (int)sizeof(place_memory);
    cudaError_t error = cuda_router_logits_prepare();
    if (error == cudaSuccess) {
        error = cudaFuncSetAttribute(place_kernel<false>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    }
    if (error == cudaSuccess) {
        error = cudaFuncSetAttribute(place_kernel<true>,
                                     cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    }
    return error;
}

cudaError_t cuda_router_choose(const cuda_router *op, bool fused, cudaStream_t stream)
{
    cuda_shape one = {dim3(1), dim3(PLACE_THREADS), sizeof(place_memory)};
    if (fused && op->rows <= FUSED_ROWS) {
        return cuda_launch(place_kernel<true>, one, stream, *op);
    }
    cuda_shape rows = {dim3(op->rows), dim3(TEAM), 0};
    cudaError_t error = cuda_launch(choose_kernel, rows, stream, *op);
    return error != cudaSuccess ? error : cuda_launch(place_kernel<false>, one, stream, *op);
}

cudaError_t cuda_router_run(const cuda_router *op, cudaStream_t stream)
{
    cudaError_t error = cuda_router_logits(op, op->rows > NARROW_MOST, stream);
    return error != cudaSuccess ? error : cuda_router_choose(op, op->rows <= FUSED_ROWS, stream);
}

cudaError_t cuda_gather_run(const cuda_gather *op, cudaStream_t stream)
{
    uint32_t atoms = cuda_routing_capacity(&op->shape, op->rows) / CUDA_ATOM_ROWS;
    uint32_t warps = GATHER_THREADS / 32;
    uint32_t most = (op->x.k_blocks + warps - 1) / warps;
    uint32_t parts = atoms >= 528 ? 1 : (528 + atoms - 1) / atoms;
    cuda_shape shape = {dim3(atoms, parts < most ? parts : most), dim3(GATHER_THREADS), 0};
    return cuda_launch(gather_kernel, shape, stream, *op);
}
