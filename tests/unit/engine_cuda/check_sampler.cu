/* check_sampler: draws on the GPU against engine_sampler.c, token by token.
 *
 *     check_sampler [seed]       needs a GPU; prints a line a check; exit status 1 when one fails */
#include "check_common.cuh"
#include "engine_cuda_sampler.cuh"
#include "engine_random.h"
#include "engine_sampler.h"

#include <chrono>
#include <string>

enum { ROWS = 24, DRAWS_A_ROW = 24 };

/* Rows of several kinds: normal, peaked, flat, few values (ties), mostly -infinity, far apart. */
static void fill_row(float *l, uint32_t vocab, uint32_t kind)
{
    for (uint32_t i = 0; i < vocab; i++) {
        float x = random_normal();
        switch (kind % 8) {
        case 0:
            l[i] = 2 * x;
            break;
        case 1:
            l[i] = 3 * x - 5 + (random_word() % 1000 == 0 ? 12 : 0);
            break;
        case 2:
            l[i] = 0.01f * x;
            break;
        case 3:
            l[i] = rintf(2 * x) / 2;
            break;
        case 4:
            l[i] = random_word() % 100 == 0 ? 4 * x : -INFINITY;
            break;
        case 5:
            l[i] = 40 * x;
            break;
        case 6:
            l[i] = 1.25f;
            break;
        default:
            l[i] = -20 + 1.5f * x + (random_word() % (vocab / 4 + 1) == 0 ? 20 : 0);
            break;
        }
    }
}

static engine_draw random_draw(uint32_t row, uint32_t vocab, bool simple)
{
    static const float temperatures[] = {0, 0.3f, 0.7f, 1, 1, 1.5f, 1e-20f, 50, 0.05f};
    const uint32_t ks[] = {0, 0, 1, 5, 40, 1000, 5000, vocab - 1, vocab + 5, vocab / 2};
    static const float ps[] = {0, 1, 0.1f, 0.5f, 0.9f, 0.95f, 0.999f, 1e-6f, 0.99999f};
    static const float ms[] = {0, 0, 0, 0.05f, 0.5f, 1, 1e-4f};
    engine_draw d = {};
    d.key = (uint64_t)random_word() << 32 | random_word();
    d.position = random_word() % 100000;
    d.logit = row;
    d.token = random_word() % 8 == 0 ? random_word() % vocab : (uint32_t)ENGINE_NO_TOKEN;
    d.temperature = temperatures[random_word() % 9];
    if (!simple) {
        d.top_k = ks[random_word() % 10];
        d.top_p = ps[random_word() % 9];
        d.min_p = ms[random_word() % 7];
    }
    return d;
}

struct expected {
    engine_drawn drawn;
    bool damaged;
};

static expected host_draw(engine_sampler *s, const float *logits, const engine_draw *d)
{
    engine_sampling params = {};
    params.temperature = d->temperature;
    params.top_k = d->top_k;
    params.top_p = d->top_p;
    params.min_p = d->min_p;
    bool given = d->token != ENGINE_NO_TOKEN;
    pv_error err = {};
    expected e = {};
    e.drawn.token = given ? d->token : 0;
    e.drawn.logprob = nanf("");
    if (engine_sampler_load(s, logits, given ? NULL : &params, &err) != PV_OK) {
        e.damaged = true;
        return e;
    }
    if (given) {
        e.drawn.logprob = engine_sampler_logprob(s, d->token);
    } else {
        engine_pick pick = engine_sampler_draw(s, engine_uniform(d->key, d->position));
        e.drawn.token = pick.token;
        e.drawn.logprob = pick.logprob;
    }
    return e;
}

static std::vector<engine_drawn> device_draws(const float *logits, uint32_t vocab, uint32_t rows,
                                              const std::vector<engine_draw> &draws, bool cuts)
{
    device_array<engine_draw> from(draws);
    device_array<engine_drawn> out(draws.size());
    device_array<uint8_t> scratch(cuda_sampler_bytes(vocab, rows, (uint32_t)draws.size()));
    cuda_sampler op = {};
    op.logits = logits;
    op.vocab = vocab;
    op.rows = rows;
    op.draws = from.at;
    op.draw_count = (uint32_t)draws.size();
    op.cuts = cuts;
    op.drawn = out.at;
    op.scratch = scratch.at;
    TRY(cuda_sampler_run(&op, 0));
    return out.get();
}

static bool same_bits(const engine_drawn &a, const engine_drawn &b)
{
    return a.token == b.token && memcmp(&a.logprob, &b.logprob, sizeof a.logprob) == 0;
}

