/*
 * Recurrences, sampling, transforms, losses and quantised arithmetic against second implementations
 * and laws that they must obey; indices from outside; what shape inference refuses.
 */
#include "kernels/test_tensors.h"

static struct tensor zeros(struct shape shape) {
    struct tensor tensor = make(DTYPE_F32, shape);
    memset(tensor.data, 0, (size_t)count_of(&tensor) * sizeof(float));
    return tensor;
}

static struct tensor lengths(int64_t a, int64_t b) {
    return numbers(DTYPE_I32, SHAPE(2), (const int64_t[]){a, b});
}

/* A bidirectional run is a forward one beside one of the reversed sequence; lengths cut. */
static void recurrences_run_both_ways(void **state) {
    (void)state;
    static const struct {
        enum op op;
        int gates, inputs, outputs;
    } kinds[] = {{OP_RNN, 1, 6, 2}, {OP_GRU, 3, 6, 2}, {OP_LSTM, 4, 8, 3}};
    enum { T = 5, I = 3, H = 4 };
    for (size_t k = 0; k < 3; k++) {
        const int64_t rows = kinds[k].gates * H;
        struct op_attrs attrs = {.mode = RECURRENCE_BOTH, .ints = {RECURRENCE_SIGMOID}};
        for (int i = 0; i < 6; i++) {
            attrs.ints[i] = i % 3 == 0 && k > 0 ? RECURRENCE_SIGMOID : RECURRENCE_TANH;
        }
        struct tensor in[8] = {normal(SHAPE(T, 2, I)),
                               normal(SHAPE(2, rows, I)),
                               normal(SHAPE(2, rows, H)),
                               normal(SHAPE(2, 2 * rows)),
                               lengths(5, 3),
                               normal(SHAPE(2, 2, H)),
                               normal(SHAPE(2, 2, H)),
                               normal(SHAPE(2, 3 * H))};
        struct tensor both[3], one[3];
        run(kinds[k].op, &attrs, in, kinds[k].inputs, both);
        for (int d = 0; d < 2; d++) { /* one direction alone, the second over reversed input */
            struct tensor half[8];
            memcpy(half, in, sizeof half);
            for (int i = 1; i < 8; i++) {
                if (i != 4) {
                    half[i].shape.dims[0] = 1;
                    half[i].data = floats(&in[i]) + d * count_of(&half[i]);
                }
            }
            half[0] = make(DTYPE_F32, in[0].shape);
            memset(half[0].data, 0, (size_t)count_of(&half[0]) * sizeof(float));
            for (int64_t b = 0; b < 2; b++) {
                const int64_t length = b == 0 ? 5 : 3;
                for (int64_t t = 0; t < length; t++) {
                    const int64_t from = d == 1 ? length - 1 - t : t;
                    memcpy(floats(&half[0]) + (t * 2 + b) * I, floats(&in[0]) + (from * 2 + b) * I,
                           I * sizeof(float));
                }
            }
            attrs.mode = RECURRENCE_FORWARD;
            run(kinds[k].op, &attrs, half, kinds[k].inputs, one);
            for (int64_t n = 0; n < 2 * H; n++) {
                assert_true(floats(&one[1])[n] == floats(&both[1])[d * 2 * H + n]);
            }
            for (int64_t b = 0; b < 2; b++) {
                const int64_t length = b == 0 ? 5 : 3;
                for (int64_t t = 0; t < T; t++) {
                    const int64_t from = d == 1 && t < length ? length - 1 - t : t;
                    for (int64_t n = 0; n < H; n++) {
                        const float value = floats(&both[0])[((t * 2 + d) * 2 + b) * H + n];
                        assert_true(value == floats(&one[0])[(from * 2 + b) * H + n]);
                        assert_true(t < length || value == 0);
                    }
                }
            }
            free_all(one, kinds[k].outputs);
            free_all(half, 1);
            attrs.mode = RECURRENCE_BOTH;
        }
        free_all(in, 8);
        free_all(both, kinds[k].outputs);
    }
}

