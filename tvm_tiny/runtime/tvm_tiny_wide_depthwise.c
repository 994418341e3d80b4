/* Depthwise convolutions to int16: four channels at a time become planes of halves with a border of
 * zeros, from which four neighbouring outputs of a row are computed at once.
 *
 * With the words x0 x1, x2 x3, ... of a row of the plane, and the pairs of weights w0 w1, w2 w3, ...
 * (first) and w1 w2, w3 w4, ... (second), windows that begin with a word take the first pairs and
 * then the last weight alone, others w0 alone and then the second pairs. At a stride of two all
 * begin with a word. Weights are doubled, so that accumulators are doubled sums.
 */
#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"
#include "tvm_tiny_wide.h"
#include "tvm_tiny_wide_scale.h"

enum { CHANNELS = 4, OUTPUTS = 4 };

/* Four outputs of a row: how many rows of taps are inside the image, and where in bytes they begin
 * in the plane and among the weights; where the first output is.
 */
typedef struct quad_place {
  int32_t rows, plane, weights, output;
} quad_place;

/* Quads of a channel, as the functions in assembly read them. */
typedef struct quad_job {
  tiny_wide_scaling scaling;
  void *output; /* int16_t; doubled sums if the multiplier is zero */
  int32_t step; /* bytes from output to output */
  int32_t doubled_bias;
  int32_t first; /* with which sums begin: the doubled bias unless that is added later */
  int32_t row_bytes;     /* of the plane */
  const quad_place *end; /* of the places */
} quad_job;

typedef void quad_function(const int32_t *plane, const int32_t *weights, const quad_job *job,
                           const quad_place *places);

#if TINY_HAS_DSP

/* r0: plane, r1: weights, r3: rows that are left. Sums are in r8 to r11, the rest is for operands.
 * On the stack: what the sums begin with, plane, weights, job, places, bytes to the next row, end of
 * the places, the output.
 */
#define BEGIN(read)                   \
  "push {r4-r11, lr}\n\t"             \
  "ldrd r8, r4, [r2, #28]\n\t"        \
  "ldr r5, [r2, #36]\n\t"             \
  "subs r4, #" #read "\n\t"           \
  "push {r0-r6}\n\t"                  \
  "mov r9, r8\n\t"                    \
  "mov r10, r8\n\t"                   \
  "mov r11, r8\n\t"                   \
  "push {r8-r11}\n\t"                 \
  "1:\n\t"                            \
  "ldr r12, [sp, #28]\n\t"            \
  "ldrd r0, r1, [sp, #16]\n\t"        \
  "ldmia r12!, {r3-r6}\n\t"           \
  "ldr r2, [sp, #32]\n\t"             \
  "str r12, [sp, #28]\n\t"            \
  "add r0, r4\n\t"                    \
  "add r1, r5\n\t"                    \
  "str r6, [sp, #40]\n\t"             \
  "ldm sp, {r8-r11}\n\t"              \
  "2:\n\t"
