/* http_client: requests to one server on a libuv loop: a queue, limits, and second tries over http_wire.
 *
 *   QUEUED -> RUNNING -> (WAITING -> RUNNING)* -> ENDED
 *
 * At most `in_flight` requests run at a time, and starts are at least 1/rate seconds apart; the others wait in the order in which they
 * came. What may go better next time is tried again, at most `retries` times: a connection that fails or breaks off, no answer in
 * time, an answer that its sink calls lost, and the codes 408, 425, 429, 500, 502, 503, 504 and 529. The wait before it is what the
 * server asks for (Retry-After; above 300 s the request fails), else 0.5 s doubled each time up to 30 s, times 0.5 to 1.5. After a 429,
 * and after a 503 with Retry-After, the whole client waits, not only the request. Redirects are failures: the key goes to no other host.
 * Threads: the loop's. */
#ifndef HTTP_CLIENT_H
#define HTTP_CLIENT_H

#include "pv_error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

typedef struct http_client http_client;
typedef struct http_exchange http_exchange;

typedef struct http_client_options { /* borrowed for the call; zero is the default */
    const char *key;                 /* bearer key, see http_client_hide(); NULL = none        */
    const char *ca_file;             /* PEM file of authorities; NULL = the system's           */
    uint32_t in_flight;              /* 0 = 64                                                 */
    uint32_t retries;                /* second tries of a request; 0 = none                    */
    double rate;                     /* starts a second, second tries included; 0 = no limit   */
    double timeout_s;                /* one try, from its start; 0 = 300                       */
    size_t reply_max;                /* bytes of one answer; 0 = 64 MiB                        */
} http_client_options;

/* Where the body of a 2xx answer goes. `begin` comes before each try, and forgets what an earlier one brought. A failure of `bytes` or
 * `end` fails the request with that message; PV_E_LOST (the answer is cut) lets it be tried again first. */
typedef struct http_sink {
    void (*begin)(void *user);
    pv_status (*bytes)(void *user, const char *bytes, size_t n, pv_error *err);
    pv_status (*end)(void *user, pv_error *err);
} http_sink;

typedef struct http_result { /* borrowed for the call */
    pv_status status; /* PV_OK: a 2xx answer, taken whole by the sink. PV_E_CANCELLED           */
    int code;         /* HTTP status of the last try, 0 when none came                          */
    uint32_t tries;
    bool hopeless;    /* the server or the address is wrong, not this request: others fail too  */
    const char *body; /* what a server said with a code that is not 2xx, at most 4 KiB; "" else */
    const pv_error
        *err; /* status is not PV_OK                                                    */
} http_result;

typedef struct http_request { /* url and body are copied */
    const char *url, *body;   /* body NULL: GET, else POST */
    size_t body_len;
    double timeout_s;      /* of a try; 0: that of the options           */
    bool once;             /* no second try                              */
    bool trickles;         /* the answer streams, see http_wire.h        */
    const http_sink *sink; /* static        */
    /* Once, later, from the loop. It may submit and cancel. */
    void (*on_done)(void *user, const http_result *result);
    void *user; /* of sink and on_done */
} http_request;

/* Is it http or https, with a host, and without a user, a password, a query or a fragment? PV_E_INVALID says what is wrong.
 * *loopback and *secure: the host is this machine; it is https. */
PV_NODISCARD pv_status http_client_check(const char *url, bool *loopback, bool *secure,
                                         pv_error *err);

/* A client for the host of `url`: a host that is this machine is reached past any proxy of the environment.
 * Fails: as http_client_check() and http_wire_open(), and PV_E_INVALID for a key that no header can carry. */
PV_NODISCARD pv_status http_client_open(http_client **out, uv_loop_t *loop, const char *url,
                                        const http_client_options *options, pv_error *err);

/* *out is valid until on_done. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status http_client_submit(http_client *client, const http_request *request,
                                          http_exchange **out, pv_error *err);

/* No longer wanted: its transfer ends now; on_done comes later, with PV_E_CANCELLED. */
void http_client_cancel(http_client *client, http_exchange *exchange);

/* Overwrites every occurrence of the key in the text by `*`: servers repeat what they were sent. */
void http_client_hide(const http_client *client, char *text);

typedef struct http_client_stats {
    uint64_t tries, retries, connections;
    uint32_t running, waiting;
} http_client_stats;

void http_client_stats_of(const http_client *client, http_client_stats *out);

/* Nothing may be in flight but what was cancelled; its on_done is not called any more. The loop must run once more. NULL allowed. */
void http_client_close(http_client *client);

#endif
