/* The two products around absorbed attention, a head at a time: queries into the latent space (W_UK, K = 128, 512
 * outputs) and results out of it (W_UV, K = 512, 128 outputs). Few rows read 131,072 weights a head, so the weights
 * go from memory to registers in the order of the fragments of mma.sync (cuda_mla_pack_head()), with nothing in between;
 * their first loads are under way before the kernel in front has ended. e4m3 is widened to bf16, which is exact, and the
 * scale of a 128 x 128 block is applied to its float32 sums.
 *
 * Tokens are the 16-row operand, weights the 8-column one: m16n8k16. A thread t (lane) of a warp holds of the results
 * rows t / 4 and t / 4 + 8, columns 2 (t % 4) and the next; of the weights column t / 4 at k = 2 (t % 4) + {0, 1, 8, 9}.
 * Source: PTX ISA 8.x, "Matrix Fragments for mma.m16n8k16". */
#include "engine_cuda_launch.cuh"
#include "engine_cuda_mla_plan.cuh"
#include "engine_cuda_ptx.cuh"

#include <string.h>

enum {
    HEAD_THREADS = 256,
    HEAD_ROWS = 64, /* tokens of a thread block */
    HEAD_Q = CUDA_MLA_NOPE + CUDA_MLA_ROPE,
    ABSORB_STRIDE = CUDA_MLA_NOPE * 2 +
                    16, /* bytes; 16 more than the row, for ldmatrix without bank conflicts */
    UP_STRIDE = CUDA_MLA_LATENT * 2 + 16,
    UP_ROW = UP_STRIDE + 8 * 4 /* shared memory of a token: its latent, a maximum for each warp */
};

/* ---- Packing (host) ---- */

/* Index of weight (n, k) of a matrix of `columns` outputs: blocks of K = 128, in them tiles of 8 columns, in them what
 * one load of 16 bytes a lane brings (steps of K = 16: four of e4m3, two of bf16). */
static size_t packed_index(uint32_t n, uint32_t k, uint32_t columns, uint32_t size)
{
    uint32_t steps = 4 / size;
    uint32_t step = k % 128 / 16;
    uint32_t inner = k % 16;
    uint32_t lane = n % 8 * 4 + inner % 8 / 2;
    size_t load = ((size_t)(k / 128) * (columns / 8) + n / 8) * (8 / steps) + step / steps;
    return (load * 32 + lane) * (16 / size) + step % steps * 4 + inner / 8 * 2 + inner % 2;
}

size_t cuda_mla_head_bytes(cuda_type type)
{
    return (size_t)2 * CUDA_MLA_NOPE * CUDA_MLA_LATENT * (type == CUDA_E4M3 ? 1 : 2);
}

void cuda_mla_pack_head(void *to, const void *from, cuda_type type)
{
    uint32_t size = type == CUDA_E4M3 ? 1 : 2;
    uint8_t *uk = (uint8_t *)to;
    uint8_t *uv = uk + cuda_mla_head_bytes(type) / 2;
    const uint8_t *read = (const uint8_t *)from;
    for (uint32_t i = 0; i < CUDA_MLA_NOPE + CUDA_MLA_VALUE; i++) {
        for (uint32_t c = 0; c < CUDA_MLA_LATENT; c++, read += size) {
            uint8_t *at = i < CUDA_MLA_NOPE ? uk + size * packed_index(c, i, CUDA_MLA_LATENT, size)
                                            : uv + size * packed_index(i - CUDA_MLA_NOPE, c,
                                                                       CUDA_MLA_VALUE, size);
            memcpy(at, read, size);
        }
    }
}

/* ---- Fragments ---- */

