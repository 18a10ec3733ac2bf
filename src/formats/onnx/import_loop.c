/* Loop, Scan, SequenceMap: unrolled; how often they run must be known at import. */
#include "formats/onnx/import_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MOST_ITERATIONS 4096

/* What goes round: states from iteration to iteration, and what each iteration adds. */
struct rounds {
    const struct onnx_graph *body;
    struct import_value **bound, **results; /* of one iteration */
    struct import_value **collected;        /* [scan output][iteration] */
    size_t bound_count, states, scans, done, room;
};

static shoal_status rounds_init(struct import_node *n, struct rounds *r, size_t bound,
                                size_t states, size_t first_result, size_t room) {
    const size_t results = r->body->output_count;
    if (results < first_result + states || n->output_count > results - first_result) {
        return import_corrupt(n, "its body makes %zu values", results);
    }
    r->bound_count = bound;
    r->states = states;
    r->scans = results - first_result - states;
    r->room = room;
    r->bound = import_alloc(n, (bound + 1) * sizeof *r->bound);
    r->results = import_alloc(n, (results + 1) * sizeof *r->results);
    r->collected = import_alloc(n, (r->scans * room + 1) * sizeof *r->collected);
    return r->bound == NULL || r->results == NULL || r->collected == NULL ? import_no_memory(n)
                                                                          : SHOAL_OK;
}

/* One iteration; the states move on. first_bound, first_result: where states are in what the body
 * takes and makes. */
static shoal_status run_round(struct import_node *n, struct rounds *r, size_t first_bound,
                              size_t first_result) {
    char suffix[32];
    (void)snprintf(suffix, sizeof suffix, "/%zu", r->done);
    TRY(import_subgraph(n, r->body, suffix, r->bound, r->bound_count, r->results));
    for (size_t i = 0; i < r->states; i++) {
        r->bound[first_bound + i] = r->results[first_result + i];
    }
    for (size_t i = 0; i < r->scans; i++) {
        r->collected[i * r->room + r->done] = r->results[first_result + r->states + i];
    }
    r->done++;
    return SHOAL_OK;
}

/* No iteration: of the shape that the body declares. */
static shoal_status nothing_collected(struct import_node *n, const struct onnx_value *declared,
                                      struct import_value **out) {
    struct tensor_type type = {DTYPE_F32, {.rank = declared->rank + 1}};
    if (!declared->has_shape || declared->rank >= SHAPE_MAX_RANK ||
        !import_element_dtype(declared->type, &type.dtype)) {
        return import_refuse(n, "no iteration, and its body does not say the shape of %.80s",
                             declared->name);
    }
    for (int i = 0; i < declared->rank; i++) {
        type.shape.dims[i + 1] = import_dim_known(n->importer, declared, i);
        if (type.shape.dims[i + 1] < 0) {
            return import_refuse(n, "no iteration, and its body does not say the shape of %.80s",
                                 declared->name);
        }
    }
    TRY(import_constant(n, type.dtype, &type.shape, NULL, out));
    (*out)->element = declared->type;
    return SHOAL_OK;
}

/* The iterations' values, in order or backwards, along a new axis. */
static shoal_status stack(struct import_node *n, const struct rounds *r, size_t scan, int64_t axis,
                          bool backwards, const struct onnx_value *declared,
                          struct import_value **out) {
    struct import_value **items = import_alloc(n, (r->done + 1) * sizeof *items);
    int at = 0;
    if (items == NULL) {
        return import_no_memory(n);
    }
    if (r->done == 0) {
        return nothing_collected(n, declared, out);
    }
    for (size_t i = 0; i < r->done; i++) {
        struct import_value *item =
            r->collected[scan * r->room + (backwards ? r->done - 1 - i : i)];
        if (item->kind != IMPORT_RUNTIME && item->kind != IMPORT_CONSTANT) {
            return import_refuse(n, "iterations that make no tensor");
        }
        TRY(import_axis(n, axis, item->type.shape.rank + 1, &at));
        TRY(import_add_axis(n, item, at, &items[i]));
    }
    TRY(import_join(n, items, r->done, at, out));
    const int element = r->collected[scan * r->room]->element;
    if ((*out)->element != element) {
        struct import_value *named = value_new(n->importer, (*out)->kind, element, (*out)->type);
        if (named == NULL) {
            return import_no_memory(n);
        }
        *named = **out;
        named->element = element;
        *out = named;
    }
    return SHOAL_OK;
}

