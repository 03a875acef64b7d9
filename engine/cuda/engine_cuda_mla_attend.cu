/* Absorbed attention: scores and values of 64 heads against the latent cache, on Hopper's tensor cores (sm_90a).
 *
 * A thread block holds 64 queries (72 KiB) and two blocks of 64 keys (72 KiB each) in shared memory; the 64 x 512 sums
 * fill the registers of two warpgroups, 256 columns each. Warpgroup 0 computes the scores of the even key blocks,
 * warpgroup 1 those of the odd ones; each multiplies both blocks with its half of the values and reads the other's
 * probabilities from shared memory. So one warpgroup's exponentials run under the other's products. (The schedule is
 * that of FlashMLA's description, "seesaw"; the code is not.) The probabilities lie where the block's rotated slice was:
 * nobody needs it once the scores are there.
 *
 * The running maximum is rounded up to a whole number (of powers of two): every rescaling is then exact, and is left
 * out when the factor is one.
 *
 * Barriers in shared memory: full[2][9] (a slice of the key buffer has come), free_left[2] and free_right[2] (columns
 * 0 .. 255 and 256 .. 511 of it are no longer read, by warpgroup 0 and 1; the slice with the probabilities goes with the
 * half that is read last), query_full, query_free. Named barriers: below. */
#include "engine_cuda_launch.cuh"
#include "engine_cuda_mla_plan.cuh"
#include "engine_cuda_ptx.cuh"
#include "engine_cuda_wgmma.cuh"

#include <math.h>

enum {
    MLA_KEYS = 64,           /* of a block */
    MLA_BLOCK_THREADS = 384, /* two warpgroups that compute, one that loads */
    MLA_AT_KEYS = CUDA_MLA_PAGE_BYTES,
    MLA_AT_BARRIERS = 3 * CUDA_MLA_PAGE_BYTES,
    MLA_AT_MAX =
        MLA_AT_BARRIERS + 256, /* 2 x 64 floats: maxima that the warpgroups tell each other */
    MLA_AT_SUM =
        MLA_AT_MAX + 2 * 64 * 4, /* 2 x 2 x 64 floats: sums of probabilities, two runs' worth */
    MLA_SHARED = MLA_AT_SUM + 4 * 64 * 4,
    MLA_HALF = 4 * CUDA_MLA_SLICE_BYTES,         /* four slices: 256 columns */
    MLA_PROBABILITIES = 8 * CUDA_MLA_SLICE_BYTES /* in a key buffer */
};

/* Named barriers: who arrives -> who waits. */
enum {
    MLA_EVEN_MAX = 1,   /* 0 -> 1: the maximum with the even block */
    MLA_ODD_READY = 2,  /* 1 -> 0: the odd block's maximum and probabilities */
    MLA_EVEN_READY = 3, /* 0 -> 1: the even block's probabilities, at the odd block's maximum */
    MLA_RUN_END = 4,    /* both */
    MLA_EVEN_SCORES = 5 /* 0 -> 1: the products for the even block's scores have begun */
};

/* Where barriers lie in shared memory. */
enum {
    MLA_FULL = MLA_AT_BARRIERS,      /* + 72 * buffer + 8 * slice */
    MLA_FREE_LEFT = MLA_FULL + 144,  /* + 8 * buffer */
    MLA_FREE_RIGHT = MLA_FULL + 160, /* + 8 * buffer */
    MLA_QUERY_FULL = MLA_FULL + 176,
    MLA_QUERY_FREE = MLA_FULL + 184
};

__device__ __forceinline__ void mla_barriers_init(uint32_t smem)
{
    for (uint32_t i = 0; i < 2; i++) {
        for (uint32_t s = 0; s < CUDA_MLA_SLICES; s++) {
            cuda_barrier_init(smem + MLA_FULL + 72 * i + 8 * s, 1);
        }
        cuda_barrier_init(smem + MLA_FREE_LEFT + 8 * i, 4);
        cuda_barrier_init(smem + MLA_FREE_RIGHT + 8 * i, 4);
    }
    cuda_barrier_init(smem + MLA_QUERY_FULL, 1);
    cuda_barrier_init(smem + MLA_QUERY_FREE, 8);
    cuda_barrier_init_fence();
}

/* ---- Small arithmetic ---- */