static float sigmoid(float x) {
    return 1 / (1 + expf(-x));
}

/* One unit, one step, numbers by hand: the gates' order and the peepholes. */
static void an_lstm_step_as_written(void **state) {
    (void)state;
    struct op_attrs attrs = {.ints = {RECURRENCE_SIGMOID, RECURRENCE_TANH, RECURRENCE_TANH}};
    struct tensor in[8] = {normal(SHAPE(1, 1, 1)), normal(SHAPE(1, 4, 1)), normal(SHAPE(1, 4, 1)),
                           normal(SHAPE(1, 8)),    lengths(1, 0),          normal(SHAPE(1, 1, 1)),
                           normal(SHAPE(1, 1, 1)), normal(SHAPE(1, 3))};
    in[4].shape = SHAPE(1);
    struct tensor out[3];
    run(OP_LSTM, &attrs, in, 8, out);
    float gate[4];
    const float h = floats(&in[5])[0], c = floats(&in[6])[0], *p = floats(&in[7]);
    for (int i = 0; i < 4; i++) {
        gate[i] = floats(&in[0])[0] * floats(&in[1])[i] + floats(&in[3])[i] +
                  h * floats(&in[2])[i] + floats(&in[3])[4 + i];
    }
    const float cell =
        sigmoid(gate[2] + p[2] * c) * c + sigmoid(gate[0] + p[0] * c) * tanhf(gate[3]);
    const float result = sigmoid(gate[1] + p[1] * cell) * tanhf(cell);
    assert_true(fabsf(floats(&out[2])[0] - cell) < 1e-5F);
    assert_true(fabsf(floats(&out[0])[0] - result) < 1e-5F);
    free_all(in, 8);
    free_all(out, 3);
}

static struct op_attrs resize(int mode, int64_t rows, int64_t columns, float y, float x) {
    struct op_attrs attrs = {.mode = mode, .epsilon = -0.75F, .ints = {1, rows, columns, 2}};
    attrs.floats[0] = attrs.floats[3] = 1;
    attrs.floats[1] = y;
    attrs.floats[2] = x;
    return attrs;
}

/* Linear and cubic functions of the place come back as they are, away from the edges. */
static void resize_keeps_what_its_kernel_reproduces(void **state) {
    (void)state;
    struct tensor x = make(DTYPE_F32, SHAPE(1, 8, 10, 2)), y;
    for (int64_t i = 0; i < 8 * 10 * 2; i++) {
        floats(&x)[i] = (float)(i / 20) + 3 * (float)(i / 2 % 10) + (float)(i % 2);
    }
    for (int mode = RESIZE_LINEAR; mode <= RESIZE_CUBIC; mode++) {
        struct op_attrs attrs = resize(mode, 16, 30, 2, 3);
        attrs.epsilon = -0.5F; /* the cubic that reproduces lines */
        run(OP_RESIZE, &attrs, &x, 1, &y);
        for (int64_t i = 4; i < 12; i++) {
            for (int64_t j = 6; j < 24; j++) {
                const double want = ((double)i + 0.5) / 2 - 0.5 + 3 * (((double)j + 0.5) / 3 - 0.5);
                assert_true(fabs((double)floats(&y)[(i * 30 + j) * 2] - want) < 1e-4);
            }
        }
        free_all(&y, 1);
    }
    struct op_attrs nearest = resize(RESIZE_NEAREST, 4, 5, 0.5F, 0.5F);
    nearest.ints[RESIZE_COORDINATES_AT] = RESIZE_ASYMMETRIC;
    nearest.ints[RESIZE_ROUNDING_AT] = RESIZE_FLOOR;
    run(OP_RESIZE, &nearest, &x, 1, &y);
    for (int64_t n = 0; n < 40; n++) {
        assert_true(floats(&y)[n] == floats(&x)[(n / 10 * 2 * 10 + n / 2 % 5 * 2) * 2 + n % 2]);
    }
    free_all(&y, 1);
    struct op_attrs mean = resize(RESIZE_LINEAR, 8, 5, 1, 0.5F); /* weights of a tent, 1 in all */
    mean.ints[RESIZE_ANTIALIAS_AT] = 1;
    run(OP_RESIZE, &mean, &x, 1, &y);
    assert_true(fabsf(floats(&y)[2 * 2] - 3 * 4.5F) < 1e-4F);
    free_all((struct tensor[]){x, y}, 2);
}

