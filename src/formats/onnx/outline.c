#include "formats/onnx/outline.h"

#include "base/memory.h"
#include "formats/onnx/schema.h"
#include "formats/onnx/varint.h"
#include "formats/unicode.h"

#include <stdbool.h>
#include <string.h>

/* A message's length is known only when it is done; room for it is left in front: five bytes of
 * varint, the most that protobuf-c reads. */
#define LENGTH_BYTES ((size_t)5)

struct frame {
    const struct schema_message *message;
    const unsigned char *end; /* in the file */
    size_t length_at;         /* in the outline: where its length goes */
    uint32_t seen;            /* bit i: the message's field i has occurred */
};

struct walk {
    const unsigned char *start, *at;
    struct frame stack[ONNX_DEPTH_LIMIT];
    size_t depth;
    size_t messages;
    unsigned char *out;
    size_t size, capacity;
};

/* One field as it stands in the file. */
struct item {
    const unsigned char *tag_at;
    uint64_t tag;
    unsigned wire;
    const unsigned char *value; /* first byte: of the varint, the number, or after a length */
    size_t bytes;               /* of value */
};

#define FAIL(walk, code, ...) fail((walk), error, error_set(error, (code), __VA_ARGS__))

static shoal_status fail(const struct walk *walk, struct shoal_error *error, shoal_status code) {
    return error_wrap(error, code, "at byte %zu, in a %s", (size_t)(walk->at - walk->start),
                      walk->stack[walk->depth - 1].message->name);
}

static shoal_status reserve(struct walk *walk, size_t more, struct shoal_error *error) {
    if (more > ONNX_OUTLINE_LIMIT - walk->size) {
        return FAIL(walk, SHOAL_CORRUPT, "its structure without tensors is above %zu MiB",
                    ONNX_OUTLINE_LIMIT >> 20);
    }
    if (walk->size + more <= walk->capacity) {
        return SHOAL_OK;
    }
    size_t capacity = walk->capacity > 0 ? walk->capacity : 4096;
    while (capacity < walk->size + more) {
        capacity *= 2;
    }
    unsigned char *grown = mem_realloc(walk->out, capacity);
    if (grown == NULL) {
        return FAIL(walk, SHOAL_NO_MEMORY, "no memory for a structure of %zu bytes", capacity);
    }
    walk->out = grown;
    walk->capacity = capacity;
    return SHOAL_OK;
}

static void put_varint(struct walk *walk, uint64_t value) {
    while (value >= 0x80) {
        walk->out[walk->size++] = (unsigned char)(value | 0x80);
        value >>= 7;
    }
    walk->out[walk->size++] = (unsigned char)value;
}

static void put_fixed64(struct walk *walk, uint64_t value) {
    for (unsigned i = 0; i < 8; i++) {
        walk->out[walk->size++] = (unsigned char)(value >> (8 * i));
    }
}

static shoal_status read_item(struct walk *walk, struct item *item, struct shoal_error *error) {
    const unsigned char *end = walk->stack[walk->depth - 1].end, *next = walk->at;
    uint64_t length = 0;
    item->tag_at = walk->at;
    if (!varint_read(&next, end, &item->tag) || item->tag >> 3 == 0 || item->tag > UINT32_MAX) {
        return FAIL(walk, SHOAL_CORRUPT, "there is no field here: cut off, or not an ONNX file");
    }
    item->wire = (unsigned)(item->tag & 7);
    item->value = next;
    switch (item->wire) {
    case WIRE_VARINT:
        if (!varint_read(&next, end, &length)) {
            return FAIL(walk, SHOAL_CORRUPT, "a number is cut off");
        }
        item->bytes = (size_t)(next - item->value);
        return SHOAL_OK;
    case WIRE_FIXED64:
    case WIRE_FIXED32:
        item->bytes = item->wire == WIRE_FIXED64 ? 8 : 4;
        break;
    case WIRE_BYTES:
        if (!varint_read(&next, end, &length)) {
            return FAIL(walk, SHOAL_CORRUPT, "a length is cut off");
        }
        item->value = next;
        if (length > (uint64_t)(end - next)) {
            return FAIL(walk, SHOAL_CORRUPT,
                        "field %u is %llu bytes long, but only %zu are left: cut off or damaged",
                        (unsigned)(item->tag >> 3), (unsigned long long)length,
                        (size_t)(end - next));
        }
        item->bytes = (size_t)length;
        return SHOAL_OK;
    default:
        return FAIL(walk, SHOAL_CORRUPT, "field %u has the unknown wire type %u",
                    (unsigned)(item->tag >> 3), item->wire);
    }
    if (item->bytes > (size_t)(end - next)) {
        return FAIL(walk, SHOAL_CORRUPT, "a number is cut off");
    }
    return SHOAL_OK;
}

