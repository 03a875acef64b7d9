/* engine_cuda_upload: weights from the checkpoint's mapping to the layouts of the GPU.
 *
 * A runner lists what goes where; cuda_upload_run() then does it all. Several threads copy pieces of a few MiB into
 * page-locked memory (two each, so that reading, copying and arranging overlap), and small kernels arrange what arrives.
 *
 * Weights may also be random (open with a seed): then nothing is read, and kernels make finite numbers of about the size
 * of true weights. For benchmarks at sizes for which there is no file.
 *
 *     cuda_upload *u = NULL;
 *     status = cuda_upload_open(&u, NULL, 1, &err);
 *     status = cuda_upload_tiles(u, &weight, 0, 1, &view, &err); ...
 *     status = cuda_upload_run(u, &err);                 returns when everything is on the device
 *     cuda_upload_close(u);
 * Device memory is borrowed; host memory too, until run() has returned. The device is the current one. */
#ifndef ENGINE_CUDA_UPLOAD_CUH
#define ENGINE_CUDA_UPLOAD_CUH

#include "engine_cuda_matrix.cuh"
#include "engine_cuda_runner.cuh"

/* random_seed NULL: the views' own numbers; else a view's data is only tested for NULL. sharers: uploads that run at the
 * same time, this one included; they share the processors. Fails: PV_E_NOMEM. */
pv_status cuda_upload_open(cuda_upload **out, const uint64_t *random_seed, uint32_t sharers,
                           pv_error *err);
void cuda_upload_close(cuda_upload *upload); /* NULL allowed */

/* Fails: PV_E_NOMEM, PV_E_DEVICE. */
pv_status cuda_upload_run(cuda_upload *upload, pv_error *err);

/* Rows of a view (bf16, or e4m3 in blocks of 128 x 128, as w->type) to the weight's blocks of 128 rows: the view's block
 * j becomes block first + j * step. A row is a multiple of 16 bytes. Scales too. */
pv_status cuda_upload_tiles(cuda_upload *upload, const cuda_weight *w, uint32_t first,
                            uint32_t step, const engine_view *view, pv_error *err);

/* A view's data in units of unit_bytes, each arranged on the host: pack(to, from, type), packed_bytes a unit. */
typedef void cuda_upload_pack_fn(void *to, const void *from, cuda_type type);
pv_status cuda_upload_packed(cuda_upload *upload, void *device, const engine_view *view,
                             size_t unit_bytes, size_t packed_bytes, cuda_upload_pack_fn *pack,
                             pv_error *err);

/* A view's grid of scales as it is. No scales: nothing. */
pv_status cuda_upload_scales(cuda_upload *upload, float *device, const engine_view *view,
                             pv_error *err);

#endif
