/* Reads a trace, line by line. Traces are files that people hand around: nothing in one is
 * believed before it is checked. */
#include "pv_file.h"
#include "pv_mem.h"
#include "search_outcome.h"
#include "search_replay.h"

#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_MAX_BYTES = 64 << 20 };

typedef struct parser {
    search_replay *replay;
    size_t line;
    pv_error *err;
} parser;

static pv_status bad(const parser *p, const char *what)
{
    return pv_fail(p->err, PV_E_INVALID, "line %zu: %s", p->line, what);
}

static pv_status no_memory(const parser *p)
{
    return pv_fail(p->err, PV_E_NOMEM, "line %zu: out of memory", p->line);
}

/* ---- fields ---- */

static bool read_count(const json_t *object, const char *key, uint64_t max, uint64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        (uint64_t)json_integer_value(value) > max) {
        return false;
    }
    *out = (uint64_t)json_integer_value(value);
    return true;
}

static bool read_u32(const json_t *object, const char *key, uint32_t *out)
{
    uint64_t value;
    if (!read_count(object, key, UINT32_MAX, &value)) {
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

static bool read_real(const json_t *object, const char *key, double *out)
{
    const json_t *value = json_object_get(object, key);
    *out = json_number_value(value);
    return json_is_number(value) && isfinite(*out);
}

static bool read_hex(const json_t *object, const char *key, uint64_t *out)
{
    const char *text = json_string_value(json_object_get(object, key));
    if (text == NULL || strlen(text) != 16 || strspn(text, "0123456789abcdef") != 16) {
        return false;
    }
    *out = strtoull(text, NULL, 16);
    return true;
}

static bool copy_text(search_arena *arena, const json_t *value, const char **out)
{
    *out = search_arena_text(arena, json_string_value(value), json_string_length(value));
    return *out != NULL;
}

/* ---- outcomes ---- */

static pv_status parse_goals(const parser *p, const json_t *list, search_part *part)
{
    size_t n = json_array_size(list);
    const char **goals = search_arena_zeroed(&p->replay->arena, n, sizeof *goals);
    if (goals == NULL) {
        return no_memory(p);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *text = json_array_get(list, i);
        if (!json_is_string(text)) {
            return bad(p, "a goal is not a text");
        }
        if (!copy_text(&p->replay->arena, text, &goals[i])) {
            return no_memory(p);
        }
    }
    part->goals = goals;
    part->goal_count = n;
    return PV_OK;
}

static pv_status parse_parts(const parser *p, const json_t *list, search_outcome *out)
{
    size_t n = json_array_size(list);
    search_part *parts = search_arena_zeroed(&p->replay->arena, n, sizeof *parts);
    if (parts == NULL) {
        return no_memory(p);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *part = json_array_get(list, i);
        const char *key = json_string_value(json_object_get(part, "key"));
        if (key == NULL || strlen(key) != 32 || !pv_key_parse(key, &parts[i].key)) {
            return bad(p, "a part has no key of 32 hexadecimal digits");
        }
        pv_status status = parse_goals(p, json_object_get(part, "goals"), &parts[i]);
        if (status != PV_OK) {
            return status;
        }
    }
    out->parts = parts;
    out->part_count = n;
    return PV_OK;
}

static pv_status parse_order(const parser *p, const json_t *list, search_outcome *out)
{
    size_t n = json_array_size(list);
    uint32_t *order = search_arena_zeroed(&p->replay->arena, n, sizeof *order);
    if (order == NULL) {
        return no_memory(p);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *index = json_array_get(list, i);
        json_int_t value = json_integer_value(index);
        if (!json_is_integer(index) || value < 0 || value > UINT32_MAX) {
            return bad(p, "an order is not a list of indices");
        }
        order[i] = (uint32_t)value;
    }
    out->order = order;
    out->goal_count = n;
    return PV_OK;
}

static bool parse_kind(const char *name, search_outcome_kind *kind)
{
    static const char *const names[] = {"closed", "open", "failed", "timed_out", "lost"};
    for (size_t i = 0; name != NULL && i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            *kind = (search_outcome_kind)i;
            return true;
        }
    }
    return false;
}

static pv_status parse_outcome(const parser *p, const json_t *object, search_outcome *out)
{
    memset(out, 0, sizeof *out);
    if (!parse_kind(json_string_value(json_object_get(object, "kind")), &out->kind)) {
        return bad(p, "an outcome of no known kind");
    }
    if (!read_real(object, "ms", &out->lean_ms)) {
        return bad(p, "an outcome without its time (ms)");
    }
    const json_t *message = json_object_get(object, "message");
    if (json_is_string(message) && !copy_text(&p->replay->arena, message, &out->message)) {
        return no_memory(p);
    }
    pv_status status = PV_OK;
    if (out->kind == SEARCH_OPEN) {
        status = parse_parts(p, json_object_get(object, "parts"), out);
    }
    if (out->kind == SEARCH_OPEN && status == PV_OK) {
        status = parse_order(p, json_object_get(object, "order"), out);
    }
    const char *flaw = status == PV_OK ? search_outcome_flaw(out) : NULL;
    return flaw == NULL ? status : bad(p, flaw);
}

/* ---- lines ---- */

static bool read_options(const json_t *object, search_options *o)
{
    return read_real(object, "alpha", &o->alpha) && read_u32(object, "width", &o->width) &&
           (json_object_get(object, "asks") == NULL || read_u32(object, "asks", &o->asks)) &&
           read_u32(object, "window", &o->window) &&
           read_count(object, "nodes_max", UINT64_MAX, &o->nodes_max) &&
           read_count(object, "expansions_max", UINT64_MAX, &o->expansions_max) &&
           read_count(object, "tokens_max", UINT64_MAX, &o->tokens_max) &&
           read_real(object, "lean_seconds_max", &o->lean_seconds_max) &&
           read_real(object, "wall_seconds_max", &o->wall_seconds_max) &&
           read_u32(object, "depth_max", &o->depth_max) && read_hex(object, "seed", &o->seed);
}

static pv_status parse_start(const parser *p, const json_t *line)
{
    search_replay *replay = p->replay;
    const char *name = json_string_value(json_object_get(line, "trace"));
    uint64_t version;
    if (name == NULL || strcmp(name, "prover-search") != 0) {
        return bad(p, "this is not a search trace");
    }
    if (!read_count(line, "version", 1, &version) || version != 1) {
        return bad(p, "a version of the format that is not known here");
    }
    const json_t *options = json_object_get(line, "options");
    const json_t *statement = json_object_get(options, "statement");
    if (!read_options(options, &replay->options) || !json_is_string(statement)) {
        return bad(p, "options are missing or of the wrong type");
    }
    if (!copy_text(&replay->arena, statement, &replay->options.statement)) {
        return no_memory(p);
    }
    replay->started = true;
    pv_status status = parse_outcome(p, json_object_get(line, "root"), &replay->root);
    if (status == PV_OK && replay->root.kind != SEARCH_OPEN) {
        return bad(p, "the root is not open");
    }
    return status;
}

static pv_status parse_candidates(const parser *p, const json_t *list, search_take *take)
{
    size_t n = json_array_size(list);
    search_candidate *out = search_arena_zeroed(&p->replay->arena, n, sizeof *out);
    if (out == NULL) {
        return no_memory(p);
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, i);
        const json_t *text = json_array_get(item, 0);
        const json_t *logprob = json_array_get(item, 1);
        const json_t *tokens = json_array_get(item, 2);
        if (!json_is_string(text) || !json_is_number(logprob) || !json_is_integer(tokens) ||
            json_integer_value(tokens) < 0 || json_integer_value(tokens) > UINT32_MAX) {
            return bad(p, "a candidate is not [text, log-probability, tokens]");
        }
        if (!copy_text(&p->replay->arena, text, &out[i].tactic)) {
            return no_memory(p);
        }
        out[i].logprob = json_number_value(logprob);
        out[i].tokens = (uint32_t)json_integer_value(tokens);
    }
    take->candidates = out;
    take->candidate_count = n;
    return PV_OK;
}

