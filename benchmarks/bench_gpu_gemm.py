"""What PyTorch's own products (cuBLASLt) reach at the shapes of bench_gpu_gemm: fp8 with one scale, and bf16."""
import torch


def rate(product, sets, operations):
    times = []
    for run in range(10):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        for i in range(6):
            product(*sets[i % len(sets)])
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 6)
    return operations / (sorted(times[1:])[4] * 1e9)


def normal(rows, cols, scale=1.0):
    return torch.randn(rows, cols, device="cuda") * scale


one = torch.ones((), device="cuda")
for m, n, k in [(4096, 4096, 7168), (4096, 7168, 2048), (4096, 24576, 1536), (4096, 7168, 16384), (8192, 8192, 8192)]:
    sets = [(normal(m, k, 100).to(torch.float8_e4m3fn), normal(n, k, 100).to(torch.float8_e4m3fn).t()) for _ in range(3)]
    fp8 = rate(lambda a, b: torch._scaled_mm(a, b, one, one, out_dtype=torch.bfloat16), sets, 2.0 * m * n * k)
    print(f"cublasLt e4m3 one scale {m} x {n} x {k}: {fp8:.0f} TFLOPS", flush=True)
for m, n, k in [(4096, 12288, 4096), (4096, 22016, 4096), (4096, 4096, 11008), (4096, 4096, 4096)]:
    sets = [(normal(m, k).bfloat16(), normal(n, k).bfloat16().t()) for _ in range(3)]
    print(f"cublasLt bf16 {m} x {n} x {k}: {rate(torch.matmul, sets, 2.0 * m * n * k):.0f} TFLOPS", flush=True)
