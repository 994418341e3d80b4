#include "tvm_tiny_depthwise.h"

#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

#define INLINE static inline __attribute__((always_inline))

void tiny_plane_fill(const int32_t *layer, int8_t *plane) {
  const int32_t rows = layer[TINY_DEPTHWISE_PLANE_ROWS];
  const int32_t bytes = rows * layer[TINY_DEPTHWISE_PLANE_STRIDE] + TINY_PLANE_SLACK;
  memset(plane, (int)layer[TINY_DEPTHWISE_ZERO_POINT], (size_t)bytes);
}

void tiny_plane_gather(const int32_t *layer, const int8_t *image, int8_t *plane) {
  const int32_t width = layer[TINY_DEPTHWISE_WIDTH];
  const int32_t step = layer[TINY_DEPTHWISE_CHANNELS];
  const int32_t stride = layer[TINY_DEPTHWISE_PLANE_STRIDE];
  int8_t *row = plane + layer[TINY_DEPTHWISE_TOP] * stride + layer[TINY_DEPTHWISE_LEFT];
  for (int32_t y = layer[TINY_DEPTHWISE_HEIGHT]; y > 0; --y) {
    int8_t *to = row;
    int32_t x = width;
    for (; x >= 4; x -= 4) {
      to[0] = image[0];
      to[1] = image[step];
      to[2] = image[2 * step];
      to[3] = image[3 * step];
      to += 4;
      image += 4 * step;
    }
    for (; x > 0; --x) {
      *to++ = *image;
      image += step;
    }
    row += stride;
  }
}

/* How sums become int8. Every kernel exists for each, since they end every inner loop. */
enum scaling {
  SHIFTED, /* the usual case: saturation to int8 clamps, and the shift is positive */
  HALF_UP, /* the same with the other rounding */
  ANY      /* any clamp, shift and rounding */
};

/* What the inner loops need of the two tables, in registers. */
struct plane_job {
  const int32_t *weights;
  int32_t bias, multiplier, offset, shift, low, high, half_up;
  enum scaling scaling;
};

INLINE struct plane_job make_job(const int32_t *layer, const int32_t *channel, enum scaling scaling) {
  const struct plane_job job = {
      .weights = channel + TINY_CHANNEL_WEIGHTS,
      .bias = channel[TINY_CHANNEL_BIAS],
      .multiplier = channel[TINY_CHANNEL_MULTIPLIER],
      .offset = channel[TINY_CHANNEL_OFFSET],
      .shift = channel[TINY_CHANNEL_SHIFT],
      .low = layer[TINY_DEPTHWISE_CLAMP_MIN],
      .high = layer[TINY_DEPTHWISE_CLAMP_MAX],
      .half_up = layer[TINY_DEPTHWISE_HALF_UP],
      .scaling = scaling,
  };
  return job;
}

INLINE int8_t finish(const struct plane_job *job, int32_t doubled) {
  if (job->scaling == SHIFTED) {
    return (int8_t)tiny_saturate_int8(
        tiny_scale(doubled, job->multiplier, job->offset, job->shift));
  }
  if (job->scaling == HALF_UP) {
    return (int8_t)tiny_saturate_int8(
        tiny_scale_half_up(doubled, job->multiplier, job->offset, job->shift));
  }
  const int32_t scaled =
      job->half_up ? tiny_scale_half_up(doubled, job->multiplier, job->offset, job->shift)
                   : tiny_scale_any(doubled, job->multiplier, job->offset, job->shift);
  return (int8_t)tiny_clamp(scaled, job->low, job->high);
}

/* Three taps of one row for two neighbouring pixels: bytes 0 to 3 of the row. */
INLINE void row_3(uint32_t bytes, int32_t outer, int32_t inner, int32_t *left, int32_t *right) {
  const int32_t even = tiny_even_bytes(bytes);
  const int32_t odd = tiny_odd_bytes(bytes);
  *left = tiny_mac_low_low(odd, inner, tiny_dual_mac(even, outer, *left));
  *right = tiny_mac_high_low(even, inner, tiny_dual_mac(odd, outer, *right));
}

