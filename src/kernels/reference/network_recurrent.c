/* RNN, GRU and LSTM, as ONNX defines them. */
#include "kernels/reference/network.h"

#include <math.h>
#include <string.h>

static float function(int64_t code, float alpha, float beta, float x) {
    switch (code) {
    case RECURRENCE_RELU:
        return x > 0 ? x : 0;
    case RECURRENCE_TANH:
        return tanhf(x);
    case RECURRENCE_SIGMOID:
        return 1 / (1 + expf(-x));
    case RECURRENCE_AFFINE:
        return alpha * x + beta;
    case RECURRENCE_LEAKY_RELU:
        return x >= 0 ? x : alpha * x;
    case RECURRENCE_THRESHOLDED:
        return x >= alpha ? x : 0;
    case RECURRENCE_SCALED_TANH:
        return alpha * tanhf(beta * x);
    case RECURRENCE_HARD_SIGMOID:
        return fminf(fmaxf(alpha * x + beta, 0), 1);
    case RECURRENCE_ELU:
        return x >= 0 ? x : alpha * (expf(x) - 1);
    case RECURRENCE_SOFTSIGN:
        return x / (1 + fabsf(x));
    default:
        return log1pf(expf(x)); /* softplus */
    }
}

/* One direction of one call. */
struct cell {
    const struct reference_call *call;
    int direction, gates;
    int64_t hidden, inputs;
    const float *w, *r, *bias, *peepholes;
    float *gate; /* scratch [G,H], then [H] */
};

static float activate(const struct cell *cell, int which, float x) {
    const struct op_attrs *attrs = &cell->call->desc->attrs;
    const float clip = attrs->floats[RECURRENCE_CLIP];
    const int at = 3 * cell->direction + which;
    if (clip > 0) {
        x = fminf(fmaxf(x, -clip), clip);
    }
    return function(attrs->ints[at], attrs->floats[at], attrs->floats[6 + at], x);
}

static float dot(const float *a, const float *b, int64_t n) {
    float sum = 0;
    for (int64_t i = 0; i < n; i++) {
        sum += a[i] * b[i];
    }
    return sum;
}

/* x·w + its bias, and state·r + its bias, of unit `unit` (gate·H + index). */
static float from_input(const struct cell *cell, const float *x, int64_t unit) {
    return dot(x, cell->w + unit * cell->inputs, cell->inputs) + cell->bias[unit];
}

static float from_state(const struct cell *cell, const float *state, int64_t unit) {
    return dot(state, cell->r + unit * cell->hidden, cell->hidden) +
           cell->bias[cell->gates * cell->hidden + unit];
}

static void rnn_step(const struct cell *cell, const float *x, float *state) {
    for (int64_t i = 0; i < cell->hidden; i++) {
        cell->gate[i] = activate(cell, 0, from_input(cell, x, i) + from_state(cell, state, i));
    }
    memcpy(state, cell->gate, (size_t)cell->hidden * sizeof(float));
}

static void gru_step(const struct cell *cell, const float *x, float *state) {
    const int64_t n = cell->hidden;
    float *z = cell->gate, *reset = cell->gate + n, *candidate = cell->gate + 2 * n;
    float *kept = cell->gate + 3 * n;
    for (int64_t i = 0; i < 2 * n; i++) { /* z, then r */
        z[i] = activate(cell, 0, from_input(cell, x, i) + from_state(cell, state, i));
    }
    for (int64_t i = 0; i < n; i++) {
        kept[i] = reset[i] * state[i];
    }
    for (int64_t i = 0; i < n; i++) {
        const int64_t unit = 2 * n + i;
        const bool before = cell->call->desc->attrs.ints[RECURRENCE_OPTION] != 0;
        const float back =
            before ? reset[i] * from_state(cell, state, unit) : from_state(cell, kept, unit);
        candidate[i] = activate(cell, 1, from_input(cell, x, unit) + back);
    }
    for (int64_t i = 0; i < n; i++) {
        state[i] = (1 - z[i]) * candidate[i] + z[i] * state[i];
    }
}

