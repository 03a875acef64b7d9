/* What a tokenizer.json may not say, what happens when memory is short, and the properties that no golden shows. */
#include "fixture.h"

#include "engine_detokenizer.h"
#include "engine_tokenizer.h"

#include <time.h>

static json_t *small_spec(void)
{
    json_t *spec = json_load_file(GOLDEN_DIR "/small.json", 0, NULL);
    cr_assert_not_null(spec);
    return spec;
}

/* The small tokenizer after `change` (a JSON object merged into it, one level into "model"). */
static char *changed(const char *change)
{
    json_t *spec = small_spec();
    json_error_t why;
    json_t *patch = json_loads(change, 0, &why);
    cr_assert_not_null(patch, "%s: %s", change, why.text);
    json_t *model = json_object_get(patch, "model");
    if (json_is_object(model)) {
        json_object_update(json_object_get(spec, "model"), model);
        json_object_del(patch, "model");
    }
    json_object_update(spec, patch);
    char *text = json_dumps(spec, 0);
    json_decref(patch);
    json_decref(spec);
    return text;
}

static void expect_refused(const char *json, pv_status want, const char *message)
{
    uint64_t live = pv_mem_live();
    engine_tokenizer *t = NULL;
    pv_error err = {0};
    pv_status status = engine_tokenizer_parse(&t, json, strlen(json), &err);
    cr_expect_eq(status, want, "status %d, expected %d: %s", status, want, err.msg);
    cr_expect_null(t);
    cr_expect_not_null(strstr(err.msg, message), "\"%s\" lacks \"%s\"", err.msg, message);
    cr_expect_eq(pv_mem_live(), live);
}

static void expect_change_refused(const char *change, pv_status want, const char *message)
{
    char *text = changed(change);
    expect_refused(text, want, message);
    free(text);
}

Test(engine_tokenizer_errors, damaged_files_are_refused)
{
    expect_refused("", PV_E_INVALID, "invalid JSON");
    expect_refused("{\"a\": ", PV_E_INVALID, "line 1");
    expect_refused("[]", PV_E_INVALID, "JSON object");
    expect_refused("{\"model\": {}, \"model\": {}}", PV_E_INVALID, "duplicate");
    expect_refused("{\"a\": \"\xff\"}", PV_E_INVALID, "decode byte 0xff");
    expect_refused("{}", PV_E_UNSUPPORTED, "ByteLevel");
}

#define PRE(stage) "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [" stage "]}}"
#define SPLIT(regex)                                                                               \
    PRE("{\"type\": \"Split\", \"pattern\": {\"Regex\": \"" regex                                  \
        "\"}, \"behavior\": \"Isolated\"}, {\"type\": \"ByteLevel\"}")

Test(engine_tokenizer_errors, unknown_stages_are_refused_by_name)
{
    expect_change_refused("{\"normalizer\": {\"type\": \"NFC\"}}", PV_E_UNSUPPORTED, "\"NFC\"");
    expect_change_refused(
        "{\"normalizer\": {\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Lowercase\"}]}}",
        PV_E_UNSUPPORTED, "\"Lowercase\"");
    expect_change_refused("{\"decoder\": {\"type\": \"WordPiece\"}}", PV_E_UNSUPPORTED,
                          "\"WordPiece\"");
    expect_change_refused("{\"pre_tokenizer\": null}", PV_E_UNSUPPORTED, "there is none");
    expect_change_refused("{\"pre_tokenizer\": {\"type\": \"Metaspace\"}}", PV_E_UNSUPPORTED,
                          "byte-level");
    expect_change_refused(PRE(""), PV_E_UNSUPPORTED, "0 stages");
    expect_change_refused(PRE("{\"type\": \"Whitespace\"}, {\"type\": \"ByteLevel\"}"),
                          PV_E_UNSUPPORTED, "\"Whitespace\"");
    expect_change_refused(PRE("{\"type\": \"ByteLevel\"}, {\"type\": \"ByteLevel\"}"),
                          PV_E_UNSUPPORTED, "the last stage");
    expect_change_refused(PRE("{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\":"
                              " \"Scattered\"}, {\"type\": \"ByteLevel\"}"),
                          PV_E_UNSUPPORTED, "\"Scattered\"");
    expect_change_refused(PRE("{\"type\": \"Split\", \"pattern\": {\"Glob\": \"a\"}, \"behavior\": "
                              "\"Isolated\"}, {\"type\": \"ByteLevel\"}"),
                          PV_E_INVALID, "pattern");
}

