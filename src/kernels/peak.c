#include "kernels/peak.h"

#include "kernels/vector/vector.h"
#include "platform/clock.h"

/* Short runs: on a busy machine some of them are left undisturbed. */
#define RUNS 40
#define RUN_S 0.004

struct spinning {
    const struct vector_ops *vector;
    int64_t rounds;
};

static void work(void *context, int index, int count) {
    (void)index;
    (void)count;
    const struct spinning *spinning = context;
    float sink = 0;
    (void)spinning->vector->spin(spinning->rounds, &sink);
    volatile float kept = sink; /* or the loop would be dead code */
    (void)kept;
}

static double seconds(struct spinning *spinning, int threads) {
    const uint64_t start = platform_now_ns();
    vector_parallel(threads, work, spinning);
    return (double)(platform_now_ns() - start) * 1e-9;
}

double peak_f32_gflops(int threads) {
    struct spinning spinning = {vector_get(), 1 << 16};
    float sink = 0;
    const double flops = spinning.vector->spin(1, &sink) * (double)threads; /* of one round */
    (void)seconds(&spinning, threads); /* starts threads and the clock */
    const double once = seconds(&spinning, threads);
    spinning.rounds = (int64_t)(RUN_S / (once > 1e-6 ? once : 1e-6) * (double)spinning.rounds) + 1;
    double best = 0;
    for (int i = 0; i < RUNS;
         i++) { /* the limit is what the machine does undisturbed: the greatest */
        const double rate = flops * (double)spinning.rounds / seconds(&spinning, threads) * 1e-9;
        best = rate > best ? rate : best;
    }
    return best;
}
