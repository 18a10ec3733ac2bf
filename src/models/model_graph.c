#include "models/model_graph.h"

#include "base/arena.h"
#include "base/memory.h"
#include "graph/derived.h"
#include "models/graph_json.h"

#include <inttypes.h>
#include <string.h>

#define MAX_CROSSING 16 /* tensors of a message */
#define MAX_BATCH 4096
#define MAX_SEGMENTS 1024
#define MAX_LENGTH 65536

/* At one length. */
struct variant {
    int64_t length;
    json_t *graph;
    struct model_input inputs[MODEL_MAX_INPUTS];
    struct model_output outputs[MODEL_MAX_OUTPUTS];
};

struct model_graph {
    struct arena arena; /* names */
    int64_t batch;
    uint32_t variant_count, input_count, output_count;
    const char *output_names[MODEL_MAX_OUTPUTS];
    struct variant variants[MODEL_MAX_LENGTHS];
};

void model_graph_destroy(struct model_graph *model) {
    if (model != NULL) {
        for (uint32_t i = 0; i < model->variant_count; i++) {
            json_decref(model->variants[i].graph);
        }
        arena_fini(&model->arena);
        mem_free(model);
    }
}

/* ---- one graph of one model ---- */

#define MOST_COMPARED                                                          \
    4096 /* steps of comparing one derived tensor: beyond, it counts as unlike \
          */

static bool same_data(const struct graph_param *p, const struct graph_param *q) {
    size_t bytes = 0;
    return p->type.dtype == q->type.dtype && shape_equal(&p->type.shape, &q->type.shape) &&
           shape_bytes(&p->type.shape, p->type.dtype, &bytes) &&
           (bytes == 0 || memcmp(p->data, q->data, bytes) == 0);
}

/* Stored tensors by name, constants by their elements. */
static bool same_stored(const struct graph_param *p, const struct graph_param *q) {
    bool same = (p->data == NULL) == (q->data == NULL) && p->part_count == q->part_count;
    if (same && p->data != NULL) {
        return same_data(p, q);
    }
    for (uint32_t i = 0; i < p->part_count && same; i++) {
        same = strcmp(p->parts[i].name, q->parts[i].name) == 0;
    }
    return same;
}

/* Whether two values of constants graphs are computed alike. */
static bool same_derivation(const struct graph *a, graph_value_id in_a, const struct graph *b,
                            graph_value_id in_b, int *budget) {
    const struct graph_value *p = graph_value_get(a, in_a), *q = graph_value_get(b, in_b);
    if (--*budget < 0 || (p->param == GRAPH_NONE) != (q->param == GRAPH_NONE)) {
        return false;
    }
    if (p->param != GRAPH_NONE) {
        return same_stored(graph_param_get(a, p->param), graph_param_get(b, q->param));
    }
    const struct graph_node *m = graph_node_get(a, p->producer),
                            *n = graph_node_get(b, q->producer);
    bool same = m->op == n->op && op_attrs_equal(&m->attrs, &n->attrs) &&
                m->input_count == n->input_count && m->param_count == n->param_count &&
                in_a - m->outputs[0] == in_b - n->outputs[0];
    for (int i = 0; i < m->input_count && same; i++) {
        same = same_derivation(a, m->inputs[i], b, n->inputs[i], budget);
    }
    for (int i = 0; i < m->param_count && same; i++) {
        same = same_stored(graph_param_get(a, m->params[i]), graph_param_get(b, n->params[i]));
    }
    return same;
}

static bool same_packed(const struct graph *a, graph_param_id in_a, const struct graph *b,
                        graph_param_id in_b) {
    const struct graph_param *p = graph_param_get(a, in_a), *q = graph_param_get(b, in_b);
    if (!shape_equal(&p->type.shape, &q->type.shape)) {
        return true; /* kernels do not share what differs in its type */
    }
    bool same = same_stored(p, q);
    for (uint32_t i = 0; i < p->part_count && same; i++) {
        graph_value_id of_a, of_b;
        int budget = MOST_COMPARED;
        const bool derived = derived_find(a, p->parts[i].name, &of_a);
        same = derived == derived_find(b, q->parts[i].name, &of_b) &&
               (!derived || same_derivation(graph_constants_get(a), of_a, graph_constants_get(b),
                                            of_b, &budget));
    }
    return same;
}

