/* Whole forwards on small random models: the same bits alone, in a batch, in chunks, on other pages, with other thread
 * counts; and the agreements between arithmetics, instruction sets and forms of attention. Agreement with an outside
 * implementation is the golden tests' matter. */
#include "engine_backend.h"
#include "engine_synthetic.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

enum { VOCAB = 96, LENGTH = 150, PAGES = 64, SEQ_PAGES = 3 };

/* Sanitizers look at each access; which sums are made they need not see for every number of threads. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { THREADS_FIRST = 2, THREADS_LAST = 2 };
#else
enum { THREADS_FIRST = 1, THREADS_LAST = 3 };
#endif

static engine_config llama_config(void)
{
    engine_config c = {.arch = ENGINE_ARCH_LLAMA, .vocab_size = VOCAB, .hidden_size = 72};
    c.layers = 2;
    c.heads = 6;
    c.kv_heads = 2;
    c.head_dim = 20;
    c.intermediate_size = 100;
    c.max_positions = 256;
    c.norm_eps = 1e-6;
    c.attention_bias = true;
    c.rope = (engine_rope){.theta = 10000, .factor = 1, .original_positions = 256};
    return c;
}

static engine_config deepseek_config(void)
{
    engine_config c = llama_config();
    c.arch = ENGINE_ARCH_DEEPSEEK;
    c.attention_bias = false;
    c.layers = 3;
    c.hidden_size = 136;
    c.heads = c.kv_heads = 4;
    c.mla = (engine_mla){
        .q_lora_rank = 130, .kv_lora_rank = 132, .nope_dim = 24, .rope_dim = 8, .v_dim = 40};
    c.head_dim = 32;
    c.intermediate_size = 144;
    c.rope.kind = ENGINE_ROPE_YARN;
    c.rope.factor = 4;
    c.rope.beta_fast = 32;
    c.rope.beta_slow = c.rope.mscale = c.rope.mscale_all_dim = 1;
    c.rope.truncate = true;
    c.moe = (engine_moe){.routed = 8,
                         .shared = 1,
                         .per_token = 3,
                         .intermediate_size = 136,
                         .groups = 4,
                         .groups_kept = 2,
                         .first_dense = 1,
                         .layer_freq = 1,
                         .norm_topk = true,
                         .scale = 2.5,
                         .scoring = ENGINE_SCORING_SIGMOID,
                         .topk = ENGINE_TOPK_NOAUX};
    c.quant = (engine_quant){.fp8 = true, .block_rows = 64, .block_cols = 64};
    return c;
}

typedef struct subject {
    const char *name;
    bool mla;
    engine_dtype dtype;
} subject;

static const subject subjects[] = {
    {"llama f32", false, ENGINE_DTYPE_F32},     {"llama bf16", false, ENGINE_DTYPE_BF16},
    {"llama f16", false, ENGINE_DTYPE_F16},     {"deepseek f32", true, ENGINE_DTYPE_F32},
    {"deepseek bf16", true, ENGINE_DTYPE_BF16}, {"deepseek fp8", true, ENGINE_DTYPE_F8_E4M3},
};

enum { SUBJECTS = sizeof subjects / sizeof *subjects };

static engine_config config;
static engine_synthetic *model;
static engine_device *device;

static void open_model(const subject *s)
{
    pv_error err = {0};
    config = s->mla ? deepseek_config() : llama_config();
    cr_assert_eq(engine_synthetic_open(&model, &config, s->dtype, 7, &err), PV_OK, "%s", err.msg);
}

static void open_device(engine_backend_options o)
{
    pv_error err = {0};
    o.kv_pages = o.kv_pages == 0 ? PAGES : o.kv_pages;
    o.max_logit_rows = 512;
    cr_assert_eq(engine_backend_cpu()->open(&device, engine_synthetic_weights(model), &o, &err),
                 PV_OK, "%s", err.msg);
}

static void close_device(void)
{
    engine_backend_cpu()->close(device);
    device = NULL;
}

static uint32_t token_at(uint32_t seq, uint32_t i)
{
    return (seq * 29 + i * i * 7 + i * 3 + 1) % VOCAB;
}

/* Positions [start, start + rows) of sequence `seq` on its pages; logits of every row. */
static void run(uint32_t seq, const uint32_t *pages, uint32_t start, uint32_t rows, float *logits)
{
    uint32_t tokens[LENGTH];
    uint32_t which[LENGTH];
    for (uint32_t i = 0; i < rows; i++) {
        tokens[i] = token_at(seq, start + i);
        which[i] = i;
    }
    engine_batch_seq s = {pages, SEQ_PAGES, start, rows};
    engine_batch b = {tokens, rows, &s, 1, which, rows};
    pv_error err = {0};
    cr_assert_eq(engine_backend_cpu()->forward(device, &b, logits, &err), PV_OK, "%s", err.msg);
}

