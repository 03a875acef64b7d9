#define _XOPEN_SOURCE 700 /* realpath */
#include "lean_sandbox.h"

#include "lean_program.h"
#include "lean_strings.h"
#include "pv_buf.h"
#include "pv_clock.h"
#include "pv_mem.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SHELL "/bin/sh"

/* No core dumps, files of at most 1 GiB, at most 4096 processes and threads (dash says -p, bash -u). A limit that
 * cannot be set is no reason not to run. */
#define LIMITS                                                                                     \
    "{ ulimit -c 0; ulimit -f 2097152; ulimit -p 4096 || ulimit -u 4096; } 2>/dev/null; exec "     \
    "\"$@\""

#define SMALL_TMPFS_BYTES "1048576"
#define TMP_BYTES         "67108864"

/* Replaced by empty folders in memory: sockets of other services lie there, and other people's files. */
static const char *const SCRATCH_FOLDERS[] = {"/run", "/tmp"};
static const char *const HOME_FOLDERS[] = {"/home", "/root"};

/* Hidden always: what a root process could read though no proof needs it. */
static const char *const SYSTEM_SECRETS[] = {
    "/etc/shadow",  "/etc/shadow-",   "/etc/gshadow",     "/etc/gshadow-",
    "/etc/sudoers", "/etc/sudoers.d", "/etc/ssl/private", "/etc/ssh",
};

/* Hidden below a home that has to stay visible otherwise: a Lake project may depend on any folder in it. */
static const char *const HOME_SECRETS[] = {
    ".ssh",
    ".gnupg",
    ".aws",
    ".azure",
    ".kube",
    ".docker",
    ".netrc",
    ".npmrc",
    ".pypirc",
    ".config",
    ".cargo",
    ".git-credentials",
    ".mozilla",
    ".password-store",
    ".vault-token",
    ".bash_history",
    ".zsh_history",
    ".local/share/keyrings",
    ".cache/huggingface",
};

#define COUNT_OF(array) (sizeof(array) / sizeof(array)[0])

/* ------------------------------------------------------------------------------------------- argument vectors */

typedef struct layout {
    const lean_sandbox *sandbox;
    const lean_toolchain *toolchain;
    lean_strings argv;
    lean_strings hidden; /* folders replaced by empty ones */
} layout;

