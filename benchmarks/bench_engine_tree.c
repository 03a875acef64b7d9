/* What the prefix tree and the scheduler cost, and what they save.
 *
 *   bench_engine_tree
 *
 * 1. A thousand branches over one prefix of a thousand tokens, on the cpu backend with a small synthetic model: tokens
 *    computed against the floor (each token of the prefix once, each branch's own once), the time, and the share of it
 *    that is not the model.
 * 2. Operations of the tree alone, a second each.
 * 3. The sampler on a row of 129,280 logits, against one pass over the same memory. */
#include "engine.h"
#include "engine_random.h"
#include "engine_synthetic.h"
#include "engine_tree.h"
#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { BRANCHES = 1000, PREFIX = 1000, GENERATE = 8, VOCAB = 512 };

static void check(pv_status status, const pv_error *err)
{
    if (status != PV_OK) {
        fprintf(stderr, "%s\n", err->msg);
        exit(1);
    }
}

/* ---- 1. Branches ---- */

static uint64_t model_ns;

static pv_status timed_forward(engine_device *d, const engine_batch *b, float *logits,
                               pv_error *err)
{
    uint64_t start = pv_clock_ns();
    pv_status status = engine_backend_cpu()->forward(d, b, logits, err);
    model_ns += pv_clock_ns() - start;
    return status;
}

static void on_done(void *user, const engine_result *r)
{
    *(uint64_t *)user += r->token_count;
}

static engine_config small_config(void)
{
    engine_config c = {0};
    c.arch = ENGINE_ARCH_LLAMA;
    c.vocab_size = VOCAB;
    c.hidden_size = 64;
    c.layers = 2;
    c.heads = c.kv_heads = 4;
    c.head_dim = 16;
    c.intermediate_size = 128;
    c.max_positions = 2048;
    c.norm_eps = 1e-6;
    c.rope.theta = 10000;
    c.rope.factor = 1;
    c.rope.original_positions = 2048;
    return c;
}

static void submit_branches(engine *e, uint64_t *tokens)
{
    static uint32_t prefix[PREFIX + 2];
    for (uint32_t i = 0; i < PREFIX; i++) {
        prefix[i] = (uint32_t)(pv_mix64(i) % VOCAB);
    }
    for (uint32_t i = 0; i < BRANCHES; i++) {
        prefix[PREFIX] = i % VOCAB;
        prefix[PREFIX + 1] = i / VOCAB;
        engine_request r = {0};
        r.prefix = prefix;
        r.prefix_len = PREFIX + 2;
        r.max_tokens = GENERATE;
        r.sampling.temperature = 1;
        r.ignore_eos = true;
        r.key = i;
        r.on_done = on_done;
        r.user = tokens;
        pv_error err = {0};
        check(engine_submit(e, &r, NULL, &err), &err);
    }
}

static void report_branches(const engine *e, uint64_t tokens, uint64_t ns)
{
    engine_stats s;
    engine_stats_get(e, &s);
    uint64_t first =
        BRANCHES < VOCAB ? BRANCHES : VOCAB; /* first tokens of branches: some are alike */
    uint64_t floor_ = PREFIX + first + BRANCHES + (uint64_t)BRANCHES * (GENERATE - 1);
    uint64_t unshared = (uint64_t)BRANCHES * (PREFIX + 2 + GENERATE - 1);
    printf("branches: %d over a prefix of %d tokens, %d tokens drawn from each\n", BRANCHES, PREFIX,
           GENERATE);
    printf("  tokens computed     %8llu   floor %llu (%.4f of it); without sharing %llu\n",
           (unsigned long long)s.tokens_computed, (unsigned long long)floor_,
           (double)s.tokens_computed / (double)floor_, (unsigned long long)unshared);
    printf("  rows run again      %8llu   pages at most %u, copied in part %llu, steps %llu\n",
           (unsigned long long)s.tokens_again, s.pages_peak, (unsigned long long)s.copies,
           (unsigned long long)s.steps);
    printf("  time                %8.1f ms for %llu drawn tokens; the model %.1f ms, the rest %.1f "
           "ms\n",
           (double)ns / 1e6, (unsigned long long)tokens, (double)model_ns / 1e6,
           (double)(ns - model_ns) / 1e6);
    printf("  beside the model    %8.2f us a row, the sampling from %d logits in it\n",
           (double)(ns - model_ns) / 1e3 / (double)s.rows, VOCAB);
}

