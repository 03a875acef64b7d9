/* The cuda backend's reference path (precision F32) against transformers: logits and greedy continuations of small checkpoints
 * (tools/golden/make_models.py). */
#include "../engine/fixture_golden.h"
#include "cuda_fixture.h"

#include "engine_model.h"

#include <dirent.h>

static uint32_t greatest(const float *logits, uint32_t n)
{
    uint32_t best = 0;
    for (uint32_t i = 1; i < n; i++) {
        best = logits[i] > logits[best] ? i : best;
    }
    return best;
}

/* How many of the greedy tokens we draw too before the first that differs. */
static uint32_t greedy_agreement(const cuda_run *r, const golden *g, const uint32_t *pages,
                                 float *logits)
{
    for (uint32_t i = 0; i < g->greedy; i++) {
        uint32_t end = g->prompt + i;
        uint32_t start = i == 0 ? 0 : end - 1;
        cuda_rows_of(r, g->tokens, pages, start, end - start, 1, logits);
        if (greatest(logits, r->vocab) != g->tokens[end]) {
            return i;
        }
    }
    return g->greedy;
}

static void check_model(const engine_backend *cuda, const char *name)
{
    char path[512];
    engine_model *model = NULL;
    pv_error err = {0};
    golden g;
    uint32_t pages[CUDA_PAGES_MAX] = {3, 1, 0, 2};
    read_golden(&g, name);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    cr_assert_eq(engine_model_open(&model, path, ENGINE_MODEL_NO_TOKENIZER, &err), PV_OK, "%s",
                 err.msg);
    engine_backend_options options = {.kv_pages = 4, .precision = ENGINE_PRECISION_F32};
    cuda_run r = cuda_open_run(cuda, &model->weights, &options);
    size_t n = (size_t)g.prompt * r.vocab;
    float *logits = pv_malloc(sizeof *logits * n);
    memset(logits, 0xff, sizeof *logits * n);
    cuda_rows_of(&r, g.tokens, pages, 0, g.prompt, g.prompt, logits);
    double error = cuda_error(logits, (const float *)(const void *)g.logits.data, n);
    uint32_t agreed = greedy_agreement(&r, &g, pages, logits);
    bool exact = strstr(name, "bf16") == NULL && strstr(name, "fp8") == NULL;
    printf("%-20s relative error %.2e, %u of %u greedy tokens\n", name, error, agreed, g.greedy);
    cr_expect_lt(error, exact ? 2e-4 : 2e-2, "%s: %.3e", name, error);
    cr_expect(!exact || agreed == g.greedy, "%s: token %u differs", name, agreed);
    pv_free(logits);
    pv_buf_release(&g.logits);
    cuda->close(r.device);
    engine_model_close(model);
}

Test(engine_cuda_golden, agrees_with_transformers)
{
    const engine_backend *cuda = cuda_or_skip();
    uint64_t live = pv_mem_live();
    DIR *dir = opendir(folder);
    cr_assert_not_null(dir);
    unsigned count = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        if (entry->d_name[0] != '.') {
            check_model(cuda, entry->d_name);
            count++;
        }
    }
    closedir(dir);
    cr_assert_geq(count, 20u, "only %u golden models", count);
    cr_assert_eq(pv_mem_live(), live);
}
