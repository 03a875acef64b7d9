/* The schemas that need no more than a look at one line of the goal: a table of triggers, weights and templates. */
#include "search_portfolio_internal.h"

#include <string.h>

#define BIT(x) (1u << (x))

/* What a row looks at; it adds one candidate for each thing found. */
typedef enum scope {
    SCOPE_TARGET, /* heads: the target's. $l $r its sides, $t all of it                        */
    SCOPE_PROOF,  /* heads: a proof's. $h its name, $l $r its sides                            */
    SCOPE_VALUE, /* kinds: a value's that the goal speaks of. $x its name, $g the others to generalise */
} scope;

/* Further conditions, on the goal's text or on what the row looks at. */
typedef enum need {
    /* the goal */
    NEED_IF = 1 << 0,           /* "if" or "match" in the target                                */
    NEED_ARITHMETIC = 1 << 1,   /* Nat or Int is spoken of                                      */
    NEED_PRODUCT = 1 << 2,      /* " * " or " ^ " somewhere                                     */
    NEED_FALSE_TARGET = 1 << 3, /* the target is False                                          */
    NEED_OTHER_TARGET = 1 << 4, /* the target is not False                                      */
    NEED_FUNCTION = 1 << 5,     /* "fun" in the target or a function among the values           */
    NEED_NO_INDUCTION = 1 << 6, /* the target speaks of no Nat and of no List                   */
    NEED_WILD = 1 << 7, /* a proof "∀ ..., ∃ ...": grind would make terms without end   */
    NEED_TAME = 1 << 8, /* no such proof                                                */
    /* a proof */
    NEED_VARIABLE_SIDE = 1 << 9,    /* an equation with a lone variable on one side             */
    NEED_LEFT_IN_TARGET = 1 << 10,  /* the left side occurs in the target                       */
    NEED_RIGHT_IN_TARGET = 1 << 11, /* the right side does, and it is no literal                */
    NEED_IF_HERE = 1 << 12,         /* "if" or "match" in its type                              */
    NEED_NO_POWER = 1 << 13,        /* no " ^ " in its type: replacing is cheap                 */
    /* a value */
    NEED_VALUE_IN_TARGET = 1 << 14, /* the target mentions it                                   */
    NEED_NOT_IN_TARGET = 1 << 15,   /* only proofs mention it                                   */
    NEED_OTHERS = 1 << 16,          /* there are other values to generalise                     */
    NEED_UNBOUND = 1 << 17,         /* no proof relates it to anything                          */
} need;

typedef struct row {
    scope scope;
    unsigned mask; /* heads or kinds */
    unsigned needs;
    double weight;
    const char *form;
} row;

#define ANY_HEAD (~0u)
#define NUMERIC  (BIT(PORTFOLIO_NAT) | BIT(PORTFOLIO_INT))
#define RELATIONS                                                                                  \
    (BIT(PORTFOLIO_EQ) | BIT(PORTFOLIO_NE) | BIT(PORTFOLIO_LT) | BIT(PORTFOLIO_LE) |               \
     BIT(PORTFOLIO_GT) | BIT(PORTFOLIO_GE) | BIT(PORTFOLIO_DVD))

/* Single tactics: cheap ones first among equals. They come with every goal. */
static const row closing_rows[] = {
    {SCOPE_TARGET, BIT(PORTFOLIO_EQ) | BIT(PORTFOLIO_IFF), 0, 1.30, "rfl"},
    {SCOPE_TARGET, ANY_HEAD, 0, 1.29, "assumption"},
    {SCOPE_TARGET, ANY_HEAD, NEED_ARITHMETIC, 1.28, "omega"},
    {SCOPE_TARGET, ANY_HEAD, 0, 1.27, "contradiction"},
    {SCOPE_TARGET, ANY_HEAD, 0, 1.26, "simp_all"},
    {SCOPE_TARGET, ANY_HEAD, NEED_TAME, 1.25, "grind"},
    {SCOPE_TARGET, ANY_HEAD, NEED_WILD, 1.25, "grind (gen := 3) (ematch := 3)"},
    {SCOPE_TARGET, ANY_HEAD, 0, 0.60, "decide"},
    {SCOPE_TARGET, ANY_HEAD, 0, 0.50, "simp"},
};

