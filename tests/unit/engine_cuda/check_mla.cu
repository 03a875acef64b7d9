/* Checks latent attention on a GPU against float64 on the host: errors on fresh random inputs, and the promise that a
 * row's bits depend on nothing but the row. Prints a line for each check; exits with 1 when one fails. With an argument:
 * a few small cases, for compute-sanitizer. */
#include "check_common.cuh"
#include "engine_cuda_mla.cuh"

#include <algorithm>
#include <functional>
#include <math.h>
#include <random>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <thread>
#include <vector>

static uint32_t g_blocks;

static void parallel(size_t count, const std::function<void(size_t)> &body)
{
    size_t threads = std::max(1u, std::thread::hardware_concurrency());
    std::vector<std::thread> pool;
    for (size_t t = 0; t < threads; t++) {
        pool.emplace_back([=, &body] {
            for (size_t i = t; i < count; i += threads) {
                body(i);
            }
        });
    }
    for (std::thread &t : pool) {
        t.join();
    }
}

static std::vector<uint16_t> random_bf16(size_t count, float spread, uint64_t seed)
{
    std::vector<uint16_t> out(count);
    parallel(64, [&](size_t part) {
        std::mt19937_64 random(seed * 64 + part);
        std::normal_distribution<float> normal(0, spread);
        for (size_t i = part * count / 64; i < (part + 1) * count / 64; i++) {
            out[i] = bf16_bits(normal(random));
        }
    });
    return out;
}

/* ---- Attention ---- */

struct attention_case {
    uint32_t heads;
    float scale;
    std::vector<uint32_t> length;
    std::vector<uint32_t> sequence;
    uint32_t stride;             /* of the page table */
    std::vector<uint32_t> pages; /* [sequence][stride] */
    std::vector<uint8_t> cache;  /* in the kernel's layout */
    std::vector<uint8_t> queries;
    std::vector<std::vector<float>> plain; /* of each sequence: [token][576] */
    uint8_t *d_cache;
    uint8_t *d_queries;
    uint32_t *d_pages;
};

static float cached(const attention_case &c, uint32_t sequence, uint32_t token, uint32_t column)
{
    size_t page = c.pages[(size_t)sequence * c.stride + token / 64];
    uint16_t b;
    memcpy(&b, &c.cache[page * CUDA_MLA_PAGE_BYTES + cuda_mla_cache_offset(token % 64, column)], 2);
    return bf16_value(b);
}

static float query(const attention_case &c, uint32_t row, uint32_t head, uint32_t column)
{
    uint16_t b;
    memcpy(&b, &c.queries[cuda_mla_query_offset(row, head, c.heads, column)], 2);
    return bf16_value(b);
}

/* Every row has a sequence of its own, except that odd rows share the one before with probability 1/2. */
static attention_case make_case(uint32_t heads, const std::vector<uint32_t> &length, uint64_t seed)
{
    attention_case c;
    c.heads = heads;
    c.scale = 0.1352337788608801F;
    c.length = length;
    std::mt19937_64 random(seed);
    c.stride = 0;
    uint32_t sequences = 0;
    for (size_t i = 0; i < length.size(); i++) {
        bool share = i % 2 == 1 && random() % 2 == 0;
        c.sequence.push_back(share ? c.sequence.back() : sequences++);
        c.stride = std::max(c.stride, (length[i] + 63) / 64);
    }
    std::vector<uint32_t> need(sequences, 0);
    for (size_t i = 0; i < length.size(); i++) {
        need[c.sequence[i]] = std::max(need[c.sequence[i]], (length[i] + 63) / 64);
    }
    uint32_t total = 3;
    for (uint32_t n : need) {
        total += n;
    }
    std::vector<uint32_t> order(total);
    for (uint32_t i = 0; i < total; i++) {
        order[i] = i;
    }
    std::shuffle(order.begin(), order.end(), random);
    c.pages.assign((size_t)sequences * c.stride, 0xFFFFFFFFu);
    uint32_t next = 0;
    for (uint32_t s = 0; s < sequences; s++) {
        for (uint32_t p = 0; p < need[s]; p++) {
            c.pages[(size_t)s * c.stride + p] = order[next++];
        }
    }
    std::vector<uint16_t> k = random_bf16((size_t)total * CUDA_MLA_PAGE_BYTES / 2, 1, seed + 1);
    c.cache.resize(k.size() * 2);
    memcpy(c.cache.data(), k.data(), c.cache.size());
    size_t bytes = cuda_mla_query_offset((uint32_t)length.size(), 0, heads, 0);
    std::vector<uint16_t> q = random_bf16(bytes / 2, 1, seed + 2);
    c.queries.resize(bytes);
    memcpy(c.queries.data(), q.data(), bytes);
    c.plain.resize(sequences);
    for (uint32_t s = 0; s < sequences; s++) {
        c.plain[s].resize((size_t)need[s] * 64 * CUDA_MLA_WIDTH);
        parallel(need[s] * 64, [&](size_t token) {
            for (uint32_t k = 0; k < CUDA_MLA_WIDTH; k++) {
                c.plain[s][token * CUDA_MLA_WIDTH + k] = cached(c, s, (uint32_t)token, k);
            }
        });
    }
    c.d_cache = to_device(c.cache);
    c.d_queries = to_device(c.queries);
    c.d_pages = to_device(c.pages);
    return c;
}

