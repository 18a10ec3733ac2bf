/*
 * The attention pattern: softmax(q·kᵀ·scale + mask)·v on [B,H,T,D] (or [BH,T,D]) becomes SDPA on
 * [B,T,H,D] between transposes, which cancel against those that split the heads. Scales anywhere in
 * front of the softmax, masks added or chosen, a guard against rows without any key.
 */
#include "graph/passes/axes.h"
#include "graph/passes/masks.h"
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

#include <math.h>
#include <string.h>

#define MOST_MASKS 3

/* What was chosen from instead of added: where(condition, scores, fill), or the reverse. */
struct mask {
    graph_value_id added; /* GRAPH_NONE: the three below */
    graph_value_id condition, fill;
    bool reversed;
};

struct pattern {
    const struct rewrite *rw;
    graph_value_id q, k, v; /* k as the product reads it */
    bool k_is_transposed;   /* [..,D,T] */
    int rank;
    double scale, softcap;
    struct mask masks[MOST_MASKS];
    int mask_count;
};

/* ---- matching, from the softmax up ---- */

static bool scores(struct pattern *p, graph_value_id value);

/* q·kᵀ, each perhaps scaled. */
static bool product(struct pattern *p, const struct graph_node *node) {
    double number = 1;
    graph_value_id inner = GRAPH_NONE;
    if (node->attrs.transpose_a) {
        return false;
    }
    p->q = rewrite_input(p->rw, node, 0);
    p->k = rewrite_input(p->rw, node, 1);
    p->k_is_transposed = !node->attrs.transpose_b;
    p->scale *= (double)node->attrs.scale;
    if (match_with_number(p->rw, p->q, BINARY_MUL, &inner, &number)) {
        p->q = inner;
        p->scale *= number;
    }
    if (match_with_number(p->rw, p->k, BINARY_MUL, &inner, &number)) {
        p->k = inner;
        p->scale *= number;
    }
    return true;
}

/* Scores with something added or chosen, while nothing but masks came before. */
static bool masked(struct pattern *p, graph_value_id value) {
    const struct pattern before = *p;
    graph_value_id sides[2] = {GRAPH_NONE, GRAPH_NONE};
    if (p->mask_count == MOST_MASKS || fabs(p->scale - 1) > 0 || p->softcap > 0) {
        return false; /* it would have to be scaled, too */
    }
    if (match_binary(p->rw, value, BINARY_ADD, &sides[0], &sides[1])) {
        for (int i = 0; i < 2; i++) {
            p->masks[p->mask_count++] = (struct mask){.added = sides[1 - i]};
            if (match_same_type(p->rw, sides[i], value) && scores(p, sides[i])) {
                return true;
            }
            *p = before;
        }
        return false;
    }
    const struct graph_node *where = match_op(p->rw, value, OP_WHERE);
    for (int i = 0; where != NULL && i < 2; i++) {
        const graph_value_id side = rewrite_input(p->rw, where, 1 + i);
        double number = 0;
        p->masks[p->mask_count++] = (struct mask){GRAPH_NONE, rewrite_input(p->rw, where, 0),
                                                  rewrite_input(p->rw, where, 2 - i), i == 1};
        if (match_number(p->rw, p->masks[p->mask_count - 1].fill, &number) && number <= -1e9 &&
            match_same_type(p->rw, side, value) && scores(p, side)) {
            return true;
        }
        *p = before;
    }
    return false;
}

/* What the softmax reads, or a part of it. */
static bool scores(struct pattern *p, graph_value_id value) {
    graph_value_id inner = GRAPH_NONE, capped = GRAPH_NONE;
    double number = 1;
    if (!match_inner(p->rw, value)) {
        return false;
    }
    const struct graph_node *node = match_op(p->rw, value, OP_PRODUCT);
    if (node != NULL) {
        return product(p, node);
    }
    if (match_with_number(p->rw, value, BINARY_MUL, &inner, &number)) {
        if (match_unary(p->rw, inner, UNARY_TANH, &capped) && match_inner(p->rw, inner) &&
            number > 0 && !(p->softcap > 0) && fabs(p->scale - 1) <= 0) {
            p->softcap = number;
            p->scale = number; /* times what is inside, which is divided by it */
            return scores(p, capped);
        }
        p->scale *= number;
        return scores(p, inner);
    }
    return masked(p, value);
}

