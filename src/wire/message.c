#include "wire/message.h"

#include "base/assert.h"
#include "base/checked.h"
#include "wire/bytes.h"

#include <string.h>

/* Where each field lies: docs/protocol.md, "Header" and "Tensor descriptor". */
enum header_offset {
    AT_MAGIC = 0,
    AT_VERSION = 4, /* magic and version keep their places in every version to come */
    AT_KIND = 6,
    AT_TOTAL = 8,
    AT_JOB = 16,
    AT_MICROBATCH = 24,
    AT_STEP = 32,
    AT_WEIGHT_VERSION = 40,
    AT_GENERATION = 48,
    AT_ITEMS = 52,
    AT_TENSOR_COUNT = 56,
    AT_TEXT_BYTES = 60,
    AT_ENDS = 64, /* six u16 */
    AT_HEADER_RESERVED = 76,
};

enum descriptor_offset {
    AT_DTYPE = 0,
    AT_RANK = 2,
    AT_DESCRIPTOR_RESERVED_1 = 4,
    AT_OFFSET = 8,
    AT_BYTES = 16,
    AT_DIMS = 24,
    AT_DESCRIPTOR_RESERVED_2 = 88,
};

_Static_assert(AT_DIMS + 8 * SHAPE_MAX_RANK == AT_DESCRIPTOR_RESERVED_2, "dims fill their place");

/* The numbers below are on the wire: who reorders these enums must raise WIRE_VERSION. */
_Static_assert(DTYPE_F32 == 0 && DTYPE_F16 == 1 && DTYPE_BF16 == 2 && DTYPE_F64 == 3, "dtypes");
_Static_assert(DTYPE_I8 == 4 && DTYPE_U8 == 5 && DTYPE_I16 == 6 && DTYPE_U16 == 7, "dtypes");
_Static_assert(DTYPE_I32 == 8 && DTYPE_U32 == 9 && DTYPE_I64 == 10 && DTYPE_U64 == 11, "dtypes");
_Static_assert(DTYPE_BOOL == 12 && DTYPE_F8E4M3FN == 13 && DTYPE_F8E4M3FNUZ == 14, "dtypes");
_Static_assert(DTYPE_F8E5M2 == 15 && DTYPE_F8E5M2FNUZ == 16 && DTYPE_F8E8M0 == 17, "dtypes");
_Static_assert(DTYPE_F4E2M1 == 18 && DTYPE_I4 == 19 && DTYPE_U4 == 20, "dtypes");
_Static_assert(DTYPE_I2 == 21 && DTYPE_U2 == 22, "dtypes");
_Static_assert(WIRE_HELLO == 0 && WIRE_PING == 1 && WIRE_PONG == 2 && WIRE_CREDIT == 3, "kinds");
_Static_assert(WIRE_BYE == 4 && WIRE_REQUEST == 5 && WIRE_REPLY == 6 && WIRE_EVENT == 7, "kinds");
_Static_assert(WIRE_ACTIVATION == 8 && WIRE_RESULT == 9 && WIRE_PROBE == 10 && WIRE_CHUNK == 11,
               "kinds");

const char *wire_kind_name(enum wire_kind kind) {
    static const char *const names[] = {
#define X(code, name) [WIRE_##code] = (name),
        WIRE_KIND_LIST(X)
#undef X
    };
    return (unsigned)kind < WIRE_KIND_COUNT ? names[kind] : "unknown";
}

bool wire_kind_is_data(enum wire_kind kind) {
    return kind == WIRE_ACTIVATION || kind == WIRE_RESULT || kind == WIRE_PROBE ||
           kind == WIRE_CHUNK;
}

bool wire_kind_is_control(enum wire_kind kind) {
    return kind == WIRE_REQUEST || kind == WIRE_REPLY || kind == WIRE_EVENT;
}

/* What a kind may carry; NULL if it may, otherwise the complaint. */
static const char *kind_forbids(enum wire_kind kind, uint32_t tensor_count, size_t text_bytes) {
    if (!wire_kind_is_data(kind) && tensor_count > 0) {
        return "tensors in a message that is not data";
    }
    switch (kind) {
    case WIRE_ACTIVATION:
    case WIRE_RESULT:
    case WIRE_PROBE:
    case WIRE_CHUNK:
        if (tensor_count == 0) {
            return "data without tensors";
        }
        return text_bytes > 0 ? "text in a data message" : NULL;
    case WIRE_HELLO:
    case WIRE_REQUEST:
    case WIRE_REPLY:
    case WIRE_EVENT:
        return text_bytes == 0 ? "no text in a message that needs one" : NULL;
    case WIRE_BYE:
        return NULL; /* the text is the reason */
    case WIRE_PING:
    case WIRE_PONG:
    case WIRE_CREDIT:
        return text_bytes > 0 ? "text in a message that has none" : NULL;
    case WIRE_KIND_COUNT:
    default:
        return "unknown kind";
    }
}

