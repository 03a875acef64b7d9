#include "search_portfolio.h"

#include "pv_mem.h"
#include "search.h"
#include "search_portfolio_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { WANTED_DEFAULT = 64, CANDIDATE_BYTES_MAX = 16384 };

/* Goal texts hold names chosen by whoever wrote the statement, and templates quote them; no candidate carries these. */
static const char *const forbidden[] = {
    "sorry",    "admit",          "native_decide", "axiom",         "unsafe",
    "ofReduce", "implemented_by", "extern",        "trustCompiler", "#",
    "elab",     "macro",          "run_tac",       "IO.",           "stop",
};

static const char *const closers[] = {
    "rfl",   "assumption",    "contradiction",    "omega",         "decide", "simp", "simp_all",
    "grind", "intros; omega", "intros; simp_all", "intros; grind",
};

const char *const *search_portfolio_closers(size_t *count)
{
    *count = sizeof closers / sizeof *closers;
    return closers;
}

static bool is_allowed(const char *tactic)
{
    for (size_t k = 0; k < sizeof forbidden / sizeof *forbidden; k++) {
        if (strstr(tactic, forbidden[k]) != NULL) {
            return false;
        }
    }
    return tactic[0] != '\0' && strlen(tactic) < CANDIDATE_BYTES_MAX;
}

static int by_weight(const void *a, const void *b)
{
    const struct portfolio_item *x = a, *y = b;
    if (x->weight != y->weight) {
        return x->weight < y->weight ? 1 : -1;
    }
    return (x->at > y->at) - (x->at < y->at);
}

/* Drops what is forbidden or repeated, keeps the best `wanted`. */
static void select_items(portfolio_list *list, size_t wanted)
{
    const char *text = pv_buf_text(&list->text);
    qsort(list->items, list->count, sizeof *list->items, by_weight);
    size_t kept = 0;
    for (size_t i = 0; i < list->count && kept < wanted; i++) {
        bool fresh = is_allowed(text + list->items[i].at);
        for (size_t k = 0; k < kept && fresh; k++) {
            fresh = strcmp(text + list->items[k].at, text + list->items[i].at) != 0;
        }
        if (fresh) {
            list->items[kept++] = list->items[i];
        }
    }
    list->count = kept;
}

/* Softmax of the weights. */
static void fill_candidates(const portfolio_list *list, search_candidate *out)
{
    double sum = 0;
    for (size_t i = 0; i < list->count; i++) {
        sum += exp(list->items[i].weight);
    }
    for (size_t i = 0; i < list->count; i++) {
        out[i] = (search_candidate){.tactic = pv_buf_text(&list->text) + list->items[i].at,
                                    .logprob = fmin(0, list->items[i].weight - log(sum))};
    }
}

/* A step that loses nothing comes alone with the closing tactics: whatever else there is, the goal after it offers too. */
static void add_all(portfolio_list *list)
{
    portfolio_add_closers(list);
    if (portfolio_add_intros(list) || portfolio_add_taken(list) || portfolio_add_safe(list)) {
        return;
    }
    portfolio_add_table(list);
    portfolio_add_logic(list);
    portfolio_add_residues(list);
    portfolio_add_powers(list);
    portfolio_add_bounds(list);
    portfolio_add_cases(list);
    portfolio_add_divisors(list);
    portfolio_add_hints(list);
    portfolio_add_witnesses(list);
    portfolio_add_recurrences(list);
}

pv_status portfolio_gather(portfolio_list *list, const char *text, portfolio_more *more, void *user,
                           pv_error *err)
{
    pv_buf scratch = {0};
    portfolio_goal *goal = pv_calloc(1, sizeof *goal);
    if (goal != NULL) {
        portfolio_goal_parse(goal, text, &scratch);
        list->goal = goal;
        add_all(list);
        if (more != NULL) {
            more(user, list);
        }
    }
    bool complete = goal != NULL && pv_buf_ok(&scratch) && !list->failed;
    list->goal = NULL;
    pv_buf_release(&scratch);
    pv_free(goal);
    return complete ? PV_OK
                    : pv_fail(err, PV_E_NOMEM, "portfolio: no memory for the candidates of a goal");
}

pv_status portfolio_choose(portfolio_list *list, size_t wanted, search_candidate **out,
                           pv_error *err)
{
    select_items(list, wanted > 0 ? wanted : WANTED_DEFAULT);
    *out = pv_calloc(list->count + 1, sizeof **out);
    if (*out == NULL) {
        return pv_fail(err, PV_E_NOMEM, "portfolio: no memory for %zu candidates", list->count);
    }
    fill_candidates(list, *out);
    return PV_OK;
}

pv_status portfolio_candidates(portfolio_list *list, const char *goal, size_t wanted,
                               search_candidate **out, pv_error *err)
{
    pv_status status = portfolio_gather(list, goal, NULL, NULL, err);
    return status == PV_OK ? portfolio_choose(list, wanted, out, err) : status;
}

pv_status search_portfolio_each(const char *goal, size_t wanted, search_portfolio_take *take,
                                void *user, pv_error *err)
{
    portfolio_list list = {0};
    search_candidate *candidates = NULL;
    pv_status status = portfolio_candidates(&list, goal, wanted, &candidates, err);
    for (size_t i = 0; status == PV_OK && i < list.count; i++) {
        take(user, &candidates[i]);
    }
    pv_free(candidates);
    portfolio_list_release(&list);
    return status;
}

static pv_status propose(void *self, const search_policy_request *request, pv_error *err)
{
    (void)self;
    portfolio_list list = {0};
    search_candidate *candidates = NULL;
    const char *goal = request->goal_count > 0 ? request->goals[0] : "";
    pv_status status = portfolio_candidates(&list, goal, request->wanted, &candidates, err);
    if (status == PV_OK) {
        search_deliver_candidates(request->run, request->ticket, candidates, list.count, NULL);
    }
    pv_free(candidates);
    portfolio_list_release(&list);
    return status;
}

search_policy search_portfolio(void)
{
    static const search_policy_ops ops = {.name = "portfolio", .propose = propose};
    return (search_policy){.ops = &ops};
}
