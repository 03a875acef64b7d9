/* Any bytes are looked at without a crash; what passes is shallow and without exponents. */
#include "lean_export.h"
#include "lean_wire.h"

#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    pv_error err = {0};
    pv_status status = lean_export_look((const char *)data, size, &err);
    if ((status == PV_OK) != (err.msg[0] == '\0') ||
        (status == PV_OK && !lean_wire_shallow((const char *)data, size, LEAN_EXPORT_DEPTH_MAX))) {
        abort();
    }
    return 0;
}
