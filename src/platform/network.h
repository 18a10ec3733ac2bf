/* What this machine and its network tell: own addresses, names resolved, ports tried. */
#ifndef PLATFORM_NETWORK_H
#define PLATFORM_NETWORK_H

#include "base/status.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NETWORK_ADDRESS_BYTES 64

/* This machine's first address beyond loopback and link-local, IPv4 preferred: a guess at how
 * others reach it. False: there is none. */
bool network_own_address(char out[NETWORK_ADDRESS_BYTES]);

#endif
