#include "lean_protocol.h"

#include "lean_json.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

const char *const lean_allowed_axioms[3] = {"propext", "Quot.sound", "Classical.choice"};

/* ---- requests ---------------------------------------------------------------------------------------------------- */

static void put_texts(pv_buf *out, const char *name, const char *const *texts, size_t n)
{
    pv_buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        if (i > 0) {
            pv_buf_putc(out, ',');
        }
        lean_wire_put_string(out, texts[i], true);
    }
    pv_buf_putc(out, ']');
}

static void put_numbers(pv_buf *out, const char *name, const uint64_t *numbers, size_t n)
{
    pv_buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; i < n; i++) {
        pv_buf_printf(out, i > 0 ? ",%llu" : "%llu", (unsigned long long)numbers[i]);
    }
    pv_buf_putc(out, ']');
}

static void put_number(pv_buf *out, const char *name, uint64_t number)
{
    pv_buf_printf(out, ",\"%s\":%llu", name, (unsigned long long)number);
}

static void put_text(pv_buf *out, const char *name, const char *text)
{
    pv_buf_printf(out, ",\"%s\":", name);
    lean_wire_put_string(out, text, true);
}

static void put_check(pv_buf *out, const lean_call *call)
{
    put_number(out, "env", call->env);
    put_text(out, "original", call->original);
    put_text(out, call->op == LEAN_OP_REPLAY ? "declarations" : "candidate", call->candidate);
    if (call->fill_numbers > 0) {
        put_numbers(out, "fills", call->fills, call->fill_numbers);
        put_number(out, "data", call->fill_data);
    } else {
        put_texts(out, "names", call->names, call->name_count);
    }
    put_texts(out, "axioms", lean_allowed_axioms,
              sizeof lean_allowed_axioms / sizeof *lean_allowed_axioms);
    put_number(out, "heartbeats", call->heartbeats);
    if (call->exporting) {
        put_number(out, "export", 1);
    }
}

static void put_mutations(pv_buf *out, const lean_call *call)
{
    put_texts(out, "mutations", call->mutations, call->mutation_count);
    if (call->no_absurd) {
        put_number(out, "absurd", 0);
    }
}

static void put_theorem(pv_buf *out, const lean_call *call)
{
    put_number(out, "env", call->env);
    put_text(out, "text", call->text);
    put_text(out, "name", call->name);
}

static void put_fields(pv_buf *out, const lean_call *call)
{
    switch (call->op) {
    case LEAN_OP_HEADER:
        put_text(out, "text", call->text);
        break;
    case LEAN_OP_COMMAND:
    case LEAN_OP_OPEN:
        put_number(out, "env", call->env);
        put_text(out, "text", call->text);
        put_number(out, "heartbeats", call->heartbeats);
        break;
    case LEAN_OP_TRY:
        put_number(out, "state", call->state);
        put_texts(out, "tactics", call->tactics, call->tactic_count);
        put_number(out, "heartbeats", call->heartbeats);
        break;
    case LEAN_OP_FREE:
        put_numbers(out, "states", call->states, call->state_count);
        put_numbers(out, "envs", call->envs, call->env_count);
        break;
    case LEAN_OP_CHECK:
    case LEAN_OP_REPLAY:
        put_check(out, call);
        break;
    case LEAN_OP_MODULES:
        put_number(out, "env", call->env);
        break;
    case LEAN_OP_STATEMENTS:
        put_number(out, "env", call->env);
        put_text(out, "module", call->text);
        put_number(out, "skip", call->skip);
        put_number(out, "limit", call->limit);
        put_mutations(out, call);
        break;
    case LEAN_OP_MUTATE:
        put_theorem(out, call);
        put_mutations(out, call);
        break;
    case LEAN_OP_USAGE:
        put_theorem(out, call);
        break;
    case LEAN_OP_MEMORY:
        break;
    }
}

