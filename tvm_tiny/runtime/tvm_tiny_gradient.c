#include "tvm_tiny_gradient.h"

#include "tvm_tiny.h"
#include "tvm_tiny_gradient_sums.h"
#define TINY_FINISH finish
#include "tvm_tiny_weight_columns.h"

TINY_SCALAR_FLOATS

/* Weights of some input channels, for each of some output channels. */
typedef struct {
  const float *panel;
  int32_t rows;  /* output channels */
  int32_t count; /* input channels; the panel is as wide as `width` */
  int32_t width;
  int32_t has_few_zeros; /* the gradient */
} weight_panel;

/* Of one tap: adds the products of all pixels, from the first output and input channel on. */
static void scatter_tap(const tiny_window *window, const weight_panel *weights, tiny_run rows,
                        tiny_run columns, const float *gradient, float *output) {
  const int32_t step = window->stride_width * window->channels;
  tiny_products products = {.panel = weights->panel,
                            .from_step = step,
                            .to_step = step,
                            .row_step = window->outputs,
                            .factor_step = 1,
                            .count = weights->rows,
                            .rows = columns.count,
                            .width = weights->width,
                            .has_few_zeros = weights->has_few_zeros};
  for (int32_t y = 0; y < rows.count; ++y) {
    const int32_t from = (rows.first + y) * window->columns + columns.first;
    const int32_t to = (rows.start + y * window->stride_height) * window->width + columns.start;
    products.factors = gradient + from * window->outputs;
    products.from = products.to = output + to * window->channels;
    tiny_add_products(&products, weights->count);
  }
}

/* All taps of a panel; the weights of its first output and input channel begin at `place`. */
static void scatter_panel(const tiny_window *window, const weight_panel *weights,
                          tiny_numbers numbers, int32_t place, const float *gradient, float *panel,
                          float *output) {
  const int32_t depth = window->channels / window->groups;
  const int32_t step = window->kernel_height * window->kernel_width * depth;
  for (int32_t ky = 0; ky < window->kernel_height; ++ky) {
    const tiny_run rows = tiny_run_of(ky * window->dilation_height - window->top,
                                      window->stride_height, window->height, window->rows);
    for (int32_t kx = 0; kx < window->kernel_width; ++kx) {
      const tiny_run columns = tiny_run_of(kx * window->dilation_width - window->left,
                                           window->stride_width, window->width, window->columns);
      tiny_numbers_to_floats(numbers, place, step, weights->rows, weights->count, 0, panel,
                             weights->width);
      scatter_tap(window, weights, rows, columns, gradient, output);
      place += depth;
    }
  }
}

static void input_gradient(const float *gradient, tiny_numbers weight, const int32_t *table,
                           float *panel, float *output, int32_t block) {
  const tiny_window window = window_of(table);
  const int32_t depth = window.channels / window.groups;
  const int32_t per_group = window.outputs / window.groups;
  const int32_t step = window.kernel_height * window.kernel_width * depth;
  const int32_t few = tiny_has_few_zeros(gradient, window.rows * window.columns * window.outputs);
  tiny_zero_floats(output, window.height * window.width * window.channels);
  for (int32_t group = 0; group < window.groups; ++group) {
    for (int32_t channel = 0; channel < depth; channel += TINY_SUMS) {
      const int32_t count = tiny_min(TINY_SUMS, depth - channel);
      for (int32_t row = 0; row < per_group; row += block) {
        const weight_panel weights = {panel, tiny_min(block, per_group - row), count,
                                      tiny_panel_width(count), few};
        const int32_t first = group * per_group + row;
        scatter_panel(&window, &weights, weight, first * step + channel, gradient + first, panel,
                      output + group * depth + channel);
      }
    }
  }
}

void tiny_conv2d_input_gradient(const float *gradient, const int8_t *weight, const int32_t *table,
                                float *panel, float *output, int32_t block) {
  const tiny_numbers numbers = {.bytes = weight};
  input_gradient(gradient, numbers, table, panel, output, block);
}

void tiny_float_conv2d_input_gradient(const float *gradient, const float *weight,
                                      const int32_t *table, float *panel, float *output,
                                      int32_t block) {
  const tiny_numbers numbers = {.floats = weight};
  input_gradient(gradient, numbers, table, panel, output, block);
}

/* Complete sums of an output channel become its gradient, or go into its weights. */
static void finish(const weight_job *job, int32_t row, int32_t column, int32_t count,
                   const float *sums) {
  const tiny_window *window = &job->window;
  const int32_t taps = window->kernel_height * window->kernel_width;
  if (job->output != NULL) {
    float *output = job->output + row * taps * job->count + column;
    for (int32_t j = 0; j < count; ++j) {
      output[j] = sums[j];
    }
    return;
  }
  const int32_t depth = window->channels / window->groups;
  const float factor = job->rate * job->scale[row];
  const int32_t tap = column / job->count;
  int8_t *weight = job->weight + (row * taps + tap) * depth;
  int32_t chosen = column - tap * job->count;
  for (int32_t done = 0; done < count;) {
    const int32_t length = tiny_min(job->count - chosen, count - done);
    if (job->is_first) {
      tiny_descend_all(weight + chosen, NULL, factor, sums + done, length);
    } else {
      tiny_descend_all(weight, job->channels + chosen, factor, sums + done, length);
    }
    done += length;
    chosen = 0;
    weight += depth;
  }
}

void tiny_conv2d_weight_gradient(const int8_t *data, const float *gradient,
                                 const int16_t *channels, const int32_t *table, float *scratch,
                                 float *output, int32_t zero_point, int32_t count, int32_t chunk,
                                 int32_t rows) {
  const tiny_numbers numbers = {.bytes = data};
  weight_job job = job_of(numbers, gradient, channels, table, scratch, count, chunk);
  job.zero_point = zero_point;
  job.output = output;
  sum_weights(&job, chunk, rows);
}

void tiny_conv2d_weight_update(const int8_t *weight, const int8_t *data, const float *gradient,
                               const float *rate, const float *scale, const int16_t *channels,
                               const int32_t *table, float *scratch, int8_t *updated,
                               int32_t zero_point, int32_t count, int32_t chunk, int32_t rows) {
  const tiny_numbers numbers = {.bytes = data};
  weight_job job = job_of(numbers, gradient, channels, table, scratch, count, chunk);
  job.zero_point = zero_point;
  job.weight = updated;
  job.scale = scale;
  job.rate = *rate;
  tiny_move_block(updated, weight, weights_of(&job.window));
  sum_weights(&job, chunk, rows);
}
