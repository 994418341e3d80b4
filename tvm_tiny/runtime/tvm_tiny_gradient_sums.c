#include "tvm_tiny_gradient_sums.h"

TINY_SCALAR_FLOATS

#if TINY_HAS_FMA

/* Sums are s0 on, the factor is s31, what it is multiplied with goes to the registers between. */
#define FMA(sum, other) "vfma.f32 s" #sum ", s31, s" #other "\n\t"
#define LOAD(first, last) "vldmia %[panel]!, {s" #first "-s" #last "}\n\t"

#define ROW_8                                                                              \
  LOAD(8, 15)                                                                              \
  FMA(0, 8) FMA(1, 9) FMA(2, 10) FMA(3, 11) FMA(4, 12) FMA(5, 13) FMA(6, 14) FMA(7, 15)
#define ROW_12                                                                             \
  LOAD(12, 23)                                                                             \
  FMA(0, 12) FMA(1, 13) FMA(2, 14) FMA(3, 15) FMA(4, 16) FMA(5, 17)                        \
  FMA(6, 18) FMA(7, 19) FMA(8, 20) FMA(9, 21) FMA(10, 22) FMA(11, 23)
#define ROW_16                                                                             \
  LOAD(16, 23)                                                                             \
  FMA(0, 16) FMA(1, 17) FMA(2, 18) FMA(3, 19) FMA(4, 20) FMA(5, 21) FMA(6, 22) FMA(7, 23)  \
  LOAD(16, 23)                                                                             \
  FMA(8, 16) FMA(9, 17) FMA(10, 18) FMA(11, 19)                                            \
  FMA(12, 20) FMA(13, 21) FMA(14, 22) FMA(15, 23)
#define ROW_24                                                                             \
  LOAD(24, 29) FMA(0, 24) FMA(1, 25) FMA(2, 26) FMA(3, 27) FMA(4, 28) FMA(5, 29)           \
  LOAD(24, 29) FMA(6, 24) FMA(7, 25) FMA(8, 26) FMA(9, 27) FMA(10, 28) FMA(11, 29)         \
  LOAD(24, 29) FMA(12, 24) FMA(13, 25) FMA(14, 26) FMA(15, 27) FMA(16, 28) FMA(17, 29)     \
  LOAD(24, 29) FMA(18, 24) FMA(19, 25) FMA(20, 26) FMA(21, 27) FMA(22, 28) FMA(23, 29)

#define VECTOR_REGISTERS                                                                   \
  "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12", "s13",  \
      "s14", "s15", "s16", "s17", "s18", "s19", "s20", "s21", "s22", "s23", "s24", "s25",  \
      "s26", "s27", "s28", "s29", "s30", "s31"

