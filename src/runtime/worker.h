/*
 * A thread that runs tasks one after another, in the order in which they were handed over. A task
 * lives in what it works for, so that handing it over allocates nothing; who hands tasks over
 * bounds their number.
 *
 * Threads: submit and next_done belong to one thread, the owner's; a task and what it works on are
 * the worker's from submit until next_done gave it back.
 */
#ifndef RUNTIME_WORKER_H
#define RUNTIME_WORKER_H

#include "base/status.h"

struct task {
    void (*run)(struct task *task);  /* on the worker's thread */
    void (*done)(struct task *task); /* the owner's, for its own use after next_done */
    void *context;
    struct task *next;
};

struct worker;

/* notify (any thread) tells the owner that next_done has something. Errors: NO_MEMORY. */
NODISCARD shoal_status worker_create(void (*notify)(void *context), void *context,
                                     struct worker **out, struct shoal_error *error);

void worker_submit(struct worker *worker, struct task *task);

/* The next finished task, or NULL. */
struct task *worker_next_done(struct worker *worker);

/* Waits for the task that is running; those that had not begun are forgotten. NULL allowed. */
void worker_destroy(struct worker *worker);

#endif
