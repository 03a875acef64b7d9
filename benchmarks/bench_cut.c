/* bench_cut: how much of a broken whole proof is kept.
 *
 * Every statement of the file gets proofs with a good beginning and a broken end, one of each kind below. Figure: statements of which
 * every beginning is kept in full (and those of each kind). Ceiling: all. Baseline in the same run: all of the proof or nothing, which keeps
 * none, since no end compiles; the run checks that.
 * Usage: bench_cut FILE.jsonl [RUN.jsonl] [options of `prover prove`]
 * RUN.jsonl is what `prover bench --json` printed: a statement that is proved there begins with that proof but for its last step. */
#include "commands.h"
#include "data_file.h"
#include "lean_session.h"
#include "problem_file.h"
#include "progress.h"
#include "pv_mem.h"
#include "resume.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char PLAIN[] = "\n  have one : 1 + 1 = 2 := by\n    rfl\n"
                            "  have two : ∀ n : Nat, n + 0 = n := by\n    intro n\n    simp";

static const struct {
    const char *name, *text;
} tails[] = {
    {"unknown tactic", "\n  nlinear_arithmetic [sq_nonneg (1 : Nat)]"},
    {"unknown lemma", "\n  exact absent_lemma _ _"},
    {"failing step", "\n  have bad : 1 = 2 := by\n    decide\n  omega"},
    {"failing bullet",
     "\n  have all : 1 = 1 ∧ 2 = 3 := by\n    constructor\n    · rfl\n    · rfl\n  simp_all"},
    {"open bracket", "\n  have bad : 1 = 1 := (rfl\n  exact bad"},
    {"refused by the gate", "\n  native_decide"},
    {"unfinished", "\n  have three : 3 = 3 := rfl"},
};

enum { TAIL_COUNT = sizeof tails / sizeof *tails };

typedef struct tally {
    size_t statements, whole, kept[TAIL_COUNT], compiled, from_proofs;
    unsigned compiles;
} tally;

/* ---- beginnings ---- */

static pv_status on_row(void *user, const json_t *row, pv_error *err)
{
    const char *name = json_string_value(json_object_get(row, "problem"));
    const json_t *text = json_object_get(row, "text");
    (void)err;
    if (name != NULL && json_is_string(text)) {
        json_object_set(user, name, (json_t *)text);
    }
    return PV_OK;
}

/* The proof without its last step at the outermost level; false when that leaves nothing. */
static bool beginning_of(const char *declaration, pv_buf *out)
{
    whole_proof p;
    if (whole_proof_find(&p, declaration, strlen(declaration), NULL, NULL) != PV_OK) {
        return false;
    }
    const char *body = declaration + p.body.start, *last = NULL;
    body += strspn(body, " ");
    if (*body != '\n') {
        return false;
    }
    size_t indent = strspn(body + 1, " ");
    for (const char *at = body; at != NULL; at = strchr(at + 1, '\n')) {
        last = strspn(at + 1, " ") == indent ? at : last;
    }
    for (const char *at = body; at < last; at++) { /* the ends stand at two columns */
        pv_buf_putc(out, *at);
        at += *at == '\n' && strspn(at + 1, " ") >= indent && indent > 2 ? indent - 2 : 0;
    }
    return out->len > 0;
}

static void put_beginning(const json_t *proofs, const char *name, pv_buf *out, tally *sum)
{
    const char *text = json_string_value(json_object_get(proofs, name));
    if (text != NULL && beginning_of(text, out)) {
        sum->from_proofs++;
    } else {
        pv_buf_puts(out, PLAIN);
    }
}

/* ---- one proof ---- */

static bool try_proof(session *s, lean_env *env, const source *src, const theorem *t,
                      const pv_buf *beginning, const char *tail, tally *sum, pv_error *err)
{
    pv_buf text = {0};
    whole_proof p;
    resume r;
    bool kept = false;
    pv_buf_printf(&text, "theorem x : y := by%s%s\n", pv_buf_text(beginning), tail);
    if (whole_proof_find(&p, pv_buf_text(&text), text.len, NULL, err) == PV_OK &&
        resume_start(&r, s, env, src, 0, t->holes[0].start, &p, pv_buf_text(&text), err) == PV_OK) {
        while (resume_state(&r) == RESUME_RUNNING && !s->interrupted) {
            if (!resume_turn(&r)) {
                session_round(s);
            }
        }
        while (!resume_end(&r)) {
            session_round(s);
        }
        kept = resume_state(&r) == RESUME_CUT && r.keep >= beginning->len;
        sum->compiled += resume_state(&r) == RESUME_COMPILES;
        sum->compiles += r.compiles;
        resume_release(&r);
    }
    pv_buf_release(&text);
    return kept;
}