/* True for the folder itself, too. */
static bool is_under(const char *path, const char *folder)
{
    size_t n = strlen(folder);
    return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static bool is_hidden(const layout *l, const char *path)
{
    for (size_t i = 0; i < l->hidden.count; i++) {
        if (is_under(path, l->hidden.items[i])) {
            return true;
        }
    }
    return false;
}

static void add(layout *l, const char *a, const char *b, const char *c)
{
    lean_strings_add(&l->argv, a);
    if (b != NULL) {
        lean_strings_add(&l->argv, b);
    }
    if (c != NULL) {
        lean_strings_add(&l->argv, c);
    }
}

static void add_tmpfs(layout *l, const char *folder, const char *bytes)
{
    if (l->sandbox->modern) {
        add(l, "--size", bytes, NULL);
    }
    add(l, "--tmpfs", folder, NULL);
}

/* Puts an empty folder over `path`, wherever links lead. Never over what a program needs to start. */
static void hide_folder(layout *l, const char *path, const char *bytes)
{
    char *real = realpath(path, NULL);
    struct stat info;
    if (real != NULL && stat(real, &info) == 0 && S_ISDIR(info.st_mode) && !is_hidden(l, real) &&
        strcmp(real, "/") != 0 && !is_under("/usr/bin", real) && !is_under("/lib", real)) {
        add_tmpfs(l, real, bytes);
        lean_strings_add(&l->hidden, real);
    }
    free(real);
}

/* Shows again what lies in a hidden folder. */
static void show(layout *l, const char *path)
{
    bool is_whole = false;
    for (size_t i = 0; i < l->hidden.count; i++) {
        is_whole = is_whole || strcmp(path, l->hidden.items[i]) == 0;
    }
    if (path[0] == '/' && is_hidden(l, path) && !is_whole) {
        add(l, "--ro-bind-try", path, path);
    }
}

static bool is_needed(const layout *l, const char *path)
{
    char *const *readable = l->toolchain->readable;
    for (size_t i = 0; readable != NULL && readable[i] != NULL; i++) {
        if (is_under(readable[i], path)) {
            return true;
        }
    }
    return false;
}

/* True when `path` can still be seen: not hidden, or shown again as a part of a folder that the toolchain reads. */
static bool is_visible(const layout *l, const char *path)
{
    char *const *readable = l->toolchain->readable;
    if (!is_hidden(l, path)) {
        return true;
    }
    for (size_t i = 0; readable != NULL && readable[i] != NULL; i++) {
        if (is_under(path, readable[i])) {
            return true;
        }
    }
    return false;
}

static void hide_secret(layout *l, const char *path)
{
    char *real = realpath(path, NULL);
    struct stat info;
    if (real != NULL && stat(real, &info) == 0 && is_visible(l, real) && !is_needed(l, real)) {
        if (S_ISDIR(info.st_mode)) {
            add_tmpfs(l, real, SMALL_TMPFS_BYTES);
        } else if (S_ISREG(info.st_mode)) {
            add(l, "--ro-bind", "/dev/null", real);
        }
    }
    free(real);
}

static void add_namespaces(layout *l)
{
    add(l, l->sandbox->bwrap, "--unshare-all", NULL);
    if (l->sandbox->modern) {
        add(l, "--unshare-user", "--disable-userns", NULL);
    }
    add(l, "--die-with-parent", "--new-session", NULL);
    add(l, "--cap-drop", "ALL", NULL);
    add(l, "--hostname", "lean", NULL);
}

static void add_mounts(layout *l)
{
    const lean_toolchain *t = l->toolchain;
    add(l, "--ro-bind", "/", "/");
    add(l, "--dev", "/dev", NULL);
    add_tmpfs(l, "/dev/shm", SMALL_TMPFS_BYTES);
    add(l, "--remount-ro", "/dev", NULL);
    add(l, "--proc", "/proc", NULL);
    for (size_t i = 0; i < COUNT_OF(SCRATCH_FOLDERS); i++) {
        hide_folder(l, SCRATCH_FOLDERS[i], TMP_BYTES);
    }
    if (t->kind != LEAN_TOOLCHAIN_PROJECT) {
        for (size_t i = 0; i < COUNT_OF(HOME_FOLDERS); i++) {
            hide_folder(l, HOME_FOLDERS[i], SMALL_TMPFS_BYTES);
        }
        if (t->private_home != NULL) {
            hide_folder(l, t->private_home, SMALL_TMPFS_BYTES);
        }
    }
    for (size_t i = 0; t->readable != NULL && t->readable[i] != NULL; i++) {
        show(l, t->readable[i]);
    }
    for (size_t i = 0; t->argv[i] != NULL; i++) {
        show(l, t->argv[i]);
    }
}

static void add_secrets(layout *l)
{
    for (size_t i = 0; i < COUNT_OF(SYSTEM_SECRETS); i++) {
        hide_secret(l, SYSTEM_SECRETS[i]);
    }
    for (size_t i = 0; l->toolchain->private_home != NULL && i < COUNT_OF(HOME_SECRETS); i++) {
        char *path = lean_strings_format("%s/%s", l->toolchain->private_home, HOME_SECRETS[i]);
        if (path != NULL) {
            hide_secret(l, path);
        } else {
            l->argv.failed = true; /* short of memory: rather not start than show a secret */
        }
        pv_free(path);
    }
}

pv_status lean_sandbox_argv(const lean_sandbox *sandbox, const lean_toolchain *toolchain,
                            char ***out, pv_error *err)
{
    layout l = {.sandbox = sandbox, .toolchain = toolchain};
    if (sandbox->active) {
        add_namespaces(&l);
        add_mounts(&l);
        add_secrets(&l);
        add(&l, "--chdir", toolchain->cwd == NULL ? "/" : toolchain->cwd, "--");
    }
    add(&l, SHELL, "-c", LIMITS);
    add(&l, SHELL, NULL, NULL);
    lean_strings_add_all(&l.argv, toolchain->argv);
    l.argv.failed = l.argv.failed || l.hidden.failed;
    lean_strings_release(&l.hidden);
    char **argv = lean_strings_detach(&l.argv);
    if (argv == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while preparing to start Lean");
    }
    *out = argv;
    return PV_OK;
}

void lean_sandbox_free_argv(char **argv)
{
    lean_strings_free(argv);
}

/* ---------------------------------------------------------------------------------------------- the probe */

enum { PROBE_MS = 10000, PROBE_OUTPUT_MAX = 16384, PLACES_MAX = 5 };

/* Run inside. $1: a file name nobody uses. $2, $3: the port of a listener outside, in decimal and in hexadecimal as
 * /proc/net/tcp has it. $4: the working folder, which may be one of those replaced by private ones: whether something
 * arrives there is seen from outside. The rest: folders that nothing may be written to. Says what should have been
 * impossible, then "done". */
static const char PROBE[] =
    "name=$1 port=$2 hex=$3; (: > \"$4/$name\") 2>/dev/null; shift 4\n"
    "for place do (: > \"$place/$name\") 2>/dev/null && echo \"it can write to $place\"; done\n"
    "(: > \"/tmp/$name\") 2>/dev/null || echo 'it has no /tmp of its own'\n"
    "while read -r _ local _; do case $local in *:\"$hex\") echo 'it sees the sockets of this "
    "machine';;\n"
    "esac; done < /proc/net/tcp\n"
    "lines=0; while read -r _; do lines=$((lines + 1)); done < /proc/net/route\n"
    "[ $lines -le 1 ] || echo 'it has a route to a network'\n"
    "[ -x /bin/bash ] && /bin/bash -c \": < /dev/tcp/127.0.0.1/$port\" 2>/dev/null &&\n"
    "  echo 'it can open network connections'\n"
    "while read -r key value _; do case $key:$value in\n"
    "NoNewPrivs::0) echo 'it can gain privileges';; CapEff::*[!0]*) echo 'it has capabilities';;\n"
    "esac; done < /proc/self/status\n"
    "set -- /proc/[0-9]*; [ $# -le 16 ] || echo 'it sees other processes'\n"
    "echo done\n";

typedef struct probe {
    char name[64]; /* of the canary */
    int listener;  /* a TCP socket of this machine that nobody may reach from inside */
    unsigned port;
    char cwd[4096];
    const char *places[PLACES_MAX + 1]; /* the working folder first */
    pv_buf output;
} probe;

/* False when this machine has no loopback interface: there is nothing to reach then. */
static bool listen_locally(probe *p)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t n = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    p->listener = socket(AF_INET, SOCK_STREAM, 0);
    if (p->listener < 0) {
        return false;
    }
    fcntl(p->listener, F_SETFD, FD_CLOEXEC);
    fcntl(p->listener, F_SETFL, O_NONBLOCK);
    if (bind(p->listener, (struct sockaddr *)&address, n) != 0 || listen(p->listener, 4) != 0 ||
        getsockname(p->listener, (struct sockaddr *)&address, &n) != 0) {
        return false;
    }
    p->port = ntohs(address.sin_port);
    return true;
}

