#include "pv_mem.h"
#include "report_data.h"

#include <math.h>
#include <string.h>

/* The same problem: one name and one text on one header. */
static const report_problem *find(const report_run *run, const report_problem *wanted)
{
    for (size_t i = 0; i < run->problem_count; i++) {
        const report_problem *p = &run->problems[i];
        if (strcmp(p->text_hash, wanted->text_hash) == 0 && strcmp(p->name, wanted->name) == 0 &&
            strcmp(p->header_hash, wanted->header_hash) == 0) {
            return p;
        }
    }
    return NULL;
}

double report_sign_test(size_t x, size_t y)
{
    size_t n = x + y, low = x < y ? x : y;
    double tail = 0;
    for (size_t i = 0; i <= low; i++) {
        tail += exp(lgamma((double)n + 1) - lgamma((double)i + 1) - lgamma((double)(n - i) + 1) -
                    (double)n * log(2));
    }
    return n == 0 || 2 * tail > 1 ? 1 : 2 * tail;
}

static void add_pair(report_versus *v, const report_problem *a, const report_problem *b)
{
    report_pair *pair = &v->pairs[v->count++];
    *pair = (report_pair){a, b, report_problem_proof(a) != NULL, report_problem_proof(b) != NULL};
    if (a == NULL || b == NULL) {
        v->not_in_a += a == NULL;
        v->not_in_b += b == NULL;
        return;
    }
    v->both += pair->a_solved && pair->b_solved;
    v->only_a += pair->a_solved && !pair->b_solved;
    v->only_b += !pair->a_solved && pair->b_solved;
    v->neither += !pair->a_solved && !pair->b_solved;
}

/* Geometric mean of b / a over what both solved. */
static double ratio_of(const report_versus *v, report_measure measure)
{
    double sum = 0;
    size_t n = 0;
    for (size_t i = 0; i < v->count; i++) {
        double a, b;
        const report_pair *pair = &v->pairs[i];
        if (pair->a != NULL && pair->b != NULL && report_spent(pair->a, measure, &a) &&
            report_spent(pair->b, measure, &b) && a > 0 && b > 0) {
            sum += log(b / a);
            n++;
        }
    }
    return n == 0 ? NAN : exp(sum / (double)n);
}

pv_status report_versus_of(report_versus *out, const report_run *a, const report_run *b,
                           pv_error *err)
{
    report_versus v = {.pairs =
                           pv_calloc(a->problem_count + b->problem_count + 1, sizeof *v.pairs)};
    if (v.pairs == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < a->problem_count; i++) {
        add_pair(&v, &a->problems[i], find(b, &a->problems[i]));
    }
    for (size_t i = 0; i < b->problem_count; i++) {
        if (find(a, &b->problems[i]) == NULL) {
            add_pair(&v, NULL, &b->problems[i]);
        }
    }
    v.seconds_ratio = ratio_of(&v, REPORT_SECONDS);
    v.tactics_ratio = ratio_of(&v, REPORT_TACTICS);
    v.sign_test = report_sign_test(v.only_a, v.only_b);
    *out = v;
    return PV_OK;
}

void report_versus_release(report_versus *versus)
{
    pv_free(versus->pairs);
    memset(versus, 0, sizeof *versus);
}
