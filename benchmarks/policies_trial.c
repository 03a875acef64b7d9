#include "policies_trial.h"

#include "data_text.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

enum { REFUSALS_MAX = 3 }; /* as `prover prove` has it */

/* ---- the clock ---- */

static uint64_t active_ms(const trial *t)
{
    return t->active_ms + (t->resumed_ms == 0 ? 0 : pv_clock_ms() - t->resumed_ms);
}

static void resume(trial *t)
{
    t->resumed_ms = pv_clock_ms();
}

static void pause_clock(trial *t)
{
    t->active_ms = active_ms(t);
    t->resumed_ms = 0;
}

bool trial_is_searching(const trial *t)
{
    return t->stage == TRIAL_SEARCH || t->stage == TRIAL_USAGE;
}

bool trial_is_active(const trial *t)
{
    return t->stage == TRIAL_OPENING || trial_is_searching(t) || t->stage == TRIAL_ENDING;
}

/* ---- the end ---- */

static void finish(trial *t, bool solved, const char *why)
{
    pause_clock(t);
    t->solved = solved;
    snprintf(t->why, sizeof t->why, "%s", why);
    if (t->quest.run != NULL) {
        search_stats_of(t->quest.run, &t->stats);
    }
    t->stage = TRIAL_ENDING;
}

static bool is_fatal(pv_status status)
{
    return status == PV_E_SPAWN || status == PV_E_NOMEM || status == PV_E_UNSUPPORTED ||
           status == PV_E_MISUSE || status == PV_E_DEVICE;
}

static void fail(trial *t, const pv_error *why)
{
    if (is_fatal(why->status)) {
        t->fatal = *why;
    }
    finish(t, false, why->msg);
}

static bool is_quiet(const trial *t)
{
    return !t->pending && !t->usage.pending;
}

static bool turn_ending(trial *t)
{
    if (!quest_end(&t->quest) || !is_quiet(t)) {
        return false;
    }
    t->stage = TRIAL_DONE;
    return true;
}

bool trial_end(trial *t)
{
    if (t->pending) {
        lean_cancel(t->s->pool, t->ticket);
    }
    usage_cancel(&t->usage, t->s->pool);
    bool over = quest_end(&t->quest);
    return over && is_quiet(t);
}

void trial_release(trial *t)
{
    theorem_list_release(&t->opened);
    fixed_policy_release(&t->closers);
    usage_release(&t->usage);
    pv_free(t->proof);
    json_decref(t->axioms);
    memset(t, 0, sizeof *t);
}

/* ---- opening ---- */

static void on_opened(void *user, lean_ticket ticket, const lean_opened *opened,
                      const pv_error *failure)
{
    trial *t = user;
    (void)ticket;
    t->pending = false;
    if (failure != NULL) {
        t->failure = *failure;
        return;
    }
    const lean_message *wrong = theorem_first_error(opened);
    if (wrong != NULL) {
        pv_fail(&t->failure, PV_E_INVALID, "Lean says: %s", wrong->text);
        return;
    }
    pv_status status = theorem_list_copy(&t->opened, opened, &t->failure);
    (void)status; /* kept in t->failure */
}

static void start_opening(trial *t)
{
    pv_buf text = {0};
    pv_error err = {0};
    data_text_theorem(&text, "statement", t->st->text, "sorry");
    t->stage = TRIAL_OPENING;
    t->pending = true;
    if (!pv_buf_ok(&text) ||
        lean_open(t->env, pv_buf_text(&text), &t->ticket, on_opened, t, &err) != PV_OK) {
        t->pending = false;
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        fail(t, &err);
    }
    pv_buf_release(&text);
}

void trial_start(trial *t)
{
    if (t->quest.run == NULL) {
        start_opening(t);
    } else {
        t->stage = TRIAL_SEARCH;
        resume(t);
    }
}

/* ---- the search ---- */

static const hole *hole_of(const trial *t)
{
    return t->opened.count == 1 && t->opened.items[0].hole_count == 1 ? &t->opened.items[0].holes[0]
                                                                      : NULL;
}

/* The options of `prover prove`; wall time is watched here, since it stands while the judge works. */
static search_options options_of(const trial *t)
{
    const options *opt = t->s->opt;
    search_options how = {.statement = t->st->text,
                          .alpha = opt->alpha == 0 ? -1 : opt->alpha,
                          .width = t->arm->width,
                          .window = (uint32_t)opt->window,
                          .nodes_max = opt->nodes,
                          .tokens_max = opt->tokens,
                          .lean_seconds_max = opt->lean_seconds,
                          .depth_max = (uint32_t)opt->depth,
                          .seed = opt->seed};
    if (t->arm->policy.ops == NULL) {
        how.alpha = -1;
        how.window = 1;
        how.depth_max = 1;
    }
    return how;
}

static pv_status start_search(trial *t, pv_error *err)
{
    const hole *target = hole_of(t);
    if (target == NULL) {
        return pv_fail(err, PV_E_INVALID, "the statement opens without a goal");
    }
    search_policy policy = t->arm->policy;
    if (policy.ops == NULL) {
        if (!fixed_policy_add_cheap(&t->closers, target->goals[0])) {
            return pv_fail(err, PV_E_NOMEM, "out of memory");
        }
        policy = fixed_policy_table(&t->closers);
    }
    search_options how = options_of(t);
    return quest_start(&t->quest, t->s, policy, &how, target, NULL, 0, err);
}

static bool turn_opening(trial *t)
{
    if (t->pending) {
        return false;
    }
    if (t->failure.status == PV_OK && start_search(t, &t->failure) == PV_OK) {
        t->stage = TRIAL_SEARCH;
        resume(t);
    } else {
        fail(t, &t->failure);
    }
    return true;
}