static void free_case(const attention_case &c)
{
    TRY(cudaFree(c.d_cache));
    TRY(cudaFree(c.d_queries));
    TRY(cudaFree(c.d_pages));
}

static void *g_scratch;

/* piece 0: the plan that the engine would use. */
static std::vector<uint16_t> run_case(const attention_case &c, uint32_t piece, uint32_t blocks,
                                      uint32_t *slots = NULL)
{
    uint32_t rows = (uint32_t)c.length.size();
    std::vector<uint8_t> plan(cuda_mla_plan_bytes(rows, c.heads));
    uint32_t n = piece == 0 ? cuda_mla_plan(plan.data(), c.sequence.data(), c.length.data(), rows,
                                            c.heads, blocks)
                            : cuda_mla_plan_pieces(plan.data(), c.sequence.data(), c.length.data(),
                                                   rows, c.heads, blocks, piece);
    if (slots != NULL) {
        *slots = n;
    }
    uint8_t *d_plan = to_device(plan);
    std::vector<uint16_t> out((size_t)rows * c.heads * CUDA_MLA_LATENT);
    __nv_bfloat16 *d_out;
    TRY(cudaMalloc(&d_out, out.size() * 2));
    TRY(cudaMemset(d_out, 0xFF, out.size() * 2));
    cuda_mla_attend a = {};
    a.queries = c.d_queries;
    a.cache = c.d_cache;
    a.pages = c.d_pages;
    a.page_stride = c.stride;
    a.heads = c.heads;
    a.blocks = blocks;
    a.scale = c.scale;
    a.plan = d_plan;
    a.scratch = g_scratch;
    a.out = d_out;
    TRY(cuda_mla_attend_run(&a, 0));
    TRY(cudaDeviceSynchronize());
    TRY(cudaMemcpy(out.data(), d_out, out.size() * 2, cudaMemcpyDeviceToHost));
    TRY(cudaFree(d_out));
    TRY(cudaFree(d_plan));
    return out;
}

static std::vector<double> reference(const attention_case &c, uint32_t row, uint32_t head)
{
    uint32_t n = c.length[row];
    const float *keys = c.plain[c.sequence[row]].data();
    double q[CUDA_MLA_WIDTH];
    for (uint32_t k = 0; k < CUDA_MLA_WIDTH; k++) {
        q[k] = query(c, row, head, k);
    }
    std::vector<double> p(n);
    double most = -INFINITY;
    for (uint32_t t = 0; t < n; t++) {
        double part[8] = {};
        for (uint32_t k = 0; k < CUDA_MLA_WIDTH; k++) {
            part[k % 8] += q[k] * keys[(size_t)t * CUDA_MLA_WIDTH + k];
        }
        double s = 0;
        for (double x : part) {
            s += x;
        }
        p[t] = s * c.scale;
        most = std::max(most, p[t]);
    }
    double sum = 0;
    std::vector<double> o(CUDA_MLA_LATENT, 0);
    for (uint32_t t = 0; t < n; t++) {
        double w = exp(p[t] - most);
        sum += w;
        for (uint32_t k = 0; k < CUDA_MLA_LATENT; k++) {
            o[k] += w * keys[(size_t)t * CUDA_MLA_WIDTH + k];
        }
    }
    for (double &x : o) {
        x /= sum;
    }
    return o;
}