__device__ __forceinline__ uint32_t head_pack(float low, float high)
{
    uint32_t packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

/* Two e4m3 numbers in the high bytes of the halves of x, as bf16: exponent and mantissa move into place, and the bias
 * (7 against 127) is a factor of 2^120. Exact, subnormal numbers too. */
__device__ __forceinline__ uint32_t head_widen(uint32_t x)
{
    uint32_t bits = (x & 0x80008000u) | ((x & 0x7F007F00u) >> 4);
    uint32_t wide;
    asm("mul.rn.bf16x2 %0, %1, %2;" : "=r"(wide) : "r"(bits), "r"(0x7B807B80u));
    return wide;
}

/* Weights of 8 columns and K = 128: fragments of its 8 steps. */
template <cuda_type TYPE> struct head_tile;

template <> struct head_tile<CUDA_E4M3> {
    uint4 raw[2];

    __device__ __forceinline__ void load(const uint8_t *data, uint32_t tile, uint32_t lane)
    {
        raw[0] = __ldg((const uint4 *)data + (size_t)tile * 64 + lane);
        raw[1] = __ldg((const uint4 *)data + (size_t)tile * 64 + 32 + lane);
    }

    __device__ __forceinline__ void get(uint32_t (&b)[8][2]) const
    {
        const uint32_t word[8] = {raw[0].x, raw[0].y, raw[0].z, raw[0].w,
                                  raw[1].x, raw[1].y, raw[1].z, raw[1].w};
#pragma unroll
        for (int step = 0; step < 8; step++) {
            b[step][0] = head_widen(__byte_perm(word[step], 0, 0x1404));
            b[step][1] = head_widen(__byte_perm(word[step], 0, 0x3424));
        }
    }
};

template <> struct head_tile<CUDA_BF16> {
    uint4 raw[4];

    __device__ __forceinline__ void load(const uint8_t *data, uint32_t tile, uint32_t lane)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            raw[i] = __ldg((const uint4 *)data + (size_t)tile * 128 + i * 32 + lane);
        }
    }

    __device__ __forceinline__ void get(uint32_t (&b)[8][2]) const
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            b[2 * i][0] = raw[i].x;
            b[2 * i][1] = raw[i].y;
            b[2 * i + 1][0] = raw[i].z;
            b[2 * i + 1][1] = raw[i].w;
        }
    }
};

/* 16 tokens x 16 numbers along K, row-major in shared memory. */
__device__ __forceinline__ void head_tokens(uint32_t (&a)[4], uint32_t smem, uint32_t stride,
                                            uint32_t lane)
{
    uint32_t at = smem + lane % 16 * stride + lane / 16 * 16;
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
                 : "r"(at)
                 : "memory");
}

