/* engine_cuda_gemm_wide: the product for many rows, at the speed of the tensor cores.
 *
 * How it is cut. A thread block keeps one multiprocessor and walks over tiles of 128 rows (tokens) x 256 columns (two row
 * blocks of the weight). One warp loads: a stage is a K block of the tile, 16 + 32 KiB. Two warpgroups compute 64 rows
 * each; while they store a tile, the ring fills with the next one.
 *
 * Why so (e4m3; the tensor cores do 4,096 products a cycle, so a K block of a tile, 128 x 256 x 128, is 1,024 cycles):
 *     L2        48 KiB a K block are 171 operations a byte. Measured on an H100, loads alone keep pace with 2,000
 *               TFLOPS (55 bytes a cycle and multiprocessor). Loads shared by a cluster of two blocks (multicast), which
 *               halve the reads, arrive at half of that and tie the blocks together: 0.7 of the rate.
 *     shared    products of 64 x 128 read 96 bytes a cycle and 48 come in, of 128: a limit of 0.89 of the peak. Rows read
 *               into registers first (16 less) made no difference.
 *     scaling   each K block's sums are scaled and added in float32: 32,768 fma, 256 cycles of all lanes, a quarter of
 *               the tensor time. A warpgroup adds 64 x 128 sums (64 registers) while the tensor cores work for the other;
 *               128 + 64 registers of sums are what 64 x 256 leaves room for. What is lost is mostly this: without the
 *               fma the kernel is 10 to 15 % faster. Neither turns (named barriers) nor halves of 64 x 64 that a
 *               warpgroup overlaps with itself were better.
 * bf16 has half the rate and no scaling: 64 x 256 sums stay in the tensor cores' registers for a whole segment of K. The
 * total of earlier segments is half in registers, half in shared memory (64 KiB instead of a fourth stage).
 *
 * Sums are made in the order of engine_cuda_matrix.cuh. */
#include "engine_cuda_gemm.cuh"
#include "engine_cuda_gemm_wide.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_wgmma.cuh"

enum {
    WIDE_THREADS = 384,
    WIDE_WARPS = 8,   /* that compute                                        */
    WIDE_SCALE = 512, /* bytes of a stage's scales                           */
    WIDE_INFO = 16,   /* bytes of a stage's tile                             */
    WIDE_KEPT = 64,   /* sums of earlier segments in a thread's registers    */
    WIDE_PRODUCER_REGISTERS = 40,
    WIDE_CONSUMER_REGISTERS = 232
};

enum wide_kind { WIDE_E4M3, WIDE_BF16, WIDE_SEGMENTS /* bf16, more than one of them */ };

template <wide_kind KIND> struct wide_shape {
    static constexpr uint32_t stages = KIND == WIDE_SEGMENTS ? 3 : 4;
    static constexpr uint32_t scratch = /* bytes of a warp */
        KIND == WIDE_SEGMENTS ? (CUDA_WIDE_SUMS - WIDE_KEPT) * 128 : 4096;
    static constexpr uint32_t scratch_at = stages * CUDA_WIDE_STAGE;
    static constexpr uint32_t scale_at = scratch_at + WIDE_WARPS * scratch;
    static constexpr uint32_t info_at =
        scale_at + (KIND == WIDE_E4M3 ? stages * (uint32_t)WIDE_SCALE : 0);
    static constexpr uint32_t full_at = info_at + stages * WIDE_INFO;
    static constexpr uint32_t empty_at = full_at + stages * 8;
    static constexpr uint32_t bytes = empty_at + stages * 8;
};

/* The ring of stages as one role sees it. */
template <wide_kind KIND> struct wide_ring {
    uint32_t smem;
    uint32_t stage;
    uint32_t parity; /* of the phase to wait for: consumers 0 first, the producer 1 */

    __device__ __forceinline__ uint32_t data(void) const { return smem + stage * CUDA_WIDE_STAGE; }

    __device__ __forceinline__ uint32_t scale(void) const
    {
        return smem + wide_shape<KIND>::scale_at + stage * WIDE_SCALE;
    }

    __device__ __forceinline__ uint32_t info(void) const
    {
        return smem + wide_shape<KIND>::info_at + stage * WIDE_INFO;
    }

    __device__ __forceinline__ uint32_t full(void) const
    {
        return smem + wide_shape<KIND>::full_at + stage * 8;
    }

    __device__ __forceinline__ uint32_t empty(void) const
    {
        return smem + wide_shape<KIND>::empty_at + stage * 8;
    }

    __device__ __forceinline__ void next(void)
    {
        stage++;
        if (stage == wide_shape<KIND>::stages) {
            stage = 0;
            parity ^= 1;
        }
    }

    __device__ __forceinline__ void release(uint32_t lane) const
    {
        __syncwarp();
        if (lane == 0) {
            cuda_barrier_arrive(empty());
        }
    }
};

