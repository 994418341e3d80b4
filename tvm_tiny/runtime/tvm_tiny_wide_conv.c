/* Convolutions to int16: tiles of pixels, whose windows are expanded to halves once for all output
 * channels; then a channel at a time, so that weights are read as they lie.
 *
 * A tile's windows are quads of taps in the order in which SXTB16 leaves those of a word of weights:
 * for each quad, and in it for each pixel, the halves of taps 0, 2, 1 and 3. They hold
 * 2 * (x - zero point), so that accumulators are doubled sums.
 */
#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"
#include "tvm_tiny_wide.h"
#include "tvm_tiny_wide_scale.h"

enum { MOST_PIXELS = 6, QUAD = 4 };

/* A channel of a tile, as the functions in assembly read it. */
typedef struct channel_job {
  tiny_wide_scaling scaling;
  void *output; /* int16_t of the tile's pixels; their doubled sums if the multiplier is zero */
  int32_t step; /* bytes from pixel to pixel */
  int32_t doubled_bias;
  const int16_t *fours_end, *end; /* of the windows: as far as there are four quads, and all */
} channel_job;

/* Sums begin with `first`: the doubled bias unless that is added later. */
typedef void tile_function(const int16_t *windows, const int8_t *weight, const channel_job *job,
                           int32_t first);

#if TINY_HAS_DSP

/* r0: windows, r1: weights. Sums are in r3, r8, r9, r10, r12, lr; the rest is for operands. On the
 * stack: ends of the windows, the job.
 */
#define WEIGHTS                  \
  "ldr r2, [r1], #4\n\t"         \
  "sxtb16 r11, r2, ror #8\n\t"   \
  "sxtb16 r2, r2\n\t"
#define PIXEL(sum, even, odd)                              \
  "smlad " sum ", " even ", r2, " sum "\n\t"               \
  "smlad " sum ", " odd ", r11, " sum "\n\t"
#define TWO_PIXELS(first, second)        \
  "ldmia r0!, {r4-r7}\n\t"               \
  "smlad " first ", r4, r2, " first "\n\t"    \
  "smlad " second ", r6, r2, " second "\n\t"  \
  "smlad " first ", r5, r11, " first "\n\t"   \
  "smlad " second ", r7, r11, " second "\n\t"
#define QUAD_1 WEIGHTS "ldrd r4, r5, [r0], #8\n\t" PIXEL("r3", "r4", "r5")
#define QUAD_2 WEIGHTS TWO_PIXELS("r3", "r8")
#define QUAD_4 QUAD_2 TWO_PIXELS("r9", "r10")
#define QUAD_6 QUAD_4 TWO_PIXELS("r12", "lr")

#define BEGIN                         \
  "push {r2, r4-r11, lr}\n\t"         \
  "ldrd r4, r5, [r2, #28]\n\t"        \
  "push {r4, r5}\n\t"
#define LOOP(quad)        \
  "b 2f\n\t"              \
  "1:\n\t" quad quad quad quad \
  "2:\n\t"                \
  "ldr r2, [sp]\n\t"      \
  "cmp r0, r2\n\t"        \
  "blo 1b\n\t"            \
  "b 4f\n\t"              \
  "3:\n\t" quad           \
  "4:\n\t"                \
  "ldr r2, [sp, #4]\n\t"  \
  "cmp r0, r2\n\t"        \
  "blo 3b\n\t"            \
  "ldr r2, [sp, #8]\n\t"  \
  "ldmia r2, {r0, r1, r4, r5, r6, r7, r11}\n\t" \
  "cmp r0, #0\n\t"       \
  "beq 5f\n\t" \
  "cmp r5, #0\n\t" \
  "bne 6f\n\t"
/* r0: multiplier, r1: offset, r4: shift, r5: fraction bits, r6: output, r7: step, r11: bias */
#define SCALE(sum)                             \
  "add r2, r1, " sum ", asr #31\n\t"           \
  "smmlar " sum ", " sum ", r0, r2\n\t"        \
  "asr " sum ", " sum ", r4\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define SCALE_ONCE(sum)                        \
  "lsl " sum ", " sum ", r5\n\t"               \
  "add " sum ", " sum ", r11\n\t"              \
  "smmlar " sum ", " sum ", r0, r1\n\t"        \
  "asr " sum ", " sum ", r4\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define FOR_1(scale) scale("r3")
