#include "graph/passes/masks.h"

#include "base/memory.h"
#include "graph/derived.h"
#include "graph/passes/derive.h"

#include <math.h>

/* The least that hides a key whatever its score. */
#define HIDES (-1e9F)

static enum mask_kind classify(const float *mask, const struct shape *shape) {
    const int64_t queries = shape->dims[shape->rank - 2], keys = shape->dims[shape->rank - 1];
    bool zeros = true, causal = true;
    for (int i = 0; i < shape->rank - 2; i++) {
        causal = causal && shape->dims[i] == 1;
    }
    int64_t count = 0;
    (void)shape_count(shape, &count);
    for (int64_t at = 0; at < count && (zeros || causal); at++) {
        const bool zero = fabsf(mask[at]) <= 0;
        const int64_t query = at / keys % queries, key = at % keys;
        const bool seen = key <= query + keys - queries;
        zeros = zeros && zero;
        causal = causal && (seen ? zero : mask[at] <= HIDES);
    }
    return zeros ? MASK_NOTHING : causal ? MASK_CAUSAL : MASK_OTHER;
}

shoal_status mask_classify(struct rewrite *rw, graph_param_id id, struct weight_source *source,
                           enum mask_kind *out, struct shoal_error *error) {
    struct graph *graph = rewrite_graph(rw);
    const struct graph_param *param = graph_param_get(graph, id);
    const struct shape shape = param->type.shape;
    graph_value_id value = GRAPH_NONE;
    struct tensor tensor;
    *out = MASK_OTHER;
    if (param->type.dtype != DTYPE_F32 || shape.rank < 2) {
        return SHOAL_OK;
    }
    if (param->data != NULL) {
        *out = classify(param->data, &shape);
        return SHOAL_OK;
    }
    if (source == NULL || !derive_can(graph, id)) {
        return SHOAL_OK;
    }
    TRY(derive_value(graph, id, &value, error));
    TRY(derived_compute(graph_constants(graph), value, source, &tensor, error));
    *out = classify(tensor.data, &shape);
    mem_free(tensor.data);
    return SHOAL_OK;
}
