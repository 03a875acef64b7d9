/* Bodies for a server that speaks OpenAI's protocol, and its answers: those of vLLM and SGLang, and such as none should send. */
#include "openai.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <string.h>

/* ---- bodies ---- */

static openai_ask plain(openai_api api)
{
    return (openai_ask){.api = api,
                        .model = "m",
                        .prompt = "⊢ p",
                        .choices = 3,
                        .max_tokens = 20,
                        .temperature = 1,
                        .top_p = 1,
                        .seed = 0x1234567890abcdef,
                        .stop = "\n",
                        .logprobs = true};
}

static json_t *body_of(const openai_ask *ask)
{
    pv_buf text = {0};
    cr_assert_eq(openai_body(ask, &text, NULL), PV_OK);
    json_t *body = json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    cr_assert_not_null(body, "%s", pv_buf_text(&text));
    pv_buf_release(&text);
    return body;
}

static json_int_t number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}

Test(openai, a_completions_body_has_what_every_server_knows)
{
    openai_ask ask = plain(OPENAI_COMPLETIONS);
    json_t *body = body_of(&ask);
    cr_assert_str_eq(json_string_value(json_object_get(body, "model")), "m");
    cr_assert_str_eq(json_string_value(json_object_get(body, "prompt")), "⊢ p");
    cr_assert_eq(number(body, "n"), 3);
    cr_assert_eq(number(body, "max_tokens"), 20);
    cr_assert_eq(number(body, "logprobs"), 1);
    cr_assert_eq(number(body, "seed"), 0x1234567890abcdef & 0x7fffffff);
    cr_assert_str_eq(json_string_value(json_array_get(json_object_get(body, "stop"), 0)), "\n");
    const char *absent[] = {"messages", "stream", "top_p", "top_k", "min_p", "stream_options"};
    for (size_t i = 0; i < 6; i++) {
        cr_assert_null(json_object_get(body, absent[i]), "%s", absent[i]);
    }
    json_decref(body);
}

Test(openai, a_chat_body_lets_the_server_go_on_with_the_answer)
{
    openai_ask ask = plain(OPENAI_CHAT);
    ask.answer = "```lean4\n";
    ask.stream = true;
    ask.top_p = 0.5;
    ask.top_k = 7;
    ask.min_p = 0.25;
    json_t *body = body_of(&ask);
    const json_t *messages = json_object_get(body, "messages");
    cr_assert_eq(json_array_size(messages), 2);
    const json_t *second = json_array_get(messages, 1);
    cr_assert_str_eq(json_string_value(json_object_get(second, "role")), "assistant");
    cr_assert_str_eq(json_string_value(json_object_get(second, "content")), "```lean4\n");
    cr_assert(json_is_true(json_object_get(body, "continue_final_message")));
    cr_assert(json_is_false(json_object_get(body, "add_generation_prompt")));
    cr_assert(json_is_true(json_object_get(body, "logprobs")));
    cr_assert(
        json_is_true(json_object_get(json_object_get(body, "stream_options"), "include_usage")));
    cr_assert_eq(number(body, "top_k"), 7);
    cr_assert_float_eq(json_real_value(json_object_get(body, "min_p")), 0.25, 0);
    json_decref(body);
    ask.answer = NULL;
    body = body_of(&ask);
    cr_assert_eq(json_array_size(json_object_get(body, "messages")), 1);
    cr_assert_null(json_object_get(body, "continue_final_message"));
    json_decref(body);
}

Test(openai, a_chat_body_has_the_turns_before)
{
    static const char *const roles[] = {"user", "assistant", "user"};
    static const char *const texts[] = {"⊢ p", "no proof", "once more"};
    openai_ask ask = plain(OPENAI_CHAT);
    ask.earlier = texts[1];
    ask.turn = texts[2];
    json_t *body = body_of(&ask);
    const json_t *messages = json_object_get(body, "messages");
    cr_assert_eq(json_array_size(messages), 3);
    for (size_t i = 0; i < 3; i++) {
        const json_t *one = json_array_get(messages, i);
        cr_expect_str_eq(json_string_value(json_object_get(one, "role")), roles[i]);
        cr_expect_str_eq(json_string_value(json_object_get(one, "content")), texts[i]);
    }
    cr_expect_null(json_object_get(body, "continue_final_message"));
    json_decref(body);
}