static void check_attention(const attention_case &c, const std::vector<uint16_t> &out,
                            uint32_t samples, const char *name)
{
    uint32_t rows = (uint32_t)c.length.size();
    std::vector<double> bad((size_t)rows * samples * 2, 0);
    std::vector<double> all(bad.size(), 0);
    std::vector<uint32_t> heads((size_t)rows * samples);
    for (size_t i = 0; i < heads.size(); i++) {
        heads[i] = (uint32_t)(i % samples * c.heads / samples + i / samples * 7) % c.heads;
    }
    parallel(heads.size(), [&](size_t i) {
        uint32_t row = (uint32_t)(i / samples);
        std::vector<double> ref = reference(c, row, heads[i]);
        for (uint32_t k = 0; k < CUDA_MLA_LATENT; k++) {
            double x = bf16_value(out[((size_t)row * c.heads + heads[i]) * CUDA_MLA_LATENT + k]);
            bad[i * 2 + k / 256] += (x - ref[k]) * (x - ref[k]);
            all[i * 2 + k / 256] += ref[k] * ref[k];
        }
    });
    const double limit = 4e-3;
    double worst = 0;
    for (size_t i = 0; i < heads.size(); i++) {
        for (uint32_t half = 0; half < 2; half++) {
            double e = sqrt(bad[i * 2 + half] / all[i * 2 + half]);
            if (!(e < limit) && worst < limit) {
                printf("      first bad: row %zu (length %u) head %u half %u: %.3e\n", i / samples,
                       c.length[i / samples], heads[i], half, e);
            }
            worst = e > worst || e != e ? e : worst;
        }
    }
    size_t poisoned = 0;
    for (uint16_t b : out) {
        poisoned += b == 0xFFFF;
    }
    char what[160];
    snprintf(what, sizeof what, "attend %s: worst head", name);
    report(worst < limit, what, worst, limit);
    snprintf(what, sizeof what, "attend %s: numbers not written", name);
    report(poisoned == 0, what, (double)poisoned, 0);
}

static size_t differences(const std::vector<uint16_t> &a, const std::vector<uint16_t> &b)
{
    size_t n = a.size() != b.size();
    for (size_t i = 0; i < a.size() && i < b.size(); i++) {
        n += a[i] != b[i];
    }
    return n;
}

static void check_plans(const attention_case &c, const std::vector<uint16_t> &out, const char *name)
{
    char what[160];
    for (uint32_t piece : {1u, 2u, 4u, 16u, 64u}) {
        uint32_t slots;
        std::vector<uint16_t> other = run_case(c, piece, piece == 4 ? 7 : g_blocks, &slots);
        snprintf(what, sizeof what, "attend %s: bits, pieces of %u runs (%u slots)", name, piece,
                 slots);
        size_t n = differences(out, other);
        report(n == 0, what, (double)n, 0);
    }
    size_t again = 0;
    for (int i = 0; i < 3; i++) {
        again += differences(out, run_case(c, 0, g_blocks));
    }
    snprintf(what, sizeof what, "attend %s: bits, three times again", name);
    report(again == 0, what, (double)again, 0);
}

