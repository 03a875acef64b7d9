/* One attempt's way. Each stage ends when its question is answered or its effort has something to say; the next turn goes on.
 *
 *   HEADER -> OPENING -> EFFORT <-> JUDGING
 *                           \___________\_____> ENDING */
#include "attempt.h"
#include "bench.h"

#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <string.h>

/* ---- the end ---- */

static void forget(bench_item *item)
{
    bench *b = item->b;
    effort_release(&item->effort);
    pv_free(item->statement);
    theorem_list_release(&item->opened);
    tree_list_release(&item->trees);
    verdict_release(&item->verdict);
    source_release(&item->src);
    if (item->env != NULL) {
        lean_env_unref(item->env);
    }
    memset(item, 0, sizeof *item);
    item->b = b;
}

void bench_item_release(bench_item *item)
{
    forget(item);
}

static void finish(bench_item *item, const char *status, const char *why)
{
    bench_result_write(item, status, why);
    item->stage = BENCH_ENDING;
}

/* The attempt has no result: it goes back, and the run ends. */
static void fail_run(bench_item *item, const pv_error *why)
{
    pv_error err = *why;
    if (err.status == PV_OK) {
        pv_fail(&err, PV_E_MISUSE, "an answer of Lean was lost");
    }
    bench_fail(item->b, &err);
    item->stage = BENCH_ENDING;
}

/* What is wrong with the problem is its result; what is wrong with the machine ends the run. */
static void fail(bench_item *item, const pv_error *why)
{
    if (why->status == PV_E_INVALID || why->status == PV_E_TIMEOUT || why->status == PV_E_LOST ||
        why->status == PV_E_LIMIT || why->status == PV_E_PROTOCOL) {
        finish(item, "error", why->msg);
    } else {
        fail_run(item, why);
    }
}

static void fail_memory(bench_item *item)
{
    pv_error err = {0};
    pv_fail(&err, PV_E_NOMEM, "out of memory");
    fail_run(item, &err);
}

static bool turn_ending(bench_item *item)
{
    if (!effort_end(&item->effort) || item->pending) {
        return false;
    }
    forget(item);
    return true;
}

bool bench_item_end(bench_item *item)
{
    if (item->stage == BENCH_OPENING && item->pending) {
        lean_cancel(item->b->s.pool, item->ticket);
    }
    if (item->stage != BENCH_IDLE) {
        item->stage = BENCH_ENDING;
    }
    return effort_end(&item->effort);
}

/* ---- header and statement ---- */

static void on_header(void *user, lean_ticket t, const lean_message *messages, size_t n,
                      const pv_error *failure)
{
    (void)t;
    (void)messages;
    (void)n;
    bench_item *item = user;
    item->pending = false;
    if (failure != NULL) {
        item->failure = *failure;
    }
}

static uint64_t seed_of(const bench_item *item)
{
    const problem *p = item->problem;
    uint64_t own = pv_hash_bytes(p->text_hash, sizeof p->text_hash, p->target);
    return pv_mix64(item->b->run.seed ^ pv_mix64(own + item->claim.pass)) % 9000000000000000u;
}

void bench_item_start(bench_item *item, store_claim claim)
{
    const problem *p = &item->b->problems.items[claim.problem];
    item->claim = claim;
    item->problem = p;
    item->seed = seed_of(item);
    item->started_ms = pv_clock_ms();
    item->stage = BENCH_HEADER;
    pv_error err = {0};
    if (source_of_text(&item->src, p->name, p->header, p->text, strlen(p->text), false, &err) !=
            PV_OK ||
        lean_env_new(item->b->s.pool, &item->env, item->src.header, on_header, item, &err) !=
            PV_OK) {
        fail(item, &err);
        return;
    }
    item->pending = true;
    lean_judge_prepare(item->b->s.judge, item->src.header);
}

static void on_opened(void *user, lean_ticket t, const lean_opened *opened, const pv_error *failure)
{
    (void)t;
    bench_item *item = user;
    item->pending = false;
    if (failure != NULL) {
        item->failure = *failure;
        return;
    }
    const lean_message *wrong = theorem_first_error(opened);
    if (wrong != NULL) {
        pv_fail(&item->failure, PV_E_INVALID, "the statement at %zu:%zu: Lean says: %s",
                wrong->start.line, wrong->start.column, wrong->text);
        return;
    }
    pv_status status = theorem_list_copy(&item->opened, opened, &item->failure);
    (void)status; /* kept in item->failure */
}

/* Lean is known now: results say which, and a run has one. */
static pv_status know_lean(bench *b, pv_error *err)
{
    const char *lean = lean_pool_lean_version(b->s.pool);
    pv_status status = store_run_lean(b->store, b->run.id, lean == NULL ? "?" : lean, err);
    return status == PV_OK ? bench_environment(b, err) : status;
}

static void keep_env(bench *b, lean_env *env)
{
    lean_env *before = b->kept;
    b->kept = lean_env_ref(env);
    if (before != NULL) {
        lean_env_unref(before);
    }
}

static bool turn_header(bench_item *item)
{
    pv_error err = {0};
    if (item->pending) {
        return false;
    }
    if (item->failure.status != PV_OK) {
        fail(item, &item->failure);
        return true;
    }
    if (item->b->environment == NULL && know_lean(item->b, &err) != PV_OK) {
        fail_run(item, &err);
        return true;
    }
    keep_env(item->b, item->env);
    item->stage = BENCH_OPENING;
    if (lean_open(item->env, item->src.body, &item->ticket, on_opened, item, &err) != PV_OK) {
        fail(item, &err);
    } else {
        item->pending = true;
    }
    return true;
}

/* ---- the effort ---- */

