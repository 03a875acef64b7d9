/* prover doctor: what this machine has, what the program will use and why, and whether it works. */
#include "commands.h"
#include "engine_model.h"
#include "lean_session.h"
#include "model_place.h"
#include "progress.h"
#include "prover_json.h"
#include "pv_clock.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

typedef struct health {
    const char *lean_version;
    double start_seconds, check_seconds;
    bool works;
    uint64_t resident_bytes;
    model_place place;
    char model[96]; /* what it is; "" when there is none or it cannot be used */
} health;

/* The model that a search would ask, opened as a search would open it. */
static pv_status look_at_model(health *out, const options *opt, pv_error *err)
{
    engine_model *model = NULL;
    prover_json format = {0};
    pv_status status = model_place_find(&out->place, opt->model, err);
    if (status != PV_OK || out->place.dir == NULL) {
        return status;
    }
    status = engine_model_open(&model, out->place.dir, 0, err);
    if (status == PV_OK) {
        status = prover_json_read(&format, out->place.dir, model->has_chat, err);
    }
    if (status == PV_OK) {
        snprintf(out->model, sizeof out->model, "%s, %.1f M parameters, %.1f MB",
                 engine_arch_text(model->config.arch),
                 (double)model->weights.plan.params_total * 1e-6,
                 (double)model->weights.plan.bytes_total * 1e-6);
    }
    prover_json_release(&format);
    engine_model_close(model);
    return status;
}

/* A header, a statement opened, a proof judged: the whole path but the search. */
static pv_status exercise(session *s, const source *src, health *out, pv_error *err)
{
    lean_env *env = NULL;
    theorem_list list = {0};
    verdict v = {0};
    progress_note("doctor", "starting Lean");
    uint64_t start = pv_clock_ms();
    pv_status status = session_start_pool(s, 1, err);
    if (status == PV_OK) {
        status = ask_header(s, src, &env, err);
    }
    out->start_seconds = (double)(pv_clock_ms() - start) / 1000;
    if (status == PV_OK) {
        status = ask_theorems(s, env, src, &list, err);
    }
    if (status == PV_OK) {
        status = session_start_judge(s, false, err);
    }
    if (status == PV_OK) {
        progress_note("doctor", "a fresh Lean process checks a proof");
        const char *names[] = {"doctor"}, *proofs[] = {"intro h\nexact h"};
        const hole *h = &list.items[0].holes[0];
        source_fill fill = {.start = h->start, .end = h->end, .proof = proofs[0]};
        pv_buf candidate = {0};
        status = source_splice(src, false, &fill, 1, &candidate, err);
        if (status == PV_OK) {
            status = ask_judge(s, src, pv_buf_text(&candidate), names, 1, proofs, 1, &v, err);
        }
        pv_buf_release(&candidate);
        out->works = session_accepts(s, v.level);
        out->check_seconds = v.seconds;
    }
    lean_pool_stats stats = {0};
    if (s->pool != NULL) {
        lean_pool_stats_of(s->pool, &stats);
        out->lean_version = lean_pool_lean_version(s->pool);
    }
    out->resident_bytes = stats.resident_bytes;
    if (status == PV_OK && !out->works) {
        status = pv_fail(err, PV_E_PROTOCOL, "the judge refused a correct proof (%s): %s", v.reason,
                         v.message == NULL ? "" : v.message);
    }
    verdict_release(&v);
    theorem_list_release(&list);
    if (env != NULL) {
        lean_env_unref(env);
    }
    return status;
}

static void print_model(const health *h)
{
    if (h->place.dir == NULL) {
        printf("model      none (one is shipped at %s, or named by PROVER_MODEL): tactics come "
               "from the portfolio\n",
               h->place.shipped == NULL ? "?" : h->place.shipped);
    } else {
        printf("model      %s (%s)%s%s\n", h->place.dir, h->place.from,
               h->model[0] == '\0' ? "" : ": ", h->model);
    }
}

static void print_text(const session *s, const health *h, const pv_error *err)
{
    printf("prover     %s\n", PROVER_VERSION);
    printf("Lean       %s\n", s->toolchain.why == NULL ? "none" : s->toolchain.why);
    printf("version    %s\n", h->lean_version == NULL ? "unknown" : h->lean_version);
    printf("sandbox    %s\n", s->sandbox.describe == NULL ? "not looked at" : s->sandbox.describe);
    printf("workers    %u by default on this machine\n", session_workers(s->opt));
    print_model(h);
    if (h->works) {
        printf("start      %.1f s to a ready worker, %.0f MiB resident\n", h->start_seconds,
               (double)h->resident_bytes / (1 << 20));
        printf("judge      %.1f s for a proof in a fresh process\n", h->check_seconds);
        printf("all well\n");
    } else {
        printf("NOT WELL   %s\n", err->msg);
    }
}

static void print_json(const session *s, const health *h, const pv_error *err)
{
    json_t *out = json_pack(
        "{s:s,s:s?,s:s?,s:s?,s:s?,s:b,s:s?,s:i,s:f,s:f,s:I,s:b,s:s?}", "prover", PROVER_VERSION,
        "toolchain", s->toolchain.why, "lean", h->lean_version, "model", h->place.dir, "model_from",
        h->place.from, "sandboxed", s->sandbox.active, "sandbox", s->sandbox.describe, "workers",
        (int)session_workers(s->opt), "start_seconds", h->start_seconds, "judge_seconds",
        h->check_seconds, "resident_bytes", (json_int_t)h->resident_bytes, "well", h->works, "why",
        h->works ? NULL : err->msg);
    if (out != NULL) {
        json_dumpf(out, stdout, JSON_COMPACT | JSON_ENSURE_ASCII);
        printf("\n");
        json_decref(out);
    }
}

exit_code command_doctor(const options *opt)
{
    session s;
    source src;
    health h = {0};
    pv_error err = {0};
    if (source_load(&src, "theorem doctor (p : Prop) : p → p", "", &err) != PV_OK) {
        return complain(&err);
    }
    pv_error model_err = {0};
    pv_status model_status = look_at_model(&h, opt, &model_err);
    pv_status status = session_open(&s, opt, &err);
    if (status == PV_OK) {
        status = exercise(&s, &src, &h, &err);
    }
    if (status == PV_OK && model_status != PV_OK) {
        status = model_status;
        err = model_err;
        h.works = false;
    }
    progress_clear();
    (opt->json ? print_json : print_text)(&s, &h, &err);
    session_close(&s);
    model_place_release(&h.place);
    source_release(&src);
    if (fflush(stdout) != 0) {
        return EXIT_ENVIRONMENT;
    }
    return status == PV_OK ? EXIT_PROVED : EXIT_ENVIRONMENT;
}
