#include "tree_blob.h"

#include "pv_mem.h"
#include "pv_utf8.h"
#include "text_table.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <zlib.h>

/* What is kept, from most to least. */
typedef struct rung {
    size_t states, failed, message;
} rung;

static const rung LADDER[] = {{TREE_STATES_MAX, TREE_FAILED_MAX, 300},
                              {TREE_STATES_MAX, 4, 200},
                              {TREE_STATES_MAX, 1, 100},
                              {TREE_STATES_MAX, 0, 0},
                              {4000, 0, 0},
                              {800, 0, 0},
                              {100, 0, 0}};

typedef struct tree_writer {
    const rung *keep;
    uint32_t *numbers; /* of each state of the search, plus one; 0: left out */
    size_t capacity, count;
    size_t kept, failed, left; /* of the state that is being written: failed kept and left out */
    pv_buf states, steps, state;
    text_table texts;
    uint64_t cut_states, cut_steps, cut_failed, cut_texts;
    uint64_t visited;
    bool open, starved;
} tree_writer;

static bool is_over(const tree_writer *w)
{
    return w->starved || w->states.len + w->steps.len + w->texts.json.len > TREE_TEXT_MAX;
}

/* ---- which states are kept ---- */

static void number_node(void *user, const search_node_view *node)
{
    tree_writer *w = user;
    if (w->starved ||
        pv_grow((void **)&w->numbers, &w->capacity, w->count + 1, sizeof *w->numbers) != 0) {
        w->starved = true;
        return;
    }
    bool kept = w->count < w->keep->states || node->on_proof;
    w->numbers[w->count++] = kept ? (uint32_t)++w->kept : 0;
    w->cut_states += !kept;
}

/* ---- states ---- */

static void put_number(pv_buf *out, double value)
{
    if (isfinite(value)) {
        pv_buf_printf(out, "%.4g", value);
    } else {
        pv_buf_puts(out, "null");
    }
}

static uint32_t number_of(tree_writer *w, const char *text, size_t n)
{
    return text_table_number(&w->texts, text, n);
}

static void put_goal(tree_writer *w, const char *goal)
{
    size_t n = strlen(goal);
    if (n > TREE_GOAL_MAX) {
        n = pv_utf8_clip(goal, n, TREE_GOAL_MAX);
        w->cut_texts++;
    }
    pv_buf_putc(&w->state, '[');
    for (size_t at = 0; at <= n;) {
        const char *end = memchr(goal + at, '\n', n - at);
        size_t line = end == NULL ? n - at : (size_t)(end - goal) - at;
        pv_buf_printf(&w->state, "%s%u", at > 0 ? "," : "", number_of(w, goal + at, line));
        at += line + 1;
    }
    pv_buf_putc(&w->state, ']');
}

/* The state before is complete once the next begins: its failed tactics are counted then. */
static void close_state(tree_writer *w)
{
    if (w->open) {
        pv_buf_printf(&w->states, "%zu,%s]", w->left, pv_buf_text(&w->state));
        w->cut_failed += w->left;
    }
    w->open = false;
    w->failed = w->left = 0;
    w->starved = w->starved || !pv_buf_ok(&w->state); /* clearing forgets it */
    pv_buf_clear(&w->state);
}

static void put_node(void *user, const search_node_view *node)
{
    tree_writer *w = user;
    close_state(w);
    w->visited++;
    if (w->visited > w->count) { /* memory was short while they were numbered */
        w->starved = true;
    }
    if (is_over(w) || w->numbers[node->id] == 0) {
        return;
    }
    w->open = true;
    pv_buf_printf(&w->states, "%s[%d,%u,", w->states.len > 0 ? "," : "",
                  (node->expanded ? 1 : 0) | (node->solved ? 2 : 0) | (node->dead ? 4 : 0) |
                      (node->on_proof ? 8 : 0),
                  (unsigned)node->depth);
    put_number(&w->states, node->score);
    pv_buf_putc(&w->states, ',');
    pv_buf_putc(&w->state, '[');
    for (size_t i = 0; i < node->goal_count; i++) {
        pv_buf_puts(&w->state, i > 0 ? "," : "");
        put_goal(w, node->goals[i]);
    }
    pv_buf_putc(&w->state, ']');
}

/* ---- steps ---- */

static int64_t message_of(tree_writer *w, const char *message)
{
    if (message == NULL || w->keep->message == 0) {
        return -1;
    }
    size_t n = strlen(message);
    if (n > w->keep->message) {
        n = pv_utf8_clip(message, n, w->keep->message);
        w->cut_texts++;
    }
    return (int64_t)number_of(w, message, n);
}

