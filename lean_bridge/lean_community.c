#include "lean_community_internal.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

static void end_call(lean_call *call)
{
    lean_talk *t = call->memo;
    call->memo = NULL;
    if (t != NULL) {
        lean_arena_release(&t->arena);
        pv_buf_release(&t->prefix);
        pv_free(t->scopes);
        pv_free(t->messages);
        pv_free(t->decls);
        pv_free(t->holes);
        pv_free(t);
    }
}

/* One tactic only is parsed, so the text goes into parentheses; options of the header do not reach it. */
static void put_tactic(pv_buf *out, const lean_call *call, const char *tactic)
{
    pv_buf text = {0};
    pv_buf_printf(&text, "set_option maxHeartbeats %llu in\n(\n  ",
                  (unsigned long long)call->heartbeats);
    for (const char *c = tactic; *c != '\0'; c++) {
        pv_buf_putc(&text, *c);
        if (*c == '\n') {
            pv_buf_puts(&text, "  ");
        }
    }
    pv_buf_puts(&text, "\n)");
    out->failed = out->failed || !pv_buf_ok(&text);
    pv_buf_puts(out, "{\"tactic\":");
    lean_wire_put_string(out, pv_buf_text(&text), false);
    lean_talk_put_number(out, "proofState", call->state);
    pv_buf_putc(out, '}');
    lean_wire_end_request(LEAN_FRAMING_BLANK_LINE, out);
    pv_buf_release(&text);
}

static pv_status check_buffer(const pv_buf *out, pv_error *err)
{
    if (!pv_buf_ok(out)) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    if (out->len > LEAN_WIRE_REQUEST_MAX) {
        return pv_fail(err, PV_E_LIMIT,
                       "a request to Lean has %zu bytes and %d are allowed: split the text",
                       out->len, LEAN_WIRE_REQUEST_MAX);
    }
    return PV_OK;
}

static pv_status refuse(lean_reply *reply, lean_fault fault, const char *message)
{
    reply->kind = LEAN_REPLY_ERROR;
    reply->fault = fault;
    reply->message = lean_arena_text(&reply->arena, message, strlen(message));
    if (reply->message == NULL) {
        reply->message = "";
    }
    return PV_OK;
}

/* ---- header and command ------------------------------------------------------------------------------------------ */

static const char PROBE[] = "#check @Nat.rec";

static pv_status feed_header(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply)
{
    lean_talk *t = call->memo;
    const char *error = lean_talk_first_error(json);
    if (t->step == 0) {
        if (error != NULL) {
            return refuse(reply, LEAN_FAULT_SOURCE, error);
        }
        t->env = lean_json_number(json, "env");
        lean_talk_take_messages(t, json, call->text, 0, strlen(call->text));
        lean_talk_put_command(out, PROBE, &t->env);
        return PV_OK;
    }
    if (error != NULL) {
        return refuse(reply, LEAN_FAULT_SOURCE,
                      "an import of the header failed: the REPL does not say which; check that the "
                      "modules are built in the project that it runs in");
    }
    return lean_talk_finish(t, reply);
}

static pv_status feed_command(lean_call *call, const json_t *json, lean_reply *reply)
{
    lean_talk *t = call->memo;
    t->env = lean_json_number(json, "env");
    lean_talk_take_messages(t, json, call->text, 0, strlen(call->text));
    return lean_talk_finish(t, reply);
}

/* ---- try --------------------------------------------------------------------------------------------------------- */

static bool ran_out(const char *message)
{
    return strstr(message, "maximum number of heartbeats") != NULL ||
           strstr(message, "(deterministic) timeout") != NULL;
}

static void answer_failed(lean_reply *reply, const char *message)
{
    reply->tried.kind = ran_out(message) ? LEAN_TRY_TIMED_OUT : LEAN_TRY_FAILED;
    reply->tried.message = lean_arena_text(&reply->arena, message, strlen(message));
}