pv_status lean_protocol_encode(const lean_call *call, pv_buf *out, pv_error *err)
{
    static const char *const names[LEAN_OP_COUNT] = {"header",     "command", "open",   "try",
                                                     "free",       "check",   "memory", "modules",
                                                     "statements", "mutate",  "usage",  "replay"};
    size_t before = out->len;
    bool fills = call->op == LEAN_OP_CHECK && call->fill_numbers > 0;
    pv_buf_printf(out, "{\"id\":%llu,\"op\":\"%s\"", (unsigned long long)call->id,
                  fills ? "fill" : names[call->op]);
    put_fields(out, call);
    pv_buf_putc(out, '}');
    lean_wire_end_request(LEAN_FRAMING_LINE, out);
    pv_status status = PV_OK;
    if (!pv_buf_ok(out)) {
        status = pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    } else if (out->len - before > LEAN_WIRE_REQUEST_MAX) {
        status = pv_fail(err, PV_E_LIMIT,
                         "a request to Lean has %zu bytes and %d are allowed: split the text",
                         out->len - before, LEAN_WIRE_REQUEST_MAX);
    }
    if (status != PV_OK && out->len > before) {
        out->len = before;
        out->data[before] = '\0';
    }
    return status;
}

/* ---- pieces of replies ------------------------------------------------------------------------------------------- */

static lean_position position_of(const json_t *json)
{
    lean_position position = {(size_t)lean_json_number(json, "line"),
                              (size_t)lean_json_number(json, "column"),
                              (size_t)lean_json_number(json, "byte")};
    return position;
}

static lean_severity severity_of(const json_t *json)
{
    const char *text = json_string_value(json_object_get(json, "severity"));
    if (text != NULL && strcmp(text, "error") == 0) {
        return LEAN_ERROR;
    }
    return text != NULL && strcmp(text, "warning") == 0 ? LEAN_WARNING : LEAN_INFO;
}

static void take_messages(lean_reply *reply, const json_t *body)
{
    const json_t *list = json_object_get(body, "messages");
    size_t n = json_array_size(list);
    lean_message *messages = lean_arena_alloc(&reply->arena, n, sizeof *messages);
    for (size_t i = 0; messages != NULL && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        messages[i].severity = severity_of(item);
        messages[i].start = position_of(json_object_get(item, "pos"));
        const json_t *end = json_object_get(item, "endPos");
        messages[i].end = json_is_object(end) ? position_of(end) : messages[i].start;
        messages[i].text = lean_json_text(&reply->arena, item, "text");
    }
    reply->messages = messages;
    reply->message_count = messages == NULL ? 0 : n;
}

/* A part without a state number or a key cannot be used: the reply is refused. */
static bool take_part(lean_reply *reply, const json_t *json, lean_part *part)
{
    const char *key = json_string_value(json_object_get(json, "key"));
    const json_t *state = json_object_get(json, "state");
    const json_t *list = json_object_get(json, "goals");
    if (key == NULL || !pv_key_parse(key, &part->key) || !json_is_integer(state) ||
        !json_is_array(list)) {
        return false;
    }
    size_t n = json_array_size(list);
    const char **goals = lean_arena_alloc(&reply->arena, n, sizeof *goals);
    for (size_t i = 0; goals != NULL && i < n; i++) {
        goals[i] = lean_json_text(&reply->arena, json_array_get(list, i), "text");
    }
    part->goals = goals;
    part->goal_count = goals == NULL ? 0 : n;
    if (reply->parts != NULL && reply->numbers != NULL) {
        reply->parts[reply->part_count] = part;
        reply->numbers[reply->part_count++] = (uint64_t)json_integer_value(state);
    }
    return true;
}

static void expect_parts(lean_reply *reply, size_t n)
{
    reply->parts = lean_arena_alloc(&reply->arena, n, sizeof(lean_part *));
    reply->numbers = lean_arena_alloc(&reply->arena, n, sizeof *reply->numbers);
}

/* ---- open -------------------------------------------------------------------------------------------------------- */

static bool take_hole(lean_reply *reply, const json_t *json, lean_hole *hole)
{
    const char *kind = json_string_value(json_object_get(json, "kind"));
    hole->start = position_of(json_object_get(json, "pos"));
    hole->end = position_of(json_object_get(json, "endPos"));
    hole->kind = kind != NULL && strcmp(kind, "term") == 0 ? LEAN_HOLE_TERM : LEAN_HOLE_TACTIC;
    hole->form = lean_json_text(&reply->arena, json, "form");
    hole->outer = (size_t)lean_json_number(json, "outer");
    hole->prop = json_is_true(json_object_get(json, "prop"));
    return take_part(reply, json_object_get(json, "part"), &hole->part);
}

