#define VECTOR_WIDTH 8
#define MAPS_NAME vector_maps_avx2
#include "kernels/vector/map.h"