static void lstm_step(const struct cell *cell, const float *x, float *state, float *memory) {
    const int64_t n = cell->hidden;
    float *gate = cell->gate; /* i, o, f, c */
    for (int64_t i = 0; i < 4 * n; i++) {
        gate[i] = from_input(cell, x, i) + from_state(cell, state, i);
    }
    for (int64_t i = 0; i < n; i++) {
        const float *p = cell->peepholes;
        const float in = activate(cell, 0, gate[i] + p[i] * memory[i]);
        const float forget = cell->call->desc->attrs.ints[RECURRENCE_OPTION] != 0
                                 ? 1 - in
                                 : activate(cell, 0, gate[2 * n + i] + p[2 * n + i] * memory[i]);
        memory[i] = forget * memory[i] + in * activate(cell, 1, gate[3 * n + i]);
        const float out = activate(cell, 0, gate[n + i] + p[n + i] * memory[i]);
        state[i] = out * activate(cell, 2, memory[i]);
    }
}

/* All steps of item b in one direction. */
static void run_item(const struct cell *cell, int64_t b, bool backward) {
    const struct kernel_desc *desc = cell->call->desc;
    const int64_t *x = desc->inputs[0].shape.dims; /* [T,B,I] */
    const int64_t directions = desc->outputs[0].shape.dims[1], n = cell->hidden;
    const int64_t at = (cell->direction * x[1] + b) * n;
    const int64_t given = ((const int32_t *)cell->call->inputs[4])[b];
    const int64_t length = given < 0 ? 0 : given < x[0] ? given : x[0];
    float *state = (float *)cell->call->outputs[1] + at;
    float *memory = desc->op == OP_LSTM ? (float *)cell->call->outputs[2] + at : NULL;
    memcpy(state, (const float *)cell->call->inputs[5] + at, (size_t)n * sizeof(float));
    if (memory != NULL) {
        memcpy(memory, (const float *)cell->call->inputs[6] + at, (size_t)n * sizeof(float));
    }
    for (int64_t i = 0; i < x[0]; i++) {
        const int64_t t = i < length && backward ? length - 1 - i : i;
        float *y =
            (float *)cell->call->outputs[0] + ((t * directions + cell->direction) * x[1] + b) * n;
        const float *input = (const float *)cell->call->inputs[0] + (t * x[1] + b) * x[2];
        if (i >= length) {
            memset(y, 0, (size_t)n * sizeof(float));
            continue;
        }
        if (desc->op == OP_LSTM) {
            lstm_step(cell, input, state, memory);
        } else if (desc->op == OP_GRU) {
            gru_step(cell, input, state);
        } else {
            rnn_step(cell, input, state);
        }
        memcpy(y, state, (size_t)n * sizeof(float));
    }
}

size_t reference_recurrence_scratch(const struct kernel_desc *desc) {
    return 4 * (size_t)desc->inputs[2].shape.dims[2] * sizeof(float);
}

void reference_recurrence(const struct reference_call *call) {
    const struct kernel_desc *desc = call->desc;
    const int64_t *r = desc->inputs[2].shape.dims; /* [D,G·H,H] */
    const int64_t inputs = desc->inputs[0].shape.dims[2];
    for (int d = 0; d < (int)r[0]; d++) {
        const struct cell cell = {
            .call = call,
            .direction = d,
            .gates = (int)(r[1] / r[2]),
            .hidden = r[2],
            .inputs = inputs,
            .w = (const float *)call->inputs[1] + d * r[1] * inputs,
            .r = (const float *)call->inputs[2] + d * r[1] * r[2],
            .bias = (const float *)call->inputs[3] + d * 2 * r[1],
            .peepholes = desc->op == OP_LSTM ? (const float *)call->inputs[7] + d * 3 * r[2] : NULL,
            .gate = call->scratch,
        };
        for (int64_t b = 0; b < desc->inputs[0].shape.dims[1]; b++) {
            run_item(&cell, b, d == 1 || desc->attrs.mode == RECURRENCE_REVERSE);
        }
    }
}
