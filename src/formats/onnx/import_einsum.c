/* Einsum: pairs of operands as products of matrices, everything else as it is written. */
#include "formats/onnx/import_compose.h"

#include <string.h>

#define TERMS OP_MAX_INPUTS

/* One operand's axes, or the result's, as labels 1..52. */
struct term {
    int rank;
    int labels[SHAPE_MAX_RANK];
};

struct equation {
    int count;
    struct term inputs[TERMS], result;
    int64_t dims[EINSUM_LABELS];
    int dots; /* axes that the ellipsis stands for */
    int dot_labels[SHAPE_MAX_RANK];
};

static int letter(char c) {
    if (c >= 'a' && c <= 'z') {
        return c - 'a' + 1;
    }
    return c >= 'A' && c <= 'Z' ? c - 'A' + 27 : 0;
}

static bool has(const struct term *term, int label) {
    for (int i = 0; i < term->rank; i++) {
        if (term->labels[i] == label) {
            return true;
        }
    }
    return false;
}

static shoal_status add_label(struct import_node *n, struct term *term, int label) {
    if (term->rank == SHAPE_MAX_RANK) {
        return import_refuse(n, "a term of more than %d axes", SHAPE_MAX_RANK);
    }
    term->labels[term->rank++] = label;
    return SHOAL_OK;
}

/* One term up to ',', '-' or the end. rank < 0: the result's. */
static shoal_status parse_term(struct import_node *n, struct equation *e, const char **text,
                               int rank, struct term *term) {
    const char *at = *text;
    int letters = 0;
    bool dots = false;
    for (; *at != 0 && *at != ',' && *at != '-'; at++) {
        letters += letter(*at) != 0 ? 1 : 0;
    }
    for (at = *text; *at != 0 && *at != ',' && *at != '-'; at++) {
        if (*at == ' ') {
            continue;
        }
        if (strncmp(at, "...", 3) == 0 && !dots) {
            const int count = rank < 0 ? e->dots : rank - letters;
            if (count < 0 || (rank >= 0 && e->dots >= 0 && count != e->dots)) {
                return import_refuse(n, "ellipses of different rank");
            }
            e->dots = rank < 0 ? e->dots : count;
            for (int i = 0; i < count; i++) {
                TRY(add_label(n, term, e->dot_labels[i]));
            }
            dots = true;
            at += 2;
        } else if (letter(*at) != 0) {
            TRY(add_label(n, term, letter(*at)));
        } else {
            return import_corrupt(n, "equation %.80s", *text);
        }
    }
    *text = at;
    return SHOAL_OK;
}

/* Without an arrow: what occurs once, in alphabetical order, behind the ellipsis. */
static shoal_status implicit_result(struct import_node *n, struct equation *e) {
    for (int i = 0; i < (e->dots > 0 ? e->dots : 0); i++) {
        TRY(add_label(n, &e->result, e->dot_labels[i]));
    }
    for (int k = 0; k < 52; k++) {
        const int label = k < 26 ? 27 + k : k - 25; /* capitals first */
        int seen = 0;
        for (int i = 0; i < e->count; i++) {
            for (int axis = 0; axis < e->inputs[i].rank; axis++) {
                seen += e->inputs[i].labels[axis] == label ? 1 : 0;
            }
        }
        bool dotted = false;
        for (int i = 0; i < (e->dots > 0 ? e->dots : 0); i++) {
            dotted = dotted || e->dot_labels[i] == label;
        }
        if (seen == 1 && !dotted) {
            TRY(add_label(n, &e->result, label));
        }
    }
    return SHOAL_OK;
}

