#include "lean_json.h"

#include <string.h>

pv_status lean_json_parse(const char *text, size_t n, json_t **out, pv_error *err)
{
    /* Out of memory shows as no code at all, sometimes as a syntax error, and (jansson 2.14, where its lexer grows a buffer)
     * once in a while not at all but as a string short of a character. That is why a reply whose pieces do not fit together
     * is refused, and why proofs are judged by a process of their own. */
    json_error_t trouble = {0};
    /* NUL is allowed: a tactic's message may hold one, and refusing it would lose the whole reply. */
    json_t *root = json_loadb(text, n, JSON_ALLOW_NUL, &trouble);
    *out = NULL;
    enum json_error_code code =
        root == NULL ? json_error_code(&trouble) : json_error_invalid_syntax;
    if (code == json_error_unknown || code == json_error_out_of_memory) {
        return pv_fail(err, PV_E_NOMEM, "no memory to read a reply of %zu bytes", n);
    }
    if (!json_is_object(root)) {
        json_decref(root);
        return PV_OK;
    }
    *out = root;
    return PV_OK;
}

const char *lean_json_text(lean_arena *arena, const json_t *object, const char *field)
{
    const char *text = json_string_value(json_object_get(object, field));
    const char *copy = text == NULL ? NULL : lean_arena_text(arena, text, strlen(text));
    return copy == NULL ? "" : copy;
}

uint64_t lean_json_number(const json_t *object, const char *field)
{
    json_int_t number = json_integer_value(json_object_get(object, field));
    return number < 0 ? 0 : (uint64_t)number;
}
