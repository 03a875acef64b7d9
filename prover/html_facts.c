#include "budget.h"
#include "html_page.h"
#include "html_text.h"
#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

/* Appends the text, not HTML yet, of one fact of a run; nothing when there is none. */
typedef void fact_of(const report_run *run, pv_buf *out);
typedef void show_value(const json_t *environment, pv_buf *out);

/* ---- out of settings and environments ---- */

static const char *setting(const report_run *run, const char *flag)
{
    const char *value = json_string_value(json_object_get(run->settings, flag));
    return value == NULL ? "" : value;
}

/* What `show` makes of each environment, each once. */
static void put_values(const report_run *run, show_value *show, pv_buf *out)
{
    size_t i;
    json_t *environment;
    json_array_foreach(run->environments, i, environment)
    {
        pv_buf one = {0};
        show(environment, &one);
        if (one.len > 0 && strstr(pv_buf_text(out), pv_buf_text(&one)) == NULL) {
            pv_buf_printf(out, "%s%s", out->len > 0 ? "; " : "", pv_buf_text(&one));
        }
        pv_buf_release(&one);
    }
}

static const char *text_of(const json_t *environment, const char *key)
{
    const char *text = json_string_value(json_object_get(environment, key));
    return text == NULL ? "" : text;
}

static void show_policy(const json_t *e, pv_buf *out)
{
    pv_buf_puts(out, text_of(e, "policy"));
}

static void show_model(const json_t *e, pv_buf *out)
{
    pv_buf_puts(out, text_of(e, "model"));
    if (text_of(e, "model_hash")[0] != '\0') {
        pv_buf_printf(out, " (weights %.12s)", text_of(e, "model_hash"));
    }
}

static void show_prompt(const json_t *e, pv_buf *out)
{
    const json_t *sampling = json_object_get(e, "sampling");
    if (text_of(e, "prompt")[0] == '\0') {
        return;
    }
    pv_buf_printf(out, "%s; temperature %g, top-p %g", text_of(e, "prompt"),
                  json_number_value(json_object_get(sampling, "temperature")),
                  json_number_value(json_object_get(sampling, "top_p")));
    if (json_integer_value(json_object_get(sampling, "top_k")) > 0) {
        pv_buf_printf(out, ", top-k %lld",
                      (long long)json_integer_value(json_object_get(sampling, "top_k")));
    }
    if (json_number_value(json_object_get(sampling, "min_p")) > 0) {
        pv_buf_printf(out, ", min-p %g", json_number_value(json_object_get(sampling, "min_p")));
    }
}

static void show_sandbox(const json_t *e, pv_buf *out)
{
    pv_buf_puts(out, text_of(e, "sandbox"));
}

static void show_host(const json_t *e, pv_buf *out)
{
    if (text_of(e, "host")[0] != '\0') {
        pv_buf_printf(out, "%s, %lld Lean processes", text_of(e, "host"),
                      (long long)json_integer_value(json_object_get(e, "workers")));
    }
}

static void show_program(const json_t *e, pv_buf *out)
{
    pv_buf_puts(out, text_of(e, "prover"));
}

/* ---- the facts ---- */

static void fact_id(const report_run *run, pv_buf *out)
{
    for (size_t i = 0; i < run->parts.count; i++) {
        const store_run *part = run->parts.items[i].run;
        pv_buf_printf(out, "%s%s", i > 0 ? ", " : "", part->id);
        if (strcmp(part->shard, "0/1") != 0) {
            pv_buf_printf(out, " (shard %s)", part->shard);
        }
    }
}

static void fact_file(const report_run *run, pv_buf *out)
{
    pv_buf_puts(out, run->parts.items[0].run->file);
}

static void fact_statements(const report_run *run, pv_buf *out)
{
    pv_buf_printf(out, "%zu, SHA-256 %s", run->problem_count,
                  run->parts.items[0].run->problems_hash);
}

static void fact_header(const report_run *run, pv_buf *out)
{
    size_t others = 0;
    const report_problem *first = run->problem_count > 0 ? &run->problems[0] : NULL;
    for (size_t i = 1; i < run->problem_count; i++) {
        others += strcmp(run->problems[i].header_hash, first->header_hash) != 0;
    }
    if (others > 0) {
        pv_buf_puts(out, "each problem\xe2\x80\x99s own");
    } else if (first != NULL) {
        pv_buf_puts(out, first->header[0] == '\0' ? "none" : first->header);
    }
}

static void fact_lean(const report_run *run, pv_buf *out)
{
    pv_buf_puts(out, run->lean);
}

