/* runtime/: the parts around the pipeline — control documents, input, feeder, results. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/npy.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "runtime/choice_json.h"
#include "runtime/control.h"
#include "runtime/feeder.h"
#include "runtime/input.h"
#include "runtime/results.h"

#include <stdatomic.h>
#include <sys/stat.h>

static char directory[256];

static int setup(void **state) {
    (void)state;
    return file_make_temporary(directory, sizeof directory, NULL) == SHOAL_OK ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    file_remove_tree(directory);
    return 0;
}

static char *in_directory(const char *name) {
    static char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

/* ---- control documents ---- */

static void control_keys_are_checked(void **state) {
    (void)state;
    struct shoal_error error;
    json_t *d = json_pack("{s:i, s:s, s:f, s:[i,i], s:{}}", "n", 7, "t", "text", "x", 1.5, "list",
                          1, 2, "object");
    int64_t n = 0;
    double x = 0;
    const char *t = NULL;
    const json_t *part;
    assert_int_equal(control_integer(d, "n", 0, 10, &n, &error), SHOAL_OK);
    assert_int_equal(n, 7);
    assert_int_equal(control_integer(d, "n", 8, 10, &n, &error), SHOAL_PROTOCOL);
    assert_non_null(strstr(error.text, "'n'"));
    assert_int_equal(control_integer(d, "t", 0, 10, &n, &error), SHOAL_PROTOCOL);
    assert_int_equal(control_number(d, "x", &x, &error), SHOAL_OK);
    assert_int_equal(control_number(d, "t", &x, &error), SHOAL_PROTOCOL);
    assert_int_equal(control_text(d, "t", 4, &t, &error), SHOAL_OK);
    assert_int_equal(control_text(d, "t", 3, &t, &error), SHOAL_PROTOCOL);
    assert_int_equal(control_text(d, "missing", 3, &t, &error), SHOAL_PROTOCOL);
    assert_int_equal(control_object(d, "object", &part, &error), SHOAL_OK);
    assert_int_equal(control_object(d, "list", &part, &error), SHOAL_PROTOCOL);
    json_decref(d);
}

static void what_is_no_control_document_is_refused(void **state) {
    (void)state;
    struct shoal_error error;
    json_t *out = NULL;
    static const char *const texts[] = {
        "", "{", "[1]", "7", "{\"a\":1,\"a\":2}", "{\"a\":nul}", "{} trailing"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const struct wire_message message = {
            .header = {.kind = WIRE_REQUEST, .text_bytes = (uint32_t)strlen(texts[i])},
            .text = texts[i]};
        assert_int_equal(control_parse(&message, &out, &error), SHOAL_PROTOCOL);
        assert_null(out);
    }
}

static void refusals_carry_their_status(void **state) {
    (void)state;
    struct shoal_error error, back;
    (void)error_set(&error, SHOAL_NO_MEMORY, "needs 5 MB");
    json_t *refusal = control_refusal(3, &error);
    assert_int_equal(control_refusal_status(refusal, "pi-1", &back), SHOAL_NO_MEMORY);
    assert_string_equal(back.text, "pi-1: needs 5 MB");
    assert_int_equal(json_object_set_new(refusal, "status", json_string("NONSENSE")), 0);
    assert_int_equal(control_refusal_status(refusal, "pi-1", &back), SHOAL_PROTOCOL);
    json_decref(refusal);
}

/* Without an answer the owner would wait for its deadline. */
static void a_refusal_of_any_bytes_is_still_sent(void **state) {
    (void)state;
    struct shoal_error error, back;
    (void)error_set(&error, SHOAL_CORRUPT, "tensor \xff\xe2\x82");
    json_t *refusal = control_refusal(3, &error);
    assert_int_equal(control_refusal_status(refusal, "pi-1", &back), SHOAL_CORRUPT);
    assert_string_equal(back.text, "pi-1: tensor ???");
    json_decref(refusal);
}

