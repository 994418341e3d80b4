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

/* A line of eight channels to its slot: r0 points to the first pixel, the next are r1 bytes apart;
 * r2 to the slot, r3 is the layer. Channels of four columns have their places in q0 to q3.
 */
__attribute__((naked)) static void spread_eight(const int8_t *line, int32_t step, int8_t *slot,
                                                const int32_t *layer) {
  __asm__(
      "push {r4, r5, r6, lr}\n\t"
      "vpush {d8-d9}\n\t"
      "ldr r4, [r3]\n\t"      /* TINY_STRIP_BYTES */
      "ldr r5, [r3, #48]\n\t" /* TINY_STRIP_SLOTS */
      "mov r6, #0\n\t"
      "vidup.u16 q0, r6, #1\n\t"
      "vmul.i16 q0, q0, r4\n\t"
      "vadd.i16 q1, q0, r5\n\t"
      "vadd.i16 q2, q1, r5\n\t"
      "vadd.i16 q3, q2, r5\n\t"
      "ldr r4, [r3, #56]\n\t" /* TINY_STRIP_COLUMNS */
      "lsr r6, r4, #2\n\t"
      "and r4, #3\n\t"
      "wls lr, r6, 2f\n\t"
      "1:\n\t"
      "vldrb.u16 q4, [r0]\n\t"
      "add r0, r1\n\t"
      "vstrb.16 q4, [r2, q0]\n\t"
      "vldrb.u16 q4, [r0]\n\t"
      "add r0, r1\n\t"
      "vstrb.16 q4, [r2, q1]\n\t"
      "vldrb.u16 q4, [r0]\n\t"
      "add r0, r1\n\t"
      "vstrb.16 q4, [r2, q2]\n\t"
      "vldrb.u16 q4, [r0]\n\t"
      "add r0, r1\n\t"
      "vstrb.16 q4, [r2, q3]\n\t"
      "add r2, r2, r5, lsl #2\n\t"
      "le lr, 1b\n\t"
      "2:\n\t"
      "wls lr, r4, 4f\n\t"
      "3:\n\t"
      "vldrb.u16 q4, [r0]\n\t"
      "add r0, r1\n\t"
      "vstrb.16 q4, [r2, q0]\n\t"
      "add r2, r5\n\t"
      "le lr, 3b\n\t"
      "4:\n\t"
      "vpop {d8-d9}\n\t"
      "pop {r4, r5, r6, pc}");
}

#endif

static void spread(const int8_t *line, int32_t step, int8_t *slot, const int32_t *layer) {
#if TINY_HAS_MVE
  if (layer[TINY_STRIP_COUNT] == TINY_STRIP_CHANNELS) {
    spread_eight(line, step, slot, layer);
    return;
  }
#endif
  for (int32_t column = 0; column < layer[TINY_STRIP_COLUMNS]; ++column) {
    for (int32_t c = 0; c < layer[TINY_STRIP_COUNT]; ++c) {
      slot[c * layer[TINY_STRIP_BYTES]] = line[c];
    }
    line += step;
    slot += layer[TINY_STRIP_SLOTS];
  }
}

void tiny_strip_lines(const int32_t *layer, const int8_t *image, int32_t number, int8_t *strips) {
  const int32_t slots = layer[TINY_STRIP_SLOTS];
  const int32_t first = tiny_min(number * layer[TINY_STRIP_ADVANCE], layer[TINY_STRIP_LAST]);
  int32_t line = first;
  if (number > 0) {
    line = tiny_max(line, (number - 1) * layer[TINY_STRIP_ADVANCE] + slots);
  }
  int8_t *column = strips + layer[TINY_STRIP_LEFT] * slots;
  for (; line < first + slots; ++line) {
    int8_t *slot = column + line % slots;
    const int32_t at = line - layer[TINY_STRIP_TOP];
    if ((uint32_t)at < (uint32_t)layer[TINY_STRIP_LINES]) {
      spread(image + at * layer[TINY_STRIP_LINE_IN], layer[TINY_STRIP_COLUMN_IN], slot, layer);
    } else {
      spread((const int8_t *)&layer[TINY_STRIP_ZERO_POINT], 0, slot, layer);
    }
  }
}

#if TINY_HAS_MVE

/* Four columns of a strip at r1 to the output at r3. Weights are in q0 to q3, the results' places in
 * q4. r7, r9, r11 are bias, multiplier and shift; r12 the zero point, r8 the output's step, r5 the
 * strip's. Sums are in r0 to r6, even ones.
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

/* a column of two lines, whose windows are one vector or two */
#define COLUMN_2X1(line0, line1, x, offset) \
  LOAD(x, offset) FIRST(line0, x, "q0") FIRST(line1, x, "q1")
