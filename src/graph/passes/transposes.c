/*
 * TRANSPOSE moves behind what reads it, until it meets its inverse: y = f(transpose(x)) becomes
 * transpose(f'(x)). Convolutions of models with channels first come as transpose, CONV2D,
 * transpose; what lies between two of them takes any layout, so only the model's borders keep
 * transposes.
 */
#include "graph/passes/axes.h"
#include "graph/passes/derive.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

#include <string.h>

/* A node that reads a transposed value. */
struct sink {
    struct rewrite *rw;
    graph_node_id id;
    struct graph_node node;
    int64_t order[SHAPE_MAX_RANK]; /* of the TRANSPOSE above it */
    int rank;
    graph_value_id inputs[OP_MAX_INPUTS]; /* of f' */
    struct op_attrs attrs;                /* of f' */
    int64_t after[SHAPE_MAX_RANK];        /* the order of the TRANSPOSE behind f' */
    struct shoal_error *error;
};

/* The TRANSPOSE above an input, in that order (NULL: any). */
static const struct graph_node *transposed(const struct rewrite *rw, graph_value_id value,
                                           const int64_t *order) {
    const struct graph_node *node = match_op(rw, value, OP_TRANSPOSE);
    if (node == NULL || order == NULL) {
        return node;
    }
    return axes_equal(node->attrs.ints, order, rewrite_type(rw, value)->shape.rank) ? node : NULL;
}

/* ---- operands beside the transposed one ---- */

static bool all_ones(const struct shape *shape) {
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] != 1) {
            return false;
        }
    }
    return true;
}

/* With axes of 1 in front. */
static struct shape padded(const struct shape *shape, int rank) {
    struct shape full = {.rank = rank};
    for (int i = 0; i < rank; i++) {
        const int from = i - (rank - shape->rank);
        full.dims[i] = from < 0 ? 1 : shape->dims[from];
    }
    return full;
}

/* Whether `value`, read beside a value in s->order, may be had in the order before it. */
static bool adapts(const struct sink *s, graph_value_id value) {
    const struct shape *shape = &rewrite_type(s->rw, value)->shape;
    int64_t back[SHAPE_MAX_RANK];
    if (shape->rank > s->rank) {
        return false;
    }
    if (all_ones(shape) || (shape->rank == s->rank && transposed(s->rw, value, s->order) != NULL)) {
        return true;
    }
    const graph_param_id param = rewrite_param(s->rw, value);
    if (param != GRAPH_NONE) {
        return derive_can(rewrite_graph(s->rw), param);
    }
    axes_inverse(s->order, s->rank, back);
    const struct shape full = padded(shape, s->rank);
    return axes_keep_order(&full, back) && axes_can_reshape(&full);
}

static shoal_status adapt_constant(struct sink *s, graph_value_id value, const struct shape *full,
                                   const int64_t *back, graph_value_id *out) {
    struct graph *graph = rewrite_graph(s->rw);
    graph_param_id param = rewrite_param(s->rw, value);
    graph_value_id constant = GRAPH_NONE;
    const struct shape to = axes_permute(full, back);
    if (axes_keep_order(full, back)) {
        TRY(derive_reshaped(graph, graph_param_get(graph, param)->name, param, &to, &param,
                            s->error));
        return rewrite_param_value(s->rw, param, out, s->error);
    }
    const char *name = graph_param_get(graph, param)->name;
    TRY(derive_value(graph, param, &constant, s->error));
    TRY(derive_reshape(graph, name, constant, full, &constant, s->error));
    TRY(derive_transpose(graph, name, constant, back, &constant, s->error));
    TRY(derive_param(graph, constant, &param, s->error));
    return rewrite_param_value(s->rw, param, out, s->error);
}

static shoal_status adapt(struct sink *s, graph_value_id value, graph_value_id *out) {
    const struct shape shape = rewrite_type(s->rw, value)->shape;
    int64_t back[SHAPE_MAX_RANK];
    const struct graph_node *above =
        shape.rank == s->rank ? transposed(s->rw, value, s->order) : NULL;
    if (above != NULL) {
        *out = rewrite_input(s->rw, above, 0);
        return SHOAL_OK;
    }
    if (all_ones(&shape) && s->node.op != OP_CONCAT) {
        *out = value;
        return SHOAL_OK;
    }
    axes_inverse(s->order, s->rank, back);
    const struct shape full = padded(&shape, s->rank);
    if (rewrite_param(s->rw, value) != GRAPH_NONE) {
        return adapt_constant(s, value, &full, back, out);
    }
    const struct shape to = axes_permute(&full, back);
    return axes_reshape(s->rw, s->id, ".moved", value, &to, out, s->error);
}

