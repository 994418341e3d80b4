#include "tvm_tiny_backward.h"

#include "tvm_tiny.h"
#include "tvm_tiny_float.h"
#include "tvm_tiny_float_runs.h"

TINY_SCALAR_FLOATS

enum { EIGHT = 8, SIXTEEN = 16, COPIES = 64 };

static int32_t bit_of(const uint8_t *mask, int32_t number) {
  return mask[number / 8] >> (number % 8) & 1;
}

/* Channels whose masks begin with a byte, a multiple of eight of them. */
static void multiply_aligned(const float *gradient, const uint8_t *mask, const float *scale,
                             float *y, int32_t pixels, int32_t channels) {
  for (; pixels > 0; --pixels) {
    const float *factors = scale;
    if (channels >= SIXTEEN) {
      tiny_multiply_masked(&gradient, &factors, &y, &mask, channels / SIXTEEN);
    }
    if (channels % SIXTEEN != 0) {
      tiny_multiply_some(&gradient, &factors, &y, *mask++);
    }
  }
}

static void repeat(float value, float *copies, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    copies[i] = value;
  }
}

/* One scale for all: some copies of it, then what is left. */
static void multiply_alike(const float *gradient, const uint8_t *mask, float scale, float *y,
                           int32_t count) {
  const int32_t blocks = count / COPIES;
  float copies[COPIES];
  repeat(scale, copies, COPIES);
  multiply_aligned(gradient, mask, copies, y, blocks, COPIES);
  for (int32_t i = blocks * COPIES; i < count; ++i) {
    y[i] = bit_of(mask, i) ? gradient[i] * scale : 0.0f;
  }
}

void tiny_mask_gradient(const float *gradient, const uint8_t *mask, float *y, int32_t count) {
  multiply_alike(gradient, mask, 1.0f, y, count);
}

void tiny_masked_scale(const float *gradient, const uint8_t *mask, const float *scale, float *y,
                       int32_t pixels, int32_t channels) {
  if (channels == 1) {
    multiply_alike(gradient, mask, scale[0], y, pixels);
    return;
  }
  if (channels % EIGHT == 0) {
    multiply_aligned(gradient, mask, scale, y, pixels, channels);
    return;
  }
  for (int32_t pixel = 0, i = 0; pixel < pixels; ++pixel) {
    for (int32_t c = 0; c < channels; ++c, ++i) {
      y[i] = bit_of(mask, i) ? gradient[i] * scale[c] : 0.0f;
    }
  }
}

static void reals_of_rows(const int32_t *scaling, float factor, float *scale, int32_t channels) {
  for (int32_t c = 0; c < channels; ++c) {
    scale[c] = tiny_real_of_row(scaling + 2 * c) * factor;
  }
}

void tiny_masked_scale_by_rows(const float *gradient, const uint8_t *mask, const int32_t *scaling,
                               const float *factor, float *scratch, float *y, int32_t pixels,
                               int32_t channels) {
  reals_of_rows(scaling, factor[0], scratch, channels);
  tiny_masked_scale(gradient, mask, scratch, y, pixels, channels);
}

void tiny_scale_gradient_by_rows(const float *gradient, const int32_t *scaling,
                                 const float *factor, float *scratch, float *y, int32_t pixels,
                                 int32_t channels) {
  reals_of_rows(scaling, factor[0], scratch, channels);
  tiny_scale_gradient(gradient, scratch, y, pixels, channels);
}

static void multiply(const float *gradient, const float *scale, float *y, int32_t count) {
  for (; count >= EIGHT; count -= EIGHT) {
    tiny_multiply_eight(&gradient, &scale, &y);
  }
  for (; count > 0; --count) {
    *y++ = *gradient++ * *scale++;
  }
}