static bool take_decl(lean_reply *reply, const json_t *json, lean_decl *decl)
{
    decl->name = lean_json_text(&reply->arena, json, "name");
    decl->kind = lean_json_text(&reply->arena, json, "kind");
    decl->type = lean_json_text(&reply->arena, json, "type");
    decl->start = position_of(json_object_get(json, "pos"));
    decl->end = position_of(json_object_get(json, "endPos"));
    decl->prop = json_is_true(json_object_get(json, "prop"));
    const json_t *list = json_object_get(json, "holes");
    size_t n = json_array_size(list);
    lean_hole *holes = lean_arena_alloc(&reply->arena, n, sizeof *holes);
    for (size_t i = 0; holes != NULL && i < n; i++) {
        if (!take_hole(reply, json_array_get(list, i), &holes[i])) {
            return false;
        }
    }
    decl->holes = holes;
    decl->hole_count = holes == NULL ? 0 : n;
    return true;
}

static bool take_opened(lean_reply *reply, const json_t *body)
{
    const json_t *list = json_object_get(body, "decls");
    size_t n = json_array_size(list);
    size_t holes = 0;
    for (size_t i = 0; i < n; i++) {
        holes += json_array_size(json_object_get(json_array_get(list, i), "holes"));
    }
    expect_parts(reply, holes);
    lean_decl *decls = lean_arena_alloc(&reply->arena, n, sizeof *decls);
    for (size_t i = 0; decls != NULL && i < n; i++) {
        if (!take_decl(reply, json_array_get(list, i), &decls[i])) {
            return false;
        }
    }
    reply->opened.messages = reply->messages;
    reply->opened.message_count = reply->message_count;
    reply->opened.decls = decls;
    reply->opened.decl_count = decls == NULL ? 0 : n;
    return true;
}

/* ---- try --------------------------------------------------------------------------------------------------------- */

static bool take_order(lean_reply *reply, const json_t *result)
{
    const json_t *list = json_object_get(result, "order");
    size_t n = json_array_size(list);
    uint32_t *order = lean_arena_alloc(&reply->arena, n, sizeof *order);
    for (size_t i = 0; order != NULL && i < n; i++) {
        json_int_t part = json_integer_value(json_array_get(list, i));
        if (part < 0 || (size_t)part >= reply->tried.part_count) {
            return false;
        }
        order[i] = (uint32_t)part;
    }
    reply->tried.order = order;
    reply->tried.goal_count = order == NULL ? 0 : n;
    return true;
}

static bool take_open_result(lean_reply *reply, const json_t *result)
{
    const json_t *list = json_object_get(result, "parts");
    size_t n = json_array_size(list);
    if (n == 0) {
        return false;
    }
    expect_parts(reply, n);
    lean_part *parts = lean_arena_alloc(&reply->arena, n, sizeof *parts);
    for (size_t i = 0; parts != NULL && i < n; i++) {
        if (!take_part(reply, json_array_get(list, i), &parts[i])) {
            return false;
        }
    }
    reply->tried.parts = parts;
    reply->tried.part_count = parts == NULL ? 0 : n;
    return parts == NULL || take_order(reply, result);
}

static bool take_result(lean_reply *reply, const json_t *result)
{
    const char *status = json_string_value(json_object_get(result, "status"));
    lean_tried *tried = &reply->tried;
    tried->ms = json_number_value(json_object_get(result, "ms"));
    if (status == NULL) {
        return false;
    }
    if (strcmp(status, "closed") == 0) {
        tried->kind = LEAN_TRY_CLOSED;
        return true;
    }
    if (strcmp(status, "open") == 0) {
        tried->kind = LEAN_TRY_OPEN;
        return take_open_result(reply, result);
    }
    tried->message = lean_json_text(&reply->arena, result, "message");
    tried->kind = strcmp(status, "heartbeats") == 0 ? LEAN_TRY_TIMED_OUT : LEAN_TRY_FAILED;
    return tried->kind == LEAN_TRY_TIMED_OUT || strcmp(status, "failed") == 0;
}

/* The strings of an array; what is no string is left out. */
static const char **take_texts(lean_reply *reply, const json_t *list, size_t *count)
{
    const char **texts = lean_arena_alloc(&reply->arena, json_array_size(list), sizeof *texts);
    *count = 0;
    for (size_t i = 0; texts != NULL && i < json_array_size(list); i++) {
        const char *text = json_string_value(json_array_get(list, i));
        char *copy = text == NULL ? NULL : lean_arena_text(&reply->arena, text, strlen(text));
        texts[*count] = copy;
        *count += copy != NULL;
    }
    return texts;
}

