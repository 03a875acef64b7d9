/* A model on several GPUs of one host against the same model on one: decode steps of the 7B shape, whole, in graphs, with
 * sampling; and in the same run what the link gives: copies between two GPUs, and the exchanges of a step by themselves.
 * The ceiling: every GPU reads its part of the weights and the cache at the pace of one, and exchanges take what they take
 * by themselves. Random weights of true dimensions, made on the GPUs; every sequence has pages of its own. */
#include "bench_gpu_model.cuh"
#include "engine_cuda_comm.cuh"
#include "engine_cuda_device.cuh"
#include "engine_cuda_team.cuh"

#include "engine_synthetic.h"
#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <thread>
#include <vector>

enum { ROWS_MAX = 256, WARM = 6, STEPS = 24, ROUNDS = 5, COPY_BYTES = 256 << 20 };

static const char usage[] =
    "usage: bench_gpu_parallel [--rows N] [--context N] [--turns]\n"
    "\n"
    "Decode steps of the 7B shape on 1 GPU and on 2, 4 and 8 where there are so many; their "
    "ratio.\n"
    "  --rows N     sequences of a step (default 32)\n"
    "  --context N  tokens that each attends to (default 1024)\n"
    "  --turns      also two parts that take turns on one GPU: shows that it runs, no figure\n";

static void check_cuda(cudaError_t error, const char *what)
{
    if (error != cudaSuccess) {
        fail(what, cudaGetErrorString(error));
    }
}

/* ---- The link ---- */

/* Bytes a second from GPU 0 to GPU 1 while as much goes the other way. */
static double copy_bandwidth(void)
{
    uint8_t *at[2][2] = {};
    cudaStream_t stream[2];
    for (int i = 0; i < 2; i++) {
        check_cuda(cudaSetDevice(i), "a GPU");
        check_cuda(cudaStreamCreateWithFlags(&stream[i], cudaStreamNonBlocking), "a stream");
        check_cuda(cudaMalloc(&at[i][0], COPY_BYTES), "memory");
        check_cuda(cudaMalloc(&at[i][1], COPY_BYTES), "memory");
        (void)cudaDeviceEnablePeerAccess(1 - i, 0); /* there may be no direct way */
        (void)cudaGetLastError();
    }
    double best = 0;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t began = pv_clock_ns();
        for (int i = 0; i < 2; i++) {
            check_cuda(cudaMemcpyPeerAsync(at[1 - i][1], 1 - i, at[i][0], i, COPY_BYTES, stream[i]),
                       "copying");
        }
        check_cuda(cudaStreamSynchronize(stream[0]), "copying");
        check_cuda(cudaStreamSynchronize(stream[1]), "copying");
        double rate = COPY_BYTES / ((double)(pv_clock_ns() - began) * 1e-9);
        best = rate > best ? rate : best;
    }
    for (int i = 0; i < 2; i++) {
        check_cuda(cudaSetDevice(i), "a GPU");
        check_cuda(cudaFree(at[i][0]), "memory");
        check_cuda(cudaFree(at[i][1]), "memory");
        check_cuda(cudaStreamDestroy(stream[i]), "a stream");
    }
    return best;
}

struct exchanges {
    uint32_t count;
    size_t bytes; /* of a rank's part */
};