/* Each row in a batch of its own. */
static void check_alone(const attention_case &c, const std::vector<uint16_t> &out, const char *name)
{
    size_t n = 0;
    size_t row_numbers = (size_t)c.heads * CUDA_MLA_LATENT;
    for (uint32_t row = 0; row<c.length.size(); row += c.length.size()> 50 ? 7 : 1) {
        attention_case one;
        one.heads = c.heads;
        one.scale = c.scale;
        one.stride = c.stride;
        one.d_cache = c.d_cache;
        one.d_pages = c.d_pages;
        one.length = {c.length[row]};
        one.sequence = {c.sequence[row]};
        one.d_queries = c.d_queries + cuda_mla_query_offset(row, 0, c.heads, 0);
        std::vector<uint16_t> alone = run_case(one, 0, g_blocks);
        n += memcmp(alone.data(), &out[row * row_numbers], row_numbers * 2) != 0;
    }
    char what[160];
    snprintf(what, sizeof what, "attend %s: rows whose bits differ alone", name);
    report(n == 0, what, (double)n, 0);
}

static void check_attend_all(bool few)
{
    TRY(cudaMalloc(&g_scratch, cuda_mla_scratch_bytes(g_blocks)));
    TRY(cudaMemset(g_scratch, 0xFF, cuda_mla_scratch_bytes(g_blocks)));

    struct {
        const char *name;
        uint32_t heads;
        std::vector<uint32_t> length;
        uint32_t samples;
    } cases[] = {
        {"one block", 64, {64}, 16},
        {"two blocks", 64, {128}, 16},
        {"short, 128 heads",
         128,
         {1, 2, 3, 63, 64, 65, 127, 128, 129, 191, 192, 193, 255, 256, 257, 300, 511, 512, 513},
         16},
        {"long, 128 heads", 128, {640, 1000, 1024, 1025, 1536, 2048, 2050, 4096, 4097, 5000}, 8},
        {"16 heads", 16, {1, 70, 700, 1500, 4096}, 16},
        {"80 heads", 80, {100, 640, 3000}, 20},
        {"very long", 128, {33000, 20000, 70000}, 4},
    };

    uint64_t seed = 1000;
    for (auto &t : cases) {
        if (few && t.length.back() > 4096) {
            continue;
        }
        attention_case c = make_case(t.heads, t.length, seed += 10);
        std::vector<uint16_t> out = run_case(c, 0, g_blocks);
        check_attention(c, out, t.samples, t.name);
        check_plans(c, out, t.name);
        check_alone(c, out, t.name);
        free_case(c);
    }
    if (few) {
        TRY(cudaFree(g_scratch));
        return;
    }
    std::vector<uint32_t> many;
    std::mt19937_64 random(5);
    for (int i = 0; i < 200; i++) {
        many.push_back(1 + random() % 3000);
    }
    attention_case c = make_case(128, many, 77);
    std::vector<uint16_t> out = run_case(c, 0, g_blocks);
    check_attention(c, out, 1, "200 rows");
    check_plans(c, out, "200 rows");
    check_alone(c, out, "200 rows");
    free_case(c);
    TRY(cudaFree(g_scratch));
}

/* ---- The products around it ---- */

struct head_case {
    cuda_type type;
    uint32_t heads;
    uint32_t rows;
    std::vector<float> weight; /* heads x 256 x 512, without the scale */
    std::vector<float> scale;  /* 2 heads x 4 */
    cuda_mla_weight w;
};

static head_case make_head_case(cuda_type type, uint32_t heads, uint32_t rows, uint64_t seed)
{
    head_case c;
    c.type = type;
    c.heads = heads;
    c.rows = rows;
    size_t count = (size_t)heads * 256 * 512;
    size_t size = type == CUDA_E4M3 ? 1 : 2;
    std::vector<uint8_t> raw(count * size);
    c.weight.resize(count);
    c.scale.assign((size_t)heads * 8, 1);
    std::mt19937_64 random(seed);
    std::uniform_real_distribution<float> uniform(1e-4F, 3e-4F);
    std::vector<uint16_t> normal = random_bf16(type == CUDA_BF16 ? count : 1, 0.03F, seed + 1);
    for (size_t i = 0; i < count; i++) {
        if (type == CUDA_E4M3) {
            uint8_t x = (uint8_t)random();
            x = (x & 0x7F) == 0x7F ? 0x7E : x;
            raw[i] = x;
            c.weight[i] = e4m3_value(x);
        } else {
            memcpy(&raw[i * 2], &normal[i], 2);
            c.weight[i] = bf16_value(normal[i]);
        }
    }
    if (type == CUDA_E4M3) {
        for (float &s : c.scale) {
            s = uniform(random);
        }
    }
    std::vector<uint8_t> packed(heads * cuda_mla_head_bytes(type));
    parallel(heads, [&](size_t h) {
        cuda_mla_pack_head(&packed[h * cuda_mla_head_bytes(type)], &raw[h * 256 * 512 * size],
                           type);
    });
    c.w = {to_device(packed), type == CUDA_E4M3 ? to_device(c.scale) : NULL, type, heads};
    return c;
}

