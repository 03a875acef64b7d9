# Each instruction set has files of its own; the rest of the library runs on any processor of the architecture, and the
# choice is made at run time. Kernels are optimised for speed in every optimised build. Contraction is off everywhere:
# where a product and a sum are rounded once, the code says so.
set(CPU_KERNEL_FLAGS -ffp-contract=off $<$<NOT:$<CONFIG:Debug>>:-O3>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
  set(CPU_AVX2 -mavx2 -mfma -mf16c)
  set(CPU_AVX512 ${CPU_AVX2} -mavx512f -mavx512bw -mavx512dq -mavx512vl)
  set(CPU_AVX512_BF16 ${CPU_AVX512} -mavx512bf16 -mavx512vbmi)
endif()
set_source_files_properties(cpu/engine_cpu_kernels_scalar.c PROPERTIES COMPILE_OPTIONS "${CPU_KERNEL_FLAGS}")
set_source_files_properties(cpu/engine_cpu_kernels_avx2.c PROPERTIES COMPILE_OPTIONS "${CPU_KERNEL_FLAGS};${CPU_AVX2}")
set_source_files_properties(
  cpu/engine_cpu_kernels_avx512.c PROPERTIES COMPILE_OPTIONS "${CPU_KERNEL_FLAGS};${CPU_AVX512}")
set_source_files_properties(
  cpu/engine_cpu_kernels_avx512_bf16.c PROPERTIES COMPILE_OPTIONS "${CPU_KERNEL_FLAGS};${CPU_AVX512_BF16}")
# The sampler's loops over a vocabulary are written to be vectorised.
set_source_files_properties(engine_sampler.c PROPERTIES COMPILE_OPTIONS "${CPU_KERNEL_FLAGS}")
