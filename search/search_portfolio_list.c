/* The list of candidates: texts in one buffer, and the filling in of templates. */
#include "search_portfolio_internal.h"

#include "pv_mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { FRESH_MAX = 64 }; /* numbers tried behind a base name */

void portfolio_list_release(portfolio_list *list)
{
    pv_buf_release(&list->text);
    pv_free(list->items);
    list->items = NULL;
    list->count = list->capacity = 0;
}

/* Notes a candidate whose text begins at byte `at` of the buffer and ends at its end. */
static void finish_item(portfolio_list *list, size_t at, double weight)
{
    pv_buf_putc(&list->text, '\0');
    if (!pv_buf_ok(&list->text) || pv_grow((void **)&list->items, &list->capacity, list->count + 1,
                                           sizeof *list->items) != 0) {
        list->failed = true;
        return;
    }
    list->items[list->count++] = (struct portfolio_item){.at = at, .weight = weight};
}

void portfolio_add(portfolio_list *list, double weight, const char *fmt, ...)
{
    size_t at = list->text.len;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (n >= 0 && pv_buf_reserve(&list->text, (size_t)n)) {
        va_start(args, fmt);
        vsnprintf(list->text.data + at, (size_t)n + 1, fmt, args);
        va_end(args);
        list->text.len += (size_t)n;
    }
    finish_item(list, at, weight);
}

void portfolio_add_text(portfolio_list *list, double weight, const char *text)
{
    size_t at = list->text.len;
    pv_buf_puts(&list->text, text);
    finish_item(list, at, weight);
}

static bool name_taken(const portfolio_goal *goal, const char *name)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        if (portfolio_equal(goal->hyps[i].name, name)) {
            return true;
        }
    }
    return false;
}

void portfolio_fresh(const portfolio_goal *goal, const char *base, unsigned nth, pv_buf *out)
{
    char name[64];
    for (unsigned number = 0; number <= FRESH_MAX; number++) {
        if (number == 0) {
            snprintf(name, sizeof name, "%s", base);
        } else {
            snprintf(name, sizeof name, "%s%u", base, number);
        }
        if (!name_taken(goal, name) && nth-- == 0) {
            break;
        }
    }
    pv_buf_puts(out, name);
}

/* "$1" ... "$6" name proofs, "$7" ... "$9" values. */
static void put_fresh(portfolio_list *list, char digit)
{
    bool value = digit >= '7';
    unsigned nth = (unsigned)(digit - (value ? '7' : '1'));
    portfolio_fresh(list->goal, value ? "x" : "h", nth, &list->text);
}

static void put_binding(portfolio_list *list, char key, const portfolio_binding *bindings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (bindings[i].key == key) {
            pv_buf_append(&list->text, bindings[i].value.at, bindings[i].value.len);
        }
    }
}

void portfolio_add_template(portfolio_list *list, double weight, const char *form,
                            const portfolio_binding *bindings, size_t n)
{
    size_t at = list->text.len;
    for (const char *p = form; *p != '\0'; p++) {
        if (*p != '$' || p[1] == '\0') {
            pv_buf_putc(&list->text, *p);
        } else if (*++p >= '1' && *p <= '9') {
            put_fresh(list, *p);
        } else {
            put_binding(list, *p, bindings, n);
        }
    }
    finish_item(list, at, weight);
}
