/*
 * Writes the weights that a built-in model has without a file as a safetensors file, so that there
 * is something to distribute. usage: random_weights MODEL FILE [SEED]
 */
#include "base/memory.h"
#include "graph/weights.h"
#include "models/model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef shoal_status (*part_function)(void *to, const struct graph_param *param,
                                      const struct graph_part *part, struct shoal_error *error);

static shoal_status each_part(const struct graph *graph, part_function function, void *to,
                              struct shoal_error *error) {
    for (uint32_t i = 0; i < graph_param_count(graph); i++) {
        const struct graph_param *param = graph_param_get(graph, i);
        for (uint32_t k = 0; k < param->part_count; k++) {
            TRY(function(to, param, &param->parts[k], error));
        }
    }
    return SHOAL_OK;
}

struct header {
    FILE *text;
    size_t offset;
};

static shoal_status describe(void *to, const struct graph_param *param,
                             const struct graph_part *part, struct shoal_error *error) {
    struct header *header = to;
    size_t bytes;
    (void)param;
    if (!shape_bytes(&part->shape, DTYPE_F32, &bytes)) {
        return error_set(error, SHOAL_INVALID, "%s has no sound shape", part->name);
    }
    (void)fprintf(header->text, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[",
                  header->offset > 0 ? "," : "{", part->name);
    for (int i = 0; i < part->shape.rank; i++) {
        (void)fprintf(header->text, "%s%" PRId64, i > 0 ? "," : "", part->shape.dims[i]);
    }
    (void)fprintf(header->text, "],\"data_offsets\":[%zu,%zu]}", header->offset,
                  header->offset + bytes);
    header->offset += bytes;
    return SHOAL_OK;
}

struct body {
    FILE *file;
    struct weight_source *source;
};

static shoal_status append(void *to, const struct graph_param *param, const struct graph_part *part,
                           struct shoal_error *error) {
    struct body *body = to;
    struct tensor tensor;
    size_t bytes;
    TRY(body->source->ops->borrow(body->source, part->name, &part->shape, param->fill, &tensor,
                                  error));
    const bool sound = shape_bytes(&part->shape, DTYPE_F32, &bytes) &&
                       fwrite(tensor.data, 1, bytes, body->file) == bytes;
    body->source->ops->release(body->source, &tensor);
    return sound ? SHOAL_OK : error_set(error, SHOAL_IO, "cannot write %s", part->name);
}

static shoal_status write_header(FILE *file, const struct graph *graph, struct shoal_error *error) {
    char *text = NULL;
    size_t size = 0;
    struct header header = {.text = open_memstream(&text, &size)};
    if (header.text == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory");
    }
    shoal_status status = each_part(graph, describe, &header, error);
    (void)fputc('}', header.text);
    (void)fclose(header.text);
    unsigned char length[8];
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)size >> (8 * i));
    }
    if (status == SHOAL_OK &&
        (fwrite(length, 1, 8, file) != 8 || fwrite(text, 1, size, file) != size)) {
        status = error_set(error, SHOAL_IO, "cannot write the header");
    }
    free(text);
    return status;
}

static shoal_status write_model(const char *model, const char *path, uint64_t seed,
                                struct shoal_error *error) {
    struct model_config config;
    struct graph *graph = NULL;
    struct body body = {NULL, NULL};
    TRY(model_builtin(model, &config, error));
    TRY(model_build(&config, &graph, error));
    shoal_status status = weights_random_create(seed, &body.source, error);
    body.file = fopen(path, "wb");
    if (status == SHOAL_OK && body.file == NULL) {
        status = error_set(error, SHOAL_IO, "cannot create %s", path);
    }
    if (status == SHOAL_OK) {
        status = write_header(body.file, graph, error);
    }
    if (status == SHOAL_OK) {
        status = each_part(graph, append, &body, error);
    }
    if (body.file != NULL && fclose(body.file) != 0 && status == SHOAL_OK) {
        status = error_set(error, SHOAL_IO, "cannot write %s", path);
    }
    if (body.source != NULL) {
        body.source->ops->destroy(body.source);
    }
    graph_destroy(graph);
    return status;
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        (void)fprintf(stderr, "usage: random_weights MODEL FILE [SEED]\n");
        return 2;
    }
    struct shoal_error error;
    if (write_model(argv[1], argv[2], argc > 3 ? strtoull(argv[3], NULL, 10) : 1, &error) !=
        SHOAL_OK) {
        (void)fprintf(stderr, "random_weights: %s\n", error.text);
        return 1;
    }
    return 0;
}
