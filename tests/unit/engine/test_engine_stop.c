/* Stop strings against a plain search, over every way to cut the text. */
#include "fixture.h"

#include "engine_stop.h"
#include "pv_hash.h"

static engine_stops stops_of(const char *const *texts, size_t n)
{
    engine_text list[ENGINE_STOPS_MAX];
    for (size_t i = 0; i < n; i++) {
        list[i] = (engine_text){texts[i], strlen(texts[i])};
    }
    engine_stops s;
    pv_error err = {0};
    cr_assert_eq(engine_stops_init(&s, list, n, &err), PV_OK, "%s", err.msg);
    return s;
}

/* Feeds text in pieces of `step` bytes; where the match begins, or -1. */
static long match_in_pieces(const engine_stops *s, const char *text, size_t step, size_t *len)
{
    engine_stop_state state = {{0}};
    size_t n = strlen(text);
    for (size_t at = 0; at < n; at += step) {
        size_t used = 0;
        size_t piece = n - at < step ? n - at : step;
        if (engine_stop_feed(s, &state, text + at, piece, &used, len)) {
            return (long)(at + used - *len);
        }
        cr_assert_eq(used, piece);
    }
    return -1;
}

Test(engine_stop, matches_over_token_borders)
{
    const char *const texts[] = {"\n\n\n", "```", "theorem"};
    engine_stops s = stops_of(texts, 3);
    for (size_t step = 1; step < 20; step++) {
        size_t len = 0;
        cr_expect_eq(match_in_pieces(&s, "by simp\n\n\nend", step, &len), 7);
        cr_expect_eq(len, 3);
        cr_expect_eq(match_in_pieces(&s, "a theothetheorem", step, &len), 9);
        cr_expect_eq(match_in_pieces(&s, "``x`` \n\n x", step, &len), -1);
        cr_expect_eq(match_in_pieces(&s, "````", step, &len), 0);
    }
    engine_stops_release(&s);
}

Test(engine_stop, the_first_to_end_wins_and_the_longest_of_those)
{
    const char *const texts[] = {"bc", "abc", "abcd", "c"};
    engine_stops s = stops_of(texts, 4);
    size_t len = 0;
    cr_expect_eq(match_in_pieces(&s, "xabcd", 1, &len), 1);
    cr_expect_eq(len, 3);
    engine_stops_release(&s);
}

Test(engine_stop, holds_back_what_may_begin_a_stop)
{
    const char *const texts[] = {"aab", "xyz"};
    engine_stops s = stops_of(texts, 2);
    engine_stop_state state = {{0}};
    size_t used;
    size_t len;
    cr_expect_eq(engine_stop_held(&s, &state), 0);
    cr_expect_not(engine_stop_feed(&s, &state, "qaaa", 4, &used, &len));
    cr_expect_eq(engine_stop_held(&s, &state), 2);
    cr_expect_not(engine_stop_feed(&s, &state, "x", 1, &used, &len));
    cr_expect_eq(engine_stop_held(&s, &state), 1);
    cr_expect_not(engine_stop_feed(&s, &state, "q", 1, &used, &len));
    cr_expect_eq(engine_stop_held(&s, &state), 0);
    engine_stops_release(&s);
}

static long plain_match(const char *text, const char *const *texts, size_t n, size_t *len)
{
    for (size_t end = 1; end <= strlen(text); end++) {
        *len = 0;
        for (size_t i = 0; i < n; i++) {
            size_t l = strlen(texts[i]);
            if (l <= end && memcmp(text + end - l, texts[i], l) == 0 && l > *len) {
                *len = l;
            }
        }
        if (*len > 0) {
            return (long)(end - *len);
        }
    }
    return -1;
}

Test(engine_stop, random_texts_match_a_plain_search)
{
    for (uint64_t seed = 0; seed < 3000; seed++) {
        uint64_t r = pv_mix64(seed);
        char patterns[3][8];
        const char *texts[3];
        for (int i = 0; i < 3; i++) {
            size_t n = 1 + pv_mix64(r + (uint64_t)i) % 6;
            for (size_t k = 0; k < n; k++) {
                patterns[i][k] = (char)('a' + pv_mix64(r * 31 + (uint64_t)i * 8 + k) % 2);
            }
            patterns[i][n] = '\0';
            texts[i] = patterns[i];
        }
        char text[40];
        for (size_t k = 0; k < 39; k++) {
            text[k] = (char)('a' + pv_mix64(r * 77 + k) % 3);
        }
        text[39] = '\0';
        engine_stops s = stops_of(texts, 3);
        size_t want_len = 0;
        size_t len = 0;
        long want = plain_match(text, texts, 3, &want_len);
        cr_assert_eq(match_in_pieces(&s, text, 1 + seed % 5, &len), want);
        cr_assert(want < 0 || len == want_len);
        engine_stops_release(&s);
    }
}

Test(engine_stop, bytes_may_be_anything)
{
    engine_text t = {"\0\xff\0", 3};
    engine_stops s;
    cr_assert_eq(engine_stops_init(&s, &t, 1, NULL), PV_OK);
    engine_stop_state state = {{0}};
    size_t used = 0;
    size_t len = 0;
    cr_expect(engine_stop_feed(&s, &state, "\0\0\xff\0a", 5, &used, &len));
    cr_expect_eq(used, 4);
    engine_stops_release(&s);
}

Test(engine_stop, refuses_empty_long_and_many)
{
    static char long_text[ENGINE_STOP_BYTES_MAX + 1];
    memset(long_text, 'x', sizeof long_text);
    engine_text empty = {"", 0};
    engine_text large = {long_text, sizeof long_text};
    engine_text many[ENGINE_STOPS_MAX + 1];
    for (size_t i = 0; i <= ENGINE_STOPS_MAX; i++) {
        many[i] = (engine_text){"x", 1};
    }
    engine_stops s;
    cr_expect_eq(engine_stops_init(&s, &empty, 1, NULL), PV_E_INVALID);
    cr_expect_eq(engine_stops_init(&s, &large, 1, NULL), PV_E_INVALID);
    cr_expect_eq(engine_stops_init(&s, many, ENGINE_STOPS_MAX + 1, NULL), PV_E_INVALID);
    large.len = ENGINE_STOP_BYTES_MAX;
    cr_assert_eq(engine_stops_init(&s, &large, 1, NULL), PV_OK);
    engine_stops_release(&s);
}

static pv_status attempt(void *user, pv_error *err)
{
    engine_stops s;
    pv_status status = engine_stops_init(&s, user, 2, err);
    if (status == PV_OK) {
        engine_stops_release(&s);
    }
    return status;
}

Test(engine_stop, every_allocation_may_fail)
{
    engine_text t[2] = {{"abc", 3}, {"d", 1}};
    fixture_chaos(attempt, t);
}
