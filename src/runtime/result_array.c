#include "runtime/result_array.h"

#include "base/assert.h"
#include "base/memory.h"
#include "formats/npy.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

struct result_array {
    FILE *file;
    char *path;
    unsigned char *blank; /* [row_bytes] NaNs */
    size_t row_bytes;
    uint64_t rows, written;
};

static shoal_status write_row(struct result_array *array, const void *row,
                              struct shoal_error *error) {
    if (fwrite(row, 1, array->row_bytes, array->file) != array->row_bytes) {
        return error_errno(error, errno, "--output %s: cannot write", array->path);
    }
    array->written++;
    return SHOAL_OK;
}

static shoal_status write_blanks(struct result_array *array, uint64_t end,
                                 struct shoal_error *error) {
    while (array->written < end) {
        TRY(write_row(array, array->blank, error));
    }
    return SHOAL_OK;
}

static shoal_status begin(struct result_array *array, enum dtype dtype, const struct shape *item,
                          struct shoal_error *error) {
    unsigned char header[NPY_HEADER_BYTES];
    size_t size;
    struct shape shape = {.rank = item->rank + 1, .dims = {(int64_t)array->rows}};
    if (item->rank == SHAPE_MAX_RANK) {
        return error_set(error, SHOAL_UNSUPPORTED, "--output %s: results of %d dimensions",
                         array->path, SHAPE_MAX_RANK);
    }
    memcpy(shape.dims + 1, item->dims, (size_t)item->rank * sizeof item->dims[0]);
    const shoal_status status = npy_header(dtype, &shape, header, &size, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "--output %s", array->path);
    }
    array->file = fopen(array->path, "we");
    if (array->file == NULL || fwrite(header, 1, size, array->file) != size) {
        return error_errno(error, errno, "--output %s", array->path);
    }
    return SHOAL_OK;
}

shoal_status result_array_open(const char *path, uint64_t rows, enum dtype dtype,
                               const struct shape *item, struct result_array **out,
                               struct shoal_error *error) {
    struct result_array *array = mem_calloc(1, sizeof *array);
    if (array != NULL) {
        array->rows = rows;
        array->path = mem_strdup(path);
        array->row_bytes = tensor_bytes(&(struct tensor){dtype, *item, NULL});
        array->blank = mem_calloc(array->row_bytes, 1);
    }
    if (array == NULL || array->path == NULL || array->blank == NULL) {
        (void)!result_array_close(array, NULL);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    }
    static const float nan32 = NAN;
    static const double nan64 = NAN;
    const void *nan = dtype == DTYPE_F32 ? (const void *)&nan32 : &nan64;
    const size_t size = dtype_size(dtype);
    for (size_t i = 0; (dtype == DTYPE_F32 || dtype == DTYPE_F64) && i < array->row_bytes;
         i += size) {
        memcpy(array->blank + i, nan, size);
    }
    const shoal_status status = begin(array, dtype, item, error);
    if (status != SHOAL_OK) {
        (void)!result_array_close(array, NULL);
        return status;
    }
    *out = array;
    return SHOAL_OK;
}

shoal_status result_array_put(struct result_array *array, uint64_t index, const void *row,
                              struct shoal_error *error) {
    ASSERT(index >= array->written && index < array->rows);
    TRY(write_blanks(array, index, error));
    return write_row(array, row, error);
}

shoal_status result_array_flush(struct result_array *array, struct shoal_error *error) {
    return fflush(array->file) == 0
               ? SHOAL_OK
               : error_errno(error, errno, "--output %s: cannot write", array->path);
}

shoal_status result_array_close(struct result_array *array, struct shoal_error *error) {
    shoal_status status = SHOAL_OK;
    if (array == NULL) {
        return SHOAL_OK;
    }
    if (array->file != NULL) {
        status = write_blanks(array, array->rows, error);
        if (fclose(array->file) != 0 && status == SHOAL_OK) {
            status = error_errno(error, errno, "--output %s: cannot write", array->path);
        }
    }
    mem_free(array->path);
    mem_free(array->blank);
    mem_free(array);
    return status;
}
