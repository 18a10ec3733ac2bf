#define VECTOR_WIDTH 16
#define VECTOR_NAME vector_avx512
#include "kernels/vector/variant.h"
