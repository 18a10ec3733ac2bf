/* The layout family's kernels, split by concern. Private to layout*.c. */
#ifndef KERNELS_REFERENCE_LAYOUT_H
#define KERNELS_REFERENCE_LAYOUT_H

#include "kernels/reference/reference.h"
#include "kernels/reference/wide.h"
#include "kernels/walk.h"

void reference_transpose(const struct reference_call *call);
void reference_copy(const struct reference_call *call); /* RESHAPE, BITCAST */
void reference_slice(const struct reference_call *call);
void reference_concat(const struct reference_call *call);
void reference_pad(const struct reference_call *call);
void reference_expand(const struct reference_call *call);
void reference_tile(const struct reference_call *call);
void reference_triangle(const struct reference_call *call);

void reference_gather(const struct reference_call *call);
void reference_gather_elements(const struct reference_call *call);
void reference_gather_nd(const struct reference_call *call);
void reference_scatter_elements(const struct reference_call *call);
void reference_scatter_nd(const struct reference_call *call);
void reference_scatter_rows(const struct reference_call *call);
void reference_one_hot(const struct reference_call *call);
void reference_reverse_sequence(const struct reference_call *call);

void reference_top_k(const struct reference_call *call); /* scratch: places, and a copy to sort */

/* n elements of `size` bytes, from_step and to_step elements apart. */
void reference_move(size_t size, const char *from, int64_t from_step, char *to, int64_t to_step,
                    int64_t n);

#endif
