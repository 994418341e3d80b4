/* Depthwise convolutions of floats: `groups` is the number of input channels, weights are (output
 * channels, kernel height, kernel width). The same bits on every machine.
 */
#ifndef TVM_TINY_FLOAT_DEPTHWISE_H
#define TVM_TINY_FLOAT_DEPTHWISE_H

#include <stdint.h>

/* How outputs find what they are sums of; members in the order of a table. The output is an image
 * of height x width x channels. From one of an output's taps to the next, taps and inputs move by
 * so much.
 */
typedef struct {
  int32_t height, width, channels;
  int32_t inputs; /* columns of the input */
  int32_t kernel_height, kernel_width;
  int32_t tap_down, tap_right;
  int32_t input_down, input_right;
} tiny_sweep;

/* A convolution of one output channel for each input channel. `rows` and `columns` are
 * `tiny_places` of each row and column of the output: its first tap, where that lies in the input,
 * and how many. `tile` holds the weights of 16 channels.
 */
void tiny_float_depthwise(const float *data, const float *weight, const float *bias,
                          const int32_t *sweep, const int32_t *rows, const int32_t *columns,
                          float *tile, float *output);

/* The same without a bias: the input's gradient, a sum over the taps that saw it. */
void tiny_float_depthwise_input_gradient(const float *gradient, const float *weight,
                                         const int32_t *sweep, const int32_t *rows,
                                         const int32_t *columns, float *tile, float *output);

/* The weights' gradient, by a `tiny_window`. `scratch` holds sums of all taps of 16 channels, then
 * a `tiny_places` for each of the kernel's columns.
 */
void tiny_float_depthwise_weight_gradient(const float *data, const float *gradient,
                                          const int32_t *window, float *scratch, float *output);

/* Its step of descent, with one scale for all; `updated` may be `weight`. */
void tiny_float_depthwise_weight_update(const float *weight, const float *data,
                                        const float *gradient, const float *rate,
                                        const float *scale, const int32_t *window, float *scratch,
                                        float *updated);

#endif /* TVM_TINY_FLOAT_DEPTHWISE_H */
