/* Tensors: every type in every storage, external data, sources, test data, and every error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/onnx_testing.h"

#include <stdio.h>
#include <unistd.h>

static struct pb graph, model, part; /* each test starts them anew */

static int start(void **state) {
    (void)state;
    graph.size = model.size = part.size = 0;
    return 0;
}

static struct onnx_data *read_data(enum onnx_kind kind) {
    struct onnx_data *data = NULL;
    struct shoal_error error;
    if (onnx_data_parse("value.pb", part.bytes, part.size, kind, &data, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return data;
}

/* The TensorProto in `part`, read, has these bytes. */
static void expect_elements(enum dtype dtype, const void *bytes, size_t size) {
    struct onnx_data *data = read_data(ONNX_KIND_TENSOR);
    struct tensor tensor;
    struct shoal_error error;
    if (onnx_tensor_read(&data->tensors[0], &tensor, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(tensor.dtype, dtype);
    assert_int_equal(tensor_bytes(&tensor), size);
    assert_memory_equal(tensor.data, bytes, size);
    mem_free(tensor.data);
    onnx_data_close(data);
}

static void expect_refusal(shoal_status code, const char *text) {
    struct onnx_data *data = NULL;
    struct tensor tensor;
    struct shoal_error error = {.text = ""};
    shoal_status status =
        onnx_data_parse("value.pb", part.bytes, part.size, ONNX_KIND_TENSOR, &data, &error);
    if (status == SHOAL_OK) {
        status = onnx_tensor_read(&data->tensors[0], &tensor, &error);
        onnx_data_close(data);
    }
    if (status != code || strstr(error.text, text) == NULL ||
        strstr(error.text, "value.pb") == NULL || strstr(error.text, "tensor \"w\"") == NULL) {
        fail_msg("status %d, \"%s\"; expected %d with \"%s\"", (int)status, error.text, (int)code,
                 text);
    }
}

static void tensor(int type, int64_t count) {
    part.size = 0;
    pb_tensor(&part, "w", type, 1, &count);
}

static void test_raw_data_of_every_type(void **state) {
    (void)state;
    static const unsigned char raw[24] = {0x21, 0x43, 0x80, 0x01, 0xfe, 0xff, 7, 8, 9};
    for (int type = 0; type < ONNX_DTYPE_COUNT; type++) {
        static const unsigned bits[] = {
#define X(code, number, width, dtype) [number] = (width),
            ONNX_DTYPE_LIST(X)
#undef X
        };
        enum dtype dtype;
        if (!onnx_dtype(type, &dtype) || bits[type] < 8 || dtype == DTYPE_BOOL) {
            continue;
        }
        tensor(type, 3);
        pb_bytes(&part, 9, raw, 3 * (size_t)bits[type] / 8);
        expect_elements(dtype, raw, 3 * (size_t)bits[type] / 8);
    }
}

static void test_types_of_less_than_a_byte(void **state) {
    (void)state;
    static const unsigned char raw[] = {0x2f, 0x08};
    static const struct {
        int type;
        enum dtype dtype;
        size_t count;
        unsigned char elements[8];
    } cases[] = {{ONNX_INT4, DTYPE_I4, 3, {0xff, 2, 0xf8}},
                 {ONNX_UINT4, DTYPE_U4, 3, {0xf, 2, 8}},
                 {ONNX_FLOAT4E2M1, DTYPE_F4E2M1, 4, {0xf, 2, 8, 0}},
                 {ONNX_INT2, DTYPE_I2, 6, {0xff, 0xff, 0xfe, 0, 0, 0xfe}},
                 {ONNX_UINT2, DTYPE_U2, 8, {3, 3, 2, 0, 0, 2, 0, 0}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tensor(cases[i].type, (int64_t)cases[i].count);
        pb_bytes(&part, 9, raw, 2);
        expect_elements(cases[i].dtype, cases[i].elements, cases[i].count);
        tensor(cases[i].type, (int64_t)cases[i].count); /* a byte of raw_data per number */
        pb_bytes(&part, 5, raw, 2);
        expect_elements(cases[i].dtype, cases[i].elements, cases[i].count);
    }
}

static void test_booleans_are_0_or_1(void **state) {
    (void)state;
    tensor(ONNX_BOOL, 3);
    pb_bytes(&part, 9, "\x02\x00\xff", 3);
    expect_elements(DTYPE_BOOL, "\x01\x00\x01", 3);
    tensor(ONNX_BOOL, 2);
    pb_bytes(&part, 5, "\x80\x02\x00", 3); /* 256, 0 */
    expect_elements(DTYPE_BOOL, "\x01\x00", 2);
}

static void test_numbers_as_varints(void **state) {
    (void)state;
    static const int64_t values[] = {1, -2, 300};
    static const struct {
        int type;
        unsigned field;
        enum dtype dtype;
    } cases[] = {{ONNX_INT32, 5, DTYPE_I32},     {ONNX_INT16, 5, DTYPE_I16},
                 {ONNX_UINT16, 5, DTYPE_U16},    {ONNX_INT8, 5, DTYPE_I8},
                 {ONNX_UINT8, 5, DTYPE_U8},      {ONNX_FLOAT16, 5, DTYPE_F16},
                 {ONNX_BFLOAT16, 5, DTYPE_BF16}, {ONNX_FLOAT8E5M2, 5, DTYPE_F8E5M2},
                 {ONNX_INT64, 7, DTYPE_I64},     {ONNX_UINT32, 11, DTYPE_U32},
                 {ONNX_UINT64, 11, DTYPE_U64}};
    static struct pb packed;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned char expected[24];
        const size_t size = dtype_size(cases[i].dtype);
        packed.size = 0;
        for (size_t j = 0; j < 3; j++) {
            memcpy(expected + j * size, &values[j], size); /* little-endian */
            pb_varint(&packed, (uint64_t)values[j]);
        }
        tensor(cases[i].type, 3);
        pb_bytes(&part, cases[i].field, packed.bytes, packed.size);
        expect_elements(cases[i].dtype, expected, 3 * size);
        tensor(cases[i].type, 3); /* one field a number */
        for (size_t j = 0; j < 3; j++) {
            pb_int(&part, cases[i].field, values[j]);
        }
        expect_elements(cases[i].dtype, expected, 3 * size);
        tensor(cases[i].type, 3); /* in pieces, with another field in between */
        pb_int(&part, cases[i].field, values[0]);
        pb_text(&part, 12, "documentation");
        packed.size = 0;
        pb_varint(&packed, (uint64_t)values[1]);
        pb_varint(&packed, (uint64_t)values[2]);
        pb_bytes(&part, cases[i].field, packed.bytes, packed.size);
        expect_elements(cases[i].dtype, expected, 3 * size);
    }
}

static void test_floats_packed_or_not(void **state) {
    (void)state;
    static const float floats[] = {1.5F, -2.25F};
    static const double doubles[] = {1.5, -2.25};
    tensor(ONNX_FLOAT, 2);
    pb_bytes(&part, 4, floats, sizeof floats);
    struct onnx_data *data = read_data(ONNX_KIND_TENSOR);
    assert_ptr_equal(data->tensors[0].bytes, part.bytes + part.size - sizeof floats);
    onnx_data_close(data);
    expect_elements(DTYPE_F32, floats, sizeof floats);
    tensor(ONNX_FLOAT, 2);
    pb_float(&part, 4, floats[0]);
    pb_float(&part, 4, floats[1]);
    expect_elements(DTYPE_F32, floats, sizeof floats);
    tensor(ONNX_DOUBLE, 2);
    pb_bytes(&part, 10, doubles, sizeof doubles);
    expect_elements(DTYPE_F64, doubles, sizeof doubles);
    tensor(ONNX_DOUBLE, 2);
    for (size_t i = 0; i < 2; i++) {
        pb_tag(&part, 10, 1);
        pb_raw(&part, &doubles[i], sizeof doubles[i]);
    }
    expect_elements(DTYPE_F64, doubles, sizeof doubles);
}

static void test_scalars_and_empty_tensors(void **state) {
    (void)state;
    pb_tensor(&part, "w", ONNX_INT64, 0, NULL);
    pb_int(&part, 7, 77);
    expect_elements(DTYPE_I64, "\x4d\0\0\0\0\0\0\0", 8);
    tensor(ONNX_FLOAT, 0);
    expect_elements(DTYPE_F32, "", 0);
    tensor(ONNX_INT64, 0);
    pb_bytes(&part, 9, "", 0);
    expect_elements(DTYPE_I64, "", 0);
}

static void test_types_that_cannot_be_read(void **state) {
    (void)state;
    static const int types[] = {ONNX_UNDEFINED,  ONNX_STRING,     ONNX_COMPLEX64,
                                ONNX_COMPLEX128, ONNX_FLOAT6E2M3, 77};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        char expected[64];
        tensor(types[i], 0);
        (void)snprintf(expected, sizeof expected, "elements of type %s (%d) cannot be read",
                       onnx_dtype_name(types[i]), types[i]);
        expect_refusal(SHOAL_UNSUPPORTED, expected);
    }
    tensor(ONNX_STRING, 2);
    pb_text(&part, 6, "one");
    pb_text(&part, 6, "two");
    expect_refusal(SHOAL_UNSUPPORTED, "elements of type STRING (8) cannot be read");
}

static void test_data_that_contradicts_its_shape(void **state) {
    (void)state;
    static const int64_t huge[] = {INT64_C(1) << 40, INT64_C(1) << 40}, negative[] = {-1};
    tensor(ONNX_FLOAT, 3);
    pb_bytes(&part, 9, "12345678", 8);
    expect_refusal(SHOAL_CORRUPT, "FLOAT [3] needs 12 bytes, raw_data has 8");
    tensor(ONNX_FLOAT, 3);
    expect_refusal(SHOAL_CORRUPT, "FLOAT [3] needs 12 bytes, the file has 0");
    tensor(ONNX_INT4, 3);
    pb_bytes(&part, 9, "123", 3);
    expect_refusal(SHOAL_CORRUPT, "INT4 [3] needs 2 bytes, raw_data has 3");
    part.size = 0;
    pb_tensor(&part, "w", ONNX_FLOAT, 2, huge);
    expect_refusal(SHOAL_CORRUPT, "its shape overflows");
    part.size = 0;
    pb_tensor(&part, "w", ONNX_FLOAT, 1, negative);
    expect_refusal(SHOAL_CORRUPT, "its dimension 0 is -1");
    tensor(ONNX_INT64, 3);
    pb_bytes(&part, 7, "\x01\x02", 2);
    expect_refusal(SHOAL_CORRUPT, "it has 2 elements, its shape needs 3");
    tensor(ONNX_INT64, 1);
    pb_bytes(&part, 7, "\x01\x02", 2);
    expect_refusal(SHOAL_CORRUPT, "has more than the 1 elements of its shape");
    tensor(ONNX_INT64, INT64_C(1) << 40); /* must not be believed before memory is taken */
    pb_bytes(&part, 7, "\x01\x02", 2);
    expect_refusal(SHOAL_CORRUPT, "its data is too short for INT64 [1099511627776]");
}

static void test_data_in_the_wrong_place(void **state) {
    (void)state;
    tensor(ONNX_INT64, 1);
    pb_float(&part, 4, 1.0F);
    expect_refusal(SHOAL_CORRUPT, "its data is in float_data, where INT64 cannot be");
    tensor(ONNX_INT32, 1);
    pb_bytes(&part, 9, "1234", 4);
    pb_int(&part, 5, 1);
    expect_refusal(SHOAL_CORRUPT, "its data is there twice: raw_data and int32_data");
    tensor(ONNX_INT64, 1);
    pb_bytes(&part, 7, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 11);
    expect_refusal(SHOAL_CORRUPT, "its int64_data is damaged");
    tensor(ONNX_INT64, 1);
    pb_int(&part, 14, 2);
    expect_refusal(SHOAL_UNSUPPORTED, "its data_location 2 is unknown");
}

/* External data. */

static char directory[512];

static const char *in_directory(const char *file) {
    static char path[1024];
    (void)snprintf(path, sizeof path, "%s/%s", directory, file);
    return path;
}

static int make_directory(void **state) {
    (void)start(state);
    assert_int_equal(file_make_temporary(directory, sizeof directory, NULL), SHOAL_OK);
    assert_int_equal(file_write_atomic(in_directory("weights.bin"), "....12345678", 12, NULL),
                     SHOAL_OK);
    return 0;
}

static int remove_directory(void **state) {
    (void)state;
    file_remove_tree(directory);
    return 0;
}

/* A model with one initialiser f32 [2] in another file; NULL: that key is left out. */
static shoal_status open_external(const char *location, const char *offset, const char *length,
                                  struct onnx_model **out, struct shoal_error *error) {
    tensor(ONNX_FLOAT, 2);
    if (location != NULL) {
        pb_external(&part, "location", location);
    }
    if (offset != NULL) {
        pb_external(&part, "offset", offset);
    }
    if (length != NULL) {
        pb_external(&part, "length", length);
    }
    pb_int(&part, 14, 1);
    graph.size = 0;
    pb_message(&graph, 5, &part);
    pb_model(&model, 8, 17, &graph);
    assert_int_equal(file_write_atomic(in_directory("model.onnx"), model.bytes, model.size, NULL),
                     SHOAL_OK);
    return onnx_open(in_directory("model.onnx"), out, error);
}

static void test_external_data(void **state) {
    (void)state;
    struct onnx_model *out = NULL;
    struct weight_source *source = NULL;
    struct tensor lent;
    assert_int_equal(open_external("weights.bin", "4", "8", &out, NULL), SHOAL_OK);
    assert_int_equal(out->file_count, 2);
    const struct onnx_tensor *w = onnx_graph_initialiser(&out->graph, "w");
    assert_true(w->external);
    assert_int_equal(w->offset, 4);
    assert_int_equal(w->file->index, 1);
    assert_memory_equal(w->bytes, "12345678", 8);
    assert_int_equal(onnx_source_create(out, &source, NULL), SHOAL_OK);
    const struct onnx_stored *stored = onnx_source_find(source, "w");
    assert_int_equal(stored->file, 1);
    assert_int_equal(stored->offset, 4);
    assert_int_equal(source->ops->borrow(source, "w", &SHAPE(2), GRAPH_FILL_NORMAL, &lent, NULL),
                     SHOAL_OK);
    assert_ptr_equal(lent.data, w->bytes);
    source->ops->release(source, &lent);
    assert_memory_equal(w->bytes, "12345678", 8); /* read again where it was dropped */
    source->ops->destroy(source);
    onnx_close(out);
    assert_int_equal(open_external("./weights.bin", "4", NULL, &out, NULL), SHOAL_OK);
    onnx_close(out);
}

static void test_external_data_that_is_not_there(void **state) {
    (void)state;
    static const struct {
        const char *location, *offset, *length;
        shoal_status code;
        const char *text;
    } cases[] = {
        {NULL, NULL, NULL, SHOAL_CORRUPT, "no location is given"},
        {"weights.bin", "5", "8", SHOAL_CORRUPT, "its 8 bytes at 5 are not in"},
        {"weights.bin", "4", "7", SHOAL_CORRUPT, "needs 8 bytes, its external data has 7"},
        {"weights.bin", "99999999999999999999", NULL, SHOAL_CORRUPT, "offset is \"9999"},
        {"weights.bin", "-4", NULL, SHOAL_CORRUPT, "offset is \"-4\", not a number"},
        {"weights.bin", "", NULL, SHOAL_CORRUPT, "offset is \"\", not a number"},
        {"weights.bin", "18446744073709551612", "8", SHOAL_CORRUPT, "are not in"},
        {"absent.bin", NULL, NULL, SHOAL_NOT_FOUND, "absent.bin, which cannot be opened"},
        {"/etc/passwd", NULL, NULL, SHOAL_DENIED, "only files in the model's own directory"},
        {"../weights.bin", NULL, NULL, SHOAL_DENIED, "only files in the model's own directory"},
        {"a/../../b", NULL, NULL, SHOAL_DENIED, "only files in the model's own directory"},
        {"a/..", NULL, NULL, SHOAL_DENIED, "only files in the model's own directory"},
        {"", NULL, NULL, SHOAL_DENIED, "only files in the model's own directory"},
        {".", NULL, NULL, SHOAL_DENIED, "link out of"},
        {"out.bin", NULL, NULL, SHOAL_DENIED, "link out of the model's directory; copy"},
        {"etc/passwd", NULL, NULL, SHOAL_DENIED, "link out of the model's directory; copy"},
        {"below", NULL, NULL, SHOAL_IO, "not a regular file"},
    };
    assert_int_equal(symlink("/etc/passwd", in_directory("out.bin")), 0);
    assert_int_equal(symlink("/etc", in_directory("etc")), 0);
    assert_int_equal(file_make_directories(in_directory("below"), NULL), SHOAL_OK);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct onnx_model *out = NULL;
        struct shoal_error error = {.text = ""};
        const shoal_status status =
            open_external(cases[i].location, cases[i].offset, cases[i].length, &out, &error);
        if (status != cases[i].code || strstr(error.text, cases[i].text) == NULL ||
            strstr(error.text, "model.onnx: tensor \"w\": ") == NULL) {
            fail_msg("case %zu: status %d, \"%s\"", i, (int)status, error.text);
        }
    }
}

/* A directory whose name begins as the model's does is another one. */
static void test_external_data_in_a_neighbour(void **state) {
    (void)state;
    char neighbour[600], path[700];
    struct onnx_model *out = NULL;
    (void)snprintf(neighbour, sizeof neighbour, "%s-too", directory);
    assert_int_equal(file_make_directories(neighbour, NULL), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/weights.bin", neighbour);
    assert_int_equal(file_write_atomic(path, "12345678", 8, NULL), SHOAL_OK);
    assert_int_equal(symlink(path, in_directory("near.bin")), 0);
    const shoal_status status = open_external("near.bin", NULL, NULL, &out, NULL);
    file_remove_tree(neighbour);
    assert_int_equal(status, SHOAL_DENIED);
}

static void test_links_inside_the_directory(void **state) {
    (void)state;
    struct onnx_model *out = NULL;
    assert_int_equal(symlink("weights.bin", in_directory("link.bin")), 0);
    assert_int_equal(open_external("link.bin", "4", "8", &out, NULL), SHOAL_OK);
    assert_memory_equal(onnx_graph_initialiser(&out->graph, "w")->bytes, "12345678", 8);
    onnx_close(out);
}

static void test_external_data_needs_a_directory(void **state) {
    (void)state;
    struct onnx_model *out = NULL;
    struct shoal_error error;
    assert_int_equal(open_external("weights.bin", "4", "8", &out, NULL), SHOAL_OK);
    onnx_close(out);
    assert_int_equal(onnx_parse("bytes", model.bytes, model.size, &out, &error), SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, "tensor \"w\": its data is in another file"));
}

/* Sources. */

static void test_source_lends_what_is_stored(void **state) {
    (void)state;
    static struct pb attribute, node;
    tensor(ONNX_FLOAT, 2);
    pb_bytes(&part, 9, "12345678", 8);
    pb_message(&graph, 5, &part);
    part.size = attribute.size = node.size = 0;
    pb_tensor(&part, "inner name", ONNX_INT64, 0, NULL);
    pb_int(&part, 7, 5);
    pb_text(&attribute, 1, "value");
    pb_message(&attribute, 5, &part);
    pb_int(&attribute, 20, ONNX_ATTRIBUTE_TENSOR);
    pb_text(&node, 2, "five");
    pb_text(&node, 4, "Constant");
    pb_message(&node, 5, &attribute);
    pb_message(&graph, 1, &node);
    part.size = 0;
    pb_tensor(&part, "words", ONNX_STRING, 0, NULL);
    pb_text(&part, 6, "one");
    pb_message(&graph, 5, &part);
    pb_model(&model, 8, 17, &graph);

    struct onnx_model *out = NULL;
    struct weight_source *source = NULL;
    struct tensor lent;
    size_t count = 0;
    assert_int_equal(onnx_parse("model", model.bytes, model.size, &out, NULL), SHOAL_OK);
    assert_int_equal(onnx_source_create(out, &source, NULL), SHOAL_OK);
    const struct onnx_stored *stored = onnx_source_list(source, &count);
    assert_int_equal(count, 2);
    assert_string_equal(stored[0].name, "five");
    assert_int_equal(stored[0].file, ONNX_NO_FILE);
    assert_int_equal(stored[0].bytes, 8);
    assert_string_equal(stored[1].name, "w");
    assert_int_equal(stored[1].file, 0);
    assert_memory_equal(model.bytes + stored[1].offset, "12345678", 8);
    assert_int_equal(source->ops->borrow(source, "five", &SHAPE(1), GRAPH_FILL_NORMAL, &lent, NULL),
                     SHOAL_OK);
    assert_int_equal(lent.dtype, DTYPE_I64);
    assert_memory_equal(lent.data, "\x05\0\0\0\0\0\0\0", 8);
    source->ops->release(source, &lent);
    assert_int_equal(
        source->ops->borrow(source, "words", &SHAPE(1), GRAPH_FILL_NORMAL, &lent, NULL),
        SHOAL_NOT_FOUND);
    source->ops->destroy(source);
    onnx_close(out);
}

static void test_source_of_two_tensors_of_one_name(void **state) {
    (void)state;
    tensor(ONNX_FLOAT, 2);
    pb_bytes(&part, 9, "12345678", 8);
    pb_message(&graph, 5, &part);
    pb_message(&graph, 5, &part);
    pb_model(&model, 8, 17, &graph);
    struct onnx_model *out = NULL;
    struct weight_source *source = NULL;
    struct shoal_error error;
    assert_int_equal(onnx_parse("model", model.bytes, model.size, &out, NULL), SHOAL_OK);
    assert_int_equal(onnx_source_create(out, &source, &error), SHOAL_CORRUPT);
    assert_string_equal(error.text, "model: there are two tensors \"w\"");
    onnx_close(out);
}

/* Test data. */

static void test_sequences_and_optionals(void **state) {
    (void)state;
    static struct pb one, sequence;
    static const int64_t dims[] = {2};
    one.size = sequence.size = 0;
    pb_tensor(&one, "w", ONNX_INT64, 1, dims);
    pb_bytes(&one, 7, "\x01\x02", 2);
    pb_text(&sequence, 1, "list");
    pb_int(&sequence, 2, 1);
    pb_message(&sequence, 3, &one);
    pb_message(&sequence, 3, &one);
    pb_raw(&part, sequence.bytes, sequence.size);
    struct onnx_data *data = read_data(ONNX_KIND_SEQUENCE);
    assert_string_equal(data->name, "list");
    assert_int_equal(data->count, 2);
    assert_int_equal(data->tensors[1].type, ONNX_INT64);
    onnx_data_close(data);
    start(NULL);
    pb_int(&part, 2, 1);
    pb_message(&part, 3, &one);
    data = read_data(ONNX_KIND_OPTIONAL);
    assert_true(data->has_value);
    assert_int_equal(data->element, ONNX_KIND_TENSOR);
    assert_int_equal(data->count, 1);
    onnx_data_close(data);
    start(NULL);
    pb_int(&part, 2, 3);
    pb_message(&part, 5, &sequence);
    data = read_data(ONNX_KIND_OPTIONAL);
    assert_int_equal(data->element, ONNX_KIND_SEQUENCE);
    assert_int_equal(data->count, 2);
    onnx_data_close(data);
    start(NULL);
    pb_text(&part, 1, "nothing");
    data = read_data(ONNX_KIND_OPTIONAL);
    assert_string_equal(data->name, "nothing");
    assert_false(data->has_value);
    assert_int_equal(data->count, 0);
    onnx_data_close(data);
}

static void test_data_that_is_refused(void **state) {
    (void)state;
    struct onnx_data *data = NULL;
    struct shoal_error error;
    assert_int_equal(onnx_data_parse("x", "", 0, ONNX_KIND_OTHER, &data, &error), SHOAL_INVALID);
    pb_int(&part, 2, 4); /* maps */
    for (int kind = ONNX_KIND_SEQUENCE; kind <= ONNX_KIND_OPTIONAL; kind++) {
        assert_int_equal(
            onnx_data_parse("x", part.bytes, part.size, (enum onnx_kind)kind, &data, &error),
            SHOAL_UNSUPPORTED);
        assert_non_null(strstr(error.text, "x: it holds elements of type 4"));
    }
    assert_int_equal(onnx_data_open("/nowhere/x.pb", ONNX_KIND_TENSOR, &data, &error),
                     SHOAL_NOT_FOUND);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_raw_data_of_every_type, start),
        cmocka_unit_test_setup(test_types_of_less_than_a_byte, start),
        cmocka_unit_test_setup(test_booleans_are_0_or_1, start),
        cmocka_unit_test_setup(test_numbers_as_varints, start),
        cmocka_unit_test_setup(test_floats_packed_or_not, start),
        cmocka_unit_test_setup(test_scalars_and_empty_tensors, start),
        cmocka_unit_test_setup(test_types_that_cannot_be_read, start),
        cmocka_unit_test_setup(test_data_that_contradicts_its_shape, start),
        cmocka_unit_test_setup(test_data_in_the_wrong_place, start),
        cmocka_unit_test_setup_teardown(test_external_data, make_directory, remove_directory),
        cmocka_unit_test_setup_teardown(test_external_data_that_is_not_there, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_external_data_in_a_neighbour, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_links_inside_the_directory, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup_teardown(test_external_data_needs_a_directory, make_directory,
                                        remove_directory),
        cmocka_unit_test_setup(test_source_lends_what_is_stored, start),
        cmocka_unit_test_setup(test_source_of_two_tensors_of_one_name, start),
        cmocka_unit_test_setup(test_sequences_and_optionals, start),
        cmocka_unit_test_setup(test_data_that_is_refused, start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
