#include "lean_protocol.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void hook_jansson(void)
{
    json_set_alloc_funcs(pv_malloc, pv_free);
}

static pv_status decode(const lean_call *call, const char *frame, lean_reply *reply)
{
    pv_error err = {0};
    memset(reply, 0, sizeof *reply);
    return lean_protocol_decode(call, frame, strlen(frame), reply, &err);
}

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void expect_request(const lean_call *call, const char *wanted)
{
    pv_buf out = {0};
    cr_assert(lean_protocol_encode(call, &out, NULL) == PV_OK);
    cr_expect_str_eq(pv_buf_text(&out), wanted);
    pv_buf_release(&out);
}

Test(lean_protocol, writes_each_request_as_one_line_of_ascii)
{
    const char *tactics[] = {"intro h", "α"};
    const char *names[] = {"foo"};
    uint64_t numbers[] = {1, 2};
    lean_call header = {.op = LEAN_OP_HEADER, .id = 5, .text = "import Init\n"};
    expect_request(&header, "{\"id\":5,\"op\":\"header\",\"text\":\"import Init\\n\"}\n");
    lean_call open = {.op = LEAN_OP_OPEN, .id = 6, .env = 1, .text = "∀", .heartbeats = 7};
    expect_request(&open,
                   "{\"id\":6,\"op\":\"open\",\"env\":1,\"text\":\"\\u2200\",\"heartbeats\":7}\n");
    lean_call try = {
        .op = LEAN_OP_TRY, .id = LEAN_ID_MAX, .state = 3, .tactics = tactics, .tactic_count = 2};
    expect_request(&try, "{\"id\":9007199254740991,\"op\":\"try\",\"state\":3,\"tactics\":"
                         "[\"intro h\",\"\\u03b1\"],\"heartbeats\":0}\n");
    lean_call release = {.op = LEAN_OP_FREE, .id = 8, .states = numbers, .state_count = 2};
    expect_request(&release, "{\"id\":8,\"op\":\"free\",\"states\":[1,2],\"envs\":[]}\n");
    lean_call check = {.op = LEAN_OP_CHECK,
                       .id = 9,
                       .env = 1,
                       .original = "o",
                       .candidate = "c",
                       .names = names,
                       .name_count = 1,
                       .heartbeats = 2};
    expect_request(&check, "{\"id\":9,\"op\":\"check\",\"env\":1,\"original\":\"o\",\"candidate\":"
                           "\"c\",\"names\":[\"foo\"],\"axioms\":[\"propext\",\"Quot.sound\","
                           "\"Classical.choice\"],\"heartbeats\":2}\n");
}

Test(lean_protocol, refuses_a_request_that_is_too_long)
{
    pv_buf out = {0};
    char *text = malloc(LEAN_WIRE_REQUEST_MAX + 1);
    memset(text, 'a', LEAN_WIRE_REQUEST_MAX);
    text[LEAN_WIRE_REQUEST_MAX] = '\0';
    lean_call call = {.op = LEAN_OP_HEADER, .id = 1, .text = text};
    pv_buf_puts(&out, "before");
    cr_expect(lean_protocol_encode(&call, &out, NULL) == PV_E_LIMIT);
    cr_expect_str_eq(pv_buf_text(&out), "before");
    pv_buf_release(&out);
    free(text);
}

/* ---- replies ----------------------------------------------------------------------------------------------------- */

Test(lean_protocol, takes_nothing_that_does_not_carry_the_id)
{
    static const char *const frames[] = {
        "{\"id\":8,\"ok\":{\"env\":1}}",
        "{\"ok\":{\"env\":1}}",
        "{\"id\":\"7\",\"ok\":{}}",
        "{\"id\":7.0,\"ok\":{}}",
        "{\"hello\":\"x\"}",
        "{}",
        "[]",
        "{\"id\":7",
        "\xff\xfe",
        "{\"id\":0,\"error\":{}}",
        "{\"id\":7,\"at\":0,\"result\":{}}",
    };
    lean_call call = {.op = LEAN_OP_HEADER, .id = 7};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        lean_reply reply;
        cr_expect(decode(&call, frames[i], &reply) == PV_OK, "%s", frames[i]);
        cr_expect(reply.kind == LEAN_REPLY_NONE && reply.stale, "%s", frames[i]);
        lean_reply_release(&reply);
    }
}

