/* The tree of a search as a store keeps it: what is in it, what is left out of a large one, and that a damaged one is refused. */
#include "pv_mem.h"
#include "text_table.h"
#include "tree_blob.h"
#include "tree_list.h"
#include "wide_search.h"

#include <jansson.h>
#include <zlib.h>

TestSuite(tree_blob, .timeout = 120);

/* Sanitizers need not see as many. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { MANY = 2000 };
#else
enum { MANY = 10000 };
#endif

static pv_error err;

static json_t *read_back(const pv_buf *blob, tree_info *info)
{
    pv_buf json = {0};
    cr_assert_eq(tree_blob_read(blob->data, blob->len, info, &json, &err), PV_OK, "%s", err.msg);
    json_t *tree = json_loadb(json.data, json.len, 0, NULL);
    cr_assert_not_null(tree);
    pv_buf_release(&json);
    return tree;
}

static const char *text_at(const json_t *tree, const json_t *number)
{
    return json_string_value(
        json_array_get(json_object_get(tree, "texts"), (size_t)json_integer_value(number)));
}

static double number_at(const json_t *row, size_t at)
{
    return json_number_value(json_array_get(row, at));
}

Test(tree_blob, holds_states_and_steps_as_the_search_has_them)
{
    wide_search w = {.closes_at = 30};
    tree_info info;
    pv_buf blob = {0};
    search_stats stats;
    wide_begin(&w, 1000);
    cr_assert_eq(search_state_of(w.run), SEARCH_PROVED);
    search_stats_of(w.run, &stats);
    cr_assert_eq(tree_blob_write(w.run, "the \"statement\"", TREE_BLOB_MAX, &blob, &err), PV_OK);
    json_t *tree = read_back(&blob, &info);
    cr_expect_str_eq(json_string_value(json_object_get(tree, "title")), "the \"statement\"");
    cr_expect_str_eq(json_string_value(json_object_get(tree, "end")), "proved");
    cr_expect_eq(info.states, stats.nodes);
    cr_expect_eq(info.steps, stats.tactics);
    cr_expect(info.cut_states == 0 && info.cut_steps == 0 && info.cut_failed == 0);
    const json_t *root = json_array_get(json_object_get(tree, "states"), 0);
    const json_t *goal = json_array_get(json_array_get(root, 4), 0);
    cr_expect_eq(json_array_size(goal), 12);
    cr_expect_str_eq(text_at(tree, json_array_get(goal, 0)), "x y z : Int");
    cr_expect_str_eq(text_at(tree, json_array_get(goal, 11)), "⊢ x ^ 2 + 1 * y ≤ (z + n) ^ 2");
    cr_expect_eq(number_at(root, 0), 1 + 2 + 8); /* expanded, solved, on the proof */
    const json_t *first = json_array_get(json_object_get(tree, "steps"), 0),
                 *second = json_array_get(json_object_get(tree, "steps"), 1);
    cr_expect(number_at(first, 0) == 0 && number_at(first, 1) == SEARCH_OPEN);
    cr_expect_eq(number_at(first, 5), 1); /* leads to the second state */
    cr_expect_float_eq(number_at(first, 2), -0.25, 1e-9);
    cr_expect_eq(number_at(second, 1), SEARCH_FAILED);
    cr_expect_eq(json_array_size(second), 5);
    cr_expect_not_null(strstr(text_at(tree, json_array_get(second, 4)), "linarith failed"));
    json_decref(tree);
    pv_buf_release(&blob);
    search_run_free(w.run);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(tree_blob, a_large_search_fits_whole)
{
    wide_search w = {0};
    tree_info info;
    pv_buf blob = {0};
    wide_begin(&w, MANY);
    cr_assert_eq(tree_blob_write(w.run, "t", TREE_BLOB_MAX, &blob, &err), PV_OK, "%s", err.msg);
    json_t *tree = read_back(&blob, &info);
    cr_expect_eq(info.states, MANY);
    cr_expect_eq(info.cut_states, 0);
    cr_expect_eq(info.cut_steps, 0);
    cr_log_info("%d states: %zu bytes, %llu of %llu failed tactics left out\n", (int)MANY, blob.len,
                (unsigned long long)info.cut_failed,
                (unsigned long long)(info.cut_failed + info.steps));
    json_decref(tree);
    pv_buf_release(&blob);
    search_run_free(w.run);
}

