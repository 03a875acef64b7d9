/* Which statements there are. The library is cut into blocks of a few theorems; blocks are put into an order that the seed
 * and their names determine, and fetched one ahead. */
#include "generate.h"

#include "lean_session.h"
#include "pv_log.h"
#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    BLOCK_THEOREMS = 8,
    AHEAD = 6, /* statements for each item that wait at least, while there are more */
};

/* ---- questions that are waited for ---- */

typedef struct library_answer {
    bool done;
    pv_error failure;
    void (*take)(void *user, const lean_library *library);
    void *user;
} library_answer;

static void on_answer(void *user, lean_ticket t, const lean_library *library,
                      const pv_error *failure)
{
    library_answer *answer = user;
    (void)t;
    answer->done = true;
    if (failure != NULL) {
        answer->failure = *failure;
    } else {
        answer->take(answer->user, library);
    }
}

static pv_status ask_library(generator *g, const lean_library_request *request,
                             void (*take)(void *user, const lean_library *library), void *user,
                             pv_error *err)
{
    library_answer answer = {.take = take, .user = user};
    lean_ticket ticket = 0;
    pv_status status = lean_library_ask(g->env, request, &ticket, on_answer, &answer, err);
    if (status != PV_OK) {
        return status;
    }
    status = session_wait(&g->s, &answer.done, err);
    if (status != PV_OK) {
        lean_cancel(g->s.pool, ticket);
        while (!answer.done) {
            session_round(&g->s);
        }
        return status;
    }
    return answer.failure.status == PV_OK
               ? PV_OK
               : pv_fail(err, answer.failure.status, "%s", answer.failure.msg);
}

/* ---- blocks ---- */

static generate_block *add_block(generator *g, const char *module, const char *id)
{
    if (pv_grow((void **)&g->blocks, &g->block_capacity, g->block_count + 1, sizeof *g->blocks) !=
        0) {
        return NULL;
    }
    generate_block *block = &g->blocks[g->block_count];
    *block = (generate_block){.module = pv_strdup(module), .id = pv_strdup(id)};
    block->order = pv_hash_bytes(id, strlen(id), g->opt->seed);
    if (block->module == NULL || block->id == NULL) {
        pv_free(block->module);
        pv_free(block->id);
        return NULL;
    }
    g->block_count++;
    return block;
}

/* What else decides which statements a block has. */
static void put_choice(const generator *g, pv_buf *id)
{
    const options *opt = g->opt;
    pv_buf_printf(id, "%s:%s:%s:%llu:%llu", opt->mutations, opt->pattern, opt->shard,
                  (unsigned long long)opt->variants,
                  (unsigned long long)(opt->variants == 0 ? 0 : opt->seed));
}

static bool is_below(const char *module, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(module, prefix, n) == 0 && (module[n] == '\0' || module[n] == '.');
}

static bool is_wanted(const generator *g, const char *module)
{
    for (size_t i = 0; i < g->opt->library.count; i++) {
        if (is_below(module, g->opt->library.items[i])) {
            return true;
        }
    }
    return false;
}

static void take_modules(void *user, const lean_library *library)
{
    generator *g = user;
    pv_buf id = {0};
    for (size_t i = 0; i < library->module_count; i++) {
        const lean_module *module = &library->modules[i];
        for (uint64_t at = 0; is_wanted(g, module->name) && at < module->theorem_count;
             at += BLOCK_THEOREMS) {
            pv_buf_clear(&id);
            pv_buf_printf(&id, "%s:%llu:%d:", module->name, (unsigned long long)at, BLOCK_THEOREMS);
            put_choice(g, &id);
            generate_block *block = add_block(g, module->name, pv_buf_text(&id));
            if (block == NULL) {
                pv_fail(&g->failure, PV_E_NOMEM, "out of memory");
                break;
            }
            block->skip = at;
            block->limit = BLOCK_THEOREMS;
        }
    }
    pv_buf_release(&id);
}

