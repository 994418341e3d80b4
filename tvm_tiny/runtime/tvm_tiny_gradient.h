/* Gradients of convolutions, and steps of gradient descent on their weights. Gradients are floats,
 * images NHWC of one batch. All sums start at +0 and take fused multiply-adds in a fixed order, so
 * that results are the same bits on every machine.
 */
#ifndef TVM_TINY_GRADIENT_H
#define TVM_TINY_GRADIENT_H

#include <stdint.h>

/* A convolution: its input, its output, and how its kernel moves; members in the order of a table.
 */
typedef struct {
  int32_t height, width, channels;
  int32_t rows, columns, outputs;
  int32_t groups;
  int32_t kernel_height, kernel_width;
  int32_t stride_height, stride_width;
  int32_t dilation_height, dilation_width;
  int32_t top, left; /* padding */
} tiny_window;

/* Outputs whose windows' tap lies inside of the image, along an axis: `count` of them from `first`
 * on, the first of which has it at the input `start`.
 */
typedef struct {
  int32_t first, count, start;
} tiny_run;

/* The input's gradient from the output's. `panel` holds the weights of `block` output channels for
 * 24 input channels.
 */
void tiny_conv2d_input_gradient(const float *gradient, const int8_t *weight, const int32_t *window,
                                float *panel, float *output, int32_t block);

void tiny_float_conv2d_input_gradient(const float *gradient, const float *weight,
                                      const int32_t *window, float *panel, float *output,
                                      int32_t block);

/* The weights' gradient for `count` chosen input channels of each group. `scratch` holds 24 floats
 * for each of `chunk` pixels, and for each of `rows` output channels.
 */
void tiny_conv2d_weight_gradient(const int8_t *data, const float *gradient,
                                 const int16_t *channels, const int32_t *window, float *scratch,
                                 float *output, int32_t zero_point, int32_t count, int32_t chunk,
                                 int32_t rows);

void tiny_float_conv2d_weight_gradient(const float *data, const float *gradient,
                                       const int16_t *channels, const int32_t *window,
                                       float *scratch, float *output, int32_t count, int32_t chunk,
                                       int32_t rows);

/* Its step of descent: `scale` is of each output channel; `updated` may be `weight`. */
void tiny_conv2d_weight_update(const int8_t *weight, const int8_t *data, const float *gradient,
                               const float *rate, const float *scale, const int16_t *channels,
                               const int32_t *window, float *scratch, int8_t *updated,
                               int32_t zero_point, int32_t count, int32_t chunk, int32_t rows);

/* The same of floats, with one scale for all; what would not be finite stays. */
void tiny_float_conv2d_weight_update(const float *weight, const float *data, const float *gradient,
                                     const float *rate, const float *scale,
                                     const int16_t *channels, const int32_t *window,
                                     float *scratch, float *updated, int32_t count, int32_t chunk,
                                     int32_t rows);

/* The same of depthwise convolutions. `scratch` holds the weights of `lanes` channels, 16 or 8;
 * their gradient, if it `is_copied`, and then the output may lie over it; a run for each row and
 * column of the input.
 */
void tiny_depthwise_input_gradient(const float *gradient, const int8_t *weight,
                                   const int32_t *window, float *scratch, float *output,
                                   int32_t lanes, int32_t is_copied);

/* `scratch` holds sums of all taps and a row of the input, of `lanes` channels, then a run for
 * each of the kernel's columns.
 */
void tiny_depthwise_weight_gradient(const int8_t *data, const float *gradient,
                                    const int32_t *window, float *scratch, float *output,
                                    int32_t zero_point, int32_t lanes);
void tiny_depthwise_weight_update(const int8_t *weight, const int8_t *data, const float *gradient,
                                  const float *rate, const float *scale, const int32_t *window,
                                  float *scratch, int8_t *updated, int32_t zero_point,
                                  int32_t lanes);

#endif /* TVM_TINY_GRADIENT_H */
