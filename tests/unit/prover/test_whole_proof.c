/* What models say, cut into parts; the corpus is 221 outputs of DeepSeek-Prover-V2 beside the checkout. */
#include "problem_file.h"
#include "pv_file.h"
#include "pv_mem.h"
#include "whole_proof.h"

#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static const char COT[] =
    "### Plan\n\nSketch:\n\n```lean4\ntheorem t (x : Nat) : x = x := by\n  sorry\n```\n\n"
    "In shell: \n```sh\nlake build\n```\n### Complete Lean 4 Proof\n\n"
    "```lean4\nimport Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n\nopen Nat Real\n\n"
    "/-- Show it. -/\ntheorem t (x : Nat) (h : x = 0 := by simp) : let y := x; y = x := by\n"
    "  have a : x = x := by\n    rfl\n  exact a\n\n```\n";

static whole_proof find(const char *text, const char *name)
{
    whole_proof p;
    pv_error err = {0};
    cr_assert_eq(whole_proof_find(&p, text, strlen(text), name, &err), PV_OK, "%s", err.msg);
    return p;
}

static void is(const char *text, whole_proof_span span, const char *expected)
{
    size_t n = span.end - span.start;
    cr_expect(strlen(expected) == n && memcmp(text + span.start, expected, n) == 0,
              "expected <%s>, got <%.*s>", expected, (int)n, text + span.start);
}

/* The parts follow each other and make up the code; between statement and body stands what must. */
static void adds_up(const char *text, const whole_proof *p)
{
    pv_buf glue = {0};
    for (size_t i = p->statement.end; i < p->body.start; i++) {
        if (strchr(" \n\t", text[i]) == NULL) {
            pv_buf_putc(&glue, text[i]);
        }
    }
    cr_expect_str_eq(pv_buf_text(&glue), p->tactics ? ":=by" : ":=");
    pv_buf_release(&glue);
    cr_expect_eq(p->header.start, p->code.start);
    cr_expect_eq(p->helpers.start, p->header.end);
    cr_expect_eq(p->comment.start, p->helpers.end);
    cr_expect_eq(p->statement.start, p->comment.end);
    cr_expect_lt(p->statement.start, p->statement.end);
    cr_expect_lt(p->body.start, p->body.end);
    cr_expect_eq(p->rest.start, p->body.end);
    cr_expect_eq(p->rest.end, p->code.end);
}

Test(whole_proof, takes_the_last_block_with_the_theorem)
{
    whole_proof p = find(COT, "t");
    adds_up(COT, &p);
    is(COT, p.header,
       "import Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n\nopen Nat Real");
    is(COT, p.comment, "\n\n/-- Show it. -/\n");
    is(COT, p.statement, "theorem t (x : Nat) (h : x = 0 := by simp) : let y := x; y = x");
    is(COT, p.body, "\n  have a : x = x := by\n    rfl\n  exact a");
    cr_expect(p.tactics && p.closed && !p.more);
    cr_expect_eq(p.helper_count, 0);
}

Test(whole_proof, knows_thoughts_cut_blocks_helpers_and_terms)
{
    static const char thought[] = "<think>\n```lean4\ntheorem t : p := by wrong\n```\n</think>\n"
                                  "```lean4\ntheorem t : p := by\n  right";
    whole_proof p = find(thought, "t");
    is(thought, p.body, "\n  right");
    cr_expect_not(p.closed);

    static const char helper[] =
        "theorem h : q := by\n  simp\n\ntheorem t : p := h.mp\n\n#print t\n";
    p = find(helper, "t");
    adds_up(helper, &p);
    is(helper, p.helpers, "theorem h : q := by\n  simp");
    is(helper, p.body, " h.mp");
    is(helper, p.rest, "\n\n#print t\n");
    cr_expect(!p.tactics && p.more && p.closed);
    cr_expect_eq(p.helper_count, 1);
}

