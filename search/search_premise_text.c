#include "search_premise_text.h"

#include "pv_hash.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <stdlib.h>
#include <string.h>

enum { HASH_SEED = 71, LOCALS_MAX = 96 };

typedef enum token_kind { T_NAME, T_NUMBER, T_OPERATOR, T_OPEN, T_CLOSE, T_COMMA } token_kind;

typedef struct token {
    token_kind kind;
    const char *at;
    size_t len;
    bool glued;      /* no space before it            */
    bool line;       /* begins a line, not indented   */
    bool dot_before; /* ".name" behind a bracket      */
    int depth;       /* of brackets around it         */
} token;

typedef struct token_list {
    token *items;
    size_t count, capacity;
    bool failed;
} token_list;

typedef struct local {
    const char *at;
    size_t len;
    const char *type; /* first name of its type; NULL: not known */
    size_t type_len;
} local;

typedef struct reader {
    token_list tokens;
    local locals[LOCALS_MAX];
    size_t local_count;
    premise_text *out;
} reader;

/* ---- tokens ---- */

static bool is_letter(uint32_t c)
{
    bool ascii = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    bool greek = (c >= 0x370 && c <= 0x3ff && c != 0x3bb) || (c >= 0x1f00 && c <= 0x1fff);
    bool latin = c >= 0xc0 && c <= 0xff && c != 0xd7 && c != 0xf7;
    return ascii || greek || latin || (c >= 0x2100 && c <= 0x214f) ||
           (c >= 0x1d49c && c <= 0x1d59f) || c == 0xab;
}

static bool goes_on(uint32_t c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || c == '\'' || c == '!' || c == '?' ||
           (c >= 0x2080 && c <= 0x209c) || c == 0x271d || c == 0xbb;
}

static size_t decode(const char *at, const char *end, uint32_t *c)
{
    size_t n = pv_utf8_decode(at, (size_t)(end - at), c);
    if (n == 0) {
        *c = 0xfffd;
        return 1;
    }
    return n;
}

/* A name with its dots: "List.foldl", "x.val". */
static size_t name_length(const char *at, const char *end)
{
    size_t n = 0;
    uint32_t c;
    while (at + n < end) {
        size_t k = decode(at + n, end, &c);
        if (c == '.' && at + n + 1 < end) {
            uint32_t next;
            decode(at + n + 1, end, &next);
            if (!is_letter(next) && !(next >= '0' && next <= '9')) {
                break;
            }
        } else if (!goes_on(c)) {
            break;
        }
        n += k;
    }
    return n;
}

static bool is_symbol(uint32_t c)
{
    return c > ' ' && !is_letter(c) && !(c >= '0' && c <= '9') && strchr("()[]{},", (int)c) == NULL;
}

static size_t operator_length(const char *at, const char *end)
{
    size_t n = 0;
    uint32_t c = 0;
    while (at + n < end) {
        size_t k = decode(at + n, end, &c);
        bool bracket = c == 0x27e8 || c == 0x27e9 || c == 0x2983 || c == 0x2984;
        if (c > 0x7f ? (n > 0 && !is_symbol(c)) || bracket : !is_symbol(c)) {
            break;
        }
        n += k;
        if (c == 0x2191 || c == 0xac) { /* coercions and negations stand alone */
            break;
        }
    }
    return n;
}

static void push(token_list *list, token t)
{
    if (list->failed ||
        pv_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof(token)) != 0) {
        list->failed = true;
        return;
    }
    list->items[list->count++] = t;
}

static token read_token(const char *at, const char *end)
{
    uint32_t c;
    size_t n = decode(at, end, &c);
    token t = {.at = at, .len = n, .kind = T_COMMA};
    if (strchr("([{", (int)c) != NULL || c == 0x27e8 || c == 0x2983) {
        t.kind = T_OPEN;
    } else if (strchr(")]}", (int)c) != NULL || c == 0x27e9 || c == 0x2984) {
        t.kind = T_CLOSE;
    } else if (is_letter(c)) {
        t.kind = T_NAME;
        t.len = name_length(at, end);
    } else if (c >= '0' && c <= '9') {
        t.kind = T_NUMBER;
        while (at + t.len < end && ((at[t.len] >= '0' && at[t.len] <= '9') || at[t.len] == 'x')) {
            t.len++;
        }
    } else if (c != ',') {
        t.kind = T_OPERATOR;
        t.len = operator_length(at, end);
        t.len = t.len == 0 ? n : t.len;
    }
    return t;
}