static void probe_init(probe *p)
{
    static const char *const places[] = {"/", "/etc", "/usr", "/var/tmp"};
    *p = (probe){.listener = -1};
    snprintf(p->name, sizeof p->name, ".prover-probe-%ld-%llx", (long)getpid(),
             (unsigned long long)pv_clock_ns());
    p->places[0] = getcwd(p->cwd, sizeof p->cwd) == NULL ? "/" : p->cwd;
    memcpy(p->places + 1, places, sizeof places);
    listen_locally(p);
}

static void probe_release(probe *p)
{
    if (p->listener >= 0) {
        close(p->listener);
    }
    pv_buf_release(&p->output);
}

static pv_status probe_argv(const lean_sandbox *sandbox, const probe *p, char ***out, pv_error *err)
{
    lean_strings argv = {0};
    lean_strings_add(&argv, SHELL);
    lean_strings_add(&argv, "-c");
    lean_strings_add(&argv, PROBE);
    lean_strings_add(&argv, SHELL);
    lean_strings_add(&argv, p->name);
    lean_strings_addf(&argv, "%u", p->port);
    lean_strings_addf(&argv, "%04X", p->port);
    lean_strings_add_all(&argv, (char *const *)(uintptr_t)p->places);
    lean_toolchain shell = {.kind = LEAN_TOOLCHAIN_COMMAND, .argv = lean_strings_detach(&argv)};
    if (shell.argv == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while probing the sandbox");
    }
    pv_status status = lean_sandbox_argv(sandbox, &shell, out, err);
    lean_strings_free(shell.argv);
    return status;
}

