#include "calculus.h"
#include "pv_file.h"

#include <criterion/criterion.h>
#include <unistd.h>

enum { PATH_BYTES = 64 };

static void temp_path(char path[PATH_BYTES])
{
    snprintf(path, PATH_BYTES, "/tmp/search_trace_XXXXXX");
    int fd = mkstemp(path);
    cr_assert_geq(fd, 0);
    close(fd);
}

/* How a recorded search ends. */
typedef enum ending { TO_THE_END, CANCELLED_EARLY, REFUSED_TWICE } ending;

static search_stats record(const char *path, uint64_t problem, ending how, bool deferred)
{
    world w = {.deferred = deferred, .rng = problem, .messy = problem % 2 == 0, .lose_every = 11};
    calculus_random(&w.c, problem, 24, true, true);
    search_trace *trace;
    pv_error err = {0};
    cr_assert_eq(search_trace_create(&trace, path, &err), PV_OK, "%s", err.msg);
    search_options options = {.statement = "theorem t : a ∧ \"b\"",
                              .window = 1 + (uint32_t)(problem % 4),
                              .nodes_max = 120,
                              .seed = UINT64_MAX - problem,
                              .trace = trace};
    uint32_t goals[2] = {0, 1};
    search_run *run;
    cr_assert_eq(world_start(&w, &run, &options, goals, 2, problem % 3 == 0, NULL), PV_OK);
    for (int i = 0; how == CANCELLED_EARLY && i < 25; i++) {
        search_pump(run);
        world_answer(&w);
    }
    if (how != CANCELLED_EARLY) {
        world_finish(&w, run);
    }
    for (int i = 0; how == REFUSED_TWICE && i < 2; i++) {
        search_reject_proof(run);
        world_finish(&w, run);
    }
    search_cancel(run);
    search_stats stats;
    search_stats_of(run, &stats);
    world_close(&w, run);
    cr_assert_eq(search_trace_close(trace, &err), PV_OK, "%s", err.msg);
    return stats;
}