/* ---- what f' is ---- */

/* Lists of numbers per axis: those of axis i are now those of axis order[i]. */
static void move_ints(struct sink *s, int first) {
    for (int i = 0; i < s->rank; i++) {
        s->attrs.ints[first + s->order[i]] = s->node.attrs.ints[first + i];
    }
}

static void move_floats(struct sink *s, int first) {
    for (int i = 0; i < s->rank; i++) {
        s->attrs.floats[first + s->order[i]] = s->node.attrs.floats[first + i];
    }
}

static bool move_axis(struct sink *s) {
    if (s->node.attrs.axis < 0 || s->node.attrs.axis >= s->rank) {
        return false;
    }
    s->attrs.axis = (int32_t)s->order[s->node.attrs.axis];
    return true;
}

/* Only from channels first to channels last: never the other way around. */
static bool move_channels(struct sink *s) {
    if (s->node.attrs.axis != 1 || s->order[1] != s->rank - 1 || s->order[0] != 0) {
        return false;
    }
    for (int i = 2; i < s->rank; i++) {
        if (s->order[i] != i - 1) {
            return false;
        }
    }
    s->attrs.axis = s->rank - 1;
    return true;
}

/* The axes that are left keep their order among themselves. */
static bool move_reduce(struct sink *s) {
    int64_t bits = 0;
    for (int i = 0; i < s->rank; i++) {
        if ((s->node.attrs.ints[0] >> i & 1) != 0) {
            bits |= INT64_C(1) << s->order[i];
        }
    }
    s->attrs.ints[0] = bits;
    if (s->node.attrs.ints[1] == 1) {
        return true;
    }
    int left = 0;
    for (int i = 0; i < s->rank; i++) {
        if ((s->node.attrs.ints[0] >> i & 1) == 0) {
            int64_t place = s->order[i];
            for (int axis = 0; axis < s->order[i]; axis++) {
                place -= bits >> axis & 1;
            }
            s->after[left++] = place;
        }
    }
    return true;
}

static bool move_expand(struct sink *s) {
    const struct shape *x = &rewrite_type(s->rw, rewrite_input(s->rw, &s->node, 0))->shape;
    if (s->node.attrs.axis != s->rank || x->rank != s->rank) {
        return false;
    }
    move_ints(s, 0);
    return true;
}

/* One block of a reshape: where its elements begin in x, and its axes in the result. */
struct block {
    int64_t key;
    int first, end;
};

/* The block's axes lie side by side in x too: between two of them only axes of 1. */
static bool contiguous(const struct sink *s, const struct shape *x, const struct shape *t,
                       int first, int end, int64_t *key) {
    int64_t last = -1;
    for (int i = first; i < end; i++) {
        if (t->dims[i] == 1) {
            continue;
        }
        if (last < 0) {
            *key = s->order[i];
        }
        for (int64_t axis = last + 1; last >= 0 && axis < s->order[i]; axis++) {
            if (x->dims[axis] != 1) {
                return false;
            }
        }
        if (s->order[i] < last) {
            return false;
        }
        last = s->order[i];
    }
    return true;
}

static bool move_reshape(struct sink *s) {
    const graph_value_id above = rewrite_input(s->rw, &s->node, 0);
    const struct shape *t = &rewrite_type(s->rw, above)->shape;
    const struct shape *x = &rewrite_type(s->rw, s->inputs[0])->shape;
    const struct shape *y = &rewrite_type(s->rw, s->node.outputs[0])->shape;
    int from_end[SHAPE_MAX_RANK], to_end[SHAPE_MAX_RANK];
    struct block blocks[SHAPE_MAX_RANK];
    const int count = axes_blocks(t, y, from_end, to_end);
    if (count == 0 || !axes_can_reshape(y)) {
        return false;
    }
    for (int k = 0; k < count; k++) {
        struct block block = {k > 0 ? blocks[k - 1].key : -1, k > 0 ? to_end[k - 1] : 0, to_end[k]};
        if (!contiguous(s, x, t, k > 0 ? from_end[k - 1] : 0, from_end[k], &block.key)) {
            return false;
        }
        blocks[k] = block;
    }
    for (int k = 1; k < count; k++) { /* by where they begin in x; equal keys stay in order */
        for (int j = k; j > 0 && blocks[j].key < blocks[j - 1].key; j--) {
            const struct block swap = blocks[j];
            blocks[j] = blocks[j - 1];
            blocks[j - 1] = swap;
        }
    }
    int axis = 0;
    for (int k = 0; k < count; k++) {
        for (int i = blocks[k].first; i < blocks[k].end; i++) {
            s->attrs.ints[axis] = y->dims[i];
            s->after[i] = axis++;
        }
    }
    s->attrs.axis = y->rank;
    return true;
}

