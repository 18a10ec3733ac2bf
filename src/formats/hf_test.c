#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "formats/hf.h"
#include "formats/safetensors.h"
#include "platform/file.h"

#include <stdio.h>
#include <string.h>

static char directory[256];

static int make_directory(void **state) {
    (void)state;
    return file_make_temporary(directory, sizeof directory, NULL) == SHOAL_OK ? 0 : -1;
}

static int remove_directory(void **state) {
    (void)state;
    file_remove_tree(directory);
    return 0;
}

static void write_file(const char *name, const void *bytes, size_t size) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    assert_int_equal(file_write_atomic(path, bytes, size, NULL), SHOAL_OK);
}

static void write_text(const char *name, const char *text) {
    write_file(name, text, strlen(text));
}

/* One tensor of one byte. */
static void write_weights(const char *tensor) {
    char header[200];
    unsigned char file[256] = {0};
    const int length =
        snprintf(header, sizeof header,
                 "{\"%s\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", tensor);
    file[0] = (unsigned char)length;
    memcpy(file + 8, header, (size_t)length);
    write_file("model.safetensors", file, 8 + (size_t)length + 1);
}

static const char small[] =
    "{\"architectures\":[\"ViTForImageClassification\"],\"model_type\":\"vit\","
    "\"hidden_size\":8,\"num_hidden_layers\":1,\"num_attention_heads\":2,"
    "\"intermediate_size\":16,\"image_size\":32,\"patch_size\":8,"
    "\"id2label\":{\"1\":\"dog\",\"0\":\"cat\"}}";

static void test_absent_keys_mean_transformers_defaults(void **state) {
    (void)state;
    static const char text[] = "{\"model_type\":\"vit\"}";
    struct model_config config;
    struct hf_labels labels;
    assert_int_equal(hf_config_parse(text, sizeof text - 1, &config, &labels, NULL), SHOAL_OK);
    assert_int_equal(config.family, MODEL_VIT);
    assert_string_equal(config.prefix, "vit.");
    assert_int_equal(config.hidden, 768);
    assert_int_equal(config.layers, 12);
    assert_int_equal(config.heads, 12);
    assert_int_equal(config.intermediate, 3072);
    assert_int_equal(config.image_size, 224);
    assert_int_equal(config.patch_size, 16);
    assert_int_equal(config.channels, 3);
    assert_int_equal(config.activation, ACTIVATION_GELU_ERF);
    assert_true(config.qkv_bias);
    assert_true(config.layer_norm_eps == 1e-12F);
    assert_int_equal(config.labels, 2);
    assert_string_equal(labels.names[1], "LABEL_1");
    hf_labels_fini(&labels);
}

static void test_all_architectures(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum model_family family;
        const char *prefix;
        int64_t labels;
        bool distilled;
    } cases[] = {
        {"ViTForImageClassification", MODEL_VIT, "vit.", 5, false},
        {"DeiTForImageClassification", MODEL_DEIT, "deit.", 5, false},
        {"DeiTForImageClassificationWithTeacher", MODEL_DEIT, "deit.", 5, true},
        {"ViTModel", MODEL_VIT, "", 0, false},
        {"DeiTModel", MODEL_DEIT, "", 0, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[200];
        struct model_config config;
        struct hf_labels labels;
        const int length = snprintf(text, sizeof text,
                                    "{\"architectures\":[\"%s\"],\"num_labels\":5}", cases[i].name);
        assert_int_equal(hf_config_parse(text, (size_t)length, &config, &labels, NULL), SHOAL_OK);
        assert_int_equal(config.family, cases[i].family);
        assert_string_equal(config.prefix, cases[i].prefix);
        assert_int_equal(config.labels, cases[i].labels);
        assert_int_equal(config.distilled, cases[i].distilled);
        hf_labels_fini(&labels);
    }
}

static void test_labels_are_in_order_of_their_ids(void **state) {
    (void)state;
    struct model_config config;
    struct hf_labels labels;
    assert_int_equal(hf_config_parse(small, sizeof small - 1, &config, &labels, NULL), SHOAL_OK);
    assert_int_equal(labels.count, 2);
    assert_string_equal(labels.names[0], "cat");
    assert_string_equal(labels.names[1], "dog");
    hf_labels_fini(&labels);
}

