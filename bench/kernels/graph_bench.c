/*
 * Every distinct op of a built-in model on every kernel set: where a model's time goes, and which
 * set is best at what.
 *
 *   kernels_graph_bench MODEL [--batch B] [--threads T] [--isa NAME] [--repeats R] [--op NAME]
 *
 * Per op: how often it occurs, microseconds and GFLOP/s per set, in order of time; then the sums.
 * Weights come from memory and inputs are warm (kernel_measure).
 */
#include "graph/graph.h"
#include "kernels/isa.h"
#include "kernels/registry.h"
#include "models/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 512, SETS = 2 };
static const char *const set_names[SETS] = {"blas", "onednn"};

struct row {
    char key[KERNEL_KEY_TEXT];
    struct kernel_desc desc;
    int count;
    double seconds[SETS]; /* 0: not supported */
    double best;
};

static struct row rows[MAX_ROWS];
static int row_count;

struct options {
    const char *model, *isa, *op;
    int64_t batch;
    int threads, repeats;
};

static bool parse(int argc, char **argv, struct options *o) {
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (argv[i][0] != '-') {
            o->model = argv[i];
            continue;
        }
        if (value == NULL) {
            return false;
        }
        if (strcmp(argv[i], "--batch") == 0) {
            o->batch = atoll(value);
        } else if (strcmp(argv[i], "--threads") == 0) {
            o->threads = atoi(value);
        } else if (strcmp(argv[i], "--repeats") == 0) {
            o->repeats = atoi(value);
        } else if (strcmp(argv[i], "--isa") == 0) {
            o->isa = value;
        } else if (strcmp(argv[i], "--op") == 0) {
            o->op = value;
        } else {
            return false;
        }
        i++;
    }
    return o->model != NULL && o->batch > 0 && o->threads > 0 && o->repeats > 0;
}

static shoal_status describe(const struct graph *graph, const struct graph_node *node,
                             const struct options *o, struct kernel_desc *out,
                             struct shoal_error *error) {
    struct tensor_type inputs[OP_MAX_INPUTS] = {{0}}, params[OP_MAX_PARAMS] = {{0}};
    for (int i = 0; i < node->input_count; i++) {
        inputs[i] = graph_resolve(graph_value_get(graph, node->inputs[i])->type, o->batch);
    }
    for (int i = 0; i < node->param_count; i++) {
        params[i] = graph_param_get(graph, node->params[i])->type;
    }
    return kernel_describe(node->op, &node->attrs, inputs, node->input_count, params,
                           node->param_count, o->threads, out, error);
}

static shoal_status collect(const struct graph *graph, const struct options *o,
                            struct shoal_error *error) {
    for (graph_node_id id = 0; id < graph_node_count(graph); id++) {
        const struct graph_node *node = graph_node_get(graph, id);
        struct row row = {.count = 1};
        TRY(describe(graph, node, o, &row.desc, error));
        kernel_key(&row.desc, row.key);
        if (o->op != NULL && strcmp(op_describe(node->op)->name, o->op) != 0) {
            continue;
        }
        int at = 0;
        while (at < row_count && strcmp(rows[at].key, row.key) != 0) {
            at++;
        }
        if (at < row_count) {
            rows[at].count++;
        } else if (row_count < MAX_ROWS) {
            rows[row_count++] = row;
        }
    }
    return SHOAL_OK;
}

static shoal_status measure(struct row *row, const struct options *o, struct shoal_error *error) {
    for (int s = 0; s < SETS; s++) {
        const struct kernel_ops *set = kernel_set_find(set_names[s]);
        if (set != NULL && set->supports(&row->desc)) {
            TRY(kernel_measure(&row->desc, set, o->repeats, &row->seconds[s], error));
            if (row->best == 0 || row->seconds[s] < row->best) {
                row->best = row->seconds[s];
            }
        }
    }
    return row->best > 0 ? SHOAL_OK
                         : kernel_measure(&row->desc, &kernel_reference_ops, 1, &row->best, error);
}

static int by_time(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    const double difference = y->best * y->count - x->best * x->count;
    return difference > 0 ? 1 : difference < 0 ? -1 : 0;
}

static void print(void) {
    double best = 0, flops = 0, sums[SETS] = {0};
    qsort(rows, (size_t)row_count, sizeof rows[0], by_time);
    for (int i = 0; i < row_count; i++) {
        const struct row *r = &rows[i];
        const struct kernel_desc *d = &r->desc;
        const double work = op_flops(d->op, &d->attrs, d->inputs, d->input_count, d->params,
                                     d->param_count, d->outputs);
        printf("%2d × ", r->count);
        for (int s = 0; s < SETS; s++) {
            const double seconds = r->seconds[s];
            printf("%9.1f us %6.1f | ", seconds * 1e6, seconds > 0 ? work / seconds * 1e-9 : 0);
            sums[s] += r->count * (seconds > 0 ? seconds : r->best);
        }
        printf("%s\n", r->key);
        best += r->best * r->count;
        flops += work * r->count;
    }
    printf("sum: blas %.2f ms, onednn %.2f ms, best %.2f ms (%.1f GFLOP/s)\n", sums[0] * 1e3,
           sums[1] * 1e3, best * 1e3, flops / best * 1e-9);
}

int main(int argc, char **argv) {
    struct options o = {.batch = 1, .threads = 1, .repeats = 5, .isa = "native"};
    struct shoal_error error = {0};
    struct model_config config;
    struct graph *graph = NULL;
    enum isa isa;
    if (!parse(argc, argv, &o)) {
        fprintf(stderr, "usage: kernels_graph_bench MODEL [--batch B] [--threads T] [--isa NAME] "
                        "[--repeats R] [--op NAME]\n");
        return 2;
    }
    shoal_status status = isa_parse(o.isa, &isa, &error);
    status = status == SHOAL_OK ? isa_cap(isa, argv, &error) : status;
    status = status == SHOAL_OK ? model_builtin(o.model, &config, &error) : status;
    status = status == SHOAL_OK ? model_build(&config, &graph, &error) : status;
    status = status == SHOAL_OK ? collect(graph, &o, &error) : status;
    for (int i = 0; i < row_count && status == SHOAL_OK; i++) {
        status = measure(&rows[i], &o, &error);
    }
    if (status != SHOAL_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    printf("times per call: blas, onednn (us, GFLOP/s)\n");
    print();
    graph_destroy(graph);
    return 0;
}
