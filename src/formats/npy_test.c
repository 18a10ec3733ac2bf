#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/npy.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>

/* Magic, version, header, zero data; returns the size. */
static size_t make_file(unsigned char *out, unsigned version, const char *header,
                        size_t data_bytes) {
    const size_t length = strlen(header), length_bytes = version == 1 ? 2 : 4;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version;
    out[7] = 0;
    for (size_t i = 0; i < length_bytes; i++) {
        out[8 + i] = (unsigned char)(length >> (8 * i));
    }
    memcpy(out + 8 + length_bytes, header, length);
    memset(out + 8 + length_bytes + length, 0, data_bytes);
    return 8 + length_bytes + length + data_bytes;
}

static void test_reads_all_versions_and_types(void **state) {
    (void)state;
    static const struct {
        const char *descr;
        enum dtype dtype;
    } types[] = {{"<f4", DTYPE_F32}, {"<f8", DTYPE_F64}, {"<f2", DTYPE_F16}, {"|u1", DTYPE_U8},
                 {"|i1", DTYPE_I8},  {"<i2", DTYPE_I16}, {"<u2", DTYPE_U16}, {"<i4", DTYPE_I32},
                 {"<u4", DTYPE_U32}, {"<i8", DTYPE_I64}, {"<u8", DTYPE_U64}, {"|b1", DTYPE_BOOL}};
    unsigned char bytes[512];
    for (unsigned version = 1; version <= 3; version++) {
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
            char header[128];
            (void)snprintf(header, sizeof header,
                           "{'descr': '%s', 'fortran_order': False, 'shape': (2, 3), }   \n",
                           types[i].descr);
            const size_t size = make_file(bytes, version, header, 6 * dtype_size(types[i].dtype));
            struct tensor tensor;
            assert_int_equal(npy_parse(bytes, size, &tensor, NULL), SHOAL_OK);
            assert_int_equal(tensor.dtype, types[i].dtype);
            assert_true(shape_equal(&tensor.shape, &SHAPE(2, 3)));
            assert_ptr_equal((unsigned char *)tensor.data + tensor_bytes(&tensor), bytes + size);
        }
    }
}

static void test_reads_scalars_and_other_key_orders(void **state) {
    (void)state;
    unsigned char bytes[256];
    struct tensor tensor;
    size_t size =
        make_file(bytes, 1, "{\"shape\":(),\"descr\":\"<f4\",\"fortran_order\":False}", 4);
    assert_int_equal(npy_parse(bytes, size, &tensor, NULL), SHOAL_OK);
    assert_int_equal(tensor.shape.rank, 0);
    size = make_file(bytes, 1, "{'descr': '|u1', 'fortran_order': False, 'shape': (5,)}\n", 5);
    assert_int_equal(npy_parse(bytes, size, &tensor, NULL), SHOAL_OK);
    assert_true(shape_equal(&tensor.shape, &SHAPE(5)));
}

static void expect(const char *header, size_t data_bytes, shoal_status code, const char *text) {
    unsigned char bytes[512];
    struct tensor tensor;
    struct shoal_error error = {SHOAL_OK, ""};
    const size_t size = make_file(bytes, 1, header, data_bytes);
    const shoal_status status = npy_parse(bytes, size, &tensor, &error);
    if (status != code || strstr(error.text, text) == NULL) {
        fail_msg("%s: got %s \"%s\", wanted \"%s\"", header, shoal_status_text(status), error.text,
                 text);
    }
}

#define HEAD(descr, order, shape) \
    "{'descr': " descr ", 'fortran_order': " order ", 'shape': " shape ", }\n"

static void test_unsupported_arrays_are_refused(void **state) {
    (void)state;
    expect(HEAD("'<f4'", "True", "(2,)"), 8, SHOAL_UNSUPPORTED, "Fortran order");
    expect(HEAD("'>f4'", "False", "(2,)"), 8, SHOAL_UNSUPPORTED, "'>f4'");
    expect(HEAD("'<c8'", "False", "(1,)"), 8, SHOAL_UNSUPPORTED, "'<c8'");
    expect(HEAD("[('a', '<f4')]", "False", "(2,)"), 8, SHOAL_UNSUPPORTED, "structured");
    expect(HEAD("'|u1'", "False", "(1,1,1,1,1,1,1,1,1)"), 1, SHOAL_UNSUPPORTED, "dimensions");
    unsigned char bytes[256];
    struct tensor tensor;
    const size_t size = make_file(bytes, 4, HEAD("'<f4'", "False", "(2,)"), 8);
    assert_int_equal(npy_parse(bytes, size, &tensor, NULL), SHOAL_UNSUPPORTED);
}

