/* Sums and products: one loop in assembly for DSP instructions, one in vectors, one in plain C. */
#include "tvm_tiny_elementwise.h"

#include "tvm_tiny.h"
#include "tvm_tiny_dsp.h"

/* Shifted right by a constant, to the nearest int8. */
#if defined(__ARM_FEATURE_SAT) && defined(__GNUC__)
#define SATURATE(value, shift, result) \
  __asm__("ssat %0, #8, %1, asr #" #shift : "=r"(result) : "r"(value))
#else
#define SATURATE(value, shift, result) result = tiny_saturate_int8((value) >> (shift))
#endif

#define ADD_ONE_BY_ONE(shift)                            \
  const int32_t first = form[0];                         \
  const int32_t second = form[1];                        \
  const int32_t offset = form[2];                        \
  for (int32_t i = 0; i < count; ++i) {                  \
    const int32_t sum = a[i] * first + offset + b[i] * second; \
    int32_t nearest;                                     \
    SATURATE(sum, shift, nearest);                       \
    y[i] = (int8_t)nearest;                              \
  }

/* Functions that are all assembly: compilers do not see them use their arguments. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

#if TINY_HAS_MVE

/* Four elements in 32 bits each, then in 16, then in 8; eight elements at a time, the rest
 * predicated. r0, r1 and r7 point to the operands and the output, r2 is the count.
 *
 * Both shifts round, and the offset takes back the halves that they add: binutils up to 2.40
 * assembles VQSHRNB, which does not round, as VQRSHRNB.
 */
#define DEFINE_ADD(shift)                                                                      \
  __attribute__((naked)) void tiny_add_##shift(const int8_t *a, const int8_t *b, int32_t count, \
                                               const int32_t *form, int8_t *y) {               \
    __asm__(                                                                                   \
        "push {r4-r7, lr}\n\t"                                                                 \
        "ldm r3, {r4-r6}\n\t"                                                                  \
        "ldr r7, [sp, #20]\n\t"                                                                \
        "vdup.32 q3, r4\n\t"                                                                   \
        "sub r6, r6, #0x8000\n\t"                                                              \
        "sub r6, r6, #1 << (" #shift " - 1)\n\t"                                               \
        "lsrs r3, r2, #3\n\t"                                                                  \
        "beq 2f\n\t"                                                                           \
        "dls lr, r3\n\t"                                                                       \
        "1:\n\t"                                                                               \
        "vldrb.s32 q0, [r0], #4\n\t"                                                           \
        "vldrb.s32 q1, [r0], #4\n\t"                                                           \
        "vmlas.s32 q0, q3, r6\n\t"                                                             \
        "vldrb.s32 q2, [r1], #4\n\t"                                                           \
        "vmlas.s32 q1, q3, r6\n\t"                                                             \
        "vmla.s32 q0, q2, r5\n\t"                                                              \
        "vldrb.s32 q2, [r1], #4\n\t"                                                           \
        "vqrshrnb.s32 q0, q0, #16\n\t"                                                          \
        "vmla.s32 q1, q2, r5\n\t"                                                              \
        "vqrshrnb.s16 q0, q0, #" #shift " - 16\n\t"                                             \
        "vqrshrnb.s32 q1, q1, #16\n\t"                                                          \
        "vstrb.32 q0, [r7], #4\n\t"                                                            \
        "vqrshrnb.s16 q1, q1, #" #shift " - 16\n\t"                                             \
        "vstrb.32 q1, [r7], #4\n\t"                                                            \
        "le lr, 1b\n\t"                                                                        \
        "2:\n\t"                                                                               \
        "ands r2, r2, #7\n\t"                                                                  \
        "beq 4f\n\t"                                                                           \
        "dlstp.32 lr, r2\n\t"                                                                  \
        "3:\n\t"                                                                               \
        "vldrb.s32 q0, [r0], #4\n\t"                                                           \
        "vldrb.s32 q2, [r1], #4\n\t"                                                           \
        "vmlas.s32 q0, q3, r6\n\t"                                                             \
        "vmla.s32 q0, q2, r5\n\t"                                                              \
        "vqrshrnb.s32 q0, q0, #16\n\t"                                                          \
        "vqrshrnb.s16 q0, q0, #" #shift " - 16\n\t"                                             \
        "vstrb.32 q0, [r7], #4\n\t"                                                            \
        "letp lr, 3b\n\t"                                                                      \
        "4:\n\t"                                                                               \
        "pop {r4-r7, pc}");                                                                    \
  }

