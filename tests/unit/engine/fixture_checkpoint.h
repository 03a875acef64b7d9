/* fixture_checkpoint: small checkpoints that tests write themselves, whole or damaged. */
#ifndef ENGINE_FIXTURE_CHECKPOINT_H
#define ENGINE_FIXTURE_CHECKPOINT_H

#include "fixture.h"

#include "engine_layout.h"

typedef struct checkpoint { /* {0} is empty */
    json_t *header;
    pv_buf data;
} checkpoint;

FIXTURE_UNUSED static void checkpoint_release(checkpoint *c)
{
    json_decref(c->header);
    pv_buf_release(&c->data);
    memset(c, 0, sizeof *c);
}

/* Adds a tensor of n bytes; shape is JSON text such as "[2, 3]". */
FIXTURE_UNUSED static void checkpoint_add(checkpoint *c, const char *name, const char *dtype,
                                          const char *shape, const void *bytes, size_t n)
{
    if (c->header == NULL) {
        c->header = json_object();
    }
    json_int_t begin = (json_int_t)c->data.len;
    pv_buf_append(&c->data, bytes, n);
    json_object_set_new(c->header, name,
                        json_pack("{s:s,s:o,s:[I,I]}", "dtype", dtype, "shape",
                                  json_loads(shape, 0, NULL), "data_offsets", begin,
                                  begin + (json_int_t)n));
}

/* A file of `header_len` said bytes of header, the header text, and the data. */
FIXTURE_UNUSED static pv_buf checkpoint_file(const char *header, uint64_t header_len,
                                             const pv_buf *data)
{
    pv_buf out = {0};
    for (int i = 0; i < 8; i++) {
        pv_buf_putc(&out, (char)(header_len >> (8 * i)));
    }
    pv_buf_puts(&out, header);
    pv_buf_append(&out, pv_buf_text(data), data->len);
    return out;
}

FIXTURE_UNUSED static pv_buf checkpoint_bytes(const checkpoint *c)
{
    char *text = json_dumps(c->header, JSON_COMPACT);
    pv_buf header = {0};
    pv_buf_puts(&header, text);
    while (header.len % 8 != 0) {
        pv_buf_putc(&header, ' ');
    }
    pv_buf out = checkpoint_file(pv_buf_text(&header), header.len, &c->data);
    pv_buf_release(&header);
    free(text);
    return out;
}

FIXTURE_UNUSED static void checkpoint_add_scales(checkpoint *c, const engine_spec *spec,
                                                 const engine_quant *q)
{
    char name[ENGINE_TENSOR_NAME_MAX + 16];
    char shape[64];
    uint32_t rows = (spec->rows + q->block_rows - 1) / q->block_rows;
    uint32_t cols = (spec->cols + q->block_cols - 1) / q->block_cols;
    float *scales = malloc(sizeof *scales * rows * cols);
    for (uint32_t i = 0; i < rows * cols; i++) {
        scales[i] = 0.5f;
    }
    snprintf(name, sizeof name, "%s_scale_inv", spec->name);
    snprintf(shape, sizeof shape, "[%u, %u]", rows, cols);
    checkpoint_add(c, name, "F32", shape, scales, sizeof *scales * rows * cols);
    free(scales);
}

typedef struct checkpoint_maker {
    checkpoint *c;
    const engine_config *config;
} checkpoint_maker;

FIXTURE_UNUSED static pv_status checkpoint_visit(void *user, const engine_spec *spec, pv_error *err)
{
    (void)err;
    checkpoint_maker *m = user;
    char shape[64];
    size_t n = (size_t)spec->rows * spec->cols * (spec->quantised ? 1 : 2);
    char *zeros = calloc(1, n);
    if (spec->vector) {
        snprintf(shape, sizeof shape, "[%u]", spec->cols);
    } else {
        snprintf(shape, sizeof shape, "[%u, %u]", spec->rows, spec->cols);
    }
    checkpoint_add(m->c, spec->name, spec->quantised ? "F8_E4M3" : "BF16", shape, zeros, n);
    if (spec->quantised) {
        checkpoint_add_scales(m->c, spec, &m->config->quant);
    }
    free(zeros);
    return PV_OK;
}

/* Every tensor that `config` asks for, zero, with scales of 0.5. */
FIXTURE_UNUSED static checkpoint checkpoint_of(const engine_config *config)
{
    checkpoint c = {0};
    checkpoint_maker m = {&c, config};
    cr_assert_eq(engine_layout_walk(config, checkpoint_visit, &m, NULL), PV_OK);
    return c;
}

#endif
