/* data_file: a file of JSON lines that only grows, and that an end at any moment leaves usable.
 *
 * A row is one write(2) at the end of the file. What is written but not synced yet is lost only with the machine, never with
 * this process. A last line without its end (a crash in the middle of a write) is cut off when the file is opened again, and
 * a row that could not be written whole is taken back. One process at a time may have the file open (a lock of fcntl).
 * Threads: one. */
#ifndef DATA_FILE_H
#define DATA_FILE_H

#include "pv_buf.h"
#include "pv_error.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct data_file {
    int fd;          /* -1: closed */
    char *path;      /* for messages */
    bool regular;    /* a file: it can be read back, synced, cut */
    uint64_t length; /* bytes of whole rows */
    uint64_t torn;   /* bytes cut off at the opening */
    uint64_t synced_ms;
    bool dirty;
} data_file;

/* A row that is in the file already; borrowed. Stops at the first that does not return PV_OK. */
typedef pv_status data_file_row(void *user, const json_t *row, pv_error *err);

/* Opens or creates; calls back for each whole row. Fails: PV_E_IO, PV_E_INVALID (a line that is no JSON object: its number),
 * PV_E_LIMIT (another process writes it). */
PV_NODISCARD pv_status data_file_open(data_file *out, const char *path, data_file_row *on_row,
                                      void *user, pv_error *err);

/* Appends one row (borrowed). Fails: PV_E_IO (full disk, closed pipe); the file then holds what it held. */
PV_NODISCARD pv_status data_file_append(data_file *file, const json_t *row, pv_error *err);

/* Syncs when there is something to sync and the last time is `every_ms` ago; 0: now. */
PV_NODISCARD pv_status data_file_sync(data_file *file, uint64_t every_ms, pv_error *err);

/* Syncs and closes. */
PV_NODISCARD pv_status data_file_close(data_file *file, pv_error *err);

/* Reads the rows of a file without opening it for writing; a torn last line is left out. */
PV_NODISCARD pv_status data_file_read(const char *path, data_file_row *on_row, void *user,
                                      pv_error *err);

#endif
