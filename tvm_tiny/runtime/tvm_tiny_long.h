/* Convolutions with two numbers in a word, a + b 2^23: what functions made for a layer compute, for
 * machines without long multiplies.
 */
#ifndef TVM_TINY_LONG_H
#define TVM_TINY_LONG_H

#include <stdint.h>

#include "tvm_tiny_pairs.h"

/* As tiny_expand_windows, tap by tap: words of two pixels, the last of an odd number alone. */
void tiny_expand_couples(const void *bytes, int32_t pitch, int32_t *words, int32_t pixels,
                         int32_t rows, int32_t runs, int32_t length, int32_t run_step,
                         int32_t pixel_step);

/* Pixels, `step` bytes apart, x channels. For `tile` channels at a time, `stream` holds their weights tap
 * by tap, bytes filled up to a word or words of two channels, then bias, multiplier, offset and a
 * number of bits of each channel. These are the shift, and sums are shifted by `doubling` to meet the
 * bias; unless `shift` is not zero, when sums are shifted by those bits.
 */
void tiny_long_bytes(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                     int32_t taps, int32_t tile, int32_t channels, int32_t step, int32_t doubling,
                     int32_t shift, tiny_scaling *scale);
void tiny_long_words(const int32_t *words, const int32_t *stream, int8_t *y, int32_t pixels,
                     int32_t taps, int32_t tile, int32_t channels, int32_t step, int32_t doubling,
                     int32_t shift, tiny_scaling *scale);

#endif /* TVM_TINY_LONG_H */
