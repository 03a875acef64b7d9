/* check_common: what the checks of rows, router and sampler share: random numbers, device arrays, one line a check. */
#ifndef CHECK_COMMON_CUH
#define CHECK_COMMON_CUH

#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vector>

#define TRY(call)                                                                                  \
    do {                                                                                           \
        cudaError_t status_ = (call);                                                              \
        if (status_ != cudaSuccess) {                                                              \
            printf("FAIL %s:%d %s: %s\n", __FILE__, __LINE__, #call, cudaGetErrorString(status_)); \
            exit(1);                                                                               \
        }                                                                                          \
    } while (0)

static int failures;

static inline void report(bool ok, const char *what, double figure)
{
    printf("%s %s (%.3g)\n", ok ? "ok  " : "FAIL", what, figure);
    fflush(stdout);
    failures += !ok;
}

static uint64_t random_state = 88172645463325252ull;

static inline uint32_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

/* Nearly normal: the sum of eight uniform numbers. */
static inline float random_normal(void)
{
    uint32_t sum = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t word = random_word();
        sum += (word & 0xFFFF) + (word >> 16);
    }
    return ((float)sum / 65536.0f - 4) * 1.2247449f;
}

static inline std::vector<float> random_normals(size_t n, float size)
{
    std::vector<float> v(n);
    for (float &x : v) {
        x = size * random_normal();
    }
    return v;
}

/* Device memory that lives until the end of the scope. */
template <class T> struct device_array {
    T *at;
    size_t count;

    explicit device_array(size_t n) : at(NULL), count(n)
    {
        TRY(cudaMalloc((void **)&at, (n > 0 ? n : 1) * sizeof(T)));
        TRY(cudaMemset(at, 0xFF, n * sizeof(T)));
    }

    explicit device_array(const std::vector<T> &from) : device_array(from.size())
    {
        TRY(cudaMemcpy(at, from.data(), count * sizeof(T), cudaMemcpyHostToDevice));
    }

    device_array(const device_array &) = delete;
    device_array &operator=(const device_array &) = delete;

    ~device_array() { (void)cudaFree(at); }

    void fill(int byte) { TRY(cudaMemset(at, byte, count * sizeof(T))); }

    std::vector<T> get(void) const
    {
        std::vector<T> v(count);
        TRY(cudaDeviceSynchronize());
        TRY(cudaMemcpy(v.data(), at, count * sizeof(T), cudaMemcpyDeviceToHost));
        return v;
    }
};

#endif
