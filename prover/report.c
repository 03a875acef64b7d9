#include "report.h"

#include "json_out.h"
#include "progress.h"
#include "pv_sha256.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char *end_name(attempt_end end)
{
    switch (end) {
    case ATTEMPT_PROVED:
        return "proved";
    case ATTEMPT_REFUSED:
        return "refused";
    case ATTEMPT_SKIPPED:
        return "skipped";
    case ATTEMPT_INTERRUPTED:
        return "interrupted";
    case ATTEMPT_NOT_PROVED:
        break;
    }
    return "not proved";
}

static const char *toolchain_name(lean_toolchain_kind kind)
{
    switch (kind) {
    case LEAN_TOOLCHAIN_PROJECT:
        return "project";
    case LEAN_TOOLCHAIN_PATH:
        return "path";
    case LEAN_TOOLCHAIN_NPM:
        return "npm";
    case LEAN_TOOLCHAIN_COMMAND:
        break;
    }
    return "command";
}

/* ---- JSON ---- */

static json_t *text_array(char *const *items, size_t count)
{
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++) {
        json_array_append_new(array, items[i] == NULL ? json_null() : json_string(items[i]));
    }
    return array;
}

static json_t *stats_json(const search_stats *stats)
{
    json_t *out = json_object();
    json_out_count(out, "states", stats->nodes);
    json_out_count(out, "expansions", stats->expansions);
    json_out_count(out, "tactics", stats->tactics);
    json_out_count(out, "failed", stats->failed);
    json_out_count(out, "timed_out", stats->timed_out);
    json_out_count(out, "lost", stats->lost);
    json_out_count(out, "merged", stats->duplicates);
    json_out_count(out, "no_ops", stats->no_ops);
    json_out_count(out, "tokens", stats->tokens);
    json_out_count(out, "depth", stats->depth);
    json_object_set_new(out, "lean_seconds", json_real(stats->lean_seconds));
    return out;
}

static const char *canary_word(const lean_canary *canary, bool through)
{
    return !canary->ran ? "not tried" : through ? "let through" : "blocked";
}

static void set_hash(json_t *out, const char *key, const char *text)
{
    char hex[PV_SHA256_TEXT];
    if (text != NULL) {
        pv_sha256_of(text, strlen(text), hex);
    }
    json_out_text(out, key, text == NULL ? NULL : hex);
}

static void set_environment(json_t *out, const report_context *context)
{
    const session *s = context->s;
    json_out_text(out, "lean", context->lean_version);
    json_out_text(out, "toolchain", toolchain_name(s->toolchain.kind));
    json_object_set_new(out, "sandboxed", json_boolean(s->sandbox.active));
    json_out_text(out, "sandbox", s->sandbox.describe);
    const lean_canary *canary = &s->sandbox.canary;
    json_object_set_new(out, "canary",
                        json_pack("{s:b,s:s,s:s}", "ran", canary->ran, "write",
                                  canary_word(canary, canary->wrote), "network",
                                  canary_word(canary, canary->connected)));
}

/* The levels that were reached, and who accepted the proof. */
static void set_levels(json_t *out, const verdict *v)
{
    json_t *levels = json_array(), *checkers = json_array();
    for (lean_level level = LEAN_LEVEL_COMPILED; level <= v->level; level++) {
        json_array_append_new(levels, json_string(lean_level_name(level)));
    }
    if (v->level != LEAN_LEVEL_NONE) {
        bool second = v->level == LEAN_LEVEL_REPLAYED;
        json_array_append_new(
            checkers,
            json_pack("{s:s,s:s?,s:s}", "name", "Lean's kernel", "version", v->lean_version,
                      "process", second ? "one that never ran the proof" : "the proof's own"));
    }
    for (size_t i = 0; v->level != LEAN_LEVEL_NONE && i < v->checker_count; i++) {
        const verdict_checker *c = &v->checkers[i];
        json_array_append_new(checkers, json_pack("{s:s,s:s?,s:s,s:f}", "name", c->name, "version",
                                                  c->version, "process", "a program of its own",
                                                  "seconds", c->seconds));
    }
    json_object_set_new(out, "levels", levels);
    json_object_set_new(out, "checkers", checkers);
}

static void set_verdict(json_t *out, const verdict *v)
{
    json_out_text(out, "level", v->level == LEAN_LEVEL_NONE ? NULL : lean_level_name(v->level));
    set_levels(out, v);
    json_out_text(out, "shortfall", v->shortfall);
    json_out_count(out, "export_bytes", v->export_bytes);
    json_object_set_new(out, "replay_seconds", json_real(v->replay_seconds));
    json_object_set_new(out, "axioms", text_array(v->axioms, v->axiom_count));
    json_object_set_new(out, "judge_seconds", json_real(v->seconds));
}

static pv_status print_json(json_t *object, pv_error *err)
{
    pv_status status = json_out_print(object, err);
    return status == PV_OK ? json_out_flush(err) : status;
}