static void the_identity_grid_gives_the_image(void **state) {
    (void)state;
    struct tensor theta = zeros(SHAPE(2, 2, 3)), x = normal(SHAPE(2, 3, 5, 7)), grid, y;
    for (int b = 0; b < 2; b++) {
        floats(&theta)[b * 6] = floats(&theta)[b * 6 + 4] = 1;
    }
    for (int align = 0; align < 2; align++) {
        struct op_attrs attrs = {.index = align, .ints = {5, 7}};
        run(OP_AFFINE_GRID, &attrs, &theta, 1, &grid);
        for (int mode = 0; mode < RESIZE_MODE_COUNT; mode++) {
            for (int padding = 0; padding < GRID_PADDING_COUNT; padding++) {
                struct op_attrs sample = {.mode = mode, .axis = padding, .index = align};
                run(OP_GRID_SAMPLE, &sample, (struct tensor[]){x, grid}, 2, &y);
                expect_close(&y, &x, 1e-4);
                free_all(&y, 1);
            }
        }
        free_all(&grid, 1);
    }
    free_all((struct tensor[]){theta, x}, 2);
}

/* Places, images, lengths and classes from outside: nothing is read or written out of bounds (the
 * sanitizers watch), and what is documented comes out. */
static void indices_from_outside_do_no_harm(void **state) {
    (void)state;
    const int64_t wild[4] = {INT64_MIN, -1, 1000000, INT64_MAX};
    struct tensor x = normal(SHAPE(1, 2, 4, 4)), y;
    const float places[8] = {INFINITY, -INFINITY, NAN, 1e30F, -1e30F, 3, -1, 1.0001F};
    struct tensor grid = make(DTYPE_F32, SHAPE(1, 2, 2, 2));
    memcpy(grid.data, places, sizeof places);
    for (int n = 0; n < 18; n++) {
        struct op_attrs sample = {.mode = n % 3, .axis = n / 3 % 3, .index = n / 9};
        run(OP_GRID_SAMPLE, &sample, (struct tensor[]){x, grid}, 2, &y);
        free_all(&y, 1);
    }
    struct tensor rois = make(DTYPE_F32, SHAPE(4, 4)), images = numbers(DTYPE_I64, SHAPE(4), wild);
    for (int i = 0; i < 16; i++) {
        floats(&rois)[i] = places[i * 5 % 8];
    }
    struct op_attrs align = {.scale = 1, .ints = {2, 2, 2}};
    run(OP_ROI_ALIGN, &align, (struct tensor[]){x, rois, images}, 3, &y);
    free_all(&y, 1);

    struct tensor four = normal(SHAPE(4)), at = numbers(DTYPE_I64, SHAPE(4), wild);
    ((int64_t *)at.data)[0] = 2;
    struct op_attrs unpool = {.ints = {9}};
    run(OP_MAX_UNPOOL, &unpool, (struct tensor[]){four, at}, 2, &y);
    for (int i = 0; i < 9; i++) {
        assert_true(floats(&y)[i] == (i == 2 ? floats(&four)[0] : 0));
    }
    free_all(&y, 1);

    struct tensor logits = normal(SHAPE(4, 3));
    struct op_attrs loss = {.mode = LOSS_NONE};
    ((int64_t *)at.data)[0] = 1;
    run(OP_NLL_LOSS, &loss, (struct tensor[]){logits, at}, 2, &y);
    assert_true(floats(&y)[0] == -floats(&logits)[1]);
    for (int i = 1; i < 4; i++) {
        assert_true(floats(&y)[i] == 0);
    }
    free_all((struct tensor[]){x, y, grid, rois, images, four, at, logits}, 8);
}

