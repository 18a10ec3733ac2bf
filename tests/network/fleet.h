/*
 * Nodes on a LAN: one `shoal node` per host with a key and a home of its own, a cluster file that
 * all of them have as their allow-list, and clients that run commands on a host beside them. Nodes
 * die with the test.
 */
#ifndef TESTS_NETWORK_FLEET_H
#define TESTS_NETWORK_FLEET_H

#include "harness.h"
#include "lan.h"

#include <jansson.h>

#define FLEET_NODES 8

struct fleet_options {
    uint32_t nodes;
    uint32_t mbit;              /* of every cable and direction; 0: as fast as it goes */
    bool loopback;              /* no namespaces, whatever is possible */
    const char *node_arguments; /* in addition; may be NULL */
};

struct fleet_node {
    char name[16]; /* "node-1" */
    char address[64];
    char home[300];
    char key[64];
    char arguments[200]; /* in addition to those that all have */
    struct command command;
    bool runs;
};

struct fleet {
    struct lan lan; /* the nodes' hosts, then the clients', then the stranger's */
    uint32_t count;
    struct fleet_node nodes[FLEET_NODES];
    char file[300]; /* the cluster file */
};

#define FLEET_CLIENT "client" /* two clients with a key each, their homes are named as they are */
#define FLEET_SECOND "second"

/* Keys, cluster file, nodes; returns when all of them are ready. */
void fleet_open(struct fleet *fleet, const struct fleet_options *options);
void fleet_close(struct fleet *fleet);

void fleet_start_node(struct fleet *fleet, uint32_t node);
/* The signal, then its end; returns the exit status (128 + signal). */
int fleet_end_node(struct fleet *fleet, uint32_t node, int number);

/* A command of a client, with --cluster added. */
void fleet_start(struct fleet *fleet, const char *client, struct command *command,
                 const char *arguments);
void fleet_run(struct fleet *fleet, const char *client, struct command *command,
               const char *arguments);
/* The same on another host and without --cluster. */
void fleet_start_on(struct fleet *fleet, uint32_t host, const char *client, struct command *command,
                    const char *arguments);
uint32_t fleet_stranger(const struct fleet *fleet); /* its host */

/* fleet_run that must end with status 0, and its JSON document (json_decref it). */
json_t *fleet_json(struct fleet *fleet, const char *client, const char *arguments);
/* Waits until that node reports so many jobs; fails the test after 60 s. */
void fleet_await_jobs(struct fleet *fleet, uint32_t node, size_t jobs);

/* Makes a key file in that home if there is none; the public key goes to key. */
void fleet_make_key(const char *home, char key[64]);

#endif
