/* Message formats: round trips of random messages, one test per documented error, every truncation.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "wire/bytes.h"
#include "wire/fragment.h"
#include "wire/hello.h"
#include "wire/message.h"

#include <string.h>

#define SPAN_BYTES (1 << 16)

/* Aligned, so that tensors can be read through typed pointers as users do. */
static _Alignas(64) uint8_t span[SPAN_BYTES], again[SPAN_BYTES];
static uint64_t draw_index;

static uint32_t draw(uint32_t below) {
    return random_u32(random_stream(7, "message_test"), draw_index++) % below;
}

static struct tensor draw_tensor(uint8_t *pool) {
    struct tensor tensor = {.dtype = (enum dtype)draw(DTYPE_COUNT),
                            .shape = {.rank = (int)draw(5)},
                            .data = pool + draw(64)};
    for (int i = 0; i < tensor.shape.rank; i++) {
        tensor.shape.dims[i] = draw(6); /* 0 is a dim like any other */
    }
    return tensor;
}

static struct wire_header draw_header(enum wire_kind kind) {
    return (struct wire_header){
        .kind = kind,
        .job = draw(UINT32_MAX) * UINT64_C(0x100000001),
        .generation = draw(UINT32_MAX),
        .from_cell = (uint16_t)draw(65536),
        .from_stage = (uint16_t)draw(65536),
        .from_member = (uint16_t)draw(65536),
        .to_cell = (uint16_t)draw(65536),
        .to_stage = (uint16_t)draw(65536),
        .to_member = (uint16_t)draw(65536),
        .microbatch = UINT64_MAX - draw(1000),
        .step = draw(UINT32_MAX),
        .weight_version = draw(UINT32_MAX),
        .items = draw(1000),
    };
}

static void assert_headers_equal(const struct wire_header *a, const struct wire_header *b) {
    assert_int_equal(a->kind, b->kind);
    assert_true(a->job == b->job && a->microbatch == b->microbatch && a->step == b->step);
    assert_true(a->weight_version == b->weight_version && a->generation == b->generation);
    assert_true(a->from_cell == b->from_cell && a->from_stage == b->from_stage);
    assert_true(a->from_member == b->from_member && a->to_cell == b->to_cell);
    assert_true(a->to_stage == b->to_stage && a->to_member == b->to_member);
    assert_true(a->items == b->items && a->tensor_count == b->tensor_count);
    assert_true(a->text_bytes == b->text_bytes);
}

static void test_round_trip_of_random_data_messages(void **state) {
    (void)state;
    static uint8_t pool[16384];
    for (size_t i = 0; i < sizeof pool; i++) {
        pool[i] = (uint8_t)draw(256);
    }
    const enum wire_kind kinds[] = {WIRE_ACTIVATION, WIRE_RESULT, WIRE_PROBE, WIRE_CHUNK};
    for (int round = 0; round < 2000; round++) {
        struct tensor tensors[WIRE_MAX_TENSORS];
        struct wire_header header = draw_header(kinds[draw(3)]);
        header.tensor_count = 1 + draw(draw(8) == 0 ? WIRE_MAX_TENSORS : 3);
        for (uint32_t i = 0; i < header.tensor_count; i++) {
            tensors[i] = draw_tensor(pool);
        }
        size_t size = 0, used = 0;
        assert_int_equal(wire_size(tensors, header.tensor_count, 0, &size, NULL), SHOAL_OK);
        assert_true(size <= SPAN_BYTES);
        void *payloads[WIRE_MAX_TENSORS];
        memset(span, 0xA5, size);
        assert_int_equal(
            wire_encode(&header, tensors, NULL, span, SPAN_BYTES, payloads, &used, NULL), SHOAL_OK);
        assert_int_equal(used, size);
        struct wire_message message;
        struct shoal_error error = {.text = ""};
        const shoal_status status = wire_decode(span, used, &message, &error);
        if (status != SHOAL_OK) {
            fail_msg("round %d: %s", round, error.text);
        }
        assert_headers_equal(&header, &message.header);
        for (uint32_t i = 0; i < header.tensor_count; i++) {
            assert_int_equal(message.tensors[i].dtype, tensors[i].dtype);
            assert_true(shape_equal(&message.tensors[i].shape, &tensors[i].shape));
            assert_ptr_equal(message.tensors[i].data, payloads[i]);
            assert_int_equal((uintptr_t)payloads[i] % WIRE_ALIGNMENT, 0);
            assert_memory_equal(payloads[i], tensors[i].data, tensor_bytes(&tensors[i]));
        }
        size_t used_again = 0;
        memset(again, 0x5A, used);
        assert_int_equal(wire_encode(&message.header, message.tensors, NULL, again, SPAN_BYTES,
                                     NULL, &used_again, NULL),
                         SHOAL_OK);
        assert_int_equal(used_again, used);
        assert_memory_equal(span, again, used);
    }
}

