/* Convolutions and dense layers on cores with Helium: one VMLADAV multiplies and adds sixteen
 * bytes.
 */
#ifndef TVM_TINY_HELIUM_H
#define TVM_TINY_HELIUM_H

#include <stdint.h>

#include "tvm_tiny.h"

/* Depths are cut into chunks of sixteen bytes. What lies behind the end of a depth may be anything:
 * its weights are zero. The chunks of a tile's four pixels take turns: [chunk][pixel][16].
 */
enum { TINY_CHUNK = 16, TINY_TILE_PIXELS = 4 };

/* Sums come to int8 in one of four ways, which are in the functions' names:
 *
 *   relu     as TensorFlow Lite does, rounded twice, where the output's clamp begins at its zero
 *            point or above: halves of negative numbers then do not matter
 *   away     the same for any clamp, halves away from zero
 *   any      the same for shifts to either side
 *   half_up  the bias counts in units of 2^-TINY_HELIUM_FRACTION_BITS, the last rounding is up
 *
 * A channel's parameters are its bias (the input's zero point folded in), multiplier and shift. A
 * shift to the right is negative, less than zero where it is "away"; "any" has the shift to the
 * left in the bits from TINY_HELIUM_LEFT_BIT on and the one to the right in the lowest byte.
 */
enum { TINY_HELIUM_FRACTION_BITS = 7, TINY_HELIUM_LEFT_BIT = 8, TINY_HELIUM_LEFT_BITS = 7 };

/* Bytes that lie at first, first + step, ... : `count` of each of four pixels, in chunks. */
void tiny_helium_pixels(const int8_t *first, int32_t step, int32_t count, int8_t *chunks);

/* Four pixels x all channels; pixels are `pitch` bytes apart in y, a multiple of four as y is.
 * Weights are [group][2][chunk][2][16], params [group][2][2][bias, multiplier, shift]: groups are
 * of four channels, in the order 0, 2, 1, 3.
 */
#define TINY_HELIUM_CONV(way)                                                                     \
  void tiny_helium_conv_##way(const int8_t *chunks, const int8_t *weights, const int32_t *params, \
                              int8_t *y, int32_t count, int32_t groups, int32_t pitch,            \
                              int32_t zero_point);
TINY_HELIUM_CONV(away)
TINY_HELIUM_CONV(relu)
TINY_HELIUM_CONV(half_up)
TINY_HELIUM_CONV(any)

/* The same for all tiles of a layer whose pixels are up to one chunk, a multiple of four channels
 * and without gaps in x and y.
 */
#define TINY_HELIUM_NARROW(way)                                                                \
  void tiny_helium_narrow_##way(const int8_t *x, const int8_t *weights, const int32_t *params, \
                                int8_t *y, int32_t depth, int32_t groups, int32_t tiles,       \
                                int32_t zero_point);
TINY_HELIUM_NARROW(away)
TINY_HELIUM_NARROW(relu)
TINY_HELIUM_NARROW(half_up)
TINY_HELIUM_NARROW(any)

/* The same for pixels of several chunks: `count`, with room for a tile of them. */
#define TINY_HELIUM_POINTWISE(way)                                                                \
  void tiny_helium_pointwise_##way(const int8_t *x, const int8_t *weights, const int32_t *params, \
                                   int8_t *y, int32_t depth, int32_t groups, int32_t tiles,       \
                                   int32_t zero_point, int32_t count, int8_t *chunks);
TINY_HELIUM_POINTWISE(away)
TINY_HELIUM_POINTWISE(relu)
TINY_HELIUM_POINTWISE(half_up)
TINY_HELIUM_POINTWISE(any)

/* One pixel. Weights are [group][chunk][4][16], params [group][bias, multiplier, shift][4]. */
#define TINY_HELIUM_DENSE(way)                                                                    \
  void tiny_helium_dense_##way(const int8_t *pixel, const int8_t *weights, const int32_t *params, \
                               int8_t *y, int32_t count, int32_t channels, int32_t zero_point);
TINY_HELIUM_DENSE(away)
TINY_HELIUM_DENSE(relu)
TINY_HELIUM_DENSE(half_up)
TINY_HELIUM_DENSE(any)

/* Rows of `count` bytes, `pitch` bytes apart, to rows without gaps. */
void tiny_helium_close_up(const int8_t *from, int32_t pitch, int32_t rows, int32_t count,
                          int8_t *to);

/* Clamp values in place, for layers whose range is less than int8's. */
void tiny_helium_clamp(int8_t *values, int32_t count, int32_t low, int32_t high);

/* What the ways mean; params are `step` apart. */
static inline int32_t tiny_helium_relu(int32_t sum, const int32_t *params, int32_t step) {
  return tiny_requantize_half_up_wide(sum + params[0], params[step], -params[2 * step]);
}

static inline int32_t tiny_helium_away(int32_t sum, const int32_t *params, int32_t step) {
  return tiny_requantize_wide(sum + params[0], params[step], -params[2 * step]);
}

static inline int32_t tiny_helium_any(int32_t sum, const int32_t *params, int32_t step) {
  const uint32_t shifts = (uint32_t)params[2 * step];
  const uint32_t left = shifts >> TINY_HELIUM_LEFT_BIT & ((1u << TINY_HELIUM_LEFT_BITS) - 1u);
  const int32_t shifted = (int32_t)((uint32_t)(sum + params[0]) << left);
  return tiny_requantize_wide(shifted, params[step], -(int8_t)(shifts & 0xffu));
}

static inline int32_t tiny_helium_half_up(int32_t sum, const int32_t *params, int32_t step) {
  return tiny_helium_relu(sum * (1 << TINY_HELIUM_FRACTION_BITS), params, step);
}

/* `count` chunks of x, `x_step` bytes apart, times those of w */
static inline int32_t tiny_helium_dot(const int8_t *x, int32_t x_step, const int8_t *w,
                                      int32_t w_step, int32_t count) {
  int32_t sum = 0;
  for (int32_t chunk = 0; chunk < count; ++chunk) {
    for (int32_t k = 0; k < TINY_CHUNK; ++k) {
      sum += x[chunk * x_step + k] * w[chunk * w_step + k];
    }
  }
  return sum;
}

#endif /* TVM_TINY_HELIUM_H */
