#include "lean_gate.h"

#include "lean_lexer.h"
#include "pv_utf8.h"

#include <stdint.h>
#include <string.h>

/* The policy. docs/verification.md shows it to users: keep the two in step.
 *
 * KEYWORD    the whole name, unquoted: a token of Lean that no tactic proof holds (sorry_lemma, h.sorry are other names)
 * CONSTANT   any component of a name, quoted or not: _root_.sorryAx, «sorryAx», Lean.ofReduceBool
 * NAMESPACE  the first component of several, or a name that `open` opens
 * LINE       as KEYWORD, only at the start of a line: it may be the name of a hypothesis elsewhere
 * HASH       as KEYWORD, behind a #                                                                            */
typedef enum { KEYWORD, CONSTANT, NAMESPACE, LINE, HASH } rule_kind;

#define WHY_HOLE "leaves a hole instead of a proof"
#define WHY_SEARCH                                                                                 \
    "searches for a proof when run and may leave a hole; use the proof that it suggests"
#define WHY_AXIOM     "adds an axiom or a constant without a definition"
#define WHY_COMPILED  "trusts compiled code instead of the kernel"
#define WHY_UNSAFE    "goes around the kernel"
#define WHY_SYNTAX    "changes what text means"
#define WHY_RUN       "runs a program instead of proving"
#define WHY_COMMAND   "is a command: a proof is one block of tactics"
#define WHY_ATTRIBUTE "changes how later declarations are elaborated"
#define WHY_META      "is Lean's own machinery, which no proof needs"

