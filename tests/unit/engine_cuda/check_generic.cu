/* check_generic: the generic runner against float64, the CPU backend and transformers, and bit for bit against itself.
 *
 *     check_generic FOLDER [small|bench|large]     FOLDER: tests/golden/models. Needs a GPU of compute capability 8.0
 *
 * small: little enough for compute-sanitizer. bench: only the figures. large: the fast kernels against the generic ones
 * at the true dimensions (some layers), 20 GB of host memory. Prints a line a check; exit status 1 when one fails. A row's bits must not depend on its batch, on how its sequence was cut, or on which pages hold it. */
#include "check_common.cuh"
#include "engine_cuda_device.cuh"
#include "engine_cuda_generic.cuh"

#include "engine_backend.h"
#include "engine_synthetic.h"
#include "pv_mem.h"

#include <algorithm>
#include <dirent.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <vector>

extern "C" {
#include "cpu/engine_cpu_gate.h"
#include "cpu/engine_cpu_number.h"
}

static void require(pv_status status, const char *what, const pv_error *err)
{
    if (status != PV_OK) {
        printf("FAIL %s: %s\n", what, err->msg);
        exit(1);
    }
}

/* ||ours - theirs|| / ||theirs||; NaN counts as infinite. */
template <class A, class B> static double relative_error(const A *ours, const B *theirs, size_t n)
{
    double difference = 0;
    double norm = 0;
    for (size_t i = 0; i < n; i++) {
        double d = (double)ours[i] - (double)theirs[i];
        difference += d * d;
        norm += (double)theirs[i] * (double)theirs[i];
    }
    double e = sqrt(difference / norm);
    return e == e ? e : INFINITY;
}

/* ---- Products ---- */

static const size_t type_bytes[] = {4, 2, 2, 1};

static float number_of(uint32_t type, const uint8_t *p)
{
    uint16_t half;
    float f;
    switch (type) {
    case CUDA_GENERIC_F32:
        memcpy(&f, p, 4);
        return f;
    case CUDA_GENERIC_BF16:
        memcpy(&half, p, 2);
        return engine_cpu_from_bf16(half);
    case CUDA_GENERIC_F16:
        memcpy(&half, p, 2);
        return engine_cpu_from_f16(half);
    default:
        return engine_cpu_from_fp8(*p);
    }
}

static void random_number(uint32_t type, uint8_t *p)
{
    float f = random_unit();
    uint16_t half = engine_cpu_to_bf16(f);
    if (type == CUDA_GENERIC_F32) {
        memcpy(p, &f, 4);
    } else if (type == CUDA_GENERIC_E4M3) {
        *p = (uint8_t)random_word();
        *p = (*p & 127) == 127 ? 0 : *p;
    } else {
        if (type == CUDA_GENERIC_F16) { /* subnormal ones too */
            half = (uint16_t)(random_word() & 0xbbff);
        }
        memcpy(p, &half, 2);
    }
}

struct product_case {
    uint32_t type, n, k, block_rows, block_cols;
};

struct host_matrix {
    cuda_generic_matrix m; /* device */
    std::vector<uint8_t> data;
    std::vector<float> scale;

    double at(uint32_t r, uint32_t c) const
    {
        double v = number_of(m.type, &data[((size_t)r * m.cols + c) * type_bytes[m.type]]);
        return m.scale == NULL
                   ? v
                   : v * scale[(size_t)(r / m.block_rows) * m.scale_cols + c / m.block_cols];
    }
};

static host_matrix random_matrix(const product_case &c)
{
    host_matrix h;
    size_t size = type_bytes[c.type];
    h.data.resize((size_t)c.n * c.k * size);
    for (size_t i = 0; i < h.data.size(); i += size) {
        random_number(c.type, &h.data[i]);
    }
    h.m = {to_device(h.data), NULL, c.type, c.n, c.k, c.block_rows, c.block_cols, 0};
    if (c.type == CUDA_GENERIC_E4M3) {
        h.m.scale_cols = (c.k + c.block_cols - 1) / c.block_cols;
        h.scale.resize((size_t)(c.n + c.block_rows - 1) / c.block_rows * h.m.scale_cols);
        for (float &s : h.scale) {
            s = 0.01F * random_unit();
        }
        h.m.scale = to_device(h.scale);
    }
    return h;
}

