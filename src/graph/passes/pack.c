/*
 * SDPA whose inputs come from one place. Heads that are repeated for grouped queries are read where
 * they are; three LINEARs of one input become one with three parts and an ATTENTION; a LINEAR whose
 * result is cut in three becomes ATTENTION as it is, or, where ATTENTION cannot do it, three
 * LINEARs that write what SDPA reads.
 */
#include "graph/derived.h"
#include "graph/passes/axes.h"
#include "graph/passes/derive.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

#include "base/memory.h"

#include <math.h>
#include <string.h>

/* ---- repeated heads ---- */

/* Heads that one axis repeats: expand(s) with axis `at` going from 1 to G, joined to the axis
 * before it by a reshape. */
static bool repeated(const struct rewrite *rw, graph_value_id value, int at, graph_value_id *s) {
    const struct graph_node *join = match_op(rw, value, OP_RESHAPE);
    const struct graph_node *expand =
        join != NULL ? match_op(rw, rewrite_input(rw, join, 0), OP_EXPAND) : NULL;
    if (expand == NULL) {
        return false;
    }
    const struct shape *all = &rewrite_type(rw, value)->shape;
    const struct shape *wide = &rewrite_type(rw, expand->outputs[0])->shape;
    const struct shape *thin = &rewrite_type(rw, rewrite_input(rw, expand, 0))->shape;
    if (all->rank != 4 || wide->rank != 5 || thin->rank != 5 || thin->dims[at] != 1) {
        return false;
    }
    for (int i = 0; i < 5; i++) {
        const int64_t dim = wide->dims[i];
        if ((i != at && thin->dims[i] != dim) || (i < at - 1 && all->dims[i] != dim) ||
            (i > at && all->dims[i - 1] != dim)) {
            return false;
        }
    }
    *s = rewrite_input(rw, expand, 0);
    return all->dims[at - 1] == wide->dims[at - 1] * wide->dims[at];
}

/* What k or v [B,T,Hk·G,D] repeats: s [B,T,Hk,1,D], or [B,Hk,1,T,D] with a transpose behind. */
struct heads {
    graph_value_id s;
    bool outside;
};

static bool find_repeated(const struct rewrite *rw, graph_value_id value, struct heads *out) {
    static const int64_t order[] = {0, 2, 1, 3};
    const struct graph_node *turn = match_op(rw, value, OP_TRANSPOSE);
    out->outside = turn != NULL;
    if (turn == NULL) {
        return repeated(rw, value, 3, &out->s);
    }
    return rewrite_type(rw, value)->shape.rank == 4 && axes_equal(turn->attrs.ints, order, 4) &&
           repeated(rw, rewrite_input(rw, turn, 0), 2, &out->s);
}

static int64_t head_count(const struct rewrite *rw, const struct heads *h) {
    return rewrite_type(rw, h->s)->shape.dims[h->outside ? 1 : 2];
}

/* [B,T,Hk,D] */
static shoal_status unrepeated(struct rewrite *rw, graph_node_id id, const struct heads *h,
                               graph_value_id *out, struct shoal_error *error) {
    static const int64_t order[] = {0, 2, 1, 3};
    const int64_t *d = rewrite_type(rw, h->s)->shape.dims;
    const struct shape shape =
        h->outside ? SHAPE(d[0], d[1], d[3], d[4]) : SHAPE(d[0], d[1], d[2], d[4]);
    TRY(axes_reshape(rw, id, ".heads", h->s, &shape, out, error));
    return h->outside ? axes_transpose(rw, id, ".heads", *out, order, out, error) : SHOAL_OK;
}

