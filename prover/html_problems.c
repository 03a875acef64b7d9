#include "html_page.h"
#include "html_text.h"

#include <math.h>
#include <string.h>

/* One line of the table: a problem of each run; NULL where a run does not have it. */
typedef struct line {
    const report_problem *problems[2];
    const html_page *page;
} line;

static const report_problem *any_of(const line *l)
{
    return l->problems[0] != NULL ? l->problems[0] : l->problems[1];
}

/* ---- figures of a line ---- */

static double sum_of(const report_problem *p, report_measure measure)
{
    double sum = 0;
    if (report_spent(p, measure, &sum)) {
        return sum; /* up to the first proof */
    }
    for (size_t i = 0; i < p->row_count; i++) {
        sum += measure == REPORT_SECONDS   ? p->rows[i].seconds
               : measure == REPORT_TACTICS ? (double)p->rows[i].stats.tactics
                                           : (double)p->rows[i].stats.tokens;
    }
    return sum;
}

static uint64_t states_of(const report_problem *p)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < p->row_count; i++) {
        sum += p->rows[i].stats.nodes;
    }
    return sum;
}

static const char *status_of(const report_problem *p)
{
    const report_row *proof = report_problem_proof(p);
    return p == NULL          ? "no such problem"
           : proof != NULL    ? proof->status
           : p->row_count > 0 ? p->rows[p->row_count - 1].status
                              : "not tried yet";
}

/* What the filter of the page knows: a word of its list. */
static const char *group_of(const line *l)
{
    const char *status = status_of(l->problems[0]);
    if (l->page->run_count == 1) {
        return strcmp(status, "proved") == 0 ? "proved" : "open";
    }
    bool a = report_problem_proof(l->problems[0]) != NULL,
         b = report_problem_proof(l->problems[1]) != NULL;
    return a && b ? "both" : a ? "a" : b ? "b" : "neither";
}

static void put_value(pv_buf *out, const char *class, double value)
{
    pv_buf_printf(out, "<td class=\"n %s\" data-value=\"%.9g\">", class, value);
}

static void put_status(const report_problem *p, const html_page *page, size_t run, pv_buf *out)
{
    size_t proved = 0;
    const char *status = status_of(p);
    pv_buf_printf(out, "<td class=\"%s\">", report_problem_proof(p) != NULL ? "yes" : "no");
    html_text(out, status);
    for (size_t i = 0; p != NULL && i < p->row_count; i++) {
        proved += report_row_proved(&p->rows[i]);
    }
    if (p != NULL && report_run_passes(page->runs[run]) > 1 && p->row_count > 0) {
        pv_buf_printf(out, " %zu\xe2\x81\x84%zu", proved, p->row_count);
    }
    pv_buf_puts(out, "</td>");
}

static void put_seconds(const report_problem *p, pv_buf *out)
{
    if (p == NULL || p->row_count == 0) {
        pv_buf_puts(out, "<td class=\"n\" data-value=\"\">\xe2\x80\x93</td>");
        return;
    }
    put_value(out, "", sum_of(p, REPORT_SECONDS));
    html_seconds(out, sum_of(p, REPORT_SECONDS));
    pv_buf_puts(out, "</td>");
}

static void put_figure(const char *class, double value, pv_buf *out)
{
    put_value(out, class, value);
    html_count(out, (uint64_t)value);
    pv_buf_puts(out, "</td>");
}

static void put_one(const line *l, pv_buf *out)
{
    const report_problem *p = l->problems[0];
    put_status(p, l->page, 0, out);
    put_seconds(p, out);
    put_figure("wide", (double)states_of(p), out);
    put_figure("", sum_of(p, REPORT_TACTICS), out);
    put_figure("wide", sum_of(p, REPORT_TOKENS), out);
}

static void put_two(const line *l, pv_buf *out)
{
    double a = NAN, b = NAN;
    put_status(l->problems[0], l->page, 0, out);
    put_status(l->problems[1], l->page, 1, out);
    put_seconds(l->problems[0], out);
    put_seconds(l->problems[1], out);
    bool both = report_problem_proof(l->problems[0]) != NULL &&
                report_problem_proof(l->problems[1]) != NULL &&
                report_spent(l->problems[0], REPORT_SECONDS, &a) &&
                report_spent(l->problems[1], REPORT_SECONDS, &b) && a > 0;
    if (both) {
        put_value(out, "wide", b / a);
    } else {
        pv_buf_puts(out, "<td class=\"n wide\" data-value=\"\">");
    }
    html_ratio(out, both ? b / a : NAN);
    pv_buf_puts(out, "</td>");
}

