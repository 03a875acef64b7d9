/* Ids and texts against goldens that the Hugging Face tokenizers library made (tools/golden). */
#include "fixture.h"

#include "engine_detokenizer.h"
#include "engine_tokenizer.h"

typedef struct bench {
    engine_tokenizer *tokenizer;
    engine_encoder *encoder;
    engine_tokens ids;
    uint64_t live;
} bench;

static bench open_bench(const char *json, size_t n)
{
    bench b = {.live = pv_mem_live()};
    pv_error err = {0};
    cr_assert_eq(engine_tokenizer_parse(&b.tokenizer, json, n, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(engine_encoder_new(&b.encoder, b.tokenizer, &err), PV_OK, "%s", err.msg);
    return b;
}

static void close_bench(bench *b)
{
    engine_tokens_release(&b->ids);
    engine_encoder_free(b->encoder);
    engine_tokenizer_free(b->tokenizer);
    cr_assert_eq(pv_mem_live(), b->live);
}

static bench open_v3(void)
{
    uint64_t live = pv_mem_live();
    pv_buf text = fixture_read(V3_DIR "/tokenizer.json");
    if (text.len == 0) {
        pv_buf_release(&text);
        fixture_skip("the DeepSeek-V3 tokenizer is not installed: npm ci in " GOLDEN_DIR);
    }
    bench b = open_bench(pv_buf_text(&text), text.len);
    pv_buf_release(&text);
    b.live = live;
    return b;
}

static bench open_small(void)
{
    uint64_t live = pv_mem_live();
    pv_buf text = fixture_read(GOLDEN_DIR "/small.json");
    cr_assert_neq(text.len, 0);
    bench b = open_bench(pv_buf_text(&text), text.len);
    pv_buf_release(&text);
    b.live = live;
    return b;
}

static void encode(bench *b, const char *text, size_t n, unsigned flags)
{
    pv_error err = {0};
    b->ids.len = 0;
    cr_assert_eq(engine_encode(b->encoder, text, n, flags, &b->ids, &err), PV_OK, "%s", err.msg);
}

static void expect_ids(const bench *b, const json_t *want, const char *what)
{
    cr_assert_eq(b->ids.len, json_array_size(want), "%zu ids, expected %zu: %s", b->ids.len,
                 json_array_size(want), what);
    for (size_t i = 0; i < b->ids.len; i++) {
        json_int_t id = json_integer_value(json_array_get(want, i));
        cr_assert_eq((json_int_t)b->ids.ids[i], id, "id %zu is %u, expected %lld: %s", i,
                     b->ids.ids[i], (long long)id, what);
    }
}

static size_t unhex(const char *hex, char *out)
{
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++) {
        unsigned byte = 0;
        sscanf(hex + 2 * i, "%2x", &byte);
        out[i] = (char)byte;
    }
    return n;
}

static void check_encode(bench *b, const json_t *line)
{
    char bytes[512];
    const char *text = json_string_value(json_object_get(line, "text"));
    size_t n = json_string_length(json_object_get(line, "text"));
    if (text == NULL) {
        n = unhex(json_string_value(json_object_get(line, "hex")), bytes);
        text = bytes;
    }
    bool special = json_is_true(json_object_get(line, "special"));
    encode(b, text, n, special ? ENGINE_ENCODE_SPECIAL : 0);
    expect_ids(b, json_object_get(line, "ids"), text);
    /* Every byte comes back, also those that are not UTF-8. */
    pv_buf back = {0};
    encode(b, text, n, ENGINE_ENCODE_EXACT_BYTES);
    engine_decode(b->tokenizer, b->ids.ids, b->ids.len, ENGINE_DECODE_EXACT_BYTES, &back);
    cr_assert_eq(back.len, n);
    cr_assert_eq(memcmp(pv_buf_text(&back), text, n), 0);
    pv_buf_release(&back);
}

static void check_decode(bench *b, const json_t *line)
{
    const json_t *ids = json_object_get(line, "ids");
    unsigned flags = json_is_true(json_object_get(line, "skip")) ? ENGINE_DECODE_SKIP_SPECIAL : 0;
    engine_detokenizer d;
    engine_detokenizer_init(&d, b->tokenizer, flags);
    pv_buf out = {0};
    for (size_t i = 0; i < json_array_size(ids); i++) {
        engine_detokenizer_push(&d, (uint32_t)json_integer_value(json_array_get(ids, i)), &out);
    }
    engine_detokenizer_finish(&d, &out);
    cr_assert_str_eq(pv_buf_text(&out), json_string_value(json_object_get(line, "decode")));
    pv_buf_release(&out);
}

static size_t check_goldens(bench *b, const char *path)
{
    pv_buf text = fixture_read(path);
    size_t lines = 0;
    cr_assert_neq(text.len, 0);
    for (char *at = text.data; *at != '\0'; lines++) {
        char *end = strchr(at, '\n');
        json_t *line = json_loadb(at, (size_t)(end - at), JSON_ALLOW_NUL, NULL);
        cr_assert_not_null(line, "line %zu", lines + 1);
        if (json_object_get(line, "decode") != NULL) {
            check_decode(b, line);
        } else {
            check_encode(b, line);
        }
        json_decref(line);
        at = end + 1;
    }
    pv_buf_release(&text);
    return lines;
}

Test(engine_tokenizer, v3_gives_the_published_ids)
{
    static const struct {
        const char *text;
        const char *ids;
    } vectors[] = {
        {"Hello! 毕老师！1 + 1 = 2 ĠÑĤÐ²ÑĬÑĢ",
         "[19923,3,223,5464,5008,1175,19,940,223,19,438,223,20,6113,257,76589,131,100,76032,1628,"
         "76589,131,108,76589,131,98]"},
        {"1234567890", "[6895,18009,25744,18]"},
        {"abc123def", "[32372,6895,3465]"},
        {"a   b", "[67,262,291]"},
        {"def foo(x): return x", "[3465,52735,4042,2605,1354,1527]"},
        {"theorem foo (a b : ℝ) (h₀ : 0 < a) : a ≤ b := by",
         "[1805,14921,52735,343,67,291,1313,107641,11,343,74,26558,225,1313,223,18,818,260,11,1313,"
         "260,19212,291,7375,513]"},
        {"import Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n",
         "[1897,7716,14734,201,1897,334,273,476,271,3284,105825,3979,63131,2304,2760,223,18,201]"},
        {"  nlinarith [sq_nonneg (a - b)]",
         "[223,313,5360,287,400,764,50918,106059,15893,343,67,565,291,14245]"},
        {"∀ x ∈ S, f x ≠ 0", "[78728,1527,15060,327,14,285,1527,63014,223,18]"},
        {"h₁₂ x² ⟨a, b⟩ ⊢ n", "[74,90534,59853,1527,1628,122278,67,14,291,48538,40847,313]"},
        {"```lean4\n", "[9854,78291,22,201]"},
        {"<｜User｜>hi<｜Assistant｜>", "[128803,6366,128804]"},
    };

    bench b = open_v3();
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        json_t *want = json_loads(vectors[i].ids, 0, NULL);
        encode(&b, vectors[i].text, strlen(vectors[i].text), ENGINE_ENCODE_SPECIAL);
        expect_ids(&b, want, vectors[i].text);
        json_decref(want);
    }
    close_bench(&b);
}

