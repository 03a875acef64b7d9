/* Bytes as a safetensors file: parse, look every tensor up again, read the first and last byte of each. */
#include "engine_safetensors.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned char touched; /* keeps the reads */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    engine_safetensors *st = NULL;
    pv_error err = {0};
    if (engine_safetensors_parse(&st, data, size, "fuzz", &err) != PV_OK) {
        return 0;
    }
    for (size_t i = 0; i < engine_safetensors_count(st); i++) {
        const engine_tensor *t = engine_safetensors_at(st, i);
        const unsigned char *bytes = t->data;
        if (engine_safetensors_find(st, t->name) != t) {
            abort();
        }
        if (t->bytes != 0) {
            touched = (unsigned char)(bytes[0] ^ bytes[t->bytes - 1]);
        }
    }
    engine_safetensors_close(st);
    return 0;
}