/* ---- the detail below a line ---- */

static void put_pre(const char *text, const char *class, pv_buf *out)
{
    pv_buf_printf(out, "<pre class=\"%s\">", class);
    html_text(out, text);
    pv_buf_puts(out, "</pre>\n");
}

static void put_axioms(const report_row *row, pv_buf *out)
{
    json_t *axioms = json_loads(row->axioms == NULL ? "[]" : row->axioms, 0, NULL), *axiom;
    size_t i;
    pv_buf_puts(out, json_array_size(axioms) == 0 ? "no axioms" : "axioms ");
    json_array_foreach(axioms, i, axiom)
    {
        pv_buf_puts(out, i > 0 ? ", " : "");
        html_text(out, json_string_value(axiom));
    }
    json_decref(axioms);
}

static const char *way_words(const report_row *row)
{
    const char *way = row->way == NULL ? "" : row->way;
    return strcmp(way, "whole") == 0 ? ", a whole proof as the model wrote it"
           : strcmp(way, "cut") == 0 ? ", from the beginning of a whole proof"
                                     : "";
}

static void put_proof(const report_row *row, pv_buf *out)
{
    pv_buf_puts(out, "<div class=\"proof\"><button type=\"button\" class=\"copy\" "
                     "hidden>Copy</button>");
    put_pre(row->text, "lean", out);
    pv_buf_puts(out, "</div>\n<p class=\"note\">");
    html_text(out, row->level == NULL ? "proved" : row->level);
    pv_buf_puts(out, ", ");
    put_axioms(row, out);
    pv_buf_puts(out, way_words(row));
    pv_buf_puts(out, "</p>\n");
}

static void put_item(pv_buf *out, const char *what, uint64_t n)
{
    if (n > 0) {
        pv_buf_puts(out, ", ");
        html_count(out, n);
        pv_buf_printf(out, " %s", what);
    }
}

/* The figures in words, all of them, so that no width of the table loses any. */
static void put_figures(const report_row *row, pv_buf *out)
{
    const search_stats *n = &row->stats;
    pv_buf_puts(out, "<p class=\"note\">");
    html_seconds(out, row->seconds);
    pv_buf_puts(out, ", ");
    html_seconds(out, n->lean_seconds);
    pv_buf_puts(out, " of it in Lean; ");
    html_count(out, n->nodes);
    pv_buf_puts(out, n->nodes == 1 ? " state, " : " states, ");
    html_count(out, n->expansions);
    pv_buf_puts(out, " expanded, depth ");
    html_count(out, n->depth);
    pv_buf_puts(out, "; ");
    html_count(out, n->tactics);
    pv_buf_puts(out, n->tactics == 1 ? " tactic tried" : " tactics tried");
    put_item(out, "failed", n->failed);
    put_item(out, "out of time", n->timed_out);
    put_item(out, "lost", n->lost);
    put_item(out, "led to known states", n->duplicates);
    put_item(out, "changed nothing", n->no_ops);
    pv_buf_puts(out, "; ");
    html_count(out, n->tokens);
    pv_buf_printf(out, " tokens; seed %llu</p>\n", (unsigned long long)row->seed);
}

static void put_attempt(const line *l, size_t run, const report_row *row, pv_buf *out)
{
    pv_buf_puts(out, "<h3>");
    if (l->page->run_count > 1) {
        pv_buf_printf(out, "<b class=\"run-%c\">%c</b> ", run == 0 ? 'a' : 'b',
                      html_page_letter(run));
    }
    if (report_run_passes(l->page->runs[run]) > 1) {
        pv_buf_printf(out, "Attempt %llu: ", (unsigned long long)row->pass + 1);
    }
    pv_buf_puts(out, report_row_proved(row) ? "Proof" : "");
    html_text(out, report_row_proved(row) ? "" : row->status);
    pv_buf_puts(out, "</h3>\n");
    if (row->text != NULL) {
        put_proof(row, out);
    } else if (row->why != NULL && row->why[0] != '\0') {
        put_pre(row->why, "why", out);
    }
    put_figures(row, out);
    html_trees_offer(&l->page->trees, row, out);
}

