/* Fixed-point helpers that generated kernels use. The arithmetic is that of TensorFlow Lite's
 * integer reference (gemmlowp), rounded twice: results are the same bits.
 */
#ifndef TVM_TINY_H
#define TVM_TINY_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TINY_STATIC_ASSERT(condition, name) typedef char tiny_assert_##name[(condition) ? 1 : -1]

/* Constants of the model go to a section of their own, so that reports can tell them from code. */
#if defined(__ELF__)
#define TINY_WEIGHTS __attribute__((section(".rodata.weights"), aligned(4)))
#else
#define TINY_WEIGHTS
#endif

/* Layers stay functions of their own, even equal ones: profilers and fault reports name them. */
#if defined(__GNUC__) && !defined(__clang__)
#define TINY_LAYER __attribute__((noinline, noclone, no_icf))
#else
#define TINY_LAYER __attribute__((noinline))
#endif

/* Compilers would call a library function instead of a loop that copies. */
#if defined(__GNUC__)
#define TINY_KEEP_LOOP(pointer) __asm__("" : "+r"(pointer))
#else
#define TINY_KEEP_LOOP(pointer) (void)(pointer)
#endif

static inline int32_t tiny_max(int32_t a, int32_t b) { return a > b ? a : b; }

static inline int32_t tiny_min(int32_t a, int32_t b) { return a < b ? a : b; }

static inline int32_t tiny_clamp(int32_t value, int32_t low, int32_t high) {
  return tiny_min(tiny_max(value, low), high);
}

/* Bytes of any alignment, a word at a time; library functions of small systems go byte by byte. */
static inline void tiny_copy_block(void *to, const void *from, int32_t count) {
  uint8_t *target = (uint8_t *)to;
  const uint8_t *source = (const uint8_t *)from;
  for (; count >= 8; count -= 8) {
    uint32_t words[2];
    memcpy(words, source, sizeof words);
    memcpy(target, words, sizeof words);
    source += 8;
    target += 8;
    TINY_KEEP_LOOP(source);
  }
  for (; count > 0; --count) {
    *target++ = *source++;
    TINY_KEEP_LOOP(source);
  }
}

/* The same for bytes that may lie where they should. */
static inline void tiny_move_block(void *to, const void *from, int32_t count) {
  if (to != from) {
    tiny_copy_block(to, from, count);
  }
}

/* Clamp values in place, for layers whose range is less than int8's. */
static inline void tiny_clamp_bytes(int8_t *values, int32_t count, int32_t low, int32_t high) {
  for (const int8_t *end = values + count; values < end; ++values) {
    *values = (int8_t)tiny_clamp(*values, low, high);
  }
}

/* Cores whose only multiply keeps 32 bits: a library function would make products of 64. */
#if defined(__thumb__) && !defined(__thumb2__)
#define TINY_HAS_SHORT_MULTIPLY 1
#else
#define TINY_HAS_SHORT_MULTIPLY 0
#endif

/* The same as tiny_high_mul, from four products of halves. */
static inline int32_t tiny_high_mul_of_halves(int32_t a, int32_t b) {
  const int32_t a_low = a & 0xffff;
  const int32_t b_low = b & 0xffff;
  const uint32_t low = (uint32_t)a_low * (uint32_t)b_low;
  /* both stay within 32 bits: halves are below 2^16, and above at most 2^15 in magnitude */
  const int32_t crossed = (a >> 16) * b_low + (int32_t)(low >> 16);
  const int32_t middle = a_low * (b >> 16) + (crossed & 0xffff);
  const int32_t high = (a >> 16) * (b >> 16) + (crossed >> 16) + (middle >> 16);
  /* twice the product, and its rounding: bits 30 and 31 of the low word are those of `middle` */
  const uint32_t rest = (uint32_t)middle >> 14 & 3u;
  return (int32_t)(((uint32_t)high << 1) + ((rest + 1u) >> 1));
}

