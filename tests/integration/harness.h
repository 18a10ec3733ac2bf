/* Driving the shoal binary from a test: start it, signal it, read what it said. */
#ifndef TESTS_INTEGRATION_HARNESS_H
#define TESTS_INTEGRATION_HARNESS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct command {
    pid_t pid;
    int status;        /* exit status, or 128 + signal */
    char *out, *error; /* what it printed; free through command_free */
};

extern char harness_directory[256]; /* private, with SHOAL_HOME inside; made by harness_setup */
int harness_setup(void **state);
int harness_teardown(void **state);

/* "run deit-test --input random:8": words are split at blanks. A first word with a slash in front
 * is another program than shoal. */
void command_start(struct command *command, const char *arguments);
void command_wait(struct command *command); /* fails the test after 120 s */
void command_run(struct command *command, const char *arguments);
void command_free(struct command *command);
/* As command_start; the child calls first(argument) before it becomes the command. */
void command_start_after(struct command *command, const char *arguments, void (*first)(void *),
                         void *argument);
/* What a running command has printed so far (kind "out" or "err"); free() it; NULL if nothing. */
char *command_said(const struct command *command, const char *kind);
/* Waits until that holds text; fails the test when the command ends before, or after 120 s. */
void command_await(struct command *command, const char *kind, const char *text);

/* The JSON document that the command printed; the caller's. Fails the test if it printed anything
 * else. */
json_t *command_json(const struct command *command);

/* Processes that `pid` started; returns how many (at most most). */
size_t child_processes(pid_t pid, pid_t *out, size_t most);
/* Waits until so many exist; fails the test after 60 s. */
void await_children(pid_t pid, size_t count, pid_t *out);
bool process_exists(pid_t pid);

char *harness_program(const char *name); /* built beside shoal; static buffer, as below */
char *harness_path(const char *name);    /* in harness_directory; static buffer, good for one use */
void harness_write(const char *path, const void *bytes, size_t size);
char *harness_read(const char *path); /* free() it; NULL if absent */
size_t count_lines(const char *text);

#endif
