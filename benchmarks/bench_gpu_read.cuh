/* The ceiling of what streams: a kernel that reads and does nothing else. `out` is there so that the reads are not left out. */
#ifndef BENCH_GPU_READ_CUH
#define BENCH_GPU_READ_CUH

#include <stddef.h>
#include <stdint.h>

/* n numbers of 16 bytes. */
__global__ void __launch_bounds__(512) read_only(const uint4 *p, size_t n, uint32_t *out)
{
    uint32_t x = 0;
    size_t stride = (size_t)gridDim.x * blockDim.x;
    size_t i = blockIdx.x * (size_t)blockDim.x + threadIdx.x;
    for (; i + 7 * stride < n; i += 8 * stride) {
        uint4 v[8];
#pragma unroll
        for (int k = 0; k < 8; k++) {
            v[k] = __ldcs(p + i + k * stride);
        }
#pragma unroll
        for (int k = 0; k < 8; k++) {
            x ^= v[k].x ^ v[k].y ^ v[k].z ^ v[k].w;
        }
    }
    if (x == 0x12345678u) {
        *out = x;
    }
}

#endif