static void put_limit(pv_buf *out, const char *before, double limit, const char *unit)
{
    if (limit > 0) {
        pv_buf_printf(out, "%s%s%.15g %s", out->len > 0 ? ", " : "", before, limit, unit);
    }
}

/* A bench run has --budget; a `prove` run an option for each limit. */
static void fact_budget(const report_run *run, pv_buf *out)
{
    budget b = {.wall_seconds = strtod(setting(run, "--timeout"), NULL),
                .lean_seconds = strtod(setting(run, "--lean-seconds"), NULL),
                .nodes = strtoull(setting(run, "--nodes"), NULL, 10),
                .tokens = strtoull(setting(run, "--tokens"), NULL, 10)};
    if (setting(run, "--budget")[0] != '\0' &&
        budget_parse(&b, setting(run, "--budget"), NULL) != PV_OK) {
        pv_buf_puts(out, setting(run, "--budget"));
        return;
    }
    put_limit(out, "", b.wall_seconds, "s");
    put_limit(out, "", (double)b.nodes, "states");
    put_limit(out, "", b.lean_seconds, "s in Lean");
    put_limit(out, "", (double)b.tokens, "tokens");
}

static void fact_tactic(const report_run *run, pv_buf *out)
{
    put_limit(out, "", strtod(setting(run, "--tactic-timeout"), NULL), "s");
    put_limit(out, "", strtod(setting(run, "--heartbeats"), NULL), "heartbeats");
}

static void fact_search(const report_run *run, pv_buf *out)
{
    pv_buf_printf(out, "%s%swindow %s, depth %s, alpha %s", setting(run, "--mode"),
                  setting(run, "--mode")[0] == '\0' ? "" : "; ", setting(run, "--window"),
                  setting(run, "--depth"), setting(run, "--alpha"));
}

static void fact_passes(const report_run *run, pv_buf *out)
{
    pv_buf_printf(out, "%llu, seed %llu", (unsigned long long)report_run_passes(run),
                  (unsigned long long)run->parts.items[0].run->seed);
}

static void fact_dates(const report_run *run, pv_buf *out)
{
    int64_t last = 0;
    for (size_t i = 0; i < run->problem_count; i++) {
        for (size_t k = 0; k < run->problems[i].row_count; k++) {
            int64_t finished = run->problems[i].rows[k].finished;
            last = finished > last ? finished : last;
        }
    }
    html_time(out, run->parts.items[0].run->created);
    if (last > 0) {
        pv_buf_puts(out, " to ");
        html_time(out, last);
    }
}

/* Sums over all attempts. */
static void fact_work(const report_run *run, pv_buf *out)
{
    double seconds = 0, lean = 0, judging = 0;
    uint64_t tactics = 0, tokens = 0;
    for (size_t i = 0; i < run->problem_count; i++) {
        for (size_t k = 0; k < run->problems[i].row_count; k++) {
            const report_row *row = &run->problems[i].rows[k];
            seconds += row->seconds;
            lean += row->stats.lean_seconds;
            judging += row->judge_seconds;
            tactics += row->stats.tactics;
            tokens += row->stats.tokens;
        }
    }
    html_seconds(out, seconds);
    pv_buf_puts(out, " of attempts, ");
    html_seconds(out, lean);
    pv_buf_puts(out, " in Lean, ");
    html_seconds(out, judging);
    pv_buf_puts(out, " judging; ");
    html_count(out, tactics);
    pv_buf_puts(out, " tactics, ");
    html_count(out, tokens);
    pv_buf_puts(out, " tokens");
}

/* Of the run, or what each of its environments says. */
typedef struct fact {
    const char *label;
    fact_of *of;
    show_value *show;
} fact;

static const fact FACTS[] = {
    {"Policy", NULL, show_policy},
    {"Model", NULL, show_model},
    {"Prompt", NULL, show_prompt},
    {"Budget of an attempt", fact_budget, NULL},
    {"Limit of a tactic", fact_tactic, NULL},
    {"Search", fact_search, NULL},
    {"Attempts at a problem", fact_passes, NULL},
    {"Lean", fact_lean, NULL},
    {"Sandbox", NULL, show_sandbox},
    {"Header", fact_header, NULL},
    {"Problems", fact_file, NULL},
    {"Statements", fact_statements, NULL},
    {"Spent", fact_work, NULL},
    {"Machine", NULL, show_host},
    {"Program", NULL, show_program},
    {"Date", fact_dates, NULL},
    {"Run", fact_id, NULL},
};

