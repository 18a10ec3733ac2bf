/*
 * From devices and a model to a placement: gathers kernel choices, profiles and links — from the
 * store where nothing relevant changed, measured otherwise — and makes the planner's problem of
 * them.
 *
 * A profile is kept under everything that decides it: host, processor, instruction set, library
 * versions, threads, kernel sets, microbatch and the model's configuration.
 */
#ifndef RUNTIME_PLANNING_H
#define RUNTIME_PLANNING_H

#include "models/model.h"
#include "plan/problem.h"
#include "runtime/cluster.h"
#include "store/store.h"

struct planning_options {
    struct cluster *cluster;
    const struct model_config *model;
    int64_t batch;
    const char *kernels;                          /* "auto", or one set's name */
    struct store *store;                          /* NULL: measure, keep nothing */
    bool measure_again;                           /* do not read the store */
    void (*say)(void *context, const char *what); /* what takes time just now */
    void *context;
};

struct planning;

/* Errors: those of the devices' calls. A store that fails is a warning: the profile is measured
 * again. */
NODISCARD shoal_status planning_create(const struct planning_options *options,
                                       struct planning **out, struct shoal_error *error);
void planning_destroy(struct planning *planning);

const struct plan_problem *planning_problem(const struct planning *planning);
const json_t *planning_choice(const struct planning *planning); /* as choice_json.h writes it */
bool planning_from_store(const struct planning *planning);      /* nothing had to be measured */

enum planning_rule { PLANNING_OPTIMAL, PLANNING_EVEN, PLANNING_PIPEDREAM, PLANNING_CUTS };

struct planning_request {
    enum planning_rule rule;
    bool choose_devices;  /* use as many as help, otherwise all */
    bool latency;         /* objective */
    const uint32_t *ends; /* PLANNING_CUTS: last segment of each stage but the last one */
    uint32_t end_count;
};

/*
 * Devices that share one host are placed as if they did not, which balances their stages; the rate
 * they then reach together on its cores is in the prediction. Errors: INVALID (cuts), the
 * planner's.
 */
NODISCARD shoal_status planning_place(const struct planning *planning,
                                      const struct planning_request *request,
                                      struct plan_placement *out, struct shoal_error *error);

#endif
