/* Reading goals as Lean displays them. Everything here is text: no knowledge of Lean's terms. */
#include "search_portfolio_internal.h"

#include <ctype.h>
#include <string.h>

portfolio_span portfolio_span_of(const char *text)
{
    return (portfolio_span){text, strlen(text)};
}

portfolio_span portfolio_trim(portfolio_span s)
{
    while (s.len > 0 && isspace((unsigned char)s.at[0])) {
        s.at++;
        s.len--;
    }
    while (s.len > 0 && isspace((unsigned char)s.at[s.len - 1])) {
        s.len--;
    }
    return s;
}

bool portfolio_equal(portfolio_span s, const char *text)
{
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

bool portfolio_same(portfolio_span a, portfolio_span b)
{
    return a.len == b.len && memcmp(a.at, b.at, a.len) == 0;
}

bool portfolio_starts(portfolio_span s, const char *prefix)
{
    size_t n = strlen(prefix);
    return s.len >= n && memcmp(s.at, prefix, n) == 0;
}

static portfolio_span rest_of(portfolio_span s, size_t from)
{
    return (portfolio_span){s.at + from, s.len - from};
}

bool portfolio_has(portfolio_span s, const char *needle)
{
    for (size_t i = 0; i < s.len; i++) {
        if (portfolio_starts(rest_of(s, i), needle)) {
            return true;
        }
    }
    return false;
}

/* Bytes above 0x7f belong to letters often enough (h₀, α); operators come with spaces around them. */
static bool is_name_byte(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '\'' || c == '.' ||
           (unsigned char)c > 0x7f;
}

bool portfolio_has_word(portfolio_span s, portfolio_span word)
{
    for (size_t i = 0; word.len > 0 && i + word.len <= s.len; i++) {
        bool starts = i == 0 || !is_name_byte(s.at[i - 1]) ||
                      portfolio_starts(rest_of(s, i - (i >= 3 ? 3 : 0)), "↑");
        bool ends =
            i + word.len == s.len || !is_name_byte(s.at[i + word.len]) || s.at[i + word.len] == '.';
        if (starts && ends && memcmp(s.at + i, word.at, word.len) == 0) {
            return true;
        }
    }
    return false;
}

bool portfolio_number(portfolio_span s, int64_t *out)
{
    s = portfolio_unparen(s);
    bool negative = s.len > 0 && s.at[0] == '-';
    s = rest_of(s, negative ? 1 : 0);
    if (s.len == 0 || s.len > 12) {
        return false;
    }
    int64_t value = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (!isdigit((unsigned char)s.at[i])) {
            return false;
        }
        value = value * 10 + (s.at[i] - '0');
    }
    *out = negative ? -value : value;
    return true;
}

/* +1 for an opening bracket at byte i, -1 for a closing one. */
static int bracket_at(portfolio_span s, size_t i)
{
    static const char *const open[] = {"(", "[", "{", "⟨", "⦃", "⌊"};
    static const char *const close[] = {")", "]", "}", "⟩", "⦄", "⌋"};
    for (size_t k = 0; k < sizeof open / sizeof *open; k++) {
        if (portfolio_starts(rest_of(s, i), open[k])) {
            return 1;
        }
        if (portfolio_starts(rest_of(s, i), close[k])) {
            return -1;
        }
    }
    return 0;
}

portfolio_span portfolio_unparen(portfolio_span s)
{
    s = portfolio_trim(s);
    if (s.len < 2 || s.at[0] != '(' || s.at[s.len - 1] != ')') {
        return s;
    }
    int depth = 0;
    for (size_t i = 0; i + 1 < s.len; i++) {
        depth += bracket_at(s, i);
        if (depth == 0) {
            return s;
        }
    }
    return portfolio_unparen((portfolio_span){s.at + 1, s.len - 2});
}

bool portfolio_split_last(portfolio_span s, const char *op, portfolio_span *left,
                          portfolio_span *right)
{
    int depth = 0;
    bool found = false;
    for (size_t i = 0; i < s.len; i++) {
        depth += bracket_at(s, i);
        if (depth == 0 && portfolio_starts(rest_of(s, i), op)) {
            *left = portfolio_trim((portfolio_span){s.at, i});
            *right = portfolio_trim(rest_of(s, i + strlen(op)));
            found = true;
        }
    }
    return found;
}

