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

/* A channel's row. A shift of zero to the right is usual only where halves are not rounded away from
 * zero.
 */
enum { TINY_WIDE_MULTIPLIER, TINY_WIDE_RIGHT, TINY_WIDE_ROW };

/* What a layer's channels have in common. */
typedef struct tiny_wide_rule {
  int32_t reach; /* of biases with which no sum reaches 2^30; negative if there are none */
  int32_t fraction_bits;
  int32_t doubled_offset; /* 2 * zero point + 1: a half and the zero point, once it is shifted */
} tiny_wide_rule;

/* What a channel's accumulators, which are twice the sums, become int16 by. Channels whose sums can
 * reach 2^30 or that shift to the left have a multiplier of zero: see tiny_wide_scale_any.
 */
typedef struct tiny_wide_scaling {
  int32_t multiplier, offset, right, fraction_bits;
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

static inline tiny_wide_rule tiny_wide_rule_of(const tiny_wide_layer *layer) {
  const int64_t products = (int64_t)(layer->taps * TINY_WIDE_LARGEST_PRODUCT)
                           << layer->fraction_bits;
  const tiny_wide_rule rule = {tiny_wide_saturate((1 << 30) - 1 - products),
                               layer->fraction_bits, 2 * layer->output_zero_point + 1};
  return rule;
}

/* A half and the zero point, both shifted to the left by a usual shift. */
static inline int32_t tiny_wide_offset(int32_t doubled_offset, int32_t right) {
  return doubled_offset * (1 << right) >> 1;
}

static inline int tiny_wide_is_usual(const tiny_wide_rule *rule, int32_t bias,
                                     const int32_t *row) {
  const uint32_t reach = (uint32_t)rule->reach;
  const int32_t right = row[TINY_WIDE_RIGHT];
  return rule->reach >= 0 && (uint32_t)bias + reach <= 2 * reach &&
         right >= (rule->fraction_bits == 0) && right <= TINY_WIDE_LARGEST_SHIFT;
}

static inline tiny_wide_scaling tiny_wide_scaling_of(const tiny_wide_rule *rule, int32_t bias,
                                                     const int32_t *row) {
  tiny_wide_scaling scaling = {0, 0, 0, 0};
  if (tiny_wide_is_usual(rule, bias, row)) {
    scaling.multiplier = row[TINY_WIDE_MULTIPLIER];
    scaling.right = row[TINY_WIDE_RIGHT];
    scaling.offset = tiny_wide_offset(rule->doubled_offset, scaling.right);
    scaling.fraction_bits = rule->fraction_bits;
  }
  return scaling;
}

/* Of usual channels. Where halves are rounded away from zero, the doubled sum's sign is as good as
 * the product's, since a product of zero rounds to zero with or without it.
 */
static inline int16_t tiny_wide_scale(const tiny_wide_scaling *scaling, int32_t doubled,
                                      int32_t doubled_bias) {
  const int32_t total = doubled * (1 << scaling->fraction_bits) + doubled_bias;
  const int32_t sign = scaling->fraction_bits == 0 ? total >> 31 : 0;
  const int32_t scaled = tiny_high_mul_doubled(total, scaling->multiplier);
  return tiny_saturate_int16((scaled + sign + scaling->offset) >> scaling->right);
}

/* Of any channel: `sum` is without the bias. */
int16_t tiny_wide_scale_any(const tiny_wide_layer *layer, int32_t sum, int32_t bias,
                            const int32_t *row);

#endif /* TVM_TINY_WIDE_SCALE_H */
