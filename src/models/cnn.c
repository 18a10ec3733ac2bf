#include "models/cnn.h"

#include "models/cnn_parts.h"

#include <inttypes.h>

/* What a family's configurations may be; the same bounds as those of other families, and far from
 * any overflow. */
struct limits {
    int64_t hidden, intermediate; /* greatest; 0: must be 0 */
    int64_t layers[7]; /* those there are, ended by 0; the first −1: any up to the second */
    int64_t side;      /* the image's least */
};

static const struct limits *limits_of(enum model_family family) {
    static const struct limits mlp = {16384, 0, {-1, 64}, 1}, lenet = {6, 0, {5}, 12},
                               vgg = {1024, 131072, {11, 13, 16, 19}, 224},
                               resnet = {1024, 0, {18, 34, 50, 101, 152, 20}, 32},
                               mobilenet = {1024, 131072, {-1, 7}, 32},
                               squeezenet = {1024, 0, {10, 11}, 32};
    return family == MODEL_MLP         ? &mlp
           : family == MODEL_LENET     ? &lenet
           : family == MODEL_VGG       ? &vgg
           : family == MODEL_RESNET    ? &resnet
           : family == MODEL_MOBILENET ? &mobilenet
                                       : &squeezenet;
}

bool cnn_is(enum model_family family) {
    return family >= MODEL_MLP && family <= MODEL_SQUEEZENET;
}

static shoal_status check_range(const char *field, int64_t value, int64_t low, int64_t high,
                                struct shoal_error *error) {
    return value >= low && value <= high
               ? SHOAL_OK
               : error_set(error, SHOAL_INVALID,
                           "model: %s is %" PRId64 ", it must be from %" PRId64 " to %" PRId64,
                           field, value, low, high);
}

static shoal_status check_layers(const struct model_config *config, const int64_t layers[7],
                                 struct shoal_error *error) {
    if (layers[0] < 0) {
        return check_range("layers", config->layers, 1, layers[1], error);
    }
    for (int i = 0; i < 7 && layers[i] > 0; i++) {
        if (config->layers == layers[i]) {
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_INVALID, "model: there is no %s of layers %" PRId64,
                     model_family_name(config->family), config->layers);
}

/* Fields that other families have. */
static shoal_status check_absent(const struct model_config *config, struct shoal_error *error) {
    TRY(check_range("heads", config->heads, 0, 0, error));
    TRY(check_range("patch_size", config->patch_size, 0, 0, error));
    TRY(check_range("vocabulary", config->vocabulary, 0, 0, error));
    TRY(check_range("positions", config->positions, 0, 0, error));
    TRY(check_range("types", config->types, 0, 0, error));
    TRY(check_range("length", config->length, 0, 0, error));
    if (config->qkv_bias || config->distilled || config->gamma_beta || config->normalise ||
        config->pooling != MODEL_POOL_CLS || config->activation != ACTIVATION_NONE) {
        return error_set(error, SHOAL_INVALID,
                         "model: family %s has no qkv_bias, distilled, gamma_beta, normalise, "
                         "pooling but cls, activation but none",
                         model_family_name(config->family));
    }
    return SHOAL_OK;
}

shoal_status cnn_check(const struct model_config *config, struct shoal_error *error) {
    const struct limits *limits = limits_of(config->family);
    const bool fixed = config->family == MODEL_LENET;
    TRY(check_range("hidden", config->hidden, fixed ? limits->hidden : 1, limits->hidden, error));
    TRY(check_range("intermediate", config->intermediate, limits->intermediate > 0 ? 1 : 0,
                    limits->intermediate, error));
    TRY(check_layers(config, limits->layers, error));
    TRY(check_range("image_size", config->image_size, limits->side, 1024, error));
    if (config->family == MODEL_VGG && config->image_size % 224 != 0) {
        return error_set(error, SHOAL_INVALID,
                         "model: image_size is %" PRId64 ", of a vgg it must be a multiple of 224",
                         config->image_size);
    }
    TRY(check_range("channels", config->channels, 1, 64, error));
    TRY(check_range("labels", config->labels, 1, 1000000, error));
    return check_absent(config, error);
}

shoal_status cnn_build(const struct model_config *config, struct graph *graph,
                       struct shoal_error *error) {
    struct builder b = {config, graph, error, SHOAL_OK};
    struct model_input pixels[MODEL_MAX_INPUTS];
    struct plane x = {0, config->image_size, config->channels};
    (void)model_inputs(config, pixels);
    TRY(graph_add_input(graph, pixels[0].name, pixels[0].type, &x.value, error));
    const graph_value_id logits = config->family == MODEL_MLP         ? cnn_mlp(&b, x)
                                  : config->family == MODEL_LENET     ? cnn_lenet(&b, x)
                                  : config->family == MODEL_VGG       ? cnn_vgg(&b, x)
                                  : config->family == MODEL_RESNET    ? cnn_resnet(&b, x)
                                  : config->family == MODEL_MOBILENET ? cnn_mobilenet(&b, x)
                                                                      : cnn_squeezenet(&b, x);
    TRY(b.status);
    return graph_mark_output(graph, logits, error);
}
