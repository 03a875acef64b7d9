/* A stand-in for the Lean server: speaks docs/protocol.md about a toy calculus, and misbehaves when told to.
 *
 * A goal is a number, shown as `⊢ P n`; `sorry` is a hole whose number is the last one written before it (3 when none is).
 * Tactics on the main goal n:
 *   dec            n becomes n-1; at 1 the goal is closed      close            closes it
 *   split a b      two independent goals, when a + b = n       both a b         the same, but they share a variable
 *   fail           fails                                       beats            runs out of heartbeats
 *   slow MS        dec after that time                         print TEXT       prints a line, then dec
 *   drift FILE     dec, and twice as much once FILE exists     die-once FILE    dies unless FILE exists, else dec
 * Faults: hang, die, segv, flood, flood-json, endless, deep, garbage, truncate, mute, forge, wrong, internal, chatter,
 *   forget-once FILE, orphan FILE (leaves a process behind), eat MB (then hangs), grow MB (then dec).
 * Options: see main(). */
#define _GNU_SOURCE
#include "pv_hash.h"

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { GOALS_MAX = 8, STATES_MAX = 1 << 16, ENVS_MAX = 1 << 14 };

typedef struct goals {
    size_t count;
    long at[GOALS_MAX];
    bool alive, tied; /* tied: all goals share a variable */
} goals;

typedef struct options {
    bool echo, junk, hello, ignore_term;
    long start_ms, protocol, fail_starts;
    const char *starts, *log;
} options;

static goals *states;
static size_t state_count, states_alive;
static char *envs[ENVS_MAX];
static size_t env_count;
static options opt = {.hello = true, .protocol = 1};

static void nap(long ms)
{
    struct timespec time = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&time, NULL);
}

static bool create(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    if (fd >= 0) {
        close(fd);
    }
    return fd >= 0;
}

