/* model_id: a name for the weights of a checkpoint folder, so that a result says what it was made with. Threads: pure. */
#ifndef MODEL_ID_H
#define MODEL_ID_H

#include "pv_error.h"
#include "pv_sha256.h"

/* SHA-256 over config.json, tokenizer.json and prover.json, and over name, length, first and last 64 KiB of every .safetensors file in
 * the order of their names: not the whole of 700 GB, but no two checkpoints that were trained share it. Fails: PV_E_IO, PV_E_NOTFOUND. */
PV_NODISCARD pv_status model_id(const char *dir, char hash[PV_SHA256_TEXT], pv_error *err);

#endif
