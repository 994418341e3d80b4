/* Depthwise convolutions to int16: four channels at a time become planes of halves with a border of
 * zeros, from which four neighbouring outputs of a row are computed at once.
 */
#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"
#include "tvm_tiny_wide.h"
#include "tvm_tiny_wide_quads.h"
#include "tvm_tiny_wide_scale.h"

/* Inner loops keep their registers to themselves. */
#define SEPARATE __attribute__((noinline))

enum { CHANNELS = 4 };

/* What all channels of a layer share. */
typedef struct plane_layer {
  const tiny_wide_layer *l;
  tiny_wide_rule rule;
  tiny_quad_function *quad;
  int32_t rest;         /* of outputs at the end of a row */
  int32_t second;       /* where the second pairs begin in a row of weights */
  int32_t row_weights;  /* words */
  int32_t channel_weights;
  int32_t row_words, plane_rows; /* of a plane */
  int32_t plane_words;
  int32_t *weights, *planes; /* of four channels */
  tiny_quad_place *places; /* of a strip of rows: whole quads, then what is left at the ends of rows */
} plane_layer;

static plane_layer plane_layer_of(const tiny_wide_layer *l, int32_t *scratch) {
  static tiny_quad_function *const quads[2][3] = {{tiny_quad_3_1, tiny_quad_5_1, tiny_quad_7_1},
                                             {tiny_quad_3_2, tiny_quad_5_2, tiny_quad_7_2}};
  const int32_t pairs = l->kernel_width / 2;
  const int32_t stride = l->stride_x;
  const int32_t starts = (l->output_width - 1) / TINY_QUAD * TINY_QUAD * stride / 2;
  const int32_t rows = (l->tile - 1) * l->stride_y + (l->kernel_height - 1) * l->dilation_y + 1;
  plane_layer p;
  p.l = l;
  p.rule = tiny_wide_rule_of(l);
  p.quad = quads[stride - 1][pairs - 1];
  p.rest = l->output_width % TINY_QUAD;
  p.second = stride == 1 ? pairs : 1;
  p.row_weights = pairs + p.second;
  p.channel_weights = p.row_weights * l->kernel_height;
  p.row_words = starts + pairs + (stride == 1 ? 2 : 4);
  p.plane_rows = rows;
  p.plane_words = rows * p.row_words;
  p.weights = scratch;
  p.planes = scratch + CHANNELS * p.channel_weights;
  p.places = (tiny_quad_place *)(p.planes + CHANNELS * p.plane_words);
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

/* Two halves at any of them. */
static inline void store_word(int16_t *to, int32_t word) { memcpy(to, &word, sizeof word); }

/* Store a pair of four channels' taps, `step` words apart. */
static inline void store_pairs(int32_t *to, int32_t step, lanes first, lanes second) {
  to[0] = tiny_low_low(first.even, second.even);
  to[step] = tiny_low_low(first.odd, second.odd);
  to[2 * step] = tiny_high_high(first.even, second.even);
  to[3 * step] = tiny_high_high(first.odd, second.odd);
}

SEPARATE static void pack_four(const plane_layer *p, const int8_t *weight) {
  const int32_t channels = p->l->channels;
  const int32_t pairs = p->l->kernel_width / 2;
  const int32_t step = p->channel_weights;
  const int32_t second = p->second;
  int32_t *to = p->weights;
  for (int32_t y = p->l->kernel_height; y > 0; --y) {
    lanes before = doubled_weights(weight);
    weight += channels;
    for (int32_t i = pairs; i > 0; --i) {
      const lanes middle = doubled_weights(weight);
      const lanes behind = doubled_weights(weight + channels);
      store_pairs(to, step, before, middle);
      store_pairs(to + second, step, middle, behind);
      before = behind;
      weight += 2 * channels;
      ++to;
    }
    to += second;
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

/* Rows of four channels of the image, into rows of each plane. */
SEPARATE static void gather_four(const plane_layer *p, const int8_t *from, int16_t *to,
                                 int32_t width, int32_t rows) {
  const int32_t depth = p->l->depth;
  const int32_t step = 2 * p->plane_words;
  const int32_t minus = tiny_halves_of(-p->l->input_zero_point);
  const int32_t next = p->l->width * depth - (width & ~1) * depth;
  const int32_t next_to = 2 * p->row_words - (width & ~1);
  for (; rows > 0; --rows) {
    for (int32_t pairs = width / 2; pairs > 0; --pairs) {
      const int32_t left = (int32_t)tiny_load_word(from);
      const int32_t right = (int32_t)tiny_load_word(from + depth);
      const int32_t even = tiny_add_even_bytes(minus, left);
      const int32_t odd = tiny_add_odd_bytes(minus, left);
      const int32_t even_right = tiny_add_even_bytes(minus, right);
      const int32_t odd_right = tiny_add_odd_bytes(minus, right);
      int16_t *plane = to;
      store_word(plane, tiny_low_low(even, even_right));
      store_word(plane += step, tiny_low_low(odd, odd_right));
      store_word(plane += step, tiny_high_high(even, even_right));
      store_word(plane += step, tiny_high_high(odd, odd_right));
      from += 2 * depth;
      to += 2;
    }
    for (int32_t j = 0; width % 2 != 0 && j < CHANNELS; ++j) {
      to[j * step] = (int16_t)(from[j] - p->l->input_zero_point);
    }
    from += next;
    to += next_to;
  }
}

static void gather_one(const plane_layer *p, const int8_t *from, int16_t *to, int32_t width,
                       int32_t rows) {
  const int32_t depth = p->l->depth;
  for (; rows > 0; --rows) {
    for (int32_t x = 0; x < width; ++x) {
      to[x] = (int16_t)(from[x * depth] - p->l->input_zero_point);
    }
    from += p->l->width * depth;
    to += 2 * p->row_words;
  }
}

/* Rows of the image that a strip of outputs from row `first` on reads, of `count` channels. */
static void gather_planes(const plane_layer *p, const int8_t *data, int32_t first, int32_t channel,
                          int32_t count) {
  const tiny_wide_layer *l = p->l;
  const int32_t per_input = l->channels / l->depth;
  const int32_t top = first * l->stride_y - l->top;
  const int32_t begin = tiny_max(top, 0);
  const int32_t rows = tiny_min(top + p->plane_rows, l->height) - begin;
  const int32_t width = tiny_min(l->width, 2 * p->row_words - l->left);
  const int8_t *from = data + begin * l->width * l->depth;
  int16_t *to = (int16_t *)(p->planes + (begin - top) * p->row_words) + l->left;
  if (count == CHANNELS && per_input == 1) {
    gather_four(p, from + channel, to, width, rows);
    return;
  }
  for (int32_t j = 0; j < count; ++j) {
    gather_one(p, from + (channel + j) / per_input, to + 2 * j * p->plane_words, width, rows);
  }
}

/* Places of a row of outputs; rows of taps outside the image are left out. */
static void places_of_row(const plane_layer *p, int32_t first, int32_t y, tiny_quad_place *whole,
                          tiny_quad_place *rest) {
  const tiny_wide_layer *l = p->l;
  const int32_t top = y * l->stride_y - l->top;
  const int32_t above = tiny_max(-top, 0);
  const int32_t inside = tiny_min(l->kernel_height, l->height - top) - above;
  const int is_cut = l->dilation_y == 1 && inside > 0;
  const int32_t skipped = is_cut ? above : 0;
  const int32_t row = (y - first) * l->stride_y + skipped;
  tiny_quad_place place = {is_cut ? inside : l->kernel_height, row * p->row_words * 4,
                      skipped * p->row_weights * 4,
                      (y - first) * l->output_width * l->channels * 2};
  for (int32_t left = l->output_width; left > 0; left -= TINY_QUAD) {
    *(left >= TINY_QUAD ? whole++ : rest) = place;
    place.plane += TINY_QUAD * 2 * l->stride_x;
    place.output += TINY_QUAD * 2 * l->channels;
  }
}

/* Return the end of whole quads, behind which rows are that have less than four outputs. */
static tiny_quad_place *places_of_strip(const plane_layer *p, int32_t first, int32_t end) {
  const int32_t whole = p->l->output_width / TINY_QUAD;
  tiny_quad_place *const rest = p->places + (end - first) * whole;
  for (int32_t y = first; y < end; ++y) {
    places_of_row(p, first, y, p->places + (y - first) * whole, rest + (y - first));
  }
  return rest;
}

/* Outputs that are not stored as they are: less than four, or of a channel that is not usual. */
static void rare_quads(const plane_layer *p, const int32_t *plane, const int32_t *weights,
                       tiny_quad_job job, const tiny_quad_place *places, const tiny_quad_place *end,
                       int32_t count, int32_t bias, const int32_t *scaling) {
  const tiny_wide_layer *l = p->l;
  const tiny_wide_scaling usual = job.scaling;
  int16_t *output = job.output;
  int32_t sums[TINY_QUAD];
  job.scaling.multiplier = 0;
  job.output = sums;
  job.first = 0;
  for (; places < end; ++places) {
    int16_t *to = output + places->output / 2;
    tiny_quad_place place = *places;
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
static void output_strip(const plane_layer *p, tiny_quad_job *job, int32_t rows, int32_t number,
                         int32_t bias, const int32_t *scaling) {
  const int32_t *plane = p->planes + number * p->plane_words;
  const int32_t *weights = p->weights + number * p->channel_weights;
  job->scaling = tiny_wide_scaling_of(&p->rule, bias, scaling);
  if (job->scaling.multiplier == 0) {
    rare_quads(p, plane, weights, *job, p->places, job->end, TINY_QUAD, bias, scaling);
  } else if (p->places < job->end) {
    job->doubled_bias = 2 * bias;
    job->first = p->rule.fraction_bits == 0 ? job->doubled_bias : 0;
    p->quad(plane, weights, job, p->places);
  }
  if (p->rest > 0) {
    rare_quads(p, plane, weights, *job, job->end, job->end + rows, p->rest, bias, scaling);
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

/* Rows of outputs from `first` to `end`. */
static void run_strip(const plane_layer *p, const int8_t *data, const int8_t *weight,
                      const int32_t *bias, const int32_t *scaling, int32_t first, int32_t end,
                      int16_t *output) {
  const tiny_wide_layer *l = p->l;
  tiny_quad_job job;
  job.step = l->channels * (int32_t)sizeof *output;
  job.row_bytes = p->row_words * l->dilation_y * (int32_t)sizeof *p->planes;
  job.end = places_of_strip(p, first, end);
  memset(p->planes, 0, (size_t)(CHANNELS * p->plane_words) * sizeof *p->planes);
  for (int32_t channel = 0; channel < l->channels; channel += CHANNELS) {
    const int32_t count = tiny_min(CHANNELS, l->channels - channel);
    pack_weights(p, weight + channel, count);
    gather_planes(p, data, first, channel, count);
    for (int32_t j = 0; j < count; ++j) {
      job.output = output++;
      output_strip(p, &job, end - first, j, *bias++, scaling);
      scaling += TINY_WIDE_ROW;
    }
  }
}

static void run_planes(const tiny_wide_layer *l, const int8_t *data, const int8_t *weight,
                       const int32_t *bias, const int32_t *scaling, int32_t *scratch,
                       int16_t *output) {
  const plane_layer p = plane_layer_of(l, scratch);
  for (int32_t first = 0; first < l->output_height; first += l->tile) {
    const int32_t end = tiny_min(first + l->tile, l->output_height);
    run_strip(&p, data, weight, bias, scaling, first, end, output);
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
