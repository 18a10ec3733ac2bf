#include "runtime/stage.h"

#include "base/memory.h"
#include "formats/safetensors.h"
#include "graph/derived.h"
#include "platform/clock.h"
#include "platform/cpu.h"
#include "runtime/cancel_source.h"
#include "runtime/content_source.h"
#include "runtime/onnx_weights.h"

#include <string.h>

/* The stage at one of the model's lengths. */
struct variant {
    struct graph *graph;
    struct tensor inputs[WIRE_MAX_TENSORS], outputs[WIRE_MAX_TENSORS]; /* data: once loaded */
};

struct stage {
    struct variant *variants; /* in the order of model_lengths */
    uint32_t variant_count;
    struct executor_group *group;
    uint32_t input_count, output_count;
    struct model_input checks[MODEL_MAX_INPUTS]; /* the first stage's inputs come from outside */
    uint32_t check_count;
    struct stage_memory memory;
};

shoal_status weights_open(const struct weights_spec *spec, struct weight_source **out,
                          struct shoal_error *error) {
    static const char index_suffix[] = ".index.json";
    if (spec->manifest != NULL) {
        return content_source_create(spec->contents, spec->manifest, out, error);
    }
    if (spec->path == NULL) {
        return weights_random_create(spec->seed, out, error);
    }
    if (onnx_weights_is(spec->path)) {
        return onnx_weights_open(spec->path, out, error);
    }
    const size_t length = strlen(spec->path), end = sizeof index_suffix - 1;
    if (length > end && strcmp(spec->path + length - end, index_suffix) == 0) {
        return safetensors_open_index(spec->path, out, error);
    }
    return safetensors_open(&spec->path, 1, out, error);
}

/* The types of what crosses a cut; at run time the slot's memory of them. */
static shoal_status crossing_types(const struct graph *graph, const struct stage_options *options,
                                   const graph_value_id *values, uint32_t count,
                                   struct tensor out[WIRE_MAX_TENSORS], struct shoal_error *error) {
    if (count > WIRE_MAX_TENSORS) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "%u tensors cross a cut of segments %u to %u; at most %d fit a message",
                         count, options->first, options->last, WIRE_MAX_TENSORS);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct tensor_type type =
            graph_resolve(graph_value_get(graph, values[i])->type, options->batch);
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

/* At all lengths that messages may have. */
static shoal_status compile_variants(struct stage *stage, const struct stage_options *options,
                                     struct shoal_error *error) {
    struct graph *graphs[MODEL_MAX_LENGTHS];
    stage->variants = mem_calloc(MODEL_MAX_LENGTHS, sizeof *stage->variants);
    if (stage->variants == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a stage");
    }
    TRY(model_build_lengths(options->model, graphs, &stage->variant_count, error));
    for (uint32_t i = 0; i < stage->variant_count; i++) {
        stage->variants[i].graph = graphs[i];
    }
    /* Ops themselves bound what a graph's inputs choose. */
    stage->check_count = options->first == 1 && options->model->family != MODEL_GRAPH
                             ? model_inputs(options->model, stage->checks)
                             : 0;
    const struct executor_options executor = {.first = options->first,
                                              .last = options->last,
                                              .batch = options->batch,
                                              .threads = options->threads,
                                              .choice = options->choice};
    return executor_group_compile((const struct graph *const *)graphs, stage->variant_count,
                                  &executor, &stage->group, error);
}

/* What crosses the cuts at one length, and the greatest messages so far. */
static shoal_status measure_messages(struct stage *stage, const struct stage_options *options,
                                     uint32_t index, struct shoal_error *error) {
    struct variant *variant = &stage->variants[index];
    const graph_value_id *values;
    size_t in, out;
    stage->input_count = executor_group_inputs(stage->group, index, &values);
    TRY(crossing_types(variant->graph, options, values, stage->input_count, variant->inputs,
                       error));
    stage->output_count = executor_group_outputs(stage->group, index, &values);
    TRY(crossing_types(variant->graph, options, values, stage->output_count, variant->outputs,
                       error));
    TRY(wire_size(variant->inputs, stage->input_count, 0, &in, error));
    TRY(wire_size(variant->outputs, stage->output_count, 0, &out, error));
    stage->memory.in_bytes = in > stage->memory.in_bytes ? in : stage->memory.in_bytes;
    stage->memory.out_bytes = out > stage->memory.out_bytes ? out : stage->memory.out_bytes;
    return SHOAL_OK;
}

