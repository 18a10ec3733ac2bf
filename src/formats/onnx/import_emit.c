/* Nodes of the IR: appended, computed at once, or left to the constants graph. */
#include "formats/onnx/import_internal.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Larger operands are read by a derived weight, when it is loaded. */
#define EAGER_OPERANDS ((size_t)16 << 20)

/* One node to be: inputs first, then params. */
struct draft {
    enum op op;
    const struct op_attrs *attrs;
    struct import_value *const *inputs, *const *params;
    int input_count, param_count;
    struct kernel_desc desc;
};

static shoal_status describe(struct import_node *n, struct draft *d) {
    struct tensor_type inputs[OP_MAX_INPUTS], params[OP_MAX_PARAMS];
    const struct op_info *info = op_describe(d->op);
    static const struct op_attrs none;
    if (d->input_count > info->inputs_max || d->input_count < info->inputs_min ||
        d->param_count > info->params_max || d->param_count < info->params_min) {
        return import_refuse(n, "%s with %d inputs and %d weights", info->name, d->input_count,
                             d->param_count);
    }
    for (int i = 0; i < d->input_count; i++) {
        inputs[i] = d->inputs[i]->type;
    }
    for (int i = 0; i < d->param_count; i++) {
        params[i] = d->params[i]->type;
    }
    d->attrs = d->attrs != NULL ? d->attrs : &none;
    const shoal_status status = kernel_describe(d->op, d->attrs, inputs, d->input_count, params,
                                                d->param_count, 1, &d->desc, n->error);
    return status == SHOAL_OK
               ? SHOAL_OK
               : error_wrap(n->error, status, "node %.120s (%.60s)", n->name, n->op_type);
}

/* ---- at once ---- */

static size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    return shape_bytes(&type->shape, type->dtype, &bytes) ? bytes : SIZE_MAX / 64;
}

static bool is_small(const struct draft *d) {
    size_t operands = 0, results = 0;
    for (int i = 0; i < d->desc.input_count; i++) {
        operands += bytes_of(&d->desc.inputs[i]);
    }
    for (int i = 0; i < d->desc.param_count; i++) {
        operands += bytes_of(&d->desc.params[i]);
    }
    for (int i = 0; i < d->desc.output_count; i++) {
        results += bytes_of(&d->desc.outputs[i]);
    }
    return results <= IMPORT_INLINE_BYTES && operands <= EAGER_OPERANDS;
}

static shoal_status count_work(struct import_node *n, const struct draft *d) {
    double work = op_flops(d->op, d->attrs, d->desc.inputs, d->desc.input_count, d->desc.params,
                           d->desc.param_count, d->desc.outputs);
    for (int i = 0; i < d->desc.input_count; i++) {
        work += (double)bytes_of(&d->desc.inputs[i]);
    }
    for (int i = 0; i < d->desc.output_count; i++) {
        work += (double)bytes_of(&d->desc.outputs[i]);
    }
    n->importer->work += work;
    const double most = n->importer->options->most_work;
    return n->importer->work <= (most > 0 ? most : IMPORT_MOST_WORK)
               ? SHOAL_OK
               : import_refuse(n, "computing the model's constants takes too long");
}

/* Buffers of one evaluation, all 64-byte aligned. */
struct evaluation {
    struct kernel *kernel;
    void *packed, *scratch;
    const void *inputs[OP_MAX_INPUTS], *params[OP_MAX_PARAMS];
    void *outputs[OP_MAX_OUTPUTS];
};

