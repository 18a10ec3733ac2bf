#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/safetensors.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>

static char directory[256];

static int make_directory(void **state) {
    (void)state;
    return file_make_temporary(directory, sizeof directory, NULL) == SHOAL_OK ? 0 : -1;
}

static int remove_directory(void **state) {
    (void)state;
    file_remove_tree(directory);
    return 0;
}

/* A whole file: length, header, then data_bytes bytes 0, 1, 2 …; returns its size. */
static size_t make_file(unsigned char *out, const char *header, size_t data_bytes) {
    const size_t length = strlen(header);
    for (size_t i = 0; i < 8; i++) {
        out[i] = (unsigned char)(length >> (8 * i));
    }
    memcpy(out + 8, header, length);
    for (size_t i = 0; i < data_bytes; i++) {
        out[8 + length + i] = (unsigned char)i;
    }
    return 8 + length + data_bytes;
}

static const char *write_file(const char *name, const char *header, size_t data_bytes) {
    static char path[512];
    unsigned char bytes[4096];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    const size_t size = make_file(bytes, header, data_bytes);
    assert_int_equal(file_write_atomic(path, bytes, size, NULL), SHOAL_OK);
    return path;
}

static const char *write_text(const char *name, const char *text) {
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(file_write_atomic(path, text, strlen(text), NULL), SHOAL_OK);
    return path;
}

static void expect_error(const char *header, size_t data_bytes, shoal_status code,
                         const char *text) {
    unsigned char bytes[4096];
    const size_t size = make_file(bytes, header, data_bytes);
    struct safetensors_table table;
    struct shoal_error error = {SHOAL_OK, ""};
    const shoal_status status = safetensors_parse(bytes, size, &table, &error);
    if (status != code || error.code != code || strstr(error.text, text) == NULL) {
        fail_msg("%s: got %s \"%s\", wanted \"%s\"", header, shoal_status_text(status), error.text,
                 text);
    }
}

static const char two_tensors[] =
    "{\"__metadata__\":{\"format\":\"pt\"},"
    "\"b\":{\"dtype\":\"F16\",\"shape\":[3],\"data_offsets\":[8,14]},"
    "\"a\":{\"dtype\":\"F32\",\"shape\":[2,1],\"data_offsets\":[0,8]}}  ";

static void test_parses_sorted_by_name(void **state) {
    (void)state;
    unsigned char bytes[4096];
    const size_t size = make_file(bytes, two_tensors, 14);
    struct safetensors_table table;
    assert_int_equal(safetensors_parse(bytes, size, &table, NULL), SHOAL_OK);
    assert_int_equal(table.count, 2);
    assert_string_equal(table.entries[0].name, "a");
    assert_int_equal(table.entries[0].dtype, DTYPE_F32);
    assert_true(shape_equal(&table.entries[0].shape, &SHAPE(2, 1)));
    assert_int_equal(table.entries[1].dtype, DTYPE_F16);
    assert_int_equal(table.entries[1].offset, 8 + strlen(two_tensors) + 8);
    assert_int_equal(table.entries[1].bytes, 6);
    safetensors_table_fini(&table);
}

static void test_accepts_scalars_and_empty_tensors(void **state) {
    (void)state;
    unsigned char bytes[4096];
    struct safetensors_table table;
    size_t size = make_file(bytes,
                            "{\"e\":{\"dtype\":\"F32\",\"shape\":[0,7],\"data_offsets\":[0,0]},"
                            "\"s\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
                            1);
    assert_int_equal(safetensors_parse(bytes, size, &table, NULL), SHOAL_OK);
    assert_int_equal(table.count, 2);
    safetensors_table_fini(&table);
    size = make_file(bytes, "{}", 0);
    assert_int_equal(safetensors_parse(bytes, size, &table, NULL), SHOAL_OK);
    assert_int_equal(table.count, 0);
    safetensors_table_fini(&table);
}