/* Goals that the REPL reports are one part: it does not say which of them share metavariables. */
static void answer_open(lean_reply *reply, const json_t *json, const json_t *list)
{
    size_t n = json_array_size(list);
    lean_part *part = lean_arena_alloc(&reply->arena, 1, sizeof *part);
    const json_t **texts = lean_arena_alloc(&reply->arena, n, sizeof *texts);
    uint32_t *order = lean_arena_alloc(&reply->arena, n, sizeof *order);
    for (size_t i = 0; texts != NULL && i < n; i++) {
        texts[i] = json_array_get(list, i);
    }
    if (part == NULL || texts == NULL || order == NULL ||
        !lean_talk_make_part(&reply->arena, texts, n, part)) {
        reply->arena.failed = true;
        return;
    }
    lean_talk_list_parts(reply, 1);
    lean_talk_list_part(reply, part, lean_json_number(json, "proofState"));
    reply->tried.kind = LEAN_TRY_OPEN;
    reply->tried.parts = part;
    reply->tried.part_count = 1;
    reply->tried.order = order; /* all zero */
    reply->tried.goal_count = n;
}

/* A failing tactic can look like success: the reply counts only without error messages and sorries. */
static void answer_step(lean_reply *reply, const json_t *json)
{
    const char *error = lean_talk_refusal(json);
    const char *status = json_string_value(json_object_get(json, "proofStatus"));
    const json_t *goals = json_object_get(json, "goals");
    error = error == NULL ? lean_talk_first_error(json) : error;
    if (error != NULL) {
        answer_failed(reply, error);
    } else if (json_array_size(json_object_get(json, "sorries")) > 0) {
        answer_failed(reply, "the tactic leaves a sorry");
    } else if (json_array_size(goals) > 0) {
        answer_open(reply, json, goals);
    } else if (status != NULL &&
               (strncmp(status, "Incomplete", 10) == 0 || strncmp(status, "Error", 5) == 0)) {
        answer_failed(reply, status); /* Lean 4.19 and later check what they closed */
    } else {
        reply->tried.kind = LEAN_TRY_CLOSED;
    }
}

static pv_status feed_try(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply)
{
    const char *error = lean_talk_refusal(json);
    if (error != NULL && strncmp(error, "Unknown proof", 13) == 0) {
        return refuse(reply, LEAN_FAULT_HANDLE, error);
    }
    answer_step(reply, json);
    reply->kind = LEAN_REPLY_ITEM;
    reply->at = call->answered++;
    reply->last = call->answered == call->tactic_count;
    if (!reply->last) {
        put_tactic(out, call, call->tactics[call->answered]);
    }
    return PV_OK;
}

/* ---- the vtable -------------------------------------------------------------------------------------------------- */

static pv_status greet(pv_buf *out, pv_error *err)
{
    lean_talk_put_command(out, "#eval Lean.versionString", NULL);
    return check_buffer(out, err);
}

/* The REPL says nothing by itself: the first answer is its greeting. */
static pv_status greeted(const char *frame, size_t n, lean_greeting *out, pv_error *err)
{
    json_t *json = NULL;
    pv_status status = lean_json_parse(frame, n, &json, err);
    if (status != PV_OK) {
        return status;
    }
    if (json_object_get(json, "env") != NULL) {
        const json_t *message = json_array_get(json_object_get(json, "messages"), 0);
        const char *text = json_string_value(json_object_get(message, "data"));
        text = text == NULL ? "unknown" : text;
        text += *text == '"';
        snprintf(out->version, sizeof out->version, "%.*s", (int)strcspn(text, "\""), text);
        out->complete = true;
    } else if (lean_talk_refusal(json) != NULL) {
        status = pv_fail(err, PV_E_PROTOCOL, "the REPL refused its first request: %.300s",
                         lean_talk_refusal(json));
    }
    json_decref(json);
    return status;
}

static pv_status begin_text(lean_call *call, pv_buf *out, pv_error *err)
{
    switch (call->op) {
    case LEAN_OP_HEADER:
        lean_talk_put_command(out, call->text, NULL);
        return PV_OK;
    case LEAN_OP_COMMAND:
        lean_talk_put_command(out, call->text, &call->env);
        return PV_OK;
    case LEAN_OP_OPEN:
        return lean_talk_begin_open(call, out, err);
    case LEAN_OP_CHECK:
        if (call->fill_numbers > 0) {
            break;
        }
        lean_talk_put_command(out, call->candidate, &call->env);
        return PV_OK;
    case LEAN_OP_TRY:
        put_tactic(out, call, call->tactics[0]);
        return PV_OK;
    case LEAN_OP_FREE:
    case LEAN_OP_MEMORY:
    case LEAN_OP_MODULES:
    case LEAN_OP_STATEMENTS:
    case LEAN_OP_MUTATE:
    case LEAN_OP_USAGE:
    case LEAN_OP_REPLAY:
        break;
    }
    return pv_fail(err, PV_E_UNSUPPORTED,
                   "the community REPL can neither free states, nor report its memory, nor list "
                   "theorems: use the Lean server that comes with the program");
}

