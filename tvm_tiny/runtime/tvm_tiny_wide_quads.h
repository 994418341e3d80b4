/* Four neighbouring outputs of a depthwise convolution from a plane of 16-bit halves.
 *
 * With the words x0 x1, x2 x3, ... of a row of the plane, and the pairs of weights w0 w1, w2 w3, ...
 * (first) and w1 w2, w3 w4, ... (second), windows that begin with a word take the first pairs and
 * then the last weight alone, others w0 alone and then the second pairs. At a stride of two all
 * begin with a word, and of the second pairs only the last one is there. Weights are doubled, so that
 * accumulators are doubled sums.
 */
#ifndef TVM_TINY_WIDE_QUADS_H
#define TVM_TINY_WIDE_QUADS_H

#include "tvm_tiny_wide_scale.h"

enum { TINY_QUAD = 4 };

/* Four outputs of a row: how many rows of taps are inside the image, and where in bytes they begin
 * in the plane and among the weights; where the first output is.
 */
typedef struct tiny_quad_place {
  int32_t rows, plane, weights, output;
} tiny_quad_place;

/* Quads of a channel, as the functions in assembly read them. */
typedef struct tiny_quad_job {
  tiny_wide_scaling scaling;
  void *output; /* int16_t; doubled sums if the multiplier is zero */
  int32_t step; /* bytes from output to output */
  int32_t doubled_bias;
  int32_t first; /* with which sums begin: the doubled bias unless that is added later */
  int32_t row_bytes;     /* of the plane */
  const tiny_quad_place *end; /* of the places */
} tiny_quad_job;

/* Places up to the end, of which there is at least one; just that one if the multiplier is zero. */
typedef void tiny_quad_function(const int32_t *plane, const int32_t *weights,
                                const tiny_quad_job *job, const tiny_quad_place *places);

/* Windows of a width, columns of which begin so many halves apart. */
tiny_quad_function tiny_quad_3_1, tiny_quad_5_1, tiny_quad_7_1;
tiny_quad_function tiny_quad_3_2, tiny_quad_5_2, tiny_quad_7_2;

#endif /* TVM_TINY_WIDE_QUADS_H */