__device__ __forceinline__ float mla_exp2(float x)
{
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

/* 2^d for a whole d <= 0 (or minus infinity), exactly. */
__device__ __forceinline__ float mla_power(float d)
{
    return __int_as_float((max(__float2int_rz(d), -127) + 127) << 23);
}

__device__ __forceinline__ uint32_t mla_pack(float low, float high)
{
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

__device__ __forceinline__ float mla_quad_max(float x)
{
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

__device__ __forceinline__ float mla_quad_sum(float x)
{
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

/* A thread holds two rows of the sums: row 0 is lane / 4 of its warp's 16, row 1 eight further. */
struct mla_pair {
    float row[2];
};

/* Registers whose bit 1 is clear belong to row 0. A factor of one changes nothing, so whole warps skip it. */
template <int N> __device__ __forceinline__ void mla_scale(float (&x)[N], const mla_pair &factor)
{
    if (__any_sync(0xFFFFFFFFu, factor.row[0] != 1.0F || factor.row[1] != 1.0F)) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            x[i] *= factor.row[(i / 2) % 2];
        }
    }
}

/* ---- Products ---- */

/* An address that the compiler takes for a new one: else it would compute the sums of it and constants in front of the
 * loop, more of them than there are registers. */
__device__ __forceinline__ uint32_t mla_here(uint32_t smem)
{
    asm volatile("" : "+r"(smem));
    return smem;
}

/* Queries, keys, probabilities: rows of 128 bytes (cuda_wgmma_operand()). Add 2 for each 16 numbers along K. `smem`
 * without what a cluster's block has above bit 17 (its rank): mla_operand_base(). */
__device__ __forceinline__ uint64_t mla_rows_operand(uint32_t smem)
{
    return (uint64_t)(1u << 30 | 1024 >> 4) << 32 | (1u << 16 | smem >> 4);
}

__device__ __forceinline__ uint32_t mla_operand_base(uint32_t smem)
{
    return mla_here(smem) & 0x3FFFF;
}

/* V: columns along N, keys along K: 64 columns (128 bytes) x 8 keys make an atom of 1 KiB; the next 8 keys follow it,
 * the next 64 columns are a slice away. Add 128 for each 16 keys. */
__device__ __forceinline__ uint64_t mla_value_operand(uint32_t smem)
{
    return (uint64_t)(1u << 30 | 1024 >> 4) << 32 |
           ((uint32_t)CUDA_MLA_SLICE_BYTES >> 4 << 16 | smem >> 4);
}

/* Slices FROM .. TO - 1 of the scores of 64 heads and the keys in buffer BUFFER, each as soon as it has come: buffer 0
 * columns 0 .. 575, buffer 1 the right half first, since it is loaded first. */
template <int BUFFER, int FROM, int TO>
__device__ __forceinline__ void mla_scores(float (&s)[32], uint32_t smem, uint32_t parity)
{
    smem = mla_here(smem);
    const uint32_t base = mla_operand_base(smem);
#pragma unroll
    for (int i = FROM; i < TO; i++) {
        const int slice = BUFFER == 0 || i == 8 ? i : (i + 4) % 8;
        cuda_barrier_wait(smem + MLA_FULL + 72 * BUFFER + 8 * slice, parity);
        cuda_wgmma_fence();
#pragma unroll
        for (int step = 0; step < 4; step++) {
            const uint32_t at = slice * CUDA_MLA_SLICE_BYTES + 32 * step;
            cuda_wgmma<64>::bf16(
                s, mla_rows_operand(base + at),
                mla_rows_operand(base + MLA_AT_KEYS + BUFFER * CUDA_MLA_PAGE_BYTES + at),
                i + step != 0);
        }
    }
    cuda_wgmma_commit();
}

/* Adds probabilities (registers) times columns 256 * GROUP .. of the values in buffer BUFFER. */
template <int BUFFER, int GROUP>
__device__ __forceinline__ void mla_values_own(float (&o)[128], const uint32_t (&p)[4][4],
                                               uint32_t smem)
{
    smem = mla_operand_base(smem) + MLA_AT_KEYS + BUFFER * CUDA_MLA_PAGE_BYTES + GROUP * MLA_HALF;
    cuda_wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) {
        cuda_wgmma<256>::bf16_ra_bt(o, p[step], mla_value_operand(smem + 2048 * step), true);
    }
    cuda_wgmma_commit();
}

/* The same with the probabilities in the buffer, the other warpgroup's. */
template <int BUFFER, int GROUP>
__device__ __forceinline__ void mla_values_other(float (&o)[128], uint32_t smem)
{
    smem = mla_operand_base(smem) + MLA_AT_KEYS + BUFFER * CUDA_MLA_PAGE_BYTES;
    cuda_wgmma_fence();
#pragma unroll
    for (int step = 0; step < 4; step++) {
        cuda_wgmma<256>::bf16_bt(o, mla_rows_operand(smem + MLA_PROBABILITIES + 32 * step),
                                 mla_value_operand(smem + GROUP * MLA_HALF + 2048 * step), true);
    }
    cuda_wgmma_commit();
}

/* Keys from `keys` on are not there. */
__device__ __forceinline__ void mla_mask(float (&s)[32], uint32_t keys, uint32_t lane)
{
    if (keys < MLA_KEYS) {
#pragma unroll
        for (uint32_t i = 0; i < 32; i++) {
            uint32_t key = 8 * (i / 4) + 2 * (lane % 4) + i % 2;
            s[i] = key < keys ? s[i] : -INFINITY;
        }
    }
}

/* The running maximum with these scores, in powers of two. */
__device__ __forceinline__ mla_pair mla_maximum(const float (&s)[32], float scale,
                                                const mla_pair &before)
{
    float most[2] = {s[0], s[2]};
#pragma unroll
    for (int i = 0; i < 32; i++) {
        most[(i / 2) % 2] = fmaxf(most[(i / 2) % 2], s[i]);
    }
    mla_pair m;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        m.row[r] = fmaxf(before.row[r], ceilf(mla_quad_max(most[r]) * scale));
    }
    return m;
}

/* p = bf16(2^(s * scale - m)), as an operand in registers. The sums are those of the rounded numbers, so that a key that
 * has nearly all the weight comes out as it is. */
