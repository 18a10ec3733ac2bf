/* Opening models: versions first, then the structure. */
#include "base/memory.h"
#include "formats/onnx/onnx_internal.h"

#include <string.h>

struct open_model {
    struct onnx_model model; /* first: what the caller has */
    struct onnx_store store;
};

static shoal_status check_ir(const Onnx__ModelProto *from, struct shoal_error *error) {
    if (!from->has_ir_version || from->graph == NULL) {
        return error_set(error, SHOAL_CORRUPT, "not an ONNX model: it has no %s",
                         from->has_ir_version ? "graph" : "ir_version");
    }
    if (from->ir_version < ONNX_IR_OLDEST) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "ir_version %lld is older than the oldest that is read, %d; convert it "
                         "with onnx.version_converter or export it again",
                         (long long)from->ir_version, ONNX_IR_OLDEST);
    }
    if (from->ir_version > ONNX_IR_NEWEST) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "ir_version %lld is newer than the newest that is known, %d; export it "
                         "for opset %d or older, or use a newer Shoal",
                         (long long)from->ir_version, ONNX_IR_NEWEST, ONNX_OPSET_NEWEST);
    }
    return SHOAL_OK;
}

static shoal_status check_opset(struct onnx_model *model, struct shoal_error *error) {
    model->opset = onnx_model_opset(model, "");
    if (model->opset < 0) {
        return error_set(error, SHOAL_CORRUPT, "opset %lld is no version", (long long)model->opset);
    }
    if (model->opset > ONNX_OPSET_NEWEST) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "opset %lld is newer than the newest that is known, %d; export it for "
                         "that one or use a newer Shoal",
                         (long long)model->opset, ONNX_OPSET_NEWEST);
    }
    return SHOAL_OK;
}

static shoal_status fill(struct open_model *open, struct shoal_error *error) {
    ProtobufCMessage *message = NULL;
    TRY(onnx_store_unpack(&open->store, OUTLINE_MODEL, &message, error));
    const Onnx__ModelProto *from = (const Onnx__ModelProto *)message;
    TRY(check_ir(from, error));
    TRY(onnx_model_build(&open->store, from, &open->model, error));
    open->model.files = (const struct onnx_file *const *)open->store.files;
    open->model.file_count = open->store.file_count;
    return check_opset(&open->model, error);
}

static shoal_status create(const char *name, struct open_model **out, struct shoal_error *error) {
    struct open_model *open = mem_calloc(1, sizeof *open);
    if (open == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", name);
    }
    onnx_store_init(&open->store);
    *out = open;
    return SHOAL_OK;
}

/* opened: how opening the file went; its text names the file already. */
static shoal_status finish(struct open_model *open, const char *name, shoal_status opened,
                           struct onnx_model **out, struct shoal_error *error) {
    shoal_status status = opened;
    if (status == SHOAL_OK) {
        status = fill(open, error);
        if (status != SHOAL_OK) {
            status = error_wrap(error, status, "%s", name);
        }
    }
    if (status != SHOAL_OK) {
        onnx_close(&open->model);
        return status;
    }
    *out = &open->model;
    return SHOAL_OK;
}

shoal_status onnx_open(const char *path, struct onnx_model **out, struct shoal_error *error) {
    struct open_model *open = NULL;
    TRY(create(path, &open, error));
    return finish(open, path, onnx_store_open(&open->store, path, error), out, error);
}

shoal_status onnx_parse(const char *name, const void *bytes, size_t size, struct onnx_model **out,
                        struct shoal_error *error) {
    struct open_model *open = NULL;
    TRY(create(name, &open, error));
    return finish(open, name, onnx_store_wrap(&open->store, name, bytes, size, error), out, error);
}

void onnx_close(struct onnx_model *model) {
    struct open_model *open = (struct open_model *)model;
    if (open != NULL) {
        onnx_store_fini(&open->store);
        mem_free(open);
    }
}

const struct onnx_attribute *onnx_node_attribute(const struct onnx_node *node, const char *name) {
    for (size_t i = 0; i < node->attribute_count; i++) {
        if (strcmp(node->attributes[i].name, name) == 0) {
            return &node->attributes[i];
        }
    }
    return NULL;
}

const struct onnx_tensor *onnx_graph_initialiser(const struct onnx_graph *graph, const char *name) {
    for (size_t i = 0; i < graph->initialiser_count; i++) {
        if (strcmp(graph->initialisers[i].name, name) == 0) {
            return &graph->initialisers[i];
        }
    }
    return NULL;
}

int64_t onnx_model_opset(const struct onnx_model *model, const char *domain) {
    for (size_t i = 0; i < model->opset_count; i++) {
        if (strcmp(model->opsets[i].domain, domain) == 0) {
            return model->opsets[i].version;
        }
    }
    return 0;
}