/* ---- Producer: one warp ---- */

/* The tile travels with the tile's first stage; a stage without data ends the walk. */
template <wide_kind KIND>
__device__ __forceinline__ void wide_produce(const cuda_wide_problem &p, wide_ring<KIND> ring,
                                             uint32_t lane)
{
    cuda_wide_walk walk = {0, 0, 0, 0, 0};
    cuda_wide_window(p, walk, lane);
    for (uint32_t index = blockIdx.x;; index += gridDim.x) {
        cuda_wide_tile tile = cuda_wide_next(p, walk, index, lane);
        bool end = tile.row == CUDA_WIDE_END;
        cuda_wide_source source = cuda_wide_locate(p, tile);
        for (uint32_t kb = 0; kb < p.gemm.w.k_blocks; kb++) {
            cuda_barrier_wait(ring.empty(), ring.parity);
            if (lane == 0) {
                if (kb == 0) {
                    cuda_store_16(ring.info(),
                                  make_uint4(tile.row, tile.rows, tile.block, tile.group));
                }
                if (end) {
                    cuda_barrier_arrive(ring.full());
                    cuda_chain_release();
                } else {
                    cuda_wide_load(p, source, ring.data(), ring.scale(), ring.full());
                }
            }
            __syncwarp();
            if (end) {
                return;
            }
            ring.next();
        }
    }
}

/* ---- Consumers: two warpgroups ---- */

/* The products of 64 rows with a row block of the weight over a K block. */
__device__ __forceinline__ void wide_multiply(float (&block)[64], uint64_t a, uint64_t b)
{
    cuda_wgmma_hold(block);
    cuda_wgmma_fence();
#pragma unroll
    for (int k = 0; k < 4; k++) {
        cuda_wgmma<128>::e4m3(block, a + 2 * k, b + 2 * k, k > 0);
    }
    cuda_wgmma_commit();
    cuda_wgmma_wait<0>();
    cuda_wgmma_hold(block);
}

__device__ __forceinline__ void wide_add(float (&sum)[CUDA_WIDE_SUMS], const float (&block)[64],
                                         int at, float scale_low, float scale_high)
{
#pragma unroll
    for (int i = 0; i < 64; i++) {
        sum[at + i] = __fmaf_rn(block[i], i / 2 % 2 == 0 ? scale_low : scale_high, sum[at + i]);
    }
}

/* All K blocks of a tile, e4m3. `scales`: of the tile's first row block, by K block; the second's follow at k_blocks. */
__device__ __forceinline__ void wide_sum(float (&sum)[CUDA_WIDE_SUMS], wide_ring<WIDE_E4M3> &ring,
                                         const float *scales, uint32_t k_blocks, uint32_t blocks,
                                         uint32_t group, uint32_t row, uint32_t lane)
{
    float block[64];
    float w[2], w_next[2];
    w_next[0] = __ldg(scales);
    w_next[1] = blocks > 1 ? __ldg(scales + k_blocks) : 0.0f;
    for (uint32_t kb = 0; kb < k_blocks; kb++) {
        cuda_barrier_wait(ring.full(), ring.parity);
        float x_low = cuda_load_float(ring.scale() + row * 4);
        float x_high = cuda_load_float(ring.scale() + row * 4 + 32);
        w[0] = w_next[0];
        w[1] = w_next[1];
        if (kb + 1 < k_blocks) {
            w_next[0] = __ldg(scales + kb + 1);
            w_next[1] = blocks > 1 ? __ldg(scales + k_blocks + kb + 1) : 0.0f;
        }
        uint64_t a = cuda_wgmma_operand(ring.data() + group * (CUDA_TILE_BYTES / 2));
        uint64_t b = cuda_wgmma_operand(ring.data() + CUDA_TILE_BYTES);
#pragma unroll
        for (int h = 0; h < CUDA_WIDE_BLOCKS; h++) {
            if (h == 0 || blocks > 1) {
                wide_multiply(block, a, b + (uint32_t)h * (CUDA_TILE_BYTES / 16));
                if (h == 1 || blocks == 1) {
                    ring.release(lane);
                }
                wide_add(sum, block, h * 64, __fmul_rn(x_low, w[h]), __fmul_rn(x_high, w[h]));
            }
        }
        ring.next();
    }
}

/* What the segments of K so far came to: WIDE_KEPT of a thread's sums in registers, the others in its warp's scratch
 * (16 bytes a lane, 512 bytes apart). */
