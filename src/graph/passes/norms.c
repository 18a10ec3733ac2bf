/*
 * LayerNorm and RMSNorm from their parts. First what divides by the deviation becomes a norm with a
 * gain of 1 and no shift; then gain and shift behind it go into it.
 */
#include "graph/passes/derive.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

#include <math.h>
#include <string.h>

/* The mean of x over its last axis, which stays as 1. */
static bool mean_of(const struct rewrite *rw, graph_value_id value, graph_value_id *x) {
    const struct graph_node *node = match_op(rw, value, OP_REDUCE);
    if (node == NULL || node->attrs.mode != REDUCE_MEAN || node->attrs.ints[1] != 1) {
        return false;
    }
    *x = rewrite_input(rw, node, 0);
    const int rank = rewrite_type(rw, *x)->shape.rank;
    return rank > 0 && node->attrs.ints[0] == INT64_C(1) << (rank - 1);
}

static bool square_of(const struct rewrite *rw, graph_value_id value, graph_value_id *x) {
    graph_value_id a = 0, b = 0;
    double number = 0;
    if (match_binary(rw, value, BINARY_MUL, &a, &b) && a == b) {
        *x = a;
        return true;
    }
    return match_with_number(rw, value, BINARY_POW, x, &number) && match_near(number, 2);
}

/* √(moment + ε) */
static bool deviation(const struct rewrite *rw, graph_value_id value, graph_value_id *moment,
                      double *epsilon) {
    graph_value_id sum = 0;
    double half = 0;
    const bool root =
        match_unary(rw, value, UNARY_SQRT, &sum) ||
        (match_with_number(rw, value, BINARY_POW, &sum, &half) && match_near(half, 0.5));
    return root && match_with_number(rw, sum, BINARY_ADD, moment, epsilon) && *epsilon >= 0;
}

/* 1/√(moment + ε) */
static bool reciprocal(const struct rewrite *rw, graph_value_id value, graph_value_id *moment,
                       double *epsilon) {
    graph_value_id a = 0, b = 0;
    double number = 0;
    if (match_unary(rw, value, UNARY_RECIPROCAL, &a)) {
        return deviation(rw, a, moment, epsilon);
    }
    if (match_binary(rw, value, BINARY_DIV, &a, &b) && match_is(rw, a, 1)) {
        return deviation(rw, b, moment, epsilon);
    }
    return match_with_number(rw, value, BINARY_POW, &a, &number) && match_near(number, -0.5) &&
           match_with_number(rw, a, BINARY_ADD, moment, epsilon) && *epsilon >= 0;
}

/* value = numerator/√(moment + ε) */
static bool normalised(const struct rewrite *rw, graph_value_id value, graph_value_id *numerator,
                       graph_value_id *moment, double *epsilon) {
    graph_value_id a = 0, b = 0;
    if (match_binary(rw, value, BINARY_DIV, &a, &b) && deviation(rw, b, moment, epsilon)) {
        *numerator = a;
        return true;
    }
    if (match_binary(rw, value, BINARY_MUL, &a, &b)) {
        *numerator = a;
        if (reciprocal(rw, b, moment, epsilon)) {
            return true;
        }
        *numerator = b;
        return reciprocal(rw, a, moment, epsilon);
    }
    return false;
}

/* x − mean(x) */
static bool centred(const struct rewrite *rw, graph_value_id value, graph_value_id *x) {
    graph_value_id a = 0, b = 0, of = 0;
    if (!match_binary(rw, value, BINARY_SUB, &a, &b) || !mean_of(rw, b, &of) || of != a) {
        return false;
    }
    *x = a;
    return true;
}

