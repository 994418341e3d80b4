#include "tvm_tiny_helium_depthwise.h"

#include "tvm_tiny.h"
#include "tvm_tiny_helium.h"
#include "tvm_tiny_mve.h"

void tiny_strip_fill(const int32_t *layer, int8_t *strips) {
  tiny_fill(strips, layer[TINY_STRIP_COUNT] * layer[TINY_STRIP_BYTES],
            (int8_t)(layer[TINY_STRIP_ZERO_POINT] & 0xff));
}

void tiny_strip_close_up(const int32_t *layer, const int8_t *tile, int32_t lines, int32_t columns,
                         int32_t line_step, int32_t column_step, int8_t *y) {
  for (int32_t line = 0; line < lines; ++line) {
    for (int32_t column = 0; column < columns; ++column) {
      tiny_copy(tile + (line * 4 + column) * TINY_STRIP_CHANNELS, layer[TINY_STRIP_COUNT],
                y + line * line_step + column * column_step);
    }
  }
}

#if TINY_HAS_MVE

/* The functions below are all assembly, see tvm_tiny_helium.c. */
#pragma GCC diagnostic ignored "-Wunused-parameter"

/* Lines of eight channels to their slots. r1 is the line, r8 counts them; r2 points to a pixel,
 * r10 to its place, which begins at r4; r9 is the step from pixel to pixel. r5 = slots, r11 = the
 * line's one. Channels of four columns have their places in q0 to q3.
 */
__attribute__((naked)) static void spread_eight(const int8_t *image, int32_t line, int32_t count,
                                                const int32_t *layer, int8_t *column) {
  __asm__(
      "push {r4-r11, lr}\n\t"
      "vpush {d8-d9}\n\t"
      "mov r8, r2\n\t"
      "ldr r4, [r3, #92]\n\t" /* TINY_STRIP_BYTES */
      "ldr r5, [r3, #48]\n\t" /* TINY_STRIP_SLOTS */
      "mov r6, #0\n\t"
      "vidup.u16 q0, r6, #1\n\t"
      "vmul.i16 q0, q0, r4\n\t"
      "vadd.i16 q1, q0, r5\n\t"
      "vadd.i16 q2, q1, r5\n\t"
      "vadd.i16 q3, q2, r5\n\t"
      "ldr r4, [sp, #52]\n\t" /* column */
      "udiv r11, r1, r5\n\t"
      "mls r11, r11, r5, r1\n\t"
      "ldr r12, [r3, #68]\n\t" /* TINY_STRIP_TOP */
      "sub r1, r12\n\t"
      "ldr r7, [r3, #56]\n\t" /* TINY_STRIP_COLUMNS */
      "lsr r6, r7, #2\n\t"
      "and r7, #3\n\t"
      "1:\n\t"
      "ldr r12, [r3, #52]\n\t" /* TINY_STRIP_LINES */
      "cmp r1, r12\n\t"
      "ldrd r12, r9, [r3, #60]\n\t" /* TINY_STRIP_LINE_IN, TINY_STRIP_COLUMN_IN */
      "mla r2, r1, r12, r0\n\t"
      "itt hs\n\t" /* outside, above too */
      "addhs r2, r3, #84\n\t" /* TINY_STRIP_ZERO_POINT */
      "movhs r9, #0\n\t"
      "add r10, r4, r11\n\t"
      "wls lr, r6, 3f\n\t"
      "2:\n\t"
      "vldrb.u16 q4, [r2]\n\t"
      "add r2, r9\n\t"
      "vstrb.16 q4, [r10, q0]\n\t"
      "vldrb.u16 q4, [r2]\n\t"
      "add r2, r9\n\t"
      "vstrb.16 q4, [r10, q1]\n\t"
      "vldrb.u16 q4, [r2]\n\t"
      "add r2, r9\n\t"
      "vstrb.16 q4, [r10, q2]\n\t"
      "vldrb.u16 q4, [r2]\n\t"
      "add r2, r9\n\t"
      "vstrb.16 q4, [r10, q3]\n\t"
      "add r10, r10, r5, lsl #2\n\t"
      "le lr, 2b\n\t"
      "3:\n\t"
      "wls lr, r7, 5f\n\t"
      "4:\n\t"
      "vldrb.u16 q4, [r2]\n\t"
      "add r2, r9\n\t"
      "vstrb.16 q4, [r10, q0]\n\t"
      "add r10, r5\n\t"
      "le lr, 4b\n\t"
      "5:\n\t"
      "add r1, #1\n\t"
      "add r11, #1\n\t"
      "cmp r11, r5\n\t"
      "it eq\n\t"
      "moveq r11, #0\n\t"
      "subs r8, #1\n\t"
      "bne 1b\n\t"
      "vpop {d8-d9}\n\t"
      "pop {r4-r11, pc}");
}

