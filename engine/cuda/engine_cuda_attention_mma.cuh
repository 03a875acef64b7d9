/* engine_cuda_attention_mma: products of attention that engine_cuda_wgmma.cuh lacks (bf16, sm_90a).
 *
 * cuda_attention_scores_begin: as cuda_wgmma<64>::bf16 with accumulate == false, but what was in D before is dead, so that
 * the compiler may use its registers for other things in between.
 * cuda_attention_values: A is in registers.
 * D (64 x N, float32) = A (64 x 16) * B (16 x N) + D when `accumulate`, else A * B. Register layout of D as in
 * engine_cuda_wgmma.cuh. Thread t of the warpgroup holds of A, with r = 16 * (t / 32) + (t % 32) / 4 and c = 2 * (t % 4):
 * a[0] (r, c), (r, c + 1); a[1] row r + 8; a[2] columns + 8; a[3] both. So registers 8 j .. 8 j + 7 of a D, rounded and
 * packed in pairs, are the A of columns 16 j .. 16 j + 15.
 * B is stored with its N (dimensions) along rows of 128 bytes.
 * Source: PTX ISA 8.x, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate". */
#ifndef ENGINE_CUDA_ATTENTION_MMA_CUH
#define ENGINE_CUDA_ATTENTION_MMA_CUH

#include "engine_cuda_ptx.cuh"

#include <stdint.h>

/* The lower half of the descriptor of an operand in the 128-byte swizzle whose atoms (8 rows of 128 bytes) follow one
 * another. Along K in the rows: `leading` 16; add 2 for each 32 bytes of K. With rows that are keys and N (dimensions)
 * along them: `leading` is how many bytes on the next 64 dimensions are; add 128 for each 16 keys. Neither sum reaches the
 * upper half, since shared memory ends below 256 KiB. */
__device__ __forceinline__ uint32_t cuda_attention_operand_low(uint32_t smem, uint32_t leading)
{
    return smem >> 4 | leading >> 4 << 16;
}

__device__ __forceinline__ uint64_t cuda_attention_operand(uint32_t low)
{
    return (uint64_t)1 << 62 | (uint64_t)(1024 >> 4) << 32 | low;
}

/* clang-format off */
static __device__ __forceinline__ void cuda_attention_scores_begin(float (&d)[32], uint64_t a, uint64_t b)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, 0, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}, %32, %33, p, 1, 1, 0, 0;\n}"
                 : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3]), "=f"(d[4]), "=f"(d[5]), "=f"(d[6]), "=f"(d[7]),
                   "=f"(d[8]), "=f"(d[9]), "=f"(d[10]), "=f"(d[11]), "=f"(d[12]), "=f"(d[13]), "=f"(d[14]), "=f"(d[15]),
                   "=f"(d[16]), "=f"(d[17]), "=f"(d[18]), "=f"(d[19]), "=f"(d[20]), "=f"(d[21]), "=f"(d[22]), "=f"(d[23]),
                   "=f"(d[24]), "=f"(d[25]), "=f"(d[26]), "=f"(d[27]), "=f"(d[28]), "=f"(d[29]), "=f"(d[30]), "=f"(d[31])
                 : "l"(a), "l"(b));
}

static __device__ __forceinline__ void cuda_attention_values(float (&d)[32], const uint32_t (&a)[4], uint64_t b, bool accumulate)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %37, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
                 "}, {%32, %33, %34, %35}, %36, p, 1, 1, 1;\n}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                   "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                   "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                   "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)accumulate));
}

static __device__ __forceinline__ void cuda_attention_values(float (&d)[64], const uint32_t (&a)[4], uint64_t b, bool accumulate)
{
    asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %69, 0;\n"
                 "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
                 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
                 "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
                 "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
                 "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
                 "}, {%64, %65, %66, %67}, %68, p, 1, 1, 1;\n}"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]), "+f"(d[4]), "+f"(d[5]), "+f"(d[6]), "+f"(d[7]),
                   "+f"(d[8]), "+f"(d[9]), "+f"(d[10]), "+f"(d[11]), "+f"(d[12]), "+f"(d[13]), "+f"(d[14]), "+f"(d[15]),
                   "+f"(d[16]), "+f"(d[17]), "+f"(d[18]), "+f"(d[19]), "+f"(d[20]), "+f"(d[21]), "+f"(d[22]), "+f"(d[23]),
                   "+f"(d[24]), "+f"(d[25]), "+f"(d[26]), "+f"(d[27]), "+f"(d[28]), "+f"(d[29]), "+f"(d[30]), "+f"(d[31]),
                   "+f"(d[32]), "+f"(d[33]), "+f"(d[34]), "+f"(d[35]), "+f"(d[36]), "+f"(d[37]), "+f"(d[38]), "+f"(d[39]),
                   "+f"(d[40]), "+f"(d[41]), "+f"(d[42]), "+f"(d[43]), "+f"(d[44]), "+f"(d[45]), "+f"(d[46]), "+f"(d[47]),
                   "+f"(d[48]), "+f"(d[49]), "+f"(d[50]), "+f"(d[51]), "+f"(d[52]), "+f"(d[53]), "+f"(d[54]), "+f"(d[55]),
                   "+f"(d[56]), "+f"(d[57]), "+f"(d[58]), "+f"(d[59]), "+f"(d[60]), "+f"(d[61]), "+f"(d[62]), "+f"(d[63])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"((int)accumulate));
}

/* clang-format on */

#endif
