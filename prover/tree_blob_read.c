#include "json_scan.h"
#include "pv_utf8.h"
#include "tree_blob.h"

#include <string.h>
#include <zlib.h>

enum { VERSION = 1, KIND_MAX = 4, CHUNK = 64 << 10 };

/* Bounds are known only at the end: `texts` and `states` may come after what points to them. */
typedef struct tree_check {
    json_scan scan;
    tree_info info;
    pv_buf text; /* the string read last */
    double version, texts, top_text, top_state;
} tree_check;

/* Whole, and within [low, high]. */
static double take_whole(tree_check *c, double low, double high)
{
    double value = 0;
    if (json_scan_number(&c->scan, &value) &&
        (!(value >= low && value <= high) || value != (double)(int64_t)value)) {
        json_scan_fail(&c->scan, "a number is out of its bounds");
    }
    return c->scan.wrong == NULL ? value : 0;
}

static double take_index(tree_check *c, double low, double *top)
{
    double value = take_whole(c, low, 1e9);
    *top = value > *top ? value : *top;
    return value;
}

static void take_score(tree_check *c)
{
    double ignored;
    if (json_scan_peek(&c->scan) == JSON_SCAN_NULL) {
        json_scan_skip(&c->scan);
    } else {
        json_scan_number(&c->scan, &ignored);
    }
}

static void take_string(tree_check *c)
{
    pv_buf_clear(&c->text);
    json_scan_string(&c->scan, &c->text);
    c->scan.starved = c->scan.starved || !pv_buf_ok(&c->text); /* clearing forgets it */
}

/* One more item must be there. */
static void expect(tree_check *c, bool *more)
{
    if (!json_scan_item(&c->scan, more)) {
        json_scan_fail(&c->scan, "a row of the tree is too short");
    }
}

static void check_texts(tree_check *c)
{
    for (bool more = json_scan_array(&c->scan); json_scan_item(&c->scan, &more);) {
        take_string(c);
        c->texts++;
    }
}

static void check_goals(tree_check *c)
{
    for (bool more = json_scan_array(&c->scan); json_scan_item(&c->scan, &more);) {
        for (bool lines = json_scan_array(&c->scan); json_scan_item(&c->scan, &lines);) {
            take_index(c, 0, &c->top_text);
        }
    }
}

static void check_state(tree_check *c)
{
    bool more = json_scan_array(&c->scan);
    expect(c, &more);
    take_whole(c, 0, 15);
    expect(c, &more);
    take_whole(c, 0, 1e9);
    expect(c, &more);
    take_score(c);
    expect(c, &more);
    take_whole(c, 0, 1e15);
    expect(c, &more);
    check_goals(c);
    if (json_scan_item(&c->scan, &more)) {
        json_scan_fail(&c->scan, "a state has too much in it");
    }
    c->info.states++;
}

static void check_step(tree_check *c)
{
    bool more = json_scan_array(&c->scan);
    expect(c, &more);
    take_index(c, 0, &c->top_state);
    expect(c, &more);
    take_whole(c, 0, KIND_MAX);
    expect(c, &more);
    take_score(c);
    expect(c, &more);
    take_index(c, 0, &c->top_text);
    expect(c, &more);
    take_index(c, -1, &c->top_text);
    while (json_scan_item(&c->scan, &more)) {
        take_index(c, -1, &c->top_state);
    }
    c->info.steps++;
}

static void check_cut(tree_check *c)
{
    json_scan_name key;
    for (bool more = json_scan_object(&c->scan); json_scan_key(&c->scan, &more, &key);) {
        uint64_t value = (uint64_t)take_whole(c, 0, 1e15);
        if (json_scan_key_is(&key, "states")) {
            c->info.cut_states = value;
        } else if (json_scan_key_is(&key, "steps")) {
            c->info.cut_steps = value;
        } else if (json_scan_key_is(&key, "failed")) {
            c->info.cut_failed = value;
        } else if (json_scan_key_is(&key, "texts")) {
            c->info.cut_texts = value;
        }
    }
}

enum {
    SEEN_VERSION = 1,
    SEEN_TITLE = 2,
    SEEN_END = 4,
    SEEN_TEXTS = 8,
    SEEN_STATES = 16,
    SEEN_STEPS = 32,
    SEEN_CUT = 64,
    SEEN_ALL = 127
};

