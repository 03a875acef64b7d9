#include "search_premises_policy.h"

#include "pv_mem.h"
#include "search.h"
#include "search_portfolio_internal.h"

#include <string.h>

enum { HITS = 40, INJECTIVE_HITS = 3, IMAGE_LEMMAS = 6 };

/* A side that is there so far may be rewritten. */
static const double SIDE_THERE = 0.97;

typedef struct finding {
    const search_premises_policy *policy;
    search_premise_hit hits[HITS], injective[INJECTIVE_HITS];
    bool image[HITS]; /* of the type that an injective map leads to: no stranger */
    size_t hit_count, injective_count;
} finding;

/* Whether a form may take hit i. */
typedef bool suits(const finding *f, size_t i);

static bool applies(const finding *f, size_t i)
{
    return !f->hits[i].foreign;
}

static bool rewrites(const finding *f, size_t i)
{
    const search_premise_hit *hit = &f->hits[i];
    return !hit->foreign && hit->shape != SEARCH_PREMISE_FACT && hit->left >= SIDE_THERE;
}

static bool rewrites_back(const finding *f, size_t i)
{
    const search_premise_hit *hit = &f->hits[i];
    return !hit->foreign && hit->shape != SEARCH_PREMISE_FACT && hit->right >= SIDE_THERE;
}

static bool simplifies(const finding *f, size_t i)
{
    const search_premise_hit *hit = &f->hits[i];
    return (!hit->foreign || f->image[i]) &&
           (hit->shape == SEARCH_PREMISE_FACT || hit->left >= SIDE_THERE);
}

static bool helps(const finding *f, size_t i)
{
    return !f->hits[i].foreign || f->image[i];
}

/* What a form looks at and takes. */
typedef enum form_kind {
    FORM_EACH,   /* each of the first `count` hits by itself      */
    FORM_LIST,   /* the names of the first `count` in one list    */
    FORM_INDUCT, /* a list, for each value to do induction on     */
} form_kind;

enum { FORM_SIMP = 1, FORM_GRIND = 2, FORM_EQUATION = 4, FORM_SIMP_ONLY = 8 };

typedef struct form {
    form_kind kind;
    suits *does;
    size_t count;
    double weight; /* of the first */
    const char *before;
    const char *after;
    unsigned
        flags; /* what it uses; FORM_EQUATION: only for a target `=`; FORM_SIMP_ONLY: only where `simp` must not be used */
} form;

/* What is cheap to try comes first: `apply` and `rw` take 10 ms, lists for simp 50 to 100, grind 200 and more. */
static const form forms[] = {
    {FORM_EACH, applies, 6, 4.0, "apply ", "", 0},
    {FORM_LIST, helps, 4, 3.87, "grind [", "]", FORM_GRIND},
    {FORM_EACH, applies, 3, 3.7, "have := @", "; simp_all", FORM_SIMP},
    {FORM_LIST, applies, 8, 3.6, "solve_by_elim [", "]", 0},
    {FORM_LIST, simplifies, 8, 3.5, "simp_all [", "]", FORM_SIMP},
    {FORM_LIST, simplifies, 8, 3.45, "simp [", "]", FORM_SIMP},
    {FORM_LIST, rewrites, 6, 3.45, "simp only [", "]", FORM_SIMP_ONLY},
    {FORM_EACH, rewrites, 6, 3.4, "rw [", "]", 0},
    {FORM_LIST, simplifies, 8, 3.3, "ext <;> simp [", "]", FORM_SIMP | FORM_EQUATION},
    {FORM_EACH, applies, 2, 3.15, "apply ", " <;> simp_all", FORM_SIMP},
    {FORM_EACH, applies, 1, 3.1, "apply ", " <;> omega", 0},
    {FORM_LIST, helps, 8, 3.0, "grind [", "]", FORM_GRIND},
    {FORM_EACH, rewrites_back, 3, 2.9, "rw [← ", "]", 0},
    {FORM_EACH, rewrites, 3, 2.8, "simp [", "]", FORM_SIMP},
    {FORM_EACH, applies, 1, 2.5, "grind [", "]", FORM_GRIND},
    {FORM_INDUCT, simplifies, 6, 2.3, "simp_all [", "]", FORM_SIMP},
    {FORM_LIST, helps, 4, 2.25, "ext <;> grind [", "]", FORM_GRIND | FORM_EQUATION},
    {FORM_LIST, helps, 14, 2.2, "grind [", "]", FORM_GRIND},
    {FORM_INDUCT, helps, 4, 2.1, "grind [", "]", FORM_GRIND},
};

static const double RANK_STEP = 0.05; /* by which the weight sinks from hit to hit */

enum { INDUCTIONS = 2 };

/* "a, b, c": the names of the first `max` hits that suit; their number. */
static size_t put_names(pv_buf *out, const finding *f, suits *does, size_t max)
{
    size_t n = 0;
    for (size_t i = 0; i < f->hit_count && n < max; i++) {
        if (does(f, i)) {
            pv_buf_printf(out, "%s%s", n++ == 0 ? "" : ", ", f->hits[i].name);
        }
    }
    return n;
}

