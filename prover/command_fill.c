/* prover fill: the holes of a file, a folder or a Lake project. */
#include "commands.h"
#include "fill.h"
#include "fill_store.h"
#include "module_build.h"
#include "progress.h"
#include "pv_clock.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- arguments ---- */

/* Cuts `:LINE` off the end of `place` (changed); 0: there is none. */
static uint64_t cut_line(char *place)
{
    char *colon = strrchr(place, ':');
    if (colon == NULL || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        pv_file_exists(place)) {
        return 0;
    }
    uint64_t line = strtoull(colon + 1, NULL, 10);
    *colon = '\0';
    return line;
}

static pv_status check_options(const options *opt, pv_error *err)
{
    if (opt->argument_count < 1 || opt->argument_count > 2) {
        return pv_fail(
            err, PV_E_INVALID,
            "fill takes a project, a folder or FILE.lean[:LINE], and may be a file of it");
    }
    if (opt->apply && (opt->fill_check || opt->fill_list)) {
        return pv_fail(err, PV_E_INVALID, "--apply does not go with --check or --list");
    }
    if (opt->backup && !opt->apply) {
        return pv_fail(err, PV_E_INVALID, "--backup goes with --apply only");
    }
    if (opt->community_repl[0] != '\0') {
        return pv_fail(
            err, PV_E_INVALID,
            "the community REPL does not say enough about holes: leave out --community-repl");
    }
    return opt->fill_list ? PV_OK : policy_choice_check(opt, err);
}

static pv_status open_project(fill *f, pv_error *err)
{
    const options *opt = f->opt;
    char *first = pv_strdup(opt->arguments[0]);
    char *second = opt->argument_count > 1 ? pv_strdup(opt->arguments[1]) : NULL;
    pv_status status = PV_OK;
    if (first == NULL || (opt->argument_count > 1 && second == NULL)) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory");
    } else {
        f->line = cut_line(second != NULL ? second : first);
        status = project_open(&f->project, first, second, err);
    }
    pv_free(first);
    pv_free(second);
    return status;
}

/* ---- Lean ---- */

/* A Lake project is served by its own lake. Where there is none, the default Lean has to do. */
static pv_status open_session(fill *f, pv_error *err)
{
    f->lean_opt = *f->opt;
    bool found = f->project.lake && f->opt->lean_project[0] == '\0' && !f->opt->npm_lean;
    if (found) {
        f->lean_opt.lean_project = f->project.root;
    }
    pv_status status = session_open(&f->s, &f->lean_opt, err);
    if (found && (status == PV_E_NOTFOUND || status == PV_E_UNSUPPORTED)) {
        char note[1200];
        snprintf(note, sizeof note, "no lake for this project, the default Lean is used (%s)",
                 err->msg);
        progress_note("fill", note);
        session_close(&f->s);
        pv_error_clear(err);
        f->lean_opt.lean_project = "";
        status = session_open(&f->s, &f->lean_opt, err);
    }
    return status;
}

static pv_status open_policy(fill *f, pv_error *err)
{
    if (f->opt->fill_list) {
        return PV_OK;
    }
    pv_status status = policy_choice_open(&f->choice, &f->s.loop, f->opt, "import Init\n", err);
    f->s.policy = f->choice.policy;
    f->s.width = policy_choice_width(&f->choice, f->opt->width_given, f->opt->width);
    if (status == PV_OK && f->opt->fill_store[0] != '\0') {
        status = fill_store_open(&f->store, f->opt->fill_store, err);
    }
    return status;
}

static pv_status start_lean(fill *f, pv_error *err)
{
    progress_note("fill", "starting Lean");
    pv_status status =
        session_start_pool(&f->s, f->opt->fill_list ? 1 : session_workers(f->opt), err);
    return status == PV_OK ? session_start_judge(&f->s, !f->opt->fill_list, err) : status;
}

/* ---- the command ---- */

static pv_status work(fill *f, pv_error *err)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < f->project.count && status == PV_OK && !f->stopping; i++) {
        if (f->project.files[i].chosen) {
            status = fill_file_work(f, &f->project.files[i], err);
        }
        f->stopping = f->stopping || f->s.interrupted;
    }
    return status == PV_E_CANCELLED ? PV_OK : status;
}

static exit_code finish(const fill *f)
{
    progress_clear();
    if (!f->opt->json && !f->opt->fill_list) {
        fprintf(stderr, "prover: %zu of %zu holes filled", f->filled, f->holes);
        if (f->opt->apply) {
            fprintf(stderr, ", %zu files written", f->files_changed);
        } else if (f->filled > 0) {
            fputs("; nothing is written without --apply", stderr);
        }
        fputs(f->stopping ? "; stopped early\n" : "\n", stderr);
    }
    if (f->worst != EXIT_PROVED) {
        return f->worst;
    }
    if (f->opt->fill_check) {
        return f->holes > 0 || f->stopping ? EXIT_NOT_PROVED : EXIT_PROVED;
    }
    if (f->opt->fill_list) {
        return EXIT_PROVED;
    }
    return f->filled == f->holes && !f->stopping ? EXIT_PROVED : EXIT_NOT_PROVED;
}

static pv_status check_line(const fill *f, pv_error *err)
{
    if (f->line != 0 && f->holes == 0 && f->worst == EXIT_PROVED && !f->stopping) {
        return pv_fail(err, PV_E_INVALID, "no hole begins on line %llu",
                       (unsigned long long)f->line);
    }
    return PV_OK;
}

exit_code command_fill(const options *opt)
{
    fill f = {.opt = opt, .started_ms = pv_clock_ms()};
    module_build modules = {0};
    pv_error err = {0};
    if (check_options(opt, &err) != PV_OK || open_project(&f, &err) != PV_OK) {
        return complain(&err);
    }
    f.repo = fill_repository(f.project.root == NULL ? "." : f.project.root);
    pv_status status = open_session(&f, &err);
    if (status == PV_OK) {
        status = open_policy(&f, &err);
    }
    if (status == PV_OK) {
        status = module_build_all(&modules, &f.s, &f.project, &err);
    }
    if (status == PV_OK) {
        status = start_lean(&f, &err);
    }
    if (status == PV_OK) {
        status = work(&f, &err);
    }
    if (status == PV_OK) {
        status = check_line(&f, &err);
    }
    policy_choice_close(&f.choice);
    fill_store_close(f.store);
    session_close(&f.s);
    module_build_close(&modules);
    project_release(&f.project);
    json_decref(f.repo);
    return status == PV_OK ? finish(&f) : complain(&err);
}
