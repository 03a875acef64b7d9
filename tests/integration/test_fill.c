/* prover fill on a real Lean: the corpus tests/fill, a project of three modules, and files with trouble.
 *
 * tests/fill/expected.tsv has a line for each hole of the corpus: file, line, column, kind, prop or data, declaration, and a proof of it (\n
 * is a line break) where one is known. By itself this takes under a minute; PROVER_FILL_ALL=1 fills the whole corpus and tries 500
 * placements, which takes some ten. */
#define _DEFAULT_SOURCE
#include "command.h"
#include "fills.h"
#include "folder.h"
#include "lean_session.h"
#include "pv_mem.h"

#include <sys/stat.h>

#define CORPUS TEST_SOURCE_DIR "/tests/fill"

TestSuite(fill, .init = make_folder, .fini = remove_folder, .timeout = 850);

static bool do_all(void)
{
    const char *all = getenv("PROVER_FILL_ALL");
    return all != NULL && strcmp(all, "1") == 0;
}

/* ---- what is expected ---- */

typedef struct expected {
    char *file, *kind, *sort, *owner, *proof; /* into `text` of the list */
    size_t line, column;
} expected;

typedef struct expectations {
    pv_buf text;
    expected items[200];
    size_t count;
} expectations;

static char *next_field(char **at)
{
    char *field = *at;
    size_t n = strcspn(field, "\t\n");
    *at += n + (field[n] != '\0');
    field[n] = '\0';
    return field;
}

/* `\n` becomes a line break, in place. */
static void unescape(char *text)
{
    char *to = text;
    for (const char *from = text; *from != '\0'; from++) {
        bool breaks = from[0] == '\\' && from[1] == 'n';
        *to++ = breaks ? '\n' : *from;
        from += breaks;
    }
    *to = '\0';
}

static void load_expectations(expectations *e)
{
    cr_assert_eq(pv_file_read(CORPUS "/expected.tsv", 1 << 20, &e->text, NULL), PV_OK);
    for (char *at = e->text.data; *at != '\0';) {
        expected *x = &e->items[e->count++];
        x->file = next_field(&at);
        x->line = strtoul(next_field(&at), NULL, 10);
        x->column = strtoul(next_field(&at), NULL, 10);
        x->kind = next_field(&at);
        x->sort = next_field(&at);
        x->owner = next_field(&at);
        x->proof = next_field(&at);
        unescape(x->proof);
    }
}

static json_int_t at_of(const json_t *row, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(row, "location"), key));
}

static const char *meta_of(const json_t *row, const char *key)
{
    return json_text(json_object_get(row, "metadata"), key);
}

static size_t count_lines(const command_result *r)
{
    size_t n = 0;
    for (const char *c = pv_buf_text(&r->out); *c != '\0'; c++) {
        n += *c == '\n';
    }
    return n;
}

Test(fill, every_hole_of_the_corpus_is_listed_and_none_invented)
{
    static expectations e;
    load_expectations(&e);
    command_result r = RUN(NULL, PROVER, "fill", CORPUS, "--list", "--json");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_assert_geq(e.count, 60);
    cr_assert_eq(count_lines(&r), e.count, "%zu holes, not %zu", count_lines(&r), e.count);
    for (size_t i = 0; i < e.count; i++) {
        const expected *x = &e.items[i];
        json_t *row = command_json(&r, i);
        const char *path = json_text(json_object_get(row, "location"), "path");
        bool prop = json_is_true(json_object_get(json_object_get(row, "metadata"), "prop"));
        cr_expect(strcmp(path, x->file) == 0 && (size_t)at_of(row, "start_line") == x->line &&
                      (size_t)at_of(row, "start_column") == x->column &&
                      strcmp(meta_of(row, "kind"), x->kind) == 0 &&
                      strcmp(meta_of(row, "declaration"), x->owner) == 0 &&
                      prop == (strcmp(x->sort, "prop") == 0),
                  "%s:%zu:%zu is %s:%d:%d %s in %s", x->file, x->line, x->column, path,
                  (int)at_of(row, "start_line"), (int)at_of(row, "start_column"),
                  meta_of(row, "kind"), meta_of(row, "declaration"));
        const char *goal = json_text(json_object_get(row, "debug_info"), "goal");
        cr_expect(strstr(goal, "⊢ ") != NULL, "%s:%zu: %s", x->file, x->line, goal);
        cr_expect_eq(strlen(json_text(row, "id")), 64);
        json_decref(row);
    }
    command_release(&r);
}

/* ---- filling ---- */