/* Two rows and two columns of pixels share every load. The row below the last, and the column
 * behind it, are computed too where their number is odd, from the plane's slack, but not stored.
 */
INLINE void depthwise_3x3_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                             int8_t *output, enum scaling scaling) {
  const struct plane_job job = make_job(layer, channel, scaling);
  const int32_t outer0 = job.weights[0], inner0 = job.weights[1];
  const int32_t outer1 = job.weights[2], inner1 = job.weights[3];
  const int32_t outer2 = job.weights[4], inner2 = job.weights[5];
  const int32_t stride = layer[TINY_DEPTHWISE_PLANE_STRIDE];
  const int32_t step = layer[TINY_DEPTHWISE_CHANNELS];
  const int32_t width = layer[TINY_DEPTHWISE_OUTPUT_WIDTH];
  const int32_t pitch = width * step;
  for (int32_t rows = layer[TINY_DEPTHWISE_OUTPUT_HEIGHT]; rows > 0; rows -= 2) {
    const int8_t *from = plane;
    int8_t *to = output;
    for (int32_t columns = width; columns > 0; columns -= 2) {
      int32_t a = job.bias, b = job.bias, c = job.bias, d = job.bias;
      uint32_t bytes = tiny_load_word(from);
      row_3(bytes, outer0, inner0, &a, &b);
      bytes = tiny_load_word(from + stride);
      row_3(bytes, outer1, inner1, &a, &b);
      row_3(bytes, outer0, inner0, &c, &d);
      bytes = tiny_load_word(from + 2 * stride);
      row_3(bytes, outer2, inner2, &a, &b);
      row_3(bytes, outer1, inner1, &c, &d);
      bytes = tiny_load_word(from + 3 * stride);
      row_3(bytes, outer2, inner2, &c, &d);
      to[0] = finish(&job, a);
      if (columns > 1) {
        to[step] = finish(&job, b);
      }
      if (rows > 1) {
        to[pitch] = finish(&job, c);
        if (columns > 1) {
          to[pitch + step] = finish(&job, d);
        }
      }
      from += 2;
      to += 2 * step;
    }
    plane += 2 * stride;
    output += 2 * pitch;
  }
}

INLINE void depthwise_3x3_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                             int8_t *output, enum scaling scaling) {
  const struct plane_job job = make_job(layer, channel, scaling);
  const int32_t stride = layer[TINY_DEPTHWISE_PLANE_STRIDE];
  const int32_t step = layer[TINY_DEPTHWISE_CHANNELS];
  for (int32_t rows = layer[TINY_DEPTHWISE_OUTPUT_HEIGHT]; rows > 0; --rows) {
    const int8_t *from = plane;
    for (int32_t columns = layer[TINY_DEPTHWISE_OUTPUT_WIDTH]; columns > 0; --columns) {
      int32_t acc = job.bias;
#pragma GCC unroll 3
      for (int32_t ky = 0; ky < 3; ++ky) {
        const uint32_t bytes = tiny_load_word(from + ky * stride);
        acc = tiny_dual_mac(tiny_even_bytes(bytes), job.weights[2 * ky], acc);
        acc = tiny_mac_low_low(tiny_odd_bytes(bytes), job.weights[2 * ky + 1], acc);
      }
      *output = finish(&job, acc);
      output += step;
      from += 2;
    }
    plane += 2 * stride;
  }
}

/* Five or seven taps of one row for one pixel. */
INLINE int32_t row_wide(const int8_t *from, const int32_t *weights, int size, int32_t acc) {
  const uint32_t first = tiny_load_word(from);
  const uint32_t second = tiny_load_word(from + 4);
  acc = tiny_dual_mac(tiny_even_bytes(first), weights[0], acc);
  acc = tiny_dual_mac(tiny_odd_bytes(first), weights[1], acc);
  acc = tiny_dual_mac(tiny_even_bytes(second), weights[2], acc);
  return size == 7 ? tiny_mac_low_low(tiny_odd_bytes(second), weights[3], acc) : acc;
}

