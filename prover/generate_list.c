/* --list: the statements that would be tried are only named. */
#include "generate.h"

#include "pv_mem.h"

#include <stdio.h>

static json_t *list_row(const generate_statement *st)
{
    char key[33];
    pv_buf text = {0};
    pv_key_format(st->key, key);
    pv_buf_printf(&text, "theorem %s", st->text);
    json_t *row = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "name", st->name, "module",
                            st->block->module, "statement", pv_buf_text(&text), "key", key, "split",
                            generate_split(st->root), "mutation", st->mutation);
    pv_buf_release(&text);
    return row;
}

static pv_status write_row(generator *g, const json_t *row, pv_error *err)
{
    if (row == NULL) {
        return pv_fail(err, PV_E_NOMEM, "out of memory for a row");
    }
    if (g->opt->output[0] != '\0') {
        return data_file_append(&g->file, row, err);
    }
    bool ok =
        json_dumpf(row, stdout, JSON_COMPACT) == 0 && putchar('\n') == '\n' && fflush(stdout) == 0;
    return ok ? PV_OK : pv_fail(err, PV_E_IO, "cannot write the list to stdout");
}

bool generate_list_turn(generator *g)
{
    generate_statement *st = generate_next(g);
    if (st == NULL) {
        return false;
    }
    pv_error err = {0};
    json_t *row = list_row(st);
    g->taken++;
    if (write_row(g, row, &err) != PV_OK) {
        generate_fail(g, &err);
    }
    json_decref(row);
    generate_settle(g, st);
    return true;
}
