/* Replies into both dialects, for each operation: no crash and no leak, whatever the bytes. The first byte chooses the dialect
 * and the operation. Strings that are sent are read back by jansson and must be the same. */
#include "lean_dialect.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const char TEXT[] = "namespace A\ntheorem t : p := by\n  sorry\nend A\ndef f := sorry\n";
static const char *const TACTICS[] = {"intro h", "simp"};
static const char *const NAMES[] = {"t"};

static void feed_frames(const lean_dialect_ops *dialect, lean_call *call, const char *bytes,
                        size_t n)
{
    size_t at = 0;
    pv_status status = PV_OK;
    lean_reply_kind kind = LEAN_REPLY_NONE;
    while (at < n && status == PV_OK && kind != LEAN_REPLY_DONE && kind != LEAN_REPLY_ERROR) {
        const char *end = memchr(bytes + at, '\n', n - at);
        size_t length = end == NULL ? n - at : (size_t)(end - bytes) - at;
        lean_reply reply = {0};
        pv_buf out = {0};
        status = dialect->feed(call, bytes + at, length, &out, &reply, NULL);
        kind = reply.last ? LEAN_REPLY_DONE : reply.kind;
        lean_reply_release(&reply);
        pv_buf_release(&out);
        at += length + 1;
    }
}

static void try_replies(const lean_dialect_ops *dialect, lean_op op, const char *bytes, size_t n)
{
    pv_buf out = {0};
    lean_call call = {.op = op,
                      .id = 7,
                      .text = TEXT,
                      .original = TEXT,
                      .candidate = TEXT,
                      .names = NAMES,
                      .name_count = 1,
                      .name = "t",
                      .mutations = NAMES,
                      .mutation_count = 1,
                      .tactics = TACTICS,
                      .tactic_count = 2};
    if (dialect->begin(&call, &out, NULL) == PV_OK) {
        feed_frames(dialect, &call, bytes, n);
        if (dialect->end != NULL) {
            dialect->end(&call);
        }
    }
    pv_buf_release(&out);
}

static void try_string(const char *bytes, size_t n)
{
    char *text = pv_strndup(bytes, n);
    pv_buf out = {0};
    bool valid = pv_utf8_valid(text, strlen(text)) == strlen(text);
    for (int ascii = 0; ascii < 2; ascii++) {
        pv_buf_clear(&out);
        lean_wire_put_string(&out, text, ascii == 1);
        json_t *json = json_loadb(pv_buf_text(&out), out.len, JSON_DECODE_ANY, NULL);
        if (json == NULL || (valid && strcmp(json_string_value(json), text) != 0)) {
            abort();
        }
        json_decref(json);
    }
    pv_buf_release(&out);
    pv_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) {
        return 0;
    }
    const char *bytes = (const char *)data + 1;
    const lean_dialect_ops *dialect = data[0] % 2 == 0 ? lean_protocol_ops() : lean_community_ops();
    lean_greeting greeting = {0};
    uint64_t live = pv_mem_live();
    try_replies(dialect, (lean_op)(data[0] / 2 % LEAN_OP_COUNT), bytes, size - 1);
    (void)dialect->greeted(bytes, size - 1, &greeting, NULL);
    try_string(bytes, size - 1);
    if (pv_mem_live() != live) {
        abort();
    }
    return 0;
}