static pv_status attempt_json(const report_context *context, const theorem *t, const attempt *a,
                              pv_error *err)
{
    json_t *out = json_object();
    json_out_text(out, "theorem", t->name);
    json_out_text(out, "source", context->src->name);
    json_out_count(out, "line", t->line);
    json_out_text(out, "status", end_name(a->end));
    json_out_text(out, "why", a->why);
    set_verdict(out, &a->verdict);
    json_object_set_new(out, "proofs", text_array(a->proofs, a->proof_count));
    json_out_text(out, "text", a->text);
    json_out_text(out, "way", a->end == ATTEMPT_PROVED ? effort_way_name(a->way) : NULL);
    json_out_count(out, "samples", a->samples);
    json_out_count(out, "repairs", a->repairs);
    json_out_count(out, "kept_bytes", a->kept);
    set_hash(out, "statement_sha256", context->src->text);
    set_hash(out, "proof_sha256", a->text);
    json_out_text(out, "policy", context->policy);
    json_out_count(out, "seed", context->s->opt->seed);
    json_object_set_new(out, "seconds", json_real(a->seconds));
    json_object_set_new(out, "search", stats_json(&a->stats));
    set_environment(out, context);
    if (a->tree != NULL) {
        json_out_text(out, "tree", a->tree);
    }
    return print_json(out, err);
}

/* ---- people ---- */

static void print_axioms(const verdict *v)
{
    printf("axioms: ");
    for (size_t i = 0; i < v->axiom_count; i++) {
        printf("%s%s", i > 0 ? ", " : "", v->axioms[i]);
    }
    printf("%s\n", v->axiom_count == 0 ? "none" : "");
}

/* A message may quote a proof: nothing in it moves the cursor, and its further lines do not look like lines of ours. */
static void print_quoted(const char *text)
{
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '\n') {
            fputs("\n  | ", stdout);
        } else {
            putchar(c < ' ' || c == 0x7f ? '?' : c);
        }
    }
    putchar('\n');
}

static void print_environment(const report_context *context)
{
    const session *s = context->s;
    printf("Lean %s (%s), %s\n", context->lean_version == NULL ? "?" : context->lean_version,
           toolchain_name(s->toolchain.kind), s->sandbox.describe);
}

static pv_status attempt_text(const report_context *context, const theorem *t, const attempt *a,
                              pv_error *err)
{
    printf("%s %s: %s", t->kind, t->name, end_name(a->end));
    if (a->end == ATTEMPT_PROVED) {
        printf(" (%s%s)", lean_level_name(a->verdict.level),
               context->s->sandbox.active ? "" : ", not confined");
    }
    if (a->end != ATTEMPT_SKIPPED) {
        printf(" in %.1f s: %llu states, %llu tactics tried, %.1f s in Lean", a->seconds,
               (unsigned long long)a->stats.nodes, (unsigned long long)a->stats.tactics,
               a->stats.lean_seconds);
    }
    if (a->samples > 0) {
        printf(", %llu whole proofs read (%llu after Lean's errors)",
               (unsigned long long)a->samples, (unsigned long long)a->repairs);
    }
    printf("\n");
    if (a->why != NULL) {
        printf("  %s\n", a->why);
    }
    if (a->tree != NULL) {
        printf("\n%s", a->tree);
    }
    if (a->text != NULL) {
        printf("\n%s\n\n", a->text);
        print_axioms(&a->verdict);
        print_environment(context);
    }
    return json_out_flush(err);
}

pv_status report_attempt(const report_context *context, const theorem *t, const attempt *a,
                         pv_error *err)
{
    progress_clear();
    return context->s->opt->json ? attempt_json(context, t, a, err)
                                 : attempt_text(context, t, a, err);
}

static pv_status verdict_json(const report_context *context, const char *const *names,
                              size_t name_count, const verdict *v, pv_error *err)
{
    json_t *out = json_object();
    json_object_set_new(out, "theorems", text_array((char *const *)names, name_count));
    json_out_text(out, "source", context->src->name);
    const source *statement = context->statement == NULL ? context->src : context->statement;
    bool accepted = session_accepts(context->s, v->level);
    json_out_text(out, "status", accepted ? "accepted" : "refused");
    json_out_text(out, "reason", accepted || v->reason != NULL ? v->reason : "level");
    json_out_text(out, "why", accepted || v->message != NULL ? v->message : v->shortfall);
    json_out_text(out, "demanded", lean_level_name(context->s->level));
    set_hash(out, "statement_sha256", statement->text);
    set_hash(out, "proof_sha256", context->src->text);
    set_verdict(out, v);
    set_environment(out, context);
    return print_json(out, err);
}

pv_status report_verdict(const report_context *context, const char *const *names, size_t name_count,
                         const verdict *v, pv_error *err)
{
    progress_clear();
    if (context->s->opt->json) {
        return verdict_json(context, names, name_count, v, err);
    }
    bool accepted = session_accepts(context->s, v->level);
    printf("%s: %s", context->src->name, accepted ? "accepted" : "refused");
    if (accepted) {
        printf(" (%s%s)", lean_level_name(v->level),
               context->s->sandbox.active ? "" : ", not confined");
    }
    printf(" in %.1f s\n", v->seconds);
    for (size_t i = 0; i < name_count; i++) {
        printf("  %s\n", names[i]);
    }
    if (accepted) {
        print_axioms(v);
        for (size_t i = 0; i < v->checker_count; i++) {
            printf("accepted by %s, too, in %.1f s\n", v->checkers[i].name, v->checkers[i].seconds);
        }
    } else if (v->reason != NULL) {
        printf("  %s: ", v->reason);
        print_quoted(v->message == NULL ? "" : v->message);
    } else {
        printf("  level: only %s was reached, and %s is demanded: %s\n", lean_level_name(v->level),
               lean_level_name(context->s->level), v->shortfall == NULL ? "" : v->shortfall);
    }
    if (accepted && v->shortfall != NULL) {
        printf("not replayed: %s\n", v->shortfall);
    }
    print_environment(context);
    return json_out_flush(err);
}
