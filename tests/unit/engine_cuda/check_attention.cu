/* check_attention: paged attention and its rope/cache kernel against float64, and bit for bit against themselves.
 *
 *     check_attention [quick]    needs a Hopper GPU; prints a line a check; exit status 1 when one fails
 *
 * A row's bits must not depend on what shares its batch: each batch is run as it is, cut for GPUs of other sizes,
 * without room for states, sequence by sequence, and with its chunks cut elsewhere. Keys and values past a row's position
 * are large, so that one that is not masked shows. */
#include "check_common.cuh"
#include "engine_cuda_attention.cuh"

/* ---- A model of the cache and batches ---- */

enum { MAX_ROWS = 1024, PADDED = 8, MAX_PAGES = 4096, MAX_SLOTS = 8192 };

struct sequence {
    std::vector<uint32_t> pages;
    uint32_t start, rows;
};

struct world {
    cuda_attention_shape shape;
    uint32_t pool;
    std::vector<uint16_t> keys, values; /* as in memory */
    std::vector<uint32_t> next_page;
};

static uint16_t cached(const std::vector<uint16_t> &plane, const world &w, uint32_t page,
                       uint32_t head, uint32_t slot, uint32_t dim)
{
    size_t at = cuda_kv_page_offset(page, head, w.shape.kv_heads, w.shape.head_dim) +
                cuda_kv_offset(slot, dim / 8) + dim % 8 * 2;
    return plane[at / 2];
}

static std::vector<uint32_t> take_pages(world &w, uint32_t count)
{
    std::vector<uint32_t> pages(w.next_page.end() - count, w.next_page.end());
    w.next_page.resize(w.next_page.size() - count);
    return pages;
}

static sequence make_sequence(world &w, const std::vector<uint32_t> &prefix, uint32_t start,
                              uint32_t rows)
{
    sequence s;
    s.start = start;
    s.rows = rows;
    uint32_t need = (start + rows + 63) / 64;
    s.pages = prefix;
    s.pages.resize(prefix.size() < need ? prefix.size() : need);
    std::vector<uint32_t> own = take_pages(w, need - (uint32_t)s.pages.size());
    s.pages.insert(s.pages.end(), own.begin(), own.end());
    return s;
}

/* Large numbers where nothing may be read: past the last row of a sequence, in its last page. */
static void spoil(world &w, const sequence &s)
{
    uint32_t end = s.start + s.rows;
    for (uint32_t slot = end % 64; slot != 0 && slot < 64; slot++) {
        for (uint32_t head = 0; head < w.shape.kv_heads; head++) {
            for (uint32_t d = 0; d < w.shape.head_dim; d++) {
                size_t at = cuda_kv_page_offset(s.pages[end / 64], head, w.shape.kv_heads,
                                                w.shape.head_dim) +
                            cuda_kv_offset(slot, d / 8) + d % 8 * 2;
                w.keys[at / 2] = bf16_bits(random_word() % 2 ? 3e4f : -3e4f);
                w.values[at / 2] = bf16_bits(random_word() % 2 ? 3e30f : -3e30f);
            }
        }
    }
}

struct machine {
    world &w;
    device_array<uint16_t> keys, values, q;
    device_array<uint8_t> plan, states, out;
    device_array<float> scale;

    machine(world &world_)
        : w(world_), keys(w.keys.size()), values(w.values.size()),
          q((size_t)MAX_ROWS * w.shape.heads * w.shape.head_dim), plan(plan_bytes()),
          states(state_bytes()), out((size_t)MAX_ROWS * w.shape.heads * w.shape.head_dim * 2),
          scale((size_t)MAX_ROWS * w.shape.heads)
    {
        TRY(cudaMemset(states.at, 0, 256)); /* once: launches leave them zero */
    }

    static cuda_attention_limits limits() { return {MAX_ROWS, MAX_PAGES, MAX_SLOTS}; }

    static size_t plan_bytes()
    {
        cuda_attention_limits l = limits();
        return cuda_attention_plan_bytes(&l);
    }

    size_t state_bytes()
    {
        cuda_attention_limits l = limits();
        return cuda_attention_state_bytes(&l, &w.shape);
    }
};

struct outcome {
    std::vector<uint8_t> data;
    std::vector<float> scale;
    cuda_rows rows;
    cuda_attention_plan_result plan;
};

