/*
 * What is known of a cluster's links: declared in the cluster file, kept in the store, measured.
 *
 * Ends are indices of devices; the cluster's count stands for the owner, this side. Local devices
 * are known by their host and the size of the probes, for all of one host reach each other alike;
 * remote ones by both ends' public keys, whatever their hosts are called. Declared figures count
 * before measured ones, each for itself; declared links are measured only for what is not declared.
 *
 * Threads: the owner thread's.
 */
#ifndef RUNTIME_LINK_PROFILE_H
#define RUNTIME_LINK_PROFILE_H

#include "runtime/cluster.h"
#include "runtime/link.h"
#include "store/store.h"

/* Of large probes between machines, whatever is planned: so that figures of `shoal links` serve. */
#define LINK_PROFILE_BYTES ((size_t)1 << 20)

/* What every device of the cluster takes of that. */
size_t link_profile_bytes(const struct cluster *cluster);

struct link_profiles {
    struct cluster *cluster;
    struct store *store; /* NULL: nothing is kept */
    bool measure_again;  /* do not read the store */
    size_t bytes;        /* of large probes among local devices */
    void (*say)(void *context, const char *what);
    void *context;
    /* below: their own; zero at first */
    json_t *known; /* by key, of this command */
    bool measured; /* something had to be */
};

void link_profiles_fini(struct link_profiles *profiles);

/* Errors: those of the devices' calls and of link_measure. */
NODISCARD shoal_status link_profile_find(struct link_profiles *profiles, uint32_t from, uint32_t to,
                                         struct link_figures *out, struct shoal_error *error);

/* Whether link_profile_find has nothing to measure. */
bool link_profile_is_known(struct link_profiles *profiles, uint32_t from, uint32_t to);

/* Keeps what was measured, for this command and in the store. */
void link_profile_keep(struct link_profiles *profiles, uint32_t from, uint32_t to,
                       const struct link_figures *figures);

/*
 * The request that makes a device measure its link to `to`. share: of the time that probes may
 * take (0: all). NULL when memory is out.
 */
json_t *link_request(const struct cluster *cluster, uint32_t to, size_t bytes, double share);

/* The figures of an answer to it. False: it has none, or such that cannot be. */
bool link_read_figures(const json_t *document, struct link_figures *out);

#endif