static void copy_corpus(const char *const *names)
{
    char command[600];
    for (size_t i = 0; names[i] != NULL; i++) {
        snprintf(command, sizeof command, "cp %s/%s %s/", CORPUS, names[i], folder);
        cr_assert_eq(system(command), 0);
    }
}

/* The byte of a place that a row names. */
static size_t byte_at(const char *text, json_int_t line, json_int_t column)
{
    const char *at = text;
    while (--line > 0) {
        at = strchr(at, '\n') + 1;
    }
    for (; column > 0; column--) {
        do {
            at++;
        } while ((*at & 0xc0) == 0x80);
    }
    return (size_t)(at - text);
}

typedef struct span {
    size_t start, end;
} span;

/* The filled holes of a file, in the bytes of its old text. */
static size_t filled_spans(const char *name, const command_result *r, const char *old_text,
                           span *out)
{
    size_t count = 0;
    for (size_t i = 0; i < count_lines(r); i++) {
        json_t *row = command_json(r, i);
        if (strcmp(json_text(json_object_get(row, "location"), "path"), name) == 0 &&
            strcmp(json_text(row, "status"), "filled") == 0) {
            out[count].start =
                byte_at(old_text, at_of(row, "start_line"), at_of(row, "start_column"));
            out[count++].end = byte_at(old_text, at_of(row, "end_line"), at_of(row, "end_column"));
        }
        json_decref(row);
    }
    return count;
}

/* Checks that the pieces of the old text between its filled holes are in the new one, in order, the first at its start and the last at
 * its end; blanks at the end of a piece may be gone where a block follows on a line of its own. Returns how many holes are filled. */
static size_t compare_file(const char *name, const command_result *r)
{
    pv_buf old_text = {0}, new_text = {0};
    span spans[40];
    char path[600];
    snprintf(path, sizeof path, "%s/%s", CORPUS, name);
    cr_assert_eq(pv_file_read(path, 1 << 20, &old_text, NULL), PV_OK);
    cr_assert_eq(pv_file_read(in_folder(name), 1 << 20, &new_text, NULL), PV_OK);
    size_t count = filled_spans(name, r, old_text.data, spans);
    const char *at = new_text.data;
    size_t from = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = spans[i].start - from;
        while (n > 0 && old_text.data[from + n - 1] == ' ') {
            n--;
        }
        char *piece = strndup(old_text.data + from, n);
        const char *found = strstr(at, piece);
        cr_assert(found != NULL && (i > 0 || found == at), "%s: before byte %zu", name,
                  spans[i].start);
        at = found + n;
        free(piece);
        from = spans[i].end;
    }
    size_t tail = old_text.len - from;
    cr_assert_leq(at + tail, new_text.data + new_text.len, "%s", name);
    cr_assert_str_eq(new_text.data + new_text.len - tail, old_text.data + from, "%s", name);
    pv_buf_release(&old_text);
    pv_buf_release(&new_text);
    return count;
}

Test(fill, corpus_is_filled_and_compiles_afterwards)
{
    static const char *const some[] = {"crlf.lean", "constructors.lean", NULL};
    static const char *const every[] = {"alternatives.lean",
                                        "block.lean",
                                        "bullets.lean",
                                        "by.lean",
                                        "calc_steps.lean",
                                        "combinators.lean",
                                        "crlf.lean",
                                        "constructors.lean",
                                        "data.lean",
                                        "examples.lean",
                                        "instances.lean",
                                        "mutuals.lean",
                                        "namespaces.lean",
                                        "notations.lean",
                                        "recursion.lean",
                                        "sections.lean",
                                        "tabs.lean",
                                        "terms.lean",
                                        "unicode.lean",
                                        "unprovable.lean",
                                        "where_parts.lean",
                                        "words.lean",
                                        NULL};
    const char *const *names = do_all() ? every : some;
    copy_corpus(names);
    command_result r = RUN(NULL, PROVER, "fill", folder, "--apply", "--json", "--policy",
                           "portfolio", "--timeout", "20", "--nodes", "300");
    cr_assert(r.code == 1 || r.code == 0, "%d: %s", r.code, pv_buf_text(&r.err));
    size_t filled = 0;
    for (size_t i = 0; names[i] != NULL; i++) {
        filled += compare_file(names[i], &r);
    }
    fprintf(stderr, "%zu of %zu holes filled\n", filled, count_lines(&r));
    cr_assert_geq(filled, do_all() ? 45u : 8u, "%s", pv_buf_text(&r.out));
    command_result again = RUN(NULL, PROVER, "fill", folder, "--list", "--json");
    cr_assert_eq(again.code, 0, "%s", pv_buf_text(&again.err)); /* every file compiles */
    cr_assert_eq(count_lines(&again), count_lines(&r) - filled);
    command_release(&again);
    command_release(&r);
}

