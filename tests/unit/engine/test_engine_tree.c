/* The prefix tree against a pool whose slots remember what was written: forks, copies, eviction, random sequences. */
#include "fixture.h"

#include "engine_tree.h"
#include "pv_hash.h"

enum { PAGE = ENGINE_PAGE_TOKENS, POOL_MAX = 4096 };

/* A slot holds the digest of all tokens up to it, so that a wrong page shows. */
typedef struct pool {
    uint64_t slots[POOL_MAX][PAGE];
    uint64_t copies;
    bool fail;
} pool;

static pool the_pool;

static pv_status copy(void *user, uint32_t to, uint32_t from, uint32_t tokens, pv_error *err)
{
    pool *p = user;
    if (p->fail) {
        return pv_fail(err, PV_E_DEVICE, "no copy");
    }
    p->copies++;
    memset(p->slots[to], 0, sizeof p->slots[to]);
    memcpy(p->slots[to], p->slots[from], tokens * sizeof p->slots[to][0]);
    return PV_OK;
}

static engine_tree *open_tree(uint32_t pages)
{
    memset(&the_pool, 0, sizeof the_pool);
    engine_tree *t = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_tree_new(&t, pages, copy, &the_pool, &err), PV_OK, "%s", err.msg);
    return t;
}

static void check(const engine_tree *t)
{
    pv_error err = {0};
    cr_assert_eq(engine_tree_check(t, &err), PV_OK, "%s", err.msg);
}

static engine_tree_counts counts(const engine_tree *t)
{
    engine_tree_counts c;
    engine_tree_counts_get(t, &c);
    return c;
}

static uint64_t next_digest(uint64_t digest, uint32_t token)
{
    return pv_mix64(digest ^ token) | 1;
}

static uint64_t digest(const uint32_t *tokens, size_t n)
{
    uint64_t d = 0;
    for (size_t i = 0; i < n; i++) {
        d = next_digest(d, tokens[i]);
    }
    return d;
}

/* "Computes" up to n tokens of the node; `path` is the sequence through it. Returns how many. */
static uint32_t compute(engine_tree *t, engine_node *node, const uint32_t *path, uint32_t n)
{
    uint32_t left = (uint32_t)node->len - node->computed;
    n = n < left ? n : left;
    uint32_t granted = 0;
    pv_error err = {0};
    cr_assert_eq(engine_tree_reserve(t, node, n, &granted, &err), PV_OK, "%s", err.msg);
    static uint32_t table[POOL_MAX];
    engine_tree_table(node, table);
    uint32_t from = node->start + node->computed;
    uint64_t d = digest(path, from);
    for (uint32_t p = from; p < from + granted; p++) {
        d = next_digest(d, path[p]);
        the_pool.slots[table[p / PAGE]][p % PAGE] = d;
    }
    engine_tree_wrote(t, node, granted);
    return granted;
}

/* Every computed position of the path to `node` is in the page that the table names. */
static void expect_content(const engine_node *node, const uint32_t *path)
{
    static uint32_t table[POOL_MAX];
    uint32_t end = node->start + node->computed;
    for (const engine_node *n = node; n != NULL; n = n->parent) {
        if (n->computed <
            n->len) { /* the first incomplete node on the path is the last computed one */
            end = n->start + n->computed;
        }
    }
    engine_tree_table(node, table);
    uint64_t d = 0;
    for (uint32_t p = 0; p < end; p++) {
        d = next_digest(d, path[p]);
        cr_assert_eq(the_pool.slots[table[p / PAGE]][p % PAGE], d, "position %u", p);
    }
}

static engine_node *acquire(engine_tree *t, const uint32_t *path, size_t n)
{
    engine_node *node = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_tree_acquire(t, path, n, &node, &err), PV_OK, "%s", err.msg);
    return node;
}

/* A handle on a sequence that is wholly computed. */
static engine_node *computed(engine_tree *t, const uint32_t *path, size_t n)
{
    engine_node *node = acquire(t, path, n);
    for (engine_node *at; (at = engine_tree_incomplete(node)) != NULL;) {
        cr_assert_gt(compute(t, at, path, 100000), 0, "no page left");
    }
    return node;
}

