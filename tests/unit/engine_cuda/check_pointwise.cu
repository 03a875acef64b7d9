/* check_pointwise: embedding, norms, latents, rotation, activation and the sum of experts against float64 and, where
 * rounding is defined, bit for bit.
 *
 *     check_pointwise [seed]     needs a Hopper GPU; prints a line a check; exit status 1 when one fails */
#include "check_common.cuh"
#include "engine_cuda_mla.cuh"
#include "engine_cuda_pointwise.cuh"

#include <cuda_fp16.h>
#include <cuda_fp8.h>

/* cuda_rows on the device, poisoned. */
struct rows_fixture {
    cuda_rows rows;
    device_array<uint8_t> data;
    device_array<float> scale;

    rows_fixture(cuda_type type, uint32_t n, uint32_t cols)
        : data((size_t)blocks(type, cols) * whole(n) * 128),
          scale((size_t)blocks(type, cols) * whole(n))
    {
        rows = {};
        rows.type = type;
        rows.capacity = whole(n);
        rows.cols = cols;
        rows.k_blocks = blocks(type, cols);
        rows.data = data.at;
        rows.scale = type == CUDA_E4M3 ? scale.at : NULL;
    }

    static uint32_t whole(uint32_t n) { return (n + 127) / 128 * 128; }

    static uint32_t blocks(cuda_type type, uint32_t cols)
    {
        return (cols + cuda_block_numbers(type) - 1) / cuda_block_numbers(type);
    }

    void poison(void)
    {
        data.fill(0xFF);
        scale.fill(0xFF);
    }
};

/* How many numbers of row `row` are not what `y` (float32, exact) rounds to. */
static size_t wrong_row(const cuda_rows &m, const std::vector<uint8_t> &data,
                        const std::vector<float> &scale, uint32_t row, const float *y)
{
    size_t wrong = 0;
    uint32_t each = cuda_block_numbers(m.type);
    for (uint32_t kb = 0; kb < m.k_blocks; kb++) {
        float amax = 0;
        for (uint32_t i = 0; i < each; i++) {
            uint32_t c = kb * each + i;
            amax = c < m.cols ? fmaxf(amax, fabsf(y[c])) : amax;
        }
        float s = fmaxf(amax, 1e-4f) / 448.0f;
        if (m.type == CUDA_E4M3) {
            wrong += memcmp(&scale[(size_t)kb * m.capacity + row], &s, 4) != 0;
        }
        for (uint32_t i = 0; i < each; i++) {
            uint32_t c = kb * each + i;
            float v = c < m.cols ? y[c] : 0;
            size_t at = cuda_rows_offset(m, row, kb, i * 8 / each);
            if (m.type == CUDA_E4M3) {
                wrong +=
                    data[at + i % 16] != __nv_cvt_float_to_fp8(v / s, __NV_SATFINITE, __NV_E4M3);
            } else {
                uint16_t got;
                memcpy(&got, &data[at + i % 8 * 2], 2);
                wrong += got != bf16_bits(v);
            }
        }
    }
    return wrong;
}

static double factor_of(const float *x, uint32_t cols, float eps)
{
    double sum = 0;
    for (uint32_t c = 0; c < cols; c++) {
        sum += (double)x[c] * (double)x[c];
    }
    return 1 / sqrt(sum / cols + (double)eps);
}

/* Rows of very different sizes; one of zeros. */
static std::vector<float> random_rows(uint32_t rows, uint32_t ld)
{
    std::vector<float> v = random_normals((size_t)rows * ld, 1);
    for (uint32_t r = 0; r < rows; r++) {
        float size = r % 5 == 4 ? 0 : exp2f((float)(random_word() % 16) - 8);
        for (uint32_t c = 0; c < ld; c++) {
            v[(size_t)r * ld + c] *= size;
        }
        v[(size_t)r * ld + random_word() % ld] *= 50; /* an outlier */
    }
    return v;
}

