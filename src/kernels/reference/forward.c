#include "kernels/reference/reference.h"

#include <math.h>
#include <string.h>

/* Elements of a type, known to be sound. */
static int64_t count(const struct tensor_type *type) {
    int64_t product = 1;
    (void)shape_count(&type->shape, &product);
    return product;
}

static int64_t last(const struct tensor_type *type) {
    return type->shape.dims[type->shape.rank - 1];
}

static float hard_sigmoid(float x) {
    return fminf(fmaxf(x / 6.0F + 0.5F, 0), 1);
}

float reference_activate(enum activation activation, float x) {
    switch (activation) {
    case ACTIVATION_RELU:
        return x > 0 ? x : 0;
    case ACTIVATION_GELU_ERF:
        return 0.5F * x * (1.0F + erff(x * 0.70710678F));
    case ACTIVATION_GELU_TANH:
        return 0.5F * x * (1.0F + tanhf(0.79788456F * (x + 0.044715F * x * x * x)));
    case ACTIVATION_TANH:
        return tanhf(x);
    case ACTIVATION_SIGMOID:
        return 1.0F / (1.0F + expf(-x));
    case ACTIVATION_RELU6:
        return x > 0 ? fminf(x, 6) : 0;
    case ACTIVATION_SILU:
        return x / (1.0F + expf(-x));
    case ACTIVATION_HARD_SIGMOID:
        return hard_sigmoid(x);
    case ACTIVATION_HARD_SWISH:
        return x * hard_sigmoid(x);
    case ACTIVATION_NONE:
    case ACTIVATION_COUNT:
        break;
    }
    return x;
}

/* One output value: the window at (top, left) of image x [H,W,C], channels from first on, filter w
 * [C/groups,KH,KW]. */
static float window(const struct kernel_desc *desc, const float *x, const float *w, int64_t top,
                    int64_t left, int64_t first) {
    const int64_t *in = desc->inputs[0].shape.dims;
    const int64_t *filter = desc->params[0].shape.dims;
    const int32_t *dilation = desc->attrs.dilation;
    float sum = 0;
    for (int64_t c = 0; c < filter[1]; c++) {
        for (int64_t i = 0; i < filter[2]; i++) {
            for (int64_t j = 0; j < filter[3]; j++) {
                const int64_t row = top + i * dilation[0];
                const int64_t column = left + j * dilation[1];
                if (row >= 0 && row < in[1] && column >= 0 && column < in[2]) {
                    sum += x[(row * in[2] + column) * in[3] + first + c] *
                           w[(c * filter[2] + i) * filter[3] + j];
                }
            }
        }
    }
    return sum;
}

/* x [B,H,W,C], residual [B,OH,OW,O]?, w [O,C/groups,KH,KW], bias [O]? → y [B,OH,OW,O] */
void reference_conv2d(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *in = desc->inputs[0].shape.dims;
    const int64_t *filter = desc->params[0].shape.dims;
    const int64_t *out = desc->outputs[0].shape.dims;
    const int64_t per_filter = filter[1] * filter[2] * filter[3];
    const int64_t per_group = filter[0] / desc->attrs.groups;
    const float *bias = desc->param_count > 1 ? call->params[1] : NULL;
    const float *residual = desc->input_count > 1 ? call->inputs[1] : NULL;
    float *y = call->outputs[0];
    for (int64_t b = 0; b < out[0]; b++) {
        const float *x = (const float *)call->inputs[0] + b * in[1] * in[2] * in[3];
        for (int64_t i = 0; i < out[1]; i++) {
            for (int64_t j = 0; j < out[2]; j++) {
                for (int64_t o = 0; o < out[3]; o++) {
                    const float sum = window(desc, x, call->params[0] + o * per_filter,
                                             i * desc->attrs.stride[0] - desc->attrs.pad[0],
                                             j * desc->attrs.stride[1] - desc->attrs.pad[1],
                                             o / per_group * filter[1]);
                    const float biased = sum + (bias != NULL ? bias[o] : 0);
                    *y = reference_activate(desc->attrs.activation,
                                            residual != NULL ? biased + *residual++ : biased);
                    y++;
                }
            }
        }
    }
}

