#include "lean_pool_internal.h"

/* How far the search for a job that fits goes, and how often the oldest may be passed over for one. */
enum { LOOK_AHEAD = 32, PASS_MAX = 32 };

void lean_queue_push(lean_queue *queue, lean_job *job)
{
    job->next = NULL;
    job->prev = queue->last;
    *(queue->last != NULL ? &queue->last->next : &queue->first) = job;
    queue->last = job;
    queue->count++;
    job->queued = true;
}

void lean_queue_push_front(lean_queue *queue, lean_job *job)
{
    job->prev = NULL;
    job->next = queue->first;
    *(queue->first != NULL ? &queue->first->prev : &queue->last) = job;
    queue->first = job;
    queue->count++;
    job->queued = true;
}

void lean_queue_remove(lean_queue *queue, lean_job *job)
{
    *(job->prev != NULL ? &job->prev->next : &queue->first) = job->next;
    *(job->next != NULL ? &job->next->prev : &queue->last) = job->prev;
    queue->count--;
    job->queued = false;
}

static const lean_env *env_of(const lean_job *job)
{
    if (job->env != NULL) {
        return job->env;
    }
    const lean_state *state = job->state;
    while (state->origin->parent != NULL) {
        state = state->origin->parent;
    }
    return state->origin->env;
}

static int fitness(const lean_job *job, const lean_slot *slot)
{
    uint64_t number;
    if (job->state != NULL && lean_state_on(job->state, slot) != NULL) {
        return 2;
    }
    if (!lean_env_held(env_of(job), slot, &number)) {
        return 0;
    }
    return job->state == NULL ? 2 : 1;
}

lean_job *lean_queue_pick(lean_queue *queue, const lean_slot *slot, int least_fitness)
{
    lean_job *best = queue->first;
    if (best == NULL) {
        return NULL;
    }
    int best_fitness = fitness(best, slot);
    if (best->passed_over < PASS_MAX) {
        lean_job *job = best->next;
        for (int i = 0; i < LOOK_AHEAD && job != NULL && best_fitness < 2; i++, job = job->next) {
            int fits = fitness(job, slot);
            if (fits > best_fitness) {
                best = job;
                best_fitness = fits;
            }
        }
    }
    if (best_fitness < least_fitness) {
        return NULL;
    }
    if (best != queue->first) {
        queue->first->passed_over++;
    }
    lean_queue_remove(queue, best);
    return best;
}