/* Starts argv in a process group of its own, its output into *from. */
static bool start(char **argv, pid_t *pid, int *from)
{
    char *environment[] = {(char[]){"PATH=/usr/local/bin:/usr/bin:/bin"}, NULL};
    int ends[2];
    if (pipe(ends) != 0) {
        return false;
    }
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
    int code = posix_spawn(pid, argv[0], &actions, &attributes, argv, environment);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(ends[1]);
    if (code != 0) {
        close(ends[0]);
        return false;
    }
    *from = ends[0];
    return true;
}

/* Reads to the end of the file, for PROBE_MS at most. */
static void drain(int from, pv_buf *output)
{
    uint64_t deadline = pv_clock_ms() + PROBE_MS;
    while (output->len < PROBE_OUTPUT_MAX) {
        uint64_t now = pv_clock_ms();
        struct pollfd ready = {.fd = from, .events = POLLIN};
        char bytes[1024];
        if (now >= deadline || poll(&ready, 1, (int)(deadline - now)) == 0) {
            return;
        }
        ssize_t n = read(from, bytes, sizeof bytes);
        if (n == 0 || (n < 0 && errno != EINTR)) {
            return;
        }
        pv_buf_append(output, bytes, n > 0 ? (size_t)n : 0);
    }
}

static bool run_probe(char **argv, probe *p)
{
    pid_t pid = 0;
    int from = -1;
    if (!start(argv, &pid, &from)) {
        return false;
    }
    drain(from, &p->output);
    close(from);
    kill(-pid, SIGKILL);
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
    return true;
}

/* Looks from outside at what the probe did, and removes it. */
static void look_for_traces(probe *p)
{
    for (size_t i = 0; i <= PLACES_MAX; i++) {
        const char *place = i < PLACES_MAX ? p->places[i] : "/tmp";
        char *path = place == NULL ? NULL : lean_strings_format("%s/%s", place, p->name);
        if (path != NULL && unlink(path) == 0) {
            pv_buf_printf(&p->output, "it wrote to %s\n", place);
        }
        pv_free(path);
    }
    int connection = p->listener < 0 ? -1 : accept(p->listener, NULL, NULL);
    if (connection >= 0) {
        close(connection);
        pv_buf_puts(&p->output, "it opened a network connection\n");
    }
}

