#include "resume.h"

#include "lean_gate.h"
#include "pv_mem.h"

#include <stdio.h>
#include <string.h>

enum { COMPILES_MAX = 32 };

/* ---- asking Lean ---- */

/* Where a message says that the text goes wrong. An unfinished block is at fault at its end, not where it begins. */
static void place_of(const lean_message *m, size_t *start, size_t *at)
{
    bool unfinished = strncmp(m->text, "unsolved goals", 14) == 0;
    *start = m->start.byte;
    *at = unfinished && m->end.byte > m->start.byte ? m->end.byte : m->start.byte;
}

/* An error of the whole proof, for those who show it to the model. One that memory is short for is only counted. */
static void keep_error(resume *r, size_t start, size_t end, const char *text)
{
    r->error_total++;
    char *copy = r->error_count < REPAIR_ERRORS_MAX ? pv_strdup(text) : NULL;
    if (copy != NULL) {
        r->errors[r->error_count++] = (repair_error){start, end > start ? end : start, copy};
    }
}

static void note_error(resume *r, size_t start, size_t at)
{
    if (!r->wrong || at < r->wrong_end) {
        r->wrong_start = start;
        r->wrong_end = at;
    }
    r->wrong = true;
}

static void on_opened(void *user, lean_ticket t, const lean_opened *opened, const pv_error *failure)
{
    resume *r = user;
    (void)t;
    r->pending = false;
    if (failure != NULL) {
        r->failure = *failure;
        return;
    }
    for (size_t i = 0; i < opened->message_count; i++) {
        if (opened->messages[i].severity == LEAN_ERROR) {
            size_t start, at;
            place_of(&opened->messages[i], &start, &at);
            note_error(r, start, at);
            if (!r->cutting) {
                keep_error(r, start, opened->messages[i].end.byte, opened->messages[i].text);
            }
        }
    }
    theorem_list_release(&r->opened);
    pv_status status = theorem_list_copy(&r->opened, opened, &r->failure);
    (void)status; /* kept in r->failure */
}

static void fail(resume *r, const pv_error *why)
{
    r->failure = *why;
    r->state = RESUME_FAILED;
}

static void ask(resume *r)
{
    pv_error err = {0};
    r->wrong = false;
    r->compiles++;
    if (!pv_buf_ok(&r->text)) {
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        fail(r, &err);
    } else if (lean_open(r->env, pv_buf_text(&r->text), &r->ticket, on_opened, r, &err) != PV_OK) {
        fail(r, &err);
    } else {
        r->pending = true;
    }
}

/* ---- cutting ---- */

/* The text with the next cut; NOTHING after the last. */
static void ask_cut(resume *r)
{
    const char *whole = pv_buf_text(&r->whole), *body = whole + r->body_at;
    if (r->next_cut == r->cut_count || r->compiles == COMPILES_MAX) {
        r->state = RESUME_NOTHING;
        return;
    }
    const proof_cut *c = &r->cuts[r->next_cut];
    r->cutting = true;
    r->keep = c->keep;
    pv_buf_clear(&r->text);
    pv_buf_append(&r->text, whole, r->body_at);
    cut_write(body, c, &r->text, r->sorry_at);
    pv_buf_append(&r->text, body + r->body_length, r->whole.len - r->body_at - r->body_length);
    ask(r);
}

/* All of the proof is refused for what stands at byte `at` of the text. */
static void start_cutting(resume *r, size_t at)
{
    size_t in_body = at > r->body_at ? at - r->body_at : 0;
    r->cut_count =
        cut_places(pv_buf_text(&r->whole) + r->body_at, r->body_length, in_body, r->cuts);
    r->next_cut = 0;
    ask_cut(r);
}

/* The sorry that has no goal is left out; for any other error the cut is given up. */
static void try_again(resume *r)
{
    proof_cut *c = &r->cuts[r->next_cut];
    for (size_t i = 0; i < c->level_count; i++) {
        if (!c->left_out[i] && r->sorry_at[i] == r->wrong_start) {
            c->left_out[i] = true;
            ask_cut(r);
            return;
        }
    }
    r->next_cut++;
    ask_cut(r);
}

