#include "plan/dp.h"

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Words of reachability (128 MiB) and values of the additive program (256 MiB). */
#define MAX_REACH_WORDS ((size_t)1 << 24)
#define MAX_VALUES ((size_t)1 << 25)
#define MAX_TABLE ((size_t)1 << 25)

struct plan_dp {
    const struct plan_tables *tables;
    uint32_t n, kinds, words; /* words of 64 bits for positions 0 … n */
    uint32_t min_stages, max_stages;
    uint32_t counts[PLAN_DP_MAX_KINDS];
    size_t weight[PLAN_DP_MAX_KINDS]; /* of a kind's digit in S */
    size_t sets;                      /* M */
    uint64_t *reach;    /* [sets][kinds][words]: positions reachable with last kind v */
    uint64_t *extent;   /* [kinds][n][words]: positions that a stage from i on v may end at */
    uint64_t *crossing; /* [kinds][kinds][words]: cuts that a link may cross */
    bool source_ok[PLAN_DP_MAX_KINDS], sink_ok[PLAN_DP_MAX_KINDS];
    /* the additive program */
    const struct plan_tables *weights;
    size_t
        *offset; /* [sets][kinds]: of the first value of the pair's reachable positions, in order */
    double *values;
    double *from, *to; /* [n + 1] scratch */
    size_t final_set[PLAN_DP_MAX_STAGES + 1];
    uint32_t final_kind[PLAN_DP_MAX_STAGES + 1];
};

shoal_status plan_tables_init(struct plan_tables *tables, uint32_t n, uint32_t kinds,
                              struct shoal_error *error) {
    if (n == 0 || kinds == 0 || kinds > PLAN_DP_MAX_KINDS || n > PLAN_DP_MAX_SEGMENTS ||
        (size_t)kinds * n * n > MAX_TABLE) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "%" PRIu32 " segments on %" PRIu32
                         " kinds of devices; the planner takes 1 to %d on 1 to %d, and segments² × "
                         "kinds up to %zu",
                         n, kinds, PLAN_DP_MAX_SEGMENTS, PLAN_DP_MAX_KINDS, MAX_TABLE);
    }
    *tables = (struct plan_tables){.n = n, .kinds = kinds};
    tables->stage = mem_calloc((size_t)kinds * n * n, sizeof(double));
    tables->link = mem_calloc((size_t)kinds * kinds * n, sizeof(double));
    tables->source = mem_calloc(kinds, sizeof(double));
    tables->sink = mem_calloc(kinds, sizeof(double));
    if (tables->stage == NULL || tables->link == NULL || tables->source == NULL ||
        tables->sink == NULL) {
        plan_tables_fini(tables);
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for the planner's tables");
    }
    return SHOAL_OK;
}

void plan_tables_fini(struct plan_tables *tables) {
    mem_free(tables->stage);
    mem_free(tables->link);
    mem_free(tables->source);
    mem_free(tables->sink);
    *tables = (struct plan_tables){0};
}

static shoal_status allocate(struct plan_dp *dp, struct shoal_error *error) {
    const size_t pairs = dp->sets * dp->kinds;
    dp->reach = mem_calloc(pairs * dp->words, sizeof(uint64_t));
    dp->extent = mem_calloc((size_t)dp->kinds * dp->n * dp->words, sizeof(uint64_t));
    dp->crossing = mem_calloc((size_t)dp->kinds * dp->kinds * dp->words, sizeof(uint64_t));
    dp->from = mem_alloc((dp->n + 1) * sizeof(double));
    dp->to = mem_alloc((dp->n + 1) * sizeof(double));
    if (dp->reach == NULL || dp->extent == NULL || dp->crossing == NULL || dp->from == NULL ||
        dp->to == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for %zu states of the planner",
                         pairs);
    }
    return SHOAL_OK;
}