bool model_graph_alike(const struct graph *a, const struct graph *b) {
    bool alike = graph_node_count(a) == graph_node_count(b) &&
                 graph_segment_count(a) == graph_segment_count(b);
    for (graph_node_id id = 0; alike && id < graph_node_count(a); id++) {
        const struct graph_node *p = graph_node_get(a, id), *q = graph_node_get(b, id);
        alike = p->op == q->op && p->segment == q->segment && strcmp(p->name, q->name) == 0 &&
                p->input_count == q->input_count && p->param_count == q->param_count;
        for (int i = 0; alike && i < p->param_count; i++) {
            alike = same_packed(a, p->params[i], b, q->params[i]);
        }
    }
    return alike;
}

/* An item's type: the first dimension becomes GRAPH_BATCH. */
static shoal_status item_type(const struct model_graph *model, const char *name,
                              struct tensor_type *type, struct shoal_error *error) {
    for (int i = 0; i < type->shape.rank; i++) {
        if (type->shape.dims[i] < 0) {
            return error_set(error, SHOAL_UNSUPPORTED, "%s: a dimension is not a number", name);
        }
    }
    if (type->shape.rank > 0 && type->shape.dims[0] == model->batch) {
        type->shape.dims[0] = GRAPH_BATCH;
    } else if (model->batch > 1) {
        char text[SHAPE_TEXT];
        return error_set(error, SHOAL_UNSUPPORTED,
                         "%s %s: its first dimension is not the microbatch %" PRId64
                         "; such a model runs with --microbatch 1",
                         name, shape_format(&type->shape, text), model->batch);
    }
    size_t bytes = 0;
    const struct tensor_type one = graph_resolve(*type, 1);
    return shape_bytes(&one.shape, one.dtype, &bytes) && bytes > 0
               ? SHOAL_OK
               : error_set(error, SHOAL_UNSUPPORTED, "%s is empty", name);
}

/* Rows of the table that a node looks values of an input up in; 0: it does not. */
static int64_t rows_looked_up(const struct graph *graph, const struct graph_node *node,
                              graph_value_id id) {
    if (node->op == OP_EMBED && node->inputs[0] == id) {
        return graph_param_get(graph, node->params[0])->type.shape.dims[0];
    }
    if (node->op != OP_GATHER || node->inputs[1] != id) {
        return 0;
    }
    const struct graph_value *table = graph_value_get(graph, node->inputs[0]);
    const int32_t axis = node->attrs.axis;
    return table->param != GRAPH_NONE && axis >= 0 && axis < table->type.shape.rank
               ? table->type.shape.dims[axis]
               : 0;
}

/* The least table that an input's whole numbers are looked up in, perhaps as another type; 0: none.
 * Ops bound them by themselves: this is for who makes numbers up. */
static int64_t find_limit(const struct graph *graph, graph_value_id input) {
    int64_t limit = 0;
    bool *same =
        mem_calloc(graph_value_count(graph), sizeof *same); /* the input, or a cast of it */
    if (same == NULL) {
        return 0;
    }
    same[input] = true;
    for (graph_node_id n = 0; n < graph_node_count(graph); n++) {
        const struct graph_node *node = graph_node_get(graph, n);
        if (node->op == OP_CAST && same[node->inputs[0]]) {
            same[node->outputs[0]] = true;
        }
        for (int i = 0; i < node->input_count && i < 2; i++) {
            const int64_t rows =
                same[node->inputs[i]] ? rows_looked_up(graph, node, node->inputs[i]) : 0;
            limit = rows > 0 && (limit == 0 || rows < limit) ? rows : limit;
        }
    }
    mem_free(same);
    return limit;
}