/* ---- Loop ---- */

static shoal_status known_flag(struct import_node *n, struct import_value *value, bool *out) {
    int64_t flag = 1;
    if (value != NULL) {
        TRY(import_int(n, value, &flag));
    }
    *out = flag != 0;
    return SHOAL_OK;
}

static shoal_status loop_rounds(struct import_node *n, struct rounds *r, int64_t most) {
    bool goes_on = true;
    TRY(known_flag(n, import_input(n, 1), &goes_on));
    for (int64_t i = 0; goes_on && i < most; i++) {
        if (i == MOST_ITERATIONS) {
            return import_refuse(n, "more than %d iterations", MOST_ITERATIONS);
        }
        TRY(import_scalar(n, DTYPE_I64, (double)i, &r->bound[0]));
        TRY(import_scalar(n, DTYPE_BOOL, 1, &r->bound[1]));
        TRY(run_round(n, r, 2, 1));
        TRY(known_flag(n, r->results[0], &goes_on));
    }
    return SHOAL_OK;
}

static shoal_status convert_loop(struct import_node *n) {
    struct rounds r = {0};
    int64_t most = INT64_MAX;
    TRY(import_attr_graph(n, "body", &r.body));
    if (import_input(n, 0) != NULL) {
        TRY(import_int(n, n->inputs[0], &most));
    }
    const size_t states = n->input_count > 2 ? n->input_count - 2 : 0;
    TRY(rounds_init(n, &r, states + 2, states, 1,
                    most < MOST_ITERATIONS ? (size_t)(most < 0 ? 0 : most) : MOST_ITERATIONS));
    for (uint32_t i = 0; i < states; i++) {
        r.bound[i + 2] = import_input(n, i + 2);
        if (r.bound[i + 2] == NULL) {
            return import_corrupt(n, "input %" PRIu32 " is missing", i + 2);
        }
    }
    TRY(loop_rounds(n, &r, most));
    for (uint32_t i = 0; i < n->output_count; i++) {
        if (i < states) {
            n->outputs[i] = r.bound[i + 2];
        } else {
            TRY(stack(n, &r, i - states, 0, false, &r.body->outputs[1 + i], &n->outputs[i]));
        }
    }
    return SHOAL_OK;
}

/* ---- Scan ---- */

#define MOST_SCANS 64

struct scan_way {
    int64_t axes[MOST_SCANS], backwards[MOST_SCANS];
};

static shoal_status scan_way(struct import_node *n, const char *axes, const char *directions,
                             size_t count, struct scan_way *out) {
    int given_axes, given_directions;
    memset(out, 0, sizeof *out);
    TRY(import_attr_ints(n, axes, out->axes, MOST_SCANS, &given_axes));
    TRY(import_attr_ints(n, directions, out->backwards, MOST_SCANS, &given_directions));
    if (count > MOST_SCANS || (given_axes >= 0 && (size_t)given_axes != count) ||
        (given_directions >= 0 && (size_t)given_directions != count)) {
        return import_corrupt(n, "axes or directions of %zu scanned values", count);
    }
    return SHOAL_OK;
}

