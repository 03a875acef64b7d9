/* pv_sha256: SHA-256 (FIPS 180-4), so that what a result was made from can be named to anyone. Threads: one at a time per
 * state.
 *
 *     pv_sha256 sha;
 *     pv_sha256_init(&sha);
 *     pv_sha256_add(&sha, bytes, n);
 *     char hex[PV_SHA256_TEXT];
 *     pv_sha256_end(&sha, hex); */
#ifndef PV_SHA256_H
#define PV_SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PV_SHA256_TEXT = 65 }; /* 64 lower-case hex digits and a NUL */

typedef struct pv_sha256 {
    uint32_t h[8];
    uint64_t length; /* bytes so far */
    unsigned char block[64];
} pv_sha256;

void pv_sha256_init(pv_sha256 *sha);
void pv_sha256_add(pv_sha256 *sha, const void *bytes, size_t n);
void pv_sha256_end(pv_sha256 *sha, char hex[PV_SHA256_TEXT]);

/* The hash of n bytes. */
void pv_sha256_of(const void *bytes, size_t n, char hex[PV_SHA256_TEXT]);

#ifdef __cplusplus
}
#endif
#endif
