/* Time as an interface: protocol/ and plan/ never ask the system. Nanoseconds since an arbitrary
 * start, never backwards. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

struct clock_source {
    uint64_t (*now_ns)(void *self);
    void *self;
};

static inline uint64_t clock_now_ns(const struct clock_source *clock) {
    return clock->now_ns(clock->self);
}

#define CLOCK_MS UINT64_C(1000000)
#define CLOCK_SECOND UINT64_C(1000000000)
#define CLOCK_NEVER UINT64_MAX /* as a deadline: wait for ever */

#endif