static pv_status find_library(generator *g, pv_error *err)
{
    lean_library_request request = {.kind = LEAN_MODULES};
    size_t before = g->block_count;
    pv_status status = ask_library(g, &request, take_modules, g, err);
    if (status == PV_OK && g->failure.status != PV_OK) {
        status = pv_fail(err, g->failure.status, "%s", g->failure.msg);
    }
    if (status == PV_OK && g->block_count == before) {
        status = pv_fail(err, PV_E_INVALID,
                         "--library %s: the header imports no such module with theorems",
                         g->opt->library.items[0]);
    }
    return status;
}

/* ---- files ---- */

static pv_status add_text(generator *g, const char *path, const char *name, const char *text,
                          size_t n, pv_error *err)
{
    pv_buf id = {0};
    pv_key key = pv_key_of(text, n);
    char hex[33];
    pv_key_format(key, hex);
    pv_buf_printf(&id, "%s:%s:", path, hex);
    put_choice(g, &id);
    generate_block *block = add_block(g, path, pv_buf_text(&id));
    pv_buf_release(&id);
    if (block != NULL) {
        block->text = pv_strndup(text, n);
        block->name = pv_strdup(name);
    }
    return block == NULL || block->text == NULL || block->name == NULL
               ? pv_fail(err, PV_E_NOMEM, "out of memory")
               : PV_OK;
}

/* The name behind `theorem` or `lemma` at the last line that begins so; false: there is none. */
static bool name_in(const char *text, char *name, size_t max)
{
    const char *found = NULL;
    for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
        line += *line == '\n';
        found = strncmp(line, "theorem ", 8) == 0 ? line + 8 : found;
        found = strncmp(line, "lemma ", 6) == 0 ? line + 6 : found;
    }
    size_t n = found == NULL ? 0 : strcspn(found, " \n\t:({[⦃");
    n -= n > 0 && found[n] == '{' && found[n - 1] == '.'; /* "name.{u}" */
    if (n == 0 || n >= max) {
        return false;
    }
    memcpy(name, found, n);
    name[n] = '\0';
    return true;
}

/* A row of our own keeps its source: the theorem that a proof must not use, and the split, go by it. */
static pv_status take_origin(generator *g, const json_t *row, pv_error *err)
{
    const json_t *from = json_object_get(row, "source");
    const char *name = json_string_value(json_object_get(from, "name")),
               *module = json_string_value(json_object_get(from, "library")),
               *mutation = json_string_value(json_object_get(from, "mutation")),
               *root = json_string_value(json_object_get(from, "root"));
    generate_block *block = &g->blocks[g->block_count - 1];
    if (name == NULL || module == NULL || mutation == NULL || root == NULL ||
        !pv_key_parse(root, &block->root)) {
        return PV_OK;
    }
    pv_free(block->module);
    block->module = pv_strdup(module);
    block->origin = pv_strdup(name);
    block->mutation = pv_strdup(mutation);
    return block->module == NULL || block->origin == NULL || block->mutation == NULL
               ? pv_fail(err, PV_E_NOMEM, "out of memory")
               : PV_OK;
}

/* A statement from a row as `theorem NAME ... := by sorry`. False when the row has none. */
static bool statement_of_row(const json_t *row, pv_buf *text, char *name, size_t max)
{
    const char *given = json_string_value(json_object_get(row, "formal_statement"));
    given = given != NULL ? given : json_string_value(json_object_get(row, "statement"));
    if (given == NULL) {
        return false;
    }
    pv_buf_clear(text);
    pv_buf_puts(text, strncmp(given, "statement", 9) == 0 ? "theorem " : "");
    pv_buf_puts(text, given);
    while (text->len > 0 && strchr(" \n\t", text->data[text->len - 1]) != NULL) {
        text->data[--text->len] = '\0';
    }
    if (strstr(given, "sorry") == NULL) {
        const char *end = text->data + (text->len < 5 ? 0 : text->len - 5);
        pv_buf_puts(text, strstr(end, "by") != NULL   ? "\n  sorry"
                          : strstr(end, ":=") != NULL ? " by sorry"
                                                      : " := by sorry");
    }
    return pv_buf_ok(text) && name_in(pv_buf_text(text), name, max);
}

