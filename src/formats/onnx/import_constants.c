/* Converters of matrices and windows that are constants. */
#include "formats/onnx/import_basic.h"

#include <math.h>
#include <string.h>

shoal_status import_convert_eye_like(struct import_node *n) {
    struct import_value *x, *one, *y;
    int64_t element, k;
    enum dtype dtype;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_int(n, "dtype", x->element, &element));
    TRY(import_attr_int(n, "k", 0, &k));
    if (element < 0 || element > INT32_MAX || !import_element_dtype((int)element, &dtype)) {
        return import_refuse(n, "elements of type %lld", (long long)element);
    }
    if (x->type.shape.rank != 2) {
        return import_corrupt(n, "its input is no matrix");
    }
    TRY(import_scalar(n, dtype, 1, &one));
    const void *data;
    TRY(import_bytes(n, one, &data));
    TRY(import_constant(n, dtype, &x->type.shape, NULL, &y));
    const size_t size = dtype_size(dtype);
    char *to = import_constant_data(y);
    const int64_t rows = x->type.shape.dims[0], columns = x->type.shape.dims[1];
    for (int64_t i = 0; i < rows && k > -rows - 1 && k <= columns; i++) {
        if (i + k >= 0 && i + k < columns) {
            memcpy(to + (size_t)(i * columns + i + k) * size, data, size);
        }
    }
    return import_set_as(n, 0, y, (int)element);
}

/* mode: 0 Hann, 1 Hamming, 2 Blackman: a0 − a1·cos(2πi/N) + a2·cos(4πi/N). */
shoal_status import_convert_window(struct import_node *n) {
    static const double factors[3][3] = {
        {0.5, 0.5, 0}, {25.0 / 46, 21.0 / 46, 0}, {0.42, 0.5, 0.08}};
    struct import_value *size, *y;
    int64_t length, periodic, element;
    enum dtype dtype;
    TRY(import_need(n, 0, &size));
    TRY(import_int(n, size, &length));
    TRY(import_attr_int(n, "periodic", 1, &periodic));
    TRY(import_attr_int(n, "output_datatype", ONNX_FLOAT, &element));
    if (element < 0 || element > INT32_MAX || !import_element_dtype((int)element, &dtype) ||
        (dtype != DTYPE_F32 && dtype != DTYPE_F64)) {
        return import_refuse(n, "elements of type %lld", (long long)element);
    }
    if (length < 0) {
        return import_corrupt(n, "a negative size");
    }
    const struct shape shape = {.rank = 1, .dims = {length}};
    TRY(import_constant(n, dtype, &shape, NULL, &y));
    void *to = import_constant_data(y);
    const double *a = factors[n->mode];
    const double period = (double)(periodic != 0 ? length : length - 1);
    for (int64_t i = 0; i < length; i++) {
        const double angle = period > 0 ? 6.283185307179586 * (double)i / period : 0;
        const double value = a[0] - a[1] * cos(angle) + a[2] * cos(2 * angle);
        if (dtype == DTYPE_F32) {
            ((float *)to)[i] = (float)value;
        } else {
            ((double *)to)[i] = value;
        }
    }
    return import_set_as(n, 0, y, (int)element);
}
