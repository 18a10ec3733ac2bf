/* shoal: parse, call the library, print. */
#include "base/log.h"
#include "cli/cli.h"
#include "platform/process.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char **cli_argv;

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *summary;
} commands[] = {
    {"run", cli_run, "run a model on items, pipelined over devices"},
    {"plan", cli_plan, "show the best partition of a model over devices"},
    {"profile", cli_profile, "measure a model's segments on devices, and the links between them"},
    {"bench", cli_bench,
     "bench engine MODEL: one process, no network, fraction of the processor's peak"},
    {"check", cli_check, "can an ONNX model run, and does it compute what its data sets say"},
    {"key", cli_key, "make and show this machine's key, and the lines that others need"},
    {"cache", cli_cache, "what this machine keeps of models: list, remove, verify"},
    {"nodes", cli_nodes, "show the devices of a cluster: there or not, memory, cache, jobs"},
    {"links", cli_links, "measure every link of a cluster"},
    {"doctor", cli_doctor, "say what is wrong with a cluster, and what mends it"},
    {"node", cli_node, "be a device: listen, hold a stage, compute"},
};

static void usage(FILE *to) {
    (void)fprintf(to,
                  "usage: shoal COMMAND [options]\n\n"
                  "Shoal turns weak, unequal devices into one machine for neural networks.\n\n");
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        (void)fprintf(to, "  %-9s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fprintf(to, "\nshoal COMMAND --help tells more, with examples. Exit status: 0 done; 1 "
                      "failed, or some items\n"
                      "could not be processed; 2 wrong usage; 3 infeasible; 4 a device was lost; "
                      "130 interrupted.\n");
}

int cli_exit_status(shoal_status status) {
    switch (status) {
    case SHOAL_OK:
        return 0;
    case SHOAL_USAGE:
        return 2;
    case SHOAL_INFEASIBLE:
        return 3;
    case SHOAL_PEER_LOST:
    case SHOAL_CLUSTER_LOST:
    case SHOAL_TIMEOUT:
    case SHOAL_PROTOCOL:
    case SHOAL_CLOSED:
        return 4;
    case SHOAL_CANCELLED:
        return 130;
    case SHOAL_INVALID:
    case SHOAL_NOT_FOUND:
    case SHOAL_CORRUPT:
    case SHOAL_UNSUPPORTED:
    case SHOAL_MISMATCH:
    case SHOAL_NO_MEMORY:
    case SHOAL_NO_SPACE:
    case SHOAL_IO:
    case SHOAL_BUSY:
    case SHOAL_VERSION:
    case SHOAL_DENIED:
    case SHOAL_INTERNAL:
        break;
    }
    return 1;
}

shoal_status cli_parse_dtype(const char *name, enum precision *out, struct shoal_error *error) {
    return precision_parse(name, out)
               ? SHOAL_OK
               : error_set(error, SHOAL_USAGE, "--dtype %.64s: choose f32, bf16, int8, w8 or w4",
                           name);
}

int cli_fail(const char *command, const struct shoal_error *error) {
    (void)fprintf(stderr, "shoal %s: %s\n", command, error->text);
    return cli_exit_status(error->code);
}

shoal_status cli_flush(struct shoal_error *error) {
    return fflush(stdout) == 0 && ferror(stdout) == 0
               ? SHOAL_OK
               : error_set(error, SHOAL_IO, "cannot write to standard output");
}

const char *cli_parse(const struct args_command *command, int argc, char **argv, bool *done,
                      int *exit_status) {
    struct shoal_error error;
    const char *positional;
    bool help;
    *done = true;
    if (args_parse(command, argc, argv, &positional, &help, &error) != SHOAL_OK) {
        *exit_status = cli_fail(command->name, &error);
        return NULL;
    }
    if (help) {
        args_print_help(command, stdout);
        *exit_status = 0;
        return NULL;
    }
    *done = false;
    return positional;
}

int main(int argc, char **argv) {
    cli_argv = argv;
    process_open_standard_files();
    /* Large blocks go back to the system when freed: what a stage occupies stays what the planner
     * says. */
    (void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
    enum log_level level;
    const char *wanted = getenv("SHOAL_LOG");
    if (wanted != NULL && log_parse_level(wanted, &level)) {
        log_set_level(level);
    }
    if (argc < 2) {
        usage(stderr);
        return 2;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
        strcmp(argv[1], "help") == 0) {
        usage(stdout);
        return 0;
    }
    if (strcmp(argv[1], "--version") == 0) {
        printf("shoal %s\n", SHOAL_VERSION_TEXT);
        return 0;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(argv[1], commands[i].name) == 0) {
            return commands[i].run(argc - 2, argv + 2);
        }
    }
    (void)fprintf(stderr, "shoal: unknown command '%s'; shoal --help lists them\n", argv[1]);
    return 2;
}
