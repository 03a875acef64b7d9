/* text_table: texts that are written down once and then have a number: the strings of a JSON array that grows. Threads: one at a time. */
#ifndef TEXT_TABLE_H
#define TEXT_TABLE_H

#include "pv_buf.h"
#include "pv_hash.h"

#include <stdint.h>

typedef struct text_slot {
    pv_key key;
    uint32_t number_plus_one; /* 0: empty */
} text_slot;

typedef struct text_table {
    text_slot *slots;
    size_t capacity, count;
    pv_buf json; /* "a","b",...: what is between the brackets; not ok when memory was short */
} text_table;

/* The number of these bytes. 0 when memory is short, which `json` remembers. */
uint32_t text_table_number(text_table *table, const char *text, size_t n);
void text_table_release(text_table *table);

/* Appends a JSON string; what is not UTF-8 becomes U+FFFD. */
void text_table_quote(pv_buf *out, const char *text, size_t n);

#endif
