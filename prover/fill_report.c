#include "fill.h"

#include "json_out.h"
#include "lean_strings.h"
#include "progress.h"
#include "pv_file.h"
#include "pv_mem.h"
#include "pv_sha256.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the repository ---- */

/* The first line of a file in the folder; NULL: there is none. */
static char *first_line(const char *folder, const char *name)
{
    pv_buf text = {0};
    char *line = NULL;
    char *path = lean_strings_format("%s/%s", folder, name);
    if (path != NULL && pv_file_read(path, 1 << 20, &text, NULL) == PV_OK) {
        line = pv_strndup(pv_buf_text(&text), strcspn(pv_buf_text(&text), "\r\n"));
    }
    pv_buf_release(&text);
    pv_free(path);
    return line;
}

/* The first `url =` of git's configuration. */
static char *remote_of(const char *folder)
{
    pv_buf text = {0};
    char *url = NULL;
    char *path = lean_strings_format("%s/.git/config", folder);
    if (path != NULL && pv_file_read(path, 1 << 20, &text, NULL) == PV_OK) {
        const char *at = strstr(pv_buf_text(&text), "url = ");
        url = at == NULL ? NULL : pv_strndup(at + 6, strcspn(at + 6, "\r\n"));
    }
    pv_buf_release(&text);
    pv_free(path);
    return url;
}

static void put_head(json_t *repo, const char *folder, const char *head)
{
    static const char ref[] = "ref: ", heads[] = "ref: refs/heads/";
    if (head == NULL || strncmp(head, ref, sizeof ref - 1) != 0) {
        json_out_text(repo, "branch", NULL);
        json_out_text(repo, "commit", head);
        return;
    }
    char *name = lean_strings_format(".git/%s", head + sizeof ref - 1);
    char *commit = name == NULL ? NULL : first_line(folder, name);
    bool branch = strncmp(head, heads, sizeof heads - 1) == 0;
    json_out_text(repo, "branch", branch ? head + sizeof heads - 1 : NULL);
    json_out_text(repo, "commit", commit);
    pv_free(commit);
    pv_free(name);
}

json_t *fill_repository(const char *folder)
{
    json_t *repo = json_object();
    char *remote = remote_of(folder);
    char *head = first_line(folder, ".git/HEAD");
    json_out_text(repo, "remote", remote);
    put_head(repo, folder, head);
    pv_free(remote);
    pv_free(head);
    return repo;
}

/* ---- holes as JSON ---- */

static void put_goals(pv_buf *out, const fill_site *site)
{
    for (size_t i = 0; i < site->goal_count; i++) {
        for (size_t k = 0; k < site->goals[i].hole->goal_count; k++) {
            pv_buf_puts(out, out->len > 0 ? "\n\n" : "");
            pv_buf_puts(out, site->goals[i].hole->goals[k]);
        }
    }
}

static bool is_prop(const fill_site *site)
{
    bool prop = true;
    for (size_t i = 0; i < site->goal_count; i++) {
        prop = prop && site->goals[i].hole->prop;
    }
    return prop;
}

static json_t *location_of(const fill_file *file, const fill_site *site)
{
    const hole *h = fill_site_hole(site);
    json_t *place = json_object();
    json_out_text(place, "path", file->file->shown);
    json_out_count(place, "start_line", h->line);
    json_out_count(place, "start_column", h->column);
    json_out_count(place, "end_line", site->end_line);
    json_out_count(place, "end_column", site->end_column);
    return place;
}

static void put_id(json_t *row, const fill_file *file, const char *goal)
{
    char text[PV_SHA256_TEXT];
    char *repo = json_dumps(file->f->repo, JSON_COMPACT | JSON_SORT_KEYS);
    char *place = json_dumps(json_object_get(row, "location"), JSON_COMPACT | JSON_SORT_KEYS);
    char *whole = lean_strings_format("%s\n%s\n%s", repo == NULL ? "" : repo,
                                      place == NULL ? "" : place, goal);
    pv_sha256_of(whole == NULL ? "" : whole, whole == NULL ? 0 : strlen(whole), text);
    json_out_text(row, "id", whole == NULL ? NULL : text);
    free(repo);
    free(place);
    pv_free(whole);
}

