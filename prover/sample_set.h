/* sample_set: what a language model said to one question of the search, on its way to being candidates.
 *
 * Samples that say the same are one candidate. Its log-probability is the largest sum over a sample's tokens; where any sample came
 * without log-probabilities, that of every candidate is log(k / n) instead: k samples of the n said it. (Sums and shares are never
 * mixed in one set: they are of different scales.) Tokens of samples that gave no tactic are paid for too: they come as an empty
 * candidate, which the search counts and does not try.
 * Embedded in its owner; {0} is empty. Threads: one at a time. */
#ifndef SAMPLE_SET_H
#define SAMPLE_SET_H

#include "search_policy.h"

#include <stdbool.h>

typedef struct sample {
    char *tactic; /* owned */
    double logprob;
    uint32_t tokens, seen; /* all samples that said it together */
} sample;

typedef struct sample_set {
    sample *items;
    size_t count, capacity;
    uint32_t wasted;   /* tokens that gave no tactic        */
    uint32_t answered; /* samples added, with a tactic or not */
    bool unscored;     /* some sample had no log-probability */
} sample_set;

/* Adds a finished sample: blanks around it go, and a code fence around it with what follows the fence. An empty rest is wasted.
 * `logprob` NAN: not known. False when memory is short (the set is as before). */
bool sample_set_add(sample_set *set, const char *text, size_t n, double logprob, uint32_t tokens);

/* Adds tokens of a sample that was cut, or that were spent outside any sample. */
void sample_set_waste(sample_set *set, uint32_t tokens, bool is_sample);

/* Answers the search; `failure` NULL or unset: none. */
void sample_set_deliver(const sample_set *set, search_run *run, uint64_t ticket,
                        const pv_error *failure);
void sample_set_release(sample_set *set);

#endif
