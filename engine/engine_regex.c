#define PCRE2_CODE_UNIT_WIDTH 8
#include "engine_regex.h"

#include "pv_mem.h"

#include <pcre2.h>

enum {
    JIT_STACK_START = 32 * 1024,
    JIT_STACK_MAX = 4 * 1024 * 1024,
    MATCH_LIMIT = 50 * 1000 * 1000, /* steps of one search                       */
    HEAP_LIMIT_KIB = 256 * 1024,    /* of the interpreter, when the JIT gives up */
    PATTERN_MAX = 1 << 20,
};

struct enginep_regex {
    pcre2_code *code;
    bool jit;
};

struct enginep_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack; /* NULL where the JIT may not run */
};

static void *allocate(PCRE2_SIZE size, void *user)
{
    (void)user;
    return pv_malloc(size);
}

static void release(void *block, void *user)
{
    (void)user;
    pv_free(block);
}

static pv_status fail_compile(const char *pattern, size_t n, int code, size_t at, pv_error *err)
{
    char text[160] = "";
    if (code == PCRE2_ERROR_HEAP_FAILED) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a pattern");
    }
    pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof text);
    return pv_fail(err, PV_E_INVALID, "the pattern \"%.*s\" is not valid near byte %zu: %s",
                   (int)(n < 200 ? n : 200), pattern, at, text);
}

/* Oniguruma's ^ and $ always match at lines, its newline is LF, and its classes are Unicode's. */
static pcre2_code *compile(pcre2_general_context *general, const pv_buf *text, bool literal,
                           int *code, size_t *at)
{
    pcre2_compile_context *context = pcre2_compile_context_create(general);
    if (context == NULL) {
        *code = PCRE2_ERROR_HEAP_FAILED;
        return NULL;
    }
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    uint32_t options =
        literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE;
    pcre2_code *compiled =
        pcre2_compile((PCRE2_SPTR)pv_buf_text(text), text->len, options, code, at, context);
    pcre2_compile_context_free(context);
    return compiled;
}

static pv_status build(enginep_regex *regex, const char *pattern, size_t n, const pv_buf *text,
                       bool literal, pv_error *err)
{
    int code = PCRE2_ERROR_HEAP_FAILED;
    size_t at = 0;
    pcre2_general_context *general = pcre2_general_context_create(allocate, release, NULL);
    regex->code = general == NULL ? NULL : compile(general, text, literal, &code, &at);
    pcre2_general_context_free(general);
    if (regex->code == NULL) {
        return fail_compile(pattern, n, code, at, err);
    }
    /* A kernel that forbids writable code leaves us the interpreter: slower, the same matches. */
    regex->jit = pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE) == 0;
    return PV_OK;
}

pv_status enginep_regex_new(enginep_regex **out, const char *pattern, size_t n, bool literal,
                            pv_error *err)
{
    pv_buf text = {0};
    pv_status status = PV_OK;
    if (n == 0 || n > PATTERN_MAX) {
        return pv_fail(err, PV_E_INVALID, "a pattern of %zu bytes is not usable", n);
    }
    if (literal) {
        pv_buf_append(&text, pattern, n);
    } else {
        status = enginep_regex_translate(pattern, n, &text, err);
    }
    enginep_regex *regex = pv_calloc(1, sizeof *regex);
    if (status == PV_OK && (regex == NULL || !pv_buf_ok(&text))) {
        status = pv_fail(err, PV_E_NOMEM, "out of memory for a pattern");
    }
    if (status == PV_OK) {
        status = build(regex, pattern, n, &text, literal, err);
    }
    pv_buf_release(&text);
    if (status != PV_OK) {
        enginep_regex_free(regex);
        return status;
    }
    *out = regex;
    return PV_OK;
}

void enginep_regex_free(enginep_regex *regex)
{
    if (regex != NULL) {
        pcre2_code_free(regex->code);
        pv_free(regex);
    }
}

void enginep_matcher_free(enginep_matcher *matcher)
{
    if (matcher != NULL) {
        pcre2_match_data_free(matcher->data);
        pcre2_match_context_free(matcher->context);
        pcre2_jit_stack_free(matcher->stack);
        pv_free(matcher);
    }
}

pv_status enginep_matcher_new(enginep_matcher **out, pv_error *err)
{
    pcre2_general_context *general = pcre2_general_context_create(allocate, release, NULL);
    enginep_matcher *m = pv_calloc(1, sizeof *m);
    if (general != NULL && m != NULL) {
        m->data = pcre2_match_data_create(1, general);
        m->context = pcre2_match_context_create(general);
        m->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, general);
    }
    pcre2_general_context_free(general);
    if (m == NULL || m->data == NULL || m->context == NULL) {
        enginep_matcher_free(m);
        return pv_fail(err, PV_E_NOMEM, "out of memory for a matcher");
    }
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
    pcre2_jit_stack_assign(m->context, NULL, m->stack);
    *out = m;
    return PV_OK;
}

static int search(const enginep_regex *regex, enginep_matcher *m, PCRE2_SPTR text, size_t n,
                  size_t from)
{
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int code = PCRE2_ERROR_JIT_STACKLIMIT;
    if (regex->jit) {
        code = pcre2_jit_match(regex->code, text, n, from, options, m->data, m->context);
    }
    if (code == PCRE2_ERROR_JIT_STACKLIMIT) {
        code = pcre2_match(regex->code, text, n, from, options | PCRE2_NO_JIT, m->data, m->context);
    }
    return code;
}

pv_status enginep_regex_find(const enginep_regex *regex, enginep_matcher *matcher, const char *text,
                             size_t n, size_t from, enginep_match *out, pv_error *err)
{
    int code = search(regex, matcher, (PCRE2_SPTR)text, n, from);
    out->found = code >= 0;
    if (code >= 0) {
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(matcher->data);
        out->begin = range[0];
        out->end = range[1];
        return PV_OK;
    }
    if (code == PCRE2_ERROR_NOMATCH) {
        return PV_OK;
    }
    if (code == PCRE2_ERROR_NOMEMORY) {
        return pv_fail(err, PV_E_NOMEM, "out of memory while splitting text");
    }
    return pv_fail(err, PV_E_LIMIT,
                   "splitting a text of %zu bytes took too many steps (PCRE2 error %d)", n, code);
}
