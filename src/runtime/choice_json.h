/* A kernel choice as JSON: {"default": SET, "ops": {KEY: SET, ...}}, as it travels and is stored.
 */
#ifndef RUNTIME_CHOICE_JSON_H
#define RUNTIME_CHOICE_JSON_H

#include "kernels/registry.h"

#include <jansson.h>

/* default_set may be NULL (`auto`). NULL when memory is out. */
json_t *choice_to_json(const struct kernel_choice *choice, const char *default_set);

/* Errors: PROTOCOL (naming the key), NO_MEMORY. */
NODISCARD shoal_status choice_from_json(const json_t *document, struct kernel_choice **out,
                                        struct shoal_error *error);

#endif
