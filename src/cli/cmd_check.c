/* shoal check: can this model run, and does it compute what its data sets say? */
#include "base/memory.h"
#include "cli/cli.h"
#include "formats/onnx/check.h"
#include "graph/passes/passes.h"
#include "platform/file.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* What a dim is taken for that nobody fixes: enough for convolutions and for text. */
#define ASSUMED_BATCH 1
#define ASSUMED_DIM 128
#define MOST_DIMS 64

struct check_arguments {
    struct args_list data, dims;
    int64_t threads;
    const char *no_pass;
    bool json;
};

struct check_command {
    const char *path;
    struct check_arguments *arguments;
    struct onnx_model *model;
    struct import_dim dims[MOST_DIMS];
    size_t dim_count;
    struct import_result import;
    struct arena arena;
    json_t *root; /* NULL: text is printed */
    uint32_t sets, agreeing;
    uint32_t skip;          /* passes */
    uint32_t ops[OP_COUNT]; /* nodes of the graph that ran last */
};

/* NAME=NUMBER */
static shoal_status parse_dims(struct check_command *check, struct shoal_error *error) {
    const struct args_list *list = &check->arguments->dims;
    for (size_t i = 0; i < list->count; i++) {
        const char *equals = strrchr(list->items[i], '=');
        char *end = NULL;
        const long long value = equals != NULL ? strtoll(equals + 1, &end, 10) : 0;
        char *name = arena_strdup(&check->arena, list->items[i]);
        if (equals == NULL || equals == list->items[i] || *end != '\0' || value < 1 ||
            i == MOST_DIMS) {
            return error_set(error, SHOAL_USAGE, "--dim %s: NAME=NUMBER is wanted, at most %d",
                             list->items[i], MOST_DIMS);
        }
        if (name == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for --dim");
        }
        name[equals - list->items[i]] = '\0';
        check->dims[check->dim_count++] = (struct import_dim){name, value};
    }
    return SHOAL_OK;
}

/* ---- the model ---- */

struct op_count {
    const char *domain, *op_type;
    uint32_t count;
};

struct op_counts {
    struct op_count *items;
    size_t count, room;
    bool full; /* of memory */
};

static void count_op(struct op_counts *counts, const struct onnx_node *node) {
    for (size_t i = 0; i < counts->count; i++) {
        if (strcmp(counts->items[i].op_type, node->op_type) == 0 &&
            strcmp(counts->items[i].domain, node->domain) == 0) {
            counts->items[i].count++;
            return;
        }
    }
    if (counts->count == counts->room) {
        const size_t room = counts->room == 0 ? 64 : 2 * counts->room;
        struct op_count *grown = mem_realloc(counts->items, room * sizeof *grown);
        if (grown == NULL) {
            counts->full = true;
            return;
        }
        counts->items = grown;
        counts->room = room;
    }
    counts->items[counts->count++] = (struct op_count){node->domain, node->op_type, 1};
}

/* Nodes of subgraphs count as well. The parser bounds how deep they lie. */
static void count_ops(struct op_counts *counts, const struct onnx_node *nodes, size_t count) {
    for (size_t i = 0; i < count; i++) {
        count_op(counts, &nodes[i]);
        for (size_t a = 0; a < nodes[i].attribute_count; a++) {
            const struct onnx_attribute *attribute = &nodes[i].attributes[a];
            if (attribute->type == ONNX_ATTRIBUTE_GRAPH && attribute->g != NULL) {
                count_ops(counts, attribute->g->nodes, attribute->g->node_count);
            }
        }
    }
}

static int by_name(const void *a, const void *b) {
    const struct op_count *x = a, *y = b;
    const int order = strcmp(x->domain, y->domain);
    return order != 0 ? order : strcmp(x->op_type, y->op_type);
}

static shoal_status all_ops(const struct onnx_model *model, struct op_counts *counts,
                            struct shoal_error *error) {
    *counts = (struct op_counts){0};
    count_ops(counts, model->graph.nodes, model->graph.node_count);
    for (size_t i = 0; i < model->function_count; i++) {
        count_ops(counts, model->functions[i].nodes, model->functions[i].node_count);
    }
    if (counts->full) {
        mem_free(counts->items);
        return error_set(error, SHOAL_NO_MEMORY, "no memory to count ops");
    }
    if (counts->count > 0) {
        qsort(counts->items, counts->count, sizeof *counts->items, by_name);
    }
    return SHOAL_OK;
}

