/* Devices of this machine for the time of one command: processes, or threads of this one. */
#ifndef RUNTIME_LOCAL_H
#define RUNTIME_LOCAL_H

#include "runtime/cluster.h"

struct local_cluster;
struct local_device;

/* Fills cluster->transport, devices' names, addresses, keys and local. Errors: IO, TIMEOUT,
 * NO_MEMORY. */
NODISCARD shoal_status local_start(struct cluster *cluster, const struct cluster_options *options,
                                   struct shoal_error *error);
void local_stop(
    struct cluster *cluster); /* everything that local_start began, also after it failed half-way */

/* True, with a description, once a device's process has ended. */
bool local_ended(struct cluster_device *device, char *description, size_t description_bytes);

#endif
