/* What the doctor makes of a reason, and of what a device says of itself; without a network. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/cluster_file.h"
#include "runtime/doctor.h"

static char path[] = "mine.yaml";
static struct cluster_file_device declared = {.name = "pi-1", .address = "tcp://pi-1.local:7700"};
static struct cluster_file file = {.path = path, .devices = &declared, .device_count = 1};
static struct cluster_device device;
static struct cluster cluster;
static struct doctor_options options = {.cluster = &cluster, .client_name = "anna"};
static struct shoal_error error;

static int setup(void **state) {
    (void)state;
    device = (struct cluster_device){.name = "pi-1", .address = "tcp://pi-1.local:7700"};
    cluster = (struct cluster){.count = 1, .devices = &device, .file = &file};
    (void)snprintf(cluster.owner_key, sizeof cluster.owner_key, "KEY-OF-THIS-SIDE");
    declared.memory = 0;
    return 0;
}

static int teardown(void **state) {
    (void)state;
    json_decref(device.info);
    return 0;
}

static const struct doctor_finding *find(const struct doctor_report *report,
                                         enum doctor_layer layer) {
    for (uint32_t i = 0; i < report->count; i++) {
        if (report->findings[i].layer == layer) {
            return &report->findings[i];
        }
    }
    return NULL;
}

static void every_reason_has_its_layer_and_its_mending(void **state) {
    (void)state;
    static const struct {
        enum transport_lost reason;
        enum doctor_layer layer;
        const char *fix;
    } cases[] = {
        {TRANSPORT_LOST_UNRESOLVED, DOCTOR_NAME, "IP address"},
        {TRANSPORT_LOST_NO_ROUTE, DOCTOR_PORT, "ip route get pi-1.local"},
        {TRANSPORT_LOST_NO_ANSWER, DOCTOR_PORT, "ufw allow 7700/tcp"},
        {TRANSPORT_LOST_NO_LISTENER, DOCTOR_PORT, "systemctl start shoal"},
        {TRANSPORT_LOST_MUTE, DOCTOR_KEY, "systemctl restart shoal"},
        {TRANSPORT_LOST_FOREIGN, DOCTOR_KEY, "ss -tlnp"},
        {TRANSPORT_LOST_WRONG_KEY, DOCTOR_KEY, "line of pi-1 in mine.yaml"},
        {TRANSPORT_LOST_REFUSED_KEY, DOCTOR_KEY, "\nanna KEY-OF-THIS-SIDE"},
        {TRANSPORT_LOST_VERSION, DOCTOR_VERSION, "same version"},
        {TRANSPORT_LOST_LEFT, DOCTOR_ANSWERS, "journalctl"},
        {TRANSPORT_LOST_CLOSED, DOCTOR_ANSWERS, "journalctl"},
        {TRANSPORT_LOST_SILENT, DOCTOR_ANSWERS, "journalctl"},
        {TRANSPORT_LOST_BREACH, DOCTOR_ANSWERS, "journalctl"},
        {TRANSPORT_LOST_REFUSED, DOCTOR_ANSWERS, "journalctl"},
        {TRANSPORT_LOST_FAILED, DOCTOR_ANSWERS, "journalctl"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct doctor_report report = {.count = 0};
        device.lost = true;
        device.lost_reason = cases[i].reason;
        (void)snprintf(device.lost_text, sizeof device.lost_text, "text of %s",
                       transport_lost_name(cases[i].reason));
        assert_int_equal(doctor_explain_lost(&options, 0, &report, &error), SHOAL_OK);
        /* One finding a layer up to the broken one, nothing after it. */
        assert_int_equal(report.count, (uint32_t)cases[i].layer + 1);
        for (uint32_t k = 0; k + 1 < report.count; k++) {
            assert_int_equal(report.findings[k].level, DOCTOR_OK);
        }
        const struct doctor_finding *broken = find(&report, cases[i].layer);
        assert_int_equal(broken->level, DOCTOR_BROKEN);
        assert_string_equal(broken->text, device.lost_text);
        if (strstr(broken->fix, cases[i].fix) == NULL) {
            fail_msg("%s: wanted '%s' in: %s", transport_lost_name(cases[i].reason), cases[i].fix,
                     broken->fix);
        }
        doctor_report_fini(&report);
    }
}