static void bench_branches(void)
{
    engine_model m = {0};
    m.config = small_config();
    engine_synthetic *synthetic = NULL;
    pv_error err = {0};
    check(engine_synthetic_open(&synthetic, &m.config, ENGINE_DTYPE_BF16, 1, &err), &err);
    m.weights = *engine_synthetic_weights(synthetic);
    engine_backend timed = *engine_backend_cpu();
    timed.forward = timed_forward;
    engine_options o = {0};
    o.backend.kv_pages = 2600;
    o.backend.max_logit_rows = 256;
    engine *e = NULL;
    check(engine_open(&e, &m, &timed, &o, &err), &err);
    uint64_t tokens = 0;
    uint64_t start = pv_clock_ns();
    submit_branches(e, &tokens);
    for (bool busy = true; busy;) {
        check(engine_step(e, &busy, &err), &err);
    }
    report_branches(e, tokens, pv_clock_ns() - start);
    engine_stats s;
    engine_forget(e, NULL, 0);
    engine_stats_get(e, &s);
    printf("  after forget        %8u pages in use\n", s.pages_used);
    engine_close(e);
    engine_synthetic_close(synthetic);
}

/* ---- 2. The tree ---- */

static pv_status no_copy(void *user, uint32_t to, uint32_t from, uint32_t tokens, pv_error *err)
{
    (void)user;
    (void)to;
    (void)from;
    (void)tokens;
    (void)err;
    return PV_OK;
}

static void compute(engine_tree *t, engine_node *n)
{
    uint32_t want = (uint32_t)n->len - n->computed;
    uint32_t granted = 0;
    pv_error err = {0};
    check(engine_tree_reserve(t, n, want, &granted, &err), &err);
    engine_tree_wrote(t, n, granted);
}

typedef struct tree_bench {
    engine_tree *t;
    engine_node *base;
    uint32_t path[PREFIX + 1];
    uint64_t random;
} tree_bench;

/* A fork at a random token, its own token computed, and gone again into the cache. */
static void fork_anywhere(tree_bench *b)
{
    b->random = pv_mix64(b->random);
    uint32_t at = 1 + (uint32_t)(b->random % (PREFIX - 1));
    uint32_t kept = b->path[at];
    b->path[at] = 1000000 + (uint32_t)(b->random >> 40);
    engine_node *n = NULL;
    pv_error err = {0};
    check(engine_tree_acquire(b->t, b->path, at + 1, &n, &err), &err);
    if (engine_tree_incomplete(n) != NULL) {
        compute(b->t, n);
    }
    engine_tree_release(b->t, n);
    b->path[at] = kept;
}

/* A branch of eight tokens at the prefix's end, as a sample makes one. */
static void branch(tree_bench *b)
{
    engine_node *tip = NULL;
    pv_error err = {0};
    check(engine_tree_tip(b->t, b->base, &tip, &err), &err);
    for (uint32_t i = 0; i < GENERATE; i++) {
        b->random = pv_mix64(b->random);
        check(engine_tree_append(tip, (uint32_t)(b->random >> 32), &err), &err);
        compute(b->t, tip);
    }
    engine_tree_commit(b->t, tip);
}

static void look_up(tree_bench *b)
{
    if (engine_tree_match(b->t, b->path, PREFIX) != PREFIX) {
        abort();
    }
}