static void kernel_choices_travel_as_json(void **state) {
    (void)state;
    struct shoal_error error;
    json_t *d = json_pack("{s:s, s:{s:s}}", "default", "blas", "ops", "some key", "reference");
    struct kernel_choice *choice;
    assert_int_equal(choice_from_json(d, &choice, &error), SHOAL_OK);
    json_t *back = choice_to_json(choice, "blas");
    assert_true(json_equal(d, back));
    json_decref(back);
    kernel_choice_destroy(choice);
    assert_int_equal(
        json_object_set_new(json_object_get(d, "ops"), "other key", json_string("magic")), 0);
    assert_int_equal(choice_from_json(d, &choice, &error), SHOAL_PROTOCOL);
    assert_non_null(strstr(error.text, "other key"));
    json_decref(d);
}

/* ---- input ---- */

static const struct image_preprocess plain = {0};

enum { SIDE = 6, CHANNELS = 3, PIXELS = SIDE * SIDE * CHANNELS };

static const struct model_config pictures = {
    .family = MODEL_VIT, .image_size = SIDE, .patch_size = 2, .channels = CHANNELS};

static shoal_status open_paths(const char *path, struct input **out, struct shoal_error *error) {
    const struct input_options options = {
        .paths = &path, .path_count = 1, .model = &pictures, .preprocess = &plain, .seed = 9};
    return input_open(&options, out, error);
}

static shoal_status read_pixels(struct input *input, uint64_t index, float *values,
                                struct shoal_error *error) {
    void *const places[MODEL_MAX_INPUTS] = {values};
    int64_t tokens = -1;
    const shoal_status status = input_read(input, index, places, &tokens, error);
    assert_int_equal(tokens, 0);
    return status;
}

static void arrays_in_both_layouts_are_the_same_items(void **state) {
    (void)state;
    enum { N = 2, H = SIDE, W = SIDE, C = CHANNELS };
    float nhwc[N * H * W * C], nchw[N * H * W * C], a[H * W * C], b[H * W * C];
    for (int n = 0, i = 0; n < N; n++) {
        for (int y = 0; y < H; y++) {
            for (int x = 0; x < W; x++) {
                for (int c = 0; c < C; c++, i++) {
                    nhwc[i] = (float)i;
                    nchw[((n * C + c) * H + y) * W + x] = (float)i;
                }
            }
        }
    }
    struct shoal_error error;
    const struct shape first = SHAPE(N, H, W, C), second = SHAPE(N, C, H, W);
    assert_int_equal(npy_write_f32(in_directory("nhwc.npy"), &first, nhwc, &error), SHOAL_OK);
    assert_int_equal(npy_write_f32(in_directory("nchw.npy"), &second, nchw, &error), SHOAL_OK);
    struct input *one, *two;
    assert_int_equal(open_paths(in_directory("nhwc.npy"), &one, &error), SHOAL_OK);
    assert_int_equal(open_paths(in_directory("nchw.npy"), &two, &error), SHOAL_OK);
    assert_int_equal(input_count(one), N);
    for (uint64_t n = 0; n < N; n++) {
        assert_int_equal(read_pixels(one, n, a, &error), SHOAL_OK);
        assert_int_equal(read_pixels(two, n, b, &error), SHOAL_OK);
        assert_memory_equal(a, nhwc + n * H * W * C, sizeof a);
        assert_memory_equal(a, b, sizeof a);
    }
    char name[600];
    input_name(two, 1, name, sizeof name);
    assert_non_null(strstr(name, "nchw.npy[1]"));
    assert_false(input_is_random(one));
    input_close(one);
    input_close(two);
}

static void inputs_that_cannot_be_are_refused_at_once(void **state) {
    (void)state;
    struct shoal_error error;
    struct input *input = NULL;
    const float values[5] = {0};
    const struct shape wrong = SHAPE(1, 5);
    assert_int_equal(npy_write_f32(in_directory("wrong.npy"), &wrong, values, &error), SHOAL_OK);
    assert_int_equal(open_paths(in_directory("wrong.npy"), &input, &error), SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "[1,5]"));
    assert_int_equal(open_paths(in_directory("absent"), &input, &error), SHOAL_NOT_FOUND);
    assert_int_equal(file_make_directories(in_directory("empty"), &error), SHOAL_OK);
    assert_int_equal(open_paths(in_directory("empty"), &input, &error), SHOAL_NOT_FOUND);
    static const char *const counts[] = {"random:",  "random:0",  "random:-3",
                                         "random:x", "random:5x", "random:99999999999999999999"};
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        assert_int_equal(open_paths(counts[i], &input, &error), SHOAL_USAGE);
    }
    assert_null(input);
}

