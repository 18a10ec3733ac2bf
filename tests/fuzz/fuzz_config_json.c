/* The JSON files of Hugging Face directories: the first byte says which (from 16 on: those of
 * sentence-transformers, else even: config.json, odd: preprocessor_config.json), the rest is the
 * text. */
#include "formats/hf.h"

#include "base/assert.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void config(const uint8_t *text, size_t size) {
    struct model_config model;
    struct hf_labels labels;
    struct shoal_error error;
    if (hf_config_parse(text, size, &model, &labels, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    ASSERT(model_config_check(&model, NULL) == SHOAL_OK);
    ASSERT((size_t)model.labels == labels.count);
    for (size_t i = 0; i < labels.count; i++) {
        ASSERT(labels.names[i] != NULL);
    }
    hf_labels_fini(&labels);
}

static void preprocess(const uint8_t *text, size_t size, enum model_family family) {
    struct image_preprocess pre;
    struct shoal_error error;
    if (hf_preprocess_parse(text, size, family, &pre, &error) != SHOAL_OK) {
        ASSERT(error.text[0] != '\0');
        return;
    }
    int32_t height = 0, width = 0;
    if (image_preprocess_size(&pre, &height, &width)) {
        ASSERT(height > 0 && width > 0);
    }
    /* Small pictures of both shapes go through it, or are refused. */
    for (int64_t side = 3; side <= 5; side += 2) {
        struct image image;
        static float values[64 * 64 * 3];
        if (height > 0 && height <= 64 && width <= 64 &&
            image_alloc(side, 8 - side, &image, NULL) == SHOAL_OK) {
            for (size_t i = 0; i < (size_t)(side * (8 - side) * 3); i++) {
                image.pixels[i] = (uint8_t)i;
            }
            (void)!image_preprocess_apply(&image, &pre, height, width, values, NULL);
            image_fini(&image);
        }
    }
}

static void sentence(const uint8_t *text, size_t size, int kind) {
    struct hf_modules modules;
    enum model_pooling pooling;
    int64_t length;
    if (kind == 0 && hf_modules_parse(text, size, &modules, NULL) == SHOAL_OK) {
        ASSERT(memchr(modules.pooling, '\0', sizeof modules.pooling) != NULL);
        ASSERT(modules.pooling[0] != '/' && strstr(modules.pooling, "..") == NULL);
    } else if (kind == 1 && hf_pooling_parse(text, size, &pooling, NULL) == SHOAL_OK) {
        ASSERT(pooling == MODEL_POOL_CLS || pooling == MODEL_POOL_MEAN);
    } else if (kind == 2 && hf_sentence_parse(text, size, 512, &length, NULL) == SHOAL_OK) {
        ASSERT(length >= 1 && length <= 512);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) {
        return 0;
    }
    if (data[0] >= 16) {
        sentence(data + 1, size - 1, data[0] % 3);
        return 0;
    }
    if (data[0] % 2 == 0) {
        config(data + 1, size - 1);
    } else {
        preprocess(data + 1, size - 1, data[0] % 4 == 1 ? MODEL_VIT : MODEL_DEIT);
    }
    return 0;
}