static bool wire_fits(const struct schema_field *field, const struct item *item) {
    static const unsigned own[] = {
        [SCHEMA_VARINT] = WIRE_VARINT,   [SCHEMA_FIXED32] = WIRE_FIXED32,
        [SCHEMA_FIXED64] = WIRE_FIXED64, [SCHEMA_BYTES] = WIRE_BYTES,
        [SCHEMA_TEXT] = WIRE_BYTES,      [SCHEMA_MESSAGE] = WIRE_BYTES,
    };
    return item->wire == own[field->kind] || (field->repeated && item->wire == WIRE_BYTES);
}

/* What protobuf-c would take on trust in packed numbers. */
static bool packed_is_whole(const struct schema_field *field, const struct item *item) {
    if (item->wire != WIRE_BYTES || field->kind == SCHEMA_BYTES || item->bytes == 0) {
        return true;
    }
    if (field->kind == SCHEMA_FIXED32 || field->kind == SCHEMA_FIXED64) {
        return item->bytes % (field->kind == SCHEMA_FIXED32 ? 4 : 8) == 0;
    }
    return field->kind != SCHEMA_VARINT || (item->value[item->bytes - 1] & 0x80) == 0;
}

static bool is_text(const unsigned char *at, const unsigned char *end) {
    while (at < end) {
        uint32_t point = 0;
        const size_t bytes = unicode_decode(at, end, &point);
        if (point == 0 || (point == UNICODE_REPLACEMENT && (bytes != 3 || at[0] != 0xEF))) {
            return false;
        }
        at += bytes;
    }
    return true;
}

/* Following fields of the same tag belong to the same run. */
static shoal_status end_of_run(struct walk *walk, const struct item *first,
                               struct shoal_error *error) {
    const unsigned char *end = walk->stack[walk->depth - 1].end;
    while (walk->at < end) {
        const unsigned char *next = walk->at;
        uint64_t tag = 0;
        struct item item;
        if (!varint_read(&next, end, &tag) || tag != first->tag) {
            break;
        }
        TRY(read_item(walk, &item, error));
        walk->at = item.value + item.bytes;
    }
    return SHOAL_OK;
}

static shoal_status count_message(struct walk *walk, struct shoal_error *error) {
    return ++walk->messages <= ONNX_MESSAGE_LIMIT
               ? SHOAL_OK
               : FAIL(walk, SHOAL_CORRUPT, "more than %zu messages", ONNX_MESSAGE_LIMIT);
}

static shoal_status put_chunk(struct walk *walk, const struct schema_field *field,
                              const struct item *item, struct shoal_error *error) {
    const bool packed =
        item->wire == WIRE_BYTES && (field->kind != SCHEMA_BYTES || field->number == 9);
    const unsigned char *start = packed ? item->value : item->tag_at;
    TRY(count_message(walk, error));
    TRY(reserve(walk, 32, error));
    walk->at = item->value + item->bytes;
    if (!packed) {
        TRY(end_of_run(walk, item, error));
    }
    put_varint(walk, SCHEMA_CHUNK_FIELD << 3 | WIRE_BYTES);
    put_varint(walk, 22);
    put_varint(walk, 1 << 3 | WIRE_VARINT);
    put_varint(walk, field->number);
    put_varint(walk, 2 << 3 | WIRE_VARINT);
    put_varint(walk, packed);
    put_varint(walk, 3 << 3 | WIRE_FIXED64);
    put_fixed64(walk, (uint64_t)(start - walk->start));
    put_varint(walk, 4 << 3 | WIRE_FIXED64);
    put_fixed64(walk, (uint64_t)(walk->at - start));
    return SHOAL_OK;
}

