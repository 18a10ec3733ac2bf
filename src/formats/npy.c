#include "formats/npy.h"

#include "base/checked.h"
#include "base/memory.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>

#define MAGIC "\x93NUMPY"
#define MAGIC_BYTES ((size_t)6)
#define HEADER_LIMIT ((size_t)65536)
#define HEADER_ALIGNMENT ((size_t)64)

/* The header is a Python dict literal of fixed keys; this reads exactly what NumPy writes, in any
 * order of keys. */
struct scanner {
    const char *at, *end;
};

static void skip_spaces(struct scanner *scan) {
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n')) {
        scan->at++;
    }
}

static bool take(struct scanner *scan, char wanted) {
    skip_spaces(scan);
    if (scan->at < scan->end && *scan->at == wanted) {
        scan->at++;
        return true;
    }
    return false;
}

static bool take_word(struct scanner *scan, const char *word) {
    skip_spaces(scan);
    const size_t length = strlen(word);
    if ((size_t)(scan->end - scan->at) >= length && memcmp(scan->at, word, length) == 0) {
        scan->at += length;
        return true;
    }
    return false;
}

/* A quoted string without escapes. */
static bool take_string(struct scanner *scan, char *out, size_t out_bytes) {
    skip_spaces(scan);
    if (scan->at == scan->end || (*scan->at != '\'' && *scan->at != '"')) {
        return false;
    }
    const char quote = *scan->at++;
    size_t length = 0;
    while (scan->at < scan->end && *scan->at != quote) {
        if (length + 1 == out_bytes || *scan->at == '\0') {
            return false;
        }
        out[length++] = *scan->at++;
    }
    out[length] = '\0';
    return take(scan, quote);
}

static bool take_count(struct scanner *scan, int64_t *out) {
    skip_spaces(scan);
    const char *start = scan->at;
    int64_t value = 0;
    while (scan->at < scan->end && *scan->at >= '0' && *scan->at <= '9') {
        if (!checked_mul_i64(value, 10, &value) ||
            !checked_add_i64(value, *scan->at - '0', &value)) {
            return false;
        }
        scan->at++;
    }
    *out = value;
    return scan->at > start;
}

static shoal_status take_shape(struct scanner *scan, struct shape *out, struct shoal_error *error) {
    struct shape shape = {.rank = 0};
    if (!take(scan, '(')) {
        return error_set(error, SHOAL_CORRUPT, "npy header: shape is not a tuple");
    }
    while (!take(scan, ')')) {
        int64_t dim = 0;
        if (!take_count(scan, &dim)) {
            return error_set(error, SHOAL_CORRUPT,
                             "npy header: shape has an entry that is no count");
        }
        if (shape.rank == SHAPE_MAX_RANK) {
            return error_set(error, SHOAL_UNSUPPORTED, "npy: more than %d dimensions",
                             SHAPE_MAX_RANK);
        }
        shape.dims[shape.rank++] = dim;
        if (!take(scan, ',')) {
            if (!take(scan, ')')) {
                return error_set(error, SHOAL_CORRUPT, "npy header: shape does not end");
            }
            break;
        }
    }
    *out = shape;
    return SHOAL_OK;
}

static const struct {
    const char *text;
    enum dtype dtype;
} descriptions[] = {
    {"<f4", DTYPE_F32}, {"<f8", DTYPE_F64}, {"<f2", DTYPE_F16}, {"|i1", DTYPE_I8},
    {"|u1", DTYPE_U8},  {"<i2", DTYPE_I16}, {"<u2", DTYPE_U16}, {"<i4", DTYPE_I32},
    {"<u4", DTYPE_U32}, {"<i8", DTYPE_I64}, {"<u8", DTYPE_U64}, {"|b1", DTYPE_BOOL},
};

static shoal_status parse_descr(const char *descr, enum dtype *out, struct shoal_error *error) {
    for (size_t i = 0; i < sizeof descriptions / sizeof descriptions[0]; i++) {
        if (strcmp(descr, descriptions[i].text) == 0) {
            *out = descriptions[i].dtype;
            return SHOAL_OK;
        }
    }
    return error_set(
        error, SHOAL_UNSUPPORTED,
        "npy: element type '%s' is not supported (little-endian floats and integers are)", descr);
}