static void test_header_length_is_checked(void **state) {
    (void)state;
    struct safetensors_table table;
    struct shoal_error error;
    unsigned char bytes[16] = {9, 0, 0, 0, 0, 0, 0, 0, '{', '}', ' ', ' ', ' ', ' ', ' ', ' '};
    assert_int_equal(safetensors_parse(bytes, 16, &table, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "header length 9"));
    memset(bytes, 0xFF, 8);
    assert_int_equal(safetensors_parse(bytes, 16, &table, &error), SHOAL_CORRUPT);
    assert_int_equal(safetensors_parse(bytes, 7, &table, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "7 bytes are too few"));
    assert_int_equal(safetensors_parse(NULL, 0, &table, &error), SHOAL_CORRUPT);
}

static void test_header_over_the_limit_is_refused(void **state) {
    (void)state;
    const size_t size = SAFETENSORS_HEADER_LIMIT + 9;
    unsigned char *bytes = mem_calloc(1, size);
    assert_non_null(bytes);
    for (size_t i = 0; i < 8; i++) {
        bytes[i] = (unsigned char)((SAFETENSORS_HEADER_LIMIT + 1) >> (8 * i));
    }
    struct safetensors_table table;
    assert_int_equal(safetensors_parse(bytes, size, &table, NULL), SHOAL_CORRUPT);
    mem_free(bytes);
}

#define T(name, rest) "\"" name "\":{" rest "}"
#define A_F32 "\"dtype\":\"F32\",\"shape\":[2]"

static void test_lying_headers_are_corrupt(void **state) {
    (void)state;
    expect_error("[1]", 0, SHOAL_CORRUPT, "expected a JSON object, found a list");
    expect_error("{\"a\":", 0, SHOAL_CORRUPT, "not valid JSON: line 1");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0,8]") "," T("a", A_F32
                                                                   ",\"data_offsets\":[8,16]") "}",
                 16, SHOAL_CORRUPT, "duplicate");
    expect_error("{\"a\":3}", 0, SHOAL_CORRUPT, "tensor a: expected an object, found an integer");
    expect_error("{\"__metadata__\":{\"x\":1}}", 0, SHOAL_CORRUPT, "__metadata__");
    expect_error("{\"__metadata__\":[]}", 0, SHOAL_CORRUPT, "__metadata__");
    expect_error("{" T("a", "\"shape\":[2],\"data_offsets\":[0,8]") "}", 8, SHOAL_CORRUPT,
                 "dtype is missing");
    expect_error("{" T("a", "\"dtype\":4,\"shape\":[2],\"data_offsets\":[0,8]") "}", 8,
                 SHOAL_CORRUPT, "dtype must be a string");
    expect_error("{" T("a", "\"dtype\":\"F32\",\"data_offsets\":[0,8]") "}", 8, SHOAL_CORRUPT,
                 "shape");
    expect_error("{" T("a", "\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]") "}", 8,
                 SHOAL_CORRUPT, "dimension");
    expect_error("{" T("a", "\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]") "}", 8,
                 SHOAL_CORRUPT, "dimension");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0]") "}", 8, SHOAL_CORRUPT, "data_offsets");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0,8.0]") "}", 8, SHOAL_CORRUPT,
                 "data_offsets");
    expect_error("{" T("a", A_F32) "}", 8, SHOAL_CORRUPT, "data_offsets");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0,8]") "}", 7, SHOAL_CORRUPT,
                 "leave the file");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[8,0]") "}", 8, SHOAL_CORRUPT,
                 "leave the file");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[-8,0]") "}", 8, SHOAL_CORRUPT,
                 "leave the file");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0,4]") "}", 4, SHOAL_CORRUPT,
                 "f32 [2] needs 8 bytes, data_offsets span 4");
    expect_error(
        "{" T("a",
              "\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]") "}",
        0, SHOAL_CORRUPT, "overflows");
    expect_error(
        "{" T("a", "\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,0]") "}",
        0, SHOAL_CORRUPT, "not valid JSON");
}