__device__ __forceinline__ void mla_exponentials(float (&s)[32], float scale, const mla_pair &m,
                                                 mla_pair *sum, uint32_t (&p)[4][4])
{
    float part[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 16; i++) {
        float low = mla_exp2(fmaf(s[2 * i], scale, -m.row[i % 2]));
        float high = mla_exp2(fmaf(s[2 * i + 1], scale, -m.row[i % 2]));
        uint32_t pair = mla_pack(low, high);
        p[i / 4][i % 4] = pair;
        part[i % 2] += __uint_as_float(pair << 16);
        part[i % 2] += __uint_as_float(pair & 0xFFFF0000u);
    }
    sum->row[0] += part[0];
    sum->row[1] += part[1];
}

__device__ __forceinline__ mla_pair mla_factor(const mla_pair &before, const mla_pair &after)
{
    mla_pair f;
    f.row[0] = mla_power(before.row[0] - after.row[0]);
    f.row[1] = mla_power(before.row[1] - after.row[1]);
    return f;
}

__device__ __forceinline__ void mla_tell(float *to, const mla_pair &value, uint32_t row,
                                         uint32_t lane)
{
    if (lane % 4 == 0) {
        to[row] = value.row[0];
        to[row + 8] = value.row[1];
    }
}

__device__ __forceinline__ mla_pair mla_told(const float *from, uint32_t row)
{
    mla_pair value;
    value.row[0] = from[row];
    value.row[1] = from[row + 8];
    return value;
}

/* Writes the probabilities as an operand of 64 rows x 128 bytes in the 128-byte swizzle. */
__device__ __forceinline__ void mla_share(uint32_t to, const uint32_t (&p)[4][4], uint32_t warp,
                                          uint32_t lane)
{
    uint32_t row = 16 * warp + lane % 16;
#pragma unroll
    for (uint32_t step = 0; step < 4; step++) {
        uint32_t at = to + cuda_swizzle(row, 2 * step + lane / 16);
        asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(at),
                     "r"(p[step][0]), "r"(p[step][1]), "r"(p[step][2]), "r"(p[step][3])
                     : "memory");
    }
    cuda_proxy_fence();
}

/* bf16 numbers times a power of two: exact. */
__device__ __forceinline__ uint32_t mla_times(uint32_t pair, float factor)
{
    uint32_t f = mla_pack(factor, factor);
    uint32_t product;
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(product) : "r"(pair), "r"(f));
    return product;
}

__device__ __forceinline__ void mla_release(uint32_t barrier, uint32_t lane)
{
    if (lane == 0) {
        cuda_barrier_arrive(barrier);
    }
}

/* ---- Partial results ---- */

/* A partial result in memory: number i (of 32) of thread t at [i * 256 + t], (m, l) of its two rows at i = 32. */
struct mla_state {
    mla_pair m;
    mla_pair l;
};

struct mla_mix { /* factors of a merge */
    mla_pair left;
    mla_pair right;
};

/* The one merge: every result of two parts is made by this and mla_mixed(). */
__device__ __forceinline__ mla_mix mla_merge(const float4 &left, mla_state *right)
{
    mla_state a = {{{left.x, left.z}}, {{left.y, left.w}}};
    mla_mix mix;
#pragma unroll
    for (int r = 0; r < 2; r++) {
        float m = fmaxf(a.m.row[r], right->m.row[r]);
        mix.left.row[r] = mla_power(a.m.row[r] - m);
        mix.right.row[r] = mla_power(right->m.row[r] - m);
        right->l.row[r] =
            __fmaf_rn(a.l.row[r], mix.left.row[r], __fmul_rn(right->l.row[r], mix.right.row[r]));
        right->m.row[r] = m;
    }
    return mix;
}

__device__ __forceinline__ float mla_mixed(float left, float right, const mla_mix &mix, int row)
{
    return __fmaf_rn(left, mix.left.row[row], __fmul_rn(right, mix.right.row[row]));
}

__device__ __forceinline__ float4 mla_mixed4(const float4 &left, const float4 &right,
                                             const mla_mix &mix)
{
    return make_float4(mla_mixed(left.x, right.x, mix, 0), mla_mixed(left.y, right.y, mix, 0),
                       mla_mixed(left.z, right.z, mix, 1), mla_mixed(left.w, right.w, mix, 1));
}

__device__ __forceinline__ void mla_merge_from(const float4 *part, float (&o)[128],
                                               mla_state *state, uint32_t thread)
{
    mla_mix mix = mla_merge(__ldcg(part + 32 * CUDA_MLA_THREADS + thread), state);
#pragma unroll
    for (int i = 0; i < 32; i += 8) {
        float4 left[8];
#pragma unroll
        for (int j = 0; j < 8; j++) {
            left[j] = __ldcg(part + (i + j) * CUDA_MLA_THREADS + thread);
        }
#pragma unroll
        for (int j = 0; j < 8; j++) {
            float *x = o + 4 * (i + j);
            float4 sum = mla_mixed4(left[j], make_float4(x[0], x[1], x[2], x[3]), mix);
            x[0] = sum.x;
            x[1] = sum.y;
            x[2] = sum.z;
            x[3] = sum.w;
        }
    }
}

__device__ __forceinline__ void mla_store_part(float4 *part, const float (&o)[128],
                                               const mla_state &s, uint32_t thread)
{
#pragma unroll
    for (int i = 0; i < 32; i++) {
        cuda_store_kept(part + i * CUDA_MLA_THREADS + thread,
                        make_float4(o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]));
    }
    cuda_store_kept(part + 32 * CUDA_MLA_THREADS + thread,
                    make_float4(s.m.row[0], s.l.row[0], s.m.row[1], s.l.row[1]));
}

