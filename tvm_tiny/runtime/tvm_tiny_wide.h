/* Layers with wide results: int16 before the clamp to int8. Their weights may change at run time. */
#ifndef TVM_TINY_WIDE_H
#define TVM_TINY_WIDE_H

#include <stdint.h>

/* Numbers of a convolution, all int32_t. */
typedef struct tiny_wide_layer {
  int32_t batch, height, width, depth;
  int32_t output_height, output_width, channels;
  int32_t kernel_height, kernel_width, groups;
  int32_t stride_y, stride_x, top, left, dilation_y, dilation_x;
  int32_t input_zero_point, output_zero_point, fraction_bits;
  int32_t taps; /* of an output */
  /* pixels, or rows of outputs of planes, that the scratch has room for; zero without planes */
  int32_t tile;
} tiny_wide_layer;

/* Weights are OHWI, or HWC; `scaling` holds a row for each channel (tvm_tiny_wide_scale.h),
 * `layer` a tiny_wide_layer.
 */
void tiny_wide_conv2d(const int8_t *data, const int8_t *weight, const int32_t *bias,
                      const int32_t *scaling, const int32_t *layer, int16_t *scratch,
                      int16_t *output);
void tiny_wide_depthwise_conv2d(const int8_t *data, const int8_t *weight, const int32_t *bias,
                                const int32_t *scaling, const int32_t *layer, int32_t *scratch,
                                int16_t *output);

/* `form`: zero point, multiplier and shift to the right of a, b and the output; the sign of b. */
void tiny_wide_add(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                   int32_t count);
/* `form`: zero points of a, b and the output; multiplier, shift to the right. */
void tiny_wide_mul(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                   int32_t count);

/* Clamp to [low, high], within int8. The output may begin where the input does. */
void tiny_truncate(const int16_t *data, int8_t *output, int32_t count, int32_t low, int32_t high);
/* Bit i % 8 of byte i / 8: low <= data[i] <= high. */
void tiny_in_range(const int16_t *data, uint8_t *output, int32_t count, int32_t low, int32_t high);

#endif /* TVM_TINY_WIDE_H */
