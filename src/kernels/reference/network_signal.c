/* Discrete Fourier transforms, by definition, and the negative log-likelihood. */
#include "kernels/reference/network.h"

#include <math.h>

#define TAU 6.283185307179586

/* One axis of a signal: elements between neighbours, real numbers per element. */
struct signal {
    const float *data;
    int64_t count, step;
    int parts;
};

static double part(const struct signal *x, int64_t i, int which) {
    return i < x->count && which < x->parts ? (double)x->data[i * x->step + which] : 0;
}

/* Bin k of `points`; window may be NULL. */
static void bin(const struct signal *x, const float *window, int64_t points, int64_t k, double sign,
                double *re, double *im) {
    *re = *im = 0;
    for (int64_t i = 0; i < points && i < x->count; i++) {
        const double angle = sign * TAU * (double)(k * i % points) / (double)points;
        const double factor = window != NULL ? (double)window[i] : 1;
        const double a = part(x, i, 0) * factor, b = part(x, i, 1) * factor;
        *re += a * cos(angle) - b * sin(angle);
        *im += a * sin(angle) + b * cos(angle);
    }
}

/* Element i of the real signal whose first half of a spectrum is x. */
static double real_inverse(const struct signal *x, int64_t points, int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < points; k++) {
        const bool mirrored = k > points / 2;
        const int64_t from = mirrored ? points - k : k;
        const double angle = TAU * (double)(k * i % points) / (double)points;
        const double im = mirrored ? -part(x, from, 1) : part(x, from, 1);
        sum += part(x, from, 0) * cos(angle) - im * sin(angle);
    }
    return sum / (double)points;
}

void reference_dft(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape, *y = &desc->outputs[0].shape;
    const int axis = desc->attrs.axis, parts = (int)x->dims[x->rank - 1];
    const int results = (int)y->dims[y->rank - 1];
    const int64_t points = desc->attrs.ints[0];
    int64_t inner = 1, outer = 1;
    for (int i = 0; i < x->rank - 1; i++) {
        outer *= i < axis ? x->dims[i] : 1;
        inner *= i > axis ? x->dims[i] : 1;
    }
    for (int64_t row = 0; row < outer * inner; row++) {
        const int64_t o = row / inner, i = row % inner;
        const struct signal signal = {(const float *)call->inputs[0] +
                                          (o * x->dims[axis] * inner + i) * parts,
                                      x->dims[axis], inner * parts, parts};
        float *to = (float *)call->outputs[0] + (o * y->dims[axis] * inner + i) * results;
        for (int64_t k = 0; k < y->dims[axis]; k++, to += inner * results) {
            double re = 0, im = 0;
            if (desc->attrs.mode == DFT_INVERSE_REAL) {
                to[0] = (float)real_inverse(&signal, points, k);
                continue;
            }
            const bool inverse = desc->attrs.mode == DFT_INVERSE;
            bin(&signal, NULL, points, k, inverse ? 1 : -1, &re, &im);
            to[0] = (float)(inverse ? re / (double)points : re);
            to[1] = (float)(inverse ? im / (double)points : im);
        }
    }
}

/* x [B,L,1 or 2], window [length] → y [B,frames,bins,2] */
void reference_stft(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *x = desc->inputs[0].shape.dims, *y = desc->outputs[0].shape.dims;
    const int64_t length = desc->attrs.ints[0];
    float *to = call->outputs[0];
    for (int64_t n = 0; n < y[0] * y[1] * y[2]; n++, to += 2) {
        const int64_t frame = n / y[2] % y[1], b = n / (y[1] * y[2]);
        const struct signal signal = {(const float *)call->inputs[0] +
                                          (b * x[1] + frame * desc->attrs.ints[1]) * x[2],
                                      length, x[2], (int)x[2]};
        double re = 0, im = 0;
        bin(&signal, call->inputs[1], length, n % y[2], -1, &re, &im);
        to[0] = (float)re;
        to[1] = (float)im;
    }
}

/* x [N,C,...], class [N,...], weight [C]? → loss [N,...] or a scalar */
void reference_nll_loss(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const struct shape *x = &desc->inputs[0].shape;
    const int64_t channels = x->dims[1], total = reference_count(&desc->inputs[1]);
    const int64_t inner = x->dims[0] > 0 ? total / x->dims[0] : 0;
    const float *weights = desc->input_count > 2 ? call->inputs[2] : NULL;
    float sum = 0, weight_sum = 0;
    for (int64_t i = 0; i < total; i++) {
        const int64_t label = desc->inputs[1].dtype == DTYPE_I64
                                  ? ((const int64_t *)call->inputs[1])[i]
                                  : ((const int32_t *)call->inputs[1])[i];
        const bool ignored = label < 0 || label >= channels ||
                             (desc->attrs.ints[0] != 0 && label == desc->attrs.index);
        float weight = 0, loss = 0;
        if (!ignored) {
            weight = weights != NULL ? weights[label] : 1;
            loss = -((const float *)
                         call->inputs[0])[(i / inner * channels + label) * inner + i % inner] *
                   weight;
        }
        sum += loss;
        weight_sum += weight;
        if (desc->attrs.mode == LOSS_NONE) {
            ((float *)call->outputs[0])[i] = loss;
        }
    }
    if (desc->attrs.mode != LOSS_NONE) {
        ((float *)call->outputs[0])[0] = desc->attrs.mode == LOSS_MEAN ? sum / weight_sum : sum;
    }
}