#endif

static void spread(const int8_t *image, int32_t line, int32_t count, const int32_t *layer,
                   int8_t *column) {
#if TINY_HAS_MVE
  if (layer[TINY_STRIP_COUNT] == TINY_STRIP_CHANNELS) {
    spread_eight(image, line, count, layer, column);
    return;
  }
#endif
  for (const int32_t end = line + count; line < end; ++line) {
    const int32_t at = line - layer[TINY_STRIP_TOP];
    const int is_inside = (uint32_t)at < (uint32_t)layer[TINY_STRIP_LINES];
    const int8_t *x = is_inside ? image + at * layer[TINY_STRIP_LINE_IN]
                                : (const int8_t *)&layer[TINY_STRIP_ZERO_POINT];
    int8_t *to = column + line % layer[TINY_STRIP_SLOTS];
    for (int32_t i = 0; i < layer[TINY_STRIP_COLUMNS]; ++i) {
      for (int32_t c = 0; c < layer[TINY_STRIP_COUNT]; ++c) {
        to[c * layer[TINY_STRIP_BYTES]] = x[c];
      }
      x += is_inside ? layer[TINY_STRIP_COLUMN_IN] : 0;
      to += layer[TINY_STRIP_SLOTS];
    }
  }
}

void tiny_strip_lines(const int32_t *layer, const int8_t *image, int32_t number, int8_t *strips) {
  const int32_t slots = layer[TINY_STRIP_SLOTS];
  const int32_t first = tiny_min(number * layer[TINY_STRIP_ADVANCE], layer[TINY_STRIP_LAST]);
  const int32_t last_end = (number - 1) * layer[TINY_STRIP_ADVANCE] + slots;
  const int32_t line = number > 0 ? tiny_max(first, last_end) : first;
  if (line < first + slots) {
    spread(image, line, first + slots - line, layer, strips + layer[TINY_STRIP_LEFT] * slots);
  }
}

#if TINY_HAS_MVE

/* Four columns of a strip at r1 to the output at r3. Weights are in q0 to q3, the results' places
 * in q4. r7, r9, r11 are bias, multiplier and shift; r12 the zero point, r8 the output's step, r5
 * the strip's. Sums are in r0 to r6, even ones.
 */
#define SCALE_AWAY(sums, result)                  \
  "vadd.i32 " sums ", " sums ", r7\n\t"           \
  "vshr.s32 " result ", " sums ", #31\n\t"        \
  "vqrdmlah.s32 " result ", " sums ", r9\n\t"     \
  "vrshl.s32 " result ", r11\n\t"
#define SCALE_RELU(sums, result)                  \
  "vadd.i32 " sums ", " sums ", r7\n\t"           \
  "vqrdmulh.s32 " result ", " sums ", r9\n\t"     \
  "vrshl.s32 " result ", r11\n\t"
#define SCALE_ANY(sums, result)                   \
  "vadd.i32 " sums ", " sums ", r7\n\t"           \
  "ubfx r0, r11, #8, #7\n\t"                      \
  "vshl.s32 " sums ", r0\n\t"                     \
  "vdup.32 " result ", r11\n\t"                   \
  "vand " result ", " result ", " sums "\n\t"     \
  "vshr.s32 " result ", " result ", #31\n\t"      \
  "vqrdmlah.s32 " result ", " sums ", r9\n\t"     \
  "vrshl.s32 " result ", r11\n\t"
#define SCALE_HALF_UP(sums, result)               \
  "vshl.i32 " sums ", " sums ", #7\n\t"           \
  SCALE_RELU(sums, result)

#define LOAD(x, offset) "vldrb.8 " x ", [r1, #" offset "]\n\t"
#define FIRST(sum, x, w) "vmladav.s8 " sum ", " x ", " w "\n\t"
#define NEXT(sum, x, w) "vmladava.s8 " sum ", " x ", " w "\n\t"
#define SUMS(q) "vmov " q "[2], " q "[0], r0, r4\n\tvmov " q "[3], " q "[1], r2, r6\n\t"

