#include "lean_kernel.h"

#include "lean_program.h"
#include "lean_strings.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <string.h>

#define SHELL  "/bin/sh"
#define BLANKS " \t\n"

/* $1: lean. $2: the folder. $3: the source in it. */
static const char COMPILE[] = "made=$(mktemp -d) && \"$1\" -R \"$2\" -o \"$made/m.olean\" \"$3\" "
                              ">&2 && cat \"$made/m.olean\"\n"
                              "code=$?; rm -rf \"$made\"; exit $code\n";

/* $1: the folder with the .olean; the rest is run. */
static const char WITH_FOLDER[] = "LEAN_PATH=${LEAN_PATH:+$LEAN_PATH:}$1; export LEAN_PATH\n"
                                  "shift; exec \"$@\"\n";

/* What a kernel treats in a way of its own has to be in the export, whether or not the proof speaks of it. */
static const char *const BUILT_IN[] = {"Nat", "String", "Char", "Char.ofNat", "List"};

static pv_status no_memory(pv_error *err)
{
    return pv_fail(err, PV_E_NOMEM, "out of memory while preparing a kernel's start");
}

/* ---- what is there ---- */

/* The first folder of the PATH that the toolchain's programs get: its own (pv_free). */
static char *own_folder(const lean_toolchain *toolchain)
{
    for (size_t i = 0; toolchain->env != NULL && toolchain->env[i] != NULL; i++) {
        if (strncmp(toolchain->env[i], "PATH=", 5) == 0) {
            const char *value = toolchain->env[i] + 5;
            return pv_strndup(value, strcspn(value, ":"));
        }
    }
    return NULL;
}

static char *find_export(const lean_toolchain *toolchain, const char *path)
{
    char *found = lean_program_find(path, "lean4export");
    if (found != NULL || toolchain->kind != LEAN_TOOLCHAIN_PROJECT) {
        return found;
    }
    char *built = lean_strings_format("%s/.lake/packages/lean4export/.lake/build/bin/lean4export",
                                      toolchain->cwd);
    found = built == NULL ? NULL : lean_program_find(NULL, built);
    pv_free(built);
    return found;
}

static pv_status check_found(const lean_kernel_tools *tools, bool need_export, bool need_checker,
                             pv_error *err)
{
    if (tools->lean == NULL) {
        return pv_fail(err, PV_E_NOTFOUND,
                       "there is no `lean` beside the toolchain (%s) that compiles the proof for "
                       "kernels to read; install elan (https://leanprover-community.github.io)",
                       tools->base.why);
    }
    if (need_export && tools->lean4export == NULL) {
        return pv_fail(err, PV_E_NOTFOUND,
                       "external kernels read what lean4export writes, and there is no lean4export "
                       "on PATH or built in the project's .lake/packages; build "
                       "https://github.com/leanprover/lean4export with this Lean and put "
                       ".lake/build/bin on PATH");
    }
    if (need_checker && tools->leanchecker == NULL) {
        return pv_fail(err, PV_E_NOTFOUND,
                       "--leanchecker: the toolchain (%s) has no leanchecker; it comes with Lean "
                       "from 4.28 on",
                       tools->base.why);
    }
    return PV_OK;
}

pv_status lean_kernel_find(lean_kernel_tools *out, const lean_toolchain *toolchain,
                           const char *path, bool need_export, bool need_checker, pv_error *err)
{
    *out = (lean_kernel_tools){0};
    if (toolchain->kind != LEAN_TOOLCHAIN_PATH && toolchain->kind != LEAN_TOOLCHAIN_PROJECT) {
        return pv_fail(err, PV_E_NOTFOUND,
                       "%s%s%s: this needs an official Lean toolchain, and here is %s, which "
                       "writes no .olean files; install elan "
                       "(https://leanprover-community.github.io), run `lake build` in lean/%s",
                       need_checker ? "leanchecker" : "", need_export && need_checker ? ", " : "",
                       need_export ? "lean4export" : "", toolchain->why,
                       need_export ? ", and put lean4export, built for the same Lean, on PATH"
                                   : "");
    }
    pv_status status = lean_toolchain_copy(&out->base, toolchain, err);
    char *folder = status == PV_OK ? own_folder(toolchain) : NULL;
    out->lean = lean_program_find(folder, "lean");
    out->leanchecker = lean_program_find(folder, "leanchecker");
    out->lean4export = status == PV_OK ? find_export(toolchain, path) : NULL;
    pv_free(folder);
    if (status == PV_OK) {
        status = check_found(out, need_export, need_checker, err);
    }
    if (status != PV_OK) {
        lean_kernel_release(out);
    }
    return status;
}

