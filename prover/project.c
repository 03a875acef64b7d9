#define _XOPEN_SOURCE 700 /* realpath, scandir */
#include "project.h"

#include "lean_folder.h"
#include "lean_lexer.h"
#include "lean_strings.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LEAN_MAX = 8 << 20, LAKEFILE_MAX = 1 << 20 };

static pv_status no_memory(pv_error *err)
{
    return pv_fail(err, PV_E_NOMEM, "out of memory");
}

static void file_free(project_file *file)
{
    pv_free(file->path);
    pv_free(file->shown);
    pv_free(file->module);
    lean_strings_free(file->imports);
}

void project_release(project *p)
{
    for (size_t i = 0; i < p->count; i++) {
        file_free(&p->files[i]);
    }
    pv_free(p->files);
    pv_free(p->root);
    memset(p, 0, sizeof *p);
}

/* ---- where the project is ---- */

static bool has(const char *folder, const char *name)
{
    char *path = lean_strings_format("%s/%s", folder, name);
    bool found = path != NULL && pv_file_exists(path);
    pv_free(path);
    return found;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static char *real_path(const char *path)
{
    char *real = realpath(path, NULL);
    char *copy = real == NULL ? NULL : pv_strdup(real);
    free(real);
    return copy;
}

/* The folder at or above `real` (changed) with a lakefile; false: none. */
static bool find_lakefile(char *real)
{
    for (;;) {
        if (has(real, "lakefile.toml") || has(real, "lakefile.lean")) {
            return true;
        }
        char *slash = strrchr(real, '/');
        if (slash == NULL || slash == real) {
            return false;
        }
        *slash = '\0';
    }
}

static pv_status find_root(project *p, const char *argument, pv_error *err)
{
    char *real = real_path(argument);
    if (real == NULL) {
        return pv_fail_os(err, errno == ENOENT ? PV_E_NOTFOUND : PV_E_IO, errno, "%s: cannot open",
                          argument);
    }
    char *folder = pv_strdup(real);
    p->lake = folder != NULL && find_lakefile(folder);
    if (p->lake) {
        p->root = folder;
        folder = NULL;
    } else if (is_folder(real)) {
        p->root = real;
        real = NULL;
    }
    pv_free(folder);
    pv_free(real);
    return PV_OK;
}

/* The folder that modules lie in: a lakefile may name one below the project's as srcDir. "" or "NAME/". */
static char *source_folder(const project *p)
{
    pv_buf text = {0}, out = {0};
    char *path = lean_strings_format("%s/lakefile.%s", p->root,
                                     has(p->root, "lakefile.toml") ? "toml" : "lean");
    if (path != NULL && pv_file_read(path, LAKEFILE_MAX, &text, NULL) == PV_OK) {
        const char *at = strstr(pv_buf_text(&text), "srcDir");
        const char *quote = at == NULL ? NULL : strchr(at, '"');
        size_t n = quote == NULL ? 0 : strcspn(quote + 1, "\"\n");
        while (n > 0 && quote[n] == '/') {
            n--;
        }
        if (n > 0 && !(n == 1 && quote[1] == '.')) {
            pv_buf_append(&out, quote + 1, n);
            pv_buf_putc(&out, '/');
        }
    }
    pv_buf_release(&text);
    pv_free(path);
    return out.len == 0 && pv_buf_ok(&out) ? pv_strdup("") : pv_buf_detach(&out);
}

/* ---- files ---- */

static bool is_word(const char *text, const lean_token *token, const char *word)
{
    return token->end - token->start == strlen(word) &&
           memcmp(text + token->start, word, strlen(word)) == 0;
}

/* The modules that a text imports. NULL when memory is short. */
static char **imports_of(const char *text, size_t n)
{
    lean_strings list = {0};
    lean_lexer lexer = {text, n, 0};
    for (;;) {
        lean_token token = lean_lexer_next(&lexer);
        if (is_word(text, &token, "import")) {
            token = lean_lexer_next(&lexer);
            if (is_word(text, &token, "all")) {
                token = lean_lexer_next(&lexer);
            }
            lean_strings_addf(&list, "%.*s", (int)(token.end - token.start), text + token.start);
        } else if (!is_word(text, &token, "module") && !is_word(text, &token, "prelude") &&
                   !is_word(text, &token, "public") && !is_word(text, &token, "meta")) {
            return lean_strings_detach(&list);
        }
    }
}

static char *module_of(const char *relative, const char *sources)
{
    size_t n = strlen(sources);
    if (strncmp(relative, sources, n) != 0) {
        return NULL;
    }
    char *name = pv_strndup(relative + n, strlen(relative + n) - strlen(".lean"));
    for (char *c = name; c != NULL && *c != '\0'; c++) {
        *c = *c == '/' ? '.' : *c;
    }
    return name;
}

static pv_status add_file(project *p, const char *path, const char *shown, const char *sources,
                          pv_error *err)
{
    pv_buf text = {0};
    pv_status status = pv_file_read(path, LEAN_MAX, &text, err);
    if (status != PV_OK) {
        return status;
    }
    size_t capacity = p->count;
    project_file file = {.path = pv_strdup(path), .shown = pv_strdup(shown)};
    file.module = sources == NULL ? NULL : module_of(shown, sources);
    file.imports = imports_of(pv_buf_text(&text), text.len);
    pv_buf_release(&text);
    if (file.path == NULL || file.shown == NULL || file.imports == NULL ||
        pv_grow((void **)&p->files, &capacity, p->count + 1, sizeof *p->files) != 0) {
        file_free(&file);
        return no_memory(err);
    }
    p->files[p->count++] = file;
    return PV_OK;
}

typedef struct folder_walk {
    project *p;
    const char *sources;
} folder_walk;

static pv_status take_lean(void *user, const char *path, const char *below, pv_error *err)
{
    const folder_walk *w = user;
    return add_file(w->p, path, below, w->sources, err);
}

/* ---- order ---- */

static project_file *find_module(const project *p, const char *name)
{
    for (size_t i = 0; i < p->count; i++) {
        if (p->files[i].module != NULL && strcmp(p->files[i].module, name) == 0) {
            return &p->files[i];
        }
    }
    return NULL;
}

/* Whether all that a file imports from the project lies among the first `done` files. */
static bool is_ready(const project *p, const project_file *file, size_t done)
{
    for (size_t i = 0; file->imports[i] != NULL; i++) {
        const project_file *needed = find_module(p, file->imports[i]);
        if (needed != NULL && (size_t)(needed - p->files) >= done) {
            return false;
        }
    }
    return true;
}

/* Puts each file after those that it imports, and else leaves them in their order. */
static pv_status sort_files(project *p, pv_error *err)
{
    for (size_t done = 0; done < p->count; done++) {
        size_t i = done;
        while (i < p->count && !is_ready(p, &p->files[i], done)) {
            i++;
        }
        if (i == p->count) {
            return pv_fail(err, PV_E_INVALID, "%s: its imports go in a circle",
                           p->files[done].shown);
        }
        project_file next = p->files[i];
        memmove(&p->files[done + 1], &p->files[done], (i - done) * sizeof next);
        p->files[done] = next;
    }
    return PV_OK;
}

static void mark_needed(project *p)
{
    for (size_t i = p->count; i-- > 0;) {
        const project_file *file = &p->files[i];
        for (size_t k = 0; (file->chosen || file->needed) && file->imports[k] != NULL; k++) {
            project_file *needed = find_module(p, file->imports[k]);
            if (needed != NULL) {
                needed->needed = true;
            }
        }
    }
}

/* ---- choice ---- */

static bool is_under(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* Marks what lies at or below `path`; false: nothing does. */
static bool choose(project *p, const char *path)
{
    char *real = real_path(path);
    bool any = false;
    for (size_t i = 0; real != NULL && i < p->count; i++) {
        char *file = real_path(p->files[i].path);
        p->files[i].chosen = file != NULL && is_under(file, real);
        any = any || p->files[i].chosen;
        pv_free(file);
    }
    pv_free(real);
    return any;
}

static pv_status choose_files(project *p, const char *argument, const char *only, pv_error *err)
{
    if (only == NULL) {
        return choose(p, argument) ? PV_OK
                                   : pv_fail(err, PV_E_INVALID, "%s: no Lean file in it", argument);
    }
    char *inside = lean_strings_format("%s/%s", argument, only);
    bool found = (inside != NULL && choose(p, inside)) || choose(p, only);
    pv_free(inside);
    return found ? PV_OK : pv_fail(err, PV_E_NOTFOUND, "%s: no such file in %s", only, argument);
}

static pv_status read_project(project *p, const char *argument, pv_error *err)
{
    if (p->root == NULL) {
        return add_file(p, argument, argument, NULL, err);
    }
    char *sources = source_folder(p);
    folder_walk w = {p, sources};
    pv_status status =
        sources == NULL ? no_memory(err) : lean_folder_each(p->root, take_lean, &w, err);
    pv_free(sources);
    return status;
}

pv_status project_open(project *out, const char *argument, const char *only, pv_error *err)
{
    memset(out, 0, sizeof *out);
    pv_status status = find_root(out, argument, err);
    if (status == PV_OK && only != NULL && out->root == NULL) {
        status = pv_fail(err, PV_E_INVALID, "%s is no folder: give the place as %s:LINE", argument,
                         argument);
    }
    if (status == PV_OK) {
        status = read_project(out, argument, err);
    }
    if (status == PV_OK) {
        status = sort_files(out, err);
    }
    if (status == PV_OK) {
        status = choose_files(out, argument, only, err);
    }
    if (status == PV_OK) {
        mark_needed(out);
    } else {
        project_release(out);
    }
    return status;
}
