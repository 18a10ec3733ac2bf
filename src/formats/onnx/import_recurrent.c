/* Converters of RNN, GRU and LSTM. */
#include "formats/onnx/import_compose.h"

#include <string.h>
#include <strings.h>

static const char *const names[RECURRENCE_FUNCTION_COUNT] = {
#define X(code, text) [RECURRENCE_##code] = (text),
    RECURRENCE_LIST(X)
#undef X
};

/* ONNX's defaults; false: it has no such parameters. */
static bool defaults(int function, float *alpha, float *beta) {
    *alpha = *beta = 0;
    switch (function) {
    case RECURRENCE_AFFINE:
    case RECURRENCE_SCALED_TANH:
        *alpha = 1;
        *beta = function == RECURRENCE_SCALED_TANH ? 1 : 0;
        return true;
    case RECURRENCE_LEAKY_RELU:
        *alpha = 0.01F;
        return true;
    case RECURRENCE_THRESHOLDED:
    case RECURRENCE_ELU:
        *alpha = 1;
        return true;
    case RECURRENCE_HARD_SIGMOID:
        *alpha = 0.2F;
        *beta = 0.5F;
        return true;
    default:
        return false;
    }
}

static bool has_beta(int function) {
    return function == RECURRENCE_AFFINE || function == RECURRENCE_SCALED_TANH ||
           function == RECURRENCE_HARD_SIGMOID;
}

/* The functions of `gates` gates in each direction; alphas and betas go to those that have any, in
 * order. */
static shoal_status need_functions(struct import_node *n, int gates, int directions,
                                   const int *usual, struct op_attrs *attrs) {
    float alphas[6], betas[6];
    int alpha_count = 0, beta_count = 0, alpha = 0, beta = 0;
    TRY(import_attr_floats(n, "activation_alpha", alphas, 6, &alpha_count));
    TRY(import_attr_floats(n, "activation_beta", betas, 6, &beta_count));
    for (int i = 0; i < gates * directions; i++) {
        const int at = 3 * (i / gates) + i % gates;
        const char *text = NULL;
        int function = usual[i % gates];
        TRY(import_attr_text(n, "activations", (uint32_t)i, &text));
        if (text != NULL) {
            for (function = 0; function < RECURRENCE_FUNCTION_COUNT; function++) {
                if (strcasecmp(names[function], text) == 0) {
                    break;
                }
            }
            if (function == RECURRENCE_FUNCTION_COUNT) {
                return import_refuse(n, "activation %.40s", text);
            }
        }
        attrs->ints[at] = function;
        if (defaults(function, &attrs->floats[at], &attrs->floats[6 + at])) {
            attrs->floats[at] = alpha < alpha_count ? alphas[alpha++] : attrs->floats[at];
            if (has_beta(function)) {
                attrs->floats[6 + at] = beta < beta_count ? betas[beta++] : attrs->floats[6 + at];
            }
        }
    }
    return SHOAL_OK;
}

/* The input, or zeros. */
static shoal_status or_zeros(struct import_node *n, uint32_t index, const struct shape *shape,
                             struct import_value **out) {
    *out = import_input(n, index);
    return *out != NULL ? SHOAL_OK : import_constant(n, DTYPE_F32, shape, NULL, out);
}

static shoal_status all_lengths(struct import_node *n, const struct shape *x,
                                struct import_value **out) {
    *out = import_input(n, 4);
    if (*out != NULL) {
        return SHOAL_OK;
    }
    if (x->dims[0] > INT32_MAX) {
        return import_refuse(n, "a sequence that long");
    }
    TRY(import_constant(n, DTYPE_I32, &SHAPE(x->dims[1]), NULL, out));
    int32_t *data = import_constant_data(*out);
    for (int64_t i = 0; i < x->dims[1]; i++) {
        data[i] = (int32_t)x->dims[0];
    }
    return SHOAL_OK;
}

