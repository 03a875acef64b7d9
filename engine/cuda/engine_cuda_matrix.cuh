/* engine_cuda_matrix: how matrices lie in the GPU's memory, so that every product loads them with plain bulk copies.
 *
 * Unit of both layouts: an atom, 8 rows of 128 bytes (128 e4m3 or 64 bf16 numbers along K) in the 128-byte swizzle of
 * wgmma: 16-byte chunk c of row r lies at r * 128 + ((c ^ r) * 16), r < 8. A K block is those 128 bytes.
 *
 * Weights (cuda_weight): tiles of 128 rows x one K block, 16 atoms = 16 KiB. A block of 128 rows holds its K blocks one
 * after the other, so that a thread block that walks along K reads one contiguous stream.
 *     tile (rb, kb) at (rb * k_blocks + kb) * 16 KiB
 * Rows and columns are padded with zeros to whole tiles. e4m3 has one scale a tile: scale[rb * k_blocks + kb].
 *
 * Activations (cuda_rows): the rows are tokens; all atoms of a K block one after the other, so that any run of rows that
 * starts at a multiple of 8 is one copy.
 *     atom (kb, a) at (kb * (capacity / 8) + a) * 1 KiB,   rows 8a .. 8a + 7
 * e4m3 has one scale a row and K block: scale[kb * capacity + row]. Padding along K must be zero; rows past the last may
 * hold any bit pattern that is a finite number (buffers are cleared once, at allocation).
 *
 * The product of a row x and a weight row w, in every kernel and for every batch:
 *     e4m3:  sum = 0; for kb ascending: sum = fma(block, x_scale[kb] * w_scale[kb], sum),
 *            block: four products of K = 32 ascending, accumulated by the tensor core from zero
 *     bf16:  for each segment (`segments` runs of K blocks, as equal as can be, the longer ones first):
 *            products of K = 16 ascending, accumulated by the tensor core from zero; then the segments' sums are
 *            added in ascending order, starting from the first. One segment: no addition.
 * This order is what makes results independent of the batch (docs/engine-cuda.md, "Batch invariance"). */
#ifndef ENGINE_CUDA_MATRIX_CUH
#define ENGINE_CUDA_MATRIX_CUH

#include <stddef.h>
#include <stdint.h>

enum {
    CUDA_TILE_ROWS = 128,
    CUDA_TILE_BYTES = 16384,
    CUDA_ATOM_ROWS = 8,
    CUDA_ATOM_BYTES = 1024,
    CUDA_BLOCK_BYTES = 128
};

enum cuda_type { CUDA_E4M3, CUDA_BF16 };

/* Numbers of a K block. */
__host__ __device__ inline uint32_t cuda_block_numbers(cuda_type type)
{
    return type == CUDA_E4M3 ? 128 : 64;
}

struct cuda_weight { /* pointers: device memory, borrowed; data aligned to 1 KiB */
    const uint8_t *data;
    const float *scale; /* row_blocks x k_blocks; NULL for bf16 */
    cuda_type type;
    uint32_t rows; /* outputs, without padding */
    uint32_t cols; /* inputs, without padding  */
    uint32_t row_blocks;
    uint32_t k_blocks;
    uint32_t segments; /* 1 for e4m3; bf16: cuda_weight_segments() */
};

struct cuda_rows { /* pointers: device memory, borrowed; data aligned to 1 KiB */
    uint8_t *data;
    float *scale; /* k_blocks x capacity; NULL for bf16 */
    cuda_type type;
    uint32_t capacity; /* rows; a multiple of 128 */
    uint32_t cols;     /* without padding */
    uint32_t k_blocks;
};

/* How many runs K is cut into: 1, 2 or 4, so that matrices of few row blocks still keep the whole GPU reading. A
 * function of the shape alone. */
__host__ __device__ inline uint32_t cuda_weight_segments(cuda_type type, uint32_t row_blocks,
                                                         uint32_t k_blocks)
{
    if (type != CUDA_BF16 || k_blocks < 32) {
        return 1;
    }
    return row_blocks <= 40 ? 4 : row_blocks <= 80 ? 2 : 1;
}

/* First K block of segment s (s == segments: the end). */
__host__ __device__ inline uint32_t cuda_segment_begin(uint32_t k_blocks, uint32_t segments,
                                                       uint32_t s)
{
    uint32_t each = k_blocks / segments;
    uint32_t longer = k_blocks % segments;
    return s * each + (s < longer ? s : longer);
}

/* Byte offset of 16-byte chunk `chunk` (0 .. 7) of row `row` inside a run of atoms. */
__host__ __device__ inline uint32_t cuda_swizzle(uint32_t row, uint32_t chunk)
{
    return row * CUDA_BLOCK_BYTES + ((chunk ^ (row & 7)) * 16);
}

/* Byte offset of chunk `chunk` of K block `kb` of row `row` in cuda_rows.data. */
__host__ __device__ inline size_t cuda_rows_offset(const cuda_rows &m, uint32_t row, uint32_t kb,
                                                   uint32_t chunk)
{
    return ((size_t)kb * (m.capacity / CUDA_ATOM_ROWS) + row / CUDA_ATOM_ROWS) * CUDA_ATOM_BYTES +
           cuda_swizzle(row & 7, chunk);
}

/* The same of cuda_weight.data. */
__host__ __device__ inline size_t cuda_weight_offset(const cuda_weight &w, uint32_t row,
                                                     uint32_t kb, uint32_t chunk)
{
    return ((size_t)(row / CUDA_TILE_ROWS) * w.k_blocks + kb) * CUDA_TILE_BYTES +
           cuda_swizzle(row % CUDA_TILE_ROWS, chunk);
}

#endif
