/* States that are equal up to the names of their hypotheses: one node, and scripts that use the names which are there. */
#include "pv_mem.h"
#include "search.h"
#include "search_rename.h"

#include <criterion/criterion.h>
#include <string.h>

static void renames(const char *from, const char *to, const char *expected)
{
    pv_buf out = {0};
    search_names names = search_rename(from, to, &out);
    if (expected == NULL) {
        cr_expect_eq(names, SEARCH_NAMES_OTHER, "%s", from);
    } else if (expected[0] == '\0') {
        cr_expect_eq(names, SEARCH_NAMES_SAME, "%s", from);
    } else {
        cr_expect_eq(names, SEARCH_NAMES_RENAMED, "%s", from);
    }
    cr_expect_str_eq(pv_buf_text(&out), expected == NULL ? "" : expected);
    pv_buf_release(&out);
}

Test(search_rename, from_the_first_other_name_on_hypotheses_are_introduced_again)
{
    renames("a : p\n⊢ q", "a : p\n⊢ q", "");
    renames("case inl\na b : Nat\nh : a = b\n⊢ q", "a b : Nat\nh : a = b\n⊢ q", "");
    renames("a : p\n⊢ q", "h : p\n⊢ q", "revert a\nintro h");
    renames("p q : Prop\nx : p\ny : q\n⊢ p", "p q : Prop\na : p\ny : q\n⊢ p",
            "revert x y\nintro a y");
    renames("x y : Nat\nh :\n  x =\n    y\n⊢ q", "y x : Nat\nh :\n  y =\n    x\n⊢ q",
            "revert x y h\nintro y x h");
}

Test(search_rename, names_that_no_tactic_can_write)
{
    renames("a✝ : p\n⊢ q", "x✝¹ : p\n⊢ q", "");
    renames("a✝ : p\n⊢ q", "h : p\n⊢ q", "rename_i h_1\nrevert h_1\nintro h");
    renames("h_1 : p\na✝ : q\n⊢ q", "k : p\nb : q\n⊢ q",
            "rename_i h__1\nrevert h_1 h__1\nintro k b");
    renames("h : p\nb : q\n⊢ q", "a✝ : p\nb : q\n⊢ q", "revert h b\nintro _ b");
    renames("a✝¹ : p\nh : r\na✝ : q\n⊢ q", "a✝ : p\nk : r\nl : q\n⊢ q",
            "rename_i h_1\nrevert h h_1\nintro k l");
}

Test(search_rename, what_cannot_be_said_is_another_state)
{
    renames("x : Nat := 3\n⊢ q", "y : Nat := 3\n⊢ q", NULL);
    renames("a : p\nx : Nat := 3\n⊢ q", "b : p\nx : Nat := 3\n⊢ q", NULL);
    renames("x : Nat := 3\na : p\n⊢ q", "x : Nat := 3\nb : p\n⊢ q", "revert a\nintro b");
    renames("a : p\n⊢ q", "a b : p\n⊢ q", NULL);
    renames("goal 1", "goal 2", NULL);
    renames("«a b» : p\n⊢ q", "h : p\n⊢ q", NULL);
}

/* ---- in a search ---- */

struct search_handle {
    const char *goals[2];
};

typedef struct part_row { /* NULL goals: no such part */
    const char *goals[2];
    uint64_t key;
} part_row;

typedef struct rule { /* tactic on the state whose first goal is `goal`; no parts: it closes it */
    const char *goal, *tactic;
    double logprob;
    part_row parts[2];
} rule;

typedef struct table {
    const rule *rules;
    size_t count, handles;
} table;

static pv_status propose(void *self, const search_policy_request *q, pv_error *err)
{
    const table *t = self;
    search_candidate candidates[8];
    size_t n = 0;
    (void)err;
    for (size_t i = 0; i < t->count; i++) {
        if (strcmp(t->rules[i].goal, q->goals[0]) == 0) {
            candidates[n++] = (search_candidate){t->rules[i].tactic, t->rules[i].logprob, 1};
        }
    }
    search_deliver_candidates(q->run, q->ticket, candidates, n, NULL);
    return PV_OK;
}

static search_part make_part(table *t, const part_row *row)
{
    search_handle *handle = pv_calloc(1, sizeof *handle);
    *handle = (search_handle){{row->goals[0], row->goals[1]}};
    t->handles++;
    return (search_part){.handle = handle,
                         .key = pv_key_of(&row->key, sizeof row->key),
                         .goals = row->goals,
                         .goal_count = row->goals[1] == NULL ? 1 : 2};
}

static void answer(table *t, const search_try_request *q, size_t index, const char *goal)
{
    search_outcome out = {.kind = SEARCH_FAILED, .message = "no rule"};
    search_part parts[2];
    for (size_t i = 0; i < t->count; i++) {
        const rule *r = &t->rules[i];
        if (strcmp(r->goal, goal) != 0 || strcmp(r->tactic, q->tactics[index]) != 0) {
            continue;
        }
        out = (search_outcome){.kind = SEARCH_CLOSED, .parts = parts};
        for (size_t k = 0; k < 2 && r->parts[k].goals[0] != NULL; k++) {
            parts[out.part_count++] = make_part(t, &r->parts[k]);
            out.kind = SEARCH_OPEN;
        }
    }
    search_deliver_outcome(q->run, q->ticket, index, &out);
}

static pv_status try_tactics(void *self, const search_try_request *q, pv_error *err)
{
    const char *goal = q->state->goals[0];
    (void)err;
    for (size_t i = 0; i < q->n; i++) {
        answer(self, q, i, goal);
    }
    return PV_OK;
}