/* Two factors at a time; of an odd number the first alone. Shifted left, both zeros are zero. */
#define SUM_ROWS(name, width, last, row)                                                   \
  static void name(const tiny_products *products) {                                        \
    const float *from = products->from, *factors = products->factors;                      \
    const int32_t step = products->factor_step * 4;                                        \
    float *to = products->to;                                                              \
    for (int32_t n = products->rows; n > 0; --n) {                                         \
      const float *panel = products->panel, *next = factors;                               \
      int32_t count = products->count;                                                     \
      uint32_t a, b, shifted;                                                              \
      __asm__ volatile(                                                                    \
          "vldmia %[from], {s0-s" #last "}\n\t"                                            \
          "tst %[count], #1\n\t"                                                           \
          "beq 1f\n\t"                                                                     \
          "ldr %[b], [%[next]]\n\t"                                                        \
          "add %[next], %[step]\n\t"                                                       \
          "add %[count], #1\n\t"                                                           \
          "b 3f\n"                                                                         \
          "1:\n\t"                                                                         \
          "ldr %[a], [%[next]]\n\t"                                                        \
          "ldr %[b], [%[next], %[step]]\n\t"                                               \
          "add %[next], %[next], %[step], lsl #1\n\t"                                      \
          "lsls %[shifted], %[a], #1\n\t"                                                  \
          "beq 2f\n\t"                                                                     \
          "vmov s31, %[a]\n\t" row                                                         \
          "3:\n\t"                                                                         \
          "lsls %[shifted], %[b], #1\n\t"                                                  \
          "beq 4f\n\t"                                                                     \
          "vmov s31, %[b]\n\t" row                                                         \
          "5:\n\t"                                                                         \
          "subs %[count], #2\n\t"                                                          \
          "bne 1b\n\t"                                                                     \
          "b 6f\n"                                                                         \
          "2:\n\t"                                                                         \
          "add %[panel], #4 * " #width "\n\t"                                              \
          "b 3b\n"                                                                         \
          "4:\n\t"                                                                         \
          "add %[panel], #4 * " #width "\n\t"                                              \
          "b 5b\n"                                                                         \
          "6:\n\t"                                                                         \
          "vstmia %[to], {s0-s" #last "}"                                                  \
          : [panel] "+r"(panel), [next] "+r"(next), [count] "+r"(count), [a] "=&r"(a),     \
            [b] "=&r"(b), [shifted] "=&r"(shifted)                                         \
          : [from] "r"(from), [to] "r"(to), [step] "r"(step)                               \
          : "cc", "memory", VECTOR_REGISTERS);                                             \
      from += products->from_step;                                                         \
      to += products->to_step;                                                             \
      factors += products->row_step;                                                       \
    }                                                                                      \
  }

SUM_ROWS(sum_8, 8, 7, ROW_8)
SUM_ROWS(sum_12, 12, 11, ROW_12)
SUM_ROWS(sum_16, 16, 15, ROW_16)
SUM_ROWS(sum_24, 24, 23, ROW_24)

/* Factors side by side that are not looked at. */
static void sum_24_densely(const tiny_products *products) {
  const float *from = products->from, *factors = products->factors;
  float *to = products->to;
  for (int32_t n = products->rows; n > 0; --n) {
    const float *panel = products->panel, *next = factors;
    int32_t count = products->count;
    __asm__ volatile(
        "vldmia %[from], {s0-s23}\n\t"
        "tst %[count], #1\n\t"
        "beq 1f\n\t"
        "add %[count], #1\n\t"
        "b 2f\n"
        "1:\n\t"
        "vldmia %[next]!, {s31}\n\t" ROW_24
        "2:\n\t"
        "vldmia %[next]!, {s31}\n\t" ROW_24
        "subs %[count], #2\n\t"
        "bne 1b\n\t"
        "vstmia %[to], {s0-s23}"
        : [panel] "+r"(panel), [next] "+r"(next), [count] "+r"(count)
        : [from] "r"(from), [to] "r"(to)
        : "cc", "memory", VECTOR_REGISTERS);
    from += products->from_step;
    to += products->to_step;
    factors += products->row_step;
  }
}

void tiny_sum_products(const tiny_products *products) {
  switch (products->width) {
    case 8:
      sum_8(products);
      break;
    case 12:
      sum_12(products);
      break;
    case 16:
      sum_16(products);
      break;
    default:
      (products->has_few_zeros && products->factor_step == 1 ? sum_24_densely : sum_24)(products);
  }
}

#define FMA_LANES(sum, a, b) "vfma.f32 s" #sum ", s" #a ", s" #b "\n\t"
#define LOAD_A "vldmia %[a]!, {s16-s23}\n\t"
#define LOAD_B "vldmia %[b]!, {s24-s31}\n\t"
#define LANES_0                                                                            \
  LOAD_A LOAD_B FMA_LANES(0, 16, 24) FMA_LANES(1, 17, 25) FMA_LANES(2, 18, 26)             \
  FMA_LANES(3, 19, 27) FMA_LANES(4, 20, 28) FMA_LANES(5, 21, 29) FMA_LANES(6, 22, 30)      \
  FMA_LANES(7, 23, 31)