static void free_head_case(const head_case &c)
{
    TRY(cudaFree((void *)c.w.data));
    TRY(cudaFree((void *)c.w.scale));
}

static std::vector<uint8_t> run_absorb(const head_case &c, const uint16_t *q, const float2 *turn,
                                       uint32_t rows)
{
    std::vector<uint8_t> out(cuda_mla_query_offset(rows, 0, c.heads, 0));
    uint8_t *d_out;
    TRY(cudaMalloc(&d_out, out.size()));
    TRY(cudaMemset(d_out, 0xFF, out.size()));
    cuda_mla_absorb a = {c.w, rows, (const __nv_bfloat16 *)q, turn, d_out};
    TRY(cuda_mla_absorb_run(&a, 0));
    TRY(cudaDeviceSynchronize());
    TRY(cudaMemcpy(out.data(), d_out, out.size(), cudaMemcpyDeviceToHost));
    TRY(cudaFree(d_out));
    return out;
}

static void check_absorb(const head_case &c, const char *name)
{
    std::vector<uint16_t> q = random_bf16((size_t)c.rows * c.heads * 192, 1, 31);
    std::vector<float2> turn((size_t)c.rows * 32);
    for (size_t i = 0; i < turn.size(); i++) {
        turn[i] = make_float2((float)cos(0.37 * (double)i), (float)sin(0.37 * (double)i));
    }
    uint16_t *d_q = to_device(q);
    float2 *d_turn = to_device(turn);
    std::vector<uint8_t> out = run_absorb(c, d_q, d_turn, c.rows);
    auto got = [&](uint32_t row, uint32_t head, uint32_t column) {
        uint16_t b;
        memcpy(&b, &out[cuda_mla_query_offset(row, head, c.heads, column)], 2);
        return (double)bf16_value(b);
    };
    std::vector<double> bad((size_t)c.heads * 2, 0), all((size_t)c.heads * 2, 0);
    parallel(c.heads, [&](size_t h) {
        for (uint32_t row = 0; row < c.rows; row++) {
            const uint16_t *x = &q[((size_t)row * c.heads + h) * 192];
            for (uint32_t col = 0; col < 576; col++) {
                double ref = 0;
                if (col < 512) {
                    for (uint32_t k = 0; k < 128; k++) {
                        ref += (double)bf16_value(x[k]) * c.weight[(h * 256 + k) * 512 + col];
                    }
                    ref *= c.scale[h * 8 + col / 128];
                } else {
                    uint32_t j = (col - 512) / 2;
                    double a = bf16_value(x[128 + 2 * j]), b = bf16_value(x[129 + 2 * j]);
                    float2 t = turn[row * 32 + j];
                    ref = col % 2 == 0 ? a * t.x - b * t.y : a * t.y + b * t.x;
                }
                double e = got(row, (uint32_t)h, col) - ref;
                bad[h * 2 + (col >= 512)] += e * e;
                all[h * 2 + (col >= 512)] += ref * ref;
            }
        }
    });
    char what[160];
    for (uint32_t part = 0; part < 2; part++) {
        double worst = 0;
        for (size_t h = 0; h < c.heads; h++) {
            double e = sqrt(bad[h * 2 + part] / all[h * 2 + part]);
            worst = e > worst || e != e ? e : worst;
        }
        snprintf(what, sizeof what, "absorb %s, %u rows: %s", name, c.rows,
                 part == 0 ? "latent" : "rotated");
        report(worst < 3e-3, what, worst, 3e-3);
    }
    size_t n = 0;
    for (uint32_t row = 0; row<c.rows; row += c.rows> 8 ? c.rows / 8 : 1) {
        std::vector<uint8_t> alone =
            run_absorb(c, d_q + (size_t)row * c.heads * 192, d_turn + (size_t)row * 32, 1);
        n += memcmp(alone.data(), &out[cuda_mla_query_offset(row, 0, c.heads, 0)], alone.size()) !=
             0;
    }
    snprintf(what, sizeof what, "absorb %s, %u rows: rows whose bits differ alone", name, c.rows);
    report(n == 0, what, (double)n, 0);
    TRY(cudaFree(d_q));
    TRY(cudaFree(d_turn));
}

