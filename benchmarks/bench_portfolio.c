/* bench_portfolio: how many statements of a JSON-lines file the search proves, each judged by a fresh Lean process.
 *
 * Figure: statements proved. Ceiling: all of them. Baseline in the same run: those that one single tactic of the policy's closers
 * proves (tried on the opened state). Usage: bench_portfolio FILE.jsonl [options of `prover prove`] */
#include "attempt.h"
#include "commands.h"
#include "progress.h"
#include "pv_file.h"
#include "pv_mem.h"
#include "search_portfolio.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct tally {
    size_t statements, proved, single, refused;
    double seconds, judge_seconds;
    uint64_t tactics;
} tally;

typedef struct single_answer {
    bool done, closed;
} single_answer;

static void on_single(void *user, lean_ticket t, size_t index, const lean_tried *tried,
                      const pv_error *failure)
{
    (void)t;
    (void)index;
    (void)failure;
    single_answer *answer = user;
    if (tried == NULL) {
        answer->done = true;
    } else if (tried->kind == LEAN_TRY_CLOSED) {
        answer->closed = true;
    }
}

/* Whether one closer alone proves the theorem. */
static bool one_tactic_closes(session *s, const theorem *t)
{
    size_t count;
    const char *const *closers = search_portfolio_closers(&count);
    single_answer answer = {0};
    if (t->hole_count != 1 ||
        lean_try(t->holes[0].state, closers, count, NULL, on_single, &answer, NULL) != PV_OK) {
        return false;
    }
    return session_wait(s, &answer.done, NULL) == PV_OK && answer.closed;
}

static pv_status bench_statement(session *s, const char *name, const char *statement, tally *sum,
                                 pv_error *err)
{
    source src;
    lean_env *env = NULL;
    theorem_list list = {0};
    pv_status status = source_load(&src, statement, "", err);
    if (status != PV_OK) {
        return status;
    }
    status = ask_header(s, &src, &env, err);
    if (status == PV_OK) {
        lean_judge_prepare(s->judge, src.header);
        status = ask_theorems(s, env, &src, &list, err);
    }
    if (status == PV_OK && list.count > 0) {
        bool single = one_tactic_closes(s, &list.items[0]);
        fill_list done = {0};
        attempt a;
        status = attempt_theorem(s, &src, &list.items[0], &done, &a, err);
        progress_clear();
        bool proved = a.end == ATTEMPT_PROVED;
        printf("%-48s %-10s %6.1f s  %6llu tactics%s  %s\n", name, proved ? "proved" : "not proved",
               a.seconds, (unsigned long long)a.stats.tactics, single ? "  (single tactic)" : "",
               proved ? "" : a.why);
        fflush(stdout);
        sum->proved += proved;
        sum->refused += a.end == ATTEMPT_REFUSED;
        sum->single += single;
        sum->seconds += a.seconds;
        sum->judge_seconds += a.verdict.seconds;
        sum->tactics += a.stats.tactics;
        attempt_release(&a);
        fill_list_release(&done);
    }
    sum->statements++;
    theorem_list_release(&list);
    if (env != NULL) {
        lean_env_unref(env);
    }
    source_release(&src);
    return status;
}

static pv_status bench_file(session *s, const char *path, tally *sum, pv_error *err)
{
    pv_buf text = {0};
    pv_status status = pv_file_read(path, 64u << 20, &text, err);
    for (char *line = text.data, *next; status == PV_OK && line != NULL && *line != '\0';
         line = next) {
        next = line + strcspn(line, "\n");
        json_t *row = json_loadb(line, (size_t)(next - line), 0, NULL);
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *statement = json_string_value(json_object_get(row, "formal_statement"));
        if (name != NULL && statement != NULL && !s->interrupted) {
            status = bench_statement(s, name, statement, sum, err);
        }
        json_decref(row);
        next += *next == '\n';
    }
    pv_buf_release(&text);
    return status;
}

static int bench(const options *opt)
{
    session s;
    tally sum = {0};
    pv_error err = {0};
    pv_status status = session_open(&s, opt, &err);
    s.policy = search_portfolio();
    if (status == PV_OK) {
        status = session_start_pool(&s, session_workers(opt), &err);
    }
    if (status == PV_OK) {
        status = session_start_judge(&s, true, &err);
    }
    if (status == PV_OK) {
        status = bench_file(&s, opt->arguments[0], &sum, &err);
    }
    session_close(&s);
    if (status != PV_OK) {
        return complain(&err);
    }
    printf("proved %zu of %zu (%.1f %%); one single tactic proves %zu; the judge refused %zu\n",
           sum.proved, sum.statements,
           sum.statements == 0 ? 0 : 100 * (double)sum.proved / (double)sum.statements, sum.single,
           sum.refused);
    printf("%.1f s for all theorems, %.1f s of it judging, %llu tactics tried, %u workers\n",
           sum.seconds, sum.judge_seconds, (unsigned long long)sum.tactics, session_workers(opt));
    return 0;
}

int main(int argc, char **argv)
{
    options opt;
    pv_error err = {0};
    if (options_parse(&opt, FOR_PROVE, argc, argv, 1, &err) != PV_OK) {
        return complain(&err);
    }
    int code = EXIT_USAGE;
    if (opt.help || opt.argument_count != 1) {
        puts("usage: bench_portfolio FILE.jsonl [options of `prover prove`]\n"
             "  FILE.jsonl: lines with `name` and `formal_statement` (ending in `:= by sorry`)");
    } else {
        progress_init(false);
        code = bench(&opt);
    }
    options_release(&opt);
    return code;
}
