/* preprocessor_config.json: every form of its keys that transformers has written since version 4.
 */
#include "formats/hf.h"
#include "formats/json.h"
#include "models/cnn.h"

#include <string.h>

#define SIDE_LIMIT 16384

void hf_preprocess_default(const struct model_config *config, struct image_preprocess *out) {
    const int32_t side = (int32_t)config->image_size;
    if (config->family == MODEL_BERT) {
        memset(out, 0, sizeof *out);
        return;
    }
    if (cnn_is(config->family)) {
        if (config->channels == 1) {
            image_preprocess_digits(side, out);
        } else {
            image_preprocess_torchvision(side, out);
        }
        return;
    }
    /* A DeiT without distillation is built and saved as a ViT; only its name tells. */
    if (config->family == MODEL_DEIT || strncmp(config->name, "deit", 4) == 0) {
        image_preprocess_deit(side, out);
    } else {
        image_preprocess_vit(side, out);
    }
}

/* What the classes of transformers fill in for absent keys; not what published DeiT models say,
 * which differs in the mean. */
static void class_default(enum model_family family, struct image_preprocess *out) {
    image_preprocess_vit(224, out);
    if (family == MODEL_DEIT) {
        out->resample = IMAGE_BICUBIC;
        out->height = out->width = 256;
        out->do_center_crop = true;
        out->crop_height = out->crop_width = 224;
    }
}

/* Which class wrote the file. Another than ViT's and DeiT's is followed as far as its keys say
 * everything. */
static shoal_status parse_class(const json_t *root, enum model_family *family, bool *known,
                                struct shoal_error *error) {
    const char *type = NULL;
    TRY(json_get_string(root, "feature_extractor_type", &type, error));
    TRY(json_get_string(root, "image_processor_type", &type, error));
    *known = type == NULL || strncmp(type, "ViT", 3) == 0 || strncmp(type, "DeiT", 4) == 0;
    if (type != NULL && *known) {
        *family = type[0] == 'D' ? MODEL_DEIT : MODEL_VIT;
    }
    return SHOAL_OK;
}

static shoal_status parse_side(const json_t *object, const char *name, const char *key,
                               int32_t *out, struct shoal_error *error) {
    int64_t side = 0;
    const shoal_status status = json_get_int(object, key, 1, SIDE_LIMIT, &side, error);
    if (status != SHOAL_OK) {
        return error_wrap(error, status, "%s", name);
    }
    if (side == 0) {
        return error_set(error, SHOAL_CORRUPT, "%s: %s is missing", name, key);
    }
    *out = (int32_t)side;
    return SHOAL_OK;
}

/* A list of height and width, or one number for both. */
static shoal_status parse_plain_size(const json_t *root, const char *name, int32_t *height,
                                     int32_t *width, struct shoal_error *error) {
    const json_t *size = json_object_get(root, name);
    const bool list = json_is_array(size) && json_array_size(size) == 2;
    const json_t *first = list ? json_array_get(size, 0) : size;
    const json_t *second = list ? json_array_get(size, 1) : size;
    const json_int_t h = json_integer_value(first), w = json_integer_value(second);
    if (h < 1 || w < 1 || h > SIDE_LIMIT || w > SIDE_LIMIT) {
        return error_set(error, SHOAL_CORRUPT, "%s must be 1 to %d, two such numbers or an object",
                         name, SIDE_LIMIT);
    }
    *height = (int32_t)h;
    *width = (int32_t)w;
    return SHOAL_OK;
}