/* ---- check ------------------------------------------------------------------------------------------------------- */

static bool has_text(const char *const *texts, size_t n, const char *text)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(texts[i], text) == 0) {
            return true;
        }
    }
    return false;
}

/* The axioms of all declarations, each once. */
static void take_axioms(lean_reply *reply, const json_t *decls)
{
    size_t most = 0;
    for (size_t i = 0; i < json_array_size(decls); i++) {
        most += json_array_size(json_object_get(json_array_get(decls, i), "axioms"));
    }
    const char **axioms = lean_arena_alloc(&reply->arena, most, sizeof *axioms);
    size_t count = 0;
    for (size_t i = 0; axioms != NULL && i < json_array_size(decls); i++) {
        const json_t *list = json_object_get(json_array_get(decls, i), "axioms");
        for (size_t k = 0; k < json_array_size(list); k++) {
            const char *name = json_string_value(json_array_get(list, k));
            if (name != NULL && !has_text(axioms, count, name)) {
                char *copy = lean_arena_text(&reply->arena, name, strlen(name));
                axioms[count] = copy;
                count += copy != NULL;
            }
        }
    }
    reply->checked.axioms = axioms;
    reply->checked.axiom_count = count;
}

/* Each declaration with its own axioms. */
static void take_checked_decls(lean_reply *reply, const json_t *list)
{
    size_t n = json_array_size(list);
    lean_checked_decl *decls = lean_arena_alloc(&reply->arena, n, sizeof *decls);
    for (size_t i = 0; decls != NULL && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        decls[i].name = lean_json_text(&reply->arena, item, "name");
        decls[i].axioms = take_texts(reply, json_object_get(item, "axioms"), &decls[i].axiom_count);
    }
    reply->checked.decls = decls;
    reply->checked.decl_count = decls == NULL ? 0 : n;
}

/* Acceptance only on the very word: anything else is a rejection or a fault of the server. */
static bool take_checked(lean_reply *reply, const json_t *body)
{
    const char *verdict = json_string_value(json_object_get(body, "verdict"));
    lean_checked *checked = &reply->checked;
    checked->messages = reply->messages;
    checked->message_count = reply->message_count;
    checked->verdict = LEAN_REJECTED;
    if (verdict == NULL) {
        return false;
    }
    if (strcmp(verdict, "accepted") == 0) {
        checked->verdict = LEAN_ACCEPTED;
        take_axioms(reply, json_object_get(body, "declarations"));
        take_checked_decls(reply, json_object_get(body, "declarations"));
        if (json_is_string(json_object_get(body, "export"))) {
            checked->exported = lean_json_text(&reply->arena, body, "export");
        }
        return true;
    }
    checked->reason = lean_json_text(&reply->arena, body, "reason");
    checked->message = lean_json_text(&reply->arena, body, "message");
    return strcmp(verdict, "rejected") == 0;
}

/* ---- the library ------------------------------------------------------------------------------------------------- */

static bool take_modules(lean_reply *reply, const json_t *body)
{
    const json_t *list = json_object_get(body, "modules");
    size_t n = json_array_size(list);
    lean_module *modules = lean_arena_alloc(&reply->arena, n, sizeof *modules);
    for (size_t i = 0; modules != NULL && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        modules[i].name = lean_json_text(&reply->arena, item, "module");
        modules[i].theorem_count = lean_json_number(item, "theorems");
    }
    reply->library.modules = modules;
    reply->library.module_count = modules == NULL ? 0 : n;
    return json_is_array(list);
}

static bool take_key(const json_t *object, pv_key *out)
{
    const char *key = json_string_value(json_object_get(object, "key"));
    return key != NULL && pv_key_parse(key, out);
}