/* Rows of different counts, on one x: against float64, and the same bits. */
static void check_product(const product_case &c)
{
    const uint32_t counts[] = {70, 1, 2, 4, 5, 16, 17, 33};
    const uint32_t most = counts[0];
    uint32_t stride = (c.k + 3) / 4 * 4 + 4;
    host_matrix w = random_matrix(c);
    std::vector<float> x((size_t)most * stride, 7.0F), bias(c.n), poison((size_t)most * c.n, NAN);
    for (float &v : bias) {
        v = random_unit();
    }
    for (float &v : x) {
        v = random_unit();
    }
    float *dx = to_device(x);
    float *db = to_device(bias);
    std::vector<uint32_t> one(1, most);
    uint32_t *active = to_device(one);
    std::vector<double> want((size_t)most * c.n);
    double size = 0; /* of what is added up, for errors relative to it */
    for (uint32_t r = 0; r < most; r++) {
        for (uint32_t n = 0; n < c.n; n++) {
            double sum = bias[n];
            for (uint32_t k = 0; k < c.k; k++) {
                sum += w.at(n, k) * x[(size_t)r * stride + k];
            }
            want[(size_t)r * c.n + n] = sum;
            size += sum * sum;
        }
    }
    std::vector<float> first;
    bool same = true;
    double error = 0;
    for (uint32_t rows : counts) {
        float *y = to_device(poison);
        cuda_generic_product p = {};
        p.jobs = 1;
        p.job[0].w = w.m;
        p.job[0].bias = db;
        p.job[0].y = y;
        p.job[0].y_stride = c.n;
        p.x = dx;
        p.x_stride = stride;
        p.x_divisor = 1;
        p.rows = rows;
        p.active = active;
        TRY(cuda_generic_product_run(&p, 0));
        std::vector<float> got = to_host(y, (size_t)rows * c.n);
        error = std::max(error, relative_error(got.data(), want.data(), got.size()));
        if (first.empty()) {
            first = got;
        }
        same = same && memcmp(got.data(), first.data(), got.size() * 4) == 0;
        TRY(cudaFree(y));
    }
    char name[128];
    snprintf(name, sizeof name, "product of type %u, %u x %u, blocks %u x %u%s", c.type, c.n, c.k,
             c.block_rows, c.block_cols, same ? "" : ": BITS DIFFER");
    report(same && error < 1e-6, name, error);
    TRY(cudaFree(dx));
    TRY(cudaFree(db));
    TRY(cudaFree(active));
    TRY(cudaFree((void *)w.m.data));
    TRY(cudaFree((void *)w.m.scale));
}

static void check_products(void)
{
    const product_case cases[] = {
        {CUDA_GENERIC_F32, 37, 256, 0, 0},       {CUDA_GENERIC_F32, 70, 1028, 0, 0},
        {CUDA_GENERIC_F32, 19, 131, 0, 0},       {CUDA_GENERIC_BF16, 130, 4, 0, 0},
        {CUDA_GENERIC_BF16, 65, 640, 0, 0},      {CUDA_GENERIC_BF16, 9, 30, 0, 0},
        {CUDA_GENERIC_F16, 33, 516, 0, 0},       {CUDA_GENERIC_F16, 33, 129, 0, 0},
        {CUDA_GENERIC_E4M3, 300, 384, 128, 128}, {CUDA_GENERIC_E4M3, 136, 260, 128, 128},
        {CUDA_GENERIC_E4M3, 100, 520, 96, 80},   {CUDA_GENERIC_E4M3, 100, 520, 33, 50},
        {CUDA_GENERIC_E4M3, 61, 133, 7, 11},     {CUDA_GENERIC_E4M3, 100, 528, 96, 80},
        {CUDA_GENERIC_F16, 33, 520, 0, 0},       {CUDA_GENERIC_BF16, 131, 72, 0, 0},
    };
    for (const product_case &c : cases) {
        check_product(c);
    }
}

/* ---- The router ---- */

static void check_gate(const engine_moe &moe, bool biased, const char *name)
{
    const uint32_t rows = 50;
    std::vector<float> logits((size_t)rows * moe.routed), bias(moe.routed);
    for (size_t i = 0; i < logits.size(); i++) {
        logits[i] = 3 * random_unit();
        if (i % 7 == 0 && i > 0) {
            logits[i] = logits[i - 1]; /* ties */
        }
        if (i / moe.routed == 3) {
            logits[i] = NAN;
        }
    }
    for (float &b : bias) {
        b = random_unit();
    }
    std::vector<uint32_t> words((size_t)rows * moe.per_token, 12345678), active(1, rows - 2);
    std::vector<float> zeros((size_t)rows * moe.per_token);
    cuda_generic_choices c = {to_device(words), to_device(zeros), to_device(words), NULL,
                              to_device(active)};
    TRY(cudaMalloc(&c.tiles, words.size() * sizeof *c.tiles));
    cuda_generic_gate g = {
        to_device(logits), moe.routed, biased ? to_device(bias) : NULL, moe, rows,
        to_device(active)};
    TRY(cuda_generic_gate_run(&g, &c, 0));
    std::vector<uint32_t> ids = to_host(c.ids, words.size());
    std::vector<uint32_t> order = to_host(c.order, words.size());
    std::vector<float> weights = to_host(c.weights, words.size());
    uint32_t tiles = to_host(c.tile_count, 1)[0];
    std::vector<cuda_generic_tile> tile = to_host(c.tiles, tiles);
    std::vector<float> scratch(2 * moe.routed + moe.groups + 1), want(moe.per_token);
    std::vector<uint32_t> want_ids(moe.per_token);
    size_t wrong = 0;
    double error = 0;
    for (uint32_t r = 0; r < active[0]; r++) {
        engine_cpu_gate(&moe, &logits[(size_t)r * moe.routed], biased ? bias.data() : NULL,
                        scratch.data(), want_ids.data(), want.data());
        for (uint32_t i = 0; i < moe.per_token; i++) {
            size_t at = (size_t)r * moe.per_token + i;
            wrong += ids[at] != want_ids[i];
            if (r != 3) {
                double e = fabs(weights[at] - want[i]) / want[i];
                error = e <= error ? error : e; /* NaN shows */
            }
        }
    }
    std::vector<int> seen(words.size());
    for (const cuda_generic_tile &t : tile) {
        for (uint32_t i = 0; i < t.count; i++) {
            uint32_t e = order[t.first + i];
            wrong += e >= active[0] * moe.per_token || ids[e] != t.expert || seen[e]++ != 0;
        }
    }
    for (uint32_t e = 0; e < active[0] * moe.per_token; e++) {
        wrong += seen[e] != 1;
    }
    wrong += tiles > cuda_generic_tiles_max(rows * moe.per_token, moe.routed);
    report(wrong == 0 && error < 1e-6, name, wrong == 0 ? error : (double)wrong);
}

