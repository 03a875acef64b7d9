/* Parts of the router's logits: tensor cores, with the input cut into three. */
#include "engine_cuda_router_internal.cuh"

#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

namespace
{

enum {
    CHUNK = CUDA_ROUTER_CHUNK,
    RUN = CUDA_ROUTER_RUN,
    TILE = 16, /* experts of an instruction */

    NARROW_THREADS = RUN * 32,
    NARROW_LOADED = 2, /* steps of 32 columns whose weights are loaded ahead */
    FEW_ROWS = 24,     /* up to: 16 experts x 8 rows a block; beyond: 64 x 16 */

    WIDE_EXPERTS = 128,
    WIDE_ROWS = 64,
    WIDE_THREADS = 256,
    WIDE_PITCH = CHUNK * 2, /* bytes of a row of a tile */
    WIDE_STAGE = (WIDE_EXPERTS + 3 * WIDE_ROWS) * WIDE_PITCH,
    WIDE_SHARED = 2 * WIDE_STAGE
};

/* ---- Logits ---- */

/* d += a b: 16 experts x 16 columns, times 16 columns x 8 rows. Lane l = 4 g + t has experts g and g + 8 of a, row g of b,
 * and of d experts g, g + 8 and rows 2 t, 2 t + 1. The instruction's column index does not matter as long as a and b
 * agree: each lane takes 8 adjacent columns (8 t ..) for two instructions, so that they are one load of 16 bytes. */
__device__ __forceinline__ void multiply(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                         uint32_t a3, uint32_t b0, uint32_t b1)
{
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
        "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/* 16 of 32 columns: half 0, then half 1. */
__device__ __forceinline__ void multiply_half(float (&d)[4], const uint4 &upper, const uint4 &lower,
                                              const uint4 &b, int half)
{
    if (half == 0) {
        multiply(d, upper.x, lower.x, upper.y, lower.y, b.x, b.y);
    } else {
        multiply(d, upper.z, lower.z, upper.w, lower.w, b.z, b.w);
    }
}

__device__ __forceinline__ uint32_t pack(float low, float high)
{
    uint32_t pair;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

/* What is left of two numbers once their bf16 parts are taken off: exact. */
__device__ __forceinline__ void take_off(float &low, float &high, uint32_t pair)
{
    low = __fsub_rn(low, __uint_as_float(pair << 16));
    high = __fsub_rn(high, __uint_as_float(pair & 0xFFFF0000u));
}

__device__ __forceinline__ void split_pair(float low, float high, uint32_t &first, uint32_t &second,
                                           uint32_t &third)
{
    first = pack(low, high);
    take_off(low, high, first);
    second = pack(low, high);
    take_off(low, high, second);
    third = pack(low, high);
}

/* Eight numbers of the router's input, as three times eight bf16: part[0] is the greatest. */
__device__ __forceinline__ void split_8(const float4 (&h)[2], float factor, const float4 (&norm)[2],
                                        uint4 (&part)[3])
{
    float x[8] = {h[0].x, h[0].y, h[0].z, h[0].w, h[1].x, h[1].y, h[1].z, h[1].w};
    float w[8] = {norm[0].x, norm[0].y, norm[0].z, norm[0].w,
                  norm[1].x, norm[1].y, norm[1].z, norm[1].w};
#pragma unroll
    for (int i = 0; i < 8; i++) {
        x[i] = __fmul_rn(__fmul_rn(x[i], factor), w[i]);
    }
    split_pair(x[0], x[1], part[0].x, part[1].x, part[2].x);
    split_pair(x[2], x[3], part[0].y, part[1].y, part[2].y);
    split_pair(x[4], x[5], part[0].z, part[1].z, part[2].z);
    split_pair(x[6], x[7], part[0].w, part[1].w, part[2].w);
}

__device__ __forceinline__ uint4 zero_4(void)
{
    return make_uint4(0, 0, 0, 0);
}

/* blockIdx: run of chunks, 16 M experts, 8 N rows. A warp a chunk; nothing is shared but the sums. */
template <int M, int N>
__global__ void __launch_bounds__(NARROW_THREADS, M == 1 ? 2 : 1)
    logits_narrow(const __grid_constant__ cuda_router p)
{
    constexpr uint32_t EXPERTS = M * TILE;
    constexpr uint32_t ROWS = N * 8;
    __shared__ float sums[RUN][ROWS][EXPERTS + 4];
    uint32_t warp = threadIdx.x / 32;
    uint32_t g = threadIdx.x % 32 / 4;
    uint32_t t = threadIdx.x % 4;
    uint32_t run = blockIdx.x;
    uint32_t expert = blockIdx.y * EXPERTS;
    uint32_t first_row = blockIdx.z * ROWS;
    uint32_t cols = p.shape.cols;
    uint32_t routed = p.shape.moe.routed;
    uint32_t chunks = min((uint32_t)RUN, cuda_router_chunks(cols) - run * RUN);
    uint32_t column = (run * RUN + warp) * CHUNK + 8 * t;
    bool works = warp < chunks;
    auto load_w = [&](uint4(&a)[2 * M], uint32_t s) {
#pragma unroll
        for (uint32_t m = 0; m < 2 * M; m++) {
            uint32_t e = expert + 8 * m + g;
            const uint16_t *w = p.w + (size_t)e * cols + column + 32 * s;
            a[m] = works && e < routed ? __ldg((const uint4 *)w) : zero_4();
        }
    };
    uint4 a[4][2 * M];
    float4 norm[4][2];
#pragma unroll
    for (uint32_t s = 0; s < 4; s++) {
        if (M == 1 || s < NARROW_LOADED) {
            load_w(a[s], s);
        }
#pragma unroll
        for (uint32_t i = 0; i < 2; i++) {
            norm[s][i] = works ? __ldg((const float4 *)(p.norm + column + 32 * s + 4 * i))
                               : make_float4(0, 0, 0, 0);
        }
    }
    cuda_chain_wait();
    cuda_chain_release();
    float4 h[4][N][2];
    float factor[N];
#pragma unroll
    for (uint32_t n = 0; n < N; n++) {
        uint32_t row = first_row + 8 * n + g;
        bool in = works && row < p.rows;
        factor[n] = in ? p.factor[row] : 0;
#pragma unroll
        for (uint32_t s = 0; s < 4; s++) {
            const float4 *x = (const float4 *)(p.h + (size_t)row * cols + column + 32 * s);
            h[s][n][0] = in ? x[0] : make_float4(0, 0, 0, 0);
            h[s][n][1] = in ? x[1] : make_float4(0, 0, 0, 0);
        }
    }
    float small[M][N][4] = {};
    float large[M][N][4] = {};
#pragma unroll
    for (uint32_t s = 0; s < 4; s++) {
        if (M > 1 && s + NARROW_LOADED < 4) {
            load_w(a[s + NARROW_LOADED], s + NARROW_LOADED);
        }
        uint4 part[N][3];
#pragma unroll
        for (int n = 0; n < N; n++) {
            split_8(h[s][n], factor[n], norm[s], part[n]);
        }
#pragma unroll
        for (int step = 0; step < 6; step++) { /* parts 2, 1, 0; two halves each */
            int k = 2 - step / 2;
#pragma unroll
            for (int i = 0; i < M * N; i++) {
                int m = i / N;
                int n = i % N;
                multiply_half(k > 0 ? small[m][n] : large[m][n], a[s][2 * m], a[s][2 * m + 1],
                              part[n][k], step % 2);
            }
        }
    }
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int n = 0; n < N; n++) {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                sums[warp][8 * n + 2 * t + i % 2][TILE * m + i / 2 * 8 + g] =
                    __fadd_rn(small[m][n][i], large[m][n][i]);
            }
        }
    }
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < ROWS * EXPERTS; i += NARROW_THREADS) {
        uint32_t e = i % EXPERTS;
        uint32_t r = i / EXPERTS;
        if (first_row + r < p.rows && expert + e < routed) {
            float sum = sums[0][r][e];
            for (uint32_t c = 1; c < chunks; c++) {
                sum = __fadd_rn(sum, sums[c][r][e]);
            }
            p.out.partial[((size_t)run * p.rows + first_row + r) * routed + expert + e] = sum;
        }
    }
}