static shoal_status evaluate_with(struct import_node *n, struct draft *d, struct evaluation *e) {
    struct kernel_sizes sizes;
    TRY(kernel_reference_ops.create(&d->desc, &e->kernel, n->error));
    kernel_reference_ops.sizes(e->kernel, &sizes);
    e->packed = mem_alloc_aligned(sizes.packed_bytes + 1);
    e->scratch = mem_alloc_aligned(sizes.scratch_bytes + 1);
    if (e->packed == NULL || e->scratch == NULL) {
        return import_no_memory(n);
    }
    for (int i = 0; i < d->input_count; i++) {
        TRY(value_bytes(n->importer, d->inputs[i], &e->inputs[i]));
    }
    for (int i = 0; i < d->param_count; i++) {
        TRY(value_bytes(n->importer, d->params[i], &e->params[i]));
    }
    for (int i = 0; i < d->desc.output_count; i++) {
        TRY(value_memory(n->importer, bytes_of(&d->desc.outputs[i]), &e->outputs[i]));
    }
    TRY(kernel_reference_ops.pack(e->kernel, e->params, e->packed, n->error));
    const shoal_status status =
        kernel_reference_ops.run(e->kernel, e->packed, e->inputs, e->outputs, e->scratch);
    return status == SHOAL_OK ? SHOAL_OK
                              : error_set(n->error, status, "node %.120s (%.60s): cannot compute",
                                          n->name, n->op_type);
}

static shoal_status evaluate(struct import_node *n, struct draft *d, struct import_value *out[]) {
    struct evaluation e = {0};
    TRY(count_work(n, d));
    const shoal_status status = evaluate_with(n, d, &e);
    if (e.kernel != NULL) {
        kernel_reference_ops.destroy(e.kernel);
    }
    mem_free(e.packed);
    mem_free(e.scratch);
    TRY(status);
    for (int i = 0; i < d->desc.output_count; i++) {
        out[i]->data = e.outputs[i];
    }
    return SHOAL_OK;
}

/* ---- as nodes ---- */

static shoal_status name_node(struct import_node *n, char **out) {
    *out = arena_format(&n->importer->arena, "%s#%" PRIu32, n->name, n->importer->name_count++);
    return *out != NULL ? SHOAL_OK : import_no_memory(n);
}

/* In the constants graph; names are the keys of derived weights there. */
static shoal_status derive_node(struct import_node *n, struct draft *d,
                                struct import_value *out[]) {
    struct importer *im = n->importer;
    struct graph *constants = graph_constants(im->graph);
    graph_value_id inputs[OP_MAX_INPUTS], outputs[OP_MAX_OUTPUTS];
    graph_param_id params[OP_MAX_PARAMS];
    char *name = NULL;
    if (constants == NULL) {
        return import_no_memory(n);
    }
    TRY(name_node(n, &name));
    for (int i = 0; i < d->input_count; i++) {
        TRY(value_derive(im, d->inputs[i], &inputs[i]));
    }
    for (int i = 0; i < d->param_count; i++) {
        TRY(value_derive_param(im, d->params[i], &params[i]));
    }
    TRY(graph_add_node(constants, name, d->op, d->attrs, GRAPH_F, inputs, d->input_count, params,
                       d->param_count, outputs, n->error));
    for (int i = 0; i < d->desc.output_count; i++) {
        out[i]->derived = outputs[i];
    }
    return SHOAL_OK;
}

static shoal_status append_node(struct import_node *n, struct draft *d,
                                struct import_value *out[]) {
    struct importer *im = n->importer;
    graph_value_id inputs[OP_MAX_INPUTS], outputs[OP_MAX_OUTPUTS];
    graph_param_id params[OP_MAX_PARAMS];
    uint64_t needs = 0;
    for (int i = 0; i < d->input_count; i++) {
        if (d->inputs[i]->kind == IMPORT_CONSTANT) {
            TRY(value_materialise(im, d->inputs[i], &inputs[i]));
        } else {
            inputs[i] = d->inputs[i]->id;
            needs |= d->inputs[i]->needs;
        }
    }
    for (int i = 0; i < d->param_count; i++) {
        TRY(value_param(im, d->params[i], &params[i]));
    }
    TRY(graph_add_node(im->graph, n->name, d->op, d->attrs, GRAPH_F, inputs, d->input_count, params,
                       d->param_count, outputs, n->error));
    for (int i = 0; i < d->desc.output_count; i++) {
        out[i]->id = outputs[i];
        out[i]->needs = needs;
    }
    return SHOAL_OK;
}