static engine_moe moe_of(uint32_t routed, uint32_t per_token, uint32_t groups, uint32_t kept,
                         engine_scoring scoring, engine_topk topk)
{
    engine_moe m = {};
    m.routed = routed;
    m.per_token = per_token;
    m.groups = groups;
    m.groups_kept = kept;
    m.norm_topk = topk == ENGINE_TOPK_NOAUX;
    m.scale = 2.5;
    m.scoring = scoring;
    m.topk = topk;
    return m;
}

static void check_gates(void)
{
    check_gate(moe_of(256, 8, 8, 4, ENGINE_SCORING_SIGMOID, ENGINE_TOPK_NOAUX), true,
               "router 256, 8 groups, noaux");
    check_gate(moe_of(64, 6, 1, 1, ENGINE_SCORING_SOFTMAX, ENGINE_TOPK_GREEDY), false,
               "router 64, greedy softmax");
    check_gate(moe_of(160, 6, 8, 3, ENGINE_SCORING_SOFTMAX, ENGINE_TOPK_GROUP_LIMITED), false,
               "router 160, group limited");
    check_gate(moe_of(5, 5, 5, 2, ENGINE_SCORING_SIGMOID, ENGINE_TOPK_NOAUX), true,
               "router 5 of 5, groups of one");
    check_gate(moe_of(1000, 3, 1, 1, ENGINE_SCORING_SIGMOID, ENGINE_TOPK_NOAUX), true,
               "router 1000");
}

/* ---- Models ---- */

struct sequence { /* tokens, and the pages that hold them */
    std::vector<uint32_t> tokens;
    std::vector<uint32_t> pages;
    uint32_t done;
};

struct piece { /* the next rows of a sequence */
    sequence *seq;
    uint32_t rows;
};

static uint32_t page_count(size_t tokens)
{
    return (uint32_t)(tokens + ENGINE_PAGE_TOKENS - 1) / ENGINE_PAGE_TOKENS;
}

/* Runs the next rows of each; logits of all rows, one after the other. */
static std::vector<float> forward(const engine_backend *be, engine_device *device, uint32_t vocab,
                                  const std::vector<piece> &pieces)
{
    std::vector<uint32_t> tokens, wanted;
    std::vector<engine_batch_seq> seqs;
    for (const piece &p : pieces) {
        for (uint32_t i = 0; i < p.rows; i++) {
            wanted.push_back((uint32_t)tokens.size());
            tokens.push_back(p.seq->tokens[p.seq->done + i]);
        }
        engine_batch_seq s = {};
        s.pages = p.seq->pages.data();
        s.page_count = (uint32_t)p.seq->pages.size();
        s.start = p.seq->done;
        s.rows = p.rows;
        seqs.push_back(s);
        p.seq->done += p.rows;
    }
    std::vector<float> logits(tokens.size() * vocab, NAN);
    engine_batch b = {};
    b.tokens = tokens.data();
    b.rows = (uint32_t)tokens.size();
    b.seqs = seqs.data();
    b.seq_count = (uint32_t)seqs.size();
    b.logit_rows = wanted.data();
    b.logit_count = b.rows;
    pv_error err = {};
    require(be->forward(device, &b, logits.data(), &err), "forward", &err);
    return logits;
}

enum { POOL_PAGES = 160, ROWS_MAX = 256 };

struct pool { /* hands out pages in a scattered order */
    uint32_t next;

    std::vector<uint32_t> take(size_t tokens)
    {
        std::vector<uint32_t> pages;
        for (uint32_t n = page_count(tokens); n > 0; n--) {
            pages.push_back(next++ * 37 % POOL_PAGES);
        }
        return pages;
    }
};

struct subject {
    const engine_backend *be;
    engine_device *device;
    uint32_t vocab;
    const std::vector<uint32_t> *tokens;
    const std::vector<float> *want; /* logits of all rows, one chunk as large as can be */
    pool pages;
    std::string trouble;
};

/* Compares the rows [from, from + n) with what they are in the reference. */
static void compare(subject *t, const float *got, uint32_t from, uint32_t n, const char *what)
{
    for (uint32_t r = 0; r < n; r++) {
        const float *want = t->want->data() + (size_t)(from + r) * t->vocab;
        if (memcmp(got + (size_t)r * t->vocab, want, t->vocab * sizeof(float)) != 0) {
            char line[160];
            snprintf(line, sizeof line, " [%s: row %u differs by %.2e]", what, from + r,
                     relative_error(got + (size_t)r * t->vocab, want, t->vocab));
            t->trouble += line;
            return;
        }
    }
}

