/* The harness itself: hosts reach each other, cables part them, rates hold, nothing is left behind.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lan.h"
#include "platform/clock.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PORT 7700
#define LONG_MS 20000

static struct lan lan;

static int open_lan(void **state) {
    (void)state;
    lan_open(&lan, 3, false);
    return 0;
}

static int close_lan(void **state) {
    (void)state;
    lan_close(&lan);
    return 0;
}

static bool skipped(void) {
    if (!lan.isolated) {
        print_message("SKIPPED: cables and rates: %s\n", lan.reason);
    }
    return !lan.isolated;
}

static struct sockaddr_in address_of(uint32_t host) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(PORT)};
    assert_int_equal(inet_pton(AF_INET, lan.address[host], &address.sin_addr), 1);
    return address;
}

/* A socket that belongs to the host's network; sockets keep the one they were made in. */
static int socket_on(uint32_t host, int type) {
    const int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
    if (lan.isolated) {
        assert_int_equal(setns(lan.hosts[host], CLONE_NEWNET), 0);
    }
    const int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (lan.isolated) {
        assert_int_equal(setns(home, CLONE_NEWNET), 0);
    }
    (void)close(home);
    assert_true(fd >= 0);
    return fd;
}

static int listen_on(uint32_t host) {
    const int fd = socket_on(host, SOCK_STREAM), yes = 1;
    const struct sockaddr_in address = address_of(host);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes), 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 4), 0);
    return fd;
}

static bool readable(int fd, int timeout_ms) {
    struct pollfd item = {.fd = fd, .events = POLLIN};
    int got;
    do {
        got = poll(&item, 1, timeout_ms);
    } while (got < 0 && errno == EINTR);
    return got > 0;
}

static void pair_of(uint32_t from, uint32_t to, int *sender, int *receiver) {
    const int listener = listen_on(to);
    const struct sockaddr_in address = address_of(to);
    *sender = socket_on(from, SOCK_STREAM);
    assert_int_equal(connect(*sender, (const struct sockaddr *)&address, sizeof address), 0);
    assert_true(readable(listener, LONG_MS));
    *receiver = accept(listener, NULL, NULL);
    assert_true(*receiver >= 0);
    (void)close(listener);
}

static void passes(int sender, int receiver) {
    char byte = 0;
    assert_int_equal(write(sender, "x", 1), 1);
    assert_true(readable(receiver, LONG_MS));
    assert_int_equal(read(receiver, &byte, 1), 1);
    assert_int_equal(byte, 'x');
}

static void hosts_reach_each_other(void **state) {
    (void)state;
    int sender, receiver;
    pair_of(0, 1, &sender, &receiver);
    passes(sender, receiver);
    passes(receiver, sender);
    (void)close(sender);
    (void)close(receiver);
}

/* What is sent while parted arrives once they are joined again; that a wait of any length ends
 * without it cannot be tested by waiting, that the packet is not delivered meanwhile can. */
static void parted(void (*part)(const struct lan *, uint32_t, bool), bool on, bool off) {
    char byte = 0;
    int sender, receiver;
    if (skipped()) {
        return;
    }
    pair_of(0, 1, &sender, &receiver);
    passes(sender, receiver);
    part(&lan, 1, on);
    assert_int_equal(write(sender, "y", 1), 1);
    assert_false(readable(receiver, 300));
    part(&lan, 1, off);
    assert_true(readable(receiver, LONG_MS));
    assert_int_equal(read(receiver, &byte, 1), 1);
    assert_int_equal(byte, 'y');
    (void)close(sender);
    (void)close(receiver);
}

static void a_pulled_cable_parts_hosts(void **state) {
    (void)state;
    parted(lan_cable, false, true);
}

static void a_switch_that_loses_everything_parts_hosts(void **state) {
    (void)state;
    parted(lan_lose, true, false);
}

static void a_rate_holds(void **state) {
    (void)state;
    enum { BYTES = 1000000 };
    if (skipped()) {
        return;
    }
    if (!lan_rate(&lan, 0, 8)) {
        print_message("SKIPPED: rates: no tbf in this kernel\n");
        return;
    }
    int sender, receiver;
    pair_of(0, 1, &sender, &receiver);
    const uint64_t before = lan_bytes_sent(&lan, 0), begin = platform_now_ns();
    const pid_t writer = fork();
    if (writer == 0) {
        static char block[BYTES];
        (void)close(receiver);
        size_t sent = 0;
        while (sent < BYTES) {
            const ssize_t wrote = write(sender, block + sent, BYTES - sent);
            if (wrote <= 0) {
                _exit(1);
            }
            sent += (size_t)wrote;
        }
        _exit(0);
    }
    size_t got = 0;
    while (got < BYTES) {
        static char block[65536];
        assert_true(readable(receiver, LONG_MS));
        const ssize_t size = read(receiver, block, sizeof block);
        assert_true(size > 0);
        got += (size_t)size;
    }
    const double seconds = (double)(platform_now_ns() - begin) / 1e9;
    int status;
    assert_int_equal(waitpid(writer, &status, 0), writer);
    assert_int_equal(status, 0);
    /* 1 MB at 8 Mbit/s is 1 s, less the 128 KiB that may pass at once. Slower machines take longer.
     */
    if (seconds < 0.8) {
        fail_msg("1 MB passed in %.3f s over 8 Mbit/s", seconds);
    }
    assert_true(lan_bytes_sent(&lan, 0) - before >= BYTES);
    (void)close(sender);
    (void)close(receiver);
}

static size_t interfaces_here(void) {
    size_t count = 0;
    DIR *directory = opendir("/sys/class/net");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        count += strncmp(entry->d_name, "port", 4) == 0 || strcmp(entry->d_name, "lan") == 0 ||
                 strcmp(entry->d_name, "switch") == 0;
    }
    if (directory != NULL) {
        (void)closedir(directory);
    }
    return count;
}

static void the_machine_s_own_network_is_untouched(void **state) {
    (void)state;
    assert_int_equal(interfaces_here(), 0);
}

static void loopback_addresses_stand_in(void **state) {
    (void)state;
    const struct lan namespaces = lan;
    lan_open(&lan, 3, true);
    assert_false(lan.isolated);
    int sender, receiver;
    pair_of(0, 2, &sender, &receiver);
    passes(sender, receiver);
    (void)close(sender);
    (void)close(receiver);
    lan_close(&lan);
    lan = namespaces;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_reach_each_other),
        cmocka_unit_test(a_pulled_cable_parts_hosts),
        cmocka_unit_test(a_switch_that_loses_everything_parts_hosts),
        cmocka_unit_test(a_rate_holds),
        cmocka_unit_test(the_machine_s_own_network_is_untouched),
        cmocka_unit_test(loopback_addresses_stand_in),
    };
    return cmocka_run_group_tests(tests, open_lan, close_lan);
}
