/* engine_tokenizer_internal: the parts of a tokenizer, for the encoder and for tests of the parts. */
#ifndef ENGINE_TOKENIZER_INTERNAL_H
#define ENGINE_TOKENIZER_INTERNAL_H

#include "engine_added.h"
#include "engine_bpe.h"
#include "engine_pretokenizer.h"
#include "engine_tokenizer.h"
#include "engine_vocab.h"

struct engine_tokenizer {
    enginep_vocab vocab;
    enginep_bpe bpe;
    enginep_pretokenizer pre;
    enginep_added added;
};

#endif
