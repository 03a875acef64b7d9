/* Tactics from a server in whole runs of `prover prove` on real Lean. The server is tests/fakes/fake_openai. */
#include "command.h"
#include "fakes/fake_server.h"

typedef struct fixture {
    fake_server fake;
    char script[64];
} fixture;

static void start(fixture *f, const char *script, char *delay)
{
    fake_server_script(f->script, script);
    f->fake = fake_server_start((char *[]){"--script", f->script, "--delay", delay, NULL});
}

static void stop(fixture *f)
{
    fake_server_stop(&f->fake);
    unlink(f->script);
}

TestSuite(http_runs, .timeout = 400);

static const char swap[] = "theorem swap (p q : Prop) : p ∧ q → q ∧ p";

static const char swap_script[] =
    "{\"when\": \"⊢ p ∧ q → q ∧ p\", \"say\": [\"exact foo\", \"intro h\", \"simp at *\"]}\n"
    "{\"when\": \"h : p ∧ q\", \"say\": [\"exact h\", \"exact ⟨h.2, h.1⟩\"]}\n";

Test(http_runs, prove_finds_a_proof_with_what_the_server_says)
{
    fixture f;
    start(&f, swap_script, "10");
    char *apis[] = {"completions", "chat"};
    for (size_t i = 0; i < 2; i++) {
        command_result r = RUN(NULL, PROVER, "prove", (char *)swap, "--url", f.fake.url, "--prompt",
                               "state", "--api", apis[i], "--width", "4", "--workers", "1",
                               "--json", i == 0 ? "--no-logprobs" : "--stream");
        cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
        json_t *row = command_json(&r, 0);
        cr_assert_str_eq(json_text(row, "status"), "proved");
        cr_assert_str_eq(json_text(row, "level"), "replayed");
        cr_assert_str_eq(json_text(row, "policy"), "http");
        cr_assert_not_null(strstr(json_text(row, "text"), "intro h\n  exact ⟨h.2, h.1⟩"), "%s",
                           json_text(row, "text"));
        json_decref(row);
        command_release(&r);
    }
    stop(&f);
}

Test(http_runs, prove_goes_on_through_faults)
{
    fixture f;
    start(&f, swap_script, "10");
    char *models[] = {"429+1:1", "500:1", "cutstream:1"};
    for (size_t i = 0; i < 3; i++) {
        command_result r =
            RUN(NULL, PROVER, "prove", (char *)swap, "--url", f.fake.url, "--prompt", "state",
                "--width", "4", "--stream", "--workers", "1", "--server-model", models[i]);
        cr_assert_eq(r.code, 0, "%s: %s%s", models[i], pv_buf_text(&r.out), pv_buf_text(&r.err));
        command_release(&r);
    }
    stop(&f);
}

Test(http_runs, prove_says_what_is_wrong_with_the_server)
{
    fixture f;
    start(&f, swap_script, "0");
    static const char *const environment[] = {"PATH=/usr/bin:/bin", "HOME=/root",
                                              "SERVER_KEY=sk-secret-42", NULL};
    command_options with_key = {.environment = environment};
    command_result r = RUN(&with_key, PROVER, "prove", (char *)swap, "--url", f.fake.url,
                           "--server-model", "echokey", "--key-env", "SERVER_KEY", "--verbose=3");
    cr_assert_eq(r.code, 1, "%s", pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "the search broke off"), "%s", r.out.data);
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "no such key: Bearer ***"), "%s", r.out.data);
    cr_assert_null(strstr(pv_buf_text(&r.out), "sk-secret"));
    cr_assert_null(strstr(pv_buf_text(&r.err), "sk-secret"));
    command_release(&r);
    fake_server_stop(&f.fake);
    r = RUN(NULL, PROVER, "prove", (char *)swap, "--url", f.fake.url);
    cr_assert_eq(r.code, 3, "%s", pv_buf_text(&r.err));
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "does the server run"), "%s", r.err.data);
    command_release(&r);
    r = RUN(NULL, PROVER, "prove", (char *)swap, "--policy", "http");
    cr_assert_eq(r.code, 2);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "--url"));
    command_release(&r);
    unlink(f.script);
}

