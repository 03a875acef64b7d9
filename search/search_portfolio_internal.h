/* search_portfolio_internal: what the files of the portfolio share: the parsed goal and the list of candidates.
 *
 * Everything points into the text handed to portfolio_goal_parse(); nothing outlives one `propose`. */
#ifndef SEARCH_PORTFOLIO_INTERNAL_H
#define SEARCH_PORTFOLIO_INTERNAL_H

#include "pv_buf.h"
#include "search_policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A run of bytes inside a goal's text. */
typedef struct portfolio_span {
    const char *at;
    size_t len;
} portfolio_span;

/* The outermost connective of a proposition as displayed. */
typedef enum portfolio_head {
    PORTFOLIO_ATOM,
    PORTFOLIO_FALSE,
    PORTFOLIO_TRUE,
    PORTFOLIO_FORALL, /* left: binders, right: body */
    PORTFOLIO_EXISTS, /* left: binders, right: body */
    PORTFOLIO_IFF,
    PORTFOLIO_IMPLIES,
    PORTFOLIO_OR,
    PORTFOLIO_AND,
    PORTFOLIO_NOT, /* right: what is negated */
    PORTFOLIO_EQ,
    PORTFOLIO_NE,
    PORTFOLIO_LT,
    PORTFOLIO_LE,
    PORTFOLIO_GT,
    PORTFOLIO_GE,
    PORTFOLIO_DVD,
    PORTFOLIO_MEM,
    PORTFOLIO_HEAD_COUNT
} portfolio_head;

typedef struct portfolio_prop {
    portfolio_head head;
    portfolio_span text, left, right;
} portfolio_prop;

/* What a line of the context declares. Text alone cannot tell values from proofs for sure: this is a guess. */
typedef enum portfolio_kind {
    PORTFOLIO_PROOF,
    PORTFOLIO_NAT,
    PORTFOLIO_INT,
    PORTFOLIO_BOOL,
    PORTFOLIO_LIST,
    PORTFOLIO_OPTION,
    PORTFOLIO_PAIR,
    PORTFOLIO_SUM,
    PORTFOLIO_FIN,
    PORTFOLIO_PROPOSITION, /* p : Prop                     */
    PORTFOLIO_TYPE,        /* α : Type                     */
    PORTFOLIO_FUNCTION,    /* f : α → β, also predicates   */
    PORTFOLIO_ELEMENT,     /* a : α, or of some other type */
    PORTFOLIO_KIND_COUNT
} portfolio_kind;

typedef struct portfolio_hyp {
    portfolio_span name;
    portfolio_span type;
    portfolio_kind kind;
    bool nameable; /* tactics can mention it (no dagger, no shadowing by a later line) */
    portfolio_prop prop;
} portfolio_hyp;

enum { PORTFOLIO_HYPS_MAX = 64 };

typedef struct portfolio_goal {
    portfolio_span text;
    portfolio_hyp hyps[PORTFOLIO_HYPS_MAX];
    size_t hyp_count;
    portfolio_prop target;
} portfolio_goal;

/* Reads one goal as Lean displays it. `scratch` receives the text with every line break inside a type made a space; the goal
 * borrows it. Never fails on odd text: what is not understood is left out. */
void portfolio_goal_parse(portfolio_goal *goal, const char *text, pv_buf *scratch);

portfolio_prop portfolio_prop_parse(portfolio_span text);

/* Helpers on spans. `word`: the needle stands alone, not inside a longer identifier. */
portfolio_span portfolio_span_of(const char *text);
portfolio_span portfolio_trim(portfolio_span s);
portfolio_span portfolio_unparen(portfolio_span s);
bool portfolio_equal(portfolio_span s, const char *text);
bool portfolio_same(portfolio_span a, portfolio_span b);
bool portfolio_starts(portfolio_span s, const char *prefix);
bool portfolio_has(portfolio_span s, const char *needle);
bool portfolio_has_word(portfolio_span s, portfolio_span word);
bool portfolio_number(portfolio_span s,
                      int64_t *out); /* all of it is a small literal, perhaps negated */

/* Splits at the last `op` outside brackets (so that left-associative operators split as Lean reads them). */
bool portfolio_split_last(portfolio_span s, const char *op, portfolio_span *left,
                          portfolio_span *right);

/* The next name bound by a binder list such as "(a b : Nat) (h : p)" or "x"; advances *binders. `type` is empty if not shown. */
bool portfolio_next_binder(portfolio_span *binders, portfolio_span *name, portfolio_span *type);

/* The operand that ends right before byte `at`, or begins right at it: a word or a bracketed term; empty if there is none. */
portfolio_span portfolio_operand_before(portfolio_span s, size_t at);
portfolio_span portfolio_operand_after(portfolio_span s, size_t at);

/* The distinct literals of the goal from `low` to `high`, ascending, at most `max`. */
size_t portfolio_literals(const portfolio_goal *goal, int64_t low, int64_t high, int64_t *out,
                          size_t max);

