#include "runtime/results.h"

#include "base/memory.h"
#include "runtime/control.h"
#include "runtime/result_array.h"
#include "tensor/convert.h"

#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define TOP_MOST 1000

struct skipped {
    struct skipped *next;
    uint64_t index;
    char *name, *why;
};

struct output {
    struct model_output output;
    struct tensor_type item; /* of one item */
    size_t offset, bytes;    /* in a row */
    struct result_array *array;
};

struct results {
    struct results_options options;
    struct digest digest;
    FILE *file; /* JSON lines */
    struct output outputs[MODEL_MAX_OUTPUTS];
    size_t row_bytes;
    uint32_t width;        /* elements of the first output */
    float *first_row;      /* [width] aligned: the first output of the item that is written */
    uint32_t *order;       /* [width] */
    pthread_mutex_t mutex; /* guards the list */
    struct skipped *first, **last;
};

/* The dims of an item of which there are many: without the first one, which counts them. */
static struct shape shape_of_item(const struct output *output) {
    struct shape shape = output->output.type.shape;
    if (shape.rank > 0 && shape.dims[0] == GRAPH_BATCH) {
        shape.rank--;
        memmove(shape.dims, shape.dims + 1, (size_t)shape.rank * sizeof shape.dims[0]);
        shape.dims[shape.rank] = 0;
    }
    return shape;
}

/* x.npy for the first output, x.NAME.npy for others; a name's letters that no file should have
 * become _. */
static char *array_path(const struct results *results, uint32_t index) {
    const char *path = results->options.output_path;
    char name[128];
    size_t length = 0;
    for (const char *p = results->outputs[index].output.name;
         *p != '\0' && length + 1 < sizeof name; p++) {
        const bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                           (*p >= '0' && *p <= '9') || *p == '-' || *p == '.';
        name[length++] = plain ? *p : '_';
    }
    name[length] = '\0';
    return index == 0 ? mem_strdup(path)
                      : mem_format("%.*s.%s.npy", (int)(strlen(path) - strlen(".npy")), path, name);
}

static shoal_status open_arrays(struct results *results, struct shoal_error *error) {
    const struct results_options *options = &results->options;
    for (uint32_t i = 0; i < options->output_count; i++) {
        struct output *output = &results->outputs[i];
        const struct shape item = shape_of_item(output);
        char *path = array_path(results, i);
        if (path == NULL) {
            return error_set(error, SHOAL_NO_MEMORY, "no memory for results");
        }
        const shoal_status status = result_array_open(path, options->items, output->item.dtype,
                                                      &item, &output->array, error);
        mem_free(path);
        TRY(status);
    }
    return SHOAL_OK;
}

static shoal_status open_output(struct results *results, struct shoal_error *error) {
    const struct results_options *options = &results->options;
    const char *path = options->output_path;
    if (path == NULL) {
        return SHOAL_OK;
    }
    const size_t length = strlen(path), suffix = strlen(".npy");
    if (length > suffix && strcmp(path + length - suffix, ".npy") == 0) {
        return open_arrays(results, error);
    }
    results->file = fopen(path, "we");
    return results->file != NULL ? SHOAL_OK : error_errno(error, errno, "--output %s", path);
}

static void lay_out(struct results *results) {
    for (uint32_t i = 0; i < results->options.output_count; i++) {
        struct output *output = &results->outputs[i];
        output->output = results->options.outputs[i];
        output->item = graph_resolve(output->output.type, 1);
        output->offset = results->row_bytes;
        (void)shape_bytes(&output->item.shape, output->item.dtype, &output->bytes);
        results->row_bytes += output->bytes;
    }
    const struct output *first = &results->outputs[0];
    results->width = (uint32_t)(first->bytes / dtype_size(first->item.dtype));
}

shoal_status results_create(const struct results_options *options, struct results **out,
                            struct shoal_error *error) {
    struct results *results = mem_calloc(1, sizeof *results);
    if (results == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    }
    results->options = *options;
    results->last = &results->first;
    (void)pthread_mutex_init(&results->mutex, NULL);
    digest_init(&results->digest);
    lay_out(results);
    results->order = mem_calloc(results->width, sizeof *results->order);
    results->first_row = mem_calloc(results->width, sizeof *results->first_row);
    const shoal_status status = results->order != NULL && results->first_row != NULL
                                    ? open_output(results, error)
                                    : error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    if (status != SHOAL_OK) {
        results_destroy(results);
        return status;
    }
    *out = results;
    return SHOAL_OK;
}