shoal_status plan_dp_create(const struct plan_tables *tables, const uint32_t *counts,
                            uint32_t min_stages, uint32_t max_stages, struct plan_dp **out,
                            struct shoal_error *error) {
    struct plan_dp *dp = mem_calloc(1, sizeof *dp);
    if (dp == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for the planner");
    }
    dp->tables = tables;
    dp->n = tables->n;
    dp->kinds = tables->kinds;
    dp->words = tables->n / 64 + 1;
    dp->min_stages = min_stages;
    dp->max_stages = max_stages < dp->n ? max_stages : dp->n;
    if (dp->max_stages > PLAN_DP_MAX_STAGES) {
        mem_free(dp);
        return error_set(error, SHOAL_UNSUPPORTED, "up to %" PRIu32 " stages; the planner takes %d",
                         dp->max_stages, PLAN_DP_MAX_STAGES);
    }
    dp->sets = 1;
    for (uint32_t k = 0; k < dp->kinds; k++) {
        const uint32_t count = counts[k] < dp->max_stages ? counts[k] : dp->max_stages;
        dp->counts[k] = count;
        dp->weight[k] = dp->sets;
        if (!checked_mul_size(dp->sets, count + 1, &dp->sets) ||
            dp->sets > MAX_REACH_WORDS / dp->kinds / dp->words) {
            mem_free(dp);
            return error_set(
                error, SHOAL_UNSUPPORTED,
                "%" PRIu32 " unlike kinds of devices over %" PRIu32
                " segments are more than the exact planner takes (states: %zu or more, limit %zu)",
                tables->kinds, tables->n, (size_t)(k + 1),
                MAX_REACH_WORDS / tables->kinds / (tables->n / 64 + 1));
        }
    }
    const shoal_status status = allocate(dp, error);
    if (status != SHOAL_OK) {
        plan_dp_destroy(dp);
        return status;
    }
    *out = dp;
    return SHOAL_OK;
}

void plan_dp_destroy(struct plan_dp *dp) {
    if (dp == NULL) {
        return;
    }
    mem_free(dp->reach);
    mem_free(dp->extent);
    mem_free(dp->crossing);
    mem_free(dp->from);
    mem_free(dp->to);
    mem_free(dp->offset);
    mem_free(dp->values);
    mem_free(dp);
}

size_t plan_dp_states(const struct plan_dp *dp) {
    return dp->sets * dp->kinds;
}

static void set_bit(uint64_t *words, uint32_t position) {
    words[position / 64] |= UINT64_C(1) << (position % 64);
}

static bool has_bit(const uint64_t *words, uint32_t position) {
    return (words[position / 64] >> (position % 64) & 1) != 0;
}

/* Calls body with `position` = each set bit in rising order. */
#define FOR_BITS(position, words_pointer, word_count)                                          \
    for (uint32_t word_ = 0; word_ < (word_count); word_++)                                    \
        for (uint64_t rest_ = (words_pointer)[word_]; rest_ != 0; rest_ &= rest_ - 1)          \
            for (uint32_t position = word_ * 64 + (uint32_t)__builtin_ctzll(rest_), once_ = 1; \
                 once_ != 0; once_ = 0)

static uint64_t *reach_of(const struct plan_dp *dp, size_t set, uint32_t kind) {
    return &dp->reach[(set * dp->kinds + kind) * dp->words];
}

static const uint64_t *extent_of(const struct plan_dp *dp, uint32_t kind, uint32_t first) {
    return &dp->extent[((size_t)kind * dp->n + first) * dp->words];
}

static const uint64_t *crossing_of(const struct plan_dp *dp, uint32_t from, uint32_t to) {
    return &dp->crossing[((size_t)from * dp->kinds + to) * dp->words];
}

