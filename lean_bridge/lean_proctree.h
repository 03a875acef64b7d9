/* lean_proctree: a child process and all that descends from it, as /proc shows them. Internal to lean_bridge.
 *
 * A child may fork helpers, and code in a tactic may try to outlive its worker. Everything that a worker starts carries the
 * worker's mark in its environment ("PROVER_WORKER=" and a random number), also after it left the process group and
 * the session, so that it is found. Inside bubblewrap the process id namespace kills all of it anyway.
 * Threads: any; nothing is kept. Linux. */
#ifndef LEAN_PROCTREE_H
#define LEAN_PROCTREE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { LEAN_MARK_MAX = 40 };

/* Writes the environment entry that marks a worker's processes. */
void lean_proctree_mark(uint64_t number, char out[LEAN_MARK_MAX]);

/* `env` with the mark at its end. The strings are borrowed, the array is the caller's (pv_free). NULL when memory is short. */
char **lean_proctree_environment(char *const *env, char *mark);

/* No core dumps, and at most so many bytes of address space (0 = any). Set from outside, right after the spawn: the child
 * has not read a byte of anybody's text yet. */
void lean_proctree_limit(pid_t pid, uint64_t address_max);

/* Resident bytes of `root` and its descendants; 0 when it is gone. */
uint64_t lean_proctree_resident(pid_t root);

/* SIGKILL to the process group of `root` and to each of its descendants. */
void lean_proctree_kill(pid_t root);

/* SIGKILL to every process that carries `mark`; returns how many there were. Reads all of /proc: for ends of workers only. */
size_t lean_proctree_sweep(const char *mark);

#endif
