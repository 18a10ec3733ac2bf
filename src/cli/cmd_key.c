/* shoal key: the key file of this machine, and the lines that others need. */
#include "cli/cli.h"
#include "platform/cpu.h"
#include "platform/file.h"
#include "platform/network.h"
#include "runtime/control.h"
#include "runtime/identity.h"
#include "runtime/keys.h"

#include <jansson.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PATH_BYTES 4096

struct key_arguments {
    const char *file, *name;
    bool show, json;
};

/* What is printed; nothing of it is secret. */
struct lines {
    const char *file, *name, *key;
    bool made;
    char address[NETWORK_ADDRESS_BYTES + 16]; /* tcp://…:7700, a placeholder if unknown */
    size_t memory;                            /* three quarters of what the machine has, in M */
    int threads;
    char allow[PATH_BYTES];
};

static shoal_status make_key_file(const char *path, struct zmq_keypair *out,
                                  struct shoal_error *error) {
    char copy[PATH_BYTES];
    (void)snprintf(copy, sizeof copy, "%s", path);
    TRY(file_make_directories(dirname(copy), error));
    TRY(zmq_keypair_make(out, error));
    return keys_write(path, out, error);
}

/* The key file's keys; made if it is missing and may be made. */
static shoal_status open_keys(const struct key_arguments *arguments, const char *path,
                              struct zmq_keypair *out, bool *made, struct shoal_error *error) {
    *made = false;
    shoal_status status = keys_read(path, out, error);
    if (status != SHOAL_NOT_FOUND) {
        return status;
    }
    if (arguments->show) {
        return error_set(error, SHOAL_NOT_FOUND,
                         "%s: there is no key file; 'shoal key' without --show makes it", path);
    }
    status = make_key_file(path, out, error);
    *made = status == SHOAL_OK;
    /* Another command may have made it in between: theirs counts. */
    return status == SHOAL_BUSY ? keys_read(path, out, error) : status;
}

static json_t *lines_json(const struct lines *lines) {
    return json_pack("{s:o, s:s, s:s, s:b, s:s, s:I, s:i}", "file", control_string(lines->file),
                     "name", lines->name, "public_key", lines->key, "made", (int)lines->made,
                     "address", lines->address, "memory_bytes",
                     (json_int_t)lines->memory * (1 << 20), "threads", lines->threads);
}

static shoal_status print_json(const struct lines *lines, struct shoal_error *error) {
    json_t *document = lines_json(lines);
    const bool printed = document != NULL && json_dumpf(document, stdout, JSON_INDENT(1)) == 0 &&
                         fputc('\n', stdout) != EOF;
    json_decref(document);
    return printed ? cli_flush(error)
                   : error_set(error, SHOAL_IO, "cannot write to standard output");
}

static void print_lines(const struct lines *lines) {
    printf("key file    %s%s\n"
           "public key  %s\n\n"
           "This machine as a device: under 'devices:' of the cluster file\n"
           "  - {name: %s, address: \"%s\", key: \"%s\", memory: %zuM, threads: %d}\n\n"
           "This machine as a client that gives commands only: under 'clients:' of the cluster "
           "file\n"
           "  - {name: %s, key: \"%s\"}\n\n"
           "Where a device's allow-list (%s) is no cluster file: its line there\n"
           "%s %s\n",
           lines->file, lines->made ? " (made now; it holds the secret key: it stays here)" : "",
           lines->key, lines->name, lines->address, lines->key, lines->memory, lines->threads,
           lines->name, lines->key, lines->allow, lines->name, lines->key);
}

static shoal_status show(const struct key_arguments *arguments, struct shoal_error *error) {
    char path[PATH_BYTES];
    struct lines lines = {.name = arguments->name, .threads = cpu_usable_cores()};
    struct zmq_keypair keys;
    const char *problem = identity_name_problem(arguments->name);
    if (problem != NULL) {
        return error_set(error, SHOAL_USAGE, "--name '%s' %s", arguments->name, problem);
    }
    if (arguments->file != NULL) {
        (void)snprintf(path, sizeof path, "%s", arguments->file);
    } else {
        TRY(keys_default_path("key", path, sizeof path, error));
    }
    TRY(keys_default_path("allow", lines.allow, sizeof lines.allow, error));
    TRY(open_keys(arguments, path, &keys, &lines.made, error));
    memset(keys.secret_key, 0, sizeof keys.secret_key);
    char address[NETWORK_ADDRESS_BYTES] = "<this machine's address>";
    (void)network_own_address(address);
    (void)snprintf(lines.address, sizeof lines.address, "tcp://%s:7700", address);
    lines.file = path;
    lines.key = keys.public_key;
    lines.memory = memory_total_bytes() / 4 * 3 >> 20;
    if (arguments->json) {
        return print_json(&lines, error);
    }
    print_lines(&lines);
    return cli_flush(error);
}

int cli_key(int argc, char **argv) {
    static char host[64];
    (void)gethostname(host, sizeof host - 1);
    struct key_arguments a = {.name = host};
    const struct args_option options[] = {
        {"key", ARGS_TEXT, "FILE", "the key file (default $SHOAL_HOME/key)", &a.file, 0, 0},
        {"name", ARGS_TEXT, "N", "this machine's name in the lines (default: the host's)", &a.name,
         0, 0},
        {"show", ARGS_FLAG, NULL, "make nothing; an error if there is no key file", &a.show, 0, 0},
        {"json", ARGS_FLAG, NULL, "one JSON document on standard output, nothing else", &a.json, 0,
         0},
    };
    const struct args_command command = {
        .name = "key",
        .summary = "Makes this machine's key file if there is none (mode 0600, never overwritten), "
                   "and shows its public key with the\n"
                   "lines that the cluster file and the devices' allow-lists need. The secret key "
                   "is never shown. A new key: move the\n"
                   "file away and run it again; then the others need the new line.",
        .examples = "  shoal key\n"
                    "  shoal key --name pi-1 --key /etc/shoal/key\n"
                    "  shoal key --show --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0]};
    bool done;
    int exit_status;
    (void)cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    return show(&a, &error) == SHOAL_OK ? 0 : cli_fail("key", &error);
}
