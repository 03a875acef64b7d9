#include "html_chart.h"
#include "html_page.h"
#include "pv_mem.h"

static const struct {
    report_measure measure;
    const char *title, *x_label;
    bool logarithmic;
} CURVES[] = {
    {REPORT_SECONDS, "Proved within a time for each problem", "seconds of attempts at it", true},
    {REPORT_TACTICS, "Proved within Lean calls for each problem", "tactics tried on it", true},
    {REPORT_TOKENS, "Proved within tokens for each problem", "tokens drawn for it", true},
    {REPORT_CLOCK, "Proved since the run began", "seconds since the start", false},
};

static bool has_any(const chart *c)
{
    for (size_t i = 0; i < c->line_count; i++) {
        const chart_line *line = &c->lines[i];
        if (line->count > 0 && line->values[line->count - 1] > 0) {
            return true;
        }
    }
    return false;
}

static pv_status put_curve(const html_page *page, size_t which, pv_buf *out, pv_error *err)
{
    chart c = {.title = CURVES[which].title,
               .x_label = CURVES[which].x_label,
               .y_label = "problems proved",
               .logarithmic = CURVES[which].logarithmic,
               .line_count = page->run_count};
    double *values[2] = {NULL, NULL};
    bool ok = true;
    for (size_t i = 0; i < page->run_count; i++) {
        values[i] = report_curve(page->runs[i], CURVES[which].measure, &c.lines[i].count);
        c.lines[i].values = values[i];
        ok = ok && values[i] != NULL;
        c.most = page->runs[i]->problem_count > c.most ? page->runs[i]->problem_count : c.most;
    }
    if (ok && has_any(&c)) {
        html_chart_steps(out, &c);
    }
    pv_free(values[0]);
    pv_free(values[1]);
    return ok ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static void put_legend(const html_page *page, pv_buf *out)
{
    if (page->run_count < 2) {
        return;
    }
    pv_buf_puts(out, "<p class=\"legend\">");
    for (size_t i = 0; i < page->run_count; i++) {
        pv_buf_printf(
            out,
            "<span><svg viewBox=\"0 0 30 8\" aria-hidden=\"true\"><path class=\"line %c\" "
            "d=\"M1 4H29\"/></svg> %c</span> ",
            i == 0 ? 'a' : 'b', html_page_letter(i));
    }
    pv_buf_puts(out, "</p>\n");
}

pv_status html_curves(const html_page *page, pv_buf *out, pv_error *err)
{
    size_t solved = 0;
    pv_status status = PV_OK;
    for (size_t i = 0; i < page->run_count; i++) {
        solved += report_run_solved(page->runs[i]);
    }
    if (solved == 0) {
        return PV_OK;
    }
    pv_buf_puts(out, "<section>\n<h2>Over time and budget</h2>\n");
    put_legend(page, out);
    pv_buf_puts(out, "<div class=\"charts\">\n");
    for (size_t i = 0; i < sizeof CURVES / sizeof *CURVES && status == PV_OK; i++) {
        status = put_curve(page, i, out, err);
    }
    pv_buf_puts(out, "</div>\n</section>\n");
    return status;
}
