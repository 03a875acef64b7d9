/* Runs the corpus of false proofs (tests/attacks/false_proofs.jsonl) against the gate and against Lean, and shows for each that
 * it is the trick that is refused: the same proof without it is accepted.
 *
 *   gate   each row is judged with the gate on; rows that it refuses never reach Lean
 *   lean   each row but those marked "gate_off": false is checked with the gate bypassed, so that Lean refuses by itself.
 *          A start of Lean takes seconds: harmless rows share one worker through lean_check. Rows marked "alone" (loops,
 *          memory, files, processes) and a few others get the real thing, a judge with a fresh process each.
 *   control  each row's "control", many in one text, is judged up to the level `replayed`, as `prover prove` does it.
 *
 * A row: name, kind, header, original, and "proof" (takes the place of the original's first `sorry`) or "candidate" (the
 * whole text); names; gate: the rule that refuses, or "pass"; expect: reasons of Lean, any of them, or "accepted" for
 * honest rows; canary: a file that must not come to be; declarations: a forged export, judged in place of a text.
 * control: the fields original (when it differs) and proof, candidate or declarations of an honest twin; "apart": it changes
 * how what follows is read, so it is checked by itself. Prints one line for each row, and counts. */
#include "lean_gate.h"
#include "lean_judge.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CORPUS TEST_SOURCE_DIR "/tests/attacks/false_proofs.jsonl"

enum { ROWS_MAX = 512, NAMES_MAX = 8, HEADERS_MAX = 8, KINDS_MAX = 64, BATCH_MAX = 256 };

enum { SHARED_MS = 20000, ALONE_MS = 5000, BATCH_MS = 120000 };

typedef struct row {
    json_t *json;
    const char *name, *header, *original;
    char *candidate; /* owned */
    char *looked_at; /* owned: what the gate sees */
    const char *names[NAMES_MAX];
    size_t name_count;
    const char *declarations; /* a forged export; NULL: a text */
    bool alone, gate_off, is_control;
    char gate[64], lean[64], message[PV_ERROR_MSG_MAX]; /* what came out */
    struct row *control;                                /* NULL: the row is honest itself */
} row;

typedef struct test {
    uv_loop_t loop;
    lean_toolchain toolchain;
    lean_sandbox sandbox;
    lean_pool_options options;
    row rows[ROWS_MAX], controls[ROWS_MAX];
    size_t row_count;
    lean_env *envs[HEADERS_MAX];
    const char *headers[HEADERS_MAX];
    row *at;         /* the row under way */
    lean_level want; /* what a judge has to reach */
    bool done;
    const char *kinds[KINDS_MAX];
    unsigned of_kind[KINDS_MAX];
    size_t kind_count;
    unsigned passed, failed;
} test;

/* ------------------------------------------------------------------------------------------------- the corpus */

static const char *text_of(const json_t *json, const char *key)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text == NULL ? "" : text;
}

static void keep(char *out, size_t room, const char *text)
{
    snprintf(out, room, "%s", text == NULL ? "" : text);
}

/* The original with its first `sorry` replaced. */
static char *splice(const char *original, const char *proof)
{
    pv_buf text = {0};
    const char *hole = strstr(original, "sorry");
    pv_buf_append(&text, original, (size_t)(hole - original));
    pv_buf_puts(&text, proof);
    pv_buf_puts(&text, hole + strlen("sorry"));
    return pv_buf_detach(&text);
}

/* The candidate without the whole lines that it has in common with the original at both ends. */
static char *difference(const char *original, const char *candidate)
{
    const char *o = original + strlen(original);
    const char *end = candidate + strlen(candidate);
    size_t start = 0;
    for (size_t i = 0; original[i] != '\0' && original[i] == candidate[i]; i++) {
        start = original[i] == '\n' ? i + 1 : start;
    }
    const char *cut = end;
    while (o > original + start && end > candidate + start && o[-1] == end[-1]) {
        o--;
        end--;
        cut = end[0] == '\n' ? end : cut;
    }
    return pv_strndup(candidate + start, (size_t)(cut - candidate) - start);
}

