#define _XOPEN_SOURCE 700 /* mkdtemp */
#include "kernel_check.h"

#include "lean_tool.h"
#include "progress.h"
#include "pv_file.h"
#include "pv_mem.h"
#include "pv_utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SHOWN_LINES = 10, SHOWN_BYTES = 800, COPY_BYTES = 1 << 16, PATH_ROOM = 128 };

static const uint64_t OLEAN_MAX = 256ull << 20, EXPORT_MAX = 1ull << 30, TALK_MAX = 16ull << 20;

static const char *const FILES[] = {LEAN_KERNEL_MODULE ".lean", LEAN_KERNEL_MODULE ".olean",
                                    "export", "nanoda.json"};

static char *path_in(const kernel_check *k, const char *name, char out[PATH_ROOM])
{
    snprintf(out, PATH_ROOM, "%s/%s", k->folder, name);
    return out;
}

/* ---- what is wanted, and whether it is there ---- */

static pv_status take_commands(kernel_check *k, char *const *more, size_t more_count, pv_error *err)
{
    const option_list *given = &k->s->opt->external_kernels;
    k->commands = pv_calloc(given->count + more_count + 1, sizeof *k->commands);
    if (k->commands == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    for (size_t i = 0; i < given->count; i++) {
        k->commands[k->command_count++] = given->items[i];
    }
    for (size_t i = 0; i < more_count; i++) {
        k->commands[k->command_count++] = more[i];
    }
    return PV_OK;
}

static bool wants_export(const kernel_check *k)
{
    return k->command_count > 0 || k->export_file[0] != '\0';
}

pv_status kernel_check_open(kernel_check *out, session *s, char *const *more, size_t more_count,
                            const char *const *axioms, size_t axiom_count, pv_error *err)
{
    *out = (kernel_check){
        .s = s, .export_file = s->opt->export_file, .axioms = axioms, .axiom_count = axiom_count};
    pv_status status = take_commands(out, more, more_count, err);
    out->wanted = status == PV_OK && (wants_export(out) || s->opt->leanchecker);
    if (out->wanted) {
        status = lean_kernel_find(&out->tools, &s->toolchain, getenv("PATH"), wants_export(out),
                                  s->opt->leanchecker, err);
        if (status != PV_OK && out->command_count > 0) {
            pv_error_wrap(err, "external kernel %.100s", out->commands[0]);
        }
    }
    for (size_t i = 0; status == PV_OK && i < out->command_count; i++) {
        status = lean_kernel_look(getenv("PATH"), out->commands[i], err);
    }
    if (status != PV_OK) {
        kernel_check_close(out);
    }
    return status;
}

void kernel_check_close(kernel_check *k)
{
    char path[PATH_ROOM];
    if (k->folder[0] != '\0') {
        for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
            unlink(path_in(k, FILES[i], path));
        }
        rmdir(k->folder);
    }
    lean_kernel_release(&k->tools);
    pv_free(k->commands);
    *k = (kernel_check){0};
}

/* ---- one step ---- */

typedef struct step {
    bool done;
    lean_tool_end end;
    int code;
    char what[160];
    char said[LEAN_TOOL_SAID_MAX + 1];
    uint64_t bytes;
    double seconds;
} step;

static void on_end(void *user, const lean_tool_result *result)
{
    step *st = user;
    st->end = result->end;
    st->code = result->code;
    st->bytes = result->output_bytes;
    st->seconds = result->seconds;
    snprintf(st->what, sizeof st->what, "%s", result->what);
    snprintf(st->said, sizeof st->said, "%s", result->said);
    st->done = true;
}

static pv_status wait_for(kernel_check *k, lean_tool *tool, step *st, pv_error *err)
{
    pv_status status = session_wait(k->s, &st->done, err);
    if (status != PV_OK && !st->done) {
        lean_tool_stop(tool);
        while (!st->done) {
            session_round(k->s);
        }
    }
    return status;
}

static pv_status open_end(const char *path, int flags, int *out, pv_error *err)
{
    *out = path == NULL ? -1 : open(path, flags | O_CLOEXEC, 0600);
    return path != NULL && *out < 0 ? pv_fail_os(err, PV_E_IO, errno, "cannot open %s", path)
                                    : PV_OK;
}

