/*
 * Asynchronous 1F1B with weight stashing over two stages, each a thread with two packed weight
 * versions. Everything about versions and communication is in this file; the executor is handed
 * both.
 *
 * Stage 0 runs F0 F1 B0 F2 B1 F3 …, stage 1 F0 B0 F1 B1 …; each backward is followed by the update.
 * So microbatch i meets version max(0, i − 1) on stage 0, in both directions, and version i on
 * stage 1; updates go on top of the latest version.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/assert.h"
#include "mlp.h"

#include <pthread.h>
#include <string.h>

#define MICROBATCHES 24
#define MAX_FLOATS (MLP_BATCH * MLP_HIDDEN)
#define ALL_WEIGHTS 256

/* One tensor at a time in one direction; put waits while it is full, take while it is empty. */
struct channel {
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int full;
    float data[MAX_FLOATS];
};

static void channel_init(struct channel *channel) {
    (void)pthread_mutex_init(&channel->mutex, NULL);
    (void)pthread_cond_init(&channel->changed, NULL);
    channel->full = 0;
}

static void channel_fini(struct channel *channel) {
    (void)pthread_mutex_destroy(&channel->mutex);
    (void)pthread_cond_destroy(&channel->changed);
}

static void channel_move(struct channel *channel, struct tensor tensor, int full) {
    (void)pthread_mutex_lock(&channel->mutex);
    while (channel->full != full) {
        (void)pthread_cond_wait(&channel->changed, &channel->mutex);
    }
    ASSERT(tensor_bytes(&tensor) <= sizeof channel->data);
    if (full != 0) {
        memcpy(tensor.data, channel->data, tensor_bytes(&tensor));
    } else {
        memcpy(channel->data, tensor.data, tensor_bytes(&tensor));
    }
    channel->full = !full;
    (void)pthread_cond_broadcast(&channel->changed);
    (void)pthread_mutex_unlock(&channel->mutex);
}

static void put(struct channel *channel, struct tensor tensor) {
    channel_move(channel, tensor, 0);
}

static void take(struct channel *channel, struct tensor tensor) {
    channel_move(channel, tensor, 1);
}

struct stage {
    const struct mlp *mlp;
    struct executor *executor;
    struct executor_weights *versions[2];
    struct executor_slot *slots[2];
    int latest;              /* index of the newest version */
    int stash[MICROBATCHES]; /* version of each microbatch */
    struct channel *activations, *gradients;
    float losses[MICROBATCHES];
};

static void stage_init(struct stage *stage, const struct mlp *mlp, uint32_t first, uint32_t last,
                       struct channel *activations, struct channel *gradients) {
    *stage = (struct stage){.mlp = mlp, .activations = activations, .gradients = gradients};
    stage->executor = mlp_compile(mlp->graph, first, last, MLP_ALL_PHASES);
    assert_int_equal(
        executor_weights_load(stage->executor, mlp_source(), &stage->versions[0], NULL), SHOAL_OK);
    assert_int_equal(executor_weights_create(stage->executor, &stage->versions[1], NULL), SHOAL_OK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(executor_slot_create(stage->executor, &stage->slots[i], NULL), SHOAL_OK);
    }
}

static void stage_fini(struct stage *stage) {
    for (int i = 0; i < 2; i++) {
        executor_slot_destroy(stage->slots[i]);
        executor_weights_destroy(stage->versions[i]);
    }
    executor_destroy(stage->executor);
}

static void run(struct stage *stage, int version, int microbatch, enum graph_phase phase) {
    const shoal_status status = executor_run(stage->executor, stage->versions[version],
                                             stage->slots[microbatch % 2], phase, NULL);
    ASSERT(status == SHOAL_OK);
}

static struct tensor only(const struct stage *stage, int microbatch, uint32_t count,
                          const graph_value_id *ids) {
    ASSERT(count == 1);
    return executor_slot_tensor(stage->slots[microbatch % 2], ids[0]);
}

static void forward(struct stage *stage, int microbatch) {
    stage->stash[microbatch] = stage->latest;
    run(stage, stage->latest, microbatch, GRAPH_F);
}

/* B with the stashed version, W on top of the latest; the result becomes the next version in the
 * other buffer. */