static outcome run(machine &m, const std::vector<sequence> &batch,
                   const std::vector<uint16_t> &queries, cuda_type type, uint32_t processors,
                   uint32_t max_slots, uint32_t grid)
{
    cuda_attention_limits limits = machine::limits();
    limits.max_slots = max_slots;
    std::vector<engine_batch_seq> seqs;
    uint32_t rows = 0;
    for (const sequence &s : batch) {
        seqs.push_back({s.pages.data(), (uint32_t)s.pages.size(), s.start, s.rows});
        rows += s.rows;
    }
    uint32_t padded = (rows + PADDED - 1) / PADDED * PADDED;
    std::vector<uint8_t> host(m.plan.count, 0xEE);
    outcome r;
    if (!cuda_attention_plan(&r.plan, host.data(), &limits, &m.w.shape, seqs.data(),
                             (uint32_t)seqs.size(), padded, processors)) {
        printf("FAIL plan refused\n");
        exit(1);
    }
    m.plan.put(host);
    m.q.put(queries);
    TRY(cudaMemset(m.out.at, 0xFF, m.out.count));
    TRY(cudaMemset(m.scale.at, 0xFF, m.scale.count * 4));
    TRY(cudaMemset(m.states.at + 256, 0xFF, m.states.count - 256));
    uint32_t cols = m.w.shape.heads * m.w.shape.head_dim;
    r.rows = {m.out.at, m.scale.at, type, MAX_ROWS, cols, cols / cuda_block_numbers(type)};
    cuda_attention op = {};
    op.shape = m.w.shape;
    op.rows = padded;
    op.scale = 1.0f / sqrtf((float)m.w.shape.head_dim);
    op.q = m.q.at;
    op.keys = reinterpret_cast<const uint8_t *>(m.keys.at);
    op.values = reinterpret_cast<const uint8_t *>(m.values.at);
    op.plan = m.plan.at;
    op.states = m.states.at;
    op.out = r.rows;
    TRY(cuda_attention_run(&op, grid, 0));
    TRY(cudaDeviceSynchronize());
    r.data = m.out.get();
    r.scale = m.scale.get();
    return r;
}

/* Bits of head `head` of a row: the numbers and, for e4m3, the scale. */
static void head_bits(std::vector<uint8_t> &to, const outcome &r, const world &w, uint32_t row,
                      uint32_t head)
{
    uint32_t size = r.rows.type == CUDA_BF16 ? 2 : 1;
    uint32_t first = head * w.shape.head_dim * size / 16;
    to.clear();
    for (uint32_t c = first; c < first + w.shape.head_dim * size / 16; c++) {
        const uint8_t *at = r.data.data() + cuda_rows_offset(r.rows, row, c / 8, c % 8);
        to.insert(to.end(), at, at + 16);
    }
    if (size == 1) {
        const uint8_t *s = (const uint8_t *)&r.scale[(size_t)head * MAX_ROWS + row];
        to.insert(to.end(), s, s + 4);
    }
}

static double value_of(const outcome &r, const world &w, uint32_t row, uint32_t head, uint32_t d)
{
    uint32_t column = head * w.shape.head_dim + d;
    if (r.rows.type == CUDA_BF16) {
        uint16_t u;
        memcpy(&u,
               r.data.data() + cuda_rows_offset(r.rows, row, column / 64, column % 64 / 8) +
                   column % 8 * 2,
               2);
        return bf16_value(u);
    }
    uint8_t u = r.data[cuda_rows_offset(r.rows, row, head, d / 16) + d % 16];
    return e4m3_value(u) * r.scale[(size_t)head * MAX_ROWS + row];
}

static void reference(std::vector<double> &out, const world &w, const sequence &s,
                      uint32_t position, const uint16_t *q, uint32_t head)
{
    uint32_t dim = w.shape.head_dim, kv = head / (w.shape.heads / w.shape.kv_heads);
    std::vector<double> score(position + 1);
    double top = -INFINITY, sum = 0;
    for (uint32_t i = 0; i <= position; i++) {
        double x = 0;
        for (uint32_t d = 0; d < dim; d++) {
            x += bf16_value(q[d]) * bf16_value(cached(w.keys, w, s.pages[i / 64], kv, i % 64, d));
        }
        score[i] = x / sqrt((double)dim);
        top = fmax(top, score[i]);
    }
    out.assign(dim, 0.0);
    for (uint32_t i = 0; i <= position; i++) {
        double p = exp(score[i] - top);
        sum += p;
        for (uint32_t d = 0; d < dim; d++) {
            out[d] += p * bf16_value(cached(w.values, w, s.pages[i / 64], kv, i % 64, d));
        }
    }
    for (double &x : out) {
        x /= sum;
    }
}