#define COLUMN_2X2(line0, line1, x, offset)                     \
  LOAD(x, offset) FIRST(line0, x, "q0") FIRST(line1, x, "q2")   \
  LOAD(x, offset " + 16") NEXT(line0, x, "q1") NEXT(line1, x, "q3")
#define TWO_LINES(COLUMN, step, SCALE)                                          \
  COLUMN("r0", "r2", "q5", "0") COLUMN("r4", "r6", "q6", step) SUMS("q5")       \
  COLUMN("r0", "r2", "q6", "2 * " step) COLUMN("r4", "r6", "q7", "3 * " step)   \
  SUMS("q6") SCALE("q5", "q7")                                                  \
  "vqmovnb.s32 q7, q7\n\t" SCALE("q6", "q5")                                    \
  "vqmovnt.s32 q7, q5\n\t"                                                      \
  "vqadd.s16 q7, q7, r12\n\t"                                                   \
  "vqmovnb.s16 q7, q7\n\t"                                                      \
  "vstrb.16 q7, [r3, q4]\n\t"                                                   \
  "add r3, r8\n\t"                                                              \
  "add r1, #4 * " step "\n\t"

/* a column of one line, whose window is two vectors or four */
#define COLUMN_1X2(sum, x, offset)                              \
  LOAD(x, offset) FIRST(sum, x, "q0")                           \
  LOAD(x, offset " + 16") NEXT(sum, x, "q1")
#define COLUMN_1X4(sum, x, offset)                              \
  COLUMN_1X2(sum, x, offset)                                    \
  LOAD(x, offset " + 32") NEXT(sum, x, "q2")                    \
  LOAD(x, offset " + 48") NEXT(sum, x, "q3")
#define COLUMN_UPTO_64(sum, x, offset) COLUMN_1X4(sum, x, "0") "add r1, r5\n\t"
#define ONE_LINE(COLUMN, step, advance, SCALE)                                  \
  COLUMN("r0", "q5", "0") COLUMN("r2", "q6", step)                              \
  COLUMN("r4", "q7", "2 * " step) COLUMN("r6", "q6", "3 * " step)               \
  SUMS("q5") SCALE("q5", "q6")                                                  \
  "vqmovnb.s32 q6, q6\n\t"                                                      \
  "vqadd.s16 q6, q6, r12\n\t"                                                   \
  "vqmovnb.s16 q6, q6\n\t"                                                      \
  "vstrb.32 q6, [r3, q4]\n\t"                                                   \
  "add r3, r8\n\t" advance

/* vectors of weights, at r0, by their tables at r2 */
#define WEIGHTS(w, offset) "vldrb.8 q7, [r2, #" offset "]\n\tvldrb.u8 " w ", [r0, q7]\n\t"
#define TWO_VECTORS WEIGHTS("q0", "0") WEIGHTS("q1", "16")
#define FOUR_VECTORS TWO_VECTORS WEIGHTS("q2", "32") WEIGHTS("q3", "48")

/* On the stack: the next channel's strip and output, the layer, the table, the number of channels
 * left; the caller's arguments, which move on to the next channel's weights and params, at 128.
 */
#define STRIP(size, way, VECTORS, FOUR_COLUMNS)                                                   \
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
        "ldr r1, [r5, #92]\n\t" /* TINY_STRIP_TAPS */                                             \
        "add r0, r1\n\t"                                                                          \
        "ldm r4!, {r7, r9, r11}\n\t"                                                              \
        "strd r0, r4, [sp, #128]\n\t"                                                             \
        "ldrd r1, r3, [sp]\n\t"                                                                   \
        "ldr r0, [r5]\n\t" /* TINY_STRIP_BYTES */                                                 \
        "add r0, r1\n\t"                                                                          \
        "add r2, r3, #1\n\t"                                                                      \
        "strd r0, r2, [sp]\n\t"                                                                   \
        "ldrd r0, r10, [r5, #4]\n\t" /* TINY_STRIP_FOURS, TINY_STRIP_BACK */                      \
        "ldr r5, [r5, #28]\n\t"      /* TINY_STRIP_STEP_IN */                                     \
        "dls lr, r0\n\t"                                                                          \
        "2:\n\t" FOUR_COLUMNS                                                                     \
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

