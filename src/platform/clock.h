/* The system's monotonic clock and CPU clocks. */
#ifndef PLATFORM_CLOCK_H
#define PLATFORM_CLOCK_H

#include "base/clock.h"

uint64_t platform_now_ns(void); /* CLOCK_MONOTONIC */
int64_t platform_wall_ms(void); /* since 1970, as the machine believes */
const struct clock_source *platform_clock(void);
double platform_process_cpu_s(void);
double platform_thread_cpu_s(void); /* of the calling thread */
void platform_sleep_ns(uint64_t ns);

#endif
