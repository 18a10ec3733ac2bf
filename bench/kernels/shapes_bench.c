/*
 * Bits and speed of every distinct matrix product and convolution of five networks, as CSV:
 *
 *   kernels_shapes_bench [--isa NAME] [--header] [--network NAME]
 *
 * A row is one shape on one kernel set (onednn; openblas, with im2col for convolutions; vector, our
 * own) and thread count: a hash of the results at batch 1 and 8, whether the first item's results
 * at batch 2, 3, 4 and 8 are those of batch 1 bit for bit, whether the results are those of one
 * thread, whether a fused residual gives the bits of a separate addition ("-": not a matrix
 * product), and GFLOP/s at batches 1, 2, 3, 4 and 8: the best of repeats that fill about 10 ms,
 * weights as warm as they then are. Threads of two share the machine with nothing else only if
 * nothing else runs.
 */
#include "base/memory.h"
#include "base/random.h"
#include "kernels/blas/blas.h"
#include "kernels/isa.h"
#include "kernels/onednn/onednn.h"
#include "platform/clock.h"

#include "shapes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES = 5, MAX_BATCH = 8 };
static const int batches[BATCHES] = {1, 2, 3, 4, MAX_BATCH};

enum engine { ONEDNN, OPENBLAS, VECTOR, ENGINES };
static const char *const engine_names[ENGINES] = {"onednn", "openblas", "vector"};

static void fail(const char *what) {
    (void)fprintf(stderr, "kernels_shapes_bench: %s\n", what);
    exit(1);
}

static void *allocate(size_t bytes) {
    void *data = mem_alloc_aligned(bytes);
    if (data == NULL) {
        fail("out of memory");
    }
    return data;
}

static size_t floats_of(const struct tensor_type *type) {
    return (size_t)blas_count(type);
}

/* A desc for the layer at a batch; a convolution on OpenBLAS is the product of its im2col matrix.
 */
static struct kernel_desc describe(const struct layer *layer, int64_t batch, int threads,
                                   bool as_product, bool residual) {
    struct op_attrs attrs = {
        .stride = {layer->stride, layer->stride}, .dilation = {1, 1}, .groups = layer->groups};
    struct tensor_type inputs[2] = {{DTYPE_F32, {0}}, {DTYPE_F32, {0}}};
    struct tensor_type params[2] = {{DTYPE_F32, {0}}, {DTYPE_F32, {0}}};
    enum op op = OP_LINEAR;
    if (layer->rows > 0) {
        inputs[0].shape = SHAPE(batch, layer->rows, layer->depth);
        inputs[1].shape = SHAPE(batch, layer->rows, layer->columns);
        params[0].shape = SHAPE(layer->columns, layer->depth);
        params[1].shape = SHAPE(layer->columns);
    } else {
        const int pad = layer->stride == layer->kernel ? 0 : layer->kernel / 2;
        const int64_t out = (layer->size + 2 * pad - layer->kernel) / layer->stride + 1;
        const int64_t per_group = layer->channels / layer->groups;
        for (int i = 0; i < 4; i++) {
            attrs.pad[i] = pad;
        }
        params[1].shape = SHAPE(layer->filters);
        if (as_product) {
            const int64_t depth = per_group * layer->kernel * layer->kernel;
            inputs[0].shape = SHAPE(batch, out * out, depth);
            params[0].shape = SHAPE(layer->filters, depth);
        } else {
            op = OP_CONV2D;
            inputs[0].shape = SHAPE(batch, layer->size, layer->size, layer->channels);
            params[0].shape = SHAPE(layer->filters, per_group, layer->kernel, layer->kernel);
        }
    }
    struct kernel_desc desc;
    struct shoal_error error = {.text = ""};
    if (kernel_describe(op, &attrs, inputs, residual ? 2 : 1, params, 2, threads, &desc, &error) !=
        SHOAL_OK) {
        fail(error.text);
    }
    return desc;
}

