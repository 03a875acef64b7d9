#include "lemma_list.h"

#include <string.h>

static const char *const takers[] = {"simp",          "simp_all", "simp only",
                                     "simp_all only", "grind",    "solve_by_elim"};

/* Whether the n bytes end in the word. */
static bool ends_in(const char *text, size_t n, const char *word)
{
    size_t m = strlen(word);
    if (n < m || memcmp(text + n - m, word, m) != 0) {
        return false;
    }
    char before = n == m ? ' ' : text[n - m - 1];
    return before == ' ' || before == '(' || before == ';';
}

static bool takes_lemmas(const char *tactic, size_t bracket)
{
    size_t n = bracket;
    while (n > 0 && tactic[n - 1] == ' ') {
        n--;
    }
    for (size_t i = 0; i < sizeof takers / sizeof *takers; i++) {
        if (n < bracket && ends_in(tactic, n, takers[i])) {
            return true;
        }
    }
    return false;
}

static lemma_span trim(const char *at, size_t len)
{
    while (len > 0 && *at == ' ') {
        at++;
        len--;
    }
    while (len > 0 && at[len - 1] == ' ') {
        len--;
    }
    return (lemma_span){at, len};
}

/* Splits what stands between the brackets. False when it is more than names. */
static bool split(lemma_list *out, const char *at, const char *end)
{
    while (at < end) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma == NULL ? end : comma;
        lemma_span item = trim(at, (size_t)(stop - at));
        lemma_span name = lemma_list_name(item);
        bool plain = name.len > 0;
        for (size_t i = 0; i < name.len; i++) {
            plain = plain && strchr(" ()[]{}*-:", name.at[i]) == NULL;
        }
        if (!plain || out->count == LEMMA_LIST_MAX) {
            return false;
        }
        out->items[out->count++] = item;
        at = comma == NULL ? end : comma + 1;
    }
    return out->count > 0;
}

bool lemma_list_find(lemma_list *out, const char *tactic)
{
    memset(out, 0, sizeof *out);
    size_t at = strlen(tactic);
    if (strchr(tactic, '\n') != NULL) {
        return false;
    }
    while (at-- > 0) {
        const char *close = tactic[at] == '[' ? strchr(tactic + at, ']') : NULL;
        if (close != NULL && takes_lemmas(tactic, at)) {
            out->before = (lemma_span){tactic, at};
            out->after = (lemma_span){close + 1, strlen(close + 1)};
            out->count = 0;
            return split(out, tactic + at + 1, close);
        }
    }
    return false;
}

lemma_span lemma_list_name(lemma_span item)
{
    static const char arrow[] = "←";
    size_t n = sizeof arrow - 1;
    bool back = item.len > n && memcmp(item.at, arrow, n) == 0;
    return back ? trim(item.at + n, item.len - n) : item;
}

void lemma_list_write(const lemma_list *list, const bool *keep, pv_buf *out)
{
    size_t kept = 0;
    lemma_span before = list->before;
    for (size_t i = 0; i < list->count; i++) {
        kept += keep[i];
    }
    if (kept == 0) {
        before = (lemma_span){before.at, before.len};
        while (before.len > 0 && before.at[before.len - 1] == ' ') {
            before.len--;
        }
    }
    pv_buf_append(out, before.at, before.len);
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (keep[i]) {
            pv_buf_puts(out, n++ == 0 ? "[" : ", ");
            pv_buf_append(out, list->items[i].at, list->items[i].len);
        }
    }
    pv_buf_puts(out, kept > 0 ? "]" : "");
    pv_buf_append(out, list->after.at, list->after.len);
}