Test(tree_blob, what_does_not_fit_is_left_out_and_counted)
{
    static const size_t rooms[] = {200000, 60000, 20000, 6000};
    wide_search w = {.closes_at = 4990};
    search_stats stats;
    wide_begin(&w, 5000);
    cr_assert_eq(search_state_of(w.run), SEARCH_PROVED);
    search_stats_of(w.run, &stats);
    uint64_t before = UINT64_MAX;
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
        tree_info info;
        pv_buf blob = {0};
        cr_assert_eq(tree_blob_write(w.run, "t", rooms[i], &blob, &err), PV_OK, "%s", err.msg);
        cr_expect_leq(blob.len, rooms[i]);
        json_t *tree = read_back(&blob, &info);
        cr_expect_eq(info.states + info.cut_states, stats.nodes);
        cr_expect_eq(info.steps + info.cut_steps + info.cut_failed, stats.tactics);
        cr_expect_leq(info.states + info.steps, before);
        before = info.states + info.steps;
        /* the proof is whole however little is kept */
        size_t on_proof = 0, index;
        json_t *state;
        json_array_foreach(json_object_get(tree, "states"), index, state)
        {
            on_proof += ((int)number_at(state, 0) & 8) != 0;
        }
        cr_expect_geq(on_proof, 3);
        json_decref(tree);
        pv_buf_release(&blob);
    }
    pv_buf none = {0};
    cr_expect_eq(tree_blob_write(w.run, "t", 20, &none, NULL), PV_E_LIMIT);
    cr_expect_eq(none.len, 0);
    pv_buf_release(&none);
    search_run_free(w.run);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(tree_blob, an_attempt_keeps_all_its_searches_within_one_bound)
{
    wide_search w = {0};
    tree_list list = {0};
    wide_begin(&w, 4000);
    for (int i = 0; i < 40; i++) {
        tree_list_add(&list, w.run, "again");
    }
    size_t bytes = 0;
    for (size_t i = 0; i < list.count; i++) {
        bytes += list.items[i].len;
    }
    cr_expect_leq(bytes, TREE_BLOB_MAX);
    cr_expect_gt(list.count, 3);
    cr_expect_eq(list.count + list.left_out, 40);
    tree_list_release(&list);
    search_run_free(w.run);
    cr_expect_eq(pv_mem_live(), 0);
}

static void check(const char *json, const char *says)
{
    tree_info info;
    pv_error wrong = {0};
    pv_status status = tree_blob_check(json, strlen(json), &info, &wrong);
    if (says == NULL) {
        cr_expect_eq(status, PV_OK, "%s: %s", json, wrong.msg);
    } else {
        cr_expect_eq(status, PV_E_INVALID, "%s", json);
        cr_expect_not_null(strstr(wrong.msg, says), "%s: %s", json, wrong.msg);
    }
}

#define TREE(texts, states, steps)                                                                 \
    "{\"v\":1,\"title\":\"\",\"end\":\"proved\",\"texts\":" texts ",\"states\":" states            \
    ",\"steps\":" steps ",\"cut\":{\"states\":0}}"