#define LANES_8                                                                            \
  LOAD_A LOAD_B FMA_LANES(8, 16, 24) FMA_LANES(9, 17, 25) FMA_LANES(10, 18, 26)            \
  FMA_LANES(11, 19, 27) FMA_LANES(12, 20, 28) FMA_LANES(13, 21, 29) FMA_LANES(14, 22, 30)  \
  FMA_LANES(15, 23, 31)

/* Steps are counted from the end of a vector, and rows from the end of a row. Eight operands are
 * what a compiler that does not optimise has registers for: one counts the rows that follow in its
 * upper half, and the vectors of each.
 */
#define SUM_LANES(name, lanes, last, body)                                                 \
  static void name(const tiny_vectors *vectors) {                                          \
    const int32_t a_step = (vectors->a_step - lanes) * 4;                                  \
    const int32_t b_step = (vectors->b_step - lanes) * 4;                                  \
    const tiny_places *place = vectors->places, *end = place + vectors->number;            \
    const float *from = vectors->from;                                                     \
    float *to = vectors->to;                                                               \
    for (; place < end; ++place) {                                                         \
      const int32_t count = place->count;                                                  \
      const float *a = vectors->a + place->a * vectors->a_unit;                            \
      const float *b = vectors->b + place->b * vectors->b_unit;                            \
      const int32_t steps[2] = {(vectors->a_row - count * vectors->a_step) * 4,            \
                                (vectors->b_row - count * vectors->b_step) * 4};           \
      int32_t rows = ((count > 0 ? vectors->rows : 0) - 1) * 65536 + count;                \
      const float *left = from;                                                            \
      __asm__ volatile(                                                                    \
          "vldmia %[left], {s0-s" #last "}\n\t"                                            \
          "cmp %[rows], #0\n\t"                                                            \
          "blt 3f\n"                                                                       \
          "1:\n\t"                                                                         \
          "uxth %[left], %[rows]\n"                                                        \
          "2:\n\t" body                                                                    \
          "add %[a], %[a_step]\n\t"                                                        \
          "add %[b], %[b_step]\n\t"                                                        \
          "subs %[left], #1\n\t"                                                           \
          "bne 2b\n\t"                                                                     \
          "ldr %[left], [%[steps]]\n\t"                                                    \
          "add %[a], %[left]\n\t"                                                          \
          "ldr %[left], [%[steps], #4]\n\t"                                                \
          "add %[b], %[left]\n\t"                                                          \
          "subs %[rows], #65536\n\t"                                                       \
          "bpl 1b\n"                                                                       \
          "3:\n\t"                                                                         \
          "vstmia %[to], {s0-s" #last "}"                                                  \
          : [a] "+r"(a), [b] "+r"(b), [rows] "+r"(rows), [left] "+r"(left)                 \
          : [to] "r"(to), [a_step] "r"(a_step), [b_step] "r"(b_step), [steps] "r"(steps)   \
          : "cc", "memory", VECTOR_REGISTERS);                                             \
      from += vectors->from_step;                                                          \
      to += vectors->to_step;                                                              \
    }                                                                                      \
  }

SUM_LANES(sum_lanes_8, 8, 7, LANES_0)
SUM_LANES(sum_lanes_16, 16, 15, LANES_0 LANES_8)

#else

void tiny_sum_products(const tiny_products *products) {
  const float *from = products->from, *factors = products->factors;
  const int32_t width = products->width;
  float *to = products->to;
  for (int32_t row = 0; row < products->rows; ++row) {
    float sums[TINY_SUMS];
    for (int32_t j = 0; j < width; ++j) {
      sums[j] = from[j];
    }
    for (int32_t i = 0; i < products->count; ++i) {
      const float factor = factors[i * products->factor_step];
      for (int32_t j = 0; factor != 0.0f && j < width; ++j) {
        sums[j] = __builtin_fmaf(factor, products->panel[i * width + j], sums[j]);
      }
    }
    for (int32_t j = 0; j < width; ++j) {
      to[j] = sums[j];
    }
    from += products->from_step;
    to += products->to_step;
    factors += products->row_step;
  }
}

#endif

