/* prover model: what a checkpoint is, what it takes, what of it will not work. */
#include "commands.h"
#include "engine_backend.h"
#include "engine_model.h"

#include <jansson.h>
#include <stdio.h>

static const double GIB = 1024.0 * 1024 * 1024;

static engine_backend_options backend_options(const options *opt)
{
    engine_backend_options out = {.threads = (uint32_t)opt->threads};
    return out;
}

static void print_remarks(const engine_model *model)
{
    for (size_t i = 0; i < model->config.unknown_count; i++) {
        printf("unknown field in config.json, ignored: %s\n", model->config.unknown[i]);
    }
    if (model->chat_missing != NULL) {
        printf("no chat template: %s\n", model->chat_missing);
    }
    engine_chat chat = ENGINE_CHAT_ABSENT;
    if (engine_template_compare(model->dir, &chat, NULL) == PV_OK && chat == ENGINE_CHAT_OTHER) {
        printf("its chat template is not the one built in: compare before using --template chat\n");
    }
}

static void print_text(const engine_model *model, const engine_memory *memory, const pv_error *err)
{
    pv_buf text = {0};
    engine_plan_text(&model->weights.plan, &model->config, &text);
    fputs(pv_buf_text(&text), stdout);
    pv_buf_release(&text);
    print_remarks(model);
    if (err->status == PV_OK) {
        printf("on cpu (%s): %.2f GiB of weights in place, %.2f GiB for %u pages of cache, %.2f "
               "GiB of "
               "scratch\n",
               engine_isa_text(engine_isa_detect()), (double)memory->weights_mapped / GIB,
               (double)memory->kv / GIB, memory->kv_pages, (double)memory->scratch / GIB);
    } else {
        printf("will not run on cpu: %s\n", err->msg);
    }
}

static void print_json(const engine_model *model, const engine_memory *memory, const pv_error *err)
{
    const engine_plan *plan = &model->weights.plan;
    json_t *unknown = json_array();
    for (size_t i = 0; i < model->config.unknown_count; i++) {
        json_array_append_new(unknown, json_string(model->config.unknown[i]));
    }
    json_t *out =
        json_pack("{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:b,s:s?}", "architecture",
                  engine_arch_text(model->config.arch), "parameters",
                  (json_int_t)plan->params_total, "active", (json_int_t)plan->params_active,
                  "bytes", (json_int_t)plan->bytes_total, "kv_bytes_per_token",
                  (json_int_t)memory->kv_token, "unused_tensors", (json_int_t)plan->unused_tensors,
                  "mtp_tensors", (json_int_t)plan->mtp_tensors, "unknown_fields", unknown, "runs",
                  err->status == PV_OK, "why", err->status == PV_OK ? NULL : err->msg);
    if (out != NULL) {
        json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(out);
    }
}

exit_code command_model(const options *opt)
{
    pv_error err = {0}, plan_error = {0};
    if (opt->argument_count != 1) {
        pv_fail(&err, PV_E_INVALID, "model takes one argument: a checkpoint folder");
        return complain(&err);
    }
    engine_model *model = NULL;
    if (engine_model_open(&model, opt->arguments[0], 0, &err) != PV_OK) {
        return complain(&err);
    }
    engine_memory memory = {0};
    engine_backend_options wanted = backend_options(opt);
    pv_status plan = engine_backend_cpu()->plan(&memory, &model->weights, &wanted, &plan_error);
    (opt->json ? print_json : print_text)(model, &memory, &plan_error);
    engine_model_close(model);
    if (fflush(stdout) != 0) {
        return EXIT_ENVIRONMENT;
    }
    return plan == PV_OK ? EXIT_PROVED : EXIT_NOT_PROVED;
}
