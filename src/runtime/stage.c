#include "runtime/stage.h"

#include "base/memory.h"
#include "formats/safetensors.h"
#include "platform/clock.h"
#include "platform/cpu.h"

#include <string.h>

struct stage {
    struct graph *graph;
    struct executor *executor;
    struct executor_weights *weights;
    struct executor_slot *slot;
    uint32_t input_count, output_count;
    struct tensor inputs[WIRE_MAX_TENSORS], outputs[WIRE_MAX_TENSORS]; /* data: once loaded */
    struct stage_memory memory;
};

shoal_status weights_open(const struct weights_spec *spec, struct weight_source **out,
                          struct shoal_error *error) {
    static const char index_suffix[] = ".index.json";
    if (spec->path == NULL) {
        return weights_random_create(spec->seed, out, error);
    }
    const size_t length = strlen(spec->path), end = sizeof index_suffix - 1;
    if (length > end && strcmp(spec->path + length - end, index_suffix) == 0) {
        return safetensors_open_index(spec->path, out, error);
    }
    return safetensors_open(&spec->path, 1, out, error);
}

/* The types of what crosses a cut; at run time the slot's memory of them. */
static shoal_status crossing_types(const struct stage *stage, const struct stage_options *options,
                                   const graph_value_id *values, uint32_t count,
                                   struct tensor out[WIRE_MAX_TENSORS], struct shoal_error *error) {
    if (count > WIRE_MAX_TENSORS) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "%u tensors cross a cut of segments %u to %u; at most %d fit a message",
                         count, options->first, options->last, WIRE_MAX_TENSORS);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor_type type =
            graph_resolve(graph_value_get(stage->graph, values[i])->type, options->batch);
        out[i] = (struct tensor){.dtype = type.dtype, .shape = type.shape};
    }
    return SHOAL_OK;
}

static size_t planned_bytes(const struct stage_memory *memory) {
    const size_t step = memory->executor.slot_bytes + memory->executor.scratch_bytes +
                        STAGE_MESSAGES_IN * memory->in_bytes +
                        STAGE_MESSAGES_OUT * memory->out_bytes;
    const size_t load = memory->executor.load_extra_bytes;
    return memory->executor.weights_bytes + (step > load ? step : load);
}

static shoal_status compile(struct stage *stage, const struct stage_options *options,
                            struct shoal_error *error) {
    TRY(model_build(options->model, &stage->graph, error));
    const struct executor_options executor = {.first = options->first,
                                              .last = options->last,
                                              .batch = options->batch,
                                              .threads = options->threads,
                                              .choice = options->choice};
    TRY(executor_compile(stage->graph, &executor, &stage->executor, error));
    const graph_value_id *values;
    stage->input_count = executor_inputs(stage->executor, &values);
    TRY(crossing_types(stage, options, values, stage->input_count, stage->inputs, error));
    stage->output_count = executor_outputs(stage->executor, &values);
    TRY(crossing_types(stage, options, values, stage->output_count, stage->outputs, error));
    struct stage_memory *memory = &stage->memory;
    executor_memory_get(stage->executor, &memory->executor);
    TRY(wire_size(stage->inputs, stage->input_count, 0, &memory->in_bytes, error));
    TRY(wire_size(stage->outputs, stage->output_count, 0, &memory->out_bytes, error));
    memory->planned_bytes = planned_bytes(memory);
    return SHOAL_OK;
}

shoal_status stage_compile(const struct stage_options *options, struct stage **out,
                           struct shoal_error *error) {
    struct stage *stage = mem_calloc(1, sizeof *stage);
    if (stage == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a stage");
    }
    const shoal_status status = compile(stage, options, error);
    if (status != SHOAL_OK) {
        stage_destroy(stage);
        return status;
    }
    *out = stage;
    return SHOAL_OK;
}

void stage_memory_get(const struct stage *stage, struct stage_memory *out) {
    *out = stage->memory;
}

shoal_status stage_load(struct stage *stage, const struct weights_spec *weights,
                        struct shoal_error *error) {
    struct weight_source *source = NULL;
    TRY(weights_open(weights, &source, error));
    const shoal_status loaded =
        executor_weights_load(stage->executor, source, &stage->weights, error);
    source->ops->destroy(source);
    TRY(loaded);
    memory_trim();
    TRY(executor_slot_create(stage->executor, &stage->slot, error));
    const graph_value_id *values;
    (void)executor_inputs(stage->executor, &values);
    for (uint32_t i = 0; i < stage->input_count; i++) {
        stage->inputs[i] = executor_slot_tensor(stage->slot, values[i]);
    }
    (void)executor_outputs(stage->executor, &values);
    for (uint32_t i = 0; i < stage->output_count; i++) {
        stage->outputs[i] = executor_slot_tensor(stage->slot, values[i]);
    }
    return SHOAL_OK;
}

void stage_destroy(struct stage *stage) {
    if (stage == NULL) {
        return;
    }
    executor_slot_destroy(stage->slot);
    executor_weights_destroy(stage->weights);
    executor_destroy(stage->executor);
    graph_destroy(stage->graph);
    mem_free(stage);
    memory_trim();
}

static shoal_status copy_in(struct stage *stage, const struct wire_message *message,
                            struct shoal_error *error) {
    if (message->header.tensor_count != stage->input_count) {
        return error_set(error, SHOAL_PROTOCOL, "a message carries %u tensors, the stage takes %u",
                         message->header.tensor_count, stage->input_count);
    }
    for (uint32_t i = 0; i < stage->input_count; i++) {
        const struct tensor *have = &message->tensors[i], *want = &stage->inputs[i];
        if (have->dtype != want->dtype || !shape_equal(&have->shape, &want->shape)) {
            char a[SHAPE_TEXT], b[SHAPE_TEXT];
            return error_set(error, SHOAL_PROTOCOL,
                             "tensor %u of a message is %s %s, the stage takes %s %s", i,
                             dtype_name(have->dtype), shape_format(&have->shape, a),
                             dtype_name(want->dtype), shape_format(&want->shape, b));
        }
    }
    for (uint32_t i = 0; i < stage->input_count; i++) {
        memcpy(stage->inputs[i].data, message->tensors[i].data, tensor_bytes(&stage->inputs[i]));
    }
    return SHOAL_OK;
}

shoal_status stage_run(struct stage *stage, const struct wire_message *message, struct tensor *out,
                       uint32_t *out_count, double *copy_s, double *compute_s,
                       struct shoal_error *error) {
    const uint64_t start = platform_now_ns();
    TRY(copy_in(stage, message, error));
    const uint64_t copied = platform_now_ns();
    TRY(executor_run(stage->executor, stage->weights, stage->slot, GRAPH_F, error));
    const uint64_t done = platform_now_ns();
    memcpy(out, stage->outputs, stage->output_count * sizeof *out);
    *out_count = stage->output_count;
    if (copy_s != NULL) {
        *copy_s = (double)(copied - start) * 1e-9;
    }
    if (compute_s != NULL) {
        *compute_s = (double)(done - copied) * 1e-9;
    }
    return SHOAL_OK;
}
