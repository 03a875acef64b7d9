#include "lean_judge_job.h"

#include "lean_strings.h"
#include "pv_mem.h"

#include <string.h>

/* ---- names ---- */

const char *lean_level_name(lean_level level)
{
    static const char *const names[] = {"none", "stepped", "compiled", "audited", "replayed"};
    return (size_t)level < sizeof names / sizeof names[0] ? names[level] : "none";
}

bool lean_level_parse(const char *name, lean_level *out)
{
    for (lean_level level = LEAN_LEVEL_STEPPED; level <= LEAN_LEVEL_REPLAYED; level++) {
        if (strcmp(name, lean_level_name(level)) == 0) {
            *out = level;
            return true;
        }
    }
    return false;
}

static const char *const ALLOWED_AXIOMS[] = {"propext", "Quot.sound", "Classical.choice"};

bool lean_axiom_allowed(const char *name)
{
    for (size_t i = 0; i < sizeof ALLOWED_AXIOMS / sizeof ALLOWED_AXIOMS[0]; i++) {
        if (strcmp(name, ALLOWED_AXIOMS[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* ---- jobs ---- */

void lean_judge_job_free(lean_judge_job *j)
{
    if (j != NULL) {
        pv_free(j->header);
        pv_free(j->original);
        pv_free(j->candidate);
        lean_strings_free(j->names);
        lean_strings_free(j->proofs);
        pv_free(j->fills);
        pv_free(j->exported);
        pv_free(j);
    }
}

static char **copy_texts(const char *const *texts, size_t n)
{
    lean_strings list = {0};
    for (size_t i = 0; i < n; i++) {
        lean_strings_add(&list, texts[i]);
    }
    return lean_strings_detach(&list);
}

static uint64_t *copy_numbers(const uint64_t *numbers, size_t n)
{
    uint64_t *copy = pv_calloc(n + 1, sizeof *copy);
    if (copy != NULL && n > 0) {
        memcpy(copy, numbers, n * sizeof *copy);
    }
    return copy;
}

lean_judge_job *lean_judge_job_new(const lean_judge_request *request, lean_judge_cb *cb, void *user)
{
    lean_judge_job *j = pv_calloc(1, sizeof *j);
    if (j == NULL) {
        return NULL;
    }
    j->header = pv_strdup(request->header == NULL ? "" : request->header);
    j->original = pv_strdup(request->original);
    j->candidate = pv_strdup(request->candidate);
    j->names = copy_texts(request->names, request->name_count);
    j->proofs = copy_texts(request->proofs, request->proof_count);
    j->name_count = request->name_count;
    j->fills = copy_numbers(request->fills, request->fill_numbers);
    j->fill_numbers = request->fill_numbers;
    j->fill_data = request->fill_data;
    j->deadline_ms = request->deadline_ms;
    j->skip_gate = request->skip_gate;
    j->cb = cb;
    j->user = user;
    if (j->header == NULL || j->original == NULL || j->candidate == NULL || j->names == NULL ||
        j->proofs == NULL || j->fills == NULL) {
        lean_judge_job_free(j);
        return NULL;
    }
    return j;
}
