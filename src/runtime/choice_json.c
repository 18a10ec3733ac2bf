#include "runtime/choice_json.h"

#include "runtime/control.h"

json_t *choice_to_json(const struct kernel_choice *choice, const char *default_set) {
    json_t *document = json_object(), *ops = json_object();
    bool sound = document != NULL && ops != NULL;
    if (sound && default_set != NULL) {
        sound = json_object_set_new(document, "default", json_string(default_set)) == 0;
    }
    for (size_t i = 0; sound && choice != NULL && i < kernel_choice_count(choice); i++) {
        const char *key, *set;
        kernel_choice_at(choice, i, &key, &set);
        sound = json_object_set_new(ops, key, json_string(set)) == 0;
    }
    if (!sound || json_object_set(document, "ops", ops) != 0) {
        json_decref(document);
        document = NULL;
    }
    json_decref(ops);
    return document;
}

static shoal_status fill(const json_t *document, struct kernel_choice *choice,
                         struct shoal_error *error) {
    if (json_object_get(document, "default") != NULL) {
        const char *set;
        TRY(control_text(document, "default", 32, &set, error));
        TRY(kernel_choice_set_default(choice, set, error));
    }
    const json_t *ops;
    TRY(control_object(document, "ops", &ops, error));
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)ops, key, value) {
        const char *set = json_string_value(value);
        if (set == NULL || kernel_set_find(set) == NULL) {
            return error_set(error, SHOAL_PROTOCOL,
                             "kernel choice: no kernel set for '%.100s' that this version knows",
                             key);
        }
        TRY(kernel_choice_put(choice, key, set, error));
    }
    return SHOAL_OK;
}

shoal_status choice_from_json(const json_t *document, struct kernel_choice **out,
                              struct shoal_error *error) {
    struct kernel_choice *choice;
    TRY(kernel_choice_create(&choice, error));
    const shoal_status status = fill(document, choice, error);
    if (status != SHOAL_OK) {
        kernel_choice_destroy(choice);
        return status;
    }
    *out = choice;
    return SHOAL_OK;
}
