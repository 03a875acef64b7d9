/* A golden model of tests/golden/models: its prompt, the greedy continuation, the logits that transformers gave. */
#ifndef FIXTURE_GOLDEN_H
#define FIXTURE_GOLDEN_H

#include "pv_buf.h"
#include "pv_file.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { PROMPT_MAX = 64, GREEDY_MAX = 64 };

static const char folder[] = TEST_SOURCE_DIR "/tests/golden/models";

typedef struct golden {
    uint32_t tokens[PROMPT_MAX + GREEDY_MAX]; /* prompt, then its greedy continuation */
    uint32_t prompt, greedy;
    pv_buf logits; /* float32 [prompt, vocab] */
} golden;

static uint32_t read_ids(const json_t *array, uint32_t *out, size_t max)
{
    size_t n = json_array_size(array);
    cr_assert(n > 0 && n <= max);
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint32_t)json_integer_value(json_array_get(array, i));
    }
    return (uint32_t)n;
}

static void read_golden(golden *g, const char *name)
{
    char path[512];
    memset(g, 0, sizeof *g);
    snprintf(path, sizeof path, "%s/%s/golden.json", folder, name);
    json_t *object = json_load_file(path, 0, NULL);
    cr_assert_not_null(object, "%s", path);
    g->prompt = read_ids(json_object_get(object, "prompt"), g->tokens, PROMPT_MAX);
    g->greedy = read_ids(json_object_get(object, "greedy"), g->tokens + g->prompt, GREEDY_MAX);
    json_decref(object);
    snprintf(path, sizeof path, "%s/%s/logits.f32", folder, name);
    cr_assert_eq(pv_file_read(path, 1 << 24, &g->logits, NULL), PV_OK);
}

#endif
