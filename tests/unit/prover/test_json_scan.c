/* JSON in one pass: what is right, what is wrong, and the same verdicts as jansson's. */
#include "json_scan.h"

#include "pv_hash.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static bool right(const char *text, size_t n)
{
    json_scan s = json_scan_of(text, n);
    json_scan_skip(&s);
    return json_scan_end(&s);
}

static bool right_by_jansson(const char *text, size_t n)
{
    json_t *value = json_loadb(text, n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_decref(value);
    return value != NULL;
}

static const char *const samples[] = {
    "null", " true ", "[]", "{}", "[1,2,[3,{\"a\":null}]]", "\"\"", "0", "-0.5e+10", "10", "1E5",
    "{\"a\":{\"b\":[]},\"c\":\"\\u27e8\\n\\ud83d\\ude00\"}", "[\"⟨h⟩\",\"\\\"\\\\\\/\\b\"]",
    /* wrong */
    "", " ", "nul", "[", "]", "{", "[1,]", "[,1]", "[1 2]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}",
    "{,}", "{a:1}", "{\"a\":1 \"b\":2}", "01", "-", "1.", ".5", "1e", "+1", "0x1", "NaN", "\"",
    "\"\\x\"", "\"\\u12\"", "\"\\ud800\"", "\"\\ud800\\u0041\"", "\"\\udc00\"", "\"\n\"",
    "\"\xff\"", "\"\xed\xa0\x80\"", "[] []", "[}", "{]", "truefalse", "[true false]", "'a'",
    "/**/1", "[1]x"};

enum { SAMPLES = sizeof samples / sizeof samples[0], RIGHT = 12 };

Test(json_scan, right_and_wrong_texts_are_told_apart_as_by_jansson)
{
    for (size_t i = 0; i < SAMPLES; i++) {
        size_t n = strlen(samples[i]);
        cr_assert_eq(right(samples[i], n), i < RIGHT, "%s", samples[i]);
        cr_assert_eq(right_by_jansson(samples[i], n), i < RIGHT, "%s", samples[i]);
    }
}

/* Every text with one byte taken out, put in, or changed. */
Test(json_scan, damaged_texts_are_judged_as_by_jansson)
{
    static const char bytes[] = "\"\\{}[]:,0-.eEu \n\xE2tfn";
    for (size_t i = 0; i < SAMPLES; i++) {
        char text[96];
        size_t n = strlen(samples[i]);
        for (size_t at = 0; at <= n; at++) {
            for (size_t k = 0; k < 2 * sizeof bytes; k++) {
                char c = bytes[k / 2];
                size_t drop = k % 2 == 1 && at < n;
                memcpy(text, samples[i], at);
                text[at] = c;
                memcpy(text + at + (c != '\0'), samples[i] + at + drop, n - at - drop);
                size_t m = n - drop + (c != '\0');
                cr_assert_eq(right(text, m), right_by_jansson(text, m), "%.*s", (int)m, text);
            }
        }
    }
}

Test(json_scan, values_are_read)
{
    const char *text = "{\"name\": \"\\u22A2 p\\n\\ud83d\\ude00\", \"skip\": [{\"x\": [1, {}]}], "
                       "\"n\\u0075mbers\": [1, -2.5, 1e2, null],"
                       " \"a key that is much longer than any that is asked for\": 1}";
    json_scan s = json_scan_of(text, strlen(text));
    json_scan_name key;
    pv_buf name = {0};
    double sum = 0, value;
    int nulls = 0;
    for (bool more = json_scan_object(&s); json_scan_key(&s, &more, &key);) {
        if (json_scan_key_is(&key, "name")) {
            cr_assert(json_scan_string(&s, &name));
        } else if (json_scan_key_is(&key, "numbers")) {
            for (bool items = json_scan_array(&s); json_scan_item(&s, &items);) {
                if (json_scan_peek(&s) == JSON_SCAN_NULL) {
                    nulls++;
                    json_scan_skip(&s);
                } else if (json_scan_number(&s, &value)) {
                    sum += value;
                }
            }
        } else {
            json_scan_skip(&s);
        }
    }
    cr_assert(json_scan_end(&s), "%s", s.wrong);
    cr_assert_str_eq(pv_buf_text(&name), "⊢ p\n😀");
    cr_assert_float_eq(sum, 98.5, 0);
    cr_assert_eq(nulls, 1);
    pv_buf_release(&name);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(json_scan, a_value_of_another_kind_is_an_error_that_stays)
{
    const char *text = "{\"a\": 1, \"b\": 2}";
    json_scan s = json_scan_of(text, strlen(text));
    json_scan_name key;
    pv_buf out = {0};
    bool more = json_scan_object(&s);
    cr_assert(json_scan_key(&s, &more, &key));
    cr_assert_not(json_scan_string(&s, &out));
    cr_assert_not(json_scan_key(&s, &more, &key));
    cr_assert_eq(json_scan_peek(&s), JSON_SCAN_NOTHING);
    json_scan_skip(&s);
    cr_assert_not(json_scan_end(&s));
    cr_assert_str_eq(s.wrong, "a string is expected");
}

Test(json_scan, depth_and_numbers_have_limits)
{
    pv_buf text = {0};
    for (int i = 0; i < JSON_SCAN_DEPTH_MAX; i++) {
        pv_buf_putc(&text, '[');
    }
    for (int i = 0; i < JSON_SCAN_DEPTH_MAX; i++) {
        pv_buf_putc(&text, ']');
    }
    cr_assert(right(text.data, text.len));
    pv_buf deeper = {0};
    pv_buf_printf(&deeper, "[%s]", pv_buf_text(&text));
    cr_assert_not(right(deeper.data, deeper.len));
    pv_buf_release(&deeper);
    pv_buf_release(&text);
    double value;
    const char *wrong[] = {"1e999",
                           "1111111111111111111111111111111111111111111111111111111111111111"};
    for (size_t i = 0; i < 2; i++) {
        json_scan s = json_scan_of(wrong[i], strlen(wrong[i]));
        cr_assert_not(json_scan_number(&s, &value));
    }
}