static void check_reference(machine &m, const std::vector<sequence> &batch,
                            const std::vector<uint16_t> &queries, const outcome &r,
                            const char *what)
{
    double worst = 0, diff = 0, norm = 0;
    uint32_t row = 0, bad_row = 0, bad_seq = 0, bad_head = 0;
    const uint32_t each = m.w.shape.heads * m.w.shape.head_dim;
    std::vector<double> want;
    for (size_t i = 0; i < batch.size(); i++) {
        const sequence &s = batch[i];
        for (uint32_t j = 0; j < s.rows; j++) {
            bool look = s.rows < 4 || j == 0 || j + 1 == s.rows || random_word() % 40 == 0;
            uint32_t head = random_word() % m.w.shape.heads;
            if (!look) {
                continue;
            }
            reference(want, m.w, s, s.start + j,
                      &queries[(size_t)(row + j) * each + head * m.w.shape.head_dim], head);
            double d2 = 0, n2 = 0;
            for (uint32_t d = 0; d < m.w.shape.head_dim; d++) {
                double e = value_of(r, m.w, row + j, head, d) - want[d];
                d2 += e * e;
                n2 += want[d] * want[d];
            }
            diff += d2;
            norm += n2;
            double error = sqrt(d2 / n2);
            if (!(error <= worst)) {
                worst = isnan(error) ? 1e9 : error;
                bad_row = row + j;
                bad_seq = (uint32_t)i;
                bad_head = head;
            }
        }
        row += s.rows;
    }
    double bound = r.rows.type == CUDA_BF16 ? 6e-3 : 4e-2;
    double all = sqrt(diff / norm);
    char line[300];
    snprintf(line, sizeof line,
             "%s: error over all %.3g, worst row %.3g at row %u (seq %u, head %u)", what, all,
             worst, bad_row, bad_seq, bad_head);
    report(all < bound && worst < 3 * bound, line, all);
}

/* Rows of `r` from row `from` on against those of `all` from `at` on. */
static uint32_t different(const machine &m, const outcome &all, uint32_t at, const outcome &r,
                          uint32_t from, uint32_t rows)
{
    uint32_t count = 0;
    std::vector<uint8_t> a, b;
    for (uint32_t i = 0; i < rows; i++) {
        for (uint32_t head = 0; head < m.w.shape.heads; head++) {
            head_bits(a, all, m.w, at + i, head);
            head_bits(b, r, m.w, from + i, head);
            count += a != b;
        }
    }
    return count;
}

static void check_batch(machine &m, const std::vector<sequence> &batch, cuda_type type,
                        const char *name)
{
    const uint32_t each = m.w.shape.heads * m.w.shape.head_dim;
    uint32_t rows = 0;
    for (const sequence &s : batch) {
        rows += s.rows;
    }
    std::vector<uint16_t> queries((size_t)rows * each);
    for (uint16_t &q : queries) {
        q = bf16_bits(2.0f * random_normal());
    }
    char line[200];
    outcome all = run(m, batch, queries, type, 132, MAX_SLOTS, 132);
    printf("     %s: heads %u/%u x %u, %s, %u rows, %u wide, %u narrow, %u slots, %u pages\n", name,
           m.w.shape.heads, m.w.shape.kv_heads, m.w.shape.head_dim,
           type == CUDA_BF16 ? "bf16" : "e4m3", rows, all.plan.wide, all.plan.narrow,
           all.plan.slots, all.plan.kv_pages);
    check_reference(m, batch, queries, all, name);
    std::vector<uint8_t> bits;
    bool touched = false;
    for (uint32_t row = rows; row < MAX_ROWS; row++) {
        head_bits(bits, all, m.w, row, 0);
        for (uint8_t b : bits) {
            touched |= b != 0xFF;
        }
    }
    report(!touched, "padding rows are not touched", 0);
    const uint32_t cuts[][3] = {{1, MAX_SLOTS, 132},
                                {100000, MAX_SLOTS, 132},
                                {40, MAX_SLOTS, 7},
                                {132, 0, 132},
                                {3, 300, 1}};
    for (const uint32_t *c : cuts) {
        outcome r = run(m, batch, queries, type, c[0], c[1], c[2]);
        uint32_t bad = different(m, all, 0, r, 0, rows);
        snprintf(line, sizeof line,
                 "same bits cut for %u processors, at most %u slots, grid %u: %u wide, %u narrow, "
                 "%u slots",
                 c[0], c[1], c[2], r.plan.wide, r.plan.narrow, r.plan.slots);
        report(bad == 0, line, bad);
    }
    uint32_t alone = 0, recut = 0, row = 0;
    for (const sequence &s : batch) {
        std::vector<uint16_t> own(queries.begin() + (size_t)row * each,
                                  queries.begin() + (size_t)(row + s.rows) * each);
        outcome r = run(m, {s}, own, type, 132, MAX_SLOTS, 132);
        alone += different(m, all, row, r, 0, s.rows);
        for (uint32_t done = 0, next = 1; s.rows > 1 && done < s.rows; next = next * 3 + 1) {
            sequence part = s;
            part.start = s.start + done;
            part.rows = next < s.rows - done ? next : s.rows - done;
            std::vector<uint16_t> some(own.begin() + (size_t)done * each,
                                       own.begin() + (size_t)(done + part.rows) * each);
            r = run(m, {part}, some, type, 132, MAX_SLOTS, 132);
            recut += different(m, all, row + done, r, 0, part.rows);
            done += part.rows;
        }
        row += s.rows;
    }
    report(alone == 0, "same bits with each sequence alone", alone);
    report(recut == 0, "same bits with chunks cut otherwise", recut);
}