/* where(is_nan(s), 0, s): rows without any key give 0, as SDPA's do. */
static graph_value_id without_guard(const struct rewrite *rw, graph_value_id value) {
    const struct graph_node *where = match_op(rw, value, OP_WHERE);
    graph_value_id tested = GRAPH_NONE;
    if (where == NULL || !match_unary(rw, rewrite_input(rw, where, 0), UNARY_IS_NAN, &tested) ||
        tested != rewrite_input(rw, where, 2) || !match_inner(rw, value) ||
        rewrite_readers(rw, tested) != 2 || rewrite_is_output(rw, tested)) {
        return GRAPH_NONE;
    }
    double zero = 1;
    return match_number(rw, rewrite_input(rw, where, 1), &zero) && fabs(zero) <= 0 ? tested
                                                                                   : GRAPH_NONE;
}

static bool match(struct pattern *p, const struct graph_node *node) {
    const graph_value_id weights = rewrite_input(p->rw, node, 0);
    const graph_value_id guarded = without_guard(p->rw, weights);
    const graph_value_id probabilities = guarded != GRAPH_NONE ? guarded : weights;
    const struct graph_node *softmax = match_op(p->rw, probabilities, OP_SOFTMAX);
    p->v = rewrite_input(p->rw, node, 1);
    p->rank = rewrite_type(p->rw, probabilities)->shape.rank;
    if (softmax == NULL || softmax->attrs.mode != SOFTMAX_EXP ||
        softmax->attrs.axis != p->rank - 1 || node->attrs.transpose_a || node->attrs.transpose_b ||
        fabs((double)node->attrs.scale - 1) > 0 ||
        (guarded == GRAPH_NONE && !match_inner(p->rw, probabilities))) {
        return false;
    }
    return (p->rank == 3 || p->rank == 4) && scores(p, rewrite_input(p->rw, softmax, 0));
}

/* Batch and heads are the same everywhere; f32. */
static bool fits(const struct pattern *p) {
    const struct tensor_type *q = rewrite_type(p->rw, p->q), *k = rewrite_type(p->rw, p->k);
    const struct tensor_type *v = rewrite_type(p->rw, p->v);
    if (q->dtype != DTYPE_F32 || q->shape.rank != p->rank || k->shape.rank != p->rank ||
        v->shape.rank != p->rank) {
        return false;
    }
    for (int i = 0; i < p->rank - 2; i++) {
        if (q->shape.dims[i] != k->shape.dims[i] || q->shape.dims[i] != v->shape.dims[i]) {
            return false;
        }
    }
    return true;
}

/* ---- building ---- */

/* [B,H,T,D] → [B,T,H,D]; [BH,T,D] → [BH,T,1,D] */
static shoal_status heads_inside(struct rewrite *rw, graph_node_id id, graph_value_id x,
                                 bool turned, const char *suffix, graph_value_id *out,
                                 struct shoal_error *error) {
    static const int64_t plain[] = {0, 2, 1, 3}, of_turned[] = {0, 3, 1, 2}, last_two[] = {0, 2, 1};
    if (rewrite_type(rw, x)->shape.rank == 4) {
        return axes_transpose(rw, id, suffix, x, turned ? of_turned : plain, out, error);
    }
    if (turned) {
        TRY(axes_transpose(rw, id, suffix, x, last_two, &x, error));
    }
    const int64_t *d = rewrite_type(rw, x)->shape.dims;
    const struct shape shape = SHAPE(d[0], d[1], 1, d[2]);
    return axes_reshape(rw, id, suffix, x, &shape, out, error);
}

/* A mask that was chosen as one that is added: where(condition, 0, fill). */
static shoal_status added_mask(struct rewrite *rw, graph_node_id id, const struct mask *mask,
                               graph_value_id *out, struct shoal_error *error) {
    struct graph *graph = rewrite_graph(rw);
    const float zero = 0;
    const struct shape scalar = {0};
    graph_param_id param = GRAPH_NONE;
    graph_value_id inputs[3] = {mask->condition, GRAPH_NONE, mask->fill};
    if (mask->added != GRAPH_NONE) {
        *out = mask->added;
        return SHOAL_OK;
    }
    TRY(graph_add_constant(graph, "zero", (struct tensor_type){DTYPE_F32, scalar}, &zero, &param,
                           error));
    TRY(rewrite_param_value(rw, param, &inputs[1], error));
    if (mask->reversed) {
        const graph_value_id swap = inputs[1];
        inputs[1] = inputs[2];
        inputs[2] = swap;
    }
    return rewrite_add(rw, id, ".mask", OP_WHERE, NULL, inputs, 3, NULL, 0, out, error);
}

