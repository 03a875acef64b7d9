#include "engine_cpu_matmul.h"

#include "pv_mem.h"

#include <string.h>

enum {
    CHUNK_BYTES = 512 * 1024, /* inputs of some tokens: they and a panel stay in the L2 cache */
    CHUNK_TOKENS = 192,       /* at most, in whole tiles of 6 */
    PANEL_ROWS = 4,           /* the tile's rows */
    PANEL_TOKENS = 3          /* from so many on, widening a panel once is the cheapest */
};

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

static size_t chunk_room(uint32_t cols_max)
{
    size_t row = round_up((size_t)cols_max * sizeof(float), 64) + 64; /* or two halves of one */
    return row > CHUNK_BYTES ? row : CHUNK_BYTES;
}

static size_t panel_room(uint32_t cols_max)
{
    return round_up((size_t)cols_max * sizeof(float) * PANEL_ROWS, 64);
}

static size_t thread_bytes(uint32_t cols_max)
{
    return chunk_room(cols_max) + panel_room(cols_max) + ENGINE_CPU_LOCAL_BYTES;
}

uint64_t engine_cpu_compute_bytes(uint32_t threads, uint32_t cols_max)
{
    return (uint64_t)threads * thread_bytes(cols_max);
}

pv_status engine_cpu_compute_open(engine_cpu_compute *out, const engine_backend_options *options,
                                  uint32_t cols_max, pv_error *err)
{
    engine_cpu_compute c;
    memset(&c, 0, sizeof c);
    c.k = engine_cpu_kernels_for(options->isa);
    if (c.k == NULL) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "this processor or build has no %s kernels; its best is %s",
                       engine_isa_text(options->isa), engine_isa_text(engine_isa_detect()));
    }
    if (options->precision == ENGINE_PRECISION_AUTO) {
        c.bf16 = engine_cpu_bf16_kernels_for(options->isa);
    }
    pv_status status = engine_cpu_pool_open(&c.pool, options->threads, !options->unpinned, err);
    if (status != PV_OK) {
        return status;
    }
    c.cols_max = cols_max;
    c.scratch_bytes = thread_bytes(cols_max);
    c.scratch_block = pv_malloc(c.scratch_bytes * engine_cpu_pool_threads(c.pool) + 64);
    if (c.scratch_block == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory for the scratch of %u threads",
                         engine_cpu_pool_threads(c.pool));
        engine_cpu_compute_close(&c);
        return status;
    }
    c.scratch = (char *)round_up((size_t)(uintptr_t)c.scratch_block, 64);
    *out = c;
    return PV_OK;
}

void engine_cpu_compute_close(engine_cpu_compute *c)
{
    engine_cpu_pool_close(c->pool);
    pv_free(c->scratch_block);
    memset(c, 0, sizeof *c);
}

static char *chunk_of(const engine_cpu_compute *c, uint32_t thread)
{
    return c->scratch + c->scratch_bytes * thread;
}

static char *panel_of(const engine_cpu_compute *c, uint32_t thread)
{
    return chunk_of(c, thread) + chunk_room(c->cols_max);
}

void *engine_cpu_local(const engine_cpu_compute *c, uint32_t thread)
{
    return panel_of(c, thread) + panel_room(c->cols_max);
}

/* A run of rows that share their scales, against a chunk of tokens. */
typedef struct stripe {
    const engine_cpu_compute *c;
    const engine_cpu_job *job;
    engine_cpu_type type;
    bool bf16;    /* arithmetic */
    bool split;   /* activations are two bf16 numbers: inputs 2 t and 2 t + 1 of token t */
    uint32_t row; /* of the matrix */
    uint32_t rows;
    uint32_t token;
    uint32_t tokens;
    const void *x[CHUNK_TOKENS];
    float *y[CHUNK_TOKENS];
    char *panel;
} stripe;

static const float *scales_of(const engine_view *w, uint32_t row)
{
    return w->scale + (size_t)(row / w->block_rows) * w->scale_cols;
}

