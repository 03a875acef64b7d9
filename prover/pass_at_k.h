/* pass_at_k: how likely it is that one of k attempts at a problem succeeds, from n attempts at each of many. Threads: pure.
 *
 * The estimate for one problem with c successes in n attempts is 1 - C(n-c, k) / C(n, k), without bias for k <= n (Chen et al.,
 * "Evaluating Large Language Models Trained on Code", arXiv 2107.03374, equation 1); for a benchmark it is the mean over problems.
 * The interval is Wilson's score interval (E. B. Wilson, J. Am. Stat. Assoc. 22, 1927, 209-212) at 95 %, of the mean over the number
 * of problems. A value in [0, 1] with mean p varies by at most p (1 - p), which is what Wilson's interval assumes of a yes-or-no, so for
 * k < n it errs on the wide side. It speaks about problems like these, and not about other seeds on the same problems. */
#ifndef PASS_AT_K_H
#define PASS_AT_K_H

#include <stddef.h>
#include <stdint.h>

/* One problem: c of n attempts succeeded. */
typedef struct pass_count {
    uint64_t n, c;
} pass_count;

typedef struct pass_estimate {
    uint64_t k;
    size_t problems; /* those with at least k attempts; the others do not count */
    double value, low, high;
} pass_estimate;

/* c <= n, 1 <= k <= n. */
double pass_at_k(uint64_t n, uint64_t c, uint64_t k);

/* Wilson's interval of proportion p in n > 0 observations. */
void pass_interval(double p, size_t n, double *low, double *high);

/* Over `count` problems. Without one that has k attempts: problems 0, value 0, low 0, high 1. */
pass_estimate pass_estimate_of(const pass_count *counts, size_t count, uint64_t k);

/* The k that tables have a line for: 1, 2, 4, ... and `passes`, the last. The one behind k; 0: none. */
uint64_t pass_next_k(uint64_t k, uint64_t passes);

#endif
