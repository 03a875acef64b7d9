#include "bench.h"

#include "progress.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

enum {
    BEAT_MS = 5000,
    COUNT_MS = 2000,
    ASK_MS = 500,
    JUDGED_TOGETHER = 8,
    JUDGED_AFTER_MS = 30000
};

void bench_fail(bench *b, const pv_error *err)
{
    if (b->failure.status == PV_OK) {
        b->failure = *err;
    }
}

static bool due(uint64_t *last, uint64_t pause)
{
    uint64_t now = pv_clock_ms();
    if (*last != 0 && now - *last < pause) {
        return false;
    }
    *last = now;
    return true;
}

static bool is_idle(const bench *b)
{
    for (size_t i = 0; i < b->item_count; i++) {
        if (b->items[i].stage != BENCH_IDLE) {
            return false;
        }
    }
    return true;
}

/* ---- claims ---- */

/* How many are worked on, and not only waited for. */
static size_t working(const bench *b)
{
    size_t n = 0;
    for (size_t i = 0; i < b->item_count; i++) {
        n += b->items[i].stage != BENCH_IDLE && b->items[i].stage != BENCH_JUDGING;
    }
    return n;
}

/* Gives work to whoever has none. Where the others have all that is left, it asks again a little later: one of them may end. */
static bool claim(bench *b)
{
    bool moved = false;
    if (b->stopping || b->next == STORE_OVER ||
        (b->next == STORE_WAIT && !due(&b->asked_ms, ASK_MS))) {
        return false;
    }
    size_t busy = working(b);
    for (size_t i = 0; i < b->item_count && busy < b->parallel && b->failure.status == PV_OK; i++) {
        if (b->items[i].stage != BENCH_IDLE) {
            continue;
        }
        store_claim got;
        pv_error err = {0};
        if (store_claim_next(b->store, b->me, &got, &b->next, &err) != PV_OK) {
            bench_fail(b, &err);
        } else if (b->next == STORE_CLAIMED) {
            bench_item_start(&b->items[i], got);
            busy++;
            moved = true;
        } else {
            break;
        }
    }
    return moved;
}

static void keep_alive(bench *b)
{
    pv_error err = {0};
    if (due(&b->beat_ms, BEAT_MS) && store_beat(b->store, b->me, &err) != PV_OK) {
        bench_fail(b, &err);
    }
    double minutes = (double)(pv_clock_ms() - b->started_ms) / 60000;
    b->stopping = b->opt.minutes > 0 && minutes >= b->opt.minutes;
}

/* ---- progress ---- */

static void put_left(const bench *b, pv_buf *line)
{
    uint64_t left = b->counts.attempts - b->counts.done;
    const budget *limit = &b->limit;
    double seconds = limit->wall_seconds * (double)left / (double)b->parallel;
    pv_buf_printf(line, "%llu attempts left", (unsigned long long)left);
    if (limit->wall_seconds > 0) {
        pv_buf_printf(line, ", at most %.1f h", seconds / 3600);
    }
    if (limit->nodes > 0) {
        pv_buf_printf(line, ", %.3g states", (double)limit->nodes * (double)left);
    }
    if (limit->lean_seconds > 0) {
        pv_buf_printf(line, ", %.3g s in Lean", limit->lean_seconds * (double)left);
    }
    if (limit->tokens > 0) {
        pv_buf_printf(line, ", %.3g tokens", (double)limit->tokens * (double)left);
    }
    if (b->opt.minutes > 0) {
        double spent = (double)(pv_clock_ms() - b->started_ms) / 60000;
        pv_buf_printf(line, "; %.1f min of %.0f", spent, b->opt.minutes);
    }
}

static void show_progress(bench *b)
{
    const store_counts *n = &b->counts;
    double minutes = (double)(pv_clock_ms() - b->started_ms) / 60000;
    pv_buf line = {0};
    pv_buf_printf(&line, "bench: %llu of %llu solved, %llu of %llu attempts done, %llu running",
                  (unsigned long long)n->problems_proved, (unsigned long long)b->run.problem_count,
                  (unsigned long long)n->done, (unsigned long long)n->attempts,
                  (unsigned long long)n->claimed);
    if (n->members > 1) {
        pv_buf_printf(&line, " in %llu processes", (unsigned long long)n->members);
    }
    pv_buf_printf(&line, ", %.1f/min; ", minutes > 0 ? (double)b->done_here / minutes : 0);
    put_left(b, &line);
    if (pv_buf_ok(&line)) {
        progress_line(pv_buf_text(&line));
    }
    pv_buf_release(&line);
}

static void look(bench *b)
{
    pv_error err = {0};
    keep_alive(b);
    if (due(&b->counted_ms, COUNT_MS)) {
        uint64_t start = pv_clock_ms();
        if (store_count(b->store, b->run.id, &b->counts, &err) != PV_OK) {
            bench_fail(b, &err);
        }
        b->counted_ms += 20 * (pv_clock_ms() - start); /* a large run is counted less often */
    }
    show_progress(b);
}

/* ---- the loop ---- */

/* A fresh Lean process costs seconds, so proofs wait for each other: until they are several, or have waited long, or there is nothing
 * else to do. */
static bool turn_judge(bench *b)
{
    uint64_t now = pv_clock_ms();
    bool all = b->judge.count >= JUDGED_TOGETHER || working(b) == 0;
    for (size_t i = 0; i < b->item_count && !all; i++) {
        const bench_item *item = &b->items[i];
        all = item->stage == BENCH_JUDGING && item->pending &&
              now - item->found_ms >= JUDGED_AFTER_MS;
    }
    bool moved = judge_queue_turn(&b->judge, all);
    if (b->judge.failure.status != PV_OK) {
        bench_fail(b, &b->judge.failure);
    }
    return moved;
}

static bool all_turn(bench *b)
{
    bool moved = claim(b);
    for (size_t i = 0; i < b->item_count; i++) {
        moved = bench_item_turn(&b->items[i]) || moved;
    }
    return turn_judge(b) || moved;
}

static bool is_over(const bench *b)
{
    return is_idle(b) && (b->stopping || b->next == STORE_OVER);
}

static void end_items(bench *b)
{
    for (bool over = false; !over;) {
        over = true;
        for (size_t i = 0; i < b->item_count; i++) {
            over = bench_item_end(&b->items[i]) && over;
        }
        if (!over) {
            session_round(&b->s);
        }
    }
}

pv_status bench_run_all(bench *b, pv_error *err)
{
    pv_status status = store_join(b->store, b->run.id, NULL, &b->me, err);
    if (status != PV_OK) {
        return status;
    }
    b->joined = true;
    b->started_ms = pv_clock_ms();
    b->next = STORE_CLAIMED;
    while (b->failure.status == PV_OK && !b->s.interrupted && !is_over(b)) {
        look(b);
        if (!all_turn(b)) {
            session_round(&b->s);
        }
    }
    end_items(b);
    if (b->failure.status != PV_OK) {
        return pv_fail(err, b->failure.status, "%s", b->failure.msg);
    }
    return PV_OK;
}
