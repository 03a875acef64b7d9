/* The plan of an attention step: rows are cut into pieces of whole runs when that keeps more of the GPU busy, and the
 * pieces dealt out to teams of thread blocks, longest first to the least loaded. Nothing here can change a result: runs are
 * folded in the order of the tree, here or there. Host code. */
#include "engine_cuda_mla_plan.cuh"

#include <algorithm>
#include <string.h>
#include <vector>

/* Costs in tenths of a microsecond on an H100; only their ratios matter. */
enum { COST_KEYS = 22 /* 64 keys */, COST_RUN = 35, COST_ITEM = 70, COST_MERGE = 40 };

namespace
{

struct rows_view {
    const uint32_t *sequence;
    const uint32_t *length;
    uint32_t rows;
    uint32_t tiles;
    uint32_t teams;
};

struct load {
    uint32_t cost;
    uint32_t team;

    bool operator<(const load &other) const
    { /* the least loaded on top of a heap, the lower number of equals */
        return cost != other.cost ? cost > other.cost : team > other.team;
    }
};

struct draft {
    std::vector<cuda_mla_item> items;
    std::vector<uint64_t> order; /* cost, then index: sorted */
    std::vector<uint32_t> team;  /* of each item */
    std::vector<load> heap;
    std::vector<cuda_mla_merge> merges;
    uint32_t slots;
    uint32_t cost; /* of the whole, as far as it can be foreseen */
};

} // namespace

static uint32_t item_cost(const cuda_mla_item &item)
{
    uint64_t first = (uint64_t)item.run * item.keys;
    uint64_t keys = std::min<uint64_t>((uint64_t)item.runs * item.keys, item.length - first);
    return COST_ITEM + item.runs * COST_RUN + (uint32_t)((keys + 63) / 64) * COST_KEYS;
}

/* Results that a row of `runs` runs leaves in pieces of `piece`. */
static uint32_t parts_of(uint32_t runs, uint32_t piece)
{
    if (piece != 2) {
        return (runs + piece - 1) / piece;
    }
    static const uint32_t rest[CUDA_MLA_FOLD] = {0, 1, 1, 2};
    return runs / CUDA_MLA_FOLD * 3 + rest[runs % CUDA_MLA_FOLD];
}

static uint32_t runs_of(uint32_t length)
{
    uint32_t keys = cuda_mla_run(length);
    return (length + keys - 1) / keys;
}

static void cut_row(draft *d, const rows_view &view, uint32_t row, uint32_t piece)
{
    uint32_t length = view.length[row];
    uint32_t runs = runs_of(length);
    uint32_t slot = d->slots;
    bool whole = runs <= piece;
    for (uint32_t run = 0; run < runs; run += piece) {
        uint32_t count = std::min(piece, runs - run);
        bool apart = piece == 2 && count == 2 && run % CUDA_MLA_FOLD != 0;
        d->items.push_back({row, view.sequence[row], length, run, count, cuda_mla_run(length),
                            whole ? CUDA_MLA_WHOLE : slot, apart});
        slot += apart ? 2 : 1;
    }
    if (!whole) {
        uint32_t parts = parts_of(runs, piece);
        d->merges.push_back({row, d->slots, parts, piece == 2 ? 3u : (uint32_t)CUDA_MLA_FOLD});
        d->slots += parts;
    }
}

/* Longest first, each to the least loaded team. */
static void deal(draft *d, uint32_t teams, uint32_t tiles)
{
    d->order.clear();
    for (uint32_t i = 0; i < d->items.size(); i++) {
        d->order.push_back((uint64_t)(~item_cost(d->items[i])) << 32 | i);
    }
    std::sort(d->order.begin(), d->order.end());
    d->team.assign(d->items.size(), 0);
    d->heap.clear();
    for (uint32_t b = 0; b < teams; b++) {
        d->heap.push_back({0, b});
    }
    std::make_heap(d->heap.begin(), d->heap.end());
    d->cost = 0;
    for (uint64_t entry : d->order) {
        uint32_t i = (uint32_t)entry;
        std::pop_heap(d->heap.begin(), d->heap.end());
        load &least = d->heap.back();
        least.cost += item_cost(d->items[i]);
        d->team[i] = least.team;
        d->cost = std::max(d->cost, least.cost);
        std::push_heap(d->heap.begin(), d->heap.end());
    }
    d->cost += d->slots == 0 ? 0 : COST_MERGE + d->slots * tiles / 2;
}

/* False when there are not slots enough. */
static bool make_draft(draft *d, const rows_view &view, uint32_t piece)
{
    d->items.clear();
    d->merges.clear();
    d->slots = 0;
    uint64_t slots = 0;
    for (uint32_t row = 0; row < view.rows; row++) {
        uint32_t runs = runs_of(view.length[row]);
        slots += runs > piece ? (uint64_t)view.tiles * parts_of(runs, piece) : 0;
    }
    if (slots > CUDA_MLA_SLOTS) {
        return false;
    }
    for (uint32_t row = 0; row < view.rows; row++) {
        cut_row(d, view, row, piece);
    }
    deal(d, view.teams, view.tiles);
    return true;
}

static uint32_t write_plan(void *plan, const draft &d)
{
    cuda_mla_plan_head head = {};
    head.merges = (uint32_t)d.merges.size();
    std::copy(d.merges.begin(), d.merges.end(), head.merge);
    for (uint32_t b : d.team) {
        head.begin[b + 1]++;
    }
    for (uint32_t b = 0; b < CUDA_MLA_BLOCKS; b++) {
        head.begin[b + 1] += head.begin[b];
    }
    uint32_t at[CUDA_MLA_BLOCKS];
    memcpy(at, head.begin, sizeof at);
    cuda_mla_item *items = (cuda_mla_item *)((uint8_t *)plan + sizeof head);
    for (uint64_t entry : d.order) {
        uint32_t i = (uint32_t)entry;
        items[at[d.team[i]]++] = d.items[i];
    }
    memcpy(plan, &head, sizeof head);
    return d.slots;
}

size_t cuda_mla_plan_bytes(uint32_t rows_max, uint32_t heads)
{
    return sizeof(cuda_mla_plan_head) +
           sizeof(cuda_mla_item) * ((size_t)rows_max + CUDA_MLA_SLOTS / cuda_mla_tiles(heads));
}

uint32_t cuda_mla_plan_pieces(void *plan, const uint32_t *sequence, const uint32_t *length,
                              uint32_t rows, uint32_t heads, uint32_t blocks, uint32_t piece)
{
    rows_view view = {sequence, length, rows, cuda_mla_tiles(heads), cuda_mla_teams(blocks, heads)};
    draft d;
    while (!make_draft(&d, view, piece)) {
        piece *= piece <= 2 ? 2 : CUDA_MLA_FOLD;
    }
    return write_plan(plan, d);
}

uint32_t cuda_mla_plan(void *plan, const uint32_t *sequence, const uint32_t *length, uint32_t rows,
                       uint32_t heads, uint32_t blocks)
{
    draft best;
    draft other;
    rows_view view = {sequence, length, rows, cuda_mla_tiles(heads), cuda_mla_teams(blocks, heads)};
    make_draft(&best, view, CUDA_MLA_RUNS);
    if (best.items.size() < (size_t)8 * view.teams) {
        for (uint32_t piece : {16u, 4u, 2u, 1u}) {
            if (!make_draft(&other, view, piece)) {
                break;
            }
            if (other.cost < best.cost) {
                std::swap(best, other);
            }
        }
    }
    return write_plan(plan, best);
}
