/* Sequences and optionals: lists that exist at import only; what they hold are values as any. */
#include "formats/onnx/import_internal.h"

#include <inttypes.h>
#include <string.h>

struct import_value *import_list(struct import_node *n, size_t count) {
    struct import_value *list =
        value_new(n->importer, IMPORT_SEQUENCE, ONNX_UNDEFINED, (struct tensor_type){0});
    struct import_value **items = import_alloc(n, (count + 1) * sizeof *items);
    if (list == NULL || items == NULL) {
        return NULL;
    }
    list->items = items;
    list->item_count = (uint32_t)count;
    return list;
}

shoal_status import_add_axis(struct import_node *n, struct import_value *x, int axis,
                             struct import_value **out) {
    struct shape shape = x->type.shape;
    if (shape.rank == SHAPE_MAX_RANK) {
        return import_refuse(n, "tensors of rank %d", SHAPE_MAX_RANK + 1);
    }
    for (int i = shape.rank++; i > axis; i--) {
        shape.dims[i] = shape.dims[i - 1];
    }
    shape.dims[axis] = 1;
    return import_reshape(n, x, &shape, out);
}

shoal_status import_drop_axis(struct import_node *n, struct import_value *x, int axis,
                              struct import_value **out) {
    struct shape shape = x->type.shape;
    shape.rank--;
    for (int i = axis; i < shape.rank; i++) {
        shape.dims[i] = shape.dims[i + 1];
    }
    shape.dims[shape.rank] = 0;
    return import_reshape(n, x, &shape, out);
}

static shoal_status need_list(struct import_node *n, uint32_t index, struct import_value **out) {
    struct import_value *value = import_input(n, index);
    if (value == NULL || value->kind != IMPORT_SEQUENCE) {
        return import_corrupt(n, "input %" PRIu32 " is no sequence", index);
    }
    *out = value;
    return SHOAL_OK;
}

/* Input `index` as a place in a list: [0, limit), counted from the end where it is negative. */
static shoal_status place(struct import_node *n, uint32_t index, int64_t count, int64_t limit,
                          int64_t fallback, uint32_t *out) {
    int64_t at = fallback;
    if (import_input(n, index) != NULL) {
        struct import_value *input;
        TRY(import_need(n, index, &input));
        TRY(import_int(n, input, &at));
        at = at < 0 ? at + count : at;
    }
    if (at < 0 || at >= limit) {
        return import_corrupt(n, "position %" PRId64 " of a sequence of %" PRId64, at, count);
    }
    *out = (uint32_t)at;
    return SHOAL_OK;
}

static shoal_status convert_construct(struct import_node *n) {
    struct import_value *list = import_list(n, n->input_count);
    if (list == NULL) {
        return import_no_memory(n);
    }
    for (uint32_t i = 0; i < n->input_count; i++) {
        TRY(import_need(n, i, &list->items[i]));
    }
    return import_set(n, 0, list);
}

static shoal_status convert_empty(struct import_node *n) {
    struct import_value *list = import_list(n, 0);
    import_attr_ignore(n, "dtype"); /* nothing has it */
    return list == NULL ? import_no_memory(n) : import_set(n, 0, list);
}

static shoal_status convert_at(struct import_node *n) {
    struct import_value *list;
    uint32_t at;
    TRY(need_list(n, 0, &list));
    TRY(place(n, 1, list->item_count, list->item_count, -1, &at));
    return import_set_as(n, 0, list->items[at], list->items[at]->element);
}

static shoal_status convert_insert(struct import_node *n) {
    struct import_value *list, *item;
    uint32_t at;
    TRY(need_list(n, 0, &list));
    TRY(import_need(n, 1, &item));
    const uint32_t count = list->item_count;
    TRY(place(n, 2, count, (int64_t)count + 1, count, &at));
    struct import_value *longer = import_list(n, (size_t)count + 1);
    if (longer == NULL) {
        return import_no_memory(n);
    }
    for (uint32_t i = 0; i <= count; i++) {
        longer->items[i] = i < at ? list->items[i] : i == at ? item : list->items[i - 1];
    }
    return import_set(n, 0, longer);
}

static shoal_status convert_erase(struct import_node *n) {
    struct import_value *list;
    uint32_t at;
    TRY(need_list(n, 0, &list));
    const uint32_t count = list->item_count;
    TRY(place(n, 1, count, count, (int64_t)count - 1, &at));
    struct import_value *shorter = import_list(n, count - 1);
    if (shorter == NULL) {
        return import_no_memory(n);
    }
    for (uint32_t i = 0; i + 1 < count; i++) {
        shorter->items[i] = list->items[i < at ? i : i + 1];
    }
    return import_set(n, 0, shorter);
}

static shoal_status convert_length(struct import_node *n) {
    struct import_value *list, *y;
    TRY(need_list(n, 0, &list));
    TRY(import_scalar(n, DTYPE_I64, list->item_count, &y));
    return import_set_as(n, 0, y, ONNX_INT64);
}

