/* Parts of a model: that they cover it once, begin where they may, and are refused where they cannot be. */
#include "engine_shard.h"
#include "engine_synthetic.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <string.h>

/* The 671B model; one dense layer and one of experts are enough. */
static engine_config large_deepseek(void)
{
    return (engine_config){.arch = ENGINE_ARCH_DEEPSEEK,
                           .vocab_size = 129280,
                           .hidden_size = 7168,
                           .layers = 2,
                           .heads = 128,
                           .kv_heads = 128,
                           .head_dim = 192,
                           .intermediate_size = 18432,
                           .max_positions = 4096,
                           .norm_eps = 1e-6,
                           .rope = {.theta = 10000, .factor = 1},
                           .mla = {1536, 512, 128, 64, 128},
                           .moe = {.routed = 256,
                                   .shared = 1,
                                   .per_token = 8,
                                   .intermediate_size = 2048,
                                   .groups = 8,
                                   .groups_kept = 4,
                                   .first_dense = 1,
                                   .layer_freq = 1,
                                   .norm_topk = true,
                                   .scale = 2.5,
                                   .scoring = ENGINE_SCORING_SIGMOID,
                                   .topk = ENGINE_TOPK_NOAUX},
                           .quant = {.fp8 = true, .block_rows = 128, .block_cols = 128}};
}

static engine_config llama_7b(void)
{
    return (engine_config){.arch = ENGINE_ARCH_LLAMA,
                           .vocab_size = 102400,
                           .hidden_size = 4096,
                           .layers = 1,
                           .heads = 32,
                           .kv_heads = 32,
                           .head_dim = 128,
                           .intermediate_size = 11008,
                           .max_positions = 4096,
                           .norm_eps = 1e-6,
                           .rope = {.theta = 10000, .factor = 1}};
}

static engine_config small_llama(void)
{
    engine_config c = llama_7b();
    c.vocab_size = 70;
    c.hidden_size = 32;
    c.layers = 2;
    c.heads = 8;
    c.kv_heads = 4;
    c.head_dim = 8;
    c.intermediate_size = 40;
    c.attention_bias = true;
    return c;
}

static engine_shard make(const engine_synthetic *model, uint32_t rank, uint32_t ranks)
{
    engine_shard s;
    pv_error err = {0};
    cr_assert_eq(engine_shard_make(&s, engine_synthetic_weights(model), rank, ranks, &err), PV_OK,
                 "%s", err.msg);
    return s;
}

Test(engine_shard, ranges_cover_everything_once)
{
    for (uint32_t n = 1; n < 300; n += 7) {
        for (uint32_t unit = 1; unit <= 128; unit *= 8) {
            for (uint32_t ranks = 1; ranks <= ENGINE_RANKS_MAX; ranks++) {
                uint32_t next = 0, most = 0, least = UINT32_MAX;
                for (uint32_t r = 0; r < ranks; r++) {
                    engine_range part = engine_shard_range(n, unit, r, ranks);
                    cr_assert_eq(part.first, next);
                    cr_assert(part.count == 0 || part.first % unit == 0);
                    next += part.count;
                    most = part.count > most ? part.count : most;
                    least = part.count < least ? part.count : least;
                }
                cr_assert_eq(next, n);
                cr_assert_lt(most - least, 2 * unit);
            }
        }
    }
}

