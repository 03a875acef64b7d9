#include "pass_at_k.h"

#include <criterion/criterion.h>
#include <math.h>

/* By counting: of all ways to take k of n attempts, those with a success among them. */
static double by_counting(unsigned n, unsigned c, unsigned k)
{
    uint64_t all = 0, with = 0;
    for (uint32_t set = 0; set < (1u << n); set++) {
        if (__builtin_popcount(set) == (int)k) {
            all++;
            with += (set & ((1u << c) - 1)) != 0;
        }
    }
    return (double)with / (double)all;
}

Test(pass_at_k, equals_the_share_of_subsets_with_a_success)
{
    for (unsigned n = 1; n <= 9; n++) {
        for (unsigned c = 0; c <= n; c++) {
            for (unsigned k = 1; k <= n; k++) {
                cr_expect_float_eq(pass_at_k(n, c, k), by_counting(n, c, k), 1e-12, "%u %u %u", n,
                                   c, k);
            }
        }
    }
    cr_expect_float_eq(pass_at_k(8192, 1, 8192), 1, 1e-12);
    cr_expect_float_eq(pass_at_k(8192, 1, 1), 1.0 / 8192, 1e-12);
}

/* The ends of Wilson's interval are the p with |observed - p| = z sqrt(p (1 - p) / n): its definition. */
Test(pass_at_k, interval_solves_its_equation)
{
    const double z = 1.959963984540054;
    for (unsigned n = 1; n <= 244; n += 27) {
        for (unsigned c = 0; c <= n; c += 3) {
            double p = (double)c / n, low, high;
            pass_interval(p, n, &low, &high);
            cr_expect_float_eq(p - low, z * sqrt(low * (1 - low) / n), 1e-9);
            cr_expect_float_eq(high - p, z * sqrt(high * (1 - high) / n), 1e-9);
        }
    }
}

Test(pass_at_k, problems_without_enough_attempts_do_not_count)
{
    const pass_count counts[] = {{4, 4}, {4, 0}, {2, 1}, {0, 0}};
    pass_estimate one = pass_estimate_of(counts, 4, 1), four = pass_estimate_of(counts, 4, 4);
    cr_expect_eq(one.problems, 3);
    cr_expect_float_eq(one.value, 0.5, 1e-12);
    cr_expect_eq(four.problems, 2);
    cr_expect_float_eq(four.value, 0.5, 1e-12);
    cr_expect(four.low < one.low && four.high > one.high);
    pass_estimate none = pass_estimate_of(counts, 4, 9);
    cr_expect_eq(none.problems, 0);
    cr_expect(none.low <= 0 && none.high >= 1);
}

Test(pass_at_k, tables_have_powers_of_two_and_the_last)
{
    static const uint64_t expected[] = {1, 2, 4, 8, 11, 0};
    uint64_t k = 1;
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++) {
        cr_expect_eq(k, expected[i]);
        k = k == 0 ? 0 : pass_next_k(k, 11);
    }
    cr_expect_eq(pass_next_k(1, 1), 0);
    cr_expect_eq(pass_next_k(4, 8), 8);
}