Test(engine_tokenizer, v3_equals_the_library_on_goldens)
{
    bench b = open_v3();
    cr_assert_geq(check_goldens(&b, GOLDEN_DIR "/deepseek_v3.jsonl"), 2000);
    close_bench(&b);
}

Test(engine_tokenizer, small_equals_the_library_on_goldens)
{
    bench b = open_small();
    cr_assert_geq(check_goldens(&b, GOLDEN_DIR "/small.jsonl"), 700);
    close_bench(&b);
}

/* A vocabulary without the 13 bytes that no UTF-8 has, whose letters are added tokens instead. */
Test(engine_tokenizer, letters_that_are_added_tokens_equal_the_library)
{
    uint64_t live = pv_mem_live();
    pv_buf text = fixture_read(GOLDEN_DIR "/small_letters.json");
    bench b = open_bench(pv_buf_text(&text), text.len);
    pv_buf_release(&text);
    b.live = live;
    cr_assert_geq(check_goldens(&b, GOLDEN_DIR "/small_letters.jsonl"), 100);
    close_bench(&b);
}

static uint64_t digest(uint64_t h, const engine_tokens *ids)
{
    for (size_t i = 0; i < ids->len; i++) {
        for (int shift = 0; shift < 32; shift += 8) {
            h = (h ^ (ids->ids[i] >> shift & 0xff)) * 0x100000001b3u;
        }
    }
    return h;
}

static const uint64_t digest_start = 0xcbf29ce484222325u;

static void put_code_point(pv_buf *out, uint32_t c)
{
    if (c < 0x80) {
        pv_buf_putc(out, (char)c);
        return;
    }
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
    pv_buf_putc(out, (char)(lead[more] | c >> (6 * more)));
    for (int i = more - 1; i >= 0; i--) {
        pv_buf_putc(out, (char)(0x80 | (c >> (6 * i) & 0x3f)));
    }
}

static void put_context(pv_buf *out, uint32_t c)
{
    static const char *const around[] = {"a", "b ", "1", "", "\n", "'x", " \n"};
    for (size_t i = 0; i < 7; i++) {
        pv_buf_puts(out, around[i]);
        if (i < 6) {
            put_code_point(out, c);
        }
    }
}