/* x [B,P,C], prefix [R,C], position [R+P,C] → y [B,R+P,C] */
void reference_tokens(const struct reference_call *call) {
    const int64_t *out = call->desc->outputs[0].shape.dims;
    const int64_t prefix = call->desc->params[0].shape.dims[0] * out[2];
    const int64_t all = out[1] * out[2];
    const float *x = call->inputs[0];
    float *y = call->outputs[0];
    for (int64_t b = 0; b < out[0]; b++) {
        for (int64_t i = 0; i < all; i++) {
            const float value = i < prefix ? call->params[0][i] : *x++;
            *y++ = value + call->params[1][i];
        }
    }
}

/* Row `index` of a table [rows,C]. */
static const float *entry(const float *table, const struct tensor_type *type, int32_t index) {
    const int64_t most = type->shape.dims[0] - 1;
    const int64_t row = index < 0 ? 0 : index > most ? most : index;
    return table + row * type->shape.dims[1];
}

/* ids [B,T], types [B,T]?, word [V,C], position [P,C], type [S,C]? → y [B,T,C] */
void reference_embed(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *out = desc->outputs[0].shape.dims;
    const int32_t *ids = call->inputs[0];
    const int32_t *types = desc->input_count > 1 ? call->inputs[1] : NULL;
    float *y = call->outputs[0];
    for (int64_t i = 0; i < out[0] * out[1]; i++) {
        const float *word = entry(call->params[0], &desc->params[0], ids[i]);
        const float *type =
            types != NULL ? entry(call->params[2], &desc->params[2], types[i]) : NULL;
        const float *position = call->params[1] + i % out[1] * out[2];
        for (int64_t c = 0; c < out[2]; c++) {
            *y++ = (type != NULL ? word[c] + type[c] : word[c]) + position[c];
        }
    }
}

/* x [...,C], gamma [C], beta [C] → y [...,C] */
void reference_layer_norm(const struct reference_call *call) {
    const int64_t channels = last(&call->desc->inputs[0]);
    const int64_t rows = count(&call->desc->inputs[0]) / channels;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)call->inputs[0] + r * channels;
        float *y = (float *)call->outputs[0] + r * channels;
        double sum = 0;
        for (int64_t c = 0; c < channels; c++) {
            sum += (double)x[c];
        }
        const double mean = sum / (double)channels;
        double squares = 0;
        for (int64_t c = 0; c < channels; c++) {
            squares += ((double)x[c] - mean) * ((double)x[c] - mean);
        }
        const double scale =
            1.0 / sqrt(squares / (double)channels + (double)call->desc->attrs.epsilon);
        for (int64_t c = 0; c < channels; c++) {
            y[c] = (float)(((double)x[c] - mean) * scale) * call->params[0][c] + call->params[1][c];
        }
    }
}

/* x [M,K], residual [M,N]?, w [N,K], bias [N]? → y [M,N] */
void reference_linear(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t depth = last(&desc->inputs[0]);
    const int64_t rows = count(&desc->inputs[0]) / depth;
    const int64_t columns = desc->params[0].shape.dims[0];
    const float *residual = desc->input_count > 1 ? call->inputs[1] : NULL;
    for (int64_t m = 0; m < rows; m++) {
        const float *x = (const float *)call->inputs[0] + m * depth;
        for (int64_t n = 0; n < columns; n++) {
            const float *w = call->params[0] + n * depth;
            float sum = 0;
            for (int64_t k = 0; k < depth; k++) {
                sum += x[k] * w[k];
            }
            sum += desc->param_count > 1 ? call->params[1][n] : 0;
            sum = reference_activate(desc->attrs.activation, sum);
            ((float *)call->outputs[0])[m * columns + n] =
                sum + (residual != NULL ? residual[m * columns + n] : 0);
        }
    }
}

/* p [T] = softmax(q·kᵀ·scale + mask) for one query q [D]; keys are rows of length 3C. */
static void probabilities(const struct kernel_desc *desc, const float *q, const float *keys,
                          const float *mask, float *p) {
    const int64_t tokens = desc->inputs[0].shape.dims[1];
    const int64_t stride = desc->inputs[0].shape.dims[2];
    const int64_t depth = stride / 3 / desc->attrs.heads;
    float greatest = -INFINITY;
    for (int64_t t = 0; t < tokens; t++) {
        float sum = 0;
        for (int64_t d = 0; d < depth; d++) {
            sum += q[d] * keys[t * stride + d];
        }
        p[t] = sum * desc->attrs.scale + (mask != NULL ? mask[t] : 0);
        greatest = fmaxf(greatest, p[t]);
    }
    const bool nothing = isinf(greatest) && greatest < 0; /* every key is masked */
    float total = 0;
    for (int64_t t = 0; t < tokens; t++) {
        p[t] = nothing ? 0 : expf(p[t] - greatest);
        total += p[t];
    }
    for (int64_t t = 0; t < tokens && !nothing; t++) {
        p[t] /= total;
    }
}

