/* The bytes that a model is shown of Lean's errors. */
#include "repair_prompt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char TEXT[] = "theorem t : p := by\n"
                           "  one\n"
                           "  two\n"
                           "  three\n"
                           "  four\n"
                           "  five six\n"
                           "  seven\n"
                           "  eight";

static const char HEAD[] =
    "Lean does not accept the proof (round 1). The place of each error stands between <error> and "
    "</error>.\n\n";
static const char TAIL[] =
    "First say what is wrong with the proof and how it can be mended. Then write the theorem again "
    "with a whole proof, in one block of Lean 4 code. The statement stays as it is; `sorry`, "
    "`exact?` and `apply?` are no proofs.";

static repair_error at(const char *from, const char *to, char *message)
{
    size_t start = (size_t)(strstr(TEXT, from) - TEXT);
    return (repair_error){start, (size_t)(strstr(TEXT, to) - TEXT) + strlen(to), message};
}

/* What stands between head and tail; the caller frees. */
static char *middle(unsigned round, const char *text, const repair_error *errors, size_t count,
                    size_t total)
{
    pv_buf out = {0};
    char head[256];
    repair_prompt_write(&out, round, text, strlen(text), errors, count, total);
    cr_assert(pv_buf_ok(&out));
    strcpy(head, HEAD);
    head[strlen("Lean does not accept the proof (round ")] = (char)('0' + round);
    size_t n = strlen(head), k = strlen(TAIL);
    cr_assert_gt(out.len, n + k);
    cr_assert_eq(strncmp(out.data, head, n), 0, "%s", out.data);
    cr_assert_str_eq(out.data + out.len - k, TAIL);
    char *text_between = malloc(out.len - n - k + 1);
    memcpy(text_between, out.data + n, out.len - n - k);
    text_between[out.len - n - k] = '\0';
    pv_buf_release(&out);
    return text_between;
}

static void expect(unsigned round, const repair_error *errors, size_t count, size_t total,
                   const char *expected)
{
    char *said = middle(round, TEXT, errors, count, total);
    cr_expect_str_eq(said, expected);
    free(said);
}

Test(repair_prompt, a_place_has_four_lines_before_it_and_one_behind)
{
    repair_error e = at("six", "six", "unknown tactic\n");
    expect(1, &e, 1, 1,
           "Error 1:\n```lean4\n  one\n  two\n  three\n  four\n  five <error>six</error>\n  "
           "seven\n```\nLean says: unknown tactic\n\n");
}

Test(repair_prompt, the_first_and_the_last_line_have_what_there_is)
{
    repair_error errors[] = {at("theorem", "theorem", "a"), at("eight", "eight", "b")};
    expect(2, errors, 2, 2,
           "Error 1:\n```lean4\n<error>theorem</error> t : p := by\n  one\n```\nLean says: a\n\n"
           "Error 2:\n```lean4\n  three\n  four\n  five six\n  seven\n  <error>eight</error>\n```\n"
           "Lean says: b\n\n");
}

Test(repair_prompt, a_place_may_have_several_lines_and_blanks_behind_it_are_no_part_of_it)
{
    repair_error e = at("two", "three", "x");
    e.end += 3; /* the line break and the next line's indentation */
    expect(1, &e, 1, 1,
           "Error 1:\n```lean4\ntheorem t : p := by\n  one\n  <error>two\n  three</error>\n  "
           "four\n```\nLean says: x\n\n");
}

Test(repair_prompt, a_long_place_ends_after_six_lines)
{
    repair_error e = at("by", "eight", "unsolved goals");
    expect(1, &e, 1, 1,
           "Error 1:\n```lean4\ntheorem t : p := <error>by\n  one\n  two\n  three\n  four\n  five "
           "six\n...</error>\n```\nLean says: unsolved goals\n\n");
}

Test(repair_prompt, eight_errors_are_shown_and_the_others_counted)
{
    repair_error errors[9];
    for (size_t i = 0; i < 9; i++) {
        errors[i] = at("one", "one", "m");
    }
    char *said = middle(1, TEXT, errors, 8, 12);
    cr_expect_not_null(strstr(said, "Error 8:\n"));
    cr_expect_null(strstr(said, "Error 9:\n"));
    cr_expect_not_null(strstr(said, "Lean says: m\n\nThere are 4 more errors.\n\n"));
    free(said);
    said = middle(1, TEXT, errors, 9, 9);
    cr_expect_null(strstr(said, "Error 9:\n"));
    cr_expect_not_null(strstr(said, "There are 1 more errors.\n\n"));
    free(said);
}

Test(repair_prompt, a_long_message_is_cut_at_a_code_point)
{
    char message[2001] = "";
    for (size_t i = 0; i < 1000; i++) {
        memcpy(message + 2 * i, i == 0 ? "ab" : "é", 2);
    }
    message[0] = 'a';
    memmove(message + 1, message + 2, 1999); /* odd: byte 1200 is inside an é */
    repair_error e = at("one", "one", message);
    char *said = middle(1, TEXT, &e, 1, 1);
    const char *shown = strstr(said, "Lean says: ");
    cr_assert_not_null(shown);
    shown += strlen("Lean says: ");
    cr_expect_eq(strlen(shown), REPAIR_MESSAGE_BYTES - 1 + strlen("...\n\n"));
    cr_expect_str_eq(shown + REPAIR_MESSAGE_BYTES - 3, "é...\n\n");
    free(said);
}

Test(repair_prompt, a_place_behind_the_text_is_its_end)
{
    repair_error e = {1000, 2000, "z"};
    char *said = middle(1, "theorem t : p := by\n  x", &e, 1, 1);
    cr_expect_str_eq(said, "Error 1:\n```lean4\ntheorem t : p := by\n  x<error></error>\n```\nLean "
                           "says: z\n\n");
    free(said);
}