/* The same for two neighbouring pixels: bytes 0 to 7 of the row. */
INLINE void row_wide_2(const int8_t *from, const int32_t *weights, int size, int32_t *left,
                       int32_t *right) {
  const uint32_t first = tiny_load_word(from);
  const uint32_t second = tiny_load_word(from + 4);
  const int32_t even0 = tiny_even_bytes(first), odd0 = tiny_odd_bytes(first);
  const int32_t even1 = tiny_even_bytes(second), odd1 = tiny_odd_bytes(second);
  const int32_t bytes_4_2 = tiny_low_high(even0, even1);
  *left = tiny_dual_mac(even0, weights[0], *left);
  *right = tiny_dual_mac(odd0, weights[0], *right);
  *left = tiny_dual_mac(odd0, weights[1], *left);
  *right = tiny_dual_mac_crossed(bytes_4_2, weights[1], *right);
  *left = tiny_dual_mac(even1, weights[2], *left);
  *right = tiny_dual_mac(odd1, weights[2], *right);
  if (size == 7) {
    *left = tiny_mac_low_low(odd1, weights[3], *left);
    *right = tiny_mac_high_low(even1, weights[3], *right);
  }
}

INLINE void depthwise_wide_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                              int8_t *output, int size, enum scaling scaling) {
  const struct plane_job job = make_job(layer, channel, scaling);
  const int32_t words = (size + 1) / 2;
  const int32_t stride = layer[TINY_DEPTHWISE_PLANE_STRIDE];
  const int32_t step = layer[TINY_DEPTHWISE_CHANNELS];
  for (int32_t rows = layer[TINY_DEPTHWISE_OUTPUT_HEIGHT]; rows > 0; --rows) {
    const int8_t *from = plane;
    for (int32_t columns = layer[TINY_DEPTHWISE_OUTPUT_WIDTH]; columns > 0; columns -= 2) {
      int32_t left = job.bias, right = job.bias;
      const int8_t *row = from;
      const int32_t *weights = job.weights;
      for (const int32_t *end = weights + size * words; weights < end; weights += words) {
        row_wide_2(row, weights, size, &left, &right);
        row += stride;
      }
      output[0] = finish(&job, left);
      if (columns == 1) {
        output += step;
        break;
      }
      output[step] = finish(&job, right);
      output += 2 * step;
      from += 2;
    }
    plane += stride;
  }
}

INLINE void depthwise_wide_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                              int8_t *output, int size, enum scaling scaling) {
  const struct plane_job job = make_job(layer, channel, scaling);
  const int32_t words = (size + 1) / 2;
  const int32_t stride = layer[TINY_DEPTHWISE_PLANE_STRIDE];
  const int32_t step = layer[TINY_DEPTHWISE_CHANNELS];
  for (int32_t rows = layer[TINY_DEPTHWISE_OUTPUT_HEIGHT]; rows > 0; --rows) {
    const int8_t *from = plane;
    for (int32_t columns = layer[TINY_DEPTHWISE_OUTPUT_WIDTH]; columns > 0; --columns) {
      int32_t acc = job.bias;
      const int8_t *row = from;
      const int32_t *weights = job.weights;
      for (const int32_t *end = weights + size * words; weights < end; weights += words) {
        acc = row_wide(row, weights, size, acc);
        row += stride;
      }
      *output = finish(&job, acc);
      output += step;
      from += 2;
    }
    plane += 2 * stride;
  }
}

#if TINY_HAS_DSP

/* Two rows of outputs by assembly, for the usual case: the weights stay in registers, which with
 * sums and operands makes all fourteen; the rest lies on the stack in this order.
 */
struct row_pair_job {
  int32_t bias, multiplier, offset; /* 0 */
  int32_t shift; /* 12: bit 8, which shifts by a register ignore, says that halves go up */
  int32_t step, pitch;                     /* 16: from output to output, and to the next row */
  int32_t stride;                          /* 24: of the plane */
  int32_t width;                           /* 28: whole tiles of two columns, in bytes */
  int32_t is_odd;                          /* 32: one more tile, which overlaps the last */
  int32_t outer0, outer1, outer2, inner01, inner2;
};