static json_t *row_of(const fill_file *file, const fill_site *site)
{
    pv_buf goal = {0};
    json_t *row = json_object(), *debug = json_object(), *more = json_object();
    put_goals(&goal, site);
    json_t *repo = json_copy(file->f->repo);
    json_out_text(repo, "lean_version", lean_pool_lean_version(file->f->s.pool));
    json_object_set_new(row, "repo", repo);
    json_object_set_new(row, "location", location_of(file, site));
    json_out_text(debug, "goal", pv_buf_text(&goal));
    json_out_text(debug, "url", NULL);
    json_object_set_new(row, "debug_info", debug);
    json_out_text(more, "declaration", site->owner->name);
    json_out_text(more, "declaration_kind", site->owner->kind);
    json_out_text(more, "kind", fill_site_hole(site)->form);
    json_object_set_new(more, "term", json_boolean(fill_site_hole(site)->term));
    json_object_set_new(more, "prop", json_boolean(is_prop(site)));
    json_out_count(more, "goals", site->goal_count);
    json_object_set_new(row, "metadata", more);
    put_id(row, file, pv_buf_text(&goal));
    pv_buf_release(&goal);
    return row;
}

static bool is_shown(const fill_file *file, const fill_site *site)
{
    return file->f->line == 0 || file->f->line == fill_site_hole(site)->line;
}

/* ---- lists ---- */

/* The last line of a goal: what is to be shown. */
static const char *target_of(const fill_site *site)
{
    const hole *h = fill_site_hole(site);
    const char *goal = h->goal_count > 0 ? h->goals[0] : "";
    const char *turnstile = strstr(goal, "⊢ ");
    return turnstile == NULL ? goal : turnstile;
}

static void print_place(FILE *to, const fill_file *file, const fill_site *site)
{
    const hole *h = fill_site_hole(site);
    fprintf(to, "%s:%zu:%zu: %s", file->file->shown, h->line, h->column, h->form);
    if (site->owner->name[0] != '\0') {
        fprintf(to, " in %s", site->owner->name);
    } else {
        fprintf(to, " in an %s", site->owner->kind);
    }
}

static void print_site(const fill_file *file, const fill_site *site)
{
    print_place(stdout, file, site);
    if (!is_prop(site)) {
        fputs(", data", stdout);
    }
    const char *target = target_of(site);
    for (const char *line = target; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        printf("\n    %.*s", (int)n, line);
        line += n + (line[n] == '\n');
    }
    if (site->goal_count > 1) {
        printf("\n    and %zu more goals", site->goal_count - 1);
    }
    putchar('\n');
}

pv_status fill_report_list(const fill_file *file, pv_error *err)
{
    pv_status status = PV_OK;
    progress_clear();
    for (size_t i = 0; i < file->count && status == PV_OK; i++) {
        if (!is_shown(file, &file->sites[i])) {
            continue;
        }
        if (file->f->opt->json) {
            status = json_out_print(row_of(file, &file->sites[i]), err);
        } else {
            print_site(file, &file->sites[i]);
        }
    }
    return status == PV_OK ? json_out_flush(err) : status;
}

/* ---- results ---- */

static const char *state_name(fill_state state)
{
    switch (state) {
    case FILL_FILLED:
        return "filled";
    case FILL_REFUSED:
        return "refused";
    case FILL_PROVED:
    case FILL_LEFT:
        break;
    }
    return "left";
}

static json_t *result_of(const fill_file *file, const fill_site *site)
{
    json_t *row = row_of(file, site);
    bool filled = site->state == FILL_FILLED;
    json_t *axioms = json_array();
    for (size_t i = 0; filled && i < file->verdict.axiom_count; i++) {
        json_array_append_new(axioms, json_string(file->verdict.axioms[i]));
    }
    json_out_text(row, "status", state_name(site->state));
    json_out_text(row, "proof", filled ? site->block : NULL);
    json_out_text(row, "why", site->why);
    json_out_text(row, "level", filled ? lean_level_name(file->verdict.level) : NULL);
    json_object_set_new(row, "file_axioms", axioms);
    return row;
}

pv_status fill_report_results(const fill_file *file, pv_error *err)
{
    pv_status status = PV_OK;
    progress_clear();
    for (size_t i = 0; i < file->count && status == PV_OK; i++) {
        const fill_site *site = &file->sites[i];
        if (!is_shown(file, site)) {
            continue;
        }
        if (file->f->opt->json) {
            status = json_out_print(result_of(file, site), err);
        } else {
            print_place(stderr, file, site);
            fprintf(stderr, ": %s%s%s\n", state_name(site->state), site->why == NULL ? "" : ": ",
                    site->why == NULL ? "" : site->why);
        }
    }
    return status == PV_OK && file->f->opt->json ? json_out_flush(err) : status;
}
