/* check_router: logits against float64, choices against engine_cpu_gate.c, places and gathered rows against what they
 * are defined to be.
 *
 *     check_router [seed]        needs a Hopper GPU; prints a line a check; exit status 1 when one fails */
#include "check_common.cuh"
#include "engine_cuda_router.cuh"

extern "C" {
#include "cpu/engine_cpu_gate.h"
}

#include <cuda_bf16.h>

enum { ROWS_MAX = 2100 };

struct model {
    const char *name;
    uint32_t cols;
    engine_moe moe;
};

static engine_moe moe_of(uint32_t routed, uint32_t per_token, uint32_t groups, uint32_t kept,
                         bool norm, double scale, engine_scoring scoring, engine_topk topk)
{
    engine_moe m = {};
    m.routed = routed;
    m.per_token = per_token;
    m.groups = groups;
    m.groups_kept = kept;
    m.norm_topk = norm;
    m.scale = scale;
    m.scoring = scoring;
    m.topk = topk;
    return m;
}

struct fixture {
    const model *m;
    cuda_routing_shape shape;
    std::vector<uint16_t> w;
    std::vector<float> bias, h, factor, norm;
    device_array<uint16_t> *d_w;
    device_array<float> *d_bias, *d_h, *d_factor, *d_norm;
    device_array<uint8_t> *d_routing;
    device_array<uint32_t> *d_active;
};

static fixture open_fixture(const model *m, bool shared)
{
    fixture f = {};
    f.m = m;
    f.shape.moe = m->moe;
    f.shape.cols = m->cols;
    f.shape.rows_max = ROWS_MAX;
    f.shape.shared = shared;
    uint32_t routed = m->moe.routed;
    for (size_t i = 0; i < (size_t)routed * m->cols; i++) {
        __nv_bfloat16 b = __float2bfloat16(0.03f * random_normal());
        uint16_t u;
        memcpy(&u, &b, 2);
        f.w.push_back(u);
    }
    f.bias = random_normals(routed, 0.1f);
    f.h = random_normals((size_t)ROWS_MAX * m->cols, 3);
    f.norm = random_normals(m->cols, 0.3f);
    for (float &x : f.norm) {
        x += 1;
    }
    for (uint32_t r = 0; r < ROWS_MAX; r++) {
        f.factor.push_back(0.2f + 0.3f * (random_word() % 1000) / 1000.0f);
    }
    f.d_w = new device_array<uint16_t>(f.w);
    f.d_bias = new device_array<float>(f.bias);
    f.d_h = new device_array<float>(f.h);
    f.d_factor = new device_array<float>(f.factor);
    f.d_norm = new device_array<float>(f.norm);
    f.d_routing = new device_array<uint8_t>(cuda_routing_bytes(&f.shape));
    f.d_active = new device_array<uint32_t>(1);
    return f;
}

static void close_fixture(fixture *f)
{
    delete f->d_w;
    delete f->d_bias;
    delete f->d_h;
    delete f->d_factor;
    delete f->d_norm;
    delete f->d_routing;
    delete f->d_active;
}

static cuda_router router_of(const fixture &f, uint32_t rows, uint32_t active)
{
    cuda_router op = {};
    op.shape = f.shape;
    op.out = cuda_routing_at(&f.shape, f.d_routing->at);
    op.w = f.d_w->at;
    op.bias = f.d_bias->at;
    op.h = f.d_h->at;
    op.factor = f.d_factor->at;
    op.norm = f.d_norm->at;
    op.active = f.d_active->at;
    op.rows = rows;
    TRY(cudaMemcpy(f.d_active->at, &active, 4, cudaMemcpyHostToDevice));
    return op;
}

static uint32_t runs_of(uint32_t cols)
{
    return (cols / 128 + 6) / 7;
}

/* The logits as the choice sees them. */
static std::vector<float> logits_of(const cuda_router &op)
{
    size_t n = (size_t)op.rows * op.shape.moe.routed;
    std::vector<float> parts = to_host(op.out.partial, runs_of(op.shape.cols) * n);
    std::vector<float> sum(parts.begin(), parts.begin() + (long)n);
    for (uint32_t r = 1; r < runs_of(op.shape.cols); r++) {
        for (size_t i = 0; i < n; i++) {
            sum[i] += parts[r * n + i];
        }
    }
    return sum;
}