#define RULES(X)                                                                                   \
    X(KEYWORD, "sorry", WHY_HOLE)                                                                  \
    X(KEYWORD, "admit", WHY_HOLE)                                                                  \
    X(KEYWORD, "stop", WHY_HOLE)                                                                   \
    X(CONSTANT, "sorryAx", WHY_HOLE)                                                               \
    X(KEYWORD, "exact?", WHY_SEARCH)                                                               \
    X(KEYWORD, "apply?", WHY_SEARCH)                                                               \
    X(KEYWORD, "rw?", WHY_SEARCH)                                                                  \
    X(KEYWORD, "have?", WHY_SEARCH)                                                                \
    X(KEYWORD, "observe?", WHY_SEARCH)                                                             \
    X(KEYWORD, "axiom", WHY_AXIOM)                                                                 \
    X(KEYWORD, "opaque", WHY_AXIOM)                                                                \
    X(LINE, "constant", WHY_AXIOM)                                                                 \
    X(KEYWORD, "native_decide", WHY_COMPILED)                                                      \
    X(KEYWORD, "native", WHY_COMPILED)                                                             \
    X(KEYWORD, "bv_decide", WHY_COMPILED)                                                          \
    X(KEYWORD, "bv_check", WHY_COMPILED)                                                           \
    X(CONSTANT, "ofReduceBool", WHY_COMPILED)                                                      \
    X(CONSTANT, "ofReduceNat", WHY_COMPILED)                                                       \
    X(CONSTANT, "trustCompiler", WHY_COMPILED)                                                     \
    X(CONSTANT, "reduceBool", WHY_COMPILED)                                                        \
    X(KEYWORD, "implemented_by", WHY_COMPILED)                                                     \
    X(KEYWORD, "extern", WHY_COMPILED)                                                             \
    X(KEYWORD, "csimp", WHY_COMPILED)                                                              \
    X(KEYWORD, "unsafe", WHY_UNSAFE)                                                               \
    X(KEYWORD, "partial", WHY_UNSAFE)                                                              \
    X(CONSTANT, "unsafeCast", WHY_UNSAFE)                                                          \
    X(CONSTANT, "unsafeIO", WHY_UNSAFE)                                                            \
    X(CONSTANT, "unsafeEIO", WHY_UNSAFE)                                                           \
    X(CONSTANT, "unsafeBaseIO", WHY_UNSAFE)                                                        \
    X(CONSTANT, "lcProof", WHY_UNSAFE)                                                             \
    X(CONSTANT, "lcUnreachable", WHY_UNSAFE)                                                       \
    X(CONSTANT, "addDecl", WHY_UNSAFE)                                                             \
    X(CONSTANT, "addDeclCore", WHY_UNSAFE)                                                         \
    X(CONSTANT, "addDeclWithoutChecking", WHY_UNSAFE)                                              \
    X(CONSTANT, "addAndCompile", WHY_UNSAFE)                                                       \
    X(CONSTANT, "modifyEnv", WHY_UNSAFE)                                                           \
    X(CONSTANT, "setEnv", WHY_UNSAFE)                                                              \
    X(KEYWORD, "macro", WHY_SYNTAX)                                                                \
    X(KEYWORD, "macro_rules", WHY_SYNTAX)                                                          \
    X(KEYWORD, "notation", WHY_SYNTAX)                                                             \
    X(LINE, "notation3", WHY_SYNTAX)                                                               \
    X(KEYWORD, "infix", WHY_SYNTAX)                                                                \
    X(KEYWORD, "infixl", WHY_SYNTAX)                                                               \
    X(KEYWORD, "infixr", WHY_SYNTAX)                                                               \
    X(KEYWORD, "prefix", WHY_SYNTAX)                                                               \
    X(KEYWORD, "postfix", WHY_SYNTAX)                                                              \
    X(KEYWORD, "syntax", WHY_SYNTAX)                                                               \
    X(KEYWORD, "declare_syntax_cat", WHY_SYNTAX)                                                   \
    X(KEYWORD, "elab", WHY_SYNTAX)                                                                 \
    X(KEYWORD, "elab_rules", WHY_SYNTAX)                                                           \
    X(KEYWORD, "by_elab", WHY_RUN)                                                                 \
    X(KEYWORD, "run_cmd", WHY_RUN)                                                                 \
    X(KEYWORD, "run_tac", WHY_RUN)                                                                 \
    X(KEYWORD, "run_elab", WHY_RUN)                                                                \
    X(KEYWORD, "run_meta", WHY_RUN)                                                                \
    X(KEYWORD, "include_str", WHY_RUN)                                                             \
    X(KEYWORD, "initialize", WHY_RUN)                                                              \
    X(KEYWORD, "builtin_initialize", WHY_RUN)                                                      \
    X(CONSTANT, "dbgTrace", WHY_RUN)                                                               \
    X(KEYWORD, "dbg_trace", WHY_RUN)                                                               \
    X(HASH, "eval", WHY_RUN)                                                                       \
    X(HASH, "eval!", WHY_RUN)                                                                      \
    X(HASH, "exit", WHY_COMMAND)                                                                   \
    X(HASH, "print", WHY_COMMAND)                                                                  \
    X(HASH, "check", WHY_COMMAND)                                                                  \
    X(HASH, "reduce", WHY_COMMAND)                                                                 \
    X(HASH, "synth", WHY_COMMAND)                                                                  \
    X(HASH, "guard_msgs", WHY_COMMAND)                                                             \
    X(NAMESPACE, "Lean", WHY_META)                                                                 \
    X(NAMESPACE, "Elab", WHY_META)                                                                 \
    X(NAMESPACE, "Meta", WHY_META)                                                                 \
    X(NAMESPACE, "Lake", WHY_META)                                                                 \
    X(NAMESPACE, "IO", WHY_RUN)                                                                    \
    X(KEYWORD, "attribute", WHY_ATTRIBUTE)                                                         \
    X(KEYWORD, "local", WHY_ATTRIBUTE)                                                             \
    X(KEYWORD, "scoped", WHY_ATTRIBUTE)                                                            \
    X(KEYWORD, "instance", WHY_ATTRIBUTE)                                                          \
    X(KEYWORD, "deriving", WHY_ATTRIBUTE)                                                          \
    X(KEYWORD, "import", WHY_COMMAND)                                                              \
    X(KEYWORD, "namespace", WHY_COMMAND)                                                           \
    X(KEYWORD, "section", WHY_COMMAND)                                                             \
    X(KEYWORD, "end", WHY_COMMAND)                                                                 \
    X(KEYWORD, "theorem", WHY_COMMAND)                                                             \
    X(LINE, "lemma", WHY_COMMAND)                                                                  \
    X(KEYWORD, "example", WHY_COMMAND)                                                             \
    X(KEYWORD, "def", WHY_COMMAND)                                                                 \
    X(KEYWORD, "abbrev", WHY_COMMAND)                                                              \
    X(KEYWORD, "structure", WHY_COMMAND)                                                           \
    X(KEYWORD, "inductive", WHY_COMMAND)                                                           \
    X(KEYWORD, "coinductive", WHY_COMMAND)                                                         \
    X(KEYWORD, "class", WHY_COMMAND)                                                               \
    X(KEYWORD, "mutual", WHY_COMMAND)                                                              \
    X(KEYWORD, "private", WHY_COMMAND)                                                             \
    X(KEYWORD, "protected", WHY_COMMAND)                                                           \
    X(KEYWORD, "noncomputable", WHY_COMMAND)                                                       \
    X(KEYWORD, "variable", WHY_COMMAND)                                                            \
    X(KEYWORD, "universe", WHY_COMMAND)                                                            \
    X(KEYWORD, "export", WHY_COMMAND)                                                              \
    X(LINE, "alias", WHY_COMMAND)                                                                  \
    X(LINE, "include", WHY_COMMAND)                                                                \
    X(LINE, "omit", WHY_COMMAND)                                                                   \
    X(LINE, "public", WHY_COMMAND)                                                                 \
    X(LINE, "meta", WHY_COMMAND)

