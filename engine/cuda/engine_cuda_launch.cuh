/* engine_cuda_launch: starts a kernel chained to the one in front of it in the stream.
 *
 * A chained kernel may be scheduled while the one in front still runs (programmatic dependent launch, sm_90; an ordinary
 * launch before that). The rule that keeps this safe: every kernel calls cuda_chain_wait() before it reads or writes
 * anything but weights and tables that never change, and every thread of it reaches that call. So the end of a kernel
 * implies the end of all in front of it. Launches may be captured into graphs. */
#ifndef ENGINE_CUDA_LAUNCH_CUH
#define ENGINE_CUDA_LAUNCH_CUH

#include <cuda_runtime.h>
#include <utility>

struct cuda_shape {
    dim3 grid;
    dim3 block;
    size_t shared; /* dynamic shared memory, bytes */
};

template <class... Parameters, class... Arguments>
cudaError_t cuda_launch(void (*kernel)(Parameters...), const cuda_shape &shape, cudaStream_t stream,
                        Arguments &&...arguments)
{
    cudaLaunchAttribute attribute = {};
    attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attribute.val.programmaticStreamSerializationAllowed = 1;
    cudaLaunchConfig_t config = {};
    config.gridDim = shape.grid;
    config.blockDim = shape.block;
    config.dynamicSmemBytes = shape.shared;
    config.stream = stream;
    config.attrs = &attribute;
    config.numAttrs = 1;
    return cudaLaunchKernelEx(&config, kernel, std::forward<Arguments>(arguments)...);
}

#endif
