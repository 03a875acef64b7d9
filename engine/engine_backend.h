/* engine_backend: the seam between the engine (scheduler, prefix tree, sampler) and what computes.
 *
 * A backend is a const table of functions. `cpu` is the reference and a fast path of its own; `cuda` is there when it
 * was built and a GPU answers. A model opened on a backend is an engine_device: the weights where the backend wants
 * them, and one pool of KV pages. The scheduler owns the page numbers: it decides which page holds what; a device only
 * reads and writes the pages that a batch names.
 *
 * Invariant that every backend keeps (docs/engine-cpu.md, "Batch invariance"): the logits of a row depend on the
 * tokens of its sequence up to that row, and on the options the device was opened with, and on nothing else. Not on
 * the other rows, not on how the prompt was cut into chunks, not on which pages hold it, not on threads.
 *
 *     const engine_backend *be = engine_backend_cpu();
 *     engine_device *dev;
 *     status = be->open(&dev, &weights, &options, &err);
 *     uint32_t pages[1] = {0}, tokens[3] = {0, 17, 42}, rows[1] = {2};
 *     engine_batch_seq seq = {.pages = pages, .page_count = 1, .start = 0, .rows = 3};
 *     engine_batch batch = {.tokens = tokens, .rows = 3, .seqs = &seq, .seq_count = 1,
 *                           .logit_rows = rows, .logit_count = 1};
 *     status = be->forward(dev, &batch, logits, &err);              logits: 1 x vocab_size
 *     be->close(dev);
 *
 * Threads: the tables are immutable. A device belongs to one caller at a time; two devices are independent. */
#ifndef ENGINE_BACKEND_H
#define ENGINE_BACKEND_H

#include "engine_config.h"
#include "engine_weights.h"
#include "pv_error.h"

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ENGINE_PAGE_TOKENS = 64 }; /* tokens a KV page holds, over all layers */

enum { ENGINE_GPUS_MAX = 8 }; /* that one model is spread over */

/* How products are computed. Sums are float32 in every case. */
typedef enum engine_precision {
    /* As fast as the bound of 2e-2 for bf16 and fp8 weights allows. Where the hardware multiplies bf16, activations are
     * one bf16 number (8 bits), or the sum of two (16 bits) where errors would be amplified: in front of attention
     * scores, and in models with experts of everything but the down projections and the head, since a router that
     * compares nearly equal scores turns a rounding into another expert. f16 and f32 weights, other hardware: as F32. */
    ENGINE_PRECISION_AUTO,

    /* Activations stay float32: the reference that other backends are checked against. On cpu the bits are the same on
     * every instruction set. */
    ENGINE_PRECISION_F32,
} engine_precision;

typedef enum engine_kv_type {
    ENGINE_KV_AUTO, /* the backend's choice. cpu: float32. cuda: bf16 (fast kernels) or float32 (generic) */
    ENGINE_KV_BF16, /* half the memory; rounds keys and values */
    ENGINE_KV_F32,
} engine_kv_type;

/* The two forms of MLA attention. They are equal in exact arithmetic only, so mixing them by chunk size would make a
 * row's bits depend on how a prompt was cut. */
typedef enum engine_mla_form {
    ENGINE_MLA_ABSORBED, /* every row: keys and values stay latent (the default: keeps the invariant) */
    ENGINE_MLA_NAIVE_PREFILL, /* chunks of at least ENGINE_NAIVE_ROWS rows are up-projected: about a third of the
                               * attention work in long prompts, but a row's last bits depend on its chunk.
                               * cuda: always absorbed */
} engine_mla_form;

enum { ENGINE_NAIVE_ROWS = 16 };

/* Ordered: a later one implies the earlier ones. AUTO: the best that the processor has. */
typedef enum engine_isa {
    ENGINE_ISA_AUTO,
    ENGINE_ISA_SCALAR,
    ENGINE_ISA_AVX2,        /* AVX2, FMA, F16C              */
    ENGINE_ISA_AVX512,      /* F, BW, DQ, VL                */
    ENGINE_ISA_AVX512_BF16, /* and BF16 (dot product), VBMI */
} engine_isa;

typedef struct engine_backend_options { /* zero = default for every field */
    uint32_t kv_pages;       /* of the pool; 0: as many as one sequence of max_positions needs */
    uint32_t max_rows;       /* a forward may have; 0 = 512 */
    uint32_t max_logit_rows; /* a forward may have; 0 = 64, at most max_rows */
    engine_precision precision;
    engine_kv_type kv_type;
    engine_mla_form mla_form;
    uint32_t threads; /* cpu: 0 = one for each processor this process may run on */
    bool unpinned;    /* cpu: leave the threads to the system's scheduler */
    engine_isa isa;   /* cpu: at most; more than there is: PV_E_UNSUPPORTED */
    uint32_t ordinal; /* cuda: which GPU, unless gpu_count says more */

    /* cuda: the GPUs that the model is spread over (engine_shard.h), by number; 0: one, `ordinal`. The same number
     * gpu_count times: the parts take turns on that one GPU, which is for tests. */
    uint32_t gpu_count;
    uint32_t gpus[ENGINE_GPUS_MAX];
} engine_backend_options;

