#include "formats/vocabulary.h"

#include "base/memory.h"
#include "formats/unicode.h"

#include <stdbool.h>
#include <string.h>

#define NODES_MOST (UINT32_C(1) << 22)
#define FIRST_BITS 12

struct edge {
    uint32_t key;   /* parent node · 256 + byte */
    uint32_t child; /* 0: empty, as the root is nobody's child */
};

struct vocabulary {
    struct edge *edges;
    unsigned bits; /* 2^bits edges have room */
    int32_t *ids;  /* [node capacity] */
    uint32_t nodes, node_capacity;
    int32_t size;
};

static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "no memory for a vocabulary");
}

shoal_status vocabulary_create(struct vocabulary **out, struct shoal_error *error) {
    struct vocabulary *vocabulary = mem_calloc(1, sizeof *vocabulary);
    if (vocabulary == NULL) {
        return no_memory(error);
    }
    vocabulary->bits = FIRST_BITS;
    vocabulary->node_capacity = UINT32_C(1) << (FIRST_BITS - 1);
    vocabulary->nodes = 1;
    vocabulary->edges = mem_calloc((size_t)1 << FIRST_BITS, sizeof *vocabulary->edges);
    vocabulary->ids = mem_alloc(vocabulary->node_capacity * sizeof *vocabulary->ids);
    if (vocabulary->edges == NULL || vocabulary->ids == NULL) {
        vocabulary_destroy(vocabulary);
        return no_memory(error);
    }
    vocabulary->ids[0] = VOCABULARY_NONE;
    *out = vocabulary;
    return SHOAL_OK;
}

void vocabulary_destroy(struct vocabulary *vocabulary) {
    if (vocabulary != NULL) {
        mem_free(vocabulary->edges);
        mem_free(vocabulary->ids);
        mem_free(vocabulary);
    }
}

/* Where the key is, or would go. */
static struct edge *find_edge(struct edge *edges, unsigned bits, uint32_t key) {
    const size_t mask = ((size_t)1 << bits) - 1;
    size_t place = (uint32_t)(key * UINT32_C(0x9E3779B1)) >> (32 - bits);
    while (edges[place].child != 0 && edges[place].key != key) {
        place = (place + 1) & mask;
    }
    return &edges[place];
}

static uint32_t child_of(const struct vocabulary *vocabulary, uint32_t node, unsigned char byte) {
    return find_edge(vocabulary->edges, vocabulary->bits, node << 8 | byte)->child;
}

/* Room for one more node: nodes are never more than half of the edges' places. */
static shoal_status grow(struct vocabulary *vocabulary, struct shoal_error *error) {
    if (vocabulary->nodes < vocabulary->node_capacity) {
        return SHOAL_OK;
    }
    if (vocabulary->nodes >= NODES_MOST) {
        return error_set(error, SHOAL_CORRUPT, "the vocabulary's tokens are too many or too long");
    }
    const unsigned bits = vocabulary->bits + 1;
    struct edge *edges = mem_calloc((size_t)1 << bits, sizeof *edges);
    int32_t *ids = edges != NULL
                       ? mem_realloc(vocabulary->ids, 2 * sizeof *ids * vocabulary->node_capacity)
                       : NULL;
    if (ids == NULL) {
        mem_free(edges);
        return no_memory(error);
    }
    for (size_t i = 0; i < (size_t)1 << vocabulary->bits; i++) {
        if (vocabulary->edges[i].child != 0) {
            *find_edge(edges, bits, vocabulary->edges[i].key) = vocabulary->edges[i];
        }
    }
    mem_free(vocabulary->edges);
    vocabulary->edges = edges;
    vocabulary->bits = bits;
    vocabulary->ids = ids;
    vocabulary->node_capacity *= 2;
    return SHOAL_OK;
}

static bool is_utf8(const unsigned char *bytes, size_t size) {
    for (size_t at = 0; at < size;) {
        uint32_t point;
        const size_t length = unicode_decode(bytes + at, bytes + size, &point);
        if (point == UNICODE_REPLACEMENT && (length != 3 || bytes[at] != 0xEF)) {
            return false;
        }
        at += length;
    }
    return true;
}

