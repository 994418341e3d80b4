#include "tvm_tiny_wide_scale.h"

/* Sums and biases so small that nothing has to be saturated, of layers that round once. */
static int is_small(const tiny_wide_layer *layer, int32_t sum, int32_t bias, int32_t right) {
  const int32_t limit = 1 << 29;
  const int32_t of_sums = limit >> layer->fraction_bits;
  return layer->fraction_bits > 0 && sum < of_sums && sum > -of_sums && bias < limit &&
         bias > -limit && right >= 0 && right <= TINY_WIDE_LARGEST_SHIFT;
}

int16_t tiny_wide_scale_any(const tiny_wide_layer *layer, int32_t sum, int32_t bias,
                            const int32_t *row) {
  if (is_small(layer, sum, bias, row[1])) {
    const int32_t small = sum * (1 << layer->fraction_bits) + bias;
    const int32_t rounded = tiny_requantize_half_up(small, row[0], row[1]);
    return tiny_saturate_int16(rounded + layer->output_zero_point);
  }
  const int32_t right = tiny_max(row[1], 0);
  const int32_t left = tiny_max(-row[1], 0);
  const int64_t total = (int64_t)sum * ((int64_t)1 << layer->fraction_bits) + bias;
  const int64_t shifted = (int64_t)tiny_wide_saturate(total) * ((int64_t)1 << left);
  const int64_t product = ((int64_t)tiny_wide_saturate(shifted) * row[0] + (1 << 30)) >> 31;
  const int64_t half = ((int64_t)1 << right) >> 1;
  const int64_t away = layer->fraction_bits == 0 && right > 0 && product < 0;
  const int64_t scaled = (product - away + half) >> right;
  return tiny_saturate_int16(tiny_wide_saturate(scaled + layer->output_zero_point));
}
