#include "lean_pool_internal.h"

#include "pv_mem.h"

#include <string.h>

lean_env *lean_env_ref(lean_env *env)
{
    if (env != NULL) {
        env->refs++;
    }
    return env;
}

static void free_handles(lean_env *env)
{
    for (uint32_t i = 0; i < env->pool->options.workers; i++) {
        lean_slot *slot = &env->pool->slots[i];
        uint64_t number;
        if (lean_env_held(env, slot, &number)) {
            lean_numbers_add(&slot->free_envs, number);
            lean_pool_want_pump(env->pool);
        }
    }
}

void lean_env_unref(lean_env *env)
{
    while (env != NULL && --env->refs == 0) {
        lean_env *base = env->base;
        lean_pool *pool = env->pool;
        free_handles(env);
        if (env->link != NULL) {
            *env->link = env->next;
            if (env->next != NULL) {
                env->next->link = env->link;
            }
        }
        lean_arena_release(&env->arena);
        pv_free(env->handles);
        pv_free(env->text);
        pv_free(env);
        lean_pool_unref(pool);
        env = base; /* a loop, so that a long chain does not use the stack */
    }
}

bool lean_env_held(const lean_env *env, const lean_slot *slot, uint64_t *number)
{
    const lean_env_handle *handle = &env->handles[slot->index];
    *number = handle->number;
    return handle->epoch == slot->epoch;
}

void lean_env_hold(lean_env *env, lean_slot *slot, uint64_t number)
{
    lean_env_handle *handle = &env->handles[slot->index];
    handle->epoch = slot->epoch;
    handle->number = number;
}

void lean_env_settle(lean_env *env, lean_reply *reply)
{
    if (!env->settled) {
        env->settled = true;
        env->messages = reply->messages;
        env->message_count = reply->message_count;
        env->arena = reply->arena;
        memset(&reply->arena, 0, sizeof reply->arena);
    }
}

const pv_error *lean_env_failure(const lean_env *env)
{
    for (; env != NULL; env = env->base) {
        if (env->failure.status != PV_OK) {
            return &env->failure;
        }
    }
    return NULL;
}

/* ---- making ------------------------------------------------------------------------------------------------------ */

static lean_env *find_header(const lean_pool *pool, const char *text)
{
    for (lean_env *env = pool->headers; env != NULL; env = env->next) {
        if (strcmp(env->text, text) == 0) {
            return env;
        }
    }
    return NULL;
}

static void link_header(lean_pool *pool, lean_env *env)
{
    env->next = pool->headers;
    env->link = &pool->headers;
    if (env->next != NULL) {
        env->next->link = &env->next;
    }
    pool->headers = env;
}

static lean_env *make(lean_pool *pool, lean_env *base, const char *text)
{
    lean_env *env = pv_calloc(1, sizeof *env);
    if (env == NULL) {
        return NULL;
    }
    env->text = pv_strdup(text);
    env->handles = pv_calloc(pool->options.workers, sizeof *env->handles);
    if (env->text == NULL || env->handles == NULL) {
        pv_free(env->text);
        pv_free(env->handles);
        pv_free(env);
        return NULL;
    }
    env->refs = 1;
    env->pool = pool;
    env->base = lean_env_ref(base);
    lean_pool_ref(pool);
    if (base == NULL) {
        link_header(pool, env);
    }
    return env;
}

lean_env *lean_env_obtain(lean_pool *pool, lean_env *base, const char *text)
{
    /* The server gives one handle for equal headers; two envs with one handle would free it twice. */
    lean_env *env = base == NULL ? find_header(pool, text) : NULL;
    return env != NULL ? lean_env_ref(env) : make(pool, base, text);
}