static void fill(uint32_t *out, size_t n, uint32_t from)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = from + (uint32_t)i;
    }
}

Test(engine_tree, forks_at_any_token_and_computes_each_once)
{
    uint64_t live = pv_mem_live();
    engine_tree *t = open_tree(64);
    uint32_t path[200];
    fill(path, 200, 1);
    engine_node *whole = computed(t, path, 150);
    cr_expect_eq(counts(t).tokens_written, 150);
    cr_expect_eq(counts(t).pages_used, 3);
    for (size_t fork = 1; fork < 150; fork++) {
        uint32_t other[200];
        memcpy(other, path, sizeof other);
        other[fork] = 1000;
        cr_expect_eq(engine_tree_match(t, other, fork + 1), fork);
        engine_node *n = computed(t, other, fork + 1);
        expect_content(n, other);
        check(t);
        cr_expect_eq(n->len, 1);
        engine_tree_release(t, n);
        engine_tree_forget(t, NULL, 0);
        check(t);
    }
    cr_expect_eq(counts(t).tokens_written, 150 + 149);
    cr_expect_eq(counts(t).pages_used, 3);
    cr_expect_eq(counts(t).nodes, 1, "pieces that nobody needs are joined again");
    expect_content(whole, path);
    engine_tree_release(t, whole);
    engine_tree_forget(t, NULL, 0);
    cr_expect_eq(counts(t).pages_used, 0);
    cr_expect_eq(counts(t).nodes, 0);
    engine_tree_free(t);
    cr_expect_eq(pv_mem_live(), live);
}

Test(engine_tree, first_branch_writes_in_place_and_later_ones_copy)
{
    engine_tree *t = open_tree(16);
    uint32_t path[80];
    fill(path, 80, 1);
    engine_node *base = computed(t, path, 70);
    engine_node *tips[3];
    for (uint32_t i = 0; i < 3; i++) {
        cr_assert_eq(engine_tree_tip(t, base, &tips[i], NULL), PV_OK);
        path[70] = 500 + i;
        cr_assert_eq(engine_tree_append(tips[i], path[70], NULL), PV_OK);
        cr_assert_eq(compute(t, tips[i], path, 1), 1);
        expect_content(tips[i], path);
        check(t);
    }
    cr_expect_eq(counts(t).copies, 2);
    cr_expect_eq(counts(t).pages_used, 4);
    engine_tree_discard(t, tips[0]);
    cr_assert_eq(engine_tree_tip(t, base, &tips[0], NULL), PV_OK);
    path[70] = 900;
    cr_assert_eq(engine_tree_append(tips[0], 900, NULL), PV_OK);
    cr_assert_eq(compute(t, tips[0], path, 1), 1);
    cr_expect_eq(counts(t).copies, 2, "the slots of a branch that is gone are written in place");
    for (uint32_t i = 0; i < 3; i++) {
        engine_tree_commit(t, tips[i]);
        check(t);
    }
    cr_expect_eq(engine_tree_match(t, path, 71), 71);
    engine_tree_release(t, base);
    check(t);
    engine_tree_free(t);
}

Test(engine_tree, evicts_the_least_recently_used_from_its_end)
{
    engine_tree *t = open_tree(6);
    uint32_t a[128];
    uint32_t b[128];
    uint32_t c[192];
    fill(a, 128, 1000);
    fill(b, 128, 2000);
    fill(c, 192, 3000);
    engine_tree_release(t, computed(t, a, 128));
    engine_tree_release(t, computed(t, b, 128));
    engine_node *touched = acquire(t, a, 128);
    engine_tree_release(t, touched);
    engine_node *n = computed(t, c, 192);
    check(t);
    cr_expect_eq(engine_tree_match(t, a, 128), 128, "a was used after b");
    cr_expect_eq(engine_tree_match(t, b, 128), 64, "only the page that was wanted went");
    expect_content(n, c);
    uint32_t one = engine_tree_take_page(t);
    uint32_t two = engine_tree_take_page(t);
    uint32_t three = engine_tree_take_page(t);
    cr_expect(one != ENGINE_PAGE_NONE && two != ENGINE_PAGE_NONE && three != ENGINE_PAGE_NONE);
    cr_expect_eq(engine_tree_take_page(t), ENGINE_PAGE_NONE, "what has a handle stays");
    cr_expect_eq(engine_tree_available(t), 0);
    check(t);
    engine_tree_give_page(t, one);
    engine_tree_give_page(t, two);
    engine_tree_give_page(t, three);
    cr_expect_eq(engine_tree_match(t, c, 192), 192);
    engine_tree_release(t, n);
    check(t);
    engine_tree_free(t);
}