Test(http_runs, an_interrupted_run_ends_within_a_second)
{
    fixture f;
    start(&f, swap_script, "0");
    command_options interrupt = {.interrupt_after = 4};
    command_result r = RUN(&interrupt, PROVER, "prove", (char *)swap, "--url", f.fake.url,
                           "--server-model", "silent", "--prompt", "state");
    cr_assert_eq(r.code, 1, "%s", pv_buf_text(&r.err));
    cr_assert_lt(r.seconds, 5.5);
    cr_assert_not_null(strstr(pv_buf_text(&r.err), "interrupted"), "%s", r.err.data);
    command_release(&r);
    stop(&f);
}

/* ---- whole proofs ---- */

/* Replies to a refused proof come first: their prompt has the errors in it, and what was asked before. */
static const char whole_script[] =
    "{\"when\": \"<error>absent</error>\", \"say\": [\"The name is not there.\\n```lean4\\ntheorem "
    "swap : "
    "False := by\\n  exact ⟨h.2, h.1⟩\\n```\"]}\n"
    "{\"when\": \"<error>\", \"say\": [\"no idea\"]}\n"
    "{\"when\": \"have one : q := h.2\\n\", \"say\": [\"  exact ⟨one, h.1⟩\\n```\"]}\n"
    "{\"when\": \"Complete the following Lean 4 code\", \"say\": [\"```lean4\\ntheorem swap : "
    "False := "
    "by\\n  have one : q := h.2\\n  exact absent\\n```\"]}\n";

static const char swap_by[] = "theorem swap (p q : Prop) (h : p ∧ q) : q ∧ p";

typedef struct whole_case {
    const char *api, *mode, *repair, *rounds, *policy_prompt;
    const char *status, *way, *text; /* text: in the proof; NULL without */
    int samples, repairs;
} whole_case;

Test(http_runs, whole_proofs_are_repaired_gone_on_from_or_stepped_on)
{
    static const whole_case cases[] = {
        {"completions", "whole", "0", "1", "state", "not proved", NULL, NULL, 2, 0},
        {"completions", "whole", "1", "1", "state", "proved", "repair", "exact ⟨h.2, h.1⟩", 4, 2},
        {"chat", "whole-cot", "1", "1", "state", "proved", "repair", "exact ⟨h.2, h.1⟩", 4, 2},
        {"completions", "whole", "0", "2", "state", "proved", "whole",
         "have one : q := h.2\n  exact ⟨one, h.1⟩", 4, 0},
    };
    fixture f;
    start(&f, whole_script, "0");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const whole_case *c = &cases[i];
        command_result r =
            RUN(NULL, PROVER, "prove", (char *)swap_by, "--url", f.fake.url, "--api",
                (char *)c->api, "--mode", (char *)c->mode, "--repair", (char *)c->repair,
                "--whole-rounds", (char *)c->rounds, "--whole-samples", "2", "--workers", "1",
                "--json", "--prompt", (char *)c->policy_prompt);
        cr_assert_eq(r.code, c->way == NULL ? 1 : 0, "%zu: %s", i, pv_buf_text(&r.err));
        json_t *row = command_json(&r, 0);
        cr_expect_str_eq(json_text(row, "status"), c->status, "%zu", i);
        cr_expect_eq(json_integer_value(json_object_get(row, "samples")), c->samples, "%zu", i);
        cr_expect_eq(json_integer_value(json_object_get(row, "repairs")), c->repairs, "%zu", i);
        cr_expect_gt(json_integer_value(json_object_get(json_object_get(row, "search"), "tokens")),
                     0, "%zu", i);
        if (c->way != NULL) {
            cr_expect_str_eq(json_text(row, "level"), "replayed", "%zu", i);
            cr_expect_str_eq(json_text(row, "way"), c->way, "%zu", i);
            cr_expect_not_null(strstr(json_text(row, "text"), c->text), "%zu: %s", i,
                               json_text(row, "text"));
            cr_expect_eq(strncmp(json_text(row, "text"), swap_by, strlen(swap_by)), 0);
        }
        json_decref(row);
        command_release(&r);
    }
    stop(&f);
}

