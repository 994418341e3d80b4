#include "tvm_tiny_update.h"

#include "tvm_tiny.h"
#include "tvm_tiny_float.h"
#include "tvm_tiny_float_runs.h"

TINY_SCALAR_FLOATS

enum { SIXTEEN = 16 };

/* Where gradients of rows belong; read once, since writing parameters could change a table. */
typedef struct {
  int32_t rows, columns, chosen, inner, scales;
  int32_t scale_step; /* from one column to the next: 1 where columns are the channels */
  const int32_t *listed;
  float rate;
  const float *scale;
} update_job;

static update_job job_of(const int32_t *places, const float *rate, const float *scale) {
  const update_job job = {
      .rows = places[TINY_PLACES_ROWS],
      .columns = places[TINY_PLACES_COLUMNS],
      .chosen = places[TINY_PLACES_CHOSEN],
      .inner = places[TINY_PLACES_INNER],
      .scales = places[TINY_PLACES_SCALES],
      .scale_step = places[TINY_PLACES_INNER] == 1 && places[TINY_PLACES_SCALES] > 1,
      .listed = places[TINY_PLACES_IS_LISTED] ? places + TINY_PLACES_CHANNELS : NULL,
      .rate = rate[0],
      .scale = scale,
  };
  return job;
}

/* The scale of a row's first column. */
static const float *row_scale(const update_job *job, int32_t row) {
  return job->scale + row * job->columns / job->inner % job->scales;
}

/* The column that gradient `number` of a row is for. */
static inline int32_t column_of(const int32_t *listed, int32_t number) {
  return listed != NULL ? listed[number] : number;
}

static void move(void *y, const void *parameter, const int32_t *places, int32_t size) {
  const int32_t count = places[TINY_PLACES_ROWS] * places[TINY_PLACES_COLUMNS];
  tiny_move_block(y, parameter, count * size);
}

void tiny_sgd_update_int8(const int8_t *parameter, const float *gradient, const float *rate,
                          const float *scale, const int32_t *places, int8_t *y, int32_t limit) {
  const update_job job = job_of(places, rate, scale);
  move(y, parameter, places, (int32_t)sizeof *y);
  for (int32_t row = 0; row < job.rows; ++row) {
    const float *factors = row_scale(&job, row);
    for (int32_t number = 0; number < job.chosen; ++number) {
      const int32_t i = column_of(job.listed, number);
      const float factor = job.rate * factors[i * job.scale_step];
      y[i] = tiny_step_int8(y[i], factor, *gradient++, limit);
    }
    y += job.columns;
  }
}

void tiny_sgd_update_int32(const int32_t *parameter, const float *gradient, const float *rate,
                           const float *scale, const int32_t *places, int32_t *y, int32_t limit) {
  const update_job job = job_of(places, rate, scale);
  move(y, parameter, places, (int32_t)sizeof *y);
  for (int32_t row = 0; row < job.rows; ++row) {
    const float *factors = row_scale(&job, row);
    for (int32_t number = 0; number < job.chosen; ++number) {
      const int32_t i = column_of(job.listed, number);
      const float factor = job.rate * factors[i * job.scale_step];
      y[i] = tiny_step_int32(y[i], factor, *gradient++, limit);
    }
    y += job.columns;
  }
}

void tiny_sgd_update_float(const float *parameter, const float *gradient, const float *rate,
                           const float *scale, const int32_t *places, float *y) {
  const update_job job = job_of(places, rate, scale);
  move(y, parameter, places, (int32_t)sizeof *y);
  for (int32_t row = 0; row < job.rows; ++row) {
    const float *factors = row_scale(&job, row);
    for (int32_t number = 0; number < job.chosen; ++number) {
      const int32_t i = column_of(job.listed, number);
      const float factor = job.rate * factors[i * job.scale_step];
      y[i] = tiny_step_float(y[i], factor, *gradient++);
    }
    y += job.columns;
  }
}