static void expect_config(const char *text, shoal_status code, const char *wanted) {
    struct model_config config;
    struct hf_labels labels;
    struct shoal_error error = {SHOAL_OK, ""};
    const shoal_status status = hf_config_parse(text, strlen(text), &config, &labels, &error);
    if (status != code || strstr(error.text, wanted) == NULL) {
        fail_msg("%s: got %s \"%s\", wanted \"%s\"", text, shoal_status_text(status), error.text,
                 wanted);
    }
}

static void test_unknown_models_are_unsupported(void **state) {
    (void)state;
    expect_config("{\"model_type\":\"gpt2\"}", SHOAL_UNSUPPORTED,
                  "gpt2 is not supported; supported are vit, deit and bert");
    expect_config("{\"architectures\":[\"BertForQuestionAnswering\"],\"model_type\":\"bert\"}",
                  SHOAL_UNSUPPORTED,
                  "BertForQuestionAnswering is not supported; supported are ViTFor");
    expect_config("{\"model_type\":\"vit\",\"hidden_act\":\"quick_gelu\"}", SHOAL_UNSUPPORTED,
                  "hidden_act: quick_gelu is not supported; supported are gelu");
    expect_config("{\"model_type\":\"vit\",\"image_size\":[224,192]}", SHOAL_UNSUPPORTED,
                  "image_size: 224×192 is not square");
}

static struct model_config parse_bert(const char *text) {
    struct model_config config;
    struct hf_labels labels;
    struct shoal_error error = {SHOAL_OK, ""};
    if (hf_config_parse(text, strlen(text), &config, &labels, &error) != SHOAL_OK) {
        fail_msg("%s: %s", text, error.text);
    }
    hf_labels_fini(&labels);
    assert_int_equal(config.family, MODEL_BERT);
    return config;
}

static void test_berts_keys_and_architectures(void **state) {
    (void)state;
    struct model_config config = parse_bert("{\"model_type\":\"bert\"}");
    assert_int_equal(config.vocabulary, 30522);
    assert_int_equal(config.positions, 512);
    assert_int_equal(config.length, 512);
    assert_int_equal(config.types, 2);
    assert_int_equal(config.image_size, 0);
    assert_int_equal(config.labels, 0);
    assert_string_equal(config.prefix, "");
    assert_int_equal(config.pooling, MODEL_POOL_POOLER);
    config = parse_bert("{\"architectures\":[\"BertForSequenceClassification\"],\"num_labels\":5,"
                        "\"vocab_size\":77,\"max_position_embeddings\":40,\"type_vocab_size\":3,"
                        "\"position_embedding_type\":\"absolute\",\"is_decoder\":false,"
                        "\"problem_type\":\"regression\",\"hidden_act\":\"gelu_new\"}");
    assert_int_equal(config.labels, 5);
    assert_string_equal(config.prefix, "bert.");
    assert_int_equal(config.vocabulary, 77);
    assert_int_equal(config.length, 40);
    assert_int_equal(config.types, 3);
    assert_int_equal(config.activation, ACTIVATION_GELU_TANH);
    config = parse_bert("{\"architectures\":[\"BertForPreTraining\"]}");
    assert_int_equal(config.pooling, MODEL_POOL_POOLER);
    config = parse_bert("{\"architectures\":[\"BertForMaskedLM\"],\"problem_type\":null}");
    assert_int_equal(config.pooling, MODEL_POOL_CLS);
    assert_string_equal(config.prefix, "bert.");
}

