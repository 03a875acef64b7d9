/* engine_cuda_gemm_wide: the pieces of the wide product: which tile comes next, the way into shared memory and out of
 * the registers. engine_cuda_gemm_wide.cu has the kernel and says how it is cut.
 *
 * A thread block makes tiles of 128 rows (tokens) x 256 columns (two row blocks of the weight). */
#ifndef ENGINE_CUDA_GEMM_WIDE_CUH
#define ENGINE_CUDA_GEMM_WIDE_CUH

#include "engine_cuda_epilogue.cuh"
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_ptx.cuh"

enum {
    CUDA_WIDE_ROWS = 128,
    CUDA_WIDE_COLUMNS = 256,
    CUDA_WIDE_BLOCKS = 2, /* row blocks of the weight in a tile */
    CUDA_WIDE_GROUP = 64, /* rows of a consumer warpgroup       */
    CUDA_WIDE_SUMS = 128, /* float32 a consumer thread          */
    CUDA_WIDE_BAND = 16,  /* tiles: a wave of blocks is so high */
    CUDA_WIDE_STAGE = (1 + CUDA_WIDE_BLOCKS) * CUDA_TILE_BYTES
};

struct cuda_wide_problem {
    cuda_gemm gemm;
    const uint32_t *begin; /* NULL: one product of gemm.rows rows */
    const uint32_t *rows;
    uint32_t count;
};

struct cuda_wide_tile {
    uint32_t row;   /* first row of x; CUDA_WIDE_END: there is no tile */
    uint32_t rows;  /* rows that exist, at most 128; 0: none           */
    uint32_t block; /* first row block of the weight, in its group     */
    uint32_t group;
};

#define CUDA_WIDE_END 0xFFFFFFFFu

/* ---- Which tile ---- */

struct cuda_wide_walk { /* of a warp: a window of 32 groups, one a lane */
    uint32_t first;     /* group of lane 0                                     */
    uint32_t base;      /* tiles in front of the window                        */
    uint32_t begin;
    uint32_t rows;
    uint32_t ends; /* tiles of the window up to the end of the lane's group */
};

__host__ __device__ inline uint32_t cuda_wide_high(uint32_t rows)
{
    return (rows + CUDA_WIDE_ROWS - 1) / CUDA_WIDE_ROWS;
}

__host__ __device__ inline uint32_t cuda_wide_broad(const cuda_weight &w)
{
    return (w.row_blocks + CUDA_WIDE_BLOCKS - 1) / CUDA_WIDE_BLOCKS;
}

__device__ __forceinline__ void cuda_wide_window(const cuda_wide_problem &p, cuda_wide_walk &walk,
                                                 uint32_t lane)
{
    uint32_t group = walk.first + lane;
    walk.begin = 0;
    walk.rows = 0;
    if (group < p.count) {
        walk.begin = p.begin != nullptr ? p.begin[group] : 0;
        walk.rows = p.rows != nullptr ? p.rows[group] : p.gemm.rows;
    }
    walk.ends = cuda_wide_high(walk.rows) * cuda_wide_broad(p.gemm.w);
#pragma unroll
    for (int step = 1; step < 32; step *= 2) {
        uint32_t below = __shfl_up_sync(0xFFFFFFFFu, walk.ends, step);
        walk.ends += lane >= (uint32_t)step ? below : 0;
    }
}

/* Tile `index`; indices must not fall from call to call. The whole warp calls. A wave of blocks makes a region about as
 * high as it is broad, so that what it reads fits the L2 cache: bands of rows, in a band column by column. */
__device__ __forceinline__ cuda_wide_tile cuda_wide_next(const cuda_wide_problem &p,
                                                         cuda_wide_walk &walk, uint32_t index,
                                                         uint32_t lane)
{
    cuda_wide_tile tile = {CUDA_WIDE_END, 0, 0, 0};
    uint32_t hit;
    while ((hit = __ballot_sync(0xFFFFFFFFu, index < walk.base + walk.ends)) == 0) {
        walk.base += __shfl_sync(0xFFFFFFFFu, walk.ends, 31);
        walk.first += 32;
        if (walk.first >= p.count) {
            return tile;
        }
        cuda_wide_window(p, walk, lane);
    }
    int owner = __ffs((int)hit) - 1;
    uint32_t rows = __shfl_sync(0xFFFFFFFFu, walk.rows, owner);
    uint32_t high = cuda_wide_high(rows), broad = cuda_wide_broad(p.gemm.w);
    uint32_t local = index - walk.base - __shfl_sync(0xFFFFFFFFu, walk.ends, owner) + high * broad;
    uint32_t first = local / (CUDA_WIDE_BAND * broad) * CUDA_WIDE_BAND;
    uint32_t in_band = local % (CUDA_WIDE_BAND * broad);
    uint32_t band = high - first < CUDA_WIDE_BAND ? high - first : CUDA_WIDE_BAND;
    uint32_t row = (first + in_band % band) * CUDA_WIDE_ROWS;
    uint32_t left = rows - row;
    tile.row = __shfl_sync(0xFFFFFFFFu, walk.begin, owner) + row;
    tile.rows = left < CUDA_WIDE_ROWS ? left : CUDA_WIDE_ROWS;
    tile.block = in_band / band * CUDA_WIDE_BLOCKS;
    tile.group = walk.first + (uint32_t)owner;
    return tile;
}