#elif TINY_HAS_DSP

/* Elements stand in the upper bytes of 16-bit lanes, 256 times their value, so that
 * (lane * factor) >> 16 by SMLAWB and SMLAWT is exact for factors of 256 times the form's.
 *
 * r0, r1 point to the operands, r2 to the output up to r3; r4 to r6 hold the form, r7 the mask of the
 * upper bytes.
 */
#define ADD_FOUR(shift)                   \
  "ldr r8, [r0], #4\n\t"                  \
  "ldr r9, [r1], #4\n\t"                  \
  "and r10, r7, r8, lsl #8\n\t"           \
  "and r11, r7, r9, lsl #8\n\t"           \
  "and r8, r8, r7\n\t"                    \
  "and r9, r9, r7\n\t"                    \
  "smlawb r12, r4, r10, r6\n\t"           \
  "smlawb lr, r4, r8, r6\n\t"             \
  "smlawt r10, r4, r10, r6\n\t"           \
  "smlawt r8, r4, r8, r6\n\t"             \
  "smlawb r12, r5, r11, r12\n\t"          \
  "smlawb lr, r5, r9, lr\n\t"             \
  "smlawt r10, r5, r11, r10\n\t"          \
  "smlawt r8, r5, r9, r8\n\t"             \
  "ssat r12, #8, r12, asr #" #shift "\n\t" \
  "ssat lr, #8, lr, asr #" #shift "\n\t"  \
  "ssat r10, #8, r10, asr #" #shift "\n\t" \
  "ssat r8, #8, r8, asr #" #shift "\n\t"  \
  "strb r12, [r2], #1\n\t"                \
  "strb lr, [r2], #1\n\t"                 \
  "strb r10, [r2], #1\n\t"                \
  "strb r8, [r2], #1\n\t"

/* `count` is a multiple of four, and not zero. */
#define DEFINE_ADD(shift)                                                                     \
  __attribute__((naked)) static void add_fours_##shift(                                       \
      const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y) {      \
    __asm__(                                                                                  \
        "push {r4-r11, lr}\n\t"                                                               \
        "ldm r3, {r4-r6}\n\t"                                                                 \
        "lsl r4, r4, #8\n\t"                                                                  \
        "lsl r5, r5, #8\n\t"                                                                  \
        "mov r7, #0xff00ff00\n\t"                                                             \
        "mov r8, r2\n\t"                                                                      \
        "ldr r2, [sp, #36]\n\t"                                                               \
        "add r3, r2, r8\n\t"                                                                  \
        "tst r8, #4\n\t" /* the loop takes eight: are four left over? */                      \
        "beq 1f\n\t" ADD_FOUR(shift)                                                          \
        "cmp r2, r3\n\t"                                                                      \
        "beq 2f\n\t"                                                                          \
        "1:\n\t" ADD_FOUR(shift) ADD_FOUR(shift)                                              \
        "cmp r2, r3\n\t"                                                                      \
        "bne 1b\n\t"                                                                          \
        "2:\n\t"                                                                              \
        "pop {r4-r11, pc}");                                                                  \
  }                                                                                           \
  void tiny_add_##shift(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, \
                        int8_t *y) {                                                          \
    const int32_t whole = count & ~3;                                                         \
    if (whole > 0) {                                                                          \
      add_fours_##shift(a, b, whole, form, y);                                                \
    }                                                                                         \
    a += whole;                                                                               \
    b += whole;                                                                               \
    y += whole;                                                                               \
    count -= whole;                                                                           \
    ADD_ONE_BY_ONE(shift)                                                                     \
  }

#else

#define DEFINE_ADD(shift)                                                                     \
  void tiny_add_##shift(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, \
                        int8_t *y) {                                                          \
    ADD_ONE_BY_ONE(shift)                                                                     \
  }

#endif

