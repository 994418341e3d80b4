/* float32 to int8 on cores with floating point. */
#ifndef TVM_TINY_QUANTIZE_H
#define TVM_TINY_QUANTIZE_H

#include <stdint.h>

/* round(x[i] / scale) + zero_point, halves away from zero, saturating. The quotient is
 * x * inverse_high + x * inverse_low, fused; the compiler of the model has proved for this scale that
 * it rounds to the same integer as the division for every x.
 */
void tiny_quantize_run(const float *x, int32_t count, float scale, float inverse_high,
                       float inverse_low, int32_t zero_point, int8_t *y);

#endif /* TVM_TINY_QUANTIZE_H */