static sequence sequence_of(subject *t)
{
    return {*t->tokens, t->pages.take(t->tokens->size()), 0};
}

static sequence stranger(subject *t, uint32_t tokens)
{
    sequence s = {{}, t->pages.take(tokens), 0};
    for (uint32_t i = 0; i < tokens; i++) {
        s.tokens.push_back(random_word() % t->vocab);
    }
    return s;
}

/* Chunks of the given sizes, over and over. */
static void run_chunks(subject *t, std::vector<uint32_t> sizes, const char *what)
{
    sequence s = sequence_of(t);
    for (size_t i = 0; s.done < s.tokens.size(); i++) {
        uint32_t from = s.done;
        uint32_t n = std::min(sizes[i % sizes.size()], (uint32_t)s.tokens.size() - from);
        std::vector<float> got = forward(t->be, t->device, t->vocab, {{&s, n}});
        compare(t, got.data(), from, n, what);
    }
}

/* Among strangers: first in chunks, then all in decode. */
static void run_company(subject *t)
{
    sequence s = sequence_of(t);
    uint32_t total = (uint32_t)s.tokens.size();
    sequence a = stranger(t, 120), b = stranger(t, 64), c = stranger(t, 200);
    while (s.done < total - std::min(total / 2, 12U)) {
        uint32_t from = s.done;
        uint32_t n = std::min(total - std::min(total / 2, 12U) - from, 29U);
        std::vector<piece> pieces;
        uint32_t before = 0;
        if (a.done + 5 <= a.tokens.size()) {
            pieces.push_back({&a, 5});
            before += 5;
        }
        if (b.done < b.tokens.size()) {
            pieces.push_back({&b, 1});
            before += 1;
        }
        pieces.push_back({&s, n});
        if (c.done + 17 <= c.tokens.size()) {
            pieces.push_back({&c, 17});
        }
        std::vector<float> got = forward(t->be, t->device, t->vocab, pieces);
        compare(t, got.data() + (size_t)before * t->vocab, from, n, "company");
    }
    sequence d = stranger(t, 40), e = stranger(t, 40);
    while (s.done < total) {
        uint32_t from = s.done;
        std::vector<float> got = forward(t->be, t->device, t->vocab, {{&d, 1}, {&s, 1}, {&e, 1}});
        compare(t, got.data() + t->vocab, from, 1, "decode in company");
    }
}

/* A second sequence on the first one's full pages, the partial one copied. */
static void run_cached(subject *t)
{
    sequence s = sequence_of(t);
    uint32_t total = (uint32_t)s.tokens.size();
    uint32_t fork = total - std::min(total / 3, 20U);
    while (s.done < fork) {
        forward(t->be, t->device, t->vocab, {{&s, std::min(fork - s.done, (uint32_t)ROWS_MAX)}});
    }
    sequence f = sequence_of(t);
    for (uint32_t i = 0; i < fork / ENGINE_PAGE_TOKENS; i++) {
        f.pages[i] = s.pages[i];
    }
    if (fork % ENGINE_PAGE_TOKENS != 0) {
        uint32_t page = fork / ENGINE_PAGE_TOKENS;
        pv_error err = {};
        require(t->be->copy_page(t->device, f.pages[page], s.pages[page], fork % ENGINE_PAGE_TOKENS,
                                 &err),
                "copy_page", &err);
    }
    f.done = fork;
    std::vector<float> got =
        forward(t->be, t->device, t->vocab, {{&f, total - fork}, {&s, total - fork}});
    compare(t, got.data(), fork, total - fork, "cached");
    compare(t, got.data() + (size_t)(total - fork) * t->vocab, fork, total - fork, "beside cached");
}

static engine_backend_options options_of(engine_kv_type kv)
{
    engine_backend_options o = {};
    o.kv_pages = POOL_PAGES;
    o.max_rows = o.max_logit_rows = ROWS_MAX;
    o.precision = ENGINE_PRECISION_F32;
    o.kv_type = kv;
    o.unpinned = true;
    return o;
}

static std::vector<float> whole(const engine_backend *be, engine_device *device, uint32_t vocab,
                                const std::vector<uint32_t> &tokens)
{
    pool pages = {3};
    sequence s = {tokens, pages.take(tokens.size()), 0};
    std::vector<float> all;
    while (s.done < tokens.size()) {
        uint32_t n = std::min((uint32_t)tokens.size() - s.done, (uint32_t)ROWS_MAX);
        std::vector<float> got = forward(be, device, vocab, {{&s, n}});
        all.insert(all.end(), got.begin(), got.end());
    }
    return all;
}