Test(tree_blob, refuses_what_points_out_of_itself)
{
    check(TREE("[\"a\"]", "[[3,0,null,0,[[0,0]]]]", "[[0,0,-1.5,0,-1]]"), NULL);
    check(TREE("[]", "[]", "[]"), NULL);
    check(TREE("[\"a\"]", "[[3,0,null,0,[[1]]]]", "[]"), "not there");
    check(TREE("[\"a\"]", "[[3,0,null,0,[[0]]]]", "[[0,1,0,0,-1,1]]"), "not there");
    check(TREE("[\"a\"]", "[]", "[[0,1,0,0,-1]]"), "not there");
    check(TREE("[\"a\"]", "[[3,0,null,0,[[-1]]]]", "[]"), "bounds");
    check(TREE("[\"a\"]", "[[3,0,null,0,[[0.5]]]]", "[]"), "bounds");
    check(TREE("[\"a\"]", "[[16,0,null,0,[[0]]]]", "[]"), "bounds");
    check(TREE("[\"a\"]", "[[1,0,null,0]]", "[]"), "too short");
    check(TREE("[\"a\"]", "[[1,0,null,0,[],0]]", "[]"), "too much");
    check(TREE("[\"a\"]", "[[1,0,null,0,[]]]", "[[0,5,0,0,-1]]"), "bounds");
    check(TREE("[1]", "[]", "[]"), "damaged");
    check("{\"v\":1,\"title\":\"\"}", "missing");
    check(
        "{\"v\":2,\"title\":\"\",\"end\":\"\",\"texts\":[],\"states\":[],\"steps\":[],\"cut\":{}}",
        "another version");
    check("{\"v\":1,\"v\":1}", "twice");
    check("[]", "damaged");
    check("", "damaged");
}

Test(tree_blob, refuses_what_is_no_stream_and_what_grows_without_end)
{
    tree_info info;
    cr_expect_eq(tree_blob_read("hello", 5, &info, NULL, NULL), PV_E_INVALID);
    cr_expect_eq(tree_blob_read("", 0, &info, NULL, NULL), PV_E_INVALID);
    size_t n = (size_t)TREE_TEXT_MAX + (1 << 20);
    char *blanks = malloc(n);
    cr_assert_not_null(blanks);
    memset(blanks, ' ', n);
    uLongf packed_size = compressBound(n);
    Bytef *packed = malloc(packed_size);
    cr_assert_eq(compress(packed, &packed_size, (Bytef *)blanks, n), Z_OK);
    cr_expect_lt(packed_size, 100000);
    cr_expect_eq(tree_blob_read(packed, packed_size, &info, NULL, NULL), PV_E_LIMIT);
    free(packed);
    free(blanks);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(tree_blob, is_refused_when_any_byte_is_cut_off)
{
    wide_search w = {.hostile = "</script> \xe2\x80\xa8 \x01 \xff \"\\"};
    pv_buf blob = {0};
    tree_info info;
    wide_begin(&w, 20);
    cr_assert_eq(tree_blob_write(w.run, "t", TREE_BLOB_MAX, &blob, &err), PV_OK);
    json_decref(read_back(&blob, &info));
    for (size_t n = 0; n < blob.len; n++) {
        cr_expect_eq(tree_blob_read(blob.data, n, &info, NULL, NULL), PV_E_INVALID);
    }
    pv_buf_putc(&blob, 'x');
    cr_expect_eq(tree_blob_read(blob.data, blob.len, &info, NULL, NULL), PV_E_INVALID);
    pv_buf_release(&blob);
    search_run_free(w.run);
}

Test(tree_blob, survives_a_failed_allocation)
{
    wide_search w = {0};
    wide_begin(&w, 40);
    uint64_t live = pv_mem_live();
    bool failed = true;
    for (int64_t n = 0; failed; n++) {
        pv_buf blob = {0};
        tree_info info;
        pv_mem_fail_after(n);
        pv_status status = tree_blob_write(w.run, "t", TREE_BLOB_MAX, &blob, NULL);
        if (status == PV_OK) {
            status = tree_blob_read(blob.data, blob.len, &info, NULL, NULL);
        }
        pv_mem_fail_after(-1);
        failed = status != PV_OK;
        cr_expect(status == PV_OK || status == PV_E_NOMEM, "%d", (int)status);
        pv_buf_release(&blob);
        cr_assert_eq(pv_mem_live(), live);
        cr_assert_lt(n, 10000);
    }
    search_run_free(w.run);
}