/* engine.md's figures for the 671B model on 8 GPUs. */
Test(engine_shard, large_deepseek_on_eight)
{
    uint64_t live = pv_mem_live();
    engine_config config = large_deepseek();
    engine_synthetic *model = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_shapes(&model, &config, ENGINE_DTYPE_F8_E4M3, &err), PV_OK);
    const engine_weights *whole = engine_synthetic_weights(model);
    for (uint32_t rank = 0; rank < 8; rank++) {
        engine_shard s = make(model, rank, 8);
        const engine_layer *dense = &s.weights.layers[0];
        const engine_layer *moe = &s.weights.layers[1];
        cr_expect_eq(s.config.heads, 16);
        cr_expect_eq(s.config.kv_heads, 16);
        cr_expect_eq(s.config.intermediate_size, 2304);
        cr_expect_eq(s.config.moe.routed, 256);
        cr_expect_eq(s.experts.first, 32 * rank);
        cr_expect_eq(s.experts.count, 32);
        cr_expect_eq(moe->experts, whole->layers[1].experts + s.experts.first);
        cr_expect_eq(dense->q_b.rows, 3072);
        cr_expect_eq(dense->q_b.scale_rows, 24);
        cr_expect_eq(dense->kv_b.rows, 4096);
        cr_expect_eq(dense->o.rows, 7168);
        cr_expect_eq(dense->o.cols, 2048);
        cr_expect_eq(dense->o.pitch, 16384);
        cr_expect_eq(dense->o.scale_cols, 16);
        cr_expect_eq(dense->o.scale_pitch, 128);
        cr_expect_eq((const char *)dense->o.data - (const char *)whole->layers[0].o.data,
                     2048 * (long)rank);
        cr_expect_eq(dense->o.scale - whole->layers[0].o.scale, 16 * (long)rank);
        cr_expect_eq(dense->mlp.gate.rows, 2304);
        cr_expect_eq(dense->mlp.down.cols, 2304);
        cr_expect_eq(dense->mlp.down.scale_cols, 18);
        cr_expect_eq(moe->shared.up.rows, 256);
        cr_expect_eq(moe->shared.down.cols, 256);
        cr_expect_eq(dense->q_a.rows, 1536, "replicated");
        cr_expect_eq(dense->kv_a.rows, 576);
        cr_expect_eq(moe->router.rows, 256);
        cr_expect_eq(s.weights.embed.rows, 129280);
        cr_expect_eq(s.weights.lm_head.rows, s.words[rank].count);
        cr_expect_eq(s.words[rank].first % 128, 0);
        cr_expect_eq(s.words[7].first + s.words[7].count, 129280);
        engine_shard_release(&s);
    }
    engine_synthetic_close(model);
    cr_assert_eq(pv_mem_live(), live);
}

/* 11,008 = 86 x 128: four GPUs have 22, 22, 21 and 21 blocks. */
Test(engine_shard, uneven_blocks)
{
    engine_config config = llama_7b();
    engine_synthetic *model = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_shapes(&model, &config, ENGINE_DTYPE_BF16, &err), PV_OK);
    const uint32_t blocks[] = {22, 22, 21, 21};
    for (uint32_t rank = 0; rank < 4; rank++) {
        engine_shard s = make(model, rank, 4);
        cr_expect_eq(s.config.intermediate_size, 128 * blocks[rank]);
        cr_expect_eq(s.weights.layers[0].mlp.down.cols, 128 * blocks[rank]);
        cr_expect_eq(s.weights.layers[0].k.rows, 1024);
        engine_shard_release(&s);
    }
    engine_synthetic_close(model);
}

/* Every number of a matrix is in exactly one part: their products add up. */
static double product(const engine_view *v, const float *x, uint32_t row)
{
    size_t pitch = v->pitch == 0 ? v->cols : v->pitch;
    double sum = 0;
    for (uint32_t c = 0; c < v->cols; c++) {
        sum += (double)((const float *)v->data)[row * pitch + c] * (double)x[c];
    }
    return sum;
}