/* ours against the cpu's float32 logits, and against themselves. `theirs`: other logits, with their bound. */
static void check_model(const char *name, const engine_weights *w,
                        const std::vector<uint32_t> &tokens, const float *theirs, double bound,
                        engine_kv_type kv, double cpu_bound)
{
    pv_error err = {};
    engine_backend_options o = options_of(kv);
    uint32_t vocab = w->config->vocab_size;
    engine_device *gpu = NULL, *cpu = NULL;
    require(engine_backend_cuda()->open(&gpu, w, &o, &err), name, &err);
    require(engine_backend_cpu()->open(&cpu, w, &o, &err), name, &err);
    std::vector<float> ours = whole(engine_backend_cuda(), gpu, vocab, tokens);
    std::vector<float> reference = whole(engine_backend_cpu(), cpu, vocab, tokens);
    double to_cpu = relative_error(ours.data(), reference.data(), ours.size());
    double to_theirs = theirs == NULL ? 0 : relative_error(ours.data(), theirs, ours.size());
    subject t = {engine_backend_cuda(), gpu, vocab, &tokens, &ours, {11}, ""};
    if (tokens.size() <= 128) {
        run_chunks(&t, {1}, "one by one");
    } else {
        run_chunks(&t, {255, 1, 1, 1, 1, 100}, "mixed");
    }
    run_chunks(&t, {7, 1, 30, 64, 3}, "chunks");
    run_company(&t);
    run_cached(&t);
    char line[1024];
    snprintf(line, sizeof line, "%-22s cpu %.1e, golden %.1e%s", name, to_cpu, to_theirs,
             t.trouble.c_str());
    bool ok = to_cpu < cpu_bound && to_theirs <= bound && t.trouble.empty();
    report(ok, line, to_cpu);
    if (to_cpu >= cpu_bound || !(to_theirs <= bound)) {
        for (size_t r = 0; r < tokens.size(); r += std::max<size_t>(1, tokens.size() / 12)) {
            printf("     row %zu: cpu %.2e\n", r,
                   relative_error(&ours[r * vocab], &reference[r * vocab], vocab));
        }
    }
    engine_backend_cuda()->close(gpu);
    engine_backend_cpu()->close(cpu);
}

static void check_golden(const std::string &folder, const char *name)
{
    std::string dir = folder + "/" + name;
    pv_error err = {};
    engine_config config = {};
    engine_safetensors *tensors = NULL;
    engine_weights weights = {};
    require(engine_config_open(&config, dir.c_str(), &err), name, &err);
    require(engine_safetensors_open(&tensors, dir.c_str(), &err), name, &err);
    require(engine_weights_resolve(&weights, &config, tensors, &err), name, &err);
    json_t *golden = json_load_file((dir + "/golden.json").c_str(), 0, NULL);
    json_t *prompt = json_object_get(golden, "prompt");
    std::vector<uint32_t> tokens;
    for (size_t i = 0; i < json_array_size(prompt); i++) {
        tokens.push_back((uint32_t)json_integer_value(json_array_get(prompt, i)));
    }
    json_decref(golden);
    std::vector<float> logits(tokens.size() * config.vocab_size, NAN);
    FILE *f = fopen((dir + "/logits.f32").c_str(), "rb");
    if (f == NULL || fread(logits.data(), sizeof(float), logits.size(), f) != logits.size()) {
        report(false, "golden logits are not there", 0);
    }
    if (f != NULL) {
        fclose(f);
    }
    bool exact = strstr(name, "bf16") == NULL && strstr(name, "fp8") == NULL;
    check_model(name, &weights, tokens, logits.data(), exact ? 2e-4 : 2e-2, ENGINE_KV_F32, 2e-5);
    engine_weights_release(&weights);
    engine_safetensors_close(tensors);
    engine_config_release(&config);
}

static void check_goldens(const char *folder, size_t most)
{
    std::vector<std::string> names;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;) {
        if (e->d_name[0] != '.') {
            names.push_back(e->d_name);
        }
    }
    if (dir != NULL) {
        closedir(dir);
    }
    std::sort(names.begin(), names.end());
    size_t step = most >= names.size() ? 1 : names.size() / most;
    for (size_t i = 0; i < names.size(); i += step) {
        check_golden(folder, names[i].c_str());
    }
    report(names.size() >= 20, "golden models", (double)names.size());
}

/* ---- Shapes that no golden model has ---- */

static engine_config llama_config(uint32_t hidden, uint32_t heads, uint32_t kv_heads, uint32_t dim)
{
    engine_config c = {};
    c.arch = ENGINE_ARCH_LLAMA;
    c.vocab_size = 301;
    c.hidden_size = hidden;
    c.layers = 2;
    c.heads = heads;
    c.kv_heads = kv_heads;
    c.head_dim = dim;
    c.intermediate_size = 2 * hidden + 6;
    c.max_positions = 2048;
    c.norm_eps = 1e-6;
    c.rope.kind = ENGINE_ROPE_PLAIN;
    c.rope.theta = 10000;
    c.rope.factor = 1;
    c.rope.original_positions = 2048;
    return c;
}

