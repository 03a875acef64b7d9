/* prover verify: the judge alone, on a file that claims to prove something. */
#include "commands.h"
#include "lean_session.h"
#include "progress.h"
#include "pv_mem.h"
#include "report.h"

#include <stdio.h>
#include <string.h>

/* Claimed are the theorems of the reference that have a hole; without a reference, all theorems of the file. */
static bool is_claimed(const theorem *t, bool against)
{
    return t->prop && strcmp(t->kind, "example") != 0 && (t->hole_count > 0) == against;
}

static size_t claimed_names(const theorem_list *list, bool against, const char **names)
{
    size_t n = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (is_claimed(&list->items[i], against)) {
            names[n++] = list->items[i].name;
        }
    }
    return n;
}

static const theorem *first_open(const theorem_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        if (list->items[i].hole_count > 0) {
            return &list->items[i];
        }
    }
    return NULL;
}

static pv_status judge_file(session *s, const source *file, const source *reference,
                            const theorem_list *list, bool *accepted, pv_error *err)
{
    const char **names = pv_calloc(list->count + 1, sizeof *names);
    if (names == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    size_t count = claimed_names(list, reference != file, names);
    pv_status status = PV_OK;
    if (count == 0) {
        status = pv_fail(err, PV_E_INVALID, "%s: no theorem %s", reference->name,
                         reference == file ? "in it to verify"
                                           : "with a `sorry` in it: it must state what is claimed");
    }
    verdict v = {0};
    const char *proofs[] = {file->text};
    if (status == PV_OK) {
        progress_note("prover", "a fresh Lean process checks the file");
        status = ask_judge(s, reference, file->body, names, count, proofs, 0, &v, err);
    }
    if (status == PV_OK) {
        report_context context = {s, file, NULL, v.lean_version};
        *accepted = session_accepts(s, v.level);
        status = report_verdict(&context, names, count, &v, err);
    }
    verdict_release(&v);
    pv_free(names);
    return status;
}

static pv_status verify_source(session *s, const source *file, const source *reference,
                               bool *accepted, pv_error *err)
{
    lean_env *env = NULL;
    theorem_list list = {0};
    progress_note("prover", "starting Lean");
    pv_status status = session_start_pool(s, 1, err);
    if (status == PV_OK) {
        status = session_start_judge(s, true, err);
    }
    if (status == PV_OK) {
        lean_judge_prepare(s->judge, reference->header);
        status = ask_header(s, reference, &env, err);
    }
    if (status == PV_OK) {
        status = ask_theorems(s, env, reference, &list, err);
    }
    const theorem *open = reference == file ? first_open(&list) : NULL;
    if (status == PV_OK && open != NULL) {
        status = pv_fail(err, PV_E_INVALID, "%s:%zu:%zu: theorem %s still has a `sorry`",
                         file->name, open->holes[0].line, open->holes[0].column, open->name);
    }
    if (status == PV_OK) {
        status = judge_file(s, file, reference, &list, accepted, err);
    }
    theorem_list_release(&list);
    if (env != NULL) {
        lean_env_unref(env);
    }
    return status;
}

static exit_code verify(const options *opt, const source *file, const source *reference)
{
    session s;
    pv_error err = {0};
    bool accepted = false;
    pv_status status = session_open(&s, opt, &err);
    if (status == PV_OK) {
        status = verify_source(&s, file, reference, &accepted, &err);
    }
    session_close(&s);
    progress_clear();
    if (status != PV_OK) {
        return complain(&err);
    }
    return accepted ? EXIT_PROVED : EXIT_NOT_PROVED;
}

exit_code command_verify(const options *opt)
{
    pv_error err = {0};
    if (opt->argument_count != 1) {
        pv_fail(&err, PV_E_INVALID,
                "verify takes one argument: FILE.lean, or - for standard input");
        return complain(&err);
    }
    source file, reference;
    if (source_load(&file, opt->arguments[0], opt->header, &err) != PV_OK) {
        return complain(&err);
    }
    exit_code code;
    if (opt->against[0] == '\0') {
        code = verify(opt, &file, &file);
    } else if (source_load(&reference, opt->against, opt->header, &err) != PV_OK) {
        code = complain(&err);
    } else {
        code = verify(opt, &file, &reference);
        source_release(&reference);
    }
    source_release(&file);
    return code;
}