Test(engine_shard, parts_add_up)
{
    enum { RANKS = 4 };

    engine_config config = small_llama();
    engine_synthetic *model = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_open(&model, &config, ENGINE_DTYPE_F32, 5, &err), PV_OK);
    const engine_layer *whole = &engine_synthetic_weights(model)->layers[1];
    engine_shard s[RANKS];
    float x[64];
    for (uint32_t i = 0; i < 64; i++) {
        x[i] = (float)i - 20.5f;
    }
    for (uint32_t r = 0; r < RANKS; r++) {
        s[r] = make(model, r, RANKS);
    }
    for (uint32_t row = 0; row < config.hidden_size; row++) {
        double down = 0, o = 0;
        for (uint32_t r = 0, at = 0; r < RANKS; r++) {
            const engine_layer *part = &s[r].weights.layers[1];
            down += product(&part->mlp.down, x + at, row);
            o += product(&part->o, x + part->o.cols * r, row);
            at += part->mlp.down.cols;
        }
        cr_assert_float_eq(down, product(&whole->mlp.down, x, row), 1e-9);
        cr_assert_float_eq(o, product(&whole->o, x, row), 1e-9);
    }
    for (uint32_t r = 0, q = 0, k = 0, gate = 0; r < RANKS; r++) {
        const engine_layer *part = &s[r].weights.layers[1];
        for (uint32_t i = 0; i < part->q.rows; i++, q++) {
            cr_assert_float_eq(product(&part->q, x, i), product(&whole->q, x, q), 0);
            cr_assert_eq(((const float *)part->q_bias.data)[i],
                         ((const float *)whole->q_bias.data)[q]);
        }
        for (uint32_t i = 0; i < part->k.rows; i++, k++) {
            cr_assert_eq(((const float *)part->k_bias.data)[i],
                         ((const float *)whole->k_bias.data)[k]);
        }
        for (uint32_t i = 0; i < part->mlp.gate.rows; i++, gate++) {
            cr_assert_float_eq(product(&part->mlp.gate, x, i), product(&whole->mlp.gate, x, gate),
                               0);
        }
        cr_expect_eq(part->o_bias.data != NULL, r == 0, "added once");
        cr_expect_eq(q, whole->q.rows / RANKS * (r + 1));
        engine_shard_release(&s[r]);
    }
    engine_synthetic_close(model);
}

static void expect_refused(engine_config config, uint32_t ranks, pv_status want, const char *text)
{
    uint64_t live = pv_mem_live();
    engine_synthetic *model = NULL;
    engine_shard s;
    pv_error err = {0};
    engine_dtype dtype = config.quant.fp8 ? ENGINE_DTYPE_F8_E4M3 : ENGINE_DTYPE_BF16;
    cr_assert_eq(engine_synthetic_shapes(&model, &config, dtype, &err), PV_OK);
    const engine_weights *w = engine_synthetic_weights(model);
    cr_expect_eq(engine_shard_make(&s, w, ranks > 1, ranks, &err), want, "%s", err.msg);
    cr_expect_not_null(strstr(err.msg, text), "%s", err.msg);
    engine_synthetic_close(model);
    cr_assert_eq(pv_mem_live(), live);
}

Test(engine_shard, what_does_not_divide_is_refused_with_figures)
{
    engine_config c = llama_7b();
    expect_refused(c, 0, PV_E_INVALID, "on 0 GPUs");
    expect_refused(c, 9, PV_E_INVALID, "on 9 GPUs");
    expect_refused(c, 3, PV_E_UNSUPPORTED, "32 heads with keys of 32 do not divide among 3");
    c.kv_heads = 2;
    expect_refused(c, 4, PV_E_UNSUPPORTED, "keys of 2 do not divide among 4");
    c = large_deepseek();
    c.moe.routed = c.moe.groups = c.moe.groups_kept = 4;
    c.moe.per_token = 2;
    expect_refused(c, 8, PV_E_UNSUPPORTED, "4 experts do not divide among 8");
    c = large_deepseek();
    c.moe.intermediate_size = 512;
    expect_refused(c, 8, PV_E_UNSUPPORTED, "512 in blocks of 128 does not divide among 8");
    c = large_deepseek();
    c.heads = c.kv_heads = 8;
    expect_refused(c, 8, PV_E_UNSUPPORTED, "row 192, inside a block of 128");
}

Test(engine_shard, short_memory)
{
    engine_config config = llama_7b();
    engine_synthetic *model = NULL;
    engine_shard s;
    pv_error err = {0};
    cr_assert_eq(engine_synthetic_shapes(&model, &config, ENGINE_DTYPE_BF16, &err), PV_OK);
    pv_mem_fail_after(0);
    pv_status status = engine_shard_make(&s, engine_synthetic_weights(model), 0, 2, &err);
    pv_mem_fail_after(-1);
    cr_expect_eq(status, PV_E_NOMEM);
    engine_synthetic_close(model);
}
