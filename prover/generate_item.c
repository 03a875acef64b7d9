/* One statement's way. Each stage ends when its search is over or its question answered; the next turn goes on.
 *
 *   OPENING -> CHEAP -> CHEAP_END -> SEARCH -> SHORTEN -> USAGE -> REDUCE -> USAGE -> EXTRA -> ENDING
 *                \______________________________________/ ^
 *                  a proof; one that uses the theorem itself goes back to where it was found        */
#include "data_row.h"
#include "data_text.h"
#include "generate.h"

#include "lean_session.h"
#include "lemma_list.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <string.h>

enum {
    SELFISH_MAX = 6, /* proofs by the theorem itself that a search may find before it is given up */
    PIECES_MAX = 24, /* tactics that a shorter proof is made of */
    SHORTEN_NODES = 160, /* budget of shortening */
    SHORTEN_SECONDS = 10,
};

static const char SELFISH[] = "it uses the theorem itself";

static const double SHORTEN_LEAN_SECONDS = 3;

/* ---- the end of an item ---- */

static void forget(generate_item *item)
{
    theorem_list_release(&item->opened);
    fixed_policy_release(&item->cheap_tactics);
    fixed_policy_release(&item->pieces);
    for (size_t i = 0; i < GENERATE_ROUNDS; i++) {
        fixed_policy_release(&item->reductions[i]);
    }
    for (size_t i = 0; i < item->known_count; i++) {
        pv_free(item->known[i].tactic);
        pv_free(item->known[i].message);
    }
    pv_free(item->known);
    pv_free(item->proof);
    usage_release(&item->usage);
    json_decref(item->more_failed);
    json_decref(item->more_alternatives);
    fixed_policy_release(&item->extra);
    generator *g = item->g;
    memset(item, 0, sizeof *item);
    item->g = g;
}

static void count_search(generator *g, const quest *q)
{
    if (q->run != NULL) {
        search_stats stats;
        search_stats_of(q->run, &stats);
        g->lean_seconds += stats.lean_seconds;
        g->tactics += stats.tactics;
    }
}

/* A question to Lean is out. */
static bool is_pending(const generate_item *item)
{
    return item->pending || item->usage.pending;
}

/* The searches are over; what is in flight comes home. */
static bool turn_ending(generate_item *item)
{
    bool cheap = quest_end(&item->cheap), main = quest_end(&item->main),
         shorten = quest_end(&item->shorten), reduce = true;
    for (size_t i = 0; i < GENERATE_ROUNDS; i++) {
        reduce = quest_end(&item->reduce[i]) && reduce;
    }
    if (!cheap || !main || !shorten || !reduce || is_pending(item)) {
        return false;
    }
    if (item->statement != NULL) {
        generate_settle(item->g, item->statement);
    }
    forget(item);
    return true;
}

static void end_item(generate_item *item)
{
    count_search(item->g, &item->cheap);
    count_search(item->g, &item->main);
    count_search(item->g, &item->shorten);
    for (size_t i = 0; i < GENERATE_ROUNDS; i++) {
        count_search(item->g, &item->reduce[i]);
    }
    item->stage = GENERATE_ENDING;
}

bool generate_item_end(generate_item *item)
{
    if (item->stage == GENERATE_IDLE) {
        return true;
    }
    if (item->pending) {
        lean_cancel(item->g->s.pool, item->ticket);
    }
    usage_cancel(&item->usage, item->g->s.pool);
    item->stage = GENERATE_ENDING;
    if (item->statement != NULL && !is_pending(item)) {
        generate_statement_free(item->statement); /* it has no row: the next run does it again */
        item->statement = NULL;
    }
    return turn_ending(item);
}

static void drop_item(generate_item *item, const char *filter, const char *reason)
{
    generate_drop(item->g, item->statement, filter, reason);
    end_item(item);
}

/* A failure of a search or a question: the program's when Lean cannot be started, else the statement's. */
static void fail_item(generate_item *item, const pv_error *why)
{
    if (why->status == PV_E_SPAWN || why->status == PV_E_NOMEM || why->status == PV_E_UNSUPPORTED ||
        why->status == PV_E_MISUSE) {
        generate_fail(item->g, why);
        end_item(item);
    } else {
        drop_item(item, "error", why->msg);
    }
}

/* ---- opening ---- */