static shoal_status parse(struct import_node *n, const char *text, struct equation *e) {
    int free_label = 52;
    e->dots = -1;
    for (int i = 0; i < SHAPE_MAX_RANK; i++, free_label--) { /* labels that the text has not */
        bool taken = true;
        while (taken && free_label > 0) {
            taken = false;
            for (const char *c = text; *c != 0; c++) {
                taken = taken || letter(*c) == free_label;
            }
            free_label -= taken ? 1 : 0;
        }
        if (free_label < 1) {
            return import_refuse(n, "an equation with that many labels");
        }
        e->dot_labels[SHAPE_MAX_RANK - 1 - i] = free_label;
    }
    for (int i = 0; i < e->count; i++) {
        const struct shape *shape = &n->inputs[i]->type.shape;
        TRY(parse_term(n, e, &text, shape->rank, &e->inputs[i]));
        if (e->inputs[i].rank != shape->rank || (*text == ',') != (i + 1 < e->count)) {
            return import_corrupt(n, "an equation that does not fit its inputs");
        }
        text += *text == ',' ? 1 : 0;
        for (int axis = 0; axis < shape->rank; axis++) {
            int64_t *dim = &e->dims[e->inputs[i].labels[axis]];
            if (*dim != 0 && *dim != shape->dims[axis]) {
                return import_refuse(n, "a label of two sizes");
            }
            *dim = shape->dims[axis];
        }
    }
    if (strncmp(text, "->", 2) != 0) {
        return *text == 0 ? implicit_result(n, e) : import_corrupt(n, "a malformed equation");
    }
    text += 2;
    TRY(parse_term(n, e, &text, -1, &e->result));
    return *text == 0 ? SHOAL_OK : import_corrupt(n, "a malformed equation");
}

static int64_t packed(const struct term *term) {
    uint64_t labels = 0;
    for (int i = 0; i < term->rank; i++) {
        labels |= (uint64_t)term->labels[i] << (8 * i);
    }
    return (int64_t)labels;
}

static bool repeats(const struct term *term) {
    for (int i = 0; i < term->rank; i++) {
        for (int k = 0; k < i; k++) {
            if (term->labels[i] == term->labels[k]) {
                return true;
            }
        }
    }
    return false;
}

/* Sums over the axes that neither the result nor `other` has. */
static shoal_status sum_alone(struct import_node *n, const struct equation *e, struct term *term,
                              const struct term *other, struct import_value *x,
                              struct import_value **out) {
    struct op_attrs attrs = {.mode = REDUCE_SUM};
    struct term left = {0};
    for (int i = 0; i < term->rank; i++) {
        if (!has(&e->result, term->labels[i]) && !has(other, term->labels[i])) {
            attrs.ints[0] |= INT64_C(1) << i;
        } else {
            left.labels[left.rank++] = term->labels[i];
        }
    }
    *term = left;
    *out = x;
    return attrs.ints[0] == 0 ? SHOAL_OK : import_emit(n, OP_REDUCE, &attrs, &x, 1, out);
}

/* Axes of an operand in three parts, each of which becomes one axis. */
struct parts {
    struct term all;
    int64_t sizes[3];
};

/* Which of batch (0), outer (1) and inner (2) a label of `own` is. */
static int part_of(const struct equation *e, const struct term *other, int label) {
    return has(other, label) ? (has(&e->result, label) ? 0 : 2) : 1;
}

static struct parts parts_of(const struct equation *e, const struct term *own,
                             const struct term *other, const struct term *order, bool inner_first) {
    struct parts parts = {.sizes = {1, 1, 1}};
    for (int pass = 0; pass < 3; pass++) {
        const int part = pass == 0 ? 0 : (pass == 1) != inner_first ? 1 : 2;
        const struct term *from = part == 1 ? own : order; /* both operands in the same order */
        for (int i = 0; i < from->rank; i++) {
            const int label = from->labels[i];
            if (has(own, label) && part_of(e, other, label) == part) {
                parts.all.labels[parts.all.rank++] = label;
                parts.sizes[part] *= e->dims[label];
            }
        }
    }
    return parts;
}

static shoal_status reorder(struct import_node *n, struct import_value *x, const struct term *from,
                            const struct term *to, struct import_value **out) {
    int64_t order[SHAPE_MAX_RANK] = {0};
    for (int i = 0; i < to->rank; i++) {
        for (int k = 0; k < from->rank; k++) {
            if (from->labels[k] == to->labels[i]) {
                order[i] = k;
            }
        }
    }
    return import_transpose(n, x, order, out);
}

