#include "engine_detokenizer.h"

#include <string.h>

static const char replacement[] = "\xef\xbf\xbd"; /* U+FFFD */

/* The bytes that may follow held[0..n) in a well-formed sequence (Unicode 15, table 3-7). */
static bool may_follow(const unsigned char *held, size_t n, unsigned char c)
{
    unsigned char low = 0x80;
    unsigned char high = 0xbf;
    if (n == 1) {
        switch (held[0]) {
        case 0xe0:
            low = 0xa0;
            break;
        case 0xed:
            high = 0x9f;
            break;
        case 0xf0:
            low = 0x90;
            break;
        case 0xf4:
            high = 0x8f;
            break;
        default:
            break;
        }
    }
    return c >= low && c <= high;
}

static size_t length_of(unsigned char lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2 || lead > 0xf4) {
        return 0;
    }
    return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

static void start(engine_detokenizer *d, unsigned char c, pv_buf *out)
{
    size_t len = length_of(c);
    if (len == 1) {
        pv_buf_putc(out, (char)c);
    } else if (len == 0) {
        pv_buf_append(out, replacement, 3);
    } else {
        d->held[0] = c;
        d->held_len = 1;
    }
}

static void feed(engine_detokenizer *d, unsigned char c, pv_buf *out)
{
    if (d->held_len == 0) {
        start(d, c, out);
        return;
    }
    if (!may_follow(d->held, d->held_len, c)) {
        pv_buf_append(out, replacement, 3);
        d->held_len = 0;
        start(d, c, out);
        return;
    }
    d->held[d->held_len++] = c;
    if (d->held_len == length_of(d->held[0])) {
        pv_buf_append(out, d->held, d->held_len);
        d->held_len = 0;
    }
}

static size_t ascii_run(const char *text, size_t n)
{
    size_t at = 0;
    while (at < n && (unsigned char)text[at] < 0x80) {
        at++;
    }
    return at;
}

static void feed_all(engine_detokenizer *d, const char *text, size_t n, pv_buf *out)
{
    for (size_t at = 0; at < n;) {
        size_t run = d->held_len == 0 ? ascii_run(text + at, n - at) : 0;
        pv_buf_append(out, text + at, run);
        at += run;
        if (at < n) {
            feed(d, (unsigned char)text[at++], out);
        }
    }
}

void engine_detokenizer_init(engine_detokenizer *d, const engine_tokenizer *tokenizer,
                             unsigned flags)
{
    memset(d, 0, sizeof *d);
    d->tokenizer = tokenizer;
    d->flags = flags;
}

void engine_detokenizer_push(engine_detokenizer *d, uint32_t id, pv_buf *out)
{
    size_t len = 0;
    const char *bytes = engine_tokenizer_bytes(d->tokenizer, id, &len);
    bool skip = (d->flags & ENGINE_DECODE_SKIP_SPECIAL) != 0 &&
                engine_tokenizer_is_special(d->tokenizer, id);
    if (bytes == NULL || skip) {
        return;
    }
    if ((d->flags & ENGINE_DECODE_EXACT_BYTES) != 0) {
        pv_buf_append(out, bytes, len);
    } else {
        feed_all(d, bytes, len, out);
    }
}

void engine_detokenizer_finish(engine_detokenizer *d, pv_buf *out)
{
    if (d->held_len != 0) {
        pv_buf_append(out, replacement, 3);
        d->held_len = 0;
    }
}

void engine_utf8_lossy(const char *text, size_t n, pv_buf *out)
{
    engine_detokenizer d;
    engine_detokenizer_init(&d, NULL, 0);
    feed_all(&d, text, n, out);
    engine_detokenizer_finish(&d, out);
}

void engine_decode(const engine_tokenizer *tokenizer, const uint32_t *ids, size_t n, unsigned flags,
                   pv_buf *out)
{
    engine_detokenizer d;
    engine_detokenizer_init(&d, tokenizer, flags);
    for (size_t i = 0; i < n; i++) {
        engine_detokenizer_push(&d, ids[i], out);
    }
    engine_detokenizer_finish(&d, out);
}