/* What is judged: an original, and a proof, a candidate or an export. */
static void read_texts(row *r, const json_t *json, const char *original)
{
    const char *proof = json_string_value(json_object_get(json, "proof"));
    r->original = json_object_get(json, "original") == NULL ? original : text_of(json, "original");
    r->declarations = json_string_value(json_object_get(json, "declarations"));
    r->candidate =
        proof != NULL ? splice(r->original, proof) : pv_strdup(text_of(json, "candidate"));
    r->looked_at = proof != NULL             ? pv_strdup(proof)
                   : r->declarations != NULL ? pv_strdup("")
                                             : difference(r->original, r->candidate);
}

static void read_control(row *r, row *control)
{
    json_t *json = json_object_get(r->json, "control");
    if (json != NULL) {
        *control = *r;
        control->json = json;
        control->is_control = true;
        control->alone = json_is_true(json_object_get(json, "apart"));
        keep(control->lean, sizeof control->lean, "not asked");
        read_texts(control, json, r->original);
        r->control = control;
    }
}

static void read_row(row *r, json_t *json)
{
    size_t i;
    json_t *name;
    r->json = json;
    r->name = text_of(json, "name");
    r->header = text_of(json, "header");
    read_texts(r, json, "");
    r->alone = json_is_true(json_object_get(json, "alone"));
    r->gate_off = json_is_true(json_object_get(json, "gate_off"));
    json_array_foreach(json_object_get(json, "names"), i, name)
    {
        if (r->name_count < NAMES_MAX) {
            r->names[r->name_count++] = json_string_value(name);
        }
    }
}

static bool read_corpus(test *t)
{
    pv_buf text = {0};
    pv_error err = {0};
    if (pv_file_read(CORPUS, 1 << 24, &text, &err) != PV_OK) {
        fprintf(stderr, "%s\n", err.msg);
        return false;
    }
    for (const char *line = pv_buf_text(&text); *line != '\0' && t->row_count < ROWS_MAX;) {
        size_t n = strcspn(line, "\n");
        json_error_t where;
        json_t *json = json_loadb(line, n, JSON_ALLOW_NUL, &where);
        if (json == NULL) {
            fprintf(stderr, "row %zu of the corpus: %s\n", t->row_count + 1, where.text);
            return false;
        }
        read_row(&t->rows[t->row_count], json);
        read_control(&t->rows[t->row_count], &t->controls[t->row_count]);
        t->row_count++;
        line += n + (line[n] == '\n');
    }
    pv_buf_release(&text);
    return t->row_count > 0;
}

static void release_corpus(test *t)
{
    for (size_t i = 0; i < t->row_count; i++) {
        if (t->rows[i].control != NULL) {
            pv_free(t->rows[i].control->candidate);
            pv_free(t->rows[i].control->looked_at);
        }
        pv_free(t->rows[i].candidate);
        pv_free(t->rows[i].looked_at);
        json_decref(t->rows[i].json);
    }
}

/* -------------------------------------------------------------------------------------------------- asking */

static void wait_until_done(test *t)
{
    while (!t->done) {
        uv_run(&t->loop, UV_RUN_ONCE);
    }
}

static void on_closed(void *user)
{
    ((test *)user)->done = true;
}

static void on_judged(void *user, const lean_judgement *j, const pv_error *failure)
{
    test *t = user;
    row *r = t->at;
    const char *result = failure != NULL               ? "failure"
                         : j->level >= t->want         ? "accepted"
                         : j->level != LEAN_LEVEL_NONE ? "short"
                                                       : j->reason;
    keep(r->lean, sizeof r->lean, result);
    keep(r->message, sizeof r->message,
         failure != NULL        ? failure->msg
         : j->shortfall != NULL ? j->shortfall
                                : j->message);
    t->done = true;
}

static void ask_judge(test *t, lean_judge *judge, row *r, const lean_judge_request *request)
{
    pv_error err = {0};
    t->at = r;
    t->done = false;
    if (lean_judge_ask(judge, request, on_judged, t, &err) != PV_OK) {
        on_judged(t, NULL, &err);
    }
    wait_until_done(t);
}

static void judge_row(test *t, lean_judge *judge, row *r, bool skip_gate)
{
    const char *proofs[] = {r->looked_at};
    lean_judge_request request = {.header = r->header,
                                  .original = r->original,
                                  .candidate = r->candidate,
                                  .names = r->names,
                                  .name_count = r->name_count,
                                  .proofs = proofs,
                                  .proof_count = 1,
                                  .deadline_ms = ALONE_MS,
                                  .skip_gate = skip_gate};
    ask_judge(t, judge, r, &request);
}