shoal_status vocabulary_add(struct vocabulary *vocabulary, const void *token, size_t size,
                            int32_t id, struct shoal_error *error) {
    const unsigned char *bytes = token;
    if (id < 0 || id >= VOCABULARY_MOST) {
        return error_set(error, SHOAL_CORRUPT, "token id %d is not from 0 to %d", id,
                         VOCABULARY_MOST - 1);
    }
    if (size > VOCABULARY_TOKEN) {
        return error_set(error, SHOAL_CORRUPT, "a token of %zu bytes; %d are the most", size,
                         VOCABULARY_TOKEN);
    }
    if (!is_utf8(bytes, size)) {
        return error_set(error, SHOAL_CORRUPT, "a token is not UTF-8");
    }
    uint32_t node = 0;
    for (size_t i = 0; i < size; i++) {
        uint32_t child = child_of(vocabulary, node, bytes[i]);
        if (child == 0) {
            TRY(grow(vocabulary, error));
            child = vocabulary->nodes++;
            vocabulary->ids[child] = VOCABULARY_NONE;
            const uint32_t key = node << 8 | bytes[i];
            *find_edge(vocabulary->edges, vocabulary->bits, key) = (struct edge){key, child};
        }
        node = child;
    }
    if (size > 0) {
        if (vocabulary->ids[node] != VOCABULARY_NONE) {
            return error_set(error, SHOAL_CORRUPT, "token '%.*s' is there twice: as %d and as %d",
                             size > 64 ? 64 : (int)size, (const char *)token, vocabulary->ids[node],
                             id);
        }
        vocabulary->ids[node] = id;
    }
    vocabulary->size = id >= vocabulary->size ? id + 1 : vocabulary->size;
    return SHOAL_OK;
}

shoal_status vocabulary_add_lines(struct vocabulary *vocabulary, const void *text, size_t size,
                                  struct shoal_error *error) {
    const char *at = text, *end = at + size;
    int32_t line = 0;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        const char *stop = newline != NULL ? newline : end;
        size_t length = (size_t)(stop - at);
        length -= length > 0 && at[length - 1] == '\r';
        if (line == VOCABULARY_MOST) {
            return error_set(error, SHOAL_CORRUPT, "more than %d lines", VOCABULARY_MOST);
        }
        const shoal_status status = vocabulary_add(vocabulary, at, length, line, error);
        if (status != SHOAL_OK) {
            return error_wrap(error, status, "line %d", line + 1);
        }
        line++;
        at = newline != NULL ? newline + 1 : end;
    }
    return SHOAL_OK;
}

int32_t vocabulary_size(const struct vocabulary *vocabulary) {
    return vocabulary->size;
}

uint32_t vocabulary_node(const struct vocabulary *vocabulary, const void *bytes, size_t size) {
    const unsigned char *at = bytes;
    uint32_t node = 0;
    for (size_t i = 0; i < size; i++) {
        node = child_of(vocabulary, node, at[i]);
        if (node == 0) {
            return VOCABULARY_NOWHERE;
        }
    }
    return node;
}

int32_t vocabulary_find(const struct vocabulary *vocabulary, const void *token, size_t size) {
    const uint32_t node = vocabulary_node(vocabulary, token, size);
    return node != VOCABULARY_NOWHERE ? vocabulary->ids[node] : VOCABULARY_NONE;
}

size_t vocabulary_longest(const struct vocabulary *vocabulary, uint32_t node,
                          const unsigned char *bytes, size_t size, int32_t *id) {
    size_t longest = 0;
    for (size_t i = 0; i < size; i++) {
        node = child_of(vocabulary, node, bytes[i]);
        if (node == 0) {
            break;
        }
        if (vocabulary->ids[node] != VOCABULARY_NONE) {
            longest = i + 1;
            *id = vocabulary->ids[node];
        }
    }
    return longest;
}
