/*
 * How long contents take from here to the nodes of a cluster file: contents as a transformer of
 * LAYERS layers and WIDTH has them, with drawn bytes, made as they are read.
 *
 *   distribution_bench CLUSTER.yaml KEYFILE all|stages [LAYERS WIDTH SEED [MBIT]]
 *
 * all     every node gets everything
 * stages  each node gets its own part, of equal bytes; the vectors of the first layer go to all
 *
 * Default: 24 layers of 1024 (ViT-Large), a seed of its own each time: nodes keep what they get.
 * Prints one JSON document; with MBIT, the rate of this host's cable, also `ratio`: seconds against
 * unique bytes at that rate.
 */
#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "runtime/cluster_file.h"
#include "runtime/distribution.h"
#include "runtime/keys.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PER_LAYER 16

struct source {
    uint64_t seed;
    struct distribution_content *contents;
    uint32_t count;
};

static _Noreturn void give_up(const struct shoal_error *error) {
    (void)fprintf(stderr, "distribution_bench: %s\n", error->text);
    exit(1);
}

/* Byte i of a content is byte i mod 8 of word i / 8 (splitmix64). */
static uint64_t word_of(uint64_t seed, uint32_t content, uint64_t index) {
    uint64_t z = seed * UINT64_C(0xd1342543de82ef95) + ((uint64_t)content << 40) + index;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void draw(const struct source *source, uint32_t content, uint64_t offset, size_t size,
                 unsigned char *out) {
    for (size_t i = 0; i < size;) {
        const uint64_t word = word_of(source->seed, content, (offset + i) / 8);
        const size_t begin = (size_t)((offset + i) % 8);
        const size_t part = 8 - begin < size - i ? 8 - begin : size - i;
        memcpy(out + i, (const unsigned char *)&word + begin, part);
        i += part;
    }
}

static shoal_status read_source(void *context, const char *key, uint64_t offset, void *out,
                                size_t size, size_t *got, struct shoal_error *error) {
    const struct source *source = context;
    for (uint32_t c = 0; c < source->count; c++) {
        const uint64_t bytes = source->contents[c].bytes;
        if (strcmp(source->contents[c].key, key) == 0 && offset <= bytes) {
            *got = bytes - offset < size ? (size_t)(bytes - offset) : size;
            draw(source, c, offset, *got, out);
            return SHOAL_OK;
        }
    }
    return error_set(error, SHOAL_NOT_FOUND, "no content %s is here", key);
}

static void add(struct source *source, uint64_t bytes) {
    static unsigned char piece[1 << 16];
    struct digest digest;
    struct distribution_content *content = &source->contents[source->count];
    content->name = mem_format("content %u", source->count);
    content->bytes = bytes;
    digest_init(&digest);
    for (uint64_t at = 0; at < bytes; at += sizeof piece) {
        const size_t part = bytes - at < sizeof piece ? (size_t)(bytes - at) : sizeof piece;
        draw(source, source->count, at, part, piece);
        digest_update(&digest, piece, part);
    }
    digest_final(&digest, content->key);
    source->count++;
}

static void make_contents(struct source *source, uint64_t layers, uint64_t width) {
    source->contents = mem_calloc(layers * PER_LAYER, sizeof *source->contents);
    if (source->contents == NULL) {
        exit(1);
    }
    for (uint64_t l = 0; l < layers; l++) {
        for (int i = 0; i < 10; i++) {
            add(source, 4 * width);
        }
        for (int i = 0; i < 4; i++) {
            add(source, 4 * width * width);
        }
        for (int i = 0; i < 2; i++) {
            add(source, 16 * width * width);
        }
    }
}

static uint64_t sum_bytes(const struct source *source) {
    uint64_t sum = 0;
    for (uint32_t c = 0; c < source->count; c++) {
        sum += source->contents[c].bytes;
    }
    return sum;
}

static void mark_needs(const struct source *source, uint32_t devices, bool all, bool *needs) {
    const uint64_t total = sum_bytes(source);
    uint64_t before = 0;
    for (uint32_t c = 0; c < source->count; c++) {
        const uint32_t owner = (uint32_t)(before * devices / total);
        for (uint32_t d = 0; d < devices; d++) {
            needs[(size_t)d * source->count + c] = all || d == owner || c < 10;
        }
        before += source->contents[c].bytes;
    }
}

static void print_outcome(const struct distribution_outcome *outcome, const struct source *source,
                          const char *mode, double mbit) {
    const double unique = (double)sum_bytes(source);
    printf(
        "{\"mode\": \"%s\", \"devices\": %u, \"contents\": %u, \"unique_bytes\": %.0f, "
        "\"sent_bytes\": %llu, \"received_bytes\": %llu, \"had_bytes\": %llu, \"seconds\": %.3f, "
        "\"unique_bytes_per_second\": %.0f",
        mode, outcome->device_count, source->count, unique, (unsigned long long)outcome->sent_bytes,
        (unsigned long long)outcome->received_bytes, (unsigned long long)outcome->had_bytes,
        outcome->seconds, unique / outcome->seconds);
    if (mbit > 0) {
        printf(", \"ratio\": %.4f", outcome->seconds / (unique / (mbit * 1e6 / 8)));
    }
    printf("}\n");
}

int main(int argc, char **argv) {
    struct shoal_error error = {.text = ""};
    if (argc < 4 || (strcmp(argv[3], "all") != 0 && strcmp(argv[3], "stages") != 0)) {
        (void)fprintf(stderr, "usage: distribution_bench CLUSTER.yaml KEYFILE all|stages "
                              "[LAYERS WIDTH SEED [MBIT]]\n");
        return 2;
    }
    const uint64_t layers = argc > 4 ? strtoull(argv[4], NULL, 10) : 24;
    const uint64_t width = argc > 5 ? strtoull(argv[5], NULL, 10) : 1024;
    const uint64_t seed = argc > 6 ? strtoull(argv[6], NULL, 10) : platform_now_ns();
    const double mbit = argc > 7 ? strtod(argv[7], NULL) : 0;
    if (layers == 0 || layers > 1000 || width == 0 || width > 65536) {
        (void)fprintf(stderr, "distribution_bench: LAYERS is 1 to 1000, WIDTH 1 to 65536\n");
        return 2;
    }
    log_set_level(LOG_INFO); /* says what could not be fetched at once */
    struct source source = {.seed = seed};
    make_contents(&source, layers, width);
    struct cluster_file *file;
    struct zmq_keypair keys;
    struct cluster *cluster;
    if (cluster_file_read(argv[1], &file, &error) != SHOAL_OK ||
        keys_read(argv[2], &keys, &error) != SHOAL_OK) {
        give_up(&error);
    }
    const struct cluster_connect_options connect = {.keys = &keys};
    if (cluster_connect(file, &connect, &cluster, &error) != SHOAL_OK) {
        give_up(&error);
    }
    bool *needs = mem_calloc((size_t)cluster->count * source.count, sizeof *needs);
    if (needs == NULL) {
        return 1;
    }
    mark_needs(&source, cluster->count, strcmp(argv[3], "all") == 0, needs);
    const struct distribution_options options = {.cluster = cluster,
                                                 .contents = source.contents,
                                                 .content_count = source.count,
                                                 .needs = needs,
                                                 .read = read_source,
                                                 .read_context = &source};
    struct distribution_outcome outcome;
    const shoal_status status = distribution_run(&options, &outcome, &error);
    if (status == SHOAL_OK) {
        print_outcome(&outcome, &source, argv[3], mbit);
    }
    distribution_outcome_fini(&outcome);
    cluster_destroy(cluster);
    cluster_file_free(file);
    for (uint32_t c = 0; c < source.count; c++) {
        mem_free((void *)(uintptr_t)source.contents[c].name);
    }
    mem_free(source.contents);
    mem_free(needs);
    if (status != SHOAL_OK) {
        give_up(&error);
    }
    return 0;
}
