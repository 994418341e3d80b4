#include "tvm_tiny_winograd.h"

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

#if !TINY_HAS_DSP

/* Four channels from c on, or the last four; all of them where there are less. */
static uint32_t load_quad(const int8_t *pixel, int32_t c, int32_t channels) {
  if (channels < 4) {
    return (uint8_t)pixel[0] | (uint32_t)(uint8_t)pixel[1] << 8 | (uint32_t)(uint8_t)pixel[2] << 16;
  }
  return tiny_load_word(pixel + (c < channels - 4 ? c : channels - 4));
}

void tiny_winograd_gather(const int8_t *image, int32_t row, int32_t column, int32_t *gathered,
                          int32_t height, int32_t width, int32_t channels, int32_t rows,
                          int32_t columns, int32_t zero_point) {
  const uint32_t fill = ((uint32_t)zero_point & 0xffu) * 0x01010101u;
  for (int32_t y = row; y < row + rows; ++y) {
    for (int32_t x = column; x < column + columns; ++x) {
      const int is_inside = y >= 0 && y < height && x >= 0 && x < width;
      const int8_t *pixel = is_inside ? image + (y * width + x) * channels : image;
      int32_t *to = gathered++;
      for (int32_t c = 0; c < channels; c += 4) {
        *to = (int32_t)(is_inside ? load_quad(pixel, c, channels) : fill);
        to += rows * columns;
      }
    }
  }
}

static int32_t add_halves(int32_t a, int32_t b) {
  return tiny_halves(tiny_low(a) + tiny_low(b), tiny_high(a) + tiny_high(b));
}

static int32_t subtract_halves(int32_t a, int32_t b) {
  return tiny_halves(tiny_low(a) - tiny_low(b), tiny_high(a) - tiny_high(b));
}

/* d0 - d2, d1 + d2, d2 - d1, d3 - d1 */
static int32_t combined(const int32_t *d, int32_t step, int32_t position) {
  switch (position) {
    case 0:
      return subtract_halves(d[0], d[2 * step]);
    case 1:
      return add_halves(d[step], d[2 * step]);
    case 2:
      return subtract_halves(d[2 * step], d[step]);
    default:
      return subtract_halves(d[3 * step], d[step]);
  }
}

/* In which order four positions lie. */
static const int8_t ORDER[TINY_WINOGRAD_SIZE] = {1, 2, 0, 3};

/* One pair of channels of one tile: 4 x 4 words, rows `columns` words apart, read as halves. */
static void transform(const int32_t *halves, int32_t columns, int32_t *to, int32_t tiles) {
  int32_t vertical[TINY_WINOGRAD_SIZE][TINY_WINOGRAD_SIZE];
  for (int32_t i = 0; i < TINY_WINOGRAD_SIZE; ++i) {
    for (int32_t x = 0; x < TINY_WINOGRAD_SIZE; ++x) {
      vertical[i][x] = combined(halves + x, columns, ORDER[i]);
    }
  }
  for (int32_t j = 0; j < TINY_WINOGRAD_SIZE; ++j) {
    for (int32_t i = 0; i < TINY_WINOGRAD_SIZE; ++i) {
      to[(j * TINY_WINOGRAD_SIZE + i) * tiles] = combined(vertical[i], 1, j);
    }
  }
}

enum { LARGEST_COLUMNS = 2 * 4 + 2 }; /* of four tiles */

/* Where a tile begins; the last one may reach over the one before by a column. */
static int32_t tile_column(int32_t tile, int32_t tiles, int32_t overlap) {
  return tile == tiles - 1 ? 2 * tile - overlap : 2 * tile;
}

void tiny_winograd_squares(const int32_t *gathered, int32_t *words, int32_t quads, int32_t tiles,
                           int32_t overlap) {
  enum { LARGEST = TINY_WINOGRAD_SIZE * LARGEST_COLUMNS };
  const int32_t columns = 2 * tiles + 2;
  for (int32_t quad = 0; quad < quads; ++quad) {
    /* all of it is read before anything is written */
    int32_t even[LARGEST], odd[LARGEST];
    for (int32_t k = 0; k < TINY_WINOGRAD_SIZE * columns; ++k) {
      even[k] = tiny_even_bytes((uint32_t)gathered[k]);
      odd[k] = tiny_odd_bytes((uint32_t)gathered[k]);
    }
    for (int32_t tile = 0; tile < tiles; ++tile) {
      const int32_t first = tile_column(tile, tiles, overlap);
      transform(even + first, columns, words + tile, tiles);
      transform(odd + first, columns, words + TINY_WINOGRAD_POSITIONS * tiles + tile, tiles);
    }
    gathered += TINY_WINOGRAD_SIZE * columns;
    words += 2 * TINY_WINOGRAD_POSITIONS * tiles;
  }
}

