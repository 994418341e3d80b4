/* The innermost loops of gradients: sums in registers. */
#ifndef TVM_TINY_GRADIENT_SUMS_H
#define TVM_TINY_GRADIENT_SUMS_H

#include "tvm_tiny_gradient.h"

enum { TINY_SUMS = 24, TINY_LANES = 16 };

/* Widths of panels: few sums, or a multiple of eight. */
static inline int32_t tiny_panel_width(int32_t count) {
  return count <= 8 ? 8 : count <= 12 ? 12 : count <= 16 ? 16 : TINY_SUMS;
}

/* to[j] = from[j] + the sum of factors[i * step] * panel[i][j]; zero factors are left out. */
static inline void tiny_accumulate(const float *from, float *to, const float *panel,
                                   const float *factors, int32_t step, int32_t count,
                                   int32_t width) {
  float sums[TINY_SUMS];
  for (int32_t j = 0; j < width; ++j) {
    sums[j] = from[j];
  }
  for (int32_t i = 0; i < count; ++i) {
    const float factor = factors[i * step];
    if (factor != 0.0f) {
      for (int32_t j = 0; j < width; ++j) {
        sums[j] = __builtin_fmaf(factor, panel[i * width + j], sums[j]);
      }
    }
  }
  for (int32_t j = 0; j < width; ++j) {
    to[j] = sums[j];
  }
}

/* sums[j] += the sum of a[i][j] * b[i][j], whose vectors lie `a_step` and `b_step` floats apart. */
static inline void tiny_multiply_lanes(float *sums, const float *a, int32_t a_step, const float *b,
                                       int32_t b_step, int32_t count, int32_t lanes) {
  for (int32_t i = 0; i < count; ++i) {
    for (int32_t j = 0; j < lanes; ++j) {
      sums[j] = __builtin_fmaf(a[i * a_step + j], b[i * b_step + j], sums[j]);
    }
  }
}

/* floats[j] = bytes[j] - offset */
static inline void tiny_to_floats(const int8_t *bytes, int32_t offset, int32_t count,
                                  float *floats) {
  for (int32_t j = 0; j < count; ++j) {
    floats[j] = (float)(bytes[j] - offset);
  }
}

static inline void tiny_zero_floats(float *floats, int32_t count) {
  for (int32_t j = 0; j < count; ++j) {
    floats[j] = 0.0f;
  }
}

/* Where a tap `offset` inputs behind the first of its windows' beginnings meets the image. */
static inline tiny_run tiny_run_of(int32_t offset, int32_t stride, int32_t inputs,
                                   int32_t outputs) {
  const int32_t first = offset < 0 ? (stride - 1 - offset) / stride : 0;
  const int32_t beyond = offset < inputs ? (inputs - 1 - offset) / stride + 1 : 0;
  const int32_t end = beyond < outputs ? beyond : outputs;
  const tiny_run run = {first, end > first ? end - first : 0, first * stride + offset};
  return run;
}

#endif /* TVM_TINY_GRADIENT_SUMS_H */
