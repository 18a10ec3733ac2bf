/* Convolutions, pools, normalisations, recurrences and products of any rank. Included by op.h. */
#ifndef KERNELS_OPS_NETWORK_H
#define KERNELS_OPS_NETWORK_H

/*
 * All f32 unless said. Images x have one axis of channels: attrs.axis, which is 1 ([B,C,...]) or
 * the last ([B,...,C]); the others but the batch, at most 4, are spatial. Attributes of windows lie
 * in attrs.ints, one number per spatial axis, from these places on: */
enum window_ints {
    WINDOW_KERNEL = 0,   /* POOL, COL2IM; CONV_TRANSPOSE: elements appended to the result */
    WINDOW_STRIDE = 4,   /* ≥ 1 */
    WINDOW_DILATION = 8, /* ≥ 1 */
    WINDOW_BEGIN = 12,   /* padding before the first element */
    WINDOW_END = 16,     /* and after the last */
    WINDOW_CEIL = 20,    /* POOL: 1 if windows may reach beyond the padding */
    WINDOW_INCLUDE = 21, /* POOL: 1 if an average counts padding */
    WINDOW_IMAGE = 20,   /* COL2IM: the image's spatial dims */
    WINDOW_AXES = 4
};

/*
 * - POOL: x → attrs.mode (enum pool_function) over windows; POOL_LP: attrs.index-th root of the sum
 *   of powers. POOL_MAX takes f64, i8 and u8 as well. A window that meets no element is −∞ (max)
 *   or 0.
 * - POOL_INDICES: x [B,C,...] → as POOL with POOL_MAX, and where in x each greatest element lies,
 *   i64, counted over all of x; attrs.index = 1: column-major within an image
 * - CONV: x, w [O,C/attrs.groups,...], bias [O]? → convolution of any spatial rank; all inputs
 * - CONV_TRANSPOSE: x, w [C,O/attrs.groups,...], bias [O]? → transposed convolution
 * - DEFORM_CONV: x [B,C,H,W], w [O,C/groups,KH,KW], offset [B,attrs.heads·KH·KW·2,OH,OW], bias
 *   [O]?, mask [B,attrs.heads·KH·KW,OH,OW]? (not without bias) → [B,O,OH,OW]; bilinear, 0 outside
 * - COL2IM: x [B,C·(product of kernel),L] → [B,C,image...], attrs.axis spatial axes: sums of
 *   overlapping blocks
 * - MAX_UNPOOL: x, places i64 (same shape) → zeros of shape attrs.ints[0..rank of x) with x's
 *   elements at their places; a place outside is left out
 *
 * - PRODUCT: a [...,M,K], b [...,K,N], broadcast as NumPy's matmul; a or b may be a vector;
 *   attrs.transpose_a/b: the last two are stored the other way around → a·b·attrs.scale; f32, f64,
 *   i32, i64, u32 and u64 (whose scale must be 1)
 * - EINSUM: inputs of one type, f32, f64, i32 or i64 → sum of products: attrs.ints[i] holds a
 * label, a byte from 1 to 52 for each axis of input i, the first axis lowest; ints[16] those of the
 *   result
 *
 * - BATCH_NORM: x, scale, shift, mean, variance (all [C]) → (x − mean)/√(variance +
 *   epsilon)·scale + shift
 * - GROUP_NORM: x, scale [C], shift [C] → as above with the moments of each of attrs.groups groups
 *   of channels of each image
 * - NORM_AXES: x, scale, shift (broadcast against the normalised axes) → layer norm over the axes
 *   from attrs.axis on, their mean and 1/√(variance + epsilon) [.., 1, 1]
 * - RMS_NORM: x, scale → x/√(mean of squares + epsilon)·scale over the axes from attrs.axis on
 * - LRN: x → x/(floats[2] + floats[0]/n·(sum of squares of n = attrs.index channels
 *   around))^floats[1]
 * - LP_NORM: x → x divided by its attrs.index-norm (1 or 2) along attrs.axis; 0 where that is 0
 *
 * - RNN, GRU, LSTM: x [T,B,I], w [D,G·H,I], r [D,G·H,H], bias [D,2·G·H], lengths i32 [B], initial
 *   state [D,B,H] (LSTM: cell [D,B,H], peepholes [D,3·H]) → all states [T,D,B,H], the last [D,B,H]
 *   (LSTM: the last cell). Gates in ONNX's order (GRU z r h, LSTM i o f c). attrs.mode: enum
 *   recurrence_direction. ints[3·d + i]: enum recurrence_function of gate i of direction d, with
 *   floats[3·d + i] and floats[6 + 3·d + i] as its alpha and beta; floats[12]: clip, 0 for none;
 *   ints[6]: GRU's linear_before_reset, LSTM's input_forget. A length outside 0..T counts as its
 *   nearest.
 *
 * - RESIZE: x of any rank → dims attrs.ints[0..rank); attrs.mode: enum resize_mode; ints[8]: enum
 *   resize_coordinates; ints[9]: enum resize_rounding; ints[10]: 1 if taps outside count nothing;
 *   ints[11]: 1 if shrinking averages (antialias); floats[i]: scale of axis i, floats[8 + i] and
 *   floats[16 + i]: its region of interest; attrs.epsilon: the cubic's coefficient; attrs.scale:
 *   the value outside the region. Axes of scale 1 whose dim stays are left alone.
 * - GRID_SAMPLE: x [B,C,...] (2 or 3 spatial), grid [B,...,2 or 3] → x at the grid's places;
 *   attrs.mode: enum resize_mode; attrs.axis: enum grid_padding; attrs.index: 1 to align corners
 * - AFFINE_GRID: theta [B,2,3] or [B,3,4] → grid [B,ints...,2 or 3]; attrs.index: align corners
 * - ROI_ALIGN: x [B,C,H,W], rois [R,4], images i64 [R] → [R,C,ints[0],ints[1]]; ints[2]: samples
 *   per bin's side, 0: as many as it is wide; ints[3]: 1 for half-pixel; attrs.scale: of
 *   coordinates; attrs.mode 0: mean, 1: greatest. An image outside the batch counts as its nearest.
 *
 * - DFT: x [...,1 or 2] (real or complex) → attrs.ints[0] points along attrs.axis, from as many
 *   elements (cut, or padded with zeros); attrs.mode: enum dft_mode
 * - STFT: x [B,L,1 or 2], window [ints[0]] → [B,frames,bins,2]: windows of ints[0] elements,
 *   ints[1] apart; attrs.mode DFT_FORWARD or DFT_ONE_SIDED
 * - NLL_LOSS: x [N,C,...], class i32 or i64 [N,...], weight [C]? → −x at the class, times its
 *   weight; attrs.mode: enum loss_reduction ([N,...] or a scalar); ints[0] = 1: class attrs.index
 *   counts nothing. A class outside C counts nothing.
 */
