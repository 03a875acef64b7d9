#include "engine_pretokenizer.h"

#include "pv_utf8.h"

#include <string.h>

typedef struct run {
    const enginep_pretokenizer *p;
    const enginep_pieces *to;
    pv_error *err;
} run;

typedef struct segment {
    size_t begin;
    size_t end;
    bool is_match;
} segment;

typedef struct joiner { /* turns the segments of one piece into the pieces of the next stage */
    run *r;
    size_t stage;
    const char *text;
    segment held; /* not handed on yet, when has_held */
    bool has_held;
    bool was_match; /* the segment before the current one */
} joiner;

static pv_status run_stage(run *r, size_t stage, const char *text, size_t n);

static pv_status hand_on(const joiner *j, size_t begin, size_t end)
{
    return begin == end ? PV_OK : run_stage(j->r, j->stage + 1, j->text + begin, end - begin);
}

static pv_status flush(joiner *j)
{
    if (!j->has_held) {
        return PV_OK;
    }
    j->has_held = false;
    return hand_on(j, j->held.begin, j->held.end);
}

static pv_status hold(joiner *j, segment s)
{
    pv_status status = flush(j);
    j->held = s;
    j->has_held = true;
    return status;
}

/* A match that directly precedes something else joins it. */
static pv_status join_next(joiner *j, segment s)
{
    if (s.is_match) {
        return hold(j, s);
    }
    size_t begin = j->has_held ? j->held.begin : s.begin;
    j->has_held = false;
    return hand_on(j, begin, s.end);
}

static pv_status join(joiner *j, segment s)
{
    bool was_match = j->was_match;
    bool extends = false;
    j->was_match = s.is_match;
    switch (j->r->p->stages[j->stage].behavior) {
    case ENGINEP_REMOVED:
        return s.is_match ? PV_OK : hand_on(j, s.begin, s.end);
    case ENGINEP_MERGED_WITH_NEXT:
        return join_next(j, s);
    case ENGINEP_CONTIGUOUS:
        extends = j->has_held && s.is_match == was_match;
        break;
    case ENGINEP_MERGED_WITH_PREVIOUS:
        extends = j->has_held && s.is_match && !was_match;
        break;
    default:
        return hand_on(j, s.begin, s.end);
    }
    if (extends) {
        j->held.end = s.end;
        return PV_OK;
    }
    return hold(j, s);
}

static size_t step_over(const char *text, size_t n, size_t at)
{
    uint32_t c;
    size_t len = at < n ? pv_utf8_decode(text + at, n - at, &c) : 0;
    return at + (len == 0 ? 1 : len);
}

/* The next match that is not an empty one right after the last; Oniguruma's iterator does the same. */
static pv_status next_match(const run *r, const enginep_stage *stage, const char *text, size_t n,
                            size_t *from, bool *matched, enginep_match *m)
{
    for (;;) {
        m->found = false;
        if (*from > n) {
            return PV_OK;
        }
        pv_status status =
            enginep_regex_find(stage->regex, r->to->matcher, text, n, *from, m, r->err);
        if (status != PV_OK || !m->found) {
            return status;
        }
        if (m->begin != m->end || !*matched || m->end != *from) {
            *matched = true;
            *from = m->end;
            return PV_OK;
        }
        *from = step_over(text, n, *from);
        *matched = false;
    }
}

static pv_status split(run *r, size_t index, const char *text, size_t n)
{
    const enginep_stage *stage = &r->p->stages[index];
    joiner j = {.r = r, .stage = index, .text = text};
    size_t done = 0; /* bytes handed to the joiner */
    size_t from = 0;
    bool matched = false;
    pv_status status = PV_OK;
    while (status == PV_OK) {
        enginep_match m;
        status = next_match(r, stage, text, n, &from, &matched, &m);
        if (status != PV_OK || !m.found) {
            break;
        }
        if (m.begin > done) {
            segment between = {done, m.begin, stage->invert};
            status = join(&j, between);
        }
        segment match = {m.begin, m.end, !stage->invert};
        status = status == PV_OK ? join(&j, match) : status;
        done = m.end;
    }
    if (status == PV_OK && done < n) {
        segment rest = {done, n, stage->invert};
        status = join(&j, rest);
    }
    return status == PV_OK ? flush(&j) : status;
}

static pv_status run_stage(run *r, size_t stage, const char *text, size_t n)
{
    if (stage == r->p->count) {
        return r->to->emit(r->to->user, text, n, r->err);
    }
    const enginep_stage *s = &r->p->stages[stage];
    if (s->prefix_space && text[0] != ' ') {
        pv_buf *prefixed = r->to->scratch; /* one is enough: this stage is the last */
        pv_buf_clear(prefixed);
        pv_buf_putc(prefixed, ' ');
        pv_buf_append(prefixed, text, n);
        if (!pv_buf_ok(prefixed)) {
            pv_buf_release(prefixed);
            return pv_fail(r->err, PV_E_NOMEM, "out of memory while splitting text");
        }
        text = prefixed->data;
        n = prefixed->len;
    }
    return s->regex == NULL ? run_stage(r, stage + 1, text, n) : split(r, stage, text, n);
}

pv_status enginep_pretokenizer_run(const enginep_pretokenizer *p, const enginep_pieces *to,
                                   const char *text, size_t n, pv_error *err)
{
    run r = {p, to, err};
    return n == 0 ? PV_OK : run_stage(&r, 0, text, n);
}

void enginep_pretokenizer_release(enginep_pretokenizer *p)
{
    for (size_t i = 0; i < p->count; i++) {
        enginep_regex_free(p->stages[i].regex);
    }
    memset(p, 0, sizeof *p);
}