/* Whether every operand is a constant; refuses what is none of the graph's values. */
static shoal_status operands(struct import_node *n, const struct draft *d, bool *constant) {
    *constant = true;
    for (int i = 0; i < d->input_count; i++) {
        if (d->inputs[i] == NULL ||
            (d->inputs[i]->kind != IMPORT_RUNTIME && d->inputs[i]->kind != IMPORT_CONSTANT)) {
            return import_refuse(n, "an operand that is no tensor");
        }
        *constant = *constant && d->inputs[i]->kind == IMPORT_CONSTANT;
    }
    for (int i = 0; i < d->param_count; i++) {
        if (d->params[i] == NULL || d->params[i]->kind != IMPORT_CONSTANT) {
            return import_refuse(n, "weights that are computed from the model's inputs");
        }
    }
    return SHOAL_OK;
}

shoal_status import_emit_packed(struct import_node *n, enum op op, const struct op_attrs *attrs,
                                struct import_value *const inputs[], int input_count,
                                struct import_value *const params[], int param_count,
                                struct import_value *out[]) {
    struct draft d = {op, attrs, inputs, params, input_count, param_count, {0}};
    struct import_value *made[OP_MAX_OUTPUTS] = {NULL};
    bool constant = false;
    if (input_count > OP_MAX_INPUTS || param_count > OP_MAX_PARAMS) {
        return import_refuse(n, "%d operands at once", input_count + param_count);
    }
    TRY(import_count_node(n->importer));
    TRY(operands(n, &d, &constant));
    TRY(describe(n, &d));
    for (int i = 0; i < d.desc.output_count; i++) {
        const struct tensor_type type = d.desc.outputs[i];
        made[i] = value_new(n->importer, constant ? IMPORT_CONSTANT : IMPORT_RUNTIME,
                            import_element_of(type.dtype), type);
        if (made[i] == NULL) {
            return import_no_memory(n);
        }
    }
    if (!constant) {
        TRY(append_node(n, &d, made));
    } else if (is_small(&d)) {
        TRY(evaluate(n, &d, made));
    } else {
        TRY(derive_node(n, &d, made));
    }
    for (int i = 0; i < d.desc.output_count; i++) {
        out[i] = made[i];
    }
    return SHOAL_OK;
}

shoal_status import_emit(struct import_node *n, enum op op, const struct op_attrs *attrs,
                         struct import_value *const inputs[], int input_count,
                         struct import_value *out[]) {
    return import_emit_packed(n, op, attrs, inputs, input_count, NULL, 0, out);
}

/* ---- what many converters need ---- */

shoal_status import_constant(struct import_node *n, enum dtype dtype, const struct shape *shape,
                             const void *data, struct import_value **out) {
    size_t bytes = 0;
    void *memory = NULL;
    if (!shape_bytes(shape, dtype, &bytes)) {
        return import_refuse(n, "a constant of an impossible shape");
    }
    TRY(value_memory(n->importer, bytes, &memory));
    if (data != NULL && bytes > 0) {
        memcpy(memory, data, bytes);
    }
    struct import_value *value = value_new(n->importer, IMPORT_CONSTANT, import_element_of(dtype),
                                           (struct tensor_type){dtype, *shape});
    if (value == NULL) {
        return import_no_memory(n);
    }
    value->data = value->memory = memory;
    *out = value;
    return SHOAL_OK;
}

void *import_constant_data(struct import_value *value) {
    return value->memory;
}

static bool store_number(enum dtype dtype, double number, union import_number *to) {
    switch ((int)dtype) {
    case DTYPE_F32:
        to->f32 = (float)number;
        return true;
    case DTYPE_F64:
        to->f64 = number;
        return true;
    case DTYPE_I8:
        to->i8 = (int8_t)number;
        return true;
    case DTYPE_U8:
    case DTYPE_BOOL:
        to->u8 = (uint8_t)number;
        return true;
    case DTYPE_I16:
        to->i16 = (int16_t)number;
        return true;
    case DTYPE_U16:
        to->u16 = (uint16_t)number;
        return true;
    case DTYPE_I32:
        to->i32 = (int32_t)number;
        return true;
    case DTYPE_U32:
        to->u32 = (uint32_t)number;
        return true;
    case DTYPE_I64:
        to->i64 = (int64_t)number;
        return true;
    case DTYPE_U64:
        to->u64 = (uint64_t)number;
        return true;
    default:
        return false;
    }
}

