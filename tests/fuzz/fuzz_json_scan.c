/* JSON in one pass beside jansson: both call the same texts right, but for what only one of them limits (nesting, large numbers) and for
 * NUL bytes, some of which jansson passes over; and they read the same strings and numbers of an array. */
#include "json_scan.h"

#include <jansson.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static bool may_differ(const char *bytes, size_t n)
{
    size_t depth = 0, digits = 0;
    for (size_t i = 0; i < n; i++) {
        depth += bytes[i] == '[' || bytes[i] == '{';
        digits = bytes[i] >= '0' && bytes[i] <= '9' ? digits + 1 : 0;
        if (depth > JSON_SCAN_DEPTH_MAX || digits > 17 || bytes[i] == '\0' ||
            ((bytes[i] == 'e' || bytes[i] == 'E') && i > 0 && bytes[i - 1] >= '0' &&
             bytes[i - 1] <= '9')) {
            return true;
        }
    }
    return false;
}

static void compare_item(json_scan *s, const json_t *item)
{
    pv_buf text = {0};
    double number;
    json_scan_kind kind = json_scan_peek(s);
    if (kind == JSON_SCAN_STRING) {
        if (!json_scan_string(s, &text) || text.len != json_string_length(item) ||
            memcmp(pv_buf_text(&text), json_string_value(item), text.len) != 0) {
            abort();
        }
    } else if (kind == JSON_SCAN_NUMBER) {
        if (!json_scan_number(s, &number) || number < json_number_value(item) ||
            number > json_number_value(item)) {
            abort();
        }
    } else {
        json_scan_skip(s);
    }
    pv_buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *bytes = (const char *)data;
    json_scan s = json_scan_of(bytes, size);
    json_scan_skip(&s);
    bool right = json_scan_end(&s);
    json_t *tree = json_loadb(bytes, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (right != (tree != NULL) && !may_differ(bytes, size)) {
        abort();
    }
    if (right && json_is_array(tree) && !may_differ(bytes, size)) {
        size_t i = 0;
        s = json_scan_of(bytes, size);
        for (bool more = json_scan_array(&s); json_scan_item(&s, &more); i++) {
            compare_item(&s, json_array_get(tree, i));
        }
        if (!json_scan_end(&s) || i != json_array_size(tree)) {
            abort();
        }
    }
    json_decref(tree);
    return 0;
}