Test(openai, extra_fields_go_over_the_others)
{
    openai_ask ask = plain(OPENAI_COMPLETIONS);
    json_t *extra = json_pack("{s:i, s:b, s:n}", "max_tokens", 5, "ignore_eos", 1, "temperature");
    ask.extra = extra;
    json_t *body = body_of(&ask);
    cr_assert_eq(number(body, "max_tokens"), 5);
    cr_assert(json_is_true(json_object_get(body, "ignore_eos")));
    cr_assert_null(json_object_get(body, "temperature"));
    json_decref(body);
    json_decref(extra);
}

Test(openai, a_text_that_is_not_utf8_is_refused)
{
    openai_ask ask = plain(OPENAI_CHAT);
    pv_buf text = {0};
    ask.answer = "a\xff";
    cr_assert_eq(openai_body(&ask, &text, NULL), PV_E_INVALID);
    cr_assert_eq(text.len, 0);
}

/* ---- answers ---- */

static pv_status parse(openai_reply *reply, openai_api api, const char *text, pv_error *err)
{
    cr_assert_eq(openai_reply_init(reply, 3, NULL), PV_OK);
    return openai_reply_parse(reply, api, text, strlen(text), err);
}

Test(openai, a_completions_answer_is_read)
{
    openai_reply reply;
    cr_assert_eq(
        parse(&reply, OPENAI_COMPLETIONS,
              "{\"id\": \"cmpl-1\", \"object\": \"text_completion\", \"choices\": ["
              "{\"index\": 1, \"text\": \"simp\", \"finish_reason\": \"length\", \"stop_reason\": "
              "null,"
              " \"logprobs\": {\"tokens\": [\"si\", \"mp\"], \"token_logprobs\": [-0.5, -1],"
              " \"text_offset\": [0, 2], \"top_logprobs\": null}},"
              "{\"index\": 0, \"text\": \"\\u27e8h\\u27e9\", \"logprobs\": null,"
              " \"finish_reason\": \"stop\"}],"
              "\"usage\": {\"prompt_tokens\": 5, \"completion_tokens\": 9}}",
              NULL),
        PV_OK);
    cr_assert_eq(openai_reply_check(&reply, false, NULL), PV_OK);
    const openai_choice *c = reply.choices;
    cr_assert_str_eq(pv_buf_text(&c[0].text), "⟨h⟩");
    cr_assert_eq(c[0].scored, 0);
    cr_assert_eq(c[0].finish, OPENAI_STOP);
    cr_assert_str_eq(pv_buf_text(&c[1].text), "simp");
    cr_assert_float_eq(c[1].logprob, -1.5, 1e-12);
    cr_assert_eq(c[1].scored, 2);
    cr_assert_not(c[1].unscored);
    cr_assert_eq(c[1].finish, OPENAI_LENGTH);
    cr_assert_not(c[2].present);
    cr_assert(reply.has_usage);
    cr_assert_eq(reply.tokens, 9);
    openai_reply_release(&reply);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(openai, a_chat_answer_is_read)
{
    openai_reply reply;
    cr_assert_eq(
        parse(
            &reply, OPENAI_CHAT,
            "{\"choices\": [{\"index\": 0, \"message\": {\"role\": \"assistant\", \"content\": "
            "\"rfl\", \"reasoning_content\": null}, \"logprobs\": {\"content\": [{\"token\": \"r\","
            " \"logprob\": -1, \"bytes\": [114], \"top_logprobs\": []}, {\"token\": \"fl\","
            " \"logprob\": 1e-9}, {\"token\": \"\", \"logprob\": null}]}, \"finish_reason\": "
            "\"content_filter\"}], \"error\": null}",
            NULL),
        PV_OK);
    const openai_choice *c = reply.choices;
    cr_assert_str_eq(pv_buf_text(&c->text), "rfl");
    cr_assert_float_eq(c->logprob, -1, 1e-12, "a positive one counts as 0");
    cr_assert_eq(c->scored, 2);
    cr_assert(c->unscored);
    cr_assert_eq(c->finish, OPENAI_OTHER);
    openai_reply_release(&reply);
}

static pv_status event(openai_reply *reply, openai_api api, const char *text, pv_error *err)
{
    return openai_reply_event(reply, api, text, strlen(text), err);
}

Test(openai, a_stream_adds_up)
{
    openai_reply reply;
    cr_assert_eq(openai_reply_init(&reply, 2, NULL), PV_OK);
    const char *chunks[] = {
        "{\"choices\": [{\"index\": 0, \"delta\": {\"role\": \"assistant\"}, \"logprobs\": null}]}",
        "{\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"int\"}, \"logprobs\": "
        "{\"content\": [{\"token\": \"int\", \"logprob\": -0.25}]}, \"finish_reason\": null}]}",
        "{\"choices\": [{\"index\": 1, \"delta\": {\"content\": \"simp\"}, \"logprobs\": "
        "{\"content\": [{\"token\": \"simp\", \"logprob\": -2}]}, \"finish_reason\": \"stop\"}]}",
        "{\"choices\": [{\"index\": 0, \"delta\": {\"content\": \"ro\"}, \"logprobs\": "
        "{\"content\": [{\"token\": \"ro\", \"logprob\": -0.5}]}, \"finish_reason\": \"stop\"}]}",
        "{\"choices\": [], \"usage\": {\"completion_tokens\": 5}}"};
    pv_error err = {0};
    for (size_t i = 0; i < 5; i++) {
        if (i == 3) {
            cr_assert_eq(openai_reply_check(&reply, true, &err), PV_E_LOST);
            cr_assert_not_null(strstr(err.msg, "1 of 2"), "%s", err.msg);
        }
        cr_assert_eq(event(&reply, OPENAI_CHAT, chunks[i], NULL), PV_OK);
    }
    cr_assert_eq(openai_reply_check(&reply, true, NULL), PV_OK);
    cr_assert_eq(event(&reply, OPENAI_CHAT, "[DONE]", NULL), PV_OK);
    cr_assert(reply.done);
    cr_assert_eq(event(&reply, OPENAI_CHAT, "what comes after the end", NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&reply.choices[0].text), "intro");
    cr_assert_float_eq(reply.choices[0].logprob, -0.75, 1e-12);
    cr_assert_str_eq(pv_buf_text(&reply.choices[1].text), "simp");
    cr_assert_eq(reply.tokens, 5);
    openai_reply_clear(&reply);
    cr_assert_not(reply.done || reply.has_usage || reply.choices[0].present);
    cr_assert_eq(reply.choices[0].text.len, 0);
    cr_assert_eq(openai_reply_check(&reply, true, NULL), PV_E_LOST);
    openai_reply_release(&reply);
    cr_assert_eq(pv_mem_live(), 0);
}

Test(openai, answers_that_make_no_sense_are_refused_with_the_reason)
{
    const char *cases[][2] = {
        {"", "not the JSON"},
        {"{\"choices\": [{\"index\": 0, \"text\": \"si", "not the JSON"},
        {"<html></html>", "not the JSON"},
        {"[]", "an object is expected"},
        {"{}", "no array `choices`"},
        {"{\"choices\": {}}", "an array is expected"},
        {"{\"choices\": []}", "no choice"},
        {"{\"choices\": [7]}", "an object is expected"},
        {"{\"choices\": [{\"index\": 3, \"text\": \"\"}]}", "index"},
        {"{\"choices\": [{\"index\": -1, \"text\": \"\"}]}", "index"},
        {"{\"choices\": [{\"index\": 0.5, \"text\": \"\"}]}", "index"},
        {"{\"choices\": [{\"index\": \"0\", \"text\": \"\"}]}", "a number"},
        {"{\"choices\": [{\"index\": 0, \"text\": 5}]}", "a string is expected"},
        {"{\"choices\": [{\"index\": 0, \"text\": \"a\"}, {\"index\": 0, \"text\": \"b\"}]}",
         "two choices have the same index"},
        {"{\"error\": {\"message\": \"bad  \\n prompt\", \"code\": 400}}", "reports: bad prompt"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        openai_reply reply;
        pv_error err = {0};
        pv_status status = parse(&reply, OPENAI_COMPLETIONS, cases[i][0], &err);
        status = status == PV_OK ? openai_reply_check(&reply, false, &err) : status;
        cr_assert_eq(status, PV_E_PROTOCOL, "%s", cases[i][0]);
        cr_assert_not_null(strstr(err.msg, cases[i][1]), "%s: %s", cases[i][0], err.msg);
        openai_reply_release(&reply);
    }
    openai_reply reply;
    cr_assert_eq(
        parse(&reply, OPENAI_CHAT, "{\"choices\": [{\"index\": 0, \"message\": \"x\"}]}", NULL),
        PV_E_PROTOCOL);
    openai_reply_release(&reply);
    cr_assert_eq(parse(&reply, OPENAI_CHAT, "{\"error\": \"out of memory\"}", NULL), PV_E_LOST,
                 "a server that broke down may come back");
    openai_reply_release(&reply);
}

Test(openai, deep_nesting_is_refused)
{
    pv_buf text = {0};
    for (int i = 0; i < 100000; i++) {
        pv_buf_putc(&text, '[');
    }
    openai_reply reply;
    cr_assert_eq(parse(&reply, OPENAI_CHAT, pv_buf_text(&text), NULL), PV_E_PROTOCOL);
    openai_reply_release(&reply);
    pv_buf_release(&text);
}

Test(openai, an_error_is_one_line)
{
    const char *cases[][2] = {
        {"{\"error\": {\"message\": \"no such model\", \"type\": \"x\"}}", "no such model"},
        {"{\"object\": \"error\", \"message\": \"too\\nlong\", \"code\": 400}", "too long"},
        {"{\"error\": \"plain\"}", "plain"},
        {"{\"detail\": \"Not Found\"}", "Not Found"},
        {"Bad\r\n  Gateway\n", "Bad Gateway "},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        pv_buf out = {0};
        openai_error_text(cases[i][0], strlen(cases[i][0]), &out);
        cr_assert_str_eq(pv_buf_text(&out), cases[i][1]);
        pv_buf_release(&out);
    }
    char long_text[2001];
    memset(long_text, 'x', sizeof long_text);
    memcpy(long_text + 298, "\xE2\x9F\xA8", 3); /* cut in the middle */
    pv_buf out = {0};
    openai_error_text(long_text, 2000, &out);
    cr_assert_eq(out.len, 298);
    pv_buf_release(&out);
}

Test(openai, models_are_listed)
{
    json_t *ids = NULL;
    const char *text =
        "{\"object\": \"list\", \"data\": [{\"id\": \"a\"}, {\"no\": 1}, {\"id\": \"b\"}]}";
    cr_assert_eq(openai_models(text, strlen(text), &ids, NULL), PV_OK);
    cr_assert_eq(json_array_size(ids), 2);
    cr_assert_str_eq(json_string_value(json_array_get(ids, 1)), "b");
    json_decref(ids);
    const char *wrong[] = {"", "[]", "{\"data\": {}}", "<html>"};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(openai_models(wrong[i], strlen(wrong[i]), &ids, NULL), PV_E_PROTOCOL);
    }
}

Test(openai, the_nth_allocation_fails)
{
    const char *text = "{\"choices\": [{\"index\": 0, \"text\": \"simp\", \"logprobs\": "
                       "{\"token_logprobs\": [-0.5]}}], \"usage\": {\"completion_tokens\": 9}}";
    bool ended = false;
    for (int64_t n = 0; !ended; n++) {
        openai_reply reply;
        pv_buf body = {0};
        openai_ask ask = plain(OPENAI_CHAT);
        ask.answer = "x";
        ask.stream = true;
        pv_mem_fail_after(n);
        pv_status status = openai_reply_init(&reply, 3, NULL);
        if (status == PV_OK) {
            status = openai_reply_parse(&reply, OPENAI_COMPLETIONS, text, strlen(text), NULL);
        }
        if (status == PV_OK) {
            status = openai_body(&ask, &body, NULL);
        }
        pv_mem_fail_after(-1);
        openai_reply_release(&reply);
        pv_buf_release(&body);
        cr_assert_eq(pv_mem_live(), 0, "allocation %d", (int)n);
        ended = status == PV_OK;
        cr_assert_lt(n, 1000);
    }
}