/* (2ab + 2^31) >> 32: gemmlowp's SaturatingRoundingDoublingHighMul, a = b = INT32_MIN aside. */
static inline int32_t tiny_high_mul(int32_t a, int32_t b) {
#if TINY_HAS_SHORT_MULTIPLY
  return tiny_high_mul_of_halves(a, b);
#else
  return (int32_t)(((int64_t)a * b + ((int64_t)1 << 30)) >> 31);
#endif
}

/* value / 2^exponent, halves away from zero: gemmlowp's RoundingDivideByPOT. */
static inline int32_t tiny_round_shift(int32_t value, int32_t exponent) {
  const int32_t mask = (int32_t)((1u << exponent) - 1u);
  const int32_t threshold = (mask >> 1) + (value < 0);
  return (value >> exponent) + ((value & mask) > threshold);
}

/* acc * multiplier * 2^-(31 + shift), rounded twice. The compiler of the model has proved
 * |acc| < 2^30, so that on cores with DSP instructions one multiply of the doubled accumulator
 * yields the same: (2acc * m + 2^31) >> 32.
 */
static inline int32_t tiny_requantize(int32_t acc, int32_t multiplier, int32_t shift) {
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
  int32_t product;
  __asm__("smmulr %0, %1, %2" : "=r"(product) : "r"(acc * 2), "r"(multiplier));
#else
  const int32_t product = tiny_high_mul(acc, multiplier);
#endif
  /* tiny_round_shift in three instructions; |product| < 2^30 leaves room for the half. */
  const int32_t half = (int32_t)((1u << shift) >> 1);
  const int32_t sign = shift > 0 ? product >> 31 : 0;
  return (product + sign + half) >> shift;
}

/* The same for a shift to either side, left when positive. */
static inline int32_t tiny_requantize_any(int32_t acc, int32_t multiplier, int32_t shift) {
  const int32_t left = tiny_max(shift, 0);
  const int32_t shifted = (int32_t)((uint32_t)acc << left);
  return tiny_requantize(shifted, multiplier, tiny_max(-shift, 0));
}

/* (doubled * multiplier + 2^31) >> 32 */
static inline int32_t tiny_high_mul_doubled(int32_t doubled, int32_t multiplier) {
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
  int32_t product;
  __asm__("smmulr %0, %1, %2" : "=r"(product) : "r"(doubled), "r"(multiplier));
  return product;
#else
  return (int32_t)(((int64_t)doubled * multiplier + ((int64_t)1 << 31)) >> 32);
#endif
}

/* doubled * multiplier * 2^-(32 + shift), rounded twice, plus a zero point: `offset` is
 * 2^(shift - 1) + (zero point << shift), and shift is positive. |doubled| < 2^31.
 */
static inline int32_t tiny_scale(int32_t doubled, int32_t multiplier, int32_t offset,
                                 int32_t shift) {
  const int32_t product = tiny_high_mul_doubled(doubled, multiplier);
  return (product + (product >> 31) + offset) >> shift;
}

/* The same where shift may be zero too, and `offset` then is the zero point alone. */
static inline int32_t tiny_scale_any(int32_t doubled, int32_t multiplier, int32_t offset,
                                     int32_t shift) {
  const int32_t product = tiny_high_mul_doubled(doubled, multiplier);
  const int32_t sign = shift > 0 ? product >> 31 : 0;
  return (product + sign + offset) >> shift;
}

/* The same, halves up. */
static inline int32_t tiny_scale_half_up(int32_t doubled, int32_t multiplier, int32_t offset,
                                         int32_t shift) {
  return (tiny_high_mul_doubled(doubled, multiplier) + offset) >> shift;
}

/* scaled * multiplier * 2^-(32 + shift), floored once: exact where all roundings are halves up, with
 * all their halves in `offset`.
 */
static inline int32_t tiny_scale_floored(int32_t scaled, int32_t multiplier, int32_t offset,
                                         int32_t shift) {
  return ((int32_t)(((int64_t)scaled * multiplier) >> 32) + offset) >> shift;
}

/* As above for |acc| < 2^31. */
static inline int32_t tiny_requantize_wide(int32_t acc, int32_t multiplier, int32_t shift) {
  return tiny_round_shift(tiny_high_mul(acc, multiplier), shift);
}

