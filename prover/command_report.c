/* prover report: the runs of stores as one HTML page. */
#include "commands.h"
#include "html_page.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

typedef struct job {
    report_stores stores;
    report_run runs[2];
    size_t run_count;
    report_versus versus;
} job;

static void release(job *j)
{
    report_versus_release(&j->versus);
    for (size_t i = 0; i < j->run_count; i++) {
        report_run_release(&j->runs[i]);
    }
    report_stores_close(&j->stores);
}

static pv_status check_options(const options *opt, pv_error *err)
{
    if (opt->argument_count == 0) {
        return pv_fail(err, PV_E_INVALID,
                       "report takes the stores of a run: prover report runs.sqlite -o page.html");
    }
    if (opt->page[0] == '\0') {
        return pv_fail(err, PV_E_INVALID, "report needs -o FILE.html, the page to write");
    }
    if (opt->compare[0] != NULL && opt->run_given) {
        return pv_fail(err, PV_E_INVALID, "--compare names its two runs itself: leave --run out");
    }
    return PV_OK;
}

/* Chooses before it loads, so that a store that does not belong is refused before anything is read. */
static pv_status load(job *j, const options *opt, pv_error *err)
{
    bool two = opt->compare[0] != NULL;
    report_parts parts[2] = {{0}, {0}};
    pv_status status = report_choose(&j->stores, two ? opt->compare[0] : opt->run, &parts[0], err);
    if (status == PV_OK && two) {
        status = report_choose(&j->stores, opt->compare[1], &parts[1], err);
    }
    if (status == PV_OK && two &&
        strcmp(parts[0].items[0].run->id, parts[1].items[0].run->id) == 0) {
        status = pv_fail(err, PV_E_INVALID, "--compare: %s and %s name one run", opt->compare[0],
                         opt->compare[1]);
    }
    if (status == PV_OK) {
        status = report_choice_check(&j->stores, &parts[0], two ? &parts[1] : NULL, err);
    }
    for (size_t i = 0; i < (two ? 2 : 1) && status == PV_OK; i++) {
        status = report_run_load(&j->runs[i], &parts[i], err);
        j->run_count += status == PV_OK;
    }
    report_parts_release(&parts[0]);
    report_parts_release(&parts[1]);
    if (status == PV_OK && two) {
        status = report_versus_of(&j->versus, &j->runs[0], &j->runs[1], err);
    }
    return status;
}

static pv_status write_page(const job *j, const options *opt, pv_error *err)
{
    html_page page = {.title = opt->title,
                      .run_count = j->run_count,
                      .versus = j->run_count == 2 ? &j->versus : NULL,
                      .trees = {.limit = (size_t)(opt->trees * (1 << 20))}};
    pv_buf text = {0};
    for (size_t i = 0; i < j->run_count; i++) {
        page.runs[i] = &j->runs[i];
    }
    pv_status status = html_page_write(&page, &text, err);
    if (status == PV_OK) {
        status = pv_file_replace(opt->page, text.data, text.len, err);
    }
    if (status == PV_OK) {
        printf("%s: %.2f MiB, %zu of %zu problems proved\n", opt->page,
               (double)text.len / (1 << 20), report_run_solved(page.runs[0]),
               page.runs[0]->problem_count);
    }
    html_page_release(&page);
    pv_buf_release(&text);
    return status;
}

exit_code command_report(const options *opt)
{
    job j = {0};
    pv_error err = {0};
    pv_status status = check_options(opt, &err);
    if (status == PV_OK) {
        status = report_stores_open(&j.stores, opt->arguments, opt->argument_count, &err);
    }
    if (status == PV_OK) {
        status = load(&j, opt, &err);
    }
    if (status == PV_OK) {
        status = write_page(&j, opt, &err);
    }
    release(&j);
    return status == PV_OK ? EXIT_PROVED : complain(&err);
}
