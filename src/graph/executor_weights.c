/* Weights: read one node at a time, converted to f32, packed, given back; those that nodes read as
 * values are kept as they are. */
#include "graph/executor_internal.h"

#include "base/assert.h"
#include "base/checked.h"
#include "base/memory.h"
#include "graph/derived.h"
#include "tensor/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAMED_PROBLEMS 8

/* Tensors that are missing or do not fit: all are counted, the first ones named. */
struct problems {
    uint32_t count, named;
    size_t length;
    char text[SHOAL_ERROR_TEXT];
};

static void note(struct problems *problems, const struct graph_part *part,
                 const struct tensor *found) {
    problems->count++;
    char expected[SHAPE_TEXT], stored[SHAPE_TEXT], line[4 * SHAPE_TEXT];
    if (found == NULL) {
        (void)snprintf(line, sizeof line, "; %s: missing, expected %s", part->name,
                       shape_format(&part->shape, expected));
    } else {
        (void)snprintf(line, sizeof line, "; %s: expected %s, found %s %s", part->name,
                       shape_format(&part->shape, expected), dtype_name(found->dtype),
                       shape_format(&found->shape, stored));
    }
    const size_t room = sizeof problems->text - 120; /* for the words around the list */
    if (problems->named == problems->count - 1 && problems->named < NAMED_PROBLEMS &&
        problems->length + strlen(line) < room) {
        memcpy(problems->text + problems->length, line, strlen(line) + 1);
        problems->length += strlen(line);
        problems->named++;
    }
}

static shoal_status report(const struct executor *executor, const struct problems *problems,
                           struct shoal_error *error) {
    char more[32] = "";
    if (problems->count > problems->named) {
        (void)snprintf(more, sizeof more, "; and %" PRIu32 " more",
                       problems->count - problems->named);
    }
    return error_set(
        error, SHOAL_MISMATCH,
        "%" PRIu32 " weights of segments %" PRIu32 "..%" PRIu32 " are missing or do not fit%s%s",
        problems->count, executor->options.first, executor->options.last, problems->text, more);
}

/* One part, at `to`; one that does not fit is noted and leaves `to` as it was. */
static shoal_status read_part(struct weight_source *source, const struct graph_param *param,
                              const struct graph_part *part, void *to, struct problems *problems,
                              struct shoal_error *error) {
    struct tensor tensor;
    const shoal_status status =
        source->ops->borrow(source, part->name, &part->shape, param->fill, &tensor, error);
    if (status == SHOAL_NOT_FOUND) {
        note(problems, part, NULL);
        return SHOAL_OK;
    }
    TRY(status);
    int64_t count = 0;
    ASSERT(shape_count(&part->shape, &count));
    if (!shape_equal(&tensor.shape, &part->shape) ||
        !convert_elements(tensor.dtype, tensor.data, param->type.dtype, to, (size_t)count)) {
        note(problems, part, &tensor);
    }
    source->ops->release(source, &tensor);
    return SHOAL_OK;
}

static shoal_status read_param(const struct executor *executor, struct weight_source *source,
                               graph_param_id id, void *at, struct problems *problems,
                               struct shoal_error *error) {
    const struct graph_param *param = graph_param_get(executor->graph, id);
    unsigned char *to = at;
    const struct tensor whole = {param->type.dtype, param->type.shape, NULL};
    if (tensor_bytes(&whole) == 0) {
        return SHOAL_OK;
    }
    if (param->data != NULL) {
        memcpy(to, param->data, tensor_bytes(&whole));
        return SHOAL_OK;
    }
    for (uint32_t i = 0; i < param->part_count; i++) {
        int64_t count = 0;
        ASSERT(shape_count(&param->parts[i].shape, &count));
        TRY(read_part(source, param, &param->parts[i], to, problems, error));
        to += (size_t)count * dtype_size(param->type.dtype);
    }
    return SHOAL_OK;
}

static size_t staged_bytes(const struct executor *executor, graph_param_id param) {
    const struct tensor_type *type = &graph_param_get(executor->graph, param)->type;
    size_t bytes = 0;
    ASSERT(shape_bytes(&type->shape, type->dtype, &bytes));
    return round_up_size(bytes, MEM_ALIGNMENT);
}

