#include "html_page.h"

#include "html_text.h"
#include "page_style.h"

#include <string.h>

char html_page_letter(size_t run)
{
    return run == 0 ? 'A' : 'B';
}

void html_page_release(html_page *page)
{
    html_trees_release(&page->trees);
}

void html_page_solved(const report_run *run, pv_buf *out)
{
    size_t solved = report_run_solved(run);
    html_count(out, solved);
    pv_buf_puts(out, " of ");
    html_count(out, run->problem_count);
    pv_buf_printf(out, run->problem_count == 1 ? " problem proved" : " problems proved");
    if (run->problem_count > 0) {
        double part = (double)solved / (double)run->problem_count, low, high;
        pass_interval(part, run->problem_count, &low, &high);
        pv_buf_printf(out, " (%.1f\xc2\xa0%%; 95\xc2\xa0%% interval %.1f to %.1f\xc2\xa0%%)",
                      100 * part, 100 * low, 100 * high);
    }
}

/* The last part of a path. */
static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL || slash[1] == '\0' ? path : slash + 1;
}

static void make_title(const html_page *page, pv_buf *out)
{
    if (page->title[0] != '\0') {
        pv_buf_puts(out, page->title);
        return;
    }
    const store_run *run = page->runs[0]->parts.items[0].run;
    pv_buf_puts(out, base_name(run->file));
    if (page->run_count > 1) {
        pv_buf_printf(out, ": runs %s and %s", run->id, page->runs[1]->parts.items[0].run->id);
    } else {
        pv_buf_printf(out, ": run %s", run->id);
    }
}

/* Nothing from outside, and no script and style but the two below. */
static void put_head(const char *title, pv_buf *out)
{
    pv_buf_puts(out, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                     "script-src ");
    html_source_hash(out, page_script, page_script_size);
    pv_buf_puts(out, "; style-src ");
    html_source_hash(out, page_style, page_style_size);
    pv_buf_puts(out, "; base-uri 'none'; form-action 'none'\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                     "<meta name=\"color-scheme\" content=\"light dark\">\n"
                     "<meta name=\"referrer\" content=\"no-referrer\">\n<title>");
    html_text(out, title);
    pv_buf_puts(out, "</title>\n<style>");
    pv_buf_append(out, page_style, page_style_size);
    pv_buf_puts(out, "</style>\n</head>\n<body>\n<header>\n<h1>");
    html_text(out, title);
    pv_buf_puts(out, "</h1>\n");
}

static void put_lede(const html_page *page, pv_buf *out)
{
    for (size_t i = 0; i < page->run_count; i++) {
        const report_run *run = page->runs[i];
        uint64_t all = run->problem_count * report_run_passes(run);
        pv_buf_puts(out, "<p class=\"lede\">");
        if (page->run_count > 1) {
            pv_buf_printf(out, "<b class=\"run-%c\">%c</b> ", i == 0 ? 'a' : 'b',
                          html_page_letter(i));
        }
        html_page_solved(run, out);
        if (run->results < all) {
            pv_buf_puts(out, ". Not complete: ");
            html_count(out, run->results);
            pv_buf_puts(out, " of ");
            html_count(out, all);
            pv_buf_puts(out, " attempts have a result");
        }
        pv_buf_puts(out, ".</p>\n");
    }
    pv_buf_puts(out, "</header>\n<main>\n");
}

static void put_notes(const html_page *page, pv_buf *out)
{
    pv_buf_puts(out,
                "</main>\n<footer>\n<p>A problem counts as proved when a fresh Lean process has "
                "compiled its statement with the proof and its axioms have been audited. "
                "Intervals are Wilson score intervals at 95\xc2\xa0% over the problems. ");
    for (size_t i = 0; i < page->run_count; i++) {
        if (page->runs[i]->doubled > 0) {
            html_count(out, page->runs[i]->doubled);
            pv_buf_puts(out,
                        " results of attempts that another part of the run has as well are not "
                        "counted: the part that was named first counts. ");
        }
    }
    pv_buf_puts(out, "Made by prover " PROVER_VERSION " from ");
    for (size_t i = 0; i < page->run_count; i++) {
        const report_parts *parts = &page->runs[i]->parts;
        for (size_t k = 0; k < parts->count; k++) {
            pv_buf_puts(out, i + k > 0 ? ", " : "");
            html_text(out, base_name(parts->items[k].from->path));
            pv_buf_puts(out, "\xc2\xa0(");
            html_text(out, parts->items[k].run->id);
            pv_buf_puts(out, ")");
        }
    }
    pv_buf_puts(out,
                ".</p>\n<noscript><p>Search trees, sorting and filtering need JavaScript; the page "
                "asks no server for anything.</p></noscript>\n</footer>\n");
}

pv_status html_page_write(html_page *page, pv_buf *out, pv_error *err)
{
    pv_buf title = {0};
    pv_status status = PV_OK;
    for (size_t i = 0; i < page->run_count && status == PV_OK; i++) {
        status = html_trees_add(&page->trees, page->runs[i], err);
    }
    if (status == PV_OK) {
        status = html_trees_settle(&page->trees, err);
    }
    if (status == PV_OK) {
        make_title(page, &title);
        put_head(pv_buf_text(&title), out);
        put_lede(page, out);
        status = html_versus(page, out, err);
    }
    if (status == PV_OK) {
        status = html_curves(page, out, err);
    }
    if (status == PV_OK) {
        status = html_facts(page, out, err);
    }
    if (status == PV_OK) {
        status = html_problems(page, out, err);
    }
    if (status == PV_OK) {
        put_notes(page, out);
        status = html_trees_write(&page->trees, out, err);
    }
    pv_buf_puts(out, "<script>");
    pv_buf_append(out, page_script, page_script_size);
    pv_buf_puts(out, "</script>\n</body>\n</html>\n");
    bool ok = pv_buf_ok(out) && pv_buf_ok(&title);
    pv_buf_release(&title);
    return status != PV_OK || ok ? status : pv_fail(err, PV_E_NOMEM, "out of memory for the page");
}
