/* From the "pre_tokenizer" value of a tokenizer.json to the stages of engine_pretokenizer.h. */
#include "engine_json.h"
#include "engine_pretokenizer.h"

#include <string.h>

static const char where[] = "tokenizer.json: pre_tokenizer";

/* GPT-2's pattern, which a ByteLevel stage with use_regex applies (openai/gpt-2, src/encoder.py). */
static const char byte_level_pattern[] =
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";

static void read_behavior(enginep_stage *stage, enginep_reader *r)
{
    static const char *const names[] = {"Isolated", "Removed", "Contiguous", "MergedWithPrevious",
                                        "MergedWithNext"};
    const char *name = enginep_read_text(r, "behavior", "");
    for (int i = 0; i < 5; i++) {
        if (strcmp(name, names[i]) == 0) {
            stage->behavior = (enginep_behavior)i;
            return;
        }
    }
    enginep_reader_fail(r, PV_E_UNSUPPORTED, "Split: behavior \"%.64s\" is not known", name);
}

static pv_status add_split(enginep_stage *stage, enginep_reader *r)
{
    const json_t *pattern = enginep_read_object(r, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *text = json_object_get(pattern, "String");
    const json_t *value = regex != NULL ? regex : text;
    read_behavior(stage, r);
    stage->invert = enginep_read_bool(r, "invert", false);
    if (!json_is_string(value) || (regex != NULL && text != NULL)) {
        enginep_reader_fail(r, PV_E_INVALID,
                            "Split: \"pattern\" must be {\"Regex\": ...} or {\"String\": ...}");
    }
    if (r->status != PV_OK) {
        return r->status;
    }
    return enginep_regex_new(&stage->regex, json_string_value(value), json_string_length(value),
                             regex == NULL, r->err);
}

static pv_status add_digits(enginep_stage *stage, enginep_reader *r)
{
    bool individual = enginep_read_bool(r, "individual_digits", false);
    stage->behavior = individual ? ENGINEP_ISOLATED : ENGINEP_CONTIGUOUS;
    static const char pattern[] = "\\p{N}";
    return r->status != PV_OK
               ? r->status
               : enginep_regex_new(&stage->regex, pattern, strlen(pattern), false, r->err);
}

static pv_status add_byte_level(enginep_stage *stage, enginep_reader *r)
{
    stage->prefix_space = enginep_read_bool(r, "add_prefix_space", true);
    bool use_regex = enginep_read_bool(r, "use_regex", true);
    stage->behavior = ENGINEP_ISOLATED;
    if (r->status != PV_OK || !use_regex) {
        return r->status;
    }
    return enginep_regex_new(&stage->regex, byte_level_pattern, strlen(byte_level_pattern), false,
                             r->err);
}

static pv_status add_stage(enginep_pretokenizer *p, const json_t *spec, bool last, pv_error *err)
{
    enginep_reader r;
    enginep_reader_init(&r, spec, where, err);
    if (r.status != PV_OK) {
        return r.status;
    }
    const char *type = enginep_read_text(&r, "type", "");
    enginep_stage *stage = &p->stages[p->count++];
    memset(stage, 0, sizeof *stage);
    if ((strcmp(type, "ByteLevel") == 0) != last) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "%s: the last stage, and only that, must be \"ByteLevel\": this tokenizer "
                       "is not a byte-level one",
                       where);
    }
    if (last) {
        return add_byte_level(stage, &r);
    }
    if (strcmp(type, "Split") == 0) {
        return add_split(stage, &r);
    }
    if (strcmp(type, "Digits") == 0) {
        return add_digits(stage, &r);
    }
    return pv_fail(err, PV_E_UNSUPPORTED,
                   "%s: type \"%.64s\" is not known; known are \"Sequence\", \"Split\", \"Digits\" "
                   "and \"ByteLevel\"",
                   where, type);
}

static pv_status add_sequence(enginep_pretokenizer *p, const json_t *list, pv_error *err)
{
    size_t n = json_array_size(list);
    if (n == 0 || n > ENGINEP_STAGES_MAX) {
        return pv_fail(err, PV_E_UNSUPPORTED,
                       "%s: a sequence of %zu stages; expected 1 to %d, the last a \"ByteLevel\"",
                       where, n, ENGINEP_STAGES_MAX);
    }
    pv_status status = PV_OK;
    for (size_t i = 0; i < n && status == PV_OK; i++) {
        status = add_stage(p, json_array_get(list, i), i + 1 == n, err);
    }
    return status;
}

pv_status enginep_pretokenizer_build(enginep_pretokenizer *p, const json_t *spec, pv_error *err)
{
    const char *type = json_string_value(json_object_get(spec, "type"));
    pv_status status;
    if (type != NULL && strcmp(type, "Sequence") == 0) {
        status = add_sequence(p, json_object_get(spec, "pretokenizers"), err);
    } else if (type != NULL) {
        status = add_stage(p, spec, true, err);
    } else {
        status = pv_fail(err, PV_E_UNSUPPORTED,
                         "%s: there is none; byte-level models need a \"ByteLevel\" stage", where);
    }
    if (status != PV_OK) {
        enginep_pretokenizer_release(p);
    }
    return status;
}
