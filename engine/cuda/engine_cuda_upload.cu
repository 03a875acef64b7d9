#include "engine_cuda_upload.cuh"

#include "pv_clock.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    PIECE_BYTES = 4 << 20, /* of a staging buffer */
    BUFFERS = 2,           /* a thread has */
    THREADS_MAX = 16,
    LOG_MS = 2000, /* between two lines of progress */
    THREADS_OF_BLOCK = 256
};

/* What becomes of a piece. */
enum job_kind {
    JOB_COPY,  /* bytes to where they go */
    JOB_WIDEN, /* numbers of any dtype to float32, on the host */
    JOB_PACK,  /* arranged on the host */
    JOB_TILES, /* rows to tiles, by a kernel */
    JOB_SCALES /* a grid of scales to the tiles', by a kernel */
};

struct upload_job {
    job_kind kind;
    const uint8_t *host;
    uint64_t bytes;     /* to be read */
    uint64_t unit;      /* pieces are multiples of it */
    uint64_t unit_out;  /* what a unit becomes (WIDEN, PACK) */
    uint8_t *device;    /* COPY, WIDEN, PACK */
    engine_dtype dtype; /* of the numbers */
    float amplitude;    /* of random ones */
    float mean;
    cuda_weight weight; /* TILES, SCALES */
    uint32_t first;
    uint32_t step;
    uint32_t row_bytes; /* of the view */
    uint64_t
        pitch; /* bytes from a row to the next on the host; row_bytes: nothing lies between them */
    cuda_upload_pack_fn *pack;
};

struct cuda_upload {
    upload_job *jobs;
    size_t count;
    size_t capacity;
    bool random;
    uint64_t seed;
    uint32_t sharers;
    /* while it runs */
    int device;
    pthread_mutex_t lock; /* of what follows */
    size_t job;           /* the next piece: of this job, ... */
    uint64_t at;          /* ... from here */
    uint64_t done;
    uint64_t total;
    cudaError_t error;
    uint64_t began_ms;
    uint64_t logged_ms;
};

struct piece {
    const upload_job *job;
    uint64_t at;
    uint64_t bytes;
};

/* ---- Lists ---- */

pv_status cuda_upload_open(cuda_upload **out, const uint64_t *random_seed, uint32_t sharers,
                           pv_error *err)
{
    cuda_upload *u = (cuda_upload *)pv_calloc(1, sizeof *u);
    if (u == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the list of weights");
    }
    u->random = random_seed != NULL;
    u->seed = random_seed != NULL ? *random_seed : 0;
    u->sharers = sharers;
    *out = u;
    return PV_OK;
}

void cuda_upload_close(cuda_upload *upload)
{
    if (upload != NULL) {
        pv_free(upload->jobs);
        pv_free(upload);
    }
}

static pv_status add_job(cuda_upload *u, const upload_job *job, pv_error *err)
{
    if (pv_grow((void **)&u->jobs, &u->capacity, u->count + 1, sizeof *u->jobs) != 0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the list of weights");
    }
    u->jobs[u->count++] = *job;
    u->total += job->bytes;
    return PV_OK;
}

static upload_job job_of(job_kind kind, const engine_view *view)
{
    upload_job job = {};
    job.kind = kind;
    job.dtype = view->dtype;
    job.row_bytes = view->cols * engine_dtype_bytes(view->dtype);
    job.pitch =
        view->pitch == 0 ? job.row_bytes : (uint64_t)view->pitch * engine_dtype_bytes(view->dtype);
    job.host = (const uint8_t *)view->data;
    job.bytes = (uint64_t)view->rows * job.row_bytes;
    job.unit = job.pitch == job.row_bytes ? 16 : job.row_bytes;
    job.amplitude = view->rows == 1 ? 0.1F : sqrtf(3.0F / (float)view->cols);
    job.mean = view->rows == 1 ? 1.0F : 0.0F;
    return job;
}

static upload_job scales_job(job_kind kind, const engine_view *view)
{
    upload_job job = {};
    job.kind = kind;
    job.dtype = ENGINE_DTYPE_F32;
    job.row_bytes = view->scale_cols * (uint32_t)sizeof(float);
    uint32_t pitch = view->scale_pitch == 0 ? view->scale_cols : view->scale_pitch;
    job.pitch = pitch * sizeof(float);
    job.host = (const uint8_t *)view->scale;
    job.bytes = (uint64_t)view->scale_rows * job.row_bytes;
    job.unit = job.row_bytes;
    /* random e4m3 numbers are of size 8 or so */
    job.mean = sqrtf(3.0F / (float)view->cols) / 8;
    job.amplitude = job.mean / 2;
    return job;
}

