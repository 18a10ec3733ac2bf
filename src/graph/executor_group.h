/*
 * One range of segments compiled from several graphs that differ in their shapes alone: a text
 * model at each of its lengths. They run in turns, so they share what they can: one packed copy of
 * each node's weights where the kernels pack alike (kernel_ops.packs_like), the memory of one slot
 * and one scratch arena, each as large as the largest needs. A group of one is an executor with its
 * weights and its slot.
 *
 * Forward only. Threads: used by one thread at a time; executor_group_run allocates nothing.
 */
#ifndef GRAPH_EXECUTOR_GROUP_H
#define GRAPH_EXECUTOR_GROUP_H

#include "graph/executor.h"

#define EXECUTOR_GROUP_MAX 32

struct executor_group;

/*
 * graphs are borrowed and must outlive the group; options.phases must be 0. Errors: those of
 * executor_compile; INVALID (no graph or too many, graphs of other nodes than the first's).
 */
NODISCARD shoal_status executor_group_compile(const struct graph *const graphs[], uint32_t count,
                                              const struct executor_options *options,
                                              struct executor_group **out,
                                              struct shoal_error *error);
void executor_group_destroy(struct executor_group *group); /* loaded or not; NULL allowed */

/* Exactly what executor_group_load takes, all graphs together. */
void executor_group_memory_get(const struct executor_group *group, struct executor_memory *out);

/* Once: weights, slots and scratch. Errors: those of executor_weights_load, NO_MEMORY. */
NODISCARD shoal_status executor_group_load(struct executor_group *group,
                                           struct weight_source *source, struct shoal_error *error);

/* The same with a source for each graph, [count]: graphs that derive their weights
 * (graph/derived.h) do so by themselves. */
NODISCARD shoal_status executor_group_load_each(struct executor_group *group,
                                                struct weight_source *const sources[],
                                                struct shoal_error *error);

/* What enters and leaves the range of graph `index`, as executor_inputs and executor_outputs. */
uint32_t executor_group_inputs(const struct executor_group *group, uint32_t index,
                               const graph_value_id **out);
uint32_t executor_group_outputs(const struct executor_group *group, uint32_t index,
                                const graph_value_id **out);

/* Once loaded: the memory of a value of graph `index`, as executor_slot_tensor; what another graph
 * of the group writes may lie there too. */
struct tensor executor_group_tensor(const struct executor_group *group, uint32_t index,
                                    graph_value_id value);
/* Errors: those of executor_run. */
NODISCARD shoal_status executor_group_run(struct executor_group *group, uint32_t index,
                                          struct shoal_error *error);

#endif
