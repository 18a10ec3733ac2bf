/*
 * Convolutions, pools, products and normalisations against second implementations and laws that
 * they must obey (adjoints, equal results from other layouts).
 */
#include "kernels/test_tensors.h"

/* Random attributes of windows over two axes. */
static struct op_attrs window(int64_t most_pad) {
    struct op_attrs attrs = {.axis = 1, .groups = 1};
    for (int i = 0; i < 2; i++) {
        attrs.ints[WINDOW_STRIDE + i] = draw(1, 3);
        attrs.ints[WINDOW_DILATION + i] = draw(1, 2);
        attrs.ints[WINDOW_BEGIN + i] = draw(0, most_pad);
        attrs.ints[WINDOW_END + i] = draw(0, most_pad);
    }
    return attrs;
}

static bool pool_met(const struct op_attrs *a, const int64_t *dims, int64_t row, int64_t column,
                     bool *padding) {
    const bool inside = row >= 0 && row < dims[2] && column >= 0 && column < dims[3];
    *padding = row < dims[2] + a->ints[WINDOW_END] && column < dims[3] + a->ints[WINDOW_END + 1];
    return inside;
}

/* Pools of [B,C,H,W] written out once more. */
static float pool_again(const struct op_attrs *a, const struct tensor *x, int64_t b, int64_t c,
                        int64_t i, int64_t j, int64_t *place) {
    const int64_t *dims = x->shape.dims;
    double sum = 0, best = -INFINITY;
    int64_t met = 0, all = 0;
    *place = -1;
    for (int64_t ki = 0; ki < a->ints[WINDOW_KERNEL]; ki++) {
        for (int64_t kj = 0; kj < a->ints[WINDOW_KERNEL + 1]; kj++) {
            const int64_t row =
                i * a->ints[WINDOW_STRIDE] - a->ints[WINDOW_BEGIN] + ki * a->ints[WINDOW_DILATION];
            const int64_t column = j * a->ints[WINDOW_STRIDE + 1] - a->ints[WINDOW_BEGIN + 1] +
                                   kj * a->ints[WINDOW_DILATION + 1];
            bool padding = false;
            const bool inside = pool_met(a, dims, row, column, &padding);
            all += padding ? 1 : 0;
            if (inside) {
                const int64_t at = ((b * dims[1] + c) * dims[2] + row) * dims[3] + column;
                const double value = (double)floats(x)[at];
                met++;
                sum += a->mode == POOL_LP ? pow(fabs(value), (double)a->index) : value;
                *place = value > best ? at : *place;
                best = value > best ? value : best;
            }
        }
    }
    if (a->mode == POOL_MAX) {
        return (float)best;
    }
    if (a->mode == POOL_LP) {
        return (float)pow(sum, 1.0 / (double)a->index);
    }
    const int64_t count = a->ints[WINDOW_INCLUDE] != 0 ? all : met;
    return count > 0 ? (float)(sum / (double)count) : 0;
}

static void pools_agree_with_a_second_implementation(void **state) {
    (void)state;
    for (int round = 0; round < 60; round++) {
        struct op_attrs attrs = window(1);
        attrs.mode = (int32_t)draw(0, POOL_FUNCTION_COUNT - 1);
        attrs.ints[WINDOW_KERNEL] = draw(2, 3);
        attrs.ints[WINDOW_KERNEL + 1] = draw(2, 3);
        attrs.ints[WINDOW_CEIL] = draw(0, 1);
        attrs.ints[WINDOW_INCLUDE] = draw(0, 1);
        attrs.index = attrs.mode == POOL_LP ? draw(1, 3) : 0;
        struct tensor x = normal(SHAPE(draw(1, 2), draw(1, 4), draw(6, 11), draw(6, 11)));
        struct tensor y[2], want, moved = to_nhwc(&x), last;
        const bool places = attrs.mode == POOL_MAX;
        run(places ? OP_POOL_INDICES : OP_POOL, &attrs, &x, 1, y);
        want = make(DTYPE_F32, y[0].shape);
        const int64_t *out = y[0].shape.dims;
        for (int64_t n = 0; n < count_of(&want); n++) {
            int64_t place = 0;
            floats(&want)[n] =
                pool_again(&attrs, &x, n / (out[1] * out[2] * out[3]),
                           n / (out[2] * out[3]) % out[1], n / out[3] % out[2], n % out[3], &place);
            assert_true(!places || ((int64_t *)y[1].data)[n] == place);
        }
        expect_close(&y[0], &want, 1e-5);
        attrs.axis = 3;
        run(OP_POOL, &attrs, &moved, 1, &last);
        struct tensor back = transposed(&last, 0, 3, 1, 2);
        expect_close(&back, &want, 1e-5);
        free_all(y, places ? 2 : 1);
        free_all((struct tensor[]){x, want, moved, last, back}, 5);
    }
}

