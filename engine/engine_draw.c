/* What a batch asks of its logits, and what becomes of the answers. */
#include "engine_scheduler.h"

#include <math.h>

/* ---- Questions ---- */

static void make_ready(enginep_sample *s)
{
    uint32_t at = (uint32_t)(s - s->job->samples);
    s->state = ENGINEP_READY;
    s->job->next_ready = at < s->job->next_ready ? at : s->job->next_ready;
}

void enginep_ask(engine *e, enginep_sample *s, uint32_t logit)
{
    const enginep_job *job = s->job;
    uint32_t index = e->draw_count++;
    e->askers[index] = s;
    e->draws[index] = (engine_draw){.key = s->key,
                                    .position = job->prefix_len - 1 + (uint32_t)s->asked,
                                    .logit = logit,
                                    .token = job->scoring ? s->tokens[s->asked] : ENGINE_NO_TOKEN,
                                    .temperature = job->sampling.temperature,
                                    .top_k = job->sampling.top_k,
                                    .top_p = job->sampling.top_p,
                                    .min_p = job->sampling.min_p};
    s->asked++;
    s->asked_in = e->launches + 1; /* a row job's is answered in the same step */
    s->asked_as = index;
    if (s->state == ENGINEP_NEW) {
        make_ready(s);
    }
}

/* ---- Answers ---- */

static void fail(engine *e, enginep_sample *s, const pv_error *why)
{
    enginep_end_sample(e, s, ENGINE_FINISH_FAILED, why);
}

static void take_score(engine *e, enginep_sample *s, float logprob)
{
    s->logprobs[s->known++] = logprob;
    if (s->known == s->count) {
        enginep_end_sample(e, s, ENGINE_FINISH_SCORED, NULL);
    }
}

/* The token's place in the tip has been kept; a preempted sample has no tip, and a last token no place. */
static void take_token(engine *e, enginep_sample *s, engine_pick pick)
{
    bool ended = false;
    engine_finish finish = ENGINE_FINISH_LENGTH;
    pv_error why = {0};
    e->stats.tokens_sampled++;
    if (enginep_sample_push(e, s, pick, &ended, &finish, &why) != PV_OK) {
        fail(e, s, &why);
    } else if (ended) {
        enginep_end_sample(e, s, finish, NULL);
    } else if (s->tip != NULL) {
        s->tip->tokens[s->count - 1] = pick.token;
    }
}

static void take(engine *e, enginep_sample *s, engine_pick pick)
{
    if (s->job->scoring) {
        take_score(e, s, pick.logprob);
    } else {
        take_token(e, s, pick);
    }
}

static pv_status load(engine *e, const engine_draw *draw, const enginep_job *job, pv_error *err)
{
    const float *logits = e->logits + (size_t)draw->logit * e->model->config.vocab_size;
    pv_status status =
        engine_sampler_load(&e->sampler, logits, job->scoring ? NULL : &job->sampling, err);
    if (status != PV_OK) {
        (void)pv_error_wrap(err, "at position %u", draw->position);
    }
    return status;
}

static engine_pick pick_of(const engine_sampler *sampler, const engine_draw *draw)
{
    if (draw->token != ENGINE_NO_TOKEN) {
        return (engine_pick){draw->token, engine_sampler_logprob(sampler, draw->token)};
    }
    return engine_sampler_draw(sampler, engine_uniform(draw->key, draw->position));
}

void enginep_answer_from_logits(engine *e)
{
    uint32_t logit = UINT32_MAX; /* the row that the sampler has loaded, and for which request */
    const enginep_job *job = NULL;
    for (uint32_t i = 0; i < e->draw_count; i++) {
        enginep_sample *s = e->askers[i];
        const engine_draw *draw = &e->draws[i];
        pv_error why = {0};
        if (s->state == ENGINEP_DONE) { /* by an earlier draw of this batch */
            continue;
        }
        bool loaded = draw->logit == logit && s->job == job;
        if (!loaded && load(e, draw, s->job, &why) != PV_OK) {
            fail(e, s, &why);
            continue;
        }
        logit = draw->logit;
        job = s->job;
        if (job->row_of != NULL) {
            enginep_row_opened(e, s->job);
        } else {
            take(e, s, pick_of(&e->sampler, draw));
        }
    }
}

static void answer(engine *e, enginep_sample *s, const engine_drawn *a)
{
    if (!isnan(a->logprob)) {
        take(e, s, (engine_pick){a->token, a->logprob});
        return;
    }
    pv_error why = {0};
    (void)pv_fail(&why, PV_E_INVALID,
                  "at position %u: a row of logits holds NaN or infinity: the weights are damaged, "
                  "or a sum overflowed",
                  s->job->prefix_len - 1 + (uint32_t)s->known);
    fail(e, s, &why);
}

void enginep_answer_from_device(engine *e, const engine_drawn *answers)
{
    const enginep_flight *f = &e->flights[0];
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->askers[i] != NULL) { /* a sample that ends here has left the later draws as well */
            answer(e, f->askers[i], &answers[i]);
        }
    }
}

void enginep_leave_flights(engine *e, const enginep_sample *s)
{
    for (uint32_t k = 0; k < e->flight_count; k++) {
        enginep_flight *f = &e->flights[k];
        for (uint32_t i = 0; i < f->count; i++) {
            if (f->askers[i] == s) {
                f->askers[i] = NULL;
            }
        }
    }
}
