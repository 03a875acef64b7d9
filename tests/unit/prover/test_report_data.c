/* Runs put together from their stores: what belongs together, what is refused, what counts when it is there twice; figures of them. */
#include "folder.h"
#include "report_data.h"
#include "report_store.h"

#include <math.h>
#include <sqlite3.h>

TestSuite(report_data, .init = make_folder, .fini = remove_folder, .timeout = 60);

static const char *const NAMES[] = {"p0", "p1", "p2", "p3", NULL};
static char ids[8][STORE_ID_MAX];
static pv_error err;

#define OK(call) cr_assert_eq(call, PV_OK, "%s", err.msg)
#define SETTINGS "{\"given\":[],\"--policy\":\"portfolio\",\"--budget\":\"nodes=9\"}"

static report_source source_of(const char *shard, size_t first, size_t step,
                               const report_result *results, size_t count)
{
    return (report_source){.shard = shard,
                           .settings = SETTINGS,
                           .fingerprint = "same",
                           .lean = "4.28.0",
                           .names = NAMES,
                           .first = first,
                           .step = step,
                           .passes = 1,
                           .results = results,
                           .result_count = count};
}

static const report_result EVEN[] = {{0, 0, "proved", "theorem p0", 2, 10, NULL},
                                     {1, 0, "not proved", NULL, 8, 90, NULL}};
static const report_result ODD[] = {{0, 0, "proved", "theorem p1", 4, 40, NULL},
                                    {1, 0, "proved", "theorem p3", 1, 5, NULL}};
static const report_result ALL[] = {{0, 0, "not proved", NULL, 8, 80, NULL},
                                    {1, 0, "proved", "theorem p1", 8, 20, NULL},
                                    {2, 0, "proved", "theorem p2", 3, 30, NULL},
                                    {3, 0, "not proved", NULL, 8, 80, NULL}};

static void load(report_stores *stores, report_run *run, const char *const *paths, size_t count)
{
    report_parts parts;
    OK(report_stores_open(stores, paths, count, &err));
    OK(report_choose(stores, "", &parts, &err));
    OK(report_choice_check(stores, &parts, NULL, &err));
    OK(report_run_load(run, &parts, &err));
}

static void end(report_stores *stores, report_run *run)
{
    report_run_release(run);
    report_stores_close(stores);
}

Test(report_data, shards_of_two_stores_are_one_run)
{
    report_source even = source_of("0/2", 0, 2, EVEN, 2), odd = source_of("1/2", 1, 2, ODD, 2);
    report_store_add(in_folder("a"), &even, ids[0]);
    report_store_add(in_folder("b"), &odd, ids[1]);
    const char *paths[] = {in_folder("b"), in_folder("a")};
    report_stores stores;
    report_run run;
    load(&stores, &run, paths, 2);
    cr_assert_eq(run.problem_count, 4);
    for (size_t i = 0; i < 4; i++) {
        cr_expect_str_eq(run.problems[i].name, NAMES[i]);
        cr_expect_eq(run.problems[i].row_count, 1);
    }
    cr_expect_eq(report_run_solved(&run), 3);
    cr_expect(run.results == 4 && run.doubled == 0 && run.parts.count == 2);
    cr_expect_eq(json_array_size(run.environments), 1);
    size_t count;
    double *seconds = report_curve(&run, REPORT_SECONDS, &count);
    cr_assert_eq(count, 3);
    cr_expect(seconds[0] == 1 && seconds[1] == 2 && seconds[2] == 4);
    pv_free(seconds);
    end(&stores, &run);
}

Test(report_data, shards_of_one_store_are_one_run)
{
    report_source even = source_of("0/2", 0, 2, EVEN, 2), odd = source_of("1/2", 1, 2, ODD, 2);
    report_store_add(in_folder("a"), &even, ids[0]);
    report_store_add(in_folder("a"), &odd, ids[1]);
    report_store_add(in_folder("a"), &odd, ids[2]); /* once more: the latest one counts */
    const char *paths[] = {in_folder("a")};
    report_stores stores;
    report_run run;
    load(&stores, &run, paths, 1);
    cr_expect_eq(run.parts.count, 2);
    cr_expect_str_eq(run.parts.items[0].run->id, ids[2]);
    cr_expect(run.problem_count == 4 && report_run_solved(&run) == 3 && run.doubled == 0);
    end(&stores, &run);
}

