#include "tvm_tiny_float_depthwise.h"

#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_gradient_sums.h"

TINY_SCALAR_FLOATS

enum { HALF = TINY_LANES / 2 };

static const float zeros[TINY_LANES];

/* The weights of some channels, tap by tap. */
static void gather_weights(const float *weight, int32_t taps, int32_t lanes, float *tile) {
  for (int32_t j = 0; j < lanes; ++j) {
    for (int32_t tap = 0; tap < taps; ++tap) {
      tile[tap * lanes + j] = *weight++;
    }
  }
}

/* Some channels of all outputs: sums of a pixel stay in registers over all taps. */
static void sum_tile(const tiny_sweep *sweep, const float *data, const float *bias,
                     const tiny_places *rows, const tiny_places *columns, const float *tile,
                     int32_t lanes, float *output) {
  const int32_t channels = sweep->channels;
  const int32_t data_row = sweep->inputs * channels;
  const int32_t tile_row = sweep->kernel_width * lanes;
  tiny_vectors vectors = {.places = columns,
                          .from = bias,
                          .to = output,
                          .a_unit = lanes,
                          .b_unit = channels,
                          .a_step = sweep->tap_right * lanes,
                          .b_step = sweep->input_right * channels,
                          .a_row = sweep->tap_down * tile_row,
                          .b_row = sweep->input_down * data_row,
                          .to_step = channels,
                          .number = sweep->width,
                          .lanes = lanes};
  for (int32_t y = 0; y < sweep->height; ++y) {
    vectors.a = tile + rows->a * tile_row;
    vectors.b = data + rows->b * data_row;
    vectors.rows = rows->count;
    tiny_sum_vectors(&vectors);
    vectors.to += sweep->width * channels;
    ++rows;
  }
}

void tiny_float_depthwise(const float *data, const float *weight, const float *bias,
                          const int32_t *table, const int32_t *rows, const int32_t *columns,
                          float *tile, float *output) {
  tiny_sweep sweep;
  memcpy(&sweep, table, sizeof sweep);
  const int32_t taps = sweep.kernel_height * sweep.kernel_width;
  for (int32_t channel = 0; channel < sweep.channels;) {
    const int32_t left = sweep.channels - channel;
    const int32_t lanes = left >= TINY_LANES ? TINY_LANES : tiny_min(HALF, sweep.channels);
    /* the last tile takes channels before it once more rather than be narrower */
    const int32_t first = tiny_min(channel, sweep.channels - lanes);
    gather_weights(weight + first * taps, taps, lanes, tile);
    sum_tile(&sweep, data + first, bias != NULL ? bias + first : zeros,
             (const tiny_places *)(const void *)rows, (const tiny_places *)(const void *)columns,
             tile, lanes, output + first);
    channel = first + lanes;
  }
}

void tiny_float_depthwise_input_gradient(const float *gradient, const float *weight,
                                         const int32_t *table, const int32_t *rows,
                                         const int32_t *columns, float *tile, float *output) {
  tiny_float_depthwise(gradient, weight, NULL, table, rows, columns, tile, output);
}

typedef struct {
  tiny_window window;
  const float *data, *gradient;
  float *sums;                /* of a tile's taps */
  const tiny_places *columns; /* of each of the kernel's columns: inputs and outputs */
  float *output;              /* the gradient, or what is updated by a factor */
  const float *factor;        /* rate * scale, or NULL */
} weight_job;

/* Channels of a tile that begins at `channel`: those of a loop, or one by one. */
static int32_t lanes_of(const tiny_window *window, int32_t channel) {
  if (window->outputs != window->channels || window->outputs < HALF) {
    return 1;
  }
  return window->outputs - channel >= TINY_LANES ? TINY_LANES : HALF;
}

/* Sums of one channel, which stay in a register over all pixels of a tap. Apart from its caller,
 * the loop has registers for all it needs.
 */
static __attribute__((noinline)) void sum_channel(const tiny_vectors *vectors) {
  const int32_t a_step = vectors->a_step;
  const int32_t b_step = vectors->b_step;
  for (int32_t number = 0; number < vectors->number; ++number) {
    const tiny_places *place = vectors->places + number;
    float sum = 0.0f;
    for (int32_t row = 0; row < vectors->rows; ++row) {
      const float *a = vectors->a + place->a * vectors->a_unit + row * vectors->a_row;
      const float *b = vectors->b + place->b * vectors->b_unit + row * vectors->b_row;
      for (int32_t left = place->count; left > 0; --left) {
        sum = __builtin_fmaf(*a, *b, sum);
        a += a_step;
        b += b_step;
      }
    }
    vectors->to[number] = sum;
  }
}

