#include "search_rename.h"

#include <string.h>

enum { NAMES_MAX = 200 };

static const char TURNSTILE[] = "⊢", DAGGER[] = "✝";

typedef struct name {
    const char *text;
    size_t n;
    bool hidden; /* no tactic can write it: made up by Lean, or shadowed */
    bool value;  /* its hypothesis has one */
} name;

typedef struct name_list {
    name items[NAMES_MAX];
    size_t count;
} name_list;

static bool contains(const char *text, size_t n, const char *what)
{
    size_t k = strlen(what);
    for (size_t i = 0; i + k <= n; i++) {
        if (memcmp(text + i, what, k) == 0) {
            return true;
        }
    }
    return false;
}

/* Behind the hypothesis that begins at `at`: its lines are those that are indented. */
static const char *hypothesis_end(const char *at)
{
    for (;;) {
        at += strcspn(at, "\n");
        if (*at == '\0' || at[1] != ' ') {
            return at;
        }
        at++;
    }
}

/* Where the names of a hypothesis end: before ` :` that is no `:=`; NULL: it has none. */
static const char *names_end(const char *at, const char *end)
{
    for (; at + 1 < end; at++) {
        if (at[0] == ' ' && at[1] == ':' && (at + 2 == end || at[2] == ' ' || at[2] == '\n')) {
            return at;
        }
    }
    return NULL;
}

static bool add_names(name_list *list, const char *at, const char *end, bool value)
{
    while (at < end) {
        size_t n = 0;
        while (at + n < end && at[n] != ' ') {
            n++;
        }
        if (n == 0 || list->count == NAMES_MAX || contains(at, n, "«")) {
            return false;
        }
        list->items[list->count++] = (name){at, n, contains(at, n, DAGGER), value};
        at += n + (at + n < end);
    }
    return true;
}

static bool read_names(const char *goal, name_list *list)
{
    list->count = 0;
    if (strncmp(goal, "case ", 5) == 0) {
        goal += strcspn(goal, "\n");
        goal += *goal == '\n';
    }
    while (*goal != '\0' && strncmp(goal, TURNSTILE, sizeof TURNSTILE - 1) != 0) {
        const char *end = hypothesis_end(goal), *names = names_end(goal, end);
        if (names == NULL ||
            !add_names(list, goal, names, contains(names, (size_t)(end - names), ":="))) {
            return false;
        }
        goal = end + (*end == '\n');
    }
    return true;
}

static bool same_name(const name *a, const name *b)
{
    return (a->hidden && b->hidden) ||
           (a->hidden == b->hidden && a->n == b->n && memcmp(a->text, b->text, a->n) == 0);
}

/* How many _ make the beginning of a name that none in the list has. */
static size_t spare_dashes(const name_list *list)
{
    size_t dashes = 1;
    for (size_t i = 0; i < list->count; i++) {
        const name *one = &list->items[i];
        size_t n = 1;
        while (n < one->n && one->text[n] == '_') {
            n++;
        }
        if (one->text[0] == 'h' && n > dashes) {
            dashes = n;
        }
    }
    return dashes;
}

/* Names for what has none while it is moved. */
static void put_spare(pv_buf *out, const name_list *a, const name_list *b, size_t number)
{
    size_t of_a = spare_dashes(a), of_b = spare_dashes(b);
    pv_buf_puts(out, " h");
    for (size_t i = of_a > of_b ? of_a : of_b; i > 0; i--) {
        pv_buf_putc(out, '_');
    }
    pv_buf_printf(out, "%zu", number);
}

static void put_spares(pv_buf *out, const name_list *from, const name_list *to, size_t first)
{
    for (size_t i = first, number = 0; i < from->count; i++) {
        if (from->items[i].hidden) {
            put_spare(out, from, to, ++number);
        }
    }
}

static void write_script(pv_buf *out, const name_list *from, const name_list *to, size_t first)
{
    size_t hidden = 0;
    for (size_t i = first; i < from->count; i++) {
        hidden += from->items[i].hidden;
    }
    if (hidden > 0) { /* names the last ones of those that have none */
        pv_buf_puts(out, "rename_i");
        put_spares(out, from, to, first);
        pv_buf_putc(out, '\n');
    }
    pv_buf_puts(out, "revert");
    for (size_t i = first, number = 0; i < from->count; i++) {
        if (from->items[i].hidden) {
            put_spare(out, from, to, ++number);
        } else {
            pv_buf_putc(out, ' ');
            pv_buf_append(out, from->items[i].text, from->items[i].n);
        }
    }
    pv_buf_puts(out, "\nintro");
    for (size_t i = first; i < to->count; i++) {
        pv_buf_putc(out, ' ');
        if (to->items[i].hidden) {
            pv_buf_putc(out, '_');
        } else {
            pv_buf_append(out, to->items[i].text, to->items[i].n);
        }
    }
}

search_names search_rename(const char *from, const char *to, pv_buf *out)
{
    name_list a, b;
    if (strcmp(from, to) == 0) {
        return SEARCH_NAMES_SAME;
    }
    if (!read_names(from, &a) || !read_names(to, &b) || a.count != b.count) {
        return SEARCH_NAMES_OTHER;
    }
    size_t first = 0;
    while (first < a.count && same_name(&a.items[first], &b.items[first])) {
        first++;
    }
    if (first == a.count) {
        return SEARCH_NAMES_SAME;
    }
    for (size_t i = first; i < a.count; i++) {
        if (a.items[i].value || b.items[i].value) {
            return SEARCH_NAMES_OTHER;
        }
    }
    pv_buf script = {0};
    write_script(&script, &a, &b, first);
    bool ok = pv_buf_ok(&script);
    if (ok) {
        pv_buf_puts(out, pv_buf_text(&script));
    }
    pv_buf_release(&script);
    return ok && pv_buf_ok(out) ? SEARCH_NAMES_RENAMED : SEARCH_NAMES_OTHER;
}
