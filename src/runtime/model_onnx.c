#include "runtime/model_onnx.h"

#include "base/memory.h"
#include "formats/npy.h"
#include "graph/passes/passes.h"
#include "runtime/input.h"
#include "runtime/onnx_weights.h"

#include <inttypes.h>
#include <string.h>

#define MAX_BATCH 4096
#define MAX_DIMS 64

struct model_onnx {
    struct model_onnx_options options;
    uint32_t skip; /* passes */
    struct weight_source *source;
    const struct onnx_model *model;
    const char *path;
    int64_t batch;
    bool fixed_batch, is_text;
    int64_t fixed_length;
    struct model_graph **graphs; /* all that were made: configurations refer to them */
    size_t graph_count;
};

void model_onnx_close(struct model_onnx *onnx) {
    if (onnx != NULL) {
        for (size_t i = 0; i < onnx->graph_count; i++) {
            model_graph_destroy(onnx->graphs[i]);
        }
        mem_free(onnx->graphs);
        if (onnx->source != NULL) {
            onnx->source->ops->destroy(onnx->source);
        }
        mem_free(onnx);
    }
}

/* ---- what the file says of its inputs ---- */

static bool is_initialiser(const struct onnx_model *model, const char *name) {
    return onnx_graph_initialiser(&model->graph, name) != NULL;
}

/* The index-th input that is fed; NULL beyond the last. */
static const struct onnx_value *fed_input(const struct onnx_model *model, size_t index) {
    for (size_t i = 0; i < model->graph.input_count; i++) {
        const struct onnx_value *input = &model->graph.inputs[i];
        if (!is_initialiser(model, input->name) && index-- == 0) {
            return input;
        }
    }
    return NULL;
}

/* The first dim of all inputs, if the file fixes it; 0: it is open; -1: they differ, or there is
 * none, so that an item can only be everything. */
static int64_t first_dim(const struct onnx_model *model) {
    int64_t found = 0;
    const struct onnx_value *input;
    for (size_t i = 0; (input = fed_input(model, i)) != NULL; i++) {
        if (!input->has_shape || input->rank == 0) {
            return -1;
        }
        const int64_t dim = input->dims[0];
        if (dim >= 0 && found > 0 && dim != found) {
            return -1;
        }
        found = dim >= 0 ? dim : found;
    }
    return found > MAX_BATCH || (found == 0 && fed_input(model, 0) == NULL) ? -1 : found;
}

static shoal_status find_batch(struct model_onnx *onnx, struct shoal_error *error) {
    const int64_t fixed = first_dim(onnx->model), wanted = onnx->options.batch;
    onnx->fixed_batch = fixed != 0;
    onnx->batch = fixed > 0 ? fixed : fixed < 0 || wanted == 0 ? 1 : wanted;
    if (onnx->fixed_batch && wanted != 0 && wanted != onnx->batch) {
        return fixed > 0 ? error_set(error, SHOAL_USAGE,
                                     "--microbatch %" PRId64 ": %s has inputs of %" PRId64
                                     " items, so its microbatch is %" PRId64
                                     " (export it with a symbolic first dimension for others)",
                                     wanted, onnx->path, onnx->batch, onnx->batch)
                         : error_set(error, SHOAL_USAGE,
                                     "--microbatch %" PRId64
                                     ": the inputs of %s have no first dimension in common, so its "
                                     "microbatch is 1",
                                     wanted, onnx->path);
    }
    return SHOAL_OK;
}

static void find_text(struct model_onnx *onnx) {
    const struct onnx_value *input;
    bool ids = false, all = true;
    for (size_t i = 0; (input = fed_input(onnx->model, i)) != NULL; i++) {
        enum input_role role;
        all = all && input_role_of(input->name, &role) && input->rank == 2;
        if (all && role == INPUT_IDS) {
            ids = true;
            onnx->fixed_length = input->dims[1] > 0 ? input->dims[1] : 0;
        }
    }
    onnx->is_text = all && ids;
}

shoal_status model_onnx_open(const char *path, const struct model_onnx_options *options,
                             struct model_onnx **out, struct shoal_error *error) {
    struct model_onnx *onnx = mem_calloc(1, sizeof *onnx);
    if (onnx == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", path);
    }
    onnx->options = *options;
    onnx->path = path;
    shoal_status status = options->skip_passes != NULL
                              ? pass_parse(options->skip_passes, &onnx->skip, error)
                              : SHOAL_OK;
    if (status != SHOAL_OK) {
        status = error_wrap(error, SHOAL_USAGE, "--no-pass");
    } else {
        status = onnx_weights_open(path, &onnx->source, error);
    }
    if (status == SHOAL_OK) {
        onnx->model = onnx_weights_model(onnx->source);
        find_text(onnx);
        status = find_batch(onnx, error);
    }
    if (status != SHOAL_OK) {
        model_onnx_close(onnx);
        return status;
    }
    *out = onnx;
    return SHOAL_OK;
}

