/* html_chart: charts as inline SVG, coloured by the page's style. Threads: pure. */
#ifndef HTML_CHART_H
#define HTML_CHART_H

#include "pv_buf.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct chart_line { /* how many values are at most x */
    const double *values;   /* ascending; borrowed */
    size_t count;
} chart_line;

typedef struct chart {
    const char *title, *x_label, *y_label;
    bool logarithmic; /* the horizontal axis */
    size_t most;      /* the top of the vertical one: what can be solved */
    chart_line lines[2];
    size_t line_count;
} chart;

/* A <figure> with a line of steps for each of the chart's lines. */
void html_chart_steps(pv_buf *out, const chart *c);

typedef struct chart_point {
    double x, y; /* > 0 */
    const char *name;
} chart_point;

/* A <figure> with a dot for each point and the line of equal values, both axes logarithmic; the title, y_label and x_label of `c`. */
void html_chart_points(pv_buf *out, const chart *c, const chart_point *points, size_t count);

#endif