/* Limit and free memory in MB, disk in GB. */
static void say_info(const char *version, double limit, double available, double disk) {
    json_decref(device.info);
    device.info =
        json_pack("{s:s, s:I, s:I, s:I, s:{s:s, s:I, s:I, s:I}}", "version", version,
                  "memory_limit", (json_int_t)(limit * 1e6), "memory_available",
                  (json_int_t)(available * 1e6), "memory_total", (json_int_t)4000000000, "cache",
                  "directory", "/var/lib/shoal/cache", "bytes", (json_int_t)1000000000, "quota",
                  (json_int_t)10000000000, "disk_free", (json_int_t)(disk * 1e9));
    assert_non_null(device.info);
}

static void expect(enum doctor_layer layer, enum doctor_level level, const char *text,
                   const char *fix) {
    struct doctor_report report = {.count = 0};
    assert_int_equal(doctor_explain_info(&options, 0, &report, &error), SHOAL_OK);
    const struct doctor_finding *finding = find(&report, layer);
    assert_non_null(finding);
    if (finding->level != level || strstr(finding->text, text) == NULL ||
        strstr(finding->fix, fix) == NULL) {
        fail_msg("wanted %s '%s' '%s', got %s '%s' '%s'", doctor_level_name(level), text, fix,
                 doctor_level_name(finding->level), finding->text, finding->fix);
    }
    doctor_report_fini(&report);
}

static void what_a_device_says_of_itself_is_judged(void **state) {
    (void)state;
    say_info(SHOAL_VERSION_TEXT, 3000, 2000, 50);
    expect(DOCTOR_NAME, DOCTOR_OK, "tcp://pi-1.local:7700", "");
    expect(DOCTOR_KEY, DOCTOR_OK, "", "");
    expect(DOCTOR_VERSION, DOCTOR_OK, SHOAL_VERSION_TEXT, "");
    expect(DOCTOR_MEMORY, DOCTOR_OK, "2.0 GB free", "");
    expect(DOCTOR_DISK, DOCTOR_OK, "/var/lib/shoal/cache", "");
    say_info("99.0", 3000, 2000, 50);
    expect(DOCTOR_VERSION, DOCTOR_WARNING, "99.0", "same version");
    say_info(SHOAL_VERSION_TEXT, 5000, 2000, 50);
    expect(DOCTOR_MEMORY, DOCTOR_WARNING, "more than the 4.0 GB", "--memory");
    say_info(SHOAL_VERSION_TEXT, 3000, 50, 50);
    expect(DOCTOR_MEMORY, DOCTOR_WARNING, "only 50 MB", "ps aux");
    declared.memory = (size_t)8 << 30;
    say_info(SHOAL_VERSION_TEXT, 3000, 2000, 50);
    expect(DOCTOR_MEMORY, DOCTOR_WARNING, "mine.yaml says 8.6 GB", "memory: 2861M");
    say_info(SHOAL_VERSION_TEXT, 3000, 2000, 0.5);
    expect(DOCTOR_DISK, DOCTOR_WARNING, "0.5 GB free", "df -h /var/lib/shoal/cache");
    say_info(SHOAL_VERSION_TEXT, 3000, 2000, 5); /* less than the quota wants still */
    expect(DOCTOR_DISK, DOCTOR_WARNING, "5.0 GB free", "--cache-size");
    assert_int_equal(json_object_set_new(device.info, "cache", json_null()), 0);
    expect(DOCTOR_DISK, DOCTOR_WARNING, "no weights", "journalctl");
}

static void layers_and_levels_have_names(void **state) {
    (void)state;
    assert_string_equal(doctor_layer_name(DOCTOR_NAME), "name");
    assert_string_equal(doctor_layer_name(DOCTOR_PEERS), "peers");
    assert_string_equal(doctor_level_name(DOCTOR_BROKEN), "broken");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_reason_has_its_layer_and_its_mending, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(what_a_device_says_of_itself_is_judged, setup, teardown),
        cmocka_unit_test(layers_and_levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