static bool shape_is_sound(const struct tensor *tensor, size_t *bytes) {
    return (unsigned)tensor->dtype < DTYPE_COUNT && tensor->shape.rank >= 0 &&
           tensor->shape.rank <= SHAPE_MAX_RANK &&
           shape_bytes(&tensor->shape, tensor->dtype, bytes) && *bytes <= WIRE_MAX_MESSAGE_BYTES;
}

shoal_status wire_size(const struct tensor *tensors, uint32_t tensor_count, size_t text_bytes,
                       size_t *out, struct shoal_error *error) {
    if (tensor_count > WIRE_MAX_TENSORS) {
        return error_set(error, SHOAL_INVALID, "%u tensors in a message, at most %d are possible",
                         tensor_count, WIRE_MAX_TENSORS);
    }
    if (text_bytes > WIRE_MAX_MESSAGE_BYTES - WIRE_HEADER_BYTES) {
        return error_set(error, SHOAL_INVALID, "%zu bytes of text are too many for a message",
                         text_bytes);
    }
    /* No sum below overflows: at most 16 tensors of at most 1 GiB each. */
    size_t end = WIRE_HEADER_BYTES + (size_t)tensor_count * WIRE_DESCRIPTOR_BYTES + text_bytes;
    for (uint32_t i = 0; i < tensor_count; i++) {
        size_t bytes;
        if (!shape_is_sound(&tensors[i], &bytes)) {
            return error_set(error, SHOAL_INVALID, "tensor %u of the message has no sound shape",
                             i);
        }
        end = round_up_size(end, WIRE_ALIGNMENT) + bytes;
    }
    if (end > WIRE_MAX_MESSAGE_BYTES) {
        return error_set(error, SHOAL_INVALID, "a message of %zu bytes, at most %zu are possible",
                         end, WIRE_MAX_MESSAGE_BYTES);
    }
    *out = end;
    return SHOAL_OK;
}

static void put_header(const struct wire_header *header, size_t total, uint8_t *at) {
    const uint16_t ends[6] = {header->from_cell, header->from_stage, header->from_member,
                              header->to_cell,   header->to_stage,   header->to_member};
    bytes_put(at + AT_MAGIC, WIRE_MAGIC, 4);
    bytes_put(at + AT_VERSION, WIRE_VERSION, 2);
    bytes_put(at + AT_KIND, (uint64_t)header->kind, 2);
    bytes_put(at + AT_TOTAL, total, 8);
    bytes_put(at + AT_JOB, header->job, 8);
    bytes_put(at + AT_MICROBATCH, header->microbatch, 8);
    bytes_put(at + AT_STEP, header->step, 8);
    bytes_put(at + AT_WEIGHT_VERSION, header->weight_version, 8);
    bytes_put(at + AT_GENERATION, header->generation, 4);
    bytes_put(at + AT_ITEMS, header->items, 4);
    bytes_put(at + AT_TENSOR_COUNT, header->tensor_count, 4);
    bytes_put(at + AT_TEXT_BYTES, header->text_bytes, 4);
    for (size_t i = 0; i < 6; i++) {
        bytes_put(at + AT_ENDS + 2 * i, ends[i], 2);
    }
    memset(at + AT_HEADER_RESERVED, 0, WIRE_HEADER_BYTES - AT_HEADER_RESERVED);
}

static void put_descriptor(const struct tensor *tensor, size_t offset, size_t bytes, uint8_t *at) {
    memset(at, 0, WIRE_DESCRIPTOR_BYTES);
    bytes_put(at + AT_DTYPE, (uint64_t)tensor->dtype, 2);
    bytes_put(at + AT_RANK, (uint64_t)tensor->shape.rank, 2);
    bytes_put(at + AT_OFFSET, offset, 8);
    bytes_put(at + AT_BYTES, bytes, 8);
    for (int i = 0; i < tensor->shape.rank; i++) {
        bytes_put(at + AT_DIMS + (ptrdiff_t)8 * i, (uint64_t)tensor->shape.dims[i], 8);
    }
}

