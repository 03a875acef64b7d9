#include "chart_scale.h"

#include <math.h>

static const double STEPS[] = {1, 2, 5};

/* The round number at or above x > 0. */
static double round_up(double x)
{
    double power = pow(10, floor(log10(x)));
    for (int i = 0; i < 3; i++) {
        if (STEPS[i] * power >= x * (1 - 1e-12)) {
            return STEPS[i] * power;
        }
    }
    return 10 * power;
}

static double round_down(double x)
{
    double power = pow(10, floor(log10(x) + 1e-12));
    for (int i = 2; i > 0; i--) {
        if (STEPS[i] * power <= x * (1 + 1e-12)) {
            return STEPS[i] * power;
        }
    }
    return power;
}

chart_scale chart_scale_linear(double high, bool whole, double from, double to)
{
    chart_scale s = {.from = from, .to = to};
    high = high > 0 && isfinite(high) ? high : 1;
    double step = round_up(high / 5);
    step = whole && step < 1 ? 1 : step;
    size_t last = (size_t)ceil(high / step - 1e-9);
    s.high = (double)last * step;
    for (size_t i = 0; i <= last && s.tick_count < CHART_TICKS_MAX; i++) {
        s.ticks[s.tick_count++] = (double)i * step;
    }
    return s;
}

chart_scale chart_scale_count(size_t most, double from, double to)
{
    chart_scale s = chart_scale_linear((double)most, true, from, to);
    double step = s.ticks[1];
    s.high = most > 0 ? (double)most : 1;
    while (s.tick_count > 1 && s.ticks[s.tick_count - 1] > s.high - step / 2) {
        s.tick_count--; /* too near to the last one */
    }
    s.ticks[s.tick_count++] = s.high;
    return s;
}

/* Every round number while there are few, else the powers of ten, else every second, third, ... of them. */
static void set_log_ticks(chart_scale *s)
{
    double decades = log10(s->high / s->low);
    if (decades < 2.5) {
        for (double tick = s->low; tick <= s->high * (1 + 1e-9) && s->tick_count < CHART_TICKS_MAX;
             tick = round_up(tick * 1.5)) {
            s->ticks[s->tick_count++] = tick;
        }
        return;
    }
    double every = ceil(decades / 6);
    for (double power = ceil(log10(s->low) - 1e-9);
         power <= log10(s->high) + 1e-9 && s->tick_count < CHART_TICKS_MAX; power += every) {
        s->ticks[s->tick_count++] = pow(10, power);
    }
}

chart_scale chart_scale_log(double low, double high, double from, double to)
{
    chart_scale s = {.from = from, .to = to, .logarithmic = true};
    high = high > 0 && isfinite(high) ? high : 1;
    low = low > 0 && low <= high ? low : high / 1000;
    s.high = round_up(high);
    s.low = round_down(low);
    if (s.high / s.low < 10) {
        s.low = round_down(s.high / 10);
    }
    set_log_ticks(&s);
    return s;
}

double chart_scale_at(const chart_scale *s, double value)
{
    value = value < s->low || isnan(value) ? s->low : value > s->high ? s->high : value;
    double part = s->logarithmic ? log(value / s->low) / log(s->high / s->low)
                                 : (value - s->low) / (s->high - s->low);
    return s->from + part * (s->to - s->from);
}