static void on_opened(void *user, lean_ticket t, const lean_opened *opened, const pv_error *failure)
{
    generate_item *item = user;
    (void)t;
    item->pending = false;
    if (failure != NULL) {
        item->failure = *failure;
        return;
    }
    const lean_message *wrong = theorem_first_error(opened);
    if (wrong != NULL) {
        pv_fail(&item->failure, PV_E_INVALID, "Lean says: %s", wrong->text);
        return;
    }
    pv_status status = theorem_list_copy(&item->opened, opened, &item->failure);
    (void)status; /* kept in item->failure */
}

static void start_opening(generate_item *item)
{
    pv_buf text = {0};
    pv_error err = {0};
    data_text_theorem(&text, "statement", item->statement->text, "sorry");
    item->stage = GENERATE_OPENING;
    item->started_ms = pv_clock_ms();
    item->pending = true;
    if (!pv_buf_ok(&text) || lean_open(item->g->env, pv_buf_text(&text), &item->ticket, on_opened,
                                       item, &err) != PV_OK) {
        item->pending = false;
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        fail_item(item, &err);
    }
    pv_buf_release(&text);
}

static const hole *hole_of(const generate_item *item)
{
    return item->opened.count == 1 && item->opened.items[0].hole_count == 1
               ? &item->opened.items[0].holes[0]
               : NULL;
}

/* ---- searches ---- */

static search_options cheap_options(const generate_item *item)
{
    search_options out = {.statement = item->statement->text,
                          .alpha = -1,
                          .width = 64,
                          .window = 1,
                          .expansions_max = 1,
                          .seed = item->g->opt->seed};
    return out;
}

static bool start_quest(generate_item *item, quest *q, search_policy policy,
                        const search_options *how)
{
    pv_error err = {0};
    if (quest_start(q, &item->g->s, policy, how, hole_of(item), item->known, item->known_count,
                    &err) != PV_OK) {
        fail_item(item, &err);
        return false;
    }
    return true;
}

static bool turn_opening(generate_item *item)
{
    if (item->pending) {
        return false;
    }
    const hole *target = hole_of(item);
    if (item->failure.status == PV_OK && target == NULL) {
        pv_fail(&item->failure, PV_E_INVALID, "the statement opens without a goal");
    }
    if (item->failure.status != PV_OK) {
        fail_item(item, &item->failure);
        return true;
    }
    search_options how = cheap_options(item);
    if (!fixed_policy_add_cheap(&item->cheap_tactics, target->goals[0])) {
        pv_fail(&item->failure, PV_E_NOMEM, "out of memory");
        fail_item(item, &item->failure);
    } else if (start_quest(item, &item->cheap, fixed_policy_table(&item->cheap_tactics), &how)) {
        item->stage = GENERATE_CHEAP;
    }
    return true;
}

/* The lines of a proof's text count less than its steps: what is repeated in the text is one state. */
static size_t steps_of(const quest *q)
{
    json_t *steps = data_row_steps(q->run);
    size_t n = json_array_size(steps);
    json_decref(steps);
    return n;
}

static bool take_proof(generate_item *item, quest *q)
{
    pv_buf text = {0};
    pv_error err = {0};
    pv_status status = search_proof(q->run, &text, &err);
    pv_free(item->proof);
    item->proof = status == PV_OK ? pv_buf_detach(&text) : NULL;
    pv_buf_release(&text);
    item->proved = q;
    if (item->proof == NULL) {
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        fail_item(item, &err);
    }
    return item->proof != NULL;
}

/* ---- usage ---- */

static void ask_usage(generate_item *item)
{
    pv_error err = {0};
    item->stage = GENERATE_USAGE;
    if (usage_ask(&item->usage, item->g->env, item->statement->text, item->proof,
                  item->statement->name, &err) != PV_OK) {
        fail_item(item, &err);
    }
}

/* ---- shortening ---- */

static const char *text_of(const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));
    return text == NULL ? "" : text;
}

static const json_t *step_at(const json_t *steps, const char *state)
{
    for (size_t i = 0; i < json_array_size(steps); i++) {
        if (strcmp(text_of(json_array_get(steps, i), "state"), state) == 0) {
            return json_array_get(steps, i);
        }
    }
    return NULL;
}

