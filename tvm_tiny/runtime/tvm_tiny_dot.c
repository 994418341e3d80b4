#include "tvm_tiny_dot.h"

#include "tvm_tiny_dsp.h"

void tiny_expand(const int8_t *source, int32_t count, int32_t *words, int32_t step) {
  for (const int8_t *end = source + count; source < end; source += 4) {
    const uint32_t word = tiny_load_word(source);
    words[0] = tiny_even_bytes(word);
    words[step] = tiny_odd_bytes(word);
    words += 2 * step;
  }
}

void tiny_expand_value(int32_t value, int32_t count, int32_t *words, int32_t step) {
  const int32_t halves = (int32_t)(((uint32_t)value & 0xffffu) | (uint32_t)value << 16);
  for (int32_t i = 0; i < count; i += 2) {
    *words = halves;
    words += step;
  }
}

/* The bytes of a tap, or NULL where it lies outside of the image. */
static const int8_t *tap(const int8_t *image, const int32_t *window, int32_t row, int32_t column) {
  const int32_t width = window[TINY_WINDOW_WIDTH];
  /* as unsigned numbers, negative ones are too large as well */
  const int is_inside = (uint32_t)row < (uint32_t)window[TINY_WINDOW_HEIGHT] &&
                        (uint32_t)column < (uint32_t)width;
  return is_inside ? image + (row * width + column) * window[TINY_WINDOW_CHANNELS] : NULL;
}

static void expand_taps(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                        int32_t *words, int32_t step) {
  const int32_t channels = window[TINY_WINDOW_CHANNELS];
  for (int32_t ky = 0; ky < window[TINY_WINDOW_KERNEL_HEIGHT]; ++ky) {
    int32_t tap_column = column;
    for (int32_t kx = 0; kx < window[TINY_WINDOW_KERNEL_WIDTH]; ++kx) {
      const int8_t *source = tap(image, window, row, tap_column);
      if (source != NULL) {
        tiny_expand(source, channels, words, step);
      } else {
        tiny_expand_value(window[TINY_WINDOW_ZERO_POINT], channels, words, step);
      }
      words += channels / 2 * step;
      tap_column += window[TINY_WINDOW_DILATION_WIDTH];
    }
    row += window[TINY_WINDOW_DILATION_HEIGHT];
  }
}

/* The window's bytes one after the other, and zeros up to a multiple of four; their number. */
static int32_t gather_taps(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                           int8_t *bytes) {
  const int32_t channels = window[TINY_WINDOW_CHANNELS];
  int32_t count = 0;
  for (int32_t ky = 0; ky < window[TINY_WINDOW_KERNEL_HEIGHT]; ++ky) {
    int32_t tap_column = column;
    for (int32_t kx = 0; kx < window[TINY_WINDOW_KERNEL_WIDTH]; ++kx) {
      const int8_t *source = tap(image, window, row, tap_column);
      for (int32_t c = 0; c < channels; ++c) {
        bytes[count++] = source != NULL ? source[c] : (int8_t)window[TINY_WINDOW_ZERO_POINT];
      }
      tap_column += window[TINY_WINDOW_DILATION_WIDTH];
    }
    row += window[TINY_WINDOW_DILATION_HEIGHT];
  }
  while (count % 4 != 0) {
    bytes[count++] = 0;
  }
  return count;
}

void tiny_expand_window(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                        int32_t *words, int32_t step, int32_t *bytes) {
  if (window[TINY_WINDOW_CHANNELS] % 4 == 0) {
    expand_taps(image, window, row, column, words, step);
  } else {
    int8_t *gathered = (int8_t *)bytes;
    const int32_t count = gather_taps(image, window, row, column, gathered);
    tiny_expand(gathered, count, words, step);
  }
}

#if TINY_HAS_DSP

/* the functions below are all assembly, which compilers do not see to use its arguments */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* full and low in two registers to twice the sums of channels a and b */
#define DOUBLE_SUMS(full, low)                \
  "sub " full ", " full ", " low "\n\t"       \
  "asr " full ", " full ", #7\n\t"            \
  "lsl " low ", " low ", #1\n\t"

#define STORE_SUMS                                                                            \
  DOUBLE_SUMS("r5", "r6") DOUBLE_SUMS("r7", "r8") DOUBLE_SUMS("r9", "r10")                    \
      DOUBLE_SUMS("r11", "r12") "pop {r3}\n\tstmia r3, {r5-r12}\n\tpop {r4-r11, pc}"

/* All fourteen registers are in use, which no compiler can be relied upon to keep so: r0 and r1
 * point to pixels and weights, lr is the end of the pixels, r2 to r4 hold operands, r5 to r12 the
 * sums.
 */