static shoal_status find_inputs(struct model_graph *model, struct variant *variant,
                                const struct graph *graph, struct shoal_error *error) {
    graph_value_id ids[MODEL_MAX_INPUTS];
    const uint32_t count = graph_crossing(graph, 0, ids, MODEL_MAX_INPUTS);
    if (count < 1 || count > MODEL_MAX_INPUTS) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "the graph reads %" PRIu32 " inputs; 1 to %d can be given", count,
                         MODEL_MAX_INPUTS);
    }
    model->input_count = count;
    for (uint32_t i = 0; i < count; i++) {
        const struct graph_value *value = graph_value_get(graph, ids[i]);
        struct model_input *input = &variant->inputs[i];
        input->name = arena_strdup(&model->arena, value->name);
        input->type = value->type;
        if (value->type.dtype != DTYPE_F32) {
            input->limit = find_limit(graph, ids[i]);
        }
        if (input->name == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for a model");
        }
        TRY(item_type(model, input->name, &input->type, error));
    }
    return SHOAL_OK;
}

/* Whether a value is a softmax's result, perhaps in another shape. */
static bool is_softmax(const struct graph *graph, graph_value_id id) {
    for (;;) {
        const struct graph_value *value = graph_value_get(graph, id);
        if (value->producer == GRAPH_NONE) {
            return false;
        }
        const struct graph_node *node = graph_node_get(graph, value->producer);
        const char *op = op_describe(node->op)->name;
        if (strcmp(op, "softmax") == 0) {
            return true;
        }
        if (strcmp(op, "reshape") != 0 && strcmp(op, "transpose") != 0 && strcmp(op, "cast") != 0) {
            return false;
        }
        id = node->inputs[0];
    }
}

static shoal_status find_outputs(struct model_graph *model, struct variant *variant,
                                 const struct graph *graph, struct shoal_error *error) {
    graph_value_id crossing[MODEL_MAX_OUTPUTS];
    const graph_value_id *ids;
    const uint32_t count = graph_outputs(graph, &ids), last = graph_segment_count(graph);
    if (count < 1 || count > MODEL_MAX_OUTPUTS ||
        graph_crossing(graph, last, crossing, MODEL_MAX_OUTPUTS) != count) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "the graph gives %" PRIu32 " outputs; 1 to %d that it computes itself "
                         "can be taken",
                         count, MODEL_MAX_OUTPUTS);
    }
    model->output_count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct model_output *output = &variant->outputs[i];
        output->name = model->output_names[i];
        output->type = graph_value_get(graph, ids[i])->type;
        output->probabilities = is_softmax(graph, ids[i]);
        while (crossing[output->index] != ids[i]) {
            output->index++;
        }
        TRY(item_type(model, output->name, &output->type, error));
    }
    return SHOAL_OK;
}

static shoal_status check_cuts(const struct graph *graph, struct shoal_error *error) {
    if (graph_segment_count(graph) > MAX_SEGMENTS) {
        return error_set(error, SHOAL_UNSUPPORTED, "%" PRIu32 " segments; at most %d can be",
                         graph_segment_count(graph), MAX_SEGMENTS);
    }
    for (uint32_t s = 1; s < graph_segment_count(graph); s++) {
        const uint32_t count = graph_crossing(graph, s, NULL, 0);
        if (count < 1 || count > MAX_CROSSING) {
            return error_set(error, SHOAL_UNSUPPORTED,
                             "%" PRIu32 " tensors cross the cut after segment %" PRIu32
                             "; 1 to %d fit a message",
                             count, s, MAX_CROSSING);
        }
    }
    return SHOAL_OK;
}

/* Takes the reference of document. */
static shoal_status add_variant(struct model_graph *model, const struct graph *graph,
                                json_t *document, int64_t length, struct shoal_error *error) {
    struct variant *variant = &model->variants[model->variant_count++];
    const uint32_t inputs = model->input_count, outputs = model->output_count;
    variant->graph = document;
    variant->length = length;
    if (graph_segment_count(graph) == 0) {
        return error_set(error, SHOAL_UNSUPPORTED, "a graph that computes nothing");
    }
    TRY(find_inputs(model, variant, graph, error));
    TRY(find_outputs(model, variant, graph, error));
    TRY(check_cuts(graph, error));
    return model->variant_count == 1 ||
                   (inputs == model->input_count && outputs == model->output_count)
               ? SHOAL_OK
               : error_set(error, SHOAL_INVALID, "graphs that are not of one model");
}

/* ---- making one ---- */

static shoal_status new_model(int64_t batch, struct model_graph **out, struct shoal_error *error) {
    struct model_graph *model = mem_calloc(1, sizeof *model);
    if (model == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a model");
    }
    arena_init(&model->arena);
    model->batch = batch;
    *out = model;
    return SHOAL_OK;
}