/* Byte offset of 16-byte piece `piece` (0 .. 15) of row `row` of a tile: two rows of a quarter warp meet no bank twice. */
__device__ __forceinline__ uint32_t tile_offset(uint32_t row, uint32_t piece)
{
    return row * WIDE_PITCH + ((piece ^ (row % 2 * 4)) * 16);
}

__device__ __forceinline__ void load_weights(const cuda_router &p, uint32_t tile, uint32_t expert,
                                             uint32_t chunk)
{
    uint32_t cols = p.shape.cols;
#pragma unroll
    for (uint32_t i = 0; i < WIDE_EXPERTS * 16 / WIDE_THREADS; i++) {
        uint32_t at = i * WIDE_THREADS + threadIdx.x;
        uint32_t e = at / 16;
        bool in = expert + e < p.shape.moe.routed;
        const uint16_t *w =
            p.w + (size_t)(in ? expert + e : 0) * cols + chunk * CHUNK + at % 16 * 8;
        cuda_async_16(tile + tile_offset(e, at % 16), w, in ? 16 : 0);
    }
    cuda_async_commit();
}

/* This thread's share of 64 rows of 128 columns: 8 columns of 4 rows. */
struct wide_rows {
    float4 h[4][2];
    float4 norm[2];
};

__device__ __forceinline__ void load_rows(const cuda_router &p, wide_rows &x, uint32_t first_row,
                                          uint32_t chunk)
{
    uint32_t column = chunk * CHUNK + threadIdx.x % 16 * 8;
    const float4 *w = (const float4 *)(p.norm + column);
    x.norm[0] = __ldg(w);
    x.norm[1] = __ldg(w + 1);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t row = first_row + i * (WIDE_THREADS / 16) + threadIdx.x / 16;
        const float4 *h = (const float4 *)(p.h + (size_t)row * p.shape.cols + column);
        x.h[i][0] = row < p.rows ? h[0] : make_float4(0, 0, 0, 0);
        x.h[i][1] = row < p.rows ? h[1] : make_float4(0, 0, 0, 0);
    }
}