/* ---- a project ---- */

Test(fill, modules_of_a_project_are_filled_in_the_order_of_their_imports)
{
    mkdir(in_folder("Tower"), 0755);
    write_file(in_folder("lakefile.toml"), "name = \"tower\"\n");
    write_file(in_folder("lean-toolchain"), "leanprover/lean4:v4.28.0\n");
    write_file(in_folder("Tower.lean"),
               "import Tower.Middle\n\ntheorem top : Tower.height = 3 ∧ "
               "Tower.height < 4 := by\n  constructor\n  · sorry\n  · sorry\n");
    write_file(in_folder("Tower/Middle.lean"),
               "import Tower.Base\n\nnamespace Tower\ndef height : Nat := base + 2\n\n"
               "theorem higher : base < height := by sorry\nend Tower\n");
    write_file(
        in_folder("Tower/Base.lean"),
        "namespace Tower\ndef base : Nat := 1\n\ntheorem low : base ≤ 1 := sorry\nend Tower\n");
    command_result r =
        RUN(NULL, PROVER, "fill", folder, "--json", "--apply", "--backup", "--policy", "portfolio",
            "--timeout", "20", "--store", in_folder("fills.sqlite"));
    static const char *const order[] = {"Tower/Base.lean", "Tower/Middle.lean", "Tower.lean",
                                        "Tower.lean"};
    cr_assert_eq(r.code, 0, "%s%s", pv_buf_text(&r.err), pv_buf_text(&r.out));
    cr_assert_eq(count_lines(&r), 4);
    for (size_t i = 0; i < 4; i++) {
        json_t *row = command_json(&r, i);
        cr_assert_str_eq(json_text(json_object_get(row, "location"), "path"), order[i]);
        cr_assert_str_eq(json_text(row, "status"), "filled");
        cr_assert_str_eq(json_text(row, "level"), "audited");
        json_decref(row);
    }
    cr_assert(pv_file_exists(in_folder("Tower/Base.lean.bak")));
    command_release(&r);
    r = RUN(NULL, PROVER, "fill", folder, "--list", "--check");
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    command_release(&r);
    /* each file is a run; the latest is shown, with both holes of its one theorem */
    r = RUN(NULL, PROVER, "report", in_folder("fills.sqlite"), "-o", in_folder("fills.html"));
    cr_assert_eq(r.code, 0, "%s", pv_buf_text(&r.err));
    cr_expect_not_null(strstr(pv_buf_text(&r.out), "2 of 2 problems proved"), "%s",
                       pv_buf_text(&r.out));
    command_release(&r);
}

/* ---- trouble ---- */

Test(fill, files_with_trouble_are_told_and_left_alone)
{
    const char *bad = "theorem t : 1 = 2 := by decide\ntheorem u : True := by sorry\n";
    const char *loop = "partial def spin (n : Nat) : IO Unit := spin (n + 1)\n#eval spin 0\n"
                       "theorem t : True := by sorry\n";
    const char *prints =
        "#eval IO.println \"{\\\"id\\\":1}\"\n#eval (dbg_trace \"hello\"; 1 : Nat)\n"
        "theorem t : True := by sorry\n";
    write_file(in_folder("a_bad.lean"), bad);
    write_file(in_folder("b_loop.lean"), loop);
    write_file(in_folder("c_prints.lean"), prints);
    write_file(in_folder("d_import.lean"), "import Nope\ntheorem t : True := by sorry\n");
    write_file(in_folder("e_empty.lean"), "");
    command_result r = RUN(NULL, PROVER, "fill", folder, "--check", "--policy", "portfolio",
                           "--tactic-timeout", "2");
    const char *said = pv_buf_text(&r.err);
    cr_assert(r.code == 2 || r.code == 3, "%d: %s", r.code, said);
    cr_assert_not_null(strstr(said, "a_bad.lean:1:24: Lean says:"), "%s", said);
    cr_assert_not_null(strstr(said, "b_loop.lean: Lean did not come to its end"), "%s", said);
    cr_assert_not_null(strstr(said, "c_prints.lean:3:23: by in t: filled"), "%s", said);
    cr_assert_not_null(strstr(said, "Nope"), "%s", said);
    cr_assert_not_null(strstr(pv_buf_text(&r.out), "+++ b/c_prints.lean"), "%s", said);
    pv_buf text = {0};
    cr_assert_eq(pv_file_read(in_folder("c_prints.lean"), 1000, &text, NULL), PV_OK);
    cr_assert_str_eq(pv_buf_text(&text), prints);
    pv_buf_release(&text);
    command_release(&r);
}