/* Steps that lose nothing. The first one that applies is the only alternative to the closing rows. */
static const row safe_rows[] = {
    {SCOPE_TARGET, BIT(PORTFOLIO_NOT) | BIT(PORTFOLIO_NE), 0, 4.5, "intro $1"},
    {SCOPE_PROOF, BIT(PORTFOLIO_AND), 0, 4.5, "obtain ⟨$1, $2⟩ := $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_EQ), NEED_VARIABLE_SIDE | NEED_NO_POWER, 4.5, "subst $h"},
    {SCOPE_TARGET, BIT(PORTFOLIO_AND), NEED_NO_INDUCTION, 4.5, "refine ⟨?_, ?_⟩"},
    {SCOPE_TARGET, BIT(PORTFOLIO_IFF), 0, 4.5, "refine Iff.intro (fun $1 => ?_) (fun $1 => ?_)"},
};

static const row rows[] = {
    /* Taking the target apart. */
    {SCOPE_TARGET, BIT(PORTFOLIO_AND), 0, 2.5, "refine ⟨?_, ?_⟩"},
    {SCOPE_TARGET, BIT(PORTFOLIO_OR), 0, 0.6, "refine Or.inl ?_"},
    {SCOPE_TARGET, BIT(PORTFOLIO_OR), 0, 0.6, "refine Or.inr ?_"},
    {SCOPE_TARGET, BIT(PORTFOLIO_OR), 0, 0.7,
     "refine Classical.or_iff_not_imp_left.mpr fun $1 => ?_"},
    {SCOPE_TARGET, BIT(PORTFOLIO_EQ), NEED_FUNCTION, 0.3, "funext $7"},
    {SCOPE_TARGET, BIT(PORTFOLIO_EQ), 0, -0.7, "congr 1"},
    {SCOPE_TARGET, ANY_HEAD, NEED_IF, 2.0, "split"},
    {SCOPE_TARGET, BIT(PORTFOLIO_ATOM) | BIT(PORTFOLIO_OR) | BIT(PORTFOLIO_EXISTS) | RELATIONS,
     NEED_OTHER_TARGET, 0.2, "refine Classical.byContradiction fun $1 => ?_"},
    {SCOPE_TARGET, BIT(PORTFOLIO_ATOM) | BIT(PORTFOLIO_EXISTS) | RELATIONS, 0, -0.8, "exfalso"},

    /* Taking a hypothesis apart. */
    {SCOPE_PROOF, BIT(PORTFOLIO_IFF), 0, 1.0, "obtain ⟨$1, $2⟩ := $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_OR), 0, 2.2, "rcases $h with $h | $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_EQ), NEED_VARIABLE_SIDE, 0.5, "subst $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_EQ) | BIT(PORTFOLIO_IFF), NEED_LEFT_IN_TARGET, 1.2, "rw [$h]"},
    {SCOPE_PROOF, BIT(PORTFOLIO_EQ) | BIT(PORTFOLIO_IFF), NEED_RIGHT_IN_TARGET, 0.4, "rw [← $h]"},
    {SCOPE_PROOF, BIT(PORTFOLIO_DVD), 0, 0.8, "obtain ⟨$7, $1⟩ := $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_EQ), 0, -0.5, "cases $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_ATOM), 0, -0.3, "cases $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_NOT) | BIT(PORTFOLIO_NE), NEED_FALSE_TARGET, 1.4, "apply $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_NOT) | BIT(PORTFOLIO_NE), NEED_OTHER_TARGET, 0.0,
     "refine absurd ?_ $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_IMPLIES) | BIT(PORTFOLIO_FORALL), 0, 1.0, "apply $h"},
    {SCOPE_PROOF, BIT(PORTFOLIO_FORALL), 0, 0.6, "rw [$h]"},
    {SCOPE_PROOF, ANY_HEAD, NEED_IF_HERE, 1.2, "split at $h"},

    /* Values: induction and case analysis. The fused forms save an expansion for each of the cases. */
    {SCOPE_VALUE, BIT(PORTFOLIO_NAT), NEED_VALUE_IN_TARGET | NEED_UNBOUND, 2.0,
     "induction $x with | zero => ?_ | succ $x $1 => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_NAT), NEED_VALUE_IN_TARGET | NEED_UNBOUND, 1.9,
     "induction $x <;> simp_all [Nat.pow_succ, Nat.mul_add, Nat.add_mul] <;> omega"},
    {SCOPE_VALUE, BIT(PORTFOLIO_NAT), NEED_VALUE_IN_TARGET | NEED_UNBOUND | NEED_TAME, 1.9,
     "induction $x <;> grind"},
    {SCOPE_VALUE, BIT(PORTFOLIO_NAT), NEED_VALUE_IN_TARGET | NEED_UNBOUND | NEED_OTHERS, 0.9,
     "induction $x generalizing$g with | zero => ?_ | succ $x $1 => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_NAT), NEED_VALUE_IN_TARGET, -0.3,
     "induction $x with | zero => ?_ | succ $x $1 => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_NAT), 0, 0.3, "cases $x with | zero => ?_ | succ $x => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_NAT), NEED_VALUE_IN_TARGET, -0.5,
     "induction $x using Nat.strongRecOn with | ind $x $1 => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_LIST), NEED_VALUE_IN_TARGET, 1.8,
     "induction $x with | nil => ?_ | cons $7 $x $1 => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_LIST), NEED_VALUE_IN_TARGET | NEED_OTHERS, 1.4,
     "induction $x generalizing$g with | nil => ?_ | cons $7 $x $1 => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_LIST), NEED_VALUE_IN_TARGET, 1.7,
     "induction $x <;> simp_all <;> omega"},
    {SCOPE_VALUE, BIT(PORTFOLIO_LIST), NEED_VALUE_IN_TARGET, 1.6, "induction $x <;> grind"},
    {SCOPE_VALUE, BIT(PORTFOLIO_LIST), NEED_NOT_IN_TARGET, 0.8,
     "induction $x with | nil => ?_ | cons $7 $x $1 => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_LIST), NEED_NOT_IN_TARGET | NEED_TAME, 0.7,
     "induction $x <;> grind"},
    {SCOPE_VALUE, BIT(PORTFOLIO_LIST), 0, 0.9, "cases $x with | nil => ?_ | cons $7 $x => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_OPTION), 0, 2.0, "cases $x with | none => ?_ | some $x => ?_"},
    {SCOPE_VALUE, BIT(PORTFOLIO_BOOL), 0, 2.0, "cases $x <;> simp_all"},
    {SCOPE_VALUE, BIT(PORTFOLIO_PAIR), 0, 2.0, "obtain ⟨$7, $8⟩ := $x"},
    {SCOPE_VALUE, BIT(PORTFOLIO_SUM), 0, 2.0, "rcases $x with $x | $x"},
    {SCOPE_VALUE, BIT(PORTFOLIO_FIN), 0, 0.5, "obtain ⟨$7, $1⟩ := $x"},
    {SCOPE_VALUE, BIT(PORTFOLIO_PROPOSITION), 0, 1.0, "by_cases $1 : $x"},

    /* Normal forms. */
    {SCOPE_TARGET, ANY_HEAD, NEED_ARITHMETIC | NEED_PRODUCT, 0.9,
     "simp only [Nat.mul_add, Nat.add_mul, Nat.pow_add, Nat.pow_succ, Nat.pow_zero, "
     "Nat.one_mul, Nat.mul_one, Int.mul_add, Int.add_mul, Int.mul_sub, Int.sub_mul, Int.pow_succ, "
     "Int.pow_zero, Int.one_mul, Int.mul_one] at * <;> omega"},
};

