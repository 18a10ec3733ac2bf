#define VECTOR_WIDTH 16
#define NARROW_NAME narrow_avx512_vnni
#include "kernels/vector/narrow_variant.h"
