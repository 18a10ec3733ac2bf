#include "runtime/origin.h"

#include "base/log.h"
#include "base/memory.h"
#include "formats/json.h"
#include "formats/safetensors.h"
#include "platform/file.h"
#include "runtime/onnx_weights.h"
#include "runtime/stage.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HASH_PIECE ((size_t)1 << 20)
/* A file changed less long ago could change again without its time telling. */
#define SETTLED_NS INT64_C(2000000000)

struct origin_file {
    const char *path; /* the source's */
    struct file_identity identity;
    int fd;
};

struct origin_content {
    char key[DIGEST_TEXT];
    const unsigned char *memory; /* decoded; NULL: it lies in a file */
    size_t file;
    uint64_t offset, bytes;
};

/* A stored tensor, of whichever kind of file. */
struct origin_tensor {
    const char *name;
    enum dtype dtype;
    struct shape shape;
    size_t bytes, file, offset;
    void *memory; /* decoded, owned; NULL: it lies in a file */
};

struct origin {
    struct weight_source *source;
    bool onnx;
    struct origin_tensor *tensors; /* sorted by name */
    size_t tensor_count;
    struct origin_file *files;
    size_t file_count;
    struct manifest manifest;
    char *json; /* the manifest's bytes */
    size_t json_bytes;
    char manifest_key[DIGEST_TEXT];
    struct origin_content *contents; /* sorted by key, each once */
    size_t content_count;
};

/* What is known while it is opened. */
struct opening {
    const struct origin_options *options;
    struct origin *origin;
    const struct origin_tensor *tensors; /* of all files, sorted by name */
    size_t count;
    struct manifest_entry *entries; /* [count], the same order; key "" until it is known */
    unsigned char *piece;           /* [HASH_PIECE] */
    uint64_t done, total;
};

void origin_close(struct origin *origin) {
    if (origin == NULL) {
        return;
    }
    for (size_t i = 0; i < origin->tensor_count; i++) {
        mem_free(origin->tensors[i].memory);
    }
    mem_free(origin->tensors);
    for (size_t i = 0; i < origin->file_count; i++) {
        if (origin->files[i].fd >= 0) {
            (void)close(origin->files[i].fd);
        }
    }
    if (origin->source != NULL) {
        origin->source->ops->destroy(origin->source);
    }
    manifest_fini(&origin->manifest);
    mem_free(origin->files);
    mem_free(origin->json);
    mem_free(origin->contents);
    mem_free(origin);
}

static shoal_status check_unchanged(const struct origin_file *file, struct shoal_error *error) {
    struct file_identity now;
    TRY(file_identify(file->fd, file->path, &now, error));
    return file_identity_equal(&now, &file->identity)
               ? SHOAL_OK
               : error_set(error, SHOAL_MISMATCH,
                           "%s: changed while it was in use; start again when it is whole",
                           file->path);
}

/* The files that the source mapped, once more, for reading: a map of a file that shrinks kills. */
static const char *file_of(const struct origin *origin, size_t index,
                           const struct file_identity **identity) {
    if (!origin->onnx) {
        return safetensors_shard(origin->source, index, identity);
    }
    const struct onnx_model *model = onnx_weights_model(origin->source);
    if (index >= model->file_count) {
        return NULL;
    }
    *identity = &model->files[index]->identity;
    return model->files[index]->path;
}

static shoal_status open_files(struct origin *origin, struct shoal_error *error) {
    const struct file_identity *identity;
    size_t count = 0;
    while (file_of(origin, count, &identity) != NULL) {
        count++;
    }
    origin->files = mem_calloc(count, sizeof *origin->files);
    if (origin->files == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu files", count);
    }
    for (size_t i = 0; i < count; i++) {
        struct origin_file *file = &origin->files[origin->file_count++];
        file->fd = -1;
        file->path = file_of(origin, i, &identity);
        file->identity = *identity;
        TRY(file_open(file->path, &file->fd, error));
        TRY(check_unchanged(file, error));
    }
    return SHOAL_OK;
}

/* Hashes kept from another time. */

static char *store_key(const struct origin_file *file) {
    char *key = mem_format("contents of %s", file->path);
    if (key != NULL && strlen(key) > STORE_KEY_LIMIT) {
        mem_free(key);
        return NULL;
    }
    return key;
}

static json_t *identity_json(const struct file_identity *identity) {
    return json_pack("{s:I, s:I, s:I, s:I}", "device", (json_int_t)identity->device, "inode",
                     (json_int_t)identity->inode, "size", (json_int_t)identity->size, "modified_ns",
                     (json_int_t)identity->modified_ns);
}

