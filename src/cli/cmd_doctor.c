/* shoal doctor: what is wrong with a cluster, and what mends it. */
#include "cli/cli.h"
#include "cli/cluster_command.h"
#include "cli/session.h"
#include "runtime/control.h"
#include "runtime/doctor.h"

#include <string.h>
#include <unistd.h>

struct doctor_arguments {
    struct cluster_command command;
    struct session session; /* for what it says */
};

static void say(void *context, const char *what) {
    session_say(context, "%s ...", what);
}

/* This side as the file calls it, otherwise as the host is called. */
static const char *own_name(const struct cluster *cluster) {
    static char host[64];
    const struct cluster_file *file = cluster->file;
    for (uint32_t i = 0; i < file->client_count; i++) {
        if (strcmp(file->clients[i].public_key, cluster->owner_key) == 0) {
            return file->clients[i].name;
        }
    }
    for (uint32_t i = 0; i < file->device_count; i++) {
        if (strcmp(file->devices[i].key, cluster->owner_key) == 0) {
            return file->devices[i].name;
        }
    }
    (void)gethostname(host, sizeof host - 1);
    return host;
}

/* ---- what it found ---- */

static void set_finding(json_t *finding, const char *layer, enum doctor_level level,
                        const char *text, const char *fix) {
    (void)json_object_set_new(finding, "layer", json_string(layer));
    (void)json_object_set_new(finding, "level", json_string(doctor_level_name(level)));
    (void)json_object_set_new(finding, "text", control_string(text));
    (void)json_object_set_new(finding, "fix", fix[0] != '\0' ? control_string(fix) : json_null());
}

static json_t *device_json(const struct cluster *cluster, uint32_t index,
                           const struct doctor_report *report, bool *good) {
    json_t *findings = json_array();
    *good = true;
    for (uint32_t i = 0; i < report->count; i++) {
        const struct doctor_finding *f = &report->findings[i];
        json_t *finding = json_object();
        if (f->device == index && finding != NULL) {
            set_finding(finding, doctor_layer_name(f->layer), f->level, f->text, f->fix);
            (void)json_array_append(findings, finding);
            *good = *good && f->level == DOCTOR_OK;
        }
        json_decref(finding);
    }
    return json_pack("{s:s, s:s, s:b, s:o}", "name", cluster->devices[index].name, "address",
                     cluster->devices[index].address, "ok", (int)*good, "findings", findings);
}

static json_t *report_json(const struct cluster *cluster, const struct doctor_report *report) {
    json_t *devices = json_array();
    bool all = true;
    for (uint32_t i = 0; i < cluster->count; i++) {
        bool good;
        (void)json_array_append_new(devices, device_json(cluster, i, report, &good));
        all = all && good;
    }
    return json_pack("{s:b, s:[], s:o}", "ok", (int)all, "local", "devices", devices);
}

static void print_text(const char *label, const char *text) {
    while (*text != '\0') {
        const int length = (int)strcspn(text, "\n");
        printf("  %-8s %-8s %.*s\n", "", label, length, text);
        text += length;
        text += *text == '\n' ? 1 : 0;
        label = "";
    }
}

static void print_report(const struct cluster *cluster, const struct doctor_report *report) {
    uint32_t last = UINT32_MAX, bad = 0;
    for (uint32_t i = 0; i < report->count; i++) {
        const struct doctor_finding *f = &report->findings[i];
        if (f->device != last) {
            printf("%s%s\n", last == UINT32_MAX ? "" : "\n", cluster->devices[f->device].name);
            last = f->device;
        }
        printf("  %-8s %-8s %s\n", doctor_layer_name(f->layer), doctor_level_name(f->level),
               f->text);
        print_text("  mend:", f->fix);
        bad += f->level != DOCTOR_OK ? 1 : 0;
    }
    if (bad == 0) {
        printf("\nall is well with %u device%s\n", cluster->count, cluster->count > 1 ? "s" : "");
    } else {
        printf("\n%u thing%s to look after\n", bad, bad > 1 ? "s" : "");
    }
}

/* ---- this side: nothing can be asked before it is in order ---- */

static shoal_status report_local(const struct doctor_arguments *arguments,
                                 const struct shoal_error *why, struct shoal_error *error) {
    if (!arguments->command.json) {
        *error = *why;
        return why->code;
    }
    json_t *finding = json_object();
    if (finding != NULL) {
        set_finding(finding, arguments->command.file == NULL ? "file" : "key", DOCTOR_BROKEN,
                    why->text, "");
    }
    TRY(cluster_command_print(json_pack("{s:b, s:[o], s:[]}", "ok", 0, "local", finding, "devices"),
                              error));
    return SHOAL_OK;
}

static shoal_status examine(struct doctor_arguments *arguments, bool *good,
                            struct shoal_error *error) {
    struct cluster_command *command = &arguments->command;
    const struct doctor_options options = {.cluster = command->cluster,
                                           .client_name = own_name(command->cluster),
                                           .say = say,
                                           .context = &arguments->session};
    struct doctor_report report;
    const shoal_status examined = doctor_examine(&options, &report, error);
    session_clear_line(&arguments->session);
    TRY(examined);
    for (uint32_t i = 0; i < report.count; i++) {
        *good = *good && report.findings[i].level == DOCTOR_OK;
    }
    shoal_status status;
    if (command->json) {
        status = cluster_command_print(report_json(command->cluster, &report), error);
    } else {
        print_report(command->cluster, &report);
        status = cli_flush(error);
    }
    doctor_report_fini(&report);
    return status;
}

static shoal_status doctor(struct doctor_arguments *arguments, bool *good,
                           struct shoal_error *error) {
    struct shoal_error why;
    *good = true;
    session_say(&arguments->session, "connecting ...");
    const shoal_status opened = cluster_command_open(&arguments->command, &why);
    session_clear_line(&arguments->session);
    if (opened == SHOAL_OK) {
        return examine(arguments, good, error);
    }
    *good = false;
    if (opened == SHOAL_USAGE || opened == SHOAL_CANCELLED) {
        *error = why;
        return opened;
    }
    return report_local(arguments, &why, error);
}

int cli_doctor(int argc, char **argv) {
    static struct doctor_arguments a;
    session_init(&a.session, "doctor");
    struct args_option options[CLUSTER_COMMAND_OPTIONS];
    const struct args_command command = {
        .name = "doctor",
        .summary =
            "Looks at every device of a cluster file, layer by layer: name, port, keys, version, "
            "clock, memory, disk, kernels,\n"
            "links, and whether the devices reach and know each other. Says what is wrong and the "
            "command or line that mends it.\n"
            "Exit status 0 if all is well, 1 otherwise.",
        .examples = "  shoal doctor --cluster mine.yaml\n"
                    "  shoal doctor --cluster mine.yaml --json\n",
        .options = options,
        .option_count = cluster_command_options(&a.command, options)};
    bool done;
    int exit_status;
    (void)cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    a.session.json = a.command.json;
    struct shoal_error error;
    bool good;
    const shoal_status status = doctor(&a, &good, &error);
    cluster_command_close(&a.command);
    if (status != SHOAL_OK) {
        return cli_fail("doctor", &error);
    }
    return good ? 0 : 1;
}