/* `n` numbers times the scale of their block, in the arithmetic's type. A split token's lower half lies `stride` bytes
 * after the upper one. */
static void prepare_run(const stripe *s, const float *x, char *out, size_t k, size_t n, float scale,
                        size_t stride)
{
    uint16_t *half = (uint16_t *)(void *)out + k;
    if (s->split) {
        s->c->bf16->split(half, half + stride / sizeof *half, x + k, scale, n);
    } else if (s->bf16) {
        s->c->bf16->round(half, x + k, scale, n);
    } else {
        s->c->k->scale((float *)(void *)out + k, x + k, scale, n);
    }
}

static void prepare_token(const stripe *s, const float *x, char *out, size_t stride)
{
    const engine_view *w = s->job->w;
    if (w->scale == NULL) {
        prepare_run(s, x, out, 0, w->cols, 1.0F, stride);
        return;
    }
    const float *scales = scales_of(w, s->row);
    for (uint32_t b = 0; b < w->scale_cols; b++) {
        size_t k = (size_t)b * w->block_cols;
        size_t n = w->cols - k < w->block_cols ? w->cols - k : w->block_cols;
        prepare_run(s, x, out, k, n, scales[b], stride);
    }
}

static size_t input_stride(const stripe *s)
{
    return round_up((size_t)s->job->w->cols * (s->bf16 ? 2 : sizeof(float)), 64);
}

/* Inputs of the stripe: pointers, and the activations behind them where they cannot be used as they are. */
static void prepare(stripe *s, char *chunk)
{
    size_t stride = input_stride(s);
    uint32_t n = 0;
    for (uint32_t t = 0; t < s->tokens; t++) {
        const float *x = s->job->x[s->token + t];
        char *out = chunk + n * stride;
        s->y[t] = s->job->y[s->token + t] + (s->row - s->job->first);
        s->x[n++] = s->bf16 || s->job->w->scale != NULL ? (const void *)out : x;
        if (s->x[n - 1] == out) {
            prepare_token(s, x, out, stride);
        }
        if (s->split) {
            s->x[n++] = out + stride;
        }
    }
}

static void widen(const stripe *s, const char *w, void *out, size_t n)
{
    if (s->bf16) {
        s->c->bf16->fp8_to_bf16(out, (const uint8_t *)w, n);
    } else {
        s->c->k->widen[s->type](out, w, n);
    }
}

/* Widening is exact, so panels change speed and not bits. */
static void run_panels(const stripe *s, engine_cpu_dot *d)
{
    const char *w = d->w;
    size_t stride = d->w_stride;
    size_t wide = (size_t)d->cols * (s->bf16 ? 2 : sizeof(float));
    uint32_t rows = d->rows;
    d->w = s->panel;
    d->w_stride = wide;
    d->ahead = 0;
    for (uint32_t r = 0; r < rows; r += PANEL_ROWS) {
        d->rows = rows - r < PANEL_ROWS ? rows - r : PANEL_ROWS;
        for (uint32_t i = 0; i < d->rows; i++) {
            widen(s, w + (r + i) * stride, s->panel + i * wide, d->cols);
        }
        if (s->bf16) {
            s->c->bf16->dot(d);
        } else {
            s->c->k->dot[ENGINE_CPU_F32](d);
        }
        d->y_first += d->rows;
    }
}

static void run_stripe(const stripe *s)
{
    const engine_view *w = s->job->w;
    size_t stride = w->cols * engine_cpu_type_bytes(s->type);
    engine_cpu_dot d = {.w = (const char *)w->data + s->row * stride,
                        .w_stride = stride,
                        .ahead = PANEL_ROWS * stride,
                        .x = s->x,
                        .y = s->y,
                        .pairs = s->split,
                        .rows = s->rows,
                        .tokens = s->split ? 2 * s->tokens : s->tokens,
                        .cols = w->cols};
    bool wide = s->type == ENGINE_CPU_F32 || (s->bf16 && s->type == ENGINE_CPU_BF16);
    if (!wide && d.tokens >= PANEL_TOKENS) {
        run_panels(s, &d);
    } else if (s->bf16) {
        (s->type == ENGINE_CPU_FP8 ? s->c->bf16->dot_fp8 : s->c->bf16->dot)(&d);
    } else {
        s->c->k->dot[s->type](&d);
    }
}

