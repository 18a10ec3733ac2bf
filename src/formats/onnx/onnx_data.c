/* Values serialised on their own: the test data of ONNX. */
#include "base/memory.h"
#include "formats/onnx/onnx_internal.h"

/* SequenceProto.DataType and OptionalProto.DataType. */
enum element_type { ELEMENT_UNDEFINED = 0, ELEMENT_TENSOR = 1, ELEMENT_SEQUENCE = 3 };

struct open_data {
    struct onnx_data data; /* first: what the caller has */
    struct onnx_store store;
};

static const char *text(const char *value) {
    return value != NULL ? value : "";
}

static shoal_status refuse_elements(int type, struct shoal_error *error) {
    return error_set(error, SHOAL_UNSUPPORTED,
                     "it holds elements of type %d; only tensors and sequences of tensors are read",
                     type);
}

static shoal_status fill_sequence(struct open_data *open, const Onnx__SequenceProto *from,
                                  struct shoal_error *error) {
    if (from->elem_type != ELEMENT_UNDEFINED && from->elem_type != ELEMENT_TENSOR) {
        return refuse_elements(from->elem_type, error);
    }
    open->data.has_value = true;
    open->data.count = from->n_tensor_values;
    return onnx_tensors_build(&open->store, from->tensor_values, from->n_tensor_values,
                              &open->data.tensors, error);
}

static shoal_status fill_tensor(struct open_data *open, Onnx__TensorProto *from,
                                struct shoal_error *error) {
    open->data.has_value = true;
    open->data.count = 1;
    return onnx_tensors_build(&open->store, &from, 1, &open->data.tensors, error);
}

static shoal_status fill_optional(struct open_data *open, const Onnx__OptionalProto *from,
                                  struct shoal_error *error) {
    open->data.name = text(from->name);
    open->data.element = ONNX_KIND_OTHER;
    if (from->elem_type != ELEMENT_UNDEFINED && from->elem_type != ELEMENT_TENSOR &&
        from->elem_type != ELEMENT_SEQUENCE) {
        return refuse_elements(from->elem_type, error);
    }
    if (from->tensor_value != NULL) {
        open->data.element = ONNX_KIND_TENSOR;
        return fill_tensor(open, from->tensor_value, error);
    }
    if (from->sequence_value != NULL) {
        open->data.element = ONNX_KIND_SEQUENCE;
        return fill_sequence(open, from->sequence_value, error);
    }
    return SHOAL_OK;
}

static shoal_status fill(struct open_data *open, enum onnx_kind kind, struct shoal_error *error) {
    static const enum outline_root roots[] = {
        [ONNX_KIND_TENSOR] = OUTLINE_TENSOR,
        [ONNX_KIND_SEQUENCE] = OUTLINE_SEQUENCE,
        [ONNX_KIND_OPTIONAL] = OUTLINE_OPTIONAL,
    };
    ProtobufCMessage *message = NULL;
    TRY(onnx_store_unpack(&open->store, roots[kind], &message, error));
    open->data.kind = kind;
    open->data.element = kind;
    if (kind == ONNX_KIND_TENSOR) {
        TRY(fill_tensor(open, (Onnx__TensorProto *)message, error));
        open->data.name = open->data.tensors[0].name;
        return SHOAL_OK;
    }
    if (kind == ONNX_KIND_SEQUENCE) {
        open->data.name = text(((const Onnx__SequenceProto *)message)->name);
        return fill_sequence(open, (const Onnx__SequenceProto *)message, error);
    }
    return fill_optional(open, (const Onnx__OptionalProto *)message, error);
}

static shoal_status create(const char *name, enum onnx_kind kind, struct open_data **out,
                           struct shoal_error *error) {
    if (kind != ONNX_KIND_TENSOR && kind != ONNX_KIND_SEQUENCE && kind != ONNX_KIND_OPTIONAL) {
        return error_set(error, SHOAL_INVALID, "%s: values of this kind are not read", name);
    }
    struct open_data *open = mem_calloc(1, sizeof *open);
    if (open == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", name);
    }
    onnx_store_init(&open->store);
    *out = open;
    return SHOAL_OK;
}

/* opened: how opening the file went; its text names the file already. */
static shoal_status finish(struct open_data *open, const char *name, enum onnx_kind kind,
                           shoal_status opened, struct onnx_data **out, struct shoal_error *error) {
    shoal_status status = opened;
    if (status == SHOAL_OK) {
        status = fill(open, kind, error);
        if (status != SHOAL_OK) {
            status = error_wrap(error, status, "%s", name);
        }
    }
    if (status != SHOAL_OK) {
        onnx_data_close(&open->data);
        return status;
    }
    *out = &open->data;
    return SHOAL_OK;
}

shoal_status onnx_data_open(const char *path, enum onnx_kind kind, struct onnx_data **out,
                            struct shoal_error *error) {
    struct open_data *open = NULL;
    TRY(create(path, kind, &open, error));
    return finish(open, path, kind, onnx_store_open(&open->store, path, error), out, error);
}

shoal_status onnx_data_parse(const char *name, const void *bytes, size_t size, enum onnx_kind kind,
                             struct onnx_data **out, struct shoal_error *error) {
    struct open_data *open = NULL;
    TRY(create(name, kind, &open, error));
    return finish(open, name, kind, onnx_store_wrap(&open->store, name, bytes, size, error), out,
                  error);
}

void onnx_data_close(struct onnx_data *data) {
    struct open_data *open = (struct open_data *)data;
    if (open != NULL) {
        onnx_store_fini(&open->store);
        mem_free(open);
    }
}
