/* The few DSP instructions that kernels use, and what they mean on machines without them. */
#ifndef TVM_TINY_DSP_H
#define TVM_TINY_DSP_H

#include <stdint.h>
#include <string.h>

#if defined(__ARM_FEATURE_DSP) && defined(__GNUC__)
#define TINY_HAS_DSP 1
#else
#define TINY_HAS_DSP 0
#endif

/* SMULL and SMLAL, and the rest of Thumb-2: what kernels made for cores without DSP use. */
#if defined(__thumb2__) && defined(__GNUC__)
#define TINY_HAS_LONG 1
#else
#define TINY_HAS_LONG 0
#endif

/* Vectors of the M profile (Helium). */
#if defined(__ARM_FEATURE_MVE) && (__ARM_FEATURE_MVE & 1) && defined(__GNUC__)
#define TINY_HAS_MVE 1
#else
#define TINY_HAS_MVE 0
#endif

/* Four bytes at any address. */
static inline uint32_t tiny_load_word(const int8_t *bytes) {
  uint32_t word;
  memcpy(&word, bytes, sizeof word);
  return word;
}

/* Four times the same byte. */
static inline uint32_t tiny_repeat_byte(int32_t value) {
  return ((uint32_t)value & 0xffu) * 0x01010101u;
}

/* Both halves of a word the same. */
static inline int32_t tiny_halves_of(int32_t value) {
  return (int32_t)(((uint32_t)value & 0xffffu) * 0x00010001u);
}

#if TINY_HAS_DSP

#define TINY_DSP_1(name, instruction)                    \
  static inline int32_t name(uint32_t a) {               \
    int32_t result;                                      \
    __asm__(instruction : "=r"(result) : "r"(a));        \
    return result;                                       \
  }
#define TINY_DSP_2(name, instruction)                         \
  static inline int32_t name(int32_t a, int32_t b) {          \
    int32_t result;                                           \
    __asm__(instruction : "=r"(result) : "r"(a), "r"(b));     \
    return result;                                            \
  }
#define TINY_DSP_3(name, instruction)                                   \
  static inline int32_t name(int32_t a, int32_t b, int32_t c) {         \
    int32_t result;                                                     \
    __asm__(instruction : "=r"(result) : "r"(a), "r"(b), "r"(c));       \
    return result;                                                      \
  }

/* bytes 0 and 2 of a word, sign-extended into its halves; bytes 1 and 3 */
TINY_DSP_1(tiny_even_bytes, "sxtb16 %0, %1")
TINY_DSP_1(tiny_odd_bytes, "sxtb16 %0, %1, ror #8")
/* a, plus the same bytes of b lane by lane */
TINY_DSP_2(tiny_add_even_bytes, "sxtab16 %0, %1, %2")
TINY_DSP_2(tiny_add_odd_bytes, "sxtab16 %0, %1, %2, ror #8")
/* (a * b.low) >> 16 + c, and with the high half */
TINY_DSP_3(tiny_mac_wide_low, "smlawb %0, %1, %2, %3")
TINY_DSP_3(tiny_mac_wide_high, "smlawt %0, %1, %2, %3")
/* the low half of b below, the high half of a above */
TINY_DSP_2(tiny_low_high, "pkhbt %0, %2, %1")
/* the low halves of both, a's below; the high halves */
TINY_DSP_2(tiny_low_low, "pkhbt %0, %1, %2, lsl #16")
TINY_DSP_2(tiny_high_high, "pkhtb %0, %2, %1, asr #16")
/* a.low * b.low + a.high * b.high + c, and single products of halves */
TINY_DSP_3(tiny_dual_mac, "smlad %0, %1, %2, %3")
TINY_DSP_2(tiny_mul_low_low, "smulbb %0, %1, %2")
TINY_DSP_2(tiny_mul_high_high, "smultt %0, %1, %2")
/* halves added one by one */
TINY_DSP_2(tiny_add_halves, "sadd16 %0, %1, %2")
/* a.low * b.high + a.high * b.low + c */
TINY_DSP_3(tiny_dual_mac_crossed, "smladx %0, %1, %2, %3")
TINY_DSP_3(tiny_mac_low_low, "smlabb %0, %1, %2, %3")
TINY_DSP_3(tiny_mac_high_low, "smlatb %0, %1, %2, %3")

/* nearest int8 */
static inline int32_t tiny_saturate_int8(int32_t value) {
  int32_t result;
  __asm__("ssat %0, #8, %1" : "=r"(result) : "r"(value));
  return result;
}