static void check_norm(uint32_t rows, uint32_t cols, cuda_type type, bool pick)
{
    uint32_t ld = cols + 64;
    std::vector<float> x = random_rows(rows, ld);
    std::vector<float> w = random_normals(cols, 1);
    std::vector<uint32_t> from(rows);
    for (uint32_t r = 0; r < rows; r++) {
        from[r] = pick ? random_word() % rows : r;
    }
    device_array<float> dx(x), dw(w), factor(rows);
    device_array<uint32_t> dp(from);
    rows_fixture out(type, rows, cols);
    cuda_norm op = {};
    op.x = dx.at;
    op.ld = ld;
    op.rows = rows;
    op.cols = cols;
    op.pick = pick ? dp.at : NULL;
    op.weight = dw.at;
    op.eps = 1e-6f;
    op.out = out.rows;
    op.factor = factor.at;
    TRY(cuda_norm_run(&op, 0));
    std::vector<uint8_t> data = out.data.get();
    std::vector<float> scale = out.scale.get();
    std::vector<float> f = factor.get();
    double worst = 0;
    size_t wrong = 0;
    std::vector<float> y(cols);
    for (uint32_t r = 0; r < rows; r++) {
        const float *row = &x[(size_t)from[r] * ld];
        double want = factor_of(row, cols, op.eps);
        double error = fabs((double)f[r] - want) / want;
        worst = error <= worst ? worst : error;
        for (uint32_t c = 0; c < cols; c++) {
            y[c] = row[c] * f[r];
            y[c] *= w[c];
        }
        wrong += wrong_row(out.rows, data, scale, r, y.data());
    }
    char what[160];
    (void)snprintf(what, sizeof what, "norm %u x %u %s%s: factor", rows, cols,
                   type == CUDA_E4M3 ? "e4m3" : "bf16", pick ? ", picked" : "");
    report(worst < 4e-7, what, worst);
    report(wrong == 0, "  numbers that are not what they round to", (double)wrong);

    cuda_norm one = op; /* a row alone, by another kernel */
    uint32_t row = random_word() % rows;
    rows_fixture alone(type, 1, cols);
    one.x = dx.at + (size_t)from[row] * ld;
    one.pick = NULL;
    one.rows = 1;
    one.out = alone.rows;
    one.factor = NULL;
    TRY(cuda_norm_run(&one, 0));
    std::vector<uint8_t> bits = alone.data.get();
    wrong = 0;
    for (uint32_t kb = 0; kb < out.rows.k_blocks; kb++) {
        for (uint32_t c = 0; c < 8; c++) {
            wrong += memcmp(&bits[cuda_rows_offset(alone.rows, 0, kb, c)],
                            &data[cuda_rows_offset(out.rows, row, kb, c)], 16) != 0;
        }
    }
    report(wrong == 0, "  a row alone, the same bits", row);
}