static void add_each(portfolio_list *list, const finding *f, const form *way)
{
    size_t n = 0;
    for (size_t i = 0; i < f->hit_count && n < way->count; i++) {
        if (way->does(f, i)) {
            portfolio_add(list, way->weight - RANK_STEP * (double)n++, "%s%s%s", way->before,
                          f->hits[i].name, way->after);
        }
    }
}

static void add_list(portfolio_list *list, const finding *f, const form *way)
{
    pv_buf names = {0};
    if (put_names(&names, f, way->does, way->count) > 0) {
        portfolio_add(list, way->weight, "%s%s%s", way->before, pv_buf_text(&names), way->after);
    }
    list->failed = list->failed || !pv_buf_ok(&names);
    pv_buf_release(&names);
}

/* The first values of the target that have an induction. */
static void add_inductions(portfolio_list *list, const finding *f, const form *way)
{
    const portfolio_goal *goal = list->goal;
    pv_buf names = {0};
    size_t n = put_names(&names, f, way->does, way->count) > 0 ? 0 : INDUCTIONS;
    for (size_t i = 0; i < goal->hyp_count && n < INDUCTIONS; i++) {
        const portfolio_hyp *x = &goal->hyps[i];
        bool inductive = x->kind == PORTFOLIO_NAT || x->kind == PORTFOLIO_LIST;
        if (inductive && x->nameable && portfolio_has_word(goal->target.text, x->name)) {
            portfolio_add(list, way->weight - RANK_STEP * (double)n++, "induction %.*s <;> %s%s%s",
                          PORTFOLIO_FMT(x->name), way->before, pv_buf_text(&names), way->after);
        }
    }
    list->failed = list->failed || !pv_buf_ok(&names);
    pv_buf_release(&names);
}

static void add_form(portfolio_list *list, const finding *f, const form *way)
{
    bool equation = list->goal->target.head == PORTFOLIO_EQ;
    unsigned flags = way->flags;
    if (((flags & FORM_SIMP) != 0 && f->policy->no_simp) ||
        ((flags & FORM_GRIND) != 0 && f->policy->no_grind) ||
        ((flags & FORM_SIMP_ONLY) != 0 && !f->policy->no_simp) ||
        ((flags & FORM_EQUATION) != 0 && !equation)) {
        return;
    }
    switch (way->kind) {
    case FORM_EACH:
        add_each(list, f, way);
        break;
    case FORM_LIST:
        add_list(list, f, way);
        break;
    case FORM_INDUCT:
        add_inductions(list, f, way);
        break;
    }
}

/* "toNat" in "UInt8.toNat_inj" says that images are of type Nat: lemmas of that namespace are no strangers then. */
static bool is_of_image(const char *lemma, const char *injective)
{
    const char *last = strrchr(injective, '.');
    const char *to = strstr(last == NULL ? injective : last, "to");
    size_t n = to == NULL ? 0 : strcspn(to + 2, "_");
    return n > 0 && to[2] >= 'A' && to[2] <= 'Z' && strncmp(lemma, to + 2, n) == 0 &&
           lemma[n] == '.';
}

static void put_image_names(pv_buf *out, const finding *f)
{
    size_t n = 0;
    for (size_t i = 0; i < f->hit_count && n < IMAGE_LEMMAS; i++) {
        if (simplifies(f, i)) {
            pv_buf_printf(out, ", %s", f->hits[i].name);
            n++;
        }
    }
}

/* An equation follows from, or is the same as, one of images. */
static void add_injective(portfolio_list *list, const finding *f)
{
    for (size_t i = 0; i < f->injective_count; i++) {
        const search_premise_hit *hit = &f->injective[i];
        double weight = 3.35 - RANK_STEP * (double)i;
        if (hit->shape != SEARCH_PREMISE_IFF) {
            portfolio_add(list, weight, "apply %s", hit->name);
            continue;
        }
        pv_buf names = {0};
        put_image_names(&names, f);
        if (!f->policy->no_simp) {
            portfolio_add(list, weight, "simp [← %s%s]", hit->name, pv_buf_text(&names));
        }
        portfolio_add(list, weight - 0.5, "rw [← %s]", hit->name);
        list->failed = list->failed || !pv_buf_ok(&names);
        pv_buf_release(&names);
    }
}

static void add_all(void *user, portfolio_list *list)
{
    const finding *f = user;
    portfolio_head head = list->goal->target.head;
    if (f->hit_count == 0 || head == PORTFOLIO_FORALL || head == PORTFOLIO_IMPLIES) {
        return; /* what is to be introduced comes first */
    }
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        add_form(list, f, &forms[i]);
    }
    if (head == PORTFOLIO_EQ) {
        add_injective(list, f);
    }
}

static pv_status find(const search_premises_policy *policy, const char *goal, finding *f,
                      pv_error *err)
{
    f->policy = policy;
    search_premises_query query = {.goal = goal, .skip = policy->skip};
    pv_status status = search_premises_find(policy->set, &query, f->hits, HITS, &f->hit_count, err);
    if (status == PV_OK) {
        query.injective = true;
        status = search_premises_find(policy->set, &query, f->injective, INJECTIVE_HITS,
                                      &f->injective_count, err);
    }
    for (size_t i = 0; i < f->hit_count; i++) {
        for (size_t k = 0; k < f->injective_count; k++) {
            f->image[i] = f->image[i] || is_of_image(f->hits[i].name, f->injective[k].name);
        }
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