size_t results_row_bytes(const struct results *results) {
    return results->row_bytes;
}

void results_destroy(struct results *results) {
    if (results == NULL) {
        return;
    }
    if (results->file != NULL) {
        (void)fclose(results->file); /* results_flush reported what could go wrong */
    }
    for (uint32_t i = 0; i < results->options.output_count; i++) {
        /* results_finish did, unless the run failed */
        (void)!result_array_close(results->outputs[i].array, NULL);
    }
    while (results->first != NULL) {
        struct skipped *next = results->first->next;
        mem_free(results->first->name);
        mem_free(results->first->why);
        mem_free(results->first);
        results->first = next;
    }
    (void)pthread_mutex_destroy(&results->mutex);
    mem_free(results->order);
    mem_free(results->first_row);
    mem_free(results);
}

static shoal_status write_line(struct results *results, json_t *line, struct shoal_error *error) {
    shoal_status status = SHOAL_OK;
    if (line == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a result");
    }
    if (json_dumpf(line, results->file, JSON_COMPACT | JSON_REAL_PRECISION(9)) != 0 ||
        fputc('\n', results->file) == EOF) {
        status =
            error_errno(error, errno, "--output %s: cannot write", results->options.output_path);
    }
    json_decref(line);
    return status;
}

/* The k largest of row, in order; ties by index, so that the answer is one. */
static void find_top(struct results *results, const float *row, uint32_t k) {
    uint32_t *order = results->order;
    const uint32_t width = results->width;
    for (uint32_t i = 0; i < width; i++) {
        order[i] = i;
    }
    for (uint32_t i = 0; i < k; i++) {
        uint32_t best = i;
        for (uint32_t j = i + 1; j < width; j++) {
            if (row[order[j]] > row[order[best]] ||
                (row[order[j]] == row[order[best]] && order[j] < order[best])) {
                best = j;
            }
        }
        const uint32_t kept = order[i];
        order[i] = order[best];
        order[best] = kept;
    }
}

static double softmax_sum(const float *row, uint32_t width, float largest) {
    double sum = 0;
    for (uint32_t i = 0; i < width; i++) {
        sum += exp((double)row[i] - (double)largest);
    }
    return sum;
}