void lean_kernel_release(lean_kernel_tools *tools)
{
    lean_toolchain_release(&tools->base);
    pv_free(tools->lean);
    pv_free(tools->lean4export);
    pv_free(tools->leanchecker);
    *tools = (lean_kernel_tools){0};
}

/* ---- commands of Lean's own ---- */

/* The toolchain's environment and place with another command: `lake env` in a project, then the list's words, which are taken.
 * `program` may lie in a folder that the toolchain hides. */
static pv_status finish(lean_toolchain *out, const lean_kernel_tools *tools, const char *folder,
                        const char *program, lean_strings *words, pv_error *err)
{
    lean_strings argv = {0}, readable = {0}, env = {0};
    pv_status status = lean_toolchain_copy(out, &tools->base, err);
    if (status != PV_OK) {
        lean_strings_release(words);
        return status;
    }
    if (tools->base.kind == LEAN_TOOLCHAIN_PROJECT) {
        lean_strings_add(&argv, tools->base.argv[0]);
        lean_strings_add(&argv, "env");
    }
    argv.failed = argv.failed || words->failed;
    for (size_t i = 0; i < words->count; i++) {
        lean_strings_add(&argv, words->items[i]);
    }
    lean_strings_add_all(&readable, tools->base.readable);
    lean_strings_add(&readable, folder);
    lean_strings_add(&readable, program);
    lean_strings_add_all(&env, tools->base.env);
    lean_strings_add(&env, "LEAN_ABORT_ON_PANIC=1"); /* a panic would go on with nonsense */
    lean_strings_release(words);
    lean_strings_free(out->argv);
    lean_strings_free(out->readable);
    lean_strings_free(out->env);
    out->argv = lean_strings_detach(&argv);
    out->readable = lean_strings_detach(&readable);
    out->env = lean_strings_detach(&env);
    if (out->argv == NULL || out->readable == NULL || out->env == NULL) {
        lean_toolchain_release(out);
        return no_memory(err);
    }
    return PV_OK;
}

static void add_script(lean_strings *words, const char *script)
{
    lean_strings_add(words, SHELL);
    lean_strings_add(words, "-c");
    lean_strings_add(words, script);
    lean_strings_add(words, SHELL);
}

pv_status lean_kernel_compile(lean_toolchain *out, const lean_kernel_tools *tools,
                              const char *folder, pv_error *err)
{
    lean_strings words = {0};
    add_script(&words, COMPILE);
    lean_strings_add(&words, tools->lean);
    lean_strings_add(&words, folder);
    lean_strings_addf(&words, "%s/" LEAN_KERNEL_MODULE ".lean", folder);
    return finish(out, tools, folder, tools->lean, &words, err);
}

pv_status lean_kernel_check(lean_toolchain *out, const lean_kernel_tools *tools, const char *folder,
                            pv_error *err)
{
    lean_strings words = {0};
    add_script(&words, WITH_FOLDER);
    lean_strings_add(&words, folder);
    lean_strings_add(&words, tools->leanchecker);
    lean_strings_add(&words, LEAN_KERNEL_MODULE);
    return finish(out, tools, folder, tools->leanchecker, &words, err);
}

pv_status lean_kernel_export(lean_toolchain *out, const lean_kernel_tools *tools,
                             const char *folder, const char *const *names, size_t name_count,
                             pv_error *err)
{
    lean_strings words = {0};
    add_script(&words, WITH_FOLDER);
    lean_strings_add(&words, folder);
    lean_strings_add(&words, tools->lean4export);
    lean_strings_add(&words, LEAN_KERNEL_MODULE);
    lean_strings_add(&words, "--");
    for (size_t i = 0; i < name_count; i++) {
        lean_strings_add(&words, names[i]);
    }
    for (size_t i = 0; i < sizeof BUILT_IN / sizeof *BUILT_IN; i++) {
        lean_strings_add(&words, BUILT_IN[i]);
    }
    return finish(out, tools, folder, tools->lean4export, &words, err);
}

/* ---- kernels of others ---- */

/* The words of a command, the first as the absolute path of a program. */
static pv_status split(const char *path, const char *command, lean_strings *words, pv_error *err)
{
    for (const char *at = command + strspn(command, BLANKS); *at != '\0';
         at += strspn(at, BLANKS)) {
        size_t n = strcspn(at, BLANKS);
        lean_strings_addf(words, "%.*s", (int)n, at);
        at += n;
    }
    if (words->failed) {
        return no_memory(err);
    }
    if (words->count == 0 || words->count > LEAN_KERNEL_WORDS_MAX) {
        return pv_fail(err, PV_E_INVALID,
                       "external kernel `%.100s`: give a program and at most %d arguments, with "
                       "blanks between them",
                       command, LEAN_KERNEL_WORDS_MAX - 1);
    }
    char *program = lean_program_find(path, words->items[0]);
    if (program == NULL) {
        return pv_fail(err, PV_E_NOTFOUND, "external kernel `%.100s`: there is no program %.200s%s",
                       command, words->items[0],
                       strchr(words->items[0], '/') == NULL ? " on PATH" : " that may be executed");
    }
    pv_free(words->items[0]);
    words->items[0] = program;
    return PV_OK;
}