/* Lane i of a quad gives word j of column group j as w[j]; it gets word j of group i from lane j. */
__device__ __forceinline__ void mla_quad_transpose(uint32_t (&w)[4], uint32_t lane)
{
#pragma unroll
    for (uint32_t bit = 1; bit <= 2; bit *= 2) {
        bool high = (lane & bit) != 0;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            if ((i & bit) == 0) {
                uint32_t mine = high ? w[i] : w[i | bit];
                uint32_t theirs = __shfl_xor_sync(0xFFFFFFFFu, mine, bit);
                w[i] = high ? theirs : w[i];
                w[i | bit] = high ? w[i | bit] : theirs;
            }
        }
    }
}

/* out: the thread block's tile, row h at h * 512; `column`: of the warpgroup's half. */
__device__ __forceinline__ void mla_store_out(__nv_bfloat16 *out, uint32_t heads,
                                              const float (&o)[128], const mla_state &s,
                                              uint32_t row, uint32_t column, uint32_t lane)
{
#pragma unroll
    for (uint32_t r = 0; r < 2; r++) {
        float inverse = 1.0F / s.l.row[r];
        uint32_t head = row + 8 * r;
#pragma unroll
        for (uint32_t i = 0; i < 32; i += 4) {
            uint32_t w[4];
#pragma unroll
            for (uint32_t j = 0; j < 4; j++) {
                w[j] = mla_pack(o[4 * (i + j) + 2 * r] * inverse,
                                o[4 * (i + j) + 2 * r + 1] * inverse);
            }
            mla_quad_transpose(w, lane);
            if (head < heads) {
                *(uint4 *)(out + (size_t)head * CUDA_MLA_LATENT + column + 8 * (i + lane % 4)) =
                    make_uint4(w[0], w[1], w[2], w[3]);
            }
        }
    }
}

/* ---- A warpgroup's part ---- */

struct mla_consumer {
    cuda_mla_attend a;
    uint32_t smem;   /* address of the block's shared memory */
    float *maxima;   /* [2][64] */
    float *sums;     /* [2 runs][2][64] */
    float scale;     /* of scores, times log2(e) */
    uint32_t tiles;  /* of 64 heads: blocks of a team */
    uint32_t tile;   /* this block's */
    uint32_t thread; /* 0 .. 255 */
    uint32_t warp;   /* of the warpgroup */
    uint32_t lane;
    uint32_t row; /* first of the thread's two */
    uint32_t
        used[2];   /* how often each key buffer has been filled and used: the parity to wait for */
    uint32_t runs; /* since the launch */
};

/* The key blocks of an item; they are taken in pairs. A run ends in front of each multiple of `run`. */
struct mla_span {
    uint32_t block;
    uint32_t end;
    uint32_t run;
};

__device__ __forceinline__ mla_span mla_item_span(const cuda_mla_item &item)
{
    uint32_t each = item.keys / MLA_KEYS;
    uint32_t all = (item.length + MLA_KEYS - 1) / MLA_KEYS;
    mla_span span = {item.run * each, min((item.run + item.runs) * each, all), each};
    return span;
}

__device__ __forceinline__ void mla_rescale_sum(mla_state *state, const mla_pair &factor)
{
    state->l.row[0] *= factor.row[0];
    state->l.row[1] *= factor.row[1];
}

/* Warpgroup 0, the scores of an even block are there: probabilities, and their product with columns 0 .. 255 begins.
 * `p` must stay as it is until that has ended. */
__device__ __forceinline__ void mla_even_own(mla_consumer &c, uint32_t keys, float (&s)[32],
                                             float (&o)[128], mla_state *state, uint32_t (&p)[4][4])
{
    c.used[0]++;
    mla_mask(s, keys, c.lane);
    mla_pair m = mla_maximum(s, c.scale, state->m);
    mla_tell(c.maxima, m, c.row, c.lane);
    cuda_named_arrive(MLA_EVEN_MAX, 256);
    mla_pair factor = mla_factor(state->m, m);
    state->m = m;
    mla_rescale_sum(state, factor);
    mla_exponentials(s, c.scale, m, &state->l, p);
    mla_scale(o, factor);
    mla_values_own<0, 0>(o, p, c.smem);
}

/* The even block's probabilities for warpgroup 1, at the maximum that the odd block made. */
__device__ __forceinline__ void mla_even_share(const mla_consumer &c, const uint32_t (&p)[4][4],
                                               const mla_pair &factor)
{
    uint32_t shared[4][4];
#pragma unroll
    for (int i = 0; i < 16; i++) {
        shared[i / 4][i % 4] = mla_times(p[i / 4][i % 4], factor.row[i % 2]);
    }
    mla_share(c.smem + MLA_AT_KEYS + MLA_PROBABILITIES, shared, c.warp, c.lane);
    cuda_named_arrive(MLA_EVEN_READY, 256);
}

/* Both warpgroups have summed their own blocks' probabilities; the total, the even ones first. */
__device__ __forceinline__ void mla_run_total(mla_consumer &c, mla_state *state)
{
    float *sums = c.sums + (c.runs & 1) * 128;
    mla_pair own;
    own.row[0] = mla_quad_sum(state->l.row[0]);
    own.row[1] = mla_quad_sum(state->l.row[1]);
    mla_tell(sums + c.thread / 128 * 64, own, c.row, c.lane);
    cuda_named_sync(MLA_RUN_END, 256);
    mla_pair even = mla_told(sums, c.row);
    mla_pair odd = mla_told(sums + 64, c.row);
    state->l.row[0] = even.row[0] + odd.row[0];
    state->l.row[1] = even.row[1] + odd.row[1];
    c.runs++;
}

