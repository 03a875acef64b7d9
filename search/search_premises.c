#include "search_premises.h"

#include "pv_mem.h"
#include "search_premise_text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* How much a symbol counts by where it stands; the goal's hypotheses tell less than its target. */
static const double HYP_WEIGHT = 0.4, GOAL_HYP_WEIGHT = 0.35, PART_WEIGHT = 0.6,
                    ACROSS_WEIGHT = 0.9; /* not on the same sides in both */
static const double SIDE_BONUS = 0.45, HEAD_BONUS = 0.1, FOREIGN_FACTOR = 0.5;

/* A side is worth less when it says little: of this much weight it counts half. */
static const double SIDE_HALF = 25;

typedef struct lemma {
    char *name;
    search_premise_shape shape;
    uint64_t heads[2], injective, types[PREMISE_TYPES_MAX];
    double norm, left, right; /* weight of the whole, of its sides */
} lemma;

typedef struct posting {
    uint64_t hash;
    uint32_t lemma;
    uint8_t where, parts;
} posting;

/* A symbol's run in the postings. */
typedef struct symbol {
    uint64_t hash; /* 0: free */
    size_t from, to;
    double weight; /* of one occurrence */
} symbol;

struct search_premises {
    lemma *lemmas;
    size_t count, capacity;
    posting *postings;
    size_t posting_count, posting_capacity;
    symbol *table; /* open addressing; table_size a power of two; NULL: not sealed */
    size_t table_size;
};

pv_status search_premises_new(search_premises **out, pv_error *err)
{
    *out = pv_calloc(1, sizeof **out);
    return *out == NULL ? pv_fail(err, PV_E_NOMEM, "no memory for a set of lemmas") : PV_OK;
}

void search_premises_free(search_premises *set)
{
    if (set != NULL) {
        for (size_t i = 0; i < set->count; i++) {
            pv_free(set->lemmas[i].name);
        }
        pv_free(set->lemmas);
        pv_free(set->postings);
        pv_free(set->table);
        pv_free(set);
    }
}

size_t search_premises_count(const search_premises *set)
{
    return set->count;
}

/* ---- making ---- */

static void add_postings(search_premises *set, const premise_text *text, uint32_t number)
{
    for (size_t i = 0; i < text->count; i++) {
        const premise_symbol *s = &text->symbols[i];
        set->postings[set->posting_count++] =
            (posting){s->hash, number, (uint8_t)s->where, (uint8_t)s->parts};
    }
}

pv_status search_premises_add(search_premises *set, const char *name, const char *statement,
                              pv_error *err)
{
    if (set->table != NULL) {
        return pv_fail(err, PV_E_MISUSE, "a lemma is added to a sealed set");
    }
    premise_text text;
    premise_text_statement(&text, statement);
    char *copy = pv_strdup(name);
    bool ok =
        !text.failed && copy != NULL && set->count < UINT32_MAX &&
        pv_grow((void **)&set->lemmas, &set->capacity, set->count + 1, sizeof *set->lemmas) == 0 &&
        pv_grow((void **)&set->postings, &set->posting_capacity, set->posting_count + text.count,
                sizeof *set->postings) == 0;
    if (ok) {
        static const search_premise_shape shapes[] = {SEARCH_PREMISE_FACT, SEARCH_PREMISE_EQUATION,
                                                      SEARCH_PREMISE_IFF};
        add_postings(set, &text, (uint32_t)set->count);
        set->lemmas[set->count++] = (lemma){.name = copy,
                                            .shape = shapes[text.head],
                                            .heads = {text.heads[0], text.heads[1]},
                                            .injective = text.injective};
        memcpy(set->lemmas[set->count - 1].types, text.types, sizeof text.types);
    } else {
        pv_free(copy);
    }
    premise_text_release(&text);
    return ok ? PV_OK : pv_fail(err, PV_E_NOMEM, "no memory for the lemma %s", name);
}

