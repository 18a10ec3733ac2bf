#include "base/median.h"

#include "base/assert.h"

#include <stdlib.h>

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double median_sort(double *values, size_t count) {
    ASSERT(count > 0);
    qsort(values, count, sizeof *values, compare);
    return values[count / 2];
}
