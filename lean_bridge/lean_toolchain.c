#define _XOPEN_SOURCE 700 /* realpath */
#include "lean_toolchain.h"

#include "lean_program.h"
#include "lean_strings.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define REMEDY "run scripts/quickstart.sh, or install elan (https://leanprover-community.github.io)"

enum { PIN_MAX = 4096, DESCRIPTION_MAX = 1 << 20 };

/* A folder with `lean` and `lake` in it. */
typedef struct install {
    char *bin;
    bool elan;   /* its programs are elan's: they choose a toolchain by the working directory */
    bool pinned; /* exactly the toolchain that a lean-toolchain file names                    */
} install;

/* A toolchain in the making. */
typedef struct draft {
    lean_strings argv, env, readable;
    const char *cwd;
    const char *home; /* the user's */
} draft;

/* ------------------------------------------------------------------------------------------------ paths and files */

static bool has_program(const char *folder, const char *name)
{
    char *path = lean_strings_format("%s/%s", folder, name);
    bool found = lean_program_is(path);
    pv_free(path);
    return found;
}

static bool has_file(const char *folder, const char *name)
{
    char *path = lean_strings_format("%s/%s", folder, name);
    bool found = path != NULL && pv_file_exists(path);
    pv_free(path);
    return found;
}

/* The first absolute folder of a PATH value that holds `name`; NULL = none. */
static char *search_path(const char *path, const char *name)
{
    while (path != NULL && *path != '\0') {
        size_t n = strcspn(path, ":");
        char *folder = *path == '/' ? pv_strndup(path, n) : NULL;
        if (folder != NULL && has_program(folder, name)) {
            return folder;
        }
        pv_free(folder);
        path += n + (path[n] == ':');
    }
    return NULL;
}

/* The path made absolute and free of links (pv_free); NULL when there is none. */
static char *resolve(const char *path)
{
    char *real = realpath(path, NULL);
    char *copy = real == NULL ? NULL : pv_strdup(real);
    free(real);
    return copy;
}

/* The folder `levels` above an absolute path, "/" at the top. Changes `path`. */
static char *ascend(char *path, int levels)
{
    for (int i = 0; path != NULL && i < levels; i++) {
        char *slash = strrchr(path, '/');
        if (slash != NULL) {
            slash[slash == path ? 1 : 0] = '\0';
        }
    }
    return path;
}

/* What a folder's lean-toolchain file says, without white space around it; NULL when there is none. */
static char *read_pin(const char *folder)
{
    pv_buf text = {0};
    char *path = lean_strings_format("%s/lean-toolchain", folder);
    char *pin = NULL;
    if (path != NULL && pv_file_read(path, PIN_MAX, &text, NULL) == PV_OK) {
        const char *start = pv_buf_text(&text);
        start += strspn(start, " \t\r\n");
        pin = pv_strndup(start, strcspn(start, " \t\r\n"));
    }
    pv_buf_release(&text);
    pv_free(path);
    return pin;
}

/* Where elan keeps the toolchain `pin`: "leanprover/lean4:v4.28.0" lies in leanprover--lean4---v4.28.0. */
static char *elan_folder(const char *user_home, const char *pin)
{
    pv_buf path = {0};
    pv_buf_printf(&path, "%s/.elan/toolchains/", user_home);
    for (const char *c = pin; *c != '\0'; c++) {
        switch (*c) {
        case '/':
            pv_buf_puts(&path, "--");
            break;
        case ':':
            pv_buf_puts(&path, "---");
            break;
        default:
            pv_buf_putc(&path, *c);
        }
    }
    pv_buf_puts(&path, "/bin");
    return pv_buf_detach(&path);
}

/* ------------------------------------------------------------------------------------------ official toolchains */

/* The pinned toolchain, when elan has it: asking elan's own proxies could start a download. */
static char *find_pinned(const char *user_home, const char *pin_folder, const char *program)
{
    char *pin = user_home == NULL ? NULL : read_pin(pin_folder);
    char *bin = pin == NULL ? NULL : elan_folder(user_home, pin);
    pv_free(pin);
    if (bin != NULL && has_program(bin, program)) {
        return bin;
    }
    pv_free(bin);
    return NULL;
}

/* A toolchain on PATH that is not elan's is the user's choice and comes first; then the one pinned in
 * pin_folder/lean-toolchain, as elan has it; then whatever elan decides. False: none. */
