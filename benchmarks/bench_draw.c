/* Tactics that a model's draws give for the tokens and the time they cost: independent draws beside draws without repetition, of
 * the same states, in one run. Rows of prover's data (JSON lines with `steps`) come on standard input; of every row that is taken
 * the first state is asked.
 *
 * A state is asked `asks` times for `samples` tactics: independently as the model policy did it (another seed and 15 % warmer each
 * time), and as one series. Floor: what one greedy tactic of each state costs. */
#define _GNU_SOURCE

#include "device.h"
#include "engine.h"
#include "policy_prompt.h"
#include "prompt.h"
#include "prover_json.h"
#include "pv_clock.h"
#include "pv_mem.h"
#include "sample_set.h"
#include "settings.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] = "usage: xz -dc ROWS.jsonl.xz | bench_draw DIR [--NAME VALUE]...\n"
                            "\n"
                            "  states 60, every 80 (the rows taken), samples 16, asks 8, "
                            "max-tokens 64, at-once 1, threads 0\n"
                            "  temperature 1 (of 100: 100)\n";

enum { STATES, EVERY, SAMPLES, ASKS, MAX_TOKENS, AT_ONCE, THREADS, TEMPERATURE, SETTINGS };

static setting settings[SETTINGS] = {{"states", 60}, {"every", 80},       {"samples", 16},
                                     {"asks", 8},    {"max-tokens", 64},  {"at-once", 1},
                                     {"threads", 0}, {"temperature", 100}};

static uint32_t of(int which)
{
    return settings[which].value;
}

static void check(pv_status status, const pv_error *err)
{
    if (status != PV_OK) {
        fprintf(stderr, "bench_draw: %s\n", err->msg);
        exit(1);
    }
}

/* ---- states ---- */

typedef struct state {
    engine_tokens prompt;
    sample_set set;
    double mass; /* of the tactics in it, by the model */
} state;

static engine_model *model;
static prover_json format;
static state *states;
static uint32_t state_count;

static void add_state(engine_encoder *encoder, const char *goal)
{
    pv_buf text = {0};
    pv_error err = {0};
    search_policy_request q = {.goals = &goal, .goal_count = 1};
    policy_prompt_state(&format, &q, &text);
    check(prompt_render(model, encoder, "raw", pv_buf_text(&text), text.len,
                        &states[state_count++].prompt, &err),
          &err);
    pv_buf_release(&text);
}

static void read_states(engine_encoder *encoder)
{
    states = calloc(of(STATES), sizeof *states);
    char *line = NULL;
    size_t capacity = 0;
    for (uint64_t row = 0;
         states != NULL && state_count < of(STATES) && getline(&line, &capacity, stdin) > 0;
         row++) {
        json_t *object = row % of(EVERY) == 0 ? json_loads(line, 0, NULL) : NULL;
        json_t *first = json_array_get(json_object_get(object, "steps"), 0);
        const char *goal = json_string_value(json_object_get(first, "state"));
        if (goal != NULL) {
            add_state(encoder, goal);
        }
        json_decref(object);
    }
    free(line);
}

/* ---- draws ---- */

typedef struct tally {
    uint64_t samples, tokens, cut, none;
} tally;

static tally now;

static void on_done(void *user, const engine_result *r)
{
    state *s = user;
    double logprob = 0;
    now.samples++;
    now.tokens += r->tokens_new;
    now.cut += r->finish == ENGINE_FINISH_LENGTH;
    now.none += r->finish == ENGINE_FINISH_EXHAUSTED;
    for (size_t i = 0; i < r->token_count; i++) {
        logprob += (double)r->logprobs[i];
    }
    if (r->finish == ENGINE_FINISH_STOP || r->finish == ENGINE_FINISH_EOS) {
        size_t before = s->set.count;
        if (!sample_set_add(&s->set, r->text, r->text_len, logprob, (uint32_t)r->token_count)) {
            exit(1);
        }
        s->mass += s->set.count > before ? exp(logprob) : 0;
    }
}

typedef struct arm {
    const char *name;
    bool distinct;
    uint32_t asks, samples;
    float temperature;
} arm;

static void submit(engine *e, const arm *a, uint32_t at, uint32_t ask)
{
    state *s = &states[at];
    engine_text stop = {format.stop, strlen(format.stop)};
    engine_request r = {.prefix = s->prompt.ids,
                        .prefix_len = s->prompt.len,
                        .samples = a->samples,
                        .max_tokens = of(MAX_TOKENS),
                        .sampling = {.temperature = a->temperature},
                        .seed = 30 + (a->distinct ? 0 : ask),
                        .key = at,
                        .stops = &stop,
                        .stop_count = 1,
                        .distinct = a->distinct,
                        .first_sample = a->distinct ? ask * a->samples : 0,
                        .series_samples = a->asks * a->samples,
                        .on_done = on_done,
                        .user = s};
    double warmer = (double)a->temperature * (1 + 0.15 * ask);
    if (!a->distinct && ask > 0) {
        r.sampling.temperature = (float)fmin(warmer, fmax(1.6, (double)a->temperature));
    }
    pv_error err = {0};
    check(engine_submit(e, &r, NULL, &err), &err);
}

