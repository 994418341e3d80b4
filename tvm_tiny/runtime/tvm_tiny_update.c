#include "tvm_tiny_update.h"

#include "tvm_tiny.h"
#include "tvm_tiny_float.h"
#include "tvm_tiny_float_runs.h"

TINY_SCALAR_FLOATS

enum { SIXTEEN = 16 };

/* A row of a parameter: its first element, its scale, and the step from one column's scale to the next:
 * 1 where columns are the channels.
 */
typedef struct {
  int32_t first;
  const float *scale;
  int32_t step;
} tiny_row;

static tiny_row row_of(const int32_t *places, int32_t row, const float *scale) {
  const int32_t first = row * places[TINY_PLACES_COLUMNS];
  const int32_t scales = places[TINY_PLACES_SCALES];
  const int32_t inner = places[TINY_PLACES_INNER];
  const tiny_row found = {first, scale + first / inner % scales, inner == 1 && scales > 1};
  return found;
}

/* The column that gradient `number` of a row is for. */
static int32_t column_of(const int32_t *places, int32_t number) {
  return places[TINY_PLACES_IS_LISTED] ? places[TINY_PLACES_CHANNELS + number] : number;
}

static void move(void *y, const void *parameter, const int32_t *places, int32_t size) {
  const int32_t count = places[TINY_PLACES_ROWS] * places[TINY_PLACES_COLUMNS];
  tiny_move_block(y, parameter, count * size);
}

void tiny_sgd_update_int8(const int8_t *parameter, const float *gradient, const float *rate,
                          const float *scale, const int32_t *places, int8_t *y, int32_t limit) {
  move(y, parameter, places, (int32_t)sizeof *y);
  for (int32_t row = 0; row < places[TINY_PLACES_ROWS]; ++row) {
    const tiny_row at = row_of(places, row, scale);
    for (int32_t number = 0; number < places[TINY_PLACES_CHOSEN]; ++number) {
      const int32_t i = column_of(places, number);
      int8_t *moved = y + at.first + i;
      *moved = tiny_step_int8(*moved, rate[0] * at.scale[i * at.step], *gradient++, limit);
    }
  }
}

void tiny_sgd_update_int32(const int32_t *parameter, const float *gradient, const float *rate,
                           const float *scale, const int32_t *places, int32_t *y, int32_t limit) {
  move(y, parameter, places, (int32_t)sizeof *y);
  for (int32_t row = 0; row < places[TINY_PLACES_ROWS]; ++row) {
    const tiny_row at = row_of(places, row, scale);
    for (int32_t number = 0; number < places[TINY_PLACES_CHOSEN]; ++number) {
      const int32_t i = column_of(places, number);
      int32_t *moved = y + at.first + i;
      *moved = tiny_step_int32(*moved, rate[0] * at.scale[i * at.step], *gradient++, limit);
    }
  }
}

void tiny_sgd_update_float(const float *parameter, const float *gradient, const float *rate,
                           const float *scale, const int32_t *places, float *y) {
  move(y, parameter, places, (int32_t)sizeof *y);
  for (int32_t row = 0; row < places[TINY_PLACES_ROWS]; ++row) {
    const tiny_row at = row_of(places, row, scale);
    for (int32_t number = 0; number < places[TINY_PLACES_CHOSEN]; ++number) {
      const int32_t i = column_of(places, number);
      float *moved = y + at.first + i;
      *moved = tiny_step_float(*moved, rate[0] * at.scale[i * at.step], *gradient++);
    }
  }
}

void tiny_bias_update(const int32_t *bias, const float *gradient, const float *rate,
                      const float *scale, int32_t *y, int32_t pixels, int32_t channels,
                      int32_t limit) {
  float sums[SIXTEEN];
  for (int32_t first = 0; first < channels; first += SIXTEEN) {
    const int32_t count = tiny_min(SIXTEEN, channels - first);
    tiny_sum_rows(gradient + first, channels, pixels, count, sums);
    for (int32_t i = 0; i < count; ++i) {
      const int32_t c = first + i;
      y[c] = tiny_step_int32(bias[c], rate[0] * scale[c], sums[i], limit);
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
                      const float *rate, const float *step, const float *factors, float *y,
                      int32_t count) {
  const int32_t is_step = step[0] >= 1.0f; /* not NaN */
  const float steps = is_step ? step[0] : 1.0f;
  const float factor = rate[0] / complement_of_power(factors[0], steps);
  const float share = complement_of_power(factors[1], steps);
  for (int32_t i = 0; i < count; ++i) {
    const float root = tiny_square_root(second[i] / share) + factors[2];
    const float moved = __builtin_fmaf(-factor, first[i] / root, parameter[i]);
    y[i] = is_step && tiny_is_finite(moved) ? moved : parameter[i];
  }
}
