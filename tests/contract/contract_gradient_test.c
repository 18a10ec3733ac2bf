/* Gradients made of ordinary nodes, run by the executor, against finite differences. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "mlp.h"

#include <math.h>
#include <string.h>

struct trainer {
    struct mlp mlp;
    struct executor *executor;
    struct executor_weights *weights;
    struct executor_slot *slot;
};

static struct trainer make_trainer(void) {
    struct trainer t = {.mlp = mlp_build()};
    t.executor = mlp_compile(t.mlp.graph, 1, 3, MLP_ALL_PHASES);
    assert_int_equal(executor_weights_load(t.executor, mlp_source(), &t.weights, NULL), SHOAL_OK);
    assert_int_equal(executor_slot_create(t.executor, &t.slot, NULL), SHOAL_OK);
    return t;
}

static void destroy_trainer(struct trainer *t) {
    executor_slot_destroy(t->slot);
    executor_weights_destroy(t->weights);
    executor_destroy(t->executor);
    graph_destroy(t->mlp.graph);
}

static void run(struct trainer *t, enum graph_phase phase) {
    assert_int_equal(executor_run(t->executor, t->weights, t->slot, phase, NULL), SHOAL_OK);
}

/* Mean loss of microbatch 0. */
static double loss(struct trainer *t) {
    mlp_fill_x(executor_slot_tensor(t->slot, t->mlp.x), 0);
    mlp_fill_label(executor_slot_tensor(t->slot, t->mlp.label), 0);
    run(t, GRAPH_F);
    run(t, GRAPH_B);
    const float *losses = executor_slot_tensor(t->slot, t->mlp.training.loss).data;
    double sum = 0;
    for (int i = 0; i < MLP_BATCH; i++) {
        sum += (double)losses[i];
    }
    return sum / MLP_BATCH;
}

static void test_gradients_match_finite_differences(void **state) {
    (void)state;
    struct trainer t = make_trainer();
    const struct autodiff *training = &t.mlp.training;
    assert_int_equal(training->param_count, 6);
    double largest = 0;
    int checked = 0;
    for (uint32_t p = 0; p < training->param_count; p++) {
        const struct tensor param = executor_weights_param(t.weights, training->params[p]);
        const size_t count = tensor_bytes(&param) / sizeof(float);
        float gradient[MLP_HIDDEN * MLP_HIDDEN], before[MLP_HIDDEN * MLP_HIDDEN];
        assert_true(count <= sizeof gradient / sizeof gradient[0]);
        (void)loss(&t);
        run(&t, GRAPH_W);
        memcpy(gradient, executor_slot_tensor(t.slot, training->gradients[p]).data,
               count * sizeof(float));
        memcpy(before, param.data, count * sizeof(float));
        const float *updated = executor_slot_tensor(t.slot, training->updated[p]).data;
        for (size_t i = 0; i < count; i++) {
            assert_true(updated[i] == before[i] - MLP_RATE * gradient[i]);
        }
        float *values = param.data;
        for (size_t i = 0; i < count; i++, checked++) {
            const float step = 0.02F;
            values[i] = before[i] + step;
            assert_int_equal(executor_weights_pack(t.weights, NULL), SHOAL_OK);
            const double above = loss(&t);
            values[i] = before[i] - step;
            assert_int_equal(executor_weights_pack(t.weights, NULL), SHOAL_OK);
            const double below = loss(&t);
            values[i] = before[i];
            const double difference = (above - below) / (2 * (double)step);
            if (fabs(difference - (double)gradient[i]) > 1e-3) {
                fail_msg("param %u element %zu: difference %g, gradient %g", p, i, difference,
                         (double)gradient[i]);
            }
            largest = fmax(largest, fabs(difference));
        }
        assert_int_equal(executor_weights_pack(t.weights, NULL), SHOAL_OK);
    }
    assert_int_equal(checked, 48 + 8 + 64 + 8 + 40 + 5);
    assert_true(largest > 0.05); /* far above the tolerance */
    destroy_trainer(&t);
}

