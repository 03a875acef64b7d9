/* prover model, complete and prove --model on a small random checkpoint that the test writes. */
#include "command.h"

#include "../unit/engine/fixture_checkpoint.h"
#include "../unit/engine/fixture_config.h"
#include "engine_model.h"
#include "prompt.h"
#include "pv_file.h"
#include "pv_hash.h"

#include <sys/stat.h>

static char folder[] = "/tmp/test_engine_XXXXXX";
static char path[128];

static char *in_folder(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void put(const char *name, const void *bytes, size_t n)
{
    cr_assert_eq(pv_file_replace(in_folder(name), bytes, n, NULL), PV_OK);
}

static const char config_text[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 32, \"intermediate_size\": 48, "
    "\"num_attention_heads\": 4, \"num_key_value_heads\": 2, \"num_hidden_layers\": 2, "
    "\"max_position_embeddings\": 512, \"vocab_size\": 864, \"bos_token_id\": 856, "
    "\"eos_token_id\": 857, \"some_new_field\": 1}";

/* Random bf16 values in (-1, 1): the exponent's upper bits are cut. */
static void randomise(pv_buf *data)
{
    uint16_t *values = (uint16_t *)(void *)data->data;
    for (size_t i = 0; i < data->len / 2; i++) {
        values[i] = (uint16_t)((pv_mix64(i) & 0x807f) | (0x3d80 + (pv_mix64(i + 7) & 0x0180)));
    }
}

static void make_checkpoint(void)
{
    engine_config config = {0};
    cr_assert_not_null(mkdtemp(folder));
    cr_assert_eq(engine_config_parse(&config, config_text, strlen(config_text), NULL, 0, NULL),
                 PV_OK);
    checkpoint c = checkpoint_of(&config);
    randomise(&c.data);
    pv_buf bytes = checkpoint_bytes(&c), tokenizer = {0};
    put("model.safetensors", bytes.data, bytes.len);
    put("config.json", config_text, strlen(config_text));
    cr_assert_eq(pv_file_read(TEST_SOURCE_DIR "/tests/golden/tokenizer/small.json", 1 << 24,
                              &tokenizer, NULL),
                 PV_OK);
    put("tokenizer.json", tokenizer.data, tokenizer.len);
    pv_buf_release(&tokenizer);
    pv_buf_release(&bytes);
    checkpoint_release(&c);
    engine_config_release(&config);
}

static void remove_checkpoint(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    cr_assert_eq(system(command), 0);
}

TestSuite(engine_commands, .init = make_checkpoint, .fini = remove_checkpoint, .timeout = 120);

Test(engine_commands, model_says_what_a_checkpoint_is)
{
    command_result r = RUN(NULL, PROVER, "model", folder);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "llama"), "%s", pv_buf_text(&r.out));
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "some_new_field"), "%s", pv_buf_text(&r.out));
    command_release(&r);
    r = RUN(NULL, PROVER, "model", folder, "--json");
    json_t *row = command_json(&r, 0);
    cr_assert_str_eq(json_text(row, "architecture"), "llama");
    cr_assert(json_is_true(json_object_get(row, "runs")));
    json_t *cpu = json_array_get(json_object_get(row, "devices"), 0);
    cr_assert_str_eq(json_text(cpu, "device"), "cpu");
    cr_assert_eq(json_integer_value(json_object_get(cpu, "kv_pages")), 64 * 9,
                 "64 times a context of 512 and one page");
    json_decref(row);
    command_release(&r);
}

static pv_buf completion_with(char *option, char *value)
{
    command_result r = RUN(NULL, PROVER, "complete", folder, "theorem t : 1 = 1", "--max-tokens",
                           "20", "--seed", "5", option, value);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    pv_buf_release(&r.err);
    return r.out;
}

