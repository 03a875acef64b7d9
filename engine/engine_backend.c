#include "engine_backend.h"

enum { ROWS_DEFAULT = 512, ROWS_MAX = 65536, LOGIT_ROWS_DEFAULT = 64, THREADS_MAX = 1024 };

#ifndef PROVER_CUDA
const engine_backend *engine_backend_cuda(void)
{
    return NULL;
}
#endif

static uint32_t pages_for(uint32_t tokens)
{
    return tokens / ENGINE_PAGE_TOKENS + (tokens % ENGINE_PAGE_TOKENS != 0);
}

static pv_status check_range(const char *what, uint64_t value, uint64_t max, pv_error *err)
{
    return value <= max ? PV_OK
                        : pv_fail(err, PV_E_INVALID, "%s is %llu; at most %llu", what,
                                  (unsigned long long)value, (unsigned long long)max);
}

static void fill_defaults(engine_backend_options *o, const engine_config *config)
{
    if (o->kv_pages == 0) {
        o->kv_pages = pages_for(config->max_positions);
    }
    if (o->max_rows == 0) {
        o->max_rows = ROWS_DEFAULT;
    }
    if (o->max_logit_rows == 0) {
        o->max_logit_rows = LOGIT_ROWS_DEFAULT;
    }
    if (o->max_logit_rows > o->max_rows) {
        o->max_logit_rows = o->max_rows;
    }
}

pv_status engine_backend_options_resolve(engine_backend_options *out, const engine_config *config,
                                         const engine_backend_options *options, pv_error *err)
{
    engine_backend_options o = {0};
    if (options != NULL) {
        o = *options;
    }
    fill_defaults(&o, config);

    const struct {
        const char *what;
        uint64_t value;
        uint64_t max;
    } ranges[] = {
        {"max_rows", o.max_rows, ROWS_MAX},
        {"threads", o.threads, THREADS_MAX},
        {"gpu_count", o.gpu_count, ENGINE_GPUS_MAX},
        {"kv_pages", o.kv_pages, (uint64_t)UINT32_MAX - 1},
        {"precision", o.precision, ENGINE_PRECISION_F32},
        {"kv_type", o.kv_type, ENGINE_KV_F32},
        {"mla_form", o.mla_form, ENGINE_MLA_NAIVE_PREFILL},
        {"isa", o.isa, ENGINE_ISA_AVX512_BF16},
    };

    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
        pv_status status = check_range(ranges[i].what, ranges[i].value, ranges[i].max, err);
        if (status != PV_OK) {
            return status;
        }
    }
    *out = o;
    return PV_OK;
}

static pv_status check_tokens(const engine_batch *batch, const engine_config *config,
                              bool allow_drawn, pv_error *err)
{
    for (uint32_t i = 0; i < batch->rows; i++) {
        uint32_t token = batch->tokens[i];
        bool drawn = allow_drawn && (token & (uint32_t)ENGINE_TOKEN_DRAWN) != 0;
        if (token >= config->vocab_size && !drawn) {
            return pv_fail(err, PV_E_MISUSE, "row %u: token %u of a vocabulary of %u", i, token,
                           config->vocab_size);
        }
    }
    return PV_OK;
}

static pv_status check_seq(const engine_batch_seq *seq, uint32_t index, const engine_config *config,
                           const engine_backend_options *options, pv_error *err)
{
    uint64_t end = (uint64_t)seq->start + seq->rows;
    if (seq->rows == 0) {
        return pv_fail(err, PV_E_MISUSE, "sequence %u has no rows", index);
    }
    if (end > config->max_positions) {
        return pv_fail(err, PV_E_MISUSE, "sequence %u ends at position %llu of %u", index,
                       (unsigned long long)end, config->max_positions);
    }
    if (seq->page_count < pages_for((uint32_t)end)) {
        return pv_fail(err, PV_E_MISUSE, "sequence %u has %u pages for %llu tokens", index,
                       seq->page_count, (unsigned long long)end);
    }
    for (uint32_t i = 0; i < pages_for((uint32_t)end); i++) {
        if (seq->pages[i] >= options->kv_pages) {
            return pv_fail(err, PV_E_MISUSE, "sequence %u: page %u of a pool of %u", index,
                           seq->pages[i], options->kv_pages);
        }
    }
    return PV_OK;
}

static pv_status check_counts(const engine_batch *batch, const engine_backend_options *options,
                              pv_error *err)
{
    if (batch->rows == 0 || batch->seq_count == 0) {
        return pv_fail(err, PV_E_MISUSE, "an empty batch");
    }
    if (batch->rows > options->max_rows) {
        return pv_fail(err, PV_E_LIMIT, "%u rows in a batch; the device was opened for %u",
                       batch->rows, options->max_rows);
    }
    if (batch->logit_count > options->max_logit_rows) {
        return pv_fail(err, PV_E_LIMIT, "%u rows of logits; the device was opened for %u",
                       batch->logit_count, options->max_logit_rows);
    }
    return PV_OK;
}

pv_status engine_batch_check(const engine_batch *batch, const engine_config *config,
                             const engine_backend_options *options, bool allow_drawn, pv_error *err)
{
    pv_status status = check_counts(batch, options, err);
    if (status == PV_OK) {
        status = check_tokens(batch, config, allow_drawn, err);
    }
    uint64_t rows = 0;
    for (uint32_t i = 0; status == PV_OK && i < batch->seq_count; i++) {
        rows += batch->seqs[i].rows;
        status = check_seq(&batch->seqs[i], i, config, options, err);
    }
    if (status == PV_OK && rows != batch->rows) {
        status = pv_fail(err, PV_E_MISUSE, "the sequences have %llu rows, the batch %u",
                         (unsigned long long)rows, batch->rows);
    }
    for (uint32_t i = 0; status == PV_OK && i < batch->logit_count; i++) {
        if (batch->logit_rows[i] >= batch->rows) {
            status = pv_fail(err, PV_E_MISUSE, "logits of row %u of %u", batch->logit_rows[i],
                             batch->rows);
        }
    }
    return status;
}

static pv_status check_draw(const engine_draw *draw, uint32_t index, const engine_batch *batch,
                            const engine_config *config, pv_error *err)
{
    if (draw->logit >= batch->logit_count) {
        return pv_fail(err, PV_E_MISUSE, "draw %u is of logits %u; the batch asks for %u", index,
                       draw->logit, batch->logit_count);
    }
    if (draw->token != ENGINE_NO_TOKEN && draw->token >= config->vocab_size) {
        return pv_fail(err, PV_E_MISUSE, "draw %u asks about token %u of a vocabulary of %u", index,
                       draw->token, config->vocab_size);
    }
    return PV_OK;
}

pv_status engine_draws_check(const engine_draw *draws, uint32_t count, const engine_batch *batch,
                             const engine_config *config, const engine_backend_options *options,
                             pv_error *err)
{
    if (count > options->max_rows) {
        return pv_fail(err, PV_E_LIMIT, "%u draws in a step; at most %u", count, options->max_rows);
    }
    pv_status status = PV_OK;
    for (uint32_t i = 0; status == PV_OK && i < count; i++) {
        status = check_draw(&draws[i], i, batch, config, err);
    }
    return status;
}
