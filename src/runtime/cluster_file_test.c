/* The cluster file: what it takes, and that every mistake is named with file, line and key. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "runtime/cluster_file.h"

/* Any 32 bytes as z85; YAML's own characters are in them. */
#define K1 "rq:rM>}U?@Lns47E1akR.o@nbFcmmsL/@{H8]yf7"
#define K2 "JTKVSBab)wK0E.X)V>+}o?pNmC{O&4W4b!Ni{Lh6"
#define K3 "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"
#define K4 "D:)Q[IlAW!ahhC2ac:9*A}h:p?([4%wOTJ%JR%cs"

#define D1 "  - {name: pi-1, address: \"tcp://192.0.2.11:7700\", key: \"" K1 "\"}\n"
#define D2 "  - {name: laptop, address: \"tcp://lap.example:7701\", key: \"" K2 "\"}\n"

static struct shoal_error error;

static shoal_status parse(const char *text, struct cluster_file **out) {
    return cluster_file_parse("mine.yaml", text, strlen(text), out, &error);
}

static struct cluster_file *accept(const char *text) {
    struct cluster_file *file;
    if (parse(text, &file) != SHOAL_OK) {
        fail_msg("refused: %s", error.text);
    }
    return file;
}

static void refuse(const char *text, const char *where, const char *why) {
    struct cluster_file *file;
    const shoal_status status = parse(text, &file);
    if (status != SHOAL_CORRUPT || error.code != SHOAL_CORRUPT ||
        strstr(error.text, where) != error.text || strstr(error.text, why) == NULL) {
        fail_msg("wanted '%s … %s' for\n%s\ngot: %s", where, why, text,
                 status == SHOAL_OK ? "accepted" : error.text);
    }
}

static void a_whole_file_is_read(void **state) {
    (void)state;
    struct cluster_file *file =
        accept("devices:\n"
               "  - {name: pi-1, address: \"tcp://192.0.2.11:7700\", key: \"" K1
               "\", memory: 3G, threads: 4}\n"
               "  - name: laptop\n    address: tcp://[2001:db8::7]:7701\n    key: '" K2 "'\n"
               "links:\n  - {from: pi-1, to: \"*\", rate: 80Mbit, delay: 3ms}\n"
               "  - {from: owner, to: laptop, delay: 200us}\n"
               "clients:\n  - {name: anna, key: \"" K3 "\"}\n");
    assert_int_equal(file->device_count, 2);
    assert_string_equal(file->path, "mine.yaml");
    assert_string_equal(file->devices[0].name, "pi-1");
    assert_string_equal(file->devices[0].address, "tcp://192.0.2.11:7700");
    assert_string_equal(file->devices[0].key, K1);
    assert_int_equal(file->devices[0].memory, (size_t)3 << 30);
    assert_int_equal(file->devices[0].threads, 4);
    assert_string_equal(file->devices[1].address, "tcp://[2001:db8::7]:7701");
    assert_int_equal(file->devices[1].memory, 0);
    assert_int_equal(file->link_count, 2);
    assert_int_equal(file->links[0].to, CLUSTER_FILE_ANY);
    assert_true(file->links[0].rate == 10e6);
    assert_int_equal(file->links[1].from, CLUSTER_FILE_OWNER);
    assert_int_equal(file->links[1].to, 1);
    assert_int_equal(file->client_count, 1);
    assert_string_equal(file->clients[0].name, "anna");
    assert_string_equal(file->clients[0].public_key, K3);
    cluster_file_free(file);
}

static void the_best_fitting_link_counts_figure_by_figure(void **state) {
    (void)state;
    struct cluster_file *file = accept("devices:\n" D1 D2 "links:\n"
                                       "  - {from: \"*\", to: \"*\", rate: 8Mbit, delay: 5ms}\n"
                                       "  - {from: \"*\", to: laptop, rate: 16Mbit}\n"
                                       "  - {from: pi-1, to: \"*\", rate: 24Mbit}\n"
                                       "  - {from: owner, to: pi-1, delay: 1ms}\n");
    double rate, delay;
    cluster_file_link_find(file, 0, 1, &rate, &delay);
    assert_true(rate == 3e6 && delay == 5e-3);
    cluster_file_link_find(file, CLUSTER_FILE_OWNER, 1, &rate, &delay);
    assert_true(rate == 2e6 && delay == 5e-3);
    cluster_file_link_find(file, CLUSTER_FILE_OWNER, 0, &rate, &delay);
    assert_true(rate == 1e6 && delay == 1e-3);
    cluster_file_free(file);
    file = accept("devices:\n" D1 D2);
    cluster_file_link_find(file, 0, 1, &rate, &delay);
    assert_true(rate == 0 && delay < 0);
    cluster_file_free(file);
}