pv_status lean_kernel_look(const char *path, const char *command, pv_error *err)
{
    lean_strings words = {0};
    pv_status status = split(path, command, &words, err);
    lean_strings_release(&words);
    return status;
}

/* A word with the export's path in place of `{}`. True: it had one. */
static bool add_word(lean_strings *out, const char *word, const char *export_file)
{
    const char *hole = strstr(word, "{}");
    if (hole == NULL) {
        lean_strings_add(out, word);
        return false;
    }
    lean_strings_addf(out, "%.*s%s%s", (int)(hole - word), word, export_file, hole + 2);
    return true;
}

static bool is_nanoda(const lean_strings *words)
{
    const char *slash = strrchr(words->items[0], '/');
    return words->count == 1 &&
           strcmp(slash == NULL ? words->items[0] : slash + 1, "nanoda_bin") == 0;
}

/* The file that nanoda is configured by, as its argument. The names of axioms are Lean's three: nothing in them to escape. */
static pv_status configure_nanoda(lean_strings *argv, const char *folder, const char *const *axioms,
                                  size_t axiom_count, pv_error *err)
{
    pv_buf text = {0};
    char *path = lean_strings_format("%s/nanoda.json", folder);
    pv_buf_puts(&text, "{\"use_stdin\":true,\"permitted_axioms\":[");
    for (size_t i = 0; i < axiom_count; i++) {
        pv_buf_printf(&text, "%s\"%s\"", i > 0 ? "," : "", axioms[i]);
    }
    pv_buf_puts(&text, "],\"unpermitted_axiom_hard_error\":true,\"nat_extension\":true,"
                       "\"string_extension\":true}\n");
    pv_status status = path == NULL || !pv_buf_ok(&text)
                           ? no_memory(err)
                           : pv_file_replace(path, pv_buf_text(&text), text.len, err);
    if (status == PV_OK) {
        lean_strings_add(argv, path);
    }
    pv_buf_release(&text);
    pv_free(path);
    return status;
}

/* It gets no folder but that of the export, and nothing of the user's environment. */
static pv_status confine(lean_toolchain *out, const lean_kernel_tools *tools, lean_strings *argv,
                         const char *folder, pv_error *err)
{
    lean_strings env = {0}, readable = {0};
    lean_strings_add(&env, "PATH=/usr/local/bin:/usr/bin:/bin");
    lean_strings_add(&env, "LANG=C.UTF-8");
    lean_strings_add(&readable, folder);
    lean_strings_add(&readable, argv->items[0]);
    const char *home = tools->base.private_home;
    *out = (lean_toolchain){.kind = LEAN_TOOLCHAIN_COMMAND, .wide_address_space = true};
    out->argv = lean_strings_detach(argv);
    out->env = lean_strings_detach(&env);
    out->readable = lean_strings_detach(&readable);
    out->cwd = pv_strdup("/");
    out->private_home = home == NULL ? NULL : pv_strdup(home);
    if (out->argv == NULL || out->env == NULL || out->readable == NULL || out->cwd == NULL ||
        (home != NULL && out->private_home == NULL)) {
        lean_toolchain_release(out);
        return no_memory(err);
    }
    return PV_OK;
}

pv_status lean_kernel_external(lean_toolchain *out, bool *reads_input,
                               const lean_kernel_tools *tools, const char *path,
                               const char *command, const char *folder, const char *export_file,
                               const char *const *axioms, size_t axiom_count, pv_error *err)
{
    lean_strings words = {0}, argv = {0};
    bool named = false;
    pv_status status = split(path, command, &words, err);
    for (size_t i = 0; status == PV_OK && i < words.count; i++) {
        named = add_word(&argv, words.items[i], export_file) || named;
    }
    if (status == PV_OK && is_nanoda(&words)) {
        status = configure_nanoda(&argv, folder, axioms, axiom_count, err);
    }
    if (status == PV_OK && argv.failed) {
        status = no_memory(err);
    }
    if (status == PV_OK) {
        status = confine(out, tools, &argv, folder, err);
    }
    if (status == PV_OK) {
        *reads_input = !named;
    }
    lean_strings_release(&words);
    lean_strings_release(&argv);
    return status;
}
