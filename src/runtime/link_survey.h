/*
 * Every link of a cluster, both directions, measured now. Ends are indices of devices; the
 * cluster's count stands for this side. Links that share no end are measured at the same time.
 * Where a device has jobs, its links are probed for at most `share` of the time.
 */
#ifndef RUNTIME_LINK_SURVEY_H
#define RUNTIME_LINK_SURVEY_H

#include "runtime/link_profile.h"

enum link_state { LINK_WAITING, LINK_UNDERWAY, LINK_MEASURED, LINK_FAILED };

struct link_entry {
    uint32_t from, to;
    enum link_state state;
    struct link_figures figures; /* once measured */
    char text[192];              /* once failed: why */
    double share;
    uint64_t start_ns;
};

struct link_survey {
    struct link_entry *entries; /* by from, then to */
    uint32_t count;
};

struct link_survey_options {
    struct link_profiles *profiles; /* its cluster; what is measured is kept there */
    double share;                   /* 0 < share ≤ 1 */
    size_t bytes;                   /* of large probes */
    bool owner_only;                /* only links with this side */
    bool unknown_only;              /* only links that are not known already */
    /* left_s: a guess; negative: none yet */
    void (*on_done)(void *context, uint32_t done, uint32_t count, double left_s);
    void *context;
};

/*
 * Links of devices that are lost are left out; one that fails does not end the others. Errors:
 * NO_MEMORY, CANCELLED, CLOSED.
 */
NODISCARD shoal_status link_survey_run(const struct link_survey_options *options,
                                       struct link_survey *out, struct shoal_error *error);
void link_survey_fini(struct link_survey *survey);

#endif
