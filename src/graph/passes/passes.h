/*
 * What is done to an imported graph before it is cut and run: constants are folded, patterns of
 * small ops become the ops that kernels compete on, images get their channels last.
 *
 * A pass is a function from graph to graph with a name. graph_optimise runs all of them, in the
 * order of PASS_LIST, again and again until none changes anything (the last one once, then); each
 * can be left out by its name (results differ by rounding only).
 *
 * What holds of every pass: the graph's inputs and outputs stay, with their names, types and order;
 * values differ by rounding only; nothing is computed that was not computed before, except on
 * constants; ops are fused only where what lies between them has no other reader.
 */
#ifndef GRAPH_PASSES_PASSES_H
#define GRAPH_PASSES_PASSES_H

#include "graph/graph.h"
#include "graph/weights.h"

/* X(code, name, function, what it does) */
#define PASS_LIST(X)                                                                              \
    X(DEAD, "dead", pass_dead, "what no output needs")                                            \
    X(FOLD, "fold", pass_fold, "nodes that read constants only are computed once")                \
    X(CLEAN, "clean", pass_clean, "ops that change nothing, reshapes of reshapes")                \
    X(SAME, "same", pass_same, "what is computed twice is computed once")                         \
    X(ACTIVATIONS, "activations", pass_activations,                                               \
      "GELU, SiLU, HardSwish, clips from their parts")                                            \
    X(NORMS, "norms", pass_norms, "LayerNorm and RMSNorm from their parts")                       \
    X(TRANSPOSES, "transposes", pass_transposes,                                                  \
      "transposes move behind their readers and cancel")                                          \
    X(EXPANDS, "expands", pass_expands, "expansions move behind their readers")                   \
    X(ATTENTION, "attention", pass_attention, "scores, mask, softmax, values: one op")            \
    X(PACK, "pack", pass_pack, "three projections of one input and their attention: two ops")     \
    X(RESHAPES, "reshapes", pass_reshapes, "reshapes move behind their readers and cancel")       \
    X(LINEAR, "linear", pass_linear, "products with constants, bias, activation, residual")       \
    X(CONV, "conv", pass_conv, "padding, batch norm, bias, residual, activation of convolutions") \
    X(VIEWS, "views", pass_views, "transposes that leave all elements in place are reshapes")

enum pass {
#define X(code, name, function, what) PASS_##code,
    PASS_LIST(X)
#undef X
        PASS_COUNT
};

const char *pass_name(enum pass pass);

struct pass_options {
    uint32_t skip;                /* bit set of 1u << enum pass */
    struct weight_source *source; /* stored tensors, to recognise masks that a file holds; NULL:
                                     they stay masks */
};

#define PASS_ALL ((1U << PASS_COUNT) - 1)

/*
 * Adds names, separated by commas, to a set; "all" is every pass. Errors: INVALID (an unknown name:
 * the text lists all).
 */
NODISCARD shoal_status pass_parse(const char *names, uint32_t *set, struct shoal_error *error);

/*
 * A new graph, the caller's; graph stays as it is. Cuts that it has stay where fusion leaves them.
 * Errors: INVALID (gradient nodes), NO_MEMORY, the source's; INTERNAL and others are our bugs.
 */
NODISCARD shoal_status graph_optimise(const struct graph *graph, const struct pass_options *options,
                                      struct graph **out, struct shoal_error *error);

/* One pass, once. */
NODISCARD shoal_status pass_run(const struct graph *graph, enum pass pass,
                                const struct pass_options *options, struct graph **out,
                                struct shoal_error *error);

#endif