__device__ __forceinline__ void wide_put_aside(const float (&v)[CUDA_WIDE_SUMS],
                                               float (&total)[WIDE_KEPT], uint32_t scratch,
                                               bool first)
{
#pragma unroll
    for (int i = 0; i < WIDE_KEPT; i++) {
        total[i] = first ? v[i] : __fadd_rn(total[i], v[i]);
    }
#pragma unroll
    for (int i = WIDE_KEPT; i < CUDA_WIDE_SUMS; i += 4) {
        uint32_t at = scratch + (uint32_t)(i - WIDE_KEPT) / 4 * 512;
        float4 t = make_float4(v[i], v[i + 1], v[i + 2], v[i + 3]);
        if (!first) {
            uint4 q = cuda_load_16(at);
            t.x = __fadd_rn(__uint_as_float(q.x), t.x);
            t.y = __fadd_rn(__uint_as_float(q.y), t.y);
            t.z = __fadd_rn(__uint_as_float(q.z), t.z);
            t.w = __fadd_rn(__uint_as_float(q.w), t.w);
        }
        cuda_store_16(at, make_uint4(__float_as_uint(t.x), __float_as_uint(t.y),
                                     __float_as_uint(t.z), __float_as_uint(t.w)));
    }
}

__device__ __forceinline__ void wide_take_back(float (&v)[CUDA_WIDE_SUMS],
                                               const float (&total)[WIDE_KEPT], uint32_t scratch)
{
#pragma unroll
    for (int i = 0; i < WIDE_KEPT; i++) {
        v[i] = __fadd_rn(total[i], v[i]);
    }
#pragma unroll
    for (int i = WIDE_KEPT; i < CUDA_WIDE_SUMS; i += 4) {
        uint4 q = cuda_load_16(scratch + (uint32_t)(i - WIDE_KEPT) / 4 * 512);
        v[i + 0] = __fadd_rn(__uint_as_float(q.x), v[i + 0]);
        v[i + 1] = __fadd_rn(__uint_as_float(q.y), v[i + 1]);
        v[i + 2] = __fadd_rn(__uint_as_float(q.z), v[i + 2]);
        v[i + 3] = __fadd_rn(__uint_as_float(q.w), v[i + 3]);
    }
}

/* All K blocks of a tile, bf16: a K block's products are handed over before the ones in front have ended. */
template <wide_kind KIND>
__device__ __forceinline__ void wide_sum(float (&v)[CUDA_WIDE_SUMS], wide_ring<KIND> &ring,
                                         uint32_t scratch, uint32_t k_blocks, uint32_t segments,
                                         uint32_t group, uint32_t lane)
{
    float total[WIDE_KEPT] = {};
    segments = KIND == WIDE_SEGMENTS ? segments : 1;
    uint32_t kb = 0;
    for (uint32_t s = 0;; s++) {
        uint32_t end = cuda_segment_begin(k_blocks, segments, s + 1);
        wide_ring<KIND> behind = ring;
        cuda_wgmma_hold(v);
        for (bool more = false; kb < end; kb++, more = true) {
            cuda_barrier_wait(ring.full(), ring.parity);
            uint64_t a = cuda_wgmma_operand(ring.data() + group * (CUDA_TILE_BYTES / 2));
            uint64_t b = cuda_wgmma_operand(ring.data() + CUDA_TILE_BYTES);
            cuda_wgmma_fence();
#pragma unroll
            for (int k = 0; k < 4; k++) {
                cuda_wgmma<256>::bf16(v, a + 2 * k, b + 2 * k, k > 0 || more);
            }
            cuda_wgmma_commit();
            if (more) {
                cuda_wgmma_wait<1>();
                behind.release(lane);
                behind.next();
            }
            ring.next();
        }
        cuda_wgmma_wait<0>();
        cuda_wgmma_hold(v);
        behind.release(lane);
        if (s + 1 == segments) {
            break;
        }
        wide_put_aside(v, total, scratch, s == 0);
    }
    if (segments > 1) {
        wide_take_back(v, total, scratch);
        __syncwarp();
    }
}

/* A tile of which the warpgroup has no row: it only lets the stages go. */
template <wide_kind KIND>
__device__ __forceinline__ void wide_pass(wide_ring<KIND> &ring, uint32_t k_blocks, uint32_t lane)
{
    for (uint32_t kb = 0; kb < k_blocks; kb++) {
        cuda_barrier_wait(ring.full(), ring.parity);
        ring.release(lane);
        ring.next();
    }
}