shoal_status wire_encode(const struct wire_header *header, const struct tensor *tensors,
                         const char *text, void *span, size_t span_bytes, void **out_payloads,
                         size_t *used, struct shoal_error *error) {
    const char *complaint = kind_forbids(header->kind, header->tensor_count, header->text_bytes);
    if (complaint != NULL) {
        return error_set(error, SHOAL_INVALID, "cannot encode a %s message: %s",
                         wire_kind_name(header->kind), complaint);
    }
    size_t total;
    TRY(wire_size(tensors, header->tensor_count, header->text_bytes, &total, error));
    if (total > span_bytes) {
        return error_set(error, SHOAL_NO_SPACE, "a message of %zu bytes into a span of %zu", total,
                         span_bytes);
    }
    uint8_t *start = span;
    put_header(header, total, start);
    if (header->text_bytes > 0) {
        memcpy(start + WIRE_HEADER_BYTES, text, header->text_bytes);
    }
    size_t end = WIRE_HEADER_BYTES + (size_t)header->tensor_count * WIRE_DESCRIPTOR_BYTES +
                 header->text_bytes;
    for (uint32_t i = 0; i < header->tensor_count; i++) {
        const size_t bytes = tensor_bytes(&tensors[i]);
        const size_t offset = round_up_size(end, WIRE_ALIGNMENT);
        put_descriptor(&tensors[i], offset, bytes,
                       start + WIRE_HEADER_BYTES + (size_t)i * WIRE_DESCRIPTOR_BYTES);
        memset(start + end, 0, offset - end); /* never lets old memory out */
        if (tensors[i].data != NULL && bytes > 0) {
            memcpy(start + offset, tensors[i].data, bytes);
        }
        if (out_payloads != NULL) {
            out_payloads[i] = start + offset;
        }
        end = offset + bytes;
    }
    ASSERT(end == total);
    *used = total;
    return SHOAL_OK;
}

static bool all_zero(const uint8_t *at, size_t count) {
    uint8_t any = 0;
    for (size_t i = 0; i < count; i++) {
        any |= at[i];
    }
    return any == 0;
}

static void get_header(const uint8_t *at, struct wire_header *header) {
    header->kind = (enum wire_kind)bytes_get_u16(at + AT_KIND);
    header->job = bytes_get_u64(at + AT_JOB);
    header->microbatch = bytes_get_u64(at + AT_MICROBATCH);
    header->step = bytes_get_u64(at + AT_STEP);
    header->weight_version = bytes_get_u64(at + AT_WEIGHT_VERSION);
    header->generation = bytes_get_u32(at + AT_GENERATION);
    header->items = bytes_get_u32(at + AT_ITEMS);
    header->tensor_count = bytes_get_u32(at + AT_TENSOR_COUNT);
    header->text_bytes = bytes_get_u32(at + AT_TEXT_BYTES);
    header->from_cell = bytes_get_u16(at + AT_ENDS);
    header->from_stage = bytes_get_u16(at + AT_ENDS + 2);
    header->from_member = bytes_get_u16(at + AT_ENDS + 4);
    header->to_cell = bytes_get_u16(at + AT_ENDS + 6);
    header->to_stage = bytes_get_u16(at + AT_ENDS + 8);
    header->to_member = bytes_get_u16(at + AT_ENDS + 10);
}

static shoal_status decode_header(const uint8_t *at, size_t span_bytes, struct wire_header *out,
                                  struct shoal_error *error) {
    if (span_bytes < AT_KIND) {
        return error_set(error, SHOAL_CORRUPT, "message: %zu bytes are too few for a header",
                         span_bytes);
    }
    if (bytes_get_u32(at + AT_MAGIC) != WIRE_MAGIC) {
        return error_set(error, SHOAL_CORRUPT, "message: magic is 0x%08x, not 0x%08x",
                         bytes_get_u32(at + AT_MAGIC), WIRE_MAGIC);
    }
    if (bytes_get_u16(at + AT_VERSION) != WIRE_VERSION) {
        return error_set(error, SHOAL_VERSION,
                         "message: format version %u, this device speaks version %d",
                         (unsigned)bytes_get_u16(at + AT_VERSION), WIRE_VERSION);
    }
    if (span_bytes < WIRE_HEADER_BYTES) {
        return error_set(error, SHOAL_CORRUPT, "message: %zu bytes are too few for a header",
                         span_bytes);
    }
    if (span_bytes > WIRE_MAX_MESSAGE_BYTES || bytes_get_u64(at + AT_TOTAL) != span_bytes) {
        return error_set(error, SHOAL_CORRUPT, "message: length %llu in the header, %zu bytes came",
                         (unsigned long long)bytes_get_u64(at + AT_TOTAL), span_bytes);
    }
    if (bytes_get_u16(at + AT_KIND) >= WIRE_KIND_COUNT) {
        return error_set(error, SHOAL_CORRUPT, "message: unknown kind %u",
                         (unsigned)bytes_get_u16(at + AT_KIND));
    }
    get_header(at, out);
    if (out->tensor_count > WIRE_MAX_TENSORS) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor count %u", out->tensor_count);
    }
    const char *complaint = kind_forbids(out->kind, out->tensor_count, out->text_bytes);
    if (complaint != NULL) {
        return error_set(error, SHOAL_CORRUPT, "message: kind %s: %s", wire_kind_name(out->kind),
                         complaint);
    }
    if (!all_zero(at + AT_HEADER_RESERVED, WIRE_HEADER_BYTES - AT_HEADER_RESERVED)) {
        return error_set(error, SHOAL_CORRUPT, "message: reserved bytes of the header are not 0");
    }
    return SHOAL_OK;
}

