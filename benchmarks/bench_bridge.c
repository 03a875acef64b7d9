/* bench_bridge: what the bridge costs, against a fake worker that answers at once.
 *
 * Cost: CPU of this process for one request (one tactic, two reply lines) with 1,000 outstanding on one loop thread. The floor
 * is measured in the same run: write() and read() of the same bytes to the same worker, nothing parsed.
 * Trust: 10,000 requests on 4 workers while one of them, chosen at random, gets SIGKILL every second: every tactic must be
 * answered once, every request end once. */
#define _GNU_SOURCE
#include "lean_pool.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static const char HELP[] =
    "Usage: bench_bridge [--requests N] [--outstanding N] [--trusted N]\n"
    "  --requests N     requests measured for their cost (50000)\n"
    "  --outstanding N  of them in the pool at any time (1000)\n"
    "  --trusted N      requests made while workers are killed (10000; 0 = leave that part out)\n"
    "Prints microseconds of CPU per request, the floor measured in the same run, and their ratio; "
    "then counts.\n"
    "Exit code: 0 when nothing was lost or doubled, else 1.\n";

typedef struct bench {
    uv_loop_t loop;
    lean_pool *pool;
    lean_env *env;
    lean_state *state;
    const char *const *tactics;
    size_t tactic_count;
    size_t wanted, started, ended, outstanding_max;
    unsigned char *answers; /* for each request: tactics answered      */
    unsigned char *ends;    /* for each request: ends                  */
    size_t lost_tactics;    /* answered LOST: a worker died twice under it */
    size_t failures;
    unsigned kills;
    unsigned seed;
    bool closed;
} bench;

typedef struct ask {
    bench *b;
    size_t index;
} ask;

static void give_up(const char *what, const pv_error *err)
{
    fprintf(stderr, "bench_bridge: %s: %s\n", what, err->msg);
    exit(4);
}

/* ---- the pool ---------------------------------------------------------------------------------------------------- */

static void open_pool(bench *b, uint32_t workers, const char *mode)
{
    const char *argv[] = {BENCH_BIN_DIR "/fake_lean", mode, NULL};
    lean_toolchain toolchain = {0};
    lean_sandbox sandbox = {0};
    lean_pool_options options = {.toolchain = &toolchain, .sandbox = &sandbox, .workers = workers};
    pv_error err = {0};
    options.recycle_requests = UINT64_MAX; /* deaths are the killer's part */
    if (lean_toolchain_command(&toolchain, argv, LEAN_DIALECT_PROVER, &err) != PV_OK) {
        give_up("toolchain", &err);
    }
    toolchain.wide_address_space = true;
    uv_loop_init(&b->loop);
    if (lean_pool_open(&b->pool, &b->loop, &options, &err) != PV_OK) {
        give_up("pool", &err);
    }
    lean_toolchain_release(&toolchain);
}

static void on_closed(void *user)
{
    ((bench *)user)->closed = true;
}

static void close_pool(bench *b)
{
    lean_state_unref(b->state);
    lean_env_unref(b->env);
    lean_pool_close(b->pool, on_closed, b);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    if (uv_loop_close(&b->loop) != 0) {
        fprintf(stderr, "bench_bridge: the loop did not close clean\n");
        exit(4);
    }
}

static void on_opened(void *user, lean_ticket t, const lean_opened *opened, const pv_error *failure)
{
    bench *b = user;
    (void)t;
    if (failure != NULL) {
        give_up("open", failure);
    }
    b->state = lean_state_ref(opened->decls[0].holes[0].part.state);
}