/* The last window would begin in the padding behind, so there is none (ONNX 1.16). */
static void a_window_that_begins_in_the_padding_is_none(void **state) {
    (void)state;
    struct op_attrs attrs = {.axis = 1,
                             .mode = POOL_AVERAGE,
                             .ints = {3, 3, 0, 0, 3, 3, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1}};
    attrs.ints[WINDOW_CEIL] = 1;
    attrs.ints[WINDOW_INCLUDE] = 1;
    const struct tensor_type x = {DTYPE_F32, SHAPE(1, 3, 2, 2)};
    struct tensor_type y;
    assert_int_equal(op_infer(OP_POOL, &attrs, &x, 1, NULL, 0, &y, NULL), SHOAL_OK);
    assert_true(shape_equal(&y.shape, &SHAPE(1, 3, 1, 1)));
}

static void conv_is_the_core_convolution(void **state) {
    (void)state;
    for (int round = 0; round < 20; round++) {
        struct op_attrs attrs = window(2), core = {.groups = (int32_t)draw(1, 3)};
        attrs.groups = core.groups;
        for (int i = 0; i < 2; i++) {
            core.stride[i] = (int32_t)attrs.ints[WINDOW_STRIDE + i];
            core.dilation[i] = (int32_t)attrs.ints[WINDOW_DILATION + i];
            core.pad[i] = (int32_t)attrs.ints[WINDOW_BEGIN + i];
            core.pad[i + 2] = (int32_t)attrs.ints[WINDOW_END + i];
        }
        const int64_t per_group = draw(1, 3), o = core.groups * draw(1, 3);
        struct tensor in[3] = {normal(SHAPE(2, per_group * core.groups, draw(7, 10), draw(7, 10))),
                               normal(SHAPE(o, per_group, draw(1, 3), draw(1, 3))),
                               normal(SHAPE(o))};
        struct tensor y, moved = to_nhwc(&in[0]), want;
        run(OP_CONV, &attrs, in, 3, &y);
        struct tensor got = to_nhwc(&y);
        /* CONV2D takes params */
        const struct tensor_type x = {DTYPE_F32, moved.shape};
        const struct tensor_type params[2] = {{DTYPE_F32, in[1].shape}, {DTYPE_F32, in[2].shape}};
        struct kernel_desc desc;
        struct kernel *kernel = NULL;
        struct kernel_sizes sizes;
        assert_int_equal(kernel_describe(OP_CONV2D, &core, &x, 1, params, 2, 1, &desc, NULL),
                         SHOAL_OK);
        assert_int_equal(kernel_reference_ops.create(&desc, &kernel, NULL), SHOAL_OK);
        kernel_reference_ops.sizes(kernel, &sizes);
        void *packed = mem_alloc_aligned(sizes.packed_bytes);
        want = make(DTYPE_F32, desc.outputs[0].shape);
        const void *const given[2] = {in[1].data, in[2].data};
        assert_int_equal(kernel_reference_ops.pack(kernel, given, packed, NULL), SHOAL_OK);
        assert_int_equal(kernel_reference_ops.run(kernel, packed, (const void *[]){moved.data},
                                                  (void *[]){want.data}, NULL),
                         SHOAL_OK);
        expect_close(&got, &want, 1e-5);
        kernel_reference_ops.destroy(kernel);
        free_all(in, 3);
        free_all((struct tensor[]){y, moved, want, got}, 4);
        mem_free(packed);
    }
}