static void roi_align_of_a_plane_is_its_centres(void **state) {
    (void)state;
    struct tensor x = make(DTYPE_F32, SHAPE(1, 1, 10, 10)), y;
    for (int64_t i = 0; i < 100; i++) {
        floats(&x)[i] = (float)(i / 10) * 2 + (float)(i % 10);
    }
    struct tensor rois = numbers(DTYPE_F32, SHAPE(1, 4), (const int64_t[]){2, 1, 8, 7});
    struct tensor images = numbers(DTYPE_I64, SHAPE(1), (const int64_t[]){0});
    struct op_attrs attrs = {.scale = 1, .ints = {3, 2, 2, 1}};
    run(OP_ROI_ALIGN, &attrs, (struct tensor[]){x, rois, images}, 3, &y);
    for (int64_t i = 0; i < 6; i++) {
        const double row = 1 - 0.5 + ((double)(i / 2) + 0.5) * 2;
        const double column = 2 - 0.5 + ((double)(i % 2) + 0.5) * 3;
        assert_true(fabs((double)floats(&y)[i] - (2 * row + column)) < 1e-4);
    }
    free_all((struct tensor[]){x, y, rois, images}, 4);
}

static void transforms_invert(void **state) {
    (void)state;
    for (int64_t n = 7; n <= 8; n++) {
        struct tensor x = normal(SHAPE(2, n, 3, 2)), real = normal(SHAPE(2, n, 3, 1)), y, z;
        struct op_attrs attrs = {.axis = 1, .ints = {n}, .mode = DFT_FORWARD};
        run(OP_DFT, &attrs, &x, 1, &y);
        attrs.mode = DFT_INVERSE;
        run(OP_DFT, &attrs, &y, 1, &z);
        expect_close(&z, &x, 1e-5);
        free_all((struct tensor[]){y, z}, 2);
        attrs.mode = DFT_ONE_SIDED;
        run(OP_DFT, &attrs, &real, 1, &y);
        assert_int_equal(y.shape.dims[1], n / 2 + 1);
        attrs.mode = DFT_INVERSE_REAL;
        run(OP_DFT, &attrs, &y, 1, &z);
        expect_close(&z, &real, 1e-5);
        free_all((struct tensor[]){x, real, y, z}, 4);
    }
    /* each frame of STFT is a DFT */
    struct tensor signal = normal(SHAPE(2, 20, 1)), window = normal(SHAPE(8)), y;
    struct op_attrs attrs = {.ints = {8, 4}, .mode = DFT_ONE_SIDED};
    run(OP_STFT, &attrs, (struct tensor[]){signal, window}, 2, &y);
    assert_true(shape_equal(&y.shape, &SHAPE(2, 4, 5, 2)));
    for (int64_t f = 0; f < 4; f++) {
        struct tensor frame = make(DTYPE_F32, SHAPE(1, 8, 1)), want;
        for (int64_t i = 0; i < 8; i++) {
            floats(&frame)[i] = floats(&signal)[20 + 4 * f + i] * floats(&window)[i];
        }
        struct op_attrs one = {.axis = 1, .ints = {8}, .mode = DFT_ONE_SIDED};
        run(OP_DFT, &one, &frame, 1, &want);
        for (int64_t i = 0; i < 10; i++) {
            assert_true(fabsf(floats(&want)[i] - floats(&y)[(4 + f) * 10 + i]) < 1e-4F);
        }
        free_all((struct tensor[]){frame, want}, 2);
    }
    free_all((struct tensor[]){signal, window, y}, 3);
}