static void check_mix(uint32_t rows, uint32_t active, uint32_t cols, uint32_t per_token,
                      bool shared, bool bf16)
{
    uint32_t places = per_token + shared;
    uint32_t gathered = rows * places + 64;
    std::vector<float> h = random_rows(rows, cols);
    std::vector<float> out = random_normals((size_t)gathered * cols, 1);
    std::vector<uint16_t> narrow(out.size());
    for (size_t i = 0; i < out.size(); i++) {
        narrow[i] = bf16_bits(out[i]);
        uint32_t bits = (uint32_t)narrow[i] << 16;
        if (bf16) {
            memcpy(&out[i], &bits, 4);
        }
    }
    std::vector<float> weights = random_normals((size_t)rows * per_token, 1);
    std::vector<uint32_t> place((size_t)rows * places);
    for (uint32_t &p : place) {
        p = random_word() % gathered;
    }
    std::vector<float> w = random_normals(cols, 1);
    device_array<float> dh(h), dh2(h), dout(out), dweights(weights), dw(w), factor(rows),
        factor2(rows);
    device_array<uint16_t> dnarrow(narrow);
    device_array<uint32_t> dplace(place), dactive(std::vector<uint32_t>(1, active));
    rows_fixture fused(CUDA_E4M3, rows, cols), apart(CUDA_E4M3, rows, cols);
    cuda_mix mix = {};
    mix.out = bf16 ? (const void *)dnarrow.at : (const void *)dout.at;
    mix.out_bf16 = bf16;
    mix.cols = cols;
    mix.rows = rows;
    mix.per_token = per_token;
    mix.shared = shared;
    mix.weights = dweights.at;
    mix.place = dplace.at;
    mix.active = dactive.at;
    mix.h = dh.at;
    cuda_norm norm = {};
    norm.x = dh.at;
    norm.ld = cols;
    norm.rows = rows;
    norm.cols = cols;
    norm.weight = dw.at;
    norm.eps = 1e-6f;
    norm.out = apart.rows;
    norm.factor = factor.at;
    TRY(cuda_mix_run(&mix, 0));
    TRY(cuda_norm_run(&norm, 0));
    std::vector<float> got = dh.get();
    double error = 0;
    double size = 0;
    size_t moved = 0;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            size_t at = (size_t)r * cols + c;
            if (r >= active) {
                moved += got[at] != h[at];
                continue;
            }
            double sum = 0;
            for (uint32_t i = 0; i < places; i++) {
                double factor_here = i < per_token ? weights[(size_t)r * per_token + i] : 1;
                sum += factor_here * (double)out[(size_t)place[(size_t)r * places + i] * cols + c];
            }
            double want = (double)h[at] + sum;
            double d = (double)got[at] - want;
            error += d * d;
            size += want * want;
        }
    }
    error = sqrt(error / size);
    char what[160];
    (void)snprintf(what, sizeof what, "mix %u of %u x %u, %u + %d experts%s", active, rows, cols,
                   per_token, shared, bf16 ? ", bf16" : "");
    report(error < 2e-7 && moved == 0, what, error);
    mix.h = dh2.at;
    norm.x = dh2.at;
    norm.out = fused.rows;
    norm.factor = factor2.at;
    TRY(cuda_mix_norm_run(&mix, &norm, 0));
    std::vector<float> a = dh2.get(), fa = factor.get(), fb = factor2.get();
    bool same = memcmp(a.data(), got.data(), a.size() * 4) == 0 &&
                fused.data.get() == apart.data.get() && memcmp(fa.data(), fb.data(), rows * 4) == 0;
    std::vector<float> sa = fused.scale.get(), sb = apart.scale.get();
    same = same && memcmp(sa.data(), sb.data(), sa.size() * 4) == 0;
    report(same, "  with the norm in one kernel: the same bits", 0);
}

