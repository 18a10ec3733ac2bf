#include "runtime/worker.h"

#include "base/memory.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>

/* First in, first out. */
struct task_list {
    struct task *first, **end;
};

struct worker {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t filled;
    struct task_list waiting, finished;
    bool stop;
    void (*notify)(void *context);
    void *context;
};

static void append(struct task_list *list, struct task *task) {
    task->next = NULL;
    *list->end = task;
    list->end = &task->next;
}

static struct task *take(struct task_list *list) {
    struct task *task = list->first;
    if (task != NULL) {
        list->first = task->next;
        if (list->first == NULL) {
            list->end = &list->first;
        }
    }
    return task;
}

static void *work(void *argument) {
    struct worker *worker = argument;
    (void)pthread_mutex_lock(&worker->mutex);
    while (!worker->stop) {
        struct task *task = take(&worker->waiting);
        if (task == NULL) {
            (void)pthread_cond_wait(&worker->filled, &worker->mutex);
            continue;
        }
        (void)pthread_mutex_unlock(&worker->mutex);
        task->run(task);
        (void)pthread_mutex_lock(&worker->mutex);
        append(&worker->finished, task);
        (void)pthread_mutex_unlock(&worker->mutex);
        worker->notify(worker->context);
        (void)pthread_mutex_lock(&worker->mutex);
    }
    (void)pthread_mutex_unlock(&worker->mutex);
    return NULL;
}

/* Signals are the owner's business. */
static int start_thread(struct worker *worker) {
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int result = pthread_create(&worker->thread, NULL, work, worker);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return result;
}

shoal_status worker_create(void (*notify)(void *context), void *context, struct worker **out,
                           struct shoal_error *error) {
    struct worker *worker = mem_calloc(1, sizeof *worker);
    if (worker == NULL) {
        return error_set(error, SHOAL_NO_MEMORY, "no memory for a thread");
    }
    worker->waiting.end = &worker->waiting.first;
    worker->finished.end = &worker->finished.first;
    worker->notify = notify;
    worker->context = context;
    (void)pthread_mutex_init(&worker->mutex, NULL);
    (void)pthread_cond_init(&worker->filled, NULL);
    if (start_thread(worker) != 0) {
        (void)pthread_cond_destroy(&worker->filled);
        (void)pthread_mutex_destroy(&worker->mutex);
        mem_free(worker);
        return error_set(error, SHOAL_NO_MEMORY, "cannot start a thread");
    }
    *out = worker;
    return SHOAL_OK;
}

void worker_submit(struct worker *worker, struct task *task) {
    (void)pthread_mutex_lock(&worker->mutex);
    append(&worker->waiting, task);
    (void)pthread_cond_signal(&worker->filled);
    (void)pthread_mutex_unlock(&worker->mutex);
}

struct task *worker_next_done(struct worker *worker) {
    (void)pthread_mutex_lock(&worker->mutex);
    struct task *task = take(&worker->finished);
    (void)pthread_mutex_unlock(&worker->mutex);
    return task;
}

void worker_destroy(struct worker *worker) {
    if (worker == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&worker->mutex);
    worker->stop = true;
    (void)pthread_cond_signal(&worker->filled);
    (void)pthread_mutex_unlock(&worker->mutex);
    (void)pthread_join(worker->thread, NULL);
    (void)pthread_cond_destroy(&worker->filled);
    (void)pthread_mutex_destroy(&worker->mutex);
    mem_free(worker);
}
