#include "tvm_tiny_wide_quads.h"

#include "tvm_tiny_dsp.h"

#if TINY_HAS_DSP

/* r0: plane, r1: weights, r3: rows that are left. Sums are in r8 to r11, the rest is for operands.
 * On the stack: what the sums begin with, plane, weights, job, places, bytes to the next row, end of
 * the places, the output.
 */
#define BEGIN(read)                   \
  "push {r4-r11, lr}\n\t"             \
  "ldrd r8, r4, [r2, #28]\n\t"        \
  "ldr r5, [r2, #36]\n\t"             \
  "subs r4, #" #read "\n\t"           \
  "push {r0-r6}\n\t"                  \
  "mov r9, r8\n\t"                    \
  "mov r10, r8\n\t"                   \
  "mov r11, r8\n\t"                   \
  "push {r8-r11}\n\t"                 \
  "1:\n\t"                            \
  "ldr r12, [sp, #28]\n\t"            \
  "ldrd r0, r1, [sp, #16]\n\t"        \
  "ldmia r12!, {r3-r6}\n\t"           \
  "ldr r2, [sp, #32]\n\t"             \
  "str r12, [sp, #28]\n\t"            \
  "add r0, r4\n\t"                    \
  "add r1, r5\n\t"                    \
  "str r6, [sp, #40]\n\t"             \
  "ldm sp, {r8-r11}\n\t"              \
  "2:\n\t"
/* r0: multiplier, r1: offset, r4: shift, r5: fraction bits, r6: output, r7: step, r12: bias */
#define SCALE(sum)                             \
  "add r2, r1, " sum ", asr #31\n\t"           \
  "smmlar " sum ", " sum ", r0, r2\n\t"        \
  "asr " sum ", " sum ", r4\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define SCALE_ONCE(sum)                        \
  "lsl " sum ", " sum ", r5\n\t"               \
  "add " sum ", " sum ", r12\n\t"              \
  "smmlar " sum ", " sum ", r0, r1\n\t"        \
  "asr " sum ", " sum ", r4\n\t"               \
  "ssat " sum ", #16, " sum "\n\t"
#define END                            \
  "subs r3, #1\n\t"                    \
  "bne 2b\n\t"                         \
  "ldr r2, [sp, #24]\n\t"              \
  "ldr r3, [sp, #40]\n\t"              \
  "ldmia r2, {r0, r1, r4-r7, r12}\n\t" \
  "add r6, r3\n\t"                     \
  "cbz r0, 4f\n\t"                     \
  "cbnz r5, 5f\n\t"                    \
  SCALE(A) SCALE(B) SCALE(C) SCALE(D)  \
  "3:\n\t"                             \
  "strh r8, [r6]\n\t"                  \
  "strh r9, [r6, r7]\n\t"              \
  "strh r10, [r6, r7, lsl #1]\n\t"     \
  "add r6, r6, r7\n\t"                 \
  "strh r11, [r6, r7, lsl #1]\n\t"     \
  "ldr r2, [sp, #28]\n\t"              \
  "ldr r3, [sp, #36]\n\t"              \
  "cmp r2, r3\n\t"                     \
  "bne 1b\n\t"                         \
  "b 6f\n\t"                           \
  "4:\n\t"                             \
  "stmia r6, {r8-r11}\n\t"             \
  "b 6f\n\t"                           \
  "5:\n\t"                             \
  SCALE_ONCE(A) SCALE_ONCE(B) SCALE_ONCE(C) SCALE_ONCE(D) \
  "b 3b\n\t"                           \
  "6:\n\t"                             \
  "add sp, #44\n\t"                    \
  "pop {r4-r11, pc}"

/* Outputs 0 to 3: a pair of taps, the last tap, the first one. */
#define A "r8"
#define B "r9"
#define C "r10"
#define D "r11"
#define PAIR(sum, word, weights) "smlad " sum ", " word ", " weights ", " sum "\n\t"
#define LAST(sum, word, weights) "smlabt " sum ", " word ", " weights ", " sum "\n\t"
#define FIRST(sum, word, weights) "smlatb " sum ", " word ", " weights ", " sum "\n\t"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"

