/* Weights that travel: once, whole or not at all, resumed, around full disks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "disk.h"
#include "fleet.h"
#include "platform/clock.h"
#include "platform/file.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#define NODES 3
#define LONG_NS (120 * CLOCK_SECOND)

static struct fleet fleet;
static char small[400], large[400]; /* files of weights: 0.1 MB of vit-test, 23 MB of deit-tiny */

static void make_weights(const char *model, const char *path) {
    char text[1100];
    struct command command;
    (void)snprintf(text, sizeof text, "%s %s %s", harness_program("random_weights"), model, path);
    command_run(&command, text);
    if (command.status != 0) {
        fail_msg("random_weights: %s", command.error);
    }
    command_free(&command);
}

static int open_fleet(void **state) {
    if (harness_setup(state) != 0) {
        return -1;
    }
    (void)snprintf(small, sizeof small, "%s", harness_path("small.safetensors"));
    (void)snprintf(large, sizeof large, "%s", harness_path("large.safetensors"));
    make_weights("vit-test", small);
    make_weights("deit-tiny", large);
    const struct fleet_options options = {.nodes = NODES};
    fleet_open(&fleet, &options);
    return 0;
}

static int close_fleet(void **state) {
    fleet_close(&fleet);
    return harness_teardown(state);
}

/* ---- what lies in a cache ---- */

static uint64_t found_bytes, largest_bytes;
static char largest_path[600];

static int count_file(const char *path, const struct stat *status, int kind, struct FTW *where) {
    (void)where;
    if (kind == FTW_F) {
        const uint64_t bytes = (uint64_t)status->st_size;
        found_bytes += bytes;
        if (bytes > largest_bytes) {
            largest_bytes = bytes;
            (void)snprintf(largest_path, sizeof largest_path, "%s", path);
        }
    }
    return 0;
}

static uint64_t cached_bytes(uint32_t node) {
    char path[400];
    (void)snprintf(path, sizeof path, "%s/cache", fleet.nodes[node].home);
    found_bytes = largest_bytes = 0;
    (void)nftw(path, count_file, 16, FTW_PHYS);
    return found_bytes;
}

/* ---- runs ---- */

struct travelled {
    char digest[65];
    uint64_t sent, had;       /* by the client; by devices, before */
    uint64_t received[NODES]; /* by node */
};

static void start_run(struct command *command, const char *model, const char *weights) {
    char text[900];
    (void)snprintf(text, sizeof text,
                   "run %s --kernels blas --input random:4 --json --weights %s --cuts %s", model,
                   weights, strcmp(model, "vit-test") == 0 ? "4,8" : "16,32");
    fleet_start(&fleet, FLEET_CLIENT, command, text);
}

static void read_outcome(const struct command *command, struct travelled *out) {
    if (command->status != 0) {
        fail_msg("status %d: %s%s", command->status, command->out, command->error);
    }
    json_t *document = command_json(command), *device;
    size_t i;
    memset(out, 0, sizeof *out);
    (void)snprintf(out->digest, sizeof out->digest, "%s",
                   json_string_value(json_object_get(document, "output_digest")));
    out->sent = (uint64_t)json_integer_value(json_object_get(document, "weights_sent_bytes"));
    out->had = (uint64_t)json_integer_value(json_object_get(document, "weights_had_bytes"));
    json_array_foreach(json_object_get(document, "devices"), i, device) {
        const char *name = json_string_value(json_object_get(device, "name"));
        for (uint32_t n = 0; n < NODES; n++) {
            if (strcmp(name, fleet.nodes[n].name) == 0) {
                out->received[n] =
                    (uint64_t)json_integer_value(json_object_get(device, "received_bytes"));
            }
        }
    }
    json_decref(document);
}

static void run_model(const char *model, const char *weights, struct travelled *out) {
    struct command command;
    start_run(&command, model, weights);
    command_wait(&command);
    read_outcome(&command, out);
    command_free(&command);
}

