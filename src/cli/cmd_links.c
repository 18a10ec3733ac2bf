/* shoal links: every link of a cluster, measured now. */
#include "cli/cli.h"
#include "cli/cluster_command.h"
#include "cli/session.h"
#include "runtime/control.h"
#include "runtime/link_survey.h"

#include <stdlib.h>
#include <string.h>

struct links_arguments {
    struct cluster_command command;
    const char *share_text;
    double share;
    struct session session; /* for what it says */
};

static const char *end_name(const struct cluster *cluster, uint32_t end) {
    return end == cluster->count ? CLUSTER_OWNER : cluster->devices[end].name;
}

static double rate_of(const struct link_entry *entry) {
    return entry->figures.beta_s_per_byte > 0 ? 1 / entry->figures.beta_s_per_byte : 0;
}

static json_t *link_json(const struct cluster *cluster, const struct link_entry *entry) {
    json_t *link =
        json_pack("{s:s, s:s, s:b}", "from", end_name(cluster, entry->from), "to",
                  end_name(cluster, entry->to), "measured", entry->state == LINK_MEASURED);
    if (entry->state != LINK_MEASURED) {
        (void)json_object_set_new(link, "text", control_string(entry->text));
        return link;
    }
    (void)json_object_set_new(link, "alpha_s", json_real(entry->figures.alpha_s));
    (void)json_object_set_new(link, "beta_s_per_byte", json_real(entry->figures.beta_s_per_byte));
    (void)json_object_set_new(link, "bytes_per_second", json_real(rate_of(entry)));
    (void)json_object_set_new(link, "cpu_s_per_message",
                              json_real(entry->figures.cpu_s_per_message));
    (void)json_object_set_new(link, "cpu_s_per_byte", json_real(entry->figures.cpu_s_per_byte));
    return link;
}

static json_t *survey_json(const struct cluster *cluster, const struct link_survey *survey) {
    json_t *links = json_array(), *missing = json_array();
    for (uint32_t i = 0; i < survey->count; i++) {
        (void)json_array_append_new(links, link_json(cluster, &survey->entries[i]));
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->devices[i].lost) {
            (void)json_array_append_new(
                missing, json_pack("{s:s, s:o}", "name", cluster->devices[i].name, "text",
                                   control_string(cluster->devices[i].lost_text)));
        }
    }
    return json_pack("{s:o, s:o}", "links", links, "missing", missing);
}

static void print_survey(const struct cluster *cluster, const struct link_survey *survey) {
    printf("%-16s %-16s %12s %14s\n", "from", "to", "delay", "rate");
    for (uint32_t i = 0; i < survey->count; i++) {
        const struct link_entry *entry = &survey->entries[i];
        printf("%-16.40s %-16.40s ", end_name(cluster, entry->from), end_name(cluster, entry->to));
        if (entry->state == LINK_MEASURED) {
            printf("%9.2f ms %9.1f Mbit/s\n", entry->figures.alpha_s * 1e3, rate_of(entry) * 8e-6);
        } else {
            printf("%s\n", entry->text);
        }
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->devices[i].lost) {
            printf("%s is not there: %s\n", cluster->devices[i].name,
                   cluster->devices[i].lost_text);
        }
    }
}

static void say_progress(void *context, uint32_t done, uint32_t count, double left_s) {
    session_say(context, "%u of %u links measured, about %.0f s left", done, count, left_s);
}

static bool is_whole(const struct cluster *cluster, const struct link_survey *survey) {
    for (uint32_t i = 0; i < survey->count; i++) {
        if (survey->entries[i].state != LINK_MEASURED) {
            return false;
        }
    }
    for (uint32_t i = 0; i < cluster->count; i++) {
        if (cluster->devices[i].lost) {
            return false;
        }
    }
    return true;
}

static shoal_status links(struct links_arguments *arguments, bool *whole,
                          struct shoal_error *error) {
    char *end;
    arguments->share = strtod(arguments->share_text, &end);
    if (*end != '\0' || !(arguments->share >= 0.001 && arguments->share <= 1)) {
        return error_set(error, SHOAL_USAGE, "--share wants a number from 0.001 to 1, e.g. 0.05");
    }
    TRY(cluster_command_open(&arguments->command, error));
    struct cluster *cluster = arguments->command.cluster;
    struct store *store = session_open_store();
    struct link_profiles profiles = {.cluster = cluster, .store = store};
    const struct link_survey_options options = {.profiles = &profiles,
                                                .share = arguments->share,
                                                .bytes = link_profile_bytes(cluster),
                                                .on_done = say_progress,
                                                .context = &arguments->session};
    struct link_survey survey;
    shoal_status status = link_survey_run(&options, &survey, error);
    session_clear_line(&arguments->session);
    if (status == SHOAL_OK) {
        *whole = is_whole(cluster, &survey);
        if (arguments->command.json) {
            status = cluster_command_print(survey_json(cluster, &survey), error);
        } else {
            print_survey(cluster, &survey);
            status = cli_flush(error);
        }
        link_survey_fini(&survey);
    }
    link_profiles_fini(&profiles);
    store_close(store);
    return status;
}

int cli_links(int argc, char **argv) {
    static struct links_arguments a;
    a.share_text = "0.05";
    session_init(&a.session, "links");
    struct args_option options[CLUSTER_COMMAND_OPTIONS + 1] = {
        {"share", ARGS_TEXT, "S",
         "of the time that probes may take where a device has jobs (default 0.05)", &a.share_text,
         0, 0},
    };
    const struct args_command command = {
        .name = "links",
        .summary = "Measures every link of a cluster now, in both directions: among the devices of "
                   "the file, and with this machine (owner).\n"
                   "plan and run use what is measured here until they are told --measure. Exit "
                   "status 1 if some could not be measured.",
        .examples = "  shoal links --cluster mine.yaml\n"
                    "  shoal links --cluster mine.yaml --share 0.02 --json\n",
        .options = options,
        .option_count = 1 + cluster_command_options(&a.command, options + 1)};
    bool done;
    int exit_status;
    (void)cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    a.session.json = a.command.json;
    struct shoal_error error;
    bool whole = true;
    const shoal_status status = links(&a, &whole, &error);
    cluster_command_close(&a.command);
    if (status != SHOAL_OK) {
        return cli_fail("links", &error);
    }
    return whole ? 0 : 1;
}
