/* Texts as items: files of lines and tables, ids, microbatches of one length, results in order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "formats/npy.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "runtime/feeder.h"
#include "runtime/order.h"
#include "runtime/result_array.h"
#include "runtime/results.h"
#include "runtime/text_source.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char directory[256];

/* Valid until the fourth call from now. */
static const char *in_directory(const char *name) {
    static char paths[4][512];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", directory, name);
    return path;
}

static const char *write_file(const char *name, const char *text) {
    assert_int_equal(file_write_atomic(in_directory(name), text, strlen(text), NULL), SHOAL_OK);
    return in_directory(name);
}

/* ---- lines and tables ---- */

static const struct text_options lines = {.table = false}, table = {.table = true};

static void check_item(const struct text_source *source, uint64_t index, uint64_t line,
                       const char *first, const char *second) {
    struct wordpiece_text a = {"", 0}, b = {"", 0};
    bool paired = false;
    assert_int_equal(text_source_get(source, index, &a, &b, &paired, NULL), SHOAL_OK);
    assert_int_equal(a.size, strlen(first));
    assert_memory_equal(a.bytes, first, a.size);
    assert_true(paired == (second != NULL));
    if (second != NULL) {
        assert_int_equal(b.size, strlen(second));
        assert_memory_equal(b.bytes, second, b.size);
    }
    assert_int_equal(text_source_line(source, index), line);
}

static void a_line_is_an_item(void **state) {
    (void)state;
    struct text_source *source = NULL;
    const char *path = write_file("a.txt", "\xef\xbb\xbfone\r\n\ntwo\tx\nlast");
    assert_int_equal(text_source_open(path, &lines, &source, NULL), SHOAL_OK);
    assert_int_equal(text_source_count(source), 4);
    check_item(source, 0, 1, "one", NULL);
    check_item(source, 1, 2, "", NULL);
    check_item(source, 2, 3, "two\tx", NULL);
    check_item(source, 3, 4, "last", NULL);
    text_source_close(source);
}

static void a_table_has_columns_by_name_or_number(void **state) {
    (void)state;
    struct text_source *source = NULL;
    struct shoal_error error;
    const char *path = write_file("t.tsv", "id\tsentence\tother\r\n1\tone\tuno\r\n2\n3\t\ttre\r\n");
    assert_int_equal(text_source_open(path, &table, &source, NULL), SHOAL_OK);
    assert_int_equal(text_source_count(source), 3);
    check_item(source, 0, 2, "one", NULL);
    check_item(source, 2, 4, "", NULL);
    struct wordpiece_text a, b;
    bool paired;
    assert_int_equal(text_source_get(source, 1, &a, &b, &paired, &error), SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "no column 2"));
    text_source_close(source);
    const struct text_options named = {.table = true, .column = "other", .pair = "id"};
    assert_int_equal(text_source_open(path, &named, &source, NULL), SHOAL_OK);
    check_item(source, 0, 2, "uno", "1");
    text_source_close(source);
    const struct text_options numbered = {.table = true, .column = "1", .pair = "3"};
    assert_int_equal(text_source_open(path, &numbered, &source, NULL), SHOAL_OK);
    check_item(source, 0, 1, "id", "other");
    text_source_close(source);
    path = write_file("first.tsv", "a\tb\nx\ty\n"); /* no usual name: the first column */
    assert_int_equal(text_source_open(path, &table, &source, NULL), SHOAL_OK);
    check_item(source, 0, 2, "x", NULL);
    text_source_close(source);
}

