#include "whole_proof.h"

#include "lean_source.h"
#include "pv_mem.h"

#include <string.h>

/* ---- blocks ---- */

static size_t line_end(const char *text, size_t n, size_t at)
{
    const char *end = memchr(text + at, '\n', n - at);
    return end == NULL ? n : (size_t)(end - text);
}

/* Where a fence's word begins on the line at `at`; 0: the line is no fence (a word cannot begin at 0). */
static size_t fence_word(const char *text, size_t end, size_t at)
{
    size_t indent = 0;
    while (at < end && indent < 4 && text[at] == ' ') {
        at++;
        indent++;
    }
    if (end - at < 3 || memcmp(text + at, "```", 3) != 0) {
        return 0;
    }
    while (at < end && text[at] == '`') {
        at++;
    }
    return at;
}

static bool is_lean(const char *text, size_t at, size_t end)
{
    static const char *const words[] = {"", "lean", "lean4", "Lean", "Lean4", "lean 4"};
    while (end > at && strchr(" \t\r", text[end - 1]) != NULL && text[end - 1] != '\0') {
        end--;
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strlen(words[i]) == end - at && memcmp(text + at, words[i], end - at) == 0) {
            return true;
        }
    }
    return false;
}

typedef struct block {
    whole_proof_span inside;
    bool lean, closed;
    size_t next; /* where the search for the next one goes on */
} block;

/* The next fenced block at or behind `from`; false: none. One that has no end goes to the end of the text. */
static bool next_block(const char *text, size_t n, size_t from, block *out)
{
    size_t word = 0, at = from, end = from;
    for (; at < n && word == 0; at = end + 1) {
        end = line_end(text, n, at);
        word = fence_word(text, end, at);
    }
    if (word == 0) {
        return false;
    }
    size_t start = end < n ? end + 1 : n;
    *out = (block){{start, n}, is_lean(text, word, end), false, n};
    for (at = start; at < n; at = end + 1) {
        end = line_end(text, n, at);
        if (fence_word(text, end, at) != 0) {
            out->inside.end = at;
            out->closed = true;
            out->next = end < n ? end + 1 : n;
            break;
        }
    }
    return true;
}

/* ---- the parts of one text ---- */

static bool token_is(const char *text, lean_token t, const char *word)
{
    size_t n = t.end - t.start;
    return n == strlen(word) && memcmp(text + t.start, word, n) == 0;
}

static bool is_kind(const char *kind, const char *const *kinds, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(kind, kinds[i]) == 0) {
            return true;
        }
    }
    return false;
}

#define IS_KIND(kind, ...)                                                                         \
    is_kind(kind, (const char *const[]){__VA_ARGS__},                                              \
            sizeof((const char *const[]){__VA_ARGS__}) / sizeof(const char *))

static bool is_context(const lean_command_span *span)
{
    return IS_KIND(span->kind, "import", "open", "set_option", "namespace", "section", "variable",
                   "variables", "universe", "universes");
}

static bool declares(const char *text, const lean_command_span *span, const char *name)
{
    if (!IS_KIND(span->kind, "theorem", "lemma", "example")) {
        return false;
    }
    size_t n = span->name_end - span->name;
    return name == NULL || (strlen(name) == n && memcmp(text + span->name, name, n) == 0);
}

/* Where the proof's `:=` stands: outside all brackets, and not one of a `let` in the type. */
typedef struct assignment {
    bool found;
    size_t before; /* end of the last token of the statement */
    size_t end;    /* behind the `:=` and the `by` that follows */
    bool tactics;
} assignment;

static bool is_symbol(const char *text, lean_token t, const char *one_of)
{
    return t.kind == LEAN_TOKEN_SYMBOL && t.end == t.start + 1 &&
           strchr(one_of, text[t.start]) != NULL;
}

