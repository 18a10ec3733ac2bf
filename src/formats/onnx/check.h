/*
 * A model against the data sets that come with it: directories of input_0.pb, input_1.pb … and
 * output_0.pb …, serialised tensors, as the ONNX standard's own tests have them. The model is
 * imported for the inputs' shapes, run by the executor, and its outputs are compared as the
 * standard's runner does: |ours − theirs| ≤ atol + rtol·|theirs|, NaN equals NaN, element types and
 * shapes exactly; bfloat16 within two units in the last place.
 *
 * Inputs whose values decide shapes are bound as known, and only these.
 */
#ifndef FORMATS_ONNX_CHECK_H
#define FORMATS_ONNX_CHECK_H

#include "formats/onnx/import.h"

#define CHECK_RTOL 1e-3
#define CHECK_ATOL 1e-7

struct check_options {
    double rtol, atol;
    int threads;
    const struct import_dim *dims;
    size_t dim_count;
    /* NULL: the graph runs as it was imported. */
    shoal_status (*optimise)(const struct graph *graph, struct weight_source *source, void *context,
                             struct graph **out, struct shoal_error *error);
    void *context;
};

struct check_outcome {
    bool agrees;
    uint32_t outputs;            /* compared, up to the first that differs */
    uint64_t known;              /* bit i: the value of the model's input i was bound */
    uint32_t nodes;              /* of the graph that ran */
    double worst;                /* the largest |ours − theirs|, of what is comparable */
    char text[SHOAL_ERROR_TEXT]; /* what differs, if anything does */
};

/*
 * Errors: those of import_model and of reading the files; NOT_FOUND (no output in the directory).
 * Outputs that differ are no error.
 */
NODISCARD shoal_status check_data_set(const struct onnx_model *model, const char *directory,
                                      const struct check_options *options,
                                      struct check_outcome *out, struct shoal_error *error);

#endif
