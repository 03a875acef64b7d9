#include "engine_cpu_lanes.h"

#include "pv_mem.h"

#include <string.h>

enum {
    SMALL_MIB = 64, /* weights that every lane may read for itself */
    LANE_ROWS = 8,  /* fewer share a weight too seldom */
    LANES_MAX = 64
};

struct engine_cpu_lane {
    engine_device device; /* borrows everything but buffers and arithmetic */
    engine_batch batch;   /* its part */
    uint32_t *logit_rows; /* owned; max_logit_rows */
    uint32_t first, rows; /* of the batch */
};

/* ---- life ---- */

static uint32_t lane_count(const engine_weights *w, const engine_backend_options *o)
{
    uint32_t threads = o->threads == 0 ? engine_cpu_pool_processors() : o->threads;
    bool small = w->plan.bytes_total <= (uint64_t)SMALL_MIB << 20;
    uint32_t n = threads < LANES_MAX ? threads : LANES_MAX;
    return small && n > 1 && o->max_rows >= 2 * LANE_ROWS ? n : 0;
}

/* A lane's share of the rows, and a fourth more: sequences are not cut. */
static uint32_t most_rows(uint32_t rows, uint32_t lanes)
{
    return rows / lanes + rows / lanes / 4 + 1;
}

/* With fewer lanes than threads each has less than twice LANE_ROWS rows. */
static engine_backend_options lane_options(const engine_backend_options *o, uint32_t lanes)
{
    engine_backend_options own = *o;
    uint32_t few = most_rows(2 * LANE_ROWS, 1);
    own.max_rows = most_rows(o->max_rows, lanes);
    own.max_rows = own.max_rows > few ? own.max_rows : few;
    own.max_rows = own.max_rows < o->max_rows ? own.max_rows : o->max_rows;
    own.threads = 1;
    return own;
}

uint64_t engine_cpu_lanes_bytes(const engine_weights *weights,
                                const engine_backend_options *options)
{
    uint32_t n = lane_count(weights, options);
    if (n == 0) {
        return 0;
    }
    engine_backend_options own = lane_options(options, n);
    uint64_t one = engine_cpu_work_bytes(weights->config, &own) +
                   engine_cpu_compute_bytes(1, engine_cpu_widest_matrix(weights->config)) +
                   own.max_logit_rows * sizeof(uint32_t);
    return n * one;
}

static pv_status open_lane(engine_cpu_lane *lane, const engine_device *d, uint32_t lanes,
                           pv_error *err)
{
    engine_device *own = &lane->device;
    own->weights = d->weights;
    own->config = d->config;
    own->options = lane_options(&d->options, lanes);
    own->feed_care = d->feed_care;
    own->cache = d->cache;
    own->rope = d->rope;
    own->vectors = d->vectors;
    own->final_norm = d->final_norm;
    own->scale = d->scale;
    pv_status status = engine_cpu_compute_open(&own->compute, &own->options,
                                               engine_cpu_widest_matrix(d->config), err);
    if (status == PV_OK) {
        status = engine_cpu_work_open(own, err);
    }
    lane->logit_rows = pv_calloc(own->options.max_logit_rows, sizeof *lane->logit_rows);
    return status == PV_OK && lane->logit_rows == NULL
               ? pv_fail(err, PV_E_NOMEM, "out of memory for a lane")
               : status;
}

pv_status engine_cpu_lanes_open(engine_device *d, pv_error *err)
{
    uint32_t n = lane_count(d->weights, &d->options);
    if (n == 0) {
        return PV_OK;
    }
    d->lanes = pv_calloc(n, sizeof *d->lanes);
    if (d->lanes == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for %u lanes", n);
    }
    pv_status status = PV_OK;
    while (d->lane_count < n && status == PV_OK) {
        status = open_lane(&d->lanes[d->lane_count++], d, n, err);
    }
    d->scratch += engine_cpu_lanes_bytes(d->weights, &d->options);
    return status;
}

void engine_cpu_lanes_close(engine_device *d)
{
    for (uint32_t i = 0; i < d->lane_count; i++) {
        engine_cpu_work_close(&d->lanes[i].device);
        engine_cpu_compute_close(&d->lanes[i].device.compute);
        pv_free(d->lanes[i].logit_rows);
    }
    pv_free(d->lanes);
}

/* ---- a forward ---- */

/* Sequences in their order, so many to a lane that it has its share of the rows. False: a lane would have too many. */
static bool share_out(engine_device *d, const engine_batch *batch, uint32_t lanes)
{
    uint32_t seq = 0;
    uint32_t row = 0;
    for (uint32_t i = 0; i < lanes; i++) {
        engine_cpu_lane *lane = &d->lanes[i];
        uint64_t until = (uint64_t)batch->rows * (i + 1) / lanes;
        uint32_t first = seq;
        lane->first = row;
        while (seq < batch->seq_count && row < until) {
            row += batch->seqs[seq++].rows;
        }
        lane->rows = row - lane->first;
        lane->batch = (engine_batch){.tokens = batch->tokens + lane->first,
                                     .rows = lane->rows,
                                     .seqs = batch->seqs + first,
                                     .seq_count = seq - first,
                                     .logit_rows = lane->logit_rows};
        if (lane->rows == 0 || lane->rows > most_rows(batch->rows, lanes)) {
            return false;
        }
    }
    return true;
}

static void share_logits(engine_device *d, const engine_batch *batch, uint32_t lanes, float *logits)
{
    for (uint32_t i = 0; i < batch->logit_count; i++) {
        engine_cpu_lane *lane = d->lanes;
        while (lane + 1 < d->lanes + lanes && batch->logit_rows[i] >= lane->first + lane->rows) {
            lane++;
        }
        uint32_t n = lane->batch.logit_count++;
        lane->logit_rows[n] = batch->logit_rows[i] - lane->first;
        lane->device.logit_row[n] = logits + (size_t)i * d->config->vocab_size;
    }
}

static void lane_task(void *user, uint32_t task, uint32_t thread)
{
    (void)thread;
    engine_device *d = user;
    engine_cpu_forward(&d->lanes[task].device, &d->lanes[task].batch);
}

bool engine_cpu_lanes_forward(engine_device *d, const engine_batch *batch, float *logits)
{
    uint32_t n = batch->rows / LANE_ROWS < d->lane_count ? batch->rows / LANE_ROWS : d->lane_count;
    if (n < 2 || batch->seq_count < n || !share_out(d, batch, n)) {
        return false;
    }
    share_logits(d, batch, n, logits);
    engine_cpu_pool_run(d->compute.pool, n, lane_task, d);
    return true;
}
