#include "runtime/transfer.h"

#include "base/log.h"
#include "base/memory.h"
#include "platform/clock.h"
#include "runtime/control.h"
#include "runtime/worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum state {
    WAITS,      /* another fetch of the same content runs */
    BEGINNING,  /* the worker looks at what is there */
    CONNECTING, /* the source is not up yet */
    READING,
    COMMITTING, /* the worker verifies and syncs */
};

struct fetch {
    struct fetch *next;
    struct transfer *transfer;
    struct transfer_fetch what;
    uint64_t id;
    enum state state;
    bool cancelled; /* freed when the worker gives it back, without on_done */
    struct task task;
    /* The worker's while its task is underway. */
    shoal_status status;
    struct shoal_error error;
    struct contents_writer *writer;
    /* The worker's while BEGINNING. */
    struct contents_reader *reader; /* for those who follow us */
    uint64_t there;                 /* bytes written, those of earlier attempts included */
    /* The owner thread's. */
    uint64_t asked;    /* bytes [there, asked) are underway */
    uint64_t received; /* in this attempt */
    uint64_t moved_ns;
};

/* What came for one asker, and from one source. */
struct account {
    struct account *next;
    char name[TRANSPORT_NAME_BYTES];
    uint64_t bytes, told_bytes, told_ns; /* for it */
    uint64_t moved_ns;                   /* from it */
};

struct transfer {
    struct transfer_options options;
    struct serve *serve;
    struct worker *worker;
    struct fetch *fetches;
    struct account *accounts;
    uint64_t next_id;
};

/* ---- accounts ---- */

static struct account *find_account(const struct transfer *transfer, const char *name) {
    struct account *account = transfer->accounts;
    while (account != NULL && strcmp(account->name, name) != 0) {
        account = account->next;
    }
    return account;
}

static shoal_status need_account(struct transfer *transfer, const char *name,
                                 struct shoal_error *error) {
    if (find_account(transfer, name) != NULL) {
        return SHOAL_OK;
    }
    struct account *account = mem_calloc(1, sizeof *account);
    if (account == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for fetches of %s", name);
    }
    (void)snprintf(account->name, sizeof account->name, "%s", name);
    account->next = transfer->accounts;
    transfer->accounts = account;
    return SHOAL_OK;
}

static void drop_account(struct transfer *transfer, const char *name) {
    for (struct account **at = &transfer->accounts; *at != NULL; at = &(*at)->next) {
        if (strcmp((*at)->name, name) == 0) {
            struct account *account = *at;
            *at = account->next;
            mem_free(account);
            return;
        }
    }
}

/* ---- serving ---- */

static struct fetch *find_running(const struct transfer *transfer, const char *key) {
    struct fetch *fetch = transfer->fetches;
    while (fetch != NULL &&
           (fetch->state == WAITS || fetch->cancelled || strcmp(fetch->what.key, key) != 0)) {
        fetch = fetch->next;
    }
    return fetch;
}

/* For serve: from the cache, or from what is arriving. */
static shoal_status read_content(void *context, const char *key, uint64_t offset, void *out,
                                 size_t size, size_t *got, struct shoal_error *error) {
    const struct transfer *transfer = context;
    const struct fetch *fetch = find_running(transfer, key);
    if (fetch != NULL && offset < fetch->what.bytes) {
        *got = 0;
        if (fetch->state == BEGINNING) { /* what is there is the worker's to say */
            return SHOAL_OK;
        }
        const uint64_t there = offset < fetch->there ? fetch->there - offset : 0;
        if (fetch->reader == NULL || there == 0) {
            return SHOAL_OK;
        }
        return contents_reader_read(fetch->reader, offset, out, there < size ? (size_t)there : size,
                                    got, error);
    }
    const shoal_status status =
        contents_read(transfer->options.contents, key, offset, out, size, got, error);
    if (status == SHOAL_OK && *got == 0) {
        return error_set(error, SHOAL_INVALID, "content %s ends before byte %llu", key,
                         (unsigned long long)offset);
    }
    return status;
}

/* ---- ends ---- */

static void begin(struct fetch *fetch);

