#define _XOPEN_SOURCE 700 /* nftw, mkdtemp */
#include "module_build.h"

#include "home.h"
#include "lean_strings.h"
#include "progress.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <errno.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    SAID_MAX = 3000,
    OPEN_MAX_AT_ONCE = 8,
    MODULES_AT_ONCE =
        6, /* their imports stay in memory until the compiler ends, and its heap is 2 GB */
};

/* ---- the search path ---- */

static bool add_to_env(lean_toolchain *toolchain, const char *folder)
{
    lean_strings env = {0};
    for (size_t i = 0; toolchain->env[i] != NULL; i++) {
        bool path = strncmp(toolchain->env[i], "LEAN_PATH=", 10) == 0;
        lean_strings_addf(&env, path ? "%s:%s" : "%s", toolchain->env[i], folder);
    }
    char **made = lean_strings_detach(&env);
    if (made == NULL) {
        return false;
    }
    lean_strings_free(toolchain->env);
    toolchain->env = made;
    return true;
}

static bool add_readable(lean_toolchain *toolchain, const char *folder)
{
    lean_strings list = {0};
    lean_strings_add_all(&list, toolchain->readable);
    lean_strings_add(&list, folder);
    char **made = lean_strings_detach(&list);
    if (made == NULL) {
        return false;
    }
    lean_strings_free(toolchain->readable);
    toolchain->readable = made;
    return true;
}

/* ---- one run of compile.lean ---- */

typedef struct compiler {
    session *s;
    uv_process_t process;
    uv_pipe_t err;
    char chunk[4096];
    pv_buf said; /* on its stderr */
    bool exited, closed;
} compiler;

static void on_exit_of(uv_process_t *process, int64_t code, int signal_number)
{
    (void)code; /* the npm Lean's is noise: the .olean files tell */
    (void)signal_number;
    ((compiler *)process->data)->exited = true;
}

static void on_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    compiler *c = handle->data;
    *buf = uv_buf_init(c->chunk, sizeof c->chunk);
}

static void on_said(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    compiler *c = stream->data;
    if (n < 0) {
        uv_read_stop(stream);
    } else if (c->said.len < SAID_MAX) {
        pv_buf_append(&c->said, buf->base, (size_t)n);
    }
}

static void on_closed(uv_handle_t *handle)
{
    ((compiler *)handle->data)->closed = true;
}

static pv_status wait_for(compiler *c, pv_error *err)
{
    pv_status status = session_wait(c->s, &c->exited, err);
    if (status != PV_OK) {
        uv_process_kill(&c->process, SIGKILL);
        while (!c->exited) {
            session_round(c->s);
        }
    }
    uv_close((uv_handle_t *)&c->process, NULL);
    return status;
}

static pv_status run_compiler(compiler *c, char **argv, pv_error *err)
{
    uv_stdio_container_t io[3] = {
        {.flags = UV_IGNORE}, {.flags = UV_IGNORE}, {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE}};
    uv_pipe_init(&c->s->loop, &c->err, 0);
    c->process.data = c->err.data = c;
    io[2].data.stream = (uv_stream_t *)&c->err;
    uv_process_options_t how = {.exit_cb = on_exit_of,
                                .file = argv[0],
                                .args = argv,
                                .env = c->s->toolchain.env,
                                .cwd = "/",
                                .stdio = io,
                                .stdio_count = 3};
    int code = uv_spawn(&c->s->loop, &c->process, &how);
    pv_status status;
    if (code == 0) {
        uv_read_start((uv_stream_t *)&c->err, on_room, on_said);
        status = wait_for(c, err);
    } else {
        uv_close((uv_handle_t *)&c->process, NULL);
        status = pv_fail(err, PV_E_IO, "%s cannot be started: %s", argv[0], uv_strerror(code));
    }
    uv_close((uv_handle_t *)&c->err, on_closed);
    while (!c->closed) {
        session_round(c->s);
    }
    return status;
}

/* ---- all modules ---- */

/* Where the module's .olean goes, the folders above it made. NULL when memory is short. */
static char *olean_of(const char *folder, const char *module)
{
    char *path = lean_strings_format("%s/%s", folder, module);
    for (char *c = path == NULL ? NULL : path + strlen(folder) + 1; c != NULL && *c != '\0'; c++) {
        if (*c == '.') {
            *c = '\0';
            mkdir(path, 0755); /* what goes wrong here is told by the compiler */
            *c = '/';
        }
    }
    char *out = path == NULL ? NULL : lean_strings_format("%s.olean", path);
    pv_free(path);
    return out;
}

