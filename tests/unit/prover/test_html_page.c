/* The parts of a page: scales of charts, text that nobody can break out of, and what the page itself must not have. */
#include "chart_scale.h"
#include "html_chart.h"
#include "html_text.h"
#include "page_style.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

static void text_is(const char *text, const char *expected)
{
    pv_buf out = {0};
    html_text(&out, text);
    cr_expect_str_eq(pv_buf_text(&out), expected);
    pv_buf_release(&out);
}

Test(html_text, nothing_gets_out_of_text_or_attribute)
{
    text_is("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;");
    text_is("\" onload='x' &amp;", "&quot; onload=&#39;x&#39; &amp;amp;");
    text_is("∀ ε > 0, p ∧ q\n\tx", "∀ ε &gt; 0, p ∧ q\n\tx");
    text_is("a\x01\x1b[0m\x7f\r", "a\xef\xbf\xbd\xef\xbf\xbd[0m\xef\xbf\xbd\xef\xbf\xbd");
    text_is("\xff\xc0\xaf\xed\xa0\x80z",
            "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbdz");
    text_is("a\xe2\x80\xae"
            "b\xe2\x81\xa6",
            "a⟨U+202E⟩b⟨U+2066⟩");
    text_is("line\xe2\x80\xa8separator", "line\xe2\x80\xa8separator");
    text_is(NULL, "");
}

static void figure_is(void (*put)(pv_buf *, double), double value, const char *expected)
{
    pv_buf out = {0};
    put(&out, value);
    cr_expect_str_eq(pv_buf_text(&out), expected);
    pv_buf_release(&out);
}

Test(html_text, figures)
{
    figure_is(html_number, 0.5, "0.5");
    figure_is(html_number, 12000, "12,000");
    figure_is(html_number, 1234567, "1,234,567");
    figure_is(html_seconds, 0.416, "0.42\xc2\xa0s");
    figure_is(html_seconds, 12.34, "12.3\xc2\xa0s");
    figure_is(html_seconds, 3600, "3,600\xc2\xa0s");
    figure_is(html_ratio, NAN, "–");
    figure_is(html_ratio, 35.2, "35");
}

Test(html_text, base64_and_hash)
{
    static const char *const pairs[][2] = {
        {"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foobar", "Zm9vYmFy"}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        pv_buf out = {0};
        html_base64(&out, pairs[i][0], strlen(pairs[i][0]));
        cr_expect_str_eq(pv_buf_text(&out), pairs[i][1]);
        pv_buf_release(&out);
    }
    pv_buf out = {0};
    html_source_hash(&out, "", 0);
    cr_expect_str_eq(pv_buf_text(&out), "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='");
    pv_buf_release(&out);
}

/* A script element ends at the first "</script", whatever the language says; the style asks for nothing from outside. */
Test(html_page, style_and_script_stay_in_their_elements)
{
    cr_assert_gt(page_script_size, 1000);
    cr_expect_eq(strlen(page_script), page_script_size);
    cr_expect_eq(strlen(page_style), page_style_size);
    cr_expect_null(strstr(page_script, "</script"));
    cr_expect_null(strstr(page_script, "<!--"));
    cr_expect_null(strstr(page_script, "innerHTML"));
    cr_expect_null(strstr(page_script, "\r"));
    cr_expect_null(strstr(page_style, "</style"));
    cr_expect_null(strstr(page_style, "url("));
    cr_expect_null(strstr(page_style, "@import"));
}

static void ticks_are(const chart_scale *s, const double *expected, size_t count)
{
    cr_assert_eq(s->tick_count, count);
    for (size_t i = 0; i < count; i++) {
        cr_expect_float_eq(s->ticks[i], expected[i], 1e-9 * expected[i] + 1e-12);
    }
}

#define TICKS(s, ...)                                                                              \
    ticks_are(s, (const double[]){__VA_ARGS__},                                                    \
              sizeof((const double[]){__VA_ARGS__}) / sizeof(double))

Test(chart_scale, linear)
{
    chart_scale s = chart_scale_linear(187, false, 40, 340);
    TICKS(&s, 0, 50, 100, 150, 200);
    cr_expect_float_eq(chart_scale_at(&s, 0), 40, 1e-9);
    cr_expect_float_eq(chart_scale_at(&s, 100), 190, 1e-9);
    cr_expect_float_eq(chart_scale_at(&s, 1e9), 340, 1e-9);
    cr_expect_float_eq(chart_scale_at(&s, NAN), 40, 1e-9);
    s = chart_scale_linear(0, false, 0, 1);
    cr_expect_eq(s.high, 1);
    s = chart_scale_linear(INFINITY, false, 0, 1);
    cr_expect_eq(s.high, 1);
}

Test(chart_scale, counts_end_where_they_end)
{
    chart_scale s = chart_scale_count(12, 200, 0);
    TICKS(&s, 0, 5, 12);
    cr_expect_float_eq(chart_scale_at(&s, 12), 0, 1e-9);
    s = chart_scale_count(1, 200, 0);
    TICKS(&s, 0, 1);
    s = chart_scale_count(244, 200, 0);
    TICKS(&s, 0, 50, 100, 150, 200, 244);
    s = chart_scale_count(0, 200, 0);
    TICKS(&s, 0, 1);
}

Test(chart_scale, logarithmic)
{
    chart_scale s = chart_scale_log(3, 80, 0, 100);
    TICKS(&s, 2, 5, 10, 20, 50, 100);
    cr_expect_float_eq(chart_scale_at(&s, 2), 0, 1e-9);
    cr_expect_float_eq(chart_scale_at(&s, 100), 100, 1e-9);
    cr_expect_float_eq(chart_scale_at(&s, sqrt(200)), 50, 1e-9);
    cr_expect_float_eq(chart_scale_at(&s, 0), 0, 1e-9);
    s = chart_scale_log(1, 1e9, 0, 1);
    cr_expect_leq(s.tick_count, 7);
    s = chart_scale_log(0, 0, 0, 1);
    cr_expect(s.low > 0 && s.high / s.low >= 10 && s.tick_count >= 2);
    s = chart_scale_log(0.7, 0.7, 0, 1);
    cr_expect(s.low <= 0.7 && s.high >= 0.7 && s.high / s.low >= 10);
    for (double high = 1e-6; high < 1e12; high *= 1.7) {
        for (double low = high; low > high / 1e9; low /= 3.1) {
            s = chart_scale_log(low, high, 0, 1);
            cr_expect(s.low <= low * 1.0001 && s.high >= high * 0.9999, "%g %g", low, high);
            cr_expect(s.tick_count >= 2 && s.tick_count < CHART_TICKS_MAX, "%g %g: %zu", low, high,
                      s.tick_count);
        }
    }
}

Test(html_chart, steps_rise_once_for_each_value)
{
    static const double values[] = {2, 20, 20, 90};
    chart c = {.title = "a <b>", .x_label = "s", .y_label = "n", .logarithmic = true, .most = 10};
    pv_buf out = {0};
    c.lines[0] = (chart_line){values, 4};
    c.line_count = 1;
    html_chart_steps(&out, &c);
    const char *path = strstr(pv_buf_text(&out), "class=\"line a\"");
    cr_assert_not_null(path);
    size_t rises = 0;
    for (const char *at = path; *at != '>'; at++) {
        rises += *at == 'V';
    }
    cr_expect_eq(rises, 4);
    cr_expect_not_null(strstr(pv_buf_text(&out), "a &lt;b&gt;"));
    cr_expect_null(strstr(pv_buf_text(&out), "nan"));
    pv_buf_release(&out);
    cr_expect_eq(pv_mem_live(), 0);
}