/* Cut in three, into three tiles. */
__device__ __forceinline__ void store_rows(const wide_rows &x, const float (&factor)[4],
                                           uint8_t *tiles)
{
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        uint4 part[3];
        split_8(x.h[i], factor[i], x.norm, part);
        uint32_t at = tile_offset(i * (WIDE_THREADS / 16) + threadIdx.x / 16, threadIdx.x % 16);
#pragma unroll
        for (int k = 0; k < 3; k++) {
            *(uint4 *)(tiles + k * WIDE_ROWS * WIDE_PITCH + at) = part[k];
        }
    }
}

/* One chunk: 32 experts x 32 rows of a warp. */
__device__ __forceinline__ void multiply_chunk(float (&small)[2][4][4], float (&large)[2][4][4],
                                               const uint8_t *weights, const uint8_t *tiles,
                                               uint32_t expert, uint32_t row)
{
    uint32_t g = threadIdx.x % 32 / 4;
    uint32_t t = threadIdx.x % 4;
#pragma unroll
    for (uint32_t s = 0; s < 4; s++) {
        uint4 a[4];
#pragma unroll
        for (uint32_t m = 0; m < 4; m++) {
            a[m] = *(const uint4 *)(weights + tile_offset(expert + 8 * m + g, 4 * s + t));
        }
#pragma unroll
        for (int k = 2; k >= 0; k--) {
            uint4 b[4];
#pragma unroll
            for (uint32_t n = 0; n < 4; n++) {
                b[n] = *(const uint4 *)(tiles + k * WIDE_ROWS * WIDE_PITCH +
                                        tile_offset(row + 8 * n + g, 4 * s + t));
            }
#pragma unroll
            for (int i = 0; i < 16; i++) {
                int m = i / 4 % 2;
                int n = i % 4;
                multiply_half(k > 0 ? small[m][n] : large[m][n], a[2 * m], a[2 * m + 1], b[n],
                              i / 8);
            }
        }
    }
}

