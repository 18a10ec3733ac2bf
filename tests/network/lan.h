/*
 * A local network of hosts for tests: one network namespace per host, each with a veth cable to a
 * switch (a bridge in a namespace of its own), addresses 10.77.0.1, .2, … inside. Rates by tbf in
 * both directions, cables that can be pulled, a switch that can drop what a host sends and gets.
 *
 * Namespaces have no names: they live as long as this process or a child that it moved into one, so
 * nothing is left behind however a test ends, and nothing of the machine's own network is touched.
 *
 * Needs root, ip and bridge (iproute2), and a kernel that lets namespaces be made. Otherwise hosts
 * are addresses of the loopback, 127.x.y.1, .2, … with x.y from the process id: `isolated` is false
 * then, cables and rates do not exist.
 */
#ifndef TESTS_NETWORK_LAN_H
#define TESTS_NETWORK_LAN_H

#include <stdbool.h>
#include <stdint.h>

#define LAN_HOSTS 12

struct lan {
    uint32_t count;
    bool isolated;
    char reason[256]; /* why it is not */
    int home, bridge; /* namespaces: the test's own, the switch's */
    int hosts[LAN_HOSTS];
    char address[LAN_HOSTS][24]; /* "10.77.0.1" */
};

/* Hosts that reach each other. loopback: do not try namespaces. Never fails: see isolated. */
void lan_open(struct lan *lan, uint32_t count, bool loopback);
void lan_close(struct lan *lan);

/* In a child between fork and exec: from now on on that host. */
void lan_enter(const struct lan *lan, uint32_t host);

/* All the following need an isolated LAN and fail the test if the kernel refuses. */
void lan_cable(const struct lan *lan, uint32_t host, bool plugged_in);
/* The switch loses every packet from and to that host; its cable shows no sign of it. */
void lan_lose(const struct lan *lan, uint32_t host, bool lose);
/* In each direction; false if the kernel has no tbf. */
bool lan_rate(const struct lan *lan, uint32_t host, uint32_t mbit);
/* Bytes that left the host through its cable, headers included. */
uint64_t lan_bytes_sent(const struct lan *lan, uint32_t host);

#endif
