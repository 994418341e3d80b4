#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_gradient.h"
#include "tvm_tiny_gradient_sums.h"

TINY_SCALAR_FLOATS

static const float zeros[TINY_LANES];

static tiny_window window_of(const int32_t *table) {
  tiny_window window;
  memcpy(&window, table, sizeof window);
  return window;
}

/* How many of the channels left a tile takes. */
static int32_t lanes_of(int32_t left, int32_t lanes) {
  return left >= lanes ? lanes : left >= TINY_LANES / 2 ? TINY_LANES / 2 : left;
}

/* Taps that reach an input along an axis: `count` from `first` on, with steps of `tap_step`; each
 * takes its gradient `gradient_step` before the last one's, the first from `start`.
 */
typedef struct {
  int32_t tap_step, gradient_step;
} tap_steps;

static int32_t greatest_divisor(int32_t a, int32_t b) {
  while (b != 0) {
    const int32_t rest = a % b;
    a = b;
    b = rest;
  }
  return a;
}

static tap_steps steps_of(int32_t stride, int32_t dilation) {
  const int32_t common = greatest_divisor(stride, dilation);
  const tap_steps steps = {stride / common, dilation / common};
  return steps;
}

/* Taps whose windows hold the input `place` places behind the first window's beginning. */
static tiny_run taps_of(int32_t place, int32_t kernel, int32_t stride, int32_t dilation,
                        int32_t outputs) {
  const int32_t step = steps_of(stride, dilation).tap_step;
  tiny_run run = {0, 0, 0};
  for (int32_t tap = 0; tap < kernel; ++tap) {
    const int32_t begin = place - tap * dilation;
    if (begin >= 0 && begin % stride == 0 && begin / stride < outputs) {
      run.first = tap;
      run.start = begin / stride;
      while (run.first + run.count * step < kernel && begin >= run.count * step * dilation) {
        ++run.count;
      }
      return run;
    }
  }
  return run;
}

typedef struct {
  tiny_window window;
  tap_steps down, right;
  const tiny_run *rows;       /* of each row of the input */
  const tiny_places *columns; /* of each column: taps and outputs */
  const float *weights;       /* of a tile, tap by tap */
  float *copy;                /* of a tile's gradient, where the output may lie over it */
  int32_t lanes;
} input_job;

/* Sums of a tile's channels, of which `multiplier` make one of the input's. */
static void add_lanes(const float *sums, int32_t first, int32_t lanes, int32_t multiplier,
                      float *output) {
  for (int32_t j = 0; j < lanes; ++j) {
    output[(first + j) / multiplier] += sums[j];
  }
}

/* A row of the input, of a tile whose first channel is `channel` of the output. */
static void sum_row(const input_job *job, tiny_vectors *vectors, int32_t channel, float *output) {
  const tiny_window *window = &job->window;
  const int32_t multiplier = window->outputs / window->channels;
  vectors->places = job->columns;
  if (multiplier == 1) {
    vectors->to = output + channel;
    vectors->to_step = window->channels;
    vectors->number = window->width;
    tiny_sum_vectors(vectors);
    return;
  }
  float sums[TINY_LANES];
  vectors->to = sums;
  vectors->number = 1;
  for (int32_t x = 0; x < window->width; ++x) {
    tiny_sum_vectors(vectors);
    add_lanes(sums, channel, job->lanes, multiplier, output);
    output += window->channels;
    ++vectors->places;
  }
}

