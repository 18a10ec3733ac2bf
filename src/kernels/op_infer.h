/* Shape inference, shared by its families (op_infer_*.c). */
#ifndef KERNELS_OP_INFER_H
#define KERNELS_OP_INFER_H

#include "kernels/op.h"

/* What an inference looks at, where it puts what it found, and where it says what is wrong. */
struct op_inference {
    enum op op;
    const struct op_attrs *attrs;
    const struct tensor_type *inputs, *params;
    int input_count, param_count;
    struct tensor_type outputs[OP_MAX_OUTPUTS];
    struct shoal_error *error;
};

/* One per family. Ranks lie within 0..SHAPE_MAX_RANK and sizes have been checked; element types
 * have not. */
NODISCARD shoal_status op_infer_core(struct op_inference *in);
NODISCARD shoal_status op_infer_elementwise(struct op_inference *in);
NODISCARD shoal_status op_infer_layout(struct op_inference *in);
NODISCARD shoal_status op_infer_network(struct op_inference *in);
NODISCARD shoal_status op_infer_quant(struct op_inference *in);

/* Refusals: "<op>: what <shape>", "<op>: what: <a> and <b>", "<op>: what" (UNSUPPORTED). */
NODISCARD shoal_status op_refuse(struct op_inference *in, shoal_status code, const char *what,
                                 const struct shape *shape);
NODISCARD shoal_status op_refuse_pair(struct op_inference *in, const char *what,
                                      const struct shape *a, const struct shape *b);
NODISCARD shoal_status op_refuse_attribute(struct op_inference *in, const char *what);
/* UNSUPPORTED: no kernel takes this type here. */
NODISCARD shoal_status op_refuse_type(struct op_inference *in, enum dtype dtype);

void op_set_output(struct op_inference *in, int index, enum dtype dtype, const struct shape *shape);

/* NumPy's rule; MISMATCH where a and b do not go together. */
NODISCARD shoal_status op_broadcast(struct op_inference *in, const struct shape *a,
                                    const struct shape *b, struct shape *out);

#endif