/* r0: multiplier, r1: offset, r4: shift, r5: fraction bits, r6: output, r7: step, r12: bias */
#define SCALE(sum)                             \
  "add r2, r1, " sum ", asr #31\n\t"           \
  "smmlar " sum ", " sum ", r0, r2\n\t"        \
  "asr " sum ", " sum ", r4\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define SCALE_ONCE(sum)                        \
  "lsl " sum ", " sum ", r5\n\t"               \
  "add " sum ", " sum ", r12\n\t"              \
  "smmlar " sum ", " sum ", r0, r1\n\t"        \
  "asr " sum ", " sum ", r4\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define END                            \
  "subs r3, #1\n\t"                    \
  "bne 2b\n\t"                         \
  "ldr r2, [sp, #24]\n\t"              \
  "ldr r3, [sp, #40]\n\t"              \
  "ldmia r2, {r0, r1, r4-r7, r12}\n\t" \
  "add r6, r3\n\t"                     \
  "cbz r0, 4f\n\t"                     \
  "cbnz r5, 5f\n\t"                    \
  SCALE(A) SCALE(B) SCALE(C) SCALE(D)  \
  "3:\n\t"                             \
  "strh r8, [r6]\n\t"                  \
  "strh r9, [r6, r7]\n\t"              \
  "strh r10, [r6, r7, lsl #1]\n\t"     \
  "add r6, r6, r7\n\t"                 \
  "strh r11, [r6, r7, lsl #1]\n\t"     \
  "ldr r2, [sp, #28]\n\t"              \
  "ldr r3, [sp, #36]\n\t"              \
  "cmp r2, r3\n\t"                     \
  "bne 1b\n\t"                         \
  "b 6f\n\t"                           \
  "4:\n\t"                             \
  "stmia r6, {r8-r11}\n\t"             \
  "b 6f\n\t"                           \
  "5:\n\t"                             \
  SCALE_ONCE(A) SCALE_ONCE(B) SCALE_ONCE(C) SCALE_ONCE(D) \
  "b 3b\n\t"                           \
  "6:\n\t"                             \
  "add sp, #44\n\t"                    \
  "pop {r4-r11, pc}"

/* Outputs 0 to 3: a pair of taps, the last tap, the first one. */
#define A "r8"
#define B "r9"
#define C "r10"
#define D "r11"
#define PAIR(sum, word, weights) "smlad " sum ", " word ", " weights ", " sum "\n\t"
#define LAST(sum, word, weights) "smlabt " sum ", " word ", " weights ", " sum "\n\t"
#define FIRST(sum, word, weights) "smlatb " sum ", " word ", " weights ", " sum "\n\t"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

__attribute__((naked)) static void quad_3_1(const int32_t *plane, const int32_t *weights,
                                            const quad_job *job, const quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r0, {r6, r7, r12}\n\t"
          "ldrd r4, r5, [r1], #8\n\t"
          "add r0, r2\n\t"
          PAIR(A, "r6", "r4") FIRST(B, "r6", "r4") LAST(A, "r7", "r5") PAIR(B, "r7", "r5")
          PAIR(C, "r7", "r4") FIRST(D, "r7", "r4") LAST(C, "r12", "r5") PAIR(D, "r12", "r5") END);
}

__attribute__((naked)) static void quad_5_1(const int32_t *plane, const int32_t *weights,
                                            const quad_job *job, const quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r1!, {r4-r7}\n\t"
          "ldrd r12, lr, [r0]\n\t"
          PAIR(A, "r12", "r4") FIRST(B, "r12", "r4")
          "ldr r12, [r0, #8]\n\t"
          PAIR(A, "lr", "r5") PAIR(B, "lr", "r6") PAIR(C, "lr", "r4") FIRST(D, "lr", "r4")
          "ldr lr, [r0, #12]\n\t"
          "add r0, r2\n\t"
          LAST(A, "r12", "r7") PAIR(B, "r12", "r7") PAIR(C, "r12", "r5") PAIR(D, "r12", "r6")
          LAST(C, "lr", "r7") PAIR(D, "lr", "r7") END);
}

__attribute__((naked)) static void quad_7_1(const int32_t *plane, const int32_t *weights,
                                            const quad_job *job, const quad_place *places) {
  __asm__(BEGIN(16)
          "ldmia r1!, {r2, r4-r7, r12}\n\t"
          "ldr lr, [r0], #4\n\t"
          PAIR(A, "lr", "r2") FIRST(B, "lr", "r2")
          "ldr lr, [r0], #4\n\t"
          PAIR(A, "lr", "r4") PAIR(B, "lr", "r6") PAIR(C, "lr", "r2") FIRST(D, "lr", "r2")
          "ldr lr, [r0], #4\n\t"
          PAIR(A, "lr", "r5") PAIR(B, "lr", "r7") PAIR(C, "lr", "r4") PAIR(D, "lr", "r6")
          "ldr lr, [r0], #4\n\t"
          LAST(A, "lr", "r12") PAIR(B, "lr", "r12") PAIR(C, "lr", "r5") PAIR(D, "lr", "r7")
          "ldr lr, [r0]\n\t"
          "ldr r2, [sp, #32]\n\t"
          LAST(C, "lr", "r12") PAIR(D, "lr", "r12")
          "add r0, r2\n\t" END);
}

