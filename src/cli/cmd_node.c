#include "base/log.h"
#include "base/memory.h"
#include "cli/cli.h"
#include "kernels/isa.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "platform/file.h"
#include "platform/process.h"
#include "runtime/cluster.h"
#include "runtime/control.h"
#include "runtime/keys.h"
#include "runtime/node.h"
#include "store/contents.h"
#include "transport/zmq/zmq_transport.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct node_arguments {
    const char *listen, *name, *key, *allow, *cache, *isa, *log;
    int64_t threads, drain_s;
    size_t memory, message_bytes, cache_size;
    bool local;
};

/* The daemon, as signals reach it. */
struct daemon {
    const struct node_arguments *arguments;
    struct transport *transport;
    struct node *node;
};

static void on_stop(void *argument) {
    node_drain(((const struct daemon *)argument)->node);
}

static void on_hangup(void *argument) {
    node_reload(((const struct daemon *)argument)->node);
}

/* A bad file changes nothing. */
static void reload(void *context) {
    const struct daemon *daemon = context;
    const char *path = daemon->arguments->allow;
    struct zmq_allowed *allowed;
    size_t count;
    struct shoal_error error;
    shoal_status status = keys_read_allowed(path, &allowed, &count, &error);
    if (status == SHOAL_OK) {
        status = zmq_transport_allow(daemon->transport, allowed, count, &error);
        mem_free(allowed);
    }
    if (status == SHOAL_OK) {
        log_info("%s was read again: %zu may connect", path, count);
    } else {
        log_error("the allow-list stays as it was: %s", error.text);
    }
}

static shoal_status serve(const struct node_arguments *arguments, struct transport *transport,
                          struct contents *contents, struct shoal_error *error) {
    struct daemon daemon = {.arguments = arguments, .transport = transport};
    const struct node_options options = {.name = arguments->name,
                                         .transport = transport,
                                         .threads = arguments->threads > 0 ? (int)arguments->threads
                                                                           : cpu_usable_cores(),
                                         .memory_limit = arguments->memory,
                                         .message_bytes = arguments->message_bytes,
                                         .local = arguments->local,
                                         .allow_file = arguments->allow,
                                         .contents = contents,
                                         .drain_ns = (uint64_t)arguments->drain_s * CLOCK_SECOND,
                                         .reload = reload,
                                         .context = &daemon};
    TRY(node_create(&options, &daemon.node, error));
    process_catch_service(on_stop, on_hangup, &daemon);
    if (process_stop_requested() != 0) {
        node_drain(daemon.node);
    }
    const char *address = transport->ops->address(transport);
    printf("ready %s\n", address); /* whoever started this process waits for the line */
    (void)fflush(stdout);
    log_info("listening at %s with %d threads", address, options.threads);
    const shoal_status status = node_run(daemon.node, error);
    process_catch_stop(NULL, NULL);
    node_destroy(daemon.node);
    log_info("stopped");
    return status;
}

/*
 * Where weights are kept. Of several nodes with one directory of Shoal's the first has the default,
 * the others one of their name's. *out is NULL for local devices: their owner's files are theirs.
 */
static shoal_status open_cache(const struct node_arguments *arguments, struct contents **out,
                               struct shoal_error *error) {
    char path[1024], own[1024 + TRANSPORT_NAME_BYTES];
    struct contents_options options = {
        .directory = arguments->cache,
        .quota_bytes = arguments->cache_size > 0 ? arguments->cache_size : CONTENTS_QUOTA_AUTO,
        .lock = true};
    *out = NULL;
    if (arguments->local) {
        return SHOAL_OK;
    }
    if (options.directory != NULL) {
        return contents_open(&options, out, error);
    }
    TRY(contents_default_directory(path, sizeof path, error));
    options.directory = path;
    shoal_status status = contents_open(&options, out, error);
    if (status == SHOAL_BUSY && strchr(arguments->name, '/') == NULL) {
        log_info("%s; this node's is beside it", error->text);
        (void)snprintf(own, sizeof own, "%s-%s", path, arguments->name);
        options.directory = own;
        status = contents_open(&options, out, error);
    }
    return status;
}

/* FILE if given, otherwise NAME in Shoal's directory, which path [path_bytes] holds then. */
static shoal_status file_or_default(const char **file, const char *name, char *path,
                                    size_t path_bytes, struct shoal_error *error) {
    if (*file != NULL) {
        return SHOAL_OK;
    }
    TRY(keys_default_path(name, path, path_bytes, error));
    *file = path;
    if (!file_exists(path)) {
        return error_set(error, SHOAL_USAGE,
                         "there is no %s: no link is open to strangers; say --%s FILE, or make it "
                         "('shoal key' makes a key)",
                         path, name);
    }
    return SHOAL_OK;
}

static bool is_loopback(const char *listen) {
    return strncmp(listen, "tcp://127.", 10) == 0 || strncmp(listen, "tcp://[::1]", 11) == 0 ||
           strncmp(listen, "ipc:", 4) == 0;
}