typedef struct rule {
    rule_kind kind;
    const char *word, *why;
} rule;

static const rule rules[] = {
#define X(kind, word, why) {kind, word, why},
    RULES(X)
#undef X
};

/* What `set_option ... in` may set inside a proof: limits and how things are shown. Everything else is refused. */
static const char *const allowed_options[] = {
    "maxHeartbeats",
    "maxRecDepth",
    "synthInstance.maxHeartbeats",
    "synthInstance.maxSize",
    "exponentiation.threshold",
    "tactic.hygienic",
    "linter.unusedVariables",
};

static const char brackets[][2][4] = {
    {"(", ")"},
    {"[", "]"},
    {"{", "}"},
    {"\xe2\x9f\xa8", "\xe2\x9f\xa9"},
};

enum { DEPTH_MAX = 512 };

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* What came before the token at hand. */
typedef enum { BEFORE_NOTHING, BEFORE_OPEN, BEFORE_OPTION, BEFORE_HASH } context;

typedef struct scan {
    const char *text;
    context before;
    unsigned char open[DEPTH_MAX]; /* brackets that wait for their ends */
    size_t depth;
    lean_gate_finding *out;
} scan;

/* Always false, so that `return refuse(...)` reads well. */
static bool refuse(scan *s, const char *rule_name, const char *why, size_t at)
{
    if (s->out != NULL) {
        *s->out = (lean_gate_finding){.rule = rule_name, .why = why, .at = at};
    }
    return false;
}

static bool equals(const char *text, size_t n, const char *word)
{
    return strlen(word) == n && memcmp(text, word, n) == 0;
}

/* A name cut into what the rules look at. */
typedef struct parts {
    const char *text;
    size_t length;
    size_t count;         /* components, without a leading _root_ */
    lean_component first; /* the same                             */
    bool root;            /* begins with _root_                   */
    bool field;           /* follows a dot: x.end, .end           */
} parts;

static parts parts_of(const char *text, size_t n)
{
    parts p = {.text = text, .length = n};
    lean_component c;
    for (size_t at = 0; lean_component_next(text, n, &at, &c);) {
        if (p.count == 0 && !p.root && !c.quoted && equals(c.text, c.length, "_root_")) {
            p.root = true;
        } else if (p.count++ == 0) {
            p.first = c;
        }
    }
    return p;
}

static bool has_component(const parts *p, const char *word)
{
    lean_component c;
    for (size_t at = 0; lean_component_next(p->text, p->length, &at, &c);) {
        if (equals(c.text, c.length, word)) {
            return true;
        }
    }
    return false;
}

static bool matches(const rule *r, const parts *p, const scan *s, bool line_start)
{
    bool whole = p->count == 1 && !p->root && !p->first.quoted && !p->field &&
                 equals(p->first.text, p->first.length, r->word);
    switch (r->kind) {
    case KEYWORD:
        return whole;
    case LINE:
        return whole && line_start;
    case HASH:
        return whole && s->before == BEFORE_HASH;
    case CONSTANT:
        return has_component(p, r->word);
    case NAMESPACE:
        return (p->count > 1 || s->before == BEFORE_OPEN) &&
               equals(p->first.text, p->first.length, r->word);
    }
    return false;
}

/* True when the name directly follows a dot that belongs to it: not the second of `..`, not that of a number. */
static bool is_field(const char *text, size_t start)
{
    if (start == 0 || text[start - 1] != '.') {
        return false;
    }
    char before = start >= 2 ? text[start - 2] : ' ';
    return before != '.' && !(before >= '0' && before <= '9');
}

static bool is_allowed_option(const char *text, size_t n)
{
    for (size_t i = 0; i < COUNT_OF(allowed_options); i++) {
        if (equals(text, n, allowed_options[i])) {
            return true;
        }
    }
    return n > 3 && memcmp(text, "pp.", 3) == 0;
}

static bool pass_name(scan *s, const lean_token *t)
{
    const char *text = s->text + t->start;
    size_t n = t->end - t->start;
    if (s->before == BEFORE_OPTION && !is_allowed_option(text, n)) {
        return refuse(s, "set_option", "sets an option that a proof may not set", t->start);
    }
    if (memchr(text, '\n', n) != NULL) {
        return refuse(s, "name", "a quoted name spans lines", t->start);
    }
    parts p = parts_of(text, n);
    p.field = is_field(s->text, t->start);
    for (size_t i = 0; i < COUNT_OF(rules); i++) {
        if (matches(&rules[i], &p, s, t->line_start)) {
            return refuse(s, rules[i].word, rules[i].why, t->start);
        }
    }
    if (equals(text, n, "set_option")) {
        s->before = BEFORE_OPTION;
    } else if (equals(text, n, "open")) {
        s->before = BEFORE_OPEN;
    } else if (s->before != BEFORE_OPEN || equals(text, n, "in")) {
        s->before = BEFORE_NOTHING;
    }
    return true;
}