__device__ __forceinline__ void head_product(float (&d)[4], const uint32_t (&a)[4],
                                             const uint32_t (&b)[2])
{
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
                 "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/* ---- Absorb ---- */

/* The block's tokens, `from`: number 0 of the head in row 0. Rows that are not there become zeros. */
__device__ __forceinline__ void absorb_stage(uint8_t *shared, const __nv_bfloat16 *from,
                                             size_t row_numbers, uint32_t rows)
{
    for (uint32_t i = threadIdx.x; i < HEAD_ROWS * 16; i += HEAD_THREADS) {
        uint32_t row = i / 16;
        uint32_t chunk = i % 16;
        uint4 x = make_uint4(0, 0, 0, 0);
        if (row < rows) {
            x = *(const uint4 *)(from + row * row_numbers + chunk * 8);
        }
        *(uint4 *)(shared + row * ABSORB_STRIDE + chunk * 16) = x;
    }
}

/* The 64 numbers to be rotated: interleaved pairs, float32, rounded once. */
__device__ __forceinline__ void absorb_rotate(const cuda_mla_absorb &p, uint32_t head,
                                              uint32_t first, uint32_t rows)
{
    for (uint32_t i = threadIdx.x; i < rows * 32; i += HEAD_THREADS) {
        uint32_t row = first + i / 32;
        uint32_t j = i % 32;
        uint32_t pair = *(const uint32_t *)(p.q + ((size_t)row * p.w.heads + head) * HEAD_Q +
                                            CUDA_MLA_NOPE + 2 * j);
        float2 turn = p.rotation[(size_t)row * 32 + j];
        float x = __uint_as_float(pair << 16);
        float y = __uint_as_float(pair & 0xFFFF0000u);
        uint8_t *to =
            p.queries + cuda_mla_query_offset(row, head, p.w.heads, CUDA_MLA_LATENT + 2 * j);
        *(uint32_t *)to = head_pack(x * turn.x - y * turn.y, x * turn.y + y * turn.x);
    }
}

/* Lane i of a quad gives word j of column group j as w[j]; it gets words 0 .. 3 of group i. */
__device__ __forceinline__ uint4 head_quad_transpose(uint32_t (&w)[4], uint32_t lane)
{
#pragma unroll
    for (uint32_t bit = 1; bit <= 2; bit *= 2) {
        bool high = (lane & bit) != 0;
#pragma unroll
        for (uint32_t i = 0; i < 4; i++) {
            if ((i & bit) == 0) {
                uint32_t theirs = __shfl_xor_sync(0xFFFFFFFFu, high ? w[i] : w[i | bit], bit);
                w[i] = high ? theirs : w[i];
                w[i | bit] = high ? w[i | bit] : theirs;
            }
        }
    }
    return make_uint4(w[0], w[1], w[2], w[3]);
}

/* 16 tokens of the block, four tiles of 8 columns: columns 64 * warp + 32 * half .. of the head's queries. */
__device__ __forceinline__ void absorb_store(const cuda_mla_absorb &p, float (&d)[4][4],
                                             float scale, uint32_t head, uint32_t row,
                                             uint32_t column, uint32_t lane)
{
#pragma unroll
    for (uint32_t r = 0; r < 2; r++) {
        uint32_t w[4];
#pragma unroll
        for (uint32_t n = 0; n < 4; n++) {
            w[n] = head_pack(d[n][2 * r] * scale, d[n][2 * r + 1] * scale);
        }
        uint4 chunk = head_quad_transpose(w, lane);
        uint32_t token = row + lane / 4 + 8 * r;
        if (token < p.rows) {
            *(uint4 *)(p.queries + cuda_mla_query_offset(token, head, p.w.heads,
                                                         column + lane % 4 * 8)) = chunk;
        }
    }
}

/* Grid: (row tiles, heads). Warp w makes columns 64 w .. 64 w + 63. */
template <cuda_type TYPE>
__global__ void __launch_bounds__(HEAD_THREADS, TYPE == CUDA_E4M3 ? 2 : 1)
    mla_absorb(cuda_mla_absorb p)
{
    __shared__ __align__(16) uint8_t shared[HEAD_ROWS * ABSORB_STRIDE];
    uint32_t warp = threadIdx.x / 32;
    uint32_t lane = threadIdx.x % 32;
    uint32_t head = blockIdx.y;
    uint32_t first = blockIdx.x * HEAD_ROWS;
    uint32_t rows = min((uint32_t)HEAD_ROWS, p.rows - first);
    const uint8_t *data =
        p.w.data + (size_t)head * 2 * CUDA_MLA_NOPE * CUDA_MLA_LATENT * (TYPE == CUDA_E4M3 ? 1 : 2);
    float scale = TYPE == CUDA_E4M3 ? p.w.scale[head * 8 + warp / 2] : 1.0F;
    head_tile<TYPE> tile[4];
#pragma unroll
    for (uint32_t n = 0; n < 4; n++) {
        tile[n].load(data, warp * 8 + n, lane);
    }
    cuda_chain_release();
    cuda_chain_wait();
    absorb_stage(shared, p.q + ((size_t)first * p.w.heads + head) * HEAD_Q,
                 (size_t)p.w.heads * HEAD_Q, rows);
    absorb_rotate(p, head, first, rows);
    __syncthreads();
#pragma unroll
    for (uint32_t half = 0; half < 2; half++) {
        uint32_t b[4][8][2];
#pragma unroll
        for (uint32_t n = 0; n < 4; n++) {
            tile[n].get(b[n]);
            if (half == 0) {
                tile[n].load(data, warp * 8 + 4 + n, lane);
            }
        }
        for (uint32_t m = 0; m < rows; m += 16) {
            float d[4][4] = {};
#pragma unroll
            for (uint32_t step = 0; step < 8; step++) {
                uint32_t a[4];
                head_tokens(a, cuda_smem(shared) + m * ABSORB_STRIDE + step * 32, ABSORB_STRIDE,
                            lane);
#pragma unroll
                for (uint32_t n = 0; n < 4; n++) {
                    head_product(d[n], a, b[n][step]);
                }
            }
            absorb_store(p, d, scale, head, first + m, 64 * warp + 32 * half, lane);
        }
    }
}

/* ---- Up ---- */

/* 128 columns (a K block) of the block's tokens. */
__device__ __forceinline__ void up_stage(uint32_t smem, const __nv_bfloat16 *from,
                                         size_t row_numbers, uint32_t rows, uint32_t kb)
{
    for (uint32_t i = threadIdx.x; i < (rows + 15) / 16 * 256; i += HEAD_THREADS) {
        uint32_t row = i / 16;
        uint32_t column = kb * 128 + i % 16 * 8;
        bool there = row < rows;
        cuda_async_16(smem + row * UP_STRIDE + column * 2,
                      from + (there ? row * row_numbers : 0) + column, there ? 16 : 0);
    }
    cuda_async_commit();
}

/* e4m3: the four lanes of a quad have two numbers of each of two tiles; together 16 bytes of row `row`. */
__device__ __forceinline__ void up_store_e4m3(const cuda_rows &out, uint32_t row, uint32_t head,
                                              uint32_t chunk, const float (&x)[4], float scale,
                                              uint32_t lane, bool there)
{
    uint16_t low, high;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(low)
        : "f"(__fdiv_rn(x[1], scale)), "f"(__fdiv_rn(x[0], scale)));
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(high)
        : "f"(__fdiv_rn(x[3], scale)), "f"(__fdiv_rn(x[2], scale)));
    uint32_t mine = (uint32_t)high << 16 | low;
    uint32_t from = (lane & ~3u) + lane % 2 * 2;
    uint32_t a = __shfl_sync(0xFFFFFFFFu, mine, from);
    uint32_t b = __shfl_sync(0xFFFFFFFFu, mine, from + 1);
    uint32_t word = __byte_perm(a, b, lane % 4 < 2 ? 0x5410 : 0x7632);
    if (there) {
        *(uint32_t *)(out.data + cuda_rows_offset(out, row, head, chunk) + lane % 4 * 4) = word;
    }
}