static shoal_status start(struct node_arguments *arguments, struct shoal_error *error) {
    static char key[1024], allow[1024];
    TRY(file_or_default(&arguments->key, "key", key, sizeof key, error));
    TRY(file_or_default(&arguments->allow, "allow", allow, sizeof allow, error));
    struct zmq_transport_options options = {
        .base = {.name = arguments->name,
                 .message_bytes = arguments->message_bytes,
                 .control_bytes = arguments->local ? CONTROL_LOCAL_BYTES : CONTROL_BYTES,
                 .lost_after_ns = CLUSTER_LOST_AFTER_NS},
        .listen = arguments->listen};
    TRY(keys_read(arguments->key, &options.keys, error));
    struct zmq_allowed *allowed;
    TRY(keys_read_allowed(arguments->allow, &allowed, &options.allowed_count, error));
    options.allowed = allowed;
    if (options.allowed_count == 0 && !is_loopback(arguments->listen)) {
        log_warn("%s lists nobody, so nobody can connect; add lines 'NAME KEY' and send SIGHUP",
                 arguments->allow);
    }
    struct contents *contents = NULL;
    struct transport *transport;
    shoal_status status = open_cache(arguments, &contents, error);
    if (status == SHOAL_OK) {
        status = zmq_transport_create(&options, &transport, error);
    }
    mem_free(allowed);
    memset(&options.keys, 0, sizeof options.keys);
    if (status == SHOAL_OK) {
        status = serve(arguments, transport, contents, error);
        transport->ops->destroy(transport);
    }
    contents_close(contents);
    return status;
}

int cli_node(int argc, char **argv) {
    static char host[64];
    (void)gethostname(host, sizeof host - 1);
    struct node_arguments a = {.listen = "tcp://127.0.0.1:7700",
                               .name = host,
                               .isa = "native",
                               .log = "info",
                               .drain_s = 30};
    const struct args_option options[] = {
        {"listen", ARGS_TEXT, "ADDR",
         "where to listen (default tcp://127.0.0.1:7700; port 0 picks one)", &a.listen, 0, 0},
        {"name", ARGS_TEXT, "N", "this device's name (default: the host's)", &a.name, 0, 0},
        {"key", ARGS_TEXT, "FILE",
         "this device's key file, as 'shoal key' makes it (default: $SHOAL_HOME/key)", &a.key, 0,
         0},
        {"allow", ARGS_TEXT, "FILE",
         "who may connect: lines 'NAME KEY', or a cluster file (default: $SHOAL_HOME/allow); read "
         "again on SIGHUP",
         &a.allow, 0, 0},
        {"threads", ARGS_COUNT, "T", "compute threads (default: all cores)", &a.threads, 1, 1024},
        {"memory", ARGS_SIZE, "SIZE",
         "refuse jobs and measurements beyond this much memory, e.g. 2G (default: what the machine "
         "has free)",
         &a.memory, 0, 0},
        {"isa", ARGS_TEXT, "NAME", "instruction set cap: native, baseline, avx2, avx512, neon",
         &a.isa, 0, 0},
        {"log", ARGS_TEXT, "LEVEL", "error, warn, info or debug (default info)", &a.log, 0, 0},
        {"message-bytes", ARGS_SIZE, "SIZE", "largest tensor message accepted (default 64M)",
         &a.message_bytes, 0, 0},
        {"cache", ARGS_TEXT, "DIR", "where weights are kept (default: cache in Shoal's directory)",
         &a.cache, 0, 0},
        {"cache-size", ARGS_SIZE, "SIZE",
         "most that is kept there (default: three quarters of what the disk has free)",
         &a.cache_size, 0, 0},
        {"drain", ARGS_COUNT, "SECONDS",
         "how long jobs may go on after SIGTERM or Ctrl-C (default 30)", &a.drain_s, 0, 86400},
        {"local", ARGS_FLAG, NULL, NULL, &a.local, 0, 0}, /* of an owner on this machine */
    };
    const struct args_command command = {
        .name = "node",
        .summary =
            "Be a device of a cluster: listen for peers on the allow-list, hold stages of up "
            "to eight jobs as memory allows, compute.\n"
            "SIGTERM and Ctrl-C stop it once its jobs are done, a second one at once; SIGHUP "
            "reads the allow-list again. The owner of a job sends everything else; shoal run "
            "--devices N starts its own.",
        .examples =
            "  shoal node --listen tcp://0.0.0.0:7700 --allow mine.yaml\n"
            "  shoal node --name pi-1 --listen tcp://192.0.2.11:7700 --key pi-1.key --allow peers\n"
            "  shoal node --key k --allow peers --memory 2G --threads 4\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0]};
    bool done;
    int exit_status;
    (void)cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    enum log_level level;
    enum isa isa;
    if (!log_parse_level(a.log, &level)) {
        (void)error_set(&error, SHOAL_USAGE, "--log: '%s' is none of error, warn, info, debug",
                        a.log);
        return cli_fail("node", &error);
    }
    log_set_level(level);
    log_set_name(a.name);
    log_set_times(getenv("JOURNAL_STREAM") == NULL); /* systemd's journal has its own */
    if (isa_parse(a.isa, &isa, &error) != SHOAL_OK || isa_cap(isa, cli_argv, &error) != SHOAL_OK ||
        start(&a, &error) != SHOAL_OK) {
        return cli_fail("node", &error);
    }
    return 0;
}