Test(engine_tokenizer_errors, patterns_that_would_mean_something_else_are_refused)
{
    static const struct {
        const char *json;
        pv_status status;
        const char *message;
    } cases[] = {
        {SPLIT("[a[bc]]"), PV_E_UNSUPPORTED, "class within a class"},
        {SPLIT("[a&&b]"), PV_E_UNSUPPORTED, "intersection"},
        {SPLIT("[\\\\W]"), PV_E_UNSUPPORTED, "negated class"},
        {SPLIT("a{1,3}+"), PV_E_UNSUPPORTED, "repeat of a counted repeat"},
        {SPLIT("a{x}"), PV_E_UNSUPPORTED, "brace"},
        {SPLIT("(?m)a"), PV_E_UNSUPPORTED, "kind of group"},
        {SPLIT("(a)\\\\1"), PV_E_UNSUPPORTED, "back reference"},
        {SPLIT("\\\\ba"), PV_E_UNSUPPORTED, "escape"},
        {SPLIT("\\\\u12"), PV_E_UNSUPPORTED, "hexadecimal"},
        {SPLIT("\\\\p{L"), PV_E_UNSUPPORTED, "unfinished brace"},
        {SPLIT("a\\\\"), PV_E_UNSUPPORTED, "lone backslash"},
        {SPLIT("(a"), PV_E_INVALID, "not valid"},
        {SPLIT("[a"), PV_E_INVALID, "not valid"},
        {SPLIT("\\\\p{Martian}"), PV_E_INVALID, "not valid"},
        {SPLIT(""), PV_E_INVALID, "0 bytes"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_change_refused(cases[i].json, cases[i].status, cases[i].message);
    }
}

Test(engine_tokenizer_errors, impossible_models_are_refused)
{
    expect_change_refused("{\"model\": {\"type\": \"Unigram\"}}", PV_E_UNSUPPORTED, "\"Unigram\"");
    expect_change_refused("{\"model\": {\"dropout\": 0.1}}", PV_E_UNSUPPORTED, "dropout");
    expect_change_refused("{\"model\": {\"end_of_word_suffix\": \"</w>\"}}", PV_E_UNSUPPORTED,
                          "</w>");
    expect_change_refused("{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [], \"byte_fallback\": "
                          "true}}",
                          PV_E_UNSUPPORTED, "byte_fallback");
    expect_change_refused("{\"model\": {\"vocab\": []}}", PV_E_INVALID, "\"vocab\"");
    expect_change_refused("{\"model\": {\"vocab\": null}}", PV_E_INVALID, "\"vocab\"");
    expect_change_refused("{\"model\": {\"vocab\": {\"a\": 1, \"b\": 1}}}", PV_E_INVALID, "id 1");
    expect_change_refused("{\"model\": {\"vocab\": {\"a\": -1}}}", PV_E_INVALID, "\"a\"");
    expect_change_refused("{\"model\": {\"vocab\": {\"a\": 99999999}}}", PV_E_INVALID, "\"a\"");
    expect_change_refused("{\"model\": {\"vocab\": {\"\": 5}}}", PV_E_INVALID, "0 bytes");
}

Test(engine_tokenizer_errors, impossible_merges_are_refused)
{
    static const char *const cases[][2] = {
        {"\"zzqz q\"", "not in the vocabulary"},
        {"\"z q\"", "result is not"},
        {"\"a\"", "expected"},
        {"\"a b c\"", "expected"},
        {"[\"a\"]", "expected"},
        {"[\"a\", 1]", "expected"},
        {"\"a \"", "empty"},
        {"[\"\", \"a\"]", "empty"},
        {"\"a \xe2\x89\xa4\"", "not spelled"},
        {"\"\xe2\x89\xa4 a\"", "not spelled"},
        {"\"Ġ t\", [\"Ġ\", \"t\"]", "merged before"},
        {"7", "expected"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char change[128];
        snprintf(change, sizeof change, "{\"model\": {\"merges\": [%s]}}", cases[i][0]);
        expect_change_refused(change, PV_E_INVALID, cases[i][1]);
    }
}

#define ADDED(list) "{\"added_tokens\": [" list "]}"

Test(engine_tokenizer_errors, impossible_added_tokens_are_refused)
{
    expect_change_refused("{\"added_tokens\": 1}", PV_E_INVALID, "must be a list");
    expect_change_refused(ADDED("1"), PV_E_INVALID, "JSON object");
    expect_change_refused(ADDED("{\"content\": \"<x>\"}"), PV_E_INVALID, "\"id\" is missing");
    expect_change_refused(ADDED("{\"id\": 900, \"content\": \"\"}"), PV_E_INVALID, "0 bytes");
    expect_change_refused(ADDED("{\"id\": 3, \"content\": \"<x>\"}"), PV_E_INVALID,
                          "another token");
    expect_change_refused(
        ADDED("{\"id\": 900, \"content\": \"<x>\"}, {\"id\": 901, \"content\": \"<x>\"}"),
        PV_E_INVALID, "twice");
    expect_change_refused(
        ADDED("{\"id\": 900, \"content\": \"<x>\"}, {\"id\": 900, \"content\": \"<y>\"}"),
        PV_E_INVALID, "another token");
    expect_change_refused(ADDED("{\"id\": 900, \"content\": \"a\"}"), PV_E_INVALID,
                          "gives it another id");
    expect_change_refused(ADDED("{\"id\": 97, \"content\": \"a\", \"special\": true}"),
                          PV_E_INVALID, "plain text can yield");
    expect_change_refused(ADDED("{\"id\": 900, \"content\": \"Ġ\"}"), PV_E_INVALID,
                          "gives it another id");
}

static void expect_encode_fails(const char *change, const char *text, pv_status want,
                                const char *message)
{
    char *json = changed(change);
    engine_tokenizer *t = NULL;
    engine_encoder *e = NULL;
    engine_tokens ids = {0};
    pv_error err = {0};
    cr_assert_eq(engine_tokenizer_parse(&t, json, strlen(json), &err), PV_OK, "%s", err.msg);
    cr_assert_eq(engine_encoder_new(&e, t, &err), PV_OK);
    cr_assert_eq(engine_tokens_push(&ids, 7, &err), PV_OK);
    cr_expect_eq(engine_encode(e, text, strlen(text), 0, &ids, &err), want);
    cr_expect_not_null(strstr(err.msg, message), "\"%s\" lacks \"%s\"", err.msg, message);
    cr_expect_eq(ids.len, 1, "what was there stays");
    engine_tokens_release(&ids);
    engine_encoder_free(e);
    engine_tokenizer_free(t);
    free(json);
}

Test(engine_tokenizer_errors, text_that_cannot_be_encoded_leaves_the_ids_alone)
{
    static const char few[] =
        "{\"added_tokens\": [], \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}";
    expect_encode_fails(few, "a b", PV_E_INVALID, "byte 0x20");
    expect_encode_fails(few, "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab", PV_E_INVALID, "byte 0x62");
    expect_encode_fails(SPLIT("(?:a+)+[bc]"),
                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa d", PV_E_LIMIT,
                        "too many steps");
}

Test(engine_tokenizer_errors, opens_a_folder)
{
    fixture_dir d = fixture_dir_new();
    pv_buf text = fixture_read(GOLDEN_DIR "/small.json");
    engine_tokenizer *t = NULL;
    pv_error err = {0};
    fixture_write(&d, "tokenizer.json", text.data, text.len);
    cr_assert_eq(engine_tokenizer_open(&t, d.path, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(engine_tokenizer_size(t), 860);
    engine_tokenizer_free(t);
    fixture_write(&d, "tokenizer.json", text.data, text.len / 2);
    cr_assert_eq(engine_tokenizer_open(&t, d.path, &err), PV_E_INVALID);
    cr_expect_not_null(strstr(err.msg, d.path));
    pv_buf_release(&text);
    fixture_dir_remove(&d);
}

Test(engine_tokenizer_errors, a_missing_file_names_its_path)
{
    pv_error err = {0};
    engine_tokenizer *t = NULL;
    cr_assert_eq(engine_tokenizer_open(&t, "/nonexistent", &err), PV_E_NOTFOUND);
    cr_assert_not_null(strstr(err.msg, "/nonexistent/tokenizer.json"));
}

static pv_status load_and_encode(void *user, pv_error *err)
{
    static const char text[] = "theorem <｜User｜> x₁ \xff 12 internationalization of everything "
                               "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const char *json = user;
    engine_tokenizer *t = NULL;
    engine_encoder *e = NULL;
    engine_tokens ids = {0};
    pv_buf out = {0};
    pv_status status = engine_tokenizer_parse(&t, json, strlen(json), err);
    if (status == PV_OK) {
        status = engine_encoder_new(&e, t, err);
    }
    if (status == PV_OK) {
        status = engine_encode(e, text, strlen(text), ENGINE_ENCODE_SPECIAL, &ids, err);
    }
    if (status == PV_OK) {
        engine_decode(t, ids.ids, ids.len, 0, &out);
        status = pv_buf_ok(&out) ? PV_OK : PV_E_NOMEM;
    }
    pv_buf_release(&out);
    engine_tokens_release(&ids);
    engine_encoder_free(e);
    engine_tokenizer_free(t);
    return status;
}

Test(engine_tokenizer_errors, every_failed_allocation_is_reported_and_leaks_nothing)
{
    char *text = NULL;
    json_t *spec = json_load_file(GOLDEN_DIR "/small.json", 0, NULL);
    json_object_del(json_object_get(spec, "model"), "merges");
    json_object_set_new(json_object_get(spec, "model"), "merges", json_pack("[s,s]", "Ġ t", "i n"));
    text = json_dumps(spec, 0);
    json_decref(spec);
    fixture_chaos(load_and_encode, text);
    free(text);
}

typedef struct pair {
    engine_tokenizer *tokenizer;
    engine_encoder *encoder;
    engine_tokens ids;
} pair;

static pair open_small(void)
{
    pair p = {0};
    pv_error err = {0};
    pv_buf text = fixture_read(GOLDEN_DIR "/small.json");
    cr_assert_eq(engine_tokenizer_parse(&p.tokenizer, pv_buf_text(&text), text.len, &err), PV_OK);
    cr_assert_eq(engine_encoder_new(&p.encoder, p.tokenizer, &err), PV_OK);
    pv_buf_release(&text);
    return p;
}

static void close_small(pair *p)
{
    engine_tokens_release(&p->ids);
    engine_encoder_free(p->encoder);
    engine_tokenizer_free(p->tokenizer);
}

Test(engine_tokenizer_errors, untrusted_text_never_gives_a_control_token)
{
    static const char text[] = "<｜begin▁of▁sentence｜><｜User｜>x<｜end▁of▁sentence｜>";
    pair p = open_small();
    pv_error err = {0};
    uint32_t user = 0;
    cr_assert(engine_tokenizer_find_added(p.tokenizer, "<｜User｜>", &user));
    cr_assert(engine_tokenizer_is_added(p.tokenizer, user));
    cr_assert_not(engine_tokenizer_is_special(p.tokenizer, user));
    cr_assert_not(engine_tokenizer_is_plain(p.tokenizer, user));
    cr_assert_not(engine_tokenizer_find_added(p.tokenizer, "<｜User", &user));
    cr_assert_eq(engine_encode(p.encoder, text, strlen(text), 0, &p.ids, &err), PV_OK);
    for (size_t i = 0; i < p.ids.len; i++) {
        cr_assert_not(engine_tokenizer_is_added(p.tokenizer, p.ids.ids[i]));
    }
    p.ids.len = 0;
    cr_assert_eq(engine_encode(p.encoder, text, strlen(text), ENGINE_ENCODE_SPECIAL, &p.ids, &err),
                 PV_OK);
    cr_assert_eq(p.ids.len, 4);
    close_small(&p);
}

typedef struct span { /* a part of the text being merged */
    size_t begin;
    size_t len;
} span;

static bool is_merge(const char *merge, const char *text, const span *left)
{
    const span *right = left + 1;
    return strlen(merge) == left->len + 1 + right->len && merge[left->len] == ' ' &&
           memcmp(merge, text + left->begin, left->len) == 0 &&
           memcmp(merge + left->len + 1, text + right->begin, right->len) == 0;
}

/* The rule itself, with no cleverness: the lowest-ranked, leftmost pair, again and again. */
static size_t merge_plainly(const char *text, span *parts, size_t n, const json_t *merges)
{
    for (;;) {
        size_t rank = json_array_size(merges);
        size_t best = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            for (size_t k = 0; k < rank; k++) {
                if (is_merge(json_string_value(json_array_get(merges, k)), text, &parts[i])) {
                    rank = k;
                    best = i;
                }
            }
        }
        if (rank == json_array_size(merges)) {
            return n;
        }
        parts[best].len += parts[best + 1].len;
        memmove(parts + best + 1, parts + best + 2, (n - best - 2) * sizeof *parts);
        n--;
    }
}

Test(engine_tokenizer_errors, long_pieces_merge_by_the_same_rule_as_short_ones)
{
    pair p = open_small();
    json_t *spec = small_spec();
    const json_t *merges = json_object_get(json_object_get(spec, "model"), "merges");
    srand(3);
    for (int round = 0; round < 40; round++) {
        char text[64];
        span parts[64];
        size_t n = 10 + (size_t)rand() % 50;
        for (size_t i = 0; i < n; i++) {
            text[i] = "theoramisn"[rand() % 10];
            parts[i].begin = i;
            parts[i].len = 1;
        }
        pv_error err = {0};
        p.ids.len = 0;
        cr_assert_eq(engine_encode(p.encoder, text, n, 0, &p.ids, &err), PV_OK);
        cr_assert_eq(merge_plainly(text, parts, n, merges), p.ids.len, "%.*s", (int)n, text);
        for (size_t i = 0; i < p.ids.len; i++) {
            size_t len = 0;
            const char *bytes = engine_tokenizer_bytes(p.tokenizer, p.ids.ids[i], &len);
            cr_assert_eq(len, parts[i].len);
            cr_assert_eq(memcmp(bytes, text + parts[i].begin, len), 0);
        }
    }
    json_decref(spec);
    close_small(&p);
}

Test(engine_tokenizer_errors, hostile_lengths_take_seconds_at_most)
{
    pair p = open_small();
    size_t n = 4 << 20;
    char *text = malloc(n);
    static const char *const patterns[] = {"a", " ", "the", "\n", "(", "\xff", "\xe2\x88\x80", "1"};
    for (size_t k = 0; k < sizeof patterns / sizeof *patterns; k++) {
        size_t len = strlen(patterns[k]);
        for (size_t i = 0; i < n; i++) {
            text[i] = patterns[k][i % len];
        }
        pv_error err = {0};
        p.ids.len = 0;
        clock_t start = clock();
        cr_assert_eq(engine_encode(p.encoder, text, n - n % len, 0, &p.ids, &err), PV_OK, "%s",
                     err.msg);
        cr_expect_lt((double)(clock() - start) / CLOCKS_PER_SEC, 20.0, "pattern %zu", k);
    }
    free(text);
    close_small(&p);
}

Test(engine_tokenizer_errors, the_detokenizer_holds_back_until_a_character_is_whole)
{
    pair p = open_small();
    pv_error err = {0};
    pv_buf out = {0};
    engine_detokenizer d;
    cr_assert_eq(
        engine_encode(p.encoder, "\xe2\x88\x80", 3, ENGINE_ENCODE_EXACT_BYTES, &p.ids, &err),
        PV_OK);
    engine_detokenizer_init(&d, p.tokenizer, 0);
    for (size_t i = 0; i < p.ids.len; i++) {
        engine_detokenizer_push(&d, p.ids.ids[i], &out);
        cr_assert_eq(out.len, i + 1 < p.ids.len ? 0 : 3);
    }
    engine_detokenizer_push(&d, p.ids.ids[0], &out);
    engine_detokenizer_push(&d, 1u << 20, &out); /* an id that is not defined */
    engine_detokenizer_finish(&d, &out);
    cr_assert_str_eq(pv_buf_text(&out), "\xe2\x88\x80\xef\xbf\xbd");
    pv_buf_clear(&out);
    engine_utf8_lossy("a\xf0\x9f\x98"
                      "b\xed\xa0\x80\xc0\xaf\xf4\x90\x80\x80",
                      14, &out);
    cr_assert_str_eq(pv_buf_text(&out),
                     "a\xef\xbf\xbd"
                     "b\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"
                     "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    pv_buf_release(&out);
    close_small(&p);
}