#define OP_LIST_NETWORK(X)                             \
    X(POOL, "pool", 1, 1, 0, 0, 1)                     \
    X(POOL_INDICES, "pool_indices", 1, 1, 0, 0, 2)     \
    X(CONV, "conv", 2, 3, 0, 0, 1)                     \
    X(CONV_TRANSPOSE, "conv_transpose", 2, 3, 0, 0, 1) \
    X(DEFORM_CONV, "deform_conv", 3, 5, 0, 0, 1)       \
    X(COL2IM, "col2im", 1, 1, 0, 0, 1)                 \
    X(MAX_UNPOOL, "max_unpool", 2, 2, 0, 0, 1)         \
    X(PRODUCT, "product", 2, 2, 0, 0, 1)               \
    X(EINSUM, "einsum", 1, 16, 0, 0, 1)                \
    X(BATCH_NORM, "batch_norm", 5, 5, 0, 0, 1)         \
    X(GROUP_NORM, "group_norm", 3, 3, 0, 0, 1)         \
    X(NORM_AXES, "norm_axes", 2, 3, 0, 0, 3)           \
    X(RMS_NORM, "rms_norm", 2, 2, 0, 0, 1)             \
    X(LRN, "lrn", 1, 1, 0, 0, 1)                       \
    X(LP_NORM, "lp_norm", 1, 1, 0, 0, 1)               \
    X(RNN, "rnn", 6, 6, 0, 0, 2)                       \
    X(GRU, "gru", 6, 6, 0, 0, 2)                       \
    X(LSTM, "lstm", 8, 8, 0, 0, 3)                     \
    X(RESIZE, "resize", 1, 1, 0, 0, 1)                 \
    X(GRID_SAMPLE, "grid_sample", 2, 2, 0, 0, 1)       \
    X(AFFINE_GRID, "affine_grid", 1, 1, 0, 0, 1)       \
    X(ROI_ALIGN, "roi_align", 3, 3, 0, 0, 1)           \
    X(DFT, "dft", 1, 1, 0, 0, 1)                       \
    X(STFT, "stft", 2, 2, 0, 0, 1)                     \
    X(NLL_LOSS, "nll_loss", 2, 3, 0, 0, 1)

