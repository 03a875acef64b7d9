/* http_wire: HTTP transfers on a libuv loop: libcurl's multi interface, its sockets watched by uv_poll, its clock a uv_timer.
 *
 * A transfer is one attempt: no queue, no second try (http_client has those). Connections are kept open and used again. Redirects are
 * never followed, so that what a request carries reaches no other host. libcurl and OpenSSL allocate outside pv_mem.
 *
 * An answer that trickles (a stream of tokens) wakes nobody for every token: once its body has begun, its socket is looked at together
 * with those of the others, every 0.4 ms for each of them and at most every 100 ms. 256 streams then cost a look in 100 ms; one alone is
 * read as it comes.
 * Threads: the loop's. */
#ifndef HTTP_WIRE_H
#define HTTP_WIRE_H

#include "pv_error.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

typedef struct http_wire http_wire;
typedef struct http_transfer http_transfer;

typedef struct http_wire_options { /* borrowed for the call */
    const char *key; /* sent as `Authorization: Bearer KEY`; NULL = none              */
    const char
        *ca_file; /* PEM file of the authorities that may sign the server; NULL = the system's */
    bool direct;  /* past any proxy that the environment names                     */
    double timeout_s;     /* a whole transfer, from the connection on; > 0                 */
    uint32_t connections; /* kept open at most; >= 1                                       */
} http_wire_options;

typedef struct http_end { /* how a transfer ended; borrowed for the call */
    pv_status status; /* PV_OK: an answer came in whole, whatever its code                      */
    int code;         /* HTTP status, 0 when none came                                          */
    double
        retry_after_s; /* what the server asks for; < 0: nothing                                 */
    const char
        *location; /* where a redirect points to; NULL                                       */
    bool hopeless; /* the same will happen again: certificates, a malformed address          */
    const pv_error
        *err; /* status is not PV_OK                                                    */
} http_end;

typedef struct http_call {  /* borrowed until on_end, but for the struct itself */
    const char *url, *body; /* body NULL: GET, else POST of JSON */
    size_t body_len;
    double timeout_s; /* 0: that of the options */
    bool trickles;    /* the answer comes in many small pieces, and none of them is urgent */
    /* Bytes of the answer's body, in order. False stops the transfer: on_end then has PV_E_CANCELLED. Must not call back into
     * the wire. */
    bool (*on_bytes)(void *user, int code, const char *bytes, size_t n);
    void (*on_end)(void *user,
                   const http_end *end); /* once; the transfer is gone. May start others */
    void *user;
} http_call;

/* Fails: PV_E_NOMEM, PV_E_UNSUPPORTED (libcurl cannot start). */
PV_NODISCARD pv_status http_wire_open(http_wire **out, uv_loop_t *loop,
                                      const http_wire_options *options, pv_error *err);

/* Starts a transfer; on_end is called later, by the loop. *out is valid until then. Fails: PV_E_NOMEM, PV_E_INVALID (the address). */
PV_NODISCARD pv_status http_wire_start(http_wire *wire, const http_call *call, http_transfer **out,
                                       pv_error *err);

/* Ends it without on_end; its connection is closed (HTTP/1) or its stream reset, so that the server notices. */
void http_wire_stop(http_wire *wire, http_transfer *transfer);

/* Connections opened so far. */
uint64_t http_wire_connections(const http_wire *wire);

/* Stops what still runs, and closes. The memory goes when the loop has run its close callbacks. NULL allowed. */
void http_wire_close(http_wire *wire);

#endif
