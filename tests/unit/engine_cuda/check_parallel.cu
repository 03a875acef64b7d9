/* check_parallel: a model that is spread over several GPUs, against the same model on one.
 *
 * Where there is one GPU the parts take turns on it: everything but NCCL is the same. Where there are several, NCCL too.
 *
 *     check_parallel [--few] [FOLDER]     FOLDER: golden models; needs a GPU; exit status 1 when a check fails
 *
 * --few: two models in two parts and small sums, without NCCL: for a sanitizer. */
#include "check_common.cuh"

#include "engine_cuda_comm.cuh"
#include "engine_cuda_device.cuh"
#include "engine_cuda_fast.cuh"
#include "engine_cuda_launch.cuh"
#include "engine_cuda_ptx.cuh"
#include "engine_cuda_share.cuh"
#include "engine_cuda_team.cuh"

#include "engine_model.h"
#include "engine_synthetic.h"
#include "pv_clock.h"
#include "pv_hash.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <algorithm>
#include <dirent.h>
#include <functional>
#include <string>
#include <thread>

enum { LENGTH = 100, OTHERS = 15, KV_PAGES = 64, PAGES = 4, STEPS = 10 };

static int gpus_there;
static bool few;

static void need(pv_status status, const char *what, const pv_error *err)
{
    if (status != PV_OK) {
        printf("FAIL %s: %s\n", what, err->msg);
        exit(1);
    }
}

/* ---- Exchanges ---- */

/* On a thread for each rank, in turn where they share a GPU. */
static void on_ranks(cuda_comms *comms, uint32_t ranks, const std::function<void(uint32_t)> &fn)
{
    std::vector<std::thread> threads;
    for (uint32_t r = 0; r < ranks; r++) {
        threads.emplace_back([=] {
            cuda_comm_enter(cuda_comms_rank(comms, r));
            fn(r);
            cuda_comm_leave(cuda_comms_rank(comms, r));
        });
    }
    for (std::thread &t : threads) {
        t.join();
    }
}

enum { WORDS = 1003 };

struct rank_buffers {
    cudaStream_t stream;
    uint32_t *send, *all, *traded, *gathered, *told;
    std::vector<uint32_t> got[4];
};

static uint32_t word(uint32_t from, uint32_t to, uint32_t i)
{
    return from << 24 | to << 16 | i;
}

static void make_buffers(rank_buffers *b, uint32_t rank, uint32_t ranks, cudaStream_t shared)
{
    std::vector<uint32_t> send((size_t)ranks * WORDS);
    for (size_t i = 0; i < send.size(); i++) {
        send[i] = word(rank, (uint32_t)(i / WORDS), (uint32_t)(i % WORDS));
    }
    size_t bytes = send.size() * 4;
    b->stream = shared;
    if (shared == NULL) {
        TRY(cudaStreamCreateWithFlags(&b->stream, cudaStreamNonBlocking));
    }
    for (uint32_t **p : {&b->send, &b->all, &b->traded, &b->gathered, &b->told}) {
        TRY(cudaMalloc((void **)p, bytes));
        TRY(cudaMemset(*p, 0xee, bytes));
    }
    TRY(cudaMemcpy(b->send, send.data(), bytes, cudaMemcpyHostToDevice));
    TRY(cudaMemcpy(b->told, send.data(), bytes, cudaMemcpyHostToDevice));
    TRY(cudaDeviceSynchronize());
}

static bool exchange_all(cuda_comm *comm, rank_buffers *b)
{
    const size_t part = WORDS * 4;
    return cuda_comm_all_gather(comm, b->send, b->all, part, b->stream) == cudaSuccess &&
           cuda_comm_exchange(comm, b->send, b->traded, part, b->stream) == cudaSuccess &&
           cuda_comm_gather(comm, b->send, b->gathered, part, b->stream) == cudaSuccess &&
           cuda_comm_broadcast(comm, b->told, part, b->stream) == cudaSuccess;
}

static void fetch(rank_buffers *b, uint32_t ranks)
{
    const uint32_t *from[4] = {b->all, b->traded, b->gathered, b->told};
    TRY(cudaStreamSynchronize(b->stream));
    for (int i = 0; i < 4; i++) {
        b->got[i].resize((size_t)ranks * WORDS);
        TRY(cudaMemcpy(b->got[i].data(), from[i], b->got[i].size() * 4, cudaMemcpyDeviceToHost));
    }
}

