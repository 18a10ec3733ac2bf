/* Quantised arithmetic. Included by op.h. */
#ifndef KERNELS_OPS_QUANT_H
#define KERNELS_OPS_QUANT_H

/* (none yet) */
#define OP_LIST_QUANT(X)

#endif
