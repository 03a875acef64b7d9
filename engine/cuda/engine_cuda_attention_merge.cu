/* The merge of the states of a row that no single item could finish. */
#include "engine_cuda_attention_state.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"

enum { CUDA_MERGE_THREADS = 256 };

/* A warp for each row and head; each lane D / 32 neighbouring dimensions. */
template <int D>
__global__ void __launch_bounds__(CUDA_MERGE_THREADS)
    cuda_attention_merge_kernel(const __grid_constant__ cuda_attention_args a, uint32_t rows)
{
    constexpr int N = D / 32;
    cuda_chain_release();
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t unit = (blockIdx.x * CUDA_MERGE_THREADS + threadIdx.x) / 32;
    const uint32_t row = unit / a.heads, head = unit % a.heads;
    cuda_plan_row slots = {0, 0};
    if (row < rows) { /* the plan was there before the step's first kernel */
        slots = reinterpret_cast<const cuda_plan_row *>(a.plan + cuda_plan_of(a).rows)[row];
    }
    cuda_chain_wait();
    if (blockIdx.x == 0 && threadIdx.x < 2) {
        a.taken[threadIdx.x] = 0; /* for the next launch */
    }
    if (slots.count == 0) {
        return;
    }
    const size_t stride = (size_t)a.heads * (D + 4);
    const float *state = a.states + ((size_t)slots.first * a.heads + head) * (D + 4);
    float o[N] = {}, m = -INFINITY, l = 0.0f;
#pragma unroll 4
    for (uint32_t i = 0; i < slots.count; i++, state += stride) {
        float right[N];
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            float2 two = *reinterpret_cast<const float2 *>(state + lane * N + n);
            right[n] = two.x;
            right[n + 1] = two.y;
        }
        float2 ml = *reinterpret_cast<const float2 *>(state + D);
        cuda_merge_weights w = cuda_merge_begin(m, l, ml.x, ml.y);
#pragma unroll
        for (int n = 0; n < N; n++) {
            o[n] = cuda_merge_number(o[n], right[n], w);
        }
    }
    float inverse = __frcp_rn(l), amax = 0.0f;
#pragma unroll
    for (int n = 0; n < N; n++) {
        o[n] = cuda_finish_number(o[n], inverse);
        amax = fmaxf(amax, fabsf(o[n]));
    }
    if (a.out.type == CUDA_BF16) {
        uint32_t column = head * D + lane * N;
        uint8_t *to = a.out.data + cuda_rows_offset(a.out, row, column / 64, column % 64 / 8) +
                      column % 8 * 2;
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            *reinterpret_cast<uint32_t *>(to + n * 2) = cuda_pack_bf16(o[n], o[n + 1]);
        }
    } else if (D == 128) {
        amax = __uint_as_float(__reduce_max_sync(~0u, __float_as_uint(amax)));
        float scale = cuda_e4m3_scale(amax);
        uint8_t *to =
            a.out.data + cuda_rows_offset(a.out, row, head, lane * N / 16) + lane * N % 16;
#pragma unroll
        for (int n = 0; n < N; n += 2) {
            *reinterpret_cast<uint16_t *>(to + n) = cuda_pack_e4m3(o[n], o[n + 1], scale);
        }
        if (lane == 0) {
            a.out.scale[(size_t)head * a.out.capacity + row] = scale;
        }
    }
}

cudaError_t cuda_attention_merge(const cuda_attention_args &a, uint32_t head_dim, uint32_t rows,
                                 cudaStream_t stream)
{
    const uint32_t warps = CUDA_MERGE_THREADS / 32;
    const cuda_shape shape = {dim3((rows * a.heads + warps - 1) / warps), dim3(CUDA_MERGE_THREADS),
                              0};
    return cuda_launch(head_dim == 128 ? cuda_attention_merge_kernel<128>
                                       : cuda_attention_merge_kernel<64>,
                       shape, stream, a, rows);
}