static void report(const arm *a, const engine_stats *was, const engine_stats *is)
{
    double distinct = 0, mass = 0;
    for (uint32_t i = 0; i < state_count; i++) {
        distinct += (double)states[i].set.count;
        mass += states[i].mass;
    }
    double n = state_count;
    double rows = (double)(is->rows - was->rows);
    double busy = (double)(is->busy_ns - was->busy_ns) * 1e-9;
    printf("%-12s %3u x %3u at %.2f %8.1f %8.1f %8.1f %8.3f %8.1f %8.3f %6.1f %6.1f %8.1f %8.0f "
           "%8.1f\n",
           a->name, a->asks, a->samples, (double)a->temperature, distinct / n,
           (double)now.tokens / n, rows / n, distinct / rows, distinct / busy, mass / n,
           100 * (double)now.cut / (double)now.samples,
           100 * (double)now.none / (double)now.samples, (double)(is->steps - was->steps) / n,
           rows / busy, busy * 1e3 / n);
    fflush(stdout);
}

static void step_all(engine *e)
{
    pv_error err = {0};
    for (bool busy = true; busy;) {
        check(engine_step(e, &busy, &err), &err);
    }
}

/* The prompts are computed before the clock starts: they cost all arms the same. */
static void prepare(engine *e)
{
    static const arm first_token = {"", false, 1, 1, 0};
    engine_forget(e, NULL, 0);
    for (uint32_t i = 0; i < state_count; i++) {
        submit(e, &first_token, i, 0);
    }
    step_all(e);
    for (uint32_t i = 0; i < state_count; i++) {
        sample_set_release(&states[i].set);
        states[i].mass = 0;
    }
    now = (tally){0};
}

static void run(engine *e, const arm *a)
{
    prepare(e);
    engine_stats was, is;
    engine_stats_get(e, &was);
    for (uint32_t ask = 0; ask < a->asks; ask++) {
        for (uint32_t i = 0; i < state_count; i += of(AT_ONCE)) {
            for (uint32_t k = i; k < i + of(AT_ONCE) && k < state_count; k++) {
                submit(e, a, k, ask);
            }
            step_all(e);
        }
    }
    engine_stats_get(e, &is);
    report(a, &was, &is);
}

int main(int argc, char **argv)
{
    if (argc < 2 || !settings_read(settings, SETTINGS, 2, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    pv_error err = {0};
    engine_encoder *encoder = NULL;
    check(engine_model_open(&model, argv[1], 0, &err), &err);
    check(prover_json_read(&format, argv[1], model->has_chat, &err), &err);
    check(engine_encoder_new(&encoder, model->tokenizer, &err), &err);
    read_states(encoder);
    if (state_count == 0) {
        fprintf(stderr, "bench_draw: no states on standard input\n");
        return 1;
    }
    engine_options o = {.backend = {.threads = of(THREADS), .kv_pages = 1600}};
    engine *e = NULL;
    check(engine_open(&e, model, engine_backend_cpu(), &o, &err), &err);
    float t = (float)of(TEMPERATURE) / 100;
    uint32_t n = of(SAMPLES);
    uint32_t asks = of(ASKS);
    const arm arms[] = {
        {"greedy", false, 1, 1, 0},         {"independent", false, 1, n, t},
        {"distinct", true, 1, n / 2, t},    {"distinct", true, 1, n, t},
        {"independent", false, asks, n, t}, {"distinct", true, 1, 2 * n, t},
        {"distinct", true, asks, n / 2, t}, {"distinct", true, asks, n, t},
    };
    printf("%u states; figures for one state\n", state_count);
    printf("%-12s %-17s %8s %8s %8s %8s %8s %8s %6s %6s %8s %8s %8s\n", "", "asks x samples",
           "tactics", "tokens", "rows", "tact/row", "tact/s", "mass", "cut %", "none %", "steps",
           "rows/s", "ms");
    for (size_t i = 0; i < sizeof arms / sizeof *arms; i++) {
        run(e, &arms[i]);
    }
    engine_close(e);
    for (uint32_t i = 0; i < state_count; i++) {
        sample_set_release(&states[i].set);
        engine_tokens_release(&states[i].prompt);
    }
    free(states);
    engine_encoder_free(encoder);
    prover_json_release(&format);
    engine_model_close(model);
    return 0;
}
