/* Whole runs in one process: threads as devices, reference kernels. ThreadSanitizer runs this. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "platform/clock.h"
#include "platform/file.h"
#include "runtime/control.h"
#include "runtime/job.h"
#include "transport/inproc/inproc.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>

struct one_run {
    uint32_t devices, items;
    int64_t batch;
    uint32_t ends[4];  /* last segment of each stage */
    const char *texts; /* a file for the text model; NULL: random pictures */
    const struct wordpiece *wordpiece;
};

static void ignore_skip(void *context, const char *item, const char *why) {
    (void)context;
    fail_msg("%s was skipped: %s", item, why);
}

static const char *no_label(void *context, uint32_t class_index) {
    (void)context;
    (void)class_index;
    return NULL;
}

static shoal_status run_on(struct cluster *cluster, const struct one_run *what, uint64_t stall_ns,
                           struct job_outcome *outcome, struct shoal_error *why) {
    struct shoal_error error;
    struct model_config model;
    struct input *input;
    struct results *results;
    char count[32];
    const char *paths[1] = {what->texts != NULL ? what->texts : count};
    const struct image_preprocess preprocess = {0};
    (void)snprintf(count, sizeof count, "random:%u", what->items);
    assert_int_equal(model_builtin(what->texts != NULL ? "bert-test" : "vit-test", &model, &error),
                     SHOAL_OK);
    const struct input_options source = {.paths = paths,
                                         .path_count = 1,
                                         .model = &model,
                                         .preprocess = &preprocess,
                                         .wordpiece = what->wordpiece,
                                         .max_length = model.length,
                                         .seed = 3};
    assert_int_equal(input_open(&source, &input, &error), SHOAL_OK);
    struct model_output outputs[MODEL_MAX_OUTPUTS];
    const struct results_options sink = {.classifies = true,
                                         .label = no_label,
                                         .top = 1,
                                         .outputs = outputs,
                                         .output_count = model_outputs(&model, outputs)};
    assert_int_equal(results_create(&sink, &results, &error), SHOAL_OK);
    struct plan_placement placement = {.feasible = true, .stage_count = what->devices};
    for (uint32_t i = 0; i < what->devices; i++) {
        placement.stages[i] = (struct plan_stage){.first = i == 0 ? 1 : what->ends[i - 1] + 1,
                                                  .last = what->ends[i],
                                                  .device = what->devices - 1 - i};
    }
    json_t *choice = json_pack("{s:s, s:{}}", "default", "reference", "ops");
    const struct job_options job = {.cluster = cluster,
                                    .placement = &placement,
                                    .model = &model,
                                    .weights = {.seed = 5},
                                    .choice = choice,
                                    .batch = what->batch,
                                    .input = input,
                                    .results = results,
                                    .stall_ns = stall_ns,
                                    .on_skip = ignore_skip};
    const shoal_status status = job_run(&job, outcome, why);
    json_decref(choice);
    results_destroy(results);
    input_close(input);
    return status;
}

