#include "tvm_tiny_quantize_integer.h"

#include "tvm_tiny.h"

/* What is closer to a half than this, of 2^20, is divided as floats are. */
enum { FRACTION_BITS = 20, MARGIN = 64 };

/* Values that are too small or too large to be divided. */
static int32_t quantize_outside(uint32_t bits, uint32_t least, int32_t zero_point) {
  const uint32_t magnitude = bits & 0x7fffffffu;
  if (magnitude < least) {
    return zero_point;
  }
  return bits >> 31 && magnitude <= 0x7f800000u ? -128 : 127;
}

void tiny_quantize_integer(const float *x, int32_t count, const int32_t *table, float scale,
                           int32_t zero_point, int8_t *y) {
  const uint32_t inverse = (uint32_t)table[TINY_QUANTIZE_INVERSE];
  const uint32_t exponent = (uint32_t)table[TINY_QUANTIZE_EXPONENT];
  const uint32_t least = (uint32_t)table[TINY_QUANTIZE_LEAST];
  const uint32_t range = (uint32_t)table[TINY_QUANTIZE_RANGE];
  for (const float *end = x + count; x < end; ++x, ++y) {
    uint32_t bits;
    memcpy(&bits, x, sizeof bits);
    const uint32_t magnitude = bits & 0x7fffffffu;
    if (magnitude - least >= range) {
      *y = (int8_t)quantize_outside(bits, least, zero_point);
      continue;
    }
    const uint32_t mantissa = magnitude << 8 | 0x80000000u;
    const uint32_t quotient = (uint32_t)(((uint64_t)mantissa * inverse) >> 32);
    /* |x| / scale, with a half */
    const uint32_t fixed = (quotient >> (exponent - (magnitude >> 23))) + (1u << (FRACTION_BITS - 1));
    int32_t whole = (int32_t)(fixed >> FRACTION_BITS);
    if (((fixed + MARGIN) & ((1u << FRACTION_BITS) - 2 * MARGIN)) == 0) {
      *y = (int8_t)tiny_quantize(*x, scale, zero_point);
      continue;
    }
    whole = bits >> 31 ? -whole : whole;
    *y = (int8_t)tiny_clamp(whole + zero_point, -128, 127);
  }
}
