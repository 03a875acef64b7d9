/* The buffers of a device. One list says which there are; the plan walks it to count, open and close to act. */
#include "engine_cpu_device.h"

#include "pv_mem.h"

#include <string.h>

typedef struct walk {
    engine_device *device; /* NULL: only count */
    uint64_t bytes;
    bool failed;
    bool release;
} walk;

static void block(walk *w, void *field, size_t count, size_t size)
{
    void **at = field;
    w->bytes += (uint64_t)count * size;
    if (w->device == NULL || w->failed || count == 0) {
        return;
    }
    if (w->release) {
        pv_free(*at);
        return;
    }
    *at = pv_calloc(count, size);
    w->failed = *at == NULL;
}

static void rows(walk *w, engine_cpu_rows *r, size_t count, size_t width)
{
    size_t stride = (width + 15) / 16 * 16;
    if (width == 0) {
        return;
    }
    block(w, &r->data, count * stride, sizeof(float));
    block(w, &r->row, count, sizeof(float *));
    if (w->device == NULL || w->release || w->failed) {
        return;
    }
    r->stride = stride;
    for (size_t i = 0; i < count; i++) {
        r->row[i] = r->data + i * stride;
    }
}

static size_t widest_mlp(const engine_config *c)
{
    size_t shared = (size_t)c->moe.shared * c->moe.intermediate_size;
    return c->intermediate_size > shared ? c->intermediate_size : shared;
}

static void walk_mla(walk *w, engine_device *d, const engine_config *c,
                     const engine_backend_options *o)
{
    size_t heads = c->heads;
    size_t latent = c->mla.kv_lora_rank;
    engine_cpu_mla_work *m = &d->mla;
    rows(w, &m->q_latent, o->max_rows, c->mla.q_lora_rank);
    rows(w, &m->q, ENGINE_CPU_MLA_ROWS, heads * (latent + c->mla.rope_dim));
    rows(w, &m->out, ENGINE_CPU_MLA_ROWS, heads * latent);
    if (o->mla_form == ENGINE_MLA_NAIVE_PREFILL) {
        rows(w, &m->max, heads, o->max_rows);
        rows(w, &m->sum, heads, o->max_rows);
    }
    block(w, &m->x, heads * ENGINE_CPU_MLA_ROWS, sizeof *m->x);
    block(w, &m->y, heads * ENGINE_CPU_MLA_ROWS, sizeof *m->y);
    block(w, &m->jobs, heads, sizeof *m->jobs);
    rows(w, &d->k, o->max_rows, latent + c->mla.rope_dim);
    rows(w, &d->att, o->max_rows, heads * c->mla.v_dim);
}

static void walk_moe(walk *w, engine_cpu_moe_work *m, const engine_moe *moe, size_t max_rows)
{
    size_t entries = max_rows * moe->per_token;
    rows(w, &m->logits, max_rows, moe->routed);
    rows(w, &m->gate, entries, moe->intermediate_size);
    rows(w, &m->up, entries, moe->intermediate_size);
    block(w, &m->ids, entries, sizeof *m->ids);
    block(w, &m->weights, entries, sizeof *m->weights);
    block(w, &m->entries, entries, sizeof *m->entries);
    block(w, &m->first, moe->routed + 2U, sizeof *m->first);
    block(w, &m->x, entries, sizeof *m->x);
    block(w, &m->jobs, 2U * moe->routed + 2U, sizeof *m->jobs);
}

static void walk_all(walk *w, engine_device *d, const engine_config *c,
                     const engine_backend_options *o)
{
    size_t n = o->max_rows;
    size_t kv = (size_t)c->kv_heads * c->head_dim;
    bool mla = c->arch == ENGINE_ARCH_DEEPSEEK;
    rows(w, &d->hidden, n, c->hidden_size);
    rows(w, &d->norm, n, c->hidden_size);
    rows(w, &d->out, n, c->hidden_size);
    rows(w, &d->q, n, (size_t)c->heads * c->head_dim);
    if (mla) {
        walk_mla(w, d, c, o);
    } else {
        rows(w, &d->k, n, kv);
        rows(w, &d->v, n, kv);
        rows(w, &d->att, n, (size_t)c->heads * c->head_dim);
    }
    rows(w, &d->gate, n, widest_mlp(c));
    rows(w, &d->up, n, widest_mlp(c));
    if (c->moe.routed != 0) {
        walk_moe(w, &d->moe, &c->moe, n);
    }
    rows(w, &d->cosine, n, (mla ? c->mla.rope_dim : c->head_dim) / 2);
    rows(w, &d->sine, n, (mla ? c->mla.rope_dim : c->head_dim) / 2);
    rows(w, &d->last, o->max_logit_rows, c->hidden_size);
    block(w, &d->tiles, n, sizeof *d->tiles);
    block(w, &d->row_seq, n, sizeof *d->row_seq);
    block(w, &d->row_position, n, sizeof *d->row_position);
    block(w, &d->logit_row, o->max_logit_rows, sizeof *d->logit_row);
}

uint64_t engine_cpu_work_bytes(const engine_config *config, const engine_backend_options *options)
{
    walk w = {0};
    engine_device none;
    memset(&none, 0, sizeof none);
    walk_all(&w, &none, config, options);
    return w.bytes;
}

pv_status engine_cpu_work_open(engine_device *device, pv_error *err)
{
    walk w = {.device = device};
    walk_all(&w, device, device->config, &device->options);
    if (w.failed) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the buffers of %u rows",
                       device->options.max_rows);
    }
    device->scratch += w.bytes;
    return PV_OK;
}

void engine_cpu_work_close(engine_device *device)
{
    walk w = {.device = device, .release = true};
    walk_all(&w, device, device->config, &device->options);
}
