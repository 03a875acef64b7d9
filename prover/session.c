#include "session.h"

#include "home.h"
#include "progress.h"

#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    session *s = handle->data;
    if (s->interrupted) {
        _exit(130); /* asked twice: children die with us */
    }
    s->interrupted = true;
}

static void on_ticker(uv_timer_t *timer)
{
    session *s = timer->data;
    if (s->on_tick != NULL) {
        s->on_tick(s->tick_user);
    }
}

static const char *given(const char *text)
{
    return text[0] == '\0' ? NULL : text;
}

static pv_status find_lean(session *s, pv_error *err)
{
    char buffer[PATH_MAX];
    lean_toolchain_search where = {
        .project = given(s->opt->lean_project),
        .home = home_find(buffer),
        .path = getenv("PATH"),
        .user_home = getenv("HOME"),
        .community_repl = given(s->opt->community_repl),
        .npm_only = s->opt->npm_lean,
    };
    pv_status status = lean_toolchain_find(&s->toolchain, &where, err);
    if (status == PV_OK) {
        status = lean_sandbox_probe(&s->sandbox, where.path, s->opt->no_sandbox, err);
    }
    return status;
}

/* What counts as proved: `audited`, unless the user says otherwise. */
static pv_status read_level(session *s, pv_error *err)
{
    s->level = LEAN_LEVEL_AUDITED;
    if (s->opt->level[0] == '\0') {
        return PV_OK;
    }
    if (!lean_level_parse(s->opt->level, &s->level) || s->level < LEAN_LEVEL_COMPILED) {
        return pv_fail(err, PV_E_INVALID,
                       "--level %s: there is no such level to demand; say compiled, audited or "
                       "replayed",
                       s->opt->level);
    }
    return PV_OK;
}

/* Said before anything untrusted runs. */
static void greet(const session *s)
{
    if (!s->sandbox.active) {
        progress_note("prover", s->sandbox.describe);
    } else if (s->opt->command != FOR_DOCTOR) {
        progress_note("prover", "Lean is confined: a canary in the sandbox could neither write to "
                                "this machine nor reach a network");
    }
}

static void start_loop_handles(session *s)
{
    uv_signal_init(&s->loop, &s->on_interrupt);
    uv_signal_init(&s->loop, &s->on_terminate);
    uv_timer_init(&s->loop, &s->ticker);
    s->on_interrupt.data = s->on_terminate.data = s->ticker.data = s;
    uv_signal_start(&s->on_interrupt, on_signal, SIGINT);
    uv_signal_start(&s->on_terminate, on_signal, SIGTERM);
    uv_timer_start(&s->ticker, on_ticker, 100, 100);
}

pv_status session_open(session *s, const options *opt, pv_error *err)
{
    memset(s, 0, sizeof *s);
    s->opt = opt;
    int code = uv_loop_init(&s->loop);
    if (code != 0) {
        return pv_fail(err, PV_E_IO, "cannot make an event loop: %s", uv_strerror(code));
    }
    s->open = true;
    start_loop_handles(s);
    pv_status status = read_level(s, err);
    if (status == PV_OK) {
        status = find_lean(s, err);
    }
    if (status != PV_OK) {
        return status;
    }
    greet(s);
    bool generating = opt->command == FOR_GENERATE;
    s->pool_options = (lean_pool_options){
        .toolchain = &s->toolchain,
        .sandbox = &s->sandbox,
        .memory_max_bytes = (uint64_t)(opt->memory * 1024 * 1024 * 1024),
        .heartbeats = generating ? opt->generate_heartbeats : opt->heartbeats,
        .deadline_ms =
            (uint64_t)((generating ? opt->generate_tactic_timeout : opt->tactic_timeout) * 1000),
    };
    return PV_OK;
}

static void on_closed(void *user)
{
    *(bool *)user = true;
}

static void close_and_wait(session *s, bool *closed)
{
    while (!*closed) {
        uv_run(&s->loop, UV_RUN_ONCE);
    }
}