/* Milliseconds that a step's exchanges take in a graph of nothing else, on one rank. */
static double time_exchanges(cuda_comm *comm, uint32_t gpu, uint32_t ranks, exchanges e)
{
    uint8_t *from = NULL;
    uint8_t *to = NULL;
    cudaStream_t stream;
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    check_cuda(cudaSetDevice((int)gpu), "a GPU");
    check_cuda(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "a stream");
    check_cuda(cudaMalloc(&from, e.bytes), "memory");
    check_cuda(cudaMalloc(&to, e.bytes * ranks), "memory");
    check_cuda(cuda_comm_all_gather(comm, from, to, e.bytes, stream), "an exchange");
    check_cuda(cudaStreamSynchronize(stream), "an exchange");
    check_cuda(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing");
    for (uint32_t i = 0; i < e.count; i++) {
        check_cuda(cuda_comm_all_gather(comm, from, to, e.bytes, stream), "an exchange");
    }
    check_cuda(cudaStreamEndCapture(stream, &graph), "capturing");
    check_cuda(cudaGraphInstantiate(&exec, graph, 0), "a graph");
    double best = 1e30;
    for (int round = 0; round < ROUNDS + 1; round++) { /* the first meets ranks that are late */
        uint64_t began = pv_clock_ns();
        for (int i = 0; i < STEPS; i++) {
            check_cuda(cudaGraphLaunch(exec, stream), "exchanges");
        }
        check_cuda(cudaStreamSynchronize(stream), "exchanges");
        double ms = (double)(pv_clock_ns() - began) * 1e-6 / STEPS;
        best = round > 0 && ms < best ? ms : best;
    }
    check_cuda(cudaGraphExecDestroy(exec), "a graph");
    check_cuda(cudaGraphDestroy(graph), "a graph");
    check_cuda(cudaFree(from), "memory");
    check_cuda(cudaFree(to), "memory");
    check_cuda(cudaStreamDestroy(stream), "a stream");
    return best;
}

static double exchange_ms(uint32_t ranks, exchanges e)
{
    uint32_t gpus[ENGINE_RANKS_MAX];
    double ms[ENGINE_RANKS_MAX];
    std::vector<std::thread> threads;
    cuda_comms *comms = NULL;
    pv_error err = {};
    for (uint32_t i = 0; i < ranks; i++) {
        gpus[i] = i;
    }
    check(cuda_comms_open(&comms, gpus, ranks, &err), &err);
    for (uint32_t i = 0; i < ranks; i++) {
        threads.emplace_back(
            [&, i] { ms[i] = time_exchanges(cuda_comms_rank(comms, i), i, ranks, e); });
    }
    for (std::thread &t : threads) {
        t.join();
    }
    cuda_comms_close(comms);
    return ms[0];
}

/* ---- Steps ---- */

struct decode {
    uint32_t tokens[ROWS_MAX];
    uint32_t logit_rows[ROWS_MAX];
    engine_batch_seq seqs[ROWS_MAX];
    engine_draw draws[ROWS_MAX];
    std::vector<uint32_t> pages;
};

static void make_decode(decode *d, uint32_t rows, uint32_t context, uint32_t vocab)
{
    uint32_t each = (context + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
    d->pages.resize((size_t)rows * each);
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t p = 0; p < each; p++) { /* the sequences' pages lie between one another */
            d->pages[i * each + p] = p * rows + i;
        }
        d->tokens[i] = (uint32_t)(pv_mix64(i + 1) % vocab);
        d->logit_rows[i] = i;
        d->seqs[i] = {&d->pages[(size_t)i * each], each, context - 1, 1};
        d->draws[i] = {pv_mix64(i), context - 1, i, ENGINE_NO_TOKEN, 1.0F, 0, 0.95F, 0.0F};
    }
}

/* Milliseconds a step, as a caller sees it that stays ahead. */
static double run_steps(engine_device *dev, const decode *d, uint32_t rows, uint32_t steps)
{
    const engine_backend *be = engine_backend_cuda();
    static engine_drawn drawn[ROWS_MAX];
    uint64_t tickets[STEPS];
    uint32_t done = 0;
    pv_error err = {};
    uint64_t began = pv_clock_ns();
    for (uint32_t s = 0; s < steps; s++) {
        if (s - done == ENGINE_STEPS_AHEAD) {
            check(be->collect(dev, tickets[done++], drawn, &err), &err);
        }
        engine_batch batch = {d->tokens, rows, d->seqs, rows, d->logit_rows, rows};
        check(be->submit(dev, &batch, d->draws, rows, &tickets[s], &err), &err);
    }
    while (done < steps) {
        check(be->collect(dev, tickets[done++], drawn, &err), &err);
    }
    return (double)(pv_clock_ns() - began) * 1e-6 / steps;
}

