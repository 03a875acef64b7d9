#include "unified_diff.h"

#include "pv_mem.h"

#include <stdbool.h>
#include <string.h>

enum {
    AROUND = 3,       /* lines of context                                                       */
    STEPS_MAX = 2000, /* lines that differ, above which the middle is replaced as a whole     */
};

typedef struct line {
    const char *text;
    size_t n; /* with its line feed */
} line;

typedef struct lines {
    line *items;
    size_t count;
} lines;

/* What becomes of the lines: those of `old` that go, those of `new` that come. */
typedef struct edit {
    lines old, new;
    bool *gone, *come;
} edit;

static pv_status cut_lines(const char *text, size_t n, lines *out)
{
    size_t capacity = 0;
    for (size_t at = 0; at < n;) {
        const char *feed = memchr(text + at, '\n', n - at);
        size_t length = feed == NULL ? n - at : (size_t)(feed - text) + 1 - at;
        if (pv_grow((void **)&out->items, &capacity, out->count + 1, sizeof *out->items) != 0) {
            return PV_E_NOMEM;
        }
        out->items[out->count++] = (line){text + at, length};
        at += length;
    }
    return PV_OK;
}

static bool same(const edit *e, size_t i, size_t k)
{
    const line *a = &e->old.items[i], *b = &e->new.items[k];
    return a->n == b->n && memcmp(a->text, b->text, a->n) == 0;
}

/* ---- the shortest edit (E. Myers, 1986) of what lies between the equal ends ---- */

typedef struct middle {
    size_t old_from, old_n, new_from, new_n;
    size_t *reach; /* for each step d: how far into the old lines diagonals -d, -d+2, ..., d lead */
    size_t steps;
} middle;

/* Row d of the triangle begins here. */
static size_t row(size_t d)
{
    return d * (d + 1) / 2;
}

/* How far diagonal number i (of -d + 2i) of step d begins: by a line that goes (right) or one that comes (down). */
static size_t step_from(const middle *m, size_t d, size_t i)
{
    if (d == 0) {
        return 0;
    }
    const size_t *before = m->reach + row(d - 1);
    if (i == 0) {
        return before[0];
    }
    if (i == d || before[i - 1] >= before[i]) {
        return before[i - 1] + 1;
    }
    return before[i];
}

/* True when step d leads to the end of both. */
static bool walk(const edit *e, middle *m, size_t d)
{
    for (size_t i = 0; i <= d; i++) {
        size_t x = step_from(m, d, i);
        ptrdiff_t y = (ptrdiff_t)x - ((ptrdiff_t)(2 * i) - (ptrdiff_t)d);
        while (x < m->old_n && (size_t)y < m->new_n &&
               same(e, m->old_from + x, m->new_from + (size_t)y)) {
            x++;
            y++;
        }
        m->reach[row(d) + i] = x;
        if (x == m->old_n && (size_t)y == m->new_n) {
            return true;
        }
    }
    return false;
}

/* Marks the lines of the way that was found, from its end. */
static void retrace(edit *e, const middle *m)
{
    size_t x = m->old_n, y = m->new_n;
    for (size_t d = m->steps; d > 0; d--) {
        size_t i = (size_t)((ptrdiff_t)(x + d) - (ptrdiff_t)y) / 2;
        const size_t *before = m->reach + row(d - 1);
        bool goes = i > 0 && (i == d || before[i - 1] >= before[i]);
        size_t from = before[goes ? i - 1 : i];
        ptrdiff_t diagonal = (ptrdiff_t)(2 * (goes ? i - 1 : i)) - (ptrdiff_t)(d - 1);
        size_t from_y = (size_t)((ptrdiff_t)from - diagonal);
        if (goes) {
            e->gone[m->old_from + from] = true;
        } else {
            e->come[m->new_from + from_y] = true;
        }
        x = from;
        y = from_y;
    }
}

static void replace_all(edit *e, const middle *m)
{
    memset(e->gone + m->old_from, true, m->old_n);
    memset(e->come + m->new_from, true, m->new_n);
}

static pv_status mark_middle(edit *e, middle *m)
{
    size_t capacity = 0;
    for (m->steps = 0; m->steps <= STEPS_MAX; m->steps++) {
        if (pv_grow((void **)&m->reach, &capacity, row(m->steps + 1), sizeof *m->reach) != 0) {
            return PV_E_NOMEM;
        }
        if (walk(e, m, m->steps)) {
            retrace(e, m);
            return PV_OK;
        }
    }
    replace_all(e, m);
    return PV_OK;
}