static void losses_as_written(void **state) {
    (void)state;
    struct tensor x = normal(SHAPE(2, 3, 2)), weights = normal(SHAPE(3)), y;
    struct tensor classes = numbers(DTYPE_I64, SHAPE(2, 2), (const int64_t[]){0, 2, 1, 2});
    struct op_attrs attrs = {.mode = LOSS_MEAN, .index = 1, .ints = {1}}; /* class 1 is left out */
    run(OP_NLL_LOSS, &attrs, (struct tensor[]){x, classes, weights}, 3, &y);
    const float *w = floats(&weights), *v = floats(&x);
    const float want = -(w[0] * v[0] + w[2] * v[5] + w[2] * v[6 + 5]) / (w[0] + 2 * w[2]);
    assert_true(fabsf(floats(&y)[0] - want) < 1e-4F * (1 + fabsf(want)));
    free_all((struct tensor[]){x, weights, y, classes}, 4);
}

static void quantising_and_back_is_off_by_half_a_step(void **state) {
    (void)state;
    struct tensor x = normal(SHAPE(3, 5, 4)), y, back, found[3];
    const int64_t steps[24] = {1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2,
                               1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2};
    for (int64_t block = 0; block <= 2; block += 2) { /* per index of axis 1; per block of 2 */
        const struct shape shape = block == 0 ? SHAPE(5) : SHAPE(3, 3, 4);
        struct tensor scale = make(DTYPE_F32, shape);
        struct tensor zero = make(DTYPE_I8, shape);
        for (int64_t i = 0; i < count_of(&scale); i++) {
            floats(&scale)[i] = 0.05F * (float)steps[i % 24];
            ((int8_t *)zero.data)[i] = (int8_t)draw(-3, 3);
        }
        struct op_attrs attrs = {.axis = 1, .index = block};
        run(OP_QUANTIZE, &attrs, (struct tensor[]){x, scale, zero}, 3, &y);
        run(OP_DEQUANTIZE, &attrs, (struct tensor[]){y, scale, zero}, 3, &back);
        for (int64_t i = 0; i < 60; i++) {
            const int64_t along = i / 4 % 5;
            const int64_t s = block == 0 ? along : (i / 20 * 3 + along / 2) * 4 + i % 4;
            assert_true(fabsf(floats(&back)[i] - floats(&x)[i]) <= floats(&scale)[s] * 0.501F);
        }
        free_all((struct tensor[]){scale, zero, y, back}, 4);
    }
    struct op_attrs none = {0};
    run(OP_DYNAMIC_QUANTIZE, &none, &x, 1, found);
    run(OP_DEQUANTIZE, &none, found, 3, &back);
    for (int64_t i = 0; i < 60; i++) {
        assert_true(fabsf(floats(&back)[i] - floats(&x)[i]) <= floats(&found[1])[0] * 0.501F);
    }
    free_all(found, 3);
    free_all((struct tensor[]){x, back}, 2);
}

/* Products of bytes are exact in f32: the float ops say what must come out. */
static void integer_products_are_the_float_ones(void **state) {
    (void)state;
    struct tensor a = bytes(DTYPE_U8, SHAPE(2, 3, 9)), b = bytes(DTYPE_I8, SHAPE(9, 4));
    struct tensor in[4] = {a, b, bytes(DTYPE_U8, SHAPE(3)), bytes(DTYPE_I8, SHAPE(4))}, y, z;
    struct tensor fa = make(DTYPE_F32, a.shape), fb = make(DTYPE_F32, b.shape), want;
    for (int64_t i = 0; i < count_of(&a); i++) {
        floats(&fa)[i] = (float)(((uint8_t *)a.data)[i] - ((uint8_t *)in[2].data)[i / 9 % 3]);
    }
    for (int64_t i = 0; i < count_of(&b); i++) {
        floats(&fb)[i] = (float)(((int8_t *)b.data)[i] - ((int8_t *)in[3].data)[i % 4]);
    }
    struct op_attrs attrs = {.scale = 1}, none = {0};
    run(OP_PRODUCT, &attrs, (struct tensor[]){fa, fb}, 2, &want);
    run(OP_MATMUL_INTEGER, &none, in, 4, &y);
    struct tensor s[3] = {make(DTYPE_F32, SHAPE(1)), make(DTYPE_F32, SHAPE(4)),
                          make(DTYPE_F32, SHAPE(1))};
    struct tensor zero = numbers(DTYPE_U8, SHAPE(1), (const int64_t[]){7});
    floats(&s[0])[0] = 0.5F;
    floats(&s[2])[0] = 16;
    for (int i = 0; i < 4; i++) {
        floats(&s[1])[i] = 0.1F * (float)(i + 1);
    }
    run(OP_MATMUL_QUANTIZED, &none, (struct tensor[]){a, s[0], in[2], b, s[1], in[3], s[2], zero},
        8, &z);
    for (int64_t i = 0; i < count_of(&y); i++) {
        assert_true((float)((int32_t *)y.data)[i] == floats(&want)[i]);
        const double scaled = (double)floats(&want)[i] * 0.5 * 0.1 * (double)(i % 4 + 1) / 16 + 7;
        const double kept = fmin(fmax(scaled, 0), 255);
        assert_true(fabs(kept - ((uint8_t *)z.data)[i]) <= 0.501);
    }
    free_all(in, 4);
    free_all(s, 3);
    free_all((struct tensor[]){y, z, fa, fb, want, zero}, 6);
}