static void test_round_trip_of_control_messages(void **state) {
    (void)state;
    const enum wire_kind kinds[] = {WIRE_REQUEST, WIRE_REPLY, WIRE_EVENT, WIRE_BYE};
    for (size_t i = 0; i < 4; i++) {
        struct wire_header header = draw_header(kinds[i]);
        const char *text = "{\"a\": 1}";
        header.text_bytes = 8;
        size_t used = 0;
        assert_int_equal(wire_encode(&header, NULL, text, span, SPAN_BYTES, NULL, &used, NULL),
                         SHOAL_OK);
        struct wire_message message;
        assert_int_equal(wire_decode(span, used, &message, NULL), SHOAL_OK);
        assert_headers_equal(&header, &message.header);
        assert_memory_equal(message.text, text, 8);
    }
}

static void test_payloads_left_to_the_caller_are_not_touched(void **state) {
    (void)state;
    const struct tensor tensor = {.dtype = DTYPE_F32, .shape = SHAPE(3, 5)};
    const struct wire_header header = {.kind = WIRE_ACTIVATION, .tensor_count = 1};
    void *payload = NULL;
    size_t used = 0;
    memset(span, 0xEE, 512);
    assert_int_equal(wire_encode(&header, &tensor, NULL, span, SPAN_BYTES, &payload, &used, NULL),
                     SHOAL_OK);
    assert_ptr_equal(payload, span + 192);
    assert_int_equal(used, 192 + 60);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(((uint8_t *)payload)[i], 0xEE);
    }
}

/* A message with two tensors (u8 [5], f32 [2,3]) that every corruption below starts from. */
static size_t sample(void) {
    static uint8_t bytes[5] = {1, 2, 3, 4, 5};
    static float values[6] = {1, 2, 3, 4, 5, 6};
    const struct tensor tensors[2] = {
        {.dtype = DTYPE_U8, .shape = SHAPE(5), .data = bytes},
        {.dtype = DTYPE_F32, .shape = SHAPE(2, 3), .data = values},
    };
    const struct wire_header header = {.kind = WIRE_ACTIVATION, .tensor_count = 2, .items = 1};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, tensors, NULL, span, SPAN_BYTES, NULL, &used, NULL),
                     SHOAL_OK);
    /* header 96, descriptors 2 · 96 → 288, payloads at 320 and 384 */
    assert_int_equal(used, 384 + 24);
    return used;
}

static void expect_decode(size_t size, shoal_status expected, const char *words) {
    struct wire_message message;
    memset(&message, 0x77, sizeof message);
    struct wire_message before = message;
    struct shoal_error error = {.text = ""};
    const shoal_status status = wire_decode(span, size, &message, &error);
    if (status != expected || strstr(error.text, words) == NULL) {
        fail_msg("expected %s with \"%s\", got %s: %s", shoal_status_text(expected), words,
                 shoal_status_text(status), error.text);
    }
    assert_memory_equal(&message, &before, sizeof message); /* outputs unchanged on error */
}

