/* prover report: the page in a real browser. Skipped, and said, where there is none. */
#define _DEFAULT_SOURCE
#include "browser.h"
#include "command.h"
#include "folder.h"
#include "report_store.h"
#include "tree_blob.h"
#include "wide_search.h"

#include <sys/stat.h>

TestSuite(report, .init = make_folder, .fini = remove_folder, .timeout = 300);

#define REPORT(...) RUN(NULL, PROVER, "report", __VA_ARGS__)
#define HOSTILE                                                                                    \
    "</script><script>window.hacked=1</script>\xe2\x80\xa8<img src=x onerror=hacked=1>\"'&"

static char id[2][STORE_ID_MAX];

static store_blob tree_of(uint64_t states, const char *hostile)
{
    wide_search w = {.closes_at = states / 2, .hostile = hostile};
    pv_buf blob = {0};
    pv_error err = {0};
    wide_begin(&w, states);
    cr_assert_eq(tree_blob_write(w.run, hostile == NULL ? "the statement" : hostile, TREE_BLOB_MAX,
                                 &blob, &err),
                 PV_OK, "%s", err.msg);
    search_run_free(w.run);
    size_t len = blob.len;
    return (store_blob){pv_buf_detach(&blob), len};
}

static void make_page(const char *page, const char *a, const char *b)
{
    command_result r =
        b == NULL ? REPORT(in_folder("s"), "-o", (char *)page)
                  : REPORT(in_folder("s"), "-o", (char *)page, "--compare", (char *)a, (char *)b);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
}

static void has_no_complaints(const browser *b)
{
    cr_expect_eq(b->complaints.len, 0, "%s", pv_buf_text(&b->complaints));
    cr_expect_eq(b->requests, 0);
}

static void fits(browser *b, int width)
{
    browser_do(b, "Emulation.setDeviceMetricsOverride",
               json_pack("{s:i,s:i,s:i,s:b}", "width", width, "height", 740, "deviceScaleFactor", 1,
                         "mobile", width < 500));
    double room = browser_number(b, "document.documentElement.clientWidth"),
           wide = browser_number(b, "document.documentElement.scrollWidth");
    cr_expect(room <= width && room > width - 20);
    cr_expect_leq(wide, room, "%g in %g", wide, room);
}

static bool has_browser(void)
{
    if (browser_path() == NULL) {
        cr_skip_test("SKIPPED: no Chromium (Debian: chromium)");
        return false;
    }
    return true;
}

#define OPEN_TREE "document.querySelector('.open-tree').click()"

/* The figures that the issue asks for. */
Test(report, a_search_of_ten_thousand_states_opens_at_once)
{
    static const char *const names[] = {"large", NULL};
    if (!has_browser()) {
        return;
    }
    store_blob tree = tree_of(10000, NULL);
    report_result results[] = {{0, 0, "proved", "theorem large : True := trivial", 3, 4, &tree}};
    results[0].status = "not proved";
    results[0].text = NULL;
    report_source source = {.shard = "0/1",
                            .settings = "{\"--budget\":\"nodes=10000\"}",
                            .fingerprint = "f",
                            .lean = "4",
                            .names = names,
                            .passes = 1,
                            .results = results,
                            .result_count = 1};
    report_store_add(in_folder("s"), &source, id[0]);
    pv_free(tree.bytes);
    make_page(in_folder("page.html"), NULL, NULL);
    struct stat file;
    cr_assert_eq(stat(in_folder("page.html"), &file), 0);
    cr_expect_lt(file.st_size, 5 << 20);
    browser b;
    browser_open(&b, in_folder("profile"));
    double ready = browser_go(&b, in_folder("page.html"));
    cr_expect_lt(ready, 2000);
    browser_do(&b, "Runtime.evaluate", json_pack("{s:s}", "expression", OPEN_TREE));
    double opened = browser_wait(&b, "'tree' in document.documentElement.dataset");
    cr_expect_lt(opened, 2000);
    cr_expect(browser_true(&b, "document.querySelectorAll('.tree details.state').length > 3"));
    cr_log_info(
        "10,000 states: page %.2f MiB, first frame after %.0f ms, tree open after %.0f ms\n",
        (double)file.st_size / (1 << 20), ready, opened);
    has_no_complaints(&b);
    browser_close(&b);
}

