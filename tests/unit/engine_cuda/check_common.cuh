/* check_common: what the checks of kernels share: random numbers, number formats, device memory, one line a check. */
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

static inline void report(bool ok, const char *what, double figure, double limit)
{
    printf("%s  %-58s %.3e (limit %.1e)\n", ok ? "ok  " : "FAIL", what, figure, limit);
    fflush(stdout);
    failures += !ok;
}

/* ---- Random numbers ---- */

static uint64_t random_state = 88172645463325252ull;

static inline uint32_t random_word(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 32);
}

static inline float random_unit(void) /* -1 .. 1 */
{
    return (float)(int32_t)random_word() * (1.0f / 2147483648.0f);
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

/* ---- Number formats ---- */

static inline uint16_t bf16_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return (uint16_t)((u + 0x7FFF + (u >> 16 & 1)) >> 16);
}

static inline float bf16_value(uint16_t bits)
{
    uint32_t u = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &u, 4);
    return x;
}

static inline float e4m3_value(uint8_t bits)
{
    int e = bits >> 3 & 15;
    int m = bits & 7;
    float x = e == 0 ? ldexpf((float)m, -9) : ldexpf((float)(8 + m), e - 10);
    x = (bits & 127) == 127 ? NAN : x;
    return bits & 128 ? -x : x;
}

/* ---- Device memory ---- */

/* n zeros; cudaFree() frees them. */
template <class T> static T *device_zeros(size_t n)
{
    T *p = NULL;
    TRY(cudaMalloc((void **)&p, n * sizeof(T) + 1024));
    TRY(cudaMemset(p, 0, n * sizeof(T)));
    return p;
}

template <class T> static T *to_device(const std::vector<T> &v)
{
    T *p = device_zeros<T>(v.size());
    TRY(cudaMemcpy(p, v.data(), v.size() * sizeof(T), cudaMemcpyHostToDevice));
    return p;
}

/* When all that was launched has ended. */
template <class T> static std::vector<T> to_host(const T *p, size_t n)
{
    std::vector<T> v(n);
    TRY(cudaDeviceSynchronize());
    TRY(cudaMemcpy(v.data(), p, n * sizeof(T), cudaMemcpyDeviceToHost));
    return v;
}

/* Device memory that lives until the end of the scope, full of 0xFF at first. */
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

    void put(const std::vector<T> &from)
    {
        TRY(cudaMemcpy(at, from.data(), from.size() * sizeof(T), cudaMemcpyHostToDevice));
    }

    void fill(int byte) { TRY(cudaMemset(at, byte, count * sizeof(T))); }

    std::vector<T> get(void) const { return to_host(at, count); }
};

#endif