static double dot(const struct tensor *a, const struct tensor *b) {
    double sum = 0;
    assert_true(shape_equal(&a->shape, &b->shape));
    for (int64_t i = 0; i < count_of(a); i++) {
        sum += (double)floats(a)[i] * (double)floats(b)[i];
    }
    return sum;
}

/* ⟨conv(x), z⟩ = ⟨x, convᵀ(z)⟩ for every x and z, in one, two and three dimensions. */
static void conv_transpose_is_the_adjoint(void **state) {
    (void)state;
    for (int round = 0; round < 30; round++) {
        const int spatial = (int)draw(1, 3);
        struct op_attrs attrs = {.axis = 1, .groups = (int32_t)draw(1, 2)};
        struct shape x_shape = {.rank = 2 + spatial}, w_shape = {.rank = 2 + spatial};
        x_shape.dims[0] = 2;
        w_shape.dims[0] = attrs.groups * draw(1, 2);
        w_shape.dims[1] = draw(1, 3);
        x_shape.dims[1] = w_shape.dims[1] * attrs.groups;
        for (int i = 0; i < spatial; i++) {
            attrs.ints[WINDOW_STRIDE + i] = draw(1, 3);
            attrs.ints[WINDOW_DILATION + i] = draw(1, 2);
            attrs.ints[WINDOW_BEGIN + i] = draw(0, 1);
            attrs.ints[WINDOW_END + i] = draw(0, 1);
            x_shape.dims[2 + i] = draw(6, 8);
            w_shape.dims[2 + i] = draw(1, 3);
        }
        struct tensor in[2] = {normal(x_shape), normal(w_shape)};
        struct tensor y, back, z;
        run(OP_CONV, &attrs, in, 2, &y);
        z = normal(y.shape);
        for (int i = 0; i < spatial; i++) { /* what the stride left over */
            const int64_t whole = (y.shape.dims[2 + i] - 1) * attrs.ints[WINDOW_STRIDE + i] +
                                  (w_shape.dims[2 + i] - 1) * attrs.ints[WINDOW_DILATION + i] + 1 -
                                  attrs.ints[WINDOW_BEGIN + i] - attrs.ints[WINDOW_END + i];
            attrs.ints[WINDOW_KERNEL + i] = x_shape.dims[2 + i] - whole;
        }
        run(OP_CONV_TRANSPOSE, &attrs, (struct tensor[]){z, in[1]}, 2, &back);
        const double a = dot(&y, &z), b = dot(&in[0], &back);
        assert_true(fabs(a - b) <= 1e-3 * (1 + fabs(a)));
        if (spatial == 2) { /* the same with the channels last */
            struct tensor moved = to_nhwc(&z), last, want = to_nhwc(&back);
            attrs.axis = 3;
            run(OP_CONV_TRANSPOSE, &attrs, (struct tensor[]){moved, in[1]}, 2, &last);
            expect_close(&last, &want, 1e-5);
            free_all((struct tensor[]){moved, last, want}, 3);
        }
        free_all(in, 2);
        free_all((struct tensor[]){y, back, z}, 3);
    }
}

/* With all offsets 0 it is a convolution; COL2IM spreads as a transposed one with unit filters. */
static void deform_conv_and_col2im_contain_convolutions(void **state) {
    (void)state;
    struct op_attrs attrs = window(1);
    struct tensor in[5] = {normal(SHAPE(2, 4, 8, 9)), normal(SHAPE(3, 4, 3, 2))}, y, z;
    run(OP_CONV, &attrs, in, 2, &y);
    attrs.heads = 2;
    const int64_t *out = y.shape.dims;
    in[2] = make(DTYPE_F32, SHAPE(2, 24, out[2], out[3]));
    memset(in[2].data, 0, (size_t)count_of(&in[2]) * sizeof(float));
    run(OP_DEFORM_CONV, &attrs, in, 3, &z);
    expect_close(&z, &y, 1e-5);
    free_all(in, 3);
    free_all((struct tensor[]){y, z}, 2);

    /* one channel, kernel 2×2 of stride 2: the columns are the image, block by block */
    struct op_attrs blocks = {.axis = 2, .ints = {2, 2, 0, 0, 2, 2, 0, 0, 1, 1}};
    blocks.ints[WINDOW_IMAGE] = 4;
    blocks.ints[WINDOW_IMAGE + 1] = 6;
    struct tensor columns = normal(SHAPE(1, 4, 6)), image;
    run(OP_COL2IM, &blocks, &columns, 1, &image);
    for (int64_t i = 0; i < 4; i++) {
        for (int64_t j = 0; j < 6; j++) {
            assert_true(floats(&image)[i * 6 + j] ==
                        floats(&columns)[(i % 2 * 2 + j % 2) * 6 + i / 2 * 3 + j / 2]);
        }
    }
    free_all((struct tensor[]){columns, image}, 2);
}

