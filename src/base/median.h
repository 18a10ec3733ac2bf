/* The median of measurements: what every figure of ours is. */
#ifndef BASE_MEDIAN_H
#define BASE_MEDIAN_H

#include <stddef.h>

/* Sorts values [count ≥ 1] in ascending order and returns the upper middle one. */
double median_sort(double *values, size_t count);

#endif