/* The good beginning is handed to the steps of the same server, and their budget is what the whole proofs left. */
Test(http_runs, what_is_not_proved_whole_is_stepped_on)
{
    static const char script[] = "{\"when\": \"Complete the following Lean 4 code\", \"say\": "
                                 "[\"```lean4\\ntheorem swap : False "
                                 ":= by\\n  have one : q := h.2\\n  exact absent\\n```\"]}\n"
                                 "{\"when\": \"one : q\", \"say\": [\"exact ⟨one, h.1⟩\"]}\n";
    fixture f;
    start(&f, script, "0");
    static const char *const tokens[] = {"0", "5"};
    for (size_t i = 0; i < 2; i++) {
        command_result r =
            RUN(NULL, PROVER, "prove", (char *)swap_by, "--url", f.fake.url, "--mode", "both",
                "--prompt", "state", "--whole-samples", "2", "--width", "2", "--workers", "1",
                "--tokens", (char *)tokens[i], "--json");
        cr_assert_eq(r.code, (int)i, "%s", pv_buf_text(&r.err));
        json_t *row = command_json(&r, 0);
        if (i == 0) {
            cr_expect_str_eq(json_text(row, "way"), "cut");
            cr_expect_not_null(
                strstr(json_text(row, "text"), "have one : q := h.2\n  exact ⟨one, h.1⟩"), "%s",
                json_text(row, "text"));
        } else {
            cr_expect_str_eq(json_text(row, "why"), "the budget is spent");
        }
        json_decref(row);
        command_release(&r);
    }
    stop(&f);
}

/* Both halves lead to states that differ in the names of hypotheses alone: the model is asked about one of them, and what it says is
 * right in the other after renaming. */
Test(http_runs, a_merged_state_is_proved_with_the_names_that_are_there)
{
    static const char script[] = "{\"when\": \"⊢ (p → q → p ∧ q) ∧\", \"say\": [\"constructor\"]}\n"
                                 "{\"when\": \"⊢ p → q → p ∧ q\", \"say\": [\"intro a b\"]}\n"
                                 "{\"when\": \"⊢ p ∧ q → p ∧ q\", \"say\": [\"intro ⟨x, _⟩\"]}\n"
                                 "{\"when\": \"x : p\", \"say\": [\"exact ⟨x, ‹q›⟩\"]}\n"
                                 "{\"when\": \"a : p\", \"say\": [\"exact ⟨a, b⟩\"]}\n";
    static char theorem[] = "theorem both (p q : Prop) : (p → q → p ∧ q) ∧ (p ∧ q → p ∧ q)";
    fixture f;
    start(&f, script, "0");
    command_result r = RUN(NULL, PROVER, "prove", theorem, "--url", f.fake.url, "--prompt", "state",
                           "--width", "1", "--workers", "1", "--json");
    cr_assert_eq(r.code, 0, "%s%s", pv_buf_text(&r.out), pv_buf_text(&r.err));
    json_t *row = command_json(&r, 0);
    cr_expect_str_eq(json_text(row, "level"), "replayed");
    cr_expect_eq(json_integer_value(json_object_get(json_object_get(row, "search"), "merged")), 1);
    cr_expect_not_null(strstr(json_text(row, "text"), "revert "), "%s", json_text(row, "text"));
    json_decref(row);
    command_release(&r);
    stop(&f);
}
