/* NonMaxSuppression: how many boxes remain depends on the boxes, so these must be known. */
#include "formats/onnx/import_compose.h"

#include <stdlib.h>
#include <string.h>

struct box {
    float low[2], high[2];
};

/* Four numbers of the file → corners in order. */
static struct box box_of(const float *data, bool centred) {
    struct box box;
    for (int i = 0; i < 2; i++) {
        const float a = centred ? data[i] - data[i + 2] / 2 : data[i];
        const float b = centred ? data[i] + data[i + 2] / 2 : data[i + 2];
        box.low[i] = a < b ? a : b;
        box.high[i] = a < b ? b : a;
    }
    return box;
}

static float area(const struct box *box) {
    return (box->high[0] - box->low[0]) * (box->high[1] - box->low[1]);
}

/* Intersection over union beyond the threshold. */
static bool overlap(const struct box *a, const struct box *b, float threshold) {
    struct box both;
    for (int i = 0; i < 2; i++) {
        both.low[i] = a->low[i] > b->low[i] ? a->low[i] : b->low[i];
        both.high[i] = a->high[i] < b->high[i] ? a->high[i] : b->high[i];
        if (!(both.high[i] > both.low[i])) {
            return false;
        }
    }
    const float common = area(&both), whole = area(a) + area(b) - common;
    return area(a) > 0 && area(b) > 0 && whole > 0 && common / whole > threshold;
}

struct candidate {
    float score;
    int64_t index;
};

/* Best first; of equal ones the first. */
static int by_score(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->score != y->score) {
        return x->score > y->score ? -1 : 1;
    }
    return x->index < y->index ? -1 : 1;
}

struct suppression {
    const float *boxes, *scores;
    int64_t batches, classes, count, most;
    float overlap, least;
    bool centred, limited; /* limited: scores must exceed `least` */
};

/* Boxes that remain of one class: their places in candidates come first. */
static int64_t suppress(const struct suppression *s, const float *boxes, const float *scores,
                        struct candidate *candidates) {
    int64_t found = 0, kept = 0;
    for (int64_t i = 0; i < s->count; i++) {
        if (scores[i] == scores[i] && (!s->limited || scores[i] > s->least)) { /* no NaN */
            candidates[found++] = (struct candidate){scores[i], i};
        }
    }
    qsort(candidates, (size_t)found, sizeof *candidates, by_score);
    for (int64_t i = 0; i < found && kept < s->most; i++) {
        const struct box box = box_of(boxes + 4 * candidates[i].index, s->centred);
        bool keep = true;
        for (int64_t k = 0; k < kept && keep; k++) {
            const struct box other = box_of(boxes + 4 * candidates[k].index, s->centred);
            keep = !overlap(&box, &other, s->overlap);
        }
        if (keep) {
            candidates[kept++] = candidates[i];
        }
    }
    return kept;
}

static shoal_status optional_number(struct import_node *n, uint32_t index, double *out,
                                    bool *given) {
    struct import_value *value = import_input(n, index);
    *given = value != NULL && compose_count(value) > 0;
    return *given ? import_number(n, value, out) : SHOAL_OK;
}

static shoal_status need_suppression(struct import_node *n, struct suppression *s) {
    struct import_value *boxes, *scores;
    const void *data = NULL;
    double most = 0, threshold = 0, least = 0;
    bool given = false;
    int64_t centred;
    TRY(import_need(n, 0, &boxes));
    TRY(import_need(n, 1, &scores));
    TRY(import_attr_int(n, "center_point_box", 0, &centred));
    TRY(optional_number(n, 2, &most, &given));
    TRY(optional_number(n, 3, &threshold, &given));
    TRY(optional_number(n, 4, &least, &given));
    const int64_t *b = boxes->type.shape.dims, *c = scores->type.shape.dims;
    if (boxes->type.shape.rank != 3 || scores->type.shape.rank != 3 || b[2] != 4 || b[0] != c[0] ||
        b[1] != c[2] || boxes->type.dtype != DTYPE_F32 || scores->type.dtype != DTYPE_F32) {
        return import_corrupt(n, "boxes and scores that do not fit");
    }
    TRY(import_bytes(n, boxes, &data));
    s->boxes = data;
    TRY(import_bytes(n, scores, &data));
    s->scores = data;
    s->batches = c[0];
    s->classes = c[1];
    s->count = c[2];
    s->most = most > 0 ? (most < (double)s->count ? (int64_t)most : s->count) : 0;
    s->overlap = (float)threshold;
    s->least = (float)least;
    s->limited = given;
    s->centred = centred != 0;
    return SHOAL_OK;
}

static shoal_status convert_suppression(struct import_node *n) {
    struct suppression s = {0};
    struct import_value *y;
    int64_t total = 0;
    TRY(need_suppression(n, &s));
    if ((double)s.count * (double)s.count * (double)(s.batches * s.classes) > 1e9) {
        return import_refuse(n, "that many boxes");
    }
    const int64_t lists = s.batches * s.classes;
    struct candidate *candidates = import_alloc(n, (size_t)(s.count + 1) * sizeof *candidates);
    int64_t *rows = import_alloc(n, (size_t)(lists * s.most + 1) * 3 * sizeof *rows);
    if (candidates == NULL || rows == NULL) {
        return import_no_memory(n);
    }
    for (int64_t i = 0; i < lists; i++) {
        const int64_t kept =
            suppress(&s, s.boxes + i / s.classes * s.count * 4, s.scores + i * s.count, candidates);
        for (int64_t k = 0; k < kept; k++, total++) {
            rows[3 * total] = i / s.classes;
            rows[3 * total + 1] = i % s.classes;
            rows[3 * total + 2] = candidates[k].index;
        }
    }
    TRY(import_constant(n, DTYPE_I64, &SHAPE(total, 3), rows, &y));
    return import_set(n, 0, y);
}

const struct import_converter import_boxes_converters[] = {
    {"", "NonMaxSuppression", convert_suppression, 0},
    {NULL, NULL, NULL, 0},
};
