#include "tvm_tiny_long.h"

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

#if !TINY_HAS_LONG

enum { LONG_FIELD = 1 << 23 };

/* The numbers of a word: the low one, which the high one has lent to, and the high one. */
static int32_t low_field(int32_t word) {
  const int32_t low = (int32_t)((uint32_t)word & (uint32_t)(LONG_FIELD - 1));
  return low < LONG_FIELD / 2 ? low : low - LONG_FIELD;
}

static int32_t field(int32_t word, int32_t is_high) {
  return is_high ? (word - low_field(word)) / LONG_FIELD : low_field(word);
}

void tiny_expand_couples(const void *bytes, int32_t pitch, int32_t *words, int32_t pixels,
                         int32_t rows, int32_t runs, int32_t length, int32_t run_step,
                         int32_t pixel_step) {
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t run = 0; run < runs; ++run) {
      const int8_t *from = (const int8_t *)bytes + row * pitch + run * run_step;
      for (int32_t tap = 0; tap < length; ++tap) {
        for (int32_t p = 0; p < pixels; p += 2) {
          const int32_t low = from[p * pixel_step + tap];
          const int32_t high = p + 1 < pixels ? from[(p + 1) * pixel_step + tap] : 0;
          *words++ = low + high * LONG_FIELD;
        }
      }
    }
  }
}

/* How weights of a tile lie: `count` channels of `taps` weights in words or bytes. */
typedef struct {
  const int32_t *stream;
  int32_t taps;
  int32_t count;
  int32_t has_words;
} long_tile;

static int32_t weight_of(const long_tile *tile, int32_t tap, int32_t channel) {
  if (tile->has_words) {
    return field(tile->stream[tap * ((tile->count + 1) / 2) + channel / 2], channel % 2);
  }
  return ((const int8_t *)tile->stream)[tap * tile->count + channel];
}

static const int32_t *parameters_of(const long_tile *tile) {
  const int32_t words = tile->has_words ? tile->taps * ((tile->count + 1) / 2)
                                        : (tile->taps * tile->count + 3) / 4;
  return tile->stream + words;
}

static int32_t sum_of(const long_tile *tile, const int32_t *words, int32_t pixels, int32_t pixel,
                      int32_t channel) {
  const int32_t couples = (pixels + 1) / 2;
  int32_t sum = 0;
  for (int32_t tap = 0; tap < tile->taps; ++tap) {
    const int32_t x = field(words[tap * couples + pixel / 2], pixel % 2);
    sum += x * weight_of(tile, tap, channel);
  }
  return sum;
}

static int8_t scaled(int32_t sum, const int32_t *parameters, int32_t doubling, int32_t shift,
                     tiny_scaling *scale) {
  const int32_t left = shift > 0 ? parameters[3] : doubling;
  const int32_t total = (int32_t)(((uint32_t)sum << left) + (uint32_t)parameters[0]);
  const int32_t right = shift > 0 ? shift : parameters[3];
  return (int8_t)tiny_clamp(scale(total, parameters[1], parameters[2], right), -128, 127);
}

static void multiply(const int32_t *words, long_tile tile, int8_t *y, int32_t pixels, int32_t size,
                     int32_t channels, int32_t step, int32_t doubling, int32_t shift,
                     tiny_scaling *scale) {
  for (int32_t first = 0; first < channels; first += size) {
    tile.count = tiny_min(size, channels - first);
    const int32_t *parameters = parameters_of(&tile);
    for (int32_t c = 0; c < tile.count; ++c) {
      for (int32_t p = 0; p < pixels; ++p) {
        const int32_t sum = sum_of(&tile, words, pixels, p, c);
        y[p * step + first + c] = scaled(sum, parameters, doubling, shift, scale);
      }
      parameters += 4;
    }
    tile.stream = parameters;
  }
}

void tiny_long_bytes(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                     int32_t taps, int32_t tile, int32_t channels, int32_t step, int32_t doubling,
                     int32_t shift, tiny_scaling *scale) {
  const long_tile bytes = {stream, taps, tile, 0};
  multiply(words, bytes, y, pixels, tile, channels, step, doubling, shift, scale);
}

void tiny_long_words(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                     int32_t taps, int32_t tile, int32_t channels, int32_t step, int32_t doubling,
                     int32_t shift, tiny_scaling *scale) {
  const long_tile coupled = {stream, taps, tile, 1};
  multiply(words, coupled, y, pixels, tile, channels, step, doubling, shift, scale);
}

#else

typedef int tiny_long_is_assembly; /* a translation unit must not be empty */

#endif
