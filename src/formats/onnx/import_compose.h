/* Small compositions that converters share. */
#ifndef FORMATS_ONNX_IMPORT_COMPOSE_H
#define FORMATS_ONNX_IMPORT_COMPOSE_H

#include "formats/onnx/importer.h"

/* function: enum binary_function; a and b broadcast. */
NODISCARD shoal_status compose_binary(struct import_node *n, int function, struct import_value *a,
                                      struct import_value *b, struct import_value **out);
/* With a number of a's type on the right. */
NODISCARD shoal_status compose_with(struct import_node *n, int function, struct import_value *a,
                                    double number, struct import_value **out);
NODISCARD shoal_status compose_unary(struct import_node *n, int function, struct import_value *x,
                                     struct import_value **out);
/* x itself where it has the type. */
NODISCARD shoal_status compose_cast(struct import_node *n, struct import_value *x, enum dtype dtype,
                                    struct import_value **out);
/* function: enum reduce_function; axes: bit i for axis i; they stay as 1. */
NODISCARD shoal_status compose_reduce(struct import_node *n, int function, struct import_value *x,
                                      int64_t axes, struct import_value **out);
/* count elements of the axis from first on. */
NODISCARD shoal_status compose_slice(struct import_node *n, struct import_value *x, int axis,
                                     int64_t first, int64_t count, struct import_value **out);
NODISCARD shoal_status compose_concat(struct import_node *n, struct import_value *const *inputs,
                                      int count, int axis, struct import_value **out);
NODISCARD shoal_status compose_expand(struct import_node *n, struct import_value *x,
                                      const struct shape *to, struct import_value **out);
/* A constant of f32 with the same number everywhere. */
NODISCARD shoal_status compose_filled(struct import_node *n, const struct shape *shape,
                                      float number, struct import_value **out);
/* NumPy's matmul of a and b, times scale. */
NODISCARD shoal_status compose_product(struct import_node *n, struct import_value *a,
                                       struct import_value *b, float scale, bool transpose_b,
                                       struct import_value **out);

/* Elements of a value. */
int64_t compose_count(const struct import_value *value);

/* ONNX's attributes of windows (kernel_shape is the caller's) for so many spatial axes into ints as
 * enum window_ints says; auto_pad resolved with the image's dims and the kernel's. */
NODISCARD shoal_status compose_window(struct import_node *n, const int64_t *image,
                                      const int64_t *kernel, int spatial, int64_t *ints);
/* strides or the like: absent ones are `fallback`. */
NODISCARD shoal_status compose_spatial(struct import_node *n, const char *name, int count,
                                       int64_t fallback, int64_t *out);

#endif
