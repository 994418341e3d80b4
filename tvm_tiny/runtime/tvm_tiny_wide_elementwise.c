/* Sums and products to int16, and what becomes of int16. */
#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"
#include "tvm_tiny_wide.h"
#include "tvm_tiny_wide_scale.h"

enum { A_ZERO_POINT, A_MULTIPLIER, A_SHIFT, B_ZERO_POINT, B_MULTIPLIER, B_SHIFT };
enum { SUM_ZERO_POINT = 6, SUM_MULTIPLIER, SUM_SHIFT, SUM_SIGN };

/* An operand with 20 more bits, at the scale of both. */
static int32_t raise(int32_t value, const int32_t *form) {
  return tiny_requantize((value - form[0]) * (1 << 20), form[1], form[2]);
}

/* How an operand is raised, where the shift is positive. */
typedef struct raising {
  int32_t zero_point, factor, multiplier, half, right;
} raising;

/* Without a shift the multiplier is a half, as that of the larger scale is: the same doubled twice
 * and shifted once, which leaves nothing to round.
 */
static raising raising_of(const int32_t *form) {
  const int32_t right = tiny_max(form[2], 1);
  const raising made = {form[0], 1 << (form[2] > 0 ? 21 : 22), form[1], 1 << (right - 1), right};
  return made;
}

static int is_usual_operand(const int32_t *form) {
  return form[2] > 0 || (form[2] == 0 && form[1] == 1 << 30);
}

static inline int32_t raise_usual(int32_t value, const raising *r) {
  const int32_t doubled = (value - r->zero_point) * r->factor;
  const int32_t product = tiny_high_mul_doubled(doubled, r->multiplier);
  return (product + (product >> 31) + r->half) >> r->right;
}

static void add_usual(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                      int32_t count) {
  const raising left = raising_of(form + A_ZERO_POINT);
  const raising right = raising_of(form + B_ZERO_POINT);
  const int32_t twice = 2 * form[SUM_SIGN];
  const int32_t multiplier = form[SUM_MULTIPLIER];
  const int32_t shift = form[SUM_SHIFT];
  const int32_t offset = (1 << (shift - 1)) + form[SUM_ZERO_POINT] * (1 << shift);
  for (; count > 0; --count) {
    const int32_t doubled = 2 * raise_usual(*a++, &left) + twice * raise_usual(*b++, &right);
    *output++ = tiny_saturate_int16(tiny_scale(doubled, multiplier, offset, shift));
  }
}

void tiny_wide_add(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                   int32_t count) {
  if (is_usual_operand(form + A_ZERO_POINT) && is_usual_operand(form + B_ZERO_POINT) &&
      form[SUM_SHIFT] >= 1 && form[SUM_SHIFT] <= TINY_WIDE_LARGEST_SHIFT) {
    add_usual(a, b, form, output, count);
    return;
  }
  for (int32_t i = count; i > 0; --i) {
    const int32_t left = raise(*a++, form + A_ZERO_POINT);
    const int32_t right = raise(*b++, form + B_ZERO_POINT);
    const int32_t total = form[SUM_SIGN] > 0 ? left + right : left - right;
    const int32_t scaled = tiny_requantize_any(total, form[SUM_MULTIPLIER], -form[SUM_SHIFT]);
    *output++ = tiny_saturate_int16(scaled + form[SUM_ZERO_POINT]);
  }
}

enum { FACTOR_A, FACTOR_B, PRODUCT_ZERO_POINT, PRODUCT_MULTIPLIER, PRODUCT_SHIFT };

void tiny_wide_mul(const int8_t *a, const int8_t *b, const int32_t *form, int16_t *output,
                   int32_t count) {
  for (int32_t i = count; i > 0; --i) {
    const int32_t product = (*a++ - form[FACTOR_A]) * (*b++ - form[FACTOR_B]);
    const int32_t scaled =
        tiny_requantize_any(product, form[PRODUCT_MULTIPLIER], -form[PRODUCT_SHIFT]);
    *output++ = tiny_saturate_int16(scaled + form[PRODUCT_ZERO_POINT]);
  }
}

enum { AT_ONCE = 8 };

