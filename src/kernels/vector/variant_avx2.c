#define VECTOR_WIDTH 8
#define VECTOR_NAME vector_avx2
#include "kernels/vector/variant.h"
