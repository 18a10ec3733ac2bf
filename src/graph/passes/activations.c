/* Activation functions that exporters write as several ops. */
#include "graph/passes/match.h"
#include "graph/passes/pass.h"

#include <math.h>

/* A product as its factors: numbers, multiplied, and at most two other values. */
struct factors {
    double number;
    graph_value_id values[2];
    int count; /* 3: too many */
};

/* Follows MUL and DIV by numbers down through values that only the product reads. */
static void factorise(const struct rewrite *rw, graph_value_id value, bool root,
                      struct factors *f) {
    graph_value_id a = 0, b = 0;
    double number = 0;
    if (match_number(rw, value, &number)) {
        f->number *= number;
        return;
    }
    if (root || match_inner(rw, value)) {
        if (match_with_number(rw, value, BINARY_MUL, &a, &number)) {
            f->number *= number;
            factorise(rw, a, false, f);
            return;
        }
        if (match_binary(rw, value, BINARY_MUL, &a, &b)) {
            factorise(rw, a, false, f);
            factorise(rw, b, false, f);
            return;
        }
    }
    if (f->count < 2) {
        f->values[f->count] = rewrite_value(rw, value);
    }
    f->count += f->count < 3 ? 1 : 0;
}

static struct factors factors_of(const struct rewrite *rw, graph_value_id value) {
    struct factors f = {1, {GRAPH_NONE, GRAPH_NONE}, 0};
    factorise(rw, value, true, &f);
    return f;
}

/* number · x for exactly that x; number · x³ spelled as a power or as products is `power` 3. */
static bool scaled(const struct rewrite *rw, graph_value_id value, graph_value_id x, int power,
                   double *number) {
    struct factors f = factors_of(rw, value);
    graph_value_id base = 0;
    double exponent = 0;
    if (power > 1 && f.count == 1 &&
        match_with_number(rw, f.values[0], BINARY_POW, &base, &exponent) && base == x &&
        match_near(exponent, power)) {
        *number = f.number;
        return true;
    }
    if (power == 3 && f.count == 2 && (f.values[0] == x || f.values[1] == x)) {
        const graph_value_id square = f.values[0] == x ? f.values[1] : f.values[0];
        *number = f.number;
        return match_with_number(rw, square, BINARY_POW, &base, &exponent) && base == x &&
               match_near(exponent, 2);
    }
    if (power != f.count || f.count > 2) {
        return false; /* x·x·x has more factors than fit: see cube */
    }
    for (int i = 0; i < f.count; i++) {
        if (f.values[i] != x) {
            return false;
        }
    }
    *number = f.number;
    return true;
}

/* number · x·x·x with the products nested: (x·x)·x. */
static bool cube(const struct rewrite *rw, graph_value_id value, graph_value_id x, double *number) {
    graph_value_id a = 0, b = 0, inner = 0;
    double outer = 1, square = 0;
    if (scaled(rw, value, x, 3, number)) {
        return true;
    }
    if (match_with_number(rw, value, BINARY_MUL, &inner, &outer)) {
        value = inner;
    }
    if (!match_binary(rw, value, BINARY_MUL, &a, &b) || !match_other(a, b, x, &inner) ||
        !scaled(rw, inner, x, 2, &square)) {
        return false;
    }
    *number = outer * square;
    return true;
}

#define ROOT_HALF 0.70710678118654752
#define ROOT_2_OVER_PI 0.79788456080286536
#define CUBE 0.044715

/* k·(x + 0.044715·x³), or k·x·(1 + 0.044715·x²). */
static bool tanh_argument(const struct rewrite *rw, graph_value_id value, graph_value_id x) {
    const struct factors f = factors_of(rw, value);
    graph_value_id a = 0, b = 0, other = 0;
    double number = 0;
    if (!match_near(f.number, ROOT_2_OVER_PI) || f.count < 1 || f.count > 2) {
        return false;
    }
    if (f.count == 1) {
        return match_binary(rw, f.values[0], BINARY_ADD, &a, &b) && match_other(a, b, x, &other) &&
               cube(rw, other, x, &number) && match_near(number, CUBE);
    }
    return match_other(f.values[0], f.values[1], x, &other) &&
           match_with_number(rw, other, BINARY_ADD, &a, &number) && match_near(number, 1) &&
           scaled(rw, a, x, 2, &number) && match_near(number, CUBE);
}