Test(engine_tree, grants_what_pages_allow)
{
    engine_tree *t = open_tree(2);
    uint32_t a[200];
    fill(a, 200, 1);
    engine_node *n = acquire(t, a, 200);
    cr_expect_eq(compute(t, n, a, 200), 128);
    cr_expect_eq(compute(t, n, a, 72), 0);
    check(t);
    engine_tree_release(t, n);
    cr_expect_eq(engine_tree_match(t, a, 200), 128);
    cr_expect_eq(engine_tree_known(t, a, 200), 128, "tokens nobody waits for are dropped");
    check(t);
    engine_tree_free(t);
}

Test(engine_tree, forgets_what_lies_behind_a_sequence)
{
    engine_tree *t = open_tree(32);
    uint32_t a[100];
    fill(a, 100, 1);
    engine_tree_release(t, computed(t, a, 100));
    uint32_t b[100];
    memcpy(b, a, sizeof b);
    b[60] = 7777;
    engine_node *held = computed(t, b, 100);
    engine_tree_forget(t, a, 60);
    check(t);
    cr_expect_eq(engine_tree_match(t, a, 100), 60);
    cr_expect_eq(engine_tree_match(t, b, 100), 100, "in use");
    engine_tree_release(t, held);
    engine_tree_forget(t, b, 80);
    cr_expect_eq(engine_tree_match(t, b, 100), 80);
    engine_tree_forget(t, b, 10);
    check(t);
    cr_expect_eq(engine_tree_match(t, b, 100), 10);
    engine_tree_forget(t, a + 1, 10);
    cr_expect_eq(engine_tree_match(t, b, 100), 10, "an unknown sequence changes nothing");
    engine_tree_forget(t, NULL, 0);
    cr_expect_eq(counts(t).pages_used, 0);
    engine_tree_free(t);
}

Test(engine_tree, a_failed_copy_is_reported_and_leaves_the_tree_whole)
{
    engine_tree *t = open_tree(8);
    uint32_t a[12];
    fill(a, 12, 1);
    engine_node *base = computed(t, a, 10);
    engine_node *first = computed(t, a, 11);
    a[10] = 99;
    engine_node *second = acquire(t, a, 11);
    the_pool.fail = true;
    uint32_t granted = 0;
    pv_error err = {0};
    cr_expect_eq(engine_tree_reserve(t, second, 1, &granted, &err), PV_E_DEVICE);
    check(t);
    the_pool.fail = false;
    cr_expect_eq(compute(t, second, a, 1), 1);
    expect_content(second, a);
    engine_tree_release(t, first);
    engine_tree_release(t, second);
    engine_tree_release(t, base);
    check(t);
    engine_tree_free(t);
}

Test(engine_tree, a_thousand_branches_and_back_to_the_start)
{
    uint64_t live = pv_mem_live();
    engine_tree *t = open_tree(2048);
    static uint32_t path[1001];
    static engine_node *tips[1000];
    fill(path, 1001, 1);
    engine_node *base = computed(t, path, 1000);
    for (uint32_t i = 0; i < 1000; i++) {
        cr_assert_eq(engine_tree_tip(t, base, &tips[i], NULL), PV_OK);
        path[1000] = 5000 + i;
        cr_assert_eq(engine_tree_append(tips[i], path[1000], NULL), PV_OK);
        cr_assert_eq(compute(t, tips[i], path, 1), 1);
    }
    check(t);
    engine_tree_counts c = counts(t);
    cr_expect_eq(c.tokens_written, 1000 + 1000);
    cr_expect_eq(c.copies, 999);
    cr_expect_eq(c.pages_used, 16 + 999);
    for (uint32_t i = 0; i < 1000; i++) {
        path[1000] = 5000 + i;
        expect_content(tips[i], path);
        engine_tree_commit(t, tips[i]);
    }
    check(t);
    path[1000] = 5999;
    cr_expect_eq(engine_tree_match(t, path, 1001), 1001);
    engine_tree_release(t, base);
    engine_tree_forget(t, NULL, 0);
    check(t);
    cr_expect_eq(counts(t).pages_used, 0);
    engine_tree_free(t);
    cr_expect_eq(pv_mem_live(), live);
}

