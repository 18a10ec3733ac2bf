#define VECTOR_WIDTH 4
#define MAPS_NAME vector_maps_baseline
#include "kernels/vector/map.h"