static void tokenise(token_list *list, const char *text)
{
    const char *end = text + strlen(text), *p = text;
    int depth = 0;
    while (p < end) {
        if (*p == ' ' || *p == '\n' || *p == '\t' || *p == '\r') {
            p++;
            continue;
        }
        token t = read_token(p, end);
        t.glued = p > text && p[-1] != ' ' && p[-1] != '\n';
        t.line = p == text || p[-1] == '\n';
        if (t.line && t.kind != T_CLOSE) {
            depth = 0;
        }
        depth -= t.kind == T_CLOSE && depth > 0;
        t.depth = depth;
        depth += t.kind == T_OPEN;
        p += t.len;
        if (t.kind == T_OPERATOR && t.glued && t.len == 1 && *t.at == '.' && p < end) {
            token next = read_token(p, end);
            if (next.kind == T_NAME) {
                next.dot_before = true;
                next.depth = t.depth;
                next.glued = true;
                p += next.len;
                t = next;
            }
        }
        push(list, t);
    }
}

static bool is(const token *t, const char *text)
{
    return t->len == strlen(text) && memcmp(t->at, text, t->len) == 0;
}

/* ---- locals ---- */

static const local *find_local(const reader *r, const char *at, size_t len)
{
    for (size_t i = r->local_count; i-- > 0;) {
        if (r->locals[i].len == len && memcmp(r->locals[i].at, at, len) == 0) {
            return &r->locals[i];
        }
    }
    return NULL;
}

static void add_local(reader *r, const token *name, const token *type)
{
    if (r->local_count < LOCALS_MAX && memchr(name->at, '.', name->len) == NULL) {
        r->locals[r->local_count++] = (local){.at = name->at,
                                              .len = name->len,
                                              .type = type == NULL ? NULL : type->at,
                                              .type_len = type == NULL ? 0 : type->len};
    }
}

/* Names from `at` that a colon follows: "a b : T". They are locals. */
static void take_binder(reader *r, size_t at)
{
    const token *t = r->tokens.items;
    size_t n = at, count = r->tokens.count;
    while (n < count && t[n].kind == T_NAME) {
        n++;
    }
    if (n == at || n >= count || !is(&t[n], ":")) {
        return;
    }
    size_t type = n + 1;
    while (type < count && t[type].kind == T_OPEN) {
        type++;
    }
    bool instance = at > 0 && is(&t[at - 1], "[");
    const token *head = !instance && type < count && t[type].kind == T_NAME ? &t[type] : NULL;
    for (size_t i = at; i < n; i++) {
        add_local(r, &t[i], head);
    }
}

static bool binds(const token *t)
{
    return is(t, "∀") || is(t, "∃") || is(t, "fun") || is(t, "λ");
}

static void find_locals(reader *r, bool goal)
{
    const token *t = r->tokens.items;
    for (size_t i = 0; i < r->tokens.count; i++) {
        if ((t[i].kind == T_OPEN && *t[i].at != '\xe2') ||
            (t[i].kind == T_OPEN && t[i].len == 3 && memcmp(t[i].at, "⦃", 3) == 0)) {
            take_binder(r, i + 1);
        } else if (goal && t[i].line) {
            take_binder(r, i);
        } else if (binds(&t[i])) {
            take_binder(r, i + 1);
            for (size_t k = i + 1; k < r->tokens.count && t[k].kind == T_NAME; k++) {
                if (find_local(r, t[k].at, t[k].len) == NULL) {
                    add_local(r, &t[k], NULL);
                }
            }
        }
    }
}

