#include "policy_prompt.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

void policy_prompt_state(const prover_json *format, const search_policy_request *q, pv_buf *out)
{
    pv_buf_puts(out, format->before);
    for (size_t i = 0; i < q->goal_count; i++) {
        pv_buf_puts(out, i > 0 ? "\n\n" : "");
        pv_buf_puts(out, q->goals[i]);
    }
    pv_buf_puts(out, format->after);
}

/* Nothing when the statements bring their headers along. */
static void put_header(const char *header, pv_buf *out)
{
    pv_buf_printf(out, "%s%s", header, header[0] == '\0' ? "" : "\n\n");
}

void policy_prompt_question(const char *header, const search_policy_request *q, pv_buf *out)
{
    put_header(header, out);
    pv_buf_puts(out, q->statement);
}

static bool in_name(char c)
{
    return c == '_' || c == '\'' || c == '.' || (unsigned char)c >= 0x80 ||
           isalnum((unsigned char)c) != 0;
}

/* Bytes of the statement before its last `sorry` (the word, not a part of a name) and the blanks there. */
static size_t without_sorry(const char *statement)
{
    static const char word[] = "sorry";
    size_t n = strlen(statement);
    for (const char *at = statement; (at = strstr(at, word)) != NULL; at++) {
        bool whole = (at == statement || !in_name(at[-1])) && !in_name(at[sizeof word - 1]);
        n = whole ? (size_t)(at - statement) : n;
    }
    while (n > 0 && strchr(" \t\r\n", statement[n - 1]) != NULL) {
        n--;
    }
    return n;
}

void policy_prompt_answer(const char *header, const search_policy_request *q, pv_buf *out)
{
    pv_buf_puts(out, "```lean4\n");
    put_header(header, out);
    pv_buf_append(out, q->statement, without_sorry(q->statement));
    pv_buf_putc(out, '\n');
    for (size_t i = 0; i < q->path_count; i++) {
        for (const char *line = q->path[i]; *line != '\0';) {
            size_t k = strcspn(line, "\n");
            pv_buf_puts(out, "  ");
            pv_buf_append(out, line, k);
            pv_buf_putc(out, '\n');
            line += k + (line[k] == '\n');
        }
    }
}

static const char USER[] = "<｜User｜>", ASSISTANT[] = "<｜Assistant｜>",
                  END[] = "<｜end▁of▁sentence｜>";

static pv_status refuse_marks(const char *text, pv_error *err)
{
    return strstr(text, "<｜") == NULL
               ? PV_OK
               : pv_fail(
                     err, PV_E_INVALID,
                     "the theorem's text holds <｜, with which marks of the model's turns begin: "
                     "ask with --api chat");
}

pv_status policy_prompt_turns(const char *const *turns, size_t count, const char *begun,
                              pv_buf *out, pv_error *err)
{
    pv_status status = refuse_marks(begun, err);
    for (size_t i = 0; i < count && status == PV_OK; i++) {
        bool model = i % 2 == 1;
        status = refuse_marks(turns[i], err);
        pv_buf_printf(out, "%s%s%s", model ? ASSISTANT : USER, turns[i], model ? END : "");
    }
    pv_buf_printf(out, "%s%s", ASSISTANT, begun);
    return status == PV_OK && !pv_buf_ok(out) ? pv_fail(err, PV_E_NOMEM, "out of memory") : status;
}