/* *end: where the last payload ended; moved on to this one's end. The descriptor itself lies inside
 * the span. */
static shoal_status decode_tensor(const uint8_t *start, size_t span_bytes, uint32_t index,
                                  size_t *end, struct tensor *out, struct shoal_error *error) {
    const uint8_t *at = start + WIRE_HEADER_BYTES + (size_t)index * WIRE_DESCRIPTOR_BYTES;
    const uint16_t dtype = bytes_get_u16(at + AT_DTYPE);
    const uint16_t rank = bytes_get_u16(at + AT_RANK);
    if (dtype >= DTYPE_COUNT) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor %u: dtype %u", index, dtype);
    }
    if (rank > SHAPE_MAX_RANK) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor %u: rank %u", index, rank);
    }
    if (!all_zero(at + AT_DESCRIPTOR_RESERVED_1, 4) ||
        !all_zero(at + AT_DESCRIPTOR_RESERVED_2, 8)) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor %u: reserved bytes are not 0",
                         index);
    }
    struct tensor tensor = {.dtype = (enum dtype)dtype, .shape = {.rank = rank}};
    for (size_t i = 0; i < SHAPE_MAX_RANK; i++) {
        const uint64_t dim = bytes_get_u64(at + AT_DIMS + 8 * i);
        if (dim > (i < rank ? (uint64_t)INT64_MAX : 0)) {
            return error_set(error, SHOAL_CORRUPT, "message: tensor %u: dim %zu", index, i);
        }
        tensor.shape.dims[i] = (int64_t)dim;
    }
    size_t bytes;
    if (!shape_is_sound(&tensor, &bytes) || bytes_get_u64(at + AT_BYTES) != bytes) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor %u: payload length %llu", index,
                         (unsigned long long)bytes_get_u64(at + AT_BYTES));
    }
    const size_t offset = round_up_size(*end, WIRE_ALIGNMENT);
    if (bytes_get_u64(at + AT_OFFSET) != offset) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor %u: payload offset %llu", index,
                         (unsigned long long)bytes_get_u64(at + AT_OFFSET));
    }
    if (offset > span_bytes || bytes > span_bytes - offset) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor %u: payload outside the message",
                         index);
    }
    if (!all_zero(start + *end, offset - *end)) {
        return error_set(error, SHOAL_CORRUPT, "message: tensor %u: padding is not 0", index);
    }
    tensor.data = (void *)(uintptr_t)(start + offset); /* const by contract */
    *out = tensor;
    *end = offset + bytes;
    return SHOAL_OK;
}

shoal_status wire_decode(const void *span, size_t span_bytes, struct wire_message *out,
                         struct shoal_error *error) {
    const uint8_t *start = span;
    struct wire_message message;
    message.header = (struct wire_header){0}; /* the tensors are left as they are: 1.7 kB */
    TRY(decode_header(start, span_bytes, &message.header, error));
    const uint32_t count = message.header.tensor_count;
    /* At most 96 + 16 · 96 + 2^32: no overflow. */
    size_t end = WIRE_HEADER_BYTES + (size_t)count * WIRE_DESCRIPTOR_BYTES;
    if (end > span_bytes || message.header.text_bytes > span_bytes - end) {
        return error_set(error, SHOAL_CORRUPT, "message: %s outside the message",
                         count > 0 ? "descriptors" : "text");
    }
    message.text = message.header.text_bytes > 0 ? (const char *)start + end : NULL;
    end += message.header.text_bytes;
    for (uint32_t i = 0; i < count; i++) {
        TRY(decode_tensor(start, span_bytes, i, &end, &message.tensors[i], error));
    }
    if (end != span_bytes) {
        return error_set(error, SHOAL_CORRUPT, "message: %zu bytes after its end",
                         span_bytes - end);
    }
    out->header = message.header;
    out->text = message.text;
    memcpy(out->tensors, message.tensors, count * sizeof message.tensors[0]);
    return SHOAL_OK;
}