#if TINY_HAS_DSP

/* Both halves to the nearest int8. */
static inline int32_t saturate_halves(uint32_t halves) {
  int32_t result;
  __asm__("ssat16 %0, #8, %1" : "=r"(result) : "r"(halves));
  return result;
}

/* Halves of `bits`, or zero where the half less `low` is beyond `span` as a number without sign:
 * SEL takes those bytes of its first operand where USUB16 did not borrow.
 */
static inline uint32_t bits_inside(uint32_t halves, uint32_t low, uint32_t span, uint32_t bits) {
  uint32_t result;
  __asm__("ssub16 %0, %1, %2\n\tusub16 %0, %3, %0\n\tsel %0, %4, %5"
          : "=&r"(result)
          : "r"(halves), "r"(low), "r"(span), "r"(bits), "r"(0));
  return result;
}

#else

static int32_t saturate_halves(uint32_t halves) {
  return tiny_halves(tiny_saturate_int8(tiny_low((int32_t)halves)),
                     tiny_saturate_int8(tiny_high((int32_t)halves)));
}

static uint32_t bits_inside(uint32_t halves, uint32_t low, uint32_t span, uint32_t bits) {
  const uint32_t first = (halves - low) & 0xffffu;
  const uint32_t second = ((halves >> 16) - (low >> 16)) & 0xffffu;
  return (first <= (span & 0xffffu) ? bits & 0xffffu : 0u) |
         (second <= span >> 16 ? bits & 0xffff0000u : 0u);
}

#endif

/* Four halves to the nearest int8. */
static inline uint32_t truncate_four(const int16_t *data) {
  const int32_t first = saturate_halves(tiny_load_word((const int8_t *)data));
  const int32_t second = saturate_halves(tiny_load_word((const int8_t *)(data + 2)));
  const uint32_t even = (uint32_t)tiny_low_low(first, second);
  const uint32_t odd = (uint32_t)tiny_high_high(first, second);
  return (even & 0x00ff00ffu) | (odd & 0x00ff00ffu) << 8;
}

/* Words are read before their bytes are written, which begin where they do. */
void tiny_truncate(const int16_t *data, int8_t *output, int32_t count, int32_t low, int32_t high) {
  const uint32_t least = tiny_repeat_byte(low);
  const uint32_t most = tiny_repeat_byte(high);
  const int is_narrow = low > -128 || high < 127;
  for (; count >= AT_ONCE; count -= AT_ONCE) {
    uint32_t first = truncate_four(data);
    uint32_t second = truncate_four(data + 4);
    if (is_narrow) {
      first = tiny_min_bytes(tiny_max_bytes(first, least), most);
      second = tiny_min_bytes(tiny_max_bytes(second, least), most);
    }
    memcpy(output, &first, sizeof first);
    memcpy(output + 4, &second, sizeof second);
    data += AT_ONCE;
    output += AT_ONCE;
  }
  for (; count > 0; --count) {
    *output++ = (int8_t)tiny_clamp(*data++, low, high);
  }
}

void tiny_in_range(const int16_t *data, uint8_t *output, int32_t count, int32_t low, int32_t high) {
  const uint32_t lows = (uint32_t)tiny_halves_of(low);
  const uint32_t spans = (uint32_t)tiny_halves_of(high - low);
  for (; count >= AT_ONCE; count -= AT_ONCE) {
    uint32_t words[AT_ONCE / 2];
    memcpy(words, data, sizeof words);
    uint32_t bits = bits_inside(words[3], lows, spans, 0x00020001u);
    bits = bits << 2 | bits_inside(words[2], lows, spans, 0x00020001u);
    bits = bits << 2 | bits_inside(words[1], lows, spans, 0x00020001u);
    bits = bits << 2 | bits_inside(words[0], lows, spans, 0x00020001u);
    *output++ = (uint8_t)(bits | bits >> 16);
    data += AT_ONCE;
  }
  if (count > 0) {
    uint32_t bits = 0;
    for (int32_t i = 0; i < count; ++i) {
      bits |= (uint32_t)(data[i] >= low && data[i] <= high) << i;
    }
    *output = (uint8_t)bits;
  }
}