__device__ __forceinline__ void up_store_bf16(const cuda_rows &out, uint32_t row, uint32_t head,
                                              uint32_t tile, float x, float y, uint32_t lane)
{
    uint8_t *to = out.data + cuda_rows_offset(out, row, 2 * head + tile / 8, tile % 8);
    *(uint32_t *)(to + lane % 4 * 4) = head_pack(x, y);
}

/* The greatest number of each row: over a quad, then over the warps, by way of shared memory. */
template <int M>
__device__ __forceinline__ void up_maxima(float *maxima, const float (&sum)[M][2][4], uint32_t warp,
                                          uint32_t lane)
{
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
#pragma unroll
        for (uint32_t r = 0; r < 2; r++) {
            float most = fmaxf(fmaxf(fabsf(sum[m][0][2 * r]), fabsf(sum[m][0][2 * r + 1])),
                               fmaxf(fabsf(sum[m][1][2 * r]), fabsf(sum[m][1][2 * r + 1])));
            most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, 1));
            most = fmaxf(most, __shfl_xor_sync(0xFFFFFFFFu, most, 2));
            if (lane % 4 == 0) {
                maxima[warp * 16 * M + 16 * m + 8 * r + lane / 4] = most;
            }
        }
    }
    __syncthreads();
}

template <int M>
__device__ __forceinline__ void up_store(const cuda_mla_up &p, float *maxima,
                                         const float (&sum)[M][2][4], uint32_t head, uint32_t first,
                                         uint32_t warp, uint32_t lane)
{
    bool narrow = p.out.type == CUDA_E4M3;
    if (narrow) {
        up_maxima(maxima, sum, warp, lane);
    }
#pragma unroll
    for (uint32_t m = 0; m < M; m++) {
#pragma unroll
        for (uint32_t r = 0; r < 2; r++) {
            uint32_t local = 16 * m + 8 * r + lane / 4;
            uint32_t row = first + local;
            bool there = row < p.rows;
            float x[4] = {sum[m][0][2 * r], sum[m][0][2 * r + 1], sum[m][1][2 * r],
                          sum[m][1][2 * r + 1]};
            if (narrow) {
                float most = 1e-4F;
                for (uint32_t w = 0; w < 8; w++) {
                    most = fmaxf(most, maxima[w * 16 * M + local]);
                }
                float scale = __fdiv_rn(most, 448.0F);
                up_store_e4m3(p.out, row, head, warp, x, scale, lane, there);
                if (there && warp == 0 && lane % 4 == 0) {
                    p.out.scale[(size_t)head * p.out.capacity + row] = scale;
                }
            } else if (there) {
                up_store_bf16(p.out, row, head, 2 * warp, x[0], x[1], lane);
                up_store_bf16(p.out, row, head, 2 * warp + 1, x[2], x[3], lane);
            }
        }
    }
}