/* A term "base ^ exponent" or "left * right" with both operands as displayed. */
typedef struct portfolio_pair {
    portfolio_span left, right;
} portfolio_pair;

/* The distinct pairs around the operator " ^ " or " * " in the goal, at most `max`. */
size_t portfolio_pairs(const portfolio_goal *goal, const char *op, portfolio_pair *out, size_t max);

/* The moduli m of "_ % m" and "m ∣ _", at least 2, ascending. */
size_t portfolio_moduli(const portfolio_goal *goal, int64_t *out, size_t max);

/* The nameable value that the span consists of (after an arrow of coercion is dropped), or NULL. */
const portfolio_hyp *portfolio_value(const portfolio_goal *goal, portfolio_span s);

/* NAT or INT: the type of the first value that the text mentions; PROOF when there is none. */
portfolio_kind portfolio_number_kind(const portfolio_goal *goal, portfolio_span text);

/* A value with its bounds as far as the context shows them. */
typedef struct portfolio_range {
    const portfolio_hyp *value;
    bool has_low, has_high;
    int64_t low, high; /* inclusive */
} portfolio_range;

portfolio_range portfolio_range_of(const portfolio_goal *goal, const portfolio_hyp *value);

bool portfolio_is_number(const portfolio_hyp *hyp); /* a nameable Nat or Int */

/* Whether a value stands where omega cannot see through: in a product, a power, or under a variable modulus. */
bool portfolio_is_nonlinear(const portfolio_goal *goal, const portfolio_hyp *hyp);

/* One value a template may mention. */
typedef struct portfolio_binding {
    char key;
    portfolio_span value;
} portfolio_binding;

/* Candidates in the making: texts in one buffer, each ended by NUL. */
typedef struct portfolio_list {
    const portfolio_goal *goal;
    pv_buf text;

    struct portfolio_item {
        size_t at;
        double weight;
    } * items;

    size_t count, capacity;
    bool failed;
} portfolio_list;

void portfolio_list_release(portfolio_list *list);
void portfolio_add(portfolio_list *list, double weight, const char *fmt, ...) PV_PRINTF(3, 4);
void portfolio_add_text(portfolio_list *list, double weight, const char *text);

/* Adds a template: "$k" is the binding of key k, "$1" ... "$9" names that the context does not use. */
void portfolio_add_template(portfolio_list *list, double weight, const char *form,
                            const portfolio_binding *bindings, size_t n);

/* Writes a name that the goal does not use: `base`, or with a number behind it; `nth` distinct ones per base. */
void portfolio_fresh(const portfolio_goal *goal, const char *base, unsigned nth, pv_buf *out);

/* The families of schemas; each adds its candidates for the goal of the list.
 * intros and safe: true when they added a step that loses nothing, so that no other alternative is needed. */
void portfolio_add_closers(portfolio_list *list); /* search_portfolio_table.c    */
bool portfolio_add_safe(portfolio_list *list);
void portfolio_add_table(portfolio_list *list);
bool portfolio_add_intros(portfolio_list *list); /* search_portfolio_logic.c    */
bool portfolio_add_taken(portfolio_list *list);
void portfolio_add_logic(portfolio_list *list);
void portfolio_add_residues(portfolio_list *list); /* search_portfolio_residue.c */
void portfolio_add_powers(portfolio_list *list);
void portfolio_add_bounds(portfolio_list *list);      /* search_portfolio_bounds.c     */
void portfolio_add_cases(portfolio_list *list);       /* search_portfolio_cases.c      */
void portfolio_add_divisors(portfolio_list *list);    /* search_portfolio_divisor.c    */
void portfolio_add_hints(portfolio_list *list);       /* search_portfolio_hint.c       */
void portfolio_add_witnesses(portfolio_list *list);   /* search_portfolio_witness.c    */
void portfolio_add_recurrences(portfolio_list *list); /* search_portfolio_recurrence.c */

/* Adds candidates of another kind; the list's goal is there. */
typedef void portfolio_more(void *user, portfolio_list *list);

/* Fills the list for one goal as displayed, `more` (NULL: nobody) last. The list starts out zero and is released in every case. */
PV_NODISCARD pv_status portfolio_gather(portfolio_list *list, const char *goal,
                                        portfolio_more *more, void *user, pv_error *err);

/* Keeps the best `wanted` (0: 64) of what is allowed, as candidates, best first: list->count of them. The texts belong to the
 * list; *out is freed with pv_free(). */
PV_NODISCARD pv_status portfolio_choose(portfolio_list *list, size_t wanted, search_candidate **out,
                                        pv_error *err);

/* Both: the candidates for one goal as displayed, best first, at most `wanted`. The texts belong to the list, which starts out zero
 * and is released in every case; *out is freed with pv_free(). */
PV_NODISCARD pv_status portfolio_candidates(portfolio_list *list, const char *goal, size_t wanted,
                                            search_candidate **out, pv_error *err);

#define PORTFOLIO_FMT(s) (int)(s).len, (s).at /* for "%.*s" */

#endif
