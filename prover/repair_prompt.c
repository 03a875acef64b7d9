#include "repair_prompt.h"

#include <stdbool.h>
#include <string.h>

static size_t line_start(const char *text, size_t at)
{
    while (at > 0 && text[at - 1] != '\n') {
        at--;
    }
    return at;
}

/* Behind the line of `at`, without its line break. */
static size_t line_end(const char *text, size_t n, size_t at)
{
    const char *end = memchr(text + at, '\n', n - at);
    return end == NULL ? n : (size_t)(end - text);
}

static size_t lines_before(const char *text, size_t at, size_t lines)
{
    at = line_start(text, at);
    for (; lines > 0 && at > 0; lines--) {
        at = line_start(text, at - 1);
    }
    return at;
}

static size_t lines_behind(const char *text, size_t n, size_t at, size_t lines)
{
    at = line_end(text, n, at);
    for (; lines > 0 && at < n; lines--) {
        at = line_end(text, n, at + 1);
    }
    return at;
}

/* A place of more lines than are shown ends early; *cut then. */
static size_t shown_end(const char *text, size_t start, size_t end, bool *cut)
{
    size_t lines = 1;
    *cut = false;
    for (size_t i = start; i < end; i++) {
        if (text[i] == '\n' && lines++ == REPAIR_SPAN_LINES) {
            *cut = true;
            return i;
        }
    }
    return end;
}

static void put_excerpt(pv_buf *out, const char *text, size_t n, const repair_error *e)
{
    size_t start = e->start < n ? e->start : n, end = e->end < n ? e->end : n;
    while (end > start && strchr(" \t\r\n", text[end - 1]) != NULL) {
        end--;
    }
    bool cut = false;
    size_t shown = shown_end(text, start, end, &cut);
    size_t from = lines_before(text, start, REPAIR_LINES_BEFORE);
    size_t to = lines_behind(text, n, shown, cut ? 0 : REPAIR_LINES_BEHIND);
    pv_buf_puts(out, "```lean4\n");
    pv_buf_append(out, text + from, start - from);
    pv_buf_puts(out, "<error>");
    pv_buf_append(out, text + start, shown - start);
    pv_buf_puts(out, cut ? "\n...</error>" : "</error>");
    pv_buf_append(out, text + shown, to - shown);
    pv_buf_puts(out, "\n```\n");
}

static void put_message(pv_buf *out, const char *message)
{
    size_t n = strlen(message);
    bool cut = n > REPAIR_MESSAGE_BYTES;
    if (cut) { /* at the beginning of a code point */
        n = REPAIR_MESSAGE_BYTES;
        while (n > 0 && ((unsigned char)message[n] & 0xC0) == 0x80) {
            n--;
        }
    }
    while (n > 0 && strchr(" \t\r\n", message[n - 1]) != NULL) {
        n--;
    }
    pv_buf_append(out, message, n);
    pv_buf_puts(out, cut ? "...\n\n" : "\n\n");
}

void repair_prompt_write(pv_buf *out, unsigned round, const char *text, size_t n,
                         const repair_error *errors, size_t count, size_t total)
{
    size_t shown = count < REPAIR_ERRORS_MAX ? count : REPAIR_ERRORS_MAX;
    pv_buf_printf(out, "Lean does not accept the proof (round %u). ", round);
    pv_buf_puts(out, "The place of each error stands between <error> and </error>.\n\n");
    for (size_t i = 0; i < shown; i++) {
        pv_buf_printf(out, "Error %zu:\n", i + 1);
        put_excerpt(out, text, n, &errors[i]);
        pv_buf_puts(out, "Lean says: ");
        put_message(out, errors[i].message);
    }
    if (total > shown) {
        pv_buf_printf(out, "There are %zu more errors.\n\n", total - shown);
    }
    pv_buf_puts(out, "First say what is wrong with the proof and how it can be mended. Then write "
                     "the theorem again with a whole proof, in one block of Lean 4 code. The "
                     "statement stays as it is; `sorry`, `exact?` and `apply?` are no proofs.");
}