static const uint32_t pages_a[SEQ_PAGES] = {0, 1, 2};
static const uint32_t pages_b[SEQ_PAGES] = {9, 3, 30};
static float whole[LENGTH * VOCAB];
static float other[LENGTH * VOCAB];

static void expect_same(const char *name, const char *what)
{
    for (uint32_t i = 0; i < LENGTH * VOCAB; i++) {
        cr_assert(isfinite(whole[i]), "%s", name);
        cr_assert_eq(memcmp(&whole[i], &other[i], sizeof(float)), 0, "%s, %s: row %u", name, what,
                     i / VOCAB);
    }
}

static double distance(const float *a, const float *b, size_t n)
{
    double num = 0;
    double den = 0;
    for (size_t i = 0; i < n; i++) {
        num += pow((double)a[i] - (double)b[i], 2);
        den += pow((double)b[i], 2);
    }
    return sqrt(num / den);
}

Test(engine_cpu_model, chunks_pages_and_threads_do_not_change_a_bit, .timeout = 300)
{
    const uint32_t chunks[][6] = {{1, 63, 1, 1, 64, 20}, {70, 80, 0}, {64, 64, 22, 0}, {149, 1, 0}};
    for (int s = 0; s < SUBJECTS; s++) {
        open_model(&subjects[s]);
        open_device((engine_backend_options){.threads = 1});
        run(0, pages_a, 0, LENGTH, whole);
        close_device();
        for (uint32_t threads = THREADS_FIRST; threads <= THREADS_LAST; threads++) {
            open_device((engine_backend_options){.threads = threads});
            for (int c = 0; c < 4; c++) {
                uint32_t at = 0;
                for (int i = 0; i < 6 && at < LENGTH; i++) {
                    run(0, c % 2 == 0 ? pages_b : pages_a, at, chunks[c][i], other + at * VOCAB);
                    at += chunks[c][i];
                }
                expect_same(subjects[s].name, "chunks");
            }
            for (uint32_t i = 0; i < LENGTH; i++) {
                run(0, pages_b, i, 1, other + i * VOCAB);
            }
            expect_same(subjects[s].name, "decode");
            close_device();
        }
        engine_synthetic_close(model);
    }
}

/* Sequence 0 in the company of 15 others of other lengths and phases, prefill and decode mixed. */
Test(engine_cpu_model, company_does_not_change_a_bit, .timeout = 300)
{
    enum { SEQS = 16, CHUNK = 30 };

    static float batch_logits[512 * VOCAB];
    for (int s = 0; s < SUBJECTS; s++) {
        open_model(&subjects[s]);
        open_device((engine_backend_options){.threads = 2});
        run(0, pages_a, 0, LENGTH, whole);
        uint32_t pages[SEQS][SEQ_PAGES];
        for (uint32_t i = 0; i < SEQS * SEQ_PAGES; i++) {
            pages[i / SEQ_PAGES][i % SEQ_PAGES] = i * 7 % 48; /* 7 and 48 are coprime */
        }
        for (uint32_t step = 0; step < LENGTH / CHUNK; step++) {
            uint32_t tokens[512];
            uint32_t which[512];
            engine_batch_seq seqs[SEQS];
            uint32_t rows = 0;
            uint32_t mine = 0;
            for (uint32_t q = 0; q < SEQS; q++) {
                uint32_t id = (q + 3) % SEQS; /* sequence 0 is not the first */
                uint32_t n = id == 0 ? CHUNK : 1 + (id * 5 + step) % 20;
                uint32_t start = id == 0 ? step * CHUNK : step * 24;
                if (id == 0) {
                    mine = rows;
                }
                seqs[q] = (engine_batch_seq){pages[id], SEQ_PAGES, start, n};
                for (uint32_t i = 0; i < n; i++, rows++) {
                    tokens[rows] = token_at(id, start + i);
                    which[rows] = rows;
                }
            }
            engine_batch b = {tokens, rows, seqs, SEQS, which, rows};
            pv_error err = {0};
            /* the others' caches have gaps: their numbers do not matter, ours must not see them */
            cr_assert_eq(engine_backend_cpu()->forward(device, &b, batch_logits, &err), PV_OK, "%s",
                         err.msg);
            memcpy(other + step * CHUNK * VOCAB, batch_logits + mine * VOCAB,
                   CHUNK * VOCAB * sizeof(float));
        }
        expect_same(subjects[s].name, "batch of 16");
        close_device();
        engine_synthetic_close(model);
    }
}

