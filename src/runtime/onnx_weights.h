/*
 * The stored tensors of an ONNX file as a weight source that owns the open file.
 *
 * Threads: as the source that it wraps, any number may borrow.
 */
#ifndef RUNTIME_ONNX_WEIGHTS_H
#define RUNTIME_ONNX_WEIGHTS_H

#include "formats/onnx/onnx.h"

/* Whether a path's name says that it is an ONNX file. */
bool onnx_weights_is(const char *path);

/* Errors: those of onnx_open and onnx_source_create. */
NODISCARD shoal_status onnx_weights_open(const char *path, struct weight_source **out,
                                         struct shoal_error *error);

/* Of an open one, lent as long as it lives: the model, and its stored tensors by name. */
const struct onnx_model *onnx_weights_model(const struct weight_source *source);
const struct onnx_stored *onnx_weights_list(const struct weight_source *source, size_t *count);

#endif