pv_status cuda_upload_bytes(cuda_upload *upload, void *device, const void *host, size_t bytes,
                            pv_error *err)
{
    engine_view view = {};
    view.data = host;
    view.dtype = ENGINE_DTYPE_U8;
    upload_job job = job_of(JOB_COPY, &view);
    job.bytes = bytes;
    job.device = (uint8_t *)device;
    return add_job(upload, &job, err);
}

pv_status cuda_upload_scales(cuda_upload *upload, float *device, const engine_view *view,
                             pv_error *err)
{
    if (view->scale == NULL) {
        return PV_OK;
    }
    upload_job job = scales_job(JOB_COPY, view);
    job.device = (uint8_t *)device;
    return add_job(upload, &job, err);
}

pv_status cuda_upload_matrix(cuda_upload *upload, void *data, float *scale, const engine_view *view,
                             pv_error *err)
{
    if (view->data == NULL) {
        return PV_OK;
    }
    upload_job job = job_of(JOB_COPY, view);
    job.device = (uint8_t *)data;
    pv_status status = add_job(upload, &job, err);
    return status == PV_OK ? cuda_upload_scales(upload, scale, view, err) : status;
}

pv_status cuda_upload_vector(cuda_upload *upload, float *device, const engine_view *view,
                             pv_error *err)
{
    if (view->data == NULL) {
        return PV_OK;
    }
    upload_job job = job_of(JOB_WIDEN, view);
    job.device = (uint8_t *)device;
    job.unit = engine_dtype_bytes(view->dtype);
    job.unit_out = sizeof(float);
    return add_job(upload, &job, err);
}

pv_status cuda_upload_packed(cuda_upload *upload, void *device, const engine_view *view,
                             size_t unit_bytes, size_t packed_bytes, cuda_upload_pack_fn *pack,
                             pv_error *err)
{
    upload_job job = job_of(JOB_PACK, view);
    job.device = (uint8_t *)device;
    job.unit = unit_bytes;
    job.unit_out = packed_bytes;
    job.pack = pack;
    return add_job(upload, &job, err);
}

pv_status cuda_upload_tiles(cuda_upload *upload, const cuda_weight *w, uint32_t first,
                            uint32_t step, const engine_view *view, pv_error *err)
{
    upload_job job = job_of(JOB_TILES, view);
    job.weight = *w;
    job.first = first;
    job.step = step;
    job.unit = job.row_bytes;
    pv_status status = add_job(upload, &job, err);
    if (status == PV_OK && view->scale != NULL) {
        job = scales_job(JOB_SCALES, view);
        job.weight = *w;
        job.first = first;
        job.step = step;
        status = add_job(upload, &job, err);
    }
    return status;
}

/* ---- Kernels ---- */

/* 16-byte chunks of rows [row0, row0 + rows) of a row-major matrix to its tiles. */
static __global__ void tile_kernel(cuda_weight w, uint32_t first, uint32_t step, const uint4 *from,
                                   uint32_t row0, uint32_t rows, uint32_t chunks)
{
    uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= (uint64_t)rows * chunks) {
        return;
    }
    uint32_t row = row0 + (uint32_t)(i / chunks);
    uint32_t chunk = (uint32_t)(i % chunks);
    uint32_t to = (first + row / CUDA_TILE_ROWS * step) * CUDA_TILE_ROWS + row % CUDA_TILE_ROWS;
    uint8_t *data = const_cast<uint8_t *>(w.data);
    *(uint4 *)(data + cuda_weight_offset(w, to, chunk / 8, chunk % 8)) = from[i];
}

static __global__ void scale_kernel(cuda_weight w, uint32_t first, uint32_t step, const float *from,
                                    uint32_t row0, uint32_t rows, uint32_t cols)
{
    uint32_t i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < rows * cols) {
        uint32_t block = first + (row0 + i / cols) * step;
        const_cast<float *>(w.scale)[(size_t)block * w.k_blocks + i % cols] = from[i];
    }
}

