/*
 * Log lines on standard error: "HH:MM:SS level name: text". Levels by volume: error (something
 * failed), warn (it goes on, but look), info (once per job or connection), debug (once per
 * microbatch). Threads: thread-safe, one write(2) a line.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level level);
void log_set_name(
    const char *name);          /* who is speaking, e.g. the device; copied, at most 63 bytes */
void log_set_times(bool times); /* whether lines begin with the time; true until told otherwise */
bool log_parse_level(const char *text, enum log_level *out);
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_write(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_write(LOG_INFO, __VA_ARGS__)
#define log_debug(...) (log_enabled(LOG_DEBUG) ? log_write(LOG_DEBUG, __VA_ARGS__) : (void)0)

#endif
