#include "graph/weights.h"

#include "base/memory.h"
#include "base/random.h"

#include <string.h>

#define FILL_DEVIATION 0.02F

struct random_source {
    struct weight_source base;
    uint64_t seed;
};

static shoal_status random_borrow(struct weight_source *source, const char *name,
                                  const struct shape *shape, enum graph_fill fill,
                                  struct tensor *out, struct shoal_error *error) {
    const struct random_source *self = (const struct random_source *)source;
    int64_t count = 0;
    size_t bytes = 0;
    if (!shape_count(shape, &count) || !shape_bytes(shape, DTYPE_F32, &bytes)) {
        return error_set(error, SHOAL_INVALID, "random weights: %s has no sound shape", name);
    }
    float *values = mem_alloc_aligned(bytes);
    if (values == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "random weights: no memory for %s (%zu bytes)",
                         name, bytes);
    }
    switch (fill) {
    case GRAPH_FILL_NORMAL:
        random_normal(random_stream(self->seed, name), 0, FILL_DEVIATION, values, (size_t)count);
        break;
    case GRAPH_FILL_ZEROS:
        memset(values, 0, bytes);
        break;
    case GRAPH_FILL_ONES:
        for (int64_t i = 0; i < count; i++) {
            values[i] = 1.0F;
        }
        break;
    }
    *out = (struct tensor){DTYPE_F32, *shape, values};
    return SHOAL_OK;
}

static void random_release(struct weight_source *source, const struct tensor *tensor) {
    (void)source;
    mem_free(tensor->data);
}

static void random_destroy(struct weight_source *source) {
    mem_free(source);
}

static const struct weight_source_ops random_ops = {
    .borrow = random_borrow,
    .release = random_release,
    .destroy = random_destroy,
};

shoal_status weights_random_create(uint64_t seed, struct weight_source **out,
                                   struct shoal_error *error) {
    struct random_source *self = mem_alloc(sizeof *self);
    if (self == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "random weights: no memory");
    }
    self->base.ops = &random_ops;
    self->seed = seed;
    *out = &self->base;
    return SHOAL_OK;
}
