#include "platform/process.h"

#include "base/memory.h"
#include "platform/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* environ with extra entries in front (getenv finds the first). */
static char **make_environment(const char *const extra[]) {
    size_t kept = 0, added = 0;
    while (environ[kept] != NULL) {
        kept++;
    }
    while (extra != NULL && extra[added] != NULL) {
        added++;
    }
    char **all = mem_alloc((kept + added + 1) * sizeof *all);
    if (all != NULL) {
        for (size_t i = 0; i < added; i++) {
            all[i] = (char *)(uintptr_t)extra[i];
        }
        memcpy(all + added, environ, (kept + 1) * sizeof *all);
    }
    return all;
}

/* Between fork and exec: only async-signal-safe calls. */
static _Noreturn void become_child(const char *const argv[], char **environment, const int in[2],
                                   const int out[2], pid_t parent) {
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)setpgid(0, 0); /* Ctrl-C reaches the parent alone, which stops its children in order */
    if (getppid() == parent && dup2(in[0], STDIN_FILENO) >= 0 && dup2(out[1], STDOUT_FILENO) >= 0) {
        (void)execve(argv[0], (char *const *)(uintptr_t)argv, environment);
    }
    _exit(127);
}

shoal_status process_start(const char *const argv[], const char *const extra_environment[],
                           struct process *out, struct shoal_error *error) {
    int in[2] = {-1, -1}, output[2] = {-1, -1};
    char **environment = make_environment(extra_environment);
    shoal_status status = SHOAL_OK;
    if (environment == NULL) {
        status = error_set(error, SHOAL_NO_MEMORY, "%s: no memory to start it", argv[0]);
    } else if (pipe2(in, O_CLOEXEC) != 0 || pipe2(output, O_CLOEXEC) != 0) {
        status = error_errno(error, errno, "%s: cannot make pipes for it", argv[0]);
    } else {
        const pid_t parent = getpid();
        const pid_t pid = fork();
        if (pid == 0) {
            become_child(argv, environment, in, output, parent);
        }
        if (pid < 0) {
            status = error_errno(error, errno, "%s: cannot start it", argv[0]);
        } else {
            *out = (struct process){.pid = pid, .output_fd = output[0], .input_fd = in[1]};
            output[0] = -1;
            in[1] = -1;
        }
    }
    const int leftover[] = {in[0], in[1], output[0], output[1]};
    for (size_t i = 0; i < sizeof leftover / sizeof leftover[0]; i++) {
        if (leftover[i] >= 0) {
            (void)close(leftover[i]);
        }
    }
    mem_free(environment);
    return status;
}

static void describe_end(int state, char *description, size_t description_bytes) {
    if (WIFSIGNALED(state)) {
        (void)snprintf(description, description_bytes, "killed by signal %d (%s)", WTERMSIG(state),
                       strsignal(WTERMSIG(state)));
    } else {
        (void)snprintf(description, description_bytes, "exited with status %d", WEXITSTATUS(state));
    }
}

bool process_ended(struct process *process, char *description, size_t description_bytes) {
    if (process->pid <= 0) {
        (void)snprintf(description, description_bytes, "has ended");
        return true;
    }
    int state;
    const pid_t ended = waitpid(process->pid, &state, WNOHANG);
    if (ended != process->pid) {
        return false;
    }
    process->pid = 0;
    describe_end(state, description, description_bytes);
    return true;
}

void process_stop(struct process *process, uint64_t grace_ns) {
    char ignored[64];
    if (process->pid > 0) {
        (void)kill(process->pid, SIGTERM);
        (void)kill(process->pid, SIGCONT); /* a stopped process must wake to end */
        const uint64_t deadline = platform_now_ns() + grace_ns;
        while (!process_ended(process, ignored, sizeof ignored)) {
            if (platform_now_ns() >= deadline) {
                (void)kill(process->pid, SIGKILL);
                (void)waitpid(process->pid, NULL, 0);
                process->pid = 0;
                break;
            }
            platform_sleep_ns(2 * CLOCK_MS);
        }
    }
    if (process->output_fd >= 0) {
        (void)close(process->output_fd);
    }
    if (process->input_fd >= 0) {
        (void)close(process->input_fd);
    }
    process->output_fd = -1;
    process->input_fd = -1;
}

