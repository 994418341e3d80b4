#include "tvm_tiny.h"
#include "tvm_tiny_helium.h"
#include "tvm_tiny_mve.h"

void tiny_helium_close_up(const int8_t *from, int32_t pitch, int32_t rows, int32_t count,
                          int8_t *to) {
  for (int32_t i = 0; i < rows; ++i) {
    tiny_copy(from, count, to);
    from += pitch;
    to += count;
  }
}

#if TINY_HAS_MVE

/* All assembly, see tvm_tiny_helium.c. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

__attribute__((naked)) void tiny_helium_clamp(int8_t *values, int32_t count, int32_t low,
                                              int32_t high) {
  __asm__(
      "push {r7, lr}\n\t"
      "vdup.8 q1, r2\n\t"
      "vdup.8 q2, r3\n\t"
      "dlstp.8 lr, r1\n\t"
      "1:\n\t"
      "vldrb.8 q0, [r0]\n\t"
      "vmax.s8 q0, q0, q1\n\t"
      "vmin.s8 q0, q0, q2\n\t"
      "vstrb.8 q0, [r0], #16\n\t"
      "letp lr, 1b\n\t"
      "pop {r7, pc}");
}

/* One pixel x four channels. r1 points to the pixel, up to r9; r3 to the weights, r5 to the
 * params, r7 to the output; r11 counts channels; r10 is the zero point, r12 where to enter the
 * loop.
 */
#define DENSE_CHUNK(multiply)      \
  "vldrb.8 q0, [r1], #16\n\t"      \
  "vldrb.8 q1, [r3], #16\n\t"      \
  multiply " r0, q0, q1\n\t"       \
  "vldrb.8 q2, [r3], #16\n\t"      \
  multiply " r2, q0, q2\n\t"       \
  "vldrb.8 q1, [r3], #16\n\t"      \
  multiply " r4, q0, q1\n\t"       \
  "vldrb.8 q2, [r3], #16\n\t"      \
  multiply " r6, q0, q2\n\t"
#define FIRST_CHUNK DENSE_CHUNK("vmladav.s8")
#define NEXT_CHUNK DENSE_CHUNK("vmladava.s8")
#define DENSE_CHUNK_BYTES "36"

/* q0 = sums, in q1 bias, q2 multiplier, q3 shift */
#define SCALE_FOUR_RELU            \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vqrdmulh.s32 q0, q0, q2\n\t"    \
  "vrshl.s32 q0, q0, q3\n\t"
#define SCALE_FOUR_AWAY            \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vshr.s32 q1, q0, #31\n\t"       \
  "vqrdmulh.s32 q0, q0, q2\n\t"    \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vrshl.s32 q0, q0, q3\n\t"
#define SCALE_FOUR_ANY             \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vshl.i32 q1, q3, #17\n\t"       \
  "vshr.u32 q1, q1, #25\n\t"       \
  "vshl.s32 q0, q0, q1\n\t"        \
  "vand q1, q0, q3\n\t"            \
  "vshr.s32 q1, q1, #31\n\t"       \
  "vqrdmulh.s32 q0, q0, q2\n\t"    \
  "vadd.i32 q0, q0, q1\n\t"        \
  "vrshl.s32 q0, q0, q3\n\t"
#define SCALE_FOUR_HALF_UP         \
  "vshl.i32 q0, q0, #7\n\t"        \
  SCALE_FOUR_RELU

#define DENSE(way, SCALE)                                                              \
  __attribute__((naked)) void tiny_helium_dense_##way(                                 \
      const int8_t *pixel, const int8_t *weights, const int32_t *params, int8_t *y,    \
      int32_t count, int32_t channels, int32_t zero_point) {                           \
    __asm__(                                                                           \
        "push {r4-r11, lr}\n\t"                                                        \
        "mov r7, r3\n\t"                                                               \
        "mov r3, r1\n\t"                                                               \
        "mov r5, r2\n\t"                                                               \
        "mov r8, r0\n\t"                                                               \
        "ldrd r4, r11, [sp, #36]\n\t" /* count, channels */                            \
        "ldr r10, [sp, #44]\n\t"                                                       \
        "add r9, r0, r4, lsl #4\n\t"                                                   \
        "adr.w r12, 3f + 1\n\t"                                                        \
        "subs r4, #1\n\t"                                                              \
        "beq 1f\n\t"                                                                   \
        "rsb r4, #0\n\t"                                                               \
        "and r4, #3\n\t"                                                               \
        "mov r6, #" DENSE_CHUNK_BYTES "\n\t"                                           \
        "adr.w r12, 2f + 1\n\t"                                                        \
        "mla r12, r4, r6, r12\n\t"                                                     \
        "1:\n\t"                                                                       \
        "mov r1, r8\n\t" FIRST_CHUNK                                                   \
        "bx r12\n\t"                                                                   \
        "2:\n\t" NEXT_CHUNK NEXT_CHUNK NEXT_CHUNK NEXT_CHUNK                           \
        "cmp r1, r9\n\t"                                                               \
        "bne.w 2b\n\t"                                                                 \
        "3:\n\t"                                                                       \
        "vmov q0[2], q0[0], r0, r4\n\t"                                                \
        "vmov q0[3], q0[1], r2, r6\n\t"                                                \
        "vldrw.32 q1, [r5], #16\n\t"                                                   \
        "vldrw.32 q2, [r5], #16\n\t"                                                   \
        "vldrw.32 q3, [r5], #16\n\t" SCALE                                             \
        "vqmovnb.s32 q0, q0\n\t"                                                       \
        "vqadd.s16 q0, q0, r10\n\t"                                                    \
        "vqmovnb.s16 q0, q0\n\t"                                                       \
        "vctp.32 r11\n\t"                                                              \
        "vpst\n\t"                                                                     \
        "vstrbt.32 q0, [r7], #4\n\t"                                                   \
        "subs r11, #4\n\t"                                                             \
        "bgt.w 1b\n\t"                                                                 \
        "pop {r4-r11, pc}");                                                           \
  }

DENSE(away, SCALE_FOUR_AWAY)
DENSE(relu, SCALE_FOUR_RELU)
DENSE(half_up, SCALE_FOUR_HALF_UP)
DENSE(any, SCALE_FOUR_ANY)

#else

void tiny_helium_clamp(int8_t *values, int32_t count, int32_t low, int32_t high) {
  for (int32_t i = 0; i < count; ++i) {
    values[i] = (int8_t)tiny_clamp(values[i], low, high);
  }
}

#define DENSE(way)                                                                                \
  void tiny_helium_dense_##way(const int8_t *pixel, const int8_t *weights, const int32_t *params, \
                               int8_t *y, int32_t count, int32_t channels, int32_t zero_point) {  \
    for (int32_t c = 0; c < channels; ++c) {                                                      \
      const int8_t *w = weights + (c / 4 * count * 4 + c % 4) * TINY_CHUNK;                       \
      const int32_t sum = tiny_helium_dot(pixel, TINY_CHUNK, w, 4 * TINY_CHUNK, count);           \
      const int32_t value = tiny_helium_##way(sum, params + c / 4 * 12 + c % 4, 4) + zero_point;  \
      y[c] = (int8_t)tiny_clamp(value, INT8_MIN, INT8_MAX);                                       \
    }                                                                                             \
  }

DENSE(away)
DENSE(relu)
DENSE(half_up)
DENSE(any)

#endif
