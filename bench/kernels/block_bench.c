/*
 * Speed of transformer blocks (ViT-Large by default) composed of the kernels as the executor runs
 * them.
 *
 *   kernels_block_bench [--batch B] [--threads T] [--isa NAME] [--kernels
 * auto|onednn|blas|reference]
 *                       [--layers L] [--seconds S] [--tokens T] [--hidden C] [--heads H] [--ops]
 *
 * L layers with weights of their own run in turn, so that weights come from memory as they do in a
 * model. Prints the median over passes in GFLOP/s (op_flops) and as a fraction of the peak measured
 * beside it. With --ops also each op's share of the time.
 */
#include "base/memory.h"
#include "base/random.h"
#include "kernels/isa.h"
#include "kernels/peak.h"
#include "kernels/registry.h"
#include "platform/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 7, MAX_LAYERS = 32, MAX_PASSES = 4096 };

struct options {
    int64_t batch, tokens, hidden, heads;
    int threads, layers;
    double seconds;
    const char *isa, *kernels;
    bool ops;
};

/* Buffers of the block's values; step i reads inputs and writes output. */
enum value { X, NORMED, QKV, CONTEXT, MIDDLE, UP, VALUES };

struct step {
    const char *name;
    enum op op;
    enum value input, residual, output; /* residual VALUES: none */
    int64_t columns;                    /* of LINEAR, as a multiple of hidden */
    enum activation activation;
};

static const struct step steps[STEPS] = {
    {"norm 1", OP_LAYER_NORM, X, VALUES, NORMED, 1, ACTIVATION_NONE},
    {"qkv", OP_LINEAR, NORMED, VALUES, QKV, 3, ACTIVATION_NONE},
    {"attention", OP_ATTENTION, QKV, VALUES, CONTEXT, 1, ACTIVATION_NONE},
    {"out", OP_LINEAR, CONTEXT, X, MIDDLE, 1, ACTIVATION_NONE},
    {"norm 2", OP_LAYER_NORM, MIDDLE, VALUES, NORMED, 1, ACTIVATION_NONE},
    {"up", OP_LINEAR, NORMED, VALUES, UP, 4, ACTIVATION_GELU_ERF},
    {"down", OP_LINEAR, UP, MIDDLE, X, 1, ACTIVATION_NONE},
};

struct model {
    struct options options;
    struct kernel_desc descs[STEPS];
    const struct kernel_ops *sets[STEPS];
    struct kernel *kernels[STEPS];
    void *packed[MAX_LAYERS][STEPS];
    void *values[VALUES];
    void *scratch;
    double flops; /* of one layer */
    double step_s[STEPS];
};

static void check(shoal_status status, const struct shoal_error *error) {
    if (status != SHOAL_OK) {
        (void)fprintf(stderr, "kernels_block_bench: %s\n", error->text);
        exit(1);
    }
}

static void *allocate(size_t bytes) {
    void *data = mem_alloc_aligned(bytes);
    if (data == NULL) {
        (void)fprintf(stderr, "kernels_block_bench: out of memory\n");
        exit(1);
    }
    memset(data, 0, bytes);
    return data;
}

static size_t bytes_of(const struct tensor_type *type) {
    size_t bytes = 0;
    (void)shape_bytes(&type->shape, type->dtype, &bytes);
    return bytes;
}

static void describe(struct model *model, int index) {
    const struct options *o = &model->options;
    const struct step *step = &steps[index];
    const int64_t widths[VALUES] = {o->hidden, o->hidden, 3 * o->hidden,
                                    o->hidden, o->hidden, 4 * o->hidden};
    const int64_t k = widths[step->input];
    struct op_attrs attrs = {.activation = step->activation};
    struct tensor_type inputs[2] = {{DTYPE_F32, SHAPE(o->batch, o->tokens, k)},
                                    {DTYPE_F32, SHAPE(o->batch, o->tokens, o->hidden)}};
    struct tensor_type params[2] = {{DTYPE_F32, SHAPE(k)}, {DTYPE_F32, SHAPE(k)}};
    int param_count = 2;
    if (step->op == OP_LINEAR) {
        params[0].shape = SHAPE(step->columns * o->hidden, k);
        params[1].shape = SHAPE(step->columns * o->hidden);
    } else if (step->op == OP_ATTENTION) {
        param_count = 0;
        attrs.heads = (int32_t)o->heads;
        attrs.scale = 0.125F;
    } else {
        attrs.epsilon = 1e-6F;
    }
    struct shoal_error error = {.text = ""};
    check(kernel_describe(step->op, &attrs, inputs, step->residual == VALUES ? 1 : 2, params,
                          param_count, o->threads, &model->descs[index], &error),
          &error);
}