/* Row blocks of the weight that the tile has: 1 or 2. */
__device__ __forceinline__ uint32_t cuda_wide_blocks(const cuda_weight &w, uint32_t block)
{
    return w.row_blocks - block < CUDA_WIDE_BLOCKS ? w.row_blocks - block : CUDA_WIDE_BLOCKS;
}

/* ---- Loads: one thread ---- */

struct cuda_wide_source { /* of a tile */
    const uint8_t *rows;
    const uint8_t *weights;
    const float *scale; /* of the rows                      */
    uint32_t rows_step; /* bytes from K block to K block    */
    uint32_t rows_bytes;
    uint32_t scale_bytes; /* 0 for bf16                       */
    uint32_t blocks;
};

/* Rows beyond the last atom are not loaded: what the stage holds there makes only sums that nobody stores. */
__device__ __forceinline__ cuda_wide_source cuda_wide_locate(const cuda_wide_problem &p,
                                                             const cuda_wide_tile &tile)
{
    const cuda_rows &x = p.gemm.x;
    const cuda_weight &w = p.gemm.w;
    uint32_t atoms = (tile.rows + CUDA_ATOM_ROWS - 1) / CUDA_ATOM_ROWS;
    cuda_wide_source s;
    s.rows = x.data + (size_t)(tile.row / CUDA_ATOM_ROWS) * CUDA_ATOM_BYTES;
    s.rows_step = x.capacity / CUDA_ATOM_ROWS * CUDA_ATOM_BYTES;
    s.rows_bytes = atoms * CUDA_ATOM_BYTES;
    s.weights =
        w.data + ((size_t)tile.group * w.row_blocks + tile.block) * w.k_blocks * CUDA_TILE_BYTES;
    s.scale = x.scale + tile.row;
    s.scale_bytes = w.type == CUDA_E4M3 ? atoms * CUDA_ATOM_ROWS * (uint32_t)sizeof(float) : 0;
    s.blocks = cuda_wide_blocks(w, tile.block);
    return s;
}

/* K block after K block. */
__device__ __forceinline__ void cuda_wide_load(const cuda_wide_problem &p, cuda_wide_source &s,
                                               uint32_t stage, uint32_t scale, uint32_t full)
{
    cuda_barrier_expect(full, s.rows_bytes + s.scale_bytes + s.blocks * CUDA_TILE_BYTES);
    cuda_bulk_load(stage, s.rows, s.rows_bytes, full);
    cuda_bulk_load(stage + CUDA_TILE_BYTES, s.weights, CUDA_TILE_BYTES, full);
    if (s.blocks > 1) {
        cuda_bulk_load(stage + 2 * CUDA_TILE_BYTES,
                       s.weights + (size_t)p.gemm.w.k_blocks * CUDA_TILE_BYTES, CUDA_TILE_BYTES,
                       full);
    }
    if (s.scale_bytes != 0) {
        cuda_bulk_load(scale, s.scale, s.scale_bytes, full);
    }
    s.rows += s.rows_step;
    s.weights += CUDA_TILE_BYTES;
    s.scale += p.gemm.x.capacity;
}

/* ---- Epilogues: each warp for its own 16 rows ----
 * v: the thread's sums, in the order of cuda_wgmma<256>: register i is row lane / 4 + 8 * (i / 2 % 2) of the warp's 16
 * and column 8 * (i / 4) + 2 * (lane % 4) + i % 2 of the tile's 256. */

