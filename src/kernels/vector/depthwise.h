/*
 * Depthwise convolution along one line of output pixels. Private to variant.h.
 *
 * Registers run over channels; a few neighbouring pixels at a time share the weights and, where
 * their windows overlap, the pixels that they read. Every result is one chain of multiply-adds: the
 * bias, then the taps in order, those outside the image left out.
 */

#if VECTOR_WIDTH == 16 || defined(__aarch64__)
#define DEPTHWISE_PIXELS 8 /* of 32 registers */
#else
#define DEPTHWISE_PIXELS 4 /* of 16 */
#endif
#define DEPTHWISE_COLUMNS 16 /* that their windows span at most */

/* What a line's convolution needs; pixels and taps count from the line's own first ones. */
struct depthwise_line {
    const struct vector_depthwise *d;
    const float *x; /* the image */
    const float *residual;
    float *y;
    int64_t top;      /* the image's row of the first tap, perhaps outside */
    int64_t from, to; /* rows of taps inside */
};

INLINE vf depthwise_end(enum activation activation, const float *residual, vf sum) {
    return apply(activation, residual != NULL ? sum + load(residual) : sum);
}

/* One vector of channels of one pixel, of the taps from..to−1 of each row that lie inside. */
INLINE vf depthwise_sum(const struct depthwise_line *line, const float *x, int64_t from, int64_t to,
                        int64_t c, vf sum) {
    const struct vector_depthwise *d = line->d;
    const int64_t row = d->dilation[0] * d->width * d->channels;
    const int64_t step = d->dilation[1] * d->channels;
    for (int64_t i = line->from; i < line->to; i++) {
        for (int64_t j = from; j < to; j++) {
            sum = load(x + i * row + j * step + c) *
                      load(d->w + (i * d->taps[1] + j) * d->channels + c) +
                  sum;
        }
    }
    return sum;
}

/* As that for the last channels, fewer than a vector holds. */
static vf depthwise_sum_tail(const struct depthwise_line *line, const float *x, int64_t from,
                             int64_t to, int64_t c, vf sum) {
    const struct vector_depthwise *d = line->d;
    const int64_t row = d->dilation[0] * d->width * d->channels;
    const int64_t step = d->dilation[1] * d->channels;
    const size_t bytes = (size_t)(d->channels - c) * sizeof(float);
    float part[VECTOR_WIDTH] = {0}, weight[VECTOR_WIDTH] = {0};
    for (int64_t i = line->from; i < line->to; i++) {
        for (int64_t j = from; j < to; j++) {
            memcpy(part, x + i * row + j * step + c, bytes);
            memcpy(weight, d->w + (i * d->taps[1] + j) * d->channels + c, bytes);
            sum = load(part) * load(weight) + sum;
        }
    }
    return sum;
}

/* Channels from first on of any pixel, at the border too. */
INLINE void depthwise_slow(enum activation activation, const struct depthwise_line *line,
                           int64_t pixel, int64_t first) {
    const struct vector_depthwise *d = line->d;
    const int64_t left = pixel * d->stride - d->left;
    const int64_t from = left < 0 ? least(quotient_up(-left, d->dilation[1]), d->taps[1]) : 0;
    const int64_t inside = left < d->width ? quotient_up(d->width - left, d->dilation[1]) : 0;
    const int64_t to = least(inside, d->taps[1]);
    const float *x = line->x + (line->top * d->width + left) * d->channels;
    const float *residual = line->residual != NULL ? line->residual + pixel * d->channels : NULL;
    float *y = line->y + pixel * d->channels;
    int64_t c = first;
    for (; c + VECTOR_WIDTH <= d->channels; c += VECTOR_WIDTH) {
        store(y + c, depthwise_end(activation, residual != NULL ? residual + c : NULL,
                                   depthwise_sum(line, x, from, to, c, load(d->bias + c))));
    }
    if (c < d->channels) {
        const size_t bytes = (size_t)(d->channels - c) * sizeof(float);
        float part[VECTOR_WIDTH] = {0};
        memcpy(part, d->bias + c, bytes);
        const vf sum = depthwise_sum_tail(line, x, from, to, c, load(part));
        if (residual != NULL) {
            memcpy(part, residual + c, bytes);
        }
        store(part, depthwise_end(activation, residual != NULL ? part : NULL, sum));
        memcpy(y + c, part, bytes);
    }
}

