/* The judge, on fake Leans: a fresh process for each judgement, one answer for each request. */
#define _GNU_SOURCE
#include "lean_judge.h"

#include "bridge_fixture.h"

#include <sys/stat.h>

typedef struct verdict { /* what came back */
    bool ended;
    lean_level level;
    char reason[64], message[512], version[64];
    size_t axiom_count;
    pv_error failure;
} verdict;

static void on_judged(void *user, const lean_judgement *j, const pv_error *failure)
{
    verdict *v = user;
    cr_assert(!v->ended, "answered twice");
    cr_assert((j == NULL) != (failure == NULL));
    v->ended = true;
    if (failure != NULL) {
        v->failure = *failure;
        return;
    }
    v->level = j->level;
    v->axiom_count = j->axiom_count;
    snprintf(v->reason, sizeof v->reason, "%s", j->reason == NULL ? "" : j->reason);
    snprintf(v->message, sizeof v->message, "%s",
             j->message != NULL     ? j->message
             : j->shortfall != NULL ? j->shortfall
                                    : "");
    snprintf(v->version, sizeof v->version, "%s", j->lean_version == NULL ? "" : j->lean_version);
}

static lean_judge *open_judge(bridge *b, bool warm)
{
    lean_judge *judge = NULL;
    pv_error err = {0};
    cr_assert(lean_judge_open(&judge, &b->loop, &b->options, warm, &err) == PV_OK, "%s", err.msg);
    return judge;
}

static void close_judge(bridge *b, lean_judge *judge)
{
    b->closed = false;
    lean_judge_close(judge, on_pool_closed, b);
    bridge_wait(b, &b->closed);
}

static const char *const NAMES[] = {"t"};

static lean_judge_request request(const char *const *proof)
{
    return (lean_judge_request){.header = "import Init\n",
                                .original = "theorem t : P 3 := by sorry\n",
                                .candidate = *proof,
                                .names = NAMES,
                                .name_count = 1,
                                .proofs = proof,
                                .proof_count = 1};
}

static void ask(lean_judge *judge, const lean_judge_request *r, verdict *v)
{
    pv_error err = {0};
    memset(v, 0, sizeof *v);
    cr_assert(lean_judge_ask(judge, r, on_judged, v, &err) == PV_OK, "%s", err.msg);
    cr_assert(!v->ended, "called back from inside the call");
}

static void judge_proof(bridge *b, lean_judge *judge, const char *proof, verdict *v)
{
    lean_judge_request r = request(&proof);
    ask(judge, &r, v);
    bridge_wait(b, &v->ended);
}

static long size_of(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 ? (long)info.st_size : 0;
}

Test(lean_judge, accepts_what_lean_accepts)
{
    bridge b;
    verdict v;
    bridge_begin(&b, NULL);
    lean_judge *judge = open_judge(&b, false);
    judge_proof(&b, judge, "dec", &v);
    cr_expect_eq(v.level, LEAN_LEVEL_AUDITED);
    cr_expect_str_eq(v.reason, "");
    cr_expect_eq(v.axiom_count, 2);
    cr_expect_str_eq(v.version, "4.28.0-fake");
    close_judge(&b, judge);
    bridge_end(&b);
}

Test(lean_judge, gate_refuses_before_lean_is_started)
{
    bridge b;
    verdict v;
    bridge_begin(&b, (const char *const[]){"--die-at-start", NULL});
    lean_judge *judge = open_judge(&b, false);
    judge_proof(&b, judge, "intro h\n  sorry", &v);
    cr_expect_eq(v.level, LEAN_LEVEL_NONE);
    cr_expect_str_eq(v.reason, "gate");
    cr_expect_not_null(strstr(v.message, "line 2"), "%s", v.message);
    cr_expect_not_null(strstr(v.message, "sorry"), "%s", v.message);
    close_judge(&b, judge);
    bridge_end(&b);
}

Test(lean_judge, lean_refuses_by_itself_without_the_gate)
{
    bridge b;
    verdict v;
    const char *proof = "sorry";
    bridge_begin(&b, NULL);
    lean_judge *judge = open_judge(&b, false);
    lean_judge_request r = request(&proof);
    r.skip_gate = true;
    ask(judge, &r, &v);
    bridge_wait(&b, &v.ended);
    cr_expect_str_eq(v.reason, "sorry");
    cr_expect_eq(v.level, LEAN_LEVEL_NONE);
    close_judge(&b, judge);
    bridge_end(&b);
}