#define COLUMN(n)                                                                                  \
    "Array.from(document.querySelectorAll('#problems tr.row')).map(r=>r.cells[" #n                 \
    "].textContent.trim()).join('|')"

static void column_is(browser *b, const char *expression, const char *expected)
{
    json_t *value = browser_value(b, expression);
    cr_expect_str_eq(json_string_value(value), expected);
    json_decref(value);
}

static void add_hostile_run(const char *fingerprint, double factor, const store_blob *tree,
                            char *out)
{
    static const char *const names[] = {"beta_2", HOSTILE, "beta_10", NULL};
    report_result results[] = {
        {0, 0, "proved", "theorem beta_2 : 1 = 1 := " HOSTILE, 30 * factor, 4, tree},
        {1, 0, HOSTILE, NULL, 4, 900, tree},
        {2, 0, "proved", "theorem beta_10 : 1 = 1 := rfl", 200 / factor, 17, NULL}};
    report_source source = {.shard = "0/1",
                            .settings = "{\"--budget\":\"nodes=10\",\"--policy\":\""
                                        "x\"}",
                            .fingerprint = fingerprint,
                            .lean = HOSTILE,
                            .names = names,
                            .passes = 1,
                            .statement = "theorem t : 1 = 1 := by sorry -- " HOSTILE,
                            .results = results,
                            .result_count = 3};
    report_store_add(in_folder("s"), &source, out);
}

static void try_table(browser *b)
{
    column_is(b, COLUMN(2), "30.0\xc2\xa0s|4.0\xc2\xa0s|200\xc2\xa0s");
    browser_do(b, "Runtime.evaluate",
               json_pack("{s:s}", "expression",
                         "document.querySelector('[data-sort=time] button').click()"));
    column_is(b, COLUMN(2), "4.0\xc2\xa0s|30.0\xc2\xa0s|200\xc2\xa0s");
    browser_do(b, "Runtime.evaluate",
               json_pack("{s:s}", "expression",
                         "document.querySelector('[data-sort=time] button').click()"));
    column_is(b, COLUMN(2), "200\xc2\xa0s|30.0\xc2\xa0s|4.0\xc2\xa0s");
    browser_do(b, "Runtime.evaluate",
               json_pack("{s:s}", "expression",
                         "document.querySelector('[data-sort=name] button').click()"));
    column_is(b, COLUMN(4), "900|4|17"); /* beta_2 before beta_10 */
    browser_do(b, "Runtime.evaluate",
               json_pack("{s:s}", "expression",
                         "{const f = document.getElementById('find'); f.value = '10'; "
                         "f.dispatchEvent(new Event('input'));}"));
    cr_expect_eq(
        browser_number(b, "document.querySelectorAll('#problems tbody:not([hidden])').length"), 1);
    cr_expect(browser_true(b, "location.hash === '#sort=name&find=10'"));
}

static void try_details(browser *b)
{
    browser_do(b, "Runtime.evaluate",
               json_pack("{s:s}", "expression",
                         "document.querySelectorAll('.row td:nth-child(3)').forEach(c => "
                         "c.click());" OPEN_TREE));
    browser_wait(b, "'tree' in document.documentElement.dataset");
    cr_expect(browser_true(b, "document.querySelectorAll('#problems details[open]').length >= 3"));
    cr_expect(browser_true(b, "document.querySelectorAll('.tree pre.goal').length > 0"));
    cr_expect(browser_true(b, "document.querySelector('.tree').textContent.includes('<script>')"));
    cr_expect(browser_true(
        b, "document.querySelector('.tree details.failed') !== null && (() => { const d = "
           "document.querySelector('.tree details.failed'); d.open = true; return true; })()"));
    browser_wait(b, "document.querySelectorAll('.tree .failed pre').length > 0");
    cr_expect(browser_true(b, "Array.from(document.querySelectorAll('pre.lean')).some(p => "
                              "p.textContent.includes('</script><script>'))"));
}

static void stays_harmless(browser *b)
{
    cr_expect(browser_true(b, "typeof hacked === 'undefined'"));
    cr_expect_eq(browser_number(b, "document.images.length"), 0);
    cr_expect_eq(browser_number(b, "Array.from(document.scripts).filter(s => !s.type).length"), 1);
}