/* Two columns of two lines. Windows of 3 x 3 leave room for the next column's: their weights are
 * in q1 and q3 once more, a column behind. Those of 5 x 5 are two vectors each.
 */
#define PAIR_3X3_S1(x, y, offset, step)                                             \
  LOAD(x, offset) FIRST("r0", x, "q0") FIRST("r2", x, "q2")                         \
  FIRST("r4", x, "q1") FIRST("r6", x, "q3")
#define PAIR_3X3_S2(x, y, offset, step)                                             \
  LOAD(x, offset) FIRST("r0", x, "q0") FIRST("r2", x, "q1")                         \
  LOAD(y, offset " + " step) FIRST("r4", y, "q0") FIRST("r6", y, "q1")
#define COLUMN_5X5(line0, line1, x, offset)                                         \
  LOAD(x, offset) FIRST(line0, x, "q0") FIRST(line1, x, "q2")                       \
  LOAD(x, offset " + 16") NEXT(line0, x, "q1") NEXT(line1, x, "q3")
#define PAIR_5X5_S1(x, y, offset, step)                                             \
  COLUMN_5X5("r0", "r2", x, offset) COLUMN_5X5("r4", "r6", y, offset " + " step)

/* eight sums in q5 and q6 to the output */
#define EIGHT_RESULTS(SCALE, advance)                                               \
  SCALE("q5", "q7")                                                                 \
  "vqmovnb.s32 q7, q7\n\t" SCALE("q6", "q5")                                        \
  "vqmovnt.s32 q7, q5\n\t"                                                          \
  "vqadd.s16 q7, q7, r12\n\t"                                                       \
  "vqmovnb.s16 q7, q7\n\t"                                                          \
  "vstrb.16 q7, [r3, q4]\n\t"                                                       \
  "add r3, r8\n\t"                                                                  \
  "add r1, #" advance "\n\t"
#define TWO_LINES(PAIR, step, SCALE)                                                \
  PAIR("q5", "q6", "0", step) SUMS("q5")                                            \
  PAIR("q6", "q7", "2 * " step, step) SUMS("q6") EIGHT_RESULTS(SCALE, "4 * " step)

/* Windows of 7 x 7 in eight slots: two columns further, they begin one vector later. */
#define TWO_7X7(sum0, sum1, x, y, offset)                                           \
  LOAD(x, offset) FIRST(sum0, x, "q0")                                              \
  LOAD(y, offset " + 16") NEXT(sum0, y, "q1") FIRST(sum1, y, "q0")                  \
  LOAD(x, offset " + 32") NEXT(sum0, x, "q2") NEXT(sum1, x, "q1")                   \
  LOAD(y, offset " + 48") NEXT(sum0, y, "q3") NEXT(sum1, y, "q2")                   \
  LOAD(x, offset " + 64") NEXT(sum1, x, "q3")
#define FOUR_7X7(x, y, offset)                                                         \
  LOAD(x, offset) FIRST("r0", x, "q0")                                                 \
  LOAD(y, offset " + 16") NEXT("r0", y, "q1") FIRST("r2", y, "q0")                     \
  LOAD(x, offset " + 32") NEXT("r0", x, "q2") NEXT("r2", x, "q1") FIRST("r4", x, "q0") \
  LOAD(y, offset " + 48") NEXT("r0", y, "q3") NEXT("r2", y, "q2") NEXT("r4", y, "q1")  \
  FIRST("r6", y, "q0")                                                                 \
  LOAD(x, offset " + 64") NEXT("r2", x, "q3") NEXT("r4", x, "q2") NEXT("r6", x, "q1")  \
  LOAD(y, offset " + 80") NEXT("r4", y, "q3") NEXT("r6", y, "q2")                      \
  LOAD(x, offset " + 96") NEXT("r6", x, "q3")

/* the sums of four or eight columns of one line */
#define SUMS_7X7_S1                                                                 \
  TWO_7X7("r0", "r4", "q5", "q6", "0") TWO_7X7("r2", "r6", "q5", "q6", "8") SUMS("q5")
#define SUMS_7X7_S2 FOUR_7X7("q5", "q6", "0") SUMS("q5")
#define SUMS_7X7_S1_WIDE                                                            \
  FOUR_7X7("q5", "q6", "0") SUMS("q5") FOUR_7X7("q6", "q7", "8") SUMS("q6")
