/* Convolutions on pairs of 16-bit halves: what their layers share. */
#ifndef TVM_TINY_PAIRS_H
#define TVM_TINY_PAIRS_H

#include <stdint.h>

/* Fields of a patch table: the image, the part that a tile of windows covers, and its fill. */
enum {
  TINY_PATCH_IMAGE_HEIGHT,
  TINY_PATCH_IMAGE_WIDTH,
  TINY_PATCH_CHANNELS,
  TINY_PATCH_ROWS,
  TINY_PATCH_ROW_STEP, /* dilation: rows of the image from one row of the patch to the next */
  TINY_PATCH_COLUMNS,
  TINY_PATCH_ZERO_POINT
};

/* Copy the part of an image that begins at (row, column); what lies outside is the zero point. */
void tiny_copy_patch(const int8_t *image, const int32_t *table, int32_t row, int32_t column,
                     void *patch);

/* Where a group's channels begin in a patch. */
static inline const void *tiny_byte_of(const void *patch, int32_t offset) {
  return (const int8_t *)patch + offset;
}

/* What the functions made for a layer compute, for machines that have no DSP instructions.
 *
 * tiny_expand_windows: `rows` rows, `pitch` bytes apart, of `runs` runs of `length` bytes each, the
 * runs `run_step` bytes apart and the windows of neighbours `pixel_step`. Four bytes become the
 * words (0, 2) and (1, 3), the rest of a run (0), (0, 1), or (0, 2) and (1); words of the pixels
 * alternate.
 */
void tiny_expand_windows(const void *bytes, int32_t pitch, int32_t *words, int32_t pixels,
                         int32_t rows, int32_t runs, int32_t length, int32_t run_step,
                         int32_t pixel_step);

/* Pixels, `step` bytes apart, x channels from expanded windows. For two channels at a time, `stream` holds their scaled
 * biases, their words pair by pair, and the parameters of `scale`: multiplier, offset, and the shift
 * where `shift` is zero.
 */
typedef int32_t tiny_scaling(int32_t sum, int32_t multiplier, int32_t offset, int32_t shift);

void tiny_pair_tile(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                    int32_t pairs, int32_t channels, int32_t step, int32_t shift,
                    tiny_scaling *scale);

/* The same where a lane of a weight word holds two channels, 256 a + b. For `tile` channels at a time,
 * `stream` holds words pair by pair (pairs two by two where there is one pixel), then bias,
 * multiplier, offset and shift of each channel. Sums are shifted by `doubling` to meet the bias.
 */
void tiny_packed_tile(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                      int32_t pairs, int32_t tile, int32_t channels, int32_t step,
                      int32_t doubling, tiny_scaling *scale);

#endif /* TVM_TINY_PAIRS_H */
