/* Convolutions, pools, normalisations, recurrences and products of any rank. Included by op.h. */
#ifndef KERNELS_OPS_NETWORK_H
#define KERNELS_OPS_NETWORK_H

/* (none yet) */
#define OP_LIST_NETWORK(X)

#endif
