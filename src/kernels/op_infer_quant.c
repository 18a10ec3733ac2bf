#include "kernels/op_infer.h"

shoal_status op_infer_quant(struct op_inference *in) {
    return op_refuse_attribute(in, "unknown op");
}
