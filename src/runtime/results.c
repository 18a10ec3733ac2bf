#include "runtime/results.h"

#include "base/memory.h"
#include "runtime/control.h"
#include "runtime/result_array.h"

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

struct results {
    struct results_options options;
    struct digest digest;
    FILE *file; /* JSON lines */
    struct result_array *array;
    uint32_t *order;       /* [width] */
    pthread_mutex_t mutex; /* guards the list */
    struct skipped *first, **last;
};

static shoal_status open_output(struct results *results, struct shoal_error *error) {
    const struct results_options *options = &results->options;
    const char *path = options->output_path;
    if (path == NULL) {
        return SHOAL_OK;
    }
    const size_t length = strlen(path), suffix = strlen(".npy");
    if (length > suffix && strcmp(path + length - suffix, ".npy") == 0) {
        return result_array_open(path, options->items, options->width, &results->array, error);
    }
    results->file = fopen(path, "we");
    return results->file != NULL ? SHOAL_OK : error_errno(error, errno, "--output %s", path);
}

shoal_status results_create(const struct results_options *options, struct results **out,
                            struct shoal_error *error) {
    struct results *results = mem_calloc(1, sizeof *results);
    uint32_t *order = mem_calloc(options->width, sizeof *order);
    if (results == NULL || order == NULL) {
        mem_free(results);
        mem_free(order);
        return error_set(error, SHOAL_NO_MEMORY, "no memory for results");
    }
    results->options = *options;
    results->order = order;
    results->last = &results->first;
    (void)pthread_mutex_init(&results->mutex, NULL);
    digest_init(&results->digest);
    const shoal_status status = open_output(results, error);
    if (status != SHOAL_OK) {
        results_destroy(results);
        return status;
    }
    *out = results;
    return SHOAL_OK;
}

void results_destroy(struct results *results) {
    if (results == NULL) {
        return;
    }
    if (results->file != NULL) {
        (void)fclose(results->file); /* results_flush reported what could go wrong */
    }
    (void)!result_array_close(results->array, NULL); /* results_finish did, unless the run failed */
    while (results->first != NULL) {
        struct skipped *next = results->first->next;
        mem_free(results->first->name);
        mem_free(results->first->why);
        mem_free(results->first);
        results->first = next;
    }
    (void)pthread_mutex_destroy(&results->mutex);
    mem_free(results->order);
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
    const uint32_t width = results->options.width;
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

static json_t *top_to_json(const struct results *results, const float *row, uint32_t k,
                           double sum) {
    json_t *list = json_array();
    for (uint32_t i = 0; i < k && list != NULL; i++) {
        const uint32_t class_index = results->order[i];
        const char *label = results->options.label(results->options.label_context, class_index);
        const double probability =
            exp((double)row[class_index] - (double)row[results->order[0]]) / sum;
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
static bool is_value(const struct results_options *options) {
    return options->classifies && options->width == 1;
}

static void print_line(const struct results *results, const char *name, const float *row,
                       double sum) {
    if (!results->options.classifies) {
        (void)fprintf(results->options.text, "%s  embedding of %u values\n", name,
                      results->options.width);
        return;
    }
    if (is_value(&results->options)) {
        (void)fprintf(results->options.text, "%s  %.6g\n", name, (double)row[0]);
        return;
    }
    const uint32_t best = results->order[0];
    const char *label = results->options.label(results->options.label_context, best);
    if (label != NULL) {
        (void)fprintf(results->options.text, "%s  %s  %.3f\n", name, label, 1.0 / sum);
    } else {
        (void)fprintf(results->options.text, "%s  class %u  %.3f\n", name, best, 1.0 / sum);
    }
}

shoal_status results_add(struct results *results, uint64_t index, const char *name,
                         const float *row, struct shoal_error *error) {
    const struct results_options *options = &results->options;
    digest_update(&results->digest, row, options->width * sizeof *row);
    TRY(results_write_skipped(results, index, error));
    uint32_t k = options->classifies ? options->top : 0;
    k = k > options->width ? options->width : k > TOP_MOST ? TOP_MOST : k;
    double sum = 1;
    if (options->classifies && (options->text != NULL || results->file != NULL)) {
        find_top(results, row, k > 0 ? k : 1);
        sum = softmax_sum(row, options->width, row[results->order[0]]);
    }
    if (options->text != NULL) {
        print_line(results, name, row, sum);
    }
    if (results->array != NULL) {
        return result_array_put(results->array, index, row, error);
    }
    if (results->file == NULL) {
        return SHOAL_OK;
    }
    json_t *line =
        json_pack("{s:o, s:I}", "item", control_string(name), "index", (json_int_t)index);
    if (is_value(options)) {
        (void)json_object_set_new(line, "value",
                                  isfinite(row[0]) ? json_real((double)row[0]) : json_null());
    } else if (options->classifies && k > 0) {
        (void)json_object_set_new(line, "top", top_to_json(results, row, k, sum));
    }
    if (options->logits || !options->classifies) {
        (void)json_object_set_new(line, options->classifies ? "logits" : "embedding",
                                  values_to_json(row, options->width));
    }
    return write_line(results, line, error);
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
    if (results->array != NULL) {
        TRY(result_array_flush(results->array, error));
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
    struct result_array *array = results->array;
    results->array = NULL;
    return result_array_close(array, error);
}

void results_digest(struct results *results, char text[DIGEST_TEXT]) {
    digest_final(&results->digest, text);
}
