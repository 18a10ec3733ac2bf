/* What an open file owns: its maps and its memory. */
#include "base/checked.h"
#include "base/memory.h"
#include "formats/onnx/onnx_internal.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void onnx_store_init(struct onnx_store *store) {
    *store = (struct onnx_store){.files = NULL};
    arena_init(&store->arena);
}

void onnx_store_fini(struct onnx_store *store) {
    for (size_t i = 0; i < store->file_count; i++) {
        if (store->files[i]->mapped) {
            file_map_close(&store->files[i]->map);
        }
    }
    mem_free(store->files);
    arena_fini(&store->arena);
}

/* The text is the caller's to complete with the file's name. */
static shoal_status no_memory(struct shoal_error *error) {
    return error_set(error, SHOAL_NO_MEMORY, "no memory for its structure");
}

shoal_status onnx_store_array(struct onnx_store *store, size_t count, size_t size, void *out,
                              struct shoal_error *error) {
    size_t bytes = 0;
    void *array = checked_mul_size(count, size, &bytes)
                      ? arena_alloc(&store->arena, bytes > 0 ? bytes : 1)
                      : NULL;
    if (array == NULL) {
        return no_memory(error);
    }
    memcpy(out, &array, sizeof array);
    return SHOAL_OK;
}

static shoal_status add_file(struct onnx_store *store, const char *path, struct onnx_file **out,
                             struct shoal_error *error) {
    if (store->file_count == store->file_capacity) {
        const size_t capacity = store->file_capacity > 0 ? store->file_capacity * 2 : 4;
        struct onnx_file **grown = mem_realloc(store->files, capacity * sizeof *grown);
        if (grown == NULL) {
            return no_memory(error);
        }
        store->files = grown;
        store->file_capacity = capacity;
    }
    struct onnx_file *file = arena_alloc(&store->arena, sizeof *file);
    char *name = arena_strdup(&store->arena, path);
    if (file == NULL || name == NULL) {
        return no_memory(error);
    }
    file->path = name;
    file->index = store->file_count;
    store->files[store->file_count++] = file;
    *out = file;
    return SHOAL_OK;
}

/* path: where it lies; the file's own name is for the texts. */
static shoal_status map_file(struct onnx_file *file, const char *path, struct shoal_error *error) {
    int fd = -1;
    TRY(file_open(path, &fd, error));
    shoal_status status = file_identify(fd, path, &file->identity, error);
    if (status == SHOAL_OK) {
        status = file_map_descriptor(fd, path, &file->map, error);
    }
    (void)close(fd);
    file->mapped = status == SHOAL_OK;
    return status;
}

/* The directory of a path, without links in its own name; NULL stays if it cannot be resolved. */
static shoal_status find_directory(struct onnx_store *store, const char *path,
                                   struct shoal_error *error) {
    const char *slash = strrchr(path, '/');
    char *directory = slash == NULL
                          ? arena_strdup(&store->arena, ".")
                          : arena_format(&store->arena, "%.*s", (int)(slash - path) + 1, path);
    char resolved[PATH_MAX];
    if (directory == NULL) {
        return no_memory(error);
    }
    if (realpath(directory, resolved) != NULL) {
        store->directory = arena_strdup(&store->arena, resolved);
        return store->directory != NULL ? SHOAL_OK : no_memory(error);
    }
    return SHOAL_OK;
}

shoal_status onnx_store_open(struct onnx_store *store, const char *path,
                             struct shoal_error *error) {
    struct onnx_file *file = NULL;
    if (strlen(path) >= PATH_MAX) {
        return error_set(error, SHOAL_NOT_FOUND, "%.128s…: the path is too long", path);
    }
    const shoal_status status = add_file(store, path, &file, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "%s", path);
    }
    TRY(map_file(file, path, error));
    return find_directory(store, path, error);
}

shoal_status onnx_store_wrap(struct onnx_store *store, const char *name, const void *bytes,
                             size_t size, struct shoal_error *error) {
    struct onnx_file *file = NULL;
    TRY(add_file(store, name, &file, error));
    file->map = (struct file_map){.data = bytes, .size = size};
    return SHOAL_OK;
}

struct taking {
    struct arena *arena;
    bool out_of_memory;
};

