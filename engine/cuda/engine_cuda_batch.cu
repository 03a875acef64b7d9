#include "engine_cuda_batch.cuh"

#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"
#include "pv_mem.h"

#include <string.h>

extern "C" {
#include "cpu/engine_cpu_rope.h"
}

enum { HEAD_WORDS = 32, ROW_ARRAYS = 5, STRIDE_LEAST = 16, ALIGN = 256, PINNED_ALIGN = 4096 };

/* ---- Shapes ---- */

static uint32_t pages_for(uint32_t tokens)
{
    return (tokens + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
}

static uint32_t power_of_two(uint32_t least, uint32_t n)
{
    uint32_t p = least;
    while (p < n) {
        p *= 2;
    }
    return p;
}

/* Few enough shapes that each is captured soon, close enough that padding costs little. */
static uint32_t bucket(uint32_t n)
{
    static const uint32_t steps[] = {1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        if (n <= steps[i]) {
            return steps[i];
        }
    }
    return (n + 127) / 128 * 128;
}

static uint32_t clip(uint32_t n, uint32_t most)
{
    return n < most ? n : most;
}

cuda_step_shape cuda_step_shape_of(const cuda_batches *b, const engine_batch *batch, bool captured)
{
    uint32_t longest = 0;
    for (uint32_t i = 0; i < batch->seq_count; i++) {
        uint32_t end = batch->seqs[i].start + batch->seqs[i].rows;
        longest = end > longest ? end : longest;
    }
    cuda_step_shape s = {batch->rows, batch->logit_count, pages_for(longest)};
    if (captured) {
        s.rows = clip(bucket(s.rows), b->model->rows);
        s.logit_count = s.logit_count == 0 ? 0 : clip(bucket(s.logit_count), b->model->logit_rows);
        s.page_stride = power_of_two(STRIDE_LEAST, s.page_stride);
    }
    return s;
}

/* ---- The block ----
 * HEAD_WORDS words, the first of them the number of rows that are no padding; ROW_ARRAYS arrays of a word a row; the
 * logit rows; the page table, a line a sequence and one for padding; the draws. */

static size_t aligned(size_t bytes, size_t to)
{
    return (bytes + to - 1) / to * to;
}

static size_t array_at(cuda_step_shape s, uint32_t i)
{
    return (HEAD_WORDS + (size_t)i * s.rows) * sizeof(uint32_t);
}

static size_t table_at(cuda_step_shape s)
{
    return aligned(array_at(s, ROW_ARRAYS) + s.logit_count * sizeof(uint32_t), ALIGN);
}

static size_t draws_at(cuda_step_shape s, uint32_t seq_count)
{
    return aligned(table_at(s) + ((size_t)seq_count + 1) * s.page_stride * sizeof(uint32_t), ALIGN);
}

const engine_draw *cuda_batches_draws(const cuda_batches *b, cuda_step_shape shape,
                                      uint32_t seq_count)
{
    return (const engine_draw *)(b->block + draws_at(shape, seq_count));
}

cuda_batch cuda_batches_view(const cuda_batches *b, cuda_step_shape s)
{
    cuda_batch out = {};
    out.rows = s.rows;
    out.logit_count = s.logit_count;
    out.page_stride = s.page_stride;
    out.active = (const uint32_t *)b->block;
    out.token = b->token;
    out.position = (const uint32_t *)(b->block + array_at(s, 1));
    out.page = (const uint32_t *)(b->block + array_at(s, 2));
    out.slot = (const uint32_t *)(b->block + array_at(s, 3));
    out.sequence = (const uint32_t *)(b->block + array_at(s, 4));
    out.logit_row = (const uint32_t *)(b->block + array_at(s, ROW_ARRAYS));
    out.pages = (const uint32_t *)(b->block + table_at(s));
    out.cos = b->cos;
    out.sin = b->sin;
    out.rotation = b->rotation;
    out.extra = b->extra;
    return out;
}

struct row_arrays { /* of the block being filled */
    uint32_t *token, *position, *page, *slot, *sequence;
};

static void fill_sequence(const cuda_batches *b, const row_arrays *to, const engine_batch *batch,
                          uint32_t index, uint32_t row)
{
    const engine_batch_seq *seq = &batch->seqs[index];
    for (uint32_t i = 0; i < seq->rows; i++, row++) {
        uint32_t position = seq->start + i;
        to->token[row] = batch->tokens[row];
        to->position[row] = position;
        to->page[row] = seq->pages[position / ENGINE_PAGE_TOKENS];
        to->slot[row] = position % ENGINE_PAGE_TOKENS;
        to->sequence[row] = index;
        b->length[row] = position + 1;
    }
}

static void fill_padding(const cuda_batches *b, const row_arrays *to, const engine_batch *batch,
                         uint32_t rows)
{
    for (uint32_t row = batch->rows; row < rows; row++) {
        to->token[row] = to->position[row] = to->slot[row] = 0;
        to->page[row] = b->model->spare_page;
        to->sequence[row] = batch->seq_count;
        b->length[row] = 1;
    }
}

static void fill_table(const cuda_batches *b, uint32_t *table, const engine_batch *batch,
                       uint32_t stride)
{
    for (uint32_t s = 0; s <= batch->seq_count; s++, table += stride) {
        uint32_t n = 0;
        if (s < batch->seq_count) {
            const engine_batch_seq *seq = &batch->seqs[s];
            n = pages_for(seq->start + seq->rows);
            memcpy(table, seq->pages, n * sizeof *table);
        }
        for (; n < stride; n++) {
            table[n] = b->model->spare_page;
        }
    }
}

void cuda_batches_fill(cuda_batches *b, cuda_slot *slot, const engine_batch *batch,
                       const engine_draw *draws, uint32_t draw_count, cuda_step_shape shape,
                       cuda_host_batch *host, size_t *used)
{
    uint32_t *words = (uint32_t *)slot->block;
    memset(words, 0, HEAD_WORDS * sizeof *words);
    words[0] = batch->rows;
    uint32_t *first = words + HEAD_WORDS;
    uint32_t rows = shape.rows;
    row_arrays to = {first, first + rows, first + 2 * rows, first + 3 * rows, first + 4 * rows};
    for (uint32_t s = 0, row = 0; s < batch->seq_count; row += batch->seqs[s++].rows) {
        fill_sequence(b, &to, batch, s, row);
    }
    fill_padding(b, &to, batch, rows);
    uint32_t *logit_row = first + (size_t)ROW_ARRAYS * rows;
    for (uint32_t i = 0; i < shape.logit_count; i++) {
        logit_row[i] = i < batch->logit_count ? batch->logit_rows[i] : 0;
    }
    fill_table(b, (uint32_t *)(slot->block + table_at(shape)), batch, shape.page_stride);
    size_t at = draws_at(shape, batch->seq_count);
    if (draw_count != 0) {
        memcpy(slot->block + at, draws, draw_count * sizeof *draws);
    }
    *used = at + draw_count * sizeof *draws;
    *host = {batch, rows, to.sequence, b->length};
}

/* ---- Memory ---- */

static uint32_t rotated(const engine_config *c)
{
    return c->arch == ENGINE_ARCH_DEEPSEEK ? c->mla.rope_dim : c->head_dim;
}

void cuda_batches_lay_out(cuda_batches *b, const cuda_model *model, size_t extra_bytes,
                          cuda_arena *scratch)
{
    b->model = model;
    b->half = rotated(model->config) / 2;
    b->max_stride = power_of_two(STRIDE_LEAST, pages_for(model->config->max_positions));
    cuda_step_shape widest = {model->rows, model->logit_rows, b->max_stride};
    b->block_bytes =
        draws_at(widest, model->options.max_rows) + model->options.max_rows * sizeof(engine_draw);
    b->extra_bytes = extra_bytes;
    size_t pairs = (size_t)model->rows * b->half;
    b->block = cuda_take<uint8_t>(scratch, b->block_bytes);
    b->extra = cuda_take<uint8_t>(scratch, extra_bytes);
    b->token = cuda_take<uint32_t>(scratch, model->rows);
    b->cos = cuda_take<float>(scratch, pairs);
    b->sin = cuda_take<float>(scratch, pairs);
    b->rotation = cuda_take<float2>(scratch, pairs);
    b->table = cuda_take<float2>(scratch, (size_t)model->config->max_positions * b->half);
    b->drawn = cuda_take<engine_drawn>(scratch, model->rows);
}

static pv_status fill_rotations(const cuda_batches *b, float2 *table, pv_error *err)
{
    engine_cpu_rope rope;
    pv_status status = engine_cpu_rope_init(&rope, b->model->config, err);
    float *cosine = (float *)pv_malloc(2 * (size_t)b->half * sizeof(float));
    if (status == PV_OK && cosine == NULL) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory for rotations");
    }
    uint32_t positions = status == PV_OK ? b->model->config->max_positions : 0;
    for (uint32_t p = 0; p < positions; p++) {
        engine_cpu_rope_at(&rope, p, cosine, cosine + b->half);
        for (uint32_t j = 0; j < b->half; j++) {
            table[(size_t)p * b->half + j] = make_float2(cosine[j], cosine[b->half + j]);
        }
    }
    pv_free(cosine);
    engine_cpu_rope_release(&rope);
    return status;
}

