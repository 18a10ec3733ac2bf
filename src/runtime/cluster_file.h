/*
 * The cluster file: which devices there are, where they are reached, by which keys they are known,
 * what of them may be used, and, where it is not to be measured, how their links are.
 *
 *   devices:
 *     - {name: pi-1, address: "tcp://192.0.2.11:7700", key: "<z85>", memory: 3G, threads: 4}
 *   links:                                     # optional; measured otherwise. "*" = any
 *     - {from: pi-1, to: "*", rate: 80Mbit, delay: 3ms}
 *   clients:                                   # optional; who else may command the devices
 *     - {name: anna, key: "<z85>"}
 *
 * name, address and key of a device are necessary. memory and threads are upper bounds beside what
 * the node itself allows. In links, "owner" is the machine that gives the command; rate or delay or
 * both are given, and what is not given is measured. The file is also an allow-list
 * (keys_read_allowed): devices and clients.
 *
 * Strict: errors are CORRUPT, name FILE:LINE and the key, and say what would be right. Limits: 1
 * MiB, 512 devices, 512 clients, 4096 links. Threads: immutable once read.
 */
#ifndef RUNTIME_CLUSTER_FILE_H
#define RUNTIME_CLUSTER_FILE_H

#include "base/status.h"
#include "transport/zmq/zmq_transport.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLUSTER_FILE_BYTES ((size_t)1 << 20)
#define CLUSTER_FILE_MAX_DEVICES 512u
#define CLUSTER_FILE_MAX_CLIENTS 512u
#define CLUSTER_FILE_MAX_LINKS 4096u

/* Ends of links beside indices of devices. */
#define CLUSTER_FILE_ANY UINT32_MAX
#define CLUSTER_FILE_OWNER (UINT32_MAX - 1)

struct cluster_file_device {
    char name[TRANSPORT_NAME_BYTES];
    char address[256]; /* tcp://HOST:PORT or tcp://[IPV6]:PORT */
    char key[ZMQ_KEY_TEXT];
    size_t memory; /* bytes; 0 = what the node allows */
    int threads;   /* 0 = what the node has */
};

struct cluster_file_link {
    uint32_t from, to;
    double rate;    /* bytes per second; 0 = not given */
    double delay_s; /* negative = not given */
};

struct cluster_file {
    char *path; /* as it was named */
    struct cluster_file_device *devices;
    uint32_t device_count;
    struct cluster_file_link *links;
    uint32_t link_count;
    struct zmq_allowed *clients;
    uint32_t client_count;
};

/* Errors: NOT_FOUND, IO, NO_MEMORY; CORRUPT for all that is wrong inside. */
NODISCARD shoal_status cluster_file_read(const char *path, struct cluster_file **out,
                                         struct shoal_error *error);
/* path stands for the file in errors. */
NODISCARD shoal_status cluster_file_parse(const char *path, const char *text, size_t bytes,
                                          struct cluster_file **out, struct shoal_error *error);
void cluster_file_free(struct cluster_file *file); /* NULL allowed */

/*
 * What the file declares of the link from a device or CLUSTER_FILE_OWNER to another: each figure
 * from the entry that fits best ("from" named counts more than "to" named) of those that give it.
 * Figures that none gives are 0 and negative, as above.
 */
void cluster_file_link_find(const struct cluster_file *file, uint32_t from, uint32_t to,
                            double *rate, double *delay_s);

/* HOST and PORT of a valid address; host has at least 256 bytes. False: it is none. */
bool cluster_file_split_address(const char *address, char *host, uint16_t *port);

#endif