static void time_op(const char *what, tree_bench *b, void (*op)(tree_bench *))
{
    uint64_t start = pv_clock_ns();
    uint64_t n = 0;
    uint64_t ns = 0;
    do {
        for (int i = 0; i < 64; i++, n++) {
            op(b);
        }
        ns = pv_clock_ns() - start;
    } while (ns < 1000000000u);
    printf("  %-46s %9.0f a second, %7.2f us each\n", what, (double)n * 1e9 / (double)ns,
           (double)ns / 1e3 / (double)n);
}

static void bench_tree(void)
{
    static tree_bench b;
    pv_error err = {0};
    check(engine_tree_new(&b.t, 4096, no_copy, NULL, &err), &err);
    for (uint32_t i = 0; i < PREFIX; i++) {
        b.path[i] = (uint32_t)(pv_mix64(i) % VOCAB);
    }
    check(engine_tree_acquire(b.t, b.path, PREFIX, &b.base, &err), &err);
    compute(b.t, b.base);
    printf("tree: %d pages, all used after a while: the rates hold eviction\n", 4096);
    time_op("look up 1,000 tokens in one node", &b, look_up);
    time_op("branch: tip, 8 tokens one by one, commit", &b, branch);
    time_op("fork at a random token of 1,000, compute one", &b, fork_anywhere);
    time_op("look up 1,000 tokens over all forks", &b, look_up);
    engine_tree_free(b.t);
}

/* ---- 3. The sampler ---- */

static void bench_sampling(const char *what, engine_sampler *s, const float *logits,
                           engine_sampling p)
{
    enum { ROUNDS = 200 };

    pv_error err = {0};
    uint64_t sum = 0;
    uint64_t start = pv_clock_ns();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        check(engine_sampler_load(s, logits, &p, &err), &err);
        sum += engine_sampler_draw(s, engine_uniform(1, i)).token;
    }
    printf("  %-32s %8.1f us a row (kept %u, check %llu)\n", what,
           (double)(pv_clock_ns() - start) / 1e3 / ROUNDS, s->kept,
           (unsigned long long)(sum % 1000));
}

static void bench_pass(const float *logits, uint32_t n)
{
    enum { ROUNDS = 500 };

    volatile float sink = 0;
    uint64_t start = pv_clock_ns();
    for (uint32_t i = 0; i < ROUNDS; i++) {
        float greatest = logits[i];
        for (uint32_t k = 0; k < n; k++) {
            greatest = logits[k] > greatest ? logits[k] : greatest;
        }
        sink = sink + greatest;
    }
    printf("  %-32s %8.1f us a row\n", "one pass (the greatest)",
           (double)(pv_clock_ns() - start) / 1e3 / ROUNDS);
}

static void bench_sampler(void)
{
    enum { V3_VOCAB = 129280 };

    float *logits = pv_malloc(V3_VOCAB * sizeof *logits);
    engine_sampler s;
    pv_error err = {0};
    check(logits != NULL ? PV_OK : PV_E_NOMEM, &err);
    check(engine_sampler_init(&s, V3_VOCAB, &err), &err);
    for (uint32_t i = 0; i < V3_VOCAB;
         i++) { /* about normal, spread 2.5: a few hundred tokens matter */
        float x = 0;
        for (uint32_t k = 0; k < 12; k++) {
            x += (float)(pv_mix64(i * 12ull + k) >> 40) * 0x1p-24f;
        }
        logits[i] = (x - 6) * 2.5f;
    }
    printf("sampler: %d logits\n", V3_VOCAB);
    bench_pass(logits, V3_VOCAB);
    bench_sampling("greedy, log-probability", &s, logits, (engine_sampling){0, 0, 0, 0});
    bench_sampling("temperature 1", &s, logits, (engine_sampling){1, 0, 0, 0});
    bench_sampling("temperature 1, top-p 0.95", &s, logits, (engine_sampling){1, 0, 0.95f, 0});
    bench_sampling("temperature 0.6, top-k 50", &s, logits, (engine_sampling){0.6f, 50, 0, 0});
    engine_sampler_release(&s);
    pv_free(logits);
}

int main(void)
{
    bench_branches();
    bench_tree();
    bench_sampler();
    return 0;
}