static shoal_status put_name(struct model_graph *model, uint32_t index, const char *name,
                             struct shoal_error *error) {
    model->output_names[index] = arena_strdup(&model->arena, name);
    return model->output_names[index] != NULL
               ? SHOAL_OK
               : error_set(error, SHOAL_NO_MEMORY, "no memory for a model");
}

static shoal_status fill(struct model_graph *model, const struct model_graph_options *options,
                         struct shoal_error *error) {
    const graph_value_id *ids;
    const uint32_t outputs = graph_outputs(options->graphs[0], &ids);
    for (uint32_t i = 0; i < outputs && i < MODEL_MAX_OUTPUTS; i++) {
        TRY(put_name(model, i, options->output_names[i], error));
    }
    for (uint32_t i = 0; i < options->count; i++) {
        json_t *document;
        TRY(graph_to_json(options->graphs[i], &document, error));
        TRY(add_variant(model, options->graphs[i], document,
                        options->lengths != NULL ? options->lengths[i] : 0, error));
        if (!model_graph_alike(options->graphs[0], options->graphs[i])) {
            return error_set(error, SHOAL_INVALID, "graphs that are not of one model");
        }
    }
    return SHOAL_OK;
}

shoal_status model_graph_create(const struct model_graph_options *options, struct model_graph **out,
                                struct shoal_error *error) {
    struct model_graph *model;
    if (options->count < 1 || options->count > MODEL_MAX_LENGTHS || options->batch < 1 ||
        options->batch > MAX_BATCH) {
        return error_set(error, SHOAL_INVALID, "a model of %" PRIu32 " graphs, microbatch %" PRId64,
                         options->count, options->batch);
    }
    TRY(new_model(options->batch, &model, error));
    const shoal_status status = fill(model, options, error);
    if (status != SHOAL_OK) {
        model_graph_destroy(model);
        return status;
    }
    *out = model;
    return SHOAL_OK;
}

/* ---- as JSON ---- */

shoal_status model_graph_to_json(const struct model_graph *model, json_t **out,
                                 struct shoal_error *error) {
    json_t *names = json_array(), *graphs = json_array();
    bool ok = names != NULL && graphs != NULL;
    for (uint32_t i = 0; i < model->output_count && ok; i++) {
        ok = json_array_append_new(names, json_string(model->output_names[i])) == 0;
    }
    for (uint32_t i = 0; i < model->variant_count && ok; i++) {
        ok = json_array_append_new(graphs, json_pack("{s:I, s:O}", "length",
                                                     (json_int_t)model->variants[i].length, "graph",
                                                     model->variants[i].graph)) == 0;
    }
    json_t *document = ok ? json_pack("{s:I, s:O, s:O}", "batch", (json_int_t)model->batch,
                                      "outputs", names, "graphs", graphs)
                          : NULL;
    json_decref(names);
    json_decref(graphs);
    if (document == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a model's JSON");
    }
    *out = document;
    return SHOAL_OK;
}

static shoal_status read_names(struct model_graph *model, const json_t *list,
                               struct shoal_error *error) {
    const size_t count = json_array_size(list);
    bool ok = json_is_array(list) && count >= 1 && count <= MODEL_MAX_OUTPUTS;
    for (size_t i = 0; i < count && ok; i++) {
        const json_t *name = json_array_get(list, i);
        ok = json_is_string(name) && json_string_length(name) <= GRAPH_JSON_MAX_NAME &&
             strlen(json_string_value(name)) == json_string_length(name);
        if (ok) {
            TRY(put_name(model, (uint32_t)i, json_string_value(name), error));
        }
    }
    model->output_count = (uint32_t)count;
    return ok ? SHOAL_OK
              : error_set(error, SHOAL_CORRUPT, "\"outputs\" must be a list of 1 to %d names",
                          MODEL_MAX_OUTPUTS);
}

