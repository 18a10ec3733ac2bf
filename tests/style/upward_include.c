/* Must not compile: base/ is at the bottom of the house and cannot see graph/. */
#include "base/status.h"

#include "graph/graph.h"