static void unlink_fetch(struct fetch *fetch) {
    struct fetch **at = &fetch->transfer->fetches;
    while (*at != fetch) {
        at = &(*at)->next;
    }
    *at = fetch->next;
}

static void free_fetch(struct fetch *fetch) {
    contents_reader_close(fetch->reader);
    contents_write_abandon(fetch->writer);
    mem_free(fetch);
}

/* The first of those that waited for this content takes it on, or is done if it is there now. */
static void wake_waiting(struct transfer *transfer, const char *key) {
    for (struct fetch *fetch = transfer->fetches; fetch != NULL; fetch = fetch->next) {
        if (fetch->state == WAITS && strcmp(fetch->what.key, key) == 0 &&
            find_running(transfer, key) == NULL) {
            begin(fetch);
            return;
        }
    }
}

static void end(struct fetch *fetch, shoal_status status, const char *text) {
    struct transfer *transfer = fetch->transfer;
    unlink_fetch(fetch);
    const struct transfer_fetch what = fetch->what;
    const struct transfer_result result = {.asker = what.asker,
                                           .key = what.key,
                                           .status = status,
                                           .text = text,
                                           .received = fetch->received};
    const bool cancelled = fetch->cancelled;
    contents_reader_close(fetch->reader);
    fetch->reader = NULL;
    contents_write_abandon(fetch->writer);
    fetch->writer = NULL;
    if (!cancelled) {
        transfer->options.on_done(transfer->options.context, &result);
    }
    mem_free(fetch);
    wake_waiting(transfer, what.key);
    serve_more(transfer->serve); /* who followed a fetch that failed hears it now */
}

__attribute__((format(printf, 3, 4))) static void fail(struct fetch *fetch, shoal_status status,
                                                       const char *format, ...);

static void fail(struct fetch *fetch, shoal_status status, const char *format, ...) {
    struct shoal_error error;
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(error.text, sizeof error.text, format, arguments);
    va_end(arguments);
    end(fetch, status, error.text);
}

/* ---- reading ---- */

static void run_commit(struct task *task) {
    struct fetch *fetch = task->context;
    struct contents_writer *writer = fetch->writer;
    fetch->writer = NULL; /* freed in every case */
    fetch->status = contents_write_commit(writer, &fetch->error);
}

static void commit_done(struct task *task) {
    struct fetch *fetch = task->context;
    end(fetch, fetch->status, fetch->status == SHOAL_OK ? "" : fetch->error.text);
}

static void commit(struct fetch *fetch) {
    fetch->state = COMMITTING;
    fetch->task = (struct task){.run = run_commit, .done = commit_done, .context = fetch};
    worker_submit(fetch->transfer->worker, &fetch->task);
}

/* Asks as far ahead as is allowed; may end the fetch. */
static void ask(struct fetch *fetch) {
    struct transport *transport = fetch->transfer->options.transport;
    while (fetch->asked < fetch->what.bytes && fetch->asked - fetch->there < TRANSFER_AHEAD) {
        const uint64_t left = fetch->what.bytes - fetch->asked;
        const uint64_t length = left < SERVE_READ_BYTES ? left : SERVE_READ_BYTES;
        json_t *request =
            json_pack("{s:I, s:s, s:s, s:I, s:I, s:I}", "id", (json_int_t)fetch->id, "call", "read",
                      "content", fetch->what.key, "offset", (json_int_t)fetch->asked, "length",
                      (json_int_t)length, "transfer", (json_int_t)fetch->id);
        struct shoal_error error;
        const shoal_status status =
            control_send(transport, fetch->what.source, WIRE_REQUEST, request, &error);
        if (status == SHOAL_BUSY) {
            return; /* transfer_writable brings us back */
        }
        if (status == SHOAL_PEER_LOST) {
            fetch->state = CONNECTING; /* not up yet; or lost, which is about to be reported */
            return;
        }
        if (status != SHOAL_OK) {
            fail(fetch, status, "%s", error.text);
            return;
        }
        fetch->asked += length;
    }
}

static void read_on(struct fetch *fetch) {
    fetch->state = READING;
    fetch->asked = fetch->there;
    if (fetch->there == fetch->what.bytes) {
        commit(fetch);
    } else {
        ask(fetch);
    }
}

/* ---- beginning ---- */