static void note(const char *text)
{
    if (opt.log != NULL) {
        int fd = open(opt.log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dprintf(fd, "%s\n", text);
        close(fd);
    }
}

static void say(json_t *reply)
{
    if (opt.junk) {
        printf("[DEBUG:fake] about to reply\n");
    }
    char *text = json_dumps(reply, JSON_COMPACT | JSON_ENSURE_ASCII);
    puts(text);
    fflush(stdout);
    free(text);
    json_decref(reply);
}

static void say_ok(json_int_t id, json_t *ok)
{
    say(json_pack("{s:I,s:o}", "id", id, "ok", ok));
}

static void say_error(json_int_t id, const char *kind, const char *message)
{
    say(json_pack("{s:I,s:{s:s,s:s}}", "id", id, "error", "kind", kind, "message", message));
}

/* ---- states ------------------------------------------------------------------------------------------------------ */

static json_int_t keep(const goals *g)
{
    if (state_count == STATES_MAX) {
        exit(3);
    }
    states[state_count] = *g;
    states[state_count].alive = true;
    states_alive++;
    return (json_int_t)++state_count;
}

static json_t *key_of(const long *at, size_t n)
{
    char text[33];
    pv_key_format(pv_key_of(at, n * sizeof *at), text);
    return json_string(text);
}

static json_t *part_of(const goals *g)
{
    json_t *list = json_array();
    for (size_t i = 0; i < g->count; i++) {
        json_array_append_new(list, json_pack("{s:o,s:o}", "text",
                                              json_sprintf("n : ℕ\n⊢ P %ld", g->at[i]), "key",
                                              key_of(&g->at[i], 1)));
    }
    return json_pack("{s:I,s:o,s:o}", "state", keep(g), "goals", list, "key",
                     key_of(g->at, g->count));
}

/* ---- faults ------------------------------------------------------------------------------------------------------ */

static void leave_orphan(const char *path)
{
    if (fork() == 0) {
        setsid();
        if (fork() != 0) {
            _exit(0);
        }
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dprintf(fd, "%d\n", (int)getpid());
        close(fd);
        signal(SIGTERM, SIG_IGN);
        nap(600000);
        _exit(0);
    }
    struct stat info = {0};
    while (stat(path, &info) != 0 || info.st_size == 0) {
        nap(5);
    }
}

static void take_memory(long megabytes)
{
    char *block = malloc((size_t)megabytes << 20);
    for (size_t i = 0; block != NULL && i < (size_t)megabytes << 20; i += 4096) {
        ((volatile char *)block)[i] = 1;
    }
}

static void flood(const char *text)
{
    for (;;) {
        if (fputs(text, stdout) < 0) {
            _exit(4);
        }
    }
}

static void forge(void)
{
    for (int id = 1; id <= 100; id++) {
        printf("{\"id\":%d,\"at\":0,\"result\":{\"status\":\"closed\",\"ms\":0}}\n", id);
        printf("{\"id\":%d,\"ok\":{\"tried\":1,\"states\":0}}\n", id);
    }
    printf("{\"hello\":\"prover-lean\",\"protocol\":1,\"lean\":\"forged\"}\n");
    fflush(stdout);
}

static void die(const char *text)
{
    fputs(text, stderr);
    fflush(stderr);
    _exit(3);
}

/* Each fault gets what follows its word, and the id of the request. Those that return let the tactic act as dec. */
typedef void fault(const char *arg, json_int_t id);

static void do_hang(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    nap(600000);
}

static void do_die(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    die("fake: dying as told\n");
}

static void do_segv(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    signal(SIGSEGV, SIG_DFL);
    raise(SIGSEGV);
}

static void do_flood(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    flood("no reply at all, but very much of it\n");
}

static void do_flood_json(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    flood("{\"id\":1,\"ok\":{}}\n");
}

static void do_endless(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    fputs("{\"id\":", stdout);
    flood("11111111111111111111111111111111");
}

static void do_deep(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    fputs("{\"a\":", stdout);
    for (int i = 0; i < 100000; i++) {
        putchar('[');
    }
    puts("");
    fflush(stdout);
    nap(600000);
}

static void do_garbage(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    puts("{\"id\": broken");
}

static void do_truncate(const char *arg, json_int_t id)
{
    (void)arg;
    printf("{\"id\":%lld,\"at\":0,\"res", (long long)id);
    fflush(stdout);
    _exit(0);
}

static void do_mute(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    close(STDOUT_FILENO);
    nap(600000);
}

static void do_forge(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    forge();
}

static void do_wrong(const char *arg, json_int_t id)
{
    (void)arg;
    printf("{\"id\":%lld,\"ok\":5}\n", (long long)id);
    fflush(stdout);
    nap(600000);
}

static void do_chatter(const char *arg, json_int_t id)
{
    (void)arg;
    (void)id;
    fputs("stderr is free text\n", stderr);
}

static void do_slow(const char *arg, json_int_t id)
{
    (void)id;
    nap(atol(arg));
}

static void do_print(const char *arg, json_int_t id)
{
    (void)id;
    puts(arg);
}

static void do_die_once(const char *arg, json_int_t id)
{
    (void)id;
    if (create(arg)) {
        die("fake: dying once\n");
    }
}

static void do_orphan(const char *arg, json_int_t id)
{
    (void)id;
    leave_orphan(arg);
}

static void do_eat(const char *arg, json_int_t id)
{
    (void)id;
    take_memory(atol(arg));
    nap(600000);
}

static void do_grow(const char *arg, json_int_t id)
{
    (void)id;
    take_memory(atol(arg));
}

static const struct {
    const char *word;
    fault *run;
} faults[] = {
    {"hang", do_hang},
    {"die", do_die},
    {"segv", do_segv},
    {"flood", do_flood},
    {"flood-json", do_flood_json},
    {"endless", do_endless},
    {"deep", do_deep},
    {"garbage", do_garbage},
    {"truncate", do_truncate},
    {"mute", do_mute},
    {"forge", do_forge},
    {"wrong", do_wrong},
    {"chatter", do_chatter},
    {"slow", do_slow},
    {"print", do_print},
    {"die-once", do_die_once},
    {"orphan", do_orphan},
    {"eat", do_eat},
    {"grow", do_grow},
};

/* True when the tactic was a fault that let it live; it then acts as dec. */
static bool misbehave(const char *tactic, json_int_t id)
{
    size_t n = strcspn(tactic, " ");
    const char *arg = tactic[n] == ' ' ? tactic + n + 1 : "";
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        if (strlen(faults[i].word) == n && strncmp(faults[i].word, tactic, n) == 0) {
            faults[i].run(arg, id);
            return true;
        }
    }
    return false;
}