/* `intro x` and then `intro y`: one `intro x y`; `rw [a]` and then `rw [b]`: one `rw [a, b]`. */
static void add_merged(generate_item *item, const char *first, const char *second)
{
    pv_buf text = {0};
    size_t n = strlen(first);
    if (strncmp(first, "intro ", 6) == 0 && strncmp(second, "intro ", 6) == 0) {
        pv_buf_printf(&text, "%s %s", first, second + 6);
    } else if (strncmp(first, "rw [", 4) == 0 && first[n - 1] == ']' &&
               strncmp(second, "rw [", 4) == 0) {
        pv_buf_printf(&text, "%.*s, %s", (int)(n - 1), first, second + 4);
    }
    if (text.len > 0 && strchr(pv_buf_text(&text), '\n') == NULL) {
        (void)fixed_policy_add(&item->pieces, pv_buf_text(&text));
    }
    pv_buf_release(&text);
}

/* A step whose goals all end by the same tactic: `step <;> tactic`. */
static void add_combined(generate_item *item, const json_t *steps, const json_t *step)
{
    const json_t *next = json_object_get(step, "next");
    const char *same = NULL, *tactic = text_of(step, "tactic");
    for (size_t i = 0; i < json_array_size(next); i++) {
        const json_t *last = step_at(steps, json_string_value(json_array_get(next, i)));
        if (last == NULL || json_array_size(json_object_get(last, "next")) > 0 ||
            (same != NULL && strcmp(same, text_of(last, "tactic")) != 0)) {
            return;
        }
        same = text_of(last, "tactic");
    }
    if (same != NULL && json_array_size(next) > 1 && strpbrk(tactic, "\n;") == NULL &&
        strpbrk(same, "\n;") == NULL) {
        pv_buf text = {0};
        pv_buf_printf(&text, "%s <;> %s", tactic, same);
        (void)fixed_policy_add(&item->pieces, pv_buf_text(&text));
        pv_buf_release(&text);
    }
}

/* What a shorter proof may be made of: closing tactics, steps merged, and the steps themselves. */
static bool gather_pieces(generate_item *item)
{
    json_t *steps = data_row_steps(item->main.run);
    bool portfolio =
        item->g->choice.model == NULL; /* it has tried the closing tactics in every state */
    bool ok = steps != NULL;
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *step = json_array_get(steps, i), *next = json_object_get(step, "next");
        const json_t *after = json_array_size(next) == 1
                                  ? step_at(steps, json_string_value(json_array_get(next, 0)))
                                  : NULL;
        if (after != NULL) {
            add_merged(item, text_of(step, "tactic"), text_of(after, "tactic"));
        }
        add_combined(item, steps, step);
    }
    for (size_t i = 0; i < json_array_size(steps) && item->pieces.count < PIECES_MAX && ok; i++) {
        ok = fixed_policy_add(&item->pieces, text_of(json_array_get(steps, i), "tactic"));
    }
    if (!portfolio && ok) {
        ok = fixed_policy_add(&item->pieces, "simp_all") &&
             fixed_policy_add(&item->pieces, "omega") && fixed_policy_add(&item->pieces, "grind");
    }
    json_decref(steps);
    return ok;
}

static search_options shorten_options(const generate_item *item)
{
    return (search_options){.statement = item->statement->text,
                            .alpha = -1,
                            .width = PIECES_MAX + 16,
                            .window = 1,
                            .nodes_max = SHORTEN_NODES,
                            .expansions_max = 4 * item->found + 4,
                            .lean_seconds_max = SHORTEN_LEAN_SECONDS,
                            .wall_seconds_max = SHORTEN_SECONDS,
                            .seed = item->g->opt->seed};
}

/* A breadth-first search among the proof's own pieces: a proof that it finds has no more depth than needed. What it tries is
 * tried by Lean, so a step that is left out is left out rightly. */
static void start_shortening(generate_item *item)
{
    search_options how = shorten_options(item);
    if (!gather_pieces(item)) {
        pv_fail(&item->failure, PV_E_NOMEM, "out of memory");
        fail_item(item, &item->failure);
    } else if (start_quest(item, &item->shorten, fixed_policy_table(&item->pieces), &how)) {
        item->stage = GENERATE_SHORTEN;
    }
}

static bool turn_shorten(generate_item *item)
{
    if (!quest_ready(&item->shorten)) {
        return false;
    }
    search_state state = quest_pump(&item->shorten);
    if (state == SEARCH_RUNNING) {
        return true;
    }
    if (state != SEARCH_PROVED || steps_of(&item->shorten) >= item->found ||
        take_proof(item, &item->shorten)) {
        ask_usage(item);
    }
    return true;
}