/* `pixels` pixels from `pixel` on whose windows of `taps` columns lie inside; constants. */
INLINE void depthwise_pixels(enum activation activation, int taps, int stride, int pixels,
                             const struct depthwise_line *line, int64_t pixel, int64_t whole) {
    const struct vector_depthwise *d = line->d;
    const int columns = (pixels - 1) * stride + taps;
    const int64_t row = d->width * d->channels;
    const float *x = line->x + (line->top + line->from * d->dilation[0]) * row +
                     (pixel * stride - d->left) * d->channels;
    for (int64_t c = 0; c < whole; c += VECTOR_WIDTH) {
        vf sum[8], in[DEPTHWISE_COLUMNS], weight[8];
        UNROLLED
        for (int p = 0; p < pixels; p++) {
            sum[p] = load(d->bias + c);
        }
        const float *from = x + c;
        const float *w = d->w + line->from * taps * d->channels + c;
        for (int64_t i = line->from; i < line->to; i++, from += d->dilation[0] * row) {
            UNROLLED
            for (int j = 0; j < columns; j++) {
                in[j] = load(from + j * d->channels);
            }
            UNROLLED
            for (int j = 0; j < taps; j++, w += d->channels) {
                weight[j] = load(w);
            }
            UNROLLED
            for (int j = 0; j < taps; j++) {
                UNROLLED
                for (int p = 0; p < pixels; p++) {
                    sum[p] = in[p * stride + j] * weight[j] + sum[p];
                }
            }
        }
        UNROLLED
        for (int p = 0; p < pixels; p++) {
            const int64_t at = (pixel + p) * d->channels + c;
            store(line->y + at,
                  depthwise_end(activation, line->residual != NULL ? line->residual + at : NULL,
                                sum[p]));
        }
    }
}

/* Pixels first..last−1, whose windows lie inside along the line. */
INLINE void depthwise_inside(enum activation activation, int taps, int stride, int pixels,
                             const struct depthwise_line *line, int64_t first, int64_t last) {
    const int64_t channels = line->d->channels;
    const int64_t whole = channels / VECTOR_WIDTH * VECTOR_WIDTH;
    int64_t pixel = first;
    for (; pixel + pixels <= last; pixel += pixels) {
        depthwise_pixels(activation, taps, stride, pixels, line, pixel, whole);
    }
    for (; pixel + 2 <= last; pixel += 2) {
        depthwise_pixels(activation, taps, stride, 2, line, pixel, whole);
    }
    for (; pixel < last; pixel++) {
        depthwise_pixels(activation, taps, stride, 1, line, pixel, whole);
    }
    for (pixel = first; whole < channels && pixel < last; pixel++) {
        depthwise_slow(activation, line, pixel, whole);
    }
}

INLINE void depthwise_with(enum activation activation, const struct depthwise_line *line) {
    const struct vector_depthwise *d = line->d;
    const int64_t span = (d->taps[1] - 1) * d->dilation[1] + 1;
    int64_t first = least(quotient_up(d->left, d->stride), d->pixels);
    int64_t last = d->width + d->left >= span ? (d->width + d->left - span) / d->stride + 1 : 0;
    last = least(last, d->pixels);
    const bool three = d->taps[1] == 3 && d->dilation[1] == 1 && d->stride <= 2;
    const bool five = d->taps[1] == 5 && d->dilation[1] == 1 && d->stride <= 2;
    if (last <= first || !(three || five)) {
        first = last = d->pixels;
    }
    for (int64_t pixel = 0; pixel < d->pixels; pixel++) {
        if (pixel == first) {
            pixel = last;
        }
        if (pixel < d->pixels) {
            depthwise_slow(activation, line, pixel, 0);
        }
    }
    if (three && d->stride == 1) {
        depthwise_inside(activation, 3, 1, DEPTHWISE_PIXELS, line, first, last);
    } else if (three) {
        depthwise_inside(activation, 3, 2, DEPTHWISE_PIXELS / 2, line, first, last);
    } else if (five && d->stride == 1) {
        depthwise_inside(activation, 5, 1, DEPTHWISE_PIXELS / 2, line, first, last);
    } else if (five) {
        depthwise_inside(activation, 5, 2, DEPTHWISE_PIXELS / 2, line, first, last);
    }
}

static void depthwise(const struct vector_depthwise *d, const float *x, int64_t top,
                      const float *residual, float *y) {
    struct depthwise_line line = {.d = d, .x = x, .residual = residual, .y = y, .top = top};
    line.from = top < 0 ? quotient_up(-top, d->dilation[0]) : 0;
    line.to = top < d->height ? quotient_up(d->height - top, d->dilation[0]) : 0;
    line.to = least(line.to, d->taps[0]);
    line.from = least(line.from, line.to);
    /* Those that cost next to nothing are fused; others do not notice another pass. */
    if (d->activation == ACTIVATION_RELU) {
        depthwise_with(ACTIVATION_RELU, &line);
    } else if (d->activation == ACTIVATION_RELU6) {
        depthwise_with(ACTIVATION_RELU6, &line);
    } else {
        depthwise_with(ACTIVATION_NONE, &line);
        activate(d->activation, y, d->pixels * d->channels, y);
    }
}
