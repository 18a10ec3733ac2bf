#include "tensor/tensor.h"

#include "base/assert.h"
#include "base/checked.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
#define X(code, text, size) [DTYPE_##code] = {(text), (size)},
    DTYPE_LIST(X)
#undef X
};
_Static_assert(sizeof dtypes / sizeof dtypes[0] == DTYPE_COUNT,
               "a name and a size for every dtype");

const char *dtype_name(enum dtype dtype) {
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return dtypes[dtype].name;
}

size_t dtype_size(enum dtype dtype) {
    ASSERT((unsigned)dtype < DTYPE_COUNT);
    return dtypes[dtype].size;
}

bool dtype_parse(const char *text, enum dtype *out) {
    for (int i = 0; i < DTYPE_COUNT; i++) {
        if (strcmp(text, dtypes[i].name) == 0) {
            *out = (enum dtype)i;
            return true;
        }
    }
    return false;
}

bool shape_equal(const struct shape *a, const struct shape *b) {
    if (a->rank != b->rank) {
        return false;
    }
    for (int i = 0; i < a->rank; i++) {
        if (a->dims[i] != b->dims[i]) {
            return false;
        }
    }
    return true;
}

bool shape_count(const struct shape *shape, int64_t *out) {
    int64_t count = 1;
    for (int i = 0; i < shape->rank; i++) {
        if (shape->dims[i] < 0 || !checked_mul_i64(count, shape->dims[i], &count)) {
            return false;
        }
    }
    *out = count;
    return true;
}

bool shape_bytes(const struct shape *shape, enum dtype dtype, size_t *out) {
    int64_t count;
    return shape_count(shape, &count) && checked_mul_size((size_t)count, dtype_size(dtype), out);
}

const char *shape_format(const struct shape *shape, char text[SHAPE_TEXT]) {
    size_t used = 0;
    text[used++] = '[';
    for (int i = 0; i < shape->rank && used < SHAPE_TEXT - 2; i++) {
        const int length = snprintf(text + used, SHAPE_TEXT - 1 - used, i > 0 ? ",%lld" : "%lld",
                                    (long long)shape->dims[i]);
        if (length < 0 || (size_t)length >= SHAPE_TEXT - 1 - used) {
            break;
        }
        used += (size_t)length;
    }
    text[used++] = ']';
    text[used] = '\0';
    return text;
}

size_t tensor_bytes(const struct tensor *tensor) {
    size_t bytes = 0;
    const bool sound = shape_bytes(&tensor->shape, tensor->dtype, &bytes);
    ASSERT(sound);
    return bytes;
}
