#include "search_replay.h"

#include "pv_mem.h"

#include <string.h>

void search_replay_close(search_replay *replay)
{
    if (replay == NULL) {
        return;
    }
    for (size_t i = 0; i < replay->take_count; i++) {
        pv_free(replay->takes[i].outcomes);
    }
    pv_free(replay->takes);
    pv_free(replay->debts);
    search_arena_release(&replay->arena);
    pv_free(replay);
}

const search_options *search_replay_options(const search_replay *replay)
{
    return &replay->options;
}

const search_outcome *search_replay_root(const search_replay *replay)
{
    return &replay->root;
}

uint64_t search_replay_digest(const search_replay *replay)
{
    return replay->digest;
}

static const search_take *find_take(const search_replay *replay, uint64_t ticket)
{
    size_t low = 0;
    size_t high = replay->take_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (replay->takes[middle].ticket < ticket) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    bool found = low < replay->take_count && replay->takes[low].ticket == ticket;
    return found ? &replay->takes[low] : NULL;
}

/* ---- requests without an answer ---- */

static pv_status owe(search_replay *replay, const search_debt *debt, pv_error *err)
{
    if (pv_grow((void **)&replay->debts, &replay->debt_capacity, replay->debt_count + 1,
                sizeof *replay->debts) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory in a replay");
    }
    replay->debts[replay->debt_count++] = *debt;
    return PV_OK;
}

static bool take_debt(search_replay *replay, uint64_t ticket, bool policy, search_debt *out)
{
    for (size_t i = 0; i < replay->debt_count; i++) {
        if (replay->debts[i].ticket == ticket && replay->debts[i].policy == policy) {
            *out = replay->debts[i];
            replay->debts[i] = replay->debts[--replay->debt_count];
            return true;
        }
    }
    return false;
}

/* ---- the policy ---- */

static pv_status replay_propose(void *self, const search_policy_request *request, pv_error *err)
{
    const search_take *take = find_take(self, request->ticket);
    if (take == NULL) {
        search_debt debt = {.run = request->run, .ticket = request->ticket, .policy = true};
        return owe(self, &debt, err);
    }
    search_deliver_candidates(request->run, request->ticket, take->candidates,
                              take->candidate_count, NULL);
    return PV_OK;
}

static void replay_cancel_policy(void *self, search_run *run, uint64_t ticket)
{
    (void)run; /* a replay answers one run */
    search_debt debt;
    if (take_debt(self, ticket, true, &debt)) {
        search_deliver_candidates(debt.run, ticket, NULL, 0, NULL);
    }
}

search_policy search_replay_policy(search_replay *replay)
{
    static const search_policy_ops ops = {
        .name = "replay", .propose = replay_propose, .cancel = replay_cancel_policy};
    return (search_policy){.ops = &ops, .self = replay};
}

/* ---- the verifier ---- */

static pv_status replay_try(void *self, const search_try_request *request, pv_error *err)
{
    const search_take *take = find_take(self, request->ticket);
    size_t known = take == NULL ? 0 : take->outcome_count;
    known = known < request->n ? known : request->n;
    if (known < request->n) {
        search_debt debt = {
            .run = request->run, .ticket = request->ticket, .first = known, .end = request->n};
        pv_status status = owe(self, &debt, err);
        if (status != PV_OK) {
            return status;
        }
    }
    for (size_t i = 0; i < known; i++) {
        search_deliver_outcome(request->run, request->ticket, i, &take->outcomes[i]);
    }
    return PV_OK;
}

static void replay_cancel_try(void *self, uint64_t ticket)
{
    static const search_outcome cancelled = {.kind = SEARCH_LOST, .message = "cancelled"};
    search_debt debt;
    if (take_debt(self, ticket, false, &debt)) {
        for (size_t i = debt.first; i < debt.end; i++) {
            search_deliver_outcome(debt.run, ticket, i, &cancelled);
        }
    }
}

static void replay_release(void *self, search_handle *handle)
{
    (void)self;
    (void)handle;
}

search_verifier search_replay_verifier(search_replay *replay)
{
    static const search_verifier_ops ops = {
        .try_tactics = replay_try, .cancel = replay_cancel_try, .release = replay_release};
    return (search_verifier){.ops = &ops, .self = replay};
}

/* ---- the whole search ---- */

static void pump_to_the_end(search_run *run, uint64_t rejections)
{
    for (;;) {
        search_state state = search_pump(run);
        if (state == SEARCH_PROVED && rejections > 0) {
            rejections--;
            search_reject_proof(run);
        } else if (state != SEARCH_RUNNING || !search_wants_pump(run)) {
            break;
        }
    }
    search_cancel(run); /* what the trace has no answer to is answered now */
    search_pump(run);
}

pv_status search_replay_run(search_replay *replay, search_stats *stats, pv_error *err)
{
    search_run *run;
    search_options options = replay->options;
    options.wall_seconds_max = 0;
    pv_status status = search_run_new(&run, &options, search_replay_policy(replay),
                                      search_replay_verifier(replay), &replay->root, err);
    if (status != PV_OK) {
        return status;
    }
    pump_to_the_end(run, replay->rejections);
    search_stats_of(run, stats);
    if (search_failure(run)->status == PV_E_NOMEM) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory in a replay");
    }
    search_run_free(run);
    return status;
}
