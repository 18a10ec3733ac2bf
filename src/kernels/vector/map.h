/* The body of one variant of kernels/vector/maps.h: included once by each maps_*.c, as variant.h
 * is. */
#include "kernels/vector/maps.h"

#include "kernels/vector/simd.h"

#include "kernels/vector/map_functions.h"
#include "kernels/vector/map_loops.h"

const struct vector_maps MAPS_NAME = {
    .unary = unary,
    .binary = binary,
    .choose = choose_elements,
    .reduce = reduce,
    .reduce_columns = reduce_columns,
    .transpose = transpose,
};