static void test_overlaps_and_holes_are_corrupt(void **state) {
    (void)state;
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0,8]") "," T("b", A_F32
                                                                   ",\"data_offsets\":[4,12]") "}",
                 12, SHOAL_CORRUPT, "tensor b overlaps");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0,8]") "," T("b", A_F32
                                                                   ",\"data_offsets\":[12,20]") "}",
                 20, SHOAL_CORRUPT, "tensor b leaves a hole");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[4,12]") "}", 12, SHOAL_CORRUPT, "hole");
    expect_error("{" T("a", A_F32 ",\"data_offsets\":[0,8]") "}", 9, SHOAL_CORRUPT,
                 "1 bytes at the end belong to no tensor");
}

static void test_unknown_types_and_ranks_are_unsupported(void **state) {
    (void)state;
    expect_error("{" T("a", "\"dtype\":\"F8_E4M3\",\"shape\":[2],\"data_offsets\":[0,2]") "}", 2,
                 SHOAL_UNSUPPORTED, "tensor a: element type F8_E4M3");
    expect_error(
        "{" T("a", "\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]") "}", 1,
        SHOAL_UNSUPPORTED, "9 dimensions");
}

static void test_source_lends_views_and_takes_them_back(void **state) {
    (void)state;
    const char *paths[] = {write_file("model.safetensors", two_tensors, 14)};
    struct weight_source *source = NULL;
    struct shoal_error error;
    assert_int_equal(safetensors_open(paths, 1, &source, &error), SHOAL_OK);
    struct tensor tensor;
    assert_int_equal(source->ops->borrow(source, "b", NULL, GRAPH_FILL_ZEROS, &tensor, &error),
                     SHOAL_OK);
    assert_int_equal(tensor.dtype, DTYPE_F16);
    assert_memory_equal(tensor.data, "\x08\x09\x0a\x0b\x0c\x0d", 6);
    source->ops->release(source, &tensor);
    assert_memory_equal(tensor.data, "\x08\x09", 2); /* pages come back from the file */
    assert_int_equal(source->ops->borrow(source, "c", NULL, GRAPH_FILL_ZEROS, &tensor, &error),
                     SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "model.safetensors: no tensor named c"));
    size_t count = 0;
    assert_string_equal(safetensors_list(source, &count)[1].name, "b");
    assert_int_equal(count, 2);
    assert_null(safetensors_find(source, "bb"));
    source->ops->destroy(source);
}

static void test_errors_name_the_file(void **state) {
    (void)state;
    struct weight_source *source = NULL;
    struct shoal_error error;
    const char *bad[] = {write_file("bad.safetensors", "{\"a\":1}", 0)};
    assert_int_equal(safetensors_open(bad, 1, &source, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "bad.safetensors: tensor a"));
    const char *absent[] = {"/nonexistent/x.safetensors"};
    assert_int_equal(safetensors_open(absent, 1, &source, &error), SHOAL_NOT_FOUND);
    assert_non_null(strstr(error.text, "/nonexistent/x.safetensors"));
    assert_int_equal(safetensors_open(absent, 0, &source, &error), SHOAL_INVALID);
    assert_null(source);
}

static void write_shards(void) {
    (void)write_file("s1.safetensors", "{" T("a", A_F32 ",\"data_offsets\":[0,8]") "}", 8);
    (void)write_file("s2.safetensors", "{" T("b", A_F32 ",\"data_offsets\":[0,8]") "}", 8);
}

static void expect_index_error(const char *text, shoal_status code, const char *wanted) {
    const char *path = write_text("model.safetensors.index.json", text);
    struct weight_source *source = NULL;
    struct shoal_error error = {SHOAL_OK, ""};
    assert_int_equal(safetensors_open_index(path, &source, &error), code);
    assert_null(source);
    if (strstr(error.text, wanted) == NULL || strstr(error.text, "index.json") == NULL) {
        fail_msg("got \"%s\", wanted \"%s\"", error.text, wanted);
    }
}

