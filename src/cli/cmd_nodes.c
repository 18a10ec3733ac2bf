/* shoal nodes: which devices are there, and what they are doing. */
#include "cli/cli.h"
#include "cli/cluster_command.h"
#include "runtime/control.h"

#include <string.h>

static json_int_t number(const json_t *info, const char *key) {
    return json_integer_value(json_object_get(info, key));
}

static const char *text(const json_t *info, const char *key) {
    const char *value = json_string_value(json_object_get(info, key));
    return value != NULL ? value : "?";
}

/* ---- JSON ---- */

static json_t *node_json(const struct cluster *cluster, uint32_t index) {
    static const char *const keys[] = {"version",      "host",
                                       "machine",      "cpu",
                                       "isa",          "libraries",
                                       "cores",        "threads",
                                       "memory_limit", "jobs",
                                       "cache",        "memory_available",
                                       "memory_total", "memory_reserved",
                                       "uptime_s",     "message_bytes"};
    const struct cluster_device *device = &cluster->devices[index];
    json_t *node = json_pack("{s:s, s:s, s:s, s:b}", "name", device->name, "address",
                             device->address, "key", device->key, "up", (int)!device->lost);
    if (node == NULL) {
        return NULL;
    }
    if (device->lost) {
        (void)json_object_set_new(node, "reason",
                                  json_string(transport_lost_name(device->lost_reason)));
        (void)json_object_set_new(node, "text", control_string(device->lost_text));
        return node;
    }
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        json_t *value = json_object_get(device->info, keys[i]);
        (void)json_object_set(node, keys[i], value != NULL ? value : json_null());
    }
    return node;
}

static json_t *nodes_json(const struct cluster *cluster) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < cluster->count; i++) {
        (void)json_array_append_new(list, node_json(cluster, i));
    }
    return json_pack("{s:o}", "nodes", list);
}

/* ---- the table ---- */

static void print_jobs(const json_t *info) {
    size_t i;
    const json_t *job;
    json_array_foreach(json_object_get(info, "jobs"), i, job) {
        char bytes[16];
        cluster_command_bytes((double)number(job, "memory_bytes"), bytes, sizeof bytes);
        printf("%14sjob of %s: stage %lld of %lld, %s, for %.0f s\n", "", text(job, "owner"),
               (long long)number(job, "stage") + 1, (long long)number(job, "stages"), bytes,
               json_number_value(json_object_get(job, "seconds")));
    }
}

static void print_node(const struct cluster_device *device) {
    if (device->lost) {
        printf("%-12.40s  down  %s\n", device->name, device->lost_text);
        return;
    }
    const json_t *info = device->info, *cache = json_object_get(info, "cache");
    char free_[16], limit[16], total[16], used[16], quota[16], memory[64], contents[40];
    cluster_command_bytes((double)number(info, "memory_available"), free_, sizeof free_);
    cluster_command_bytes((double)number(info, "memory_limit"), limit, sizeof limit);
    cluster_command_bytes((double)number(info, "memory_total"), total, sizeof total);
    cluster_command_bytes((double)number(cache, "bytes"), used, sizeof used);
    cluster_command_bytes((double)number(cache, "quota"), quota, sizeof quota);
    (void)snprintf(memory, sizeof memory, "%s / %s / %s", free_, limit, total);
    (void)snprintf(contents, sizeof contents, "%s / %s", used, quota);
    printf("%-12.40s  up    %-8.12s %-7.10s %3lld / %-4lld %-33s %-21s %zu\n", device->name,
           text(info, "version"), text(info, "isa"), (long long)number(info, "threads"),
           (long long)number(info, "cores"), memory, contents,
           json_array_size(json_object_get(info, "jobs")));
    printf("%14s%s, %.60s on %.40s\n", "", device->address, text(info, "cpu"), text(info, "host"));
    print_jobs(info);
}

static void print_nodes(const struct cluster *cluster) {
    printf("%-12s  %-5s %-8s %-7s %-10s %-33s %-21s %s\n", "device", "state", "version", "isa",
           "threads of", "memory free / limit / all", "cache used / quota", "jobs");
    for (uint32_t i = 0; i < cluster->count; i++) {
        print_node(&cluster->devices[i]);
    }
}

static shoal_status nodes(struct cluster_command *arguments, uint32_t *down,
                          struct shoal_error *error) {
    TRY(cluster_command_open(arguments, error));
    for (uint32_t i = 0; i < arguments->cluster->count; i++) {
        *down += arguments->cluster->devices[i].lost ? 1 : 0;
    }
    if (arguments->json) {
        return cluster_command_print(nodes_json(arguments->cluster), error);
    }
    print_nodes(arguments->cluster);
    if (*down > 0) {
        printf("\n%u of %u are not there; what to do about it: shoal doctor --cluster %s\n", *down,
               arguments->cluster->count, arguments->path);
    }
    return cli_flush(error);
}

int cli_nodes(int argc, char **argv) {
    struct cluster_command a = {.path = NULL};
    struct args_option options[CLUSTER_COMMAND_OPTIONS];
    const struct args_command command = {
        .name = "nodes",
        .summary = "Shows the devices of a cluster file: whether they are there, what they are, "
                   "memory and cache, and whose jobs they\n"
                   "hold. Takes a few seconds if some do not answer. Exit status 1 if some are "
                   "not there.",
        .examples = "  shoal nodes --cluster mine.yaml\n"
                    "  shoal nodes --cluster mine.yaml --json\n",
        .options = options,
        .option_count = cluster_command_options(&a, options)};
    bool done;
    int exit_status;
    (void)cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    struct shoal_error error;
    uint32_t down = 0;
    const shoal_status status = nodes(&a, &down, &error);
    cluster_command_close(&a);
    if (status != SHOAL_OK) {
        return cli_fail("nodes", &error);
    }
    return down > 0 ? 1 : 0;
}