static __device__ uint64_t mixed(uint64_t x)
{
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

/* mean + amplitude * [-1, 1) */
static __device__ float uniform(uint64_t bits, float amplitude, float mean)
{
    return mean + amplitude * ((float)(bits >> 40) * 0x1p-23F - 1.0F);
}

/* Words of 4 bytes of random numbers; e4m3: of size 2^-4 .. 30, never NaN. */
static __global__ void random_kernel(uint32_t *to, uint64_t words, engine_dtype dtype,
                                     float amplitude, float mean, uint64_t seed)
{
    uint64_t i = (uint64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= words) {
        return;
    }
    uint64_t bits = mixed(seed ^ i);
    uint32_t word = 0;
    if (dtype == ENGINE_DTYPE_F32) {
        word = __float_as_uint(uniform(bits, amplitude, mean));
    } else if (dtype == ENGINE_DTYPE_BF16) {
        word = __float_as_uint(uniform(bits, amplitude, mean)) >> 16 |
               (__float_as_uint(uniform(mixed(bits), amplitude, mean)) & 0xffff0000U);
    } else if (dtype == ENGINE_DTYPE_F8_E4M3) {
        for (uint32_t j = 0; j < 4; j++) {
            uint32_t r = (uint32_t)(bits >> (16 * j));
            word |= ((r & 0x80) | (24 + (r >> 8) % 64)) << (8 * j);
        }
    }
    to[i] = word;
}

/* ---- A thread ---- */

struct reader {
    cuda_upload *upload;
    cudaStream_t stream;
    uint8_t *host[BUFFERS];
    uint8_t *staging[BUFFERS];
    cudaEvent_t free[BUFFERS]; /* the buffers may be written again */
    cudaError_t error;
};

static void keep(cudaError_t *first, cudaError_t error)
{
    if (*first == cudaSuccess) {
        *first = error;
    }
}

static void reader_open(reader *r)
{
    keep(&r->error, cudaSetDevice(r->upload->device));
    keep(&r->error, cudaStreamCreateWithFlags(&r->stream, cudaStreamNonBlocking));
    for (int i = 0; i < BUFFERS && r->error == cudaSuccess; i++) {
        keep(&r->error, cudaMallocHost((void **)&r->host[i], PIECE_BYTES));
        keep(&r->error, cudaMalloc((void **)&r->staging[i], PIECE_BYTES));
        keep(&r->error, cudaEventCreateWithFlags(&r->free[i], cudaEventDisableTiming));
    }
}

static void reader_close(reader *r)
{
    if (r->stream != NULL) {
        keep(&r->error, cudaStreamSynchronize(r->stream));
    }
    for (int i = 0; i < BUFFERS; i++) {
        if (r->free[i] != NULL) {
            keep(&r->error, cudaEventDestroy(r->free[i]));
        }
        keep(&r->error, cudaFreeHost(r->host[i]));
        keep(&r->error, cudaFree(r->staging[i]));
    }
    if (r->stream != NULL) {
        keep(&r->error, cudaStreamDestroy(r->stream));
    }
}

static void log_progress(cuda_upload *u, bool last)
{
    uint64_t now = pv_clock_ms();
    if (!last && now - u->logged_ms < LOG_MS) {
        return;
    }
    u->logged_ms = now;
    double seconds = (double)(now - u->began_ms) / 1000;
    pv_log(PV_LOG_INFO, "cuda: %s%.2f of %.2f GB on the GPU after %.1f s (%.2f GB/s)",
           u->random ? "random weights, " : "", (double)u->done / 1e9, (double)u->total / 1e9,
           seconds, seconds > 0 ? (double)u->done / 1e9 / seconds : 0.0);
}

static bool next_piece(cuda_upload *u, piece *out)
{
    pthread_mutex_lock(&u->lock);
    while (u->job < u->count && u->at == u->jobs[u->job].bytes) {
        u->job++;
        u->at = 0;
    }
    bool some = u->job < u->count && u->error == cudaSuccess;
    if (some) {
        const upload_job *job = &u->jobs[u->job];
        uint64_t widest = job->unit_out > job->unit ? job->unit_out : job->unit;
        uint64_t units = PIECE_BYTES / widest;
        uint64_t left = job->bytes - u->at;
        uint64_t bytes = units * job->unit < left ? units * job->unit : left;
        *out = {job, u->at, bytes};
        u->at += bytes;
    }
    pthread_mutex_unlock(&u->lock);
    return some;
}

static void finish_piece(cuda_upload *u, uint64_t bytes, cudaError_t error)
{
    pthread_mutex_lock(&u->lock);
    u->done += bytes;
    keep(&u->error, error);
    log_progress(u, false);
    pthread_mutex_unlock(&u->lock);
}

/* Asks the system to read all of it now, not page by page. */
static void advise(const uint8_t *host, uint64_t bytes)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t from = (uintptr_t)host / page * page;
    uintptr_t to = (uintptr_t)host + bytes;
    (void)posix_madvise((void *)from, to - from, POSIX_MADV_WILLNEED);
}

