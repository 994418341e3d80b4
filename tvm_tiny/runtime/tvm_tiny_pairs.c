#include "tvm_tiny_pairs.h"

#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

void tiny_copy_patch(const int8_t *image, const int32_t *table, int32_t row, int32_t column,
                     void *patch) {
  int8_t *to = patch;
  const int32_t height = table[TINY_PATCH_IMAGE_HEIGHT];
  const int32_t width = table[TINY_PATCH_IMAGE_WIDTH];
  const int32_t channels = table[TINY_PATCH_CHANNELS];
  const int32_t columns = table[TINY_PATCH_COLUMNS];
  const int zero_point = (int)table[TINY_PATCH_ZERO_POINT];
  /* columns of the patch before the image, inside of it, and behind it */
  const int32_t before = tiny_clamp(-column, 0, columns);
  const int32_t behind = tiny_clamp(column + columns - width, 0, columns - before);
  const int32_t inside = columns - before - behind;
  const int8_t *from = image + (row * width + column + before) * channels;
  for (int32_t y = 0; y < table[TINY_PATCH_ROWS]; ++y) {
    if (row < 0 || row >= height || inside == 0) {
      memset(to, zero_point, (size_t)(columns * channels));
    } else {
      memset(to, zero_point, (size_t)(before * channels));
      memcpy(to + before * channels, from, (size_t)(inside * channels));
      memset(to + (before + inside) * channels, zero_point, (size_t)(behind * channels));
    }
    to += columns * channels;
    from += table[TINY_PATCH_ROW_STEP] * width * channels;
    row += table[TINY_PATCH_ROW_STEP];
  }
}

#if !TINY_HAS_DSP

/* A word of two bytes of a run; a negative position stands for zero. */
static int32_t pair_of(const int8_t *run, int32_t low, int32_t high) {
  return tiny_halves(run[low], high < 0 ? 0 : run[high]);
}

static int32_t *expand_run(const int8_t *run, int32_t length, int32_t *words, int32_t step) {
  int32_t position = 0;
  for (; length - position >= 4; position += 4) {
    words[0] = pair_of(run, position, position + 2);
    words[step] = pair_of(run, position + 1, position + 3);
    words += 2 * step;
  }
  switch (length - position) {
    case 1:
      *words = pair_of(run, position, -1);
      return words + step;
    case 2:
      *words = pair_of(run, position, position + 1);
      return words + step;
    case 3:
      words[0] = pair_of(run, position, position + 2);
      words[step] = pair_of(run, position + 1, -1);
      return words + 2 * step;
    default:
      return words;
  }
}

void tiny_expand_windows(const void *bytes, int32_t pitch, int32_t *words, int32_t pixels,
                         int32_t rows, int32_t runs, int32_t length, int32_t run_step,
                         int32_t pixel_step) {
  for (int32_t p = 0; p < pixels; ++p) {
    int32_t *to = words + p;
    for (int32_t row = 0; row < rows; ++row) {
      for (int32_t run = 0; run < runs; ++run) {
        const int8_t *from = (const int8_t *)bytes + row * pitch + run * run_step + p * pixel_step;
        to = expand_run(from, length, to, pixels);
      }
    }
  }
}

void tiny_pair_tile(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                    int32_t pairs, int32_t channels, int32_t step, int32_t shift,
                    tiny_scaling *scale) {
  const int32_t columns = shift > 0 ? 2 : 3;
  for (int32_t c = 0; c < channels; ++c) {
    const int32_t *scaling = stream + 2 + 2 * pairs + c % 2 * columns;
    for (int32_t p = 0; p < pixels; ++p) {
      int32_t sum = stream[c % 2];
      for (int32_t k = 0; k < pairs; ++k) {
        sum = tiny_dual_mac(words[k * pixels + p], stream[2 + 2 * k + c % 2], sum);
      }
      const int32_t own = shift > 0 ? shift : scaling[2];
      y[p * step + c] =
          (int8_t)tiny_saturate_int8(scale(sum, scaling[0], scaling[1], own));
    }
    if (c % 2 == 1) {
      stream += 2 + 2 * pairs + 2 * columns;
    }
  }
}

/* Where in a tile's stream the word of a pair and a couple of channels lies. */
static int32_t packed_position(int32_t pair, int32_t pairs, int32_t couple, int32_t couples,
                               int32_t pixels) {
  if (pixels > 1 || pair == (pairs & ~1)) {
    return pair * couples + couple;
  }
  return (pair & ~1) * couples + 2 * couple + pair % 2;
}

/* The sum of a pixel and a channel, the first or second of its couple. */
static int32_t packed_sum(const int32_t *words, const int32_t *stream, int32_t pixels, int32_t pairs,
                          int32_t couple, int32_t couples, int32_t is_second) {
  int32_t full = 0;
  int32_t low = 0;
  for (int32_t k = 0; k < pairs; ++k) {
    const int32_t word = stream[packed_position(k, pairs, couple, couples, pixels)];
    full = tiny_dual_mac(words[k * pixels], word, full);
    low = tiny_dual_mac(words[k * pixels], tiny_even_bytes((uint32_t)word), low);
  }
  return is_second ? low : (int32_t)((uint32_t)full - (uint32_t)low) / 256;
}

void tiny_packed_tile(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                      int32_t pairs, int32_t tile, int32_t channels, int32_t step,
                      int32_t doubling, tiny_scaling *scale) {
  for (int32_t first = 0; first < channels; first += tile) {
    const int32_t count = tiny_min(tile, channels - first);
    const int32_t couples = (count + 1) / 2;
    const int32_t *parameters = stream + couples * pairs;
    for (int32_t c = 0; c < count; ++c) {
      for (int32_t p = 0; p < pixels; ++p) {
        const int32_t sum = packed_sum(words + p, stream, pixels, pairs, c / 2, couples, c % 2);
        const uint32_t total = ((uint32_t)sum << doubling) + (uint32_t)parameters[0];
        const int32_t scaled = scale((int32_t)total, parameters[1], parameters[2], parameters[3]);
        y[p * step + first + c] = (int8_t)tiny_saturate_int8(scaled);
      }
      parameters += 4;
    }
    stream = parameters;
  }
}

#endif