__attribute__((naked)) void tiny_quad_3_1(const int32_t *plane, const int32_t *weights,
                                         const tiny_quad_job *job, const tiny_quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r0, {r6, r7, r12}\n\t"
          "ldrd r4, r5, [r1], #8\n\t"
          "add r0, r2\n\t"
          PAIR(A, "r6", "r4") FIRST(B, "r6", "r4") LAST(A, "r7", "r5") PAIR(B, "r7", "r5")
          PAIR(C, "r7", "r4") FIRST(D, "r7", "r4") LAST(C, "r12", "r5") PAIR(D, "r12", "r5") END);
}

__attribute__((naked)) void tiny_quad_5_1(const int32_t *plane, const int32_t *weights,
                                         const tiny_quad_job *job, const tiny_quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r1!, {r4-r7}\n\t"
          "ldrd r12, lr, [r0]\n\t"
          PAIR(A, "r12", "r4") FIRST(B, "r12", "r4")
          "ldr r12, [r0, #8]\n\t"
          PAIR(A, "lr", "r5") PAIR(B, "lr", "r6") PAIR(C, "lr", "r4") FIRST(D, "lr", "r4")
          "ldr lr, [r0, #12]\n\t"
          "add r0, r2\n\t"
          LAST(A, "r12", "r7") PAIR(B, "r12", "r7") PAIR(C, "r12", "r5") PAIR(D, "r12", "r6")
          LAST(C, "lr", "r7") PAIR(D, "lr", "r7") END);
}

__attribute__((naked)) void tiny_quad_7_1(const int32_t *plane, const int32_t *weights,
                                         const tiny_quad_job *job, const tiny_quad_place *places) {
  __asm__(BEGIN(16)
          "ldmia r1!, {r2, r4-r7, r12}\n\t"
          "ldr lr, [r0], #4\n\t"
          PAIR(A, "lr", "r2") FIRST(B, "lr", "r2")
          "ldr lr, [r0], #4\n\t"
          PAIR(A, "lr", "r4") PAIR(B, "lr", "r6") PAIR(C, "lr", "r2") FIRST(D, "lr", "r2")
          "ldr lr, [r0], #4\n\t"
          PAIR(A, "lr", "r5") PAIR(B, "lr", "r7") PAIR(C, "lr", "r4") PAIR(D, "lr", "r6")
          "ldr lr, [r0], #4\n\t"
          LAST(A, "lr", "r12") PAIR(B, "lr", "r12") PAIR(C, "lr", "r5") PAIR(D, "lr", "r7")
          "ldr lr, [r0]\n\t"
          "ldr r2, [sp, #32]\n\t"
          LAST(C, "lr", "r12") PAIR(D, "lr", "r12")
          "add r0, r2\n\t" END);
}

__attribute__((naked)) void tiny_quad_3_2(const int32_t *plane, const int32_t *weights,
                                         const tiny_quad_job *job, const tiny_quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r0, {r6, r7, r12, lr}\n\t"
          "ldrd r4, r5, [r1], #8\n\t"
          PAIR(A, "r6", "r4") LAST(A, "r7", "r5")
          "ldr r6, [r0, #16]\n\t"
          "add r0, r2\n\t"
          PAIR(B, "r7", "r4") LAST(B, "r12", "r5") PAIR(C, "r12", "r4") LAST(C, "lr", "r5")
          PAIR(D, "lr", "r4") LAST(D, "r6", "r5") END);
}

__attribute__((naked)) void tiny_quad_5_2(const int32_t *plane, const int32_t *weights,
                                         const tiny_quad_job *job, const tiny_quad_place *places) {
  __asm__(BEGIN(12)
          "ldmia r1!, {r4-r6}\n\t"
          "ldmia r0!, {r7, r12, lr}\n\t"
          PAIR(A, "r7", "r4") PAIR(A, "r12", "r5") PAIR(B, "r12", "r4") LAST(A, "lr", "r6")
          PAIR(B, "lr", "r5") PAIR(C, "lr", "r4")
          "ldmia r0, {r7, r12, lr}\n\t"
          "add r0, r2\n\t"
          LAST(B, "r7", "r6") PAIR(C, "r7", "r5") PAIR(D, "r7", "r4") LAST(C, "r12", "r6")
          PAIR(D, "r12", "r5") LAST(D, "lr", "r6") END);
}

