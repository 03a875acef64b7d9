#include "fixed_policy.h"

#include "pv_mem.h"
#include "search.h"
#include "search_portfolio.h"

#include <string.h>

bool fixed_policy_add(fixed_policy *list, const char *tactic)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->tactics[i], tactic) == 0) {
            return true;
        }
    }
    if (pv_grow((void **)&list->tactics, &list->capacity, list->count + 1, sizeof(char *)) != 0) {
        return false;
    }
    char *copy = pv_strdup(tactic);
    list->tactics[list->count] = copy;
    list->count += copy != NULL;
    return copy != NULL;
}

void fixed_policy_release(fixed_policy *list)
{
    for (size_t i = 0; i < list->count; i++) {
        pv_free(list->tactics[i]);
    }
    pv_free(list->tactics);
    memset(list, 0, sizeof *list);
}

static pv_status propose(void *self, const search_policy_request *request, pv_error *err)
{
    const fixed_policy *list = self;
    search_candidate *candidates = pv_calloc(list->count + 1, sizeof *candidates);
    if (candidates == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < list->count; i++) {
        candidates[i] = (search_candidate){.tactic = list->tactics[i], .logprob = -1};
    }
    search_deliver_candidates(request->run, request->ticket, candidates, list->count, NULL);
    pv_free(candidates);
    return PV_OK;
}

search_policy fixed_policy_table(fixed_policy *list)
{
    static const search_policy_ops ops = {.name = "fixed", .propose = propose};
    search_policy table = {&ops, list};
    return table;
}

bool fixed_policy_is_cheap(const char *tactic)
{
    size_t n = 0;
    const char *const *closers = search_portfolio_closers(&n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(closers[i], tactic) == 0) {
            return true;
        }
    }
    return false;
}

bool fixed_policy_add_cheap(fixed_policy *list, const char *goal)
{
    size_t n = 0;
    const char *const *closers = search_portfolio_closers(&n);
    const char *target = strstr(goal, "⊢");
    bool introduces =
        target != NULL &&
        (strstr(target, "∀") != NULL || strstr(target, "→") != NULL || strstr(target, "¬") != NULL);
    bool ok = true;
    for (size_t i = 0; i < n && ok; i++) {
        if (introduces || strncmp(closers[i], "intro", 5) != 0) {
            ok = fixed_policy_add(list, closers[i]);
        }
    }
    return ok;
}