static void check_latents(uint32_t rows, uint32_t q_cols, cuda_type type)
{
    enum { PAGES = 40 };

    uint32_t kv = (q_cols + 127) / 128 * 128;
    uint32_t ld = kv + CUDA_MLA_WIDTH;
    std::vector<float> x = random_rows(rows, ld);
    std::vector<float> qw = random_normals(q_cols > 0 ? q_cols : 4, 1);
    std::vector<float> kw = random_normals(CUDA_MLA_LATENT, 1);
    std::vector<float2> rotation((size_t)rows * 32);
    std::vector<uint32_t> page(rows), slot(rows);
    for (float2 &r : rotation) {
        double a = 100.0 * random_normal();
        r = make_float2((float)cos(a), (float)sin(a));
    }
    for (uint32_t r = 0; r < rows; r++) { /* places apart from one another */
        page[r] = r * 7 % PAGES;
        slot[r] = r / PAGES;
    }
    device_array<float> dx(x), dqw(qw), dkw(kw);
    device_array<float2> drotation(rotation);
    device_array<uint32_t> dpage(page), dslot(slot);
    device_array<uint8_t> cache((size_t)PAGES * CUDA_MLA_PAGE_BYTES);
    rows_fixture q(type, rows, q_cols > 0 ? q_cols : 128);
    cuda_latents op = {};
    op.x = dx.at;
    op.ld = ld;
    op.rows = rows;
    op.eps = 1e-6f;
    op.q_cols = q_cols;
    op.q_weight = dqw.at;
    op.q = q.rows;
    op.kv_column = kv;
    op.kv_weight = dkw.at;
    op.rotation = drotation.at;
    op.page = dpage.at;
    op.slot = dslot.at;
    op.cache = cache.at;
    TRY(cuda_latents_run(&op, 0));
    std::vector<uint8_t> bytes = cache.get(), data = q.data.get();
    std::vector<float> scale = q.scale.get();
    double error = 0, size = 0;
    size_t wrong = 0, touched = 0;
    std::vector<bool> used(bytes.size(), false);
    for (uint32_t r = 0; r < rows; r++) {
        const float *row = &x[(size_t)r * ld];
        double f = factor_of(row + kv, CUDA_MLA_LATENT, op.eps);
        for (uint32_t c = 0; c < CUDA_MLA_WIDTH; c++) {
            double want;
            if (c < CUDA_MLA_LATENT) {
                want = (double)row[kv + c] * f * (double)kw[c];
            } else {
                uint32_t j = (c - CUDA_MLA_LATENT) / 2;
                const float *pair = row + kv + CUDA_MLA_LATENT + 2 * j;
                float2 t = rotation[(size_t)r * 32 + j];
                want = c % 2 == 0 ? (double)pair[0] * t.x - (double)pair[1] * t.y
                                  : (double)pair[1] * t.x + (double)pair[0] * t.y;
            }
            size_t at = (size_t)page[r] * CUDA_MLA_PAGE_BYTES + cuda_mla_cache_offset(slot[r], c);
            used[at] = used[at + 1] = true;
            uint32_t bits = (uint32_t)(bytes[at] | bytes[at + 1] << 8) << 16;
            float got;
            memcpy(&got, &bits, 4);
            double d = (double)got - want;
            error += d * d;
            size += want * want;
            wrong += !(fabs(d) <= fabs(want) * 0.00392 + 1e-5 * fabs((double)row[kv + c]) + 1e-30);
        }
    }
    for (size_t i = 0; i < bytes.size(); i++) {
        touched += !used[i] && bytes[i] != 0xFF;
    }
    char what[160];
    (void)snprintf(what, sizeof what, "latents %u x %u %s: cached", rows, q_cols,
                   type == CUDA_E4M3 ? "e4m3" : "bf16");
    report(sqrt(error / size) < 3.9e-3 && wrong == 0, what, sqrt(error / size));
    report(touched == 0, "  bytes of other slots that changed", (double)touched);
    if (q_cols == 0) {
        return;
    }
    rows_fixture plain(type, rows, q_cols); /* the norm kernel's bits are checked elsewhere */
    cuda_norm norm = {};
    norm.x = dx.at;
    norm.ld = ld;
    norm.rows = rows;
    norm.cols = q_cols;
    norm.weight = dqw.at;
    norm.eps = op.eps;
    norm.out = plain.rows;
    TRY(cuda_norm_run(&norm, 0));
    std::vector<float> plain_scale = plain.scale.get();
    report(plain.data.get() == data &&
               memcmp(plain_scale.data(), scale.data(), scale.size() * 4) == 0,
           "  query's latent: the bits of cuda_norm_run()", 0);
}

static void check_embed(uint32_t rows, uint32_t cols, cuda_number type)
{
    enum { VOCAB = 300 };

    std::vector<float> table = random_normals((size_t)VOCAB * cols, 1);
    std::vector<uint16_t> narrow(table.size());
    for (size_t i = 0; i < table.size(); i++) {
        if (type == CUDA_NUMBER_BF16) {
            narrow[i] = bf16_bits(table[i]);
            uint32_t bits = (uint32_t)narrow[i] << 16;
            memcpy(&table[i], &bits, 4);
        } else if (type == CUDA_NUMBER_F16) {
            __half x = __float2half(table[i]);
            memcpy(&narrow[i], &x, 2);
            table[i] = __half2float(x);
        }
    }
    std::vector<uint32_t> token(rows), ids(rows);
    std::vector<engine_drawn> drawn(rows);
    for (uint32_t r = 0; r < rows; r++) {
        drawn[r].token = random_word() % VOCAB;
        ids[r] = random_word() % VOCAB;
    }
    for (uint32_t r = 0; r < rows; r++) {
        token[r] = ids[r];
        if (r % 3 == 1) {
            uint32_t i = random_word() % rows;
            token[r] = ENGINE_TOKEN_FROM_ROW(i);
            ids[r] = drawn[i].token;
        }
    }
    device_array<float> wide(table), h((size_t)rows * cols);
    device_array<uint16_t> thin(narrow);
    device_array<uint32_t> dtoken(token);
    device_array<engine_drawn> ddrawn(drawn);
    cuda_embed op = {};
    op.table = type == CUDA_NUMBER_F32 ? (const void *)wide.at : (const void *)thin.at;
    op.type = type;
    op.cols = cols;
    op.rows = rows;
    op.token = dtoken.at;
    op.drawn = ddrawn.at;
    op.h = h.at;
    TRY(cuda_embed_run(&op, 0));
    std::vector<float> got = h.get();
    size_t wrong = 0;
    for (uint32_t r = 0; r < rows; r++) {
        wrong += memcmp(&got[(size_t)r * cols], &table[(size_t)ids[r] * cols], cols * 4) != 0;
    }
    report(wrong == 0, "embedding", (double)wrong);
}

