/* lean_judge_job: one judgement that was asked for, copied. Internal to lean_bridge. */
#ifndef LEAN_JUDGE_JOB_H
#define LEAN_JUDGE_JOB_H

#include "lean_judge.h"

typedef struct lean_judge_job {
    struct lean_judge_job *next;
    char *header, *original, *candidate;
    char **names, **proofs;
    size_t name_count;
    uint64_t *fills;
    size_t fill_numbers;
    bool fill_data;
    uint64_t deadline_ms;
    bool skip_gate;
    lean_judge_cb *cb;
    void *user;
    uint64_t start_ns, replay_ns;
    char *exported; /* what the candidate declares: to be replayed */
} lean_judge_job;

/* NULL when memory is short. */
lean_judge_job *lean_judge_job_new(const lean_judge_request *request, lean_judge_cb *cb,
                                   void *user);
void lean_judge_job_free(lean_judge_job *j);

#endif
