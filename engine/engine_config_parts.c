/* The nested parts of config.json: rotary embedding, quantisation, token ids. */
#include "engine_config_internal.h"

#include <string.h>

enum { POSITIONS_MAX = 1 << 28, BLOCK_MAX = 1 << 16 };

static void read_rope_kind(engine_rope *p, enginep_reader *r)
{
    const char *newer = enginep_read_text(r, "rope_type", NULL);
    const char *older = enginep_read_text(r, "type", NULL);
    if (newer != NULL && older != NULL && strcmp(newer, older) != 0) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"rope_type\" is \"%.64s\" and \"type\" is \"%.64s\"; make them agree",
                            newer, older);
    }
    const char *kind = newer != NULL ? newer : older != NULL ? older : "default";
    if (strcmp(kind, "default") == 0) {
        p->kind = ENGINE_ROPE_PLAIN;
        return;
    }
    for (int i = ENGINE_ROPE_LINEAR; i <= ENGINE_ROPE_YARN; i++) {
        if (strcmp(kind, engine_rope_text((engine_rope_kind)i)) == 0) {
            p->kind = (engine_rope_kind)i;
            return;
        }
    }
    enginep_reader_fail(r, PV_E_UNSUPPORTED,
                        "\"rope_type\" is \"%.64s\"; known are \"default\", \"linear\", "
                        "\"dynamic\", \"llama3\" and \"yarn\"",
                        kind);
}

static void read_yarn(engine_rope *p, enginep_reader *r)
{
    p->beta_fast = enginep_read_real(r, "beta_fast", 1e-3, 1e6, 32);
    p->beta_slow = enginep_read_real(r, "beta_slow", 1e-3, 1e6, 1);
    p->mscale = enginep_read_real(r, "mscale", 0, 100, 0);
    p->mscale_all_dim = enginep_read_real(r, "mscale_all_dim", 0, 100, 0);
    p->attention_factor = enginep_read_real(r, "attention_factor", 1e-6, 1e6, 0);
    p->truncate = enginep_read_bool(r, "truncate", true);
    if (p->beta_fast < p->beta_slow) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"beta_fast\" is %g and \"beta_slow\" is %g; the first must not be "
                            "smaller",
                            p->beta_fast, p->beta_slow);
    }
}

static void read_llama3(engine_rope *p, enginep_reader *r, bool has_original)
{
    p->low_freq_factor = enginep_read_real(r, "low_freq_factor", 1e-6, 1e6, 0);
    p->high_freq_factor = enginep_read_real(r, "high_freq_factor", 1e-6, 1e6, 0);
    if (!has_original || !(p->low_freq_factor > 0 && p->high_freq_factor > p->low_freq_factor)) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"llama3\" needs \"original_max_position_embeddings\" and "
                            "\"low_freq_factor\" (%g) below \"high_freq_factor\" (%g)",
                            p->low_freq_factor, p->high_freq_factor);
    }
}

/* Fills *p from a rope_scaling or rope_parameters object. */
static pv_status read_rope_object(engine_config *c, const json_t *object, const char *where,
                                  const char *prefix, engine_rope *p, pv_error *err)
{
    enginep_reader r;
    enginep_reader_init(&r, object, where, err);
    read_rope_kind(p, &r);
    p->theta = enginep_read_real(&r, "rope_theta", 1, 1e12, p->theta);
    if (enginep_read_real(&r, "partial_rotary_factor", 0, 1, 1) < 1) {
        enginep_reader_fail(&r, PV_E_UNSUPPORTED,
                            "\"partial_rotary_factor\" is below 1; only 1 is supported");
    }
    if (p->kind != ENGINE_ROPE_PLAIN) {
        p->factor = enginep_read_real(&r, "factor", 1, 1e6, 0);
        uint32_t original =
            enginep_read_u32(&r, "original_max_position_embeddings", 1, POSITIONS_MAX, 0);
        if (p->factor < 1) {
            enginep_reader_fail(&r, PV_E_INVALID, "field \"factor\" is missing; add it");
        }
        if (p->kind == ENGINE_ROPE_YARN) {
            read_yarn(p, &r);
        } else if (p->kind == ENGINE_ROPE_LLAMA3) {
            read_llama3(p, &r, original != 0);
        }
        p->original_positions = original == 0 ? p->original_positions : original;
    }
    return r.status != PV_OK ? r.status : enginep_config_report_unknown(c, &r, prefix);
}

static bool same_rope(const engine_rope *a, const engine_rope *b)
{
    return a->kind == b->kind && a->theta == b->theta && a->factor == b->factor &&
           a->original_positions == b->original_positions && a->beta_fast == b->beta_fast &&
           a->beta_slow == b->beta_slow && a->mscale == b->mscale &&
           a->mscale_all_dim == b->mscale_all_dim && a->attention_factor == b->attention_factor &&
           a->truncate == b->truncate && a->low_freq_factor == b->low_freq_factor &&
           a->high_freq_factor == b->high_freq_factor;
}