/* Connectives from loose to tight; of equal tightness the first one in the text splits (they associate to the right). */
static const struct connective {
    const char *op;
    portfolio_head head;
    int level;
} connectives[] = {
    {" ↔ ", PORTFOLIO_IFF, 1}, {" → ", PORTFOLIO_IMPLIES, 2}, {" ∨ ", PORTFOLIO_OR, 3},
    {" ∧ ", PORTFOLIO_AND, 4}, {" = ", PORTFOLIO_EQ, 6},      {" ≠ ", PORTFOLIO_NE, 6},
    {" < ", PORTFOLIO_LT, 6},  {" ≤ ", PORTFOLIO_LE, 6},      {" > ", PORTFOLIO_GT, 6},
    {" ≥ ", PORTFOLIO_GE, 6},  {" ∣ ", PORTFOLIO_DVD, 6},     {" ∈ ", PORTFOLIO_MEM, 6},
};

enum { CONNECTIVE_NOT_LEVEL = 5, CONNECTIVE_NONE = 7 };

static const struct connective *connective_at(portfolio_span s)
{
    for (size_t k = 0; k < sizeof connectives / sizeof *connectives; k++) {
        if (portfolio_starts(s, connectives[k].op)) {
            return &connectives[k];
        }
    }
    return NULL;
}

/* A binder reaches to the end of the text, so nothing behind it is outermost. */
static bool is_binder(portfolio_span s)
{
    return portfolio_starts(s, "∀ ") || portfolio_starts(s, "∃ ") || portfolio_starts(s, "fun ") ||
           portfolio_starts(s, "∃! ") || portfolio_starts(s, "let ") ||
           portfolio_starts(s, "if ") || portfolio_starts(s, "match ");
}

/* "∀ (x : T), body" or "∃ x, body": splits at the first comma outside brackets. */
static bool parse_binder(portfolio_prop *prop)
{
    bool all = portfolio_starts(prop->text, "∀ ");
    if (!all && !portfolio_starts(prop->text, "∃ ")) {
        return false;
    }
    portfolio_span rest = rest_of(prop->text, strlen("∀ "));
    int depth = 0;
    for (size_t i = 0; i < rest.len; i++) {
        depth += bracket_at(rest, i);
        if (depth == 0 && rest.at[i] == ',') {
            prop->head = all ? PORTFOLIO_FORALL : PORTFOLIO_EXISTS;
            prop->left = portfolio_trim((portfolio_span){rest.at, i});
            prop->right = portfolio_trim(rest_of(rest, i + 1));
            return true;
        }
    }
    return false;
}

static void parse_connective(portfolio_prop *prop)
{
    bool negated = portfolio_starts(prop->text, "¬");
    int level = negated ? CONNECTIVE_NOT_LEVEL : CONNECTIVE_NONE;
    int depth = 0;
    if (negated) {
        prop->head = PORTFOLIO_NOT;
        prop->right = portfolio_unparen(rest_of(prop->text, strlen("¬")));
    }
    for (size_t i = 0; i < prop->text.len; i++) {
        portfolio_span here = rest_of(prop->text, i);
        depth += bracket_at(prop->text, i);
        if (depth == 0 && is_binder(here) && (i == 0 || !is_name_byte(prop->text.at[i - 1]))) {
            return;
        }
        const struct connective *c = depth == 0 ? connective_at(here) : NULL;
        if (c != NULL && c->level < level) {
            level = c->level;
            prop->head = c->head;
            prop->left = portfolio_trim((portfolio_span){prop->text.at, i});
            prop->right = portfolio_trim(rest_of(here, strlen(c->op)));
        }
    }
}