static void refuses(const char *text, const char *name, pv_status status, const char *says)
{
    whole_proof p;
    pv_error err = {0};
    cr_expect_eq(whole_proof_find(&p, text, strlen(text), name, &err), status, "%s", text);
    cr_expect_not_null(strstr(err.msg, says), "%s", err.msg);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(whole_proof, says_what_is_missing)
{
    refuses("I cannot prove this.", "t", PV_E_NOTFOUND, "does not declare t");
    refuses("```lean4\ntheorem u : p := by simp\n```", "t", PV_E_NOTFOUND, "1 blocks");
    refuses("```python\ntheorem t : p := by simp\n```", "t", PV_E_NOTFOUND, "does not declare t");
    refuses("```lean4\ntheorem t : p := by\n```", "t", PV_E_INVALID, "no proof");
    refuses("```lean4\ntheorem t : p\n```", "t", PV_E_INVALID, "no proof");
    refuses("", NULL, PV_E_NOTFOUND, "a theorem");
}

static void attaches(const char *model, const char *user, const char *expected)
{
    whole_proof p = find(model, NULL);
    pv_buf out = {0};
    pv_error err = {0};
    size_t at = 0, hole = (size_t)(strstr(user, "sorry") - user);
    cr_assert_eq(whole_proof_attach(&p, model, user, strlen(user), hole, &out, &at, &err), PV_OK,
                 "%s", err.msg);
    cr_expect_str_eq(pv_buf_text(&out), expected);
    size_t n = p.body.end - p.body.start;
    cr_expect(at + n <= out.len && memcmp(out.data + at, model + p.body.start, n) == 0);
    pv_buf_release(&out);
}

Test(whole_proof, leaves_the_users_statement_as_it_is)
{
    static const char block[] = "theorem t : False := by\n  simp\n  omega\n";
    attaches(block, "theorem t  :  p := by sorry\n", "theorem t  :  p := by \n  simp\n  omega\n");
    attaches(block, "theorem t : p := sorry -- x", "theorem t : p := by\n  simp\n  omega -- x");
    attaches("theorem t : q := by simp", "theorem t : p :=\n  sorry",
             "theorem t : p :=\n  by simp");
    attaches("theorem t : q := h.1", "theorem t : p := by\n  sorry",
             "theorem t : p := by\n  exact ( h.1)");
    attaches("theorem t : q := h.1", "theorem t : p := sorry", "theorem t : p :=  h.1");

    whole_proof p = find(block, NULL);
    pv_buf out = {0};
    pv_error err = {0};
    static const char begun[] = "theorem t : p := by\n  simp\n  sorry";
    cr_expect_eq(
        whole_proof_attach(&p, block, begun, sizeof begun - 1, sizeof begun - 6, &out, NULL, &err),
        PV_E_INVALID);
    cr_expect_eq(whole_proof_attach(&p, block, begun, sizeof begun - 1, 3, &out, NULL, NULL),
                 PV_E_MISUSE);
    pv_buf_release(&out);
    cr_expect_eq(pv_mem_live(), 0);
}

Test(whole_proof, compares_statements)
{
    size_t a = 0, b = 0;
    static const char x[] = "theorem t (a : Nat) : a = a", y[] = "theorem t (a:Nat) :\n  a = a",
                      z[] = "theorem t (a : Nat) : a  = b";
    cr_expect_eq(whole_proof_compare(x, strlen(x), x, strlen(x), NULL, NULL), WHOLE_PROOF_SAME);
    cr_expect_eq(whole_proof_compare(x, strlen(x), y, strlen(y), NULL, NULL), WHOLE_PROOF_LAYOUT);
    cr_expect_eq(whole_proof_compare(x, strlen(x), z, strlen(z), &a, &b), WHOLE_PROOF_OTHER);
    cr_expect_str_eq(x + a, "a");
    cr_expect_str_eq(z + b, "b");
}

Test(whole_proof, gives_back_its_memory)
{
    for (int64_t n = 0;; n++) {
        whole_proof p;
        pv_error err = {0};
        pv_mem_fail_after(n);
        pv_status status = whole_proof_find(&p, COT, sizeof COT - 1, "t", &err);
        pv_mem_fail_after(-1);
        cr_expect_eq(pv_mem_live(), 0);
        if (status == PV_OK && n > 3) {
            break;
        }
        cr_expect(status == PV_OK || status == PV_E_NOMEM, "%s", err.msg);
    }
}

/* ---- the corpus ---- */

#define DATA TEST_SOURCE_DIR "/../shared/data/"

static json_t *rows_of(const char *path)
{
    pv_buf text = {0};
    if (pv_file_read(path, 64 << 20, &text, NULL) != PV_OK) {
        return NULL;
    }
    json_t *rows = json_array();
    for (char *line = text.data; *line != '\0';) {
        size_t n = strcspn(line, "\n");
        json_array_append_new(rows, json_loadb(line, n, 0, NULL));
        line += n + (line[n] == '\n');
    }
    pv_buf_release(&text);
    return rows;
}

static const problem *problem_named(const problem_list *list, const char *name)
{
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->items[i].name, name) == 0) {
            return &list->items[i];
        }
    }
    return NULL;
}

