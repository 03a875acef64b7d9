#include "engine_added.h"

#include "pv_utf8.h"

#include <string.h>

typedef struct splitter {
    const enginep_added *a;
    const enginep_sections *to;
    pv_error *err;
} splitter;

static uint32_t child_of(const enginep_trie *trie, uint32_t node, unsigned char byte)
{
    uint32_t at = trie->nodes[node].child;
    while (at != 0 && trie->nodes[at].byte != byte) {
        at = trie->nodes[at].sibling;
    }
    return at;
}

/* The longest token at text[0..n): its index + 1, or 0. */
static uint32_t longest(const enginep_trie *trie, const char *text, size_t n)
{
    uint32_t node = 0;
    uint32_t found = 0;
    for (size_t i = 0; i < n; i++) {
        node = child_of(trie, node, (unsigned char)text[i]);
        if (node == 0) {
            break;
        }
        if (trie->nodes[node].token != 0) {
            found = trie->nodes[node].token;
        }
    }
    return found;
}

long enginep_added_find(const enginep_added *a, const char *text, size_t n)
{
    for (int i = 0; i < 2; i++) {
        uint32_t found = a->tries[i].count == 0 ? 0 : longest(&a->tries[i], text, n);
        if (found != 0 && a->tokens[found - 1].len == n) {
            return (long)found - 1;
        }
    }
    return -1;
}

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
           c == 0x205f || c == 0x3000;
}

static size_t spaces_at_start(const char *text, size_t n)
{
    size_t at = 0;
    uint32_t c;
    size_t len;
    while (at < n && (len = pv_utf8_decode(text + at, n - at, &c)) != 0 && is_space(c)) {
        at += len;
    }
    return at;
}

static size_t last_char(const char *text, size_t n)
{
    size_t at = n - 1;
    while (at > 0 && ((unsigned char)text[at] & 0xc0) == 0x80) {
        at--;
    }
    return at;
}

static size_t spaces_at_end(const char *text, size_t n)
{
    size_t kept = n;
    while (kept > 0) {
        uint32_t c;
        size_t at = last_char(text, kept);
        if (pv_utf8_decode(text + at, kept - at, &c) == 0 || !is_space(c)) {
            break;
        }
        kept = at;
    }
    return n - kept;
}

static pv_status starts_with_word(const splitter *s, const char *text, size_t n, bool *out)
{
    enginep_match m = {.found = false};
    uint32_t c;
    size_t len = n == 0 ? 0 : pv_utf8_decode(text, n, &c);
    pv_status status = PV_OK;
    if (len != 0) {
        status = enginep_regex_find(s->a->word_start, s->to->matcher, text, len, 0, &m, s->err);
    }
    *out = m.found;
    return status;
}

static pv_status stands_alone(const splitter *s, const char *text, size_t n, size_t begin,
                              size_t end, bool *out)
{
    bool before = false;
    bool after = false;
    pv_status status = PV_OK;
    if (begin > 0) {
        size_t at = last_char(text, begin);
        status = starts_with_word(s, text + at, begin - at, &before);
    }
    if (status == PV_OK) {
        status = starts_with_word(s, text + end, n - end, &after);
    }
    *out = !before && !after;
    return status;
}

enum { PASS_RAW, PASS_NORMALIZED, PASS_LETTERS };

static pv_status split_pass(const splitter *s, int pass, const char *text, size_t n);

static pv_status plain(const splitter *s, int pass, const char *text, size_t n)
{
    if (n == 0) {
        return PV_OK;
    }
    return pass == PASS_RAW ? split_pass(s, PASS_NORMALIZED, text, n)
                            : s->to->emit(s->to->user, ENGINEP_NO_TOKEN, text, n, s->err);
}

/* A match at text[at..end): emits the plain text since *done and the token, and moves *done past it. */
static pv_status take(const splitter *s, int pass, const enginep_added_token *token,
                      const char *text, size_t n, size_t at, size_t *done)
{
    size_t begin = at;
    size_t end = at + token->len;
    if (token->lstrip && at > *done) {
        begin -= spaces_at_end(text + *done, at - *done);
    }
    if (token->rstrip) {
        end += spaces_at_start(text + end, n - end);
    }
    pv_status status = PV_OK;
    if (begin > *done) {
        status = plain(s, pass, text + *done, begin - *done);
    }
    *done = end;
    return status == PV_OK ? s->to->emit(s->to->user, token->id, text + begin, end - begin, s->err)
                           : status;
}

static pv_status split_pass(const splitter *s, int pass, const char *text, size_t n)
{
    const enginep_trie *trie = &s->a->tries[pass];
    size_t done = 0;
    size_t at = trie->count == 0 ? n : 0;
    while (at < n) {
        uint32_t found =
            trie->starts[(unsigned char)text[at]] ? longest(trie, text + at, n - at) : 0;
        if (found == 0) {
            at++;
            continue;
        }
        const enginep_added_token *token = &s->a->tokens[found - 1];
        bool fits = true;
        pv_status status = PV_OK;
        if (token->single_word) {
            status = stands_alone(s, text, n, at, at + token->len, &fits);
        }
        if (status == PV_OK && fits) {
            status = take(s, pass, token, text, n, at, &done);
        }
        if (status != PV_OK) {
            return status;
        }
        /* The search goes on after the match even when that was turned down, as in the Hugging Face library. */
        at += token->len;
        at = at < done ? done : at;
    }
    return done < n ? plain(s, pass, text + done, n - done) : PV_OK;
}

pv_status enginep_added_split(const enginep_added *a, const enginep_sections *to, const char *text,
                              size_t n, pv_error *err)
{
    splitter s = {a, to, err};
    return split_pass(&s, to->find == ENGINEP_FIND_ALL ? PASS_RAW : PASS_LETTERS, text, n);
}
