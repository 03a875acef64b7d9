/* Server-sent events, cut anywhere. */
#include "pv_mem.h"
#include "sse.h"

#include <criterion/criterion.h>
#include <string.h>

static pv_status note(void *user, const char *data, size_t n, pv_error *err)
{
    pv_buf *seen = user;
    cr_assert_eq(strlen(data), n);
    if (strcmp(data, "stop") == 0) {
        return pv_fail(err, PV_E_PROTOCOL, "stopped");
    }
    pv_buf_printf(seen, "[%s]", data);
    return PV_OK;
}

static pv_status feed(const char *text, size_t piece, pv_buf *seen, pv_error *err)
{
    sse s = {0};
    pv_status status = PV_OK;
    for (size_t at = 0, n = strlen(text); at < n && status == PV_OK; at += piece) {
        status = sse_feed(&s, text + at, n - at < piece ? n - at : piece, note, seen, err);
    }
    sse_release(&s);
    return status;
}

Test(sse, events_are_the_same_however_the_bytes_are_cut)
{
    const char *text = "\xEF\xBB\xBF"
                       "data: a\n\n"
                       ": a comment\n"
                       "event: x\nid: 1\nretry: 3\ndata:b\r\ndata:  c\r\n\r\n"
                       "data\n\n"
                       "database: no\n\n"
                       "data: d\rdata: e\r\r"
                       "\n\n\n"
                       "data: ⟨h⟩\n\n"
                       "data: never ended\n";
    for (size_t piece = 1; piece <= strlen(text); piece++) {
        pv_buf seen = {0};
        cr_assert_eq(feed(text, piece, &seen, NULL), PV_OK);
        cr_assert_str_eq(pv_buf_text(&seen), "[a][b\n c][][d\ne][⟨h⟩]", "pieces of %zu", piece);
        pv_buf_release(&seen);
    }
    cr_assert_eq(pv_mem_live(), 0);
}

Test(sse, a_failure_of_the_reader_ends_the_feeding)
{
    pv_buf seen = {0};
    pv_error err = {0};
    cr_assert_eq(feed("data: a\n\ndata: stop\n\ndata: b\n\n", 100, &seen, &err), PV_E_PROTOCOL);
    cr_assert_str_eq(pv_buf_text(&seen), "[a]");
    cr_assert_str_eq(err.msg, "stopped");
    pv_buf_release(&seen);
}

Test(sse, an_event_without_end_is_a_limit)
{
    static char block[65536];
    memset(block, 'x', sizeof block);
    for (int lines = 0; lines < 2; lines++) { /* one long line; many lines of one event */
        sse s = {0};
        pv_buf seen = {0};
        pv_error err = {0};
        pv_status status = sse_feed(&s, "data:", 5, note, &seen, &err);
        for (int i = 0; i < 64 && status == PV_OK; i++) {
            status = sse_feed(&s, block, sizeof block, note, &seen, &err);
            if (status == PV_OK && lines == 1) {
                status = sse_feed(&s, "\ndata:", 6, note, &seen, &err);
            }
        }
        cr_assert_eq(status, PV_E_LIMIT);
        cr_assert_lt(pv_mem_peak(), 8 << 20);
        sse_release(&s);
        pv_buf_release(&seen);
    }
    cr_assert_eq(pv_mem_live(), 0);
}

Test(sse, the_nth_allocation_fails)
{
    pv_status status = PV_E_NOMEM;
    int64_t n = 0;
    for (; status != PV_OK; n++) {
        pv_buf seen = {0};
        sse s = {0};
        status = PV_OK;
        cr_assert(pv_buf_reserve(&seen, 100));
        pv_mem_fail_after(n);
        const char *text = "data: abc\ndata: def\n\n";
        for (size_t at = 0; text[at] != '\0' && status == PV_OK; at++) {
            status = sse_feed(&s, text + at, 1, note, &seen, NULL);
        }
        pv_mem_fail_after(-1);
        cr_assert(status == PV_OK || status == PV_E_NOMEM);
        sse_release(&s);
        pv_buf_release(&seen);
    }
    cr_assert_gt(n, 2);
    cr_assert_eq(pv_mem_live(), 0);
}
