/* shoal run on texts: what goes in, what comes out, and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "harness.h"

static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\nred\ngreen\nblue\n##ish\n";
static const char table[] =
    "label\tsentence\tother\n"
    "x\tred green\tblue\n"
    "x\t\t\n"
    "x\tgreenish green green green green green green green green green green "
    "green green green green green green green green green green green green "
    "green green green green green green green green green green\tred\n"
    "x\tBlue\tRED\n";

/* "run bert-test ..." with files of the private directory: %V vocabulary, %T table, %O output. */
static void run_text(struct command *command, const char *arguments) {
    char text[4096] = "";
    size_t used = 0;
    for (const char *at = arguments; *at != '\0'; at++) {
        const char *name = NULL;
        if (at[0] == '%') {
            at++;
            name = *at == 'V'   ? "vocab.txt"
                   : *at == 'T' ? "table.tsv"
                   : *at == 'L' ? "lines.txt"
                   : *at == 'N' ? "out.npy"
                                : "out.jsonl";
        }
        used += (size_t)(name != NULL ? snprintf(text + used, sizeof text - used, "%s/%s",
                                                 harness_directory, name)
                                      : snprintf(text + used, sizeof text - used, "%c", *at));
    }
    harness_write(harness_path("vocab.txt"), vocab, sizeof vocab - 1);
    harness_write(harness_path("table.tsv"), table, sizeof table - 1);
    harness_write(harness_path("lines.txt"), "red\ngreen", 9);
    command_run(command, text);
}

static json_t *line_of(const char *text, size_t number) {
    for (; number > 0; number--) {
        text = strchr(text, '\n');
        assert_non_null(text);
        text++;
    }
    json_t *line = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(line);
    return line;
}

static void check_line(const char *text, size_t number, const char *item, bool good) {
    json_t *line = line_of(text, number);
    const char *name = json_string_value(json_object_get(line, "item"));
    assert_non_null(name);
    assert_string_equal(name + strlen(name) - strlen(item), item);
    assert_int_equal(json_integer_value(json_object_get(line, "index")), number);
    assert_true((json_object_get(line, "top") != NULL) == good);
    assert_true((json_object_get(line, "error") != NULL) == !good);
    json_decref(line);
}

static void texts_become_labels_and_bad_lines_are_counted(void **state) {
    (void)state;
    struct command command;
    run_text(&command,
             "run bert-test --vocab %V --input %T --pair other --microbatch 2 --threads 1 "
             "--devices 2 --output %O");
    if (command.status != 1) { /* one item was left out */
        fail_msg("ended with %d: %s", command.status, command.error);
    }
    assert_non_null(strstr(command.error, "table.tsv:3: no tokens in this line"));
    assert_non_null(strstr(command.error, "1 items could not be read"));
    command_free(&command);
    char *text = harness_read(harness_path("out.jsonl"));
    assert_non_null(text);
    assert_int_equal(count_lines(text), 4);
    static const char *const names[] = {"table.tsv:2", "table.tsv:3", "table.tsv:4", "table.tsv:5"};
    for (size_t i = 0; i < 4; i++) {
        check_line(text, i, names[i], i != 1);
    }
    free(text);
}

static void texts_are_the_same_on_any_devices(void **state) {
    (void)state;
    char digests[3][65];
    static const char *const devices[] = {"--devices 1", "--devices 3 --cuts 2,9",
                                          "--devices 2 --in-process"};
    for (size_t i = 0; i < 3; i++) {
        char text[512];
        struct command command;
        (void)snprintf(text, sizeof text,
                       "run bert-test --vocab %%V --input %%T %%L --microbatch 2 --threads 1 "
                       "--kernels reference --json %s",
                       devices[i]);
        run_text(&command, text);
        assert_int_equal(command.status, 1);
        json_t *document = command_json(&command);
        assert_int_equal(json_integer_value(json_object_get(document, "items")), 5);
        assert_int_equal(json_integer_value(json_object_get(document, "failed_items")), 1);
        const char *digest = json_string_value(json_object_get(document, "output_digest"));
        assert_non_null(digest);
        (void)snprintf(digests[i], sizeof digests[i], "%s", digest);
        json_decref(document);
        command_free(&command);
    }
    assert_string_equal(digests[0], digests[1]);
    assert_string_equal(digests[0], digests[2]);
}

static void an_array_has_a_row_for_every_item(void **state) {
    (void)state;
    struct command command;
    run_text(&command, "run bert-test --vocab %V --input %T --in-process --threads 1 --output %N");
    assert_int_equal(command.status, 1);
    command_free(&command);
    FILE *file = fopen(harness_path("out.npy"), "rb");
    assert_non_null(file);
    char bytes[512];
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    (void)fclose(file);
    float rows[4][3];
    assert_int_equal(size, 128 + sizeof rows);
    assert_non_null(memmem(bytes, 128, "(4, 3)", 6));
    memcpy(rows, bytes + 128, sizeof rows);
    for (size_t i = 0; i < 4; i++) {
        for (size_t c = 0; c < 3; c++) {
            assert_true((isnan(rows[i][c]) != 0) == (i == 1));
        }
    }
}

static void what_cannot_be_is_refused_and_says_the_way_out(void **state) {
    (void)state;
    static const struct {
        const char *arguments, *text;
    } cases[] = {
        {"run bert-test --input %T", "the model has no vocabulary; give one (--vocab"},
        {"run bert-test --vocab %V --input %T --column text", "it has: label, sentence, other"},
        {"run bert-test --vocab %V --input %T --pair text", "--pair text: the first line"},
        {"run bert-test --vocab %V --input %L --column text", "are for tables"},
        {"run bert-test --vocab %V --input %L --max-length 200", "no more than 128 positions"},
        {"run vit-test --vocab %V --input random:1", "--vocab is for text models"},
        {"run vit-test --max-length 12 --input random:1", "--max-length is for text models"},
        {"run bert-test --vocab %T --input %L", "no token [UNK]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct command command;
        run_text(&command, cases[i].arguments);
        if (command.status == 0 || strstr(command.error, cases[i].text) == NULL) {
            fail_msg("%s ended with %d: %s", cases[i].arguments, command.status, command.error);
        }
        assert_int_equal(command.status, i == 7 ? 1 : 2);
        command_free(&command);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_become_labels_and_bad_lines_are_counted),
        cmocka_unit_test(texts_are_the_same_on_any_devices),
        cmocka_unit_test(an_array_has_a_row_for_every_item),
        cmocka_unit_test(what_cannot_be_is_refused_and_says_the_way_out),
    };
    return cmocka_run_group_tests(tests, harness_setup, harness_teardown);
}
