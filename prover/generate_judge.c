/* Found proofs go to the judge; then they are rows. */
#include "data_text.h"
#include "generate.h"

#include "pv_mem.h"

static void free_finished(generate_finished *f)
{
    json_decref(f->row);
    pv_free(f->statement);
    pv_free(f->proof);
    if (f->origin != NULL) {
        generate_statement_free(f->origin);
    }
    pv_free(f);
}

void generate_judge_add(generator *g, generate_finished *f)
{
    f->ask.statement = f->statement;
    f->ask.proof = f->proof;
    judge_queue_add(&g->judge, &f->ask);
}

static void accept_proof(generator *g, generate_finished *f, const judge_answer *answer)
{
    json_t *provenance = json_object_get(f->row, "provenance");
    json_object_set_new(provenance, "level", json_string(lean_level_name(answer->level)));
    json_object_set_new(provenance, "axioms", json_deep_copy(answer->axioms));
    generate_write(g, json_incref(f->row), f->origin);
}

static void refuse_proof(generator *g, generate_finished *f, const judge_answer *answer)
{
    pv_buf why = {0};
    pv_buf_printf(&why, "%s: %.300s", answer->reason, answer->message);
    generate_drop(g, f->origin, "judge", pv_buf_text(&why));
    pv_buf_release(&why);
}

static void take(void *user, judge_ask *ask, const judge_answer *answer)
{
    generator *g = user;
    generate_finished *f = (generate_finished *)(void *)ask;
    if (answer != NULL && answer->reason == NULL) {
        accept_proof(g, f, answer);
    } else if (answer != NULL) {
        refuse_proof(g, f, answer);
    }
    if (answer != NULL) {
        generate_settle(g, f->origin);
        f->origin = NULL;
    }
    free_finished(f);
}

void generate_judge_start(generator *g)
{
    g->judge = (judge_queue){.s = &g->s, .header = g->header, .on_answer = take, .user = g};
}

/* All statements are through: what is left is judged, however little it is. */
static bool is_last(const generator *g)
{
    bool over = generate_source_over(g);
    for (size_t i = 0; i < g->item_count; i++) {
        over = over && g->items[i].stage == GENERATE_IDLE;
    }
    return over;
}

bool generate_judge_turn(generator *g)
{
    bool moved = judge_queue_turn(&g->judge, is_last(g));
    if (g->judge.failure.status != PV_OK) {
        generate_fail(g, &g->judge.failure);
    }
    return moved;
}
