#include "html_text.h"

#include "pv_sha256.h"
#include "pv_utf8.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* U+202A to U+202E and U+2066 to U+2069, U+200E, U+200F, U+061C. */
static bool turns_direction(uint32_t c)
{
    return (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x200e ||
           c == 0x200f || c == 0x61c;
}

static void put_ascii(pv_buf *out, char c)
{
    switch (c) {
    case '&':
        pv_buf_puts(out, "&amp;");
        break;
    case '<':
        pv_buf_puts(out, "&lt;");
        break;
    case '>':
        pv_buf_puts(out, "&gt;");
        break;
    case '"':
        pv_buf_puts(out, "&quot;");
        break;
    case '\'':
        pv_buf_puts(out, "&#39;");
        break;
    default:
        if (((unsigned char)c < 0x20 && c != '\n' && c != '\t') || c == 0x7f) {
            pv_buf_puts(out, "\xef\xbf\xbd");
        } else {
            pv_buf_putc(out, c);
        }
    }
}

void html_text(pv_buf *out, const char *text)
{
    size_t n = text == NULL ? 0 : strlen(text);
    for (size_t i = 0; i < n;) {
        uint32_t c = 0;
        size_t length = pv_utf8_decode(text + i, n - i, &c);
        if (length == 0 || (c >= 0x80 && c < 0xa0)) {
            pv_buf_puts(out, "\xef\xbf\xbd");
            i += length == 0 ? 1 : length;
            continue;
        }
        if (length == 1) {
            put_ascii(out, text[i]);
        } else if (turns_direction(c)) {
            pv_buf_printf(out, "\xe2\x9f\xa8U+%04X\xe2\x9f\xa9", (unsigned)c);
        } else {
            pv_buf_append(out, text + i, length);
        }
        i += length;
    }
}

/* ---- figures ---- */

void html_count(pv_buf *out, uint64_t n)
{
    char digits[24];
    int count = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    for (int i = 0; i < count; i++) {
        if (i > 0 && (count - i) % 3 == 0) {
            pv_buf_putc(out, ',');
        }
        pv_buf_putc(out, digits[i]);
    }
}

void html_number(pv_buf *out, double x)
{
    if (x >= 1 && x < 1e15 && x == floor(x)) {
        html_count(out, (uint64_t)x);
    } else {
        pv_buf_printf(out, "%.6g", x);
    }
}

void html_seconds(pv_buf *out, double seconds)
{
    if (seconds >= 1000) {
        html_count(out, (uint64_t)(seconds + 0.5));
    } else {
        pv_buf_printf(out, seconds < 1 ? "%.2f" : seconds < 100 ? "%.1f" : "%.0f", seconds);
    }
    pv_buf_puts(out, "\xc2\xa0s");
}

void html_ratio(pv_buf *out, double ratio)
{
    if (isfinite(ratio)) {
        pv_buf_printf(out, ratio < 10 ? "%.2f" : "%.0f", ratio);
    } else {
        pv_buf_puts(out, "\xe2\x80\x93");
    }
}

void html_time(pv_buf *out, int64_t seconds)
{
    struct tm day;
    char text[64];
    time_t at = (time_t)seconds;
    if (gmtime_r(&at, &day) != NULL &&
        strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &day) > 0) {
        pv_buf_puts(out, text);
    }
}

/* ---- base64 ---- */

void html_base64(pv_buf *out, const void *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t group = (uint32_t)b[i] << 16;
        group |= i + 1 < n ? (uint32_t)b[i + 1] << 8 : 0;
        group |= i + 2 < n ? b[i + 2] : 0;
        char four[4] = {digits[group >> 18], digits[group >> 12 & 63],
                        i + 1 < n ? digits[group >> 6 & 63] : '=',
                        i + 2 < n ? digits[group & 63] : '='};
        pv_buf_append(out, four, 4);
    }
}

static unsigned hex_value(char c)
{
    return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

void html_source_hash(pv_buf *out, const char *text, size_t n)
{
    char hex[PV_SHA256_TEXT];
    unsigned char bytes[32];
    pv_sha256_of(text, n, hex);
    for (size_t i = 0; i < sizeof bytes; i++) {
        bytes[i] = (unsigned char)(hex_value(hex[2 * i]) << 4 | hex_value(hex[2 * i + 1]));
    }
    pv_buf_puts(out, "'sha256-");
    html_base64(out, bytes, sizeof bytes);
    pv_buf_putc(out, '\'');
}
