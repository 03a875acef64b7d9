#include "lean_pool_internal.h"

#include "pv_mem.h"

#include <string.h>

void lean_numbers_add(lean_numbers *numbers, uint64_t number)
{
    if (pv_grow((void **)&numbers->items, &numbers->capacity, numbers->count + 1,
                sizeof *numbers->items) == 0) {
        numbers->items[numbers->count++] = number;
    }
}

void lean_numbers_release(lean_numbers *numbers)
{
    pv_free(numbers->items);
    memset(numbers, 0, sizeof *numbers);
}

/* ---- origins and states ------------------------------------------------------------------------------------------ */

lean_origin *lean_origin_new(lean_env *env, lean_state *parent, const char *text, size_t count)
{
    lean_origin *origin = pv_calloc(1, sizeof *origin + count * sizeof(lean_state *));
    char *copy = pv_strdup(text);
    if (origin == NULL || copy == NULL) {
        pv_free(origin);
        pv_free(copy);
        return NULL;
    }
    origin->refs = 1;
    origin->env = lean_env_ref(env);
    origin->parent = lean_state_ref(parent);
    origin->text = copy;
    origin->count = count;
    return origin;
}

lean_origin *lean_origin_ref(lean_origin *origin)
{
    origin->refs++;
    return origin;
}

/* Gives back one reference; when it was the last, frees the origin and returns the parent, whose reference is the caller's. */
static lean_state *release_origin(lean_origin *origin)
{
    if (--origin->refs > 0) {
        return NULL;
    }
    lean_state *parent = origin->parent;
    lean_env_unref(origin->env);
    pv_free(origin->text);
    pv_free(origin);
    return parent;
}

void lean_origin_unref(lean_origin *origin)
{
    if (origin != NULL) {
        lean_state_unref(release_origin(origin));
    }
}

lean_state *lean_state_new(lean_origin *origin, lean_pool *pool, size_t index, pv_key key)
{
    lean_state *state = pv_calloc(1, sizeof *state);
    if (state == NULL) {
        return NULL;
    }
    state->refs = 1;
    state->pool = pool;
    lean_pool_ref(pool);
    state->origin = lean_origin_ref(origin);
    state->index = (uint32_t)index;
    state->key = key;
    origin->states[index] = state;
    return state;
}

lean_state *lean_state_ref(lean_state *state)
{
    if (state != NULL) {
        state->refs++;
    }
    return state;
}

static void drop_handle(lean_handle *handle);

void lean_state_unref(lean_state *state)
{
    while (state != NULL && --state->refs == 0) {
        lean_pool *pool = state->pool;
        while (state->handles != NULL) {
            drop_handle(state->handles);
        }
        state->origin->states[state->index] = NULL;
        lean_state *parent = release_origin(state->origin);
        pv_free(state);
        lean_pool_unref(pool);
        state = parent; /* a loop: proofs are long */
    }
}

/* ---- handles ----------------------------------------------------------------------------------------------------- */

lean_handle *lean_state_on(const lean_state *state, const lean_slot *slot)
{
    for (lean_handle *handle = state->handles; handle != NULL; handle = handle->next_of_state) {
        if (handle->slot == slot) {
            return handle;
        }
    }
    return NULL;
}

static void unlink_age(lean_handle *handle)
{
    lean_slot *slot = handle->slot;
    *(handle->newer != NULL ? &handle->newer->older : &slot->newest) = handle->older;
    *(handle->older != NULL ? &handle->older->newer : &slot->oldest) = handle->newer;
}

static void link_newest(lean_handle *handle)
{
    lean_slot *slot = handle->slot;
    handle->newer = NULL;
    handle->older = slot->newest;
    *(slot->newest != NULL ? &slot->newest->newer : &slot->oldest) = handle;
    slot->newest = handle;
}

static void forget_handle(lean_handle *handle)
{
    lean_handle **link = &handle->state->handles;
    while (*link != handle) {
        link = &(*link)->next_of_state;
    }
    *link = handle->next_of_state;
    unlink_age(handle);
    handle->slot->handle_count--;
    pv_free(handle);
}

/* Forgets the handle, and tells the worker when it is next idle. */
static void drop_handle(lean_handle *handle)
{
    lean_numbers_add(&handle->slot->free_states, handle->number);
    lean_pool_want_pump(handle->slot->pool);
    forget_handle(handle);
}

void lean_handle_touch(lean_handle *handle)
{
    unlink_age(handle);
    link_newest(handle);
}

void lean_state_hold(lean_state *state, lean_slot *slot, uint64_t number)
{
    lean_handle *handle = lean_state_on(state, slot);
    if (handle == NULL) {
        handle = pv_calloc(1, sizeof *handle);
        if (handle == NULL) {
            lean_numbers_add(&slot->free_states, number);
            return; /* without a handle the state is made again when it is needed */
        }
        handle->state = state;
        handle->slot = slot;
        handle->number = number;
        handle->next_of_state = state->handles;
        state->handles = handle;
        slot->handle_count++;
        link_newest(handle);
    } else {
        lean_numbers_add(&slot->free_states, number); /* made twice: keep the first */
        lean_handle_touch(handle);
    }
}

void lean_slot_forget_states(lean_slot *slot)
{
    while (slot->newest != NULL) {
        forget_handle(slot->newest);
    }
}

void lean_slot_evict(lean_slot *slot)
{
    while (slot->handle_count > slot->pool->options.states_max) {
        drop_handle(slot->oldest);
    }
}
