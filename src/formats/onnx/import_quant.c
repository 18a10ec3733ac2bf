/* Converters of the quant family. */
#include "formats/onnx/importer.h"

const struct import_converter import_quant_converters[] = {
    {NULL, NULL, NULL, 0},
};
