/* Runs of floats through the registers of a floating-point unit, eight or sixteen numbers at a
 * time, and the same in plain C. Pointers move behind what was read and written.
 */
#ifndef TVM_TINY_FLOAT_RUNS_H
#define TVM_TINY_FLOAT_RUNS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "tvm_tiny_float.h"

#if TINY_HAS_FPU

#define TINY_LOW_REGISTERS                                                                     \
  "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13", "s14", \
      "s15"
#define TINY_HIGH_REGISTERS                                                                  \
  "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "s25", "s26", "s27", "s28", \
      "s29", "s30", "s31"

/* y = a * b, eight */
static inline void tiny_multiply_eight(const float **a, const float **b, float **y) {
  __asm__ volatile(
      "vldmia %0!, {s0-s7}\n\t"
      "vldmia %1!, {s8-s15}\n\t"
      "vmul.f32 s0, s0, s8\n\t"
      "vmul.f32 s1, s1, s9\n\t"
      "vmul.f32 s2, s2, s10\n\t"
      "vmul.f32 s3, s3, s11\n\t"
      "vmul.f32 s4, s4, s12\n\t"
      "vmul.f32 s5, s5, s13\n\t"
      "vmul.f32 s6, s6, s14\n\t"
      "vmul.f32 s7, s7, s15\n\t"
      "vstmia %2!, {s0-s7}"
      : "+r"(*a), "+r"(*b), "+r"(*y)
      :
      : "memory", TINY_LOW_REGISTERS);
}

/* y = a + b, sixteen */
static inline void tiny_add_sixteen(const float **a, const float **b, float **y) {
  __asm__ volatile(
      "vldmia %0!, {s0-s15}\n\t"
      "vldmia %1!, {s16-s31}\n\t"
      "vadd.f32 s0, s0, s16\n\t"
      "vadd.f32 s1, s1, s17\n\t"
      "vadd.f32 s2, s2, s18\n\t"
      "vadd.f32 s3, s3, s19\n\t"
      "vadd.f32 s4, s4, s20\n\t"
      "vadd.f32 s5, s5, s21\n\t"
      "vadd.f32 s6, s6, s22\n\t"
      "vadd.f32 s7, s7, s23\n\t"
      "vadd.f32 s8, s8, s24\n\t"
      "vadd.f32 s9, s9, s25\n\t"
      "vadd.f32 s10, s10, s26\n\t"
      "vadd.f32 s11, s11, s27\n\t"
      "vadd.f32 s12, s12, s28\n\t"
      "vadd.f32 s13, s13, s29\n\t"
      "vadd.f32 s14, s14, s30\n\t"
      "vadd.f32 s15, s15, s31\n\t"
      "vstmia %2!, {s0-s15}"
      : "+r"(*a), "+r"(*b), "+r"(*y)
      :
      : "memory", TINY_LOW_REGISTERS, TINY_HIGH_REGISTERS);
}

/* y = a, sixteen */
static inline void tiny_copy_sixteen(const float **a, float **y) {
  __asm__ volatile(
      "vldmia %0!, {s0-s15}\n\t"
      "vstmia %1!, {s0-s15}"
      : "+r"(*a), "+r"(*y)
      :
      : "memory", TINY_LOW_REGISTERS);
}

static const float tiny_zeros[16] = {0.0f};

/* y = a * b where bits are set, 0 elsewhere; eight, the first of which has the lowest bit. */
static inline void tiny_multiply_some(const float **a, const float **b, float **y, uint32_t bits) {
  __asm__ volatile(
      "rbit %[bits], %[bits]\n\t"
      "vldmia %[a]!, {s8-s15}\n\t"
      "vldmia %[b]!, {s16-s23}\n\t"
      "vldmia %[zeros], {s0-s7}\n\t"
      "lsls %[bits], %[bits], #1\n\t"
      "it cs\n\t"
      "vmulcs.f32 s0, s8, s16\n\t"
      "it mi\n\t"
      "vmulmi.f32 s1, s9, s17\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s2, s10, s18\n\t"
      "it mi\n\t"
      "vmulmi.f32 s3, s11, s19\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s4, s12, s20\n\t"
      "it mi\n\t"
      "vmulmi.f32 s5, s13, s21\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s6, s14, s22\n\t"
      "it mi\n\t"
      "vmulmi.f32 s7, s15, s23\n\t"
      "vstmia %[y]!, {s0-s7}\n\t"
      : [a] "+r"(*a), [b] "+r"(*b), [y] "+r"(*y), [bits] "+r"(bits)
      : [zeros] "r"(tiny_zeros)
      : "cc", "memory", TINY_LOW_REGISTERS, "s16", "s17", "s18", "s19", "s20", "s21", "s22",
        "s23");
}

