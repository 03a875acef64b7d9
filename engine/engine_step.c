/* One step: the planned batch goes to the device, and answers come back: of this batch, or of an earlier one. */
#include "engine_scheduler.h"

#include "pv_clock.h"

#include <string.h>

/* ---- Launch ---- */

static void fill_seqs(engine *e)
{
    for (uint32_t i = 0; i < e->item_count; i++) {
        const enginep_item *it = &e->items[i];
        e->seqs[i] = (engine_batch_seq){.pages = e->tables + it->table_at,
                                        .page_count = it->table_len,
                                        .start = it->start,
                                        .rows = it->rows};
    }
}

/* The batch's draws become a flight; the array that it had is the next batch's. */
static void take_off(engine *e, uint64_t ticket)
{
    enginep_flight *f = &e->flights[e->flight_count++];
    enginep_sample **spare = f->askers;
    *f = (enginep_flight){.ticket = ticket, .askers = e->askers, .count = e->draw_count};
    e->askers = spare;
}

static pv_status launch(engine *e, pv_error *err)
{
    fill_seqs(e);
    engine_batch batch = {.tokens = e->tokens,
                          .rows = e->row_count,
                          .seqs = e->seqs,
                          .seq_count = e->item_count,
                          .logit_rows = e->logit_count > 0 ? e->logit_rows : NULL,
                          .logit_count = e->logit_count};
    if (e->from_logits) {
        return e->backend->forward(e->device, &batch, e->logit_count > 0 ? e->logits : NULL, err);
    }
    uint64_t ticket = 0;
    pv_status status = e->backend->submit(e->device, &batch, e->draw_count > 0 ? e->draws : NULL,
                                          e->draw_count, &ticket, err);
    if (status == PV_OK) {
        take_off(e, ticket);
    }
    return status;
}

static void book_rows(engine *e, bool launched)
{
    for (uint32_t i = 0; i < e->item_count; i++) {
        const enginep_item *item = &e->items[i];
        if (item->probe_page != ENGINE_PAGE_NONE) {
            engine_tree_give_page(e->tree, item->probe_page);
        }
        if (launched) {
            e->stats.rows += item->rows;
            e->stats.tokens_again += item->again;
            e->stats.tokens_computed += item->rows - item->again;
            if (item->node != NULL) {
                engine_tree_wrote(e->tree, item->node, item->rows);
            }
        }
    }
    e->item_count = 0;
}

static pv_status launch_and_book(engine *e, pv_error *err)
{
    pv_status status = launch(e, err);
    book_rows(e, status == PV_OK);
    if (status == PV_OK) {
        e->launches +=
            e->steps_ahead == 0 || !e->from_logits; /* of draws: tokens come from the last one */
        e->stats.steps++;
    }
    return status;
}

/* ---- Land ---- */

static pv_status land(engine *e, pv_error *err)
{
    pv_status status = e->backend->collect(e->device, e->flights[0].ticket, e->answers, err);
    if (status == PV_OK) {
        enginep_answer_from_device(e, e->answers);
    }
    enginep_flight over = e->flights[0];
    e->flight_count--;
    memmove(e->flights, e->flights + 1, e->flight_count * sizeof over);
    e->flights[e->flight_count] = over;
    return status;
}

/* ---- The step ---- */

static pv_status fail_step(engine *e, const pv_error *why, pv_error *err)
{
    book_rows(e, false);
    if (why->status == PV_E_DEVICE) {
        e->dead = true;
        e->death = *why;
        e->flight_count = 0;
    }
    enginep_end_all(e, ENGINE_FINISH_FAILED, why);
    return pv_fail(err, why->status, "%s", why->msg);
}

static pv_status run_batch(engine *e, bool *launched, pv_error *err)
{
    pv_status status = enginep_plan(e, err);
    *launched = status == PV_OK && e->item_count > 0;
    return *launched ? launch_and_book(e, err) : status;
}

static pv_status run(engine *e, pv_error *err)
{
    bool launched = false;
    pv_error why = {0};
    pv_status status = run_batch(e, &launched, &why);
    if (status == PV_OK && launched && e->from_logits) {
        enginep_answer_from_logits(e);
    }
    bool land_one = e->flight_count > 0 && (!launched || e->flight_count == e->steps_ahead);
    if (status == PV_OK && land_one) {
        status = land(e, &why);
    }
    if (status != PV_OK) {
        (void)pv_error_wrap(&why, "the %s device failed", e->backend->name);
        return fail_step(e, &why, err);
    }
    return PV_OK;
}

pv_status engine_step(engine *e, bool *busy, pv_error *err)
{
    if (e->stepping) {
        return pv_fail(err, PV_E_MISUSE, "engine_step() was called from a callback of this engine");
    }
    uint64_t start = pv_clock_ns();
    e->stepping = true;
    e->step++;
    enginep_sweep(e);
    enginep_distinct_advance(e);
    pv_status status = run(e, err);
    enginep_sweep(e);
    enginep_distinct_advance(e);
    enginep_free_spent(e);
    enginep_deliver(e);
    e->stepping = false;
    e->stats.busy_ns += pv_clock_ns() - start;
    if (busy != NULL) {
        *busy = !enginep_list_empty(&e->active) || !enginep_list_empty(&e->waiting) ||
                e->flight_count > 0;
    }
    return status;
}
