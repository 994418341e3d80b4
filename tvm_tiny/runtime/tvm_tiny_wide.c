#include "tvm_tiny_wide.h"

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

static int32_t saturate_int32(int64_t value) {
  return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

static int16_t saturate_int16(int32_t value) { return (int16_t)tiny_clamp(value, -32768, 32767); }

/* Any sum, bias and shift. */
static int16_t scale_any(const tiny_wide_layer *layer, int32_t sum, int32_t bias,
                         const int32_t *scaling) {
  const int32_t right = tiny_max(scaling[1], 0);
  const int32_t left = tiny_max(-scaling[1], 0);
  const int64_t total = (int64_t)sum * ((int64_t)1 << layer->fraction_bits) + bias;
  const int64_t shifted = (int64_t)saturate_int32(total) * ((int64_t)1 << left);
  const int64_t product = ((int64_t)saturate_int32(shifted) * scaling[0] + (1 << 30)) >> 31;
  const int64_t half = ((int64_t)1 << right) >> 1;
  const int64_t away = layer->fraction_bits == 0 && right > 0 && product < 0;
  const int64_t scaled = (product - away + half) >> right;
  return saturate_int16(saturate_int32(scaled + layer->output_zero_point));
}

/* Where a tap's pixel begins; NULL outside the image. */
static const int8_t *tap_at(const tiny_wide_layer *l, const int8_t *data, int32_t y, int32_t x,
                            int32_t ky, int32_t kx) {
  const int32_t row = y * l->stride_y - l->top + ky * l->dilation_y;
  const int32_t column = x * l->stride_x - l->left + kx * l->dilation_x;
  const int is_inside = row >= 0 && row < l->height && column >= 0 && column < l->width;
  return is_inside ? data + (row * l->width + column) * l->depth : NULL;
}

static int32_t conv_sum(const tiny_wide_layer *l, const int8_t *data, const int8_t *weight,
                        int32_t y, int32_t x, int32_t first, int32_t depth) {
  int32_t sum = 0;
  for (int32_t ky = 0; ky < l->kernel_height; ++ky) {
    for (int32_t kx = 0; kx < l->kernel_width; ++kx) {
      const int8_t *pixel = tap_at(l, data, y, x, ky, kx);
      for (int32_t c = 0; pixel != NULL && c < depth; ++c) {
        sum += (pixel[first + c] - l->input_zero_point) * weight[c];
      }
      weight += depth;
    }
  }
  return sum;
}

void tiny_wide_conv2d(const int8_t *data, const int8_t *weight, const int32_t *bias,
                      const int32_t *scaling, const int32_t *layer, int16_t *output) {
  const tiny_wide_layer *l = (const tiny_wide_layer *)layer;
  const int32_t depth = l->depth / l->groups;
  const int32_t per_group = l->channels / l->groups;
  const int32_t taps = l->kernel_height * l->kernel_width * depth;
  for (int32_t n = 0; n < l->batch; ++n) {
    for (int32_t y = 0; y < l->output_height; ++y) {
      for (int32_t x = 0; x < l->output_width; ++x) {
        for (int32_t c = 0; c < l->channels; ++c) {
          const int32_t sum =
              conv_sum(l, data, weight + c * taps, y, x, c / per_group * depth, depth);
          *output++ = scale_any(l, sum, bias[c], scaling + 2 * c);
        }
      }
    }
    data += l->height * l->width * l->depth;
  }
}

static int32_t depthwise_sum(const tiny_wide_layer *l, const int8_t *data, const int8_t *weight,
                             int32_t y, int32_t x, int32_t first) {
  int32_t sum = 0;
  for (int32_t ky = 0; ky < l->kernel_height; ++ky) {
    for (int32_t kx = 0; kx < l->kernel_width; ++kx) {
      const int8_t *pixel = tap_at(l, data, y, x, ky, kx);
      if (pixel != NULL) {
        sum += (pixel[first] - l->input_zero_point) * *weight;
      }
      weight += l->channels;
    }
  }
  return sum;
}

void tiny_wide_depthwise_conv2d(const int8_t *data, const int8_t *weight, const int32_t *bias,
                                const int32_t *scaling, const int32_t *layer, int16_t *output) {
  const tiny_wide_layer *l = (const tiny_wide_layer *)layer;
  const int32_t per_input = l->channels / l->depth;
  for (int32_t n = 0; n < l->batch; ++n) {
    for (int32_t y = 0; y < l->output_height; ++y) {
      for (int32_t x = 0; x < l->output_width; ++x) {
        for (int32_t c = 0; c < l->channels; ++c) {
          const int32_t sum = depthwise_sum(l, data, weight + c, y, x, c / per_input);
          *output++ = scale_any(l, sum, bias[c], scaling + 2 * c);
        }
      }
    }
    data += l->height * l->width * l->depth;
  }
}

enum { A_ZERO_POINT, A_MULTIPLIER, A_SHIFT, B_ZERO_POINT, B_MULTIPLIER, B_SHIFT };
enum { SUM_ZERO_POINT = 6, SUM_MULTIPLIER, SUM_SHIFT, SUM_SIGN };

/* An operand with 20 more bits, at the scale of both. */
static int32_t raise(int32_t value, const int32_t *form) {
  return tiny_requantize((value - form[0]) * (1 << 20), form[1], form[2]);
}

void tiny_wide_add(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                   int32_t count) {
  for (int32_t i = count; i > 0; --i) {
    const int32_t left = raise(*a++, form + A_ZERO_POINT);
    const int32_t right = raise(*b++, form + B_ZERO_POINT);
    const int32_t total = form[SUM_SIGN] > 0 ? left + right : left - right;
    const int32_t scaled = tiny_requantize_any(total, form[SUM_MULTIPLIER], -form[SUM_SHIFT]);
    *output++ = saturate_int16(scaled + form[SUM_ZERO_POINT]);
  }
}

enum { FACTOR_A, FACTOR_B, PRODUCT_ZERO_POINT, PRODUCT_MULTIPLIER, PRODUCT_SHIFT };

void tiny_wide_mul(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                   int32_t count) {
  for (int32_t i = count; i > 0; --i) {
    const int32_t product = (*a++ - form[FACTOR_A]) * (*b++ - form[FACTOR_B]);
    const int32_t scaled =
        tiny_requantize_any(product, form[PRODUCT_MULTIPLIER], -form[PRODUCT_SHIFT]);
    *output++ = saturate_int16(scaled + form[PRODUCT_ZERO_POINT]);
  }
}

void tiny_truncate(const int16_t *data, int8_t *output, int32_t count, int32_t low, int32_t high) {
  for (int32_t i = 0; i < count; ++i) {
    output[i] = (int8_t)tiny_clamp(data[i], low, high);
  }
}

void tiny_in_range(const int16_t *data, uint8_t *output, int32_t count, int32_t low, int32_t high) {
  for (; count > 0; count -= 8) {
    uint32_t bits = 0;
    for (int32_t i = 0; i < 8 && i < count; ++i) {
      bits |= (uint32_t)(*data >= low && *data <= high) << i;
      ++data;
    }
    *output++ = (uint8_t)bits;
  }
}
