/* Convolutions and dense layers on cores with Helium: one VMLADAV multiplies and adds sixteen bytes. */
#ifndef TVM_TINY_HELIUM_H
#define TVM_TINY_HELIUM_H

#include <stdint.h>

/* Depths are cut into chunks of sixteen bytes. What lies behind the end of a depth may be anything:
 * its weights are zero. The chunks of a tile's four pixels take turns: [chunk][pixel][16].
 */
enum { TINY_CHUNK = 16, TINY_TILE_PIXELS = 4 };

/* Sums come to int8 in one of three ways, which are in the functions' names:
 *
 *   away     as TensorFlow Lite does: rounded twice, at last halves away from zero
 *   relu     the same where the output's clamp begins at its zero point or above: halves of
 *            negative numbers then do not matter
 *   half_up  the bias counts in units of 2^-TINY_HELIUM_FRACTION_BITS, the last rounding is up
 *
 * A channel's parameters are its bias (the input's zero point folded in), multiplier and shift,
 * which is negative: to the right.
 */
enum { TINY_HELIUM_FRACTION_BITS = 7 };

/* Bytes that lie at first, first + step, ... : `count` of each of four pixels, in chunks. */
void tiny_helium_pixels(const int8_t *first, int32_t step, int32_t count, int8_t *chunks);

/* Four pixels x all channels; pixels are `pitch` bytes apart in y, a multiple of four as y is.
 * Weights are [group][2][chunk][2][16], params [group][2][2][bias, multiplier, shift]: groups are of
 * four channels, in the order 0, 2, 1, 3.
 */
#define TINY_HELIUM_CONV(way)                                                                    \
  void tiny_helium_conv_##way(const int8_t *chunks, const int8_t *weights, const int32_t *params, \
                              int8_t *y, int32_t count, int32_t groups, int32_t pitch,            \
                              int32_t zero_point);
TINY_HELIUM_CONV(away)
TINY_HELIUM_CONV(relu)
TINY_HELIUM_CONV(half_up)

/* The same for all tiles of a layer whose pixels are up to one chunk, a multiple of four channels and
 * without gaps in x and y.
 */
#define TINY_HELIUM_NARROW(way)                                                                  \
  void tiny_helium_narrow_##way(const int8_t *x, const int8_t *weights, const int32_t *params,    \
                                int8_t *y, int32_t depth, int32_t groups, int32_t tiles,          \
                                int32_t zero_point);
TINY_HELIUM_NARROW(away)
TINY_HELIUM_NARROW(relu)
TINY_HELIUM_NARROW(half_up)

/* One pixel. Weights are [group][chunk][4][16], params [group][bias, multiplier, shift][4]. */
#define TINY_HELIUM_DENSE(way)                                                                  \
  void tiny_helium_dense_##way(const int8_t *pixel, const int8_t *weights, const int32_t *params, \
                               int8_t *y, int32_t count, int32_t channels, int32_t zero_point);
TINY_HELIUM_DENSE(away)
TINY_HELIUM_DENSE(relu)
TINY_HELIUM_DENSE(half_up)

/* Rows of `count` bytes, `pitch` bytes apart, to rows without gaps. */
void tiny_helium_close_up(const int8_t *from, int32_t pitch, int32_t rows, int32_t count,
                          int8_t *to);

/* Clamp values in place, for layers whose range is less than int8's. */
void tiny_helium_clamp(int8_t *values, int32_t count, int32_t low, int32_t high);

#endif /* TVM_TINY_HELIUM_H */
