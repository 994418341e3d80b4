/* Sums over pixels of inputs x gradients, of which gradients and updates of weights are made. What
 * becomes of them says the source that includes this, by a function whose name is TINY_FINISH; for
 * others there is nothing here.
 */
#ifndef TVM_TINY_WEIGHT_COLUMNS_H
#define TVM_TINY_WEIGHT_COLUMNS_H

#ifdef TINY_FINISH

#include <string.h>

#include "tvm_tiny.h"
#include "tvm_tiny_gradient.h"
#include "tvm_tiny_gradient_sums.h"

TINY_SCALAR_FLOATS

static const float zeros[TINY_SUMS];

static tiny_window window_of(const int32_t *table) {
  tiny_window window;
  memcpy(&window, table, sizeof window);
  return window;
}

/* What the gradient and the update of weights share. */
typedef struct {
  tiny_window window;
  tiny_numbers data;
  const float *gradient;
  const int16_t *channels;
  int32_t zero_point, count; /* of chosen channels */
  int32_t is_first;          /* the chosen channels are the first ones, in order */
  float *panel, *sums;
  float *output;      /* the gradient, or what is updated of floats, or NULL */
  int8_t *weight;     /* what is updated of int8 */
  const float *scale; /* of each output channel of int8, one of floats, or NULL */
  float rate;
} weight_job;

/* A job without what is made of its sums. */
static weight_job job_of(tiny_numbers data, const float *gradient, const int16_t *channels,
                         const int32_t *table, float *scratch, int32_t count, int32_t chunk) {
  weight_job job = {.window = window_of(table),
                    .data = data,
                    .gradient = gradient,
                    .channels = channels,
                    .count = count,
                    .panel = scratch,
                    .sums = scratch + chunk * TINY_SUMS};
  return job;
}

/* Weights of the layer, chosen or not. */
static int32_t weights_of(const tiny_window *window) {
  const int32_t taps = window->kernel_height * window->kernel_width;
  return window->outputs * taps * (window->channels / window->groups);
}

/* Columns of one tap at a place of the input, or outside of it where that is negative; `chosen` is
 * the first's number among the chosen channels.
 */
static void gather_tap(const weight_job *job, int32_t place, int32_t chosen, int32_t count,
                       float *panel) {
  const int16_t *channels = job->channels + chosen;
  if (place < 0) {
    tiny_zero_floats(panel, count);
  } else if (job->is_first) {
    tiny_numbers_to_floats(job->data, place + chosen, 0, 1, count, job->zero_point, panel, count);
  } else if (job->data.bytes != NULL) {
    const int8_t *data = job->data.bytes + place;
    for (int32_t j = 0; j < count; ++j) {
      panel[j] = (float)(data[channels[j]] - job->zero_point);
    }
  } else {
    for (int32_t j = 0; j < count; ++j) {
      panel[j] = job->data.floats[place + channels[j]];
    }
  }
}

/* Where a tap of an output pixel begins in a group of the input; negative outside of the image. */
static int32_t input_of(const weight_job *job, int32_t group, int32_t tap, int32_t row,
                        int32_t column) {
  const tiny_window *window = &job->window;
  const int32_t ky = tap / window->kernel_width;
  const int32_t kx = tap - ky * window->kernel_width;
  const int32_t y = row * window->stride_height + ky * window->dilation_height - window->top;
  const int32_t x = column * window->stride_width + kx * window->dilation_width - window->left;
  /* as unsigned numbers, negative ones are too large as well */
  if ((uint32_t)y >= (uint32_t)window->height || (uint32_t)x >= (uint32_t)window->width) {
    return -1;
  }
  return (y * window->width + x) * window->channels +
         group * (window->channels / window->groups);
}

/* Inputs under `count` columns, for pixels from `first` to `end`. */
static void gather(const weight_job *job, int32_t group, int32_t column, int32_t count,
                   int32_t width, int32_t first, int32_t end) {
  const int32_t columns = job->window.columns;
  const int32_t first_tap = column / job->count;
  float *panel = job->panel;
  for (int32_t pixel = first; pixel < end; ++pixel) {
    const int32_t row = pixel / columns;
    int32_t chosen = column - first_tap * job->count;
    int32_t tap = first_tap;
    for (int32_t done = 0; done < count; ++tap) {
      const int32_t length = tiny_min(job->count - chosen, count - done);
      const int32_t place = input_of(job, group, tap, row, pixel - row * columns);
      gather_tap(job, place, chosen, length, panel + done);
      done += length;
      chosen = 0;
    }
    tiny_zero_floats(panel + count, width - count);
    panel += width;
  }
}

/* Takes complete sums of an output channel, for `count` columns from `column` on. */
static void TINY_FINISH(const weight_job *job, int32_t row, int32_t column, int32_t count,
                        const float *sums);

/* Up to 24 columns of all output channels of a group. */
static void sum_columns(const weight_job *job, int32_t group, int32_t column, int32_t count,
                        int32_t chunk, int32_t rows) {
  const int32_t outputs = job->window.outputs;
  const int32_t pixels = job->window.rows * job->window.columns;
  const int32_t per_group = outputs / job->window.groups;
  const int32_t width = tiny_panel_width(count);
  for (int32_t row = 0; row < per_group; row += rows) {
    const int32_t first = group * per_group + row;
    const int32_t end = first + tiny_min(rows, per_group - row);
    for (int32_t pixel = 0; pixel < pixels; pixel += chunk) {
      const int32_t length = tiny_min(chunk, pixels - pixel);
      if (row == 0 || length < pixels) {
        gather(job, group, column, count, width, pixel, pixel + length);
      }
      const tiny_products products = {.from = pixel == 0 ? zeros : job->sums,
                                      .to = job->sums,
                                      .panel = job->panel,
                                      .factors = job->gradient + pixel * outputs + first,
                                      .from_step = pixel == 0 ? 0 : TINY_SUMS,
                                      .to_step = TINY_SUMS,
                                      .row_step = 1,
                                      .factor_step = outputs,
                                      .count = length,
                                      .rows = end - first,
                                      .width = width};
      tiny_sum_products(&products);
    }
    for (int32_t o = first; o < end; ++o) {
      TINY_FINISH(job, o, column, count, job->sums + (o - first) * TINY_SUMS);
    }
  }
}

static void sum_weights(weight_job *job, int32_t chunk, int32_t rows) {
  job->is_first = 1;
  for (int32_t i = 0; i < job->count; ++i) {
    job->is_first &= job->channels[i] == i;
  }
  const int32_t taps = job->window.kernel_height * job->window.kernel_width;
  const int32_t columns = taps * job->count;
  for (int32_t group = 0; group < job->window.groups; ++group) {
    for (int32_t column = 0; column < columns; column += TINY_SUMS) {
      sum_columns(job, group, column, tiny_min(TINY_SUMS, columns - column), chunk, rows);
    }
  }
}

#endif /* TINY_FINISH */

#endif /* TVM_TINY_WEIGHT_COLUMNS_H */