Test(report, what_models_and_lean_wrote_stays_text_and_the_page_works)
{
    if (!has_browser()) {
        return;
    }
    store_blob tree = tree_of(40, HOSTILE);
    add_hostile_run("a", 1, &tree, id[0]);
    add_hostile_run("b", 2, &tree, id[1]);
    pv_free(tree.bytes);
    make_page(in_folder("one.html"), NULL, NULL);
    make_page(in_folder("two.html"), id[0], id[1]);
    browser b;
    browser_open(&b, in_folder("profile"));
    fits(&b, 1000);
    /* The latest run is B; the order of its times is that of A's. */
    browser_go(&b, in_folder("two.html"));
    column_is(&b, COLUMN(5), "2.00|–|0.50");
    cr_expect_eq(browser_number(&b, "document.querySelectorAll('svg .dot').length"), 2);
    fits(&b, 360);
    stays_harmless(&b);
    command_result r = REPORT(in_folder("s"), "-o", in_folder("one.html"), "--run", id[0]);
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    browser_go(&b, in_folder("one.html"));
    fits(&b, 1000);
    try_table(&b);
    try_details(&b);
    fits(&b, 360);
    stays_harmless(&b);
    has_no_complaints(&b);
    /* That the policy is on: a script of somebody else does not run, and the browser says so. */
    browser_do(&b, "Runtime.evaluate",
               json_pack("{s:s}", "expression",
                         "{const s = document.createElement('script'); s.textContent = "
                         "'window.hacked = 1'; document.body.append(s);} "
                         "{const i = new Image(); i.src = 'http://127.0.0.1:9/x'; "
                         "document.body.append(i);}"));
    cr_expect(browser_true(&b, "new Promise(r => setTimeout(() => r(typeof hacked === "
                               "'undefined'), 100))"));
    cr_expect_not_null(strstr(pv_buf_text(&b.complaints), "Content Security Policy"));
    browser_close(&b);
}

/* On a real Lean: what prove and bench keep, and that it can be left out. */
Test(report, prove_and_bench_keep_what_a_page_shows)
{
    write_file(in_folder("t.lean"), "theorem swap (p q : Prop) : p ∧ q → q ∧ p := by sorry\n"
                                    "theorem no (a b : Nat) : a = b := by sorry\n");
    command_result r =
        RUN(NULL, PROVER, "prove", in_folder("t.lean"), "--store", in_folder("s"), "--policy",
            "portfolio", "--nodes", "12", "--timeout", "60", "--heartbeats", "3000");
    cr_assert_eq(r.code, 1, "%s", pv_buf_text(&r.err));
    command_release(&r);
    r = REPORT(in_folder("s"), "-o", in_folder("a.html"), "--title", "a <title>");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.out), "1 of 2 problems proved"));
    command_release(&r);
    pv_buf page = {0};
    cr_assert_eq(pv_file_read(in_folder("a.html"), 1 << 24, &page, NULL), PV_OK);
    cr_expect_not_null(strstr(pv_buf_text(&page), "<h1>a &lt;title&gt;</h1>"));
    cr_expect_not_null(strstr(pv_buf_text(&page), "theorem swap (p q : Prop)"));
    cr_expect_not_null(strstr(pv_buf_text(&page), "id=\"t0\">"));
    cr_expect_not_null(strstr(pv_buf_text(&page), "id=\"t1\">"));
    pv_buf_release(&page);
    r = RUN(NULL, PROVER, "bench", in_folder("t.lean"), "--store", in_folder("b"), "--policy",
            "portfolio", "--budget", "nodes=12", "--heartbeats", "3000", "--no-trees");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    r = REPORT(in_folder("b"), "-o", in_folder("b.html"));
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    cr_assert_eq(pv_file_read(in_folder("b.html"), 1 << 24, &page, NULL), PV_OK);
    cr_expect_null(strstr(pv_buf_text(&page), "data-tree="));
    pv_buf_release(&page);
}

Test(report, says_what_is_wrong)
{
    command_result r = REPORT(in_folder("nothing"), "-o", in_folder("x.html"));
    cr_expect_eq(r.code, 3);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "there is no such store"));
    command_release(&r);
    r = REPORT(in_folder("nothing"));
    cr_expect_eq(r.code, 2);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "-o FILE.html"));
    command_release(&r);
    r = REPORT(in_folder("nothing"), "-o", "x.html", "--compare", "a");
    cr_expect_eq(r.code, 2);
    cr_expect_not_null(strstr(pv_buf_text(&r.err), "two arguments"));
    command_release(&r);
}
