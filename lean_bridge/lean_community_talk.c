#include "lean_community_internal.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <ctype.h>
#include <string.h>

/* ---- requests ---------------------------------------------------------------------------------------------------- */

void lean_talk_put_number(pv_buf *out, const char *name, uint64_t number)
{
    pv_buf_printf(out, ",\"%s\":%llu", name, (unsigned long long)number);
}

/* Raw UTF-8: old versions of Lean read a surrogate pair as two broken characters. */
void lean_talk_put_command(pv_buf *out, const char *text, const uint64_t *env)
{
    pv_buf_puts(out, "{\"cmd\":");
    lean_wire_put_string(out, text, false);
    if (env != NULL) {
        lean_talk_put_number(out, "env", *env);
    }
    pv_buf_putc(out, '}');
    lean_wire_end_request(LEAN_FRAMING_BLANK_LINE, out);
}

/* ---- pieces of replies ------------------------------------------------------------------------------------------- */

lean_position lean_talk_position(const char *text, size_t from, size_t n, const json_t *json)
{
    lean_position p = {0};
    size_t line = (size_t)lean_json_number(json, "line");
    size_t column = (size_t)lean_json_number(json, "column");
    p.byte = from + lean_source_byte(text + from, n, line == 0 ? 1 : line, column);
    pv_utf8_position(text, p.byte, &p.line, &p.column);
    return p;
}

static lean_severity severity_of(const json_t *message)
{
    const char *text = json_string_value(json_object_get(message, "severity"));
    if (text != NULL && strcmp(text, "error") == 0) {
        return LEAN_ERROR;
    }
    return text != NULL && strcmp(text, "warning") == 0 ? LEAN_WARNING : LEAN_INFO;
}

/* The first message of severity error; NULL when there is none. */
const char *lean_talk_first_error(const json_t *reply)
{
    const json_t *list = json_object_get(reply, "messages");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *message = json_array_get(list, i);
        if (severity_of(message) == LEAN_ERROR) {
            const char *text = json_string_value(json_object_get(message, "data"));
            return text == NULL ? "an error without a text" : text;
        }
    }
    return NULL;
}

/* An object with nothing but a message: the REPL refused the request. */
const char *lean_talk_refusal(const json_t *reply)
{
    bool answered =
        json_object_get(reply, "env") != NULL || json_object_get(reply, "proofState") != NULL;
    return answered ? NULL : json_string_value(json_object_get(reply, "message"));
}

void lean_talk_take_messages(lean_talk *t, const json_t *reply, const char *text, size_t from,
                             size_t n)
{
    const json_t *list = json_object_get(reply, "messages");
    size_t more = json_array_size(list);
    if (pv_grow((void **)&t->messages, &t->message_capacity, t->message_count + more,
                sizeof *t->messages) != 0) {
        t->failed = true;
        return;
    }
    for (size_t i = 0; i < more; i++) {
        const json_t *item = json_array_get(list, i);
        lean_message *message = &t->messages[t->message_count++];
        const json_t *end = json_object_get(item, "endPos");
        message->severity = severity_of(item);
        message->start = lean_talk_position(text, from, n, json_object_get(item, "pos"));
        message->end =
            json_is_object(end) ? lean_talk_position(text, from, n, end) : message->start;
        message->text = lean_json_text(&t->arena, item, "data");
    }
}

/* ---- keys -------------------------------------------------------------------------------------------------------- */

/* Reads `?m.123` or `?name.12` at p: its length up to the number, 0 when there is no such thing. */
static size_t numbered_variable(const char *p)
{
    size_t n = 1;
    if (*p != '?') {
        return 0;
    }
    while (isalpha((unsigned char)p[n]) || p[n] == '_') {
        n++;
    }
    return n > 1 && p[n] == '.' && isdigit((unsigned char)p[n + 1]) ? n + 1 : 0;
}

/* The place of the number among those seen; new ones are added. */
static size_t rank_of(unsigned long *seen, size_t *count, size_t max, unsigned long number)
{
    size_t i = 0;
    while (i < *count && seen[i] != number) {
        i++;
    }
    if (i == *count && i < max) {
        seen[(*count)++] = number;
    }
    return i;
}

static const char *after_case_line(const char *goal)
{
    const char *end = strchr(goal, '\n');
    return strncmp(goal, "case ", 5) == 0 && end != NULL ? end + 1 : goal;
}

void lean_community_canonical(const char *goal, pv_buf *out)
{
    enum { SEEN_MAX = 64 };

    unsigned long seen[SEEN_MAX];
    size_t count = 0;
    for (const char *p = after_case_line(goal); *p != '\0';) {
        size_t variable = numbered_variable(p);
        if (variable > 0) {
            unsigned long number = 0;
            pv_buf_append(out, p, variable);
            for (p += variable; isdigit((unsigned char)*p); p++) {
                number = number * 10 + (unsigned long)(*p - '0');
            }
            pv_buf_printf(out, "%zu", rank_of(seen, &count, SEEN_MAX, number));
        } else if (isspace((unsigned char)*p)) {
            while (isspace((unsigned char)*p)) {
                p++;
            }
            pv_buf_putc(out, ' ');
        } else {
            pv_buf_putc(out, *p++);
        }
    }
}

static bool key_of(const char *const *goals, size_t n, pv_key *key)
{
    pv_buf text = {0};
    for (size_t i = 0; i < n; i++) {
        lean_community_canonical(goals[i], &text);
        pv_buf_putc(&text, '\0');
    }
    *key = pv_key_of(pv_buf_text(&text), text.len);
    bool ok = pv_buf_ok(&text);
    pv_buf_release(&text);
    return ok;
}

/* A part of these goals; false when memory is short. */
bool lean_talk_make_part(lean_arena *arena, const json_t *const *texts, size_t n, lean_part *part)
{
    const char **goals = lean_arena_alloc(arena, n, sizeof *goals);
    for (size_t i = 0; goals != NULL && i < n; i++) {
        const char *text = json_string_value(texts[i]);
        text = text == NULL ? "" : text;
        goals[i] = lean_arena_text(arena, text, strlen(text));
    }
    if (!lean_arena_ok(arena)) {
        return false;
    }
    part->goals = goals;
    part->goal_count = n;
    return key_of(goals, n, &part->key);
}

void lean_talk_list_parts(lean_reply *reply, size_t n)
{
    reply->parts = lean_arena_alloc(&reply->arena, n, sizeof(lean_part *));
    reply->numbers = lean_arena_alloc(&reply->arena, n, sizeof *reply->numbers);
}

void lean_talk_list_part(lean_reply *reply, lean_part *part, uint64_t number)
{
    if (reply->parts != NULL && reply->numbers != NULL) {
        reply->parts[reply->part_count] = part;
        reply->numbers[reply->part_count++] = number;
    }
}

/* Hands the messages, and the memory they lie in, to the reply. */
static void give_messages(lean_talk *t, lean_reply *reply)
{
    lean_message *copy = lean_arena_alloc(&t->arena, t->message_count, sizeof *copy);
    if (copy != NULL && t->message_count > 0) {
        memcpy(copy, t->messages, t->message_count * sizeof *copy);
    }
    reply->messages = copy;
    reply->message_count = copy == NULL ? 0 : t->message_count;
    reply->arena = t->arena;
    memset(&t->arena, 0, sizeof t->arena);
}

pv_status lean_talk_finish(lean_talk *t, lean_reply *reply)
{
    reply->kind = LEAN_REPLY_DONE;
    reply->env = t->env;
    give_messages(t, reply);
    return PV_OK;
}