portfolio_prop portfolio_prop_parse(portfolio_span text)
{
    portfolio_prop prop = {.head = PORTFOLIO_ATOM, .text = portfolio_unparen(text)};
    prop.left = prop.right = (portfolio_span){prop.text.at, 0};
    if (portfolio_equal(prop.text, "False")) {
        prop.head = PORTFOLIO_FALSE;
    } else if (portfolio_equal(prop.text, "True")) {
        prop.head = PORTFOLIO_TRUE;
    } else if (!parse_binder(&prop)) {
        parse_connective(&prop);
    }
    return prop;
}

/* The first word, with its length in bytes. */
static portfolio_span first_word(portfolio_span s)
{
    size_t n = 0;
    while (n < s.len && s.at[n] != ' ') {
        n++;
    }
    return (portfolio_span){s.at, n};
}

static const portfolio_hyp *find_hyp(const portfolio_goal *goal, portfolio_span name)
{
    for (size_t i = goal->hyp_count; i-- > 0;) {
        if (portfolio_same(goal->hyps[i].name, name)) {
            return &goal->hyps[i];
        }
    }
    return NULL;
}

static const struct kind_word {
    const char *word;
    portfolio_kind kind;
} kind_words[] = {
    {"Nat", PORTFOLIO_NAT},        {"ℕ", PORTFOLIO_NAT},         {"Int", PORTFOLIO_INT},
    {"ℤ", PORTFOLIO_INT},          {"Bool", PORTFOLIO_BOOL},     {"Prop", PORTFOLIO_PROPOSITION},
    {"List", PORTFOLIO_LIST},      {"Option", PORTFOLIO_OPTION}, {"Fin", PORTFOLIO_FIN},
    {"Type", PORTFOLIO_TYPE},      {"Sort", PORTFOLIO_TYPE},     {"Char", PORTFOLIO_ELEMENT},
    {"String", PORTFOLIO_ELEMENT}, {"Unit", PORTFOLIO_ELEMENT},  {"Array", PORTFOLIO_ELEMENT},
    {"Prod", PORTFOLIO_PAIR},      {"Sum", PORTFOLIO_SUM},
};

/* The kind of values of a type without arrows. */
static portfolio_kind plain_kind(const portfolio_goal *goal, portfolio_span type)
{
    portfolio_span left, right, word = first_word(type);
    if (portfolio_split_last(type, " × ", &left, &right)) {
        return PORTFOLIO_PAIR;
    }
    if (portfolio_split_last(type, " ⊕ ", &left, &right)) {
        return PORTFOLIO_SUM;
    }
    for (size_t k = 0; k < sizeof kind_words / sizeof *kind_words; k++) {
        bool alone = word.len == type.len || kind_words[k].kind == PORTFOLIO_TYPE ||
                     portfolio_prop_parse(type).head == PORTFOLIO_ATOM;
        if (alone && portfolio_equal(word, kind_words[k].word)) {
            return kind_words[k].kind;
        }
    }
    const portfolio_hyp *hyp = word.len == type.len ? find_hyp(goal, word) : NULL;
    return hyp != NULL && hyp->kind == PORTFOLIO_TYPE ? PORTFOLIO_ELEMENT : PORTFOLIO_PROOF;
}

static portfolio_kind kind_of(const portfolio_goal *goal, portfolio_span type)
{
    portfolio_span from, to;
    type = portfolio_unparen(type);
    bool binds = portfolio_starts(type, "∀ ") || portfolio_starts(type, "∃ ");
    if (!binds && portfolio_split_last(type, " → ", &from, &to)) {
        return plain_kind(goal, portfolio_unparen(to)) == PORTFOLIO_PROOF ? PORTFOLIO_PROOF
                                                                          : PORTFOLIO_FUNCTION;
    }
    return plain_kind(goal, type);
}

