#include "lean_session.h"

#include "pv_mem.h"

#include <jansson.h>
#include <string.h>

/* An answer outlives the question when the user interrupts: `abandoned` hands it to the callback, which then only frees it. */

/* ---- header ---- */

typedef struct header_answer {
    bool done, abandoned;
    pv_error failure;
} header_answer;

static void on_header(void *user, lean_ticket t, const lean_message *messages, size_t n,
                      const pv_error *failure)
{
    (void)t;
    (void)messages;
    (void)n;
    header_answer *answer = user;
    if (answer->abandoned) {
        pv_free(answer);
        return;
    }
    if (failure != NULL) {
        answer->failure = *failure;
    }
    answer->done = true;
}

static pv_status wait_for_header(session *s, const source *src, header_answer *answer,
                                 pv_error *err)
{
    pv_status status = session_wait(s, &answer->done, err);
    if (status != PV_OK) {
        answer->abandoned = true;
        return status;
    }
    if (answer->failure.status != PV_OK) {
        status = pv_fail(err, answer->failure.status, "%s: %s", src->name, answer->failure.msg);
    }
    pv_free(answer);
    return status;
}

pv_status ask_header(session *s, const source *src, lean_env **env, pv_error *err)
{
    header_answer *answer = pv_calloc(1, sizeof *answer);
    if (answer == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    lean_env *made = NULL;
    pv_status status = lean_env_new(s->pool, &made, src->header, on_header, answer, err);
    if (status != PV_OK) {
        pv_free(answer);
        return status;
    }
    status = wait_for_header(s, src, answer, err);
    if (status == PV_OK) {
        *env = made;
    } else {
        lean_env_unref(made);
    }
    return status;
}

/* ---- open ---- */

typedef struct open_answer {
    bool done;
    const source *src;
    theorem_list list;
    pv_error failure;
} open_answer;

static void on_opened(void *user, lean_ticket t, const lean_opened *opened, const pv_error *failure)
{
    (void)t;
    open_answer *answer = user;
    answer->done = true;
    if (failure != NULL) {
        answer->failure = *failure;
        return;
    }
    const lean_message *wrong = theorem_first_error(opened);
    if (wrong != NULL) {
        pv_fail(&answer->failure, PV_E_INVALID, "%s:%zu:%zu: Lean says: %s", answer->src->name,
                wrong->start.line, wrong->start.column, wrong->text);
        return;
    }
    pv_status status = theorem_list_copy(&answer->list, opened, &answer->failure);
    (void)status; /* kept in answer->failure */
}

pv_status ask_theorems(session *s, lean_env *env, const source *src, theorem_list *out,
                       pv_error *err)
{
    open_answer answer = {.src = src};
    lean_ticket ticket = 0;
    pv_status status = lean_open(env, src->body, &ticket, on_opened, &answer, err);
    if (status != PV_OK) {
        return status;
    }
    status = session_wait(s, &answer.done, err);
    if (status != PV_OK) {
        lean_cancel(s->pool, ticket);
        while (!answer.done) {
            uv_run(&s->loop, UV_RUN_ONCE);
        }
    } else if (answer.failure.status != PV_OK) {
        status = pv_fail(err, answer.failure.status, "%s", answer.failure.msg);
    }
    if (status == PV_OK) {
        *out = answer.list;
    } else {
        theorem_list_release(&answer.list);
    }
    return status;
}

/* ---- judge ---- */

typedef struct judge_answer {
    bool done, abandoned;
    verdict verdict;
    pv_error failure;
} judge_answer;

static char *copy_or_null(const char *text)
{
    return text == NULL ? NULL : pv_strdup(text);
}

void verdict_copy(verdict *out, const lean_judgement *from)
{
    out->level = from->level;
    out->reason = copy_or_null(from->reason);
    out->message = copy_or_null(from->message);
    out->lean_version = copy_or_null(from->lean_version);
    out->shortfall = copy_or_null(from->shortfall);
    out->error_at = from->error_at;
    out->sandboxed = from->sandboxed;
    out->export_bytes = from->export_bytes;
    out->replay_seconds = from->replay_seconds;
    out->seconds = from->seconds;
    out->axioms = pv_calloc(from->axiom_count + 1, sizeof *out->axioms);
    for (size_t i = 0; out->axioms != NULL && i < from->axiom_count; i++) {
        out->axioms[i] = pv_strdup(from->axioms[i]);
        out->axiom_count += out->axioms[i] != NULL;
    }
}

static void on_judged(void *user, const lean_judgement *judgement, const pv_error *failure)
{
    judge_answer *answer = user;
    if (answer->abandoned) {
        pv_free(answer);
        return;
    }
    if (failure != NULL) {
        answer->failure = *failure;
    } else {
        verdict_copy(&answer->verdict, judgement);
    }
    answer->done = true;
}

static pv_status wait_for_verdict(session *s, judge_answer *answer, verdict *out, pv_error *err)
{
    pv_status status = session_wait(s, &answer->done, err);
    if (status != PV_OK) {
        answer->abandoned = true;
        return status;
    }
    if (answer->failure.status != PV_OK) {
        status = pv_fail(err, answer->failure.status, "%s", answer->failure.msg);
    } else {
        *out = answer->verdict;
    }
    pv_free(answer);
    return status;
}

pv_status ask_judgement(session *s, const lean_judge_request *request, verdict *out, pv_error *err)
{
    judge_answer *answer = pv_calloc(1, sizeof *answer);
    if (answer == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    pv_status status = lean_judge_ask(s->judge, request, on_judged, answer, err);
    if (status != PV_OK) {
        pv_free(answer);
        return status;
    }
    return wait_for_verdict(s, answer, out, err);
}

pv_status ask_judge(session *s, const source *src, const char *candidate, const char *const *names,
                    size_t name_count, const char *const *proofs, size_t proof_count, verdict *out,
                    pv_error *err)
{
    lean_judge_request request = {
        .header = src->header,
        .original = src->body,
        .candidate = candidate,
        .names = names,
        .name_count = name_count,
        .proofs = proofs,
        .proof_count = proof_count,
    };
    return ask_judgement(s, &request, out, err);
}

char *verdict_axioms_json(const verdict *v)
{
    json_t *axioms = json_array();
    for (size_t i = 0; i < v->axiom_count; i++) {
        json_array_append_new(axioms, json_string(v->axioms[i]));
    }
    char *text = json_dumps(axioms, JSON_COMPACT);
    json_decref(axioms);
    return text;
}

pv_status verdict_add_checker(verdict *v, const char *name, const char *version, double seconds,
                              pv_error *err)
{
    verdict_checker *grown = pv_realloc(v->checkers, (v->checker_count + 1) * sizeof *v->checkers);
    if (grown == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    v->checkers = grown;
    grown[v->checker_count++] = (verdict_checker){pv_strdup(name), copy_or_null(version), seconds};
    return grown[v->checker_count - 1].name == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                                    : PV_OK;
}

void verdict_release(verdict *v)
{
    for (size_t i = 0; i < v->checker_count; i++) {
        pv_free(v->checkers[i].name);
        pv_free(v->checkers[i].version);
    }
    pv_free(v->checkers);
    for (size_t i = 0; i < v->axiom_count; i++) {
        pv_free(v->axioms[i]);
    }
    pv_free(v->axioms);
    pv_free(v->reason);
    pv_free(v->message);
    pv_free(v->shortfall);
    pv_free(v->lean_version);
    memset(v, 0, sizeof *v);
}