static void test_what_a_bert_may_not_be_names_the_key(void **state) {
    (void)state;
    expect_config("{\"model_type\":\"bert\",\"position_embedding_type\":\"relative_key\"}",
                  SHOAL_UNSUPPORTED, "position_embedding_type: relative_key is not supported");
    expect_config("{\"model_type\":\"bert\",\"is_decoder\":true}", SHOAL_UNSUPPORTED, "is_decoder");
    expect_config("{\"model_type\":\"bert\",\"add_cross_attention\":true}", SHOAL_UNSUPPORTED,
                  "add_cross_attention");
    expect_config("{\"model_type\":\"bert\",\"problem_type\":\"multi_label_classification\"}",
                  SHOAL_UNSUPPORTED, "problem_type");
    expect_config("{\"model_type\":\"bert\",\"vocab_size\":0}", SHOAL_CORRUPT, "vocab_size is 0");
    expect_config("{\"model_type\":\"bert\",\"vocab_size\":99999999}", SHOAL_INVALID, "vocabulary");
    expect_config("{\"model_type\":\"bert\",\"max_position_embeddings\":\"512\"}", SHOAL_CORRUPT,
                  "max_position_embeddings");
    expect_config("{\"model_type\":\"bert\",\"type_vocab_size\":-1}", SHOAL_CORRUPT,
                  "type_vocab_size");
    expect_config("{\"architectures\":[\"BertModel\"],\"model_type\":\"vit\"}", SHOAL_CORRUPT,
                  "vit contradicts architectures (BertModel)");
}

static void expect_modules(const char *text, shoal_status code, const char *wanted) {
    struct hf_modules modules;
    struct shoal_error error = {SHOAL_OK, ""};
    const shoal_status status = hf_modules_parse(text, strlen(text), &modules, &error);
    if (status != code || strstr(error.text, wanted) == NULL) {
        fail_msg("%s: got %s \"%s\", wanted \"%s\"", text, shoal_status_text(status), error.text,
                 wanted);
    }
}

#define MODULE(path, type) "{\"path\":\"" path "\",\"type\":\"" type "\"}"
#define TRANSFORMER MODULE("", "sentence_transformers.models.Transformer")

static void test_modules_of_sentence_transformers(void **state) {
    (void)state;
    static const char old[] =
        "[" TRANSFORMER "," MODULE("1_Pooling", "sentence_transformers.models.Pooling") "]";
    static const char newer[] = "[" MODULE(
        "", "sentence_transformers.base.modules.transformer."
            "Transformer") "," MODULE("pool", "sentence_transformers.sentence_transformer.modules."
                                              "pooling.Pooling") "," MODULE("2_"
                                                                            "Normaliz"
                                                                            "e",
                                                                            "sentence_"
                                                                            "transform"
                                                                            "ers.base."
                                                                            "modules."
                                                                            "normalize"
                                                                            ".Normaliz"
                                                                            "e") "]";
    struct hf_modules modules;
    assert_int_equal(hf_modules_parse(old, sizeof old - 1, &modules, NULL), SHOAL_OK);
    assert_string_equal(modules.pooling, "1_Pooling");
    assert_false(modules.normalise);
    assert_int_equal(hf_modules_parse(newer, sizeof newer - 1, &modules, NULL), SHOAL_OK);
    assert_string_equal(modules.pooling, "pool");
    assert_true(modules.normalise);
    expect_modules("", SHOAL_CORRUPT, "a list");
    expect_modules("{}", SHOAL_CORRUPT, "a list");
    expect_modules("[" TRANSFORMER "]", SHOAL_CORRUPT, "a list");
    expect_modules("[1,2]", SHOAL_CORRUPT, "module 0 has no type");
    expect_modules("[" TRANSFORMER ",{\"type\":\"a.Pooling\"}]", SHOAL_CORRUPT, "path");
    expect_modules("[" TRANSFORMER "," MODULE("/etc", "a.Pooling") "]", SHOAL_CORRUPT, "path");
    expect_modules("[" TRANSFORMER "," MODULE("a/../../b", "a.Pooling") "]", SHOAL_CORRUPT, "path");
    expect_modules("[" MODULE("0_Bert", "a.Transformer") "," MODULE("1", "a.Pooling") "]",
                   SHOAL_UNSUPPORTED, "0_Bert");
    expect_modules("[" TRANSFORMER "," MODULE("1", "a.Pooling") "," MODULE("2", "a.Dense") "]",
                   SHOAL_UNSUPPORTED, "module 2 is a Dense");
    expect_modules("[" TRANSFORMER "," MODULE("1", "a.WeightedLayerPooling") "]", SHOAL_UNSUPPORTED,
                   "WeightedLayerPooling");
}