/* ---- Random sequences of calls ---- */

enum { HELD_MAX = 24, PATH_MAX_TOKENS = 400 };

typedef struct held {
    engine_node *node;
    uint32_t path[PATH_MAX_TOKENS];
    size_t len; /* of the path to the node's end */
} held;

typedef struct walk {
    engine_tree *t;
    held items[HELD_MAX];
    size_t count;
    uint32_t loose[8];
    size_t loose_count;
    uint64_t random;
} walk;

static uint32_t pick(walk *w, uint32_t n)
{
    w->random = pv_mix64(w->random);
    return (uint32_t)(w->random % n);
}

/* A path over few tokens in runs of few lengths, so that paths meet and part everywhere. */
static void random_path(walk *w, held *h)
{
    h->len = 0;
    if (w->count > 0 && pick(w, 2) == 0) {
        const held *from = &w->items[pick(w, (uint32_t)w->count)];
        h->len = pick(w, (uint32_t)from->len + 1);
        memcpy(h->path, from->path, h->len * sizeof *h->path);
    }
    size_t more = 1 + pick(w, pick(w, 3) == 0 ? 150 : 12);
    for (size_t i = 0; i < more && h->len < PATH_MAX_TOKENS - 50; i++) {
        h->path[h->len++] = pick(w, 8) == 0 ? pick(w, 3) : 0;
    }
}

static void walk_acquire(walk *w)
{
    if (w->count == HELD_MAX) {
        return;
    }
    held *h = &w->items[w->count];
    random_path(w, h);
    if (h->len > 0) {
        h->node = acquire(w->t, h->path, h->len);
        w->count++;
    }
}

static void walk_tip(walk *w)
{
    if (w->count == 0 || w->count == HELD_MAX) {
        return;
    }
    const held *base = &w->items[pick(w, (uint32_t)w->count)];
    if (base->node->is_tip || engine_tree_incomplete(base->node) != NULL) {
        return;
    }
    held *h = &w->items[w->count++];
    memcpy(h->path, base->path, base->len * sizeof *h->path);
    h->len = base->len;
    cr_assert_eq(engine_tree_tip(w->t, base->node, &h->node, NULL), PV_OK);
}

static void walk_grow(walk *w, held *h)
{
    uint32_t n = 1 + pick(w, 40);
    for (uint32_t i = 0; h->node->is_tip && i < n && h->len < PATH_MAX_TOKENS; i++) {
        h->path[h->len] = pick(w, 8) == 0 ? pick(w, 3) : 0;
        cr_assert_eq(engine_tree_append(h->node, h->path[h->len++], NULL), PV_OK);
    }
}

static void walk_release(walk *w)
{
    size_t i = pick(w, (uint32_t)w->count);
    held h = w->items[i];
    w->items[i] = w->items[--w->count];
    if (!h.node->is_tip) {
        engine_tree_release(w->t, h.node);
    } else if (pick(w, 4) == 0) {
        engine_tree_discard(w->t, h.node);
    } else {
        engine_tree_commit(w->t, h.node);
    }
}

static void walk_loose(walk *w)
{
    if (w->loose_count > 0 && pick(w, 2) == 0) {
        engine_tree_give_page(w->t, w->loose[--w->loose_count]);
    } else if (w->loose_count < 3) {
        uint32_t page = engine_tree_take_page(w->t);
        if (page != ENGINE_PAGE_NONE) {
            memset(the_pool.slots[page], 0, sizeof the_pool.slots[page]);
            w->loose[w->loose_count++] = page;
        }
    }
}