static shoal_status scan_inputs(struct import_node *n, struct rounds *r, size_t count,
                                const struct scan_way *way, int64_t length) {
    for (size_t i = 0; i < count; i++) {
        struct import_value *x = n->inputs[r->states + i];
        const int64_t at =
            way->backwards[i] != 0 ? length - 1 - (int64_t)r->done : (int64_t)r->done;
        int axis = 0;
        TRY(import_axis(n, way->axes[i], x->type.shape.rank, &axis));
        if (x->type.shape.dims[axis] != length) {
            return import_corrupt(n, "scanned inputs of several lengths");
        }
        struct import_value *part, *slice;
        TRY(import_part(n, x, axis, at, 1, &part));
        TRY(import_drop_axis(n, part, axis, &slice));
        slice->element = x->element;
        r->bound[r->states + i] = slice;
    }
    return SHOAL_OK;
}

static shoal_status convert_scan(struct import_node *n) {
    struct rounds r = {0};
    struct scan_way in, out;
    struct import_value *first;
    int64_t scanned;
    int axis = 0;
    if (n->version < 9) {
        return import_refuse(n, "Scan as opset 8 had it");
    }
    TRY(import_attr_graph(n, "body", &r.body));
    TRY(import_attr_int(n, "num_scan_inputs", 0, &scanned));
    if (scanned < 1 || scanned > n->input_count) {
        return import_corrupt(n, "num_scan_inputs %" PRId64, scanned);
    }
    const size_t states = n->input_count - (size_t)scanned;
    for (uint32_t i = 0; i < n->input_count; i++) {
        TRY(import_need(n, i, &first));
    }
    TRY(scan_way(n, "scan_input_axes", "scan_input_directions", (size_t)scanned, &in));
    first = n->inputs[states];
    TRY(import_axis(n, in.axes[0], first->type.shape.rank, &axis));
    const int64_t length = first->type.shape.dims[axis];
    if (length > MOST_ITERATIONS) {
        return import_refuse(n, "more than %d iterations", MOST_ITERATIONS);
    }
    TRY(rounds_init(n, &r, n->input_count, states, 0, (size_t)length));
    TRY(scan_way(n, "scan_output_axes", "scan_output_directions", r.scans, &out));
    memcpy(r.bound, n->inputs, states * sizeof *r.bound);
    for (int64_t i = 0; i < length; i++) {
        TRY(scan_inputs(n, &r, (size_t)scanned, &in, length));
        TRY(run_round(n, &r, 0, 0));
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        if (i < states) {
            n->outputs[i] = r.bound[i];
        } else {
            TRY(stack(n, &r, i - states, out.axes[i - states], out.backwards[i - states] != 0,
                      &r.body->outputs[i], &n->outputs[i]));
        }
    }
    return SHOAL_OK;
}

/* ---- SequenceMap ---- */

static shoal_status convert_map(struct import_node *n) {
    struct rounds r = {0};
    TRY(import_attr_graph(n, "body", &r.body));
    const struct import_value *over = import_input(n, 0);
    if (over == NULL || over->kind != IMPORT_SEQUENCE) {
        return import_corrupt(n, "input 0 is no sequence");
    }
    TRY(rounds_init(n, &r, n->input_count, 0, 0, over->item_count));
    for (uint32_t i = 0; i < over->item_count; i++) {
        for (uint32_t v = 0; v < n->input_count; v++) {
            struct import_value *input = import_input(n, v);
            const bool list = input != NULL && input->kind == IMPORT_SEQUENCE;
            if (input == NULL || (list && input->item_count != over->item_count)) {
                return import_corrupt(n, "sequences of several lengths");
            }
            r.bound[v] = list ? input->items[i] : input;
        }
        TRY(run_round(n, &r, 0, 0));
    }
    for (uint32_t i = 0; i < n->output_count; i++) {
        n->outputs[i] = import_list(n, r.done);
        if (n->outputs[i] == NULL) {
            return import_no_memory(n);
        }
        for (size_t k = 0; k < r.done; k++) {
            n->outputs[i]->items[k] = r.collected[i * r.room + k];
        }
    }
    return SHOAL_OK;
}

const struct import_converter import_loop_converters[] = {
    {"", "Loop", convert_loop, 0},
    {"", "Scan", convert_scan, 0},
    {"", "SequenceMap", convert_map, 0},
    {NULL, NULL, NULL, 0},
};