Test(lean_judge, every_judgement_has_a_process_of_its_own)
{
    bridge b;
    verdict v;
    char starts[] = "/tmp/prover-test-starts-XXXXXX";
    close(mkstemp(starts));
    bridge_begin(&b, (const char *const[]){"--starts", starts, NULL});
    lean_judge *judge = open_judge(&b, false);
    for (long i = 1; i <= 3; i++) {
        judge_proof(&b, judge, "dec", &v);
        cr_expect_eq(v.level, LEAN_LEVEL_AUDITED);
        cr_expect_eq(size_of(starts), i);
    }
    close_judge(&b, judge);
    unlink(starts);
    bridge_end(&b);
}

/* One process for each candidate, one for all exports. */
Test(lean_judge, replays_in_a_second_process_that_is_kept)
{
    bridge b;
    verdict v;
    char starts[] = "/tmp/prover-test-starts-XXXXXX";
    close(mkstemp(starts));
    bridge_begin(&b, (const char *const[]){"--starts", starts, NULL});
    lean_judge *judge = open_judge(&b, false);
    lean_judge_demand(judge, LEAN_LEVEL_REPLAYED);
    for (long i = 1; i <= 3; i++) {
        judge_proof(&b, judge, "dec", &v);
        cr_expect_eq(v.level, LEAN_LEVEL_REPLAYED, "%s %s", v.reason, v.failure.msg);
        cr_expect_eq(v.axiom_count, 1, "what the second process says counts");
        cr_expect_eq(size_of(starts), i + 1);
    }
    close_judge(&b, judge);
    unlink(starts);
    bridge_end(&b);
}

Test(lean_judge, the_second_process_has_the_last_word)
{
    const char *const cases[][3] = {
        {"broken", "kernel", "in the second process: the kernel refuses it"},
        {"forged", "export", "ill-formed"},
        {"late sleep", "timeout", "in the second process"},
        {"too long", "", "too long"},
        {"dec", "", ""},
    };
    bridge b;
    verdict v;
    bridge_begin(&b, NULL);
    lean_judge *judge = open_judge(&b, true);
    lean_judge_demand(judge, LEAN_LEVEL_REPLAYED);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lean_judge_request r = request(&cases[i][0]);
        r.deadline_ms = 300;
        ask(judge, &r, &v);
        bridge_wait(&b, &v.ended);
        cr_expect_str_eq(v.reason, cases[i][1], "%s: %s", cases[i][0], v.failure.msg);
        cr_expect(strstr(v.message, cases[i][2]) != NULL, "%s: %s", cases[i][0], v.message);
        lean_level level = strcmp(cases[i][0], "dec") == 0        ? LEAN_LEVEL_REPLAYED
                           : strcmp(cases[i][0], "too long") == 0 ? LEAN_LEVEL_AUDITED
                                                                  : LEAN_LEVEL_NONE;
        cr_expect_eq(v.level, level, "%s", cases[i][0]);
    }
    close_judge(&b, judge);
    bridge_end(&b);
}

/* Whatever is under way when the judge is closed is answered, once. */
Test(lean_judge, closing_cancels_a_replay)
{
    for (uint64_t ms = 0; ms < 200; ms += 50) {
        bridge b;
        verdict v;
        const char *proof = "late sleep";
        bridge_begin(&b, NULL);
        lean_judge *judge = open_judge(&b, false);
        lean_judge_demand(judge, LEAN_LEVEL_REPLAYED);
        lean_judge_request r = request(&proof);
        ask(judge, &r, &v);
        bridge_run_for(&b, ms);
        close_judge(&b, judge);
        cr_expect_eq(v.failure.status, PV_E_CANCELLED);
        bridge_end(&b);
    }
}

