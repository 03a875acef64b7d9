#include "lean_source.h"

#include <string.h>

/* Words that begin a command at the start of a line. */
static const char *const COMMANDS[] = {
    "theorem",
    "lemma",
    "def",
    "example",
    "instance",
    "abbrev",
    "structure",
    "inductive",
    "coinductive",
    "class",
    "axiom",
    "opaque",
    "open",
    "namespace",
    "section",
    "end",
    "variable",
    "variables",
    "universe",
    "universes",
    "set_option",
    "attribute",
    "export",
    "import",
    "deriving",
    "initialize",
    "mutual",
    "macro",
    "macro_rules",
    "notation",
    "infix",
    "infixl",
    "infixr",
    "prefix",
    "postfix",
    "syntax",
    "declare_syntax_cat",
    "elab",
    "elab_rules",
    "simproc",
    "dsimproc",
    "alias",
    "run_cmd",
    "run_elab",
    "omit",
    "include",
    "irreducible_def",
};

/* Words before the word that says what the command is. */
static const char *const MODIFIERS[] = {
    "private", "protected", "public", "noncomputable", "unsafe",
    "partial", "nonrec",    "local",  "scoped",
};

/* Commands that may stand before another one with `in` between. */
static const char *const PREFIXES[] = {
    "open",      "set_option", "omit",      "include",   "variable",
    "variables", "universe",   "universes", "attribute",
};

static const char *const DECLS[] = {"theorem", "lemma", "def", "example", "instance", "abbrev"};

#define FIND(table, text, n) find(table, sizeof(table) / sizeof(table)[0], text, n)

static const char *find(const char *const *table, size_t count, const char *text, size_t n)
{
    for (size_t i = 0; i < count; i++) {
        if (strlen(table[i]) == n && memcmp(table[i], text, n) == 0) {
            return table[i];
        }
    }
    return NULL;
}

static bool token_is(const char *text, lean_token t, const char *word)
{
    return t.end - t.start == strlen(word) && memcmp(text + t.start, word, t.end - t.start) == 0;
}

static bool begins_command(const char *text, lean_token t)
{
    if (!t.line_start && t.start != 0) {
        return false;
    }
    if (t.kind == LEAN_TOKEN_SYMBOL) {
        return text[t.start] == '@' || text[t.start] == '#';
    }
    return t.kind == LEAN_TOKEN_NAME && (FIND(COMMANDS, text + t.start, t.end - t.start) != NULL ||
                                         FIND(MODIFIERS, text + t.start, t.end - t.start) != NULL);
}

void lean_source_init(lean_source *source, const char *text)
{
    memset(source, 0, sizeof *source);
    source->text = text;
    source->length = strlen(text);
    source->lexer.text = text;
    source->lexer.length = source->length;
    source->ahead = lean_lexer_next(&source->lexer);
}

/* What is known of the command while its tokens pass by. */
typedef struct reading {
    int brackets;    /* open square brackets: an attribute list */
    bool wants_name; /* the word that says what it is was the last token */
    bool mutual;     /* goes on to its `end` */
} reading;

/* `open Nat in` and the like: what follows is the command. In other commands `in` is a word of terms. */
static bool is_prefix_end(const char *text, lean_token t, const lean_command_span *span)
{
    return token_is(text, t, "in") && FIND(PREFIXES, span->kind, strlen(span->kind)) != NULL;
}

static void read_kind(const char *text, lean_token t, reading *r, lean_command_span *out)
{
    const char *kind = FIND(COMMANDS, text + t.start, t.end - t.start);
    if (kind != NULL) {
        out->kind = kind;
        out->is_decl = FIND(DECLS, kind, strlen(kind)) != NULL;
        r->mutual = strcmp(kind, "mutual") == 0;
        r->wants_name = !r->mutual && strcmp(kind, "example") != 0;
    }
}

