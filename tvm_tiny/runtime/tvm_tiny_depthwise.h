/* Depthwise convolutions, one channel at a time, by way of a plane with a border. */
#ifndef TVM_TINY_DEPTHWISE_H
#define TVM_TINY_DEPTHWISE_H

#include <stdint.h>

/* What all channels of a layer share. Plane rows are `stride` bytes apart; behind the last one lie
 * TINY_PLANE_SLACK bytes that whole-word loads may read.
 */
enum {
  TINY_DEPTHWISE_HEIGHT, /* of the input */
  TINY_DEPTHWISE_WIDTH,
  TINY_DEPTHWISE_CHANNELS, /* bytes from pixel to pixel, of input and output */
  TINY_DEPTHWISE_TOP,      /* rows and columns of border before the input */
  TINY_DEPTHWISE_LEFT,
  TINY_DEPTHWISE_PLANE_ROWS,
  TINY_DEPTHWISE_PLANE_STRIDE,
  TINY_DEPTHWISE_ZERO_POINT, /* of the input: what the border holds */
  TINY_DEPTHWISE_OUTPUT_HEIGHT,
  TINY_DEPTHWISE_OUTPUT_WIDTH,
  TINY_DEPTHWISE_CLAMP_MIN,
  TINY_DEPTHWISE_CLAMP_MAX,
  TINY_DEPTHWISE_HALF_UP /* as tiny_scale_half_up: 1, as tiny_scale: 0 */
};
enum { TINY_PLANE_SLACK = 8 };

/* A channel's table: twice the bias (zero point folded in), multiplier, offset and shift of
 * tiny_scale, then for each row of the kernel its doubled weights in the halves of words:
 * w0 w2 | w1 -          for 3x3
 * w0 w2 | w1 w3 | w4 -  for 5x5
 * w0 w2 | w1 w3 | w4 w6 | w5 -  for 7x7
 */
enum {
  TINY_CHANNEL_BIAS,
  TINY_CHANNEL_MULTIPLIER,
  TINY_CHANNEL_OFFSET,
  TINY_CHANNEL_SHIFT,
  TINY_CHANNEL_WEIGHTS
};

/* Fill a plane with the zero point: its border stays as it is for all channels. */
void tiny_plane_fill(const int32_t *layer, int8_t *plane);

/* Copy one channel of an image into the plane. */
void tiny_plane_gather(const int32_t *layer, const int8_t *image, int8_t *plane);

/* Convolve a plane with a channel's kernel, at strides one and two. */
void tiny_depthwise_3x3_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output);
void tiny_depthwise_3x3_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output);
void tiny_depthwise_5x5_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output);
void tiny_depthwise_5x5_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output);
void tiny_depthwise_7x7_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output);
void tiny_depthwise_7x7_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output);

#endif /* TVM_TINY_DEPTHWISE_H */