static void expect_pooling(const char *text, shoal_status code, enum model_pooling wanted) {
    enum model_pooling pooling = MODEL_POOLING_COUNT;
    struct shoal_error error = {SHOAL_OK, ""};
    assert_int_equal(hf_pooling_parse(text, strlen(text), &pooling, &error), code);
    if (code == SHOAL_OK) {
        assert_int_equal(pooling, wanted);
    } else {
        assert_true(error.text[0] != '\0');
    }
}

static void test_poolings_and_longest_texts(void **state) {
    (void)state;
    const enum model_pooling none = MODEL_POOLING_COUNT;
    expect_pooling("{\"pooling_mode\":\"cls\"}", SHOAL_OK, MODEL_POOL_CLS);
    expect_pooling("{\"pooling_mode\":\"mean\"}", SHOAL_OK, MODEL_POOL_MEAN);
    expect_pooling("{\"pooling_mode_mean_tokens\":true,\"pooling_mode_cls_token\":false}", SHOAL_OK,
                   MODEL_POOL_MEAN);
    expect_pooling("{\"pooling_mode_cls_token\":true}", SHOAL_OK, MODEL_POOL_CLS);
    expect_pooling("{\"pooling_mode_cls_token\":true,\"pooling_mode_mean_tokens\":true}",
                   SHOAL_UNSUPPORTED, none);
    expect_pooling("{\"pooling_mode_max_tokens\":true}", SHOAL_UNSUPPORTED, none);
    expect_pooling("{\"pooling_mode\":\"lasttoken\"}", SHOAL_UNSUPPORTED, none);
    expect_pooling("{}", SHOAL_UNSUPPORTED, none);
    expect_pooling("{\"pooling_mode\":1}", SHOAL_CORRUPT, none);
    expect_pooling("[]", SHOAL_CORRUPT, none);
    int64_t length = 0;
    assert_int_equal(hf_sentence_parse("{\"max_seq_length\":256}", 22, 512, &length, NULL),
                     SHOAL_OK);
    assert_int_equal(length, 256);
    assert_int_equal(hf_sentence_parse("{\"max_seq_length\":900}", 22, 512, &length, NULL),
                     SHOAL_OK);
    assert_int_equal(length, 512);
    assert_int_equal(hf_sentence_parse("{\"max_seq_length\":null}", 23, 512, &length, NULL),
                     SHOAL_OK);
    assert_int_equal(length, 512);
    assert_int_equal(hf_sentence_parse("{\"max_seq_length\":0}", 20, 512, &length, NULL),
                     SHOAL_CORRUPT);
}

static void remove_file(const char *name) {
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", directory, name);
    (void)remove(path);
}

