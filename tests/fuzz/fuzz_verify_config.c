/* Any bytes are read as a configuration without a crash; a module's path stays in its folder. */
#include "verify_config.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    verify_config config;
    pv_error err = {0};
    if (verify_config_parse(&config, "here", (const char *)data, size, &err) != PV_OK) {
        return err.msg[0] == '\0' ? (abort(), 0) : 0;
    }
    if (strncmp(config.solution, "here/", 5) != 0 || strstr(config.solution, "..") != NULL ||
        config.name_count == 0) {
        abort();
    }
    verify_config_release(&config);
    return 0;
}