struct up_out {
    std::vector<uint8_t> data;
    std::vector<float> scale;
    cuda_rows m;
};

static up_out run_up(const head_case &c, cuda_type type, const uint16_t *latent, uint32_t rows)
{
    up_out out;
    out.m.type = type;
    out.m.capacity = (rows + 127) / 128 * 128 + 128;
    out.m.cols = c.heads * 128;
    out.m.k_blocks = out.m.cols / cuda_block_numbers(type);
    out.data.resize((size_t)out.m.k_blocks * out.m.capacity * 128);
    out.scale.resize((size_t)c.heads * out.m.capacity);
    TRY(cudaMalloc(&out.m.data, out.data.size()));
    TRY(cudaMalloc(&out.m.scale, out.scale.size() * 4));
    TRY(cudaMemset(out.m.data, 0xFF, out.data.size()));
    TRY(cudaMemset(out.m.scale, 0xFF, out.scale.size() * 4));
    cuda_mla_up u = {c.w, rows, (const __nv_bfloat16 *)latent, out.m};
    TRY(cuda_mla_up_run(&u, 0));
    TRY(cudaDeviceSynchronize());
    TRY(cudaMemcpy(out.data.data(), out.m.data, out.data.size(), cudaMemcpyDeviceToHost));
    TRY(cudaMemcpy(out.scale.data(), out.m.scale, out.scale.size() * 4, cudaMemcpyDeviceToHost));
    TRY(cudaFree(out.m.data));
    TRY(cudaFree(out.m.scale));
    return out;
}

static float up_number(const up_out &out, uint32_t row, uint32_t column)
{
    uint32_t block = cuda_block_numbers(out.m.type);
    uint32_t inner = column % block * (out.m.type == CUDA_E4M3 ? 1 : 2);
    size_t at = cuda_rows_offset(out.m, row, column / block, inner / 16) + inner % 16;
    if (out.m.type == CUDA_E4M3) {
        return (out.data[at] & 0x7F) == 0x7F ? NAN : e4m3_value(out.data[at]);
    }
    uint16_t b;
    memcpy(&b, &out.data[at], 2);
    return bf16_value(b);
}