/* Keys from a stored manifest, if it is of the same tensors; all or none. */
static bool take_keys(struct opening *opening, size_t file, const struct manifest *stored) {
    size_t matching = 0;
    for (size_t i = 0; i < opening->count; i++) {
        if (opening->tensors[i].file == file) {
            const struct manifest_entry *entry = &opening->entries[i];
            const struct manifest_entry *kept = manifest_find(stored, entry->name);
            if (kept == NULL || kept->dtype != entry->dtype ||
                !shape_equal(&kept->shape, &entry->shape)) {
                return false;
            }
            matching++;
        }
    }
    if (matching != stored->count) {
        return false;
    }
    for (size_t i = 0; i < opening->count; i++) {
        if (opening->tensors[i].file == file) {
            memcpy(opening->entries[i].key, manifest_find(stored, opening->entries[i].name)->key,
                   DIGEST_TEXT);
        }
    }
    return true;
}

static bool recall_from(struct opening *opening, size_t file, const char *text) {
    json_t *root = NULL;
    struct manifest stored;
    bool taken = false;
    if (json_parse_object(text, strlen(text), &root, NULL) != SHOAL_OK) {
        return false;
    }
    json_t *identity = identity_json(&opening->origin->files[file].identity);
    const char *manifest = json_string_value(json_object_get(root, "manifest"));
    if (identity != NULL && manifest != NULL &&
        json_equal(identity, json_object_get(root, "identity")) == 1 &&
        manifest_parse(manifest, strlen(manifest), &stored, NULL) == SHOAL_OK) {
        taken = take_keys(opening, file, &stored);
        manifest_fini(&stored);
    }
    json_decref(identity);
    json_decref(root);
    return taken;
}

static bool recall(struct opening *opening, size_t file) {
    char *key = store_key(&opening->origin->files[file]), *text = NULL;
    bool taken = false;
    if (opening->options->store != NULL && key != NULL &&
        store_profile_get(opening->options->store, key, &text, NULL, NULL) == SHOAL_OK) {
        taken = recall_from(opening, file, text);
        mem_free(text);
    }
    mem_free(key);
    return taken;
}

static shoal_status file_manifest(const struct opening *opening, size_t file, char **json,
                                  struct shoal_error *error) {
    struct manifest_entry *entries = mem_calloc(opening->count, sizeof *entries);
    if (entries == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a manifest");
    }
    size_t count = 0, size = 0;
    for (size_t i = 0; i < opening->count; i++) {
        if (opening->tensors[i].file == file) {
            entries[count++] = opening->entries[i];
        }
    }
    struct manifest manifest;
    shoal_status status = manifest_create(entries, count, &manifest, error);
    mem_free(entries);
    if (status == SHOAL_OK) {
        status = manifest_format(&manifest, json, &size, error);
        manifest_fini(&manifest);
    }
    return status;
}

static shoal_status remember_in(struct store *store, const char *key, const json_t *value,
                                struct shoal_error *error) {
    char *text = value != NULL ? json_dumps(value, JSON_COMPACT) : NULL;
    if (text == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a file's hashes");
    }
    const shoal_status status = store_profile_put(store, key, text, (int64_t)time(NULL), error);
    free(text); /* jansson's */
    return status;
}

static void remember(const struct opening *opening, size_t index) {
    const struct origin_file *file = &opening->origin->files[index];
    struct timespec now;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    char *key = store_key(file), *manifest = NULL;
    if (opening->options->store != NULL && key != NULL &&
        now_ns - file->identity.modified_ns >= SETTLED_NS) {
        struct shoal_error error;
        shoal_status status = file_manifest(opening, index, &manifest, &error);
        if (status == SHOAL_OK) {
            json_t *value = json_pack("{s:o, s:s}", "identity", identity_json(&file->identity),
                                      "manifest", manifest);
            status = remember_in(opening->options->store, key, value, &error);
            json_decref(value);
            mem_free(manifest);
        }
        if (status != SHOAL_OK) {
            log_warn("%s will be hashed again next time: %s", file->path, error.text);
        }
    }
    mem_free(key);
}

/* Hashing. */

static bool progress(const struct opening *opening) {
    const struct origin_options *options = opening->options;
    return options->on_progress == NULL ||
           options->on_progress(options->context, opening->done, opening->total);
}

static shoal_status hash_tensor(struct opening *opening, size_t index, struct shoal_error *error) {
    const struct origin_tensor *tensor = &opening->tensors[index];
    const struct origin_file *file = &opening->origin->files[tensor->file];
    struct digest digest;
    digest_init(&digest);
    if (tensor->memory != NULL) {
        digest_update(&digest, tensor->memory, tensor->bytes);
        digest_final(&digest, opening->entries[index].key);
        return SHOAL_OK;
    }
    for (size_t at = 0; at < tensor->bytes;) {
        const size_t left = tensor->bytes - at, want = left < HASH_PIECE ? left : HASH_PIECE;
        size_t got = 0;
        TRY(file_read_at(file->fd, file->path, tensor->offset + at, opening->piece, want, &got,
                         error));
        if (got < want) {
            return error_set(error, SHOAL_MISMATCH, "%s: became shorter while it was read",
                             file->path);
        }
        digest_update(&digest, opening->piece, got);
        at += got;
        opening->done += got;
        if (!progress(opening)) {
            return error_set(error, SHOAL_CANCELLED, "cancelled while hashing %s", file->path);
        }
    }
    digest_final(&digest, opening->entries[index].key);
    return SHOAL_OK;
}