static void print_value(const struct onnx_value *value) {
    printf("%s %s [", value->name, onnx_dtype_name(value->type));
    for (int i = 0; i < value->rank; i++) {
        printf("%s", i > 0 ? "," : "");
        if (value->dims[i] >= 0) {
            printf("%" PRId64, value->dims[i]);
        } else {
            printf("%s", value->dim_params[i][0] != '\0' ? value->dim_params[i] : "?");
        }
    }
    printf(value->has_shape ? "]" : "...]");
}

static void print_values(const char *what, const struct onnx_graph *graph,
                         const struct onnx_value *values, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (values != graph->inputs || onnx_graph_initialiser(graph, values[i].name) == NULL) {
            printf("%-8s ", what);
            print_value(&values[i]);
            printf("\n");
            what = "";
        }
    }
}

static void print_model(const struct check_command *check, const struct op_counts *counts) {
    const struct onnx_model *model = check->model;
    printf("%s: ir_version %" PRId64 ", opset", check->path, model->ir_version);
    for (size_t i = 0; i < model->opset_count; i++) {
        printf("%s %s%s%" PRId64, i > 0 ? "," : "", model->opsets[i].domain,
               model->opsets[i].domain[0] != '\0' ? " " : "", model->opsets[i].version);
    }
    printf("; %zu nodes, %zu stored tensors\n", model->graph.node_count,
           model->graph.initialiser_count);
    print_values("inputs", &model->graph, model->graph.inputs, model->graph.input_count);
    print_values("outputs", &model->graph, model->graph.outputs, model->graph.output_count);
    printf("ops     ");
    for (size_t i = 0, width = 0; i < counts->count; i++) {
        const int printed =
            printf(" %s%s%s %" PRIu32 "%s", counts->items[i].domain,
                   counts->items[i].domain[0] != '\0' ? "." : "", counts->items[i].op_type,
                   counts->items[i].count, i + 1 < counts->count ? "," : "");
        width += printed > 0 ? (size_t)printed : 0;
        if (width > 80 && i + 1 < counts->count) {
            printf("\n        ");
            width = 0;
        }
    }
    printf("\n");
}

static void print_import(const struct check_command *check) {
    const struct import_result *import = &check->import;
    for (uint32_t i = 0; i < import->dim_count; i++) {
        printf("%-8s %s = %" PRId64 "%s\n", i == 0 ? "dims" : "", import->dims[i].name,
               import->dims[i].value,
               i + 1 == import->dim_count ? "  (--dim NAME=NUMBER says otherwise)" : "");
    }
    if (import->issue_count == 0) {
        printf("supported\n");
    }
    for (uint32_t i = 0; i < import->issue_count; i++) {
        printf("not supported: %s\n", import->issues[i]);
    }
}

/* ---- as JSON ---- */

static json_t *value_json(const struct onnx_value *value) {
    json_t *dims = json_array();
    for (int i = 0; i < value->rank; i++) {
        (void)json_array_append_new(dims, value->dims[i] >= 0 ? json_integer(value->dims[i])
                                                              : json_string(value->dim_params[i]));
    }
    return json_pack("{s:s, s:s, s:o}", "name", value->name, "type", onnx_dtype_name(value->type),
                     "dims", dims);
}

static json_t *values_json(const struct onnx_graph *graph, const struct onnx_value *values,
                           size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (values != graph->inputs || onnx_graph_initialiser(graph, values[i].name) == NULL) {
            (void)json_array_append_new(list, value_json(&values[i]));
        }
    }
    return list;
}

static json_t *counts_json(const struct op_counts *counts) {
    json_t *ops = json_object();
    for (size_t i = 0; i < counts->count; i++) {
        char name[256];
        (void)snprintf(name, sizeof name, "%.100s%s%.100s", counts->items[i].domain,
                       counts->items[i].domain[0] != '\0' ? "." : "", counts->items[i].op_type);
        (void)json_object_set_new(ops, name, json_integer(counts->items[i].count));
    }
    return ops;
}