/* e4m3: every number within half a step of the reference (and what float32 sums may move it), scales to 1e-5. */
static void check_up(const head_case &c, cuda_type type, const char *name)
{
    std::vector<uint16_t> latent = random_bf16((size_t)c.rows * c.heads * 512, 1, 41);
    uint16_t *d_latent = to_device(latent);
    up_out out = run_up(c, type, d_latent, c.rows);
    std::vector<double> bad(c.heads, 0), all(c.heads, 0), scale_error(c.heads, 0);
    std::vector<size_t> off(c.heads, 0);
    parallel(c.heads, [&](size_t h) {
        for (uint32_t row = 0; row < c.rows; row++) {
            const uint16_t *x = &latent[((size_t)row * c.heads + h) * 512];
            double most = 1e-4;
            double ref[128];
            for (uint32_t v = 0; v < 128; v++) {
                ref[v] = 0;
                for (uint32_t k = 0; k < 512; k++) {
                    ref[v] += (double)bf16_value(x[k]) * c.weight[(h * 256 + 128 + v) * 512 + k] *
                              c.scale[h * 8 + 4 + k / 128];
                }
                most = std::max(most, fabs(ref[v]));
            }
            double scale = type == CUDA_E4M3 ? out.scale[h * out.m.capacity + row] : 1;
            if (type == CUDA_E4M3) {
                double e = fabs(scale / (most / 448) - 1);
                scale_error[h] = e > scale_error[h] || e != e ? e : scale_error[h];
            }
            for (uint32_t v = 0; v < 128; v++) {
                double e = up_number(out, row, (uint32_t)h * 128 + v) * scale - ref[v];
                bad[h] += e * e;
                all[h] += ref[v] * ref[v];
                double step = fabs(ref[v]) / 16 + scale * ldexp(1, -10) + most * 1e-5;
                off[h] += type == CUDA_E4M3 && !(fabs(e) <= step * 1.0001);
            }
        }
    });
    double worst = 0, scales = 0, outside = 0;
    for (size_t h = 0; h < c.heads; h++) {
        double e = sqrt(bad[h] / all[h]);
        worst = e > worst || e != e ? e : worst;
        scales =
            scale_error[h] > scales || scale_error[h] != scale_error[h] ? scale_error[h] : scales;
        outside += (double)off[h];
    }
    char what[160];
    double limit = type == CUDA_E4M3 ? 3.5e-2 : 3e-3;
    snprintf(what, sizeof what, "up %s, %u rows, to %s", name, c.rows,
             type == CUDA_E4M3 ? "e4m3" : "bf16");
    report(worst < limit, what, worst, limit);
    if (type == CUDA_E4M3) {
        report(scales < 1e-5, "    its scales", scales, 1e-5);
        report(outside == 0, "    numbers further off than half a step", outside, 0);
    }
    size_t n = 0;
    for (uint32_t row = 0; row<c.rows; row += c.rows> 8 ? c.rows / 8 : 1) {
        up_out alone = run_up(c, type, d_latent + (size_t)row * c.heads * 512, 1);
        bool same = true;
        for (uint32_t col = 0; col < c.heads * 128; col++) {
            same &= up_number(alone, 0, col) == up_number(out, row, col);
        }
        for (uint32_t h = 0; type == CUDA_E4M3 && h < c.heads; h++) {
            same &= alone.scale[(size_t)h * alone.m.capacity] ==
                    out.scale[(size_t)h * out.m.capacity + row];
        }
        n += !same;
    }
    report(n == 0, "    rows whose bits differ alone", (double)n, 0);
    TRY(cudaFree(d_latent));
}

static void check_heads_all(bool few)
{
    struct {
        cuda_type type;
        uint32_t heads;
        uint32_t rows;
        const char *name;
    } cases[] = {{CUDA_E4M3, 64, 1, "e4m3, 64 heads"},    {CUDA_E4M3, 64, 3, "e4m3, 64 heads"},
                 {CUDA_E4M3, 64, 17, "e4m3, 64 heads"},   {CUDA_E4M3, 64, 64, "e4m3, 64 heads"},
                 {CUDA_E4M3, 128, 20, "e4m3, 128 heads"}, {CUDA_E4M3, 64, 130, "e4m3, 64 heads"},
                 {CUDA_BF16, 64, 33, "bf16, 64 heads"}};

    for (auto &t : cases) {
        if (few && t.rows > 20) {
            continue;
        }
        head_case c = make_head_case(t.type, t.heads, t.rows, 900 + t.rows);
        check_absorb(c, t.name);
        check_up(c, CUDA_E4M3, t.name);
        check_up(c, CUDA_BF16, t.name);
        free_head_case(c);
    }
}

int main(int argc, char **)
{
    cudaDeviceProp device;
    TRY(cudaGetDeviceProperties(&device, 0));
    g_blocks = (uint32_t)device.multiProcessorCount;
    printf("%s, %u multiprocessors\n", device.name, g_blocks);
    TRY(cuda_mla_prepare());
    check_heads_all(argc > 1);
    check_attend_all(argc > 1);
    printf(failures == 0 ? "all checks passed\n" : "%d checks FAILED\n", failures);
    return failures != 0;
}
