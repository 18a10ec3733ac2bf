/* Shapes and tensors: contiguous row-major views that own nothing. */
#ifndef TENSOR_TENSOR_H
#define TENSOR_TENSOR_H

#include "base/status.h"
#include "tensor/dtype.h"

#include <stdbool.h>
#include <stdint.h>

#define SHAPE_MAX_RANK 8

struct shape {
    int rank;
    int64_t dims[SHAPE_MAX_RANK]; /* outermost first; entries from rank on are 0 */
};

struct tensor {
    enum dtype dtype;
    struct shape shape;
    void *data; /* borrowed */
};

#define SHAPE(...) \
    ((struct shape){(int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), {__VA_ARGS__}})

bool shape_equal(const struct shape *a, const struct shape *b);

/* Product of the dims; false if one is negative or the product overflows. A rank of 0 counts 1. */
bool shape_count(const struct shape *shape, int64_t *out);

/* Elements × element size; false as above. */
bool shape_bytes(const struct shape *shape, enum dtype dtype, size_t *out);

#define SHAPE_TEXT 96
/* "[8,197,768]" into text; returns text. */
const char *shape_format(const struct shape *shape, char text[SHAPE_TEXT]);

/* Bytes of a tensor whose shape is already known to be sound. */
size_t tensor_bytes(const struct tensor *tensor);

#endif