static engine_config deepseek_config(uint32_t hidden, uint32_t heads)
{
    engine_config c = llama_config(hidden, heads, heads, 48);
    c.arch = ENGINE_ARCH_DEEPSEEK;
    c.layers = 3;
    c.mla.q_lora_rank = 96;
    c.mla.kv_lora_rank = 160;
    c.mla.nope_dim = 32;
    c.mla.rope_dim = 16;
    c.mla.v_dim = 40;
    c.moe = moe_of(16, 4, 4, 2, ENGINE_SCORING_SIGMOID, ENGINE_TOPK_NOAUX);
    c.moe.shared = 1;
    c.moe.intermediate_size = 96;
    c.moe.first_dense = 1;
    c.moe.layer_freq = 1;
    return c;
}

static void check_synthetic(const char *name, const engine_config *c, engine_dtype dtype,
                            uint32_t tokens, engine_kv_type kv, double bound)
{
    pv_error err = {};
    engine_synthetic *m = NULL;
    require(engine_synthetic_open(&m, c, dtype, 5, &err), name, &err);
    std::vector<uint32_t> ids;
    for (uint32_t i = 0; i < tokens; i++) {
        ids.push_back(random_word() % c->vocab_size);
    }
    check_model(name, engine_synthetic_weights(m), ids, NULL, 0, kv, bound);
    engine_synthetic_close(m);
}

static void check_synthetics(bool small)
{
    uint32_t tokens = small ? 70 : 1100;
    engine_config c = llama_config(200, 10, 2, 20);
    c.attention_bias = true;
    check_synthetic("llama f16 gqa bias", &c, ENGINE_DTYPE_F16, tokens, ENGINE_KV_F32, 2e-5);
    if (small) {
        return;
    }
    c = llama_config(256, 40, 1, 128); /* more heads than a block takes */
    check_synthetic("llama bf16 mqa", &c, ENGINE_DTYPE_BF16, tokens, ENGINE_KV_F32, 2e-5);
    c = llama_config(250, 5, 5, 50); /* nothing is a multiple of 4 */
    check_synthetic("llama f32 odd", &c, ENGINE_DTYPE_F32, 300, ENGINE_KV_F32, 2e-5);
    c = llama_config(256, 4, 2, 64);
    check_synthetic("llama bf16, bf16 cache", &c, ENGINE_DTYPE_BF16, 600, ENGINE_KV_BF16, 1e-2);
    c = llama_config(256, 4, 2, 64);
    c.quant.fp8 = true;
    c.quant.block_rows = 48;
    c.quant.block_cols = 64;
    check_synthetic("llama fp8 48 x 64", &c, ENGINE_DTYPE_F8_E4M3, 300, ENGINE_KV_F32, 2e-5);
    c = deepseek_config(256, 20);
    check_synthetic("deepseek f32", &c, ENGINE_DTYPE_F32, tokens, ENGINE_KV_F32, 1e-4);
    c.quant = {true, 128, 128, false};
    check_synthetic("deepseek fp8 128 x 128", &c, ENGINE_DTYPE_F8_E4M3, 300, ENGINE_KV_F32, 1e-4);
    c.quant = {true, 33, 50, false};
    check_synthetic("deepseek fp8 33 x 50", &c, ENGINE_DTYPE_F8_E4M3, 200, ENGINE_KV_F32, 1e-4);
    c = deepseek_config(250, 3);
    c.mla.q_lora_rank = 0;
    c.mla.kv_lora_rank = 131;
    c.mla.nope_dim = 31;
    c.mla.rope_dim = 10;
    c.head_dim = 41;
    c.mla.v_dim = 27;
    c.moe.intermediate_size = 45;
    c.moe.shared = 2;
    c.moe.scoring = ENGINE_SCORING_SOFTMAX;
    c.moe.topk = ENGINE_TOPK_GROUP_LIMITED;
    c.moe.norm_topk = false;
    check_synthetic("deepseek f16 odd, V2 gate", &c, ENGINE_DTYPE_F16, 300, ENGINE_KV_F32, 1e-4);
    c.moe.topk = ENGINE_TOPK_GREEDY;
    c.moe.groups = 1;
    c.rope.kind = ENGINE_ROPE_YARN;
    c.rope.factor = 40;
    c.rope.original_positions = 64;
    c.rope.beta_fast = 32;
    c.rope.beta_slow = 1;
    c.rope.mscale = c.rope.mscale_all_dim = 0.707;
    c.rope.truncate = true;
    check_synthetic("deepseek bf16 odd, yarn", &c, ENGINE_DTYPE_BF16, 300, ENGINE_KV_F32, 1e-4);
}

/* ---- Figures ---- */

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static __global__ void read_kernel(const uint4 *p, size_t n, uint32_t *out)
{
    uint32_t x = 0;
    for (size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x; i < n;
         i += (size_t)gridDim.x * blockDim.x) {
        uint4 v = p[i];
        x ^= v.x ^ v.y ^ v.z ^ v.w;
    }
    if (x == 12345) {
        *out = x;
    }
}

static double read_rate(void) /* bytes/s */
{
    size_t bytes = (size_t)2 << 30;
    uint8_t *p = NULL;
    TRY(cudaMalloc(&p, bytes + 64));
    TRY(cudaMemset(p, 0, bytes));
    cudaEvent_t from, to;
    TRY(cudaEventCreate(&from));
    TRY(cudaEventCreate(&to));
    float best = 1e9F;
    for (int i = 0; i < 6; i++) {
        TRY(cudaEventRecord(from));
        read_kernel<<<132 * 8, 512>>>((const uint4 *)p, bytes / 16, (uint32_t *)(p + bytes));
        TRY(cudaEventRecord(to));
        TRY(cudaEventSynchronize(to));
        float ms = 0;
        TRY(cudaEventElapsedTime(&ms, from, to));
        best = std::min(best, ms);
    }
    TRY(cudaFree(p));
    return (double)bytes / best * 1e3;
}