/* larger and smaller of each pair of signed bytes: SEL takes bytes of its first operand where SSUB8
 * found the difference not to be negative
 */
static inline uint32_t tiny_max_bytes(uint32_t a, uint32_t b) {
  uint32_t result;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %1, %2" : "=&r"(result) : "r"(a), "r"(b));
  return result;
}

static inline uint32_t tiny_min_bytes(uint32_t a, uint32_t b) {
  uint32_t result;
  __asm__("ssub8 %0, %1, %2\n\tsel %0, %2, %1" : "=&r"(result) : "r"(a), "r"(b));
  return result;
}

#else

static inline int32_t tiny_low(int32_t word) { return (int16_t)((uint32_t)word & 0xffffu); }

static inline int32_t tiny_high(int32_t word) { return (int16_t)((uint32_t)word >> 16); }

static inline int32_t tiny_halves(int32_t low, int32_t high) {
  return (int32_t)(((uint32_t)low & 0xffffu) | (uint32_t)high << 16);
}

/* (a * b) >> 16 for |b| <= 2^15 */
static inline int32_t tiny_wide_product(int32_t a, int32_t b) {
  const int32_t low = (int32_t)((uint32_t)a & 0x7fffu) * b; /* 15 bits: products fit 32 */
  return ((a >> 15) * b + (low >> 15)) >> 1;
}

static inline int32_t tiny_even_bytes(uint32_t word) {
  return tiny_halves((int8_t)(word & 0xffu), (int8_t)((word >> 16) & 0xffu));
}

static inline int32_t tiny_odd_bytes(uint32_t word) { return tiny_even_bytes(word >> 8); }

static inline int32_t tiny_add_halves(int32_t a, int32_t b) {
  return tiny_halves(tiny_low(a) + tiny_low(b), tiny_high(a) + tiny_high(b));
}

static inline int32_t tiny_add_even_bytes(int32_t a, int32_t b) {
  return tiny_add_halves(a, tiny_even_bytes((uint32_t)b));
}

static inline int32_t tiny_add_odd_bytes(int32_t a, int32_t b) {
  return tiny_add_halves(a, tiny_odd_bytes((uint32_t)b));
}

static inline int32_t tiny_low_high(int32_t a, int32_t b) {
  return tiny_halves(tiny_low(b), tiny_high(a));
}

static inline int32_t tiny_low_low(int32_t a, int32_t b) { return tiny_halves(a, b); }

static inline int32_t tiny_high_high(int32_t a, int32_t b) {
  return tiny_halves(tiny_high(a), tiny_high(b));
}

static inline int32_t tiny_mac_low_low(int32_t a, int32_t b, int32_t c) {
  return (int32_t)((uint32_t)c + (uint32_t)(tiny_low(a) * tiny_low(b)));
}

static inline int32_t tiny_mac_high_low(int32_t a, int32_t b, int32_t c) {
  return (int32_t)((uint32_t)c + (uint32_t)(tiny_high(a) * tiny_low(b)));
}

static inline int32_t tiny_dual_mac(int32_t a, int32_t b, int32_t c) {
  return (int32_t)((uint32_t)tiny_mac_low_low(a, b, c) + (uint32_t)(tiny_high(a) * tiny_high(b)));
}

static inline int32_t tiny_dual_mac_crossed(int32_t a, int32_t b, int32_t c) {
  return tiny_dual_mac(tiny_halves(tiny_high(a), tiny_low(a)), b, c);
}

static inline int32_t tiny_saturate_int8(int32_t value) {
  return value < -128 ? -128 : value > 127 ? 127 : value;
}

/* 0xff for every byte of a that is less than b's, as signed bytes; else 0 */
static inline uint32_t tiny_less_bytes(uint32_t a, uint32_t b) {
  const uint32_t high = 0x80808080u;
  /* bit 7 of each byte, where signs are equal: a >= b; these differences do not borrow */
  const uint32_t not_less = (a | high) - (b & ~high);
  const uint32_t less = ((a & ~b) | (~(a ^ b) & ~not_less)) & high;
  return (less >> 7) * 0xffu;
}

static inline uint32_t tiny_max_bytes(uint32_t a, uint32_t b) {
  const uint32_t less = tiny_less_bytes(a, b);
  return (a & ~less) | (b & less);
}

static inline uint32_t tiny_min_bytes(uint32_t a, uint32_t b) {
  const uint32_t less = tiny_less_bytes(a, b);
  return (b & ~less) | (a & less);
}

#endif

#endif /* TVM_TINY_DSP_H */