static shoal_status read_variant(struct model_graph *model, const json_t *item, int64_t *before,
                                 struct graph **out, struct shoal_error *error) {
    const json_t *length = json_object_get(item, "length");
    json_t *document = json_object_get(item, "graph");
    const int64_t tokens = json_integer_value(length);
    if (!json_is_integer(length) || tokens <= *before || tokens > MAX_LENGTH) {
        return error_set(error, SHOAL_CORRUPT, "\"length\" must rise from 0 to %d", MAX_LENGTH);
    }
    *before = tokens;
    TRY(graph_from_json(document, out, error));
    const uint32_t names = model->output_count;
    TRY(add_variant(model, *out, json_incref(document), tokens, error));
    return model->output_count == names
               ? SHOAL_OK
               : error_set(error, SHOAL_CORRUPT, "%" PRIu32 " names for %" PRIu32 " outputs", names,
                           model->output_count);
}

static shoal_status read_variants(struct model_graph *model, const json_t *list,
                                  struct shoal_error *error) {
    struct graph *first = NULL;
    int64_t before = -1;
    if (!json_is_array(list) || json_array_size(list) < 1 ||
        json_array_size(list) > MODEL_MAX_LENGTHS) {
        return error_set(error, SHOAL_CORRUPT, "\"graphs\" must be a list of 1 to %d",
                         MODEL_MAX_LENGTHS);
    }
    shoal_status status = SHOAL_OK;
    for (size_t i = 0; i < json_array_size(list) && status == SHOAL_OK; i++) {
        struct graph *graph = NULL;
        status = read_variant(model, json_array_get(list, i), &before, &graph, error);
        if (status == SHOAL_OK && i > 0 && !model_graph_alike(first, graph)) {
            status = error_set(error, SHOAL_CORRUPT, "graphs that are not of one model");
        }
        if (i == 0) {
            first = graph;
        } else {
            graph_destroy(graph);
        }
    }
    graph_destroy(first);
    return status;
}

shoal_status model_graph_from_json(const json_t *document, struct model_graph **out,
                                   struct shoal_error *error) {
    const json_t *batch = json_object_get(document, "batch");
    struct model_graph *model;
    if (!json_is_integer(batch) || json_integer_value(batch) < 1 ||
        json_integer_value(batch) > MAX_BATCH) {
        return error_set(error, SHOAL_CORRUPT, "\"batch\" must be from 1 to %d", MAX_BATCH);
    }
    TRY(new_model(json_integer_value(batch), &model, error));
    shoal_status status = read_names(model, json_object_get(document, "outputs"), error);
    if (status == SHOAL_OK) {
        status = read_variants(model, json_object_get(document, "graphs"), error);
    }
    if (status != SHOAL_OK) {
        model_graph_destroy(model);
        return status;
    }
    *out = model;
    return SHOAL_OK;
}

/* ---- what it is ---- */

int64_t model_graph_batch(const struct model_graph *model) {
    return model->batch;
}

uint32_t model_graph_lengths(const struct model_graph *model, int64_t out[MODEL_MAX_LENGTHS]) {
    for (uint32_t i = 0; i < model->variant_count; i++) {
        out[i] = model->variants[i].length;
    }
    return model->variant_count;
}

/* The least that is not below length, or the last. */
static const struct variant *find_variant(const struct model_graph *model, int64_t length) {
    uint32_t at = 0;
    while (at + 1 < model->variant_count && model->variants[at].length < length) {
        at++;
    }
    return &model->variants[at];
}

shoal_status model_graph_build(const struct model_graph *model, int64_t length, struct graph **out,
                               struct shoal_error *error) {
    const struct variant *variant = find_variant(model, length);
    if (variant->length != length) {
        return error_set(error, SHOAL_INVALID, "the model has no graph of length %" PRId64, length);
    }
    return graph_from_json(variant->graph, out, error);
}

uint32_t model_graph_inputs(const struct model_graph *model, int64_t length,
                            struct model_input out[MODEL_MAX_INPUTS]) {
    memcpy(out, find_variant(model, length)->inputs, sizeof(struct model_input) * MODEL_MAX_INPUTS);
    return model->input_count;
}

uint32_t model_graph_outputs(const struct model_graph *model, int64_t length,
                             struct model_output out[MODEL_MAX_OUTPUTS]) {
    memcpy(out, find_variant(model, length)->outputs,
           sizeof(struct model_output) * MODEL_MAX_OUTPUTS);
    return model->output_count;
}