#define FOR_2(scale) FOR_1(scale) scale("r8")
#define FOR_4(scale) FOR_2(scale) scale("r9") scale("r10")
#define FOR_6(scale) FOR_4(scale) scale("r12") scale("lr")
#define END "add sp, #12\n\tpop {r4-r11, pc}"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

__attribute__((naked)) static void tile_of_6(const int16_t *windows, const int8_t *weight,
                                             const channel_job *job, int32_t first) {
  __asm__(BEGIN
          "mov r8, r3\n\t"
          "mov r9, r3\n\t"
          "mov r10, r3\n\t"
          "mov r12, r3\n\t"
          "mov lr, r3\n\t"
          LOOP(QUAD_6) FOR_6(SCALE)
          "7:\n\t"
          "strh r3, [r6]\n\t"
          "strh r8, [r6, r7]\n\t"
          "strh r9, [r6, r7, lsl #1]\n\t"
          "add r6, r6, r7\n\t"
          "add r6, r6, r7, lsl #1\n\t"
          "strh r10, [r6]\n\t"
          "strh r12, [r6, r7]\n\t"
          "strh lr, [r6, r7, lsl #1]\n\t"
          END "\n\t"
          "5:\n\t"
          "stmia r6, {r3, r8, r9, r10, r12, lr}\n\t"
          END "\n\t"
          "6:\n\t" FOR_6(SCALE_ONCE) "b 7b");
}

__attribute__((naked)) static void tile_of_4(const int16_t *windows, const int8_t *weight,
                                             const channel_job *job, int32_t first) {
  __asm__(BEGIN
          "mov r8, r3\n\t"
          "mov r9, r3\n\t"
          "mov r10, r3\n\t"
          LOOP(QUAD_4) FOR_4(SCALE)
          "7:\n\t"
          "strh r3, [r6]\n\t"
          "strh r8, [r6, r7]\n\t"
          "strh r9, [r6, r7, lsl #1]\n\t"
          "add r6, r6, r7\n\t"
          "strh r10, [r6, r7, lsl #1]\n\t"
          END "\n\t"
          "5:\n\t"
          "stmia r6, {r3, r8, r9, r10}\n\t"
          END "\n\t"
          "6:\n\t" FOR_4(SCALE_ONCE) "b 7b");
}

__attribute__((naked)) static void tile_of_2(const int16_t *windows, const int8_t *weight,
                                             const channel_job *job, int32_t first) {
  __asm__(BEGIN
          "mov r8, r3\n\t"
          LOOP(QUAD_2) FOR_2(SCALE)
          "7:\n\t"
          "strh r3, [r6]\n\t"
          "strh r8, [r6, r7]\n\t"
          END "\n\t"
          "5:\n\t"
          "stmia r6, {r3, r8}\n\t"
          END "\n\t"
          "6:\n\t" FOR_2(SCALE_ONCE) "b 7b");
}

__attribute__((naked)) static void tile_of_1(const int16_t *windows, const int8_t *weight,
                                             const channel_job *job, int32_t first) {
  __asm__(BEGIN LOOP(QUAD_1) FOR_1(SCALE)
          "7:\n\t"
          "strh r3, [r6]\n\t"
          END "\n\t"
          "5:\n\t"
          "str r3, [r6]\n\t"
          END "\n\t"
          "6:\n\t" FOR_1(SCALE_ONCE) "b 7b");
}

#pragma GCC diagnostic pop

#else

static int32_t doubled_sum(const int16_t *windows, const int8_t *weight, int32_t quads,
                           int32_t pixels, int32_t sum) {
  for (; quads > 0; --quads) {
    sum += windows[0] * weight[0] + windows[1] * weight[2];
    sum += windows[2] * weight[1] + windows[3] * weight[3];
    weight += QUAD;
    windows += QUAD * pixels;
  }
  return sum;
}

