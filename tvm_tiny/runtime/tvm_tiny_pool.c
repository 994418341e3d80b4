/* Pooling: eight channels at a time in 16-bit lanes, or sixteen in bytes for the largest tap. */
#include "tvm_tiny_pool.h"

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

#if TINY_HAS_MVE
#include <arm_mve.h>
#endif

/* The part of a window that lies inside of the image. */
typedef struct {
  const int8_t *first;
  int32_t rows;
  int32_t columns;
  int32_t row_step;
  int32_t channels;
} window_t;

static window_t window_at(const int8_t *image, const int32_t *pool, int32_t oy, int32_t ox) {
  const int32_t channels = pool[TINY_POOL_CHANNELS];
  const int32_t row_step = pool[TINY_POOL_WIDTH] * channels;
  const int32_t y = oy * pool[TINY_POOL_STRIDE_HEIGHT] - pool[TINY_POOL_TOP];
  const int32_t x = ox * pool[TINY_POOL_STRIDE_WIDTH] - pool[TINY_POOL_LEFT];
  const int32_t top = tiny_max(y, 0);
  const int32_t left = tiny_max(x, 0);
  const int32_t bottom = tiny_min(y + pool[TINY_POOL_WINDOW_HEIGHT], pool[TINY_POOL_HEIGHT]);
  const int32_t right = tiny_min(x + pool[TINY_POOL_WINDOW_WIDTH], pool[TINY_POOL_WIDTH]);
  window_t window = {image + top * row_step + left * channels, bottom - top, right - left, row_step,
                     channels};
  if (window.columns == pool[TINY_POOL_WIDTH]) { /* whole rows are one run of pixels */
    window.columns *= window.rows;
    window.rows = 1;
  }
  return window;
}

#if TINY_HAS_MVE

/* Eight channels' sums. */
static inline int16x8_t sum_of(const window_t *window, int32_t channel, mve_pred16_t inside) {
  int16x8_t sum = vdupq_n_s16(0);
  for (int32_t row = 0; row < window->rows; ++row) {
    const int8_t *pixel = window->first + row * window->row_step + channel;
    for (int32_t column = 0; column < window->columns; ++column) {
      sum = vaddq_s16(sum, vldrbq_z_s16(pixel, inside));
      pixel += window->channels;
    }
  }
  return sum;
}

static inline void store_means(int16x8_t sum, int32_t reciprocal, int8_t *y, mve_pred16_t inside) {
  const int32x4_t even = vqrdmulhq_n_s32(vmovlbq_s16(sum), 2 * reciprocal);
  const int32x4_t odd = vqrdmulhq_n_s32(vmovltq_s16(sum), 2 * reciprocal);
  const int16x8_t mean = vmovntq_s32(vmovnbq_s32(sum, even), odd);
  vstrbq_p_s16(y, mean, inside);
}

static __attribute__((noinline)) void average(const window_t *window, int32_t reciprocal, int8_t *y) {
  for (int32_t c = 0; c < window->channels; c += 8) {
    const mve_pred16_t inside = vctp16q((uint32_t)(window->channels - c));
    store_means(sum_of(window, c, inside), reciprocal, y + c, inside);
  }
}

/* The same for windows of 2x2. */
static void average_four(const window_t *window, int32_t reciprocal, int8_t *y) {
  const int32_t channels = window->channels;
  const int8_t *upper = window->first;
  const int8_t *lower = upper + window->row_step;
  for (int32_t left = channels; left > 0; left -= 8) {
    const mve_pred16_t inside = vctp16q((uint32_t)left);
    const int16x8_t above =
        vaddq_s16(vldrbq_z_s16(upper, inside), vldrbq_z_s16(upper + channels, inside));
    const int16x8_t below =
        vaddq_s16(vldrbq_z_s16(lower, inside), vldrbq_z_s16(lower + channels, inside));
    store_means(vaddq_s16(above, below), reciprocal, y, inside);
    upper += 8;
    lower += 8;
    y += 8;
  }
}

static void largest(const window_t *window, int32_t low, int32_t high, int8_t *y) {
  for (int32_t c = 0; c < window->channels; c += 16) {
    const mve_pred16_t inside = vctp8q((uint32_t)(window->channels - c));
    int8x16_t found = vdupq_n_s8((int8_t)low);
    for (int32_t row = 0; row < window->rows; ++row) {
      const int8_t *pixel = window->first + row * window->row_step + c;
      for (int32_t column = 0; column < window->columns; ++column) {
        found = vmaxq_s8(found, vldrbq_z_s8(pixel, inside));
        pixel += window->channels;
      }
    }
    vstrbq_p_s8(y + c, vminq_s8(found, vdupq_n_s8((int8_t)high)), inside);
  }
}

#else

