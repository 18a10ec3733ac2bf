/*
 * Where params come from: files (formats/), a seed, later the cluster. The executor asks for one
 * tensor at a time, packs it and gives it back, so that a source can release its pages.
 */
#ifndef GRAPH_WEIGHTS_H
#define GRAPH_WEIGHTS_H

#include "graph/graph.h"

struct weight_source;

struct weight_source_ops {
    /*
     * A view of the named tensor as stored (any dtype with a conversion to f32). fill and
     * element_count are what the graph expects: sources without files generate from them. The view
     * stays valid until release. Errors: NOT_FOUND (no such tensor), CORRUPT, NO_MEMORY, IO; the
     * text names tensor and file.
     */
    shoal_status (*borrow)(struct weight_source *source, const char *name,
                           const struct shape *shape, enum graph_fill fill, struct tensor *out,
                           struct shoal_error *error);
    void (*release)(struct weight_source *source, const struct tensor *tensor);
    void (*destroy)(struct weight_source *source);
};

struct weight_source {
    const struct weight_source_ops *ops;
};

/* Random weights from a seed: normal(0, 0.02), zeros or ones by the param's fill; (seed, part name)
 * decide, nothing else. */
NODISCARD shoal_status weights_random_create(uint64_t seed, struct weight_source **out,
                                             struct shoal_error *error);

#endif