static void backward(struct stage *stage, int microbatch) {
    run(stage, stage->stash[microbatch], microbatch, GRAPH_B);
    run(stage, stage->latest, microbatch, GRAPH_W);
    const int next = 1 - stage->latest;
    const graph_value_id *outputs = NULL;
    const uint32_t count = executor_phase_outputs(stage->executor, GRAPH_W, &outputs);
    const struct autodiff *training = &stage->mlp->training;
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t p = 0; p < training->param_count; p++) {
            if (training->updated[p] == outputs[i]) {
                const struct tensor to =
                    executor_weights_param(stage->versions[next], training->params[p]);
                memcpy(to.data, executor_slot_tensor(stage->slots[microbatch % 2], outputs[i]).data,
                       tensor_bytes(&to));
            }
        }
    }
    const shoal_status status = executor_weights_pack(stage->versions[next], NULL);
    ASSERT(status == SHOAL_OK);
    stage->latest = next;
}

static void front_forward(struct stage *stage, int microbatch) {
    const graph_value_id *ids = NULL;
    mlp_fill_x(executor_slot_tensor(stage->slots[microbatch % 2], stage->mlp->x),
               (uint64_t)microbatch);
    forward(stage, microbatch);
    const uint32_t count = executor_outputs(stage->executor, &ids);
    put(stage->activations, only(stage, microbatch, count, ids));
}

static void *front(void *argument) {
    struct stage *stage = argument;
    const graph_value_id *ids = NULL;
    front_forward(stage, 0);
    for (int i = 0; i < MICROBATCHES; i++) {
        if (i + 1 < MICROBATCHES) {
            front_forward(stage, i + 1);
        }
        const uint32_t count = executor_phase_inputs(stage->executor, GRAPH_B, &ids);
        take(stage->gradients, only(stage, i, count, ids));
        backward(stage, i);
    }
    return NULL;
}

static void *back(void *argument) {
    struct stage *stage = argument;
    const graph_value_id *ids = NULL;
    for (int i = 0; i < MICROBATCHES; i++) {
        struct executor_slot *slot = stage->slots[i % 2];
        const uint32_t count = executor_inputs(stage->executor, &ids);
        take(stage->activations, only(stage, i, count, ids));
        mlp_fill_label(executor_slot_tensor(slot, stage->mlp->label), (uint64_t)i);
        forward(stage, i);
        backward(stage, i);
        const float *losses = executor_slot_tensor(slot, stage->mlp->training.loss).data;
        stage->losses[i] = losses[0] + losses[1] + losses[2] + losses[3];
        const uint32_t outputs = executor_phase_outputs(stage->executor, GRAPH_B, &ids);
        for (uint32_t v = 0; v < outputs; v++) {
            if (ids[v] != stage->mlp->training.loss) {
                put(stage->gradients, executor_slot_tensor(slot, ids[v]));
            }
        }
    }
    return NULL;
}

/* The params' plain values, one after the other in the order of autodiff's list. */
struct result {
    float losses[MICROBATCHES];
    float weights[ALL_WEIGHTS];
};

static bool in_segments(const struct mlp *mlp, graph_param_id param, uint32_t first,
                        uint32_t last) {
    for (graph_node_id id = 0; id < graph_node_count(mlp->graph); id++) {
        const struct graph_node *node = graph_node_get(mlp->graph, id);
        for (int p = 0; p < node->param_count; p++) {
            if (node->params[p] == param) {
                return node->segment >= first && node->segment <= last;
            }
        }
    }
    return false;
}

/* Copies the params of some segments out of (or into) a version. */
static void copy_weights(const struct mlp *mlp, uint32_t first, uint32_t last,
                         struct executor_weights *weights, float *all, bool out) {
    for (uint32_t p = 0; p < mlp->training.param_count; p++) {
        const graph_param_id id = mlp->training.params[p];
        const struct graph_param *param = graph_param_get(mlp->graph, id);
        int64_t count = 0;
        assert_true(shape_count(&param->type.shape, &count));
        if (in_segments(mlp, id, first, last)) {
            float *values = executor_weights_param(weights, id).data;
            memcpy(out ? all : values, out ? values : all, (size_t)count * sizeof(float));
        }
        all += count;
    }
}