static json_t *model_json(const struct check_command *check, const struct op_counts *counts) {
    const struct onnx_model *model = check->model;
    const struct import_result *import = &check->import;
    json_t *opsets = json_object(), *dims = json_object(), *issues = json_array();
    for (size_t i = 0; i < model->opset_count; i++) {
        const char *domain = model->opsets[i].domain;
        (void)json_object_set_new(opsets, domain[0] != '\0' ? domain : "ai.onnx",
                                  json_integer(model->opsets[i].version));
    }
    for (uint32_t i = 0; i < import->dim_count; i++) {
        (void)json_object_set_new(dims, import->dims[i].name, json_integer(import->dims[i].value));
    }
    for (uint32_t i = 0; i < import->issue_count; i++) {
        (void)json_array_append_new(issues, json_string(import->issues[i]));
    }
    return json_pack("{s:s, s:I, s:o, s:I, s:o, s:o, s:o, s:o, s:b, s:o, s:[]}", "model",
                     check->path, "ir_version", (json_int_t)model->ir_version, "opsets", opsets,
                     "nodes", (json_int_t)model->graph.node_count, "inputs",
                     values_json(&model->graph, model->graph.inputs, model->graph.input_count),
                     "outputs",
                     values_json(&model->graph, model->graph.outputs, model->graph.output_count),
                     "ops", counts_json(counts), "dims", dims, "supported",
                     (int)(import->issue_count == 0), "issues", issues, "data_sets");
}

static shoal_status check_model(struct check_command *check, struct shoal_error *error) {
    const struct import_options options = {.batch = ASSUMED_BATCH,
                                           .dims = check->dims,
                                           .dim_count = check->dim_count,
                                           .assumed = ASSUMED_DIM,
                                           .collect = true};
    struct op_counts counts;
    TRY(import_model(check->model, &options, &check->import, error));
    TRY(all_ops(check->model, &counts, error));
    if (check->arguments->json) {
        check->root = model_json(check, &counts);
    } else {
        print_model(check, &counts);
        if (check->arguments->data.count == 0) {
            print_import(check);
        }
    }
    mem_free(counts.items);
    return check->arguments->json && check->root == NULL
               ? error_set(error, SHOAL_NO_MEMORY, "no memory for the report")
               : SHOAL_OK;
}

/* ---- its data ---- */

/* {"linear": 12, …}: what the model is when it runs */
static json_t *ops_json(const struct check_command *check) {
    json_t *nodes = json_object();
    for (int op = 0; op < OP_COUNT; op++) {
        if (check->ops[op] > 0) {
            (void)json_object_set_new(nodes, op_describe((enum op)op)->name,
                                      json_integer(check->ops[op]));
        }
    }
    return nodes;
}

static void print_ops(const struct check_command *check) {
    const char *separator = " ";
    printf("  runs as");
    for (int op = 0; op < OP_COUNT; op++) {
        if (check->ops[op] > 0) {
            printf("%s%" PRIu32 " %s", separator, check->ops[op], op_describe((enum op)op)->name);
            separator = ", ";
        }
    }
    printf("\n");
}

static void report_set(struct check_command *check, const char *directory,
                       const struct check_outcome *outcome, const char *refusal) {
    const bool agrees = refusal == NULL && outcome->agrees;
    const char *text = refusal != NULL ? refusal : outcome->text;
    check->sets++;
    check->agreeing += agrees ? 1 : 0;
    if (check->root != NULL) {
        json_t *set = json_pack("{s:s, s:b, s:s}", "directory", directory, "agrees", (int)agrees,
                                "text", text);
        if (refusal == NULL) {
            (void)json_object_set_new(set, "outputs", json_integer(outcome->outputs));
            (void)json_object_set_new(set, "worst", json_real(outcome->worst));
            (void)json_object_set_new(set, "nodes", ops_json(check));
        }
        (void)json_array_append_new(json_object_get(check->root, "data_sets"), set);
    } else if (agrees) {
        printf("%s: agrees; %" PRIu32 " outputs, at most %.3g apart\n", directory, outcome->outputs,
               outcome->worst);
        print_ops(check);
    } else {
        printf("%s: %s\n", directory, text);
    }
}

static shoal_status optimise(const struct graph *graph, struct weight_source *source, void *context,
                             struct graph **out, struct shoal_error *error) {
    struct check_command *check = context;
    const struct pass_options options = {.skip = check->skip, .source = source};
    TRY(graph_optimise(graph, &options, out, error));
    memset(check->ops, 0, sizeof check->ops);
    for (graph_node_id id = 0; id < graph_node_count(*out); id++) {
        check->ops[graph_node_get(*out, id)->op]++;
    }
    return SHOAL_OK;
}

static shoal_status check_set(struct check_command *check, const char *directory,
                              struct shoal_error *error) {
    const struct check_options options = {.rtol = CHECK_RTOL,
                                          .atol = CHECK_ATOL,
                                          .threads = (int)check->arguments->threads,
                                          .dims = check->dims,
                                          .dim_count = check->dim_count,
                                          .optimise = optimise,
                                          .context = check};
    struct check_outcome outcome = {0};
    struct shoal_error why;
    const shoal_status status = check_data_set(check->model, directory, &options, &outcome, &why);
    if (status == SHOAL_NO_MEMORY || status == SHOAL_INTERNAL) {
        *error = why;
        return status;
    }
    report_set(check, directory, &outcome, status == SHOAL_OK ? NULL : why.text);
    return SHOAL_OK;
}