/* Attributes of f' and the order behind it, which is s->order unless said. */
static bool moves(struct sink *s) {
    s->attrs = s->node.attrs;
    memcpy(s->after, s->order, sizeof s->after);
    switch ((int)s->node.op) {
    case OP_UNARY:
    case OP_CAST:
    case OP_BINARY:
    case OP_WHERE:
        return true;
    case OP_CONCAT:
    case OP_SOFTMAX:
        return move_axis(s);
    case OP_SLICE:
        move_ints(s, 0);
        move_ints(s, SLICE_STEP);
        move_ints(s, SLICE_LENGTH);
        return true;
    case OP_PAD:
        move_ints(s, 0);
        move_ints(s, PAD_END);
        return true;
    case OP_EXPAND:
        return move_expand(s);
    case OP_REDUCE:
        return move_reduce(s);
    case OP_RESHAPE:
        return move_reshape(s);
    case OP_RESIZE:
        move_ints(s, 0);
        move_floats(s, 0);
        move_floats(s, RESIZE_ROI_BEGIN);
        move_floats(s, RESIZE_ROI_END);
        return true;
    case OP_POOL:
    case OP_BATCH_NORM:
    case OP_GROUP_NORM:
    case OP_LRN:
    case OP_CONV:
    case OP_CONV_TRANSPOSE:
        return move_channels(s);
    default:
        return false;
    }
}

/* How many inputs are adapted: the others are vectors and filters. */
static int data_inputs(const struct graph_node *node) {
    switch ((int)node->op) {
    case OP_BINARY:
    case OP_WHERE:
    case OP_CONCAT:
        return node->input_count;
    default:
        return 1;
    }
}

/* The first data input that is transposed, of the result's rank where shapes are broadcast. */
static bool find_order(struct sink *s) {
    const bool same_rank = s->node.op == OP_BINARY || s->node.op == OP_WHERE;
    const int rank = rewrite_type(s->rw, s->node.outputs[0])->shape.rank;
    for (int i = 0; i < data_inputs(&s->node); i++) {
        const graph_value_id value = rewrite_input(s->rw, &s->node, i);
        const struct graph_node *above = transposed(s->rw, value, NULL);
        if (above != NULL && (!same_rank || rewrite_type(s->rw, value)->shape.rank == rank)) {
            s->rank = rewrite_type(s->rw, value)->shape.rank;
            memcpy(s->order, above->attrs.ints, sizeof s->order);
            return true;
        }
    }
    return false;
}

static shoal_status move(struct sink *s) {
    graph_value_id y[OP_MAX_OUTPUTS], behind = GRAPH_NONE;
    for (int i = 0; i < data_inputs(&s->node); i++) {
        TRY(adapt(s, rewrite_input(s->rw, &s->node, i), &s->inputs[i]));
    }
    const shoal_status status =
        rewrite_add(s->rw, s->id, NULL, s->node.op, &s->attrs, s->inputs, s->node.input_count,
                    s->node.params, s->node.param_count, y, s->error);
    if (status == SHOAL_UNSUPPORTED || status == SHOAL_MISMATCH) {
        return SHOAL_OK; /* the op cannot do it in this layout */
    }
    TRY(status);
    TRY(axes_transpose(s->rw, s->id, ".transposed", y[0], s->after, &behind, s->error));
    return rewrite_replace(s->rw, s->node.outputs[0], behind, s->error);
}

