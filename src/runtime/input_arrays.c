/* Arrays as items of a graph: files of numbers, one for each input. */
#include "runtime/input_internal.h"

#include "base/memory.h"
#include "base/random.h"
#include "tensor/convert.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

bool arrays_named(const struct input *input, const char *argument, uint32_t *index) {
    const char *equals = strchr(argument, '=');
    for (uint32_t i = 0; i < input->input_count && equals != NULL; i++) {
        const char *name = input->inputs[i].name;
        if (strlen(name) == (size_t)(equals - argument) &&
            strncmp(name, argument, strlen(name)) == 0) {
            *index = i;
            return true;
        }
    }
    return false;
}

void arrays_close(struct source *source) {
    for (uint32_t i = 0; source->arrays != NULL && i < MODEL_MAX_INPUTS; i++) {
        npy_close(source->arrays[i].npy);
        mem_free(source->arrays[i].memory.data);
    }
    mem_free(source->arrays);
    source->arrays = NULL;
}

/* ---- opening ---- */

static shoal_status open_file(const char *path, struct input_array *out,
                              struct shoal_error *error) {
    out->path = path;
    if (!input_has_suffix(path, ".pb")) {
        TRY(npy_open(path, &out->npy, error));
        out->tensor = npy_tensor(out->npy);
        return SHOAL_OK;
    }
    struct onnx_data *data;
    TRY(onnx_data_open(path, ONNX_KIND_TENSOR, &data, error));
    const shoal_status status = onnx_tensor_read(&data->tensors[0], &out->memory, error);
    onnx_data_close(data);
    out->tensor = out->memory;
    return status;
}

/* Whether each number of one type is one of the other, or the other is f32, which rounds. */
static bool converts(enum dtype from, enum dtype to) {
    static const bool whole[DTYPE_COUNT] = {
        [DTYPE_I8] = true,  [DTYPE_U8] = true,  [DTYPE_I16] = true, [DTYPE_U16] = true,
        [DTYPE_I32] = true, [DTYPE_U32] = true, [DTYPE_I64] = true, [DTYPE_U64] = true};
    if (from == to) {
        return true;
    }
    return to == DTYPE_F32 ? from != DTYPE_BOOL : whole[from] && whole[to];
}

/* The item's dims; of a batched input without the first one. */
static struct shape item_of(const struct model_input *input) {
    struct shape shape = input->type.shape;
    if (shape.rank > 0 && shape.dims[0] == GRAPH_BATCH) {
        shape.rank--;
        memmove(shape.dims, shape.dims + 1, (size_t)shape.rank * sizeof shape.dims[0]);
        shape.dims[shape.rank] = 0;
    }
    return shape;
}

/* [items, ...], or one item without the first dimension. */
static shoal_status count_items(const struct model_input *input, const struct input_array *array,
                                uint64_t *out, struct shoal_error *error) {
    const struct shape item = item_of(input), *have = &array->tensor.shape;
    struct shape rest = *have;
    *out = 1;
    if (have->rank == item.rank + 1 && have->dims[0] > 0) {
        *out = (uint64_t)have->dims[0];
        rest.rank--;
        memmove(rest.dims, rest.dims + 1, (size_t)rest.rank * sizeof rest.dims[0]);
        rest.dims[rest.rank] = 0;
    }
    if (shape_equal(&rest, &item) && converts(array->tensor.dtype, input->type.dtype)) {
        return SHOAL_OK;
    }
    char a[SHAPE_TEXT], b[SHAPE_TEXT];
    return error_set(error, SHOAL_MISMATCH, "%s: an array of %s %s; input %s takes %s items of %s",
                     array->path, dtype_name(array->tensor.dtype), shape_format(have, a),
                     input->name, dtype_name(input->type.dtype), shape_format(&item, b));
}

static shoal_status open_one(const struct input *input, const char *argument, struct source *source,
                             struct shoal_error *error) {
    uint32_t index = 0;
    uint64_t items;
    const bool named = arrays_named(input, argument, &index);
    struct input_array *array = &source->arrays[index];
    if (!named && input->input_count > 1) {
        char list[512] = "";
        for (uint32_t i = 0; i < input->input_count; i++) {
            const size_t used = strlen(list);
            (void)snprintf(list + used, sizeof list - used, "%s%.60s=FILE", i > 0 ? " " : "",
                           input->inputs[i].name);
        }
        return error_set(error, SHOAL_USAGE,
                         "--input %s: the model has %" PRIu32 " inputs; give each its file: %s",
                         argument, input->input_count, list);
    }
    if (array->path != NULL) {
        return error_set(error, SHOAL_USAGE, "--input %s: input %s has a file already", argument,
                         input->inputs[index].name);
    }
    TRY(open_file(named ? strchr(argument, '=') + 1 : argument, array, error));
    TRY(count_items(&input->inputs[index], array, &items, error));
    if (source->count != 0 && source->count != items) {
        return error_set(error, SHOAL_MISMATCH,
                         "%s: %" PRIu64 " items, but another input has %" PRIu64, array->path,
                         items, source->count);
    }
    source->count = items;
    return SHOAL_OK;
}