Test(engine_cpu_model, copied_page_is_as_good_as_the_original, .timeout = 120)
{
    for (int s = 0; s < SUBJECTS; s++) {
        open_model(&subjects[s]);
        open_device((engine_backend_options){.threads = 2});
        run(0, pages_a, 0, LENGTH, whole);
        run(1, pages_b, 0, LENGTH, other); /* other contents where the copy will go */
        pv_error err = {0};
        const engine_backend *be = engine_backend_cpu();
        cr_assert_eq(be->copy_page(device, 3, 1, 20, &err), PV_OK);
        uint32_t fork[SEQ_PAGES] = {0, 3, 30};
        run(0, fork, 84, LENGTH - 84, other + 84 * VOCAB);
        memcpy(other, whole, 84 * VOCAB * sizeof(float));
        expect_same(subjects[s].name, "fork at token 84");
        cr_assert_eq(be->copy_page(device, PAGES, 1, 20, &err), PV_E_MISUSE);
        pv_error_clear(&err);
        cr_assert_eq(be->copy_page(device, 3, 1, 65, &err), PV_E_MISUSE);
        close_device();
        engine_synthetic_close(model);
    }
}

Test(engine_cpu_model, float32_arithmetic_has_the_same_bits_on_every_isa, .timeout = 300)
{
    for (int s = 0; s < SUBJECTS; s++) {
        open_model(&subjects[s]);
        for (int isa = ENGINE_ISA_SCALAR; isa <= ENGINE_ISA_AVX512_BF16; isa++) {
            if (isa > (int)engine_isa_detect()) {
                break;
            }
            open_device((engine_backend_options){.isa = (engine_isa)isa,
                                                 .precision = ENGINE_PRECISION_F32});
            run(0, pages_a, 0, LENGTH, isa == ENGINE_ISA_SCALAR ? whole : other);
            if (isa != ENGINE_ISA_SCALAR) {
                expect_same(subjects[s].name, engine_isa_text((engine_isa)isa));
            }
            close_device();
        }
        engine_synthetic_close(model);
    }
}

/* A row whose experts differ is far off by right, so the median row is compared. */
static double median_distance(void)
{
    double d[LENGTH];
    for (int i = 0; i < LENGTH; i++) {
        double x = distance(other + i * VOCAB, whole + i * VOCAB, VOCAB);
        int at = i;
        for (; at > 0 && d[at - 1] > x; at--) {
            d[at] = d[at - 1];
        }
        d[at] = x;
    }
    return d[LENGTH / 2];
}

Test(engine_cpu_model, fast_arithmetic_is_within_its_bound, .timeout = 120)
{
    for (int s = 0; s < SUBJECTS; s++) {
        open_model(&subjects[s]);
        open_device((engine_backend_options){.precision = ENGINE_PRECISION_F32});
        run(0, pages_a, 0, LENGTH, whole);
        close_device();
        open_device((engine_backend_options){0});
        run(0, pages_a, 0, LENGTH, other);
        close_device();
        engine_synthetic_close(model);
        double bound =
            subjects[s].dtype == ENGINE_DTYPE_F32 || subjects[s].dtype == ENGINE_DTYPE_F16 ? 1e-9
                                                                                           : 2e-2;
        cr_expect_lt(median_distance(), bound, "%s: %g", subjects[s].name, median_distance());
    }
}

Test(engine_cpu_model, naive_and_absorbed_attention_agree, .timeout = 120)
{
    for (int s = 0; s < SUBJECTS; s++) {
        if (!subjects[s].mla) {
            continue;
        }
        open_model(&subjects[s]);
        open_device((engine_backend_options){.precision = ENGINE_PRECISION_F32});
        run(0, pages_a, 0, LENGTH, whole);
        close_device();
        open_device((engine_backend_options){.precision = ENGINE_PRECISION_F32,
                                             .mla_form = ENGINE_MLA_NAIVE_PREFILL});
        run(0, pages_a, 0, 90, other);
        run(0, pages_a, 90, 10, other + 90 * VOCAB); /* too few rows: absorbed */
        run(0, pages_a, 100, 50, other + 100 * VOCAB);
        cr_expect_lt(median_distance(), 2e-5, "%s: %g", subjects[s].name, median_distance());
        close_device();
        engine_synthetic_close(model);
    }
}

