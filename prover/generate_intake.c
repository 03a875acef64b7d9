/* What is known of a statement before it is tried: whose it is, whether it is there already, whether it may come in. */
#include "generate.h"

#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

/* Shell-like: `*` any run, `?` any byte. */
static bool matches(const char *pattern, const char *text)
{
    const char *star = NULL, *retry = NULL;
    while (*text != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            retry = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++;
            text++;
        } else if (star != NULL) {
            pattern = star + 1;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*') {
        pattern++;
    }
    return *pattern == '\0';
}

/* 90 % train, 5 % valid, 5 % test, by the key of the theorem that all variants come from. */
const char *generate_split(pv_key root)
{
    uint64_t share = pv_mix64(root.hi ^ pv_mix64(root.lo)) % 100;
    return share < 90 ? "train" : share < 95 ? "valid" : "test";
}

static bool is_ours(const generator *g, pv_key root)
{
    return pv_mix64(root.lo ^ pv_mix64(root.hi)) % g->shards == g->shard;
}

void generate_statement_free(generate_statement *st)
{
    pv_free(st->text);
    pv_free(st->mutation);
    pv_free(st->name);
    pv_free(st);
}

static void finish_block(generator *g, const generate_block *block)
{
    json_t *row = json_pack(
        "{s:s,s:s,s:s,s:I,s:I,s:I,s:I}", "kind", "block", "id", block->id, "module", block->module,
        "theorems", (json_int_t)block->theorems, "statements", (json_int_t)block->statements,
        "duplicates", (json_int_t)block->duplicates, "elsewhere", (json_int_t)block->elsewhere);
    generate_write(g, row, NULL);
}

void generate_settle(generator *g, generate_statement *st)
{
    generate_block *block = st->block;
    generate_statement_free(st);
    if (--block->waiting == 0 && g->failure.status == PV_OK && !g->opt->list) {
        finish_block(g, block);
    }
}

static generate_statement *copy_statement(const lean_statement *from, const char *name, pv_key root,
                                          generate_block *block)
{
    generate_statement *st = pv_calloc(1, sizeof *st);
    if (st == NULL) {
        return NULL;
    }
    st->text = pv_strdup(from->text);
    bool itself = block->origin != NULL && strcmp(from->kind, "theorem") == 0;
    st->mutation = pv_strdup(itself ? block->mutation : from->kind);
    st->name = pv_strdup(name);
    st->key = from->key;
    st->root = root;
    st->block = block;
    if (st->text == NULL || st->mutation == NULL || st->name == NULL) {
        generate_statement_free(st);
        return NULL;
    }
    return st;
}

/* The reason why the statement gets a row at once; NULL: it is to be tried. */
static const char *filter_of(const generator *g, const generate_statement *st)
{
    if (key_set_has(&g->excluded, st->key) || key_set_has(&g->excluded, st->root)) {
        return "excluded";
    }
    if (strlen(st->text) > g->opt->longest) {
        return "long";
    }
    return NULL;
}

static void take_statement(generator *g, generate_block *block, const char *name, pv_key root,
                           const lean_statement *from)
{
    block->statements++;
    if (!is_ours(g, root)) {
        block->elsewhere++;
        return;
    }
    if (key_set_has(&g->done, from->key)) {
        block->duplicates++;
        return;
    }
    generate_statement *st = copy_statement(from, name, root, block);
    pv_error err = {0};
    if (st == NULL || key_set_add(&g->done, from->key, &err) != PV_OK) {
        pv_fail(&err, PV_E_NOMEM, "out of memory");
        generate_fail(g, &err);
        return;
    }
    block->waiting++;
    const char *filter = filter_of(g, st);
    if (filter != NULL) {
        generate_drop(g, st, filter, NULL);
        generate_settle(g, st);
        return;
    }
    *g->queue_end = st;
    g->queue_end = &st->next;
    g->queued++;
}

static uint64_t order_of(const generator *g, const lean_statement *mutant)
{
    return pv_mix64(mutant->key.lo ^ g->opt->seed);
}

/* How many mutants of its kind come before this one in the order of the seed. */
static size_t rank_in_kind(const generator *g, const lean_library_theorem *thm, size_t n)
{
    const lean_statement *own = &thm->statements[n];
    size_t before = 0;
    for (size_t i = 0; i < thm->statement_count; i++) {
        before += strcmp(thm->statements[i].kind, own->kind) == 0 &&
                  order_of(g, &thm->statements[i]) < order_of(g, own);
    }
    return before;
}

/* The same among all: one of each kind comes before the second of any. */
static size_t rank_of(const generator *g, const lean_library_theorem *thm, size_t n)
{
    size_t own = rank_in_kind(g, thm, n), before = 0;
    for (size_t i = 0; i < thm->statement_count; i++) {
        size_t rank = rank_in_kind(g, thm, i);
        before += strcmp(thm->statements[i].kind, "theorem") != 0 &&
                  (rank < own || (rank == own && order_of(g, &thm->statements[i]) <
                                                     order_of(g, &thm->statements[n])));
    }
    return before;
}

static bool is_chosen(const generator *g, const lean_library_theorem *thm, size_t n)
{
    return g->opt->variants == 0 || strcmp(thm->statements[n].kind, "theorem") == 0 ||
           rank_of(g, thm, n) < g->opt->variants;
}

static void take_theorem(generator *g, generate_block *block, const lean_library_theorem *thm,
                         const pv_key *key)
{
    const char *name = block->origin != NULL ? block->origin
                       : block->name != NULL ? block->name
                                             : thm->name;
    if (!matches(g->opt->pattern, name)) {
        return;
    }
    block->theorems++;
    pv_key root = key != NULL ? *key : pv_key_of(name, strlen(name));
    if (thm->statement_count > 0 && strcmp(thm->statements[0].kind, "theorem") == 0) {
        root = thm->statements[0].key;
    }
    root = block->origin != NULL ? block->root : root;
    for (size_t i = 0; i < thm->statement_count; i++) {
        if (is_chosen(g, thm, i)) {
            take_statement(g, block, name, root, &thm->statements[i]);
        }
    }
}

void generate_take_library(generator *g, generate_block *block, const lean_library *library)
{
    block->waiting++; /* so that the block is not done in the middle */
    for (size_t i = 0; i < library->theorem_count; i++) {
        take_theorem(g, block, &library->theorems[i], block->text != NULL ? &library->key : NULL);
    }
    if (--block->waiting == 0 && g->failure.status == PV_OK && !g->opt->list) {
        finish_block(g, block);
    }
}

generate_statement *generate_next(generator *g)
{
    generate_statement *st = g->queue;
    if (st != NULL) {
        g->queue = st->next;
        g->queue_end = g->queue == NULL ? &g->queue : g->queue_end;
        g->queued--;
        st->next = NULL;
    }
    return st;
}
