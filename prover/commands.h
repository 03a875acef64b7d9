/* commands: the subcommands of the program. Each returns its exit code and prints its own errors. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "exit_code.h"
#include "options.h"

exit_code command_prove(const options *opt);
exit_code command_verify(const options *opt);
exit_code command_doctor(const options *opt);
exit_code command_model(const options *opt);
exit_code command_generate(const options *opt);
exit_code command_verify_data(const options *opt);
exit_code command_bench(const options *opt);
exit_code command_report(const options *opt);
exit_code command_fill(const options *opt);
exit_code command_complete(const options *opt);

/* "prover: MESSAGE" on stderr; the exit code that the failure stands for. */
exit_code complain(const pv_error *err);

#endif
