/*
 * Interface 1: kernels. One table of functions per kernel set; three sets: reference (plain C, the
 * oracle, covers every op), onednn, blas.
 *
 * Life of a kernel: create for fixed shapes → sizes → pack its params into memory the caller owns
 * (any number of packed versions may exist: training repacks every step, a pipeline stashes
 * several) → run any number of times → destroy. Every buffer handed over is 64-byte aligned.
 *
 * Threads: create, pack and destroy may allocate and may be called from any thread. run allocates
 * nothing of ours, takes no lock of ours, and may be called from one thread at a time per scratch
 * buffer; a kernel object itself is immutable after create, so two threads may run it with
 * different scratch. A kernel computes on desc.threads threads.
 *
 * Numeric guarantee: for one kernel set, instruction set, library version, thread count and desc,
 * run is a pure function of its inputs, bit for bit, whatever the address of a buffer.
 */
#ifndef KERNELS_KERNEL_H
#define KERNELS_KERNEL_H

#include "kernels/op.h"

struct kernel_desc {
    enum op op;
    struct op_attrs attrs;
    int input_count, param_count, output_count;
    struct tensor_type inputs[OP_MAX_INPUTS];
    struct tensor_type params[OP_MAX_PARAMS];
    struct tensor_type outputs[OP_MAX_OUTPUTS];
    int threads; /* ≥ 1 */
};

struct kernel_sizes {
    size_t packed_bytes;  /* one packed version of the params */
    size_t scratch_bytes; /* during run */
    size_t pack_bytes;    /* further temporary memory during pack, the kernel's own */
};

struct kernel; /* begins with its `const struct kernel_ops *ops` */

struct kernel_ops {
    const char *name; /* "reference", "onednn", "blas" */

    /* Whether create would accept the desc on this processor. No allocation. */
    bool (*supports)(const struct kernel_desc *desc);

    /* Errors: UNSUPPORTED (supports is false), NO_MEMORY, INTERNAL (a library failed; its code in
     * the text). */
    shoal_status (*create)(const struct kernel_desc *desc, struct kernel **out,
                           struct shoal_error *error);

    void (*sizes)(const struct kernel *kernel, struct kernel_sizes *out);

    /*
     * params[i] has desc.params[i]'s type and is read only during the call; packed has
     * packed_bytes. Errors: NO_MEMORY, INTERNAL.
     */
    shoal_status (*pack)(const struct kernel *kernel, const void *const params[], void *packed,
                         struct shoal_error *error);

    /*
     * Whether what `kernel` packed may be given to runs of `other`, a kernel of this set too (of
     * the same op for another batch or length, say): then pack of both writes the same bytes for
     * the same params.
     */
    bool (*packs_like)(const struct kernel *kernel, const struct kernel *other);

    /*
     * inputs and outputs as in desc; scratch has scratch_bytes. outputs[0] may be the same buffer
     * as inputs[i] only if aliases(kernel, i) is true. Errors: INTERNAL.
     */
    shoal_status (*run)(const struct kernel *kernel, const void *packed, const void *const inputs[],
                        void *const outputs[], void *scratch);

    bool (*aliases)(const struct kernel *kernel, int input);

    void (*destroy)(struct kernel *kernel); /* NULL allowed */
};

struct kernel {
    const struct kernel_ops *ops;
};

extern const struct kernel_ops kernel_reference_ops;

/* The desc of an op on given types: infers the outputs. Errors as op_infer. */
NODISCARD shoal_status kernel_describe(enum op op, const struct op_attrs *attrs,
                                       const struct tensor_type *inputs, int input_count,
                                       const struct tensor_type *params, int param_count,
                                       int threads, struct kernel_desc *out,
                                       struct shoal_error *error);

/* Same op and the same types of params: what most sets' packing depends on. */
bool kernel_same_params(const struct kernel_desc *a, const struct kernel_desc *b);

#define KERNEL_KEY_TEXT 384
/* A desc as text, the same for equal descs on any machine: the key of measurements and choices. */
void kernel_key(const struct kernel_desc *desc, char text[KERNEL_KEY_TEXT]);

#endif
