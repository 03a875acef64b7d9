#include "html_chart.h"

#include "chart_scale.h"
#include "html_text.h"

/* In the units of the view box, which the page draws about as large as pixels. */
enum { WIDTH = 360, HEIGHT = 248, LEFT = 42, RIGHT = 348, TOP = 12, BOTTOM = 204 };

static void begin(pv_buf *out, const chart *c)
{
    pv_buf_puts(out, "<figure class=\"chart\"><figcaption>");
    html_text(out, c->title);
    pv_buf_printf(out, "</figcaption><svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"", WIDTH,
                  HEIGHT);
    html_text(out, c->title);
    pv_buf_puts(out, "\">\n");
}

static void put_label(pv_buf *out, const char *class, double x, double y, const char *more)
{
    pv_buf_printf(out, "<text class=\"%s\" x=\"%.1f\" y=\"%.1f\"%s>", class, x, y, more);
}

static void put_axes(pv_buf *out, const chart *c, const chart_scale *x, const chart_scale *y)
{
    for (size_t i = 0; i < y->tick_count; i++) {
        double at = chart_scale_at(y, y->ticks[i]);
        pv_buf_printf(out, "<path class=\"grid\" d=\"M%d %.1fH%d\"/>", LEFT, at, RIGHT);
        put_label(out, "tick end", LEFT - 6, at + 3.5, "");
        html_number(out, y->ticks[i]);
        pv_buf_puts(out, "</text>\n");
    }
    for (size_t i = 0; i < x->tick_count; i++) {
        double at = chart_scale_at(x, x->ticks[i]);
        pv_buf_printf(out, "<path class=\"axis\" d=\"M%.1f %dv4\"/>", at, BOTTOM);
        put_label(out, "tick middle", at, BOTTOM + 16, "");
        html_number(out, x->ticks[i]);
        pv_buf_puts(out, "</text>\n");
    }
    pv_buf_printf(out, "<path class=\"axis\" d=\"M%d %dH%d\"/>", LEFT, BOTTOM, RIGHT);
    put_label(out, "name end", RIGHT, HEIGHT - 8, "");
    html_text(out, c->x_label);
    pv_buf_puts(out, "</text>");
    put_label(out, "name end", 0, 0, " transform=\"translate(11 12) rotate(-90)\"");
    html_text(out, c->y_label);
    pv_buf_puts(out, "</text>\n");
}

static void put_line(pv_buf *out, const chart_line *line, size_t index, const chart_scale *x,
                     const chart_scale *y)
{
    pv_buf_printf(out, "<path class=\"line %c\" d=\"M%.1f %.1f", index == 0 ? 'a' : 'b', x->from,
                  chart_scale_at(y, 0));
    for (size_t i = 0; i < line->count; i++) {
        pv_buf_printf(out, "H%.1fV%.1f", chart_scale_at(x, line->values[i]),
                      chart_scale_at(y, (double)(i + 1)));
    }
    pv_buf_printf(out, "H%.1f\"/>\n", x->to);
}

void html_chart_steps(pv_buf *out, const chart *c)
{
    double low = 0, high = 0;
    for (size_t i = 0; i < c->line_count; i++) {
        const chart_line *line = &c->lines[i];
        if (line->count > 0) {
            low = low == 0 || line->values[0] < low ? line->values[0] : low;
            high = line->values[line->count - 1] > high ? line->values[line->count - 1] : high;
        }
    }
    chart_scale x = c->logarithmic ? chart_scale_log(low, high, LEFT, RIGHT)
                                   : chart_scale_linear(high, false, LEFT, RIGHT);
    chart_scale y = chart_scale_count(c->most, BOTTOM, TOP);
    begin(out, c);
    put_axes(out, c, &x, &y);
    for (size_t i = 0; i < c->line_count; i++) {
        put_line(out, &c->lines[i], i, &x, &y);
    }
    pv_buf_puts(out, "</svg></figure>\n");
}

void html_chart_points(pv_buf *out, const chart *c, const chart_point *points, size_t count)
{
    double low = 0, high = 0;
    for (size_t i = 0; i < count; i++) {
        double least = points[i].x < points[i].y ? points[i].x : points[i].y,
               most = points[i].x < points[i].y ? points[i].y : points[i].x;
        low = low == 0 || least < low ? least : low;
        high = most > high ? most : high;
    }
    chart_scale x = chart_scale_log(low, high, LEFT, RIGHT),
                y = chart_scale_log(low, high, BOTTOM, TOP);
    begin(out, c);
    put_axes(out, c, &x, &y);
    pv_buf_printf(out, "<path class=\"equal\" d=\"M%.1f %.1fL%.1f %.1f\"/>\n", x.from, y.from, x.to,
                  y.to);
    for (size_t i = 0; i < count; i++) {
        pv_buf_printf(out, "<circle class=\"dot\" cx=\"%.1f\" cy=\"%.1f\" r=\"3\"><title>",
                      chart_scale_at(&x, points[i].x), chart_scale_at(&y, points[i].y));
        html_text(out, points[i].name);
        pv_buf_puts(out, "</title></circle>\n");
    }
    pv_buf_puts(out, "</svg></figure>\n");
}