static void sum_tile(const input_job *job, int32_t channel, const float *gradient, float *output) {
  const tiny_window *window = &job->window;
  const float *from = job->copy != NULL ? job->copy : gradient + channel;
  const int32_t pixel = job->copy != NULL ? job->lanes : window->outputs;
  const tiny_vectors tile = {.from = zeros,
                             .a_unit = job->lanes,
                             .b_unit = pixel,
                             .a_step = job->right.tap_step * job->lanes,
                             .b_step = -job->right.gradient_step * pixel,
                             .a_row = job->down.tap_step * window->kernel_width * job->lanes,
                             .b_row = -job->down.gradient_step * window->columns * pixel,
                             .lanes = job->lanes};
  tiny_vectors vectors = tile;
  if (job->copy != NULL) {
    tiny_gather_vectors(gradient + channel, window->outputs, window->rows * window->columns,
                        job->lanes, job->copy);
  }
  for (int32_t y = 0; y < window->height; ++y) {
    const tiny_run rows = job->rows[y];
    vectors.a = job->weights + rows.first * window->kernel_width * job->lanes;
    vectors.b = from + rows.start * window->columns * pixel;
    vectors.rows = rows.count;
    sum_row(job, &vectors, channel, output);
    output += window->width * window->channels;
  }
}

void tiny_depthwise_input_gradient(const float *gradient, const int8_t *weight,
                                   const int32_t *table, float *scratch, float *output,
                                   int32_t lanes, int32_t is_copied) {
  const tiny_window window = window_of(table);
  const int32_t taps = window.kernel_height * window.kernel_width;
  const int32_t copied = is_copied ? window.rows * window.columns : 0;
  tiny_run *rows = (tiny_run *)(void *)(scratch + (taps + copied) * lanes);
  tiny_places *columns = (tiny_places *)(void *)(rows + window.height);
  input_job job = {.window = window,
                   .down = steps_of(window.stride_height, window.dilation_height),
                   .right = steps_of(window.stride_width, window.dilation_width),
                   .rows = rows,
                   .columns = columns,
                   .weights = scratch,
                   .copy = is_copied ? scratch + taps * lanes : NULL};
  for (int32_t y = 0; y < window.height; ++y) {
    rows[y] = taps_of(y + window.top, window.kernel_height, window.stride_height,
                      window.dilation_height, window.rows);
  }
  for (int32_t x = 0; x < window.width; ++x) {
    const tiny_run run = taps_of(x + window.left, window.kernel_width, window.stride_width,
                                 window.dilation_width, window.columns);
    columns[x] = (tiny_places){run.first, run.start, run.count};
  }
  if (window.outputs > window.channels) {
    tiny_zero_floats(output, window.height * window.width * window.channels);
  }
  for (int32_t channel = 0; channel < window.outputs; channel += job.lanes) {
    job.lanes = lanes_of(window.outputs - channel, lanes);
    tiny_bytes_to_floats(weight + channel, window.outputs, taps, job.lanes, 0, scratch, job.lanes);
    sum_tile(&job, channel, gradient, output);
  }
}

/* What the gradient and the update of weights share. */
typedef struct {
  tiny_window window;
  const int8_t *data;
  const float *gradient;
  int32_t zero_point;
  float *sums, *row;       /* of a tile's taps; of its inputs */
  const tiny_places *columns; /* of each of the kernel's columns: inputs and outputs */
  float *output;           /* the gradient, or NULL */
  int8_t *weight;          /* what is updated */
  const float *scale;      /* of each channel */
  float rate;
} weight_job;

/* A row of the input, of the channels that the outputs' `lanes` read. */
static void expand_row(const weight_job *job, int32_t y, int32_t channel, int32_t lanes) {
  const tiny_window *window = &job->window;
  const int32_t multiplier = window->outputs / window->channels;
  const int8_t *data = job->data + y * window->width * window->channels;
  float *row = job->row;
  if (multiplier == 1) {
    tiny_bytes_to_floats(data + channel, window->channels, window->width, lanes, job->zero_point,
                         row, lanes);
    return;
  }
  for (int32_t x = 0; x < window->width; ++x) {
    for (int32_t j = 0; j < lanes; ++j) {
      row[j] = (float)(data[(channel + j) / multiplier] - job->zero_point);
    }
    data += window->channels;
    row += lanes;
  }
}

