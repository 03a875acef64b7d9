#include "search_tactic.h"

#include <string.h>

typedef struct normaliser {
    const char *at;
    pv_buf *out;
    size_t indent; /* of the line being read      */
    size_t base;   /* of the first line that counts */
    bool line_start;
    bool blank; /* a blank waits to be written */
} normaliser;

static void put_blanks(pv_buf *out, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        pv_buf_putc(out, ' ');
    }
}

/* Writes the line break or the blank that comes before the next visible character. */
static void lead_in(normaliser *n)
{
    if (n->line_start && n->out->len == 0) {
        n->base = n->indent;
    } else if (n->line_start) {
        pv_buf_putc(n->out, '\n');
        put_blanks(n->out, n->indent > n->base ? n->indent - n->base : 0);
    } else if (n->blank) {
        pv_buf_putc(n->out, ' ');
    }
    n->line_start = false;
    n->blank = false;
}

static void copy(normaliser *n, size_t count)
{
    lead_in(n);
    pv_buf_append(n->out, n->at, count);
    n->at += count;
}

static void skip_line_comment(normaliser *n)
{
    while (*n->at != '\0' && *n->at != '\n') {
        n->at++;
    }
}

static void skip_block_comment(normaliser *n)
{
    size_t depth = 0;
    do {
        if (n->at[0] == '/' && n->at[1] == '-') {
            depth++;
            n->at += 2;
        } else if (n->at[0] == '-' && n->at[1] == '/') {
            depth--;
            n->at += 2;
        } else {
            n->at++;
        }
    } while (depth > 0 && *n->at != '\0');
    n->blank = true;
}

static size_t string_length(const char *text)
{
    size_t i = 1;
    while (text[i] != '\0' && text[i] != '"') {
        i += text[i] == '\\' && text[i + 1] != '\0' ? 2 : 1;
    }
    return text[i] == '"' ? i + 1 : i;
}

/* A quote between apostrophes is a character, not the start of a string. */
static size_t quote_character_length(const char *text)
{
    if (strncmp(text, "'\"'", 3) == 0) {
        return 3;
    }
    return strncmp(text, "'\\\"'", 4) == 0 ? 4 : 0;
}

static void blank_or_break(normaliser *n)
{
    if (*n->at == '\n') {
        n->line_start = true;
        n->indent = 0;
        n->blank = false;
    } else if (n->line_start) {
        n->indent++;
    } else {
        n->blank = true;
    }
    n->at++;
}

static void normalise_step(normaliser *n)
{
    if (strchr(" \t\r\n", *n->at) != NULL) {
        blank_or_break(n);
    } else if (n->at[0] == '-' && n->at[1] == '-') {
        skip_line_comment(n);
    } else if (n->at[0] == '/' && n->at[1] == '-') {
        skip_block_comment(n);
    } else if (*n->at == '"') {
        copy(n, string_length(n->at));
    } else if (*n->at == '\'' && quote_character_length(n->at) > 0) {
        copy(n, quote_character_length(n->at));
    } else {
        copy(n, 1 + strcspn(n->at + 1, " \t\r\n-/\"'"));
    }
}

void search_tactic_normalise(const char *tactic, pv_buf *scratch)
{
    normaliser n = {.at = tactic, .out = scratch, .line_start = true};
    pv_buf_clear(scratch);
    while (*n.at != '\0') {
        normalise_step(&n);
    }
    while (scratch->len > 0 && strchr("; \n", scratch->data[scratch->len - 1]) != NULL) {
        scratch->data[--scratch->len] = '\0';
    }
}

/* ---- layout ---- */

static size_t leading_blanks(const char *line, size_t n)
{
    size_t i = 0;
    while (i < n && (line[i] == ' ' || line[i] == '\t')) {
        i++;
    }
    return i;
}

static size_t line_length(const char *line, const char *end)
{
    const char *newline = memchr(line, '\n', (size_t)(end - line));
    return newline == NULL ? (size_t)(end - line) : (size_t)(newline - line);
}

/* The text without the blank lines before it and the blanks after it. */
static void trim(const char **start, const char **end)
{
    for (const char *p = *start; p < *end && strchr(" \t\r\n", *p) != NULL; p++) {
        if (*p == '\n') {
            *start = p + 1;
        }
    }
    while (*end > *start && strchr(" \t\r\n", (*end)[-1]) != NULL) {
        --*end;
    }
}

void search_tactic_lay(pv_buf *out, const char *tactic, size_t indent, bool bullet)
{
    const char *line = tactic;
    const char *end = tactic + strlen(tactic);
    trim(&line, &end);
    size_t base = leading_blanks(line, line_length(line, end));
    if (bullet) {
        put_blanks(out, indent - 2);
        pv_buf_puts(out, "· ");
    } else {
        put_blanks(out, indent);
    }
    for (bool first = true; first || line < end; first = false) {
        size_t n = line_length(line, end);
        size_t blanks = leading_blanks(line, n);
        size_t cut = blanks < base ? blanks : base;
        if (!first && blanks < n) {
            put_blanks(out, indent);
        }
        pv_buf_append(out, line + cut, n - cut);
        pv_buf_putc(out, '\n');
        line += n < (size_t)(end - line) ? n + 1 : n;
    }
}
