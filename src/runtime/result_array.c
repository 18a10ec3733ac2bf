#include "runtime/result_array.h"

#include "base/assert.h"
#include "base/memory.h"
#include "formats/npy.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>

struct result_array {
    FILE *file;
    char *path;
    float *blank; /* [width] NaN */
    uint64_t rows, written;
    uint32_t width;
};

static shoal_status write_row(struct result_array *array, const float *row,
                              struct shoal_error *error) {
    if (fwrite(row, sizeof *row, array->width, array->file) != array->width) {
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

static shoal_status begin(struct result_array *array, struct shoal_error *error) {
    unsigned char header[NPY_HEADER_BYTES];
    size_t size;
    const struct shape shape = SHAPE((int64_t)array->rows, array->width);
    const shoal_status status = npy_header_f32(&shape, header, &size, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "--output %s", array->path);
    }
    array->file = fopen(array->path, "we");
    if (array->file == NULL || fwrite(header, 1, size, array->file) != size) {
        return error_errno(error, errno, "--output %s", array->path);
    }
    return SHOAL_OK;
}

shoal_status result_array_open(const char *path, uint64_t rows, uint32_t width,
                               struct result_array **out, struct shoal_error *error) {
    struct result_array *array = mem_calloc(1, sizeof *array);
    if (array != NULL) {
        array->rows = rows;
        array->width = width;
        array->path = mem_strdup(path);
        array->blank = mem_alloc(width * sizeof *array->blank);
    }
    if (array == NULL || array->path == NULL || array->blank == NULL) {
        (void)!result_array_close(array, NULL);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    }
    for (uint32_t i = 0; i < width; i++) {
        array->blank[i] = NAN;
    }
    const shoal_status status = begin(array, error);
    if (status != SHOAL_OK) {
        (void)!result_array_close(array, NULL);
        return status;
    }
    *out = array;
    return SHOAL_OK;
}

shoal_status result_array_put(struct result_array *array, uint64_t index, const float *row,
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