#define STRIPS(way, SCALE)                                                                        \
  STRIP(3x3_s1, way, TWO_VECTORS, TWO_LINES(COLUMN_2X1, "4", SCALE))                              \
  STRIP(3x3_s2, way, TWO_VECTORS, TWO_LINES(COLUMN_2X1, "10", SCALE))                             \
  STRIP(5x5_s1, way, FOUR_VECTORS, TWO_LINES(COLUMN_2X2, "6", SCALE))                             \
  STRIP(5x5_s2, way, TWO_VECTORS, ONE_LINE(COLUMN_1X2, "10", "add r1, #40\n\t", SCALE))           \
  STRIP(7x7_s1, way, FOUR_VECTORS, ONE_LINE(COLUMN_1X4, "7", "add r1, #28\n\t", SCALE))           \
  STRIP(7x7_s2, way, FOUR_VECTORS, ONE_LINE(COLUMN_1X4, "14", "add r1, #56\n\t", SCALE))          \
  STRIP(upto_64, way, FOUR_VECTORS, ONE_LINE(COLUMN_UPTO_64, "0", "", SCALE))

STRIPS(away, SCALE_AWAY)
STRIPS(relu, SCALE_RELU)
STRIPS(half_up, SCALE_HALF_UP)
STRIPS(any, SCALE_ANY)

#else

/* a window times weights, by their table */
static int32_t dot(const int8_t *window, const int8_t *weights, const int8_t *table, int32_t bytes) {
  int32_t sum = 0;
  for (int32_t i = 0; i < bytes; ++i) {
    sum += window[i] * weights[(uint8_t)table[i]];
  }
  return sum;
}

/* Four columns of one channel. Results' places are in the order of narrowing: of two lines, each half
 * of a word has one of columns 0 and 1, the other of columns 2 and 3.
 */
typedef int32_t (*scale_function)(int32_t sum, const int32_t *params, int32_t step);
static void four_columns(const int32_t *layer, const int8_t *strip, const int8_t *table, int8_t *y,
                         const int8_t *weights, const int32_t *params, int32_t lines,
                         int32_t vectors, scale_function scale) {
  for (int32_t i = 0; i < 4 * lines; ++i) {
    const int32_t column = lines == 1 ? i : i % 2 * 2 + i / 4;
    const int32_t line = lines == 1 ? 0 : i / 2 % 2;
    const uint32_t word = (uint32_t)layer[TINY_STRIP_PLACES + i / lines];
    const uint32_t place = lines == 1 ? word : (word >> (16 * (i % 2))) & 0xffffu;
    const int32_t sum = dot(strip + column * layer[TINY_STRIP_STEP_IN], weights,
                            table + line * vectors * 16, vectors * 16);
    const int32_t value = scale(sum, params, 1) + layer[TINY_STRIP_ZERO_POINT_OUT];
    y[place] = (int8_t)tiny_clamp(value, INT8_MIN, INT8_MAX);
  }
}

static void convolve(const int32_t *layer, const int8_t *strips, const int8_t *table, int8_t *y,
                     const int8_t *weights, const int32_t *params, int32_t lines, int32_t vectors,
                     scale_function scale) {
  for (int32_t c = 0; c < layer[TINY_STRIP_COUNT]; ++c) {
    const int8_t *strip = strips + c * layer[TINY_STRIP_BYTES];
    int8_t *to = y + c;
    for (int32_t i = 0; i < layer[TINY_STRIP_FOURS]; ++i) {
      four_columns(layer, strip, table, to, weights, params, lines, vectors, scale);
      strip += 4 * layer[TINY_STRIP_STEP_IN];
      to += layer[TINY_STRIP_STEP_OUT];
    }
    if (layer[TINY_STRIP_BACK] > 0) {
      four_columns(layer, strip - layer[TINY_STRIP_BACK], table, to - layer[TINY_STRIP_BACK_OUT],
                   weights, params, lines, vectors, scale);
    }
    weights += layer[TINY_STRIP_TAPS];
    params += 3;
  }
}

#define STRIP(size, way, lines, vectors)                                                          \
  void tiny_strip_##size##_##way(const int32_t *layer, const int8_t *strips, const int8_t *table, \
                                 int8_t *y, const int8_t *weights, const int32_t *params) {       \
    convolve(layer, strips, table, y, weights, params, lines, vectors, tiny_helium_##way);              \
  }
#define STRIPS(way)           \
  STRIP(3x3_s1, way, 2, 1)    \
  STRIP(3x3_s2, way, 2, 1)    \
  STRIP(5x5_s1, way, 2, 2)    \
  STRIP(5x5_s2, way, 1, 2)    \
  STRIP(7x7_s1, way, 1, 4)    \
  STRIP(7x7_s2, way, 1, 4)    \
  STRIP(upto_64, way, 1, 4)

STRIPS(away)
STRIPS(relu)
STRIPS(half_up)
STRIPS(any)

#endif