struct cuda_wide_place {
    uint32_t row;     /* the warp's first row in the output      */
    uint32_t rows;    /* of the 16 that exist                    */
    uint32_t block;   /* the tile's first row block              */
    uint32_t blocks;  /* of it                                   */
    uint32_t staging; /* 4 KiB of shared memory, the warp's own  */
    uint32_t lane;
};

__device__ __forceinline__ void cuda_wide_bias(const cuda_gemm &g, float (&v)[CUDA_WIDE_SUMS],
                                               const cuda_wide_place &at)
{
#pragma unroll
    for (int c = 0; c < CUDA_WIDE_SUMS / 4; c++) {
        uint32_t n = at.block * CUDA_TILE_ROWS + (uint32_t)c * 8 + at.lane % 4 * 2;
        float b0 = n < g.w.rows ? __ldg(g.bias + n) : 0.0f;
        float b1 = n + 1 < g.w.rows ? __ldg(g.bias + n + 1) : 0.0f;
        v[c * 4 + 0] = __fadd_rn(v[c * 4 + 0], b0);
        v[c * 4 + 1] = __fadd_rn(v[c * 4 + 1], b1);
        v[c * 4 + 2] = __fadd_rn(v[c * 4 + 2], b0);
        v[c * 4 + 3] = __fadd_rn(v[c * 4 + 3], b1);
    }
}

/* Four floats of a row from column n on, as far as there are columns. */
__device__ __forceinline__ float4 cuda_wide_read(const float *row, uint32_t n, uint32_t columns,
                                                 bool whole)
{
    if (whole && n + 4 <= columns) {
        return *(const float4 *)(row + n);
    }
    float4 q;
    q.x = n < columns ? row[n] : 0.0f;
    q.y = n + 1 < columns ? row[n + 1] : 0.0f;
    q.z = n + 2 < columns ? row[n + 2] : 0.0f;
    q.w = n + 3 < columns ? row[n + 3] : 0.0f;
    return q;
}

__device__ __forceinline__ void cuda_wide_write(float *row, uint32_t n, uint32_t columns,
                                                bool whole, float4 q)
{
    if (whole && n + 4 <= columns) {
        *(float4 *)(row + n) = q;
        return;
    }
    const float value[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
    for (uint32_t i = 0; i < 4; i++) {
        if (n + i < columns) {
            row[n + i] = value[i];
        }
    }
}

/* What will be added to is on its way into the L2 cache while the sums are made. */
__device__ __forceinline__ void cuda_wide_fetch(const cuda_gemm &g, const cuda_wide_place &at)
{
    uint32_t n = at.block * CUDA_TILE_ROWS;
    uint32_t columns = g.w.rows - n < CUDA_WIDE_COLUMNS ? g.w.rows - n : CUDA_WIDE_COLUMNS;
    if (at.lane < at.rows && g.ld % 4 == 0 && (uintptr_t)g.out % 16 == 0 && columns >= 4) {
        cuda_bulk_fetch((const float *)g.out + (size_t)(at.row + at.lane) * g.ld + n,
                        columns / 4 * 16);
    }
}

/* Through shared memory, 64 columns at a time, so that a warp reads and writes 256 contiguous bytes of two rows. All
 * reads of a pass come before its writes, which the compiler could not arrange. */
__device__ __forceinline__ void
cuda_wide_floats(const cuda_gemm &g, const float (&v)[CUDA_WIDE_SUMS], const cuda_wide_place &at)
{
    const uint32_t row_bytes = 256;
    bool add = g.epilogue == CUDA_OUT_ADD;
    bool whole = g.ld % 4 == 0 && (uintptr_t)g.out % 16 == 0;
    uint32_t r = at.lane / 4, chunk = at.lane % 16;
    float *out = (float *)g.out + (size_t)(at.row + at.lane / 16) * g.ld;
#pragma unroll
    for (int pass = 0; pass < 4; pass++) {
        if ((uint32_t)pass / 2 >= at.blocks) {
            return;
        }
        uint32_t n = at.block * CUDA_TILE_ROWS + (uint32_t)pass * 64 + chunk * 4;
        float4 old[8];
#pragma unroll
        for (int i = 0; i < 8; i++) {
            bool there = add && (uint32_t)i * 2 + at.lane / 16 < at.rows;
            old[i] = there ? cuda_wide_read(out + (size_t)i * 2 * g.ld, n, g.w.rows, whole)
                           : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        }
#pragma unroll
        for (int c = 0; c < 8; c++) { /* 8 columns: two chunks, half a chunk a lane */
            const float *p = v + pass * 32 + c * 4;
            uint32_t to = at.staging + r * row_bytes +
                          (((uint32_t)c * 2 + at.lane % 4 / 2) ^ (r & 7) * 2) * 16 +
                          at.lane % 2 * 8;
            cuda_store_8(to, p[0], p[1]);
            cuda_store_8(to + 8 * row_bytes, p[2], p[3]);
        }
        __syncwarp();
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t row = (uint32_t)i * 2 + at.lane / 16;
            uint4 q = cuda_load_16(at.staging + row * row_bytes + (chunk ^ (row & 7) * 2) * 16);
            float4 now = make_float4(__uint_as_float(q.x), __uint_as_float(q.y),
                                     __uint_as_float(q.z), __uint_as_float(q.w));
            if (add) {
                now = make_float4(__fadd_rn(old[i].x, now.x), __fadd_rn(old[i].y, now.y),
                                  __fadd_rn(old[i].z, now.z), __fadd_rn(old[i].w, now.w));
            }
            if (row < at.rows) {
                cuda_wide_write(out + (size_t)i * 2 * g.ld, n, g.w.rows, whole, now);
            }
        }
        __syncwarp();
    }
}