static shoal_status sink(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    struct sink s = {.rw = rw, .id = id, .node = *rewrite_node(rw, id), .error = error};
    if (s.node.output_count != 1 || !find_order(&s)) {
        return SHOAL_OK;
    }
    for (int i = 0; i < s.node.input_count; i++) {
        s.inputs[i] = rewrite_input(rw, &s.node, i);
        if (i < data_inputs(&s.node) && !adapts(&s, s.inputs[i])) {
            return SHOAL_OK;
        }
    }
    if (s.node.op == OP_RESHAPE) {
        s.inputs[0] = rewrite_input(rw, transposed(rw, s.inputs[0], NULL), 0);
    }
    return moves(&s) ? move(&s) : SHOAL_OK;
}

/* transpose(transpose(x)) is one, or none. */
static shoal_status join(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    const struct graph_node *above = match_op(rw, rewrite_input(rw, node, 0), OP_TRANSPOSE);
    const graph_value_id y = node->outputs[0];
    if (above == NULL) {
        return SHOAL_OK;
    }
    const graph_value_id x = rewrite_input(rw, above, 0);
    int64_t order[SHAPE_MAX_RANK];
    graph_value_id out = GRAPH_NONE;
    axes_compose(above->attrs.ints, node->attrs.ints, rewrite_type(rw, x)->shape.rank, order);
    const struct shape shape = rewrite_type(rw, x)->shape;
    if (axes_equal(order, (const int64_t[]){0, 1, 2, 3, 4, 5, 6, 7}, shape.rank)) {
        return rewrite_may_replace(rw, y, x) ? rewrite_replace(rw, y, x, error) : SHOAL_OK;
    }
    TRY(axes_transpose(rw, id, NULL, x, order, &out, error));
    return rewrite_replace(rw, y, out, error);
}

/*
 * linear(reshape(transpose(x))): where the reshape flattens all but the first axis, the weight's
 * columns are put into x's order instead.
 */
static shoal_status permute_columns(struct rewrite *rw, graph_node_id id,
                                    struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const struct graph_node *reshape = match_op(rw, rewrite_input(rw, &node, 0), OP_RESHAPE);
    const struct graph_node *above =
        reshape != NULL ? match_op(rw, rewrite_input(rw, reshape, 0), OP_TRANSPOSE) : NULL;
    if (above == NULL || above->attrs.ints[0] != 0 ||
        !derive_can(rewrite_graph(rw), node.params[0])) {
        return SHOAL_OK;
    }
    const struct shape flat = rewrite_type(rw, reshape->outputs[0])->shape;
    const struct shape t = rewrite_type(rw, above->outputs[0])->shape;
    if (flat.rank != 2 || t.rank < 3 || t.rank > SHAPE_MAX_RANK || flat.dims[0] != t.dims[0]) {
        return SHOAL_OK;
    }
    struct graph *graph = rewrite_graph(rw);
    const struct shape matrix = graph_param_get(graph, node.params[0])->type.shape;
    struct shape blocks = t; /* [N, t's axes but the first] */
    int64_t back[SHAPE_MAX_RANK];
    graph_value_id x = rewrite_input(rw, above, 0), y = GRAPH_NONE, weight = GRAPH_NONE;
    graph_param_id params[OP_MAX_PARAMS] = {0};
    memcpy(params, node.params, sizeof params);
    blocks.dims[0] = matrix.dims[0];
    axes_inverse(above->attrs.ints, t.rank, back);
    TRY(derive_value(graph, node.params[0], &weight, error));
    TRY(derive_reshape(graph, node.name, weight, &blocks, &weight, error));
    TRY(derive_transpose(graph, node.name, weight, back, &weight, error));
    TRY(derive_reshape(graph, node.name, weight, &matrix, &weight, error));
    TRY(derive_param(graph, weight, &params[0], error));
    TRY(axes_reshape(rw, id, ".flat", x, &flat, &x, error));
    graph_value_id inputs[OP_MAX_INPUTS] = {x};
    if (node.input_count > 1) {
        inputs[1] = rewrite_input(rw, &node, 1);
    }
    TRY(rewrite_add(rw, id, NULL, OP_LINEAR, &node.attrs, inputs, node.input_count, params,
                    node.param_count, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

shoal_status pass_transposes(struct rewrite *rw, const struct pass_options *options,
                             struct shoal_error *error) {
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node == NULL) {
            continue;
        }
        if (node->op == OP_TRANSPOSE) {
            TRY(join(rw, id, error));
        } else if (node->op == OP_LINEAR) {
            TRY(permute_columns(rw, id, error));
        } else {
            TRY(sink(rw, id, error));
        }
    }
    return SHOAL_OK;
}