static void walk_compute(walk *w, const held *h)
{
    engine_node *at = engine_tree_incomplete(h->node);
    if (at != NULL) {
        (void)compute(w->t, at, h->path, 1 + pick(w, 90));
    }
}

static void walk_once(walk *w)
{
    uint32_t what = pick(w, 16);
    held *h = w->count > 0 ? &w->items[pick(w, (uint32_t)w->count)] : NULL;
    if (what < 3 || h == NULL) {
        walk_acquire(w);
    } else if (what < 5) {
        walk_tip(w);
    } else if (what < 7) {
        walk_grow(w, h);
    } else if (what < 11) {
        walk_compute(w, h);
    } else if (what < 14) {
        walk_release(w);
    } else if (what == 14) {
        engine_tree_forget(w->t, h->path, pick(w, (uint32_t)h->len + 1));
    } else {
        walk_loose(w);
    }
}

static void run_walk(uint64_t seed, uint32_t pages)
{
    static walk w;
    memset(&w, 0, sizeof w);
    w.random = seed;
    w.t = open_tree(pages);
    for (int i = 0; i < 1500; i++) {
        walk_once(&w);
        pv_error err = {0};
        cr_assert_eq(engine_tree_check(w.t, &err), PV_OK, "seed %lu, call %d: %s",
                     (unsigned long)seed, i, err.msg);
        for (size_t k = 0; k < w.count; k++) {
            cr_assert_eq(w.items[k].node->start + w.items[k].node->len, w.items[k].len);
            expect_content(w.items[k].node, w.items[k].path);
        }
    }
    while (w.count > 0) {
        walk_release(&w);
    }
    while (w.loose_count > 0) {
        engine_tree_give_page(w.t, w.loose[--w.loose_count]);
    }
    check(w.t);
    cr_assert_eq(counts(w.t).pages_locked, 0);
    engine_tree_forget(w.t, NULL, 0);
    cr_assert_eq(counts(w.t).pages_used, 0);
    engine_tree_free(w.t);
}

Test(engine_tree, random_calls_keep_contents_and_invariants, .timeout = 300)
{
    uint64_t live = pv_mem_live();
    for (uint64_t seed = 1; seed <= 60; seed++) {
        run_walk(seed, seed % 3 == 0 ? 12 : seed % 3 == 1 ? 40 : 600);
    }
    cr_assert_eq(pv_mem_live(), live);
}

static pv_status attempt(void *user, pv_error *err)
{
    (void)user;
    engine_tree *t = NULL;
    pv_status status = engine_tree_new(&t, 8, copy, &the_pool, err);
    if (status != PV_OK) {
        return status;
    }
    static const uint32_t a[6] = {1, 2, 3, 4, 5, 6};
    static const uint32_t b[6] = {1, 2, 3, 9, 9, 9};
    engine_node *n[3] = {NULL, NULL, NULL};
    uint32_t granted = 0;
    status = engine_tree_acquire(t, a, 6, &n[0], err);
    if (status == PV_OK) {
        status = engine_tree_reserve(t, n[0], 6, &granted, err);
        if (status == PV_OK) {
            engine_tree_wrote(t, n[0], 6);
            status = engine_tree_acquire(t, b, 6, &n[1], err);
        }
    }
    if (status == PV_OK) {
        status = engine_tree_tip(t, n[0], &n[2], err);
        if (status == PV_OK) {
            status = engine_tree_append(n[2], 7, err);
        }
        if (status == PV_OK) {
            status = engine_tree_reserve(t, n[2], 1, &granted, err);
        }
        if (status == PV_OK) {
            engine_tree_wrote(t, n[2], 1);
        }
    }
    if (n[2] != NULL) {
        engine_tree_commit(t, n[2]);
    }
    engine_tree_release(t, n[1]);
    engine_tree_release(t, n[0]);
    cr_assert_neq(engine_tree_check(t, NULL), PV_E_MISUSE);
    engine_tree_free(t);
    return status;
}

Test(engine_tree, every_allocation_may_fail)
{
    fixture_chaos(attempt, NULL);
}