static void test_decode_corrupt_each_field(void **state) {
    (void)state;
    static const struct {
        size_t at, count;
        uint64_t value;
        const char *words;
    } cases[] = {
        {0, 4, 0x12345678, "magic"},
        {6, 2, WIRE_KIND_COUNT, "unknown kind"},
        {6, 2, 65535, "unknown kind"},
        {6, 2, WIRE_PING, "tensors in a message"},
        {6, 2, WIRE_REQUEST, "tensors in a message"},
        {8, 8, 0, "length"},
        {8, 8, 409, "length"},
        {8, 8, UINT64_MAX, "length"},
        {56, 4, 0, "data without tensors"},
        {56, 4, 17, "tensor count"},
        {56, 4, UINT32_MAX, "tensor count"},
        {56, 4, 1, "tensor 0: payload offset"},
        {56, 4, 16, "descriptors outside"},
        {60, 4, 1, "text in a data message"},
        {76, 1, 1, "reserved bytes of the header"},
        {95, 1, 1, "reserved bytes of the header"},
        {96, 2, DTYPE_COUNT, "tensor 0: dtype"},
        {96, 2, 65535, "tensor 0: dtype"},
        {96, 2, DTYPE_F32, "tensor 0: payload length"},
        {98, 2, 9, "tensor 0: rank"},
        {98, 2, 0, "tensor 0: dim 0"},
        {100, 1, 1, "tensor 0: reserved"},
        {96 + 88, 1, 1, "tensor 0: reserved"},
        {96 + 95, 1, 128, "tensor 0: reserved"},
        {104, 8, 0, "tensor 0: payload offset"},
        {104, 8, 321, "tensor 0: payload offset"},
        {104, 8, 384, "tensor 0: payload offset"}, /* would overlap the next */
        {104, 8, UINT64_MAX, "tensor 0: payload offset"},
        {112, 8, 4, "tensor 0: payload length"},
        {112, 8, UINT64_MAX, "tensor 0: payload length"},
        {120, 8, 6, "tensor 0: payload length"},
        {120, 8, UINT64_MAX, "tensor 0: dim 0"}, /* −1 */
        {120, 8, INT64_MAX, "tensor 0: payload length"},
        {128, 8, 1, "tensor 0: dim 1"},                       /* beyond the rank */
        {192 + 24, 8, INT64_MAX, "tensor 1: payload length"}, /* product overflows */
        {192 + 24, 8, 4, "tensor 1: payload length"},
        {325, 1, 1, "tensor 1: padding"},
        {383, 1, 1, "tensor 1: padding"},
        {288, 1, 1, "tensor 0: padding"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const size_t size = sample();
        bytes_put(span + cases[i].at, cases[i].value, cases[i].count);
        expect_decode(size, SHOAL_CORRUPT, cases[i].words);
    }
    /* Consistent in itself, but larger than what came. */
    const size_t size = sample();
    bytes_put(span + 192 + 24, 1000, 8);
    bytes_put(span + 192 + 16, 12000, 8);
    expect_decode(size, SHOAL_CORRUPT, "tensor 1: payload outside");
}

static void test_decode_corrupt_text(void **state) {
    (void)state;
    const struct wire_header header = {.kind = WIRE_REQUEST, .text_bytes = 4};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, "abcd", span, SPAN_BYTES, NULL, &used, NULL),
                     SHOAL_OK);
    bytes_put(span + 60, 5, 4);
    expect_decode(used, SHOAL_CORRUPT, "text outside");
    bytes_put(span + 60, UINT32_MAX, 4);
    expect_decode(used, SHOAL_CORRUPT, "text outside");
    bytes_put(span + 60, 3, 4);
    expect_decode(used, SHOAL_CORRUPT, "after its end");
    bytes_put(span + 60, 0, 4);
    expect_decode(used, SHOAL_CORRUPT, "no text");
    bytes_put(span + 60, 4, 4);
    bytes_put(span + 6, WIRE_PONG, 2);
    expect_decode(used, SHOAL_CORRUPT, "has none");
}

static void test_decode_corrupt_at_every_truncation(void **state) {
    (void)state;
    const size_t size = sample();
    for (size_t length = 0; length < size; length++) {
        uint8_t *exact = mem_alloc(length); /* a sanitizer sees what lies beyond */
        assert_non_null(exact);
        memcpy(exact, span, length);
        struct wire_message message;
        assert_int_equal(wire_decode(exact, length, &message, NULL), SHOAL_CORRUPT);
        if (length >= WIRE_HEADER_BYTES) { /* also with a header that claims the shorter length */
            bytes_put(exact + 8, length, 8);
            assert_int_equal(wire_decode(exact, length, &message, NULL), SHOAL_CORRUPT);
        }
        mem_free(exact);
    }
}

static void test_decode_version_names_both(void **state) {
    (void)state;
    const size_t size = sample();
    bytes_put(span + 4, 4711, 2);
    expect_decode(size, SHOAL_VERSION, "version 4711");
    expect_decode(size, SHOAL_VERSION, "version 2");
    expect_decode(6, SHOAL_VERSION, "version 4711"); /* whatever follows in that version */
}

