#define VECTOR_WIDTH 4
#define NARROW_NAME narrow_dotprod
#include "kernels/vector/narrow_variant.h"
