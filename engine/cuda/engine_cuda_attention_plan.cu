/* How a batch becomes work items (host only).
 *
 * Sequences are sorted by their cached pages, so that those with a common beginning are neighbours: a trie is walked over
 * them, one edge being a stretch of whole runs that the same set of sequences shares. Such a stretch is read once for
 * all rows of the set. What is left of a sequence is its own. Each stretch is tiled by rows (128 query rows, the rest 64)
 * and, where a model of the time says so, cut along the runs into pieces. */
#include "engine_cuda_attention.cuh"
#include "engine_cuda_attention_plan.cuh"

#include <algorithm>
#include <cmath>
#include <new>
#include <stdlib.h>
#include <string.h>

namespace
{
/* The model's costs, in runs: measured on an H100 with 32 heads of 128. */
const double ITEM_COST =
    0.15; /* what an item takes beside its runs                               */
const double STATE_COST =
    0.009; /* writing and merging one state of one query row                   */
const double LONE_SPEED =
    1.0 / 0.35; /* of a narrow item that has the memory for itself, against its share */

struct plan_tile {              /* as the model sees it */
    uint32_t begin, runs, rows; /* rows: of queries */
    bool wide;                  /* the stretch's pieces are those of wide tiles */
    bool whole;
};

struct planner {
    const engine_batch_seq *seqs;
    uint32_t seq_count, group, max_items, max_refs;
    uint32_t *order;          /* sequences, sorted by cached pages          */
    uint32_t *row_first;      /* of a sequence, in the batch                */
    uint32_t *page_first;     /* of a sequence, in the page tables          */
    uint32_t *slots;          /* of a row, handed out so far                */
    cuda_plan_item *items[2]; /* narrow, wide                           */
    cuda_plan_ref *refs;
    uint32_t item_count[2], ref_count;
    uint32_t piece[2]; /* runs of an item at most                       */
    plan_tile *tiles;  /* max_items                                     */
    uint32_t tile_count;
    bool full;
};

uint32_t shared_runs(const engine_batch_seq &s)
{
    return s.start / CUDA_RUN_TOKENS; /* only whole runs that nobody writes */
}

uint32_t all_runs(const engine_batch_seq &s)
{
    return (s.start + s.rows - 1) / CUDA_RUN_TOKENS + 1;
}

uint32_t all_pages(const engine_batch_seq &s)
{
    return (s.start + s.rows - 1) / CUDA_KV_PAGE_TOKENS + 1;
}

/* Leading runs that two sequences share. */
uint32_t common_runs(const engine_batch_seq &a, const engine_batch_seq &b)
{
    uint32_t limit = std::min(shared_runs(a), shared_runs(b)) * CUDA_RUN_PAGES, i = 0;
    while (i < limit && a.pages[i] == b.pages[i]) {
        i++;
    }
    return i / CUDA_RUN_PAGES;
}

bool sorts_before(const engine_batch_seq &a, const engine_batch_seq &b)
{
    uint32_t na = shared_runs(a) * CUDA_RUN_PAGES, nb = shared_runs(b) * CUDA_RUN_PAGES;
    for (uint32_t i = 0; i < na && i < nb; i++) {
        if (a.pages[i] != b.pages[i]) {
            return a.pages[i] < b.pages[i];
        }
    }
    return na < nb;
}

/* One tile against runs begin .. end - 1; `whole`: no other item has runs of its rows. */
void add_tile(planner &p, uint32_t ref_first, uint32_t ref_count, bool wide, bool wide_pieces,
              uint32_t pages_first, uint32_t begin, uint32_t end, bool whole)
{
    const cuda_plan_ref *refs = p.refs + ref_first;
    uint32_t last = 0, last_low = 0;
    const uint32_t stable = p.refs[ref_first].stable;
    for (uint32_t i = 0; i < ref_count; i++) {
        last = std::max(last, refs[i].position);
        if (i * p.group < CUDA_NARROW_SLOTS) {
            last_low = std::max(last_low, refs[i].position);
        }
    }
    end = std::min(end, last / CUDA_RUN_TOKENS + 1);
    const uint32_t piece = p.piece[wide_pieces];
    const uint32_t pieces = (end - begin + piece - 1) / piece;
    if (p.tile_count < p.max_items) {
        p.tiles[p.tile_count++] = {begin, end - begin, ref_count * p.group, wide_pieces, whole};
    }
    uint32_t slot = p.slots[refs[0].row];
    for (uint32_t i = 0; i < pieces; i++) {
        if (p.item_count[0] + p.item_count[1] == p.max_items) {
            p.full = true;
            return;
        }
        uint32_t from = begin + (uint32_t)((uint64_t)(end - begin) * i / pieces);
        uint32_t to = begin + (uint32_t)((uint64_t)(end - begin) * (i + 1) / pieces);
        cuda_plan_item &item = p.items[wide][p.item_count[wide]++];
        item = {};
        item.ref_first = ref_first;
        item.ref_count = ref_count;
        item.pages_first = pages_first;
        item.run_begin = from;
        item.page_end = std::min(to * CUDA_RUN_PAGES, last / CUDA_KV_PAGE_TOKENS + 1);
        item.page_end_low = std::min(to * CUDA_RUN_PAGES, last_low / CUDA_KV_PAGE_TOKENS + 1);
        /* The lower half may end before this piece: it then looks at one page of masked keys. */
        item.page_end_low = std::max(item.page_end_low, from * CUDA_RUN_PAGES + 1);
        item.slot = slot & 0xFFFFFF;
        item.stable = stable;
        item.final_item = whole && pieces == 1;
        slot += from == 0 ? 1 : to - from;
    }
    if (whole && pieces == 1) {
        return;
    }
    uint32_t first_end = begin + (end - begin) / pieces; /* of the first piece */
    for (uint32_t i = 0; i < ref_count; i++) {
        uint32_t mine = std::min(end, refs[i].position / CUDA_RUN_TOKENS + 1);
        uint32_t count = mine - begin;
        if (begin == 0) {
            count = mine <= first_end ? 1 : 1 + mine - first_end;
        }
        p.slots[refs[i].row] += count;
    }
}

/* The rows of sequences order[low .. high - 1] against runs begin .. end - 1. */
void add_stretch(planner &p, uint32_t low, uint32_t high, uint32_t begin, uint32_t end, bool whole)
{
    const uint32_t wide_tokens = CUDA_WIDE_SLOTS / p.group;
    const uint32_t narrow_tokens = CUDA_NARROW_SLOTS / p.group;
    const uint32_t first = p.ref_count;
    for (uint32_t i = low; i < high; i++) {
        const engine_batch_seq &s = p.seqs[p.order[i]];
        if (p.max_refs - p.ref_count < s.rows) {
            p.full = true;
            return;
        }
        for (uint32_t r = 0; r < s.rows; r++) {
            p.refs[p.ref_count++] = {p.row_first[p.order[i]] + r, s.start + r, 0,
                                     s.start / CUDA_KV_PAGE_TOKENS};
        }
    }
    /* One size of piece for the stretch: its rows must stay at the same number of states. */
    const bool wide_pieces = p.ref_count - first > narrow_tokens;
    uint32_t at = first;
    while (at < p.ref_count && !p.full) {
        bool wide = p.ref_count - at > narrow_tokens;
        uint32_t count = std::min(p.ref_count - at, wide ? wide_tokens : narrow_tokens);
        add_tile(p, at, count, wide, wide_pieces, p.page_first[p.order[low]], begin, end, whole);
        at += count;
    }
}

/* Sequences low .. high - 1 share runs 0 .. begin - 1, which are done. */
void walk(planner &p, uint32_t low, uint32_t high, uint32_t begin)
{
    while (low < high && !p.full) {
        /* the neighbours that share the next run, too */
        uint32_t to = low + 1;
        while (to < high && common_runs(p.seqs[p.order[low]], p.seqs[p.order[to]]) > begin) {
            to++;
        }
        if (to == low + 1) {
            const engine_batch_seq &s = p.seqs[p.order[low]];
            add_stretch(p, low, to, begin, all_runs(s), begin == 0);
        } else {
            uint32_t end = common_runs(p.seqs[p.order[low]], p.seqs[p.order[to - 1]]);
            add_stretch(p, low, to, begin, end, false);
            walk(p, low, to, end);
        }
        low = to;
    }
}

/* Each sequence for itself: fits whatever the limits. */
void walk_alone(planner &p)
{
    for (uint32_t i = 0; i < p.seq_count && !p.full; i++) {
        add_stretch(p, i, i + 1, 0, all_runs(p.seqs[p.order[i]]), true);
    }
}

uint32_t max_items(const cuda_attention_limits *limits)
{
    return limits->max_rows * 2 + 1024;
}

uint32_t max_refs(const cuda_attention_limits *limits)
{
    return limits->max_rows * 4 + 1024;
}

size_t align16(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

bool longer(const cuda_plan_item &a, const cuda_plan_item &b)
{
    return a.page_end - a.run_begin * CUDA_RUN_PAGES > b.page_end - b.run_begin * CUDA_RUN_PAGES;
}

/* Time of all wide (or narrow) tiles when cut into pieces of at most `piece` runs. */
double time_of(const planner &p, bool wide, uint32_t piece, double streams, double kv_heads)
{
    double total = 0, longest = 0, units = 0;
    for (uint32_t i = 0; i < p.tile_count; i++) {
        const plan_tile &t = p.tiles[i];
        if (t.wide != wide) {
            continue;
        }
        uint32_t pieces = (t.runs + piece - 1) / piece, length = (t.runs + pieces - 1) / pieces;
        double state = STATE_COST * t.rows;
        uint32_t states = t.runs; /* one a run, but one alone for the piece that starts at 0 */
        if (t.begin == 0) {
            states = pieces > 1 ? 1 + t.runs - length : t.whole ? 0 : 1;
        }
        total += t.runs + ITEM_COST * pieces + state * states;
        units += pieces;
        longest = std::max(longest, length + ITEM_COST + state * std::min(states, length));
    }
    total *= kv_heads;
    units *= kv_heads;
    if (units == 0) {
        return 0;
    }
    if (!wide) { /* bound by memory: who is left over goes on faster */
        return std::max(total / streams, longest / LONE_SPEED);
    }
    double rounds = std::ceil(units / streams), mean = total / units;
    return std::max(longest, rounds <= 4 ? rounds * mean : total / streams + mean / 2);
}

uint32_t best_piece(const planner &p, bool wide, uint32_t longest, double streams, double kv_heads)
{
    uint32_t best = longest;
    double least = time_of(p, wide, longest, streams, kv_heads);
    for (uint32_t parts : {2, 3, 4, 6, 8, 12, 16, 24, 32, 64}) {
        uint32_t piece = (longest + parts - 1) / parts;
        double time = time_of(p, wide, piece, streams, kv_heads);
        if (time < 0.97 * least) {
            least = time;
            best = piece;
        }
        if (piece == 1) {
            break;
        }
    }
    return best;
}

uint64_t count_slots(const planner &p, uint32_t rows)
{
    uint64_t slots = 0;
    for (uint32_t i = 0; i < rows; i++) {
        slots += p.slots[i];
    }
    return slots;
}

void walk_again(planner &p, uint32_t rows, bool alone)
{
    p.item_count[0] = p.item_count[1] = p.ref_count = p.tile_count = 0;
    p.full = false;
    memset(p.slots, 0, rows * sizeof *p.slots);
    if (alone) {
        walk_alone(p);
    } else {
        walk(p, 0, p.seq_count, 0);
    }
}

/* Cuts until the items fit the limits: pieces grow, and in the end nothing is shared. */
bool cut(planner &p, const cuda_attention_limits *limits, uint32_t rows, uint32_t processors,
         uint32_t kv_heads)
{
    uint32_t longest = 1;
    for (uint32_t i = 0; i < p.seq_count; i++) {
        longest = std::max(longest, all_runs(p.seqs[i]));
    }
    p.piece[0] = p.piece[1] = longest;
    walk_again(p, rows, false);
    if (!p.full) {
        uint32_t narrow = best_piece(p, false, longest, 2.0 * processors, kv_heads);
        p.piece[1] = best_piece(p, true, longest, processors, kv_heads);
        p.piece[0] = narrow;
        while (p.piece[0] < longest || p.piece[1] < longest) {
            walk_again(p, rows, false);
            if (!p.full && count_slots(p, rows) <= limits->max_slots) {
                return true;
            }
            p.piece[0] = std::min(p.piece[0] * 2, longest);
            p.piece[1] = std::min(p.piece[1] * 2, longest);
        }
        walk_again(p, rows, false);
        if (!p.full && count_slots(p, rows) <= limits->max_slots) {
            return true;
        }
    }
    walk_again(p, rows, true);
    return !p.full;
}

/* Sections behind one another; refs learn where the states of their rows begin. */
void write_plan(cuda_attention_plan_result *out, uint8_t *host, planner &p, uint32_t padded_rows,
                uint32_t rows)
{
    cuda_plan_header header = {};
    header.wide = p.item_count[1];
    header.narrow = p.item_count[0];
    header.rows = sizeof header;
    header.items = (uint32_t)align16(header.rows + sizeof(cuda_plan_row) * padded_rows);
    header.refs = header.items + (uint32_t)sizeof(cuda_plan_item) * (header.wide + header.narrow);
    header.pages = header.refs + (uint32_t)sizeof(cuda_plan_ref) * p.ref_count;
    cuda_plan_row *row = reinterpret_cast<cuda_plan_row *>(host + header.rows);
    uint32_t slots = 0;
    for (uint32_t i = 0; i < padded_rows; i++) {
        row[i] = {slots, i < rows ? p.slots[i] : 0};
        slots += row[i].count;
    }
    for (uint32_t i = 0; i < p.ref_count; i++) {
        p.refs[i].slot = row[p.refs[i].row].first;
    }
    cuda_plan_item *items = reinterpret_cast<cuda_plan_item *>(host + header.items);
    for (int wide = 1; wide >= 0; wide--) {
        std::stable_sort(p.items[wide], p.items[wide] + p.item_count[wide], longer);
        memcpy(items, p.items[wide], sizeof *items * p.item_count[wide]);
        items += p.item_count[wide];
    }
    memcpy(host + header.refs, p.refs, sizeof(cuda_plan_ref) * p.ref_count);
    uint32_t *pages = reinterpret_cast<uint32_t *>(host + header.pages);
    for (uint32_t i = 0; i < p.seq_count; i++) {
        memcpy(pages + p.page_first[i], p.seqs[i].pages, all_pages(p.seqs[i]) * sizeof *pages);
    }
    uint32_t page_count =
        p.seq_count == 0 ? 0 : p.page_first[p.seq_count - 1] + all_pages(p.seqs[p.seq_count - 1]);
    memcpy(host, &header, sizeof header);
    out->used = align16(header.pages + page_count * sizeof *pages);
    out->wide = header.wide;
    out->narrow = header.narrow;
    out->slots = slots;
    out->kv_pages = 0;
    for (int wide = 0; wide < 2; wide++) {
        for (uint32_t i = 0; i < p.item_count[wide]; i++) {
            const cuda_plan_item &item = p.items[wide][i];
            out->kv_pages += item.page_end - item.run_begin * CUDA_RUN_PAGES;
        }
    }
}

bool plan(cuda_attention_plan_result *out, uint8_t *host, planner &p, uint8_t *scratch,
          const cuda_attention_limits *limits, const cuda_attention_shape *shape,
          uint32_t padded_rows, uint32_t processors)
{
    p.order = reinterpret_cast<uint32_t *>(scratch);
    p.row_first = p.order + p.seq_count;
    p.page_first = p.row_first + p.seq_count;
    p.slots = p.page_first + p.seq_count;
    uint8_t *next = scratch + align16((3 * (size_t)p.seq_count + limits->max_rows) * 4);
    for (int wide = 0; wide < 2; wide++) {
        p.items[wide] = reinterpret_cast<cuda_plan_item *>(next);
        next += sizeof(cuda_plan_item) * p.max_items;
    }
    p.refs = reinterpret_cast<cuda_plan_ref *>(next);
    p.tiles = reinterpret_cast<plan_tile *>(p.refs + p.max_refs);
    uint32_t rows = 0, pages = 0;
    for (uint32_t i = 0; i < p.seq_count; i++) {
        p.order[i] = i;
        p.row_first[i] = rows;
        p.page_first[i] = pages;
        if (p.seqs[i].rows == 0 || p.seqs[i].rows > padded_rows - rows ||
            all_pages(p.seqs[i]) > limits->max_pages - pages) {
            return false;
        }
        rows += p.seqs[i].rows;
        pages += all_pages(p.seqs[i]);
    }
    const engine_batch_seq *seqs = p.seqs;
    std::stable_sort(p.order, p.order + p.seq_count,
                     [seqs](uint32_t a, uint32_t b) { return sorts_before(seqs[a], seqs[b]); });
    if (!cut(p, limits, rows, processors, shape->kv_heads)) {
        return false;
    }
    write_plan(out, host, p, padded_rows, rows);
    return true;
}
} // namespace

size_t cuda_attention_plan_bytes(const cuda_attention_limits *limits)
{
    return align16(sizeof(cuda_plan_header) + sizeof(cuda_plan_row) * (size_t)limits->max_rows) +
           sizeof(cuda_plan_item) * (size_t)max_items(limits) +
           sizeof(cuda_plan_ref) * (size_t)max_refs(limits) +
           align16(4 * (size_t)limits->max_pages);
}

bool cuda_attention_plan(cuda_attention_plan_result *out, void *host,
                         const cuda_attention_limits *limits, const cuda_attention_shape *shape,
                         const engine_batch_seq *seqs, uint32_t seq_count, uint32_t padded_rows,
                         uint32_t processors)
{
    if (padded_rows > limits->max_rows || processors == 0 ||
        !cuda_attention_supported(shape, CUDA_BF16)) {
        return false;
    }
    planner p = {};
    p.seqs = seqs;
    p.seq_count = seq_count;
    p.group = shape->heads / shape->kv_heads;
    p.max_items = max_items(limits);
    p.max_refs = max_refs(limits);
    size_t bytes = align16((3 * (size_t)seq_count + limits->max_rows) * 4) +
                   sizeof(cuda_plan_item) * 2 * (size_t)p.max_items +
                   sizeof(cuda_plan_ref) * (size_t)p.max_refs +
                   sizeof(plan_tile) * (size_t)p.max_items;
    uint8_t *scratch = new (std::nothrow) uint8_t[bytes];
    if (scratch == NULL) {
        return false;
    }
    bool ok =
        plan(out, static_cast<uint8_t *>(host), p, scratch, limits, shape, padded_rows, processors);
    delete[] scratch;
    return ok;
}