static void check_vocab(uint32_t vocab, bool simple)
{
    std::vector<float> logits((size_t)ROWS * vocab);
    for (uint32_t r = 0; r < ROWS; r++) {
        fill_row(&logits[(size_t)r * vocab], vocab, r);
    }
    float *damaged = &logits[(size_t)(ROWS - 3) * vocab];
    damaged[random_word() % vocab] = nanf("");
    damaged[vocab + random_word() % vocab] = INFINITY;
    for (uint32_t i = 0; i < vocab; i++) {
        damaged[2 * (size_t)vocab + i] = -INFINITY;
    }
    std::vector<engine_draw> draws;
    for (uint32_t i = 0; i < ROWS * DRAWS_A_ROW; i++) {
        draws.push_back(random_draw(random_word() % ROWS, vocab, simple));
    }
    device_array<float> device(logits);
    bool cuts = cuda_sampler_cuts(draws.data(), (uint32_t)draws.size());
    std::vector<engine_drawn> got = device_draws(device.at, vocab, ROWS, draws, cuts);
    engine_sampler s = {};
    pv_error err = {};
    if (engine_sampler_init(&s, vocab, &err) != PV_OK) {
        exit(1);
    }
    uint32_t wrong = 0;
    uint32_t wrong_damage = 0;
    double worst = 0;
    for (size_t i = 0; i < draws.size(); i++) {
        const engine_draw &d = draws[i];
        expected e = host_draw(&s, &logits[(size_t)d.logit * vocab], &d);
        if (e.damaged) {
            wrong_damage += !(got[i].token == e.drawn.token && isnan(got[i].logprob));
            continue;
        }
        if (got[i].token != e.drawn.token) {
            if (wrong++ < 8) {
                const float *l = &logits[(size_t)d.logit * vocab];
                printf("  draw %zu row kind %u T %g k %u p %g m %g: token %u (%.9g), host %u "
                       "(%.9g), host keeps %u\n",
                       i, d.logit % 8, d.temperature, d.top_k, d.top_p, d.min_p, got[i].token,
                       got[i].token < vocab ? l[got[i].token] : NAN, e.drawn.token,
                       l[e.drawn.token], s.kept);
            }
            continue;
        }
        double error = fabs((double)got[i].logprob - (double)e.drawn.logprob);
        if (e.drawn.logprob == -INFINITY && got[i].logprob == -INFINITY) {
            error = 0;
        }
        error /= 1 + fabs((double)e.drawn.logprob);
        worst = error <= worst ? worst : error;
    }
    char what[160];
    (void)snprintf(what, sizeof what, "vocab %u%s: tokens that differ, of %zu", vocab,
                   simple ? " (no cuts)" : "", draws.size());
    report(wrong == 0, what, wrong);
    report(wrong_damage == 0, "  damaged rows", wrong_damage);
    report(worst < 1e-6, "  log-probabilities", worst);

    uint32_t moved = 0; /* one draw alone, its row alone */
    for (size_t i = 0; i < draws.size(); i += 17) {
        std::vector<engine_draw> one(1, draws[i]);
        one[0].logit = 0;
        const float *row = device.at + (size_t)draws[i].logit * vocab;
        if (vocab % 4 == 0) {
            std::vector<engine_drawn> alone = device_draws(row, vocab, 1, one, true);
            moved += !same_bits(alone[0], got[i]);
        }
    }
    report(moved == 0, "  draws that depend on their batch", moved);
    engine_sampler_release(&s);
}

/* Frequencies of one distribution against its probabilities. */
static void check_frequencies(void)
{
    const uint32_t vocab = 1000;
    const uint32_t n = 20000;
    std::vector<float> logits = random_normals(vocab, 2);
    std::vector<engine_draw> draws(n);
    for (uint32_t i = 0; i < n; i++) {
        draws[i] = {};
        draws[i].key = engine_sample_key(7, 1, i);
        draws[i].position = 3;
        draws[i].token = ENGINE_NO_TOKEN;
        draws[i].temperature = 1;
    }
    device_array<float> device(logits);
    std::vector<engine_drawn> got = device_draws(device.at, vocab, 1, draws, false);
    std::vector<double> seen(vocab, 0);
    for (uint32_t i = 0; i < n; i++) {
        seen[got[i].token] += 1;
    }
    double max = -INFINITY;
    double sum = 0;
    for (float l : logits) {
        max = fmax(max, l);
    }
    for (float l : logits) {
        sum += exp(l - max);
    }
    double squares = 0; /* chi-squared, `vocab` degrees or fewer */
    uint32_t degrees = 0;
    for (uint32_t i = 0; i < vocab; i++) {
        double want = n * exp(logits[i] - max) / sum;
        if (want >= 5) {
            squares += (seen[i] - want) * (seen[i] - want) / want;
            degrees++;
        }
    }
    report(fabs(squares - degrees) < 5 * sqrt(2.0 * degrees), "chi-squared over its degrees",
           squares / degrees);
}

int main(int argc, char **argv)
{
    if (argc > 1) {
        random_state += strtoull(argv[1], NULL, 10) * 0x9E3779B97F4A7C15ull;
    }
    check_frequencies();
    const uint32_t vocabs[] = {129280, 102400, 1000, 515, 4, 200003};
    for (uint32_t vocab : vocabs) {
        check_vocab(vocab, true);
        check_vocab(vocab, false);
    }
    printf("%s\n", failures == 0 ? "all passed" : "FAILED");
    return failures != 0;
}
