/*
 * Bytes that a connection has taken from the network, to be compared with what libzmq hands over:
 * libzmq collects all frames of a message before it shows the first, without a limit.
 */
#include "transport/zmq/zmq_internal.h"

#include "base/clock.h"

#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Longer than any message of ours in libzmq's eyes: a tag and a fragment. */
#define LONGEST_BYTES ((uint64_t)2 * FRAGMENT_BYTES)
#define SURE_NS (20 * CLOCK_MS)

bool watch_received(int fd, uint64_t *bytes) {
    struct tcp_info info;
    socklen_t size = sizeof info;
    int waiting = 0; /* not taken by libzmq yet */
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 ||
        size < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof info.tcpi_bytes_received ||
        ioctl(fd, SIOCINQ, &waiting) != 0) {
        return false;
    }
    const uint64_t received = info.tcpi_bytes_received;
    *bytes = received > (uint64_t)waiting ? received - (uint64_t)waiting : 0;
    return true;
}

/*
 * Since the last message that was handed over, more bytes have come than a message has. That is
 * believed only when some time later, everything that libzmq had ready having been read, still
 * nothing was handed over: this thread may have slept while messages came.
 */
bool watch_is_endless(struct link *link, uint64_t now) {
    if (now < link->watch_ns || link->fd < 0) {
        return false;
    }
    uint64_t bytes;
    if (!link_fd_is_open(link) || !watch_received(link->fd, &bytes)) {
        link->watch_ns = CLOCK_NEVER; /* not TCP */
        return false;
    }
    link->watch_ns = now + link->endpoint->core.ping_ns;
    if (link->handed != link->watched_handed) {
        link->watched_handed = link->handed;
        link->watched_bytes = bytes;
        link->suspect = false;
        return false;
    }
    if (bytes - link->watched_bytes <= LONGEST_BYTES) {
        return false;
    }
    if (!link->suspect) {
        link->suspect = true;
        link->watch_ns = now + SURE_NS;
        return false;
    }
    return true;
}
