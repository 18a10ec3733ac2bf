/* A model as a whole: dims, inputs, initialisers, nodes, outputs. */
#include "formats/onnx/import_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <string.h>

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "onnx: no memory to import a model");
}

/* ---- dims ---- */

static const struct import_feed *find_feed(const struct importer *im, const char *name) {
    for (size_t i = 0; i < im->options->feed_count; i++) {
        if (strcmp(im->options->feeds[i].name, name) == 0) {
            return &im->options->feeds[i];
        }
    }
    return NULL;
}

int64_t import_dim_known(const struct importer *im, const struct onnx_value *value, int axis) {
    const char *symbol = value->dim_params[axis];
    if (value->dims[axis] >= 0) {
        return value->dims[axis];
    }
    for (size_t i = 0; symbol != NULL && symbol[0] != '\0' && i < im->options->dim_count; i++) {
        if (strcmp(im->options->dims[i].name, symbol) == 0) {
            return im->options->dims[i].value;
        }
    }
    for (uint32_t i = 0; symbol != NULL && symbol[0] != '\0' && i < im->assumed_count; i++) {
        if (strcmp(im->assumed[i].name, symbol) == 0) {
            return im->assumed[i].value;
        }
    }
    return -1;
}

/* Notes that a dim has this value, so that others of its name have it as well. */
static shoal_status note_dim(struct importer *im, const char *symbol, int64_t value) {
    for (uint32_t i = 0; i < im->assumed_count; i++) {
        if (strcmp(im->assumed[i].name, symbol) == 0) {
            return SHOAL_OK;
        }
    }
    struct import_dim *grown =
        mem_realloc(im->assumed, (im->assumed_count + 1) * sizeof *im->assumed);
    if (grown == NULL) {
        return no_memory(im->error);
    }
    im->assumed = grown;
    im->assumed[im->assumed_count++] = (struct import_dim){symbol, value};
    return SHOAL_OK;
}

static shoal_status bind_dim(struct importer *im, const struct onnx_value *input, int axis,
                             int64_t *out) {
    const char *symbol = input->dim_params[axis] != NULL ? input->dim_params[axis] : "";
    int64_t value = import_dim_known(im, input, axis);
    if (value < 0 && axis == 0 && im->options->batch > 0) {
        value = im->options->batch;
    }
    if (value < 0 && im->options->assumed > 0) {
        value = im->options->assumed;
    }
    if (value < 0) {
        return error_set(im->error, SHOAL_UNSUPPORTED,
                         "input %.100s: dim %d (%.60s) is not fixed in the model: give it, --dim "
                         "%.60s=NUMBER",
                         input->name, axis, symbol[0] != '\0' ? symbol : "no name", symbol);
    }
    *out = value;
    return input->dims[axis] < 0 && symbol[0] != '\0' ? note_dim(im, symbol, value) : SHOAL_OK;
}

static shoal_status input_shape(struct importer *im, const struct onnx_value *input,
                                struct shape *out) {
    struct shape shape = {.rank = input->rank};
    if (!input->has_shape) {
        return error_set(im->error, SHOAL_UNSUPPORTED,
                         "input %.100s: the model does not say its rank; a data set with this "
                         "input would (--data)",
                         input->name);
    }
    for (int axis = 0; axis < shape.rank; axis++) {
        TRY(bind_dim(im, input, axis, &shape.dims[axis]));
    }
    *out = shape;
    return SHOAL_OK;
}

/* ---- inputs ---- */

static shoal_status runtime_input(struct importer *im, const char *name, uint32_t index,
                                  int element, const struct shape *shape, struct import_port *port,
                                  struct import_value **out) {
    struct tensor_type type = {DTYPE_F32, *shape};
    if (!import_element_dtype(element, &type.dtype)) {
        return error_set(im->error, SHOAL_UNSUPPORTED,
                         "input %.100s has elements of type %s, which is not supported", name,
                         onnx_dtype_name(element));
    }
    struct import_value *value = value_new(im, IMPORT_RUNTIME, element, type);
    if (value == NULL) {
        return no_memory(im->error);
    }
    TRY(graph_add_input(im->graph, name, type, &value->id, im->error));
    const graph_value_id *inputs = NULL;
    value->needs = UINT64_C(1) << (index < 63 ? index : 63);
    *port = (struct import_port){graph_inputs(im->graph, &inputs) - 1, element, type};
    *out = value;
    return SHOAL_OK;
}