static void test_encode_invalid(void **state) {
    (void)state;
    size_t used = 0;
    struct tensor tensors[WIRE_MAX_TENSORS + 1] = {{.dtype = DTYPE_U8}};
    struct wire_header header = {.kind = WIRE_ACTIVATION, .tensor_count = WIRE_MAX_TENSORS + 1};
    assert_int_equal(wire_encode(&header, tensors, NULL, span, SPAN_BYTES, NULL, &used, NULL),
                     SHOAL_INVALID);
    header.tensor_count = 1;
    tensors[0].shape = SHAPE(-1);
    assert_int_equal(wire_encode(&header, tensors, NULL, span, SPAN_BYTES, NULL, &used, NULL),
                     SHOAL_INVALID);
    tensors[0].shape = SHAPE(INT64_C(1) << 40);
    assert_int_equal(wire_size(tensors, 1, 0, &used, NULL), SHOAL_INVALID);
    tensors[0].shape = SHAPE(1);
    header.text_bytes = 1;
    assert_int_equal(wire_encode(&header, tensors, "x", span, SPAN_BYTES, NULL, &used, NULL),
                     SHOAL_INVALID);
    header = (struct wire_header){.kind = WIRE_REQUEST};
    assert_int_equal(wire_encode(&header, NULL, NULL, span, SPAN_BYTES, NULL, &used, NULL),
                     SHOAL_INVALID);
    assert_int_equal(wire_size(NULL, 0, WIRE_MAX_MESSAGE_BYTES, &used, NULL), SHOAL_INVALID);
    assert_int_equal(used, 0);
}

static void test_encode_no_space(void **state) {
    (void)state;
    const size_t size = sample();
    struct wire_message message;
    assert_int_equal(wire_decode(span, size, &message, NULL), SHOAL_OK);
    size_t used = 0;
    struct shoal_error error;
    assert_int_equal(
        wire_encode(&message.header, message.tensors, NULL, again, size - 1, NULL, &used, &error),
        SHOAL_NO_SPACE);
    assert_int_equal(used, 0);
    assert_int_equal(
        wire_encode(&message.header, message.tensors, NULL, again, size, NULL, &used, &error),
        SHOAL_OK);
}

static const struct wire_hello hello = {.instance = 77,
                                        .serial = 3,
                                        .message_bytes = 1 << 20,
                                        .control_bytes = 65536,
                                        .window = 2,
                                        .control_window = 256,
                                        .name = "pi-1"};

static void test_hello_round_trip(void **state) {
    (void)state;
    wire_hello_encode(&hello, span);
    struct wire_message message;
    struct wire_hello out;
    assert_int_equal(wire_decode(span, WIRE_HELLO_MESSAGE_BYTES, &message, NULL), SHOAL_OK);
    assert_int_equal(wire_hello_decode(&message, &out, NULL), SHOAL_OK);
    assert_true(out.instance == 77 && out.serial == 3 && out.message_bytes == 1 << 20);
    assert_true(out.control_bytes == 65536 && out.window == 2 && out.control_window == 256);
    assert_false(out.session);
    assert_string_equal(out.name, "pi-1");
    struct wire_hello client = hello;
    client.session = true;
    wire_hello_encode(&client, span);
    assert_int_equal(wire_decode(span, WIRE_HELLO_MESSAGE_BYTES, &message, NULL), SHOAL_OK);
    assert_int_equal(wire_hello_decode(&message, &out, NULL), SHOAL_OK);
    assert_true(out.session);
}

static void test_printable(void **state) {
    (void)state;
    char out[8];
    wire_printable("a\x1b[\xc3\xa9 z and more", 19, out, sizeof out);
    assert_string_equal(out, "a?[?? z");
    wire_printable("ab\0cd", 5, out, sizeof out);
    assert_string_equal(out, "ab");
    wire_printable("abcd", 2, out, sizeof out);
    assert_string_equal(out, "ab");
    wire_printable(NULL, 0, out, sizeof out);
    assert_string_equal(out, "");
}

