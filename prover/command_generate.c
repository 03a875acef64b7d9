/* prover generate: proof data from the theorems of a library, from files, and from mutations of both. */
#include "commands.h"
#include "generate.h"
#include "lean_session.h"
#include "progress.h"
#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"
#include "source.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char ALL_MUTATIONS[] =
    "swap,weaken,contrapose,generalise,negate,instantiate,specialise,compose";

/* ---- options ---- */

static pv_status check_options(const options *opt, pv_error *err)
{
    if (opt->argument_count > 0) {
        return pv_fail(err, PV_E_INVALID,
                       "generate takes no argument \"%s\": sources are given by --library and "
                       "--statements",
                       opt->arguments[0]);
    }
    if (opt->output[0] == '\0' && !opt->list) {
        return pv_fail(err, PV_E_INVALID, "generate needs -o OUT.jsonl");
    }
    if (opt->library.count + opt->statements.count == 0) {
        return pv_fail(err, PV_E_INVALID,
                       "generate needs a source: --library MODULE (such as Init.Data.List) or "
                       "--statements FILE");
    }
    return policy_choice_check(opt, err);
}

static pv_status split_mutations(generator *g, pv_error *err)
{
    const char *list = strcmp(g->opt->mutations, "all") == 0    ? ALL_MUTATIONS
                       : strcmp(g->opt->mutations, "none") == 0 ? ""
                                                                : g->opt->mutations;
    g->mutation_names = pv_strdup(list);
    if (g->mutation_names == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    char *rest = NULL;
    for (char *name = strtok_r(g->mutation_names, ",", &rest); name != NULL;
         name = strtok_r(NULL, ",", &rest)) {
        const char *known = strstr(ALL_MUTATIONS, name);
        size_t n = strlen(name);
        bool whole = known != NULL && (known == ALL_MUTATIONS || known[-1] == ',') &&
                     (known[n] == ',' || known[n] == '\0');
        if (!whole || g->mutation_count == sizeof g->mutations / sizeof *g->mutations) {
            return pv_fail(err, PV_E_INVALID, "--mutations %s: the mutations are %s", name,
                           ALL_MUTATIONS);
        }
        g->mutations[g->mutation_count++] = name;
    }
    return PV_OK;
}

static pv_status read_shard(generator *g, pv_error *err)
{
    unsigned long long i = 0, n = 0;
    char end;
    if (sscanf(g->opt->shard, "%llu/%llu%c", &i, &n, &end) != 2 || n == 0 || i >= n) {
        return pv_fail(err, PV_E_INVALID, "--shard %s: expected I/N with I from 0 to N-1",
                       g->opt->shard);
    }
    g->shard = i;
    g->shards = n;
    return PV_OK;
}

/* ---- opening ---- */

static pv_status open_lean(generator *g, pv_error *err)
{
    uint32_t workers = session_workers(g->opt);
    char name[] = "--header";
    source src = {.name = name, .header = g->header};
    g->items = pv_calloc(workers, sizeof *g->items);
    if (g->items == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    g->item_count = workers;
    for (size_t i = 0; i < workers; i++) {
        g->items[i].g = g;
    }
    progress_note("prover", "starting Lean");
    pv_status status = session_start_pool(&g->s, workers, err);
    if (status == PV_OK && !g->opt->list) {
        status = session_start_judges(&g->s, (uint32_t)g->s.opt->judges, false, err);
    }
    return status == PV_OK ? ask_header(&g->s, &src, &g->env, err) : status;
}

static pv_status open_file(generator *g, pv_error *err)
{
    if (g->opt->output[0] == '\0') {
        return PV_OK; /* --list on stdout */
    }
    pv_status status = data_file_open(&g->file, g->opt->output, generate_read_row, g, err);
    if (status == PV_OK && g->file.torn > 0) {
        pv_log(PV_LOG_WARN, "%s: the last line was torn: %llu bytes are cut off", g->opt->output,
               (unsigned long long)g->file.torn);
    }
    g->at_start = g->rows;
    return status;
}

static pv_status open_all(generator *g, pv_error *err)
{
    pv_status status = split_mutations(g, err);
    if (status == PV_OK) {
        status = read_shard(g, err);
    }
    if (status == PV_OK) {
        status = open_file(g, err);
    }
    if (status == PV_OK) {
        status = source_header(g->opt->header, &g->header, err);
    }
    if (status == PV_OK) {
        generate_judge_start(g);
        status = session_open(&g->s, g->opt, err);
    }
    if (status == PV_OK && !g->opt->list) {
        status = policy_choice_open(&g->choice, &g->s.loop, g->opt, g->header, err);
    }
    if (status == PV_OK) {
        status = open_lean(g, err);
    }
    if (status == PV_OK) {
        progress_note("prover", "listing statements");
        status = generate_exclude_files(g, err);
    }
    return status == PV_OK ? generate_find_sources(g, err) : status;
}

/* ---- running ---- */

static bool is_over(const generator *g)
{
    bool over = generate_source_over(g) && judge_queue_over(&g->judge);
    for (size_t i = 0; i < g->item_count; i++) {
        over = over && g->items[i].stage == GENERATE_IDLE;
    }
    return over;
}

static bool all_turn(generator *g)
{
    bool moved = generate_source_turn(g);
    if (g->opt->list) {
        return generate_list_turn(g) || moved;
    }
    for (size_t i = 0; i < g->item_count; i++) {
        moved = generate_item_turn(&g->items[i]) || moved;
    }
    return generate_judge_turn(g) || moved;
}

static void look_at_limits(generator *g)
{
    double minutes = (double)(pv_clock_ms() - g->started_ms) / 60000;
    if ((g->opt->limit > 0 && g->taken >= g->opt->limit) ||
        (g->opt->minutes > 0 && minutes >= g->opt->minutes)) {
        g->stopping = true;
    }
}

/* Statements that nobody will try any more. */
static void clear_queue(generator *g)
{
    for (generate_statement *st = generate_next(g); st != NULL; st = generate_next(g)) {
        generate_statement_free(st);
    }
}

static void run(generator *g)
{
    while (g->failure.status == PV_OK && !g->s.interrupted && !is_over(g)) {
        look_at_limits(g);
        if (g->stopping) {
            clear_queue(g);
        }
        if (!all_turn(g)) {
            session_round(&g->s);
        }
        if (!g->opt->list) {
            generate_progress(g);
        }
    }
}

static void end_items(generator *g)
{
    if (g->fetching != NULL) {
        lean_cancel(g->s.pool, g->fetch_ticket);
    }
    for (bool over = false; !over;) {
        over = g->fetching == NULL;
        for (size_t i = 0; i < g->item_count; i++) {
            over = generate_item_end(&g->items[i]) && over;
        }
        if (!over) {
            session_round(&g->s);
        }
    }
}

static void release(generator *g)
{
    clear_queue(g);
    judge_queue_release(&g->judge);
    generate_source_release(g);
    pv_free(g->items);
    pv_free(g->header);
    pv_free(g->mutation_names);
    key_set_release(&g->done);
    key_set_release(&g->excluded);
    key_set_release(&g->blocks_done);
    key_set_release(&g->pairs);
    json_decref(g->by_source);
    json_decref(g->by_mutation);
    json_decref(g->by_filter);
}

static exit_code generate(generator *g)
{
    pv_error err = {0};
    pv_status status = open_all(g, &err);
    if (status == PV_OK) {
        g->started_ms = pv_clock_ms();
        run(g);
        end_items(g);
        status = g->failure.status;
        err = status == PV_OK ? err : g->failure;
    }
    if (g->env != NULL) {
        lean_env_unref(g->env);
    }
    bool interrupted = g->s.interrupted, reportable = g->started_ms > 0;
    policy_choice_close(&g->choice);
    session_close(&g->s);
    pv_status closed = g->file.path == NULL ? PV_OK : data_file_close(&g->file, &err);
    status = status == PV_OK ? closed : status;
    if (reportable && !g->opt->list) {
        generate_report(g);
    }
    release(g);
    if (interrupted) {
        fputs("prover: interrupted; the same command goes on from here\n", stderr);
        return EXIT_NOT_PROVED;
    }
    return status == PV_OK ? EXIT_PROVED : complain(&err);
}

exit_code command_generate(const options *opt)
{
    pv_error err = {0};
    if (check_options(opt, &err) != PV_OK) {
        return complain(&err);
    }
    generator *g = pv_calloc(1, sizeof *g);
    if (g == NULL) {
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        return complain(&err);
    }
    g->opt = opt;
    g->file.fd = -1;
    g->queue_end = &g->queue;
    g->by_source = json_object();
    g->by_mutation = json_object();
    g->by_filter = json_object();
    exit_code code = generate(g);
    pv_free(g);
    return code;
}