Test(lean_protocol, takes_items_only_in_their_order)
{
    lean_call call = {.op = LEAN_OP_TRY, .id = 7, .tactic_count = 2, .answered = 1};
    lean_reply reply;
    cr_expect(decode(&call, "{\"id\":7,\"at\":0,\"result\":{\"status\":\"closed\"}}", &reply) ==
              PV_OK);
    cr_expect(reply.kind == LEAN_REPLY_NONE);
    cr_expect(decode(&call, "{\"id\":7,\"at\":1,\"result\":{\"status\":\"closed\"}}", &reply) ==
              PV_OK);
    cr_expect(reply.kind == LEAN_REPLY_ITEM && reply.tried.kind == LEAN_TRY_CLOSED);
    lean_reply_release(&reply);
    cr_expect(decode(&call, "{\"id\":7,\"ok\":{\"tried\":2}}", &reply) == PV_E_PROTOCOL,
              "the end came before all answers");
    lean_reply_release(&reply);
}

Test(lean_protocol, refuses_ill_formed_replies_with_the_right_id)
{
    static const char *const frames[] = {
        "{\"id\":7}",
        "{\"id\":7,\"ok\":5}",
        "{\"id\":7,\"error\":5}",
        "{\"id\":7,\"at\":0,\"result\":{\"status\":\"won\"}}",
        "{\"id\":7,\"at\":0,\"result\":{\"status\":\"open\",\"parts\":[]}}",
        "{\"id\":7,\"at\":0,\"result\":{\"status\":\"open\",\"parts\":[{\"state\":1,\"goals\":[]}]}"
        "}",
        "{\"id\":7,\"at\":0,\"result\":{\"status\":\"open\",\"parts\":[{\"state\":1,\"goals\":[],"
        "\"key\":\"00000000000000000000000000000001\"}],\"order\":[1]}}",
    };
    lean_call call = {.op = LEAN_OP_TRY, .id = 7, .tactic_count = 1};
    for (size_t i = 0; i < sizeof frames / sizeof *frames; i++) {
        lean_reply reply;
        cr_expect(decode(&call, frames[i], &reply) == PV_E_PROTOCOL, "%s", frames[i]);
        lean_reply_release(&reply);
    }
}

Test(lean_protocol, accepts_only_on_the_very_word)
{
    lean_call call = {.op = LEAN_OP_CHECK, .id = 7};
    lean_reply reply;
    cr_expect(decode(&call, "{\"id\":7,\"ok\":{\"verdict\":\"Accepted\"}}", &reply) ==
              PV_E_PROTOCOL);
    cr_expect(reply.checked.verdict == LEAN_REJECTED);
    lean_reply_release(&reply);
    cr_expect(decode(&call, "{\"id\":7,\"ok\":{}}", &reply) == PV_E_PROTOCOL);
    lean_reply_release(&reply);
    cr_expect(decode(&call,
                     "{\"id\":7,\"ok\":{\"verdict\":\"accepted\",\"declarations\":[{\"axioms\":"
                     "[\"a\",\"b\"]},{\"axioms\":[\"b\",\"c\"]}]}}",
                     &reply) == PV_OK);
    cr_expect(reply.checked.verdict == LEAN_ACCEPTED && reply.checked.axiom_count == 3);
    lean_reply_release(&reply);
}

Test(lean_protocol, reads_the_greeting_and_refuses_another_protocol)
{
    lean_greeting greeting = {0};
    pv_error err = {0};
    const char *good =
        "{\"hello\":\"prover-lean\",\"protocol\":1,\"lean\":\"4.28.0\",\"ready_ms\":1}";
    const char *other = "{\"hello\":\"prover-lean\",\"protocol\":2,\"lean\":\"5\"}";
    cr_expect(lean_protocol_greeting(good, strlen(good), &greeting, &err) == PV_OK);
    cr_expect(greeting.complete && strcmp(greeting.version, "4.28.0") == 0);
    memset(&greeting, 0, sizeof greeting);
    cr_expect(lean_protocol_greeting("{}", 2, &greeting, &err) == PV_OK && !greeting.complete);
    cr_expect(lean_protocol_greeting(other, strlen(other), &greeting, &err) == PV_E_UNSUPPORTED);
    cr_expect(!greeting.complete);
}

Test(lean_protocol, reports_every_failed_allocation)
{
    static const char *const frames[] = {
        "{\"id\":7,\"at\":0,\"result\":{\"status\":\"open\",\"ms\":1.5,\"order\":[0,0],\"parts\":[{"
        "\"state\":4,\"key\":\"00112233445566778899aabbccddeeff\",\"goals\":[{\"text\":\"a\"},"
        "{\"text\":\"b\"}]}]}}",
        "{\"id\":7,\"error\":{\"kind\":\"import\",\"message\":\"no \\u2200\"}}",
    };
    hook_jansson();
    lean_call call = {.op = LEAN_OP_TRY, .id = 7, .tactic_count = 1};
    uint64_t live = pv_mem_live();
    for (size_t i = 0; i < 2; i++) {
        bool done = false;
        for (int64_t n = 0; !done && n < 10000; n++) {
            lean_reply reply;
            pv_mem_fail_after(n);
            pv_status status = decode(&call, frames[i], &reply);
            pv_mem_fail_after(-1);
            done = status == PV_OK && !reply.stale;
            /* jansson may report a syntax error instead, or lose a character of a string. */
            cr_expect(done || status == PV_E_NOMEM || status == PV_E_PROTOCOL || reply.stale);
            lean_reply_release(&reply);
            cr_assert(pv_mem_live() == live, "a leak when allocation %lld fails", (long long)n);
        }
        cr_assert(done);
    }
}

