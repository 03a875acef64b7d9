#include "data_row.h"

#include "pv_mem.h"
#include "pv_utf8.h"

#include <math.h>
#include <string.h>

enum {
    MESSAGE_MAX = 240, /* bytes kept of Lean's message           */
    SIDES_MAX = 24,    /* alternatives, and states solved aside  */
};

void data_row_state(const char *const *goals, size_t n, pv_buf *out)
{
    pv_buf_clear(out);
    for (size_t i = 0; i < n; i++) {
        pv_buf_puts(out, i > 0 ? "\n\n" : "");
        pv_buf_puts(out, goals[i]);
    }
}

/* ---- a copy of the graph ---- */

typedef struct edge_copy {
    size_t from;
    const char *tactic, *message; /* of the graph */
    search_outcome_kind kind;
    bool on_proof, smallest;
    json_t *next; /* the children's numbers */
} edge_copy;

typedef struct arrival { /* how a state is reached first */
    size_t parent;       /* SIZE_MAX: it is the root */
    const char *tactic;  /* of the graph */
} arrival;

typedef struct snapshot {
    json_t **states; /* texts, by number */
    double *costs;   /* of the smallest proof */
    arrival *arrivals;
    size_t count, states_capacity, costs_capacity, arrivals_capacity;
    edge_copy *edges;
    size_t edge_count, edge_capacity;
    pv_buf text;
    bool failed;
} snapshot;

static void on_node(void *user, const search_node_view *view)
{
    snapshot *s = user;
    size_t n = s->count + 1;
    if (pv_grow((void **)&s->states, &s->states_capacity, n, sizeof *s->states) != 0 ||
        pv_grow((void **)&s->costs, &s->costs_capacity, n, sizeof *s->costs) != 0 ||
        pv_grow((void **)&s->arrivals, &s->arrivals_capacity, n, sizeof *s->arrivals) != 0) {
        s->failed = true;
        return;
    }
    data_row_state(view->goals, view->goal_count, &s->text);
    s->states[s->count] = json_string(pv_buf_text(&s->text));
    s->arrivals[s->count] = (arrival){(size_t)view->parent, view->arrived_by};
    s->costs[s->count++] = view->cost;
}

static void on_edge(void *user, const search_edge_view *view)
{
    snapshot *s = user;
    if (s->failed ||
        pv_grow((void **)&s->edges, &s->edge_capacity, s->edge_count + 1, sizeof *s->edges) != 0) {
        s->failed = true;
        return;
    }
    edge_copy *edge = &s->edges[s->edge_count++];
    *edge = (edge_copy){.from = (size_t)view->from,
                        .tactic = view->tactic,
                        .message = view->message,
                        .kind = view->kind,
                        .on_proof = view->on_proof,
                        .smallest = view->smallest,
                        .next = json_array()};
    for (size_t i = 0; i < view->child_count; i++) {
        json_array_append_new(edge->next, json_integer((json_int_t)view->children[i]));
    }
}

static void take_snapshot(snapshot *s, const search_run *run)
{
    memset(s, 0, sizeof *s);
    search_visit(run, on_node, on_edge, s);
}

static void release_snapshot(snapshot *s)
{
    for (size_t i = 0; i < s->count; i++) {
        json_decref(s->states[i]);
    }
    for (size_t i = 0; i < s->edge_count; i++) {
        json_decref(s->edges[i].next);
    }
    pv_free(s->states);
    pv_free(s->costs);
    pv_free(s->arrivals);
    pv_free(s->edges);
    pv_buf_release(&s->text);
}

static size_t child_of(const edge_copy *edge, size_t i)
{
    return (size_t)json_integer_value(json_array_get(edge->next, i));
}

/* The edge proves its state: it closes it, or leaves states that are no harder. A way back to where one came from is
 * harder than the place one went from: its smallest proof is one step more. */
static bool proves(const snapshot *s, const edge_copy *edge)
{
    bool all = isfinite(s->costs[edge->from]) &&
               (edge->kind == SEARCH_CLOSED || edge->kind == SEARCH_OPEN);
    for (size_t i = 0; all && i < json_array_size(edge->next); i++) {
        all = s->costs[child_of(edge, i)] <= s->costs[edge->from];
    }
    return all;
}

static json_t *next_states(const snapshot *s, const edge_copy *edge)
{
    json_t *states = json_array();
    for (size_t i = 0; i < json_array_size(edge->next); i++) {
        json_array_append(states, s->states[child_of(edge, i)]);
    }
    return states;
}

/* ---- steps ---- */

json_t *data_row_steps(const search_run *run)
{
    snapshot s;
    take_snapshot(&s, run);
    json_t *steps = s.failed ? NULL : json_array();
    for (size_t i = 0; steps != NULL && i < s.edge_count; i++) {
        const edge_copy *edge = &s.edges[i];
        if (edge->on_proof) {
            json_array_append_new(steps,
                                  json_pack("{s:O,s:s,s:o}", "state", s.states[edge->from],
                                            "tactic", edge->tactic, "next", next_states(&s, edge)));
        }
    }
    release_snapshot(&s);
    return steps;
}

/* ---- the rest ---- */

