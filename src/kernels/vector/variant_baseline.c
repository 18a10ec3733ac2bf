#define VECTOR_WIDTH 4
#define VECTOR_NAME vector_baseline
#include "kernels/vector/variant.h"