Test(engine_commands, a_stream_says_what_the_whole_says)
{
    pv_buf whole = completion_with("--top-k", "0"),
           stream = completion_with("--stream", "--top-k=0");
    cr_assert_gt(whole.len, 1);
    cr_assert_str_eq(pv_buf_text(&whole), pv_buf_text(&stream));
    pv_buf_release(&whole);
    pv_buf_release(&stream);
    command_result r = RUN(NULL, PROVER, "complete", folder, "x", "--stream", "--samples", "2");
    cr_assert_eq(r.code, 2);
    command_release(&r);
}

Test(engine_commands, the_cuts_can_leave_only_the_likeliest)
{
    pv_buf greedy = completion_with("--temperature", "0");
    char *cuts[][2] = {{"--min-p", "1"}, {"--top-k", "1"}, {"--top-p", "0.000001"}};
    for (size_t i = 0; i < 3; i++) {
        pv_buf cut = completion_with(cuts[i][0], cuts[i][1]);
        cr_assert_str_eq(pv_buf_text(&cut), pv_buf_text(&greedy), "%s", cuts[i][0]);
        pv_buf_release(&cut);
    }
    pv_buf_release(&greedy);
}

/* What a machine without a GPU, or a build without CUDA, can show; both occur. */
Test(engine_commands, a_device_can_be_chosen)
{
    command_result r = RUN(NULL, PROVER, "complete", folder, "x", "--max-tokens", "4", "--device",
                           "cpu", "--kv-memory", "0.001", "--verbose", "1");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "--device cpu: cpu; "), "%s",
                       pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "on cpu"), "%s", pv_buf_text(&r.err));
    command_release(&r);
    r = RUN(NULL, PROVER, "complete", folder, "x", "--max-tokens", "4", "--verbose", "1");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "--device auto: c"), "%s", pv_buf_text(&r.err));
    command_release(&r);
    const char *wrong[][2] = {{"--device", "gpu"}, {"--kv-memory", "0.0000001"}};
    for (size_t i = 0; i < 2; i++) {
        r = RUN(NULL, PROVER, "complete", folder, "x", (char *)wrong[i][0], (char *)wrong[i][1],
                i == 0 ? "--json" : "--device=cpu");
        cr_assert_eq(r.code, 2, "%s", pv_buf_text(&r.err));
        cr_assert_not_null(strstr(pv_buf_text(&r.err), wrong[i][0]), "%s", pv_buf_text(&r.err));
        command_release(&r);
    }
    r = RUN(NULL, PROVER, "prove", "theorem t : True", "--device", "tpu");
    cr_assert_eq(r.code, 2, "%s", pv_buf_text(&r.err));
    command_release(&r);
}

Test(engine_commands, a_gpu_that_is_not_there_is_an_error_of_the_environment)
{
    command_result r = RUN(NULL, PROVER, "model", folder, "--device", "cuda");
    bool there = r.code == 0;
    cr_assert(there || r.code == 1, "%s", pv_buf_text(&r.err));
    cr_assert(there || strstr(pv_buf_text(&r.out), "will not run on cuda: ") != NULL, "%s",
              pv_buf_text(&r.out));
    command_release(&r);
    if (there) {
        cr_skip_test("a GPU answers");
    }
    r = RUN(NULL, PROVER, "complete", folder, "x", "--device", "cuda");
    cr_assert_eq(r.code, 3, "%s", pv_buf_text(&r.err));
    cr_assert_gt(strlen(pv_buf_text(&r.err)), 20, "%s", pv_buf_text(&r.err));
    command_release(&r);
}

Test(engine_commands, damaged_checkpoint_names_file_and_tensor)
{
    cr_assert_eq(truncate(in_folder("model.safetensors"), 4000), 0);
    command_result r = RUN(NULL, PROVER, "model", folder);
    cr_assert(r.code == 2 || r.code == 3, "%d", r.code);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "model.safetensors"), "%s", pv_buf_text(&r.err));
    command_release(&r);
    r = RUN(NULL, PROVER, "complete", "/nowhere", "x");
    cr_assert_eq(r.code, 3);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "/nowhere"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}

