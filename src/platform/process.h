/* Child processes that do not outlive their parent, and signals that ask to stop. */
#ifndef PLATFORM_PROCESS_H
#define PLATFORM_PROCESS_H

#include "base/status.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
    pid_t pid;
    int output_fd; /* reads the child's standard output */
    int input_fd;  /* the child's standard input; closing it is the sign that the parent has gone */
};

/*
 * Starts argv[0] (a path) with extra environment "NAME=value" entries (NULL-terminated, may be
 * NULL). The child gets SIGKILL when the parent's thread that started it dies (Linux). Errors: IO,
 * NO_MEMORY.
 */
NODISCARD shoal_status process_start(const char *const argv[],
                                     const char *const extra_environment[], struct process *out,
                                     struct shoal_error *error);

/* True once the child has ended; *description then says how ("killed by signal 9 (Killed)", "exited
 * with status 1"). */
bool process_ended(struct process *process, char *description, size_t description_bytes);

/* SIGTERM, up to grace_ns, then SIGKILL; reaps; closes the descriptors. */
void process_stop(struct process *process, uint64_t grace_ns);

/* Reads one line (without its end) from output_fd. Errors: TIMEOUT, CLOSED. */
NODISCARD shoal_status process_read_line(struct process *process, char *line, size_t line_bytes,
                                         uint64_t deadline_ns, struct shoal_error *error);

/* Numbers 0 to 2 that the caller left closed become /dev/null, before any socket or file gets one
 * of them and receives what was meant for standard output. First thing in main. */
void process_open_standard_files(void);

/* This program's own path. */
NODISCARD shoal_status process_self_path(char *path, size_t path_bytes, struct shoal_error *error);

/* From now on SIGINT, SIGTERM and SIGHUP set a flag and call notify (async-signal-safe) instead of
 * ending the process; a second SIGINT ends it. */
void process_catch_stop(void (*notify)(void *), void *argument);
/* The same for a service: SIGHUP calls reload instead, and a second SIGTERM ends the process too.
 */
void process_catch_service(void (*notify)(void *), void (*reload)(void *), void *argument);
int process_stop_requested(void); /* 0, or the signal's number */

#endif