bool model_onnx_is_text(const struct model_onnx *onnx) {
    return onnx->is_text;
}

int64_t model_onnx_fixed_length(const struct model_onnx *onnx) {
    return onnx->fixed_length;
}

/* ---- dims ---- */

struct dims {
    struct import_dim list[MAX_DIMS];
    size_t count;
};

static void bind(struct dims *dims, const char *name, int64_t value) {
    for (size_t i = 0; i < dims->count; i++) {
        if (strcmp(dims->list[i].name, name) == 0) {
            return;
        }
    }
    if (name != NULL && name[0] != '\0' && dims->count < MAX_DIMS) {
        dims->list[dims->count++] = (struct import_dim){name, value};
    }
}

/* An array's dims bind those that its input leaves open, but for the first. */
static void bind_array(const struct model_onnx *onnx, const char *argument, struct dims *dims) {
    const struct onnx_value *input = fed_input(onnx->model, 0), *other;
    const char *path = argument;
    for (size_t i = 0; (other = fed_input(onnx->model, i)) != NULL; i++) {
        const size_t length = strlen(other->name);
        if (strncmp(argument, other->name, length) == 0 && argument[length] == '=') {
            input = other;
            path = argument + length + 1;
        }
    }
    struct npy *npy;
    const size_t length = strlen(path);
    if (input == NULL || !input->has_shape || length < 4 ||
        strcmp(path + length - 4, ".npy") != 0 || npy_open(path, &npy, NULL) != SHOAL_OK) {
        return; /* what is wrong with it is said when it is read */
    }
    const struct tensor array = npy_tensor(npy);
    const int extra = input->rank - array.shape.rank; /* 1: one item without a first dimension */
    for (int axis = 1; axis < input->rank && (extra == 0 || extra == 1); axis++) {
        if (input->dims[axis] < 0 && array.shape.dims[axis - extra] > 0) {
            bind(dims, input->dim_params[axis], array.shape.dims[axis - extra]);
        }
    }
    npy_close(npy);
}

static void find_dims(const struct model_onnx *onnx, int64_t length, struct dims *dims) {
    const struct onnx_value *input;
    for (size_t i = 0; i < onnx->options.dim_count; i++) {
        bind(dims, onnx->options.dims[i].name, onnx->options.dims[i].value);
    }
    for (size_t i = 0; length > 0 && (input = fed_input(onnx->model, i)) != NULL; i++) {
        bind(dims, input->dim_params[1], length);
    }
    for (size_t i = 0; i < onnx->options.input_count; i++) {
        bind_array(onnx, onnx->options.inputs[i], dims);
    }
}

/* ---- importing ---- */

/* The model's names of the graph's outputs, in the graph's order. */
static shoal_status name_outputs(const struct model_onnx *onnx, const struct import_result *result,
                                 const char *names[MODEL_MAX_OUTPUTS], struct shoal_error *error) {
    const graph_value_id *ids;
    const uint32_t count = graph_outputs(result->graph, &ids);
    uint32_t named = 0;
    memset(names, 0, MODEL_MAX_OUTPUTS * sizeof *names);
    for (uint32_t i = 0; i < result->output_count; i++) {
        const struct import_binding *output = &result->outputs[i];
        if (output->kind != ONNX_KIND_TENSOR || output->count != 1) {
            return error_set(error, SHOAL_UNSUPPORTED,
                             "%s: output %s is no tensor; such models cannot be run yet",
                             onnx->path, output->name);
        }
        const uint32_t index = output->ports[0].index;
        if (index < MODEL_MAX_OUTPUTS && names[index] == NULL) {
            names[index] = output->name;
            named++;
        }
    }
    return named == count && count == result->output_count
               ? SHOAL_OK
               : error_set(error, SHOAL_UNSUPPORTED,
                           "%s: %" PRIu32 " outputs, of which some are one value or none",
                           onnx->path, result->output_count);
}

/* A graph for items of so many tokens. */
static shoal_status import_at(const struct model_onnx *onnx, int64_t batch, int64_t length,
                              struct import_result *result, const char *names[MODEL_MAX_OUTPUTS],
                              struct graph **out, struct shoal_error *error) {
    struct dims dims = {.count = 0};
    find_dims(onnx, length, &dims);
    const struct import_options options = {
        .batch = batch, .dims = dims.list, .dim_count = dims.count, .assumed = length};
    TRY(import_model(onnx->model, &options, result, error));
    TRY(name_outputs(onnx, result, names, error));
    const struct pass_options passes = {.skip = onnx->skip, .source = onnx->source};
    TRY(graph_optimise(result->graph, &passes, out, error));
    graph_destroy(result->graph); /* its names are copied */
    result->graph = NULL;
    return SHOAL_OK;
}

