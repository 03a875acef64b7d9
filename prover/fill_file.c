#include "fill.h"

#include "fill_store.h"
#include "json_out.h"
#include "progress.h"
#include "pv_mem.h"
#include "unified_diff.h"

#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 8 << 20 };

static void release(fill_file *file)
{
    fill_search_end(file);
    fill_sites_free(file);
    theorem_list_release(&file->list);
    if (file->env != NULL) {
        lean_env_unref(file->env);
    }
    verdict_release(&file->verdict);
    source_release(&file->src);
    pv_buf_release(&file->text);
    file_release(&file->disk);
}

/* ---- opening ---- */

/* Lean is asked only about texts in which the words are; where they stand is for Lean to say. */
static bool may_have_holes(const pv_buf *text)
{
    return strstr(pv_buf_text(text), "sorry") != NULL || strstr(pv_buf_text(text), "admit") != NULL;
}

static pv_status open_file(fill_file *file, pv_error *err)
{
    fill *f = file->f;
    pv_status status = file_read(&file->disk, file->file->path, TEXT_MAX, err);
    if (status != PV_OK || !may_have_holes(&file->disk.text)) {
        return status;
    }
    status = source_of_text(&file->src, file->file->shown, "", file->disk.text.data,
                            file->disk.text.len, false, err);
    if (status == PV_OK) {
        lean_judge_prepare(f->s.judge, file->src.header);
        status = ask_header(&f->s, &file->src, &file->env, err);
    }
    if (status == PV_OK) {
        status = ask_theorems(&f->s, file->env, &file->src, &file->list, err);
    }
    return status == PV_OK ? fill_sites_make(file, err) : status;
}

/* A failure of the file, not of the machine: the other files are worked on all the same. */
static bool is_of_the_file(pv_status status)
{
    return status == PV_E_INVALID || status == PV_E_TIMEOUT || status == PV_E_LIMIT ||
           status == PV_E_LOST || status == PV_E_NOTFOUND || status == PV_E_PROTOCOL;
}

static void put_aside(fill_file *file, const pv_error *why)
{
    const char *shown = file->file->shown;
    progress_clear();
    if (why->status == PV_E_TIMEOUT) {
        fprintf(stderr,
                "prover: %s: Lean did not come to its end within the time; left as it is (%s)\n",
                shown, why->msg);
    } else {
        fprintf(stderr, "prover: %s%s%s; left as it is\n",
                strstr(why->msg, shown) == why->msg ? "" : shown,
                strstr(why->msg, shown) == why->msg ? "" : ": ", why->msg);
    }
    exit_code code = exit_code_of(why->status);
    file->f->worst = code > file->f->worst ? code : file->f->worst;
}

/* ---- showing and writing ---- */

static size_t count_filled(const fill_file *file)
{
    size_t n = 0;
    for (size_t i = 0; i < file->count; i++) {
        n += file->sites[i].state == FILL_FILLED;
    }
    return n;
}

static pv_status show_diff(const fill_file *file, pv_error *err)
{
    pv_buf diff = {0};
    pv_status status = unified_diff(file->file->shown, file->src.text, file->src.length,
                                    pv_buf_text(&file->text), file->text.len, &diff, err);
    progress_clear();
    if (status == PV_OK && fwrite(pv_buf_text(&diff), 1, diff.len, stdout) != diff.len) {
        status = pv_fail(err, PV_E_IO, "standard output does not take the diff");
    }
    pv_buf_release(&diff);
    return status == PV_OK ? json_out_flush(err) : status;
}

static pv_status put_out(fill_file *file, pv_error *err)
{
    fill *f = file->f;
    bool any = count_filled(file) > 0;
    pv_status status = PV_OK;
    if (any && !f->opt->json) {
        status = show_diff(file, err);
    }
    if (status == PV_OK && any && f->opt->apply) {
        status = file_replace(&file->disk, pv_buf_text(&file->text), file->text.len, f->opt->backup,
                              err);
        f->files_changed += status == PV_OK;
    }
    if (status == PV_OK) {
        status = fill_report_results(file, err);
    }
    if (status == PV_OK && f->store != NULL) {
        status = fill_store_add(f->store, file, err);
    }
    return status;
}

/* ---- the file ---- */

static bool is_any_wanted(const fill_file *file)
{
    bool any = false;
    for (size_t i = 0; i < file->count; i++) {
        any = any || file->sites[i].wanted;
    }
    return any;
}

static pv_status fill_holes(fill_file *file, pv_error *err)
{
    pv_status status = fill_search(file, err);
    if (status == PV_OK) {
        status = fill_judge(file, err);
    }
    if (status == PV_E_CANCELLED) { /* a second Ctrl-C: nothing is written that was not judged */
        pv_error_clear(err);
        file->f->stopping = true;
        return PV_OK;
    }
    if (status == PV_OK) {
        status = put_out(file, err);
    }
    return status;
}

static void count_holes(fill_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        const fill_site *site = &file->sites[i];
        if (file->f->line == 0 || file->f->line == fill_site_hole(site)->line) {
            file->f->holes++;
            file->f->filled += site->state == FILL_FILLED;
        }
    }
}

pv_status fill_file_work(fill *f, const project_file *chosen, pv_error *err)
{
    fill_file file = {.f = f, .file = chosen};
    pv_status status = open_file(&file, err);
    if (status == PV_OK && f->opt->fill_list) {
        status = fill_report_list(&file, err);
    } else if (status == PV_OK && is_any_wanted(&file)) {
        status = fill_holes(&file, err);
    } else if (status == PV_OK && file.count > 0) {
        status = fill_report_results(&file, err);
    }
    count_holes(&file);
    if (is_of_the_file(status)) {
        put_aside(&file, err);
        pv_error_clear(err);
        status = PV_OK;
    }
    release(&file);
    return status;
}