/* A directory of one set, or of test_data_set_0, test_data_set_1 … */
static shoal_status check_directory(struct check_command *check, const char *directory,
                                    struct shoal_error *error) {
    char path[1024];
    (void)snprintf(path, sizeof path, "%s/output_0.pb", directory);
    if (file_exists(path)) {
        return check_set(check, directory, error);
    }
    uint32_t found = 0;
    for (;; found++) {
        (void)snprintf(path, sizeof path, "%s/test_data_set_%" PRIu32, directory, found);
        if (!file_is_directory(path)) {
            break;
        }
        TRY(check_set(check, path, error));
    }
    return found > 0 ? SHOAL_OK
                     : error_set(error, SHOAL_NOT_FOUND,
                                 "%s: there is no output_0.pb and no test_data_set_0", directory);
}

static shoal_status check_all(struct check_command *check, struct shoal_error *error) {
    const char *no_pass =
        check->arguments->no_pass != NULL ? check->arguments->no_pass : getenv("SHOAL_NO_PASS");
    TRY(parse_dims(check, error));
    TRY(pass_parse(no_pass != NULL ? no_pass : "", &check->skip, error));
    TRY(onnx_open(check->path, &check->model, error));
    TRY(check_model(check, error));
    for (size_t i = 0; i < check->arguments->data.count; i++) {
        TRY(check_directory(check, check->arguments->data.items[i], error));
    }
    if (check->root != NULL) {
        const bool printed =
            json_dumpf(check->root, stdout, JSON_INDENT(1)) == 0 && fputc('\n', stdout) != EOF;
        if (!printed) {
            return error_set(error, SHOAL_IO, "cannot write to standard output");
        }
    } else if (check->sets > 0) {
        printf("%" PRIu32 " of %" PRIu32 " data sets agree\n", check->agreeing, check->sets);
    }
    return cli_flush(error);
}

#define X(code, name, function, what) "\n  " name ": " what
#define PASSES_TEXT PASS_LIST(X)

int cli_check(int argc, char **argv) {
    static struct check_arguments a;
    bool done;
    int exit_status;
    a.threads = 1;
    const struct args_option options[] = {
        {"data", ARGS_LIST, "DIR...",
         "directories with input_0.pb … and output_0.pb …, or with such test_data_set_0 …: run the "
         "model on each and compare (rtol 1e-3, atol 1e-7)",
         &a.data, 0, 0},
        {"dim", ARGS_LIST, "NAME=NUMBER", "what a symbolic dim of the model is", &a.dims, 0, 0},
        {"threads", ARGS_COUNT, "N", "to compute with (1)", &a.threads, 1, 256},
        {"no-pass", ARGS_TEXT, "NAME,...",
         "leave out these passes over the graph, \"all\" of them; also SHOAL_NO_PASS", &a.no_pass,
         0, 0},
        {"json", ARGS_FLAG, NULL, "one JSON document", &a.json, 0, 0},
    };
    const struct args_command command = {
        .name = "check",
        .positional = "MODEL.onnx",
        .summary = "Says whether an ONNX model can run: every op, attribute and type that is not\n"
                   "supported, at once, with the nodes' names. With data sets, runs it on them.\n"
                   "Exit status 0 only if all is supported, or all data sets agree.\n\n"
                   "passes over the graph, for --no-pass:" PASSES_TEXT,
        .examples = "  shoal check model.onnx\n"
                    "  shoal check model.onnx --data model/test_data_set_*\n"
                    "  shoal check model.onnx --dim sequence=256 --json\n",
        .options = options,
        .option_count = sizeof options / sizeof options[0],
    };
    struct check_command check = {.arguments = &a};
    struct shoal_error error;
    check.path = cli_parse(&command, argc, argv, &done, &exit_status);
    if (done) {
        return exit_status;
    }
    arena_init(&check.arena);
    arena_init(&check.import.arena);
    const shoal_status status = check_all(&check, &error);
    const bool good =
        a.data.count > 0 ? check.agreeing == check.sets : check.import.issue_count == 0;
    import_result_fini(&check.import);
    onnx_close(check.model);
    json_decref(check.root);
    arena_fini(&check.arena);
    return status != SHOAL_OK ? cli_fail("check", &error) : good ? 0 : 1;
}