/* Not the better one: the one that was named first. */
Test(report_data, of_two_results_of_an_attempt_that_of_the_first_store_counts)
{
    report_source all = source_of("0/1", 0, 1, ALL, 4);
    static const report_result none[] = {{0, 0, "proved", "theorem p0", 1, 1, NULL}};
    report_source other = source_of("0/1", 0, 1, none, 1);
    report_store_add(in_folder("a"), &all, ids[0]);
    report_store_add(in_folder("b"), &other, ids[1]);
    const char *paths[] = {in_folder("a"), in_folder("b")}, *back[] = {paths[1], paths[0]};
    report_stores stores;
    report_run run;
    load(&stores, &run, paths, 2);
    cr_expect(report_run_solved(&run) == 2 && run.doubled == 1 && run.results == 4);
    cr_expect_str_eq(run.problems[0].rows[0].status, "not proved");
    end(&stores, &run);
    load(&stores, &run, back, 2);
    cr_expect(report_run_solved(&run) == 3 && run.doubled == 1 && run.results == 4);
    end(&stores, &run);
}

Test(report_data, a_copy_of_a_store_adds_nothing)
{
    char command[400];
    report_source all = source_of("0/1", 0, 1, ALL, 4);
    report_store_add(in_folder("a"), &all, ids[0]);
    snprintf(command, sizeof command, "cp %s %s", in_folder("a"), in_folder("b"));
    cr_assert_eq(system(command), 0);
    const char *paths[] = {in_folder("a"), in_folder("b")};
    report_stores stores;
    report_run run;
    load(&stores, &run, paths, 2);
    cr_expect(run.parts.count == 1 && run.results == 4 && run.doubled == 0);
    end(&stores, &run);
}