static bool pass_symbol(scan *s, const lean_token *t)
{
    const char *text = s->text + t->start;
    size_t n = t->end - t->start;
    if (s->before == BEFORE_OPTION) {
        return refuse(s, "set_option", "sets an option that cannot be read", t->start);
    }
    if (s->before != BEFORE_OPEN) {
        s->before = equals(text, n, "#") ? BEFORE_HASH : BEFORE_NOTHING;
    }
    for (size_t i = 0; i < COUNT_OF(brackets); i++) {
        if (equals(text, n, brackets[i][0])) {
            if (s->depth == DEPTH_MAX) {
                return refuse(s, "brackets", "brackets are nested too deeply", t->start);
            }
            s->open[s->depth++] = (unsigned char)i;
        } else if (equals(text, n, brackets[i][1])) {
            if (s->depth == 0 || s->open[s->depth - 1] != i) {
                return refuse(s, "brackets", "a bracket is closed that was not opened", t->start);
            }
            s->depth--;
        }
    }
    return true;
}

/* The term in braces that begins at `at`; *end is behind its closing brace. Its brackets are the string's business. */
static bool pass_braces(scan *s, size_t at, size_t limit, size_t *end)
{
    lean_lexer lexer = {.text = s->text, .length = limit, .at = at};
    for (size_t depth = 1; depth > 0;) {
        lean_token t = lean_lexer_next(&lexer);
        if (t.kind == LEAN_TOKEN_END || t.kind == LEAN_TOKEN_BROKEN) {
            return refuse(s, "unfinished", "an interpolated string cannot be read", at);
        }
        if (t.kind == LEAN_TOKEN_NAME && !pass_name(s, &t)) {
            return false;
        }
        if (t.kind == LEAN_TOKEN_SYMBOL) {
            depth += s->text[t.start] == '{';
            depth -= s->text[t.start] == '}';
        }
    }
    *end = lexer.at;
    return true;
}

/* What stands in {braces} in an interpolated string is a term. */
static bool pass_interpolation(scan *s, const lean_token *t)
{
    size_t limit = t->end - 1;
    for (size_t at = t->start + 1; at < limit;) {
        if (s->text[at] == '{') {
            if (!pass_braces(s, at + 1, limit, &at)) {
                return false;
            }
        } else {
            at += s->text[at] == '\\' ? 2 : 1;
        }
    }
    return true;
}

static bool pass_token(scan *s, const lean_token *t)
{
    switch (t->kind) {
    case LEAN_TOKEN_NAME:
        return pass_name(s, t);
    case LEAN_TOKEN_SYMBOL:
        return pass_symbol(s, t);
    case LEAN_TOKEN_STRING:
        s->before = BEFORE_NOTHING;
        return !t->interpolated || pass_interpolation(s, t);
    case LEAN_TOKEN_BROKEN:
        return refuse(s, "unfinished",
                      "a comment, string or quoted name has no end, or a comment ends that did not "
                      "begin",
                      t->start);
    case LEAN_TOKEN_NUMBER:
    case LEAN_TOKEN_END:
        s->before = BEFORE_NOTHING;
        return true;
    }
    return true;
}

/* Control characters, and those that make text look different from what it is, inside comments, too. */
static bool is_forbidden(uint32_t c)
{
    return (c < 0x20 && c != '\n' && c != '\t' && c != '\r') || (c >= 0x7f && c <= 0x9f) ||
           (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

static bool pass_bytes(scan *s, size_t n)
{
    for (size_t at = 0; at < n;) {
        uint32_t c = 0;
        size_t width = pv_utf8_decode(s->text + at, n - at, &c);
        if (width == 0) {
            return refuse(s, "utf8", "the text is not valid UTF-8", at);
        }
        if (is_forbidden(c)) {
            return refuse(s, "characters", "the text holds a control character", at);
        }
        at += width;
    }
    return true;
}

bool lean_gate_pass(const char *proof, size_t n, lean_gate_finding *out)
{
    scan s = {.text = proof, .out = out};
    lean_lexer lexer = {.text = proof, .length = n};
    if (!pass_bytes(&s, n)) {
        return false;
    }
    for (;;) {
        lean_token t = lean_lexer_next(&lexer);
        if (!pass_token(&s, &t)) {
            return false;
        }
        if (t.kind == LEAN_TOKEN_END) {
            return s.depth == 0 || refuse(&s, "brackets", "a bracket is not closed", n);
        }
    }
}

bool lean_gate_pass_tactic(const char *tactic, lean_gate_finding *out)
{
    return lean_gate_pass(tactic, strlen(tactic), out);
}