static shoal_status pack_node(struct executor_weights *weights, uint32_t index,
                              const void *const params[], struct shoal_error *error) {
    const struct executor_node *node = &weights->executor->nodes[index];
    const shoal_status status =
        node->kernel->ops->pack(node->kernel, params, weights->packed[index], error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "packing the weights of %s", node->node->name);
    }
    return SHOAL_OK;
}

/* A node's buffer is its own, so that giving weights back gives memory back. */
static shoal_status make_room(struct executor_weights *weights, uint32_t index,
                              struct shoal_error *error) {
    const size_t bytes = weights->executor->nodes[index].packed_bytes;
    weights->packed[index] = mem_alloc_aligned(bytes);
    if (weights->packed[index] == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the weights of %s (%zu bytes)",
                         weights->executor->nodes[index].node->name, bytes);
    }
    return SHOAL_OK;
}

/* Forward only: the params of one node after the other through a staging buffer. */
static shoal_status load_staged(struct executor_weights *weights, struct weight_source *source,
                                unsigned char *staging, struct problems *problems,
                                struct shoal_error *error) {
    const struct executor *executor = weights->executor;
    for (uint32_t i = 0; i < executor->node_count; i++) {
        const struct graph_node *node = executor->nodes[i].node;
        const void *params[OP_MAX_PARAMS] = {NULL};
        size_t offset = 0;
        if (weights->packed[i] != NULL) {
            continue;
        }
        for (int p = 0; p < node->param_count; p++) {
            unsigned char *to = staging + offset;
            TRY(read_param(executor, source, node->params[p], to, problems, error));
            params[p] = to;
            offset += staged_bytes(executor, node->params[p]);
        }
        if (node->param_count > 0 && problems->count == 0) {
            TRY(make_room(weights, i, error));
            TRY(pack_node(weights, i, params, error));
        }
    }
    return SHOAL_OK;
}

static shoal_status load_plain(struct executor_weights *weights, struct weight_source *source,
                               struct problems *problems, struct shoal_error *error) {
    const struct executor *executor = weights->executor;
    for (graph_param_id id = 0; id < graph_param_count(executor->graph); id++) {
        if (executor->plain_offsets[id] != NO_OFFSET) {
            unsigned char *to = weights->plain + executor->plain_offsets[id];
            TRY(read_param(executor, source, id, to, problems, error));
        }
    }
    return SHOAL_OK;
}

shoal_status executor_weights_create_empty(struct executor *executor, struct executor_weights **out,
                                           struct shoal_error *error) {
    struct executor_weights *weights = mem_calloc(1, sizeof *weights);
    void **packed = mem_calloc(executor->node_count, sizeof *packed);
    bool *shared = mem_calloc(executor->node_count, sizeof *shared);
    unsigned char *plain =
        executor->plain_bytes == 0 ? NULL : mem_alloc_aligned(executor->plain_bytes);
    if (weights == NULL || packed == NULL || shared == NULL ||
        (executor->plain_bytes > 0 && plain == NULL)) {
        mem_free(weights);
        mem_free(packed);
        mem_free(shared);
        mem_free(plain);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for weights");
    }
    if (plain != NULL) {
        memset(plain, 0, executor->plain_bytes);
    }
    *weights = (struct executor_weights){executor, packed, shared, executor->node_count, plain};
    *out = weights;
    return SHOAL_OK;
}

static size_t largest_staging(const struct executor_weights *weights) {
    const struct executor *executor = weights->executor;
    size_t largest = 0;
    for (uint32_t i = 0; i < executor->node_count; i++) {
        size_t bytes = 0;
        if (weights->packed[i] != NULL) {
            continue;
        }
        for (int p = 0; p < executor->nodes[i].node->param_count; p++) {
            bytes += staged_bytes(executor, executor->nodes[i].node->params[p]);
        }
        largest = bytes > largest ? bytes : largest;
    }
    return largest;
}

