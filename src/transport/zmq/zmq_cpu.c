/*
 * The CPU time of libzmq's background threads. libzmq gives every context's threads a common name
 * prefix if asked to (ZMQ_THREAD_NAME_PREFIX, a number); each endpoint asks for another number and
 * so finds its own threads in /proc/self/task. A thread's CPU clock then follows from its id, by
 * the same rule as pthread_getcpuclockid: (~tid << 3) | 6, "per thread, scheduler's time".
 */
#include "transport/zmq/zmq_internal.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int cpu_next_prefix(void) {
    static atomic_int last;
    return atomic_fetch_add(&last, 1) % 9999 + 1; /* names have 15 bytes */
}

size_t cpu_find_threads(int prefix, pid_t *out, size_t capacity) {
    char wanted[16];
    (void)snprintf(wanted, sizeof wanted, "%d/", prefix);
    DIR *directory = opendir("/proc/self/task");
    if (directory == NULL) {
        return 0;
    }
    size_t count = 0;
    for (struct dirent *entry = readdir(directory); entry != NULL && count < capacity;
         entry = readdir(directory)) {
        char path[300], name[32] = "";
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
        FILE *file = entry->d_name[0] != '.' ? fopen(path, "re") : NULL;
        if (file != NULL) {
            if (fgets(name, sizeof name, file) != NULL &&
                strncmp(name, wanted, strlen(wanted)) == 0) {
                out[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
            }
            (void)fclose(file);
        }
    }
    (void)closedir(directory);
    return count;
}

double cpu_of_thread(pid_t tid) {
    const clockid_t clock = (clockid_t)((~(unsigned)tid << 3) | 6u);
    struct timespec time;
    if (clock_gettime(clock, &time) != 0) {
        return 0.0;
    }
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
