/* Weights by content: a model computes the same bits from contents as from its file, and what is
 * missing or damaged is named. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <setjmp.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "formats/hf.h"
#include "platform/file.h"
#include "runtime/content_source.h"
#include "runtime/origin.h"
#include "runtime/stage.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct shoal_error error;
static char directory[512];

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

static int make_directory(void **unused) {
    (void)unused;
    return file_make_temporary(directory, sizeof directory, &error) == SHOAL_OK ? 0 : -1;
}

static int remove_directory(void **unused) {
    (void)unused;
    file_remove_tree(directory);
    return 0;
}

static const char *golden(const char *model, const char *file, char path[1024]) {
    const char *root = getenv("SHOAL_SOURCE_DIR");
    (void)snprintf(path, 1024, "%s/tests/golden/data/%s%s%s", root != NULL ? root : ".", model,
                   file[0] != '\0' ? "/" : "", file);
    return path;
}

/* What a transfer does, without a network. */
static void copy_content(const struct origin *origin, struct contents *contents, const char *key) {
    unsigned char piece[5000];
    struct contents_writer *writer;
    uint64_t bytes = 0, at = 0;
    assert_true(origin_has(origin, key, &bytes));
    OK(contents_write_begin(contents, key, bytes, &writer, &at, &error));
    while (at < bytes) {
        size_t got = 0;
        OK(origin_read(origin, key, at, piece, sizeof piece, &got, &error));
        OK(contents_write(writer, piece, got, &error));
        at += got;
    }
    OK(contents_write_commit(writer, &error));
}

static struct contents *open_contents(void) {
    const struct contents_options options = {.directory = directory};
    struct contents *contents = NULL;
    OK(contents_open(&options, &contents, &error));
    return contents;
}

/* The model's manifest, with all its tensors in the directory. */
static struct contents *distribute(const char *weights, struct manifest *manifest) {
    const struct origin_options options = {.path = weights};
    struct origin *origin = NULL;
    OK(origin_open(&options, &origin, &error));
    struct contents *contents = open_contents();
    const struct manifest *own = origin_manifest(origin);
    for (size_t i = 0; i < own->count; i++) {
        if (!contents_has(contents, own->entries[i].key, NULL)) {
            copy_content(origin, contents, own->entries[i].key);
        }
    }
    copy_content(origin, contents, origin_manifest_key(origin));
    struct file_map map;
    OK(contents_map(contents, origin_manifest_key(origin), &map, &error));
    OK(manifest_parse(map.data, map.size, manifest, &error));
    file_map_close(&map);
    origin_close(origin);
    return contents;
}

/* The whole model's outputs of a random picture; mem_free them. */
static unsigned char *compute(const struct model_config *config, const struct weights_spec *weights,
                              size_t *bytes) {
    struct kernel_choice *choice = NULL;
    struct graph *graph = NULL;
    struct stage *stage = NULL;
    OK(model_build(config, &graph, &error));
    const uint32_t last = graph_segment_count(graph);
    graph_destroy(graph);
    OK(kernel_choice_create(&choice, &error));
    OK(kernel_choice_set_default(choice, "reference", &error));
    const struct stage_options options = {
        .model = config, .first = 1, .last = last, .batch = 2, .threads = 1, .choice = choice};
    OK(stage_compile(&options, &stage, &error));
    OK(stage_load(stage, weights, &error));
    const size_t values = (size_t)(2 * config->image_size * config->image_size * config->channels);
    float *picture = mem_calloc(values, sizeof *picture);
    random_normal(random_stream(1, "picture"), 0, 1.0F, picture, values);
    struct wire_message message = {.header.tensor_count = 1};
    message.tensors[0] =
        (struct tensor){.dtype = DTYPE_F32,
                        .shape = SHAPE(2, config->image_size, config->image_size, config->channels),
                        .data = picture};
    struct tensor out[WIRE_MAX_TENSORS];
    uint32_t count = 0;
    OK(stage_run(stage, &message, out, &count, NULL, NULL, &error));
    assert_int_equal(count, 1);
    *bytes = tensor_bytes(&out[0]);
    unsigned char *copy = mem_alloc(*bytes);
    memcpy(copy, out[0].data, *bytes);
    mem_free(picture);
    stage_destroy(stage);
    kernel_choice_destroy(choice);
    return copy;
}

