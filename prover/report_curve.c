#include "pv_mem.h"
#include "report_data.h"

#include <stdlib.h>

static double spent_in(const report_row *row, report_measure measure)
{
    switch (measure) {
    case REPORT_CLOCK:
        return 0;
    case REPORT_SECONDS:
        return row->seconds;
    case REPORT_TACTICS:
        return (double)row->stats.tactics;
    case REPORT_TOKENS:
        return (double)row->stats.tokens;
    }
    return 0;
}

/* The proof that came first by the clock, which need not be the first by pass. */
static double clock_of(const report_problem *p)
{
    double first = -1;
    for (size_t i = 0; i < p->row_count; i++) {
        const report_row *row = &p->rows[i];
        double at = (double)(row->finished - row->part->run->created);
        if (report_row_proved(row) && (first < 0 || at < first)) {
            first = at > 0 ? at : 0;
        }
    }
    return first;
}

bool report_spent(const report_problem *p, report_measure measure, double *out)
{
    const report_row *proof = report_problem_proof(p);
    if (proof == NULL) {
        return false;
    }
    double sum = measure == REPORT_CLOCK ? clock_of(p) : 0;
    for (const report_row *row = p->rows; row <= proof; row++) {
        sum += spent_in(row, measure);
    }
    *out = sum;
    return true;
}

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double *report_curve(const report_run *run, report_measure measure, size_t *count)
{
    double *values = pv_calloc(run->problem_count + 1, sizeof *values);
    *count = 0;
    for (size_t i = 0; values != NULL && i < run->problem_count; i++) {
        *count += report_spent(&run->problems[i], measure, &values[*count]);
    }
    if (*count > 1) {
        qsort(values, *count, sizeof *values, ascending);
    }
    return values;
}