static void build_step(struct model *model, int index, size_t *scratch) {
    struct shoal_error error = {.text = ""};
    describe(model, index);
    const struct kernel_desc *desc = &model->descs[index];
    const struct kernel_ops *set = kernel_set_find(model->options.kernels);
    double seconds = 0;
    if (strcmp(model->options.kernels, "auto") == 0) {
        check(kernel_choose(desc, 5, &set, &seconds, &error), &error);
    } else if (set == NULL || !set->supports(desc)) {
        set = kernel_choice_get(NULL, desc);
    }
    model->sets[index] = set;
    check(set->create(desc, &model->kernels[index], &error), &error);
    struct kernel_sizes sizes;
    set->sizes(model->kernels[index], &sizes);
    *scratch = sizes.scratch_bytes > *scratch ? sizes.scratch_bytes : *scratch;
    void *params[OP_MAX_PARAMS] = {NULL};
    for (int layer = 0; layer < model->options.layers; layer++) {
        for (int i = 0; i < desc->param_count; i++) {
            char name[64];
            (void)snprintf(name, sizeof name, "%d.%d.%d", layer, index, i);
            params[i] = params[i] != NULL ? params[i] : allocate(bytes_of(&desc->params[i]));
            if (layer == 0) { /* further layers: the same numbers elsewhere in memory */
                random_normal(random_stream(1, name), 0, 0.02F, params[i],
                              bytes_of(&desc->params[i]) / sizeof(float));
            }
        }
        model->packed[layer][index] = allocate(sizes.packed_bytes);
        check(set->pack(model->kernels[index], (const void *const *)params,
                        model->packed[layer][index], &error),
              &error);
    }
    for (int i = 0; i < desc->param_count; i++) {
        mem_free(params[i]);
    }
    void **output = &model->values[steps[index].output];
    *output = *output != NULL ? *output : allocate(bytes_of(&desc->outputs[0]));
    model->flops += op_flops(desc->op, &desc->attrs, desc->inputs, desc->input_count, desc->params,
                             desc->param_count, desc->outputs);
}

static void run_layer(struct model *model, int layer) {
    for (int i = 0; i < STEPS; i++) {
        const struct step *step = &steps[i];
        const void *inputs[2] = {model->values[step->input],
                                 step->residual == VALUES ? NULL : model->values[step->residual]};
        void *outputs[1] = {model->values[step->output]};
        const uint64_t start = platform_now_ns();
        if (model->sets[i]->run(model->kernels[i], model->packed[layer][i], inputs, outputs,
                                model->scratch) != SHOAL_OK) {
            (void)fprintf(stderr, "kernels_block_bench: %s failed\n", step->name);
            exit(1);
        }
        model->step_s[i] += (double)(platform_now_ns() - start) * 1e-9;
    }
}

static int by_value(const void *a, const void *b) {
    const double left = *(const double *)a;
    const double right = *(const double *)b;
    return (left > right) - (left < right);
}

/* One pass through all layers: seconds by the wall clock and of this thread's processor time. */
static void pass(struct model *model, double *wall_s, double *cpu_s) {
    const double cpu = platform_thread_cpu_s();
    const uint64_t start = platform_now_ns();
    for (int layer = 0; layer < model->options.layers; layer++) {
        run_layer(model, layer);
    }
    *wall_s = (double)(platform_now_ns() - start) * 1e-9;
    *cpu_s = platform_thread_cpu_s() - cpu;
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, by_value);
    return values[count / 2];
}

