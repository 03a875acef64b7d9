/* Small checkpoints against transformers: logits of a prompt, and 64 greedy tokens through the whole engine.
 * tests/golden/models/<name>/ are made by tools/golden/make_models.py; golden.json says the prompt and the tokens, logits.f32
 * holds float32 logits [prompt, vocab]. */
#include "fixture.h"

#include "engine.h"

#include <dirent.h>
#include <math.h>

#define MODELS_DIR TEST_SOURCE_DIR "/tests/golden/models"

enum { MODELS_MAX = 64, NAME_MAX_BYTES = 64, TOKENS_MAX = 256 };

typedef struct golden {
    uint32_t prompt[TOKENS_MAX];
    size_t prompt_len;
    uint32_t greedy[TOKENS_MAX];
    size_t greedy_len;
    pv_buf logits;
} golden;

static size_t read_ids(const json_t *list, uint32_t *out)
{
    cr_assert(json_is_array(list) && json_array_size(list) <= TOKENS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        out[i] = (uint32_t)json_integer_value(json_array_get(list, i));
    }
    return json_array_size(list);
}

static golden read_golden(const char *dir)
{
    golden g = {0};
    char path[600];
    snprintf(path, sizeof path, "%s/golden.json", dir);
    json_t *root = json_load_file(path, 0, NULL);
    cr_assert_not_null(root, "%s", path);
    g.prompt_len = read_ids(json_object_get(root, "prompt"), g.prompt);
    g.greedy_len = read_ids(json_object_get(root, "greedy"), g.greedy);
    json_decref(root);
    snprintf(path, sizeof path, "%s/logits.f32", dir);
    g.logits = fixture_read(path);
    return g;
}

static bool is_low_precision(const char *name)
{
    return strstr(name, "bf16") != NULL || strstr(name, "fp8") != NULL;
}

/* |got - want| / |want| over all logits of the prompt, the prompt in one chunk. */
static double logit_error(const engine_model *m, const golden *g)
{
    uint32_t vocab = m->config.vocab_size;
    uint32_t n = (uint32_t)g->prompt_len;
    cr_assert_eq(g->logits.len, (size_t)n * vocab * sizeof(float));
    engine_device *dev = NULL;
    pv_error err = {0};
    const engine_backend *cpu = engine_backend_cpu();
    engine_backend_options options = {.threads = 1};
    cr_assert_eq(cpu->open(&dev, &m->weights, &options, &err), PV_OK, "%s", err.msg);
    uint32_t page = 0;
    uint32_t rows[TOKENS_MAX];
    for (uint32_t i = 0; i < n; i++) {
        rows[i] = i;
    }
    engine_batch_seq seq = {.pages = &page, .page_count = 1, .start = 0, .rows = n};
    engine_batch batch = {.tokens = g->prompt,
                          .rows = n,
                          .seqs = &seq,
                          .seq_count = 1,
                          .logit_rows = rows,
                          .logit_count = n};
    float *got = malloc((size_t)n * vocab * sizeof *got);
    cr_assert_eq(cpu->forward(dev, &batch, got, &err), PV_OK, "%s", err.msg);
    const float *want = (const float *)(const void *)g->logits.data;
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < (size_t)n * vocab; i++) {
        difference += ((double)got[i] - (double)want[i]) * ((double)got[i] - (double)want[i]);
        norm += (double)want[i] * (double)want[i];
    }
    free(got);
    cpu->close(dev);
    return sqrt(difference / norm);
}

typedef struct seen {
    uint32_t tokens[TOKENS_MAX];
    size_t count;
} seen;

static void on_done(void *user, const engine_result *r)
{
    seen *s = user;
    cr_assert_eq(r->finish, ENGINE_FINISH_LENGTH, "%s", r->error != NULL ? r->error->msg : "");
    s->count = r->token_count;
    memcpy(s->tokens, r->tokens, r->token_count * sizeof *r->tokens);
}

static size_t equal_tokens(const engine_model *m, const golden *g)
{
    engine *e = NULL;
    pv_error err = {0};
    engine_options options = {.backend = {.threads = 1}};
    cr_assert_eq(engine_open(&e, m, engine_backend_cpu(), &options, &err), PV_OK, "%s", err.msg);
    seen s = {0};
    engine_request r = {.prefix = g->prompt,
                        .prefix_len = g->prompt_len,
                        .max_tokens = (uint32_t)g->greedy_len,
                        .ignore_eos = true,
                        .on_done = on_done,
                        .user = &s};
    cr_assert_eq(engine_submit(e, &r, NULL, &err), PV_OK, "%s", err.msg);
    for (bool busy = true; busy;) {
        cr_assert_eq(engine_step(e, &busy, &err), PV_OK, "%s", err.msg);
    }
    engine_close(e);
    cr_assert_eq(s.count, g->greedy_len);
    size_t same = 0;
    while (same < s.count && s.tokens[same] == g->greedy[same]) {
        same++;
    }
    return same;
}

static void expect_golden(const char *name)
{
    char dir[512];
    snprintf(dir, sizeof dir, "%s/%s", MODELS_DIR, name);
    engine_model *m = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_model_open(&m, dir, ENGINE_MODEL_NO_TOKENIZER, &err), PV_OK, "%s", err.msg);
    golden g = read_golden(dir);
    double error = logit_error(m, &g);
    size_t same = equal_tokens(m, &g);
    bool low = is_low_precision(name);
    printf("%-18s logits differ by %.2e (at most %.0e), %2zu of %zu greedy tokens equal\n", name,
           error, low ? 2e-2 : 2e-4, same, g.greedy_len);
    cr_expect_leq(error, low ? 2e-2 : 2e-4, "%s: %g", name, error);
    cr_expect(low || same == g.greedy_len, "%s: token %zu differs", name, same);
    pv_buf_release(&g.logits);
    engine_model_close(m);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* Every folder in its order by name. A loop, not a parameterised test: the sanitizer builds have none. */
Test(engine_golden, logits_and_greedy_tokens_match_transformers, .timeout = 600)
{
    uint64_t live = pv_mem_live();
    static char names[MODELS_MAX][NAME_MAX_BYTES];
    size_t n = 0;
    DIR *d = opendir(MODELS_DIR);
    cr_assert_not_null(d, "%s", MODELS_DIR);
    for (struct dirent *entry; n < MODELS_MAX && (entry = readdir(d)) != NULL;) {
        if (entry->d_name[0] != '.') {
            snprintf(names[n++], NAME_MAX_BYTES, "%.60s", entry->d_name);
        }
    }
    closedir(d);
    qsort(names, n, sizeof names[0], by_name);
    cr_expect_gt(n, 0);
    for (size_t i = 0; i < n; i++) {
        expect_golden(names[i]);
    }
    cr_expect_eq(pv_mem_live(), live);
}
