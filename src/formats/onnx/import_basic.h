/* What the converters of the elementwise and layout families share; their files are several. */
#ifndef FORMATS_ONNX_IMPORT_BASIC_H
#define FORMATS_ONNX_IMPORT_BASIC_H

#include "formats/onnx/importer.h"

/* import_cast.c: mode as import_cast_kind. */
enum import_cast_kind { IMPORT_CAST, IMPORT_CAST_LIKE, IMPORT_BITCAST };
NODISCARD shoal_status import_convert_cast(struct import_node *n);

/* import_reduce.c: mode enum reduce_function; 0 greatest, 1 least; enum softmax_function; 0 sum, 1
 * product. */
NODISCARD shoal_status import_convert_reduce(struct import_node *n);
NODISCARD shoal_status import_convert_arg_reduce(struct import_node *n);
NODISCARD shoal_status import_convert_softmax(struct import_node *n);
NODISCARD shoal_status import_convert_cumulate(struct import_node *n);

/* import_index.c */
NODISCARD shoal_status import_convert_gather(struct import_node *n);
NODISCARD shoal_status import_convert_gather_elements(struct import_node *n);
NODISCARD shoal_status import_convert_gather_nd(struct import_node *n);
NODISCARD shoal_status import_convert_scatter_elements(struct import_node *n);
NODISCARD shoal_status import_convert_scatter_nd(struct import_node *n);
NODISCARD shoal_status import_convert_tensor_scatter(struct import_node *n);
NODISCARD shoal_status import_convert_one_hot(struct import_node *n);
NODISCARD shoal_status import_convert_top_k(struct import_node *n);
NODISCARD shoal_status import_convert_reverse_sequence(struct import_node *n);
NODISCARD shoal_status import_convert_features(struct import_node *n); /* ArrayFeatureExtractor */

/* import_constants.c */
NODISCARD shoal_status import_convert_eye_like(struct import_node *n);
NODISCARD shoal_status
import_convert_window(struct import_node *n); /* mode: Hann, Hamming, Blackman */

/* import_slice.c; mode of the last: 0 depth to space, 1 space to depth. */
NODISCARD shoal_status import_convert_slice(struct import_node *n);
NODISCARD shoal_status import_convert_split(struct import_node *n);
NODISCARD shoal_status import_convert_pad(struct import_node *n);
NODISCARD shoal_status import_convert_center_crop_pad(struct import_node *n);
NODISCARD shoal_status import_convert_blocks(struct import_node *n);

/* The axes that a node names as an input (from version `since`) or as an attribute, as [0,rank);
 * *count is -1 where it names none. CORRUPT: out of range or twice. */
NODISCARD shoal_status import_axes(struct import_node *n, uint32_t input, int64_t since, int rank,
                                   int axes[SHAPE_MAX_RANK], int *count);
/* int attribute `name` as an axis of that rank. */
NODISCARD shoal_status import_attr_axis(struct import_node *n, const char *name, int64_t fallback,
                                        int rank, int *out);
/* SLICE of one axis; the range lies inside. */
NODISCARD shoal_status import_slice_axis(struct import_node *n, struct import_value *x, int axis,
                                         int64_t start, int64_t length, struct import_value **out);

#endif