static void tile_of(int32_t pixels, const int16_t *windows, const int8_t *weight,
                    const channel_job *job, int32_t first) {
  const int32_t quads = (int32_t)(job->end - windows) / (QUAD * pixels);
  for (int32_t p = 0; p < pixels; ++p) {
    const int32_t sum = doubled_sum(windows + p * QUAD, weight, quads, pixels, first);
    if (job->scaling.multiplier != 0) {
      const int32_t rest = job->scaling.fraction_bits == 0 ? 0 : job->doubled_bias;
      ((int16_t *)job->output)[p * job->step / 2] = tiny_wide_scale(&job->scaling, sum, rest);
    } else {
      ((int32_t *)job->output)[p] = sum;
    }
  }
}

#define DEFINE_TILE(pixels)                                                                    \
  static void tile_of_##pixels(const int16_t *windows, const int8_t *weight,                   \
                               const channel_job *job, int32_t first) {                        \
    tile_of(pixels, windows, weight, job, first);                                              \
  }
DEFINE_TILE(6)
DEFINE_TILE(4)
DEFINE_TILE(2)
DEFINE_TILE(1)

#endif

/* Where a tap of the tile's first pixel lies in the windows. */
static int32_t place_of(int32_t tap, int32_t pixels) {
  static const int8_t order[QUAD] = {0, 2, 1, 3};
  return tap / QUAD * QUAD * pixels + order[tap % QUAD];
}

/* Whole quads; NULL stands for zero points. */
static void expand_quads(const int8_t *from, int32_t quads, int32_t zero_point, int16_t *to,
                         int32_t pixels) {
  const int32_t minus = tiny_halves_of(-zero_point);
  const uint32_t zeros = tiny_repeat_byte(zero_point);
  for (; quads > 0; --quads) {
    const int32_t bytes = (int32_t)(from != NULL ? tiny_load_word(from) : zeros);
    const int32_t even = tiny_add_even_bytes(minus, bytes);
    const int32_t odd = tiny_add_odd_bytes(minus, bytes);
    const int32_t even_doubled = tiny_add_halves(even, even);
    const int32_t odd_doubled = tiny_add_halves(odd, odd);
    memcpy(to, &even_doubled, sizeof even_doubled);
    memcpy(to + 2, &odd_doubled, sizeof odd_doubled);
    from = from != NULL ? from + QUAD : NULL;
    to += QUAD * pixels;
  }
}

/* The taps of one pixel of the image, from `tap` on. */
static void expand_run(const int8_t *from, int32_t count, int32_t zero_point, int16_t *to,
                       int32_t tap, int32_t pixels) {
  if (count % QUAD == 0 && tap % QUAD == 0) {
    expand_quads(from, count / QUAD, zero_point, to + tap * pixels, pixels);
    return;
  }
  for (int32_t i = 0; i < count; ++i) {
    const int32_t value = from == NULL ? 0 : 2 * (from[i] - zero_point);
    to[place_of(tap + i, pixels)] = (int16_t)value;
  }
}

/* A pixel's window: of each tap the `depth` channels from `data` on. */
static void expand_window(const tiny_wide_layer *l, const int8_t *data, int32_t number,
                          int16_t *to, int32_t pixels) {
  const int32_t depth = l->depth / l->groups;
  const int32_t top = number / l->output_width * l->stride_y - l->top;
  const int32_t left = number % l->output_width * l->stride_x - l->left;
  int32_t tap = 0;
  for (int32_t ky = 0; ky < l->kernel_height; ++ky) {
    const int32_t row = top + ky * l->dilation_y;
    for (int32_t kx = 0; kx < l->kernel_width; ++kx) {
      const int32_t column = left + kx * l->dilation_x;
      const int is_inside = row >= 0 && row < l->height && column >= 0 && column < l->width;
      const int8_t *from = is_inside ? data + (row * l->width + column) * l->depth : NULL;
      expand_run(from, depth, l->input_zero_point, to, tap, pixels);
      tap += depth;
    }
  }
}