static void a_broken_picture_is_that_items_error(void **state) {
    (void)state;
    struct shoal_error error;
    struct input *input;
    float values[PIXELS];
    assert_int_equal(file_write_atomic(in_directory("broken.jpg"), "\xff\xd8\xff", 3, &error),
                     SHOAL_OK);
    assert_int_equal(open_paths(in_directory("broken.jpg"), &input, &error), SHOAL_OK);
    assert_int_not_equal(read_pixels(input, 0, values, &error), SHOAL_OK);
    assert_non_null(strstr(error.text, "broken.jpg"));
    input_close(input);
}

/* ---- feeder ---- */

struct feeding {
    atomic_int skipped, filled;
};

static void count_skip(void *context, uint64_t item, const struct shoal_error *error) {
    (void)item;
    (void)error;
    atomic_fetch_add(&((struct feeding *)context)->skipped, 1);
}

static void count_filled(void *context) {
    atomic_fetch_add(&((struct feeding *)context)->filled, 1);
}

static void await_batches(struct feeder *feeder, uint64_t count) {
    for (int i = 0; feeder_filled(feeder) < count && i < 20000; i++) {
        platform_sleep_ns(CLOCK_MS);
    }
    assert_true(feeder_filled(feeder) >= count);
}

static void await_end(struct feeder *feeder) {
    for (int i = 0; !feeder_ended(feeder) && i < 20000; i++) {
        platform_sleep_ns(CLOCK_MS);
    }
    assert_true(feeder_ended(feeder));
}

static void the_feeder_pads_the_last_microbatch_and_is_bounded(void **state) {
    (void)state;
    struct shoal_error error;
    struct input *input;
    struct feeder *feeder;
    struct feeding feeding = {0};
    assert_int_equal(open_paths("random:7", &input, &error), SHOAL_OK);
    const struct feeder_options options = {.input = input,
                                           .model = &pictures,
                                           .batch = 3,
                                           .window = 8,
                                           .slot_count = 2,
                                           .on_skip = count_skip,
                                           .on_filled = count_filled,
                                           .context = &feeding};
    assert_int_equal(feeder_create(&options, &feeder, &error), SHOAL_OK);
    await_batches(feeder, 2);
    platform_sleep_ns(20 * CLOCK_MS);
    assert_int_equal(feeder_filled(feeder), 2); /* two slots, both held */
    assert_false(feeder_ended(feeder));
    struct feeder_batch batch = feeder_get(feeder, 0);
    assert_int_equal(batch.items, 3);
    assert_int_equal(batch.list[2].index, 2);
    feeder_release(feeder, 2);
    await_end(feeder);
    assert_int_equal(feeder_filled(feeder), 3);
    batch = feeder_get(feeder, 2);
    assert_int_equal(batch.items, 1);
    assert_int_equal(batch.list[0].index, 6);
    for (size_t i = PIXELS; i < (size_t)3 * PIXELS; i++) {
        assert_true(((const float *)batch.values[0])[i] == 0.0F);
    }
    assert_int_equal(atomic_load(&feeding.skipped), 0);
    feeder_destroy(feeder);
    input_close(input);
}

static void the_feeder_leaves_out_what_cannot_be_read(void **state) {
    (void)state;
    struct shoal_error error;
    struct input *input;
    struct feeder *feeder;
    struct feeding feeding = {0};
    assert_int_equal(file_make_directories(in_directory("all-bad"), &error), SHOAL_OK);
    for (int i = 0; i < 5; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "all-bad/%d.png", i);
        assert_int_equal(file_write_atomic(in_directory(name), "no", 2, &error), SHOAL_OK);
    }
    assert_int_equal(open_paths(in_directory("all-bad"), &input, &error), SHOAL_OK);
    const struct feeder_options options = {.input = input,
                                           .model = &pictures,
                                           .batch = 2,
                                           .window = 8,
                                           .slot_count = 2,
                                           .on_skip = count_skip,
                                           .on_filled = count_filled,
                                           .context = &feeding};
    assert_int_equal(feeder_create(&options, &feeder, &error), SHOAL_OK);
    await_end(feeder);
    assert_int_equal(feeder_filled(feeder), 0);
    assert_int_equal(feeder_skipped(feeder), 5);
    assert_int_equal(atomic_load(&feeding.skipped), 5);
    feeder_destroy(feeder);
    input_close(input);
}