/* Runs `program`, which is released, from one file into another (NULL: none). Fails when it could not be run at all. */
static pv_status run_step(kernel_check *k, const char *name, lean_toolchain *program,
                          const char *from, const char *to, uint64_t most, step *st, pv_error *err)
{
    int in = -1, out = -1;
    lean_tool *tool = NULL;
    *st = (step){0};
    pv_status status = open_end(from, O_RDONLY, &in, err);
    if (status == PV_OK) {
        status = open_end(to, O_WRONLY | O_CREAT | O_TRUNC, &out, err);
    }
    lean_tool_options how = {
        .sandbox = &k->s->sandbox,
        .program = program,
        .input = in,
        .output = out,
        .deadline_ms = (uint64_t)(k->s->opt->kernel_timeout * 1000),
        .output_max_bytes = most,
        .memory_max_bytes = k->s->pool_options.memory_max_bytes,
    };
    if (status == PV_OK) {
        status = lean_tool_run(&tool, &k->s->loop, &how, on_end, st, err);
    }
    if (status == PV_OK) {
        status = wait_for(k, tool, st, err);
    }
    if (in >= 0) {
        close(in);
    }
    if (out >= 0) {
        close(out);
    }
    lean_toolchain_release(program);
    bool absent = st->end == LEAN_TOOL_EXITED && (st->code == 126 || st->code == 127);
    if (status == PV_OK && (st->end == LEAN_TOOL_BROKEN || absent)) {
        return pv_fail(err, PV_E_SPAWN, "%s could not be run (%s): %.300s", name, st->what,
                       st->said);
    }
    return status;
}

static bool accepted(const step *st)
{
    return st->end == LEAN_TOOL_EXITED && st->code == 0;
}

/* The first lines, as text that may be shown: what is no UTF-8, or moves a cursor, becomes a question mark. */
static void put_lines(pv_buf *out, const char *said)
{
    size_t lines = 0, n = strlen(said), end = n < SHOWN_BYTES ? n : SHOWN_BYTES;
    while (end > 0 && said[end - 1] == '\n') {
        end--;
    }
    for (size_t i = 0; i < end && lines < SHOWN_LINES;) {
        uint32_t code = 0;
        size_t length = pv_utf8_decode(said + i, n - i, &code);
        bool shown = length > 0 && (code >= ' ' || code == '\n' || code == '\t') && code != 0x7f;
        pv_buf_append(out, shown ? said + i : "?", shown ? length : 1);
        lines += code == '\n';
        i += length > 0 ? length : 1;
    }
}

/* The proof is refused: `name` did not end well. */
static pv_status refuse(verdict *v, const char *reason, const char *name, const step *st,
                        pv_error *err)
{
    pv_buf message = {0};
    pv_buf_printf(&message, "%s did not accept the proof (%s)%s", name, st->what,
                  st->said[0] == '\0' ? "" : ": ");
    put_lines(&message, st->said);
    v->level = LEAN_LEVEL_NONE;
    v->reason = pv_strdup(reason);
    v->message = pv_buf_detach(&message);
    return v->reason == NULL || v->message == NULL ? pv_fail(err, PV_E_NOMEM, "out of memory")
                                                   : PV_OK;
}

/* ---- the steps ---- */

static pv_status write_source(kernel_check *k, const char *header, const char *body, pv_error *err)
{
    char path[PATH_ROOM];
    pv_buf text = {0};
    snprintf(k->folder, sizeof k->folder, "/tmp/prover-kernel-XXXXXX");
    if (mkdtemp(k->folder) == NULL) {
        int code = errno;
        k->folder[0] = '\0';
        return pv_fail_os(err, PV_E_IO, code, "cannot make a folder below /tmp for the kernels");
    }
    pv_buf_printf(&text, "%s\n%s", header, body);
    pv_status status = pv_buf_ok(&text) ? pv_file_replace(path_in(k, FILES[0], path),
                                                          pv_buf_text(&text), text.len, err)
                                        : pv_fail(err, PV_E_NOMEM, "out of memory");
    pv_buf_release(&text);
    return status;
}

static pv_status compile(kernel_check *k, verdict *v, pv_error *err)
{
    step st = {0};
    lean_toolchain program;
    char olean[PATH_ROOM];
    progress_note("prover", "Lean compiles the file for the kernels");
    pv_status status = lean_kernel_compile(&program, &k->tools, k->folder, err);
    if (status == PV_OK) {
        status =
            run_step(k, "lean", &program, NULL, path_in(k, FILES[1], olean), OLEAN_MAX, &st, err);
    }
    return status == PV_OK && !accepted(&st) ? refuse(v, "compile", "lean -o", &st, err) : status;
}