static void check_replay(const char *path, const search_stats *recorded, uint64_t problem)
{
    search_replay *replay;
    pv_error err = {0};
    cr_assert_eq(search_replay_open(&replay, path, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(search_replay_digest(replay), recorded->digest);
    cr_assert_str_eq(search_replay_options(replay)->statement, "theorem t : a ∧ \"b\"");
    cr_assert_eq(search_replay_options(replay)->seed, UINT64_MAX - problem);
    search_stats stats;
    cr_assert_eq(search_replay_run(replay, &stats, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(stats.digest, recorded->digest, "problem %llu", (unsigned long long)problem);
    cr_assert_eq(stats.nodes, recorded->nodes);
    cr_assert_eq(stats.edges, recorded->edges);
    cr_assert_eq(stats.tactics, recorded->tactics);
    cr_assert_eq(stats.tokens, recorded->tokens);
    cr_assert_float_eq(stats.lean_seconds, recorded->lean_seconds, 0);
    search_replay_close(replay);
}

Test(search_trace, a_replay_makes_the_same_search)
{
    char path[PATH_BYTES];
    temp_path(path);
    for (uint64_t problem = 0; problem < 60; problem++) {
        for (int how = TO_THE_END; how <= REFUSED_TWICE; how++) {
            search_stats stats = record(path, problem, (ending)how, how == CANCELLED_EARLY);
            check_replay(path, &stats, problem);
        }
    }
    unlink(path);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(search_trace, a_broken_search_can_be_replayed_up_to_where_it_broke)
{
    char path[PATH_BYTES];
    temp_path(path);
    world w = {.fail_proposal = 4};
    calculus_random(&w.c, 3, 24, true, true);
    search_trace *trace;
    cr_assert_eq(search_trace_create(&trace, path, NULL), PV_OK);
    search_options options = {.trace = trace};
    uint32_t goals[1] = {0};
    search_run *run;
    cr_assert_eq(world_start(&w, &run, &options, goals, 1, false, NULL), PV_OK);
    cr_assert_eq(search_pump(run), SEARCH_BROKEN);
    search_stats stats;
    search_stats_of(run, &stats);
    world_close(&w, run);
    cr_assert_eq(search_trace_close(trace, NULL), PV_OK);
    search_replay *replay;
    search_stats again;
    cr_assert_eq(search_replay_open(&replay, path, NULL), PV_OK);
    cr_assert_eq(search_replay_run(replay, &again, NULL), PV_OK);
    cr_assert_eq(again.digest, stats.digest);
    search_replay_close(replay);
    unlink(path);
}

Test(search_trace, a_full_disk_does_not_stop_the_search)
{
    world w = {0};
    calculus_random(&w.c, 4, 30, true, true);
    search_trace *trace;
    cr_assert_eq(search_trace_create(&trace, "/dev/full", NULL), PV_OK);
    search_options options = {.trace = trace, .nodes_max = 200};
    uint32_t goals[1] = {0};
    search_run *run;
    cr_assert_eq(world_start(&w, &run, &options, goals, 1, false, NULL), PV_OK);
    search_state state = search_pump(run);
    cr_assert(state == SEARCH_PROVED || state == SEARCH_BUDGET || state == SEARCH_EXHAUSTED);
    world_close(&w, run);
    pv_error err = {0};
    cr_assert_eq(search_trace_close(trace, &err), PV_E_IO);
    cr_assert_str_eq(err.msg, "/dev/full: cannot write the trace: No space left on device");
    cr_assert_eq(pv_mem_live(), 0);
}

Test(search_trace, says_which_file_it_cannot_make_or_find)
{
    search_trace *trace;
    search_replay *replay;
    pv_error err = {0};
    cr_assert_eq(search_trace_create(&trace, "/nowhere/trace", &err), PV_E_IO);
    cr_assert_not_null(strstr(err.msg, "/nowhere/trace"));
    pv_error_clear(&err);
    cr_assert_eq(search_replay_open(&replay, "/nowhere/trace", &err), PV_E_NOTFOUND);
    cr_assert_not_null(strstr(err.msg, "/nowhere/trace"));
    cr_assert_eq(pv_mem_live(), 0);
}

Test(search_trace, text_that_is_not_utf8_is_written_all_the_same)
{
    char path[PATH_BYTES];
    temp_path(path);
    world w = {.c.goal_count = 1};
    search_trace *trace;
    cr_assert_eq(search_trace_create(&trace, path, NULL), PV_OK);
    search_options options = {.statement = "bad \xff bytes \xc3", .trace = trace};
    uint32_t goals[1] = {0};
    search_run *run;
    cr_assert_eq(world_start(&w, &run, &options, goals, 1, false, NULL), PV_OK);
    search_pump(run);
    world_close(&w, run);
    cr_assert_eq(search_trace_close(trace, NULL), PV_OK);
    search_replay *replay;
    cr_assert_eq(search_replay_open(&replay, path, NULL), PV_OK);
    cr_assert_str_eq(search_replay_options(replay)->statement, "bad ? bytes ?");
    search_replay_close(replay);
    unlink(path);
}

/* ---- traces that are not ---- */

#define OPTIONS                                                                                    \
    "\"options\":{\"statement\":\"\",\"alpha\":0.5,\"width\":8,\"window\":1,\"nodes_max\":0,"      \
    "\"expansions_max\":0,\"tokens_max\":0,\"lean_seconds_max\":0.0,\"wall_seconds_max\":0.0,"     \
    "\"depth_max\":9,\"seed\":\"0000000000000001\"}"
#define PART "{\"key\":\"00000000000000000000000000000001\",\"goals\":[\"g\"]}"
#define START                                                                                      \
    "{\"trace\":\"prover-search\",\"version\":1," OPTIONS                                          \
    ",\"root\":{\"kind\":\"open\",\"parts\":[" PART "],\"order\":[0],\"ms\":0}}\n"
#define POLICY "{\"policy\":1,\"node\":0,\"candidates\":[[\"simp\",-1.0,4]]}\n"
#define CLOSED "{\"verifier\":1,\"index\":0,\"kind\":\"closed\",\"ms\":1.0}\n"
#define END    "{\"end\":\"proved\",\"digest\":\"0000000000000000\",\"stats\":{}}\n"

static void check_bad(const char *text, const char *message)
{
    search_replay *replay = NULL;
    pv_error err = {0};
    cr_expect_eq(search_replay_parse(&replay, text, strlen(text), &err), PV_E_INVALID, "<%s>",
                 text);
    cr_expect_str_eq(err.msg, message, "<%s>", err.msg);
}

Test(search_trace, a_written_example_is_read)
{
    search_replay *replay;
    const char *text = START POLICY CLOSED END;
    pv_error err = {0};
    cr_assert_eq(search_replay_parse(&replay, text, strlen(text), &err), PV_OK, "%s", err.msg);
    search_stats stats;
    cr_assert_eq(search_replay_run(replay, &stats, NULL), PV_OK);
    cr_assert_eq(stats.tactics, 1);
    cr_assert_eq(stats.edges, 1);
    search_replay_close(replay);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(search_trace, damage_is_reported_with_its_line)
{
    check_bad("", "line 0: the trace is empty");
    check_bad("{}\n", "line 1: this is not a search trace");
    check_bad("[]\n", "line 1: not an object");
    check_bad("{\"trace\":\"prover-search\",\"version\":2}\n",
              "line 1: a version of the format that is not known here");
    check_bad("{\"trace\":\"prover-search\",\"version\":1,\"options\":{}}\n",
              "line 1: options are missing or of the wrong type");
    check_bad("{\"trace\":\"prover-search\",\"version\":1," OPTIONS
              ",\"root\":{\"kind\":\"closed\",\"ms\":0}}\n",
              "line 1: the root is not open");
    check_bad("{\"trace\":\"prover-search\",\"version\":1," OPTIONS
              ",\"root\":{\"kind\":\"open\",\"parts\":[" PART "],\"order\":[1],\"ms\":0}}\n",
              "line 1: an order that does not fit the parts");
    check_bad(START, "line 2: the trace stops before its end");
    check_bad(START CLOSED END, "line 2: an outcome that does not follow its candidates");
    check_bad(START POLICY POLICY END, "line 3: tickets of the policy do not rise");
    check_bad(START POLICY CLOSED CLOSED END, "line 4: an outcome out of its turn");
    check_bad(START "{\"policy\":1,\"candidates\":[[\"simp\",-1.0]]}\n" END,
              "line 2: a candidate is not [text, log-probability, tokens]");
    check_bad(START "\n\n{\"what\":1}\n" END, "line 4: an unknown line");
    check_bad(START POLICY "{\"verifier\":1,\"index\":0,\"kind\":\"maybe\",\"ms\":1}\n",
              "line 3: an outcome of no known kind");
    check_bad(START POLICY "{\"verifier\":1,\"index\":0,\"kind\":\"lost\"}\n",
              "line 3: an outcome without its time (ms)");
    check_bad(START POLICY "{\"verifier\":1,\"index\":0,\"kind\":\"open\",\"parts\":[],\"ms\":1}\n",
              "line 3: an open outcome without parts");
    check_bad(START POLICY "{\"verifier\":1,\"ind\n" END,
              "line 3: premature end of input near '\"ind'");
    check_bad(START END END, "line 3: something follows the end");
    check_bad(START "{\"end\":\"proved\",\"digest\":\"xyz\"}\n",
              "line 2: an end without its digest");
    cr_assert_eq(pv_mem_live(), 0);
}

Test(search_trace, the_file_is_named_with_the_line)
{
    char path[PATH_BYTES];
    temp_path(path);
    const char *text = START "{}\n";
    cr_assert_eq(pv_file_replace(path, text, strlen(text), NULL), PV_OK);
    search_replay *replay;
    pv_error err = {0};
    cr_assert_eq(search_replay_open(&replay, path, &err), PV_E_INVALID);
    char expected[160];
    snprintf(expected, sizeof expected, "%s: line 2: an unknown line", path);
    cr_assert_str_eq(err.msg, expected);
    unlink(path);
}

/* Every prefix, and every byte changed: an error or a search, never a crash. */
Test(search_trace, random_damage_does_no_harm)
{
    static const char text[] = START POLICY CLOSED "{\"reject\":true}\n" END;
    char copy[sizeof text];
    for (size_t i = 0; i < 2 * sizeof text; i++) {
        memcpy(copy, text, sizeof text);
        size_t n = i < sizeof text ? i : sizeof text - 1;
        if (i >= sizeof text) {
            copy[i - sizeof text] ^= 0x15;
        }
        search_replay *replay;
        search_stats stats;
        if (search_replay_parse(&replay, copy, n, NULL) == PV_OK) {
            (void)!search_replay_run(replay, &stats, NULL);
            search_replay_close(replay);
        }
    }
    cr_assert_eq(pv_mem_live(), 0);
}