void enginep_config_read_rope(engine_config *c, enginep_reader *r)
{
    double theta = enginep_read_real(r, "rope_theta", 1, 1e12, 10000);
    engine_rope plain = {.theta = theta, .factor = 1, .original_positions = c->max_positions};
    c->rope = plain;
    const json_t *older = enginep_read_object(r, "rope_scaling");
    const json_t *newer = enginep_read_object(r, "rope_parameters");
    if (r->status == PV_OK && older != NULL) {
        r->status = read_rope_object(c, older, "config.json: rope_scaling", "rope_scaling.",
                                     &c->rope, r->err);
    }
    if (r->status == PV_OK && newer != NULL) {
        engine_rope p = plain;
        r->status = read_rope_object(c, newer, "config.json: rope_parameters", "rope_parameters.",
                                     &p, r->err);
        if (older != NULL && !same_rope(&p, &c->rope)) {
            enginep_reader_fail(r, PV_E_INVALID,
                                "\"rope_scaling\" and \"rope_parameters\" disagree; keep one");
        }
        c->rope = p;
    }
    if (theta != c->rope.theta && json_is_number(json_object_get(r->object, "rope_theta"))) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "\"rope_theta\" is %g, and %g where the scaling is given; keep one",
                            theta, c->rope.theta);
    }
}

static void read_block_size(engine_quant *q, enginep_reader *r)
{
    const json_t *size = enginep_read_array(r, "weight_block_size");
    json_int_t rows = json_integer_value(json_array_get(size, 0));
    json_int_t cols = json_integer_value(json_array_get(size, 1));
    if (json_array_size(size) != 2 || rows < 1 || rows > BLOCK_MAX || cols < 1 ||
        cols > BLOCK_MAX) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "field \"weight_block_size\" must be two integers from 1 to %d, such "
                            "as [128, 128]",
                            BLOCK_MAX);
        return;
    }
    q->block_rows = (uint32_t)rows;
    q->block_cols = (uint32_t)cols;
}

static void read_choice(enginep_reader *r, const char *name, const char *only)
{
    const char *text = enginep_read_text(r, name, only);
    if (strcmp(text, only) != 0) {
        enginep_reader_fail(r, PV_E_UNSUPPORTED, "field \"%s\" is \"%.64s\"; only \"%s\" is read",
                            name, text, only);
    }
}

void enginep_config_read_quant(engine_config *c, enginep_reader *outer)
{
    const json_t *object = enginep_read_object(outer, "quantization_config");
    if (object == NULL || outer->status != PV_OK) {
        return;
    }
    enginep_reader r;
    enginep_reader_init(&r, object, "config.json: quantization_config", outer->err);
    if (enginep_read_text(&r, "quant_method", NULL) == NULL) {
        enginep_reader_fail(&r, PV_E_INVALID, "field \"quant_method\" is missing; add it");
    }
    read_choice(&r, "quant_method", "fp8");
    read_choice(&r, "fmt", "e4m3");
    read_choice(&r, "activation_scheme", "dynamic");
    read_block_size(&c->quant, &r);
    const char *scale = enginep_read_text(&r, "scale_fmt", "float");
    if (strcmp(scale, "float") != 0 && strcmp(scale, "ue8m0") != 0) {
        enginep_reader_fail(&r, PV_E_UNSUPPORTED,
                            "field \"scale_fmt\" is \"%.64s\"; known are \"float\" and \"ue8m0\"",
                            scale);
    }
    c->quant.fp8 = true;
    c->quant.scale_pow2 = scale[0] == 'u';
    /* Which matrices are quantised is read from their dtypes, so the exceptions need no list. */
    static const char *const ignored[] = {"modules_to_not_convert", "ignored_layers", NULL};
    enginep_read_ignored(&r, ignored);
    outer->status =
        r.status != PV_OK ? r.status : enginep_config_report_unknown(c, &r, "quantization_config.");
}

static void add_eos(engine_config *c, enginep_reader *r, const json_t *value)
{
    json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
    if (id < 0 || id >= (json_int_t)c->vocab_size || c->eos_count == ENGINE_EOS_MAX) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "field \"eos_token_id\" must be an id below \"vocab_size\" (%u), or a "
                            "list of at most %d",
                            c->vocab_size, ENGINE_EOS_MAX);
        return;
    }
    c->eos_ids[c->eos_count++] = (uint32_t)id;
}

void enginep_config_read_ids(engine_config *c, enginep_reader *r)
{
    const json_t *bos = enginep_read(r, "bos_token_id");
    const json_t *eos = enginep_read(r, "eos_token_id");
    if (r->status != PV_OK) {
        return;
    }
    if (bos != NULL) {
        c->bos_id = json_is_integer(bos) ? json_integer_value(bos) : -1;
        if (c->bos_id < 0 || c->bos_id >= (int64_t)c->vocab_size) {
            enginep_reader_fail(r, PV_E_INVALID,
                                "field \"bos_token_id\" must be an id below \"vocab_size\" (%u)",
                                c->vocab_size);
        }
    }
    if (eos != NULL) {
        c->eos_count = 0;
        if (!json_is_array(eos)) {
            add_eos(c, r, eos);
        }
        for (size_t i = 0; i < json_array_size(eos); i++) {
            add_eos(c, r, json_array_get(eos, i));
        }
    }
}