DEFINE_ADD(18)
DEFINE_ADD(19)
DEFINE_ADD(20)
DEFINE_ADD(21)
DEFINE_ADD(22)

#if TINY_HAS_MVE

#include <arm_mve.h>

/* tiny_requantize: VQRDMULH is tiny_high_mul; adding the sign makes halves up halves away from zero. */
static inline int32x4_t scale_vector(int32x4_t product, int32_t multiplier, int32_t shift) {
  const int32x4_t high = vqrdmulhq_n_s32(product, multiplier);
  return vrshlq_n_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), -shift);
}

void tiny_mul(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y) {
  const int16_t point_a = (int16_t)form[0];
  const int16_t point_b = (int16_t)form[1];
  const int32_t multiplier = form[2];
  const int32_t shift = form[3];
  const int16_t zero_point = (int16_t)form[4];
  for (; count > 0; count -= 8) {
    const mve_pred16_t inside = vctp16q((uint32_t)count);
    const int16x8_t left = vaddq_n_s16(vldrbq_z_s16(a, inside), point_a);
    const int16x8_t right = vaddq_n_s16(vldrbq_z_s16(b, inside), point_b);
    const int32x4_t even = scale_vector(vmullbq_int_s16(left, right), multiplier, shift);
    const int32x4_t odd = scale_vector(vmulltq_int_s16(left, right), multiplier, shift);
    int16x8_t half = vqmovntq_s32(vqmovnbq_s32(left, even), odd);
    half = vqaddq_n_s16(half, zero_point);
    const int8x16_t byte = vqmovnbq_s16(vreinterpretq_s8_s16(half), half);
    vstrbq_p_s16(y, vreinterpretq_s16_s8(byte), inside);
    a += 8;
    b += 8;
    y += 8;
  }
}

#else

static inline int8_t scale_product(int32_t doubled, const int32_t *form, int32_t offset) {
  return (int8_t)tiny_saturate_int8(tiny_scale(doubled, form[2], offset, form[3]));
}

void tiny_mul(const int8_t *a, const int8_t *b, int32_t count, const int32_t *form, int8_t *y) {
  const int32_t local[4] = {form[0], form[1], form[2], form[3]};
  const int32_t offset = (1 << (form[3] - 1)) + form[4] * (1 << form[3]);
#if TINY_HAS_DSP
  const int32_t point_a = tiny_low_high(form[0] * 65536, form[0]);
  const int32_t point_b = tiny_low_high(form[1] * 65536, form[1]);
  for (; count >= 4; count -= 4) {
    const int32_t left = (int32_t)tiny_load_word(a);
    const int32_t right = (int32_t)tiny_load_word(b);
    int32_t even = tiny_add_even_bytes(point_a, left);
    int32_t odd = tiny_add_odd_bytes(point_a, left);
    const int32_t even_b = tiny_add_even_bytes(point_b, right);
    const int32_t odd_b = tiny_add_odd_bytes(point_b, right);
    even = tiny_add_halves(even, even);
    odd = tiny_add_halves(odd, odd);
    y[0] = scale_product(tiny_mul_low_low(even, even_b), local, offset);
    y[1] = scale_product(tiny_mul_low_low(odd, odd_b), local, offset);
    y[2] = scale_product(tiny_mul_high_high(even, even_b), local, offset);
    y[3] = scale_product(tiny_mul_high_high(odd, odd_b), local, offset);
    a += 4;
    b += 4;
    y += 4;
  }
#endif
  for (; count > 0; --count) {
    *y++ = scale_product((*a++ + local[0]) * (*b++ + local[1]) * 2, local, offset);
  }
}

#endif

void tiny_clamp_run(int8_t *values, int32_t count, int32_t low, int32_t high) {
  const uint32_t least = tiny_repeat_byte(low);
  const uint32_t most = tiny_repeat_byte(high);
  for (; count >= 4; count -= 4) {
    const uint32_t word = tiny_min_bytes(tiny_max_bytes(tiny_load_word(values), least), most);
    memcpy(values, &word, sizeof word);
    values += 4;
  }
  for (; count > 0; --count) {
    *values = (int8_t)tiny_clamp(*values, low, high);
    ++values;
  }
}