static int by_symbol(const void *a, const void *b)
{
    const posting *x = a, *y = b;
    if (x->hash != y->hash) {
        return x->hash < y->hash ? -1 : 1;
    }
    return (x->lemma > y->lemma) - (x->lemma < y->lemma);
}

static symbol *slot_of(const search_premises *set, uint64_t hash)
{
    size_t at = hash & (set->table_size - 1);
    while (set->table[at].hash != 0 && set->table[at].hash != hash) {
        at = (at + 1) & (set->table_size - 1);
    }
    return &set->table[at];
}

static double part_of(uint32_t parts)
{
    return parts > 1 ? PART_WEIGHT : 1;
}

/* The weight of a symbol is the square of its rarity: it stands for a product of two vectors. */
static void weigh(search_premises *set, symbol *s)
{
    double rarity = log((1 + (double)set->count) / (1 + (double)(s->to - s->from))) + 0.1;
    s->weight = rarity * rarity;
    for (size_t i = s->from; i < s->to; i++) {
        const posting *p = &set->postings[i];
        lemma *l = &set->lemmas[p->lemma];
        double w = s->weight * part_of(p->parts);
        l->left += (p->where & PREMISE_LEFT) != 0 ? w : 0;
        l->right += (p->where & PREMISE_RIGHT) != 0 ? w : 0;
        bool hyp = (p->where & (PREMISE_LEFT | PREMISE_RIGHT)) == 0;
        l->norm += w * (hyp ? HYP_WEIGHT * HYP_WEIGHT : 1);
    }
}

pv_status search_premises_seal(search_premises *set, pv_error *err)
{
    size_t size = 16;
    while (size < 2 * set->posting_count) {
        size *= 2;
    }
    set->table = pv_calloc(size, sizeof *set->table);
    if (set->table == NULL) {
        return pv_fail(err, PV_E_NOMEM, "no memory for the index of %zu lemmas", set->count);
    }
    set->table_size = size;
    if (set->posting_count > 0) {
        qsort(set->postings, set->posting_count, sizeof *set->postings, by_symbol);
    }
    for (size_t from = 0, to; from < set->posting_count; from = to) {
        uint64_t hash = set->postings[from].hash;
        for (to = from; to < set->posting_count && set->postings[to].hash == hash;) {
            to++;
        }
        symbol *s = slot_of(set, hash);
        *s = (symbol){.hash = hash, .from = from, .to = to};
        weigh(set, s);
    }
    return PV_OK;
}

/* ---- asking ---- */

typedef struct tally {
    double dot, left, right;
} tally;

/* The norm of the goal, the sums of all lemmas. */
static double add_up(const search_premises *set, const premise_text *goal, tally *sums)
{
    double norm = 0;
    for (size_t i = 0; i < goal->count; i++) {
        const premise_symbol *g = &goal->symbols[i];
        const symbol *s = slot_of(set, g->hash);
        bool target = (g->where & (PREMISE_LEFT | PREMISE_RIGHT)) != 0;
        double how = target ? 1 : GOAL_HYP_WEIGHT;
        double weight = s->hash != 0 ? s->weight : log(1 + (double)set->count);
        norm += weight * part_of(g->parts) * how * how;
        for (size_t k = s->from; s->hash != 0 && k < s->to; k++) {
            const posting *p = &set->postings[k];
            tally *sum = &sums[p->lemma];
            double w = weight * part_of(p->parts);
            bool hyp = (p->where & (PREMISE_LEFT | PREMISE_RIGHT)) == 0;
            bool across =
                target && !hyp && ((p->where ^ g->where) & (PREMISE_LEFT | PREMISE_RIGHT)) != 0;
            sum->dot += w * how * (hyp ? HYP_WEIGHT : across ? ACROSS_WEIGHT : 1);
            sum->left += (p->where & PREMISE_LEFT) != 0 ? w : 0;
            sum->right += (p->where & PREMISE_RIGHT) != 0 ? w : 0;
        }
    }
    return norm;
}

