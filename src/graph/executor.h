/*
 * Interface 2: the segment executor. Compiles the forward nodes of segments first..last for one
 * microbatch size; then runs them with no allocation and no lock of ours.
 *
 * Memory is planned once, at compile: one *slot* (the activations of one microbatch in flight,
 * values with disjoint lifetimes share bytes), one *scratch* arena shared by all slots, and packed
 * weights, of which there may be several versions. The executor never communicates and knows
 * nothing of versions: the caller hands it weights and slot at every run. A sliced stage compiles
 * to several executors with exchange points between them.
 *
 * Training (phases B and W compiled too): the nodes of the range run in the order F, B, W within a
 * slot, which keeps what B and W read of F. A weights version then also holds its params as plain
 * f32 (the master): param values read them, and a caller that has new ones writes them there and
 * packs. Which version a run gets is the caller's business: a stashed one for B, the latest for W.
 *
 * Threads: an executor may be run by one thread at a time (it owns one scratch).
 */
#ifndef GRAPH_EXECUTOR_H
#define GRAPH_EXECUTOR_H

#include "graph/graph.h"
#include "graph/weights.h"
#include "kernels/registry.h"

struct executor_options {
    uint32_t first, last; /* segments, 1-based, both included */
    int64_t batch;        /* microbatch */
    int threads;
    const struct kernel_choice
        *choice;     /* NULL: kernel_choice_get's preference; read only during compile */
    unsigned phases; /* bit set of 1u << enum graph_phase; 0 means F only */
};

struct executor_memory {
    size_t weights_bytes;    /* one packed version, with phases B or W the plain params too */
    size_t slot_bytes;       /* one microbatch in flight */
    size_t scratch_bytes;    /* ours, libraries' scratch included */
    size_t load_extra_bytes; /* over weights_bytes while weights are read and packed: the largest
                                node's params in f32, and what a source tensor (as f32; wider
                                sources add the difference) or the library's temporaries take beyond
                                memory that is not touched at that moment */
};

struct executor;
struct executor_weights;
struct executor_slot;

/*
 * graph is borrowed and must outlive the executor. Errors: INVALID (range, batch, threads, phases;
 * a node of B or W that reads a forward value its stage does not have), UNSUPPORTED, NO_MEMORY,
 * INTERNAL.
 */
NODISCARD shoal_status executor_compile(const struct graph *graph,
                                        const struct executor_options *options,
                                        struct executor **out, struct shoal_error *error);
void executor_destroy(struct executor *executor);

/*
 * Exactly what creating weights and slots takes. Scratch is allocated at the first slot; compile
 * alone needs little memory, so a planner may call it for many ranges.
 */
void executor_memory_get(const struct executor *executor, struct executor_memory *out);

/*
 * Reads, converts to f32, packs. Errors: the source's; MISMATCH when shapes differ — all missing
 * and misshapen tensors of the range are counted and the first ones named in the text.
 */
NODISCARD shoal_status executor_weights_load(struct executor *executor,
                                             struct weight_source *source,
                                             struct executor_weights **out,
                                             struct shoal_error *error);
void executor_weights_destroy(struct executor_weights *weights); /* NULL allowed */

/*
 * Training: another version, its params still unwritten (zero); the plain f32 of a param of the
 * range, to be read and written; packs what is written there. The last two only if phases B or W
 * are compiled. Errors: NO_MEMORY, INTERNAL.
 */
NODISCARD shoal_status executor_weights_create(struct executor *executor,
                                               struct executor_weights **out,
                                               struct shoal_error *error);
struct tensor executor_weights_param(const struct executor_weights *weights, graph_param_id param);
NODISCARD shoal_status executor_weights_pack(struct executor_weights *weights,
                                             struct shoal_error *error);

/* All its bytes are touched here, so that later page faults do not disturb, and zero. */
NODISCARD shoal_status executor_slot_create(struct executor *executor, struct executor_slot **out,
                                            struct shoal_error *error);
void executor_slot_destroy(struct executor_slot *slot);

/* Values that enter and leave the range, in the order of graph_crossing(first − 1) and
 * graph_crossing(last). */
uint32_t executor_inputs(const struct executor *executor, const graph_value_id **out);
uint32_t executor_outputs(const struct executor *executor, const graph_value_id **out);

/*
 * The same per phase. F: as above. B, W: what the phase's nodes read but the range does not make
 * (gradients from the next stage, labels), and what other stages or the graph's outputs want of
 * what they make; in order of ids.
 */
uint32_t executor_phase_inputs(const struct executor *executor, enum graph_phase phase,
                               const graph_value_id **out);
uint32_t executor_phase_outputs(const struct executor *executor, enum graph_phase phase,
                                const graph_value_id **out);

/*
 * The memory of a value in a slot: written by the caller for inputs before run (a run may destroy
 * inputs: write them before every run), read after run for outputs. A value that passes through
 * (input and output of the range) is one buffer and kept. Outputs stay valid until the slot's next
 * run of phase F.
 */
struct tensor executor_slot_tensor(const struct executor_slot *slot, graph_value_id value);

/* Runs the nodes of one phase. Errors: INTERNAL (a library failed), naming the node. */
NODISCARD shoal_status executor_run(struct executor *executor,
                                    const struct executor_weights *weights,
                                    struct executor_slot *slot, enum graph_phase phase,
                                    struct shoal_error *error);

#endif