/* Parses one output bare and dressed as an answer with thoughts and prose: the same parts. */
static whole_proof parse_output(const char *code, const char *name)
{
    whole_proof p = find(code, name);
    adds_up(code, &p);
    pv_buf dressed = {0};
    pv_buf_printf(&dressed,
                  "<think>\n```lean4\ntheorem %s : x := by sorry\n```\n</think>\n### Plan\n\n"
                  "```lean4\ntheorem %s : x := by\n  sorry\n```\n\n### Complete Lean 4 Proof\n\n"
                  "```lean4\n%s\n```\nDone.\n",
                  name, name, code);
    whole_proof q = find(pv_buf_text(&dressed), name);
    adds_up(pv_buf_text(&dressed), &q);
    size_t by = q.code.start;
    cr_expect_eq(q.header.end - by, p.header.end, "%s", name);
    cr_expect_eq(q.statement.start - by, p.statement.start, "%s", name);
    cr_expect_eq(q.statement.end - by, p.statement.end, "%s", name);
    cr_expect_eq(q.body.start - by, p.body.start, "%s", name);
    cr_expect_eq(q.body.end - by, p.body.end, "%s", name);
    pv_buf_release(&dressed);
    return p;
}

static void attach_output(const whole_proof *p, const char *code, const problem *theirs)
{
    pv_buf out = {0};
    pv_error err = {0};
    size_t at = 0, n = strlen(theirs->text), hole = n - strlen("sorry");
    cr_assert_str_eq(theirs->text + hole, "sorry");
    cr_assert_eq(whole_proof_attach(p, code, theirs->text, n, hole, &out, &at, &err), PV_OK, "%s",
                 err.msg);
    cr_expect(memcmp(out.data, theirs->text, hole) == 0, "%s", theirs->name);
    cr_expect_eq(out.len, at + p->body.end - p->body.start);
    pv_buf_release(&out);
}

Test(whole_proof, parses_all_outputs_of_prover_v2)
{
    static const char header[] = "import Mathlib\nimport Aesop\n\nset_option maxHeartbeats 0\n\n"
                                 "open BigOperators Real Nat Topology Rat";
    json_t *rows = rows_of(DATA "prover_v2_valid_solutions.jsonl");
    problem_list ours = {0};
    if (rows == NULL || problem_file_read(&ours, DATA "minif2f_valid.jsonl", "", NULL) != PV_OK) {
        cr_skip_test("SKIPPED: there is no ../shared/data beside the checkout");
    }
    size_t counts[3] = {0}, missing = 0;
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const json_t *row = json_array_get(rows, i);
        const char *name = json_string_value(json_object_get(row, "name"));
        const char *code = json_string_value(json_object_get(row, "code"));
        const problem *theirs = problem_named(&ours, name);
        whole_proof p = parse_output(code, name);
        is(code, p.header, header);
        cr_expect(p.tactics && !p.more && p.helper_count == 0, "%s", name);
        if (theirs == NULL) {
            printf("not in minif2f_valid.jsonl: %s\n", name);
            missing++;
            continue;
        }
        whole_proof q = find(theirs->text, name);
        const char *a = code + p.statement.start, *b = theirs->text + q.statement.start;
        size_t at_a = 0, at_b = 0;
        whole_proof_match match =
            whole_proof_compare(a, p.statement.end - p.statement.start, b,
                                q.statement.end - q.statement.start, &at_a, &at_b);
        counts[match]++;
        if (match == WHOLE_PROOF_OTHER) {
            printf("%s: %.24s | %.24s\n", name, a + at_a, b + at_b);
        }
        attach_output(&p, code, theirs);
    }
    printf("statements: %zu the same bytes, %zu the same tokens, %zu differ, %zu without a "
           "counterpart\n",
           counts[0], counts[1], counts[2], missing);
    cr_expect_eq(json_array_size(rows), 221);
    cr_expect_eq(counts[WHOLE_PROOF_SAME], 191);
    cr_expect_eq(counts[WHOLE_PROOF_LAYOUT], 1);
    cr_expect_eq(counts[WHOLE_PROOF_OTHER],
                 29); /* `in` or `∈` in big operators, Real.pi or π, and two others */
    problem_list_release(&ours);
    json_decref(rows);
}