#define DOT_2X4_PAIR                   \
  "ldrd r2, r3, [r0], #8\n\t"          \
  "ldr r4, [r1], #4\n\t"               \
  "smlad r5, r2, r4, r5\n\t"           \
  "smlad r9, r3, r4, r9\n\t"           \
  "sxtb16 r4, r4\n\t"                  \
  "smlad r6, r2, r4, r6\n\t"           \
  "smlad r10, r3, r4, r10\n\t"         \
  "ldr r4, [r1], #4\n\t"               \
  "smlad r7, r2, r4, r7\n\t"           \
  "smlad r11, r3, r4, r11\n\t"         \
  "sxtb16 r4, r4\n\t"                  \
  "smlad r8, r2, r4, r8\n\t"           \
  "smlad r12, r3, r4, r12\n\t"

__attribute__((naked)) void tiny_dot_2x4(const int32_t *pixels, const int32_t *weights,
                                         int32_t pairs, int32_t *acc) {
  __asm__(
      "push {r3-r11, lr}\n\t"
      "add lr, r0, r2, lsl #3\n\t"
      "lsls r2, r2, #31 - 1\n\t" /* sets N where a multiple of two, but not of four, is left */
      "mov r5, #0\n\t"
      "mov r6, #0\n\t"
      "mov r7, #0\n\t"
      "mov r8, #0\n\t"
      "mov r9, #0\n\t"
      "mov r10, #0\n\t"
      "mov r11, #0\n\t"
      "mov r12, #0\n\t"
      "bpl 2f\n\t" /* none left over */
      DOT_2X4_PAIR DOT_2X4_PAIR
      "cmp r0, lr\n\t"
      "beq 3f\n\t"
      "2:\n\t" DOT_2X4_PAIR DOT_2X4_PAIR DOT_2X4_PAIR DOT_2X4_PAIR
      "cmp r0, lr\n\t"
      "bne 2b\n\t"
      "3:\n\t" STORE_SUMS);
}

#define DOT_1X8_CHANNELS(full, low) \
  "ldr r3, [r1], #4\n\t"            \
  "smlad " full ", r2, r3, " full "\n\t" \
  "sxtb16 r3, r3\n\t"               \
  "smlad " low ", r2, r3, " low "\n\t"

#define DOT_1X8_PAIR                                                                         \
  "ldr r2, [r0], #4\n\t" DOT_1X8_CHANNELS("r5", "r6") DOT_1X8_CHANNELS("r7", "r8")           \
      DOT_1X8_CHANNELS("r9", "r10") DOT_1X8_CHANNELS("r11", "r12")

__attribute__((naked)) void tiny_dot_1x8(const int32_t *pixel, const int32_t *weights,
                                         int32_t pairs, int32_t *acc) {
  __asm__(
      "push {r3-r11, lr}\n\t"
      "add lr, r0, r2, lsl #2\n\t"
      "mov r5, #0\n\t"
      "mov r6, #0\n\t"
      "mov r7, #0\n\t"
      "mov r8, #0\n\t"
      "mov r9, #0\n\t"
      "mov r10, #0\n\t"
      "mov r11, #0\n\t"
      "mov r12, #0\n\t"
      "2:\n\t" DOT_1X8_PAIR DOT_1X8_PAIR
      "cmp r0, lr\n\t"
      "bne 2b\n\t" STORE_SUMS);
}

#else

/* Twice the sums of one pixel and 2 * channel_pairs channels. */
static void dot(const int32_t *x, int32_t step, const int32_t *weights, int32_t channel_pairs,
                int32_t pairs, int32_t *acc) {
  for (int32_t i = 0; i < channel_pairs; ++i) {
    int32_t full = 0;
    int32_t low = 0;
    for (int32_t k = 0; k < pairs; ++k) {
      const int32_t word = weights[k * channel_pairs + i];
      full = tiny_dual_mac(x[k * step], word, full);
      low = tiny_dual_mac(x[k * step], tiny_even_bytes((uint32_t)word), low);
    }
    acc[2 * i] = (int32_t)((uint32_t)full - (uint32_t)low) >> 7;
    acc[2 * i + 1] = low * 2;
  }
}

void tiny_dot_2x4(const int32_t *pixels, const int32_t *weights, int32_t pairs, int32_t *acc) {
  dot(pixels, 2, weights, 2, pairs, acc);
  dot(pixels + 1, 2, weights, 2, pairs, acc + 4);
}

void tiny_dot_1x8(const int32_t *pixel, const int32_t *weights, int32_t pairs, int32_t *acc) {
  dot(pixel, 1, weights, 4, pairs, acc);
}

#endif