static void sum_place(const tiny_vectors *vectors, const tiny_places *place, float *sums) {
  for (int32_t row = 0; row < vectors->rows; ++row) {
    const float *a = vectors->a + place->a * vectors->a_unit + row * vectors->a_row;
    const float *b = vectors->b + place->b * vectors->b_unit + row * vectors->b_row;
    for (int32_t i = 0; i < place->count; ++i) {
      for (int32_t j = 0; j < vectors->lanes; ++j) {
        sums[j] = __builtin_fmaf(a[j], b[j], sums[j]);
      }
      a += vectors->a_step;
      b += vectors->b_step;
    }
  }
}

static void sum_any_lanes(const tiny_vectors *vectors) {
  for (int32_t number = 0; number < vectors->number; ++number) {
    const float *from = vectors->from + number * vectors->from_step;
    float *to = vectors->to + number * vectors->to_step;
    for (int32_t j = 0; j < vectors->lanes; ++j) {
      to[j] = from[j];
    }
    sum_place(vectors, vectors->places + number, to);
  }
}

void tiny_sum_vectors(const tiny_vectors *vectors) {
#if TINY_HAS_FMA
  if (vectors->lanes == 16) {
    sum_lanes_16(vectors);
    return;
  }
  if (vectors->lanes == 8) {
    sum_lanes_8(vectors);
    return;
  }
#endif
  sum_any_lanes(vectors);
}

void tiny_gather_vectors(const float *from, int32_t step, int32_t count, int32_t lanes, float *to) {
#if TINY_HAS_FMA
  for (; lanes == 16 && count > 0; --count) {
    __asm__ volatile(
        "vldmia %[from], {s0-s15}\n\t"
        "vstmia %[to]!, {s0-s15}"
        : [to] "+r"(to)
        : [from] "r"(from)
        : "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "s12",
          "s13", "s14", "s15");
    from += step;
  }
#endif
  for (; count > 0; --count) {
    for (int32_t j = 0; j < lanes; ++j) {
      to[j] = from[j];
    }
    from += step;
    to += lanes;
  }
}

void tiny_descend_all(int8_t *weight, const int16_t *places, float factor, const float *gradient,
                      int32_t count) {
  const float *end = gradient + count;
  if (places == NULL) {
    for (; gradient < end; ++gradient, ++weight) {
      *weight = tiny_descend(*weight, factor, *gradient);
    }
    return;
  }
  for (; gradient < end; ++gradient) {
    int8_t *updated = weight + *places++;
    *updated = tiny_descend(*updated, factor, *gradient);
  }
}

#if TINY_HAS_FMA

#define PAIR(low, high, first, second)        \
  "ldrsb %[x], [%[bytes], #" #first "]\n\t"   \
  "ldrsb %[y], [%[bytes], #" #second "]\n\t"  \
  "vmov s" #low ", s" #high ", %[x], %[y]\n\t"
#define CONVERT(number) "vcvt.f32.s32 s" #number ", s" #number "\n\t"
#define LESS(number) "vsub.f32 s" #number ", s8\n\t"
#define LESS_ALL LESS(0) LESS(1) LESS(2) LESS(3) LESS(4) LESS(5) LESS(6) LESS(7)