/* Which table entries are ≤ bound, as bits. */
static void mark_allowed(struct plan_dp *dp, double bound) {
    const struct plan_tables *t = dp->tables;
    memset(dp->extent, 0, (size_t)dp->kinds * dp->n * dp->words * sizeof(uint64_t));
    memset(dp->crossing, 0, (size_t)dp->kinds * dp->kinds * dp->words * sizeof(uint64_t));
    for (uint32_t k = 0; k < dp->kinds; k++) {
        dp->source_ok[k] = t->source[k] <= bound;
        dp->sink_ok[k] = t->sink[k] <= bound;
        for (uint32_t i = 0; i < dp->n; i++) {
            uint64_t *extent = &dp->extent[((size_t)k * dp->n + i) * dp->words];
            for (uint32_t j = i; j < dp->n; j++) {
                if (*plan_stage_entry(t, k, i, j) <= bound) {
                    set_bit(extent, j + 1);
                }
            }
        }
        for (uint32_t to = 0; to < dp->kinds; to++) {
            uint64_t *crossing = &dp->crossing[((size_t)k * dp->kinds + to) * dp->words];
            for (uint32_t c = 1; c < dp->n; c++) {
                if (*plan_link_entry(t, k, to, c) <= bound) {
                    set_bit(crossing, c);
                }
            }
        }
    }
}

/* The multiset as digits, counted upwards with S. */
struct odometer {
    uint32_t digit[PLAN_DP_MAX_KINDS];
    uint32_t total;
};

static void odometer_next(const struct plan_dp *dp, struct odometer *odometer) {
    for (uint32_t k = 0; k < dp->kinds; k++) {
        if (odometer->digit[k] < dp->counts[k]) {
            odometer->digit[k]++;
            odometer->total++;
            return;
        }
        odometer->total -= odometer->digit[k];
        odometer->digit[k] = 0;
    }
}

static void set_digits(const struct plan_dp *dp, size_t set, struct odometer *out) {
    out->total = 0;
    for (uint32_t k = 0; k < dp->kinds; k++) {
        out->digit[k] = (uint32_t)(set / dp->weight[k] % (dp->counts[k] + 1));
        out->total += out->digit[k];
    }
}

/* Start positions from which a stage on v may be placed after the devices of S without v. */
static void gather_starts(const struct plan_dp *dp, const struct odometer *odometer, size_t set,
                          uint32_t v, uint64_t *starts) {
    const size_t before = set - dp->weight[v];
    memset(starts, 0, dp->words * sizeof *starts);
    if (before == 0) {
        starts[0] = dp->source_ok[v] ? 1 : 0;
        return;
    }
    for (uint32_t u = 0; u < dp->kinds; u++) {
        if (odometer->digit[u] > (u == v ? 1U : 0U)) {
            const uint64_t *reached = reach_of(dp, before, u), *crossing = crossing_of(dp, u, v);
            for (uint32_t w = 0; w < dp->words; w++) {
                starts[w] |= reached[w] & crossing[w];
            }
        }
    }
}

/* Fills reach for entries ≤ bound. With `any`, stops as soon as the end is reached; the answer is
 * whether it is. */
static bool reach_fill(struct plan_dp *dp, double bound, bool any) {
    mark_allowed(dp, bound);
    uint64_t starts[PLAN_DP_MAX_SEGMENTS / 64 + 1];
    struct odometer odometer = {.total = 0};
    bool found = false;
    for (size_t set = 1; set < dp->sets; set++) {
        odometer_next(dp, &odometer);
        if (odometer.total > dp->max_stages) {
            continue; /* nothing reads it: whoever contains it is too large as well */
        }
        for (uint32_t v = 0; v < dp->kinds; v++) {
            if (odometer.digit[v] == 0) {
                continue;
            }
            uint64_t *reached = reach_of(dp, set, v);
            memset(reached, 0, dp->words * sizeof *reached);
            gather_starts(dp, &odometer, set, v, starts);
            FOR_BITS(i, starts, dp->words) {
                const uint64_t *extent = extent_of(dp, v, i);
                for (uint32_t w = i / 64; w < dp->words; w++) {
                    reached[w] |= extent[w];
                }
            }
            if (has_bit(reached, dp->n) && dp->sink_ok[v] && odometer.total >= dp->min_stages) {
                found = true;
                if (any) {
                    return true;
                }
            }
        }
    }
    return found;
}