static shoal_status parse_member(struct scanner *scan, struct tensor *tensor, unsigned *seen,
                                 struct shoal_error *error) {
    char key[16], descr[16];
    if (!take_string(scan, key, sizeof key) || !take(scan, ':')) {
        return error_set(error, SHOAL_CORRUPT, "npy header: expected a key");
    }
    if (strcmp(key, "descr") == 0) {
        *seen |= 1U;
        if (!take_string(scan, descr, sizeof descr)) {
            return error_set(error, SHOAL_UNSUPPORTED,
                             "npy: structured element types are not supported");
        }
        return parse_descr(descr, &tensor->dtype, error);
    }
    if (strcmp(key, "fortran_order") == 0) {
        *seen |= 2U;
        if (take_word(scan, "False")) {
            return SHOAL_OK;
        }
        if (take_word(scan, "True")) {
            return error_set(
                error, SHOAL_UNSUPPORTED,
                "npy: Fortran order is not supported; save numpy.ascontiguousarray(x)");
        }
        return error_set(error, SHOAL_CORRUPT, "npy header: fortran_order is not True or False");
    }
    if (strcmp(key, "shape") == 0) {
        *seen |= 4U;
        return take_shape(scan, &tensor->shape, error);
    }
    return error_set(error, SHOAL_CORRUPT, "npy header: unknown key '%s'", key);
}

static shoal_status parse_header(struct scanner *scan, struct tensor *tensor,
                                 struct shoal_error *error) {
    unsigned seen = 0;
    if (!take(scan, '{')) {
        return error_set(error, SHOAL_CORRUPT, "npy header: not a dict");
    }
    while (!take(scan, '}')) {
        TRY(parse_member(scan, tensor, &seen, error));
        if (!take(scan, ',')) {
            if (!take(scan, '}')) {
                return error_set(error, SHOAL_CORRUPT, "npy header: does not end");
            }
            break;
        }
    }
    skip_spaces(scan);
    if (seen != 7U || scan->at != scan->end) {
        return error_set(error, SHOAL_CORRUPT, "npy header: %s",
                         seen != 7U ? "descr, fortran_order or shape is missing"
                                    : "text after its end");
    }
    return SHOAL_OK;
}

shoal_status npy_parse(const void *file, size_t size, struct tensor *out,
                       struct shoal_error *error) {
    const unsigned char *bytes = file;
    if (size < MAGIC_BYTES + 4 || memcmp(bytes, MAGIC, MAGIC_BYTES) != 0) {
        return error_set(error, SHOAL_CORRUPT, "not a npy file");
    }
    const unsigned version = bytes[MAGIC_BYTES];
    if (version < 1 || version > 3) {
        return error_set(error, SHOAL_UNSUPPORTED, "npy: format version %u is not supported",
                         version);
    }
    const size_t length_bytes = version == 1 ? 2 : 4, start = MAGIC_BYTES + 2 + length_bytes;
    size_t length = 0;
    if (size < start) {
        return error_set(error, SHOAL_CORRUPT, "npy: cut off in the header");
    }
    for (size_t i = 0; i < length_bytes; i++) {
        length |= (size_t)bytes[MAGIC_BYTES + 2 + i] << (8 * i);
    }
    if (length > size - start || length > HEADER_LIMIT) {
        return error_set(error, SHOAL_CORRUPT,
                         "npy: header length %zu does not fit a file of %zu bytes", length, size);
    }
    struct tensor tensor = {.data = NULL};
    const char *text = (const char *)bytes + start;
    struct scanner scan = {.at = text, .end = text + length};
    TRY(parse_header(&scan, &tensor, error));
    size_t expected = 0;
    const size_t found = size - start - length;
    if (!shape_bytes(&tensor.shape, tensor.dtype, &expected) || expected != found) {
        char shape[SHAPE_TEXT];
        return error_set(error, SHOAL_CORRUPT, "npy: %zu bytes of data do not make %s %s", found,
                         dtype_name(tensor.dtype), shape_format(&tensor.shape, shape));
    }
    tensor.data = (void *)(uintptr_t)(bytes + start + length);
    *out = tensor;
    return SHOAL_OK;
}

struct npy {
    struct file_map map;
    struct tensor tensor;
};