static void refuses(const report_source *a, const report_source *b, const char *const *says)
{
    report_stores stores;
    report_parts parts;
    report_store_add(in_folder("a"), a, ids[0]);
    report_store_add(in_folder("b"), b, ids[1]);
    const char *paths[] = {in_folder("a"), in_folder("b")};
    OK(report_stores_open(&stores, paths, 2, &err));
    OK(report_choose(&stores, "", &parts, &err));
    pv_status status = report_choice_check(&stores, &parts, NULL, &err);
    if (status == PV_OK) {
        report_run run;
        status = report_run_load(&run, &parts, &err);
    }
    cr_expect_eq(status, PV_E_INVALID);
    for (size_t i = 0; says[i] != NULL; i++) {
        cr_expect_not_null(strstr(err.msg, says[i]), "%s: %s", says[i], err.msg);
    }
    report_parts_release(&parts);
    report_stores_close(&stores);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(report_data, other_settings_are_refused_by_name)
{
    report_source a = source_of("0/1", 0, 1, ALL, 4), b = a;
    b.fingerprint = "other";
    b.settings = "{\"--policy\":\"mixed\",\"--budget\":\"nodes=9\",\"--width\":\"3\"}";
    refuses(&a, &b,
            (const char *const[]){"--policy portfolio and mixed", "--width (unknown) and 3",
                                  "--compare", ids[0], ids[1], NULL});
    cr_expect_null(strstr(err.msg, "--budget"));
}

Test(report_data, another_lean_is_refused)
{
    report_source a = source_of("0/2", 0, 2, EVEN, 2), b = source_of("1/2", 1, 2, ODD, 2);
    b.lean = "4.9.0";
    refuses(&a, &b, (const char *const[]){"4.28.0", "4.9.0", "no parts of one benchmark", NULL});
}

Test(report_data, a_path_without_a_store_is_not_made_one)
{
    report_stores stores;
    const char *paths[] = {in_folder("nothing")};
    cr_expect_eq(report_stores_open(&stores, paths, 1, &err), PV_E_NOTFOUND);
    cr_expect_not(pv_file_exists(paths[0]));
}

Test(report_data, a_store_of_the_first_version_opens)
{
    sqlite3 *db;
    report_source all = source_of("0/1", 0, 1, ALL, 4);
    report_store_add(in_folder("a"), &all, ids[0]);
    cr_assert_eq(sqlite3_open(in_folder("a"), &db), SQLITE_OK);
    cr_assert_eq(sqlite3_exec(db,
                              "DROP TABLE tree; ALTER TABLE attempt DROP COLUMN trees_left_out;"
                              "PRAGMA user_version = 1",
                              NULL, NULL, NULL),
                 SQLITE_OK);
    sqlite3_close(db);
    const char *paths[] = {in_folder("a")};
    report_stores stores;
    report_run run;
    load(&stores, &run, paths, 1);
    cr_expect_eq(report_run_solved(&run), 2);
    end(&stores, &run);
}

Test(report_data, passes_count_up_to_the_first_proof)
{
    static const report_result results[] = {{0, 0, "not proved", NULL, 5, 50, NULL},
                                            {0, 1, "proved", "x", 2, 20, NULL},
                                            {0, 2, "proved", "x", 1, 10, NULL}};
    static const char *const one[] = {"p0", NULL};
    report_source source = source_of("0/1", 0, 1, results, 3);
    source.names = one;
    source.passes = 3;
    report_store_add(in_folder("a"), &source, ids[0]);
    const char *paths[] = {in_folder("a")};
    report_stores stores;
    report_run run;
    double spent;
    load(&stores, &run, paths, 1);
    cr_assert(report_spent(&run.problems[0], REPORT_SECONDS, &spent));
    cr_expect_eq(spent, 7);
    cr_assert(report_spent(&run.problems[0], REPORT_TOKENS, &spent));
    cr_expect_eq(spent, 210);
    pass_count *counts = report_run_counts(&run);
    cr_expect(counts[0].n == 3 && counts[0].c == 2);
    pv_free(counts);
    end(&stores, &run);
}

Test(report_data, two_runs_side_by_side)
{
    static const report_result few[] = {{0, 0, "proved", "x", 1, 4, NULL},
                                        {1, 0, "proved", "x", 2, 80, NULL},
                                        {2, 0, "not proved", NULL, 8, 80, NULL}};
    report_source a = source_of("0/1", 0, 1, ALL, 4), b = source_of("0/1", 0, 1, few, 3);
    b.fingerprint = "other";
    report_store_add(in_folder("a"), &a, ids[0]);
    report_store_add(in_folder("a"), &b, ids[1]);
    const char *paths[] = {in_folder("a")};
    report_stores stores;
    report_parts parts[2];
    report_run runs[2];
    report_versus v;
    OK(report_stores_open(&stores, paths, 1, &err));
    for (int i = 0; i < 2; i++) {
        OK(report_choose(&stores, ids[i], &parts[i], &err));
    }
    OK(report_choice_check(&stores, &parts[0], &parts[1], &err));
    for (int i = 0; i < 2; i++) {
        OK(report_run_load(&runs[i], &parts[i], &err));
    }
    OK(report_versus_of(&v, &runs[0], &runs[1], &err));
    cr_expect(v.count == 4 && v.both == 1 && v.only_a == 1 && v.only_b == 1 && v.neither == 1);
    cr_expect_float_eq(v.seconds_ratio, 0.25, 1e-9);
    cr_expect_float_eq(v.tactics_ratio, 4, 1e-9);
    cr_expect_eq(v.sign_test, 1);
    report_versus_release(&v);
    report_run_release(&runs[1]);
    end(&stores, &runs[0]);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(report_data, the_sign_test_is_exact)
{
    cr_expect_float_eq(report_sign_test(0, 5), 0.0625, 1e-12);
    cr_expect_float_eq(report_sign_test(8, 1), 2 * 10.0 / 512, 1e-12);
    cr_expect_eq(report_sign_test(4, 4), 1);
    cr_expect_eq(report_sign_test(0, 0), 1);
    cr_expect_lt(report_sign_test(0, 2000), 1e-100);
}
