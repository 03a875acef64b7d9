/* bench_search: nodes a second and bytes a node of the proof search alone, through its public
 * interface.
 *
 * Policy and verifier answer from inside the calls with next to no work of their own. Figure:
 * new nodes a second of CPU time. Floor, in the same run and with the same keys and texts: a
 * bare open-addressing table of 128-bit keys that finds or adds each result and copies its
 * goal's and its tactic's text. Ratio: how many times longer the search takes. */
#include "pv_clock.h"
#include "pv_mem.h"
#include "search.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 256, TEXT_MAX = 4096, TACTIC_BYTES = 32 };

typedef struct bench_options {
    uint64_t nodes;
    uint32_t width;
    uint32_t duplicates; /* percent of results that lead to an earlier node */
    uint32_t negatives;  /* percent of tactics that fail */
    uint32_t pairs;      /* percent of results with two parts */
    uint32_t goal_bytes;
} bench_options;

/* The stream of results: the same numbers in the same order for the search and for the floor. */
typedef struct stream {
    const bench_options *options;
    uint64_t state;
    uint64_t made; /* keys given out so far */
} stream;

static uint64_t draw(stream *s)
{
    return s->state = pv_mix64(s->state);
}

static pv_key next_key(stream *s)
{
    uint64_t lot = draw(s);
    uint64_t number =
        s->made > 0 && lot % 100 < s->options->duplicates ? (lot >> 8) % s->made : s->made++;
    return (pv_key){pv_mix64(number), pv_mix64(~number)};
}

static void write_goal(char *text, pv_key key)
{
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < 16; i++) {
        text[i] = digits[key.lo >> (4 * i) & 15];
    }
}

/* ---- policy and verifier ---- */

typedef struct bench {
    stream s;
    const bench_options *options;
    char tactics[WIDTH_MAX][TACTIC_BYTES];
    search_candidate candidates[WIDTH_MAX];
    char goals[2][TEXT_MAX];
    uint64_t results; /* parts handed to the search */
} bench;

static pv_status propose(void *self, const search_policy_request *request, pv_error *err)
{
    (void)err;
    bench *b = self;
    search_deliver_candidates(request->run, request->ticket, b->candidates, b->options->width,
                              NULL);
    return PV_OK;
}

static void answer(bench *b, const search_try_request *request, size_t index)
{
    static const uint32_t order[2] = {0, 1};
    search_outcome outcome = {.kind = SEARCH_FAILED,
                              .message = "the tactic failed: no goal has this form"};
    search_part parts[2] = {{0}};
    const char *texts[2] = {b->goals[0], b->goals[1]};
    if (draw(&b->s) % 100 >= b->options->negatives) {
        size_t n = draw(&b->s) % 100 < b->options->pairs ? 2 : 1;
        for (size_t i = 0; i < n; i++) {
            parts[i].key = next_key(&b->s);
            write_goal(b->goals[i], parts[i].key);
            parts[i].goals = &texts[i];
            parts[i].goal_count = 1;
        }
        outcome = (search_outcome){
            .kind = SEARCH_OPEN, .parts = parts, .part_count = n, .order = order, .goal_count = n};
        b->results += n;
    }
    search_deliver_outcome(request->run, request->ticket, index, &outcome);
}

static pv_status try_tactics(void *self, const search_try_request *request, pv_error *err)
{
    (void)err;
    for (size_t i = 0; i < request->n; i++) {
        answer(self, request, i);
    }
    return PV_OK;
}

static void release_handle(void *self, search_handle *handle)
{
    (void)self;
    (void)handle;
}

static void set_up(bench *b, const bench_options *options)
{
    memset(b, 0, sizeof *b);
    b->options = options;
    b->s = (stream){.options = options, .state = 1};
    for (uint32_t i = 0; i < options->width; i++) {
        snprintf(b->tactics[i], TACTIC_BYTES, "simp [h%u, foo_bar]", i);
        b->candidates[i] = (search_candidate){b->tactics[i], -0.05 * (i + 1), 8};
    }
    for (int i = 0; i < 2; i++) {
        memset(b->goals[i], 'x', options->goal_bytes);
        b->goals[i][options->goal_bytes] = '\0';
    }
}

/* ---- the search ---- */

static int search(bench *b, search_stats *stats, double *seconds)
{
    static const search_policy_ops policy_ops = {.name = "bench", .propose = propose};
    static const search_verifier_ops verifier_ops = {try_tactics, NULL, release_handle};
    const char *goal = "the root";
    search_part part = {.key = {1, 1}, .goals = &goal, .goal_count = 1};
    search_outcome root = {.kind = SEARCH_OPEN, .parts = &part, .part_count = 1};
    search_options options = {.nodes_max = b->options->nodes,
                              .width = b->options->width,
                              .depth_max = 1u << 20,
                              .seed = 1};
    search_run *run;
    pv_error err = {0};
    uint64_t start = pv_clock_cpu_ns();
    if (search_run_new(&run, &options, (search_policy){&policy_ops, b},
                       (search_verifier){&verifier_ops, b}, &root, &err) != PV_OK) {
        fprintf(stderr, "bench_search: %s\n", err.msg);
        return 1;
    }
    search_state state = search_pump(run);
    *seconds = (double)(pv_clock_cpu_ns() - start) / 1e9;
    search_stats_of(run, stats);
    search_run_free(run);
    if (state != SEARCH_BUDGET) {
        fprintf(stderr, "bench_search: the search ended as %s\n", search_state_name(state));
        return 1;
    }
    return 0;
}

/* ---- the floor ---- */

typedef struct floor_table {
    pv_key *keys; /* {0, 0}: empty */
    size_t capacity;
    char *texts;
    size_t used;
} floor_table;

