/* Files that are right, and every way in which their bytes can be wrong. */
#include "fixture_checkpoint.h"

#include "engine_safetensors.h"

static const unsigned char values[64] = {1, 2, 3, 4, 5, 6, 7, 8};

static checkpoint two_tensors(void)
{
    checkpoint c = {0};
    checkpoint_add(&c, "a", "F32", "[2, 3]", values, 24);
    checkpoint_add(&c, "b", "BF16", "[4]", values, 8);
    return c;
}

static void write_checkpoint(const fixture_dir *d, const char *name, checkpoint *c)
{
    pv_buf bytes = checkpoint_bytes(c);
    fixture_write(d, name, bytes.data, bytes.len);
    pv_buf_release(&bytes);
    checkpoint_release(c);
}

Test(engine_safetensors, finds_tensors_in_one_file)
{
    uint64_t live = pv_mem_live();
    fixture_dir d = fixture_dir_new();
    checkpoint c = two_tensors();
    json_object_set_new(c.header, "__metadata__", json_pack("{s:s}", "format", "pt"));
    checkpoint_add(&c, "scalar", "I64", "[]", values, 8);
    checkpoint_add(&c, "empty", "F16", "[3, 0, 2]", values, 0);
    write_checkpoint(&d, "model.safetensors", &c);
    engine_safetensors *st = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_safetensors_open(&st, d.path, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(engine_safetensors_count(st), 4);
    cr_expect_null(engine_safetensors_find(st, "c"));
    const engine_tensor *a = engine_safetensors_find(st, "a");
    cr_assert_not_null(a);
    cr_expect(a->dtype == ENGINE_DTYPE_F32 && a->rank == 2 && a->shape[0] == 2 && a->shape[1] == 3);
    cr_expect_eq(a->bytes, 24);
    cr_expect_eq(memcmp(a->data, values, 24), 0);
    const engine_tensor *scalar = engine_safetensors_find(st, "scalar");
    cr_expect(scalar->rank == 0 && scalar->bytes == 8);
    cr_expect_eq(engine_safetensors_find(st, "empty")->bytes, 0);
    cr_expect_eq(engine_tensor_advise(st, a, ENGINE_ADVICE_WILLNEED, &err), PV_OK);
    cr_expect_eq(engine_safetensors_advise(st, ENGINE_ADVICE_RANDOM, &err), PV_OK);
    engine_safetensors_close(st);
    fixture_dir_remove(&d);
    cr_expect_eq(pv_mem_live(), live);
}

static const char index_text[] = "{\"metadata\": {\"total_size\": 40}, \"weight_map\": {"
                                 "\"a\": \"model-00001.safetensors\","
                                 "\"b\": \"model-00001.safetensors\","
                                 "\"c\": \"model-00002.safetensors\"}}";

static fixture_dir sharded(void)
{
    fixture_dir d = fixture_dir_new();
    checkpoint one = two_tensors();
    checkpoint two = {0};
    checkpoint_add(&two, "c", "F8_E4M3", "[2, 4]", values, 8);
    write_checkpoint(&d, "model-00001.safetensors", &one);
    write_checkpoint(&d, "model-00002.safetensors", &two);
    fixture_write(&d, "model.safetensors.index.json", index_text, strlen(index_text));
    return d;
}

Test(engine_safetensors, finds_tensors_across_shards)
{
    fixture_dir d = sharded();
    engine_safetensors *st = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_safetensors_open(&st, d.path, &err), PV_OK, "%s", err.msg);
    cr_expect_eq(engine_safetensors_shard_count(st), 2);
    const engine_tensor *c = engine_safetensors_find(st, "c");
    cr_assert_not_null(c);
    cr_expect_eq(c->dtype, ENGINE_DTYPE_F8_E4M3);
    cr_expect_not_null(strstr(engine_safetensors_shard_path(st, c->shard), "model-00002"));
    cr_expect_gt(engine_safetensors_shard_bytes(st, 0), 32);
    engine_safetensors_close(st);
    fixture_dir_remove(&d);
}

static void expect_open_fails(const fixture_dir *d, pv_status want, const char *message)
{
    uint64_t live = pv_mem_live();
    engine_safetensors *st = NULL;
    pv_error err = {0};
    pv_status status = engine_safetensors_open(&st, d->path, &err);
    cr_expect_eq(status, want, "status %d, expected %d: %s", status, want, err.msg);
    cr_expect_null(st);
    cr_expect_not_null(strstr(err.msg, message), "\"%s\" lacks \"%s\"", err.msg, message);
    cr_expect_eq(pv_mem_live(), live);
}

