/* ONNX models become graphs or a refusal that says why, within the limits on memory and work. */
#include "base/assert.h"
#include "formats/onnx/import.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void import_once(const struct onnx_model *model, bool collect) {
    const struct import_options options = {.batch = 1,
                                           .assumed = 3,
                                           .collect = collect,
                                           .most_bytes = (size_t)16 << 20,
                                           .most_nodes = 2000,
                                           .most_work = 5e6};
    struct import_result result;
    struct shoal_error error = {.text = ""};
    const shoal_status status = import_model(model, &options, &result, &error);
    if (status == SHOAL_OK) {
        ASSERT((result.graph == NULL) == (result.issue_count > 0));
        ASSERT(collect || result.graph != NULL);
        for (uint32_t i = 0; i < result.issue_count; i++) {
            ASSERT(result.issues[i][0] != '\0');
        }
    } else {
        ASSERT(result.graph == NULL && error.text[0] != '\0');
    }
    import_result_fini(&result);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct onnx_model *model = NULL;
    struct shoal_error error;
    if (onnx_parse("fuzz", data, size, &model, &error) != SHOAL_OK) {
        return 0;
    }
    import_once(model, false);
    import_once(model, true);
    onnx_close(model);
    return 0;
}