static int compare_doubles(const void *a, const void *b) {
    double x, y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

static size_t collect(double *out, size_t count, const double *entries, size_t entry_count,
                      double above) {
    for (size_t i = 0; i < entry_count; i++) {
        if (isfinite(entries[i]) && entries[i] <= above) {
            out[count++] = entries[i];
        }
    }
    return count;
}

shoal_status plan_dp_bottleneck(struct plan_dp *dp, double above, double *out,
                                struct shoal_error *error) {
    const struct plan_tables *t = dp->tables;
    const size_t links = (size_t)dp->kinds * dp->kinds * dp->n;
    const size_t limit = (size_t)dp->kinds * (dp->n * (dp->n + 1) / 2 + 2) + links;
    double *candidates = mem_alloc(limit * sizeof *candidates);
    if (candidates == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for %zu candidates", limit);
    }
    size_t count = collect(candidates, 0, t->source, dp->kinds, above);
    count = collect(candidates, count, t->sink, dp->kinds, above);
    count = collect(candidates, count, t->link, links, above);
    for (uint32_t k = 0; k < dp->kinds; k++) {
        for (uint32_t i = 0; i < dp->n; i++) {
            count = collect(candidates, count, plan_stage_entry(t, k, i, i), dp->n - i, above);
        }
    }
    qsort(candidates, count, sizeof *candidates, compare_doubles);
    double best = HUGE_VAL;
    if (count > 0 && reach_fill(dp, candidates[count - 1], true)) {
        size_t low = 0, high = count - 1; /* high is possible, all below low are not */
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            if (reach_fill(dp, candidates[middle], true)) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        best = candidates[high];
    }
    mem_free(candidates);
    *out = best;
    return SHOAL_OK;
}

/* Assigns each reachable (S, v, j) its place among the values. */
static shoal_status lay_out_values(struct plan_dp *dp, struct shoal_error *error) {
    mem_free(dp->values);
    dp->values = NULL;
    const size_t pairs = dp->sets * dp->kinds;
    if (dp->offset == NULL) {
        dp->offset = mem_alloc(pairs * sizeof *dp->offset);
        if (dp->offset == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "out of memory for %zu states", pairs);
        }
    }
    size_t count = 0;
    struct odometer odometer = {.total = 0};
    for (size_t set = 1; set < dp->sets; set++) {
        odometer_next(dp, &odometer);
        for (uint32_t v = 0; v < dp->kinds; v++) {
            dp->offset[set * dp->kinds + v] = count;
            if (odometer.digit[v] > 0 && odometer.total <= dp->max_stages) {
                const uint64_t *reached = reach_of(dp, set, v);
                for (uint32_t w = 0; w < dp->words; w++) {
                    count += (size_t)__builtin_popcountll(reached[w]);
                }
            }
        }
    }
    if (count > MAX_VALUES) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "%zu states are more than the planner's limit, %zu", count, MAX_VALUES);
    }
    dp->values = mem_alloc((count > 0 ? count : 1) * sizeof *dp->values);
    if (dp->values == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "out of memory for %zu values", count);
    }
    return SHOAL_OK;
}

static double value_of(const struct plan_dp *dp, size_t set, uint32_t kind, uint32_t position) {
    const uint64_t *reached = reach_of(dp, set, kind);
    size_t rank = 0;
    for (uint32_t w = 0; w < position / 64; w++) {
        rank += (size_t)__builtin_popcountll(reached[w]);
    }
    rank += (size_t)__builtin_popcountll(reached[position / 64] &
                                         ((UINT64_C(1) << (position % 64)) - 1));
    return dp->values[dp->offset[set * dp->kinds + kind] + rank];
}

/* dp->from[i]: the least sum up to and including the transfer into a stage on v that starts at i.
 */