Test(engine_safetensors, an_index_must_agree_with_its_shards)
{
    static const struct {
        const char *index;
        pv_status status;
        const char *message;
    } cases[] = {
        {"{", PV_E_INVALID, "index.json: invalid JSON"},
        {"{\"weight_map\": 1}", PV_E_INVALID, "weight_map"},
        {"{\"weight_map\": {}}", PV_E_INVALID, "0 shards"},
        {"{\"weight_map\": {\"a\": 3}}", PV_E_INVALID, "tensor a"},
        {"{\"weight_map\": {\"a\": \"../x\"}}", PV_E_INVALID, "plain file name"},
        {"{\"weight_map\": {\"a\": \"sub/x\"}}", PV_E_INVALID, "plain file name"},
        {"{\"weight_map\": {\"a\": \"gone.safetensors\"}}", PV_E_NOTFOUND, "gone.safetensors"},
        {"{\"weight_map\": {\"a\": \"model-00001.safetensors\"}}", PV_E_INVALID,
         "tensor b of shard"},
        {"{\"weight_map\": {\"a\": \"model-00001.safetensors\", \"b\": \"model-00001.safetensors\","
         "\"z\": \"model-00001.safetensors\"}}",
         PV_E_INVALID, "tensor z is missing in shard model-00001"},
        {"{\"weight_map\": {\"a\": \"model-00002.safetensors\", \"b\": \"model-00001.safetensors\","
         "\"c\": \"model-00002.safetensors\"}}",
         PV_E_INVALID, "tensor a is missing in shard model-00002"},
    };

    fixture_dir d = sharded();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        fixture_write(&d, "model.safetensors.index.json", cases[i].index, strlen(cases[i].index));
        expect_open_fails(&d, cases[i].status, cases[i].message);
    }
    fixture_dir_remove(&d);
}

Test(engine_safetensors, a_tensor_in_two_shards_is_refused)
{
    fixture_dir d = sharded();
    checkpoint two = {0};
    checkpoint_add(&two, "a", "F8_E4M3", "[2, 4]", values, 8);
    checkpoint_add(&two, "c", "F8_E4M3", "[2, 4]", values, 8);
    write_checkpoint(&d, "model-00002.safetensors", &two);
    expect_open_fails(&d, PV_E_INVALID, "tensor a is in");
    fixture_dir_remove(&d);
}

Test(engine_safetensors, missing_and_empty_files_are_named)
{
    fixture_dir d = fixture_dir_new();
    expect_open_fails(&d, PV_E_NOTFOUND, "model.safetensors: cannot open");
    fixture_write(&d, "model.safetensors", "", 0);
    expect_open_fails(&d, PV_E_INVALID, "not a file with bytes");
    fixture_dir_remove(&d);
}

static void expect_parse_fails(const void *bytes, size_t n, pv_status want, const char *message)
{
    uint64_t live = pv_mem_live();
    engine_safetensors *st = NULL;
    pv_error err = {0};
    pv_status status = engine_safetensors_parse(&st, bytes, n, "file", &err);
    cr_expect_eq(status, want, "status %d, expected %d (%s): %s", status, want, message, err.msg);
    cr_expect_null(st);
    cr_expect_not_null(strstr(err.msg, message), "\"%s\" lacks \"%s\"", err.msg, message);
    cr_expect_eq(pv_mem_live(), live);
}

/* The header text with eight bytes of data after it. */
static void expect_header_fails(const char *header, pv_status want, const char *message)
{
    pv_buf data = {0};
    pv_buf_append(&data, values, 8);
    pv_buf file = checkpoint_file(header, strlen(header), &data);
    expect_parse_fails(file.data, file.len, want, message);
    pv_buf_release(&data);
    pv_buf_release(&file);
}

#define TENSOR(dtype, shape, offsets)                                                              \
    "{\"t\": {\"dtype\": " dtype ", \"shape\": " shape ", \"data_offsets\": " offsets "}}"

