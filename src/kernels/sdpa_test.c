/* The reference SDPA: against the reference ATTENTION on the same numbers, and against its
 * definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/random.h"
#include "kernels/kernel.h"

#include <math.h>
#include <string.h>

#define BATCH 2
#define MOST 4096 /* floats of any tensor here */

static struct tensor_type f32(struct shape shape) {
    return (struct tensor_type){DTYPE_F32, shape};
}

static void run(enum op op, const struct op_attrs *attrs, const struct tensor_type *types,
                const void *const *inputs, int count, float *out) {
    struct kernel_desc desc;
    struct kernel *kernel = NULL;
    struct kernel_sizes sizes;
    struct shoal_error error;
    if (kernel_describe(op, attrs, types, count, NULL, 0, 1, &desc, &error) != SHOAL_OK) {
        fail_msg("%s", error.text);
    }
    assert_int_equal(kernel_reference_ops.create(&desc, &kernel, &error), SHOAL_OK);
    kernel_reference_ops.sizes(kernel, &sizes);
    void *scratch = mem_alloc_aligned(sizes.scratch_bytes + 1);
    assert_non_null(scratch);
    void *outputs[] = {out};
    assert_int_equal(kernel_reference_ops.run(kernel, NULL, inputs, outputs, scratch), SHOAL_OK);
    mem_free(scratch);
    kernel_reference_ops.destroy(kernel);
}

static void draw(const char *name, float *out, size_t count) {
    assert_true(count <= MOST);
    random_normal(random_stream(20261126, name), 0, 1.0F, out, count);
}

/* Same numbers side by side and apart: the same results, bit for bit. */
static void packed_attention_gives_the_same(void **state) {
    (void)state;
    enum { T = 7, H = 3, D = 5, C = H * D };
    static float qkv[BATCH * T * 3 * C], apart[3][BATCH * T * C], mask[BATCH * T];
    static float want[BATCH * T * C], got[BATCH * T * C];
    draw("qkv", qkv, BATCH * T * 3 * C);
    for (int row = 0; row < BATCH * T; row++) {
        for (int part = 0; part < 3; part++) {
            memcpy(apart[part] + (size_t)row * C, qkv + ((size_t)row * 3 + (size_t)part) * C,
                   C * sizeof(float));
        }
        mask[row] = row % 4 == 1 ? -INFINITY : 0;
    }
    for (int masked = 0; masked < 2; masked++) {
        const struct op_attrs attrs = {.heads = H, .scale = 0.4F};
        run(OP_ATTENTION, &attrs,
            (struct tensor_type[]){f32(SHAPE(BATCH, T, 3 * C)), f32(SHAPE(BATCH, T))},
            (const void *[]){qkv, mask}, 1 + masked, want);
        const struct tensor_type each = f32(SHAPE(BATCH, T, H, D));
        const struct op_attrs scale = {.scale = 0.4F};
        run(OP_SDPA, &scale, (struct tensor_type[]){each, each, each, f32(SHAPE(BATCH, 1, 1, T))},
            (const void *[]){apart[0], apart[1], apart[2], mask}, 3 + masked, got);
        assert_memory_equal(got, want, sizeof got);
    }
}

enum { TQ = 4, TK = 6, HQ = 6, HK = 2, D = 3, DV = 5 };

struct numbers {
    float q[BATCH * TQ * HQ * D], k[BATCH * TK * HK * D], v[BATCH * TK * HK * DV];
    float mask[BATCH * HQ * TQ * TK];
};