typedef struct engine_memory { /* bytes */
    uint64_t weights_mapped;   /* read in place from the checkpoint's mapping */
    uint64_t weights_copied;   /* copied to the device (0 on cpu) */
    uint64_t kv;               /* the pool */
    uint64_t kv_page;          /* one page, all layers */
    uint64_t kv_token;         /* one token, all layers */
    uint64_t scratch;          /* activations, tables, per-thread buffers */
    uint64_t device_total;     /* memory of the GPU; 0 on cpu */
    uint64_t device_free;      /* of it, free now */
    uint32_t kv_pages;

    /* GPUs that hold a part of the model each; all figures are of one of them, the one that has least left. 0, 1: one. */
    uint32_t gpus;

    /* By which GPU and which kernels it is served: "NVIDIA H100, fast kernels (sm_90a)", or "..., generic kernels, since
     * ...". "" on cpu. */
    char served_by[160];
} engine_memory;

/* Consecutive rows of one sequence. Row i of it is the token at position start + i; its key and value are written to
 * pages[(start + i) / 64], slot (start + i) % 64, and it attends to positions 0 .. start + i. Positions before `start`
 * must have been written by earlier forwards (or copy_page); they are only read. */
typedef struct engine_batch_seq {
    const uint32_t *pages; /* page_count numbers, each < kv_pages; borrowed for the call. Two
                            * sequences may share pages that neither writes in this batch */
    uint32_t page_count;   /* >= ceil((start + rows) / 64); more is allowed */
    uint32_t start;        /* tokens already cached */
    uint32_t rows; /* 1 in decode, the chunk's length in prefill; start + rows <= max_positions */
} engine_batch_seq;

/* Decode rows and prefill chunks mix freely. A sequence appears at most once in a batch. */
typedef struct engine_batch {
    const uint32_t *tokens; /* rows ids, each < vocab_size, sequence after sequence */
    uint32_t rows;          /* = the sum of seqs[].rows; 1 .. max_rows */
    const engine_batch_seq *seqs;
    uint32_t seq_count;
    const uint32_t *logit_rows; /* rows whose logits are wanted, in any order; NULL for none */
    uint32_t logit_count;       /* <= max_logit_rows; 0: the batch only fills the cache */
} engine_batch;

/* ---- Sampling on the device (optional slots) ---- */

/* In engine_batch.tokens of submit(): the token of draw `i` of the previous submit(), wherever it is by now. A decode
 * loop can so be enqueued ahead, with no wait on the host between two steps. */
enum { ENGINE_TOKEN_DRAWN = 0x40000000 };

#define ENGINE_TOKEN_FROM_ROW(i) ((uint32_t)ENGINE_TOKEN_DRAWN | (uint32_t)(i))

#define ENGINE_NO_TOKEN UINT32_MAX

/* What is asked of a row of logits: a token, or the log-probability of a given one. One row may serve any number of
 * draws (the first tokens of n samples after one prefix), in any order.
 *
 * The random number is engine_uniform(key, position) of engine_random.h, so a draw depends on nothing else in the batch.
 * The order of operations is that of engine_sampler.h: temperature, top-k, top-p, min-p, then the inverse cumulative sum
 * over ascending ids. */
typedef struct engine_draw {
    uint64_t key;      /* engine_sample_key()                                                     */
    uint32_t position; /* of the row in its sequence                                              */
    uint32_t logit;    /* the row: an index into the batch's logit_rows                           */
    uint32_t token;    /* ENGINE_NO_TOKEN: draw one. Else nothing is drawn: its log-probability is
                        * wanted, and the fields below are not read                               */
    float temperature; /* 0: the greatest logit, ties to the lower id                             */
    uint32_t top_k;    /* 0: off                                                                  */
    float top_p;       /* 0 and 1: off                                                            */
    float min_p;       /* 0: off                                                                  */
} engine_draw;

typedef struct engine_drawn {
    uint32_t token; /* drawn or given */

    /* Of it under softmax(logits): before temperature and cuts. NaN: the row holds NaN or +infinity, or nothing but
     * -infinity; what is drawn from such a row is token 0. */
    float logprob;
} engine_drawn;

typedef struct engine_device engine_device; /* a model on a backend; defined by the backend */

