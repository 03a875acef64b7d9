/* Any bytes as a trace: an error with a line, or a search that can be made and whose proof can be written. */
#include "pv_buf.h"
#include "search_trace.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void prove(search_replay *replay)
{
    search_options options = *search_replay_options(replay);
    options.wall_seconds_max = 0;
    search_run *run;
    if (search_run_new(&run, &options, search_replay_policy(replay), search_replay_verifier(replay),
                       search_replay_root(replay), NULL) != PV_OK) {
        abort(); /* the root was checked when the trace was read */
    }
    if (search_pump(run) == SEARCH_PROVED) {
        pv_buf text = {0};
        if (search_proof(run, &text, NULL) != PV_OK) {
            abort();
        }
        pv_buf_release(&text);
    }
    search_cancel(run);
    search_pump(run);
    if (search_in_flight(run) != 0) {
        abort();
    }
    search_run_free(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    search_replay *replay;
    if (search_replay_parse(&replay, (const char *)data, size, NULL) != PV_OK) {
        return 0;
    }
    prove(replay);
    search_stats stats;
    if (search_replay_run(replay, &stats, NULL) != PV_OK) {
        abort();
    }
    search_replay_close(replay);
    return 0;
}
