#include "tvm_tiny_pool_gradient.h"

#include "tvm_tiny_float.h"

TINY_SCALAR_FLOATS

static void clear(const int32_t *window, float *y) {
  const int32_t pixels = window[TINY_BACK_HEIGHT] * window[TINY_BACK_WIDTH];
  const int32_t count = pixels * window[TINY_BACK_CHANNELS];
  for (int32_t i = 0; i < count; ++i) {
    y[i] = 0.0f;
  }
}

/* Where a tap of an output pixel's window begins in the image; -1 if outside. */
static int32_t place_of(const int32_t *window, int32_t pixel, int32_t tap) {
  const int32_t width = window[TINY_BACK_OUTPUT_WIDTH];
  const int32_t columns = window[TINY_BACK_WINDOW_WIDTH];
  const int32_t row = pixel / width * window[TINY_BACK_STRIDE_HEIGHT] - window[TINY_BACK_TOP] +
                      tap / columns * window[TINY_BACK_DILATION_HEIGHT];
  const int32_t column = pixel % width * window[TINY_BACK_STRIDE_WIDTH] - window[TINY_BACK_LEFT] +
                         tap % columns * window[TINY_BACK_DILATION_WIDTH];
  if (row < 0 || row >= window[TINY_BACK_HEIGHT] || column < 0 ||
      column >= window[TINY_BACK_WIDTH]) {
    return -1;
  }
  return (row * window[TINY_BACK_WIDTH] + column) * window[TINY_BACK_CHANNELS];
}

static int32_t taps_of(const int32_t *window) {
  return window[TINY_BACK_WINDOW_HEIGHT] * window[TINY_BACK_WINDOW_WIDTH];
}

static int32_t pixels_of(const int32_t *window) {
  return window[TINY_BACK_OUTPUT_HEIGHT] * window[TINY_BACK_OUTPUT_WIDTH];
}

void tiny_average_pool_gradient(const float *gradient, const int32_t *window, float *y) {
  const int32_t channels = window[TINY_BACK_CHANNELS];
  const int32_t taps = taps_of(window);
  clear(window, y);
  for (int32_t pixel = 0; pixel < pixels_of(window); ++pixel) {
    int32_t inside = 0;
    for (int32_t tap = 0; tap < taps; ++tap) {
      inside += place_of(window, pixel, tap) >= 0;
    }
    const float share = 1.0f / (float)inside;
    for (int32_t tap = 0; tap < taps; ++tap) {
      const int32_t place = place_of(window, pixel, tap);
      for (int32_t c = 0; place >= 0 && c < channels; ++c) {
        y[place + c] = __builtin_fmaf(gradient[c], share, y[place + c]);
      }
    }
    gradient += channels;
  }
}

/* Up to 32 channels of a pixel, each of which is done with its first tap. */
static void give_to_largest(const int32_t *window, int32_t pixel, const float *gradient,
                            const int8_t *x, const int8_t *output, float *y, int32_t count) {
  uint32_t left = 0xffffffffu >> (32 - count);
  for (int32_t tap = 0; tap < taps_of(window) && left != 0u; ++tap) {
    const int32_t place = place_of(window, pixel, tap);
    for (int32_t c = 0; place >= 0 && c < count; ++c) {
      const uint32_t bit = (uint32_t)1 << c;
      if (x[place + c] == output[c] && (left & bit) != 0u) {
        left &= ~bit;
        y[place + c] += gradient[c];
      }
    }
  }
}

void tiny_max_pool_gradient(const float *gradient, const int8_t *x, const int8_t *output,
                            const int32_t *window, float *y) {
  const int32_t channels = window[TINY_BACK_CHANNELS];
  clear(window, y);
  for (int32_t pixel = 0; pixel < pixels_of(window); ++pixel) {
    for (int32_t c = 0; c < channels; c += 32) {
      const int32_t count = channels - c < 32 ? channels - c : 32;
      give_to_largest(window, pixel, gradient + c, x + c, output + c, y + c, count);
    }
    gradient += channels;
    output += channels;
  }
}

void tiny_float_max_pool_gradient(const float *gradient, const float *x, const float *output,
                                  const int32_t *window, float *y) {
  const int32_t channels = window[TINY_BACK_CHANNELS];
  const int32_t taps = taps_of(window);
  clear(window, y);
  for (int32_t pixel = 0; pixel < pixels_of(window); ++pixel) {
    for (int32_t c = 0; c < channels; ++c) {
      for (int32_t tap = 0; tap < taps; ++tap) {
        const int32_t place = place_of(window, pixel, tap);
        if (place >= 0 && x[place + c] == *output) {
          y[place + c] += *gradient;
          break;
        }
      }
      ++output;
      ++gradient;
    }
  }
}
