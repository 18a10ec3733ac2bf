#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int current_level = LOG_WARN;
static atomic_bool with_times = true;
static char speaker[64] = "shoal";
static const char *const level_names[] = {"error", "warn", "info", "debug"};

void log_set_level(enum log_level level) {
    atomic_store(&current_level, (int)level);
}

void log_set_times(bool times) {
    atomic_store(&with_times, times);
}

void log_set_name(const char *name) {
    (void)snprintf(speaker, sizeof speaker, "%s", name);
}

bool log_parse_level(const char *text, enum log_level *out) {
    for (int i = 0; i < 4; i++) {
        if (strcmp(text, level_names[i]) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

bool log_enabled(enum log_level level) {
    return (int)level <= atomic_load_explicit(&current_level, memory_order_relaxed);
}

void log_write(enum log_level level, const char *format, ...) {
    if (!log_enabled(level)) {
        return;
    }
    char line[1024];
    const time_t now = time(NULL);
    struct tm local;
    int used = 0;
    if (atomic_load(&with_times) && localtime_r(&now, &local) != NULL) {
        used = (int)strftime(line, sizeof line, "%H:%M:%S ", &local);
    }
    used +=
        snprintf(line + used, sizeof line - (size_t)used, "%s %s: ", level_names[level], speaker);
    va_list arguments;
    va_start(arguments, format);
    const int length = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, arguments);
    va_end(arguments);
    size_t total = (size_t)used + (length > 0 ? (size_t)length : 0);
    if (total > sizeof line - 2) {
        total = sizeof line - 2;
    }
    line[total++] = '\n';
    const ssize_t written = write(STDERR_FILENO, line, total);
    (void)written; /* a log that cannot be written has nowhere to say so */
}