static void test_wrong_types_and_absurd_values_name_the_key(void **state) {
    (void)state;
    expect_config("", SHOAL_CORRUPT, "not valid JSON");
    expect_config("[]", SHOAL_CORRUPT, "expected a JSON object");
    expect_config("{}", SHOAL_CORRUPT, "model_type and architectures are missing");
    expect_config("{\"model_type\":3}", SHOAL_CORRUPT, "model_type must be a string");
    expect_config("{\"architectures\":\"ViTModel\"}", SHOAL_CORRUPT,
                  "architectures must be a list");
    expect_config("{\"architectures\":[]}", SHOAL_CORRUPT, "architectures must be a list");
    expect_config("{\"architectures\":[\"ViTModel\"],\"model_type\":\"deit\"}", SHOAL_CORRUPT,
                  "deit contradicts architectures (ViTModel)");
    expect_config("{\"model_type\":\"vit\",\"hidden_size\":\"768\"}", SHOAL_CORRUPT,
                  "hidden_size must be an integer, found a string");
    expect_config("{\"model_type\":\"vit\",\"hidden_size\":-1}", SHOAL_CORRUPT,
                  "hidden_size is -1");
    expect_config("{\"model_type\":\"vit\",\"num_hidden_layers\":1e3}", SHOAL_CORRUPT,
                  "num_hidden_layers");
    expect_config("{\"model_type\":\"vit\",\"num_hidden_layers\":9999999999}", SHOAL_CORRUPT,
                  "num_hidden_layers is 9999999999");
    expect_config("{\"model_type\":\"vit\",\"qkv_bias\":1}", SHOAL_CORRUPT,
                  "qkv_bias must be true or false");
    expect_config("{\"model_type\":\"vit\",\"layer_norm_eps\":\"x\"}", SHOAL_CORRUPT,
                  "layer_norm_eps");
    expect_config("{\"model_type\":\"vit\",\"layer_norm_eps\":-1}", SHOAL_CORRUPT,
                  "layer_norm_eps is -1");
    expect_config("{\"model_type\":\"vit\",\"image_size\":[224]}", SHOAL_CORRUPT,
                  "image_size must be");
    expect_config("{\"model_type\":\"vit\",\"hidden_act\":[]}", SHOAL_CORRUPT, "hidden_act");
    expect_config("{\"model_type\":\"vit\",\"num_labels\":0}", SHOAL_CORRUPT, "num_labels is 0");
    expect_config("{\"model_type\":\"vit\",\"id2label\":[\"a\"]}", SHOAL_CORRUPT, "id2label");
    expect_config("{\"model_type\":\"vit\",\"id2label\":{}}", SHOAL_CORRUPT, "id2label");
    expect_config("{\"model_type\":\"vit\",\"id2label\":{\"0\":\"a\",\"2\":\"b\"}}", SHOAL_CORRUPT,
                  "id2label: 2 entries, but 1 is missing");
    expect_config("{\"model_type\":\"vit\",\"id2label\":{\"0\":7}}", SHOAL_CORRUPT,
                  "0 is an integer");
    expect_config("{\"model_type\":\"vit\",\"hidden_size\":10,\"num_attention_heads\":3}",
                  SHOAL_INVALID, "multiple of heads");
}

static struct image_preprocess parse_pre(const char *text, enum model_family family) {
    struct image_preprocess pre;
    struct shoal_error error = {SHOAL_OK, ""};
    if (hf_preprocess_parse(text, strlen(text), family, &pre, &error) != SHOAL_OK) {
        fail_msg("%s: %s", text, error.text);
    }
    return pre;
}

static void test_preprocess_defaults_are_those_of_the_class(void **state) {
    (void)state;
    struct image_preprocess pre = parse_pre("{}", MODEL_VIT);
    assert_true(pre.do_resize && pre.do_rescale && pre.do_normalize && !pre.do_center_crop);
    assert_int_equal(pre.height, 224);
    assert_int_equal(pre.resample, IMAGE_BILINEAR);
    assert_true(pre.mean[2] == 0.5 && pre.std[0] == 0.5 && pre.rescale_factor == 1.0 / 255.0);
    pre = parse_pre("{}", MODEL_DEIT);
    assert_true(pre.do_center_crop);
    assert_int_equal(pre.width, 256);
    assert_int_equal(pre.crop_width, 224);
    assert_int_equal(pre.resample, IMAGE_BICUBIC);
    /* The file's own class decides, not the model's family. */
    pre = parse_pre("{\"image_processor_type\":\"ViTImageProcessorFast\"}", MODEL_DEIT);
    assert_false(pre.do_center_crop);
    pre = parse_pre("{\"feature_extractor_type\":\"DeiTFeatureExtractor\"}", MODEL_VIT);
    assert_true(pre.do_center_crop);
}

