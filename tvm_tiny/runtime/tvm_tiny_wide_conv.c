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

enum { QUAD = 4 };

/* Channels of a tile, as the functions in assembly read them. */
typedef struct tile_job {
  const int32_t *rows; /* of scaling */
  const int32_t *bias;
  int16_t *output;
  int32_t step; /* bytes from pixel to pixel */
  const int16_t *fours_end, *end; /* of the windows: as far as there are four quads, and all */
  const int32_t *bias_end;
  int32_t fraction_bits;
  int32_t doubled_offset;
} tile_job;

/* Usual channels, of weights in whole quads. */
typedef void tile_function(const int16_t *windows, const int8_t *weight, const tile_job *job);

#if TINY_HAS_DSP

/* r0: windows, r1: weights. Sums are in r3, r8, r9, r10, r12, lr; the rest is for operands. They
 * begin with the doubled bias. On the stack: windows, and the job.
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

#define BEGIN                      \
  "push {r4-r11, lr}\n\t"          \
  "ldmia r2, {r3-r11}\n\t"         \
  "push {r0, r3-r11}\n\t"          \
  "1:\n\t"                         \
  "ldr r2, [sp, #8]\n\t"           \
  "ldr r0, [sp]\n\t"               \
  "ldr r3, [r2], #4\n\t"           \
  "str r2, [sp, #8]\n\t"           \
  "lsl r3, r3, #1\n\t"
#define LOOP(quad)                 \
  "b 3f\n\t"                       \
  "2:\n\t" quad quad quad quad     \
  "3:\n\t"                         \
  "ldr r2, [sp, #20]\n\t"          \
  "cmp r0, r2\n\t"                 \
  "blo 2b\n\t"                     \
  "ldr r2, [sp, #24]\n\t"          \
  "cmp r0, r2\n\t"                 \
  "bhs 5f\n\t"                     \
  "4:\n\t" quad                    \
  "ldr r2, [sp, #24]\n\t"          \
  "cmp r0, r2\n\t"                 \
  "blo 4b\n\t"                     \
  "5:\n\t"                         \
  "ldr r2, [sp, #4]\n\t"           \
  "ldr r11, [sp, #32]\n\t"         \
  "ldrd r6, r7, [sp, #12]\n\t"     \
  "ldmia r2!, {r0, r5}\n\t"        \
  "ldr r4, [sp, #36]\n\t"          \
  "lsl r4, r4, r5\n\t"             \
  "asr r4, r4, #1\n\t"             \
  "str r2, [sp, #4]\n\t"           \
  "add r2, r6, #2\n\t"             \
  "str r2, [sp, #12]\n\t"          \
  "cmp r11, #0\n\t"                \
  "bne 7f\n\t"
#define END                        \
  "ldr r2, [sp, #8]\n\t"           \
  "ldr r3, [sp, #28]\n\t"          \
  "cmp r2, r3\n\t"                 \
  "bne 1b\n\t"                     \
  "add sp, #40\n\t"                \
  "pop {r4-r11, pc}\n\t"           \
  "7:\n\t"                         \
  "ldr r2, [sp, #8]\n\t"           \
  "ldr r2, [r2, #-4]\n\t"          \
  "lsl r2, r2, #1\n\t"
/* r0: multiplier, r4: offset, r5: shift, r6: output, r7: step; r2: doubled bias, r11: fraction bits */
#define SCALE(sum)                             \
  "add r2, r4, " sum ", asr #31\n\t"           \
  "smmlar " sum ", " sum ", r0, r2\n\t"        \
  "asr " sum ", " sum ", r5\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define SCALE_ONCE(sum)                        \
  "sub " sum ", " sum ", r2\n\t"               \
  "lsl " sum ", " sum ", r11\n\t"              \
  "add " sum ", " sum ", r2\n\t"               \
  "smmlar " sum ", " sum ", r0, r4\n\t"        \
  "asr " sum ", " sum ", r5\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define FOR_1(scale) scale("r3")
#define FOR_2(scale) FOR_1(scale) scale("r8")
#define FOR_4(scale) FOR_2(scale) scale("r9") scale("r10")
#define FOR_6(scale) FOR_4(scale) scale("r12") scale("lr")

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

