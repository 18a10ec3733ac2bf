/* The origin: whole files and shards, hashes that are kept and that are not, files that change. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/safetensors.h"
#include "platform/file.h"
#include "runtime/origin.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct shoal_error error;
static char directory[512], model[600];

/* Three tensors, two of them equal. */
static const char header[] = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
                             "\"b\":{\"dtype\":\"F16\",\"shape\":[2,2],\"data_offsets\":[8,16]},"
                             "\"c\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[16,24]}}";
static const char tensors[] = "11112222"
                              "33334444"
                              "11112222";

static void write_model(const char *path, const char *text, const char *bytes) {
    unsigned char file[1024] = {0};
    const size_t length = strlen(text), size = strlen(bytes);
    file[0] = (unsigned char)(length & 255);
    file[1] = (unsigned char)(length >> 8);
    memcpy(file + 8, text, length);
    memcpy(file + 8 + length, bytes, size);
    assert_int_equal(file_write_atomic(path, file, 8 + length + size, &error), SHOAL_OK);
}

/* Long ago, so that the time is believed. */
static void set_time(const char *path, time_t seconds) {
    const struct timespec times[2] = {{.tv_sec = seconds}, {.tv_sec = seconds}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static int make_model(void **unused) {
    (void)unused;
    if (file_make_temporary(directory, sizeof directory, &error) != SHOAL_OK) {
        return -1;
    }
    (void)snprintf(model, sizeof model, "%s/model.safetensors", directory);
    write_model(model, header, tensors);
    set_time(model, 1000000000);
    return 0;
}

static int remove_model(void **unused) {
    (void)unused;
    file_remove_tree(directory);
    return 0;
}

static void expect_text(const char *part) {
    if (strstr(error.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
    }
}

struct counted {
    uint64_t calls, done, total;
    bool stop;
};

static bool count(void *context, uint64_t done, uint64_t total) {
    struct counted *counted = context;
    counted->calls++;
    counted->done = done;
    counted->total = total;
    return !counted->stop;
}

static struct origin *open_origin(const char *path, struct store *store, struct counted *counted) {
    const struct origin_options options = {
        .path = path, .store = store, .on_progress = count, .context = counted};
    struct origin *origin = NULL;
    if (origin_open(&options, &origin, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    return origin;
}

static void hash(const void *bytes, size_t size, char key[DIGEST_TEXT]) {
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, bytes, size);
    digest_final(&digest, key);
}

static void test_tensors_and_manifest_by_key(void **unused) {
    (void)unused;
    struct counted counted = {0};
    struct origin *origin = open_origin(model, NULL, &counted);
    assert_int_equal(counted.calls, 3);
    assert_int_equal(counted.done, 24);
    const struct manifest *manifest = origin_manifest(origin);
    assert_int_equal(manifest->count, 3);
    char twelve[DIGEST_TEXT], key[DIGEST_TEXT];
    hash(tensors, 8, twelve);
    assert_string_equal(manifest_find(manifest, "a")->key, twelve);
    assert_string_equal(manifest_find(manifest, "c")->key, twelve);
    assert_int_equal(manifest_find(manifest, "b")->dtype, DTYPE_F16);
    hash(tensors + 8, 8, key);
    assert_string_equal(manifest_find(manifest, "b")->key, key);
    char buffer[2000];
    size_t got;
    assert_int_equal(origin_read(origin, key, 0, buffer, sizeof buffer, &got, &error), SHOAL_OK);
    assert_int_equal(got, 8);
    assert_memory_equal(buffer, "33334444", 8);
    assert_int_equal(origin_read(origin, twelve, 3, buffer, 2, &got, &error), SHOAL_OK);
    assert_int_equal(got, 2);
    assert_memory_equal(buffer, "12", 2);
    assert_int_equal(origin_read(origin, twelve, 7, buffer, 2, &got, &error), SHOAL_OK);
    assert_int_equal(got, 1);
    assert_int_equal(origin_read(origin, twelve, UINT64_MAX, buffer, 2, &got, &error), SHOAL_OK);
    assert_int_equal(got, 0);
    assert_int_equal(origin_read(origin, "zz", 0, buffer, 2, &got, &error), SHOAL_NOT_FOUND);
    expect_text("zz");
    assert_false(origin_has(origin, "zz", NULL));
    uint64_t bytes;
    assert_true(origin_has(origin, twelve, &bytes));
    assert_int_equal(bytes, 8);
    /* The manifest is a content like the others. */
    assert_true(origin_has(origin, origin_manifest_key(origin), &bytes));
    assert_in_range(bytes, 1, sizeof buffer);
    assert_int_equal(
        origin_read(origin, origin_manifest_key(origin), 0, buffer, sizeof buffer, &got, &error),
        SHOAL_OK);
    assert_int_equal(got, bytes);
    hash(buffer, got, key);
    assert_string_equal(key, origin_manifest_key(origin));
    struct manifest parsed;
    assert_int_equal(manifest_parse(buffer, got, &parsed, &error), SHOAL_OK);
    assert_int_equal(parsed.count, 3);
    manifest_fini(&parsed);
    origin_close(origin);
    origin_close(NULL);
}

static void test_hashes_are_kept_while_the_file_stays(void **unused) {
    (void)unused;
    struct store *store;
    struct counted counted = {0};
    char first[DIGEST_TEXT];
    assert_int_equal(store_open(directory, &store, &error), SHOAL_OK);
    struct origin *origin = open_origin(model, store, &counted);
    memcpy(first, origin_manifest_key(origin), sizeof first);
    origin_close(origin);
    assert_int_equal(counted.calls, 3);
    origin = open_origin(model, store, &counted);
    assert_int_equal(counted.calls, 3); /* nothing was hashed again */
    assert_string_equal(origin_manifest_key(origin), first);
    origin_close(origin);
    /* Other bytes of the same size: the time tells. */
    write_model(model, header, "111122223333444411112223");
    set_time(model, 1000000001);
    origin = open_origin(model, store, &counted);
    assert_int_equal(counted.calls, 6);
    assert_string_not_equal(origin_manifest_key(origin), first);
    origin_close(origin);
    /* The same time and size, but another file in its place. */
    write_model(model, header, tensors);
    set_time(model, 1000000001);
    origin = open_origin(model, store, &counted);
    assert_string_equal(origin_manifest_key(origin), first);
    origin_close(origin);
    /* A file that is not older than now is hashed each time. */
    set_time(model, time(NULL) + 86400);
    counted.calls = 0;
    origin_close(open_origin(model, store, &counted));
    origin_close(open_origin(model, store, &counted));
    assert_int_equal(counted.calls, 6);
    store_close(store);
}

static void test_kept_hashes_that_are_nonsense(void **unused) {
    (void)unused;
    static const char *const texts[] = {"", "{}", "[", "{\"identity\":{},\"manifest\":\"{}\"}"};
    struct store *store;
    struct counted counted = {0};
    char key[700], *kept;
    assert_int_equal(store_open(directory, &store, &error), SHOAL_OK);
    (void)snprintf(key, sizeof key, "contents of %s", model);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(store_profile_put(store, key, texts[i], 1, &error), SHOAL_OK);
        counted.calls = 0;
        origin_close(open_origin(model, store, &counted));
        assert_int_equal(counted.calls, 3);
    }
    /* Right identity, other tensors. */
    assert_int_equal(store_profile_get(store, key, &kept, NULL, &error), SHOAL_OK);
    char *name = strstr(kept, "\\\"name\\\":\\\"a\\\"");
    assert_non_null(name);
    name[strlen("\\\"name\\\":\\\"")] = 'A';
    assert_int_equal(store_profile_put(store, key, kept, 1, &error), SHOAL_OK);
    mem_free(kept);
    counted.calls = 0;
    origin_close(open_origin(model, store, &counted));
    assert_int_equal(counted.calls, 3);
    store_close(store);
}

static void test_a_file_that_changes(void **unused) {
    (void)unused;
    struct counted counted = {0};
    struct origin *origin = open_origin(model, NULL, &counted);
    char buffer[8], key[DIGEST_TEXT];
    size_t got;
    hash(tensors + 8, 8, key);
    const int fd = open(model, O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, (off_t)(8 + strlen(header) + 9)), 1);
    assert_int_equal(origin_read(origin, key, 0, buffer, 8, &got, &error), SHOAL_MISMATCH);
    expect_text(model);
    assert_int_equal(ftruncate(fd, 20), 0);
    assert_int_equal(origin_read(origin, key, 0, buffer, 8, &got, &error), SHOAL_MISMATCH);
    assert_int_equal(close(fd), 0);
    origin_close(origin);
    /* Replaced by another file: what was open is still read. */
    write_model(model, header, tensors);
    origin = open_origin(model, NULL, &counted);
    write_model(model, header, "xxxxxxxxxxxxxxxxxxxxxxxx");
    assert_int_equal(origin_read(origin, key, 0, buffer, 8, &got, &error), SHOAL_OK);
    assert_memory_equal(buffer, "33334444", 8);
    origin_close(origin);
}

/* Changes the file under the hashing. */
static bool disturb(void *context, uint64_t done, uint64_t total) {
    (void)done;
    (void)total;
    set_time(context, 1000000009);
    return true;
}

static void test_what_stops_the_hashing(void **unused) {
    (void)unused;
    struct counted counted = {.stop = true};
    struct origin *origin = NULL;
    struct origin_options options = {.path = model, .on_progress = count, .context = &counted};
    assert_int_equal(origin_open(&options, &origin, &error), SHOAL_CANCELLED);
    options.on_progress = disturb;
    options.context = model;
    assert_int_equal(origin_open(&options, &origin, &error), SHOAL_MISMATCH);
    expect_text(model);
    options.on_progress = NULL;
    char longest[700];
    memset(longest, 'n', 600);
    (void)snprintf(longest + 600, 100, "%s", "");
    char text[1024];
    (void)snprintf(text, sizeof text,
                   "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", longest);
    write_model(model, text, "1");
    assert_int_equal(origin_open(&options, &origin, &error), SHOAL_UNSUPPORTED);
    expect_text(model);
    options.path = directory;
    assert_int_equal(origin_open(&options, &origin, &error), SHOAL_IO);
    options.path = "/nowhere/model.safetensors";
    assert_int_equal(origin_open(&options, &origin, &error), SHOAL_NOT_FOUND);
    assert_null(origin);
}

static void test_shards_give_the_whole_files_contents(void **unused) {
    (void)unused;
    const char *root = getenv("SHOAL_SOURCE_DIR");
    char index[1024];
    (void)snprintf(index, sizeof index,
                   "%s/tests/golden/data/vit-sharded/model.safetensors.index.json",
                   root != NULL ? root : ".");
    struct counted counted = {0};
    struct origin *origin = open_origin(index, NULL, &counted);
    const struct manifest *manifest = origin_manifest(origin);
    assert_true(manifest->count > 10);
    struct weight_source *source;
    assert_int_equal(safetensors_open_index(index, &source, &error), SHOAL_OK);
    size_t tensor_count;
    const struct safetensors_entry *list = safetensors_list(source, &tensor_count);
    assert_int_equal(tensor_count, manifest->count);
    for (size_t i = 0; i < tensor_count; i++) {
        struct tensor tensor;
        char key[DIGEST_TEXT];
        assert_int_equal(source->ops->borrow(source, list[i].name, &list[i].shape, GRAPH_FILL_ZEROS,
                                             &tensor, &error),
                         SHOAL_OK);
        hash(tensor.data, tensor_bytes(&tensor), key);
        assert_string_equal(key, manifest->entries[i].key);
        unsigned char *bytes = mem_alloc(list[i].bytes + 1);
        size_t got;
        assert_int_equal(origin_read(origin, key, 0, bytes, list[i].bytes + 1, &got, &error),
                         SHOAL_OK);
        assert_int_equal(got, list[i].bytes);
        assert_memory_equal(bytes, tensor.data, got);
        mem_free(bytes);
        source->ops->release(source, &tensor);
    }
    source->ops->destroy(source);
    origin_close(origin);
}

static void test_running_out_of_memory(void **unused) {
    (void)unused;
    const struct origin_options options = {.path = model};
    struct origin *origin = NULL;
    uint64_t failures = 0;
    for (uint64_t n = 1;; n++, failures++) {
        mem_fail_after(n);
        const shoal_status status = origin_open(&options, &origin, &error);
        mem_fail_after(0);
        if (status == SHOAL_OK) {
            break;
        }
        assert_int_equal(status, SHOAL_NO_MEMORY);
    }
    assert_true(failures > 8);
    origin_close(origin);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_model, remove_model)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_tensors_and_manifest_by_key),   TEST(test_hashes_are_kept_while_the_file_stays),
        TEST(test_kept_hashes_that_are_nonsense), TEST(test_a_file_that_changes),
        TEST(test_what_stops_the_hashing),        TEST(test_shards_give_the_whole_files_contents),
        TEST(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