static shoal_status convert_concat(struct import_node *n) {
    struct import_value *list, *y;
    int64_t axis, new_axis;
    int at;
    TRY(need_list(n, 0, &list));
    TRY(import_attr_int(n, "axis", 0, &axis));
    TRY(import_attr_int(n, "new_axis", 0, &new_axis));
    if (list->item_count == 0) {
        return import_refuse(n, "an empty sequence");
    }
    TRY(import_axis(n, axis, list->items[0]->type.shape.rank + (new_axis != 0 ? 1 : 0), &at));
    struct import_value **items = import_alloc(n, list->item_count * sizeof *items);
    if (items == NULL) {
        return import_no_memory(n);
    }
    for (uint32_t i = 0; i < list->item_count; i++) {
        items[i] = list->items[i];
        if (new_axis != 0) {
            if (at > items[i]->type.shape.rank) {
                return import_corrupt(n, "items of several ranks");
            }
            TRY(import_add_axis(n, items[i], at, &items[i]));
        }
    }
    TRY(import_join(n, items, list->item_count, at, &y));
    return import_set_as(n, 0, y, list->items[0]->element);
}

#define MOST_PIECES 4096

/* Lengths of the pieces along an axis of `total`. */
static shoal_status pieces(struct import_node *n, int64_t total, int64_t *lengths, int *count) {
    struct import_value *split;
    int64_t sum = 0;
    TRY(import_need(n, 1, &split));
    TRY(import_ints(n, split, lengths, MOST_PIECES, count));
    if (split->type.shape.rank == 0) {
        const int64_t each = lengths[0];
        if (each <= 0 || (total + each - 1) / each > MOST_PIECES) {
            return import_refuse(n, "pieces of %" PRId64 " elements", each);
        }
        *count = (int)((total + each - 1) / each);
        for (int i = 0; i < *count; i++) {
            lengths[i] = i + 1 < *count ? each : total - each * i;
        }
        return SHOAL_OK;
    }
    for (int i = 0; i < *count; i++) {
        if (lengths[i] < 0 || lengths[i] > total - sum) {
            return import_corrupt(n, "pieces longer than their axis");
        }
        sum += lengths[i];
    }
    return SHOAL_OK;
}

static shoal_status convert_split(struct import_node *n) {
    struct import_value *x;
    int64_t axis, keep, offset = 0;
    int at, count = 0;
    TRY(import_need(n, 0, &x));
    TRY(import_attr_int(n, "axis", 0, &axis));
    TRY(import_attr_int(n, "keepdims", 1, &keep));
    TRY(import_axis(n, axis, x->type.shape.rank, &at));
    const int64_t total = x->type.shape.dims[at];
    int64_t *lengths = import_alloc(n, MOST_PIECES * sizeof *lengths);
    if (lengths == NULL) {
        return import_no_memory(n);
    }
    if (import_input(n, 1) != NULL) {
        TRY(pieces(n, total, lengths, &count));
    } else if (total <= MOST_PIECES) {
        for (count = 0; count < total; count++) {
            lengths[count] = 1;
        }
    } else {
        return import_refuse(n, "%" PRId64 " pieces", total);
    }
    const bool drop = import_input(n, 1) == NULL && keep == 0;
    struct import_value *list = import_list(n, (size_t)count);
    if (list == NULL) {
        return import_no_memory(n);
    }
    for (int i = 0; i < count; i++) {
        TRY(import_part(n, x, at, offset, lengths[i], &list->items[i]));
        list->items[i]->element = x->element;
        if (drop) {
            TRY(import_drop_axis(n, list->items[i], at, &list->items[i]));
            list->items[i]->element = x->element;
        }
        offset += lengths[i];
    }
    return import_set(n, 0, list);
}

/* ---- optionals ---- */

static shoal_status convert_optional(struct import_node *n) {
    struct import_value *x = import_input(n, 0);
    import_attr_ignore(n, "type");
    struct import_value *y =
        value_new(n->importer, IMPORT_NOTHING, ONNX_UNDEFINED, (struct tensor_type){0});
    if (y == NULL) {
        return import_no_memory(n);
    }
    if (x != NULL) {
        *y = *x;
    }
    y->optional = true;
    return import_set_as(n, 0, y, y->element);
}

static shoal_status convert_has_element(struct import_node *n) {
    const struct import_value *x = import_input(n, 0);
    struct import_value *y;
    TRY(import_scalar(n, DTYPE_BOOL, x != NULL && x->kind != IMPORT_NOTHING ? 1 : 0, &y));
    return import_set_as(n, 0, y, ONNX_BOOL);
}

static shoal_status convert_get_element(struct import_node *n) {
    struct import_value *x = import_input(n, 0);
    if (x == NULL || x->kind == IMPORT_NOTHING) {
        return import_corrupt(n, "the element of an empty optional");
    }
    return import_set_as(n, 0, x, x->element);
}

const struct import_converter import_sequence_converters[] = {
    {"", "SequenceConstruct", convert_construct, 0},
    {"", "SequenceEmpty", convert_empty, 0},
    {"", "SequenceAt", convert_at, 0},
    {"", "SequenceInsert", convert_insert, 0},
    {"", "SequenceErase", convert_erase, 0},
    {"", "SequenceLength", convert_length, 0},
    {"", "ConcatFromSequence", convert_concat, 0},
    {"", "SplitToSequence", convert_split, 0},
    {"", "Optional", convert_optional, 0},
    {"", "OptionalHasElement", convert_has_element, 0},
    {"", "OptionalGetElement", convert_get_element, 0},
    {NULL, NULL, NULL, 0},
};
