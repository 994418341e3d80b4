/* Dot products on packed channels: the inner loops of convolutions and dense layers. */
#ifndef TVM_TINY_DOT_H
#define TVM_TINY_DOT_H

#include <stdint.h>

/* One 16-bit lane of a weight word holds two channels, 256 * a + b, so that weights take no more
 * Flash than int8. With activations x in the lanes of a word,
 *
 *   full = sum(x * (256 * a + b)) = 256 * sum(x * a) + sum(x * b)    one SMLAD on the word
 *   low  = sum(x * b)                                                one SMLAD on its SXTB16
 *
 * and sum(x * a) = (full - low) >> 8, exactly, while |sum(x * a)| < 2^23.
 * Words hold elements k and k + 2 of four, then k + 1 and k + 3: the order that SXTB16 gives.
 */

/* Four bytes to two words of sign-extended halves: elements 0 and 2, then 1 and 3; `count` is a
 * multiple of four. The words go to every `step`-th place.
 */
void tiny_expand(const int8_t *source, int32_t count, int32_t *words, int32_t step);

/* The same for `count` times one value. */
void tiny_expand_value(int32_t value, int32_t count, int32_t *words, int32_t step);

/* Fields of a window table. */
enum {
  TINY_WINDOW_HEIGHT, /* of the input */
  TINY_WINDOW_WIDTH,
  TINY_WINDOW_CHANNELS,
  TINY_WINDOW_KERNEL_HEIGHT,
  TINY_WINDOW_KERNEL_WIDTH,
  TINY_WINDOW_DILATION_HEIGHT,
  TINY_WINDOW_DILATION_WIDTH,
  TINY_WINDOW_ZERO_POINT /* what lies outside of the input */
};

/* All taps of the window that begins at (row, column) of an image, expanded. Windows whose channels
 * are no multiple of four are gathered in `bytes` first.
 */
void tiny_expand_window(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                        int32_t *words, int32_t step, int32_t *bytes);

/* A channel's parameters, four words: twice the bias (zero point folded in), and multiplier, offset
 * and shift as tiny_scale has them. Layers that are rounded `half_up` follow tiny_scale_half_up, and
 * their biases count in units of 2^-TINY_FRACTION_BITS.
 */
enum { TINY_FRACTION_BITS = 7 };


/* Two pixels (their words alternate) over `pairs` words, an even number: `channels` outputs of each.
 * The output is saturated to int8. Weights and parameters are padded to a multiple of four channels.
 */
void tiny_conv_two_pixels(const int32_t *pixels, const int32_t *weights, int32_t pairs,
                          const int32_t *params, int8_t *y0, int8_t *y1, int32_t channels,
                          int32_t half_up);

/* One pixel; weights and parameters are padded to a multiple of eight channels. */
void tiny_conv_one_pixel(const int32_t *pixel, const int32_t *weights, int32_t pairs,
                         const int32_t *params, int8_t *y, int32_t channels, int32_t half_up);

#endif /* TVM_TINY_DOT_H */