static shoal_status one_input(struct importer *im, uint32_t index, const char *name,
                              const struct onnx_tensor *fed, bool known, struct import_port *port,
                              struct import_value **out) {
    if (!known) {
        return runtime_input(im, name, index, fed->type, &fed->shape, port, out);
    }
    TRY(value_of_tensor(im, fed, NULL, out));
    *port = (struct import_port){GRAPH_NONE, (*out)->element, (*out)->type};
    return SHOAL_OK;
}

static shoal_status sequence_input(struct importer *im, uint32_t index,
                                   const struct import_feed *feed, struct import_port *ports,
                                   struct import_value **out) {
    struct import_value *list = value_new(im, IMPORT_SEQUENCE, 0, (struct tensor_type){0});
    const size_t count = feed->data->count;
    if (list == NULL) {
        return no_memory(im->error);
    }
    list->items = arena_alloc(&im->arena, (count + 1) * sizeof *list->items);
    if (list->items == NULL) {
        return no_memory(im->error);
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = arena_format(&im->arena, "%s[%zu]", feed->name, i);
        if (name == NULL) {
            return no_memory(im->error);
        }
        TRY(one_input(im, index, name, &feed->data->tensors[i], feed->known, &ports[i],
                      &list->items[i]));
    }
    list->item_count = (uint32_t)count;
    *out = list;
    return SHOAL_OK;
}

/* What is fed decides shapes and lengths; otherwise the model does. */
static shoal_status make_input(struct importer *im, uint32_t index, const struct onnx_value *input,
                               const struct import_feed *feed, struct import_binding *binding,
                               struct import_port *ports, struct import_value **out) {
    struct import_value *value = NULL;
    const enum onnx_kind kind =
        feed == NULL
            ? input->kind
            : (feed->data->kind == ONNX_KIND_OPTIONAL ? feed->data->element : feed->data->kind);
    *binding =
        (struct import_binding){input->name, input->kind, feed != NULL && feed->known, 0, ports};
    if (feed != NULL && feed->data->kind == ONNX_KIND_OPTIONAL && !feed->data->has_value) {
        value = value_new(im, IMPORT_NOTHING, 0, (struct tensor_type){0});
    } else if (kind == ONNX_KIND_SEQUENCE && feed != NULL) {
        TRY(sequence_input(im, index, feed, ports, &value));
        binding->count = value->item_count;
    } else if (kind == ONNX_KIND_TENSOR && feed != NULL && feed->data->count == 1) {
        TRY(one_input(im, index, input->name, &feed->data->tensors[0], feed->known, ports, &value));
        binding->count = 1;
    } else if (kind == ONNX_KIND_TENSOR) {
        struct shape shape;
        TRY(input_shape(im, input, &shape));
        TRY(runtime_input(im, input->name, index, input->type, &shape, ports, &value));
        binding->count = 1;
    } else {
        return error_set(im->error, SHOAL_UNSUPPORTED,
                         "input %.100s is no tensor: a data set must say what it holds (--data)",
                         input->name);
    }
    if (value == NULL) {
        return no_memory(im->error);
    }
    value->optional = input->kind == ONNX_KIND_OPTIONAL;
    *out = value;
    return SHOAL_OK;
}

static bool is_initialiser(const struct onnx_graph *graph, const char *name) {
    return onnx_graph_initialiser(graph, name) != NULL;
}

/* Room for what one input may hold. */
static size_t port_room(const struct import_feed *feed) {
    return feed != NULL && feed->data->count > 1 ? feed->data->count : 1;
}

static shoal_status import_inputs(struct importer *im, const struct import_frame *frame,
                                  struct import_result *result) {
    const struct onnx_graph *graph = &im->model->graph;
    struct import_binding *inputs =
        arena_alloc(&result->arena, (graph->input_count + 1) * sizeof *inputs);
    if (inputs == NULL) {
        return no_memory(im->error);
    }
    result->inputs = inputs;
    for (size_t i = 0; i < graph->input_count; i++) {
        const struct onnx_value *input = &graph->inputs[i];
        const struct import_feed *feed = find_feed(im, input->name);
        if (feed == NULL && is_initialiser(graph, input->name)) {
            continue;
        }
        struct import_port *ports =
            arena_alloc(&result->arena, port_room(feed) * sizeof(struct import_port));
        struct import_value *value = NULL;
        if (ports == NULL) {
            return no_memory(im->error);
        }
        const shoal_status status =
            make_input(im, (uint32_t)i, input, feed, &inputs[result->input_count], ports, &value);
        if (status == SHOAL_UNSUPPORTED && im->options->collect) {
            TRY(import_issue(im, im->error->text));
            value = value_new(im, IMPORT_UNKNOWN, 0, (struct tensor_type){0});
        } else {
            TRY(status);
        }
        if (value == NULL) {
            return no_memory(im->error);
        }
        TRY(scope_put(im, frame->scope, input->name, value));
        result->input_count++;
    }
    return SHOAL_OK;
}