static void test_index_opens_its_shards(void **state) {
    (void)state;
    write_shards();
    const char *path = write_text(
        "model.safetensors.index.json",
        "{\"metadata\":{},\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}");
    struct weight_source *source = NULL;
    assert_int_equal(safetensors_open_index(path, &source, NULL), SHOAL_OK);
    struct tensor tensor;
    assert_int_equal(source->ops->borrow(source, "b", NULL, GRAPH_FILL_ZEROS, &tensor, NULL),
                     SHOAL_OK);
    assert_int_equal(safetensors_find(source, "a")->dtype, DTYPE_F32);
    source->ops->release(source, &tensor);
    source->ops->destroy(source);
}

static void test_lying_indexes_are_refused(void **state) {
    (void)state;
    write_shards();
    expect_index_error("{}", SHOAL_CORRUPT, "weight_map is missing");
    expect_index_error("{\"weight_map\":{}}", SHOAL_CORRUPT, "weight_map is missing or empty");
    expect_index_error("{\"weight_map\":{\"a\":3}}", SHOAL_CORRUPT, "does not name a file");
    expect_index_error("{\"weight_map\":{\"a\":\"../../etc/passwd\"}}", SHOAL_CORRUPT,
                       "does not name a file");
    expect_index_error("{\"weight_map\":{\"a\":\"s3.safetensors\"}}", SHOAL_NOT_FOUND,
                       "s3.safetensors");
    expect_index_error("{\"weight_map\":{\"a\":\"s2.safetensors\"}}", SHOAL_CORRUPT,
                       "tensor a is not in s2.safetensors");
    expect_index_error("{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s1.safetensors\"}}",
                       SHOAL_CORRUPT, "tensor b is not in s1.safetensors");
    expect_index_error("{\"weight_map\"", SHOAL_CORRUPT, "not valid JSON");
}

static void test_one_name_in_two_shards_is_refused(void **state) {
    (void)state;
    write_shards();
    (void)write_file("s3.safetensors", "{" T("a", A_F32 ",\"data_offsets\":[0,8]") "}", 8);
    expect_index_error("{\"weight_map\":{\"a\":\"s1.safetensors\",\"x\":\"s3.safetensors\"}}",
                       SHOAL_CORRUPT, "tensor a is in");
}

static void test_every_failing_allocation_is_reported(void **state) {
    (void)state;
    write_shards();
    const char *path =
        write_text("model.safetensors.index.json",
                   "{\"weight_map\":{\"a\":\"s1.safetensors\",\"b\":\"s2.safetensors\"}}");
    shoal_status status = SHOAL_NO_MEMORY;
    uint64_t n = 0;
    while (status != SHOAL_OK) {
        struct weight_source *source = NULL;
        struct shoal_error error = {SHOAL_OK, ""};
        mem_fail_after(++n);
        status = safetensors_open_index(path, &source, &error);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            source->ops->destroy(source);
        } else {
            assert_int_equal(status, SHOAL_NO_MEMORY);
            assert_null(source);
        }
        assert_true(n < 1000);
    }
    assert_true(n > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parses_sorted_by_name),
        cmocka_unit_test(test_accepts_scalars_and_empty_tensors),
        cmocka_unit_test(test_header_length_is_checked),
        cmocka_unit_test(test_header_over_the_limit_is_refused),
        cmocka_unit_test(test_lying_headers_are_corrupt),
        cmocka_unit_test(test_overlaps_and_holes_are_corrupt),
        cmocka_unit_test(test_unknown_types_and_ranks_are_unsupported),
        cmocka_unit_test(test_source_lends_views_and_takes_them_back),
        cmocka_unit_test(test_errors_name_the_file),
        cmocka_unit_test(test_index_opens_its_shards),
        cmocka_unit_test(test_lying_indexes_are_refused),
        cmocka_unit_test(test_one_name_in_two_shards_is_refused),
        cmocka_unit_test(test_every_failing_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
