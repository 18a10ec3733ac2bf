#include "cli/args.h"

#include "base/units.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static shoal_status set_count(const struct args_option *option, const char *text,
                              struct shoal_error *error) {
    char *end;
    errno = 0;
    const long long value = strtoll(text, &end, 10);
    if (end == text || *end != '\0' || errno != 0 || value < option->least ||
        value > option->most) {
        return error_set(error, SHOAL_USAGE,
                         "--%s wants a whole number from %lld to %lld, not '%s'", option->name,
                         (long long)option->least, (long long)option->most, text);
    }
    *(int64_t *)option->out = value;
    return SHOAL_OK;
}

static shoal_status set_seconds(const struct args_option *option, const char *text,
                                struct shoal_error *error) {
    char *end;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= 1e-3 && value <= 1e9)) {
        return error_set(error, SHOAL_USAGE, "--%s wants seconds from 0.001 to 1e9, not '%s'",
                         option->name, text);
    }
    *(double *)option->out = value;
    return SHOAL_OK;
}

static bool add_to_list(struct args_list *list, const char *text) {
    if (list->count == ARGS_LIST_MOST) {
        return false;
    }
    list->items[list->count++] = text;
    return true;
}

static shoal_status set_value(const struct args_option *option, const char *text,
                              struct shoal_error *error) {
    switch (option->kind) {
    case ARGS_FLAG:
        *(bool *)option->out = strcmp(text, "0") != 0;
        return SHOAL_OK;
    case ARGS_TEXT:
        *(const char **)option->out = text;
        return SHOAL_OK;
    case ARGS_COUNT:
        return set_count(option, text, error);
    case ARGS_SECONDS:
        return set_seconds(option, text, error);
    case ARGS_SIZE:
        if (!units_parse_size(text, option->out)) {
            return error_set(error, SHOAL_USAGE, "--%s wants a size such as 512M or 2G, not '%s'",
                             option->name, text);
        }
        return SHOAL_OK;
    case ARGS_LIST:
        return add_to_list(option->out, text)
                   ? SHOAL_OK
                   : error_set(error, SHOAL_USAGE,
                               "--%s takes at most %d values; name a folder instead", option->name,
                               ARGS_LIST_MOST);
    }
    return SHOAL_OK;
}

static shoal_status read_environment(const struct args_command *command,
                                     struct shoal_error *error) {
    for (size_t i = 0; i < command->option_count; i++) {
        const struct args_option *option = &command->options[i];
        char name[64] = "SHOAL_";
        size_t used = strlen(name);
        for (const char *p = option->name; *p != '\0' && used < sizeof name - 1; p++) {
            name[used++] = *p == '-' ? '_' : (char)toupper((unsigned char)*p);
        }
        name[used] = '\0';
        const char *value = getenv(name);
        if (value != NULL && option->kind != ARGS_LIST) {
            const shoal_status status = set_value(option, value, error);
            if (status != SHOAL_OK) {
                return error_wrap(error, status, "in the environment variable %s", name);
            }
        }
    }
    return SHOAL_OK;
}

static const struct args_option *find_option(const struct args_command *command, const char *name,
                                             size_t length) {
    for (size_t i = 0; i < command->option_count; i++) {
        if (strncmp(command->options[i].name, name, length) == 0 &&
            command->options[i].name[length] == '\0') {
            return &command->options[i];
        }
    }
    return NULL;
}

/* argv[*at] is an option; *at is left on the last word that belongs to it. */
static shoal_status read_option(const struct args_command *command, int argc, char **argv, int *at,
                                struct shoal_error *error) {
    const char *word = argv[*at] + 2, *equals = strchr(word, '=');
    const size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const struct args_option *option = find_option(command, word, length);
    if (option == NULL) {
        return error_set(error, SHOAL_USAGE, "unknown option --%.*s; shoal %s --help lists them",
                         (int)length, word, command->name);
    }
    if (option->kind == ARGS_FLAG) {
        return set_value(option, equals != NULL ? equals + 1 : "1", error);
    }
    if (equals != NULL) {
        return set_value(option, equals + 1, error);
    }
    int taken = 0;
    while (*at + 1 < argc && (taken == 0 || option->kind == ARGS_LIST) &&
           strncmp(argv[*at + 1], "--", 2) != 0) {
        ++*at;
        taken++;
        TRY(set_value(option, argv[*at], error));
    }
    if (taken == 0) {
        return error_set(error, SHOAL_USAGE, "--%s wants a value: --%s %s", option->name,
                         option->name, option->value);
    }
    return SHOAL_OK;
}

shoal_status args_parse(const struct args_command *command, int argc, char **argv,
                        const char **positional, bool *help, struct shoal_error *error) {
    *positional = NULL;
    *help = false;
    TRY(read_environment(command, error));
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            *help = true;
            return SHOAL_OK;
        }
        if (strncmp(argv[i], "--", 2) == 0) {
            TRY(read_option(command, argc, argv, &i, error));
        } else if (command->positional != NULL && *positional == NULL) {
            *positional = argv[i];
        } else if (command->rest != NULL) {
            if (!add_to_list(command->rest_out, argv[i])) {
                return error_set(error, SHOAL_USAGE, "more than %d words; shoal %s --help",
                                 ARGS_LIST_MOST, command->name);
            }
        } else {
            return error_set(error, SHOAL_USAGE, "'%s' is one word too many; shoal %s --help",
                             argv[i], command->name);
        }
    }
    if (command->positional != NULL && *positional == NULL && !command->positional_optional) {
        return error_set(error, SHOAL_USAGE, "%s is missing: shoal %s %s ...", command->positional,
                         command->name, command->positional);
    }
    return SHOAL_OK;
}

void args_print_help(const struct args_command *command, FILE *to) {
    (void)fprintf(to, "usage: shoal %s%s%s%s%s [options]\n\n%s\n\noptions:\n", command->name,
                  command->positional != NULL ? " " : "",
                  command->positional != NULL ? command->positional : "",
                  command->rest != NULL ? " " : "", command->rest != NULL ? command->rest : "",
                  command->summary);
    for (size_t i = 0; i < command->option_count; i++) {
        const struct args_option *option = &command->options[i];
        char left[64];
        if (option->help == NULL) {
            continue;
        }
        (void)snprintf(left, sizeof left, "--%s%s%s", option->name,
                       option->value != NULL ? " " : "",
                       option->value != NULL ? option->value : "");
        (void)fprintf(to, "  %-28s %s\n", left, option->help);
    }
    (void)fprintf(to, "  %-28s %s\n\nexamples:\n%s", "--help", "this text", command->examples);
}