static void open_state(bench *b)
{
    pv_error err = {0};
    if (lean_env_new(b->pool, &b->env, "import Init\n", NULL, NULL, &err) != PV_OK ||
        lean_open(b->env, "theorem t : P 9 := by sorry\n", NULL, on_opened, b, &err) != PV_OK) {
        give_up("open", &err);
    }
    while (b->state == NULL) {
        uv_run(&b->loop, UV_RUN_ONCE);
    }
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void start_next(bench *b);

static void on_tried(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                     const pv_error *failure)
{
    ask *a = user;
    bench *b = a->b;
    (void)t;
    (void)index;
    if (tried != NULL) {
        b->answers[a->index]++;
        b->lost_tactics += tried->kind == LEAN_TRY_LOST;
        return;
    }
    b->failures += failure != NULL;
    b->ends[a->index]++;
    b->ended++;
    free(a);
    start_next(b);
}

static void start_next(bench *b)
{
    pv_error err = {0};
    if (b->started == b->wanted) {
        return;
    }
    ask *a = malloc(sizeof *a);
    *a = (ask){b, b->started++};
    if (lean_try(b->state, b->tactics, b->tactic_count, NULL, on_tried, a, &err) != PV_OK) {
        give_up("try", &err);
    }
}

static void start_batch(bench *b, size_t requests, size_t outstanding)
{
    b->wanted = requests;
    b->started = 0;
    b->ended = 0;
    b->answers = calloc(requests, 1);
    b->ends = calloc(requests, 1);
    for (size_t i = 0; i < outstanding && i < requests; i++) {
        start_next(b);
    }
}

static void release_batch(bench *b)
{
    free(b->answers);
    free(b->ends);
}

/* ---- cost -------------------------------------------------------------------------------------------------------- */

static double process_cpu_us(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* Reads up to the line of the reply that ends the request. */
static void read_reply(int fd)
{
    char bytes[4096];
    size_t have = 0;
    while (have < 8 || memmem(bytes, have, "\"ok\":", 5) == NULL || bytes[have - 1] != '\n') {
        ssize_t n = read(fd, bytes + have, sizeof bytes - have);
        if (n <= 0) {
            fprintf(stderr, "bench_bridge: the echo worker ended\n");
            exit(4);
        }
        have += (size_t)n;
    }
}

static void send_text(int fd, const char *text)
{
    size_t n = strlen(text);
    if (write(fd, text, n) != (ssize_t)n) {
        fprintf(stderr, "bench_bridge: the echo worker does not read\n");
        exit(4);
    }
}

static pid_t spawn_echo(int *in, int *out)
{
    int to[2];
    int from[2];
    pid_t pid = 0;
    posix_spawn_file_actions_t actions;
    char *argv[] = {(char *)BENCH_BIN_DIR "/fake_lean", (char *)"--echo", NULL};
    char *env[] = {NULL};
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0) {
        exit(4);
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    if (posix_spawn(&pid, argv[0], &actions, NULL, argv, env) != 0) {
        fprintf(stderr, "bench_bridge: %s could not be started\n", argv[0]);
        exit(4);
    }
    posix_spawn_file_actions_destroy(&actions);
    close(to[0]);
    close(from[1]);
    *in = to[1];
    *out = from[0];
    return pid;
}

/* CPU of one write() and the read()s of its answer, per request. */
static double measure_floor(size_t requests)
{
    static const char request[] = "{\"id\":4503599627370497,\"op\":\"try\",\"state\":1,\"tactics\":"
                                  "[\"simp\"],\"heartbeats\":200000}\n";
    int in;
    int out;
    char hello[512];
    pid_t pid = spawn_echo(&in, &out);
    if (read(out, hello, sizeof hello) <= 0) {
        exit(4);
    }
    send_text(in, "{\"id\":1,\"op\":\"header\",\"text\":\"\"}\n");
    read_reply(out);
    send_text(in,
              "{\"id\":2,\"op\":\"open\",\"env\":1,\"text\":\"theorem t : P 9 := by sorry\"}\n");
    read_reply(out);
    double before = process_cpu_us();
    for (size_t i = 0; i < requests; i++) {
        send_text(in, request);
        read_reply(out);
    }
    double us = (process_cpu_us() - before) / (double)requests;
    close(in);
    close(out);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    return us;
}

static void bench_cost(size_t requests, size_t outstanding)
{
    static const char *const tactics[] = {"simp"};
    bench b = {.tactics = tactics, .tactic_count = 1};
    double floor_us = measure_floor(requests);
    open_pool(&b, 1, "--echo");
    open_state(&b);
    double cpu = process_cpu_us();
    uint64_t thread = pv_clock_cpu_ns();
    uint64_t wall = pv_clock_ns();
    start_batch(&b, requests, outstanding);
    while (b.ended < b.wanted) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    double n = (double)requests;
    double us = (process_cpu_us() - cpu) / n;
    printf("cost: %zu requests, %zu outstanding, 1 loop thread, 1 echo worker\n", requests,
           outstanding);
    printf("  CPU of this process per request  %8.2f us (loop thread %.2f us; wanted: below 50)\n",
           us, (double)(pv_clock_cpu_ns() - thread) / 1e3 / n);
    printf("  floor: write + read, not parsed  %8.2f us\n", floor_us);
    printf("  ratio                            %8.2f\n", us / floor_us);
    printf("  wall time per request            %8.2f us (%.0f requests/s)\n",
           (double)(pv_clock_ns() - wall) / 1e3 / n, n / ((double)(pv_clock_ns() - wall) / 1e9));
    printf("  memory at its peak               %8.2f MiB\n", (double)pv_mem_peak() / 1048576);
    release_batch(&b);
    close_pool(&b);
}

/* ---- trust ------------------------------------------------------------------------------------------------------- */

static void on_kill(uv_timer_t *timer)
{
    bench *b = timer->data;
    int pids[16];
    size_t n = lean_pool_pids(b->pool, pids, 16);
    b->seed = b->seed * 1103515245u + 12345u;
    if (n > 0) {
        kill(pids[(b->seed >> 16) % n], SIGKILL);
        b->kills++;
    }
}

static bool report_trust(const bench *b, const lean_pool_stats *stats, double seconds)
{
    size_t lost = 0;
    size_t doubled = 0;
    for (size_t i = 0; i < b->wanted; i++) {
        lost += b->ends[i] == 0 || b->answers[i] < b->tactic_count;
        doubled += b->ends[i] > 1 || b->answers[i] > b->tactic_count;
    }
    printf("trust: %zu requests of %zu tactics, 4 workers, %u of them killed in %.1f s\n",
           b->wanted, b->tactic_count, b->kills, seconds);
    printf("  requests lost                    %8zu\n", lost);
    printf("  requests answered twice          %8zu\n", doubled);
    printf("  requests failed                  %8zu\n", b->failures);
    printf("  tactics given up (LOST)          %8zu\n", b->lost_tactics);
    printf("  workers started anew             %8llu\n", (unsigned long long)stats->respawns);
    printf("  states made again                %8llu\n", (unsigned long long)stats->replays);
    return lost == 0 && doubled == 0 && b->failures == 0;
}

static bool bench_trust(size_t requests, size_t outstanding)
{
    static const char *const tactics[] = {"slow 2", "dec", "fail"};
    bench b = {.tactics = tactics, .tactic_count = 3, .seed = 42};
    uv_timer_t killer;
    lean_pool_stats stats;
    open_pool(&b, 4, "--trust");
    open_state(&b);
    uv_timer_init(&b.loop, &killer);
    killer.data = &b;
    uv_timer_start(&killer, on_kill, 1000, 1000);
    uint64_t start = pv_clock_ns();
    start_batch(&b, requests, outstanding);
    while (b.ended < b.wanted) {
        uv_run(&b.loop, UV_RUN_ONCE);
    }
    double seconds = (double)(pv_clock_ns() - start) / 1e9;
    for (uint64_t until = pv_clock_ms() + 200; pv_clock_ms() < until;) {
        uv_run(&b.loop, UV_RUN_NOWAIT); /* a second answer would come now */
    }
    uv_close((uv_handle_t *)&killer, NULL);
    lean_pool_stats_of(b.pool, &stats);
    bool good = report_trust(&b, &stats, seconds);
    release_batch(&b);
    close_pool(&b);
    return good;
}

int main(int argc, char **argv)
{
    size_t requests = 50000;
    size_t outstanding = 1000;
    size_t trusted = 10000;
    for (int i = 1; i < argc; i++) {
        size_t number = i + 1 < argc ? strtoul(argv[i + 1], NULL, 10) : 0;
        if (strcmp(argv[i], "--help") == 0) {
            fputs(HELP, stdout);
            return 0;
        }
        if (strcmp(argv[i], "--requests") == 0 && number > 0) {
            requests = number;
        } else if (strcmp(argv[i], "--outstanding") == 0 && number > 0) {
            outstanding = number;
        } else if (strcmp(argv[i], "--trusted") == 0 && i + 1 < argc) {
            trusted = number;
        } else {
            fprintf(stderr, "bench_bridge: %s is not understood\n%s", argv[i], HELP);
            return 2;
        }
        i++;
    }
    bench_cost(requests, outstanding);
    return trusted == 0 || bench_trust(trusted, outstanding) ? 0 : 1;
}