/* Four channels' sums: channels 0 and 2 in the lanes of one word, 1 and 3 in those of the other.
 * Without DSP instructions values are raised by 128, and lanes are unsigned.
 */
typedef struct {
  uint32_t even;
  uint32_t odd;
} lanes_t;

static inline uint32_t load_aligned(const int8_t *bytes) {
  uint32_t word;
  memcpy(&word, __builtin_assume_aligned(bytes, 4), sizeof word);
  return word;
}

static inline lanes_t add_word(lanes_t sums, uint32_t word) {
#if TINY_HAS_DSP
  sums.even = (uint32_t)tiny_add_even_bytes((int32_t)sums.even, (int32_t)word);
  sums.odd = (uint32_t)tiny_add_odd_bytes((int32_t)sums.odd, (int32_t)word);
#else
  const uint32_t raised = word ^ 0x80808080u;
  sums.even += raised & 0x00ff00ffu;
  sums.odd += (raised >> 8) & 0x00ff00ffu;
#endif
  return sums;
}

/* The sums of four channels over `count` pixels. */
static inline void spread(lanes_t sums, int32_t count, int32_t *totals) {
#if TINY_HAS_DSP
  (void)count;
  totals[0] = (int16_t)(sums.even & 0xffffu);
  totals[1] = (int16_t)(sums.odd & 0xffffu);
  totals[2] = (int32_t)sums.even >> 16;
  totals[3] = (int32_t)sums.odd >> 16;
#else
  totals[0] = (int32_t)(sums.even & 0xffffu) - 128 * count;
  totals[1] = (int32_t)(sums.odd & 0xffffu) - 128 * count;
  totals[2] = (int32_t)(sums.even >> 16) - 128 * count;
  totals[3] = (int32_t)(sums.odd >> 16) - 128 * count;
#endif
}

typedef struct {
  lanes_t first;
  lanes_t second;
} block_t;

/* Compilers would keep the addresses of all pixels of an unrolled loop, and run out of registers. */
#if defined(__GNUC__)
#define FORGET(value) __asm__("" : "+r"(value))
#else
#define FORGET(value) (void)(value)
#endif

/* Four channels of a pixel, or eight; `pixel` moves on. */
static inline void add_pixel(block_t *sums, const int8_t **pixel, int32_t step, int32_t is_pair) {
#if TINY_HAS_DSP
  if (is_pair) {
    /* compilers make more than these six of it */
    uint32_t low;
    uint32_t high;
    __asm__("ldrd %[low], %[high], [%[pixel]]\n\t"
            "add %[pixel], %[step]\n\t"
            "sxtab16 %[even0], %[even0], %[low]\n\t"
            "sxtab16 %[odd0], %[odd0], %[low], ror #8\n\t"
            "sxtab16 %[even1], %[even1], %[high]\n\t"
            "sxtab16 %[odd1], %[odd1], %[high], ror #8"
            : [low] "=&r"(low), [high] "=&r"(high), [pixel] "+&r"(*pixel),
              [even0] "+&r"(sums->first.even), [odd0] "+&r"(sums->first.odd),
              [even1] "+&r"(sums->second.even), [odd1] "+&r"(sums->second.odd)
            : [step] "r"(step)
            : "memory");
    return;
  }
#endif
  sums->first = add_word(sums->first, load_aligned(*pixel));
  if (is_pair) {
    sums->second = add_word(sums->second, load_aligned(*pixel + 4));
  }
  *pixel += step;
  FORGET(*pixel);
}

static inline block_t sum_of(const window_t *window, int32_t channel, int32_t is_pair) {
  const int32_t step = window->channels;
  const int32_t columns = window->columns;
  const int8_t *start = window->first + channel;
  block_t sums = {{0, 0}, {0, 0}};
  for (int32_t row = window->rows; row > 0; --row) {
    const int8_t *pixel = start;
    int32_t column = columns;
    for (; column >= 8; column -= 8) {
#pragma GCC unroll 8
      for (int32_t i = 0; i < 8; ++i) {
        add_pixel(&sums, &pixel, step, is_pair);
      }
    }
    for (; column > 0; --column) {
      add_pixel(&sums, &pixel, step, is_pair);
    }
    start += window->row_step;
  }
  return sums;
}

static inline void store_means(lanes_t sums, int32_t count, int32_t reciprocal, int8_t *y) {
  const int32_t half = 1 << 13;
#if TINY_HAS_DSP
  (void)count;
  y[0] = (int8_t)(tiny_mac_wide_low(reciprocal, (int32_t)sums.even, half) >> 14);
  y[1] = (int8_t)(tiny_mac_wide_low(reciprocal, (int32_t)sums.odd, half) >> 14);
  y[2] = (int8_t)(tiny_mac_wide_high(reciprocal, (int32_t)sums.even, half) >> 14);
  y[3] = (int8_t)(tiny_mac_wide_high(reciprocal, (int32_t)sums.odd, half) >> 14);
#else
  int32_t totals[4];
  spread(sums, count, totals);
  for (int32_t i = 0; i < 4; ++i) {
    y[i] = (int8_t)((tiny_wide_product(reciprocal, totals[i]) + half) >> 14);
  }
#endif
}

