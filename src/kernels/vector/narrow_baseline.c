#define VECTOR_WIDTH 4
#define NARROW_NAME narrow_baseline
#include "kernels/vector/narrow_variant.h"
