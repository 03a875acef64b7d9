/* Any bytes as a model's answer: an error, or parts that follow each other and can be put into a statement. */
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