/* Where the block keeps its left parts of the tree, by level. */
__device__ __forceinline__ float4 *mla_own_part(const mla_consumer &c, uint32_t level)
{
    size_t part = CUDA_MLA_SLOTS + (size_t)blockIdx.x * CUDA_MLA_LEVELS + level;
    return (float4 *)((uint8_t *)c.a.scratch + part * CUDA_MLA_PART_BYTES);
}

__device__ __forceinline__ void mla_clear(float (&o)[128], mla_state *state)
{
#pragma unroll
    for (int i = 0; i < 128; i++) {
        o[i] = 0;
    }
    *state = {{{-INFINITY, -INFINITY}}, {{0, 0}}};
}

/* Run `index` (of the item) has ended and another follows: the tree is climbed as far as its left parts are there. */
__device__ __forceinline__ void mla_run_keep(mla_consumer &c, uint32_t index, float (&o)[128],
                                             mla_state *state)
{
    mla_run_total(c, state);
    uint32_t level = 0;
    for (; (index >> level & 1) != 0; level++) {
        mla_merge_from(mla_own_part(c, level), o, state, c.thread);
    }
    mla_store_part(mla_own_part(c, level), o, *state, c.thread);
    mla_clear(o, state);
}

/* The item's last run: all that is left of the tree is merged, and the result is a piece or the row's. */
__device__ __forceinline__ void mla_item_end(mla_consumer &c, const cuda_mla_item &item,
                                             float (&o)[128], mla_state *state)
{
    mla_run_total(c, state);
    uint32_t index = item.runs - 1;
    for (uint32_t level = 0; index >> level != 0; level++) {
        if ((index >> level & 1) != 0) {
            mla_merge_from(mla_own_part(c, level), o, state, c.thread);
        }
    }
    if (item.slot != CUDA_MLA_FINAL) {
        size_t slot = (size_t)item.slot * c.tiles + c.tile;
        mla_store_part((float4 *)((uint8_t *)c.a.scratch + slot * CUDA_MLA_PART_BYTES), o, *state,
                       c.thread);
    } else {
        size_t head = (size_t)item.row * c.a.heads + (size_t)c.tile * CUDA_MLA_TILE_HEADS;
        mla_store_out(c.a.out + head * CUDA_MLA_LATENT, c.a.heads - c.tile * CUDA_MLA_TILE_HEADS, o,
                      *state, c.row, c.thread / 128 * 256, c.lane);
    }
}

/* Warpgroup 0: scores of the even blocks, columns 0 .. 255. The scores of the next pair are under way while a run is
 * put away. */
__device__ __forceinline__ void mla_item_even(mla_consumer &c, const cuda_mla_item &item,
                                              const mla_span &span, float (&o)[128],
                                              mla_state *state)
{
    float s[32];
    uint32_t p[4][4];
    uint32_t block = span.block;
    uint32_t run = 0;
    mla_scores<0, 0, 9>(s, c.smem, c.used[0] & 1);
    if (block + 1 < span.end) {
        cuda_named_arrive(MLA_EVEN_SCORES, 256);
    }
    while (block + 1 < span.end) {
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(s);
        cuda_wgmma_hold(o);
        mla_even_own(c, item.length - block * MLA_KEYS, s, o, state, p);
        cuda_named_sync(MLA_ODD_READY, 256);
        mla_pair m = mla_told(c.maxima + 64, c.row);
        mla_pair factor = mla_factor(state->m, m);
        state->m = m;
        mla_even_share(c, p, factor);
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(o);
        mla_release(c.smem + MLA_FREE_LEFT + 8 * 0, c.lane);
        mla_rescale_sum(state, factor);
        mla_scale(o, factor);
        mla_values_other<1, 0>(o, c.smem);
        block += 2;
        if (block >= span.end) {
            cuda_wgmma_wait<0>();
            cuda_wgmma_hold(o);
            mla_release(c.smem + MLA_FREE_LEFT + 8 * 1, c.lane);
            return;
        }
        mla_scores<0, 0, 1>(s, c.smem, c.used[0] & 1);
        cuda_wgmma_wait<1>();
        mla_release(c.smem + MLA_FREE_LEFT + 8 * 1, c.lane);
        mla_scores<0, 1, 9>(s, c.smem, c.used[0] & 1);
        if (block + 1 < span.end) {
            cuda_named_arrive(MLA_EVEN_SCORES, 256);
        }
        if (block % span.run == 0) {
            cuda_wgmma_hold(o);
            mla_run_keep(c, run++, o, state);
        }
    }
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(s);
    cuda_wgmma_hold(o);
    mla_even_own(c, item.length - block * MLA_KEYS, s, o, state, p);
    mla_even_share(c, p, {{1.0F, 1.0F}});
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(o);
    mla_release(c.smem + MLA_FREE_LEFT + 8 * 0, c.lane);
}

/* An even block that is the last of the row and alone. */
__device__ __forceinline__ void mla_odd_lone(mla_consumer &c, float (&o)[128], mla_state *state)
{
    cuda_named_sync(MLA_EVEN_MAX, 256);
    mla_pair m = mla_told(c.maxima, c.row);
    mla_pair factor = mla_factor(state->m, m);
    state->m = m;
    mla_rescale_sum(state, factor);
    mla_scale(o, factor);
    cuda_named_sync(MLA_EVEN_READY, 256);
    mla_values_other<0, 1>(o, c.smem);
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(o);
    mla_release(c.smem + MLA_FREE_RIGHT + 8 * 0, c.lane);
}

