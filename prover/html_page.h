/* html_page: the page of one run, or of two side by side: one HTML file that needs nothing else and asks nobody for anything.
 *
 *   html_page.c      the frame: policy of content, style, script, title, notes
 *   html_facts.c     what the results stand on; pass@k
 *   html_curves.c    solved over time and budget
 *   html_versus.c    two runs side by side
 *   html_problems.c  the table of problems, with statement, proof and searches of each
 *   html_trees.c     search trees
 *   report/          style and script, put into the program when it is built
 * Threads: one at a time. */
#ifndef HTML_PAGE_H
#define HTML_PAGE_H

#include "html_trees.h"
#include "report_data.h"

typedef struct html_page { /* borrowed */
    const char *title;     /* "": made from the run */
    const report_run *runs[2];
    size_t run_count;
    const report_versus *versus; /* of the two; NULL with one */
    html_trees trees;            /* owned; `limit` set by the caller */
} html_page;

/* Appends the page. Fails: PV_E_NOMEM, and as the store. */
PV_NODISCARD pv_status html_page_write(html_page *page, pv_buf *out, pv_error *err);
void html_page_release(html_page *page);

/* ---- the parts, for html_page.c ---- */

char html_page_letter(size_t run);                         /* 'A', 'B' */
void html_page_solved(const report_run *run, pv_buf *out); /* "3 of 12 problems proved (25.0 %)" */
PV_NODISCARD pv_status html_facts(const html_page *page, pv_buf *out, pv_error *err);
PV_NODISCARD pv_status html_curves(const html_page *page, pv_buf *out, pv_error *err);
PV_NODISCARD pv_status html_versus(const html_page *page, pv_buf *out, pv_error *err);
PV_NODISCARD pv_status html_problems(const html_page *page, pv_buf *out, pv_error *err);

#endif