static void integer_convolutions_are_the_float_ones(void **state) {
    (void)state;
    struct op_attrs attrs = {.axis = 1, .groups = 2, .ints = {0, 0, 0, 0, 2, 1, 0, 0, 1, 2}};
    attrs.ints[WINDOW_BEGIN] = attrs.ints[WINDOW_END + 1] = 1;
    struct tensor x = bytes(DTYPE_U8, SHAPE(2, 4, 6, 7)), w = bytes(DTYPE_U8, SHAPE(6, 2, 3, 2));
    struct tensor x_zero = bytes(DTYPE_U8, SHAPE(1)), w_zero = bytes(DTYPE_U8, SHAPE(6)), y, want;
    struct tensor fx = make(DTYPE_F32, x.shape), fw = make(DTYPE_F32, w.shape);
    for (int64_t i = 0; i < count_of(&x); i++) {
        floats(&fx)[i] = (float)(((uint8_t *)x.data)[i] - ((uint8_t *)x_zero.data)[0]);
    }
    for (int64_t i = 0; i < count_of(&w); i++) {
        floats(&fw)[i] = (float)(((uint8_t *)w.data)[i] - ((uint8_t *)w_zero.data)[i / 12]);
    }
    run(OP_CONV, &attrs, (struct tensor[]){fx, fw}, 2, &want);
    run(OP_CONV_INTEGER, &attrs, (struct tensor[]){x, w, x_zero, w_zero}, 4, &y);
    for (int64_t i = 0; i < count_of(&y); i++) {
        assert_true((float)((int32_t *)y.data)[i] == floats(&want)[i]);
    }
    struct tensor scale = make(DTYPE_F32, SHAPE(1)), z;
    struct tensor bias = numbers(DTYPE_I32, SHAPE(6), (const int64_t[]){900, 0, -900, 1, 2, 3});
    floats(&scale)[0] = 1.0F / 16;
    run(OP_CONV_QUANTIZED, &attrs,
        (struct tensor[]){x, scale, x_zero, w, scale, w_zero, scale, x_zero, bias}, 9, &z);
    const int64_t plane = z.shape.dims[2] * z.shape.dims[3];
    for (int64_t i = 0; i < count_of(&z); i++) {
        const double sum = (double)floats(&want)[i] + ((int32_t *)bias.data)[i / plane % 6];
        const double kept = fmin(fmax(rint(sum / 16 + ((uint8_t *)x_zero.data)[0]), 0), 255);
        assert_true(kept == ((uint8_t *)z.data)[i]);
    }
    free_all((struct tensor[]){x, w, x_zero, w_zero, y, want, fx, fw, scale, bias, z}, 11);
}

