/* Bytes from a child into the framing, in pieces: no crash, no frame beyond the limits, and the same frames however the bytes
 * are cut. The first two bytes of the input choose the framing and the size of the pieces. */
#include "lean_wire.h"
#include "pv_hash.h"

#include <stdlib.h>

enum { FRAME_MAX = 256 };

typedef struct outcome {
    uint64_t hash;
    size_t frames;
    pv_status status;
} outcome;

static outcome run(lean_framing framing, const char *bytes, size_t n, size_t piece)
{
    lean_wire wire = {.framing = framing, .frame_max = FRAME_MAX, .junk_max = 1 << 16};
    outcome out = {0, 0, PV_OK};
    for (size_t at = 0; at < n && out.status == PV_OK; at += piece) {
        const char *frame = NULL;
        size_t size = 0;
        out.status = lean_wire_feed(&wire, bytes + at, n - at < piece ? n - at : piece, NULL);
        do {
            if (out.status == PV_OK) {
                out.status = lean_wire_next(&wire, &frame, &size, NULL);
            }
            if (out.status == PV_OK && frame != NULL) {
                if (size > FRAME_MAX || frame[0] != '{') {
                    abort();
                }
                out.hash = pv_hash_bytes(frame, size, out.hash);
                out.frames++;
            }
        } while (out.status == PV_OK && frame != NULL);
    }
    lean_wire_release(&wire);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    lean_framing framing = data[0] % 2 == 0 ? LEAN_FRAMING_LINE : LEAN_FRAMING_BLANK_LINE;
    const char *bytes = (const char *)data + 2;
    outcome whole = run(framing, bytes, size - 2, size);
    outcome pieces = run(framing, bytes, size - 2, (size_t)data[1] % 64 + 1);
    if (whole.status == PV_OK && pieces.status == PV_OK &&
        (whole.hash != pieces.hash || whole.frames != pieces.frames)) {
        abort();
    }
    return 0;
}
