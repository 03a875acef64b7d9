#include "text_table.h"

#include "pv_mem.h"
#include "pv_utf8.h"

#include <string.h>

void text_table_release(text_table *table)
{
    pv_free(table->slots);
    pv_buf_release(&table->json);
    memset(table, 0, sizeof *table);
}

static void quote_byte(pv_buf *out, unsigned char c)
{
    if (c == '"' || c == '\\') {
        pv_buf_putc(out, '\\');
        pv_buf_putc(out, (char)c);
    } else if (c == '\n') {
        pv_buf_puts(out, "\\n");
    } else if (c < 0x20) {
        pv_buf_printf(out, "\\u%04x", c);
    } else {
        pv_buf_putc(out, (char)c);
    }
}

void text_table_quote(pv_buf *out, const char *text, size_t n)
{
    pv_buf_putc(out, '"');
    for (size_t i = 0; i < n;) {
        size_t valid = pv_utf8_valid(text + i, n - i);
        for (size_t end = i + valid; i < end; i++) {
            quote_byte(out, (unsigned char)text[i]);
        }
        if (i < n) {
            pv_buf_puts(out, "\xef\xbf\xbd");
            i++;
        }
    }
    pv_buf_putc(out, '"');
}

static text_slot *find(const text_table *table, pv_key key)
{
    size_t at = (size_t)(key.lo ^ key.hi) & (table->capacity - 1);
    while (table->slots[at].number_plus_one != 0 && !pv_key_equal(table->slots[at].key, key)) {
        at = (at + 1) & (table->capacity - 1);
    }
    return &table->slots[at];
}

static bool grow(text_table *table)
{
    text_table larger = {.capacity = table->capacity == 0 ? 256 : 2 * table->capacity};
    larger.slots = pv_calloc(larger.capacity, sizeof *larger.slots);
    if (larger.slots == NULL) {
        return false;
    }
    for (size_t i = 0; i < table->capacity; i++) {
        if (table->slots[i].number_plus_one != 0) {
            *find(&larger, table->slots[i].key) = table->slots[i];
        }
    }
    pv_free(table->slots);
    table->slots = larger.slots;
    table->capacity = larger.capacity;
    return true;
}

uint32_t text_table_number(text_table *table, const char *text, size_t n)
{
    if (2 * (table->count + 1) > table->capacity && !grow(table)) {
        table->json.failed = true;
        return 0;
    }
    pv_key key = pv_key_of(text, n);
    text_slot *slot = find(table, key);
    if (slot->number_plus_one == 0) {
        *slot = (text_slot){key, (uint32_t)++table->count};
        pv_buf_puts(&table->json, table->count > 1 ? "," : "");
        text_table_quote(&table->json, text, n);
    }
    return slot->number_plus_one - 1;
}