/* Batch first: [B,T,D,H] and [B,D,H] instead of [T,D,B,H] and [D,B,H]. */
static shoal_status set_results(struct import_node *n, struct import_value **y, uint32_t count,
                                bool batch_first) {
    static const int64_t whole[] = {2, 0, 1, 3}, last[] = {1, 0, 2};
    for (uint32_t i = 0; i < count && i < n->output_count; i++) {
        if (!import_wants(n, i)) {
            continue;
        }
        if (batch_first) {
            TRY(import_transpose(n, y[i], i == 0 ? whole : last, &y[i]));
        }
        TRY(import_set(n, i, y[i]));
    }
    return SHOAL_OK;
}

/* mode: enum op. */
static shoal_status convert_recurrence(struct import_node *n) {
    static const char *const directions[] = {"forward", "reverse", "bidirectional", NULL};
    static const int usual_rnn[] = {RECURRENCE_TANH};
    static const int usual[] = {RECURRENCE_SIGMOID, RECURRENCE_TANH, RECURRENCE_TANH};
    static const int64_t swapped[] = {1, 0, 2};
    struct import_value *in[8], *y[3];
    struct op_attrs attrs = {0};
    int64_t layout;
    const bool lstm = n->mode == OP_LSTM;
    for (uint32_t i = 0; i < 3; i++) {
        TRY(import_need(n, i, &in[i]));
        if (in[i]->type.shape.rank != 3) {
            return import_corrupt(n, "input %u of rank %d", (unsigned)i, in[i]->type.shape.rank);
        }
    }
    TRY(import_attr_choice(n, "direction", directions, 0, &attrs.mode));
    TRY(need_functions(n,
                       lstm                ? 3
                       : n->mode == OP_GRU ? 2
                                           : 1,
                       attrs.mode == RECURRENCE_BOTH ? 2 : 1, n->mode == OP_RNN ? usual_rnn : usual,
                       &attrs));
    TRY(import_attr_float(n, "clip", 0, &attrs.floats[RECURRENCE_CLIP]));
    TRY(import_attr_int(n, "layout", 0, &layout));
    if (n->mode != OP_RNN) {
        TRY(import_attr_int(n, lstm ? "input_forget" : "linear_before_reset", 0,
                            &attrs.ints[RECURRENCE_OPTION]));
    }
    import_attr_ignore(n, "hidden_size"); /* the weights tell */
    if (layout != 0) {
        TRY(import_transpose(n, in[0], swapped, &in[0]));
    }
    const int64_t *x = in[0]->type.shape.dims, *r = in[2]->type.shape.dims;
    const struct shape state = SHAPE(r[0], x[1], r[2]);
    if (r[1] > INT32_MAX || r[2] > INT32_MAX) {
        return import_refuse(n, "weights that large");
    }
    TRY(or_zeros(n, 3, &SHAPE(r[0], 2 * r[1]), &in[3]));
    TRY(all_lengths(n, &in[0]->type.shape, &in[4]));
    TRY(or_zeros(n, 5, &state, &in[5]));
    if (lstm) {
        TRY(or_zeros(n, 6, &state, &in[6]));
        TRY(or_zeros(n, 7, &SHAPE(r[0], 3 * r[2]), &in[7]));
    }
    for (uint32_t i = 5; i < (lstm ? 7U : 6U) && layout != 0; i++) {
        if (import_input(n, i) != NULL) {
            TRY(import_transpose(n, in[i], swapped, &in[i]));
        }
    }
    TRY(import_emit(n, (enum op)n->mode, &attrs, in, lstm ? 8 : 6, y));
    return set_results(n, y, lstm ? 3 : 2, layout != 0);
}

const struct import_converter import_recurrent_converters[] = {
    {"", "RNN", convert_recurrence, OP_RNN},
    {"", "GRU", convert_recurrence, OP_GRU},
    {"", "LSTM", convert_recurrence, OP_LSTM},
    {NULL, NULL, NULL, 0},
};