static assignment find_assignment(const char *text, const lean_command_span *span)
{
    size_t start = span->name_end > span->first ? span->name_end : span->first;
    assignment out = {.before = start};
    lean_lexer lexer = {text, span->end, start};
    size_t depth = 0, lets = 0;
    lean_token last = {.start = start, .end = start};
    for (lean_token t = lean_lexer_next(&lexer); t.kind != LEAN_TOKEN_END;
         t = lean_lexer_next(&lexer)) {
        bool assigns = depth == 0 && is_symbol(text, t, "=") && is_symbol(text, last, ":") &&
                       last.end == t.start;
        if (assigns && lets == 0) {
            lean_token next = lean_lexer_next(&lexer);
            out.found = true;
            out.tactics = next.kind == LEAN_TOKEN_NAME && token_is(text, next, "by");
            out.end = out.tactics ? next.end : t.end;
            return out;
        }
        lets -= assigns;
        lets += depth == 0 && (token_is(text, t, "let") || token_is(text, t, "have"));
        depth += is_symbol(text, t, "([{");
        depth -= depth > 0 && is_symbol(text, t, ")]}");
        out.before = last.end;
        last = t;
    }
    return out;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Cuts the code (NUL-terminated) into parts, offsets from its start. */
static bool cut_code(const char *code, const char *name, whole_proof *out, assignment *end)
{
    lean_source commands;
    lean_command_span span;
    bool found = false, in_header = true;
    size_t header = 0, helpers = 0, declared = 0;
    lean_source_init(&commands, code);
    while (lean_source_next(&commands, &span)) {
        if (declares(code, &span, name)) {
            *end = find_assignment(code, &span);
            found = true;
            out->header.end = out->helpers.start = header;
            out->helpers.end = out->comment.start = helpers;
            out->comment.end = out->statement.start = span.first;
            out->statement.end = end->before;
            out->body = (whole_proof_span){end->end, span.end};
            out->rest = (whole_proof_span){span.end, strlen(code)};
            out->helper_count = declared;
            out->more = false;
        } else {
            out->more = found;
        }
        in_header = in_header && is_context(&span);
        declared += !is_context(&span);
        header = in_header ? span.end : header;
        helpers = span.end;
    }
    return found;
}

static void shift(whole_proof_span *span, size_t by)
{
    span->start += by;
    span->end += by;
}

static void place(whole_proof *p, const char *code, size_t at)
{
    while (p->body.end > p->body.start && is_blank(code[p->body.end - 1])) {
        p->body.end--;
    }
    p->rest.start = p->body.end;
    shift(&p->header, at);
    shift(&p->helpers, at);
    shift(&p->comment, at);
    shift(&p->statement, at);
    shift(&p->body, at);
    shift(&p->rest, at);
}

/* OK, NOTFOUND without a message, INVALID or NOMEM with one. */
static pv_status read_code(whole_proof *out, const char *text, whole_proof_span code,
                           const char *name, pv_error *err)
{
    whole_proof p = {.code = code};
    assignment end = {0};
    char *copy = pv_strndup(text + code.start, code.end - code.start);
    if (copy == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    bool found =
        memchr(copy, '\0', code.end - code.start) == NULL && cut_code(copy, name, &p, &end);
    place(&p, copy, code.start);
    pv_free(copy);
    if (!found) {
        return PV_E_NOTFOUND;
    }
    if (!end.found || p.body.end <= p.body.start) {
        return pv_fail(err, PV_E_INVALID, "the model's text states the theorem and has no proof");
    }
    p.tactics = end.tactics;
    *out = p;
    return PV_OK;
}

/* ---- finding ---- */

static size_t behind_thoughts(const char *text, size_t n)
{
    static const char mark[] = "</think>";
    size_t k = sizeof mark - 1;
    for (size_t at = n < k ? 0 : n - k + 1; at > 0; at--) {
        if (memcmp(text + at - 1, mark, k) == 0) {
            return at - 1 + k;
        }
    }
    return 0;
}

pv_status whole_proof_find(whole_proof *out, const char *text, size_t n, const char *name,
                           pv_error *err)
{
    size_t blocks = 0;
    pv_status best = PV_E_NOTFOUND;
    pv_error why = {0};
    block b;
    size_t from = behind_thoughts(text, n);
    for (size_t at = from; next_block(text, n, at, &b); at = b.next) {
        whole_proof found;
        pv_error wrong = {0};
        pv_status status = b.lean ? read_code(&found, text, b.inside, name, &wrong) : PV_E_NOTFOUND;
        blocks++;
        if (status == PV_OK) {
            found.closed = b.closed;
            *out = found;
        }
        if (status != PV_E_NOTFOUND) {
            best = status;
            why = wrong;
        }
    }
    if (blocks == 0) {
        best = read_code(out, text, (whole_proof_span){from, n}, name, &why);
        out->closed = true;
    }
    if (best == PV_E_NOTFOUND) {
        return pv_fail(err, best, "the model's text does not declare %s (%zu blocks of code)",
                       name == NULL ? "a theorem" : name, blocks);
    }
    return best == PV_OK ? best : pv_fail(err, best, "%s", why.msg);
}

/* ---- attaching ---- */

/* What stands right before the hole: `by`, `:=`, or anything else. */
typedef enum before_hole { BEFORE_BY, BEFORE_ASSIGN, BEFORE_OTHER } before_hole;

static before_hole look_before(const char *text, size_t hole)
{
    lean_lexer lexer = {text, hole, 0};
    before_hole before = BEFORE_OTHER;
    bool colon = false;
    size_t last = 0;
    for (lean_token t = lean_lexer_next(&lexer); t.kind != LEAN_TOKEN_END;
         t = lean_lexer_next(&lexer)) {
        before = token_is(text, t, "by")                              ? BEFORE_BY
                 : colon && last == t.start && token_is(text, t, "=") ? BEFORE_ASSIGN
                                                                      : BEFORE_OTHER;
        colon = token_is(text, t, ":");
        last = t.end;
    }
    return before;
}

pv_status whole_proof_attach(const whole_proof *proof, const char *model_text,
                             const char *user_text, size_t user_length, size_t hole, pv_buf *out,
                             size_t *body_at, pv_error *err)
{
    enum { HOLE = 5 }; /* bytes of `sorry` */

    if (hole > user_length || user_length - hole < HOLE ||
        memcmp(user_text + hole, "sorry", HOLE) != 0) {
        return pv_fail(err, PV_E_MISUSE, "there is no `sorry` at byte %zu", hole);
    }
    before_hole before = look_before(user_text, hole);
    if (before == BEFORE_OTHER) {
        return pv_fail(err, PV_E_INVALID, "the `sorry` is not all of the proof");
    }
    if (proof->helper_count > 0) {
        return pv_fail(err, PV_E_INVALID,
                       "the proof needs %zu declarations of the model's own beside the theorem",
                       proof->helper_count);
    }
    const char *body = model_text + proof->body.start;
    pv_buf_append(out, user_text, hole);
    if (before == BEFORE_ASSIGN && proof->tactics) {
        pv_buf_puts(out, is_blank(body[0]) ? "by" : "by ");
    } else if (before == BEFORE_BY && !proof->tactics) {
        pv_buf_puts(out, "exact (");
    }
    if (body_at != NULL) {
        *body_at = out->len;
    }
    pv_buf_append(out, body, proof->body.end - proof->body.start);
    pv_buf_puts(out, before == BEFORE_BY && !proof->tactics ? ")" : "");
    pv_buf_append(out, user_text + hole + HOLE, user_length - hole - HOLE);
    return pv_buf_ok(out) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

/* ---- comparing ---- */

whole_proof_match whole_proof_compare(const char *a, size_t a_length, const char *b,
                                      size_t b_length, size_t *at_a, size_t *at_b)
{
    if (a_length == b_length && memcmp(a, b, a_length) == 0) {
        return WHOLE_PROOF_SAME;
    }
    lean_lexer left = {a, a_length, 0}, right = {b, b_length, 0};
    for (;;) {
        lean_token x = lean_lexer_next(&left), y = lean_lexer_next(&right);
        size_t n = x.end - x.start;
        if (x.kind != y.kind || n != y.end - y.start || memcmp(a + x.start, b + y.start, n) != 0) {
            if (at_a != NULL) {
                *at_a = x.start;
            }
            if (at_b != NULL) {
                *at_b = y.start;
            }
            return WHOLE_PROOF_OTHER;
        }
        if (x.kind == LEAN_TOKEN_END) {
            return WHOLE_PROOF_LAYOUT;
        }
    }
}
