/* session: one command's Lean: event loop, toolchain, sandbox, pool, and what ends it early (Ctrl-C).
 *
 * The commands are written as straight code: they start something on the loop and call session_wait() until its callback has set a
 * flag. Threads: one. */
#ifndef SESSION_H
#define SESSION_H

#include "lean_judge.h"
#include "lean_pool.h"
#include "options.h"
#include "search_policy.h"

#include <stdbool.h>
#include <uv.h>

enum { SESSION_JUDGES_MAX = 16 };

typedef struct session {
    const options *opt;
    uv_loop_t loop;
    lean_toolchain toolchain;
    lean_sandbox sandbox;
    lean_pool_options pool_options;
    lean_pool *pool;   /* NULL before session_start_pool()  */
    lean_judge *judge; /* NULL before session_start_judge(): judges[0] */
    lean_judge *judges[SESSION_JUDGES_MAX];
    uint32_t judge_count;
    uv_signal_t on_interrupt, on_terminate;
    uv_timer_t ticker;       /* wakes the loop, so that waits can look at the clock */
    void (*on_tick)(void *); /* every 100 ms while waiting; may be NULL             */
    void *tick_user;
    search_policy policy; /* where tactics come from; set by the command            */
    lean_level level;     /* the least that counts as proved                        */
    uint32_t width;       /* candidates in each state; set by the command           */
    unsigned searches;    /* started so far */
    bool open;
    bool interrupted;
} session;

/* Finds Lean and the sandbox. Starts no process of Lean yet. Fails: PV_E_NOTFOUND (no Lean) and others, with the remedy. */
PV_NODISCARD pv_status session_open(session *s, const options *opt, pv_error *err);

/* Kills every child and closes the loop; all callbacks have run when it returns. Also after a failed open. */
void session_close(session *s);

PV_NODISCARD pv_status session_start_pool(session *s, uint32_t workers, pv_error *err);
/* The judge goes to `replayed`, for generate and verify-data to `audited`, or as far as --level says. */
PV_NODISCARD pv_status session_start_judge(session *s, bool warm, pv_error *err);
/* Several of them, each with its own process; at most SESSION_JUDGES_MAX. */
PV_NODISCARD pv_status session_start_judges(session *s, uint32_t count, bool warm, pv_error *err);

/* Whether a judgement of this level counts. */
bool session_accepts(const session *s, lean_level level);

/* Appends why one without a reason of its own does not: "it reached the level compiled, ...". */
void session_explain_level(const session *s, lean_level level, pv_buf *out);

/* Runs the loop until *done, or until the user interrupts: then PV_E_CANCELLED. */
PV_NODISCARD pv_status session_wait(session *s, const bool *done, pv_error *err);

/* Runs the loop for one round (at most about 100 ms). */
void session_round(session *s);

/* Workers for this machine: what was asked for, or as many as cores and memory allow. */
uint32_t session_workers(const options *opt);

#endif
