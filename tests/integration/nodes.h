/* Real nodes on the loopback, and the files of their cluster, for tests of commands that take one.
 */
#ifndef TESTS_INTEGRATION_NODES_H
#define TESTS_INTEGRATION_NODES_H

#include "harness.h"

#define NODES_MOST 4

struct test_node {
    char name[32];    /* dev-1 ... */
    char key[64];     /* public */
    char address[64]; /* good once it listens */
    char limits[64];  /* for its line in the file: "" or ", memory: 2G" */
    char allow[512];  /* its allow-list's path */
    struct command command;
    bool runs;
};

struct nodes {
    struct test_node nodes[NODES_MOST];
    size_t count;
    char client[64]; /* the client's public key; its key file is home/key */
};

/* Keys for count nodes and the client, an allow-list with all of them for each node. */
void nodes_make(struct nodes *nodes, size_t count);
/* Starts node i and waits until it listens; more: further options, or "". */
void nodes_start(struct nodes *nodes, size_t i, const char *more);
void nodes_stop(struct nodes *nodes, size_t i); /* SIGTERM; waits */
void nodes_stop_all(struct nodes *nodes);
/* The allow-list of node i: all but `without` (a name; NULL: all). */
void nodes_allow(struct nodes *nodes, size_t i, const char *without);

/* mine.yaml of all nodes, with `more` at its end; returns its path (static). */
const char *nodes_file(const struct nodes *nodes, const char *more);

/* "ARGUMENTS --cluster mine.yaml"; ARGUMENTS may hold %s for the path instead. The JSON document
 * that it prints; fails the test if the status is another. */
json_t *nodes_json(const struct nodes *nodes, const char *arguments, int status);

/* A port where nobody listens now. */
int nodes_free_port(void);

#endif
