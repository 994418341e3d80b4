/* Layers of float models, NHWC of one batch: the same bits on every machine. */
#ifndef TVM_TINY_FLOAT_LAYERS_H
#define TVM_TINY_FLOAT_LAYERS_H

#include <stdint.h>

/* A convolution by its `tiny_window`, weights OHWI. Sums start at the bias and take fused
 * multiply-adds. `panel` holds the weights of `block` input channels for 24 output channels.
 */
void tiny_float_conv2d(const float *data, const float *weight, const float *bias,
                       const int32_t *window, float *panel, float *output, int32_t block);

/* From bounds[0] to bounds[1]; NaN stays. May be in place. */
void tiny_float_clip(const float *x, const float *bounds, float *y, int32_t count);

/* The gradient where the clipped value lies between the bounds, and 0 at them. In place too. */
void tiny_clip_gradient(const float *gradient, const float *clipped, const float *bounds, float *y,
                        int32_t count);

/* Poolings by the table of tvm_tiny_pool_gradient.h: the largest tap inside of the image, or the
 * average of those inside.
 */
void tiny_float_max_pool(const float *x, const int32_t *window, float *y);
void tiny_float_average_pool(const float *x, const int32_t *window, float *y);

/* Of each of `rows` rows. */
void tiny_float_softmax(const float *x, float *y, int32_t rows, int32_t columns);

/* -log softmax(logits)[label], and its derivatives; NaN where there is no such label. */
void tiny_float_softmax_cross_entropy(const float *logits, const int32_t *label, float *loss,
                                      int32_t count);
void tiny_float_softmax_cross_entropy_gradient(const float *logits, const int32_t *label,
                                               float *gradient, int32_t count);

/* Mean of (output - target)^2, and its derivatives. */
void tiny_float_mean_squared_error(const float *output, const float *target, float *loss,
                                   int32_t count);
void tiny_float_mean_squared_error_gradient(const float *output, const float *target,
                                            float *gradient, int32_t count);

#endif /* TVM_TINY_FLOAT_LAYERS_H */