/* The half that comes first, then the rest, but not in front of the even block's scores: warpgroup 0 then has its
 * exponentials to do while the tensor cores are busy with these. */
__device__ __forceinline__ void mla_odd_scores(const mla_consumer &c, float (&s)[32])
{
    mla_scores<1, 0, 4>(s, c.smem, c.used[1] & 1);
    cuda_named_sync(MLA_EVEN_SCORES, 256);
    mla_scores<1, 4, 9>(s, c.smem, c.used[1] & 1);
}

/* Warpgroup 1: scores of the odd blocks, columns 256 .. 511. */
__device__ __forceinline__ void mla_item_odd(mla_consumer &c, const cuda_mla_item &item,
                                             const mla_span &span, float (&o)[128],
                                             mla_state *state)
{
    uint32_t block = span.block;
    uint32_t run = 0;
    if (block + 1 == span.end) {
        mla_odd_lone(c, o, state);
        return;
    }
    float s[32];
    mla_odd_scores(c, s);
    for (;;) {
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(s);
        c.used[1]++;
        mla_mask(s, item.length - (block + 1) * MLA_KEYS, c.lane);
        mla_pair mine = mla_maximum(s, c.scale, state->m);
        cuda_named_sync(MLA_EVEN_MAX, 256);
        mla_pair m = mla_told(c.maxima, c.row);
        m.row[0] = fmaxf(m.row[0], mine.row[0]);
        m.row[1] = fmaxf(m.row[1], mine.row[1]);
        mla_tell(c.maxima + 64, m, c.row, c.lane);
        mla_pair factor = mla_factor(state->m, m);
        state->m = m;
        mla_rescale_sum(state, factor);
        uint32_t p[4][4];
        mla_exponentials(s, c.scale, m, &state->l, p);
        mla_share(c.smem + MLA_AT_KEYS + CUDA_MLA_PAGE_BYTES + MLA_PROBABILITIES, p, c.warp,
                  c.lane);
        cuda_named_arrive(MLA_ODD_READY, 256);
        mla_scale(o, factor);
        mla_values_own<1, 1>(o, p, c.smem);
        cuda_named_sync(MLA_EVEN_READY, 256);
        mla_values_other<0, 1>(o, c.smem);
        cuda_wgmma_wait<1>();
        mla_release(c.smem + MLA_FREE_RIGHT + 8 * 1, c.lane);
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(o);
        mla_release(c.smem + MLA_FREE_RIGHT + 8 * 0, c.lane);
        block += 2;
        if (block + 1 >= span.end) {
            break;
        }
        mla_odd_scores(c, s);
        if (block % span.run == 0) {
            mla_run_keep(c, run++, o, state);
        }
    }
    if (block < span.end) {
        if (block % span.run == 0) {
            mla_run_keep(c, run, o, state);
        }
        mla_odd_lone(c, o, state);
    }
}

template <int GROUP> __device__ __forceinline__ void mla_consume(mla_consumer &c)
{
    const cuda_mla_plan_head *plan = (const cuda_mla_plan_head *)c.a.plan;
    const cuda_mla_item *items = cuda_mla_items(c.a.plan);
    uint32_t team = blockIdx.x / c.tiles;
    uint32_t end = plan->begin[team + 1];
    uint32_t parity = 0;
    for (uint32_t i = plan->begin[team]; i < end; i++) {
        cuda_mla_item item = items[i];
        mla_span span = mla_item_span(item);
        cuda_barrier_wait(c.smem + MLA_QUERY_FULL, parity);
        parity ^= 1;
        float o[128];
        mla_state state;
        mla_clear(o, &state);
        if (GROUP == 0) {
            mla_item_even(c, item, span, o, &state);
        } else {
            mla_item_odd(c, item, span, o, &state);
        }
        mla_release(c.smem + MLA_QUERY_FREE, c.lane);
        mla_item_end(c, item, o, &state);
    }
}

/* ---- Loading ---- */

struct mla_loader {
    cuda_mla_attend a;
    uint32_t smem;
    uint32_t tiles;
    uint32_t tile;
    uint32_t
        warp; /* of four: each loads a slice of a half, since starting a copy takes longer than one would think */
    uint32_t lane;
    uint32_t used; /* bit b: buffer b has been filled an odd number of times */
};

/* A slice into key buffer b. */
__device__ __forceinline__ void mla_load_slice(const mla_loader &l, uint32_t b, uint32_t slice,
                                               const uint8_t *page)
{
    uint32_t to = l.smem + MLA_AT_KEYS + b * CUDA_MLA_PAGE_BYTES + slice * CUDA_MLA_SLICE_BYTES;
    uint32_t full = l.smem + MLA_FULL + 72 * b + 8 * slice;
    cuda_barrier_expect(full, CUDA_MLA_SLICE_BYTES);
    cuda_bulk_load_once(to, page + (size_t)slice * CUDA_MLA_SLICE_BYTES, CUDA_MLA_SLICE_BYTES,
                        full);
}

/* Half a block of keys (left: columns 0 .. 255) into buffer b as soon as it is free; the rotated slice comes with the
 * half that is free last. */