/* The spare is used once, and only for the header it was prepared with. */
Test(lean_judge, spare_is_ready_before_the_question)
{
    bridge b;
    verdict v;
    char starts[] = "/tmp/prover-test-starts-XXXXXX";
    close(mkstemp(starts));
    bridge_begin(&b, (const char *const[]){"--starts", starts, "--start-ms", "300", NULL});
    lean_judge *judge = open_judge(&b, true);
    lean_judge_prepare(judge, "import Init\n");
    bridge_run_for(&b, 800);
    cr_expect_eq(size_of(starts), 1);
    uint64_t start = pv_clock_ms();
    judge_proof(&b, judge, "dec", &v);
    cr_expect_lt(pv_clock_ms() - start, 250, "the judgement waited for a start");
    cr_expect_eq(v.level, LEAN_LEVEL_AUDITED);
    bridge_run_for(&b, 800);
    cr_expect_eq(size_of(starts), 2, "a new spare");
    lean_judge_prepare(judge, "import Std\n");
    bridge_run_for(&b, 800);
    cr_expect_eq(size_of(starts), 3, "a spare with the other header");
    judge_proof(&b, judge, "dec", &v);
    cr_expect_eq(size_of(starts), 4, "the spare had another header");
    close_judge(&b, judge);
    unlink(starts);
    bridge_end(&b);
}

Test(lean_judge, time_that_runs_out_is_a_refusal)
{
    bridge b;
    verdict v;
    const char *proof = "hang";
    bridge_begin(&b, NULL);
    lean_judge *judge = open_judge(&b, false);
    lean_judge_request r = request(&proof);
    r.deadline_ms = 200;
    ask(judge, &r, &v);
    bridge_wait(&b, &v.ended);
    cr_expect_str_eq(v.reason, "timeout");
    cr_expect_eq(v.level, LEAN_LEVEL_NONE);
    close_judge(&b, judge);
    bridge_end(&b);
}

Test(lean_judge, lean_that_dies_of_a_proof_is_a_refusal)
{
    bridge b;
    verdict v;
    bridge_begin(&b, NULL);
    lean_judge *judge = open_judge(&b, false);
    judge_proof(&b, judge, "die", &v);
    cr_expect_str_eq(v.reason, "crash");
    close_judge(&b, judge);
    bridge_end(&b);
}

Test(lean_judge, no_lean_is_a_failure_and_no_refusal)
{
    bridge b;
    verdict v;
    bridge_begin(&b, (const char *const[]){"--die-at-start", NULL});
    b.options.restarts_max = 1;
    lean_judge *judge = open_judge(&b, true);
    judge_proof(&b, judge, "dec", &v);
    cr_expect_neq(v.failure.status, PV_OK);
    cr_expect(strlen(v.failure.msg) > 0);
    bridge_run_for(&b, 200); /* no endless attempts to have a spare */
    close_judge(&b, judge);
    bridge_end(&b);
}

/* A Lean that answers every check with "accepted" and an axiom that nobody allowed. */
Test(lean_judge, axioms_are_looked_at_again)
{
    static const char script[] =
        "echo '{\"hello\":\"prover-lean\",\"protocol\":1,\"lean\":\"lies\",\"ready_ms\":1}'\n"
        "while read -r line; do id=${line#*\\\"id\\\":}; id=${id%%[,\\}]*}\n"
        "case $line in *'\"check\"'*) echo "
        "\"{\\\"id\\\":$id,\\\"ok\\\":{\\\"verdict\\\":\\\"accepted\\\","
        "\\\"declarations\\\":[{\\\"name\\\":\\\"t\\\",\\\"type\\\":\\\"P\\\",\\\"axioms\\\":["
        "\\\"propext\\\","
        "\\\"AXIOM\\\"]}],\\\"added\\\":1,\\\"messages\\\":[]}}\";;\n"
        "*) echo "
        "\"{\\\"id\\\":$id,\\\"ok\\\":{\\\"env\\\":1,\\\"imports\\\":[],\\\"messages\\\":[]}}\";; "
        "esac; done\n";
    const char *const axioms[][2] = {{"cheat", "axiom"}, {"sorryAx", "sorry"}};
    for (size_t i = 0; i < 2; i++) {
        bridge b;
        verdict v;
        char text[1024];
        const char *mark = strstr(script, "AXIOM");
        snprintf(text, sizeof text, "%.*s%s%s", (int)(mark - script), script, axioms[i][0],
                 mark + 5);
        bridge_begin(&b, NULL);
        lean_toolchain_release(&b.toolchain);
        cr_assert(lean_toolchain_command(&b.toolchain,
                                         (const char *const[]){"/bin/sh", "-c", text, NULL},
                                         LEAN_DIALECT_PROVER, NULL) == PV_OK);
        lean_judge *judge = open_judge(&b, false);
        judge_proof(&b, judge, "dec", &v);
        cr_expect_eq(v.level, LEAN_LEVEL_NONE);
        cr_expect_str_eq(v.reason, axioms[i][1], "%s %s", v.reason, v.failure.msg);
        cr_expect_str_eq(v.message, axioms[i][0]);
        close_judge(&b, judge);
        bridge_end(&b);
    }
}

