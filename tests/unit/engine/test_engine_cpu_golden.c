/* The CPU backend with every instruction set against transformers: logits and greedy continuations of small checkpoints (tools/golden/make_models.py). */
#include "engine_backend.h"
#include "engine_model.h"
#include "fixture_golden.h"
#include "pv_mem.h"

#include <dirent.h>
#include <math.h>

enum { MODELS_MAX = 64 };

/* ||ours - theirs|| / ||theirs|| */
static double relative_error(const float *ours, const float *theirs, size_t n)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)ours[i] - (double)theirs[i];
        difference += d * d;
        norm += (double)theirs[i] * (double)theirs[i];
    }
    return sqrt(difference / norm);
}

static void forward(engine_device *device, const golden *g, uint32_t start, uint32_t rows, bool all,
                    float *logits)
{
    uint32_t pages[4] = {0, 1, 2, 3}, wanted[PROMPT_MAX];
    for (uint32_t i = 0; i < rows; i++) {
        wanted[i] = all ? i : rows - 1;
    }
    engine_batch_seq seq = {.pages = pages, .page_count = 4, .start = start, .rows = rows};
    engine_batch batch = {.tokens = g->tokens + start,
                          .rows = rows,
                          .seqs = &seq,
                          .seq_count = 1,
                          .logit_rows = wanted,
                          .logit_count = all ? rows : 1};
    pv_error err = {0};
    cr_assert_eq(engine_backend_cpu()->forward(device, &batch, logits, &err), PV_OK, "%s", err.msg);
}

static uint32_t greatest(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

/* How many of the greedy tokens we draw too before the first that differs. */
static uint32_t greedy_agreement(engine_device *device, const golden *g, float *logits,
                                 uint32_t vocab)
{
    for (uint32_t i = 0; i < g->greedy; i++) {
        uint32_t end = g->prompt + i;
        forward(device, g, i == 0 ? 0 : end - 1, i == 0 ? end : 1, false, logits);
        if (greatest(logits, vocab) != g->tokens[end]) {
            return i;
        }
    }
    return g->greedy;
}

static void check_model(const char *name, const engine_backend_options *options)
{
    char path[512];
    engine_model *model = NULL;
    engine_device *device = NULL;
    pv_error err = {0};
    golden g;
    read_golden(&g, name);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(engine_model_open(&model, path, ENGINE_MODEL_NO_TOKENIZER, &err), PV_OK, "%s",
                 err.msg);
    cr_assert_eq(engine_backend_cpu()->open(&device, &model->weights, options, &err), PV_OK,
                 "%s: %s", name, err.msg);
    uint32_t vocab = model->config.vocab_size;
    bool exact = strstr(name, "bf16") == NULL && strstr(name, "fp8") == NULL;
    float *logits = pv_malloc(sizeof *logits * g.prompt * vocab);
    forward(device, &g, 0, g.prompt, true, logits);
    double error = relative_error(logits, (const float *)(const void *)g.logits.data,
                                  (size_t)g.prompt * vocab);
    uint32_t agreed = greedy_agreement(device, &g, logits, vocab);
    printf("%-20s %-12s relative error %.2e, %u of %u greedy tokens\n", name,
           engine_isa_text(options->isa), error, agreed, g.greedy);
    cr_expect_lt(error, exact ? 2e-4 : 2e-2, "%s: %.3e", name, error);
    cr_expect(!exact || agreed == g.greedy, "%s: token %u differs", name, agreed);
    pv_free(logits);
    pv_buf_release(&g.logits);
    engine_backend_cpu()->close(device);
    engine_model_close(model);
}

static void check_all(engine_isa isa)
{
    if (isa > engine_isa_detect()) {
        cr_skip_test("this processor has no %s", engine_isa_text(isa));
    }
    engine_backend_options options = {.isa = isa, .kv_pages = 4, .threads = 2, .unpinned = true};
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.') {
            check_model(entry->d_name, &options);
            count++;
        }
    }
    closedir(dir);
    cr_assert_geq(count, 20u, "only %u golden models", count);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(engine_cpu_golden, scalar_kernels_agree_with_transformers)
{
    check_all(ENGINE_ISA_SCALAR);
}

Test(engine_cpu_golden, avx2_kernels_agree_with_transformers)
{
    check_all(ENGINE_ISA_AVX2);
}

Test(engine_cpu_golden, avx512_kernels_agree_with_transformers)
{
    check_all(ENGINE_ISA_AVX512);
}

Test(engine_cpu_golden, avx512_bf16_kernels_agree_with_transformers)
{
    check_all(ENGINE_ISA_AVX512_BF16);
}