static void run(const struct one_run *what, struct job_outcome *outcome) {
    struct shoal_error error;
    struct cluster *cluster;
    const struct cluster_options devices = {
        .count = what->devices, .in_process = true, .threads = 1};
    assert_int_equal(cluster_start_local(&devices, &cluster, &error), SHOAL_OK);
    if (run_on(cluster, what, 0, outcome, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    cluster_destroy(cluster);
}

static void pipelines_deliver_everything_with_the_same_bits(void **state) {
    (void)state;
    static const struct one_run runs[] = {
        {.devices = 1, .items = 23, .batch = 2, .ends = {12}},
        {.devices = 2, .items = 23, .batch = 2, .ends = {5, 12}},
        {.devices = 3, .items = 23, .batch = 2, .ends = {1, 11, 12}},
        {.devices = 4, .items = 23, .batch = 2, .ends = {3, 6, 9, 12}},
    };
    char digest[DIGEST_TEXT];
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        struct job_outcome outcome;
        run(&runs[i], &outcome);
        assert_int_equal(outcome.items, 23);
        assert_int_equal(outcome.failed_items, 0);
        for (uint32_t s = 0; s < outcome.stage_count; s++) {
            assert_int_equal(json_integer_value(json_object_get(outcome.stages[s].report, "done")),
                             12);
        }
        if (i == 0) {
            memcpy(digest, outcome.digest, sizeof digest);
        }
        assert_string_equal(digest, outcome.digest);
        job_outcome_fini(&outcome);
    }
}

/* Lines of 1 to 126 words, so that every length occurs, and neighbours differ. */
static void write_texts(const char *path, uint32_t count) {
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    for (uint32_t i = 0; i < count; i++) {
        const uint32_t words = i % 3 == 0 ? 1 + i * 7 % 126 : 1 + i % 29;
        for (uint32_t w = 0; w < words; w++) {
            (void)fprintf(file, "%c ", 'a' + (int)((i + w * w) % 5));
        }
        (void)fputc('\n', file);
    }
    assert_int_equal(fclose(file), 0);
}

static void texts_of_all_lengths_get_the_same_bits_on_any_devices(void **state) {
    (void)state;
    enum { ITEMS = 41 };
    char directory[256], path[300], digest[DIGEST_TEXT];
    struct shoal_error error;
    static const char vocab[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\nc\nd\ne\n";
    const struct wordpiece_files files = {.vocab = vocab, .vocab_size = sizeof vocab - 1};
    struct wordpiece *wordpiece = NULL;
    assert_int_equal(wordpiece_create(&files, &wordpiece, &error), SHOAL_OK);
    assert_int_equal(file_make_temporary(directory, sizeof directory, &error), SHOAL_OK);
    (void)snprintf(path, sizeof path, "%s/texts.txt", directory);
    write_texts(path, ITEMS);
    struct one_run runs[] = {
        {.devices = 1, .items = ITEMS, .batch = 3, .ends = {12}},
        {.devices = 2, .items = ITEMS, .batch = 3, .ends = {5, 12}},
        {.devices = 3, .items = ITEMS, .batch = 3, .ends = {1, 10, 12}},
    };
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++) {
        struct job_outcome outcome;
        runs[i].texts = path;
        runs[i].wordpiece = wordpiece;
        run(&runs[i], &outcome);
        assert_int_equal(outcome.items, ITEMS);
        if (i == 0) {
            memcpy(digest, outcome.digest, sizeof digest);
        }
        assert_string_equal(digest, outcome.digest);
        job_outcome_fini(&outcome);
    }
    wordpiece_destroy(wordpiece);
    file_remove_tree(directory);
}

static void a_run_too_short_for_a_steady_state_says_so(void **state) {
    (void)state;
    struct job_outcome outcome;
    run(&(struct one_run){.devices = 2, .items = 3, .batch = 1, .ends = {6, 12}}, &outcome);
    assert_int_equal(outcome.items, 3);
    assert_true(isnan(outcome.steady_items_per_second));
    job_outcome_fini(&outcome);
    run(&(struct one_run){.devices = 2, .items = 9, .batch = 1, .ends = {6, 12}}, &outcome);
    assert_true(outcome.steady_items_per_second > 0);
    job_outcome_fini(&outcome);
}

/* ---- a device that is none of ours ---- */

enum mischief {
    NEVER_SILENT,
    WILD_NUMBER,
    EVERY_RESULT_TWICE,
    NO_REPORT,  /* works, and is gone when it is asked for its report */
    BUSY_FIRST, /* works; its first answer to prepare is that it is busy */
};

struct impostor {
    struct transport *transport;
    enum mischief mischief;
    atomic_bool stop;
    uint64_t job; /* of the prepare request */
    bool was_busy, leaves;
};

static void send_result(struct impostor *impostor, uint64_t number) {
    float row[10] = {0};
    const struct tensor tensor = {.dtype = DTYPE_F32, .shape = SHAPE(1, 10), .data = row};
    const struct wire_header header = {.kind = WIRE_RESULT,
                                       .job = impostor->job,
                                       .generation = 1,
                                       .microbatch = number,
                                       .items = 1,
                                       .tensor_count = 1};
    struct transport *t = impostor->transport;
    struct transport_message *message;
    size_t size, used;
    assert_int_equal(wire_size(&tensor, 1, 0, &size, NULL), SHOAL_OK);
    assert_int_equal(t->ops->message_new(t, size, &message, NULL), SHOAL_OK);
    assert_int_equal(
        wire_encode(&header, &tensor, NULL, message->data, message->capacity, NULL, &used, NULL),
        SHOAL_OK);
    message->size = used;
    shoal_status status = t->ops->send(t, CLUSTER_OWNER, message, NULL);
    while (status == SHOAL_BUSY && impostor->mischief >= NO_REPORT) {
        platform_sleep_ns(CLOCK_MS); /* the owner will take it */
        status = t->ops->send(t, CLUSTER_OWNER, message, NULL);
    }
    if (status != SHOAL_OK) {
        t->ops->message_free(t, message);
    }
}

static json_t *answer(struct impostor *impostor, const json_t *request) {
    json_t *id = json_object_get(request, "id");
    const char *call = json_string_value(json_object_get(request, "call"));
    impostor->leaves = impostor->mischief == NO_REPORT && strcmp(call, "report") == 0;
    if (impostor->mischief == BUSY_FIRST && !impostor->was_busy && strcmp(call, "prepare") == 0) {
        impostor->was_busy = true;
        return json_pack("{s:O, s:b, s:s, s:s}", "id", id, "ok", 0, "status", "BUSY", "text",
                         "busy with job 3 of somebody");
    }
    return json_pack("{s:O, s:b}", "id", id, "ok", 1);
}

static void misbehave(struct impostor *impostor, const struct wire_message *message) {
    json_t *request = NULL;
    if (message->header.kind == WIRE_REQUEST) {
        assert_int_equal(control_parse(message, &request, NULL), SHOAL_OK);
        if (json_object_get(request, "job") != NULL) {
            impostor->job = (uint64_t)json_integer_value(json_object_get(request, "job"));
        }
        json_t *reply = answer(impostor, request);
        if (impostor->leaves) {
            json_decref(reply);
        } else {
            assert_int_equal(
                control_send(impostor->transport, CLUSTER_OWNER, WIRE_REPLY, reply, NULL),
                SHOAL_OK);
        }
        json_decref(request);
    } else if (impostor->mischief == WILD_NUMBER) {
        send_result(impostor, UINT64_MAX);
    } else if (impostor->mischief == EVERY_RESULT_TWICE) {
        send_result(impostor, message->header.microbatch);
        send_result(impostor, message->header.microbatch);
    } else if (message->header.kind == WIRE_ACTIVATION && impostor->mischief >= NO_REPORT) {
        send_result(impostor, message->header.microbatch);
    }
}

static void *be_impostor(void *argument) {
    struct impostor *impostor = argument;
    struct transport *t = impostor->transport;
    while (!atomic_load(&impostor->stop)) {
        struct transport_event event;
        struct wire_message message;
        if (t->ops->next(t, TRANSPORT_WANT_CONTROL | TRANSPORT_WANT_DATA,
                         platform_now_ns() + 5 * CLOCK_MS, &event, NULL) == SHOAL_OK &&
            event.kind == TRANSPORT_MESSAGE) {
            if (wire_decode(event.message->data, event.message->size, &message, NULL) == SHOAL_OK) {
                misbehave(impostor, &message);
            }
            t->ops->message_free(t, event.message);
        }
        if (impostor->leaves) {
            inproc_vanish(t);
            impostor->transport = NULL;
            return NULL;
        }
        if (impostor->mischief == NEVER_SILENT && impostor->job != 0) {
            const shoal_status sent =
                control_send(t, CLUSTER_OWNER, WIRE_REPLY, json_pack("{s:i}", "id", 0), NULL);
            (void)sent; /* BUSY: enough was said for now */
        }
    }
    return NULL;
}

static void expect_end(enum mischief mischief, shoal_status wanted) {
    struct inproc_hub *hub;
    struct cluster_device device = {.name = "impostor"};
    struct cluster cluster = {.count = 1, .devices = &device, .threads = 1};
    struct impostor impostor = {.mischief = mischief};
    struct transport_event event;
    struct shoal_error error;
    struct job_outcome outcome;
    pthread_t thread;
    assert_int_equal(inproc_hub_create(&hub, &error), SHOAL_OK);
    const struct transport_options here = {.name = CLUSTER_OWNER}, there = {.name = device.name};
    assert_int_equal(inproc_create(hub, &here, &cluster.transport, &error), SHOAL_OK);
    assert_int_equal(inproc_create(hub, &there, &impostor.transport, &error), SHOAL_OK);
    struct transport *owner = cluster.transport;
    assert_int_equal(owner->ops->connect(owner, device.name, "", "", &error), SHOAL_OK);
    assert_int_equal(cluster_next(&cluster, platform_now_ns() + 10 * CLOCK_SECOND, &event, &error),
                     SHOAL_OK);
    assert_int_equal(event.kind, TRANSPORT_PEER_UP);
    assert_int_equal(pthread_create(&thread, NULL, be_impostor, &impostor), 0);
    const struct one_run what = {.devices = 1, .items = 8, .batch = 1, .ends = {12}};
    const uint64_t stall_ns = wanted == SHOAL_OK ? 0 : 200 * CLOCK_MS;
    assert_int_equal(run_on(&cluster, &what, stall_ns, &outcome, &error), wanted);
    assert_true(wanted == SHOAL_OK ? outcome.items == 8 : strstr(error.text, "impostor") != NULL);
    assert_true(mischief != NO_REPORT || outcome.stages[0].report == NULL);
    job_outcome_fini(&outcome);
    atomic_store(&impostor.stop, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    if (impostor.transport != NULL) {
        impostor.transport->ops->destroy(impostor.transport);
    }
    owner->ops->destroy(owner);
    inproc_hub_destroy(hub);
    json_decref(device.reply);
    json_decref(device.request);
}

static void a_device_that_talks_without_working_meets_the_deadline(void **state) {
    (void)state;
    expect_end(NEVER_SILENT, SHOAL_TIMEOUT);
}

static void results_that_nobody_asked_for_end_the_run(void **state) {
    (void)state;
    expect_end(WILD_NUMBER, SHOAL_PROTOCOL);
    expect_end(EVERY_RESULT_TWICE, SHOAL_PROTOCOL);
}

static void a_report_that_never_comes_costs_no_result(void **state) {
    (void)state;
    expect_end(NO_REPORT, SHOAL_OK);
}

static void a_device_that_is_busy_is_asked_again(void **state) {
    (void)state;
    expect_end(BUSY_FIRST, SHOAL_OK);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_device_that_talks_without_working_meets_the_deadline),
        cmocka_unit_test(results_that_nobody_asked_for_end_the_run),
        cmocka_unit_test(a_report_that_never_comes_costs_no_result),
        cmocka_unit_test(a_device_that_is_busy_is_asked_again),
        cmocka_unit_test(pipelines_deliver_everything_with_the_same_bits),
        cmocka_unit_test(texts_of_all_lengths_get_the_same_bits_on_any_devices),
        cmocka_unit_test(a_run_too_short_for_a_steady_state_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
