#include "runtime/onnx_weights.h"

#include "base/memory.h"

#include <string.h>
#include <strings.h>

struct onnx_weights {
    struct weight_source base;
    struct onnx_model *model;
    struct weight_source *inner;
};

bool onnx_weights_is(const char *path) {
    const size_t length = strlen(path), end = strlen(".onnx");
    return length > end && strcasecmp(path + length - end, ".onnx") == 0;
}

static shoal_status source_borrow(struct weight_source *base, const char *name,
                                  const struct shape *shape, enum graph_fill fill,
                                  struct tensor *out, struct shoal_error *error) {
    struct weight_source *inner = ((struct onnx_weights *)base)->inner;
    return inner->ops->borrow(inner, name, shape, fill, out, error);
}

static void source_release(struct weight_source *base, const struct tensor *tensor) {
    struct weight_source *inner = ((struct onnx_weights *)base)->inner;
    inner->ops->release(inner, tensor);
}

static void source_destroy(struct weight_source *base) {
    struct onnx_weights *source = (struct onnx_weights *)base;
    if (source->inner != NULL) {
        source->inner->ops->destroy(source->inner);
    }
    onnx_close(source->model);
    mem_free(source);
}

static const struct weight_source_ops source_ops = {
    .borrow = source_borrow,
    .release = source_release,
    .destroy = source_destroy,
};

shoal_status onnx_weights_open(const char *path, struct weight_source **out,
                               struct shoal_error *error) {
    struct onnx_weights *source = mem_calloc(1, sizeof *source);
    if (source == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    source->base.ops = &source_ops;
    shoal_status status = onnx_open(path, &source->model, error);
    if (status == SHOAL_OK) {
        status = onnx_source_create(source->model, &source->inner, error);
    }
    if (status != SHOAL_OK) {
        source_destroy(&source->base);
        return status;
    }
    *out = &source->base;
    return SHOAL_OK;
}

const struct onnx_model *onnx_weights_model(const struct weight_source *source) {
    return ((const struct onnx_weights *)source)->model;
}

const struct onnx_stored *onnx_weights_list(const struct weight_source *source, size_t *count) {
    return onnx_source_list(((const struct onnx_weights *)source)->inner, count);
}