static void floor_insert(floor_table *t, pv_key key, const char *goal, size_t goal_bytes,
                         const char *tactic)
{
    size_t at = key.lo & (t->capacity - 1);
    while (t->keys[at].lo != 0 && !pv_key_equal(t->keys[at], key)) {
        at = (at + 1) & (t->capacity - 1);
    }
    size_t n = strlen(tactic) + 1;
    memcpy(t->texts + t->used, tactic, n);
    t->used += n;
    if (t->keys[at].lo == 0) {
        t->keys[at] = key;
        memcpy(t->texts + t->used, goal, goal_bytes + 1);
        t->used += goal_bytes + 1;
    }
}

static double measure_floor(bench *b, uint64_t results)
{
    floor_table t = {.capacity = 1024};
    while (t.capacity < 2 * b->options->nodes) {
        t.capacity *= 2;
    }
    t.keys = calloc(t.capacity, sizeof *t.keys);
    t.texts = malloc(results * (b->options->goal_bytes + TACTIC_BYTES + 2) + 1);
    double seconds = 0;
    if (t.keys != NULL && t.texts != NULL) {
        uint64_t start = pv_clock_cpu_ns();
        b->s = (stream){.options = b->options, .state = 1};
        for (uint64_t i = 0; i < results; i++) {
            pv_key key = next_key(&b->s);
            write_goal(b->goals[0], key);
            floor_insert(&t, key, b->goals[0], b->options->goal_bytes,
                         b->tactics[i % b->options->width]);
        }
        seconds = (double)(pv_clock_cpu_ns() - start) / 1e9;
    }
    free(t.keys);
    free(t.texts);
    return seconds;
}

/* ---- figures ---- */

/* Peak resident bytes of this process, from the kernel; 0 when it does not say. */
static uint64_t resident_peak(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    unsigned long long kib = 0;
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        if (sscanf(line, "VmHWM: %llu", &kib) == 1) {
            break;
        }
    }
    if (file != NULL) {
        fclose(file);
    }
    return (uint64_t)kib * 1024;
}

static void print_figures(const bench *b, const search_stats *stats, double seconds,
                          uint64_t resident, double floor_seconds)
{
    double nodes = (double)stats->nodes;
    double results = (double)b->results;
    printf("nodes               %12.0f\n", nodes);
    printf("edges               %12.0f\n", (double)stats->edges);
    printf("tactics tried       %12.0f\n", (double)stats->tactics);
    printf("duplicates          %12.0f\n", (double)stats->duplicates);
    printf("CPU seconds         %12.3f\n", seconds);
    printf("nodes/s             %12.0f\n", nodes / seconds);
    printf("results/s           %12.0f  (found or added)\n", results / seconds);
    printf("pv_mem_peak bytes   %12.0f  %7.0f a node\n", (double)pv_mem_peak(),
           (double)pv_mem_peak() / nodes);
    printf("VmHWM bytes         %12.0f  %7.0f a node\n", (double)resident,
           (double)resident / nodes);
    printf("floor results/s     %12.0f  (bare table and copies)\n", results / floor_seconds);
    printf("ratio to the floor  %12.2f\n", seconds / floor_seconds);
}

static const char HELP[] =
    "bench_search: how fast and how small the proof search is, without a model and without Lean.\n"
    "\n"
    "  --nodes N        nodes to make                                        1000000\n"
    "  --width N        candidates for each node, at most 256                32\n"
    "  --duplicates P   percent of results that lead to an earlier node      20\n"
    "  --negatives P    percent of tactics that fail                         0\n"
    "  --pairs P        percent of results that leave two goals              10\n"
    "  --goal-bytes N   length of a goal's text, 16 ... 4095                 120\n"
    "  --help           this text\n";

static int parse_options(int argc, char **argv, bench_options *o)
{
    for (int i = 1; i < argc; i++) {
        const struct {
            const char *name;
            uint32_t *value;
            uint32_t min, max;
        } table[] = {{"--width", &o->width, 1, WIDTH_MAX},
                     {"--duplicates", &o->duplicates, 0, 90},
                     {"--negatives", &o->negatives, 0, 99},
                     {"--pairs", &o->pairs, 0, 100},
                     {"--goal-bytes", &o->goal_bytes, 16, TEXT_MAX - 1}};

        char *end = NULL;
        unsigned long long value = i + 1 < argc ? strtoull(argv[i + 1], &end, 10) : 0;
        bool number = end != NULL && end != argv[i + 1] && *end == '\0';
        bool known = false;
        if (number && strcmp(argv[i], "--nodes") == 0 && value > 0) {
            o->nodes = value;
            known = true;
        }
        for (size_t k = 0; number && k < sizeof table / sizeof *table; k++) {
            if (strcmp(argv[i], table[k].name) == 0 && value >= table[k].min &&
                value <= table[k].max) {
                *table[k].value = (uint32_t)value;
                known = true;
            }
        }
        if (!known) {
            fprintf(stderr, "bench_search: bad option %s (see --help)\n", argv[i]);
            return 2;
        }
        i++;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static bench b;
    bench_options options = {1000000, 32, 20, 0, 10, 120};
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(HELP, stdout);
        return 0;
    }
    int bad = parse_options(argc, argv, &options);
    if (bad != 0) {
        return bad;
    }
    set_up(&b, &options);
    search_stats stats;
    double seconds;
    if (search(&b, &stats, &seconds) != 0) {
        return 1;
    }
    uint64_t resident = resident_peak(); /* before the floor takes memory of its own */
    double floor_seconds = measure_floor(&b, b.results);
    print_figures(&b, &stats, seconds, resident, floor_seconds);
    return 0;
}
