/* prover model: what a checkpoint is, what it takes, what of it will not work. */
#include "commands.h"
#include "device.h"
#include "engine_model.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

enum { DEVICES_MAX = 2 };

/* What --device lets us ask about, and what the answer was. */
typedef struct device_answer {
    const char *name; /* as --device takes it */
    device_plan plan;
    pv_error why_not; /* PV_OK: it runs there */
} device_answer;

static size_t ask_devices(device_answer out[DEVICES_MAX], const options *opt,
                          const engine_model *model)
{
    device_table table = device_built();
    bool all = strcmp(opt->device, "auto") == 0;
    const char *names[DEVICES_MAX] = {all ? "cpu" : opt->device, "cuda"};
    size_t count = all && table.cuda != NULL ? 2 : 1;
    for (size_t i = 0; i < count; i++) {
        out[i] = (device_answer){.name = names[i]};
        pv_status ignored =
            device_plan_on(&out[i].plan, &table, names[i], opt, model, &out[i].why_not);
        (void)ignored; /* it is in why_not */
    }
    return count;
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

static void print_device(const device_answer *a)
{
    if (a->why_not.status != PV_OK) {
        printf("will not run on %s: %s\n", a->name, a->why_not.msg);
        return;
    }
    pv_buf text = {0};
    device_plan_text(&a->plan, &text);
    if (strcmp(a->name, "cpu") == 0) {
        printf("on cpu (%s): %s\n", engine_isa_text(engine_isa_detect()), pv_buf_text(&text));
    } else {
        printf("on %s: %s\n", a->name, pv_buf_text(&text));
    }
    pv_buf_release(&text);
}

static void print_text(const engine_model *model, const device_answer *answers, size_t count)
{
    pv_buf text = {0};
    engine_plan_text(&model->weights.plan, &model->config, &text);
    fputs(pv_buf_text(&text), stdout);
    pv_buf_release(&text);
    print_remarks(model);
    for (size_t i = 0; i < count; i++) {
        print_device(&answers[i]);
    }
}

static json_t *json_device(const device_answer *a)
{
    const engine_memory *m = &a->plan.memory;
    if (a->why_not.status != PV_OK) {
        return json_pack("{s:s,s:b,s:s}", "device", a->name, "runs", 0, "why", a->why_not.msg);
    }
    return json_pack("{s:s,s:b,s:n,s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "device", a->name,
                     "runs", 1, "why", "served_by", m->served_by, "gpus", (json_int_t)m->gpus,
                     "weights_mapped", (json_int_t)m->weights_mapped, "weights_copied",
                     (json_int_t)m->weights_copied, "kv_pages", (json_int_t)m->kv_pages,
                     "kv_page_bytes", (json_int_t)m->kv_page, "kv_bytes", (json_int_t)m->kv,
                     "scratch", (json_int_t)m->scratch, "device_total", (json_int_t)m->device_total,
                     "device_free", (json_int_t)m->device_free);
}

/* The first device's answer is also the row's own. */
static void print_json(const engine_model *model, const device_answer *answers, size_t count)
{
    const engine_plan *plan = &model->weights.plan;
    const pv_error *why_not = &answers[0].why_not;
    json_t *unknown = json_array(), *devices = json_array();
    for (size_t i = 0; i < model->config.unknown_count; i++) {
        json_array_append_new(unknown, json_string(model->config.unknown[i]));
    }
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(devices, json_device(&answers[i]));
    }
    json_t *out = json_pack(
        "{s:s,s:I,s:I,s:I,s:I,s:I,s:I,s:o,s:b,s:s?,s:o}", "architecture",
        engine_arch_text(model->config.arch), "parameters", (json_int_t)plan->params_total,
        "active", (json_int_t)plan->params_active, "bytes", (json_int_t)plan->bytes_total,
        "kv_bytes_per_token", (json_int_t)answers[0].plan.memory.kv_token, "unused_tensors",
        (json_int_t)plan->unused_tensors, "mtp_tensors", (json_int_t)plan->mtp_tensors,
        "unknown_fields", unknown, "runs", why_not->status == PV_OK, "why",
        why_not->status == PV_OK ? NULL : why_not->msg, "devices", devices);
    if (out != NULL) {
        json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(out);
    }
}

static bool runs_somewhere(const device_answer *answers, size_t count)
{
    bool runs = false;
    for (size_t i = 0; i < count; i++) {
        runs |= answers[i].why_not.status == PV_OK;
    }
    return runs;
}

static pv_status check(const options *opt, pv_error *err)
{
    if (opt->argument_count != 1) {
        return pv_fail(err, PV_E_INVALID, "model takes one argument: a checkpoint folder");
    }
    return device_check(opt, err);
}

exit_code command_model(const options *opt)
{
    pv_error err = {0};
    engine_model *model = NULL;
    if (check(opt, &err) != PV_OK ||
        engine_model_open(&model, opt->arguments[0], 0, &err) != PV_OK) {
        return complain(&err);
    }
    device_answer answers[DEVICES_MAX];
    size_t count = ask_devices(answers, opt, model);
    (opt->json ? print_json : print_text)(model, answers, count);
    bool runs = runs_somewhere(answers, count);
    engine_model_close(model);
    if (fflush(stdout) != 0) {
        return EXIT_ENVIRONMENT;
    }
    return runs ? EXIT_PROVED : EXIT_NOT_PROVED;
}