static shoal_status parse_size(const json_t *root, bool known, struct image_preprocess *out,
                               struct shoal_error *error) {
    const json_t *size = json_object_get(root, "size");
    if (size == NULL || json_is_null(size)) {
        return SHOAL_OK;
    }
    out->mode = IMAGE_RESIZE_EXACT;
    if (!json_is_object(size)) {
        if (json_is_integer(size) && !known) {
            return error_set(
                error, SHOAL_UNSUPPORTED,
                "size: what one number means to this image processor is not known; write "
                "{\"height\": …, \"width\": …} or {\"shortest_edge\": …}");
        }
        return parse_plain_size(root, "size", &out->height, &out->width, error);
    }
    if (json_object_get(size, "shortest_edge") != NULL) {
        out->mode = IMAGE_RESIZE_SHORTEST;
        out->longest = 0;
        TRY(parse_side(size, "size", "shortest_edge", &out->shortest, error));
        return json_object_get(size, "longest_edge") == NULL
                   ? SHOAL_OK
                   : parse_side(size, "size", "longest_edge", &out->longest, error);
    }
    if (json_object_get(size, "height") == NULL) {
        return error_set(error, SHOAL_UNSUPPORTED,
                         "size: neither height and width nor shortest_edge is given");
    }
    TRY(parse_side(size, "size", "height", &out->height, error));
    return parse_side(size, "size", "width", &out->width, error);
}

static shoal_status parse_crop(const json_t *root, struct image_preprocess *out,
                               struct shoal_error *error) {
    const json_t *size = json_object_get(root, "crop_size");
    TRY(json_get_bool(root, "do_center_crop", &out->do_center_crop, error));
    if (json_is_object(size)) {
        TRY(parse_side(size, "crop_size", "height", &out->crop_height, error));
        TRY(parse_side(size, "crop_size", "width", &out->crop_width, error));
    } else if (size != NULL && !json_is_null(size)) {
        TRY(parse_plain_size(root, "crop_size", &out->crop_height, &out->crop_width, error));
    }
    if (out->do_center_crop && out->crop_height == 0) {
        return error_set(error, SHOAL_CORRUPT, "do_center_crop is true, but crop_size is missing");
    }
    return SHOAL_OK;
}

/* One number for all channels, or three. */
static shoal_status parse_channels(const json_t *root, const char *key, double least, double out[3],
                                   struct shoal_error *error) {
    const json_t *value = json_object_get(root, key);
    if (value == NULL || json_is_null(value)) {
        return SHOAL_OK;
    }
    for (size_t c = 0; c < 3; c++) {
        const json_t *number =
            json_is_array(value) && json_array_size(value) == 3 ? json_array_get(value, c) : value;
        if (!json_is_number(number) || json_number_value(number) < least ||
            json_number_value(number) > 1000.0) {
            return error_set(error, SHOAL_CORRUPT, "%s must be three numbers from %g to 1000", key,
                             least);
        }
        out[c] = json_number_value(number);
    }
    return SHOAL_OK;
}

static shoal_status parse_root(const json_t *root, enum model_family family,
                               struct image_preprocess *out, struct shoal_error *error) {
    bool known = false, pad = false;
    int64_t resample = -1;
    TRY(parse_class(root, &family, &known, error));
    class_default(family, out);
    TRY(json_get_bool(root, "do_resize", &out->do_resize, error));
    TRY(parse_size(root, known, out, error));
    TRY(json_get_int(root, "resample", 0, IMAGE_RESAMPLE_COUNT - 1, &resample, error));
    if (resample >= 0) {
        out->resample = (enum image_resample)resample;
    }
    TRY(parse_crop(root, out, error));
    TRY(json_get_bool(root, "do_rescale", &out->do_rescale, error));
    TRY(json_get_number(root, "rescale_factor", 1e-6, 1e6, &out->rescale_factor, error));
    TRY(json_get_bool(root, "do_normalize", &out->do_normalize, error));
    TRY(parse_channels(root, "image_mean", -1000.0, out->mean, error));
    TRY(parse_channels(root, "image_std", 1e-6, out->std, error));
    TRY(json_get_bool(root, "do_pad", &pad, error));
    return pad ? error_set(error, SHOAL_UNSUPPORTED, "do_pad is not supported") : SHOAL_OK;
}

shoal_status hf_preprocess_parse(const void *bytes, size_t size, enum model_family family,
                                 struct image_preprocess *out, struct shoal_error *error) {
    json_t *root = NULL;
    struct image_preprocess pre;
    TRY(json_parse_object(bytes, size, &root, error));
    const shoal_status status = parse_root(root, family, &pre, error);
    json_decref(root);
    if (status == SHOAL_OK) {
        *out = pre;
    }
    return status;
}
