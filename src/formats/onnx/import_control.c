/* Functions and control flow: bodies are imported in place of the node, as often as they run. */
#include "formats/onnx/import_internal.h"

#include <inttypes.h>
#include <string.h>

static shoal_status deeper(struct import_node *n, struct import_frame *frame, const char *suffix) {
    if (n->frame->depth + 1 >= IMPORT_MOST_DEPTH) {
        return import_refuse(n, "more than %d functions and subgraphs in each other",
                             IMPORT_MOST_DEPTH);
    }
    frame->depth = n->frame->depth + 1;
    frame->prefix = arena_format(&n->importer->arena, "%s%s/", n->name, suffix);
    return frame->prefix != NULL ? SHOAL_OK : import_no_memory(n);
}

/* ---- functions ---- */

/* What is left out is NOTHING that is not even optional. */
static shoal_status bind_inputs(struct import_node *n, const struct onnx_function *function,
                                struct import_scope *scope) {
    if (n->input_count > function->input_count) {
        return import_corrupt(n, "%" PRIu32 " inputs, its function takes %zu", n->input_count,
                              function->input_count);
    }
    for (uint32_t i = 0; i < function->input_count; i++) {
        struct import_value *value = import_input(n, i);
        if (value == NULL) {
            value = value_new(n->importer, IMPORT_NOTHING, 0, (struct tensor_type){0});
        }
        if (value == NULL) {
            return import_no_memory(n);
        }
        TRY(scope_put(n->importer, scope, function->inputs[i], value));
    }
    return SHOAL_OK;
}

static shoal_status run_function(struct import_node *n, const struct onnx_function *function,
                                 struct import_scope *scope) {
    struct import_frame frame = {.caller = n->frame,
                                 .call = n->onnx,
                                 .function = function,
                                 .opsets = function->opsets,
                                 .opset_count = function->opset_count,
                                 .value_infos = function->value_infos,
                                 .value_info_count = function->value_info_count,
                                 .scope = scope};
    TRY(deeper(n, &frame, ""));
    TRY(bind_inputs(n, function, scope));
    TRY(import_nodes(n->importer, &frame, function->nodes, function->node_count));
    for (uint32_t i = 0; i < n->output_count; i++) {
        struct import_value *value =
            i < function->output_count ? scope_find(scope, function->outputs[i]) : NULL;
        if (value == NULL) {
            if (import_wants(n, i)) {
                return import_corrupt(n, "its function does not make output %" PRIu32, i);
            }
            continue;
        }
        n->outputs[i] = value;
    }
    return SHOAL_OK;
}

shoal_status import_function(struct import_node *n, const struct onnx_function *function) {
    struct import_scope scope;
    TRY(scope_init(n->importer, &scope, NULL));
    const shoal_status status = run_function(n, function, &scope);
    scope_fini(&scope);
    for (size_t i = 0; i < n->onnx->attribute_count && i < 64; i++) {
        n->used_attributes |= UINT64_C(1) << i;
    }
    return status;
}

/* ---- subgraphs ---- */

/* One run of a subgraph; results are its outputs' values. `bound` are its inputs'. */
static shoal_status run_in_scope(struct import_node *n, const struct onnx_graph *graph,
                                 const char *suffix, struct import_scope *scope,
                                 struct import_value *const *bound, size_t bound_count,
                                 struct import_value **results) {
    struct import_frame frame = *n->frame;
    frame.value_infos = graph->value_infos;
    frame.value_info_count = graph->value_info_count;
    frame.scope = scope;
    frame.main = false;
    TRY(deeper(n, &frame, suffix));
    if (graph->input_count != bound_count) {
        return import_corrupt(n, "its subgraph takes %zu inputs, not %zu", graph->input_count,
                              bound_count);
    }
    for (size_t i = 0; i < bound_count; i++) {
        TRY(scope_put(n->importer, scope, graph->inputs[i].name, bound[i]));
    }
    TRY(import_initialisers(n->importer, &frame, graph));
    TRY(import_nodes(n->importer, &frame, graph->nodes, graph->node_count));
    for (size_t i = 0; i < graph->output_count; i++) {
        results[i] = scope_find(scope, graph->outputs[i].name);
        if (results[i] == NULL) {
            return import_corrupt(n, "its subgraph does not make its output %.80s",
                                  graph->outputs[i].name);
        }
    }
    return SHOAL_OK;
}