static shoal_status layer_norm(struct rewrite *rw, graph_node_id id, graph_value_id x,
                               float epsilon, graph_param_id gain, graph_param_id shift,
                               struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    struct graph *graph = rewrite_graph(rw);
    const struct shape *shape = &rewrite_type(rw, x)->shape;
    const int64_t length = shape->dims[shape->rank - 1];
    graph_param_id params[] = {gain, shift};
    graph_value_id y = GRAPH_NONE;
    for (int i = 0; i < 2; i++) {
        if (params[i] == GRAPH_NONE) {
            TRY(derive_filled(graph, i == 0 ? "ones" : "zeros", length, i == 0 ? 1 : 0, &params[i],
                              error));
        } else {
            TRY(derive_reshaped(graph, graph_param_get(graph, params[i])->name, params[i],
                                &SHAPE(length), &params[i], error));
        }
    }
    const struct op_attrs attrs = {.epsilon = epsilon};
    TRY(rewrite_add(rw, id, NULL, OP_LAYER_NORM, &attrs, &x, 1, params, 2, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

static shoal_status rms_norm(struct rewrite *rw, graph_node_id id, graph_value_id x, float epsilon,
                             graph_param_id gain, struct shoal_error *error) {
    const graph_value_id old = rewrite_node(rw, id)->outputs[0];
    struct graph *graph = rewrite_graph(rw);
    const struct shape *shape = &rewrite_type(rw, x)->shape;
    const int64_t length = shape->dims[shape->rank - 1];
    const struct op_attrs attrs = {.epsilon = epsilon, .axis = shape->rank - 1};
    graph_value_id inputs[] = {x, GRAPH_NONE}, y = GRAPH_NONE;
    if (gain == GRAPH_NONE) {
        TRY(derive_filled(graph, "ones", length, 1, &gain, error));
    } else {
        TRY(derive_reshaped(graph, graph_param_get(graph, gain)->name, gain, &SHAPE(length), &gain,
                            error));
    }
    TRY(rewrite_param_value(rw, gain, &inputs[1], error));
    TRY(rewrite_add(rw, id, NULL, OP_RMS_NORM, &attrs, inputs, 2, NULL, 0, &y, error));
    return rewrite_replace(rw, old, y, error);
}

static bool plain(const struct rewrite *rw, graph_value_id x, int64_t *length) {
    const struct tensor_type *type = rewrite_type(rw, x);
    if (type->dtype != DTYPE_F32 || type->shape.rank < 1) {
        return false;
    }
    *length = type->shape.dims[type->shape.rank - 1];
    return *length > 0;
}

/* The division itself. */
static shoal_status bare_norm(struct rewrite *rw, graph_node_id id, bool *done,
                              struct shoal_error *error) {
    const graph_value_id y = rewrite_node(rw, id)->outputs[0];
    graph_value_id numerator = 0, moment = 0, square = 0, base = 0, x = 0, again = 0;
    double epsilon = 0;
    int64_t length = 0;
    if (!normalised(rw, y, &numerator, &moment, &epsilon) || !mean_of(rw, moment, &square) ||
        !square_of(rw, square, &base) || !match_same_type(rw, numerator, y) ||
        !plain(rw, numerator, &length)) {
        return SHOAL_OK;
    }
    if (centred(rw, numerator, &x) && centred(rw, base, &again) && again == x) {
        *done = true;
        return layer_norm(rw, id, x, (float)epsilon, GRAPH_NONE, GRAPH_NONE, error);
    }
    if (base == numerator) {
        *done = true;
        return rms_norm(rw, id, base, (float)epsilon, GRAPH_NONE, error);
    }
    return SHOAL_OK;
}

static bool all(const struct rewrite *rw, graph_param_id id, double number) {
    const struct graph_param *param = graph_param_get(rewrite_graph(rw), id);
    int64_t count = 0;
    if (param->data == NULL || !shape_count(&param->type.shape, &count)) {
        return false;
    }
    for (int64_t i = 0; i < count; i++) {
        if (fabs((double)((const float *)param->data)[i] - number) > 0) {
            return false;
        }
    }
    return true;
}

/* Gain or shift behind a norm that has none yet. */
static shoal_status affine(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const bool gain = node->attrs.mode == BINARY_MUL;
    for (int i = 0; i < 2; i++) {
        const graph_value_id value = rewrite_input(rw, node, i);
        const struct graph_node *norm = rewrite_maker(rw, value);
        const int rank = rewrite_type(rw, value)->shape.rank;
        graph_param_id row = GRAPH_NONE;
        int64_t length = 0;
        if (norm == NULL || (norm->op != OP_LAYER_NORM && norm->op != OP_RMS_NORM) ||
            !match_inner(rw, value) || !match_same_type(rw, value, node->outputs[0]) ||
            !plain(rw, value, &length) ||
            !match_row(rw, rewrite_input(rw, node, 1 - i), rank, length, &row)) {
            continue;
        }
        const graph_value_id x = rewrite_input(rw, norm, 0);
        const float epsilon = norm->attrs.epsilon;
        if (norm->op == OP_RMS_NORM) {
            const graph_param_id old = rewrite_param(rw, rewrite_input(rw, norm, 1));
            return gain && norm->attrs.axis == rank - 1 && old != GRAPH_NONE && all(rw, old, 1)
                       ? rms_norm(rw, id, x, epsilon, row, error)
                       : SHOAL_OK;
        }
        if (gain && all(rw, norm->params[0], 1) && all(rw, norm->params[1], 0)) {
            return layer_norm(rw, id, x, epsilon, row, norm->params[1], error);
        }
        if (!gain && all(rw, norm->params[1], 0)) {
            return layer_norm(rw, id, x, epsilon, norm->params[0], row, error);
        }
    }
    return SHOAL_OK;
}

/* The standard's LayerNormalization over the last axis, nobody reading mean and deviation. */
static shoal_status norm_axes(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const graph_value_id x = rewrite_input(rw, &node, 0);
    const int rank = rewrite_type(rw, x)->shape.rank;
    graph_param_id rows[2] = {GRAPH_NONE, GRAPH_NONE};
    int64_t length = 0;
    if (!plain(rw, x, &length) || node.attrs.axis != rank - 1) {
        return SHOAL_OK;
    }
    for (int i = 1; i < node.output_count; i++) {
        if (rewrite_readers(rw, node.outputs[i]) > 0) {
            return SHOAL_OK;
        }
    }
    for (int i = 1; i < node.input_count; i++) {
        if (!match_row(rw, rewrite_input(rw, &node, i), rank, length, &rows[i - 1])) {
            return SHOAL_OK;
        }
    }
    return layer_norm(rw, id, x, node.attrs.epsilon, rows[0], rows[1], error);
}

shoal_status pass_norms(struct rewrite *rw, const struct pass_options *options,
                        struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        bool done = false;
        if (node == NULL) {
            continue;
        }
        if (node->op == OP_NORM_AXES) {
            TRY(norm_axes(rw, id, error));
        } else if (node->op == OP_BINARY) {
            const bool may = node->attrs.mode == BINARY_MUL || node->attrs.mode == BINARY_ADD;
            TRY(bare_norm(rw, id, &done, error));
            if (!done && may) {
                TRY(affine(rw, id, error));
            }
        }
    }
    return SHOAL_OK;
}
