/* Sums and products of int8 tensors. */
#ifndef TVM_TINY_ELEMENTWISE_H
#define TVM_TINY_ELEMENTWISE_H

#include <stdint.h>

/* y[i] = (a[i] * form[0] + b[i] * form[1] + form[2]) >> SHIFT, to the nearest int8. The compiler of
 * the model has proved for all 65,536 pairs that this is the sum of the operands at the output's
 * scale, and that nothing overflows; |form[0]| and |form[1]| are less than 2^23.
 */
void tiny_add_18(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y);
void tiny_add_19(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y);
void tiny_add_20(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y);
void tiny_add_21(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y);
void tiny_add_22(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y);

/* y[i] = (a[i] + form[0]) * (b[i] + form[1]), scaled as by tiny_requantize with multiplier form[2] and
 * shift form[3], which is positive; plus form[4], to the nearest int8.
 */
void tiny_mul(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y);

/* Clamp values in place, for layers whose range is less than int8's. */
void tiny_clamp_run(int8_t *values, int32_t count, int32_t low, int32_t high);

#endif /* TVM_TINY_ELEMENTWISE_H */
