/* Parts of images. Rows and columns count from the image's upper left corner; a tile may reach over
 * the image's border.
 */
#ifndef TVM_TINY_PATCHES_H
#define TVM_TINY_PATCHES_H

#include <stdint.h>

typedef struct tiny_tile {
  uint8_t *bytes;
  int32_t row; /* the first one */
  int32_t column;
  int32_t rows;
  int32_t columns;
  int32_t pixel; /* bytes of one */
} tiny_tile;

/* Copy the pixels that both have. */
void tiny_tile_copy(const tiny_tile *to, const tiny_tile *from);

/* Set the pixels outside an image of `height` x `width` to bytes of `fill`. */
void tiny_tile_fill(const tiny_tile *tile, int32_t height, int32_t width, int32_t fill);

#endif /* TVM_TINY_PATCHES_H */