Test(fill, what_does_not_go_together_is_refused)
{
    write_file(in_folder("a.lean"), "theorem t : True := by sorry\n");
    command_result r = RUN(NULL, PROVER, "fill", in_folder("a.lean"), "--apply", "--check");
    cr_assert_eq(r.code, 2);
    command_release(&r);
    r = RUN(NULL, PROVER, "fill", in_folder("a.lean"), "--backup");
    cr_assert_eq(r.code, 2);
    command_release(&r);
    r = RUN(NULL, PROVER, "fill", in_folder("none.lean"));
    cr_assert_eq(r.code, 3);
    command_release(&r);
    r = RUN(NULL, PROVER, "fill", "--list", folder, "b.lean");
    cr_assert_eq(r.code, 3);
    command_release(&r);
}

/* ---- known proofs at random holes ---- */

typedef struct judged {
    bool done, accepted;
    char why[1200];
} judged;

static void on_judged(void *user, lean_ticket ticket, const lean_checked *checked,
                      const pv_error *failure)
{
    judged *j = user;
    (void)ticket;
    j->done = true;
    j->accepted = failure == NULL && checked->verdict == LEAN_ACCEPTED;
    snprintf(j->why, sizeof j->why, "%s: %s",
             failure != NULL           ? "failure"
             : checked->reason == NULL ? ""
                                       : checked->reason,
             failure != NULL            ? failure->msg
             : checked->message == NULL ? ""
                                        : checked->message);
}

typedef struct opened {
    char name[64];
    source src;
    theorem_list list;
} opened;

static const char *proof_of(const expectations *e, const char *file, const hole *h)
{
    for (size_t i = 0; i < e->count; i++) {
        const expected *x = &e->items[i];
        if (strcmp(x->file, file) == 0 && x->line == h->line && x->column == h->column) {
            return x->proof;
        }
    }
    return "";
}

/* A known proof, made longer in one of some ways, so that blocks of several lines come to stand everywhere. */
static char *dress(const char *proof)
{
    pv_buf text = {0};
    switch (rand() % 4) {
    case 0:
        pv_buf_puts(&text, proof);
        break;
    case 1:
        pv_buf_printf(&text, "skip\n%s", proof);
        break;
    case 2:
        pv_buf_printf(
            &text,
            "have prover_extra : True := by\n  skip\n  exact trivial\nclear prover_extra\n%s",
            proof);
        break;
    default:
        pv_buf_printf(&text, "-- a remark\nskip; skip\n%s", proof);
        break;
    }
    return pv_buf_detach(&text);
}

static source_fill fill_of(const hole *h, const char *proof)
{
    source_fill fill = {.start = h->start,
                        .end = h->end,
                        .term = h->term,
                        .proof = proof,
                        .form = h->form,
                        .outer = h->outer};
    return fill;
}

/* Fills random holes of the file. Returns how many. */
static size_t place(const expectations *e, const opened *o, source_fill *fills)
{
    size_t count = 0, last = SIZE_MAX;
    for (size_t i = 0; i < o->list.count; i++) {
        const theorem *t = &o->list.items[i];
        for (size_t k = 0; k < t->hole_count; k++) {
            const hole *h = &t->holes[k];
            const char *proof = proof_of(e, o->name, h);
            if (proof[0] != '\0' && h->start != last && rand() % 3 == 0) {
                fills[count++] = fill_of(h, dress(proof));
            }
            last = h->start;
        }
    }
    return count;
}

/* What lies outside the holes must be there, byte for byte, blanks before a line break of ours aside. */
static void check_outside(const opened *o, const source_fill *fills, const uint64_t *numbers,
                          size_t count, const pv_buf *candidate)
{
    size_t from = 0, at = 0;
    for (size_t i = 0; i < count; i++) {
        size_t n = fills[i].start - from;
        size_t kept = n;
        while (kept > 0 && memcmp(o->src.body + from, candidate->data + at, kept) != 0) {
            kept--;
        }
        for (size_t k = kept; k < n; k++) {
            cr_assert_eq(o->src.body[from + k], ' ', "%s: byte %zu was changed", o->name, from + k);
        }
        at += n + numbers[3 * i + 2];
        from = fills[i].end;
    }
    cr_assert_str_eq(candidate->data + at, o->src.body + from, "%s", o->name);
}

