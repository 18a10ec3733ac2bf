/*
 * Convolutional networks against PyTorch: small ones with random weights (tools/golden/make_cnn.py)
 * on every kernel set, and a trained ResNet-20 on photographs of CIFAR-10, which are not part of
 * the project: that test looks for $SHOAL_SHARED, by default ../shared.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/npy.h"
#include "formats/safetensors.h"
#include "golden.h"
#include "graph/executor.h"
#include "gzip.h"
#include "models/model.h"

#include <limits.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum { LABELS = 10, IMAGES = 2, SIDE = 32, PHOTOGRAPHS = 242, RECORD = 1 + 3 * SIDE * SIDE };

static struct shoal_error error;

#define OK(call)                                   \
    do {                                           \
        if ((call) != SHOAL_OK) {                  \
            fail_msg("%s: %s", #call, error.text); \
        }                                          \
    } while (0)

/* In the order of logits.npy. */
static const struct model_config networks[] = {
    {MODEL_MLP, .name = "mlp", .prefix = "mlp.", .hidden = 16, .layers = 3, .image_size = 8},
    {MODEL_VGG, .name = "vgg11", .prefix = "vgg11.", .hidden = 2, .layers = 11, .intermediate = 8,
     .image_size = 224},
    {MODEL_RESNET, .name = "resnet18", .prefix = "resnet18.", .hidden = 2, .layers = 18,
     .image_size = 64},
    {MODEL_RESNET, .name = "resnet50", .prefix = "resnet50.", .hidden = 2, .layers = 50,
     .image_size = 64},
    {MODEL_MOBILENET, .name = "mobilenet", .prefix = "mobilenet.", .hidden = 8, .layers = 3,
     .intermediate = 1280, .image_size = 64},
    {MODEL_SQUEEZENET, .name = "squeezenet10", .prefix = "squeezenet10.", .hidden = 1, .layers = 10,
     .image_size = 64},
    {MODEL_SQUEEZENET, .name = "squeezenet11", .prefix = "squeezenet11.", .hidden = 1, .layers = 11,
     .image_size = 64},
};

static double relative_error(const float *got, const float *wanted, size_t count) {
    double difference = 0.0, largest = 0.0;
    for (size_t i = 0; i < count; i++) {
        if (!isfinite((double)got[i])) {
            return (double)INFINITY;
        }
        difference = fmax(difference, fabs((double)got[i] - (double)wanted[i]));
        largest = fmax(largest, fabs((double)wanted[i]));
    }
    return difference / largest;
}

/* items images [items,...] through the network, `batch` at a time; set NULL: the preferred one. */
static void classify(const struct model_config *config, struct weight_source *source,
                     const char *set, int64_t batch, const float *pixels, size_t items,
                     float *logits) {
    struct graph *graph = NULL;
    struct kernel_choice *choice = NULL;
    struct executor *executor = NULL;
    struct executor_weights *weights = NULL;
    struct executor_slot *slot = NULL;
    const graph_value_id *in = NULL, *out = NULL;
    OK(model_build(config, &graph, &error));
    OK(kernel_choice_create(&choice, &error));
    if (set != NULL) {
        OK(kernel_choice_set_default(choice, set, &error));
    }
    const struct executor_options options = {.first = 1,
                                             .last = graph_segment_count(graph),
                                             .batch = batch,
                                             .threads = 1,
                                             .choice = choice};
    OK(executor_compile(graph, &options, &executor, &error));
    OK(executor_weights_load(executor, source, &weights, &error));
    OK(executor_slot_create(executor, &slot, &error));
    assert_int_equal(executor_inputs(executor, &in), 1);
    assert_int_equal(executor_outputs(executor, &out), 1);
    for (size_t first = 0; first < items; first += (size_t)batch) {
        const struct tensor x = executor_slot_tensor(slot, in[0]);
        const struct tensor y = executor_slot_tensor(slot, out[0]);
        const size_t values = tensor_bytes(&x) / sizeof *pixels / (size_t)batch;
        memcpy(x.data, pixels + first * values, tensor_bytes(&x));
        OK(executor_run(executor, weights, slot, GRAPH_F, &error));
        memcpy(logits + first * LABELS, y.data, tensor_bytes(&y));
    }
    executor_slot_destroy(slot);
    executor_weights_destroy(weights);
    executor_destroy(executor);
    kernel_choice_destroy(choice);
    graph_destroy(graph);
}

