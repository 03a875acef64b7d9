#include "fill.h"

#include "effort.h"
#include "progress.h"
#include "pv_mem.h"

#include <string.h>

/* Sites that are looked at: those accepted before, and those PROVED of a range. */
typedef struct group {
    size_t first, end;
} group;

static bool is_in(const fill_file *file, const group *g, size_t i)
{
    const fill_site *site = &file->sites[i];
    return site->state == FILL_FILLED ||
           (site->state == FILL_PROVED && i >= g->first && i < g->end);
}

static size_t count_new(const fill_file *file, const group *g)
{
    size_t n = 0;
    for (size_t i = g->first; i < g->end; i++) {
        n += file->sites[i].state == FILL_PROVED;
    }
    return n;
}

typedef struct question {
    source_fill *fills;
    const char **proofs;
    uint64_t *numbers;
    size_t count;
    pv_buf candidate;
} question;

static void question_release(question *q)
{
    pv_free(q->fills);
    pv_free(q->proofs);
    pv_free(q->numbers);
    pv_buf_release(&q->candidate);
}

static source_fill fill_of(const fill_site *site)
{
    const hole *h = fill_site_hole(site);
    source_fill piece = {.start = h->start,
                         .end = h->end,
                         .term = h->term,
                         .proof = site->block,
                         .form = h->form,
                         .outer = h->outer};
    return piece;
}

static void add_site(question *q, const fill_file *file, const fill_site *site)
{
    const hole *h = fill_site_hole(site);
    source_fill piece = fill_of(site);
    uint64_t *numbers = q->numbers + 3 * q->count;
    numbers[0] = h->start;
    numbers[1] = h->end;
    numbers[2] = h->end - h->start + source_growth(&file->src, &piece);
    q->proofs[q->count] = site->block;
    q->fills[q->count++] = piece;
}

static pv_status make_question(question *q, const fill_file *file, const group *g, bool for_lean,
                               pv_error *err)
{
    memset(q, 0, sizeof *q);
    q->fills = pv_calloc(file->count + 1, sizeof *q->fills);
    q->proofs = pv_calloc(file->count + 1, sizeof *q->proofs);
    q->numbers = pv_calloc(3 * file->count + 1, sizeof *q->numbers);
    if (q->fills == NULL || q->proofs == NULL || q->numbers == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < file->count; i++) {
        if (is_in(file, g, i)) {
            add_site(q, file, &file->sites[i]);
        }
    }
    return source_splice(&file->src, !for_lean, q->fills, q->count, &q->candidate, err);
}

/* Asks about the group. Accepted: its sites are FILLED, and the file's text is the one that was judged. */
static pv_status ask(fill_file *file, const group *g, bool *accepted, verdict *v, pv_error *err)
{
    question q;
    pv_status status = make_question(&q, file, g, true, err);
    if (status == PV_OK) {
        lean_judge_request request = {.header = file->src.header,
                                      .original = file->src.body,
                                      .candidate = pv_buf_text(&q.candidate),
                                      .proofs = q.proofs,
                                      .proof_count = q.count,
                                      .fills = q.numbers,
                                      .fill_numbers = 3 * q.count,
                                      .fill_data = file->f->opt->fill_data,
                                      .deadline_ms = 180000};
        status = ask_judgement(&file->f->s, &request, v, err);
    }
    question_release(&q);
    *accepted = status == PV_OK && session_accepts(&file->f->s, v->level);
    return status;
}

static void accept_group(fill_file *file, const group *g, verdict *v)
{
    for (size_t i = g->first; i < g->end; i++) {
        if (file->sites[i].state == FILL_PROVED) {
            file->sites[i].state = FILL_FILLED;
            pv_free(file->sites[i].why); /* of a proof that was refused before */
            file->sites[i].why = NULL;
        }
    }
    verdict_release(&file->verdict);
    file->verdict = *v;
    memset(v, 0, sizeof *v);
}