static int32_t plus(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }

static int32_t minus(int32_t a, int32_t b) { return (int32_t)((uint32_t)a - (uint32_t)b); }

void tiny_winograd_lines(const int32_t *gathered, int32_t *words, int32_t lines, int32_t tiles,
                         int32_t overlap) {
  for (int32_t line = 0; line < lines; ++line) {
    int32_t even[LARGEST_COLUMNS], odd[LARGEST_COLUMNS];
    for (int32_t x = 0; x < 2 * tiles + 2; ++x) {
      even[x] = tiny_even_bytes((uint32_t)*gathered);
      odd[x] = tiny_odd_bytes((uint32_t)*gathered++);
    }
    for (int32_t tile = 0; tile < tiles; ++tile) {
      const int32_t first = tile_column(tile, tiles, overlap);
      for (int32_t i = 0; i < TINY_WINOGRAD_SIZE; ++i) {
        words[i * tiles + tile] = combined(even + first, 1, ORDER[i]);
        words[(TINY_WINOGRAD_SIZE + i) * tiles + tile] = combined(odd + first, 1, ORDER[i]);
      }
    }
    words += 2 * TINY_WINOGRAD_SIZE * tiles;
  }
}

/* Two sums of four positions each, which lie `step` words from pair to pair. */
static void column_sums(const int32_t *words, int32_t tiles, int32_t step, const int32_t *stream,
                        int32_t pairs, int32_t *first, int32_t *second) {
  int32_t m[TINY_WINOGRAD_SIZE] = {*stream, 0, 0, 0};
  stream += 2;
  for (int32_t i = 0; i < TINY_WINOGRAD_SIZE; ++i) {
    for (int32_t k = 0; k < pairs; ++k) {
      m[i] = tiny_dual_mac(words[i * tiles + k * step], *stream, m[i]);
      stream += 2;
    }
  }
  *first = plus(plus(m[0], m[1]), m[2]);
  *second = plus(minus(m[0], m[1]), m[3]);
}

/* The outputs of a tile for one channel, row by row, before they are scaled; how many they are. */
static int32_t tile_sums(const int32_t *words, const int32_t *stream, int32_t tiles,
                         int32_t columns, int32_t pairs, int32_t sums[4]) {
  const int32_t size = TINY_WINOGRAD_SIZE * tiles;
  int32_t upper[TINY_WINOGRAD_SIZE], lower[TINY_WINOGRAD_SIZE];
  for (int32_t j = 0; j < columns; ++j) {
    column_sums(words + j * size, tiles, columns * size, stream, pairs, upper + j, lower + j);
    stream += 2 * (1 + TINY_WINOGRAD_SIZE * pairs);
  }
  if (columns == 1) {
    sums[0] = upper[0];
    sums[1] = lower[0];
    return 2;
  }
  sums[0] = plus(plus(upper[0], upper[1]), upper[2]);
  sums[1] = plus(minus(upper[1], upper[2]), upper[3]);
  sums[2] = plus(plus(lower[0], lower[1]), lower[2]);
  sums[3] = plus(minus(lower[1], lower[2]), lower[3]);
  return 4;
}

static int32_t lifted(int32_t sum, int32_t lift, int32_t bias) {
  return lift > 0 ? plus((int32_t)((uint32_t)sum << lift), bias) : sum >> -lift;
}

void tiny_winograd_tiles(const int32_t *words, const int32_t *stream, int8_t *y, int32_t tiles,
                         int32_t overlap, int32_t columns, int32_t pairs, int32_t channels,
                         int32_t pitch, int32_t lift, int32_t shift, tiny_scaling *scale) {
  const int32_t parameters = (shift > 0 ? 2 : 3) + (lift > 0);
  const int32_t length = 2 * columns * (1 + TINY_WINOGRAD_SIZE * pairs);
  for (int32_t first = 0; first < channels; first += 2) {
    for (int32_t k = 0; k < 2; ++k) {
      const int32_t c = (first < channels - 2 ? first : channels - 2) + k;
      const int32_t *scaling = stream + length + k * parameters;
      const int32_t own = shift > 0 ? shift : scaling[2];
      for (int32_t tile = 0; tile < tiles; ++tile) {
        const int32_t x = tile_column(tile, tiles, overlap);
        int32_t sums[4];
        const int32_t count = tile_sums(words + tile, stream + k, tiles, columns, pairs, sums);
        for (int32_t i = 0; i < count; ++i) {
          const int32_t sum = lifted(sums[i], lift, scaling[parameters - 1]);
          const int32_t value = scale(sum, scaling[0], scaling[1], own);
          y[i / 2 * pitch + (x + i % 2) * channels + c] = (int8_t)tiny_saturate_int8(value);
        }
      }
    }
    stream += length + 2 * parameters;
  }
}

#endif