static pv_status open_pinned(cuda_batches *b, pv_error *err)
{
    size_t block = aligned(b->block_bytes, PINNED_ALIGN);
    size_t extra = aligned(b->extra_bytes, PINNED_ALIGN);
    size_t results = aligned(b->model->options.max_rows * sizeof(engine_drawn), PINNED_ALIGN);
    size_t each = block + extra + results;
    cudaError_t error = cudaMallocHost((void **)&b->pinned, each * CUDA_SLOTS);
    for (int i = 0; i < CUDA_SLOTS && error == cudaSuccess; i++) {
        cuda_slot *slot = &b->slots[i];
        slot->block = b->pinned + (size_t)i * each;
        slot->extra = slot->block + block;
        slot->results = (engine_drawn *)(slot->extra + extra);
        error = cudaEventCreateWithFlags(&slot->done, cudaEventDisableTiming);
    }
    if (error != cudaSuccess) {
        return pv_fail(err, error == cudaErrorMemoryAllocation ? PV_E_NOMEM : PV_E_DEVICE,
                       "%zu bytes of page-locked memory: %s", each * CUDA_SLOTS,
                       cudaGetErrorString(error));
    }
    return PV_OK;
}

pv_status cuda_batches_open(cuda_batches *b, cuda_upload *upload, float2 **table, pv_error *err)
{
    size_t count = (size_t)b->model->config->max_positions * b->half;
    b->length = (uint32_t *)pv_calloc(b->model->rows, sizeof *b->length);
    *table = (float2 *)pv_malloc(count * sizeof **table);
    if (b->length == NULL || *table == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the rotations of %u positions",
                       b->model->config->max_positions);
    }
    pv_status status = fill_rotations(b, *table, err);
    if (status == PV_OK) {
        status = open_pinned(b, err);
    }
    return status == PV_OK
               ? cuda_upload_bytes(upload, b->table, *table, count * sizeof **table, err)
               : status;
}