struct refusal {
    enum op op;
    struct op_attrs attrs;
    int count;
    struct tensor_type inputs[9];
    shoal_status status;
    const char *text;
};

#define F(...)                                                           \
    {                                                                    \
        DTYPE_F32, {                                                     \
            (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), { \
                __VA_ARGS__                                              \
            }                                                            \
        }                                                                \
    }
#define TYPED(type, ...)                                                 \
    {                                                                    \
        DTYPE_##type, {                                                  \
            (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), { \
                __VA_ARGS__                                              \
            }                                                            \
        }                                                                \
    }
#define UNIT .axis = 1, .groups = 1, .ints = {2, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1}

/* Each line is a case; the table makes the function long. */
static void inference_refuses_by_name(void **state) {
    (void)state;
    const struct refusal rows[] = {
        {OP_POOL, {UNIT}, 1, {F(2, 3)}, SHOAL_MISMATCH, "pool: input is not [B,C,...]"},
        {OP_POOL, {UNIT}, 1, {F(2, 3, 1, 4)}, SHOAL_MISMATCH, "larger than the padded input"},
        {OP_POOL, {.axis = 1}, 1, {F(2, 3, 4, 4)}, SHOAL_UNSUPPORTED, "stride"},
        {OP_POOL, {UNIT, .mode = 9}, 1, {F(2, 3, 4, 4)}, SHOAL_UNSUPPORTED, "unknown function"},
        {OP_POOL, {UNIT}, 1, {TYPED(I32, 2, 3, 4, 4)}, SHOAL_UNSUPPORTED, "no kernel takes i32"},
        {OP_CONV, {UNIT}, 2, {F(2, 3, 4, 4), F(2, 2, 1, 1)}, SHOAL_MISMATCH, "channels"},
        {OP_CONV, {UNIT}, 3, {F(2, 3, 4, 4), F(2, 3, 1, 1), F(3)}, SHOAL_MISMATCH, "bias"},
        {OP_CONV_TRANSPOSE, {UNIT}, 2, {F(2, 3, 4), F(2, 2, 1)}, SHOAL_MISMATCH, "channels"},
        {OP_DEFORM_CONV,
         {UNIT, .heads = 1},
         3,
         {F(1, 1, 3, 3), F(1, 1, 1, 1), F(1, 3, 3, 3)},
         SHOAL_MISMATCH,
         "offsets do not fit"},
        {OP_COL2IM, {.axis = 7}, 1, {F(1, 4, 6)}, SHOAL_UNSUPPORTED, "spatial"},
        {OP_MAX_UNPOOL, {0}, 2, {F(4), TYPED(I64, 3)}, SHOAL_MISMATCH, "places"},
        {OP_PRODUCT, {0}, 2, {F(4, 5), F(4, 5)}, SHOAL_MISMATCH, "inner dimensions"},
        {OP_PRODUCT, {0}, 2, {F(2, 4, 5), F(3, 5, 6)}, SHOAL_MISMATCH, "do not go together"},
        {OP_PRODUCT, {0}, 2, {TYPED(U8, 4, 5), TYPED(U8, 5, 5)}, SHOAL_UNSUPPORTED, "u8"},
        {OP_EINSUM, {0}, 1, {F(4)}, SHOAL_MISMATCH, "label"},
        {OP_EINSUM, {.ints = {0x0101}}, 1, {F(4, 5)}, SHOAL_MISMATCH, "two sizes"},
        {OP_BATCH_NORM, {.axis = 1}, 5, {F(2, 3), F(3), F(3), F(2), F(3)}, SHOAL_MISMATCH, "[C]"},
        {OP_GROUP_NORM,
         {.axis = 1, .groups = 2},
         3,
         {F(2, 3, 4), F(3), F(3)},
         SHOAL_MISMATCH,
         "groups do not divide"},
        {OP_RMS_NORM, {.axis = 1}, 2, {F(2, 3), F(2)}, SHOAL_MISMATCH, "factor"},
        {OP_LRN, {.axis = 1}, 1, {F(2, 3)}, SHOAL_UNSUPPORTED, "size"},
        {OP_LP_NORM, {.index = 3}, 1, {F(2, 3)}, SHOAL_UNSUPPORTED, "norm"},
        {OP_GRU,
         {0},
         6,
         {F(2, 3, 4), F(1, 9, 4), F(1, 9, 3), F(1, 18), TYPED(I32, 2), F(1, 3, 3)},
         SHOAL_MISMATCH,
         "lengths"},
        {OP_RESIZE, {.ints = {1}}, 1, {F(2)}, SHOAL_UNSUPPORTED, "scale"},
        {OP_GRID_SAMPLE, {0}, 2, {F(1, 1, 2, 2), F(1, 2, 2, 3)}, SHOAL_MISMATCH, "grid"},
        {OP_AFFINE_GRID, {0}, 1, {F(1, 2, 2)}, SHOAL_MISMATCH, "theta"},
        {OP_ROI_ALIGN, {0}, 3, {F(1, 1, 2, 2), F(2, 5), TYPED(I64, 2)}, SHOAL_MISMATCH, "regions"},
        {OP_DFT, {.ints = {4}}, 1, {F(2, 3)}, SHOAL_MISMATCH, "input"},
        {OP_STFT, {.ints = {9, 1}}, 2, {F(1, 8, 1), F(9)}, SHOAL_MISMATCH, "longer"},
        {OP_NLL_LOSS, {0}, 2, {F(2, 3), TYPED(I64, 3)}, SHOAL_MISMATCH, "classes"},
        {OP_QUANTIZE, {.axis = 1}, 3, {F(2, 3), F(2), TYPED(U8, 2)}, SHOAL_MISMATCH, "scales"},
        {OP_DEQUANTIZE, {0}, 3, {F(2), F(1), TYPED(U8, 1)}, SHOAL_UNSUPPORTED, "f32"},
        {OP_DYNAMIC_QUANTIZE, {0}, 1, {TYPED(U8, 2)}, SHOAL_UNSUPPORTED, "u8"},
        {OP_MATMUL_INTEGER,
         {0},
         4,
         {TYPED(U8, 2, 3), TYPED(U8, 3, 2), TYPED(U8, 3), TYPED(U8, 1)},
         SHOAL_MISMATCH,
         "zero"},
        {OP_CONV_INTEGER,
         {UNIT},
         4,
         {TYPED(U8, 1, 1, 4), TYPED(U8, 2, 2, 1), TYPED(U8, 1), TYPED(U8, 1)},
         SHOAL_MISMATCH,
         "channels"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct shoal_error error = {.text = ""};
        struct tensor_type outputs[OP_MAX_OUTPUTS];
        const shoal_status status = op_infer(rows[i].op, &rows[i].attrs, rows[i].inputs,
                                             rows[i].count, NULL, 0, outputs, &error);
        if (status != rows[i].status || strstr(error.text, rows[i].text) == NULL ||
            strncmp(error.text, op_describe(rows[i].op)->name,
                    strlen(op_describe(rows[i].op)->name)) != 0) {
            fail_msg("line %zu: %d \"%s\", not \"%s\"", i, (int)status, error.text, rows[i].text);
        }
    }
}

int main(void) {
    read_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recurrences_run_both_ways),
        cmocka_unit_test(an_lstm_step_as_written),
        cmocka_unit_test(resize_keeps_what_its_kernel_reproduces),
        cmocka_unit_test(the_identity_grid_gives_the_image),
        cmocka_unit_test(indices_from_outside_do_no_harm),
        cmocka_unit_test(roi_align_of_a_plane_is_its_centres),
        cmocka_unit_test(transforms_invert),
        cmocka_unit_test(losses_as_written),
        cmocka_unit_test(quantising_and_back_is_off_by_half_a_step),
        cmocka_unit_test(integer_products_are_the_float_ones),
        cmocka_unit_test(integer_convolutions_are_the_float_ones),
        cmocka_unit_test(inference_refuses_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