/* Through shared memory, so that a warp writes 256 contiguous bytes of two rows at a time. */
__device__ __forceinline__ void cuda_wide_bf16(const cuda_gemm &g, const float (&v)[CUDA_WIDE_SUMS],
                                               const cuda_wide_place &at)
{
    const uint32_t row_bytes = CUDA_TILE_ROWS * 2;
    uint32_t to_row = at.lane % 16, to_chunk = at.lane / 16;
    uint32_t chunk = at.lane % 16;
    bool wide = g.ld % 8 == 0 && (uintptr_t)g.out % 16 == 0;
#pragma unroll
    for (int half = 0; half < CUDA_WIDE_BLOCKS; half++) {
        if ((uint32_t)half >= at.blocks) {
            return;
        }
#pragma unroll
        for (int c = 0; c < 8; c++) { /* 16 columns */
            const float *p = v + half * 64 + c * 8;
            uint32_t to = at.staging + to_row * row_bytes +
                          (((uint32_t)c * 2 + to_chunk) ^ (to_row & 7)) * 16;
            cuda_store_matrices(to, cuda_bf16_pair(p[0], p[1]), cuda_bf16_pair(p[2], p[3]),
                                cuda_bf16_pair(p[4], p[5]), cuda_bf16_pair(p[6], p[7]));
        }
        __syncwarp();
        uint32_t n = (at.block + (uint32_t)half) * CUDA_TILE_ROWS + chunk * 8;
#pragma unroll
        for (int i = 0; i < 8; i++) {
            uint32_t r = (uint32_t)i * 2 + at.lane / 16;
            uint4 q = cuda_load_16(at.staging + r * row_bytes + (chunk ^ (r & 7)) * 16);
            uint16_t *to = (uint16_t *)g.out + (size_t)(at.row + r) * g.ld + n;
            if (r < at.rows && wide && n + 8 <= g.w.rows) {
                *(uint4 *)to = q;
            } else if (r < at.rows) {
                const uint32_t word[4] = {q.x, q.y, q.z, q.w};
#pragma unroll
                for (int j = 0; j < 8; j++) {
                    if (n + (uint32_t)j < g.w.rows) {
                        to[j] = (uint16_t)(word[j / 2] >> (j % 2 * 16));
                    }
                }
            }
        }
        __syncwarp();
    }
}

/* x / scale, rounded as the division: `inverse` is 1 / scale rounded to nearest, and one correction by the remainder
 * then gives the nearest quotient (Markstein). Where the remainder would underflow, the quotient is far below the
 * smallest e4m3 number. */
__device__ __forceinline__ float cuda_wide_over(float x, float scale, float inverse)
{
    float q = __fmul_rn(x, inverse);
    return __fmaf_rn(__fmaf_rn(-q, scale, x), inverse, q);
}

__device__ __forceinline__ uint16_t cuda_wide_e4m3_pair(float low, float high, float scale,
                                                        float inverse)
{
    uint16_t pair;
    asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;"
        : "=h"(pair)
        : "f"(cuda_wide_over(high, scale, inverse)), "f"(cuda_wide_over(low, scale, inverse)));
    return pair;
}