/* Finish doubled sums of the whole quads, which began with zero: the last taps, and scaling. */
static void finish_sums(const tiny_wide_layer *l, const int16_t *windows, const int8_t *weight,
                        int32_t bias, const int32_t *row, int32_t pixels, const int32_t *sums,
                        int16_t *output) {
  for (int32_t p = 0; p < pixels; ++p) {
    int32_t doubled = sums[p];
    for (int32_t tap = l->taps / QUAD * QUAD; tap < l->taps; ++tap) {
      doubled += windows[place_of(tap, pixels) + p * QUAD] * weight[tap];
    }
    output[p * l->channels] = tiny_wide_scale_any(l, doubled / 2, bias, row);
  }
}

/* The channels of a group, for a tile whose windows are expanded. */
static void tile_channels(const tiny_wide_layer *l, const int16_t *windows, const int8_t *weight,
                          const int32_t *bias, const int32_t *scaling, int32_t pixels,
                          int16_t *output) {
  tile_function *const tile = pixels == 6   ? tile_of_6
                              : pixels == 4 ? tile_of_4
                              : pixels == 2 ? tile_of_2
                                            : tile_of_1;
  const int32_t taps = l->taps;
  const int32_t quads = taps / QUAD;
  const tiny_wide_rule rule = tiny_wide_rule_of(l);
  const int32_t *const end = bias + l->channels / l->groups;
  int32_t sums[MOST_PIXELS];
  channel_job job;
  job.step = l->channels * (int32_t)sizeof *output;
  job.fours_end = windows + quads / 4 * 4 * QUAD * pixels;
  job.end = windows + quads * QUAD * pixels;
  for (; bias < end; ++bias) {
    job.scaling = tiny_wide_scaling_of(&rule, *bias, scaling);
    if (job.scaling.multiplier != 0 && taps % QUAD == 0) {
      job.output = output;
      job.doubled_bias = 2 * *bias;
      tile(windows, weight, &job, rule.fraction_bits == 0 ? job.doubled_bias : 0);
    } else {
      job.scaling.multiplier = 0;
      job.output = sums;
      tile(windows, weight, &job, 0);
      finish_sums(l, windows, weight, *bias, scaling, pixels, sums, output);
    }
    weight += taps;
    scaling += 2;
    ++output;
  }
}

static void tile_groups(const tiny_wide_layer *l, const int8_t *data, const int8_t *weight,
                        const int32_t *bias, const int32_t *scaling, int32_t first, int32_t pixels,
                        int16_t *windows, int16_t *output) {
  const int32_t channels = l->channels / l->groups;
  for (int32_t g = 0; g < l->groups; ++g) {
    for (int32_t p = 0; p < pixels; ++p) {
      expand_window(l, data, first + p, windows + p * QUAD, pixels);
    }
    tile_channels(l, windows, weight, bias, scaling, pixels, output);
    data += l->depth / l->groups;
    weight += channels * l->taps;
    bias += channels;
    scaling += 2 * channels;
    output += channels;
  }
}

/* The largest tile of at most `count` pixels. */
static int32_t tile_size(int32_t count) { return count >= 6 ? 6 : count >= 4 ? 4 : tiny_min(count, 2); }

void tiny_wide_conv2d(const int8_t *data, const int8_t *weight, const int32_t *bias,
                      const int32_t *scaling, const int32_t *layer, int16_t *scratch,
                      int16_t *output) {
  const tiny_wide_layer *l = (const tiny_wide_layer *)layer;
  const int32_t count = l->output_height * l->output_width;
  for (int32_t n = 0; n < l->batch; ++n) {
    for (int32_t first = 0; first < count;) {
      const int32_t pixels = tile_size(tiny_min(count - first, l->tile));
      tile_groups(l, data, weight, bias, scaling, first, pixels, scratch, output);
      output += pixels * l->channels;
      first += pixels;
    }
    data += l->height * l->width * l->depth;
  }
}
