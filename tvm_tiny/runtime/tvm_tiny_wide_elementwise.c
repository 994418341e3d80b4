/* Sums and products to int16, and what becomes of int16. */
#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"
#include "tvm_tiny_wide.h"
#include "tvm_tiny_wide_scale.h"

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
    *output++ = tiny_saturate_int16(scaled + form[SUM_ZERO_POINT]);
  }
}

enum { FACTOR_A, FACTOR_B, PRODUCT_ZERO_POINT, PRODUCT_MULTIPLIER, PRODUCT_SHIFT };

void tiny_wide_mul(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                   int32_t count) {
  for (int32_t i = count; i > 0; --i) {
    const int32_t product = (*a++ - form[FACTOR_A]) * (*b++ - form[FACTOR_B]);
    const int32_t scaled =
        tiny_requantize_any(product, form[PRODUCT_MULTIPLIER], -form[PRODUCT_SHIFT]);
    *output++ = tiny_saturate_int16(scaled + form[PRODUCT_ZERO_POINT]);
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