static json_t *values_to_json(const float *row, uint32_t width) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < width && list != NULL; i++) {
        json_t *value = isfinite(row[i]) ? json_real((double)row[i]) : json_null();
        if (json_array_append_new(list, value) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* sum 0: row holds probabilities. */
static double probability_of(const struct results *results, const float *row, uint32_t class_index,
                             double sum) {
    return sum != 0 ? exp((double)row[class_index] - (double)row[results->order[0]]) / sum
                    : (double)row[class_index];
}

static json_t *top_to_json(const struct results *results, const float *row, uint32_t k,
                           double sum) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < k && list != NULL; i++) {
        const uint32_t class_index = results->order[i];
        const char *label = results->options.label(results->options.label_context, class_index);
        const double probability = probability_of(results, row, class_index, sum);
        json_t *entry =
            json_pack("{s:I, s:s*, s:o}", "class", (json_int_t)class_index, "label", label,
                      "probability", isfinite(probability) ? json_real(probability) : json_null());
        if (entry == NULL || json_array_append_new(list, entry) != 0) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

/* A classifier of one class is a regression. */
static bool is_value(const struct results *results) {
    return results->options.classifies && results->width == 1;
}

/* Element `index` of values of any type; NULL: no memory. */
static json_t *element_to_json(enum dtype dtype, const unsigned char *values, size_t index) {
    const unsigned char *at = values + index * dtype_size(dtype);
    float single = 0;
    double number = 0;
    int64_t whole = 0;
    switch ((int)dtype) {
    case DTYPE_BOOL:
        return json_boolean(*at != 0);
    case DTYPE_I64:
    case DTYPE_U64:
        memcpy(&whole, at, sizeof whole);
        return dtype == DTYPE_U64 && whole < 0 ? json_real((double)(uint64_t)whole)
                                               : json_integer(whole);
    case DTYPE_F64:
        memcpy(&number, at, sizeof number);
        return isfinite(number) ? json_real(number) : json_null();
    case DTYPE_I32:
    case DTYPE_U32:
        memcpy(&whole, at, sizeof(int32_t)); /* little-endian */
        return json_integer(dtype == DTYPE_I32 ? (json_int_t)(int32_t)whole : whole);
    default:
        break;
    }
    if (!convert_to_f32(dtype, at, &single, 1) || !isfinite(single)) {
        return json_null();
    }
    return dtype == DTYPE_F32 || dtype == DTYPE_F16 || dtype == DTYPE_BF16
               ? json_real((double)single)
               : json_integer((json_int_t)single);
}

static json_t *output_to_json(const struct output *output, const unsigned char *row) {
    const struct shape item = shape_of_item(output);
    json_t *values = json_array(), *shape = json_array();
    bool ok = values != NULL && shape != NULL;
    const size_t count = output->bytes / dtype_size(output->item.dtype);
    for (int i = 0; i < item.rank && ok; i++) {
        ok = json_array_append_new(shape, json_integer(item.dims[i])) == 0;
    }
    for (size_t i = 0; i < count && ok; i++) {
        ok = json_array_append_new(
                 values, element_to_json(output->item.dtype, row + output->offset, i)) == 0;
    }
    json_t *document = ok ? json_pack("{s:s, s:O, s:O}", "type", dtype_name(output->item.dtype),
                                      "shape", shape, "values", values)
                          : NULL;
    json_decref(values);
    json_decref(shape);
    return document;
}

/* Every output under its name. */
static json_t *outputs_to_json(const struct results *results, const unsigned char *row) {
    json_t *object = json_object();
    for (uint32_t i = 0; i < results->options.output_count && object != NULL; i++) {
        const struct output *output = &results->outputs[i];
        if (json_object_set_new(object, output->output.name, output_to_json(output, row)) != 0) {
            json_decref(object);
            object = NULL;
        }
    }
    return object;
}

static void print_outputs(const struct results *results, const char *name) {
    FILE *to = results->options.text;
    (void)fprintf(to, "%s ", name);
    for (uint32_t i = 0; i < results->options.output_count; i++) {
        const struct output *output = &results->outputs[i];
        const struct shape item = shape_of_item(output);
        char shape[SHAPE_TEXT];
        (void)fprintf(to, "%s %s %s %s", i > 0 ? "," : "", output->output.name,
                      dtype_name(output->item.dtype), shape_format(&item, shape));
    }
    (void)fputc('\n', to);
}

static void print_line(const struct results *results, const char *name, const float *row,
                       double sum) {
    if (!results->options.classifies && results->options.named) {
        print_outputs(results, name);
        return;
    }
    if (!results->options.classifies) {
        (void)fprintf(results->options.text, "%s  embedding of %u values\n", name, results->width);
        return;
    }
    if (is_value(results)) {
        (void)fprintf(results->options.text, "%s  %.6g\n", name, (double)row[0]);
        return;
    }
    const uint32_t best = results->order[0];
    const char *label = results->options.label(results->options.label_context, best);
    const double probability = probability_of(results, row, best, sum);
    if (label != NULL) {
        (void)fprintf(results->options.text, "%s  %s  %.3f\n", name, label, probability);
    } else {
        (void)fprintf(results->options.text, "%s  class %u  %.3f\n", name, best, probability);
    }
}

static shoal_status put_arrays(struct results *results, uint64_t index, const unsigned char *row,
                               struct shoal_error *error) {
    for (uint32_t i = 0; i < results->options.output_count; i++) {
        const struct output *output = &results->outputs[i];
        if (output->array != NULL) {
            TRY(result_array_put(output->array, index, row + output->offset, error));
        }
    }
    return SHOAL_OK;
}

static shoal_status put_line(struct results *results, uint64_t index, const char *name,
                             const void *row, uint32_t k, double sum, struct shoal_error *error) {
    const struct results_options *options = &results->options;
    const float *first = results->first_row;
    json_t *line =
        json_pack("{s:o, s:I}", "item", control_string(name), "index", (json_int_t)index);
    if (is_value(results)) {
        (void)json_object_set_new(line, "value",
                                  isfinite(first[0]) ? json_real((double)first[0]) : json_null());
    } else if (options->classifies && k > 0) {
        (void)json_object_set_new(line, "top", top_to_json(results, first, k, sum));
    }
    if (options->named && (options->logits || !options->classifies)) {
        (void)json_object_set_new(line, "outputs", outputs_to_json(results, row));
    } else if (options->logits || !options->classifies) {
        (void)json_object_set_new(line, options->classifies ? "logits" : "embedding",
                                  values_to_json(first, results->width));
    }
    return write_line(results, line, error);
}

shoal_status results_add(struct results *results, uint64_t index, const char *name, const void *row,
                         struct shoal_error *error) {
    const struct results_options *options = &results->options;
    digest_update(&results->digest, row, results->row_bytes);
    TRY(results_write_skipped(results, index, error));
    uint32_t k = options->classifies ? options->top : 0;
    k = k > results->width ? results->width : k > TOP_MOST ? TOP_MOST : k;
    double sum = 1;
    if (results->outputs[0].item.dtype == DTYPE_F32) {
        memcpy(results->first_row, row, results->outputs[0].bytes);
    }
    if (options->classifies && (options->text != NULL || results->file != NULL)) {
        const float *first = results->first_row;
        find_top(results, first, k > 0 ? k : 1);
        sum = results->outputs[0].output.probabilities
                  ? 0
                  : softmax_sum(first, results->width, first[results->order[0]]);
    }
    if (options->text != NULL) {
        print_line(results, name, results->first_row, sum);
    }
    TRY(put_arrays(results, index, row, error));
    return results->file != NULL ? put_line(results, index, name, row, k, sum, error) : SHOAL_OK;
}

void results_skip(struct results *results, uint64_t index, const char *name, const char *why) {
    struct skipped *entry = mem_calloc(1, sizeof *entry);
    if (entry == NULL) {
        return; /* the count, which the reader keeps, still tells */
    }
    entry->index = index;
    entry->name = mem_strdup(name);
    entry->why = mem_strdup(why);
    (void)pthread_mutex_lock(&results->mutex);
    *results->last = entry;
    results->last = &entry->next;
    (void)pthread_mutex_unlock(&results->mutex);
}

static struct skipped *pop_skipped(struct results *results, uint64_t index) {
    (void)pthread_mutex_lock(&results->mutex);
    struct skipped *entry = results->first;
    if (entry != NULL && entry->index < index) {
        results->first = entry->next;
        if (results->first == NULL) {
            results->last = &results->first;
        }
    } else {
        entry = NULL;
    }
    (void)pthread_mutex_unlock(&results->mutex);
    return entry;
}

static json_t *text_or_null(const char *text) {
    return text != NULL ? control_string(text) : json_null();
}

shoal_status results_write_skipped(struct results *results, uint64_t index,
                                   struct shoal_error *error) {
    for (;;) {
        struct skipped *entry = pop_skipped(results, index);
        if (entry == NULL) {
            return SHOAL_OK;
        }
        shoal_status status = SHOAL_OK;
        if (results->file != NULL) {
            status =
                write_line(results,
                           json_pack("{s:o, s:I, s:o}", "item", text_or_null(entry->name), "index",
                                     (json_int_t)entry->index, "error", text_or_null(entry->why)),
                           error);
        }
        mem_free(entry->name);
        mem_free(entry->why);
        mem_free(entry);
        TRY(status);
    }
}

shoal_status results_flush(struct results *results, struct shoal_error *error) {
    if (results->file != NULL && fflush(results->file) != 0) {
        return error_errno(error, errno, "--output %s: cannot write", results->options.output_path);
    }
    for (uint32_t i = 0; i < results->options.output_count; i++) {
        if (results->outputs[i].array != NULL) {
            TRY(result_array_flush(results->outputs[i].array, error));
        }
    }
    FILE *text = results->options.text;
    if (text != NULL && (fflush(text) != 0 || ferror(text) != 0)) {
        return error_set(error, SHOAL_IO, "cannot write the results to standard output");
    }
    return SHOAL_OK;
}

shoal_status results_finish(struct results *results, struct shoal_error *error) {
    TRY(results_write_skipped(results, UINT64_MAX, error));
    TRY(results_flush(results, error));
    for (uint32_t i = 0; i < results->options.output_count; i++) {
        struct result_array *array = results->outputs[i].array;
        results->outputs[i].array = NULL;
        TRY(result_array_close(array, error));
    }
    return SHOAL_OK;
}

void results_digest(struct results *results, char text[DIGEST_TEXT]) {
    digest_final(&results->digest, text);
}