static void check_attention(uint32_t heads, uint32_t kv_heads, uint32_t dim, bool e4m3)
{
    world w;
    w.shape = {heads, kv_heads, dim};
    w.pool = 700;
    size_t plane = (size_t)w.pool * kv_heads * 64 * dim;
    w.keys.resize(plane);
    w.values.resize(plane);
    std::vector<uint16_t> numbers(1 << 16); /* drawing each anew takes too long */
    for (uint16_t &x : numbers) {
        x = bf16_bits(random_normal());
    }
    for (size_t i = 0; i < plane; i++) {
        uint32_t word = random_word();
        w.keys[i] = numbers[word & 0xFFFF];
        w.values[i] = numbers[word >> 16];
    }
    for (uint32_t i = 0; i < w.pool; i++) {
        w.next_page.push_back(i);
        std::swap(w.next_page[i], w.next_page[random_word() % (i + 1)]);
    }
    std::vector<sequence> decode, shared, mixed;
    for (uint32_t start :
         {0u, 1u, 62u, 63u, 64u, 254u, 255u, 256u, 257u, 511u, 700u, 1023u, 1024u, 1500u}) {
        decode.push_back(make_sequence(w, {}, start, 1));
    }
    std::vector<uint32_t> prompt = take_pages(w, 20), branch = prompt;
    std::vector<uint32_t> more = take_pages(w, 9);
    branch.insert(branch.end(), more.begin(), more.end());
    for (uint32_t i = 0; i < 70; i++) {
        shared.push_back(make_sequence(w, i % 3 == 0 ? branch : prompt,
                                       (i % 3 == 0 ? 29 : 20) * 64 + random_word() % 200,
                                       i % 20 == 7 ? 3 : 1));
    }
    shared.push_back(make_sequence(w, {}, 300, 1));
    mixed.push_back(make_sequence(w, {}, 0, 300));
    mixed.push_back(make_sequence(w, {}, 100, 77));
    mixed.push_back(make_sequence(w, {}, 900, 1));
    mixed.push_back(make_sequence(w, prompt, 1280, 150));
    mixed.push_back(make_sequence(w, prompt, 1290, 5));
    mixed.push_back(make_sequence(w, {}, 1200, 130));
    mixed.push_back(make_sequence(w, prompt, 1301, 1));
    mixed.push_back(make_sequence(w, {}, 0, 1));
    for (const std::vector<sequence> *batch : {&decode, &shared, &mixed}) {
        for (const sequence &s : *batch) {
            spoil(w, s);
        }
    }
    machine m(w);
    m.keys.put(w.keys);
    m.values.put(w.values);
    check_batch(m, decode, CUDA_BF16, "decode");
    check_batch(m, shared, CUDA_BF16, "shared prefix");
    check_batch(m, mixed, CUDA_BF16, "chunks and decode");
    if (e4m3) {
        check_batch(m, mixed, CUDA_E4M3, "chunks and decode");
    }
}

