#include "platform/network.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <string.h>

/* 2 for IPv4, 1 for IPv6, 0 for what does not help others. */
static int worth(const struct ifaddrs *entry) {
    if (entry->ifa_addr == NULL || (entry->ifa_flags & IFF_LOOPBACK) != 0 ||
        (entry->ifa_flags & IFF_UP) == 0) {
        return 0;
    }
    if (entry->ifa_addr->sa_family == AF_INET) {
        struct sockaddr_in address;
        memcpy(&address, entry->ifa_addr, sizeof address);
        const uint32_t number = ntohl(address.sin_addr.s_addr);
        return number >> 16 == 0xA9FE ? 0 : 2; /* 169.254.…: link-local */
    }
    if (entry->ifa_addr->sa_family == AF_INET6) {
        struct sockaddr_in6 address;
        memcpy(&address, entry->ifa_addr, sizeof address);
        return IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr) ? 0 : 1;
    }
    return 0;
}

bool network_own_address(char out[NETWORK_ADDRESS_BYTES]) {
    struct ifaddrs *list;
    int best = 0;
    if (getifaddrs(&list) != 0) {
        return false;
    }
    for (const struct ifaddrs *entry = list; entry != NULL; entry = entry->ifa_next) {
        const int now = worth(entry);
        if (now <= best) {
            continue;
        }
        if (now == 2) {
            struct sockaddr_in address;
            memcpy(&address, entry->ifa_addr, sizeof address);
            (void)inet_ntop(AF_INET, &address.sin_addr, out, NETWORK_ADDRESS_BYTES);
        } else {
            struct sockaddr_in6 address;
            char text[INET6_ADDRSTRLEN];
            memcpy(&address, entry->ifa_addr, sizeof address);
            (void)inet_ntop(AF_INET6, &address.sin6_addr, text, sizeof text);
            out[0] = '[';
            const size_t length = strlen(text);
            memcpy(out + 1, text, length);
            memcpy(out + 1 + length, "]", 2);
        }
        best = now;
    }
    freeifaddrs(list);
    return best > 0;
}
