/* lean_protocol: docs/protocol.md in C, requests out and replies in. Internal to lean_bridge; tested against
 * tests/golden/protocol. Threads: pure functions. */
#ifndef LEAN_PROTOCOL_H
#define LEAN_PROTOCOL_H

#include "lean_dialect.h"

enum { LEAN_PROTOCOL_VERSION = 1 };

/* The largest id: what a JavaScript number holds exactly, because the npm Lean runs under one. */
#define LEAN_ID_MAX ((UINT64_C(1) << 53) - 1)

/* Axioms that a proof may use. */
extern const char *const lean_allowed_axioms[3];

/* Appends the request as one line of ASCII with its line end. Fails: PV_E_NOMEM, PV_E_LIMIT (longer than
 * LEAN_WIRE_REQUEST_MAX); *out is then as it was. */
PV_NODISCARD pv_status lean_protocol_encode(const lean_call *call, pv_buf *out, pv_error *err);

/* Reads one frame as a reply to `call` (op, id and answered are looked at). A frame that is no JSON object, or carries
 * another id, or an index other than call->answered, is NONE and stale. Fails: PV_E_PROTOCOL (the id is right but the
 * rest is not), PV_E_NOMEM. */
PV_NODISCARD pv_status lean_protocol_decode(const lean_call *call, const char *frame, size_t n,
                                            lean_reply *reply, pv_error *err);

/* Reads the greeting. Fails: PV_E_UNSUPPORTED (a protocol we do not know). */
PV_NODISCARD pv_status lean_protocol_greeting(const char *frame, size_t n, lean_greeting *out,
                                              pv_error *err);

#endif