/* What a product of two values and a number is, x being one of them. */
static bool recognise(const struct rewrite *rw, const struct factors *f, graph_value_id x,
                      graph_value_id other, struct op_attrs *attrs) {
    graph_value_id inner = 0;
    double number = 0;
    if (match_near(f->number, 0.5) && match_with_number(rw, other, BINARY_ADD, &inner, &number) &&
        match_near(number, 1)) {
        graph_value_id argument = 0;
        if (match_unary(rw, inner, UNARY_ERF, &argument)) {
            attrs->mode = UNARY_GELU_ERF;
            return scaled(rw, argument, x, 1, &number) && match_near(number, ROOT_HALF);
        }
        attrs->mode = UNARY_GELU_TANH;
        return match_unary(rw, inner, UNARY_TANH, &argument) && tanh_argument(rw, argument, x);
    }
    const struct graph_node *unary = match_op(rw, other, OP_UNARY);
    if (unary == NULL) {
        return false;
    }
    inner = rewrite_input(rw, unary, 0);
    const float *p = unary->attrs.floats;
    if (unary->attrs.mode == UNARY_SIGMOID && match_near(f->number, 1)) {
        attrs->mode = UNARY_SWISH;
        attrs->floats[0] = 1;
        if (scaled(rw, inner, x, 1, &number)) {
            attrs->floats[0] = (float)number;
            return true;
        }
        return false;
    }
    attrs->mode = UNARY_HARD_SWISH;
    if (unary->attrs.mode == UNARY_HARD_SIGMOID && match_near(f->number, 1)) {
        return inner == x && match_near((double)p[0], 1.0 / 6) && match_near((double)p[1], 0.5);
    }
    if (unary->attrs.mode == UNARY_CLIP && match_near(f->number, 1.0 / 6)) {
        graph_value_id shifted = 0;
        return match_with_number(rw, inner, BINARY_ADD, &shifted, &number) && shifted == x &&
               match_near(number, 3) && !(p[0] > 0) && !(p[0] < 0) && match_near((double)p[1], 6);
    }
    return false;
}

static shoal_status replace_unary(struct rewrite *rw, graph_node_id id, graph_value_id x,
                                  const struct op_attrs *attrs, struct shoal_error *error) {
    const graph_value_id y = rewrite_node(rw, id)->outputs[0];
    graph_value_id out = GRAPH_NONE;
    TRY(rewrite_add(rw, id, NULL, OP_UNARY, attrs, &x, 1, NULL, 0, &out, error));
    return rewrite_replace(rw, y, out, error);
}

/* The whole product. */
static bool product(const struct rewrite *rw, graph_value_id y, graph_value_id *x,
                    struct op_attrs *attrs) {
    const struct factors f = factors_of(rw, y);
    if (f.count != 2) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        *x = f.values[i];
        if (recognise(rw, &f, *x, f.values[1 - i], attrs) && match_same_type(rw, *x, y)) {
            return true;
        }
        *attrs = (struct op_attrs){0};
    }
    return false;
}

/* clip(x + 3, 0, 6) / 6 */
static bool hard_sigmoid(const struct rewrite *rw, graph_value_id y, graph_value_id *x,
                         struct op_attrs *attrs) {
    graph_value_id clipped = 0;
    double number = 0;
    if (!match_with_number(rw, y, BINARY_MUL, &clipped, &number) || !match_near(number, 1.0 / 6)) {
        return false;
    }
    const struct graph_node *clip = match_op(rw, clipped, OP_UNARY);
    if (clip == NULL || clip->attrs.mode != UNARY_CLIP || clip->attrs.floats[0] > 0 ||
        clip->attrs.floats[0] < 0 || !match_near((double)clip->attrs.floats[1], 6) ||
        !match_inner(rw, clipped) ||
        !match_with_number(rw, rewrite_input(rw, clip, 0), BINARY_ADD, x, &number) ||
        !match_near(number, 3)) {
        return false;
    }
    *attrs = (struct op_attrs){.mode = UNARY_HARD_SIGMOID, .floats = {1.0F / 6, 0.5F}};
    return true;
}

