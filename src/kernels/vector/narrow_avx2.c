#define VECTOR_WIDTH 8
#define NARROW_NAME narrow_avx2
#include "kernels/vector/narrow_variant.h"
