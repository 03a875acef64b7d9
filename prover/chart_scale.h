/* chart_scale: from values to places on a page, with round numbers to write beside them. Threads: pure. */
#ifndef CHART_SCALE_H
#define CHART_SCALE_H

#include <stdbool.h>
#include <stddef.h>

enum { CHART_TICKS_MAX = 16 };

typedef struct chart_scale {
    double low, high; /* values */
    double from, to;  /* their places */
    bool logarithmic;
    double ticks[CHART_TICKS_MAX];
    size_t tick_count;
} chart_scale;

/* From 0 to the first round number at or above `high`. Whole ticks only when `whole`. */
chart_scale chart_scale_linear(double high, bool whole, double from, double to);

/* From 0 to exactly `most` > 0, with `most` as the last tick: for what can be counted. */
chart_scale chart_scale_count(size_t most, double from, double to);

/* From the round number (1, 2, 5 times a power of ten) at or below `low` to that at or above `high`. low <= 0 is taken for a thousandth
 * of high; the two are at least a factor of 10 apart. */
chart_scale chart_scale_log(double low, double high, double from, double to);

/* The place of a value; values outside are moved to the end that is nearer. */
double chart_scale_at(const chart_scale *scale, double value);

#endif