static bool find_install(const lean_toolchain_search *where, const char *pin_folder,
                         const char *program, install *out)
{
    char *elan =
        where->user_home == NULL ? NULL : lean_strings_format("%s/.elan/bin", where->user_home);
    char *on_path = search_path(where->path, program);
    *out = (install){0};
    if (on_path != NULL && (elan == NULL || strcmp(on_path, elan) != 0)) {
        out->bin = on_path;
        pv_free(elan);
        return true;
    }
    pv_free(on_path);
    out->bin = find_pinned(where->user_home, pin_folder, program);
    if (out->bin != NULL) {
        out->pinned = true;
        pv_free(elan);
        return true;
    }
    if (elan != NULL && has_program(elan, program)) {
        out->bin = elan;
        out->elan = true;
        return true;
    }
    pv_free(elan);
    return false;
}

/* The folders that a program of `bin` reads: the one above, also behind a link. */
static void add_sysroot(draft *d, const char *bin, const char *program)
{
    char *above = ascend(pv_strdup(bin), 1);
    char *path = lean_strings_format("%s/%s", bin, program);
    char *real = path == NULL ? NULL : ascend(resolve(path), 2);
    lean_strings_add(&d->readable, above == NULL ? bin : above);
    if (real != NULL) {
        lean_strings_add(&d->readable, real);
    }
    pv_free(above);
    pv_free(path);
    pv_free(real);
}

static void add_official_env(draft *d, const install *lean)
{
    lean_strings_addf(&d->env, "PATH=%s:/usr/local/bin:/usr/bin:/bin", lean->bin);
    lean_strings_add(&d->env, "LANG=C.UTF-8");
    if (d->home != NULL) {
        lean_strings_addf(&d->env, "HOME=%s", d->home);
        lean_strings_addf(&d->env, "ELAN_HOME=%s/.elan", d->home);
        lean_strings_addf(&d->readable, "%s/.elan", d->home);
    }
}

static char *server_of(const char *home)
{
    return lean_strings_format("%s/lean/.lake/build/bin/prover-lean", home);
}

static bool is_built(const char *home)
{
    char *server = server_of(home);
    bool built = lean_program_is(server);
    pv_free(server);
    return built;
}

/* What is started: the community REPL, or our server, which `lake build` made. */
static pv_status add_server(draft *d, const lean_toolchain_search *where, pv_error *err)
{
    if (where->community_repl == NULL) {
        char *server = server_of(where->home);
        lean_strings_add(&d->argv, server == NULL ? "" : server);
        lean_strings_addf(&d->readable, "%s/lean", where->home);
        d->argv.failed = d->argv.failed || server == NULL;
        pv_free(server);
        return PV_OK;
    }
    char *repl = resolve(where->community_repl);
    if (!lean_program_is(repl)) {
        pv_free(repl);
        return pv_fail(
            err, PV_E_NOTFOUND,
            "the community REPL %s is no program; build it with `lake build` and give the "
            "path of .lake/build/bin/repl",
            where->community_repl);
    }
    lean_strings_add(&d->argv, repl);
    char *folder = ascend(repl, 1);
    lean_strings_add(&d->readable, folder);
    pv_free(folder);
    return PV_OK;
}

static void drop(draft *d)
{
    lean_strings_release(&d->argv);
    lean_strings_release(&d->env);
    lean_strings_release(&d->readable);
}

/* Turns the draft into a toolchain; takes `why`. */
static pv_status finish(draft *d, lean_toolchain *out, char *why, pv_error *err)
{
    out->argv = lean_strings_detach(&d->argv);
    out->env = lean_strings_detach(&d->env);
    out->readable = lean_strings_detach(&d->readable);
    out->cwd = pv_strdup(d->cwd == NULL ? "/" : d->cwd);
    out->private_home = d->home == NULL ? NULL : pv_strdup(d->home);
    out->why = why;
    if (out->argv == NULL || out->env == NULL || out->readable == NULL || out->cwd == NULL ||
        why == NULL || (d->home != NULL && out->private_home == NULL)) {
        lean_toolchain_release(out);
        return pv_fail(err, PV_E_NOMEM, "out of memory while looking for Lean");
    }
    return PV_OK;
}

static lean_dialect dialect_of(const lean_toolchain_search *where)
{
    return where->community_repl == NULL ? LEAN_DIALECT_PROVER : LEAN_DIALECT_COMMUNITY;
}