void tiny_bias_update(const int32_t *bias, const float *gradient, const float *rate,
                      const float *scale, int32_t *y, int32_t pixels, int32_t channels,
                      int32_t limit) {
  float sums[SIXTEEN];
  for (int32_t first = 0; first < channels; first += SIXTEEN) {
    const int32_t count = tiny_min(SIXTEEN, channels - first);
    tiny_sum_rows(gradient, channels, pixels, first, count, sums);
    for (int32_t i = 0; i < count; ++i) {
      const int32_t c = first + i;
      y[c] = tiny_step_int32(bias[c], rate[0] * scale[c], sums[i], limit);
    }
  }
}

void tiny_bias_update_by_rows(const int32_t *bias, const float *gradient, const float *rate,
                              const int32_t *scaling, const float *factor, int32_t *y,
                              int32_t pixels, int32_t channels, int32_t limit) {
  float sums[SIXTEEN];
  for (int32_t first = 0; first < channels; first += SIXTEEN) {
    const int32_t count = tiny_min(SIXTEEN, channels - first);
    tiny_sum_rows(gradient, channels, pixels, first, count, sums);
    for (int32_t i = 0; i < count; ++i) {
      const int32_t c = first + i;
      const float real = tiny_real_of_row(scaling + 2 * c);
      y[c] = tiny_step_int32(bias[c], rate[0] * (factor[0] / (real * real)), sums[i], limit);
    }
  }
}

void tiny_first_moment(const float *moment, const float *gradient, const float *scale,
                       const float *factors, float *y, int32_t count, int32_t inner,
                       int32_t scales) {
  for (int32_t i = 0; i < count; ++i) {
    const float scaled = scale[i / inner % scales] * gradient[i];
    const float moved = __builtin_fmaf(factors[0], moment[i], factors[1] * scaled);
    y[i] = tiny_is_finite(moved) ? moved : moment[i];
  }
}

void tiny_second_moment(const float *moment, const float *gradient, const float *scale,
                        const float *factors, float *y, int32_t count, int32_t inner,
                        int32_t scales) {
  for (int32_t i = 0; i < count; ++i) {
    const float scaled = scale[i / inner % scales] * gradient[i];
    const float moved = __builtin_fmaf(factors[0], moment[i], factors[1] * (scaled * scaled));
    y[i] = tiny_is_finite(moved) ? moved : moment[i];
  }
}

/* 1 - (1 - rest)^step: from those of two exponents, a + b - a * b is that of their sum, and nothing
 * cancels.
 */
static float complement_of_power(float rest, float step) {
  uint32_t exponent = step < 16777216.0f ? (uint32_t)step : 16777216u;
  float result = 0.0f;
  for (; exponent != 0u; exponent >>= 1) {
    if (exponent & 1u) {
      result = __builtin_fmaf(rest, 1.0f - result, result);
    }
    rest = rest * (2.0f - rest);
  }
  return result;
}

void tiny_adam_update(const float *parameter, const float *first, const float *second,
                      const float *rate, const float *step, const float *factors,
                      const int32_t *places, float *y) {
  const update_job job = job_of(places, rate, factors);
  move(y, parameter, places, (int32_t)sizeof *y);
  if (!(step[0] >= 1.0f)) { /* or NaN */
    return;
  }
  const float factor = job.rate / complement_of_power(factors[0], step[0]);
  const float share = complement_of_power(factors[1], step[0]);
  for (int32_t row = 0; row < job.rows; ++row) {
    for (int32_t number = 0; number < job.chosen; ++number) {
      const int32_t i = column_of(job.listed, number);
      const float root = tiny_square_root(*second++ / share) + factors[2];
      const float moved = __builtin_fmaf(-factor, *first++ / root, y[i]);
      y[i] = tiny_is_finite(moved) ? moved : y[i];
    }
    y += job.columns;
  }
}
