#include "tvm_tiny.h"
#include "tvm_tiny_gradient.h"
#include "tvm_tiny_gradient_sums.h"
#define TINY_FINISH finish
#include "tvm_tiny_weight_columns.h"

TINY_SCALAR_FLOATS

/* A step of descent of `count` weights at places. */
static void descend(float *weight, const int16_t *places, float factor, const float *gradient,
                    int32_t count) {
  for (const float *end = gradient + count; gradient < end; ++gradient) {
    float *updated = weight + *places++;
    *updated = tiny_step_float(*updated, factor, *gradient);
  }
}

/* Complete sums of an output channel become its gradient, or go into its weights. */
static void finish(const weight_job *job, int32_t row, int32_t column, int32_t count,
                   const float *sums) {
  const tiny_window *window = &job->window;
  const int32_t taps = window->kernel_height * window->kernel_width;
  if (job->scale == NULL) {
    float *output = job->output + row * taps * job->count + column;
    memcpy(output, sums, (size_t)count * sizeof *sums);
    return;
  }
  const int32_t depth = window->channels / window->groups;
  const float factor = job->rate * job->scale[0];
  const int32_t tap = column / job->count;
  float *weight = job->output + (row * taps + tap) * depth;
  int32_t chosen = column - tap * job->count;
  for (int32_t done = 0; done < count;) {
    const int32_t length = tiny_min(job->count - chosen, count - done);
    descend(weight, job->channels + chosen, factor, sums + done, length);
    done += length;
    chosen = 0;
    weight += depth;
  }
}

void tiny_float_conv2d_weight_gradient(const float *data, const float *gradient,
                                       const int16_t *channels, const int32_t *table,
                                       float *scratch, float *output, int32_t count, int32_t chunk,
                                       int32_t rows) {
  const tiny_numbers numbers = {.floats = data};
  weight_job job = job_of(numbers, gradient, channels, table, scratch, count, chunk);
  job.output = output;
  sum_weights(&job, chunk, rows);
}

void tiny_float_conv2d_weight_update(const float *weight, const float *data, const float *gradient,
                                     const float *rate, const float *scale,
                                     const int16_t *channels, const int32_t *table,
                                     float *scratch, float *updated, int32_t count, int32_t chunk,
                                     int32_t rows) {
  const tiny_numbers numbers = {.floats = data};
  weight_job job = job_of(numbers, gradient, channels, table, scratch, count, chunk);
  job.output = updated;
  job.scale = scale;
  job.rate = *rate;
  tiny_move_block(updated, weight, weights_of(&job.window) * (int32_t)sizeof *weight);
  sum_weights(&job, chunk, rows);
}
