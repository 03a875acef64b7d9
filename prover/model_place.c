#include "model_place.h"

#include "home.h"
#include "pv_buf.h"
#include "pv_file.h"
#include "pv_mem.h"

#include <stdlib.h>
#include <string.h>

static const char SHIPPED[] = "models/prover-small";

static char *shipped_folder(void)
{
    char buffer[PATH_MAX];
    pv_buf text = {0};
    pv_buf_printf(&text, "%s/%s", home_find(buffer), SHIPPED);
    char *dir = pv_buf_ok(&text) ? pv_buf_detach(&text) : NULL;
    pv_buf_release(&text);
    return dir;
}

static bool has_config(const char *dir)
{
    pv_buf path = {0};
    pv_buf_printf(&path, "%s/config.json", dir);
    bool has = pv_buf_ok(&path) && pv_file_exists(pv_buf_text(&path));
    pv_buf_release(&path);
    return has;
}

pv_status model_place_find(model_place *out, const char *given, pv_error *err)
{
    model_place place = {.shipped = shipped_folder()};
    const char *named = getenv("PROVER_MODEL"), *dir = NULL;
    if (given[0] != '\0') {
        dir = given;
        place.from = "--model";
    } else if (named != NULL && named[0] != '\0') {
        dir = named;
        place.from = "PROVER_MODEL";
    } else if (place.shipped != NULL && has_config(place.shipped)) {
        dir = place.shipped;
        place.from = "shipped with prover";
        place.is_shipped = true;
    }
    place.dir = dir == NULL ? NULL : pv_strdup(dir);
    if (place.shipped == NULL || (dir != NULL && place.dir == NULL)) {
        model_place_release(&place);
        return pv_fail(err, PV_E_NOMEM, "out of memory");
    }
    *out = place;
    return PV_OK;
}

void model_place_release(model_place *place)
{
    pv_free(place->dir);
    pv_free(place->shipped);
    memset(place, 0, sizeof *place);
}