typedef struct row_reader {
    generator *g;
    const char *path;
    size_t unreadable;
} row_reader;

static pv_status take_statement_row(void *user, const json_t *row, pv_error *err)
{
    row_reader *r = user;
    pv_buf text = {0};
    char name[256];
    pv_status status = PV_OK;
    if (statement_of_row(row, &text, name, sizeof name)) {
        status = add_text(r->g, r->path, name, text.data, text.len, err);
        status = status == PV_OK ? take_origin(r->g, row, err) : status;
    } else {
        r->unreadable++;
    }
    pv_buf_release(&text);
    return status;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Every theorem of a Lean file, each by itself on the header: it must not lean on commands around it. */
static pv_status read_lean(generator *g, const char *path, pv_error *err)
{
    source src;
    pv_status status = source_load(&src, path, g->opt->header, err);
    if (status != PV_OK) {
        return status;
    }
    theorem_list list = {0};
    status = ask_theorems(&g->s, g->env, &src, &list, err);
    for (size_t i = 0; i < list.count && status == PV_OK; i++) {
        const theorem *t = &list.items[i];
        if (t->prop && t->name[0] != '\0') {
            status = add_text(g, path, t->name, src.text + t->start, t->end - t->start, err);
        }
    }
    theorem_list_release(&list);
    source_release(&src);
    return status;
}

static pv_status read_statements(generator *g, const char *path, pv_error *err)
{
    if (ends_with(path, ".lean")) {
        return read_lean(g, path, err);
    }
    row_reader reader = {g, path, 0};
    pv_status status = data_file_read(path, take_statement_row, &reader, err);
    if (status == PV_OK && reader.unreadable > 0) {
        pv_log(PV_LOG_WARN, "%s: %zu rows without a statement are left out", path,
               reader.unreadable);
    }
    return status;
}

static int compare_blocks(const void *left, const void *right)
{
    const generate_block *a = left, *b = right;
    if (a->order != b->order) {
        return a->order < b->order ? -1 : 1;
    }
    return strcmp(a->id, b->id);
}

pv_status generate_find_sources(generator *g, pv_error *err)
{
    pv_status status = g->opt->library.count > 0 ? find_library(g, err) : PV_OK;
    for (size_t i = 0; i < g->opt->statements.count && status == PV_OK; i++) {
        status = read_statements(g, g->opt->statements.items[i], err);
    }
    if (status == PV_OK) {
        qsort(g->blocks, g->block_count, sizeof *g->blocks, compare_blocks);
    }
    return status;
}

/* ---- what must not come in ---- */

typedef struct excluder {
    generator *g;
    size_t taken, unreadable;
} excluder;

static void take_excluded(void *user, const lean_library *library)
{
    excluder *x = user;
    if (key_set_add(&x->g->excluded, library->key, &x->g->failure) == PV_OK) {
        x->taken++;
    }
}

/* A row that has a key is taken by it; another one is put to Lean. What does not elaborate on this header cannot be equal to
 * a statement that does. */
static pv_status exclude_row(void *user, const json_t *row, pv_error *err)
{
    excluder *x = user;
    const char *hex = json_string_value(json_object_get(row, "key"));
    pv_key key;
    if (hex != NULL && pv_key_parse(hex, &key)) {
        x->taken++;
        return key_set_add(&x->g->excluded, key, err);
    }
    pv_buf text = {0};
    char name[256];
    pv_status status = PV_OK;
    pv_error why = {0};
    if (statement_of_row(row, &text, name, sizeof name)) {
        lean_library_request request = {.kind = LEAN_MUTATE,
                                        .text = pv_buf_text(&text),
                                        .name = name,
                                        .no_absurd = true,
                                        .deadline_ms = 60000};
        status = ask_library(x->g, &request, take_excluded, x, &why);
        bool its_own = status == PV_E_INVALID || status == PV_E_PROTOCOL ||
                       status == PV_E_TIMEOUT || status == PV_E_LIMIT || status == PV_E_LOST;
        x->unreadable += its_own;
        status = status == PV_OK || its_own ? PV_OK : pv_fail(err, status, "%s", why.msg);
    } else {
        x->unreadable++;
    }
    pv_buf_release(&text);
    return status;
}

pv_status generate_exclude_files(generator *g, pv_error *err)
{
    pv_status status = PV_OK;
    for (size_t i = 0; i < g->opt->exclude.count && status == PV_OK; i++) {
        excluder x = {.g = g};
        status = data_file_read(g->opt->exclude.items[i], exclude_row, &x, err);
        if (status == PV_OK && x.unreadable > 0) {
            pv_log(PV_LOG_WARN,
                   "--exclude %s: %zu statements are excluded; %zu do not elaborate on this "
                   "header, so that none here can be equal to them",
                   g->opt->exclude.items[i], x.taken, x.unreadable);
        }
    }
    return status;
}

/* ---- fetching ---- */

static void on_fetched(void *user, lean_ticket t, const lean_library *library,
                       const pv_error *failure)
{
    generator *g = user;
    generate_block *block = g->fetching;
    (void)t;
    g->fetching = NULL;
    block->fetched = true;
    if (failure == NULL) {
        generate_take_library(g, block, library);
    } else if (failure->status == PV_E_SPAWN || failure->status == PV_E_NOMEM) {
        generate_fail(g, failure);
    } else if (failure->status != PV_E_CANCELLED) {
        pv_log(PV_LOG_WARN, "%s: no statements: %s", block->id, failure->msg);
    }
}

static void fetch(generator *g, generate_block *block)
{
    lean_library_request request = {
        .kind = block->text != NULL ? LEAN_MUTATE : LEAN_STATEMENTS,
        .module = block->module,
        .skip = block->skip,
        .limit = block->limit,
        .text = block->text,
        .name = block->name,
        .no_absurd = true, /* the states themselves are asked: generate_item.c */
        .mutations = g->mutations,
        .mutation_count = g->mutation_count,
    };
    pv_error err = {0};
    g->fetching = block;
    if (lean_library_ask(g->env, &request, &g->fetch_ticket, on_fetched, g, &err) != PV_OK) {
        g->fetching = NULL;
        generate_fail(g, &err);
    }
}

bool generate_source_turn(generator *g)
{
    if (g->fetching != NULL || g->stopping || g->queued >= AHEAD * g->item_count) {
        return false;
    }
    while (g->next_block < g->block_count) {
        generate_block *block = &g->blocks[g->next_block++];
        if (!key_set_has(&g->blocks_done, pv_key_of(block->id, strlen(block->id)))) {
            fetch(g, block);
            return true;
        }
    }
    return false;
}

bool generate_source_over(const generator *g)
{
    return g->fetching == NULL && g->queue == NULL &&
           (g->stopping || g->next_block == g->block_count);
}

void generate_source_release(generator *g)
{
    for (size_t i = 0; i < g->block_count; i++) {
        pv_free(g->blocks[i].id);
        pv_free(g->blocks[i].module);
        pv_free(g->blocks[i].text);
        pv_free(g->blocks[i].name);
        pv_free(g->blocks[i].origin);
        pv_free(g->blocks[i].mutation);
    }
    pv_free(g->blocks);
    while (g->queue != NULL) {
        generate_statement *st = g->queue;
        g->queue = st->next;
        generate_statement_free(st);
    }
}
