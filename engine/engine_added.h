/* engine_added: finds the added tokens of a tokenizer.json in raw text. Internal to engine/.
 *
 * Two passes, as in the Hugging Face library: tokens with "normalized": false over the whole text, the others over
 * what is left. In each pass the leftmost match wins, and the longest of those. lstrip and rstrip take the white space
 * next to a token along; single_word wants no word character on either side.
 * Some vocabularies lack bytes that no UTF-8 has, and list the characters that spell them ("À", "ø", ...) as added
 * tokens that are not special. Those "letters" are plain text: they are found also where added tokens are not wanted.
 * Threads: immutable after build. */
#ifndef ENGINE_ADDED_H
#define ENGINE_ADDED_H

#include "engine_regex.h"
#include "engine_vocab.h"

#include <jansson.h>

typedef struct enginep_added_token {
    uint32_t id;
    uint32_t len; /* bytes of its content */
    bool lstrip;
    bool rstrip;
    bool single_word;
} enginep_added_token;

typedef struct enginep_trie_node { /* first child, next sibling */
    uint32_t child;                /* 0: none                   */
    uint32_t sibling;
    uint32_t token; /* index + 1 in tokens; 0: no token ends here */
    unsigned char byte;
} enginep_trie_node;

typedef struct enginep_trie {
    enginep_trie_node *nodes; /* owned; [0] is the root */
    size_t count;
    size_t capacity;
    bool starts[256]; /* bytes that some token begins with */
} enginep_trie;

typedef struct enginep_added {   /* embedded; {0} can be released */
    enginep_added_token *tokens; /* owned */
    size_t count;
    enginep_trie tries[3];     /* raw, normalised, letters   */
    enginep_regex *word_start; /* NULL: no token needs it    */
} enginep_added;

/* Reads the list (NULL: none) and enters each token in `vocab`. */
PV_NODISCARD pv_status enginep_added_build(enginep_added *a, const json_t *list,
                                           enginep_vocab *vocab, pv_error *err);
void enginep_added_release(enginep_added *a);

typedef enum enginep_find { ENGINEP_FIND_ALL, ENGINEP_FIND_LETTERS } enginep_find;

/* Called in order with plain text (id ENGINEP_NO_TOKEN) and with tokens (text: what they cover). */
typedef pv_status enginep_section_fn(void *user, uint32_t id, const char *text, size_t n,
                                     pv_error *err);

typedef struct enginep_sections { /* where sections go, and one thread's matcher */
    enginep_section_fn *emit;
    void *user;
    enginep_matcher *matcher;
    enginep_find find;
} enginep_sections;

PV_NODISCARD pv_status enginep_added_split(const enginep_added *a, const enginep_sections *to,
                                           const char *text, size_t n, pv_error *err);

/* The index of the token whose content is exactly text[0..n), or -1. */
long enginep_added_find(const enginep_added *a, const char *text, size_t n);

#endif