static void same_bits(const char *model, const char *file) {
    char path[1024], weights[1024];
    struct hf_model *hf = NULL;
    struct manifest manifest;
    OK(hf_open(golden(model, "", path), &hf, &error));
    struct contents *contents = distribute(golden(model, file, weights), &manifest);
    size_t bytes = 0, other_bytes = 0;
    const struct weights_spec from_file = {.path = weights};
    const struct weights_spec by_content = {.contents = contents, .manifest = &manifest};
    unsigned char *expected = compute(hf_config(hf), &from_file, &bytes);
    unsigned char *got = compute(hf_config(hf), &by_content, &other_bytes);
    assert_int_equal(bytes, other_bytes);
    assert_memory_equal(expected, got, bytes);
    mem_free(expected);
    mem_free(got);
    manifest_fini(&manifest);
    contents_close(contents);
    hf_close(hf);
}

static void test_the_same_bits_as_from_the_file(void **unused) {
    (void)unused;
    same_bits("vit", "model.safetensors");
    same_bits("vit-f16", "model.safetensors");
    same_bits("vit-sharded", "model.safetensors.index.json");
}

static shoal_status borrow(struct weight_source *source, const char *name, struct tensor *out) {
    const struct shape shape = SHAPE(1);
    return source->ops->borrow(source, name, &shape, GRAPH_FILL_ZEROS, out, &error);
}

static void expect_text(const char *part) {
    if (strstr(error.text, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", error.text, part);
    }
}

static void content_path(const char *key, char path[700]) {
    (void)snprintf(path, 700, "%s/%.2s/%s", directory, key, key);
}

static void test_what_is_missing_or_damaged_is_named(void **unused) {
    (void)unused;
    char weights[1024], path[700];
    struct manifest manifest;
    struct contents *contents =
        distribute(golden("vit-f16", "model.safetensors", weights), &manifest);
    struct weight_source *source = NULL;
    struct tensor first, second;
    OK(content_source_create(contents, &manifest, &source, &error));
    assert_int_equal(borrow(source, "no.such.tensor", &first), SHOAL_NOT_FOUND);
    expect_text("no.such.tensor");
    /* Several at once; each as it is stored. */
    const struct manifest_entry *a = &manifest.entries[0], *b = &manifest.entries[1];
    OK(borrow(source, a->name, &first));
    OK(borrow(source, b->name, &second));
    assert_int_equal(first.dtype, DTYPE_F16);
    assert_true(shape_equal(&first.shape, &a->shape));
    source->ops->release(source, &first);
    source->ops->release(source, &second);
    OK(borrow(source, a->name, &first)); /* not given back: ends with the source */

    content_path(b->key, path);
    const int fd = open(path, O_RDWR);
    unsigned char byte = 0;
    assert_int_equal(pread(fd, &byte, 1, 3), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, 3), 1);
    assert_int_equal(close(fd), 0);
    assert_int_equal(borrow(source, b->name, &second), SHOAL_CORRUPT);
    expect_text(b->name);
    expect_text(b->key);
    expect_text(directory);
    assert_false(contents_has(contents, b->key, NULL)); /* so that it can come again */
    assert_int_equal(borrow(source, b->name, &second), SHOAL_IO);
    expect_text(b->name);
    expect_text(b->key);

    const struct manifest_entry *c = &manifest.entries[2];
    content_path(c->key, path);
    assert_int_equal(truncate(path, (off_t)c->bytes - 1), 0);
    assert_int_equal(borrow(source, c->name, &second), SHOAL_CORRUPT);
    expect_text("another size");
    mem_fail_after(1);
    const shoal_status status = borrow(source, a->name, &second);
    mem_fail_after(0);
    assert_int_equal(status, SHOAL_NO_MEMORY);
    source->ops->destroy(source);
    mem_fail_after(1);
    const shoal_status created = content_source_create(contents, &manifest, &source, &error);
    mem_fail_after(0);
    assert_int_equal(created, SHOAL_NO_MEMORY);
    manifest_fini(&manifest);
    contents_close(contents);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, make_directory, remove_directory)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_the_same_bits_as_from_the_file),
        TEST(test_what_is_missing_or_damaged_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