static pv_status begin(lean_call *call, pv_buf *out, pv_error *err)
{
    lean_talk *t = pv_calloc(1, sizeof *t);
    call->memo = t;
    call->answered = 0;
    if (t == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    t->env = call->env;
    pv_status status = begin_text(call, out, err);
    if (status == PV_OK) {
        status = check_buffer(out, err);
    }
    if (status != PV_OK) {
        end_call(call);
    }
    return status;
}

static pv_status feed_op(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                         pv_error *err)
{
    switch (call->op) {
    case LEAN_OP_HEADER:
        return feed_header(call, json, out, reply);
    case LEAN_OP_COMMAND:
        return feed_command(call, json, reply);
    case LEAN_OP_OPEN:
        return lean_talk_feed_open(call, json, out, reply, err);
    case LEAN_OP_TRY:
        return feed_try(call, json, out, reply);
    case LEAN_OP_CHECK:
        return lean_talk_feed_check(call, json, out, reply, err);
    case LEAN_OP_FREE:
    case LEAN_OP_MEMORY:
    case LEAN_OP_MODULES:
    case LEAN_OP_STATEMENTS:
    case LEAN_OP_MUTATE:
    case LEAN_OP_USAGE:
    case LEAN_OP_REPLAY:
        break;
    }
    return PV_OK;
}

/* Nobody wants the rest; the texts of the call may be gone. */
static pv_status feed_abandoned(const lean_call *call, lean_reply *reply)
{
    reply->kind = LEAN_REPLY_DONE;
    reply->env = call->env;
    return PV_OK;
}

static pv_status feed_json(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                           pv_error *err)
{
    lean_talk *t = call->memo;
    if (call->abandoned) {
        return feed_abandoned(call, reply);
    }
    const char *error = call->op == LEAN_OP_TRY ? NULL : lean_talk_refusal(json);
    if (error != NULL) {
        bool unknown = strncmp(error, "Unknown env", 11) == 0;
        return refuse(reply, unknown ? LEAN_FAULT_HANDLE : LEAN_FAULT_INTERNAL, error);
    }
    pv_status status = feed_op(call, json, out, reply, err);
    t->step++;
    if (status == PV_OK && (t->failed || !pv_buf_ok(&t->prefix) || !lean_arena_ok(&t->arena) ||
                            !lean_arena_ok(&reply->arena))) {
        status = pv_fail(err, PV_E_NOMEM, "no memory for a reply of the REPL");
    }
    return status == PV_OK && out->len > 0 ? check_buffer(out, err) : status;
}

/* Without ids, an object counts as a reply when it has the fields of one. */
static bool looks_like_reply(const json_t *json)
{
    return json_object_get(json, "env") != NULL || json_object_get(json, "proofState") != NULL ||
           json_object_get(json, "message") != NULL;
}

static pv_status feed(lean_call *call, const char *frame, size_t n, pv_buf *out, lean_reply *reply,
                      pv_error *err)
{
    json_t *json = NULL;
    pv_status status = lean_json_parse(frame, n, &json, err);
    if (status == PV_OK && (json == NULL || !looks_like_reply(json))) {
        reply->stale = true;
    } else if (status == PV_OK) {
        status = feed_json(call, json, out, reply, err);
    }
    json_decref(json);
    return status;
}

const lean_dialect_ops *lean_community_ops(void)
{
    static const lean_dialect_ops ops = {
        .name = "community",
        .framing = LEAN_FRAMING_BLANK_LINE,
        .can_free = false,
        .greet = greet,
        .greeted = greeted,
        .begin = begin,
        .feed = feed,
        .end = end_call,
    };
    return &ops;
}