static void test_malformed_files_are_corrupt(void **state) {
    (void)state;
    expect(HEAD("'<f4'", "False", "(2,)"), 7, SHOAL_CORRUPT, "7 bytes of data do not make f32 [2]");
    expect(HEAD("'<f4'", "False", "(2,)"), 9, SHOAL_CORRUPT, "9 bytes");
    expect(HEAD("'<f4'", "False", "(3037000500,3037000500,2)"), 0, SHOAL_CORRUPT, "do not make");
    expect(HEAD("'<f4'", "False", "(99999999999999999999,)"), 0, SHOAL_CORRUPT, "no count");
    expect(HEAD("'<f4'", "False", "(-1,)"), 0, SHOAL_CORRUPT, "no count");
    expect(HEAD("'<f4'", "False", "[2]"), 8, SHOAL_CORRUPT, "tuple");
    expect(HEAD("'<f4'", "False", "(2 3)"), 8, SHOAL_CORRUPT, "does not end");
    expect(HEAD("'<f4'", "maybe", "(2,)"), 8, SHOAL_CORRUPT, "fortran_order");
    expect("{'descr': '<f4', 'shape': (2,)}", 8, SHOAL_CORRUPT, "missing");
    expect("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)} x", 8, SHOAL_CORRUPT,
           "after its end");
    expect("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)", 8, SHOAL_CORRUPT,
           "does not end");
    expect("{'extra': '<f4', }", 8, SHOAL_CORRUPT, "unknown key 'extra'");
    expect("{'a_key_of_more_than_sixteen': 1}", 8, SHOAL_CORRUPT, "expected a key");
    expect("hello", 8, SHOAL_CORRUPT, "not a dict");
    expect("", 0, SHOAL_CORRUPT, "not a dict");
    unsigned char bytes[256];
    struct tensor tensor;
    const size_t size = make_file(bytes, 1, HEAD("'<f4'", "False", "(2,)"), 8);
    for (size_t cut = 0; cut < size; cut++) {
        assert_int_equal(npy_parse(bytes, cut, &tensor, NULL), SHOAL_CORRUPT);
    }
    bytes[0] = 'x';
    assert_int_equal(npy_parse(bytes, size, &tensor, NULL), SHOAL_CORRUPT);
}

static void test_written_files_are_read_back(void **state) {
    (void)state;
    char directory[256], path[300];
    assert_int_equal(file_make_temporary(directory, sizeof directory, NULL), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/a.npy", directory);
    static const float values[6] = {1, -2, 3, 0.5F, 5, 6};
    static const struct shape shapes[] = {{2, {2, 3}}, {1, {6}}, {3, {1, 6, 1}}};
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        struct npy *npy = NULL;
        assert_int_equal(npy_write_f32(path, &shapes[i], values, NULL), SHOAL_OK);
        assert_int_equal(npy_open(path, &npy, NULL), SHOAL_OK);
        const struct tensor tensor = npy_tensor(npy);
        assert_true(shape_equal(&tensor.shape, &shapes[i]));
        assert_memory_equal(tensor.data, values, sizeof values);
        npy_release(npy, 0, sizeof values);
        assert_memory_equal(tensor.data, values, sizeof values);
        npy_close(npy);
    }
    assert_int_equal(npy_write_f32(path, &(struct shape){1, {-1}}, values, NULL), SHOAL_INVALID);
    file_remove_tree(directory);
}

static void test_errors_name_the_file(void **state) {
    (void)state;
    char directory[256], path[300];
    struct npy *npy = NULL;
    struct shoal_error error;
    assert_int_equal(file_make_temporary(directory, sizeof directory, NULL), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/bad.npy", directory);
    assert_int_equal(npy_open(path, &npy, &error), SHOAL_NOT_FOUND);
    assert_int_equal(file_write_atomic(path, "x", 1, NULL), SHOAL_OK);
    assert_int_equal(npy_open(path, &npy, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "bad.npy: not a npy file"));
    mem_fail_after(1);
    assert_int_equal(npy_open(path, &npy, &error), SHOAL_NO_MEMORY);
    mem_fail_after(1);
    assert_int_equal(npy_write_f32(path, &SHAPE(1), &(float){0}, &error), SHOAL_NO_MEMORY);
    mem_fail_after(0);
    assert_null(npy);
    file_remove_tree(directory);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reads_all_versions_and_types),
        cmocka_unit_test(test_reads_scalars_and_other_key_orders),
        cmocka_unit_test(test_unsupported_arrays_are_refused),
        cmocka_unit_test(test_malformed_files_are_corrupt),
        cmocka_unit_test(test_written_files_are_read_back),
        cmocka_unit_test(test_errors_name_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