static void test_all_forms_of_sizes(void **state) {
    (void)state;
    struct image_preprocess pre = parse_pre("{\"size\":384}", MODEL_VIT);
    assert_int_equal(pre.mode, IMAGE_RESIZE_EXACT);
    assert_int_equal(pre.height, 384);
    pre = parse_pre("{\"size\":[30,40]}", MODEL_VIT);
    assert_int_equal(pre.height, 30);
    assert_int_equal(pre.width, 40);
    pre = parse_pre("{\"size\":{\"height\":50,\"width\":60},\"resample\":1}", MODEL_VIT);
    assert_int_equal(pre.width, 60);
    assert_int_equal(pre.resample, IMAGE_LANCZOS);
    pre = parse_pre("{\"size\":{\"shortest_edge\":256},\"do_center_crop\":true,\"crop_size\":224}",
                    MODEL_VIT);
    assert_int_equal(pre.mode, IMAGE_RESIZE_SHORTEST);
    assert_int_equal(pre.shortest, 256);
    assert_int_equal(pre.longest, 0);
    assert_int_equal(pre.crop_height, 224);
    pre = parse_pre("{\"size\":{\"shortest_edge\":256,\"longest_edge\":300},\"image_mean\":0.25,"
                    "\"do_normalize\":false,\"rescale_factor\":0.5}",
                    MODEL_VIT);
    assert_int_equal(pre.longest, 300);
    assert_true(pre.mean[1] == 0.25 && pre.rescale_factor == 0.5 && !pre.do_normalize);
}

static void expect_pre(const char *text, shoal_status code, const char *wanted) {
    struct image_preprocess pre;
    struct shoal_error error = {SHOAL_OK, ""};
    const shoal_status status = hf_preprocess_parse(text, strlen(text), MODEL_VIT, &pre, &error);
    if (status != code || strstr(error.text, wanted) == NULL) {
        fail_msg("%s: got %s \"%s\", wanted \"%s\"", text, shoal_status_text(status), error.text,
                 wanted);
    }
}

static void test_bad_preprocessing_names_the_key(void **state) {
    (void)state;
    expect_pre("{\"size\":\"big\"}", SHOAL_CORRUPT, "size must be");
    expect_pre("{\"size\":0}", SHOAL_CORRUPT, "size must be");
    expect_pre("{\"size\":[1,2,3]}", SHOAL_CORRUPT, "size must be");
    expect_pre("{\"size\":{\"height\":0,\"width\":2}}", SHOAL_CORRUPT, "size: height is 0");
    expect_pre("{\"size\":{\"height\":2}}", SHOAL_CORRUPT, "size: width is missing");
    expect_pre("{\"size\":{\"max_height\":2}}", SHOAL_UNSUPPORTED, "size: neither");
    expect_pre("{\"size\":{\"shortest_edge\":99999}}", SHOAL_CORRUPT,
               "size: shortest_edge is 99999");
    expect_pre("{\"image_processor_type\":\"CLIPImageProcessor\",\"size\":224}", SHOAL_UNSUPPORTED,
               "size");
    expect_pre("{\"do_center_crop\":true}", SHOAL_CORRUPT, "crop_size is missing");
    expect_pre("{\"do_resize\":1}", SHOAL_CORRUPT, "do_resize");
    expect_pre("{\"resample\":6}", SHOAL_CORRUPT, "resample is 6");
    expect_pre("{\"resample\":\"bicubic\"}", SHOAL_CORRUPT, "resample must be an integer");
    expect_pre("{\"image_mean\":[0.5,0.5]}", SHOAL_CORRUPT, "image_mean must be");
    expect_pre("{\"image_std\":[0.5,0.5,0]}", SHOAL_CORRUPT, "image_std must be");
    expect_pre("{\"image_std\":\"x\"}", SHOAL_CORRUPT, "image_std must be");
    expect_pre("{\"rescale_factor\":0}", SHOAL_CORRUPT, "rescale_factor is 0");
    expect_pre("{\"do_pad\":true}", SHOAL_UNSUPPORTED, "do_pad");
    expect_pre("{", SHOAL_CORRUPT, "not valid JSON");
}

static void expect_open(shoal_status code, const char *wanted) {
    struct hf_model *model = NULL;
    struct shoal_error error = {SHOAL_OK, ""};
    const shoal_status status = hf_open(directory, &model, &error);
    if (status != code || model != NULL || strstr(error.text, wanted) == NULL ||
        strstr(error.text, directory) == NULL) {
        fail_msg("got %s \"%s\", wanted \"%s\"", shoal_status_text(status), error.text, wanted);
    }
}