#define COUNT_OF(table) (sizeof(table) / sizeof *(table))

static bool is_wild(const portfolio_goal *goal)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        if (hyp->prop.head == PORTFOLIO_FORALL && portfolio_has(hyp->type, "∃")) {
            return true;
        }
    }
    return false;
}

/* What the rows can ask about the goal as a whole. */
static unsigned goal_needs(const portfolio_goal *goal)
{
    portfolio_span t = goal->target.text;
    unsigned have = goal->target.head == PORTFOLIO_FALSE ? NEED_FALSE_TARGET : NEED_OTHER_TARGET;
    have |= portfolio_has(t, "if ") || portfolio_has(t, "match ") ? NEED_IF : 0u;
    have |=
        portfolio_has(goal->text, " * ") || portfolio_has(goal->text, " ^ ") ? NEED_PRODUCT : 0u;
    have |= portfolio_has(t, "fun ") ? NEED_FUNCTION : 0u;
    for (const char *p = t.at; p < t.at + t.len; p++) {
        have |= *p >= '0' && *p <= '9' ? NEED_ARITHMETIC : 0u;
    }
    have |= NEED_NO_INDUCTION | (is_wild(goal) ? NEED_WILD : NEED_TAME);
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        bool inductive = hyp->kind == PORTFOLIO_NAT || hyp->kind == PORTFOLIO_LIST;
        if (inductive && portfolio_has_word(t, hyp->name)) {
            have &= ~(unsigned)NEED_NO_INDUCTION;
        }
        have |= (BIT(goal->hyps[i].kind) & NUMERIC) != 0 ? NEED_ARITHMETIC : 0u;
        have |= goal->hyps[i].kind == PORTFOLIO_FUNCTION ? NEED_FUNCTION : 0u;
    }
    return have | (portfolio_has(t, "length") ? NEED_ARITHMETIC : 0u);
}

