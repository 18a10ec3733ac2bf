#include "graph/passes/match.h"

#include <math.h>

const struct graph_node *match_op(const struct rewrite *rw, graph_value_id value, enum op op) {
    const struct graph_node *node = rewrite_maker(rw, value);
    return node != NULL && node->op == op && node->outputs[0] == rewrite_value(rw, value) ? node
                                                                                          : NULL;
}

bool match_unary(const struct rewrite *rw, graph_value_id value, enum unary_function function,
                 graph_value_id *x) {
    const struct graph_node *node = match_op(rw, value, OP_UNARY);
    if (node == NULL || node->attrs.mode != (int32_t)function) {
        return false;
    }
    *x = rewrite_input(rw, node, 0);
    return true;
}

bool match_binary(const struct rewrite *rw, graph_value_id value, enum binary_function function,
                  graph_value_id *a, graph_value_id *b) {
    const struct graph_node *node = match_op(rw, value, OP_BINARY);
    if (node == NULL || node->attrs.mode != (int32_t)function) {
        return false;
    }
    *a = rewrite_input(rw, node, 0);
    *b = rewrite_input(rw, node, 1);
    return true;
}

bool match_inner(const struct rewrite *rw, graph_value_id value) {
    return rewrite_readers(rw, value) == 1 && !rewrite_is_output(rw, value);
}

bool match_number(const struct rewrite *rw, graph_value_id value, double *out) {
    const graph_param_id id = rewrite_param(rw, value);
    if (id == GRAPH_NONE) {
        return false;
    }
    const struct graph_param *param = graph_param_get(rewrite_graph(rw), id);
    int64_t count = 0;
    if (param->data == NULL || param->type.dtype != DTYPE_F32 ||
        !shape_count(&param->type.shape, &count) || count == 0) {
        return false;
    }
    const float *numbers = param->data;
    for (int64_t i = 1; i < count; i++) {
        if (!(numbers[i] >= numbers[0] && numbers[i] <= numbers[0])) {
            return false;
        }
    }
    *out = (double)numbers[0];
    return true;
}

bool match_near(double a, double b) {
    return fabs(a - b) <= 1e-5 * fabs(b);
}

bool match_is(const struct rewrite *rw, graph_value_id value, double number) {
    double found = 0;
    return match_number(rw, value, &found) && match_near(found, number);
}

/* What is computed from a number must have its other operand's shape. */
static bool keeps_type(const struct rewrite *rw, graph_value_id value, graph_value_id x) {
    return match_same_type(rw, value, x);
}

static bool one_is_number(const struct rewrite *rw, graph_value_id value, graph_value_id a,
                          graph_value_id b, graph_value_id *x, double *number) {
    if (match_number(rw, b, number) && keeps_type(rw, value, a)) {
        *x = a;
        return true;
    }
    return false;
}

bool match_with_number(const struct rewrite *rw, graph_value_id value,
                       enum binary_function function, graph_value_id *x, double *number) {
    graph_value_id a = 0, b = 0;
    double found = 0;
    if (match_binary(rw, value, function, &a, &b)) {
        const bool either = function == BINARY_ADD || function == BINARY_MUL;
        return one_is_number(rw, value, a, b, x, number) ||
               (either && one_is_number(rw, value, b, a, x, number));
    }
    if (function == BINARY_MUL && match_binary(rw, value, BINARY_DIV, &a, &b) &&
        one_is_number(rw, value, a, b, x, &found) && fabs(found) > 0) {
        *number = 1 / found;
        return true;
    }
    return false;
}

bool match_other(graph_value_id a, graph_value_id b, graph_value_id known, graph_value_id *other) {
    if (a != known && b != known) {
        return false;
    }
    *other = a == known ? b : a;
    return true;
}

bool match_same_type(const struct rewrite *rw, graph_value_id a, graph_value_id b) {
    const struct tensor_type *of_a = rewrite_type(rw, a), *of_b = rewrite_type(rw, b);
    return of_a->dtype == of_b->dtype && shape_equal(&of_a->shape, &of_b->shape);
}

bool match_row(const struct rewrite *rw, graph_value_id value, int rank, int64_t length,
               graph_param_id *out) {
    const graph_param_id param = rewrite_param(rw, value);
    const struct tensor_type *type = rewrite_type(rw, value);
    const struct shape *shape = &type->shape;
    if (param == GRAPH_NONE || type->dtype != DTYPE_F32 || shape->rank < 1 || shape->rank > rank ||
        shape->dims[shape->rank - 1] != length) {
        return false;
    }
    for (int i = 0; i < shape->rank - 1; i++) {
        if (shape->dims[i] != 1) {
            return false;
        }
    }
    *out = param;
    return true;
}