static void run_begin(struct task *task) {
    struct fetch *fetch = task->context;
    struct contents *contents = fetch->transfer->options.contents;
    uint64_t bytes;
    fetch->writer = NULL;
    if (contents_has(contents, fetch->what.key, &bytes) && bytes == fetch->what.bytes) {
        fetch->status = SHOAL_OK;
        return;
    }
    fetch->status = contents_write_begin(contents, fetch->what.key, fetch->what.bytes,
                                         &fetch->writer, &fetch->there, &fetch->error);
    if (fetch->status == SHOAL_OK) {
        fetch->status = contents_reader_open(fetch->writer, &fetch->reader, &fetch->error);
    }
}

static void begin_done(struct task *task) {
    struct fetch *fetch = task->context;
    if (fetch->cancelled || fetch->status != SHOAL_OK || fetch->writer == NULL) {
        end(fetch, fetch->status, fetch->status == SHOAL_OK ? "" : fetch->error.text);
        return;
    }
    fetch->moved_ns = platform_now_ns();
    struct transport *transport = fetch->transfer->options.transport;
    if (fetch->there < fetch->what.bytes && fetch->what.address[0] != '\0') {
        struct shoal_error error;
        const shoal_status status = transport->ops->connect(
            transport, fetch->what.source, fetch->what.address, fetch->what.public_key, &error);
        if (status != SHOAL_OK && status != SHOAL_BUSY) { /* BUSY: connected, or about to be */
            fail(fetch, status, "%s", error.text);
            return;
        }
    }
    read_on(fetch);
    serve_more(fetch->transfer->serve); /* what was there already */
}

static void begin(struct fetch *fetch) {
    if (find_running(fetch->transfer, fetch->what.key) != NULL) {
        fetch->state = WAITS;
        return;
    }
    fetch->state = BEGINNING;
    fetch->task = (struct task){.run = run_begin, .done = begin_done, .context = fetch};
    worker_submit(fetch->transfer->worker, &fetch->task);
}

shoal_status transfer_begin(struct transfer *transfer, const struct transfer_fetch *what,
                            struct shoal_error *error) {
    if (!contents_key_valid(what->key) || what->source[0] == '\0') {
        return error_set(error, SHOAL_INVALID, "'%.64s' of '%s' cannot be fetched", what->key,
                         what->source);
    }
    uint32_t all = 0, of_asker = 0;
    for (const struct fetch *other = transfer->fetches; other != NULL; other = other->next) {
        all++;
        of_asker += strcmp(other->what.asker, what->asker) == 0;
    }
    if (all >= TRANSFER_MAX_FETCHES || of_asker >= TRANSFER_MAX_OF_ASKER) {
        return error_set(error, SHOAL_BUSY, "%u fetches are underway already, %u of them yours",
                         all, of_asker);
    }
    TRY(need_account(transfer, what->asker, error));
    TRY(need_account(transfer, what->source, error));
    struct fetch *fetch = mem_calloc(1, sizeof *fetch);
    if (fetch == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a fetch");
    }
    fetch->transfer = transfer;
    fetch->what = *what;
    fetch->id = transfer->next_id++;
    fetch->state = WAITS;
    struct fetch **last = &transfer->fetches;
    while (*last != NULL) {
        last = &(*last)->next;
    }
    *last = fetch;
    begin(fetch);
    return SHOAL_OK;
}

/* ---- what comes ---- */

static void take_refusal(struct fetch *fetch, const struct wire_message *message) {
    const struct tensor *tensor = &message->tensors[0];
    const size_t length = tensor_bytes(tensor);
    const uint32_t code = message->header.items;
    const bool known = code > SHOAL_OK && code <= SHOAL_INTERNAL;
    fail(fetch, known ? (shoal_status)code : SHOAL_PROTOCOL, "%s refuses: %.*s", fetch->what.source,
         (int)(length < 300 ? length : 300), (const char *)tensor->data);
}

