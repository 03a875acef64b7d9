#include "lean_community_internal.h"
#include "lean_protocol.h"

#include <string.h>

static pv_status reject_proof(lean_talk *t, lean_reply *reply, const char *reason,
                              const char *message)
{
    reply->checked.verdict = LEAN_REJECTED;
    reply->checked.reason = reason;
    reply->checked.message = lean_arena_text(&t->arena, message, strlen(message));
    lean_talk_finish(t, reply);
    reply->checked.messages = reply->messages;
    reply->checked.message_count = reply->message_count;
    return PV_OK;
}

static pv_status accept_proof(lean_talk *t, lean_reply *reply)
{
    reply->checked.verdict = LEAN_ACCEPTED;
    reply->checked.axioms = t->axioms;
    reply->checked.axiom_count = t->axiom_count;
    lean_talk_finish(t, reply);
    reply->checked.messages = reply->messages;
    reply->checked.message_count = reply->message_count;
    return PV_OK;
}

bool lean_community_axioms(const char *text, lean_arena *arena, const char ***out, size_t *count)
{
    const char *p = strstr(text, "depends on axioms: [");
    if (p == NULL) {
        return strstr(text, "does not depend on any axioms") != NULL;
    }
    p = strchr(p, '[') + 1;
    const char **all = lean_arena_alloc(arena, *count + strlen(p) / 2 + 1, sizeof *all);
    if (all == NULL) {
        return false;
    }
    if (*count > 0) {
        memcpy(all, *out, *count * sizeof *all);
    }
    while (*p != '\0' && *p != ']') {
        p += strspn(p, ", \n");
        size_t n = strcspn(p, ", \n]");
        if (n > 0) {
            all[*count] = lean_arena_text(arena, p, n);
            *count += all[*count] != NULL;
        }
        p += n;
    }
    *out = all;
    return *p == ']';
}

/* The first axiom that a proof may not use; NULL when all are allowed. */
static const char *forbidden(const lean_talk *t)
{
    for (size_t i = 0; i < t->axiom_count; i++) {
        bool allowed = false;
        for (size_t k = 0; k < sizeof lean_allowed_axioms / sizeof *lean_allowed_axioms; k++) {
            allowed = allowed || strcmp(t->axioms[i], lean_allowed_axioms[k]) == 0;
        }
        if (!allowed) {
            return t->axioms[i];
        }
    }
    return NULL;
}

static pv_status put_print_axioms(const lean_call *call, pv_buf *out, pv_error *err)
{
    const lean_talk *t = call->memo;
    pv_buf text = {0};
    pv_buf_printf(&text, "#print axioms %s", call->names[t->step]);
    if (pv_buf_ok(&text)) {
        lean_talk_put_command(out, pv_buf_text(&text), &t->env);
    } else {
        pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    bool ok = pv_buf_ok(&text);
    pv_buf_release(&text);
    return ok ? PV_OK : PV_E_NOMEM;
}

/* White space in a name would let it end the command and begin another one. */
static bool is_one_word(const char *name)
{
    return *name != '\0' && strpbrk(name, " \t\r\n") == NULL;
}

static pv_status next_name(lean_call *call, pv_buf *out, lean_reply *reply, pv_error *err)
{
    lean_talk *t = call->memo;
    if (t->step == call->name_count) {
        return accept_proof(t, reply);
    }
    if (!is_one_word(call->names[t->step])) {
        return reject_proof(t, reply, "missing", "a name to check is no name");
    }
    return put_print_axioms(call, out, err);
}

static pv_status feed_candidate(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                                pv_error *err)
{
    lean_talk *t = call->memo;
    const char *error = lean_talk_first_error(json);
    t->env = lean_json_number(json, "env");
    lean_talk_take_messages(t, json, call->candidate, 0, strlen(call->candidate));
    if (error != NULL) {
        return reject_proof(t, reply, "error", error);
    }
    if (json_array_size(json_object_get(json, "sorries")) > 0) {
        return reject_proof(t, reply, "sorry", "the proof uses sorry");
    }
    if (!lean_source_fits(call->original, call->candidate)) {
        return reject_proof(t, reply, "statement",
                            "the text differs from the original outside its holes");
    }
    return next_name(call, out, reply, err);
}

static pv_status feed_axioms(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                             pv_error *err)
{
    lean_talk *t = call->memo;
    const json_t *list = json_object_get(json, "messages");
    const char *error = lean_talk_first_error(json);
    const char *text = json_string_value(json_object_get(json_array_get(list, 0), "data"));
    if (error != NULL) {
        return reject_proof(t, reply, "missing", error);
    }
    if (json_array_size(list) != 1 || text == NULL ||
        !lean_community_axioms(text, &t->arena, &t->axioms, &t->axiom_count)) {
        return reject_proof(t, reply, "axiom", "the axioms of the proof could not be read");
    }
    const char *axiom = forbidden(t);
    if (axiom != NULL) {
        return reject_proof(t, reply, strcmp(axiom, "sorryAx") == 0 ? "sorry" : "axiom", axiom);
    }
    return next_name(call, out, reply, err);
}

pv_status lean_talk_feed_check(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                               pv_error *err)
{
    const lean_talk *t = call->memo;
    return t->step == 0 ? feed_candidate(call, json, out, reply, err)
                        : feed_axioms(call, json, out, reply, err);
}