static uint32_t wrong_words(const rank_buffers *b, uint32_t rank, uint32_t ranks)
{
    uint32_t wrong = 0;
    for (uint32_t r = 0; r < ranks; r++) {
        for (uint32_t i = 0; i < WORDS; i++) {
            size_t at = (size_t)r * WORDS + i;
            wrong += b->got[0][at] != word(r, 0, i);
            wrong += b->got[1][at] != word(r, rank, i);
            wrong += b->got[2][at] != (rank == 0 ? word(r, 0, i) : 0xeeeeeeeeU);
            wrong += b->got[3][at] != word(r == 0 ? 0 : rank, r, i);
        }
    }
    return wrong;
}

static void check_exchanges(std::vector<uint32_t> gpus)
{
    uint32_t ranks = (uint32_t)gpus.size();
    cuda_comms *comms = NULL;
    pv_error err = {};
    pv_status status = cuda_comms_open(&comms, gpus.data(), ranks, &err);
    if (status == PV_E_UNSUPPORTED) {
        printf("skipped: %s\n", err.msg);
        return;
    }
    need(status, "connecting", &err);
    std::vector<rank_buffers> b(ranks);
    std::vector<uint32_t> wrong(ranks, 1);
    on_ranks(comms, ranks, [&](uint32_t r) {
        TRY(cudaSetDevice((int)gpus[r]));
        make_buffers(&b[r], r, ranks, cuda_comms_stream(comms));
        if (!exchange_all(cuda_comms_rank(comms, r), &b[r])) {
            wrong[r] = 1000000;
            return;
        }
        (void)cuda_comm_pass(cuda_comms_rank(comms, r));
        fetch(&b[r], ranks);
        wrong[r] = wrong_words(&b[r], r, ranks);
    });
    uint32_t sum = 0;
    for (uint32_t w : wrong) {
        sum += w;
    }
    char line[160];
    snprintf(line, sizeof line, "exchanges of %u ranks, %s: wrong words", ranks,
             cuda_comms_name(comms));
    report(sum == 0, line, sum);
    uint64_t began = pv_clock_ms();
    std::vector<int> refused(ranks);
    on_ranks(comms, ranks, [&](uint32_t r) {
        if (r == ranks - 1) { /* the others are in an exchange that it does not come to */
            cuda_comms_fail(comms, "a test");
            return;
        }
        TRY(cudaSetDevice((int)gpus[r]));
        cuda_comm *comm = cuda_comms_rank(comms, r);
        cudaEvent_t event;
        TRY(cudaEventCreate(&event));
        refused[r] = !exchange_all(comm, &b[r]);
        if (!refused[r]) {
            TRY(cudaEventRecord(event, b[r].stream));
            refused[r] = cuda_comm_wait(comm, event) != cudaSuccess;
        }
        TRY(cudaEventDestroy(event));
    });
    on_ranks(comms, ranks, [&](uint32_t r) { cuda_comm_abort(cuda_comms_rank(comms, r)); });
    bool all = std::all_of(refused.begin(), refused.end() - 1, [](int x) { return x != 0; });
    snprintf(line, sizeof line, "a rank that fails ends the others, %s: ms",
             cuda_comms_name(comms));
    report(all || ranks == 1, line, (double)(pv_clock_ms() - began));
    cuda_comms_close(comms);
    for (rank_buffers &buffers : b) {
        for (uint32_t *p :
             {buffers.send, buffers.all, buffers.traded, buffers.gathered, buffers.told}) {
            (void)cudaFree(p);
        }
    }
}

/* ---- NCCL in a graph, with a single rank: what one GPU lets us try of it ---- */

static __global__ void count_kernel(uint32_t *words, uint32_t n)
{
    cuda_chain_wait();
    cuda_chain_release();
    for (uint32_t i = threadIdx.x; i < n; i += blockDim.x) {
        words[i]++;
    }
}

/* Exchanges between kernels of ours, which are chained: each counts what the exchange in front of it brought. */
static bool exchange_between_kernels(cuda_comm *comm, rank_buffers *b)
{
    cuda_shape shape = {dim3(1), dim3(256), 0};
    bool ok = true;
    for (uint32_t i = 0; i < 20; i++) {
        ok = cuda_launch(count_kernel, shape, b->stream, b->send, (uint32_t)WORDS) == cudaSuccess &&
             cuda_comm_all_gather(comm, b->send, b->all, WORDS * 4, b->stream) == cudaSuccess &&
             cuda_launch(count_kernel, shape, b->stream, b->all, (uint32_t)WORDS) == cudaSuccess &&
             cuda_comm_exchange(comm, b->all, b->send, WORDS * 4, b->stream) == cudaSuccess && ok;
    }
    return ok;
}