/* ---- tactics ----------------------------------------------------------------------------------------------------- */

static json_t *failed(const char *status, const char *message)
{
    return json_pack("{s:s,s:s,s:i}", "status", status, "message", message, "ms", 1);
}

/* The goals that stand for the main goal of g, then the rest of g. */
static json_t *result_of(const goals *g, const long *made, size_t n, bool tied)
{
    goals all = {.tied = tied || g->tied};
    json_t *parts = json_array();
    json_t *order = json_array();
    for (size_t i = 0; i < n; i++) {
        all.at[all.count++] = made[i];
    }
    for (size_t i = 1; i < g->count; i++) {
        all.at[all.count++] = g->at[i];
    }
    for (size_t i = 0; i < all.count; i++) {
        json_array_append_new(order, json_integer(all.tied ? 0 : (json_int_t)i));
        if (!all.tied) {
            goals one = {.count = 1, .at = {all.at[i]}};
            json_array_append_new(parts, part_of(&one));
        }
    }
    if (all.count == 0) {
        json_decref(parts);
        json_decref(order);
        return json_pack("{s:s,s:f}", "status", "closed", "ms", 0.25);
    }
    if (all.tied) {
        json_array_append_new(parts, part_of(&all));
    }
    return json_pack("{s:s,s:o,s:o,s:i}", "status", "open", "parts", parts, "order", order, "ms",
                     1);
}

static json_t *step(const goals *g, const char *tactic, json_int_t id)
{
    long made[2] = {g->at[0] - 1, 0};
    if (misbehave(tactic, id) || strcmp(tactic, "dec") == 0) {
        return result_of(g, made, made[0] > 0 ? 1 : 0, false);
    }
    if (strncmp(tactic, "drift ", 6) == 0) {
        made[0] -= create(tactic + 6) ? 0 : 1;
        return result_of(g, made, made[0] > 0 ? 1 : 0, false);
    }
    if (strcmp(tactic, "close") == 0) {
        return result_of(g, made, 0, false);
    }
    bool tied = strncmp(tactic, "both ", 5) == 0;
    if ((tied || strncmp(tactic, "split ", 6) == 0) &&
        sscanf(strchr(tactic, ' '), "%ld %ld", &made[0], &made[1]) == 2 &&
        made[0] + made[1] == g->at[0] && g->count < GOALS_MAX) {
        return result_of(g, made, 2, tied);
    }
    if (strcmp(tactic, "beats") == 0) {
        return failed("heartbeats", "(deterministic) timeout");
    }
    return failed("failed", tactic);
}

static void try_one(const goals *g, const char *tactic, json_int_t id, size_t at)
{
    json_t *result = opt.echo ? failed("failed", tactic) : step(g, tactic, id);
    say(json_pack("{s:I,s:I,s:o}", "id", id, "at", (json_int_t)at, "result", result));
}

static void on_try(json_int_t id, const json_t *request)
{
    json_int_t number = json_integer_value(json_object_get(request, "state"));
    const json_t *tactics = json_object_get(request, "tactics");
    size_t n = json_array_size(tactics);
    if (number < 1 || (size_t)number > state_count || !states[number - 1].alive) {
        say_error(id, "unknown_state", "no such state");
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const char *tactic = json_string_value(json_array_get(tactics, i));
        note(tactic);
        if (strncmp(tactic, "forget-once ", 12) == 0 && create(tactic + 12)) {
            say_error(id, "unknown_state", "no such state");
            return;
        }
        if (strcmp(tactic, "internal") == 0) {
            say_error(id, "internal", "an internal fault, as told");
            return;
        }
        try_one(&states[number - 1], tactic, id, i);
    }
    say_ok(id, json_pack("{s:I,s:I}", "tried", (json_int_t)n, "states", (json_int_t)states_alive));
}