const char *data_row_error_class(search_outcome_kind kind, const char *message)
{
    static const struct {
        const char *text, *name;
    } table[] = {
        {"the theorem itself", "self"},
        {"unknown identifier", "unknown"},
        {"nknown constant", "unknown"},
        {"unsolved goals", "unsolved"},
        {"ype mismatch", "type"},
        {"failed to synthesize", "instance"},
        {"did not find", "rewrite"},
        {"motive is not type correct", "rewrite"},
        {"maximum recursion depth", "recursion"},
        {"no progress", "no_op"},
        {"did not change", "no_op"},
        {"expected token", "syntax"},
        {"unexpected", "syntax"},
        {"counterexample", "false"},
        {"proposition is false", "false"},
    };

    if (kind == SEARCH_TIMED_OUT) {
        return "timeout";
    }
    if (kind == SEARCH_LOST) {
        return "lost";
    }
    for (size_t i = 0; message != NULL && i < sizeof table / sizeof *table; i++) {
        if (strstr(message, table[i].text) != NULL) {
            return table[i].name;
        }
    }
    return "failed";
}

static json_t *cut_message(const char *message)
{
    size_t n = message == NULL ? 0 : strlen(message);
    json_t *text = json_stringn(message == NULL ? "" : message,
                                n <= MESSAGE_MAX ? n : pv_utf8_clip(message, n, MESSAGE_MAX));
    return text != NULL ? text : json_string("");
}

/* The number of the step with this state; -1: none. */
static int step_of(const json_t *steps, const json_t *state)
{
    for (size_t i = 0; i < json_array_size(steps); i++) {
        if (json_equal(json_object_get(json_array_get(steps, i), "state"), state)) {
            return (int)i;
        }
    }
    return -1;
}

/* Whether `list` has an entry for the step with this tactic, and how many for the step. */
static size_t entries_for(const json_t *list, int step, const char *tactic, bool *has)
{
    size_t n = 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (json_integer_value(json_object_get(item, "step")) == step) {
            n++;
            *has = *has || strcmp(json_string_value(json_object_get(item, "tactic")), tactic) == 0;
        }
    }
    return n;
}

json_t *data_row_failure(int step, const char *tactic, search_outcome_kind kind,
                         const char *message)
{
    return json_pack("{s:i,s:s,s:s,s:o}", "step", step, "tactic", tactic, "class",
                     data_row_error_class(kind, message), "message", cut_message(message));
}

static void add_failed(const edge_copy *edge, int step, size_t most, json_t *failed)
{
    bool has = false;
    /* A worker that was lost or a request that was cancelled says nothing about the tactic. */
    if (failed != NULL && edge->kind != SEARCH_LOST &&
        entries_for(failed, step, edge->tactic, &has) < most && !has) {
        json_array_append_new(failed,
                              data_row_failure(step, edge->tactic, edge->kind, edge->message));
    }
}

static void add_alternative(const snapshot *s, const edge_copy *edge, int step, const json_t *steps,
                            json_t *alternatives)
{
    const char *own =
        json_string_value(json_object_get(json_array_get(steps, (size_t)step), "tactic"));
    bool has = false;
    if (alternatives == NULL || strcmp(own, edge->tactic) == 0 ||
        json_array_size(alternatives) >= SIDES_MAX) {
        return;
    }
    (void)entries_for(alternatives, step, edge->tactic, &has);
    if (!has) {
        json_array_append_new(alternatives, json_pack("{s:i,s:s,s:o}", "step", step, "tactic",
                                                      edge->tactic, "next", next_states(s, edge)));
    }
}

static bool has_pair(const json_t *list, const json_t *state, const char *tactic)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(item, "tactic")), tactic) == 0 &&
            json_equal(json_object_get(item, "state"), state)) {
            return true;
        }
    }
    return false;
}

/* The way from the root to a state. */
static void add_trail(const snapshot *s, size_t to, json_t *trail)
{
    for (size_t at = to; s->arrivals[at].tactic != NULL; at = s->arrivals[at].parent) {
        const arrival *last = &s->arrivals[at];
        json_t *state = s->states[last->parent];
        if (!has_pair(trail, state, last->tactic)) {
            json_array_append_new(trail,
                                  json_pack("{s:O,s:s}", "state", state, "tactic", last->tactic));
        }
    }
}

static void add_solved(const snapshot *s, const edge_copy *edge, data_row_sides_out *out)
{
    json_t *state = s->states[edge->from];
    if (out->solved == NULL || json_array_size(out->solved) >= SIDES_MAX ||
        has_pair(out->solved, state, edge->tactic)) {
        return;
    }
    json_array_append_new(out->solved, json_pack("{s:O,s:s,s:o}", "state", state, "tactic",
                                                 edge->tactic, "next", next_states(s, edge)));
    if (out->trail != NULL) {
        add_trail(s, edge->from, out->trail);
    }
}

void data_row_sides(const search_run *run, const json_t *steps, size_t negatives,
                    data_row_sides_out *out)
{
    snapshot s;
    take_snapshot(&s, run);
    for (size_t i = 0; !s.failed && i < s.edge_count; i++) {
        const edge_copy *edge = &s.edges[i];
        int step = step_of(steps, s.states[edge->from]);
        bool good = edge->kind == SEARCH_CLOSED || edge->kind == SEARCH_OPEN;
        if (step >= 0 && !good) {
            add_failed(edge, step, negatives, out->failed);
        } else if (step >= 0 && proves(&s, edge)) {
            add_alternative(&s, edge, step, steps, out->alternatives);
        } else if (step < 0 && edge->smallest && isfinite(s.costs[edge->from])) {
            add_solved(&s, edge, out);
        }
    }
    release_snapshot(&s);
}