enum pool_function { POOL_MAX, POOL_AVERAGE, POOL_LP, POOL_FUNCTION_COUNT };

#define EINSUM_RESULT 16 /* ints[] of the result's labels */
#define EINSUM_LABELS 53

enum recurrence_direction {
    RECURRENCE_FORWARD,
    RECURRENCE_REVERSE,
    RECURRENCE_BOTH,
    RECURRENCE_DIRECTION_COUNT
};

/* X(code, ONNX's name) */
#define RECURRENCE_LIST(X)            \
    X(RELU, "Relu")                   \
    X(TANH, "Tanh")                   \
    X(SIGMOID, "Sigmoid")             \
    X(AFFINE, "Affine")               \
    X(LEAKY_RELU, "LeakyRelu")        \
    X(THRESHOLDED, "ThresholdedRelu") \
    X(SCALED_TANH, "ScaledTanh")      \
    X(HARD_SIGMOID, "HardSigmoid")    \
    X(ELU, "Elu")                     \
    X(SOFTSIGN, "Softsign")           \
    X(SOFTPLUS, "Softplus")

enum recurrence_function {
#define X(code, name) RECURRENCE_##code,
    RECURRENCE_LIST(X)
#undef X
        RECURRENCE_FUNCTION_COUNT
};

#define RECURRENCE_CLIP 12  /* floats[] */
#define RECURRENCE_OPTION 6 /* ints[] */

enum resize_mode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC, RESIZE_MODE_COUNT };

/* X(code, ONNX's name) */
#define RESIZE_COORDINATES_LIST(X)                  \
    X(HALF_PIXEL, "half_pixel")                     \
    X(HALF_PIXEL_SYMMETRIC, "half_pixel_symmetric") \
    X(PYTORCH_HALF_PIXEL, "pytorch_half_pixel")     \
    X(ALIGN_CORNERS, "align_corners")               \
    X(ASYMMETRIC, "asymmetric")                     \
    X(CROP, "tf_crop_and_resize")                   \
    X(TF_HALF_PIXEL, "tf_half_pixel_for_nn")

enum resize_coordinates {
#define X(code, name) RESIZE_##code,
    RESIZE_COORDINATES_LIST(X)
#undef X
        RESIZE_COORDINATES_COUNT
};

/* X(code, ONNX's name) */
#define RESIZE_ROUNDING_LIST(X)           \
    X(PREFER_FLOOR, "round_prefer_floor") \
    X(PREFER_CEIL, "round_prefer_ceil")   \
    X(FLOOR, "floor")                     \
    X(CEIL, "ceil")

enum resize_rounding {
#define X(code, name) RESIZE_##code,
    RESIZE_ROUNDING_LIST(X)
#undef X
        RESIZE_ROUNDING_COUNT
};

enum resize_places {
    RESIZE_COORDINATES_AT = 8, /* ints[] */
    RESIZE_ROUNDING_AT,
    RESIZE_EXCLUDE_AT,
    RESIZE_ANTIALIAS_AT,
    RESIZE_ROI_BEGIN = 8, /* floats[] */
    RESIZE_ROI_END = 16
};

enum grid_padding { GRID_ZEROS, GRID_BORDER, GRID_REFLECTION, GRID_PADDING_COUNT };

/* One-sided results hold the first half and one bin; INVERSE_REAL takes such a half of a spectrum
 * that belongs to a real signal, and gives that. */
enum dft_mode { DFT_FORWARD, DFT_INVERSE, DFT_ONE_SIDED, DFT_INVERSE_REAL, DFT_MODE_COUNT };

enum loss_reduction { LOSS_NONE, LOSS_SUM, LOSS_MEAN, LOSS_REDUCTION_COUNT };

#endif
