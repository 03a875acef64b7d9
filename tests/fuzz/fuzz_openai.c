/* A server's bytes as a stream of events, in pieces, and as a whole answer: no crash, and the same reply however the bytes are cut. The
 * first two bytes of the input choose the interface and the size of the pieces. */
#include "openai.h"
#include "pv_hash.h"

#include <stdlib.h>

enum { CHOICES = 4 };

typedef struct reader {
    openai_reply reply;
    openai_api api;
} reader;

static pv_status on_event(void *user, const char *data, size_t n, pv_error *err)
{
    reader *r = user;
    return openai_reply_event(&r->reply, r->api, data, n, err);
}

static uint64_t digest(const openai_reply *reply)
{
    uint64_t hash = reply->tokens;
    for (uint32_t i = 0; i < reply->asked; i++) {
        const openai_choice *c = &reply->choices[i];
        hash = pv_hash_bytes(pv_buf_text(&c->text), c->text.len, hash);
        hash = pv_hash_bytes(&c->logprob, sizeof c->logprob, hash + c->scored);
        if (c->logprob > 0 || (c->scored > 0 && !c->present)) {
            abort();
        }
    }
    return hash;
}

static uint64_t stream(openai_api api, const char *bytes, size_t n, size_t piece, pv_status *status)
{
    reader r = {.api = api};
    sse s = {0};
    *status = openai_reply_init(&r.reply, CHOICES, NULL);
    for (size_t at = 0; at < n && *status == PV_OK; at += piece) {
        *status = sse_feed(&s, bytes + at, n - at < piece ? n - at : piece, on_event, &r, NULL);
    }
    *status = *status == PV_OK ? openai_reply_check(&r.reply, true, NULL) : *status;
    uint64_t hash = digest(&r.reply);
    sse_release(&s);
    openai_reply_release(&r.reply);
    return hash;
}

static void whole(openai_api api, const char *bytes, size_t n)
{
    openai_reply reply;
    pv_buf line = {0};
    json_t *ids = NULL;
    if (openai_reply_init(&reply, CHOICES, NULL) == PV_OK) {
        pv_error err = {0};
        if (openai_reply_parse(&reply, api, bytes, n, &err) != PV_OK && err.status == PV_OK) {
            abort();
        }
        (void)digest(&reply);
        openai_reply_release(&reply);
    }
    openai_error_text(bytes, n, &line);
    if (line.len > 304) {
        abort();
    }
    pv_buf_release(&line);
    if (openai_models(bytes, n, &ids, NULL) == PV_OK) {
        json_decref(ids);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) {
        return 0;
    }
    openai_api api = data[0] % 2 == 0 ? OPENAI_COMPLETIONS : OPENAI_CHAT;
    const char *bytes = (const char *)data + 2;
    pv_status one, other;
    uint64_t together = stream(api, bytes, size - 2, size, &one);
    uint64_t apart = stream(api, bytes, size - 2, (size_t)data[1] % 64 + 1, &other);
    if (one != other || together != apart) {
        abort();
    }
    whole(api, bytes, size - 2);
    return 0;
}