/* y = a * b where bits of the mask are set, 0 elsewhere; blocks of sixteen numbers, at least
 * one. Two bits at a time go to the flags C and N, and products are written over zeros. Where all
 * bits of a block are set, none is looked at. Compilers would take it for too long to be inlined.
 */
static inline __attribute__((always_inline)) void tiny_multiply_masked(
    const float **a, const float **b, float **y, const uint8_t **mask, int32_t blocks) {
  uint32_t bits;
  __asm__ volatile(
      "1:\n\t"
      "ldrh %[bits], [%[mask]], #2\n\t"
      "vldmia %[a]!, {s8-s15}\n\t"
      "vldmia %[b]!, {s16-s23}\n\t"
      "cmp %[bits], %[all]\n\t"
      "beq 2f\n\t"
      "rbit %[bits], %[bits]\n\t"
      "vldmia %[zeros], {s0-s7}\n\t"
      "lsls %[bits], %[bits], #1\n\t"
      "it cs\n\t"
      "vmulcs.f32 s0, s8, s16\n\t"
      "it mi\n\t"
      "vmulmi.f32 s1, s9, s17\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s2, s10, s18\n\t"
      "it mi\n\t"
      "vmulmi.f32 s3, s11, s19\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s4, s12, s20\n\t"
      "it mi\n\t"
      "vmulmi.f32 s5, s13, s21\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s6, s14, s22\n\t"
      "it mi\n\t"
      "vmulmi.f32 s7, s15, s23\n\t"
      "vstmia %[y]!, {s0-s7}\n\t"
      "vldmia %[a]!, {s8-s15}\n\t"
      "vldmia %[b]!, {s16-s23}\n\t"
      "vldmia %[zeros], {s0-s7}\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s0, s8, s16\n\t"
      "it mi\n\t"
      "vmulmi.f32 s1, s9, s17\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s2, s10, s18\n\t"
      "it mi\n\t"
      "vmulmi.f32 s3, s11, s19\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s4, s12, s20\n\t"
      "it mi\n\t"
      "vmulmi.f32 s5, s13, s21\n\t"
      "lsls %[bits], %[bits], #2\n\t"
      "it cs\n\t"
      "vmulcs.f32 s6, s14, s22\n\t"
      "it mi\n\t"
      "vmulmi.f32 s7, s15, s23\n\t"
      "vstmia %[y]!, {s0-s7}\n\t"
      "subs %[blocks], %[blocks], #1\n\t"
      "bne 1b\n\t"
      "b 3f\n\t"
      "2:\n\t"
      "vmul.f32 s0, s8, s16\n\t"
      "vmul.f32 s1, s9, s17\n\t"
      "vmul.f32 s2, s10, s18\n\t"
      "vmul.f32 s3, s11, s19\n\t"
      "vmul.f32 s4, s12, s20\n\t"
      "vmul.f32 s5, s13, s21\n\t"
      "vmul.f32 s6, s14, s22\n\t"
      "vmul.f32 s7, s15, s23\n\t"
      "vstmia %[y]!, {s0-s7}\n\t"
      "vldmia %[a]!, {s8-s15}\n\t"
      "vldmia %[b]!, {s16-s23}\n\t"
      "vmul.f32 s0, s8, s16\n\t"
      "vmul.f32 s1, s9, s17\n\t"
      "vmul.f32 s2, s10, s18\n\t"
      "vmul.f32 s3, s11, s19\n\t"
      "vmul.f32 s4, s12, s20\n\t"
      "vmul.f32 s5, s13, s21\n\t"
      "vmul.f32 s6, s14, s22\n\t"
      "vmul.f32 s7, s15, s23\n\t"
      "vstmia %[y]!, {s0-s7}\n\t"
      "subs %[blocks], %[blocks], #1\n\t"
      "bne 1b\n\t"
      "3:\n\t"
      : [a] "+r"(*a), [b] "+r"(*b), [y] "+r"(*y), [mask] "+r"(*mask), [blocks] "+r"(blocks),
        [bits] "=&r"(bits)
      : [zeros] "r"(tiny_zeros), [all] "r"(0xffff)
      : "cc", "memory", TINY_LOW_REGISTERS, "s16", "s17", "s18", "s19", "s20", "s21", "s22",
        "s23");
}