/* ---- symbols ---- */

static void add_symbol(premise_text *out, uint64_t hash, uint32_t where, uint32_t parts)
{
    if (out->failed || pv_grow((void **)&out->symbols, &out->capacity, out->count + 1,
                               sizeof *out->symbols) != 0) {
        out->failed = true;
        return;
    }
    out->symbols[out->count++] = (premise_symbol){hash, where, parts};
}

static uint64_t hash_of(const char *at, size_t len)
{
    uint64_t h = pv_hash_bytes(at, len, HASH_SEED);
    return h == 0 ? 1 : h;
}

/* "T.f" of a local x : T in "x.f"; of a constant its own text. 0: a local by itself. */
static uint64_t whole_hash(const reader *r, const token *t)
{
    const char *dot = memchr(t->at, '.', t->len);
    const local *var = find_local(r, t->at, dot == NULL ? t->len : (size_t)(dot - t->at));
    if (var == NULL) {
        return hash_of(t->at, t->len);
    }
    char text[256];
    size_t rest = dot == NULL ? 0 : t->len - (size_t)(dot - t->at);
    if (dot == NULL || var->type == NULL || var->type_len + rest > sizeof text) {
        return 0;
    }
    memcpy(text, var->type, var->type_len);
    memcpy(text + var->type_len, dot, rest);
    return hash_of(text, var->type_len + rest);
}

static uint64_t last_hash(const token *t)
{
    size_t at = t->len;
    while (at > 0 && t->at[at - 1] != '.') {
        at--;
    }
    return at == 0 && !t->dot_before ? 0 : hash_of(t->at + at, t->len - at);
}

/* What stands for the name among its neighbours; 0: a local. */
static uint64_t take_name(reader *r, const token *t, uint32_t where)
{
    uint64_t whole = t->dot_before ? 0 : whole_hash(r, t), last = last_hash(t);
    if (whole != 0) {
        add_symbol(r->out, whole, where, 1);
    }
    if (last != 0) {
        add_symbol(r->out, last, where, 2);
    }
    return last != 0 ? last : whole;
}

static uint64_t take_text(reader *r, const char *at, size_t len, uint32_t where, uint32_t parts)
{
    uint64_t hash = hash_of(at, len);
    add_symbol(r->out, hash, where, parts);
    return hash;
}

/* "xs[i]", "xs[i]?", "xs[i]!": the bracket is glued to what it looks into. */
static uint64_t take_index(reader *r, size_t at, uint32_t where)
{
    const token *t = r->tokens.items;
    size_t close = at + 1;
    while (close < r->tokens.count && (t[close].kind != T_CLOSE || t[close].depth > t[at].depth)) {
        close++;
    }
    char mark = close < r->tokens.count ? t[close].at[1] : '\0';
    const char *name = mark == '?' ? "getElem?" : mark == '!' ? "getElem!" : "getElem";
    return take_text(r, name, strlen(name), where, 1);
}

static uint64_t take_operator(reader *r, size_t at, uint32_t where)
{
    const token *t = &r->tokens.items[at];
    bool before = is(t, "-") && at + 1 < r->tokens.count && t[1].glued;
    return before ? take_text(r, "neg", 3, where, 1) : take_text(r, t->at, t->len, where, 1);
}

/* The symbol of a token; 0: it has none. */
static uint64_t take_token(reader *r, size_t from, size_t i, uint32_t where)
{
    const token *t = r->tokens.items;
    if (t[i].kind == T_NAME) {
        return take_name(r, &t[i], where);
    }
    if (t[i].kind == T_NUMBER) {
        return take_text(r, t[i].at, t[i].len, where, 2);
    }
    if (t[i].kind == T_OPEN && *t[i].at == '[' && t[i].glued && i > from &&
        t[i - 1].kind != T_OPEN && t[i - 1].kind != T_OPERATOR) {
        return take_index(r, i, where);
    }
    return t[i].kind == T_OPERATOR && !is(&t[i], ":") ? take_operator(r, i, where) : 0;
}

