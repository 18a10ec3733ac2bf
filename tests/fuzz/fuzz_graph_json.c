/*
 * graph_from_json on arbitrary bytes; what it accepts must round trip, have sound sums, and compile
 * or be refused in order.
 */
#include "base/assert.h"
#include "graph/executor.h"
#include "models/graph_json.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *write(const struct graph *graph) {
    json_t *document = NULL;
    ASSERT(graph_to_json(graph, &document, NULL) == SHOAL_OK);
    char *text = json_dumps(document, JSON_COMPACT);
    ASSERT(text != NULL);
    json_decref(document);
    return text;
}

static struct graph *read(const char *text, size_t size) {
    struct graph *graph = NULL;
    json_t *document = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    if (document != NULL && graph_from_json(document, &graph, NULL) != SHOAL_OK) {
        graph = NULL;
    }
    json_decref(document);
    return graph;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct graph *graph = read((const char *)data, size);
    if (graph == NULL) {
        return 0;
    }
    char *text = write(graph);
    struct graph *again = read(text, strlen(text));
    ASSERT(again != NULL);
    char *twice = write(again);
    ASSERT(strcmp(text, twice) == 0);
    const uint32_t segments = graph_segment_count(graph);
    if (segments > 0 && graph_node_count(graph) < 1000) {
        const struct executor_options options = {
            .first = 1, .last = segments, .batch = 2, .threads = 1};
        struct executor *executor = NULL;
        ASSERT(graph_flops(graph, 1, segments, 2) >= 0);
        if (executor_compile(graph, &options, &executor, NULL) == SHOAL_OK) {
            executor_destroy(executor);
        }
    }
    free(text);
    free(twice);
    graph_destroy(graph);
    graph_destroy(again);
    return 0;
}
