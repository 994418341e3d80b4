/* Losses and their gradients by int8 results; exponential and logarithm. */
#ifndef TVM_TINY_LOSS_H
#define TVM_TINY_LOSS_H

#include <stdint.h>

/* e^x, within one unit in the last place: 0 below about -104, infinite above about 88.7. */
float tiny_exp(float x);

/* log(1 + x) for x >= 0, within one unit in the last place; NaN for x < 0. */
float tiny_log_1p(float x);

/* -log softmax(scale * logits)[label]; NaN where there is no such label. */
void tiny_softmax_cross_entropy(const int8_t *logits, const int32_t *label, const float *scale,
                                float *loss, int32_t count);

/* Its derivatives by the integers: scale * (softmax - one at the label). */
void tiny_softmax_cross_entropy_gradient(const int8_t *logits, const int32_t *label,
                                         const float *scale, float *gradient, int32_t count);

/* Mean of (scale * (output - zero_point) - target)^2. */
void tiny_mean_squared_error(const int8_t *output, const float *target, const float *scale,
                             float *loss, int32_t count, int32_t zero_point);

/* Its derivatives by the integers; factor is 2 * scale / count. */
void tiny_mean_squared_error_gradient(const int8_t *output, const float *target,
                                      const float *scale_and_factor, float *gradient,
                                      int32_t count, int32_t zero_point);

#endif /* TVM_TINY_LOSS_H */
