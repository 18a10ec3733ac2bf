/*
 * Portable vector C for the elementwise and layout families, compiled once per instruction set as
 * kernels/vector/vector.h says: all of it f32 but where elements are merely moved.
 *
 * Numeric guarantee: an element's result depends neither on its position nor on how many there are;
 * sums over a row are 16 interleaved partial sums, added up in a fixed tree, sums over columns are
 * taken in order. NaN in gives NaN out.
 *
 * Threads: all functions are pure; they work on the calling thread only.
 */
#ifndef KERNELS_VECTOR_MAPS_H
#define KERNELS_VECTOR_MAPS_H

#include "kernels/op.h"

struct vector_maps {
    /* y = function(x) [n], p and q its parameters; y may be x. vector_has_unary says which. */
    void (*unary)(enum unary_function function, float p, float q, const float *x, int64_t n,
                  float *y);
    /* y [n] = function(a, b); steps are 0 (one element for all) or 1; y f32 may be a or b that
     * steps; of comparisons y is bool. vector_has_binary says which. */
    void (*binary)(enum binary_function function, const float *a, int64_t a_step, const float *b,
                   int64_t b_step, int64_t n, void *y);
    /* y [n] = condition ? a : b of elements of 4 bytes; steps 0 or 1. */
    void (*choose)(const uint8_t *condition, int64_t condition_step, const void *a, int64_t a_step,
                   const void *b, int64_t b_step, int64_t n, void *y);
    /* SUM, MEAN, SUM_SQUARE, L1, L2, MAX or MIN of x [n], n ≥ 1. */
    float (*reduce)(enum reduce_function function, const float *x, int64_t n);
    /* The same of the columns of x [rows,n], rows `stride` apart, rows ≥ 1. */
    void (*reduce_columns)(enum reduce_function function, const float *x, int64_t rows,
                           int64_t stride, int64_t n, float *y);
    /* y [rows,columns], rows y_row elements of 4 bytes apart; x holds its columns, x_column
     * apart. */
    void (*transpose)(const void *x, int64_t x_column, int64_t rows, int64_t columns, void *y,
                      int64_t y_row);
};

bool vector_has_unary(int function);
bool vector_has_binary(int function);
bool vector_has_reduce(int function);

/* For the present instruction set (the cap included). */
const struct vector_maps *vector_maps_get(void);

extern const struct vector_maps vector_maps_baseline;
#if defined(__x86_64__)
extern const struct vector_maps vector_maps_avx2;
extern const struct vector_maps vector_maps_avx512;
#endif

#endif
