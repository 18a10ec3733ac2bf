#include "platform/clock.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

static uint64_t read_ns(clockid_t id) {
    struct timespec now;
    (void)clock_gettime(id, &now); /* cannot fail for these clocks */
    return (uint64_t)now.tv_sec * CLOCK_SECOND + (uint64_t)now.tv_nsec;
}

int64_t platform_wall_ms(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

uint64_t platform_now_ns(void) {
    return read_ns(CLOCK_MONOTONIC);
}

static uint64_t system_now(void *self) {
    (void)self;
    return platform_now_ns();
}

const struct clock_source *platform_clock(void) {
    static const struct clock_source system_clock = {.now_ns = system_now, .self = NULL};
    return &system_clock;
}

double platform_process_cpu_s(void) {
    return (double)read_ns(CLOCK_PROCESS_CPUTIME_ID) * 1e-9;
}

double platform_thread_cpu_s(void) {
    return (double)read_ns(CLOCK_THREAD_CPUTIME_ID) * 1e-9;
}

void platform_sleep_ns(uint64_t ns) {
    struct timespec left = {.tv_sec = (time_t)(ns / CLOCK_SECOND),
                            .tv_nsec = (long)(ns % CLOCK_SECOND)};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}