/* 40 a run. */
static uint32_t wrong_counts(rank_buffers *b, uint32_t runs)
{
    std::vector<uint32_t> got(WORDS);
    uint32_t wrong = 0;
    TRY(cudaStreamSynchronize(b->stream));
    TRY(cudaMemcpy(got.data(), b->send, WORDS * 4, cudaMemcpyDeviceToHost));
    for (uint32_t i = 0; i < WORDS; i++) {
        wrong += got[i] != word(0, 0, i) + 40 * runs;
    }
    return wrong;
}

static void check_nccl_alone(void)
{
    uint32_t gpu = 0;
    cuda_comms *comms = NULL;
    pv_error err = {};
    if (cuda_comms_open(&comms, &gpu, 1, &err) != PV_OK) {
        printf("skipped: %s\n", err.msg);
        return;
    }
    rank_buffers b = {};
    make_buffers(&b, 0, 1, NULL);
    cuda_comm *comm = cuda_comms_rank(comms, 0);
    cudaGraph_t graph = NULL;
    cudaGraphExec_t exec = NULL;
    bool ok = exchange_all(comm, &b); /* once before it is captured, as steps are */
    TRY(cudaStreamSynchronize(b.stream));
    TRY(cudaMemset(b.all, 0, WORDS * 4));
    TRY(cudaMemset(b.traded, 0, WORDS * 4));
    TRY(cudaStreamBeginCapture(b.stream, cudaStreamCaptureModeThreadLocal));
    ok = exchange_all(comm, &b) && ok;
    TRY(cudaStreamEndCapture(b.stream, &graph));
    TRY(cudaGraphInstantiate(&exec, graph, 0));
    TRY(cudaGraphLaunch(exec, b.stream));
    cudaEvent_t event;
    TRY(cudaEventCreate(&event));
    TRY(cudaEventRecord(event, b.stream));
    ok = cuda_comm_wait(comm, event) == cudaSuccess && ok;
    fetch(&b, 1);
    char line[160];
    snprintf(line, sizeof line, "%s in a graph, one rank: wrong words", cuda_comms_name(comms));
    report(ok && wrong_words(&b, 0, 1) == 0, line, wrong_words(&b, 0, 1));
    TRY(cudaEventDestroy(event));
    TRY(cudaGraphExecDestroy(exec));
    TRY(cudaGraphDestroy(graph));
    ok = exchange_between_kernels(comm, &b);
    report(ok && wrong_counts(&b, 1) == 0, "between chained kernels", wrong_counts(&b, 1));
    TRY(cudaStreamBeginCapture(b.stream, cudaStreamCaptureModeThreadLocal));
    ok = exchange_between_kernels(comm, &b) && ok;
    TRY(cudaStreamEndCapture(b.stream, &graph));
    TRY(cudaGraphInstantiate(&exec, graph, 0));
    for (int i = 0; i < 50; i++) {
        TRY(cudaGraphLaunch(exec, b.stream));
    }
    report(ok && wrong_counts(&b, 51) == 0, "the same in a graph", wrong_counts(&b, 51));
    TRY(cudaGraphExecDestroy(exec));
    TRY(cudaGraphDestroy(graph));
    cuda_comm_abort(comm);
    report(!exchange_all(comm, &b), "after its end NCCL is not called", 0);
    cuda_comms_close(comms);
}

/* ---- Sums ---- */

