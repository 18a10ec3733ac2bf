#include "models/cnn_parts.h"

#include "graph/derived.h"

/* Steps in the graph of what is computed from weights alone. */
static graph_value_id stored(struct builder *b, struct graph *constants, const char *norm,
                             const char *suffix, struct shape shape, enum graph_fill fill) {
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%s.%s", norm, suffix);
    const struct graph_part part = {name, shape};
    const struct tensor_type type = {DTYPE_F32, shape};
    graph_param_id param = 0;
    graph_value_id value = 0;
    if (b->status == SHOAL_OK) {
        b->status = graph_add_param(constants, name, type, fill, &part, 1, &param, b->error);
    }
    if (b->status == SHOAL_OK) {
        b->status = graph_add_param_value(constants, param, &value, b->error);
    }
    return value;
}

static graph_value_id compute(struct builder *b, struct graph *constants, const char *name,
                              const char *suffix, enum op op, const struct op_attrs *attrs,
                              const graph_value_id *inputs, int count) {
    char full[BUILDER_NAME_TEXT];
    graph_value_id out = 0;
    builder_name(full, "%s.%s", name, suffix);
    if (b->status == SHOAL_OK) {
        b->status = graph_add_node(constants, full, op, attrs, GRAPH_F, inputs, count, NULL, 0,
                                   &out, b->error);
    }
    return out;
}

static graph_value_id combine(struct builder *b, struct graph *constants, const char *name,
                              const char *suffix, enum binary_function function, graph_value_id x,
                              graph_value_id y) {
    const struct op_attrs attrs = {.mode = (int32_t)function};
    const graph_value_id inputs[] = {x, y};
    return compute(b, constants, name, suffix, OP_BINARY, &attrs, inputs, 2);
}

/* deviation [C] = √(variance + epsilon) */
static graph_value_id deviation(struct builder *b, struct graph *constants, const char *norm,
                                struct shape channels) {
    char name[BUILDER_NAME_TEXT];
    builder_name(name, "%s.epsilon", norm);
    const struct tensor_type scalar = {DTYPE_F32, SHAPE(1)};
    graph_param_id param = 0;
    graph_value_id epsilon = 0;
    if (b->status == SHOAL_OK) {
        b->status = graph_add_constant(constants, name, scalar, &b->config->layer_norm_eps, &param,
                                       b->error);
    }
    if (b->status == SHOAL_OK) {
        b->status = graph_add_param_value(constants, param, &epsilon, b->error);
    }
    const graph_value_id variance =
        stored(b, constants, norm, "running_var", channels, GRAPH_FILL_ONES);
    const graph_value_id sum =
        combine(b, constants, norm, "variance", BINARY_ADD, variance, epsilon);
    const struct op_attrs root = {.mode = UNARY_SQRT};
    return compute(b, constants, norm, "deviation", OP_UNARY, &root, &sum, 1);
}

/*
 * A batch norm behind filters w [O,C/groups,KH,KW] without bias:
 * w·gamma/deviation and beta − mean·gamma/deviation.
 */
static void fold(struct builder *b, const char *name, const char *norm, struct shape filters,
                 graph_param_id params[2]) {
    struct graph *constants = graph_constants(b->graph);
    const struct shape channels = SHAPE(filters.dims[0]);
    if (constants == NULL) {
        b->status = error_set(b->error, SHOAL_NO_MEMORY, "%s: no memory", name);
        return;
    }
    const graph_value_id gamma = stored(b, constants, norm, "weight", channels, GRAPH_FILL_ONES);
    const graph_value_id beta = stored(b, constants, norm, "bias", channels, GRAPH_FILL_ZEROS);
    const graph_value_id mean =
        stored(b, constants, norm, "running_mean", channels, GRAPH_FILL_ZEROS);
    const graph_value_id w = stored(b, constants, name, "weight", filters, GRAPH_FILL_NORMAL);
    const graph_value_id factor = combine(b, constants, norm, "factor", BINARY_DIV, gamma,
                                          deviation(b, constants, norm, channels));
    const struct op_attrs column = {.axis = 4, .ints = {filters.dims[0], 1, 1, 1}};
    const graph_value_id broad =
        compute(b, constants, norm, "column", OP_RESHAPE, &column, &factor, 1);
    const graph_value_id scaled = combine(b, constants, name, "scaled", BINARY_MUL, w, broad);
    const graph_value_id moved = combine(b, constants, norm, "moved", BINARY_MUL, mean, factor);
    const graph_value_id shift = combine(b, constants, name, "shift", BINARY_SUB, beta, moved);
    if (b->status == SHOAL_OK) {
        b->status = graph_add_derived(b->graph, scaled, &params[0], b->error);
    }
    if (b->status == SHOAL_OK) {
        b->status = graph_add_derived(b->graph, shift, &params[1], b->error);
    }
}