static shoal_status enter(struct walk *walk, const struct schema_field *field,
                          const struct item *item, struct shoal_error *error) {
    struct frame *frame = &walk->stack[walk->depth - 1];
    const uint32_t bit = UINT32_C(1) << (field - frame->message->fields);
    if (!field->repeated && (frame->seen & bit) != 0) {
        return FAIL(walk, SHOAL_CORRUPT, "field %u occurs twice", field->number);
    }
    if (walk->depth == ONNX_DEPTH_LIMIT) {
        return FAIL(walk, SHOAL_CORRUPT, "nested deeper than %d messages", ONNX_DEPTH_LIMIT);
    }
    frame->seen |= bit;
    TRY(count_message(walk, error));
    TRY(reserve(walk, 10 + LENGTH_BYTES, error));
    put_varint(walk, item->tag);
    walk->stack[walk->depth++] = (struct frame){
        .message = field->message, .end = item->value + item->bytes, .length_at = walk->size};
    walk->size += LENGTH_BYTES;
    walk->at = item->value;
    return SHOAL_OK;
}

static void leave(struct walk *walk) {
    const size_t at = walk->stack[--walk->depth].length_at;
    size_t length = walk->size - at - LENGTH_BYTES;
    for (size_t i = 0; i < LENGTH_BYTES; i++) {
        walk->out[at + i] = (unsigned char)((length & 0x7f) | (i + 1 < LENGTH_BYTES ? 0x80 : 0));
        length >>= 7;
    }
}

static shoal_status copy_item(struct walk *walk, const struct item *item,
                              struct shoal_error *error) {
    TRY(reserve(walk, 20 + item->bytes, error));
    put_varint(walk, item->tag);
    if (item->wire == WIRE_BYTES) {
        put_varint(walk, item->bytes);
    }
    if (item->bytes > 0) {
        memcpy(walk->out + walk->size, item->value, item->bytes);
    }
    walk->size += item->bytes;
    walk->at = item->value + item->bytes;
    return SHOAL_OK;
}

static shoal_status step(struct walk *walk, struct shoal_error *error) {
    struct item item;
    TRY(read_item(walk, &item, error));
    const struct schema_field *field =
        schema_find(walk->stack[walk->depth - 1].message, item.tag >> 3);
    if (field == NULL) {
        walk->at = item.value + item.bytes;
        return SHOAL_OK;
    }
    if (!wire_fits(field, &item)) {
        return FAIL(walk, SHOAL_CORRUPT, "field %u has wire type %u, which does not fit it",
                    field->number, item.wire);
    }
    if (!packed_is_whole(field, &item)) {
        return FAIL(walk, SHOAL_CORRUPT, "the numbers packed into field %u are cut off",
                    field->number);
    }
    if (field->payload) {
        return put_chunk(walk, field, &item, error);
    }
    if (field->kind == SCHEMA_MESSAGE) {
        return enter(walk, field, &item, error);
    }
    if (field->kind == SCHEMA_TEXT && !is_text(item.value, item.value + item.bytes)) {
        return FAIL(walk, SHOAL_CORRUPT, "the text of field %u is not UTF-8 or holds a zero byte",
                    field->number);
    }
    return copy_item(walk, &item, error);
}

shoal_status outline_make(enum outline_root root, const unsigned char *bytes, size_t size,
                          struct outline *out, struct shoal_error *error) {
    static const struct schema_message *const roots[] = {
        [OUTLINE_MODEL] = &schema_model,
        [OUTLINE_TENSOR] = &schema_tensor,
        [OUTLINE_SEQUENCE] = &schema_sequence,
        [OUTLINE_OPTIONAL] = &schema_optional,
    };
    static const unsigned char nothing[1] = {0};
    bytes = bytes != NULL ? bytes : nothing;
    struct walk walk = {.start = bytes, .at = bytes, .depth = 1};
    walk.stack[0] = (struct frame){.message = roots[root], .end = bytes + size};
    shoal_status status = reserve(&walk, 1, error);
    while (status == SHOAL_OK) {
        if (walk.at < walk.stack[walk.depth - 1].end) {
            status = step(&walk, error);
        } else if (walk.depth > 1) {
            leave(&walk);
        } else {
            break;
        }
    }
    if (status != SHOAL_OK) {
        mem_free(walk.out);
        return status;
    }
    out->bytes = walk.out;
    out->size = walk.size;
    return SHOAL_OK;
}
