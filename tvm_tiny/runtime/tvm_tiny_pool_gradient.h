/* Gradients of poolings: each window's gradient goes back to its taps. */
#ifndef TVM_TINY_POOL_GRADIENT_H
#define TVM_TINY_POOL_GRADIENT_H

#include <stdint.h>

/* Fields of a window table. */
enum {
  TINY_BACK_HEIGHT, /* of the pooling's input */
  TINY_BACK_WIDTH,
  TINY_BACK_CHANNELS,
  TINY_BACK_WINDOW_HEIGHT,
  TINY_BACK_WINDOW_WIDTH,
  TINY_BACK_STRIDE_HEIGHT,
  TINY_BACK_STRIDE_WIDTH,
  TINY_BACK_TOP, /* padding */
  TINY_BACK_LEFT,
  TINY_BACK_DILATION_HEIGHT,
  TINY_BACK_DILATION_WIDTH,
  TINY_BACK_OUTPUT_HEIGHT,
  TINY_BACK_OUTPUT_WIDTH
};

/* To all taps inside of the image alike. */
void tiny_average_pool_gradient(const float *gradient, const int32_t *window, float *y);

/* To the first tap in raster order that is what the pooling gave; to none where it was clamped. */
void tiny_max_pool_gradient(const float *gradient, const int8_t *x, const int8_t *output,
                            const int32_t *window, float *y);
void tiny_float_max_pool_gradient(const float *gradient, const float *x, const float *output,
                                  const int32_t *window, float *y);

#endif /* TVM_TINY_POOL_GRADIENT_H */