shoal_status import_subgraph(struct import_node *n, const struct onnx_graph *graph,
                             const char *suffix, struct import_value *const *bound,
                             size_t bound_count, struct import_value **results) {
    struct import_scope scope;
    TRY(scope_init(n->importer, &scope, n->frame->scope));
    const shoal_status status = run_in_scope(n, graph, suffix, &scope, bound, bound_count, results);
    scope_fini(&scope);
    return status;
}

static shoal_status known_flag(struct import_node *n, struct import_value *value, bool *out) {
    int64_t flag = 0;
    TRY(import_int(n, value, &flag));
    *out = flag != 0;
    return SHOAL_OK;
}

/* A condition that is computed at run time: both branches are, and each result is chosen. */
static shoal_status choose(struct import_node *n, struct import_value *condition,
                           const struct onnx_graph *yes, const struct onnx_graph *no) {
    struct import_value **then_values =
        import_alloc(n, (yes->output_count + 1) * sizeof *then_values);
    struct import_value **else_values =
        import_alloc(n, (no->output_count + 1) * sizeof *else_values);
    const struct shape scalar = {0};
    int64_t count = 0;
    if (then_values == NULL || else_values == NULL) {
        return import_no_memory(n);
    }
    if (condition->type.dtype != DTYPE_BOOL || !shape_count(&condition->type.shape, &count) ||
        count != 1) {
        return import_corrupt(n, "its condition is not one bool");
    }
    TRY(import_subgraph(n, yes, "/then", NULL, 0, then_values));
    TRY(import_subgraph(n, no, "/else", NULL, 0, else_values));
    TRY(import_reshape(n, condition, &scalar, &condition));
    for (uint32_t i = 0; i < n->output_count; i++) {
        struct import_value *const inputs[] = {condition, then_values[i], else_values[i]};
        const struct tensor_type *a = &inputs[1]->type, *b = &inputs[2]->type;
        const bool tensors =
            (inputs[1]->kind == IMPORT_RUNTIME || inputs[1]->kind == IMPORT_CONSTANT) &&
            (inputs[2]->kind == IMPORT_RUNTIME || inputs[2]->kind == IMPORT_CONSTANT);
        struct import_value *y;
        if (!tensors || a->dtype != b->dtype || !shape_equal(&a->shape, &b->shape)) {
            int64_t wanted = 0; /* says what must be known */
            return import_int(n, condition, &wanted);
        }
        TRY(import_emit(n, OP_WHERE, NULL, inputs, 3, &y));
        TRY(import_set_as(n, i, y, inputs[1]->element));
    }
    return SHOAL_OK;
}

static shoal_status convert_if(struct import_node *n) {
    const struct onnx_graph *yes, *no;
    struct import_value *condition;
    bool flag = false;
    TRY(import_attr_graph(n, "then_branch", &yes));
    TRY(import_attr_graph(n, "else_branch", &no));
    TRY(import_need(n, 0, &condition));
    if (yes->output_count != n->output_count || no->output_count != n->output_count) {
        return import_corrupt(n, "%" PRIu32 " outputs, its branches make %zu and %zu",
                              n->output_count, yes->output_count, no->output_count);
    }
    if (!import_is_constant(condition)) {
        return choose(n, condition, yes, no);
    }
    TRY(known_flag(n, condition, &flag));
    const struct onnx_graph *graph = flag ? yes : no;
    return import_subgraph(n, graph, flag ? "/then" : "/else", NULL, 0, n->outputs);
}

const struct import_converter import_control_converters[] = {
    {"", "If", convert_if, 0},
    {NULL, NULL, NULL, 0},
};