__attribute__((naked)) static void quad_3_2(const int32_t *plane, const int32_t *weights,
                                            const quad_job *job, const quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r0, {r6, r7, r12, lr}\n\t"
          "ldrd r4, r5, [r1], #8\n\t"
          PAIR(A, "r6", "r4") LAST(A, "r7", "r5")
          "ldr r6, [r0, #16]\n\t"
          "add r0, r2\n\t"
          PAIR(B, "r7", "r4") LAST(B, "r12", "r5") PAIR(C, "r12", "r4") LAST(C, "lr", "r5")
          PAIR(D, "lr", "r4") LAST(D, "r6", "r5") END);
}

__attribute__((naked)) static void quad_5_2(const int32_t *plane, const int32_t *weights,
                                            const quad_job *job, const quad_place *places) {
  __asm__(BEGIN(12)
          "ldmia r1!, {r4-r6}\n\t"
          "ldmia r0!, {r7, r12, lr}\n\t"
          PAIR(A, "r7", "r4") PAIR(A, "r12", "r5") PAIR(B, "r12", "r4") LAST(A, "lr", "r6")
          PAIR(B, "lr", "r5") PAIR(C, "lr", "r4")
          "ldmia r0, {r7, r12, lr}\n\t"
          "add r0, r2\n\t"
          LAST(B, "r7", "r6") PAIR(C, "r7", "r5") PAIR(D, "r7", "r4") LAST(C, "r12", "r6")
          PAIR(D, "r12", "r5") LAST(D, "lr", "r6") END);
}

__attribute__((naked)) static void quad_7_2(const int32_t *plane, const int32_t *weights,
                                            const quad_job *job, const quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r1!, {r4-r7}\n\t"
          "ldrd r12, lr, [r0]\n\t"
          PAIR(A, "r12", "r4") PAIR(A, "lr", "r5") PAIR(B, "lr", "r4")
          "ldrd r12, lr, [r0, #8]\n\t"
          PAIR(A, "r12", "r6") PAIR(B, "r12", "r5") PAIR(C, "r12", "r4") LAST(A, "lr", "r7")
          PAIR(B, "lr", "r6") PAIR(C, "lr", "r5") PAIR(D, "lr", "r4")
          "ldrd r12, lr, [r0, #16]\n\t"
          LAST(B, "r12", "r7") PAIR(C, "r12", "r6") PAIR(D, "r12", "r5") LAST(C, "lr", "r7")
          PAIR(D, "lr", "r6")
          "ldr r12, [r0, #24]\n\t"
          "add r0, r2\n\t"
          LAST(D, "r12", "r7") END);
}

#pragma GCC diagnostic pop

#else

/* A window of a row that begins with the first half of a word, or with the second. */
static int32_t row_sum(const int32_t *words, const int32_t *weights, int32_t pairs, int32_t second,
                       int is_odd, int32_t sum) {
  if (is_odd) {
    sum += tiny_high(words[0]) * tiny_low(weights[0]);
    ++words;
    weights += second;
  }
  for (int32_t i = 0; i < pairs; ++i) {
    sum = tiny_dual_mac(words[i], weights[i], sum);
  }
  return is_odd ? sum : sum + tiny_low(words[pairs]) * tiny_high(weights[second + pairs - 1]);
}

