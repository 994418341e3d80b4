/* The innermost loops of gradients: sums that stay in registers. On cores with single-precision
 * fused multiply-adds they are assembly; the same in plain C gives the same bits elsewhere.
 */
#ifndef TVM_TINY_GRADIENT_SUMS_H
#define TVM_TINY_GRADIENT_SUMS_H

#include "tvm_tiny_gradient.h"

#if defined(__ARM_FEATURE_FMA) && defined(__thumb2__) && defined(__GNUC__)
#define TINY_HAS_FMA 1
#else
#define TINY_HAS_FMA 0
#endif

enum { TINY_SUMS = 24, TINY_LANES = 16 };

/* Panels are as wide as one of the loops. */
static inline int32_t tiny_panel_width(int32_t count) {
  return count <= 8 ? 8 : count <= 12 ? 12 : count <= 16 ? 16 : TINY_SUMS;
}

/* For each of `rows`: to[j] = from[j] + the sum over i < count of factors[i] * panel[i][j], for `width`
 * sums. Rows and factors lie so many floats apart. Factors that are zero are left out.
 */
typedef struct {
  const float *from;
  float *to;
  const float *panel, *factors;
  int32_t from_step, to_step, row_step, factor_step;
  int32_t count, rows, width;
} tiny_products;

void tiny_sum_products(const tiny_products *products);

/* For each of `rows`, sums[j] += the sum over i < count of a[i][j] * b[i][j], j < lanes. Vectors of `a`
 * follow each other in a row, those of `b` lie `b_step` floats apart.
 */
typedef struct {
  const float *a, *b;
  int32_t a_row, b_row; /* floats from row to row */
  int32_t a_step, b_step;
  int32_t rows, count, lanes;
} tiny_vectors;

void tiny_sum_vectors(const tiny_vectors *vectors, float *sums);

/* Rows of `count` bytes, `step` bytes apart, less an offset, as floats; rows are filled up with zeros
 * to `width`.
 */
void tiny_bytes_to_floats(const int8_t *bytes, int32_t step, int32_t rows, int32_t count,
                          int32_t offset, float *floats, int32_t width);

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