static shoal_status group(struct rewrite *rw, graph_node_id id, bool *done,
                          struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    graph_value_id inputs[4] = {0}, y = GRAPH_NONE;
    struct heads k, v;
    for (int i = 0; i < node.input_count; i++) {
        inputs[i] = rewrite_input(rw, &node, i);
    }
    if (!find_repeated(rw, inputs[1], &k) || !find_repeated(rw, inputs[2], &v) ||
        head_count(rw, &k) != head_count(rw, &v)) {
        return SHOAL_OK;
    }
    *done = true;
    TRY(unrepeated(rw, id, &k, &inputs[1], error));
    TRY(unrepeated(rw, id, &v, &inputs[2], error));
    TRY(rewrite_add(rw, id, NULL, OP_SDPA, &node.attrs, inputs, node.input_count, NULL, 0, &y,
                    error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

/* ---- where q, k and v come from ---- */

struct sources {
    graph_value_id values[3]; /* [..,C], what the reshapes into heads read */
    struct shape heads;       /* [B,T,H,D] of each */
};

static bool same_heads(const struct rewrite *rw, const struct graph_node *node,
                       struct sources *out) {
    for (int i = 0; i < 3; i++) {
        const graph_value_id value = rewrite_input(rw, node, i);
        const struct graph_node *reshape = match_op(rw, value, OP_RESHAPE);
        const struct shape *shape = &rewrite_type(rw, value)->shape;
        if (reshape == NULL || !match_inner(rw, value) ||
            (i > 0 && !shape_equal(shape, &out->heads))) {
            return false;
        }
        out->heads = *shape;
        out->values[i] = rewrite_input(rw, reshape, 0);
        const struct shape *flat = &rewrite_type(rw, out->values[i])->shape;
        if (flat->rank < 2 || flat->dims[flat->rank - 1] != shape->dims[2] * shape->dims[3]) {
            return false;
        }
    }
    return true;
}

/* Whether ATTENTION does what the SDPA does: a mask of one number per key at most. */
static bool attention_can(const struct rewrite *rw, const struct graph_node *node) {
    if (node->attrs.mode != 0 || node->attrs.floats[SDPA_SOFTCAP] > 0) {
        return false;
    }
    if (node->input_count < 4) {
        return true;
    }
    const struct shape *mask = &rewrite_type(rw, rewrite_input(rw, node, 3))->shape;
    const struct shape *q = &rewrite_type(rw, rewrite_input(rw, node, 0))->shape;
    return mask->dims[0] == q->dims[0] && mask->dims[1] == 1 && mask->dims[2] == 1;
}

/* ATTENTION on qkv [..,3C], in the SDPA's place. */
static shoal_status to_attention(struct rewrite *rw, graph_node_id id, graph_value_id qkv,
                                 const struct shape *heads, struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const int64_t *d = heads->dims;
    const struct shape packed = SHAPE(d[0], d[1], 3 * d[2] * d[3]), rows = SHAPE(d[0], d[1]);
    const struct op_attrs attrs = {.heads = (int32_t)d[2], .scale = node.attrs.scale};
    graph_value_id inputs[2], y = GRAPH_NONE;
    TRY(axes_reshape(rw, id, ".qkv", qkv, &packed, &inputs[0], error));
    if (node.input_count > 3) {
        TRY(axes_reshape(rw, id, ".mask", rewrite_input(rw, &node, 3), &rows, &inputs[1], error));
    }
    TRY(rewrite_add(rw, id, ".attention", OP_ATTENTION, &attrs, inputs,
                    node.input_count > 3 ? 2 : 1, NULL, 0, &y, error));
    TRY(axes_reshape(rw, id, NULL, y, heads, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

/* ---- three projections of one input ---- */

static bool projections(const struct rewrite *rw, const struct sources *s,
                        const struct graph_node *linears[3]) {
    for (int i = 0; i < 3; i++) {
        const struct graph_node *node = match_op(rw, s->values[i], OP_LINEAR);
        if (node == NULL || !match_inner(rw, s->values[i]) || node->input_count != 1 ||
            node->attrs.activation != ACTIVATION_NONE ||
            rewrite_input(rw, node, 0) != rewrite_input(rw, i > 0 ? linears[0] : node, 0) ||
            node->attrs.precision != (i > 0 ? linears[0] : node)->attrs.precision) {
            return false;
        }
        linears[i] = node;
    }
    return linears[0] != linears[1] && linears[1] != linears[2] && linears[0] != linears[2];
}

static shoal_status join_parts(struct graph *graph, const char *name, const graph_param_id ids[3],
                               struct tensor_type type, graph_param_id *out,
                               struct shoal_error *error) {
    uint32_t count = 0;
    for (int i = 0; i < 3; i++) {
        count += graph_param_get(graph, ids[i])->part_count;
    }
    struct graph_part *parts = mem_calloc(count, sizeof *parts);
    if (parts == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "passes: no memory for %s", name);
    }
    uint32_t at = 0;
    for (int i = 0; i < 3; i++) {
        const struct graph_param *param = graph_param_get(graph, ids[i]);
        memcpy(parts + at, param->parts, param->part_count * sizeof *parts);
        at += param->part_count;
    }
    const shoal_status status = graph_add_param(
        graph, name, type, graph_param_get(graph, ids[0])->fill, parts, count, out, error);
    mem_free(parts);
    return status;
}

/* Three params below one another. */
static shoal_status join_params(struct graph *graph, const char *name, const graph_param_id ids[3],
                                graph_param_id *out, struct shoal_error *error) {
    struct tensor_type type = graph_param_get(graph, ids[0])->type;
    graph_value_id values[3], joined = GRAPH_NONE;
    bool parts = true;
    type.shape.dims[0] *= 3;
    for (int i = 0; i < 3; i++) {
        parts = parts && graph_param_get(graph, ids[i])->part_count > 0;
    }
    if (parts) {
        return join_parts(graph, name, ids, type, out, error);
    }
    for (int i = 0; i < 3; i++) {
        TRY(derive_value(graph, ids[i], &values[i], error));
    }
    TRY(derive_op(graph, name, OP_CONCAT, NULL, values, 3, &joined, error));
    return derive_param(graph, joined, out, error);
}

static shoal_status join_projections(struct rewrite *rw, graph_node_id id,
                                     const struct graph_node *const linears[3], graph_value_id *qkv,
                                     struct shoal_error *error) {
    struct graph *graph = rewrite_graph(rw);
    struct graph_node copies[3];
    graph_param_id params[2] = {GRAPH_NONE, GRAPH_NONE};
    bool bias = false;
    for (int i = 0; i < 3; i++) {
        copies[i] = *linears[i];
        bias = bias || copies[i].param_count > 1;
    }
    for (int kind = 0; kind < (bias ? 2 : 1); kind++) {
        graph_param_id ids[3];
        for (int i = 0; i < 3; i++) {
            ids[i] = copies[i].params[kind];
            if (kind == 1 && copies[i].param_count == 1) { /* keys often have none */
                const int64_t outputs =
                    graph_param_get(graph, copies[i].params[0])->type.shape.dims[0];
                TRY(derive_filled(graph, "zeros", outputs, 0, &ids[i], error));
            }
        }
        TRY(join_params(graph, copies[0].name, ids, &params[kind], error));
    }
    const graph_value_id x = rewrite_input(rw, &copies[0], 0);
    return rewrite_add(rw, id, ".qkv", OP_LINEAR, &copies[0].attrs, &x, 1, params, bias ? 2 : 1,
                       qkv, error);
}

static bool can_join(const struct graph *graph, const struct graph_node *const linears[3]) {
    for (int i = 0; i < 3; i++) {
        for (int k = 0; k < linears[i]->param_count; k++) {
            if (!derive_can(graph, linears[i]->params[k])) {
                return false;
            }
        }
    }
    return true;
}

/* ---- one result, cut in three ---- */

/* Part i of y's last axis for each of q, k, v, and nobody else reading y. */
static bool thirds(const struct rewrite *rw, const struct sources *s, graph_value_id *y) {
    for (int i = 0; i < 3; i++) {
        const struct graph_node *slice = match_op(rw, s->values[i], OP_SLICE);
        if (slice == NULL || !match_inner(rw, s->values[i])) {
            return false;
        }
        const struct shape *of = &rewrite_type(rw, rewrite_input(rw, slice, 0))->shape;
        const int last = of->rank - 1;
        const int64_t third = of->dims[last] / 3;
        if (of->dims[last] % 3 != 0 || slice->attrs.ints[last] != i * third ||
            slice->attrs.ints[SLICE_LENGTH + last] != third ||
            slice->attrs.ints[SLICE_STEP + last] != 1 ||
            (i > 0 && rewrite_input(rw, slice, 0) != *y)) {
            return false;
        }
        for (int axis = 0; axis < last; axis++) {
            if (rewrite_type(rw, s->values[i])->shape.dims[axis] != of->dims[axis] ||
                slice->attrs.ints[axis] != 0 || slice->attrs.ints[SLICE_STEP + axis] != 1) {
                return false;
            }
        }
        *y = rewrite_input(rw, slice, 0);
    }
    return rewrite_readers(rw, *y) == 3 && !rewrite_is_output(rw, *y);
}

/* Rows [first, first + count) of a param. */
static shoal_status some_rows(struct graph *graph, const char *name, graph_param_id id,
                              int64_t first, int64_t count, graph_param_id *out,
                              struct shoal_error *error) {
    const struct shape shape = graph_param_get(graph, id)->type.shape;
    struct op_attrs attrs = {0};
    graph_value_id value = GRAPH_NONE;
    for (int i = 0; i < shape.rank; i++) {
        attrs.ints[i] = i == 0 ? first : 0;
        attrs.ints[SLICE_STEP + i] = 1;
        attrs.ints[SLICE_LENGTH + i] = i == 0 ? count : shape.dims[i];
    }
    TRY(derive_value(graph, id, &value, error));
    TRY(derive_op(graph, name, OP_SLICE, &attrs, &value, 1, &value, error));
    return derive_param(graph, value, out, error);
}

static shoal_status split_projection(struct rewrite *rw, const struct sources *s,
                                     const struct graph_node *linear, struct shoal_error *error) {
    static const char *const suffixes[] = {".q", ".k", ".v"};
    struct graph *graph = rewrite_graph(rw);
    const struct graph_node copy = *linear;
    const graph_node_id at = graph_value_get(graph, copy.outputs[0])->producer;
    const int64_t third = graph_param_get(graph, copy.params[0])->type.shape.dims[0] / 3;
    const graph_value_id x = rewrite_input(rw, &copy, 0);
    for (int i = 0; i < 3; i++) {
        graph_param_id params[2];
        graph_value_id y = GRAPH_NONE;
        for (int k = 0; k < copy.param_count; k++) {
            TRY(some_rows(graph, copy.name, copy.params[k], i * third, third, &params[k], error));
        }
        TRY(rewrite_add(rw, at, suffixes[i], OP_LINEAR, &copy.attrs, &x, 1, params,
                        copy.param_count, &y, error));
        TRY(rewrite_replace(rw, s->values[i], y, error));
    }
    return SHOAL_OK;
}

static shoal_status pack(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const struct graph_node *linears[3];
    struct sources s = {0};
    graph_value_id qkv = GRAPH_NONE;
    if (!same_heads(rw, node, &s)) {
        return SHOAL_OK;
    }
    const bool attention = attention_can(rw, node) && s.heads.dims[2] <= INT32_MAX;
    if (attention && projections(rw, &s, linears) && can_join(rewrite_graph(rw), linears)) {
        TRY(join_projections(rw, id, linears, &qkv, error));
        return to_attention(rw, id, qkv, &s.heads, error);
    }
    if (!thirds(rw, &s, &qkv)) {
        return SHOAL_OK;
    }
    if (attention) {
        return to_attention(rw, id, qkv, &s.heads, error);
    }
    const struct graph_node *linear = match_op(rw, qkv, OP_LINEAR);
    if (linear == NULL || linear->input_count > 1 || linear->attrs.activation != ACTIVATION_NONE ||
        !derive_can(rewrite_graph(rw), linear->params[0]) ||
        (linear->param_count > 1 && !derive_can(rewrite_graph(rw), linear->params[1]))) {
        return SHOAL_OK;
    }
    return split_projection(rw, &s, linear, error);
}

shoal_status pass_pack(struct rewrite *rw, const struct pass_options *options,
                       struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        bool done = false;
        if (node == NULL || node->op != OP_SDPA) {
            continue;
        }
        TRY(group(rw, id, &done, error));
        if (!done) {
            TRY(pack(rw, id, error));
        }
    }
    return SHOAL_OK;
}
