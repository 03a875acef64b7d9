#include "lean_strings.h"

#include "pv_mem.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static char *format(const char *fmt, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    char *text = n < 0 ? NULL : pv_malloc((size_t)n + 1);
    if (text != NULL) {
        vsnprintf(text, (size_t)n + 1, fmt, args);
    }
    return text;
}

char *lean_strings_format(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    char *text = format(fmt, args);
    va_end(args);
    return text;
}

/* Takes `text`. There is always room for the NULL at the end. */
static void push(lean_strings *list, char *text)
{
    if (text == NULL || list->failed ||
        pv_grow((void **)&list->items, &list->capacity, list->count + 2, sizeof *list->items) !=
            0) {
        list->failed = true;
        pv_free(text);
        return;
    }
    list->items[list->count++] = text;
    list->items[list->count] = NULL;
}

void lean_strings_add(lean_strings *list, const char *text)
{
    push(list, pv_strdup(text));
}

void lean_strings_addf(lean_strings *list, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    push(list, format(fmt, args));
    va_end(args);
}

void lean_strings_add_all(lean_strings *list, char *const *texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
        lean_strings_add(list, texts[i]);
    }
}

char **lean_strings_detach(lean_strings *list)
{
    char **items = NULL;
    if (list->failed) {
        lean_strings_release(list);
        return NULL;
    }
    items = list->items == NULL ? pv_calloc(1, sizeof *items) : list->items;
    memset(list, 0, sizeof *list);
    return items;
}

void lean_strings_release(lean_strings *list)
{
    lean_strings_free(list->items);
    memset(list, 0, sizeof *list);
}

void lean_strings_free(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
        pv_free(texts[i]);
    }
    pv_free(texts);
}