static void a_feeder_can_be_stopped_at_any_time(void **state) {
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct shoal_error error;
        struct input *input;
        struct feeder *feeder;
        struct feeding feeding = {0};
        assert_int_equal(open_paths("random:1000000", &input, &error), SHOAL_OK);
        const struct feeder_options options = {.input = input,
                                               .model = &pictures,
                                               .batch = 2,
                                               .window = 8,
                                               .slot_count = 3,
                                               .on_skip = count_skip,
                                               .on_filled = count_filled,
                                               .context = &feeding};
        assert_int_equal(feeder_create(&options, &feeder, &error), SHOAL_OK);
        platform_sleep_ns((uint64_t)i * CLOCK_MS / 10);
        feeder_destroy(feeder);
        input_close(input);
    }
}

static void count_skip_slowly(void *context, uint64_t item, const struct shoal_error *error) {
    count_skip(context, item, error);
    platform_sleep_ns(20 * CLOCK_MS);
}

static void a_feeder_stops_in_the_middle_of_a_microbatch(void **state) {
    (void)state;
    enum { ITEMS = 500 }; /* ten seconds of skipping */
    struct shoal_error error;
    struct input *input;
    struct feeder *feeder;
    struct feeding feeding = {0};
    assert_int_equal(file_write_atomic(in_directory("bad.png"), "no", 2, &error), SHOAL_OK);
    static char path[512];
    (void)snprintf(path, sizeof path, "%s", in_directory("bad.png"));
    const char *paths[ITEMS];
    for (size_t i = 0; i < ITEMS; i++) {
        paths[i] = path;
    }
    const struct input_options from = {
        .paths = paths, .path_count = ITEMS, .model = &pictures, .preprocess = &plain};
    assert_int_equal(input_open(&from, &input, &error), SHOAL_OK);
    const struct feeder_options options = {.input = input,
                                           .model = &pictures,
                                           .batch = ITEMS,
                                           .window = ITEMS,
                                           .slot_count = 2,
                                           .on_skip = count_skip_slowly,
                                           .on_filled = count_filled,
                                           .context = &feeding};
    assert_int_equal(feeder_create(&options, &feeder, &error), SHOAL_OK);
    platform_sleep_ns(50 * CLOCK_MS);
    feeder_destroy(feeder);
    assert_true(atomic_load(&feeding.skipped) < ITEMS);
    input_close(input);
}

/* ---- results ---- */

static const char *label_of(void *context, uint32_t class_index) {
    (void)context;
    return class_index == 1 ? "one" : NULL;
}

static struct results_options result_options(const char *path) {
    static const struct model_output three = {.name = "logits",
                                              .type = {DTYPE_F32, {2, {GRAPH_BATCH, 3}}}};
    return (struct results_options){.output_path = path,
                                    .classifies = true,
                                    .label = label_of,
                                    .top = 2,
                                    .outputs = &three,
                                    .output_count = 1};
}

static void results_and_skipped_items_come_in_input_order(void **state) {
    (void)state;
    struct shoal_error error;
    struct results *results;
    const char *path = in_directory("r.jsonl");
    const struct results_options options = result_options(path);
    assert_int_equal(results_create(&options, &results, &error), SHOAL_OK);
    const float row[3] = {1.0F, 3.0F, 3.0F};
    results_skip(results, 1, "b", "broken");
    results_skip(results, 3, "d", "broken too");
    assert_int_equal(results_add(results, 0, "a", row, &error), SHOAL_OK);
    assert_int_equal(results_add(results, 2, "c", row, &error), SHOAL_OK);
    assert_int_equal(results_write_skipped(results, UINT64_MAX, &error), SHOAL_OK);
    assert_int_equal(results_flush(results, &error), SHOAL_OK);
    char *text;
    assert_int_equal(file_read(path, 10000, &text, NULL, &error), SHOAL_OK);
    static const char *const order[] = {"\"a\"", "\"b\"", "\"c\"", "\"d\""};
    const char *at = text;
    for (size_t i = 0; i < 4; i++) {
        at = strstr(at, order[i]);
        assert_non_null(at);
    }
    /* equal logits: the lower class first */
    assert_non_null(strstr(text, "\"top\":[{\"class\":1,\"label\":\"one\""));
    mem_free(text);
    char one[DIGEST_TEXT], two[DIGEST_TEXT];
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, row, sizeof row);
    digest_update(&digest, row, sizeof row);
    digest_final(&digest, one);
    results_digest(results, two);
    assert_string_equal(one, two); /* skipped items are no outputs */
    results_destroy(results);
}

