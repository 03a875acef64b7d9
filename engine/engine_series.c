#include "engine_series.h"

#include "engine_random.h"
#include "pv_mem.h"

#include <assert.h>
#include <math.h>
#include <string.h>

typedef struct candidate { /* a token that may follow */
    double after;          /* when, in the measure of its prefix */
    uint32_t at;           /* in the sampler's list */
} candidate;

struct engine_series {
    engine_series_node *nodes;
    size_t node_count, node_capacity;
    uint32_t *spare; /* free places among the nodes */
    size_t spare_count, spare_capacity;
    uint32_t *order; /* open prefixes, the earliest first */
    size_t order_count, order_capacity;
    candidate *heap; /* the latest on top */
    size_t heap_capacity;
    uint32_t keep, taken;
};

pv_status engine_series_new(engine_series **out, uint64_t key, uint32_t keep, pv_error *err)
{
    engine_series *s = pv_calloc(1, sizeof *s);
    if (s == NULL || pv_grow((void **)&s->nodes, &s->node_capacity, 1, sizeof *s->nodes) != 0 ||
        pv_grow((void **)&s->order, &s->order_capacity, 1, sizeof *s->order) != 0) {
        engine_series_free(s);
        return pv_fail(err, PV_E_NOMEM, "no memory for draws without repetition");
    }
    s->nodes[0] = (engine_series_node){
        .parent = ENGINE_SERIES_NONE, .is_paid = true, .log_time = -HUGE_VAL, .key = key};
    s->order[0] = 0;
    s->node_count = s->order_count = 1;
    s->keep = keep;
    *out = s;
    return PV_OK;
}

void engine_series_free(engine_series *s)
{
    if (s != NULL) {
        pv_free(s->nodes);
        pv_free(s->spare);
        pv_free(s->order);
        pv_free(s->heap);
        pv_free(s);
    }
}

uint32_t engine_series_keep(const engine_series *s)
{
    return s->keep;
}

uint32_t engine_series_taken(const engine_series *s)
{
    return s->taken;
}

uint32_t engine_series_count(const engine_series *s)
{
    return (uint32_t)s->order_count;
}

size_t engine_series_bytes(const engine_series *s)
{
    return sizeof *s + s->node_capacity * sizeof *s->nodes + s->spare_capacity * sizeof *s->spare +
           s->order_capacity * sizeof *s->order + s->heap_capacity * sizeof *s->heap;
}

uint32_t engine_series_at(const engine_series *s, uint32_t i)
{
    return s->order[i];
}

engine_series_node *engine_series_node_of(engine_series *s, uint32_t node)
{
    return &s->nodes[node];
}

void engine_series_path(const engine_series *s, uint32_t node, uint32_t *tokens, float *logprobs)
{
    for (const engine_series_node *n = &s->nodes[node]; n->depth > 0; n = &s->nodes[n->parent]) {
        tokens[n->depth - 1] = n->token;
        if (logprobs != NULL) {
            logprobs[n->depth - 1] = n->logprob;
        }
    }
}

/* ---- Nodes ---- */

/* A node without children goes, and so do those above it that it alone kept. There is room for each in `spare`. */
static void drop(engine_series *s, uint32_t node)
{
    while (node != ENGINE_SERIES_NONE && s->nodes[node].children == 0) {
        uint32_t parent = s->nodes[node].parent;
        s->spare[s->spare_count++] = node;
        if (parent != ENGINE_SERIES_NONE) {
            s->nodes[parent].children--;
        }
        node = parent;
    }
}

static uint32_t place(engine_series *s)
{
    return s->spare_count > 0 ? s->spare[--s->spare_count] : (uint32_t)s->node_count++;
}

/* ---- The order of arrival ---- */

/* Equal times only come of rounding: the keys, which are the path's, decide, and not who came first. */
static bool earlier(const engine_series_node *a, const engine_series_node *b)
{
    return a->log_time < b->log_time || (a->log_time == b->log_time && a->key < b->key);
}

static uint32_t room(const engine_series *s)
{
    return s->keep - s->taken;
}

