/* What the commands share. A command takes the words after its name and returns the exit status. */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include "base/status.h"
#include "cli/args.h"
#include "kernels/op.h"

int cli_key(int argc, char **argv);
int cli_nodes(int argc, char **argv);
int cli_links(int argc, char **argv);
int cli_doctor(int argc, char **argv);
int cli_node(int argc, char **argv);
int cli_profile(int argc, char **argv);
int cli_plan(int argc, char **argv);
int cli_run(int argc, char **argv);
int cli_bench(int argc, char **argv);
int cli_cache(int argc, char **argv);
int cli_check(int argc, char **argv);

/* 0 done; 1 failed; 2 wrong usage; 3 infeasible; 4 a device or the cluster was lost; 130
 * interrupted. */
int cli_exit_status(shoal_status status);

/* Prints "shoal COMMAND: text" on standard error; returns the exit status. */
int cli_fail(const char *command, const struct shoal_error *error);

/* --dtype. Errors: USAGE, with the names there are. */
NODISCARD shoal_status cli_parse_dtype(const char *name, enum precision *out,
                                       struct shoal_error *error);

/* What was printed reaches standard output. Errors: IO. */
NODISCARD shoal_status cli_flush(struct shoal_error *error);

/* Parses; handles --help. *done: the caller returns *exit_status at once. */
const char *cli_parse(const struct args_command *command, int argc, char **argv, bool *done,
                      int *exit_status);

/* The program's own argv, for isa_cap. */
extern char **cli_argv;

#endif
