/* Winograd's F(2x2, 3x3) and F(2, 3): what layers share, and the plain C of functions made for them. */
#ifndef TVM_TINY_WINOGRAD_H
#define TVM_TINY_WINOGRAD_H

#include <stdint.h>

#include "tvm_tiny_pairs.h"

enum { TINY_WINOGRAD_SIZE = 4, TINY_WINOGRAD_POSITIONS = 16 };

/* What the functions made for a layer compute, for machines that have no DSP instructions.
 *
 * tiny_winograd_gather: some rows of an image from (row, column) on, as words of four channels each:
 * (channels / 4, rows, columns). What lies outside of the image is the zero point. The last word holds
 * the last four channels, some of them a second time where channels are no multiple of four.
 */
void tiny_winograd_gather(const int8_t *image, int32_t row, int32_t column, int32_t *gathered,
                          int32_t height, int32_t width, int32_t channels, int32_t rows,
                          int32_t columns, int32_t zero_point);

/* Inputs of each of `tiles` tiles side by side, two columns each, of which the last begins `overlap`
 * columns further left, as words of two halves. Four positions lie in the order 1, 2, 0, 3.
 * `gathered` may be the end of `words`.
 *
 * Squares, B^T d B: (channels / 2, 4 columns of positions, 4 rows in that order, tiles).
 * Lines, B^T d: (lines, 2 pairs of channels, 4 positions in that order, tiles).
 */
void tiny_winograd_squares(const int32_t *gathered, int32_t *words, int32_t quads, int32_t tiles,
                           int32_t overlap);
void tiny_winograd_lines(const int32_t *gathered, int32_t *words, int32_t lines, int32_t tiles,
                         int32_t overlap);

/* Outputs of each of those tiles for all `channels`, 2 x 2 from four columns of positions, 1 x 2 from
 * one; rows of outputs lie `pitch` bytes apart. For two channels at a time (the last two, if channels
 * are odd, begin with one that was there before) `stream` holds for each column initial sums and the
 * words of its four positions, then the parameters of `scale`. `lift` brings sums to what `scale` is
 * for: to the right by -lift, or to the left by `lift` to meet the bias, then the last parameter.
 */
void tiny_winograd_tiles(const int32_t *words, const int32_t *stream, int8_t *y, int32_t tiles,
                         int32_t overlap, int32_t columns, int32_t pairs, int32_t channels,
                         int32_t pitch, int32_t lift, int32_t shift, tiny_scaling *scale);

#endif /* TVM_TINY_WINOGRAD_H */
