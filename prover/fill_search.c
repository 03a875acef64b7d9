#include "fill.h"

#include "attempt.h"
#include "progress.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <string.h>

/* ---- one goal ---- */

static search_options options_of(const fill_file *file, const char *statement)
{
    const options *opt = file->f->opt;
    search_options how = {
        .statement = statement,
        .alpha = opt->alpha == 0 ? -1 : opt->alpha,
        .width = file->f->s.width,
        .window = (uint32_t)opt->window,
        .nodes_max = opt->nodes,
        .tokens_max = opt->tokens,
        .lean_seconds_max = opt->lean_seconds,
        .wall_seconds_max = opt->timeout,
        .depth_max = (uint32_t)opt->depth,
        .seed = opt->seed,
    };
    return how;
}

static pv_status start(fill_file *file, const fill_site *site, fill_goal *goal, pv_error *err)
{
    const theorem *t = site->owner;
    char *statement = pv_strndup(file->src.text + t->start, t->end - t->start);
    if (statement == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    search_options how = options_of(file, statement);
    pv_status status = quest_start(&goal->search, &file->f->s, file->f->choice.policy, &how,
                                   goal->hole, NULL, 0, err);
    goal->searching = status == PV_OK;
    pv_free(statement);
    return status;
}

static pv_status take_proof(fill_goal *goal, pv_error *err)
{
    pv_buf text = {0};
    pv_status status = search_proof(goal->search.run, &text, err);
    pv_free(goal->proof);
    goal->proof = status == PV_OK ? pv_buf_detach(&text) : NULL;
    pv_buf_release(&text);
    return status == PV_OK && goal->proof == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                                  : status;
}

/* What came of a search that does not run any more. A search with a proof stays, in case the judge refuses it. */
static pv_status settle(fill_site *site, fill_goal *goal, search_state state, pv_error *err)
{
    goal->searching = false;
    if (state == SEARCH_PROVED) {
        pv_status status = take_proof(goal, err);
        return status == PV_OK ? fill_site_join(site, err) : status;
    }
    if (goal->search.verifier.failure.status != PV_OK) {
        const pv_error *failure = &goal->search.verifier.failure;
        return pv_fail(err, failure->status, "%s", failure->msg);
    }
    if (site->why == NULL) {
        site->why = quest_why_not(goal->search.run);
    }
    goal->ended = true;
    return PV_OK;
}

/* ---- all goals ---- */

typedef struct hunt {
    fill_file *file;
    size_t site, goal; /* the next to be started */
    size_t running;
} hunt;

static bool is_out_of_time(const fill *f)
{
    double seconds = (double)(pv_clock_ms() - f->started_ms) / 1000;
    return f->opt->total_timeout > 0 && seconds >= f->opt->total_timeout;
}

static size_t jobs_of(const fill *f)
{
    size_t jobs = f->opt->jobs > 0 ? (size_t)f->opt->jobs : session_workers(f->opt);
    return jobs < 1 ? 1 : jobs;
}

/* The next goal that is to be searched; NULL: none. */
static fill_goal *next_goal(hunt *h, fill_site **site)
{
    for (; h->site < h->file->count; h->site++, h->goal = 0) {
        *site = &h->file->sites[h->site];
        if ((*site)->wanted && (*site)->why == NULL && h->goal < (*site)->goal_count) {
            return &(*site)->goals[h->goal++];
        }
    }
    return NULL;
}

static pv_status start_more(hunt *h, pv_error *err)
{
    fill *f = h->file->f;
    fill_site *site = NULL;
    pv_status status = PV_OK;
    while (status == PV_OK && !f->stopping && h->running < jobs_of(f)) {
        fill_goal *goal = next_goal(h, &site);
        if (goal == NULL) {
            break;
        }
        status = start(h->file, site, goal, err);
        h->running += status == PV_OK;
    }
    return status;
}

/* Lets a search whose answer is there go on; *moved tells whether something was done. */
static pv_status turn(hunt *h, fill_site *site, fill_goal *goal, bool *moved, pv_error *err)
{
    if (goal->ended && goal->search.run != NULL) {
        quest_end(&goal->search); /* once more, until all is home */
    }
    if (!goal->searching) {
        return PV_OK;
    }
    if (h->file->f->stopping) {
        search_cancel(goal->search.run);
    } else if (!quest_ready(&goal->search)) {
        return PV_OK;
    }
    *moved = true;
    search_state state = quest_pump(&goal->search);
    if (state == SEARCH_RUNNING) {
        return PV_OK;
    }
    h->running--;
    return settle(site, goal, state, err);
}

static pv_status turn_all(hunt *h, bool *moved, pv_error *err)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < h->file->count; i++) {
        fill_site *site = &h->file->sites[i];
        for (size_t k = 0; k < site->goal_count && status == PV_OK; k++) {
            status = turn(h, site, &site->goals[k], moved, err);
        }
    }
    return status;
}

static void look(fill *f)
{
    if (f->s.interrupted) {
        f->s.interrupted =
            false; /* what was proved is still judged; a second Ctrl-C ends that, too */
        f->stopping = true;
        progress_clear();
        progress_note("fill", "interrupted: what was proved is checked");
    }
    f->stopping = f->stopping || is_out_of_time(f);
}

static void show(const hunt *h)
{
    size_t proved = 0, wanted = 0;
    for (size_t i = 0; i < h->file->count; i++) {
        wanted += h->file->sites[i].wanted;
        proved += h->file->sites[i].state == FILL_PROVED;
    }
    pv_buf line = {0};
    pv_buf_printf(&line, "fill: %s: %zu of %zu holes proved, %zu searched now; %.0f s",
                  h->file->file->shown, proved, wanted, h->running,
                  (double)(pv_clock_ms() - h->file->f->started_ms) / 1000);
    if (pv_buf_ok(&line)) {
        progress_line(pv_buf_text(&line));
    }
    pv_buf_release(&line);
}

static pv_status pump(hunt *h, pv_error *err)
{
    pv_status status = PV_OK;
    while (status == PV_OK) {
        look(h->file->f);
        status = start_more(h, err);
        bool moved = false;
        if (status == PV_OK) {
            status = turn_all(h, &moved, err);
        }
        if (h->running == 0 && (h->file->f->stopping || h->site >= h->file->count)) {
            break;
        }
        show(h);
        if (status == PV_OK && !moved) {
            session_round(&h->file->f->s);
        }
    }
    return status;
}

pv_status fill_search(fill_file *file, pv_error *err)
{
    hunt h = {.file = file};
    pv_status status = pump(&h, err);
    for (size_t i = 0; i < file->count; i++) {
        fill_site *site = &file->sites[i];
        if (site->wanted && site->state == FILL_LEFT && site->why == NULL) {
            fill_site_say(site, "the search was stopped");
        }
    }
    return status;
}

pv_status fill_search_on(fill_file *file, fill_site *site, pv_error *err)
{
    fill_goal *goal = &site->goals[0];
    site->state = FILL_LEFT;
    if (goal->search.run == NULL || file->f->stopping) {
        return PV_OK;
    }
    search_reject_proof(goal->search.run);
    goal->searching = true;
    hunt h = {.file = file, .site = file->count, .running = 1};
    return pump(&h, err);
}

void fill_search_end(fill_file *file)
{
    for (bool over = false; !over;) {
        over = true;
        for (size_t i = 0; i < file->count; i++) {
            for (size_t k = 0; k < file->sites[i].goal_count; k++) {
                over = quest_end(&file->sites[i].goals[k].search) && over;
            }
        }
        if (!over) {
            session_round(&file->f->s);
        }
    }
}
