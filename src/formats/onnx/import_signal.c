/* Converters of transforms, windows and losses. */
#include "formats/onnx/import_compose.h"

#include <math.h>

#define TAU 6.283185307179586

/* The transform's axis: an attribute up to opset 19, then an input. */
static shoal_status dft_axis(struct import_node *n, int rank, int *out) {
    struct import_value *given = import_input(n, 2);
    int64_t axis;
    if (n->version < 20) {
        TRY(import_attr_int(n, "axis", 1, &axis));
    } else {
        axis = -2;
        if (given != NULL) {
            TRY(import_int(n, given, &axis));
        }
    }
    return import_axis(n, axis, rank, out);
}

static shoal_status convert_dft(struct import_node *n) {
    struct import_value *x, *y, *length = import_input(n, 1);
    struct op_attrs attrs = {0};
    int64_t inverse, one_sided;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_int(n, "inverse", 0, &inverse));
    TRY(import_attr_int(n, "onesided", 0, &one_sided));
    TRY(dft_axis(n, x->type.shape.rank, &attrs.axis));
    attrs.mode = inverse != 0 ? (one_sided != 0 ? DFT_INVERSE_REAL : DFT_INVERSE)
                              : (one_sided != 0 ? DFT_ONE_SIDED : DFT_FORWARD);
    attrs.ints[0] = x->type.shape.dims[attrs.axis];
    if (length != NULL) {
        TRY(import_int(n, length, &attrs.ints[0]));
    } else if (attrs.mode == DFT_INVERSE_REAL) {
        attrs.ints[0] = 2 * (attrs.ints[0] - 1);
    }
    TRY(import_emit(n, OP_DFT, &attrs, &x, 1, &y));
    return import_set(n, 0, y);
}

static shoal_status convert_stft(struct import_node *n) {
    struct import_value *x, *step, *y, *window = import_input(n, 2), *length = import_input(n, 3);
    struct op_attrs attrs = {0};
    int64_t one_sided;
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &step));
    TRY(import_attr_int(n, "onesided", 1, &one_sided));
    TRY(import_int(n, step, &attrs.ints[1]));
    if (length != NULL) {
        TRY(import_int(n, length, &attrs.ints[0]));
    } else if (window != NULL && window->type.shape.rank == 1) {
        attrs.ints[0] = window->type.shape.dims[0];
    } else {
        return import_corrupt(n, "neither window nor frame_length");
    }
    if (attrs.ints[0] < 1 || attrs.ints[0] > (1 << 24)) {
        return import_refuse(n, "a frame out of range");
    }
    if (window == NULL) {
        TRY(compose_filled(n, &SHAPE(attrs.ints[0]), 1, &window));
    }
    if (x->type.shape.rank == 2) {
        TRY(import_reshape(n, x, &SHAPE(x->type.shape.dims[0], x->type.shape.dims[1], 1), &x));
    }
    attrs.mode = one_sided != 0 ? DFT_ONE_SIDED : DFT_FORWARD;
    TRY(import_emit(n, OP_STFT, &attrs, (struct import_value *[]){x, window}, 2, &y));
    return import_set(n, 0, y);
}

/* f32 data as output_datatype says, for output 0. */
static shoal_status set_of_type(struct import_node *n, struct import_value *y) {
    int64_t element;
    enum dtype dtype;
    TRY(import_attr_int(n, "output_datatype", ONNX_FLOAT, &element));
    if (element < 0 || element > INT32_MAX || !import_element_dtype((int)element, &dtype)) {
        return import_refuse(n, "output_datatype");
    }
    TRY(compose_cast(n, y, dtype, &y));
    return import_set_as(n, 0, y, (int)element);
}

/* mode: 0 Hann, 1 Hamming, 2 Blackman. */
static shoal_status convert_window(struct import_node *n) {
    static const double parts[3][3] = {
        {0.5, 0.5, 0}, {25.0 / 46, 1 - 25.0 / 46, 0}, {0.42, 0.5, 0.08}};
    struct import_value *size, *y;
    int64_t periodic, count;
    TRY(import_need(n, 0, &size));
    TRY(import_int(n, size, &count));
    TRY(import_attr_int(n, "periodic", 1, &periodic));
    if (count < 0 || count > (1 << 24)) {
        return import_refuse(n, "a window out of range");
    }
    TRY(import_constant(n, DTYPE_F32, &SHAPE(count), NULL, &y));
    float *data = import_constant_data(y);
    const double period = (double)(periodic != 0 || count == 1 ? count : count - 1);
    for (int64_t i = 0; i < count; i++) {
        const double angle = TAU * (double)i / period;
        data[i] = (float)(parts[n->mode][0] - parts[n->mode][1] * cos(angle) +
                          parts[n->mode][2] * cos(2 * angle));
    }
    return set_of_type(n, y);
}

