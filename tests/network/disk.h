/*
 * A small disk: a tmpfs that is mounted nowhere. It lives as long as somebody has its descriptor,
 * so nothing is left behind. Needs root.
 */
#ifndef TESTS_NETWORK_DISK_H
#define TESTS_NETWORK_DISK_H

#include <stddef.h>

/* A descriptor that children inherit, whose files they reach under /proc/self/fd/N; -1: not
 * possible here, errno says why. */
int disk_open(size_t bytes);
/* That path; static buffer. */
const char *disk_path(int disk);

#endif