__attribute__((naked)) void tiny_quad_7_2(const int32_t *plane, const int32_t *weights,
                                         const tiny_quad_job *job, const tiny_quad_place *places) {
  __asm__(BEGIN(0)
          "ldmia r1!, {r4-r7}\n\t"
          "ldrd r12, lr, [r0]\n\t"
          PAIR(A, "r12", "r4") PAIR(A, "lr", "r5") PAIR(B, "lr", "r4")
          "ldrd r12, lr, [r0, #8]\n\t"
          PAIR(A, "r12", "r6") PAIR(B, "r12", "r5") PAIR(C, "r12", "r4") LAST(A, "lr", "r7")
          PAIR(B, "lr", "r6") PAIR(C, "lr", "r5") PAIR(D, "lr", "r4")
          "ldrd r12, lr, [r0, #16]\n\t"
          LAST(B, "r12", "r7") PAIR(C, "r12", "r6") PAIR(D, "r12", "r5") LAST(C, "lr", "r7")
          PAIR(D, "lr", "r6")
          "ldr r12, [r0, #24]\n\t"
          "add r0, r2\n\t"
          LAST(D, "r12", "r7") END);
}

#pragma GCC diagnostic pop

#else

/* A window of a row that begins with the first half of a word, or with the second. */
static int32_t row_sum(const int32_t *words, const int32_t *weights, int32_t pairs, int32_t second,
                       int is_odd, int32_t sum) {
  if (is_odd) {
    sum += tiny_high(words[0]) * tiny_low(weights[0]);
    ++words;
    weights += second;
  }
  for (int32_t i = 0; i < pairs; ++i) {
    sum = tiny_dual_mac(words[i], weights[i], sum);
  }
  return is_odd ? sum : sum + tiny_low(words[pairs]) * tiny_high(weights[second + pairs - 1]);
}

static void quad_of(int32_t size, int32_t stride, const int32_t *plane, const int32_t *weights,
                    const tiny_quad_job *job, const tiny_quad_place *places) {
  const int32_t pairs = size / 2;
  const int32_t second = stride == 1 ? pairs : 1;
  const int32_t rest = job->scaling.fraction_bits == 0 ? 0 : job->doubled_bias;
  for (; places < job->end; ++places) {
    uint8_t *output = (uint8_t *)job->output + places->output;
    for (int32_t i = 0; i < TINY_QUAD; ++i) {
      const int32_t *words = plane + places->plane / 4 + i * stride / 2;
      const int32_t *taps = weights + places->weights / 4;
      int32_t sum = job->first;
      for (int32_t y = 0; y < places->rows; ++y) {
        sum = row_sum(words, taps, pairs, second, i * stride % 2, sum);
        words += job->row_bytes / 4;
        taps += pairs + second;
      }
      if (job->scaling.multiplier != 0) {
        *(int16_t *)(output + i * job->step) = tiny_wide_scale(&job->scaling, sum, rest);
      } else {
        ((int32_t *)output)[i] = sum;
      }
    }
  }
}

#define DEFINE_QUAD(size, stride)                                                              \
  void tiny_quad_##size##_##stride(const int32_t *plane, const int32_t *weights,             \
                                     const tiny_quad_job *job, const tiny_quad_place *places) {          \
    quad_of(size, stride, plane, weights, job, places);                                        \
  }
DEFINE_QUAD(3, 1)
DEFINE_QUAD(5, 1)
DEFINE_QUAD(7, 1)
DEFINE_QUAD(3, 2)
DEFINE_QUAD(5, 2)
DEFINE_QUAD(7, 2)

#endif
