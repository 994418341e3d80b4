/* float32 with the same bits on all machines: to be compiled without contraction, so that products
 * and sums are fused only where fmaf says so, and without functions of a mathematical library, but
 * for square roots, which are correctly rounded everywhere.
 */
#ifndef TVM_TINY_FLOAT_H
#define TVM_TINY_FLOAT_H

#include <stdint.h>
#include <string.h>

/* Helium's floats flush what is subnormal to zero, which other units do not: loops over floats are
 * not to become vectors. Sources say so themselves, by TINY_SCALAR_FLOATS before their functions.
 */
#if defined(__GNUC__) && !defined(__clang__) && defined(__ARM_FEATURE_MVE)
#define TINY_SCALAR_FLOATS _Pragma("GCC optimize (\"no-tree-vectorize\")")
#else
#define TINY_SCALAR_FLOATS
#endif

/* Arithmetic of single precision in hardware. */
#if defined(__ARM_FP) && (__ARM_FP & 4) && defined(__GNUC__)
#define TINY_HAS_FPU 1
#else
#define TINY_HAS_FPU 0
#endif

static inline uint32_t tiny_float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float tiny_float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/* multiplier * 2^(-31 - right), for a row of (multiplier, shift to the right). */
static inline float tiny_real_of_row(const int32_t *row) {
  return (float)row[0] * tiny_float_of_bits((uint32_t)(127 - 31 - row[1]) << 23);
}

/* The NaN of results that do not exist. */
static inline float tiny_not_a_number(void) { return tiny_float_of_bits(0x7fc00000u); }

/* Neither NaN nor infinite. */
static inline int32_t tiny_is_finite(float value) {
  return (tiny_float_bits(value) & 0x7f800000u) != 0x7f800000u;
}

static inline float tiny_square_root(float value) {
#if TINY_HAS_FPU
  float root;
  __asm__("vsqrt.f32 %0, %1" : "=t"(root) : "t"(value));
  return root;
#else
  return __builtin_sqrtf(value);
#endif
}

/* Nearest integer, halves to even; saturates, and 0 for NaN. */
static inline int32_t tiny_round_even(float value) {
#if TINY_HAS_FPU
  int32_t bits;
  __asm__("vcvtr.s32.f32 %0, %0" : "+t"(value));
  memcpy(&bits, &value, sizeof bits);
  return bits;
#else
  const float whole = 8388608.0f; /* 2^23: beyond it there are no fractions */
  if (!(value < 2147483648.0f)) {
    return value != value ? 0 : INT32_MAX;
  }
  if (value <= -2147483648.0f) {
    return INT32_MIN;
  }
  if (value >= whole || value <= -whole) {
    return (int32_t)value;
  }
  const float rounded = value < 0.0f ? (value - whole) + whole : (value + whole) - whole;
  return (int32_t)rounded;
#endif
}

static inline int32_t tiny_saturating_subtract(int32_t a, int32_t b) {
#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
  int32_t difference;
  __asm__("qsub %0, %1, %2" : "=r"(difference) : "r"(a), "r"(b));
  return difference;
#else
  const int64_t difference = (int64_t)a - b;
  const int64_t at_least = difference < INT32_MIN ? INT32_MIN : difference;
  return (int32_t)(at_least > INT32_MAX ? INT32_MAX : at_least);
#endif
}

/* One step of an int8 parameter: parameter - factor * gradient, each rounded to float, and then to
 * the nearest integer, halves to even, from -limit to limit. A factor or a gradient that is not
 * finite changes nothing, here and below.
 */
static inline int8_t tiny_step_int8(int8_t parameter, float factor, float gradient, int32_t limit) {
  if (!tiny_is_finite(factor) || !tiny_is_finite(gradient)) {
    return parameter;
  }
  const float step = factor * gradient;
  const int32_t moved = tiny_round_even((float)parameter - step);
  return (int8_t)(moved < -limit ? -limit : moved > limit ? limit : moved);
}

/* The same of int32, of which float does not hold all: the step is rounded alone, halves to even,
 * and taken as an integer.
 */
static inline int32_t tiny_step_int32(int32_t parameter, float factor, float gradient,
                                      int32_t limit) {
  if (!tiny_is_finite(factor) || !tiny_is_finite(gradient)) {
    return parameter;
  }
  const int32_t moved = tiny_saturating_subtract(parameter, tiny_round_even(factor * gradient));
  return moved < -limit ? -limit : moved > limit ? limit : moved;
}

/* The same of float: what would not be finite stays. */
static inline float tiny_step_float(float parameter, float factor, float gradient) {
  const float step = factor * gradient;
  const float moved = parameter - step;
  return tiny_is_finite(moved) ? moved : parameter;
}

#endif /* TVM_TINY_FLOAT_H */