/* Sums over `rows`, which lie `step` floats apart, of sixteen columns; in order, from 0 on. */
static inline void tiny_sum_sixteen(const float *from, int32_t step, int32_t rows, float *sums) {
  __asm__ volatile(
      "vldmia %3, {s0-s15}\n\t"
      "1:\n\t"
      "vldmia %0, {s16-s31}\n\t"
      "add %0, %0, %4\n\t"
      "subs %1, %1, #1\n\t"
      "vadd.f32 s0, s0, s16\n\t"
      "vadd.f32 s1, s1, s17\n\t"
      "vadd.f32 s2, s2, s18\n\t"
      "vadd.f32 s3, s3, s19\n\t"
      "vadd.f32 s4, s4, s20\n\t"
      "vadd.f32 s5, s5, s21\n\t"
      "vadd.f32 s6, s6, s22\n\t"
      "vadd.f32 s7, s7, s23\n\t"
      "vadd.f32 s8, s8, s24\n\t"
      "vadd.f32 s9, s9, s25\n\t"
      "vadd.f32 s10, s10, s26\n\t"
      "vadd.f32 s11, s11, s27\n\t"
      "vadd.f32 s12, s12, s28\n\t"
      "vadd.f32 s13, s13, s29\n\t"
      "vadd.f32 s14, s14, s30\n\t"
      "vadd.f32 s15, s15, s31\n\t"
      "bne 1b\n\t"
      "vstmia %2, {s0-s15}"
      : "+r"(from), "+r"(rows)
      : "r"(sums), "r"(tiny_zeros), "r"(step * 4)
      : "cc", "memory", TINY_LOW_REGISTERS, TINY_HIGH_REGISTERS);
}

#else

static inline void tiny_multiply_some(const float **a, const float **b, float **y, uint32_t bits) {
  float products[8];
  for (int32_t i = 0; i < 8; ++i) {
    products[i] = (bits >> i & 1u) != 0u ? (*a)[i] * (*b)[i] : 0.0f;
  }
  memcpy(*y, products, sizeof products);
  *a += 8;
  *b += 8;
  *y += 8;
}

static inline void tiny_multiply_eight(const float **a, const float **b, float **y) {
  float products[8];
  for (int32_t i = 0; i < 8; ++i) {
    products[i] = (*a)[i] * (*b)[i];
  }
  memcpy(*y, products, sizeof products);
  *a += 8;
  *b += 8;
  *y += 8;
}

static inline void tiny_multiply_masked(const float **a, const float **b, float **y,
                                        const uint8_t **mask, int32_t blocks) {
  for (int32_t count = blocks * 2; count > 0; --count) {
    tiny_multiply_some(a, b, y, *(*mask)++);
  }
}

static inline void tiny_add_sixteen(const float **a, const float **b, float **y) {
  float sums[16];
  for (int32_t i = 0; i < 16; ++i) {
    sums[i] = (*a)[i] + (*b)[i];
  }
  memcpy(*y, sums, sizeof sums);
  *a += 16;
  *b += 16;
  *y += 16;
}

static inline void tiny_copy_sixteen(const float **a, float **y) {
  memmove(*y, *a, 16 * sizeof **y);
  *a += 16;
  *y += 16;
}

static inline void tiny_sum_sixteen(const float *from, int32_t step, int32_t rows, float *sums) {
  for (int32_t i = 0; i < 16; ++i) {
    sums[i] = 0.0f;
    for (int32_t row = 0; row < rows; ++row) {
      sums[i] += from[row * step + i];
    }
  }
}

#endif

/* Sums over rows of up to sixteen columns from `first` on. A last part that is narrower is summed
 * together with columns before it.
 */
static inline void tiny_sum_rows(const float *from, int32_t columns, int32_t rows, int32_t first,
                                 int32_t count, float *sums) {
  if (columns >= 16) {
    const int32_t start = first < columns - 16 ? first : columns - 16;
    float all[16];
    tiny_sum_sixteen(from + start, columns, rows, all);
    memcpy(sums, all + (first - start), (size_t)count * sizeof *sums);
    return;
  }
  for (int32_t i = 0; i < count; ++i) {
    float sum = 0.0f;
    for (int32_t row = 0; row < rows; ++row) {
      sum += from[row * columns + first + i];
    }
    sums[i] = sum;
  }
}

static inline void tiny_copy_floats(float *y, const float *from, int32_t count) {
  for (; count >= 16; count -= 16) {
    tiny_copy_sixteen(&from, &y);
  }
  for (; count > 0; --count) {
    *y++ = *from++;
  }
}

#endif /* TVM_TINY_FLOAT_RUNS_H */
