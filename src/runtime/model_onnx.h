/*
 * An ONNX file as a model: imported for a microbatch and, if it is a text model, at the lengths of
 * its items; optimised; cut. What devices get is the graph (models/model_graph.h).
 *
 * A text model is one whose inputs are input_ids and, perhaps, attention_mask, token_type_ids and
 * position_ids, all [items, tokens]. If the file leaves the tokens' number open, it is imported at
 * each length of model_lengths; where that makes graphs that could not share their weights, or
 * outputs that depend on the length, at the longest alone.
 *
 * Threads: one.
 */
#ifndef RUNTIME_MODEL_ONNX_H
#define RUNTIME_MODEL_ONNX_H

#include "formats/onnx/import.h"
#include "models/model_graph.h"

struct model_onnx_options {
    int64_t batch; /* 0: the file's, otherwise 1 */
    const struct import_dim *dims;
    size_t dim_count;
    /* --input's: arrays (.npy) there bind the dims that nothing else does. */
    const char *const *inputs;
    size_t input_count;
    const char *skip_passes; /* names with commas; NULL: none */
};

struct model_onnx;

/*
 * Opens and checks the file; nothing is imported yet. options are borrowed. Errors: those of
 * onnx_open; USAGE (a microbatch that the file does not allow, a pass that there is not).
 */
NODISCARD shoal_status model_onnx_open(const char *path, const struct model_onnx_options *options,
                                       struct model_onnx **out, struct shoal_error *error);
void model_onnx_close(struct model_onnx *onnx); /* NULL allowed; ends its graphs */

bool model_onnx_is_text(const struct model_onnx *onnx);
/* Of a text model: the length that the file fixes; 0: any. */
int64_t model_onnx_fixed_length(const struct model_onnx *onnx);

/*
 * Imports the model, a text model for items of up to `length` tokens (0: other models). *out lives
 * until model_onnx_close. Errors: those of import_model, graph_optimise and model_graph_create.
 */
NODISCARD shoal_status model_onnx_import(struct model_onnx *onnx, int64_t length,
                                         const struct model_graph **out, struct shoal_error *error);

#endif