static void train_two_stages(const struct mlp *mlp, uint32_t cut, struct result *result) {
    struct channel activations, gradients;
    struct stage stages[2];
    pthread_t threads[2];
    channel_init(&activations);
    channel_init(&gradients);
    stage_init(&stages[0], mlp, 1, cut, &activations, &gradients);
    stage_init(&stages[1], mlp, cut + 1, 3, &activations, &gradients);
    assert_int_equal(pthread_create(&threads[0], NULL, front, &stages[0]), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, back, &stages[1]), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    memset(result, 0, sizeof *result);
    memcpy(result->losses, stages[1].losses, sizeof result->losses);
    copy_weights(mlp, 1, cut, stages[0].versions[stages[0].latest], result->weights, true);
    copy_weights(mlp, cut + 1, 3, stages[1].versions[stages[1].latest], result->weights, true);
    for (int i = 0; i < 2; i++) {
        stage_fini(&stages[i]);
    }
    channel_fini(&activations);
    channel_fini(&gradients);
}

static void pack_from(const struct mlp *mlp, uint32_t cut, struct executor_weights *weights,
                      float *front_all, float *back_all) {
    copy_weights(mlp, 1, cut, weights, front_all, false);
    copy_weights(mlp, cut + 1, 3, weights, back_all, false);
    assert_int_equal(executor_weights_pack(weights, NULL), SHOAL_OK);
}

/* The same staleness on the uncut model, one microbatch after the other, every version kept. */
static void simulate(const struct mlp *mlp, uint32_t cut, int staleness, struct result *result) {
    static float history[MICROBATCHES + 1][ALL_WEIGHTS];
    struct executor *executor = mlp_compile(mlp->graph, 1, 3, MLP_ALL_PHASES);
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    assert_int_equal(executor_weights_load(executor, mlp_source(), &weights, NULL), SHOAL_OK);
    assert_int_equal(executor_slot_create(executor, &slot, NULL), SHOAL_OK);
    memset(history, 0, sizeof history);
    memset(result, 0, sizeof *result);
    copy_weights(mlp, 1, 3, weights, history[0], true);
    for (int i = 0; i < MICROBATCHES; i++) {
        pack_from(mlp, cut, weights, history[i > staleness ? i - staleness : 0], history[i]);
        mlp_fill_x(executor_slot_tensor(slot, mlp->x), (uint64_t)i);
        mlp_fill_label(executor_slot_tensor(slot, mlp->label), (uint64_t)i);
        assert_int_equal(executor_run(executor, weights, slot, GRAPH_F, NULL), SHOAL_OK);
        assert_int_equal(executor_run(executor, weights, slot, GRAPH_B, NULL), SHOAL_OK);
        pack_from(mlp, cut, weights, history[i], history[i]);
        assert_int_equal(executor_run(executor, weights, slot, GRAPH_W, NULL), SHOAL_OK);
        const float *losses = executor_slot_tensor(slot, mlp->training.loss).data;
        result->losses[i] = losses[0] + losses[1] + losses[2] + losses[3];
        float *to = history[i + 1];
        for (uint32_t p = 0; p < mlp->training.param_count; p++) {
            const struct tensor value = executor_slot_tensor(slot, mlp->training.updated[p]);
            memcpy(to, value.data, tensor_bytes(&value));
            to += tensor_bytes(&value) / sizeof(float);
        }
    }
    memcpy(result->weights, history[MICROBATCHES], sizeof result->weights);
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
}

static void test_asynchronous_stages_equal_the_simulation(void **state) {
    (void)state;
    struct mlp mlp = mlp_build();
    for (uint32_t cut = 1; cut <= 2; cut++) {
        struct result stages, stale, fresh;
        train_two_stages(&mlp, cut, &stages);
        simulate(&mlp, cut, 1, &stale);
        simulate(&mlp, cut, 0, &fresh);
        assert_memory_equal(stages.losses, stale.losses, sizeof stages.losses);
        assert_memory_equal(stages.weights, stale.weights, sizeof stages.weights);
        /* Without staleness the weights are others: the comparison means something. */
        assert_memory_not_equal(fresh.weights, stale.weights, sizeof fresh.weights);
    }
    graph_destroy(mlp.graph);
}

static void test_the_order_of_threads_does_not_matter(void **state) {
    (void)state;
    struct mlp mlp = mlp_build();
    struct result first, again;
    train_two_stages(&mlp, 1, &first);
    for (int i = 0; i < 10; i++) {
        train_two_stages(&mlp, 1, &again);
        assert_memory_equal(&first, &again, sizeof first);
    }
    graph_destroy(mlp.graph);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_asynchronous_stages_equal_the_simulation),
        cmocka_unit_test(test_the_order_of_threads_does_not_matter),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