/* ---- Rotation and the cache ---- */

static double rope_error(const cuda_attention_shape &shape, uint32_t rows, bool f32,
                         const std::vector<float> &x, const std::vector<float> &cosine,
                         const std::vector<float> &sine, const std::vector<uint32_t> &page,
                         const std::vector<uint32_t> &slot, const std::vector<uint16_t> &q,
                         const std::vector<uint16_t> &keys, const std::vector<uint16_t> &values)
{
    uint32_t dim = shape.head_dim, all = shape.heads + 2 * shape.kv_heads;
    double worst = 0;
    for (uint32_t r = 0; r < rows; r++) {
        for (uint32_t h = 0; h < all; h++) {
            for (uint32_t d = 0; d < dim; d++) {
                const float *in = &x[((size_t)r * all + h) * dim];
                uint32_t j = d % (dim / 2);
                double a = in[j], b = in[j + dim / 2];
                if (!f32) {
                    a = bf16_value(bf16_bits((float)a));
                    b = bf16_value(bf16_bits((float)b));
                }
                double c = cosine[(size_t)r * dim / 2 + j], s = sine[(size_t)r * dim / 2 + j];
                if (h >= shape.heads + shape.kv_heads) {
                    c = 1;
                    s = 0;
                }
                double want = d < dim / 2 ? a * c - b * s : b * c + a * s, got;
                if (h < shape.heads) {
                    got = bf16_value(q[((size_t)r * shape.heads + h) * dim + d]);
                } else {
                    bool value = h >= shape.heads + shape.kv_heads;
                    uint32_t kv = h - shape.heads - (value ? shape.kv_heads : 0);
                    size_t at = cuda_kv_page_offset(page[r], kv, shape.kv_heads, dim) +
                                cuda_kv_offset(slot[r], d / 8) + d % 8 * 2;
                    got = bf16_value((value ? values : keys)[at / 2]);
                }
                double error = fabs(got - want) / (fabs(want) + 1e-3);
                worst = error <= worst ? worst : isnan(error) ? 1e9 : error;
            }
        }
    }
    return worst;
}

static void check_rope(uint32_t heads, uint32_t kv_heads, uint32_t dim, bool f32)
{
    const uint32_t rows = 37, pool = 9;
    cuda_attention_shape shape = {heads, kv_heads, dim};
    size_t each = (size_t)(heads + 2 * kv_heads) * dim, plane = (size_t)pool * kv_heads * 64 * dim;
    std::vector<float> x(rows * each), cosine(rows * dim / 2), sine(rows * dim / 2);
    std::vector<uint16_t> narrow(x.size());
    for (size_t i = 0; i < x.size(); i++) {
        x[i] = random_normal();
        narrow[i] = bf16_bits(x[i]);
    }
    for (size_t i = 0; i < cosine.size(); i++) {
        double angle = random_word() * 1e-6;
        cosine[i] = (float)cos(angle);
        sine[i] = (float)sin(angle);
    }
    std::vector<uint32_t> page(rows), slot(rows);
    for (uint32_t r = 0; r < rows; r++) {
        page[r] = (r * 5 + 2) % pool;
        slot[r] = (r * 7 + 63) % 64;
    }
    device_array<float> dx(x.size()), dc(cosine.size()), ds(sine.size());
    device_array<uint16_t> dn(x.size()), dq((size_t)rows * heads * dim), dk(plane), dv(plane);
    device_array<uint32_t> dp(rows), dl(rows);
    dx.put(x), dn.put(narrow), dc.put(cosine), ds.put(sine), dp.put(page), dl.put(slot);
    TRY(cudaMemset(dq.at, 0xFF, dq.count * 2));
    TRY(cudaMemset(dk.at, 0xFF, dk.count * 2));
    TRY(cudaMemset(dv.at, 0xFF, dv.count * 2));
    cuda_rope_write op = {};
    op.shape = shape;
    op.rows = rows;
    op.qkv = f32 ? (const void *)dx.at : dn.at;
    op.qkv_f32 = f32;
    op.cos = dc.at;
    op.sin = ds.at;
    op.page = dp.at;
    op.slot = dl.at;
    op.q = dq.at;
    op.keys = (uint8_t *)dk.at;
    op.values = (uint8_t *)dv.at;
    TRY(cuda_rope_write_run(&op, 0));
    TRY(cudaDeviceSynchronize());
    std::vector<uint16_t> keys = dk.get(), values = dv.get();
    double worst =
        rope_error(shape, rows, f32, x, cosine, sine, page, slot, dq.get(), keys, values);
    size_t written = 0;
    for (size_t i = 0; i < plane; i++) {
        written += (keys[i] != 0xFFFF) + (values[i] != 0xFFFF);
    }
    char line[100];
    snprintf(line, sizeof line, "rope and cache, heads %u/%u x %u, %s", heads, kv_heads, dim,
             f32 ? "float32" : "bf16");
    report(worst < 5e-3 && written == (size_t)rows * kv_heads * dim * 2, line, worst);

    /* keys and values apart by a plane that is not there: one plane at a time */
    TRY(cuda_kv_copy_page((uint8_t *)dk.at, plane * 2, 1, kv_heads, dim, 1, 2, 40, 0));
    TRY(cudaDeviceSynchronize());
    std::vector<uint16_t> after = dk.get();
    size_t wrong = 0;
    for (uint32_t p = 0; p < pool; p++) {
        for (uint32_t h = 0; h < kv_heads; h++) {
            for (uint32_t s = 0; s < 64; s++) {
                for (uint32_t d = 0; d < dim; d++) {
                    uint32_t from = p == 1 && s < 40 ? 2 : p;
                    size_t in = cuda_kv_offset(s, d / 8) + d % 8 * 2;
                    wrong += after[(cuda_kv_page_offset(p, h, kv_heads, dim) + in) / 2] !=
                             keys[(cuda_kv_page_offset(from, h, kv_heads, dim) + in) / 2];
                }
            }
        }
    }
    report(wrong == 0, "copy of the first 40 tokens of a page", (double)wrong);
}