/* A step of `seqs` sequences with `rows` rows each at position `start`; median of several, in milliseconds. Only the
 * last row's logits are wanted. */
static double step_ms(engine_device *device, const engine_config *c, uint32_t seqs, uint32_t rows,
                      uint32_t start)
{
    std::vector<uint32_t> tokens(seqs * rows), wanted;
    std::vector<std::vector<uint32_t>> pages(seqs);
    std::vector<engine_batch_seq> list(seqs);
    for (uint32_t s = 0; s < seqs; s++) {
        for (uint32_t i = 0; i < page_count(start + rows); i++) {
            pages[s].push_back((s * 5 + i) % POOL_PAGES);
        }
        list[s].pages = pages[s].data();
        list[s].page_count = (uint32_t)pages[s].size();
        list[s].start = start;
        list[s].rows = rows;
        wanted.push_back(s * rows + rows - 1);
    }
    std::vector<float> logits((size_t)seqs * c->vocab_size);
    engine_batch b = {};
    b.rows = seqs * rows;
    b.seqs = list.data();
    b.seq_count = seqs;
    b.logit_rows = wanted.data();
    b.logit_count = seqs;
    std::vector<double> times;
    for (int i = 0; i < 9; i++) {
        for (uint32_t &t : tokens) {
            t = random_word() % c->vocab_size;
        }
        b.tokens = tokens.data();
        pv_error err = {};
        double from = now_ms();
        require(engine_backend_cuda()->forward(device, &b, logits.data(), &err), "forward", &err);
        times.push_back(now_ms() - from);
    }
    std::sort(times.begin(), times.end());
    return times[times.size() / 2];
}

static void bench_model(const char *name, const engine_config *c, engine_dtype dtype,
                        double read_bytes)
{
    pv_error err = {};
    engine_synthetic *m = NULL;
    engine_device *d = NULL;
    require(engine_synthetic_shapes(&m, c, dtype, &err), name, &err);
    engine_backend_options o = options_of(ENGINE_KV_F32);
    o.max_rows = 512;
    uint64_t seed = 3;
    require(cuda_device_open(&d, engine_synthetic_weights(m), &o, &seed, &err), name, &err);
    engine_memory memory;
    engine_backend_cuda()->memory(d, &memory);
    const engine_plan *plan = &engine_synthetic_weights(m)->plan;
    printf("%s: %.2f GB of weights on the GPU (%.2f GB as stored)\n", name,
           (double)memory.weights_copied / 1e9, (double)plan->bytes_total / 1e9);

    struct {
        uint32_t seqs, rows, start;
    } const cases[] = {{1, 1, 10},   {1, 1, 2000}, {4, 1, 500}, {8, 1, 500},   {16, 1, 500},
                       {64, 1, 500}, {1, 128, 0},  {1, 512, 0}, {1, 512, 1500}};

    for (auto &k : cases) {
        double ms = step_ms(d, c, k.seqs, k.rows, k.start);
        double bytes = (double)memory.weights_copied;
        printf("  %2u sequences x %3u rows at %4u: %8.3f ms, %7.0f rows/s, all weights at %4.1f %% "
               "of %.0f GB/s\n",
               k.seqs, k.rows, k.start, ms, 1e3 * k.seqs * k.rows / ms,
               100 * bytes / ms * 1e3 / read_bytes, read_bytes / 1e9);
    }
    fflush(stdout);
    engine_backend_cuda()->close(d);
    engine_synthetic_close(m);
}

static void bench(void)
{
    double read = read_rate();
    engine_config c = llama_config(2048, 16, 16, 128);
    c.layers = 24;
    c.vocab_size = 32000;
    c.intermediate_size = 5632;
    bench_model("llama 1.3B bf16", &c, ENGINE_DTYPE_BF16, read);
    c = llama_config(4096, 32, 8, 128);
    c.layers = 8;
    c.vocab_size = 32000;
    c.intermediate_size = 14336;
    c.quant = {true, 128, 128, false};
    bench_model("llama 1.7B fp8", &c, ENGINE_DTYPE_F8_E4M3, read);
    c = deepseek_config(2048, 16);
    c.vocab_size = 102400;
    c.layers = 4;
    c.head_dim = 192;
    c.intermediate_size = 10944;
    c.mla = {0, 512, 128, 64, 128};
    c.moe = moe_of(64, 6, 1, 1, ENGINE_SCORING_SOFTMAX, ENGINE_TOPK_GREEDY);
    c.moe.shared = 2;
    c.moe.intermediate_size = 1408;
    c.moe.first_dense = 1;
    c.moe.layer_freq = 1;
    bench_model("deepseek V2-Lite bf16, 4 layers", &c, ENGINE_DTYPE_BF16, read);
}

