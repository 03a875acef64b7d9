/* Any bytes as a model's answer: an error, or parts that follow each other and can be put into a statement. */
#include "cut.h"
#include "pv_mem.h"
#include "whole_proof.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
    if (!good) {
        abort();
    }
}

static void check_parts(const whole_proof *p, size_t size)
{
    const whole_proof_span *parts[] = {&p->header,    &p->helpers, &p->comment,
                                       &p->statement, &p->body,    &p->rest};
    size_t at = p->code.start;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        check(parts[i]->start >= at && parts[i]->end >= parts[i]->start);
        check(parts[i] == &p->body || parts[i]->start == at);
        at = parts[i]->end;
    }
    check(at == p->code.end && at <= size && p->body.end > p->body.start);
}

/* Cuts are whole lines of the body, one shorter than the other. */
static void check_cuts(const char *body, size_t n, size_t error_at)
{
    proof_cut cuts[CUTS_MAX];
    size_t count = cut_places(body, n, error_at, cuts), before = n + 1;
    for (size_t i = 0; i < count; i++) {
        pv_buf out = {0};
        size_t at[CUT_LEVELS_MAX];
        check(cuts[i].keep < before && cuts[i].keep > 0 && body[cuts[i].keep - 1] == '\n');
        check(cuts[i].level_count > 0 && cuts[i].level_count <= CUT_LEVELS_MAX);
        cut_write(body, &cuts[i], &out, at);
        for (size_t k = 0; k < cuts[i].level_count; k++) {
            check(memcmp(out.data + at[k], "sorry", 5) == 0);
        }
        before = cuts[i].keep;
        pv_buf_release(&out);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char user[] = "theorem t : p := by sorry";
    const char *text = (const char *)data, *names[] = {NULL, "t"};
    for (size_t i = 0; i < 2; i++) {
        whole_proof p;
        pv_error err = {0};
        if (whole_proof_find(&p, text, size, names[i], &err) != PV_OK) {
            check(err.status != PV_OK && err.msg[0] != '\0');
            continue;
        }
        check_parts(&p, size);
        check_cuts(text + p.body.start, p.body.end - p.body.start, data[0] * size / 256);
        pv_buf out = {0};
        if (whole_proof_attach(&p, text, user, sizeof user - 1, sizeof user - 6, &out, NULL,
                               NULL) == PV_OK) {
            check(memcmp(out.data, user, sizeof user - 6) == 0);
        }
        pv_buf_release(&out);
    }
    check(pv_mem_live() == 0);
    return 0;
}
