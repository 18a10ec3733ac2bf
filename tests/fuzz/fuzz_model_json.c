/*
 * model_config_from_json on arbitrary bytes; what it accepts must round trip, and small ones must
 * build or be refused in order.
 */
#include "base/assert.h"
#include "base/memory.h"
#include "models/model.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct model_config config, again;
    if (model_config_from_json((const char *)data, size, &config, NULL) != SHOAL_OK) {
        return 0;
    }
    char *text = NULL;
    ASSERT(model_config_to_json(&config, &text, NULL) == SHOAL_OK);
    ASSERT(model_config_from_json(text, strlen(text), &again, NULL) == SHOAL_OK);
    ASSERT(again.hidden == config.hidden && again.layers == config.layers &&
           strcmp(again.prefix, config.prefix) == 0);
    mem_free(text);
    model_config_fini(&again);
    struct graph *graph = NULL;
    if (config.family == MODEL_GRAPH) {
        struct graph *graphs[MODEL_MAX_LENGTHS];
        struct model_output outputs[MODEL_MAX_OUTPUTS];
        uint32_t count = 0;
        ASSERT(model_outputs(&config, outputs) > 0 && model_batch(&config) > 0);
        ASSERT(model_build_lengths(&config, graphs, &count, NULL) == SHOAL_OK);
        while (count > 0) {
            graph_destroy(graphs[--count]);
        }
        model_config_fini(&config);
        return 0;
    }
    if (config.layers <= 4 && model_build(&config, &graph, NULL) == SHOAL_OK) {
        ASSERT(graph_segment_count(graph) == 4 * (uint32_t)config.layers);
        ASSERT(graph_param_bytes(graph, 1, graph_segment_count(graph)) > 0);
        graph_destroy(graph);
    }
    return 0;
}
