/*
 * What a message costs: one-way rate, latency, and CPU time per message of both ends together, for
 * every transport and several sizes. Two endpoints in this process, one owner thread each.
 *
 *   transport_bench [SECONDS per measurement, default 0.5] [repetitions, default 3] [transport]
 * [bytes]
 *
 * rate     messages streamed under credit (window 2), as a pipeline does
 * latency  half a round trip, median
 * busy     CPU time of all threads of both ends per message, while streaming
 * paced    the same with 50 messages a second: caches are cold and every thread is woken, as
 * between the microbatches of a real pipeline. Above an idle connection's own cost (pings), which
 * is subtracted.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "platform/file.h"
#include "transport/inproc/inproc.h"
#include "transport/zmq/zmq_transport.h"
#include "wire/message.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WANT_ALL (TRANSPORT_WANT_DATA | TRANSPORT_WANT_CONTROL)
#define MAX_REPETITIONS 9
#define PACE_NS (20 * CLOCK_MS)

static const size_t sizes[] = {4096, 65536, 605184, 2420736};

struct pair {
    struct inproc_hub *hub;
    struct transport *ends[2];
};

static _Noreturn void give_up(const char *what, const struct shoal_error *error) {
    (void)fprintf(stderr, "transport_bench: %s: %s\n", what, error->text);
    exit(1);
}

static void open_inproc(struct pair *pair, const char *unused) {
    (void)unused;
    struct shoal_error error = {.text = ""};
    const char *names[] = {"a", "b"};
    if (inproc_hub_create(&pair->hub, &error) != SHOAL_OK) {
        give_up("hub", &error);
    }
    for (int i = 0; i < 2; i++) {
        if (inproc_create(pair->hub, &(struct transport_options){.name = names[i]}, &pair->ends[i],
                          &error) != SHOAL_OK) {
            give_up("endpoint", &error);
        }
    }
    if (pair->ends[0]->ops->connect(pair->ends[0], "b", NULL, NULL, &error) != SHOAL_OK) {
        give_up("connect", &error);
    }
}

static void open_zmq(struct pair *pair, const char *listen) {
    struct shoal_error error = {.text = ""};
    struct zmq_keypair keys[2];
    struct zmq_allowed allowed[2] = {{.name = "a"}, {.name = "b"}};
    for (int i = 0; i < 2; i++) {
        if (zmq_keypair_make(&keys[i], &error) != SHOAL_OK) {
            give_up("keys", &error);
        }
        memcpy(allowed[i].public_key, keys[i].public_key, ZMQ_KEY_TEXT);
    }
    for (int i = 0; i < 2; i++) {
        const struct zmq_transport_options options = {.base = {.name = allowed[i].name},
                                                      .keys = keys[i],
                                                      .listen = i == 1 ? listen : NULL,
                                                      .allowed = allowed,
                                                      .allowed_count = 2};
        if (zmq_transport_create(&options, &pair->ends[i], &error) != SHOAL_OK) {
            give_up("endpoint", &error);
        }
    }
    struct transport *a = pair->ends[0], *b = pair->ends[1];
    if (a->ops->connect(a, "b", b->ops->address(b), NULL, &error) != SHOAL_OK) {
        give_up("connect", &error);
    }
}

static void await_up(struct transport *t) {
    struct transport_event event = {.text = ""};
    struct shoal_error error = {.text = "not connected"};
    if (t->ops->next(t, WANT_ALL, platform_now_ns() + 10 * CLOCK_SECOND, &event, &error) !=
            SHOAL_OK ||
        event.kind != TRANSPORT_PEER_UP) {
        give_up("connecting", &error);
    }
}

static struct transport_message *make(struct transport *t, size_t bytes) {
    struct shoal_error error;
    struct transport_message *message = NULL;
    const struct wire_header header = {.kind = WIRE_PROBE, .tensor_count = 1};
    const struct tensor tensor = {
        .dtype = DTYPE_U8,
        .shape = SHAPE((int64_t)bytes - WIRE_HEADER_BYTES - WIRE_DESCRIPTOR_BYTES)};
    if (t->ops->message_new(t, bytes, &message, &error) != SHOAL_OK ||
        wire_encode(&header, &tensor, NULL, message->data, message->capacity, NULL, &message->size,
                    &error) != SHOAL_OK) {
        give_up("message", &error);
    }
    return message;
}

/* ---- the answering side: sends every message back, or only frees it ---- */

struct answerer {
    struct transport *t;
    atomic_bool echo;
};

static void *answer(void *argument) {
    struct answerer *self = argument;
    struct transport *t = self->t;
    struct shoal_error error;
    for (;;) {
        struct transport_event event;
        if (t->ops->next(t, WANT_ALL, CLOCK_NEVER, &event, &error) != SHOAL_OK) {
            give_up("receiving", &error);
        }
        if (event.kind == TRANSPORT_INTERRUPT) {
            return NULL;
        }
        if (event.kind == TRANSPORT_MESSAGE) {
            if (!atomic_load(&self->echo) ||
                t->ops->send(t, "a", event.message, &error) != SHOAL_OK) {
                t->ops->message_free(t, event.message);
            }
        }
    }
}

static void await_event(struct transport *t, enum transport_event_kind kind) {
    struct shoal_error error;
    struct transport_event event;
    do {
        if (t->ops->next(t, WANT_ALL, platform_now_ns() + 10 * CLOCK_SECOND, &event, &error) !=
            SHOAL_OK) {
            give_up("waiting", &error);
        }
        if (event.kind == TRANSPORT_MESSAGE) {
            t->ops->message_free(t, event.message);
        }
    } while (event.kind != kind);
}

