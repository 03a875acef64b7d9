/* What the tests of the bridge share: an event loop, a pool of fake workers, and records of what came back.
 * Every test ends with bridge_end(), which asserts that the loop closes clean, that no byte and no child is left. */
#ifndef BRIDGE_FIXTURE_H
#define BRIDGE_FIXTURE_H

#include "lean_pool.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RECORD_MAX = 64, WAIT_MS = 30000 };

typedef struct bridge {
    uv_loop_t loop;
    uv_timer_t tick; /* so that the loop never sleeps past a test's patience */
    lean_toolchain toolchain;
    lean_sandbox sandbox;
    lean_pool_options options;
    lean_pool *pool;
    lean_env *env;
    bool closed;
    uint64_t live_at_start;
    char folder[64]; /* for files of the fakes */
} bridge;

/* What came back for one request. */
typedef struct record {
    unsigned calls; /* all callbacks   */
    bool ended;
    pv_error failure;
    size_t count;
    unsigned answers[RECORD_MAX]; /* callbacks for each index */
    lean_try_kind kinds[RECORD_MAX];
    char texts[RECORD_MAX][512];
    size_t part_counts[RECORD_MAX];
    lean_state
        *states[RECORD_MAX]; /* the first part of each answer, or the holes of an open; kept */
    pv_key keys[RECORD_MAX];
    lean_state *others[RECORD_MAX]; /* the second part */
    size_t hole_count, decl_count, message_count;
    lean_position hole_at;
    char name[64];
    lean_verdict verdict;
    char reason[64];
    size_t axiom_count;
} record;

static inline void tick(uv_timer_t *timer)
{
    (void)timer;
}

static inline void bridge_hook_allocators(void)
{
    json_set_alloc_funcs(pv_malloc, pv_free);
    cr_assert(uv_replace_allocator(pv_malloc, pv_realloc, pv_calloc, pv_free) == 0);
}

/* Starts the loop and describes a toolchain that runs the fake with the given arguments (NULL-terminated). libuv and
 * jansson keep their own allocator: for tests in which memory fails (both abort then, jansson 2.14 in its lexer). */
static inline void bridge_begin_bare(bridge *b, const char *program, lean_dialect dialect,
                                     const char *const *args)
{
    static char path[512];
    const char *argv[16] = {path};
    memset(b, 0, sizeof *b);
    b->live_at_start = pv_mem_live();
    snprintf(path, sizeof path, "%s/%s", TEST_BIN_DIR, program);
    for (size_t i = 0; args != NULL && args[i] != NULL; i++) {
        argv[i + 1] = args[i];
    }
    cr_assert(lean_toolchain_command(&b->toolchain, argv, dialect, NULL) == PV_OK);
    b->toolchain.wide_address_space = true; /* the address sanitizer reserves terabytes */
    b->options.toolchain = &b->toolchain;
    b->options.sandbox = &b->sandbox;
    b->options.deadline_ms = 10000;
    b->options.start_deadline_ms = 10000;
    cr_assert(uv_loop_init(&b->loop) == 0);
    uv_timer_init(&b->loop, &b->tick);
    uv_timer_start(&b->tick, tick, 20, 20);
    strcpy(b->folder, "/tmp/prover-test-XXXXXX");
    cr_assert(mkdtemp(b->folder) != NULL);
}

/* The same, with every byte of libuv and jansson counted. */
static inline void bridge_begin_with(bridge *b, const char *program, lean_dialect dialect,
                                     const char *const *args)
{
    bridge_hook_allocators();
    bridge_begin_bare(b, program, dialect, args);
}

static inline void bridge_begin(bridge *b, const char *const *args)
{
    bridge_begin_with(b, "fake_lean", LEAN_DIALECT_PROVER, args);
}

static inline void bridge_open_pool(bridge *b)
{
    pv_error err = {0};
    cr_assert(lean_pool_open(&b->pool, &b->loop, &b->options, &err) == PV_OK, "%s", err.msg);
}

/* Runs the loop until *flag, for at most WAIT_MS. */
static inline void bridge_wait(bridge *b, const bool *flag)
{
    uint64_t until = pv_clock_ms() + WAIT_MS;
    while (!*flag) {
        uv_run(&b->loop, UV_RUN_ONCE);
        cr_assert(pv_clock_ms() < until, "nothing happened for %d ms", WAIT_MS);
    }
}

static inline void bridge_run_for(bridge *b, uint64_t ms)
{
    uint64_t until = pv_clock_ms() + ms;
    while (pv_clock_ms() < until) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
}

static inline void on_pool_closed(void *user)
{
    ((bridge *)user)->closed = true;
}

static inline void bridge_close_pool(bridge *b)
{
    uint64_t start = pv_clock_ms();
    lean_env_unref(b->env);
    b->env = NULL;
    lean_pool_close(b->pool, on_pool_closed, b);
    bridge_wait(b, &b->closed);
    cr_assert(pv_clock_ms() - start < 5000, "closing took too long");
    b->pool = NULL;
}

static inline void bridge_end(bridge *b)
{
    char command[128];
    if (b->pool != NULL) {
        bridge_close_pool(b);
    }
    uv_close((uv_handle_t *)&b->tick, NULL);
    while (uv_run(&b->loop, UV_RUN_DEFAULT) != 0) {
    }
    cr_assert(uv_loop_close(&b->loop) == 0, "handles are left in the loop");
    lean_toolchain_release(&b->toolchain);
    cr_assert(waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD, "a child process is left");
    cr_assert(pv_mem_live() == b->live_at_start, "%lld bytes are left",
              (long long)(pv_mem_live() - b->live_at_start));
    snprintf(command, sizeof command, "rm -rf %s", b->folder);
    cr_assert(system(command) == 0);
}