static void refuse(fill_site *site, const verdict *v)
{
    pv_buf why = {0};
    pv_buf_printf(&why, "the judge refused the proof (%s): %s", v->reason == NULL ? "?" : v->reason,
                  v->message == NULL ? "" : v->message);
    fill_site_say(site, pv_buf_text(&why));
    pv_buf_release(&why);
    site->state = FILL_REFUSED;
    site->refusals++;
}

static pv_status judge_group(fill_file *file, group g, pv_error *err);

/* A refused proof of one goal sends its search on, and what it finds next is judged again. */
static pv_status try_again(fill_file *file, group g, pv_error *err)
{
    fill_site *site = &file->sites[g.first];
    if (site->goal_count > 1 || site->refusals >= EFFORT_REFUSALS_MAX) {
        return PV_OK;
    }
    pv_status status = fill_search_on(file, site, err);
    if (status == PV_OK && site->state == FILL_PROVED) {
        return judge_group(file, g, err);
    }
    site->state = FILL_REFUSED;
    return status;
}

/* The site of the group in whose filling Lean's error is; file->count: it is elsewhere. */
static size_t blamed(const fill_file *file, const group *g, size_t error_at)
{
    size_t grown = 0; /* bytes that the fillings before are longer by */
    for (size_t i = 0; i < file->count && error_at != SIZE_MAX; i++) {
        if (is_in(file, g, i)) {
            const hole *h = fill_site_hole(&file->sites[i]);
            source_fill piece = fill_of(&file->sites[i]);
            size_t growth = source_growth(&file->src, &piece);
            bool inside = error_at >= h->start + grown && error_at < h->end + grown + growth;
            if (inside && file->sites[i].state == FILL_PROVED) {
                return i;
            }
            grown += growth;
        }
    }
    return file->count;
}

static pv_status split(fill_file *file, group g, pv_error *err)
{
    size_t half = count_new(file, &g) / 2, middle = g.first;
    for (size_t seen = 0; seen < half; middle++) {
        seen += file->sites[middle].state == FILL_PROVED;
    }
    pv_status status = judge_group(file, (group){g.first, middle}, err);
    return status == PV_OK ? judge_group(file, (group){middle, g.end}, err) : status;
}

/* Every acceptance is of all that was accepted before and the group, so the last one is of the final text. */
static pv_status judge_group(fill_file *file, group g, pv_error *err)
{
    while (g.first < g.end && file->sites[g.first].state != FILL_PROVED) {
        g.first++;
    }
    size_t n = count_new(file, &g);
    if (n == 0) {
        return PV_OK;
    }
    verdict v = {0};
    bool accepted = false;
    pv_status status = ask(file, &g, &accepted, &v, err);
    if (accepted) {
        accept_group(file, &g, &v);
    } else if (status == PV_OK && n > 1) {
        size_t guilty = blamed(file, &g, v.error_at);
        if (guilty < file->count) {
            refuse(&file->sites[guilty], &v);
            status = judge_group(file, g, err);
            if (status == PV_OK) {
                status = try_again(file, (group){guilty, guilty + 1}, err);
            }
        } else {
            status = split(file, g, err);
        }
    } else if (status == PV_OK) {
        refuse(&file->sites[g.first], &v);
        g.end = g.first + 1;
        status = try_again(file, g, err);
    }
    verdict_release(&v);
    return status;
}

static pv_status write_text(fill_file *file, pv_error *err)
{
    question q;
    group none = {0, 0};
    pv_status status = make_question(&q, file, &none, false, err);
    if (status == PV_OK) {
        pv_buf_release(&file->text);
        file->text = q.candidate;
        memset(&q.candidate, 0, sizeof q.candidate);
    }
    question_release(&q);
    return status;
}

pv_status fill_judge(fill_file *file, pv_error *err)
{
    group all = {0, file->count};
    if (count_new(file, &all) > 0) {
        progress_note(file->file->shown, "proofs were found; a fresh Lean process checks the file");
    }
    pv_status status = judge_group(file, all, err);
    return status == PV_OK ? write_text(file, err) : status;
}
