/* float32 to int8: vectors, scalars with fused multiplication, or plain division. */
#include "tvm_tiny_quantize.h"

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

#if TINY_HAS_MVE && (__ARM_FEATURE_MVE & 2)

#include <arm_mve.h>

void tiny_quantize_run(const float *x, int32_t count, float scale, float inverse_high,
                       float inverse_low, int32_t zero_point, int8_t *y) {
  (void)scale;
  for (; count > 0; count -= 4) {
    const mve_pred16_t inside = vctp32q((uint32_t)count);
    const float32x4_t value = vldrwq_z_f32(x, inside);
    const float32x4_t quotient = vfmaq_n_f32(vmulq_n_f32(value, inverse_low), value, inverse_high);
    const int32x4_t rounded = vcvtaq_s32_f32(quotient); /* halves away from zero */
    int16x8_t half = vqmovnbq_s32(vreinterpretq_s16_s32(rounded), rounded);
    half = vqaddq_n_s16(half, (int16_t)zero_point);
    const int8x16_t byte = vqmovnbq_s16(vreinterpretq_s8_s16(half), half);
    vstrbq_p_s32(y, vreinterpretq_s32_s8(byte), inside);
    x += 4;
    y += 4;
  }
}

#elif defined(__ARM_FEATURE_FMA) && defined(__ARM_FP) && defined(__GNUC__)

/* To 16 bits with six bits of fraction, truncated and saturated: what is left decides how halves
 * round, and cannot overflow.
 */
static inline int32_t quantize_one(float value, float inverse_high, float inverse_low,
                                   int32_t offset) {
  float quotient = __builtin_fmaf(value, inverse_high, value * inverse_low);
  int32_t fixed;
  __asm__("vcvt.s16.f32 %0, %0, #6" : "+t"(quotient));
  memcpy(&fixed, &quotient, sizeof fixed);
  fixed += (fixed >> 31) + offset;
  __asm__("ssat %0, #8, %0, asr #6" : "+r"(fixed));
  return fixed;
}

void tiny_quantize_run(const float *x, int32_t count, float scale, float inverse_high,
                       float inverse_low, int32_t zero_point, int8_t *y) {
  const int32_t offset = 32 + zero_point * 64;
  (void)scale;
  for (; count >= 4; count -= 4) {
#pragma GCC unroll 4
    for (int32_t i = 0; i < 4; ++i) {
      y[i] = (int8_t)quantize_one(x[i], inverse_high, inverse_low, offset);
    }
    x += 4;
    y += 4;
  }
  for (; count > 0; --count) {
    *y++ = (int8_t)quantize_one(*x++, inverse_high, inverse_low, offset);
  }
}

#else

void tiny_quantize_run(const float *x, int32_t count, float scale, float inverse_high,
                       float inverse_low, int32_t zero_point, int8_t *y) {
  (void)inverse_high;
  (void)inverse_low;
  for (int32_t i = 0; i < count; ++i) {
    y[i] = (int8_t)tiny_quantize(x[i], scale, zero_point);
  }
}

#endif