/* Tokens whose inputs fit the chunk, in whole tiles of six inputs where there are that many. */
static uint32_t chunk_tokens(const stripe *s)
{
    size_t n = CHUNK_BYTES / input_stride(s);
    n = n > CHUNK_TOKENS ? CHUNK_TOKENS : n;
    n = n >= 6 ? n / 6 * 6 : n;
    n = s->split ? n / 2 : n;
    return n < 1 ? 1 : (uint32_t)n;
}

/* The rows from s->row on that share their scales. */
static uint32_t stripe_rows(const stripe *s, uint32_t end)
{
    const engine_view *w = s->job->w;
    uint32_t rows = end - s->row;
    if (w->scale != NULL && rows > w->block_rows - s->row % w->block_rows) {
        rows = w->block_rows - s->row % w->block_rows;
    }
    return rows;
}

void engine_cpu_product(const engine_cpu_compute *c, const engine_cpu_job *job, uint32_t from,
                        uint32_t to, uint32_t thread)
{
    stripe s = {.c = c, .job = job, .type = engine_cpu_type_of(job->w->dtype)};
    s.bf16 = c->bf16 != NULL && job->care != ENGINE_CPU_EXACT &&
             (s.type == ENGINE_CPU_BF16 || s.type == ENGINE_CPU_FP8);
    s.split = s.bf16 && job->care == ENGINE_CPU_SPLIT;
    s.panel = panel_of(c, thread);
    uint32_t chunk = chunk_tokens(&s);
    uint32_t end = job->first + to;
    for (s.row = job->first + from; s.row < end; s.row += s.rows) {
        s.rows = stripe_rows(&s, end);
        for (s.token = 0; s.token < job->tokens; s.token += s.tokens) {
            s.tokens = job->tokens - s.token < chunk ? job->tokens - s.token : chunk;
            prepare(&s, chunk_of(c, thread));
            run_stripe(&s);
        }
    }
}

uint32_t engine_cpu_grain(const engine_cpu_compute *c, uint64_t rows)
{
    uint64_t grain = rows / (4U * engine_cpu_pool_threads(c->pool));
    if (grain >= 128) { /* whole scale blocks: activations are prepared once for each */
        return grain >= 256 ? 256 : 128;
    }
    return grain < 16 ? 16 : (uint32_t)(grain / 16 * 16);
}

typedef struct matmul {
    const engine_cpu_compute *c;
    const engine_cpu_job *jobs;
    uint32_t count;
    uint32_t grain;
} matmul;

static void matmul_task(void *user, uint32_t task, uint32_t thread)
{
    const matmul *m = user;
    uint32_t low = 0;
    uint32_t high = m->count;
    while (high - low > 1) { /* the last job that begins at or before the task */
        uint32_t mid = low + (high - low) / 2;
        if (m->jobs[mid].first_task <= task) {
            low = mid;
        } else {
            high = mid;
        }
    }
    const engine_cpu_job *job = &m->jobs[low];
    uint32_t from = (task - job->first_task) * m->grain;
    uint32_t to = job->rows - from < m->grain ? job->rows : from + m->grain;
    engine_cpu_product(m->c, job, from, to, thread);
}

void engine_cpu_matmul(const engine_cpu_compute *c, engine_cpu_job *jobs, uint32_t count)
{
    uint64_t rows = 0;
    for (uint32_t i = 0; i < count; i++) {
        rows += jobs[i].rows;
    }
    matmul m = {c, jobs, count, engine_cpu_grain(c, rows)};
    uint32_t tasks = 0;
    for (uint32_t i = 0; i < count; i++) {
        jobs[i].first_task = tasks;
        tasks += (jobs[i].rows + m.grain - 1) / m.grain;
    }
    engine_cpu_pool_run(c->pool, tasks, matmul_task, &m);
}