Test(engine_cpu_model, refuses_bad_batches_and_leaves_the_cache_alone)
{
    open_model(&subjects[1]);
    open_device((engine_backend_options){.max_rows = 200});
    run(0, pages_a, 0, LENGTH, whole);
    uint32_t tokens[300] = {0};
    uint32_t row = 0;
    uint32_t far = 2;
    uint32_t bad_page[SEQ_PAGES] = {0, PAGES, 1};
    engine_batch_seq good = {pages_a, SEQ_PAGES, 0, 2};
    const engine_batch_seq bad[] = {
        {pages_a, SEQ_PAGES, 0, 0}, {pages_a, SEQ_PAGES, 0, 3},    {pages_a, SEQ_PAGES, 255, 2},
        {pages_a, 1, 63, 2},        {bad_page, SEQ_PAGES, 100, 2},
    };
    const engine_backend *be = engine_backend_cpu();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        pv_error err = {0};
        engine_batch b = {tokens, 2, &bad[i], 1, &row, 1};
        cr_expect_eq(be->forward(device, &b, other, &err), PV_E_MISUSE, "case %zu", i);
        cr_expect_neq(err.msg[0], 0);
    }
    engine_batch b = {tokens, 2, &good, 1, &far, 1};
    cr_expect_eq(be->forward(device, &b, other, NULL), PV_E_MISUSE, "logits of a row that is not");
    b.logit_rows = &row;
    cr_expect_eq(be->forward(device, &b, NULL, NULL), PV_E_MISUSE, "no room for logits");
    tokens[1] = VOCAB;
    cr_expect_eq(be->forward(device, &b, other, NULL), PV_E_MISUSE, "token out of range");
    tokens[1] = ENGINE_TOKEN_FROM_ROW(0);
    cr_expect_eq(be->forward(device, &b, other, NULL), PV_E_MISUSE, "drawn tokens need submit()");
    tokens[1] = 0;
    good.rows = b.rows = 201;
    cr_expect_eq(be->forward(device, &b, other, NULL), PV_E_LIMIT);
    run(0, pages_a, LENGTH - 1, 1, other);
    cr_expect_eq(memcmp(other, whole + (LENGTH - 1) * VOCAB, VOCAB * sizeof(float)), 0);
    close_device();
    engine_synthetic_close(model);
}

Test(engine_cpu_model, plan_open_and_close_keep_the_books)
{
    uint64_t live = pv_mem_live();
    for (int s = 0; s < SUBJECTS; s++) {
        open_model(&subjects[s]);
        const engine_backend *be = engine_backend_cpu();
        engine_backend_options o = {.kv_pages = 5, .max_rows = 32, .threads = 2};
        engine_memory plan;
        engine_memory now;
        pv_error err = {0};
        cr_assert_eq(be->plan(&plan, engine_synthetic_weights(model), &o, &err), PV_OK);
        uint64_t before = pv_mem_live();
        cr_assert_eq(be->open(&device, engine_synthetic_weights(model), &o, &err), PV_OK);
        be->memory(device, &now);
        uint64_t used = pv_mem_live() - before;
        cr_expect_eq(now.kv, plan.kv);
        cr_expect_eq(plan.kv, 5 * plan.kv_page);
        cr_expect_eq(plan.kv_page, 64 * plan.kv_token);
        cr_expect_eq(plan.kv_token, 4ULL * config.layers * engine_config_kv_values(&config));
        cr_expect_geq(used, plan.kv + plan.scratch);
        cr_expect_leq(used, plan.kv + plan.scratch + 100000);
        close_device();
        engine_synthetic_close(model);
    }
    cr_expect_eq(pv_mem_live(), live);
}

Test(engine_cpu_model, open_reports_short_memory_and_leaks_nothing, .timeout = 300)
{
    for (int s = 1; s < SUBJECTS; s += 3) {
        open_model(&subjects[s]);
        uint64_t live = pv_mem_live();
        engine_backend_options o = {.kv_pages = 2, .max_rows = 8, .threads = 2};
        pv_status status = PV_E_NOMEM;
        for (int64_t n = 0; status != PV_OK; n++) {
            pv_error err = {0};
            pv_mem_fail_after(n);
            status = engine_backend_cpu()->open(&device, engine_synthetic_weights(model), &o, &err);
            pv_mem_fail_after(-1);
            cr_assert(status == PV_OK || status == PV_E_NOMEM);
            cr_assert(status == PV_OK || (err.msg[0] != 0 && pv_mem_live() == live));
        }
        close_device();
        cr_assert_eq(pv_mem_live(), live);
        engine_synthetic_close(model);
    }
}

Test(engine_cpu_model, options_out_of_range_are_refused)
{
    open_model(&subjects[0]);
    const engine_backend_options bad[] = {
        {.max_rows = 1u << 20}, {.threads = 5000}, {.precision = (engine_precision)9}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cr_expect_eq(
            engine_backend_cpu()->open(&device, engine_synthetic_weights(model), &bad[i], NULL),
            PV_E_INVALID);
    }
    engine_synthetic_close(model);
}
