#include "engine_random.h"

/* Multipliers and key increments: table 2 and section 4.3 of the paper. */
static void round_once(engine_philox *c, uint32_t key_low, uint32_t key_high)
{
    uint64_t p0 = (uint64_t)0xD2511F53u * c->word[0];
    uint64_t p1 = (uint64_t)0xCD9E8D57u * c->word[2];
    uint32_t w1 = c->word[1];
    uint32_t w3 = c->word[3];
    c->word[0] = (uint32_t)(p1 >> 32) ^ w1 ^ key_low;
    c->word[1] = (uint32_t)p1;
    c->word[2] = (uint32_t)(p0 >> 32) ^ w3 ^ key_high;
    c->word[3] = (uint32_t)p0;
}

engine_philox engine_philox4x32(engine_philox counter, uint64_t key)
{
    uint32_t low = (uint32_t)key;
    uint32_t high = (uint32_t)(key >> 32);
    for (int i = 0; i < 10; i++) {
        round_once(&counter, low, high);
        low += 0x9E3779B9u;
        high += 0xBB67AE85u;
    }
    return counter;
}

uint64_t engine_sample_key(uint64_t seed, uint64_t request, uint32_t sample)
{
    engine_philox c = {{sample, 0, (uint32_t)request, (uint32_t)(request >> 32)}};
    c = engine_philox4x32(c, seed);
    return c.word[0] | (uint64_t)c.word[1] << 32;
}

static double unit(uint32_t high, uint32_t low)
{
    uint64_t bits = (uint64_t)(high >> 5) << 26 | low >> 6;
    return (double)bits * 0x1p-53;
}

double engine_uniform(uint64_t sample_key, uint32_t position)
{
    engine_philox c = {{position, 0, 0, 0}};
    c = engine_philox4x32(c, sample_key);
    return unit(c.word[0], c.word[1]);
}

void engine_uniform_pair(uint64_t path_key, uint32_t pair, double out[2])
{
    engine_philox c = {{pair, 0, 0, 0}};
    c = engine_philox4x32(c, path_key);
    out[0] = unit(c.word[0], c.word[1]);
    out[1] = unit(c.word[2], c.word[3]);
}

uint64_t engine_path_key(uint64_t path_key, uint32_t token)
{
    engine_philox c = {{token, 1, 0, 0}};
    c = engine_philox4x32(c, path_key);
    return c.word[0] | (uint64_t)c.word[1] << 32;
}