static void what_is_no_cluster_is_refused(void **state) {
    (void)state;
    refuse("", "mine.yaml:1:", "devices:");
    refuse("- a\n", "mine.yaml:1:", "map");
    refuse("devices: [\n", "mine.yaml:2:", "not YAML");
    refuse("links: []\n", "mine.yaml:1:", "\"devices\"");
    refuse("devices:\n", "mine.yaml:", "no device");
    refuse("devices: []\n", "mine.yaml:1: key devices:", "no device");
    refuse("devices: {a: b}\n", "mine.yaml:1: key devices:", "list");
    refuse("devices:\n  - pi-1\n", "mine.yaml:2:", "map");
    refuse("devices:\n" D1 "---\ndevices:\n" D1, "mine.yaml:", "second document");
    refuse("devices:\n" D1 "nodes: 3\n", "mine.yaml:3: key nodes:", "known here: devices, links");
    refuse("devices:\n" D1 "devices:\n" D2, "mine.yaml:", "twice");
    refuse("devices:\n" D1 "links: 3\n", "mine.yaml:3: key links:", "list");
    refuse("devices:\n" D1 "clients: 3\n", "mine.yaml:3: key clients:", "list");
}

static void devices_have_their_keys_and_no_others(void **state) {
    (void)state;
    refuse("devices:\n  - {address: \"tcp://a:1\", key: \"" K1 "\"}\n", "mine.yaml:2:", "\"name\"");
    refuse("devices:\n  - {name: a, key: \"" K1 "\"}\n", "mine.yaml:2:", "\"address\"");
    refuse("devices:\n  - {name: a, address: \"tcp://a:1\"}\n", "mine.yaml:2:", "shoal key");
    refuse("devices:\n" D1 "  - {name: a, address: \"tcp://a:1\", key: \"" K2 "\", cores: 4}\n",
           "mine.yaml:3: key cores:", "unknown key");
    refuse("devices:\n  - {name: a, name: b, address: \"tcp://a:1\", key: \"" K2 "\"}\n",
           "mine.yaml:2: key name:", "twice");
}

static void refuse_name(const char *name, const char *why) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "devices:\n  - {address: \"tcp://a:1\", key: \"" K1 "\", name: %s}\n", name);
    refuse(text, "mine.yaml:2: key name:", why);
}

static void names_are_checked(void **state) {
    (void)state;
    refuse_name("\"\"", "no name");
    refuse_name("~", "text is expected");
    refuse_name("[a]", "text is expected");
    refuse_name("\"…\"", "no name");
    refuse_name("\"*\"", "any");
    refuse_name("owner", "gives the command");
    refuse_name("\"pi#1\"", "'#'");
    refuse_name("\"pi 1\"", "blank");
    refuse_name("\"pi\\t1\"", "control");
    refuse_name("\"pi\\x7f\"", "control");
    refuse_name("\"pi\\x85\"", "control");
    refuse_name("\"pi\\0x\"", "text is expected");
    refuse_name("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "54 bytes");
}

static void refuse_address(const char *address) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "devices:\n  - {name: a, key: \"" K1 "\",\n     address: \"%s\"}\n", address);
    refuse(text, "mine.yaml:3: key address:", "ddress");
}

static void addresses_are_checked(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "",          "…",           "a:7700",          "tcp://a",          "tcp://:7700",
        "tcp://a:",  "tcp://a:0",   "tcp://a:65536",   "tcp://a:99999999", "tcp://a:77x",
        "udp://a:1", "tcp://*:1",   "tcp://0.0.0.0:1", "tcp://[::]:1",     "tcp://[xyz]:1",
        "tcp://::1", "tcp://a b:1", "ipc:///tmp/x",    "tcp://[::1:1",     "tcp://2001:db8::7:1",
        "tcp://-a:1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        refuse_address(wrong[i]);
    }
    char host[256];
    uint16_t port;
    assert_true(cluster_file_split_address("tcp://pi_1.local:7700", host, &port));
    assert_string_equal(host, "pi_1.local");
    assert_int_equal(port, 7700);
    assert_true(cluster_file_split_address("tcp://[fe80::1%eth0]:65535", host, &port));
    assert_string_equal(host, "fe80::1%eth0");
    assert_int_equal(port, 65535);
}

static void refuse_key(const char *key, const char *why) {
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "devices:\n  - {name: a, address: \"tcp://a:1\", key: \"%s\"}\n", key);
    refuse(text, "mine.yaml:2: key key:", why);
}