static __attribute__((noinline)) void average(const window_t *window, int32_t reciprocal, int8_t *y) {
  const int32_t channels = window->channels;
  const int32_t count = window->rows * window->columns;
  int32_t c = 0;
  for (; c + 8 <= channels; c += 8) {
    const block_t sums = sum_of(window, c, 1);
    store_means(sums.first, count, reciprocal, y + c);
    store_means(sums.second, count, reciprocal, y + c + 4);
  }
  if (c < channels) {
    store_means(sum_of(window, c, 0).first, count, reciprocal, y + c);
  }
}

/* The same for windows of 2x2. */
static void average_four(const window_t *window, int32_t reciprocal, int8_t *y) {
  const int32_t step = window->channels;
  const int8_t *upper = window->first;
  const int8_t *lower = upper + window->row_step;
  for (const int8_t *end = y + step; y < end; y += 4) {
    lanes_t sums = {0, 0};
    sums = add_word(sums, load_aligned(upper));
    sums = add_word(sums, load_aligned(upper + step));
    sums = add_word(sums, load_aligned(lower));
    sums = add_word(sums, load_aligned(lower + step));
    store_means(sums, 4, reciprocal, y);
    upper += 4;
    lower += 4;
  }
}

static void largest(const window_t *window, int32_t low, int32_t high, int8_t *y) {
  const uint32_t least = tiny_repeat_byte(low);
  const uint32_t most = tiny_repeat_byte(high);
  const int32_t step = window->channels;
  for (int32_t c = 0; c < step; c += 4) {
    uint32_t found = least;
    for (int32_t row = 0; row < window->rows; ++row) {
      const int8_t *pixel = window->first + row * window->row_step + c;
#pragma GCC unroll 2
      for (int32_t column = window->columns; column > 0; --column) {
        found = tiny_max_bytes(found, load_aligned(pixel));
        pixel += step;
      }
    }
    found = tiny_min_bytes(found, most);
    memcpy(__builtin_assume_aligned(y + c, 4), &found, sizeof found);
  }
}

#endif

void tiny_average_pool(const int8_t *image, const int32_t *pool, const int32_t *reciprocals,
                       int8_t *y) {
  for (int32_t oy = 0; oy < pool[TINY_POOL_OUTPUT_HEIGHT]; ++oy) {
    for (int32_t ox = 0; ox < pool[TINY_POOL_OUTPUT_WIDTH]; ++ox) {
      const window_t window = window_at(image, pool, oy, ox);
      const int32_t reciprocal = reciprocals[window.rows * window.columns];
      if (window.rows == 2 && window.columns == 2) {
        average_four(&window, reciprocal, y);
      } else {
        average(&window, reciprocal, y);
      }
      y += window.channels;
    }
  }
}

void tiny_max_pool(const int8_t *image, const int32_t *pool, int8_t *y) {
  for (int32_t oy = 0; oy < pool[TINY_POOL_OUTPUT_HEIGHT]; ++oy) {
    for (int32_t ox = 0; ox < pool[TINY_POOL_OUTPUT_WIDTH]; ++ox) {
      const window_t window = window_at(image, pool, oy, ox);
      largest(&window, pool[TINY_POOL_CLAMP_MIN], pool[TINY_POOL_CLAMP_MAX], y);
      y += window.channels;
    }
  }
}

void tiny_mean(const int8_t *image, int32_t pixels, int32_t channels, const int32_t *rescale,
               int8_t *y) {
  const window_t window = {image, 1, pixels, 0, channels};
  for (int32_t c = 0; c < channels; c += 8) {
    const int32_t count = tiny_min(channels - c, 8);
#if TINY_HAS_MVE
    int16_t totals[8];
    vst1q_s16(totals, sum_of(&window, c, vctp16q((uint32_t)count)));
#else
    int32_t totals[8];
    const block_t sums = count == 8 ? sum_of(&window, c, 1) : sum_of(&window, c, 0);
    spread(sums.first, pixels, totals);
    spread(sums.second, pixels, totals + 4);
#endif
    for (int32_t i = 0; i < count; ++i) {
      const int32_t scaled = tiny_requantize(totals[i] + rescale[0], rescale[1], rescale[2]);
      y[c + i] = (int8_t)tiny_saturate_int8(scaled + rescale[3]);
    }
  }
}
