#include "search_premises_policy.h"

#include "pv_mem.h"
#include "search.h"
#include "search_portfolio_internal.h"

#include <math.h>
#include <stdlib.h>

enum { HITS = 40, INJECTIVE_HITS = 3, SIMP_LEMMAS = 6, GRIND_LEMMAS = 8, MORE_LEMMAS = 16 };

/* A side that is there so far may be rewritten. */
static const double SIDE_THERE = 0.97;

typedef struct finding {
    search_premise_hit hits[HITS], injective[INJECTIVE_HITS];
    size_t hit_count, injective_count;
} finding;

typedef bool suits(const search_premise_hit *hit);

static bool any_suits(const search_premise_hit *hit)
{
    (void)hit;
    return true;
}

static bool applies(const search_premise_hit *hit)
{
    return !hit->foreign;
}

static bool rewrites(const search_premise_hit *hit)
{
    return !hit->foreign && hit->shape != SEARCH_PREMISE_FACT && hit->left >= SIDE_THERE;
}

static bool rewrites_back(const search_premise_hit *hit)
{
    return !hit->foreign && hit->shape != SEARCH_PREMISE_FACT && hit->right >= SIDE_THERE;
}

static bool simplifies(const search_premise_hit *hit)
{
    return hit->shape == SEARCH_PREMISE_FACT || hit->left >= SIDE_THERE;
}

/* "a, b, c": the names of the first `max` hits that suit; their number. */
static size_t put_names(pv_buf *out, const finding *f, suits *does, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < f->hit_count && n < max; i++) {
        if (does(&f->hits[i])) {
            pv_buf_printf(out, "%s%s", n++ == 0 ? "" : ", ", f->hits[i].name);
        }
    }
    return n;
}

/* One candidate for each of the first `max` hits that suit; "%s" in the form is the name. The weight sinks with the rank. */
static void add_each(portfolio_list *list, const finding *f, suits *does, size_t max, double weight,
                     const char *before, const char *after)
{
    size_t n = 0;
    for (size_t i = 0; i < f->hit_count && n < max; i++) {
        if (does(&f->hits[i])) {
            portfolio_add(list, weight - 0.1 * (double)n++, "%s%s%s", before, f->hits[i].name,
                          after);
        }
    }
}

typedef struct form {
    const char *before, *after;
    double weight;
    bool equation; /* only for a target `=`                        */
    bool numeric;  /* omega may have the rest                      */
} form;

/* Around a list of names. */
static const form simp_forms[] = {
    {"simp [", "]", 3.6, false, false},
    {"simp_all [", "]", 3.5, false, false},
    {"ext <;> simp [", "]", 2.2, true, false},
};

static const form grind_forms[] = {
    {"grind [", "]", 1.0, false, false},
};

static void add_forms(portfolio_list *list, const form *forms, size_t count, const char *names)
{
    bool equation = list->goal->target.head == PORTFOLIO_EQ;
    for (size_t i = 0; i < count; i++) {
        if (equation || !forms[i].equation) {
            portfolio_add(list, forms[i].weight, "%s%s%s", forms[i].before, names, forms[i].after);
        }
    }
}

#define COUNT_OF(table) (sizeof(table) / sizeof *(table))

static void add_lists(portfolio_list *list, const finding *f)
{
    pv_buf simp = {0}, grind = {0};
    if (put_names(&simp, f, simplifies, SIMP_LEMMAS) > 0) {
        add_forms(list, simp_forms, COUNT_OF(simp_forms), pv_buf_text(&simp));
    }
    if (put_names(&grind, f, any_suits, GRIND_LEMMAS) > 0) {
        add_forms(list, grind_forms, COUNT_OF(grind_forms), pv_buf_text(&grind));
    }
    list->failed = list->failed || !pv_buf_ok(&simp) || !pv_buf_ok(&grind);
    pv_buf_release(&simp);
    pv_buf_release(&grind);
}

/* An equation follows from, or is the same as, one of images. */
static void add_injective(portfolio_list *list, const finding *f)
{
    pv_buf simp = {0};
    size_t n = put_names(&simp, f, simplifies, SIMP_LEMMAS);
    const char *comma = n > 0 ? ", " : "";
    for (size_t i = 0; i < f->injective_count; i++) {
        const search_premise_hit *hit = &f->injective[i];
        double weight = 3.0 - 0.3 * (double)i;
        if (hit->shape == SEARCH_PREMISE_IFF) {
            portfolio_add(list, weight, "simp [← %s%s%s]", hit->name, comma, pv_buf_text(&simp));
            portfolio_add(list, weight - 0.5, "rw [← %s]", hit->name);
        } else {
            portfolio_add(list, weight, "apply %s <;> simp%s%s%s", hit->name, n > 0 ? " [" : "",
                          pv_buf_text(&simp), n > 0 ? "]" : "");
            portfolio_add(list, weight - 0.5, "apply %s", hit->name);
        }
    }
    list->failed = list->failed || !pv_buf_ok(&simp);
    pv_buf_release(&simp);
}