/* ---- outputs ---- */

/* A value that a node of the graph makes: constants and inputs are copied. */
static shoal_status own_value(struct importer *im, const char *name, struct import_value *value,
                              graph_value_id *out) {
    if (value->kind == IMPORT_RUNTIME &&
        graph_value_get(im->graph, value->id)->producer != GRAPH_NONE) {
        *out = value->id;
        return SHOAL_OK;
    }
    graph_value_id from = value->id;
    struct op_attrs attrs = {.axis = value->type.shape.rank};
    for (int i = 0; i < attrs.axis; i++) {
        attrs.ints[i] = value->type.shape.dims[i];
    }
    if (value->kind == IMPORT_CONSTANT) {
        TRY(value_materialise(im, value, &from));
    }
    return graph_add_node(im->graph, name, OP_RESHAPE, &attrs, GRAPH_F, &from, 1, NULL, 0, out,
                          im->error);
}

static shoal_status output_port(struct importer *im, const struct onnx_value *output,
                                struct import_value *value, struct import_port *port) {
    enum dtype declared = DTYPE_F32;
    if (value->kind != IMPORT_RUNTIME && value->kind != IMPORT_CONSTANT) {
        return error_set(im->error, SHOAL_UNSUPPORTED, "output %.100s is no tensor", output->name);
    }
    port->type = value->type;
    port->element = import_element_dtype(output->type, &declared) && declared == value->type.dtype
                        ? output->type
                        : value->element;
    graph_value_id id = GRAPH_NONE;
    const graph_value_id *ids = NULL;
    TRY(own_value(im, output->name, value, &id));
    TRY(graph_mark_output(im->graph, id, im->error));
    const uint32_t count = graph_outputs(im->graph, &ids);
    for (port->index = 0; port->index < count && ids[port->index] != id; port->index++) {
    }
    return SHOAL_OK;
}

static shoal_status make_output(struct importer *im, const struct import_frame *frame,
                                const struct onnx_value *output, struct import_binding *binding,
                                struct arena *arena) {
    struct import_value *value = scope_find(frame->scope, output->name);
    if (value == NULL) {
        return error_set(im->error, SHOAL_CORRUPT, "output %.100s: nothing makes it", output->name);
    }
    if (value->kind == IMPORT_UNKNOWN) {
        return SHOAL_OK; /* listed already */
    }
    const uint32_t count = value->kind == IMPORT_SEQUENCE  ? value->item_count
                           : value->kind == IMPORT_NOTHING ? 0
                                                           : 1;
    struct import_port *ports = arena_alloc(arena, (count + 1) * sizeof *ports);
    if (ports == NULL) {
        return no_memory(im->error);
    }
    *binding = (struct import_binding){output->name, output->kind, false, count, ports};
    for (uint32_t i = 0; i < count; i++) {
        TRY(output_port(im, output, value->kind == IMPORT_SEQUENCE ? value->items[i] : value,
                        &ports[i]));
    }
    return SHOAL_OK;
}

static shoal_status import_outputs(struct importer *im, const struct import_frame *frame,
                                   struct import_result *result) {
    const struct onnx_graph *graph = &im->model->graph;
    struct import_binding *outputs =
        arena_alloc(&result->arena, (graph->output_count + 1) * sizeof *outputs);
    if (outputs == NULL) {
        return no_memory(im->error);
    }
    result->outputs = outputs;
    for (size_t i = 0; i < graph->output_count; i++) {
        const shoal_status status =
            make_output(im, frame, &graph->outputs[i], &outputs[i], &result->arena);
        if (status == SHOAL_UNSUPPORTED && im->options->collect) {
            TRY(import_issue(im, im->error->text));
        } else {
            TRY(status);
        }
        result->output_count++;
    }
    return SHOAL_OK;
}

/* ---- the whole ---- */

static shoal_status import_all(struct importer *im, struct import_scope *scope,
                               struct import_result *result) {
    const struct onnx_graph *graph = &im->model->graph;
    const struct import_frame frame = {.opsets = im->model->opsets,
                                       .opset_count = im->model->opset_count,
                                       .value_infos = graph->value_infos,
                                       .value_info_count = graph->value_info_count,
                                       .scope = scope,
                                       .prefix = "",
                                       .main = true};
    TRY(import_inputs(im, &frame, result));
    TRY(import_initialisers(im, &frame, graph));
    TRY(import_nodes(im, &frame, graph->nodes, graph->node_count));
    return import_outputs(im, &frame, result);
}