static void columns_that_are_not_there_are_named(void **state) {
    (void)state;
    struct text_source *source = NULL;
    const char *path = write_file("t.tsv", "id\tsentence\n1\tone\n");
    static const struct {
        struct text_options options;
        const char *text;
    } cases[] = {
        {{.table = true, .column = "text"},
         "--column text: the first line names no such column; "
         "it has: id, sentence"},
        {{.table = true, .pair = "b"}, "--pair b: the first line"},
        {{.table = true, .column = "1", .pair = "id"}, "name both, or number both"},
        {{.table = true, .column = "id", .pair = "2"}, "name both, or number both"},
        {{.table = false, .column = "id"}, "are for tables"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct shoal_error error;
        assert_int_equal(text_source_open(path, &cases[i].options, &source, &error), SHOAL_USAGE);
        if (strstr(error.text, cases[i].text) == NULL || strstr(error.text, "t.tsv") == NULL) {
            fail_msg("%s", error.text);
        }
    }
    path = write_file("names.tsv", "id\tsentence\n");
    assert_int_equal(text_source_open(path, &table, &source, NULL), SHOAL_CORRUPT);
    path = write_file("empty.txt", "");
    assert_int_equal(text_source_open(path, &lines, &source, NULL), SHOAL_CORRUPT);
    assert_null(source);
}

/* ---- items ---- */

static const struct model_config bert = {
    .family = MODEL_BERT, .vocabulary = 40, .positions = 128, .types = 2, .length = 128};

static struct wordpiece *make_wordpiece(void) {
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n";
    const struct wordpiece_files files = {.vocab = vocab, .vocab_size = sizeof vocab - 1};
    struct wordpiece *wordpiece = NULL;
    assert_int_equal(wordpiece_create(&files, &wordpiece, NULL), SHOAL_OK);
    return wordpiece;
}

static shoal_status open_items(const char *path, const struct wordpiece *wordpiece,
                               const char *pair, int64_t max_length, struct input **out,
                               struct shoal_error *error) {
    const struct input_options options = {.paths = &path,
                                          .path_count = 1,
                                          .model = &bert,
                                          .wordpiece = wordpiece,
                                          .pair = pair,
                                          .max_length = max_length,
                                          .seed = 4};
    return input_open(&options, out, error);
}

static shoal_status read_item(struct input *input, uint64_t index, int32_t ids[256],
                              int32_t types[256], int64_t *tokens, struct shoal_error *error) {
    void *const values[MODEL_MAX_INPUTS] = {ids, types};
    return input_read(input, index, values, tokens, error);
}

static void texts_become_ids_and_bad_lines_are_named(void **state) {
    (void)state;
    struct wordpiece *wordpiece = make_wordpiece();
    struct input *input = NULL;
    struct shoal_error error;
    int32_t ids[256], types[256];
    int64_t tokens;
    char name[600];
    assert_int_equal(
        open_items(write_file("i.txt", "a b\n \na b a b a\n"), wordpiece, NULL, 6, &input, &error),
        SHOAL_OK);
    assert_int_equal(input_count(input), 3);
    assert_int_equal(input_longest(input), 6);
    assert_int_equal(input_cut(input), 1); /* the third */
    assert_int_equal(read_item(input, 0, ids, types, &tokens, &error), SHOAL_OK);
    assert_int_equal(tokens, 4);
    static const int32_t wanted[] = {2, 4, 5, 3};
    assert_memory_equal(ids, wanted, sizeof wanted);
    assert_int_equal(read_item(input, 1, ids, types, &tokens, &error), SHOAL_CORRUPT);
    assert_non_null(strstr(error.text, "i.txt:2: no tokens in this line"));
    input_name(input, 2, name, sizeof name);
    assert_non_null(strstr(name, "/i.txt:3"));
    input_close(input);
    input = NULL;
    assert_int_equal(open_items(write_file("i.txt", "a\n"), NULL, NULL, 6, &input, &error),
                     SHOAL_USAGE);
    assert_non_null(strstr(error.text, "--vocab"));
    assert_int_equal(open_items(write_file("i.csv", "a\n"), wordpiece, NULL, 6, &input, &error),
                     SHOAL_UNSUPPORTED);
    assert_non_null(strstr(error.text, ".tsv"));
    assert_null(input);
    assert_int_equal(open_items(write_file("p.tsv", "text\tb\na\tb\n\tb\n\t\n"), wordpiece, "b", 8,
                                &input, &error),
                     SHOAL_OK);
    assert_int_equal(input_longest(input), 5);
    assert_int_equal(read_item(input, 0, ids, types, &tokens, &error), SHOAL_OK);
    assert_int_equal(types[2] * 10 + types[3], 1);
    assert_int_equal(read_item(input, 1, ids, types, &tokens, &error), SHOAL_OK);
    assert_int_equal(tokens, 4);
    assert_int_equal(read_item(input, 2, ids, types, &tokens, &error), SHOAL_CORRUPT);
    input_close(input);
    wordpiece_destroy(wordpiece);
}

/* A .npy of i32 ids, from the header of an f32 array of the same shape. */
static const char *write_ids(const char *name, int64_t rows, int64_t columns, const int32_t *ids) {
    unsigned char header[NPY_HEADER_BYTES];
    size_t size;
    const struct shape shape = SHAPE(rows, columns);
    assert_int_equal(npy_header(DTYPE_F32, &shape, header, &size, NULL), SHOAL_OK);
    char *type = memmem(header, size, "<f4", 3);
    assert_non_null(type);
    type[1] = 'i';
    const size_t bytes = (size_t)(rows * columns) * sizeof *ids;
    unsigned char *file = malloc(size + bytes);
    assert_non_null(file);
    memcpy(file, header, size);
    memcpy(file + size, ids, bytes);
    assert_int_equal(file_write_atomic(in_directory(name), file, size + bytes, NULL), SHOAL_OK);
    free(file);
    return in_directory(name);
}

static void arrays_of_ids_and_random_ids_are_items(void **state) {
    (void)state;
    struct input *input = NULL, *again = NULL;
    struct shoal_error error;
    int32_t ids[256], types[256], others[256];
    int64_t tokens;
    static const int32_t rows[4][5] = {
        {2, 9, 3, 0, 0}, {2, 0, 9, 9, 3}, {0, 0, 0, 0, 0}, {2, 40, 3, 0, 0}};
    assert_int_equal(open_items(write_ids("i.npy", 4, 5, rows[0]), NULL, NULL, 128, &input, &error),
                     SHOAL_OK);
    assert_int_equal(input_longest(input), 5);
    assert_int_equal(read_item(input, 0, ids, types, &tokens, &error), SHOAL_OK);
    assert_int_equal(tokens, 3);
    assert_memory_equal(ids, rows[0], 3 * sizeof ids[0]);
    assert_int_equal(types[0] + types[1] + types[2], 0);
    assert_int_equal(read_item(input, 1, ids, types, &tokens, &error), SHOAL_OK);
    assert_int_equal(tokens, 5);
    assert_int_equal(read_item(input, 2, ids, types, &tokens, &error), SHOAL_CORRUPT);
    assert_int_equal(read_item(input, 3, ids, types, &tokens, &error), SHOAL_MISMATCH);
    assert_non_null(strstr(error.text, "i.npy[3]: token id 40; the model has 0 to 39"));
    input_close(input);
    const float wrong[6] = {0};
    const struct shape shape = SHAPE(2, 3);
    assert_int_equal(npy_write_f32(in_directory("w.npy"), &shape, wrong, &error), SHOAL_OK);
    assert_int_equal(open_items(in_directory("w.npy"), NULL, NULL, 128, &again, &error),
                     SHOAL_MISMATCH);
    assert_int_equal(open_items("random:3", NULL, NULL, 33, &input, &error), SHOAL_OK);
    assert_int_equal(open_items("random:9", NULL, NULL, 33, &again, &error), SHOAL_OK);
    assert_int_equal(input_longest(input), 33);
    assert_int_equal(read_item(input, 2, ids, types, &tokens, &error), SHOAL_OK);
    assert_int_equal(tokens, 33);
    assert_int_equal(read_item(again, 2, others, types, &tokens, &error), SHOAL_OK);
    assert_memory_equal(ids, others, 33 * sizeof ids[0]);
    for (int i = 0; i < 33; i++) {
        assert_in_range(ids[i], 0, 39);
    }
    input_close(input);
    input_close(again);
}

/* ---- microbatches of one length ---- */

static void ignore_skip(void *context, uint64_t item, const struct shoal_error *error) {
    (void)context;
    fail_msg("item %llu: %s", (unsigned long long)item, error->text);
}

static void ignore_filled(void *context) {
    (void)context;
}

enum { ITEMS = 300, COLUMNS = 128, BATCH = 4, WINDOW = 24 };

/* Rows whose lengths are drawn: mostly short, some of every other length. */
static const char *write_lengths(uint64_t seed, int64_t lengths[ITEMS]) {
    static int32_t ids[ITEMS][COLUMNS];
    memset(ids, 0, sizeof ids);
    const uint64_t stream = random_stream(seed, "lengths");
    for (uint64_t i = 0; i < ITEMS; i++) {
        const uint32_t kind = random_u32(stream, 2 * i) % 8;
        lengths[i] = 1 + random_u32(stream, 2 * i + 1) % (kind < 5 ? 32 : kind < 7 ? 64 : 128);
        for (int64_t t = 0; t < lengths[i]; t++) {
            ids[i][t] = (int32_t)(1 + (i + (uint64_t)t) % 39);
        }
    }
    return write_ids("lengths.npy", ITEMS, COLUMNS, ids[0]);
}

/* Rows of one microbatch are padded to its length and masked; places without items too. */
static void check_microbatch(const struct feeder_batch *batch, const int64_t lengths[ITEMS]) {
    const int32_t *ids = batch->values[0], *types = batch->values[1];
    const float *mask = batch->values[2];
    for (uint32_t i = 0; i < BATCH; i++) {
        const uint64_t item = i < batch->items ? batch->list[i].index : 0;
        const int64_t tokens = i < batch->items ? lengths[item] : 1;
        assert_int_equal(batch->length,
                         i < batch->items ? model_length_for(&bert, tokens) : batch->length);
        for (int64_t t = 0; t < batch->length; t++) {
            const int64_t place = (int64_t)i * batch->length + t;
            const bool real = i < batch->items && t < tokens;
            assert_int_equal(ids[place], real ? 1 + ((int64_t)item + t) % 39 : 0);
            assert_int_equal(types[place], 0);
            assert_true(t < tokens ? mask[place] == 0.0F
                                   : isinf(mask[place]) && mask[place] < 0.0F);
        }
    }
}

/* Feeds it all through; returns the microbatches. Every item comes once, and the order of results
 * is restored from WINDOW rows. */
static uint64_t feed_all(struct input *input, const int64_t lengths[ITEMS]) {
    struct feeder *feeder = NULL;
    struct order *order = NULL;
    const struct feeder_options options = {.input = input,
                                           .model = &bert,
                                           .batch = BATCH,
                                           .slot_count = 2,
                                           .window = WINDOW,
                                           .on_skip = ignore_skip,
                                           .on_filled = ignore_filled};
    assert_int_equal(order_create(WINDOW, sizeof(float), &order, NULL), SHOAL_OK);
    assert_int_equal(feeder_create(&options, &feeder, NULL), SHOAL_OK);
    uint64_t number = 0, next = 0;
    for (int waits = 0; next < ITEMS && waits < 20000;) {
        if (feeder_filled(feeder) == number) {
            platform_sleep_ns(CLOCK_MS);
            waits++;
            continue;
        }
        const struct feeder_batch batch = feeder_get(feeder, number++);
        check_microbatch(&batch, lengths);
        for (uint32_t i = 0; i < batch.items; i++) {
            const float row = (float)batch.list[i].index;
            memcpy(order_put(order, batch.list[i].sequence, batch.list[i].index), &row, sizeof row);
        }
        feeder_release(feeder, number);
        uint64_t item;
        const void *row;
        while (order_next(order, &item, &row)) {
            assert_int_equal(item, next++);
            assert_true(*(const float *)row == (float)item);
        }
    }
    assert_int_equal(next, ITEMS);
    for (int waits = 0; !feeder_ended(feeder) && waits < 20000; waits++) {
        platform_sleep_ns(CLOCK_MS);
    }
    assert_true(feeder_ended(feeder));
    assert_int_equal(feeder_filled(feeder), number);
    feeder_destroy(feeder);
    order_destroy(order);
    return number;
}

static void microbatches_hold_items_of_one_length_and_order_is_restored(void **state) {
    (void)state;
    const char *text = getenv("SHOAL_TEST_SEED");
    const uint64_t seed = text != NULL ? strtoull(text, NULL, 10) : 11;
    print_message("SHOAL_TEST_SEED=%llu\n", (unsigned long long)seed);
    for (uint64_t round = 0; round < 5; round++) {
        int64_t lengths[ITEMS];
        struct input *input = NULL;
        assert_int_equal(
            open_items(write_lengths(seed + round, lengths), NULL, NULL, COLUMNS, &input, NULL),
            SHOAL_OK);
        const uint64_t first = feed_all(input, lengths);
        assert_int_equal(feed_all(input, lengths), first); /* whatever the timing was */
        assert_true(first >= ITEMS / BATCH);
        input_close(input);
    }
}

/* ---- results ---- */

static void rows_that_are_left_out_are_nans(void **state) {
    (void)state;
    struct result_array *array = NULL;
    struct npy *npy = NULL;
    const float row[2] = {1.5F, -2.0F};
    const char *path = in_directory("out.npy");
    assert_int_equal(result_array_open(path, 4, DTYPE_F32, &SHAPE(2), &array, NULL), SHOAL_OK);
    assert_int_equal(result_array_put(array, 1, row, NULL), SHOAL_OK);
    assert_int_equal(result_array_flush(array, NULL), SHOAL_OK);
    assert_int_equal(result_array_put(array, 2, row, NULL), SHOAL_OK);
    assert_int_equal(result_array_close(array, NULL), SHOAL_OK);
    assert_int_equal(npy_open(path, &npy, NULL), SHOAL_OK);
    const struct tensor tensor = npy_tensor(npy);
    const struct shape shape = SHAPE(4, 2);
    assert_true(shape_equal(&tensor.shape, &shape) && tensor.dtype == DTYPE_F32);
    const float *values = tensor.data;
    assert_true(isnan(values[0]) && isnan(values[1]) && isnan(values[6]) && isnan(values[7]));
    assert_memory_equal(values + 2, row, sizeof row);
    assert_memory_equal(values + 4, row, sizeof row);
    npy_close(npy);
    struct shoal_error error;
    assert_int_equal(
        result_array_open(in_directory("no/x.npy"), 1, DTYPE_F32, &SHAPE(1), &array, &error),
        SHOAL_NOT_FOUND);
    assert_int_equal(result_array_open("/dev/full", 1, DTYPE_F32, &SHAPE(70000), &array, &error),
                     SHOAL_OK);
    assert_int_equal(result_array_close(array, &error), SHOAL_NO_SPACE);
    assert_non_null(strstr(error.text, "/dev/full"));
}

static const char *no_label(void *context, uint32_t class_index) {
    (void)context;
    (void)class_index;
    return NULL;
}

static void one_class_is_a_value_and_npy_is_an_array(void **state) {
    (void)state;
    struct results *results = NULL;
    char *text = NULL;
    const struct model_output one = {.name = "logits", .type = {DTYPE_F32, SHAPE(GRAPH_BATCH, 1)}};
    struct results_options options = {.output_path = in_directory("v.jsonl"),
                                      .items = 2,
                                      .classifies = true,
                                      .label = no_label,
                                      .top = 5,
                                      .outputs = &one,
                                      .output_count = 1};
    const float row[1] = {2.5F};
    assert_int_equal(results_create(&options, &results, NULL), SHOAL_OK);
    assert_int_equal(results_add(results, 0, "x", row, NULL), SHOAL_OK);
    assert_int_equal(results_finish(results, NULL), SHOAL_OK);
    results_destroy(results);
    assert_int_equal(file_read(in_directory("v.jsonl"), 1000, &text, NULL, NULL), SHOAL_OK);
    assert_string_equal(text, "{\"item\":\"x\",\"index\":0,\"value\":2.5}\n");
    mem_free(text);
    options.output_path = in_directory("v.npy");
    assert_int_equal(results_create(&options, &results, NULL), SHOAL_OK);
    results_skip(results, 0, "x", "broken");
    assert_int_equal(results_add(results, 1, "y", row, NULL), SHOAL_OK);
    results_destroy(results); /* a run that failed leaves a whole array, too */
    struct npy *npy = NULL;
    assert_int_equal(npy_open(in_directory("v.npy"), &npy, NULL), SHOAL_OK);
    const float *values = npy_tensor(npy).data;
    assert_true(isnan(values[0]) && values[1] == 2.5F);
    npy_close(npy);
}

static int make_directory(void **state) {
    (void)state;
    return file_make_temporary(directory, sizeof directory, NULL) == SHOAL_OK ? 0 : -1;
}

static int remove_directory(void **state) {
    (void)state;
    file_remove_tree(directory);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_an_item),
        cmocka_unit_test(a_table_has_columns_by_name_or_number),
        cmocka_unit_test(columns_that_are_not_there_are_named),
        cmocka_unit_test(texts_become_ids_and_bad_lines_are_named),
        cmocka_unit_test(arrays_of_ids_and_random_ids_are_items),
        cmocka_unit_test(microbatches_hold_items_of_one_length_and_order_is_restored),
        cmocka_unit_test(rows_that_are_left_out_are_nans),
        cmocka_unit_test(one_class_is_a_value_and_npy_is_an_array),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