template <wide_kind KIND>
__device__ __forceinline__ void wide_consume(const cuda_wide_problem &p, wide_ring<KIND> ring,
                                             uint32_t group, uint32_t warp, uint32_t lane)
{
    const cuda_weight &w = p.gemm.w;
    uint32_t row = group * CUDA_WIDE_GROUP + warp % 4 * 16; /* of the warp, in the tile */
    uint32_t scratch = ring.smem + wide_shape<KIND>::scratch_at + warp * wide_shape<KIND>::scratch;
    for (;;) {
        cuda_barrier_wait(ring.full(), ring.parity);
        uint4 info = cuda_load_16(ring.info());
        cuda_wide_tile tile = {info.x, info.y, info.z, info.w};
        if (tile.row == CUDA_WIDE_END) {
            return;
        }
        uint32_t blocks = cuda_wide_blocks(w, tile.block);
        if (tile.rows <= group * CUDA_WIDE_GROUP) {
            wide_pass(ring, w.k_blocks, lane);
            continue;
        }
        uint32_t left = tile.rows > row ? tile.rows - row : 0;
        cuda_wide_place at = {
            tile.row + row, left < 16 ? left : 16, tile.block, blocks, scratch, lane};
        if (p.gemm.epilogue == CUDA_OUT_ADD) {
            cuda_wide_fetch(p.gemm, at);
        }
        float v[CUDA_WIDE_SUMS];
#pragma unroll
        for (int i = 0; i < CUDA_WIDE_SUMS; i++) {
            v[i] = 0.0f;
        }
        if constexpr (KIND == WIDE_E4M3) {
            const float *scales =
                w.scale + ((size_t)tile.group * w.row_blocks + tile.block) * w.k_blocks;
            wide_sum(v, ring, scales, w.k_blocks, blocks, group, row + lane / 4, lane);
        } else {
            wide_sum(v, ring, scratch + lane * 16, w.k_blocks, w.segments, group, lane);
        }
        if (at.rows != 0) {
            cuda_wide_finish(p.gemm, v, at);
        }
    }
}

template <wide_kind KIND>
__global__ void __launch_bounds__(WIDE_THREADS, 1)
    cuda_wide_kernel(const __grid_constant__ cuda_wide_problem p)
{
    extern __shared__ __align__(1024) uint8_t wide_shared[];
    uint32_t warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    wide_ring<KIND> ring = {cuda_smem(wide_shared), 0, 0};
    if (threadIdx.x == 0) {
        for (uint32_t i = 0; i < wide_shape<KIND>::stages; i++, ring.next()) {
            cuda_barrier_init(ring.full(), 1);
            cuda_barrier_init(ring.empty(), WIDE_WARPS);
        }
        cuda_barrier_init_fence();
    }
    __syncthreads();
    cuda_chain_wait();
    ring.stage = 0;
    if (warp >= WIDE_WARPS) {
        cuda_registers_give<WIDE_PRODUCER_REGISTERS>();
        if (warp == WIDE_WARPS) {
            ring.parity = 1;
            wide_produce(p, ring, lane);
        }
    } else {
        cuda_registers_take<WIDE_CONSUMER_REGISTERS>();
        ring.parity = 0;
        wide_consume(p, ring, warp / 4, warp, lane);
    }
}

/* ---- Host ---- */

static uint32_t wide_processors; /* set once, before the first launch */

template <wide_kind KIND> static cudaError_t wide_prepare(void)
{
    return cudaFuncSetAttribute(cuda_wide_kernel<KIND>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                (int)wide_shape<KIND>::bytes);
}

cudaError_t cuda_gemm_wide_prepare(uint32_t processors)
{
    wide_processors = processors;
    cudaError_t status = wide_prepare<WIDE_E4M3>();
    status = status == cudaSuccess ? wide_prepare<WIDE_BF16>() : status;
    return status == cudaSuccess ? wide_prepare<WIDE_SEGMENTS>() : status;
}

template <wide_kind KIND>
static cudaError_t wide_launch(const cuda_wide_problem &problem, cudaStream_t stream)
{
    uint32_t blocks = wide_processors;
    if (problem.rows == nullptr) {
        uint32_t tiles = cuda_wide_high(problem.gemm.rows) * cuda_wide_broad(problem.gemm.w);
        blocks = tiles < blocks ? tiles : blocks;
    }
    cuda_shape shape = {dim3(blocks), dim3(WIDE_THREADS), wide_shape<KIND>::bytes};
    return cuda_launch(cuda_wide_kernel<KIND>, shape, stream, problem);
}

cudaError_t cuda_gemm_wide(const cuda_gemm *gemm, const cuda_groups *groups, cudaStream_t stream)
{
    if (wide_processors == 0 || gemm->rows == 0 || gemm->x.type != gemm->w.type ||
        gemm->x.k_blocks != gemm->w.k_blocks) {
        return cudaErrorInvalidValue;
    }
    cuda_wide_problem problem = {};
    problem.gemm = *gemm;
    problem.count = groups != nullptr ? groups->count : 1;
    problem.begin = groups != nullptr ? groups->begin : nullptr;
    problem.rows = groups != nullptr ? groups->rows : nullptr;
    if (gemm->w.type == CUDA_E4M3) {
        return wide_launch<WIDE_E4M3>(problem, stream);
    }
    return gemm->w.segments > 1 ? wide_launch<WIDE_SEGMENTS>(problem, stream)
                                : wide_launch<WIDE_BF16>(problem, stream);
}