/* r2 and r3: bytes 0 and 2 of a row, 1 and 3; r4 to r7: sums of the four outputs; r8 to r12: weights */
#define UNPACK "sxtb16 r3, r2, ror #8\n\tsxtb16 r2, r2\n\t"
#define TAPS(left, right, outer, inner, half)                          \
  "smlad " left ", r2, " outer ", " left "\n\t"                        \
  "smlad " right ", r3, " outer ", " right "\n\t"                      \
  "smlab" half " " left ", r3, " inner ", " left "\n\t"                \
  "smlat" half " " right ", r2, " inner ", " right "\n\t"
/* a product of a row's first taps begins the two sums with the bias, which is in `left` */
#define FIRST_TAPS(left, right)                   \
  "smlad " right ", r3, r8, " left "\n\t"         \
  "smlad " left ", r2, r8, " left "\n\t"          \
  "smlabb " left ", r3, r11, " left "\n\t"        \
  "smlatb " right ", r2, r11, " right "\n\t"
#define SCALE(sum)                                \
  "smmulr " sum ", " sum ", r2\n\t"               \
  "add " sum ", " sum ", " sum ", asr #31\n\t"    \
  "add " sum ", " sum ", r3\n\t"                  \
  "asr " sum ", " sum ", lr\n\t"                  \
  "ssat " sum ", #8, " sum "\n\t"
#define SCALE_HALF_UP(sum)             \
  "smmulr " sum ", " sum ", r2\n\t"    \
  "add " sum ", " sum ", r3\n\t"       \
  "asr " sum ", " sum ", lr\n\t"       \
  "ssat " sum ", #8, " sum "\n\t"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
__attribute__((naked)) static void row_pair_3x3(const int8_t *from, int8_t *to,
                                                const struct row_pair_job *job) {
  __asm__(
      "push {r4-r11, lr}\n\t"
      "sub sp, #36\n\t"
      "ldmia r2!, {r3-r11}\n\t"
      "add r10, r0\n\t" /* width becomes the end of the row */
      "stmia sp, {r3-r11}\n\t"
      "ldmia r2, {r8-r12}\n\t"
      "1:\n\t"
      "ldr lr, [sp, #24]\n\t"
      "ldr r4, [sp]\n\t"
      "ldr r2, [r0]\n\t" UNPACK FIRST_TAPS("r4", "r5")
      "ldr r2, [r0, lr]\n\t"
      "ldr r6, [sp]\n\t" UNPACK FIRST_TAPS("r6", "r7") TAPS("r4", "r5", "r9", "r11", "t")
      "ldr r2, [r0, lr, lsl #1]\n\t" UNPACK TAPS("r4", "r5", "r10", "r12", "b")
      TAPS("r6", "r7", "r9", "r11", "t")
      "add r2, r0, lr, lsl #1\n\t"
      "ldr r2, [r2, lr]\n\t" UNPACK TAPS("r6", "r7", "r10", "r12", "b")
      "ldrd r2, r3, [sp, #4]\n\t"
      "ldr lr, [sp, #12]\n\t"
      "tst lr, #0x100\n\t"
      "bne 3f\n\t" SCALE("r4") SCALE("r5") SCALE("r6") SCALE("r7")
      "b 4f\n\t"
      "3:\n\t" SCALE_HALF_UP("r4") SCALE_HALF_UP("r5") SCALE_HALF_UP("r6")
      SCALE_HALF_UP("r7") "4:\n\t"
      "ldrd r2, r3, [sp, #16]\n\t"
      "strb r4, [r1]\n\t"
      "strb r5, [r1, r2]\n\t"
      "strb r6, [r1, r3]\n\t"
      "add r3, r2\n\t"
      "strb r7, [r1, r3]\n\t"
      "add r1, r1, r2, lsl #1\n\t"
      "ldr r3, [sp, #28]\n\t"
      "adds r0, #2\n\t"
      "cmp r0, r3\n\t"
      "blo 1b\n\t"
      "ldr r3, [sp, #32]\n\t"
      "cbz r3, 2f\n\t"
      "subs r0, #1\n\t" /* one column back, once */
      "subs r1, r1, r2\n\t"
      "movs r3, #0\n\t"
      "str r3, [sp, #32]\n\t"
      "b 1b\n\t"
      "2:\n\t"
      "add sp, #36\n\t"
      "pop {r4-r11, pc}");
}
#pragma GCC diagnostic pop

