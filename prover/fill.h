/* fill: what the parts of `prover fill` have in common. Internal to fill_*.c and command_fill.c.
 *
 *   command_fill.c   arguments, Lean, one file after the other, exit code
 *   fill_file.c      one file: opened, searched, judged, shown, written
 *   fill_site.c      its holes
 *   fill_search.c    several searches side by side
 *   fill_judge.c     which of the proofs found the judge accepts together
 *   fill_report.c    holes and results for people and as JSON lines */
#ifndef FILL_H
#define FILL_H

#include "exit_code.h"
#include "file_replace.h"
#include "lean_session.h"
#include "policy_choice.h"
#include "project.h"
#include "quest.h"
#include "session.h"
#include "source.h"
#include "theorem.h"

#include <jansson.h>

typedef enum fill_state {
    FILL_LEFT,    /* as it was; `why` says why, NULL: not tried */
    FILL_PROVED,  /* a proof was found, the judge has not seen it */
    FILL_FILLED,  /* and the judge has accepted it                */
    FILL_REFUSED, /* the judge has refused the proofs             */
} fill_state;

/* One goal of a hole. A hole has several where one `sorry` stands for all goals (`all_goals sorry`). */
typedef struct fill_goal {
    const hole *hole;
    char *proof; /* NULL: none was found                                          */
    quest search;
    bool searching, ended; /* ended: its search was started and is over for good */
} fill_goal;

typedef struct fill_site {
    const theorem *owner;
    fill_goal *goals;
    size_t goal_count;
    size_t end_line, end_column;
    bool wanted;  /* asked for, and may be filled */
    bool written; /* it says `sorry` or `admit` there, and not some macro's name */
    fill_state state;
    char *why;   /* a sentence           */
    char *block; /* what was found for all goals together; NULL */
    unsigned refusals;
} fill_site;

typedef struct fill {
    const options *opt;
    options lean_opt; /* the same with the project that was found */
    session s;
    policy_choice choice;
    project project;
    const char *argument;
    uint64_t line; /* 0: all                              */
    uint64_t started_ms;
    bool stopping; /* interrupted, or out of time: no more searches */
    size_t holes, filled, files_changed;
    exit_code worst;          /* of files that could not be worked on */
    json_t *repo;             /* where the project comes from, for --json */
    struct fill_store *store; /* NULL without --store */
} fill;

typedef struct fill_file {
    fill *f;
    const project_file *file;
    file_text disk;
    source src;
    lean_env *env;
    theorem_list list;
    fill_site *sites; /* in the order of the text */
    size_t count;
    verdict verdict; /* of the fills that were accepted */
    pv_buf text;     /* the file with them              */
} fill_file;

/* ---- fill_site.c ---- */

/* Makes the sites of what Lean has opened. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status fill_sites_make(fill_file *file, pv_error *err);
void fill_sites_free(fill_file *file);
const hole *fill_site_hole(const fill_site *site);

/* Sets `why` (a sentence, copied). */
void fill_site_say(fill_site *site, const char *why);

/* Makes `block` of the goals' proofs, when each has one. Fails: PV_E_NOMEM. */
PV_NODISCARD pv_status fill_site_join(fill_site *site, pv_error *err);

/* ---- fill_search.c ---- */

/* Searches every wanted site, or one again whose proof was refused. Ends early when the user interrupts or the time is over (f->stopping). */
PV_NODISCARD pv_status fill_search(fill_file *file, pv_error *err);
PV_NODISCARD pv_status fill_search_on(fill_file *file, fill_site *site, pv_error *err);

/* Ends every search of the file. */
void fill_search_end(fill_file *file);

/* ---- fill_judge.c ---- */

/* Asks the judge about all proofs together, and about fewer when it refuses. Afterwards no site is PROVED. */
PV_NODISCARD pv_status fill_judge(fill_file *file, pv_error *err);

/* ---- fill_file.c ---- */

/* Works on one file. What is wrong with the file itself is said on stderr and counts in f->worst; fails when going on makes no sense. */
PV_NODISCARD pv_status fill_file_work(fill *f, const project_file *file, pv_error *err);

/* ---- fill_report.c ---- */

PV_NODISCARD pv_status fill_report_list(const fill_file *file, pv_error *err);
PV_NODISCARD pv_status fill_report_results(const fill_file *file, pv_error *err);

/* Remote, branch and commit of the folder's git repository; fields that are not known are null. */
json_t *fill_repository(const char *folder);

#endif
