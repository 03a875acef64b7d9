#include "html_chart.h"
#include "html_page.h"
#include "html_text.h"
#include "pv_mem.h"

#include <math.h>

static void put_cell(pv_buf *out, const char *label, size_t count)
{
    pv_buf_printf(out, "<tr><th scope=\"row\">%s</th><td class=\"n\">", label);
    html_count(out, count);
    pv_buf_puts(out, "</td></tr>\n");
}

static void put_counts(const report_versus *v, pv_buf *out)
{
    pv_buf_puts(out, "<table class=\"facts\"><tbody>\n");
    put_cell(out, "Both", v->both);
    put_cell(out, "Only A", v->only_a);
    put_cell(out, "Only B", v->only_b);
    put_cell(out, "Neither", v->neither);
    if (v->not_in_a > 0) {
        put_cell(out, "Not among A\xe2\x80\x99s problems", v->not_in_a);
    }
    if (v->not_in_b > 0) {
        put_cell(out, "Not among B\xe2\x80\x99s problems", v->not_in_b);
    }
    pv_buf_puts(out, "</tbody></table>\n");
}

static void put_words(const report_versus *v, pv_buf *out)
{
    if (v->only_a + v->only_b > 0) {
        pv_buf_printf(out,
                      "<p>If neither run were better than the other, a split of the %zu problems "
                      "that only one of them proved at least as uneven as %zu to %zu would come by "
                      "chance with probability %.2g (two-sided sign test).</p>\n",
                      v->only_a + v->only_b, v->only_a, v->only_b, v->sign_test);
    }
    if (isfinite(v->seconds_ratio)) {
        pv_buf_puts(out, "<p>Where both have a proof, B took ");
        html_ratio(out, v->seconds_ratio);
        pv_buf_puts(out, " times A\xe2\x80\x99s time");
        if (isfinite(v->tactics_ratio)) {
            pv_buf_puts(out, " and ");
            html_ratio(out, v->tactics_ratio);
            pv_buf_puts(out, " times its Lean calls");
        }
        pv_buf_puts(out, " (geometric means).</p>\n");
    }
}

static pv_status put_points(const report_versus *v, pv_buf *out, pv_error *err)
{
    chart c = {.title = "Time to the proof, where both have one",
               .x_label = "seconds of A",
               .y_label = "seconds of B"};
    chart_point *points = pv_calloc(v->count + 1, sizeof *points);
    size_t count = 0;
    if (points == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < v->count; i++) {
        const report_pair *pair = &v->pairs[i];
        chart_point p = {0};
        if (pair->a_solved && pair->b_solved && report_spent(pair->a, REPORT_SECONDS, &p.x) &&
            report_spent(pair->b, REPORT_SECONDS, &p.y) && p.x > 0 && p.y > 0) {
            p.name = pair->a->name;
            points[count++] = p;
        }
    }
    if (count > 0) {
        html_chart_points(out, &c, points, count);
    }
    pv_free(points);
    return PV_OK;
}

pv_status html_versus(const html_page *page, pv_buf *out, pv_error *err)
{
    const report_versus *v = page->versus;
    if (v == NULL) {
        return PV_OK;
    }
    pv_buf_puts(out, "<section>\n<h2>Side by side</h2>\n<div class=\"beside\"><div>\n");
    put_counts(v, out);
    put_words(v, out);
    pv_buf_puts(out, "</div>\n");
    pv_status status = put_points(v, out, err);
    pv_buf_puts(out, "</div>\n</section>\n");
    return status;
}
