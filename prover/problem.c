#include "problem.h"

#include "pv_buf.h"
#include "pv_mem.h"

#include <fnmatch.h>
#include <stdbool.h>
#include <string.h>
#include <strings.h>

static void release(problem *p)
{
    pv_free(p->name);
    pv_free(p->split);
    pv_free(p->origin);
    pv_free(p->header);
    pv_free(p->text);
    memset(p, 0, sizeof *p);
}

void problem_list_release(problem_list *list)
{
    for (size_t i = 0; i < list->count; i++) {
        release(&list->items[i]);
    }
    pv_free(list->items);
    key_set_release(&list->names);
    memset(list, 0, sizeof *list);
}

static pv_key key_of(const char *name)
{
    return pv_key_of(name, strlen(name));
}

static char *free_name(const problem_list *list, const char *name)
{
    pv_buf text = {0};
    pv_buf_puts(&text, name);
    for (unsigned n = 2; pv_buf_ok(&text) && key_set_has(&list->names, key_of(pv_buf_text(&text)));
         n++) {
        pv_buf_clear(&text);
        pv_buf_printf(&text, "%s#%u", name, n);
    }
    return pv_buf_detach(&text);
}

pv_status problem_list_add(problem_list *list, const problem *from, pv_error *err)
{
    if (pv_grow((void **)&list->items, &list->capacity, list->count + 1, sizeof *list->items) !=
        0) {
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    problem p = {.name = free_name(list, from->name),
                 .split = pv_strdup(from->split),
                 .origin = pv_strdup(from->origin),
                 .header = pv_strdup(from->header),
                 .text = pv_strdup(from->text),
                 .target = from->target,
                 .number = from->number};
    if (p.name == NULL || p.split == NULL || p.origin == NULL || p.header == NULL ||
        p.text == NULL || key_set_add(&list->names, key_of(p.name), NULL) != PV_OK) {
        release(&p);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    pv_sha256_of(p.text, strlen(p.text), p.text_hash);
    pv_sha256_of(p.header, strlen(p.header), p.header_hash);
    list->items[list->count++] = p;
    return PV_OK;
}

/* ---- choosing ---- */

static bool is_chosen(const problem *p, const problem_choice *choice)
{
    return (choice->split[0] == '\0' || strcasecmp(choice->split, p->split) == 0) &&
           (choice->filter[0] == '\0' || fnmatch(choice->filter, p->name, 0) == 0);
}

/* Keeps the items for which `keep` holds, in order. */
static void keep_only(problem_list *list, const problem_choice *choice,
                      bool (*keep)(const problem *, const problem_choice *))
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (keep(&list->items[i], choice)) {
            list->items[kept++] = list->items[i];
        } else {
            release(&list->items[i]);
        }
    }
    list->count = kept;
}

static bool is_in_shard(const problem *p, const problem_choice *choice)
{
    return choice->parts == 0 || p->number % choice->parts == choice->part;
}

static void hash_all(const problem_list *list, char hash[PV_SHA256_TEXT])
{
    pv_sha256 sha;
    pv_sha256_init(&sha);
    for (size_t i = 0; i < list->count; i++) {
        const problem *p = &list->items[i];
        pv_sha256_add(&sha, p->name, strlen(p->name) + 1);
        pv_sha256_add(&sha, p->header_hash, sizeof p->header_hash);
        pv_sha256_add(&sha, p->text_hash, sizeof p->text_hash);
    }
    pv_sha256_end(&sha, hash);
}

pv_status problem_list_choose(problem_list *list, const problem_choice *choice,
                              char hash[PV_SHA256_TEXT], pv_error *err)
{
    size_t before = list->count;
    keep_only(list, choice, is_chosen);
    if (list->count == 0) {
        return pv_fail(err, PV_E_INVALID, "none of %zu problems has %s%s%s%s", before,
                       choice->split[0] != '\0' ? "the split " : "a name like ",
                       choice->split[0] != '\0' ? choice->split : choice->filter,
                       choice->split[0] != '\0' && choice->filter[0] != '\0' ? " and a name like "
                                                                             : "",
                       choice->split[0] != '\0' ? choice->filter : "");
    }
    for (size_t i = 0; i < list->count; i++) {
        list->items[i].number = i;
    }
    if (hash != NULL) {
        hash_all(list, hash);
    }
    keep_only(list, choice, is_in_shard);
    if (list->count == 0) {
        return pv_fail(err, PV_E_INVALID,
                       "this shard is empty: there are fewer problems than "
                       "shards");
    }
    return PV_OK;
}