static void sums_into(struct plan_dp *dp, const uint32_t *digits, size_t set, uint32_t v) {
    const size_t before = set - dp->weight[v];
    for (uint32_t i = 0; i <= dp->n; i++) {
        dp->from[i] = HUGE_VAL;
    }
    if (before == 0) {
        dp->from[0] = dp->source_ok[v] ? dp->weights->source[v] : HUGE_VAL;
        return;
    }
    for (uint32_t u = 0; u < dp->kinds; u++) {
        if (digits[u] <= (u == v ? 1U : 0U)) {
            continue;
        }
        const uint64_t *reached = reach_of(dp, before, u), *crossing = crossing_of(dp, u, v);
        const double *value = &dp->values[dp->offset[before * dp->kinds + u]];
        FOR_BITS(i, reached, dp->words) {
            const double before_link = *value++;
            if (has_bit(crossing, i)) {
                const double sum = before_link + *plan_link_entry(dp->weights, u, v, i);
                dp->from[i] = sum < dp->from[i] ? sum : dp->from[i];
            }
        }
    }
}

static void sums_through(struct plan_dp *dp, size_t set, uint32_t v) {
    for (uint32_t j = 0; j <= dp->n; j++) {
        dp->to[j] = HUGE_VAL;
    }
    for (uint32_t i = 0; i < dp->n; i++) {
        const double from = dp->from[i];
        if (isfinite(from)) {
            const uint64_t *extent = extent_of(dp, v, i);
            FOR_BITS(j, extent, dp->words) {
                const double sum = from + *plan_stage_entry(dp->weights, v, i, j - 1);
                dp->to[j] = sum < dp->to[j] ? sum : dp->to[j];
            }
        }
    }
    const uint64_t *reached = reach_of(dp, set, v);
    double *value = &dp->values[dp->offset[set * dp->kinds + v]];
    FOR_BITS(j, reached, dp->words) {
        *value++ = dp->to[j];
    }
}

shoal_status plan_dp_least_sum(struct plan_dp *dp, double bound, const struct plan_tables *weights,
                               double *best, struct shoal_error *error) {
    for (uint32_t k = 0; k <= PLAN_DP_MAX_STAGES; k++) {
        best[k] = HUGE_VAL;
    }
    if (!reach_fill(dp, bound, false)) {
        return SHOAL_OK;
    }
    TRY(lay_out_values(dp, error));
    dp->weights = weights;
    struct odometer odometer = {.total = 0};
    for (size_t set = 1; set < dp->sets; set++) {
        odometer_next(dp, &odometer);
        if (odometer.total > dp->max_stages) {
            continue;
        }
        for (uint32_t v = 0; v < dp->kinds; v++) {
            if (odometer.digit[v] == 0) {
                continue;
            }
            sums_into(dp, odometer.digit, set, v);
            sums_through(dp, set, v);
            const double sum = dp->to[dp->n] + weights->sink[v];
            if (dp->sink_ok[v] && odometer.total >= dp->min_stages && sum < best[odometer.total]) {
                best[odometer.total] = sum;
                dp->final_set[odometer.total] = set;
                dp->final_kind[odometer.total] = v;
            }
        }
    }
    return SHOAL_OK;
}

bool plan_dp_fewest(struct plan_dp *dp, double bound, struct plan_chain *out) {
    if (!reach_fill(dp, bound, false)) {
        return false;
    }
    struct odometer odometer = {.total = 0};
    size_t set = 0;
    uint32_t v = 0, stages = PLAN_DP_MAX_STAGES + 1;
    for (size_t s = 1; s < dp->sets; s++) {
        odometer_next(dp, &odometer);
        for (uint32_t k = 0; k < dp->kinds; k++) {
            if (odometer.total < stages && odometer.total >= dp->min_stages &&
                odometer.digit[k] > 0 && odometer.total <= dp->max_stages && dp->sink_ok[k] &&
                has_bit(reach_of(dp, s, k), dp->n)) {
                set = s;
                v = k;
                stages = odometer.total;
            }
        }
    }
    set_digits(dp, set, &odometer);
    uint64_t starts[PLAN_DP_MAX_SEGMENTS / 64 + 1];
    uint32_t end = dp->n;
    out->stage_count = stages;
    for (uint32_t s = stages; s > 0; s--) {
        out->ends[s - 1] = end;
        out->kinds[s - 1] = v;
        gather_starts(dp, &odometer, set, v, starts);
        uint32_t start = 0;
        while (!has_bit(starts, start) || !has_bit(extent_of(dp, v, start), end)) {
            start++;
            ASSERT(start < end);
        }
        const size_t before = set - dp->weight[v];
        odometer.digit[v]--;
        for (uint32_t u = 0; u < dp->kinds && before > 0; u++) {
            if (odometer.digit[u] > 0 && has_bit(reach_of(dp, before, u), start) &&
                has_bit(crossing_of(dp, u, v), start)) {
                v = u;
                break;
            }
        }
        set = before;
        end = start;
    }
    ASSERT(set == 0 && end == 0);
    return true;
}

