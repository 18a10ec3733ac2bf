/* Shared by the sources of onnx.h. */
#ifndef FORMATS_ONNX_ONNX_INTERNAL_H
#define FORMATS_ONNX_ONNX_INTERNAL_H

#include "base/arena.h"
#include "formats/onnx/onnx.h"
#include "formats/onnx/outline.h"

#include <onnx.pb-c.h>

#define ONNX_FILE_LIMIT ((size_t)4096) /* of external data */

/* TensorProto's fields that hold payload. */
enum onnx_payload {
    ONNX_FLOAT_DATA = 4,
    ONNX_INT32_DATA = 5,
    ONNX_STRING_DATA = 6,
    ONNX_INT64_DATA = 7,
    ONNX_RAW_DATA = 9,
    ONNX_DOUBLE_DATA = 10,
    ONNX_UINT64_DATA = 11,
};

/* Message Chunk: checked to lie in the file. */
struct onnx_chunk {
    unsigned field; /* enum onnx_payload */
    bool packed;
    size_t offset, bytes;
};

/* What an open model or data file owns. */
struct onnx_store {
    struct arena arena; /* the structs, and what protobuf-c unpacked */
    struct onnx_file **files;
    size_t file_count, file_capacity;
    char *directory; /* of the model, resolved; NULL: no external data */
};

void onnx_store_init(struct onnx_store *store);
void onnx_store_fini(struct onnx_store *store);

/* Maps path as the store's first file, or takes bytes as if they were one. Errors: file_open's,
 * NO_MEMORY. */
NODISCARD shoal_status onnx_store_open(struct onnx_store *store, const char *path,
                                       struct shoal_error *error);
NODISCARD shoal_status onnx_store_wrap(struct onnx_store *store, const char *name,
                                       const void *bytes, size_t size, struct shoal_error *error);

/* The first file's outline as protobuf-c's message; it lives in the arena. */
NODISCARD shoal_status onnx_store_unpack(struct onnx_store *store, enum outline_root root,
                                         ProtobufCMessage **out, struct shoal_error *error);

/* [count] of size bytes each, zeroed, in the arena; never NULL on success. */
NODISCARD shoal_status onnx_store_array(struct onnx_store *store, size_t count, size_t size,
                                        void *out, struct shoal_error *error);

/* The file that external data's location names, mapped once. Errors: DENIED (it leaves the
 * directory), UNSUPPORTED (no directory), CORRUPT (too many files), file_open's, NO_MEMORY. */
NODISCARD shoal_status onnx_external_file(struct onnx_store *store, const char *location,
                                          const struct onnx_file **out, struct shoal_error *error);

/* Errors: as onnx_open; the text begins with the tensor's name. */
NODISCARD shoal_status onnx_tensor_build(struct onnx_store *store, const Onnx__TensorProto *from,
                                         struct onnx_tensor *out, struct shoal_error *error);
NODISCARD shoal_status onnx_tensors_build(struct onnx_store *store, Onnx__TensorProto *const *from,
                                          size_t count, const struct onnx_tensor **out,
                                          struct shoal_error *error);
NODISCARD shoal_status onnx_model_build(struct onnx_store *store, const Onnx__ModelProto *from,
                                        struct onnx_model *out, struct shoal_error *error);

/* Bits of an element in raw_data; 0 if it has none. */
unsigned onnx_dtype_bits(int onnx);
/* The payload field besides raw_data that a type's elements may stand in; 0 for an unknown type. */
unsigned onnx_dtype_field(int onnx);
const char *onnx_payload_name(unsigned field);

#endif