static void release(void *self, search_handle *handle)
{
    table *t = self;
    t->handles--;
    pv_free(handle);
}

static search_run *start(table *t, const part_row *root)
{
    static const search_policy_ops policy = {.name = "table", .propose = propose};
    static const search_verifier_ops verifier = {.try_tactics = try_tactics, .release = release};
    search_run *run = NULL;
    search_part part = make_part(t, root);
    search_outcome open = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    search_options options = {.window = 1};
    cr_assert_eq(search_run_new(&run, &options, (search_policy){&policy, t},
                                (search_verifier){&verifier, t}, &open, NULL),
                 PV_OK);
    return run;
}

static void end(table *t, search_run *run)
{
    search_cancel(run);
    search_pump(run);
    search_run_free(run);
    cr_expect_eq(t->handles, 0);
    cr_expect_eq(pv_mem_live(), 0);
}

static void expect_text(const search_run *run, const char *expected)
{
    pv_buf text = {0};
    cr_assert_eq(search_proof(run, &text, NULL), PV_OK);
    cr_expect_str_eq(pv_buf_text(&text), expected);
    pv_buf_release(&text);
}

#define COUNT(rules) (sizeof(rules) / sizeof *(rules))

/* Both halves lead to one node; the second is proved with the first one's names. */
Test(search_rename, a_script_through_another_arrival_renames_first)
{
    static const rule rules[] = {
        {"⊢ r", "split", -1, {{{"⊢ l"}, 1}, {{"⊢ m"}, 2}}},
        {"⊢ l", "intro a b", -1, {{{"a : p\nb : q\n⊢ p"}, 3}}},
        {"⊢ m", "cases m", -2, {{{"case mk\nx : p\ny✝ : q\n⊢ p"}, 3}}},
        {"a : p\nb : q\n⊢ p", "skip a", -1, {{{"a : p\nb : q\n⊢ s"}, 4}}},
        {"a : p\nb : q\n⊢ s", "exact a", -1, {{{NULL}, 0}}},
    };
    table t = {rules, COUNT(rules), 0};
    search_run *run = start(&t, &(part_row){{"⊢ r"}, 0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    expect_text(run, "split\n"
                     "· intro a b\n  skip a\n  exact a\n"
                     "· cases m\n  rename_i h_1\n  revert x h_1\n  intro a b\n  skip a\n  "
                     "exact a");
    search_stats stats;
    search_stats_of(run, &stats);
    cr_expect_eq(stats.duplicates, 1);
    end(&t, run);
}

/* The judge has the last word: the renamed arrival is given up, and what remains proves it another way. */
Test(search_rename, a_refused_script_gives_the_renamed_step_up)
{
    static const rule rules[] = {
        {"⊢ r", "split", -1, {{{"⊢ l"}, 1}, {{"⊢ m"}, 2}}},
        {"⊢ l", "intro a", -1, {{{"a : p\n⊢ p"}, 3}}},
        {"⊢ m", "intro x", -1, {{{"x : p\n⊢ p"}, 3}}},
        {"⊢ m", "long", -2, {{{"⊢ m'"}, 5}}},
        {"⊢ m'", "end", -1, {{{NULL}, 0}}},
        {"a : p\n⊢ p", "exact a", -5, {{{NULL}, 0}}},
    };
    table t = {rules, COUNT(rules), 0};
    search_run *run = start(&t, &(part_row){{"⊢ r"}, 0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    bool renamed = false;
    for (int refusals = 0; refusals < 2; refusals++) {
        pv_buf text = {0};
        cr_assert_eq(search_proof(run, &text, NULL), PV_OK);
        bool has = strstr(pv_buf_text(&text), "revert x\n  intro a") != NULL;
        renamed = renamed || has;
        pv_buf_release(&text);
        if (!has) {
            break;
        }
        search_reject_proof(run);
        cr_assert_eq(search_pump(run), SEARCH_PROVED);
    }
    cr_expect(renamed);
    expect_text(run, "split\n· intro a\n  exact a\n· long\n  end");
    cr_expect_eq(search_reject_proof(run), SEARCH_RUNNING, "nothing is renamed in it");
    end(&t, run);
}

/* Where names cannot be changed, or there are several goals, the state is a node of its own, and the same state again is that one. */
Test(search_rename, another_state_is_another_node)
{
    static const rule rules[] = {
        {"⊢ r", "one", -1, {{{"x : Nat := 3\n⊢ p"}, 1}}},
        {"⊢ r", "two", -2, {{{"y : Nat := 3\n⊢ p"}, 1}}},
        {"⊢ r", "three", -3, {{{"y : Nat := 3\n⊢ p"}, 1}}},
        {"⊢ r", "four", -4, {{{"a : ?m\n⊢ p", "⊢ ?m"}, 2}}},
        {"⊢ r", "five", -5, {{{"b : ?m\n⊢ p", "⊢ ?m"}, 2}}},
        {"y : Nat := 3\n⊢ p", "nothing", -1, {{{"y : Nat := 3\n⊢ p"}, 1}}},
        {"b : ?m\n⊢ p", "exact b", -9, {{{NULL}, 0}}},
    };
    table t = {rules, COUNT(rules), 0};
    search_run *run = start(&t, &(part_row){{"⊢ r"}, 0});
    cr_assert_eq(search_pump(run), SEARCH_PROVED);
    expect_text(run, "five\nexact b");
    search_stats stats;
    search_stats_of(run, &stats);
    cr_expect_eq(stats.nodes, 5);
    cr_expect_eq(stats.duplicates, 1);
    cr_expect_eq(stats.no_ops, 1);
    end(&t, run);
}