/* ---- headers and texts ------------------------------------------------------------------------------------------- */

static json_t *message(const char *severity, const char *text)
{
    return json_pack("{s:s,s:{s:i,s:i,s:i},s:n,s:s}", "severity", severity, "pos", "line", 1,
                     "column", 0, "byte", 0, "endPos", "text", text);
}

static json_int_t env_of(const char *text)
{
    for (size_t i = 0; i < env_count; i++) {
        if (envs[i] != NULL && strcmp(envs[i], text) == 0) {
            return (json_int_t)i + 1;
        }
    }
    if (env_count == ENVS_MAX) {
        exit(3);
    }
    envs[env_count++] = strdup(text);
    return (json_int_t)env_count;
}

static void on_header(json_int_t id, const char *text)
{
    if (strstr(text, "slow header") != NULL) {
        nap(2000);
    }
    if (strstr(text, "import Nope") != NULL) {
        say_error(id, "import", "unknown module Nope");
    } else if (strstr(text, "bad") != NULL) {
        say_error(id, "elaboration", "the header has an error");
    } else {
        say_ok(id, json_pack("{s:I,s:[s],s:[o]}", "env", env_of(text), "imports", "Init",
                             "messages", message("info", "a header")));
    }
}

static json_t *position(const char *text, size_t at)
{
    int line = 1;
    int column = 0;
    for (size_t i = 0; i < at; i++) {
        column = text[i] == '\n' ? 0 : column + (((unsigned char)text[i] & 0xc0) != 0x80);
        line += text[i] == '\n';
    }
    return json_pack("{s:i,s:i,s:I}", "line", line, "column", column, "byte", (json_int_t)at);
}

static long number_before(const char *text, size_t at)
{
    while (at > 0 && (text[at - 1] < '0' || text[at - 1] > '9')) {
        at--;
    }
    size_t end = at;
    while (at > 0 && text[at - 1] >= '0' && text[at - 1] <= '9') {
        at--;
    }
    return end == at ? 3 : strtol(text + at, NULL, 10);
}

static json_t *holes_between(const char *text, size_t from, size_t to)
{
    json_t *holes = json_array();
    const char *hole = text + from;
    while ((hole = strstr(hole, "sorry")) != NULL && hole < text + to) {
        size_t at = (size_t)(hole - text);
        goals g = {.count = 1, .at = {number_before(text, at)}};
        json_array_append_new(holes, json_pack("{s:o,s:o,s:s,s:b,s:o}", "pos", position(text, at),
                                               "endPos", position(text, at + 5), "kind", "tactic",
                                               "prop", 1, "part", part_of(&g)));
        hole += 5;
    }
    return holes;
}

static void on_open(json_int_t id, const char *text)
{
    json_t *decls = json_array();
    const char *word = strstr(text, "theorem ");
    while (word != NULL) {
        const char *next = strstr(word + 8, "theorem ");
        size_t from = (size_t)(word - text);
        size_t to = next == NULL ? strlen(text) : (size_t)(next - text);
        char name[64] = "";
        sscanf(word + 8, "%63s", name);
        json_array_append_new(decls, json_pack("{s:s,s:s,s:o,s:o,s:b,s:s,s:o}", "name", name,
                                               "kind", "theorem", "pos", position(text, from),
                                               "endPos", position(text, to), "prop", 1, "type",
                                               "P n", "holes", holes_between(text, from, to)));
        word = next;
    }
    say_ok(id,
           json_pack("{s:I,s:[o],s:o,s:[]}", "env", env_of(text), "messages",
                     message("warning", "declaration uses `sorry`"), "decls", decls, "commands"));
}

/* The export of the fake says `broken` where a proof said it. */
static void on_replay(json_int_t id, const json_t *request)
{
    const char *text = json_string_value(json_object_get(request, "declarations"));
    if (strstr(text, "late sleep") != NULL) {
        nap(600000);
    }
    if (strstr(text, "broken") != NULL) {
        say_ok(id, json_pack("{s:s,s:s,s:s,s:[]}", "verdict", "rejected", "reason", "kernel",
                             "message", "the kernel refuses it", "messages"));
        return;
    }
    say_ok(id,
           json_pack("{s:s,s:[{s:s,s:s,s:[s]}],s:i,s:[]}", "verdict", "accepted", "declarations",
                     "name", "t", "type", "P n", "axioms", "propext", "added", 1, "messages"));
}

