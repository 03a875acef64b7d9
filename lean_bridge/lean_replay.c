#include "lean_replay.h"

#include "pv_mem.h"

#include <string.h>

struct lean_replay {
    lean_pool *pool;
    lean_env *env; /* of the header that came last; NULL: none yet */
    char *header;
    void (*closed)(void *user);
    void *closed_user;
};

pv_status lean_replay_open(lean_replay **out, uv_loop_t *loop, const lean_pool_options *options,
                           pv_error *err)
{
    lean_replay *replay = pv_calloc(1, sizeof *replay);
    if (replay == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while opening the replay of proofs");
    }
    lean_pool_options one = *options;
    one.workers = 1;
    pv_status status = lean_pool_open(&replay->pool, loop, &one, err);
    if (status != PV_OK) {
        pv_free(replay);
        return status;
    }
    *out = replay;
    return PV_OK;
}

static void on_pool_closed(void *user)
{
    lean_replay *replay = user;
    void (*closed)(void *user) = replay->closed;
    void *closed_user = replay->closed_user;
    pv_free(replay->header);
    pv_free(replay);
    if (closed != NULL) {
        closed(closed_user);
    }
}

void lean_replay_close(lean_replay *replay, void (*closed)(void *user), void *user)
{
    replay->closed = closed;
    replay->closed_user = user;
    lean_env_unref(replay->env);
    replay->env = NULL;
    lean_pool_close(replay->pool, on_pool_closed, replay);
}

pv_status lean_replay_prepare(lean_replay *replay, const char *header, pv_error *err)
{
    if (replay->env != NULL && strcmp(replay->header, header) == 0) {
        return PV_OK;
    }
    char *copy = pv_strdup(header);
    lean_env *env = NULL;
    if (copy == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while preparing the replay of proofs");
    }
    pv_status status = lean_env_new(replay->pool, &env, header, NULL, NULL, err);
    if (status != PV_OK) {
        pv_free(copy);
        return status;
    }
    lean_env_unref(replay->env);
    pv_free(replay->header);
    replay->env = env;
    replay->header = copy;
    return PV_OK;
}

pv_status lean_replay_ask(lean_replay *replay, const char *header,
                          const lean_check_request *request, lean_check_cb *cb, void *user,
                          pv_error *err)
{
    pv_status status = lean_replay_prepare(replay, header, err);
    return status == PV_OK ? lean_check(replay->env, request, NULL, cb, user, err) : status;
}

const char *lean_replay_lean_version(const lean_replay *replay)
{
    return lean_pool_lean_version(replay->pool);
}