static void take_piece(struct fetch *fetch, const struct wire_message *message) {
    const struct tensor *tensor = &message->tensors[0];
    const size_t size = tensor_bytes(tensor);
    if (message->header.microbatch != fetch->there || size == 0 ||
        size > fetch->asked - fetch->there) {
        fail(fetch, SHOAL_PROTOCOL,
             "%s sent %zu bytes from byte %llu on, expected were at most %llu from byte %llu on",
             fetch->what.source, size, (unsigned long long)message->header.microbatch,
             (unsigned long long)(fetch->asked - fetch->there), (unsigned long long)fetch->there);
        return;
    }
    struct shoal_error error;
    const shoal_status status = contents_write(fetch->writer, tensor->data, size, &error);
    if (status != SHOAL_OK) {
        fail(fetch, status, "%s", error.text);
        return;
    }
    struct transfer *transfer = fetch->transfer;
    const uint64_t now = platform_now_ns();
    fetch->there += size;
    fetch->received += size;
    fetch->moved_ns = now;
    struct account *asker = find_account(transfer, fetch->what.asker);
    struct account *source = find_account(transfer, fetch->what.source);
    if (asker != NULL) {
        asker->bytes += size;
    }
    if (source != NULL) {
        source->moved_ns = now;
    }
    if (fetch->there == fetch->what.bytes) {
        commit(fetch);
    } else {
        ask(fetch);
    }
    serve_more(transfer->serve);
}

void transfer_chunk(struct transfer *transfer, const char *peer,
                    const struct wire_message *message) {
    struct fetch *fetch = transfer->fetches;
    while (fetch != NULL && fetch->id != message->header.job) {
        fetch = fetch->next;
    }
    if (fetch == NULL || fetch->state != READING || strcmp(fetch->what.source, peer) != 0) {
        log_debug("dropped a piece of %s for transfer %llu, which does not run", peer,
                  (unsigned long long)message->header.job);
        return;
    }
    const struct tensor *tensor = &message->tensors[0];
    if (message->header.tensor_count != 1 || tensor->dtype != DTYPE_U8 || tensor->shape.rank != 1 ||
        message->header.step > SERVE_REFUSED) {
        fail(fetch, SHOAL_PROTOCOL, "%s sent a chunk that is none", peer);
    } else if (message->header.step == SERVE_REFUSED) {
        take_refusal(fetch, message);
    } else {
        take_piece(fetch, message);
    }
}

void transfer_peer_up(struct transfer *transfer, const char *peer) {
    struct fetch *next;
    for (struct fetch *fetch = transfer->fetches; fetch != NULL; fetch = next) {
        next = fetch->next;
        if (fetch->state == CONNECTING && strcmp(fetch->what.source, peer) == 0) {
            read_on(fetch);
        }
    }
}

/* The next fetch that this loss ends; NULL if none is left. */
static struct fetch *find_hit(const struct transfer *transfer, const char *peer, bool *asked) {
    for (struct fetch *fetch = transfer->fetches; fetch != NULL; fetch = fetch->next) {
        *asked = strcmp(fetch->what.asker, peer) == 0;
        const bool from = strcmp(fetch->what.source, peer) == 0 &&
                          (fetch->state == CONNECTING || fetch->state == READING);
        if (!fetch->cancelled && (*asked || from)) {
            return fetch;
        }
    }
    return NULL;
}

void transfer_peer_lost(struct transfer *transfer, const char *peer, const char *reason) {
    serve_peer_lost(transfer->serve, peer);
    bool asked;
    struct fetch *fetch;
    while ((fetch = find_hit(transfer, peer, &asked)) != NULL) {
        if (!asked) {
            fail(fetch, SHOAL_PEER_LOST, "%s was lost: %s", peer, reason);
            continue;
        }
        fetch->cancelled = true;
        if (fetch->state != BEGINNING && fetch->state != COMMITTING) {
            end(fetch, SHOAL_CANCELLED, "");
        }
    }
    drop_account(transfer, peer);
}

void transfer_writable(struct transfer *transfer, const char *peer) {
    struct fetch *next;
    for (struct fetch *fetch = transfer->fetches; fetch != NULL; fetch = next) {
        next = fetch->next;
        if (fetch->state == READING && strcmp(fetch->what.source, peer) == 0) {
            ask(fetch);
        }
    }
    serve_writable(transfer->serve, peer);
}

void transfer_interrupted(struct transfer *transfer) {
    for (struct task *task = worker_next_done(transfer->worker); task != NULL;
         task = worker_next_done(transfer->worker)) {
        task->done(task);
    }
}