__attribute__((naked)) static void tile_of_6(const int16_t *windows, const int8_t *weight,
                                             const tile_job *job) {
  __asm__(BEGIN
          "mov r8, r3\n\t"
          "mov r9, r3\n\t"
          "mov r10, r3\n\t"
          "mov r12, r3\n\t"
          "mov lr, r3\n\t"
          LOOP(QUAD_6) FOR_6(SCALE)
          "6:\n\t"
          "strh r3, [r6]\n\t"
          "strh r8, [r6, r7]\n\t"
          "strh r9, [r6, r7, lsl #1]\n\t"
          "add r6, r6, r7\n\t"
          "add r6, r6, r7, lsl #1\n\t"
          "strh r10, [r6]\n\t"
          "strh r12, [r6, r7]\n\t"
          "strh lr, [r6, r7, lsl #1]\n\t"
          END FOR_6(SCALE_ONCE) "b 6b");
}

__attribute__((naked)) static void tile_of_4(const int16_t *windows, const int8_t *weight,
                                             const tile_job *job) {
  __asm__(BEGIN
          "mov r8, r3\n\t"
          "mov r9, r3\n\t"
          "mov r10, r3\n\t"
          LOOP(QUAD_4) FOR_4(SCALE)
          "6:\n\t"
          "strh r3, [r6]\n\t"
          "strh r8, [r6, r7]\n\t"
          "strh r9, [r6, r7, lsl #1]\n\t"
          "add r6, r6, r7\n\t"
          "strh r10, [r6, r7, lsl #1]\n\t"
          END FOR_4(SCALE_ONCE) "b 6b");
}

__attribute__((naked)) static void tile_of_2(const int16_t *windows, const int8_t *weight,
                                             const tile_job *job) {
  __asm__(BEGIN
          "mov r8, r3\n\t"
          LOOP(QUAD_2) FOR_2(SCALE)
          "6:\n\t"
          "strh r3, [r6]\n\t"
          "strh r8, [r6, r7]\n\t"
          END FOR_2(SCALE_ONCE) "b 6b");
}

__attribute__((naked)) static void tile_of_1(const int16_t *windows, const int8_t *weight,
                                             const tile_job *job) {
  __asm__(BEGIN
          LOOP(QUAD_1) FOR_1(SCALE)
          "6:\n\t"
          "strh r3, [r6]\n\t"
          END FOR_1(SCALE_ONCE) "b 6b");
}

#pragma GCC diagnostic pop

#endif

/* The sum of a pixel's whole quads, doubled. */
static int32_t doubled_sum(const int16_t *windows, const int8_t *weight, int32_t quads,
                           int32_t pixels) {
  int32_t sum = 0;
  for (; quads > 0; --quads) {
    const uint32_t bytes = tiny_load_word(weight);
    int32_t even;
    int32_t odd;
    memcpy(&even, windows, sizeof even);
    memcpy(&odd, windows + 2, sizeof odd);
    sum = tiny_dual_mac(even, tiny_even_bytes(bytes), sum);
    sum = tiny_dual_mac(odd, tiny_odd_bytes(bytes), sum);
    weight += QUAD;
    windows += QUAD * pixels;
  }
  return sum;
}

#if !TINY_HAS_DSP

static void tile_of(int32_t pixels, const int16_t *windows, const int8_t *weight,
                    const tile_job *job) {
  const int32_t quads = (int32_t)(job->end - windows) / (QUAD * pixels);
  const int32_t *row = job->rows;
  int16_t *output = job->output;
  for (const int32_t *bias = job->bias; bias < job->bias_end; ++bias) {
    const int32_t right = row[TINY_WIDE_RIGHT];
    const tiny_wide_scaling scaling = {row[TINY_WIDE_MULTIPLIER],
                                       tiny_wide_offset(job->doubled_offset, right), right,
                                       job->fraction_bits};
    for (int32_t p = 0; p < pixels; ++p) {
      const int32_t sum = doubled_sum(windows + p * QUAD, weight, quads, pixels);
      output[p * job->step / 2] = tiny_wide_scale(&scaling, sum, 2 * *bias);
    }
    weight += quads * QUAD;
    row += TINY_WIDE_ROW;
    ++output;
  }
}