/* Row pairs of a plane; where the number of rows is odd, the last pair overlaps the one before. */
static void row_pairs_3x3(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                          int8_t *output) {
  const int32_t *weights = channel + TINY_CHANNEL_WEIGHTS;
  const int32_t width = layer[TINY_DEPTHWISE_OUTPUT_WIDTH];
  const int32_t step = layer[TINY_DEPTHWISE_CHANNELS];
  const struct row_pair_job job = {
      .bias = channel[TINY_CHANNEL_BIAS],
      .multiplier = channel[TINY_CHANNEL_MULTIPLIER],
      .offset = channel[TINY_CHANNEL_OFFSET],
      .shift = channel[TINY_CHANNEL_SHIFT] | layer[TINY_DEPTHWISE_HALF_UP] << 8,
      .step = step,
      .pitch = width * step,
      .stride = layer[TINY_DEPTHWISE_PLANE_STRIDE],
      .width = width & ~1,
      .is_odd = width & 1,
      .outer0 = weights[0],
      .outer1 = weights[2],
      .outer2 = weights[4],
      .inner01 = (int32_t)((uint32_t)weights[1] | (uint32_t)weights[3] << 16),
      .inner2 = weights[5],
  };
  const int32_t last = layer[TINY_DEPTHWISE_OUTPUT_HEIGHT] - 2;
  for (int32_t row = 0; row <= last; row += 2) {
    row_pair_3x3(plane + row * job.stride, output + row * job.pitch, &job);
  }
  if (last % 2 != 0) {
    row_pair_3x3(plane + last * job.stride, output + last * job.pitch, &job);
  }
}

#endif

static enum scaling scaling_of(const int32_t *layer, const int32_t *channel) {
  if (layer[TINY_DEPTHWISE_CLAMP_MIN] != -128 || layer[TINY_DEPTHWISE_CLAMP_MAX] != 127) {
    return ANY;
  }
  if (layer[TINY_DEPTHWISE_HALF_UP]) {
    return HALF_UP;
  }
  return channel[TINY_CHANNEL_SHIFT] > 0 ? SHIFTED : ANY;
}

/* `call` is compiled once for each value of `scaling` */
#define FOR_EACH_SCALING(call)             \
  switch (scaling_of(layer, channel)) {    \
    case SHIFTED: {                        \
      const enum scaling scaling = SHIFTED; \
      call;                                \
      break;                               \
    }                                      \
    case HALF_UP: {                      \
      const enum scaling scaling = HALF_UP; \
      call;                                \
      break;                               \
    }                                      \
    default: {                             \
      const enum scaling scaling = ANY; \
      call;                                \
    }                                      \
  }

void tiny_depthwise_3x3_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output) {
#if TINY_HAS_DSP
  if (scaling_of(layer, channel) != ANY && layer[TINY_DEPTHWISE_OUTPUT_HEIGHT] > 1 &&
      layer[TINY_DEPTHWISE_OUTPUT_WIDTH] > 1) {
    row_pairs_3x3(layer, channel, plane, output);
    return;
  }
#endif
  depthwise_3x3_s1(layer, channel, plane, output, ANY);
}

void tiny_depthwise_3x3_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output) {
  FOR_EACH_SCALING(depthwise_3x3_s2(layer, channel, plane, output, scaling))
}

void tiny_depthwise_5x5_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output) {
  FOR_EACH_SCALING(depthwise_wide_s1(layer, channel, plane, output, 5, scaling))
}

void tiny_depthwise_5x5_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output) {
  FOR_EACH_SCALING(depthwise_wide_s2(layer, channel, plane, output, 5, scaling))
}

void tiny_depthwise_7x7_s1(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output) {
  FOR_EACH_SCALING(depthwise_wide_s1(layer, channel, plane, output, 7, scaling))
}

void tiny_depthwise_7x7_s2(const int32_t *layer, const int32_t *channel, const int8_t *plane,
                           int8_t *output) {
  FOR_EACH_SCALING(depthwise_wide_s2(layer, channel, plane, output, 7, scaling))
}