/* qkv [B,T,3C], mask [B,T]? → y [B,T,C] */
void reference_attention(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *in = desc->inputs[0].shape.dims;
    const int64_t channels = in[2] / 3;
    const int64_t depth = channels / desc->attrs.heads;
    const float *masks = desc->input_count > 1 ? call->inputs[1] : NULL;
    float *y = call->outputs[0];
    for (int64_t b = 0; b < in[0]; b++) {
        const float *qkv = (const float *)call->inputs[0] + b * in[1] * in[2];
        for (int64_t t = 0; t < in[1]; t++) {
            for (int64_t h = 0; h < desc->attrs.heads; h++) {
                probabilities(desc, qkv + t * in[2] + h * depth, qkv + channels + h * depth,
                              masks != NULL ? masks + b * in[1] : NULL, call->scratch);
                for (int64_t d = 0; d < depth; d++) {
                    float sum = 0;
                    for (int64_t s = 0; s < in[1]; s++) {
                        sum += call->scratch[s] * qkv[s * in[2] + 2 * channels + h * depth + d];
                    }
                    *y++ = sum;
                }
            }
        }
    }
}

/* a, b, y: same shape */
void reference_add(const struct reference_call *call) {
    const int64_t n = count(&call->desc->outputs[0]);
    const float *a = call->inputs[0];
    const float *b = call->inputs[1];
    float *y = call->outputs[0];
    for (int64_t i = 0; i < n; i++) {
        y[i] = (a[i] + b[i]) * call->desc->attrs.scale;
    }
}

void reference_activation(const struct reference_call *call) {
    const int64_t n = count(&call->desc->outputs[0]);
    const float *x = call->inputs[0];
    float *y = call->outputs[0];
    for (int64_t i = 0; i < n; i++) {
        y[i] = reference_activate(call->desc->attrs.activation, x[i]);
    }
}

/* x [B,T,C], mask [B,T] → y [B,C] */
void reference_mean_pool(const struct reference_call *call) {
    const int64_t *in = call->desc->inputs[0].shape.dims;
    for (int64_t b = 0; b < in[0]; b++) {
        const float *x = (const float *)call->inputs[0] + b * in[1] * in[2];
        const float *mask = (const float *)call->inputs[1] + b * in[1];
        float *y = (float *)call->outputs[0] + b * in[2];
        for (int64_t c = 0; c < in[2]; c++) {
            float sum = 0;
            float rows = 0;
            for (int64_t t = 0; t < in[1]; t++) {
                sum += mask[t] >= 0 ? x[t * in[2] + c] : 0;
                rows += mask[t] >= 0 ? 1 : 0;
            }
            y[c] = rows > 0 ? sum / rows : 0;
        }
    }
}

/* x [...,C] → y [...,C] */
void reference_normalise(const struct reference_call *call) {
    const int64_t channels = last(&call->desc->inputs[0]);
    const int64_t rows = count(&call->desc->inputs[0]) / channels;
    for (int64_t r = 0; r < rows; r++) {
        const float *x = (const float *)call->inputs[0] + r * channels;
        float *y = (float *)call->outputs[0] + r * channels;
        double squares = 0;
        for (int64_t c = 0; c < channels; c++) {
            squares += (double)x[c] * (double)x[c];
        }
        const double norm = fmax(sqrt(squares), (double)call->desc->attrs.epsilon);
        for (int64_t c = 0; c < channels; c++) {
            y[c] = (float)((double)x[c] / norm);
        }
    }
}

/* x [B,T,C] → y [B,C] */
void reference_select(const struct reference_call *call) {
    const int64_t *in = call->desc->inputs[0].shape.dims;
    for (int64_t b = 0; b < in[0]; b++) {
        memcpy((float *)call->outputs[0] + b * in[2],
               (const float *)call->inputs[0] + (b * in[1] + call->desc->attrs.index) * in[2],
               (size_t)in[2] * sizeof(float));
    }
}
