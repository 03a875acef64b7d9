#include "pv_hash.h"

#include <stdio.h>
#include <string.h>

uint64_t pv_hash_bytes(const void *bytes, size_t n, uint64_t seed)
{
    const unsigned char *p = bytes;
    uint64_t h = pv_mix64(seed ^ (uint64_t)n);
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word = 0;
        for (int i = 7; i >= 0; i--) {
            word = word << 8 | p[i];
        }
        h = pv_mix64(h ^ word);
    }
    uint64_t tail = 0;
    for (size_t i = 0; i < n; i++) {
        tail |= (uint64_t)p[i] << (8 * i);
    }
    return pv_mix64(h ^ tail);
}

pv_key pv_key_of(const void *bytes, size_t n)
{
    pv_key key = {pv_hash_bytes(bytes, n, 0x70726f7665720001u),
                  pv_hash_bytes(bytes, n, 0x70726f7665720002u)};
    return key;
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }
    return -1;
}

bool pv_key_parse(const char *text, pv_key *out)
{
    uint64_t half[2] = {0, 0};
    for (int i = 0; i < 32; i++) {
        int digit = hex_digit(text[i]);
        if (digit < 0) {
            return false;
        }
        half[i / 16] = half[i / 16] << 4 | (uint64_t)digit;
    }
    out->hi = half[0];
    out->lo = half[1];
    return true;
}

void pv_key_format(pv_key key, char out[33])
{
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)key.hi, (unsigned long long)key.lo);
}