/* Whether b's inner labels come after its outer ones already. */
static bool inner_is_last(const struct equation *e, const struct term *b, const struct term *a) {
    return b->rank > 0 && part_of(e, a, b->labels[b->rank - 1]) == 2;
}

static shoal_status as_product(struct import_node *n, struct equation *e, struct import_value **y) {
    struct import_value *a = n->inputs[0], *b = n->inputs[1];
    struct term *at = &e->inputs[0], *bt = &e->inputs[1];
    TRY(sum_alone(n, e, at, bt, a, &a));
    TRY(sum_alone(n, e, bt, at, b, &b));
    const bool turned = inner_is_last(e, bt, at);
    const struct parts left = parts_of(e, at, bt, at, false);
    const struct parts right = parts_of(e, bt, at, at, !turned);
    TRY(reorder(n, a, at, &left.all, &a));
    TRY(reorder(n, b, bt, &right.all, &b));
    const int64_t batch = left.sizes[0], depth = left.sizes[2];
    TRY(import_reshape(n, a, &SHAPE(batch, left.sizes[1], depth), &a));
    TRY(import_reshape(
        n, b, turned ? &SHAPE(batch, right.sizes[1], depth) : &SHAPE(batch, depth, right.sizes[1]),
        &b));
    TRY(compose_product(n, a, b, 1, turned, y));
    /* batch, outer of a, outer of b → the result */
    struct term found = {0};
    struct shape shape = {0};
    for (int k = 0; k < 3; k++) {
        const struct term *from = k == 2 ? &right.all : &left.all;
        const struct term *other = k == 2 ? at : bt;
        for (int i = 0; i < from->rank; i++) {
            if (part_of(e, other, from->labels[i]) == (k == 0 ? 0 : 1)) {
                if (found.rank == SHAPE_MAX_RANK) {
                    return import_refuse(n, "a result of more than %d axes", SHAPE_MAX_RANK);
                }
                shape.dims[found.rank] = e->dims[from->labels[i]];
                found.labels[found.rank++] = from->labels[i];
            }
        }
    }
    shape.rank = found.rank;
    TRY(import_reshape(n, *y, &shape, y));
    return reorder(n, *y, &found, &e->result, y);
}

static shoal_status convert_einsum(struct import_node *n) {
    struct equation e = {0};
    struct op_attrs attrs = {0};
    struct import_value *y;
    const char *text;
    bool plain;
    TRY(import_attr_string(n, "equation", "", &text));
    if (n->input_count < 1 || n->input_count > TERMS) {
        return import_refuse(n, "%u operands", (unsigned)n->input_count);
    }
    e.count = (int)n->input_count;
    for (uint32_t i = 0; i < n->input_count; i++) {
        struct import_value *x;
        TRY(import_need(n, i, &x));
    }
    TRY(parse(n, text, &e));
    const enum dtype dtype = n->inputs[0]->type.dtype;
    plain = e.count == 2 && (dtype == DTYPE_F32 || dtype == DTYPE_F64) &&
            n->inputs[1]->type.dtype == dtype && compose_count(n->inputs[0]) > 0 &&
            compose_count(n->inputs[1]) > 0 && !repeats(&e.inputs[0]) && !repeats(&e.inputs[1]) &&
            !repeats(&e.result);
    for (int i = 0; i < e.result.rank && plain; i++) {
        plain = has(&e.inputs[0], e.result.labels[i]) || has(&e.inputs[1], e.result.labels[i]);
    }
    if (plain) {
        TRY(as_product(n, &e, &y));
        return import_set(n, 0, y);
    }
    for (int i = 0; i < e.count; i++) {
        attrs.ints[i] = packed(&e.inputs[i]);
    }
    attrs.ints[EINSUM_RESULT] = packed(&e.result);
    TRY(import_emit(n, OP_EINSUM, &attrs, n->inputs, e.count, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_einsum_converters[] = {
    {"", "Einsum", convert_einsum, 0},
    {NULL, NULL, NULL, 0},
};
