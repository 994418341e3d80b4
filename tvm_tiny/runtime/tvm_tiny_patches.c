/* Parts of images, copied and filled: see tvm_tiny_patches.h. */
#include "tvm_tiny_patches.h"

#include "tvm_tiny.h"

enum { BYTES_AT_ONCE = 16 };

static uint8_t *pixel_at(const tiny_tile *tile, int32_t row, int32_t column) {
  const int32_t number = (row - tile->row) * tile->columns + column - tile->column;
  return tile->bytes + number * tile->pixel;
}

static void copy_bytes(uint8_t *to, const uint8_t *from, int32_t count) {
  for (; count >= BYTES_AT_ONCE; count -= BYTES_AT_ONCE) {
    uint32_t words[BYTES_AT_ONCE / 4];
    memcpy(words, from, sizeof words);
    memcpy(to, words, sizeof words);
    from += BYTES_AT_ONCE;
    to += BYTES_AT_ONCE;
    TINY_KEEP_LOOP(from);
  }
  tiny_copy_block(to, from, count);
}

static void fill_bytes(uint8_t *to, uint32_t word, int32_t count) {
  for (; count >= 8; count -= 8) {
    const uint32_t words[2] = {word, word};
    memcpy(to, words, sizeof words);
    to += sizeof words;
    TINY_KEEP_LOOP(to);
  }
  for (; count > 0; --count) {
    *to++ = (uint8_t)word;
    TINY_KEEP_LOOP(to);
  }
}

void tiny_tile_copy(const tiny_tile *to, const tiny_tile *from) {
  const int32_t top = tiny_max(to->row, from->row);
  const int32_t left = tiny_max(to->column, from->column);
  const int32_t rows = tiny_min(to->row + to->rows, from->row + from->rows) - top;
  const int32_t right = tiny_min(to->column + to->columns, from->column + from->columns);
  const int32_t bytes = (right - left) * to->pixel;
  uint8_t *target = pixel_at(to, top, left);
  const uint8_t *source = pixel_at(from, top, left);
  for (int32_t row = 0; row < rows; ++row) {
    copy_bytes(target, source, bytes);
    target += to->columns * to->pixel;
    source += from->columns * from->pixel;
  }
}

void tiny_tile_fill(const tiny_tile *tile, int32_t height, int32_t width, int32_t fill) {
  const uint32_t word = (uint32_t)(fill & 0xff) * 0x01010101u;
  const int32_t pitch = tile->columns * tile->pixel;
  const int32_t top = tiny_clamp(-tile->row, 0, tile->rows);
  const int32_t end = tiny_clamp(height - tile->row, top, tile->rows); /* of the image's rows */
  const int32_t left = tiny_clamp(-tile->column, 0, tile->columns);
  const int32_t right = tiny_clamp(width - tile->column, left, tile->columns);
  uint8_t *row = tile->bytes + top * pitch;
  fill_bytes(tile->bytes, word, top * pitch);
  if (right - left < tile->columns) {
    for (int32_t count = end - top; count > 0; --count) {
      fill_bytes(row, word, left * tile->pixel);
      fill_bytes(row + right * tile->pixel, word, pitch - right * tile->pixel);
      row += pitch;
    }
  }
  fill_bytes(tile->bytes + end * pitch, word, (tile->rows - end) * pitch);
}