/* A statement without a key or a text is of no use: the reply is refused. */
static bool take_theorem(lean_reply *reply, const json_t *json, lean_library_theorem *out)
{
    const json_t *list = json_object_get(json, "statements");
    size_t n = json_array_size(list);
    lean_statement *statements = lean_arena_alloc(&reply->arena, n, sizeof *statements);
    out->name = lean_json_text(&reply->arena, json, "name");
    for (size_t i = 0; statements != NULL && i < n; i++) {
        const json_t *item = json_array_get(list, i);
        statements[i].kind = lean_json_text(&reply->arena, item, "kind");
        statements[i].text = lean_json_text(&reply->arena, item, "statement");
        if (json_is_string(json_object_get(item, "absurd"))) {
            statements[i].absurd = lean_json_text(&reply->arena, item, "absurd");
        }
        if (!take_key(item, &statements[i].key) ||
            !json_is_string(json_object_get(item, "statement"))) {
            return false;
        }
    }
    out->statements = statements;
    out->statement_count = statements == NULL ? 0 : n;
    return json_is_array(list);
}

static bool take_statements(lean_reply *reply, const json_t *body)
{
    const json_t *list = json_object_get(body, "theorems");
    size_t n = json_array_size(list);
    lean_library_theorem *theorems = lean_arena_alloc(&reply->arena, n, sizeof *theorems);
    for (size_t i = 0; theorems != NULL && i < n; i++) {
        if (!take_theorem(reply, json_array_get(list, i), &theorems[i])) {
            return false;
        }
    }
    reply->library.theorems = theorems;
    reply->library.theorem_count = theorems == NULL ? 0 : n;
    reply->library.total = lean_json_number(body, "total");
    return json_is_array(list);
}

static bool take_mutants(lean_reply *reply, const json_t *body)
{
    lean_library_theorem *theorem = lean_arena_alloc(&reply->arena, 1, sizeof *theorem);
    reply->library.theorems = theorem;
    reply->library.theorem_count = theorem != NULL;
    return take_key(body, &reply->library.key) &&
           (theorem == NULL || take_theorem(reply, body, theorem));
}

static bool take_usage(lean_reply *reply, const json_t *body)
{
    const json_t *unused = json_object_get(body, "unused");
    const json_t *used = json_object_get(body, "theorems");
    lean_library *library = &reply->library;
    library->unused = take_texts(reply, unused, &library->unused_count);
    library->used = take_texts(reply, used, &library->used_count);
    return json_is_array(unused) && json_is_array(used);
}

/* ---- whole replies ----------------------------------------------------------------------------------------------- */

static bool take_env(lean_reply *reply, const json_t *body)
{
    const json_t *env = json_object_get(body, "env");
    reply->env = (uint64_t)json_integer_value(env);
    return json_is_integer(env);
}

static bool take_ok(const lean_call *call, lean_reply *reply, const json_t *body)
{
    reply->kind = LEAN_REPLY_DONE;
    take_messages(reply, body);
    switch (call->op) {
    case LEAN_OP_HEADER:
    case LEAN_OP_COMMAND:
        return take_env(reply, body);
    case LEAN_OP_OPEN:
        return take_env(reply, body) && take_opened(reply, body);
    case LEAN_OP_TRY:
        return call->answered == call->tactic_count;
    case LEAN_OP_CHECK:
    case LEAN_OP_REPLAY:
        return take_checked(reply, body);
    case LEAN_OP_MODULES:
        return take_modules(reply, body);
    case LEAN_OP_STATEMENTS:
        return take_statements(reply, body);
    case LEAN_OP_MUTATE:
        return take_mutants(reply, body);
    case LEAN_OP_USAGE:
        return take_usage(reply, body);
    case LEAN_OP_FREE:
    case LEAN_OP_MEMORY:
        break;
    }
    return true;
}

static lean_fault fault_of(const char *kind)
{
    if (strcmp(kind, "unknown_env") == 0 || strcmp(kind, "unknown_state") == 0) {
        return LEAN_FAULT_HANDLE;
    }
    if (strcmp(kind, "import") == 0 || strcmp(kind, "elaboration") == 0) {
        return LEAN_FAULT_SOURCE;
    }
    return LEAN_FAULT_INTERNAL;
}

static bool take_error(lean_reply *reply, const json_t *error)
{
    const char *kind = json_string_value(json_object_get(error, "kind"));
    reply->kind = LEAN_REPLY_ERROR;
    reply->fault = kind == NULL ? LEAN_FAULT_INTERNAL : fault_of(kind);
    reply->message = lean_json_text(&reply->arena, error, "message");
    take_messages(reply, error);
    return kind != NULL;
}