/* Rows of whole eights; `less` is s8 = offset, subtracted from each. */
#define EXPAND(name, less)                                                                 \
  static void name(const int8_t *bytes, int32_t step, int32_t rows, int32_t eights,        \
                   float offset, float *floats) {                                          \
    const int32_t rest = step - 8 * eights;                                                \
    int32_t left, x, y;                                                                    \
    __asm__ volatile(                                                                      \
        "vmov s8, %[offset]\n"                                                             \
        "1:\n\t"                                                                           \
        "mov %[left], %[eights]\n"                                                         \
        "2:\n\t"                                                                           \
        "ldrsb %[x], [%[bytes]], #8\n\t"                                                   \
        "ldrsb %[y], [%[bytes], #-7]\n\t"                                                  \
        "vmov s0, s1, %[x], %[y]\n\t" PAIR(2, 3, -6, -5) PAIR(4, 5, -4, -3)                \
        PAIR(6, 7, -2, -1) CONVERT(0) CONVERT(1) CONVERT(2) CONVERT(3) CONVERT(4)          \
        CONVERT(5) CONVERT(6) CONVERT(7) less                                              \
        "vstmia %[floats]!, {s0-s7}\n\t"                                                   \
        "subs %[left], #1\n\t"                                                             \
        "bne 2b\n\t"                                                                       \
        "add %[bytes], %[rest]\n\t"                                                        \
        "subs %[rows], #1\n\t"                                                             \
        "bne 1b"                                                                           \
        : [bytes] "+r"(bytes), [floats] "+r"(floats), [rows] "+r"(rows), [left] "=&r"(left), \
          [x] "=&r"(x), [y] "=&r"(y)                                                       \
        : [eights] "r"(eights), [rest] "r"(rest), [offset] "r"(offset)                     \
        : "cc", "memory", "s0", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8");           \
  }

EXPAND(expand, "")
EXPAND(expand_less, LESS_ALL)

#endif

void tiny_bytes_to_floats(const int8_t *bytes, int32_t step, int32_t rows, int32_t count,
                          int32_t offset, float *floats, int32_t width) {
#if TINY_HAS_FMA
  if (count == width && (count & 7) == 0 && count > 0 && rows > 0) {
    (offset == 0 ? expand : expand_less)(bytes, step, rows, count >> 3, (float)offset, floats);
    return;
  }
#endif
  for (; rows > 0; --rows) {
    for (int32_t j = 0; j < count; ++j) {
      floats[j] = (float)(bytes[j] - offset);
    }
    tiny_zero_floats(floats + count, width - count);
    bytes += step;
    floats += width;
  }
}

void tiny_numbers_to_floats(tiny_numbers numbers, int32_t place, int32_t step, int32_t rows,
                            int32_t count, int32_t offset, float *floats, int32_t width) {
  if (numbers.bytes != NULL) {
    tiny_bytes_to_floats(numbers.bytes + place, step, rows, count, offset, floats, width);
    return;
  }
  for (const float *from = numbers.floats + place; rows > 0; --rows) {
    memcpy(floats, from, (size_t)count * sizeof *floats);
    tiny_zero_floats(floats + count, width - count);
    from += step;
    floats += width;
  }
}

/* The first sum of each row alone, as of depthwise convolutions. */
static void add_first_products(const tiny_products *products) {
  const float *factors = products->factors;
  float *to = products->to;
  for (int32_t row = products->rows; row > 0; --row) {
    float sum = *to;
    for (int32_t i = 0; i < products->count; ++i) {
      const float factor = factors[i * products->factor_step];
      if (factor != 0.0f) {
        sum = __builtin_fmaf(factor, products->panel[i * products->width], sum);
      }
    }
    *to = sum;
    to += products->to_step;
    factors += products->row_step;
  }
}

void tiny_add_products(const tiny_products *products, int32_t count) {
  if (count == 1) {
    add_first_products(products);
    return;
  }
  if (count == products->width) {
    tiny_sum_products(products);
    return;
  }
  tiny_products pixel = *products;
  float sums[TINY_SUMS];
  pixel.rows = 1;
  pixel.from = sums;
  for (int32_t row = 0; row < products->rows; ++row) {
    float *output = products->to + row * products->to_step;
    memcpy(sums, output, (size_t)count * sizeof *sums);
    tiny_zero_floats(sums + count, products->width - count);
    pixel.to = sums;
    tiny_sum_products(&pixel);
    memcpy(output, sums, (size_t)count * sizeof *sums);
    pixel.factors += products->row_step;
  }
}

int32_t tiny_has_few_zeros(const float *values, int32_t count) {
  const int32_t step = count / 256 + 1;
  int32_t seen = 0;
  int32_t zero = 0;
  for (int32_t i = 0; i < count; i += step) {
    zero += values[i] == 0.0f;
    ++seen;
  }
  return zero * 16 <= seen;
}
