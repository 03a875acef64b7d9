#include "options.h"

#include "pv_mem.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

typedef enum option_kind { FLAG, COUNT, NUMBER, TEXT, LIST, PAIR } option_kind;

typedef struct option_row {
    int commands;
    option_kind kind;
    size_t offset, given; /* of the fields in struct options */
    const char *flag, *argument, *fallback;
    double smallest, largest;
    const char *help;
} option_row;

static const option_row rows[] = {
#define X(commands, kind, field, flag, argument, fallback, smallest, largest, help)                \
    {commands,                                                                                     \
     kind,                                                                                         \
     offsetof(options, field),                                                                     \
     offsetof(options, field##_given),                                                             \
     flag,                                                                                         \
     argument,                                                                                     \
     fallback,                                                                                     \
     smallest,                                                                                     \
     largest,                                                                                      \
     help},
    OPTION_TABLE(X)
#undef X
};

enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

static void *field_of(options *opt, const option_row *row)
{
    return (char *)opt + row->offset;
}

static pv_status set_number(options *opt, const option_row *row, const char *text, pv_error *err)
{
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    bool whole = row->kind == NUMBER || strspn(text, "0123456789") == strlen(text);
    if (*text == '\0' || *end != '\0' || errno != 0 || !whole ||
        !(value >= row->smallest && value <= row->largest)) {
        return pv_fail(err, PV_E_INVALID, "%s %s: expected %s from %.15g to %.15g", row->flag, text,
                       row->kind == COUNT ? "a whole number" : "a number", row->smallest,
                       row->largest);
    }
    if (row->kind == COUNT) {
        uint64_t count = strtoull(text, NULL, 10);
        memcpy(field_of(opt, row), &count, sizeof count);
    } else {
        memcpy(field_of(opt, row), &value, sizeof value);
    }
    return PV_OK;
}

static pv_status add_to_list(options *opt, const option_row *row, const char *text, pv_error *err)
{
    option_list *list = field_of(opt, row);
    if (list->count == OPTION_LIST_MAX) {
        return pv_fail(err, PV_E_INVALID, "%s is given more than %d times", row->flag,
                       OPTION_LIST_MAX);
    }
    list->items[list->count++] = text;
    return PV_OK;
}

static pv_status set_field(options *opt, const option_row *row, const char *text, pv_error *err)
{
    if (row->kind == FLAG) {
        *(bool *)field_of(opt, row) = true;
        return PV_OK;
    }
    if (row->kind == TEXT) {
        memcpy(field_of(opt, row), &text, sizeof text);
        return PV_OK;
    }
    if (row->kind == LIST) {
        return add_to_list(opt, row, text, err);
    }
    return set_number(opt, row, text, err);
}

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Levenshtein distance, for texts short enough; SIZE_MAX otherwise. */
static size_t distance(const char *a, size_t n, const char *b)
{
    enum { LONGEST = 40 };

    size_t m = strlen(b), row[LONGEST + 1];
    if (n > LONGEST || m > LONGEST) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= m; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t above = row[j];
            row[j] = smaller(smaller(above, row[j - 1]) + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[m];
}

static pv_status unknown_option(int command, const char *flag, size_t n, pv_error *err)
{
    const option_row *nearest = NULL;
    size_t best = 4;
    for (size_t i = 0; i < ROW_COUNT; i++) {
        size_t d = distance(flag, n, rows[i].flag);
        if ((rows[i].commands & command) != 0 && d < best) {
            best = d;
            nearest = &rows[i];
        }
    }
    int width = (int)smaller(n, INT_MAX);
    if (nearest != NULL) {
        return pv_fail(err, PV_E_INVALID, "unknown option %.*s: did you mean %s?", width, flag,
                       nearest->flag);
    }
    return pv_fail(err, PV_E_INVALID, "unknown option %.*s: --help lists the options", width, flag);
}

static const option_row *find_row(int command, const char *flag, size_t n)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if ((rows[i].commands & command) != 0 && strlen(rows[i].flag) == n &&
            memcmp(rows[i].flag, flag, n) == 0) {
            return &rows[i];
        }
    }
    return NULL;
}

/* The two words after argv[*at]. */
static pv_status read_pair(options *opt, const option_row *row, int argc, char **argv, int *at,
                           pv_error *err)
{
    if (strchr(argv[*at], '=') != NULL || *at + 2 >= argc) {
        return pv_fail(err, PV_E_INVALID, "%s needs two arguments: %s %s", row->flag, row->flag,
                       row->argument);
    }
    const char *words[2] = {argv[*at + 1], argv[*at + 2]};
    memcpy(field_of(opt, row), words, sizeof words);
    *at += 2;
    return PV_OK;
}