/* Returns true when the token ends a prefix, so that the next one cannot begin another command. */
static bool read_token(const char *text, lean_token t, reading *r, lean_command_span *out)
{
    bool is_name = t.kind == LEAN_TOKEN_NAME;
    r->brackets += token_is(text, t, "[") ? 1 : token_is(text, t, "]") ? -1 : 0;
    if (is_prefix_end(text, t, out)) {
        out->kind = "";
        out->name_end = out->name;
        r->wants_name = false;
        return true;
    }
    if (r->wants_name) {
        r->wants_name = false;
        out->name = is_name ? t.start : 0;
        out->name_end = is_name ? t.end : 0;
    } else if (is_name && *out->kind == '\0' && r->brackets == 0) {
        read_kind(text, t, r, out);
    }
    return false;
}

/* True when the token before was the last of the command. */
static bool is_over(const char *text, lean_token t, reading *r, const lean_command_span *span,
                    bool after_in)
{
    if (r->mutual) {
        bool at_end = begins_command(text, t) && token_is(text, t, "end");
        r->mutual = !at_end;
        return false;
    }
    bool complete = *span->kind != '\0' || text[span->first] == '#';
    return complete && !after_in && r->brackets <= 0 && begins_command(text, t);
}

bool lean_source_next(lean_source *source, lean_command_span *out)
{
    const char *text = source->text;
    lean_token t = source->ahead;
    reading r = {0};
    bool after_in = false;
    memset(out, 0, sizeof *out);
    out->kind = "";
    if (t.kind == LEAN_TOKEN_END) {
        return false;
    }
    out->start = source->end;
    out->first = t.start;
    do {
        after_in = read_token(text, t, &r, out);
        out->end = t.end;
        t = lean_lexer_next(&source->lexer);
    } while (t.kind != LEAN_TOKEN_END && !is_over(text, t, &r, out, after_in));
    if (t.kind == LEAN_TOKEN_END) {
        out->end = source->length;
    }
    source->ahead = t;
    source->end = out->end;
    return true;
}

/* ---- holes ------------------------------------------------------------------------------------------------------- */

bool lean_source_is_term(const char *text, const lean_command_span *span, size_t at)
{
    lean_lexer lexer = {text, span->end, span->start};
    bool in_tactics = false;
    bool assigns = false;
    char before = '\0';
    for (lean_token t = lean_lexer_next(&lexer); t.kind != LEAN_TOKEN_END && t.start < at;
         t = lean_lexer_next(&lexer)) {
        in_tactics = in_tactics || token_is(text, t, "by");
        assigns = token_is(text, t, "=") && before == ':';
        before = text[t.start];
    }
    return assigns || !in_tactics;
}

static size_t next_hole(const char *text, size_t from, size_t n)
{
    lean_lexer lexer = {text, n, from};
    lean_token t = lean_lexer_next(&lexer);
    while (t.kind != LEAN_TOKEN_END && !(t.kind == LEAN_TOKEN_NAME && token_is(text, t, "sorry"))) {
        t = lean_lexer_next(&lexer);
    }
    return t.kind == LEAN_TOKEN_END ? n : t.start;
}

bool lean_source_fits(const char *original, const char *candidate)
{
    enum { HOLE = 5 }; /* bytes of `sorry` */

    size_t n = strlen(original);
    size_t from = 0;
    const char *at = candidate;
    size_t hole = next_hole(original, 0, n);
    if (strncmp(candidate, original, hole) != 0) {
        return false;
    }
    at += hole;
    while (hole < n) {
        from = hole + HOLE;
        hole = next_hole(original, from, n);
        size_t piece = hole - from;
        if (hole == n) { /* the last piece stands at the very end */
            size_t rest = strlen(at);
            return rest >= piece && memcmp(at + rest - piece, original + from, piece) == 0;
        }
        const char *found = NULL;
        for (const char *p = at; found == NULL && *p != '\0'; p++) {
            found = strncmp(p, original + from, piece) == 0 ? p : NULL;
        }
        if (found == NULL) {
            return false;
        }
        at = found + piece;
    }
    return *at == '\0';
}

size_t lean_source_byte(const char *text, size_t n, size_t line, size_t column)
{
    size_t at = 0;
    for (; line > 1 && at < n; at++) {
        line -= text[at] == '\n';
    }
    while (at < n && column > 0 && text[at] != '\n') {
        do {
            at++;
        } while (at < n && ((unsigned char)text[at] & 0xc0) == 0x80);
        column--;
    }
    return at;
}