static bool goal_has(const premise_text *goal, uint64_t hash)
{
    size_t low = 0, high = goal->count;
    while (low < high) {
        size_t mid = (low + high) / 2;
        if (goal->symbols[mid].hash < hash) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low < goal->count && goal->symbols[low].hash == hash;
}

static double share(double part, double whole)
{
    return whole > 0 ? fmin(1, part / whole) : 0;
}

/* A side that is not all there cannot be rewritten, so its share counts by its cube; a side that says little counts less. */
static double side_bonus(double part, double whole)
{
    double s = share(part, whole);
    return s * s * s * whole / (whole + SIDE_HALF);
}

static bool is_foreign(const lemma *l, const premise_text *goal)
{
    for (size_t i = 0; i < PREMISE_TYPES_MAX && l->types[i] != 0; i++) {
        if (!goal_has(goal, l->types[i])) {
            return true;
        }
    }
    return false;
}

static search_premise_hit hit_of(const lemma *l, const tally *sum, double norm,
                                 const premise_text *goal)
{
    search_premise_hit hit = {.name = l->name, .shape = l->shape};
    hit.whole = norm > 0 && l->norm > 0 ? fmin(1, sum->dot / sqrt(norm * l->norm)) : 0;
    hit.left = share(sum->left, l->left);
    hit.right = share(sum->right, l->right);
    hit.injective = l->injective != 0 && goal->head == PREMISE_EQ && goal_has(goal, l->injective);
    double bonus = side_bonus(sum->left, l->left), other = side_bonus(sum->right, l->right);
    hit.score = hit.whole + SIDE_BONUS * fmax(bonus, 0.6 * other) +
                (l->heads[0] != 0 && l->heads[0] == goal->heads[0] ? HEAD_BONUS : 0);
    hit.foreign = is_foreign(l, goal);
    hit.score *= hit.foreign ? FOREIGN_FACTOR : 1;
    return hit;
}

/* Keeps `hits` ordered, the best first. */
static void insert_hit(search_premise_hit *hits, size_t *count, size_t max, search_premise_hit hit)
{
    if (*count == max && hits[max - 1].score >= hit.score) {
        return;
    }
    size_t at = *count < max ? (*count)++ : max - 1;
    while (at > 0 && hits[at - 1].score < hit.score) {
        hits[at] = hits[at - 1];
        at--;
    }
    hits[at] = hit;
}

static bool is_skipped(const char *name, const char *skip, size_t n)
{
    return skip != NULL && strncmp(name, skip, n) == 0 &&
           (name[n] == '\0' || strncmp(name + n, "._", 2) == 0);
}

pv_status search_premises_find(const search_premises *set, const search_premises_query *query,
                               search_premise_hit *hits, size_t max, size_t *count, pv_error *err)
{
    if (set->table == NULL) {
        return pv_fail(err, PV_E_MISUSE, "a set of lemmas is asked before it is sealed");
    }
    premise_text text;
    premise_text_goal(&text, query->goal);
    tally *sums = pv_calloc(set->count + 1, sizeof *sums);
    bool ok = !text.failed && sums != NULL;
    size_t found = 0, skip_length = query->skip == NULL ? 0 : strlen(query->skip);
    double norm = ok ? add_up(set, &text, sums) : 0;
    for (size_t i = 0; i < set->count && ok && max > 0; i++) {
        if (sums[i].dot > 0 && !is_skipped(set->lemmas[i].name, query->skip, skip_length)) {
            search_premise_hit hit = hit_of(&set->lemmas[i], &sums[i], norm, &text);
            if (hit.injective || !query->injective) {
                insert_hit(hits, &found, max, hit);
            }
        }
    }
    pv_free(sums);
    premise_text_release(&text);
    if (!ok) {
        return pv_fail(err, PV_E_NOMEM, "no memory to look for lemmas");
    }
    *count = found;
    return PV_OK;
}
