#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "graph/weights.h"

#include <math.h>
#include <string.h>

static void borrow(struct weight_source *source, const char *name, struct shape shape,
                   enum graph_fill fill, struct tensor *out) {
    assert_int_equal(source->ops->borrow(source, name, &shape, fill, out, NULL), SHOAL_OK);
    assert_true(shape_equal(&out->shape, &shape));
    assert_int_equal(out->dtype, DTYPE_F32);
}

static void test_seed_and_name_decide_and_nothing_else(void **state) {
    (void)state;
    struct weight_source *a = NULL, *b = NULL, *other = NULL;
    assert_int_equal(weights_random_create(7, &a, NULL), SHOAL_OK);
    assert_int_equal(weights_random_create(7, &b, NULL), SHOAL_OK);
    assert_int_equal(weights_random_create(8, &other, NULL), SHOAL_OK);
    struct tensor x, y, z, w;
    borrow(a, "layer.weight", SHAPE(40, 25), GRAPH_FILL_NORMAL, &x);
    borrow(b, "another.weight", SHAPE(3), GRAPH_FILL_NORMAL, &y); /* another history */
    b->ops->release(b, &y);
    borrow(b, "layer.weight", SHAPE(40, 25), GRAPH_FILL_NORMAL, &y);
    borrow(b, "layer.weighs", SHAPE(40, 25), GRAPH_FILL_NORMAL, &z);
    borrow(other, "layer.weight", SHAPE(40, 25), GRAPH_FILL_NORMAL, &w);
    assert_memory_equal(x.data, y.data, 4000);
    assert_int_not_equal(memcmp(x.data, z.data, 4000), 0);
    assert_int_not_equal(memcmp(x.data, w.data, 4000), 0);
    double sum = 0, squares = 0;
    for (int i = 0; i < 1000; i++) {
        const double value = (double)((const float *)x.data)[i];
        sum += value;
        squares += value * value;
    }
    assert_true(fabs(sum / 1000) < 0.003);
    assert_true(fabs(sqrt(squares / 1000) - 0.02) < 0.002);
    a->ops->release(a, &x);
    b->ops->release(b, &y);
    b->ops->release(b, &z);
    other->ops->release(other, &w);
    a->ops->destroy(a);
    b->ops->destroy(b);
    other->ops->destroy(other);
}

static void test_fills(void **state) {
    (void)state;
    struct weight_source *source = NULL;
    assert_int_equal(weights_random_create(1, &source, NULL), SHOAL_OK);
    struct tensor zeros, ones;
    borrow(source, "bias", SHAPE(17), GRAPH_FILL_ZEROS, &zeros);
    borrow(source, "norm", SHAPE(17), GRAPH_FILL_ONES, &ones);
    for (int i = 0; i < 17; i++) {
        assert_true(((const float *)zeros.data)[i] == 0.0F);
        assert_true(((const float *)ones.data)[i] == 1.0F);
    }
    source->ops->release(source, &zeros);
    source->ops->release(source, &ones);
    source->ops->destroy(source);
}

static void test_errors(void **state) {
    (void)state;
    struct weight_source *source = NULL;
    mem_fail_after(1);
    assert_int_equal(weights_random_create(1, &source, NULL), SHOAL_NO_MEMORY);
    mem_fail_after(0);
    assert_null(source);
    assert_int_equal(weights_random_create(1, &source, NULL), SHOAL_OK);
    struct tensor tensor;
    struct shoal_error error;
    mem_fail_after(1);
    assert_int_equal(
        source->ops->borrow(source, "w.x", &SHAPE(5), GRAPH_FILL_NORMAL, &tensor, &error),
        SHOAL_NO_MEMORY);
    mem_fail_after(0);
    assert_non_null(strstr(error.text, "w.x"));
    assert_int_equal(source->ops->borrow(source, "w.x", &SHAPE(INT64_MAX, 2), GRAPH_FILL_NORMAL,
                                         &tensor, &error),
                     SHOAL_INVALID);
    source->ops->destroy(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_seed_and_name_decide_and_nothing_else),
        cmocka_unit_test(test_fills),
        cmocka_unit_test(test_errors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