/* The warp's 16 rows of a K block of the output are two atoms, 2 KiB in one piece. */
__device__ __forceinline__ void cuda_wide_copy_atoms(const cuda_gemm &g, const cuda_wide_place &at,
                                                     uint32_t kb, uint32_t staging)
{
    uint8_t *to = g.gated.data + cuda_rows_offset(g.gated, at.row, kb, 0);
#pragma unroll
    for (int i = 0; i < 4; i++) {
        uint32_t piece = (uint32_t)i * 32 + at.lane;
        if (piece / 8 < at.rows) {
            *(uint4 *)(to + piece * 16) = cuda_load_16(staging + piece * 16);
        }
    }
}

__device__ __forceinline__ void cuda_wide_gated_e4m3(const cuda_gemm &g,
                                                     const float (&v)[CUDA_WIDE_SUMS],
                                                     const cuda_wide_place &at)
{
    uint32_t kb = at.block / 2;
    uint32_t r = at.lane / 4;
    float scale[2], inverse[2];
#pragma unroll
    for (int s = 0; s < 2; s++) {
        float amax = 0.0f;
#pragma unroll
        for (int c = 0; c < 16; c++) {
            amax = fmaxf(amax, fabsf(v[c * 4 + s * 2]));
            amax = fmaxf(amax, fabsf(v[c * 4 + s * 2 + 1]));
        }
        amax = fmaxf(amax, __shfl_xor_sync(0xFFFFFFFFu, amax, 1));
        amax = fmaxf(amax, __shfl_xor_sync(0xFFFFFFFFu, amax, 2));
        scale[s] = cuda_e4m3_scale(amax);
        inverse[s] = __frcp_rn(scale[s]);
        uint32_t row = r + (uint32_t)s * 8;
        if (at.lane % 4 == 0 && row < at.rows) {
            g.gated.scale[(size_t)kb * g.gated.capacity + at.row + row] = scale[s];
        }
#pragma unroll
        for (int c = 0; c < 16; c++) {
            uint16_t pair =
                cuda_wide_e4m3_pair(v[c * 4 + s * 2], v[c * 4 + s * 2 + 1], scale[s], inverse[s]);
            cuda_store_2(at.staging + cuda_swizzle(row, (uint32_t)c / 2) + (uint32_t)c % 2 * 8 +
                             at.lane % 4 * 2,
                         pair);
        }
    }
    __syncwarp();
    cuda_wide_copy_atoms(g, at, kb, at.staging);
    __syncwarp();
}

__device__ __forceinline__ void cuda_wide_gated_bf16(const cuda_gemm &g,
                                                     const float (&v)[CUDA_WIDE_SUMS],
                                                     const cuda_wide_place &at)
{
    const uint32_t block_bytes = 16 * CUDA_BLOCK_BYTES;
    uint32_t row = at.lane % 16;
#pragma unroll
    for (int c = 0; c < 8; c++) { /* 16 columns, two chunks */
        const float *p = v + c * 8;
        uint32_t to = at.staging + (uint32_t)c / 4 * block_bytes +
                      cuda_swizzle(row, (uint32_t)c % 4 * 2 + at.lane / 16);
        cuda_store_matrices(to, cuda_bf16_pair(p[0], p[1]), cuda_bf16_pair(p[2], p[3]),
                            cuda_bf16_pair(p[4], p[5]), cuda_bf16_pair(p[6], p[7]));
    }
    __syncwarp();
    cuda_wide_copy_atoms(g, at, at.block, at.staging);
    cuda_wide_copy_atoms(g, at, at.block + 1, at.staging + block_bytes);
    __syncwarp();
}

__device__ __forceinline__ void cuda_wide_finish(const cuda_gemm &g, float (&v)[CUDA_WIDE_SUMS],
                                                 const cuda_wide_place &at)
{
    if (g.bias != nullptr && g.epilogue != CUDA_OUT_GATED) {
        cuda_wide_bias(g, v, at);
    }
    if (g.epilogue == CUDA_OUT_BF16) {
        cuda_wide_bf16(g, v, at);
    } else if (g.epilogue == CUDA_OUT_GATED) {
#pragma unroll
        for (int i = 0; i < CUDA_WIDE_SUMS / 2; i++) {
            v[i] = cuda_gated(v[i], v[i + CUDA_WIDE_SUMS / 2]);
        }
        if (g.gated.type == CUDA_E4M3) {
            cuda_wide_gated_e4m3(g, v, at);
        } else {
            cuda_wide_gated_bf16(g, v, at);
        }
    } else {
        cuda_wide_floats(g, v, at);
    }
}

#endif