#define COLUMN_5X5_S2(sum, x, offset)                                               \
  LOAD(x, offset) FIRST(sum, x, "q0") LOAD(x, offset " + 16") NEXT(sum, x, "q1")
#define SUMS_5X5_S2                                                                 \
  COLUMN_5X5_S2("r0", "q5", "0") COLUMN_5X5_S2("r2", "q6", "10")                    \
  COLUMN_5X5_S2("r4", "q5", "20") COLUMN_5X5_S2("r6", "q6", "30") SUMS("q5")
/* one column after the other, each so many vectors */
#define COLUMN_UPTO_16(sum, x, y) LOAD(x, "0") FIRST(sum, x, "q0") "add r1, r5\n\t"
#define COLUMN_UPTO_32(sum, x, y)                                                   \
  LOAD(x, "0") FIRST(sum, x, "q0") LOAD(y, "16") NEXT(sum, y, "q1")                 \
  "add r1, r5\n\t"
#define COLUMN_UPTO_64(sum, x, y)                                                   \
  LOAD(x, "0") FIRST(sum, x, "q0") LOAD(y, "16") NEXT(sum, y, "q1")                 \
  LOAD(x, "32") NEXT(sum, x, "q2") LOAD(y, "48") NEXT(sum, y, "q3")                 \
  "add r1, r5\n\t"
#define SUMS_UPTO(COLUMN)                                                           \
  COLUMN("r0", "q5", "q6") COLUMN("r2", "q5", "q6")                                 \
  COLUMN("r4", "q5", "q6") COLUMN("r6", "q5", "q6") SUMS("q5")
#define FOUR_RESULTS(SCALE, advance)                                                \
  SCALE("q5", "q6")                                                                 \
  "vqmovnb.s32 q6, q6\n\t"                                                          \
  "vqadd.s16 q6, q6, r12\n\t"                                                       \
  "vqmovnb.s16 q6, q6\n\t"                                                          \
  "vstrb.32 q6, [r3, q4]\n\t"                                                       \
  "add r3, r8\n\t" advance

/* vectors of weights, at r0, by their tables at r2 */
#define WEIGHTS(w, offset) "vldrb.8 q7, [r2, #" offset "]\n\tvldrb.u8 " w ", [r0, q7]\n\t"
#define ONE_VECTOR WEIGHTS("q0", "0")
#define TWO_VECTORS ONE_VECTOR WEIGHTS("q1", "16")
#define FOUR_VECTORS TWO_VECTORS WEIGHTS("q2", "32") WEIGHTS("q3", "48")

/* On the stack: the next channel's strip and output, the layer, the table, the number of channels
 * left; the caller's arguments, which move on to the next channel's weights and params, at 128.
 */
#define STRIP(size, way, VECTORS, next_weights, set_up, COLUMNS)                                  \
  __attribute__((naked)) void tiny_strip_##size##_##way(                                          \
      const int32_t *layer, const int8_t *strips, const int8_t *table, int8_t *y,                 \
      const int8_t *weights, const int32_t *params) {                                             \
    __asm__(                                                                                      \
        "push {r4-r11, lr}\n\t"                                                                   \
        "vpush {d8-d15}\n\t"                                                                      \
        "sub sp, #28\n\t"                                                                         \
        "ldr r4, [r0, #24]\n\t"        /* TINY_STRIP_COUNT */                                     \
        "ldrd r8, r12, [r0, #16]\n\t"  /* TINY_STRIP_STEP_OUT, TINY_STRIP_ZERO_POINT_OUT */       \
        "vldrw.32 q4, [r0, #32]\n\t"   /* TINY_STRIP_PLACES */                                    \
        "strd r1, r3, [sp]\n\t"                                                                   \
        "strd r0, r2, [sp, #8]\n\t"                                                               \
        "str r4, [sp, #16]\n\t"                                                                   \
        "1:\n\t"                                                                                  \
        "ldrd r5, r2, [sp, #8]\n\t"                                                               \
        "ldrd r0, r4, [sp, #128]\n\t" VECTORS                                                     \
        next_weights                                                                              \
        "ldm r4!, {r7, r9, r11}\n\t"                                                              \
        "strd r0, r4, [sp, #128]\n\t"                                                             \
        "ldrd r1, r3, [sp]\n\t"                                                                   \
        "ldrd r0, r2, [r5, #92]\n\t" /* TINY_STRIP_BYTES, TINY_STRIP_NEXT_OUT */                  \
        "add r0, r1\n\t"                                                                          \
        "add r2, r3\n\t"                                                                          \
        "strd r0, r2, [sp]\n\t"                                                                   \
        "ldrd r0, r10, [r5, #4]\n\t" /* TINY_STRIP_TIMES, TINY_STRIP_BACK */                      \
        set_up                                                                                    \
        "dls lr, r0\n\t"                                                                          \
        "2:\n\t" COLUMNS                                                                          \
        "le lr, 2b\n\t"                                                                           \
        "cmp r10, #0\n\t"                                                                         \
        "beq 3f\n\t"                                                                              \
        "sub r1, r10\n\t"                                                                         \
        "ldr r0, [sp, #8]\n\t"                                                                    \
        "ldr r0, [r0, #12]\n\t" /* TINY_STRIP_BACK_OUT */                                         \
        "sub r3, r0\n\t"                                                                          \
        "mov r10, #0\n\t"                                                                         \
        "mov lr, #1\n\t"                                                                          \
        "b 2b\n\t"                                                                                \
        "3:\n\t"                                                                                  \
        "ldr r0, [sp, #16]\n\t"                                                                   \
        "subs r0, #1\n\t"                                                                         \
        "str r0, [sp, #16]\n\t"                                                                   \
        "bne 1b\n\t"                                                                              \
        "add sp, #28\n\t"                                                                         \
        "vpop {d8-d15}\n\t"                                                                       \
        "pop {r4-r11, pc}");                                                                      \
  }

