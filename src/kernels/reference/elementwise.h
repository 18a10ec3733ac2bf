/* The elementwise family's kernels, split by concern. Private to elementwise*.c. */
#ifndef KERNELS_REFERENCE_ELEMENTWISE_H
#define KERNELS_REFERENCE_ELEMENTWISE_H

#include "kernels/reference/reference.h"
#include "kernels/reference/wide.h"
#include "kernels/walk.h"

void reference_unary(const struct reference_call *call);
void reference_binary(const struct reference_call *call);
void reference_where(const struct reference_call *call);
void reference_cast(const struct reference_call *call);
void reference_reduce(const struct reference_call *call);
void reference_arg_reduce(const struct reference_call *call);
void reference_softmax(const struct reference_call *call);
void reference_cumulate(const struct reference_call *call);
void reference_determinant(const struct reference_call *call); /* scratch [N,N] f64 */

#endif