static void test_directories_say_what_is_missing(void **state) {
    (void)state;
    expect_open(SHOAL_NOT_FOUND, "config.json");
    write_text("config.json", small);
    expect_open(SHOAL_NOT_FOUND, "neither model.safetensors nor model.safetensors.index.json");
    write_text("pytorch_model.bin", "x");
    expect_open(SHOAL_UNSUPPORTED, "convert it once: python3");
    write_text("model.safetensors", "x");
    expect_open(SHOAL_CORRUPT, "model.safetensors: 1 bytes are too few");
    write_weights("vit.embeddings.cls_token");
    write_text("preprocessor_config.json", "{\"size\":33}");
    expect_open(SHOAL_MISMATCH, "makes pictures of 33×33, but image_size in config.json is 32");
    write_text("preprocessor_config.json", "{\"size\":true}");
    expect_open(SHOAL_CORRUPT, "preprocessor_config.json: size");
    write_text("config.json", "{\"model_type\":\"vit\",\"patch_size\":true}");
    expect_open(SHOAL_CORRUPT, "config.json: patch_size must be an integer, found true");
}

static void test_an_open_model_has_everything(void **state) {
    (void)state;
    struct hf_model *model = NULL;
    write_text("config.json", small);
    write_text("preprocessor_config.json", "{\"size\":32}");
    write_weights("embeddings.cls_token"); /* without the usual prefix */
    assert_int_equal(hf_open(directory, &model, NULL), SHOAL_OK);
    assert_int_equal(hf_config(model)->labels, 2);
    assert_string_equal(hf_config(model)->prefix, "");
    assert_non_null(strstr(directory, hf_config(model)->name));
    assert_string_equal(hf_label(model, 0), "cat");
    assert_null(hf_label(model, 2));
    assert_int_equal(hf_preprocess(model)->height, 32);
    assert_non_null(safetensors_find(hf_weights(model), "embeddings.cls_token"));
    assert_null(hf_note(model));
    hf_close(model);
}

static void test_directories_of_text_models(void **state) {
    (void)state;
    struct model_config before;
    struct hf_model *model = NULL;
    write_text("config.json", "{\"architectures\":[\"BertForMaskedLM\"],\"hidden_size\":8,"
                              "\"num_attention_heads\":2,\"max_position_embeddings\":64}");
    write_weights("embeddings.word_embeddings.weight"); /* no prefix */
    assert_int_equal(hf_open(directory, &model, NULL), SHOAL_OK);
    before = *hf_config(model);
    assert_string_equal(before.prefix, "");
    assert_int_equal(before.pooling, MODEL_POOL_CLS);
    assert_int_equal(before.length, 64);
    assert_null(hf_note(model));
    hf_close(model);

    /* What sentence-transformers adds. */
    char path[512];
    write_text("modules.json", "[" TRANSFORMER "," MODULE("1_Pooling", "a.Pooling") "," MODULE(
                                   "2_Normalize", "a.Normalize") "]");
    expect_open(SHOAL_NOT_FOUND, "1_Pooling/config.json");
    (void)snprintf(path, sizeof path, "%s/1_Pooling", directory);
    assert_int_equal(file_make_directories(path, NULL), SHOAL_OK);
    write_text("1_Pooling/config.json", "{\"pooling_mode_max_tokens\":true}");
    expect_open(SHOAL_UNSUPPORTED, "1_Pooling/config.json: pooling_mode");
    write_text("1_Pooling/config.json", "{\"pooling_mode_mean_tokens\":true}");
    write_text("sentence_bert_config.json", "{\"max_seq_length\":\"x\"}");
    expect_open(SHOAL_CORRUPT, "sentence_bert_config.json: max_seq_length");
    write_text("sentence_bert_config.json", "{\"max_seq_length\":48}");
    assert_int_equal(hf_open(directory, &model, NULL), SHOAL_OK);
    assert_int_equal(hf_config(model)->pooling, MODEL_POOL_MEAN);
    assert_true(hf_config(model)->normalise);
    assert_int_equal(hf_config(model)->length, 48);
    hf_close(model);
    write_text("modules.json", "[");
    expect_open(SHOAL_CORRUPT, "modules.json: expected a list");

    remove_file("modules.json");
    remove_file("sentence_bert_config.json");
    /* A BertModel whose file has no pooler; a file with the old names. */
    write_text("config.json", "{\"architectures\":[\"BertModel\"]}");
    assert_int_equal(hf_open(directory, &model, NULL), SHOAL_OK);
    assert_int_equal(hf_config(model)->pooling, MODEL_POOL_CLS);
    assert_non_null(strstr(hf_note(model), "no pooler"));
    assert_false(hf_config(model)->gamma_beta);
    hf_close(model);
    write_weights("embeddings.LayerNorm.gamma");
    assert_int_equal(hf_open(directory, &model, NULL), SHOAL_OK);
    assert_true(hf_config(model)->gamma_beta);
    hf_close(model);
    write_text("config.json", small); /* as the tests around it want it */
    write_weights("embeddings.cls_token");
}