shoal_status import_scalar(struct import_node *n, enum dtype dtype, double number,
                           struct import_value **out) {
    const struct shape scalar = {0};
    union import_number bits = {0};
    if (!store_number(dtype, number, &bits)) {
        return import_refuse(n, "a number of type %s", dtype_name(dtype));
    }
    return import_constant(n, dtype, &scalar, &bits, out);
}

shoal_status import_transpose(struct import_node *n, struct import_value *x, const int64_t *order,
                              struct import_value **out) {
    struct op_attrs attrs = {0};
    bool same = true;
    for (int i = 0; i < x->type.shape.rank; i++) {
        attrs.ints[i] = order[i];
        same = same && order[i] == i;
    }
    if (same) {
        *out = x;
        return SHOAL_OK;
    }
    return import_emit(n, OP_TRANSPOSE, &attrs, &x, 1, out);
}

shoal_status import_reshape(struct import_node *n, struct import_value *x, const struct shape *to,
                            struct import_value **out) {
    struct op_attrs attrs = {.axis = to->rank};
    if (shape_equal(&x->type.shape, to)) {
        *out = x;
        return SHOAL_OK;
    }
    for (int i = 0; i < to->rank; i++) {
        attrs.ints[i] = to->dims[i];
    }
    return import_emit(n, OP_RESHAPE, &attrs, &x, 1, out);
}

static shoal_status join_level(struct import_node *n, struct import_value *const *values,
                               size_t count, const struct op_attrs *attrs,
                               struct import_value **to) {
    for (size_t at = 0; at < count; at += OP_MAX_INPUTS) {
        const int width = (int)(count - at < OP_MAX_INPUTS ? count - at : OP_MAX_INPUTS);
        if (width == 1) {
            to[at / OP_MAX_INPUTS] = values[at];
        } else {
            TRY(import_emit(n, OP_CONCAT, attrs, values + at, width, &to[at / OP_MAX_INPUTS]));
        }
    }
    return SHOAL_OK;
}

shoal_status import_join(struct import_node *n, struct import_value *const *values, size_t count,
                         int axis, struct import_value **out) {
    const struct op_attrs attrs = {.axis = axis};
    if (count == 0) {
        return import_refuse(n, "nothing to concatenate");
    }
    while (count > 1) {
        const size_t wider = (count + OP_MAX_INPUTS - 1) / OP_MAX_INPUTS;
        struct import_value **level = import_alloc(n, wider * sizeof *level);
        if (level == NULL) {
            return import_no_memory(n);
        }
        TRY(join_level(n, values, count, &attrs, level));
        values = level;
        count = wider;
    }
    *out = values[0];
    return SHOAL_OK;
}

shoal_status import_part(struct import_node *n, struct import_value *x, int axis, int64_t start,
                         int64_t length, struct import_value **out) {
    struct op_attrs attrs = {0};
    for (int i = 0; i < x->type.shape.rank; i++) {
        attrs.ints[SLICE_STEP + i] = 1;
        attrs.ints[SLICE_LENGTH + i] = x->type.shape.dims[i];
    }
    attrs.ints[axis] = start;
    attrs.ints[SLICE_LENGTH + axis] = length;
    return import_emit(n, OP_SLICE, &attrs, &x, 1, out);
}

shoal_status import_channels_last(struct import_node *n, struct import_value *x,
                                  struct import_value **out) {
    const int rank = x->type.shape.rank;
    int64_t order[SHAPE_MAX_RANK] = {0};
    for (int i = 1; i < rank; i++) {
        order[i] = i < rank - 1 ? i + 1 : 1;
    }
    return import_transpose(n, x, order, out);
}

shoal_status import_channels_first(struct import_node *n, struct import_value *x,
                                   struct import_value **out) {
    const int rank = x->type.shape.rank;
    int64_t order[SHAPE_MAX_RANK] = {0};
    for (int i = 1; i < rank; i++) {
        order[i] = i == 1 ? rank - 1 : i - 1;
    }
    return import_transpose(n, x, order, out);
}