#define NEXT_WEIGHTS(taps) "add r0, #" taps " + 1\n\t"
#define NEXT_WEIGHTS_UPTO "ldr r1, [r5]\n\tadd r0, r1\n\t" /* TINY_STRIP_TAPS */
#define SET_UP_UPTO "ldr r5, [r5, #28]\n\t"                /* TINY_STRIP_STEP_IN */
#define STRIPS(way, SCALE)                                                                        \
  STRIP(3x3_s1, way, FOUR_VECTORS, NEXT_WEIGHTS("9"), "", TWO_LINES(PAIR_3X3_S1, "4", SCALE))     \
  STRIP(3x3_s2, way, TWO_VECTORS, NEXT_WEIGHTS("9"), "", TWO_LINES(PAIR_3X3_S2, "10", SCALE))     \
  STRIP(5x5_s1, way, FOUR_VECTORS, NEXT_WEIGHTS("25"), "", TWO_LINES(PAIR_5X5_S1, "6", SCALE))    \
  STRIP(5x5_s2, way, TWO_VECTORS, NEXT_WEIGHTS("25"), "",                                         \
        SUMS_5X5_S2 FOUR_RESULTS(SCALE, "add r1, #40\n\t"))                                       \
  STRIP(7x7_s1, way, FOUR_VECTORS, NEXT_WEIGHTS("49"), "",                                        \
        SUMS_7X7_S1 FOUR_RESULTS(SCALE, "add r1, #32\n\t"))                                       \
  STRIP(7x7_s1_wide, way, FOUR_VECTORS, NEXT_WEIGHTS("49"), "",                                   \
        SUMS_7X7_S1_WIDE EIGHT_RESULTS(SCALE, "64"))                                              \
  STRIP(7x7_s2, way, FOUR_VECTORS, NEXT_WEIGHTS("49"), "",                                        \
        SUMS_7X7_S2 FOUR_RESULTS(SCALE, "add r1, #64\n\t"))                                       \
  STRIP(upto_16, way, ONE_VECTOR, NEXT_WEIGHTS_UPTO, SET_UP_UPTO,                                 \
        SUMS_UPTO(COLUMN_UPTO_16) FOUR_RESULTS(SCALE, ""))                                        \
  STRIP(upto_32, way, TWO_VECTORS, NEXT_WEIGHTS_UPTO, SET_UP_UPTO,                                \
        SUMS_UPTO(COLUMN_UPTO_32) FOUR_RESULTS(SCALE, ""))                                        \
  STRIP(upto_64, way, FOUR_VECTORS, NEXT_WEIGHTS_UPTO, SET_UP_UPTO,                               \
        SUMS_UPTO(COLUMN_UPTO_64) FOUR_RESULTS(SCALE, ""))

