#include "lean_community_internal.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <string.h>

static void enter_scope(lean_talk *t, const char *text)
{
    const lean_command_span *span = &t->span;
    if (pv_grow((void **)&t->scopes, &t->scope_capacity, t->scope_count + 1, sizeof *t->scopes) !=
        0) {
        t->failed = true;
        return;
    }
    t->scopes[t->scope_count++].length = t->prefix.len;
    if (strcmp(span->kind, "namespace") == 0) {
        pv_buf_append(&t->prefix, text + span->name, span->name_end - span->name);
        pv_buf_putc(&t->prefix, '.');
    }
}

static void follow_scopes(lean_talk *t, const char *text)
{
    const char *kind = t->span.kind;
    if (strcmp(kind, "namespace") == 0 || strcmp(kind, "section") == 0) {
        enter_scope(t, text);
    } else if (strcmp(kind, "end") == 0 && t->scope_count > 0) {
        t->prefix.len = t->scopes[--t->scope_count].length;
    }
}

static const char *full_name(lean_talk *t, const char *text)
{
    const lean_command_span *span = &t->span;
    size_t n = span->name_end - span->name;
    char *name = lean_arena_alloc(&t->arena, t->prefix.len + n + 1, 1);
    if (name == NULL || n == 0) {
        return "";
    }
    memcpy(name, pv_buf_text(&t->prefix), t->prefix.len);
    memcpy(name + t->prefix.len, text + span->name, n);
    return name;
}

static lean_position position_at(const char *text, size_t byte)
{
    lean_position p = {.byte = byte};
    pv_utf8_position(text, byte, &p.line, &p.column);
    return p;
}

static void take_decl(lean_talk *t, const char *text)
{
    if (pv_grow((void **)&t->decls, &t->decl_capacity, t->decl_count + 1, sizeof *t->decls) != 0) {
        t->failed = true;
        return;
    }
    bool prop = strcmp(t->span.kind, "theorem") == 0 || strcmp(t->span.kind, "lemma") == 0 ||
                strcmp(t->span.kind, "example") == 0;
    t->decls[t->decl_count++] = (lean_decl){
        .name = full_name(t, text),
        .kind = t->span.is_decl ? t->span.kind : "other",
        .type = "",
        .start = position_at(text, t->span.first),
        .end = position_at(text, t->span.end),
        .prop = prop,
    };
}

static void take_hole(lean_talk *t, const char *text, const json_t *json)
{
    const json_t *goal = json_object_get(json, "goal");
    size_t n = t->span.end - t->span.start;
    if (!json_is_integer(json_object_get(json, "proofState"))) {
        return; /* no state to work on */
    }
    if (pv_grow((void **)&t->holes, &t->hole_capacity, t->hole_count + 1, sizeof *t->holes) != 0) {
        t->failed = true;
        return;
    }
    lean_found_hole *found = &t->holes[t->hole_count];
    memset(found, 0, sizeof *found);
    found->decl = t->decl_count - 1;
    found->number = lean_json_number(json, "proofState");
    found->hole.start = lean_talk_position(text, t->span.start, n, json_object_get(json, "pos"));
    found->hole.end = lean_talk_position(text, t->span.start, n, json_object_get(json, "endPos"));
    found->hole.kind = lean_source_is_term(text, &t->span, found->hole.start.byte)
                           ? LEAN_HOLE_TERM
                           : LEAN_HOLE_TACTIC;
    found->hole.form = "";
    found->hole.prop = t->decls[found->decl].prop;
    t->failed = t->failed || !lean_talk_make_part(&t->arena, &goal, 1, &found->hole.part);
    t->hole_count++;
}

static void take_holes(lean_talk *t, const char *text, const json_t *reply)
{
    const json_t *list = json_object_get(reply, "sorries");
    if (t->span.is_decl || json_array_size(list) > 0) {
        take_decl(t, text);
    }
    for (size_t i = 0; i < json_array_size(list) && !t->failed; i++) {
        take_hole(t, text, json_array_get(list, i));
    }
}

static pv_status finish_open(lean_talk *t, lean_reply *reply)
{
    lean_decl *decls = lean_arena_alloc(&t->arena, t->decl_count, sizeof *decls);
    lean_hole *holes = lean_arena_alloc(&t->arena, t->hole_count, sizeof *holes);
    reply->arena = t->arena; /* so that the lists below lie in it, too */
    lean_talk_list_parts(reply, t->hole_count);
    t->arena = reply->arena;
    for (size_t i = 0; decls != NULL && i < t->decl_count; i++) {
        decls[i] = t->decls[i];
    }
    for (size_t i = 0; decls != NULL && holes != NULL && i < t->hole_count; i++) {
        lean_decl *decl = &decls[t->holes[i].decl];
        holes[i] = t->holes[i].hole;
        decl->holes = decl->hole_count == 0 ? &holes[i] : decl->holes;
        decl->hole_count++;
        lean_talk_list_part(reply, &holes[i].part, t->holes[i].number);
    }
    lean_talk_finish(t, reply);
    reply->opened = (lean_opened){reply->messages, reply->message_count, decls,
                                  decls == NULL ? 0 : t->decl_count};
    return PV_OK;
}

static pv_status put_next_command(lean_call *call, pv_buf *out, pv_error *err)
{
    lean_talk *t = call->memo;
    char *piece = pv_strndup(call->text + t->span.start, t->span.end - t->span.start);
    if (piece == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for a request to Lean");
    }
    lean_talk_put_command(out, piece, &t->env);
    pv_free(piece);
    return PV_OK;
}

pv_status lean_talk_feed_open(lean_call *call, const json_t *json, pv_buf *out, lean_reply *reply,
                              pv_error *err)
{
    lean_talk *t = call->memo;
    t->env = lean_json_number(json, "env");
    follow_scopes(t, call->text);
    lean_talk_take_messages(t, json, call->text, t->span.start, t->span.end - t->span.start);
    take_holes(t, call->text, json);
    if (lean_source_next(&t->source, &t->span)) {
        return put_next_command(call, out, err);
    }
    return finish_open(t, reply);
}

/* A text without any command still needs one answer. */
pv_status lean_talk_begin_open(lean_call *call, pv_buf *out, pv_error *err)
{
    lean_talk *t = call->memo;
    lean_source_init(&t->source, call->text);
    if (lean_source_next(&t->source, &t->span)) {
        return put_next_command(call, out, err);
    }
    lean_talk_put_command(out, "", &t->env);
    return PV_OK;
}