/* y[b,i,h,:] in double, from the definition. */
static void define(const struct numbers *n, const struct op_attrs *attrs, int queries, int b, int i,
                   int h, double y[DV]) {
    const int head = h / (HQ / HK);
    double weight[TK], total = 0;
    for (int j = 0; j < TK; j++) {
        double score = 0;
        for (int d = 0; d < D; d++) {
            score += (double)n->q[((b * queries + i) * HQ + h) * D + d] *
                     (double)n->k[((b * TK + j) * HK + head) * D + d];
        }
        score *= (double)attrs->scale;
        const double cap = (double)attrs->floats[SDPA_SOFTCAP];
        score = cap > 0 ? cap * tanh(score / cap) : score;
        const bool seen = (attrs->mode & SDPA_CAUSAL) == 0 || j <= i + TK - queries;
        weight[j] = seen ? exp(score + (double)n->mask[((b * HQ + h) * queries + i) * TK + j]) : 0;
        total += weight[j];
    }
    for (int d = 0; d < DV; d++) {
        y[d] = 0;
        for (int j = 0; j < TK && total > 0; j++) {
            y[d] += weight[j] / total * (double)n->v[((b * TK + j) * HK + head) * DV + d];
        }
    }
}

static void check(const struct numbers *n, const struct op_attrs *attrs, int queries) {
    static float got[BATCH * TQ * HQ * DV];
    const struct tensor_type types[] = {f32(SHAPE(BATCH, queries, HQ, D)),
                                        f32(SHAPE(BATCH, TK, HK, D)), f32(SHAPE(BATCH, TK, HK, DV)),
                                        f32(SHAPE(BATCH, HQ, queries, TK))};
    run(OP_SDPA, attrs, types, (const void *[]){n->q, n->k, n->v, n->mask}, 4, got);
    for (int b = 0; b < BATCH; b++) {
        for (int i = 0; i < queries; i++) {
            for (int h = 0; h < HQ; h++) {
                double want[DV];
                define(n, attrs, queries, b, i, h, want);
                for (int d = 0; d < DV; d++) {
                    const double value = (double)got[((b * queries + i) * HQ + h) * DV + d];
                    assert_true(fabs(value - want[d]) < 1e-5);
                }
            }
        }
    }
}

static void heads_masks_and_caps_mean_what_the_header_says(void **state) {
    (void)state;
    static struct numbers n;
    draw("q", n.q, sizeof n.q / sizeof(float));
    draw("k", n.k, sizeof n.k / sizeof(float));
    draw("v", n.v, sizeof n.v / sizeof(float));
    draw("mask", n.mask, sizeof n.mask / sizeof(float));
    for (int causal = 0; causal < 2; causal++) {
        for (int capped = 0; capped < 2; capped++) {
            const struct op_attrs attrs = {.scale = 0.7F,
                                           .mode = causal * SDPA_CAUSAL,
                                           .floats = {[SDPA_SOFTCAP] = capped == 0 ? 0 : 1.5F}};
            for (int queries = 1; queries <= TQ; queries++) {
                check(&n, &attrs, queries);
            }
        }
    }
}

/* More queries than keys, causal: the first ones see nothing. So do rows that are masked all along.
 */
static void a_query_that_sees_nothing_gives_zeros(void **state) {
    (void)state;
    enum { Q = 3, K = 2 };
    const float q[Q] = {1, 2, 3}, k[K] = {1, -1}, v[K] = {4, 8};
    const float mask[Q * K] = {0, 0, -INFINITY, 0, -INFINITY, -INFINITY};
    const struct tensor_type types[] = {f32(SHAPE(1, Q, 1, 1)), f32(SHAPE(1, K, 1, 1)),
                                        f32(SHAPE(1, K, 1, 1)), f32(SHAPE(1, 1, Q, K))};
    const void *const inputs[] = {q, k, v, mask};
    float y[Q];
    const struct op_attrs causal = {.scale = 1, .mode = SDPA_CAUSAL};
    run(OP_SDPA, &causal, types, inputs, 3, y);
    assert_true(y[0] == 0 && y[1] == 4 && y[2] > 4 && y[2] < 8);
    run(OP_SDPA, &causal, types, inputs, 4, y);
    assert_true(y[0] == 0 && y[1] == 0 && y[2] == 0);
    const struct op_attrs open = {.scale = 1};
    run(OP_SDPA, &open, types, inputs, 4, y);
    assert_true(y[0] > 4 && y[0] < 8 && y[1] == 8 && y[2] == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_attention_gives_the_same),
        cmocka_unit_test(heads_masks_and_caps_mean_what_the_header_says),
        cmocka_unit_test(a_query_that_sees_nothing_gives_zeros),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
