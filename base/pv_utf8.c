#include "pv_utf8.h"

static size_t sequence_length(unsigned char lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        return 2;
    }
    if (lead >= 0xe0 && lead <= 0xef) {
        return 3;
    }
    if (lead >= 0xf0 && lead <= 0xf4) {
        return 4;
    }
    return 0;
}

size_t pv_utf8_decode(const void *text, size_t n, uint32_t *out)
{
    static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = text;
    size_t len = n == 0 ? 0 : sequence_length(p[0]);
    if (len == 0 || len > n) {
        return 0;
    }
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < smallest[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) {
        return 0;
    }
    *out = c;
    return len;
}

size_t pv_utf8_valid(const void *text, size_t n)
{
    const unsigned char *p = text;
    size_t at = 0;
    while (at < n) {
        if (p[at] < 0x80) {
            at++;
            continue;
        }
        uint32_t c;
        size_t len = pv_utf8_decode(p + at, n - at, &c);
        if (len == 0) {
            break;
        }
        at += len;
    }
    return at;
}

void pv_utf8_position(const char *text, size_t at, size_t *line, size_t *column)
{
    *line = 1;
    *column = 0;
    for (size_t i = 0; i < at; i++) {
        if (text[i] == '\n') {
            ++*line;
            *column = 0;
        } else if (((unsigned char)text[i] & 0xc0) != 0x80) {
            ++*column;
        }
    }
}

size_t pv_utf8_clip(const char *text, size_t n, size_t limit)
{
    if (limit >= n) {
        return n;
    }
    while (limit > 0 && ((unsigned char)text[limit] & 0xc0) == 0x80) {
        limit--;
    }
    return limit;
}
