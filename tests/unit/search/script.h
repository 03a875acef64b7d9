/* Runs a script of the toy calculus on a plain list of goals, which is how the text of a proof
 * is checked: every tactic names the goal that it must be applied to. Knows bullets, rotate_left
 * and tactics of two lines. */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "calculus.h"

typedef struct script_reader {
    const calculus *c;
    char *lines[4096];
    size_t count, at;
    char error[160];
} script_reader;

typedef struct goal_list {
    uint32_t goals[LIST_MAX * 4];
    size_t count;
} goal_list;

static inline bool script_fail(script_reader *s, const char *what)
{
    if (s->error[0] == '\0') {
        snprintf(s->error, sizeof s->error, "line %zu (%s): %s", s->at,
                 s->at > 0 && s->at <= s->count ? s->lines[s->at - 1] : "", what);
    }
    return false;
}

static inline size_t indent_of(const char *line)
{
    return strspn(line, " ");
}

static inline bool run_tactic(script_reader *s, const char *text, size_t indent, goal_list *list)
{
    if (list->count == 0) {
        return script_fail(s, "no goals");
    }
    if (strncmp(text, "rotate_left ", 12) == 0) {
        size_t n = strtoul(text + 12, NULL, 10);
        goal_list old = *list;
        for (size_t i = 0; i < old.count; i++) {
            list->goals[i] = old.goals[(i + n) % old.count];
        }
        return true;
    }
    const toy_rule *rule = find_rule(s->c, text, list->goals[0]);
    if (rule == NULL) {
        return script_fail(s, "the tactic is for another goal");
    }
    if (strstr(text, " at") != NULL) { /* its second line: two columns further in */
        if (s->at == s->count || indent_of(s->lines[s->at]) != indent + 2 ||
            strcmp(s->lines[s->at] + indent + 2, "here") != 0) {
            return script_fail(s, "the block of the tactic is torn");
        }
        s->at++;
    }
    if (list->count + rule->sub_count > LIST_MAX * 4) {
        return script_fail(s, "too many goals");
    }
    memmove(list->goals + rule->sub_count, list->goals + 1,
            (list->count - 1) * sizeof *list->goals);
    memcpy(list->goals, rule->subs, rule->sub_count * sizeof *rule->subs);
    list->count += rule->sub_count;
    list->count--;
    return true;
}

static inline bool run_block(script_reader *s, size_t indent, goal_list *list);

static inline bool run_bullet(script_reader *s, char *line, size_t indent, goal_list *list)
{
    if (list->count == 0) {
        return script_fail(s, "a bullet without a goal");
    }
    goal_list focus = {{list->goals[0]}, 1};
    memmove(list->goals, list->goals + 1, --list->count * sizeof *list->goals);
    s->at--; /* the rest of the line is the first of the block: the bullet counts as blanks */
    size_t lead = indent + strlen("· ");
    memmove(line + indent + 2, line + lead, strlen(line + lead) + 1);
    memset(line + indent, ' ', 2);
    return run_block(s, indent + 2, &focus) &&
           (focus.count == 0 || script_fail(s, "a bullet that leaves goals"));
}

static inline bool run_block(script_reader *s, size_t indent, goal_list *list)
{
    while (s->at < s->count && indent_of(s->lines[s->at]) >= indent) {
        char *line = s->lines[s->at++];
        if (indent_of(line) != indent) {
            return script_fail(s, "indented too far");
        }
        bool ok = strncmp(line + indent, "· ", strlen("· ")) == 0
                      ? run_bullet(s, line, indent, list)
                      : run_tactic(s, line + indent, indent, list);
        if (!ok) {
            return false;
        }
    }
    return true;
}

/* Runs the script on the goals; false with s->error when it is not a proof of all of them. */
static inline bool script_proves(script_reader *s, const calculus *c, char *text,
                                 const uint32_t *goals, uint32_t count)
{
    memset(s, 0, sizeof *s);
    s->c = c;
    for (char *line = strtok(text, "\n"); line != NULL && s->count < 4096;
         line = strtok(NULL, "\n")) {
        s->lines[s->count++] = line;
    }
    goal_list list = {{0}, count};
    memcpy(list.goals, goals, count * sizeof *goals);
    if (!run_block(s, 0, &list)) {
        return false;
    }
    return (s->at == s->count || script_fail(s, "text after the end")) &&
           (list.count == 0 || script_fail(s, "goals are left"));
}

#endif