static void networks_compute_what_pytorch_does(void **state) {
    (void)state;
    static float pixels[IMAGES * 224 * 224 * 3];
    char path[1024];
    const char *const paths[] = {golden_path("cnn", "weights.safetensors", path)};
    struct weight_source *source = NULL;
    struct npy *npy = NULL;
    OK(safetensors_open(paths, 1, &source, &error));
    OK(npy_open(golden_path("cnn", "logits.npy", path), &npy, &error));
    const struct tensor wanted = npy_tensor(npy);
    assert_int_equal(wanted.shape.dims[0], sizeof networks / sizeof networks[0]);
    for (size_t i = 0; i < sizeof pixels / sizeof pixels[0]; i++) {
        pixels[i] = ((float)(i * 7919 % 1009) - 504) / 256.0F;
    }
    for (size_t n = 0; n < sizeof networks / sizeof networks[0]; n++) {
        struct model_config config = networks[n];
        config.channels = 3;
        config.labels = LABELS;
        config.layer_norm_eps = 1e-5F;
        for (const struct kernel_ops *const *set = kernel_sets(); *set != NULL; set++) {
            float logits[IMAGES * LABELS];
            classify(&config, source, (*set)->name, IMAGES, pixels, IMAGES, logits);
            const double worst = relative_error(
                logits, (const float *)wanted.data + n * IMAGES * LABELS, IMAGES * LABELS);
            print_message("%-14s %-10s %.1e\n", config.name, (*set)->name, worst);
            assert_true(worst < 1e-4);
        }
    }
    npy_close(npy);
    source->ops->destroy(source);
}

static void shared_path(const char *file, char path[PATH_MAX]) {
    const char *shared = getenv("SHOAL_SHARED"), *root = getenv("SHOAL_SOURCE_DIR");
    (void)snprintf(path, PATH_MAX, "%s%s/data/%s", shared != NULL ? shared : root,
                   shared != NULL ? "" : "/../shared", file);
}

/* CIFAR's record: a label, then red, green and blue [32,32]. */
static void normalise(const unsigned char *record, float *pixels) {
    static const double mean[3] = {0.485, 0.456, 0.406}, std[3] = {0.229, 0.224, 0.225};
    for (size_t i = 0; i < (size_t)SIDE * SIDE; i++) {
        for (size_t c = 0; c < 3; c++) {
            const double value = record[1 + c * SIDE * SIDE + i] / 255.0;
            pixels[i * 3 + c] = (float)((value - mean[c]) / std[c]);
        }
    }
}

static size_t best(const float *logits) {
    size_t most = 0;
    for (size_t i = 1; i < LABELS; i++) {
        most = logits[i] > logits[most] ? i : most;
    }
    return most;
}

static void a_trained_resnet_20_classifies_photographs(void **state) {
    (void)state;
    static unsigned char records[PHOTOGRAPHS * RECORD];
    static float pixels[PHOTOGRAPHS * SIDE * SIDE * 3], logits[PHOTOGRAPHS * LABELS];
    char file[PATH_MAX], weights[PATH_MAX], expected[PATH_MAX];
    shared_path("datasets/cifar10/cifar10_test242.bin.gz", file);
    shared_path("models/resnet_cifar10/resnet20_cifar10.safetensors", weights);
    shared_path("models/resnet_cifar10/resnet20_test242_logits.npy", expected);
    if (access(file, R_OK) != 0 || access(weights, R_OK) != 0 || access(expected, R_OK) != 0) {
        print_message("SKIPPED: no %s\n", file);
        skip();
    }
    const char *const paths[] = {weights};
    struct weight_source *source = NULL;
    struct npy *npy = NULL;
    struct model_config config;
    OK(model_builtin("resnet-20", &config, &error));
    OK(safetensors_open(paths, 1, &source, &error));
    OK(npy_open(expected, &npy, &error));
    assert_true(gzip_read(file, records, sizeof records));
    for (size_t i = 0; i < PHOTOGRAPHS; i++) {
        normalise(records + i * RECORD, pixels + i * SIDE * SIDE * 3);
    }
    const struct tensor wanted = npy_tensor(npy);
    classify(&config, source, NULL, 11, pixels, PHOTOGRAPHS, logits);
    int right = 0;
    for (size_t i = 0; i < PHOTOGRAPHS; i++) {
        right += best(logits + i * LABELS) == records[i * RECORD] ? 1 : 0;
    }
    print_message("%d of %d right, off by %.1e\n", right, (int)PHOTOGRAPHS,
                  relative_error(logits, wanted.data, sizeof logits / sizeof *logits));
    assert_int_equal(right, 224); /* 92.6 % */
    assert_true(relative_error(logits, wanted.data, sizeof logits / sizeof *logits) < 1e-4);
    npy_close(npy);
    source->ops->destroy(source);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(networks_compute_what_pytorch_does),
        cmocka_unit_test(a_trained_resnet_20_classifies_photographs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
