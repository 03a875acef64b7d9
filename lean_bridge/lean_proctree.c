#define _GNU_SOURCE /* prlimit */
#include "lean_proctree.h"

#include "pv_mem.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* A tree larger than this is a fork bomb: what is beyond is left to the process group and the sweep. */
enum { TREE_MAX = 512 };

typedef struct tree {
    pid_t pids[TREE_MAX];
    size_t count;
} tree;

void lean_proctree_mark(uint64_t number, char out[LEAN_MARK_MAX])
{
    snprintf(out, LEAN_MARK_MAX, "PROVER_WORKER=%016llx", (unsigned long long)number);
}

char **lean_proctree_environment(char *const *env, char *mark)
{
    size_t n = 0;
    while (env != NULL && env[n] != NULL) {
        n++;
    }
    char **copy = pv_calloc(n + 2, sizeof *copy);
    for (size_t i = 0; copy != NULL && i < n; i++) {
        copy[i] = env[i];
    }
    if (copy != NULL) {
        copy[n] = mark;
    }
    return copy;
}

void lean_proctree_limit(pid_t pid, uint64_t address_max)
{
    struct rlimit none = {0, 0};
    prlimit(pid, RLIMIT_CORE, &none, NULL);
    if (address_max > 0) {
        struct rlimit limit = {(rlim_t)address_max, (rlim_t)address_max};
        prlimit(pid, RLIMIT_AS, &limit, NULL);
    }
}

/* Reads the start of a small file of /proc; the text ends in NUL. Returns its length, 0 on failure. */
static size_t read_text(const char *path, char *out, size_t room)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    size_t have = 0;
    while (have + 1 < room) {
        ssize_t n = read(fd, out + have, room - 1 - have);
        if (n <= 0) {
            break;
        }
        have += (size_t)n;
    }
    close(fd);
    out[have] = '\0';
    return have;
}

static void add_pids(tree *t, const char *list)
{
    char *end = NULL;
    for (long pid = strtol(list, &end, 10); end != list && pid > 0 && t->count < TREE_MAX;
         pid = strtol(list, &end, 10)) {
        t->pids[t->count++] = (pid_t)pid;
        list = end;
    }
}

/* Children are listed at the thread that made them. */
static void add_children(tree *t, pid_t pid)
{
    char path[96];
    snprintf(path, sizeof path, "/proc/%ld/task", (long)pid);
    DIR *threads = opendir(path);
    if (threads == NULL) {
        return;
    }
    for (struct dirent *entry = readdir(threads); entry != NULL; entry = readdir(threads)) {
        char list[4096];
        if (isdigit((unsigned char)entry->d_name[0])) {
            snprintf(path, sizeof path, "/proc/%ld/task/%.20s/children", (long)pid, entry->d_name);
            if (read_text(path, list, sizeof list) > 0) {
                add_pids(t, list);
            }
        }
    }
    closedir(threads);
}

static void collect(tree *t, pid_t root)
{
    t->pids[0] = root;
    t->count = 1;
    for (size_t i = 0; i < t->count; i++) {
        add_children(t, t->pids[i]);
    }
}

static uint64_t resident_of(pid_t pid)
{
    char path[48];
    char text[128];
    unsigned long long pages = 0;
    snprintf(path, sizeof path, "/proc/%ld/statm", (long)pid);
    if (read_text(path, text, sizeof text) == 0 || sscanf(text, "%*u %llu", &pages) != 1) {
        return 0;
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t lean_proctree_resident(pid_t root)
{
    tree t;
    uint64_t sum = 0;
    collect(&t, root);
    for (size_t i = 0; i < t.count; i++) {
        sum += resident_of(t.pids[i]);
    }
    return sum;
}

void lean_proctree_kill(pid_t root)
{
    tree t;
    collect(&t, root); /* before the kill: orphans have another parent */
    kill(-root, SIGKILL);
    for (size_t i = 0; i < t.count; i++) {
        kill(t.pids[i], SIGKILL);
    }
}

/* True when `mark` is one of the NUL-separated entries. */
static bool has_entry(const char *entries, size_t n, const char *mark)
{
    for (size_t at = 0; at < n; at += strlen(entries + at) + 1) {
        if (strcmp(entries + at, mark) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_marked(const char *pid, const char *mark)
{
    char path[48];
    char entries[1 << 14];
    snprintf(path, sizeof path, "/proc/%.20s/environ", pid);
    size_t n = read_text(path, entries, sizeof entries);
    return has_entry(entries, n, mark);
}

size_t lean_proctree_sweep(const char *mark)
{
    size_t found = 0;
    DIR *all = opendir("/proc");
    if (all == NULL) {
        return 0;
    }
    for (struct dirent *entry = readdir(all); entry != NULL; entry = readdir(all)) {
        if (isdigit((unsigned char)entry->d_name[0]) && is_marked(entry->d_name, mark)) {
            kill((pid_t)strtol(entry->d_name, NULL, 10), SIGKILL);
            found++;
        }
    }
    closedir(all);
    return found;
}