static pv_status check_project(const char *project, pv_error *err)
{
    const char *remedy = "give the folder of a Lake project that builds with `lake build`";
    if (!has_file(project, "lakefile.toml") && !has_file(project, "lakefile.lean")) {
        return pv_fail(
            err, PV_E_NOTFOUND,
            "%s is no Lake project: neither lakefile.toml nor lakefile.lean is in it; %s", project,
            remedy);
    }
    if (!has_file(project, "lean-toolchain")) {
        return pv_fail(err, PV_E_NOTFOUND,
                       "%s has no lean-toolchain file, so its Lean version is not known; %s",
                       project, remedy);
    }
    return PV_OK;
}

/* Our server reads the .olean files of the project: only one built by the very same Lean can. */
static pv_status check_server(const lean_toolchain_search *where, const char *project,
                              pv_error *err)
{
    char *ours = lean_strings_format("%s/lean", where->home);
    char *built_for = ours == NULL ? NULL : read_pin(ours);
    char *wanted = read_pin(project);
    pv_status status = PV_OK;
    if (where->community_repl != NULL) {
        status = PV_OK;
    } else if (built_for == NULL || wanted == NULL || strcmp(built_for, wanted) != 0) {
        status =
            pv_fail(err, PV_E_NOTFOUND,
                    "the project %s uses %s and the Lean server is made for %s; give "
                    "--community-repl with a leanprover-community/repl built for the project's "
                    "version",
                    project, wanted == NULL ? "an unknown Lean" : wanted,
                    built_for == NULL ? "an unknown one" : built_for);
    } else if (!is_built(where->home)) {
        status = pv_fail(err, PV_E_NOTFOUND,
                         "the Lean server is not built: run `lake build` in %s/lean, or "
                         "scripts/quickstart.sh",
                         where->home);
    }
    pv_free(ours);
    pv_free(built_for);
    pv_free(wanted);
    return status;
}

/* The user asked for this project: what is missing is an error, never a reason to take another Lean. */
static pv_status find_project(lean_toolchain *out, const lean_toolchain_search *where,
                              pv_error *err)
{
    char *project = resolve(where->project);
    install lean = {0};
    draft d = {.cwd = project, .home = where->user_home};
    pv_status status = PV_E_NOTFOUND;
    if (project == NULL) {
        pv_fail(err, PV_E_NOTFOUND, "there is no folder %s; give that of a Lake project",
                where->project);
        goto done;
    }
    status = check_project(project, err);
    if (status == PV_OK) {
        status = check_server(where, project, err);
    }
    if (status != PV_OK) {
        goto done;
    }
    if (!find_install(where, project, "lake", &lean)) {
        status =
            pv_fail(err, PV_E_NOTFOUND,
                    "no `lake` for the project %s: looked on PATH, in ~/.elan/toolchains and in "
                    "~/.elan/bin; install elan (https://leanprover-community.github.io)",
                    project);
        goto done;
    }
    lean_strings_addf(&d.argv, "%s/lake", lean.bin);
    lean_strings_add(&d.argv, "env");
    add_official_env(&d, &lean);
    add_sysroot(&d, lean.bin, "lake");
    lean_strings_add(&d.readable, project);
    status = add_server(&d, where, err);
    if (status == PV_OK) {
        out->kind = LEAN_TOOLCHAIN_PROJECT;
        out->dialect = dialect_of(where);
        out->wide_address_space = true; /* Mathlib's .olean files are mapped: 9 GB */
        status =
            finish(&d, out,
                   lean_strings_format("the Lake project %s, by %s/lake", project, lean.bin), err);
    }
done:
    drop(&d);
    pv_free(lean.bin);
    pv_free(project);
    return status;
}

/* Describes the server that runs with an official Lean. */
static pv_status use_official(lean_toolchain *out, const lean_toolchain_search *where,
                              const install *lean, const char *ours, pv_error *err)
{
    draft d = {.home = where->user_home};
    /* elan reads lean-toolchain of the working directory; without it, it would take its default. */
    d.cwd = lean->elan && has_file(ours, "lean-toolchain") ? ours : NULL;
    add_official_env(&d, lean);
    add_sysroot(&d, lean->bin, "lean");
    if (lean->pinned) { /* else the server asks the `lean` on PATH where its library is */
        char *root = ascend(pv_strdup(lean->bin), 1);
        lean_strings_addf(&d.env, "LEAN_SYSROOT=%s", root == NULL ? "" : root);
        pv_free(root);
    }
    pv_status status = add_server(&d, where, err);
    if (status == PV_OK) {
        const char *how = lean->pinned || lean->elan ? "through elan" : "on PATH";
        out->kind = LEAN_TOOLCHAIN_PATH;
        out->dialect = dialect_of(where);
        status = finish(&d, out, lean_strings_format("%s/lean, found %s", lean->bin, how), err);
    }
    drop(&d);
    return status;
}

