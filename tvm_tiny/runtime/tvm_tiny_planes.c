#include "tvm_tiny_planes.h"

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

void tiny_fill_words(int32_t *words, int32_t count, int32_t value) {
  for (; count >= 8; count -= 8, words += 8) { /* compilers do not unroll it at -O2 */
    words[0] = words[1] = words[2] = words[3] = value;
    words[4] = words[5] = words[6] = words[7] = value;
  }
  for (const int32_t *end = words + count; words < end; ++words) {
    *words = value;
  }
}

#if !TINY_HAS_DSP

enum { FIELD = 1 << 21 };

static int32_t half(const int32_t *words, int32_t column) {
  const int32_t word = words[column / 2];
  return column % 2 == 0 ? tiny_low(word) : tiny_high(word);
}

void tiny_gather_halves(const int8_t *image, int32_t step, int32_t pitch, int32_t height,
                        int32_t width, int32_t zero_point, int32_t left, int32_t *words,
                        int32_t row_words) {
  (void)zero_point;
  for (int32_t y = 0; y < height; ++y) {
    for (int32_t x = 0; x < width; ++x) {
      int32_t *word = words + (left + x) / 2;
      const int32_t value = image[x * step];
      *word = (left + x) % 2 == 0 ? tiny_halves(value, tiny_high(*word))
                                  : tiny_halves(tiny_low(*word), value);
    }
    image += pitch;
    words += row_words;
  }
}

void tiny_gather_polynomials(const int8_t *image, int32_t step, int32_t pitch, int32_t height,
                             int32_t width, int32_t zero_point, int32_t left, int32_t *words,
                             int32_t row_words) {
  for (int32_t y = 0; y < height; ++y) {
    for (int32_t column = left & ~1; column < left + width; column += 2) {
      const int32_t x = column - left;
      const int32_t low = x >= 0 ? image[x * step] : zero_point;
      const int32_t high = x + 1 < width ? image[(x + 1) * step] : zero_point;
      words[column / 2] = low + high * FIELD;
    }
    image += pitch;
    words += row_words;
  }
}

static int8_t finish(int32_t sum, const int32_t *scaling, int32_t shift, tiny_scaling *scale) {
  const int32_t own = shift > 0 ? shift : scaling[2];
  return (int8_t)tiny_saturate_int8(scale(sum, scaling[0], scaling[1], own));
}

void tiny_depthwise_3x3(const int32_t *plane, const int32_t *table, int8_t *y, int32_t height,
                        int32_t width, int32_t step, int32_t pitch, int32_t row_words,
                        int32_t tap_words, int32_t shift, tiny_scaling *scale) {
  const int32_t *weights = table + (shift > 0 ? 3 : 4);
  for (int32_t row = 0; row < height; ++row) {
    for (int32_t column = 0; column < width; ++column) {
      int32_t sum = table[0];
      for (int32_t ky = 0; ky < 3; ++ky) {
        const int32_t *from = plane + row * row_words + ky * tap_words;
        const int32_t *taps = weights + 2 * ky;
        sum += half(from, column) * tiny_low(taps[0]) + half(from, column + 1) * tiny_high(taps[0]) +
               half(from, column + 2) * tiny_high(taps[1]);
      }
      *y = finish(sum, table + 1, shift, scale);
      y += step;
    }
    y += pitch - width * step;
  }
}

void tiny_depthwise_strided(const int32_t *plane, const int32_t *table, int8_t *y, int32_t height,
                            int32_t width, int32_t step, int32_t pitch, int32_t row_words,
                            int32_t tap_words, int32_t rows, int32_t taps, int32_t stride,
                            int32_t shift, tiny_scaling *scale) {
  const int32_t *parameters = table + rows * taps;
  for (int32_t row = 0; row < height; ++row) {
    for (int32_t column = 0; column < width; ++column) {
      int32_t sum = parameters[0];
      for (int32_t ky = 0; ky < rows; ++ky) {
        const int32_t *from = plane + row * row_words + ky * tap_words;
        for (int32_t t = 0; t < taps; ++t) {
          const int32_t first = column * stride + 2 * t, weights = table[ky * taps + t];
          sum += half(from, first) * tiny_low(weights) + half(from, first + 1) * tiny_high(weights);
        }
      }
      *y = finish(sum, parameters + 1, shift, scale);
      y += step;
    }
    y += pitch - width * step;
  }
}

/* The coefficients of a word: the low one, which the high one has borrowed from. */
static int32_t low_coefficient(int32_t word) {
  const int32_t low = (int32_t)((uint32_t)word & (uint32_t)(FIELD - 1));
  return low < FIELD / 2 ? low : low - FIELD;
}

static int32_t high_coefficient(int32_t word) { return (word - low_coefficient(word)) / FIELD; }

static int32_t element(const int32_t *words, int32_t column) {
  const int32_t word = words[column / 2];
  return column % 2 == 0 ? low_coefficient(word) : high_coefficient(word);
}

void tiny_depthwise_polynomials(const int32_t *plane, const int32_t *table, int8_t *y,
                                int32_t height, int32_t width, int32_t step, int32_t pitch,
                                int32_t row_words, int32_t tap_words, int32_t rows, int32_t taps,
                                int32_t stride, int32_t doubling, int32_t shift,
                                tiny_scaling *scale) {
  const int32_t *parameters = table + rows * taps;
  for (int32_t row = 0; row < height; ++row) {
    for (int32_t column = 0; column < width; ++column) {
      int32_t sum = 1 << 20;
      for (int32_t ky = 0; ky < rows; ++ky) {
        const int32_t *from = plane + row * row_words + ky * tap_words;
        const int32_t *weights = table + ky * taps;
        for (int32_t t = 0; t < taps; ++t) {
          sum += element(from, column * stride + 2 * t) * high_coefficient(weights[t]);
          /* the last row of taps may be odd: there is no element for its other half */
          if (low_coefficient(weights[t]) != 0) {
            sum += element(from, column * stride + 2 * t + 1) * low_coefficient(weights[t]);
          }
        }
      }
      const uint32_t shifted = (uint32_t)sum << doubling;
      *y = finish((int32_t)(shifted + (uint32_t)parameters[0]), parameters + 1, shift, scale);
      y += step;
    }
    y += pitch - width * step;
  }
}

#endif
