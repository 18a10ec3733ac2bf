#include "kernels/op_infer.h"

static shoal_status infer_binary(struct op_inference *in) {
    struct shape y;
    if (in->attrs->mode < 0 || in->attrs->mode >= BINARY_COUNT) {
        return op_refuse_attribute(in, "unknown function");
    }
    if (in->inputs[0].dtype != DTYPE_F32 || in->inputs[1].dtype != DTYPE_F32) {
        return op_refuse_type(in, in->inputs[in->inputs[0].dtype == DTYPE_F32 ? 1 : 0].dtype);
    }
    TRY(op_broadcast(in, &in->inputs[0].shape, &in->inputs[1].shape, &y));
    op_set_output(in, 0, in->inputs[0].dtype, &y);
    return SHOAL_OK;
}

shoal_status op_infer_elementwise(struct op_inference *in) {
    return in->op == OP_BINARY ? infer_binary(in) : op_refuse_attribute(in, "unknown op");
}