static float half_to_float(uint16_t h)
{
    uint32_t sign = (uint32_t)(h & 0x8000U) << 16;
    uint32_t magnitude = h & 0x7fffU;
    float f = 0;
    if (magnitude >= 0x0400U) {
        uint32_t bits = (magnitude << 13) + 0x38000000U;
        memcpy(&f, &bits, sizeof f);
    } else {
        f = (float)magnitude * 0x1p-24F;
    }
    uint32_t bits = 0;
    memcpy(&bits, &f, sizeof bits);
    bits |= sign;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static void widen(float *to, const uint8_t *from, engine_dtype dtype, uint64_t n)
{
    for (uint64_t i = 0; i < n; i++) {
        uint16_t half = 0;
        if (dtype == ENGINE_DTYPE_F32) {
            memcpy(&to[i], from + 4 * i, sizeof(float));
            continue;
        }
        memcpy(&half, from + 2 * i, sizeof half);
        if (dtype == ENGINE_DTYPE_BF16) {
            uint32_t bits = (uint32_t)half << 16;
            memcpy(&to[i], &bits, sizeof bits);
        } else {
            to[i] = half_to_float(half);
        }
    }
}

/* Whole rows of a matrix whose rows do not follow one another. */
static void fill_rows(uint8_t *to, const piece *p)
{
    const upload_job *job = p->job;
    uint64_t rows = p->bytes / job->row_bytes;
    const uint8_t *from = job->host + p->at / job->row_bytes * job->pitch;
    advise(from, (rows - 1) * job->pitch + job->row_bytes);
    for (uint64_t i = 0; i < rows; i++) {
        memcpy(to + i * job->row_bytes, from + i * job->pitch, job->row_bytes);
    }
}

/* A piece as it is sent over; returns its bytes. */
static uint64_t fill(uint8_t *to, const piece *p)
{
    const upload_job *job = p->job;
    const uint8_t *from = job->host + p->at;
    if (job->pitch != job->row_bytes) {
        fill_rows(to, p);
        return p->bytes;
    }
    advise(from, p->bytes);
    if (job->kind == JOB_WIDEN) {
        widen((float *)to, from, job->dtype, p->bytes / job->unit);
    } else if (job->kind == JOB_PACK) {
        cuda_type type = job->dtype == ENGINE_DTYPE_F8_E4M3 ? CUDA_E4M3 : CUDA_BF16;
        for (uint64_t i = 0; i < p->bytes / job->unit; i++) {
            job->pack(to + i * job->unit_out, from + i * job->unit, type);
        }
    } else {
        memcpy(to, from, p->bytes);
        return p->bytes;
    }
    return p->bytes / job->unit * job->unit_out;
}

static bool is_arranged(const upload_job *job)
{
    return job->kind == JOB_TILES || job->kind == JOB_SCALES;
}

/* Where a piece goes that no kernel arranges. */
static uint8_t *place(const piece *p)
{
    const upload_job *job = p->job;
    bool same = job->kind == JOB_COPY;
    return job->device + (same ? p->at : p->at / job->unit * job->unit_out);
}

static unsigned blocks_for(uint64_t threads)
{
    return (unsigned)((threads + THREADS_OF_BLOCK - 1) / THREADS_OF_BLOCK);
}

static cudaError_t make_random(reader *r, uint8_t *to, const piece *p)
{
    const upload_job *job = p->job;
    uint64_t bytes = p->bytes;
    engine_dtype dtype = job->dtype;
    if (job->kind == JOB_WIDEN || job->kind == JOB_PACK) {
        bytes = p->bytes / job->unit * job->unit_out;
        dtype = job->kind == JOB_WIDEN ? ENGINE_DTYPE_F32 : dtype;
    }
    uint64_t seed = r->upload->seed + ((uint64_t)(job - r->upload->jobs) << 40) + p->at;
    uint64_t words = (bytes + 3) / 4;
    random_kernel<<<blocks_for(words), THREADS_OF_BLOCK, 0, r->stream>>>(
        (uint32_t *)to, words, dtype, job->amplitude, job->mean, seed * 0x9e3779b97f4a7c15ULL);
    return cudaGetLastError();
}

static cudaError_t arrange(reader *r, const uint8_t *from, const piece *p)
{
    const upload_job *job = p->job;
    uint32_t row0 = (uint32_t)(p->at / job->row_bytes);
    uint32_t rows = (uint32_t)(p->bytes / job->row_bytes);
    if (job->kind == JOB_TILES) {
        uint32_t chunks = job->row_bytes / 16;
        tile_kernel<<<blocks_for((uint64_t)rows * chunks), THREADS_OF_BLOCK, 0, r->stream>>>(
            job->weight, job->first, job->step, (const uint4 *)from, row0, rows, chunks);
    } else {
        uint32_t cols = job->row_bytes / (uint32_t)sizeof(float);
        scale_kernel<<<blocks_for((uint64_t)rows * cols), THREADS_OF_BLOCK, 0, r->stream>>>(
            job->weight, job->first, job->step, (const float *)from, row0, rows, cols);
    }
    return cudaGetLastError();
}

static cudaError_t send(reader *r, int buffer, const piece *p)
{
    uint8_t *to = is_arranged(p->job) ? r->staging[buffer] : place(p);
    cudaError_t error = cudaSuccess;
    if (r->upload->random) {
        keep(&error, make_random(r, to, p));
    } else {
        uint64_t bytes = fill(r->host[buffer], p);
        keep(&error,
             cudaMemcpyAsync(to, r->host[buffer], bytes, cudaMemcpyHostToDevice, r->stream));
    }
    if (is_arranged(p->job) && error == cudaSuccess) {
        keep(&error, arrange(r, to, p));
    }
    keep(&error, cudaEventRecord(r->free[buffer], r->stream));
    return error;
}

static void *read_pieces(void *user)
{
    reader r = {};
    r.upload = (cuda_upload *)user;
    reader_open(&r);
    piece p;
    for (int buffer = 0; r.error == cudaSuccess && next_piece(r.upload, &p);
         buffer = (buffer + 1) % BUFFERS) {
        keep(&r.error, cudaEventSynchronize(r.free[buffer]));
        if (r.error == cudaSuccess) {
            keep(&r.error, send(&r, buffer, &p));
        }
        finish_piece(r.upload, p.bytes, r.error);
    }
    reader_close(&r);
    finish_piece(r.upload, 0, r.error);
    return NULL;
}

/* ---- All ---- */

static int thread_count(const cuda_upload *u)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    uint64_t pieces = u->total / PIECE_BYTES + 1;
    processors /= u->sharers;
    int n = processors < 1 ? 1 : processors < THREADS_MAX ? (int)processors : (int)THREADS_MAX;
    return u->random ? 1 : (uint64_t)n < pieces ? n : (int)pieces;
}

pv_status cuda_upload_run(cuda_upload *upload, pv_error *err)
{
    pthread_t threads[THREADS_MAX];
    int started = 1; /* this one */
    upload->began_ms = upload->logged_ms = pv_clock_ms();
    keep(&upload->error, cudaGetDevice(&upload->device));
    if (pthread_mutex_init(&upload->lock, NULL) != 0) {
        return pv_fail(err, PV_E_NOMEM, "no lock for uploading");
    }
    int count = thread_count(upload);
    while (started < count && pthread_create(&threads[started], NULL, read_pieces, upload) == 0) {
        started++;
    }
    (void)read_pieces(upload);
    for (int i = 1; i < started; i++) {
        (void)pthread_join(threads[i], NULL);
    }
    pthread_mutex_destroy(&upload->lock);
    log_progress(upload, true);
    if (upload->error != cudaSuccess) {
        pv_status status = upload->error == cudaErrorMemoryAllocation ? PV_E_NOMEM : PV_E_DEVICE;
        return pv_fail(err, status, "uploading weights: %s", cudaGetErrorString(upload->error));
    }
    return PV_OK;
}