/* Adds the needed modules from number *next on, a few at a time; moves *next behind them. False: there was none. */
static bool add_jobs(lean_strings *argv, const char *folder, const project *p, size_t *next)
{
    size_t n = 0;
    for (; *next < p->count && n < MODULES_AT_ONCE; ++*next) {
        size_t i = *next;
        if (p->files[i].needed) {
            n++;
            char *out = olean_of(folder, p->files[i].module);
            lean_strings_add(argv, p->files[i].module);
            lean_strings_add(argv, p->files[i].path);
            lean_strings_add(argv, out == NULL ? "" : out);
            argv->failed = argv->failed || out == NULL;
            pv_free(out);
        }
    }
    return n > 0;
}

/* The first needed module before number `end` without its .olean; NULL: all are there. */
static const project_file *missing(const char *folder, const project *p, size_t end)
{
    const project_file *found = NULL;
    for (size_t i = 0; i < end && found == NULL; i++) {
        char *out = p->files[i].needed ? olean_of(folder, p->files[i].module) : NULL;
        if (p->files[i].needed && (out == NULL || !pv_file_exists(out))) {
            found = &p->files[i];
        }
        pv_free(out);
    }
    return found;
}

/* One run of the compiler on the next few modules; *more is false when there are none. */
static pv_status compile_some(const module_build *build, session *s, const project *p, size_t *next,
                              bool *more, pv_error *err)
{
    char buffer[PATH_MAX];
    lean_strings list = {0};
    lean_strings_add(&list, s->toolchain.argv[0]);
    lean_strings_add(&list, "--run");
    lean_strings_addf(&list, "%s/lean/wasm/compile.lean", home_find(buffer));
    *more = add_jobs(&list, build->folder, p, next);
    char **argv = lean_strings_detach(&list);
    if (argv == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    compiler c = {.s = s};
    pv_status status = *more ? run_compiler(&c, argv, err) : PV_OK;
    const project_file *bad = status == PV_OK && *more ? missing(build->folder, p, *next) : NULL;
    if (bad != NULL) {
        status = pv_fail(err, PV_E_INVALID, "%s, which other files import, does not compile: %s",
                         bad->shown, pv_buf_text(&c.said));
    }
    pv_buf_release(&c.said);
    lean_strings_free(argv);
    return status;
}

static pv_status compile(const module_build *build, session *s, const project *p, pv_error *err)
{
    size_t next = 0;
    bool more = true;
    progress_note("fill", "compiling the project's modules");
    pv_status status = PV_OK;
    while (status == PV_OK && more) {
        status = compile_some(build, s, p, &next, &more, err);
    }
    return status;
}

static bool is_any_needed(const project *p)
{
    bool any = false;
    for (size_t i = 0; i < p->count; i++) {
        any = any || p->files[i].needed;
    }
    return any;
}

pv_status module_build_all(module_build *out, session *s, const project *p, pv_error *err)
{
    memset(out, 0, sizeof *out);
    if (s->toolchain.kind != LEAN_TOOLCHAIN_NPM || !is_any_needed(p)) {
        return PV_OK;
    }
    const char *tmp = getenv("TMPDIR");
    char *folder = lean_strings_format("%s/prover-modules-XXXXXX", tmp == NULL ? "/tmp" : tmp);
    if (folder == NULL || mkdtemp(folder) == NULL) {
        pv_status status =
            folder == NULL
                ? pv_fail(err, PV_E_NOMEM, "out of memory")
                : pv_fail_os(err, PV_E_IO, errno, "%s: cannot make a folder for modules", folder);
        pv_free(folder);
        return status;
    }
    out->folder = folder;
    if (!add_to_env(&s->toolchain, folder) || !add_readable(&s->toolchain, folder)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    return compile(out, s, p, err);
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

void module_build_close(module_build *build)
{
    if (build->folder != NULL) {
        nftw(build->folder, remove_entry, OPEN_MAX_AT_ONCE, FTW_DEPTH | FTW_PHYS);
        pv_free(build->folder);
        build->folder = NULL;
    }
}