#define DEFINE_TILE(pixels)                                                                    \
  static void tile_of_##pixels(const int16_t *windows, const int8_t *weight,                   \
                               const tile_job *job) {                                          \
    tile_of(pixels, windows, weight, job);                                                     \
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

/* A channel whose weights are not in whole quads, or that is not usual. */
static void rare_channel(const tiny_wide_layer *l, const int16_t *windows, const int8_t *weight,
                         int32_t bias, const int32_t *row, int32_t pixels, int16_t *output) {
  const int32_t quads = l->taps / QUAD;
  for (int32_t p = 0; p < pixels; ++p) {
    int32_t doubled = doubled_sum(windows + p * QUAD, weight, quads, pixels);
    for (int32_t tap = quads * QUAD; tap < l->taps; ++tap) {
      doubled += windows[place_of(tap, pixels) + p * QUAD] * weight[tap];
    }
    output[p * l->channels] = tiny_wide_scale_any(l, doubled / 2, bias, row);
  }
}

/* How many of `count` channels are usual before the first one that is not. */
static int32_t usual_channels(const tiny_wide_rule *rule, const int32_t *bias,
                              const int32_t *scaling, int32_t count) {
  int32_t usual = 0;
  while (usual < count && tiny_wide_is_usual(rule, bias[usual], scaling)) {
    scaling += TINY_WIDE_ROW;
    ++usual;
  }
  return usual;
}

/* A group's channels: what they are computed from, and whether all are usual. */
typedef struct channel_group {
  const int8_t *weight;
  const int32_t *bias, *scaling;
  int32_t count;
  int is_usual;
} channel_group;

/* The channels of a group, for a tile whose windows are expanded. */
static void tile_channels(const tiny_wide_layer *l, const channel_group *group,
                          const tiny_wide_rule *rule, const int16_t *windows, int32_t pixels,
                          int16_t *output) {
  tile_function *const tile = pixels == 6   ? tile_of_6
                              : pixels == 4 ? tile_of_4
                              : pixels == 2 ? tile_of_2
                                            : tile_of_1;
  const int32_t quads = l->taps / QUAD;
  tile_job job;
  job.step = l->channels * (int32_t)sizeof *output;
  job.fours_end = windows + quads / 4 * 4 * QUAD * pixels;
  job.end = windows + quads * QUAD * pixels;
  job.fraction_bits = rule->fraction_bits;
  job.doubled_offset = rule->doubled_offset;
  for (int32_t c = 0; c < group->count;) {
    const int32_t rest = group->count - c;
    const int32_t usual = group->is_usual          ? rest
                          : l->taps % QUAD != 0 ? 0
                                                : usual_channels(rule, group->bias + c,
                                                                 group->scaling + TINY_WIDE_ROW * c,
                                                                 rest);
    if (usual > 0) {
      job.rows = group->scaling + TINY_WIDE_ROW * c;
      job.bias = group->bias + c;
      job.output = output + c;
      job.bias_end = job.bias + usual;
      tile(windows, group->weight + c * l->taps, &job);
      c += usual;
    } else {
      rare_channel(l, windows, group->weight + c * l->taps, group->bias[c],
                   group->scaling + TINY_WIDE_ROW * c, pixels, output + c);
      ++c;
    }
  }
}

static void tile_groups(const tiny_wide_layer *l, const int8_t *data, channel_group group,
                        const tiny_wide_rule *rule, int32_t first, int32_t pixels,
                        int16_t *windows, int16_t *output) {
  for (int32_t g = 0; g < l->groups; ++g) {
    for (int32_t p = 0; p < pixels; ++p) {
      expand_window(l, data, first + p, windows + p * QUAD, pixels);
    }
    tile_channels(l, &group, rule, windows, pixels, output);
    data += l->depth / l->groups;
    group.weight += group.count * l->taps;
    group.bias += group.count;
    group.scaling += TINY_WIDE_ROW * group.count;
    output += group.count;
  }
}

/* The largest tile of at most `count` pixels. */
static int32_t tile_size(int32_t count) { return count >= 6 ? 6 : count >= 4 ? 4 : tiny_min(count, 2); }

void tiny_wide_conv2d(const int8_t *data, const int8_t *weight, const int32_t *bias,
                      const int32_t *scaling, const int32_t *layer, int16_t *scratch,
                      int16_t *output) {
  const tiny_wide_layer *l = (const tiny_wide_layer *)layer;
  const int32_t count = l->output_height * l->output_width;
  const tiny_wide_rule rule = tiny_wide_rule_of(l);
  const int are_usual = l->taps % QUAD == 0 &&
                        usual_channels(&rule, bias, scaling, l->channels) == l->channels;
  const channel_group group = {weight, bias, scaling, l->channels / l->groups, are_usual};
  for (int32_t n = 0; n < l->batch; ++n) {
    for (int32_t first = 0; first < count;) {
      const int32_t pixels = tile_size(tiny_min(count - first, l->tile));
      tile_groups(l, data, group, &rule, first, pixels, scratch, output);
      output += pixels * l->channels;
      first += pixels;
    }
    data += l->height * l->width * l->depth;
  }
}
