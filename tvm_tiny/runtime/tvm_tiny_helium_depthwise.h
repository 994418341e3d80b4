/* Depthwise convolutions on cores with Helium: one VMLADAV multiplies a window's bytes and adds
 * them.
 */
#ifndef TVM_TINY_HELIUM_DEPTHWISE_H
#define TVM_TINY_HELIUM_DEPTHWISE_H

#include <stdint.h>

/* Up to eight channels are convolved at a time. A few lines of each lie in scratch as a strip whose
 * columns are contiguous, so that a window is one run of bytes:
 *
 *   strip[column * slots + slot], slot = line % slots
 *
 * Lines are rows of the image and columns its columns, or the other way round where that suits the
 * image better. A strip gives one or two lines of the output; for the next ones only the lines
 * that are new are gathered, in place of the oldest. So a window's lines begin at any slot, its
 * phase, and every phase has a table of which weight stands at which byte of a window.
 */
enum { TINY_STRIP_CHANNELS = 8 };

/* Fields of a layer table. */
enum {
  TINY_STRIP_TAPS,  /* bytes of a channel's weights */
  TINY_STRIP_TIMES, /* how often four or, if "wide", eight columns of output come next, */
  TINY_STRIP_BACK,  /* and bytes to go back for the last ones, 0 if that is not needed; */
  TINY_STRIP_BACK_OUT,
  TINY_STRIP_STEP_OUT, /* bytes of output from those columns to the next */
  TINY_STRIP_ZERO_POINT_OUT,
  TINY_STRIP_COUNT,    /* channels */
  TINY_STRIP_STEP_IN,  /* bytes of a strip from one column of output to the next */
  TINY_STRIP_PLACES,   /* of a vector's results from the first one: eight halves, or four words */
  TINY_STRIP_SLOTS = TINY_STRIP_PLACES + 4,
  TINY_STRIP_LINES,      /* of the input */
  TINY_STRIP_COLUMNS,
  TINY_STRIP_LINE_IN,    /* bytes of input from a line to the next, and for columns */
  TINY_STRIP_COLUMN_IN,
  TINY_STRIP_TOP,        /* padding before the first line and the first column */
  TINY_STRIP_LEFT,
  TINY_STRIP_ADVANCE,    /* lines from a strip to the next */
  TINY_STRIP_LAST,       /* first line of the last strip */
  TINY_STRIP_ZERO_POINT, /* what lies outside of the input, eight times */
  TINY_STRIP_BYTES = TINY_STRIP_ZERO_POINT + 2, /* of a channel's strip */
  TINY_STRIP_NEXT_OUT /* bytes of output from a channel to the next: how many share its strip */
};

/* Zero points everywhere: borders then stay as they are. */
void tiny_strip_fill(const int32_t *layer, int8_t *strips);

/* The lines that strip `number` needs, but for those that the one before has left there. */
void tiny_strip_lines(const int32_t *layer, const int8_t *image, int32_t number, int8_t *strips);

/* One strip of each channel; `table` is that of its phase. A channel's weights end with a zero at
 * least; its params are bias, multiplier and shift, rounded as in tvm_tiny_helium.h.
 */
#define TINY_STRIP(size, way)                                                                     \
  void tiny_strip_##size##_##way(const int32_t *layer, const int8_t *strips, const int8_t *table, \
                                 int8_t *y, const int8_t *weights, const int32_t *params);
#define TINY_STRIP_WAYS(size) \
  TINY_STRIP(size, away) TINY_STRIP(size, relu) TINY_STRIP(size, half_up) TINY_STRIP(size, any)
TINY_STRIP_WAYS(3x3_s1)
TINY_STRIP_WAYS(3x3_s2)
TINY_STRIP_WAYS(5x5_s1)
TINY_STRIP_WAYS(5x5_s2)
TINY_STRIP_WAYS(7x7_s1)
TINY_STRIP_WAYS(7x7_s1_wide)
TINY_STRIP_WAYS(7x7_s2)
TINY_STRIP_WAYS(upto_16) /* bytes of a window, one line of output */
TINY_STRIP_WAYS(upto_32)
TINY_STRIP_WAYS(upto_64)

/* Outputs that are fewer than a strip gives: from a tile of four columns (never wide) x eight
 * channels.
 */
void tiny_strip_close_up(const int32_t *layer, const int8_t *tile, int32_t lines, int32_t columns,
                         int32_t line_step, int32_t column_step, int8_t *y);

#endif /* TVM_TINY_HELIUM_DEPTHWISE_H */
