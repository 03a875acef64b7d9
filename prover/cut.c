#include "cut.h"

#include "lean_lexer.h"

#include <stdint.h>
#include <string.h>

enum { LINES_MAX = 4096 };

/* A line on which a tactic may begin: its first token stands outside all brackets. */
typedef struct line {
    size_t start, column;
} line;

static size_t start_of_line(const char *body, size_t at)
{
    while (at > 0 && body[at - 1] != '\n') {
        at--;
    }
    return at;
}

static bool is_one_of(const char *body, lean_token t, const char *brackets)
{
    return t.kind == LEAN_TOKEN_SYMBOL && t.end == t.start + 1 &&
           strchr(brackets, body[t.start]) != NULL;
}

/* The lines before byte `until`, and the one that it stands in. What stands on the line of the `by` is no line. */
static size_t read_lines(const char *body, size_t n, size_t until, line *lines)
{
    size_t count = 0, depth = 0, seen = 0; /* seen: the start of the line of the last token */
    lean_lexer lexer = {body, n, 0};
    for (lean_token t = lean_lexer_next(&lexer); t.kind != LEAN_TOKEN_END && count < LINES_MAX;
         t = lean_lexer_next(&lexer)) {
        size_t start = start_of_line(body, t.start);
        bool first = start > seen;
        if (first && start > until) {
            break;
        }
        if (first && depth == 0) {
            lines[count++] = (line){start, t.start - start};
        }
        seen = start;
        depth += is_one_of(body, t, "([{");
        depth -= depth > 0 && is_one_of(body, t, ")]}");
    }
    return count;
}

/* The nearest line above `from` that is less indented; `from` itself when there is none. */
static size_t parent_of(const line *lines, size_t from)
{
    for (size_t i = from; i > 0; i--) {
        if (lines[i - 1].column < lines[from].column) {
            return i - 1;
        }
    }
    return from;
}

/* Cuts before line `at`. */
static proof_cut make_cut(const line *lines, size_t at)
{
    proof_cut out = {.keep = lines[at].start};
    size_t next = at;
    do {
        at = next;
        out.columns[out.level_count++] = lines[at].column;
        next = parent_of(lines, at);
    } while (next != at && out.level_count < CUT_LEVELS_MAX);
    return out;
}

static size_t add_cut(const line *lines, size_t at, proof_cut *out, size_t count)
{
    if (at == 0 || count == CUTS_MAX) {
        return count; /* before the first line nothing is kept */
    }
    proof_cut made = make_cut(lines, at);
    size_t place = count;
    while (place > 0 && out[place - 1].keep < made.keep) {
        place--;
    }
    if (place > 0 && out[place - 1].keep == made.keep) {
        return count;
    }
    memmove(out + place + 1, out + place, (count - place) * sizeof *out);
    out[place] = made;
    return count + 1;
}

static size_t add_with_parents(const line *lines, size_t at, proof_cut *out, size_t count)
{
    for (;;) {
        count = add_cut(lines, at, out, count);
        size_t parent = parent_of(lines, at);
        if (parent == at) {
            return count;
        }
        at = parent;
    }
}

size_t cut_places(const char *body, size_t n, size_t error_at, proof_cut out[CUTS_MAX])
{
    line lines[LINES_MAX];
    size_t count = read_lines(body, n, error_at < n ? error_at : n, lines), cuts = 0;
    if (count == 0) {
        return 0;
    }
    cuts = add_with_parents(lines, count - 1, out, cuts);
    if (count > 1) { /* a parser may notice a line's fault only on the next one */
        cuts = add_with_parents(lines, count - 2, out, cuts);
    }
    return cuts;
}

void cut_write(const char *body, const proof_cut *c, pv_buf *out, size_t at[CUT_LEVELS_MAX])
{
    size_t keep = c->keep;
    while (keep > 0 && strchr(" \t\r\n", body[keep - 1]) != NULL) {
        keep--;
    }
    pv_buf_append(out, body, keep);
    for (size_t i = 0; i < c->level_count; i++) {
        if (!c->left_out[i]) {
            pv_buf_printf(out, "\n%*s", (int)c->columns[i], "");
        }
        if (at != NULL) {
            at[i] = c->left_out[i] ? SIZE_MAX : out->len;
        }
        pv_buf_puts(out, c->left_out[i] ? "" : "sorry");
    }
}