/* Weights of the two tiles of a warp, for K blocks that are AHEAD apart: as many as there are registers for are loaded
 * before they are needed. */
template <cuda_type TYPE, int AHEAD> struct up_weights {
    head_tile<TYPE> tile[AHEAD][2];

    __device__ __forceinline__ void load(const uint8_t *data, uint32_t kb, uint32_t warp,
                                         uint32_t lane)
    {
        tile[kb % AHEAD][0].load(data, kb * 16 + 2 * warp, lane);
        tile[kb % AHEAD][1].load(data, kb * 16 + 2 * warp + 1, lane);
    }
};

__device__ __forceinline__ void up_wait(uint32_t kb)
{
    if (kb == 0) {
        cuda_async_wait<3>();
    } else if (kb == 1) {
        cuda_async_wait<2>();
    } else if (kb == 2) {
        cuda_async_wait<1>();
    } else {
        cuda_async_wait<0>();
    }
    __syncthreads();
}

/* Grid: (tiles of 16 * M rows, heads). Warp w makes columns 16 w .. 16 w + 15. */
template <cuda_type TYPE, int M>
__global__ void __launch_bounds__(HEAD_THREADS, TYPE == CUDA_E4M3 ? 2 : 1) mla_up(cuda_mla_up p)
{
    extern __shared__ __align__(16) uint8_t shared[];
    constexpr int AHEAD = M == 1 ? 4 : 2;
    uint32_t smem = cuda_smem(shared);
    uint32_t warp = threadIdx.x / 32;
    uint32_t lane = threadIdx.x % 32;
    uint32_t head = blockIdx.y;
    uint32_t first = blockIdx.x * 16 * M;
    uint32_t rows = min(16u * M, p.rows - first);
    const uint8_t *data = p.w.data + (size_t)(head * 2 + 1) * CUDA_MLA_NOPE * CUDA_MLA_LATENT *
                                         (TYPE == CUDA_E4M3 ? 1 : 2);
    up_weights<TYPE, AHEAD> w;
#pragma unroll
    for (uint32_t kb = 0; kb < AHEAD; kb++) {
        w.load(data, kb, warp, lane);
    }
    float4 scale = make_float4(1, 1, 1, 1);
    if (TYPE == CUDA_E4M3) {
        scale = __ldg((const float4 *)(p.w.scale + head * 8 + 4));
    }
    const float scales[4] = {scale.x, scale.y, scale.z, scale.w};
    cuda_chain_release();
    cuda_chain_wait();
    size_t row_numbers = (size_t)p.w.heads * CUDA_MLA_LATENT;
    const __nv_bfloat16 *from = p.latent + (size_t)first * row_numbers + head * CUDA_MLA_LATENT;
    for (uint32_t kb = 0; kb < 4; kb++) {
        up_stage(smem, from, row_numbers, rows, kb);
    }
    float sum[M][2][4] = {};
#pragma unroll
    for (uint32_t kb = 0; kb < 4; kb++) {
        uint32_t b[2][8][2];
        w.tile[kb % AHEAD][0].get(b[0]);
        w.tile[kb % AHEAD][1].get(b[1]);
        if (kb + AHEAD < 4) {
            w.load(data, kb + AHEAD, warp, lane);
        }
        up_wait(kb);
#pragma unroll
        for (uint32_t m = 0; m < M; m++) {
            if (16 * m < rows) {
                float d[2][4] = {};
#pragma unroll
                for (uint32_t step = 0; step < 8; step++) {
                    uint32_t a[4];
                    head_tokens(a, smem + 16 * m * UP_STRIDE + kb * 256 + step * 32, UP_STRIDE,
                                lane);
                    head_product(d[0], a, b[0][step]);
                    head_product(d[1], a, b[1][step]);
                }
#pragma unroll
                for (uint32_t i = 0; i < 8; i++) {
                    sum[m][i / 4][i % 4] =
                        __fmaf_rn(d[i / 4][i % 4], scales[kb], sum[m][i / 4][i % 4]);
                }
            }
        }
    }
    up_store<M>(p, (float *)(shared + 16 * M * UP_STRIDE), sum, head, first, warp, lane);
}

