#include "tvm_tiny_dot.h"

#include "tvm_tiny.h"
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

static void copy_bytes(const int8_t *from, int32_t count, int8_t *to) {
  for (; count >= 4; count -= 4) {
    const uint32_t word = tiny_load_word(from);
    memcpy(to, &word, sizeof word);
    from += 4;
    to += 4;
  }
  for (; count > 0; --count) {
    *to++ = *from++;
  }
}

/* A row of taps, some of them outside of the image. */
static void gather_border(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                          int8_t *bytes) {
  const int32_t channels = window[TINY_WINDOW_CHANNELS];
  for (int32_t kx = 0; kx < window[TINY_WINDOW_KERNEL_WIDTH]; ++kx) {
    const int8_t *source = tap(image, window, row, column);
    for (int32_t c = 0; c < channels; ++c) {
      *bytes++ = source != NULL ? source[c] : (int8_t)window[TINY_WINDOW_ZERO_POINT];
    }
    column += window[TINY_WINDOW_DILATION_WIDTH];
  }
}

/* The window's bytes one after the other, and zeros up to a multiple of four; their number. */
static int32_t gather_taps(const int8_t *image, const int32_t *window, int32_t row, int32_t column,
                           int8_t *bytes) {
  const int32_t kernel_width = window[TINY_WINDOW_KERNEL_WIDTH];
  const int32_t width = window[TINY_WINDOW_WIDTH];
  const int32_t row_bytes = kernel_width * window[TINY_WINDOW_CHANNELS];
  const int is_dense = window[TINY_WINDOW_DILATION_WIDTH] == 1 && column >= 0 &&
                       column + kernel_width <= width;
  int8_t *end = bytes;
  for (int32_t ky = 0; ky < window[TINY_WINDOW_KERNEL_HEIGHT]; ++ky) {
    const int8_t *source = is_dense ? tap(image, window, row, column) : NULL;
    if (source != NULL) {
      copy_bytes(source, row_bytes, end);
    } else {
      gather_border(image, window, row, column, end);
    }
    end += row_bytes;
    row += window[TINY_WINDOW_DILATION_HEIGHT];
  }
  while ((end - bytes) % 4 != 0) {
    *end++ = 0;
  }
  return (int32_t)(end - bytes);
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

/* The functions below are all assembly, and compilers do not see them use their arguments: all
 * fourteen registers are in use, which none could be relied upon to keep so.
 *
 * r0 points to the pixels, up to lr; r1 to the weights; r2 to r4 hold operands; r5 to r12 the sums,
 * full and low in turn.
 */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#define ZERO_SUMS                                                                           \
  "mov r5, #0\n\tmov r6, #0\n\tmov r7, #0\n\tmov r8, #0\n\t"                                \
  "mov r9, #0\n\tmov r10, #0\n\tmov r11, #0\n\tmov r12, #0\n\t"

/* twice the sum plus bias, to int8: see tiny_scale; a channel's parameters are in r2, r3, r4, lr */
#define NEXT_CHANNEL "ldmia r0!, {r2, r3, r4, lr}\n\t"
#define SCALE(sum)                                \
  "smmulr " sum ", " sum ", r3\n\t"               \
  "add " sum ", " sum ", " sum ", asr #31\n\t"    \
  "add " sum ", " sum ", r4\n\t"                  \
  "asr " sum ", " sum ", lr\n\t"                  \
  "ssat " sum ", #8, " sum "\n\t"
/* the same as tiny_scale_half_up */
#define SCALE_HALF_UP(sum)             \
  "smmulr " sum ", " sum ", r3\n\t"    \
  "add " sum ", " sum ", r4\n\t"       \
  "asr " sum ", " sum ", lr\n\t"       \
  "ssat " sum ", #8, " sum "\n\t"
/* full is 256 times the sum of channel a, plus low: the sum of channel b. Half-up layers count in
 * units of 2^-7, TINY_FRACTION_BITS.
 */
#define FINISH_A(full, low)              \
  "sub " full ", " full ", " low "\n\t"  \
  "add " full ", r2, " full ", asr #7\n\t" SCALE(full)
#define FINISH_B(low) "add " low ", r2, " low ", lsl #1\n\t" SCALE(low)
#define FINISH_A_HALF_UP(full, low)      \
  "sub " full ", " full ", " low "\n\t"  \
  "add " full ", r2\n\t" SCALE_HALF_UP(full)
#define FINISH_B_HALF_UP(low) "add " low ", r2, " low ", lsl #8\n\t" SCALE_HALF_UP(low)

#define FINISH_2X4(a, b)                                    \
  NEXT_CHANNEL a("r5", "r6") a("r9", "r10")                 \
  NEXT_CHANNEL b("r6") b("r10")                             \
  NEXT_CHANNEL a("r7", "r8") a("r11", "r12")                \
  NEXT_CHANNEL b("r8") b("r12")
#define FINISH_1X8(a, b)                                    \
  NEXT_CHANNEL a("r5", "r6") NEXT_CHANNEL b("r6")           \
  NEXT_CHANNEL a("r7", "r8") NEXT_CHANNEL b("r8")           \
  NEXT_CHANNEL a("r9", "r10") NEXT_CHANNEL b("r10")         \
  NEXT_CHANNEL a("r11", "r12") NEXT_CHANNEL b("r12")

#define CONV_2X4_PAIR          \
  "ldrd r2, r3, [r0], #8\n\t"  \
  "ldr r4, [r1], #4\n\t"       \
  "smlad r5, r2, r4, r5\n\t"   \
  "smlad r9, r3, r4, r9\n\t"   \
  "sxtb16 r4, r4\n\t"          \
  "smlad r6, r2, r4, r6\n\t"   \
  "smlad r10, r3, r4, r10\n\t" \
  "ldr r4, [r1], #4\n\t"       \
  "smlad r7, r2, r4, r7\n\t"   \
  "smlad r11, r3, r4, r11\n\t" \
  "sxtb16 r4, r4\n\t"          \
  "smlad r8, r2, r4, r8\n\t"   \
  "smlad r12, r3, r4, r12\n\t"

/* On the stack: pixels, their end, params; the caller's arguments y0, y1, groups and
 * half_up at 48. */
__attribute__((naked)) static void conv_2x4(const int32_t *pixels, const int32_t *weights,
                                          int32_t pairs, const int32_t *params, int8_t *y0,
                                          int8_t *y1, int32_t groups, int32_t half_up) {
  __asm__(
      "push {r4-r11, lr}\n\t"
      "sub sp, #12\n\t"
      "add r2, r0, r2, lsl #3\n\t"
      "strd r0, r2, [sp]\n\t"
      "str r3, [sp, #8]\n\t"
      "1:\n\t" /* four channels */
      "ldrd r0, lr, [sp]\n\t" ZERO_SUMS
      "sub r2, lr, r0\n\t"
      "tst r2, #16\n\t" /* the loop takes four pairs at a time: are two left over? */
      "beq 2f\n\t" CONV_2X4_PAIR CONV_2X4_PAIR
      "cmp r0, lr\n\t"
      "beq 3f\n\t"
      "2:\n\t" CONV_2X4_PAIR CONV_2X4_PAIR CONV_2X4_PAIR CONV_2X4_PAIR
      "cmp r0, lr\n\t"
      "bne 2b\n\t"
      "3:\n\t"
      "ldr r0, [sp, #8]\n\t"
      "ldr r2, [sp, #60]\n\t"
      "cmp r2, #0\n\t"
      "bne 4f\n\t" FINISH_2X4(FINISH_A, FINISH_B)
      "b 5f\n\t"
      "4:\n\t" FINISH_2X4(FINISH_A_HALF_UP, FINISH_B_HALF_UP)
      "5:\n\t"
      "str r0, [sp, #8]\n\t"
      "ldrd r2, r3, [sp, #48]\n\t"
      "strb r5, [r2], #1\n\t"
      "strb r6, [r2], #1\n\t"
      "strb r7, [r2], #1\n\t"
      "strb r8, [r2], #1\n\t"
      "strb r9, [r3], #1\n\t"
      "strb r10, [r3], #1\n\t"
      "strb r11, [r3], #1\n\t"
      "strb r12, [r3], #1\n\t"
      "strd r2, r3, [sp, #48]\n\t"
      "ldr r4, [sp, #56]\n\t"
      "subs r4, #1\n\t"
      "str r4, [sp, #56]\n\t"
      "bne 1b\n\t"
      "add sp, #12\n\t"
      "pop {r4-r11, pc}");
}

#define CONV_1X8_CHANNELS(full, low)       \
  "ldr r3, [r1], #4\n\t"                   \
  "smlad " full ", r2, r3, " full "\n\t"   \
  "sxtb16 r3, r3\n\t"                      \
  "smlad " low ", r2, r3, " low "\n\t"
#define CONV_1X8_PAIR                                                                        \
  "ldr r2, [r0], #4\n\t" CONV_1X8_CHANNELS("r5", "r6") CONV_1X8_CHANNELS("r7", "r8")         \
      CONV_1X8_CHANNELS("r9", "r10") CONV_1X8_CHANNELS("r11", "r12")

/* On the stack: pixel, its end, params; the caller's arguments y, groups and half_up at
 * 48. */
__attribute__((naked)) static void conv_1x8(const int32_t *pixel, const int32_t *weights,
                                          int32_t pairs, const int32_t *params, int8_t *y,
                                          int32_t groups, int32_t half_up) {
  __asm__(
      "push {r4-r11, lr}\n\t"
      "sub sp, #12\n\t"
      "add r2, r0, r2, lsl #2\n\t"
      "strd r0, r2, [sp]\n\t"
      "str r3, [sp, #8]\n\t"
      "1:\n\t" /* eight channels */
      "ldrd r0, lr, [sp]\n\t" ZERO_SUMS
      "2:\n\t" CONV_1X8_PAIR CONV_1X8_PAIR
      "cmp r0, lr\n\t"
      "bne 2b\n\t"
      "ldr r0, [sp, #8]\n\t"
      "ldr r2, [sp, #56]\n\t"
      "cmp r2, #0\n\t"
      "bne 4f\n\t" FINISH_1X8(FINISH_A, FINISH_B)
      "b 5f\n\t"
      "4:\n\t" FINISH_1X8(FINISH_A_HALF_UP, FINISH_B_HALF_UP)
      "5:\n\t"
      "str r0, [sp, #8]\n\t"
      "ldrd r2, r3, [sp, #48]\n\t"
      "strb r5, [r2], #1\n\t"
      "strb r6, [r2], #1\n\t"
      "strb r7, [r2], #1\n\t"
      "strb r8, [r2], #1\n\t"
      "strb r9, [r2], #1\n\t"
      "strb r10, [r2], #1\n\t"
      "strb r11, [r2], #1\n\t"
      "strb r12, [r2], #1\n\t"
      "subs r3, #1\n\t"
      "strd r2, r3, [sp, #48]\n\t"
      "bne 1b\n\t"
      "add sp, #12\n\t"
      "pop {r4-r11, pc}");
}

#else

/* One pixel and a group of 2 * channel_pairs channels. */
static void conv(const int32_t *x, int32_t step, const int32_t *weights, int32_t channel_pairs,
                 int32_t pairs, const int32_t *params, int8_t *y, int32_t half_up) {
  for (int32_t i = 0; i < channel_pairs; ++i) {
    int32_t full = 0;
    int32_t low = 0;
    for (int32_t k = 0; k < pairs; ++k) {
      const int32_t word = weights[k * channel_pairs + i];
      full = tiny_dual_mac(x[k * step], word, full);
      low = tiny_dual_mac(x[k * step], tiny_even_bytes((uint32_t)word), low);
    }
    const int32_t sums[2] = {(int32_t)((uint32_t)full - (uint32_t)low) >> 8, low};
    for (int32_t j = 0; j < 2; ++j) {
      const int32_t doubled = sums[j] * (half_up ? 2 << TINY_FRACTION_BITS : 2) + params[0];
      *y++ = (int8_t)tiny_saturate_int8(
          half_up ? tiny_scale_half_up(doubled, params[1], params[2], params[3])
                  : tiny_scale(doubled, params[1], params[2], params[3]));
      params += 4;
    }
  }
}

static void conv_2x4(const int32_t *pixels, const int32_t *weights, int32_t pairs,
                     const int32_t *params, int8_t *y0, int8_t *y1, int32_t groups, int32_t half_up) {
  for (int32_t g = 0; g < groups; ++g) {
    conv(pixels, 2, weights, 2, pairs, params, y0, half_up);
    conv(pixels + 1, 2, weights, 2, pairs, params, y1, half_up);
    weights += 2 * pairs;
    params += 16;
    y0 += 4;
    y1 += 4;
  }
}

static void conv_1x8(const int32_t *pixel, const int32_t *weights, int32_t pairs,
                     const int32_t *params, int8_t *y, int32_t groups, int32_t half_up) {
  for (int32_t g = 0; g < groups; ++g) {
    conv(pixel, 1, weights, 4, pairs, params, y, half_up);
    weights += 4 * pairs;
    params += 32;
    y += 8;
  }
}

#endif

/* The last channels of a layer may not fill a group: those go by way of a buffer. */
void tiny_conv_two_pixels(const int32_t *pixels, const int32_t *weights, int32_t pairs,
                          const int32_t *params, int8_t *y0, int8_t *y1, int32_t channels,
                          int32_t half_up) {
  const int32_t groups = channels / 4;
  const int32_t rest = channels % 4;
  if (groups > 0) {
    conv_2x4(pixels, weights, pairs, params, y0, y1, groups, half_up);
  }
  if (rest > 0) {
    int8_t last[8];
    conv_2x4(pixels, weights + groups * 2 * pairs, pairs, params + groups * 16, last, last + 4, 1,
             half_up);
    memcpy(y0 + 4 * groups, last, (size_t)rest);
    memcpy(y1 + 4 * groups, last + 4, (size_t)rest);
  }
}

void tiny_conv_one_pixel(const int32_t *pixel, const int32_t *weights, int32_t pairs,
                         const int32_t *params, int8_t *y, int32_t channels, int32_t half_up) {
  const int32_t groups = channels / 8;
  const int32_t rest = channels % 8;
  if (groups > 0) {
    conv_1x8(pixel, weights, pairs, params, y, groups, half_up);
  }
  if (rest > 0) {
    int8_t last[8];
    conv_1x8(pixel, weights + groups * 4 * pairs, pairs, params + groups * 32, last, 1, half_up);
    memcpy(y + 8 * groups, last, (size_t)rest);
  }
}