void tiny_scale_gradient(const float *gradient, const float *scale, float *y, int32_t pixels,
                         int32_t channels) {
  if (channels == 1) {
    float copies[EIGHT];
    repeat(scale[0], copies, EIGHT);
    for (; pixels > 0; pixels -= EIGHT) {
      const int32_t count = tiny_min(EIGHT, pixels);
      multiply(gradient, copies, y, count);
      gradient += count;
      y += count;
    }
    return;
  }
  for (; pixels > 0; --pixels) {
    multiply(gradient, scale, y, channels);
    gradient += channels;
    y += channels;
  }
}

void tiny_add_gradients(const float *a, const float *b, float *y, int32_t count) {
  for (; count >= SIXTEEN; count -= SIXTEEN) {
    tiny_add_sixteen(&a, &b, &y);
  }
  for (; count > 0; --count) {
    *y++ = *a++ + *b++;
  }
}

void tiny_add_rows(const float *x, const float *row, float *y, int32_t rows, int32_t count) {
  if (count == 1) {
    float copies[SIXTEEN];
    repeat(row[0], copies, SIXTEEN);
    for (; rows > 0; rows -= SIXTEEN) {
      const int32_t some = tiny_min(SIXTEEN, rows);
      tiny_add_gradients(x, copies, y, some);
      x += some;
      y += some;
    }
    return;
  }
  for (; rows > 0; --rows) {
    tiny_add_gradients(x, row, y, count);
    x += count;
    y += count;
  }
}

void tiny_bias_gradient(const float *gradient, float *y, int32_t pixels, int32_t channels) {
  for (int32_t c = 0; c < channels; c += SIXTEEN) {
    tiny_sum_rows(gradient, channels, pixels, c, tiny_min(SIXTEEN, channels - c), y + c);
  }
}

void tiny_mean_gradient(const float *gradient, const float *factor, float *y, int32_t outer,
                        int32_t count, int32_t inner) {
  for (int32_t part = 0; part < outer; ++part) {
    const float *first = y;
    for (int32_t i = 0; i < inner; ++i) {
      *y++ = *gradient++ * factor[0];
    }
    for (int32_t copy = 1; copy < count; ++copy) {
      tiny_copy_floats(y, first, inner);
      y += inner;
    }
  }
}

void tiny_lookup_gradient(const float *gradient, const int8_t *x, const float *table, float *y,
                          int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    y[i] = gradient[i] * table[x[i] + 128];
  }
}

static float block_sum(const float *gradient, int32_t row_step, int32_t rows, int32_t columns,
                       int32_t channels) {
  float sum = 0.0f;
  for (int32_t row = 0; row < rows; ++row) {
    for (int32_t column = 0; column < columns; ++column) {
      sum += gradient[row * row_step + column * channels];
    }
  }
  return sum;
}

void tiny_resize_gradient(const float *gradient, float *y, int32_t batch, int32_t height,
                          int32_t width, int32_t channels, int32_t rows, int32_t columns) {
  const int32_t row_step = width * columns * channels;
  for (int32_t row = 0; row < batch * height; ++row) {
    for (int32_t column = 0; column < width; ++column) {
      const float *block = gradient + row * rows * row_step + column * columns * channels;
      for (int32_t c = 0; c < channels; ++c) {
        *y++ = block_sum(block + c, row_step, rows, columns, channels);
      }
    }
  }
}

void tiny_slice_gradient(const float *gradient, const int32_t *slice, float *y) {
  const int32_t *size = slice;
  const int32_t *begin = slice + 4;
  const int32_t *shape = slice + 8;
  for (int32_t n = begin[0]; n < begin[0] + shape[0]; ++n) {
    for (int32_t row = begin[1]; row < begin[1] + shape[1]; ++row) {
      for (int32_t column = begin[2]; column < begin[2] + shape[2]; ++column) {
        const int32_t pixel = (n * size[1] + row) * size[2] + column;
        tiny_copy_floats(y, gradient + pixel * size[3] + begin[3], shape[3]);
        y += shape[3];
      }
    }
  }
}