static void measure(struct model *model) {
    static double rates[MAX_PASSES];
    static double fractions[MAX_PASSES];
    static double cpu_fractions[MAX_PASSES];
    static double peaks[MAX_PASSES];
    const struct options *o = &model->options;
    const size_t input = (size_t)(o->batch * o->tokens * o->hidden);
    const double flops = model->flops * o->layers;
    int passes = 0;
    double wall_s = 0;
    double cpu_s = 0;
    pass(model, &wall_s, &cpu_s); /* warm up */
    memset(model->step_s, 0, sizeof model->step_s);
    double before = peak_f32_gflops(o->threads);
    const uint64_t begin = platform_now_ns();
    while (passes < MAX_PASSES &&
           (passes < 3 || (double)(platform_now_ns() - begin) * 1e-9 < o->seconds)) {
        random_normal(random_stream(1, "x"), 0, 1, model->values[X], input);
        pass(model, &wall_s, &cpu_s);
        const double after = peak_f32_gflops(o->threads);
        peaks[passes] = (before + after) / 2; /* the clock changes from second to second */
        rates[passes] = flops / wall_s * 1e-9;
        fractions[passes] = rates[passes] / peaks[passes];
        cpu_fractions[passes] = flops / cpu_s * 1e-9 / peaks[passes];
        passes++;
        before = after;
    }
    const double rate = median(rates, passes);
    const double peak = median(peaks, passes);
    const double fraction = median(fractions, passes); /* sorts: the last is the best */
    (void)printf("batch %lld threads %d isa %s kernels %s: %.1f GFLOP/s, peak %.1f; of the peak "
                 "beside it: median %.3f best %.3f",
                 (long long)o->batch, o->threads, isa_name(isa_current()), o->kernels, rate, peak,
                 fraction, fractions[passes - 1]);
    if (o->threads == 1) { /* what other programs took from the processor left out */
        const double cpu_fraction = median(cpu_fractions, passes);
        (void)printf("; by processor time: median %.3f best %.3f", cpu_fraction,
                     cpu_fractions[passes - 1]);
    }
    (void)printf(" (%d passes)\n", passes);
    double total = 0;
    for (int i = 0; i < STEPS; i++) {
        total += model->step_s[i];
    }
    for (int i = 0; i < STEPS && model->options.ops; i++) {
        const struct kernel_desc *d = &model->descs[i];
        const double step_flops = op_flops(d->op, &d->attrs, d->inputs, d->input_count, d->params,
                                           d->param_count, d->outputs);
        (void)printf("  %-10s %-9s %5.1f %%  %6.1f GFLOP/s\n", steps[i].name, model->sets[i]->name,
                     100 * model->step_s[i] / total,
                     step_flops * passes * model->options.layers / model->step_s[i] * 1e-9);
    }
}

static struct options parse(int argc, char **argv) {
    struct options o = {1, 197, 1024, 16, 1, 4, 3, "native", "auto", false};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--ops") == 0) {
            o.ops = true;
            continue;
        }
        if (strcmp(argv[i], "--batch") == 0) {
            o.batch = atoll(value);
        } else if (strcmp(argv[i], "--threads") == 0) {
            o.threads = atoi(value);
        } else if (strcmp(argv[i], "--layers") == 0) {
            o.layers = atoi(value);
        } else if (strcmp(argv[i], "--seconds") == 0) {
            o.seconds = atof(value);
        } else if (strcmp(argv[i], "--tokens") == 0) {
            o.tokens = atoll(value);
        } else if (strcmp(argv[i], "--hidden") == 0) {
            o.hidden = atoll(value);
        } else if (strcmp(argv[i], "--heads") == 0) {
            o.heads = atoll(value);
        } else if (strcmp(argv[i], "--isa") == 0) {
            o.isa = value;
        } else if (strcmp(argv[i], "--kernels") == 0) {
            o.kernels = value;
        } else {
            (void)fprintf(stderr, "kernels_block_bench: unknown option %s\n", argv[i]);
            exit(2);
        }
        i++;
    }
    if (o.layers < 1 || o.layers > MAX_LAYERS || o.batch < 1 || o.threads < 1) {
        (void)fprintf(stderr, "kernels_block_bench: value out of range\n");
        exit(2);
    }
    return o;
}

int main(int argc, char **argv) {
    struct model model = {.options = parse(argc, argv)};
    struct shoal_error error = {.text = ""};
    enum isa isa = ISA_BASELINE;
    check(isa_parse(model.options.isa, &isa, &error), &error);
    check(isa_cap(isa, argv, &error), &error);
    size_t scratch = 0;
    for (int i = 0; i < STEPS; i++) {
        build_step(&model, i, &scratch);
    }
    model.scratch = allocate(scratch);
    measure(&model);
    for (int i = 0; i < STEPS; i++) {
        model.sets[i]->destroy(model.kernels[i]);
        for (int layer = 0; layer < model.options.layers; layer++) {
            mem_free(model.packed[layer][i]);
        }
    }
    for (int i = 0; i < VALUES; i++) {
        mem_free(model.values[i]);
    }
    mem_free(model.scratch);
    return 0;
}
