#define VECTOR_WIDTH 16
#define MAPS_NAME vector_maps_avx512
#include "kernels/vector/map.h"
