#include "runtime/cancel_source.h"

#include "base/memory.h"

struct cancel_source {
    struct weight_source base;
    struct weight_source *inner;
    const atomic_bool *cancel;
};

static shoal_status source_borrow(struct weight_source *base, const char *name,
                                  const struct shape *shape, enum graph_fill fill,
                                  struct tensor *out, struct shoal_error *error) {
    struct weight_source *inner = ((struct cancel_source *)base)->inner;
    if (atomic_load(((struct cancel_source *)base)->cancel)) {
        return error_set(error, SHOAL_CANCELLED, "loading was given up");
    }
    return inner->ops->borrow(inner, name, shape, fill, out, error);
}

static void source_release(struct weight_source *base, const struct tensor *tensor) {
    struct weight_source *inner = ((struct cancel_source *)base)->inner;
    inner->ops->release(inner, tensor);
}

static void source_destroy(struct weight_source *base) {
    struct weight_source *inner = ((struct cancel_source *)base)->inner;
    inner->ops->destroy(inner);
    mem_free(base);
}

static const struct weight_source_ops source_ops = {
    .borrow = source_borrow,
    .release = source_release,
    .destroy = source_destroy,
};

shoal_status cancel_source_create(struct weight_source *inner, const atomic_bool *cancel,
                                  struct weight_source **out, struct shoal_error *error) {
    struct cancel_source *source = mem_calloc(1, sizeof *source);
    if (source == NULL) {
        inner->ops->destroy(inner);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a source of weights");
    }
    *source = (struct cancel_source){.base = {&source_ops}, .inner = inner, .cancel = cancel};
    *out = &source->base;
    return SHOAL_OK;
}
