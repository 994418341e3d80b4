/* float32 to int8 without floating point, for cores that have none. */
#ifndef TVM_TINY_QUANTIZE_INTEGER_H
#define TVM_TINY_QUANTIZE_INTEGER_H

#include <stdint.h>

/* What is known of a scale, 2^e times m of [1, 2): see schedules/quantize_integer.py. */
enum {
  TINY_QUANTIZE_INVERSE,  /* 2^32 / m, rounded down */
  TINY_QUANTIZE_EXPONENT, /* 138 + e */
  TINY_QUANTIZE_LEAST,    /* bits of a float: less than this much becomes the zero point */
  TINY_QUANTIZE_RANGE,    /* from there to the bits of one that saturates */
  TINY_QUANTIZE_FIELDS
};

/* round(x[i] / scale) + zero_point, halves away from zero, saturating. NaN becomes 127. */
void tiny_quantize_integer(const float *x, int32_t count, const int32_t *table, float scale,
                           int32_t zero_point, int8_t *y);

#endif /* TVM_TINY_QUANTIZE_INTEGER_H */
