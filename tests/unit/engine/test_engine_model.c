/* A checkpoint folder as one object: what opens, what is refused, and whose folder the message names. */
#include "fixture_checkpoint.h"
#include "fixture_config.h"

#include "engine_model.h"

static void write_weights(const fixture_dir *d, const char *config_text)
{
    engine_config config = {0};
    pv_error err = {0};
    cr_assert_eq(engine_config_parse(&config, config_text, strlen(config_text), NULL, 0, &err),
                 PV_OK, "%s", err.msg);
    checkpoint c = checkpoint_of(&config);
    pv_buf bytes = checkpoint_bytes(&c);
    fixture_write(d, "model.safetensors", bytes.data, bytes.len);
    fixture_write(d, "config.json", config_text, strlen(config_text));
    pv_buf_release(&bytes);
    checkpoint_release(&c);
    engine_config_release(&config);
}

static const char fits[] =
    "{\"vocab_size\": 864, \"bos_token_id\": 856, \"eos_token_id\": [857, 858]}";

/* A folder with a tiny llama, changed, and the small tokenizer (860 ids). */
static fixture_dir model_dir(const char *change)
{
    fixture_dir d = fixture_dir_new();
    char *config = config_with(config_tiny_llama, change);
    write_weights(&d, config);
    free(config);
    pv_buf tokenizer = fixture_read(GOLDEN_DIR "/small.json");
    fixture_write(&d, "tokenizer.json", tokenizer.data, tokenizer.len);
    pv_buf_release(&tokenizer);
    return d;
}

Test(engine_model, opens_a_folder)
{
    uint64_t live = pv_mem_live();
    fixture_dir d = model_dir(fits);
    engine_model *m = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_model_open(&m, d.path, 0, &err), PV_OK, "%s", err.msg);
    cr_expect_str_eq(m->dir, d.path);
    cr_expect_eq(m->config.vocab_size, 864);
    cr_expect_eq(engine_tokenizer_size(m->tokenizer), 860);
    cr_expect(m->has_chat);
    cr_expect_null(m->chat_missing);
    cr_expect_eq(m->chat_file, ENGINE_CHAT_ABSENT);
    cr_expect(m->raw.has_bos && m->raw.bos_id == 856);
    cr_expect(engine_model_is_eos(m, 857) && engine_model_is_eos(m, 858));
    cr_expect_not(engine_model_is_eos(m, 856));
    engine_model_close(m);
    cr_assert_eq(engine_model_open(&m, d.path, ENGINE_MODEL_NO_TOKENIZER, &err), PV_OK, "%s",
                 err.msg);
    cr_expect_null(m->tokenizer);
    engine_model_close(m);
    engine_model_close(NULL);
    fixture_dir_remove(&d);
    cr_expect_eq(pv_mem_live(), live);
}

static void expect_refused(const fixture_dir *d, pv_status want, const char *part)
{
    uint64_t live = pv_mem_live();
    engine_model *m = NULL;
    pv_error err = {0};
    cr_expect_eq(engine_model_open(&m, d->path, 0, &err), want, "%s", err.msg);
    cr_expect_not_null(strstr(err.msg, d->path), "no folder in '%s'", err.msg);
    cr_expect_not_null(strstr(err.msg, part), "'%s' is not in '%s'", part, err.msg);
    cr_expect_eq(engine_model_open(&m, d->path, 0, NULL), want);
    cr_expect_null(m);
    cr_expect_eq(pv_mem_live(), live);
}

Test(engine_model, messages_name_the_folder_and_the_part)
{
    fixture_dir d = fixture_dir_new();
    expect_refused(&d, PV_E_NOTFOUND, "config.json");
    fixture_dir_remove(&d);

    d = model_dir(fits);
    fixture_write(&d, "tokenizer.json", "{}", 2);
    expect_refused(&d, PV_E_UNSUPPORTED, "tokenizer.json");
    fixture_write(&d, "model.safetensors", "\2\0\0\0\0\0\0\0{}", 10);
    expect_refused(&d, PV_E_INVALID, "embed_tokens");
    fixture_dir_remove(&d);

    d = model_dir("{\"vocab_size\": 856}");
    expect_refused(&d, PV_E_INVALID, "856");
    fixture_dir_remove(&d);
}

Test(engine_model, a_tokenizer_without_chat_tokens_is_a_good_one)
{
    fixture_dir d = model_dir(fits);
    pv_buf text = fixture_read(GOLDEN_DIR "/small.json");
    json_t *spec = json_loads(pv_buf_text(&text), 0, NULL);
    json_object_set_new(spec, "added_tokens", json_array());
    char *changed = json_dumps(spec, JSON_COMPACT);
    fixture_write(&d, "tokenizer.json", changed, strlen(changed));
    engine_model *m = NULL;
    pv_error err = {0};
    cr_assert_eq(engine_model_open(&m, d.path, 0, &err), PV_OK, "%s", err.msg);
    cr_expect_not(m->has_chat);
    cr_expect_not_null(m->chat_missing);
    engine_model_close(m);
    free(changed);
    json_decref(spec);
    pv_buf_release(&text);
    fixture_dir_remove(&d);
}

static pv_status attempt(void *user, pv_error *err)
{
    engine_model *m = NULL;
    pv_status status = engine_model_open(&m, user, 0, err);
    if (status == PV_OK) {
        engine_model_close(m);
    }
    return status;
}

Test(engine_model, every_allocation_may_fail, .timeout = 300)
{
    fixture_dir d = model_dir(fits);
    fixture_chaos(attempt, d.path);
    fixture_dir_remove(&d);
}
