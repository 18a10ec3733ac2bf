/* PipeEdge's three YAML files, one after the other with a line "%%" between: read strictly, and
 * solved if they are sound. */
#include "plan/pipeedge.h"
#include "plan/yaml.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const names[3] = {"models.yml", "types.yml", "devices.yml"};
    struct yaml *files[3] = {NULL, NULL, NULL};
    struct shoal_error error;
    bool read = true;
    for (int i = 0; i < 3 && read; i++) {
        const uint8_t *end = i < 2 && size > 0 ? memmem(data, size, "%%\n", 3) : NULL;
        const size_t bytes = end != NULL ? (size_t)(end - data) : size;
        read = yaml_read_text(names[i], (const char *)data, bytes, &files[i], &error) == SHOAL_OK;
        const size_t skip = end != NULL ? bytes + 3 : bytes;
        data += skip;
        size -= skip;
    }
    if (!read) {
        for (int i = 0; i < 3; i++) {
            yaml_destroy(files[i]);
        }
        return 0;
    }
    const struct plan_pipeedge_options options = {.models_path = names[0],
                                                  .types_path = names[1],
                                                  .devices_path = names[2],
                                                  .model = "T",
                                                  .batch = 1,
                                                  .buffers_in = 2,
                                                  .buffers_out = 2};
    struct plan_pipeedge *problem;
    if (plan_pipeedge_build(&options, files[0], files[1], files[2], &problem, &error) != SHOAL_OK) {
        return 0;
    }
    static struct plan_pipeedge_schedule schedule;
    const shoal_status status = plan_pipeedge_solve(problem, NULL, &schedule, &error);
    if (status == SHOAL_OK && schedule.feasible && !(schedule.bottleneck_s >= 0.0)) {
        abort();
    }
    plan_pipeedge_destroy(problem);
    return 0;
}
