/* Bytes as a tokenizer.json, and what follows a NUL as text for it. When there is no NUL the bytes are text for a
 * tokenizer of single bytes. What is encoded with its bytes kept must come back the same; plain text must not give
 * a special token. */
#include "engine_detokenizer.h"
#include "engine_tokenizer.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void round_trip(engine_encoder *e, const char *text, size_t n, bool exact)
{
    const engine_tokenizer *t = engine_encoder_tokenizer(e);
    engine_tokens ids = {0};
    pv_buf out = {0};
    unsigned modes[] = {ENGINE_ENCODE_SPECIAL, 0, ENGINE_ENCODE_EXACT_BYTES};
    for (int i = 0; i < 3; i++) {
        ids.len = 0;
        pv_buf_clear(&out);
        pv_status status = engine_encode(e, text, n, modes[i], &ids, NULL);
        for (size_t k = 0; k < ids.len && i > 0; k++) {
            if (engine_tokenizer_is_special(t, ids.ids[k])) {
                abort();
            }
        }
        engine_decode(t, ids.ids, ids.len, i == 2 ? ENGINE_DECODE_EXACT_BYTES : 0, &out);
        if (exact && i == 2 && status == PV_OK &&
            (out.len != n || memcmp(pv_buf_text(&out), text, n) != 0)) {
            abort();
        }
    }
    engine_tokens_release(&ids);
    pv_buf_release(&out);
}

static void run(const char *json, size_t json_len, const char *text, size_t n)
{
    engine_tokenizer *t = NULL;
    engine_encoder *e = NULL;
    pv_error err = {0};
    if (engine_tokenizer_parse(&t, json, json_len, &err) == PV_OK &&
        engine_encoder_new(&e, t, &err) == PV_OK) {
        round_trip(e, text, n, false); /* its stages may remove or add text */
    }
    engine_encoder_free(e);
    engine_tokenizer_free(t);
}

static void put_byte_spelling(pv_buf *out, int byte)
{
    static int extra;
    extra = byte == 0 ? 0 : extra;
    bool printable = (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte != 0xad);
    int c = printable ? byte : 0x100 + extra++;
    pv_buf_printf(out, "%s\"\\u%04x\": %d", byte == 0 ? "" : ", ", c, byte);
}

/* A tokenizer of the 256 bytes with DeepSeek-V3's third stage, its own added tokens, and no merges. */
static void byte_tokenizer(pv_buf *out)
{
    pv_buf_puts(out, "{\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
                     "\"Split\", \"pattern\": {\"Regex\": \"[^\\\\r\\\\n\\\\p{L}\\\\p{P}\\\\p{S}]?"
                     "[\\\\p{L}\\\\p{M}]+| ?[\\\\p{P}\\\\p{S}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|"
                     "\\\\s+(?!\\\\S)|\\\\s+\"}, \"behavior\": \"Isolated\"}, {\"type\": "
                     "\"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false}]}, "
                     "\"added_tokens\": [{\"id\": 300, \"content\": \"<a>\", \"special\": true, "
                     "\"lstrip\": true, \"rstrip\": true}, {\"id\": 301, \"content\": \"<a>b\", "
                     "\"special\": true, \"single_word\": true}], \"model\": {\"merges\": [], "
                     "\"vocab\": {");
    for (int i = 0; i < 256; i++) {
        put_byte_spelling(out, i);
    }
    pv_buf_puts(out, "}}}");
}

/* Made once: the process keeps it. */
static engine_encoder *byte_encoder(void)
{
    static engine_encoder *encoder;
    if (encoder == NULL) {
        engine_tokenizer *t = NULL;
        pv_buf json = {0};
        byte_tokenizer(&json);
        if (engine_tokenizer_parse(&t, pv_buf_text(&json), json.len, NULL) != PV_OK ||
            engine_encoder_new(&encoder, t, NULL) != PV_OK) {
            abort();
        }
        pv_buf_release(&json);
    }
    return encoder;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    const char *cut = size == 0 ? NULL : memchr(text, '\0', size);
    if (cut != NULL && text[0] == '{') {
        size_t n = (size_t)(cut - text);
        run(text, n, cut + 1, size - n - 1);
    } else {
        round_trip(byte_encoder(), text, size, true);
    }
    return 0;
}