/* ---- golden files ------------------------------------------------------------------------------------------------ */

/* The files write "*" for what differs from run to run: give numbers a number. */
static void fill_in(json_t *json)
{
    static const char *const numbers[] = {"ms",    "ready_ms", "env",     "envs",
                                          "state", "states",   "requests"};
    const char *key;
    json_t *value;
    size_t i;
    json_array_foreach(json, i, value)
    {
        fill_in(value);
    }
    for (i = 0; json_is_object(json) && i < sizeof numbers / sizeof *numbers; i++) {
        if (json_is_string(json_object_get(json, numbers[i]))) {
            json_object_set_new(json, numbers[i], json_integer(1));
        }
    }
    json_object_foreach(json, key, value)
    {
        fill_in(value);
    }
}

static bool op_of(const char *name, lean_op *out)
{
    static const char *const names[LEAN_OP_COUNT] = {"header",     "command", "open",   "try",
                                                     "free",       "check",   "memory", "modules",
                                                     "statements", "mutate",  "usage",  "replay"};
    for (int i = 0; name != NULL && i < LEAN_OP_COUNT; i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (lean_op)i;
            return true;
        }
    }
    return false;
}

/* Every reply to a request that we could have made must be understood. Returns how many were. */
static unsigned check_expectation(lean_call *call, bool known, json_t *expect, const char *where)
{
    lean_reply reply = {0};
    lean_greeting greeting = {0};
    pv_error err = {0};
    pv_buf out = {0};
    fill_in(expect);
    char *frame = json_dumps(expect, JSON_COMPACT);
    pv_status status = PV_OK;
    unsigned understood = 0;
    if (json_object_get(expect, "hello") != NULL) {
        status = lean_protocol_greeting(frame, strlen(frame), &greeting, &err);
        understood = greeting.complete;
        cr_expect(greeting.complete, "%s: %s", where, frame);
    } else if (known && (uint64_t)json_integer_value(json_object_get(expect, "id")) == call->id) {
        status = lean_protocol_ops()->feed(call, frame, strlen(frame), &out, &reply, &err);
        understood = 1;
        cr_expect(reply.kind != LEAN_REPLY_NONE, "%s: %s", where, frame);
    }
    cr_expect(status == PV_OK, "%s: %s", where, err.msg);
    lean_reply_release(&reply);
    pv_buf_release(&out);
    free(frame);
    return understood;
}

static unsigned check_file(const char *path)
{
    pv_buf text = {0};
    unsigned understood = 0;
    unsigned line_number = 0;
    bool known = false;
    lean_call call = {0};
    cr_assert(pv_file_read(path, 1 << 26, &text, NULL) == PV_OK);
    for (char *line = strtok(text.data, "\n"); line != NULL; line = strtok(NULL, "\n")) {
        char where[600];
        snprintf(where, sizeof where, "%s:%u", path, ++line_number);
        json_t *json = json_loads(line, 0, NULL);
        json_t *send = json_object_get(json, "send");
        if (send != NULL) {
            memset(&call, 0, sizeof call);
            call.id = (uint64_t)json_integer_value(json_object_get(send, "id"));
            call.tactic_count = json_array_size(json_object_get(send, "tactics"));
            known = op_of(json_string_value(json_object_get(send, "op")), &call.op);
        }
        if (json_object_get(json, "expect") != NULL) {
            understood += check_expectation(&call, known, json_object_get(json, "expect"), where);
        }
        json_decref(json);
    }
    pv_buf_release(&text);
    return understood;
}

Test(lean_protocol, understands_every_golden_reply)
{
    static const char folder[] = TEST_SOURCE_DIR "/tests/golden/protocol";
    unsigned understood = 0;
    unsigned files = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry = dir == NULL ? NULL : readdir(dir); entry != NULL;
         entry = readdir(dir)) {
        char path[512];
        if (strstr(entry->d_name, ".jsonl") != NULL) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            understood += check_file(path);
            files++;
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    if (files == 0) {
        cr_skip_test("no golden files in %s", folder);
    }
    cr_expect(understood > 50, "only %u replies in %u files", understood, files);
}
