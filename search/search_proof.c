/* The script of a proof. The invariant that makes it exact: when the text of a node begins, the
 * goals in front of it are the node's goals in their order, and nothing else that tactics can
 * see.
 *
 * A tactic leaves goals g1 ... gk. Single goals are focused with a bullet when they are the main
 * goal; goals of the one part that has several are passed over with rotate_left, which puts them
 * behind the others. What is left after the last bullet is that part's goals, rotated; a last
 * rotate_left restores their order, and their text follows unfocused. */
#include "search_extract.h"
#include "search_run.h"
#include "search_tactic.h"

#include <stdio.h>

enum { NESTING_MAX = 2000, TEXT_MAX = 64 << 20 };

typedef struct script {
    const search_graph *graph;
    const search_extract *extract;
    pv_buf *out;
    size_t start; /* out->len at the beginning */
    const char *too_large;
} script;

static void write_node(script *s, const search_edge *edge, uint32_t at, size_t indent,
                       size_t nesting);

static uint32_t child_goals(const script *s, const search_edge *edge, uint32_t child)
{
    return search_node_at(s->graph, edge->children[child])->goal_count;
}

/* The children's indices in the order of the goals; from the order recorded or, without one, one
 * after the other. */
typedef struct goal_cursor {
    uint32_t index, child, within;
} goal_cursor;

static bool next_goal(const script *s, const search_edge *edge, goal_cursor *at, uint32_t *child)
{
    if (edge->order != NULL) {
        if (at->index == edge->goal_count) {
            return false;
        }
        *child = edge->order[at->index++];
        return true;
    }
    if (at->child == edge->child_count) {
        return false;
    }
    *child = at->child;
    if (++at->within == child_goals(s, edge, at->child)) {
        at->child++;
        at->within = 0;
    }
    return true;
}

static void write_rotate(script *s, size_t indent, size_t n)
{
    char text[40];
    snprintf(text, sizeof text, "rotate_left %zu", n);
    search_tactic_lay(s->out, text, indent, false);
}

static void write_bullets(script *s, const search_edge *edge, size_t indent, size_t nesting)
{
    goal_cursor at = {0, 0, 0};
    uint32_t child;
    size_t skipped =
        0; /* goals of the part with several that were passed over since the last rotation */
    size_t behind = 0; /* those that are behind the others now */
    while (next_goal(s, edge, &at, &child)) {
        if (child_goals(s, edge, child) > 1) {
            skipped++;
            continue;
        }
        if (skipped > 0) {
            write_rotate(s, indent, skipped);
            behind += skipped;
            skipped = 0;
        }
        write_node(s, edge, child, indent + 2, nesting + 1);
    }
    /* In front now: the `skipped` goals after the last bullet, then the `behind` ones, which
     * come first. */
    if (behind > 0 && skipped > 0) {
        write_rotate(s, indent, skipped);
    }
}

/* Which child's text goes on unfocused: an only child, or the one with several goals.
 * SEARCH_NONE: there is none. */
static uint32_t unfocused_child(const script *s, const search_edge *edge)
{
    for (uint32_t i = 0; i < edge->child_count; i++) {
        if (edge->child_count == 1 || child_goals(s, edge, i) > 1) {
            return i;
        }
    }
    return SEARCH_NONE;
}

/* The tactics of a node were tried with the names of the first that arrived there. True when the
 * bullet is written. */
static bool write_rename(script *s, const search_edge *edge, uint32_t at, size_t indent,
                         bool bullet)
{
    bool renamed = edge->renames != NULL && edge->renames[at] != NULL;
    if (renamed) {
        search_tactic_lay(s->out, edge->renames[at], indent, bullet);
    }
    return renamed;
}

static bool is_too_large(script *s, size_t nesting)
{
    if (nesting > NESTING_MAX) {
        s->too_large = "bullets are nested too deeply";
    } else if (s->out->len - s->start > TEXT_MAX) {
        s->too_large = "the text is too long";
    }
    return s->too_large != NULL || !pv_buf_ok(s->out);
}

/* A chain of tactics is a loop, so that the length of a proof does not nest calls; only bullets
 * do. */
static void write_chain(script *s, uint32_t edge_id, size_t indent, bool bullet, size_t nesting)
{
    while (!is_too_large(s, nesting)) {
        const search_edge *edge = search_edge_at(s->graph, edge_id);
        if (edge->tactic != NULL) {
            search_tactic_lay(s->out, edge->tactic, indent, bullet);
            bullet = false;
        }
        if (edge->child_count > 1) {
            write_bullets(s, edge, indent, nesting);
        }
        uint32_t rest = unfocused_child(s, edge);
        if (rest == SEARCH_NONE) {
            return;
        }
        bullet = !write_rename(s, edge, rest, indent, bullet) && bullet;
        edge_id = s->extract->edge[edge->children[rest]];
    }
}

/* Child number `at` of the edge, in a bullet. */
static void write_node(script *s, const search_edge *edge, uint32_t at, size_t indent,
                       size_t nesting)
{
    bool renamed = write_rename(s, edge, at, indent, true);
    write_chain(s, s->extract->edge[edge->children[at]], indent, !renamed, nesting);
}

static pv_status write_script(script *s, pv_error *err)
{
    write_chain(s, SEARCH_ROOT_EDGE, 0, false, 0);
    if (s->too_large != NULL) {
        return pv_fail(err, PV_E_LIMIT, "the proof cannot be written: %s", s->too_large);
    }
    if (!pv_buf_ok(s->out)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while the proof was written");
    }
    if (s->out->len > s->start) { /* a block, not a file: no line break at its end */
        s->out->data[--s->out->len] = '\0';
    }
    return PV_OK;
}

pv_status search_proof(const search_run *run, pv_buf *out, pv_error *err)
{
    if (run->state != SEARCH_PROVED) {
        return pv_fail(err, PV_E_MISUSE, "there is no proof: the search is %s",
                       search_state_name(run->state));
    }
    search_extract extract;
    if (!search_extract_init(&extract, &run->graph)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while the proof was written");
    }
    script s = {.graph = &run->graph, .extract = &extract, .out = out, .start = out->len};
    pv_status status = write_script(&s, err);
    if (status != PV_OK && out->data != NULL) { /* half a proof is of no use */
        out->len = s.start;
        out->data[s.start] = '\0';
    }
    search_extract_release(&extract);
    return status;
}
