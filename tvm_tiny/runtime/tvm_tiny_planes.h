/* Depthwise convolutions on planes, one channel at a time: what their layers share. */
#ifndef TVM_TINY_PLANES_H
#define TVM_TINY_PLANES_H

#include <stdint.h>

/* Fill a plane: its border stays as it is for all channels. */
void tiny_fill_words(int32_t *words, int32_t count, int32_t value);

/* What the functions made for a layer compute, for machines that have no DSP instructions.
 *
 * Gathering copies the `height` x `width` bytes of a channel, `step` bytes apart in rows of `pitch`
 * bytes, to a plane's row at `words` and the rows below, `row_words` apart, from column `left` on.
 * Words hold two elements: 16-bit halves, or x0 + x1 * 2^21 (where one of the two is of the border,
 * it is the zero point).
 */
void tiny_gather_halves(const int8_t *image, int32_t step, int32_t pitch, int32_t height,
                        int32_t width, int32_t zero_point, int32_t left, int32_t *words,
                        int32_t row_words);
void tiny_gather_polynomials(const int8_t *image, int32_t step, int32_t pitch, int32_t height,
                             int32_t width, int32_t zero_point, int32_t left, int32_t *words,
                             int32_t row_words);

/* Outputs lie `step` bytes apart, rows of them `pitch`. Windows of two rows begin `row_words` words
 * apart, rows of taps `tap_words`. Of a table's parameters the last three are of `scale`:
 * multiplier, offset, and the shift where `shift` is zero.
 */
typedef int32_t tiny_scaling(int32_t sum, int32_t multiplier, int32_t offset, int32_t shift);

/* Table: bias, scaling, and w0 w1 | w1 w2 of each row in halves. */
void tiny_depthwise_3x3(const int32_t *plane, const int32_t *table, int8_t *y, int32_t height,
                        int32_t width, int32_t step, int32_t pitch, int32_t row_words,
                        int32_t tap_words, int32_t shift, tiny_scaling *scale);
/* Windows begin `stride` halves apart. Table: `taps` words for each of `rows` rows, bias, scaling. */
void tiny_depthwise_strided(const int32_t *plane, const int32_t *table, int8_t *y, int32_t height,
                            int32_t width, int32_t step, int32_t pitch, int32_t row_words,
                            int32_t tap_words, int32_t rows, int32_t taps, int32_t stride,
                            int32_t shift, tiny_scaling *scale);
/* The same of polynomials, w1 + w0 * 2^21, at a stride of one or two; sums are shifted by `doubling`
 * before the bias, which is less by 2^20 so shifted, is added.
 */
void tiny_depthwise_polynomials(const int32_t *plane, const int32_t *table, int8_t *y,
                                int32_t height, int32_t width, int32_t step, int32_t pitch,
                                int32_t row_words, int32_t tap_words, int32_t rows, int32_t taps,
                                int32_t stride, int32_t doubling, int32_t shift,
                                tiny_scaling *scale);

#endif /* TVM_TINY_PLANES_H */
