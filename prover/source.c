#include "source.h"

#include "lean_lexer.h"
#include "pv_file.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <string.h>

enum { TEXT_MAX = 8 << 20 };

/* ---- what the text holds, seen without Lean ---- */

static bool is(const char *text, const lean_token *token, const char *word)
{
    size_t n = token->end - token->start;
    return n == strlen(word) && memcmp(text + token->start, word, n) == 0;
}

/* Where the imports end: `prelude`, `module` and import lines with the words that may stand around `import`. */
static size_t header_end(const char *text, size_t n)
{
    size_t done = 0;
    lean_lexer lexer = {text, n, 0};
    for (;;) {
        lean_token token = lean_lexer_next(&lexer);
        if (is(text, &token, "prelude") || is(text, &token, "module")) {
            done = token.end;
        } else if (is(text, &token, "import")) {
            token = lean_lexer_next(&lexer);
            if (is(text, &token, "all")) {
                token = lean_lexer_next(&lexer);
            }
            done = token.end;
        } else if (!is(text, &token, "public") && !is(text, &token, "meta")) {
            return done;
        }
    }
}

/* What decides how a bare statement is completed. */
typedef struct outline {
    bool assigned; /* `:=` outside all brackets               */
    bool hole;     /* the word `sorry`                        */
    bool ends_with_assign, ends_with_by;
    size_t last; /* end of the last token; 0: there is none   */
} outline;

static bool is_bracket(const char *text, const lean_token *token, const char *brackets)
{
    return token->kind == LEAN_TOKEN_SYMBOL && token->end == token->start + 1 &&
           strchr(brackets, text[token->start]) != NULL;
}

static outline outline_of(const char *text, size_t n)
{
    outline out = {0};
    size_t depth = 0;
    lean_lexer lexer = {text, n, 0};
    bool colon = false; /* the token before is a `:` that touches this one */
    for (;;) {
        lean_token token = lean_lexer_next(&lexer);
        if (token.kind == LEAN_TOKEN_END) {
            return out;
        }
        depth += is_bracket(text, &token, "([{");
        depth -= depth > 0 && is_bracket(text, &token, ")]}");
        out.ends_with_assign = colon && token.start == out.last && is(text, &token, "=");
        out.ends_with_by = is(text, &token, "by");
        out.assigned = out.assigned || (depth == 0 && out.ends_with_assign);
        out.hole = out.hole || is(text, &token, "sorry");
        colon = is(text, &token, ":");
        out.last = token.end;
    }
}

/* ---- loading ---- */

static pv_status check_text(const char *name, const char *text, size_t n, pv_error *err)
{
    size_t good = pv_utf8_valid(text, n);
    const char *nul = memchr(text, '\0', good);
    size_t at = nul != NULL ? (size_t)(nul - text) : good;
    size_t line, column;
    pv_utf8_position(text, at < n ? at : 0, &line, &column);
    if (nul != NULL) {
        return pv_fail(err, PV_E_INVALID, "%s:%zu:%zu: a NUL byte: Lean text has none", name, line,
                       column);
    }
    if (good < n) {
        return pv_fail(err, PV_E_INVALID,
                       "%s:%zu:%zu: byte %zu (0x%02x) is not UTF-8: save the text as UTF-8", name,
                       line, column, good, (unsigned char)text[good]);
    }
    if (outline_of(text, n).last == 0) {
        return pv_fail(err, PV_E_INVALID, "%s is empty: there is nothing to prove", name);
    }
    return PV_OK;
}