static bool is_value_name(const portfolio_goal *goal, portfolio_span s)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        if (goal->hyps[i].kind != PORTFOLIO_PROOF && portfolio_same(goal->hyps[i].name, s)) {
            return true;
        }
    }
    return false;
}

static bool occurs(portfolio_span in, portfolio_span what)
{
    for (size_t i = 0; what.len > 0 && i + what.len <= in.len; i++) {
        if (memcmp(in.at + i, what.at, what.len) == 0) {
            return true;
        }
    }
    return false;
}

static unsigned proof_needs(const portfolio_goal *goal, const portfolio_hyp *hyp)
{
    int64_t number = 0;
    const portfolio_prop *p = &hyp->prop;
    bool lone = is_value_name(goal, p->left) || is_value_name(goal, p->right);
    bool literal = portfolio_number(p->right, &number);
    unsigned have = lone ? NEED_VARIABLE_SIDE : 0u;
    have |= occurs(goal->target.text, p->left) ? NEED_LEFT_IN_TARGET : 0u;
    have |= !literal && occurs(goal->target.text, p->right) ? NEED_RIGHT_IN_TARGET : 0u;
    have |= portfolio_has(hyp->type, " ^ ") ? 0u : NEED_NO_POWER;
    have |=
        portfolio_has(hyp->type, "if ") || portfolio_has(hyp->type, "match ") ? NEED_IF_HERE : 0u;
    return have;
}

/* A value is spoken of when the target or a proof mentions it. */
static bool is_mentioned(const portfolio_goal *goal, portfolio_span name)
{
    bool found = portfolio_has_word(goal->target.text, name);
    for (size_t i = 0; i < goal->hyp_count && !found; i++) {
        found =
            goal->hyps[i].kind == PORTFOLIO_PROOF && portfolio_has_word(goal->hyps[i].type, name);
    }
    return found;
}

/* Induction on a value that proofs speak of drags them along; quantified ones and implications are what it is good for. */
static bool is_unbound(const portfolio_goal *goal, portfolio_span name)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        bool relates = hyp->kind == PORTFOLIO_PROOF && hyp->prop.head != PORTFOLIO_FORALL &&
                       hyp->prop.head != PORTFOLIO_IMPLIES;
        if (relates && portfolio_has_word(hyp->type, name)) {
            return false;
        }
    }
    return true;
}

/* The other values that the target mentions, each after a space: what an induction generalises. */
static void put_others(const portfolio_goal *goal, const portfolio_hyp *but, pv_buf *out)
{
    for (size_t i = 0; i < goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &goal->hyps[i];
        bool data = hyp->kind != PORTFOLIO_PROOF && hyp->kind != PORTFOLIO_TYPE &&
                    hyp->kind != PORTFOLIO_FUNCTION && hyp->kind != PORTFOLIO_PROPOSITION;
        if (data && hyp->nameable && hyp != but &&
            portfolio_has_word(goal->target.text, hyp->name)) {
            pv_buf_putc(out, ' ');
            pv_buf_append(out, hyp->name.at, hyp->name.len);
        }
    }
}

