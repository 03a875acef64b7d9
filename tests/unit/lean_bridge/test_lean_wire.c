#include "lean_wire.h"
#include "pv_mem.h"

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

/* Feeds `bytes` in pieces of `piece` bytes and writes the frames that come out, each in brackets. */
static pv_status frames_of(lean_wire *wire, const char *bytes, size_t n, size_t piece, pv_buf *out)
{
    pv_error err = {0};
    for (size_t at = 0; at < n; at += piece) {
        size_t length = n - at < piece ? n - at : piece;
        const char *frame = NULL;
        size_t size = 0;
        pv_status status = lean_wire_feed(wire, bytes + at, length, &err);
        do {
            if (status == PV_OK) {
                status = lean_wire_next(wire, &frame, &size, &err);
            }
            if (status == PV_OK && frame != NULL) {
                pv_buf_putc(out, '<');
                pv_buf_append(out, frame, size);
                pv_buf_putc(out, '>');
            }
        } while (status == PV_OK && frame != NULL);
        if (status != PV_OK) {
            return status;
        }
    }
    return PV_OK;
}

static void expect_frames(lean_framing framing, const char *bytes, const char *wanted)
{
    for (size_t piece = 1; piece <= strlen(bytes); piece++) {
        lean_wire wire = {.framing = framing};
        pv_buf out = {0};
        cr_assert(frames_of(&wire, bytes, strlen(bytes), piece, &out) == PV_OK);
        cr_assert_str_eq(pv_buf_text(&out), wanted, "in pieces of %zu: %s", piece,
                         pv_buf_text(&out));
        lean_wire_release(&wire);
        pv_buf_release(&out);
    }
}

Test(lean_wire, gives_each_line_that_begins_like_an_object)
{
    expect_frames(LEAN_FRAMING_LINE, "{\"a\":1}\n{\"b\":2}\n", "<{\"a\":1}><{\"b\":2}>");
    expect_frames(LEAN_FRAMING_LINE, "[DEBUG:x]\n{}\n\njunk {\n{}\n {}\n", "<{}><{}>");
    expect_frames(LEAN_FRAMING_LINE, "{}", "");
    expect_frames(LEAN_FRAMING_LINE, "\n\n\n", "");
}

Test(lean_wire, gives_everything_up_to_a_blank_line)
{
    expect_frames(LEAN_FRAMING_BLANK_LINE, "{\n \"a\": 1\n}\n\n{}\n\n", "<{\n \"a\": 1\n}><{}>");
    expect_frames(LEAN_FRAMING_BLANK_LINE, "printed\n{\"a\":\n1}\n\nmore\n\n\n{}\n\n",
                  "<{\"a\":\n1}><{}>");
    expect_frames(LEAN_FRAMING_BLANK_LINE, "{}\n", "");
}

Test(lean_wire, counts_junk_lines)
{
    lean_wire wire = {.framing = LEAN_FRAMING_LINE};
    pv_buf out = {0};
    cr_assert(frames_of(&wire, "a\nb\n\n{}\nc\n", 10, 3, &out) == PV_OK);
    cr_expect(wire.junk_lines == 3, "%llu", (unsigned long long)wire.junk_lines);
    lean_wire_release(&wire);
    pv_buf_release(&out);
}

Test(lean_wire, refuses_a_frame_that_is_too_long)
{
    for (size_t piece = 1; piece < 40; piece++) {
        lean_wire wire = {.framing = LEAN_FRAMING_LINE, .frame_max = 10};
        pv_buf out = {0};
        cr_expect(frames_of(&wire, "{123456789\n", 11, piece, &out) == PV_OK);
        cr_expect(frames_of(&wire, "{1234567890}\n", 13, piece, &out) == PV_E_LIMIT);
        lean_wire_release(&wire);
        pv_buf_release(&out);
    }
}

Test(lean_wire, keeps_no_junk_and_refuses_too_much_of_it)
{
    lean_wire wire = {.framing = LEAN_FRAMING_LINE, .junk_max = 1 << 20};
    pv_buf out = {0};
    char block[4096];
    uint64_t live = pv_mem_live();
    pv_status status = PV_OK;
    size_t fed = 0;
    memset(block, 'x', sizeof block);
    while (status == PV_OK && fed < 1 << 22) {
        status = frames_of(&wire, block, sizeof block, sizeof block, &out);
        fed += sizeof block;
    }
    cr_expect(status == PV_E_LIMIT && fed <= (1 << 20) + 2 * sizeof block, "%zu bytes", fed);
    cr_expect(pv_mem_live() - live < 1 << 15, "an endless line was kept");
    lean_wire_forget_junk(&wire);
    cr_expect(frames_of(&wire, "\n{}\n", 4, 4, &out) == PV_OK);
    cr_expect_str_eq(pv_buf_text(&out), "<{}>");
    lean_wire_release(&wire);
    pv_buf_release(&out);
}

Test(lean_wire, refuses_deep_nesting_but_not_brackets_in_strings)
{
    char deep[256];
    lean_wire wire = {.framing = LEAN_FRAMING_LINE};
    pv_buf out = {0};
    memset(deep, '[', sizeof deep);
    deep[0] = '{';
    deep[sizeof deep - 1] = '\n';
    cr_expect(frames_of(&wire, deep, sizeof deep, sizeof deep, &out) == PV_E_PROTOCOL);
    deep[1] = '"';
    cr_expect(frames_of(&wire, deep, sizeof deep, sizeof deep, &out) == PV_OK);
    cr_expect(lean_wire_shallow("[[\"]]\\\"[[[\"]]", 14, 2));
    cr_expect(!lean_wire_shallow("[[[", 3, 2));
    cr_expect(lean_wire_shallow("]]]]{[", 6, 2));
    lean_wire_release(&wire);
    pv_buf_release(&out);
}

static void expect_string(const char *text, bool ascii, const char *wanted)
{
    pv_buf out = {0};
    lean_wire_put_string(&out, text, ascii);
    cr_expect_str_eq(pv_buf_text(&out), wanted);
    pv_buf_release(&out);
}

Test(lean_wire, writes_strings_in_ascii_or_raw)
{
    expect_string("a\"b\\c\nd\te\x01", true, "\"a\\\"b\\\\c\\nd\\te\\u0001\"");
    expect_string("∀ 𝓝", true, "\"\\u2200 \\ud835\\udcdd\"");
    expect_string("∀ 𝓝\x7f", false, "\"∀ 𝓝\\u007f\"");
    expect_string("bad \xff\xe2\x88", true, "\"bad \\ufffd\\ufffd\\ufffd\"");
    expect_string("", true, "\"\"");
}

Test(lean_wire, reports_every_failed_allocation)
{
    static const char bytes[] =
        "junk\n{\"a\":[1,2,3]}\n{\"b\":2}\n{\"c\":\"a longer line than before\"}\n";
    uint64_t live = pv_mem_live();
    bool failed = true;
    for (int64_t n = 0; failed && n < 1000; n++) {
        lean_wire wire = {.framing = LEAN_FRAMING_LINE};
        pv_buf out = {0};
        pv_buf_reserve(&out, 4096);
        pv_mem_fail_after(n);
        pv_status status = frames_of(&wire, bytes, sizeof bytes - 1, 5, &out);
        pv_mem_fail_after(-1);
        failed = status != PV_OK;
        cr_expect(status == PV_OK || status == PV_E_NOMEM);
        lean_wire_release(&wire);
        pv_buf_release(&out);
        cr_assert(pv_mem_live() == live, "a leak when allocation %lld fails", (long long)n);
    }
    cr_expect(!failed);
}