/* x [B,H,W,C] → windows [B·OH·OW, KH·KW·C], which is what CBLAS multiplies. */
static void im2col(const struct layer *layer, int64_t batch, const float *x, float *to) {
    const int pad = layer->stride == layer->kernel ? 0 : layer->kernel / 2;
    const int out = (layer->size + 2 * pad - layer->kernel) / layer->stride + 1;
    const size_t pixel = (size_t)layer->channels;
    for (int64_t b = 0; b < batch; b++) {
        const float *image = x + b * layer->size * layer->size * layer->channels;
        for (int i = 0; i < out * out * layer->kernel * layer->kernel; i++, to += pixel) {
            const int window = i / (layer->kernel * layer->kernel);
            const int tap = i % (layer->kernel * layer->kernel);
            const int row = window / out * layer->stride - pad + tap / layer->kernel;
            const int column = window % out * layer->stride - pad + tap % layer->kernel;
            if (row >= 0 && row < layer->size && column >= 0 && column < layer->size) {
                memcpy(to, image + (size_t)(row * layer->size + column) * pixel,
                       pixel * sizeof *to);
            } else {
                memset(to, 0, pixel * sizeof *to);
            }
        }
    }
}

struct data {
    float *x, *w, *bias, *residual; /* of the greatest batch */
    float *columns;                 /* im2col's result, or NULL */
};

static uint64_t hash(const float *values, size_t count) {
    uint64_t state = UINT64_C(0x9E3779B97F4A7C15);
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, &values[i], sizeof bits);
        state = (state ^ bits) * UINT64_C(0xD6E8FEB86659FD93);
        state ^= state >> 32;
    }
    return state;
}

/* Runs the desc; y gets the results; returns the best rate in GFLOP/s over about 10 ms. */
static double run(const struct layer *layer, const struct kernel_desc *desc,
                  const struct kernel_ops *set, const struct data *data, double flops, float *y) {
    struct kernel *kernel = NULL;
    struct kernel_sizes sizes;
    struct shoal_error error = {.text = ""};
    if (set->create(desc, &kernel, &error) != SHOAL_OK) {
        fail(error.text);
    }
    set->sizes(kernel, &sizes);
    void *packed = allocate(sizes.packed_bytes);
    void *scratch = allocate(sizes.scratch_bytes);
    const void *params[2] = {data->w, data->bias};
    const void *inputs[2] = {data->columns != NULL ? data->columns : data->x, data->residual};
    void *outputs[1] = {y};
    if (set->pack(kernel, params, packed, &error) != SHOAL_OK) {
        fail(error.text);
    }
    double best_s = 1e9;
    double total_s = 0;
    for (int i = 0; i < 3 || (total_s < 0.01 && i < 50); i++) {
        const uint64_t start = platform_now_ns();
        if (data->columns != NULL) {
            im2col(layer, desc->inputs[0].shape.dims[0], data->x, data->columns);
        }
        if (set->run(kernel, packed, inputs, outputs, scratch) != SHOAL_OK) {
            fail("a run failed");
        }
        const double seconds = (double)(platform_now_ns() - start) * 1e-9;
        total_s += seconds;
        best_s = seconds < best_s ? seconds : best_s;
    }
    mem_free(packed);
    mem_free(scratch);
    set->destroy(kernel);
    return flops / best_s * 1e-9;
}

static bool residual_fuses(const struct layer *layer, int threads, const struct kernel_ops *set,
                           const struct data *data, const float *plain) {
    const struct kernel_desc desc = describe(layer, 1, threads, false, true);
    const size_t count = floats_of(&desc.outputs[0]);
    float *y = allocate(count * sizeof *y);
    (void)run(layer, &desc, set, data, 1, y);
    bool same = true;
    for (size_t i = 0; i < count; i++) {
        same = same && y[i] == plain[i] + data->residual[i];
    }
    mem_free(y);
    return same;
}