/* *found tells whether there is one to be used. One for which our server was not built is not: it is *passed_over. */
static pv_status find_official(lean_toolchain *out, const lean_toolchain_search *where, bool *found,
                               bool *passed_over, pv_error *err)
{
    install lean = {0};
    char *ours = lean_strings_format("%s/lean", where->home);
    if (ours == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while looking for Lean");
    }
    pv_status status = PV_OK;
    if (find_install(where, ours, "lean", &lean)) {
        *found = where->community_repl != NULL || is_built(where->home);
        *passed_over = !*found;
        if (*found) {
            status = use_official(out, where, &lean, ours, err);
        }
    }
    pv_free(lean.bin);
    pv_free(ours);
    return status;
}

/* -------------------------------------------------------------------------------------------- npm's Lean */

static bool add_json_argv(draft *d, const json_t *argv)
{
    size_t i;
    json_t *item;
    json_array_foreach(argv, i, item)
    {
        if (!json_is_string(item)) {
            return false;
        }
        lean_strings_add(&d->argv, json_string_value(item));
    }
    return d->argv.count > 0;
}

static bool add_json_env(draft *d, json_t *env)
{
    const char *name;
    json_t *value;
    json_object_foreach(env, name, value)
    {
        if (!json_is_string(value) || strchr(name, '=') != NULL) {
            return false;
        }
        lean_strings_addf(&d->env, "%s=%s", name, json_string_value(value));
    }
    return true;
}

/* Reads what lean/wasm/prepare.mjs wrote: how `lean --run` is started there. */
static pv_status read_description(const char *path, draft *d, pv_error *err)
{
    pv_buf text = {0};
    pv_status status = pv_file_read(path, DESCRIPTION_MAX, &text, err);
    if (status == PV_OK) {
        json_t *json = json_loadb(pv_buf_text(&text), text.len, JSON_REJECT_DUPLICATES, NULL);
        if (!add_json_argv(d, json_object_get(json, "argv")) ||
            !add_json_env(d, json_object_get(json, "env"))) {
            status = pv_fail(err, PV_E_INVALID, "%s is damaged; " REMEDY, path);
        } else if (!d->argv.failed && !lean_program_is(d->argv.items[0])) {
            status = pv_fail(err, PV_E_NOTFOUND,
                             "%s names %s, which is gone (was the folder moved?); " REMEDY, path,
                             d->argv.items[0]);
        }
        json_decref(json);
    }
    pv_buf_release(&text);
    return status;
}

static pv_status use_npm(lean_toolchain *out, const lean_toolchain_search *where,
                         const char *description, bool passed_over, pv_error *err)
{
    draft d = {.home = where->user_home};
    pv_status status = read_description(description, &d, err);
    if (status == PV_OK && !has_file(where->home, "lean/Main.lean")) {
        status =
            pv_fail(err, PV_E_NOTFOUND,
                    "the Lean server's source %s/lean/Main.lean is missing; install prover again",
                    where->home);
    }
    if (status == PV_OK) {
        char *folder = ascend(resolve(d.argv.items[0]), 1); /* `lean` below home may be a link */
        lean_strings_add(&d.readable, folder == NULL ? "" : folder);
        d.readable.failed = d.readable.failed || folder == NULL;
        pv_free(folder);
        lean_strings_addf(&d.argv, "%s/lean/Main.lean", where->home);
        lean_strings_add(&d.env, "PATH=/usr/local/bin:/usr/bin:/bin");
        lean_strings_addf(&d.readable, "%s/lean", where->home);
        out->kind = LEAN_TOOLCHAIN_NPM;
        out->dialect = LEAN_DIALECT_PROVER;
        out->wide_address_space = true; /* WebAssembly memories are reserved, not used */
        const char *note = passed_over ? "; the official Lean was passed over, since the server is "
                                         "not built for it (`lake build` in lean/)"
                                       : "";
        status = finish(
            &d, out,
            lean_strings_format("npm's Lean, prepared in %s/lean/wasm%s", where->home, note), err);
    }
    drop(&d);
    return status;
}