void cuda_batches_close(cuda_batches *b)
{
    for (int i = 0; i < CUDA_SLOTS; i++) {
        if (b->slots[i].done != NULL) {
            (void)cudaEventDestroy(b->slots[i].done);
            b->slots[i].done = NULL;
        }
    }
    if (b->pinned != NULL) {
        (void)cudaFreeHost(b->pinned);
        b->pinned = NULL;
    }
    pv_free(b->length);
    b->length = NULL;
}

/* ---- The first kernel ---- */

struct begin_arguments {
    const uint32_t *token; /* as the host wrote them */
    const uint32_t *position;
    const engine_drawn *drawn;
    const float2 *table;
    uint32_t half;
    uint32_t *out;
    float *cos, *sin;
    float2 *rotation;
};

/* A block a row. */
static __global__ void begin_kernel(begin_arguments a)
{
    cuda_chain_wait();
    cuda_chain_release();
    uint32_t row = blockIdx.x;
    if (threadIdx.x == 0) {
        uint32_t token = a.token[row];
        a.out[row] = (token & ENGINE_TOKEN_DRAWN) == 0
                         ? token
                         : a.drawn[token & ~(uint32_t)ENGINE_TOKEN_DRAWN].token;
    }
    const float2 *line = a.table + (size_t)a.position[row] * a.half;
    for (uint32_t j = threadIdx.x; j < a.half; j += blockDim.x) {
        size_t at = (size_t)row * a.half + j;
        float2 pair = line[j];
        a.cos[at] = pair.x;
        a.sin[at] = pair.y;
        a.rotation[at] = pair;
    }
}

cudaError_t cuda_batches_begin(const cuda_batches *b, cuda_step_shape shape, cudaStream_t stream)
{
    cuda_batch view = cuda_batches_view(b, shape);
    begin_arguments a = {(const uint32_t *)(b->block + array_at(shape, 0)),
                         view.position,
                         b->drawn,
                         b->table,
                         b->half,
                         b->token,
                         b->cos,
                         b->sin,
                         b->rotation};
    cuda_shape launch = {dim3(shape.rows), dim3(64), 0};
    return cuda_launch(begin_kernel, launch, stream, a);
}
