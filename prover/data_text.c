#include "data_text.h"

#include <string.h>

static const char *behind(const char *text, const char *start)
{
    size_t n = strlen(start);
    return strncmp(text, start, n) == 0 ? text + n : text;
}

void data_text_theorem(pv_buf *out, const char *name, const char *statement, const char *proof)
{
    const char *rest = behind(behind(statement, "theorem "), "statement");
    pv_buf_printf(out, "theorem %s%s := by\n  ", name, rest);
    for (const char *at = proof; *at != '\0'; at++) {
        pv_buf_putc(out, *at);
        pv_buf_puts(out, *at == '\n' ? "  " : "");
    }
    pv_buf_putc(out, '\n');
}

/* Where the next line is that names no case. */
static const char *skip_cases(const char *line)
{
    while (strncmp(line, "case ", 5) == 0) {
        size_t n = strcspn(line, "\n");
        line += n + (line[n] == '\n');
    }
    return line;
}

bool data_text_same_state(const char *a, const char *b)
{
    for (;;) {
        a = skip_cases(a);
        b = skip_cases(b);
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        if (n != m || memcmp(a, b, n) != 0 || a[n] != b[n]) {
            return false;
        }
        if (a[n] == '\0') {
            return true;
        }
        a += n + 1;
        b += n + 1;
    }
}