shoal_status arrays_open(const struct input *input, const char *const *paths, size_t path_count,
                         struct source *source, struct shoal_error *error) {
    source->count = 0;
    source->arrays = mem_calloc(MODEL_MAX_INPUTS, sizeof *source->arrays);
    if (source->arrays == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for the input");
    }
    for (size_t i = 0; i < path_count; i++) {
        TRY(open_one(input, paths[i], source, error));
    }
    for (uint32_t i = 0; i < input->input_count; i++) {
        if (source->arrays[i].path == NULL) {
            return error_set(error, SHOAL_USAGE, "--input %s=FILE is missing",
                             input->inputs[i].name);
        }
    }
    return SHOAL_OK;
}

/* ---- reading ---- */

static bool is_signed(enum dtype dtype) {
    return dtype == DTYPE_I8 || dtype == DTYPE_I16 || dtype == DTYPE_I32 || dtype == DTYPE_I64;
}

/* A whole number of any type; those beyond 2^63 - 1 are false. */
static bool read_whole(enum dtype dtype, const unsigned char *from, int64_t *out) {
    const size_t size = dtype_size(dtype);
    uint64_t bits = 0;
    memcpy(&bits, from, size); /* little-endian */
    if (is_signed(dtype) && size < 8 && (bits >> (8 * size - 1) & 1) != 0) {
        bits |= UINT64_MAX << (8 * size);
    }
    memcpy(out, &bits, sizeof bits);
    return is_signed(dtype) || *out >= 0;
}

static bool write_whole(enum dtype dtype, int64_t value, unsigned char *to) {
    const size_t size = dtype_size(dtype);
    memcpy(to, &value, size);
    int64_t again = 0;
    return read_whole(dtype, to, &again) && again == value;
}

/* count numbers; false: one does not fit. */
static bool convert(enum dtype from_type, const unsigned char *from, enum dtype to_type,
                    unsigned char *to, size_t count) {
    const size_t from_size = dtype_size(from_type), to_size = dtype_size(to_type);
    if (from_type == to_type) {
        memcpy(to, from, count * to_size);
        return true;
    }
    if (to_type == DTYPE_F32) {
        return convert_to_f32(from_type, from, (float *)(void *)to, count);
    }
    for (size_t i = 0; i < count; i++) {
        int64_t value = 0;
        if (!read_whole(from_type, from + i * from_size, &value) ||
            !write_whole(to_type, value, to + i * to_size)) {
            return false;
        }
    }
    return true;
}

static size_t count_of(const struct model_input *input) {
    const struct tensor_type one = graph_resolve(input->type, 1);
    int64_t count = 0;
    (void)shape_count(&one.shape, &count);
    return (size_t)count;
}

shoal_status arrays_read(const struct input *input, const struct source *source, uint64_t position,
                         void *const values[MODEL_MAX_INPUTS], struct shoal_error *error) {
    for (uint32_t i = 0; i < input->input_count; i++) {
        const struct input_array *array = &source->arrays[i];
        const enum dtype dtype = array->tensor.dtype;
        const size_t count = count_of(&input->inputs[i]), bytes = count * dtype_size(dtype);
        const unsigned char *item = (const unsigned char *)array->tensor.data + position * bytes;
        if (!convert(dtype, item, input->inputs[i].type.dtype, values[i], count)) {
            return error_set(error, SHOAL_MISMATCH, "%s[%" PRIu64 "]: a number that is no %s",
                             array->path, position, dtype_name(input->inputs[i].type.dtype));
        }
        if (array->npy != NULL) {
            npy_release(array->npy, position * bytes, bytes);
        }
    }
    return SHOAL_OK;
}

/* Floats from -1 to 1; whole numbers from 0 to below the input's limit, or 0 and 1. */
void arrays_random(const struct input *input, uint64_t position,
                   void *const values[MODEL_MAX_INPUTS]) {
    for (uint32_t i = 0; i < input->input_count; i++) {
        const struct model_input *to = &input->inputs[i];
        const size_t count = count_of(to), size = dtype_size(to->type.dtype);
        const uint64_t stream = input->stream + i;
        if (to->type.dtype == DTYPE_F32) {
            random_uniform(stream, position * count, -1.0F, 1.0F, values[i], count);
            continue;
        }
        const uint32_t limit = to->limit > 0 && to->limit < INT32_MAX ? (uint32_t)to->limit : 2;
        memset(values[i], 0, count * size);
        for (size_t k = 0; k < count; k++) {
            const uint32_t number = random_u32(stream, position * count + k) % limit;
            if (to->type.dtype == DTYPE_F64) {
                const double real = number;
                memcpy((unsigned char *)values[i] + k * size, &real, size);
            } else { /* little-endian, and below 2^31 */
                memcpy((unsigned char *)values[i] + k * size, &number,
                       size < sizeof number ? size : sizeof number);
            }
        }
    }
}