/* ---- recording callbacks ----------------------------------------------------------------------------------------- */

static inline void end_record(record *r, const pv_error *failure)
{
    cr_assert(!r->ended, "a request ended twice");
    r->ended = true;
    if (failure != NULL) {
        r->failure = *failure;
    }
}

static inline void on_env(void *user, lean_ticket t, const lean_message *messages, size_t n,
                          const pv_error *failure)
{
    record *r = user;
    (void)t;
    (void)messages;
    r->message_count = n;
    r->calls++;
    end_record(r, failure);
}

static inline void on_open(void *user, lean_ticket t, const lean_opened *opened,
                           const pv_error *failure)
{
    record *r = user;
    (void)t;
    r->calls++;
    for (size_t d = 0; opened != NULL && d < opened->decl_count; d++) {
        const lean_decl *decl = &opened->decls[d];
        snprintf(r->name, sizeof r->name, "%s", decl->name);
        for (size_t h = 0; h < decl->hole_count; h++) {
            r->hole_at = decl->holes[h].start;
            r->states[r->hole_count] = lean_state_ref(decl->holes[h].part.state);
            r->keys[r->hole_count++] = decl->holes[h].part.key;
        }
    }
    if (opened != NULL) {
        r->decl_count = opened->decl_count;
        r->message_count = opened->message_count;
    }
    end_record(r, failure);
}

static inline void record_answer(record *r, size_t index, const lean_tried *tried)
{
    r->answers[index]++;
    r->kinds[index] = tried->kind;
    r->part_counts[index] = tried->part_count;
    if (tried->message != NULL) {
        snprintf(r->texts[index], sizeof r->texts[index], "%s", tried->message);
    }
    if (tried->part_count > 0) {
        r->states[index] = lean_state_ref(tried->parts[0].state);
        r->keys[index] = tried->parts[0].key;
    }
    if (tried->part_count > 1) {
        r->others[index] = lean_state_ref(tried->parts[1].state);
    }
}

static inline void on_try(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                          const pv_error *failure)
{
    record *r = user;
    (void)t;
    r->calls++;
    cr_assert(!r->ended, "an answer after the end");
    if (tried == NULL) {
        cr_assert(index == r->count);
        end_record(r, failure);
    } else {
        cr_assert(index < r->count);
        record_answer(r, index, tried);
    }
}

static inline void on_check(void *user, lean_ticket t, const lean_checked *checked,
                            const pv_error *failure)
{
    record *r = user;
    (void)t;
    r->calls++;
    if (checked != NULL) {
        r->verdict = checked->verdict;
        r->axiom_count = checked->axiom_count;
        snprintf(r->reason, sizeof r->reason, "%s", checked->reason == NULL ? "" : checked->reason);
    }
    end_record(r, failure);
}

static inline void record_release(record *r)
{
    for (size_t i = 0; i < RECORD_MAX; i++) {
        lean_state_unref(r->states[i]);
        lean_state_unref(r->others[i]);
    }
    memset(r, 0, sizeof *r);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

/* Opens the pool, a header and a text, and waits for its holes. */
static inline void bridge_open_text(bridge *b, const char *text, record *r)
{
    pv_error err = {0};
    record header = {0};
    if (b->pool == NULL) {
        bridge_open_pool(b);
    }
    if (b->env == NULL) {
        cr_assert(lean_env_new(b->pool, &b->env, "import Init\n", on_env, &header, &err) == PV_OK);
        bridge_wait(b, &header.ended);
        cr_assert(header.failure.status == PV_OK, "%s", header.failure.msg);
    }
    memset(r, 0, sizeof *r);
    cr_assert(lean_open(b->env, text, NULL, on_open, r, &err) == PV_OK, "%s", err.msg);
    bridge_wait(b, &r->ended);
    cr_assert(r->failure.status == PV_OK, "%s", r->failure.msg);
}

/* A theorem about `P n` and the state of its hole (the caller's reference). */
static inline lean_state *bridge_goal(bridge *b, long n)
{
    char text[96];
    record r;
    snprintf(text, sizeof text, "theorem t : P %ld := by sorry\n", n);
    bridge_open_text(b, text, &r);
    cr_assert(r.hole_count == 1);
    lean_state *state = lean_state_ref(r.states[0]);
    record_release(&r);
    return state;
}

static inline lean_ticket bridge_start_try(lean_state *state, record *r, const char *const *tactics)
{
    pv_error err = {0};
    lean_ticket ticket = 0;
    memset(r, 0, sizeof *r);
    while (tactics[r->count] != NULL) {
        r->count++;
    }
    cr_assert(lean_try(state, tactics, r->count, &ticket, on_try, r, &err) == PV_OK, "%s", err.msg);
    cr_assert(r->calls == 0, "called back from inside the call");
    return ticket;
}

/* Tries and waits for the end; each index must have been answered exactly once. */
static inline void bridge_try(bridge *b, lean_state *state, record *r, const char *const *tactics)
{
    bridge_start_try(state, r, tactics);
    bridge_wait(b, &r->ended);
    for (size_t i = 0; i < r->count; i++) {
        cr_assert(r->answers[i] == 1, "tactic %zu was answered %u times", i, r->answers[i]);
    }
}

#define TACTICS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