static pv_buf completions(const char *samples, const char *template_name)
{
    command_result r =
        RUN(NULL, PROVER, "complete", folder, "theorem t : 1 = 1", "--samples", (char *)samples,
            "--max-tokens", "12", "--seed", "5", "--json", "--template", (char *)template_name);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "tokens/s"));
    pv_buf out = r.out;
    pv_buf_release(&r.err);
    return out;
}

Test(engine_commands, complete_draws_the_same_samples_for_the_same_seed)
{
    pv_buf a = completions("3", "raw"), b = completions("3", "raw"), one = completions("1", "raw");
    cr_assert_str_eq(pv_buf_text(&a), pv_buf_text(&b));
    cr_assert_eq(strncmp(pv_buf_text(&a), pv_buf_text(&one), one.len), 0,
                 "a sample depends on its batch");
    command_result r = {.out = a};
    for (size_t i = 0; i < 3; i++) {
        json_t *row = command_json(&r, i), *logprobs = json_object_get(row, "logprobs");
        size_t n = json_array_size(json_object_get(row, "tokens"));
        cr_assert(n > 0 && n <= 12 && json_array_size(logprobs) == n);
        for (size_t k = 0; k < n; k++) {
            cr_assert_leq(json_real_value(json_array_get(logprobs, k)), 0);
        }
        json_decref(row);
    }
    pv_buf_release(&a);
    pv_buf_release(&b);
    pv_buf_release(&one);
}

Test(engine_commands, templates_and_wrong_words)
{
    const char *good[] = {"chat", "prover-v2-noncot", "prover-v2-cot"};
    for (size_t i = 0; i < 3; i++) {
        pv_buf out = completions("1", good[i]);
        pv_buf_release(&out);
    }
    command_result r = RUN(NULL, PROVER, "complete", folder, "x", "--template", "poem");
    cr_assert_eq(r.code, 2);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "the templates are"));
    command_release(&r);
    const char *nothing[] = {"PATH=/nowhere", "HOME=/nowhere", "PROVER_HOME=/nowhere", NULL};
    command_options bare = {.environment = nothing};
    r = RUN(&bare, PROVER, "prove", "--policy", "model", "theorem t : True");
    cr_assert_eq(r.code, 2);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "needs a model"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}

Test(engine_commands, prove_asks_the_model_and_survives_its_nonsense)
{
    const char *formats[] = {"{\"format\": \"state\", \"after\": \":::\"}",
                             "{\"format\": \"proof\"}"};
    for (size_t i = 0; i < 2; i++) {
        put("prover.json", formats[i], strlen(formats[i]));
        command_result r =
            RUN(NULL, PROVER, "prove", "theorem t (a b : Nat) : a + b = b + a", "--model", folder,
                "--json", "--timeout", "4", "--width", "8", "--workers", "1", "--max-tokens", "8");
        cr_assert(r.code == 0 || r.code == 1, "%d %s", r.code, pv_buf_text(&r.err));
        json_t *row = command_json(&r, 0);
        cr_assert_str_eq(json_text(row, "policy"), "model");
        json_t *tokens = json_object_get(json_object_get(row, "search"), "tokens");
        cr_assert_gt(json_integer_value(tokens), 0, "%s", pv_buf_text(&r.out));
        json_decref(row);
        command_release(&r);
    }
    put("prover.json", "{\"format\": \"ode\"}", 17);
    command_result r = RUN(NULL, PROVER, "prove", "theorem t : True", "--model", folder);
    cr_assert_eq(r.code, 2);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "prover.json"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}