/* ---- a row ---- */

static void set_provenance(const generate_item *item, json_t *row)
{
    const generator *g = item->g;
    search_stats stats = {0};
    search_stats_of(item->proved->run, &stats);
    if (item->main.run != NULL) {
        search_stats_of(item->main.run, &stats);
    }
    const options *opt = g->opt;
    json_object_set_new(
        row, "provenance",
        json_pack(
            "{s:s,s:s,s:I,s:{s:I,s:I,s:f,s:I},s:O,s:f,s:f,s:I,s:I}", "lean",
            lean_pool_lean_version(g->s.pool) == NULL ? "?" : lean_pool_lean_version(g->s.pool),
            "policy", g->choice.policy.ops->name, "seed", (json_int_t)opt->seed, "budget", "nodes",
            (json_int_t)opt->generate_nodes, "expansions", (json_int_t)opt->expansions,
            "lean_seconds", opt->generate_lean_seconds, "width",
            (json_int_t)policy_choice_width(&g->choice, opt->generate_width_given,
                                            opt->generate_width),
            "used", item->usage.used, "seconds", (double)(pv_clock_ms() - item->started_ms) / 1000,
            "lean_seconds", stats.lean_seconds, "tactics", (json_int_t)stats.tactics, "states",
            (json_int_t)stats.nodes));
}

/* What a shorter list has replaced is no alternative to it. */
static void drop_unreduced(const generate_item *item, json_t *alternatives)
{
    if (item->unreduced == NULL || item->unreduced == item->proved) {
        return;
    }
    json_t *steps = data_row_steps(item->unreduced->run);
    for (size_t i = json_array_size(alternatives); i-- > 0;) {
        const char *tactic = text_of(json_array_get(alternatives, i), "tactic");
        lemma_list list;
        bool replaced = false;
        for (size_t k = 0; k < json_array_size(steps) && lemma_list_find(&list, tactic); k++) {
            replaced = replaced || strcmp(text_of(json_array_get(steps, k), "tactic"), tactic) == 0;
        }
        if (replaced) {
            json_array_remove(alternatives, i);
        }
    }
    json_decref(steps);
}

static json_t *proof_row(const generate_item *item)
{
    json_t *row = generate_row(item->g, "proof", item->statement);
    json_t *steps = data_row_steps(item->proved->run);
    data_row_sides_out sides = {
        item->more_failed == NULL ? json_array() : json_incref(item->more_failed),
        item->more_alternatives == NULL ? json_array() : json_incref(item->more_alternatives),
        json_array(), json_array()};
    const quest *all[] = {item->proved, &item->main, &item->cheap};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        if (all[i]->run != NULL && (i == 0 || all[i] != item->proved)) {
            data_row_sides(all[i]->run, steps, (size_t)item->g->opt->negatives, &sides);
        }
    }
    drop_unreduced(item, sides.alternatives);
    bool cheap = json_array_size(steps) == 1 &&
                 fixed_policy_is_cheap(text_of(json_array_get(steps, 0), "tactic"));
    json_object_set_new(row, "cheap", json_boolean(cheap));
    json_object_set_new(row, "header", json_string(item->g->header));
    json_object_set_new(row, "proof", json_string(item->proof));
    json_object_set_new(row, "length",
                        json_pack("{s:I,s:I}", "found", (json_int_t)item->found, "kept",
                                  (json_int_t)json_array_size(steps)));
    json_object_set_new(row, "steps", steps);
    json_object_set_new(row, "failed", sides.failed);
    json_object_set_new(row, "alternatives", sides.alternatives);
    json_object_set_new(row, "solved", sides.solved);
    json_object_set_new(row, "trail", sides.trail);
    json_object_set(row, "unused", item->usage.unused);
    set_provenance(item, row);
    return row;
}

static void finish_item(generate_item *item)
{
    generate_finished *f = pv_calloc(1, sizeof *f);
    if (f == NULL) {
        pv_fail(&item->failure, PV_E_NOMEM, "out of memory");
        fail_item(item, &item->failure);
        return;
    }
    f->row = proof_row(item);
    f->statement = pv_strdup(item->statement->text);
    f->proof = item->proof;
    f->origin = item->statement;
    item->proof = NULL;
    item->statement = NULL;
    generate_judge_add(item->g, f);
    end_item(item);
}