/* The two ways of a sum, bit for bit against the host. */
static void check_sums(uint32_t ranks, uint32_t rows, uint32_t stride)
{
    std::vector<uint32_t> gpus(ranks, 0);
    cuda_comms *comms = NULL;
    pv_error err = {};
    need(cuda_comms_open(&comms, gpus.data(), ranks, &err), "connecting", &err);
    size_t n = (size_t)rows * stride;
    std::vector<std::vector<float>> parts;
    for (uint32_t r = 0; r < ranks; r++) {
        parts.push_back(random_normals(n, 1));
    }
    std::vector<float> h = random_normals(n, 1);
    std::vector<uint32_t> wrong(ranks, 1);
    on_ranks(comms, ranks, [&](uint32_t r) {
        engine_config config = {};
        engine_shard shard = {};
        cuda_model model = {};
        config.vocab_size = 8 * ranks;
        shard.rank = r;
        shard.ranks = ranks;
        shard.words[0].count = 8;
        model.config = &config;
        model.shard = &shard;
        model.comm = cuda_comms_rank(comms, r);
        model.rows = rows;
        model.logit_rows = 1;
        cuda_arena arena = {};
        cuda_share share;
        cuda_share_lay_out(&share, &model, stride, &arena);
        device_array<uint8_t> memory(arena.used + CUDA_ARENA_ALIGN);
        arena = {memory.at, 0};
        cuda_share_lay_out(&share, &model, stride, &arena);
        device_array<float> stream_h(h);
        cudaStream_t stream = cuda_comms_stream(comms);
        TRY(cudaMemcpy(share.part, parts[r].data(), n * 4, cudaMemcpyHostToDevice));
        TRY(cuda_share_add(&share, stream_h.at, rows, stream));
        (void)cuda_comm_pass(model.comm); /* nobody's memory goes before all have done it */
        TRY(cudaStreamSynchronize(stream));
        std::vector<float> got = stream_h.get();
        wrong[r] = 0;
        for (size_t i = 0; i < n; i++) {
            float sum = parts[0][i];
            for (uint32_t p = 1; p < ranks; p++) {
                sum += parts[p][i];
            }
            float want = h[i] + sum;
            wrong[r] += memcmp(&want, &got[i], 4) != 0;
        }
        (void)cuda_comm_pass(model.comm);
    });
    uint32_t sum = 0;
    for (uint32_t w : wrong) {
        sum += w;
    }
    char line[120];
    snprintf(line, sizeof line, "sum over %u ranks of %u x %u: wrong numbers", ranks, rows, stride);
    report(sum == 0, line, sum);
    cuda_comms_close(comms);
}

/* ---- Models ---- */

struct subject {
    const char *name;
    const engine_weights *w;
    std::vector<uint32_t> tokens;
    engine_precision precision;
    double bound; /* of the spread model's logits against those of one GPU */
};

static engine_backend_options options_of(const subject *s, const std::vector<uint32_t> &gpus)
{
    engine_backend_options o = {};
    o.kv_pages = KV_PAGES;
    o.max_rows = 256;
    o.max_logit_rows = 128;
    o.precision = s->precision;
    o.gpu_count = (uint32_t)gpus.size();
    std::copy(gpus.begin(), gpus.end(), o.gpus);
    return o;
}

