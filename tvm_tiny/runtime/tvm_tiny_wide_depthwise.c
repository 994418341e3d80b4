/* Depthwise convolutions to int16. */
#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"
#include "tvm_tiny_wide.h"
#include "tvm_tiny_wide_scale.h"

/* Where a tap's pixel begins; NULL outside the image. */
static const int8_t *tap_at(const tiny_wide_layer *l, const int8_t *data, int32_t y, int32_t x,
                            int32_t ky, int32_t kx) {
  const int32_t row = y * l->stride_y - l->top + ky * l->dilation_y;
  const int32_t column = x * l->stride_x - l->left + kx * l->dilation_x;
  const int is_inside = row >= 0 && row < l->height && column >= 0 && column < l->width;
  return is_inside ? data + (row * l->width + column) * l->depth : NULL;
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
          *output++ = tiny_wide_scale_any(l, sum, bias[c], scaling + 2 * c);
        }
      }
    }
    data += l->height * l->width * l->depth;
  }
}