/* ---- contradiction, and the other closing tactics ---- */

/* Whether something among the hypotheses can contradict something: a guess from the text, that errs towards yes. */
static bool may_contradict(const char *goal)
{
    static const char *const signs[] = {"=", "≠", "≤", "<", "≥", ">", "∣",    "∈",
                                        "∉", "∧", "¬", "∃", "∀", "↔", "False"};
    const char *target = strstr(goal, "⊢");
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        const char *found = strstr(goal, signs[i]);
        if (found != NULL && (target == NULL || found < target)) {
            return true;
        }
    }
    return target == NULL ||
           strstr(target, "→") != NULL; /* hypotheses that are not introduced yet */
}

/* The closing tactics that look at the hypotheses: with them in force a contradiction among these proves anything. */
static bool add_hopeless(generate_item *item, bool cheap)
{
    static const char *const tactics[] = {"contradiction", "omega", "simp_all", "grind"};
    const char *goal = hole_of(item)->goals[0];
    bool ok = true;
    for (size_t i = 0; i < sizeof tactics / sizeof *tactics && ok && may_contradict(goal); i++) {
        /* A cheap proof by one of them needs no other to see what it saw. */
        if (!cheap || strstr(item->proof, tactics[i]) != NULL) {
            pv_buf text = {0};
            pv_buf_printf(&text, "intros; exfalso; %s", tactics[i]);
            ok = fixed_policy_add(&item->extra, pv_buf_text(&text));
            pv_buf_release(&text);
        }
    }
    item->hopeless_count = item->extra.count;
    return ok;
}

/* The cheap tactics behind the one that was the first to close the state: they close it, too, or are negatives. */
static bool add_later(generate_item *item)
{
    bool later = false, ok = true;
    for (size_t i = 0; i < item->cheap_tactics.count && ok; i++) {
        const char *tactic = item->cheap_tactics.tactics[i];
        ok = !later || fixed_policy_add(&item->extra, tactic);
        later = later || strcmp(tactic, item->proof) == 0;
    }
    return ok;
}

static void take_extra(generate_item *item, const char *tactic, const lean_tried *tried)
{
    if (tried->kind == LEAN_TRY_CLOSED) {
        json_array_append_new(item->more_alternatives,
                              json_pack("{s:i,s:s,s:[]}", "step", 0, "tactic", tactic, "next"));
    } else if (tried->kind == LEAN_TRY_FAILED &&
               json_array_size(item->more_failed) < item->g->opt->negatives) {
        json_array_append_new(item->more_failed,
                              data_row_failure(0, tactic, SEARCH_FAILED, tried->message));
    }
}

static void on_extra(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                     const pv_error *failure)
{
    generate_item *item = user;
    (void)t;
    (void)failure; /* what is missing is only missing */
    if (tried == NULL) {
        item->pending = false;
    } else if (index < item->hopeless_count) {
        item->contradictory = item->contradictory || tried->kind == LEAN_TRY_CLOSED;
    } else {
        item->g->tactics++;
        item->g->lean_seconds += tried->ms / 1000;
        take_extra(item, item->extra.tactics[index], tried);
    }
}

static void start_extra(generate_item *item)
{
    pv_error err = {0};
    bool cheap = item->proved == &item->cheap;
    item->more_failed = json_array();
    item->more_alternatives = json_array();
    bool ok = add_hopeless(item, cheap) && (!cheap || add_later(item));
    item->stage = GENERATE_EXTRA;
    item->pending = true;
    if (!ok || lean_try(hole_of(item)->state, (const char *const *)item->extra.tactics,
                        item->extra.count, &item->ticket, on_extra, item, &err) != PV_OK) {
        item->pending = false;
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        fail_item(item, &err);
    }
}

static bool turn_extra(generate_item *item)
{
    if (item->pending) {
        return false;
    }
    if (item->contradictory) {
        drop_item(item, "contradictory", "the hypotheses contradict one another");
    } else {
        finish_item(item);
    }
    return true;
}

/* ---- lists of lemmas ---- */

