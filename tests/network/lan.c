#include "lan.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int namespace_here(void) {
    return open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
}

/* Runs a command in a namespace; the end of what it printed goes to text. Returns its status. */
static int run_in(int namespace, const char *command, char *text, size_t bytes) {
    int ends[2];
    char words[512], *argv[32];
    size_t count = 0;
    (void)snprintf(words, sizeof words, "%s", command);
    for (char *word = strtok(words, " "); word != NULL && count < 31; word = strtok(NULL, " ")) {
        argv[count++] = word;
    }
    argv[count] = NULL;
    text[0] = '\0';
    if (count == 0 || pipe2(ends, O_CLOEXEC) != 0) {
        return -1;
    }
    const pid_t pid = fork();
    if (pid == 0) {
        if (setns(namespace, CLONE_NEWNET) != 0 || dup2(ends[1], STDOUT_FILENO) < 0 ||
            dup2(ends[1], STDERR_FILENO) < 0) {
            _exit(126);
        }
        (void)setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
        (void)execvp(argv[0], argv);
        _exit(127);
    }
    (void)close(ends[1]);
    size_t used = 0;
    ssize_t got;
    while (used + 1 < bytes && (got = read(ends[0], text + used, bytes - 1 - used)) > 0) {
        used += (size_t)got;
    }
    text[used] = '\0';
    (void)close(ends[0]);
    int state = -1;
    (void)waitpid(pid, &state, 0);
    return WIFEXITED(state) ? WEXITSTATUS(state) : -1;
}

/* False with lan->reason set when the command does not work here. */
static __attribute__((format(printf, 3, 4))) bool try_in(struct lan *lan, int namespace,
                                                         const char *format, ...) {
    char command[512], text[128];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    const int status = run_in(namespace, command, text, sizeof text);
    if (status != 0) {
        text[strcspn(text, "\n")] = '\0';
        (void)snprintf(lan->reason, sizeof lan->reason, "'%.90s' ended with %d (127: not there) %s",
                       command, status, text);
    }
    return status == 0;
}

static bool new_namespace(struct lan *lan, int *out) {
    if (unshare(CLONE_NEWNET) != 0) {
        (void)snprintf(lan->reason, sizeof lan->reason, "no network namespace can be made: %s",
                       strerror(errno));
        return false;
    }
    *out = namespace_here();
    if (setns(lan->home, CLONE_NEWNET) != 0 || *out < 0) {
        fail_msg("cannot leave a network namespace: %s", strerror(errno));
    }
    return try_in(lan, *out, "ip link set dev lo up");
}

/* The host's end is called "lan", the switch's "port1", "port2", … */
static bool add_host(struct lan *lan, uint32_t host) {
    const unsigned number = host + 1;
    (void)snprintf(lan->address[host], sizeof lan->address[host], "10.77.0.%u", number);
    if (!new_namespace(lan, &lan->hosts[host])) {
        return false;
    }
    return try_in(lan, lan->bridge,
                  "ip link add name port%u type veth peer name lan netns /proc/%ld/fd/%d", number,
                  (long)getpid(), lan->hosts[host]) &&
           try_in(lan, lan->bridge, "ip link set dev port%u master switch", number) &&
           try_in(lan, lan->bridge, "ip link set dev port%u up", number) &&
           try_in(lan, lan->hosts[host], "ip address add %s/24 dev lan", lan->address[host]) &&
           try_in(lan, lan->hosts[host], "ip link set dev lan up");
}

static bool isolate(struct lan *lan) {
    if (geteuid() != 0) {
        (void)snprintf(lan->reason, sizeof lan->reason, "network namespaces need root");
        return false;
    }
    lan->home = namespace_here();
    if (lan->home < 0) {
        (void)snprintf(lan->reason, sizeof lan->reason, "/proc/thread-self/ns/net: %s",
                       strerror(errno));
        return false;
    }
    if (!new_namespace(lan, &lan->bridge) ||
        !try_in(lan, lan->bridge, "ip link add name switch type bridge stp_state 0") ||
        !try_in(lan, lan->bridge, "ip link set dev switch up")) {
        return false;
    }
    for (uint32_t i = 0; i < lan->count; i++) {
        if (!add_host(lan, i)) {
            return false;
        }
    }
    return try_in(lan, lan->bridge, "bridge link set dev port1 state 3");
}