/* ---- Steps in a row ---- */

enum { STEPS = 40, LAYERS = 3, STEP_ROWS = 16, STEP_SEQS = 5, STEP_CAPACITY = 128 };

/* Decode steps through the layers: the plan is copied, queries are rotated, keys and values written, attention run, with
 * nothing in between but the stream's order (or, `apart`, a wait after each). Returns all outputs. */
static std::vector<uint8_t> run_steps(const cuda_attention_shape &shape, bool apart)
{
    const uint32_t pool = 64, dim = shape.head_dim, cols = shape.heads * dim;
    const size_t plane = (size_t)pool * shape.kv_heads * 64 * dim;
    const size_t qkv_row = (size_t)(shape.heads + 2 * shape.kv_heads) * dim;
    const size_t out_bytes = (size_t)STEP_CAPACITY * cols * 2;
    const cuda_attention_limits limits = {STEP_ROWS, 512, 512};
    random_state = 1234567; /* both ways see the same numbers */
    std::vector<uint16_t> cache(plane * 2 * LAYERS);
    for (uint16_t &x : cache) {
        x = (uint16_t)((random_word() & 0x80FF) | 0x3E80);
    }
    std::vector<float> x(qkv_row * STEP_ROWS * LAYERS), angles(STEP_ROWS * dim / 2, 0.7f);
    for (float &v : x) {
        v = random_normal();
    }
    device_array<uint16_t> kv(cache.size()), q((size_t)STEP_ROWS * cols);
    device_array<float> qkv(x.size()), angle(angles.size());
    device_array<uint8_t> plan(cuda_attention_plan_bytes(&limits)),
        states(cuda_attention_state_bytes(&limits, &shape)), out(out_bytes * LAYERS * STEPS);
    device_array<uint32_t> places(2 * STEP_ROWS);
    kv.put(cache);
    qkv.put(x);
    angle.put(angles);
    TRY(cudaMemset(states.at, 0, 256));
    TRY(cudaMemset(out.at, 0, out.count));
    uint8_t *host;
    TRY(cudaMallocHost(&host, (plan.count + 8 * STEP_ROWS) * STEPS));
    cudaStream_t stream;
    TRY(cudaStreamCreate(&stream));
    uint32_t starts[STEP_SEQS] = {5, 250, 500, 513, 600}, tables[STEP_SEQS][12];
    for (uint32_t i = 0; i < STEP_SEQS; i++) {
        for (uint32_t p = 0; p < 12; p++) { /* the last two share two runs */
            tables[i][p] = (i == 4 && p < 8 ? 3 : i) * 12 + p;
        }
    }
    for (uint32_t step = 0; step < STEPS; step++) {
        uint8_t *mine = host + (plan.count + 8 * STEP_ROWS) * step;
        uint32_t *place = reinterpret_cast<uint32_t *>(mine + plan.count), rows = 0;
        engine_batch_seq seqs[STEP_SEQS];
        for (uint32_t i = 0; i < STEP_SEQS; i++) {
            uint32_t count = i == 2 ? 1 + step % 3 : 1;
            seqs[i] = {tables[i], 12, starts[i], count};
            for (uint32_t r = 0; r < count; r++, rows++) {
                place[rows] = tables[i][(starts[i] + r) / 64];
                place[STEP_ROWS + rows] = (starts[i] + r) % 64;
            }
            starts[i] += count;
        }
        cuda_attention_plan_result result;
        if (!cuda_attention_plan(&result, mine, &limits, &shape, seqs, STEP_SEQS, rows, 132)) {
            printf("FAIL plan refused\n");
            exit(1);
        }
        TRY(cudaMemcpyAsync(plan.at, mine, result.used, cudaMemcpyHostToDevice, stream));
        TRY(cudaMemcpyAsync(places.at, place, 8 * STEP_ROWS, cudaMemcpyHostToDevice, stream));
        for (uint32_t layer = 0; layer < LAYERS; layer++) {
            cuda_rope_write write = {};
            write.shape = shape;
            write.rows = rows;
            write.qkv = qkv.at + qkv_row * STEP_ROWS * layer;
            write.qkv_f32 = true;
            write.cos = write.sin = angle.at;
            write.page = places.at;
            write.slot = places.at + STEP_ROWS;
            write.q = q.at;
            write.keys = reinterpret_cast<uint8_t *>(kv.at + plane * 2 * layer);
            write.values = write.keys + plane * 2;
            cuda_attention op = {};
            op.shape = shape;
            op.rows = rows;
            op.scale = 0.1f;
            op.q = q.at;
            op.keys = write.keys;
            op.values = write.values;
            op.plan = plan.at;
            op.states = states.at;
            op.out = {out.at + out_bytes * (step * LAYERS + layer),
                      NULL,
                      CUDA_BF16,
                      STEP_CAPACITY,
                      cols,
                      cols / 64};
            TRY(cuda_rope_write_run(&write, stream));
            if (apart) {
                TRY(cudaStreamSynchronize(stream));
            }
            TRY(cuda_attention_run(&op, 132, stream));
            if (apart) {
                TRY(cudaStreamSynchronize(stream));
            }
        }
    }
    TRY(cudaStreamSynchronize(stream));
    TRY(cudaStreamDestroy(stream));
    TRY(cudaFreeHost(host));
    return out.get();
}

