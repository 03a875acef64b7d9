#include "pv_buf.h"

#include "pv_mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

void pv_buf_release(pv_buf *buf)
{
    pv_free(buf->data);
    memset(buf, 0, sizeof *buf);
}

void pv_buf_clear(pv_buf *buf)
{
    buf->len = 0;
    buf->failed = false;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

bool pv_buf_ok(const pv_buf *buf)
{
    return !buf->failed;
}

const char *pv_buf_text(const pv_buf *buf)
{
    return buf->data == NULL ? "" : buf->data;
}

char *pv_buf_detach(pv_buf *buf)
{
    char *text = NULL;
    if (!buf->failed) {
        text = buf->data == NULL ? pv_strdup("") : buf->data;
    } else {
        pv_free(buf->data);
    }
    memset(buf, 0, sizeof *buf);
    return text;
}

bool pv_buf_reserve(pv_buf *buf, size_t n)
{
    if (buf->failed || n > SIZE_MAX - buf->len - 1 ||
        pv_grow((void **)&buf->data, &buf->capacity, buf->len + n + 1, 1) != 0) {
        buf->failed = true;
        return false;
    }
    return true;
}

void pv_buf_append(pv_buf *buf, const void *bytes, size_t n)
{
    if (pv_buf_reserve(buf, n)) {
        if (n > 0) {
            memcpy(buf->data + buf->len, bytes, n);
        }
        buf->len += n;
        buf->data[buf->len] = '\0';
    }
}

void pv_buf_puts(pv_buf *buf, const char *text)
{
    pv_buf_append(buf, text, strlen(text));
}

void pv_buf_putc(pv_buf *buf, char c)
{
    pv_buf_append(buf, &c, 1);
}

void pv_buf_printf(pv_buf *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n < 0) {
        buf->failed = true;
    } else if (pv_buf_reserve(buf, (size_t)n)) {
        vsnprintf(buf->data + buf->len, (size_t)n + 1, fmt, again);
        buf->len += (size_t)n;
    }
    va_end(again);
}

void pv_buf_consume(pv_buf *buf, size_t n)
{
    if (n >= buf->len) {
        pv_buf_clear(buf);
        return;
    }
    memmove(buf->data, buf->data + n, buf->len - n + 1);
    buf->len -= n;
}
