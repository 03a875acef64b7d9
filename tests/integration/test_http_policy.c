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