/* ---- Launches ---- */

cudaError_t cuda_mla_head_prepare(void)
{
    cudaError_t status = cudaFuncSetAttribute(
        mla_up<CUDA_E4M3, 4>, cudaFuncAttributeMaxDynamicSharedMemorySize, HEAD_ROWS * UP_ROW);
    if (status != cudaSuccess) {
        return status;
    }
    return cudaFuncSetAttribute(mla_up<CUDA_BF16, 4>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                HEAD_ROWS * UP_ROW);
}

cudaError_t cuda_mla_absorb_run(const cuda_mla_absorb *absorb, cudaStream_t stream)
{
    dim3 grid((absorb->rows + HEAD_ROWS - 1) / HEAD_ROWS, absorb->w.heads);
    cuda_shape shape = {grid, dim3(HEAD_THREADS), 0};
    return cuda_launch(absorb->w.type == CUDA_E4M3 ? mla_absorb<CUDA_E4M3> : mla_absorb<CUDA_BF16>,
                       shape, stream, *absorb);
}

cudaError_t cuda_mla_up_run(const cuda_mla_up *up, cudaStream_t stream)
{
    bool narrow = up->w.type == CUDA_E4M3;
    uint32_t tile = up->rows <= 16 ? 16 : HEAD_ROWS;
    cuda_shape shape = {dim3((up->rows + tile - 1) / tile, up->w.heads), dim3(HEAD_THREADS),
                        (size_t)tile * UP_ROW};
    if (tile == 16) {
        return cuda_launch(narrow ? mla_up<CUDA_E4M3, 1> : mla_up<CUDA_BF16, 1>, shape, stream,
                           *up);
    }
    return cuda_launch(narrow ? mla_up<CUDA_E4M3, 4> : mla_up<CUDA_BF16, 4>, shape, stream, *up);
}
