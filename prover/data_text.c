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
