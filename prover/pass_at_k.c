#include "pass_at_k.h"

#include <math.h>

static const double Z95 = 1.959963984540054; /* the normal distribution's 97.5 % point */

/* The quotient of binomials as a product, so that nothing overflows. */
double pass_at_k(uint64_t n, uint64_t c, uint64_t k)
{
    double none = 1;
    if (n - c < k) {
        return 1;
    }
    for (uint64_t i = n - c + 1; i <= n; i++) {
        none *= 1 - (double)k / (double)i;
    }
    return 1 - none;
}

void pass_interval(double p, size_t n, double *low, double *high)
{
    double count = (double)n, z2 = Z95 * Z95;
    double middle = (p + z2 / (2 * count)) / (1 + z2 / count);
    double half = Z95 / (1 + z2 / count) * sqrt(p * (1 - p) / count + z2 / (4 * count * count));
    *low = fmax(0, middle - half);
    *high = fmin(1, middle + half);
}

pass_estimate pass_estimate_of(const pass_count *counts, size_t count, uint64_t k)
{
    pass_estimate out = {.k = k, .high = 1};
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        if (counts[i].n >= k) {
            sum += pass_at_k(counts[i].n, counts[i].c, k);
            out.problems++;
        }
    }
    if (out.problems > 0) {
        out.value = sum / (double)out.problems;
        pass_interval(out.value, out.problems, &out.low, &out.high);
    }
    return out;
}

uint64_t pass_next_k(uint64_t k, uint64_t passes)
{
    return k == passes ? 0 : 2 * k < passes ? 2 * k : passes;
}
