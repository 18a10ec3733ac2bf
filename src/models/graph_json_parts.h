/* Shared by the writing and the reading of graphs. */
#ifndef MODELS_GRAPH_JSON_PARTS_H
#define MODELS_GRAPH_JSON_PARTS_H

#include "models/graph_json.h"

/* Attributes that are not 0, as an object; NULL: no memory. */
json_t *graph_json_attrs(const struct op_attrs *attrs);
/* Errors: CORRUPT, naming the key. */
NODISCARD shoal_status graph_json_read_attrs(const json_t *object, struct op_attrs *out,
                                             struct shoal_error *error);

/* Whether a dimension (GRAPH_BATCH too, where batch says so) and the bytes of a type are within
 * what travels. */
bool graph_json_fits(const struct tensor_type *type, bool batch);

#endif
