/* prover complete: prompt in, samples out. */
#include "commands.h"
#include "device.h"
#include "engine_detokenizer.h"
#include "prompt.h"
#include "pv_clock.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { PROMPT_MAX = 8 << 20 };

typedef struct completion {
    const options *opt;
    const engine_model *model;
    size_t failed, tokens;
    pv_error error;
} completion;

/* ---- output ---- */

static void print_json(const engine_result *r)
{
    json_t *tokens = json_array(), *logprobs = json_array();
    for (size_t i = 0; i < r->token_count; i++) {
        json_array_append_new(tokens, json_integer(r->tokens[i]));
        json_array_append_new(logprobs, json_real((double)r->logprobs[i]));
    }
    pv_buf text = {0};
    engine_utf8_lossy(r->text, r->text_len, &text);
    json_t *row = json_pack("{s:I,s:s%,s:s,s:o,s:o}", "sample", (json_int_t)r->sample, "text",
                            pv_buf_text(&text), text.len, "finish", engine_finish_text(r->finish),
                            "tokens", tokens, "logprobs", logprobs);
    if (row != NULL) {
        json_dumpf(row, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(row);
    }
    pv_buf_release(&text);
}

static void print_text(const completion *c, const engine_result *r)
{
    if (c->opt->samples > 1) {
        printf("--- sample %u (%s)\n", r->sample, engine_finish_text(r->finish));
    }
    if (!c->opt->stream) {
        fwrite(r->text, 1, r->text_len, stdout);
    }
    printf("\n");
}

static void on_done(void *user, const engine_result *r)
{
    completion *c = user;
    c->tokens += r->token_count;
    if (r->finish == ENGINE_FINISH_FAILED) {
        c->failed++;
        pv_fail(&c->error, r->error->status, "%s", r->error->msg);
    } else if (c->opt->json) {
        print_json(r);
    } else {
        print_text(c, r);
    }
    fflush(stdout);
}

static void on_token(void *user, const engine_token *t)
{
    (void)user;
    fwrite(t->text, 1, t->text_len, stdout);
    fflush(stdout);
}

/* ---- the run ---- */

static pv_status submit(engine *e, completion *c, const engine_tokens *prompt, pv_error *err)
{
    const options *opt = c->opt;
    engine_text stop = {opt->stop, strlen(opt->stop)};
    engine_request request = {
        .prefix = prompt->ids,
        .prefix_len = prompt->len,
        .samples = (uint32_t)opt->samples,
        .max_tokens = (uint32_t)opt->max_tokens,
        .sampling = {(float)opt->temperature, (uint32_t)opt->top_k, (float)opt->top_p,
                     (float)opt->min_p},
        .seed = opt->seed,
        .stops = stop.len > 0 ? &stop : NULL,
        .stop_count = stop.len > 0,
        .on_token = opt->stream && !opt->json ? on_token : NULL,
        .on_done = on_done,
        .user = c,
    };
    return engine_submit(e, &request, NULL, err);
}

static pv_status generate(completion *c, const engine_tokens *prompt, pv_error *err)
{
    engine *e = NULL;
    device_plan plan;
    pv_status status = device_choose(&plan, c->opt, c->model, err);
    if (status == PV_OK) {
        status = engine_open(&e, c->model, plan.backend, &plan.engine, err);
    }
    if (status == PV_OK) {
        status = submit(e, c, prompt, err);
    }
    uint64_t start = pv_clock_ns();
    for (bool busy = true; busy && status == PV_OK && !ferror(stdout);) {
        status = engine_step(e, &busy, err);
    }
    double seconds = (double)(pv_clock_ns() - start) / 1e9;
    engine_close(e);
    if (status == PV_OK && ferror(stdout)) {
        status = pv_fail_os(err, PV_E_IO, errno,
                            "the completion could not be written to standard output");
    }
    if (status == PV_OK && c->failed > 0) {
        status = pv_fail(err, c->error.status, "%s", c->error.msg);
    }
    if (status == PV_OK) {
        fprintf(stderr, "%zu tokens after a prompt of %zu in %.2f s on %s: %.1f tokens/s\n",
                c->tokens, prompt->len, seconds, plan.backend->name,
                seconds > 0 ? (double)c->tokens / seconds : 0);
    }
    return status;
}

static pv_status read_prompt(const options *opt, pv_buf *text, pv_error *err)
{
    const char *argument = opt->argument_count > 1 ? opt->arguments[1] : "-";
    if (strcmp(argument, "-") == 0) {
        return pv_file_read("-", PROMPT_MAX, text, err);
    }
    pv_buf_puts(text, argument);
    return pv_buf_ok(text) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory");
}

static pv_status complete(completion *c, const engine_model *model, pv_error *err)
{
    pv_buf text = {0};
    engine_encoder *encoder = NULL;
    engine_tokens prompt = {0};
    pv_status status = read_prompt(c->opt, &text, err);
    if (status == PV_OK) {
        status = engine_encoder_new(&encoder, model->tokenizer, err);
    }
    if (status == PV_OK) {
        status = prompt_render(model, encoder, c->opt->template_name, pv_buf_text(&text), text.len,
                               &prompt, err);
    }
    if (status == PV_OK && prompt.len == 0) {
        status = pv_fail(err, PV_E_INVALID, "the prompt is empty");
    }
    if (status == PV_OK) {
        status = generate(c, &prompt, err);
    }
    engine_tokens_release(&prompt);
    engine_encoder_free(encoder);
    pv_buf_release(&text);
    return status;
}

exit_code command_complete(const options *opt)
{
    pv_error err = {0};
    if (opt->argument_count < 1 || opt->argument_count > 2) {
        pv_fail(&err, PV_E_INVALID,
                "complete takes a checkpoint folder and a prompt (none or -: standard input)");
        return complain(&err);
    }
    if (opt->stream && opt->samples > 1) {
        pv_fail(&err, PV_E_INVALID, "--stream shows one sample: leave out --samples");
        return complain(&err);
    }
    engine_model *model = NULL;
    if (device_check(opt, &err) != PV_OK ||
        engine_model_open(&model, opt->arguments[0], 0, &err) != PV_OK) {
        return complain(&err);
    }
    completion c = {.opt = opt, .model = model};
    pv_status status = complete(&c, model, &err);
    engine_model_close(model);
    return status == PV_OK ? EXIT_PROVED : complain(&err);
}