static pv_status parse_policy(const parser *p, const json_t *line)
{
    search_replay *replay = p->replay;
    uint64_t ticket;
    uint64_t last = replay->take_count == 0 ? 0 : replay->takes[replay->take_count - 1].ticket;
    if (!read_count(line, "policy", INT64_MAX, &ticket) || ticket <= last) {
        return bad(p, "tickets of the policy do not rise");
    }
    if (!json_is_array(json_object_get(line, "candidates"))) {
        return bad(p, "an answer of the policy without candidates");
    }
    if (pv_grow((void **)&replay->takes, &replay->take_capacity, replay->take_count + 1,
                sizeof *replay->takes) != 0) {
        return no_memory(p);
    }
    search_take *take = &replay->takes[replay->take_count++];
    memset(take, 0, sizeof *take);
    take->ticket = ticket;
    return parse_candidates(p, json_object_get(line, "candidates"), take);
}

static pv_status parse_verifier(const parser *p, const json_t *line)
{
    search_replay *replay = p->replay;
    search_take *take = replay->take_count == 0 ? NULL : &replay->takes[replay->take_count - 1];
    uint64_t ticket;
    uint64_t index;
    if (take == NULL || !read_count(line, "verifier", INT64_MAX, &ticket) ||
        ticket != take->ticket) {
        return bad(p, "an outcome that does not follow its candidates");
    }
    if (!read_count(line, "index", INT64_MAX, &index) || index != take->outcome_count ||
        index >= take->candidate_count) {
        return bad(p, "an outcome out of its turn");
    }
    if (pv_grow((void **)&take->outcomes, &take->outcome_capacity, take->outcome_count + 1,
                sizeof *take->outcomes) != 0) {
        return no_memory(p);
    }
    pv_status status = parse_outcome(p, line, &take->outcomes[take->outcome_count]);
    take->outcome_count += status == PV_OK;
    return status;
}

