/*
 * Command-line options from a table: flag > environment (SHOAL_NAME) > the value that the variable
 * had. The same table prints the help.
 */
#ifndef CLI_ARGS_H
#define CLI_ARGS_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum args_kind {
    ARGS_FLAG,    /* bool */
    ARGS_TEXT,    /* const char * */
    ARGS_COUNT,   /* int64_t, within [least, most] */
    ARGS_SIZE,    /* size_t bytes: 512M, 1.5G, 100000 */
    ARGS_SECONDS, /* double: 30, 0.5 */
    ARGS_LIST,    /* struct args_list: every word up to the next option; may be given again */
};

#define ARGS_LIST_MOST 4096

struct args_list {
    const char *items[ARGS_LIST_MOST];
    size_t count;
};

struct args_option {
    const char *name; /* without the dashes */
    enum args_kind kind;
    const char *value; /* placeholder in the help; NULL for a flag */
    const char *help;  /* NULL: not for people, left out of the help */
    void *out;
    int64_t least, most; /* ARGS_COUNT */
};

struct args_command {
    const char *name;       /* "run" */
    const char *positional; /* "MODEL", or NULL */
    bool positional_optional;
    const char *rest; /* "[KEY-PREFIX...]": words after the positional; NULL: none are allowed */
    struct args_list *rest_out;
    const char *summary;
    const char *examples;
    const struct args_option *options;
    size_t option_count;
};

/*
 * argv[0] is the first word after the command. *positional stays NULL if it is missing. *help is
 * set by --help or -h. Errors: USAGE, saying what was wrong with which option.
 */
NODISCARD shoal_status args_parse(const struct args_command *command, int argc, char **argv,
                                  const char **positional, bool *help, struct shoal_error *error);

void args_print_help(const struct args_command *command, FILE *to);

#endif