/* `warm`: the next process starts while this one hangs. */
static lean_judge *open_judge(test *t, bool warm)
{
    lean_judge *judge = NULL;
    pv_error err = {0};
    if (lean_judge_open(&judge, &t->loop, &t->options, warm, &err) != PV_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    return judge;
}

static void close_judge(test *t, lean_judge *judge)
{
    t->done = false;
    lean_judge_close(judge, on_closed, t);
    wait_until_done(t);
}

/* The gate refuses before any process is started, so this is quick. */
static void run_gate(test *t)
{
    lean_judge *judge = open_judge(t, false);
    for (size_t i = 0; i < t->row_count; i++) {
        row *r = &t->rows[i];
        lean_gate_finding finding = {.rule = "pass"};
        lean_gate_pass(r->looked_at, strlen(r->looked_at), &finding);
        keep(r->gate, sizeof r->gate, r->declarations != NULL ? "-" : finding.rule);
        if (r->declarations == NULL && strcmp(r->gate, "pass") != 0) {
            judge_row(t, judge, r, false);
            if (strcmp(r->lean, "gate") != 0) {
                keep(r->gate, sizeof r->gate, "not asked");
            }
        }
        keep(r->lean, sizeof r->lean, "-");
    }
    close_judge(t, judge);
}

static void on_env(void *user, lean_ticket ticket, const lean_message *messages, size_t n,
                   const pv_error *failure)
{
    (void)user;
    (void)ticket;
    (void)messages;
    (void)n;
    if (failure != NULL) {
        fprintf(stderr, "a header failed: %s\n", failure->msg);
    }
}

static lean_env *env_for(test *t, lean_pool *pool, const char *header)
{
    pv_error err = {0};
    size_t i = 0;
    while (i < HEADERS_MAX && t->envs[i] != NULL && strcmp(t->headers[i], header) != 0) {
        i++;
    }
    if (i == HEADERS_MAX) {
        return NULL;
    }
    if (t->envs[i] == NULL) {
        t->headers[i] = header;
        if (lean_env_new(pool, &t->envs[i], header, on_env, t, &err) != PV_OK) {
            fprintf(stderr, "%s\n", err.msg);
        }
    }
    return t->envs[i];
}

static void on_checked(void *user, lean_ticket ticket, const lean_checked *checked,
                       const pv_error *failure)
{
    test *t = user;
    (void)ticket;
    if (failure != NULL) {
        keep(t->at->lean, sizeof t->at->lean,
             failure->status == PV_E_INVALID   ? "export"
             : failure->status == PV_E_TIMEOUT ? "timeout"
             : failure->status == PV_E_LOST    ? "crash"
                                               : "failure");
        keep(t->at->message, sizeof t->at->message, failure->msg);
    } else {
        bool accepted = checked->verdict == LEAN_ACCEPTED;
        keep(t->at->lean, sizeof t->at->lean, accepted ? "accepted" : checked->reason);
        keep(t->at->message, sizeof t->at->message, checked->message);
    }
    t->done = true;
}

static void check_row(test *t, lean_pool *pool, row *r)
{
    lean_check_request request = {.original = r->original,
                                  .candidate = r->candidate,
                                  .declarations = r->declarations,
                                  .names = r->names,
                                  .name_count = r->name_count,
                                  .deadline_ms = SHARED_MS};
    pv_error err = {0};
    lean_env *env = env_for(t, pool, r->header);
    t->at = r;
    t->done = false;
    if (env == NULL || lean_check(env, &request, NULL, on_checked, t, &err) != PV_OK) {
        pv_fail(&err, PV_E_LIMIT, "too many headers"); /* the first failure stays */
        on_checked(t, 0, NULL, &err);
    }
    wait_until_done(t);
}

static void run_shared(test *t)
{
    lean_pool *pool = NULL;
    pv_error err = {0};
    if (lean_pool_open(&pool, &t->loop, &t->options, &err) != PV_OK) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    for (size_t i = 0; i < t->row_count; i++) { /* exports first: nothing has run then */
        if (t->rows[i].declarations != NULL) {
            check_row(t, pool, &t->rows[i]);
            check_row(t, pool, t->rows[i].control);
        }
    }
    for (size_t i = 0; i < t->row_count; i++) {
        row *r = &t->rows[i];
        if (r->gate_off && !r->alone && r->declarations == NULL) {
            check_row(t, pool, r);
        }
        if (r->control != NULL && strcmp(r->control->lean, "accepted") != 0 &&
            r->declarations == NULL) { /* apart, or of a batch that was refused: to find the one */
            check_row(t, pool, r->control);
        }
    }
    for (size_t i = 0; i < HEADERS_MAX; i++) {
        lean_env_unref(t->envs[i]);
    }
    t->done = false;
    lean_pool_close(pool, on_closed, t);
    wait_until_done(t);
}

/* ------------------------------------------------------------------------------------------------ controls */

typedef struct batch {
    const char *header;
    row *rows[BATCH_MAX];
    size_t count;
    pv_buf original, candidate;
    char names[BATCH_MAX][64];
    const char *name_list[BATCH_MAX];
    size_t name_count;
} batch;

/* Each text in a namespace of its own. */
static void add_to_batch(batch *b, row *r)
{
    size_t k = b->count;
    pv_buf_printf(&b->original, "namespace C%zu\n%s\nend C%zu\n", k, r->original, k);
    pv_buf_printf(&b->candidate, "namespace C%zu\n%s\nend C%zu\n", k, r->candidate, k);
    snprintf(b->names[k], sizeof b->names[k], "C%zu.%s", k, r->names[0]);
    b->name_list[b->name_count++] = b->names[k];
    b->rows[b->count++] = r;
}

static bool fits_batch(const batch *b, const row *r)
{
    return r != NULL && !r->alone && r->declarations == NULL && r->name_count == 1 &&
           b->count < BATCH_MAX && strcmp(r->header, b->header) == 0;
}

static void judge_batch(test *t, lean_judge *judge, const char *header)
{
    static batch b;
    static row whole;
    memset(&b, 0, sizeof b);
    b.header = header;
    for (size_t i = 0; i < t->row_count; i++) {
        if (fits_batch(&b, t->rows[i].control)) {
            add_to_batch(&b, t->rows[i].control);
        }
    }
    if (b.count > 0) {
        lean_judge_request request = {.header = header,
                                      .original = pv_buf_text(&b.original),
                                      .candidate = pv_buf_text(&b.candidate),
                                      .names = b.name_list,
                                      .name_count = b.name_count,
                                      .deadline_ms = BATCH_MS};
        ask_judge(t, judge, &whole, &request);
        printf("%zu controls at once: %s %s\n", b.count, whole.lean, whole.message);
    }
    for (size_t i = 0; i < b.count; i++) {
        keep(b.rows[i]->lean, sizeof b.rows[i]->lean, whole.lean);
        keep(b.rows[i]->message, sizeof b.rows[i]->message, whole.message);
    }
    pv_buf_release(&b.original);
    pv_buf_release(&b.candidate);
}

/* One text for each header. Accepted means `replayed` here. */
static void run_controls(test *t)
{
    lean_judge *judge = open_judge(t, false);
    lean_judge_demand(judge, LEAN_LEVEL_REPLAYED);
    t->want = LEAN_LEVEL_REPLAYED;
    for (size_t i = 0; i < t->row_count; i++) {
        bool seen = false;
        for (size_t k = 0; k < i; k++) {
            seen = seen || strcmp(t->rows[k].header, t->rows[i].header) == 0;
        }
        if (!seen) {
            judge_batch(t, judge, t->rows[i].header);
        }
    }
    t->want = LEAN_LEVEL_AUDITED;
    close_judge(t, judge);
}

/* The first honest row and the first false one also go all the way. Attacks that act need the sandbox. */
static void run_alone(test *t)
{
    lean_judge *judge = open_judge(t, true);
    bool honest = false;
    bool false_one = false;
    lean_judge_demand(judge, LEAN_LEVEL_REPLAYED);
    for (size_t i = 0; i < t->row_count; i++) {
        row *r = &t->rows[i];
        bool is_honest = strcmp(text_of(r->json, "kind"), "honest") == 0;
        bool whole = is_honest ? !honest : !false_one;
        if (whole || (r->alone && t->sandbox.active)) {
            judge_row(t, judge, r, !is_honest);
        }
        honest = honest || is_honest;
        false_one = false_one || !is_honest;
    }
    close_judge(t, judge);
}

/* ---------------------------------------------------------------------------------------------------- results */

static bool is_expected(const row *r)
{
    size_t i;
    json_t *reason;
    if (strcmp(r->lean, "-") == 0) {
        return !r->gate_off || r->alone; /* not asked: the gate alone, or no sandbox */
    }
    json_array_foreach(json_object_get(r->json, "expect"), i, reason)
    {
        if (strcmp(json_string_value(reason), r->lean) == 0) {
            return true;
        }
    }
    return false;
}

static void count_kind(test *t, const char *kind)
{
    size_t i = 0;
    while (i < t->kind_count && strcmp(t->kinds[i], kind) != 0) {
        i++;
    }
    if (i < KINDS_MAX) {
        t->kinds[i] = kind;
        t->of_kind[i]++;
        t->kind_count = i < t->kind_count ? t->kind_count : i + 1;
    }
}

static void print_kinds(const test *t)
{
    unsigned false_ones = 0;
    size_t kinds = 0;
    for (size_t i = 0; i < t->kind_count; i++) {
        bool honest = strcmp(t->kinds[i], "honest") == 0;
        false_ones += honest ? 0 : t->of_kind[i];
        kinds += honest ? 0 : 1;
        printf("%s%s %u", i > 0 ? ", " : "", t->kinds[i], t->of_kind[i]);
    }
    printf("\n%u false proofs of %zu kinds\n", false_ones, kinds);
}

static void report(test *t)
{
    for (size_t i = 0; i < t->row_count; i++) {
        row *r = &t->rows[i];
        const char *canary = json_string_value(json_object_get(r->json, "canary"));
        bool escaped = canary != NULL && unlink(canary) == 0;
        bool honest = strcmp(text_of(r->json, "kind"), "honest") == 0;
        bool controlled =
            honest || (r->control != NULL && strcmp(r->control->lean, "accepted") == 0);
        bool ok = is_expected(r) && strcmp(r->gate, text_of(r->json, "gate")) == 0 && !escaped &&
                  controlled;
        count_kind(t, text_of(r->json, "kind"));
        t->passed += ok;
        t->failed += !ok;
        printf("%s %s: gate: %s, lean: %s%s", ok ? "pass" : "FAIL", r->name, r->gate, r->lean,
               escaped ? ", and it wrote a file" : "");
        if (!controlled) {
            printf(", and the same proof without the trick: %s (%s)",
                   r->control == NULL ? "there is none" : r->control->lean,
                   r->control == NULL ? "" : r->control->message);
        }
        printf(ok ? "\n" : " (%s)\n", r->message);
    }
    print_kinds(t);
    printf("%u passed, %u failed\n", t->passed, t->failed);
}

static bool find_lean(test *t)
{
    pv_error err = {0};
    lean_toolchain_search where = {
        .home = TEST_SOURCE_DIR, .path = getenv("PATH"), .user_home = getenv("HOME")};
    if (lean_toolchain_find(&t->toolchain, &where, &err) != PV_OK) {
        printf("SKIPPED: %s\n", err.msg);
        return false;
    }
    if (lean_sandbox_probe(&t->sandbox, where.path, false, &err) != PV_OK) {
        printf("FAIL %s\n", err.msg);
        exit(1);
    }
    printf("Lean: %s; %s\n", t->toolchain.why, t->sandbox.describe);
    if (!t->sandbox.active) {
        printf("SKIPPED: attacks that act on this machine\n");
    }
    t->options.toolchain = &t->toolchain;
    t->options.sandbox = &t->sandbox;
    return true;
}

int main(void)
{
    static test t;
    uint64_t start = pv_clock_ms();
    setvbuf(stdout, NULL, _IOLBF, 0);
    uv_loop_init(&t.loop);
    if (!read_corpus(&t)) {
        return 1;
    }
    bool have_lean = find_lean(&t);
    if (have_lean) {
        t.want = LEAN_LEVEL_AUDITED;
        run_gate(&t);
        run_controls(&t);
        uint64_t controlled = pv_clock_ms();
        run_shared(&t);
        uint64_t shared = pv_clock_ms();
        run_alone(&t);
        printf("controls %.1f s, shared %.1f s, alone %.1f s\n", (double)(controlled - start) / 1e3,
               (double)(shared - controlled) / 1e3, (double)(pv_clock_ms() - shared) / 1e3);
        report(&t);
        printf("%.0f s\n", (double)(pv_clock_ms() - start) / 1e3);
    }
    lean_toolchain_release(&t.toolchain);
    lean_sandbox_release(&t.sandbox);
    release_corpus(&t);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    return uv_loop_close(&t.loop) != 0 || t.failed > 0;
}
