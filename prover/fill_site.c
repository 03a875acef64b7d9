#include "fill.h"

#include "pv_mem.h"
#include "pv_utf8.h"

#include <string.h>

const hole *fill_site_hole(const fill_site *site)
{
    return site->goals[0].hole;
}

void fill_site_say(fill_site *site, const char *why)
{
    pv_free(site->why);
    site->why = pv_strdup(why); /* without memory there is no sentence */
}

void fill_sites_free(fill_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        fill_site *site = &file->sites[i];
        for (size_t k = 0; k < site->goal_count; k++) {
            pv_free(site->goals[k].proof);
        }
        pv_free(site->goals);
        pv_free(site->why);
        pv_free(site->block);
    }
    pv_free(file->sites);
    file->sites = NULL;
    file->count = 0;
}

/* ---- making ---- */

static bool is_written(const source *src, const hole *h)
{
    size_t n = h->end - h->start;
    return n == 5 && (memcmp(src->text + h->start, "sorry", n) == 0 ||
                      memcmp(src->text + h->start, "admit", n) == 0);
}

static bool has_goal(const fill_site *site, const hole *h)
{
    for (size_t i = 0; i < site->goal_count; i++) {
        if (pv_key_equal(site->goals[i].hole->key, h->key)) {
            return true;
        }
    }
    return false;
}

static void decide(const fill_file *file, fill_site *site)
{
    const fill *f = file->f;
    bool prop = true;
    for (size_t i = 0; i < site->goal_count; i++) {
        prop = prop && site->goals[i].hole->prop;
    }
    size_t line = fill_site_hole(site)->line;
    if (f->line != 0 && f->line != line) {
        site->wanted = false;
    } else if (!site->written) {
        site->wanted = false;
        fill_site_say(site, "a macro stands for it: it has no place in the text to be filled");
    } else if (!prop && !f->opt->fill_data) {
        site->wanted = false;
        fill_site_say(site,
                      "it is data, not a proposition: a choice, not a proof (--data fills it)");
    } else {
        site->wanted = true;
    }
}

/* Adds the hole to the site at its place, or makes a new one. Sites are in the order of the text as holes and declarations are. */
static bool add_hole(fill_file *file, const theorem *owner, const hole *h, size_t room)
{
    fill_site *last = file->count > 0 ? &file->sites[file->count - 1] : NULL;
    if (last == NULL || fill_site_hole(last)->start != h->start) {
        last = &file->sites[file->count];
        last->owner = owner;
        last->written = is_written(&file->src, h);
        last->goals = pv_calloc(room, sizeof *last->goals);
        if (last->goals == NULL) {
            return false;
        }
        file->count++;
        pv_utf8_position(file->src.text, h->end, &last->end_line, &last->end_column);
    }
    if (last->goal_count == 0 || !has_goal(last, h)) {
        last->goals[last->goal_count++].hole = h;
    }
    return true;
}

pv_status fill_sites_make(fill_file *file, pv_error *err)
{
    size_t holes = 0;
    for (size_t i = 0; i < file->list.count; i++) {
        holes += file->list.items[i].hole_count;
    }
    file->sites = pv_calloc(holes + 1, sizeof *file->sites);
    bool good = file->sites != NULL;
    for (size_t i = 0; i < file->list.count; i++) {
        const theorem *t = &file->list.items[i];
        for (size_t k = 0; good && k < t->hole_count; k++) {
            good = add_hole(file, t, &t->holes[k], t->hole_count - k);
        }
    }
    for (size_t i = 0; good && i < file->count; i++) {
        decide(file, &file->sites[i]);
    }
    return good ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

/* ---- one block for all goals ---- */

static bool all_equal(const fill_site *site)
{
    for (size_t i = 1; i < site->goal_count; i++) {
        if (strcmp(site->goals[i].proof, site->goals[0].proof) != 0) {
            return false;
        }
    }
    return true;
}

/* `first | proof | proof`, the lines of each below its first. */
static void put_alternatives(const fill_site *site, pv_buf *out)
{
    pv_buf_puts(out, "first");
    for (size_t i = 0; i < site->goal_count; i++) {
        pv_buf_puts(out, "\n| ");
        for (const char *c = site->goals[i].proof; *c != '\0'; c++) {
            pv_buf_putc(out, *c);
            if (*c == '\n') {
                pv_buf_puts(out, "  ");
            }
        }
    }
}

pv_status fill_site_join(fill_site *site, pv_error *err)
{
    for (size_t i = 0; i < site->goal_count; i++) {
        if (site->goals[i].proof == NULL) {
            return PV_OK;
        }
    }
    pv_buf text = {0};
    if (all_equal(site)) {
        pv_buf_puts(&text, site->goals[0].proof);
    } else {
        put_alternatives(site, &text);
    }
    pv_free(site->block);
    site->block = pv_buf_detach(&text);
    site->state = FILL_PROVED;
    return site->block != NULL ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}