static shoal_status fill(struct executor_weights *weights, struct weight_source *source,
                         struct shoal_error *error) {
    struct problems problems = {0};
    ASSERT(!weights->executor->trains);
    unsigned char *staging = mem_alloc_aligned(largest_staging(weights));
    if (staging == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory to read weights");
    }
    shoal_status status = load_plain(weights, source, &problems, error);
    if (status == SHOAL_OK) {
        status = load_staged(weights, source, staging, &problems, error);
    }
    mem_free(staging);
    TRY(status);
    return problems.count > 0 ? report(weights->executor, &problems, error) : SHOAL_OK;
}

/* What trains keeps its params as plain f32. */
static shoal_status fill_master(struct executor_weights *weights, struct weight_source *source,
                                struct shoal_error *error) {
    struct problems problems = {0};
    TRY(load_plain(weights, source, &problems, error));
    return problems.count > 0 ? report(weights->executor, &problems, error)
                              : executor_weights_pack(weights, error);
}

/* Calls one of the two with a source that computes what is derived, if anything is. */
shoal_status executor_weights_fill(struct executor_weights *weights, struct weight_source *source,
                                   struct shoal_error *error) {
    const struct executor *executor = weights->executor;
    shoal_status (*const how)(struct executor_weights *, struct weight_source *,
                              struct shoal_error *) = executor->trains ? fill_master : fill;
    struct weight_source *derived = NULL;
    if (graph_constants_get(executor->graph) == NULL) {
        return how(weights, source, error);
    }
    TRY(weights_derived_create(executor->graph, source, &derived, error));
    const shoal_status status = how(weights, derived, error);
    derived->ops->destroy(derived);
    return status;
}

shoal_status executor_weights_load(struct executor *executor, struct weight_source *source,
                                   struct executor_weights **out, struct shoal_error *error) {
    struct executor_weights *weights = NULL;
    TRY(executor->trains ? executor_weights_create(executor, &weights, error)
                         : executor_weights_create_empty(executor, &weights, error));
    const shoal_status status = executor_weights_fill(weights, source, error);
    if (status != SHOAL_OK) {
        executor_weights_destroy(weights);
        return status;
    }
    *out = weights;
    return SHOAL_OK;
}

void executor_weights_destroy(struct executor_weights *weights) {
    if (weights == NULL) {
        return;
    }
    for (uint32_t i = 0; i < weights->node_count; i++) {
        if (!weights->shared[i]) {
            mem_free(weights->packed[i]);
        }
    }
    mem_free(weights->packed);
    mem_free(weights->shared);
    mem_free(weights->plain);
    mem_free(weights);
}

shoal_status executor_weights_create(struct executor *executor, struct executor_weights **out,
                                     struct shoal_error *error) {
    struct executor_weights *weights = NULL;
    TRY(executor_weights_create_empty(executor, &weights, error));
    for (uint32_t i = 0; i < executor->node_count; i++) {
        if (executor->nodes[i].node->param_count == 0) {
            continue;
        }
        const shoal_status status = make_room(weights, i, error);
        if (status != SHOAL_OK) {
            executor_weights_destroy(weights);
            return status;
        }
        memset(weights->packed[i], 0, executor->nodes[i].packed_bytes);
    }
    *out = weights;
    return SHOAL_OK;
}

struct tensor executor_weights_param(const struct executor_weights *weights, graph_param_id param) {
    const struct executor *executor = weights->executor;
    ASSERT(param < graph_param_count(executor->graph) &&
           executor->plain_offsets[param] != NO_OFFSET);
    const struct tensor_type *type = &graph_param_get(executor->graph, param)->type;
    return (struct tensor){type->dtype, type->shape,
                           weights->plain + executor->plain_offsets[param]};
}

shoal_status executor_weights_pack(struct executor_weights *weights, struct shoal_error *error) {
    const struct executor *executor = weights->executor;
    ASSERT(executor->trains);
    for (uint32_t i = 0; i < executor->node_count; i++) {
        const struct graph_node *node = executor->nodes[i].node;
        const void *params[OP_MAX_PARAMS] = {NULL};
        for (int p = 0; p < node->param_count; p++) {
            params[p] = weights->plain + executor->plain_offsets[node->params[p]];
        }
        if (node->param_count > 0) {
            TRY(pack_node(weights, i, params, error));
        }
    }
    return SHOAL_OK;
}