/* 1 when some hole was filled, and the judge asked. */
static size_t try_placement(session *s, lean_env *env, const expectations *e, const opened *o)
{
    source_fill fills[40];
    uint64_t numbers[120];
    size_t count = place(e, o, fills);
    pv_buf candidate = {0};
    pv_error err = {0};
    judged j = {0};
    if (count == 0) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        numbers[3 * i] = fills[i].start;
        numbers[3 * i + 1] = fills[i].end;
        numbers[3 * i + 2] = fills[i].end - fills[i].start + source_growth(&o->src, &fills[i]);
    }
    cr_assert_eq(source_splice(&o->src, false, fills, count, &candidate, NULL), PV_OK);
    check_outside(o, fills, numbers, count, &candidate);
    lean_check_request request = {.original = o->src.body,
                                  .candidate = candidate.data,
                                  .fills = numbers,
                                  .fill_numbers = 3 * count};
    cr_assert_eq(lean_check(env, &request, NULL, on_judged, &j, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(session_wait(s, &j.done, &err), PV_OK);
    cr_expect(j.accepted, "%s\n%s\n%s", o->name, j.why, candidate.data);
    for (size_t i = 0; i < count; i++) {
        pv_free((char *)fills[i].proof);
    }
    pv_buf_release(&candidate);
    return 1;
}

/* Something that is no proof of the goal must not pass. */
static void try_falsehood(session *s, lean_env *env, const opened *o)
{
    static const char *const wrong[] = {"skip", "exact sorry", "simp [*] at *; exact lcProof"};
    const hole *h = &o->list.items[0].holes[0];
    source_fill piece = fill_of(h, wrong[rand() % 3]);
    uint64_t numbers[3] = {h->start, h->end, h->end - h->start + source_growth(&o->src, &piece)};
    pv_buf candidate = {0};
    pv_error err = {0};
    judged j = {0};
    cr_assert_eq(source_splice(&o->src, false, &piece, 1, &candidate, NULL), PV_OK);
    lean_check_request request = {
        .original = o->src.body, .candidate = candidate.data, .fills = numbers, .fill_numbers = 3};
    cr_assert_eq(lean_check(env, &request, NULL, on_judged, &j, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(session_wait(s, &j.done, &err), PV_OK);
    cr_expect_not(j.accepted, "%s", candidate.data);
    pv_buf_release(&candidate);
}

static size_t open_corpus(session *s, lean_env *env, const expectations *e, opened *files)
{
    size_t count = 0;
    pv_error err = {0};
    for (size_t i = 0; i < e->count; i++) {
        if (count > 0 && strcmp(files[count - 1].name, e->items[i].file) == 0) {
            continue;
        }
        opened *o = &files[count++];
        char path[600];
        snprintf(o->name, sizeof o->name, "%s", e->items[i].file);
        snprintf(path, sizeof path, "%s/%s", CORPUS, o->name);
        cr_assert_eq(source_load(&o->src, path, "", &err), PV_OK, "%s", err.msg);
        cr_assert_eq(ask_theorems(s, env, &o->src, &o->list, &err), PV_OK, "%s", err.msg);
    }
    return count;
}

Test(fill, known_proofs_fit_into_random_holes)
{
    static expectations e;
    static opened files[64];
    load_expectations(&e);
    options opt;
    session s;
    lean_env *env = NULL;
    pv_error err = {0};
    char *argv[] = {"prover", "fill", "--tactic-timeout", "60"};
    cr_assert_eq(options_parse(&opt, FOR_FILL, 4, argv, 2, &err), PV_OK);
    cr_assert_eq(session_open(&s, &opt, &err), PV_OK, "%s", err.msg);
    cr_assert_eq(session_start_pool(&s, 1, &err), PV_OK, "%s", err.msg);
    source top = {.name = "the header", .header = "import Init\n"};
    cr_assert_eq(ask_header(&s, &top, &env, &err), PV_OK, "%s", err.msg);
    size_t count = open_corpus(&s, env, &e, files);
    srand(20);
    size_t wanted = do_all() ? 500 : 20, placed = 0;
    while (placed < wanted) {
        placed += try_placement(&s, env, &e, &files[(size_t)rand() % count]);
    }
    for (size_t i = 0; i < 6; i++) {
        const opened *o = &files[(size_t)rand() % count];
        if (o->list.items[0].hole_count > 0) {
            try_falsehood(&s, env, o);
        }
    }
    for (size_t i = 0; i < count; i++) {
        theorem_list_release(&files[i].list);
        source_release(&files[i].src);
    }
    lean_env_unref(env);
    session_close(&s);
    options_release(&opt);
}
