#include "formats/onnx/import_internal.h"

const struct import_converter import_sequence_converters[] = {{NULL, NULL, NULL, 0}};