static void keys_are_checked(void **state) {
    (void)state;
    refuse_key("", "placeholder");
    refuse_key("…", "placeholder");
    refuse_key("<z85 public key>", "placeholder");
    refuse_key("abc", "40 characters");
    refuse_key("rq:rM>}U?@Lns47E1akR.o@nbFcmmsL/@{H8]yf", "40 characters");
    refuse_key("rq:rM>}U?@Lns47E1akR.o@nbFcmmsL/@{H8]yf77", "40 characters");
    refuse_key("rq:rM>}U?@Lns47E1akR.o@nbFcmmsL/@{H8]yf~", "40 characters");
    refuse_key("#####>}U?@Lns47E1akR.o@nbFcmmsL/@{H8]yf7", "mistyped");
}

static void refuse_bound(const char *key, const char *value, const char *why) {
    char text[1024], where[64];
    (void)snprintf(text, sizeof text,
                   "devices:\n  - {name: a, address: \"tcp://a:1\", key: \"" K1 "\", %s: %s}\n",
                   key, value);
    (void)snprintf(where, sizeof where, "mine.yaml:2: key %s:", key);
    refuse(text, where, why);
}

static void memory_and_threads_are_checked(void **state) {
    (void)state;
    refuse_bound("memory", "lots", "no size");
    refuse_bound("memory", "-3G", "no size");
    refuse_bound("memory", "0x3G", "no size");
    refuse_bound("memory", "nan", "no size");
    refuse_bound("memory", "3", "unit missing");
    refuse_bound("memory", "9999999T", "no size");
    refuse_bound("memory", "[3G]", "text is expected");
    refuse_bound("threads", "0", "from 1 to 1024");
    refuse_bound("threads", "1025", "from 1 to 1024");
    refuse_bound("threads", "99999999999999999999", "whole number");
    refuse_bound("threads", "4.5", "whole number");
    refuse_bound("threads", "\"4\"", "whole number");
}

static void nothing_stands_there_twice(void **state) {
    (void)state;
    refuse("devices:\n" D1 "  - {name: pi-1, address: \"tcp://b:1\", key: \"" K2 "\"}\n",
           "mine.yaml:3: key name:", "pi-1");
    refuse("devices:\n" D1 "  - {name: b, address: \"tcp://b:1\", key: \"" K1 "\"}\n",
           "mine.yaml:3: key key:", "pi-1");
    refuse("devices:\n" D1 "  - {name: b, address: \"tcp://192.0.2.11:7700\", key: \"" K2 "\"}\n",
           "mine.yaml:3: key address:", "pi-1");
    refuse("devices:\n" D1 "clients:\n  - {name: pi-1, key: \"" K2 "\"}\n",
           "mine.yaml:4: key name:", "pi-1");
    refuse("devices:\n" D1 "clients:\n  - {name: anna, key: \"" K1 "\"}\n",
           "mine.yaml:4: key key:", "no line under clients");
    refuse("devices:\n" D1 "clients:\n  - {name: anna, key: \"" K2
           "\"}\n  - {name: anna, key: \"" K3 "\"}\n",
           "mine.yaml:5: key name:", "anna");
    refuse("devices:\n" D1 "clients:\n  - {name: anna, key: \"" K2 "\"}\n  - {name: ben, key: \"" K2
           "\"}\n",
           "mine.yaml:5: key key:", "anna");
    refuse("devices:\n" D1 "clients:\n  - {name: anna, key: \"" K2 "\", address: \"tcp://a:1\"}\n",
           "mine.yaml:4: key address:", "unknown key");
}