static void close_all(struct lan *lan) {
    int *const all[] = {&lan->home, &lan->bridge};
    for (size_t i = 0; i < sizeof all / sizeof all[0] + LAN_HOSTS; i++) {
        int *fd = i < 2 ? all[i] : &lan->hosts[i - 2];
        if (*fd >= 0) {
            (void)close(*fd);
        }
        *fd = -1;
    }
}

void lan_open(struct lan *lan, uint32_t count, bool loopback) {
    assert_true(count >= 1 && count <= LAN_HOSTS);
    memset(lan, 0, sizeof *lan);
    lan->count = count;
    lan->home = lan->bridge = -1;
    for (uint32_t i = 0; i < LAN_HOSTS; i++) {
        lan->hosts[i] = -1;
    }
    /* The variable: to try here what happens elsewhere. */
    (void)snprintf(lan->reason, sizeof lan->reason, "the loopback was asked for");
    lan->isolated = !loopback && getenv("SHOAL_TEST_LOOPBACK") == NULL && isolate(lan);
    if (lan->isolated) {
        return;
    }
    close_all(lan);
    const unsigned id = (unsigned)getpid();
    for (uint32_t i = 0; i < count; i++) {
        (void)snprintf(lan->address[i], sizeof lan->address[i], "127.%u.%u.%u", 1 + id / 254 % 254,
                       1 + id % 254, i + 1);
    }
}

void lan_close(struct lan *lan) {
    close_all(lan);
    lan->isolated = false;
}

void lan_enter(const struct lan *lan, uint32_t host) {
    if (lan->isolated && setns(lan->hosts[host], CLONE_NEWNET) != 0) {
        _exit(125);
    }
}

static __attribute__((format(printf, 3, 4))) void must_in(const struct lan *lan, int namespace,
                                                          const char *format, ...) {
    char command[512], text[512];
    assert_true(lan->isolated);
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    const int status = run_in(namespace, command, text, sizeof text);
    if (status != 0) {
        fail_msg("'%s' ended with %d: %s", command, status, text);
    }
}

void lan_cable(const struct lan *lan, uint32_t host, bool plugged_in) {
    must_in(lan, lan->bridge, "ip link set dev port%u %s", host + 1, plugged_in ? "up" : "down");
}

void lan_lose(const struct lan *lan, uint32_t host, bool lose) {
    /* States of a bridge's port: 0 disabled, 3 forwarding. */
    must_in(lan, lan->bridge, "bridge link set dev port%u state %d", host + 1, lose ? 0 : 3);
}

bool lan_rate(const struct lan *lan, uint32_t host, uint32_t mbit) {
    static const char shape[] = "tc qdisc replace dev %s root tbf rate %umbit burst 128kb "
                                "limit 2mb";
    struct lan scratch = *lan;
    char port[16], command[160];
    assert_true(lan->isolated);
    (void)snprintf(port, sizeof port, "port%u", host + 1);
    (void)snprintf(command, sizeof command, shape, port, mbit);
    if (!try_in(&scratch, lan->bridge, "%s", command)) {
        print_message("%s\n", scratch.reason);
        return false;
    }
    (void)snprintf(command, sizeof command, shape, "lan", mbit);
    must_in(lan, lan->hosts[host], "%s", command);
    return true;
}

uint64_t lan_bytes_sent(const struct lan *lan, uint32_t host) {
    char text[2048], command[64];
    (void)snprintf(command, sizeof command, "ip -s -o link show dev port%u", host + 1);
    assert_int_equal(run_in(lan->bridge, command, text, sizeof text), 0);
    /* What the switch's port received: "RX: ... \ bytes packets ..." and the figures behind. */
    const char *figures = strstr(text, "RX:");
    figures = figures != NULL ? strchr(figures, '\\') : NULL;
    if (figures == NULL) {
        fail_msg("no figures in: %s", text);
    }
    return figures != NULL ? strtoull(figures + 1, NULL, 10) : 0;
}
