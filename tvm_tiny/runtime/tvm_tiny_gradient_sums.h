/* The innermost loops of gradients: sums that stay in registers. On cores with single-precision
 * fused multiply-adds they are assembly; the same in plain C gives the same bits elsewhere.
 */
#ifndef TVM_TINY_GRADIENT_SUMS_H
#define TVM_TINY_GRADIENT_SUMS_H

#include "tvm_tiny_float.h"
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

/* For each of `rows`: to[j] = from[j] + the sum over i < count of factors[i] * panel[i][j], for
 * `width` sums. Rows and factors lie so many floats apart. Factors that are zero are left out,
 * which is the same: sums are never -0, panels are finite. Where there are few, it is faster not
 * to look.
 */
typedef struct {
  const float *from;
  float *to;
  const float *panel, *factors;
  int32_t from_step, to_step, row_step, factor_step;
  int32_t count, rows, width;
  int32_t has_few_zeros;
} tiny_products;

void tiny_sum_products(const tiny_products *products);

/* The same where `to` has only the first `count` sums of each row, which are `from` as well. */
void tiny_add_products(const tiny_products *products, int32_t count);

/* Whether at most one in sixteen is zero, of up to 256 that are looked at. */
int32_t tiny_has_few_zeros(const float *values, int32_t count);

/* A place in `a` and one in `b`, and how many vectors follow each. */
typedef struct {
  int32_t a, b, count;
} tiny_places;

/* For each of `number` places: to[j] = from[j] + the sum of a[i][j] * b[i][j] over its vectors, in
 * each of `rows`, for j < lanes. Places count in units of floats, vectors and rows lie so many
 * floats apart, and so do sums of one place and the next.
 */
typedef struct {
  const float *a, *b, *from;
  float *to;
  const tiny_places *places;
  int32_t a_unit, b_unit, a_step, b_step, a_row, b_row, from_step, to_step;
  int32_t number, rows, lanes;
} tiny_vectors;

void tiny_sum_vectors(const tiny_vectors *vectors);

/* Copies vectors of `lanes` floats, `step` floats apart, to where they follow each other. */
void tiny_gather_vectors(const float *from, int32_t step, int32_t count, int32_t lanes, float *to);

/* A step of descent of `count` weights at `places`, or side by side where that is NULL. */
void tiny_descend_all(int8_t *weight, const int16_t *places, float factor, const float *gradient,
                      int32_t count);

/* Rows of `count` bytes, `step` bytes apart, less an offset, as floats; rows are filled up with
 * zeros to `width`.
 */
void tiny_bytes_to_floats(const int8_t *bytes, int32_t step, int32_t rows, int32_t count,
                          int32_t offset, float *floats, int32_t width);

/* The numbers of a tensor: int8, or float32 where there are no bytes. */
typedef struct {
  const int8_t *bytes;
  const float *floats;
} tiny_numbers;

/* Rows of `count` numbers from a place on, as above; nothing is taken off floats. */
void tiny_numbers_to_floats(tiny_numbers numbers, int32_t place, int32_t step, int32_t rows,
                            int32_t count, int32_t offset, float *floats, int32_t width);

/* tiny_step_int8 with the limit 127. The fast way adds 1.5 * 2^23, to which floats of small
 * numbers are integers: bits of the sum are those of the number and the result, its last ones.
 */
static inline int8_t tiny_descend(int8_t weight, float factor, float gradient) {
  const float moved = __builtin_fmaf(-factor, gradient, (float)weight);
  const uint32_t rounded = tiny_float_bits(moved + 12582912.0f) - 0x4b400000u;
  if (rounded + 127u > 254u) {
    return tiny_step_int8(weight, factor, gradient, 127);
  }
  return (int8_t)rounded;
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
