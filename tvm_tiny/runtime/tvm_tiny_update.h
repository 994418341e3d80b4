/* Steps of parameters. One with a gradient or a rate that is not finite leaves them as they are. */
#ifndef TVM_TINY_UPDATE_H
#define TVM_TINY_UPDATE_H

#include <stdint.h>

/* `places` says which gradients are whose: a parameter has `rows` of `columns`, of which `chosen`
 * have gradients: those that are listed behind, or all. The scale of element i is that of
 * i / inner % scales.
 */
enum {
  TINY_PLACES_ROWS,
  TINY_PLACES_COLUMNS,
  TINY_PLACES_CHOSEN,
  TINY_PLACES_IS_LISTED,
  TINY_PLACES_INNER,
  TINY_PLACES_SCALES,
  TINY_PLACES_CHANNELS /* from here on */
};

/* parameter - rate * scale * gradient, see tvm_tiny_float.h; may be in place. */
void tiny_sgd_update_int8(const int8_t *parameter, const float *gradient, const float *rate,
                          const float *scale, const int32_t *places, int8_t *y, int32_t limit);
void tiny_sgd_update_int32(const int32_t *parameter, const float *gradient, const float *rate,
                           const float *scale, const int32_t *places, int32_t *y, int32_t limit);
void tiny_sgd_update_float(const float *parameter, const float *gradient, const float *rate,
                           const float *scale, const int32_t *places, float *y);

/* tiny_bias_gradient and tiny_sgd_update_int32 in one. By rows, the scale is the factor divided by the
 * square of what a row of (multiplier, shift to the right) stands for.
 */
void tiny_bias_update(const int32_t *bias, const float *gradient, const float *rate,
                      const float *scale, int32_t *y, int32_t pixels, int32_t channels,
                      int32_t limit);
void tiny_bias_update_by_rows(const int32_t *bias, const float *gradient, const float *rate,
                              const int32_t *scaling, const float *factor, int32_t *y,
                              int32_t pixels, int32_t channels, int32_t limit);

/* decay * moment + share * (scale * gradient), and with the square of the last; factors are (decay,
 * share). The scale of element i is that of i / inner % scales.
 */
void tiny_first_moment(const float *moment, const float *gradient, const float *scale,
                       const float *factors, float *y, int32_t count, int32_t inner,
                       int32_t scales);
void tiny_second_moment(const float *moment, const float *gradient, const float *scale,
                        const float *factors, float *y, int32_t count, int32_t inner,
                        int32_t scales);

/* Adam's step from both moments, at step 1, 2, ...; factors are (1 - decay of the first moment,
 * 1 - decay of the second, epsilon). Moments lie as gradients do above.
 */
void tiny_adam_update(const float *parameter, const float *first, const float *second,
                      const float *rate, const float *step, const float *factors,
                      const int32_t *places, float *y);

#endif /* TVM_TINY_UPDATE_H */