static uint64_t digest_block(bench *b, uint32_t block)
{
    uint64_t h = digest_start;
    pv_buf text = {0};
    for (uint32_t c = block; c < block + 4096; c++) {
        if (c >= 0xd800 && c <= 0xdfff) {
            continue;
        }
        put_context(&text, c);
        if (c % 256 == 255) {
            encode(b, text.data, text.len, 0);
            h = digest(h, &b->ids);
            pv_buf_clear(&text);
        }
    }
    pv_buf_release(&text);
    return h;
}

Test(engine_tokenizer, v3_equals_the_library_on_every_code_point)
{
    bench b = open_v3();
    FILE *golden = fopen(GOLDEN_DIR "/deepseek_v3_unicode.txt", "r");
    cr_assert_not_null(golden);
    for (uint32_t block = 0; block < 0x110000; block += 4096) {
        unsigned long long want = 0;
        cr_assert_eq(fscanf(golden, "%16llx", &want), 1);
        cr_expect_eq(digest_block(&b, block), want, "code points from U+%04X on", block);
    }
    fclose(golden);
    close_bench(&b);
}

static const char *field_of(const char *file)
{
    return strcmp(file, "minif2f_valid.jsonl") == 0 ? "formal_statement" : "code";
}

/* The data lie beside the checkout or are absent; they are read where they are. */
Test(engine_tokenizer, v3_equals_the_library_on_shared_data)
{
    bench b = open_v3();
    FILE *golden = fopen(GOLDEN_DIR "/shared_data.txt", "r");
    char file[64];
    char open_name[64] = "";
    char line[1 << 17];
    FILE *data = NULL;
    long index;
    size_t tokens;
    unsigned long long want;
    size_t checked = 0;
    while (fscanf(golden, "%63s %ld %zu %llx", file, &index, &tokens, &want) == 4) {
        if (strcmp(file, open_name) != 0) {
            char path[512];
            snprintf(path, sizeof path, "%s/../shared/data/%s", TEST_SOURCE_DIR, file);
            if (data != NULL) {
                fclose(data);
            }
            data = fopen(path, "r");
            strcpy(open_name, file);
        }
        if (data == NULL) {
            fclose(golden);
            fixture_skip("there is no ../shared/data beside the checkout");
        }
        cr_assert_not_null(fgets(line, sizeof line, data));
        json_t *record = json_loads(line, 0, NULL);
        const json_t *text = json_object_get(record, field_of(file));
        encode(&b, json_string_value(text), json_string_length(text), 0);
        json_decref(record);
        cr_assert_eq(b.ids.len, tokens, "%s line %ld", file, index);
        cr_assert_eq(digest(digest_start, &b.ids), want, "%s line %ld", file, index);
        checked++;
    }
    cr_assert_eq(checked, 465);
    fclose(data);
    fclose(golden);
    close_bench(&b);
}

/* The small tokenizer with one part of its description replaced. */
static json_t *patched(const json_t *change)
{
    pv_buf text = fixture_read(GOLDEN_DIR "/small.json");
    json_t *spec = json_loadb(pv_buf_text(&text), text.len, 0, NULL);
    pv_buf_release(&text);
    json_object_set_new(spec, "added_tokens", json_array());
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)change, name, value)
    {
        if (strcmp(name, "ignore_merges") == 0) {
            json_object_set(json_object_get(spec, "model"), name, value);
        } else if (strcmp(name, "ids") != 0) {
            json_object_set(spec, name, value);
        }
    }
    return spec;
}

static bench open_patched(const json_t *change)
{
    json_t *spec = patched(change);
    char *text = json_dumps(spec, 0);
    bench b = open_bench(text, strlen(text));
    free(text);
    json_decref(spec);
    return b;
}

Test(engine_tokenizer, every_option_of_the_format_equals_the_library)
{
    json_t *golden = json_load_file(GOLDEN_DIR "/small_cases.json", 0, NULL);
    const json_t *probes = json_object_get(golden, "probes");
    size_t i;
    json_t *one;
    json_array_foreach(json_object_get(golden, "cases"), i, one)
    {
        bench b = open_patched(one);
        char *what =
            json_dumps(json_object_get(one, json_object_get(one, "pre_tokenizer") ? "pre_tokenizer"
                                                                                  : "added_tokens"),
                       JSON_ENCODE_ANY);
        for (size_t k = 0; k < json_array_size(probes); k++) {
            const json_t *probe = json_array_get(probes, k);
            char note[800];
            snprintf(note, sizeof note, "\"%s\" with %.700s", json_string_value(probe),
                     what == NULL ? "" : what);
            encode(&b, json_string_value(probe), json_string_length(probe), ENGINE_ENCODE_SPECIAL);
            expect_ids(&b, json_array_get(json_object_get(one, "ids"), k), note);
        }
        free(what);
        close_bench(&b);
    }
    json_decref(golden);
}