static void put_detail(const line *l, pv_buf *out)
{
    const report_problem *p = any_of(l);
    pv_buf_puts(out, "<details><summary>Statement, proof and search</summary>\n<div "
                     "class=\"detail\">\n<h3>Statement</h3>\n");
    if (p->header[0] != '\0') {
        put_pre(p->header, "lean header", out);
    }
    put_pre(p->statement, "lean", out);
    for (size_t i = 0; i < l->page->run_count; i++) {
        for (size_t k = 0; l->problems[i] != NULL && k < l->problems[i]->row_count; k++) {
            put_attempt(l, i, &l->problems[i]->rows[k], out);
        }
    }
    pv_buf_puts(out, "</div></details>");
}

/* ---- the table ---- */

static void put_line(const line *l, size_t number, pv_buf *out)
{
    const report_problem *p = any_of(l);
    pv_buf_printf(out,
                  "<tbody id=\"p%zu\" data-group=\"%s\"><tr class=\"row\"><th scope=\"row\"><a "
                  "class=\"name\" href=\"#p%zu\">",
                  number, group_of(l), number);
    html_text(out, p->name);
    pv_buf_puts(out, "</a></th>");
    if (l->page->run_count == 1) {
        put_one(l, out);
    } else {
        put_two(l, out);
    }
    pv_buf_puts(out, "</tr>\n<tr class=\"more\"><td colspan=\"6\">");
    put_detail(l, out);
    pv_buf_puts(out, "</td></tr></tbody>\n");
}

static const char TOOLS[] =
    "<p class=\"tools\" hidden><label>Find <input id=\"find\" type=\"search\" "
    "autocomplete=\"off\"></label> <label>Show <select id=\"show\"><option "
    "value=\"\">all</option>%s</select></label> <span id=\"shown\" "
    "aria-live=\"polite\"></span></p>\n";

static void put_begin(const html_page *page, pv_buf *out)
{
    bool two = page->run_count > 1;
    pv_buf_puts(out, "<section>\n<h2>Problems</h2>\n");
    pv_buf_printf(out, TOOLS,
                  two ? "<option value=\"both\">both proved</option><option value=\"a\">only A "
                        "proved</option><option value=\"b\">only B proved</option><option "
                        "value=\"neither\">neither proved</option>"
                      : "<option value=\"proved\">proved</option><option value=\"open\">not "
                        "proved</option>");
    pv_buf_printf(out,
                  "<table id=\"problems\"%s><thead><tr><th scope=\"col\" "
                  "data-sort=\"name\">Problem</th>",
                  two ? " class=\"two\"" : "");
    pv_buf_puts(out, two ? "<th scope=\"col\" data-sort=\"a\">A</th><th scope=\"col\" "
                           "data-sort=\"b\">B</th><th class=\"n\" scope=\"col\" "
                           "data-sort=\"time-a\">Time A</th><th class=\"n\" scope=\"col\" "
                           "data-sort=\"time-b\">Time B</th><th class=\"n wide\" scope=\"col\" "
                           "data-sort=\"ratio\">B\xe2\x88\xb6"
                           "A</th>"
                         : "<th scope=\"col\" data-sort=\"result\">Result</th><th class=\"n\" "
                           "scope=\"col\" data-sort=\"time\">Time</th><th class=\"n wide\" "
                           "scope=\"col\" data-sort=\"states\">States</th><th class=\"n\" "
                           "scope=\"col\" data-sort=\"calls\">Lean calls</th><th class=\"n wide\" "
                           "scope=\"col\" data-sort=\"tokens\">Tokens</th>");
    pv_buf_puts(out, "</tr></thead>\n");
}

pv_status html_problems(const html_page *page, pv_buf *out, pv_error *err)
{
    size_t count = page->versus == NULL ? page->runs[0]->problem_count : page->versus->count;
    put_begin(page, out);
    for (size_t i = 0; i < count; i++) {
        line l = {.page = page};
        if (page->versus == NULL) {
            l.problems[0] = &page->runs[0]->problems[i];
        } else {
            l.problems[0] = page->versus->pairs[i].a;
            l.problems[1] = page->versus->pairs[i].b;
        }
        put_line(&l, i + 1, out);
    }
    pv_buf_puts(out, "</table>\n</section>\n");
    return pv_buf_ok(out) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory for the page");
}
