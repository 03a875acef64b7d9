/* Questions about the theorems of an environment: requests, replies, and the way through the pool. */
#include "bridge_fixture.h"
#include "lean_protocol.h"

static void expect_request(const lean_call *call, const char *wanted)
{
    pv_buf out = {0};
    cr_assert(lean_protocol_encode(call, &out, NULL) == PV_OK);
    cr_expect_str_eq(pv_buf_text(&out), wanted);
    pv_buf_release(&out);
}

Test(lean_library, writes_each_question)
{
    const char *mutations[] = {"swap", "negate"};
    lean_call modules = {.op = LEAN_OP_MODULES, .id = 1, .env = 2};
    expect_request(&modules, "{\"id\":1,\"op\":\"modules\",\"env\":2}\n");
    lean_call statements = {.op = LEAN_OP_STATEMENTS,
                            .id = 1,
                            .env = 2,
                            .text = "Init.Core",
                            .skip = 3,
                            .limit = 4,
                            .mutations = mutations,
                            .mutation_count = 2};
    expect_request(&statements,
                   "{\"id\":1,\"op\":\"statements\",\"env\":2,\"module\":\"Init.Core\","
                   "\"skip\":3,\"limit\":4,\"mutations\":[\"swap\",\"negate\"]}\n");
    lean_call mutate = {
        .op = LEAN_OP_MUTATE, .id = 1, .env = 2, .text = "theorem t : ∀", .name = "t"};
    expect_request(&mutate,
                   "{\"id\":1,\"op\":\"mutate\",\"env\":2,\"text\":\"theorem t : \\u2200\","
                   "\"name\":\"t\",\"mutations\":[]}\n");
    lean_call usage = {.op = LEAN_OP_USAGE, .id = 1, .env = 2, .text = "x", .name = "t"};
    expect_request(&usage, "{\"id\":1,\"op\":\"usage\",\"env\":2,\"text\":\"x\",\"name\":\"t\"}\n");
}

Test(lean_library, refuses_replies_that_are_of_no_use)
{
    static const struct {
        lean_op op;
        const char *frame;
    } cases[] = {
        {LEAN_OP_MODULES, "{\"id\":7,\"ok\":{}}"},
        {LEAN_OP_STATEMENTS, "{\"id\":7,\"ok\":{\"total\":3}}"},
        {LEAN_OP_STATEMENTS, "{\"id\":7,\"ok\":{\"theorems\":[{\"name\":\"a\"}]}}"},
        {LEAN_OP_STATEMENTS, "{\"id\":7,\"ok\":{\"theorems\":[{\"statements\":[{\"statement\":"
                             "\"s\",\"key\":\"1\"}]}]}}"},
        {LEAN_OP_STATEMENTS, "{\"id\":7,\"ok\":{\"theorems\":[{\"statements\":[{\"key\":"
                             "\"00000000000000000000000000000001\"}]}]}}"},
        {LEAN_OP_MUTATE, "{\"id\":7,\"ok\":{\"statements\":[]}}"},
        {LEAN_OP_USAGE, "{\"id\":7,\"ok\":{\"unused\":[]}}"},
    };

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        lean_call call = {.op = cases[i].op, .id = 7};
        lean_reply reply = {0};
        cr_expect(lean_protocol_decode(&call, cases[i].frame, strlen(cases[i].frame), &reply,
                                       NULL) == PV_E_PROTOCOL,
                  "%s", cases[i].frame);
        lean_reply_release(&reply);
    }
}

typedef struct answer {
    bool ended;
    pv_error failure;
    size_t theorems, statements, used, unused, modules;
    uint64_t total;
    char text[64];
} answer;

static void on_library(void *user, lean_ticket t, const lean_library *library,
                       const pv_error *failure)
{
    answer *a = user;
    (void)t;
    a->ended = true;
    if (failure != NULL) {
        a->failure = *failure;
        return;
    }
    a->theorems = library->theorem_count;
    a->total = library->total;
    a->modules = library->module_count;
    a->used = library->used_count;
    a->unused = library->unused_count;
    for (size_t i = 0; i < library->theorem_count; i++) {
        a->statements += library->theorems[i].statement_count;
        snprintf(a->text, sizeof a->text, "%s", library->theorems[i].statements[0].text);
    }
}

static answer ask(bridge *b, const lean_library_request *request)
{
    answer a = {0};
    cr_assert(lean_library_ask(b->env, request, NULL, on_library, &a, NULL) == PV_OK);
    bridge_wait(b, &a.ended);
    return a;
}

Test(lean_library, answers_through_the_pool, .timeout = 60)
{
    bridge b;
    bridge_begin(&b, NULL);
    lean_state_unref(bridge_goal(&b, 3)); /* makes the env */
    lean_library_request request = {.kind = LEAN_MODULES};
    answer a = ask(&b, &request);
    cr_expect(a.failure.status == PV_OK && a.modules == 1);
    request = (lean_library_request){
        .kind = LEAN_STATEMENTS, .module = "Fake.Zoo", .skip = 1, .limit = 5};
    a = ask(&b, &request);
    cr_expect(a.theorems == 2 && a.statements == 2 && a.total == 3);
    cr_expect_str_eq(a.text, "statement (h : P 0) : P 3");
    request = (lean_library_request){.kind = LEAN_MUTATE, .text = "theorem t : P 1", .name = "t"};
    a = ask(&b, &request);
    cr_expect(a.theorems == 1 && a.statements == 2);
    request.kind = LEAN_USAGE;
    a = ask(&b, &request);
    cr_expect(a.used == 2 && a.unused == 1);
    request = (lean_library_request){.kind = LEAN_MUTATE, .text = "wrong", .name = "t"};
    a = ask(&b, &request);
    cr_expect(a.failure.status == PV_E_INVALID);
    cr_expect(lean_library_ask(b.env, NULL, NULL, on_library, &a, NULL) == PV_E_MISUSE);
    request = (lean_library_request){.kind = LEAN_STATEMENTS};
    cr_expect(lean_library_ask(b.env, &request, NULL, on_library, &a, NULL) == PV_E_MISUSE);
    bridge_end(&b);
}

Test(lean_library, is_unsupported_by_the_community_repl, .timeout = 60)
{
    bridge b;
    pv_error err = {0};
    lean_library_request request = {.kind = LEAN_MODULES};
    bridge_begin_with(&b, "fake_repl", LEAN_DIALECT_COMMUNITY, NULL);
    lean_state_unref(bridge_goal(&b, 3));
    answer a = ask(&b, &request);
    cr_expect(a.failure.status == PV_E_UNSUPPORTED, "%s", a.failure.msg);
    pv_error_clear(&err);
    bridge_end(&b);
}