static void add_all(void *user, portfolio_list *list)
{
    const finding *f = user;
    portfolio_head head = list->goal->target.head;
    if (f->hit_count == 0 || head == PORTFOLIO_FORALL || head == PORTFOLIO_IMPLIES) {
        return; /* what is to be introduced comes first */
    }
    add_lists(list, f);
    if (head == PORTFOLIO_EQ) {
        add_injective(list, f);
    }
    add_each(list, f, rewrites, 8, 3.8, "rw [", "]");
    add_each(list, f, applies, 10, 4.0, "apply ", "");
    add_each(list, f, rewrites_back, 3, 2.4, "rw [← ", "]");
    add_each(list, f, rewrites, 3, 2.6, "simp [", "]");
    if (getenv("PREM_EXP")) {
        add_each(list, f, applies, 2, -5, "apply ", " <;> simp_all");
        add_each(list, f, applies, 2, -5, "apply ", " <;> omega");
        add_each(list, f, applies, 2, -5, "exact Iff.symm ", "");
        add_each(list, f, rewrites, 3, -5, "rw [", "] <;> simp_all");
        add_each(list, f, rewrites, 2, -5, "rw [", "] <;> omega");
        add_each(list, f, applies, 5, -5, "have := @", "; simp_all");
        add_each(list, f, applies, 2, -5, "have := @", "; grind");
        add_each(list, f, applies, 2, -5, "grind [", "]");
        add_each(list, f, applies, 3, -5, "simpa using ", " ..");
        pv_buf a = {0}, b = {0}, c = {0};
        if (put_names(&a, f, simplifies, 6) > 0) {
            portfolio_add(list, -6, "ext <;> simp_all [%s]", pv_buf_text(&a));
        }
        if (put_names(&b, f, any_suits, 4) > 0) {
            portfolio_add(list, -6, "grind [%s]", pv_buf_text(&b));
        }
        pv_buf_clear(&a);
        if (put_names(&a, f, any_suits, 16) > 0) {
            portfolio_add(list, -6, "simp [%s]", pv_buf_text(&a));
            portfolio_add(list, -6, "simp_all [%s]", pv_buf_text(&a));
        }
        if (put_names(&c, f, applies, 8) > 0) {
            portfolio_add(list, -6, "grind [%s]", pv_buf_text(&c));
            portfolio_add(list, -6, "solve_by_elim [%s]", pv_buf_text(&c));
        }
        pv_buf_clear(&c);
        if (put_names(&c, f, rewrites, 8) > 0) {
            portfolio_add(list, -6, "simp [%s]", pv_buf_text(&c));
            portfolio_add(list, -6, "simp_all [%s]", pv_buf_text(&c));
        }
        pv_buf_release(&a), pv_buf_release(&b), pv_buf_release(&c);
    }
}

static pv_status find(const search_premises_policy *policy, const char *goal, finding *f,
                      pv_error *err)
{
    search_premises_query query = {.goal = goal, .skip = policy->skip};
    pv_status status = search_premises_find(policy->set, &query, f->hits, HITS, &f->hit_count, err);
    if (status == PV_OK) {
        query.injective = true;
        status = search_premises_find(policy->set, &query, f->injective, INJECTIVE_HITS,
                                      &f->injective_count, err);
    }
    return status;
}

static pv_status propose(void *self, const search_policy_request *request, pv_error *err)
{
    portfolio_list list = {0};
    search_candidate *candidates = NULL;
    const char *goal = request->goal_count > 0 ? request->goals[0] : "";
    finding f = {0};
    pv_status status = find(self, goal, &f, err);
    if (status == PV_OK) {
        status = portfolio_gather(&list, goal, add_all, &f, err);
    }
    if (status == PV_OK) {
        status = portfolio_choose(&list, request->wanted, &candidates, err);
    }
    if (status == PV_OK) {
        search_deliver_candidates(request->run, request->ticket, candidates, list.count, NULL);
    }
    pv_free(candidates);
    portfolio_list_release(&list);
    return status;
}

search_policy search_premises_policy_table(search_premises_policy *policy)
{
    static const search_policy_ops ops = {.name = "premises", .propose = propose};
    search_policy table = {&ops, policy};
    return table;
}
