/* What a constant attention mask hides. */
#ifndef GRAPH_PASSES_MASKS_H
#define GRAPH_PASSES_MASKS_H

#include "graph/passes/rewrite.h"
#include "graph/weights.h"

enum mask_kind {
    MASK_NOTHING, /* zeros */
    MASK_CAUSAL,  /* [1,1,Tq,Tk]: 0 where key j ≤ query i + Tk − Tq, else −10⁹ or less */
    MASK_OTHER
};

/* Reads the mask, a constant or, from source (may be NULL: OTHER), a stored or derived tensor.
 * Errors: the source's, NO_MEMORY. */
NODISCARD shoal_status mask_classify(struct rewrite *rw, graph_param_id mask,
                                     struct weight_source *source, enum mask_kind *out,
                                     struct shoal_error *error);

#endif