/* The sums of a tile, tap by tap; only pixels whose windows have the tap inside of the image. */
static void sum_taps(const weight_job *job, int32_t channel, int32_t lanes) {
  const tiny_window *window = &job->window;
  const int32_t data_row = window->width * window->channels;
  const int32_t gradient_row = window->columns * window->outputs;
  const int32_t multiplier = window->outputs / window->channels;
  tiny_vectors vectors = {.places = job->columns,
                          .from = zeros,
                          .to = job->sums,
                          .a_unit = window->channels,
                          .b_unit = window->outputs,
                          .a_step = window->stride_width * window->channels,
                          .b_step = window->outputs,
                          .a_row = window->stride_height * data_row,
                          .b_row = gradient_row,
                          .to_step = lanes,
                          .number = window->kernel_width,
                          .lanes = lanes};
  for (int32_t ky = 0; ky < window->kernel_height; ++ky) {
    const tiny_run rows = tiny_run_of(ky * window->dilation_height - window->top,
                                      window->stride_height, window->height, window->rows);
    vectors.a = job->data + rows.start * data_row + channel / multiplier;
    vectors.b = job->gradient + rows.first * gradient_row + channel;
    vectors.rows = rows.count;
    if (lanes == 1) {
      sum_channel(&vectors);
    } else {
      tiny_sum_vectors(&vectors);
    }
    vectors.to += window->kernel_width * lanes;
  }
}

/* Complete sums of a tile from a lane on, which become the gradient or go into the weights. */
static void finish(const weight_job *job, int32_t channel, int32_t lane, int32_t lanes) {
  const int32_t taps = job->window.kernel_height * job->window.kernel_width;
  float *output = job->output + (channel + lane) * taps;
  for (int32_t j = lane; j < lanes; ++j) {
    const float *sum = job->sums + j;
    for (int32_t tap = 0; tap < taps; ++tap) {
      *output = job->factor == NULL ? *sum : tiny_step_float(*output, *job->factor, *sum);
      ++output;
      sum += lanes;
    }
  }
}

static void sum_weights(weight_job *job, float *scratch) {
  const tiny_window *window = &job->window;
  const int32_t taps = window->kernel_height * window->kernel_width;
  tiny_places *columns = (tiny_places *)(void *)(scratch + taps * TINY_LANES);
  job->sums = scratch;
  job->columns = columns;
  for (int32_t kx = 0; kx < window->kernel_width; ++kx) {
    const tiny_run run = tiny_run_of(kx * window->dilation_width - window->left,
                                     window->stride_width, window->width, window->columns);
    columns[kx] = (tiny_places){run.start, run.first, run.count};
  }
  for (int32_t channel = 0; channel < window->outputs;) {
    const int32_t lanes = lanes_of(window, channel);
    /* the last tile takes channels before it once more rather than be narrower */
    const int32_t first = tiny_min(channel, window->outputs - lanes);
    sum_taps(job, first, lanes);
    finish(job, first, channel - first, lanes);
    channel = first + lanes;
  }
}

void tiny_float_depthwise_weight_gradient(const float *data, const float *gradient,
                                          const int32_t *table, float *scratch, float *output) {
  weight_job job = {.data = data, .gradient = gradient, .output = output};
  memcpy(&job.window, table, sizeof job.window);
  sum_weights(&job, scratch);
}

void tiny_float_depthwise_weight_update(const float *weight, const float *data,
                                        const float *gradient, const float *rate,
                                        const float *scale, const int32_t *table, float *scratch,
                                        float *updated) {
  const float factor = rate[0] * scale[0];
  weight_job job = {.data = data, .gradient = gradient, .output = updated, .factor = &factor};
  memcpy(&job.window, table, sizeof job.window);
  const int32_t taps = job.window.kernel_height * job.window.kernel_width;
  tiny_move_block(updated, weight, taps * job.window.outputs * (int32_t)sizeof *weight);
  sum_weights(&job, scratch);
}