static void quad_of(int32_t size, int32_t stride, const int32_t *plane, const int32_t *weights,
                    const quad_job *job, const quad_place *places) {
  const int32_t pairs = size / 2;
  const int32_t second = stride == 1 ? pairs : 1;
  const int32_t rest = job->scaling.fraction_bits == 0 ? 0 : job->doubled_bias;
  for (; places < job->end; ++places) {
    uint8_t *output = (uint8_t *)job->output + places->output;
    for (int32_t i = 0; i < OUTPUTS; ++i) {
      const int32_t *words = plane + places->plane / 4 + i * stride / 2;
      const int32_t *taps = weights + places->weights / 4;
      int32_t sum = job->first;
      for (int32_t y = 0; y < places->rows; ++y) {
        sum = row_sum(words, taps, pairs, second, i * stride % 2, sum);
        words += job->row_bytes / 4;
        taps += pairs + second;
      }
      if (job->scaling.multiplier != 0) {
        *(int16_t *)(output + i * job->step) = tiny_wide_scale(&job->scaling, sum, rest);
      } else {
        ((int32_t *)output)[i] = sum;
      }
    }
  }
}

#define DEFINE_QUAD(size, stride)                                                              \
  static void quad_##size##_##stride(const int32_t *plane, const int32_t *weights,             \
                                     const quad_job *job, const quad_place *places) {          \
    quad_of(size, stride, plane, weights, job, places);                                        \
  }
DEFINE_QUAD(3, 1)
DEFINE_QUAD(5, 1)
DEFINE_QUAD(7, 1)
DEFINE_QUAD(3, 2)
DEFINE_QUAD(5, 2)
DEFINE_QUAD(7, 2)

#endif

/* What all channels of a layer share. */
typedef struct plane_layer {
  const tiny_wide_layer *l;
  tiny_wide_rule rule;
  quad_function *quad;
  int32_t second;       /* where the second pairs begin in a row of weights */
  int32_t row_weights;  /* words */
  int32_t channel_weights;
  int32_t row_words; /* of a plane */
  int32_t plane_words;
  int32_t *weights, *planes; /* of four channels */
  quad_place *places; /* of a strip of rows: whole quads, then what is left at the ends of rows */
} plane_layer;

static plane_layer plane_layer_of(const tiny_wide_layer *l, int32_t *scratch) {
  static quad_function *const quads[2][3] = {{quad_3_1, quad_5_1, quad_7_1},
                                             {quad_3_2, quad_5_2, quad_7_2}};
  const int32_t pairs = l->kernel_width / 2;
  const int32_t stride = l->stride_x;
  const int32_t starts = (l->output_width - 1) / OUTPUTS * OUTPUTS * stride / 2;
  const int32_t rows = (l->tile - 1) * l->stride_y + (l->kernel_height - 1) * l->dilation_y + 1;
  plane_layer p;
  p.l = l;
  p.rule = tiny_wide_rule_of(l);
  p.quad = quads[stride - 1][pairs - 1];
  p.second = stride == 1 ? pairs : 1;
  p.row_weights = pairs + p.second;
  p.channel_weights = p.row_weights * l->kernel_height;
  p.row_words = starts + pairs + (stride == 1 ? 2 : 4);
  p.plane_words = rows * p.row_words;
  p.weights = scratch;
  p.planes = scratch + CHANNELS * p.channel_weights;
  p.places = (quad_place *)(p.planes + CHANNELS * p.plane_words);
  return p;
}

/* Doubled weights of two channels, and of the two between them. */
typedef struct lanes {
  int32_t even, odd;
} lanes;

static inline lanes doubled_weights(const int8_t *weight) {
  const uint32_t bytes = tiny_load_word(weight);
  const int32_t even = tiny_even_bytes(bytes);
  const int32_t odd = tiny_odd_bytes(bytes);
  const lanes doubled = {tiny_add_halves(even, even), tiny_add_halves(odd, odd)};
  return doubled;
}

/* Store a pair of four channels' taps, `step` words apart. */
static inline void store_pairs(int32_t *to, int32_t step, lanes first, lanes second) {
  to[0] = tiny_low_low(first.even, second.even);
  to[step] = tiny_low_low(first.odd, second.odd);
  to[2 * step] = tiny_high_high(first.even, second.even);
  to[3 * step] = tiny_high_high(first.odd, second.odd);
}