shoal_status process_read_line(struct process *process, char *line, size_t line_bytes,
                               uint64_t deadline_ns, struct shoal_error *error) {
    size_t used = 0;
    for (;;) {
        const uint64_t now = platform_now_ns();
        if (now >= deadline_ns) {
            return error_set(error, SHOAL_TIMEOUT, "the started process said nothing in time");
        }
        struct pollfd item = {.fd = process->output_fd, .events = POLLIN};
        const int ready = poll(&item, 1, (int)((deadline_ns - now) / CLOCK_MS) + 1);
        if (ready <= 0) {
            continue; /* deadline or signal: the loop's head decides */
        }
        char byte;
        const ssize_t got = read(process->output_fd, &byte, 1);
        if (got == 0 || (got < 0 && errno != EINTR)) {
            return error_set(error, SHOAL_CLOSED, "the started process ended before it was ready");
        }
        if (got == 1 && byte == '\n') {
            line[used] = '\0';
            return SHOAL_OK;
        }
        if (got == 1 && used + 1 < line_bytes) {
            line[used++] = byte;
        }
    }
}

shoal_status process_self_path(char *path, size_t path_bytes, struct shoal_error *error) {
    const ssize_t length = readlink("/proc/self/exe", path, path_bytes - 1);
    if (length <= 0 || (size_t)length >= path_bytes - 1) {
        return error_errno(error, length < 0 ? errno : ENAMETOOLONG, "/proc/self/exe");
    }
    path[length] = '\0';
    return SHOAL_OK;
}

void process_open_standard_files(void) {
    int fd;
    do {
        fd = open("/dev/null", O_RDWR); /* the lowest free number; these three are inherited */
    } while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0) {
        (void)close(fd);
    }
}

static volatile sig_atomic_t stop_signal;
static void (*stop_notify)(void *);
static void (*reload_notify)(void *); /* NULL: no service, SIGHUP asks to stop */
static void *notify_argument;

static void call_notify(void (*notify)(void *)) {
    if (notify != NULL) {
        const int saved = errno;
        notify(notify_argument);
        errno = saved;
    }
}

static void on_stop(int number) {
    if (stop_signal != 0 && (number == SIGINT || reload_notify != NULL)) {
        _exit(128 + number);
    }
    stop_signal = number;
    call_notify(stop_notify);
}

static void on_reload(int number) {
    (void)number;
    call_notify(reload_notify);
}

static void catch_signals(void (*hangup)(int), bool always) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_stop;
    action.sa_flags = SA_RESTART;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    struct sigaction before;
    action.sa_handler = hangup;
    if (always || (sigaction(SIGHUP, NULL, &before) == 0 && before.sa_handler != SIG_IGN)) {
        (void)sigaction(SIGHUP, &action, NULL);
    }
    action.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &action, NULL);
}

static void set_notify(void (*notify)(void *), void (*reload)(void *), void *argument) {
    stop_notify = NULL;
    reload_notify = NULL;
    notify_argument = argument;
    stop_notify = notify;
    reload_notify = reload;
}

void process_catch_stop(void (*notify)(void *), void *argument) {
    set_notify(notify, NULL, argument);
    catch_signals(on_stop,
                  false); /* nohup's SIGHUP stays ignored; otherwise the terminal is gone */
}

void process_catch_service(void (*notify)(void *), void (*reload)(void *), void *argument) {
    set_notify(notify, reload, argument);
    catch_signals(on_reload, true);
}

int process_stop_requested(void) {
    return stop_signal;
}