static void test_training_lowers_the_loss(void **state) {
    (void)state;
    struct trainer t = make_trainer();
    const double first = loss(&t);
    for (int step = 0; step < 30; step++) {
        (void)loss(&t);
        run(&t, GRAPH_W);
        for (uint32_t p = 0; p < t.mlp.training.param_count; p++) {
            const struct tensor to = executor_weights_param(t.weights, t.mlp.training.params[p]);
            memcpy(to.data, executor_slot_tensor(t.slot, t.mlp.training.updated[p]).data,
                   tensor_bytes(&to));
        }
        assert_int_equal(executor_weights_pack(t.weights, NULL), SHOAL_OK);
    }
    assert_true(loss(&t) < 0.2 * first);
    destroy_trainer(&t);
}

static void test_a_training_step_allocates_nothing(void **state) {
    (void)state;
    struct trainer t = make_trainer();
    const uint64_t before = mem_allocation_count();
    for (int i = 0; i < 10; i++) {
        (void)loss(&t);
        run(&t, GRAPH_W);
        assert_int_equal(executor_weights_pack(t.weights, NULL), SHOAL_OK);
    }
    assert_int_equal(mem_allocation_count(), before);
    destroy_trainer(&t);
}

static void test_phases_say_what_they_take_and_leave(void **state) {
    (void)state;
    struct mlp mlp = mlp_build();
    struct executor *front = mlp_compile(mlp.graph, 1, 2, MLP_ALL_PHASES);
    struct executor *back = mlp_compile(mlp.graph, 3, 3, MLP_ALL_PHASES);
    const graph_value_id *ids = NULL, *others = NULL;
    assert_int_equal(executor_phase_inputs(front, GRAPH_F, &ids), 1);
    assert_int_equal(ids[0], mlp.x); /* labels do not travel through the stages */
    assert_int_equal(executor_phase_outputs(front, GRAPH_F, &ids), 1);
    assert_int_equal(executor_phase_inputs(back, GRAPH_F, &others), 1);
    assert_int_equal(ids[0], others[0]);
    assert_int_equal(executor_phase_inputs(back, GRAPH_B, &ids), 1);
    assert_int_equal(ids[0], mlp.label);
    assert_int_equal(executor_phase_outputs(back, GRAPH_B, &ids),
                     2); /* loss and the gradient of h1 */
    assert_int_equal(ids[0], mlp.training.loss);
    assert_int_equal(executor_phase_inputs(front, GRAPH_B, &others), 1);
    assert_int_equal(ids[1], others[0]);
    assert_int_equal(executor_phase_outputs(front, GRAPH_B, &ids), 0);
    assert_int_equal(executor_phase_outputs(front, GRAPH_W, &ids), 2 * 4);
    assert_int_equal(executor_phase_outputs(back, GRAPH_W, &ids), 2 * 2);
    executor_destroy(front);
    executor_destroy(back);
    graph_destroy(mlp.graph);
}

static void test_a_gradient_that_needs_another_stages_activations_is_refused(void **state) {
    (void)state;
    struct mlp mlp = mlp_build();
    graph_value_id product = 0;
    const struct op_attrs outer = {.transpose_a = true};
    const graph_value_id inputs[] = {mlp.logits, mlp.logits}; /* segment 3 makes them */
    assert_int_equal(graph_set_gradient_segment(mlp.graph, 1, NULL), SHOAL_OK);
    assert_int_equal(graph_add_node(mlp.graph, "stray", OP_MATMUL, &outer, GRAPH_B, inputs, 2, NULL,
                                    0, &product, NULL),
                     SHOAL_OK);
    const struct executor_options options = {1, 2, MLP_BATCH, 1, NULL, MLP_ALL_PHASES};
    struct executor *executor = NULL;
    struct shoal_error error;
    assert_int_equal(executor_compile(mlp.graph, &options, &executor, &error), SHOAL_INVALID);
    assert_non_null(strstr(error.text, "stray"));
    graph_destroy(mlp.graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients_match_finite_differences),
        cmocka_unit_test(test_training_lowers_the_loss),
        cmocka_unit_test(test_a_training_step_allocates_nothing),
        cmocka_unit_test(test_phases_say_what_they_take_and_leave),
        cmocka_unit_test(test_a_gradient_that_needs_another_stages_activations_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