static void pack_four(const plane_layer *p, const int8_t *weight) {
  const int32_t channels = p->l->channels;
  int32_t *to = p->weights;
  for (int32_t y = p->l->kernel_height; y > 0; --y) {
    int32_t *const end = to + p->l->kernel_width / 2;
    lanes before = doubled_weights(weight);
    weight += channels;
    for (int32_t *pair = to; pair < end; ++pair) {
      const lanes middle = doubled_weights(weight);
      const lanes behind = doubled_weights(weight + channels);
      store_pairs(pair, p->channel_weights, before, middle);
      store_pairs(pair + p->second, p->channel_weights, middle, behind);
      before = behind;
      weight += 2 * channels;
    }
    to += p->row_weights;
  }
}

static void pack_one(const plane_layer *p, const int8_t *weight, int32_t number) {
  const int32_t channels = p->l->channels;
  const int32_t pairs = p->l->kernel_width / 2;
  int32_t *to = p->weights + number * p->channel_weights;
  for (int32_t y = p->l->kernel_height; y > 0; --y) {
    for (int32_t i = 0; i < pairs; ++i) {
      const int8_t *taps = weight + 2 * i * channels;
      to[i] = tiny_low_low(2 * taps[0], 2 * taps[channels]);
      to[p->second + i] = tiny_low_low(2 * taps[channels], 2 * taps[2 * channels]);
    }
    weight += p->l->kernel_width * channels;
    to += p->row_weights;
  }
}

/* A row of four channels of the image, into a row of each plane. */
static void gather_four(const plane_layer *p, const int8_t *from, int16_t *to, int32_t width) {
  const int32_t depth = p->l->depth;
  const int32_t step = 2 * p->plane_words;
  const int32_t minus = tiny_halves_of(-p->l->input_zero_point);
  for (; width >= 2; width -= 2) {
    const int32_t left = (int32_t)tiny_load_word(from);
    const int32_t right = (int32_t)tiny_load_word(from + depth);
    const int32_t even = tiny_add_even_bytes(minus, left);
    const int32_t odd = tiny_add_odd_bytes(minus, left);
    const int32_t even_right = tiny_add_even_bytes(minus, right);
    const int32_t odd_right = tiny_add_odd_bytes(minus, right);
    const int32_t words[CHANNELS] = {tiny_low_low(even, even_right), tiny_low_low(odd, odd_right),
                                     tiny_high_high(even, even_right), tiny_high_high(odd, odd_right)};
    memcpy(to, &words[0], 4);
    memcpy(to + step, &words[1], 4);
    memcpy(to + 2 * step, &words[2], 4);
    memcpy(to + 3 * step, &words[3], 4);
    from += 2 * depth;
    to += 2;
  }
  for (int32_t j = 0; width > 0 && j < CHANNELS; ++j) {
    to[j * step] = (int16_t)(from[j] - p->l->input_zero_point);
  }
}

static void gather_one(const plane_layer *p, const int8_t *from, int16_t *to, int32_t width) {
  for (; width > 0; --width) {
    *to++ = (int16_t)(*from - p->l->input_zero_point);
    from += p->l->depth;
  }
}

/* Rows of the image that a strip of outputs from row `first` on reads, of `count` channels. */
static void gather_planes(const plane_layer *p, const int8_t *data, int32_t first, int32_t channel,
                          int32_t count) {
  const tiny_wide_layer *l = p->l;
  const int32_t per_input = l->channels / l->depth;
  const int32_t top = first * l->stride_y - l->top;
  const int32_t end = tiny_min(top + p->plane_words / p->row_words, l->height);
  const int32_t width = tiny_min(l->width, 2 * p->row_words - l->left);
  for (int32_t y = tiny_max(top, 0); y < end; ++y) {
    const int8_t *row = data + y * l->width * l->depth;
    int16_t *to = (int16_t *)(p->planes + (y - top) * p->row_words) + l->left;
    if (count == CHANNELS && per_input == 1) {
      gather_four(p, row + channel, to, width);
      continue;
    }
    for (int32_t j = 0; j < count; ++j) {
      gather_one(p, row + (channel + j) / per_input, to + 2 * j * p->plane_words, width);
    }
  }
}