/* All masks as one of 4 axes whose last one is as long as there are keys. */
static shoal_status join_masks(struct rewrite *rw, graph_node_id id, const struct pattern *p,
                               graph_value_id *out, struct shoal_error *error) {
    const struct op_attrs add = {.mode = BINARY_ADD};
    graph_value_id both[2];
    for (int i = 0; i < p->mask_count; i++) {
        TRY(added_mask(rw, id, &p->masks[i], &both[1], error));
        if (i > 0) {
            TRY(rewrite_add(rw, id, ".masks", OP_BINARY, &add, both, 2, NULL, 0, &both[1], error));
        }
        both[0] = both[1];
    }
    const struct shape shape = rewrite_type(rw, both[0])->shape;
    struct shape full = {.rank = 4, .dims = {1, 1, 1, 1}};
    for (int i = 0; i < shape.rank; i++) {
        int to = 4 - shape.rank + i;
        to -= p->rank == 3 && i == shape.rank - 3 ? 1 : 0; /* [BH,T,T] → [BH,1,T,T] */
        full.dims[to] = shape.dims[i];
    }
    return axes_reshape(rw, id, ".mask", both[0], &full, out, error);
}

static int64_t keys_of(const struct pattern *p) {
    const struct shape *k = &rewrite_type(p->rw, p->k)->shape;
    return k->dims[p->k_is_transposed ? p->rank - 1 : p->rank - 2];
}

/* Every mask has as many columns as there are keys: what chooses may be broadcast, what is the same
 * for all keys is none. */
static bool masks_fit(const struct pattern *p) {
    for (int i = 0; i < p->mask_count; i++) {
        const struct mask *mask = &p->masks[i];
        const graph_value_id of = mask->added != GRAPH_NONE ? mask->added : mask->condition;
        const struct shape *shape = &rewrite_type(p->rw, of)->shape;
        if (shape->rank < 1 || shape->rank > p->rank || !axes_can_reshape(shape) ||
            shape->dims[shape->rank - 1] != keys_of(p)) {
            return false;
        }
    }
    return true;
}

static shoal_status build(struct rewrite *rw, graph_node_id id, const struct pattern *p,
                          struct shoal_error *error) {
    static const int64_t plain[] = {0, 2, 1, 3};
    const graph_value_id old = rewrite_node(rw, id)->outputs[0];
    const struct shape shape = rewrite_type(rw, old)->shape;
    graph_value_id inputs[4], y = GRAPH_NONE;
    struct op_attrs attrs = {.scale = (float)p->scale};
    attrs.floats[SDPA_SOFTCAP] = (float)p->softcap;
    TRY(heads_inside(rw, id, p->q, false, ".q", &inputs[0], error));
    TRY(heads_inside(rw, id, p->k, p->k_is_transposed, ".k", &inputs[1], error));
    TRY(heads_inside(rw, id, p->v, false, ".v", &inputs[2], error));
    if (p->mask_count > 0) {
        TRY(join_masks(rw, id, p, &inputs[3], error));
    }
    TRY(rewrite_add(rw, id, ".attention", OP_SDPA, &attrs, inputs, p->mask_count > 0 ? 4 : 3, NULL,
                    0, &y, error));
    if (p->rank == 4) {
        TRY(axes_transpose(rw, id, NULL, y, plain, &y, error));
    } else {
        TRY(axes_reshape(rw, id, NULL, y, &shape, &y, error));
    }
    return rewrite_replace(rw, old, y, error);
}

static shoal_status find(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    const struct graph_node *node = rewrite_node(rw, id);
    struct pattern p = {.rw = rw, .scale = 1};
    if (!match(&p, node) || !fits(&p) || !masks_fit(&p) ||
        !axes_can_reshape(&rewrite_type(rw, node->outputs[0])->shape)) {
        return SHOAL_OK;
    }
    return build(rw, id, &p, error);
}

/* ---- scales ---- */

static bool moves_elements(const struct graph_node *node) {
    return node != NULL &&
           (node->op == OP_RESHAPE || node->op == OP_TRANSPOSE || node->op == OP_EXPAND);
}

/* A product with a number, perhaps behind ops that move elements only. */
static bool scaled_input(const struct rewrite *rw, graph_value_id value, double *number) {
    graph_value_id inner = GRAPH_NONE;
    while (match_inner(rw, value)) {
        if (match_with_number(rw, value, BINARY_MUL, &inner, number)) {
            return true;
        }
        const struct graph_node *node = rewrite_maker(rw, value);
        if (!moves_elements(node)) {
            return false;
        }
        value = rewrite_input(rw, node, 0);
    }
    return false;
}

/* The same without the product. */
static shoal_status unscaled(struct rewrite *rw, graph_value_id value, graph_value_id *out,
                             struct shoal_error *error) {
    graph_node_id path[64];
    int depth = 0;
    double number = 0;
    graph_value_id x = GRAPH_NONE;
    *out = value; /* of more ops than any model has in a row */
    while (!match_with_number(rw, value, BINARY_MUL, &x, &number)) {
        if (depth == 64) {
            return SHOAL_OK;
        }
        path[depth++] = graph_value_get(rewrite_graph(rw), value)->producer;
        value = rewrite_input(rw, rewrite_maker(rw, value), 0);
    }
    while (depth > 0) {
        const graph_node_id id = path[--depth];
        const struct graph_node node = *rewrite_node(rw, id);
        TRY(rewrite_add(rw, id, NULL, node.op, &node.attrs, &x, 1, NULL, 0, &x, error));
    }
    *out = x;
    return SHOAL_OK;
}

