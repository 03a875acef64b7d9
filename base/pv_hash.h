/* pv_hash: 128-bit keys and the mixing behind hash tables and seeded choices. Not cryptographic.
 * Threads: pure functions. Source of the mixer: the finaliser of SplitMix64 (Steele, Lea, Flood, "Fast splittable
 * pseudorandom number generators", OOPSLA 2014, figure 16). */
#ifndef PV_HASH_H
#define PV_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct pv_key {
    uint64_t hi;
    uint64_t lo;
} pv_key;

static inline uint64_t pv_mix64(uint64_t x)
{
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

static inline bool pv_key_equal(pv_key a, pv_key b)
{
    return a.hi == b.hi && a.lo == b.lo;
}

/* A hash of n bytes under a seed. Equal input gives equal output on every machine. */
uint64_t pv_hash_bytes(const void *bytes, size_t n, uint64_t seed);

/* The key of n bytes: two hashes under different seeds. */
pv_key pv_key_of(const void *bytes, size_t n);

/* 32 lower-case hex digits. parse: false unless `text` begins with 32 hex digits. format: writes 33 bytes. */
bool pv_key_parse(const char *text, pv_key *out);
void pv_key_format(pv_key key, char out[33]);

#ifdef __cplusplus
}
#endif
#endif