/* Results and graphs of several lengths, while a model is made of them. */
struct making {
    struct import_result results[MODEL_MAX_LENGTHS];
    struct graph *graphs[MODEL_MAX_LENGTHS];
    const char *names[MODEL_MAX_OUTPUTS];
    uint32_t count;
};

static void making_fini(struct making *making) {
    for (uint32_t i = 0; i < making->count; i++) {
        graph_destroy(making->graphs[i]);
        import_result_fini(&making->results[i]);
    }
}

static shoal_status make(struct model_onnx *onnx, struct making *making, int64_t batch,
                         const int64_t *lengths, uint32_t count, struct model_graph **out,
                         struct shoal_error *error) {
    for (uint32_t i = 0; i < count; i++) {
        struct import_result *result = &making->results[making->count++];
        TRY(import_at(onnx, batch, lengths[i], result, making->names, &making->graphs[i], error));
    }
    TRY(graph_mark_cuts(making->graphs[count - 1], error));
    for (uint32_t i = 0; i + 1 < count; i++) { /* as the longest is cut */
        TRY(graph_copy_cuts(making->graphs[i], making->graphs[count - 1], error));
    }
    const struct model_graph_options options = {.graphs =
                                                    (const struct graph *const *)making->graphs,
                                                .lengths = lengths[0] > 0 ? lengths : NULL,
                                                .count = count,
                                                .batch = batch,
                                                .output_names = making->names};
    return model_graph_create(&options, out, error);
}

static shoal_status make_at(struct model_onnx *onnx, int64_t batch, const int64_t *lengths,
                            uint32_t count, struct model_graph **out, struct shoal_error *error) {
    struct making *making = mem_calloc(1, sizeof *making);
    if (making == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", onnx->path);
    }
    const shoal_status status = make(onnx, making, batch, lengths, count, out, error);
    making_fini(making);
    mem_free(making);
    return status == SHOAL_OK ? SHOAL_OK : error_wrap(error, status, "%s", onnx->path);
}

/* Whether an item's outputs have the same types at all lengths. */
static bool outputs_agree(const struct model_graph *model) {
    int64_t lengths[MODEL_MAX_LENGTHS];
    struct model_output first[MODEL_MAX_OUTPUTS], other[MODEL_MAX_OUTPUTS];
    const uint32_t count = model_graph_lengths(model, lengths);
    const uint32_t outputs = model_graph_outputs(model, lengths[0], first);
    bool agree = true;
    for (uint32_t i = 1; i < count; i++) {
        (void)model_graph_outputs(model, lengths[i], other);
        for (uint32_t k = 0; k < outputs; k++) {
            agree = agree && first[k].type.dtype == other[k].type.dtype &&
                    shape_equal(&first[k].type.shape, &other[k].type.shape);
        }
    }
    return agree;
}

static shoal_status import_text(struct model_onnx *onnx, int64_t length, struct model_graph **out,
                                struct shoal_error *error) {
    int64_t lengths[MODEL_MAX_LENGTHS];
    uint32_t count = 0;
    struct shoal_error why;
    const struct model_config config = {.family = MODEL_BERT, .length = length};
    if (onnx->fixed_length == 0) {
        count = model_lengths(&config, lengths);
    }
    if (count > 1 && make_at(onnx, onnx->batch, lengths, count, out, &why) == SHOAL_OK) {
        if (outputs_agree(*out)) {
            return SHOAL_OK;
        }
        model_graph_destroy(*out);
    }
    const int64_t only = onnx->fixed_length > 0 ? onnx->fixed_length : length;
    return make_at(onnx, onnx->batch, &only, 1, out, error);
}

static shoal_status import_other(struct model_onnx *onnx, struct model_graph **out,
                                 struct shoal_error *error) {
    static const int64_t none = 0;
    const shoal_status status = make_at(onnx, onnx->batch, &none, 1, out, error);
    if (status != SHOAL_UNSUPPORTED || onnx->batch == 1 || !onnx->fixed_batch ||
        onnx->options.batch != 0) {
        return status;
    }
    /* A first dimension that is no number of items: then an item is everything. */
    struct shoal_error why;
    return make_at(onnx, 1, &none, 1, out, &why) == SHOAL_OK ? SHOAL_OK : status;
}

shoal_status model_onnx_import(struct model_onnx *onnx, int64_t length,
                               const struct model_graph **out, struct shoal_error *error) {
    struct model_graph *made = NULL, **grown;
    grown = mem_realloc(onnx->graphs, (onnx->graph_count + 1) * sizeof(struct model_graph *));
    if (grown == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", onnx->path);
    }
    onnx->graphs = grown;
    TRY(onnx->is_text ? import_text(onnx, length, &made, error) : import_other(onnx, &made, error));
    onnx->graphs[onnx->graph_count++] = made;
    *out = made;
    return SHOAL_OK;
}