static void *take(void *context, size_t size) {
    struct taking *taking = context;
    void *memory = arena_alloc(taking->arena, size);
    taking->out_of_memory = taking->out_of_memory || memory == NULL;
    return memory;
}

static void leave(void *context, void *pointer) {
    (void)context;
    (void)pointer; /* goes with the arena */
}

shoal_status onnx_store_unpack(struct onnx_store *store, enum outline_root root,
                               ProtobufCMessage **out, struct shoal_error *error) {
    static const ProtobufCMessageDescriptor *const descriptors[] = {
        [OUTLINE_MODEL] = &onnx__model_proto__descriptor,
        [OUTLINE_TENSOR] = &onnx__tensor_proto__descriptor,
        [OUTLINE_SEQUENCE] = &onnx__sequence_proto__descriptor,
        [OUTLINE_OPTIONAL] = &onnx__optional_proto__descriptor,
    };
    const struct onnx_file *file = store->files[0];
    struct outline outline = {.bytes = NULL};
    TRY(outline_make(root, file->map.data, file->map.size, &outline, error));
    struct taking taking = {.arena = &store->arena};
    ProtobufCAllocator allocator = {.alloc = take, .free = leave, .allocator_data = &taking};
    ProtobufCMessage *message =
        protobuf_c_message_unpack(descriptors[root], &allocator, outline.size, outline.bytes);
    mem_free(outline.bytes);
    if (message == NULL && taking.out_of_memory) {
        return no_memory(error);
    }
    if (message == NULL) {
        return error_set(error, SHOAL_CORRUPT, "its structure does not decode");
    }
    *out = message;
    return SHOAL_OK;
}

static bool stays_below(const char *location) {
    if (location[0] == '\0' || location[0] == '/') {
        return false;
    }
    for (const char *part = location; part != NULL;) {
        const char *slash = strchr(part, '/');
        const size_t length = slash != NULL ? (size_t)(slash - part) : strlen(part);
        if (length == 2 && memcmp(part, "..", 2) == 0) {
            return false;
        }
        part = slash != NULL ? slash + 1 : NULL;
    }
    return true;
}

/* Where the location leads, every link followed, if that is below the directory. */
static shoal_status resolve(const struct onnx_store *store, const char *location,
                            char resolved[PATH_MAX], struct shoal_error *error) {
    if (!stays_below(location)) {
        return error_set(error, SHOAL_DENIED,
                         "its data is said to be in \"%.128s\"; only files in the model's own "
                         "directory are read",
                         location);
    }
    char *path = mem_format("%s/%s", store->directory, location);
    if (path == NULL) {
        return no_memory(error);
    }
    shoal_status status = SHOAL_OK;
    if (realpath(path, resolved) == NULL) {
        status = error_errno(error, errno, "its data is in %s, which cannot be opened", path);
    }
    mem_free(path);
    TRY(status);
    const size_t length = strcmp(store->directory, "/") == 0 ? 0 : strlen(store->directory);
    if (strncmp(resolved, store->directory, length) != 0 || resolved[length] != '/') {
        return error_set(error, SHOAL_DENIED,
                         "its data, \"%.128s\", is a link out of the model's directory; copy the "
                         "file beside the model",
                         location);
    }
    return SHOAL_OK;
}

shoal_status onnx_external_file(struct onnx_store *store, const char *location,
                                const struct onnx_file **out, struct shoal_error *error) {
    if (store->directory == NULL) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "its data is in another file, which a model without a directory has not");
    }
    char resolved[PATH_MAX];
    TRY(resolve(store, location, resolved, error));
    /* The last one first: most models have one, and tensors of one file follow each other. */
    for (size_t i = store->file_count; i > 1; i--) {
        if (strcmp(store->files[i - 1]->path, resolved) == 0) {
            *out = store->files[i - 1];
            return SHOAL_OK;
        }
    }
    if (store->file_count > ONNX_FILE_LIMIT) {
        return error_set(error, SHOAL_CORRUPT, "more than %zu files of data", ONNX_FILE_LIMIT);
    }
    struct onnx_file *file = NULL;
    TRY(add_file(store, resolved, &file, error));
    TRY(map_file(file, resolved, error));
    *out = file;
    return SHOAL_OK;
}