/* The symbols of the tokens from `from` to `to`, and each two that follow one another, which tell "a * (b - c)" from
 * "a - b * c". */
static void take_symbols(reader *r, size_t from, size_t to, uint32_t where)
{
    uint64_t last = 0;
    for (size_t i = from; i < to; i++) {
        uint64_t now = take_token(r, from, i, where);
        if (now != 0 && last != 0 && where != PREMISE_HYP) {
            add_symbol(r->out, pv_mix64(last) ^ now, where, 2);
        }
        last = now != 0 ? now : last;
    }
}

static int by_hash(const void *a, const void *b)
{
    const premise_symbol *x = a, *y = b;
    return (x->hash > y->hash) - (x->hash < y->hash);
}

static void merge_symbols(premise_text *out)
{
    if (out->count == 0) {
        return;
    }
    qsort(out->symbols, out->count, sizeof *out->symbols, by_hash);
    size_t kept = 0;
    for (size_t i = 1; i < out->count; i++) {
        premise_symbol *last = &out->symbols[kept], *s = &out->symbols[i];
        if (s->hash == last->hash) {
            last->where |= s->where;
            last->parts = s->parts < last->parts ? s->parts : last->parts;
        } else {
            out->symbols[++kept] = *s;
        }
    }
    out->count = kept + 1;
}

/* ---- the conclusion ---- */

/* The last `op` between from and to at the depth of `from`; `to` when there is none. */
static size_t find_last(const reader *r, size_t from, size_t to, const char *op)
{
    const token *t = r->tokens.items;
    for (size_t i = to; i-- > from;) {
        if (t[i].kind == T_OPERATOR && t[i].depth == t[from].depth && is(&t[i], op)) {
            return i;
        }
    }
    return to;
}

static uint64_t first_symbol(const reader *r, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        const token *t = &r->tokens.items[i];
        if (t->kind == T_NAME) {
            uint64_t h = t->dot_before ? last_hash(t) : whole_hash(r, t);
            if (h != 0) {
                return h;
            }
        }
    }
    return 0;
}

/* The type of the variables when the tokens are `a = b` for two of one type; else 0. */
static uint64_t plain_equation(const reader *r, size_t from, size_t to)
{
    const token *t = r->tokens.items;
    if (to - from != 3 || !is(&t[from + 1], "=")) {
        return 0;
    }
    const local *a = find_local(r, t[from].at, t[from].len),
                *b = find_local(r, t[from + 2].at, t[from + 2].len);
    bool same = a != NULL && b != NULL && a != b && a->type != NULL && b->type != NULL &&
                a->type_len == b->type_len && memcmp(a->type, b->type, a->type_len) == 0;
    return same && find_local(r, a->type, a->type_len) == NULL ? hash_of(a->type, a->type_len) : 0;
}

/* "f a = f b", "a.f = b.f": the equation's is the only operator. */
static bool images_agree(const reader *r, size_t from, size_t to)
{
    size_t operators = 0;
    for (size_t i = from; i < to; i++) {
        operators += r->tokens.items[i].kind == T_OPERATOR;
    }
    return operators == 1 && find_last(r, from, to, "=") < to;
}

/* Whether an equation stands before token `to`. */
static bool has_equation(const reader *r, size_t to)
{
    for (size_t i = 0; i < to; i++) {
        if (is(&r->tokens.items[i], "=")) {
            return true;
        }
    }
    return false;
}

static void take_sides(reader *r, size_t from, size_t to)
{
    premise_text *out = r->out;
    const char *op = NULL;
    size_t at = to;
    if (find_last(r, from, to, "∧") == to && find_last(r, from, to, "∨") == to) {
        at = find_last(r, from, to, op = "↔");
        at = at == to ? find_last(r, from, to, op = "=") : at;
    }
    out->head = at == to ? PREMISE_OTHER : *op == '=' ? PREMISE_EQ : PREMISE_IFF;
    take_symbols(r, from, at, PREMISE_LEFT);
    out->heads[0] = first_symbol(r, from, at);
    if (at < to) {
        take_symbols(r, at + 1, to, PREMISE_RIGHT);
        out->heads[1] = first_symbol(r, at + 1, to);
    }
    if (out->head == PREMISE_IFF && images_agree(r, from, at)) {
        out->injective = plain_equation(r, at + 1, to);
    } else if (out->head == PREMISE_EQ && has_equation(r, from)) {
        out->injective = plain_equation(r, from, to);
    }
}

