/* The ops that models are made of, built by hand-written builders or found by fusion: the ones
 * that kernel sets compete on. Included by op.h. */
#ifndef KERNELS_OPS_CORE_H
#define KERNELS_OPS_CORE_H

/*
 * X(code, name, least inputs, most inputs, least params, most params, outputs). Inputs are
 * activations (they change with every microbatch); params are constant between two calls of pack.
 * Shapes, all f32 row-major unless said:
 *
 * - CONV2D: x [B,H,W,C], residual [B,OH,OW,O]?, w [O,C/groups,KH,KW], bias [O]? → [B,OH,OW,O] =
 *   activation(conv(x, w) + bias + residual) (NHWC activations, OIHW weights as stored)
 * - TOKENS: x [B,P,C] (or [B,h,w,C] with h·w = P), prefix [R,C], position [R+P,C] → [B,R+P,C]:
 *   prefix rows first, then x; plus position
 * - EMBED: ids [B,T] i32, types [B,T] i32?, word [V,C], position [P,C] with P ≥ T, type [S,C]? →
 *   [B,T,C]: (word[id] + type[type]) + position[t]. Types and their table come together. An index
 *   outside its table reads the table's first or last row: who takes ids from outside checks them.
 * - LAYER_NORM: x [...,C], gamma [C], beta [C] → same; population variance, attrs.epsilon
 * - LINEAR: x [...,K], residual [...,N]?, w [N,K], bias [N]? → [...,N] = activation(x·wᵀ + bias) +
 *   residual
 * - ATTENTION: qkv [B,T,3C] (q, k, v side by side), mask [B,T]? → [B,T,C]; softmax(q·kᵀ·attrs.scale
 *   + mask)·v per head; where the mask is −∞ for every key the result is 0
 * - SDPA: q [B,Tq,Hq,D], k [B,Tk,Hk,D], v [B,Tk,Hk,Dv], mask? broadcastable [B|1,Hq|1,Tq|1,Tk] →
 *   [B,Tq,Hq,Dv]: scaled dot-product attention on separate tensors, per query head h with the keys
 *   and values of head h / (Hq/Hk), Hk dividing Hq: softmax(s + mask)·v, s = q·kᵀ·attrs.scale, or,
 *   with attrs.floats[SDPA_SOFTCAP] = c > 0, c·tanh(q·kᵀ·attrs.scale/c). With SDPA_CAUSAL in
 *   attrs.mode, query i sees only keys j ≤ i + Tk − Tq. Where it sees no key, or the mask is −∞ for
 *   all that it sees, the result is 0.
 * - ADD: a, b same shape → (a + b)·attrs.scale
 * - ACTIVATION: x → attrs.activation(x)
 * - MEAN_POOL: x [B,T,C], mask [B,T] → [B,C]: mean of the rows whose mask is 0 or more; 0 if there
 *   are none
 * - NORMALISE: x [...,C] → x divided by its Euclidean norm, or by attrs.epsilon where that is
 *   greater
 * - SELECT: x [B,T,C] → [B,C]: row attrs.index of T
 *
 * For gradients and optimisers (reference kernels only until training is built):
 * - MATMUL: a [M,K], b [K,N] (attrs.transpose_a/b: stored [K,M], [N,K]) → [M,N]; both are inputs
 * - SUM_ROWS: x [M,N] → [N]
 * - ACTIVATION_GRAD: x (before activation), dy → dy·activation'(x)
 * - CROSS_ENTROPY: logits [B,N], label [B] i32 → loss [B], dlogits [B,N] = (softmax −
 *   onehot)·attrs.scale
 * - SGD: w, dw (same shape) → w − attrs.scale·dw
 */
#define OP_LIST_CORE(X)                                  \
    X(CONV2D, "conv2d", 1, 2, 1, 2, 1)                   \
    X(TOKENS, "tokens", 1, 1, 2, 2, 1)                   \
    X(EMBED, "embed", 1, 2, 2, 3, 1)                     \
    X(LAYER_NORM, "layer_norm", 1, 1, 2, 2, 1)           \
    X(LINEAR, "linear", 1, 2, 1, 2, 1)                   \
    X(ATTENTION, "attention", 1, 2, 0, 0, 1)             \
    X(ADD, "add", 2, 2, 0, 0, 1)                         \
    X(ACTIVATION, "activation", 1, 1, 0, 0, 1)           \
    X(MEAN_POOL, "mean_pool", 2, 2, 0, 0, 1)             \
    X(NORMALISE, "normalise", 1, 1, 0, 0, 1)             \
    X(SELECT, "select", 1, 1, 0, 0, 1)                   \
    X(SDPA, "sdpa", 3, 4, 0, 0, 1)                       \
    X(MATMUL, "matmul", 2, 2, 0, 0, 1)                   \
    X(SUM_ROWS, "sum_rows", 1, 1, 0, 0, 1)               \
    X(ACTIVATION_GRAD, "activation_grad", 2, 2, 0, 0, 1) \
    X(CROSS_ENTROPY, "cross_entropy", 2, 2, 0, 0, 2)     \
    X(SGD, "sgd", 2, 2, 0, 0, 1)

#define SDPA_CAUSAL 1  /* a bit of SDPA's attrs.mode */
#define SDPA_SOFTCAP 0 /* index into SDPA's attrs.floats */

#endif