/* NULL while the trial may go on. */
static const char *limit_reached(const trial *t)
{
    search_stats stats;
    search_stats_of(t->quest.run, &stats);
    if ((double)active_ms(t) >= t->limits.seconds * 1000) {
        return "wall time";
    }
    return t->limits.calls > 0 && stats.tactics >= t->limits.calls ? "Lean calls" : NULL;
}

static void proof_found(trial *t)
{
    pv_buf text = {0};
    pv_error err = {0};
    pv_status status = search_proof(t->quest.run, &text, &err);
    pv_free(t->proof);
    t->proof = status == PV_OK ? pv_buf_detach(&text) : NULL;
    pv_buf_release(&text);
    if (t->proof == NULL) {
        pv_fail(&err, PV_E_NOMEM, "out of memory");
    } else {
        t->stage = TRIAL_USAGE;
        status = usage_ask(&t->usage, t->env, t->st->text, t->proof, t->st->name, &err);
    }
    if (err.status != PV_OK) {
        fail(t, &err);
    }
}

static const char *why_over(const trial *t, search_state state)
{
    return state == SEARCH_BUDGET   ? search_budget_spent(t->quest.run)
           : state == SEARCH_BROKEN ? search_failure(t->quest.run)->msg
                                    : search_state_name(state);
}

static bool turn_search(trial *t)
{
    const char *limit = limit_reached(t);
    if (limit == NULL && !quest_ready(&t->quest)) {
        return false;
    }
    search_state state = quest_pump(&t->quest);
    if (t->quest.verifier.failure.status != PV_OK) {
        fail(t, &t->quest.verifier.failure);
    } else if (state == SEARCH_PROVED) {
        proof_found(t);
    } else if (state == SEARCH_BROKEN) {
        fail(t, search_failure(t->quest.run));
    } else if (state != SEARCH_RUNNING) {
        finish(t, false, why_over(t, state));
    } else if (limit != NULL) {
        finish(t, false, limit);
    }
    return true;
}

/* The proof does not count; the search goes on without its last step, at once or in its turn. */
static void reject(trial *t, trial_stage then)
{
    (void)search_reject_proof(t->quest.run);
    t->stage = then;
}

static bool turn_usage(trial *t)
{
    if (t->usage.pending) {
        return false;
    }
    if (t->usage.failure.status != PV_OK && is_fatal(t->usage.failure.status)) {
        fail(t, &t->usage.failure);
    } else if (t->usage.failure.status != PV_OK) {
        t->refused++; /* the proof's text does not even compile */
        snprintf(t->refusal, sizeof t->refusal, "usage: %.300s", t->usage.failure.msg);
        reject(t, TRIAL_SEARCH);
    } else if (t->usage.itself) {
        t->selfish++;
        reject(t, TRIAL_SEARCH);
    } else {
        pause_clock(t);
        t->stage = TRIAL_JUDGE;
        t->ask.statement = t->st->text;
        t->ask.proof = t->proof;
        judge_queue_add(t->judge, &t->ask);
    }
    return true;
}

void trial_take_answer(trial *t, const judge_answer *answer)
{
    if (answer == NULL) {
        finish(t, false, "the judge gave no answer");
    } else if (answer->reason == NULL) {
        t->axioms = json_deep_copy(answer->axioms);
        finish(t, true, "");
    } else {
        t->refused++;
        snprintf(t->refusal, sizeof t->refusal, "%.40s: %.300s", answer->reason, answer->message);
        reject(t, TRIAL_WAITING);
        if (t->refused >= REFUSALS_MAX) {
            finish(t, false, "the judge refused its proofs");
        }
    }
}

bool trial_turn(trial *t)
{
    switch (t->stage) {
    case TRIAL_OPENING:
        return turn_opening(t);
    case TRIAL_SEARCH:
        return turn_search(t);
    case TRIAL_USAGE:
        return turn_usage(t);
    case TRIAL_ENDING:
        return turn_ending(t);
    case TRIAL_WAITING:
    case TRIAL_JUDGE:
    case TRIAL_DONE:
        break;
    }
    return false;
}

/* ---- the row ---- */

json_t *trial_row(const trial *t)
{
    const search_stats *s = &t->stats;
    json_t *row = json_pack(
        "{s:s,s:s,s:s,s:s,s:s,s:b,s:f,s:I,s:f,s:I,s:I,s:I}", "kind", "trial", "id", t->st->id,
        "name", t->st->name, "module", t->st->module, "arm", t->arm->name, "solved", t->solved,
        "seconds", (double)active_ms(t) / 1000, "calls", (json_int_t)s->tactics, "lean_seconds",
        s->lean_seconds, "states", (json_int_t)s->nodes, "expansions", (json_int_t)s->expansions,
        "tokens", (json_int_t)s->tokens);
    json_object_set_new(row, "outcomes",
                        json_pack("{s:I,s:I,s:I,s:I,s:I}", "failed", (json_int_t)s->failed,
                                  "timed_out", (json_int_t)s->timed_out, "no_ops",
                                  (json_int_t)s->no_ops, "merged", (json_int_t)s->duplicates,
                                  "lost", (json_int_t)s->lost));
    json_object_set_new(row, "selfish", json_integer(t->selfish));
    json_object_set_new(row, "refused", json_integer(t->refused));
    if (t->refused > 0) {
        json_object_set_new(row, "refusal", json_string(t->refusal));
        json_object_set_new(row, "last_proof", json_string(t->proof));
    }
    if (t->solved) {
        json_object_set_new(row, "level", json_string(lean_level_name(LEAN_LEVEL_AUDITED)));
        json_object_set_new(row, "proof", json_string(t->proof));
        json_object_set(row, "axioms", t->axioms);
    } else {
        json_object_set_new(row, "why", json_string(t->why));
    }
    return row;
}