static void on_check(json_int_t id, const json_t *request)
{
    const char *candidate = json_string_value(json_object_get(request, "candidate"));
    if (strstr(candidate, "hang") != NULL) {
        nap(600000);
    }
    if (strstr(candidate, "die") != NULL) {
        die("fake: dying in a check\n");
    }
    if (strstr(candidate, "sorry") != NULL) {
        say_ok(id, json_pack("{s:s,s:s,s:s,s:[o]}", "verdict", "rejected", "reason", "sorry",
                             "message", "it uses sorry", "messages", message("warning", "sorry")));
        return;
    }
    json_t *ok = json_pack("{s:s,s:[{s:s,s:s,s:[s,s]}],s:i,s:[]}", "verdict", "accepted",
                           "declarations", "name", "t", "type", "P n", "axioms", "propext",
                           "Quot.sound", "added", 1, "messages");
    if (json_integer_value(json_object_get(request, "export")) == 1 &&
        strstr(candidate, "too long") == NULL) {
        bool forged = strstr(candidate, "forged") != NULL;
        json_t *text = json_sprintf(forged ? "{\"%s\":1e999999999}" : "{\"%s\":[]}", candidate);
        json_object_set_new(ok, "export", text);
    }
    say_ok(id, ok);
}

/* Statement number `n` of the fake library. */
static json_t *library_statement(json_int_t n, const char *kind)
{
    char text[64], key[40];
    snprintf(text, sizeof text, "statement (h : P 0) : P %lld", (long long)n);
    snprintf(key, sizeof key, "%032llx", (unsigned long long)n);
    return json_pack("{s:s,s:s,s:s,s:s}", "kind", kind, "statement", text, "key", key, "absurd",
                     "statement (h : P 0) : False");
}

static void on_statements(json_int_t id, const json_t *request)
{
    json_int_t skip = json_integer_value(json_object_get(request, "skip"));
    json_int_t limit = json_integer_value(json_object_get(request, "limit"));
    json_t *theorems = json_array();
    for (json_int_t n = skip; n < 3 && n < skip + limit; n++) {
        json_array_append_new(theorems, json_pack("{s:s,s:[o]}", "name", "Fake.some", "statements",
                                                  library_statement(n + 1, "theorem")));
    }
    say_ok(id, json_pack("{s:o,s:i}", "theorems", theorems, "total", 3));
}

static void on_mutate(json_int_t id, const char *text)
{
    if (strstr(text, "wrong") != NULL) {
        say_error(id, "elaboration", "the text is wrong");
        return;
    }
    say_ok(id, json_pack("{s:[o,o],s:s}", "statements", library_statement(1, "theorem"),
                         library_statement(2, "swap"), "key", "00000000000000000000000000000001"));
}

static void on_free(json_int_t id, const json_t *request)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(request, "states"), i, item)
    {
        json_int_t number = json_integer_value(item);
        if (number >= 1 && (size_t)number <= state_count && states[number - 1].alive) {
            states[number - 1].alive = false;
            states_alive--;
        }
    }
    json_array_foreach(json_object_get(request, "envs"), i, item)
    {
        json_int_t number = json_integer_value(item);
        if (number >= 1 && (size_t)number <= env_count) {
            free(envs[number - 1]);
            envs[number - 1] = NULL;
        }
    }
    say_ok(id, json_pack("{s:I,s:I}", "states", (json_int_t)states_alive, "envs",
                         (json_int_t)env_count));
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static bool knows_env(const json_t *request)
{
    json_int_t number = json_integer_value(json_object_get(request, "env"));
    return number >= 1 && (size_t)number <= env_count && envs[number - 1] != NULL;
}