/* Binders and premises of a conclusion are hypotheses. */
static void take_conclusion(reader *r, size_t from, size_t to)
{
    const token *t = r->tokens.items;
    while (from < to && is(&t[from], "∀")) {
        size_t comma = from;
        while (comma < to && (t[comma].kind != T_COMMA || t[comma].depth > t[from].depth)) {
            comma++;
        }
        take_symbols(r, from + 1, comma, PREMISE_HYP);
        from = comma < to ? comma + 1 : to;
    }
    size_t arrow = from < to ? find_last(r, from, to, "→") : to;
    if (arrow < to) {
        take_symbols(r, from, arrow, PREMISE_HYP);
        from = arrow + 1;
    }
    if (from < to) {
        take_sides(r, from, to);
    }
}

/* ---- types ---- */

/* A type is a constant with a capital; proofs of something are no values. */
static void note_types(reader *r)
{
    premise_text *out = r->out;
    for (size_t i = 0; i < r->local_count && out->type_count < PREMISE_TYPES_MAX; i++) {
        const local *var = &r->locals[i];
        bool type = var->type != NULL && *var->type >= 'A' && *var->type <= 'Z' &&
                    find_local(r, var->type, var->type_len) == NULL &&
                    !(var->type_len == 4 &&
                      (memcmp(var->type, "Type", 4) == 0 || memcmp(var->type, "Prop", 4) == 0 ||
                       memcmp(var->type, "Sort", 4) == 0));
        uint64_t hash = type ? hash_of(var->type, var->type_len) : 0;
        for (size_t k = 0; k < out->type_count; k++) {
            hash = out->types[k] == hash ? 0 : hash;
        }
        if (hash != 0) {
            out->types[out->type_count++] = hash;
        }
    }
}

/* ---- the two forms ---- */

static void finish(reader *r)
{
    note_types(r);
    r->out->failed = r->out->failed || r->tokens.failed;
    merge_symbols(r->out);
    pv_free(r->tokens.items);
}

void premise_text_statement(premise_text *out, const char *text)
{
    reader r = {.out = out};
    memset(out, 0, sizeof *out);
    tokenise(&r.tokens, text);
    const token *t = r.tokens.items;
    size_t at = 0, count = r.tokens.count;
    at += at < count && (is(&t[at], "theorem") || is(&t[at], "lemma"));
    at += at < count && t[at].kind == T_NAME;
    find_locals(&r, false);
    size_t colon = at;
    while (colon < count && (t[colon].depth > 0 || !is(&t[colon], ":"))) {
        colon++;
    }
    take_symbols(&r, at, colon, PREMISE_HYP);
    if (colon + 1 < count) {
        take_conclusion(&r, colon + 1, count);
    }
    finish(&r);
}

void premise_text_goal(premise_text *out, const char *text)
{
    reader r = {.out = out};
    memset(out, 0, sizeof *out);
    tokenise(&r.tokens, text);
    const token *t = r.tokens.items;
    size_t count = r.tokens.count, target = 0;
    find_locals(&r, true);
    while (target < count && !(t[target].line && is(&t[target], "⊢"))) {
        target++;
    }
    size_t from = 0;
    while (from < target && is(&t[from], "case")) { /* its tag says nothing */
        from++;
        while (from < target && !t[from].line) {
            from++;
        }
    }
    take_symbols(&r, from, target, PREMISE_HYP);
    if (target + 1 < count) {
        take_conclusion(&r, target + 1, count);
    }
    finish(&r);
}

void premise_text_release(premise_text *t)
{
    pv_free(t->symbols);
    memset(t, 0, sizeof *t);
}