static void test_missing_preprocessing_is_noted(void **state) {
    (void)state;
    char path[512];
    struct hf_model *model = NULL;
    (void)snprintf(path, sizeof path, "%s/preprocessor_config.json", directory);
    assert_int_equal(remove(path), 0);
    assert_int_equal(hf_open(directory, &model, NULL), SHOAL_OK);
    assert_non_null(strstr(hf_note(model), "no preprocessor_config.json"));
    assert_int_equal(hf_preprocess(model)->height, 32);
    hf_close(model);
    hf_close(NULL);
}

static void test_every_failing_allocation_is_reported(void **state) {
    (void)state;
    shoal_status status = SHOAL_NO_MEMORY;
    uint64_t n = 0;
    while (status != SHOAL_OK) {
        struct hf_model *model = NULL;
        mem_fail_after(++n);
        status = hf_open(directory, &model, NULL);
        mem_fail_after(0);
        assert_true(status == SHOAL_OK || model == NULL);
        hf_close(model);
        assert_true(n < 1000);
    }
    assert_true(n > 5);
}

static void test_default_preprocessing_of_builtin_models(void **state) {
    (void)state;
    struct model_config config;
    struct image_preprocess pre;
    assert_int_equal(model_builtin("vit-base", &config, NULL), SHOAL_OK);
    hf_preprocess_default(&config, &pre);
    assert_int_equal(pre.height, 224);
    assert_false(pre.do_center_crop);
    assert_true(pre.mean[0] == 0.5);
    assert_int_equal(model_builtin("deit-small", &config, NULL), SHOAL_OK);
    hf_preprocess_default(&config, &pre);
    assert_int_equal(pre.height, 256);
    assert_int_equal(pre.crop_height, 224);
    assert_true(pre.mean[0] == 0.485 && pre.std[2] == 0.225);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_absent_keys_mean_transformers_defaults),
        cmocka_unit_test(test_all_architectures),
        cmocka_unit_test(test_labels_are_in_order_of_their_ids),
        cmocka_unit_test(test_unknown_models_are_unsupported),
        cmocka_unit_test(test_berts_keys_and_architectures),
        cmocka_unit_test(test_what_a_bert_may_not_be_names_the_key),
        cmocka_unit_test(test_modules_of_sentence_transformers),
        cmocka_unit_test(test_poolings_and_longest_texts),
        cmocka_unit_test(test_wrong_types_and_absurd_values_name_the_key),
        cmocka_unit_test(test_preprocess_defaults_are_those_of_the_class),
        cmocka_unit_test(test_all_forms_of_sizes),
        cmocka_unit_test(test_bad_preprocessing_names_the_key),
        cmocka_unit_test(test_directories_say_what_is_missing),
        cmocka_unit_test(test_an_open_model_has_everything),
        cmocka_unit_test(test_directories_of_text_models),
        cmocka_unit_test(test_missing_preprocessing_is_noted),
        cmocka_unit_test(test_every_failing_allocation_is_reported),
        cmocka_unit_test(test_default_preprocessing_of_builtin_models),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