Test(engine_safetensors, damaged_headers_are_refused)
{
    static const struct {
        const char *header;
        pv_status status;
        const char *message;
    } cases[] = {
        {"", PV_E_INVALID, "invalid JSON"},
        {"{\"t\":", PV_E_INVALID, "invalid JSON"},
        {"{\"\xff\": 1}", PV_E_INVALID, "invalid JSON"},
        {"[]", PV_E_INVALID, "JSON object"},
        {"{}", PV_E_INVALID, "8 bytes follow"},
        {"{\"t\": 1}", PV_E_INVALID, "does not describe"},
        {"{\"__metadata__\": {\"a\": 1}}", PV_E_INVALID, "__metadata__"},
        {"{\"__metadata__\": []}", PV_E_INVALID, "__metadata__"},
        {TENSOR("\"F32\"", "[2]", "[0, 8]") "x", PV_E_INVALID, "invalid JSON"},
        {"{\"t\": {}, \"t\": {}}", PV_E_INVALID, "duplicate"},
        {TENSOR("3", "[2]", "[0, 8]"), PV_E_INVALID, "\"dtype\""},
        {TENSOR("\"Q4\"", "[2]", "[0, 8]"), PV_E_UNSUPPORTED, "\"Q4\""},
        {TENSOR("\"F32\"", "2", "[0, 8]"), PV_E_INVALID, "\"shape\""},
        {TENSOR("\"F32\"", "[-2]", "[0, 8]"), PV_E_INVALID, "not a count"},
        {TENSOR("\"F32\"", "[2.0]", "[0, 8]"), PV_E_INVALID, "not a count"},
        {TENSOR("\"F32\"", "[1,1,1,1,1,1,1,1,2]", "[0, 8]"), PV_E_UNSUPPORTED, "at most 8"},
        {TENSOR("\"F32\"", "[9223372036854775808]", "[0, 8]"), PV_E_INVALID, "too big integer"},
        {TENSOR("\"F32\"", "[9223372036854775807]", "[0, 8]"), PV_E_INVALID, "absurdly large"},
        {TENSOR("\"F32\"", "[4294967296, 4294967296]", "[0, 8]"), PV_E_INVALID, "absurdly large"},
        {TENSOR("\"F32\"", "[2]", "[0]"), PV_E_INVALID, "\"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "[0, 4, 8]"), PV_E_INVALID, "\"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "[-8, 0]"), PV_E_INVALID, "\"data_offsets\""},
        {TENSOR("\"F32\"", "[2]", "[8, 0]"), PV_E_INVALID, "\"data_offsets\""},
        {TENSOR("\"F32\"", "[4]", "[0, 16]"), PV_E_INVALID, "truncated"},
        {TENSOR("\"F32\"", "[1]", "[0, 8]"), PV_E_INVALID, "has 8 bytes of data"},
        {TENSOR("\"F32\"", "[1]", "[4, 8]"), PV_E_INVALID, "leaving a hole"},
        {TENSOR("\"F32\"", "[1]", "[0, 4]"), PV_E_INVALID, "4 bytes follow"},
        {"{\"t\": {\"dtype\": \"F32\", \"shape\": [2], \"data_offsets\": [0, 8]}, "
         "\"u\": {\"dtype\": \"F32\", \"shape\": [1], \"data_offsets\": [4, 8]}}",
         PV_E_INVALID, "overlapping"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect_header_fails(cases[i].header, cases[i].status, cases[i].message);
    }
}

Test(engine_safetensors, absurd_and_truncated_lengths_are_refused)
{
    pv_buf none = {0};
    expect_parse_fails("1234567", 7, PV_E_INVALID, "too short");
    pv_buf file = checkpoint_file("{}", UINT64_MAX, &none);
    expect_parse_fails(file.data, file.len, PV_E_INVALID, "absurd");
    pv_buf_release(&file);
    file = checkpoint_file("{}", 3, &none);
    expect_parse_fails(file.data, file.len, PV_E_INVALID, "truncated");
    pv_buf_release(&file);
}

/* A whole file cut anywhere is refused; nothing outside it is read (run under AddressSanitizer). */
Test(engine_safetensors, a_file_cut_anywhere_is_refused)
{
    checkpoint c = two_tensors();
    pv_buf whole = checkpoint_bytes(&c);
    for (size_t n = 0; n < whole.len; n++) {
        engine_safetensors *st = NULL;
        char *cut = malloc(n + 1);
        memcpy(cut, whole.data, n);
        cr_expect_eq(engine_safetensors_parse(&st, cut, n, "cut", NULL), PV_E_INVALID, "%zu", n);
        free(cut);
    }
    pv_buf_release(&whole);
    checkpoint_release(&c);
}

Test(engine_safetensors, many_names_are_found_again)
{
    checkpoint c = {0};
    for (int i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "model.layers.%d.x", i);
        checkpoint_add(&c, name, "U8", "[1]", values, 1);
    }
    pv_buf bytes = checkpoint_bytes(&c);
    engine_safetensors *st = NULL;
    cr_assert_eq(engine_safetensors_parse(&st, bytes.data, bytes.len, "many", NULL), PV_OK);
    for (int i = 0; i < 3000; i++) {
        char name[32];
        snprintf(name, sizeof name, "model.layers.%d.x", i);
        const engine_tensor *t = engine_safetensors_find(st, name);
        cr_assert_not_null(t);
        cr_assert_str_eq(t->name, name);
    }
    cr_expect_null(engine_safetensors_find(st, "model.layers.3000.x"));
    engine_safetensors_close(st);
    pv_buf_release(&bytes);
    checkpoint_release(&c);
}

static pv_status open_and_close(void *user, pv_error *err)
{
    const fixture_dir *d = user;
    engine_safetensors *st = NULL;
    pv_status status = engine_safetensors_open(&st, d->path, err);
    engine_safetensors_close(st);
    return status;
}

Test(engine_safetensors, every_failed_allocation_is_reported_and_leaks_nothing)
{
    fixture_dir d = sharded();
    fixture_chaos(open_and_close, &d);
    fixture_dir_remove(&d);
}