static void links_are_checked(void **state) {
    (void)state;
    static const struct {
        const char *entry, *where, *why;
    } cases[] = {
        {"{from: pi-1, rate: 1Gbit}", "mine.yaml:5:", "\"to\""},
        {"{to: pi-1, rate: 1Gbit}", "mine.yaml:5:", "\"from\""},
        {"{from: pi-1, to: laptop}", "mine.yaml:5:", "neither"},
        {"{from: pi-1, to: nobody, rate: 1Gbit}", "mine.yaml:5: key to:", "nobody"},
        {"{from: pi-1, to: pi-1, rate: 1Gbit}", "mine.yaml:5:", "two ends"},
        {"{from: pi-1, to: laptop, rate: 80}", "mine.yaml:5: key rate:", "80Mbit"},
        {"{from: pi-1, to: laptop, rate: 80MB}", "mine.yaml:5: key rate:", "80Mbit"},
        {"{from: pi-1, to: laptop, rate: 0Mbit}", "mine.yaml:5: key rate:", "80Mbit"},
        {"{from: pi-1, to: laptop, rate: 1e300Gbit}", "mine.yaml:5: key rate:", "80Mbit"},
        {"{from: pi-1, to: laptop, delay: 3}", "mine.yaml:5: key delay:", "3ms"},
        {"{from: pi-1, to: laptop, delay: -3ms}", "mine.yaml:5: key delay:", "3ms"},
        {"{from: pi-1, to: laptop, loss: 3}", "mine.yaml:5: key loss:", "unknown key"},
        {"{from: pi-1, to: laptop, delay: 3ms}\n  - {from: pi-1, to: laptop, rate: 1Gbit}",
         "mine.yaml:6:", "above already"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[2048];
        (void)snprintf(text, sizeof text, "devices:\n" D1 D2 "links:\n  - %s\n", cases[i].entry);
        refuse(text, cases[i].where, cases[i].why);
    }
}

static void too_many_entries_are_refused(void **state) {
    (void)state;
    enum { TOO_MANY = 5000 };
    const size_t size = 64 + TOO_MANY * 8;
    char *text = calloc(1, size);
    assert_non_null(text);
    size_t used = (size_t)snprintf(text, size, "devices: [");
    for (int i = 0; i < TOO_MANY; i++) {
        used += (size_t)snprintf(text + used, size - used, "a,");
    }
    (void)snprintf(text + used, size - used, "a]\n");
    refuse(text, "mine.yaml:1: key devices:", "at most 512");
    free(text);
}

/* Each alias stands for a list of ten of the one before: 10^12 scalars if anything walked them. */
static void aliases_of_aliases_cost_nothing(void **state) {
    (void)state;
    char text[4096] = "x0: &x0 [a,a,a,a,a,a,a,a,a,a]\n";
    size_t used = strlen(text);
    for (int i = 1; i < 12; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "x%d: &x%d [", i, i);
        for (int k = 0; k < 10; k++) {
            used += (size_t)snprintf(text + used, sizeof text - used, "*x%d%s", i - 1,
                                     k < 9 ? "," : "]\n");
        }
    }
    refuse(text, "mine.yaml:", "unknown key");
    (void)snprintf(text + used, sizeof text - used, "devices: *x11\n");
    refuse(strstr(text, "x0:"), "mine.yaml:", "unknown key");
    refuse("devices: &d [*d]\n", "mine.yaml:", "");
}

static void deep_nesting_is_refused(void **state) {
    (void)state;
    enum { DEPTH = 200000 };
    char *text = malloc(DEPTH + 16);
    assert_non_null(text);
    const int used = snprintf(text, 16, "devices: ");
    memset(text + used, '[', DEPTH);
    text[used + DEPTH] = '\0';
    refuse(text, "mine.yaml:1:", "deeper than 64");
    free(text);
}

static void a_missing_file_is_said_to_be_missing(void **state) {
    (void)state;
    struct cluster_file *file;
    assert_int_equal(cluster_file_read("/nonexistent/mine.yaml", &file, &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "/nonexistent/mine.yaml"));
}

static void the_example_is_one(void **state) {
    (void)state;
    const char *source = getenv("SHOAL_SOURCE_DIR");
    char path[1024];
    struct cluster_file *file;
    (void)snprintf(path, sizeof path, "%s/examples/cluster.yaml", source != NULL ? source : ".");
    if (cluster_file_read(path, &file, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(file->device_count, 3);
    assert_int_equal(file->client_count, 1);
    assert_int_equal(file->link_count, 2);
    cluster_file_free(file);
}

static void failing_allocations_are_survived(void **state) {
    (void)state;
    static const char text[] =
        "devices:\n" D1 D2 "links:\n  - {from: pi-1, to: \"*\", rate: 1Gbit}\n"
        "clients:\n  - {name: anna, key: \"" K4 "\"}\n";
    shoal_status status = SHOAL_NO_MEMORY;
    for (uint64_t n = 1; status != SHOAL_OK; n++) {
        struct cluster_file *file;
        assert_true(n < 1000);
        mem_fail_after(n);
        status = parse(text, &file);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            cluster_file_free(file);
        } else {
            assert_int_equal(status, SHOAL_NO_MEMORY);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_file_is_read),
        cmocka_unit_test(the_best_fitting_link_counts_figure_by_figure),
        cmocka_unit_test(what_is_no_cluster_is_refused),
        cmocka_unit_test(devices_have_their_keys_and_no_others),
        cmocka_unit_test(names_are_checked),
        cmocka_unit_test(addresses_are_checked),
        cmocka_unit_test(keys_are_checked),
        cmocka_unit_test(memory_and_threads_are_checked),
        cmocka_unit_test(nothing_stands_there_twice),
        cmocka_unit_test(links_are_checked),
        cmocka_unit_test(too_many_entries_are_refused),
        cmocka_unit_test(aliases_of_aliases_cost_nothing),
        cmocka_unit_test(deep_nesting_is_refused),
        cmocka_unit_test(a_missing_file_is_said_to_be_missing),
        cmocka_unit_test(the_example_is_one),
        cmocka_unit_test(failing_allocations_are_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