static double mel_of(double hertz) {
    return 2595 * log10(1 + hertz / 700);
}

/* Triangles over the bins of a spectrum, equally far apart in mels. */
static void fill_mel(float *data, int64_t bands, int64_t bins, const int64_t *edges) {
    for (int64_t i = 0; i < bands; i++) {
        const int64_t low = edges[i], centre = edges[i + 1], high = edges[i + 2];
        for (int64_t j = low; j <= centre; j++) {
            if (j >= 0 && j < bins) {
                data[j * bands + i] =
                    centre == low ? 1 : (float)((double)(j - low) / (double)(centre - low));
            }
        }
        for (int64_t j = centre; j < high; j++) {
            if (j >= 0 && j < bins) {
                data[j * bands + i] = (float)((double)(high - j) / (double)(high - centre));
            }
        }
    }
}

static shoal_status convert_mel(struct import_node *n) {
    struct import_value *in[5], *y;
    int64_t bands, length, rate;
    double low, high;
    for (uint32_t i = 0; i < 5; i++) {
        TRY(import_need(n, i, &in[i]));
    }
    TRY(import_int(n, in[0], &bands));
    TRY(import_int(n, in[1], &length));
    TRY(import_int(n, in[2], &rate));
    TRY(import_number(n, in[3], &low));
    TRY(import_number(n, in[4], &high));
    if (bands < 1 || bands > 4096 || length < 1 || length > (1 << 20) || rate < 1 ||
        rate > INT32_MAX || !(low >= 0 && low < 1e9) || !(high >= low && high < 1e9)) {
        return import_refuse(n, "numbers out of range");
    }
    int64_t *edges = import_alloc(n, (size_t)(bands + 2) * sizeof *edges);
    if (edges == NULL) {
        return import_no_memory(n);
    }
    const double step = (mel_of(high) - mel_of(low)) / (double)(bands + 2);
    for (int64_t i = 0; i < bands + 2; i++) {
        const double hertz = 700 * (pow(10, ((double)i * step + mel_of(low)) / 2595) - 1);
        edges[i] = (int64_t)floor((double)(length + 1) * hertz / (double)rate);
    }
    TRY(import_constant(n, DTYPE_F32, &SHAPE(length / 2 + 1, bands), NULL, &y));
    fill_mel(import_constant_data(y), bands, length / 2 + 1, edges);
    return set_of_type(n, y);
}

/* mode: 1 begins with a log-softmax over the classes. */
static shoal_status convert_loss(struct import_node *n) {
    static const char *const reductions[] = {"none", "sum", "mean", NULL};
    struct import_value *x, *classes, *y, *weights = import_input(n, 2);
    struct op_attrs attrs = {0};
    TRY(import_need(n, 0, &x));
    TRY(import_need(n, 1, &classes));
    TRY(import_attr_choice(n, "reduction", reductions, LOSS_MEAN, &attrs.mode));
    attrs.ints[0] = import_attr_has(n, "ignore_index") ? 1 : 0;
    TRY(import_attr_int(n, "ignore_index", 0, &attrs.index));
    if (n->mode == 1) {
        const struct op_attrs log = {.mode = SOFTMAX_LOG, .axis = 1};
        TRY(import_emit(n, OP_SOFTMAX, &log, &x, 1, &x));
        if (import_wants(n, 1)) {
            TRY(import_set(n, 1, x));
        }
    }
    struct import_value *in[3] = {x, classes, weights};
    TRY(import_emit(n, OP_NLL_LOSS, &attrs, in, weights != NULL ? 3 : 2, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_signal_converters[] = {
    {"", "DFT", convert_dft, 0},
    {"", "STFT", convert_stft, 0},
    {"", "HannWindow", convert_window, 0},
    {"", "HammingWindow", convert_window, 1},
    {"", "BlackmanWindow", convert_window, 2},
    {"", "MelWeightMatrix", convert_mel, 0},
    {"", "NegativeLogLikelihoodLoss", convert_loss, 0},
    {"", "SoftmaxCrossEntropyLoss", convert_loss, 1},
    {NULL, NULL, NULL, 0},
};
