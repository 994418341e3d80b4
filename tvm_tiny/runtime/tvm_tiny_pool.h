/* Pooling and means over pixels of a multiple of four channels. */
#ifndef TVM_TINY_POOL_H
#define TVM_TINY_POOL_H

#include <stdint.h>

/* Fields of a pool table. */
enum {
  TINY_POOL_HEIGHT, /* of the input */
  TINY_POOL_WIDTH,
  TINY_POOL_CHANNELS, /* a multiple of four; tensors are aligned to four bytes */
  TINY_POOL_WINDOW_HEIGHT,
  TINY_POOL_WINDOW_WIDTH,
  TINY_POOL_STRIDE_HEIGHT,
  TINY_POOL_STRIDE_WIDTH,
  TINY_POOL_TOP, /* padding */
  TINY_POOL_LEFT,
  TINY_POOL_OUTPUT_HEIGHT,
  TINY_POOL_OUTPUT_WIDTH,
  TINY_POOL_CLAMP_MIN,
  TINY_POOL_CLAMP_MAX
};

/* Mean of each window's taps inside of the image, at most 255, halves away from zero;
 * `reciprocals[n]` is a little more than 2^30 / n, see schedules/pooling.py.
 */
void tiny_average_pool(const int8_t *image, const int32_t *pool, const int32_t *reciprocals,
                       int8_t *y);

/* Largest tap of each window inside of the image. */
void tiny_max_pool(const int8_t *image, const int32_t *pool, int8_t *y);

/* Mean over `pixels`, at most 255, rescaled: the sum plus rescale[0] goes through tiny_requantize with
 * multiplier rescale[1] and shift rescale[2], then rescale[3] is added.
 */
void tiny_mean(const int8_t *image, int32_t pixels, int32_t channels, const int32_t *rescale,
               int8_t *y);

#endif /* TVM_TINY_POOL_H */