static void check_steps(uint32_t heads, uint32_t kv_heads, uint32_t dim)
{
    const cuda_attention_shape shape = {heads, kv_heads, dim};
    std::vector<uint8_t> apart = run_steps(shape, true);
    bool written = false;
    for (size_t i = apart.size() - (size_t)STEP_CAPACITY * heads * dim * 2; i < apart.size(); i++) {
        written |= apart[i] != 0;
    }
    size_t different = 0;
    for (int again = 0; again < 3; again++) {
        std::vector<uint8_t> chained = run_steps(shape, false);
        for (size_t i = 0; i < apart.size(); i++) {
            different += chained[i] != apart[i];
        }
    }
    char line[100];
    snprintf(line, sizeof line, "steps chained as apart, heads %u/%u x %u", heads, kv_heads, dim);
    report(different == 0 && written, line, (double)different);
}

int main(int argc, char **argv)
{
    const bool quick = argc > 1 && strcmp(argv[1], "quick") == 0;
    int major = 0;
    TRY(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0));
    if (major != 9) {
        printf("skipped: needs a Hopper GPU\n");
        return 77;
    }
    TRY(cuda_attention_prepare());
    check_rope(32, 32, 128, false);
    check_rope(32, 8, 128, true);
    check_rope(14, 2, 64, false);
    check_steps(32, 32, 128);
    check_steps(16, 4, 64);
    check_attention(4, 4, 128, true);
    if (quick) {
        printf("%d failures\n", failures);
        return failures != 0;
    }
    check_attention(32, 8, 128, true);
    check_attention(14, 2, 64, false);
    check_attention(20, 1, 128, true);
    printf("%d failures\n", failures);
    return failures != 0;
}