static void try_all(session *s, lean_env *env, const source *src, const theorem *t,
                    const char *name, const pv_buf *beginning, tally *sum, pv_error *err)
{
    size_t kept = 0;
    printf("%-48s", name);
    for (size_t i = 0; i < TAIL_COUNT && err->status == PV_OK && !s->interrupted; i++) {
        bool good = try_proof(s, env, src, t, beginning, tails[i].text, sum, err);
        printf(" %s", good ? "kept" : "----");
        fflush(stdout);
        sum->kept[i] += good;
        kept += good;
    }
    printf("  (%zu bytes)\n", beginning->len);
    sum->statements++;
    sum->whole += kept == TAIL_COUNT;
}

static pv_status bench_problem(session *s, const problem *p, const json_t *proofs, tally *sum,
                               pv_error *err)
{
    source src;
    lean_env *env = NULL;
    theorem_list list = {0};
    pv_buf beginning = {0};
    pv_status status =
        source_of_text(&src, p->name, p->header, p->text, strlen(p->text), false, err);
    if (status != PV_OK) {
        return status;
    }
    status = ask_header(s, &src, &env, err);
    if (status == PV_OK) {
        status = ask_theorems(s, env, &src, &list, err);
    }
    if (status == PV_OK && list.count > 0 && list.items[0].hole_count == 1) {
        put_beginning(proofs, p->name, &beginning, sum);
        try_all(s, env, &src, &list.items[0], p->name, &beginning, sum, err);
        status = err->status;
    }
    pv_buf_release(&beginning);
    theorem_list_release(&list);
    if (env != NULL) {
        lean_env_unref(env);
    }
    source_release(&src);
    return status;
}

static int bench(const options *opt, const problem_list *problems, const json_t *proofs)
{
    session s;
    tally sum = {0};
    pv_error err = {0};
    pv_status status = session_open(&s, opt, &err);
    if (status == PV_OK) {
        status = session_start_pool(&s, session_workers(opt), &err);
    }
    for (size_t i = 0; i < problems->count && status == PV_OK && !s.interrupted; i++) {
        status = bench_problem(&s, &problems->items[i], proofs, &sum, &err);
    }
    session_close(&s);
    if (status != PV_OK) {
        return complain(&err);
    }
    printf("\nall beginnings kept: %zu of %zu statements (%zu begin with their own proof); "
           "compiled as "
           "they are: %zu; %.1f compilations a proof\n",
           sum.whole, sum.statements, sum.from_proofs, sum.compiled,
           sum.statements == 0 ? 0 : (double)sum.compiles / (double)(sum.statements * TAIL_COUNT));
    for (size_t i = 0; i < TAIL_COUNT; i++) {
        printf("  %-24s %zu of %zu\n", tails[i].name, sum.kept[i], sum.statements);
    }
    return sum.compiled == 0 ? 0 : 1;
}

int main(int argc, char **argv)
{
    options opt;
    pv_error err = {0};
    problem_list problems = {0};
    json_t *proofs = json_object();
    if (options_parse(&opt, FOR_PROVE, argc, argv, 1, &err) != PV_OK) {
        return complain(&err);
    }
    int code = EXIT_USAGE;
    if (opt.help || opt.argument_count < 1 || opt.argument_count > 2) {
        puts("usage: bench_cut FILE.jsonl [RUN.jsonl] [options of `prover prove`]");
    } else if (problem_file_read(&problems, opt.arguments[0], opt.header, &err) != PV_OK ||
               (opt.argument_count == 2 &&
                data_file_read(opt.arguments[1], on_row, proofs, &err) != PV_OK)) {
        code = complain(&err);
    } else {
        progress_init(false);
        code = bench(&opt, &problems, proofs);
    }
    problem_list_release(&problems);
    json_decref(proofs);
    options_release(&opt);
    return code;
}
