/* Depthwise convolutions of floats: `groups` is the number of input channels, weights are (output
 * channels, kernel height, kernel width). The same bits on every machine.
 */
#ifndef TVM_TINY_FLOAT_DEPTHWISE_H
#define TVM_TINY_FLOAT_DEPTHWISE_H

#include <stdint.h>

/* The weights' gradient, by a `tiny_window`. `scratch` holds sums of all taps of 16 channels, then
 * a `tiny_places` for each of the kernel's columns.
 */
void tiny_float_depthwise_weight_gradient(const float *data, const float *gradient,
                                          const int32_t *window, float *scratch, float *output);

#endif /* TVM_TINY_FLOAT_DEPTHWISE_H */