static pv_status parse_end(const parser *p, const json_t *line)
{
    if (!json_is_string(json_object_get(line, "end")) ||
        !read_hex(line, "digest", &p->replay->digest)) {
        return bad(p, "an end without its digest");
    }
    p->replay->ended = true;
    return PV_OK;
}

static pv_status parse_object(const parser *p, const json_t *line)
{
    if (p->replay->ended) {
        return bad(p, "something follows the end");
    }
    if (!p->replay->started) {
        return parse_start(p, line);
    }
    if (json_object_get(line, "policy") != NULL) {
        return parse_policy(p, line);
    }
    if (json_object_get(line, "verifier") != NULL) {
        return parse_verifier(p, line);
    }
    if (json_is_true(json_object_get(line, "reject"))) {
        p->replay->rejections++;
        return PV_OK;
    }
    return json_object_get(line, "end") != NULL ? parse_end(p, line) : bad(p, "an unknown line");
}

static pv_status parse_line(const parser *p, const char *text, size_t n)
{
    if (n > LINE_MAX_BYTES) {
        return bad(p, "the line is too long");
    }
    json_error_t error;
    json_t *line = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (line == NULL) {
        return bad(p, error.text);
    }
    pv_status status = json_is_object(line) ? parse_object(p, line) : bad(p, "not an object");
    json_decref(line);
    return status;
}

static pv_status parse_all(parser *p, const char *bytes, size_t n)
{
    const char *end = bytes + n;
    for (const char *at = bytes; at < end;) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t length = newline == NULL ? (size_t)(end - at) : (size_t)(newline - at);
        p->line++;
        pv_status status = length == 0 ? PV_OK : parse_line(p, at, length);
        if (status != PV_OK) {
            return status;
        }
        at = newline == NULL ? end : newline + 1;
    }
    p->line++;
    return p->replay->ended ? PV_OK : bad(p, "the trace stops before its end");
}

pv_status search_replay_parse(search_replay **out, const char *bytes, size_t n, pv_error *err)
{
    search_replay *replay = pv_calloc(1, sizeof *replay);
    if (replay == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while a trace was read");
    }
    parser p = {.replay = replay, .err = err};
    pv_status status = n == 0 ? bad(&p, "the trace is empty") : parse_all(&p, bytes, n);
    if (status != PV_OK) {
        search_replay_close(replay);
        return status;
    }
    *out = replay;
    return PV_OK;
}

pv_status search_replay_open(search_replay **out, const char *path, pv_error *err)
{
    static const size_t file_max = (size_t)4 << 30;
    pv_error local = {0};
    err = err == NULL ? &local : err;
    pv_buf bytes = {0};
    pv_status status = pv_file_read(path, file_max, &bytes, err);
    if (status == PV_OK) {
        status = search_replay_parse(out, pv_buf_text(&bytes), bytes.len, err);
        if (status != PV_OK) {
            pv_error_wrap(err, "%s", path);
        }
    }
    pv_buf_release(&bytes);
    return status;
}