static void put_fact(const html_page *page, const fact *f, pv_buf *out)
{
    pv_buf values[2] = {{0}, {0}};
    size_t length = 0;
    for (size_t i = 0; i < page->run_count; i++) {
        if (f->of != NULL) {
            f->of(page->runs[i], &values[i]);
        } else {
            put_values(page->runs[i], f->show, &values[i]);
        }
        length += values[i].len;
    }
    bool same =
        page->run_count == 2 && strcmp(pv_buf_text(&values[0]), pv_buf_text(&values[1])) == 0;
    if (length > 0) {
        pv_buf_printf(out, "<tr%s><th scope=\"row\">%s</th>",
                      page->run_count == 2 && !same ? " class=\"differs\"" : "", f->label);
        for (size_t i = 0; i < (same ? 1 : page->run_count); i++) {
            pv_buf_puts(out, same ? "<td colspan=\"2\">" : "<td>");
            html_text(out, pv_buf_text(&values[i]));
            pv_buf_puts(out, "</td>");
        }
        pv_buf_puts(out, "</tr>\n");
    }
    out->failed = out->failed || !pv_buf_ok(&values[0]) || !pv_buf_ok(&values[1]);
    pv_buf_release(&values[0]);
    pv_buf_release(&values[1]);
}

/* ---- pass@k ---- */

static void put_estimates(const html_page *page, size_t which, const pass_count *counts,
                          pv_buf *out)
{
    const report_run *run = page->runs[which];
    uint64_t passes = report_run_passes(run);
    for (uint64_t k = 1; k != 0; k = pass_next_k(k, passes)) {
        pass_estimate e = pass_estimate_of(counts, run->problem_count, k);
        if (e.problems == 0) {
            continue;
        }
        pv_buf_puts(out, "<tr><th scope=\"row\">");
        if (page->run_count > 1) {
            pv_buf_printf(out, "<b class=\"run-%c\">%c</b> ", which == 0 ? 'a' : 'b',
                          html_page_letter(which));
        }
        pv_buf_printf(out,
                      "pass@%llu</th><td class=\"n\">%.2f\xc2\xa0%%</td><td class=\"n\">%.2f to "
                      "%.2f\xc2\xa0%%</td><td class=\"n\">",
                      (unsigned long long)k, 100 * e.value, 100 * e.low, 100 * e.high);
        html_count(out, e.problems);
        pv_buf_puts(out, "</td></tr>\n");
    }
}

static pv_status put_passes(const html_page *page, pv_buf *out, pv_error *err)
{
    pv_buf_puts(out,
                "<table class=\"facts pass\"><thead><tr><td></td><th class=\"n\" "
                "scope=\"col\">Proved</th><th class=\"n\" scope=\"col\">95\xc2\xa0% interval</th>"
                "<th class=\"n\" scope=\"col\">Problems</th></tr></thead><tbody>\n");
    for (size_t i = 0; i < page->run_count; i++) {
        pass_count *counts = report_run_counts(page->runs[i]);
        if (counts == NULL) {
            return pv_fail(err, PV_E_NOMEM, "out of memory");
        }
        put_estimates(page, i, counts, out);
        pv_free(counts);
    }
    pv_buf_puts(out, "</tbody></table>\n");
    return PV_OK;
}

/* Every setting of the run, for whoever wants to make it again. */
static void put_settings(const html_page *page, pv_buf *out)
{
    for (size_t i = 0; i < page->run_count; i++) {
        char *text = json_dumps(page->runs[i]->settings, JSON_INDENT(1) | JSON_SORT_KEYS);
        pv_buf_puts(out, "<details><summary>All settings");
        if (page->run_count > 1) {
            pv_buf_printf(out, " of %c", html_page_letter(i));
        }
        pv_buf_puts(out, "</summary><pre>");
        html_text(out, text);
        pv_buf_puts(out, "</pre></details>\n");
        free(text);
    }
}

pv_status html_facts(const html_page *page, pv_buf *out, pv_error *err)
{
    pv_buf_puts(out, "<section>\n<h2>What the results stand on</h2>\n");
    pv_status status = put_passes(page, out, err);
    pv_buf_puts(out,
                page->run_count > 1 ? "<table class=\"facts two\">" : "<table class=\"facts\">");
    if (page->run_count > 1) {
        pv_buf_puts(out, "<thead><tr><td></td><th scope=\"col\"><b class=\"run-a\">A</b></th><th "
                         "scope=\"col\"><b class=\"run-b\">B</b></th></tr></thead>");
    }
    pv_buf_puts(out, "<tbody>\n");
    for (size_t i = 0; i < sizeof FACTS / sizeof *FACTS; i++) {
        put_fact(page, &FACTS[i], out);
    }
    pv_buf_puts(out, "</tbody></table>\n");
    put_settings(page, out);
    pv_buf_puts(out, "</section>\n");
    return status;
}
