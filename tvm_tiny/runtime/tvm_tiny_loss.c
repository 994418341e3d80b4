#include "tvm_tiny_loss.h"

#include "tvm_tiny_float.h"

TINY_SCALAR_FLOATS

enum { ERRORS_PER_SUM = 64 }; /* sums of sums are rounded less often */

static float two_to_the(int32_t exponent) {
  return tiny_float_of_bits((uint32_t)(exponent + 127) << 23);
}

/* x = k log 2 + rest, |rest| <= log 2 / 2; e^rest by its polynomial, times 2^k in two steps, so
 * that results may be subnormal.
 */
float tiny_exp(float x) {
  if (!(x < 89.0f)) {
    return x != x ? x : tiny_float_of_bits(0x7f800000u);
  }
  if (x < -104.0f) {
    return 0.0f;
  }
  const int32_t k = tiny_round_even(x * 1.44269504f);
  float rest = __builtin_fmaf(-(float)k, 0.693145752f, x); /* 15 bits of log 2, so exact */
  rest = __builtin_fmaf(-(float)k, 1.42860677e-6f, rest);
  float p = 0.00138145988f;
  p = __builtin_fmaf(p, rest, 0.00836871844f);
  p = __builtin_fmaf(p, rest, 0.0416683890f);
  p = __builtin_fmaf(p, rest, 0.166665211f);
  p = __builtin_fmaf(p, rest, 0.499999940f);
  p = __builtin_fmaf(p, rest * rest, rest) + 1.0f;
  const int32_t half = k / 2;
  return p * two_to_the(half) * two_to_the(k - half);
}

/* log(1 + f) for 1 + f from about sqrt(1/2) to sqrt(2), plus k log 2, plus a small rest */
static float log_near_one(float f, int32_t k, float rest) {
  float p = 0.0672496334f;
  p = __builtin_fmaf(p, f, -0.116760470f);
  p = __builtin_fmaf(p, f, 0.119009957f);
  p = __builtin_fmaf(p, f, -0.124073401f);
  p = __builtin_fmaf(p, f, 0.142176747f);
  p = __builtin_fmaf(p, f, -0.166676894f);
  p = __builtin_fmaf(p, f, 0.200022206f);
  p = __builtin_fmaf(p, f, -0.250000268f);
  p = __builtin_fmaf(p, f, 0.333333105f);
  p = __builtin_fmaf(p, f, -0.5f);
  const float low = __builtin_fmaf(p, f * f, __builtin_fmaf((float)k, 1.42860677e-6f, rest));
  return (float)k * 0.693145752f + (f + low);
}

float tiny_log_1p(float x) {
  if (!(x >= 0.0f)) {
    return tiny_not_a_number();
  }
  if (x <= 0.41f) {
    return log_near_one(x, 0, 0.0f);
  }
  const float y = 1.0f + x;
  if (!tiny_is_finite(y)) {
    return y;
  }
  const float lost = x < 1.0f ? x - (y - 1.0f) : 1.0f - (y - x);
  /* the exponent of y / sqrt(1/2): 1 + f is then at most sqrt(2) */
  const uint32_t bits = tiny_float_bits(y);
  const int32_t k = (int32_t)((bits - 0x3f3504f3u) >> 23);
  return log_near_one(tiny_float_of_bits(bits - ((uint32_t)k << 23)) - 1.0f, k, lost / y);
}

static int32_t largest(const int8_t *values, int32_t count) {
  int32_t found = values[0];
  for (int32_t i = 1; i < count; ++i) {
    found = values[i] > found ? values[i] : found;
  }
  return found;
}

/* The largest one's exponential is exactly 1: small losses are as precise as large ones. */
void tiny_softmax_cross_entropy(const int8_t *logits, const int32_t *label, const float *scale,
                                float *loss, int32_t count) {
  if (label[0] < 0 || label[0] >= count) {
    loss[0] = tiny_not_a_number();
    return;
  }
  const int32_t top = largest(logits, count);
  float others = 0.0f; /* without the largest itself */
  int32_t is_first = 1;
  for (int32_t i = 0; i < count; ++i) {
    if (is_first && logits[i] == top) {
      is_first = 0;
    } else {
      others += tiny_exp(scale[0] * (float)(logits[i] - top));
    }
  }
  loss[0] = tiny_log_1p(others) + scale[0] * (float)(top - logits[label[0]]);
}

/* At the label, softmax - 1 is the sum of all others, negative: no difference of near numbers. */
void tiny_softmax_cross_entropy_gradient(const int8_t *logits, const int32_t *label,
                                         const float *scale, float *gradient, int32_t count) {
  const int32_t chosen = label[0];
  if (chosen < 0 || chosen >= count) {
    for (int32_t i = 0; i < count; ++i) {
      gradient[i] = tiny_not_a_number();
    }
    return;
  }
  const int32_t top = largest(logits, count);
  float others = 0.0f;
  for (int32_t i = 0; i < count; ++i) {
    gradient[i] = tiny_exp(scale[0] * (float)(logits[i] - top));
    others += i == chosen ? 0.0f : gradient[i];
  }
  const float factor = scale[0] / (others + gradient[chosen]);
  for (int32_t i = 0; i < count; ++i) {
    gradient[i] *= factor;
  }
  gradient[chosen] = -(others * factor);
}

static float error_of(int8_t output, float target, float scale, int32_t zero_point) {
  return __builtin_fmaf(scale, (float)(output - zero_point), -target);
}

void tiny_mean_squared_error(const int8_t *output, const float *target, const float *scale,
                             float *loss, int32_t count, int32_t zero_point) {
  float total = 0.0f;
  for (int32_t first = 0; first < count; first += ERRORS_PER_SUM) {
    const int32_t end = first + ERRORS_PER_SUM < count ? first + ERRORS_PER_SUM : count;
    float sum = 0.0f;
    for (int32_t i = first; i < end; ++i) {
      const float error = error_of(output[i], target[i], scale[0], zero_point);
      sum = __builtin_fmaf(error, error, sum);
    }
    total += sum;
  }
  loss[0] = total / (float)count;
}

void tiny_mean_squared_error_gradient(const int8_t *output, const float *target,
                                      const float *scale_and_factor, float *gradient,
                                      int32_t count, int32_t zero_point) {
  const float scale = scale_and_factor[0];
  const float factor = scale_and_factor[1];
  for (int32_t i = 0; i < count; ++i) {
    gradient[i] = factor * error_of(output[i], target[i], scale, zero_point);
  }
}