/* Runs the probe with the sandbox as it is set up. Leaves the first thing that went wrong in *why ("" = nothing). */
static pv_status prove_sandbox(lean_sandbox *sandbox, pv_buf *why, pv_error *err)
{
    char **argv = NULL;
    probe p;
    probe_init(&p);
    pv_status status = probe_argv(sandbox, &p, &argv, err);
    pv_buf_clear(why);
    if (status == PV_OK && !run_probe(argv, &p)) {
        pv_buf_puts(why, "it could not be started");
    } else if (status == PV_OK) {
        look_for_traces(&p);
        const char *text = pv_buf_text(&p.output);
        sandbox->canary = (lean_canary){
            .ran = true,
            .wrote = strstr(text, "write to") != NULL || strstr(text, "wrote to") != NULL,
            .connected = strstr(text, "network") != NULL || strstr(text, "sockets") != NULL};
        if (strcmp(text, "done\n") != 0) {
            size_t n = strcspn(text, "\n");
            pv_buf_append(why, n == 0 ? "it did not answer" : text, n == 0 ? 17 : n);
        }
    }
    lean_sandbox_free_argv(argv);
    probe_release(&p);
    return status;
}

static pv_status describe(lean_sandbox *out, char *text, pv_error *err)
{
    out->describe = text;
    if (text == NULL) {
        lean_sandbox_release(out);
        return pv_fail(err, PV_E_NOMEM, "out of memory while probing the sandbox");
    }
    return PV_OK;
}

/* Newest features first; older releases of bubblewrap do not know them. */
static pv_status try_bwrap(lean_sandbox *out, pv_error *err)
{
    pv_buf why = {0};
    pv_status status = PV_OK;
    out->active = true;
    for (int modern = 1; modern >= 0; modern--) {
        out->modern = modern == 1;
        status = prove_sandbox(out, &why, err);
        if (status != PV_OK || why.len == 0) {
            break;
        }
    }
    if (status == PV_OK && why.len == 0) {
        status = describe(out,
                          lean_strings_format("confined by bubblewrap (%s): no network, read-only "
                                              "files, home folders and keys hidden, a private /tmp",
                                              out->bwrap),
                          err);
    } else if (status == PV_OK) {
        out->active = false;
        status =
            describe(out,
                     lean_strings_format(
                         "not confined: bubblewrap (%s) does not work here (%s); allow "
                         "unprivileged user namespaces, or run prover where nothing is to be lost",
                         out->bwrap, pv_buf_text(&why)),
                     err);
        pv_free(out->bwrap);
        out->bwrap = NULL;
    }
    pv_buf_release(&why);
    return status;
}

pv_status lean_sandbox_probe(lean_sandbox *out, const char *path, bool disabled, pv_error *err)
{
    *out = (lean_sandbox){0};
    if (disabled) {
        return describe(out, pv_strdup("not confined: the sandbox was switched off"), err);
    }
    out->bwrap = lean_program_find(path, "bwrap");
    if (out->bwrap == NULL) {
        return describe(out,
                        pv_strdup("not confined: bubblewrap was not found on PATH; install it "
                                  "(Debian: apt install bubblewrap)"),
                        err);
    }
    pv_status status = try_bwrap(out, err);
    if (status != PV_OK) {
        lean_sandbox_release(out);
    }
    return status;
}

pv_status lean_sandbox_copy(lean_sandbox *out, const lean_sandbox *from, pv_error *err)
{
    *out = (lean_sandbox){.active = from->active, .modern = from->modern, .canary = from->canary};
    out->bwrap = from->bwrap == NULL ? NULL : pv_strdup(from->bwrap);
    out->describe = pv_strdup(from->describe == NULL ? "" : from->describe);
    if (out->describe == NULL || (from->bwrap != NULL && out->bwrap == NULL)) {
        lean_sandbox_release(out);
        return pv_fail(err, PV_E_NOMEM, "out of memory while copying the sandbox's description");
    }
    return PV_OK;
}

void lean_sandbox_release(lean_sandbox *sandbox)
{
    pv_free(sandbox->bwrap);
    pv_free(sandbox->describe);
    memset(sandbox, 0, sizeof *sandbox);
}
