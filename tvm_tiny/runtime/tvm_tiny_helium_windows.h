/* Windows of convolutions, gathered for the dot products of tvm_tiny_helium.h. */
#ifndef TVM_TINY_HELIUM_WINDOWS_H
#define TVM_TINY_HELIUM_WINDOWS_H

#include <stdint.h>

/* Fields of a window table. */
enum {
  TINY_HELIUM_HEIGHT, /* of the input */
  TINY_HELIUM_WIDTH,
  TINY_HELIUM_CHANNELS,
  TINY_HELIUM_KERNEL_HEIGHT,
  TINY_HELIUM_KERNEL_WIDTH,
  TINY_HELIUM_STRIDE_HEIGHT,
  TINY_HELIUM_STRIDE_WIDTH,
  TINY_HELIUM_TOP, /* padding */
  TINY_HELIUM_LEFT,
  TINY_HELIUM_DILATION_HEIGHT,
  TINY_HELIUM_DILATION_WIDTH,
  TINY_HELIUM_OUTPUT_WIDTH,
  TINY_HELIUM_PITCH,     /* bytes of a band's row */
  TINY_HELIUM_PIXEL,     /* bytes from pixel to pixel of the input: with those of other groups */
  TINY_HELIUM_ZERO_POINT /* what lies outside of the input, a chunk of it */
};

/* The windows of four output pixels in row-major order, the first one `pixel`, as chunks. The
 * input's channels are a multiple of a chunk. `edge` has room for a row of the four windows.
 */
void tiny_helium_windows(const int8_t *image, const int32_t *window, int32_t pixel, int8_t *chunks,
                         int8_t *edge);

/* The window of one output pixel, its bytes in a row. */
void tiny_helium_window(const int8_t *image, const int32_t *window, int32_t pixel, int8_t *bytes);

/* A band is `rows` rows of the padded image from `row` on, where 0 is the image's own first one. It
 * has the channels of one group.
 */
void tiny_helium_band(const int8_t *image, const int32_t *window, int32_t row, int32_t rows,
                      int8_t *band);

/* The windows of four output pixels, which lie inside of a band, as `count` chunks. The band's
 * first window is pixel 0. Pieces say for each chunk how many more pieces it has after its first
 * one, and for each piece how far it begins behind the last one's beginning and which lanes it
 * fills.
 */
void tiny_helium_pieces(const int8_t *band, const int32_t *window, int32_t pixel,
                        const int32_t *pieces, int32_t count, int8_t *chunks);

/* The same for windows side by side: the first one begins at `first`, the next are `step` bytes
 * apart.
 */
void tiny_helium_pieces_of_row(const int8_t *first, const int32_t *pieces, int32_t count,
                               int8_t *chunks, int32_t step);

#endif /* TVM_TINY_HELIUM_WINDOWS_H */