static int64_t windows(int64_t side, int64_t kernel, int64_t stride, int64_t pad) {
    return (side + 2 * pad - kernel) / stride + 1;
}

struct plane cnn_convolve(struct builder *b, const char *name, struct plane x,
                          const struct convolution *c) {
    const struct shape filters = SHAPE(c->channels, x.channels / c->groups, c->kernel, c->kernel);
    graph_param_id params[2] = {0, 0};
    if (c->norm != NULL) {
        fold(b, name, c->norm, filters, params);
    } else {
        params[0] = builder_add_whole(b, name, "weight", filters, GRAPH_FILL_NORMAL);
        params[1] = builder_add_whole(b, name, "bias", SHAPE(c->channels), GRAPH_FILL_ZEROS);
    }
    const int32_t stride = (int32_t)c->stride, pad = (int32_t)c->pad;
    const struct op_attrs attrs = {.activation = c->activation,
                                   .stride = {stride, stride},
                                   .pad = {pad, pad, pad, pad},
                                   .dilation = {1, 1},
                                   .groups = (int32_t)c->groups};
    const graph_value_id inputs[] = {x.value, c->residual != NULL ? *c->residual : x.value};
    return (struct plane){builder_add_node(b, name, OP_CONV2D, &attrs, inputs,
                                           c->residual != NULL ? 2 : 1, params, 2),
                          windows(x.side, c->kernel, c->stride, c->pad), c->channels};
}

static graph_value_id pool(struct builder *b, const char *name, struct plane x,
                           enum pool_function function, int64_t size, int64_t stride, int64_t pad,
                           bool ceil) {
    struct op_attrs attrs = {.mode = (int32_t)function, .axis = 3};
    for (int i = 0; i < 2; i++) {
        attrs.ints[WINDOW_KERNEL + i] = size;
        attrs.ints[WINDOW_STRIDE + i] = stride;
        attrs.ints[WINDOW_DILATION + i] = 1;
        attrs.ints[WINDOW_BEGIN + i] = attrs.ints[WINDOW_END + i] = pad;
    }
    attrs.ints[WINDOW_CEIL] = ceil ? 1 : 0;
    return builder_add_node(b, name, OP_POOL, &attrs, &x.value, 1, NULL, 0);
}

struct plane cnn_max_pool(struct builder *b, const char *name, struct plane x, int64_t size,
                          int64_t stride, int64_t pad, bool ceil) {
    const int64_t round = ceil ? stride - 1 : 0;
    return (struct plane){pool(b, name, x, POOL_MAX, size, stride, pad, ceil),
                          windows(x.side + round, size, stride, pad), x.channels};
}

struct plane cnn_average_pool(struct builder *b, const char *name, struct plane x, int64_t size) {
    return (struct plane){pool(b, name, x, POOL_AVERAGE, size, size, 0, false), x.side / size,
                          x.channels};
}

graph_value_id cnn_flatten(struct builder *b, const char *name, struct plane x) {
    const struct op_attrs attrs = {.axis = 2, .ints = {0, x.channels}};
    return builder_add_node(b, name, OP_RESHAPE, &attrs, &x.value, 1, NULL, 0);
}

struct plane cnn_dense(struct builder *b, const char *name, struct plane x, int64_t out,
                       enum activation activation) {
    char weight[BUILDER_NAME_TEXT];
    builder_name(weight, "%s.weight", name);
    /* The file's rows are [C,H,W], just as filters are stored. */
    const struct graph_part part = {weight, SHAPE(out, x.channels * x.side * x.side)};
    const graph_param_id params[] = {
        builder_add_param(b, weight, SHAPE(out, x.channels, x.side, x.side), GRAPH_FILL_NORMAL,
                          &part, 1),
        builder_add_whole(b, name, "bias", SHAPE(out), GRAPH_FILL_ZEROS)};
    const int32_t side = (int32_t)x.side;
    const struct op_attrs attrs = {
        .activation = activation, .stride = {side, side}, .dilation = {1, 1}, .groups = 1};
    return (struct plane){builder_add_node(b, name, OP_CONV2D, &attrs, &x.value, 1, params, 2), 1,
                          out};
}
