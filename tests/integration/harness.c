#include "harness.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "platform/clock.h"
#include "platform/file.h"

char harness_directory[256];

#define WAIT_NS (120 * CLOCK_SECOND)

int harness_setup(void **state) {
    (void)state;
    struct shoal_error error;
    if (file_make_temporary(harness_directory, sizeof harness_directory, &error) != SHOAL_OK) {
        print_error("%s\n", error.text);
        return -1;
    }
    return setenv("SHOAL_HOME", harness_path("home"), 1);
}

int harness_teardown(void **state) {
    (void)state;
    file_remove_tree(harness_directory);
    return 0;
}

char *harness_path(const char *name) {
    static char path[600];
    (void)snprintf(path, sizeof path, "%s/%s", harness_directory, name);
    return path;
}

void harness_write(const char *path, const void *bytes, size_t size) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

char *harness_read(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return NULL;
    }
    char *text = NULL;
    size_t size = 0, got;
    do {
        text = realloc(text, size + 65537);
        assert_non_null(text);
        got = fread(text + size, 1, 65536, file);
        size += got;
    } while (got > 0);
    text[size] = '\0';
    (void)fclose(file);
    return text;
}

size_t count_lines(const char *text) {
    size_t lines = 0;
    for (; text != NULL && *text != '\0'; text++) {
        lines += *text == '\n';
    }
    return lines;
}

static void capture_name(char *path, size_t bytes, pid_t pid, const char *kind) {
    (void)snprintf(path, bytes, "%s/%ld.%s", harness_directory, (long)pid, kind);
}

static _Noreturn void become_command(const char *arguments) {
    static char words[8192];
    static char *argv[256];
    const char *binary = getenv("SHOAL_BINARY");
    size_t count = 0;
    if (arguments[0] != '/') {
        argv[count++] = strdup(binary != NULL ? binary : "shoal");
    }
    (void)snprintf(words, sizeof words, "%s", arguments);
    for (char *word = strtok(words, " "); word != NULL && count < 255; word = strtok(NULL, " ")) {
        argv[count++] = word;
    }
    char path[600];
    capture_name(path, sizeof path, getpid(), "out");
    const int out = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    capture_name(path, sizeof path, getpid(), "err");
    const int err = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (out < 0 || err < 0 || dup2(out, STDOUT_FILENO) < 0 || dup2(err, STDERR_FILENO) < 0) {
        _exit(126);
    }
    (void)execv(argv[0], argv);
    _exit(127);
}

char *harness_program(const char *name) {
    static char path[600];
    const char *binary = getenv("SHOAL_BINARY");
    const char *slash = binary != NULL ? strrchr(binary, '/') : NULL;
    (void)snprintf(path, sizeof path, "%.*s/%s", slash != NULL ? (int)(slash - binary) : 1,
                   slash != NULL ? binary : ".", name);
    return path;
}

void command_start_after(struct command *command, const char *arguments, void (*first)(void *),
                         void *argument) {
    memset(command, 0, sizeof *command);
    command->pid = fork();
    assert_true(command->pid >= 0);
    if (command->pid == 0) {
        if (first != NULL) {
            first(argument);
        }
        become_command(arguments);
    }
}

void command_start(struct command *command, const char *arguments) {
    command_start_after(command, arguments, NULL, NULL);
}

char *command_said(const struct command *command, const char *kind) {
    char path[600];
    capture_name(path, sizeof path, command->pid, kind);
    return harness_read(path);
}

void command_await(struct command *command, const char *kind, const char *text) {
    const uint64_t deadline = platform_now_ns() + WAIT_NS;
    for (;;) {
        const bool ended = !process_exists(command->pid); /* before reading: nothing comes after */
        char *said = command_said(command, kind);
        const bool found = said != NULL && strstr(said, text) != NULL;
        if (!found && (ended || platform_now_ns() > deadline)) {
            char *error = command_said(command, "err");
            fail_msg("a command %s '%s'; said: %s%s", ended ? "ended before" : "did not say", text,
                     said != NULL ? said : "", error != NULL ? error : "");
        }
        free(said);
        if (found) {
            return;
        }
        platform_sleep_ns(5 * CLOCK_MS);
    }
}

void command_wait(struct command *command) {
    const uint64_t deadline = platform_now_ns() + WAIT_NS;
    int state;
    pid_t ended;
    while ((ended = waitpid(command->pid, &state, WNOHANG)) == 0) {
        if (platform_now_ns() > deadline) {
            (void)kill(command->pid, SIGKILL);
            (void)waitpid(command->pid, &state, 0);
            fail_msg("a command did not end within 120 s");
        }
        platform_sleep_ns(2 * CLOCK_MS);
    }
    assert_int_equal(ended, command->pid);
    command->status = WIFSIGNALED(state) ? 128 + WTERMSIG(state) : WEXITSTATUS(state);
    char path[600];
    capture_name(path, sizeof path, command->pid, "out");
    command->out = harness_read(path);
    (void)unlink(path);
    capture_name(path, sizeof path, command->pid, "err");
    command->error = harness_read(path);
    (void)unlink(path);
    assert_non_null(command->out);
    assert_non_null(command->error);
}

void command_run(struct command *command, const char *arguments) {
    command_start(command, arguments);
    command_wait(command);
}

void command_free(struct command *command) {
    free(command->out);
    free(command->error);
}

json_t *command_json(const struct command *command) {
    json_error_t why;
    json_t *document = json_loads(command->out, 0, &why);
    if (document == NULL) {
        fail_msg("not one JSON document: %s\n%s\n%s", why.text, command->out, command->error);
    }
    return document;
}

size_t child_processes(pid_t pid, pid_t *out, size_t most) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    char *text = harness_read(path);
    size_t count = 0;
    for (char *word = text != NULL ? strtok(text, " ") : NULL; word != NULL && count < most;
         word = strtok(NULL, " ")) {
        out[count++] = (pid_t)strtol(word, NULL, 10);
    }
    free(text);
    return count;
}

void await_children(pid_t pid, size_t count, pid_t *out) {
    const uint64_t deadline = platform_now_ns() + WAIT_NS / 2;
    while (child_processes(pid, out, count) < count) {
        if (platform_now_ns() > deadline) {
            fail_msg("the command did not start %zu processes", count);
        }
        platform_sleep_ns(2 * CLOCK_MS);
    }
}

bool process_exists(pid_t pid) {
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    char *text = harness_read(path);
    const char *state = text != NULL ? strrchr(text, ')') : NULL;
    const bool exists = state != NULL && state[2] != 'Z';
    free(text);
    return exists;
}
