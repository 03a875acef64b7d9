#include "usage.h"

#include "data_text.h"

#include <string.h>

enum { DEADLINE_MS = 30000 };

/* The name itself, or a lemma that Lean made of it (`foo._simp_1`). */
static bool is_source(const char *used, const char *name)
{
    size_t n = strlen(name);
    return strncmp(used, name, n) == 0 && (used[n] == '\0' || strncmp(used + n, "._", 2) == 0);
}

static void on_usage(void *user, lean_ticket t, const lean_library *library,
                     const pv_error *failure)
{
    usage *u = user;
    (void)t;
    u->pending = false;
    if (failure != NULL) {
        u->failure = *failure;
        return;
    }
    u->unused = json_array();
    u->used = json_array();
    for (size_t i = 0; i < library->unused_count; i++) {
        json_array_append_new(u->unused, json_string(library->unused[i]));
    }
    for (size_t i = 0; i < library->used_count; i++) {
        json_array_append_new(u->used, json_string(library->used[i]));
        u->itself = u->itself || is_source(library->used[i], u->name);
    }
}

pv_status usage_ask(usage *u, lean_env *env, const char *statement, const char *proof,
                    const char *name, pv_error *err)
{
    pv_buf text = {0};
    usage_release(u);
    u->name = name;
    data_text_theorem(&text, "statement", statement, proof);
    lean_library_request request = {.kind = LEAN_USAGE,
                                    .text = pv_buf_text(&text),
                                    .name = "statement",
                                    .deadline_ms = DEADLINE_MS};
    pv_status status = pv_buf_ok(&text)
                           ? lean_library_ask(env, &request, &u->ticket, on_usage, u, err)
                           : pv_fail(err, PV_E_NOMEM, "out of memory");
    u->pending = status == PV_OK;
    pv_buf_release(&text);
    return status;
}

void usage_cancel(usage *u, lean_pool *pool)
{
    if (u->pending) {
        lean_cancel(pool, u->ticket);
    }
}

void usage_release(usage *u)
{
    json_decref(u->unused);
    json_decref(u->used);
    memset(u, 0, sizeof *u);
}