static double relative(const std::vector<float> &a, const std::vector<float> &b)
{
    double difference = 0, norm = 0;
    for (size_t i = 0; i < a.size(); i++) {
        double d = (double)a[i] - (double)b[i];
        difference += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    double e = sqrt(difference / norm);
    return isfinite(e) ? e : INFINITY;
}

/* Rows [start, end) of the subject's tokens on pages from `page` on; logits of all, or of the last. */
static std::vector<float> rows_of(engine_device *d, const subject *s, uint32_t page, uint32_t start,
                                  uint32_t end, bool all)
{
    uint32_t pages[PAGES], wanted[LENGTH];
    uint32_t rows = end - start;
    uint32_t count = all ? rows : 1;
    for (uint32_t i = 0; i < PAGES; i++) {
        pages[i] = page + i;
    }
    for (uint32_t i = 0; i < count; i++) {
        wanted[i] = rows - count + i;
    }
    engine_batch_seq seq = {pages, PAGES, start, rows};
    engine_batch batch = {s->tokens.data() + start, rows, &seq, 1, wanted, count};
    std::vector<float> logits((size_t)count * s->w->config->vocab_size, NAN);
    pv_error err = {};
    need(engine_backend_cuda()->forward(d, &batch, logits.data(), &err), "forward", &err);
    return logits;
}

/* The last row as one of OTHERS + 1 that decode. */
static std::vector<float> among_others(engine_device *d, const subject *s, uint32_t page)
{
    uint32_t end = (uint32_t)s->tokens.size();
    uint32_t mine[PAGES], others[OTHERS], tokens[OTHERS + 1], row = 7;
    engine_batch_seq seqs[OTHERS + 1];
    for (uint32_t i = 0; i < PAGES; i++) {
        mine[i] = page + i;
    }
    for (uint32_t i = 0, at = 0; i <= OTHERS; i++) {
        if (i == row) {
            tokens[i] = s->tokens[end - 1];
            seqs[i] = {mine, PAGES, end - 1, 1};
            continue;
        }
        others[at] = 40 + at;
        tokens[i] = (7 * i + 3) % s->w->config->vocab_size;
        seqs[i] = {&others[at++], 1, 0, 1};
    }
    engine_batch batch = {tokens, OTHERS + 1, seqs, OTHERS + 1, &row, 1};
    std::vector<float> logits(s->w->config->vocab_size, NAN);
    pv_error err = {};
    need(engine_backend_cuda()->forward(d, &batch, logits.data(), &err), "forward", &err);
    return logits;
}

static bool same(const std::vector<float> &a, const std::vector<float> &b)
{
    return memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

static uint32_t greatest(const std::vector<float> &logits)
{
    return (uint32_t)(std::max_element(logits.begin(), logits.end()) - logits.begin());
}

/* A row in every surrounding; what differs is named. */
static std::string check_invariance(engine_device *d, const subject *s,
                                    const std::vector<float> &all)
{
    uint32_t end = (uint32_t)s->tokens.size();
    uint32_t vocab = s->w->config->vocab_size;
    std::vector<float> want(all.end() - vocab, all.end());
    std::string trouble;
    for (int i = 0; i < 3; i++) { /* the second is captured, the third replayed */
        trouble += same(rows_of(d, s, 0, end - 1, end, false), want) ? "" : " [from the cache]";
    }
    for (int i = 0; i < 3; i++) {
        trouble += same(among_others(d, s, 0), want) ? "" : " [in a batch of 16]";
    }
    trouble += same(rows_of(d, s, 0, end - 1, end, false), want) ? "" : " [alone again]";
    for (uint32_t chunk : {1, 7, 31}) {
        std::vector<float> got;
        for (uint32_t at = 0; at < end; at += chunk) {
            got = rows_of(d, s, 10, at, std::min(at + chunk, end), false);
        }
        trouble += same(got, want) ? "" : " [in chunks of " + std::to_string(chunk) + "]";
    }
    pv_error err = {};
    uint32_t last = (end - 1) / ENGINE_PAGE_TOKENS;
    need(engine_backend_cuda()->copy_page(d, 10 + last, last, (end - 1) % ENGINE_PAGE_TOKENS, &err),
         "copy_page", &err);
    trouble += same(rows_of(d, s, 10, end - 1, end, false), want) ? "" : " [a copied page]";
    return trouble;
}

/* Greedy tokens drawn on the GPU, each step fed by the one before: as forward() finds them. */
static std::string check_draws(engine_device *d, const subject *s)
{
    const engine_backend *be = engine_backend_cuda();
    subject grown = *s;
    uint32_t from = (uint32_t)s->tokens.size();
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t end = from + i;
        grown.tokens.push_back(greatest(rows_of(d, &grown, 20, i == 0 ? 0 : end - 1, end, false)));
    }
    uint32_t pages[PAGES] = {30, 31, 32, 33}, drawn[STEPS], row = from - 1, one = 0;
    uint64_t ticket = 0;
    pv_error err = {};
    for (uint32_t i = 0; i < STEPS; i++) {
        uint32_t token = ENGINE_TOKEN_FROM_ROW(0);
        engine_draw draw = {};
        engine_batch_seq seq = {pages, PAGES, i == 0 ? 0 : from + i - 1, i == 0 ? from : 1};
        engine_batch batch = {
            i == 0 ? s->tokens.data() : &token, seq.rows, &seq, 1, i == 0 ? &row : &one, 1};
        draw.token = ENGINE_NO_TOKEN;
        need(be->submit(d, &batch, &draw, 1, &ticket, &err), "submit", &err);
        if (ticket > 2) { /* two are under way */
            engine_drawn out;
            need(be->collect(d, ticket - 2, &out, &err), "collect", &err);
            drawn[ticket - 3] = out.token;
        }
    }
    for (uint64_t t = ticket - 1; t <= ticket; t++) {
        engine_drawn out;
        need(be->collect(d, t, &out, &err), "collect", &err);
        drawn[t - 1] = out.token;
    }
    bool equal = std::equal(drawn, drawn + STEPS, grown.tokens.begin() + from);
    return equal ? "" : " [drawn tokens]";
}

static std::vector<uint8_t> bytes_of(int gpu, const void *at, size_t bytes)
{
    std::vector<uint8_t> out(bytes);
    TRY(cudaSetDevice(gpu));
    TRY(cudaDeviceSynchronize());
    TRY(cudaMemcpy(out.data(), at, bytes, cudaMemcpyDeviceToHost));
    return out;
}

/* What all ranks must have alike: the residual stream, the tokens drawn, and the latent cache. */
static std::string check_ranks(engine_device *d, const subject *s, uint32_t ranks)
{
    const engine_config *c = s->w->config;
    std::string trouble;
    std::vector<uint8_t> first[3];
    for (uint32_t r = 0; r < ranks; r++) {
        const engine_device *rank = cuda_team_device(d->team, r);
        std::vector<uint8_t> now[3];
        if (rank->runner == &cuda_runner_fast) {
            const cuda_fast *f = (const cuda_fast *)rank->state;
            now[0] = bytes_of(rank->ordinal, f->h, (size_t)c->hidden_size * 4);
        }
        now[1] = bytes_of(rank->ordinal, rank->batches.drawn, sizeof(engine_drawn));
        if (c->arch == ENGINE_ARCH_DEEPSEEK) {
            now[2] = bytes_of(rank->ordinal, rank->arenas.kv.base, rank->arenas.kv.used);
        }
        const char *names[3] = {"stream", "drawn token", "cache"};
        for (int i = 0; i < 3; i++) {
            if (r == 0) {
                first[i] = now[i];
            } else if (first[i] != now[i]) {
                trouble += std::string(" [rank ") + std::to_string(r) + ": " + names[i] + "]";
            }
        }
    }
    return trouble;
}

static void check_spread(const subject *s, const std::vector<float> &alone,
                         const std::vector<uint32_t> &gpus)
{
    engine_backend_options o = options_of(s, gpus);
    engine_device *d = NULL;
    pv_error err = {};
    uint32_t end = (uint32_t)s->tokens.size();
    char line[512];
    pv_status status = engine_backend_cuda()->open(&d, s->w, &o, &err);
    if (status == PV_E_UNSUPPORTED) {
        printf("skipped: %s on %zu: %s\n", s->name, gpus.size(), err.msg);
        return;
    }
    need(status, s->name, &err);
    engine_memory plan, now;
    need(engine_backend_cuda()->plan(&plan, s->w, &o, &err), "plan", &err);
    engine_backend_cuda()->memory(d, &now);
    std::vector<float> all = rows_of(d, s, 0, 0, end, true);
    double error = relative(all, alone);
    std::string trouble =
        check_invariance(d, s, all) + check_draws(d, s) + check_ranks(d, s, o.gpu_count);
    trouble += plan.weights_copied < now.weights_copied ? " [plan]" : "";
    snprintf(line, sizeof line, "%-20s %u parts (%s), %s kernels, %.1f MB of weights each:%s error",
             s->name, o.gpu_count, gpus[0] == gpus[1] ? "in turn" : "NCCL", d->runner->name,
             (double)now.weights_copied / 1e6, trouble.c_str());
    report(error <= s->bound && trouble.empty(), line, error);
    engine_backend_cuda()->close(d);
}

static void check_subject(const subject *s, std::vector<uint32_t> counts)
{
    engine_backend_options o = options_of(s, {});
    engine_device *d = NULL;
    pv_error err = {};
    need(engine_backend_cuda()->open(&d, s->w, &o, &err), s->name, &err);
    std::vector<float> alone = rows_of(d, s, 0, 0, (uint32_t)s->tokens.size(), true);
    std::string trouble = check_invariance(d, s, alone) + check_draws(d, s);
    char line[512];
    snprintf(line, sizeof line, "%-20s whole, %s kernels%s: MB of weights", s->name,
             d->runner->name, trouble.c_str());
    report(trouble.empty(), line, (double)d->arenas.weights.used / 1e6);
    engine_backend_cuda()->close(d);
    for (uint32_t n : counts) {
        check_spread(s, alone, std::vector<uint32_t>(n, 0));
        if (n <= (uint32_t)gpus_there) {
            std::vector<uint32_t> gpus;
            for (uint32_t i = 0; i < n; i++) {
                gpus.push_back(i);
            }
            check_spread(s, alone, gpus);
        }
    }
}

/* ---- Which models ---- */

static engine_config llama_config(void)
{
    engine_config c = {};
    c.arch = ENGINE_ARCH_LLAMA;
    c.vocab_size = 1000;
    c.hidden_size = 512;
    c.layers = 3;
    c.heads = 8;
    c.kv_heads = 4;
    c.head_dim = 128;
    c.intermediate_size = 1408;
    c.max_positions = 256;
    c.norm_eps = 1e-6;
    c.rope.kind = ENGINE_ROPE_PLAIN;
    c.rope.theta = 10000;
    c.rope.factor = 1;
    c.rope.original_positions = 256;
    return c;
}

static engine_config deepseek_config(void)
{
    engine_config c = llama_config();
    c.arch = ENGINE_ARCH_DEEPSEEK;
    c.hidden_size = 1024;
    c.heads = c.kv_heads = 64;
    c.head_dim = 192;
    c.intermediate_size = 1536;
    c.rope.kind = ENGINE_ROPE_YARN;
    c.rope.factor = 40;
    c.rope.original_positions = 64;
    c.rope.beta_fast = 32;
    c.rope.beta_slow = 1;
    c.rope.mscale = c.rope.mscale_all_dim = 1;
    c.rope.truncate = true;
    c.mla = {256, 512, 128, 64, 128};
    c.moe.routed = 18; /* does not divide by 4 */
    c.moe.shared = 1;
    c.moe.per_token = 4;
    c.moe.intermediate_size = 512;
    c.moe.groups = c.moe.groups_kept = 3;
    c.moe.first_dense = 1;
    c.moe.layer_freq = 1;
    c.moe.norm_topk = true;
    c.moe.scale = 2.5;
    c.moe.scoring = ENGINE_SCORING_SIGMOID;
    c.moe.topk = ENGINE_TOPK_NOAUX;
    c.quant.fp8 = true;
    c.quant.block_rows = c.quant.block_cols = 128;
    return c;
}

static void check_synthetic(const char *name, engine_config config, engine_dtype dtype,
                            engine_precision precision, double bound)
{
    engine_synthetic *model = NULL;
    pv_error err = {};
    need(engine_synthetic_open(&model, &config, dtype, 7, &err), name, &err);
    subject s = {name, engine_synthetic_weights(model), {}, precision, bound};
    for (uint32_t i = 0; i < LENGTH; i++) {
        s.tokens.push_back((uint32_t)(pv_mix64(i + 100) % config.vocab_size));
    }
    check_subject(&s, few ? std::vector<uint32_t>{2} : std::vector<uint32_t>{2, 4});
    engine_synthetic_close(model);
}

static void check_synthetics(void)
{
    const engine_precision fast = ENGINE_PRECISION_AUTO, exact = ENGINE_PRECISION_F32;
    engine_config c = llama_config();
    check_synthetic("llama", c, ENGINE_DTYPE_BF16, fast, 2e-2);
    if (few) {
        check_synthetic("deepseek", deepseek_config(), ENGINE_DTYPE_F8_E4M3, fast, 0.6);
        return;
    }
    check_synthetic("llama, float32", c, ENGINE_DTYPE_BF16, exact, 1e-5);
    c.attention_bias = c.tie_embeddings = true;
    check_synthetic("llama, biases, tied", c, ENGINE_DTYPE_BF16, fast, 2e-2);
    check_synthetic("llama, biases, float32", c, ENGINE_DTYPE_BF16, exact, 1e-5);
    c = llama_config();
    c.intermediate_size = 1536;
    c.quant = deepseek_config().quant;
    check_synthetic("llama, fp8", c, ENGINE_DTYPE_F8_E4M3, fast, 1e-1);
    c = deepseek_config();
    c.moe = {};
    check_synthetic("deepseek, dense", c, ENGINE_DTYPE_F8_E4M3, fast, 1e-1);
    c.quant.fp8 = false;
    check_synthetic("deepseek, dense, bf16", c, ENGINE_DTYPE_BF16, fast, 2e-2);
    /* every expert is taken, so that no rounding can turn into another choice */
    c = deepseek_config();
    c.moe.routed = c.moe.per_token = 6;
    check_synthetic("deepseek, all experts", c, ENGINE_DTYPE_F8_E4M3, fast, 1e-1);
    check_synthetic("deepseek, all, float32", c, ENGINE_DTYPE_F8_E4M3, exact, 1e-5);
    c.quant.fp8 = false;
    check_synthetic("deepseek, all, bf16", c, ENGINE_DTYPE_BF16, fast, 2e-2);
    c = deepseek_config();
    check_synthetic("deepseek", c, ENGINE_DTYPE_F8_E4M3, fast, 0.6);
    check_synthetic("deepseek, float32", c, ENGINE_DTYPE_F8_E4M3, exact, 1e-5);
    c.moe.shared = 0;
    check_synthetic("deepseek, no shared", c, ENGINE_DTYPE_F8_E4M3, fast, 0.6);
    c.moe.shared = 2;
    c.mla.q_lora_rank = 0;
    check_synthetic("deepseek, two shared", c, ENGINE_DTYPE_F8_E4M3, fast, 0.6);
}

static void check_golden(const std::string &folder, const char *name)
{
    std::string path = folder + "/" + name;
    engine_model *model = NULL;
    pv_error err = {};
    need(engine_model_open(&model, path.c_str(), ENGINE_MODEL_NO_TOKENIZER, &err), name, &err);
    subject s = {name, &model->weights, {}, ENGINE_PRECISION_F32, 1e-5};
    uint32_t length = std::min(40U, model->config.max_positions - STEPS);
    for (uint32_t i = 0; i < length; i++) {
        s.tokens.push_back((uint32_t)(pv_mix64(i + 100) % model->config.vocab_size));
    }
    check_subject(&s, {2, 4});
    engine_model_close(model);
}

static void check_goldens(const std::string &folder)
{
    std::vector<std::string> names;
    DIR *dir = opendir(folder.c_str());
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            names.push_back(e->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    report(!names.empty(), "golden models", (double)names.size());
    std::sort(names.begin(), names.end());
    for (const std::string &name : names) {
        check_golden(folder, name.c_str());
    }
}

/* ---- Failures ---- */

static void check_refusals(void)
{
    engine_config c = llama_config();
    engine_synthetic *model = NULL;
    pv_error err = {};
    need(engine_synthetic_open(&model, &c, ENGINE_DTYPE_BF16, 7, &err), "a model", &err);
    subject s = {"llama", engine_synthetic_weights(model), {}, ENGINE_PRECISION_AUTO, 0};

    const struct {
        std::vector<uint32_t> gpus;
        pv_status want;
    } cases[] = {
        {{0, 0, 0}, PV_E_UNSUPPORTED},
        {{0, 200}, PV_E_INVALID},
        {std::vector<uint32_t>(8, 0), PV_E_UNSUPPORTED},
    };

    for (const auto &one : cases) {
        engine_device *d = NULL;
        engine_backend_options o = options_of(&s, one.gpus);
        err = {};
        pv_status status = engine_backend_cuda()->open(&d, s.w, &o, &err);
        report(status == one.want, err.msg, (double)one.gpus.size());
    }
    engine_synthetic_close(model);
}

/* A rank that fails in the middle: nobody waits, and all calls fail the same way. */
static void check_death(void)
{
    engine_config c = llama_config();
    engine_synthetic *model = NULL;
    engine_device *d = NULL;
    pv_error err = {}, again = {};
    need(engine_synthetic_open(&model, &c, ENGINE_DTYPE_BF16, 7, &err), "a model", &err);
    subject s = {"llama", engine_synthetic_weights(model), {1, 2, 3}, ENGINE_PRECISION_AUTO, 0};
    engine_backend_options o = options_of(&s, {0, 0});
    const engine_backend *be = engine_backend_cuda();
    need(be->open(&d, s.w, &o, &err), "open", &err);
    (void)rows_of(d, &s, 0, 0, 3, false);
    cuda_team_fail(d->team, "GPU 1 was lost");
    uint32_t page = 0, row = 2;
    engine_batch_seq seq = {&page, 1, 0, 3};
    engine_batch batch = {s.tokens.data(), 3, &seq, 1, &row, 1};
    std::vector<float> logits(c.vocab_size);
    uint64_t began = pv_clock_ms();
    pv_status status = be->forward(d, &batch, logits.data(), &err);
    pv_status later = be->forward(d, &batch, logits.data(), &again);
    bool told = strstr(err.msg, "GPU 1 was lost") != NULL && strcmp(err.msg, again.msg) == 0;
    report(status == PV_E_DEVICE && later == PV_E_DEVICE && told, err.msg,
           (double)(pv_clock_ms() - began));
    be->close(d);
    engine_synthetic_close(model);
}

int main(int argc, char **argv)
{
    if (cudaGetDeviceCount(&gpus_there) != cudaSuccess || gpus_there == 0) {
        printf("skipped: no GPU answers\n");
        return 77;
    }
    const char *folder = NULL;
    for (int i = 1; i < argc; i++) {
        few = few || strcmp(argv[i], "--few") == 0;
        folder = argv[i][0] == '-' ? folder : argv[i];
    }
    pv_log_set([](void *, pv_log_level, const char *line) { printf("  log: %s\n", line); }, NULL,
               PV_LOG_ERROR);
    printf("%d GPUs\n", gpus_there);
    for (uint32_t ranks : {2, 4, 8}) {
        check_exchanges(std::vector<uint32_t>(ranks, 0));
    }
    if (!few) {
        check_nccl_alone();
    }
    if (!few && gpus_there >= 2) {
        check_exchanges({0, 1});
    }
    check_sums(2, 300, 1024); /* at once */
    check_sums(3, 7, 68);     /* at once */
    if (!few) {
        check_sums(4, 2048, 1024); /* by slices */
        check_sums(8, 1024, 516);  /* by slices */
        check_sums(3, 2048, 1028); /* in several pieces */
    }
    check_refusals();
    check_synthetics();
    if (folder != NULL) {
        check_goldens(folder);
    }
    check_death();
    report(pv_mem_live() == 0, "nothing is left behind", (double)pv_mem_live());
    printf(failures == 0 ? "all checks passed\n" : "%d checks FAILED\n", failures);
    return failures != 0;
}