void session_close(session *s)
{
    if (!s->open) {
        return;
    }
    s->on_tick = NULL;
    bool pool_closed = s->pool == NULL, judge_closed[SESSION_JUDGES_MAX] = {false};
    if (s->pool != NULL) {
        lean_pool_close(s->pool, on_closed, &pool_closed);
    }
    for (uint32_t i = 0; i < s->judge_count; i++) {
        lean_judge_close(s->judges[i], on_closed, &judge_closed[i]);
    }
    close_and_wait(s, &pool_closed);
    for (uint32_t i = 0; i < s->judge_count; i++) {
        close_and_wait(s, &judge_closed[i]);
    }
    s->judge_count = 0;
    uv_close((uv_handle_t *)&s->on_interrupt, NULL);
    uv_close((uv_handle_t *)&s->on_terminate, NULL);
    uv_close((uv_handle_t *)&s->ticker, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    lean_sandbox_release(&s->sandbox);
    lean_toolchain_release(&s->toolchain);
    s->open = false;
}

pv_status session_start_pool(session *s, uint32_t workers, pv_error *err)
{
    s->pool_options.workers = workers;
    return lean_pool_open(&s->pool, &s->loop, &s->pool_options, err);
}

/* --heartbeats is for one tactic; the judge elaborates all tactics of a proof as one command, and gives it to the kernel. */
pv_status session_start_judges(session *s, uint32_t count, bool warm, pv_error *err)
{
    enum { TACTICS = 16, LEAST = 400000 };

    lean_pool_options judging = s->pool_options;
    if ((s->opt->command & FOR_SEARCH) != 0 && judging.heartbeats > 0) {
        uint64_t all = judging.heartbeats * TACTICS;
        judging.heartbeats = all < LEAST ? LEAST : all;
    }
    bool many = (s->opt->command & FOR_DATA) != 0;
    lean_level demanded = s->opt->level[0] != '\0' ? s->level
                          : many                   ? LEAN_LEVEL_AUDITED
                                                   : LEAN_LEVEL_REPLAYED;
    pv_status status = PV_OK;
    while (status == PV_OK && s->judge_count < count && s->judge_count < SESSION_JUDGES_MAX) {
        lean_judge **next = &s->judges[s->judge_count];
        status = lean_judge_open(next, &s->loop, &judging, warm, err);
        if (status == PV_OK) {
            lean_judge_demand(*next, demanded);
            s->judge_count++;
        }
    }
    s->judge = s->judges[0];
    return status;
}

pv_status session_start_judge(session *s, bool warm, pv_error *err)
{
    return session_start_judges(s, 1, warm, err);
}

bool session_accepts(const session *s, lean_level level)
{
    return level >= s->level;
}

void session_explain_level(const session *s, lean_level level, pv_buf *out)
{
    pv_buf_printf(out, "it reached the level `%s`; the least that counts is `%s`",
                  lean_level_name(level), lean_level_name(s->level));
}

pv_status session_wait(session *s, const bool *done, pv_error *err)
{
    while (!*done && !s->interrupted) {
        session_round(s);
    }
    return *done ? PV_OK : pv_fail(err, PV_E_CANCELLED, "interrupted");
}

void session_round(session *s)
{
    uv_run(&s->loop, UV_RUN_ONCE);
}

static uint64_t available_memory(void)
{
    unsigned long long kib = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    if (file != NULL) {
        char line[128];
        while (fgets(line, sizeof line, file) != NULL &&
               sscanf(line, "MemAvailable: %llu", &kib) != 1) {
        }
        fclose(file);
    }
    return kib * 1024;
}

uint32_t session_workers(const options *opt)
{
    if (opt->workers > 0) {
        return (uint32_t)opt->workers;
    }
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t by_memory = available_memory() / (3ull << 30);
    uint64_t n = cores < 1 ? 1 : (uint64_t)cores;
    n = by_memory < n ? by_memory : n;
    return n < 1 ? 1 : n > 16 ? 16 : (uint32_t)n;
}
