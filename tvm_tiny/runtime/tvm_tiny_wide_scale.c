#include "tvm_tiny_wide_scale.h"

int16_t tiny_wide_scale_any(const tiny_wide_layer *layer, int32_t sum, int32_t bias,
                            const int32_t *row) {
  const int32_t right = tiny_max(row[TINY_WIDE_RIGHT], 0);
  const int32_t left = tiny_max(-row[TINY_WIDE_RIGHT], 0);
  const int64_t total = (int64_t)sum * ((int64_t)1 << layer->fraction_bits) + bias;
  const int64_t shifted = (int64_t)tiny_wide_saturate(total) * ((int64_t)1 << left);
  const int64_t product = ((int64_t)tiny_wide_saturate(shifted) * row[TINY_WIDE_MULTIPLIER] + (1 << 30)) >> 31;
  const int64_t half = ((int64_t)1 << right) >> 1;
  const int64_t away = layer->fraction_bits == 0 && right > 0 && product < 0;
  const int64_t scaled = (product - away + half) >> right;
  return tiny_saturate_int16(tiny_wide_saturate(scaled + layer->output_zero_point));
}
