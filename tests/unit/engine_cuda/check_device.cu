/* check_device: a device that dies. A kernel of somebody else's faults; from then on every call fails in the same way with
 * a message, close() returns, and opening another model is refused rather than fatal.
 *
 *     check_device            needs a GPU; prints a line a check; exit status 1 when one fails */
#include "engine_cuda_device.cuh"

#include "engine_synthetic.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

static int failures;

static void report(bool ok, const char *what, const pv_error *err)
{
    printf("%s %s%s%s\n", ok ? "ok  " : "FAIL", what, err->msg[0] != '\0' ? ": " : "", err->msg);
    failures += !ok;
}

static __global__ void fault_kernel(uint32_t *nowhere)
{
    *nowhere = 1;
}

static engine_config small_config(void)
{
    engine_config c = {};
    c.arch = ENGINE_ARCH_LLAMA;
    c.vocab_size = 512;
    c.hidden_size = 256;
    c.layers = 2;
    c.heads = c.kv_heads = 2;
    c.head_dim = 128;
    c.intermediate_size = 256;
    c.max_positions = 128;
    c.norm_eps = 1e-6;
    c.rope.theta = 10000;
    c.rope.factor = 1;
    c.rope.original_positions = 128;
    return c;
}

struct calls { /* a batch of one row, and what the backend says to it */
    uint32_t token, page, row;
    engine_batch_seq seq;
    engine_batch batch;
    float logits[512];
};

static void make_calls(calls *c)
{
    memset(c, 0, sizeof *c);
    c->seq = {&c->page, 1, 0, 1};
    c->batch = {&c->token, 1, &c->seq, 1, &c->row, 1};
}

static void check_dead(engine_device *d, calls *c, const engine_backend *be)
{
    pv_error first = {};
    pv_error second = {};
    pv_error third = {};
    engine_draw draw = {};
    draw.token = ENGINE_NO_TOKEN;
    uint64_t ticket = 0;
    engine_drawn drawn;
    pv_status status = be->forward(d, &c->batch, c->logits, &first);
    report(status == PV_E_DEVICE, "forward() on a dead device", &first);
    status = be->submit(d, &c->batch, &draw, 1, &ticket, &second);
    report(status == PV_E_DEVICE && strcmp(first.msg, second.msg) == 0, "submit()", &second);
    status = be->copy_page(d, 0, 1, 3, &third);
    report(status == PV_E_DEVICE && strcmp(first.msg, third.msg) == 0, "copy_page()", &third);
    pv_error none = {};
    report(be->collect(d, 1, &drawn, NULL) != PV_OK, "collect()", &none);
    engine_memory memory;
    be->memory(d, &memory);
    report(memory.kv_pages == 2, "memory()", &none);
}

int main(void)
{
    const engine_backend *be = engine_backend_cuda();
    engine_config config = small_config();
    engine_synthetic *model = NULL;
    engine_device *d = NULL;
    pv_error err = {};
    if (engine_synthetic_open(&model, &config, ENGINE_DTYPE_BF16, 1, &err) != PV_OK) {
        report(false, "a model", &err);
        return 1;
    }
    engine_backend_options o = {};
    o.kv_pages = 2;
    const engine_weights *w = engine_synthetic_weights(model);
    pv_status status = be->open(&d, w, &o, &err);
    if (status != PV_OK) {
        printf("skipped: %s\n", err.msg);
        return 77;
    }
    calls c;
    make_calls(&c);
    report(be->forward(d, &c.batch, c.logits, &err) == PV_OK, "forward()", &err);
    fault_kernel<<<1, 1, 0, d->stream>>>(NULL);
    (void)cudaStreamSynchronize(d->stream);
    check_dead(d, &c, be);
    be->close(d);
    d = NULL;
    status = be->open(&d, w, &o, &err);
    report(status == PV_E_DEVICE, "opening again", &err);
    engine_synthetic_close(model);
    pv_error none = {};
    report(pv_mem_live() == 0, "nothing is left behind", &none);
    return failures != 0;
}
