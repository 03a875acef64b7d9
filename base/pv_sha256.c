#include "pv_sha256.h"

#include <string.h>

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
static const uint32_t K[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u,
    0xab1c5ed5u, 0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu,
    0x9bdc06a7u, 0xc19bf174u, 0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu,
    0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau, 0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u,
    0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u, 0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu,
    0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u, 0xa2bfe8a1u, 0xa81a664bu,
    0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u, 0x19a4c116u,
    0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u,
    0xc67178f2u,
};

static uint32_t turn(uint32_t x, unsigned n)
{
    return x >> n | x << (32 - n);
}

static void schedule(const unsigned char *block, uint32_t w[64])
{
    for (size_t i = 0; i < 16; i++) {
        const unsigned char *p = block + 4 * i;
        w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | (uint32_t)p[3];
    }
    for (size_t i = 16; i < 64; i++) {
        uint32_t a = w[i - 15], b = w[i - 2];
        w[i] = w[i - 16] + (turn(a, 7) ^ turn(a, 18) ^ a >> 3) + w[i - 7] +
               (turn(b, 17) ^ turn(b, 19) ^ b >> 10);
    }
}

/* FIPS 180-4, 6.2.2: v[0..8) are its a to h. */
static void compress(pv_sha256 *sha)
{
    uint32_t w[64], v[8];
    schedule(sha->block, w);
    memcpy(v, sha->h, sizeof v);
    for (size_t i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t t1 = v[7] + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & v[5]) ^ (~e & v[6])) +
                      K[i] + w[i];
        uint32_t t2 =
            (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (size_t i = 0; i < 8; i++) {
        sha->h[i] += v[i];
    }
}

/* The same of the square roots of the first eight primes (5.3.3). */
void pv_sha256_init(pv_sha256 *sha)
{
    static const uint32_t start[8] = {
        0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au,
        0x510e527fu, 0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u,
    };
    memset(sha, 0, sizeof *sha);
    memcpy(sha->h, start, sizeof start);
}

void pv_sha256_add(pv_sha256 *sha, const void *bytes, size_t n)
{
    const unsigned char *p = bytes;
    while (n > 0) {
        size_t at = (size_t)(sha->length % 64), take = 64 - at < n ? 64 - at : n;
        memcpy(sha->block + at, p, take);
        sha->length += take;
        p += take;
        n -= take;
        if (at + take == 64) {
            compress(sha);
        }
    }
}

void pv_sha256_end(pv_sha256 *sha, char hex[PV_SHA256_TEXT])
{
    static const char digits[] = "0123456789abcdef";
    unsigned char tail[72] = {0x80};
    uint64_t bits = sha->length * 8;
    size_t pad = (size_t)((119 - sha->length % 64) % 64) + 1;
    for (size_t i = 0; i < 8; i++) {
        tail[pad + i] = (unsigned char)(bits >> (56 - 8 * i));
    }
    pv_sha256_add(sha, tail, pad + 8);
    for (size_t i = 0; i < 64; i++) {
        hex[i] = digits[sha->h[i / 8] >> (28 - 4 * (i % 8)) & 15];
    }
    hex[64] = '\0';
}

void pv_sha256_of(const void *bytes, size_t n, char hex[PV_SHA256_TEXT])
{
    pv_sha256 sha;
    pv_sha256_init(&sha);
    pv_sha256_add(&sha, bytes, n);
    pv_sha256_end(&sha, hex);
}