/* Rows for one shape on one engine: threads 1 and 2. */
static void bench(const struct layer *layer, enum engine engine) {
    if (engine == OPENBLAS && layer->groups > 1) {
        return; /* a depthwise convolution is no matrix product */
    }
    const bool product = engine == OPENBLAS && layer->rows == 0;
    const struct kernel_ops *set = engine == ONEDNN ? &kernel_onednn_ops : &kernel_blas_ops;
    const struct kernel_desc most = describe(layer, MAX_BATCH, 1, false, false);
    const struct kernel_desc most_product = describe(layer, MAX_BATCH, 1, product, false);
    const size_t x_count = floats_of(&most.inputs[0]);
    const size_t y_count = floats_of(&most.outputs[0]);
    struct data data = {allocate(x_count * 4), allocate(floats_of(&most.params[0]) * 4),
                        allocate(floats_of(&most.params[1]) * 4), allocate(y_count * 4), NULL};
    random_normal(random_stream(1, "x"), 0, 1, data.x, x_count);
    random_normal(random_stream(1, "w"), 0, 0.05F, data.w, floats_of(&most.params[0]));
    random_normal(random_stream(1, "b"), 0, 1, data.bias, floats_of(&most.params[1]));
    random_normal(random_stream(1, "r"), 0, 1, data.residual, y_count);
    if (product && !(layer->kernel == 1 && layer->stride == 1)) {
        data.columns = allocate(floats_of(&most_product.inputs[0]) * 4);
    }
    float *y = allocate(y_count * 4);
    float *first = allocate(y_count / MAX_BATCH * 4);
    uint64_t one_thread[2] = {0, 0};
    blas_engine_set(engine == OPENBLAS ? BLAS_ENGINE_CBLAS : BLAS_ENGINE_VECTOR);
    for (int threads = 1; threads <= 2; threads++) {
        uint64_t hashes[2] = {0, 0};
        double rates[BATCHES];
        char same[BATCHES] = "";
        char fused = '-';
        for (int i = 0; i < BATCHES; i++) {
            const struct kernel_desc conv = describe(layer, batches[i], threads, false, false);
            const struct kernel_desc desc = describe(layer, batches[i], threads, product, false);
            const double flops =
                op_flops(conv.op, &conv.attrs, conv.inputs, 1, conv.params, 2, conv.outputs);
            rates[i] = run(layer, &desc, set, &data, flops, y);
            if (i == 0) {
                memcpy(first, y, y_count / MAX_BATCH * 4);
                hashes[0] = hash(y, y_count / MAX_BATCH);
                if (layer->rows > 0) {
                    fused = residual_fuses(layer, threads, set, &data, first) ? '1' : '0';
                }
            } else {
                same[i - 1] = memcmp(first, y, y_count / MAX_BATCH * 4) == 0 ? '1' : '0';
            }
        }
        hashes[1] = hash(y, y_count);
        if (threads == 1) {
            memcpy(one_thread, hashes, sizeof hashes);
        }
        char shape[64];
        if (layer->rows > 0) {
            (void)snprintf(shape, sizeof shape, "linear %dx%d>%d", layer->rows, layer->depth,
                           layer->columns);
        } else {
            (void)snprintf(shape, sizeof shape, "%s %d:%d>%d k%d s%d",
                           layer->groups > 1 ? "depthwise" : "conv", layer->size, layer->channels,
                           layer->filters, layer->kernel, layer->stride);
        }
        (void)printf("%s,%s,%s,%d,%s,%08" PRIx32 ",%08" PRIx32 ",%s,%d,%c", layer->network, shape,
                     isa_name(isa_current()), threads, engine_names[engine], (uint32_t)hashes[0],
                     (uint32_t)hashes[1], same, memcmp(one_thread, hashes, sizeof hashes) == 0,
                     fused);
        for (int i = 0; i < BATCHES; i++) {
            (void)printf(",%.1f", rates[i]);
        }
        (void)printf("\n");
        (void)fflush(stdout);
    }
    blas_engine_set(BLAS_ENGINE_AUTO);
    mem_free(data.x);
    mem_free(data.w);
    mem_free(data.bias);
    mem_free(data.residual);
    mem_free(data.columns);
    mem_free(y);
    mem_free(first);
}

int main(int argc, char **argv) {
    const char *isa_text = "native";
    const char *network = NULL;
    bool header = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--header") == 0) {
            header = true;
        } else if (strcmp(argv[i], "--isa") == 0 && i + 1 < argc) {
            isa_text = argv[++i];
        } else if (strcmp(argv[i], "--network") == 0 && i + 1 < argc) {
            network = argv[++i];
        } else {
            fail("usage: kernels_shapes_bench [--isa NAME] [--header] [--network NAME]");
        }
    }
    enum isa isa = ISA_BASELINE;
    struct shoal_error error = {.text = ""};
    if (isa_parse(isa_text, &isa, &error) != SHOAL_OK || isa_cap(isa, argv, &error) != SHOAL_OK) {
        fail(error.text);
    }
    if (header) {
        (void)printf(
            "network,shape,isa,threads,set,hash_b1,hash_b8,item1_same_b2348,same_as_1_thread,"
            "residual_fuses,gflops_b1,gflops_b2,gflops_b3,gflops_b4,gflops_b8\n");
    }
    for (int i = 0; i < LAYERS; i++) {
        if (network == NULL || strcmp(network, layers[i].network) == 0) {
            for (int engine = 0; engine < ENGINES; engine++) {
                bench(&layers[i], (enum engine)engine);
            }
        }
    }
    return 0;
}