static void test_fragments(void **state) {
    (void)state;
    uint8_t tag[WIRE_TAG_BYTES];
    struct wire_assembly assembly = {0};
    uint64_t offset = 7;
    wire_tag_encode(1000, 0, tag);
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 400, 999, &offset)); /* limit */
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag - 1, 400, 1000, &offset));
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 0, 1000, &offset));
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 1001, 1000, &offset));
    assert_true(offset == 7 && assembly.total == 0);
    assert_true(wire_assembly_take(&assembly, tag, sizeof tag, 400, 1000, &offset));
    assert_true(offset == 0 && assembly.total == 1000 && assembly.have == 400);
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 400, 1000, &offset)); /* twice */
    wire_tag_encode(1000, 500, tag);
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 100, 1000, &offset)); /* a gap */
    wire_tag_encode(999, 400, tag);
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 100, 1000, &offset));
    wire_tag_encode(1000, 400, tag);
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 601, 1000, &offset));
    assert_true(wire_assembly_take(&assembly, tag, sizeof tag, 600, 1000, &offset));
    assert_true(offset == 400 && assembly.have == assembly.total);
    assembly = (struct wire_assembly){0};
    assert_false(wire_assembly_take(&assembly, tag, sizeof tag, 600, 1000, &offset)); /* a middle */
}

static void test_hello_corrupt(void **state) {
    (void)state;
    static const struct {
        size_t at, count;
        uint64_t value;
        const char *words;
    } cases[] = {
        {16, 8, 95, "message limit"}, {16, 8, UINT64_MAX, "message limit"},
        {24, 4, 0, "control limit"},  {24, 4, UINT32_MAX, "control limit"},
        {28, 4, 0, "window"},         {32, 4, 0, "window"},
        {36, 4, 2, "unknown flags"},  {40, 1, 0, "name"},
        {40 + 63, 1, 'x', "name"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wire_hello_encode(&hello, span);
        bytes_put(span + WIRE_HEADER_BYTES + cases[i].at, cases[i].value, cases[i].count);
        struct wire_message message;
        struct wire_hello out;
        struct shoal_error error = {.text = ""};
        assert_int_equal(wire_decode(span, WIRE_HELLO_MESSAGE_BYTES, &message, NULL), SHOAL_OK);
        assert_int_equal(wire_hello_decode(&message, &out, &error), SHOAL_CORRUPT);
        assert_non_null(strstr(error.text, cases[i].words));
    }
    struct wire_header header = {.kind = WIRE_HELLO, .text_bytes = 5};
    size_t used = 0;
    assert_int_equal(wire_encode(&header, NULL, "hello", span, SPAN_BYTES, NULL, &used, NULL),
                     SHOAL_OK);
    struct wire_message message;
    struct wire_hello out;
    assert_int_equal(wire_decode(span, used, &message, NULL), SHOAL_OK);
    assert_int_equal(wire_hello_decode(&message, &out, NULL), SHOAL_CORRUPT);
}

static void test_random_flips_never_decode_to_another_layout(void **state) {
    (void)state;
    for (int round = 0; round < 20000; round++) {
        const size_t size = sample();
        for (uint32_t flips = 1 + draw(3); flips > 0; flips--) {
            span[draw((uint32_t)size)] ^= (uint8_t)(1u << draw(8));
        }
        struct wire_message message;
        if (wire_decode(span, size, &message, NULL) ==
            SHOAL_OK) { /* flipped a value, not a field */
            size_t used = 0;
            assert_int_equal(wire_encode(&message.header, message.tensors, message.text, again,
                                         SPAN_BYTES, NULL, &used, NULL),
                             SHOAL_OK);
            assert_int_equal(used, size);
            assert_memory_equal(span, again, size);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip_of_random_data_messages),
        cmocka_unit_test(test_round_trip_of_control_messages),
        cmocka_unit_test(test_payloads_left_to_the_caller_are_not_touched),
        cmocka_unit_test(test_decode_corrupt_each_field),
        cmocka_unit_test(test_decode_corrupt_text),
        cmocka_unit_test(test_decode_corrupt_at_every_truncation),
        cmocka_unit_test(test_decode_version_names_both),
        cmocka_unit_test(test_encode_invalid),
        cmocka_unit_test(test_encode_no_space),
        cmocka_unit_test(test_hello_round_trip),
        cmocka_unit_test(test_hello_corrupt),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_printable),
        cmocka_unit_test(test_random_flips_never_decode_to_another_layout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