static void check_silu(uint32_t rows, uint32_t cols, cuda_type type)
{
    uint32_t ld = 2 * cols + 128;
    std::vector<float> x = random_rows(rows, ld);
    device_array<float> dx(x);
    rows_fixture out(type, rows, cols);
    cuda_silu op = {};
    op.x = dx.at;
    op.ld = ld;
    op.rows = rows;
    op.out = out.rows;
    TRY(cuda_silu_run(&op, 0));
    std::vector<uint8_t> data = out.data.get();
    std::vector<float> scale = out.scale.get();
    double error = 0, size = 0;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t c = 0; c < cols; c++) {
            const float *pair = &x[(size_t)r * ld + c / 128 * 256 + c % 128];
            double want = (double)pair[0] / (1 + exp(-(double)pair[0])) * (double)pair[128];
            uint32_t each = cuda_block_numbers(type);
            uint32_t kb = c / each, i = c % each;
            size_t at = cuda_rows_offset(out.rows, r, kb, i * 8 / each);
            double got;
            double row_scale = 1;
            if (type == CUDA_E4M3) {
                __nv_fp8_e4m3 v;
                v.__x = data[at + i % 16];
                row_scale = scale[(size_t)kb * out.rows.capacity + r];
                got = (double)(float)v * row_scale;
            } else {
                uint32_t bits = (uint32_t)(data[at + i % 8 * 2] | data[at + i % 8 * 2 + 1] << 8)
                                << 16;
                float f;
                memcpy(&f, &bits, 4);
                got = f;
            }
            error += (got - want) * (got - want) / (row_scale * row_scale);
            size += want * want / (row_scale * row_scale);
        }
    }
    error = sqrt(error / size);
    char what[160];
    (void)snprintf(what, sizeof what, "silu %u x %u %s", rows, cols,
                   type == CUDA_E4M3 ? "e4m3" : "bf16");
    report(error < (type == CUDA_E4M3 ? 0.04 : 0.004), what, error);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        random_state += strtoull(argv[1], NULL, 10) * 0x9E3779B97F4A7C15ull;
    }
    const uint32_t rows[] = {1, 3, 16, 17, 132, 133, 600};
    const uint32_t cols[] = {7168, 4096, 2048, 1536, 512, 320, 12352};
    for (uint32_t r : rows) {
        for (uint32_t c : cols) {
            check_norm(r, c, c % 3 == 0 ? CUDA_BF16 : CUDA_E4M3, r % 2 == 1);
        }
        check_norm(r, 4096, CUDA_BF16, false);
        check_norm(r, 7168, CUDA_BF16, true);
        check_embed(r, r % 2 == 0 ? 7168 : 516, (cuda_number)(r % 3));
        check_silu(r, 2048, CUDA_E4M3);
        check_silu(r, 11008, CUDA_BF16);
        check_latents(r, 1536, CUDA_E4M3);
        check_latents(r, r % 2 == 0 ? 0 : 1504, CUDA_BF16);
        check_mix(r, r - r / 8, 7168, 8, true, false);
        check_mix(r, r, 2048, 6, false, true);
    }
    printf("%s\n", failures == 0 ? "all passed" : "FAILED");
    return failures != 0;
}