typedef struct engine_backend {
    const char *name; /* "cpu", "cuda" */

    /* What open() with these options would take, nothing allocated. *out is written on success only.
     * Fails: PV_E_UNSUPPORTED (the backend cannot run this model or these options, reason in the message),
     * PV_E_INVALID (options out of range), PV_E_DEVICE. */
    pv_status (*plan)(engine_memory *out, const engine_weights *weights,
                      const engine_backend_options *options, pv_error *err);

    /* Opens. `weights`, its config and its mapping are borrowed until close(); `options` may be NULL and is copied.
     * *out is owned by the caller, written on success only. The pool's contents are undefined.
     * Fails: as plan(), PV_E_NOMEM (with the plan's figures in the message). */
    pv_status (*open)(engine_device **out, const engine_weights *weights,
                      const engine_backend_options *options, pv_error *err);

    /* NULL is allowed. Returns after all work on the device has ended. */
    void (*close)(engine_device *device);

    /* Runs the batch through the model: appends keys and values to the cache, and writes logits (host memory,
     * logit_count x vocab_size float32, row i for logit_rows[i]; NULL when logit_count == 0). Returns when the logits
     * are there. The batch is borrowed for the call.
     * Fails: PV_E_MISUSE (a batch that breaks the rules above; the cache is unchanged), PV_E_LIMIT (more rows than the
     * options allow; unchanged), PV_E_DEVICE (the device is dead from now on: every later call fails the same way). */
    pv_status (*forward)(engine_device *device, const engine_batch *batch, float *logits,
                         pv_error *err);

    /* Copies the first `tokens` (0 .. 64) tokens of page `from` to page `to`, all layers: the copy-on-write of a fork in
     * the middle of a page. Ordered after earlier and before later calls on the device. from == to: nothing.
     * Fails: PV_E_MISUSE, PV_E_DEVICE. */
    pv_status (*copy_page)(engine_device *device, uint32_t to, uint32_t from, uint32_t tokens,
                           pv_error *err);

    /* What the device holds now. */
    void (*memory)(const engine_device *device, engine_memory *out);

    /* Optional pair, both NULL or both set (NULL on cpu: the engine samples from forward()'s logits).
     * submit() enqueues forward + sampling and returns without waiting. draws: 1 or more for each of the batch's
     * logit_rows, at most max_rows in all; 0 when the batch only fills the cache. *ticket numbers the step. batch and
     * draws are borrowed for the call only.
     * collect() waits for step `ticket` and writes its draw_count results. Tickets are collected in order, each once; at
     * most ENGINE_STEPS_AHEAD are outstanding (PV_E_LIMIT). close() may come before the last of them.
     *
     * Order: steps, forward() and copy_page() take effect in the order of their calls. So a step reads what the steps
     * enqueued before it have written, collected or not, and a page may go to another sequence as soon as the step that
     * uses it has been submitted.
     * Fails: as forward(). A device that died is reported by whichever call notices. */
    pv_status (*submit)(engine_device *device, const engine_batch *batch, const engine_draw *draws,
                        uint32_t draw_count, uint64_t *ticket, pv_error *err);
    pv_status (*collect)(engine_device *device, uint64_t ticket, engine_drawn *out, pv_error *err);
} engine_backend;

enum { ENGINE_STEPS_AHEAD = 4 };

/* Always there. */
const engine_backend *engine_backend_cpu(void);

/* NULL when it was not built; whether a GPU answers is open()'s matter. */
const engine_backend *engine_backend_cuda(void);

/* Does a batch keep the rules above? Backends call it first; PV_E_MISUSE or PV_E_LIMIT names the offender.
 * `allow_drawn`: tokens may be ENGINE_TOKEN_FROM_ROW(). */
PV_NODISCARD pv_status engine_batch_check(const engine_batch *batch, const engine_config *config,
                                          const engine_backend_options *options, bool allow_drawn,
                                          pv_error *err);

/* Do the draws keep the rules of submit()? PV_E_MISUSE or PV_E_LIMIT names the offender. */
PV_NODISCARD pv_status engine_draws_check(const engine_draw *draws, uint32_t count,
                                          const engine_batch *batch, const engine_config *config,
                                          const engine_backend_options *options, pv_error *err);

/* Fills in the defaults; PV_E_INVALID when a value is out of range. options NULL: all defaults. */
PV_NODISCARD pv_status engine_backend_options_resolve(engine_backend_options *out,
                                                      const engine_config *config,
                                                      const engine_backend_options *options,
                                                      pv_error *err);

/* "auto", "scalar", "avx2", "avx512", "avx512_bf16". Never NULL. */
const char *engine_isa_text(engine_isa isa);

/* The best that this processor has (ENGINE_ISA_SCALAR off x86). */
engine_isa engine_isa_detect(void);

#ifdef __cplusplus
}
#endif
#endif
