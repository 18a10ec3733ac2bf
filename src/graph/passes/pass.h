/* What the files of passes share: one function for each of PASS_LIST, on a graph that is being
 * rewritten. */
#ifndef GRAPH_PASSES_PASS_H
#define GRAPH_PASSES_PASS_H

#include "graph/passes/passes.h"
#include "graph/passes/rewrite.h"

#define X(code, name, function, what)                                                       \
    NODISCARD shoal_status function(struct rewrite *rw, const struct pass_options *options, \
                                    struct shoal_error *error);
PASS_LIST(X)
#undef X

#endif
