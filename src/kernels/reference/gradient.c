/* Ops that autodiff and optimisers emit. */
#include "kernels/reference/reference.h"

#include <math.h>

static int64_t count(const struct tensor_type *type) {
    int64_t product = 1;
    (void)shape_count(&type->shape, &product);
    return product;
}

/* a [M,K] (or [K,M]), b [K,N] (or [N,K]) → y [M,N] */
void reference_matmul(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t rows = desc->outputs[0].shape.dims[0];
    const int64_t columns = desc->outputs[0].shape.dims[1];
    const bool ta = desc->attrs.transpose_a;
    const bool tb = desc->attrs.transpose_b;
    const int64_t depth = desc->inputs[0].shape.dims[ta ? 0 : 1];
    const float *a = call->inputs[0];
    const float *b = call->inputs[1];
    float *y = call->outputs[0];
    for (int64_t m = 0; m < rows; m++) {
        for (int64_t n = 0; n < columns; n++) {
            float sum = 0;
            for (int64_t k = 0; k < depth; k++) {
                sum += (ta ? a[k * rows + m] : a[m * depth + k]) *
                       (tb ? b[n * depth + k] : b[k * columns + n]);
            }
            *y++ = sum;
        }
    }
}

/* x [M,N] → y [N] */
void reference_sum_rows(const struct reference_call *call) {
    const int64_t *in = call->desc->inputs[0].shape.dims;
    const float *x = call->inputs[0];
    float *y = call->outputs[0];
    for (int64_t n = 0; n < in[1]; n++) {
        y[n] = 0;
    }
    for (int64_t m = 0; m < in[0]; m++) {
        for (int64_t n = 0; n < in[1]; n++) {
            y[n] += x[m * in[1] + n];
        }
    }
}

static float derivative(enum activation activation, float x) {
    switch (activation) {
    case ACTIVATION_RELU:
        return x > 0 ? 1 : 0;
    case ACTIVATION_GELU_ERF: /* Φ(x) + x·φ(x) */
        return 0.5F * (1.0F + erff(x * 0.70710678F)) + x * 0.39894228F * expf(-0.5F * x * x);
    case ACTIVATION_GELU_TANH: {
        const float inner = 0.79788456F * (x + 0.044715F * x * x * x);
        const float t = tanhf(inner);
        return 0.5F * (1.0F + t) +
               0.5F * x * (1.0F - t * t) * 0.79788456F * (1.0F + 3.0F * 0.044715F * x * x);
    }
    case ACTIVATION_TANH: {
        const float t = tanhf(x);
        return 1.0F - t * t;
    }
    case ACTIVATION_SIGMOID: {
        const float s = 1.0F / (1.0F + expf(-x));
        return s * (1.0F - s);
    }
    case ACTIVATION_RELU6:
        return x > 0 && x < 6 ? 1 : 0;
    case ACTIVATION_SILU: {
        const float s = 1.0F / (1.0F + expf(-x));
        return s + x * s * (1.0F - s);
    }
    case ACTIVATION_HARD_SIGMOID:
        return x > -3 && x < 3 ? 1.0F / 6.0F : 0;
    case ACTIVATION_HARD_SWISH:
        return x >= 3 ? 1 : x > -3 ? x / 3.0F + 0.5F : 0;
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return 1;
}

/* x, dy, dx: same shape */
void reference_activation_grad(const struct reference_call *call) {
    const int64_t n = count(&call->desc->outputs[0]);
    const float *x = call->inputs[0];
    const float *dy = call->inputs[1];
    float *dx = call->outputs[0];
    for (int64_t i = 0; i < n; i++) {
        dx[i] = dy[i] * derivative(call->desc->attrs.activation, x[i]);
    }
}

/* logits [B,N], label [B] i32 → loss [B], dlogits [B,N]. A label outside 0..N−1 gives loss 0 and no
 * gradient ("ignore"). */
void reference_cross_entropy(const struct reference_call *call) {
    const int64_t *in = call->desc->inputs[0].shape.dims;
    const int32_t *labels = call->inputs[1];
    float *losses = call->outputs[0];
    for (int64_t b = 0; b < in[0]; b++) {
        const float *logits = (const float *)call->inputs[0] + b * in[1];
        float *gradient = (float *)call->outputs[1] + b * in[1];
        const bool counted = labels[b] >= 0 && labels[b] < in[1];
        float greatest = -INFINITY;
        for (int64_t n = 0; n < in[1]; n++) {
            greatest = fmaxf(greatest, logits[n]);
        }
        float total = 0;
        for (int64_t n = 0; n < in[1]; n++) {
            total += expf(logits[n] - greatest);
        }
        losses[b] = counted ? logf(total) + greatest - logits[labels[b]] : 0;
        for (int64_t n = 0; n < in[1]; n++) {
            const float probability = expf(logits[n] - greatest) / total;
            gradient[n] =
                counted ? (probability - (n == labels[b] ? 1.0F : 0.0F)) * call->desc->attrs.scale
                        : 0;
        }
    }
}

/* w, dw → w − scale·dw */
void reference_sgd(const struct reference_call *call) {
    const int64_t n = count(&call->desc->outputs[0]);
    const float *w = call->inputs[0];
    const float *dw = call->inputs[1];
    float *out = call->outputs[0];
    for (int64_t i = 0; i < n; i++) {
        out[i] = w[i] - call->desc->attrs.scale * dw[i];
    }
}