/* The start of the stage on v that ends at `end` with the least sum, found again by equality. */
static uint32_t find_start(const struct plan_dp *dp, uint32_t v, uint32_t end, double sum) {
    for (uint32_t i = 0; i < end; i++) {
        if (isfinite(dp->from[i]) && has_bit(extent_of(dp, v, i), end) &&
            dp->from[i] + *plan_stage_entry(dp->weights, v, i, end - 1) == sum) {
            return i;
        }
    }
    ASSERT(false); /* the sums were made from these very terms */
    return 0;
}

static uint32_t find_previous(const struct plan_dp *dp, const uint32_t *digits, size_t before,
                              uint32_t v, uint32_t start) {
    for (uint32_t u = 0; u < dp->kinds; u++) {
        if (digits[u] > (u == v ? 1U : 0U) && has_bit(reach_of(dp, before, u), start) &&
            has_bit(crossing_of(dp, u, v), start) &&
            value_of(dp, before, u, start) + *plan_link_entry(dp->weights, u, v, start) ==
                dp->from[start]) {
            return u;
        }
    }
    ASSERT(false); /* the sums were made from these very terms */
    return 0;
}

void plan_dp_chain(struct plan_dp *dp, uint32_t stage_count, struct plan_chain *out) {
    size_t set = dp->final_set[stage_count];
    uint32_t v = dp->final_kind[stage_count], end = dp->n;
    struct odometer odometer = {.total = 0};
    set_digits(dp, set, &odometer);
    uint32_t *digits = odometer.digit;
    out->stage_count = stage_count;
    for (uint32_t s = stage_count; s > 0; s--) {
        out->ends[s - 1] = end;
        out->kinds[s - 1] = v;
        const double sum = value_of(dp, set, v, end);
        sums_into(dp, digits, set, v);
        const uint32_t start = find_start(dp, v, end, sum);
        const size_t before = set - dp->weight[v];
        if (before == 0) {
            ASSERT(s == 1 && start == 0);
            break;
        }
        const uint32_t u = find_previous(dp, digits, before, v, start);
        digits[v]--;
        set = before;
        v = u;
        end = start;
    }
}

shoal_status plan_dp_best(struct plan_dp *dp, const struct plan_tables *weights, double *bottleneck,
                          struct plan_chain *chain, struct shoal_error *error) {
    double least;
    TRY(plan_dp_bottleneck(dp, HUGE_VAL, &least, error));
    if (!isfinite(least)) {
        *bottleneck = least;
        return SHOAL_OK;
    }
    double best[PLAN_DP_MAX_STAGES + 1];
    struct shoal_error why = {.text = ""};
    const shoal_status status = plan_dp_least_sum(dp, least, weights, best, &why);
    if (status == SHOAL_OK) {
        uint32_t stages = 1;
        while (!isfinite(best[stages])) {
            stages++;
            ASSERT(stages <= PLAN_DP_MAX_STAGES);
        }
        plan_dp_chain(dp, stages, chain);
    } else if (status == SHOAL_UNSUPPORTED) {
        const bool found = plan_dp_fewest(dp, least, chain);
        ASSERT(found);
    } else {
        return error_set(error, status, "%s", why.text);
    }
    *bottleneck = least;
    return SHOAL_OK;
}
