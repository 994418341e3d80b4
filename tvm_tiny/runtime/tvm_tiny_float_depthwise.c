#include "tvm_tiny_float_depthwise.h"

#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_gradient_sums.h"

TINY_SCALAR_FLOATS

static const float zeros[TINY_LANES];

typedef struct {
  tiny_window window;
  const float *data, *gradient;
  float *sums;                /* of a tile's taps */
  const tiny_places *columns; /* of each of the kernel's columns: inputs and outputs */
  float *output;              /* the gradient */
} weight_job;

/* Channels of a tile that begins at `channel`: those of a loop, or one by one. */
static int32_t lanes_of(const tiny_window *window, int32_t channel) {
  const int32_t half = TINY_LANES / 2;
  if (window->outputs != window->channels || window->outputs < half) {
    return 1;
  }
  return window->outputs - channel >= TINY_LANES ? TINY_LANES : half;
}

/* Sums of one channel, which stay in a register over all pixels of a tap. Not for its caller's
 * registers: it is a loop of seven instructions.
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

/* Complete sums of a tile, channel by channel. */
static void finish(const weight_job *job, int32_t channel, int32_t lanes) {
  const int32_t taps = job->window.kernel_height * job->window.kernel_width;
  float *output = job->output + channel * taps;
  for (int32_t j = 0; j < lanes; ++j) {
    const float *sum = job->sums + j;
    for (int32_t tap = 0; tap < taps; ++tap) {
      *output++ = *sum;
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
    finish(job, first, lanes);
    channel = first + lanes;
  }
}

void tiny_float_depthwise_weight_gradient(const float *data, const float *gradient,
                                          const int32_t *table, float *scratch, float *output) {
  weight_job job = {.data = data, .gradient = gradient, .output = output};
  memcpy(&job.window, table, sizeof job.window);
  sum_weights(&job, scratch);
}