/* True when a search for shorter lists has begun. */
static bool start_reducing(generate_item *item)
{
    search_options how = shorten_options(item);
    size_t n = item->rounds;
    if (n == GENERATE_ROUNDS || item->proved == &item->cheap || item->g->opt->no_shorten ||
        !generate_reduce_gather(item, &item->reductions[n])) {
        return false;
    }
    item->unreduced = n == 0 ? item->proved : item->unreduced;
    item->rounds++;
    if (start_quest(item, &item->reduce[n], fixed_policy_table(&item->reductions[n]), &how)) {
        item->stage = GENERATE_REDUCE;
    }
    return true;
}

/* The rounds are over. A shorter list may be used otherwise. */
static void end_reducing(generate_item *item)
{
    if (item->proved == item->unreduced) {
        start_extra(item);
    } else {
        ask_usage(item);
    }
}

static bool turn_reduce(generate_item *item)
{
    quest *q = &item->reduce[item->rounds - 1];
    if (!quest_ready(q)) {
        return false;
    }
    search_state state = quest_pump(q);
    if (state == SEARCH_RUNNING) {
        return true;
    }
    if (state != SEARCH_PROVED || steps_of(q) > steps_of(item->proved)) {
        end_reducing(item);
    } else if (take_proof(item, q) && !start_reducing(item)) {
        end_reducing(item);
    }
    return true;
}

/* ---- what a proof uses ---- */

/* A proof by the theorem itself does not count: the search goes on without its last step. */
static void refuse_selfish(generate_item *item)
{
    quest *q = item->proved;
    bool reduced = item->unreduced != NULL && q != item->unreduced;
    if (q == &item->shorten || reduced) {
        if (take_proof(item, reduced ? item->unreduced : &item->main)) {
            ask_usage(item);
        }
        return;
    }
    item->proved = NULL;
    item->premises.no_simp = item->premises.no_simp || strstr(item->proof, "simp") != NULL;
    item->premises.no_grind = item->premises.no_grind || strstr(item->proof, "grind") != NULL;
    if (++item->selfish > SELFISH_MAX && q == &item->main) {
        drop_item(item, "self", "proved only by the theorem that it comes from");
        return;
    }
    (void)search_reject_proof(q->run);
    item->stage = q == &item->cheap ? GENERATE_CHEAP : GENERATE_SEARCH;
}

static bool turn_usage(generate_item *item)
{
    if (item->usage.pending) {
        return false;
    }
    if (item->usage.failure.status != PV_OK) {
        fail_item(item, &item->usage.failure);
    } else if (item->usage.itself) {
        refuse_selfish(item);
    } else if (item->rounds > 0 || !start_reducing(item)) {
        start_extra(item);
    }
    return true;
}

/* ---- the search ---- */

/* Whether such a tactic proved the statement by the theorem itself: a lemma with an attribute for it. */
static bool is_selfish(const generate_item *item, const char *tactic)
{
    for (size_t i = 0; i < item->known_count; i++) {
        const lean_known_failure *known = &item->known[i];
        if (strcmp(known->message, SELFISH) == 0 && strstr(known->tactic, tactic) != NULL) {
            return true;
        }
    }
    return false;
}

static void start_search(generate_item *item)
{
    const options *opt = item->g->opt;
    search_options how = {
        .statement = item->statement->text,
        .alpha = opt->alpha == 0 ? -1 : opt->alpha,
        .width =
            policy_choice_width(&item->g->choice, opt->generate_width_given, opt->generate_width),
        .window = 1,
        .nodes_max = opt->generate_nodes,
        .expansions_max = opt->expansions,
        .tokens_max = opt->tokens,
        .lean_seconds_max = opt->generate_lean_seconds,
        .wall_seconds_max = opt->generate_timeout,
        .depth_max = (uint32_t)opt->depth,
        .seed = opt->seed,
    };
    search_policy policy =
        policy_choice_without(&item->g->choice, &item->premises, item->statement->name);
    item->premises.no_simp = is_selfish(item, "simp");
    item->premises.no_grind = is_selfish(item, "grind");
    if (start_quest(item, &item->main, policy, &how)) {
        item->stage = GENERATE_SEARCH;
    }
}

static void note_known(void *user, const search_edge_view *edge)
{
    generate_item *item = user;
    bool selfish = edge->message != NULL && strstr(edge->message, "the judge refused") != NULL;
    if ((edge->kind != SEARCH_FAILED && edge->kind != SEARCH_TIMED_OUT) || edge->from != 0 ||
        pv_grow((void **)&item->known, &item->known_capacity, item->known_count + 1,
                sizeof *item->known) != 0) {
        return;
    }
    lean_known_failure *known = &item->known[item->known_count];
    known->tactic = pv_strdup(edge->tactic);
    known->message = pv_strdup(selfish ? SELFISH : edge->message == NULL ? "" : edge->message);
    if (known->tactic == NULL || known->message == NULL) {
        pv_free(known->tactic);
        pv_free(known->message);
        return;
    }
    item->known_count++;
}

