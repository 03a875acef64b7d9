/* prover verify: the judge alone, on a file that claims to prove something. */
#include "commands.h"
#include "kernel_check.h"
#include "lean_session.h"
#include "progress.h"
#include "pv_mem.h"
#include "report.h"
#include "verify_config.h"

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

/* What a judgement is about: a file, what it is compared with (maybe itself), and what a configuration says. */
typedef struct claim {
    const source *file, *reference;
    const verify_config *config; /* NULL: none */
} claim;

static const char *forbidden_axiom(const verify_config *config, const verdict *v)
{
    for (size_t i = 0; i < v->axiom_count; i++) {
        bool permitted = false;
        for (size_t k = 0; k < config->axiom_count; k++) {
            permitted = permitted || strcmp(v->axioms[i], config->axioms[k]) == 0;
        }
        if (!permitted) {
            return v->axioms[i];
        }
    }
    return NULL;
}

/* The configuration may permit fewer axioms than the judge. */
static pv_status narrow(const verify_config *config, verdict *v, pv_error *err)
{
    const char *axiom = v->level == LEAN_LEVEL_NONE ? NULL : forbidden_axiom(config, v);
    if (axiom == NULL) {
        return PV_OK;
    }
    pv_buf message = {0};
    pv_buf_printf(&message, "the proof uses the axiom %s, which the configuration does not permit",
                  axiom);
    v->level = LEAN_LEVEL_NONE;
    v->reason = pv_strdup("axiom");
    v->message = pv_buf_detach(&message);
    return v->reason == NULL || v->message == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                                   : PV_OK;
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

/* The names that are claimed, in *names (room for all of them). */
static pv_status claimed(const claim *c, const theorem_list *list, const char **names,
                         size_t *count, pv_error *err)
{
    if (c->config != NULL) {
        *count = c->config->name_count;
        memcpy(names, c->config->names, *count * sizeof *names);
        return PV_OK;
    }
    *count = claimed_names(list, c->reference != c->file, names);
    if (*count == 0) {
        return pv_fail(err, PV_E_INVALID, "%s: no theorem %s", c->reference->name,
                       c->reference == c->file
                           ? "in it to verify"
                           : "with a `sorry` in it: it must state what is claimed");
    }
    return PV_OK;
}

static pv_status judge_file(session *s, const claim *c, const theorem_list *list,
                            kernel_check *kernels, bool *accepted, pv_error *err)
{
    size_t count = 0, room = list->count + (c->config == NULL ? 0 : c->config->name_count) + 1;
    const char **names = pv_calloc(room, sizeof *names);
    if (names == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    verdict v = {0};
    const char *proofs[] = {c->file->text};
    pv_status status = claimed(c, list, names, &count, err);
    if (status == PV_OK) {
        progress_note("prover", "a fresh Lean process checks the file");
        status = ask_judge(s, c->reference, c->file->body, names, count, proofs, 0, &v, err);
    }
    if (status == PV_OK && c->config != NULL) {
        status = narrow(c->config, &v, err);
    }
    if (status == PV_OK) {
        status =
            kernel_check_run(kernels, c->reference->header, c->file->body, names, count, &v, err);
    }
    if (status == PV_OK) {
        report_context context = {
            .s = s, .src = c->file, .statement = c->reference, .lean_version = v.lean_version};
        *accepted = session_accepts(s, v.level);
        status = report_verdict(&context, names, count, &v, err);
    }
    verdict_release(&v);
    pv_free(names);
    return status;
}

static pv_status verify_source(session *s, const claim *c, kernel_check *kernels, bool *accepted,
                               pv_error *err)
{
    lean_env *env = NULL;
    theorem_list list = {0};
    progress_note("prover", "starting Lean");
    pv_status status = session_start_pool(s, 1, err);
    if (status == PV_OK) {
        status = session_start_judge(s, true, err);
    }
    if (status == PV_OK) {
        lean_judge_prepare(s->judge, c->reference->header);
        status = ask_header(s, c->reference, &env, err);
    }
    if (status == PV_OK) {
        status = ask_theorems(s, env, c->reference, &list, err);
    }
    const theorem *open = c->reference == c->file ? first_open(&list) : NULL;
    if (status == PV_OK && open != NULL) {
        status = pv_fail(err, PV_E_INVALID, "%s:%zu:%zu: theorem %s still has a `sorry`",
                         c->file->name, open->holes[0].line, open->holes[0].column, open->name);
    }
    if (status == PV_OK) {
        status = judge_file(s, c, &list, kernels, accepted, err);
    }
    theorem_list_release(&list);
    if (env != NULL) {
        lean_env_unref(env);
    }
    return status;
}

/* Kernels that the user or the configuration asks for, and that are not there, are told of before Lean starts. */
static pv_status open_kernels(kernel_check *out, session *s, const verify_config *config,
                              pv_error *err)
{
    static const char *const all[] = {"propext", "Quot.sound", "Classical.choice"};
    if (config == NULL) {
        return kernel_check_open(out, s, NULL, 0, all, sizeof all / sizeof *all, err);
    }
    return kernel_check_open(out, s, config->kernels, config->kernel_count,
                             (const char *const *)config->axioms, config->axiom_count, err);
}

static exit_code verify(const options *opt, const claim *c)
{
    session s;
    kernel_check kernels;
    pv_error err = {0};
    bool accepted = false;
    pv_status status = session_open(&s, opt, &err);
    if (status == PV_OK) {
        status = open_kernels(&kernels, &s, c->config, &err);
    }
    if (status == PV_OK) {
        status = verify_source(&s, c, &kernels, &accepted, &err);
        kernel_check_close(&kernels);
    }
    session_close(&s);
    progress_clear();
    if (status != PV_OK) {
        return complain(&err);
    }
    return accepted ? EXIT_PROVED : EXIT_NOT_PROVED;
}

/* Judges `path` against `against`; NULL: against itself. */
static exit_code verify_paths(const options *opt, const char *path, const char *against,
                              const verify_config *config)
{
    pv_error err = {0};
    source file, reference;
    if (source_load(&file, path, opt->header, &err) != PV_OK) {
        return complain(&err);
    }
    claim c = {&file, &file, config};
    exit_code code;
    if (against == NULL) {
        code = verify(opt, &c);
    } else if (source_load(&reference, against, opt->header, &err) != PV_OK) {
        code = complain(&err);
    } else {
        c.reference = &reference;
        code = verify(opt, &c);
        source_release(&reference);
    }
    source_release(&file);
    return code;
}

static exit_code verify_configured(const options *opt)
{
    pv_error err = {0};
    verify_config config;
    if (verify_config_read(&config, opt->config, opt->lean_project, &err) != PV_OK) {
        return complain(&err);
    }
    exit_code code = verify_paths(opt, config.solution, config.challenge, &config);
    verify_config_release(&config);
    return code;
}

exit_code command_verify(const options *opt)
{
    pv_error err = {0};
    if (opt->config[0] != '\0' && (opt->argument_count > 0 || opt->against[0] != '\0')) {
        pv_fail(&err, PV_E_INVALID, "--config says which files are verified: give no other one");
        return complain(&err);
    }
    if (opt->config[0] != '\0') {
        return verify_configured(opt);
    }
    if (opt->argument_count != 1) {
        pv_fail(&err, PV_E_INVALID,
                "verify takes one argument: FILE.lean, or - for standard input");
        return complain(&err);
    }
    return verify_paths(opt, opt->arguments[0], opt->against[0] == '\0' ? NULL : opt->against,
                        NULL);
}
