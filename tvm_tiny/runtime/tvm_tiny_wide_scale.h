/* How sums of products become int16. */
#ifndef TVM_TINY_WIDE_SCALE_H
#define TVM_TINY_WIDE_SCALE_H

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"
#include "tvm_tiny_wide.h"

enum {
  TINY_WIDE_LARGEST_SHIFT = 22, /* zero points so shifted, and products of 2^30, fit a word */
  TINY_WIDE_LARGEST_PRODUCT = 128 * 255
};

/* What a channel's accumulators, which are twice the sums, become int16 by. Channels whose sums can
 * reach 2^30, shift to the left or round once have a multiplier of zero: see tiny_wide_scale_any.
 */
typedef struct tiny_wide_scaling {
  int32_t multiplier, offset, right;
} tiny_wide_scaling;

static inline int32_t tiny_wide_saturate(int64_t value) {
  return value > INT32_MAX ? INT32_MAX : value < INT32_MIN ? INT32_MIN : (int32_t)value;
}

static inline int16_t tiny_saturate_int16(int32_t value) {
#if TINY_HAS_DSP
  int32_t result;
  __asm__("ssat %0, #16, %1" : "=r"(result) : "r"(value));
  return (int16_t)result;
#else
  return (int16_t)tiny_clamp(value, -32768, 32767);
#endif
}

/* `row`: multiplier, and shift to the right. */
static inline tiny_wide_scaling tiny_wide_scaling_of(const tiny_wide_layer *layer, int32_t bias,
                                                     const int32_t *row) {
  const int32_t right = row[1];
  const int32_t reach = (1 << 30) - 1 - layer->taps * TINY_WIDE_LARGEST_PRODUCT;
  const int is_usual = layer->fraction_bits == 0 && bias <= reach && bias >= -reach &&
                       right >= 1 && right <= TINY_WIDE_LARGEST_SHIFT;
  tiny_wide_scaling scaling = {0, 0, 0};
  if (is_usual) {
    scaling.multiplier = row[0];
    scaling.offset = (int32_t)(1u << right >> 1) + layer->output_zero_point * (1 << right);
    scaling.right = right;
  }
  return scaling;
}

/* Of usual channels: the doubled sum's sign is as good as the product's, since a product of zero
 * rounds to zero with or without it.
 */
static inline int16_t tiny_wide_scale(const tiny_wide_scaling *scaling, int32_t doubled) {
  const int32_t offset = scaling->offset + (doubled >> 31);
  const int32_t scaled = tiny_high_mul_doubled(doubled, scaling->multiplier) + offset;
  return tiny_saturate_int16(scaled >> scaling->right);
}

/* Of any channel: `sum` is without the bias. */
int16_t tiny_wide_scale_any(const tiny_wide_layer *layer, int32_t sum, int32_t bias,
                            const int32_t *row);

#endif /* TVM_TINY_WIDE_SCALE_H */