shoal_status npy_open(const char *path, struct npy **out, struct shoal_error *error) {
    struct npy *npy = mem_calloc(1, sizeof *npy);
    if (npy == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    shoal_status status = file_map_open(path, &npy->map, error);
    if (status == SHOAL_OK) {
        status = npy_parse(npy->map.data, npy->map.size, &npy->tensor, error);
        if (status != SHOAL_OK) {
            (void)error_wrap(error, status, "%s", path);
        }
    }
    if (status != SHOAL_OK) {
        npy_close(npy);
        return status;
    }
    *out = npy;
    return SHOAL_OK;
}

struct tensor npy_tensor(const struct npy *npy) {
    return npy->tensor;
}

void npy_release(const struct npy *npy, size_t offset, size_t bytes) {
    const size_t start = (size_t)((const char *)npy->tensor.data - (const char *)npy->map.data);
    file_map_release(&npy->map, start + offset, bytes);
}

void npy_close(struct npy *npy) {
    if (npy != NULL) {
        file_map_close(&npy->map);
        mem_free(npy);
    }
}

shoal_status npy_header(enum dtype dtype, const struct shape *shape,
                        unsigned char header[NPY_HEADER_BYTES], size_t *size,
                        struct shoal_error *error) {
    const char *descr = NULL;
    char dims[SHAPE_MAX_RANK * 24] = "", text[(size_t)SHAPE_MAX_RANK * 24 + 80];
    size_t used = 0, bytes;
    for (int i = 0; i < shape->rank; i++) {
        used += (size_t)snprintf(dims + used, sizeof dims - used, i == 0 ? "%lld" : ", %lld",
                                 (long long)shape->dims[i]);
    }
    for (size_t i = 0; i < sizeof descriptions / sizeof descriptions[0]; i++) {
        if (descriptions[i].dtype == dtype) {
            descr = descriptions[i].text;
        }
    }
    if (descr == NULL) {
        return error_set(error, SHOAL_UNSUPPORTED, "NumPy has no element type %s",
                         dtype_name(dtype));
    }
    const size_t written = (size_t)snprintf(
        text, sizeof text, "{'descr': '%s', 'fortran_order': False, 'shape': (%s%s), }", descr,
        dims, shape->rank == 1 ? "," : "");
    /* Spaces and one line end pad the header so that the data is aligned. */
    const size_t total = round_up_size(MAGIC_BYTES + 4 + written + 1, HEADER_ALIGNMENT);
    if (!shape_bytes(shape, dtype, &bytes)) {
        return error_set(error, SHOAL_INVALID, "the shape overflows");
    }
    const size_t length = total - MAGIC_BYTES - 4;
    memcpy(header, MAGIC "\x01\x00", MAGIC_BYTES + 2);
    header[MAGIC_BYTES + 2] = (unsigned char)(length & 255);
    header[MAGIC_BYTES + 3] = (unsigned char)(length >> 8);
    memset(header + MAGIC_BYTES + 4, ' ', length);
    memcpy(header + MAGIC_BYTES + 4, text, written);
    header[total - 1] = '\n';
    *size = total;
    return SHOAL_OK;
}
_Static_assert((MAGIC_BYTES + 5 + (size_t)SHAPE_MAX_RANK * 24 + 80 + HEADER_ALIGNMENT - 1) /
                       HEADER_ALIGNMENT * HEADER_ALIGNMENT <=
                   NPY_HEADER_BYTES,
               "the longest header has room");

shoal_status npy_write_f32(const char *path, const struct shape *shape, const float *data,
                           struct shoal_error *error) {
    unsigned char header[NPY_HEADER_BYTES];
    size_t size = 0, data_bytes = 0, total = 0;
    const shoal_status sound = npy_header(DTYPE_F32, shape, header, &size, error);
    if (sound != SHOAL_OK) {
        return error_wrap(error, sound, "%s", path);
    }
    if (!shape_bytes(shape, DTYPE_F32, &data_bytes) ||
        !checked_add_size(size, data_bytes, &total)) {
        return error_set(error, SHOAL_INVALID, "%s: the shape overflows", path);
    }
    unsigned char *file = mem_alloc(total);
    if (file == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory for %zu bytes", path, total);
    }
    memcpy(file, header, size);
    if (data_bytes > 0) {
        memcpy(file + size, data, data_bytes);
    }
    const shoal_status status = file_write_atomic(path, file, total, error);
    mem_free(file);
    return status;
}