static bool matches(const row *r, scope where, unsigned bit, unsigned have)
{
    return r->scope == where && (r->mask & bit) != 0 && (r->needs & ~have) == 0;
}

/* A table as its user sees it. */
typedef struct row_table {
    const row *rows;
    size_t count;
} row_table;

/* Adds what matches; how many. */
static size_t add_rows(portfolio_list *list, row_table table, scope where, unsigned bit,
                       unsigned have, const portfolio_binding *bindings, size_t n)
{
    size_t added = 0;
    for (size_t k = 0; k < table.count; k++) {
        if (matches(&table.rows[k], where, bit, have)) {
            portfolio_add_template(list, table.rows[k].weight, table.rows[k].form, bindings, n);
            added++;
        }
    }
    return added;
}

static size_t add_target_rows(portfolio_list *list, row_table table)
{
    const portfolio_prop *target = &list->goal->target;
    const portfolio_binding bindings[] = {
        {'l', target->left}, {'r', target->right}, {'t', target->text}};
    return add_rows(list, table, SCOPE_TARGET, BIT(target->head), goal_needs(list->goal), bindings,
                    COUNT_OF(bindings));
}

static size_t add_proof_rows(portfolio_list *list, row_table table, const portfolio_hyp *hyp)
{
    const portfolio_binding bindings[] = {
        {'h', hyp->name}, {'l', hyp->prop.left}, {'r', hyp->prop.right}};
    return add_rows(list, table, SCOPE_PROOF, BIT(hyp->prop.head),
                    goal_needs(list->goal) | proof_needs(list->goal, hyp), bindings,
                    COUNT_OF(bindings));
}

static void add_value_rows(portfolio_list *list, row_table table, const portfolio_hyp *hyp)
{
    const portfolio_goal *goal = list->goal;
    pv_buf others = {0};
    put_others(goal, hyp, &others);
    const portfolio_binding bindings[] = {{'x', hyp->name},
                                          {'g', {pv_buf_text(&others), others.len}}};
    unsigned have = goal_needs(goal) | (others.len > 0 ? NEED_OTHERS : 0u);
    have |= portfolio_has_word(goal->target.text, hyp->name) ? NEED_VALUE_IN_TARGET
                                                             : NEED_NOT_IN_TARGET;
    have |= is_unbound(goal, hyp->name) ? NEED_UNBOUND : 0u;
    if (is_mentioned(goal, hyp->name)) {
        add_rows(list, table, SCOPE_VALUE, BIT(hyp->kind), have, bindings, COUNT_OF(bindings));
    }
    list->failed = list->failed || !pv_buf_ok(&others);
    pv_buf_release(&others);
}

void portfolio_add_closers(portfolio_list *list)
{
    add_target_rows(list, (row_table){closing_rows, COUNT_OF(closing_rows)});
}

bool portfolio_add_safe(portfolio_list *list)
{
    /* Row by row, so that the order of the table decides and not that of the context. */
    for (size_t k = 0; k < COUNT_OF(safe_rows); k++) {
        row_table one = {&safe_rows[k], 1};
        size_t added = add_target_rows(list, one);
        for (size_t i = 0; i < list->goal->hyp_count && added == 0; i++) {
            const portfolio_hyp *hyp = &list->goal->hyps[i];
            if (hyp->nameable && hyp->kind == PORTFOLIO_PROOF) {
                added = add_proof_rows(list, one, hyp);
            }
        }
        if (added > 0) {
            return true;
        }
    }
    return false;
}

void portfolio_add_table(portfolio_list *list)
{
    const row_table table = {rows, COUNT_OF(rows)};
    add_target_rows(list, table);
    for (size_t i = 0; i < list->goal->hyp_count; i++) {
        const portfolio_hyp *hyp = &list->goal->hyps[i];
        if (hyp->nameable && hyp->kind == PORTFOLIO_PROOF) {
            add_proof_rows(list, table, hyp);
        } else if (hyp->nameable) {
            add_value_rows(list, table, hyp);
        }
    }
}