static size_t rank_of(const engine_series *s, const engine_series_node *n)
{
    size_t low = 0;
    size_t high = s->order_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (earlier(&s->nodes[s->order[mid]], n)) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

static void take_out(engine_series *s, size_t rank)
{
    s->order_count--;
    memmove(s->order + rank, s->order + rank + 1, (s->order_count - rank) * sizeof *s->order);
}

/* Holds the node if it comes before as many as are still wanted. Room for one more was made. */
static void hold(engine_series *s, const engine_series_node *n)
{
    size_t rank = rank_of(s, n);
    if (rank >= room(s)) {
        return;
    }
    uint32_t at = place(s);
    s->nodes[at] = *n;
    s->nodes[n->parent].children++;
    memmove(s->order + rank + 1, s->order + rank, (s->order_count - rank) * sizeof *s->order);
    s->order[rank] = at;
    s->order_count++;
}

/* Those that too many others precede. One that is being asked stays until it is answered. */
static void cut(engine_series *s)
{
    while (s->order_count > room(s) &&
           s->nodes[s->order[s->order_count - 1]].state != ENGINE_SERIES_ASKED) {
        drop(s, s->order[--s->order_count]);
    }
}

/* ---- What follows a prefix ---- */

static bool sinks(const candidate *heap, size_t n, size_t at, size_t *child)
{
    size_t c = 2 * at + 1;
    if (c >= n) {
        return false;
    }
    c += c + 1 < n && heap[c + 1].after > heap[c].after;
    *child = c;
    return heap[c].after > heap[at].after;
}

static void sift_down(candidate *heap, size_t n, size_t at)
{
    for (size_t child = 0; sinks(heap, n, at, &child); at = child) {
        candidate t = heap[at];
        heap[at] = heap[child];
        heap[child] = t;
    }
}

static void sift_up(candidate *heap, size_t at)
{
    while (at > 0 && heap[(at - 1) / 2].after < heap[at].after) {
        candidate t = heap[at];
        heap[at] = heap[(at - 1) / 2];
        heap[(at - 1) / 2] = t;
        at = (at - 1) / 2;
    }
}

/* The `limit` tokens that come first: an exponential time each, -log(1 - u) / p. It is at least u / p, which spares most logarithms. */
static size_t first_tokens(const engine_sampler *l, uint64_t key, candidate *heap, size_t limit)
{
    size_t n = 0;
    double sum = l->cumulative[l->kept - 1];
    double pair[2] = {0};
    uint32_t pair_of = UINT32_MAX;
    for (uint32_t i = 0; i < l->kept; i++) {
        uint32_t id = l->ids[i];
        if (id / 2 != pair_of) {
            pair_of = id / 2;
            engine_uniform_pair(key, pair_of, pair);
        }
        double u = pair[id % 2];
        double slow = sum / (double)l->weights[id];
        if (n == limit && u * slow >= heap[0].after) {
            continue;
        }
        candidate c = {-log1p(-u) * slow, i};
        if (n < limit) {
            heap[n] = c;
            sift_up(heap, n++);
        } else if (c.after < heap[0].after) {
            heap[0] = c;
            sift_down(heap, n, 0);
        }
    }
    return n;
}

static double earliest(const candidate *heap, size_t n)
{
    double least = heap[0].after;
    for (size_t i = 1; i < n; i++) {
        least = heap[i].after < least ? heap[i].after : least;
    }
    return least;
}

static double log_add(double a, double b)
{
    double high = a > b ? a : b;
    double low = a > b ? b : a;
    return low == -HUGE_VAL ? high : high + log1p(exp(low - high));
}

static engine_series_node follow(const engine_series_node *from, uint32_t parent,
                                 const engine_sampler *l, const candidate *c, double first)
{
    uint32_t token = l->ids[c->at];
    engine_series_node n = {.parent = parent, .token = token, .depth = from->depth + 1};
    n.logprob = engine_sampler_logprob(l, token);
    n.log_mass = from->log_mass;
    n.log_mass += l->kept > 1 ? log((double)l->weights[token] / l->cumulative[l->kept - 1]) : 0;
    /* The first one arrives with its prefix; the others after it, their times at the prefix's own rate. */
    double later = c->after - first;
    n.log_time = from->log_time;
    n.log_time = later > 0 ? log_add(n.log_time, log(later) - from->log_mass) : n.log_time;
    n.key = engine_path_key(from->key, token);
    return n;
}

static pv_status make_room(engine_series *s, size_t more, pv_error *err)
{
    size_t nodes = s->node_count + more;
    if (pv_grow((void **)&s->nodes, &s->node_capacity, nodes, sizeof *s->nodes) != 0 ||
        pv_grow((void **)&s->spare, &s->spare_capacity, nodes, sizeof *s->spare) != 0 ||
        pv_grow((void **)&s->order, &s->order_capacity, s->order_count + more, sizeof *s->order) !=
            0 ||
        pv_grow((void **)&s->heap, &s->heap_capacity, more, sizeof *s->heap) != 0) {
        return pv_fail(err, PV_E_NOMEM, "no memory for draws without repetition");
    }
    return PV_OK;
}

pv_status engine_series_open(engine_series *s, uint32_t node, const engine_sampler *sampler,
                             pv_error *err)
{
    size_t limit = room(s) < sampler->kept ? room(s) : sampler->kept;
    pv_status status = make_room(s, limit, err);
    if (status != PV_OK) {
        return status;
    }
    engine_series_node from = s->nodes[node];
    size_t n = sampler->kept == 1 ? 1 : 0;
    s->heap[0] = (candidate){0, 0};
    n = n == 1 ? n : first_tokens(sampler, from.key, s->heap, limit);
    double first = earliest(s->heap, n);
    size_t rank = rank_of(s, &from);
    assert(rank < s->order_count && s->order[rank] == node);
    take_out(s, rank);
    for (size_t i = 0; i < n; i++) {
        engine_series_node next = follow(&from, node, sampler, &s->heap[i], first);
        hold(s, &next);
    }
    drop(s, node); /* nothing that follows it is wanted */
    cut(s);
    return PV_OK;
}

uint32_t engine_series_take(engine_series *s)
{
    uint32_t node = s->order[0];
    uint32_t paid = 0;
    for (engine_series_node *n = &s->nodes[node]; !n->is_paid; n = &s->nodes[n->parent]) {
        n->is_paid = true;
        paid++;
    }
    take_out(s, 0);
    s->taken++;
    drop(s, node);
    cut(s);
    return paid;
}