static void names_that_are_no_utf8_are_written_all_the_same(void **state) {
    (void)state;
    struct shoal_error error;
    struct results *results;
    const char *path = in_directory("u.jsonl");
    const struct results_options options = result_options(path);
    assert_int_equal(results_create(&options, &results, &error), SHOAL_OK);
    const float row[3] = {0};
    results_skip(results, 0, "s\xff.jpg", "s\xff.jpg: cut \xe2\x82");
    assert_int_equal(results_add(results, 1, "\xc3\xa4\xfe.jpg", row, &error), SHOAL_OK);
    assert_int_equal(results_flush(results, &error), SHOAL_OK);
    char *text;
    assert_int_equal(file_read(path, 10000, &text, NULL, &error), SHOAL_OK);
    assert_non_null(strstr(text, "\"item\":\"s?.jpg\""));
    assert_non_null(strstr(text, "\"error\":\"s?.jpg: cut ??\""));
    assert_non_null(strstr(text, "\"item\":\"\xc3\xa4?.jpg\""));
    mem_free(text);
    results_destroy(results);
}

static void text_that_nobody_can_read_is_said(void **state) {
    (void)state;
    struct shoal_error error;
    struct results *results;
    struct results_options options = result_options(NULL);
    options.text = fopen("/dev/full", "we");
    assert_non_null(options.text);
    assert_int_equal(results_create(&options, &results, &error), SHOAL_OK);
    const float row[3] = {0};
    assert_int_equal(results_add(results, 0, "a", row, &error), SHOAL_OK);
    assert_int_equal(results_flush(results, &error), SHOAL_IO);
    results_destroy(results);
    (void)fclose(options.text);
}

static void a_full_disk_is_said(void **state) {
    (void)state;
    struct shoal_error error;
    struct results *results;
    const struct results_options options = result_options("/dev/full");
    assert_int_equal(results_create(&options, &results, &error), SHOAL_OK);
    const float row[3] = {0};
    shoal_status status = results_add(results, 0, "a", row, &error);
    if (status == SHOAL_OK) {
        status = results_flush(results, &error);
    }
    assert_int_equal(status, SHOAL_NO_SPACE);
    assert_non_null(strstr(error.text, "/dev/full"));
    results_destroy(results);
}

static void an_output_that_cannot_be_made_is_said(void **state) {
    (void)state;
    struct shoal_error error;
    struct results *results = NULL;
    const struct results_options options = result_options(in_directory("no/such/folder/r.jsonl"));
    assert_int_equal(results_create(&options, &results, &error), SHOAL_NOT_FOUND);
    assert_null(results);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(control_keys_are_checked),
        cmocka_unit_test(what_is_no_control_document_is_refused),
        cmocka_unit_test(refusals_carry_their_status),
        cmocka_unit_test(a_refusal_of_any_bytes_is_still_sent),
        cmocka_unit_test(kernel_choices_travel_as_json),
        cmocka_unit_test(arrays_in_both_layouts_are_the_same_items),
        cmocka_unit_test(inputs_that_cannot_be_are_refused_at_once),
        cmocka_unit_test(a_broken_picture_is_that_items_error),
        cmocka_unit_test(the_feeder_pads_the_last_microbatch_and_is_bounded),
        cmocka_unit_test(the_feeder_leaves_out_what_cannot_be_read),
        cmocka_unit_test(a_feeder_can_be_stopped_at_any_time),
        cmocka_unit_test(a_feeder_stops_in_the_middle_of_a_microbatch),
        cmocka_unit_test(results_and_skipped_items_come_in_input_order),
        cmocka_unit_test(names_that_are_no_utf8_are_written_all_the_same),
        cmocka_unit_test(text_that_nobody_can_read_is_said),
        cmocka_unit_test(a_full_disk_is_said),
        cmocka_unit_test(an_output_that_cannot_be_made_is_said),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