static const char *keep_text(struct arena *arena, const char *text) {
    return arena_strdup(arena, text);
}

/* Names and texts into the result: the model and the importer may go. */
static shoal_status keep_names(struct importer *im, struct import_result *result) {
    struct arena *arena = &result->arena;
    const struct import_binding *const lists[] = {result->inputs, result->outputs};
    const uint32_t counts[] = {result->input_count, result->output_count};
    bool good = true;
    for (int l = 0; l < 2; l++) {
        struct import_binding *copy = arena_alloc(arena, (counts[l] + 1) * sizeof *copy);
        for (uint32_t i = 0; copy != NULL && i < counts[l]; i++) {
            copy[i] = lists[l][i];
            copy[i].name = copy[i].name != NULL ? keep_text(arena, copy[i].name) : "";
            good = good && copy[i].name != NULL;
        }
        good = good && copy != NULL;
        *(l == 0 ? &result->inputs : &result->outputs) = copy;
    }
    const char **issues = arena_alloc(arena, (im->issue_count + 1) * sizeof *issues);
    for (uint32_t i = 0; issues != NULL && i < im->issue_count; i++) {
        issues[i] = keep_text(arena, im->issues[i]);
        good = good && issues[i] != NULL;
    }
    struct import_dim *dims = arena_alloc(arena, (im->assumed_count + 1) * sizeof *dims);
    for (uint32_t i = 0; dims != NULL && i < im->assumed_count; i++) {
        dims[i] = (struct import_dim){keep_text(arena, im->assumed[i].name), im->assumed[i].value};
        good = good && dims[i].name != NULL;
    }
    if (!good || issues == NULL || dims == NULL) {
        return no_memory(im->error);
    }
    result->issues = issues;
    result->issue_count = im->issue_count;
    result->dims = dims;
    result->dim_count = im->assumed_count;
    return SHOAL_OK;
}

static void importer_fini(struct importer *im) {
    for (struct import_block *block = im->blocks; block != NULL; block = block->next) {
        mem_free(block->memory);
    }
    if (im->source != NULL) {
        im->source->ops->destroy(im->source);
    }
    graph_destroy(im->graph);
    arena_fini(&im->arena);
    mem_free(im->issues);
    mem_free(im->assumed);
}

static shoal_status importer_init(struct importer *im, const struct onnx_model *model,
                                  const struct import_options *options, struct shoal_error *error) {
    *im = (struct importer){.model = model, .options = options, .error = error};
    im->most_bytes = options->most_bytes != 0 ? options->most_bytes : IMPORT_MOST_BYTES;
    im->most_nodes = options->most_nodes != 0 ? options->most_nodes : IMPORT_MOST_NODES;
    arena_init(&im->arena);
    im->issues = mem_calloc(IMPORT_MOST_ISSUES, sizeof *im->issues);
    if (im->issues == NULL) {
        return no_memory(error);
    }
    TRY(onnx_source_create(model, &im->source, error));
    return graph_create(&im->graph, error);
}

static shoal_status run_import(struct importer *im, struct import_result *result) {
    struct import_scope scope;
    TRY(scope_init(im, &scope, NULL));
    shoal_status status = import_all(im, &scope, result);
    scope_fini(&scope);
    if (status == SHOAL_OK && im->issue_count == 0) {
        status = graph_mark_cuts(im->graph, im->error);
    }
    return status == SHOAL_OK ? keep_names(im, result) : status;
}

shoal_status import_model(const struct onnx_model *model, const struct import_options *options,
                          struct import_result *out, struct shoal_error *error) {
    struct shoal_error own;
    struct importer im;
    struct import_result result = {0};
    arena_init(&result.arena);
    shoal_status status = importer_init(&im, model, options, error != NULL ? error : &own);
    if (status == SHOAL_OK) {
        status = run_import(&im, &result);
    }
    result.wanted = im.wanted;
    if (status == SHOAL_OK && im.issue_count == 0) {
        result.graph = im.graph;
        im.graph = NULL;
    }
    importer_fini(&im);
    if (status != SHOAL_OK) {
        arena_fini(&result.arena);
        *out = (struct import_result){.wanted = result.wanted};
        arena_init(&out->arena);
        return status;
    }
    *out = result;
    return SHOAL_OK;
}

void import_result_fini(struct import_result *result) {
    graph_destroy(result->graph);
    arena_fini(&result->arena);
    result->graph = NULL;
}
