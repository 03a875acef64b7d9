/* A stand-in for the community's REPL: its framing, its reply shapes and its traps, about the toy calculus of fake_lean.c.
 * States are single numbers; `both a b` makes two goals. Malformed input ends the process, as there.
 * Options: --old (before Lean 4.19: no proofStatus), --chatty (a line before every reply). */
#define _GNU_SOURCE
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { MAX = 4096 };

typedef struct state {
    long at[2];
    int count;
} state;

static state states[MAX];
static json_int_t state_count, env_count;
static bool broken[MAX]; /* envs whose import failed silently */
static bool is_old, is_chatty;

static void say(json_t *reply)
{
    if (is_chatty) {
        puts("a tactic prints this");
    }
    char *text = json_dumps(reply, JSON_INDENT(1));
    printf("%s\n\n", text);
    fflush(stdout);
    free(text);
    json_decref(reply);
}

static json_t *message(const char *severity, const char *text)
{
    return json_pack("{s:s,s:{s:i,s:i},s:n,s:s}", "severity", severity, "pos", "line", 1, "column",
                     0, "endPos", "data", text);
}

static json_t *position(const char *text, const char *at)
{
    int line = 1;
    int column = 0;
    for (const char *p = text; p < at; p++) {
        column = *p == '\n' ? 0 : column + (((unsigned char)*p & 0xc0) != 0x80);
        line += *p == '\n';
    }
    return json_pack("{s:i,s:i}", "line", line, "column", column);
}

static json_int_t keep(state s)
{
    if (state_count == MAX) {
        exit(3);
    }
    states[state_count] = s;
    return state_count++;
}

static long number_before(const char *text, const char *at)
{
    while (at > text && (at[-1] < '0' || at[-1] > '9')) {
        at--;
    }
    const char *end = at;
    while (at > text && at[-1] >= '0' && at[-1] <= '9') {
        at--;
    }
    return at == end ? 3 : strtol(at, NULL, 10);
}

static void add_sorries(json_t *reply, const char *text)
{
    json_t *list = json_array();
    for (const char *p = strstr(text, "sorry"); p != NULL; p = strstr(p + 5, "sorry")) {
        state s = {{number_before(text, p), 0}, 1};
        json_t *goal =
            json_sprintf("case h\nn : ℕ\n⊢ P %ld ?m.%ld", s.at[0], (long)state_count + 7);
        json_array_append_new(list,
                              json_pack("{s:o,s:I,s:o,s:o}", "goal", goal, "proofState", keep(s),
                                        "pos", position(text, p), "endPos", position(text, p + 5)));
    }
    if (json_array_size(list) > 0) {
        json_object_set(reply, "sorries", list);
    }
    json_decref(list);
}

static void add_messages(json_t *reply, const char *text)
{
    const char *print = strstr(text, "#print axioms ");
    json_t *list = json_array();
    if (strstr(text, "versionString") != NULL) {
        json_array_append_new(list, message("info", "\"4.9.0-fake\""));
    } else if (print != NULL && strstr(text, "choice") != NULL) {
        json_array_append_new(
            list, message("info", "'choice' depends on axioms: [propext,\n Classical.choice]"));
    } else if (print != NULL && strstr(text, "cheat") != NULL) {
        json_array_append_new(list, message("info", "'cheat' depends on axioms: [cheating]"));
    } else if (print != NULL) {
        json_array_append_new(list, message("info", "'t' does not depend on any axioms"));
    } else if (strstr(text, "bad") != NULL) {
        json_array_append_new(list, message("error", "unknown identifier 'bad'"));
    }
    if (json_array_size(list) > 0) {
        json_object_set(reply, "messages", list);
    }
    json_decref(list);
}

static void on_command(const json_t *request)
{
    const char *text = json_string_value(json_object_get(request, "cmd"));
    const json_t *env = json_object_get(request, "env");
    if (env_count == MAX) {
        exit(3);
    }
    if (env != NULL && json_integer_value(env) >= env_count) {
        say(json_pack("{s:s}", "message", "Unknown environment."));
        return;
    }
    json_t *reply = json_pack("{s:I}", "env", env_count);
    broken[env_count] =
        env == NULL ? strstr(text, "import Nope") != NULL : broken[json_integer_value(env)];
    if (broken[env_count] && env != NULL) {
        json_t *list = json_pack("[o]", message("error", "unknown identifier"));
        json_object_set_new(reply, "messages", list);
    } else {
        add_messages(reply, text);
    }
    env_count++;
    add_sorries(reply, text);
    say(reply);
}