STRIPS(away, SCALE_AWAY)
STRIPS(relu, SCALE_RELU)
STRIPS(half_up, SCALE_HALF_UP)
STRIPS(any, SCALE_ANY)

#else

/* a window times weights, by their table */
static int32_t dot(const int8_t *window, const int8_t *weights, const int8_t *table,
                   int32_t bytes) {
  int32_t sum = 0;
  for (int32_t i = 0; i < bytes; ++i) {
    sum += window[i] * weights[(uint8_t)table[i]];
  }
  return sum;
}

/* The results that lie side by side in a vector, of one channel. Their places are in the order of
 * narrowing: of two lines, each half of a word has one of columns 0 and 1, the other of columns 2,
 * 3.
 */
typedef int32_t (*way_function)(int32_t sum, const int32_t *params, int32_t step);
typedef struct {
  int32_t lines;
  int32_t columns;
  int32_t bytes;       /* of a window */
  int32_t table_bytes; /* of a line */
  way_function way;
} strip_shape;

static void one_vector(const int32_t *layer, const int8_t *strip, const int8_t *table, int8_t *y,
                       const int8_t *weights, const int32_t *params, const strip_shape *shape) {
  const int32_t count = shape->lines * shape->columns;
  for (int32_t i = 0; i < count; ++i) {
    const int32_t column = shape->lines == 1 ? i : i % 2 * 2 + i / 4;
    const int32_t line = shape->lines == 1 ? 0 : i / 2 % 2;
    const uint32_t word = (uint32_t)layer[TINY_STRIP_PLACES + i * 4 / count];
    const uint32_t place = count == 4 ? word : (word >> (16 * (i % 2))) & 0xffffu;
    const int32_t sum = dot(strip + column * layer[TINY_STRIP_STEP_IN], weights,
                            table + line * shape->table_bytes, shape->bytes);
    const int32_t value = shape->way(sum, params, 1) + layer[TINY_STRIP_ZERO_POINT_OUT];
    y[place] = (int8_t)tiny_clamp(value, INT8_MIN, INT8_MAX);
  }
}

static void convolve(const int32_t *layer, const int8_t *strips, const int8_t *table, int8_t *y,
                     const int8_t *weights, const int32_t *params, const strip_shape *shape) {
  for (int32_t c = 0; c < layer[TINY_STRIP_COUNT]; ++c) {
    const int8_t *strip = strips + c * layer[TINY_STRIP_BYTES];
    int8_t *to = y + c * layer[TINY_STRIP_NEXT_OUT];
    for (int32_t i = 0; i < layer[TINY_STRIP_TIMES]; ++i) {
      one_vector(layer, strip, table, to, weights, params, shape);
      strip += shape->columns * layer[TINY_STRIP_STEP_IN];
      to += layer[TINY_STRIP_STEP_OUT];
    }
    if (layer[TINY_STRIP_BACK] > 0) {
      one_vector(layer, strip - layer[TINY_STRIP_BACK], table, to - layer[TINY_STRIP_BACK_OUT],
                 weights, params, shape);
    }
    weights += layer[TINY_STRIP_TAPS];
    params += 3;
  }
}

#define STRIP(size, way, lines, columns, bytes, table_bytes)                                      \
  void tiny_strip_##size##_##way(const int32_t *layer, const int8_t *strips, const int8_t *table, \
                                 int8_t *y, const int8_t *weights, const int32_t *params) {       \
    const strip_shape shape = {lines, columns, bytes, table_bytes, tiny_helium_##way};            \
    convolve(layer, strips, table, y, weights, params, &shape);                                   \
  }
#define STRIPS(way)                         \
  STRIP(3x3_s1, way, 2, 4, 16, 32)          \
  STRIP(3x3_s2, way, 2, 4, 16, 16)          \
  STRIP(5x5_s1, way, 2, 4, 32, 32)          \
  STRIP(5x5_s2, way, 1, 4, 32, 32)          \
  STRIP(7x7_s1, way, 1, 4, 64, 64)          \
  STRIP(7x7_s1_wide, way, 1, 8, 64, 64)     \
  STRIP(7x7_s2, way, 1, 4, 64, 64)          \
  STRIP(upto_16, way, 1, 4, 16, 16)         \
  STRIP(upto_32, way, 1, 4, 32, 32)         \
  STRIP(upto_64, way, 1, 4, 64, 64)

STRIPS(away)
STRIPS(relu)
STRIPS(half_up)
STRIPS(any)

#endif