/* Places of a row of outputs; rows of taps outside the image are left out. */
static void places_of_row(const plane_layer *p, int32_t first, int32_t y, quad_place *whole,
                          quad_place *rest) {
  const tiny_wide_layer *l = p->l;
  const int32_t top = y * l->stride_y - l->top;
  const int32_t above = tiny_max(-top, 0);
  const int32_t inside = tiny_min(l->kernel_height, l->height - top) - above;
  const int is_cut = l->dilation_y == 1 && inside > 0;
  const int32_t skipped = is_cut ? above : 0;
  const int32_t row = (y - first) * l->stride_y + skipped;
  quad_place place = {is_cut ? inside : l->kernel_height, row * p->row_words * 4,
                      skipped * p->row_weights * 4,
                      (y - first) * l->output_width * l->channels * 2};
  for (int32_t left = l->output_width; left > 0; left -= OUTPUTS) {
    *(left >= OUTPUTS ? whole++ : rest) = place;
    place.plane += OUTPUTS * 2 * l->stride_x;
    place.output += OUTPUTS * 2 * l->channels;
  }
}

/* Return the end of whole quads, behind which rows are that have less than four outputs. */
static quad_place *places_of_strip(const plane_layer *p, int32_t first, int32_t end) {
  const int32_t whole = p->l->output_width / OUTPUTS;
  quad_place *const rest = p->places + (end - first) * whole;
  for (int32_t y = first; y < end; ++y) {
    places_of_row(p, first, y, p->places + (y - first) * whole, rest + (y - first));
  }
  return rest;
}

/* Outputs that are not stored as they are: less than four, or of a channel that is not usual. */
static void rare_quads(const plane_layer *p, const int32_t *plane, const int32_t *weights,
                       quad_job job, const quad_place *places, const quad_place *end,
                       int32_t count, int32_t bias, const int32_t *scaling) {
  const tiny_wide_layer *l = p->l;
  const tiny_wide_scaling usual = job.scaling;
  int16_t *output = job.output;
  int32_t sums[OUTPUTS];
  job.scaling.multiplier = 0;
  job.output = sums;
  job.first = 0;
  for (; places < end; ++places) {
    int16_t *to = output + places->output / 2;
    quad_place place = *places;
    place.output = 0;
    job.end = &place + 1;
    p->quad(plane, weights, &job, &place);
    for (int32_t i = 0; i < count; ++i) {
      to[i * l->channels] = usual.multiplier != 0
                                ? tiny_wide_scale(&usual, sums[i], 2 * bias)
                                : tiny_wide_scale_any(l, sums[i] / 2, bias, scaling);
    }
  }
}

/* A strip of `rows` rows of outputs of a channel, the `number`th of four. */
static void output_strip(const plane_layer *p, const quad_place *whole_end, int32_t rows,
                         int32_t number, int32_t bias, const int32_t *scaling, int16_t *output) {
  const tiny_wide_layer *l = p->l;
  const int32_t *plane = p->planes + number * p->plane_words;
  const int32_t *weights = p->weights + number * p->channel_weights;
  const int32_t rest = l->output_width % OUTPUTS;
  quad_job job;
  job.scaling = tiny_wide_scaling_of(&p->rule, bias, scaling);
  job.output = output;
  job.step = l->channels * (int32_t)sizeof *output;
  job.row_bytes = p->row_words * l->dilation_y * (int32_t)sizeof *plane;
  job.end = whole_end;
  if (job.scaling.multiplier == 0) {
    rare_quads(p, plane, weights, job, p->places, whole_end, OUTPUTS, bias, scaling);
  } else if (p->places < whole_end) {
    job.doubled_bias = 2 * bias;
    job.first = p->rule.fraction_bits == 0 ? job.doubled_bias : 0;
    p->quad(plane, weights, &job, p->places);
  }
  if (rest > 0) {
    rare_quads(p, plane, weights, job, whole_end, whole_end + rows, rest, bias, scaling);
  }
}