/* Complete sums of a tile become the gradient, or go into the weights. */
static void finish(const weight_job *job, int32_t channel, int32_t lanes) {
  const int32_t taps = job->window.kernel_height * job->window.kernel_width;
  const int32_t outputs = job->window.outputs;
  for (int32_t j = 0; j < lanes; ++j) {
    const float *sum = job->sums + j;
    if (job->output != NULL) {
      for (int32_t tap = 0; tap < taps; ++tap) {
        job->output[tap * outputs + channel + j] = sum[tap * lanes];
      }
      continue;
    }
    const float factor = job->rate * job->scale[channel + j];
    int8_t *weight = job->weight + channel + j;
    for (int32_t tap = 0; tap < taps; ++tap) {
      *weight = tiny_descend(*weight, factor, *sum);
      weight += outputs;
      sum += lanes;
    }
  }
}

/* The sums of a tile: each row of the input goes into those of all of the kernel's rows that see it. */
static void sum_taps(const weight_job *job, int32_t channel, int32_t lanes) {
  const tiny_window *window = &job->window;
  const int32_t gradient_row = window->columns * window->outputs;
  const int32_t sums_row = window->kernel_width * lanes;
  tiny_vectors vectors = {.a = job->row,
                          .places = job->columns,
                          .a_unit = lanes,
                          .b_unit = window->outputs,
                          .a_step = window->stride_width * lanes,
                          .b_step = window->outputs,
                          .from_step = lanes,
                          .to_step = lanes,
                          .number = window->kernel_width,
                          .rows = 1,
                          .lanes = lanes};
  tiny_gather_vectors(zeros, 0, window->kernel_height * window->kernel_width, lanes, job->sums);
  for (int32_t y = 0; y < window->height; ++y) {
    expand_row(job, y, channel, lanes);
    for (int32_t ky = 0; ky < window->kernel_height; ++ky) {
      const int32_t begin = y + window->top - ky * window->dilation_height;
      const int32_t output_row = begin / window->stride_height;
      if (begin >= 0 && output_row * window->stride_height == begin && output_row < window->rows) {
        vectors.b = job->gradient + output_row * gradient_row + channel;
        vectors.to = job->sums + ky * sums_row;
        vectors.from = vectors.to;
        tiny_sum_vectors(&vectors);
      }
    }
  }
}

static void sum_weights(weight_job *job, float *scratch, int32_t lanes) {
  const tiny_window *window = &job->window;
  const int32_t taps = window->kernel_height * window->kernel_width;
  job->sums = scratch;
  job->row = scratch + taps * lanes;
  tiny_places *columns = (tiny_places *)(void *)(job->row + window->width * lanes);
  job->columns = columns;
  for (int32_t kx = 0; kx < window->kernel_width; ++kx) {
    const tiny_run run = tiny_run_of(kx * window->dilation_width - window->left,
                                     window->stride_width, window->width, window->columns);
    columns[kx] = (tiny_places){run.start, run.first, run.count};
  }
  for (int32_t channel = 0; channel < window->outputs;) {
    const int32_t taken = lanes_of(window->outputs - channel, lanes);
    sum_taps(job, channel, taken);
    finish(job, channel, taken);
    channel += taken;
  }
}

void tiny_depthwise_weight_gradient(const int8_t *data, const float *gradient,
                                    const int32_t *table, float *scratch, float *output,
                                    int32_t zero_point, int32_t lanes) {
  weight_job job = {.window = window_of(table),
                    .data = data,
                    .gradient = gradient,
                    .zero_point = zero_point,
                    .output = output};
  sum_weights(&job, scratch, lanes);
}

void tiny_depthwise_weight_update(const int8_t *weight, const int8_t *data, const float *gradient,
                                  const float *rate, const float *scale, const int32_t *table,
                                  float *scratch, int8_t *updated, int32_t zero_point,
                                  int32_t lanes) {
  weight_job job = {.window = window_of(table),
                    .data = data,
                    .gradient = gradient,
                    .zero_point = zero_point,
                    .weight = updated,
                    .scale = scale,
                    .rate = *rate};
  const tiny_window *window = &job.window;
  tiny_move_block(updated, weight,
                  window->kernel_height * window->kernel_width * window->outputs);
  sum_weights(&job, scratch, lanes);
}