static void add_goals(json_t *reply, state s)
{
    json_t *goals = json_array();
    for (int i = 0; i < s.count; i++) {
        json_array_append_new(
            goals, json_sprintf("case g\nn : ℕ\n⊢ P %ld ?m.%ld", s.at[i], (long)state_count + 100));
    }
    json_object_set_new(reply, "goals", goals);
}

/* The tactic inside `set_option maxHeartbeats N in ( ... )`. */
static void unwrap(const char *text, char *out, size_t room)
{
    const char *from = strstr(text, "(\n");
    from = from == NULL ? text : from + 2;
    from += strspn(from, " ");
    const char *end = strrchr(from, '\n');
    size_t n = end == NULL ? strlen(from) : (size_t)(end - from);
    snprintf(out, room, "%.*s", (int)n, from);
}

static json_t *take_step(state *s, const char *tactic)
{
    const char *status = "Completed";
    json_t *reply = json_object();
    if (strcmp(tactic, "dec") == 0) {
        s->at[0]--;
        if (s->at[0] == 0) {
            s->at[0] = s->at[1];
            s->count--;
        }
    } else if (strncmp(tactic, "both ", 5) == 0) {
        sscanf(tactic + 5, "%ld %ld", &s->at[0], &s->at[1]);
        s->count = 2;
    } else if (strcmp(tactic, "close") == 0) {
        s->count = 0;
    } else if (strcmp(tactic, "fake") == 0) { /* an error, and yet no goals */
        s->count = 0;
        status = "Incomplete: contains sorry";
        json_object_set_new(reply, "messages", json_pack("[o]", message("error", "unknown id")));
    } else if (strcmp(tactic, "unsound") == 0) {
        s->count = 0;
        status = "Error: kernel type check failed: as told";
    } else if (strcmp(tactic, "beats") == 0) {
        json_object_set_new(reply, "message",
                            json_string("Lean error:\n(deterministic) timeout at `whnf`, maximum "
                                        "number of heartbeats (200000) has been reached"));
        return reply;
    } else {
        json_object_set_new(reply, "message", json_sprintf("Lean error:\n<input>: %s", tactic));
        return reply;
    }
    if (!is_old) {
        json_object_set_new(reply, "proofStatus",
                            json_string(s->count > 0 ? "Incomplete: open goals remain" : status));
    }
    add_goals(reply, *s);
    json_object_set_new(reply, "proofState", json_integer(keep(*s)));
    return reply;
}

static void on_tactic(const json_t *request)
{
    char tactic[512];
    json_int_t number = json_integer_value(json_object_get(request, "proofState"));
    unwrap(json_string_value(json_object_get(request, "tactic")), tactic, sizeof tactic);
    if (number < 0 || number >= state_count) {
        say(json_pack("{s:s}", "message", "Unknown proof state."));
        return;
    }
    if (strcmp(tactic, "hang") == 0) {
        sleep(600);
    }
    if (strcmp(tactic, "die") == 0) {
        exit(5);
    }
    state s = states[number];
    say(take_step(&s, tactic));
}

/* Lines up to a blank one, right-trimmed and joined. */
static char *read_query(void)
{
    static char query[1 << 20];
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    query[0] = '\0';
    while ((n = getline(&line, &room, stdin)) > 0) {
        while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == ' ')) {
            line[--n] = '\0';
        }
        if (n == 0) {
            free(line);
            return query;
        }
        strncat(query, line, sizeof query - strlen(query) - 1);
    }
    free(line);
    return NULL;
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        is_old = is_old || strcmp(argv[i], "--old") == 0;
        is_chatty = is_chatty || strcmp(argv[i], "--chatty") == 0;
    }
    for (char *query = read_query(); query != NULL; query = read_query()) {
        json_t *request = json_loads(query, 0, NULL);
        if (request == NULL) { /* also one blank line too many */
            fputs("uncaught exception: malformed\n", stderr);
            return 1;
        }
        if (json_object_get(request, "tactic") != NULL) {
            on_tactic(request);
        } else {
            on_command(request);
        }
        json_decref(request);
    }
    return 0;
}