static void serve(const json_t *request)
{
    json_int_t id = json_integer_value(json_object_get(request, "id"));
    const char *op = json_string_value(json_object_get(request, "op"));
    const char *text = json_string_value(json_object_get(request, "text"));
    op = op == NULL ? "" : op;
    note(op);
    if (strcmp(op, "try") == 0) {
        on_try(id, request);
    } else if (strcmp(op, "header") == 0) {
        on_header(id, text);
    } else if (strcmp(op, "free") == 0) {
        on_free(id, request);
    } else if (strcmp(op, "memory") == 0) {
        say_ok(id, json_pack("{s:I}", "states", (json_int_t)states_alive));
    } else if (!knows_env(request)) {
        say_error(id, "unknown_env", "no such env");
    } else if (strcmp(op, "open") == 0) {
        on_open(id, text);
    } else if (strcmp(op, "command") == 0) {
        say_ok(id, json_pack("{s:I,s:[o],s:i}", "env", env_of(text), "messages",
                             message("info", "a command"), "sorries", 0));
    } else if (strcmp(op, "check") == 0) {
        on_check(id, request);
    } else if (strcmp(op, "replay") == 0) {
        on_replay(id, request);
    } else if (strcmp(op, "modules") == 0) {
        say_ok(id, json_pack("{s:[{s:s,s:i}]}", "modules", "module", "Fake.Zoo", "theorems", 3));
    } else if (strcmp(op, "statements") == 0) {
        on_statements(id, request);
    } else if (strcmp(op, "mutate") == 0) {
        on_mutate(id, text);
    } else if (strcmp(op, "usage") == 0) {
        say_ok(id, json_pack("{s:[s],s:[s,s]}", "unused", "h", "theorems", "Fake.one", "Fake.two"));
    } else {
        say_error(id, "bad_request", "unknown op");
    }
}

static void fail_early(void)
{
    struct stat info = {0};
    int fd = open(opt.starts, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dprintf(fd, "x");
    fstat(fd, &info);
    close(fd);
    if (info.st_size <= opt.fail_starts) {
        die("fake: cannot start yet\n");
    }
}

static void parse(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *arg = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--echo") == 0) { /* try: every tactic fails with its own text */
            opt.echo = true;
        } else if (strcmp(argv[i], "--junk") == 0) { /* a debug line before every reply */
            opt.junk = true;
        } else if (strcmp(argv[i], "--no-hello") == 0) {
            opt.hello = false;
        } else if (strcmp(argv[i], "--ignore-term") == 0) { /* and the end of its input */
            opt.ignore_term = true;
        } else if (strcmp(argv[i], "--die-at-start") == 0) {
            die("fake: no Lean here\n");
        } else if (strcmp(argv[i], "--start-ms") == 0) {
            opt.start_ms = atol(arg);
        } else if (strcmp(argv[i], "--protocol") == 0) {
            opt.protocol = atol(arg);
        } else if (strcmp(argv[i], "--starts") ==
                   0) { /* a file that grows by a byte at each start */
            opt.starts = arg;
        } else if (strcmp(argv[i], "--fail-starts") == 0) { /* so many starts fail */
            opt.fail_starts = atol(arg);
        } else if (strcmp(argv[i], "--log") == 0) { /* a file: each op, and each tactic tried */
            opt.log = arg;
        }
    }
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t room = 0;
    parse(argc, argv);
    states = calloc(STATES_MAX, sizeof *states);
    if (opt.starts != NULL) {
        fail_early();
    }
    if (opt.ignore_term) {
        signal(SIGTERM, SIG_IGN);
    }
    nap(opt.start_ms);
    if (opt.hello) {
        say(json_pack("{s:s,s:I,s:s,s:I}", "hello", "prover-lean", "protocol",
                      (json_int_t)opt.protocol, "lean", "4.28.0-fake", "ready_ms",
                      (json_int_t)opt.start_ms));
    }
    while (getline(&line, &room, stdin) > 0) {
        json_t *request = json_loads(line, 0, NULL);
        if (request == NULL) {
            say_error(0, "bad_request", "no JSON");
        } else {
            serve(request);
        }
        json_decref(request);
    }
    while (opt.ignore_term) {
        nap(1000);
    }
    free(line);
    free(states);
    for (size_t i = 0; i < env_count; i++) {
        free(envs[i]);
    }
    return 0;
}