static bool turn_cheap(generate_item *item)
{
    if (!quest_ready(&item->cheap)) {
        return false;
    }
    search_state state = quest_pump(&item->cheap);
    if (state == SEARCH_PROVED) {
        item->found = 1;
        if (take_proof(item, &item->cheap)) {
            ask_usage(item);
        }
    } else if (item->cheap.verifier.failure.status != PV_OK) {
        fail_item(item, &item->cheap.verifier.failure);
    } else if (state != SEARCH_RUNNING) {
        search_visit(item->cheap.run, NULL, note_known, item);
        count_search(item->g, &item->cheap);
        item->stage = GENERATE_CHEAP_END;
    }
    return true;
}

static bool turn_cheap_end(generate_item *item)
{
    if (!quest_end(&item->cheap)) {
        return false;
    }
    item->selfish = 0;
    start_search(item);
    return true;
}

static void write_open(generate_item *item, search_state state)
{
    json_t *row = generate_row(item->g, "open", item->statement);
    search_stats stats;
    search_stats_of(item->main.run, &stats);
    data_row_sides_out sides = {.solved = json_array(), .trail = json_array()};
    data_row_sides(item->main.run, NULL, 0, &sides);
    const char *why = state == SEARCH_BUDGET   ? search_budget_spent(item->main.run)
                      : state == SEARCH_BROKEN ? search_failure(item->main.run)->msg
                                               : search_state_name(state);
    json_object_set_new(row, "why", json_string(item->selfish > 0 ? "self" : why));
    json_object_set_new(row, "header", json_string(item->g->header));
    json_object_set_new(row, "solved", sides.solved);
    json_object_set_new(row, "trail", sides.trail);
    json_object_set_new(row, "spent",
                        json_pack("{s:f,s:f,s:I,s:I}", "seconds",
                                  (double)(pv_clock_ms() - item->started_ms) / 1000, "lean_seconds",
                                  stats.lean_seconds, "tactics", (json_int_t)stats.tactics,
                                  "states", (json_int_t)stats.nodes));
    generate_write(item->g, row, item->statement);
    end_item(item);
}

static void proof_found(generate_item *item)
{
    item->found = steps_of(&item->main);
    if (!take_proof(item, &item->main)) {
        return;
    }
    if (item->found >= 2 && !item->g->opt->no_shorten && item->shorten.run == NULL) {
        start_shortening(item);
    } else {
        ask_usage(item);
    }
}

static bool turn_search(generate_item *item)
{
    if (!quest_ready(&item->main)) {
        return false;
    }
    search_state state = quest_pump(&item->main);
    if (item->main.verifier.failure.status != PV_OK) {
        fail_item(item, &item->main.verifier.failure);
    } else if (state == SEARCH_PROVED) {
        proof_found(item);
    } else if (state != SEARCH_RUNNING && !item->g->s.interrupted) {
        write_open(item, state);
    } else if (state != SEARCH_RUNNING) {
        return false; /* the user stops it: generate_item_end() */
    }
    return true;
}

bool generate_item_turn(generate_item *item)
{
    switch (item->stage) {
    case GENERATE_IDLE:
        item->statement = item->g->stopping ? NULL : generate_next(item->g);
        if (item->statement != NULL) {
            item->g->taken++;
            start_opening(item);
        }
        return item->statement != NULL;
    case GENERATE_OPENING:
        return turn_opening(item);
    case GENERATE_CHEAP:
        return turn_cheap(item);
    case GENERATE_CHEAP_END:
        return turn_cheap_end(item);
    case GENERATE_SEARCH:
        return turn_search(item);
    case GENERATE_SHORTEN:
        return turn_shorten(item);
    case GENERATE_USAGE:
        return turn_usage(item);
    case GENERATE_REDUCE:
        return turn_reduce(item);
    case GENERATE_EXTRA:
        return turn_extra(item);
    case GENERATE_ENDING:
        return turn_ending(item);
    }
    return false;
}