static int64_t labels(const char *text) {
    uint64_t packed = 0;
    for (int i = 0; text[i] != 0; i++) {
        packed |= (uint64_t)(text[i] - 'a' + 1) << (8 * i);
    }
    return (int64_t)packed;
}

static void products_are_einsums(void **state) {
    (void)state;
    struct op_attrs attrs = {.scale = 1}, sums = {0};
    struct tensor in[2] = {normal(SHAPE(3, 1, 4, 5)), normal(SHAPE(2, 5, 6))}, y, z;
    run(OP_PRODUCT, &attrs, in, 2, &y);
    assert_true(shape_equal(&y.shape, &SHAPE(3, 2, 4, 6)));
    struct tensor flat = in[0];
    flat.shape = SHAPE(3, 4, 5);
    sums.ints[0] = labels("bmk");
    sums.ints[1] = labels("ckn");
    sums.ints[EINSUM_RESULT] = labels("bcmn");
    run(OP_EINSUM, &sums, (struct tensor[]){flat, in[1]}, 2, &z);
    expect_close(&y, &z, 1e-5);
    struct tensor turned = in[1], w; /* b read as stored [N,K] */
    turned.shape = SHAPE(2, 6, 5);
    attrs.transpose_b = true;
    attrs.scale = 0.5F;
    run(OP_PRODUCT, &attrs, (struct tensor[]){in[0], turned}, 2, &w);
    sums.ints[1] = labels("cnk");
    free_all(&z, 1);
    run(OP_EINSUM, &sums, (struct tensor[]){flat, turned}, 2, &z);
    for (int64_t i = 0; i < count_of(&z); i++) {
        floats(&z)[i] *= 0.5F;
    }
    expect_close(&w, &z, 1e-5);
    free_all(in, 2);
    free_all((struct tensor[]){y, z, w}, 3);

    struct op_attrs trace = {.ints = {labels("bii")}}; /* a diagonal's sum; whole numbers */
    const int64_t values[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    struct tensor m = numbers(DTYPE_I64, SHAPE(2, 2, 2), values), t;
    trace.ints[EINSUM_RESULT] = labels("b");
    run(OP_EINSUM, &trace, &m, 1, &t);
    assert_int_equal(((int64_t *)t.data)[0], 5);
    assert_int_equal(((int64_t *)t.data)[1], 13);
    free_all((struct tensor[]){m, t}, 2);
}

static void norms_agree_with_each_other(void **state) {
    (void)state;
    struct tensor x = normal(SHAPE(3, 4, 5, 2)), ones = make(DTYPE_F32, SHAPE(4)), y, z[3];
    struct tensor shift = normal(SHAPE(4));
    for (int i = 0; i < 4; i++) {
        floats(&ones)[i] = 1;
    }
    memset(shift.data, 0, 4 * sizeof(float));
    struct op_attrs group = {.axis = 1, .groups = 1, .epsilon = 1e-5F};
    run(OP_GROUP_NORM, &group, (struct tensor[]){x, ones, shift}, 3, &y);
    struct tensor one = make(DTYPE_F32, SHAPE(1));
    floats(&one)[0] = 1;
    run(OP_NORM_AXES, &group, (struct tensor[]){x, one}, 2, z);
    expect_close(&y, &z[0], 1e-5);
    /* with the moments that NORM_AXES tells, RMS_NORM of what is centred is the same */
    struct tensor centred = make(DTYPE_F32, x.shape), w;
    for (int64_t i = 0; i < count_of(&x); i++) {
        floats(&centred)[i] = floats(&x)[i] - floats(&z[1])[i / 40];
        assert_true(fabsf(floats(&centred)[i] * floats(&z[2])[i / 40] - floats(&y)[i]) < 1e-4F);
    }
    run(OP_RMS_NORM, &group, (struct tensor[]){centred, one}, 2, &w);
    expect_close(&w, &y, 1e-4);
    free_all(z, 3);
    free_all((struct tensor[]){y, w, centred, one}, 4);

    /* a group per channel: instances; channels last as well; batch norm with their moments */
    group.groups = 4;
    struct tensor moved = to_nhwc(&x), last;
    run(OP_GROUP_NORM, &group, (struct tensor[]){x, ones, shift}, 3, &y);
    group.axis = 3;
    run(OP_GROUP_NORM, &group, (struct tensor[]){moved, ones, shift}, 3, &last);
    struct tensor want = to_nhwc(&y);
    expect_close(&last, &want, 1e-5);
    free_all((struct tensor[]){x, y, ones, shift, moved, last, want}, 7);
}

static void lrn_and_lp_norm_and_batch_norm_as_written(void **state) {
    (void)state;
    struct tensor x = normal(SHAPE(2, 5, 3)), y;
    struct op_attrs lrn = {.axis = 1, .index = 3, .floats = {0.3F, 0.75F, 2.0F}};
    run(OP_LRN, &lrn, &x, 1, &y);
    for (int64_t i = 0; i < 30; i++) {
        double sum = 0;
        for (int64_t c = -1; c <= 1; c++) {
            const int64_t channel = i / 3 % 5 + c;
            if (channel >= 0 && channel < 5) {
                sum += pow((double)floats(&x)[i + c * 3], 2);
            }
        }
        const double want = (double)floats(&x)[i] / pow(2 + 0.3 / 3 * sum, 0.75);
        assert_true(fabs(want - (double)floats(&y)[i]) < 1e-5);
    }
    free_all(&y, 1);
    struct op_attrs norm = {.axis = 1, .index = 1};
    memset(x.data, 0, 15 * sizeof(float)); /* the first item's norms are 0 */
    run(OP_LP_NORM, &norm, &x, 1, &y);
    for (int64_t i = 0; i < 3; i++) {
        float sum = 0;
        for (int64_t c = 0; c < 5; c++) {
            assert_true(floats(&y)[c * 3 + i] == 0);
            sum += fabsf(floats(&y)[15 + c * 3 + i]);
        }
        assert_true(fabsf(sum - 1) < 1e-5F);
    }
    free_all(&y, 1);
    struct tensor in[5] = {x, normal(SHAPE(5)), normal(SHAPE(5)), normal(SHAPE(5)),
                           normal(SHAPE(5))};
    for (int i = 0; i < 5; i++) {
        floats(&in[4])[i] = fabsf(floats(&in[4])[i]);
    }
    norm.epsilon = 0.1F;
    run(OP_BATCH_NORM, &norm, in, 5, &y);
    for (int64_t i = 0; i < 30; i++) {
        const int64_t c = i / 3 % 5;
        const double want = ((double)floats(&x)[i] - (double)floats(&in[3])[c]) /
                                sqrt((double)floats(&in[4])[c] + 0.1) * (double)floats(&in[1])[c] +
                            (double)floats(&in[2])[c];
        assert_true(fabs(want - (double)floats(&y)[i]) < 1e-4);
    }
    free_all(in, 5);
    free_all(&y, 1);
}

int main(void) {
    read_seed();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pools_agree_with_a_second_implementation),
        cmocka_unit_test(a_window_that_begins_in_the_padding_is_none),
        cmocka_unit_test(conv_is_the_core_convolution),
        cmocka_unit_test(conv_transpose_is_the_adjoint),
        cmocka_unit_test(deform_conv_and_col2im_contain_convolutions),
        cmocka_unit_test(products_are_einsums),
        cmocka_unit_test(norms_agree_with_each_other),
        cmocka_unit_test(lrn_and_lp_norm_and_batch_norm_as_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