/* One member; which it was. */
static unsigned check_member(tree_check *c, const json_scan_name *key)
{
    if (json_scan_key_is(key, "v")) {
        c->version = take_whole(c, 1, 1e9);
        return SEEN_VERSION;
    }
    if (json_scan_key_is(key, "title") || json_scan_key_is(key, "end")) {
        take_string(c);
        if (json_scan_key_is(key, "end")) {
            return SEEN_END;
        }
        size_t n = pv_utf8_clip(pv_buf_text(&c->text), c->text.len, TREE_TITLE_MAX - 1);
        memcpy(c->info.title, pv_buf_text(&c->text), n);
        c->info.title[n] = '\0';
        return SEEN_TITLE;
    }
    if (json_scan_key_is(key, "texts")) {
        check_texts(c);
        return SEEN_TEXTS;
    }
    if (json_scan_key_is(key, "states")) {
        for (bool more = json_scan_array(&c->scan); json_scan_item(&c->scan, &more);) {
            check_state(c);
        }
        return SEEN_STATES;
    }
    if (json_scan_key_is(key, "steps")) {
        for (bool more = json_scan_array(&c->scan); json_scan_item(&c->scan, &more);) {
            check_step(c);
        }
        return SEEN_STEPS;
    }
    if (json_scan_key_is(key, "cut")) {
        check_cut(c);
        return SEEN_CUT;
    }
    json_scan_skip(&c->scan);
    return 0;
}

static const char *flaw_of(const tree_check *c, bool whole, unsigned seen)
{
    if (!whole) {
        return c->scan.wrong == NULL ? "it is cut off" : c->scan.wrong;
    }
    if (seen != SEEN_ALL) {
        return "a part of it is missing";
    }
    if (c->version != VERSION) {
        return "it is of another version than this program knows";
    }
    if (c->top_text >= c->texts || c->top_state >= (double)c->info.states) {
        return "it points to what is not there";
    }
    return NULL;
}

pv_status tree_blob_check(const char *json, size_t n, tree_info *out, pv_error *err)
{
    tree_check c = {.scan = json_scan_of(json, n), .top_text = -1, .top_state = -1};
    unsigned seen = 0;
    json_scan_name key;
    for (bool more = json_scan_object(&c.scan); json_scan_key(&c.scan, &more, &key);) {
        unsigned member = check_member(&c, &key);
        if ((seen & member) != 0) {
            json_scan_fail(&c.scan, "a part of it is there twice");
        }
        seen |= member;
    }
    bool whole = json_scan_end(&c.scan), starved = c.scan.starved;
    const char *flaw = flaw_of(&c, whole, seen);
    pv_buf_release(&c.text);
    if (starved) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the search tree");
    }
    if (flaw != NULL) {
        return pv_fail(err, PV_E_INVALID, "the search tree is damaged: %s", flaw);
    }
    *out = c.info;
    return PV_OK;
}

/* ---- zlib ---- */

static pv_status inflate_all(z_stream *z, pv_buf *out, pv_error *err)
{
    size_t start = out->len;
    for (int code = Z_OK; code != Z_STREAM_END;) {
        if (out->len - start > TREE_TEXT_MAX + CHUNK) {
            return pv_fail(err, PV_E_LIMIT, "the search tree has more than %d MiB",
                           TREE_TEXT_MAX >> 20);
        }
        if (!pv_buf_reserve(out, CHUNK)) {
            return pv_fail(err, PV_E_NOMEM, "out of memory for the search tree");
        }
        z->next_out = (Bytef *)out->data + out->len;
        z->avail_out = CHUNK;
        code = inflate(z, Z_NO_FLUSH);
        out->len += CHUNK - z->avail_out;
        out->data[out->len] = '\0';
        if (code != Z_OK && code != Z_STREAM_END) { /* Z_BUF_ERROR: it ends too early */
            return code == Z_MEM_ERROR
                       ? pv_fail(err, PV_E_NOMEM, "out of memory for the search tree")
                       : pv_fail(err, PV_E_INVALID,
                                 "the search tree is damaged: it is no zlib stream, or cut off");
        }
    }
    return z->avail_in == 0 ? PV_OK
                            : pv_fail(err, PV_E_INVALID,
                                      "the search tree is damaged: something follows its end");
}

pv_status tree_blob_read(const void *blob, size_t n, tree_info *out, pv_buf *json, pv_error *err)
{
    pv_buf text = {0};
    z_stream z = {.next_in = (Bytef *)blob, .avail_in = (uInt)n};
    if (n > UINT32_MAX) {
        return pv_fail(err, PV_E_LIMIT, "the search tree is too large");
    }
    if (inflateInit(&z) != Z_OK) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for the search tree");
    }
    pv_status status = inflate_all(&z, &text, err);
    inflateEnd(&z);
    if (status == PV_OK) {
        status = tree_blob_check(pv_buf_text(&text), text.len, out, err);
    }
    if (status == PV_OK && json != NULL) {
        pv_buf_append(json, pv_buf_text(&text), text.len);
        status =
            pv_buf_ok(json) ? PV_OK : pv_fail(err, PV_E_NOMEM, "out of memory for the search tree");
    }
    pv_buf_release(&text);
    return status;
}
