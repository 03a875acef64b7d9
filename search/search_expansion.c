#include "search_expansion.h"

#include "pv_mem.h"
#include "pv_utf8.h"
#include "search_tactic.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double LOGPROB_MIN = -1e6;

void search_window_init(search_window *window)
{
    memset(window, 0, sizeof *window);
    window->oldest = window->next = 1;
}

static void free_expansion(search_expansion *expansion)
{
    search_arena_release(&expansion->arena);
    pv_free(expansion);
}

void search_window_release(search_window *window)
{
    for (uint64_t t = window->oldest; t < window->next; t++) {
        search_expansion *expansion = search_window_find(window, t);
        if (expansion != NULL) {
            free_expansion(expansion);
        }
    }
    while (window->spare != NULL) {
        search_expansion *next = window->spare->next_free;
        free_expansion(window->spare);
        window->spare = next;
    }
    pv_free(window->ring);
    search_window_init(window);
}

static bool grow_ring(search_window *window)
{
    size_t capacity = window->capacity == 0 ? 8 : window->capacity * 2;
    search_expansion **ring = pv_calloc(capacity, sizeof(void *));
    if (ring == NULL) {
        return false;
    }
    for (uint64_t t = window->oldest; t < window->next; t++) {
        ring[t & (capacity - 1)] = search_window_find(window, t);
    }
    pv_free(window->ring);
    window->ring = ring;
    window->capacity = capacity;
    return true;
}

static search_expansion *blank(search_window *window)
{
    search_expansion *expansion = window->spare;
    if (expansion == NULL) {
        return pv_calloc(1, sizeof *expansion);
    }
    window->spare = expansion->next_free;
    search_arena arena = expansion->arena;
    search_arena_reset(&arena);
    memset(expansion, 0, sizeof *expansion);
    expansion->arena = arena;
    return expansion;
}

search_expansion *search_window_push(search_window *window)
{
    if (window->next - window->oldest >= window->capacity && !grow_ring(window)) {
        return NULL;
    }
    search_expansion *expansion = blank(window);
    if (expansion != NULL) {
        expansion->ticket = window->next++;
        window->ring[expansion->ticket & (window->capacity - 1)] = expansion;
    }
    return expansion;
}

search_expansion *search_window_find(const search_window *window, uint64_t ticket)
{
    if (ticket < window->oldest || ticket >= window->next) {
        return NULL;
    }
    return window->ring[ticket & (window->capacity - 1)];
}

void search_window_remove(search_window *window, search_expansion *expansion)
{
    window->ring[expansion->ticket & (window->capacity - 1)] = NULL;
    expansion->next_free = window->spare;
    window->spare = expansion;
    while (window->oldest < window->next && search_window_find(window, window->oldest) == NULL) {
        window->oldest++;
    }
}

/* ---- candidates ---- */

static double tame(double logprob)
{
    if (isnan(logprob) || logprob < LOGPROB_MIN) {
        return LOGPROB_MIN;
    }
    return logprob > 0 ? 0 : logprob;
}

bool search_expansion_store(search_expansion *expansion, const search_candidate *candidates,
                            size_t n)
{
    search_candidate *copies = search_arena_zeroed(&expansion->arena, n, sizeof *copies);
    if (copies == NULL) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const char *text = candidates[i].tactic == NULL ? "" : candidates[i].tactic;
        size_t length = strlen(text);
        if (pv_utf8_valid(text, length) != length) {
            length = 0;
        }
        copies[i].tactic = search_arena_text(&expansion->arena, text, length);
        copies[i].logprob = tame(candidates[i].logprob);
        copies[i].tokens = candidates[i].tokens;
        if (copies[i].tactic == NULL) {
            return false;
        }
    }
    expansion->candidates = copies;
    expansion->candidate_count = n;
    return true;
}

/* Best first; the order of the answer among equals, which is also the order of the addresses. */
static int compare_candidates(const void *left, const void *right)
{
    const search_candidate *a = *(search_candidate *const *)left;
    const search_candidate *b = *(search_candidate *const *)right;
    if (a->logprob > b->logprob || a->logprob < b->logprob) {
        return a->logprob > b->logprob ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

static search_candidate **sorted(search_expansion *expansion)
{
    size_t n = expansion->candidate_count;
    search_candidate **refs = search_arena_alloc(&expansion->arena, n * sizeof(void *));
    if (refs == NULL) {
        return NULL;
    }
    bool in_order = true;
    for (size_t i = 0; i < n; i++) {
        refs[i] = &expansion->candidates[i];
        in_order = in_order && (i == 0 || refs[i - 1]->logprob >= refs[i]->logprob);
    }
    if (!in_order) {
        qsort(refs, n, sizeof(void *), compare_candidates);
    }
    return refs;
}

/* Normal forms seen so far on this node: a set of keys with open addressing. */
typedef struct text_set {
    pv_key *keys; /* {0, 0}: empty */
    size_t capacity;
} text_set;

static bool make_set(search_arena *arena, text_set *set, size_t n)
{
    set->capacity = 16;
    while (set->capacity < 2 * n) {
        set->capacity *= 2;
    }
    set->keys = search_arena_zeroed(arena, set->capacity, sizeof *set->keys);
    return set->keys != NULL;
}

/* True when it was not there. */
static bool set_add(text_set *set, pv_key key)
{
    static const pv_key empty = {0, 0};
    size_t at = key.lo & (set->capacity - 1);
    for (; !pv_key_equal(set->keys[at], empty); at = (at + 1) & (set->capacity - 1)) {
        if (pv_key_equal(set->keys[at], key)) {
            return false;
        }
    }
    set->keys[at] = key;
    return true;
}

static bool is_new_text(text_set *set, const char *tactic, pv_buf *scratch)
{
    search_tactic_normalise(tactic, scratch);
    return scratch->len > 0 && set_add(set, pv_key_of(scratch->data, scratch->len));
}

static void add_tried(text_set *set, const search_graph *graph, uint32_t node, pv_buf *scratch)
{
    for (uint32_t e = search_node_at(graph, node)->first_out; e != SEARCH_NONE;
         e = search_edge_at(graph, e)->next_out) {
        (void)is_new_text(set, search_edge_at(graph, e)->tactic, scratch);
    }
}

static size_t count_tried(const search_graph *graph, uint32_t node)
{
    size_t n = 0;
    for (uint32_t e = search_node_at(graph, node)->first_out; e != SEARCH_NONE;
         e = search_edge_at(graph, e)->next_out) {
        n++;
    }
    return n;
}

bool search_expansion_choose(search_expansion *expansion, const search_graph *graph,
                             pv_buf *scratch)
{
    size_t n = expansion->candidate_count;
    text_set set;
    search_candidate **refs = sorted(expansion);
    expansion->tries = search_arena_alloc(&expansion->arena, n * sizeof *expansion->tries);
    if (refs == NULL || expansion->tries == NULL ||
        !make_set(&expansion->arena, &set, n + count_tried(graph, expansion->node))) {
        return false;
    }
    add_tried(&set, graph, expansion->node, scratch);
    for (size_t i = 0; i < n; i++) {
        if (is_new_text(&set, refs[i]->tactic, scratch)) {
            expansion->tries[expansion->try_count++] = *refs[i];
        }
    }
    expansion->missing = expansion->try_count;
    expansion->answers =
        search_arena_zeroed(&expansion->arena, expansion->try_count, sizeof *expansion->answers);
    return expansion->answers != NULL && pv_buf_ok(scratch);
}

bool search_expansion_answered(const search_expansion *expansion)
{
    return expansion->stage != SEARCH_ASKED && expansion->missing == 0;
}
