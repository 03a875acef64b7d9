/* prover prove: every theorem of a text that has a hole. */
#include "attempt.h"
#include "commands.h"
#include "policy_choice.h"
#include "progress.h"
#include "prove_run.h"
#include "report.h"
#include "writer_choice.h"

#include <stdio.h>
#include <string.h>

typedef struct tally {
    size_t proved, not_proved, skipped;
} tally;

static void count_end(tally *sum, attempt_end end)
{
    if (end == ATTEMPT_PROVED) {
        sum->proved++;
    } else if (end == ATTEMPT_SKIPPED) {
        sum->skipped++;
    } else {
        sum->not_proved++;
    }
}

static pv_status prove_one(const attempt_task *task, prove_run *run, tally *sum, pv_error *err)
{
    attempt a;
    pv_status status = attempt_theorem(task, &a, err);
    if (status == PV_OK) {
        status = prove_run_keep(run, &a, task->s->opt->seed, err);
    }
    report_context context = {.s = task->s,
                              .src = task->src,
                              .policy = task->s->policy.ops->name,
                              .lean_version = lean_pool_lean_version(task->s->pool)};
    pv_error report_error = {0};
    pv_status written = report_attempt(&context, task->theorem, &a, &report_error);
    count_end(sum, a.end);
    if (status == PV_OK && written != PV_OK) {
        status = pv_fail(err, written, "%s", report_error.msg);
    }
    if (status == PV_OK && a.trace_error.status != PV_OK) {
        status = pv_fail(err, a.trace_error.status, "%s", a.trace_error.msg);
    }
    attempt_release(&a);
    return status;
}

/* `common`: the task without its theorem. */
static pv_status prove_all(const attempt_task *common, const theorem_list *list, prove_run *run,
                           tally *sum, pv_error *err)
{
    fill_list done = {0};
    attempt_task task = *common;
    pv_status status = PV_OK;
    task.done = &done;
    for (size_t i = 0; i < list->count && status == PV_OK && !task.s->interrupted; i++) {
        task.theorem = &list->items[i];
        if (prove_run_has(list, i)) {
            status = prove_one(&task, run, sum, err);
        }
        task.target += task.theorem->hole_count > 0;
    }
    fill_list_release(&done);
    return status;
}

/* Everything between the text and its theorems. */
static pv_status open_text(session *s, const source *src, lean_env **env, theorem_list *list,
                           pv_error *err)
{
    progress_note("prover", "starting Lean");
    pv_status status = session_start_pool(s, session_workers(s->opt), err);
    if (status == PV_OK) {
        status = session_start_judge(s, true, err);
    }
    if (status == PV_OK) {
        lean_judge_prepare(s->judge, src->header);
        status = ask_header(s, src, env, err);
    }
    if (status == PV_OK) {
        status = ask_theorems(s, *env, src, list, err);
    }
    return status;
}

static pv_status check_list(const source *src, const theorem_list *list, pv_error *err)
{
    size_t holes = 0;
    for (size_t i = 0; i < list->count; i++) {
        holes += list->items[i].hole_count;
    }
    if (list->count == 0) {
        return pv_fail(err, PV_E_INVALID, "%s: no declaration in it: write a `theorem`", src->name);
    }
    if (holes == 0) {
        return pv_fail(err, PV_E_INVALID,
                       "%s: no `sorry` in it: nothing to prove (`prover verify` checks proofs)",
                       src->name);
    }
    return PV_OK;
}

static exit_code prove_source(const options *opt, const source *src)
{
    session s;
    pv_error err = {0};
    lean_env *env = NULL;
    theorem_list list = {0};
    tally sum = {0};
    prove_run run = {0};
    policy_choice choice = {0};
    writer_choice writers = {0};
    pv_status status = session_open(&s, opt, &err);
    if (status == PV_OK) {
        status = policy_choice_open(&choice, &s.loop, opt, src->header, &err);
        s.policy = choice.policy;
        s.width = policy_choice_width(&choice, opt->width_given, opt->width);
    }
    if (status == PV_OK) {
        status = writer_choice_open(&writers, &choice, opt, &err);
    }
    if (status == PV_OK) {
        status = open_text(&s, src, &env, &list, &err);
    }
    if (status == PV_OK) {
        status = check_list(src, &list, &err);
    }
    if (status == PV_OK) {
        status = prove_run_open(&run, &s, &choice, src, &list, &err);
    }
    if (status == PV_OK) {
        attempt_task common = {
            .s = &s, .env = env, .src = src, .writer = writers.table, .steps = writers.steps};
        status = prove_all(&common, &list, &run, &sum, &err);
    }
    pv_error close_error = {0};
    if (prove_run_close(&run, &close_error) != PV_OK && status == PV_OK) {
        status = pv_fail(&err, close_error.status, "%s", close_error.msg);
    }
    theorem_list_release(&list);
    if (env != NULL) {
        lean_env_unref(env);
    }
    bool interrupted = s.interrupted;
    policy_choice_close(&choice);
    session_close(&s);
    writer_choice_close(&writers);
    progress_clear();
    if (interrupted) {
        fprintf(stderr, "prover: interrupted; %zu proved so far\n", sum.proved);
        return EXIT_NOT_PROVED;
    }
    if (status != PV_OK) {
        return complain(&err);
    }
    return sum.proved > 0 && sum.not_proved == 0 && sum.skipped == 0 ? EXIT_PROVED
                                                                     : EXIT_NOT_PROVED;
}

exit_code command_prove(const options *opt)
{
    pv_error err = {0};
    if (opt->argument_count != 1) {
        pv_fail(&err, PV_E_INVALID,
                "prove takes one argument: a statement, FILE.lean, or - for standard input");
        return complain(&err);
    }
    if (writer_choice_check(opt, &err) != PV_OK || policy_choice_check(opt, &err) != PV_OK) {
        return complain(&err);
    }
    source src;
    if (source_load(&src, opt->arguments[0], opt->header, &err) != PV_OK) {
        return complain(&err);
    }
    exit_code code = prove_source(opt, &src);
    source_release(&src);
    return code;
}