static bool same(const std::vector<float> &a, const std::vector<float> &b)
{
    return a.size() == b.size() && memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

static void check_logits(fixture &f, uint32_t rows)
{
    char what[160];
    cuda_router op = router_of(f, rows, rows);
    uint32_t routed = f.m->moe.routed;
    f.d_routing->fill(0xFF);
    TRY(cuda_router_logits(&op, false, 0));
    std::vector<float> narrow = logits_of(op);
    f.d_routing->fill(0xFF);
    TRY(cuda_router_logits(&op, true, 0));
    std::vector<float> wide = logits_of(op);
    (void)snprintf(what, sizeof what, "%s: %u rows: narrow and wide, the same bits", f.m->name,
                   rows);
    report(same(narrow, wide), what, 0);

    double error = 0;
    double size = 0;
    double greatest = 0;
    for (uint32_t r = 0; r < rows; r += rows / 7 + 1) {
        for (uint32_t e = 0; e < routed; e++) {
            double sum = 0;
            for (uint32_t k = 0; k < f.m->cols; k++) {
                float x = f.h[(size_t)r * f.m->cols + k] * f.factor[r];
                x *= f.norm[k];
                sum += (double)x * (double)bf16_value(f.w[(size_t)e * f.m->cols + k]);
            }
            double d = (double)wide[(size_t)r * routed + e] - sum;
            error += d * d;
            size += sum * sum;
            greatest = fabs(d) <= greatest ? greatest : fabs(d);
        }
    }
    error = sqrt(error / size);
    (void)snprintf(what, sizeof what, "  against float64 (greatest difference %.2g)", greatest);
    report(error < 1e-6, what, error);

    uint32_t row = random_word() % rows; /* a row alone */
    cuda_router one = op;
    one.rows = 1;
    one.h = op.h + (size_t)row * f.m->cols;
    one.factor = op.factor + row;
    TRY(cuda_router_logits(&one, false, 0));
    std::vector<float> alone = logits_of(one);
    report(memcmp(alone.data(), &wide[(size_t)row * routed], routed * sizeof(float)) == 0,
           "  a row alone, the same bits", row);
}

/* Everything that follows from the ids. */
static uint32_t wrong_places(const fixture &f, const cuda_router &op, uint32_t active,
                             const std::vector<uint32_t> &ids)
{
    const engine_moe &moe = f.m->moe;
    const cuda_routing &r = op.out;
    uint32_t places = r.per_token + r.shared;
    std::vector<uint32_t> begin = to_host(r.begin, r.groups + 1);
    std::vector<uint32_t> count = to_host(r.count, r.groups);
    std::vector<uint32_t> place = to_host(r.place, (size_t)op.rows * places);
    std::vector<uint32_t> source = to_host(r.source, cuda_routing_capacity(&f.shape, ROWS_MAX));
    uint32_t wrong = 0;
    uint32_t at = 0;
    for (uint32_t g = 0; g < r.groups; g++) {
        wrong += begin[g] != at;
        uint32_t n = 0;
        for (uint32_t row = 0; row < active; row++) {
            for (uint32_t i = 0; i < places; i++) {
                bool in =
                    i < moe.per_token ? ids[(size_t)row * moe.per_token + i] == g : g == moe.routed;
                if (in) {
                    wrong += place[(size_t)row * places + i] != at + n;
                    wrong += source[at + n] != row;
                    n++;
                }
            }
        }
        wrong += count[g] != n;
        for (; n % 8 != 0; n++) {
            wrong += source[at + n] != UINT32_MAX;
        }
        at += n;
    }
    wrong += begin[r.groups] != at;
    wrong += at > cuda_routing_capacity(&f.shape, op.rows);
    return wrong;
}

static void check_choice(fixture &f, uint32_t rows, uint32_t active, bool fused, uint32_t kind)
{
    const engine_moe &moe = f.m->moe;
    cuda_router op = router_of(f, rows, active);
    f.d_routing->fill(0xFF);
    uint32_t runs = runs_of(f.m->cols);
    std::vector<float> parts((size_t)runs * rows * moe.routed, 0);
    for (size_t i = 0; i < (size_t)rows * moe.routed; i++) {
        float x = random_normal();
        float values[4] = {x, rintf(2 * x), 0, random_word() % 8 == 0 ? nanf("") : x};
        parts[i] = values[kind];
        parts[(size_t)(runs - 1) * rows * moe.routed + i] += kind == 0 ? 0.3f * x : 0;
    }
    if (kind == 1) { /* ties in the biased scores too */
        std::vector<float> flat(moe.routed, 0.25f);
        TRY(cudaMemcpy(f.d_bias->at, flat.data(), moe.routed * 4, cudaMemcpyHostToDevice));
    }
    TRY(cudaMemcpy(op.out.partial, parts.data(), parts.size() * 4, cudaMemcpyHostToDevice));
    TRY(cuda_router_choose(&op, fused, 0));
    std::vector<float> logits = logits_of(op);
    std::vector<float> bias = f.d_bias->get();
    std::vector<uint32_t> ids = to_host(op.out.ids, (size_t)rows * moe.per_token);
    std::vector<float> weights = to_host(op.out.weights, (size_t)rows * moe.per_token);
    std::vector<float> scratch(2 * moe.routed + moe.groups);
    std::vector<uint32_t> want(moe.per_token);
    std::vector<float> want_weights(moe.per_token);
    uint32_t wrong = 0;
    double worst = 0;
    for (uint32_t r = 0; r < rows; r++) {
        const uint32_t *got = &ids[(size_t)r * moe.per_token];
        if (r >= active) {
            wrong += got[0] != UINT32_MAX; /* untouched */
            continue;
        }
        engine_cpu_gate(&moe, &logits[(size_t)r * moe.routed], bias.data(), scratch.data(),
                        want.data(), want_weights.data());
        if (memcmp(want.data(), got, moe.per_token * 4) != 0) {
            wrong++;
            continue;
        }
        for (uint32_t i = 0; i < moe.per_token; i++) {
            double a = want_weights[i];
            double b = weights[(size_t)r * moe.per_token + i];
            double error = a == b || (isnan(a) && isnan(b)) ? 0 : fabs(a - b) / fabs(a);
            worst = error <= worst ? worst : error;
        }
    }
    char what[160];
    (void)snprintf(what, sizeof what, "%s: %u of %u rows, kind %u%s: choices that differ",
                   f.m->name, active, rows, kind, fused ? ", fused" : "");
    report(wrong == 0, what, wrong);
    report(worst < 1.3e-7, "  weights", worst);
    uint32_t misplaced = wrong_places(f, op, active, ids);
    report(misplaced == 0, "  places", misplaced);
    TRY(cudaMemcpy(f.d_bias->at, f.bias.data(), moe.routed * 4, cudaMemcpyHostToDevice));
}

static cuda_rows rows_at(cuda_type type, uint32_t capacity, uint32_t cols, uint8_t *data,
                         float *scale)
{
    cuda_rows m = {};
    m.type = type;
    m.capacity = capacity;
    m.cols = cols;
    m.k_blocks = cols / cuda_block_numbers(type);
    m.data = data;
    m.scale = type == CUDA_E4M3 ? scale : NULL;
    return m;
}

/* The whole way, from h to gathered rows, in one chain of launches. */
static void check_gather(fixture &f, uint32_t rows, uint32_t active, cuda_type type)
{
    uint32_t capacity_in = (rows + 127) / 128 * 128;
    uint32_t capacity_out = (cuda_routing_capacity(&f.shape, rows) + 127) / 128 * 128;
    uint32_t kbs = f.m->cols / cuda_block_numbers(type);
    std::vector<uint8_t> data((size_t)kbs * capacity_in * 128);
    for (uint8_t &b : data) {
        b = (uint8_t)random_word();
    }
    device_array<uint8_t> x(data);
    device_array<float> x_scale(random_normals((size_t)kbs * capacity_in, 1));
    device_array<uint8_t> out((size_t)kbs * capacity_out * 128);
    device_array<float> out_scale((size_t)kbs * capacity_out);
    out.fill(0xA5);
    out_scale.fill(0xA5);
    cuda_router op = router_of(f, rows, active);
    f.d_routing->fill(0xFF);
    cuda_gather gather = {};
    gather.shape = f.shape;
    gather.routing = op.out;
    gather.rows = rows;
    gather.x = rows_at(type, capacity_in, f.m->cols, x.at, x_scale.at);
    gather.out = rows_at(type, capacity_out, f.m->cols, out.at, out_scale.at);
    TRY(cuda_router_run(&op, 0));
    TRY(cuda_gather_run(&gather, 0));
    std::vector<uint8_t> got = out.get();
    std::vector<float> got_scale = out_scale.get();
    std::vector<float> scale = x_scale.get();
    std::vector<uint32_t> source = to_host(op.out.source, capacity_out);
    std::vector<uint32_t> begin = to_host(op.out.begin, op.out.groups + 1);
    uint32_t end = begin[op.out.groups];
    size_t wrong = 0;
    uint32_t seen = 0;
    for (uint32_t p = 0; p < capacity_out; p++) {
        bool filled = p < end && source[p] != UINT32_MAX;
        seen += filled;
        for (uint32_t kb = 0; kb < kbs; kb++) {
            uint32_t poison = 0xA5A5A5A5u;
            for (uint32_t c = 0; c < 8; c++) {
                const uint8_t *a = &got[cuda_rows_offset(gather.out, p, kb, c)];
                uint32_t expected[4] = {poison, poison, poison, poison};
                if (filled) {
                    memcpy(expected, &data[cuda_rows_offset(gather.x, source[p], kb, c)], 16);
                }
                wrong += memcmp(a, expected, 16) != 0;
            }
            if (type == CUDA_E4M3) {
                const float *s = &got_scale[(size_t)kb * capacity_out + p];
                const void *expected =
                    filled ? (const void *)&scale[(size_t)kb * capacity_in + source[p]]
                           : (const void *)&poison;
                wrong += memcmp(s, expected, 4) != 0;
            }
        }
    }
    wrong += seen != active * (op.out.per_token + op.out.shared);
    char what[160];
    (void)snprintf(what, sizeof what, "%s: %u of %u rows gathered, %s", f.m->name, active, rows,
                   type == CUDA_E4M3 ? "e4m3" : "bf16");
    report(wrong == 0, what, (double)wrong);
}

static void check_model(const model *m, bool shared)
{
    fixture f = open_fixture(m, shared);
    if (!cuda_routing_supported(&f.shape)) {
        report(false, m->name, 0);
    }
    const uint32_t rows[] = {1, 8, 9, 65, 257, 1024};
    for (uint32_t n : rows) {
        check_logits(f, n);
    }
    const uint32_t batches[][2] = {{1, 1},     {4, 4},       {4, 3},      {9, 9},
                                   {130, 100}, {1024, 1024}, {2100, 2077}};
    for (const uint32_t *b : batches) {
        for (uint32_t kind = 0; kind < 4; kind++) {
            check_choice(f, b[0], b[1], false, kind);
            if (b[0] <= 4) {
                check_choice(f, b[0], b[1], true, kind);
            }
        }
    }
    check_gather(f, 1, 1, CUDA_E4M3);
    check_gather(f, 3, 2, CUDA_BF16);
    check_gather(f, 70, 66, CUDA_E4M3);
    check_gather(f, 1024, 1000, CUDA_E4M3);
    close_fixture(&f);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        random_state += strtoull(argv[1], NULL, 10) * 0x9E3779B97F4A7C15ull;
    }
    TRY(cuda_router_prepare());
    const model models[] = {
        {"v3", 7168, moe_of(256, 8, 8, 4, true, 2.5, ENGINE_SCORING_SIGMOID, ENGINE_TOPK_NOAUX)},
        {"v2-lite", 2048,
         moe_of(64, 6, 1, 1, false, 1, ENGINE_SCORING_SOFTMAX, ENGINE_TOPK_GREEDY)},
        {"v2", 5120,
         moe_of(160, 6, 8, 3, false, 16, ENGINE_SCORING_SOFTMAX, ENGINE_TOPK_GROUP_LIMITED)},
        {"odd", 256, moe_of(12, 3, 4, 2, true, 1.5, ENGINE_SCORING_SIGMOID, ENGINE_TOPK_NOAUX)},
    };
    for (const model &m : models) {
        check_model(&m, m.moe.routed != 64);
    }
    printf("%s\n", failures == 0 ? "all passed" : "FAILED");
    return failures != 0;
}