/* q or k that are scaled on their way. */
static shoal_status take_scale(struct rewrite *rw, graph_node_id id, struct shoal_error *error) {
    struct graph_node node = *rewrite_node(rw, id);
    bool any = false;
    for (int i = 0; i < 2; i++) {
        double number = 1;
        graph_value_id x = GRAPH_NONE;
        if (scaled_input(rw, rewrite_input(rw, &node, i), &number)) {
            TRY(unscaled(rw, rewrite_input(rw, &node, i), &x, error));
            any = any || x != rewrite_input(rw, &node, i);
            node.attrs.scale *= x != rewrite_input(rw, &node, i) ? (float)number : 1;
            node.inputs[i] = x;
        }
    }
    if (!any) {
        return SHOAL_OK;
    }
    graph_value_id y = GRAPH_NONE;
    TRY(rewrite_add(rw, id, NULL, OP_SDPA, &node.attrs, node.inputs, node.input_count, NULL, 0, &y,
                    error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

/* ---- masks ---- */

/* A mask that hides nothing goes; one that hides what comes later is an attribute. */
static shoal_status simplify_mask(struct rewrite *rw, graph_node_id id,
                                  const struct pass_options *options, struct shoal_error *error) {
    struct graph_node node = *rewrite_node(rw, id);
    const graph_value_id mask = node.input_count > 3 ? rewrite_input(rw, &node, 3) : GRAPH_NONE;
    enum mask_kind kind = MASK_OTHER;
    graph_value_id y = GRAPH_NONE;
    if (mask == GRAPH_NONE || rewrite_param(rw, mask) == GRAPH_NONE ||
        node.attrs.floats[SDPA_SOFTCAP] > 0) {
        return SHOAL_OK;
    }
    TRY(mask_classify(rw, rewrite_param(rw, mask), options->source, &kind, error));
    if (kind == MASK_OTHER || (kind == MASK_CAUSAL && (node.attrs.mode & SDPA_CAUSAL) != 0)) {
        return SHOAL_OK;
    }
    node.attrs.mode |= kind == MASK_CAUSAL ? SDPA_CAUSAL : 0;
    TRY(rewrite_add(rw, id, NULL, OP_SDPA, &node.attrs, node.inputs, 3, NULL, 0, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

/* A mask that is repeated along batch, heads or queries need not be. */
static shoal_status unrepeated_mask(struct rewrite *rw, graph_node_id id,
                                    struct shoal_error *error) {
    const struct graph_node node = *rewrite_node(rw, id);
    const struct graph_node *expand =
        node.input_count > 3 ? match_op(rw, rewrite_input(rw, &node, 3), OP_EXPAND) : NULL;
    graph_value_id inputs[4], y = GRAPH_NONE;
    if (expand == NULL) {
        return SHOAL_OK;
    }
    const struct shape *from = &rewrite_type(rw, rewrite_input(rw, expand, 0))->shape;
    const struct shape *to = &rewrite_type(rw, expand->outputs[0])->shape;
    if (from->rank != 4 || from->dims[3] != to->dims[3]) {
        return SHOAL_OK;
    }
    memcpy(inputs, node.inputs, sizeof inputs);
    inputs[3] = rewrite_input(rw, expand, 0);
    TRY(rewrite_add(rw, id, NULL, OP_SDPA, &node.attrs, inputs, 4, NULL, 0, &y, error));
    return rewrite_replace(rw, node.outputs[0], y, error);
}

static bool is_op(const struct rewrite *rw, graph_node_id id, enum op op) {
    return rewrite_node(rw, id) != NULL && rewrite_node(rw, id)->op == op;
}

/* Each of the steps on SDPA makes a new node, which is visited in its turn. */
shoal_status pass_attention(struct rewrite *rw, const struct pass_options *options,
                            struct shoal_error *error) {
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        if (is_op(rw, id, OP_PRODUCT)) {
            TRY(find(rw, id, error));
        }
        if (is_op(rw, id, OP_SDPA)) {
            TRY(take_scale(rw, id, error));
        }
        if (is_op(rw, id, OP_SDPA)) {
            TRY(simplify_mask(rw, id, options, error));
        }
        if (is_op(rw, id, OP_SDPA)) {
            TRY(unrepeated_mask(rw, id, error));
        }
    }
    return SHOAL_OK;
}