static void pack_weights(const plane_layer *p, const int8_t *weight, int32_t count) {
  if (count == CHANNELS) {
    pack_four(p, weight);
    return;
  }
  for (int32_t j = 0; j < count; ++j) {
    pack_one(p, weight + j, j);
  }
}

static void run_planes(const tiny_wide_layer *l, const int8_t *data, const int8_t *weight,
                       const int32_t *bias, const int32_t *scaling, int32_t *scratch,
                       int16_t *output) {
  const plane_layer p = plane_layer_of(l, scratch);
  for (int32_t first = 0; first < l->output_height; first += l->tile) {
    const int32_t end = tiny_min(first + l->tile, l->output_height);
    const quad_place *whole_end = places_of_strip(&p, first, end);
    memset(p.planes, 0, (size_t)(CHANNELS * p.plane_words) * sizeof *p.planes);
    for (int32_t channel = 0; channel < l->channels; channel += CHANNELS) {
      const int32_t count = tiny_min(CHANNELS, l->channels - channel);
      pack_weights(&p, weight + channel, count);
      gather_planes(&p, data, first, channel, count);
      for (int32_t j = 0; j < count; ++j) {
        const int32_t c = channel + j;
        output_strip(&p, whole_end, end - first, j, bias[c], scaling + TINY_WIDE_ROW * c, output + c);
      }
    }
    output += l->tile * l->output_width * l->channels;
  }
}

/* Windows that no plane is made for. */
static int32_t any_sum(const tiny_wide_layer *l, const int8_t *data, const int8_t *weight,
                       int32_t y, int32_t x, int32_t first) {
  int32_t sum = 0;
  for (int32_t ky = 0; ky < l->kernel_height; ++ky) {
    const int32_t row = y * l->stride_y - l->top + ky * l->dilation_y;
    for (int32_t kx = 0; kx < l->kernel_width; ++kx) {
      const int32_t column = x * l->stride_x - l->left + kx * l->dilation_x;
      if (row >= 0 && row < l->height && column >= 0 && column < l->width) {
        const int32_t value = data[(row * l->width + column) * l->depth + first];
        sum += (value - l->input_zero_point) * *weight;
      }
      weight += l->channels;
    }
  }
  return sum;
}

static void run_any(const tiny_wide_layer *l, const int8_t *data, const int8_t *weight,
                    const int32_t *bias, const int32_t *scaling, int16_t *output) {
  const int32_t per_input = l->channels / l->depth;
  for (int32_t y = 0; y < l->output_height; ++y) {
    for (int32_t x = 0; x < l->output_width; ++x) {
      for (int32_t c = 0; c < l->channels; ++c) {
        const int32_t sum = any_sum(l, data, weight + c, y, x, c / per_input);
        *output++ = tiny_wide_scale_any(l, sum, bias[c], scaling + TINY_WIDE_ROW * c);
      }
    }
  }
}

void tiny_wide_depthwise_conv2d(const int8_t *data, const int8_t *weight, const int32_t *bias,
                                const int32_t *scaling, const int32_t *layer, int32_t *scratch,
                                int16_t *output) {
  const tiny_wide_layer *l = (const tiny_wide_layer *)layer;
  for (int32_t n = 0; n < l->batch; ++n) {
    if (l->tile > 0) {
      run_planes(l, data, weight, bias, scaling, scratch, output);
    } else {
      run_any(l, data, weight, bias, scaling, output);
    }
    data += l->height * l->width * l->depth;
    output += l->output_height * l->output_width * l->channels;
  }
}