static uint64_t size_of(const char *path) {
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

static void check_local(const char *model, const char *weights, const char *digest) {
    char text[900];
    struct command command;
    struct travelled local;
    (void)snprintf(text, sizeof text,
                   "run %s --kernels blas --threads 1 --input random:4 --json --weights %s", model,
                   weights);
    command_run(&command, text);
    read_outcome(&command, &local);
    assert_string_equal(local.digest, digest);
    command_free(&command);
}

static void weights_travel_once(void **state) {
    (void)state;
    struct travelled first, second;
    run_model("vit-test", small, &first);
    /* Nothing leaves twice that leaves at all; manifests and messages come on top. */
    assert_true(first.sent > size_of(small) / 2);
    assert_true(first.sent < 2 * size_of(small));
    check_local("vit-test", small, first.digest);
    run_model("vit-test", small, &second);
    assert_int_equal(second.sent, 0);
    assert_true(second.had > 0);
    for (uint32_t i = 0; i < NODES; i++) {
        assert_true(first.received[i] > 0);
        assert_int_equal(second.received[i], 0);
        assert_int_equal(fleet_end_node(&fleet, i, SIGTERM), 0);
        fleet_start_node(&fleet, i);
    }
    run_model("vit-test", small, &second);
    assert_int_equal(second.sent, 0);
    assert_string_equal(second.digest, first.digest);
}

static void a_node_killed_while_it_receives_goes_on_where_it_was(void **state) {
    (void)state;
    struct command command;
    struct travelled after;
    if (!fleet.lan.isolated || !lan_rate(&fleet.lan, NODES, 16)) {
        print_message("SKIPPED: killed while it receives: no slow cables: %s\n",
                      fleet.lan.isolated ? "no tbf" : fleet.lan.reason);
        return;
    }
    const uint64_t before = cached_bytes(1), deadline = platform_now_ns() + LONG_NS;
    start_run(&command, "deit-tiny", large);
    while (cached_bytes(1) < before + 2000000) {
        assert_true(platform_now_ns() < deadline);
        if (!process_exists(command.pid)) {
            command_wait(&command);
            fail_msg("the run ended with %d: %s", command.status, command.error);
        }
        platform_sleep_ns(5 * CLOCK_MS);
    }
    if (!process_exists(command.pid)) {
        command_wait(&command);
        command_free(&command);
        print_message("SKIPPED: killed while it receives: this machine stood still meanwhile\n");
        return;
    }
    assert_int_equal(fleet_end_node(&fleet, 1, SIGKILL), 128 + SIGKILL);
    command_wait(&command);
    if (command.status != 4 || strstr(command.error, "node-2") == NULL) {
        fail_msg("status %d: %s", command.status, command.error);
    }
    command_free(&command);
    fleet_start_node(&fleet, 1);
    assert_true(lan_rate(&fleet.lan, NODES, 1000));
    run_model("deit-tiny", large, &after);
    /* Of what it had (2 MB at least), it got nothing again. */
    const uint64_t whole = cached_bytes(1) - before;
    if (after.received[1] > whole - 1900000) {
        fail_msg("received %llu of %llu bytes again", (unsigned long long)after.received[1],
                 (unsigned long long)whole);
    }
    check_local("deit-tiny", large, after.digest);
    run_model("deit-tiny", large, &after);
    assert_int_equal(after.sent, 0);
}

/* A byte in the middle of the largest file of a node's cache. */
static void damage(uint32_t node) {
    unsigned char byte;
    (void)cached_bytes(node);
    assert_true(largest_bytes > 0);
    assert_int_equal(chmod(largest_path, 0600), 0);
    const int fd = open(largest_path, O_RDWR | O_CLOEXEC);
    const off_t at = (off_t)(largest_bytes / 2);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    assert_int_equal(close(fd), 0);
}

static void what_was_damaged_on_disk_is_noticed_and_fetched_again(void **state) {
    (void)state;
    struct command command;
    struct travelled before, after;
    run_model("deit-tiny", large, &before);
    damage(0);
    start_run(&command, "deit-tiny", large);
    command_wait(&command);
    if (command.status == 0) {
        read_outcome(&command, &after);
    } else {
        if (command.status != 1 || strstr(command.error, "damaged") == NULL ||
            strstr(command.error, "node-1") == NULL) {
            fail_msg("status %d: %s", command.status, command.error);
        }
        run_model("deit-tiny", large, &after);
    }
    command_free(&command);
    assert_true(after.received[0] >= largest_bytes);
    assert_int_equal(after.received[1] + after.received[2], 0);
    assert_string_equal(after.digest, before.digest);
}

static void a_full_disk_is_said_and_harms_nobody_else(void **state) {
    (void)state;
    const int disk = disk_open((size_t)4 << 20);
    if (disk < 0) {
        print_message("SKIPPED: a full disk: no tmpfs of its own: %s\n", strerror(errno));
        return;
    }
    struct command command;
    struct travelled after;
    assert_int_equal(fleet_end_node(&fleet, 2, SIGTERM), 0);
    (void)snprintf(fleet.nodes[2].arguments, sizeof fleet.nodes[2].arguments,
                   "--cache %s --cache-size 1G", disk_path(disk));
    fleet_start_node(&fleet, 2);
    start_run(&command, "deit-tiny", large);
    command_wait(&command);
    if (command.status != 1 || strstr(command.error, "node-3") == NULL ||
        strstr(command.error, "do not fit the disk") == NULL) {
        fail_msg("status %d: %s", command.status, command.error);
    }
    command_free(&command);
    run_model("vit-test", small, &after);
    check_local("vit-test", small, after.digest);
    assert_int_equal(fleet_end_node(&fleet, 2, SIGTERM), 0);
    fleet.nodes[2].arguments[0] = '\0';
    fleet_start_node(&fleet, 2);
    (void)close(disk);
    run_model("deit-tiny", large, &after);
    check_local("deit-tiny", large, after.digest);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_travel_once),
        cmocka_unit_test(a_node_killed_while_it_receives_goes_on_where_it_was),
        cmocka_unit_test(what_was_damaged_on_disk_is_noticed_and_fetched_again),
        cmocka_unit_test(a_full_disk_is_said_and_harms_nobody_else),
    };
    return cmocka_run_group_tests(tests, open_fleet, close_fleet);
}
