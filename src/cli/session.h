/*
 * What run, plan and profile have in common: the model, the devices, the store, and how a person
 * hears what takes time. Flags of all three are in session_options.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "cli/args.h"
#include "runtime/cluster.h"
#include "runtime/cluster_file.h"
#include "runtime/model_ref.h"
#include "runtime/planning.h"
#include "store/store.h"

#include <stdatomic.h>

#define SESSION_MAX_DIMS 32

struct session {
    /* set by flags */
    const char *command;
    int64_t devices, threads, microbatch, seed, max_length; /* max_length 0: not given */
    bool in_process, json, measure_again, choose_devices, available;
    size_t memory;
    const char *kernels, *isa, *dtype, *link_codec, *weights, *vocab, *baseline, *cuts, *objective,
        *cluster_path, *key_path, *labels, *preprocess, *skip_passes;
    struct args_list dims;          /* NAME=VALUE each */
    const struct args_list *inputs; /* of the command, whose arrays bind dims; NULL: none */
    /* Called, if set, when the model is known and nothing has been planned yet. */
    shoal_status (*on_model)(void *context, struct shoal_error *error);
    void *on_model_context;
    /* made by session_open */
    struct import_dim parsed_dims[SESSION_MAX_DIMS];
    struct cluster_file *file; /* --cluster's */
    struct model_ref *model;
    struct store *store;
    struct cluster *cluster;
    struct planning *planning;
    atomic_bool bar_shown; /* the reading thread asks */
};

void session_init(struct session *session, const char *command);

/* The shared options; fills out, returns how many (at most SESSION_OPTIONS). */
#define SESSION_OPTIONS 40
size_t session_options(struct session *session, struct args_option *out);

/* Checks flags, caps the instruction set (may start the program again), loads the model, starts
 * devices, plans' data. */
NODISCARD shoal_status session_open(struct session *session, const char *model,
                                    struct shoal_error *error);
NODISCARD shoal_status session_place(const struct session *session, struct plan_placement *out,
                                     struct shoal_error *error);
void session_close(struct session *session);

/* session_cluster.c: --cluster. Everything that can be wrong before a model is loaded. */
NODISCARD shoal_status session_check_cluster_flags(const struct session *session,
                                                   struct shoal_error *error);
NODISCARD shoal_status session_read_cluster(struct session *session, struct shoal_error *error);
/* bytes: of the largest message that a run sends. */
NODISCARD shoal_status session_connect(struct session *session, size_t bytes,
                                       struct shoal_error *error);

struct zmq_keypair;
/* This side's keys, from path or, if that is NULL, $SHOAL_HOME/key; NOT_FOUND says how to make
 * them. */
NODISCARD shoal_status session_read_key(const char *path, struct zmq_keypair *out,
                                        struct shoal_error *error);

/*
 * Whether every placement on these devices computes the same bits. If not, text [512] says why and
 * what to do, otherwise it is empty.
 */
bool session_bit_identical(const struct session *session, char text[SHOAL_ERROR_TEXT]);

/* Words NAME=N; mem_free the names. Errors: USAGE. */
NODISCARD shoal_status session_parse_dims(const struct args_list *list, struct import_dim *out,
                                          size_t most, struct shoal_error *error);

/* NULL, with a warning, if there is none to be had. */
struct store *session_open_store(void);

/* One line on standard error, on a terminal replaced by the next; with --json on a terminal only.
 */
void session_say(struct session *session, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void session_clear_line(struct session *session);

#endif