Test(lean_judge, requests_are_judged_in_order)
{
    bridge b;
    verdict v[3];
    const char *const proofs[] = {"dec", "sorry", "close"};
    bridge_begin(&b, NULL);
    lean_judge *judge = open_judge(&b, true);
    for (size_t i = 0; i < 3; i++) {
        lean_judge_request r = request(&proofs[i]);
        ask(judge, &r, &v[i]);
    }
    bridge_wait(&b, &v[2].ended);
    cr_expect(v[0].ended && v[1].ended);
    cr_expect_eq(v[0].level, LEAN_LEVEL_AUDITED);
    cr_expect_str_eq(v[1].reason, "gate");
    cr_expect_eq(v[2].level, LEAN_LEVEL_AUDITED);
    close_judge(&b, judge);
    bridge_end(&b);
}

/* Whatever is under way when the judge is closed is answered, once. */
Test(lean_judge, closing_cancels_what_waits)
{
    for (uint64_t ms = 0; ms < 160; ms += 40) {
        bridge b;
        verdict v[2];
        const char *proof = "hang";
        bridge_begin(&b, NULL);
        lean_judge *judge = open_judge(&b, ms % 80 == 0);
        lean_judge_request r = request(&proof);
        ask(judge, &r, &v[0]);
        ask(judge, &r, &v[1]);
        bridge_run_for(&b, ms);
        close_judge(&b, judge);
        cr_expect_eq(v[0].failure.status, PV_E_CANCELLED);
        cr_expect_eq(v[1].failure.status, PV_E_CANCELLED);
        bridge_end(&b);
    }
}

Test(lean_judge, misuse_is_told)
{
    bridge b;
    pv_error err = {0};
    lean_judge_request none = {0};
    bridge_begin(&b, NULL);
    lean_judge *judge = open_judge(&b, false);
    cr_expect_eq(lean_judge_ask(judge, &none, on_judged, NULL, &err), PV_E_MISUSE);
    close_judge(&b, judge);
    cr_expect_str_eq(lean_level_name(LEAN_LEVEL_AUDITED), "audited");
    cr_expect_str_eq(lean_level_name((lean_level)99), "none");
    bridge_end(&b);
}

Test(lean_judge, survives_want_of_memory, .timeout = 120)
{
    for (int64_t n = 0; n < 60; n++) {
        bridge b;
        verdict v = {0};
        const char *proof = "dec";
        lean_judge *judge = NULL;
        bridge_begin_bare(&b, "fake_lean", LEAN_DIALECT_PROVER, NULL);
        b.options.restarts_max = 1;
        b.options.start_deadline_ms =
            500; /* a greeting that could not be read is as one not sent */
        lean_judge_request r = request(&proof);
        r.deadline_ms = 500;
        pv_mem_fail_after(n);
        pv_status status = lean_judge_open(&judge, &b.loop, &b.options, false, NULL);
        if (status == PV_OK && n % 2 == 1) {
            lean_judge_demand(judge, LEAN_LEVEL_REPLAYED);
        }
        if (status == PV_OK && lean_judge_ask(judge, &r, on_judged, &v, NULL) == PV_OK) {
            bridge_wait(&b, &v.ended);
            cr_assert(v.level >= LEAN_LEVEL_AUDITED || v.failure.status != PV_OK ||
                          v.reason[0] != '\0',
                      "allocation %d", (int)n);
        }
        pv_mem_fail_after(-1);
        if (status == PV_OK) {
            close_judge(&b, judge);
        }
        bridge_end(&b);
    }
}
