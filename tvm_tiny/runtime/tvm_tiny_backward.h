/* Gradients of what stands between convolutions: masks, scales, sums, moves. All are float32; an
 * output may lie over the gradient that it is made of where the operator says so.
 */
#ifndef TVM_TINY_BACKWARD_H
#define TVM_TINY_BACKWARD_H

#include <stdint.h>

/* The gradient where its bit of the mask is set (bit i % 8 of byte i / 8), else 0. */
void tiny_mask_gradient(const float *gradient, const uint8_t *mask, float *y, int32_t count);

/* gradient * scale, for each channel; a scale of one channel is one of all. */
void tiny_scale_gradient(const float *gradient, const float *scale, float *y, int32_t pixels,
                         int32_t channels);

/* Both: 0 where the bit is 0. */
void tiny_masked_scale(const float *gradient, const uint8_t *mask, const float *scale, float *y,
                       int32_t pixels, int32_t channels);

/* The same by the scales of a layer, rows of (multiplier, shift to the right), times a factor. The
 * scratch is for one float a channel.
 */
void tiny_scale_gradient_by_rows(const float *gradient, const int32_t *scaling,
                                 const float *factor, float *scratch, float *y, int32_t pixels,
                                 int32_t channels);
void tiny_masked_scale_by_rows(const float *gradient, const uint8_t *mask, const int32_t *scaling,
                               const float *factor, float *scratch, float *y, int32_t pixels,
                               int32_t channels);

void tiny_add_gradients(const float *a, const float *b, float *y, int32_t count);

/* The same row, of `count` numbers, added to each of `rows`. */
void tiny_add_rows(const float *x, const float *row, float *y, int32_t rows, int32_t count);

/* Sum over all pixels for each channel, in order. */
void tiny_bias_gradient(const float *gradient, float *y, int32_t pixels, int32_t channels);

/* Each of `inner` numbers, times a factor, `count` times; this for `outer` parts. */
void tiny_mean_gradient(const float *gradient, const float *factor, float *y, int32_t outer,
                        int32_t count, int32_t inner);

/* gradient * table[x + 128] */
void tiny_lookup_gradient(const float *gradient, const int8_t *x, const float *table, float *y,
                          int32_t count);

/* Sum over blocks of rows x columns pixels; (height, width) is the result's size. */
void tiny_resize_gradient(const float *gradient, float *y, int32_t batch, int32_t height,
                          int32_t width, int32_t channels, int32_t rows, int32_t columns);

/* A part of a tensor of four axes; `slice` holds its size, where the part begins, and the part's
 * size.
 */
void tiny_slice_gradient(const float *gradient, const int32_t *slice, float *y);

#endif /* TVM_TINY_BACKWARD_H */