__device__ __forceinline__ void mla_load_half(const mla_loader &l, uint32_t b, bool left,
                                              const uint8_t *page)
{
    uint32_t parity = (l.used >> b & 1) ^ 1; /* the first use finds the buffer free */
    cuda_barrier_wait(l.smem + (left ? MLA_FREE_LEFT : MLA_FREE_RIGHT) + 8 * b, parity);
    mla_load_slice(l, b, (left ? 0 : 4) + l.warp, page);
    if (left == (b == 1) && l.warp == 0) {
        mla_load_slice(l, b, 8, page);
    }
}

/* A pair of key blocks, in the order in which the halves of the last pair are let go. */
__device__ __forceinline__ void mla_load_pair(mla_loader &l, const uint8_t *even,
                                              const uint8_t *odd)
{
    mla_load_half(l, 0, true, even);
    if (odd != NULL) {
        mla_load_half(l, 1, false, odd);
    }
    mla_load_half(l, 0, false, even);
    if (odd != NULL) {
        mla_load_half(l, 1, true, odd);
    }
    l.used ^= odd != NULL ? 3 : 1;
}

__device__ __forceinline__ void mla_load_query(const mla_loader &l, const cuda_mla_item &item)
{
    const uint8_t *from = l.a.queries + cuda_mla_query_offset(item.row, l.tile * 64, l.a.heads, 0);
    cuda_barrier_expect(l.smem + MLA_QUERY_FULL, CUDA_MLA_PAGE_BYTES);
    for (uint32_t s = 0; s < CUDA_MLA_SLICES; s++) {
        cuda_bulk_load(l.smem + s * CUDA_MLA_SLICE_BYTES, from + s * CUDA_MLA_SLICE_BYTES,
                       CUDA_MLA_SLICE_BYTES, l.smem + MLA_QUERY_FULL);
    }
}

/* Four warps: the lanes of each read the page table 32 entries at a time, lane 0 starts the copies. */
__device__ __forceinline__ void mla_load(mla_loader &l)
{
    const cuda_mla_plan_head *plan = (const cuda_mla_plan_head *)l.a.plan;
    const cuda_mla_item *items = cuda_mla_items(l.a.plan);
    uint32_t begin = plan->begin[blockIdx.x / l.tiles];
    uint32_t end = plan->begin[blockIdx.x / l.tiles + 1];
    for (uint32_t i = begin; i < end; i++) {
        cuda_mla_item item = items[i];
        uint32_t first = mla_item_span(item).block;
        uint32_t last = mla_item_span(item).end;
        const uint32_t *table = l.a.pages + (size_t)item.sequence * l.a.page_stride;
        uint32_t number = first + l.lane < last ? table[first + l.lane] : 0;
        if (l.lane == 0 && l.warp == 3) {
            cuda_barrier_wait(l.smem + MLA_QUERY_FREE, (i - begin + 1) & 1);
            mla_load_query(l, item);
        }
        uint32_t next = 0;
        for (uint32_t block = first; block < last; block += 2) {
            uint32_t at = (block - first) % 32;
            if (at == 0) {
                number = block == first ? number : next;
                next = block + 32 + l.lane < last ? table[block + 32 + l.lane] : 0;
            }
            uint32_t even = __shfl_sync(0xFFFFFFFFu, number, at);
            uint32_t odd = __shfl_sync(0xFFFFFFFFu, number, at + 1);
            if (l.lane == 0) {
                mla_load_pair(l, l.a.cache + (size_t)even * CUDA_MLA_PAGE_BYTES,
                              block + 1 < last ? l.a.cache + (size_t)odd * CUDA_MLA_PAGE_BYTES
                                               : NULL);
            }
            __syncwarp();
        }
    }
}

/* Grid: a plan's teams, each of as many blocks as there are tiles of 64 heads. They read the same keys at about the same
 * time, the second from L2. */
__global__ void __launch_bounds__(MLA_BLOCK_THREADS, 1) mla_attend(cuda_mla_attend a)
{
    extern __shared__ __align__(1024) uint8_t shared[];
    uint32_t smem = cuda_smem(shared);
    uint32_t tiles = cuda_mla_tiles(a.heads);
    uint32_t tile = blockIdx.x % tiles;
    if (threadIdx.x == 0) {
        mla_barriers_init(smem);
    }
    __syncthreads();
    cuda_chain_release();
    cuda_chain_wait();
    uint32_t group = threadIdx.x / 128;
    if (group == 2) {
        cuda_registers_give<40>();
        mla_loader l = {a, smem, tiles, tile, threadIdx.x / 32 % 4, threadIdx.x % 32, 0};
        mla_load(l);
    } else {
        cuda_registers_take<232>();
        uint32_t warp = threadIdx.x / 32 % 4;
        uint32_t lane = threadIdx.x % 32;
        mla_consumer c = {a,
                          smem,
                          (float *)(shared + MLA_AT_MAX),
                          (float *)(shared + MLA_AT_SUM),
                          a.scale * 1.4426950408889634F,
                          tiles,
                          tile,
                          threadIdx.x,
                          warp,
                          lane,
                          16 * warp + lane / 4,
                          {0, 0},
                          0};
        if (group == 0) {
            mla_consume<0>(c);
        } else {
            mla_consume<1>(c);
        }
    }
}

/* ---- The merge of pieces ---- */

enum { MLA_MERGE_BATCH = 8 };

struct mla_stack { /* left parts that wait for their right ones, by level */
    float4 sum[CUDA_MLA_LEVELS];
    float4 ml[CUDA_MLA_LEVELS];
};

