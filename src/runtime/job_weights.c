#include "runtime/job_weights.h"

#include "base/memory.h"
#include "graph/derived.h"
#include "runtime/origin.h"

#include <stdio.h>
#include <string.h>

/* What there is to be brought: each content once, the manifest first. */
struct list {
    struct distribution_content *contents;
    uint32_t count;
    bool *needs;        /* [device][capacity], then [device][count] */
    uint32_t *of_entry; /* content of each of the manifest's entries; UINT32_MAX: not listed */
    size_t capacity;
    uint32_t devices;
};

static void list_fini(struct list *list) {
    mem_free(list->contents);
    mem_free(list->needs);
    mem_free(list->of_entry);
}

static shoal_status list_init(struct list *list, const struct job_options *options,
                              struct shoal_error *error) {
    const struct manifest *manifest = origin_manifest(options->origin);
    *list = (struct list){.capacity = manifest->count + 1, .devices = options->cluster->count};
    list->contents = mem_calloc(list->capacity, sizeof *list->contents);
    list->needs = mem_calloc(list->capacity * list->devices, sizeof *list->needs);
    list->of_entry = mem_calloc(list->capacity, sizeof *list->of_entry);
    if (list->contents == NULL || list->needs == NULL || list->of_entry == NULL) {
        list_fini(list);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a list of %zu tensors",
                         list->capacity);
    }
    memset(list->of_entry, 0xff, list->capacity * sizeof *list->of_entry);
    struct distribution_content *first = &list->contents[list->count++];
    first->name = "the manifest";
    (void)snprintf(first->key, sizeof first->key, "%s", origin_manifest_key(options->origin));
    (void)origin_has(options->origin, first->key, &first->bytes);
    return SHOAL_OK;
}

/* The content of a manifest's entry; tensors of the same bytes are one content. */
static uint32_t list_add(struct list *list, const struct manifest *manifest, size_t entry) {
    if (list->of_entry[entry] != UINT32_MAX) {
        return list->of_entry[entry];
    }
    const struct manifest_entry *tensor = &manifest->entries[entry];
    uint32_t content = 1;
    while (content < list->count && strcmp(list->contents[content].key, tensor->key) != 0) {
        content++;
    }
    if (content == list->count) {
        struct distribution_content *added = &list->contents[list->count++];
        memcpy(added->key, tensor->key, sizeof added->key);
        added->name = tensor->name;
        added->bytes = tensor->bytes;
    }
    list->of_entry[entry] = content;
    return content;
}

/* Who needs what while the list is made. */
struct needing {
    struct list *list;
    const struct manifest *manifest;
    uint32_t device;
};

static shoal_status need_part(void *context, const struct graph_part *part,
                              struct shoal_error *error) {
    const struct needing *needing = context;
    const struct manifest *manifest = needing->manifest;
    const struct manifest_entry *entry = manifest_find(manifest, part->name);
    if (entry == NULL) {
        return error_set(error, SHOAL_NOT_FOUND,
                         "the weights have no tensor '%s', which the model needs", part->name);
    }
    const uint32_t content = list_add(needing->list, manifest, (size_t)(entry - manifest->entries));
    needing->list->needs[(size_t)needing->device * needing->list->capacity + content] = true;
    return SHOAL_OK;
}

/* A derived tensor needs the stored ones that it is computed from. */
static shoal_status need_param(struct list *list, const struct job_options *options,
                               const struct graph *graph, const struct graph_param *param,
                               uint32_t device, struct shoal_error *error) {
    struct needing needing = {list, origin_manifest(options->origin), device};
    for (uint32_t p = 0; p < param->part_count; p++) {
        graph_value_id value;
        if (derived_find(graph, param->parts[p].name, &value)) {
            TRY(derived_visit(graph_constants_get(graph), value, need_part, &needing, error));
        } else {
            TRY(need_part(&needing, &param->parts[p], error));
        }
    }
    return SHOAL_OK;
}

static shoal_status need_stage(struct list *list, const struct job_options *options,
                               const struct graph *graph, const struct plan_stage *stage,
                               graph_param_id *params, struct shoal_error *error) {
    const uint32_t count =
        graph_range_params(graph, stage->first, stage->last, params, graph_param_count(graph));
    list->needs[stage->device * list->capacity] = true;
    for (uint32_t i = 0; i < count; i++) {
        TRY(need_param(list, options, graph, graph_param_get(graph, params[i]), stage->device,
                       error));
    }
    return SHOAL_OK;
}

static shoal_status need_stages(struct list *list, const struct job_options *options,
                                const struct graph *graph, struct shoal_error *error) {
    graph_param_id *params = mem_calloc(graph_param_count(graph) + 1, sizeof *params);
    if (params == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a list of weights");
    }
    shoal_status status = SHOAL_OK;
    for (uint32_t s = 0; s < options->placement->stage_count && status == SHOAL_OK; s++) {
        status = need_stage(list, options, graph, &options->placement->stages[s], params, error);
    }
    mem_free(params);
    return status;
}

/* From rows of capacity to rows of count. */
static void close_rows(struct list *list) {
    for (uint32_t d = 0; d < list->devices; d++) {
        memmove(list->needs + (size_t)d * list->count, list->needs + d * list->capacity,
                list->count * sizeof *list->needs);
    }
}

static shoal_status read_origin(void *context, const char *key, uint64_t offset, void *out,
                                size_t size, size_t *got, struct shoal_error *error) {
    return origin_read(context, key, offset, out, size, got, error);
}

shoal_status job_weights_distribute(const struct job_options *options,
                                    struct distribution_outcome *out, struct shoal_error *error) {
    struct list list;
    struct graph *graphs[MODEL_MAX_LENGTHS];
    uint32_t count = 0;
    TRY(list_init(&list, options, error));
    shoal_status status = model_build_lengths(options->model, graphs, &count, error);
    for (uint32_t i = 0; i < count; i++) {
        if (status == SHOAL_OK) {
            status = need_stages(&list, options, graphs[i], error);
        }
        graph_destroy(graphs[i]);
    }
    if (status == SHOAL_OK) {
        close_rows(&list);
        const struct distribution_options distribution = {.cluster = options->cluster,
                                                          .contents = list.contents,
                                                          .content_count = list.count,
                                                          .needs = list.needs,
                                                          .read = read_origin,
                                                          .read_context = options->origin,
                                                          .on_progress = options->on_transfer,
                                                          .context = options->context};
        status = distribution_run(&distribution, out, error);
    }
    list_fini(&list);
    return status;
}
