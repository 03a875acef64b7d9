#include "sample_set.h"

#include "pv_mem.h"
#include "search.h"

#include <math.h>
#include <string.h>

typedef struct span {
    const char *text;
    size_t n;
} span;

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static span trim(span s)
{
    while (s.n > 0 && is_blank(s.text[0])) {
        s.text++;
        s.n--;
    }
    while (s.n > 0 && is_blank(s.text[s.n - 1])) {
        s.n--;
    }
    return s;
}

/* What is inside a code fence that the text begins with; the whole text without one. */
static span inside_fence(span s)
{
    if (s.n < 3 || memcmp(s.text, "```", 3) != 0) {
        return s;
    }
    const char *line = memchr(s.text, '\n', s.n);
    if (line == NULL) {
        return (span){s.text, 0};
    }
    span inner = {line + 1, (size_t)(s.text + s.n - line - 1)};
    for (size_t i = 0; i + 3 <= inner.n; i++) {
        if (memcmp(inner.text + i, "```", 3) == 0) {
            inner.n = i;
        }
    }
    return inner;
}

static span tactic_of(const char *text, size_t n)
{
    span s = trim(inside_fence(trim((span){text, n})));
    return memchr(s.text, '\0', s.n) != NULL ? (span){s.text, 0} : s;
}

static sample *find(sample_set *set, span tactic)
{
    for (size_t i = 0; i < set->count; i++) {
        if (strlen(set->items[i].tactic) == tactic.n &&
            memcmp(set->items[i].tactic, tactic.text, tactic.n) == 0) {
            return &set->items[i];
        }
    }
    return NULL;
}

static sample *append(sample_set *set, span tactic)
{
    if (pv_grow((void **)&set->items, &set->capacity, set->count + 1, sizeof *set->items) != 0) {
        return NULL;
    }
    char *copy = pv_strndup(tactic.text, tactic.n);
    if (copy == NULL) {
        return NULL;
    }
    set->items[set->count] = (sample){.tactic = copy, .logprob = -HUGE_VAL};
    return &set->items[set->count++];
}

bool sample_set_add(sample_set *set, const char *text, size_t n, double logprob, uint32_t tokens)
{
    span tactic = n == 0 ? (span){"", 0} : tactic_of(text, n);
    if (tactic.n == 0) {
        sample_set_waste(set, tokens, true);
        return true;
    }
    sample *s = find(set, tactic);
    s = s == NULL ? append(set, tactic) : s;
    if (s == NULL) {
        return false;
    }
    set->answered++;
    set->unscored = set->unscored || isnan(logprob);
    s->logprob = logprob > s->logprob ? logprob : s->logprob;
    s->tokens += tokens;
    s->seen++;
    return true;
}

void sample_set_waste(sample_set *set, uint32_t tokens, bool is_sample)
{
    set->wasted += tokens;
    set->answered += is_sample;
}

static double score(const sample_set *set, const sample *s)
{
    return set->unscored ? log((double)s->seen / set->answered) : s->logprob;
}

void sample_set_deliver(const sample_set *set, search_run *run, uint64_t ticket,
                        const pv_error *failure)
{
    pv_error starved = {0};
    search_candidate *candidates = pv_calloc(set->count + 1, sizeof *candidates);
    size_t n = 0;
    if (candidates == NULL) {
        pv_fail(&starved, PV_E_NOMEM, "out of memory");
        failure = &starved;
    } else {
        for (; n < set->count; n++) {
            const sample *s = &set->items[n];
            candidates[n] = (search_candidate){s->tactic, score(set, s), s->tokens};
        }
        candidates[n++] = (search_candidate){"", 0, set->wasted};
    }
    bool failed = failure != NULL && failure->status != PV_OK;
    search_deliver_candidates(run, ticket, candidates, n, failed ? failure : NULL);
    pv_free(candidates);
}

void sample_set_release(sample_set *set)
{
    for (size_t i = 0; i < set->count; i++) {
        pv_free(set->items[i].tactic);
    }
    pv_free(set->items);
    memset(set, 0, sizeof *set);
}