/* *found tells whether one was prepared at all. */
static pv_status find_npm(lean_toolchain *out, const lean_toolchain_search *where, bool passed_over,
                          bool *found, pv_error *err)
{
    char *path = lean_strings_format("%s/lean/wasm/prepared/toolchain.json", where->home);
    if (path == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while looking for Lean");
    }
    *found = pv_file_exists(path) && where->community_repl == NULL;
    pv_status status = *found ? use_npm(out, where, path, passed_over, err) : PV_OK;
    pv_free(path);
    return status;
}

/* ------------------------------------------------------------------------------------------------ public face */

static pv_status none_found(const lean_toolchain_search *where, bool passed_over, pv_error *err)
{
    const char *official = where->npm_only ? "not looked for on PATH"
                           : passed_over ? "one on PATH or in ~/.elan, for which the server is not "
                                           "built (`lake build` in lean/)"
                           : where->user_home == NULL ? "no `lean` on PATH (HOME is not set)"
                                                      : "no `lean` on PATH or in ~/.elan";
    if (where->community_repl != NULL) {
        return pv_fail(err, PV_E_NOTFOUND,
                       "no Lean for the community REPL: %s; npm's Lean cannot run it; install elan "
                       "(https://leanprover-community.github.io) or give --lean-project",
                       official);
    }
    return pv_fail(err, PV_E_NOTFOUND,
                   "no Lean to use: no project given, %s, and nothing prepared in "
                   "%s/lean/wasm/prepared; " REMEDY,
                   official, where->home);
}

pv_status lean_toolchain_find(lean_toolchain *out, const lean_toolchain_search *where,
                              pv_error *err)
{
    *out = (lean_toolchain){0};
    if (where->home == NULL) {
        return pv_fail(err, PV_E_MISUSE, "lean_toolchain_find: home is required");
    }
    if (where->project != NULL && !where->npm_only) {
        return find_project(out, where, err);
    }
    bool found = false;
    bool passed_over = false;
    pv_status status = PV_OK;
    if (!where->npm_only) {
        status = find_official(out, where, &found, &passed_over, err);
    }
    if (status == PV_OK && !found) {
        status = find_npm(out, where, passed_over, &found, err);
    }
    return status != PV_OK || found ? status : none_found(where, passed_over, err);
}

pv_status lean_toolchain_command(lean_toolchain *out, const char *const *argv, lean_dialect dialect,
                                 pv_error *err)
{
    *out = (lean_toolchain){.kind = LEAN_TOOLCHAIN_COMMAND, .dialect = dialect};
    if (argv[0] == NULL || argv[0][0] != '/') {
        return pv_fail(err, PV_E_MISUSE,
                       "lean_toolchain_command: the program needs an absolute path");
    }
    draft d = {0};
    for (size_t i = 0; argv[i] != NULL; i++) {
        lean_strings_add(&d.argv, argv[i]);
        char *folder = argv[i][0] == '/' ? ascend(pv_strdup(argv[i]), 1) : NULL;
        if (folder != NULL) {
            lean_strings_add(&d.readable, folder);
        }
        pv_free(folder);
    }
    lean_strings_add(&d.env, "PATH=/usr/local/bin:/usr/bin:/bin");
    lean_strings_add(&d.env, "LANG=C.UTF-8");
    pv_status status = finish(&d, out, lean_strings_format("the command %s", argv[0]), err);
    drop(&d);
    return status;
}

pv_status lean_toolchain_copy(lean_toolchain *out, const lean_toolchain *from, pv_error *err)
{
    draft d = {.cwd = from->cwd, .home = from->private_home};
    *out = (lean_toolchain){.kind = from->kind,
                            .dialect = from->dialect,
                            .wide_address_space = from->wide_address_space};
    lean_strings_add_all(&d.argv, from->argv);
    lean_strings_add_all(&d.env, from->env);
    lean_strings_add_all(&d.readable, from->readable);
    pv_status status = finish(&d, out, pv_strdup(from->why == NULL ? "" : from->why), err);
    drop(&d);
    return status;
}

void lean_toolchain_release(lean_toolchain *toolchain)
{
    lean_strings_free(toolchain->argv);
    lean_strings_free(toolchain->env);
    lean_strings_free(toolchain->readable);
    pv_free(toolchain->cwd);
    pv_free(toolchain->why);
    pv_free(toolchain->private_home);
    memset(toolchain, 0, sizeof *toolchain);
}
