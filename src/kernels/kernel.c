#include "kernels/kernel.h"

#include "base/assert.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

shoal_status kernel_describe(enum op op, const struct op_attrs *attrs,
                             const struct tensor_type *inputs, int input_count,
                             const struct tensor_type *params, int param_count, int threads,
                             struct kernel_desc *out, struct shoal_error *error) {
    if (threads < 1) {
        return error_set(error, SHOAL_INVALID, "%s: %d threads", op_describe(op)->name, threads);
    }
    struct kernel_desc desc;
    memset(&desc, 0, sizeof desc); /* padding too: descs may be compared as bytes */
    TRY(op_infer(op, attrs, inputs, input_count, params, param_count, desc.outputs, error));
    desc.op = op;
    desc.attrs = *attrs;
    desc.input_count = input_count;
    desc.param_count = param_count;
    desc.output_count = op_describe(op)->outputs;
    desc.threads = threads;
    for (int i = 0; i < input_count; i++) {
        desc.inputs[i] = inputs[i];
    }
    for (int i = 0; i < param_count; i++) {
        desc.params[i] = params[i];
    }
    *out = desc;
    return SHOAL_OK;
}

bool kernel_same_params(const struct kernel_desc *a, const struct kernel_desc *b) {
    bool same = a->op == b->op && a->param_count == b->param_count;
    for (int i = 0; i < a->param_count && same; i++) {
        same = a->params[i].dtype == b->params[i].dtype &&
               shape_equal(&a->params[i].shape, &b->params[i].shape);
    }
    return same;
}

/* A key being written; what does not fit is counted into the hash only. */
struct key {
    char text[8192];
    size_t length;
};

static void put(struct key *key, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void put(struct key *key, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    const int written =
        vsnprintf(key->text + key->length, sizeof key->text - key->length, format, arguments);
    va_end(arguments);
    ASSERT(written >= 0 && (size_t)written < sizeof key->text - key->length);
    key->length += (size_t)written;
}

static void put_types(struct key *key, const char *label, const struct tensor_type *types,
                      int count) {
    for (int i = 0; i < count; i++) {
        put(key, "%s%s[", i == 0 ? label : ",", dtype_name(types[i].dtype));
        for (int axis = 0; axis < types[i].shape.rank; axis++) {
            put(key, "%s%" PRId64, axis == 0 ? "" : ",", types[i].shape.dims[axis]);
        }
        put(key, "]");
    }
}

static void put_float(struct key *key, const char *name, float value) {
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    if (bits != 0) {
        put(key, " %s=%08" PRIx32, name, bits); /* exact, and no locale */
    }
}

static void put_ints(struct key *key, const char *name, const int32_t *values, int count) {
    bool any = false;
    for (int i = 0; i < count; i++) {
        any = any || values[i] != 0;
    }
    for (int i = 0; any && i < count; i++) {
        if (i == 0) {
            put(key, " %s=%" PRId32, name, values[i]);
        } else {
            put(key, ",%" PRId32, values[i]);
        }
    }
}

/* Without the zeros at the end. */
static void put_longs(struct key *key, const char *name, const int64_t *values, int count) {
    while (count > 0 && values[count - 1] == 0) {
        count--;
    }
    for (int i = 0; i < count; i++) {
        if (i == 0) {
            put(key, " %s=%" PRId64, name, values[i]);
        } else {
            put(key, ",%" PRId64, values[i]);
        }
    }
}

static void put_floats(struct key *key, const char *name, const float *values, int count) {
    uint32_t bits[OP_ATTR_FLOATS] = {0};
    memcpy(bits, values, (size_t)count * sizeof bits[0]);
    while (count > 0 && bits[count - 1] == 0) {
        count--;
    }
    for (int i = 0; i < count; i++) {
        if (i == 0) {
            put(key, " %s=%08" PRIx32, name, bits[i]);
        } else {
            put(key, ",%08" PRIx32, bits[i]);
        }
    }
}

static void put_attrs(struct key *key, const struct op_attrs *attrs) {
    if (attrs->activation != ACTIVATION_NONE) {
        put(key, " act=%s", activation_name(attrs->activation));
    }
    put_float(key, "eps", attrs->epsilon);
    put_float(key, "scale", attrs->scale);
    put_ints(key, "heads", &attrs->heads, 1);
    put_ints(key, "stride", attrs->stride, 2);
    put_ints(key, "pad", attrs->pad, 4);
    put_ints(key, "dilation", attrs->dilation, 2);
    put_ints(key, "groups", &attrs->groups, 1);
    if (attrs->precision != PRECISION_F32) {
        put(key, " precision=%s", precision_name(attrs->precision));
    }
    put_ints(key, "mode", &attrs->mode, 1);
    put_ints(key, "axis", &attrs->axis, 1);
    put_longs(key, "ints", attrs->ints, OP_ATTR_INTS);
    put_floats(key, "floats", attrs->floats, OP_ATTR_FLOATS);
    if (attrs->index != 0) {
        put(key, " index=%" PRId64, attrs->index);
    }
    if (attrs->transpose_a || attrs->transpose_b) {
        put(key, " transpose=%d%d", attrs->transpose_a, attrs->transpose_b);
    }
}

void kernel_key(const struct kernel_desc *desc, char text[KERNEL_KEY_TEXT]) {
    struct key key = {{0}, 0};
    put(&key, "%s", op_describe(desc->op)->name);
    put_types(&key, " x=", desc->inputs, desc->input_count);
    put_types(&key, " w=", desc->params, desc->param_count);
    put_attrs(&key, &desc->attrs);
    put(&key, " t=%d", desc->threads);
    if (key.length < KERNEL_KEY_TEXT) {
        memcpy(text, key.text, key.length + 1);
        return;
    }
    /* Longer than any real desc: a hash of all of it stands for its end (FNV-1a). */
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t i = 0; i < key.length; i++) {
        hash = (hash ^ (unsigned char)key.text[i]) * UINT64_C(1099511628211);
    }
    (void)snprintf(text, KERNEL_KEY_TEXT, "%.*s#%016" PRIx64, KERNEL_KEY_TEXT - 24, key.text, hash);
}