static const theorem *find_target(const bench_item *item)
{
    size_t place = 0;
    for (size_t i = 0; i < item->opened.count; i++) {
        const theorem *t = &item->opened.items[i];
        if (t->hole_count > 0 && place++ == item->problem->target) {
            return t;
        }
    }
    return NULL;
}

static void keep_tree(void *user, const search_run *run)
{
    bench_item *item = user;
    pv_buf title = {0};
    effort_search_title(&item->effort, &title);
    tree_list_add(&item->trees, run, pv_buf_text(&title));
    pv_buf_release(&title);
}

static effort_plan plan_of(bench_item *item)
{
    bench *b = item->b;
    const options *opt = &b->opt;
    effort_plan plan = {
        .whole = {.s = &b->s,
                  .env = item->env,
                  .src = &item->src,
                  .theorem = item->target,
                  .target = item->problem->target,
                  .name = item->problem->name,
                  .statement = item->statement,
                  .writer = b->writers.table,
                  .samples = opt->whole_samples,
                  .rounds = opt->whole_rounds,
                  .repairs = opt->repair,
                  .repair_samples = opt->repair_samples,
                  .first = item->claim.pass,
                  .seed = item->seed},
        .steps = b->writers.steps,
        .policy = b->choice.policy,
        .how = {.alpha = opt->alpha == 0 ? -1 : opt->alpha,
                .width = policy_choice_width(&b->choice, opt->width_given, opt->width),
                .window = (uint32_t)opt->window,
                .depth_max = (uint32_t)opt->depth,
                .seed = item->seed},
        .limit = b->limit,
        .chunk = QUEST_CHUNK,
        .search_ends = opt->no_trees ? NULL : keep_tree,
        .user = item,
    };
    return plan;
}

static void start_effort(bench_item *item)
{
    item->statement = attempt_statement(&item->src, item->target);
    if (item->statement == NULL) {
        fail_memory(item);
        return;
    }
    effort_plan plan = plan_of(item);
    item->stage = BENCH_EFFORT;
    effort_start(&item->effort, &plan);
}

static bool turn_opening(bench_item *item)
{
    if (item->pending) {
        return false;
    }
    if (item->failure.status != PV_OK) {
        fail(item, &item->failure);
        return true;
    }
    item->target = find_target(item);
    if (item->target == NULL) {
        finish(item, "skipped", "Lean finds no declaration with a `sorry` here");
        return true;
    }
    char *why = attempt_why_skip(item->target);
    if (why != NULL) {
        finish(item, "skipped", why);
        pv_free(why);
        return true;
    }
    start_effort(item);
    return true;
}

/* ---- judging ---- */

static void copy_answer(verdict *v, const judge_answer *answer)
{
    verdict_release(v);
    size_t count = json_array_size(answer->axioms);
    v->axioms = pv_calloc(count + 1, sizeof *v->axioms);
    for (size_t i = 0; i < count && v->axioms != NULL; i++) {
        v->axioms[v->axiom_count++] =
            pv_strdup(json_string_value(json_array_get(answer->axioms, i)));
    }
    v->level = answer->level;
    v->reason = answer->reason == NULL ? NULL : pv_strdup(answer->reason);
    v->message = answer->message == NULL ? NULL : pv_strdup(answer->message);
    v->lean_version = answer->lean_version == NULL ? NULL : pv_strdup(answer->lean_version);
    v->sandboxed = answer->sandboxed;
    v->seconds = answer->seconds;
}

void bench_item_judged(void *user, judge_ask *ask, const judge_answer *answer)
{
    bench_item *item = (bench_item *)(void *)ask;
    (void)user;
    item->pending = false;
    if (answer != NULL) { /* else the run ends */
        copy_answer(&item->verdict, answer);
    }
}

/* The proof waits for others, to be judged with them; what it found stays found. */
static void start_judging(bench_item *item)
{
    effort *e = &item->effort;
    item->asked = (judge_text){.header = item->src.header,
                               .original = item->src.body,
                               .candidate = pv_buf_text(&e->candidate),
                               .name = item->target->name,
                               .proofs = (const char *const *)e->proofs,
                               .proof_count = e->proof_count};
    item->ask = (judge_ask){.text = &item->asked};
    item->stage = BENCH_JUDGING;
    item->pending = true;
    item->found_ms = pv_clock_ms();
    judge_queue_add(&item->b->judge, &item->ask);
}

static bool turn_effort(bench_item *item)
{
    effort *e = &item->effort;
    switch (e->state) {
    case EFFORT_WORKING:
        return effort_turn(e);
    case EFFORT_FOUND:
        start_judging(item);
        break;
    case EFFORT_PROVED:
        finish(item, "proved", NULL);
        break;
    case EFFORT_OVER:
        finish(item, e->refused ? "refused" : "not proved", e->why);
        break;
    case EFFORT_FAILED:
        if (e->is_machine) {
            fail_run(item, &e->failure);
        } else {
            fail(item, &e->failure);
        }
        break;
    case EFFORT_STOPPED: /* the run ends, and the attempt goes back */
        return false;
    }
    return true;
}

static bool turn_judging(bench_item *item)
{
    if (item->pending) {
        return false;
    }
    item->stage = BENCH_EFFORT;
    effort_judged(&item->effort, session_accepts(&item->b->s, item->verdict.level),
                  item->verdict.message);
    return true;
}

bool bench_item_turn(bench_item *item)
{
    switch (item->stage) {
    case BENCH_HEADER:
        return turn_header(item);
    case BENCH_OPENING:
        return turn_opening(item);
    case BENCH_EFFORT:
        return turn_effort(item);
    case BENCH_JUDGING:
        return turn_judging(item);
    case BENCH_ENDING:
        return turn_ending(item);
    case BENCH_IDLE:
        break;
    }
    return false;
}