/* Whole proofs by a model that writes nonsense: they are read and paid for, the search follows, and a run keeps to its weights. */
Test(engine_commands, bench_lets_the_model_write_whole_proofs)
{
    static const char row[] =
        "{\"name\":\"t\",\"formal_statement\":\"theorem t (a b : Nat) : a + b = b + a\"}\n";
    static const char format[] = "{\"format\": \"state\", \"after\": \":::\"}";
    char problems[128], store[128];
    put("prover.json", format, sizeof format - 1);
    put("p.jsonl", row, sizeof row - 1);
    snprintf(problems, sizeof problems, "%s", in_folder("p.jsonl"));
    snprintf(store, sizeof store, "%s", in_folder("runs.sqlite"));
    command_result r = RUN(NULL, PROVER, "bench", problems, "--store", store, "--model", folder,
                           "--mode", "both-cot", "--whole-samples", "3", "--whole-rounds", "2",
                           "--whole-tokens", "16", "--budget", "tokens=200", "--workers", "1",
                           "--width", "4", "--max-tokens", "6", "--json");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    json_t *out = command_json(&r, 0), *environment = json_object_get(out, "environment");
    cr_expect_eq(json_integer_value(json_object_get(out, "samples")), 6);
    cr_expect_geq(json_integer_value(json_object_get(json_object_get(out, "search"), "tokens")), 3);
    cr_expect_str_eq(json_text(environment, "policy"), "model");
    cr_expect_str_eq(json_text(environment, "prompt"), "state");
    cr_expect_eq(strlen(json_text(environment, "model_hash")), 64);
    cr_expect_not_null(json_object_get(json_object_get(environment, "sampling"), "temperature"));
    json_decref(out);
    command_release(&r);
    put("config.json", "{}", 2);
    r = RUN(NULL, PROVER, "bench", "--resume", "--store", store);
    cr_expect_eq(r.code, 2);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "other weights"), "%s", pv_buf_text(&r.err));
    command_release(&r);
}

Test(engine_commands, prove_lets_the_model_write_whole_proofs)
{
    static const char format[] = "{\"format\": \"state\", \"after\": \":::\"}";
    put("prover.json", format, sizeof format - 1);
    char *modes[] = {"whole", "both-cot"};
    for (size_t i = 0; i < 2; i++) {
        command_result r =
            RUN(NULL, PROVER, "prove", "theorem t (a b : Nat) : a + b = b + a", "--model", folder,
                "--mode", modes[i], "--repair", "1", "--whole-samples", "3", "--whole-tokens", "16",
                "--tokens", "100", "--workers", "1", "--width", "4", "--max-tokens", "6", "--json");
        cr_assert_eq(r.code, 1, "%s", pv_buf_text(&r.err));
        json_t *row = command_json(&r, 0), *search = json_object_get(row, "search");
        cr_expect_str_eq(json_text(row, "status"), "not proved");
        cr_expect_eq(json_integer_value(json_object_get(row, "samples")), 3);
        cr_expect_geq(json_integer_value(json_object_get(search, "tokens")), 3);
        cr_expect_eq(json_integer_value(json_object_get(search, "states")) > 0, i == 1);
        json_decref(row);
        command_release(&r);
    }
}

/* Lean's errors are the next turn: behind the prompt and the answer as they were, and with the next answer open. */
Test(engine_commands, a_turn_goes_on_behind_the_answer)
{
    engine_model *model = NULL;
    engine_encoder *encoder = NULL;
    engine_tokens asked = {0}, answer = {0}, turn = {0}, more = {0};
    cr_assert_eq(engine_model_open(&model, folder, 0, NULL), PV_OK);
    cr_assert_eq(engine_encoder_new(&encoder, model->tokenizer, NULL), PV_OK);
    cr_assert_eq(prompt_render(model, encoder, "prover-v2-cot", "theorem t", 9, &asked, NULL),
                 PV_OK);
    cr_assert_eq(engine_encode(encoder, "no proof", 8, 0, &answer, NULL), PV_OK);
    cr_assert_eq(engine_encode(encoder, "wrong", 5, 0, &turn, NULL), PV_OK);
    cr_assert_eq(prompt_render_turn(model, encoder, "prover-v2-cot", "theorem t", "no proof",
                                    "wrong", &more, NULL),
                 PV_OK);
    size_t ids = asked.len + answer.len;
    cr_assert_geq(more.len, ids + turn.len + 3, "the answer's end, and the marks of two turns");
    cr_expect_eq(memcmp(more.ids, asked.ids, asked.len * sizeof *asked.ids), 0);
    cr_expect_eq(memcmp(more.ids + asked.len, answer.ids, answer.len * sizeof *answer.ids), 0);
    cr_expect_eq(more.ids[ids], model->chat.end.id);
    cr_expect_eq(more.ids[more.len - 1], asked.ids[asked.len - 1], "the next answer is open");
    cr_expect_eq(prompt_render_turn(model, encoder, "raw", "a", "b", "c", &more, NULL),
                 PV_E_INVALID);
    engine_tokens_release(&asked);
    engine_tokens_release(&answer);
    engine_tokens_release(&turn);
    engine_tokens_release(&more);
    engine_encoder_free(encoder);
    engine_model_close(model);
}