/* Recalls what is known, hashes the rest, file by file. */
static shoal_status find_keys(struct opening *opening, struct shoal_error *error) {
    struct origin *origin = opening->origin;
    bool *known = mem_calloc(origin->file_count, sizeof *known);
    if (known == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu files", origin->file_count);
    }
    for (size_t f = 0; f < origin->file_count; f++) {
        known[f] = recall(opening, f);
        opening->total += known[f] ? 0 : origin->files[f].identity.size;
    }
    shoal_status status = SHOAL_OK;
    for (size_t f = 0; f < origin->file_count && status == SHOAL_OK; f++) {
        for (size_t i = 0; i < opening->count && status == SHOAL_OK && !known[f]; i++) {
            if (opening->tensors[i].file == f) {
                status = hash_tensor(opening, i, error);
            }
        }
        if (status == SHOAL_OK) {
            status = check_unchanged(&origin->files[f], error);
        }
        if (status == SHOAL_OK && !known[f]) {
            remember(opening, f);
        }
    }
    mem_free(known);
    return status;
}

static int compare_contents(const void *a, const void *b) {
    const struct origin_content *left = a, *right = b;
    return strcmp(left->key, right->key);
}

static int compare_key(const void *key, const void *element) {
    const struct origin_content *content = element;
    return strcmp(key, content->key);
}

/* Where each content lies; equal tensors are one. */
static shoal_status index_contents(struct opening *opening, struct shoal_error *error) {
    struct origin *origin = opening->origin;
    origin->contents =
        mem_calloc(opening->count > 0 ? opening->count : 1, sizeof *origin->contents);
    if (origin->contents == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu tensors", opening->count);
    }
    for (size_t i = 0; i < opening->count; i++) {
        struct origin_content *content = &origin->contents[i];
        memcpy(content->key, opening->entries[i].key, DIGEST_TEXT);
        content->memory = opening->tensors[i].memory;
        content->file = opening->tensors[i].file;
        content->offset = opening->tensors[i].offset;
        content->bytes = opening->tensors[i].bytes;
    }
    qsort(origin->contents, opening->count, sizeof *origin->contents, compare_contents);
    for (size_t i = 0; i < opening->count; i++) {
        if (origin->content_count == 0 ||
            strcmp(origin->contents[origin->content_count - 1].key, origin->contents[i].key) != 0) {
            origin->contents[origin->content_count++] = origin->contents[i];
        }
    }
    return SHOAL_OK;
}

static shoal_status make_manifest(struct opening *opening, struct shoal_error *error) {
    struct origin *origin = opening->origin;
    shoal_status status =
        manifest_create(opening->entries, opening->count, &origin->manifest, error);
    if (status == SHOAL_OK) {
        status = manifest_format(&origin->manifest, &origin->json, &origin->json_bytes, error);
    }
    if (status != SHOAL_OK) {
        const shoal_status code = status == SHOAL_INVALID ? SHOAL_UNSUPPORTED : status;
        return error_wrap(error, code, "%s", opening->options->path);
    }
    struct digest digest;
    digest_init(&digest);
    digest_update(&digest, origin->json, origin->json_bytes);
    digest_final(&digest, origin->manifest_key);
    return index_contents(opening, error);
}

static shoal_status list_safetensors(struct origin *origin, struct shoal_error *error) {
    size_t count;
    const struct safetensors_entry *entries = safetensors_list(origin->source, &count);
    origin->tensors = mem_calloc(count > 0 ? count : 1, sizeof *origin->tensors);
    if (origin->tensors == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu tensors", count);
    }
    for (size_t i = 0; i < count; i++) {
        origin->tensors[i] = (struct origin_tensor){.name = entries[i].name,
                                                    .dtype = entries[i].dtype,
                                                    .shape = entries[i].shape,
                                                    .bytes = entries[i].bytes,
                                                    .file = entries[i].shard,
                                                    .offset = entries[i].offset};
    }
    origin->tensor_count = count;
    return SHOAL_OK;
}