/* A statement of the command line may lack its hole: `theorem t : p`, `theorem t : p :=`, `theorem t : p := by`. */
static pv_status complete_statement(pv_buf *text, pv_error *err)
{
    outline seen = outline_of(text->data, text->len);
    if (seen.hole) {
        return PV_OK;
    }
    text->len = seen.last; /* blanks and a line comment at the end would swallow what is added */
    if (!seen.assigned) {
        pv_buf_puts(text, " := by\n  sorry");
    } else if (seen.ends_with_assign) {
        pv_buf_puts(text, " by\n  sorry");
    } else if (seen.ends_with_by) {
        pv_buf_puts(text, "\n  sorry");
    } else {
        return pv_fail(
            err, PV_E_INVALID,
            "the statement has a proof and no `sorry`: nothing is left to prove. To check "
            "a proof, put it in a file and use `prover verify FILE.lean`");
    }
    return pv_buf_ok(text) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static bool names_a_file(const char *argument)
{
    size_t n = strlen(argument);
    return (n > 5 && strcmp(argument + n - 5, ".lean") == 0 && strchr(argument, '\n') == NULL) ||
           pv_file_exists(argument);
}

static pv_status read_argument(const char *argument, pv_buf *text, const char **name, pv_error *err)
{
    if (strcmp(argument, "-") == 0) {
        *name = "standard input";
        return pv_file_read("-", TEXT_MAX, text, err);
    }
    if (names_a_file(argument)) {
        *name = argument;
        return pv_file_read(argument, TEXT_MAX, text, err);
    }
    *name = "the statement";
    pv_buf_puts(text, argument);
    return pv_buf_ok(text) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

pv_status source_header_text(const char *header, pv_buf *out, pv_error *err)
{
    if (header[0] == '@') {
        pv_status status = pv_file_read(header + 1, TEXT_MAX, out, err);
        return status == PV_OK ? PV_OK : pv_error_wrap(err, "--header");
    }
    pv_buf_puts(out, header);
    return PV_OK;
}

static char *blank_copy(const char *text, size_t n, size_t until)
{
    char *copy = pv_strndup(text, n);
    for (size_t i = 0; copy != NULL && i < until; i++) {
        if (copy[i] != '\n') {
            copy[i] = ' ';
        }
    }
    return copy;
}

/* Cuts the text into header and body. */
static pv_status fill_source(source *out, const char *name, pv_buf *text, pv_buf *header,
                             pv_error *err)
{
    size_t cut = header_end(text->data, text->len);
    if (header->len > 0 && header->data[header->len - 1] != '\n') {
        pv_buf_putc(header, '\n');
    }
    pv_buf_append(header, text->data, cut);
    out->length = text->len;
    out->body = blank_copy(text->data, text->len, cut);
    out->name = pv_strdup(name);
    out->text = pv_buf_detach(text);
    out->header = pv_buf_detach(header);
    if (out->body == NULL || out->name == NULL || out->text == NULL || out->header == NULL) {
        source_release(out);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    return PV_OK;
}

pv_status source_of_text(source *out, const char *name, const char *header, const char *text,
                         size_t n, bool complete, pv_error *err)
{
    pv_buf whole = {0}, top = {0};
    pv_buf_append(&whole, text, n);
    pv_buf_puts(&top, header);
    pv_status status = pv_buf_ok(&whole) && pv_buf_ok(&top)
                           ? check_text(name, pv_buf_text(&whole), whole.len, err)
                           : pv_fail(err, PV_E_NOMEM, "out of memory");
    if (status == PV_OK && complete) {
        status = complete_statement(&whole, err);
    }
    if (status == PV_OK) {
        status = fill_source(out, name, &whole, &top, err);
    }
    pv_buf_release(&whole);
    pv_buf_release(&top);
    return status;
}

pv_status source_load(source *out, const char *argument, const char *header, pv_error *err)
{
    pv_buf text = {0}, top = {0};
    const char *name = "";
    pv_status status = read_argument(argument, &text, &name, err);
    if (status == PV_OK) {
        status = source_header_text(header, &top, err);
    }
    if (status == PV_OK) {
        bool bare = strcmp(name, "the statement") == 0;
        status = source_of_text(out, name, pv_buf_text(&top), text.data, text.len, bare, err);
    }
    pv_buf_release(&text);
    pv_buf_release(&top);
    return status;
}

void source_release(source *src)
{
    pv_free(src->name);
    pv_free(src->header);
    pv_free(src->body);
    pv_free(src->text);
    memset(src, 0, sizeof *src);
}

pv_status source_header(const char *given, char **out, pv_error *err)
{
    source src;
    pv_status status = source_load(&src, "theorem header : True", given, err);
    if (status == PV_OK) {
        *out = pv_strdup(src.header[0] == '\0' ? "import Init\n" : src.header);
        source_release(&src);
        status = *out == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
    }
    return status;
}

/* ---- what stands around a hole ---- */

typedef struct surroundings {
    const char *text;
    size_t length;
    size_t line, blanks; /* where the hole's line begins, and the blanks at its start      */
    size_t column;       /* of the hole, code points                                       */
    size_t base;         /* where the lines of a block below the hole begin                */
    bool alone;          /* the hole is the first on its line                              */
    bool last, closed;   /* nothing follows on the line; a closing bracket or comma does   */
    const char *feed;    /* how its line ends                                              */
} surroundings;

static size_t line_start(const char *text, size_t at)
{
    while (at > 0 && text[at - 1] != '\n') {
        at--;
    }
    return at;
}

static size_t leading_blanks(const char *text, size_t start, size_t end)
{
    size_t n = 0;
    while (start + n < end && (text[start + n] == ' ' || text[start + n] == '\t')) {
        n++;
    }
    return n;
}

static size_t code_points(const char *text, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    return count;
}

/* The line end of the line that `at` is in, else that of the text's first line. */
static const char *line_end_at(const char *text, size_t n, size_t at)
{
    const char *feed = memchr(text + at, '\n', n - at);
    feed = feed != NULL ? feed : memchr(text, '\n', n);
    return feed != NULL && feed > text && feed[-1] == '\r' ? "\r\n" : "\n";
}

static bool begins(const surroundings *s, size_t at, const char *word)
{
    size_t n = strlen(word);
    return at + n <= s->length && memcmp(s->text + at, word, n) == 0;
}

static void look_behind(surroundings *s, size_t end)
{
    static const char *const closers[] = {")", "]", "}", "⟩", ","};
    while (end < s->length &&
           (s->text[end] == ' ' || s->text[end] == '\t' || s->text[end] == '\r')) {
        end++;
    }
    s->last =
        end == s->length || s->text[end] == '\n' || begins(s, end, "--") || begins(s, end, "/-");
    for (size_t i = 0; i < sizeof closers / sizeof closers[0]; i++) {
        s->closed = s->closed || begins(s, end, closers[i]);
    }
}

static surroundings look_around(const source *src, const source_fill *fill)
{
    surroundings s = {.text = src->text, .length = src->length};
    s.line = line_start(s.text, fill->start);
    s.blanks = leading_blanks(s.text, s.line, fill->start);
    s.column = code_points(s.text + s.line, fill->start - s.line);
    s.alone = s.line + s.blanks == fill->start;
    size_t outer = fill->form != NULL && fill->form[0] != '\0' ? fill->outer : 0;
    s.base = (outer > s.blanks ? outer : s.blanks) + 2;
    s.feed = line_end_at(s.text, s.length, fill->start);
    look_behind(&s, fill->end);
    return s;
}

/* Whether the text before `at`, blanks and line ends aside, ends with the word. */
static bool follows(const char *text, size_t at, const char *word)
{
    while (at > 0 && strchr(" \t\r\n", text[at - 1]) != NULL) {
        at--;
    }
    size_t n = strlen(word);
    return at >= n && memcmp(text + at - n, word, n) == 0;
}

/* The form of a tactic hole, seen in the text when nobody said it. */
static const char *form_of(const source *src, const source_fill *fill)
{
    return fill->form != NULL && fill->form[0] != '\0' ? fill->form
           : follows(src->text, fill->start, "by")     ? "by"
           : follows(src->text, fill->start, "·")      ? "bullet"
           : follows(src->text, fill->start, "=>")     ? "alternative"
                                                       : "tactic";
}

static bool is_one_of(const char *form, const char *a, const char *b, const char *c)
{
    return strcmp(form, a) == 0 || strcmp(form, b) == 0 || strcmp(form, c) == 0;
}

/* ---- splicing ---- */

/* Whether a line break is inside a string: what follows belongs to the string. */
static bool in_string(const char *block, size_t at)
{
    lean_lexer lexer = {block, strlen(block), 0};
    lean_token token = lean_lexer_next(&lexer);
    while (token.kind != LEAN_TOKEN_END && token.end <= at) {
        token = lean_lexer_next(&lexer);
    }
    return token.kind == LEAN_TOKEN_STRING && token.start < at;
}

static void new_line(pv_buf *out, const surroundings *s, size_t column)
{
    pv_buf_puts(out, s->feed);
    pv_buf_append(out, s->text + s->line, s->blanks);
    for (size_t i = s->blanks; i < column; i++) {
        pv_buf_putc(out, ' ');
    }
}

/* Appends the block's lines, those after the first at `column`. */
static void append_block(pv_buf *out, const char *block, const surroundings *s, size_t column)
{
    for (size_t at = 0;;) {
        size_t n = strcspn(block + at, "\n");
        pv_buf_append(out, block + at, n);
        at += n;
        if (block[at] == '\0') {
            return;
        }
        if (in_string(block, at) || block[at + 1] == '\n' || block[at + 1] == '\0') {
            pv_buf_puts(out, s->feed);
        } else {
            new_line(out, s, column);
        }
        at++;
    }
}

/* The block in round brackets, aligned to where it begins. */
static void append_bracketed(pv_buf *out, const char *block, const surroundings *s)
{
    pv_buf_putc(out, '(');
    append_block(out, block, s, s->column + 1);
    pv_buf_putc(out, ')');
}

/* `by` and the block, behind it or below it. */
static void append_by(pv_buf *out, const char *block, const surroundings *s)
{
    pv_buf_puts(out, "by");
    if (strchr(block, '\n') == NULL) {
        pv_buf_putc(out, ' ');
    } else {
        new_line(out, s, s->base);
    }
    append_block(out, block, s, s->base);
}

static void replace_term(const source *src, const source_fill *fill, const surroundings *s,
                         pv_buf *out)
{
    static const char *const before[] = {":=", "=>", "from", "exact", "↦"};
    bool free = false;
    for (size_t i = 0; i < sizeof before / sizeof before[0]; i++) {
        free = free || (s->last && follows(src->text, fill->start, before[i]));
    }
    if (!free) {
        pv_buf_putc(out, '(');
    }
    append_by(out, fill->proof, s);
    if (!free) {
        pv_buf_putc(out, ')');
    }
}

static void replace_tactic(const source *src, const source_fill *fill, const surroundings *s,
                           pv_buf *out)
{
    const char *form = form_of(src, fill);
    bool one_line = strchr(fill->proof, '\n') == NULL;
    bool ends = s->last || s->closed;
    bool operand = follows(src->text, fill->start, "<;>") || !ends;
    if (operand) {
        append_bracketed(out, fill->proof, s);
    } else if (one_line || s->alone || strcmp(form, "bullet") == 0) {
        append_block(out, fill->proof, s, s->column);
    } else if (is_one_of(form, "by", "alternative", "case")) {
        while (out->len > 0 && out->data[out->len - 1] == ' ') {
            out->len--; /* nothing is left between `by` and the line's end */
        }
        new_line(out, s, s->base);
        append_block(out, fill->proof, s, s->base);
    } else {
        append_bracketed(out, fill->proof, s);
    }
}

/* Appends what stands in the place of the hole; *out ends with the text before it. */
static void replace_hole(const source *src, const source_fill *fill, pv_buf *out)
{
    if (fill->as_is) {
        pv_buf_puts(out, fill->proof);
        return;
    }
    surroundings s = look_around(src, fill);
    if (fill->term) {
        replace_term(src, fill, &s, out);
    } else {
        replace_tactic(src, fill, &s, out);
    }
}

size_t source_growth(const source *src, const source_fill *fill)
{
    pv_buf out = {0};
    size_t line = line_start(src->text, fill->start);
    pv_buf_append(&out, src->text + line, fill->start - line);
    replace_hole(src, fill, &out);
    size_t growth = pv_buf_ok(&out) ? out.len - (fill->end - line) : 0;
    pv_buf_release(&out);
    return growth;
}

pv_status source_splice(const source *src, bool from_text, const source_fill *fills, size_t count,
                        pv_buf *out, pv_error *err)
{
    const char *text = from_text ? src->text : src->body;
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        if (fills[i].start < at || fills[i].end < fills[i].start || fills[i].end > src->length) {
            return pv_fail(err, PV_E_MISUSE, "holes out of order");
        }
        pv_buf_append(out, text + at, fills[i].start - at);
        replace_hole(src, &fills[i], out);
        at = fills[i].end;
    }
    pv_buf_append(out, text + at, src->length - at);
    return pv_buf_ok(out) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}
