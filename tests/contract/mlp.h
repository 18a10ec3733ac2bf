/*
 * The experiment's model: three layers, cross entropy, in three segments.
 *   h0 = gelu(x·w0ᵀ + b0) | h1 = tanh(h0·w1ᵀ + b1) + h0 | logits = h1·w2ᵀ + b2
 */
#ifndef CONTRACT_MLP_H
#define CONTRACT_MLP_H

#include "autodiff.h"
#include "graph/executor.h"

#define MLP_BATCH 4
#define MLP_IN 6
#define MLP_HIDDEN 8
#define MLP_OUT 5
#define MLP_SEED 11
#define MLP_RATE 0.5F
#define MLP_ALL_PHASES (1U << GRAPH_F | 1U << GRAPH_B | 1U << GRAPH_W)

struct mlp {
    struct graph *graph;
    graph_value_id x, label, logits;
    struct autodiff training;
};

struct mlp mlp_build(void); /* with gradients; graph_destroy(mlp.graph) */

/* Reference kernels. Fails the test on any error. */
struct executor *mlp_compile(const struct graph *graph, uint32_t first, uint32_t last,
                             unsigned phases);

/* Deterministic weights, larger than weights_random's so that gradients are well above rounding. */
struct weight_source *mlp_source(void);

void mlp_fill_x(struct tensor x, uint64_t microbatch);
void mlp_fill_label(struct tensor label, uint64_t microbatch);

#endif