/* max(x, 0); min(max(x, p), q) and max(min(x, q), p) are one clip. */
static bool limits(const struct rewrite *rw, graph_value_id y, graph_value_id *x,
                   struct op_attrs *attrs) {
    graph_value_id a = 0, b = 0;
    double number = 0;
    const bool most = match_binary(rw, y, BINARY_MIN, &a, &b);
    if (!most && !match_binary(rw, y, BINARY_MAX, &a, &b)) {
        return false;
    }
    *x = match_number(rw, b, &number) ? a : b;
    if ((*x == b && !match_number(rw, a, &number)) || !match_same_type(rw, *x, y) ||
        rewrite_type(rw, y)->dtype != DTYPE_F32 || isnan(number)) {
        return false;
    }
    *attrs = (struct op_attrs){.mode = UNARY_CLIP, .floats = {-INFINITY, INFINITY}};
    attrs->floats[most ? 1 : 0] = (float)number;
    return true;
}

/* The limits of a clip or a relu. */
static bool limits_of(const struct graph_node *node, float out[2]) {
    if (node == NULL || (node->attrs.mode != UNARY_CLIP && node->attrs.mode != UNARY_RELU)) {
        return false;
    }
    const bool clip = node->attrs.mode == UNARY_CLIP;
    out[0] = clip ? node->attrs.floats[0] : 0;
    out[1] = clip ? node->attrs.floats[1] : INFINITY;
    return out[0] <= out[1];
}

/* clip(clip(x)): the outer one's limits have the last word. */
static bool clip_of_clip(const struct rewrite *rw, graph_value_id y, graph_value_id *x,
                         struct op_attrs *attrs) {
    const struct graph_node *outer = match_op(rw, y, OP_UNARY);
    const struct graph_node *inner =
        outer != NULL ? match_op(rw, rewrite_input(rw, outer, 0), OP_UNARY) : NULL;
    float p[2], q[2];
    if (!limits_of(outer, p) || !limits_of(inner, q) || !match_inner(rw, inner->outputs[0]) ||
        rewrite_type(rw, y)->dtype != DTYPE_F32) {
        return false;
    }
    *x = rewrite_input(rw, inner, 0);
    *attrs = (struct op_attrs){.mode = UNARY_CLIP};
    attrs->floats[0] = fminf(fmaxf(q[0], p[0]), p[1]);
    attrs->floats[1] = fminf(fmaxf(q[1], p[0]), p[1]);
    return true;
}

/* clip(x, 0, ∞) */
static bool relu(const struct rewrite *rw, graph_value_id y, graph_value_id *x,
                 struct op_attrs *attrs) {
    if (!match_unary(rw, y, UNARY_CLIP, x) || rewrite_type(rw, y)->dtype != DTYPE_F32) {
        return false;
    }
    const float *p = match_op(rw, y, OP_UNARY)->attrs.floats;
    *attrs = (struct op_attrs){.mode = UNARY_RELU};
    return !(p[0] > 0) && !(p[0] < 0) && isinf(p[1]) && p[1] > 0;
}

shoal_status pass_activations(struct rewrite *rw, const struct pass_options *options,
                              struct shoal_error *error) {
    static bool (*const patterns[])(const struct rewrite *, graph_value_id, graph_value_id *,
                                    struct op_attrs *) = {product, hard_sigmoid, limits,
                                                          clip_of_clip, relu};
    (void)options;
    for (graph_node_id id = 0; id < rewrite_node_count(rw); id++) {
        const struct graph_node *node = rewrite_node(rw, id);
        if (node == NULL || (node->op != OP_BINARY && node->op != OP_UNARY)) {
            continue;
        }
        const graph_value_id y = node->outputs[0];
        for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
            struct op_attrs attrs = {0};
            graph_value_id x = GRAPH_NONE;
            if (patterns[i](rw, y, &x, &attrs)) {
                TRY(replace_unary(rw, id, x, &attrs, error));
                break;
            }
        }
    }
    return SHOAL_OK;
}