static void put_edge(void *user, const search_edge_view *edge)
{
    tree_writer *w = user;
    bool succeeded = edge->kind == SEARCH_CLOSED || edge->kind == SEARCH_OPEN;
    if (is_over(w)) {
        return;
    }
    if (!w->open) {
        w->cut_steps += succeeded;
        w->cut_failed += !succeeded;
        return;
    }
    if (!succeeded && w->failed >= w->keep->failed) {
        w->left++;
        return;
    }
    w->failed += !succeeded;
    size_t n = strlen(edge->tactic);
    size_t cut = n > TREE_GOAL_MAX ? pv_utf8_clip(edge->tactic, n, TREE_GOAL_MAX) : n;
    w->cut_texts += cut < n;
    pv_buf_printf(&w->steps, "%s[%u,%d,", w->steps.len > 0 ? "," : "", w->numbers[edge->from] - 1,
                  (int)edge->kind);
    put_number(&w->steps, edge->logprob);
    pv_buf_printf(&w->steps, ",%u,%lld", number_of(w, edge->tactic, cut),
                  (long long)message_of(w, succeeded ? NULL : edge->message));
    for (size_t i = 0; i < edge->child_count; i++) {
        pv_buf_printf(&w->steps, ",%d", (int)w->numbers[edge->children[i]] - 1);
    }
    pv_buf_putc(&w->steps, ']');
}

/* ---- the whole ---- */

static pv_status assemble(const tree_writer *w, const search_run *run, const char *title,
                          pv_buf *out, pv_error *err)
{
    pv_buf_puts(out, "{\"v\":1,\"title\":");
    text_table_quote(out, title, strlen(title));
    pv_buf_printf(out, ",\"end\":\"%s\",\"texts\":[", search_state_name(search_state_of(run)));
    pv_buf_append(out, pv_buf_text(&w->texts.json), w->texts.json.len);
    pv_buf_puts(out, "],\"states\":[");
    pv_buf_append(out, pv_buf_text(&w->states), w->states.len);
    pv_buf_puts(out, "],\"steps\":[");
    pv_buf_append(out, pv_buf_text(&w->steps), w->steps.len);
    pv_buf_printf(out, "],\"cut\":{\"states\":%llu,\"steps\":%llu,\"failed\":%llu,\"texts\":%llu}}",
                  (unsigned long long)w->cut_states, (unsigned long long)w->cut_steps,
                  (unsigned long long)w->cut_failed, (unsigned long long)w->cut_texts);
    bool ok = !w->starved && pv_buf_ok(&w->texts.json) && pv_buf_ok(&w->states) &&
              pv_buf_ok(&w->steps) && pv_buf_ok(&w->state) && pv_buf_ok(out);
    return ok ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory for the search tree");
}

static void release(tree_writer *w)
{
    pv_free(w->numbers);
    pv_buf_release(&w->states);
    pv_buf_release(&w->steps);
    pv_buf_release(&w->state);
    text_table_release(&w->texts);
}

/* The JSON of one rung; *fits is false, and nothing is written, when it is too long. */
static pv_status write_rung(const search_run *run, const char *title, const rung *keep, pv_buf *out,
                            bool *fits, pv_error *err)
{
    search_stats stats;
    tree_writer w = {.keep = keep};
    search_visit(run, number_node, NULL, &w);
    if (!w.starved) {
        search_visit(run, put_node, put_edge, &w);
        close_state(&w);
    }
    search_stats_of(run, &stats);
    w.starved = w.starved || w.count != stats.nodes ||
                w.visited != stats.nodes; /* a visit is silent about it */
    *fits = w.starved || !is_over(&w);
    pv_status status = *fits ? assemble(&w, run, title, out, err) : PV_OK;
    release(&w);
    return status;
}

static pv_status compress_text(const pv_buf *text, pv_buf *out, pv_error *err)
{
    uLongf n = compressBound((uLong)text->len);
    if (!pv_buf_reserve(out, n)) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the search tree");
    }
    if (compress2((Bytef *)out->data + out->len, &n, (const Bytef *)text->data, (uLong)text->len,
                  Z_DEFAULT_COMPRESSION) != Z_OK) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the search tree");
    }
    out->len += n;
    out->data[out->len] = '\0';
    return PV_OK;
}

pv_status tree_blob_write(const search_run *run, const char *title, size_t max, pv_buf *out,
                          pv_error *err)
{
    size_t start = out->len;
    for (size_t i = 0; i < sizeof LADDER / sizeof *LADDER; i++) {
        pv_buf text = {0};
        bool fits = false;
        pv_status status = write_rung(run, title, &LADDER[i], &text, &fits, err);
        if (status == PV_OK && fits) {
            status = compress_text(&text, out, err);
        }
        pv_buf_release(&text);
        if (status != PV_OK || (fits && out->len - start <= max)) {
            return status;
        }
        out->len = start;
    }
    return pv_fail(err, PV_E_LIMIT, "the search tree does not fit into %zu bytes", max);
}