/* Reads the option at argv[*at], and its argument; leaves *at on the last word used. */
static pv_status read_option(options *opt, int argc, char **argv, int *at, pv_error *err)
{
    const char *word = argv[*at];
    size_t n = strcspn(word, "=");
    const option_row *row = find_row(opt->command, word, n);
    if (row == NULL) {
        return unknown_option(opt->command, word, n, err);
    }
    *(bool *)((char *)opt + row->given) = true;
    if (row->kind == FLAG) {
        if (word[n] == '=') {
            return pv_fail(err, PV_E_INVALID, "%s takes no argument", row->flag);
        }
        return set_field(opt, row, NULL, err);
    }
    if (row->kind == PAIR) {
        return read_pair(opt, row, argc, argv, at, err);
    }
    if (word[n] == '=') {
        return set_field(opt, row, word + n + 1, err);
    }
    if (*at + 1 >= argc) {
        return pv_fail(err, PV_E_INVALID, "%s needs an argument: %s", row->flag, row->argument);
    }
    ++*at;
    return set_field(opt, row, argv[*at], err);
}

static bool is_option(const char *word)
{
    return word[0] == '-' && word[1] != '\0';
}

pv_status options_parse(options *out, int command, int argc, char **argv, int first, pv_error *err)
{
    options opt = {.command = command};
    opt.arguments = pv_calloc((size_t)argc + 1, sizeof *opt.arguments);
    if (opt.arguments == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    pv_status status = PV_OK;
    for (size_t i = 0; i < ROW_COUNT && status == PV_OK; i++) {
        if (rows[i].kind != FLAG && rows[i].kind != LIST && rows[i].kind != PAIR) {
            status = set_field(&opt, &rows[i], rows[i].fallback, err);
        }
    }
    bool only_arguments = false;
    for (int i = first; i < argc && status == PV_OK; i++) {
        if (only_arguments || !is_option(argv[i])) {
            opt.arguments[opt.argument_count++] = argv[i];
        } else if (strcmp(argv[i], "--") == 0) {
            only_arguments = true;
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            opt.help = true;
        } else {
            status = read_option(&opt, argc, argv, &i, err);
        }
    }
    if (status != PV_OK) {
        options_release(&opt);
        return status;
    }
    *out = opt;
    return PV_OK;
}

void options_release(options *opt)
{
    pv_free(opt->arguments);
    opt->arguments = NULL;
}

static void put_value(const options *opt, const option_row *row, pv_buf *out)
{
    const char *field = (const char *)opt + row->offset;
    uint64_t count;
    double number;
    const char *text;
    switch (row->kind) {
    case FLAG:
        pv_buf_puts(out, *(const bool *)field ? "true" : "false");
        break;
    case COUNT:
        memcpy(&count, field, sizeof count);
        pv_buf_printf(out, "%llu", (unsigned long long)count);
        break;
    case NUMBER:
        memcpy(&number, field, sizeof number);
        pv_buf_printf(out, "%.17g", number);
        break;
    default:
        memcpy(&text, field, sizeof text);
        pv_buf_puts(out, text);
    }
}

static bool *given_of(options *opt, const option_row *row)
{
    return (bool *)((char *)opt + row->given);
}

void options_visit(const options *opt, options_on_value *on_value, void *user)
{
    for (size_t i = 0; i < ROW_COUNT; i++) {
        const option_row *row = &rows[i];
        if ((row->commands & opt->command) != 0 && row->kind != LIST && row->kind != PAIR) {
            pv_buf value = {0};
            put_value(opt, row, &value);
            on_value(user, row->flag, pv_buf_text(&value), *given_of((options *)opt, row),
                     (row->commands & OF_PROCESS) != 0);
            pv_buf_release(&value);
        }
    }
}

pv_status options_set(options *opt, const char *flag, const char *value, bool given, pv_error *err)
{
    const option_row *row = find_row(opt->command, flag, strlen(flag));
    if (row == NULL || row->kind == LIST || row->kind == PAIR) {
        return pv_fail(err, PV_E_INVALID, "unknown option %s", flag);
    }
    *given_of(opt, row) = given;
    if (row->kind == FLAG) {
        *(bool *)field_of(opt, row) = strcmp(value, "true") == 0;
        return PV_OK;
    }
    return set_field(opt, row, value, err);
}

void options_help(int command, pv_buf *out)
{
    enum { COLUMN = 30 };

    for (size_t i = 0; i < ROW_COUNT; i++) {
        const option_row *row = &rows[i];
        if ((row->commands & command) == 0) {
            continue;
        }
        size_t start = out->len;
        pv_buf_printf(out, "  %s%s%s", row->flag, row->argument != NULL ? " " : "",
                      row->argument != NULL ? row->argument : "");
        size_t width = out->len - start;
        pv_buf_printf(out, "%*s%s", width < COLUMN ? (int)(COLUMN - width) : 1, "", row->help);
        if (row->fallback[0] != '\0') {
            pv_buf_printf(out, " [%s]", row->fallback);
        }
        pv_buf_putc(out, '\n');
    }
}