static void add_hyp(portfolio_goal *goal, portfolio_span name, portfolio_span type)
{
    if (goal->hyp_count == PORTFOLIO_HYPS_MAX) {
        return;
    }
    portfolio_hyp hyp = {.name = name, .type = type, .kind = kind_of(goal, type)};
    hyp.nameable =
        !portfolio_has(name, "✝") && (isalpha((unsigned char)name.at[0]) || name.at[0] == '_' ||
                                      (unsigned char)name.at[0] > 0x7f);
    if (hyp.kind == PORTFOLIO_PROOF) {
        hyp.prop = portfolio_prop_parse(type);
    }
    for (size_t i = 0; i < goal->hyp_count; i++) {
        if (portfolio_same(goal->hyps[i].name, name)) {
            goal->hyps[i].nameable = false;
        }
    }
    goal->hyps[goal->hyp_count++] = hyp;
}

/* "a b : T" or "x : T := v". */
static void parse_hyp_line(portfolio_goal *goal, portfolio_span line)
{
    size_t colon = 0;
    while (colon < line.len && !portfolio_starts(rest_of(line, colon), " : ")) {
        colon++;
    }
    if (colon == line.len) {
        return;
    }
    portfolio_span names = {line.at, colon}, type = portfolio_trim(rest_of(line, colon + 3));
    portfolio_span before, after;
    if (portfolio_split_last(type, " := ", &before, &after)) {
        type = before;
    }
    while (names.len > 0 && type.len > 0) {
        portfolio_span name = first_word(names);
        if (name.len > 0) {
            add_hyp(goal, name, type);
        }
        names = rest_of(names, name.len < names.len ? name.len + 1 : name.len);
    }
}

/* Joins the lines of a type: a line that is indented goes on with the line before it. */
static void unfold_lines(const char *text, pv_buf *out)
{
    for (const char *p = text; *p != '\0'; p++) {
        bool continues = p[0] == '\n' && p[1] == ' ';
        if (!continues) {
            char c = *p;
            if (c == '\t' || c == '\r') {
                c = ' ';
            }
            pv_buf_putc(out, c);
            continue;
        }
        while (p[1] == ' ') {
            p++;
        }
        pv_buf_putc(out, ' ');
    }
}

void portfolio_goal_parse(portfolio_goal *goal, const char *text, pv_buf *scratch)
{
    memset(goal, 0, sizeof *goal);
    unfold_lines(text, scratch);
    portfolio_span rest = portfolio_span_of(pv_buf_text(scratch));
    goal->text = rest;
    goal->target = portfolio_prop_parse((portfolio_span){rest.at, 0});
    while (rest.len > 0) {
        size_t n = 0;
        while (n < rest.len && rest.at[n] != '\n') {
            n++;
        }
        portfolio_span line = {rest.at, n};
        if (portfolio_starts(line, "⊢ ")) {
            goal->target = portfolio_prop_parse(portfolio_trim(rest_of(line, strlen("⊢ "))));
            return;
        }
        if (!portfolio_starts(line, "case ")) {
            parse_hyp_line(goal, line);
        }
        rest = rest_of(rest, n < rest.len ? n + 1 : n);
    }
}

bool portfolio_next_binder(portfolio_span *binders, portfolio_span *name, portfolio_span *type)
{
    *binders = portfolio_trim(*binders);
    while (binders->len > 0 && strchr("()[]{}", binders->at[0]) != NULL) {
        *binders = portfolio_trim(rest_of(*binders, 1));
    }
    size_t n = 0;
    while (n < binders->len && is_name_byte(binders->at[n])) {
        n++;
    }
    if (n == 0) {
        return false;
    }
    *name = (portfolio_span){binders->at, n};
    *binders = portfolio_trim(rest_of(*binders, n));
    size_t colon = 0;
    while (colon < binders->len &&
           (is_name_byte(binders->at[colon]) || binders->at[colon] == ' ')) {
        colon++;
    }
    *type = (portfolio_span){binders->at, 0};
    if (colon == binders->len || binders->at[colon] != ':') {
        return true;
    }
    size_t end = colon + 1;
    for (int depth = 0; end < binders->len; end++) {
        depth += bracket_at(*binders, end);
        if (depth < 0) {
            break;
        }
    }
    *type = portfolio_trim((portfolio_span){binders->at + colon + 1, end - colon - 1});
    if (colon == 0) {
        *binders = rest_of(*binders, end < binders->len ? end + 1 : end);
    }
    return true;
}