/* Adds part `index`; when it is the last, everything is merged into it. */
__device__ __forceinline__ void mla_stack_add(mla_stack *stack, uint32_t index, bool last,
                                              float4 *sum, float4 *ml)
{
    mla_state state = {{{ml->x, ml->z}}, {{ml->y, ml->w}}};
    bool climbing = true;
#pragma unroll
    for (uint32_t level = 0; level < CUDA_MLA_LEVELS; level++) {
        bool there = (index >> level & 1) != 0;
        if (climbing && there) {
            mla_mix mix = mla_merge(stack->ml[level], &state);
            *sum = mla_mixed4(stack->sum[level], *sum, mix);
        } else if (climbing && !last) {
            stack->sum[level] = *sum;
            stack->ml[level] =
                make_float4(state.m.row[0], state.l.row[0], state.m.row[1], state.l.row[1]);
            climbing = false;
        }
    }
    *ml = make_float4(state.m.row[0], state.l.row[0], state.m.row[1], state.l.row[1]);
}

__device__ __forceinline__ void
mla_merge_parts(const cuda_mla_attend &a, const cuda_mla_merge &merge, uint32_t tile, uint32_t i)
{
    uint32_t tiles = cuda_mla_tiles(a.heads);
    const size_t stride = tiles * (size_t)CUDA_MLA_PART_BYTES / 16;
    const float4 *part =
        (const float4 *)((const uint8_t *)a.scratch + (size_t)tile * CUDA_MLA_PART_BYTES) +
        merge.slot * stride + threadIdx.x;
    mla_stack stack;
    float4 sum = {};
    float4 ml = {};
    for (uint32_t first = 0; first < merge.parts; first += MLA_MERGE_BATCH) {
        float4 sums[MLA_MERGE_BATCH];
        float4 mls[MLA_MERGE_BATCH];
#pragma unroll
        for (uint32_t p = 0; p < MLA_MERGE_BATCH; p++) {
            if (first + p < merge.parts) {
                sums[p] = __ldcg(part + (first + p) * stride + i * CUDA_MLA_THREADS);
                mls[p] = __ldcg(part + (first + p) * stride + 32 * CUDA_MLA_THREADS);
            }
        }
#pragma unroll
        for (uint32_t p = 0; p < MLA_MERGE_BATCH; p++) {
            if (first + p < merge.parts) {
                sum = sums[p];
                ml = mls[p];
                mla_stack_add(&stack, first + p, first + p + 1 == merge.parts, &sum, &ml);
            }
        }
    }
    uint32_t lane = threadIdx.x % 32;
    uint32_t head = tile * CUDA_MLA_TILE_HEADS + threadIdx.x % 128 / 32 * 16 + lane / 4;
    uint32_t column = threadIdx.x / 128 * 256 + 8 * i + 2 * (lane % 4);
    __nv_bfloat16 *out = a.out + ((size_t)merge.row * a.heads + head) * CUDA_MLA_LATENT + column;
    float inverse[2] = {1.0F / ml.y, 1.0F / ml.w};
    if (head < a.heads) {
        *(uint32_t *)out = mla_pack(sum.x * inverse[0], sum.y * inverse[0]);
    }
    if (head + 8 < a.heads) {
        *(uint32_t *)(out + 8 * CUDA_MLA_LATENT) = mla_pack(sum.z * inverse[1], sum.w * inverse[1]);
    }
}

__global__ void __launch_bounds__(CUDA_MLA_THREADS) mla_merge_pieces(cuda_mla_attend a)
{
    cuda_chain_wait();
    cuda_chain_release();
    const cuda_mla_plan_head *plan = (const cuda_mla_plan_head *)a.plan;
    uint32_t tiles = cuda_mla_tiles(a.heads);
    uint32_t count = plan->merges * tiles * 32;
    for (uint32_t at = blockIdx.x; at < count; at += gridDim.x) {
        mla_merge_parts(a, plan->merge[at / 32 / tiles], at / 32 % tiles, at % 32);
    }
}

/* ---- Launches ---- */

size_t cuda_mla_scratch_bytes(uint32_t blocks)
{
    blocks = blocks < CUDA_MLA_BLOCKS ? blocks : (uint32_t)CUDA_MLA_BLOCKS;
    return (size_t)CUDA_MLA_PART_BYTES * (CUDA_MLA_SLOTS + (size_t)blocks * CUDA_MLA_LEVELS);
}

cudaError_t cuda_mla_prepare(void)
{
    cudaError_t status =
        cudaFuncSetAttribute(mla_attend, cudaFuncAttributeMaxDynamicSharedMemorySize, MLA_SHARED);
    return status == cudaSuccess ? cuda_mla_head_prepare() : status;
}

cudaError_t cuda_mla_attend_run(const cuda_mla_attend *attend, cudaStream_t stream)
{
    uint32_t blocks = cuda_mla_teams(attend->blocks, attend->heads) * cuda_mla_tiles(attend->heads);
    cuda_shape shape = {dim3(blocks), dim3(MLA_BLOCK_THREADS), MLA_SHARED};
    cudaError_t status = cuda_launch(mla_attend, shape, stream, *attend);
    if (status != cudaSuccess) {
        return status;
    }
    cuda_shape merge = {dim3(4 * blocks), dim3(CUDA_MLA_THREADS), 0};
    return cuda_launch(mla_merge_pieces, merge, stream, *attend);
}