static bool take_item(lean_reply *reply, const json_t *root)
{
    reply->kind = LEAN_REPLY_ITEM;
    reply->at = (size_t)lean_json_number(root, "at");
    return take_result(reply, json_object_get(root, "result"));
}

/* Ours, and what is expected now? Tactics print what they like, and only the id tells. */
static bool answers(const lean_call *call, const json_t *root)
{
    const json_t *id = json_object_get(root, "id");
    if (!json_is_integer(id) || (uint64_t)json_integer_value(id) != call->id) {
        return false;
    }
    const json_t *at = json_object_get(root, "at");
    return at == NULL ||
           (call->op == LEAN_OP_TRY && call->answered < call->tactic_count && json_is_integer(at) &&
            json_integer_value(at) == (json_int_t)call->answered);
}

static bool take(const lean_call *call, lean_reply *reply, const json_t *root)
{
    if (json_object_get(root, "at") != NULL) {
        return take_item(reply, root);
    }
    const json_t *error = json_object_get(root, "error");
    if (error != NULL) {
        return take_error(reply, error);
    }
    const json_t *body = json_object_get(root, "ok");
    return json_is_object(body) && take_ok(call, reply, body);
}

pv_status lean_protocol_decode(const lean_call *call, const char *frame, size_t n,
                               lean_reply *reply, pv_error *err)
{
    json_t *root = NULL;
    pv_status status = lean_json_parse(frame, n, &root, err);
    if (status != PV_OK) {
        return status;
    }
    if (root == NULL || !answers(call, root)) {
        reply->stale = true;
        json_decref(root);
        return PV_OK;
    }
    bool well_formed = take(call, reply, root);
    if (!lean_arena_ok(&reply->arena)) {
        status = pv_fail(err, PV_E_NOMEM, "no memory for a reply of %zu bytes", n);
    } else if (!well_formed) {
        status = pv_fail(err, PV_E_PROTOCOL, "a reply of the Lean server is ill-formed: %.*s",
                         (int)(n < 300 ? n : 300), frame);
    }
    json_decref(root);
    return status;
}

pv_status lean_protocol_greeting(const char *frame, size_t n, lean_greeting *out, pv_error *err)
{
    json_t *root = NULL;
    pv_status status = lean_json_parse(frame, n, &root, err);
    if (status != PV_OK) {
        return status;
    }
    const json_t *protocol = json_object_get(root, "protocol");
    if (json_is_string(json_object_get(root, "hello"))) {
        if (!json_is_integer(protocol) || json_integer_value(protocol) != LEAN_PROTOCOL_VERSION) {
            status = pv_fail(err, PV_E_UNSUPPORTED,
                             "the Lean server speaks protocol %lld and this program speaks %d: "
                             "use the lean/ folder that came with the program",
                             (long long)json_integer_value(protocol), LEAN_PROTOCOL_VERSION);
        }
        const char *version = json_string_value(json_object_get(root, "lean"));
        snprintf(out->version, sizeof out->version, "%s", version == NULL ? "unknown" : version);
        out->complete = status == PV_OK;
    }
    json_decref(root);
    return status;
}

/* ---- the vtable -------------------------------------------------------------------------------------------------- */

static pv_status greet(pv_buf *out, pv_error *err)
{
    (void)out;
    (void)err;
    return PV_OK; /* the server speaks first */
}

static pv_status begin(lean_call *call, pv_buf *out, pv_error *err)
{
    call->answered = 0;
    return lean_protocol_encode(call, out, err);
}

static pv_status feed(lean_call *call, const char *frame, size_t n, pv_buf *out, lean_reply *reply,
                      pv_error *err)
{
    (void)out;
    pv_status status = lean_protocol_decode(call, frame, n, reply, err);
    if (status == PV_OK && reply->kind == LEAN_REPLY_ITEM) {
        call->answered++;
    }
    return status;
}

const lean_dialect_ops *lean_protocol_ops(void)
{
    static const lean_dialect_ops ops = {
        .name = "prover",
        .framing = LEAN_FRAMING_LINE,
        .can_free = true,
        .greet = greet,
        .greeted = lean_protocol_greeting,
        .begin = begin,
        .feed = feed,
    };
    return &ops;
}

void lean_reply_release(lean_reply *reply)
{
    lean_arena_release(&reply->arena);
}