static inline int32_t tiny_requantize_wide_any(int32_t acc, int32_t multiplier, int32_t shift) {
  const int32_t left = tiny_max(shift, 0);
  const int32_t shifted = (int32_t)((uint32_t)acc << left);
  return tiny_requantize_wide(shifted, multiplier, tiny_max(-shift, 0));
}

/* acc * multiplier * 2^-(31 + shift), the last halves up: for sources that round once. */
static inline int32_t tiny_requantize_half_up(int32_t acc, int32_t multiplier, int32_t shift) {
  return (tiny_high_mul_doubled(acc * 2, multiplier) + (int32_t)((1u << shift) >> 1)) >> shift;
}

static inline int32_t tiny_requantize_half_up_wide(int32_t acc, int32_t multiplier,
                                                   int32_t shift) {
  return (tiny_high_mul(acc, multiplier) + (int32_t)((1u << shift) >> 1)) >> shift;
}

/* total / count, halves away from zero. */
static inline int32_t tiny_round_divide(int32_t total, int32_t count) {
  return total >= 0 ? (total + count / 2) / count : (total - count / 2) / count;
}

/* round(value / scale) + zero_point as int8, halves away from zero, saturating. */
static inline int32_t tiny_quantize(float value, float scale, int32_t zero_point) {
  float scaled = value / scale;
  scaled = scaled < 1024.0f ? scaled : 1024.0f; /* NaN too */
  scaled = scaled > -1024.0f ? scaled : -1024.0f;
  const int32_t whole = (int32_t)scaled;
  const float rest = scaled - (float)whole; /* exact */
  const int32_t rounded = whole + (rest >= 0.5f) - (rest <= -0.5f);
  return tiny_clamp(rounded + zero_point, -128, 127);
}

/* Zeros before the first one of a positive value. */
static inline int32_t tiny_leading_zeros(int32_t value) {
  int32_t zeros = 0;
  for (uint32_t bits = (uint32_t)value; (bits & 0x80000000u) == 0u; bits <<= 1) {
    ++zeros;
  }
  return zeros;
}

/* value * 4 with saturation. */
static inline int32_t tiny_saturating_times_4(int32_t value) {
  return value > INT32_MAX / 4 ? INT32_MAX : value < INT32_MIN / 4 ? INT32_MIN : value * 4;
}

/* 2^k / total in Q0.31 for a sum of exponentials in Q12.19: gemmlowp's GetReciprocal, that is
 * three steps of Newton and Raphson towards 1 / (1 + x) from 48/17 - 32/17 * d.
 */
static inline int32_t tiny_reciprocal(int32_t total) {
  const uint32_t mantissa = (uint32_t)total << tiny_leading_zeros(total);
  const int32_t half_denominator = (int32_t)(mantissa >> 1);
  int32_t x = 1515870810 + tiny_high_mul(half_denominator, -1010580540);
  for (int step = 0; step < 3; ++step) {
    const int32_t error = (1 << 29) - tiny_high_mul(half_denominator, x);
    x += tiny_saturating_times_4(tiny_high_mul(x, error));
  }
  return x > INT32_MAX / 2 ? INT32_MAX : x * 2;
}

/* How far the product of an exponential and the reciprocal is to be shifted for int8 output. */
static inline int32_t tiny_reciprocal_shift(int32_t total) {
  return 12 - tiny_leading_zeros(total) + 31 - 8;
}

/* exponential * reciprocal * 2^-(31 + shift), rounded twice: neither is negative, so that floors and
 * halves of both are one floor. The shift is 1 to 32.
 */
static inline int32_t tiny_share(int32_t exponential, int32_t reciprocal, int32_t shift) {
  const uint64_t halves = ((uint64_t)1 << 30) + ((uint64_t)1 << (30 + shift));
  const uint64_t product = (uint64_t)(uint32_t)exponential * (uint32_t)reciprocal;
  return (int32_t)((product + halves) >> 32) >> (shift - 1);
}

#endif /* TVM_TINY_H */