static pv_status mark(edit *e)
{
    size_t head = 0, tail = 0;
    size_t least = e->old.count < e->new.count ? e->old.count : e->new.count;
    while (head < least && same(e, head, head)) {
        head++;
    }
    while (tail < least - head && same(e, e->old.count - 1 - tail, e->new.count - 1 - tail)) {
        tail++;
    }
    middle m = {head, e->old.count - head - tail, head, e->new.count - head - tail, NULL, 0};
    pv_status status = mark_middle(e, &m);
    pv_free(m.reach);
    return status;
}

/* ---- hunks ---- */

typedef struct hunk {
    size_t old_from, old_n, new_from, new_n;
} hunk;

/* Where the next change begins, both lines moved there; false: none. */
static bool find_change(const edit *e, size_t *i, size_t *k)
{
    while (*i < e->old.count && *k < e->new.count && !e->gone[*i] && !e->come[*k]) {
        ++*i;
        ++*k;
    }
    return *i < e->old.count || *k < e->new.count;
}

/* Moves behind a run of changed lines. */
static void pass_change(const edit *e, size_t *i, size_t *k)
{
    while (*i < e->old.count && e->gone[*i]) {
        ++*i;
    }
    while (*k < e->new.count && e->come[*k]) {
        ++*k;
    }
}

/* The hunk that begins with the change at i and k; both move behind it. Changes with few lines between them are one hunk. */
static hunk take_hunk(const edit *e, size_t *i, size_t *k)
{
    size_t before = *i < *k ? *i : *k;
    before = before < AROUND ? before : AROUND;
    hunk h = {*i - before, 0, *k - before, 0};
    size_t a = *i, b = *k;
    do {
        pass_change(e, &a, &b);
        *i = a;
        *k = b;
    } while (find_change(e, &a, &b) && a - *i <= 2 * AROUND);
    size_t after = e->old.count - *i < AROUND ? e->old.count - *i : AROUND;
    h.old_n = *i + after - h.old_from;
    h.new_n = *k + after - h.new_from;
    return h;
}

static void put_line(pv_buf *out, char mark, const line *l)
{
    pv_buf_putc(out, mark);
    pv_buf_append(out, l->text, l->n);
    if (l->text[l->n - 1] != '\n') {
        pv_buf_puts(out, "\n\\ No newline at end of file\n");
    }
}

static void put_range(pv_buf *out, char mark, size_t from, size_t n)
{
    pv_buf_printf(out, "%c%zu", mark, n == 0 ? from : from + 1);
    if (n != 1) {
        pv_buf_printf(out, ",%zu", n);
    }
}

static void put_hunk(pv_buf *out, const edit *e, const hunk *h)
{
    pv_buf_puts(out, "@@ ");
    put_range(out, '-', h->old_from, h->old_n);
    pv_buf_putc(out, ' ');
    put_range(out, '+', h->new_from, h->new_n);
    pv_buf_puts(out, " @@\n");
    size_t i = h->old_from, k = h->new_from;
    while (i < h->old_from + h->old_n || k < h->new_from + h->new_n) {
        if (i < h->old_from + h->old_n && e->gone[i]) {
            put_line(out, '-', &e->old.items[i++]);
        } else if (k < h->new_from + h->new_n && e->come[k]) {
            put_line(out, '+', &e->new.items[k++]);
        } else {
            put_line(out, ' ', &e->old.items[i++]);
            k++;
        }
    }
}

static void put_hunks(pv_buf *out, const char *name, const edit *e)
{
    size_t i = 0, k = 0;
    bool any = false;
    while (find_change(e, &i, &k)) {
        if (!any) {
            pv_buf_printf(out, "--- a/%s\n+++ b/%s\n", name, name);
            any = true;
        }
        hunk h = take_hunk(e, &i, &k);
        put_hunk(out, e, &h);
    }
}

pv_status unified_diff(const char *name, const char *old_text, size_t old_n, const char *new_text,
                       size_t new_n, pv_buf *out, pv_error *err)
{
    edit e = {0};
    pv_status status = cut_lines(old_text, old_n, &e.old);
    if (status == PV_OK) {
        status = cut_lines(new_text, new_n, &e.new);
    }
    e.gone = pv_calloc(e.old.count + 1, sizeof *e.gone);
    e.come = pv_calloc(e.new.count + 1, sizeof *e.come);
    if (status == PV_OK && e.gone != NULL && e.come != NULL) {
        status = mark(&e);
    }
    bool short_of_memory = status != PV_OK || e.gone == NULL || e.come == NULL;
    if (!short_of_memory) {
        put_hunks(out, name[0] == '/' ? name + 1 : name, &e);
    }
    pv_free(e.gone);
    pv_free(e.come);
    pv_free(e.old.items);
    pv_free(e.new.items);
    return short_of_memory || !pv_buf_ok(out) ? pv_fail(err, PV_E_NOMEM, "out of memory") : PV_OK;
}