static double step_ms(const engine_weights *w, const std::vector<uint32_t> &gpus, uint32_t rows,
                      uint32_t context)
{
    static decode d;
    engine_device *dev = NULL;
    pv_error err = {};
    uint64_t seed = 1;
    engine_backend_options o = {};
    o.kv_pages = rows * ((context + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS);
    o.max_rows = o.max_logit_rows = rows;
    o.gpu_count = (uint32_t)gpus.size();
    for (size_t i = 0; i < gpus.size(); i++) {
        o.gpus[i] = gpus[i];
    }
    check(cuda_device_open(&dev, w, &o, &seed, &err), &err);
    make_decode(&d, rows, context, w->config->vocab_size);
    (void)run_steps(dev, &d, rows, WARM);
    double best = 1e30;
    for (int i = 0; i < ROUNDS; i++) {
        double ms = run_steps(dev, &d, rows, STEPS);
        best = ms < best ? ms : best;
    }
    engine_backend_cuda()->close(dev);
    return best;
}

static void report(const engine_weights *w, uint32_t ranks, uint32_t rows, uint32_t context,
                   double alone)
{
    const engine_config *c = w->config;
    std::vector<uint32_t> gpus;
    for (uint32_t i = 0; i < ranks; i++) {
        gpus.push_back(i);
    }
    exchanges e = {2 * c->layers, (size_t)rows * c->hidden_size * sizeof(float)};
    double link = exchange_ms(ranks, e);
    double ms = step_ms(w, gpus, rows, context);
    double ceiling = alone / (alone / ranks + link);
    printf("%u GPUs: %.3f ms a step, %.0f tok/s, %.2f times one GPU; ceiling %.2f times (%u "
           "exchanges of %.0f KiB a GPU: %.3f ms by themselves, %.1f us each), share %.0f %%\n",
           ranks, ms, rows / ms * 1e3, alone / ms, ceiling, e.count, (double)e.bytes / 1024, link,
           link / e.count * 1e3, alone / ms / ceiling * 100);
}

struct arguments {
    uint32_t rows, context;
    bool turns;
};

static arguments read_arguments(int argc, char **argv)
{
    arguments a = {32, 1024, false};
    for (int i = 1; i < argc; i++) {
        bool more = i + 1 < argc;
        if (strcmp(argv[i], "--rows") == 0 && more) {
            a.rows = (uint32_t)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--context") == 0 && more) {
            a.context = (uint32_t)atoi(argv[++i]);
        } else if (strcmp(argv[i], "--turns") == 0) {
            a.turns = true;
        } else {
            fputs(usage, strcmp(argv[i], "--help") == 0 ? stdout : stderr);
            exit(strcmp(argv[i], "--help") == 0 ? 0 : 2);
        }
    }
    if (a.rows == 0 || a.rows > ROWS_MAX || a.context == 0) {
        fail("arguments", "--rows is 1 to 256, --context at least 1");
    }
    return a;
}

int main(int argc, char **argv)
{
    arguments a = read_arguments(argc, argv);
    engine_config config = config_7b(a.context);
    engine_synthetic *model = NULL;
    pv_error err = {};
    int there = 0;
    if (cudaGetDeviceCount(&there) != cudaSuccess || there == 0 || (there == 1 && !a.turns)) {
        printf("SKIPPED: %d GPUs answer; two are needed\n", there);
        return 77;
    }
    check(engine_synthetic_shapes(&model, &config, ENGINE_DTYPE_BF16, &err), &err);
    const engine_weights *w = engine_synthetic_weights(model);
    double alone = step_ms(w, {0}, a.rows, a.context);
    printf("7B, BF16, B = %u, context %u: 1 GPU: %.3f ms a step, %.0f tok/s\n", a.rows, a.context,
           alone, a.rows / alone * 1e3);
    if (a.turns) {
        double ms = step_ms(w, {0, 0}, a.rows, a.context);
        printf("two parts in turn on one GPU (no figure): %.3f ms a step, %.2f times one part's "
               "work\n",
               ms, ms / alone);
    }
    if (there >= 2) {
        printf("copies between GPU 0 and 1, both ways at once: %.0f GB/s each way\n",
               copy_bandwidth() / 1e9);
    }
    for (uint32_t ranks = 2; ranks <= (uint32_t)there && ranks <= ENGINE_RANKS_MAX; ranks *= 2) {
        report(w, ranks, a.rows, a.context, alone);
    }
    engine_synthetic_close(model);
    return 0;
}
