#include "tvm_tiny_float_layers.h"

#include "tvm_tiny_float.h"
#include "tvm_tiny_loss.h"
#include "tvm_tiny_pool_gradient.h"

TINY_SCALAR_FLOATS

enum { ERRORS_PER_SUM = 64 }; /* sums of sums are rounded less often */

void tiny_float_clip(const float *x, const float *bounds, float *y, int32_t count) {
  const float low = bounds[0];
  const float high = bounds[1];
  for (int32_t i = 0; i < count; ++i) {
    const float value = x[i];
    y[i] = value < low ? low : value > high ? high : value;
  }
}

void tiny_clip_gradient(const float *gradient, const float *clipped, const float *bounds, float *y,
                        int32_t count) {
  const float low = bounds[0];
  const float high = bounds[1];
  for (int32_t i = 0; i < count; ++i) {
    y[i] = clipped[i] > low && clipped[i] < high ? gradient[i] : 0.0f;
  }
}

/* The taps of an output pixel's window that lie inside of the image, along one axis. */
typedef struct {
  int32_t first, count, step; /* the first's place, how many, and from one to the next */
} taps;

static taps taps_of(int32_t start, int32_t dilation, int32_t size, int32_t extent) {
  taps found = {.first = start, .count = size, .step = dilation};
  while (found.count > 0 && found.first < 0) {
    found.first += dilation;
    --found.count;
  }
  while (found.count > 0 && found.first + (found.count - 1) * dilation >= extent) {
    --found.count;
  }
  return found;
}

typedef struct {
  taps rows, columns;
} pool_window;

static pool_window window_of(const int32_t *table, int32_t row, int32_t column) {
  const pool_window window = {
      taps_of(row * table[TINY_BACK_STRIDE_HEIGHT] - table[TINY_BACK_TOP],
              table[TINY_BACK_DILATION_HEIGHT], table[TINY_BACK_WINDOW_HEIGHT],
              table[TINY_BACK_HEIGHT]),
      taps_of(column * table[TINY_BACK_STRIDE_WIDTH] - table[TINY_BACK_LEFT],
              table[TINY_BACK_DILATION_WIDTH], table[TINY_BACK_WINDOW_WIDTH],
              table[TINY_BACK_WIDTH])};
  return window;
}

/* The first tap that no other exceeds. */
static void largest_of(const int32_t *table, const pool_window *window, const float *x, float *y) {
  const int32_t channels = table[TINY_BACK_CHANNELS];
  for (int32_t tap = 0; tap < window->rows.count * window->columns.count; ++tap) {
    const int32_t row = window->rows.first + tap / window->columns.count * window->rows.step;
    const int32_t column =
        window->columns.first + tap % window->columns.count * window->columns.step;
    const float *pixel = x + (row * table[TINY_BACK_WIDTH] + column) * channels;
    for (int32_t c = 0; c < channels; ++c) {
      y[c] = tap == 0 || pixel[c] > y[c] ? pixel[c] : y[c];
    }
  }
}

static void average_of(const int32_t *table, const pool_window *window, const float *x, float *y) {
  const int32_t channels = table[TINY_BACK_CHANNELS];
  const int32_t count = window->rows.count * window->columns.count;
  const float share = 1.0f / (float)count;
  for (int32_t tap = 0; tap < count; ++tap) {
    const int32_t row = window->rows.first + tap / window->columns.count * window->rows.step;
    const int32_t column =
        window->columns.first + tap % window->columns.count * window->columns.step;
    const float *pixel = x + (row * table[TINY_BACK_WIDTH] + column) * channels;
    for (int32_t c = 0; c < channels; ++c) {
      y[c] = __builtin_fmaf(pixel[c], share, tap == 0 ? 0.0f : y[c]);
    }
  }
}

typedef void pool(const int32_t *table, const pool_window *window, const float *x, float *y);

static void each_window(const int32_t *table, const float *x, float *y, pool *function) {
  for (int32_t row = 0; row < table[TINY_BACK_OUTPUT_HEIGHT]; ++row) {
    for (int32_t column = 0; column < table[TINY_BACK_OUTPUT_WIDTH]; ++column) {
      const pool_window window = window_of(table, row, column);
      function(table, &window, x, y);
      y += table[TINY_BACK_CHANNELS];
    }
  }
}

void tiny_float_max_pool(const float *x, const int32_t *window, float *y) {
  each_window(window, x, y, largest_of);
}

void tiny_float_average_pool(const float *x, const int32_t *window, float *y) {
  each_window(window, x, y, average_of);
}

static float largest(const float *values, int32_t count) {
  float found = values[0];
  for (int32_t i = 1; i < count; ++i) {
    found = values[i] > found ? values[i] : found;
  }
  return found;
}

void tiny_float_softmax(const float *x, float *y, int32_t rows, int32_t columns) {
  for (int32_t row = 0; row < rows; ++row) {
    const float top = largest(x, columns);
    float sum = 0.0f;
    for (int32_t i = 0; i < columns; ++i) {
      y[i] = tiny_exp(x[i] - top);
      sum += y[i];
    }
    for (int32_t i = 0; i < columns; ++i) {
      y[i] /= sum;
    }
    x += columns;
    y += columns;
  }
}

void tiny_float_softmax_cross_entropy(const float *logits, const int32_t *label, float *loss,
                                      int32_t count) {
  if (label[0] < 0 || label[0] >= count) {
    loss[0] = tiny_not_a_number();
    return;
  }
  const float top = largest(logits, count);
  float others = 0.0f; /* without the largest itself, whose exponential is exactly 1 */
  int32_t is_first = 1;
  for (int32_t i = 0; i < count; ++i) {
    if (is_first && logits[i] == top) {
      is_first = 0;
    } else {
      others += tiny_exp(logits[i] - top);
    }
  }
  loss[0] = tiny_log_1p(others) + (top - logits[label[0]]);
}

/* At the label, softmax - 1 is the sum of all others, negative. */
void tiny_float_softmax_cross_entropy_gradient(const float *logits, const int32_t *label,
                                               float *gradient, int32_t count) {
  const int32_t chosen = label[0];
  const int32_t is_class = chosen >= 0 && chosen < count;
  const float top = largest(logits, count);
  float others = is_class ? 0.0f : tiny_not_a_number();
  for (int32_t i = 0; i < count; ++i) {
    gradient[i] = tiny_exp(logits[i] - top);
    others += i == chosen ? 0.0f : gradient[i];
  }
  const float factor = 1.0f / (others + (is_class ? gradient[chosen] : 0.0f));
  for (int32_t i = 0; i < count; ++i) {
    gradient[i] *= factor;
  }
  if (is_class) {
    gradient[chosen] = -(others * factor);
  }
}

void tiny_float_mean_squared_error(const float *output, const float *target, float *loss,
                                   int32_t count) {
  float total = 0.0f;
  for (int32_t first = 0; first < count; first += ERRORS_PER_SUM) {
    const int32_t end = first + ERRORS_PER_SUM < count ? first + ERRORS_PER_SUM : count;
    float sum = 0.0f;
    for (int32_t i = first; i < end; ++i) {
      const float error = output[i] - target[i];
      sum = __builtin_fmaf(error, error, sum);
    }
    total += sum;
  }
  loss[0] = total / (float)count;
}

void tiny_float_mean_squared_error_gradient(const float *output, const float *target,
                                            float *gradient, int32_t count) {
  const float factor = 2.0f / (float)count;
  for (int32_t i = 0; i < count; ++i) {
    gradient[i] = factor * (output[i] - target[i]);
  }
}