/* ---- time ---- */

static uint64_t stalls_ns(const struct transfer *transfer, const struct fetch *fetch) {
    if (fetch->state != CONNECTING && fetch->state != READING) {
        return CLOCK_NEVER;
    }
    const struct account *source = find_account(transfer, fetch->what.source);
    const uint64_t heard =
        source != NULL && source->moved_ns > fetch->moved_ns ? source->moved_ns : fetch->moved_ns;
    const uint64_t silent = heard + TRANSFER_STALL_NS;
    const uint64_t starved = fetch->moved_ns + TRANSFER_STARVE_NS;
    return silent < starved ? silent : starved;
}

static uint64_t tells_ns(const struct account *account) {
    return account->bytes > account->told_bytes ? account->told_ns + TRANSFER_PROGRESS_NS
                                                : CLOCK_NEVER;
}

uint64_t transfer_deadline_ns(const struct transfer *transfer) {
    uint64_t deadline = serve_deadline_ns(transfer->serve);
    for (const struct fetch *fetch = transfer->fetches; fetch != NULL; fetch = fetch->next) {
        const uint64_t due = stalls_ns(transfer, fetch);
        deadline = due < deadline ? due : deadline;
    }
    for (const struct account *a = transfer->accounts; a != NULL; a = a->next) {
        const uint64_t due = tells_ns(a);
        deadline = due < deadline ? due : deadline;
    }
    return deadline;
}

void transfer_tick(struct transfer *transfer) {
    const uint64_t now = platform_now_ns();
    if (now >= serve_deadline_ns(transfer->serve)) {
        serve_more(transfer->serve);
    }
    for (struct account *a = transfer->accounts; a != NULL; a = a->next) {
        if (now >= tells_ns(a)) {
            const uint64_t fresh = a->bytes - a->told_bytes;
            a->told_ns = now;
            a->told_bytes = a->bytes;
            transfer->options.on_progress(transfer->options.context, a->name, fresh);
        }
    }
    struct fetch *next;
    for (struct fetch *fetch = transfer->fetches; fetch != NULL; fetch = next) {
        next = fetch->next; /* a fetch that ends takes no other one with it */
        if (now >= stalls_ns(transfer, fetch)) {
            fail(fetch, SHOAL_TIMEOUT, "nothing came from %s for %.0f s", fetch->what.source,
                 (double)(now - fetch->moved_ns) * 1e-9);
        }
    }
}

/* ---- all of it ---- */

shoal_status transfer_request(struct transfer *transfer, const char *peer, const json_t *request,
                              struct shoal_error *error) {
    return serve_request(transfer->serve, peer, request, error);
}

static void on_task_done(void *context) {
    struct transport *transport = context;
    transport->ops->interrupt(transport);
}

shoal_status transfer_create(const struct transfer_options *options, struct transfer **out,
                             struct shoal_error *error) {
    struct transfer *transfer = mem_calloc(1, sizeof *transfer);
    if (transfer == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for transfers");
    }
    transfer->options = *options;
    transfer->next_id = platform_now_ns() >> 16; /* not what an earlier process used a moment ago */
    const struct serve_options serve = {.transport = options->transport,
                                        .read = read_content,
                                        .context = transfer,
                                        .wait_ns = TRANSFER_WAIT_NS};
    shoal_status status = serve_create(&serve, &transfer->serve, error);
    if (status == SHOAL_OK) {
        status = worker_create(on_task_done, options->transport, &transfer->worker, error);
    }
    if (status != SHOAL_OK) {
        transfer_destroy(transfer);
        return status;
    }
    *out = transfer;
    return SHOAL_OK;
}

void transfer_destroy(struct transfer *transfer) {
    if (transfer == NULL) {
        return;
    }
    worker_destroy(transfer->worker);
    while (transfer->fetches != NULL) {
        struct fetch *fetch = transfer->fetches;
        transfer->fetches = fetch->next;
        free_fetch(fetch);
    }
    while (transfer->accounts != NULL) {
        drop_account(transfer, transfer->accounts->name);
    }
    serve_destroy(transfer->serve);
    mem_free(transfer);
}
