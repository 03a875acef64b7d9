/* engine_cuda_mla_tile: what a thread block of latent attention does with its 64 queries and the two blocks of 64 keys in
 * its shared memory: where everything lies, scores, probabilities, their products with the values. */
#ifndef ENGINE_CUDA_MLA_TILE_CUH
#define ENGINE_CUDA_MLA_TILE_CUH

#include "engine_cuda_mla_part.cuh"
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

#endif