static void send_one(struct transport *t, size_t bytes) {
    struct shoal_error error;
    struct transport_message *message = make(t, bytes);
    shoal_status status;
    while ((status = t->ops->send(t, "b", message, &error)) == SHOAL_BUSY) {
        await_event(t, TRANSPORT_WRITABLE);
    }
    if (status != SHOAL_OK) {
        give_up("sending", &error);
    }
}

/* ---- measurements ---- */

struct figures {
    double rate, latency_s, busy_s, paced_s;
};

static void measure_stream(struct transport *t, size_t bytes, double seconds, struct figures *out) {
    const double cpu = platform_process_cpu_s();
    const uint64_t start = platform_now_ns();
    uint64_t count = 0;
    do {
        send_one(t, bytes);
        count++;
    } while ((double)(platform_now_ns() - start) * 1e-9 < seconds);
    out->rate = (double)count / ((double)(platform_now_ns() - start) * 1e-9);
    out->busy_s = (platform_process_cpu_s() - cpu) / (double)count;
}

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
    qsort(values, count, sizeof values[0], compare);
    return values[count / 2];
}

static void measure_latency(struct transport *t, size_t bytes, struct figures *out) {
    double times[51];
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        const uint64_t start = platform_now_ns();
        send_one(t, bytes);
        await_event(t, TRANSPORT_MESSAGE);
        times[i] = (double)(platform_now_ns() - start) * 0.5e-9;
    }
    out->latency_s = median(times, sizeof times / sizeof times[0]);
}

static void measure_paced(struct transport *t, size_t bytes, double seconds, struct figures *out) {
    const uint64_t turns = (uint64_t)(seconds * 1e9) / PACE_NS + 1;
    double cpu[2];
    for (int with = 0; with < 2; with++) {
        const double before = platform_process_cpu_s();
        for (uint64_t i = 0; i < turns; i++) {
            if (with == 1) {
                send_one(t, bytes);
            }
            platform_sleep_ns(PACE_NS);
        }
        cpu[with] = platform_process_cpu_s() - before;
    }
    out->paced_s = (cpu[1] - cpu[0]) / (double)turns;
}

static void measure_size(struct pair *pair, struct answerer *answerer, size_t bytes, double seconds,
                         int repetitions, const char *name) {
    double values[4][MAX_REPETITIONS];
    for (int i = 0; i < repetitions; i++) {
        struct figures figures;
        struct transport *t = pair->ends[0];
        atomic_store(&answerer->echo, true);
        measure_latency(t, bytes, &figures);
        atomic_store(&answerer->echo, false);
        measure_stream(t, bytes, seconds, &figures);
        measure_paced(t, bytes, seconds, &figures);
        values[0][i] = figures.rate;
        values[1][i] = figures.latency_s;
        values[2][i] = figures.busy_s;
        values[3][i] = figures.paced_s;
    }
    const size_t count = (size_t)repetitions;
    const double rate = median(values[0], count);
    printf("%-9s %9zu %10.0f %9.1f %11.1f %10.1f %10.1f\n", name, bytes, rate,
           rate * (double)bytes * 1e-6, 1e6 * median(values[1], count),
           1e6 * median(values[2], count), 1e6 * median(values[3], count));
    (void)fflush(stdout);
}

static const char *only;  /* one transport, or NULL */
static size_t only_bytes; /* one size, or 0 */

static void measure(const char *name, void (*open)(struct pair *, const char *), const char *listen,
                    double seconds, int repetitions) {
    if (only != NULL && strcmp(only, name) != 0) {
        return;
    }
    struct pair pair = {0};
    open(&pair, listen);
    await_up(pair.ends[0]);
    await_up(pair.ends[1]);
    struct answerer answerer = {.t = pair.ends[1]};
    pthread_t thread;
    if (pthread_create(&thread, NULL, answer, &answerer) != 0) {
        exit(1);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        if (only_bytes == 0 || only_bytes == sizes[i]) {
            measure_size(&pair, &answerer, sizes[i], seconds, repetitions, name);
        }
    }
    pair.ends[1]->ops->interrupt(pair.ends[1]);
    (void)pthread_join(thread, NULL);
    for (int i = 0; i < 2; i++) {
        pair.ends[i]->ops->destroy(pair.ends[i]);
    }
    inproc_hub_destroy(pair.hub);
}

int main(int argc, char **argv) {
    const double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.5;
    const long wanted = argc > 2 ? strtol(argv[2], NULL, 10) : 3;
    const int repetitions = wanted < 1                 ? 1
                            : wanted > MAX_REPETITIONS ? MAX_REPETITIONS
                                                       : (int)wanted;
    only = argc > 3 ? argv[3] : NULL;
    only_bytes = argc > 4 ? (size_t)strtoull(argv[4], NULL, 10) : 0;
    char directory[256], listen[300];
    struct shoal_error error;
    if (file_make_temporary(directory, sizeof directory, &error) != SHOAL_OK) {
        give_up("temporary directory", &error);
    }
    (void)snprintf(listen, sizeof listen, "ipc://%s/b", directory);
    printf("%-9s %9s %10s %9s %11s %10s %10s\n", "transport", "bytes", "messages/s", "MB/s",
           "latency us", "busy us", "paced us");
    measure("inproc", open_inproc, NULL, seconds, repetitions);
    measure("zmq tcp", open_zmq, "tcp://127.0.0.1:0", seconds, repetitions);
    measure("zmq ipc", open_zmq, listen, seconds, repetitions);
    file_remove_tree(directory);
    return 0;
}