/* ---- The fast kernels at the sizes that they are for ---- */

/* Rows' errors of the fast kernels' logits. e4m3 activations alone make them several percent, and more where scores of
 * experts are so near that rounding chooses others (random weights: most rows); kernels that are wrong come near to 1.4,
 * which is what logits that have nothing to do with each other give. */
static void check_large(const char *name, const engine_config *c, engine_dtype dtype, double bound)
{
    pv_error err = {};
    engine_synthetic *m = NULL;
    double from = now_ms();
    require(engine_synthetic_open(&m, c, dtype, 9, &err), name, &err);
    std::vector<uint32_t> tokens;
    for (uint32_t i = 0; i < 300; i++) {
        tokens.push_back(random_word() % c->vocab_size);
    }
    std::vector<float> logits[2];
    double filled = now_ms();
    for (int exact = 0; exact < 2; exact++) {
        engine_device *d = NULL;
        engine_backend_options o = options_of(ENGINE_KV_AUTO);
        o.precision = exact ? ENGINE_PRECISION_F32 : ENGINE_PRECISION_AUTO;
        require(engine_backend_cuda()->open(&d, engine_synthetic_weights(m), &o, &err), name, &err);
        pool pages = {3};
        sequence s = {tokens, pages.take(tokens.size()), 0};
        for (uint32_t n : {200U, 90U, 1U, 1U, 1U, 1U, 1U, 1U, 1U, 1U, 1U, 1U}) {
            std::vector<float> got = forward(engine_backend_cuda(), d, c->vocab_size, {{&s, n}});
            logits[exact].insert(logits[exact].end(), got.begin(), got.end());
        }
        engine_backend_cuda()->close(d);
    }
    engine_synthetic_close(m);
    std::vector<double> errors, decode;
    for (size_t r = 0; r < tokens.size(); r++) {
        size_t at = r * c->vocab_size;
        double e = relative_error(&logits[0][at], &logits[1][at], c->vocab_size);
        errors.push_back(e);
        if (r >= 290) {
            decode.push_back(e);
        }
    }
    std::sort(errors.begin(), errors.end());
    std::sort(decode.begin(), decode.end());
    char line[256];
    snprintf(line, sizeof line,
             "%s, fast against generic: rows' errors %.2e median, %.2e nine tenths, %.2e greatest; "
             "decode %.2e median, %.2e greatest; %.1f s to fill, %.1f s to run",
             name, errors[errors.size() / 2], errors[errors.size() * 9 / 10], errors.back(),
             decode[decode.size() / 2], decode.back(), (filled - from) / 1e3,
             (now_ms() - filled) / 1e3);
    report(errors[errors.size() / 2] < bound && decode[decode.size() / 2] < bound, line,
           errors[errors.size() / 2]);
}

static void check_larges(void)
{
    engine_config c = llama_config(4096, 32, 32, 128);
    c.vocab_size = 32000;
    c.intermediate_size = 11008;
    check_large("7B, 2 layers", &c, ENGINE_DTYPE_BF16, 1e-2);
    c = deepseek_config(7168, 128);
    c.vocab_size = 16000;
    c.layers = 2;
    c.head_dim = 192;
    c.intermediate_size = 18432;
    c.mla = {1536, 512, 128, 64, 128};
    c.quant = {true, 128, 128, false};
    c.moe = moe_of(256, 8, 8, 4, ENGINE_SCORING_SIGMOID, ENGINE_TOPK_NOAUX);
    c.moe.shared = 1;
    c.moe.intermediate_size = 2048;
    c.moe.first_dense = 1;
    c.moe.layer_freq = 1;
    c.rope.kind = ENGINE_ROPE_YARN;
    c.rope.factor = 40;
    c.rope.original_positions = 4096;
    c.rope.beta_fast = 32;
    c.rope.beta_slow = 1;
    c.rope.mscale = c.rope.mscale_all_dim = 1;
    c.rope.truncate = true;
    check_large("671B, 2 layers", &c, ENGINE_DTYPE_F8_E4M3, 0.4);
}

#ifdef CHECK_WITHOUT_FAST /* to be linked before there is a fast runner */
static bool never(const cuda_model *, char why[160])
{
    snprintf(why, 160, "not linked");
    return false;
}

const cuda_runner cuda_runner_fast = {"none", never, NULL, NULL, NULL, NULL,
                                      NULL,   NULL,  NULL, NULL, false};
#endif

int main(int argc, char **argv)
{
    if (argc < 2) {
        printf("usage: check_generic FOLDER [small|bench|large]\n");
        return 2;
    }
    bool small = argc > 2 && strcmp(argv[2], "small") == 0;
    bool only_bench = argc > 2 && strcmp(argv[2], "bench") == 0;
    if (argc > 2 && strcmp(argv[2], "large") == 0) {
        check_larges();
        printf("%d failures\n", failures);
        return failures != 0;
    }
    if (!only_bench) {
        check_products();
        check_gates();
        check_synthetics(small);
        check_goldens(argv[1], small ? 4 : 1000);
    }
    if (!small) {
        bench();
    }
    printf("%d failures\n", failures);
    return failures != 0;
}