/* Tensors that do not lie in the file as they are in memory are decoded once. */
static shoal_status list_onnx(struct origin *origin, struct shoal_error *error) {
    size_t count;
    const struct onnx_stored *stored = onnx_weights_list(origin->source, &count);
    origin->tensors = mem_calloc(count > 0 ? count : 1, sizeof *origin->tensors);
    if (origin->tensors == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu tensors", count);
    }
    for (size_t i = 0; i < count; i++) {
        struct origin_tensor *tensor = &origin->tensors[origin->tensor_count];
        if (stored[i].bytes == 0 || stored[i].name[0] == '\0') {
            continue; /* nothing that a device could need */
        }
        *tensor = (struct origin_tensor){.name = stored[i].name,
                                         .dtype = stored[i].dtype,
                                         .shape = stored[i].shape,
                                         .bytes = stored[i].bytes,
                                         .file = stored[i].file,
                                         .offset = stored[i].offset};
        if (stored[i].file == ONNX_NO_FILE) {
            struct tensor decoded;
            TRY(onnx_tensor_read(stored[i].tensor, &decoded, error));
            tensor->memory = decoded.data;
            tensor->file = 0;
        }
        origin->tensor_count++;
    }
    return SHOAL_OK;
}

static shoal_status fill(struct opening *opening, struct shoal_error *error) {
    struct origin *origin = opening->origin;
    TRY(origin->onnx ? list_onnx(origin, error) : list_safetensors(origin, error));
    opening->tensors = origin->tensors;
    opening->count = origin->tensor_count;
    opening->entries =
        mem_calloc(opening->count > 0 ? opening->count : 1, sizeof *opening->entries);
    opening->piece = mem_alloc(HASH_PIECE);
    if (opening->entries == NULL || opening->piece == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for %zu tensors", opening->count);
    }
    for (size_t i = 0; i < opening->count; i++) {
        const struct origin_tensor *tensor = &opening->tensors[i];
        opening->entries[i] = (struct manifest_entry){.name = tensor->name,
                                                      .dtype = tensor->dtype,
                                                      .shape = tensor->shape,
                                                      .bytes = tensor->bytes};
    }
    TRY(open_files(origin, error));
    TRY(find_keys(opening, error));
    return make_manifest(opening, error);
}

shoal_status origin_open(const struct origin_options *options, struct origin **out,
                         struct shoal_error *error) {
    const struct weights_spec spec = {.path = options->path};
    struct origin *origin = mem_calloc(1, sizeof *origin);
    if (origin == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "%s: no memory", options->path);
    }
    arena_init(&origin->manifest.arena);
    struct opening opening = {.options = options, .origin = origin};
    origin->onnx = onnx_weights_is(options->path);
    shoal_status status = weights_open(&spec, &origin->source, error);
    if (status == SHOAL_OK) {
        status = fill(&opening, error);
    }
    mem_free(opening.entries);
    mem_free(opening.piece);
    if (status != SHOAL_OK) {
        origin_close(origin);
        return status;
    }
    *out = origin;
    return SHOAL_OK;
}

const struct manifest *origin_manifest(const struct origin *origin) {
    return &origin->manifest;
}

const char *origin_manifest_key(const struct origin *origin) {
    return origin->manifest_key;
}

static const struct origin_content *find(const struct origin *origin, const char *key) {
    return bsearch(key, origin->contents, origin->content_count, sizeof *origin->contents,
                   compare_key);
}

bool origin_has(const struct origin *origin, const char *key, uint64_t *bytes) {
    const bool manifest = strcmp(key, origin->manifest_key) == 0;
    const struct origin_content *content = manifest ? NULL : find(origin, key);
    if (bytes != NULL && (manifest || content != NULL)) {
        *bytes = manifest ? origin->json_bytes : content->bytes;
    }
    return manifest || content != NULL;
}

shoal_status origin_read(const struct origin *origin, const char *key, uint64_t offset, void *out,
                         size_t size, size_t *got, struct shoal_error *error) {
    uint64_t bytes = 0;
    if (!origin_has(origin, key, &bytes)) {
        return error_set(error, SHOAL_NOT_FOUND, "%.80s is no content of this model", key);
    }
    const uint64_t left = offset < bytes ? bytes - offset : 0;
    const size_t want = left < size ? (size_t)left : size;
    if (want == 0) {
        *got = 0;
        return SHOAL_OK;
    }
    const struct origin_content *content = find(origin, key);
    if (content == NULL) {
        memcpy(out, origin->json + offset, want);
        *got = want;
        return SHOAL_OK;
    }
    if (content->memory != NULL) {
        memcpy(out, content->memory + offset, want);
        *got = want;
        return SHOAL_OK;
    }
    const struct origin_file *file = &origin->files[content->file];
    size_t used = 0;
    TRY(file_read_at(file->fd, file->path, content->offset + offset, out, want, &used, error));
    TRY(check_unchanged(file, error));
    if (used < want) {
        return error_set(error, SHOAL_MISMATCH, "%s: shorter than its header says", file->path);
    }
    *got = used;
    return SHOAL_OK;
}