static shoal_status compile(struct stage *stage, const struct stage_options *options,
                            struct shoal_error *error) {
    TRY(compile_variants(stage, options, error));
    for (uint32_t i = 0; i < stage->variant_count; i++) {
        TRY(measure_messages(stage, options, i, error));
    }
    executor_group_memory_get(stage->group, &stage->memory.executor);
    stage->memory.planned_bytes = planned_bytes(&stage->memory);
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

/* What the graphs derive is computed here, by each for itself. */
static shoal_status load_from(struct stage *stage, struct weight_source *source,
                              struct shoal_error *error) {
    struct weight_source *sources[MODEL_MAX_LENGTHS];
    uint32_t derived = 0;
    shoal_status status = SHOAL_OK;
    if (graph_constants_get(stage->variants[0].graph) == NULL) {
        return executor_group_load(stage->group, source, error);
    }
    for (; derived < stage->variant_count && status == SHOAL_OK; derived++) {
        status = weights_derived_create(stage->variants[derived].graph, source, &sources[derived],
                                        error);
        if (status != SHOAL_OK) {
            break;
        }
    }
    if (status == SHOAL_OK) {
        status = executor_group_load_each(stage->group, sources, error);
    }
    while (derived > 0) {
        derived--;
        sources[derived]->ops->destroy(sources[derived]);
    }
    return status;
}

shoal_status stage_load(struct stage *stage, const struct weights_spec *weights,
                        struct shoal_error *error) {
    struct weight_source *source = NULL;
    TRY(weights_open(weights, &source, error));
    if (weights->cancel != NULL) {
        TRY(cancel_source_create(source, weights->cancel, &source, error));
    }
    const shoal_status loaded = load_from(stage, source, error);
    source->ops->destroy(source);
    TRY(loaded);
    memory_trim();
    for (uint32_t v = 0; v < stage->variant_count; v++) {
        const graph_value_id *values;
        (void)executor_group_inputs(stage->group, v, &values);
        for (uint32_t i = 0; i < stage->input_count; i++) {
            stage->variants[v].inputs[i] = executor_group_tensor(stage->group, v, values[i]);
        }
        (void)executor_group_outputs(stage->group, v, &values);
        for (uint32_t i = 0; i < stage->output_count; i++) {
            stage->variants[v].outputs[i] = executor_group_tensor(stage->group, v, values[i]);
        }
    }
    return SHOAL_OK;
}

void stage_destroy(struct stage *stage) {
    if (stage == NULL) {
        return;
    }
    executor_group_destroy(stage->group);
    for (uint32_t i = 0; i < stage->variant_count; i++) {
        graph_destroy(stage->variants[i].graph);
    }
    mem_free(stage->variants);
    mem_free(stage);
    memory_trim();
}

/* The first tensor of the message that is another than the variant takes, or how many there are. */
static uint32_t first_misfit(const struct stage *stage, const struct variant *variant,
                             const struct wire_message *message) {
    uint32_t i = 0;
    while (i < stage->input_count && message->tensors[i].dtype == variant->inputs[i].dtype &&
           shape_equal(&message->tensors[i].shape, &variant->inputs[i].shape)) {
        i++;
    }
    return i;
}

/* The length that a message has. */
static shoal_status find_variant(const struct stage *stage, const struct wire_message *message,
                                 uint32_t *out, struct shoal_error *error) {
    if (message->header.tensor_count != stage->input_count) {
        return error_set(error, SHOAL_PROTOCOL, "a message carries %u tensors, the stage takes %u",
                         message->header.tensor_count, stage->input_count);
    }
    uint32_t misfit = 0;
    for (uint32_t v = 0; v < stage->variant_count; v++) {
        misfit = first_misfit(stage, &stage->variants[v], message);
        if (misfit == stage->input_count) {
            *out = v;
            return SHOAL_OK;
        }
    }
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    const struct tensor *have = &message->tensors[misfit];
    const struct tensor *want = &stage->variants[stage->variant_count - 1].inputs[misfit];
    return error_set(
        error, SHOAL_PROTOCOL, "tensor %u of a message is %s %s, the stage takes %s %s%s", misfit,
        dtype_name(have->dtype), shape_format(&have->shape, a), dtype_name(want->dtype),
        shape_format(&want->shape, b), stage->variant_count > 1 ? " at its longest" : "");
}

static shoal_status copy_in(struct stage *stage, const struct wire_message *message,
                            uint32_t *variant, struct shoal_error *error) {
    TRY(find_variant(stage, message, variant, error));
    const struct tensor *inputs = stage->variants[*variant].inputs;
    for (uint32_t i = 0; i < stage->check_count; i++) {
        const struct tensor *tensor = &message->tensors[i];
        TRY(model_input_check(&stage->checks[i], tensor->data,
                              tensor_bytes(tensor) / dtype_size(tensor->dtype), error));
    }
    for (uint32_t i = 0; i < stage->input_count; i++) {
        memcpy(inputs[i].data, message->tensors[i].data, tensor_bytes(&inputs[i]));
    }
    return SHOAL_OK;
}

shoal_status stage_run(struct stage *stage, const struct wire_message *message, struct tensor *out,
                       uint32_t *out_count, double *copy_s, double *compute_s,
                       struct shoal_error *error) {
    const uint64_t start = platform_now_ns();
    uint32_t variant = 0;
    TRY(copy_in(stage, message, &variant, error));
    const uint64_t copied = platform_now_ns();
    TRY(executor_group_run(stage->group, variant, error));
    const uint64_t done = platform_now_ns();
    memcpy(out, stage->variants[variant].outputs, stage->output_count * sizeof *out);
    *out_count = stage->output_count;
    if (copy_s != NULL) {
        *copy_s = (double)(copied - start) * 1e-9;
    }
    if (compute_s != NULL) {
        *compute_s = (double)(done - copied) * 1e-9;
    }
    return SHOAL_OK;
}