/* ---- answers ---- */

static const theorem *find_target(const resume *r)
{
    size_t place = 0;
    for (size_t i = 0; i < r->opened.count; i++) {
        const theorem *t = &r->opened.items[i];
        if (t->hole_count > 0 && place++ == r->target) {
            return t;
        }
    }
    return NULL;
}

/* Holes in all of it can only be the model's own `sorry`s, and those the gate has seen. */
static void settle_whole(resume *r)
{
    if (r->wrong) {
        start_cutting(r, r->wrong_end);
    } else {
        r->state = RESUME_COMPILES;
        r->keep = r->body_length;
    }
}

static void settle_cut(resume *r)
{
    r->theorem = r->wrong ? NULL : find_target(r);
    if (r->theorem != NULL) {
        r->state = RESUME_CUT;
    } else if (r->wrong) {
        try_again(r);
    } else {
        r->next_cut++;
        ask_cut(r);
    }
}

/* What was too much for Lean (a kill on time or memory) is cut in its middle: nobody says where the fault is. */
static bool is_too_much(const pv_error *e)
{
    return e->status == PV_E_TIMEOUT || e->status == PV_E_LIMIT || e->status == PV_E_LOST;
}

static void settle_failure(resume *r)
{
    if (!is_too_much(&r->failure)) {
        r->state = RESUME_FAILED;
        return;
    }
    if (!r->cutting) {
        keep_error(r, r->body_at, r->body_at + r->body_length, r->failure.msg);
    }
    pv_error_clear(&r->failure);
    if (!r->cutting) {
        start_cutting(r, r->body_at + r->body_length / 2);
    } else {
        r->next_cut++;
        ask_cut(r);
    }
}

bool resume_turn(resume *r)
{
    if (r->pending || r->state != RESUME_RUNNING) {
        return false;
    }
    if (r->failure.status != PV_OK) {
        settle_failure(r);
    } else if (r->cutting) {
        settle_cut(r);
    } else {
        settle_whole(r);
    }
    return true;
}

/* ---- life ---- */

resume_result resume_state(const resume *r)
{
    return r->state;
}

/* The gate reads before Lean does: what it refuses is never elaborated. */
static void look_at(resume *r)
{
    lean_gate_finding found;
    const char *body = pv_buf_text(&r->whole) + r->body_at;
    pv_buf_append(&r->text, r->whole.data, r->whole.len);
    if (lean_gate_pass(body, r->body_length, &found)) {
        ask(r);
        return;
    }
    pv_buf why = {0};
    pv_buf_printf(&why, "%s: %s", found.rule, found.why);
    size_t word = strlen(found.rule), left = r->body_length - found.at;
    bool is_word = word <= left && memcmp(body + found.at, found.rule, word) == 0;
    keep_error(r, r->body_at + found.at, r->body_at + found.at + (is_word ? word : 0),
               pv_buf_text(&why));
    pv_buf_release(&why);
    start_cutting(r, r->body_at + found.at);
}

pv_status resume_start(resume *r, session *s, lean_env *env, const source *src, size_t target,
                       size_t sorry_byte, const whole_proof *proof, const char *model_text,
                       pv_error *err)
{
    memset(r, 0, sizeof *r);
    r->s = s;
    r->env = env;
    r->src = src;
    r->target = target;
    r->body_length = proof->body.end - proof->body.start;
    pv_status status = whole_proof_attach(proof, model_text, src->body, src->length, sorry_byte,
                                          &r->whole, &r->body_at, err);
    if (status != PV_OK) {
        pv_buf_release(&r->whole);
        return status;
    }
    look_at(r);
    return PV_OK;
}

bool resume_end(resume *r)
{
    if (r->pending) {
        lean_cancel(r->s->pool, r->ticket);
    }
    return !r->pending;
}

void resume_release(resume *r)
{
    pv_buf_release(&r->whole);
    pv_buf_release(&r->text);
    theorem_list_release(&r->opened);
    for (size_t i = 0; i < r->error_count; i++) {
        pv_free(r->errors[i].message);
    }
    memset(r, 0, sizeof *r);
}