/* ---- the model that is asked without --model ---- */

static char home[] = "/tmp/test_home_XXXXXX";

/* A home with this machine's Lean and, when asked for, the checkpoint as the model that is shipped. */
static void make_home(bool with_model)
{
    char from[128];
    cr_assert_not_null(mkdtemp(home));
    snprintf(from, sizeof from, "%s/lean", home);
    cr_assert_eq(symlink(TEST_SOURCE_DIR "/lean", from), 0);
    snprintf(from, sizeof from, "%s/models", home);
    cr_assert_eq(mkdir(from, 0755), 0);
    snprintf(from, sizeof from, "%s/models/prover-small", home);
    cr_assert(!with_model || symlink(folder, from) == 0);
    cr_assert_eq(setenv("PROVER_HOME", home, 1), 0);
    cr_assert_eq(unsetenv("PROVER_MODEL"), 0);
}

static void remove_home(void)
{
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", home);
    cr_assert_eq(system(command), 0);
}

static command_result prove_by_default(char *policy)
{
    return RUN(NULL, PROVER, "prove", "theorem t (a b : Nat) : a + b = b + a", "--json",
               "--timeout", "2", "--workers", "1", "--max-tokens", "8", policy);
}

static void expect_policy(char *policy, const char *expected)
{
    command_result r = prove_by_default(policy);
    cr_assert(r.code == 0 || r.code == 1, "%d %s", r.code, pv_buf_text(&r.err));
    json_t *row = command_json(&r, 0);
    cr_expect_str_eq(json_text(row, "policy"), expected);
    json_decref(row);
    command_release(&r);
}

Test(engine_commands, a_shipped_model_is_the_default)
{
    static const char format[] = "{\"format\": \"state\", \"after\": \":::\", \"samples\": 4}";
    put("prover.json", format, sizeof format - 1);
    make_home(true);
    expect_policy(NULL, "mixed");
    expect_policy("--policy=portfolio", "portfolio");
    command_result r = RUN(NULL, PROVER, "doctor");
    cr_expect_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.out), "(shipped with prover): llama"), "%s",
                       pv_buf_text(&r.out));
    command_release(&r);
    cr_assert_eq(truncate(in_folder("model.safetensors"), 4000), 0);
    r = prove_by_default(NULL);
    cr_expect(r.code == 2 || r.code == 3, "a broken model must not be passed over: %d", r.code);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "--policy portfolio"), "%s",
                       pv_buf_text(&r.err));
    command_release(&r);
    remove_home();
}

Test(engine_commands, the_environment_may_name_the_model)
{
    static const char format[] = "{\"format\": \"state\", \"after\": \":::\", \"samples\": 4}";
    put("prover.json", format, sizeof format - 1);
    make_home(false);
    command_result r = prove_by_default(NULL);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "no model"), "%s", pv_buf_text(&r.err));
    json_t *row = command_json(&r, 0);
    cr_expect_str_eq(json_text(row, "policy"), "portfolio");
    json_decref(row);
    command_release(&r);
    cr_assert_eq(setenv("PROVER_MODEL", folder, 1), 0);
    expect_policy(NULL, "model");
    cr_assert_eq(setenv("PROVER_MODEL", "/nowhere", 1), 0);
    r = prove_by_default(NULL);
    cr_expect_eq(r.code, 3, "%s", pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "PROVER_MODEL"), "%s", pv_buf_text(&r.err));
    command_release(&r);
    remove_home();
}