static pv_status replay(kernel_check *k, verdict *v, pv_error *err)
{
    step st = {0};
    lean_toolchain program;
    progress_note("prover", "leanchecker replays the file");
    pv_status status = lean_kernel_check(&program, &k->tools, k->folder, err);
    if (status == PV_OK) {
        status = run_step(k, "leanchecker", &program, NULL, NULL, TALK_MAX, &st, err);
    }
    if (status != PV_OK) {
        return status;
    }
    return accepted(&st) ? verdict_add_checker(v, "leanchecker", v->lean_version, st.seconds, err)
                         : refuse(v, "kernel", "leanchecker", &st, err);
}

/* Through a sibling, so that nobody reads half an export. */
static pv_status copy_export(const char *from, const char *to, pv_error *err)
{
    char bytes[COPY_BYTES];
    pv_buf part = {0};
    pv_buf_printf(&part, "%s.part", to);
    FILE *in = fopen(from, "rb"), *out = fopen(pv_buf_text(&part), "wb");
    bool well = in != NULL && out != NULL && pv_buf_ok(&part);
    size_t n = 0;
    while (well && (n = fread(bytes, 1, sizeof bytes, in)) > 0) {
        well = fwrite(bytes, 1, n, out) == n;
    }
    well = well && ferror(in) == 0;
    int code = errno;
    if (in != NULL) {
        fclose(in);
    }
    if (out != NULL && fclose(out) != 0) {
        code = errno;
        well = false;
    }
    if (well && rename(pv_buf_text(&part), to) != 0) {
        code = errno;
        well = false;
    }
    if (!well && out != NULL) {
        unlink(pv_buf_text(&part));
    }
    pv_buf_release(&part);
    return well ? PV_OK : pv_fail_os(err, PV_E_IO, code, "--export: cannot write %s", to);
}

static pv_status export(kernel_check *k, const char *const *names, size_t name_count, verdict *v,
                        pv_error *err)
{
    step st = {0};
    lean_toolchain program;
    char file[PATH_ROOM];
    progress_note("prover", "lean4export writes the proof down for other kernels");
    pv_status status = lean_kernel_export(&program, &k->tools, k->folder, names, name_count, err);
    path_in(k, FILES[2], file);
    if (status == PV_OK) {
        status = run_step(k, "lean4export", &program, NULL, file, EXPORT_MAX, &st, err);
    }
    if (status != PV_OK) {
        return status;
    }
    if (accepted(&st) && st.bytes == 0) {
        snprintf(st.what, sizeof st.what, "it wrote nothing");
        st.code = 1;
    }
    if (!accepted(&st)) {
        return refuse(v, "export", "lean4export", &st, err);
    }
    return k->export_file[0] == '\0' ? PV_OK : copy_export(file, k->export_file, err);
}

static pv_status ask_kernel(kernel_check *k, const char *command, verdict *v, pv_error *err)
{
    step st = {0};
    lean_toolchain program;
    bool reads_input = false;
    char file[PATH_ROOM];
    path_in(k, FILES[2], file);
    progress_note("kernel", command);
    pv_status status =
        lean_kernel_external(&program, &reads_input, &k->tools, getenv("PATH"), command, k->folder,
                             file, k->axioms, k->axiom_count, err);
    if (status == PV_OK) {
        status =
            run_step(k, command, &program, reads_input ? file : NULL, NULL, TALK_MAX, &st, err);
    }
    if (status != PV_OK) {
        return status;
    }
    return accepted(&st) ? verdict_add_checker(v, command, NULL, st.seconds, err)
                         : refuse(v, "kernel", command, &st, err);
}

static bool goes_on(pv_status status, const verdict *v)
{
    return status == PV_OK && v->level != LEAN_LEVEL_NONE;
}

pv_status kernel_check_run(kernel_check *k, const char *header, const char *body,
                           const char *const *names, size_t name_count, verdict *v, pv_error *err)
{
    if (!k->wanted || !session_accepts(k->s, v->level) || v->level == LEAN_LEVEL_NONE) {
        return PV_OK;
    }
    pv_status status = write_source(k, header, body, err);
    if (status == PV_OK) {
        status = compile(k, v, err);
    }
    if (goes_on(status, v) && k->tools.leanchecker != NULL) {
        status = replay(k, v, err);
    }
    if (goes_on(status, v) && wants_export(k)) {
        status = export(k, names, name_count, v, err);
    }
    for (size_t i = 0; goes_on(status, v) && i < k->command_count; i++) {
        status = ask_kernel(k, k->commands[i], v, err);
    }
    return status;
}
