/* engine_config_internal: the parts of the configuration reader that live in engine_config_parts.c. */
#ifndef ENGINE_CONFIG_INTERNAL_H
#define ENGINE_CONFIG_INTERNAL_H

#include "engine_config.h"
#include "engine_json.h"

/* Each reads its fields through `r`, whose status they set. */
void enginep_config_read_rope(engine_config *c, enginep_reader *r);
void enginep_config_read_quant(engine_config *c, enginep_reader *r);
void enginep_config_read_ids(engine_config *c, enginep_reader *r);

/* Adds the fields of r's object that were not asked for, as prefix + name. */
pv_status enginep_config_report_unknown(engine_config *c, enginep_reader *r, const char *prefix);

#endif
