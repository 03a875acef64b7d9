/* Any bytes are judged without a crash, and the finding lies in the text. */
#include "lean_gate.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lean_gate_finding f = {0};
    if (!lean_gate_pass((const char *)data, size, &f) &&
        (f.rule == NULL || f.why == NULL || f.at > size)) {
        abort();
    }
    return 0;
}