/* blockIdx: run of chunks, 128 experts, 64 rows. A chunk is loaded while the one in front is multiplied. */
__global__ void __launch_bounds__(WIDE_THREADS, 1)
    logits_wide(const __grid_constant__ cuda_router p)
{
    extern __shared__ __align__(16) uint8_t shared[];
    uint32_t warp = threadIdx.x / 32;
    uint32_t first_chunk = blockIdx.x * RUN;
    uint32_t first_expert = blockIdx.y * WIDE_EXPERTS;
    uint32_t first_row = blockIdx.z * WIDE_ROWS;
    uint32_t chunks = min((uint32_t)RUN, cuda_router_chunks(p.shape.cols) - first_chunk);
    uint32_t expert = warp % 4 * 32; /* of the tile: this warp's */
    uint32_t row = warp / 4 * 32;
    float sum[2][4][4] = {};
    load_weights(p, cuda_smem(shared), first_expert, first_chunk);
    cuda_chain_wait();
    cuda_chain_release();
    wide_rows x;
    float factor[4];
    load_rows(p, x, first_row, first_chunk);
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        uint32_t r = first_row + i * (WIDE_THREADS / 16) + threadIdx.x / 16;
        factor[i] = r < p.rows ? p.factor[r] : 0;
    }
    for (uint32_t c = 0; c < chunks; c++) {
        uint8_t *stage = shared + c % 2 * WIDE_STAGE;
        store_rows(x, factor, stage + WIDE_EXPERTS * WIDE_PITCH);
        cuda_async_wait<0>();
        __syncthreads(); /* the stage is full, and nobody reads the other one any more */
        if (c + 1 < chunks) {
            uint8_t *other = shared + (c + 1) % 2 * WIDE_STAGE;
            load_weights(p, cuda_smem(other), first_expert, first_chunk + c + 1);
            load_rows(p, x, first_row, first_chunk + c + 1);
        }
        float small[2][4][4] = {};
        float large[2][4][4] = {};
        multiply_chunk(small, large, stage, stage + WIDE_EXPERTS * WIDE_PITCH, expert, row);
#pragma unroll
        for (int i = 0; i < 32; i++) {
            float one = __fadd_rn(small[i / 16][i / 4 % 4][i % 4], large[i / 16][i / 4 % 4][i % 4]);
            float &to = sum[i / 16][i / 4 % 4][i % 4];
            to = c == 0 ? one : __fadd_rn(to, one);
        }
    }
    uint32_t routed = p.shape.moe.routed;
#pragma unroll
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t lane = threadIdx.x % 32;
        uint32_t e = first_expert + expert + i / 16 * 16 + i % 4 / 2 * 8 + lane / 4;
        uint32_t r = first_row + row + i / 4 % 4 * 8 + lane % 4 * 2 + i % 2;
        if (e < routed && r < p.rows) {
            p.out.partial[((size_t)blockIdx.x * p.rows + r) * routed + e] =
                sum[i / 16][i / 4 % 4][i % 4];
        }
    }
}

} // namespace

cudaError_t cuda_router_logits_prepare(void)
{
    return cudaFuncSetAttribute(logits_wide, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                WIDE_SHARED);
}

cudaError_t cuda_router_logits(const cuda_router *op, bool wide, cudaStream_t stream)
{
    uint32_t routed = op->shape.moe.routed;
    uint32_t runs = cuda_router_runs(op->shape.cols);
    if (wide) {
        dim3 grid(runs, (routed + WIDE_EXPERTS - 1) / WIDE_EXPERTS,
                  (op->rows + WIDE_ROWS - 1) / WIDE_ROWS);
        cuda_shape shape = {grid, dim3(WIDE_THREADS), WIDE_SHARED};
        return cuda_launch(logits_wide, shape, stream, *op);
    }
    bool few = op->rows <= FEW_ROWS;
    uint32_t experts = few ? TILE : 4 * TILE;
    uint32_t rows = few ? 8 : 16;
    dim3 grid(runs, (routed + experts - 1) / experts, (op->rows + rows - 1) / rows);
    cuda_shape shape = {grid, dim3(NARROW_THREADS), 0};
    return few ? cuda_launch(logits_narrow<1, 1>, shape, stream, *op)
               : cuda_launch(logits_narrow<4, 2>, shape, stream, *op);
}
